//! The check of services that are put together wrongly: each way is planted here, and found by its name.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    middleware::{Next, from_fn},
    response::{Html, Redirect, Response as AxumResponse},
    routing::{get, post},
};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use tower::{Layer, service_fn};
use tower_agent_auth::{
    AgentAuth,
    guard::AgentSession,
    store::MemoryStore,
    testing::{self, Misassembly, TestAccounts},
};
use tower_http::{
    cors::{Any, CorsLayer},
    limit::RequestBodyLimitLayer,
    map_response_body::MapResponseBodyLayer,
    set_header::SetResponseHeaderLayer,
};

use crate::{
    app, assert_finds, auth, checked,
    common::{Audit, ORIGIN, config},
    routes, with,
};

#[tokio::test]
async fn g3_endpoints_that_are_not_mounted_are_found() {
    let auth = auth();
    let missing = checked(&auth, routes(&auth)).await;
    assert_finds(&missing, &[Misassembly::NotServed]);
    let found = &missing.findings()[0].requests;
    for path in ["GET /.well-known/oauth-protected-resource", "GET /auth.md", "DELETE /agent/auth", "GET /sessions"] {
        assert!(found.iter().any(|request| request == path), "{path} in {found:?}");
    }
    assert_finds(&checked(&auth, routes(&auth).route_layer(auth.endpoints())).await, &[Misassembly::NotServed]);
    // Only a part of them.
    let part = "/.well-known/oauth-protected-resource";
    let part = routes(&auth).route_service(part, auth.endpoints().layer(Router::<()>::new()));
    let report = checked(&auth, part).await;
    assert_finds(&report, &[Misassembly::NotServed]);
    assert!(!report.to_string().contains("GET /.well-known/oauth-protected-resource,"), "{report}");
}

#[tokio::test]
async fn g3_endpoints_before_a_fallback_are_found() {
    let auth = auth();
    let app = routes(&auth).layer(auth.endpoints()).fallback(async || Html("<p>the app</p>"));
    assert_finds(&checked(&auth, app).await, &[Misassembly::Swallowed]);
    let other = routes(&auth).layer(auth.endpoints()).fallback(async || (StatusCode::GONE, "no more"));
    assert_finds(&checked(&auth, other).await, &[Misassembly::Swallowed]);
}

#[tokio::test]
async fn g3_documents_below_a_nest_are_found() {
    let auth = auth();
    let app = Router::new().nest("/inner/v9", app(&auth));
    let report = testing::check(&auth, app).protected("/inner/v9/projects").run().await;
    assert_finds(&report, &[Misassembly::Nested]);
    assert!(report.to_string().contains("below /inner/v9 only"), "{report}");
}

#[tokio::test]
async fn g3_a_guard_or_a_login_around_the_endpoints_is_found() {
    let auth = auth();
    let guarded = app(&auth).layer(auth.require("projects:read"));
    let report = testing::check(&auth, guarded).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::Guarded]);

    let login =
        from_fn(
            async |request: Request<Body>, next: Next| {
                if request.headers().contains_key(AUTHORIZATION) { next.run(request).await } else { redirect() }
            },
        );
    let report = testing::check(&auth, app(&auth).layer(login)).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::BehindLogin, Misassembly::NoChallenge]);
    let basic = from_fn(async |_: Request<Body>, _: Next| {
        AxumResponse::builder().status(401).header(WWW_AUTHENTICATE, "Basic realm=\"x\"").body(Body::empty()).unwrap()
    });
    let report = testing::check(&auth, app(&auth).layer(basic)).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::BehindLogin, Misassembly::NoChallenge]);
}

fn redirect() -> AxumResponse {
    axum::response::IntoResponse::into_response(Redirect::to("/login"))
}

#[tokio::test]
async fn g3_layers_that_change_bodies_and_pages_are_found() {
    let auth = auth();
    let shouting = app(&auth).layer(MapResponseBodyLayer::new(|_: Body| Body::from("!")));
    let report = testing::check(&auth, shouting).run().await;
    assert!(report.has(Misassembly::Changed), "{report}");

    let policy =
        SetResponseHeaderLayer::overriding(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new());
    let signed_in = builder.accounts(TestAccounts::always("alice")).build().unwrap();
    let report = testing::check(&signed_in, app(&signed_in).layer(policy)).run().await;
    assert_finds(&report, &[Misassembly::Changed]);
    assert!(report.to_string().contains("Content-Security-Policy"), "{report}");
}

