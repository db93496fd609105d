//! The whole state machine, modes and refresh included: random traces of the ceremony against a model that is written down
//! from the specification, and races of which one may win. On every store.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use sha2::Digest as _;
use tower_agent_auth::{
    AgentAuth,
    accounts::SignedIn,
    ceremony::{Approver, Attempt, Ceremony, CeremonyError, Decision, HandedOut, Issued, Login, Refreshing, Request},
    store::{CeremonyStore, MemoryStore, conformance::property},
    types::{
        authorization::{Account, State},
        clock::{Clock, ManualClock},
        id::{AuthorizationRequestId, SessionId},
        scope::ScopeSet,
        session::Redeemer,
        text::HumanText,
    },
};

mod common;
#[path = "common/places.rs"]
mod places;

use common::{Audit, START, TestAccounts, config, race};
use places::{Prefix, Schema, TempFile};

const VERIFIER: &str = "the-verifier-of-every-live-browser-login-here";
const ACCESS: i64 = 60_000;
const REFRESH: i64 = 300_000;
const SESSION: i64 = 900_000;
const AUTHORIZATION_REQUEST: i64 = 600_000;
const EXCHANGE_CODE: i64 = 60_000;
const FINISH_CODE: i64 = 400_000;
const GRACE: i64 = 10_000;

fn seconds(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// A ceremony over a store, its clock and its humans.
struct Stage {
    ceremony: Ceremony,
    clock: ManualClock,
    accounts: TestAccounts,
    audit: Audit,
}

impl Stage {
    fn on(store: impl CeremonyStore, alone: bool) -> Self {
        Self::with_grace(store, alone, seconds(GRACE))
    }

    fn with_grace(store: impl CeremonyStore, alone: bool, grace: Duration) -> Self {
        let clock = ManualClock::at(START);
        let (accounts, audit) = (TestAccounts::default(), Audit::default());
        let config = config()
            .no_limits()
            .modes(|modes| modes.finish_code_alone = alone)
            .lifetimes(|lifetimes| lifetimes.authorization_request = seconds(AUTHORIZATION_REQUEST))
            .lifetimes(|lifetimes| lifetimes.exchange_code = seconds(EXCHANGE_CODE))
            .lifetimes(|lifetimes| lifetimes.finish_code = seconds(FINISH_CODE))
            .lifetimes(|lifetimes| lifetimes.access = seconds(ACCESS))
            .lifetimes(|lifetimes| lifetimes.refresh = seconds(REFRESH))
            .lifetimes(|lifetimes| lifetimes.session = seconds(SESSION))
            .lifetimes(|lifetimes| lifetimes.refresh_grace = grace);
        let auth = AgentAuth::builder(config.build().unwrap())
            .sessions(store)
            .accounts(accounts.clone())
            .clock(clock.clone())
            .audit(audit.clone())
            .build()
            .unwrap();
        Self { ceremony: auth.ceremony().unwrap().clone(), clock, accounts, audit }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }
}

fn human(name: &str) -> SignedIn {
    SignedIn::new(common::account(name), "a browser")
}

fn asked() -> Request {
    let scopes = ["projects:read", "projects:write"].map(str::to_owned);
    Request::by(HumanText::new("Agent").unwrap()).scopes(scopes.into())
}

fn scopes(list: &str) -> ScopeSet {
    ScopeSet::parse(list).unwrap()
}

/// The ways to log in, as the specification names them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    Claim,
    Browser,
    Detached,
    /// Detached, where a finish code is good alone.
    DetachedOrCode,
    FinishCode,
}

/// What an agent may present, of each kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shown {
    Right,
    Wrong,
    Nothing,
}

/// What an agent presents to redeem.
#[derive(Clone, Copy, Debug)]
struct Proof {
    code: Shown,
    /// None is what the mode asks for.
    verifier: Option<Shown>,
    poll_token: Shown,
}

const HONEST: Proof = Proof { code: Shown::Right, verifier: None, poll_token: Shown::Right };

