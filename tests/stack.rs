//! The crate in any stack: as a router of axum, behind layers of tower-http on either side, and in front of streams.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    convert::Infallible,
    future::Future as _,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::service::LayerExt as _;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::CorsLayer,
    decompression::{DecompressionLayer, RequestDecompressionLayer},
    limit::RequestBodyLimitLayer,
    map_request_body::MapRequestBodyLayer,
    map_response_body::MapResponseBodyLayer,
    normalize_path::NormalizePathLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveHeadersLayer,
    set_header::{SetRequestHeaderLayer, SetResponseHeaderLayer},
    timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer},
    trace::TraceLayer,
};

mod common;
#[path = "../examples/common/linger.rs"]
mod linger;
use common::{Answer, Fault, SECOND, Service, TestAccounts, bearer, browse, config, json_request};
use tower_agent_auth::{
    AgentAuth,
    guard::{AgentSession, GuardLayer, Rule, SessionEnded},
};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"];

/// Everything that the service serves, and near misses.
const PATHS: [&str; 24] = [
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-authorization-server",
    "/auth.md",
    "/agent/auth",
    "/agent/auth/claim",
    "/agent/auth/claim/complete",
    "/agent/auth/revoke",
    "/agent/auth/approve/x",
    "/agent-sessions/start",
    "/agent-sessions/poll",
    "/agent-sessions/exchange",
    "/agent-sessions/refresh",
    "/agent-sessions/revoke",
    "/agent-sessions/authorize/x",
    "/account/agent-sessions",
    "/sessions",
    "/agent/auth/approve",
    "/agent/auth/approve/",
    "/agent/auth/approve/x/y",
    "/agent/auth/",
    "/auth.md/",
    "/",
    "/nothing",
    "/AUTH.MD",
];

async fn send(app: &Router, request: Request<Body>) -> Answer {
    Answer::read(app.clone().oneshot(request).await.unwrap()).await
}

/// A single-page application, which answers every path.
async fn index() -> &'static str {
    "the index of the single-page application"
}

