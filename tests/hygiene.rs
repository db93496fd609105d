//! Where no secret may ever be: stores, logs, audit events, debug output, URLs (security rows R1, R4, R6 to R9).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Method, StatusCode};
use serde_json::json;
use tower_agent_auth::{
    AgentAuth, ConfigBuilder,
    audit::TracingAudit,
    store::{SessionRecordStore, SqliteStore},
    types::clock::ManualClock,
};
use tracing_subscriber::fmt::format::FmtSpan;

mod common;
use common::{
    Fault, Form, START, Service, TestAccounts, account, bearer, between, browse, browse_again, config, json_request,
    oauth::{Login, VERIFIER, form, oauth, poll, start_device, text, type_code},
};

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

/// Two logins by OAuth, one of a device, and what is done with their secrets.
async fn oauth_ceremony(service: &Service) -> Vec<String> {
    let mut login = Login::of(service).await;
    login.state = "state_4jX1wq8ZrT0bLm6Yc2Vd";
    login.verifier = "verifier_Kp7sQe5vNa9hRg3uWf2xJt8yCz4bMd6kTn1oLi0m".into();
    let arrived = service.get(&login.url(&[])).await;
    let mut secrets = vec![login.state.to_owned(), login.verifier.clone()];
    assert_absent(&secrets, arrived.header("location").as_bytes(), "the way to sign in");
    let code = login.code(service).await;
    login.redeem(service, &code, &[("code_verifier", &"a".repeat(43))]).await;
    let tokens = login.redeem(service, &code, &[]).await.json;
    login.redeem(service, &code, &[]).await;
    let next = login.refresh(service, text(&tokens, "refresh_token"), &[]).await.json;
    service.send(browse("ada", &login.url(&[("scope", "nothing:here")]))).await;
    login.decide(service, "ada", &[("decision", "deny")]).await;

    let started = start_device(service, &login, &[]).await.json;
    let (device_code, user_code) = (text(&started, "device_code"), text(&started, "user_code"));
    poll(service, &login, device_code).await;
    let link = format!("/oauth2/device?user_code={user_code}");
    let (sent, browser) = type_code(service, "ada", &link, user_code).await;
    let path = sent.header("location").to_owned();
    assert_absent(&[format!("_{user_code}"), device_code.into()], path.as_bytes(), "the approval URL");
    let page = service.send(browse_again(&browser, &path)).await;
    let approval = Form { csrf: between(&page.text, "name=\"csrf\" value=\"", "\"").into(), ..browser };
    service.send(approval.post(&path, &[("decision", "approve"), ("scope", "projects:read")])).await;
    let device = poll(service, &login, device_code).await.json;
    service.store.break_after(0, Fault::Unavailable);
    login.redeem(service, &code, &[]).await;
    login.refresh(service, text(&next, "refresh_token"), &[]).await;
    service.store.mend();
    secrets.extend([code, device_code.to_owned(), format!("_{user_code}")]);
    for tokens in [&tokens, &next, &device] {
        secrets.extend(["access_token", "refresh_token"].map(|field| text(tokens, field).to_owned()));
    }
    let revoked = [("token", &*secrets[secrets.len() - 1]), ("client_id", &*login.client)];
    assert_eq!(service.send(form("/oauth2/revoke", &revoked)).await.status, StatusCode::OK);
    secrets
}

#[tokio::test]
async fn r4_r7_no_secret_of_an_oauth_login_in_the_store_the_audit_or_any_debug_output() {
    let service = Service::with(oauth().no_limits());
    let secrets = oauth_ceremony(&service).await;
    assert_absent(&secrets, format!("{:?} {:#?}", service.store, service.store.memory).as_bytes(), "the memory store");
    assert_absent(&secrets, format!("{:?}", service.audit.events()).as_bytes(), "the audit events");
    let debug = format!("{:?} {:?} {:?}", service.auth, service.auth.ceremony(), service.auth.endpoints());
    assert_absent(&secrets, debug.as_bytes(), "debug output");
    assert!(service.audit.names().contains(&"refreshed") && service.audit.names().contains(&"revoked"));
}

