//! What the tests share: a service with a clock that stands still, a human who signs in by a cookie, and a store that can
//! be counted and broken.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    routing::{any, get},
};
use http::{HeaderMap, Method, Request, Response, StatusCode, request::Parts};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};
use tower::ServiceExt;
use tower_agent_auth::{
    AgentAuth, AgentAuthBuilder, Config, ConfigBuilder,
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    audit::{AuditSink, Event},
    client_metadata::Fetch,
    guard::{AgentSession, Owner},
    store::{
        AuthorizationKey, AuthorizationStore, CeremonyStore, Creation, Cutoff, HousekeepingStore, MemoryStore,
        PendingCaps, RefreshTokenStore, RevokeTarget, SessionRecordStore, SessionStore, StoreError, StoreErrorKind,
    },
    types::{
        authorization::{Account, AuthorizationRequest, Client, NewAuthorizationRequest, Transition},
        clock::{Clock, ManualClock, Timestamp},
        id::{AccountId, AuthorizationRequestId, SessionId},
        secret::{Access, Digest, Refresh},
        session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
        text::HumanText,
    },
};

pub mod auth_md;
pub mod oauth;

pub const ORIGIN: &str = "https://api.example.com";
pub const PRM: &str = "https://api.example.com/.well-known/oauth-protected-resource";
/// 2026-11-24T01:10:00Z
pub const START: Timestamp = Timestamp::from_millis(1_795_482_600_000);

/// The configuration of most tests.
pub fn config() -> ConfigBuilder {
    Config::builder()
        .resource(ORIGIN)
        .name("Example Analytics")
        .scope("projects:read", "See your projects", |scope| scope.by_default())
        .scope("projects:write", "Create and change projects", |scope| scope)
        .scope("analytics:read", "See your statistics", |scope| scope.by_default())
        .scope("experiments:read", "See your experiments", |scope| scope)
        .scope("experiments:write", "Create and change experiments", |scope| scope.implies("experiments:read"))
        .sessions_path("/sessions")
        // The clock of these tests stands still between a page and its form.
        .limits(|limits| limits.approve_after = Duration::ZERO)
}

/// A service in this process, over a store of any kind.
pub struct Service<S = TestStore> {
    pub auth: AgentAuth,
    pub app: Router,
    pub clock: ManualClock,
    pub store: S,
    pub accounts: TestAccounts,
    pub audit: Audit,
    /// How often a handler ran.
    pub handled: Arc<AtomicUsize>,
}

impl Service {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: ConfigBuilder) -> Self {
        Self::on(config, TestStore::default())
    }

    pub fn on(config: ConfigBuilder, store: TestStore) -> Self {
        Self::at(config, store, ManualClock::at(START))
    }

    /// A node with a clock of its own.
    pub fn at(config: ConfigBuilder, store: TestStore, clock: ManualClock) -> Self {
        Self::made_of(config, store, clock.clone(), clock, |builder| builder)
    }

    /// A service that fetches the metadata documents of clients.
    pub fn fetching(config: ConfigBuilder, fetcher: impl Fetch) -> Self {
        let (store, clock) = (TestStore::default(), ManualClock::at(START));
        Self::made_of(config, store, clock.clone(), clock, |builder| builder.client_metadata(fetcher))
    }

    /// A service by any clock. `clock` of the result is not that one, and stands still.
    pub fn by(config: ConfigBuilder, store: TestStore, clock: impl Clock) -> Self {
        Self::made_of(config, store, ManualClock::at(START), clock, |builder| builder)
    }

    /// Another one over the same store, with the same clock.
    pub fn again(&self, config: ConfigBuilder) -> Self {
        Self::at(config, self.store.clone(), self.clock.clone())
    }
}

impl<S: CeremonyStore + Clone> Service<S> {
    pub fn made_of(
        config: ConfigBuilder,
        store: S,
        clock: ManualClock,
        shown: impl Clock,
        with: impl FnOnce(AgentAuthBuilder) -> AgentAuthBuilder,
    ) -> Self {
        let accounts = TestAccounts::default();
        let audit = Audit::default();
        let builder = AgentAuth::builder(config.build().unwrap())
            .sessions(store.clone())
            .accounts(accounts.clone())
            .clock(shown)
            .audit(audit.clone());
        let auth = with(builder).build().unwrap();
        let handled = Arc::new(AtomicUsize::new(0));
        let app = app(&auth, &handled);
        Self { auth, app, clock, store, accounts, audit, handled }
    }
}

