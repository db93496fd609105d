//! The same promises over real connections, HTTP/1.1 and HTTP/2, and against requests that nobody in their right mind sends
//! (security rows R15, R16, R18, R28, R34, R40).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    cell::RefCell, collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::atomic::Ordering, time::Duration,
};

use axum::body::Body;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;
use tower_agent_auth::store::conformance::property;

#[path = "common/changes.rs"]
mod changes;
mod common;
#[cfg(feature = "full")]
#[path = "common/places.rs"]
mod places;

use changes::{Change, change, changed};
use common::{
    Answer, Service,
    auth_md::{CLAIM_GRANT, JWT_BEARER, auth_md, text},
    browse, config,
};

/// Serves the tests' service on a port of its own.
async fn serve(service: &Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = service.app.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let app = app.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let app = app.clone();
                    async move { Ok::<_, Infallible>(app.oneshot(request.map(Body::new)).await.unwrap()) }
                });
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn clients() -> [(Version, Client<HttpConnector, Body>); 2] {
    let build = |h2: bool| Client::builder(TokioExecutor::new()).http2_only(h2).build(HttpConnector::new());
    [(Version::HTTP_11, build(false)), (Version::HTTP_2, build(true))]
}

#[tokio::test]
async fn the_main_job_over_both_versions_of_http() {
    for (version, client) in clients() {
        let service = Service::with(config().no_limits());
        let address = serve(&service).await;
        let send = async |mut request: Request<Body>| {
            *request.uri_mut() = format!("http://{address}{}", request.uri()).parse().unwrap();
            *request.version_mut() = version;
            Answer::read(client.request(request).await.unwrap()).await
        };
        let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
        let refused = send(get("/projects")).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(refused.header("www-authenticate").starts_with("Bearer resource_metadata="));
        let registered = send(common::json_request("/agent/auth", "{\"type\":\"user_claimed\"}")).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{version:?}");
        let text = |answer: &Answer, field: &str| answer.json[field].as_str().unwrap().to_owned();
        let claim_url = text(&registered, "claim_url");
        let path = claim_url.strip_prefix(common::ORIGIN).unwrap();
        let form = send(browse("ada", path)).await.form("ada");
        let approve = form.post(path, &[("decision", "approve"), ("scope", "projects:read")]);
        assert_eq!(send(approve).await.status, StatusCode::SEE_OTHER);
        let claim = json!({ "claim_token": text(&registered, "claim_token") }).to_string();
        let completed = send(common::json_request("/agent/auth/claim/complete", &claim)).await;
        let token = text(&completed, "access_token");
        assert_eq!(send(common::bearer(Method::GET, "/projects", &token)).await.status, StatusCode::OK);

        // Two lines, whatever they say.
        let mut twice = common::bearer(Method::GET, "/projects", &token);
        twice.headers_mut().append("authorization", "Basic Zm9vOmJhcg==".parse().unwrap());
        assert_eq!(send(twice).await.status, StatusCode::BAD_REQUEST, "{version:?}");
        // HEAD is GET without the body.
        let head = send(Request::head("/projects").body(Body::empty()).unwrap()).await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::UNAUTHORIZED, ""));
        assert_eq!(head.header("content-length"), refused.header("content-length"));
        // A body that is too large.
        let large = send(common::json_request("/agent/auth", &"x".repeat(20 << 20))).await;
        assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE, "{version:?}");
    }
}

#[tokio::test]
async fn r34_the_authority_of_a_request_changes_nothing() {
    let service = Service::new();
    let address = serve(&service).await;
    let expected = service.get("/.well-known/oauth-protected-resource").await.text;
    for target in ["/.well-known/oauth-protected-resource", "http://evil.test/.well-known/oauth-protected-resource"] {
        let answer =
            raw(address, format!("GET {target} HTTP/1.1\r\nhost: evil.test\r\nconnection: close\r\n\r\n").as_bytes())
                .await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with(&expected) && !answer.contains("evil.test"),
            "{answer}"
        );
    }
    // HTTP/2 has no other place for it than `:authority`.
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://evil.test/.well-known/oauth-protected-resource").body(Body::empty()).unwrap();
    let answer = Answer::read(sender.send_request(request).await.unwrap()).await;
    assert_eq!((answer.status, answer.text), (StatusCode::OK, expected));
}

