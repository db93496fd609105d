//! The ceremony over the `agent_auth` dialect: register, ask, complete, revoke (security rows R10 to R13, R39 to R47, R50,
//! R54, R83).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_agent_auth::{
    AgentAuth,
    accounts::SignedIn,
    ceremony::{CeremonyError, Decision, Issued, Refreshing, Request as AccessRequest},
    store::{AuthorizationKey, AuthorizationStore, MemoryStore, SessionRecordStore},
    types::{
        client::RegisteredClient,
        clock::ManualClock,
        id::{AuthorizationRequestId, ClientId},
        random::{OsRandom, Random, RandomError},
        session::Redeemer,
        text::HumanText,
    },
};

mod common;
use common::{
    Answer, Dripping, Fault, ORIGIN, SECOND, Service, Silent, bearer, browse, config, from_address, json_request,
};

fn keys(json: &Value) -> BTreeSet<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_wire_is_the_one_that_is_published() {
    let service = Service::new();
    let body = json!({ "type": "user_claimed", "claim_method": "google_oauth", "requested_credential_type": "access_token",
        "requested_scopes": ["projects:read", "analytics:read"], "client_name": "Example Agent" });
    let registered = service.post("/agent/auth", &body).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    let id = registered.json["registration_id"].as_str().unwrap();
    let claim_token = registered.json["claim_token"].as_str().unwrap();
    assert_eq!(
        registered.json,
        json!({
            "registration_id": id, "registration_type": "user_claimed", "status": "pending",
            "claim_url": format!("{ORIGIN}/agent/auth/approve/{id}"), "claim_token": claim_token,
            "check_phrase": registered.json["check_phrase"],
            "claim_token_expires": "2026-11-24T01:20:00Z", "expires_in": 600, "interval": 5,
            "scopes": ["analytics:read", "projects:read"],
        })
    );
    assert!(
        id.starts_with("reg_")
            && claim_token.starts_with("clm_")
            && !registered.json["claim_url"].as_str().unwrap().contains(claim_token)
    );

    let ask = async || service.post("/agent/auth/claim", &json!({ "claim_token": claim_token })).await.json;
    assert_eq!(ask().await, json!({ "registration_id": id, "status": "pending", "expires_in": 600, "interval": 5 }));
    let pending = common::Pending {
        id: id.into(),
        claim_token: claim_token.into(),
        claim_url: registered.json["claim_url"].as_str().unwrap().into(),
    };
    service.approve("ada", &pending, &["projects:read"]).await;
    assert_eq!(ask().await["status"], "approved");

    let completed = service.complete(&pending).await;
    assert_eq!(completed.status, StatusCode::OK);
    let text = |field: &str| completed.json[field].as_str().unwrap();
    assert!(
        text("access_token").starts_with("aas_")
            && text("access_token").len() <= 55
            && text("refresh_token").starts_with("aar_")
    );
    assert_eq!(
        completed.json,
        json!({
            "registration_id": id, "status": "claimed", "credential_type": "access_token",
            "credential": text("access_token"), "credential_expires": "2026-11-24T02:10:00Z", "access_token": text("access_token"),
            "token_type": "Bearer", "expires_in": 3600, "refresh_token": text("refresh_token"),
            "refresh_expires": "2026-12-24T01:10:00Z", "scopes": ["projects:read"], "session_id": text("session_id"),
            "account": { "id": "acct_ada", "email": "ada@example.com" },
        })
    );
    assert_eq!(ask().await, json!({ "registration_id": id, "status": "claimed", "expires_in": 0, "interval": 5 }));
    assert_eq!(service.get_as("/projects", text("access_token")).await.json["session"], text("session_id"));
}

