//! Identity assertions: statements of other issuers about who a human is (ID-JAG,
//! draft-ietf-oauth-identity-assertion-authz-grant), and that one of them holds no longer (RFC 8417).
//!
//! An agent whose human is signed in at such an issuer brings a signed assertion, in place of a link for the human to
//! open. The service believes the issuers in its [configuration](crate::config::TrustedIssuer), and nobody else. By
//! default there are none, and the feature is off.
//!
//! ```
//! use tower_agent_auth::{AgentAuth, Config, store::MemoryStore};
//! # use tower_agent_auth::accounts::{Accounts, AccountsError, SignedIn};
//! # use tower_agent_auth::client_metadata::{Fetch, FetchError, Fetched};
//! # use tower_agent_auth::id_jag::IdJagError;
//! # use tower_agent_auth::types::{clock::Timestamp, id::AccountId};
//! # struct Nobody;
//! # impl Accounts for Nobody {
//! #     async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> { Ok(None) }
//! #     fn login_url(&self, _: &str) -> String { "/login".into() }
//! #     async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> { Ok(true) }
//! # }
//! # struct MyFetcher;
//! # impl Fetch for MyFetcher {
//! #     async fn fetch(&self, _: &str) -> Result<Fetched, FetchError> { Err(FetchError::Status(404)) }
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder()
//!     .resource("https://api.example.com")
//!     .name("Example")
//!     .scope("projects:read", "See your projects", |scope| scope.by_default())
//!     .trusted_issuer("https://idp.example", "https://idp.example/jwks.json", |_| {})
//!     .build()?;
//! let store = MemoryStore::new();
//! let auth = AgentAuth::builder(config)
//!     .sessions(store.clone())
//!     .identities(store)
//!     .identity_assertions(MyFetcher) // `client_metadata::HttpFetcher` with the feature `cimd`
//!     .accounts(Nobody)
//!     .build()?;
//! let verifier = auth.id_jag().expect("there is a trusted issuer");
//! # let now = Timestamp::from_millis(0);
//! let refused = verifier.verify("not.an.assertion", now).await.unwrap_err();
//! assert!(matches!(refused, IdJagError::Malformed(_)));
//! # Ok(())
//! # }
//! ```
//!
//! # Rules for an assertion
//!
//! * It has at most 8 KiB and the type `oauth-id-jag+jwt`. A header parameter in `crit` is refused, as are the claims
//!   `cnf` and `authorization_details`, which restrict what the assertion is good for.
//! * `iss` is trusted. The signature is of an algorithm that the issuer may use, by one of its keys that is for this
//!   algorithm. `none` and algorithms with a shared secret don't exist here.
//! * `aud` is the issuer of this service and nobody else, as a text or as a list of one.
//! * `client_id` is a client that the issuer may speak for.
//! * `exp` is ahead, by an hour at most. `iat` and `nbf` are not in the future. Clocks may differ by a minute.
//! * `auth_time` is at most an hour ago: else [`LoginRequired`](IdJagError::LoginRequired).
//! * An address or a telephone number is verified. One that is not verified is not returned.
//! * `jti` is used once. This is the last check, so a refused assertion uses nothing up.
//!
//! # Keys
//!
//! Keys are fetched from [`jwks_uri`](crate::config::TrustedIssuer::jwks_uri) when they are needed, by the fetcher that the
//! builder has. A key set is cached as long as its server says, but at least 5 minutes and at most a day. While the server
//! is away, keys are used for an hour longer. A key id that is unknown causes another fetch, once a minute at most for each
//! issuer. Requests that wait for the same keys cause one fetch, and it goes on if they go away. URLs and keys that an
//! assertion brings along are ignored.
//!
//! # What it does not do
//!
//! A verified identity is no account. Link it to one ([`Identities`](crate::ceremony::Identities)) only after the account's
//! human has confirmed that, signed in. An address that an issuer states proves nothing about an existing account.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use jsonwebtoken::{dangerous::insecure_decode_claims, decode_header};
use serde::de::DeserializeOwned;

