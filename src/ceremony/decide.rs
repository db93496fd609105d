use std::time::Duration;

use super::{
    Approver, Ceremony, CeremonyError, DRAWS,
    flow::{Code, KnownFlow},
    identity::{Foreign, IdentityFlow, ShortCode},
};
use crate::{
    accounts::SignedIn,
    audit::Event,
    config::OAuthClient,
    store::{StoreError, traits::is_late},
    types::{
        authorization::{Account, Approval, AuthorizationRequest, Client, Lookup, Opening, Release, State, Transition},
        callback::{CallbackError, host_of},
        clock::{SKEW, Timestamp},
        id::{AuthorizationRequestId, ClientId},
        phrase::CheckPhrase,
        redirect_uri::RedirectUri,
        scope::ScopeSet,
        secret::{Exchange, Finish, Kind, Prefix, Secret},
        session::{RevokedBy, SessionRecord},
        text::HumanText,
    },
};

/// How many of the account's last sessions are compared with a new request.
const REMEMBERED: usize = 50;

/// A human's decision.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// Approve the request.
    Approve(Approve),
    /// Deny the request.
    Deny,
}

/// What a human approves.
///
/// ```
/// # use std::time::Duration;
/// use tower_agent_auth::{ceremony::{Approve, Decision}, types::scope::ScopeSet};
///
/// let scopes = ScopeSet::parse("projects:read")?;
/// let decision = Decision::Approve(Approve::scopes(scopes).lasting(Duration::from_secs(86_400)));
/// # Ok::<(), tower_agent_auth::types::scope::ScopeError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Approve {
    /// The granted scopes: one or more of those requested.
    pub scopes: ScopeSet,
    /// How long the session may last: one of the [choices](View::choices). `None` is the
    /// [proposed one](View::proposed_choice), if there are any.
    pub lasting: Option<Duration>,
    /// The code that the agent shows, as the human typed it, for a request whose [flow](IdentityFlow::user_code) has one.
    pub user_code: Option<String>,
}

impl Approve {
    /// Approves these scopes, for the proposed time.
    #[must_use]
    pub const fn scopes(scopes: ScopeSet) -> Self {
        Self { scopes, lasting: None, user_code: None }
    }

    /// Sets how long the session may last.
    #[must_use]
    pub const fn lasting(mut self, span: Duration) -> Self {
        self.lasting = Some(span);
        self
    }

    /// Sets the code that the human typed. Blanks and hyphens in it do not count.
    #[must_use]
    pub fn user_code(mut self, typed: &str) -> Self {
        self.user_code = Some(typed.to_owned());
        self
    }
}

impl From<ScopeSet> for Approve {
    /// The scopes, for the proposed time.
    fn from(scopes: ScopeSet) -> Self {
        Self::scopes(scopes)
    }
}

/// The content of the approval page.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct View {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// Its flow.
    pub flow: KnownFlow,
    /// Its state.
    pub state: State,
    /// Warnings for the human.
    pub warnings: Vec<Warning>,
    /// The scopes that this OAuth client already has from this account at this resource, in any of its sessions. An
    /// approval adds a session and ends none.
    pub held: ScopeSet,
    /// What the account gave to this client before, while the request is pending.
    pub earlier: Earlier,
    /// Whether the request is pending and this browser opened it, so that it can [release](Ceremony::release) it.
    pub can_release: bool,
    proposed: ScopeSet,
    choices: Vec<Duration>,
    proposed_choice: Option<Duration>,
}

impl View {
    /// The phrase that the agent shows its human. The page shows the same, to be compared.
    #[must_use]
    pub fn check_phrase(&self) -> CheckPhrase {
        self.authorization.check_phrase()
    }

    /// The scopes to tick at first, while the request is pending: those requested, but none that is
    /// [risky](crate::types::scope::Catalogue::is_risky) unless the account has given it to this client before. A session
    /// counts that lasts, that has expired, or that the agent itself ended. If all are risky, none is ticked, and the human
    /// has to choose.
    ///
    /// A client is known again by its id. Without one, by its name and kind. Anybody can claim those, and the id of a client
    /// that registered itself can be copied.
    #[must_use]
    pub const fn proposed(&self) -> &ScopeSet {
        &self.proposed
    }

