use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{
    Ceremony, CeremonyError, DRAWS, Issued, Request,
    assertion::Derived,
    flow::{self, Code, KnownFlow, NewFlow},
    redeem::REPLAY_GRACE,
    sessions::Revoker,
};
use crate::{
    audit::Event,
    store::{AuthorizationKey, StoreError, StoreErrorKind},
    types::{
        authorization::{Account, Approval, AuthorizationRequest, Lookup, Opening, Renewal, State, Transition},
        clock::Timestamp,
        id::AuthorizationRequestId,
        identity::ForeignIdentity,
        random::{Random, RandomError},
        scope::ScopeSet,
        secret::{Assertion, Claim, Digest, Finish, Refresh, Secret},
        session::{Redeemer, RevokedBy, Salt},
    },
};

/// An identity of the auth.md protocol: what binds the agent to its human, and what the agent holds.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IdentityFlow {
    /// How the agent registered.
    pub kind: IdentityKind,
    /// The code that the agent shows and its human types; `None` if there is none to type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// Whether the human typed that code when they approved. Without it, the agent must read back another one.
    #[serde(default)]
    pub typed: bool,
    /// Whether the page shows a code to read back to a human who typed none.
    #[serde(default)]
    pub reads_back: bool,
    /// What that code is made of, once the human has approved without typing one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read_back: Option<Code<Finish>>,
    /// Whom the agent expects to approve, such as an e-mail address. Nobody has checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_hint: Option<String>,
    /// The human for whom another issuer vouches, and who has to confirm it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) foreign: Option<Foreign>,
    /// The request of the unclaimed agent that this request claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claims: Option<String>,
    /// The request that claims this one: the last one, if several were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claimed_by: Option<String>,
    /// What the agent holds since it proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Held>,
    /// What it held before it refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Held>,
}

/// How an agent of the auth.md protocol registered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// It acts for a provisional account until a human claims it.
    Anonymous,
    /// A human of the service approves it first.
    ServiceAuth,
    /// Another service vouches for it and its human.
    IdentityAssertion,
}

impl IdentityKind {
    /// Its name on both wires of the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::ServiceAuth => "service_auth",
            Self::IdentityAssertion => "identity_assertion",
        }
    }
}

/// A human as another issuer names them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Foreign {
    issuer: String,
    subject: String,
}

impl Foreign {
    pub(super) fn is(&self, identity: &ForeignIdentity) -> bool {
        self.issuer == identity.issuer() && self.subject == identity.subject()
    }

    pub(super) fn identity(&self) -> Option<ForeignIdentity> {
        ForeignIdentity::new(&self.issuer, &self.subject).ok()
    }
}

impl From<&ForeignIdentity> for Foreign {
    fn from(identity: &ForeignIdentity) -> Self {
        Self { issuer: identity.issuer().to_owned(), subject: identity.subject().to_owned() }
    }
}

/// The secrets that an agent holds, by their digests.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Held {
    #[serde(with = "flow::hex")]
    pub(super) assertion: Digest<Assertion>,
    /// Absent before a human has claimed the agent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "flow::optional_hex")]
    pub(super) refresh: Option<Digest<Refresh>>,
    /// With this and the secret that was presented for them, they can be derived again.
    #[serde(with = "flow::hex")]
    pub(super) salt: Salt,
    #[serde(with = "flow::millis")]
    pub(super) issued_at: Timestamp,
    /// When the identity ends at the latest, however often it is refreshed.
    #[serde(with = "flow::millis")]
    pub(super) until: Timestamp,
}

impl IdentityFlow {
    fn new(kind: IdentityKind) -> Self {
        let (user_code, read_back, login_hint, claims, claimed_by) = (None, None, None, None, None);
        let (typed, reads_back, foreign, held, before) = (false, false, None, None, None);
        Self { kind, user_code, typed, reads_back, read_back, login_hint, foreign, claims, claimed_by, held, before }
    }