/// Sends bytes and reads whatever comes back until the server closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn r15_r16_r18_what_no_client_library_would_send() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let address = serve(&service).await;
    let lines: Vec<Vec<u8>> = vec![
        format!("authorization: Bearer {token}\0").into(),
        format!("authorization: Bearer {token}\x01").into(),
        format!("authorization: Bearer\t{token}").into(),
        format!("authorization: Bearer {token}\r\nAuthorization: Bearer {token}").into(),
        format!("authorization: Bearer {token}\r\n Bearer {token}").into(),
        b"authorization: Bearer \xff\xfe".to_vec(),
        format!("authorization: Bearer {}", "x".repeat(60_000)).into(),
        format!("authorization : Bearer {token}").into(),
        format!("cookie: access_token={token}").into(),
    ];
    for line in lines {
        let mut request = b"GET /projects HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n".to_vec();
        request.extend(&line);
        request.extend(b"\r\n\r\n");
        let answer = raw(address, &request).await;
        let refused = ["400", "401", "431", ""].iter().any(|status| answer.get(9..12).unwrap_or_default() == *status);
        assert!(refused, "{} -> {answer}", String::from_utf8_lossy(&line));
    }
    assert_eq!(service.handled(), 0);
}

/// What a request is made of, and a change of it. `<claim>` and the like stand for secrets of the service.
type Near = (&'static str, Option<Change>);

/// A request near one that the service takes.
#[derive(Clone, Debug)]
struct Bent {
    method: Method,
    path: Near,
    headers: Vec<(&'static str, Near)>,
    body: Near,
}

impl Bent {
    fn request(&self, secrets: &[(&str, String)]) -> Option<Request<Body>> {
        let bent = |(text, change): &Near| {
            let filled = secrets.iter().fold((*text).to_owned(), |text, (name, secret)| text.replace(name, secret));
            changed(filled.as_bytes(), change.as_slice())
        };
        let mut request = Request::new(Body::from(bent(&self.body)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = bent(&self.path).try_into().ok()?;
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_bytes(&bent(value)) {
                request.headers_mut().append(*name, value);
            }
        }
        Some(request)
    }
}

/// Mostly what belongs together, so that changes reach beyond the first check. At times a part is of another request.
fn bent(requests: &'static [Whole]) -> impl Strategy<Value = Bent> {
    let part = move || option::weighted(0.1, select(requests));
    let header = (select(HEADERS), (select(VALUES), option::weighted(0.8, change())));
    let changes = (option::weighted(0.2, change()), option::weighted(0.5, change()));
    (select(requests), [part(), part(), part()], vec(header, 0..3), changes).prop_map(
        |(request, others, more, changes)| {
            let [method, headers, body] = others.map(|other| other.unwrap_or_else(|| request.clone()));
            let usual = headers.2.iter().map(|(name, value)| (*name, (*value, None)));
            let headers = usual.chain(more).collect();
            Bent { method: method.0, path: (request.1, changes.0), headers, body: (body.3, changes.1) }
        },
    )
}

/// The method, the path, the headers and the body of a request that the service takes.
type Whole = (Method, &'static str, &'static [(&'static str, &'static str)], &'static str);

const AGENT: &[(&str, &str)] = &[("authorization", "Bearer <access>"), ("content-type", "application/json")];
const HUMAN: &[(&str, &str)] = &[
    ("cookie", "user=ada; <cookie>"),
    ("origin", "https://api.example.com"),
    ("sec-fetch-site", "same-origin"),
    ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
];
const REQUESTS: &[Whole] = &[
    (Method::GET, "/projects", AGENT, ""),
    (Method::GET, "/projects?access_token=x", AGENT, "token=x&token=y"),
    (Method::PUT, "/optional", AGENT, "[[[[{\"a\":1e999}]]]]"),
    (Method::DELETE, "/billing", HUMAN, ""),
    (Method::HEAD, "/auth.md", &[], ""),
    (Method::GET, "/.well-known/oauth-protected-resource", &[], ""),
    (Method::OPTIONS, "/.well-known/oauth-authorization-server", &[], ""),
    (Method::GET, "/sessions?after=ses_x&done=revoked", HUMAN, ""),
    (Method::POST, "/sessions", HUMAN, "csrf=<csrf>&session=<session>"),
    (Method::GET, "<page>", HUMAN, ""),
    (Method::POST, "<page>", HUMAN, "csrf=<csrf>&decision=approve&scope=projects%3Aread"),
    (
        Method::POST,
        "/agent/auth",
        AGENT,
        r#"{"type":"user_claimed","client_name":"x","requested_scopes":["projects:read"]}"#,
    ),
    (Method::POST, "/agent/auth/claim", AGENT, r#"{"claim_token":"<claim>"}"#),
    (Method::POST, "/agent/auth/claim/complete", AGENT, r#"{"claim_token":"<claim>"}"#),
    (Method::POST, "/agent/auth/revoke", AGENT, r#"{"token":"<refresh>"}"#),
    (
        Method::POST,
        "/agent-sessions/start",
        AGENT,
        r#"{"mode":"interactive","client_type":"cli","callback_url":"http://127.0.0.1:4000/?a=b","state":"s",
        "code_challenge":"0000000000000000000000000000000000000000000000000000000000000000",
        "scopes":["projects:read"]}"#,
    ),
    (Method::POST, "/agent-sessions/poll", AGENT, r#"{"auth_request_id":"<login>","poll_token":"<poll>"}"#),
    (
        Method::POST,
        "/agent-sessions/exchange",
        AGENT,
        r#"{"auth_request_id":"<login>","poll_token":"<poll>","exchange_code":"aae_x","code_verifier":"x"}"#,
    ),
    (
        Method::POST,
        "/agent-sessions/refresh",
        AGENT,
        r#"{"refresh_token":"<refresh>","resource":"https://api.example.com"}"#,
    ),
    (Method::POST, "/agent-sessions/revoke", AGENT, r#"{"session_id":"<session>"}"#),
    (Method::GET, "/account/agent-sessions?after=ses_x", AGENT, ""),
    (
        Method::POST,
        "/agent/identity",
        AGENT,
        r#"{"type":"service_auth","login_hint":"ada@example.com","client_name":"x","scope":"projects:read"}"#,
    ),
    (Method::POST, "/agent/identity", AGENT, r#"{"type":"anonymous","requested_scopes":["projects:read"]}"#),
    (Method::POST, "/agent/identity", AGENT, r#"{"type":"refresh","refresh_token":"<identity refresh>"}"#),
    (Method::POST, "/agent/identity/claim", AGENT, r#"{"type":"email","claim_token":"<unclaimed>","email":"a@b"}"#),
    (Method::POST, "/agent/identity/claim/complete", AGENT, r#"{"claim_token":"<asking>","user_code":"123 456"}"#),
    (Method::POST, "/oauth2/token", CLIENT, "grant_type=<claim grant>&claim_token=<asking>"),
    (Method::POST, "/oauth2/token", CLIENT, "grant_type=<jwt bearer>&assertion=<assertion>&scope=projects%3Aread"),
];
const HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "content-type",
    "origin",
    "sec-fetch-site",
    "sec-purpose",
    "if-none-match",
    "x-forwarded-for",
];
const VALUES: &[&str] = &[
    "Bearer <access>",
    "Bearer <refresh>",
    "Basic x",
    "user=ada; <cookie>",
    "application/json",
    "application/x-www-form-urlencoded; charset=utf-8",
    "https://api.example.com",
    "null",
    "same-origin",
    "prefetch",
    "\"x\", *",
    "10.0.0.1, x",
];

/// Sends requests, several at a time, and counts the statuses of the responses. None of them may be a fault of the service.
async fn no_fault<S>(service: &Service<S>, requests: &[Bent], statuses: &RefCell<BTreeMap<u16, usize>>) {
    let session = service.session("ada", &["projects:read"]).await;
    let pending = service.register(&["projects:read"]).await;
    let form = service.open("ada", &pending).await;
    let login = json!({ "mode": "detached", "client_type": "cli", "scopes": ["projects:read"] });
    let login = service.post("/agent-sessions/start", &login).await;
    let started = |field: &str| login.json[field].as_str().unwrap().to_owned();
    let secret = |field: &str| session.json[field].as_str().unwrap().to_owned();
    service.accounts.makes_accounts.store(true, Ordering::SeqCst);
    let identity = service.nested_login("ada").await["identity"].clone();
    let secrets = [
        ("<identity refresh>", text(&identity["refresh_token"]["value"])),
        ("<assertion>", text(&identity["assertion"])),
        ("<asking>", service.service_auth(json!({})).await.claim_token),
        ("<unclaimed>", text(&service.anonymous().await.json["claim_token"])),
        ("<claim grant>", CLAIM_GRANT.to_owned()),
        ("<jwt bearer>", JWT_BEARER.to_owned()),
        ("<access>", secret("access_token")),
        ("<refresh>", secret("refresh_token")),
        ("<session>", secret("session_id")),
        ("<page>", pending.path()),
        ("<claim>", pending.claim_token),
        ("<login>", started("auth_request_id")),
        ("<poll>", started("poll_token")),
        ("<cookie>", form.cookie),
        ("<csrf>", form.csrf),
    ];
    for (number, some) in requests.chunks(AT_ONCE).enumerate() {
        let sent = some.iter().filter_map(|bent| bent.request(&secrets)).map(|request| async move {
            let shown = format!("{number}: {} {} {:?}", request.method(), request.uri(), request.headers());
            let status = service.send(request).await.status;
            assert!(!status.is_server_error(), "{status} to {shown}");
            status
        });
        for status in futures_util::future::join_all(sent).await {
            *statuses.borrow_mut().entry(status.as_u16()).or_insert(0) += 1;
        }
    }
}

/// How many requests wait for a store at the same time.
const AT_ONCE: usize = 8;

/// Several requests in a row to one service: about 8,000 in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_whatever_is_a_fault_of_the_service() {
    let statuses = RefCell::new(BTreeMap::new());
    property(80, vec(bent(REQUESTS), 1..=200), async |requests| {
        no_fault(&Service::with(auth_md().no_limits()), &requests, &statuses).await;
    });
    let statuses = statuses.into_inner();
    assert!(statuses.len() > 8, "every kind of response is reached: {statuses:?}");
}

/// 100,000 requests to a service over each store.
#[cfg(feature = "full")]
mod on_each_store {
    use tower_agent_auth::{
        store::{CeremonyStore, MemoryStore},
        types::clock::ManualClock,
    };

    use super::{BTreeMap, REQUESTS, RefCell, Service, auth_md, bent, common::START, no_fault, property, vec};
    use crate::places::{Prefix, Schema, TempFile};

    const CASES: u32 = 125;
    const AT_A_TIME: usize = 850;

    fn no_request_is_a_fault(store: impl CeremonyStore + Clone) {
        let clock = ManualClock::at(START);
        let service = Service::made_of(auth_md().no_limits(), store, clock.clone(), clock, |builder| builder);
        let statuses = RefCell::new(BTreeMap::new());
        property(CASES, vec(bent(REQUESTS), AT_A_TIME), async |requests| {
            no_fault(&service, &requests, &statuses).await
        });
        let statuses = statuses.into_inner();
        let sent: usize = statuses.values().sum();
        assert!(sent >= 100_000, "{sent} requests: {statuses:?}");
        assert!(statuses.len() > 8, "every kind of response is reached: {statuses:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_request_is_a_fault_of_the_service_on_memory() {
        no_request_is_a_fault(MemoryStore::new());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_request_is_a_fault_of_the_service_on_sqlite() {
        let (store, _file) = TempFile::fresh().await;
        no_request_is_a_fault(store);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    async fn no_request_is_a_fault_of_the_service_on_postgresql() {
        let (store, _schema) = Schema::fresh().await;
        no_request_is_a_fault(store);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    async fn no_request_is_a_fault_of_the_service_on_redis() {
        let (store, _prefix) = Prefix::fresh().await;
        no_request_is_a_fault(store);
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const CLIENT: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
const WITH_BASIC: &[(&str, &str)] =
    &[("content-type", "application/x-www-form-urlencoded"), ("authorization", "Basic <basic>")];
/// Each lacks one thing that no change of a few bytes makes good: the verifier, the client, the human's decision, the code
/// that they read, or a secret of the right kind that is still good.
const OAUTH: &[Whole] = &[
    (
        Method::GET,
        "/oauth2/authorize?response_type=code&client_id=<client>&redirect_uri=http%3A%2F%2F127.0.0.1%3A4%2Fcb\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=x%20y\
         &scope=projects%3Aread&resource=https%3A%2F%2Fapi.example.com",
        HUMAN,
        "",
    ),
    (Method::GET, "/oauth2/authorize?again=<again>", HUMAN, ""),
    (
        Method::POST,
        "/oauth2/token",
        CLIENT,
        "grant_type=authorization_code&code=<code>&client_id=<client>&redirect_uri=http%3A%2F%2F127.0.0.1%3A43123\
         %2Fcallback&code_verifier=a-verifier-that-meets-no-challenge-of-this-service",
    ),
    (
        Method::POST,
        "/oauth2/token",
        WITH_BASIC,
        "grant_type=authorization_code&code=<code>&code_verifier=<verifier>&resource=https://api.example.com/",
    ),
    (
        Method::POST,
        "/oauth2/token",
        CLIENT,
        "grant_type=refresh_token&refresh_token=<refresh>&client_id=<stranger>&scope=projects%3Aread+offline_access",
    ),
    (
        Method::POST,
        "/oauth2/token",
        CLIENT,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=<device>&client_id=<client>",
    ),
    (
        Method::POST,
        "/oauth2/register",
        &[("content-type", "application/json")],
        r#"{"client_name":"Agent","redirect_uris":["http://127.0.0.1/cb","https://app.example.com/cb?a=b"],
        "grant_types":["authorization_code","refresh_token"],"response_types":["code"],
        "token_endpoint_auth_method":"none","application_type":"native","scope":"projects:read"}"#,
    ),
    (
        Method::POST,
        "/oauth2/device_authorization",
        CLIENT,
        "client_id=<client>&scope=projects%3Aread+analytics%3Aread&resource=https%3A%2F%2Fapi.example.com",
    ),
    (Method::POST, "/oauth2/revoke", CLIENT, "token=<spare>&token_type_hint=refresh_token&client_id=<stranger>"),
    (Method::POST, "/oauth2/introspect", &[CLIENT[0], ("authorization", "Basic <server>")], "token=<spare>"),
    (Method::POST, "/oauth2/introspect", &[CLIENT[0], ("authorization", "Basic <server>")], "token_sha256=<digest>"),
    (Method::POST, "/oauth2/introspect", CLIENT, "token=<spare>&client_id=api&client_secret=a%20guess"),
    (Method::POST, "/agent/identity", JSON, r#"{"type":"service_auth","email":"a@b","scope":"projects:read"}"#),
    (Method::POST, "/agent/identity", JSON, r#"{"type":"anonymous","client_name":"x"}"#),
    (Method::POST, "/agent/identity", JSON, r#"{"type":"refresh","refresh_token":"<refresh>"}"#),
    (Method::POST, "/agent/identity", JSON, r#"{"type":"refresh","refresh_token":"<assertion>"}"#),
    (Method::POST, "/agent/identity/claim", JSON, r#"{"claim_token":"<asking>","login_hint":"ada@example.com"}"#),
    (Method::POST, "/agent/identity/claim", JSON, r#"{"type":"service_auth","claim_token":"<assertion>"}"#),
    (Method::POST, "/agent/identity/claim/complete", JSON, r#"{"claim_token":"<asking>","user_code":"123 456"}"#),
    (Method::POST, "/agent/identity/claim/complete", JSON, r#"{"claim_token":"<pressed>","user_code":"<wrong>"}"#),
    (Method::POST, "/oauth2/token", CLIENT, "grant_type=<claim grant>&claim_token=<asking>&client_id=<client>"),
    (Method::POST, "/oauth2/token", CLIENT, "grant_type=<claim grant>&claim_token=<pressed>"),
    (Method::POST, "/oauth2/token", CLIENT, "grant_type=<jwt bearer>&assertion=<spent>&scope=projects%3Aread"),
    (Method::POST, "/oauth2/token", CLIENT, "grant_type=<jwt bearer>&assertion=<asking>"),
];

/// Identities of the auth.md protocol, none of which gives anything to a request of [`OAUTH`].
struct Identities {
    /// An assertion.
    live: String,
    /// An assertion that was refreshed long ago.
    spent: String,
    /// The claim token of a request that its human has not decided.
    asking: String,
    /// The claim token of a request that its human approved without typing the code.
    pressed: String,
    /// Another code than the page shows that human, and no digit of it is right.
    wrong: String,
}

impl Identities {
    async fn of(service: &Service) -> Self {
        let login = service.nested_login("ada").await["identity"].clone();
        let renewed = service.refresh_identity(&text(&login["refresh_token"]["value"])).await.json["identity"].clone();
        let grace = service.auth.config().lifetimes().refresh_grace;
        service.clock.advance(grace + Duration::from_secs(1));
        let pressed = service.service_auth(json!({})).await;
        let form = service.open_identity("ada", &pressed).await;
        assert_eq!(service.decide_identity(&form, &pressed, None).await.status, StatusCode::SEE_OTHER);
        let code = service.code_of_the_page(&form, &pressed).await;
        let other = |digit: char| digit.to_digit(10).and_then(|digit| char::from_digit((digit + 5) % 10, 10));
        Self {
            live: text(&renewed["assertion"]),
            spent: text(&login["assertion"]),
            asking: service.service_auth(json!({})).await.claim_token,
            pressed: pressed.claim_token,
            wrong: code.chars().filter_map(other).collect(),
        }
    }
}

/// 100,000 requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r119_no_request_to_the_oauth_endpoints_is_a_fault_of_the_service_or_gives_a_token() {
    use common::oauth::{Login, VERIFIER, challenge, start_device, text};
    use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
    use sha2::Digest as _;
    use tower_agent_auth::config::ResourceServer;

    const ROUNDS: u32 = 250;
    const REQUESTS: usize = 400;
    let hash = HEXLOWER.encode(&sha2::Sha256::digest("a secret of the API's own service"));
    let statuses = RefCell::new(BTreeMap::new());
    property(ROUNDS, vec(bent(OAUTH), REQUESTS), async |requests| {
        let config = auth_md().no_limits().auth_md(|settings| settings.anonymous = false);
        let servers = vec![ResourceServer::new("api", &hash, &[common::ORIGIN])];
        let service = Service::with(config.oauth(|oauth| oauth.resource_servers = servers));
        let identities = Identities::of(&service).await;
        let login = Login::of(&service).await;
        let stranger = Login::named(&service, "Stranger").await;
        let tokens = login.tokens(&service).await;
        let spare = login.tokens(&service).await;
        let waiting = Login { verifier: "b".repeat(43), ..Login::of(&service).await };
        let code = waiting.code(&service).await;
        let device = start_device(&service, &login, &[]).await.json;
        let again = login.url(&[("code_challenge", &challenge(VERIFIER))]);
        let again = again.split_once('?').unwrap().1;
        let secrets = [
            ("<spare>", text(&spare, "access_token").to_owned()),
            ("<digest>", HEXLOWER.encode(&sha2::Sha256::digest(text(&spare, "access_token")))),
            ("<refresh>", text(&tokens, "refresh_token").to_owned()),
            ("<code>", code.clone()),
            ("<verifier>", waiting.verifier.clone()),
            ("<device>", text(&device, "device_code").to_owned()),
            ("<client>", login.client.clone()),
            ("<stranger>", stranger.client.clone()),
            ("<again>", BASE64URL_NOPAD.encode(again.as_bytes())),
            ("<basic>", BASE64.encode(format!("{}:", stranger.client).as_bytes())),
            ("<server>", BASE64.encode(b"api:a secret of the API's own service")),
            ("<cookie>", "x=y".to_owned()),
            ("<assertion>", identities.live.clone()),
            ("<spent>", identities.spent),
            ("<asking>", identities.asking),
            ("<pressed>", identities.pressed),
            ("<wrong>", identities.wrong),
            ("<claim grant>", CLAIM_GRANT.to_owned()),
            ("<jwt bearer>", JWT_BEARER.to_owned()),
        ];
        // Whoever has a token may revoke it, in a body or as a bearer: only the spare session is shown there.
        let mut revoking = secrets.clone();
        revoking[1].1 = text(&spare, "refresh_token").to_owned();
        let before = service.audit.names().len();
        for (number, bent) in requests.iter().enumerate() {
            let secrets = if bent.path.0 == "/oauth2/revoke" { &revoking } else { &secrets };
            let Some(request) = bent.request(secrets) else { continue };
            let shown = format!("{number}: {} {} {:?}", request.method(), request.uri(), request.headers());
            let answer = service.send(request).await;
            assert!(!answer.status.is_server_error(), "{} to {shown}", answer.status);
            let gives = ["access_token", "refresh_token"].iter().any(|field| !answer.json[*field].is_null());
            let contains = ["aas_", "aar_", "aai_"].iter().any(|prefix| answer.text.contains(prefix));
            assert!(!gives && !contains, "{} to {shown}", answer.text);
            *statuses.borrow_mut().entry(answer.status.as_u16()).or_insert(0) += 1;
        }
        let events = service.audit.names().split_off(before);
        const GIVING: [&str; 6] =
            ["approved", "redeemed", "refreshed", "identified", "identity_refreshed", "unclaimed"];
        let gave = events.iter().find(|name| GIVING.contains(name));
        assert_eq!(gave, None);
        // What was live still is.
        assert!(common::oauth::works(&service, text(&tokens, "access_token")).await);
        assert_eq!(service.exchange(&identities.live).await.status, StatusCode::OK);
    });
    let statuses = statuses.into_inner();
    let sent: usize = statuses.values().sum();
    assert!(sent > 95_000 && statuses.len() > 8, "every kind of response is reached: {statuses:?}");
}
