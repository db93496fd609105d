//! What operators see: each check and each event is counted once, under labels of a fixed few; each call of a store that has
//! to be waited for is timed; spans hold no secret.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use http::{Method, Request, StatusCode};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::json;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

mod common;
use common::{Fault, Service, bearer, browse, config};

/// What a recorder of this thread has counted since it was asked last.
struct Counted(Snapshotter);

impl Counted {
    /// By name and labels, in one text; of a histogram the number of its values.
    fn since(&self) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::new();
        for (key, _, _, value) in self.0.snapshot().into_vec() {
            let key = key.key();
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => count,
                DebugValue::Histogram(values) => values.len() as u64,
                DebugValue::Gauge(_) => panic!("there is no gauge"),
            };
            if value > 0 {
                counted.insert(format!("{}{{{}}}", key.name(), labels.join(",")), value);
            }
        }
        counted
    }

    fn checks(&self) -> BTreeMap<String, u64> {
        let counted = self.since().into_iter();
        let name =
            |key: &str| key.strip_prefix("agent_auth.checks{agent_auth.outcome=")?.strip_suffix('}').map(str::to_owned);
        counted.filter_map(|(key, count)| Some((name(&key)?, count))).collect()
    }
}

macro_rules! recorded {
    ($counted:ident) => {
        let recorder = DebuggingRecorder::new();
        let $counted = Counted(recorder.snapshotter());
        let _guard = metrics::set_default_local_recorder(&recorder);
    };
}

/// One test at a time. `tracing` caches for the whole process which spans anybody wants, and a test without a subscriber
/// that comes to a span first may win over one that has just set its own.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn each_check_is_counted_once_by_its_outcome() {
    let _alone = ALONE.lock().await;
    recorded!(counted);
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    counted.since();
    for waits in [false, true] {
        if waits {
            service.store.wait();
        }
        let mut twice = bearer(Method::GET, "/projects", &token);
        twice.headers_mut().append("authorization", "Bearer x".parse().unwrap());
        for (request, status, outcome) in [
            (bearer(Method::GET, "/projects", &token), StatusCode::OK, "agent"),
            (browse("ada", "/billing"), StatusCode::OK, "owner"),
            (Request::get("/projects").body(Body::empty()).unwrap(), StatusCode::UNAUTHORIZED, "no_credentials"),
            (bearer(Method::GET, "/projects", "nonsense"), StatusCode::UNAUTHORIZED, "invalid_token"),
            (bearer(Method::GET, "/write", &token), StatusCode::FORBIDDEN, "insufficient_scope"),
            (bearer(Method::GET, "/billing", &token), StatusCode::FORBIDDEN, "owner_only"),
            (twice, StatusCode::BAD_REQUEST, "invalid_request"),
        ] {
            assert_eq!(service.send(request).await.status, status, "{outcome}");
            assert_eq!(counted.checks(), BTreeMap::from([(outcome.to_owned(), 1)]));
        }
    }
    service.store.break_after(0, Fault::Unavailable);
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(counted.checks(), BTreeMap::from([("unavailable".to_owned(), 1)]));
}

#[tokio::test]
async fn what_became_of_requests_and_sessions_is_counted() {
    let _alone = ALONE.lock().await;
    recorded!(counted);
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let revoked = service.post("/agent/auth/revoke", &json!({ "token": token })).await;
    assert_eq!(revoked.status, StatusCode::OK);
    let events: BTreeMap<_, _> =
        counted.since().into_iter().filter(|(key, _)| key.starts_with("agent_auth.events")).collect();
    let expected = ["no_client_address", "requested", "viewed", "approved", "redeemed", "revoked"];
    let expected = expected.map(|event| (format!("agent_auth.events{{agent_auth.event={event}}}"), 1));
    assert_eq!(events, BTreeMap::from(expected));
}

#[tokio::test]
async fn e5_limits_by_source_without_an_address_are_warned_of_once() {
    let _alone = ALONE.lock().await;
    let count = |service: &Service| service.audit.names().iter().filter(|name| **name == "no_client_address").count();
    let calls = async |service: &Service, address: Option<&str>| {
        for request in [
            common::json_request("/agent/auth", "{}"),
            common::json_request("/agent-sessions/refresh", "{}"),
            common::browse("ada", "/sessions"),
            // What has no rate counts no source.
            Request::get("/auth.md").body(Body::empty()).unwrap(),
        ] {
            service
                .send(if let Some(address) = address { common::from_address(request, address) } else { request })
                .await;
        }
    };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
    let logged = tracing::subscriber::set_default(subscriber);
    let text = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let known = Service::new();
    calls(&known, Some("192.0.2.1")).await;
    let unlimited = Service::with(config().no_limits());
    calls(&unlimited, None).await;
    assert_eq!((count(&known), count(&unlimited), text()), (0, 0, String::new()));
    known.get("/auth.md").await;
    assert_eq!(count(&known), 0);
    let some = [
        config(),
        config().no_limits().limits(|limits| limits.pending_per_source = Some(1)),
        config().no_limits().limits(|limits| limits.rates.pages = std::num::NonZeroU32::new(1)),
    ];
    for (warned, config) in some.into_iter().enumerate() {
        let service = Service::with(config);
        for _ in 0..3 {
            calls(&service, None).await;
        }
        assert_eq!(count(&service), 1);
        let lines = text();
        assert_eq!(lines.lines().count(), warned + 1, "{lines}");
        assert!(lines.contains("WARN tower_agent_auth::observe: requests have no client address"), "{lines}");
        assert!(lines.contains("`peer_address`"), "{lines}");
    }
    drop(logged);
}