use crate::{
    Config,
    client_metadata::DynFetch,
    config::path_of,
    store::{StoreError, traits::DynIdentityStore},
    types::{
        clock::{Clock, Timestamp},
        id::ClientId,
        identity::{ForeignIdentity, TokenKey},
        scope::ScopeSet,
    },
};

mod claims;
mod event;
mod keys;
mod signature;

use claims::{AssertionClaims, Issued, Object};
pub use event::{EventError, VerifiedEvent};
use keys::Issuer;
use signature::Signed;

/// The longest assertion or event in bytes.
pub const LONGEST: usize = 8 * 1024;
/// The longest key set in bytes.
pub const LONGEST_KEYS: usize = 256 * 1024;

/// How far the clocks of an issuer and of this service may differ.
const SKEW: Duration = Duration::from_secs(60);
/// The furthest expiry of an assertion.
const MOST_LIFETIME: Duration = Duration::from_secs(3_600);
/// The longest time since the human signed in at the issuer.
const MAX_AGE: Duration = Duration::from_secs(3_600);
/// The type of an assertion (draft-ietf-oauth-identity-assertion-authz-grant).
const ASSERTION: &str = "oauth-id-jag+jwt";

/// Verifies the assertions and events of the trusted issuers. Cheap to clone. A service gets it from
/// [`AgentAuth::id_jag`](crate::AgentAuth::id_jag).
///
/// It needs a Tokio runtime with time enabled.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    /// The identifier of this service.
    audience: String,
    issuers: Vec<Issuer>,
    store: Arc<dyn DynIdentityStore>,
}

/// What a trusted issuer states about a human, verified.
///
/// `Debug` shows no address and no telephone number.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct VerifiedIdentity {
    /// The human: the issuer and its identifier for them.
    pub identity: ForeignIdentity,
    /// The client that the assertion was issued to (`client_id`). It has not authenticated by this.
    pub client: ClientId,
    /// The human's e-mail address, if the issuer has verified it.
    pub email: Option<String>,
    /// The human's telephone number, if the issuer has verified it.
    pub phone_number: Option<String>,
    /// When the human signed in at the issuer (`auth_time`).
    pub signed_in_at: Timestamp,
    /// When the assertion expires.
    pub expires_at: Timestamp,
    /// The resources that it is for (`resource`, RFC 8707), as it names them; empty if it names none.
    pub resources: Vec<String>,
    /// The scopes that it is for; `None` if it names none.
    pub scopes: Option<ScopeSet>,
}

impl fmt::Debug for VerifiedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VerifiedIdentity");
        shown.field("identity", &self.identity).field("client", &self.client).finish_non_exhaustive()
    }
}

