//! What no agent may ever do, and what a route is that nobody classified (security rows R83 to R86).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Body, extract::MatchedPath, routing::any};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tower::{Layer, ServiceExt};
use tower_agent_auth::guard::{AgentSession, Owner, Rule};

mod common;
use common::{Answer, Service, bearer, browse};

const ALL: [&str; 5] = ["projects:read", "projects:write", "analytics:read", "experiments:read", "experiments:write"];
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

#[tokio::test]
async fn r83_no_agent_passes_an_owner_only_route_by_any_method_or_scope() {
    let service = Service::new();
    let small = service.token(&["projects:read"]).await;
    let all = service.token(&ALL).await;
    let revoked = service.token(&ALL).await;
    service.send(bearer(Method::POST, "/agent/auth/revoke", &revoked)).await;
    for method in METHODS {
        for token in [&small, &all] {
            let answer = service.send(bearer(method.clone(), "/billing", token)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method}");
            assert!(!answer.headers.contains_key("www-authenticate"), "{method}: nothing to step up to");
            if method != Method::HEAD {
                assert_eq!(answer.error(), "owner_only");
            }
        }
        assert_eq!(service.send(bearer(method.clone(), "/billing", &revoked)).await.status, StatusCode::UNAUTHORIZED);
        let anonymous = Request::builder().method(method.clone()).uri("/billing").body(Body::empty()).unwrap();
        assert_eq!(service.send(anonymous).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(service.handled(), 0);
    assert!(service.audit.names().contains(&"owner_only_refused"));

    for method in METHODS {
        let human = Request::builder().method(method).uri("/billing").header("cookie", "user=ada");
        assert_eq!(service.send(human.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    }
    assert_eq!(service.send(browse("ada", "/billing")).await.json, json!({ "session": null, "owner": "acct_ada" }));
}

#[tokio::test]
async fn r83_a_token_beside_a_good_cookie_is_still_an_agent() {
    let service = Service::new();
    let token = service.token(&ALL).await;
    let mut both = browse("ada", "/billing");
    both.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    assert_eq!(service.send(both).await.error(), "owner_only");
    let mut junk = browse("ada", "/billing");
    junk.headers_mut().insert("authorization", "Bearer junk".parse().unwrap());
    assert_eq!(service.send(junk).await.error(), "invalid_token");
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn b7_no_attempt_at_an_agents_credential_passes_as_the_owner() {
    let service = Service::new();
    let token = service.token(&ALL).await;
    let basic = |text: &str| format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes()));
    let attempts = [
        vec![format!("Bearer {token}")],
        vec![format!("bearer {token}")],
        vec![format!("Bearer\t{token}")],
        vec![format!("Bearer{token}")],
        vec!["Bearer".into()],
        vec![format!("DPoP {token}")],
        vec!["dpop x".into()],
        vec![token.clone()],
        vec![format!("Bearer {}", token.to_uppercase())],
        vec![format!("Token {}", token.to_uppercase())],
        vec![format!("Basic {token}")],
        vec![basic(&format!("{token}:"))],
        vec![basic(&format!("x:{token}"))],
        vec!["Basic Zm9vOmJhcg==".into(), format!("Bearer {token}")],
        vec!["Basic Zm9vOmJhcg==".into(), format!("DPoP {token}")],
        vec!["Negotiate YWJj".into(), "Basic Zm9vOmJhcg==".into()],
    ];
    for lines in attempts {
        for path in ["/billing", "/account/agent-sessions"] {
            let mut request = browse("ada", path);
            for line in &lines {
                request.headers_mut().append("authorization", line.parse().unwrap());
            }
            let answer = service.send(request).await;
            // An agent may list itself, and nobody else.
            let own = path != "/billing" && answer.status == StatusCode::OK;
            let alone = own && answer.json["sessions"].as_array().is_some_and(|sessions| sessions.len() == 1);
            assert!(alone || answer.status.is_client_error(), "{path} {lines:?}: {} {}", answer.status, answer.text);
            assert!(!own || lines[0].to_lowercase().starts_with("bearer "), "{lines:?}");
        }
    }
    for query in ["access_token=x", &format!("a=b&access_token={token}")] {
        let answer = service.send(browse("ada", &format!("/billing?{query}"))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{query}");
    }
    // A token in another place is an attempt too, though no rule takes it there.
    for (name, value) in
        [("x-api-key", token.clone()), ("x-token", format!(" {token}")), ("proxy-authorization", token.clone())]
    {
        let mut request = browse("ada", "/billing");
        request.headers_mut().append(name, value.parse().unwrap());
        assert_eq!(service.send(request).await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    for query in [format!("key={token}"), format!("a=b&token={token}")] {
        let answer = service.send(browse("ada", &format!("/billing?{query}"))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{query}");
    }
    assert_eq!(service.handled(), 0);

    // What a proxy forwards beside the cookie says nothing about agents.
    for line in ["Basic Zm9vOmJhcg==", "Negotiate YWJj", "Digest username=\"x\"", "Unheard of", ""] {
        let mut request = browse("ada", "/billing");
        request.headers_mut().append("authorization", line.parse().unwrap());
        let answer = service.send(request).await;
        assert_eq!((answer.status, &answer.json["owner"]), (StatusCode::OK, &json!("acct_ada")), "{line}");
    }
}

#[tokio::test]
async fn r83_a_human_is_no_agent() {
    let service = Service::new();
    assert_eq!(service.send(browse("ada", "/projects")).await.status, StatusCode::UNAUTHORIZED);
    assert!(service.send(browse("ada", "/optional")).await.json["owner"].is_null());
}

#[tokio::test]
async fn r84_a_policy_refuses_what_it_does_not_name() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let handler = move |request: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        let agent = request.extensions().get::<AgentSession>().is_some();
        async move { agent.to_string() }
    };
    let read = service.auth.all_of("projects:read").unwrap();
    let policy = service.auth.policy(move |request| match request.extensions.get::<MatchedPath>()?.as_str() {
        "/health" => Some(Rule::public()),
        "/projects/{id}" => Some(read.clone()),
        "/billing" => Some(Rule::owner_only()),
        _ => None,
    });
    let app = Router::new()
        .route("/health", any(handler.clone()))
        .route("/projects/{id}", any(handler.clone()))
        .route("/billing", any(handler.clone()))
        .route("/new", any(handler))
        .route_layer(policy);
    let get = async |path: &str, token: Option<&str>| {
        let request = token
            .map_or_else(|| Request::get(path).body(Body::empty()).unwrap(), |token| bearer(Method::GET, path, token));
        Answer::read(app.clone().oneshot(request).await.unwrap()).await
    };
    assert_eq!(get("/health", Some("junk")).await.text, "false");
    assert_eq!(get("/projects/1", Some(&token)).await.text, "true");
    assert_eq!(get("/projects/1", None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get("/billing", Some(&token)).await.error(), "owner_only");
    let before = handled.load(Ordering::SeqCst);
    let new = get("/new", Some(&token)).await;
    assert_eq!((new.status, new.error()), (StatusCode::FORBIDDEN, "unclassified"));
    assert_eq!(get("/new", None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get("/new", Some("junk")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get("/nowhere", Some(&token)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(handled.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn r84_a_route_without_a_class_never_sees_an_agent() {
    let service = Service::new();
    let token = service.token(&ALL).await;
    assert_eq!(service.get_as("/unclassified", &token).await.json, json!({ "session": null, "owner": null }));
    // An extractor there refuses, for agents and humans alike.
    let app = Router::new()
        .route("/agent", any(|_: AgentSession| async {}))
        .route("/owner", any(|_: Owner| async {}))
        .layer(service.auth.endpoints());
    for path in ["/agent", "/owner"] {
        for request in [bearer(Method::GET, path, &token), browse("ada", path)] {
            let status = app.clone().oneshot(request).await.unwrap().status();
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        }
    }
}

#[tokio::test]
async fn g4_an_extractor_names_the_guard_that_its_route_lacks() {
    let service = Service::new();
    let auth = &service.auth;
    let token = service.token(&ALL).await;
    let agent = || any(|_: AgentSession| async {});
    let owner = || any(|_: Owner| async {});
    let maybe = || any(|_: Option<AgentSession>| async {});
    let app = Router::new()
        .route("/maybe/bare", maybe())
        .route("/maybe/public", maybe().layer(auth.guard(Rule::public())))
        .route("/maybe/optional", maybe().layer(auth.optional()))
        .route("/maybe/only", maybe().layer(auth.owner_only()))
        .route("/agent/bare", agent())
        .route("/owner/bare", owner())
        .route("/agent/public", agent().layer(auth.guard(Rule::public())))
        .route("/owner/public", owner().layer(auth.guard(Rule::public())))
        .route("/agent/blind", agent().layer(auth.require("projects:read").without_principal()))
        .route("/agent/require", agent().layer(auth.require("projects:read")))
        .route("/owner/require", owner().layer(auth.require("projects:read")))
        .route("/agent/optional", agent().layer(auth.optional()))
        .route("/owner/optional", owner().layer(auth.optional()))
        .route("/agent/only", agent().layer(auth.owner_only()))
        .route("/owner/only", owner().layer(auth.owner_only()));
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
    let logged = tracing::subscriber::set_default(subscriber);
    let (as_agent, as_human, as_nobody) = (bearer(Method::GET, "/", &token), browse("ada", "/"), Request::default());
    for (path, caller, expected) in [
        ("/agent/bare", &as_agent, 500),
        ("/agent/bare", &as_human, 500),
        ("/agent/bare", &as_nobody, 500),
        ("/owner/bare", &as_agent, 500),
        ("/owner/bare", &as_human, 500),
        ("/agent/public", &as_agent, 500),
        ("/owner/public", &as_human, 500),
        ("/agent/blind", &as_agent, 500),
        ("/maybe/bare", &as_agent, 500),
        ("/maybe/bare", &as_nobody, 500),
        ("/maybe/public", &as_agent, 500),
        ("/maybe/optional", &as_agent, 200),
        ("/maybe/optional", &as_nobody, 200),
        ("/maybe/only", &as_human, 200),
        // The caller is at fault where a guard authenticates it.
        ("/agent/require", &as_agent, 200),
        ("/agent/require", &as_nobody, 401),
        ("/owner/require", &as_agent, 401),
        ("/agent/optional", &as_agent, 200),
        ("/agent/optional", &as_nobody, 401),
        ("/owner/optional", &as_agent, 401),
        ("/owner/optional", &as_nobody, 401),
        ("/agent/only", &as_human, 401),
        ("/owner/only", &as_human, 200),
    ] {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        *request.headers_mut() = caller.headers().clone();
        let before = lines.count();
        let answer = Answer::read(app.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(answer.status, expected, "{path}");
        assert_eq!(lines.count() - before, usize::from(expected == 500), "{path}");
        if expected == 500 {
            let text = answer.json["message"].as_str().unwrap();
            assert!(text.contains("auth.require(") && text.contains("auth.owner_only("), "{text}");
        }
    }
    drop(logged);
    assert!(
        lines.text().contains("ERROR tower_agent_auth::observe: this handler takes the caller"),
        "{}",
        lines.text()
    );
    assert!(!lines.text().contains(&token));
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn count(&self) -> usize {
        self.text().lines().count()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn r85_no_spelling_of_a_url_leads_round_the_guard() {
    let service = Service::new();
    let token = service.token(&ALL).await;
    let spellings = [
        "//billing",
        "/billing/",
        "/./billing",
        "/x/../billing",
        "/%62illing",
        "/billing%2f",
        "/BILLING",
        "/billing;a=b",
        "/billing?",
        "/billing?x=/health",
        "http://evil.test/billing",
        "/health/../billing",
        "/nested/billing",
        "/billing%00",
    ];
    let nested = Router::new().nest("/nested", service.app.clone()).merge(service.app.clone());
    let handled = |answer: &Answer| answer.status.is_success();
    for spelling in spellings {
        for app in [service.app.clone(), nested.clone()] {
            let answer = Answer::read(app.oneshot(bearer(Method::GET, spelling, &token)).await.unwrap()).await;
            assert!(!handled(&answer), "{spelling} -> {}", answer.status);
        }
    }
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn r86_scopes_are_exact_and_imply_only_what_is_declared() {
    let service = Service::new();
    let write = service.token(&["projects:write"]).await;
    assert_eq!(service.get_as("/projects", &write).await.status, StatusCode::FORBIDDEN, "write does not give read");
    assert_eq!(service.get_as("/both", &write).await.status, StatusCode::FORBIDDEN, "both are needed");
    let experiments = service.token(&["experiments:write"]).await;
    assert_eq!(service.get_as("/experiments", &experiments).await.status, StatusCode::OK, "declared to give read");
    let analytics = service.token(&["analytics:read"]).await;
    assert_eq!(service.get_as("/any", &analytics).await.status, StatusCode::OK);
    assert_eq!(service.get_as("/any", &experiments).await.status, StatusCode::FORBIDDEN);
    let both = service.token(&["projects:read", "projects:write"]).await;
    assert_eq!(service.get_as("/both", &both).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r86_an_agent_that_names_no_scope_asks_for_the_default_ones() {
    let service = Service::new();
    for body in [json!({ "type": "user_claimed" }), json!({ "type": "user_claimed", "requested_scopes": [] })] {
        assert_eq!(service.post("/agent/auth", &body).await.json["scopes"], json!(["analytics:read", "projects:read"]));
    }
    let without = tower_agent_auth::Config::builder().resource(common::ORIGIN).name("X").scope("a", "A", |scope| scope);
    let auth = tower_agent_auth::AgentAuth::builder(without.build().unwrap())
        .sessions(common::TestStore::default())
        .accounts(common::TestAccounts::default())
        .build()
        .unwrap();
    let inner = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
    });
    let request = common::json_request("/agent/auth", "{\"type\":\"user_claimed\"}");
    let answer = Answer::read(auth.endpoints().layer(inner).oneshot(request).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.json["message"].as_str().unwrap().contains("`requested_scopes` is required: name one or more of: a")
    );
}

#[test]
fn g11_a_rule_that_nobody_can_meet_panics_at_the_caller() {
    let service = Service::new();
    let at = Arc::new(std::sync::Mutex::new(Vec::new()));
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new({
        let at = Arc::clone(&at);
        move |panic| at.lock().unwrap().extend(panic.location().map(|location| location.file().to_owned()))
    }));
    let auth = std::panic::AssertUnwindSafe(&service.auth);
    assert!(std::panic::catch_unwind(|| auth.require("nothing")).is_err());
    assert!(std::panic::catch_unwind(|| auth.require_any("nothing")).is_err());
    std::panic::set_hook(before);
    assert!(at.lock().unwrap().iter().all(|file| file == file!()), "{at:?}");
}
