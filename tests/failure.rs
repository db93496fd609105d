//! What happens when a part fails: 503 and nothing else, nothing half done, one request affected (security rows R91, R92, R103).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::{sync::oneshot, time::Instant};
use tower_agent_auth::store::SessionRecordStore;

mod common;
use common::{Answer, Fault, Form, Pending, Service, account, bearer, browse, config, json_request};

fn assert_unavailable(answer: &Answer, what: &str) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}: {}", answer.text);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=5).contains(&wait), "{what}: {wait}");
    assert!(!answer.headers.contains_key("www-authenticate"), "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    if answer.header("content-type") == "application/json" {
        assert_eq!(answer.error(), "temporarily_unavailable", "{what}");
    }
    assert!(!answer.text.contains("connection refused"), "{what}: the cause is the host's to know");
}

/// A service with an approved authorization request, a pending one that is open, and a live session.
struct Stage {
    service: Service,
    approved: Pending,
    pending: Pending,
    form: Form,
    sessions: Form,
    token: String,
}

impl Stage {
    async fn set() -> Self {
        let service = Service::with(config().no_limits());
        let token = service.token(&["projects:read"]).await;
        let approved = service.register(&["projects:read"]).await;
        service.approve("ada", &approved, &["projects:read"]).await;
        let pending = service.register(&["projects:read"]).await;
        let form = service.open("ada", &pending).await;
        let sessions = service.send(browse("ada", "/sessions")).await.form("ada");
        Self { service, approved, pending, form, sessions, token }
    }

    /// Every request that asks the store, with how many calls it may make.
    fn requests(&self) -> Vec<(&'static str, Request<Body>, usize)> {
        let claim = json!({ "claim_token": self.approved.claim_token }).to_string();
        let approve = [("decision", "approve"), ("scope", "projects:read")];
        vec![
            ("check", bearer(http::Method::GET, "/projects", &self.token), 1),
            ("owner-only", bearer(http::Method::GET, "/billing", &self.token), 1),
            ("optional", bearer(http::Method::GET, "/optional", &self.token), 1),
            ("register", json_request("/agent/auth", "{\"type\":\"user_claimed\"}"), 1),
            ("claim", json_request("/agent/auth/claim", &claim), 1),
            ("complete", json_request("/agent/auth/claim/complete", &claim), 2),
            ("revoke", json_request("/agent/auth/revoke", &json!({ "token": self.token }).to_string()), 1),
            ("page", browse("ada", &self.pending.path()), 1),
            ("approve", self.form.post(&self.pending.path(), &approve), 2),
            ("deny", self.form.post(&self.pending.path(), &[("decision", "deny")]), 2),
            ("sessions", browse("ada", "/sessions"), 1),
            ("revoke all", self.sessions.post("/sessions", &[("decision", "revoke_all")]), 1),
        ]
    }
}

