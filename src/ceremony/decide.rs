use std::{net::IpAddr, time::Duration};

use super::{
    Ceremony, CeremonyError,
    flow::{Code, KnownFlow},
};
use crate::{
    accounts::SignedIn,
    audit::Event,
    config::host_of,
    types::{
        authorization::{Account, Approval, AuthorizationRequest, Client, State, Transition},
        callback::Callback,
        clock::Timestamp,
        id::AuthorizationRequestId,
        scope::ScopeSet,
        secret::{Exchange, Finish, Secret},
        session::SessionRecord,
        text::HumanText,
    },
};

/// A human's decision.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// Approve these scopes, all of which were requested.
    Approve(ScopeSet),
    /// Deny the request.
    Deny,
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
}

/// A reason for the human to check an authorization request with extra care.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// What the client calls itself or this session [can be mistaken](HumanText::looks_deceptive) for something else.
    DeceptiveName,
    /// The client's name resembles the service's own name or host, or the client
    /// [claims authority](HumanText::claims_authority).
    OfficialName,
    /// The agent's network address differs from that of the human's browser.
    OtherAddress,
    /// The account has never granted a session before.
    FirstAgent,
    /// The account has granted sessions before, but none to a client of this name.
    NewClient,
}

/// A decided authorization request, and the code that is passed through the human's browser, if there is one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Decided {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// Its flow.
    pub flow: KnownFlow,
    /// The code. It is returned only here.
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
}

impl Ceremony {
    /// The flow of an authorization request.
    #[cfg(feature = "pages")]
    pub(crate) async fn flow(&self, id: &AuthorizationRequestId) -> Result<KnownFlow, CeremonyError> {
        Ok(KnownFlow::of(&self.by_id(id).await?)?)
    }

    /// Returns an authorization request for a signed-in human to view, and binds it to their account. After that, no
    /// other account can decide.
    ///
    /// # Errors
    /// When there is no such authorization request, when another account opened it first, or when the service fails.
    pub async fn view(
        &self,
        id: &AuthorizationRequestId,
        account: &Account,
        browser: Option<IpAddr>,
    ) -> Result<View, CeremonyError> {
        let mut authorization = self.by_id(id).await?;
        let now = self.now();
        if authorization.account.is_none() && authorization.state_at(now) == State::Pending {
            let open = Transition::Open(account.clone());
            if self.store.transition(id, &open, now).await? {
                self.record(&Event::Viewed { authorization: id.clone(), account: account.id.clone() });
            }
            authorization = self.by_id(id).await?;
        }
        self.check_account(&authorization, account)?;
        let mut warnings = self.warnings(&authorization.client, browser);
        if authorization.state_at(now) == State::Pending {
            warnings.extend(self.novelty(&authorization.client, account).await?);
        }
        let flow = KnownFlow::of(&authorization)?;
        Ok(View { state: authorization.state_at(now), authorization, flow, warnings })
    }

    /// Records the decision of the human of the bound account.
    ///
    /// # Errors
    /// When another account opened it, when it was already decided or has expired, when the human's sign-in is too old
    /// to approve with, when `decision` contains no scope or one that was not requested, when agents may no longer act
    /// for the account, or when the service fails. The request is then unchanged.
    pub async fn decide(
        &self,
        id: &AuthorizationRequestId,
        human: &SignedIn,
        decision: Decision,
    ) -> Result<Decided, CeremonyError> {
        let account = &human.account;
        let mut authorization = self.by_id(id).await?;
        self.check_account(&authorization, account)?;
        let mut flow = KnownFlow::of(&authorization)?;
        let (transition, event, code) = match decision {
            Decision::Approve(scopes) => self.approval(&authorization, &mut flow, human, scopes).await?,
            Decision::Deny => {
                let event = Event::Denied { authorization: id.clone(), account: account.id.clone() };
                (Transition::Deny(account.id.clone()), event, None)
            }
        };
        let now = self.now();
        if self.store.transition(id, &transition, now).await? {
            self.record(&event);
            // The store has decided. Another read could fail, and the human would be told that nothing was changed.
            authorization.apply(transition, now);
            return Ok(Decided { authorization, flow, code });
        }
        match self.by_id(id).await?.state_at(self.now()) {
            State::Expired => Err(CeremonyError::Expired),
            _ => Err(CeremonyError::AlreadyDecided),
        }
    }