#[tokio::test]
async fn e2_the_router_answers_as_the_layer_does_wherever_it_is_merged() {
    let service = Service::with(config().no_limits());
    let auth = &service.auth;
    let own = || Router::new().route("/projects", get(async || "projects").layer(auth.require("projects:read")));
    let layered = own().fallback(index).layer(auth.endpoints());
    let nested = Router::new().nest("/app", Router::new().route("/x", get(async || "x")).fallback(async || "deep"));
    let with_state: Router = Router::new()
        .route("/projects", get(async || "projects").layer(auth.require("projects:read")))
        .route("/state", get(async |State(state): State<&'static str>| state))
        .merge(auth.router())
        .with_state("a state")
        .fallback(index);
    let routers = [
        own().merge(auth.router()).fallback(index),
        own().fallback(index).merge(auth.router()),
        auth.router().merge(own()).fallback(index),
        Router::new().merge(own().merge(auth.router())).merge(nested.clone()).fallback(index),
        own().merge(nested).method_not_allowed_fallback(async || "no").fallback(index).merge(auth.router()),
        own().route_layer(auth.policy(|_| None)).fallback(index).merge(auth.router()),
        with_state,
    ];
    for path in PATHS {
        for method in METHODS {
            let request = || {
                let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
                request.body(Body::from("{}")).unwrap()
            };
            let expected = send(&layered, request()).await;
            for (number, router) in routers.iter().enumerate() {
                let answer = send(router, request()).await;
                // What is the host's own is not compared, but that it is not ours.
                if expected.text == index().await {
                    assert_eq!(answer.text, expected.text, "{method} {path} {number}");
                    continue;
                }
                // A page has a nonce, so its length stands for it.
                let expected_reply = (expected.status, expected.text.len());
                assert_eq!((answer.status, answer.text.len()), expected_reply, "{method} {path} {number}");
                for name in
                    ["allow", "content-type", "cache-control", "www-authenticate", "access-control-allow-origin"]
                {
                    assert_eq!(
                        answer.headers.get(name),
                        expected.headers.get(name),
                        "{method} {path} {number}: {name}"
                    );
                }
            }
        }
    }
    // A whole ceremony through the router.
    let service = Service { app: routers[1].clone(), ..service };
    let token = service.token(&["projects:read"]).await;
    assert_eq!(service.get_as("/projects", &token).await.text, "projects");
    assert_eq!(service.get("/projects").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(service.send(browse("ada", "/sessions")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn e2_a_route_of_the_service_at_the_same_path_is_an_error_at_the_start() {
    let auth = Service::new().auth;
    let handler = async || "the host's";
    let clashes: [fn() -> Router; 6] = [
        || Router::new().route("/auth.md", get(async || "the host's")),
        || Router::new().route("/.well-known/oauth-protected-resource", any(async || "the host's")),
        || Router::new().route("/agent/auth", post(async || "the host's")),
        || Router::new().route("/agent/auth", get(async || "another method")),
        || Router::new().route("/agent/auth/approve/{anything}", get(async || "the host's")),
        || Router::new().nest("/agent", Router::new().route("/auth/revoke", post(async || "the host's"))),
    ];
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panics = |build: &dyn Fn() -> Router| catch_unwind(AssertUnwindSafe(|| drop(build()))).is_err();
    let found: Vec<[bool; 2]> = clashes
        .iter()
        .map(|own| [panics(&|| own().merge(auth.router())), panics(&|| auth.router().merge(own()))])
        .collect();
    std::panic::set_hook(hook);
    assert_eq!(found, [[true; 2]; 6]);
    // Wildcards of the host beside ours are no clash: the longer path wins.
    let app = Router::new().route("/{*all}", any(handler)).route("/agent/{x}", get(handler)).merge(auth.router());
    let answer = send(&app, Request::get("/auth.md").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.header("content-type"), "text/markdown; charset=utf-8");
    assert_eq!(send(&app, Request::get("/agent/other").body(Body::empty()).unwrap()).await.text, "the host's");
}

#[tokio::test]
async fn g5_the_documented_order_lets_our_endpoints_and_the_services_cors_layer_have_their_own_rules() {
    let service = Service::with(config().no_limits());
    let token = service.token(&["projects:read"]).await;
    let auth = &service.auth;
    let cors =
        || CorsLayer::new().allow_origin(["https://app.example.com".parse().unwrap()]).allow_methods([Method::GET]);
    let own = || Router::new().route("/projects", get(async || "projects").layer(auth.require("projects:read")));
    let from = |mut request: Request<Body>, origin: &str| {
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request
    };
    for app in [own().layer(cors()).merge(auth.router()), own().layer(cors()).layer(auth.endpoints())] {
        for (path, method) in [("/auth.md", "GET"), ("/agent/auth", "POST"), ("/agent-sessions/refresh", "POST")] {
            let preflight = Request::options(path).header("access-control-request-method", method);
            let preflight = from(preflight.body(Body::empty()).unwrap(), "http://localhost:6274");
            let preflight = send(&app, preflight).await;
            assert_eq!(preflight.header("access-control-allow-origin"), "*", "{path}");
            assert!(preflight.header("access-control-allow-methods").contains(method), "{path}");
        }
        let asked = from(json_request("/agent/auth", r#"{"type":"user_claimed"}"#), "http://localhost:6274");
        let asked = send(&app, asked).await;
        assert_eq!((asked.status, asked.header("access-control-allow-origin")), (StatusCode::CREATED, "*"));
        // The service's own routes follow its layer, refusals included.
        for (origin, allowed) in [("https://app.example.com", true), ("http://localhost:6274", false)] {
            for token in [&*token, "junk"] {
                let answer = send(&app, from(bearer(Method::GET, "/projects", token), origin)).await;
                assert_eq!(answer.headers.contains_key("access-control-allow-origin"), allowed, "{origin} {token}");
            }
        }
    }
}

#[tokio::test]
async fn e6_what_passes_a_guard_is_not_for_shared_caches_unless_the_handler_says_so() {
    let service = Service::new();
    let auth = &service.auth;
    let token = service.token(&["projects:read"]).await;
    let agent = || bearer(Method::GET, "/", &token);
    let human = || browse("ada", "/");
    let nobody = || Request::get("/").body(Body::empty()).unwrap();
    let answer =
        async |layer: &GuardLayer, request: Request<Body>, status: u16, own: &[(&'static str, &'static str)]| {
            let own = own.to_vec();
            let inner = service_fn(move |_: Request<Body>| {
                let mut response = Response::builder().status(status);
                for (name, value) in &own {
                    response = response.header(*name, *value);
                }
                std::future::ready(Ok::<_, Infallible>(response.body(Body::empty()).unwrap()))
            });
            let response = layer.layer(inner).oneshot(request).await.unwrap();
            let all = |name: &str| {
                let values = response.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
                values.collect::<Vec<_>>().join(" | ")
            };
            (all("cache-control"), all("vary"))
        };
    let expect = |cache: &str, vary: &str| (cache.to_owned(), vary.to_owned());
    let require = auth.require("projects:read");
    for waits in [false, true] {
        if waits {
            service.store.wait();
        }
        for status in [200, 204, 304, 401, 404, 500] {
            for layer in
                [&require, &require.clone().without_principal(), &auth.require_any("projects:read"), &auth.optional()]
            {
                assert_eq!(answer(layer, agent(), status, &[]).await, expect("private", ""));
            }
            assert_eq!(answer(&auth.optional(), nobody(), status, &[]).await, expect("private", ""));
            let owners = answer(&auth.owner_only(), human(), status, &[]).await;
            assert_eq!(owners, expect("no-store", ""));
            assert_eq!(answer(&auth.guard(Rule::public()), nobody(), status, &[]).await, expect("", ""));
        }
        let policy = auth.policy(|_| Some(Rule::owner_only()));
        assert_eq!(answer(&policy, human(), 200, &[]).await, expect("no-store", ""));
    }
    // What the handler sets stays, and `Vary` is completed.
    for (own, expected) in [
        (("cache-control", "public, max-age=60"), expect("public, max-age=60", "authorization")),
        (("cache-control", "no-cache"), expect("no-cache", "authorization")),
        (("vary", "accept-encoding"), expect("private", "accept-encoding")),
        (("vary", "Origin, Authorization"), expect("private", "Origin, Authorization")),
        (("vary", "*"), expect("private", "*")),
        (("vary", "x-authorization"), expect("private", "x-authorization")),
    ] {
        assert_eq!(answer(&require, agent(), 200, &[own]).await, expected);
    }
    for (vary, expected) in [
        ("accept-encoding", "accept-encoding | authorization"),
        ("x-authorization", "x-authorization | authorization"),
        ("Origin, Authorization", "Origin, Authorization"),
        ("*", "*"),
    ] {
        let own = [("cache-control", "max-age=60"), ("vary", vary)];
        assert_eq!(answer(&require, agent(), 200, &own).await, expect("max-age=60", expected));
    }
    let own = [("cache-control", "max-age=60")];
    let owners = answer(&auth.owner_only(), human(), 200, &own).await;
    assert_eq!(owners, expect("max-age=60", "authorization, cookie"));
    let own = [("cache-control", "max-age=60"), ("vary", "Authorization")];
    let owners = answer(&auth.owner_only(), human(), 200, &own).await;
    assert_eq!(owners, expect("max-age=60", "Authorization | authorization, cookie"));
    let own = [("vary", "accept"), ("vary", "authorization"), ("cache-control", "no-store")];
    assert_eq!(answer(&require, agent(), 200, &own).await, expect("no-store", "accept | authorization"));
    // A refusal keeps its own.
    assert_eq!(answer(&require, nobody(), 200, &[]).await, expect("no-store", ""));
}

/// Uploads this many bytes as clients do that read no response before they have written everything.
async fn upload(address: SocketAddr, bytes: usize, path: &str) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let chunk = [b'x'; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(chunk.len());
        stream.write_all(&chunk[..length]).await?;
        left -= length;
        // Slower than the server answers.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

#[tokio::test]
async fn e9_the_refusal_of_a_large_upload_arrives() {
    let service = Service::new();
    let app = service.app.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(app.clone());
            let stream = TokioIo::new(linger::Linger::new(stream));
            tokio::spawn(
                async move { drop(Builder::new(TokioExecutor::new()).serve_connection(stream, service).await) },
            );
        }
    });
    for (path, status) in [
        ("/projects", "401 Unauthorized"),
        ("/billing", "401 Unauthorized"),
        ("/agent/auth", "413 Payload Too Large"),
        ("/auth.md", "405 Method Not Allowed"),
    ] {
        for megabytes in [1, 20] {
            let response = upload(address, megabytes << 20, path).await;
            let response = response.unwrap_or_else(|error| panic!("{path}, {megabytes} MiB: {error}"));
            assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}, {megabytes} MiB: {response}");
        }
    }
    assert_eq!(service.handled(), 0);
}

#[tokio::test(start_paused = true)]
async fn e9_a_closed_connection_lingers_within_limits() {
    // A peer that sends nothing, one that never stops, and one that closes.
    let (ours, silent) = tokio::io::duplex(1024);
    let began = tokio::time::Instant::now();
    linger::Linger::new(ours).shutdown().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
    drop(silent);
    let (ours, mut endless) = tokio::io::duplex(1024);
    let sent = tokio::spawn(async move {
        let mut sent = 0;
        while endless.write_all(&[0; 1024]).await.is_ok() {
            sent += 1024;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        sent
    });
    let began = tokio::time::Instant::now();
    linger::Linger::new(ours).shutdown().await.unwrap();
    assert!(began.elapsed() <= 31 * SECOND, "{:?}", began.elapsed());
    assert!(sent.await.unwrap() <= 31 * 10 * 1024);
    let (ours, closing) = tokio::io::duplex(1024);
    drop(closing);
    let began = tokio::time::Instant::now();
    linger::Linger::new(ours).shutdown().await.unwrap();
    assert!(began.elapsed() < SECOND);
}

/// A response of a first frame at once, and of those that are sent later.
fn stream(mut later: mpsc::Receiver<&'static str>) -> Body {
    let (send, frames) = mpsc::channel::<Result<_, Infallible>>(1);
    tokio::spawn(async move {
        let _ = send.send(Ok(http_body::Frame::data(Bytes::from_static(b"first")))).await;
        while let Some(frame) = later.recv().await {
            let _ = send.send(Ok(http_body::Frame::data(Bytes::from_static(frame.as_bytes())))).await;
        }
    });
    Body::new(StreamBody::new(ReceiverStream::new(frames)))
}

/// A guard over the memory of a service, whose store sends notices.
fn noticing(service: &Service) -> AgentAuth {
    AgentAuth::builder(config().no_limits().build().unwrap())
        .sessions(service.store.memory.clone())
        .accounts(TestAccounts::default())
        .clock(service.clock.clone())
        .build()
        .unwrap()
}

/// Serves streams behind the layer over hyper. What is sent on the channel becomes a frame of the next response.
async fn serve<L>(layer: L, length: Option<usize>) -> (SocketAddr, mpsc::Sender<&'static str>)
where
    L: Layer<Streams>,
    L::Service: tower::Service<Request<hyper::body::Incoming>, Error = Infallible, Response: IntoAnswer, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let (send, later) = mpsc::channel(8);
    let service = layer.layer(Streams { later: std::sync::Arc::new(std::sync::Mutex::new(Some(later))), length });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            let service = hyper::service::service_fn(move |request| {
                let answer = service.clone().oneshot(request);
                async move { Ok::<_, Infallible>(answer.await?.into_answer()) }
            });
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, send)
}

/// A response with a body of any type.
trait IntoAnswer {
    fn into_answer(self) -> Response<Body>;
}

impl<B> IntoAnswer for Response<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    fn into_answer(self) -> Response<Body> {
        self.map(Body::new)
    }
}

/// A handler whose responses are streams.
#[derive(Clone)]
struct Streams {
    later: std::sync::Arc<std::sync::Mutex<Option<mpsc::Receiver<&'static str>>>>,
    length: Option<usize>,
}

impl<B> tower::Service<Request<B>> for Streams {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut response = Response::new(stream(self.later.lock().unwrap().take().unwrap()));
        if let Some(length) = self.length {
            response.headers_mut().insert("content-length", length.into());
        }
        std::future::ready(Ok(response))
    }
}

async fn revoke(service: &Service, token: &str) {
    let revoked = service.post("/agent/auth/revoke", &serde_json::json!({ "token": token })).await;
    assert_eq!(revoked.status, StatusCode::OK);
}

#[tokio::test]
async fn e7_a_stream_breaks_off_when_its_session_is_revoked() {
    for (http2, length) in [(false, None), (false, Some(1_000)), (true, None), (true, Some(1_000))] {
        for ends in [true, false] {
            let service = Service::with(config().no_limits());
            let auth = noticing(&service);
            let (token, other) = (service.token(&["projects:read"]).await, service.token(&["projects:read"]).await);
            let guard = auth.require("projects:read");
            let (address, later) = match ends {
                true => serve(guard.end_with_session(), length).await,
                false => serve(guard, length).await,
            };
            let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Body>();
            let request = bearer(Method::GET, &format!("http://{address}/"), &token);
            let mut body = client.request(request).await.unwrap().into_body();
            let next = async |body: &mut hyper::body::Incoming| {
                let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.unwrap();
                frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
            };
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "first");
            // Another session's end is none of its own.
            revoke(&service, &other).await;
            later.send("second").await.unwrap();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "second");
            revoke(&service, &token).await;
            if ends {
                let end = next(&mut body).await;
                assert!(matches!(end, Some(Err(_))), "no client takes it for complete: {end:?} http2: {http2}");
            } else {
                later.send("third").await.unwrap();
                assert_eq!(next(&mut body).await.unwrap().unwrap(), "third");
            }
        }
    }
}

/// The body of a response behind a guard that ends it, polled by hand.
async fn guarded_body(
    auth: &AgentAuth,
    request: Request<Body>,
) -> (impl http_body::Body<Data = Bytes, Error = axum::BoxError> + Unpin, mpsc::Sender<&'static str>) {
    let (send, later) = mpsc::channel(8);
    let inner = Streams { later: std::sync::Arc::new(std::sync::Mutex::new(Some(later))), length: None };
    let response = auth.optional().end_with_session().layer(inner).oneshot(request).await.unwrap();
    let mut body = Box::pin(response.into_body());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    (body, send)
}

fn is_pending(body: &mut (impl http_body::Body<Data = Bytes, Error = axum::BoxError> + Unpin)) -> bool {
    pin!(body.frame()).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test(start_paused = true)]
async fn e7_without_notices_a_stream_ends_within_the_interval() {
    for waits in [false, true] {
        let service = Service::with(config().no_limits());
        let token = service.token(&["projects:read"]).await;
        if waits {
            service.store.wait();
        }
        let (mut body, later) = guarded_body(&service.auth, bearer(Method::GET, "/", &token)).await;
        assert!(is_pending(&mut body));
        tokio::time::sleep(60 * SECOND).await;
        later.send("alive").await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "alive", "as long as its session");
        revoke(&service, &token).await;
        let began = tokio::time::Instant::now();
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.is::<SessionEnded>() && began.elapsed() <= 6 * SECOND, "{error} {:?}", began.elapsed());
        assert!(body.frame().await.is_none() && http_body::Body::is_end_stream(&body));
    }
}

