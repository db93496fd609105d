use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, request::Parts};
use serde_json::{Map, Value};

use crate::{
    Config,
    accounts::DynAccounts,
    address::Addresses,
    audit::{AuditSink, Event},
    ceremony::Ceremony,
    core::random::Random,
    reply::{Answering, Reply},
};

/// A wire format: what it serves, and what it adds to the documents. Nothing else knows that it exists.
pub(crate) trait Wire {
    /// What it serves, by path below the issuer.
    fn endpoints(&self, site: &Arc<Site>) -> Vec<(&'static str, Arc<dyn Endpoint>)>;

    /// Its part of the authorization server metadata.
    fn describe(&self, config: &Config, metadata: &mut Metadata);

    /// Its chapter of auth.md.
    fn chapter(&self, config: &Config) -> Result<String, minijinja::Error>;
}

/// The authorization server metadata in the making.
pub(crate) struct Metadata {
    /// RFC 8414 section 2.
    pub(crate) top: Map<String, Value>,
    /// The `agent_auth` block of auth.md.
    pub(crate) agent_auth: Map<String, Value>,
}

/// Something that is served at a path.
pub(crate) trait Endpoint: Send + Sync {
    /// The methods that it serves, for `Allow`.
    fn methods(&self) -> &'static [Method];

    /// Whether it serves this request; if not, the answer is 405.
    fn serves(&self, request: &Parts) -> bool {
        self.methods().contains(&request.method)
    }

    /// Answers a request of one of its methods. The body has been read whole; it is empty for GET and HEAD.
    fn answer(&self, request: Request<Bytes>) -> Answering<Reply>;
}

/// What the endpoints of one service have in common.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) ceremony: Ceremony,
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages ask who the human is"))]
    pub(crate) accounts: Arc<dyn DynAccounts>,
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages draw nonces and form keys"))]
    pub(crate) random: Arc<dyn Random>,
    pub(crate) addresses: Addresses,
    pub(crate) audit: Arc<dyn AuditSink>,
}

impl Site {
    pub(crate) fn client_address<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        self.addresses.client(request.headers(), request.extensions())
    }

    /// Whether a browser sent this for a page of another origin, or can't say for whose (Fetch Metadata, RFC 6454).
    pub(crate) fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let origin = headers.get("origin").map(HeaderValue::as_bytes);
        // Our own pages forbid a referrer, and so their forms come with the origin `null` (Fetch standard, "append a
        // request `Origin` header"). Only the browser itself can say `same-origin` beside it.
        let own_page = site == Some(b"same-origin") && origin == Some(b"null");
        let foreign_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        let foreign_origin = origin.is_some_and(|origin| origin != self.config.origin().as_bytes());
        foreign_site || (foreign_origin && !own_page)
    }

    pub(crate) fn note_failure(&self, error: &(dyn std::error::Error + 'static)) {
        self.audit.record(self.ceremony.now(), &Event::unavailable(error));
    }
}