/// One step of a trace. What an agent does concerns the authorization request whose turn it is.
#[derive(Clone, Debug)]
enum Step {
    /// The clock advances by so many milliseconds.
    Advance(i64),
    View(&'static str),
    Approve(&'static str),
    Deny(&'static str),
    Redeem(Proof),
    /// So many wrong codes, one after the other.
    Guess(usize),
    /// With the refresh token of so many refreshes ago.
    Refresh(usize),
    RevokeSession(&'static str),
    RevokeFirstAccessToken,
    RevokeRefreshToken(Index),
    RevokeAccount(&'static str),
    /// The account of `ada` becomes inactive.
    Suspend,
    Restore,
}

/// What comes first here is what a failing trace shrinks to.
fn step() -> impl Strategy<Value = Step> {
    let name = || prop_oneof![4 => Just("ada"), 1 => Just("bob")];
    let shown = || select(&[Shown::Right, Shown::Wrong, Shown::Nothing][..]);
    let any_proof = (shown(), shown().prop_map(Some), shown());
    prop_oneof![
        8 => select(&[1, 4_000, 10_000, 59_999, 100_000][..]).prop_map(Step::Advance),
        8 => name().prop_map(Step::View),
        8 => name().prop_map(Step::Approve),
        1 => name().prop_map(Step::Deny),
        8 => Just(Step::Redeem(HONEST)),
        6 => any_proof.prop_map(|(code, verifier, poll_token)| Step::Redeem(Proof { code, verifier, poll_token })),
        2 => (1..=5_usize).prop_map(Step::Guess),
        12 => prop_oneof![5 => Just(0), 2 => Just(1), 1 => Just(2)].prop_map(Step::Refresh),
        1 => name().prop_map(Step::RevokeSession),
        1 => Just(Step::RevokeFirstAccessToken),
        1 => any::<Index>().prop_map(Step::RevokeRefreshToken),
        1 => name().prop_map(Step::RevokeAccount),
        1 => Just(Step::Suspend),
        3 => Just(Step::Restore),
    ]
}

/// The steps of a turn, and the authorization request whose turn it is. What is rare needs several steps in a row.
type Turn = (usize, Vec<Step>);

/// A trace has about 150 steps.
fn trace() -> impl Strategy<Value = Vec<Turn>> {
    vec((0..4_usize, vec(step(), 1..=7)), 1..=75)
}

/// A session as the specification tells it.
#[derive(Debug)]
struct ModelSession {
    id: SessionId,
    created_at: i64,
    /// Every access token that was ever issued, and until when the last of them is good.
    access: Vec<String>,
    access_end: i64,
    /// The refresh tokens, oldest first; the last is the current one.
    refresh: Vec<String>,
    refresh_end: i64,
    refreshed_at: i64,
    revoked: bool,
}

/// An authorization request as the specification tells it.
#[derive(Debug)]
struct Model {
    mode: Mode,
    id: AuthorizationRequestId,
    /// The claim token or poll token.
    token: String,
    state: State,
    expires_at: i64,
    account: Option<&'static str>,
    /// The code that was handed out, and until when it is good.
    code: Option<(String, i64)>,
    failed_attempts: u32,
    session: Option<ModelSession>,
}

impl Model {
    async fn start(stage: &Stage, mode: Mode) -> Self {
        let challenge = BASE64URL_NOPAD.encode(&sha2::Sha256::digest(VERIFIER));
        let login = match mode {
            Mode::Claim => None,
            Mode::Browser => Some(Login::Browser { callback: "http://127.0.0.1:4000/".into(), state: None, challenge }),
            Mode::Detached | Mode::DetachedOrCode => Some(Login::Detached),
            Mode::FinishCode => Some(Login::FinishCode),
        };
        let (id, token) = match login {
            None => {
                let registered = stage.ceremony.request(asked()).await.unwrap();
                (registered.authorization.id, registered.claim_token.expose().to_owned())
            }
            Some(login) => {
                let started = stage.ceremony.request_login(asked(), login).await.unwrap();
                (started.authorization.id, started.poll_token.expose().to_owned())
            }
        };
        let expires_at = stage.now() + AUTHORIZATION_REQUEST;
        let (state, account, code, failed_attempts, session) = (State::Pending, None, None, 0, None);
        Self { mode, id, token, state, expires_at, account, code, failed_attempts, session }
    }

    fn state(&self, now: i64) -> State {
        match self.state {
            State::Pending | State::Approved if now >= self.expires_at => State::Expired,
            state => state,
        }
    }

    fn approve(&mut self, now: i64, code: Option<String>) {
        self.state = State::Approved;
        match self.mode {
            Mode::Browser => self.expires_at = now + EXCHANGE_CODE,
            Mode::FinishCode => self.expires_at = now + FINISH_CODE,
            Mode::DetachedOrCode => self.expires_at = self.expires_at.max(now + FINISH_CODE),
            Mode::Claim | Mode::Detached => {}
        }
        let lifetime = if self.mode == Mode::Browser { EXCHANGE_CODE } else { FINISH_CODE };
        self.code = code.map(|code| (code, now + lifetime));
    }

    /// What redeeming answers whose proof holds.
    fn by_state(&mut self, now: i64, active: bool) -> &'static str {
        match self.state(now) {
            State::Pending => "pending",
            State::Approved if !active => {
                self.state = State::Revoked;
                "denied"
            }
            State::Approved => "issued",
            State::Denied => "denied",
            State::Redeemed => {
                let replay_ends = !matches!(self.mode, Mode::Detached | Mode::DetachedOrCode);
                if let Some(session) = &mut self.session {
                    session.revoked |= replay_ends && now - session.created_at > 10_000;
                }
                "claimed"
            }
            State::Revoked => "revoked",
            State::Locked => "locked",
            State::Expired => "expired",
            other => panic!("{other:?}"),
        }
    }

    fn miss(&mut self, now: i64) -> &'static str {
        if self.state(now) == State::Approved {
            self.failed_attempts += 1;
            if self.failed_attempts == 5 {
                self.state = State::Locked;
            }
        }
        "wrong"
    }

    /// What an exchange must answer, and what it does.
    fn exchange(&mut self, now: i64, active: bool, code: Shown, verifier: Shown, poll: Shown) -> &'static str {
        if self.mode != Mode::Browser && verifier != Shown::Nothing {
            return "invalid";
        }
        if poll == Shown::Wrong || self.mode == Mode::Claim {
            return "wrong";
        }
        let handed_out = self.code.is_some();
        match self.mode {
            Mode::Browser => match (code == Shown::Right && handed_out, verifier == Shown::Right) {
                (true, true) => self.by_state(now, active),
                (false, true) if !handed_out => self.by_state(now, active),
                (false, false) => "wrong",
                _ => self.miss(now),
            },
            Mode::FinishCode => match (poll, code) {
                (Shown::Nothing, _) => "poll token required",
                (_, Shown::Right) => self.by_state(now, active),
                _ if !handed_out => self.by_state(now, active),
                _ => self.miss(now),
            },
            Mode::Detached if code == Shown::Right => self.by_state(now, active),
            Mode::DetachedOrCode if code == Shown::Right => match &self.code {
                Some((_, end)) if now >= *end && self.state(now) == State::Approved => "expired",
                _ => self.by_state(now, active),
            },
            Mode::DetachedOrCode if !handed_out && poll == Shown::Right => self.by_state(now, active),
            Mode::DetachedOrCode if !handed_out => "wrong",
            Mode::DetachedOrCode => self.miss(now),
            _ => "wrong",
        }
    }

    fn issued(&mut self, now: i64, issued: &Issued) {
        self.state = State::Redeemed;
        self.session = Some(ModelSession {
            id: issued.record.session.id.clone(),
            created_at: now,
            access: vec![issued.access_token.expose().to_owned()],
            access_end: now + ACCESS,
            refresh: vec![issued.refresh_token.expose().to_owned()],
            refresh_end: now + REFRESH,
            refreshed_at: now,
            revoked: false,
        });
    }

    async fn check(&self, stage: &Stage, context: &str) {
        let now = stage.now();
        let state = match self.mode {
            Mode::Claim => stage.ceremony.status(&self.token).await.unwrap().state,
            _ => stage.ceremony.login_status(self.id.as_str(), &self.token).await.unwrap().state,
        };
        assert_eq!(state, self.state(now), "{context}");
        assert_eq!(self.session.is_some(), self.state == State::Redeemed, "{context}");
        let Some(session) = &self.session else { return };
        for (age, token) in session.access.iter().rev().enumerate() {
            let good = age == 0 && !session.revoked && now < session.access_end;
            let found = stage.ceremony.session(token.as_bytes()).await.unwrap();
            assert_eq!(found.is_some(), good, "access token {age} ago: {context}");
        }
    }
}

fn name_of<T>(answer: &Result<T, CeremonyError>) -> &'static str {
    match answer {
        Ok(_) => "issued",
        Err(CeremonyError::Pending { .. }) => "pending",
        Err(CeremonyError::Denied) => "denied",
        Err(CeremonyError::AlreadyClaimed) => "claimed",
        Err(CeremonyError::Revoked) => "revoked",
        Err(CeremonyError::Locked) => "locked",
        Err(CeremonyError::Expired) => "expired",
        Err(CeremonyError::WrongCode) => "wrong",
        Err(CeremonyError::PollTokenRequired) => "poll token required",
        Err(CeremonyError::UnexpectedVerifier) => "invalid",
        Err(error) => panic!("{error:?}"),
    }
}

async fn run(stage: &Stage, alone: bool, turns: Vec<Turn>) {
    stage.accounts.inactive.lock().unwrap().clear();
    let detached = if alone { Mode::DetachedOrCode } else { Mode::Detached };
    let mut all = Vec::new();
    for mode in [Mode::Claim, Mode::Browser, detached, Mode::FinishCode] {
        all.push(Model::start(stage, mode).await);
    }
    for (chosen, steps) in turns {
        for step in steps {
            let context = &format!("{step:?} of {:?} at {}", all[chosen], stage.now());
            let model = &mut all[chosen];
            match step {
                Step::Advance(millis) => stage.clock.advance(seconds(millis)),
                Step::View(name) => view(stage, model, name, context).await,
                Step::Approve(name) => approve(stage, model, name, context).await,
                Step::Deny(name) => deny(stage, model, name, context).await,
                Step::Redeem(proof) => redeem(stage, model, proof, context).await,
                Step::Guess(times) => {
                    for _ in 0..times {
                        redeem(stage, model, Proof { code: Shown::Wrong, ..HONEST }, context).await;
                    }
                }
                Step::Refresh(age) => refresh(stage, model, age, context).await,
                Step::RevokeSession(name) => revoke_session(stage, model, name, context).await,
                Step::RevokeFirstAccessToken => {
                    let Some(session) = &mut model.session else { continue };
                    stage.ceremony.revoke_token(&session.access[0], None).await.unwrap();
                    session.revoked |= session.access.len() == 1;
                }
                Step::RevokeRefreshToken(index) => {
                    let Some(session) = &mut model.session else { continue };
                    stage
                        .ceremony
                        .revoke_token(&session.refresh[index.index(session.refresh.len())], None)
                        .await
                        .unwrap();
                    session.revoked = true;
                }
                Step::RevokeAccount(name) => revoke_account(stage, &mut all, name, context).await,
                Step::Suspend => stage.accounts.inactive.lock().unwrap().push("acct_ada".into()),
                Step::Restore => stage.accounts.inactive.lock().unwrap().clear(),
            }
            all[chosen].check(stage, context).await;
        }
    }
    for model in &all {
        model.check(stage, &format!("in the end: {model:?}")).await;
    }
}

async fn view(stage: &Stage, model: &mut Model, name: &'static str, context: &str) {
    let seen = stage.ceremony.view(&model.id, &human(name)).await;
    let free = model.account.is_none() && model.state(stage.now()) == State::Pending;
    if free {
        model.account = Some(name);
    }
    assert_eq!(seen.is_ok(), model.account == Some(name), "{context}");
}

async fn approve(stage: &Stage, model: &mut Model, name: &'static str, context: &str) {
    let active = !stage.accounts.inactive.lock().unwrap().contains(&format!("acct_{name}"));
    let (now, own) = (stage.now(), model.account == Some(name));
    let legal = model.state(now) == State::Pending && own && active;
    let again = own && matches!(model.state(now), State::Approved | State::Redeemed);
    let decision = Decision::Approve(scopes("projects:read").into());
    let human = human(name);
    let decided = stage.ceremony.decide(&model.id, Approver::with_secret(&human, name), decision).await;
    assert_eq!(decided.is_ok(), legal || again, "{context}");
    let Ok(decided) = decided else { return };
    let code = decided.code.as_ref().map(text_of);
    if again {
        let live = model.code.as_ref().filter(|(_, end)| model.state(now) == State::Approved && now < *end);
        assert_eq!(code.as_ref(), live.map(|(code, _)| code), "{context}");
        return;
    }
    let has_code = matches!(model.mode, Mode::Browser | Mode::DetachedOrCode | Mode::FinishCode);
    assert_eq!(code.is_some(), has_code, "{context}");
    model.approve(stage.now(), code);
}

async fn deny(stage: &Stage, model: &mut Model, name: &'static str, context: &str) {
    let own = model.account == Some(name);
    let legal = model.state(stage.now()) == State::Pending && own;
    let again = model.state == State::Denied && own;
    let decided = stage.ceremony.decide(&model.id, &human(name), Decision::Deny).await;
    assert_eq!(decided.is_ok(), legal || again, "{context}");
    if legal {
        model.state = State::Denied;
    }
}

fn text_of(code: &HandedOut) -> String {
    match code {
        HandedOut::Exchange(code) => code.expose().to_owned(),
        HandedOut::Finish(code) => code.expose().to_owned(),
        other => panic!("{other:?}"),
    }
}

async fn redeem(stage: &Stage, model: &mut Model, proof: Proof, context: &str) {
    let active =
        !model.account.is_some_and(|name| stage.accounts.inactive.lock().unwrap().contains(&format!("acct_{name}")));
    let now = stage.now();
    let Proof { code, verifier, poll_token: poll } = proof;
    if model.mode == Mode::Claim && code == Shown::Right {
        let answer = stage.ceremony.redeem(&model.token, &Redeemer::default()).await;
        assert_eq!(name_of(&answer), model.by_state(now, active), "{context}");
        if let Ok(issued) = answer {
            model.issued(now, &issued);
        }
        return;
    }
    let verifier = verifier.unwrap_or(if model.mode == Mode::Browser { Shown::Right } else { Shown::Nothing });
    let right_code = match (model.mode, &model.code) {
        (Mode::Detached, _) => {
            let polled = stage.ceremony.login_status(model.id.as_str(), &model.token).await.unwrap();
            // It follows from the poll token; only an approved login is told.
            polled.exchange_code.map(|code| code.expose().to_owned())
        }
        (_, code) => code.as_ref().map(|(code, _)| code.clone()),
    };
    let code = if right_code.is_none() { Shown::Wrong } else { code };
    let presented = match code {
        Shown::Right => right_code.unwrap(),
        _ => "aaf_wrong".to_owned(),
    };
    let wrong_verifier = VERIFIER.to_uppercase();
    let pick = |shown: Shown, right: &'static str| match shown {
        Shown::Right => Some(right.to_owned()),
        Shown::Wrong => Some(wrong_verifier.clone()),
        Shown::Nothing => None,
    };
    let verifier_text = pick(verifier, VERIFIER);
    let poll_text = match poll {
        Shown::Right => Some(model.token.clone()),
        Shown::Wrong => Some("aap_wrong".to_owned()),
        Shown::Nothing => None,
    };
    let mut attempt = Attempt::new(model.id.as_str(), &presented);
    (attempt.verifier, attempt.poll_token) = (verifier_text.as_deref(), poll_text.as_deref());
    let answer = stage.ceremony.redeem_login(&attempt).await;
    assert_eq!(name_of(&answer), model.exchange(now, active, code, verifier, poll), "{context}");
    if let Ok(issued) = answer {
        model.issued(now, &issued);
    }
}