    /// The issuer that vouches for the agent's human.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.foreign.as_ref().map(|foreign| foreign.issuer.as_str())
    }

    /// Whether a human approved it, not another issuer in their place.
    pub(super) const fn is_confirmed(&self) -> bool {
        self.typed || self.read_back.is_some()
    }

    /// When the identity ends at the latest.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.held.map(|held| held.until)
    }

    /// Whether the agent holds an assertion.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether the agent acts for a provisional account.
    #[must_use]
    pub fn is_unclaimed(&self) -> bool {
        self.kind == IdentityKind::Anonymous && self.claims.is_none()
    }

    /// The code that the page shows to a human who approved and typed none.
    pub(super) fn code_to_read_back(&self) -> Option<ShortCode> {
        self.read_back.as_ref().map(|code| ShortCode::of(code.digest.as_bytes()))
    }

    /// The request with which the agent registered whose request has this id.
    pub(super) fn registration(&self, id: &AuthorizationRequestId) -> AuthorizationRequestId {
        self.claims.as_deref().and_then(AuthorizationRequestId::parse).unwrap_or_else(|| id.clone())
    }

    /// Whether this is the code that the agent shows.
    pub(super) fn is_user_code(&self, typed: &str) -> bool {
        self.user_code.as_deref().is_some_and(|code| ShortCode(code.to_owned()).is(typed))
    }
}

impl fmt::Debug for IdentityFlow {
    /// Without the codes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityFlow").field("kind", &self.kind).field("typed", &self.typed).finish_non_exhaustive()
    }
}

/// Six digits that a human types or tells. It is useless without the claim token, and the fifth wrong one locks the
/// request.
#[derive(Clone, Eq, PartialEq)]
pub struct ShortCode(String);

impl ShortCode {
    /// The code: six digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut bytes = [0; 32];
        random.fill(&mut bytes)?;
        Ok(Self::of(&bytes))
    }

    /// The code of random bytes. Of 2^64 values, so no code is noticeably likelier.
    fn of(bytes: &[u8; 32]) -> Self {
        let number = bytes.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        Self(format!("{:06}", number % 1_000_000))
    }

    /// Whether a human or an agent sent this code. Blanks and hyphens do not count.
    fn is(&self, sent: &str) -> bool {
        const LONGEST: usize = 64;
        let is_short = sent.len() <= LONGEST;
        let digits: String = sent.chars().filter(|digit| !digit.is_whitespace() && *digit != '-').collect();
        is_short && digits.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShortCode([redacted])")
    }
}

/// An identity that was asked for, and what its agent needs to go on.
#[derive(Debug)]
#[non_exhaustive]
pub struct IdentityRequested {
    /// How the agent registered.
    pub kind: IdentityKind,
    /// The request with which it registered: of an agent that acts unclaimed, another one than its human decides.
    pub registration: AuthorizationRequestId,
    /// The authorization request that the human decides.
    pub authorization: AuthorizationRequest,
    /// The token that finds the request. It is returned only here; `None` where the agent has it already.
    pub claim_token: Option<Secret<Claim>>,
    /// The code that the agent shows its human, if there is one to type.
    pub user_code: Option<ShortCode>,
    /// What the agent holds before anybody has claimed it.
    pub identified: Option<Identified>,
    /// How long to wait before the first poll, and between polls.
    pub interval: Duration,
}

/// The secrets of an identity. They are returned only here.
#[derive(Debug)]
#[non_exhaustive]
pub struct Identified {
    /// The request with which the agent registered.
    pub registration: AuthorizationRequestId,
    /// The authorization request of the identity.
    pub authorization: AuthorizationRequest,
    /// The assertion, which the agent exchanges for access tokens.
    pub assertion: Secret<Assertion>,
    /// The token that renews it; `None` before a human has claimed the agent.
    pub refresh_token: Option<Secret<Refresh>>,
    /// When both expire.
    pub expires_at: Timestamp,
}

/// What a request gets without its human.
pub(super) struct Grant {
    pub(super) account: Account,
    pub(super) scopes: ScopeSet,
    /// When the identity ends at the latest.
    pub(super) until: Timestamp,
    pub(super) expires_at: Timestamp,
    /// Whether the agent can refresh it.
    pub(super) refreshes: bool,
}