    /// How long the session may last, for the human to choose from: whole seconds, the shortest first. Empty if the
    /// [configuration](crate::config::Lifetimes::choices) has no choices; then the human is not asked.
    #[must_use]
    pub fn choices(&self) -> &[Duration] {
        &self.choices
    }

    /// The choice to select at first.
    #[must_use]
    pub const fn proposed_choice(&self) -> Option<Duration> {
        self.proposed_choice
    }
}

/// What an account gave before. A client is known again by its id; without one, by its name and kind, which anybody can
/// claim.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Earlier {
    /// Whether the account has or had a session of any client.
    pub any: bool,
    /// The number of sessions of this client, among the last 50 of the account.
    pub sessions: usize,
    /// When one of them was last used.
    pub last_used: Option<Timestamp>,
}

impl Earlier {
    fn of(client: &Client, sessions: &[SessionRecord]) -> Self {
        let same = || sessions.iter().filter(|record| record.client.is_same_as(client));
        let last_used = same().filter_map(|record| Some(record.last_use?.at)).max();
        Self { any: !sessions.is_empty(), sessions: same().count(), last_used }
    }
}

/// What hints at a deception.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// What the client calls itself or this session, or its reason, [can be mistaken](HumanText::looks_deceptive) for something else.
    DeceptiveName,
    /// The client's name resembles the service's own name or host, or the client
    /// [claims authority](HumanText::claims_authority).
    OfficialName,
}

/// A decided authorization request, and the code that is passed through the human's browser, if there is one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Decided {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// Its flow.
    pub flow: KnownFlow,
    /// The code, while it can be redeemed.
    pub code: Option<HandedOut>,
}

/// A code that the agent redeems.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandedOut {
    /// Sent to the agent's callback immediately.
    Exchange(Secret<Exchange>),
    /// Shown to the human, who passes it to the agent.
    Finish(Secret<Finish>),
    /// Shown to the human, who tells it to the agent.
    ReadBack(ShortCode),
}

impl Ceremony {
    /// The flow of an authorization request.
    #[cfg(feature = "pages")]
    pub(crate) async fn flow(&self, id: &AuthorizationRequestId) -> Result<KnownFlow, CeremonyError> {
        Ok(KnownFlow::of(&self.by_id(id).await?)?)
    }

