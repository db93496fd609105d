use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{
    Ceremony, CeremonyError, DRAWS, Issued, Request,
    flow::{self, Code, KnownFlow, NewFlow},
    redeem::REPLAY_GRACE,
    refresh::narrowed,
    sessions::Revoker,
};
use crate::{
    audit::Event,
    store::{AuthorizationKey, RevokeTarget, StoreError, StoreErrorKind},
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

/// How many sessions of one identity are active at most. A further one ends the oldest.
const ACTIVE: usize = 16;

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
    claims: Option<String>,
    /// The request that claims this one: the last one, if several were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claimed_by: Option<String>,
    /// What the agent holds since it proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    /// What it held before it refreshed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Held>,
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
struct Held {
    #[serde(with = "flow::hex")]
    assertion: Digest<Assertion>,
    /// Absent before a human has claimed the agent.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "flow::optional_hex")]
    refresh: Option<Digest<Refresh>>,
    /// With this and the secret that was presented for them, they can be derived again.
    #[serde(with = "flow::hex")]
    salt: Salt,
    #[serde(with = "flow::millis")]
    issued_at: Timestamp,
    /// When the identity ends at the latest, however often it is refreshed.
    #[serde(with = "flow::millis")]
    until: Timestamp,
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
    fn registration(&self, id: &AuthorizationRequestId) -> AuthorizationRequestId {
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

/// The secrets that an agent gets.
struct Derived {
    assertion: Secret<Assertion>,
    refresh: Secret<Refresh>,
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

    /// Exchanges an assertion for a session with all granted scopes, or with those that are named. It can be exchanged
    /// again and again. At most 16 sessions of one identity are active; a further one ends the oldest.
    ///
    /// # Errors
    /// When the assertion is not valid, when it is exchanged too often, when a scope was not granted or the resource is
    /// another one, when agents may no longer act for the account, or when the service fails.
    pub async fn exchange_assertion(
        &self,
        assertion: &str,
        scopes: &[String],
        resource: Option<&str>,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        let digest = self.config.prefixes().assertion.digest(assertion.as_bytes());
        let digest = digest.ok_or(CeremonyError::InvalidAssertion)?;
        let found = self.identity_with(Lookup::from(digest)).await?;
        let (request, flow) = found.ok_or(CeremonyError::InvalidAssertion)?;
        let now = self.now();
        if !self.is_good(&flow, &digest, now) || request.state_at(now) != State::Approved {
            return Err(CeremonyError::InvalidAssertion);
        }
        check_resource(&request, resource)?;
        let granted = request.granted().cloned().unwrap_or_default();
        let scopes = narrowed(scopes, &granted)?;
        self.polling.exchange(&request.id).map_err(|wait| CeremonyError::TooFast { wait })?;
        let issued = self.issue_of_identity(&request, &scopes, redeemer).await;
        issued.map_err(|error| match error {
            CeremonyError::Denied | CeremonyError::Revoked | CeremonyError::Expired | CeremonyError::Locked => {
                CeremonyError::InvalidAssertion
            }
            error => error,
        })
    }

    /// Renews an identity: a new assertion and a new refresh token. The old assertion stays valid for the
    /// [grace](crate::config::Lifetimes::refresh_grace), within which the old refresh token gets the same answer again.
    /// Later, the old refresh token ends the identity and its sessions: two parties may hold it.
    ///
    /// # Errors
    /// When the refresh token is not valid, when agents may no longer act for the account, or when the service fails.
    pub async fn refresh_identity(&self, refresh_token: &str) -> Result<Identified, CeremonyError> {
        let digest = self.config.prefixes().refresh.digest(refresh_token.as_bytes());
        let digest = digest.ok_or(CeremonyError::InvalidRefresh)?;
        for _ in 0..DRAWS {
            let found = self.identity_with(Lookup::from(digest)).await?;
            let (request, flow) = found.ok_or(CeremonyError::InvalidRefresh)?;
            let (state, held) = (request.state_at(self.now()), flow.held);
            if state == State::Revoked {
                // An end that failed half-way is finished.
                self.end_request(&request.id, &Revoker::by(RevokedBy::Reuse)).await?;
            }
            let (State::Approved, Some(held)) = (state, held) else { return Err(CeremonyError::InvalidRefresh) };
            let is = |of: Option<Digest<Refresh>>| of.is_some_and(|of| of.matches(&digest));
            if !is(held.refresh) {
                let grace = self.config.lifetimes().refresh_grace;
                if flow.before.is_some_and(|before| is(before.refresh)) && self.now().since(held.issued_at) < grace {
                    return self.identified(request, &flow, refresh_token, &held);
                }
                self.record(&Event::IdentityReused { authorization: request.id.clone() });
                self.end_identity(&request.id, &Revoker::by(RevokedBy::Reuse)).await?;
                return Err(CeremonyError::InvalidRefresh);
            }
            if !self.may_act(&request).await? {
                return Err(CeremonyError::InvalidRefresh);
            }
            let next = IdentityFlow { before: Some(held), ..flow };
            if let Some(identified) = self.renew_identity(request, next, refresh_token, held.until).await? {
                self.record(&Event::IdentityRefreshed { authorization: identified.authorization.id.clone() });
                return Ok(identified);
            }
            // Another call refreshed first: try again.
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Ends an identity with its sessions. What a human or an operator ends takes along what another issuer's word gave the
    /// same client: otherwise its next word would bring the agent back. Returns how many sessions were revoked. The same call
    /// again finishes what failed half-way.
    pub(super) async fn end_identity(
        &self,
        id: &AuthorizationRequestId,
        revoker: &Revoker,
    ) -> Result<usize, CeremonyError> {
        let ended = self.end_request(id, revoker).await?;
        if !matches!(revoker.by, RevokedBy::Human | RevokedBy::Service) {
            return Ok(ended);
        }
        let found = self.store.find_authorization(&AuthorizationKey::Id(id.clone())).await;
        let Some(request) = found.map_err(|error| CeremonyError::from(error).after_a_write())? else {
            return Ok(ended);
        };
        let foreign = identity(request.clone())?.and_then(|(_, flow)| flow.foreign?.identity());
        let (Some(foreign), Some(account)) = (foreign, &request.account) else { return Ok(ended) };
        let of_client = |other: &AuthorizationRequest| other.client.id == request.client.id;
        let more = self.end_of_account(&account.id, &foreign, of_client, revoker).await;
        Ok(ended + more.map_err(CeremonyError::after_a_write)?)
    }

    /// Ends one authorization request with its sessions.
    pub(super) async fn end_request(
        &self,
        id: &AuthorizationRequestId,
        revoker: &Revoker,
    ) -> Result<usize, CeremonyError> {
        // First what can still become sessions.
        self.store.transition(id, &Transition::Revoke, self.now()).await?;
        let mut ended = 0;
        let sessions = self.store.sessions_of(id).await;
        for record in sessions.map_err(|error| CeremonyError::from(error).after_a_write())? {
            if record.revoked.is_none() {
                let target = RevokeTarget::Session(record.session.id.clone(), record.session.account.id.clone());
                ended += self.revoke_as(&target, revoker).await?;
            }
        }
        Ok(ended)
    }

    /// Ends the identity of an assertion or of its refresh token, on request of its holder. An unknown token is not an error.
    pub(super) async fn revoke_identity(&self, token: &str) -> Result<(), CeremonyError> {
        let prefixes = self.config.prefixes();
        let assertion = prefixes.assertion.digest(token.as_bytes()).map(Lookup::from);
        let lookup = assertion.or_else(|| prefixes.refresh.digest(token.as_bytes()).map(Lookup::from));
        let Some(lookup) = lookup else { return Ok(()) };
        match self.identity_with(lookup).await? {
            Some((request, _)) => self.end_identity(&request.id, &Revoker::by(RevokedBy::Agent)).await.map(drop),
            None => Ok(()),
        }
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

    async fn identity_by_claim(
        &self,
        claim_token: &str,
    ) -> Result<(AuthorizationRequest, IdentityFlow), CeremonyError> {
        match self.by_claim(claim_token).await? {
            (request, KnownFlow::Identity(flow)) => Ok((request, *flow)),
            _ => Err(CeremonyError::UnknownClaim),
        }
    }

    async fn identity_with(
        &self,
        lookup: Lookup,
    ) -> Result<Option<(AuthorizationRequest, IdentityFlow)>, CeremonyError> {
        match self.find(&AuthorizationKey::Lookup(lookup)).await? {
            Some(request) => identity(request),
            None => Ok(None),
        }
    }

    /// Whether the agent holds this assertion, or held it until it refreshed a moment ago.
    fn is_good(&self, flow: &IdentityFlow, assertion: &Digest<Assertion>, now: Timestamp) -> bool {
        let is = |held: Option<Held>| held.is_some_and(|held| held.assertion.matches(assertion));
        let grace = self.config.lifetimes().refresh_grace;
        let is_fresh = flow.held.is_some_and(|held| now.since(held.issued_at) < grace);
        is(flow.held) || (is(flow.before) && is_fresh)
    }

    /// Whether the same claim again gets the same answer.
    fn is_repeated(&self, flow: &IdentityFlow) -> bool {
        let is_fresh = flow.held.is_some_and(|held| self.now().since(held.issued_at) <= REPLAY_GRACE);
        flow.before.is_none() && is_fresh
    }

    /// Whether agents may still act for the account. If not, the identity ends.
    async fn may_act(&self, request: &AuthorizationRequest) -> Result<bool, CeremonyError> {
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
            if let Some(held) = flow.held {
                let again = self.is_repeated(&flow);
                let answer = || self.identified(request, &flow, claim_token, &held);
                return if again { answer() } else { Err(CeremonyError::AlreadyClaimed) };
            }
            if !self.may_act(&request).await? {
                return Err(CeremonyError::Denied);
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

    /// Gives the request new secrets, derived from what its agent presented. `None` if it was changed meanwhile.
    async fn renew_identity(
        &self,
        mut request: AuthorizationRequest,
        flow: IdentityFlow,
        presented: &str,
        until: Timestamp,
    ) -> Result<Option<Identified>, CeremonyError> {
        let (salt, now) = (self.new_salt()?, self.now());
        let derived = self.derive_identity(presented, &salt, &request.id)?;
        let (assertion, refresh) = (derived.assertion.digest(), derived.refresh.digest());
        let held = Held { assertion, refresh: Some(refresh), salt, issued_at: now, until };
        let expires_at = now.after(self.config.lifetimes().refresh).min(until);
        let registration = flow.registration(&request.id);
        let stored = KnownFlow::Identity(Box::new(IdentityFlow { held: Some(held), ..flow })).to_stored();
        let mut renewal = Renewal::new(request.flow.clone(), stored, expires_at);
        renewal.lookups = vec![assertion.into(), refresh.into()];
        let renew = Transition::Renew(renewal);
        if !self.store.transition(&request.id, &renew, now).await? || !request.apply(renew, now) {
            return Ok(None);
        }
        let refresh_token = Some(derived.refresh);
        Ok(Some(Identified {
            registration,
            authorization: request,
            assertion: derived.assertion,
            refresh_token,
            expires_at,
        }))
    }

    /// The secrets that were derived from `presented` before.
    fn identified(
        &self,
        authorization: AuthorizationRequest,
        flow: &IdentityFlow,
        presented: &str,
        held: &Held,
    ) -> Result<Identified, CeremonyError> {
        let Derived { assertion, refresh } = self.derive_identity(presented, &held.salt, &authorization.id)?;
        let (registration, expires_at) = (flow.registration(&authorization.id), authorization.expires_at);
        Ok(Identified { registration, authorization, assertion, refresh_token: Some(refresh), expires_at })
    }

    fn derive_identity(
        &self,
        presented: &str,
        salt: &Salt,
        id: &AuthorizationRequestId,
    ) -> Result<Derived, CeremonyError> {
        let prefixes = self.config.prefixes();
        let assertion = prefixes.assertion.derive(presented, &salt.0, id.as_str())?;
        let refresh = prefixes.refresh.derive(presented, &salt.0, id.as_str())?;
        Ok(Derived { assertion, refresh })
    }

    fn new_salt(&self) -> Result<Salt, CeremonyError> {
        let mut salt = Salt([0; 32]);
        self.random.fill(&mut salt.0)?;
        Ok(salt)
    }

    pub(super) async fn issue_of_identity(
        &self,
        request: &AuthorizationRequest,
        scopes: &ScopeSet,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        if !self.may_act(request).await? {
            return Err(CeremonyError::Denied);
        }
        let now = self.now();
        let earlier = self.store.sessions_of(&request.id).await?;
        let is_first = earlier.is_empty();
        let active = earlier.into_iter().filter(|record| record.is_alive(&request.resource, now));
        for oldest in active.skip(ACTIVE - 1) {
            self.end(&oldest.session, RevokedBy::Agent).await?;
        }
        let flow = KnownFlow::of(request)?;
        let issued = self.issue_with(request, &flow, scopes, redeemer).await?;
        if is_first {
            self.notify_of_session(&issued.record, &flow);
        }
        Ok(issued)
    }
}

/// The request and its flow, if it is that of an identity.
fn identity(request: AuthorizationRequest) -> Result<Option<(AuthorizationRequest, IdentityFlow)>, CeremonyError> {
    match KnownFlow::of(&request)? {
        KnownFlow::Identity(flow) => Ok(Some((request, *flow))),
        _ => Ok(None),
    }
}

fn check_resource(request: &AuthorizationRequest, resource: Option<&str>) -> Result<(), CeremonyError> {
    match resource {
        Some(resource) if *resource != *request.resource => Err(CeremonyError::InvalidTarget),
        _ => Ok(()),
    }
}