impl<S> Service<S> {
    pub fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    /// Sends a request.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.app.clone().oneshot(request).await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn get_as(&self, path: &str, token: &str) -> Answer {
        self.send(bearer(Method::GET, path, token)).await
    }

    /// Posts JSON without credentials, as an agent does.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(json_request(path, &body.to_string())).await
    }

    /// Registers an agent for these scopes; none means the default ones.
    pub async fn register(&self, scopes: &[&str]) -> Pending {
        let mut body = json!({ "type": "user_claimed", "client_name": "Example Agent" });
        if !scopes.is_empty() {
            body["requested_scopes"] = json!(scopes);
        }
        let answer = self.post("/agent/auth", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let text = |field: &str| answer.json[field].as_str().unwrap().to_owned();
        Pending { id: text("registration_id"), claim_token: text("claim_token"), claim_url: text("claim_url") }
    }

    /// Lets a human open the approval page, and answers its form token and the cookie that goes with it.
    pub async fn open(&self, human: &str, pending: &Pending) -> Form {
        let page = self.send(browse(human, &pending.path())).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page.form(human)
    }

    /// Lets a human open the approval page and approve these scopes.
    pub async fn approve(&self, human: &str, pending: &Pending, scopes: &[&str]) {
        let form = self.open(human, pending).await;
        let mut fields = vec![("decision", "approve")];
        fields.extend(scopes.iter().map(|scope| ("scope", *scope)));
        let answer = self.send(form.post(&pending.path(), &fields)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    }

    pub async fn complete(&self, pending: &Pending) -> Answer {
        self.post("/agent/auth/claim/complete", &json!({ "claim_token": pending.claim_token })).await
    }

    /// The whole ceremony: an access token with these scopes for `ada`.
    pub async fn token(&self, scopes: &[&str]) -> String {
        self.session("ada", scopes).await.json["access_token"].as_str().unwrap().to_owned()
    }

    /// The whole ceremony: what completing it answers.
    pub async fn session(&self, human: &str, scopes: &[&str]) -> Answer {
        let pending = self.register(scopes).await;
        self.approve(human, &pending, scopes).await;
        let answer = self.complete(&pending).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer
    }
}

/// The routes of the tests' service.
pub fn app(auth: &AgentAuth, handled: &Arc<AtomicUsize>) -> Router {
    let count = Arc::clone(handled);
    let handler = move |request: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        let session = request.extensions().get::<AgentSession>().map(|session| session.id.to_string());
        let owner = request.extensions().get::<Owner>().map(|owner| owner.account().id.to_string());
        async move { axum::Json(json!({ "session": session, "owner": owner })) }
    };
    Router::new()
        .route("/health", any(handler.clone()).layer(auth.guard(tower_agent_auth::guard::Rule::public())))
        .route("/projects", any(handler.clone()).layer(auth.require("projects:read")))
        .route("/write", any(handler.clone()).layer(auth.require("projects:write")))
        .route("/both", any(handler.clone()).layer(auth.require("projects:read projects:write")))
        .route("/any", any(handler.clone()).layer(auth.require_any("projects:read analytics:read")))
        .route("/experiments", any(handler.clone()).layer(auth.require("experiments:read")))
        .route("/optional", any(handler.clone()).layer(auth.optional()))
        .route("/billing", any(handler.clone()).layer(auth.owner_only()))
        .route("/unclassified", get(handler))
        .layer(auth.endpoints())
}

/// An authorization request that waits for its human.
#[derive(Clone, Debug)]
pub struct Pending {
    pub id: String,
    pub claim_token: String,
    pub claim_url: String,
}

impl Pending {
    pub fn path(&self) -> String {
        self.claim_url.strip_prefix(ORIGIN).unwrap().to_owned()
    }
}

