//! A service that only checks tokens, and asks the issuer in place of a store (feature `remote`).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::{
    collections::HashSet,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, middleware, routing::get};
use common::{
    Answer, Audit, Fault, ORIGIN, START, Service, Silent, app, bearer,
    oauth::{Login, form, oauth, text},
    race,
};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::{advance, pause, resume},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};
use tower::ServiceExt;
use tower_agent_auth::{
    AgentAuth, ConfigBuilder,
    audit::Event,
    config::ResourceServer,
    guard::AgentSession,
    store::{CacheOptions, RemoteOptions, RemoteSessions, SessionStore},
    types::{
        clock::ManualClock,
        random::OsRandom,
        secret::{Access, Digest, Prefix},
    },
};

const REPORTS: &str = "https://reports.example.com";
/// What must be encoded in Basic credentials is in it.
const SECRET: &str = "s3cret: +&%é of 32 random characters";

/// The configuration of the service that asks.
fn reports() -> ConfigBuilder {
    common::config().resource(REPORTS).issuer(ORIGIN).no_limits()
}

/// Each check asks.
fn uncached() -> RemoteOptions {
    RemoteOptions::new().cache(CacheOptions::new().staleness(Duration::ZERO))
}

/// A service that asks.
struct Checking {
    auth: AgentAuth,
    app: Router,
    audit: Audit,
    handled: Arc<AtomicUsize>,
    sessions: RemoteSessions,
}

impl Checking {
    fn at(endpoint: &str, options: RemoteOptions, clock: &ManualClock) -> Self {
        Self::of(reports(), endpoint, options, clock)
    }

    fn of(config: ConfigBuilder, endpoint: &str, options: RemoteOptions, clock: &ManualClock) -> Self {
        let config = config.build().unwrap();
        let sessions = options.endpoint(endpoint).of(&config, "reports", SECRET).unwrap();
        let audit = Audit::default();
        let builder = AgentAuth::builder(config).checks_only(sessions.clone());
        let auth = builder.clock(clock.clone()).audit(audit.clone()).build().unwrap();
        let handled = Arc::new(AtomicUsize::new(0));
        let app = app(&auth, &handled).merge(caller(&auth));
        Self { auth, app, audit, handled, sessions }
    }

    async fn check(&self, token: &str) -> StatusCode {
        self.get("/projects", token).await.status
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        Answer::read(self.app.clone().oneshot(bearer(Method::GET, path, token)).await.unwrap()).await
    }

    /// The error of the last failed check, with its causes.
    fn last_error(&self) -> String {
        match self.audit.events().pop() {
            Some(Event::Unavailable { error }) => error,
            other => panic!("{other:?}"),
        }
    }
}

/// A route that answers all that a handler learns of the caller.
fn caller(auth: &AgentAuth) -> Router {
    let handler = async |agent: AgentSession| {
        axum::Json(json!({
            "id": agent.id.as_str(),
            "account": agent.account.id.as_str(),
            "label": agent.account.label,
            "client": agent.client.as_str(),
            "scopes": agent.scopes.names(),
            "resource": &*agent.resource,
            "expires_at": agent.expires_at.as_millis(),
            "digest": data_encoding::HEXLOWER.encode(agent.access.as_bytes()),
        }))
    };
    Router::new().route("/caller", get(handler).layer(auth.require("projects:read")))
}

