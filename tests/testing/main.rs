//! The feature `testing`: sessions for tests, callers without a guard, and the check of how a service is put together. Each
//! way to put it together wrongly is planted here, and found by its name.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use http::{HeaderValue, Method, Request, StatusCode, header::AUTHORIZATION};
use tower::{Layer, ServiceExt};
use tower_agent_auth::{
    AgentAuth, ConfigBuilder,
    accounts::Accounts,
    audit::Event,
    guard::{AgentSession, Owner},
    store::MemoryStore,
    testing::{self, IssueError, ManualClock, Misassembly, Report, TestAccounts, Timestamp},
    types::session::RevokedBy,
};

#[path = "../common/mod.rs"]
mod common;
mod good;
mod misplaced;
use common::{Audit, START, config};

fn with(config: ConfigBuilder) -> AgentAuth {
    let builder = AgentAuth::builder(config.build().unwrap()).sessions(MemoryStore::new());
    builder.accounts(TestAccounts::by_cookie("user")).build().unwrap()
}

fn auth() -> AgentAuth {
    with(config())
}

fn routes(auth: &AgentAuth) -> Router {
    let whose = async |agent: AgentSession| agent.account.id.as_str().to_owned();
    Router::new()
        .route("/projects", get(whose).post(whose).layer(auth.require("projects:read")))
        .route("/billing", get(async |_: Owner| "nothing due").layer(auth.owner_only()))
        .route("/health", get(async || "ok"))
}

fn app(auth: &AgentAuth) -> Router {
    routes(auth).merge(auth.router())
}

async fn checked(auth: &AgentAuth, app: Router) -> Report {
    let issued = testing::session(auth).scopes("projects:read").issue().await;
    let check = testing::check(auth, app).protected("/projects").protected("POST /projects").owner_only("/billing");
    check.session(&issued).run().await
}

fn assert_finds(report: &Report, kinds: &[Misassembly]) {
    let mut found: Vec<Misassembly> = report.findings().iter().map(|finding| finding.kind).collect();
    found.dedup();
    assert_eq!(found, kinds, "{report}");
    let text = report.to_string();
    assert!(kinds.iter().all(|kind| text.contains(kind.remedy())), "{text}");
    assert_eq!(text, format!("{report:?}"));
}

// Sessions.