/// A form as a page showed it to a human.
#[derive(Clone, Debug)]
pub struct Form {
    pub human: String,
    pub csrf: String,
    pub cookie: String,
}

impl Form {
    /// Sends it as the browser would, with these fields beside the token.
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("csrf", &self.csrf).extend_pairs(fields);
        Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", format!("user={}; {}", self.human, self.cookie))
            .header("origin", ORIGIN)
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(body.finish()))
            .unwrap()
    }
}

/// A response, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// The body as JSON; null if it is none.
    pub json: Value,
}

impl Answer {
    pub async fn read<B>(response: Response<B>) -> Self
    where
        B: http_body::Body,
        B::Error: std::fmt::Debug,
    {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        // Pages isolate what is filled in.
        let text = text.replace(['\u{2068}', '\u{2069}'], "");
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { status: parts.status, headers: parts.headers, text, json }
    }

    /// The value of a header that must be there once.
    pub fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name} in {:?}", self.headers);
        values[0].to_str().unwrap()
    }

    /// Where a page sends the browser on to by itself.
    pub fn goes_on_to(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let url = self.header("refresh").strip_prefix("0;url=").unwrap();
        assert!(self.text.contains("<a "), "a link for whoever is not sent on: {}", self.text);
        url
    }

    pub fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    /// The form of a page, and the cookie that came with it.
    pub fn form(&self, human: &str) -> Form {
        let csrf = between(&self.text, "name=\"csrf\" value=\"", "\"").to_owned();
        let cookie = self.header("set-cookie").split(';').next().unwrap().to_owned();
        Form { human: human.into(), csrf, cookie }
    }
}

pub fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap_or_else(|| panic!("no {start} in {text}")) + start.len();
    &text[from..from + text[from..].find(end).unwrap()]
}

pub fn bearer(method: Method, path: &str, token: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    request.body(Body::empty()).unwrap()
}

pub fn json_request(path: &str, body: &str) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
}

/// A signed-in human's GET in the browser that was shown this form.
pub fn browse_again(form: &Form, path: &str) -> Request<Body> {
    let cookie = format!("user={}; {}", form.human, form.cookie);
    Request::get(path).header("cookie", cookie).body(Body::empty()).unwrap()
}

/// A signed-in human's GET.
pub fn browse(human: &str, path: &str) -> Request<Body> {
    Request::get(path).header("cookie", format!("user={human}")).body(Body::empty()).unwrap()
}

pub fn from_address(mut request: Request<Body>, address: &str) -> Request<Body> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(SocketAddr::new(address, 40_000));
    request
}

/// Humans: the cookie `user=NAME` signs NAME in; the browser session is `login=…` beside it.
#[derive(Clone, Debug, Default)]
pub struct TestAccounts {
    pub inactive: Arc<Mutex<Vec<String>>>,
    pub fails: Arc<AtomicBool>,
    pub panics: Arc<AtomicBool>,
    /// Whether the host lets a human choose another account.
    pub switches: Arc<AtomicBool>,
    /// When the humans signed in, if the host tells.
    pub since: Arc<Mutex<Option<Timestamp>>>,
    /// Whether the host makes accounts for agents that nobody has claimed.
    pub makes_accounts: Arc<AtomicBool>,
    /// How many it has made.
    pub made: Arc<AtomicUsize>,
    /// The provisional accounts that it has merged, each with the account into which.
    pub merged: Arc<Mutex<Vec<(String, String)>>>,
}

pub fn account(name: &str) -> Account {
    Account::new(AccountId::new(&format!("acct_{name}")).unwrap(), format!("{name}@example.com"))
}

