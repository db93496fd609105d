//! The same promises over real connections, HTTP/1.1 and HTTP/2, and against requests that nobody in their right mind sends
//! (security rows R15, R16, R18, R28, R34, R40).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{convert::Infallible, net::SocketAddr};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;

mod common;
use common::{Answer, Service, browse, config};

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

/// A source of requests that repeats itself (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[(self.roll() % from.len() as u64) as usize]
    }

    /// Something near a text: cut, doubled, with a byte changed, or as it is.
    fn bend(&mut self, text: &[u8]) -> Vec<u8> {
        let mut bytes = text.to_vec();
        let place = (self.roll() % (bytes.len() as u64 + 1)) as usize;
        match self.roll() % 5 {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, (self.roll() % 256) as u8),
            2 if !bytes.is_empty() => {
                let place = place % bytes.len();
                bytes[place] = (self.roll() % 256) as u8;
            }
            3 => bytes.extend_from_within(..),
            _ => {}
        }
        bytes
    }
}

#[tokio::test]
async fn no_request_whatever_is_a_fault_of_the_service() {
    let service = Service::with(config().no_limits());
    let session = service.session("ada", &["projects:read"]).await;
    let pending = service.register(&["projects:read"]).await;
    let form = service.open("ada", &pending).await;
    let secret = |field: &str| session.json[field].as_str().unwrap().to_owned();
    let paths = [
        "/projects",
        "/billing",
        "/optional",
        "/sessions",
        "/auth.md",
        "/agent/auth",
        "/agent/auth/claim",
        "/agent/auth/claim/complete",
        "/agent/auth/revoke",
        "/agent-sessions/start",
        "/agent-sessions/poll",
        "/agent-sessions/exchange",
        "/agent-sessions/refresh",
        "/agent-sessions/revoke",
        "/account/agent-sessions?after=ses_x",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server",
        "/sessions?after=ses_x&done=revoked",
        "/projects?access_token=x",
    ];
    let paths: Vec<String> = paths.map(str::to_owned).into_iter().chain([pending.path()]).collect();
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];
    let values: Vec<Vec<u8>> = [
        format!("Bearer {}", secret("access_token")),
        format!("Bearer {}", secret("refresh_token")),
        "Basic x".into(),
        format!("user=ada; {}", form.cookie),
        "application/json".into(),
        "application/x-www-form-urlencoded; charset=utf-8".into(),
        "https://api.example.com".into(),
        "null".into(),
        "same-origin".into(),
        "prefetch".into(),
        "\"x\", *".into(),
        "10.0.0.1, x".into(),
    ]
    .map(String::into_bytes)
    .into();
    let names = [
        "authorization",
        "cookie",
        "content-type",
        "origin",
        "sec-fetch-site",
        "sec-purpose",
        "if-none-match",
        "x-forwarded-for",
    ];
    let bodies: Vec<Vec<u8>> = [
        json!({ "type": "user_claimed", "client_name": "x", "requested_scopes": ["projects:read"] }).to_string(),
        json!({ "claim_token": pending.claim_token }).to_string(),
        json!({ "token": "x" }).to_string(),
        json!({ "mode": "interactive", "client_type": "cli", "callback_url": "http://127.0.0.1:4000/?a=b", "state": "s",
            "code_challenge": "0".repeat(64), "scopes": ["projects:read"] })
        .to_string(),
        json!({ "auth_request_id": pending.id, "poll_token": "aap_x", "exchange_code": "aae_x", "code_verifier": "x" })
            .to_string(),
        json!({ "refresh_token": secret("refresh_token"), "scopes": ["projects:read"], "resource": "x" }).to_string(),
        json!({ "session_id": secret("session_id") }).to_string(),
        format!("csrf={}&decision=approve&scope=projects%3Awrite", form.csrf),
        "token=x&token=y".into(),
        "[[[[{\"a\":1e999}]]]]".into(),
    ]
    .map(String::into_bytes)
    .into();

    let mut dice = Dice(2026);
    let mut statuses = std::collections::BTreeMap::new();
    for round in 0..30_000 {
        let path = dice.pick(&paths).clone();
        let path = if round % 3 == 0 { dice.bend(path.as_bytes()) } else { path.into_bytes() };
        let Ok(uri) = http::Uri::try_from(path) else { continue };
        let body = dice.pick(&bodies).clone();
        let mut request = Request::new(Body::from(dice.bend(&body)));
        *request.method_mut() = dice.pick(&methods).clone();
        *request.uri_mut() = uri;
        for _ in 0..dice.roll() % 4 {
            let name = HeaderName::from_static(dice.pick::<&str>(&names));
            let value = dice.pick(&values).clone();
            if let Ok(value) = HeaderValue::from_bytes(&dice.bend(&value)) {
                request.headers_mut().append(name, value);
            }
        }
        let shown = format!("round {round}: {} {} {:?}", request.method(), request.uri(), request.headers());
        let status = service.send(request).await.status;
        assert!(!status.is_server_error(), "{status} to {shown}");
        *statuses.entry(status.as_u16()).or_insert(0) += 1;
    }
    assert!(statuses.len() > 8, "the dice reach every kind of answer: {statuses:?}");
}