/// Why an assertion is refused. Unless stated otherwise, the fault is the agent's or its issuer's. The text contains
/// nothing of the assertion.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum IdJagError {
    /// It is no assertion, or a claim is missing or not allowed. The text says which.
    #[error("the assertion is malformed: {0}")]
    Malformed(&'static str),
    /// Its issuer is not trusted here.
    #[error("the issuer of the assertion is not trusted by this service")]
    InvalidIssuer,
    /// Its signature is not of one of the issuer's keys, or of an algorithm that the issuer may not use. An attack, or a
    /// key that the issuer does not publish.
    #[error("the signature of the assertion is not valid")]
    InvalidSignature,
    /// It has expired.
    #[error("the assertion has expired; ask its issuer for another one")]
    Expired,
    /// It was used before. An agent's retry, or an attack.
    #[error("the assertion was used before; ask its issuer for another one")]
    Replay,
    /// It is for another service, or for several.
    #[error("the audience of the assertion must be the issuer identifier of this service, and nothing else")]
    InvalidAudience,
    /// It names no client, or one that the issuer may not speak for.
    #[error("the client of the assertion is missing, or its issuer may not speak for it")]
    InvalidClient,
    /// Neither an address nor a telephone number is verified.
    #[error("the assertion has no verified e-mail address and no verified telephone number")]
    MissingVerifiedContact,
    /// The human signed in at the issuer too long ago, or the assertion does not say when.
    #[error("the human must have signed in at the issuer within {} seconds; sign in again", max_age.as_secs())]
    LoginRequired {
        /// How long ago the sign-in may be.
        max_age: Duration,
    },
    /// The issuer's keys can't be had. The issuer or the network is at fault; the response is 503.
    #[error("the keys of the issuer can't be fetched now")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// The store failed. The response is 503. The assertion may count as used.
    #[error("the assertion can't be checked now")]
    Store(#[from] StoreError),
}

crate::types::error_chain::debug_as_text!(IdJagError);

/// Why a token is refused before its claims are checked.
enum Refused {
    Malformed(&'static str),
    Issuer,
    /// The algorithm, or no key of that id.
    Key,
    Signature,
    Unavailable(Arc<dyn Error + Send + Sync>),
}

impl From<Refused> for IdJagError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(what) => Self::Malformed(what),
            Refused::Issuer => Self::InvalidIssuer,
            Refused::Key | Refused::Signature => Self::InvalidSignature,
            Refused::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

impl Verifier {
    /// A verifier for the trusted issuers of a configuration.
    pub(crate) fn new(
        config: &Config,
        fetch: &Arc<dyn DynFetch>,
        store: Arc<dyn DynIdentityStore>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let deadline = config.limits().metadata_fetch;
        let trusted = config.trusted_issuers().iter();
        let issuers = trusted.map(|trusted| Issuer::new(trusted, fetch, clock, deadline)).collect();
        Self(Arc::new(Inner { audience: config.issuer().to_owned(), issuers, store }))
    }

    /// Verifies an assertion at the date `now`, and uses it up. See the [module](self) for the rules.
    ///
    /// # Errors
    /// When the assertion is refused; see [`IdJagError`]. Only [`Replay`](IdJagError::Replay) and
    /// [`Store`](IdJagError::Store) come after all other checks.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<VerifiedIdentity, IdJagError> {
        let (issuer, claims) = self.open::<AssertionClaims>(token, ASSERTION).await?;
        let (verified, id) = claims.check(issuer, self, now)?;
        // Nothing accepts the assertion later, however long the store remembers it.
        let until = verified.expires_at.after(SKEW);
        let is_first = self.0.store.use_once(&TokenKey::new(verified.identity.issuer(), &id), until).await?;
        if is_first { Ok(verified) } else { Err(IdJagError::Replay) }
    }

    /// The claims of a token of this type, and its issuer, once its signature is verified.
    async fn open<C: DeserializeOwned + Issued>(&self, token: &str, kind: &str) -> Result<(&Issuer, C), Refused> {
        if token.len() > LONGEST {
            return Err(Refused::Malformed("it is longer than 8 KiB"));
        }
        let malformed = |_| Refused::Malformed("it is no signed JWT with an asymmetric algorithm");
        let header = decode_header(token).map_err(malformed)?;
        if header.typ.as_deref() != Some(kind) {
            return Err(Refused::Malformed("`typ` is another"));
        }
        // Of all parameters that must be understood (RFC 7515 section 4.1.11), none is.
        if header.crit.is_some() {
            return Err(Refused::Malformed("`crit` names what this service does not understand"));
        }
        // Not yet believed: they choose the key, and are returned once it has verified them.
        let claims = insecure_decode_claims(token).map_err(|_| Refused::Malformed("its claims can't be read"));
        let Object::<C>(claims) = claims?;
        let issuer = self.0.issuers.iter().find(|issuer| Some(issuer.id()) == claims.issuer());
        let issuer = issuer.ok_or(Refused::Issuer)?;
        let signed = Signed::new(token, &header).ok_or(Refused::Malformed("its signature can't be read"))?;
        issuer.verify(&signed).await?;
        Ok((issuer, claims))
    }

    /// Whether an audience is this service. A bare origin is the same with a slash.
    fn is_audience(&self, audience: &str) -> bool {
        let own = &self.0.audience;
        audience == own || (path_of(own).is_empty() && audience.strip_suffix('/') == Some(own))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<&str> = self.0.issuers.iter().map(Issuer::id).collect();
        f.debug_struct("Verifier").field("issuers", &issuers).finish_non_exhaustive()
    }
}