#[tokio::test]
async fn g3_a_body_limit_is_found() {
    let auth = auth();
    let report = testing::check(&auth, app(&auth).layer(RequestBodyLimitLayer::new(8 * 1024))).run().await;
    assert_finds(&report, &[Misassembly::BodyLimit]);
    let enough = testing::check(&auth, app(&auth).layer(RequestBodyLimitLayer::new(16 * 1024))).run().await;
    assert!(enough.is_ok(), "{enough}");
}

#[tokio::test]
async fn g5_a_cors_layer_around_the_endpoints_is_found() {
    let auth = auth();
    let narrow = CorsLayer::new().allow_origin(["https://app.example.com".parse().unwrap()]);
    assert_finds(&testing::check(&auth, app(&auth).layer(narrow)).run().await, &[Misassembly::Cors]);
    // All is allowed, but `*` does not include `Authorization`.
    let wide = CorsLayer::new().allow_origin(Any).allow_headers(Any).allow_methods(Any);
    let report = testing::check(&auth, app(&auth).layer(wide)).run().await;
    assert_finds(&report, &[Misassembly::Cors]);
    assert!(report.to_string().contains("the header `authorization`"), "{report}");
    let very = testing::check(&auth, app(&auth).layer(CorsLayer::very_permissive())).run().await;
    assert!(very.is_ok(), "{very}");
}

#[tokio::test]
async fn g5_a_route_that_pages_of_an_origin_can_t_call_is_found() {
    let auth = auth();
    let check = async |app: Router| {
        let check = testing::check(&auth, app.merge(auth.router())).protected("/projects");
        check.cross_origin("https://inspector.example").run().await
    };
    assert_finds(&check(routes(&auth)).await, &[Misassembly::Cors]);
    let unexposed = CorsLayer::new().allow_origin(Any).allow_headers([AUTHORIZATION]);
    let report = check(routes(&auth).layer(unexposed)).await;
    assert_finds(&report, &[Misassembly::Cors]);
    assert!(report.to_string().contains("no `www-authenticate`"), "{report}");
    // Inside the guard, the layer sees neither the preflight nor the refusal.
    let inside = CorsLayer::new().allow_origin(Any).allow_headers([AUTHORIZATION]).expose_headers([WWW_AUTHENTICATE]);
    let inside = Router::new()
        .route("/projects", get(async || "none").layer::<_, Infallible>(inside).layer(auth.require("projects:read")));
    assert_finds(&check(inside).await, &[Misassembly::Cors]);
}

#[tokio::test]
async fn g3_a_link_to_a_page_that_is_not_there_is_found() {
    let auth = with(config().terms(&format!("{ORIGIN}/terms")));
    let report = testing::check(&auth, app(&auth)).run().await;
    assert_finds(&report, &[Misassembly::BrokenLink]);
    let good = app(&auth).route("/terms", get(async || "be kind"));
    let report = testing::check(&auth, good).run().await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_requests_without_an_address_are_found() {
    let auth = auth();
    let peer = ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 40_000)));
    let report = testing::check(&auth, app(&auth)).extension(peer).run().await;
    assert_finds(&report, &[Misassembly::NoClientAddress]);
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new());
    let reads = |extensions: &http::Extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip());
    let auth = builder.accounts(TestAccounts::by_cookie("user")).peer_address(reads).build().unwrap();
    let report = testing::check(&auth, app(&auth)).extension(peer).run().await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_routes_without_a_guard_are_found() {
    let auth = auth();
    let check = async |route: &str| testing::check(&auth, app(&auth)).protected(route).run().await;
    assert_finds(&check("/health").await, &[Misassembly::Unguarded]);
    assert_finds(&check("/nowhere").await, &[Misassembly::NoSuchRoute]);
    assert_finds(&check("PUT /health").await, &[Misassembly::NoSuchRoute]);
    let optional = Router::new().route("/", get(async || "all")).layer(auth.optional()).merge(auth.router());
    assert_finds(&testing::check(&auth, optional).protected("/").run().await, &[Misassembly::Unguarded]);
    // The extractor says so itself.
    let extracts = Router::new().route("/", post(async |_: AgentSession| "")).merge(auth.router());
    let report = testing::check(&auth, extracts).protected("POST /").run().await;
    assert_finds(&report, &[Misassembly::Unguarded]);
    assert!(report.to_string().contains("no guard looked"), "{report}");
    let denied = Router::new().route("/", get(async || "")).layer(auth.policy(|_| None)).merge(auth.router());
    let report = testing::check(&auth, denied).protected("/").run().await;
    assert!(report.is_ok(), "a policy without a rule refuses with the challenge: {report}");
}