#[tokio::test(start_paused = true)]
async fn e7_a_stream_ends_when_its_access_token_expires_or_is_replaced() {
    let service = Service::with(config().no_limits());
    let session = service.session("ada", &["projects:read"]).await;
    let token = session.json["access_token"].as_str().unwrap();
    let (mut expiring, _later) = guarded_body(&service.auth, bearer(Method::GET, "/", token)).await;
    assert!(is_pending(&mut expiring));
    service.clock.advance(3_599 * SECOND);
    assert!(is_pending(&mut expiring));
    service.clock.advance(SECOND);
    assert!(expiring.frame().await.unwrap().unwrap_err().is::<SessionEnded>());

    let session = service.session("ada", &["projects:read"]).await;
    let token = session.json["access_token"].as_str().unwrap();
    let (mut replaced, _later) = guarded_body(&service.auth, bearer(Method::GET, "/", token)).await;
    let refresh = serde_json::json!({ "refresh_token": session.json["refresh_token"] });
    let refreshed = service.post("/agent-sessions/refresh", &refresh).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
    assert!(replaced.frame().await.unwrap().unwrap_err().is::<SessionEnded>());
}

#[tokio::test(start_paused = true)]
async fn e7_a_failed_store_ends_a_stream_after_a_minute_and_not_before() {
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::Panic, Fault::Hang] {
        let service = Service::with(config().no_limits());
        let token = service.token(&["projects:read"]).await;
        let (mut body, later) = guarded_body(&service.auth, bearer(Method::GET, "/", &token)).await;
        for mended in [true, false] {
            service.store.break_after(0, fault);
            let began = tokio::time::Instant::now();
            if mended {
                assert!(tokio::time::timeout(50 * SECOND, body.frame()).await.is_err(), "{fault:?}");
                service.store.mend();
                assert!(tokio::time::timeout(10 * SECOND, body.frame()).await.is_err(), "{fault:?}");
                later.send("alive").await.unwrap();
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "alive");
            } else {
                assert!(body.frame().await.unwrap().unwrap_err().is::<SessionEnded>());
                let after = began.elapsed();
                assert!(after >= 50 * SECOND && after <= 75 * SECOND, "{fault:?}: {after:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn e7_a_stream_without_an_agent_session_is_left_alone() {
    let service = Service::with(config().no_limits());
    let (mut body, later) = guarded_body(&service.auth, Request::get("/").body(Body::empty()).unwrap()).await;
    tokio::time::sleep(3_600 * SECOND).await;
    assert!(is_pending(&mut body));
    drop(later);
    assert!(body.frame().await.is_none(), "it ends by itself");
    // Trailers of the inner body pass.
    let token = service.token(&["projects:read"]).await;
    let inner = service_fn(async |_: Request<Body>| {
        let frames = [http_body::Frame::data(Bytes::from("x")), http_body::Frame::trailers(HeaderMap::new())];
        Ok::<_, Infallible>(Response::new(StreamBody::new(tokio_stream::iter(frames).map(Ok::<_, Infallible>))))
    });
    let layer = service.auth.require("projects:read").without_principal().end_with_session();
    let response = layer.layer(inner).oneshot(bearer(Method::GET, "/", &token)).await.unwrap();
    assert!(response.into_body().collect().await.unwrap().trailers().is_some());
}

/// A handler that takes any body.
#[derive(Clone, Copy)]
struct Handler;

impl<B> tower::Service<Request<B>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let agent = request.extensions().get::<AgentSession>().unwrap();
        std::future::ready(Ok(Response::new(Body::from(agent.account.id.to_string()))))
    }
}