impl Accounts for TestAccounts {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        self.check()?;
        let cookie = |name: &str| cookie(&request.headers, name).map(str::to_owned);
        let Some(user) =
            cookie("user").filter(|user| !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_lowercase()))
        else {
            return Ok(None);
        };
        let login = cookie("login").unwrap_or_else(|| format!("first login of {user}"));
        let human = SignedIn::new(account(&user), login);
        let since = *self.since.lock().unwrap();
        Ok(Some(match since {
            Some(since) => human.since(since),
            None => human,
        }))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/login?next={return_to}")
    }

    fn step_up_url(&self, return_to: &str) -> String {
        format!("/step-up?next={return_to}")
    }

    fn switch_account_url(&self, return_to: &str) -> Option<String> {
        self.switches.load(Ordering::SeqCst).then(|| format!("/switch?next={return_to}"))
    }

    async fn is_active(&self, account: &AccountId) -> Result<bool, AccountsError> {
        self.check()?;
        Ok(!self.inactive.lock().unwrap().iter().any(|id| id == account.as_str()))
    }

    async fn provisional(&self, _: &Client) -> Result<Option<Account>, AccountsError> {
        self.check()?;
        let makes = self.makes_accounts.load(Ordering::SeqCst);
        Ok(makes.then(|| account(&format!("unclaimed{}", self.made.fetch_add(1, Ordering::SeqCst)))))
    }

    async fn merge(&self, provisional: &AccountId, claimed_by: &Account) -> Result<(), AccountsError> {
        self.check()?;
        self.merged.lock().unwrap().push((provisional.to_string(), claimed_by.id.to_string()));
        Ok(())
    }
}

impl TestAccounts {
    fn check(&self) -> Result<(), AccountsError> {
        assert!(!self.panics.load(Ordering::SeqCst), "the accounts panic, as they were told");
        if self.fails.load(Ordering::SeqCst) {
            return Err(AccountsError::new("the user database is down"));
        }
        Ok(())
    }
}

/// Keeps every audit event.
#[derive(Clone, Debug, Default)]
pub struct Audit(Arc<Mutex<Vec<Event>>>);

impl Audit {
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.events().iter().map(Event::name).collect()
    }
}

impl AuditSink for Audit {
    fn record(&self, _: Timestamp, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// What a broken store does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Unavailable,
    Corrupt,
    Panic,
    /// It never answers.
    Hang,
    /// It does what it is asked, once, and the answer is lost.
    AnswerLost,
    /// It does what it is asked, and no answer arrives.
    AnswersLost,
}

/// A store, in memory if no other is given, that counts its calls, waits like a real one, and breaks on demand.
#[derive(Clone, Debug)]
pub struct TestStore<S = MemoryStore> {
    /// What it stands over.
    pub memory: S,
    /// Calls of any kind.
    pub calls: Arc<AtomicUsize>,
    /// Calls that change something.
    pub writes: Arc<AtomicUsize>,
    /// From which call on it breaks, and how.
    pub fault: Arc<Mutex<Option<(usize, Fault)>>>,
    /// Answers token checks only after waiting, as a store across a network does.
    pub waits: Arc<AtomicBool>,
    /// The clock of the database server, if it has one.
    pub server: Arc<Mutex<Option<Timestamp>>>,
}

impl Default for TestStore {
    fn default() -> Self {
        Self::over(MemoryStore::new())
    }
}

impl<S> TestStore<S> {
    pub fn over(store: S) -> Self {
        Self {
            memory: store,
            calls: Arc::default(),
            writes: Arc::default(),
            fault: Arc::default(),
            waits: Arc::default(),
            server: Arc::default(),
        }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Breaks from the `after`-th call from now on.
    pub fn break_after(&self, after: usize, fault: Fault) {
        *self.fault.lock().unwrap() = Some((self.calls() + after, fault));
    }

    pub fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }

    pub fn wait(&self) {
        self.waits.store(true, Ordering::SeqCst);
    }

    /// Whether the call is carried out and its answer lost.
    async fn step(&self, writes: bool) -> Result<bool, StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if writes {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        let fault = *self.fault.lock().unwrap();
        tokio::task::yield_now().await;
        match fault.filter(|(from, _)| call >= *from).map(|(_, fault)| fault) {
            None => Ok(false),
            Some(Fault::AnswerLost) => Ok(fault.is_some_and(|(from, _)| call == from)),
            Some(Fault::AnswersLost) => Ok(true),
            Some(Fault::Unavailable) => Err(unavailable()),
            Some(Fault::Corrupt) => Err(StoreError::new(StoreErrorKind::Corrupt)),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Panic) => panic!("the store panics, as it was told"),
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::because(StoreErrorKind::Unavailable, "connection refused")
}

impl<S: SessionStore> SessionStore for TestStore<S> {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.step(false).await?;
        self.memory.find_session(access).await
    }

