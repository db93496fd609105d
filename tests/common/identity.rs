//! What the docs of the ceremony's methods for auth.md and rows R122 to R127 say of agents and their identities, without
//! a store.

use std::{mem::replace, sync::atomic::Ordering, time::Duration};

use tower_agent_auth::{
    AgentAuth,
    ceremony::{Ceremony, CeremonyError, Identified, IdentityRequested, Issued, Request},
    config::Codes,
    store::CeremonyStore,
    types::{
        authorization::State,
        clock::{Clock, ManualClock},
        id::{AccountId, AuthorizationRequestId, SessionId},
        scope::ScopeSet,
        text::HumanText,
    },
};

use super::common::{self, START, TestAccounts, auth_md::auth_md};

pub(crate) const ACCESS: i64 = 60_000;
pub(crate) const REFRESH: i64 = 300_000;
pub(crate) const SESSION: i64 = 450_000;
pub(crate) const UNCLAIMED: i64 = 500_000;
pub(crate) const AUTHORIZATION_REQUEST: i64 = 600_000;
/// How long a refresh is answered again, and the assertion before it is good.
pub(crate) const GRACE: i64 = 20_000;
/// How long a claim is answered again.
pub(crate) const REPLAY: i64 = 10_000;
pub(crate) const ACTIVE: usize = 16;
pub(crate) const READ: &str = "projects:read";
pub(crate) const BOTH: &str = "projects:read projects:write";

