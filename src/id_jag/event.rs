//! Security events (RFC 8417), as an issuer pushes them (RFC 8935).

use std::{error::Error, sync::Arc, time::Duration};

use super::{
    Refused, SKEW, Verifier,
    claims::{EventClaims, Texts, token_id},
};
use crate::{
    store::StoreError,
    types::{
        clock::Timestamp,
        identity::{ForeignIdentity, TokenKey},
    },
};

/// The type of a security event token (RFC 8417 section 2.3).
const EVENT: &str = "secevent+jwt";
/// The event that the assertions about a human hold no longer.
const REVOKED: &str = "https://schemas.workos.com/events/agent/auth/identity/assertion/revoked";
/// How old a token may be. Issuers deliver again for some days what was not accepted.
const OLDEST: Duration = Duration::from_secs(7 * 86_400);

/// A verified security event token.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct VerifiedEvent {
    /// The identity whose assertions hold no longer: its tokens, its requests and its link must end. `None` if there is
    /// nothing to do, because of a repeated delivery or because only unknown events are in the token.
    pub revoked: Option<ForeignIdentity>,
    token: TokenKey,
    until: Timestamp,
}

/// Why a security event token is refused. Unless stated otherwise, the fault is the issuer's, or of who pretends to be it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is no security event token, or a claim is missing or not allowed. The text says which.
    #[error("the event is malformed: {0}")]
    InvalidRequest(&'static str),
    /// The issuer may not use the algorithm, or has no such key.
    #[error("the key of the event is not known, or its algorithm is not allowed")]
    InvalidKey,
    /// Its issuer is not trusted here.
    #[error("the issuer of the event is not trusted by this service")]
    InvalidIssuer,
    /// It is for another service.
    #[error("the audience of the event must be the issuer identifier of this service")]
    InvalidAudience,
    /// The signature is not of the key that it names.
    #[error("the signature of the event is not valid")]
    AuthenticationFailed,
    /// The issuer's keys can't be had. The issuer or the network is at fault; the response is 503.
    #[error("the keys of the issuer can't be fetched now")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    /// The store failed. The response is 503.
    #[error("the event can't be checked now")]
    Store(#[from] StoreError),
}

crate::types::error_chain::debug_as_text!(EventError);

impl EventError {
    /// The code for the issuer (RFC 8935 section 2.4); `None` if the response is 503.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::InvalidRequest(_) => Some("invalid_request"),
            Self::InvalidKey => Some("invalid_key"),
            Self::InvalidIssuer => Some("invalid_issuer"),
            Self::InvalidAudience => Some("invalid_audience"),
            Self::AuthenticationFailed => Some("authentication_failed"),
            Self::Unavailable(_) | Self::Store(_) => None,
        }
    }
}

impl From<Refused> for EventError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(what) => Self::InvalidRequest(what),
            Refused::Issuer => Self::InvalidIssuer,
            Refused::Key => Self::InvalidKey,
            Refused::Signature => Self::AuthenticationFailed,
            Refused::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

impl Verifier {
    /// Verifies a security event token at the date `now`. It has the type `secevent+jwt` and at most 8 KiB. `iss` is
    /// trusted and has signed it, `aud` names this service, `iat` is at most 7 days ago, and there are `jti` and `events`.
    ///
    /// Do what the event demands, then [`acknowledge`](Self::acknowledge) it. Until then, each delivery of the token
    /// demands the same, so that a failure in between loses nothing.
    ///
    /// # Errors
    /// When the token is refused; see [`EventError`].
    pub async fn verify_event(&self, token: &str, now: Timestamp) -> Result<VerifiedEvent, EventError> {
        use EventError::InvalidRequest;

        let (issuer, claims) = self.open::<EventClaims>(token, EVENT).await?;
        // Unlike an assertion, an event may be for several services (RFC 7519 section 4.1.3).
        let audiences = claims.aud.as_ref().map(Texts::as_slice).unwrap_or_default();
        if !audiences.iter().any(|audience| self.is_audience(audience)) {
            return Err(EventError::InvalidAudience);
        }
        let issued_at = claims.iat.ok_or(InvalidRequest("`iat` is missing"))?.timestamp();
        if issued_at > now.after(SKEW) {
            return Err(InvalidRequest("`iat` is in the future"));
        }
        if issued_at.after(OLDEST).has_passed(now) || claims.exp.is_some_and(|end| end.timestamp().has_passed(now)) {
            return Err(InvalidRequest("it is too old"));
        }
        let id = token_id(claims.jti).ok_or(InvalidRequest("`jti` is missing"))?;
        let events = claims.events.filter(|events| !events.is_empty()).ok_or(InvalidRequest("`events` is missing"))?;
        let token = TokenKey::new(issuer.id(), &id);
        // After that, the token is refused as too old.
        let until = issued_at.after(OLDEST);
        let mut verified = VerifiedEvent { revoked: None, token, until };
        if !events.contains_key(REVOKED) {
            return Ok(verified);
        }
        let subject = claims.sub.and_then(|subject| ForeignIdentity::new(issuer.id(), &subject).ok());
        let identity = subject.ok_or(InvalidRequest("`sub` must be 1 to 255 bytes without control characters"))?;
        let is_repeated = self.0.store.is_used(&token).await?;
        verified.revoked = Some(identity).filter(|_| !is_repeated);
        Ok(verified)
    }

    /// Notes that what an event demands is done. Further deliveries of its token then demand nothing.
    ///
    /// # Errors
    /// [`EventError::Store`] when the store fails. The next delivery may demand the same again, which does no harm.
    pub async fn acknowledge(&self, event: &VerifiedEvent) -> Result<(), EventError> {
        self.0.store.use_once(&event.token, event.until).await?;
        Ok(())
    }
}
