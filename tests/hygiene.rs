//! Where no secret may ever be: stores, logs, audit events, debug output, URLs (security rows R1, R4, R6 to R9).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use http::{Method, StatusCode};
use serde_json::json;
use tower_agent_auth::{
    AgentAuth,
    audit::TracingAudit,
    store::{SessionRecordStore, SqliteStore},
    types::clock::ManualClock,
};

mod common;
use common::{START, Service, TestAccounts, account, bearer, browse, config, json_request};

/// Every piece of a secret beyond its prefix that is long enough to betray it.
fn pieces(secret: &str) -> impl Iterator<Item = &str> {
    let random = secret.split_once('_').unwrap().1;
    (0..random.len() - 8).map(move |start| &random[start..start + 8])
}

fn assert_absent(secrets: &[String], haystack: &[u8], what: &str) {
    let haystack = String::from_utf8_lossy(haystack);
    for piece in secrets.iter().flat_map(|secret| pieces(secret)) {
        assert!(!haystack.contains(piece), "a piece of a secret in {what}");
    }
}

async fn whole_ceremony(service: &Service) -> Vec<String> {
    let pending = service.register(&["projects:read"]).await;
    service.post("/agent/auth/claim", &json!({ "claim_token": pending.claim_token })).await;
    service.approve("ada", &pending, &["projects:read"]).await;
    let session = service.complete(&pending).await;
    let secret = |field: &str| session.json[field].as_str().unwrap().to_owned();
    let secrets = vec![pending.claim_token.clone(), secret("access_token"), secret("refresh_token")];
    assert_eq!(service.get_as("/projects", &secrets[1]).await.status, StatusCode::OK);
    service.get_as(&format!("/projects?access_token={}", secrets[1]), &secrets[1]).await;
    service.get_as("/billing", &secrets[1]).await;
    service.get_as("/projects", &format!("{}x", secrets[1])).await;
    service.send(browse("ada", "/sessions")).await;
    service.send(json_request("/agent/auth/revoke", &json!({ "token": secrets[2] }).to_string())).await;
    assert_eq!(service.get_as("/projects", &secrets[1]).await.status, StatusCode::UNAUTHORIZED);
    service.complete(&pending).await;
    secrets
}

#[tokio::test]
async fn r4_r7_no_secret_in_the_store_the_audit_or_any_debug_output() {
    let service = Service::new();
    let secrets = whole_ceremony(&service).await;
    assert_absent(&secrets, format!("{:?} {:#?}", service.store, service.store.memory).as_bytes(), "the memory store");
    assert_absent(&secrets, format!("{:?}", service.audit.events()).as_bytes(), "the audit events");
    let guard = tower::Layer::layer(&service.auth.require("projects:read"), ());
    let debug = format!("{:?} {:?} {:?} {guard:?}", service.auth, service.auth.ceremony(), service.auth.endpoints());
    assert_absent(&secrets, debug.as_bytes(), "debug output");
    assert!(service.audit.names().contains(&"redeemed") && service.audit.names().contains(&"revoked"));
}

#[tokio::test]
async fn the_audit_tells_the_whole_story_in_order() {
    let service = Service::new();
    whole_ceremony(&service).await;
    let story = ["requested", "viewed", "approved", "redeemed", "token_in_query", "owner_only_refused", "revoked"];
    assert_eq!(service.audit.names()[0], "no_client_address");
    assert_eq!(service.audit.names()[1..], story);
}