async fn refresh(stage: &Stage, model: &mut Model, age: usize, context: &str) {
    let account = model.account;
    let Some(session) = &mut model.session else { return };
    let inactive =
        account.is_some_and(|name| stage.accounts.inactive.lock().unwrap().contains(&format!("acct_{name}")));
    let now = stage.now();
    let age = age.min(session.refresh.len() - 1);
    let token = session.refresh[session.refresh.len() - 1 - age].clone();
    let answer = stage.ceremony.refresh(&Refreshing::new(&token)).await;
    let alive = !session.revoked && now < session.refresh_end;
    let repeated = age == 1 && now - session.refreshed_at < GRACE;
    let good = alive && !inactive && (age == 0 || repeated);
    assert_eq!(answer.is_ok(), good, "{context}: {answer:?}");
    let Ok(issued) = answer else {
        session.revoked |= alive;
        return;
    };
    let (access, refresh) = (issued.access_token.expose().to_owned(), issued.refresh_token.expose().to_owned());
    if age == 1 {
        assert_eq!(Some(&access), session.access.last(), "the same answer: {context}");
        assert_eq!(Some(&refresh), session.refresh.last(), "the same answer: {context}");
        return;
    }
    session.access.push(access);
    session.refresh.push(refresh);
    session.refreshed_at = now;
    session.access_end = (now + ACCESS).min(session.created_at + SESSION);
    session.refresh_end = (now + REFRESH).min(session.created_at + SESSION);
}

