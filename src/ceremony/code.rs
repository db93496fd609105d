use super::{
    Approver, Ceremony, CeremonyError, Issued, Request,
    flow::{KnownFlow, NewFlow},
};
use crate::{
    store::{AuthorizationKey, StoreErrorKind},
    types::{
        authorization::{AuthorizationRequest, Lookup, State},
        id::{AuthorizationRequestId, ClientId},
        pkce::CodeChallenge,
        redirect_uri::RedirectUri,
        session::Redeemer,
    },
};

/// The longest state value in bytes. Some clients keep their own signed state in it.
const LONGEST_STATE: usize = 4_096;

/// How the answer to an OAuth client's request is delivered and redeemed (RFC 6749 section 4.1).
#[derive(Clone)]
#[non_exhaustive]
pub struct CodeGrant {
    /// Where the browser takes the answer. The caller has matched it with those that the client registered.
    pub redirect_uri: RedirectUri,
    /// A value that is returned with the answer, at most 4 KiB.
    pub state: Option<String>,
    /// The code challenge (RFC 7636), by the method S256.
    pub challenge: CodeChallenge,
}

impl CodeGrant {
    /// A grant that is delivered to `redirect_uri` and redeemed with the verifier of `challenge`.
    #[must_use]
    pub const fn new(redirect_uri: RedirectUri, state: Option<String>, challenge: CodeChallenge) -> Self {
        Self { redirect_uri, state, challenge }
    }

    /// What distinguishes this request of a client from others: also its challenge, which is new for each.
    fn subject(&self, request: &Request) -> String {
        let Self { redirect_uri, state, challenge } = self;
        format!("{:?} {:?} {state:?} {:?}", request.subject(), redirect_uri.as_str(), challenge.as_bytes())
    }
}

impl std::fmt::Debug for CodeGrant {
    /// Without the state, which some clients keep secrets in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { redirect_uri, challenge, .. } = self;
        let mut shown = f.debug_struct("CodeGrant");
        shown.field("redirect_uri", redirect_uri).field("challenge", challenge).finish_non_exhaustive()
    }
}

/// What an OAuth client presents to redeem an authorization code (RFC 6749 section 4.1.3).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct CodeRedemption<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// The client.
    pub client: &'a ClientId,
    /// The code verifier (RFC 7636 section 4.5).
    pub verifier: &'a str,
    /// The redirect URI, if the client sends it. It must then be the one of the request.
    pub redirect_uri: Option<&'a str>,
    /// The resource (RFC 8707 section 2.2), if the client sends it. It must then be the one of the request.
    pub resource: Option<&'a str>,
}

impl<'a> CodeRedemption<'a> {
    /// A redemption of `code` by `client` with its verifier. Set the rest as fields.
    #[must_use]
    pub const fn new(code: &'a str, client: &'a ClientId, verifier: &'a str) -> Self {
        Self { code, client, verifier, redirect_uri: None, resource: None }
    }
}

impl std::fmt::Debug for CodeRedemption<'_> {
    /// Without the code and the verifier.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeRedemption").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Ceremony {
    /// Creates the authorization request of an OAuth client whose human is at the page. It grants nothing until they
    /// approve it. The same request again, by the same human in the same browser, is the one that was created first, so
    /// that a page that is loaded twice asks once.
    ///
    /// # Errors
    /// When the request is invalid, when too many requests are pending, or when the service fails.
    pub async fn request_code<'a>(
        &self,
        request: Request,
        grant: CodeGrant,
        approver: impl Into<Approver<'a>>,
    ) -> Result<AuthorizationRequest, CeremonyError> {
        if grant.state.as_ref().is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(CeremonyError::StateTooLong { longest: LONGEST_STATE });
        }
        let id = approver.into().request_id(&grant.subject(&request))?;
        if let Some(id) = &id {
            if let Some(found) = self.find(&AuthorizationKey::Id(id.clone())).await? {
                return Ok(found);
            }
        }
        let CodeGrant { redirect_uri, state, challenge } = grant;
        let flow = KnownFlow::AuthorizationCode { redirect_uri, state, challenge, code: None };
        let draw = |_: &AuthorizationRequestId| Ok((NewFlow::from(flow.clone()), ()));
        let created = self.create(&request, id.clone(), draw).await;
        match (created, id) {
            // The same request was created meanwhile.
            (Err(CeremonyError::Store(error)), Some(id)) if error.kind() == StoreErrorKind::Conflict => {
                self.by_id(&id).await
            }
            (created, _) => created.map(|(authorization, ())| authorization),
        }
    }

    /// Redeems an authorization code for a session, once. Of any number of concurrent callers, exactly one gets the
    /// session.
    ///
    /// Client, redirect URI and resource are checked first. If one is wrong, nothing changes. A wrong verifier is a
    /// failed attempt; the fifth locks the request. A code that its client presents again more than 10 seconds after it
    /// was redeemed ends the session (RFC 6749 section 4.1.2).
    ///
    /// # Errors
    /// When the code is unknown, expired or redeemed, when one of the other values is wrong, when agents may no longer
    /// act for the account, or when the service fails.
    pub async fn redeem_code(
        &self,
        presented: &CodeRedemption<'_>,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        let code = self.config.prefixes().exchange.digest(presented.code.as_bytes()).ok_or(CeremonyError::WrongCode)?;
        let found = self.find(&AuthorizationKey::Lookup(Lookup::from(code))).await?;
        let authorization = found.ok_or(CeremonyError::WrongCode)?;
        let flow = KnownFlow::of(&authorization)?;
        let KnownFlow::AuthorizationCode { redirect_uri, challenge, .. } = &flow else {
            return Err(CeremonyError::WrongCode);
        };
        let same_redirect = presented.redirect_uri.is_none_or(|uri| uri == redirect_uri.as_str());
        if authorization.client.id.as_ref() != Some(presented.client) || !same_redirect {
            return Err(CeremonyError::WrongCode);
        }
        if presented.resource.is_some_and(|resource| resource != &*authorization.resource) {
            return Err(CeremonyError::InvalidTarget);
        }
        if !challenge.is_met_by(presented.verifier) {
            if authorization.state_at(self.now()) == State::Approved {
                self.count_failed_attempt(&authorization).await?;
            }
            return Err(CeremonyError::WrongCode);
        }
        self.issue(&authorization, &flow, redeemer).await
    }
}