impl Ceremony {
    /// Creates the authorization request of an agent of the auth.md protocol that asks a human of the service for access.
    /// `login_hint` names the human whom the agent expects.
    ///
    /// # Errors
    /// When the request is invalid, when too many requests are pending, or when the service fails.
    pub async fn request_identity(
        &self,
        request: Request,
        login_hint: Option<String>,
    ) -> Result<IdentityRequested, CeremonyError> {
        let draw = |_: &AuthorizationRequestId| {
            let claim_token = self.config.prefixes().claim.generate(&*self.random)?;
            let flow = self.to_be_claimed(IdentityKind::ServiceAuth, login_hint.clone())?;
            let lookups = vec![Lookup::from(claim_token.digest())];
            Ok((NewFlow { flow: KnownFlow::Identity(Box::new(flow.clone())), lookups }, (claim_token, flow)))
        };
        let (authorization, (claim_token, flow)) = self.create(&request, None, draw).await?;
        Ok(self.requested_identity(authorization, &flow, Some(claim_token), None))
    }

    /// Registers an agent that nobody has claimed: it acts at once, for an account that the host makes, with the scopes of
    /// [`AuthMd::pre_claim_scopes`](crate::config::AuthMd::pre_claim_scopes). The requested scopes are those for which a
    /// human is asked once the agent wants to be claimed.
    ///
    /// # Errors
    /// [`CeremonyError::NoProvisionalAccount`] when the host makes no such accounts. When the request is invalid, when
    /// too many requests are pending, or when the service fails.
    pub async fn register_unclaimed(&self, request: Request) -> Result<IdentityRequested, CeremonyError> {
        let resource = self.resource(request.resource_id())?;
        let pre_claim = self.config.auth_md().pre_claim();
        let pre_claim: ScopeSet = pre_claim.iter().filter(|scope| resource.scopes().contains(scope)).cloned().collect();
        if pre_claim.is_empty() {
            return Err(CeremonyError::NoScope { offered: String::new() });
        }
        let asked = self.requested(resource, &request)?;
        let all = asked.iter().chain(pre_claim.iter()).map(ToString::to_string).collect();
        let draw = |_: &AuthorizationRequestId| {
            let claim_token = self.config.prefixes().claim.generate(&*self.random)?;
            let lookups = vec![Lookup::from(claim_token.digest())];
            let flow = IdentityFlow::new(IdentityKind::Anonymous);
            Ok((NewFlow { flow: KnownFlow::Identity(Box::new(flow.clone())), lookups }, (claim_token, flow)))
        };
        let (authorization, (claim_token, flow)) = self.create(&request.scopes(all), None, draw).await?;
        let account = self.accounts.provisional(&authorization.client).await?;
        let account = account.ok_or(CeremonyError::NoProvisionalAccount)?;
        let until = self.now().after(self.config.auth_md().unclaimed);
        let event = Event::Unclaimed { authorization: authorization.id.clone(), account: account.id.clone() };
        let grant = Grant { account, scopes: pre_claim, until, expires_at: until, refreshes: false };
        let mut identified = self.grant(authorization, flow.clone(), claim_token.expose(), grant).await?;
        self.record(&event);
        identified.refresh_token = None;
        let authorization = identified.authorization.clone();
        Ok(self.requested_identity(authorization, &flow, Some(claim_token), Some(identified)))
    }