async fn revoke_account(stage: &Stage, all: &mut [Model], name: &'static str, context: &str) {
    let now = stage.now();
    let account: Account = common::account(name);
    let ended = stage.ceremony.revoke_all(&account.id).await.unwrap();
    let mut expected = 0;
    for model in all.iter_mut().filter(|model| model.account == Some(name)) {
        if model.state(now) == State::Approved {
            model.state = State::Revoked;
        }
        if let Some(session) = model.session.as_mut().filter(|session| !session.revoked) {
            session.revoked = true;
            expected += 1;
        }
    }
    // Other traces leave sessions of the same humans behind.
    assert!(ended >= expected, "{context}");
}

async fn revoke_session(stage: &Stage, model: &mut Model, name: &'static str, context: &str) {
    let own = model.account == Some(name);
    let Some(session) = &mut model.session else { return };
    let ended = stage.ceremony.revoke_session(&common::account(name).id, &session.id).await.unwrap();
    assert_eq!(ended, own && !session.revoked, "{context}");
    session.revoked |= own;
}

const TRACES: u32 = 300;

fn traces(store: impl CeremonyStore + Clone, traces: u32) {
    for alone in [false, true] {
        let stage = Stage::on(store.clone(), alone);
        property(traces, trace(), async |turns| run(&stage, alone, turns).await);
    }
}