#[tokio::test]
async fn r39_bad_bodies_are_refused_by_name_and_keep_nothing() {
    let service = Service::new();
    let deep = format!("{{\"type\":\"user_claimed\",\"x\":{}{}}}", "[".repeat(8_000), "]".repeat(8_000));
    let rather_deep = format!("{{\"type\":\"user_claimed\",\"x\":{}{}}}", "[".repeat(20), "]".repeat(20));
    let with = |field: &str, value: &str| format!("{{\"type\":\"user_claimed\",\"{field}\":{value}}}");
    let long = format!("\"{}\"", "x".repeat(65));
    let cases: Vec<(String, &str, &str)> = vec![
        (String::new(), "invalid_request", "not JSON"),
        ("{".into(), "invalid_request", "not JSON"),
        ("[]".into(), "invalid_request", "object"),
        ("null".into(), "invalid_request", "object"),
        ("\"x\"".into(), "invalid_request", "object"),
        ("{}{}".into(), "invalid_request", "not JSON"),
        ("\u{feff}{}".into(), "invalid_request", "not JSON"),
        ("{\"type\":\"user_claimed\",\"n\":1e400}".into(), "invalid_request", "JSON"),
        ("{\"type\":\"\\ud800\"}".into(), "invalid_request", "JSON"),
        (deep, "invalid_request", "JSON"),
        (rather_deep, "invalid_request", "deep"),
        ("{\"type\":\"user_claimed\",\"type\":\"anonymous\"}".into(), "invalid_request", "twice"),
        (with("client_name\":\"a\",\"client_name", "\"b\""), "invalid_request", "twice"),
        ("{}".into(), "invalid_request", "`type`"),
        ("{\"type\":null}".into(), "invalid_request", "`type`"),
        ("{\"type\":5}".into(), "invalid_request", "`type`"),
        ("{\"type\":\"other\"}".into(), "invalid_request", "`type`"),
        ("{\"type\":\"anonymous\"}".into(), "anonymous_not_enabled", "`type`"),
        ("{\"type\":\"identity_assertion\"}".into(), "issuer_not_enabled", "`type`"),
        (
            "{\"type\":\"identity_assertion\",\"assertion_type\":\"verified_email\"}".into(),
            "verified_email_not_enabled",
            "`type`",
        ),
        (with("requested_credential_type", "\"api_key\""), "invalid_request", "`requested_credential_type`"),
        (with("requested_scopes", "\"projects:read\""), "invalid_request", "`requested_scopes`"),
        (with("requested_scopes", "[1]"), "invalid_request", "`requested_scopes`"),
        (with("requested_scopes", "[\"admin\"]"), "invalid_scope", "`requested_scopes`"),
        (with("requested_scopes", "[\"*\"]"), "invalid_scope", "`requested_scopes`"),
        (with("requested_scopes", "[\"projects:read \"]"), "invalid_scope", "`requested_scopes`"),
        (with("requested_scopes", "[\"PROJECTS:READ\"]"), "invalid_scope", "`requested_scopes`"),
        (with("client_name", "{}"), "invalid_request", "`client_name`"),
        (with("client_name", "\"\""), "invalid_request", "`client_name`"),
        (with("client_name", "\"evil\\u202egpj.exe\""), "invalid_request", "`client_name`"),
        (with("client_name", "\"\\u001b[2J\\nERROR fake\""), "invalid_request", "`client_name`"),
        (with("client_name", &long), "invalid_request", "`client_name`"),
        (with("label", "[]"), "invalid_request", "`label`"),
        (with("label", "\"a\\u200bb\""), "invalid_request", "`label`"),
        (with("reason", "[]"), "invalid_request", "`reason`"),
        (with("reason", "\"\""), "invalid_request", "`reason`"),
        (with("reason", "\"a\\u200bb\""), "invalid_request", "`reason`"),
        (with("reason", &long), "invalid_request", "`reason`"),
        (with("claim_method", "\"\\u0000\""), "invalid_request", "`claim_method`"),
    ];
    for (body, code, word) in cases {
        let answer = service.send(json_request("/agent/auth", &body)).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, code), "{body:.80} -> {}", answer.text);
        assert!(answer.json["message"].as_str().unwrap().contains(word), "{body:.80} -> {}", answer.text);
        assert_eq!(answer.json["message"], answer.json["error_description"]);
    }
    for body in [&b"{\"type\":\"user_claimed\",\"client_name\":\"\xff\"}"[..], &[0xff; 32]] {
        let request = Request::post("/agent/auth").header("content-type", "application/json");
        let answer = service.send(request.body(Body::from(body.to_vec())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!((service.store.calls(), service.audit.names()), (0, vec!["no_client_address"]));
}

#[tokio::test]
async fn r39_the_media_type_is_application_json_alone() {
    let service = Service::new();
    let body = "{\"type\":\"user_claimed\"}";
    let send = async |content_types: &[&str]| {
        let mut request = Request::post("/agent/auth");
        for content_type in content_types {
            request = request.header("content-type", *content_type);
        }
        service.send(request.body(Body::from(body)).unwrap()).await.status
    };
    for good in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(send(&[good]).await, StatusCode::CREATED, "{good}");
    }
    let writes = service.store.writes();
    for bad in [
        &[][..],
        &["text/plain"],
        &["application/json, text/plain"],
        &["application/jsonx"],
        &["application/json", "application/json"],
        &["\u{e9}"],
    ] {
        assert_eq!(send(bad).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{bad:?}");
    }
    assert_eq!(service.store.writes(), writes);
}

#[tokio::test]
async fn r40_a_body_beyond_16_kib_is_refused_while_it_is_read() {
    let service = Service::new();
    // Announced: refused before a byte is read.
    let announced = json_request("/agent/auth", &"x".repeat(17_000));
    assert_eq!(service.send(announced).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Not announced: refused after 16 KiB and a frame.
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let body = Dripping { left: 20 << 20, sent: sent.clone() };
    let request = Request::post("/agent/auth").header("content-type", "application/json").body(body).unwrap();
    let inner = tower::service_fn(|_: Request<Dripping>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
    });
    let response = service.auth.endpoints().layer(inner).oneshot(request).await.unwrap();
    let answer = Answer::read(response).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"));
    assert!(sent.load(Ordering::SeqCst) <= (16 << 10) + 1024);
    assert_eq!(service.store.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn r40_a_body_that_does_not_come_is_given_up_after_ten_seconds() {
    let service = Service::new();
    let request =
        Request::post("/agent/auth").header("content-type", "application/json").body(Body::new(Silent)).unwrap();
    let start = tokio::time::Instant::now();
    let answer = service.send(request).await;
    assert_eq!((answer.status, start.elapsed().as_secs()), (StatusCode::REQUEST_TIMEOUT, 10));
}

/// Creating a request deletes old ones about once a minute. The agent does not wait for that.
#[tokio::test]
async fn an_agent_does_not_wait_for_the_deletion_of_old_requests() {
    let service = Service::new();
    let old = service.register(&["projects:read"]).await;
    let is_there = async || {
        let id = AuthorizationRequestId::parse(&old.id).unwrap();
        service.store.memory.find_authorization(&AuthorizationKey::Id(id)).await.unwrap().is_some()
    };
    service.clock.advance(86_400 * SECOND);
    service.store.break_after(1, Fault::Hang);
    let asked = std::time::Instant::now();
    service.register(&["projects:read"]).await;
    assert!(asked.elapsed() < std::time::Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(is_there().await);

    service.store.mend();
    service.clock.advance(61 * SECOND);
    service.register(&["projects:read"]).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!is_there().await, "and it is deleted");
}

#[tokio::test]
async fn r42_requests_of_one_address_and_in_all_are_capped() {
    let service =
        Service::with(config().limits(|limits| (limits.pending_per_source, limits.pending_total) = (Some(2), Some(3))));
    let register = async |address: &str| {
        let request = json_request("/agent/auth", "{\"type\":\"user_claimed\"}");
        service.send(from_address(request, address)).await
    };
    assert_eq!(register("2001:db8::1").await.status, StatusCode::CREATED);
    assert_eq!(register("2001:db8::2").await.status, StatusCode::CREATED);
    let capped = register("2001:db8::3").await;
    assert_eq!((capped.status, capped.error()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(capped.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(register("192.0.2.1").await.status, StatusCode::CREATED);
    // A newcomer is let in, and the oldest request that no human has opened gives way.
    assert_eq!(register("192.0.2.2").await.status, StatusCode::CREATED);
    assert_eq!(service.audit.names(), ["requested", "requested", "requested", "displaced", "requested"]);
    // What is over makes room.
    service.clock.advance(600 * SECOND);
    assert_eq!(register("192.0.2.2").await.status, StatusCode::CREATED);
    assert_eq!(service.audit.names().iter().filter(|name| **name == "displaced").count(), 1);
    let unlimited = Service::with(config().limits(|limits| limits.pending_total = Some(1)).no_limits());
    for _ in 0..50 {
        let request = from_address(json_request("/agent/auth", "{\"type\":\"user_claimed\"}"), "192.0.2.1");
        assert_eq!(unlimited.send(request).await.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn e14_newcomers_are_let_in_when_the_cap_is_filled_by_many_sources() {
    let service = Service::with(config().limits(|limits| {
        (limits.pending_per_source, limits.pending_total) = (Some(20), Some(100));
        limits.rates.authorization_requests = None;
    }));
    let register = async |address: &str| {
        let answer =
            service.send(from_address(json_request("/agent/auth", "{\"type\":\"user_claimed\"}"), address)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{address} {}", answer.text);
        let text = |field: &str| answer.json[field].as_str().unwrap().to_owned();
        common::Pending { id: text("registration_id"), claim_token: text("claim_token"), claim_url: text("claim_url") }
    };
    // One waits for its human, and one has been opened by hers.
    let waiting = register("198.51.100.1").await;
    let opened = register("198.51.100.2").await;
    let form = service.open("ada", &opened).await;
    // They are older than all that follow.
    service.clock.advance(SECOND);
    for source in 0..510 {
        register(&format!("203.0.{}.{}", source / 250, source % 250)).await;
    }
    let newcomer = register("198.51.100.3").await;
    service.approve("bob", &newcomer, &["projects:read"]).await;
    assert_eq!(service.complete(&newcomer).await.status, StatusCode::OK);
    let approve = form.post(&opened.path(), &[("decision", "approve"), ("scope", "projects:read")]);
    assert_eq!(service.send(approve).await.status, StatusCode::SEE_OTHER);
    assert_eq!(service.complete(&opened).await.status, StatusCode::OK, "what a human has opened stays");
    // The one that gave way has expired, for its agent and its human.
    assert_eq!(service.complete(&waiting).await.error(), "claim_expired");
    assert_eq!(service.send(browse("ada", &waiting.path())).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn e14_the_cap_refuses_when_humans_have_opened_all() {
    let service = Service::with(config().limits(|limits| limits.pending_total = Some(3)));
    let mut paths = Vec::new();
    for _ in 0..3 {
        let pending = service.register(&[]).await;
        service.open("ada", &pending).await;
        paths.push(pending.path());
    }
    let full = service.post("/agent/auth", &json!({ "type": "user_claimed" })).await;
    assert_eq!((full.status, full.error()), (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
    assert!(full.header("retry-after").parse::<u64>().unwrap() > 0);
    for path in paths {
        assert_eq!(service.send(browse("ada", &path)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn r44_each_state_answers_as_it_must_and_never_moves_back() {
    let service = Service::new();
    let complete = async |pending: &common::Pending| {
        let answer = service.complete(pending).await;
        (answer.status.as_u16(), answer.error().to_owned())
    };
    let status = async |pending: &common::Pending| {
        service.post("/agent/auth/claim", &json!({ "claim_token": pending.claim_token })).await.json["status"].clone()
    };
    let pending = service.register(&[]).await;
    assert_eq!(complete(&pending).await, (400, "authorization_pending".into()));

    let denied = service.register(&[]).await;
    let form = service.open("ada", &denied).await;
    assert_eq!(service.send(form.post(&denied.path(), &[("decision", "deny")])).await.status, StatusCode::SEE_OTHER);
    assert_eq!((status(&denied).await, complete(&denied).await), (json!("denied"), (403, "access_denied".into())));
    let late = form.post(&denied.path(), &[("decision", "approve"), ("scope", "projects:read")]);
    assert_eq!(service.send(late).await.status, StatusCode::CONFLICT);

    let claimed = service.register(&[]).await;
    service.approve("ada", &claimed, &["projects:read"]).await;
    assert_eq!(service.complete(&claimed).await.status, StatusCode::OK);
    assert_eq!(
        (status(&claimed).await, complete(&claimed).await),
        (json!("claimed"), (409, "previously_claimed".into()))
    );

    let revoked = service.register(&[]).await;
    service.approve("ada", &revoked, &["projects:read"]).await;
    let sessions = service.send(common::browse("ada", "/sessions")).await.form("ada");
    assert_eq!(
        service.send(sessions.post("/sessions", &[("decision", "revoke_all")])).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!((status(&revoked).await, complete(&revoked).await), (json!("revoked"), (403, "access_denied".into())));

    let approved = service.register(&[]).await;
    service.approve("ada", &approved, &["projects:read"]).await;
    service.clock.advance(600 * SECOND);
    for over in [&pending, &approved] {
        assert_eq!((status(over).await, complete(over).await), (json!("expired"), (410, "claim_expired".into())));
    }
    assert_eq!(status(&claimed).await, "claimed");
}

#[tokio::test]
async fn r13_a_session_and_a_registration_end_at_the_exact_instant() {
    let service = Service::new();
    let ms = std::time::Duration::from_millis(1);
    let pending = service.register(&["projects:read"]).await;
    service.approve("ada", &pending, &["projects:read"]).await;
    service.clock.advance(600 * SECOND - ms);
    let answer = service.complete(&pending).await;
    assert_eq!(answer.status, StatusCode::OK);
    let token = answer.json["access_token"].as_str().unwrap().to_owned();
    service.clock.advance(3_600 * SECOND - ms);
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::OK);
    service.clock.advance(ms);
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::UNAUTHORIZED);
    service.clock.advance(ms);
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn r12_what_is_left_is_rounded_down() {
    let service = Service::new();
    let pending = service.register(&[]).await;
    service.clock.advance(600 * SECOND - std::time::Duration::from_millis(1_999));
    let status = service.post("/agent/auth/claim", &json!({ "claim_token": pending.claim_token })).await;
    assert_eq!(status.json["expires_in"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r45_of_64_racing_agents_exactly_one_completes() {
    for _ in 0..20 {
        let service = Arc::new(Service::new());
        let pending = service.register(&["projects:read"]).await;
        service.approve("ada", &pending, &["projects:read"]).await;
        let racing: Vec<_> = (0..64)
            .map(|_| {
                let (service, pending) = (Arc::clone(&service), pending.clone());
                tokio::spawn(async move { service.complete(&pending).await })
            })
            .collect();
        let mut tokens = Vec::new();
        for racer in racing {
            let answer = racer.await.unwrap();
            match answer.status {
                StatusCode::OK => tokens.push(answer.json["access_token"].as_str().unwrap().to_owned()),
                status => assert_eq!((status, answer.error()), (StatusCode::CONFLICT, "previously_claimed")),
            }
        }
        assert_eq!(tokens.len(), 1);
        assert_eq!(service.get_as("/projects", &tokens[0]).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn r46_asking_too_often_slows_an_agent_down() {
    let service = Service::new();
    let pending = service.register(&[]).await;
    let ask = async || service.post("/agent/auth/claim", &json!({ "claim_token": pending.claim_token })).await;
    assert_eq!(ask().await.json["interval"], 5);
    for interval in [10, 15] {
        service.clock.advance(SECOND);
        let answer = ask().await;
        assert_eq!((answer.status, answer.error()), (StatusCode::TOO_MANY_REQUESTS, "slow_down"));
        assert_eq!(answer.json["interval"], interval);
        assert_eq!(answer.header("retry-after"), interval.to_string());
    }
    service.clock.advance(15 * SECOND);
    assert_eq!(
        ask().await.json,
        json!({ "registration_id": pending.id, "status": "pending", "expires_in": 583, "interval": 15 })
    );
    // To complete too early is to ask as well.
    assert_eq!(service.complete(&pending).await.error(), "slow_down");
    // Once the human has decided, nobody need wait.
    service.approve("ada", &pending, &["projects:read"]).await;
    assert_eq!(ask().await.json["status"], "approved");
    assert_eq!(service.complete(&pending).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r47_asking_reveals_nothing_early_and_consumes_nothing() {
    let service = Service::with(config().no_limits());
    let pending = service.register(&[]).await;
    let ask = async |token: &str| service.post("/agent/auth/claim", &json!({ "claim_token": token })).await;
    let expected = BTreeSet::from(["registration_id", "status", "expires_in", "interval"]);
    assert_eq!(keys(&ask(&pending.claim_token).await.json), expected);
    assert_eq!(ask(&pending.id).await.error(), "invalid_claim_token");
    service.approve("ada", &pending, &["projects:read"]).await;
    let writes = service.store.writes();
    for _ in 0..1_000 {
        assert_eq!(keys(&ask(&pending.claim_token).await.json), expected);
    }
    assert_eq!(service.store.writes(), writes);
    assert_eq!(service.complete(&pending).await.status, StatusCode::OK);
    assert_eq!(keys(&ask(&pending.claim_token).await.json), expected);
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let answer = service.send(bearer(method, "/agent/auth/claim", "x")).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    }
}

#[tokio::test]
async fn r50_unknown_and_malformed_are_told_apart_by_nobody() {
    let service = Service::new();
    let other = Service::new().register(&[]).await.claim_token;
    for path in ["/agent/auth/claim", "/agent/auth/claim/complete"] {
        let mut answers: Vec<_> = Vec::new();
        for token in [&other, "clm_", "x", &format!("clm_{}", "0".repeat(49))] {
            let answer = service.post(path, &json!({ "claim_token": token })).await;
            assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "invalid_claim_token"));
            answers.push((format!("{:?}", answer.headers), answer.text));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1);
    }
}

/// What a browser says of a page of another origin.
const PAGES: [(&str, &str); 4] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
    ("origin", "http://localhost:6274"),
    ("origin", "null"),
];

/// The endpoints that need no cookie, and the methods that a preflight names.
const OPEN: [(&str, &str); 10] = [
    ("/agent/auth", "POST"),
    ("/agent/auth/claim", "POST"),
    ("/agent/auth/claim/complete", "POST"),
    ("/agent/auth/revoke", "POST"),
    ("/agent-sessions/start", "POST"),
    ("/agent-sessions/poll", "POST"),
    ("/agent-sessions/exchange", "POST"),
    ("/agent-sessions/refresh", "POST"),
    ("/agent-sessions/revoke", "POST"),
    ("/account/agent-sessions", "GET, HEAD"),
];

#[tokio::test]
async fn e11_what_needs_no_cookie_is_open_to_pages_of_any_origin() {
    let service = Service::with(config().no_limits());
    for (path, methods) in OPEN {
        let preflight = Request::options(path)
            .header("origin", "http://localhost:6274")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, content-type");
        let preflight = service.send(preflight.body(Body::empty()).unwrap()).await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (StatusCode::NO_CONTENT, "*"));
        assert_eq!(preflight.header("access-control-allow-methods"), methods, "{path}");
        assert!(preflight.header("access-control-allow-headers").contains("authorization"), "{path}");
        assert!(!preflight.headers.contains_key("access-control-allow-credentials"), "{path}");
        // What is no preflight is a method like any other.
        let options = service.send(Request::options(path).body(Body::empty()).unwrap()).await;
        assert_eq!((options.status, options.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, methods));
        // A refusal can be read as well.
        let mut refused = json_request(path, "{}");
        refused.headers_mut().insert("origin", "http://localhost:6274".parse().unwrap());
        let refused = service.send(refused).await;
        assert!(refused.status.is_client_error(), "{path}: {}", refused.status);
        assert_eq!(refused.header("access-control-allow-origin"), "*", "{path}");
        assert!(refused.header("access-control-expose-headers").contains("www-authenticate"), "{path}");
        assert!(!refused.headers.contains_key("access-control-allow-credentials"), "{path}");
    }
    // A browser-based agent logs in, uses its session and ends it.
    for (name, value) in PAGES {
        let page = |mut request: Request<Body>| {
            request.headers_mut().insert(name, value.parse().unwrap());
            service.send(request)
        };
        let asked = json!({ "type": "user_claimed", "requested_scopes": ["projects:read"] }).to_string();
        let asked = page(json_request("/agent/auth", &asked)).await;
        assert_eq!(asked.status, StatusCode::CREATED, "{name}: {value}");
        let text = |field: &str| asked.json[field].as_str().unwrap().to_owned();
        let pending = common::Pending {
            id: text("registration_id"),
            claim_token: text("claim_token"),
            claim_url: text("claim_url"),
        };
        service.approve("ada", &pending, &["projects:read"]).await;
        let claim = json!({ "claim_token": pending.claim_token }).to_string();
        let session = page(json_request("/agent/auth/claim/complete", &claim)).await;
        assert_eq!(session.status, StatusCode::OK, "{}", session.text);
        let refresh = json!({ "refresh_token": session.json["refresh_token"] }).to_string();
        let session = page(json_request("/agent-sessions/refresh", &refresh)).await;
        let token = session.json["agent_session"]["access_token"].as_str().unwrap();
        let list = page(bearer(Method::GET, "/account/agent-sessions", token)).await;
        assert_eq!(list.json["sessions"].as_array().unwrap().len(), 1, "{}", list.text);
        assert_eq!(page(bearer(Method::POST, "/agent/auth/revoke", token)).await.status, StatusCode::OK);
        assert_eq!(service.get_as("/projects", token).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn e11_r54_the_approval_page_names_the_web_page_that_asks() {
    let service = Service::with(config().no_limits());
    let long = format!("https://{}.example", "x".repeat(250));
    for (origin, shown) in [
        ("https://evil.example", "Web page of https://evil.example"),
        ("http://localhost:6274", "Web page of http://localhost:6274"),
        ("null", "Web page of another site"),
        (&long, "Web page of another site"),
        (ORIGIN, "My own label"),
        ("", "My own label"),
    ] {
        for path in ["/agent/auth", "/agent-sessions/start"] {
            let asked =
                json!({ "type": "user_claimed", "client_type": "web", "mode": "detached", "label": "My own label" });
            let mut asked = json_request(path, &asked.to_string());
            if !origin.is_empty() {
                asked.headers_mut().insert("origin", origin.parse().unwrap());
            }
            let asked = service.send(asked).await;
            let url = asked.json["claim_url"].as_str().or_else(|| asked.json["authorize_url"].as_str()).unwrap();
            let page = service.send(browse("ada", url.strip_prefix(ORIGIN).unwrap())).await;
            let text = page.text.replace("&#x2f;", "/");
            assert!(text.contains(shown), "{origin}: {text}");
        }
    }
}

#[tokio::test]
async fn e11_r54_a_cookie_is_worth_nothing_from_a_page_of_another_origin() {
    let service = Service::new();
    let session = service.session("ada", &["projects:read"]).await;
    let revoke = json!({ "session_id": session.json["session_id"] }).to_string();
    for (name, value) in PAGES {
        let requests = [json_request("/agent-sessions/revoke", &revoke), browse("ada", "/account/agent-sessions")];
        for mut request in requests {
            request.headers_mut().insert("cookie", "user=ada".parse().unwrap());
            request.headers_mut().insert(name, value.parse().unwrap());
            let answer = service.send(request).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {value}");
        }
        for path in ["/sessions", "/agent/auth/approve/x"] {
            let mut form = Request::post(path).header("cookie", "user=ada").header(name, value);
            form = form.header("content-type", "application/x-www-form-urlencoded");
            let answer = service.send(form.body(Body::from("decision=approve")).unwrap()).await;
            assert!(
                answer.status == StatusCode::FORBIDDEN || answer.status == StatusCode::NOT_FOUND,
                "{}",
                answer.status
            );
            assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
            let preflight = Request::options(path).header("origin", "https://evil.example");
            let preflight = preflight.header("access-control-request-method", "POST").body(Body::empty()).unwrap();
            let preflight = service.send(preflight).await;
            assert_eq!(preflight.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert!(!preflight.headers.contains_key("access-control-allow-origin"), "{path}");
        }
    }
    let token = session.json["access_token"].as_str().unwrap();
    assert_eq!(service.get_as("/projects", token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn revoking_answers_200_whatever_the_token_was() {
    let service = Service::new();
    let json_body = |token: &str| json_request("/agent/auth/revoke", &json!({ "token": token }).to_string());
    let form = |body: String| {
        Request::post("/agent/auth/revoke")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap()
    };
    let is_dead = async |session: &Answer| {
        service.get_as("/projects", session.json["access_token"].as_str().unwrap()).await.status
            == StatusCode::UNAUTHORIZED
    };
    let with = |session: &Answer, field: &str| session.json[field].as_str().unwrap().to_owned();

    let session = service.session("ada", &["projects:read"]).await;
    let sibling = service.session("ada", &["projects:read"]).await;
    let own = service.send(bearer(Method::POST, "/agent/auth/revoke", &with(&session, "access_token"))).await;
    assert_eq!((own.status, own.text.as_str(), is_dead(&session).await), (StatusCode::OK, "", true));
    assert!(!is_dead(&sibling).await);
    for (field, as_form) in
        [("access_token", false), ("refresh_token", false), ("access_token", true), ("refresh_token", true)]
    {
        let session = service.session("ada", &["projects:read"]).await;
        let token = with(&session, field);
        let request =
            if as_form { form(format!("token={token}&token_type_hint=refresh_token")) } else { json_body(&token) };
        assert_eq!((service.send(request).await.status, is_dead(&session).await), (StatusCode::OK, true), "{field}");
    }
    for token in ["", "x", "aas_x", &with(&session, "access_token")] {
        let answer = service.send(json_body(token)).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""), "{token}");
    }
    assert_eq!(service.send(bearer(Method::POST, "/agent/auth/revoke", "junk")).await.status, StatusCode::OK);
    for bad in [
        form("hint=x".into()),
        form("token=a&token=b".into()),
        json_request("/agent/auth/revoke", "{}"),
        json_request("/agent/auth/revoke", "{\"token\":1}"),
        Request::post("/agent/auth/revoke").body(Body::empty()).unwrap(),
    ] {
        let answer = service.send(bad).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.json["message"].as_str().unwrap().contains("`token`"));
    }
    let plain = Request::post("/agent/auth/revoke").header("content-type", "text/plain").body(Body::from("x")).unwrap();
    assert_eq!(service.send(plain).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(!is_dead(&sibling).await);
}

#[tokio::test]
async fn r10_r11_no_answer_may_be_cached_and_a_secret_is_shown_once() {
    let service = Service::with(config().no_limits());
    let pending = service.register(&["projects:read"]).await;
    service.approve("ada", &pending, &["projects:read"]).await;
    let session = service.complete(&pending).await;
    let secret = |field: &str| session.json[field].as_str().unwrap().to_owned();
    let secrets = [pending.claim_token.clone(), secret("access_token"), secret("refresh_token")];
    let claim = json!({ "claim_token": pending.claim_token });
    let answers = [
        session.clone(),
        service.post("/agent/auth", &json!({ "type": "user_claimed" })).await,
        service.post("/agent/auth", &json!({})).await,
        service.post("/agent/auth/claim", &claim).await,
        service.post("/agent/auth/claim/complete", &claim).await,
        service.post("/agent/auth/claim", &json!({ "claim_token": "x" })).await,
        service.post("/agent/auth/revoke", &json!({ "token": "x" })).await,
        service.get("/agent/auth").await,
        service.send(common::browse("ada", &pending.path())).await,
        service.send(common::browse("bob", &pending.path())).await,
        service.get(&pending.path()).await,
        service.send(common::browse("ada", "/sessions")).await,
        service.get("/sessions").await,
        service.get("/agent/auth/approve/nope").await,
        service.get_as("/projects", &secrets[1]).await,
        service.get("/projects").await,
    ];
    for (index, answer) in answers.iter().enumerate() {
        if answer.status != StatusCode::OK || index != 14 {
            assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"), "{index}");
            assert!(!answer.headers.contains_key("etag"));
        }
        if index > 0 {
            let all = format!("{:?}{}", answer.headers, answer.text);
            assert!(!secrets.iter().any(|secret| all.contains(secret.as_str())), "{index}");
        }
    }
}

/// Delivers the same bytes every time, or an error.
#[derive(Clone, Copy)]
enum Broken {
    Repeats,
    Fails,
}

impl Random for Broken {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        match self {
            // An error of the operating system's source can be had by no other way than asking for it here.
            Self::Fails => OsRandom.fill(bytes).and_then(|()| Err(failure())),
            Self::Repeats => {
                bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = (index % 62) as u8);
                Ok(())
            }
        }
    }
}

/// What a source answers that never gives a usable byte.
fn failure() -> RandomError {
    struct Useless;
    impl Random for Useless {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(0xff);
            Ok(())
        }
    }
    tower_agent_auth::types::id::SessionId::generate(&Useless).unwrap_err()
}

async fn requests_with(random: Broken) -> (Vec<Answer>, usize) {
    let store = common::TestStore::default();
    let auth = tower_agent_auth::AgentAuth::builder(config().build().unwrap())
        .sessions(store.clone())
        .accounts(common::TestAccounts::default())
        .random(random)
        .build()
        .unwrap();
    let app = axum::Router::new().route("/x", axum::routing::get(|| async {})).layer(auth.endpoints());
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = json_request("/agent/auth", "{\"type\":\"user_claimed\"}");
        answers.push(Answer::read(app.clone().oneshot(request).await.unwrap()).await);
    }
    (answers, store.writes())
}

#[tokio::test]
async fn r1_a_source_of_randomness_that_fails_issues_nothing() {
    let (answers, writes) = requests_with(Broken::Fails).await;
    for answer in answers {
        assert_eq!((answer.status, answer.error()), (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
    }
    assert_eq!(writes, 0);
}

#[tokio::test]
async fn r98_a_source_of_randomness_that_repeats_overwrites_nothing() {
    let (answers, writes) = requests_with(Broken::Repeats).await;
    assert_eq!(answers[0].status, StatusCode::CREATED);
    assert_eq!((answers[1].status, answers[1].error()), (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"));
    // Three draws, each refused as a conflict.
    assert_eq!(writes, 1 + 3);
}

#[tokio::test]
async fn an_account_that_is_no_longer_active_gets_no_session() {
    let service = Service::new();
    let pending = service.register(&["projects:read"]).await;
    service.approve("ada", &pending, &["projects:read"]).await;
    service.accounts.inactive.lock().unwrap().push("acct_ada".into());
    let answer = service.complete(&pending).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, "access_denied"));
    service.accounts.inactive.lock().unwrap().clear();
    assert_eq!(service.complete(&pending).await.error(), "access_denied");

    let late = service.register(&["projects:read"]).await;
    let form = service.open("ada", &late).await;
    service.accounts.inactive.lock().unwrap().push("acct_ada".into());
    let approve = form.post(&late.path(), &[("decision", "approve"), ("scope", "projects:read")]);
    assert_eq!(service.send(approve).await.status, StatusCode::FORBIDDEN);
    assert_eq!(service.complete(&late).await.error(), "authorization_pending");
    let deny = form.post(&late.path(), &[("decision", "deny")]);
    assert_eq!(service.send(deny).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_ways_to_sign_in_are_checked_where_they_are_configured() {
    let service = Service::with(config().claim_method("google_oauth").claim_method("github_oauth"));
    let register = async |method: &str| {
        service.post("/agent/auth", &json!({ "type": "user_claimed", "claim_method": method })).await
    };
    assert_eq!(register("github_oauth").await.status, StatusCode::CREATED);
    let refused = register("carrier pigeon").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(
        refused.json["message"].as_str().unwrap().contains("`claim_method` must be one of: google_oauth, github_oauth")
    );
}

#[tokio::test]
async fn b1_another_resource_is_an_invalid_target_at_the_start_of_every_dialect() {
    let service = Service::new();
    let claimed = |resource: Value| json!({ "type": "user_claimed", "resource": resource });
    let login = |resource: Value| json!({ "mode": "detached", "client_type": "cli", "resource": resource });
    for other in [
        "https://evil.example",
        "https://api.example.com//",
        "https://api.example.com/mcp",
        "https://api.example.com.evil.example",
        "https://api.example.com@evil.example",
        "http://api.example.com",
        "https://api.example.com:8443",
        "https://api.example.com?",
        "https://api.example.com#",
        " https://api.example.com",
        "/",
        "",
    ] {
        let refused = service.post("/agent/auth", &claimed(json!(other))).await;
        assert_eq!((refused.status, refused.error()), (StatusCode::BAD_REQUEST, "invalid_target"), "{other}");
        let refused = service.post("/agent-sessions/start", &login(json!(other))).await;
        assert_eq!((refused.status, refused.error()), (StatusCode::BAD_REQUEST, "INVALID_TARGET"), "{other}");
    }
    for wrong in [json!(["https://api.example.com"]), json!(1), json!({})] {
        assert_eq!(service.post("/agent/auth", &claimed(wrong.clone())).await.error(), "invalid_request");
        assert_eq!(service.post("/agent-sessions/start", &login(wrong)).await.error(), "INVALID_REQUEST");
    }
    assert_eq!(service.store.writes(), 0, "nothing is kept of what is refused");
    // How clients write the same identifier after they parsed it.
    let spelled = ["https://api.example.com/", "HTTPS://API.EXAMPLE.COM", "https://api.example.com:443"];
    for own in [Value::Null, json!(common::ORIGIN)].into_iter().chain(spelled.map(|own| json!(own))) {
        assert_eq!(service.post("/agent/auth", &claimed(own.clone())).await.status, StatusCode::CREATED);
        assert_eq!(service.post("/agent-sessions/start", &login(own)).await.status, StatusCode::CREATED);
    }
}

/// Two services of different resources over one store. What was asked for at one is unknown at the other.
#[tokio::test]
async fn b3_nothing_becomes_of_a_request_but_at_its_own_resource() {
    let at = |resource: &str| config().issuer(common::ORIGIN).resource(&format!("{}{resource}", common::ORIGIN));
    let own = Service::with(at("/one"));
    let other = Service::on(at("/two"), own.store.clone());

    let pending = own.register(&["projects:read"]).await;
    let status = json!({ "claim_token": pending.claim_token });
    assert_eq!(other.post("/agent/auth/claim", &status).await.error(), "invalid_claim_token");
    assert_eq!(other.send(common::browse("ada", &pending.path())).await.status, StatusCode::NOT_FOUND);
    let form = own.open("ada", &pending).await;
    let approve = [("decision", "approve"), ("scope", "projects:read")];
    for decision in [approve.as_slice(), &[("decision", "deny")]] {
        let decided = other.send(form.post(&pending.path(), decision)).await;
        assert!(matches!(decided.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN), "{}", decided.text);
    }
    let human = tower_agent_auth::accounts::SignedIn::new(common::account("ada"), "browser");
    let id = tower_agent_auth::types::id::AuthorizationRequestId::parse(&pending.id).unwrap();
    let ceremony = other.auth.ceremony().unwrap();
    let denied = ceremony.decide(&id, &human, tower_agent_auth::ceremony::Decision::Deny).await;
    assert!(matches!(denied, Err(tower_agent_auth::ceremony::CeremonyError::UnknownAuthorization)));
    own.approve("ada", &pending, &["projects:read"]).await;
    assert_eq!(other.complete(&pending).await.error(), "invalid_claim_token");

    let start = json!({ "mode": "detached", "client_type": "cli", "scopes": ["projects:read"] });
    let login = own.post("/agent-sessions/start", &start).await.json;
    let poll = json!({ "auth_request_id": login["auth_request_id"], "poll_token": login["poll_token"] });
    assert_eq!(other.post("/agent-sessions/poll", &poll).await.error(), "INVALID_AUTH_REQUEST");
    let url = login["authorize_url"].as_str().unwrap();
    let asked = common::Pending { id: String::new(), claim_token: String::new(), claim_url: url.into() };
    own.approve("ada", &asked, &["projects:read"]).await;
    let code = own.post("/agent-sessions/poll", &poll).await.json["exchange_code"].clone();
    let exchange = json!({ "auth_request_id": login["auth_request_id"], "exchange_code": code });
    assert_eq!(other.post("/agent-sessions/exchange", &exchange).await.error(), "INVALID_AUTH_REQUEST");

    let issued = own.complete(&pending).await;
    assert_eq!(issued.status, StatusCode::OK, "{}", issued.text);
    assert_eq!(own.post("/agent-sessions/exchange", &exchange).await.status, StatusCode::OK);
    let token = issued.json["access_token"].as_str().unwrap();
    assert_eq!(own.get_as("/projects", token).await.status, StatusCode::OK);
    assert_eq!(other.get_as("/projects", token).await.error(), "invalid_token");
}

/// A session of the OAuth client with this id, or of an agent of another dialect.
async fn session_of(service: &Service, client: Option<&ClientId>) -> Issued {
    let ceremony = service.auth.ceremony().unwrap();
    let request = AccessRequest::by(HumanText::new("Example Agent").unwrap()).client_id(client.cloned());
    let asked = ceremony.request(request).await.unwrap();
    let human = SignedIn::new(common::account("ada"), "browser");
    let seen = ceremony.view(&asked.authorization.id, &human).await.unwrap();
    assert_eq!(seen.authorization.client.id.as_ref(), client);
    let scopes = seen.authorization.requested;
    ceremony.decide(&asked.authorization.id, &human, Decision::Approve(scopes.into())).await.unwrap();
    ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap()
}

/// A client, `None` for the other dialects, and everybody else who may present its tokens.
fn clients() -> [(Option<ClientId>, Vec<Option<ClientId>>); 3] {
    let id = |text: &str| Some(ClientId::new(text).unwrap());
    let document = "https://agent.example/client.json";
    let longest = "x".repeat(2_048);
    [
        (id(document), vec![None, id("https://agent.example/client.jso"), id("https://agent.example/CLIENT.json")]),
        (id(&longest), vec![None, id(&longest[1..]), id(document)]),
        (None, vec![id(document), id("null"), id("None")]),
    ]
}

/// A stranger with a refresh token, current or used up, gets nothing and changes nothing (RFC 6749 section 6; L-1).
#[tokio::test]
async fn tk7_a_refresh_token_is_good_for_its_client_only() {
    for (client, strangers) in clients() {
        let service = Service::new();
        let ceremony = service.auth.ceremony().unwrap();
        let issued = session_of(&service, client.as_ref()).await;
        let refresh = async |token: &str, client: Option<&ClientId>| {
            let mut asked = Refreshing::new(token);
            asked.client = client;
            ceremony.refresh(&asked).await
        };
        let kept = async || service.store.find_record(&issued.record.session.id).await.unwrap().unwrap();
        assert_eq!(kept().await.client.id, client);
        let refused = async |token: &str| {
            let (before, writes, events) = (kept().await, service.store.writes(), service.audit.names());
            for stranger in &strangers {
                let answer = refresh(token, stranger.as_ref()).await;
                assert!(matches!(answer, Err(CeremonyError::InvalidRefresh)), "{client:?} {stranger:?} {answer:?}");
            }
            assert_eq!((kept().await, service.store.writes(), service.audit.names()), (before, writes, events));
        };

        let first = issued.refresh_token.expose();
        refused(first).await;
        let second = refresh(first, client.as_ref()).await.unwrap();
        // Within the grace the stranger does not get the successor; after it, the session does not end.
        refused(first).await;
        assert_eq!(refresh(first, client.as_ref()).await.unwrap().access_token.expose(), second.access_token.expose());
        service.clock.advance(120 * SECOND);
        refused(first).await;
        // Nor while the account may not be acted for: the client itself ends it.
        service.accounts.inactive.lock().unwrap().push("ada".into());
        refused(second.refresh_token.expose()).await;
        service.accounts.inactive.lock().unwrap().clear();
        let third = refresh(second.refresh_token.expose(), client.as_ref()).await.unwrap();
        assert!(ceremony.session(third.access_token.expose().as_bytes()).await.unwrap().is_some());

        // Only the client itself proves a replay.
        assert!(refresh(first, client.as_ref()).await.is_err());
        assert!(kept().await.revoked.is_some());
        assert_eq!(service.audit.names().iter().filter(|name| **name == "reuse_detected").count(), 1);
        refused(first).await;
    }
}

/// A named client revokes its own tokens only (RFC 7009 section 2.1; L-7). Unknown tokens are fine (section 2.2).
#[tokio::test]
async fn rv1_a_client_revokes_no_token_of_another() {
    for (client, strangers) in clients() {
        let service = Service::new();
        let ceremony = service.auth.ceremony().unwrap();
        let issued = session_of(&service, client.as_ref()).await;
        let mut asked = Refreshing::new(issued.refresh_token.expose());
        asked.client = client.as_ref();
        let second = ceremony.refresh(&asked).await.unwrap();
        let used_up = issued.refresh_token.expose();
        let tokens = [second.access_token.expose(), second.refresh_token.expose(), used_up];
        let (writes, events) = (service.store.writes(), service.audit.names());
        for stranger in strangers.iter().flatten() {
            for token in tokens {
                let answer = ceremony.revoke_token(token, Some(stranger)).await;
                assert!(matches!(answer, Err(CeremonyError::WrongClient)), "{client:?} {stranger:?} {answer:?}");
            }
            for unknown in ["", "aas_", issued.access_token.expose(), &format!("{used_up}x")] {
                ceremony.revoke_token(unknown, Some(stranger)).await.unwrap();
            }
        }
        assert_eq!((service.store.writes(), service.audit.names()), (writes, events));
        assert!(ceremony.session(tokens[0].as_bytes()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn rv1_a_client_revokes_its_session_by_each_token_and_again() {
    for (client, _) in clients() {
        for chosen in 0..3 {
            let service = Service::new();
            let ceremony = service.auth.ceremony().unwrap();
            let issued = session_of(&service, client.as_ref()).await;
            let mut asked = Refreshing::new(issued.refresh_token.expose());
            asked.client = client.as_ref();
            let second = ceremony.refresh(&asked).await.unwrap();
            let tokens = [second.access_token.expose(), second.refresh_token.expose(), issued.refresh_token.expose()];
            for _ in 0..2 {
                ceremony.revoke_token(tokens[chosen], client.as_ref()).await.unwrap();
                assert!(ceremony.session(tokens[0].as_bytes()).await.unwrap().is_none(), "{client:?} {chosen}");
            }
            assert_eq!(service.audit.names().iter().filter(|name| **name == "revoked").count(), 1);
        }
    }
}

#[tokio::test]
async fn rv1_a_store_that_fails_is_no_wrong_client() {
    let service = Service::new();
    let ceremony = service.auth.ceremony().unwrap();
    let id = ClientId::new("agent-7").unwrap();
    let issued = session_of(&service, Some(&id)).await;
    for token in [issued.access_token.expose(), issued.refresh_token.expose()] {
        for after in 0..2 {
            service.store.break_after(after, common::Fault::Unavailable);
            let failed = ceremony.revoke_token(token, Some(&id)).await.unwrap_err();
            assert!(failed.is_unavailable(), "{failed:?}");
            service.store.mend();
        }
    }
    assert!(ceremony.session(issued.access_token.expose().as_bytes()).await.unwrap().is_some());
}

/// A service that stores clients, beside the store of the others.
fn registering(store: &MemoryStore, clock: &ManualClock) -> AgentAuth {
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(store.clone()).clients(store.clone());
    builder.accounts(common::TestAccounts::default()).clock(clock.clone()).build().unwrap()
}

#[tokio::test]
async fn clients_register_and_are_found_with_their_last_use() {
    assert!(Service::new().auth.ceremony().unwrap().clients().is_none(), "by default none are stored");
    let (store, clock) = (MemoryStore::new(), ManualClock::at(common::START));
    let auth = registering(&store, &clock);
    let clients = auth.ceremony().unwrap().clients().unwrap();
    let (one, other) = (clients.register("{\"a\":1}").await.unwrap(), clients.register("").await.unwrap());
    assert!(one.id != other.id && one.id.as_str().starts_with("client_") && one.id.as_str().len() == 29, "{one:?}");
    assert_eq!(clients.find(&one.id).await.unwrap().as_ref(), Some(&one));
    assert_eq!((&*one.metadata, one.created_at, one.used_at), ("{\"a\":1}", common::START, None));
    clock.advance(SECOND);
    assert!(clients.note_use(&one.id).await.unwrap());
    assert_eq!(clients.find(&one.id).await.unwrap().unwrap().used_at, Some(common::START.after(SECOND)));
    assert_eq!(clients.find(&other.id).await.unwrap(), Some(other));
    let unknown = ClientId::new("client_unknown").unwrap();
    assert!(!clients.note_use(&unknown).await.unwrap() && clients.find(&unknown).await.unwrap().is_none());
}

/// 10^5 registrations do not fill a store (T-6, L-12).
#[tokio::test]
async fn registrations_that_nobody_uses_have_a_cap_and_an_end() {
    let (store, clock) = (MemoryStore::new(), ManualClock::at(common::START));
    let auth = registering(&store, &clock);
    let clients = auth.ceremony().unwrap().clients().unwrap();
    let first = clients.register("{}").await.unwrap();
    clients.note_use(&first.id).await.unwrap();
    let (mut stored, mut refused) = (Vec::new(), 0);
    for _ in 0..100_000 {
        match clients.register("{}").await {
            Ok(client) => stored.push(client),
            Err(CeremonyError::TooManyClients) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((stored.len(), refused), (10_000, 90_000));
    // One that is used makes room for one more.
    clients.note_use(&stored[0].id).await.unwrap();
    clients.register("{}").await.unwrap();
    assert!(matches!(clients.register("{}").await, Err(CeremonyError::TooManyClients)));
    // A week and an hour later they make room for new ones, also without housekeeping. Used ones stay.
    let week_and_hour = 169 * 3_600 * SECOND;
    clock.advance(week_and_hour - SECOND);
    assert!(matches!(clients.register("{}").await, Err(CeremonyError::TooManyClients)));
    clock.advance(SECOND);
    clients.register("{}").await.unwrap();
    for used in [&first.id, &stored[0].id] {
        assert!(clients.find(used).await.unwrap().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn housekeeping_forgets_clients_that_are_not_used() {
    let (store, clock) = (MemoryStore::new(), ManualClock::at(common::START));
    let auth = registering(&store, &clock);
    let clients = auth.ceremony().unwrap().clients().unwrap();
    let (mut unused, mut used) = (Vec::new(), Vec::new());
    for _ in 0..1_200 {
        unused.push(clients.register("{}").await.unwrap());
        used.push(clients.register("{}").await.unwrap());
    }
    for client in &used {
        clients.note_use(&client.id).await.unwrap();
    }
    let left = async |clients_of: &[RegisteredClient]| {
        let mut left = 0;
        for client in clients_of {
            left += usize::from(clients.find(&client.id).await.unwrap().is_some());
        }
        left
    };
    let keep_house = async || auth.housekeeping(tokio::time::sleep(10 * SECOND)).await;
    let hour = 3_600 * SECOND;
    for (advance, expected) in [
        (169 * hour - SECOND, (1_200, 1_200)),
        (SECOND, (0, 1_200)),
        // Sessions last 90 days at most.
        (90 * 24 * hour - 168 * hour - SECOND, (0, 1_200)),
        (SECOND, (0, 0)),
    ] {
        clock.advance(advance);
        keep_house().await;
        assert_eq!((left(&unused).await, left(&used).await), expected, "{advance:?}");
    }
}