    /// Gives a new request to an account at once, and its agent an assertion that is derived from what it presented.
    pub(super) async fn grant(
        &self,
        mut request: AuthorizationRequest,
        flow: IdentityFlow,
        presented: &str,
        grant: Grant,
    ) -> Result<Identified, CeremonyError> {
        let Grant { account, scopes, until, expires_at, refreshes } = grant;
        let (salt, now) = (self.new_salt()?, self.now());
        let Derived { assertion, refresh } = self.derive_identity(presented, &salt, &request.id)?;
        let refresh_digest = refreshes.then(|| refresh.digest());
        let held = Held { assertion: assertion.digest(), refresh: refresh_digest, salt, issued_at: now, until };
        let open = Opening::new(account.clone(), request.flow.clone());
        let stored = KnownFlow::Identity(Box::new(IdentityFlow { held: Some(held), ..flow })).to_stored();
        let mut approval = Approval::new(account.id, scopes, stored, expires_at);
        approval.lookups.push(Lookup::from(held.assertion));
        approval.lookups.extend(held.refresh.map(Lookup::from));
        for transition in [Transition::Open(open), Transition::Approve(approval)] {
            let applied = self.store.transition(&request.id, &transition, now).await?;
            if !applied || !request.apply(transition, now) {
                return Err(StoreError::new(StoreErrorKind::Conflict).into());
            }
        }
        let registration = request.id.clone();
        Ok(Identified { registration, authorization: request, assertion, refresh_token: Some(refresh), expires_at })
    }