const ROUNDS: usize = 200;

/// An approved authorization request, and what its agent presents.
#[derive(Clone)]
struct Approved {
    mode: Mode,
    id: AuthorizationRequestId,
    token: String,
    code: String,
}

async fn approved(stage: &Stage, mode: Mode) -> Approved {
    let mut model = Model::start(stage, mode).await;
    view(stage, &mut model, "ada", "a race").await;
    approve(stage, &mut model, "ada", "a race").await;
    let code = match (&model.code, mode) {
        (Some((code, _)), _) => code.clone(),
        (None, Mode::Claim) => String::new(),
        (None, _) => {
            let polled = stage.ceremony.login_status(model.id.as_str(), &model.token).await.unwrap();
            polled.exchange_code.unwrap().expose().to_owned()
        }
    };
    Approved { mode, id: model.id, token: model.token, code }
}

async fn finish(ceremony: Ceremony, approved: Approved) -> Result<Issued, CeremonyError> {
    let Approved { mode, id, token, code } = &approved;
    if *mode == Mode::Claim {
        return ceremony.redeem(token, &Redeemer::default()).await;
    }
    let verifier = (*mode == Mode::Browser).then_some(VERIFIER);
    let poll_token = (*mode == Mode::FinishCode).then_some(token.as_str());
    let mut attempt = Attempt::new(id.as_str(), code);
    (attempt.verifier, attempt.poll_token) = (verifier, poll_token);
    ceremony.redeem_login(&attempt).await
}