#[tokio::test]
async fn r4_no_secret_in_the_files_of_sqlite() {
    let directory = std::env::temp_dir().join(format!("tower-agent-auth-hygiene-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = SqliteStore::open(directory.join("sessions.db")).await.unwrap();
    let auth = AgentAuth::builder(config().build().unwrap())
        .sessions(store.clone())
        .accounts(TestAccounts::default())
        .clock(ManualClock::at(START))
        .build()
        .unwrap();
    let ceremony = auth.ceremony().unwrap();
    let name = tower_agent_auth::types::text::HumanText::new("Example Agent").unwrap();
    let asked = ceremony.request(tower_agent_auth::ceremony::Request::by(name)).await.unwrap();
    let ada = account("ada");
    let human = tower_agent_auth::accounts::SignedIn::new(ada.clone(), "browser");
    let seen = ceremony.view(&asked.authorization.id, &human, None).await.unwrap();
    let approve = tower_agent_auth::ceremony::Decision::Approve(seen.authorization.requested);
    ceremony.decide(&asked.authorization.id, &human, approve).await.unwrap();
    let redeemed = ceremony
        .redeem(asked.claim_token.expose(), &tower_agent_auth::types::session::Redeemer::default())
        .await
        .unwrap();
    assert_eq!(store.list_sessions(&ada.id, None, 10).await.unwrap().len(), 1);
    let secrets: Vec<String> =
        [asked.claim_token.expose(), redeemed.access_token.expose(), redeemed.refresh_token.expose()]
            .map(str::to_owned)
            .into();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_absent(&secrets, &std::fs::read(&path).unwrap(), &path.display().to_string());
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn r8_no_secret_in_a_log_of_everything() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let secrets = tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let mut service = Service::new();
            let auth = AgentAuth::builder(config().build().unwrap())
                .sessions(service.store.clone())
                .accounts(service.accounts.clone())
                .clock(service.clock.clone())
                .audit(TracingAudit)
                .build()
                .unwrap();
            service.app = common::app(&auth, &service.handled);
            whole_ceremony(&service).await
        })
    });
    let log = captured.0.lock().unwrap().clone();
    let text = String::from_utf8(log).unwrap();
    for event in ["requested", "viewed", "approved", "redeemed", "owner_only_refused", "revoked"] {
        assert!(text.contains(event), "{event} in {text}");
    }
    assert_absent(&secrets, text.as_bytes(), "the log");
}

#[tokio::test]
async fn r8_the_credential_is_marked_for_layers_further_in() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let inner = tower::service_fn(|request: http::Request<axum::body::Body>| {
        let shown = format!("{:?}", request.headers());
        async move { Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::from(shown))) }
    });
    let guard = tower::Layer::layer(&service.auth.require("projects:read"), inner);
    let response = tower::ServiceExt::oneshot(guard, bearer(Method::GET, "/", &token)).await.unwrap();
    let shown = common::Answer::read(response).await.text;
    assert!(shown.contains("Sensitive"), "{shown}");
    assert_absent(&[token], shown.as_bytes(), "the headers as a handler logs them");
}

#[tokio::test]
async fn r9_no_secret_in_any_url() {
    let service = Service::new();
    let pending = service.register(&["projects:read"]).await;
    let secrets = [pending.claim_token.clone()];
    let page = service.send(browse("ada", &pending.path())).await;
    assert_absent(&secrets, pending.claim_url.as_bytes(), "the approval URL");
    assert_absent(&secrets, page.text.as_bytes(), "the page");
    let login = service.get(&pending.path()).await;
    assert_absent(&secrets, login.header("location").as_bytes(), "the way to sign in");
    // The public id opens nothing by itself.
    for path in ["/agent/auth/claim", "/agent/auth/claim/complete"] {
        let answer = service.post(path, &json!({ "claim_token": pending.id })).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn r1_r6_secrets_come_from_one_source_and_are_never_compared() {
    fn sources(directory: &std::path::Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    sources(std::path::Path::new("src"), &mut found);
    assert!(found.len() > 30);
    for (path, source) in &found {
        for banned in ["thread_rng", "fastrand", "Uuid", "rand::"] {
            assert!(!source.contains(banned), "{banned} in {path}");
        }
        let uses_os = source.contains("getrandom::");
        assert_eq!(uses_os, path.ends_with("types/random.rs"), "{path}");
    }
    let secret = &found.iter().find(|(path, _)| path.ends_with("types/secret.rs")).unwrap().1;
    let declaration = secret.split("pub struct Secret<").next().unwrap().rsplit("///").next().unwrap();
    assert!(!declaration.contains("derive"), "a secret derives nothing: no Clone, no PartialEq, no Debug");
}