#[tokio::test(start_paused = true)]
async fn r91_a_store_that_fails_at_any_call_is_503_and_nothing_has_changed() {
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::Panic, Fault::Hang] {
        for index in 0..Stage::set().await.requests().len() {
            for call in 0..2 {
                let stage = Stage::set().await;
                let (what, request, calls) = stage.requests().remove(index);
                if call >= calls {
                    continue;
                }
                let what = format!("{what}, {fault:?} at call {call}");
                let handled = stage.service.handled();
                stage.service.store.break_after(call, fault);
                let answer = stage.service.send(request).await;
                assert_unavailable(&answer, &what);
                assert_eq!(stage.service.handled(), handled, "{what}");
                assert!(stage.service.audit.names().contains(&"unavailable"), "{what}");
                // Everything is as before.
                stage.service.store.mend();
                assert_eq!(stage.service.get_as("/projects", &stage.token).await.status, StatusCode::OK, "{what}");
                assert_eq!(stage.service.complete(&stage.pending).await.error(), "authorization_pending", "{what}");
                assert_eq!(stage.service.complete(&stage.approved).await.status, StatusCode::OK, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r92_a_store_that_hangs_is_503_at_its_deadline_and_no_task_is_left() {
    let patient = || config().no_limits();
    let hasty = || {
        patient().limits(|limits| {
            limits.store_read = Duration::from_millis(50);
            limits.store_write = Duration::from_millis(200);
        })
    };
    for (config, read, write) in [(patient(), 2_000, 5_000), (hasty(), 50, 200)] {
        let mut stage = Stage::set().await;
        stage.service = stage.service.again(config);
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for (what, request, _) in stage.requests() {
            let writes = matches!(what, "register" | "revoke" | "approve" | "deny" | "revoke all");
            // Whether the page is the right one, and whether the account may decide.
            let calls_before_it = if matches!(what, "approve" | "deny") { 2 } else { 0 };
            stage.service.store.break_after(calls_before_it, Fault::Hang);
            let begun = Instant::now();
            let answer = stage.service.send(request).await;
            assert_unavailable(&answer, what);
            let expected = Duration::from_millis(if writes { write } else { read });
            assert_eq!(begun.elapsed().as_millis(), expected.as_millis(), "{what}");
        }
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks);
    }
}

#[tokio::test(start_paused = true)]
async fn last_uses_are_written_every_few_seconds_and_when_the_service_stops() {
    let service = Service::with(config().no_limits());
    let token = service.token(&["projects:read"]).await;
    let (served, stopped) = oneshot::channel::<()>();
    let auth = service.auth.clone();
    let housekeeping = tokio::spawn(async move { auth.housekeeping(async { drop(stopped.await) }).await });
    let last_use = async || {
        let page = service.auth.ceremony().unwrap();
        let listed = service.store.memory.list_sessions(&account("ada").id, None, 9).await.unwrap();
        (page.now(), listed[0].last_use.map(|last| last.at))
    };
    let use_it = async || assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::OK);
    use_it().await;
    tokio::time::sleep(Duration::from_millis(4_900)).await;
    assert_eq!(last_use().await.1, None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (now, written) = last_use().await;
    assert_eq!(written, Some(now));

    service.clock.advance(common::SECOND * 61);
    service.store.break_after(0, Fault::Unavailable);
    service.store.mend();
    use_it().await;
    drop(served);
    housekeeping.await.unwrap();
    let (now, written) = last_use().await;
    assert_eq!(written, Some(now), "written at the end");
}

#[tokio::test(start_paused = true)]
async fn r99_housekeeping_forgets_what_ended_long_ago_and_goes_on_after_a_failure() {
    const DAY: Duration = Duration::from_secs(86_400);
    let service = Service::with(config().no_limits().lifetimes(|lifetimes| lifetimes.history = 10 * DAY));
    for _ in 0..501 {
        service.session("ada", &["projects:read"]).await;
    }
    let left = async || service.store.memory.list_sessions(&account("ada").id, None, 999).await.unwrap().len();
    let auth = service.auth.clone();
    let housekeeping = tokio::spawn(async move { auth.housekeeping(std::future::pending()).await });
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(left().await, 501);
    // The refresh token lived for 30 days.
    service.clock.advance(40 * DAY);
    service.store.break_after(0, Fault::Unavailable);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(left().await, 501);
    assert!(service.audit.names().contains(&"unavailable"));
    service.store.mend();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(left().await, 0);
    housekeeping.abort();
}

#[tokio::test]
async fn r91_documents_refusals_and_other_routes_go_on() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    service.store.break_after(0, Fault::Unavailable);
    for path in
        ["/auth.md", "/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server", "/health"]
    {
        assert_eq!(service.get_as(path, &token).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(service.get("/projects").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(service.get_as("/projects", "malformed").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(service.get("/optional").await.status, StatusCode::OK);
    service.store.mend();
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r91_accounts_that_fail_are_503_and_never_a_pass() {
    for panics in [false, true] {
        let stage = Stage::set().await;
        let service = &stage.service;
        let flag = if panics { &service.accounts.panics } else { &service.accounts.fails };
        flag.store(true, Ordering::SeqCst);
        assert_unavailable(&service.send(browse("ada", "/billing")).await, "owner-only");
        assert_unavailable(&service.send(browse("ada", "/sessions")).await, "sessions");
        assert_unavailable(&service.send(browse("ada", &stage.pending.path())).await, "page");
        assert_unavailable(&service.complete(&stage.approved).await, "complete");
        assert_eq!(
            service.get_as("/projects", &stage.token).await.status,
            StatusCode::OK,
            "a token check asks no account"
        );
        flag.store(false, Ordering::SeqCst);
        assert_eq!(service.complete(&stage.approved).await.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r103_a_panic_concerns_one_request() {
    let service = Arc::new(Service::with(config().no_limits()));
    let token = service.token(&["projects:read"]).await;
    service.store.wait();
    let checks: Vec<_> = (0..100)
        .map(|index| {
            let (service, token) = (Arc::clone(&service), token.clone());
            tokio::spawn(async move {
                if index == 50 {
                    service.accounts.panics.store(true, Ordering::SeqCst);
                    let answer = service.send(browse("ada", "/billing")).await;
                    service.accounts.panics.store(false, Ordering::SeqCst);
                    return answer.status;
                }
                service.get_as("/projects", &token).await.status
            })
        })
        .collect();
    let mut unavailable = 0;
    for check in checks {
        match check.await.unwrap() {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE => unavailable += 1,
            status => panic!("{status}"),
        }
    }
    assert_eq!(unavailable, 1);
    assert_eq!(service.session("ada", &["projects:read"]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn last_uses_that_could_not_be_written_are_kept_for_the_next_time() {
    let service = Service::with(config().no_limits());
    let session = service.session("ada", &["projects:read"]).await;
    service.clock.advance(common::SECOND);
    service.get_as("/projects", session.json["access_token"].as_str().unwrap()).await;
    service.store.break_after(0, Fault::Unavailable);
    assert!(service.auth.write_uses().await.is_err());
    service.store.mend();
    service.auth.write_uses().await.unwrap();
    let page = service.auth.ceremony().unwrap().sessions(&account("ada").id, None).await.unwrap();
    assert_eq!(page.sessions[0].last_use.unwrap().at, common::START.after(common::SECOND));
}

#[tokio::test]
async fn a_use_within_a_minute_of_the_last_costs_no_write() {
    let service = Service::with(config().no_limits());
    let token = service.token(&["projects:read"]).await;
    let uses = async |seconds: u32| {
        service.clock.advance(common::SECOND * seconds);
        service.get_as("/projects", &token).await;
        let before = service.store.writes();
        service.auth.write_uses().await.unwrap();
        service.store.writes() - before
    };
    assert_eq!([uses(0).await, uses(59).await, uses(1).await, uses(1).await], [1, 0, 1, 0]);
}