async fn refreshed(ceremony: Ceremony, token: String) -> Result<Issued, CeremonyError> {
    ceremony.refresh(&Refreshing::new(&token)).await
}

async fn is_live(stage: &Stage, issued: &Issued) -> bool {
    stage.ceremony.session(issued.access_token.expose().as_bytes()).await.unwrap().is_some()
}

/// Two hundred rounds of each race with so many at the start.
async fn races(stage: &Stage, racers: usize, rounds: usize) {
    let modes = [Mode::Claim, Mode::Browser, Mode::DetachedOrCode, Mode::FinishCode];
    for round in 0..rounds {
        let mode = modes[round % 4];
        race_to_exchange(stage, racers, mode).await;
        race_to_refresh(stage, racers).await;
        race_to_decide(stage, racers, mode).await;
        race_to_revoke(stage, racers, mode).await;
    }
}

async fn race_to_exchange(stage: &Stage, racers: usize, mode: Mode) {
    let ready = approved(stage, mode).await;
    let answers = race(racers, |_| finish(stage.ceremony.clone(), ready.clone())).await;
    let names: Vec<&str> = answers.iter().map(name_of).collect();
    assert_eq!(names.iter().filter(|name| **name == "issued").count(), 1, "{mode:?} {names:?}");
    assert_eq!(names.iter().filter(|name| **name == "claimed").count(), racers - 1, "{mode:?} {names:?}");
    let winner = answers.into_iter().find_map(Result::ok).unwrap();
    assert_eq!(stage.ceremony.sessions_of(&ready.id).await.unwrap()[0].session.id, winner.record.session.id);
    assert!(is_live(stage, &winner).await);
}