    /// Returns an authorization request for a signed-in human to view, and binds it to their account. After that, no
    /// other account can decide, unless this browser [releases](Self::release) it.
    ///
    /// # Errors
    /// When there is no such authorization request, when another account opened it first, or when the service fails.
    pub async fn view<'a>(
        &self,
        id: &AuthorizationRequestId,
        human: impl Into<Approver<'a>>,
    ) -> Result<View, CeremonyError> {
        let approver = human.into();
        let account = approver.account();
        let mut authorization = self.by_id(id).await?;
        let now = self.now();
        if authorization.account.is_none() && authorization.state_at(now) == State::Pending {
            let flow = KnownFlow::of(&authorization)?.opened_by(approver.opener(&account.id, id)?);
            let open = Transition::Open(Opening::new(account.clone(), flow));
            let is_opened = self.store.transition(id, &open, now).await?;
            if is_opened {
                self.record(&Event::Viewed { authorization: id.clone(), account: account.id.clone() });
            }
            authorization = self.by_id(id).await?;
            if is_opened {
                self.notify_of_request(&authorization, &KnownFlow::of(&authorization)?, account);
            }
        }
        self.check_account(&authorization, account)?;
        let warnings = self.warnings(&authorization.client);
        let (mut held, mut proposed, mut earlier) = (ScopeSet::default(), ScopeSet::default(), Earlier::default());
        if authorization.state_at(now) == State::Pending {
            let sessions = self.store.list_sessions(&account.id, None, REMEMBERED).await?;
            earlier = Earlier::of(&authorization.client, &sessions);
            held = self.held(&authorization, &sessions);
            proposed = self.proposed(&authorization, &sessions);
        }
        let flow = KnownFlow::of(&authorization)?;
        let can_release = self.releasable(&authorization, &approver)?.is_some();
        let lifetimes = self.config.lifetimes();
        Ok(View {
            state: authorization.state_at(now),
            authorization,
            flow,
            warnings,
            held,
            earlier,
            can_release,
            proposed,
            choices: lifetimes.choices.clone(),
            proposed_choice: lifetimes.proposed,
        })
    }

    /// Whether the browser of this human can release a request, be it bound to their account or to another: it is
    /// pending, and this browser opened it.
    ///
    /// # Errors
    /// When there is no such authorization request, or when the service fails.
    pub async fn can_release<'a>(
        &self,
        id: &AuthorizationRequestId,
        human: impl Into<Approver<'a>>,
    ) -> Result<bool, CeremonyError> {
        Ok(self.releasable(&self.by_id(id).await?, &human.into())?.is_some())
    }

    /// Releases a pending request from the account that this browser opened it for, so that another account can open it.
    /// Nobody else can. A request that no account has opened stays as it is.
    ///
    /// # Errors
    /// When there is no such authorization request, when another browser opened it, when it was decided or has expired,
    /// or when the service fails.
    pub async fn release<'a>(
        &self,
        id: &AuthorizationRequestId,
        human: impl Into<Approver<'a>>,
    ) -> Result<(), CeremonyError> {
        let approver = human.into();
        for _ in 0..DRAWS {
            let authorization = self.by_id(id).await?;
            match authorization.state_at(self.now()) {
                State::Pending if authorization.account.is_none() => return Ok(()),
                State::Pending => {}
                State::Expired => return Err(CeremonyError::Expired),
                _ => return Err(CeremonyError::AlreadyDecided),
            }
            let release = self.releasable(&authorization, &approver)?.ok_or(CeremonyError::WrongAccount)?;
            let event = Event::Released { authorization: id.clone(), account: release.account.clone() };
            if self.store.transition(id, &Transition::Release(release), self.now()).await? {
                self.record(&event);
                return Ok(());
            }
            // It was opened, released or decided meanwhile.
        }
        Err(CeremonyError::WrongAccount)
    }

    /// The transition that releases a request, if it is pending and the browser of this approver opened it.
    fn releasable(
        &self,
        authorization: &AuthorizationRequest,
        approver: &Approver<'_>,
    ) -> Result<Option<Release>, CeremonyError> {
        let Some(account) = &authorization.account else { return Ok(None) };
        let (flow, opener) = KnownFlow::with_opener(authorization)?;
        let is_opener = opener.is_some() && opener == approver.opener(&account.id, &authorization.id)?;
        if !is_opener || authorization.state_at(self.now()) != State::Pending {
            return Ok(None);
        }
        Ok(Some(Release::new(account.id.clone(), authorization.flow.clone(), flow.to_stored())))
    }

    /// Records the decision of the human of the bound account.
    ///
    /// The same decision again gets the same answer: a form that is sent twice does no harm. If the answer has a code,
    /// only the [approver](Approver) who got it gets it again, and only until it is redeemed or expires.
    ///
    /// # Errors
    /// When another account opened it, when it was decided differently or has expired, when the human's sign-in is too
    /// old to approve with, when `decision` contains no scope, one that was not requested or a length that is no choice,
    /// when agents may no longer act for the account, or when the service fails. The request is then unchanged, unless the error
    /// [may have changed it](CeremonyError::may_have_changed): then decide again, or view the request.
    pub async fn decide<'a>(
        &self,
        id: &AuthorizationRequestId,
        approver: impl Into<Approver<'a>>,
        decision: Decision,
    ) -> Result<Decided, CeremonyError> {
        let approver = approver.into();
        let mut authorization = self.by_id(id).await?;
        self.check_account(&authorization, approver.account())?;
        if authorization.state_at(self.now()) != State::Pending {
            return self.decided_before(authorization, &approver, &decision);
        }
        let mut flow = KnownFlow::of(&authorization)?;
        let (transition, event, code) = match &decision {
            Decision::Approve(approve) => self.approval(&authorization, &mut flow, &approver, approve).await?,
            Decision::Deny => {
                let account = approver.account().id.clone();
                let event = Event::Denied { authorization: id.clone(), account: account.clone() };
                (Transition::Deny(account), event, None)
            }
        };
        let now = self.now();
        let expected = authorization.apply(transition.clone(), now).then_some(&authorization);
        if self.decided_now(id, &transition, now, expected).await? {
            self.record(&event);
            return Ok(Decided { authorization, flow, code });
        }
        // Another call decided first, or the request was released.
        let current = self.by_id(id).await.map_err(CeremonyError::after_a_write)?;
        self.check_account(&current, approver.account())?;
        self.decided_before(current, &approver, &decision)
    }

    /// Applies a decision. If the store fails, its change may have been made all the same: one look shows whether the
    /// request is now as expected. A store that did not respond in time is not asked again.
    async fn decided_now(
        &self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        now: Timestamp,
        expected: Option<&AuthorizationRequest>,
    ) -> Result<bool, CeremonyError> {
        let error: StoreError = match self.store.transition(id, transition, now).await {
            Ok(applied) => return Ok(applied),
            Err(error) => error,
        };
        let can_look = error.may_have_changed() && !is_late(&error);
        let is_expected = |found: &AuthorizationRequest| {
            let facts = |of: &AuthorizationRequest| (of.decision.clone(), of.lasting, of.flow.clone());
            expected.is_some_and(|expected| facts(found) == facts(expected))
        };
        match can_look {
            true if self.by_id(id).await.is_ok_and(|found| is_expected(&found)) => Ok(true),
            _ => Err(error.into()),
        }
    }

    /// The answer to a decision about a request that is no longer pending.
    fn decided_before(
        &self,
        authorization: AuthorizationRequest,
        approver: &Approver<'_>,
        decision: &Decision,
    ) -> Result<Decided, CeremonyError> {
        let state = authorization.state_at(self.now());
        let same = match (decision, state) {
            (_, State::Expired) => return Err(CeremonyError::Expired),
            (Decision::Approve(Approve { scopes, lasting, .. }), State::Approved | State::Redeemed) => {
                authorization.granted() == Some(scopes) && (lasting.is_none() || *lasting == authorization.lasting)
            }
            (Decision::Deny, State::Denied) => true,
            _ => false,
        };
        if !same {
            return Err(CeremonyError::AlreadyDecided);
        }
        let flow = KnownFlow::of(&authorization)?;
        let code = self.code_again(&authorization, &flow, *approver)?;
        let is_held = matches!(&flow, KnownFlow::Identity(identity) if identity.is_held());
        if state == State::Approved && flow.has_live_code(self.now()) && code.is_none() && !is_held {
            return Err(CeremonyError::AlreadyDecided);
        }
        Ok(Decided { authorization, flow, code })
    }

    /// The code that `approver` got when they approved this request; `None` for anybody else, and once the request is
    /// redeemed or the code has expired.
    ///
    /// # Errors
    /// Never in practice: only when the derivation fails.
    pub fn code_again<'a>(
        &self,
        authorization: &AuthorizationRequest,
        flow: &KnownFlow,
        approver: impl Into<Approver<'a>>,
    ) -> Result<Option<HandedOut>, CeremonyError> {
        let (approver, prefixes) = (approver.into(), self.config.prefixes());
        if authorization.state_at(self.now()) != State::Approved {
            return Ok(None);
        }
        let (exchange, finish) = (flow.callback_code(), flow.finish_code());
        let exchange = self.derive_again(&prefixes.exchange, authorization, exchange, &approver)?;
        let finish = self.derive_again(&prefixes.finish, authorization, finish, &approver)?;
        if let KnownFlow::Identity(identity) = flow {
            let code = identity.code_to_read_back().filter(|_| !identity.is_held());
            return Ok(finish.and(code).map(HandedOut::ReadBack));
        }
        Ok(exchange.map(HandedOut::Exchange).or_else(|| finish.map(HandedOut::Finish)))
    }

    fn derive_again<K: Kind>(
        &self,
        prefix: &Prefix<K>,
        authorization: &AuthorizationRequest,
        code: Option<&Code<K>>,
        approver: &Approver<'_>,
    ) -> Result<Option<Secret<K>>, CeremonyError> {
        let Some(code) = code.filter(|code| !code.expires_at.has_passed(self.now())) else { return Ok(None) };
        let derived = approver.code_again(prefix, &authorization.id, code.salt)?;
        Ok(derived.filter(|secret| secret.digest().matches(&code.digest)))
    }

    /// Whether a sign-in is recent enough to approve with. If the host does not say when the human signed in, approval
    /// is refused only if `lifetimes.sign_in` is set. A sign-in in the future was dated by a wrong clock, which says
    /// nothing about its age.
    pub(crate) fn check_sign_in(&self, human: &SignedIn) -> Result<(), CeremonyError> {
        const USUAL: Duration = Duration::from_secs(15 * 60);
        let (now, asked_for) = (self.now(), self.config.lifetimes().sign_in);
        let fresh = match human.since {
            Some(since) => now.since(since) < asked_for.unwrap_or(USUAL) && since.since(now) <= SKEW,
            None => asked_for.is_none(),
        };
        if fresh { Ok(()) } else { Err(CeremonyError::SignInTooOld) }
    }

    async fn approval(
        &self,
        authorization: &AuthorizationRequest,
        flow: &mut KnownFlow,
        approver: &Approver<'_>,
        approve: &Approve,
    ) -> Result<(Transition, Event, Option<HandedOut>), CeremonyError> {
        let (account, scopes) = (approver.account(), approve.scopes.clone());
        self.check_sign_in(approver.human)?;
        if scopes.is_empty() || !scopes.is_subset(&authorization.requested) {
            return Err(CeremonyError::NotRequested);
        }
        let lasting = self.chosen(approve.lasting)?;
        if let KnownFlow::Browser { callback, .. } = flow {
            // The callback was checked when access was requested. The configuration may have dropped its origin since.
            self.check_callback(callback.as_str())?;
        }
        if let KnownFlow::AuthorizationCode { redirect_uri, .. } = flow {
            self.check_redirect(authorization, redirect_uri)?;
        }
        if !self.accounts.is_active(&account.id).await? {
            return Err(CeremonyError::Inactive);
        }
        if let KnownFlow::Identity(identity) = flow {
            self.check_user_code(authorization, identity, approver, approve).await?;
            if let Some(foreign) = identity.foreign.as_ref().and_then(Foreign::identity) {
                self.link(&foreign, account).await?;
            }
        }
        let event = Event::Approved {
            authorization: authorization.id.clone(),
            account: account.id.clone(),
            requested: authorization.requested.clone(),
            granted: scopes.clone(),
            lasting,
        };
        let (code, expires_at) = self.hand_out(flow, authorization, approver)?;
        let mut approval = Approval::new(account.id.clone(), scopes, flow.to_stored(), expires_at);
        approval.lasting = lasting;
        if let KnownFlow::AuthorizationCode { code: Some(code), .. } = flow {
            approval.lookups.push(Lookup::from(code.digest));
        }
        Ok((Transition::Approve(approval), event, code))
    }

    /// Checks the code that the human typed. Without one, the page has to show one to read back.
    async fn check_user_code(
        &self,
        authorization: &AuthorizationRequest,
        identity: &mut IdentityFlow,
        approver: &Approver<'_>,
        approve: &Approve,
    ) -> Result<(), CeremonyError> {
        let typed = approve.user_code.as_deref().filter(|typed| !typed.trim().is_empty());
        match typed.filter(|_| identity.user_code.is_some()) {
            Some(typed) => {
                self.polling.try_code(&approver.account().id).map_err(|wait| CeremonyError::TooFast { wait })?;
                identity.typed = identity.is_user_code(typed);
                if !identity.typed {
                    self.count_failed_attempt(authorization).await?;
                    return Err(CeremonyError::WrongUserCode);
                }
                Ok(())
            }
            None if identity.reads_back => Ok(()),
            None => Err(CeremonyError::UserCodeRequired),
        }
    }

    /// How long the human lets the session last, if they are offered a choice.
    fn chosen(&self, lasting: Option<Duration>) -> Result<Option<Duration>, CeremonyError> {
        let lifetimes = self.config.lifetimes();
        match lasting {
            None => Ok(lifetimes.proposed),
            Some(span) if lifetimes.choices.contains(&span) => Ok(Some(span)),
            Some(_) => Err(CeremonyError::NoSuchChoice),
        }
    }

    /// Checks by today's configuration that an answer may go to a redirect URI. It was checked when access was requested.
    fn check_redirect(&self, authorization: &AuthorizationRequest, uri: &RedirectUri) -> Result<(), CallbackError> {
        let oauth = self.config.oauth();
        let id = authorization.client.id.as_ref().map(ClientId::as_str);
        let is_ours = |client: &OAuthClient| Some(&*client.id) == id;
        if !oauth.allows(uri) && !oauth.clients.iter().any(is_ours) {
            return Err(CallbackError::NotAllowed);
        }
        let own = uri.is_loopback() && uri.host().is_some_and(|host| self.config.is_own_host(host));
        if own && !oauth.redirect_to_own_host { Err(CallbackError::OwnHost) } else { Ok(()) }
    }

    /// Generates the code that the flow hands out at approval, and returns until when the agent can redeem. If only the
    /// code can redeem, that is when the code expires.
    fn hand_out(
        &self,
        flow: &mut KnownFlow,
        authorization: &AuthorizationRequest,
        approver: &Approver<'_>,
    ) -> Result<(Option<HandedOut>, Timestamp), CeremonyError> {
        let (prefixes, lifetimes, random) = (self.config.prefixes(), self.config.lifetimes(), &*self.random);
        let (id, now, until) = (&authorization.id, self.now(), authorization.expires_at);
        Ok(match flow {
            KnownFlow::Identity(identity) => {
                if identity.typed {
                    return Ok((None, until));
                }
                let (secret, salt) = approver.new_code(&prefixes.finish, id, random)?;
                identity.read_back = Some(Code::new(secret.digest(), until, salt));
                (identity.code_to_read_back().map(HandedOut::ReadBack), until)
            }
            KnownFlow::Claim | KnownFlow::Device { .. } | KnownFlow::Detached { finish_code: false, .. } => {
                (None, until)
            }
            KnownFlow::Browser { code, .. } | KnownFlow::AuthorizationCode { code, .. } => {
                let (secret, salt) = approver.new_code(&prefixes.exchange, id, random)?;
                let expires_at = now.after(lifetimes.exchange_code);
                *code = Some(Code::new(secret.digest(), expires_at, salt));
                (Some(HandedOut::Exchange(secret)), expires_at)
            }
            KnownFlow::FinishCode { code, .. } | KnownFlow::Detached { code, .. } => {
                let (secret, salt) = approver.new_code(&prefixes.finish, id, random)?;
                let expires_at = now.after(lifetimes.finish_code);
                *code = Some(Code::new(secret.digest(), expires_at, salt));
                let until = if matches!(flow, KnownFlow::Detached { .. }) { expires_at.max(until) } else { expires_at };
                (Some(HandedOut::Finish(secret)), until)
            }
        })
    }

    /// Checks that the account is the one that opened the authorization request.
    fn check_account(&self, authorization: &AuthorizationRequest, account: &Account) -> Result<(), CeremonyError> {
        match &authorization.account {
            Some(bound) if bound.id == account.id => Ok(()),
            // No account opened it in time, so any account may learn that it has expired.
            None if authorization.state_at(self.now()) == State::Expired => Err(CeremonyError::Expired),
            _ => Err(CeremonyError::WrongAccount),
        }
    }

    /// The scopes of the client's active sessions.
    fn held(&self, authorization: &AuthorizationRequest, sessions: &[SessionRecord]) -> ScopeSet {
        let (id, now) = (&authorization.client.id, self.now());
        let of_client = sessions.iter().filter(|record| id.is_some() && record.client.id == *id);
        let active = of_client.filter(|record| record.is_alive(&authorization.resource, now));
        active.flat_map(|record| record.granted.iter().cloned()).collect()
    }

    fn proposed(&self, authorization: &AuthorizationRequest, sessions: &[SessionRecord]) -> ScopeSet {
        let catalogue = self.config.catalogue();
        let stood = |record: &&SessionRecord| record.revoked.is_none_or(|revoked| revoked.by == RevokedBy::Agent);
        let same = sessions.iter().filter(|record| record.client.is_same_as(&authorization.client)).filter(stood);
        let had: ScopeSet = same.flat_map(|record| record.granted.iter().cloned()).collect();
        // No page says what a scope gives that the catalogue has no more.
        let offered = authorization.requested.iter().filter(|scope| catalogue.find(scope).is_some());
        offered.filter(|scope| had.contains(scope) || !catalogue.is_risky(scope)).cloned().collect()
    }

    fn warnings(&self, client: &Client) -> Vec<Warning> {
        let (name, beside) = (&client.name, [&client.label, &client.reason, &client.method].into_iter().flatten());
        let deceptive = name.looks_deceptive() || beside.clone().any(HumanText::looks_deceptive);
        let own = [self.config.issuer(), self.config.resource()];
        let official = name.imitates(self.config.name())
            || own.iter().any(|url| name.imitates_host(host_of(url)))
            || name.claims_authority()
            || beside.into_iter().any(HumanText::claims_verification);
        let all = [(Warning::DeceptiveName, deceptive), (Warning::OfficialName, official)];
        all.into_iter().filter_map(|(warning, holds)| holds.then_some(warning)).collect()
    }
}