#[tokio::test]
async fn a_thousand_hostile_requests_add_no_label() {
    let _alone = ALONE.lock().await;
    recorded!(counted);
    let service = Service::with(config().no_limits());
    let mut keys = BTreeSet::new();
    for number in 0..1_000 {
        let path = format!("/projects/{number}?access_token={number}");
        service.send(bearer(Method::GET, "/projects", &format!("aas_{number}"))).await;
        service.send(bearer(Method::POST, &path, &format!("x{number}"))).await;
        service.post("/agent/auth/claim/complete", &json!({ "claim_token": format!("aac_{number}") })).await;
        keys.extend(counted.since().into_keys());
    }
    assert!(keys.len() < 12, "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains(|character: char| character.is_ascii_digit())), "{keys:?}");
}

/// What is sent in an OAuth login, good or bad, adds no label.
#[tokio::test]
async fn r8_no_label_has_anything_of_an_oauth_request() {
    use common::oauth::{Login, form, oauth, poll, start_device};
    let _alone = ALONE.lock().await;
    recorded!(counted);
    let service = Service::with(oauth().no_limits());
    let mut keys = BTreeSet::new();
    for number in 0..100 {
        let mut login = Login::named(&service, &format!("Host {number}")).await;
        login.verifier = format!("{number:043}");
        let code = login.code(&service).await;
        login.redeem(&service, &format!("{code}{number}"), &[]).await;
        login.redeem(&service, &code, &[]).await;
        login.refresh(&service, &format!("aar_{number}"), &[]).await;
        start_device(&service, &login, &[("scope", &format!("scope:{number}"))]).await;
        poll(&service, &login, &format!("aac_{number}")).await;
        service.send(form("/oauth2/revoke", &[("token", &format!("aas_{number}"))])).await;
        service.send(browse("ada", &login.url(&[("state", &format!("{number}")), ("prompt", "none")]))).await;
        keys.extend(counted.since().into_keys());
    }
    assert!((8..24).contains(&keys.len()), "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains(|character: char| character.is_ascii_digit())), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_is_timed_when_it_answers_fails_and_hangs() {
    let _alone = ALONE.lock().await;
    recorded!(counted);
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    service.store.wait();
    counted.since();
    for (fault, kind) in [(None, ""), (Some(Fault::Corrupt), "corrupt"), (Some(Fault::Hang), "unavailable")] {
        if let Some(fault) = fault {
            service.store.break_after(0, fault);
        }
        let begun = tokio::time::Instant::now();
        service.get_as("/projects", &token).await;
        let failed = if kind.is_empty() { String::new() } else { format!(",error.type={kind}") };
        let key = format!("agent_auth.store.duration{{agent_auth.store.call=find_session{failed}}}");
        assert_eq!(counted.since().get(&key), Some(&1), "{key}");
        let hung = begun.elapsed() >= Duration::from_secs(2);
        assert_eq!(hung, kind == "unavailable", "{key}");
        service.store.mend();
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn r8_spans_say_what_is_waited_for_and_no_secret() {
    let _alone = ALONE.lock().await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_span_events(FmtSpan::FULL)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let service = Service::new();
    let pending = service.register(&["projects:read"]).await;
    service.approve("ada", &pending, &["projects:read"]).await;
    let token = service.complete(&pending).await.json["access_token"].as_str().unwrap().to_owned();
    service.store.wait();
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::OK);
    service.store.break_after(0, Fault::Corrupt);
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for expected in [
        r#"agent_auth.endpoint{http.request.method=POST url.path="/agent/auth"}:agent_auth.store{agent_auth.store.call="create_authorization"}"#,
        r#"agent_auth.store{agent_auth.store.call="redeem"}"#,
        r#"agent_auth.store{agent_auth.store.call="find_session"}"#,
        r#"agent_auth.store{agent_auth.store.call="find_session" error.type="corrupt" otel.status_code="ERROR"}"#,
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    for secret in [&token, &pending.claim_token] {
        let random = &secret[4..];
        assert!((0..random.len() - 8).all(|start| !text.contains(&random[start..start + 8])), "a secret in\n{text}");
    }
}

#[tokio::test]
async fn a_check_that_is_answered_at_once_has_no_span_and_no_time() {
    let _alone = ALONE.lock().await;
    recorded!(counted);
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    counted.since();
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_span_events(FmtSpan::FULL)
        .with_writer(log.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::OK);
    drop(guard);
    assert!(log.0.lock().unwrap().is_empty());
    assert_eq!(counted.since(), BTreeMap::from([("agent_auth.checks{agent_auth.outcome=agent}".to_owned(), 1)]));
}