/// Within the grace all get the same successor; there is one, and no other.
async fn race_to_refresh(stage: &Stage, racers: usize) {
    let issued = finish(stage.ceremony.clone(), approved(stage, Mode::DetachedOrCode).await).await.unwrap();
    let token = issued.refresh_token.expose().to_owned();
    let answers = race(racers, |_| refreshed(stage.ceremony.clone(), token.clone())).await;
    let pairs: std::collections::HashSet<(String, String)> = answers
        .into_iter()
        .map(Result::unwrap)
        .map(|issued| (issued.access_token.expose().to_owned(), issued.refresh_token.expose().to_owned()))
        .collect();
    assert_eq!(pairs.len(), 1);
    assert!(!is_live(stage, &issued).await);
    let (access, refresh) = pairs.into_iter().next().unwrap();
    assert!(stage.ceremony.session(access.as_bytes()).await.unwrap().is_some());
    // It is not a dead end either.
    assert!(refreshed(stage.ceremony.clone(), refresh).await.is_ok());
}

async fn race_to_decide(stage: &Stage, racers: usize, mode: Mode) {
    let mut model = Model::start(stage, mode).await;
    view(stage, &mut model, "ada", "a race").await;
    let answers = race(racers, |index| {
        let (ceremony, id) = (stage.ceremony.clone(), model.id.clone());
        let approves = index % 2 == 0;
        let decision = if approves { Decision::Approve(scopes("projects:read").into()) } else { Decision::Deny };
        async move { ceremony.decide(&id, &human("ada"), decision).await.is_ok().then_some(approves) }
    });
    // The same decision again is no error, unless it would have to show a code.
    let won: Vec<bool> = answers.await.into_iter().flatten().collect();
    assert!(!won.is_empty() && won.iter().all(|approves| *approves == won[0]), "{won:?}");
    let has_code = matches!(mode, Mode::Browser | Mode::DetachedOrCode | Mode::FinishCode);
    assert!(won.len() == 1 || !(won[0] && has_code), "a code without a secret is returned once");
    model.state = if won[0] { State::Approved } else { State::Denied };
    let state = match mode {
        Mode::Claim => stage.ceremony.status(&model.token).await.unwrap().state,
        _ => stage.ceremony.login_status(model.id.as_str(), &model.token).await.unwrap().state,
    };
    assert_eq!(state, model.state);
}

/// One form, sent many times at once: all get the same code, and it is good.
async fn race_to_decide_alike(stage: &Stage, racers: usize, mode: Mode) {
    let mut model = Model::start(stage, mode).await;
    view(stage, &mut model, "ada", "a race").await;
    let approved = stage.audit.names().iter().filter(|name| **name == "approved").count();
    let answers = race(racers, |_| {
        let (ceremony, id) = (stage.ceremony.clone(), model.id.clone());
        async move {
            let human = human("ada");
            let decision = Decision::Approve(scopes("projects:read").into());
            ceremony.decide(&id, Approver::with_secret(&human, "a key"), decision).await
        }
    });
    let codes: Vec<Option<String>> =
        answers.await.into_iter().map(|decided| decided.unwrap().code.as_ref().map(text_of)).collect();
    assert!(codes.iter().all(|code| *code == codes[0]), "{mode:?}");
    let events = stage.audit.names().iter().filter(|name| **name == "approved").count();
    assert_eq!(events - approved, 1, "{mode:?}");
    let code = match (codes.into_iter().flatten().next(), mode) {
        (Some(code), _) => code,
        (None, Mode::Claim) => String::new(),
        (None, _) => panic!("{mode:?} without a code"),
    };
    let ready = Approved { mode, id: model.id, token: model.token, code };
    assert!(finish(stage.ceremony.clone(), ready).await.is_ok(), "{mode:?}");
}

/// Redeeming and refreshing against revoking everything: nothing that was approved before is live after.
async fn race_to_revoke(stage: &Stage, racers: usize, mode: Mode) {
    let ready = approved(stage, mode).await;
    let issued = finish(stage.ceremony.clone(), approved(stage, Mode::DetachedOrCode).await).await.unwrap();
    let token = issued.refresh_token.expose().to_owned();
    let answers = race(racers + 1, |index| {
        let (ceremony, ready, token) = (stage.ceremony.clone(), ready.clone(), token.clone());
        async move {
            match index {
                0 => {
                    ceremony.revoke_all(&common::account("ada").id).await.unwrap();
                    None
                }
                _ if index % 2 == 0 => finish(ceremony, ready).await.ok(),
                _ => refreshed(ceremony, token).await.ok(),
            }
        }
    });
    for issued in answers.await.into_iter().flatten() {
        assert!(!is_live(stage, &issued).await, "{mode:?}");
        let token = issued.refresh_token.expose().to_owned();
        assert!(refreshed(stage.ceremony.clone(), token).await.is_err(), "{mode:?}");
    }
    assert!(finish(stage.ceremony.clone(), ready).await.is_err());
    assert!(refreshed(stage.ceremony.clone(), token).await.is_err());
}

