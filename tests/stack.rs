//! The crate in any stack: as a router of axum, behind layers of tower-http on either side, and in front of streams.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::{
    Router,
    body::Body,
    extract::State,
    routing::{any, get, post},
};
use http::{Method, Request, StatusCode};
use tower::ServiceExt;
use tower_http::cors::CorsLayer;

mod common;
use common::{Answer, Service, bearer, browse, config, json_request};

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