/// The issuer, with its endpoint on a socket of this machine.
struct Issuer {
    service: Service,
    endpoint: String,
    questions: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Self {
        let hash = hex(SECRET);
        let config = oauth().no_limits().add_resource(REPORTS, |resource| resource).oauth(|oauth| {
            oauth.resource_servers.push(ResourceServer::new("reports", &hash, &[REPORTS]));
        });
        let service = Service::with(config);
        let questions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&questions);
        let counted = service.app.clone().layer(middleware::from_fn(move |request, next: middleware::Next| {
            count.fetch_add(1, SeqCst);
            next.run(request)
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/oauth2/introspect", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, counted).await });
        Self { service, endpoint, questions }
    }

    fn questions(&self) -> usize {
        self.questions.load(SeqCst)
    }

    fn checking(&self, options: RemoteOptions) -> Checking {
        Checking::at(&self.endpoint, options, &self.service.clock)
    }

    /// Logs a client in for the resource of the service that asks. Answers the client, and its tokens.
    async fn log_in(&self, name: &str) -> (Login, Value) {
        let login = Login::named(&self.service, name).await.with("resource", REPORTS);
        let tokens = login.tokens(&self.service).await;
        (login, tokens)
    }

    async fn token(&self) -> String {
        text(&self.log_in("Example Host").await.1, "access_token").to_owned()
    }

    async fn revoke(&self, token: &str) {
        let answer = self.service.send(form("/oauth2/revoke", &[("token", token)])).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

fn random_token() -> String {
    Prefix::<Access>::new("aas_").unwrap().generate(&OsRandom).unwrap().expose().to_owned()
}

/// The SHA-256 of a secret in hexadecimal digits.
fn hex(secret: &str) -> String {
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(secret))
}

fn digest_of(token: &str) -> Digest<Access> {
    Prefix::new("aas_").unwrap().digest(token.as_bytes()).unwrap()
}

/// Lets time pass for caches and timers.
async fn pass(span: Duration) {
    pause();
    advance(span).await;
    resume();
}

#[tokio::test]
async fn r120_who_asks_the_issuer_answers_every_caller_as_who_has_the_store() {
    let issuer = Issuer::start().await;
    let asks = issuer.checking(uncached());
    let with_store = AgentAuth::builder(reports().build().unwrap())
        .checks_only(issuer.service.store.clone())
        .clock(issuer.service.clock.clone())
        .build()
        .unwrap();
    let with_store = app(&with_store, &Arc::default()).merge(caller(&with_store));

    let (login, tokens) = issuer.log_in("Claude 助手 “2”").await;
    let (_, revoked) = issuer.log_in("Example Host").await;
    issuer.revoke(text(&revoked, "access_token")).await;
    let narrowed = issuer.log_in("Narrow").await;
    let narrowed =
        narrowed.0.refresh(&issuer.service, text(&narrowed.1, "refresh_token"), &[("scope", "analytics:read")]).await;
    let refreshed = issuer.log_in("Refreshed").await;
    let next = refreshed.0.refresh(&issuer.service, text(&refreshed.1, "refresh_token"), &[]).await.json;
    let elsewhere = Login::of(&issuer.service).await.tokens(&issuer.service).await;
    let all = [
        ("valid", text(&tokens, "access_token").to_owned()),
        ("a refresh token", text(&tokens, "refresh_token").to_owned()),
        ("revoked", text(&revoked, "access_token").to_owned()),
        ("narrowed", text(&narrowed.json, "access_token").to_owned()),
        ("from before a refresh", text(&refreshed.1, "access_token").to_owned()),
        ("from a refresh", text(&next, "access_token").to_owned()),
        ("of the issuer's own resource", text(&elsewhere, "access_token").to_owned()),
        ("unknown", random_token()),
        ("malformed", "aas_x".to_owned()),
    ];
    let mut statuses = HashSet::new();
    for late in [0, 3_599, 3_600] {
        for (what, token) in &all {
            for path in ["/caller", "/projects", "/write", "/any", "/optional", "/billing", "/both"] {
                let theirs = with_store.clone().oneshot(bearer(Method::GET, path, token)).await.unwrap();
                let (ours, theirs) = (asks.get(path, token).await, Answer::read(theirs).await);
                let seen = |answer: &Answer| {
                    let challenge = answer.headers.get("www-authenticate").cloned();
                    (answer.status, challenge, answer.text.clone())
                };
                assert_eq!(seen(&ours), seen(&theirs), "{what}, {path}, {late}");
                statuses.insert(ours.status.as_u16());
            }
        }
        if late == 0 {
            let caller = asks.get("/caller", &all[0].1).await.json;
            assert_eq!(caller["client"], "Claude 助手 “2”");
            assert_eq!((&caller["account"], &caller["label"]), (&json!("acct_ada"), &json!("ada@example.com")));
            assert_eq!(caller["resource"], REPORTS);
        }
        issuer.service.clock.advance(Duration::from_secs(if late == 0 { 3_599 } else { 1 }));
    }
    assert_eq!(statuses, HashSet::from([200, 401, 403]));
    assert!(!login.client.is_empty());
}

#[tokio::test]
async fn r120_a_use_counts_at_the_issuer() {
    let issuer = Issuer::start().await;
    let token = issuer.token().await;
    assert_eq!(issuer.checking(RemoteOptions::new()).check(&token).await, StatusCode::OK);
    issuer.service.auth.write_uses().await.unwrap();
    let ceremony = issuer.service.auth.ceremony().unwrap();
    let sessions = ceremony.sessions(&common::account("ada").id, None).await.unwrap().sessions;
    assert_eq!(sessions[0].last_use.unwrap().at, common::START);
}

#[tokio::test]
async fn r121_a_revoked_session_passes_for_thirty_seconds_at_most() {
    let issuer = Issuer::start().await;
    let checking = issuer.checking(RemoteOptions::new());
    let token = issuer.token().await;
    assert_eq!(checking.check(&token).await, StatusCode::OK);
    issuer.revoke(&token).await;
    let asked = issuer.questions();
    pass(Duration::from_secs(29)).await;
    assert_eq!(checking.check(&token).await, StatusCode::OK, "within the bound");
    assert_eq!(issuer.questions(), asked);
    pass(Duration::from_secs(1)).await;
    assert_eq!(checking.check(&token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(issuer.questions(), asked + 1);
    // That it is unknown is cached, too.
    assert_eq!(checking.check(&token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(issuer.questions(), asked + 1);
    pass(Duration::from_secs(5)).await;
    assert_eq!(checking.check(&token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(issuer.questions(), asked + 2);

    let token = issuer.token().await;
    let strict = issuer.checking(uncached());
    assert_eq!(strict.check(&token).await, StatusCode::OK);
    issuer.revoke(&token).await;
    assert_eq!(strict.check(&token).await, StatusCode::UNAUTHORIZED, "without a cache, at once");
}

#[tokio::test]
async fn r121_an_expired_session_does_not_pass_however_long_it_is_cached() {
    let issuer = Issuer::start().await;
    let checking = issuer.checking(RemoteOptions::new());
    let token = issuer.token().await;
    assert_eq!(checking.check(&token).await, StatusCode::OK);
    let asked = issuer.questions();
    issuer.service.clock.advance(Duration::from_secs(3_600));
    assert_eq!(checking.check(&token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(issuer.questions(), asked);
}

#[tokio::test]
async fn r121_a_stream_ends_with_a_session_that_the_issuer_ended() {
    let issuer = Issuer::start().await;
    let checking = issuer.checking(uncached());
    let guard = checking.auth.require("projects:read").strip_authorization().end_with_session();
    let stream = Router::new().route("/", get(async || Body::new(Silent)).layer(guard));
    let token = issuer.token().await;
    let mut body = stream.oneshot(bearer(Method::GET, "/", &token)).await.unwrap().into_body();
    let mut frame = std::pin::pin!(body.frame());
    assert!(futures_util::poll!(&mut frame).is_pending());
    issuer.revoke(&token).await;
    pass(Duration::from_secs(5)).await;
    let error = frame.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("session ended"), "{error}");
}

#[tokio::test]
async fn r120_while_the_issuer_fails_what_is_cached_passes_until_it_is_too_old_and_nobody_else() {
    let issuer = Issuer::start().await;
    let checking = issuer.checking(RemoteOptions::new());
    let (known, other) = (issuer.token().await, issuer.token().await);
    assert_eq!(checking.check(&known).await, StatusCode::OK);
    issuer.service.store.break_after(0, Fault::Unavailable);
    assert_eq!(checking.check(&known).await, StatusCode::OK);
    assert_eq!(checking.check(&other).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(checking.last_error().contains("status 503"), "{}", checking.last_error());
    pass(Duration::from_secs(30)).await;
    let handled = checking.handled.load(SeqCst);
    let refused = checking.get("/projects", &known).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after") && !refused.headers.contains_key("www-authenticate"));
    assert_eq!(checking.handled.load(SeqCst), handled);
    issuer.service.store.mend();
    assert_eq!(checking.check(&known).await, StatusCode::OK, "no failure is cached");
    assert_eq!(checking.check(&other).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r121_checks_of_one_token_at_once_ask_once() {
    let issuer = Issuer::start().await;
    let checking = Arc::new(issuer.checking(RemoteOptions::new()));
    for racers in [2, 4, 8, 16, 32, 64] {
        for token in [issuer.token().await, random_token()] {
            let asked = issuer.questions();
            let statuses = race(racers, |_| {
                let (checking, token) = (Arc::clone(&checking), token.clone());
                async move { checking.check(&token).await }
            });
            let statuses: HashSet<_> = statuses.await.into_iter().collect();
            assert_eq!(statuses.len(), 1, "{statuses:?}");
            assert_eq!(issuer.questions(), asked + 1, "{racers}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r121_invented_tokens_cost_no_session_its_place_and_malformed_ones_no_question() {
    let issuer = Issuer::start().await;
    let cache = CacheOptions::new().staleness(Duration::from_secs(60)).unknown(Duration::from_secs(5)).capacity(100);
    let checking = issuer.checking(RemoteOptions::new().cache(cache));
    let live = join_all((0..20).map(|_| issuer.token())).await;
    for token in &live {
        assert_eq!(checking.check(token).await, StatusCode::OK);
    }
    let asked = issuer.questions();
    for token in ["aas_x", "", "x", &live[0][1..], &format!("{}x", live[0]), &live[0].to_uppercase()] {
        assert_ne!(checking.check(token).await, StatusCode::OK);
    }
    assert_eq!(issuer.questions(), asked, "what has not the form of a token is refused without a question");
    for _ in 0..20 {
        let invented: Vec<String> = (0..100).map(|_| random_token()).collect();
        for status in join_all(invented.iter().map(|token| checking.check(token))).await {
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
    }
    assert_eq!(issuer.questions(), asked + 2_000);
    for token in &live {
        assert_eq!(checking.check(token).await, StatusCode::OK);
    }
    assert_eq!(issuer.questions(), asked + 2_000, "all of them are still cached");
}

/// An endpoint that answers what it is told.
#[derive(Clone)]
struct Peer {
    endpoint: String,
    state: Arc<State>,
}

struct State {
    behaviour: Mutex<Behaviour>,
    /// The requests that it got, head and body.
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
}

#[derive(Clone)]
enum Behaviour {
    /// It sends this, and goes on.
    Say(String),
    /// It sends this, and nothing more.
    ThenSilence(String),
    /// It sends this and closes the connection.
    ThenClose(String),
    /// It sends a byte of this every few milliseconds.
    Drip(String),
}

impl Behaviour {
    fn with(self, asked: &str) -> Self {
        let with = |text: String| text.replace(ASKED, asked);
        match self {
            Self::Say(text) => Self::Say(with(text)),
            Self::ThenSilence(text) => Self::ThenSilence(with(text)),
            Self::ThenClose(text) => Self::ThenClose(with(text)),
            Self::Drip(text) => Self::Drip(with(text)),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Peer {
    async fn start() -> Self {
        Self::behind(None).await
    }

    async fn behind(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(State {
            behaviour: Mutex::new(Behaviour::ThenSilence(String::new())),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let peer = Self { endpoint: format!("{scheme}://localhost:{port}/introspect"), state };
        let accepting = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (peer, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    let stream: Pin<Box<dyn Stream>> = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::pin(stream),
                            Err(_) => return,
                        },
                        None => Box::pin(stream),
                    };
                    peer.state.connections.fetch_add(1, SeqCst);
                    peer.state.open.fetch_add(1, SeqCst);
                    peer.converse(stream).await;
                    peer.state.open.fetch_sub(1, SeqCst);
                });
            }
        });
        peer
    }

    /// Answers requests until the connection ends.
    async fn converse(&self, mut stream: Pin<Box<dyn Stream>>) {
        let mut received = Vec::new();
        loop {
            let mut buffer = [0; 4_096];
            let Some(request) = whole_request(&mut received) else {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => received.extend_from_slice(&buffer[..read]),
                }
                continue;
            };
            let asked = request.split_once("token_sha256=").unwrap().1.to_owned();
            self.state.requests.lock().unwrap().push(request);
            let behaviour = self.state.behaviour.lock().unwrap().clone().with(&asked);
            let sent = match &behaviour {
                Behaviour::Say(text) | Behaviour::ThenSilence(text) | Behaviour::ThenClose(text) => {
                    stream.write_all(text.as_bytes()).await
                }
                Behaviour::Drip(text) => drip(&mut stream, text).await,
            };
            if sent.is_err() || matches!(behaviour, Behaviour::ThenClose(_)) {
                return;
            }
        }
    }

    fn set(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    fn checking(&self, options: RemoteOptions) -> Checking {
        Checking::at(&self.endpoint, options, &ManualClock::at(START))
    }
}

fn whole_request(received: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8(received.clone()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.unwrap_or(0);
    if body.len() < length {
        return None;
    }
    received.drain(..head.len() + 4 + length);
    Some(text)
}

async fn drip(stream: &mut Pin<Box<dyn Stream>>, text: &str) -> std::io::Result<()> {
    for byte in text.bytes() {
        stream.write_all(&[byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Stands for the digest that was asked for.
const ASKED: &str = "----------------------------the digest--------------------------";

fn inactive() -> String {
    json!({ "active": false, "token_sha256": ASKED }).to_string()
}

fn good() -> Value {
    json!({
        "active": true,
        "token_sha256": ASKED,
        "scope": "projects:read analytics:read",
        "sub": "acct_ada",
        "username": "ada@example.com",
        "aud": REPORTS,
        "iss": ORIGIN,
        "iat": START.as_millis() / 1_000,
        "exp": START.as_millis() / 1_000 + 60,
        "token_type": "Bearer",
        "session_id": "ses_0123456789abcdefghijkl",
        "agent": { "name": "Example Host" },
    })
}

/// A good answer with another value of a member, or without it.
fn with(pointer: &str, value: Option<Value>) -> String {
    let mut answer = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = answer.pointer_mut(parent).unwrap();
    match value {
        Some(value) => parent[name] = value,
        None => drop(parent.as_object_mut().unwrap().remove(name)),
    }
    answer.to_string()
}

/// Whether no secret is in an error, nor the digest of the token.
fn tells_no_secret(text: &str, token: &str) {
    let digest = hex(token);
    for secret in [token, SECRET, &digest, "ada@example.com"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!text.contains("Basic cmVwb3J0c"), "{text}");
}

#[tokio::test]
async fn r120_an_answer_that_is_not_as_it_must_be_lets_nobody_pass_and_is_no_refusal_of_the_token() {
    let peer = Peer::start().await;
    let checking = peer.checking(RemoteOptions::new());
    let mut bodies = vec![
        (String::new(), "no JSON object"),
        ("[true]".into(), "no JSON object"),
        ("[false]".into(), "no JSON object"),
        ("true".into(), "no JSON object"),
        ("<html>".into(), "no JSON object"),
        ("{".into(), "line 1, column 1"),
        ("{}".into(), "line 1, column 2"),
        (r#"{"active":false"#.into(), "line 1"),
        (r#"{"active":false}}"#.into(), "line 1"),
        (r#"{"active":null}"#.into(), "line 1"),
        (r#"{"active":"false"}"#.into(), "line 1"),
        (r#"{"active":0}"#.into(), "line 1"),
        (r#"{"active":false,"active":true}"#.into(), "line 1"),
        (r#"{"active":true,"active":true}"#.into(), "line 1"),
        (good().to_string().replacen('{', "{\"sub\":\"acct_eve\",", 1), "line 1"),
        (good().to_string().replacen('{', "{\"exp\":9999999999,", 1), "line 1"),
        (with("/iss", Some(json!("https://evil.example"))), "another issuer"),
        (with("/iss", Some(json!(format!("{ORIGIN}/")))), "another issuer"),
        (with("/aud", Some(json!(ORIGIN))), "oauth.resource_servers"),
        (with("/aud", Some(json!("https://reports.example.com.evil.example"))), "oauth.resource_servers"),
        (with("/aud", Some(json!(""))), "oauth.resource_servers"),
        (with("/token_sha256", Some(json!("0".repeat(64)))), "`token_sha256`"),
        (r#"{"active":false}"#.into(), "`token_sha256`"),
        (with("/token_type", Some(json!("DPoP"))), "`token_type`"),
        (with("/exp", Some(json!(i64::MAX))), "`exp`"),
        (with("/exp", Some(json!(1.5))), "line 1"),
        (with("/scope", Some(json!("two\u{a0}words\""))), "`scope`"),
        (with("/sub", Some(json!(""))), "`sub`"),
        (with("/sub", Some(json!("a\nb"))), "`sub`"),
        (with("/session_id", Some(json!("ses_1"))), "`session_id`"),
        (with("/agent", Some(json!({}))), "`agent.name`"),
    ];
    for member in ["/token_sha256", "/aud", "/scope", "/sub", "/username", "/exp", "/session_id", "/agent/name"] {
        bodies.push((with(member, None), "is missing or not valid"));
        bodies.push((with(member, Some(Value::Null)), "is missing or not valid"));
    }
    for member in ["/active", "/scope", "/sub", "/username", "/aud", "/iss", "/exp", "/token_type", "/session_id"] {
        for wrong in [json!([]), json!({}), json!("text"), json!(7), json!(true)] {
            let is_right = match member {
                "/active" => wrong.is_boolean(),
                "/exp" => wrong.is_number(),
                _ => wrong.is_string(),
            };
            if !is_right {
                bodies.push((with(member, Some(wrong)), "line 1"));
            }
        }
    }
    for (body, cause) in bodies {
        let token = random_token();
        peer.set(Behaviour::Say(response("200 OK", &body)));
        let refused = checking.get("/projects", &token).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        assert!(!refused.headers.contains_key("www-authenticate"));
        let error = checking.last_error();
        assert!(error.contains(cause) && error.contains(&peer.endpoint), "{body}: {error}");
        tells_no_secret(&error, &token);
        // Nothing of it is remembered.
        peer.set(Behaviour::Say(response("200 OK", &good().to_string())));
        assert_eq!(checking.check(&token).await, StatusCode::OK, "{body}");
    }
}

#[tokio::test]
async fn r120_what_an_answer_may_lack_or_have_beside_is_no_fault() {
    let peer = Peer::start().await;
    let checking = peer.checking(RemoteOptions::new());
    for body in [
        good().to_string(),
        format!("\n \t{} ", good()),
        with("/iss", None),
        with("/token_type", None),
        with("/token_type", Some(json!("bearer"))),
        with("/aud", Some(json!("https://reports.example.com/"))),
        with("/client_id", Some(json!("a-client"))),
        with("/cnf", Some(json!({ "x": [1, null] }))),
    ] {
        peer.set(Behaviour::Say(response("200 OK", &body)));
        assert_eq!(checking.check(&random_token()).await, StatusCode::OK, "{body}");
    }
    let narrow = with("/scope", Some(json!("analytics:read unknown:scope")));
    let over = with("/exp", Some(json!(START.as_millis() / 1_000)));
    let long_over = with("/exp", Some(json!(-1)));
    for (body, status) in [
        (narrow, StatusCode::FORBIDDEN),
        (with("/scope", Some(json!(""))), StatusCode::FORBIDDEN),
        (over, StatusCode::UNAUTHORIZED),
        (long_over, StatusCode::UNAUTHORIZED),
        (inactive(), StatusCode::UNAUTHORIZED),
        (inactive().replacen('{', "{\"sub\":\"acct_ada\",\"x\":1,", 1), StatusCode::UNAUTHORIZED),
    ] {
        peer.set(Behaviour::Say(response("200 OK", &body)));
        assert_eq!(checking.check(&random_token()).await, status, "{body}");
    }
}

#[tokio::test]
async fn r120_an_endpoint_that_refuses_or_redirects_is_a_failure_and_its_error_says_what_to_do() {
    let peer = Peer::start().await;
    let checking = peer.checking(RemoteOptions::new());
    let elsewhere = Peer::start().await;
    elsewhere.set(Behaviour::Say(response("200 OK", &good().to_string())));
    let redirect = |status: &str| {
        let said = response(status, "").replacen("\r\n", &format!("\r\nlocation: {}\r\n", elsewhere.endpoint), 1);
        (said, "no redirect is followed")
    };
    let huge = good().to_string() + &" ".repeat(64 * 1024);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        "400\r\n".to_owned() + &"x".repeat(1_024) + "\r\n"
    );
    let endless = chunked.clone() + &("400\r\n".to_owned() + &" ".repeat(1_024) + "\r\n").repeat(100);
    for (said, cause) in [
        (response("401 Unauthorized", r#"{"active":true}"#), "credentials of the resource server \"reports\""),
        (response("403 Forbidden", ""), "credentials of the resource server \"reports\""),
        (response("404 Not Found", ""), "must have the dialect `oauth`"),
        (response("400 Bad Request", ""), "takes `token_sha256`"),
        (response("405 Method Not Allowed", ""), "status 405"),
        (response("429 Too Many Requests", ""), "status 429"),
        (response("500 Internal Server Error", &good().to_string()), "status 500"),
        (response("503 Service Unavailable", ""), "status 503"),
        (response("201 Created", &good().to_string()), "status 201"),
        (response("204 No Content", ""), "status 204"),
        redirect("301 Moved Permanently"),
        redirect("302 Found"),
        redirect("307 Temporary Redirect"),
        redirect("308 Permanent Redirect"),
        (response("200 OK", &huge), "more than 65536 bytes"),
        (endless, "more than 65536 bytes"),
        ("nonsense\r\n\r\n".into(), "can't be reached"),
        (format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000)), "can't be reached"),
    ] {
        peer.set(Behaviour::ThenClose(said.clone()));
        let token = random_token();
        assert_eq!(checking.check(&token).await, StatusCode::SERVICE_UNAVAILABLE, "{said}");
        let error = checking.last_error();
        assert!(error.contains(cause), "{said}: {error}");
        tells_no_secret(&error, &token);
    }
    assert_eq!(elsewhere.requests().len(), 0);
    assert_eq!(checking.handled.load(SeqCst), 0);

    let nobody = format!("http://localhost:{}/", {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    });
    let checking = Checking::at(&nobody, RemoteOptions::new(), &ManualClock::at(START));
    assert_eq!(checking.check(&random_token()).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(checking.last_error().contains("can't be reached"), "{}", checking.last_error());
}

#[tokio::test]
async fn r120_an_endpoint_that_is_silent_slow_or_breaks_off_is_left_at_the_deadline_with_its_connection() {
    let peer = Peer::start().await;
    let hasty = reports().limits(|limits| limits.store_read = Duration::from_millis(200));
    let checking = Checking::of(hasty, &peer.endpoint, RemoteOptions::new(), &ManualClock::at(START));
    let whole = response("200 OK", &good().to_string());
    let (head, half) = (whole.find("\r\n\r\n").unwrap(), whole.len() - 20);
    let silent = |text: &str| (Behaviour::ThenSilence(text.into()), "did not answer within 200ms");
    for (behaviour, cause) in [
        silent(""),
        silent(&whole[..10]),
        silent(&whole[..head]),
        silent(&whole[..head + 4]),
        silent(&whole[..half]),
        (Behaviour::Drip(whole.clone()), "did not answer within 200ms"),
        (Behaviour::ThenClose(String::new()), "can't be reached"),
        (Behaviour::ThenClose(whole[..head].into()), "can't be reached"),
        (Behaviour::ThenClose(whole[..half].into()), "can't be reached"),
    ] {
        peer.set(behaviour);
        let begun = Instant::now();
        assert_eq!(checking.check(&random_token()).await, StatusCode::SERVICE_UNAVAILABLE, "{cause}");
        assert!(checking.last_error().contains(cause), "{}", checking.last_error());
        assert!(begun.elapsed() < Duration::from_secs(2));
        // The connection is not used again.
        tokio::time::timeout(Duration::from_secs(5), async {
            while peer.state.open.load(SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
    }
    peer.set(Behaviour::Say(whole));
    assert_eq!(checking.check(&random_token()).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r120_connections_are_kept_and_a_closed_one_is_no_failure() {
    let peer = Peer::start().await;
    let checking = peer.checking(uncached());
    let said = response("200 OK", &good().to_string());
    peer.set(Behaviour::Say(said.clone()));
    for _ in 0..20 {
        assert_eq!(checking.check(&random_token()).await, StatusCode::OK);
    }
    // A connection returns to the pool a moment after its answer.
    let connections = peer.state.connections.load(SeqCst);
    assert!(connections < 10, "{connections}");

    // The endpoint closes each connection after its answer, maybe while the next question is on its way.
    peer.set(Behaviour::ThenClose(said));
    for _ in 0..100 {
        assert_eq!(checking.check(&random_token()).await, StatusCode::OK);
    }
    peer.set(Behaviour::ThenClose(String::new()));
    let asked = peer.requests().len();
    assert_eq!(checking.check(&random_token()).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(peer.requests().len(), asked + 2, "once more, and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r120_thirty_two_questions_are_asked_at_once_and_others_wait() {
    let peer = Peer::start().await;
    let patient = reports().limits(|limits| limits.store_read = Duration::from_secs(60));
    let checking = Checking::of(patient, &peer.endpoint, RemoteOptions::new(), &ManualClock::at(START));
    let checking = Arc::new(checking);
    let mut waiting = JoinSet::new();
    for _ in 0..200 {
        let checking = Arc::clone(&checking);
        waiting.spawn(async move { checking.check(&random_token()).await });
    }
    while peer.requests().len() < 32 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((peer.requests().len(), peer.state.open.load(SeqCst)), (32, 32));
    waiting.shutdown().await;
    peer.set(Behaviour::Say(response("200 OK", &good().to_string())));
    assert_eq!(checking.check(&random_token()).await, StatusCode::OK, "no place is lost");
}

#[tokio::test]
async fn r120_what_is_asked_has_the_digest_and_the_credentials_and_no_token() {
    let peer = Peer::start().await;
    let checking = peer.checking(RemoteOptions::new());
    peer.set(Behaviour::Say(response("200 OK", &good().to_string())));
    let token = random_token();
    assert_eq!(checking.check(&token).await, StatusCode::OK);
    let requests = peer.requests();
    assert_eq!(requests.len(), 1);
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let digest = hex(&token);
    assert_eq!(body, format!("token_sha256={digest}"));
    assert!(head.starts_with("POST /introspect HTTP/1.1\r\n"), "{head}");
    assert!(!requests[0].contains(&token[4..20]), "{head}");
    // RFC 6749 section 2.3.1: each is encoded as in a form.
    let basic = data_encoding::BASE64.encode(b"reports:s3cret%3A+%2B%26%25%C3%A9+of+32+random+characters");
    assert!(head.to_lowercase().contains(&format!("authorization: basic {basic}").to_lowercase()), "{head}");

    let shown = format!("{:?} {:?} {:#?}", checking.sessions, checking.auth, checking.sessions);
    tells_no_secret(&shown, &token);
    assert!(shown.contains(&peer.endpoint), "{shown}");
    let session = checking.sessions.find_session(&digest_of(&token)).await.unwrap();
    assert_eq!(session.unwrap().account.id.as_str(), "acct_ada");
}

#[tokio::test]
async fn r120_an_answer_that_was_not_asked_for_is_no_answer_to_the_next_question() {
    let peer = Peer::start().await;
    let checking = peer.checking(RemoteOptions::new());
    let one = response("200 OK", &with("/sub", Some(json!(ASKED))));
    peer.set(Behaviour::Say(format!("{one}{one}")));
    let mut found = 0;
    for _ in 0..50 {
        checking.check(&random_token()).await;
        let token = random_token();
        if let Ok(session) = checking.sessions.find_session(&digest_of(&token)).await {
            assert_eq!(session.unwrap().account.id.as_str(), hex(&token));
            found += 1;
        }
    }
    assert!(found > 0, "{}", checking.last_error());
    // A proxy that repeats an answer.
    let repeated = with("/token_sha256", Some(json!(hex(&random_token()))));
    peer.set(Behaviour::Say(response("200 OK", &repeated)));
    assert_eq!(checking.check(&random_token()).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn r120_over_tls_the_certificate_must_be_trusted_and_for_the_host() {
    let certified = |host: &str| {
        let certified = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let key = PrivateKeyDer::from_pem_slice(certified.signing_key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
        (TlsAcceptor::from(Arc::new(config)), certified.cert.pem())
    };
    let (right, right_pem) = certified("localhost");
    let (wrong, wrong_pem) = certified("other.example");
    for (acceptor, pem, passes) in
        [(&right, &right_pem, true), (&right, &wrong_pem, false), (&wrong, &wrong_pem, false)]
    {
        let peer = Peer::behind(Some(acceptor.clone())).await;
        peer.set(Behaviour::Say(response("200 OK", &good().to_string())));
        let checking = peer.checking(RemoteOptions::new().trusting(pem.as_bytes()));
        let status = checking.check(&random_token()).await;
        assert_eq!(status, if passes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE });
        assert_eq!(peer.requests().len(), usize::from(passes), "no secret is sent before the peer is known");
    }
}

#[tokio::test]
async fn r120_a_secret_that_the_issuer_does_not_know_is_a_failure() {
    let issuer = Issuer::start().await;
    let config = reports().build().unwrap();
    let token = issuer.token().await;
    for (id, secret) in [("reports", "another"), ("other", SECRET)] {
        let sessions = RemoteOptions::new().endpoint(&issuer.endpoint).of(&config, id, secret).unwrap();
        let error = sessions.find_session(&digest_of(&token)).await.unwrap_err();
        assert!(format!("{error:?}").contains("refused the credentials"), "{error:?}");
        assert!(!format!("{error:?}").contains("another"), "{error:?}");
    }
}

#[test]
fn options_that_can_not_be_are_refused_with_the_remedy() {
    let at = |issuer: &str| common::config().resource(REPORTS).issuer(issuer).build().unwrap();
    let config = at(ORIGIN);
    let fails = |options: RemoteOptions, id: &str, secret: &str| {
        let error = options.of(&config, id, secret).unwrap_err();
        (error.problems()[0].field.clone(), error.to_string())
    };
    let (field, text) = fails(RemoteOptions::new(), "", SECRET);
    assert!(field == "remote.id" && text.contains("oauth.resource_servers"), "{text}");
    assert_eq!(fails(RemoteOptions::new(), "reports", "").0, "remote.secret");
    assert_eq!(fails(RemoteOptions::new().trusting(b"no certificate"), "reports", SECRET).0, "remote.trusting");
    for url in [
        "http://issuer.example/introspect",
        "http://127.0.0.1.example/introspect",
        "http://localhost.example/introspect",
        "http://10.0.0.1/introspect",
        "ftp://issuer.example/introspect",
        "https://ada:secret@issuer.example/introspect",
        "https://issuer.example/introspect?key=secret",
        "/introspect",
        "issuer.example",
        "",
    ] {
        let (field, text) = fails(RemoteOptions::new().endpoint(url), "reports", SECRET);
        assert!(field == "remote.endpoint" && text.contains("must be"), "{url}: {text}");
    }
    for url in
        ["http://localhost:1/i", "http://LocalHost/i", "http://127.0.0.1:1/i", "http://127.9.9.9/i", "http://[::1]:1/i"]
    {
        assert!(RemoteOptions::new().endpoint(url).of(&config, "reports", SECRET).is_ok(), "{url}");
    }
    let allowed = RemoteOptions::new().endpoint("http://issuer.internal/i").allow_http();
    assert!(allowed.of(&config, "reports", SECRET).is_ok());
    let below = RemoteSessions::of(&at("http://localhost:3000/auth"), "reports", SECRET).unwrap();
    assert!(format!("{below:?}").contains("http://localhost:3000/auth/oauth2/introspect"), "{below:?}");
}