    fn try_find_session(&self, access: &Digest<Access>) -> std::task::Poll<Option<Arc<Session>>> {
        if self.waits.load(Ordering::SeqCst) || self.fault.lock().unwrap().is_some() {
            return std::task::Poll::Pending;
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.memory.try_find_session(access)
    }
}

/// Writes a store trait for [`TestStore`]: each call is a step, and then the memory's. `true` for calls that change.
macro_rules! steps {
    ($($trait:ident { $($writes:literal $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* })*) => {$(
        impl<S: $trait> $trait for TestStore<S> {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                let lost = self.step($writes).await?;
                let answer = self.memory.$name($($argument),*).await;
                if lost { Err(unavailable()) } else { answer }
            })*
        }
    )*};
}

steps! {
    AuthorizationStore {
        true create_authorization(new: &NewAuthorizationRequest, caps: PendingCaps) -> Creation;
        false find_authorization(key: &AuthorizationKey) -> Option<AuthorizationRequest>;
        false list_approved(account: &AccountId, at: Timestamp, limit: usize) -> Vec<AuthorizationRequest>;
        false list_authorizations(account: &AccountId, after: Option<&AuthorizationRequestId>, limit: usize)
            -> Vec<AuthorizationRequest>;
        true transition(id: &AuthorizationRequestId, transition: &Transition, at: Timestamp) -> bool;
        true redeem(new: &NewSession, at: Timestamp) -> bool;
    }
    SessionRecordStore {
        false find_record(session: &SessionId) -> Option<SessionRecord>;
        false sessions_of(authorization: &AuthorizationRequestId) -> Vec<SessionRecord>;
        false list_sessions(account: &AccountId, before: Option<&SessionId>, limit: usize) -> Vec<SessionRecord>;
        true revoke(target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Vec<SessionId>;
        true rename_session(account: &AccountId, session: &SessionId, name: Option<&HumanText>) -> bool;
        true record_uses(uses: &[(SessionId, Use)], at: Timestamp) -> ();
    }
    RefreshTokenStore {
        false find_refresh(refresh: &Digest<Refresh>) -> Option<RefreshTokenState>;
        true rotate(rotation: &Rotation, at: Timestamp) -> Option<SessionId>;
    }
}

impl<S: HousekeepingStore> HousekeepingStore for TestStore<S> {
    async fn forget(&self, cutoff: &Cutoff, limit: usize) -> Result<bool, StoreError> {
        self.step(true).await?;
        self.memory.forget(cutoff, limit).await
    }

    async fn forget_account(&self, account: &AccountId, limit: usize) -> Result<bool, StoreError> {
        let lost = self.step(true).await?;
        let answer = self.memory.forget_account(account, limit).await;
        if lost { Err(unavailable()) } else { answer }
    }

    async fn server_time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.step(false).await?;
        Ok(*self.server.lock().unwrap())
    }
}

/// Lets so many start together, and answers what each of them answers.
pub async fn race<F>(racers: usize, racer: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let line = Arc::new(Barrier::new(racers));
    let mut running = JoinSet::new();
    for index in 0..racers {
        let (line, racer) = (Arc::clone(&line), racer(index));
        running.spawn(async move {
            line.wait().await;
            racer.await
        });
    }
    running.join_all().await
}

/// A body that counts how many bytes were asked of it.
pub struct Dripping {
    pub left: usize,
    pub sent: Arc<AtomicUsize>,
}

impl http_body::Body for Dripping {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let size = self.left.min(1024);
        if size == 0 {
            return std::task::Poll::Ready(None);
        }
        self.left -= size;
        self.sent.fetch_add(size, Ordering::SeqCst);
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(vec![b' '; size].into()))))
    }
}

pub const SECOND: Duration = Duration::from_secs(1);

/// A body that never comes.
pub struct Silent;

impl http_body::Body for Silent {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}