/// A stack behind any type, served by hyper.
type Stack = tower::util::BoxCloneSyncService<Request<hyper::body::Incoming>, Response<Body>, Infallible>;

/// One hit, one refusal and one document.
async fn runs(name: &str, stack: Stack, token: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(stack.clone());
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Body>();
        let get = async |path: &str, token: Option<&str>| {
            let url = format!("http://{address}{path}");
            let mut request = bearer(Method::GET, &url, token.unwrap_or_default());
            if token.is_none() {
                request.headers_mut().remove("authorization");
            }
            Answer::read(client.request(request).await.unwrap()).await
        };
        let hit = get("/projects", Some(token)).await;
        assert_eq!((hit.status, hit.text.as_str()), (StatusCode::OK, "acct_ada"), "{name}");
        let refused = get("/projects", None).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{name}");
        assert!(refused.header("www-authenticate").starts_with("Bearer ") && !refused.error().is_empty(), "{name}");
        let document = get("/.well-known/oauth-protected-resource", None).await;
        assert_eq!(document.json["resource"], common::ORIGIN, "{name}");
    }
}

/// The same as a gRPC service of tonic: one hit and one refusal.
async fn runs_in_grpc(name: &str, routes: tonic::service::Routes, token: &str) {
    for (token, code) in [(Some(token), "0"), (None, "16")] {
        let mut call = bearer(Method::POST, "/test.Test/Call", token.unwrap_or_default());
        if token.is_none() {
            call.headers_mut().remove("authorization");
        }
        call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = routes.clone().oneshot(call).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        assert_eq!(response.headers()["grpc-status"], code, "{name}");
    }
}