    /// Whether a sign-in is recent enough to approve with. If the host does not say when the human signed in, approval
    /// is refused only if `lifetimes.sign_in` is set.
    pub(crate) fn check_sign_in(&self, human: &SignedIn) -> Result<(), CeremonyError> {
        const USUAL: Duration = Duration::from_secs(15 * 60);
        let asked_for = self.config.lifetimes().sign_in;
        let fresh = match human.since {
            Some(since) => self.now().since(since) < asked_for.unwrap_or(USUAL),
            None => asked_for.is_none(),
        };
        if fresh { Ok(()) } else { Err(CeremonyError::SignInTooOld) }
    }

    async fn approval(
        &self,
        authorization: &AuthorizationRequest,
        flow: &mut KnownFlow,
        human: &SignedIn,
        scopes: ScopeSet,
    ) -> Result<(Transition, Event, Option<HandedOut>), CeremonyError> {
        let account = &human.account;
        self.check_sign_in(human)?;
        if scopes.is_empty() || !scopes.is_subset(&authorization.requested) {
            return Err(CeremonyError::NotRequested);
        }
        if let KnownFlow::Browser { callback, .. } = flow {
            // The callback was checked when access was requested. The configuration may have dropped its origin since.
            Callback::parse(callback.as_str(), &self.config.modes().callback_origins)?;
        }
        if !self.accounts.is_active(&account.id).await? {
            return Err(CeremonyError::Inactive);
        }
        let event = Event::Approved {
            authorization: authorization.id.clone(),
            account: account.id.clone(),
            requested: authorization.requested.clone(),
            granted: scopes.clone(),
        };
        let (code, expires_at) = self.hand_out(flow, authorization)?;
        let approval = Approval::new(account.id.clone(), scopes, flow.to_stored(), expires_at);
        Ok((Transition::Approve(approval), event, code))
    }

    /// Generates the code that the flow hands out at approval, and returns until when the agent can redeem. If only the
    /// code can redeem, that is when the code expires.
    fn hand_out(
        &self,
        flow: &mut KnownFlow,
        authorization: &AuthorizationRequest,
    ) -> Result<(Option<HandedOut>, Timestamp), CeremonyError> {
        let (prefixes, lifetimes) = (self.config.prefixes(), self.config.lifetimes());
        let (now, until) = (self.now(), authorization.expires_at);
        let finish =
            || Ok::<_, CeremonyError>((prefixes.finish.generate(&*self.random)?, now.after(lifetimes.finish_code)));
        Ok(match flow {
            KnownFlow::Claim | KnownFlow::Detached { finish_code: false, .. } => (None, until),
            KnownFlow::Browser { code, .. } => {
                let secret = prefixes.exchange.generate(&*self.random)?;
                let expires_at = now.after(lifetimes.exchange_code);
                *code = Some(Code::new(secret.digest(), expires_at));
                (Some(HandedOut::Exchange(secret)), expires_at)
            }
            KnownFlow::FinishCode { code, .. } => {
                let (secret, expires_at) = finish()?;
                *code = Some(Code::new(secret.digest(), expires_at));
                (Some(HandedOut::Finish(secret)), expires_at)
            }
            KnownFlow::Detached { code, .. } => {
                let (secret, expires_at) = finish()?;
                *code = Some(Code::new(secret.digest(), expires_at));
                (Some(HandedOut::Finish(secret)), expires_at.max(until))
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

    /// The warning if the account has no sessions, or none of a client of this name.
    async fn novelty(&self, client: &Client, account: &Account) -> Result<Option<Warning>, CeremonyError> {
        const REMEMBERED: usize = 50;
        let sessions = self.store.list_sessions(&account.id, None, REMEMBERED).await?;
        let known = |session: &SessionRecord| session.client.name == client.name && session.client.kind == client.kind;
        Ok(match sessions.iter().any(known) {
            true => None,
            false if sessions.is_empty() => Some(Warning::FirstAgent),
            false => Some(Warning::NewClient),
        })
    }

    fn warnings(&self, client: &Client, browser: Option<IpAddr>) -> Vec<Warning> {
        let elsewhere = match (client.address, browser) {
            (Some(agent), Some(browser)) => agent != browser,
            _ => false,
        };
        let (name, beside) = (&client.name, [&client.label, &client.method].into_iter().flatten());
        let deceptive = name.looks_deceptive() || beside.clone().any(HumanText::looks_deceptive);
        let own = [self.config.issuer(), self.config.resource()];
        let official = name.imitates(self.config.name())
            || own.iter().any(|url| name.imitates_host(host_of(url)))
            || name.claims_authority()
            || beside.into_iter().any(HumanText::claims_verification);
        let all = [
            (Warning::DeceptiveName, deceptive),
            (Warning::OfficialName, official),
            (Warning::OtherAddress, elsewhere),
        ];
        all.into_iter().filter_map(|(warning, holds)| holds.then_some(warning)).collect()
    }
}