pub(crate) fn seconds(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// A ceremony over a store, its clock and its accounts.
pub(crate) struct Stage {
    pub(crate) ceremony: Ceremony,
    pub(crate) clock: ManualClock,
    pub(crate) accounts: TestAccounts,
    pub(crate) codes: Codes,
}

impl Stage {
    pub(crate) fn on(store: impl CeremonyStore, codes: Codes) -> Self {
        let (clock, accounts) = (ManualClock::at(START), TestAccounts::default());
        accounts.makes_accounts.store(true, Ordering::SeqCst);
        let config = auth_md()
            .no_limits()
            .auth_md(|settings| settings.codes = codes)
            .auth_md(|settings| settings.unclaimed = seconds(UNCLAIMED))
            .lifetimes(|lifetimes| lifetimes.authorization_request = seconds(AUTHORIZATION_REQUEST))
            .lifetimes(|lifetimes| lifetimes.access = seconds(ACCESS))
            .lifetimes(|lifetimes| lifetimes.refresh = seconds(REFRESH))
            .lifetimes(|lifetimes| lifetimes.session = seconds(SESSION))
            .lifetimes(|lifetimes| lifetimes.refresh_grace = seconds(GRACE));
        let auth = AgentAuth::builder(config.build().unwrap())
            .sessions(store)
            .accounts(accounts.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        Self { ceremony: auth.ceremony().unwrap().clone(), clock, accounts, codes }
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    pub(crate) fn is_active(&self, account: &str) -> bool {
        !self.accounts.inactive.lock().unwrap().iter().any(|inactive| inactive == account)
    }
}

/// A session, as the docs have it.
#[derive(Debug)]
pub(crate) struct ModelSession {
    pub(crate) id: SessionId,
    pub(crate) token: String,
    pub(crate) ends_at: i64,
    pub(crate) revoked: bool,
}

/// The secrets of an identity: an assertion with its refresh token for each refresh, the current ones last.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pairs: Vec<(String, Option<String>)>,
    pub(crate) issued_at: i64,
    pub(crate) until: i64,
}

/// A request and the identity that it becomes.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) id: AuthorizationRequestId,
    pub(crate) state: State,
    pub(crate) expires_at: i64,
    pub(crate) account: Option<String>,
    pub(crate) granted: &'static str,
    pub(crate) user_code: Option<String>,
    pub(crate) typed: bool,
    pub(crate) read_back: Option<(String, i64)>,
    pub(crate) failed_attempts: u32,
    pub(crate) held: Option<Held>,
    pub(crate) sessions: Vec<ModelSession>,
}

impl Model {
    pub(crate) fn of(requested: &IdentityRequested, now: i64) -> Self {
        let user_code = requested.user_code.as_ref().map(|code| code.as_str().to_owned());
        let (id, expires_at) = (requested.authorization.id.clone(), now + AUTHORIZATION_REQUEST);
        let (account, granted, typed, read_back, held) = (None, "", false, None, None);
        let (state, failed_attempts, sessions) = (State::Pending, 0, Vec::new());
        Self { id, state, expires_at, account, granted, user_code, typed, read_back, failed_attempts, held, sessions }
    }

    pub(crate) fn state(&self, now: i64) -> State {
        match self.state {
            State::Pending | State::Approved if now >= self.expires_at => State::Expired,
            state => state,
        }
    }

    pub(crate) fn is_of(&self, name: &str) -> bool {
        self.account == Some(account(name).to_string())
    }

    /// Why a request in this state gives nothing.
    pub(crate) fn refusal(&self, now: i64) -> &'static str {
        match self.state(now) {
            State::Pending | State::Approved => "pending",
            State::Denied => "denied",
            State::Revoked => "revoked",
            State::Locked => "locked",
            State::Expired => "expired",
            other => panic!("{other:?}"),
        }
    }

    /// Whoever ends an identity ends its sessions (R125). Returns how many.
    pub(crate) fn end(&mut self, now: i64) -> usize {
        if self.state(now) == State::Approved {
            self.state = State::Revoked;
        }
        self.sessions.iter_mut().map(|session| usize::from(!replace(&mut session.revoked, true))).sum()
    }

    /// The fifth wrong code on either side locks the request (R123).
    pub(crate) fn fail(&mut self, now: i64) {
        self.failed_attempts += 1;
        if self.failed_attempts == 5 {
            self.end(now);
            self.state = State::Locked;
        }
    }

    /// Whether the agent gets the same answer to the same claim again.
    pub(crate) fn is_repeated(&self, now: i64) -> bool {
        self.held.as_ref().is_some_and(|held| held.pairs.len() == 1 && now - held.issued_at <= REPLAY)
    }

    pub(crate) fn is_good(&self, age: usize, now: i64) -> bool {
        let is_known = |held: &Held| age == 0 || (age == 1 && now - held.issued_at < GRACE);
        self.state(now) == State::Approved && self.held.as_ref().is_some_and(is_known)
    }

    /// The agent has these secrets from now on.
    pub(crate) fn hold(&mut self, identified: &Identified, now: i64) {
        let pair = pair_of(identified);
        let held = self.held.get_or_insert(Held { pairs: Vec::new(), issued_at: now, until: now + SESSION });
        held.pairs.push(pair);
        held.issued_at = now;
        self.expires_at = held.until.min(now + REFRESH);
        assert_eq!(identified.expires_at.as_millis(), self.expires_at);
    }

    pub(crate) fn pair(&self, age: usize) -> Option<&(String, Option<String>)> {
        self.held.as_ref()?.pairs.iter().rev().nth(age)
    }

    /// A further session; at most sixteen are active (R124).
    pub(crate) fn add(&mut self, issued: &Issued, scopes: &str, now: i64) {
        let session = &issued.record.session;
        assert_eq!(session.scopes, ScopeSet::parse(scopes).unwrap(), "never wider than the human granted");
        assert_eq!(Some(session.account.id.as_str()), self.account.as_deref());
        let is_active = |session: &&mut ModelSession| !session.revoked && now < session.ends_at;
        let mut active: Vec<_> = self.sessions.iter_mut().filter(is_active).collect();
        if active.len() == ACTIVE {
            active[0].revoked = true;
        }
        let ends_at = self.expires_at.min(now + ACCESS);
        let (id, token) = (session.id.clone(), issued.access_token.expose().to_owned());
        self.sessions.push(ModelSession { id, token, ends_at, revoked: false });
    }

    pub(crate) async fn check(&self, stage: &Stage, context: &str) {
        let now = stage.now();
        for (number, session) in self.sessions.iter().enumerate() {
            let found = stage.ceremony.session(session.token.as_bytes()).await.unwrap();
            let is_good = !session.revoked && now < session.ends_at;
            assert_eq!(found.is_some(), is_good, "session {number} of {:?} after {context} at {now}", self.id);
        }
    }
}

/// An agent with the request by which it registered, and those by which humans were asked to claim it.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) claim_token: String,
    pub(crate) is_anonymous: bool,
    pub(crate) requests: Vec<Model>,
}