/// A gRPC service without generated code.
#[derive(Clone, Copy)]
struct Grpc;

impl tonic::server::NamedService for Grpc {
    const NAME: &'static str = "test.Test";
}

impl<B> tower::Service<Request<B>> for Grpc {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(request.extensions().get::<AgentSession>().is_some());
        let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", "0");
        std::future::ready(Ok(response.body(tonic::body::Body::empty()).unwrap()))
    }
}

/// Each layer outside, between and inside of ours, under hyper, axum and tonic.
macro_rules! stacks_with {
    ($($name:ident: $layer:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let service = Service::new();
            let auth = &service.auth;
            let token = service.token(&["projects:read"]).await;
            let guard = || auth.require("projects:read");
            let boxed = |body: Response<_>| body.map(Body::new);
            let plain = ServiceBuilder::new()
                .map_response(boxed)
                .layer($layer)
                .layer(auth.endpoints())
                .layer($layer)
                .layer(guard())
                .layer($layer)
                .service(Handler);
            runs(concat!(stringify!($name), " with hyper"), Stack::new(plain), &token).await;

            let ending = ServiceBuilder::new().layer($layer).layer(guard().end_with_session()).layer($layer);
            let routes = || {
                axum::Router::new().route("/projects", axum::routing::get_service(Handler).layer(ending.clone()))
            };
            for router in [
                routes().layer(($layer, auth.endpoints(), $layer)),
                routes().layer($layer).merge(auth.router()),
                routes().merge(auth.router()).layer($layer),
            ] {
                let served = ServiceBuilder::new().service(router);
                runs(concat!(stringify!($name), " with axum"), Stack::new(served), &token).await;
            }

            let grpc = ServiceBuilder::new().layer($layer).layer(guard().grpc()).layer($layer);
            runs_in_grpc(stringify!($name), tonic::service::Routes::new(grpc.named_layer(Grpc)), &token).await;
            let grpc = ServiceBuilder::new().layer($layer).layer(guard().grpc().end_with_session()).layer($layer);
            runs_in_grpc(stringify!($name), tonic::service::Routes::new(grpc.named_layer(Grpc)), &token).await;
        }
    )*};
}