#[tokio::test]
async fn r7_what_an_oauth_login_is_made_of_shows_no_secret() {
    use tower_agent_auth::{
        ceremony::{CodeGrant, CodeRedemption, Refreshing, Request},
        types::{id::ClientId, pkce::CodeChallenge, redirect_uri::RedirectUri, text::HumanText},
    };
    let service = Service::with(oauth());
    let ceremony = service.auth.ceremony().unwrap();
    let client = ClientId::new("a-client").unwrap();
    let secrets =
        ["code_4jX1wq8ZrT0bLm6Yc2Vd", "state_Kp7sQe5vNa9hRg3uWf2x", "_Jt8yCz4bMd6kTn1oLi0m"].map(str::to_owned);
    let uri = RedirectUri::from_stored(&format!("http://127.0.0.1/callback?key={}", secrets[2]));
    let challenge = CodeChallenge::parse(&common::oauth::challenge(VERIFIER)).unwrap();
    let grant = CodeGrant::new(uri, Some(secrets[1].clone()), challenge);
    let mut redemption = CodeRedemption::new(&secrets[0], &client, &secrets[1]);
    redemption.redirect_uri = Some(grant.redirect_uri.as_str());
    let shown = format!("{grant:?} {redemption:?} {:?}", Refreshing::new(&secrets[0]));
    assert_absent(&secrets, shown.as_bytes(), "debug output");
    let request = Request::by(HumanText::new("Television").unwrap()).client_id(Some(client));
    let started = ceremony.request_device(request).await.unwrap();
    let secrets = [started.device_code.expose().to_owned(), format!("_{}", started.user_code)];
    assert_absent(&secrets, format!("{started:?}").as_bytes(), "debug output");
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
    let seen = ceremony.view(&asked.authorization.id, &human).await.unwrap();
    let approve = tower_agent_auth::ceremony::Decision::Approve(seen.authorization.requested.into());
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

/// What is logged at the finest level, and the secrets that were handled meanwhile.
fn log_of(config: ConfigBuilder, ceremony: impl AsyncFn(&Service) -> Vec<String>) -> (Vec<String>, String) {
    // `tracing` caches for the whole process what anybody wants to see.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let secrets = tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let mut service = Service::with(config.clone());
            let auth = AgentAuth::builder(config.build().unwrap())
                .sessions(service.store.clone())
                .accounts(service.accounts.clone())
                .clock(service.clock.clone())
                .audit(TracingAudit)
                .build()
                .unwrap();
            service.app = common::app(&auth, &service.handled);
            ceremony(&service).await
        })
    });
    let log = captured.0.lock().unwrap().clone();
    (secrets, String::from_utf8(log).unwrap())
}

#[test]
fn r8_no_secret_in_a_log_of_everything() {
    let (secrets, text) = log_of(config(), whole_ceremony);
    for event in ["requested", "viewed", "approved", "redeemed", "owner_only_refused", "revoked"] {
        assert!(text.contains(event), "{event} in {text}");
    }
    assert_absent(&secrets, text.as_bytes(), "the log");
}

#[test]
fn r8_no_secret_of_an_oauth_login_in_a_log_of_everything() {
    let (secrets, text) = log_of(oauth().no_limits(), oauth_ceremony);
    for event in ["approved", "denied", "redeemed", "refreshed", "code_failed", "unavailable", "revoked"] {
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

/// A service that only checks tokens builds no templates, no rate limiter and no tables of Unicode (G13).
#[test]
fn g13_a_service_that_only_checks_tokens_is_small() {
    let tree = |features: &[&str]| {
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args([
            "tree",
            "--package",
            "tower-agent-auth",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]);
        let output = cargo.args(features).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let heavy = ["minijinja", "governor", "unicode-normalization", "unicode-script", "unicode-security"];
    let (checks, issues) = (tree(&["--no-default-features", "--features", "axum"]), tree(&[]));
    for name in heavy {
        assert!(!checks.contains(name), "{name}");
        assert!(issues.contains(name), "{name}: the list of this test is out of date");
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
