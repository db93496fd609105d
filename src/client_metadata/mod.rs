//! Client metadata documents: an OAuth client whose id is the https URL of a document about it.
//!
//! The document has the client's name and its redirect URIs (draft-ietf-oauth-client-id-metadata-document), so nobody
//! registers the client. The service fetches it when a browser brings a request of the client, and caches it. MCP hosts
//! prefer such ids to dynamic registration.
//!
//! The feature is on once [`AgentAuthBuilder::client_metadata`](crate::AgentAuthBuilder::client_metadata) has a
//! fetcher. `HttpFetcher` (feature `cimd`) fetches from the internet, and refuses addresses that are not public. Implement
//! [`Fetch`] to use an HTTP client of your own, or documents of your own.
//!
//! The rules are the same for every fetcher:
//!
//! * The media type is `application/json`, or ends in `+json`. A document has at most 5 KiB.
//! * Its `client_id` is the URL, byte for byte. It has `client_name` and `redirect_uris`.
//! * The client has no shared secret, and offers the method `none` at the token endpoint.
//! * A document is cached as long as its server says, but at least 5 minutes and at most a day. Failures are not
//!   cached.
//! * Requests for one document that arrive together cause one fetch. Fetches are limited by time
//!   ([`Limits::metadata_fetch`](crate::config::Limits)), in number at once (32), and by source
//!   ([`Rates::metadata_fetches`](crate::config::Rates)).
//! * No other URL in a document is fetched or shown.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use tower_agent_auth::client_metadata::{Fetch, FetchError, Fetched};
//!
//! /// Knows one client, without any network.
//! struct Fixed;
//!
//! impl Fetch for Fixed {
//!     async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
//!         if url != "https://app.example.com/client.json" {
//!             return Err(FetchError::Status(404));
//!         }
//!         let document = r#"{
//!             "client_id": "https://app.example.com/client.json",
//!             "client_name": "Example App",
//!             "redirect_uris": ["http://127.0.0.1/callback"]
//!         }"#;
//!         Ok(Fetched::new("application/json", document).max_age(Duration::from_secs(3_600)))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! assert!(Fixed.fetch("https://app.example.com/other.json").await.is_err());
//! # }
//! ```

use std::{error::Error, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

#[cfg(feature = "cimd")]
mod address;
mod cache;
mod document;
#[cfg(feature = "cimd")]
mod http;

#[cfg(feature = "cimd")]
#[cfg_attr(docsrs, doc(cfg(feature = "cimd")))]
pub use http::HttpFetcher;

pub(crate) use cache::{ClientMetadata, Failure};
#[cfg(feature = "id_jag")]
pub(crate) use document::check;

/// The longest document in bytes (draft-ietf-oauth-client-id-metadata-document section 6.6).
pub const LONGEST: usize = 5 * 1024;

/// Fetches client metadata documents.
pub trait Fetch: Send + Sync + 'static {
    /// Fetches the document at `url`: an `https` URL with a plain host and a path, without query, fragment and user
    /// name. Whoever sends a browser to the service chooses it.
    ///
    /// An implementation follows no redirect, and accepts the status 200 only. It connects to public addresses only,
    /// and checks the address to which it connects, not an earlier look-up of the name. It reads [`LONGEST`] bytes at most.
    /// The future is dropped when the time is over.
    ///
    /// # Errors
    /// When the document can't be had; see [`FetchError`].
    fn fetch(&self, url: &str) -> impl Future<Output = Result<Fetched, FetchError>> + Send;

    /// Fetches a document that may have `longest` bytes, at a URL of the service's own configuration: the keys of a
    /// [trusted issuer](crate::config::TrustedIssuer). The URL may have a query. All else is as for
    /// [`fetch`](Self::fetch), which this calls by default.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch).
    fn fetch_up_to(&self, url: &str, longest: usize) -> impl Future<Output = Result<Fetched, FetchError>> + Send {
        let _ = longest;
        self.fetch(url)
    }
}

/// A fetched document, not yet validated.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Fetched {
    /// The value of `Content-Type`.
    pub media_type: String,
    /// The body.
    pub body: Bytes,
    /// How long its server lets it be cached (RFC 9111 section 5.2.2.1). `None` counts as zero.
    pub max_age: Option<Duration>,
}

impl Fetched {
    /// A document of this media type, without a cache lifetime.
    #[must_use]
    pub fn new(media_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { media_type: media_type.into(), body: body.into(), max_age: None }
    }

    /// Sets how long its server lets it be cached.
    #[must_use]
    pub const fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}

/// Why a document can't be had. The fault is the client's, or its server's.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server answered with a status that is not 200.
    #[error("its server answers with the status {0}; it must be 200")]
    Status(u16),
    /// The server redirects.
    #[error("its server redirects; the client id must be the final URL")]
    Redirect,
    /// The media type is not JSON.
    #[error("its media type must be application/json")]
    MediaType,
    /// Longer than this number of bytes, which is allowed: [`LONGEST`] for a client metadata document.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// It did not arrive in time.
    #[error("its server takes too long")]
    TooSlow,
    /// The host has no public address, or the URL is not `https`.
    #[error("its host has no public address")]
    RefusedAddress,
    /// The host is unknown, or its server can't be reached or speaks no TLS and HTTP.
    #[error("its server can't be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
}

crate::types::error_chain::debug_as_text!(FetchError);

impl FetchError {
    /// The server can't be reached, because of `cause`.
    pub fn unreachable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unreachable(cause.into())
    }
}

type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + 'a>>;

/// [`Fetch`] as a trait object.
pub(crate) trait DynFetch: Send + Sync {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetching<'a>;
    #[cfg(feature = "id_jag")]
    fn fetch_up_to<'a>(&'a self, url: &'a str, longest: usize) -> Fetching<'a>;
}

impl<F: Fetch> DynFetch for F {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetching<'a> {
        Box::pin(Fetch::fetch(self, url))
    }

    #[cfg(feature = "id_jag")]
    fn fetch_up_to<'a>(&'a self, url: &'a str, longest: usize) -> Fetching<'a> {
        Box::pin(Fetch::fetch_up_to(self, url, longest))
    }
}

impl<F: Fetch> Fetch for Arc<F> {
    async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        F::fetch(self, url).await
    }

    async fn fetch_up_to(&self, url: &str, longest: usize) -> Result<Fetched, FetchError> {
        F::fetch_up_to(self, url, longest).await
    }
}