impl Agent {
    pub(crate) async fn register(stage: &Stage, is_anonymous: bool) -> Self {
        let asked = Request::by(HumanText::new("Agent").unwrap());
        let asked = asked.scopes(BOTH.split(' ').map(str::to_owned).collect());
        let registered = match is_anonymous {
            true => stage.ceremony.register_unclaimed(asked).await.unwrap(),
            false => stage.ceremony.request_identity(asked, None).await.unwrap(),
        };
        let has_code = !is_anonymous && stage.codes != Codes::ReadBack;
        assert_eq!(registered.user_code.is_some(), has_code);
        let mut model = Model::of(&registered, stage.now());
        if let Some(identified) = &registered.identified {
            let (issued_at, until) = (stage.now(), stage.now() + UNCLAIMED);
            model.held = Some(Held { pairs: vec![pair_of(identified)], issued_at, until });
            assert!(identified.refresh_token.is_none());
            (model.state, model.expires_at, model.granted) = (State::Approved, until, READ);
            model.account = identified.authorization.account.as_ref().map(|account| account.id.to_string());
        }
        assert_eq!(model.held.is_some(), is_anonymous);
        let claim_token = registered.claim_token.unwrap().expose().to_owned();
        Self { claim_token, is_anonymous, requests: vec![model] }
    }

    pub(crate) fn is_unclaimed(&self) -> bool {
        self.is_anonymous && self.requests.len() == 1
    }

    pub(crate) fn last(&self) -> &Model {
        self.requests.last().unwrap()
    }

    pub(crate) fn last_mut(&mut self) -> &mut Model {
        self.requests.last_mut().unwrap()
    }

    pub(crate) fn one(&mut self, first: bool) -> &mut Model {
        if first { &mut self.requests[0] } else { self.last_mut() }
    }

    /// What an agent gets that proved itself, if it gets nothing new: the same again, or nothing.
    pub(crate) fn hand_over(&mut self, stage: &Stage) -> Result<(), &'static str> {
        let now = stage.now();
        let last = self.last_mut();
        if last.held.is_some() && !last.is_repeated(now) {
            return Err("claimed");
        }
        if !stage.is_active(last.account.as_ref().unwrap()) {
            last.end(now);
            return Err("denied");
        }
        Ok(())
    }

    /// Its human has claimed the agent.
    pub(crate) fn identified(&mut self, stage: &Stage, identified: &Identified, context: &str) {
        let (now, is_anonymous) = (stage.now(), self.is_anonymous);
        assert_eq!((&identified.registration, &identified.authorization.id), (&self.requests[0].id, &self.last().id));
        if self.last().held.is_some() {
            assert_eq!(Some(&pair_of(identified)), self.last().pair(0), "the same answer: {context}");
            return;
        }
        self.last_mut().hold(identified, now);
        if is_anonymous {
            let accounts = [&self.requests[0], self.last()].map(|model| model.account.clone().unwrap());
            let merged = stage.accounts.merged.lock().unwrap().last().cloned().unwrap();
            assert_eq!([merged.0, merged.1], accounts, "{context}");
            self.requests[0].end(now);
        }
    }
}

pub(crate) fn account(name: &str) -> AccountId {
    common::account(name).id
}

pub(crate) fn pair_of(identified: &Identified) -> (String, Option<String>) {
    let refresh = identified.refresh_token.as_ref().map(|token| token.expose().to_owned());
    (identified.assertion.expose().to_owned(), refresh)
}

/// Another code of six digits.
pub(crate) fn wrong(code: Option<&String>) -> String {
    let right: u32 = code.map_or(0, |code| code.parse().unwrap());
    format!("{:06}", (right + 1) % 1_000_000)
}

pub(crate) fn name_of<T>(answer: &Result<T, CeremonyError>) -> &'static str {
    match answer {
        Ok(_) => "given",
        Err(CeremonyError::Pending { .. }) => "pending",
        Err(CeremonyError::Denied) => "denied",
        Err(CeremonyError::AlreadyClaimed) => "claimed",
        Err(CeremonyError::Revoked) => "revoked",
        Err(CeremonyError::Locked) => "locked",
        Err(CeremonyError::Expired) => "expired",
        Err(CeremonyError::WrongCode) => "wrong",
        Err(CeremonyError::InvalidAssertion | CeremonyError::InvalidRefresh) => "invalid",
        Err(CeremonyError::UnknownScope { .. }) => "not granted",
        Err(error) => panic!("{error:?}"),
    }
}