    /// The request that a human decides to claim the agent with this claim token, which `address` asked for. One is made for an agent that has acted
    /// unclaimed so far, unless one waits already.
    ///
    /// # Errors
    /// When the claim token is unknown, when the agent was claimed or refused or its time is over, when too many requests
    /// are pending, or when the service fails.
    pub async fn claim_identity(
        &self,
        claim_token: &str,
        login_hint: Option<String>,
        address: Option<IpAddr>,
    ) -> Result<IdentityRequested, CeremonyError> {
        for _ in 0..DRAWS {
            let (own, own_flow) = self.identity_by_claim(claim_token).await?;
            let (request, flow) = self.claim_of(own.clone(), own_flow.clone()).await?;
            let state = request.state_at(self.now());
            match state {
                _ if flow.is_held() && !flow.is_unclaimed() => return Err(CeremonyError::AlreadyClaimed),
                State::Pending | State::Approved if !flow.is_unclaimed() => {
                    return Ok(self.requested_identity(request, &flow, None, None));
                }
                _ if own_flow.is_unclaimed() && own.state_at(self.now()) == State::Approved => {}
                _ => return Err(self.for_state(&request, state)),
            }
            let mut claiming = self.to_be_claimed(IdentityKind::Anonymous, login_hint.clone())?;
            claiming.claims = Some(own.id.to_string());
            let new = Request::again(&own).address(address);
            let draw = |_: &AuthorizationRequestId| Ok((KnownFlow::Identity(Box::new(claiming.clone())).into(), ()));
            let (request, ()) = self.create(&new, None, draw).await?;
            let renewed = IdentityFlow { claimed_by: Some(request.id.to_string()), ..own_flow };
            let renewed = KnownFlow::Identity(Box::new(renewed)).to_stored();
            let renew = Transition::Renew(Renewal::new(own.flow.clone(), renewed, own.expires_at));
            if self.store.transition(&own.id, &renew, self.now()).await? {
                return Ok(self.requested_identity(request, &claiming, None, None));
            }
            // Another call made one, or the agent's time is over. What was just made expires unseen.
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Completes the claim by the code that the page showed to the human, and that the agent read back. If the human typed the
    /// agent's code, that code completes it too. The same call again within 10 seconds gets the same answer.
    ///
    /// # Errors
    /// [`CeremonyError::Pending`] when the human has not approved. When the claim token is unknown, when the code is
    /// wrong, which counts as a failed attempt, when the agent was claimed or refused or its time is over, or when the
    /// service fails.
    pub async fn complete_identity(&self, claim_token: &str, code: &str) -> Result<Identified, CeremonyError> {
        let (request, flow) = self.claim_by_token(claim_token).await?;
        let state = request.state_at(self.now());
        if flow.is_unclaimed() || state != State::Approved {
            return Err(self.for_state(&request, state));
        }
        let is_right = match flow.code_to_read_back() {
            Some(expected) => expected.is(code),
            // The human typed the agent's code, so there is no other.
            None => flow.typed && flow.is_user_code(code),
        };
        if !is_right {
            // Nothing is left to guess. A claim token that leaks later must not lock the identity.
            if flow.is_held() && !self.is_repeated(&flow) {
                return Err(CeremonyError::AlreadyClaimed);
            }
            self.count_failed_attempt(&request).await?;
            return Err(CeremonyError::WrongCode);
        }
        self.hand_over_identity(claim_token, request, flow).await
    }

    /// Polls with a claim token, and once the human has approved and typed the agent's code, redeems it for a session and
    /// an identity. The same call again within 10 seconds gets the same identity.
    ///
    /// # Errors
    /// When the claim token is unknown, when the human has not decided, has denied, or approved without the code, when the
    /// agent polls too often or was claimed before, or when the service fails.
    pub async fn redeem_identity(
        &self,
        claim_token: &str,
        resource: Option<&str>,
        redeemer: &Redeemer,
    ) -> Result<(Issued, Identified), CeremonyError> {
        let (request, flow) = self.claim_by_token(claim_token).await?;
        check_resource(&request, resource)?;
        let (state, asked) = self.ask(&request);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        if state != State::Approved || flow.is_unclaimed() || (!flow.typed && !flow.is_held()) {
            return Err(self.for_state(&request, state));
        }
        let identified = self.hand_over_identity(claim_token, request, flow).await?;
        let granted = identified.authorization.granted().cloned().unwrap_or_default();
        let issued = self.issue_of_identity(&identified.authorization, &granted, redeemer).await?;
        Ok((issued, identified))
    }

    pub(super) fn to_be_claimed(
        &self,
        kind: IdentityKind,
        login_hint: Option<String>,
    ) -> Result<IdentityFlow, CeremonyError> {
        let codes = self.config.auth_md().codes;
        let mut flow = IdentityFlow { login_hint, reads_back: codes.are_read_back(), ..IdentityFlow::new(kind) };
        if codes.are_typed() {
            flow.user_code = Some(ShortCode::generate(&*self.random)?.0);
        }
        Ok(flow)
    }

    pub(super) fn requested_identity(
        &self,
        authorization: AuthorizationRequest,
        flow: &IdentityFlow,
        claim_token: Option<Secret<Claim>>,
        identified: Option<Identified>,
    ) -> IdentityRequested {
        let (user_code, interval) = (flow.user_code.clone().map(ShortCode), self.config.limits().poll_interval);
        let (kind, registration) = (flow.kind, flow.registration(&authorization.id));
        IdentityRequested { kind, registration, authorization, claim_token, user_code, identified, interval }
    }

    /// The request that a human decides, by the agent's claim token.
    async fn claim_by_token(&self, claim_token: &str) -> Result<(AuthorizationRequest, IdentityFlow), CeremonyError> {
        let (request, flow) = self.identity_by_claim(claim_token).await?;
        self.claim_of(request, flow).await
    }

    async fn claim_of(
        &self,
        request: AuthorizationRequest,
        flow: IdentityFlow,
    ) -> Result<(AuthorizationRequest, IdentityFlow), CeremonyError> {
        let id = flow.claimed_by.as_deref().and_then(AuthorizationRequestId::parse);
        let Some(id) = id else { return Ok((request, flow)) };
        match self.find(&AuthorizationKey::Id(id)).await? {
            Some(claiming) => identity(claiming)?.ok_or(CeremonyError::UnknownClaim),
            // Housekeeping has deleted it, so it expired.
            None => Ok((request, flow)),
        }
    }

    /// Whether the claim token is that of an identity.
    pub(crate) async fn is_identity(&self, claim_token: &str) -> Result<bool, CeremonyError> {
        match self.identity_by_claim(claim_token).await {
            Ok(_) => Ok(true),
            Err(CeremonyError::UnknownClaim) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn identity_by_claim(
        &self,
        claim_token: &str,
    ) -> Result<(AuthorizationRequest, IdentityFlow), CeremonyError> {
        match self.by_claim(claim_token).await? {
            (request, KnownFlow::Identity(flow)) => Ok((request, *flow)),
            _ => Err(CeremonyError::UnknownClaim),
        }
    }

    pub(super) async fn identity_with(
        &self,
        lookup: Lookup,
    ) -> Result<Option<(AuthorizationRequest, IdentityFlow)>, CeremonyError> {
        match self.find(&AuthorizationKey::Lookup(lookup)).await? {
            Some(request) => identity(request),
            None => Ok(None),
        }
    }

    /// Whether the same claim again gets the same answer.
    fn is_repeated(&self, flow: &IdentityFlow) -> bool {
        let is_fresh = flow.held.is_some_and(|held| self.now().since(held.issued_at) <= REPLAY_GRACE);
        flow.before.is_none() && is_fresh
    }

    /// Whether agents may still act for the account. If not, the identity ends.
    pub(super) async fn may_act(&self, request: &AuthorizationRequest) -> Result<bool, CeremonyError> {
        let Some(account) = &request.account else { return Ok(false) };
        let is_active = self.accounts.is_active(&account.id).await?;
        if !is_active {
            self.end_identity(&request.id, &Revoker::by(RevokedBy::Service)).await?;
        }
        Ok(is_active)
    }

    /// Gives an agent that proved itself its assertion: the one that it has, if it was given within the grace.
    async fn hand_over_identity(
        &self,
        claim_token: &str,
        mut request: AuthorizationRequest,
        mut flow: IdentityFlow,
    ) -> Result<Identified, CeremonyError> {
        for _ in 0..DRAWS {
            if flow.is_held() && !self.is_repeated(&flow) {
                return Err(CeremonyError::AlreadyClaimed);
            }
            if !self.may_act(&request).await? {
                return Err(CeremonyError::Denied);
            }
            if let Some(held) = flow.held {
                return self.identified(request, &flow, claim_token, &held);
            }
            self.merge(&request, &flow).await?;
            let now = self.now();
            let until = self.last_instant(now, request.lasting.map(|span| now.after(span)));
            let id = request.id.clone();
            if let Some(identified) = self.renew_identity(request, flow, claim_token, until).await? {
                self.record(&Event::Identified { authorization: id });
                return Ok(identified);
            }
            request = self.by_id(&id).await.map_err(CeremonyError::after_a_write)?;
            flow = identity(request.clone())?.ok_or(CeremonyError::UnknownClaim)?.1;
            let state = request.state_at(self.now());
            if state != State::Approved {
                return Err(self.for_state(&request, state));
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Lets the host merge the provisional account of an agent that is claimed, and ends what the agent had before.
    async fn merge(&self, request: &AuthorizationRequest, flow: &IdentityFlow) -> Result<(), CeremonyError> {
        let provisional = flow.claims.as_deref().and_then(AuthorizationRequestId::parse);
        let (Some(provisional), Some(account)) = (provisional, &request.account) else { return Ok(()) };
        let unclaimed = self.find(&AuthorizationKey::Id(provisional.clone())).await?;
        if let Some(Account { id, .. }) = unclaimed.and_then(|unclaimed| unclaimed.account) {
            self.accounts.merge(&id, account).await?;
            self.end_request(&provisional, &Revoker::by(RevokedBy::Service)).await?;
            // What the agent did until then.
            self.accounts.merge(&id, account).await?;
            let (authorization, account) = (request.id.clone(), account.id.clone());
            self.record(&Event::Claimed { authorization, provisional: id, account });
        }
        Ok(())
    }
}

/// The request and its flow, if it is that of an identity.
pub(super) fn identity(
    request: AuthorizationRequest,
) -> Result<Option<(AuthorizationRequest, IdentityFlow)>, CeremonyError> {
    match KnownFlow::of(&request)? {
        KnownFlow::Identity(flow) => Ok(Some((request, *flow))),
        _ => Ok(None),
    }
}

pub(super) fn check_resource(request: &AuthorizationRequest, resource: Option<&str>) -> Result<(), CeremonyError> {
    match resource {
        Some(resource) if *resource != *request.resource => Err(CeremonyError::InvalidTarget),
        _ => Ok(()),
    }
}