stacks_with! {
    e1_cors: CorsLayer::permissive();
    e1_trace: TraceLayer::new_for_http();
    e1_compression: CompressionLayer::new();
    e1_decompression: DecompressionLayer::new();
    e1_request_decompression: RequestDecompressionLayer::new();
    e1_timeout: TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, 30 * SECOND);
    e1_request_body_timeout: RequestBodyTimeoutLayer::new(30 * SECOND);
    e1_response_body_timeout: ResponseBodyTimeoutLayer::new(30 * SECOND);
    e1_limit: RequestBodyLimitLayer::new(1 << 20);
    e1_catch_panic: CatchPanicLayer::new();
    e1_normalize_path: NormalizePathLayer::trim_trailing_slash();
    e1_sensitive_headers: SetSensitiveHeadersLayer::new([http::header::AUTHORIZATION]);
    e1_set_response_header: SetResponseHeaderLayer::if_not_present(
        http::header::SERVER, http::HeaderValue::from_static("x"));
    e1_set_request_header: SetRequestHeaderLayer::if_not_present(
        http::header::ACCEPT, http::HeaderValue::from_static("*/*"));
    e1_set_request_id: SetRequestIdLayer::x_request_id(MakeRequestUuid);
    e1_propagate_request_id: PropagateRequestIdLayer::x_request_id();
    e1_map_request_body: MapRequestBodyLayer::new(Body::new);
    e1_map_response_body: MapResponseBodyLayer::new(Body::new);
}