/// A retry within the grace gets the same pair, at its last millisecond too; a retry at its end ends the session. The
/// retries of each instant come at once, as from several processes of one agent.
async fn retry_at_the_edge(store: impl CeremonyStore + Clone) {
    for grace in [1, 1_000, 10_000, 60_000] {
        let stage = Stage::with_grace(store.clone(), true, seconds(grace));
        for (wait, kept) in [(0, true), (grace - 1, true), (grace, false), (grace + 500, false)] {
            let issued = finish(stage.ceremony.clone(), approved(&stage, Mode::DetachedOrCode).await).await.unwrap();
            let token = issued.refresh_token.expose().to_owned();
            let lost = refreshed(stage.ceremony.clone(), token.clone()).await.unwrap();
            stage.clock.advance(seconds(wait));
            for again in race(4, |_| refreshed(stage.ceremony.clone(), token.clone())).await {
                assert_eq!(again.is_ok(), kept, "a grace of {grace} after {wait}");
                if let Ok(again) = again {
                    assert_eq!(again.access_token.expose(), lost.access_token.expose());
                    assert_eq!(again.refresh_token.expose(), lost.refresh_token.expose());
                }
            }
            assert_eq!(is_live(&stage, &lost).await, kept, "a grace of {grace} after {wait}");
        }
    }
}

/// Each store with as many traces and rounds as it can do in the time.
macro_rules! on_each_store {
    ($($(#[$attribute:meta])* $store:ident: $fresh:expr, $traces:expr, $rounds:expr;)*) => {$(
        mod $store {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r44_r74_r108_random_traces_agree_with_the_model() {
                let (store, _place) = $fresh.await;
                traces(store, $traces);
            }

            #[tokio::test]
            $(#[$attribute])*
            async fn c2_retries_at_the_edge_of_the_grace() {
                let (store, _place) = $fresh.await;
                retry_at_the_edge(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn a1_the_same_decision_many_times_at_once_is_one() {
                let (store, _place) = $fresh.await;
                let stage = Stage::on(store, true);
                for racers in [2, 16, 64] {
                    for mode in [Mode::Claim, Mode::Browser, Mode::DetachedOrCode, Mode::FinishCode] {
                        race_to_decide_alike(&stage, racers, mode).await;
                    }
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r45_r76_r77_races() {
                let (store, _place) = $fresh.await;
                for racers in [2, 16, 64, 256] {
                    races(&Stage::on(store.clone(), true), racers, $rounds).await;
                }
            }
        }
    )*};
}

on_each_store! {
    memory: async { (MemoryStore::new(), ()) }, TRACES, ROUNDS;
    sqlite_file: TempFile::fresh(), TRACES, ROUNDS;
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    postgres_server: Schema::fresh(), TRACES / 10, ROUNDS / 10;
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    redis_server: Prefix::fresh(), TRACES / 3, ROUNDS / 10;
}

/// Without a grace, two that refresh at once are two that hold the token: whoever won, the session is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r76_without_grace_no_token_of_a_raced_family_is_live() {
    let clock = ManualClock::at(START);
    let config = config()
        .no_limits()
        .lifetimes(|lifetimes| lifetimes.refresh_grace = Duration::ZERO)
        .modes(|modes| modes.finish_code_alone = true);
    let auth = AgentAuth::builder(config.build().unwrap())
        .sessions(MemoryStore::new())
        .accounts(TestAccounts::default())
        .clock(clock.clone())
        .build()
        .unwrap();
    let ceremony = auth.ceremony().unwrap().clone();
    let stage = Stage { ceremony, clock, accounts: TestAccounts::default(), audit: Audit::default() };
    for round in 0..ROUNDS {
        let issued = finish(stage.ceremony.clone(), approved(&stage, Mode::DetachedOrCode).await).await.unwrap();
        let token = issued.refresh_token.expose().to_owned();
        let answers = race([2, 16, 64, 256][round % 4], |_| refreshed(stage.ceremony.clone(), token.clone())).await;
        let won: Vec<Issued> = answers.into_iter().filter_map(Result::ok).collect();
        assert!(won.len() <= 1, "one successor at most");
        for issued in &won {
            assert!(!is_live(&stage, issued).await);
            let token = issued.refresh_token.expose().to_owned();
            assert!(refreshed(stage.ceremony.clone(), token).await.is_err());
        }
    }
}