async fn status(app: &Router, bearer: HeaderValue) -> StatusCode {
    let request = Request::get("/projects").header(AUTHORIZATION, bearer).body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn g10_a_session_takes_one_line_and_passes_the_real_guard() {
    let auth = auth();
    let app = app(&auth);
    let issued = testing::session(&auth).account("bob").scopes("projects:read").client("Robot").issue().await;
    assert_eq!(status(&app, issued.bearer()).await, StatusCode::OK);
    assert!(issued.bearer().is_sensitive());
    assert!(!format!("{issued:?}").contains(issued.access_token()), "{issued:?}");
    let record = issued.record();
    assert_eq!((record.session.account.id.as_str(), record.client.name.as_str()), ("bob", "Robot"));
    // It is in the host's store, like any other.
    let listed = auth.ceremony().unwrap().sessions(&record.session.account.id, None).await.unwrap();
    assert_eq!(listed.sessions[0].session.id, record.session.id);

    let defaults = testing::session(&auth).issue().await;
    assert_eq!(defaults.record().granted.to_string(), "analytics:read projects:read");
    assert_eq!(defaults.record().session.account, testing::account("alice"));
    let narrow = testing::session(&auth).scopes("analytics:read").issue().await;
    assert_eq!(status(&app, narrow.bearer()).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn g10_expired_and_revoked_sessions_are_refused() {
    let auth = auth();
    let app = app(&auth);
    let session = testing::session(&auth).scopes("projects:read");
    assert_eq!(status(&app, session.clone().issue().await.bearer()).await, StatusCode::OK);
    let expired = session.clone().expired().issue().await;
    assert_eq!(status(&app, expired.bearer()).await, StatusCode::UNAUTHORIZED);
    let ceremony = auth.ceremony().unwrap();
    let stored = ceremony.own_record(&expired.record().session).await.unwrap().unwrap();
    assert!(stored.revoked.is_none() && stored.session.expires_at.has_passed(ceremony.now()));

    let revoked = session.revoked().issue().await;
    assert_eq!(status(&app, revoked.bearer()).await, StatusCode::UNAUTHORIZED);
    let of = &revoked.record().session.account.id;
    let listed = ceremony.sessions(of, None).await.unwrap().sessions;
    let ended = listed.iter().find(|listed| listed.session.id == revoked.record().session.id).unwrap();
    assert_eq!(ended.revoked.unwrap().by, RevokedBy::Human);
}

#[tokio::test]
async fn g10_a_session_expires_by_the_clock_of_the_test() {
    let clock = ManualClock::at(START);
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new()).clock(clock.clone());
    let auth = builder.accounts(TestAccounts::by_cookie("user")).build().unwrap();
    let app = app(&auth);
    let issued = testing::session(&auth).scopes("projects:read").issue().await;
    clock.advance(auth.config().lifetimes().access - Duration::from_millis(1));
    assert_eq!(status(&app, issued.bearer()).await, StatusCode::OK);
    clock.advance(Duration::from_millis(1));
    assert_eq!(status(&app, issued.bearer()).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn g10_a_session_is_for_the_resource_of_its_auth() {
    let auth = with(config().add_resource("/mcp", |resource| resource));
    let app = app(&auth);
    let issued = testing::session(&auth.resource("/mcp")).scopes("projects:read").issue().await;
    assert_eq!(*issued.record().session.resource, *"https://api.example.com/mcp");
    assert_eq!(status(&app, issued.bearer()).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn g10_what_keeps_a_session_from_being_issued_is_named() {
    let accounts = TestAccounts::by_header("x-user");
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new());
    let auth = builder.accounts(accounts.clone()).build().unwrap();
    let error = testing::session(&auth).scopes("projects:none").try_issue().await.unwrap_err();
    assert!(format!("{error:?}").contains("projects:read"), "{error:?}");
    accounts.deactivate("alice");
    let error = testing::session(&auth).scopes("projects:read").try_issue().await.unwrap_err();
    assert!(format!("{error:?}").contains("no longer be acted for"), "{error:?}");
    accounts.activate("alice");
    testing::session(&auth).scopes("projects:read").issue().await;

    let checks = AgentAuth::builder(config().build().unwrap()).checks_only(MemoryStore::new()).build().unwrap();
    let error = testing::session(&checks).try_issue().await.unwrap_err();
    assert!(matches!(error, IssueError::NoCeremony), "{error}");
}

#[tokio::test]
#[should_panic(expected = "tests/testing/main.rs")]
async fn g10_a_session_that_is_not_issued_fails_the_test_where_it_asks() {
    testing::session(&auth()).scopes("projects:none").issue().await;
}

// Callers.

#[tokio::test]
async fn g10_handlers_are_called_with_values() {
    async fn projects(agent: AgentSession) -> String {
        format!("{} {} {} {}", agent.account.label, agent.scopes, agent.client, agent.resource)
    }
    struct User(u32);
    impl testing::IntoAccount for &User {
        fn into_account(self) -> tower_agent_auth::types::authorization::Account {
            testing::account(&self.0.to_string())
        }
    }
    let agent = testing::agent_session(&User(7)).scopes("a:read b:write").client("Robot").resource("https://x.example");
    let agent = agent.expires_at(Timestamp::from_millis(5)).build();
    assert_eq!(agent.expires_at, Timestamp::from_millis(5));
    assert_eq!(projects(agent).await, "7@example.com a:read b:write Robot https://x.example");
    assert_eq!(testing::owner(&User(7)).account().id.as_str(), "7");
}

#[tokio::test]
async fn g10_a_value_of_a_test_does_not_pass_a_guard() {
    let auth = auth();
    let forged = testing::agent_session("alice").scopes("projects:read").build();
    let mut request = Request::get("/projects").body(Body::empty()).unwrap();
    request.extensions_mut().insert(forged.clone());
    assert_eq!(app(&auth).oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let optional = Router::new()
        .route("/", get(async |agent: Option<AgentSession>| if agent.is_some() { "agent" } else { "nobody" }))
        .layer(auth.optional());
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    request.extensions_mut().insert(forged);
    let response = optional.oneshot(request).await.unwrap();
    assert_eq!(common::Answer::read(response).await.text, "nobody");
}

#[tokio::test]
async fn g10_the_human_of_a_test_is_signed_in_by_cookie_by_header_or_always() {
    let who = async |accounts: &TestAccounts, name: &str, value: &str| {
        let request = Request::get("/").header(name, value).body(()).unwrap().into_parts().0;
        accounts.current(&request).await.unwrap().map(|human| human.account().id.as_str().to_owned())
    };
    assert_eq!(who(&TestAccounts::by_cookie("user"), "cookie", "a=b; user=alice").await.as_deref(), Some("alice"));
    assert_eq!(who(&TestAccounts::by_cookie("user"), "user", "alice").await, None);
    assert_eq!(who(&TestAccounts::by_header("x-user"), "x-user", "bob").await.as_deref(), Some("bob"));
    assert_eq!(who(&TestAccounts::by_header("x-user"), "cookie", "x-user=bob").await, None);
    assert_eq!(who(&TestAccounts::always("eve"), "x", "y").await.as_deref(), Some("eve"));

    let auth = auth();
    let billing = |human: &str| common::browse(human, "/billing");
    assert_eq!(app(&auth).oneshot(billing("alice")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(app(&auth).oneshot(billing("")).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

// Warnings of a running service.

async fn refused(auth: &AgentAuth, app: Router, path: &str) {
    let _ = auth;
    let request = Request::builder().method(Method::GET).uri(path).body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

fn problems(audit: &Audit) -> Vec<&'static str> {
    let events = audit.events();
    events
        .iter()
        .filter_map(|event| if let Event::Misassembled { problem } = event { Some(*problem) } else { None })
        .collect()
}

#[tokio::test]
async fn g3_a_challenge_that_leads_nowhere_is_warned_about_once() {
    let audit = Audit::default();
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new()).audit(audit.clone());
    let auth = builder.accounts(TestAccounts::by_cookie("user")).build().unwrap();
    for _ in 0..3 {
        refused(&auth, routes(&auth), "/projects").await;
    }
    let [problem] = problems(&audit)[..] else { panic!("{:?}", problems(&audit)) };
    assert!(problem.contains("never mounted") && problem.contains("checks_only"), "{problem}");
}

#[tokio::test]
async fn g3_services_that_are_put_together_well_are_not_warned_about() {
    let audit = Audit::default();
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new()).audit(audit.clone());
    let issuer = builder.accounts(TestAccounts::by_cookie("user")).build().unwrap();
    refused(&issuer, app(&issuer), "/projects").await;
    // Clients look for documents that a service does not have.
    let closed = app(&issuer).fallback_service(issuer.policy(|_| None).layer(Router::<()>::new()));
    refused(&issuer, closed, "/.well-known/oauth-protected-resource/mcp").await;
    // Below a nest a guard sees the path without the prefix, and it looks like that of a document.
    let guarded = issuer.require("projects:read").layer(Router::<()>::new());
    let nested = || app(&issuer).nest_service("/mcp", guarded.clone());
    refused(&issuer, nested(), "/mcp/.well-known/oauth-protected-resource").await;
    refused(&issuer, nested(), "/mcp/auth.md").await;
    let checks = AgentAuth::builder(config().build().unwrap()).checks_only(MemoryStore::new()).audit(audit.clone());
    let checks = checks.build().unwrap();
    refused(&checks, routes(&checks), "/projects").await;
    assert_eq!(problems(&audit), [""; 0]);
}