#[tokio::test]
async fn g3_a_login_inside_the_guard_is_found() {
    let auth = auth();
    let login = from_fn(async |_: Request<Body>, _: Next| redirect());
    let app =
        Router::new().route("/", get(async || "").layer::<_, Infallible>(login).layer(auth.require("projects:read")));
    let issued = testing::session(&auth).scopes("projects:read").issue().await;
    let check = testing::check(&auth, app.merge(auth.router())).protected("/").session(&issued);
    assert_finds(&check.run().await, &[Misassembly::RefusedInside]);
    let narrow = testing::session(&auth).scopes("analytics:read").issue().await;
    let check = testing::check(&auth, self::app(&auth)).protected("/projects").session(&narrow);
    assert_finds(&check.run().await, &[Misassembly::SessionRefused]);
    let open = testing::check(&auth, self::app(&auth)).owner_only("/projects").session(&issued);
    assert_finds(&open.run().await, &[Misassembly::OpenToAgents]);
}

#[tokio::test]
async fn g3_what_removes_the_header_or_the_challenge_is_found() {
    let auth = auth();
    let removes = from_fn(async |mut request: Request<Body>, next: Next| {
        request.headers_mut().remove(AUTHORIZATION);
        next.run(request).await
    });
    let check = async |app: Router| testing::check(&auth, app.merge(auth.router())).protected("/projects").run().await;
    assert_finds(&check(routes(&auth).layer(removes)).await, &[Misassembly::AuthorizationLost]);
    let hides = from_fn(async |request: Request<Body>, next: Next| {
        let mut response = next.run(request).await;
        response.headers_mut().remove(WWW_AUTHENTICATE);
        response
    });
    assert_finds(&check(routes(&auth).layer(hides)).await, &[Misassembly::NoChallenge]);
}

#[tokio::test]
async fn g3_a_resource_that_does_not_match_is_found() {
    let elsewhere = with(config().resource("https://api.example.com/v2"));
    let report = testing::check(&elsewhere, app(&elsewhere)).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::OutsideResource]);
    let (one, other) = (auth(), with(config().resource("https://other.example.com")));
    let mixed = routes(&other).merge(one.router());
    let report = testing::check(&one, mixed).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::ForeignChallenge]);
}

#[tokio::test]
async fn g3_a_service_that_fails_is_found() {
    let auth = auth();
    let app = service_fn(async |_: Request<Full<Bytes>>| Err::<Response<Body>, _>(std::io::Error::other("no disk")));
    let report = testing::check(&auth, app).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::Failed]);
    assert!(report.to_string().contains("no disk"), "{report}");
    // A service without a server around it catches no panic.
    let panics =
        from_fn(async |_: Request<Body>, _: Next| -> AxumResponse { panic!("a layer panics, as it was told") });
    let report = testing::check(&auth, self::app(&auth).layer(panics)).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::Failed]);
    assert!(report.to_string().contains("the service panicked"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn g3_a_service_that_never_answers_is_found() {
    let auth = AgentAuth::builder(config().build().unwrap()).checks_only(MemoryStore::new()).build().unwrap();
    let app =
        service_fn(async |_: Request<Full<Bytes>>| std::future::pending::<Result<Response<Body>, Infallible>>().await);
    let report = testing::check(&auth, app).run().await;
    assert_finds(&report, &[Misassembly::Failed]);
}

#[tokio::test]
async fn g3_a_check_changes_nothing() {
    let audit = Audit::default();
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new()).audit(audit.clone());
    let auth = builder.accounts(TestAccounts::by_cookie("user")).build().unwrap();
    let report = testing::check(&auth, app(&auth)).protected("/projects").owner_only("/billing").run().await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(audit.events(), []);
}
