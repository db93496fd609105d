//! The login of the Agent Analytics command line: requests as it sends them, byte for byte where that matters, and the
//! security of each way to finish.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::body::Body;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use sha2::Digest as _;
use tower_agent_auth::{
    ConfigBuilder,
    audit::Event,
    types::{clock::Clock as _, session::RevokedBy},
};

mod common;
use common::{
    Answer, Fault, Form, ORIGIN, SECOND, START, Service, account, bearer, between, browse, browse_again, config,
    json_request,
};

/// The seven scopes of the command line, in its order, as this catalogue has them.
const SCOPES: [&str; 3] = ["projects:read", "projects:write", "analytics:read"];
const VERIFIER: &str = "5d41402abc4b2a76b9719d911017c592ae3f1e8c5d41402abc4b2a76b9719d91";
const CALLBACK: &str = "http://127.0.0.1:43123/callback";

fn hex_challenge(verifier: &str) -> String {
    HEXLOWER.encode(&sha2::Sha256::digest(verifier.as_bytes()))
}

fn alone() -> ConfigBuilder {
    config().modes(|modes| modes.finish_code_alone = true)
}

fn interactive() -> Value {
    json!({
        "mode": "interactive", "client_type": "cli", "client_name": "Agent Analytics CLI", "client_instance_id": "pid:123",
        "callback_url": CALLBACK, "scopes": SCOPES, "code_challenge": hex_challenge(VERIFIER),
        "metadata": { "runtime": "cli" },
    })
}

fn detached() -> Value {
    json!({
        "mode": "detached", "client_type": "cli", "client_name": "Agent Analytics CLI", "client_instance_id": "pid:123",
        "scopes": SCOPES, "metadata": { "runtime": "cli" },
    })
}

fn finish_code() -> Value {
    json!({ "mode": "finish_code", "client_type": "worker", "client_name": "Worker", "scopes": SCOPES })
}

/// A request as Node's fetch sends it for the command line.
fn as_cli(path: &str, body: &Value) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .header("user-agent", "node")
        .header("accept", "*/*")
        .header("sec-fetch-mode", "cors")
        .header("accept-language", "*")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// A login that was started.
struct Login {
    id: String,
    poll_token: String,
}

impl Login {
    async fn start(service: &Service, body: &Value) -> Self {
        let answer = service.send(as_cli("/agent-sessions/start", body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let text = |field: &str| answer.json[field].as_str().unwrap().to_owned();
        assert_eq!(text("authorize_url"), format!("{ORIGIN}/agent-sessions/authorize/{}", text("auth_request_id")));
        Self { id: text("auth_request_id"), poll_token: text("poll_token") }
    }

    fn path(&self) -> String {
        format!("/agent-sessions/authorize/{}", self.id)
    }

    async fn form(&self, service: &Service, human: &str) -> Form {
        let page = service.send(browse(human, &self.path())).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page.form(human)
    }

    async fn decide(&self, service: &Service, fields: &[(&str, &str)]) -> Answer {
        let form = self.form(service, "ada").await;
        service.send(form.post(&self.path(), fields)).await
    }

    async fn approve(&self, service: &Service) -> Answer {
        let answer = self.decide(service, &all_of(&SCOPES)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        answer
    }

    /// Approves, and answers the finish code that the page shows in the browser that approved.
    async fn finish_code(&self, service: &Service) -> String {
        let form = self.form(service, "ada").await;
        let approved = service.send(form.post(&self.path(), &all_of(&SCOPES))).await;
        assert_eq!(approved.header("location"), self.path());
        self.shown_code(service, &form).await.unwrap()
    }

    /// The finish code that the page shows to the browser of that form.
    async fn shown_code(&self, service: &Service, form: &Form) -> Option<String> {
        let page = service.send(browse_again(form, &self.path())).await;
        let start = "id=\"code\" dir=\"ltr\">";
        let code = page.text.contains(start).then(|| between(&page.text, start, "<").to_owned());
        assert!(code.as_ref().is_none_or(|code| code.starts_with("aaf_")));
        code
    }

    async fn poll(&self, service: &Service) -> Answer {
        let body = json!({ "auth_request_id": self.id, "poll_token": self.poll_token });
        service.send(as_cli("/agent-sessions/poll", &body)).await
    }

    async fn exchange(&self, service: &Service, fields: &Value) -> Answer {
        exchange(service, &self.id, fields).await
    }

    /// The exchange code that a poll tells.
    async fn polled_code(&self, service: &Service) -> String {
        self.poll(service).await.json["exchange_code"].as_str().unwrap().to_owned()
    }
}

/// The fields of a form that approves these scopes.
fn all_of<'a>(scopes: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![("decision", "approve")];
    fields.extend(scopes.iter().map(|scope| ("scope", *scope)));
    fields
}

async fn exchange(service: &Service, id: &str, fields: &Value) -> Answer {
    let mut body = json!({ "auth_request_id": id });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    service.send(as_cli("/agent-sessions/exchange", &body)).await
}

/// A session by detached login.
async fn session(service: &Service) -> Value {
    let login = Login::start(service, &detached()).await;
    login.approve(service).await;
    let code = login.polled_code(service).await;
    let answer = login.exchange(service, &json!({ "exchange_code": code })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json["agent_session"].clone()
}

fn text<'a>(session: &'a Value, field: &str) -> &'a str {
    session[field].as_str().unwrap()
}

async fn refresh(service: &Service, token: &str) -> Answer {
    service.send(as_cli("/agent-sessions/refresh", &json!({ "refresh_token": token }))).await
}

async fn works(service: &Service, session: &Value) -> bool {
    service.get_as("/projects", text(session, "access_token")).await.status == StatusCode::OK
}

/// What the callback got: its URL without the query, and the parameters.
fn callback(answer: &Answer) -> (String, Vec<(String, String)>) {
    let (url, query) = answer.header("location").split_once('?').unwrap();
    (url.to_owned(), form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}

#[tokio::test]
async fn live_browser_login_as_the_command_line_does_it() {
    let service = Service::new();
    let started = service.send(as_cli("/agent-sessions/start", &interactive())).await;
    assert_eq!(started.status, StatusCode::CREATED);
    let id = started.json["auth_request_id"].as_str().unwrap().to_owned();
    let expires_at = START.as_millis() + 600_000;
    assert_eq!(
        started.json,
        json!({
            "ok": true, "auth_request_id": id, "authorize_url": format!("{ORIGIN}/agent-sessions/authorize/{id}"),
            "check_phrase": started.json["check_phrase"],
            "poll_token": started.json["poll_token"], "mode": "interactive", "expires_at": expires_at,
            "scopes": ["analytics:read", "projects:read", "projects:write"],
        })
    );
    let login = Login { id: id.clone(), poll_token: started.json["poll_token"].as_str().unwrap().to_owned() };
    assert!(login.poll_token.starts_with("aap_"));

    let approved = login.approve(&service).await;
    let (url, parameters) = callback(&approved);
    assert_eq!(url, CALLBACK);
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["request_id", "exchange_code", "iss"]);
    assert_eq!((parameters[0].1.as_str(), parameters[2].1.as_str()), (id.as_str(), ORIGIN));
    let code = &parameters[1].1;
    assert!(code.starts_with("aae_"));

    let exchanged = login.exchange(&service, &json!({ "exchange_code": code, "code_verifier": VERIFIER })).await;
    assert_eq!(exchanged.status, StatusCode::OK, "{}", exchanged.text);
    let session = &exchanged.json["agent_session"];
    assert_eq!(
        exchanged.json,
        json!({
            "ok": true,
            "agent_session": {
                "id": session["id"], "access_token": session["access_token"], "refresh_token": session["refresh_token"],
                "access_expires_at": START.as_millis() + 3_600_000,
                "refresh_expires_at": START.as_millis() + 30 * 86_400_000,
                "scopes": ["analytics:read", "projects:read", "projects:write"],
            },
            "account": {
                "id": "acct_ada", "email": "ada@example.com", "github_login": null, "google_name": null, "tier": "free",
            },
        })
    );
    assert!(text(session, "id").starts_with("ses_"));
    assert!(works(&service, session).await);
}

#[tokio::test]
async fn detached_login_by_poll_as_the_command_line_does_it() {
    let service = Service::new();
    let login = Login::start(&service, &detached()).await;
    let nothing = json!({ "status": "pending", "exchange_code": null, "account_id": null, "approved_email": null });
    assert_eq!(login.poll(&service).await.json, nothing);
    login.approve(&service).await;
    let approved = login.poll(&service).await;
    assert_eq!(approved.status, StatusCode::OK);
    let code = approved.json["exchange_code"].as_str().unwrap();
    assert_eq!(
        approved.json,
        json!({
            "status": "approved", "exchange_code": code, "account_id": "acct_ada", "approved_email": "ada@example.com",
        })
    );
    assert_eq!(login.poll(&service).await.json, approved.json, "asking again changes nothing");
    // The command line leaves the verifier out; other clients send null.
    let answer = login.exchange(&service, &json!({ "exchange_code": code, "code_verifier": null })).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(works(&service, &answer.json["agent_session"]).await);
    let after = json!({ "status": "exchanged", "exchange_code": null, "account_id": null, "approved_email": null });
    assert_eq!(login.poll(&service).await.json, after);
}

#[tokio::test]
async fn what_the_command_line_looks_for_in_a_refusal_is_there() {
    let service = Service::with(alone());
    let login = Login::start(&service, &detached()).await;
    // Before the human decides there is no code, so only the poll token shows who asks (fault B9).
    let early = json!({ "exchange_code": "aae_whatever", "poll_token": login.poll_token });
    let early = login.exchange(&service, &early).await;
    assert_eq!(early.status, StatusCode::BAD_REQUEST);
    assert_eq!(early.json, json!({ "error": "INVALID_STATE", "message": "auth request is not ready" }));

    let code = login.finish_code(&service).await;
    assert_eq!(login.exchange(&service, &json!({ "exchange_code": code })).await.status, StatusCode::OK);
    let again = login.exchange(&service, &json!({ "exchange_code": code })).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(
        again.json,
        json!({ "error": "AUTH_REQUEST_ALREADY_EXCHANGED", "message": "auth request already exchanged" })
    );

    let denied = Login::start(&service, &detached()).await;
    assert_eq!(denied.decide(&service, &[("decision", "deny")]).await.status, StatusCode::SEE_OTHER);
    let polled = denied.poll(&service).await;
    assert_eq!((polled.status, polled.json["status"].as_str()), (StatusCode::GONE, Some("revoked")));
    assert!(polled.json["message"].as_str().unwrap().contains("revoked"));
    assert!(polled.json["error"].is_string());

    let expired = Login::start(&service, &detached()).await;
    service.clock.advance(600 * SECOND);
    let polled = expired.poll(&service).await;
    assert_eq!((polled.status, polled.json["status"].as_str()), (StatusCode::GONE, Some("expired")));
    assert!(polled.json["message"].as_str().unwrap().contains("expired"));
}

#[tokio::test]
async fn r46_two_seconds_are_never_too_fast_and_a_flood_is() {
    let service = Service::new();
    let login = Login::start(&service, &detached()).await;
    for _ in 0..290 {
        assert_eq!(login.poll(&service).await.status, StatusCode::OK);
        service.clock.advance(2 * SECOND);
    }
    for _ in 0..5 {
        assert_eq!(login.poll(&service).await.status, StatusCode::OK, "five at once");
    }
    let flood = login.poll(&service).await;
    assert_eq!((flood.status, flood.error()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    assert_eq!(flood.header("retry-after"), "1");
    service.clock.advance(SECOND);
    assert_eq!(login.poll(&service).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r47_r50_polling_tells_nobody_else_anything() {
    let service = Service::new();
    let (login, other) = (Login::start(&service, &detached()).await, Login::start(&service, &detached()).await);
    login.approve(&service).await;
    let unknown = Login { id: "reg_0123456789012345678901".into(), poll_token: login.poll_token.clone() };
    let swapped = Login { id: login.id.clone(), poll_token: other.poll_token.clone() };
    let malformed = Login { id: "../../etc".into(), poll_token: "aap_x".into() };
    let claim = service.register(&[]).await;
    let of_other_dialect = Login { id: claim.id.clone(), poll_token: claim.claim_token.clone() };
    let writes = service.store.writes();
    let answers = [
        unknown.poll(&service).await,
        swapped.poll(&service).await,
        malformed.poll(&service).await,
        of_other_dialect.poll(&service).await,
        exchange(&service, &unknown.id, &json!({ "exchange_code": "aae_x" })).await,
        exchange(&service, &login.id, &json!({ "exchange_code": "aae_x" })).await,
        exchange(&service, &claim.id, &json!({ "exchange_code": claim.claim_token })).await,
    ];
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!((&answer.text, &answer.headers), (&answers[0].text, &answers[0].headers));
    }
    for _ in 0..1_000 {
        login.poll(&service).await;
    }
    assert_eq!(service.store.writes(), writes, "none of it changed anything");
    service.clock.advance(10 * SECOND);
    let code = login.polled_code(&service).await;
    assert_eq!(login.exchange(&service, &json!({ "exchange_code": code })).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r48_a_finish_code_is_worth_nothing_without_the_poll_token() {
    let service = Service::new();
    let (login, other) = (Login::start(&service, &finish_code()).await, Login::start(&service, &finish_code()).await);
    let code = login.finish_code(&service).await;
    assert!(code.len() - "aaf_".len() >= 22, "128 bits are 22 base62 characters");

    let reader = login.exchange(&service, &json!({ "exchange_code": code })).await;
    assert_eq!((reader.status, reader.error()), (StatusCode::BAD_REQUEST, "CLIENT_UPGRADE_REQUIRED"));
    for wrong in [other.poll_token.as_str(), "aap_x", ""] {
        let reader = login.exchange(&service, &json!({ "exchange_code": code, "poll_token": wrong })).await;
        assert_eq!(reader.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let polled = login.poll(&service).await;
    assert_eq!(polled.json["exchange_code"], Value::Null, "polling alone never completes");

    let proof = json!({ "exchange_code": code, "poll_token": login.poll_token });
    assert_eq!(login.exchange(&service, &proof).await.status, StatusCode::OK);
    // Two codes are not interchangeable.
    let others = other.finish_code(&service).await;
    let third = Login::start(&service, &finish_code()).await;
    third.finish_code(&service).await;
    let proof = json!({ "exchange_code": others, "poll_token": third.poll_token });
    assert_eq!(third.exchange(&service, &proof).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn r48_a_finish_code_alone_is_good_only_where_the_service_says_so() {
    let off = Service::new();
    let login = Login::start(&off, &detached()).await;
    let approved = login.approve(&off).await;
    assert!(!approved.headers.contains_key("set-cookie"), "there is no code to show");
    let page = off.send(browse("ada", &login.path())).await;
    assert!(!page.text.contains("aaf_") && page.text.contains("by itself"));

    let on = Service::with(alone());
    let login = Login::start(&on, &detached()).await;
    let code = login.finish_code(&on).await;
    on.clock.advance(SECOND);
    let request = common::from_address(
        as_cli("/agent-sessions/exchange", &json!({ "auth_request_id": login.id, "exchange_code": code })),
        "203.0.113.9",
    );
    assert_eq!(on.send(request).await.status, StatusCode::OK);
    // The page tells the human who used it, and lets them take it back.
    let page = on.send(browse("ada", &login.path())).await;
    for needed in ["203.0.113.9", "“node”", "2026-11-24 01:10 UTC", "Revoke this session"] {
        assert!(page.text.contains(needed), "{needed} in {}", page.text);
    }
    let form = page.form("ada");
    let session = common::between(&page.text, "name=\"session\" value=\"", "\"");
    let revoked = on.send(form.post("/sessions", &[("decision", "revoke"), ("session", session)])).await;
    assert!(revoked.header("location").starts_with("/sessions?done=revoked&proof="));
    let page = on.send(browse("ada", &login.path())).await;
    assert!(page.text.contains("and ended") && !page.text.contains("Revoke this session"));
}

#[tokio::test]
async fn r49_five_wrong_codes_lock_a_login_and_four_do_not() {
    let service = Service::new();
    let login = Login::start(&service, &finish_code()).await;
    let code = login.finish_code(&service).await;
    let wrong = json!({ "exchange_code": "aaf_wrong", "poll_token": login.poll_token });
    let right = json!({ "exchange_code": code, "poll_token": login.poll_token });
    // Whoever lacks the poll token can't use up a try.
    for _ in 0..50 {
        let stranger = json!({ "exchange_code": "aaf_wrong", "poll_token": "aap_wrong" });
        assert_eq!(login.exchange(&service, &stranger).await.status, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..4 {
        assert_eq!(login.exchange(&service, &wrong).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(login.exchange(&service, &right).await.status, StatusCode::OK);

    let locked = Login::start(&service, &finish_code()).await;
    let code = locked.finish_code(&service).await;
    let wrong = json!({ "exchange_code": "aaf_wrong", "poll_token": locked.poll_token });
    for _ in 0..5 {
        assert_eq!(locked.exchange(&service, &wrong).await.status, StatusCode::UNAUTHORIZED);
    }
    let right = json!({ "exchange_code": code, "poll_token": locked.poll_token });
    let answer = locked.exchange(&service, &right).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::GONE, "AUTH_REQUEST_REVOKED"));
    assert_eq!(locked.poll(&service).await.json["status"], "revoked");
    let page = service.send(browse("ada", &locked.path())).await;
    assert!(page.text.contains("This request is locked"));
    let events = service.audit.names();
    assert_eq!(events.iter().filter(|name| **name == "code_failed").count(), 9);
    assert_eq!(events.iter().filter(|name| **name == "locked").count(), 1);
}

#[tokio::test]
async fn r49_a_code_that_works_alone_is_guessed_at_five_times_at_most() {
    let service = Service::with(alone());
    let login = Login::start(&service, &detached()).await;
    let code = login.finish_code(&service).await;
    for wrong in ["aaf_wrong", "aae_wrong", "", "x", "aaf_wrong"] {
        let answer = login.exchange(&service, &json!({ "exchange_code": wrong })).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(login.exchange(&service, &json!({ "exchange_code": code })).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn r5_r12_codes_end_at_the_exact_instant() {
    let service = Service::with(alone());
    for (millis, status) in [(599_999, StatusCode::OK), (600_000, StatusCode::GONE)] {
        let login = Login::start(&service, &detached()).await;
        service.clock.advance(Duration::from_secs(300));
        let code = login.finish_code(&service).await;
        service.clock.advance(Duration::from_millis(millis));
        let answer = login.exchange(&service, &json!({ "exchange_code": code })).await;
        assert_eq!(answer.status, status, "a human has ten minutes from the approval on");
    }
    for (millis, status) in [(59_999, StatusCode::OK), (60_000, StatusCode::GONE)] {
        let login = Login::start(&service, &interactive()).await;
        let (_, parameters) = callback(&login.approve(&service).await);
        service.clock.advance(Duration::from_millis(millis));
        let proof = json!({ "exchange_code": parameters[1].1, "code_verifier": VERIFIER });
        assert_eq!(login.exchange(&service, &proof).await.status, status);
    }
}

#[tokio::test]
async fn r51_an_account_that_is_no_longer_active_gets_no_session_and_no_refresh() {
    let service = Service::new();
    let login = Login::start(&service, &detached()).await;
    login.approve(&service).await;
    let code = login.polled_code(&service).await;
    let live = session(&service).await;
    service.accounts.inactive.lock().unwrap().push("acct_ada".into());
    let answer = login.exchange(&service, &json!({ "exchange_code": code })).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::GONE, "AUTH_REQUEST_REVOKED"));
    assert_eq!(refresh(&service, text(&live, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
    service.accounts.inactive.lock().unwrap().clear();
    assert!(!works(&service, &live).await, "and the session is over");
    assert_eq!(login.exchange(&service, &json!({ "exchange_code": code })).await.status, StatusCode::GONE);
    let events = service.audit.events();
    assert!(events.iter().any(|event| matches!(event, Event::Revoked { by: RevokedBy::Service, .. })));
}

#[tokio::test]
async fn r52_r53_the_account_that_opened_decides_and_the_agent_is_told_which_it_was() {
    let service = Service::new();
    let login = Login::start(&service, &detached()).await;
    let form = login.form(&service, "ada").await;
    let page = service.send(browse("mallory", &login.path())).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    for decision in ["approve", "deny"] {
        let forged = Form { human: "mallory".into(), ..form.clone() };
        let answer = service.send(forged.post(&login.path(), &[("decision", decision), ("scope", SCOPES[0])])).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(login.poll(&service).await.json["status"], "pending");
    login.approve(&service).await;
    let code = login.polled_code(&service).await;
    let answer = login.exchange(&service, &json!({ "exchange_code": code })).await;
    assert_eq!(answer.json["account"]["id"], "acct_ada");
}

#[tokio::test]
async fn r55_a_claim_that_is_completed_again_much_later_ends_the_session() {
    let service = Service::new();
    let pending = service.register(&["projects:read"]).await;
    service.approve("ada", &pending, &["projects:read"]).await;
    let completed = service.complete(&pending).await.json;
    service.clock.advance(10 * SECOND);
    assert_eq!(service.complete(&pending).await.status, StatusCode::CONFLICT);
    assert!(works(&service, &completed).await, "sent twice");
    service.clock.advance(Duration::from_millis(1));
    assert_eq!(service.complete(&pending).await.status, StatusCode::CONFLICT);
    assert!(!works(&service, &completed).await, "two hold the claim token, or nobody has the session");
    assert!(service.audit.names().contains(&"reuse_detected"));

    // A wrong secret ends nothing, so this is no way to kick somebody out; nor is a code that works alone.
    let live = session(&service).await;
    let login = Login::start(&service, &interactive()).await;
    let (_, parameters) = callback(&login.approve(&service).await);
    let proof = json!({ "exchange_code": parameters[1].1, "code_verifier": VERIFIER });
    let exchanged = login.exchange(&service, &proof).await.json["agent_session"].clone();
    service.clock.advance(11 * SECOND);
    let wrong = json!({ "exchange_code": parameters[1].1, "code_verifier": "x".repeat(43) });
    assert_eq!(login.exchange(&service, &wrong).await.status, StatusCode::UNAUTHORIZED);
    assert!(works(&service, &exchanged).await && works(&service, &live).await);
    assert_eq!(login.exchange(&service, &proof).await.status, StatusCode::CONFLICT);
    assert!(!works(&service, &exchanged).await && works(&service, &live).await);
}

#[tokio::test]
async fn r64_consent_is_asked_for_each_time() {
    let service = Service::new();
    session(&service).await;
    let second = Login::start(&service, &detached()).await;
    assert_eq!(second.poll(&service).await.json["status"], "pending");
    let page = service.send(browse("ada", &second.path())).await;
    assert!(page.text.contains("value=\"approve\""));
    assert!(!page.text.contains("autofocus"));
    second.decide(&service, &[("decision", "deny")]).await;
    assert_eq!(second.poll(&service).await.status, StatusCode::GONE, "the agent is told at once");
}

#[tokio::test]
async fn r65_scopes_are_narrowed_by_the_human_and_widened_by_nobody() {
    let service = Service::new();
    let login = Login::start(&service, &detached()).await;
    for widened in ["experiments:write", "*", "billing:write", "PROJECTS:READ"] {
        let answer = login.decide(&service, &[("decision", "approve"), ("scope", SCOPES[0]), ("scope", widened)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{widened}");
    }
    assert_eq!(login.poll(&service).await.json["status"], "pending");
    login.decide(&service, &[("decision", "approve"), ("scope", "projects:read")]).await;
    let code = login.polled_code(&service).await;
    let answer = login.exchange(&service, &json!({ "exchange_code": code })).await;
    assert_eq!(answer.json["agent_session"]["scopes"], json!(["projects:read"]));
}

#[tokio::test]
async fn r69_r70_only_a_loopback_or_listed_callback_is_taken_and_checked_again_before_it_is_used() {
    let service =
        Service::with(config().modes(|modes| modes.callback_origins = vec!["https://paperclip.example".into()]));
    let start = async |callback: Value| {
        let body = json!({
            "mode": "interactive", "client_type": "paperclip", "callback_url": callback, "code_challenge": hex_challenge(VERIFIER),
        });
        service.post("/agent-sessions/start", &body).await
    };
    for good in ["http://[::1]:5000/cb", "http://localhost:1024/", "https://paperclip.example/?aa_auth_callback=1"] {
        assert_eq!(start(json!(good)).await.status, StatusCode::CREATED, "{good}");
    }
    for bad in
        ["https://evil.example/", "http://127.0.0.1/", "http://127.0.0.1:9000/cb?state=x", "http://127.0.0.1:80/"]
    {
        let answer = start(json!(bad)).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "INVALID_REQUEST"), "{bad}");
        assert!(answer.json["message"].as_str().unwrap().contains("`callback_url`"));
        assert!(!answer.text.contains("evil"), "no input in an error");
    }
    for missing in [Value::Null, json!(7)] {
        assert_eq!(start(missing).await.status, StatusCode::BAD_REQUEST);
    }
    // An origin that was taken out of the configuration since is not called.
    let before = start(json!("https://paperclip.example/cb")).await;
    let login = Login { id: before.json["auth_request_id"].as_str().unwrap().into(), poll_token: String::new() };
    let after = Service::on(config(), service.store.clone());
    let answer = login.decide(&after, &[("decision", "approve"), ("scope", "projects:read")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!answer.headers.contains_key("location") && answer.text.contains("Nothing was approved"));
    let answer = login.decide(&service, &[("decision", "approve"), ("scope", "projects:read")]).await;
    assert_eq!(callback(&answer).0, "https://paperclip.example/cb");
}

#[tokio::test]
async fn r70_r71_the_redirect_carries_what_it_must_and_no_more() {
    let service = Service::new();
    let state = format!("{}&=%#é \"", "s".repeat(1_000));
    let mut body = interactive();
    body["callback_url"] = json!("http://127.0.0.1:43123/callback?a=b");
    body["state"] = json!(state);
    let login = Login::start(&service, &body).await;
    let approved = login.approve(&service).await;
    assert_eq!(approved.status, StatusCode::SEE_OTHER);
    let location = approved.header("location").to_owned();
    assert!(location.starts_with("http://127.0.0.1:43123/callback?a=b&request_id=reg_"));
    let (_, parameters) = callback(&approved);
    let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "request_id", "exchange_code", "state", "iss"]);
    assert_eq!(parameters[3].1, state);
    for secret in [&login.poll_token, "aas_", "aar_", "aap_", "ada@example.com", "ada%40"] {
        assert!(!location.contains(secret), "{secret}");
    }
    body["state"] = json!("s".repeat(1_025));
    assert_eq!(service.post("/agent-sessions/start", &body).await.status, StatusCode::BAD_REQUEST);

    // A refusal is shown here: the command line's own page says "connected" whatever it is called with.
    let denied = Login::start(&service, &interactive()).await;
    let answer = denied.decide(&service, &[("decision", "deny")]).await;
    assert_eq!(answer.header("location"), denied.path());
    // Nor does anything else lead to the callback.
    let expired = Login::start(&service, &interactive()).await;
    expired.form(&service, "ada").await;
    service.clock.advance(600 * SECOND);
    let page = service.send(browse("ada", &expired.path())).await;
    assert_eq!(page.status, StatusCode::GONE);
    assert!(!page.headers.contains_key("location") && !page.text.contains("127.0.0.1:43123"));
}

#[tokio::test]
async fn b4_a_callback_on_the_services_own_host_is_refused_at_the_start() {
    const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];
    let start = async |service: &Service, callback: &str| {
        let mut body = interactive();
        body["callback_url"] = json!(callback);
        service.post("/agent-sessions/start", &body).await
    };
    // Issuer and resource may each have a host of their own.
    for issuer in LOOPBACK.into_iter().chain(["api.example.com"]) {
        for resource in LOOPBACK.into_iter().chain(["api.example.com"]) {
            let url = |host: &str| {
                if host.ends_with("com") { format!("https://{host}") } else { format!("http://{host}:3000") }
            };
            let service = Service::with(config().resource(&url(resource)).issuer(&url(issuer)));
            let auth_md = service.get("/auth.md").await.text;
            for host in LOOPBACK {
                let own = host == issuer || host == resource;
                // Cookies don't tell ports apart.
                for port in [3000, 43_123] {
                    let answer = start(&service, &format!("http://{host}:{port}/callback")).await;
                    let expected = if own { StatusCode::BAD_REQUEST } else { StatusCode::CREATED };
                    assert_eq!(answer.status, expected, "{host}:{port} {issuer} {resource}");
                    if own {
                        assert_eq!(answer.error(), "INVALID_REQUEST");
                        let message = answer.json["message"].as_str().unwrap();
                        assert!(
                            message.starts_with("`callback_url` must not have the service's own host"),
                            "{message}"
                        );
                    }
                }
                let named = auth_md.split("`callback_url` (http, ").nth(1).unwrap().split(',').next().unwrap();
                assert_eq!(named.contains(host), !own, "{named}");
            }
            for other in [
                "http://127.0.0.2:3001/",
                "http://LOCALHOST:3001/",
                "http://Localhost:3001/",
                "http://a.localhost:3001/",
            ] {
                assert_eq!(start(&service, other).await.status, StatusCode::BAD_REQUEST, "{other}");
            }
        }
    }
    let tls = Service::with(config().resource("https://localhost:8443"));
    assert_eq!(start(&tls, "http://localhost:3001/").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(start(&tls, "http://127.0.0.1:3001/").await.status, StatusCode::CREATED);
    // A cookie of `localhost` stays away from another host below it.
    let below = Service::with(config().resource("https://a.localhost"));
    assert_eq!(start(&below, "http://localhost:3001/").await.status, StatusCode::CREATED);
    // A listed origin is the operator's choice.
    let listed = Service::with(config().modes(|modes| modes.callback_origins = vec![format!("{ORIGIN}:8443")]));
    assert_eq!(start(&listed, &format!("{ORIGIN}:8443/cb")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn b4_a_callback_that_has_become_the_services_own_host_is_not_called() {
    let before = Service::with(config().resource("http://localhost:3000").issuer("http://localhost:3000"));
    let started = before.post("/agent-sessions/start", &interactive()).await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.text);
    let path =
        started.json["authorize_url"].as_str().unwrap().strip_prefix("http://localhost:3000").unwrap().to_owned();
    let after = before.again(config().resource("http://localhost:3000").issuer("http://127.0.0.1:3000"));
    let page = after.send(browse("ada", &path)).await;
    let mut approve = page.form("ada").post(&path, &[("decision", "approve"), ("scope", "projects:read")]);
    approve.headers_mut().insert("origin", "http://127.0.0.1:3000".parse().unwrap());
    let answer = after.send(approve).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("Nothing was approved"), "{}", answer.text);
}

#[tokio::test]
async fn the_page_of_a_live_browser_login_lets_exactly_its_callback_through() {
    let service = Service::new();
    let policy = async |callback: &str, human: &str| {
        let mut body = interactive();
        body["callback_url"] = json!(callback);
        let login = Login::start(&service, &body).await;
        let page = service.send(browse(human, &login.path())).await;
        common::between(page.header("content-security-policy"), "form-action ", ";").to_owned()
    };
    assert_eq!(policy("http://127.0.0.1:43123/callback?x=y", "ada").await, "'self' http://127.0.0.1:43123/callback");
    assert_eq!(policy("http://localhost:5000/", "ada").await, "'self' http://localhost:5000/");
    // A policy can't name an IPv6 address: no redirect follows the form there, but a page that goes on by itself.
    assert_eq!(policy("http://[::1]:5000/cb", "ada").await, "'self'");
    let mut body = interactive();
    body["callback_url"] = json!("http://[::1]:5000/cb");
    let login = Login::start(&service, &body).await;
    let answer = login.decide(&service, &[("decision", "approve"), ("scope", SCOPES[0])]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.goes_on_to().starts_with("http://[::1]:5000/cb?request_id=reg_"));
    assert!(answer.text.contains("Approved"));

    let detached = Login::start(&service, &detached()).await;
    let page = service.send(browse("ada", &detached.path())).await;
    assert!(page.header("content-security-policy").contains("form-action 'self';"));
    // Its one script is named by a nonce that is new each time.
    let scripts = between(page.header("content-security-policy"), "script-src ", ";");
    assert_eq!(scripts, format!("'nonce-{}'", between(&page.text, "<script nonce=\"", "\"")));
}

#[tokio::test]
async fn r73_a_live_browser_login_needs_its_verifier() {
    let service = Service::new();
    for challenge in [json!(null), json!("plain"), json!(hex_challenge(VERIFIER).to_uppercase()), json!(7)] {
        let mut body = interactive();
        body["code_challenge"] = challenge;
        assert_eq!(service.post("/agent-sessions/start", &body).await.status, StatusCode::BAD_REQUEST);
    }
    let login = Login::start(&service, &interactive()).await;
    let early = login.exchange(&service, &json!({ "exchange_code": "aae_x", "code_verifier": VERIFIER })).await;
    assert_eq!((early.status, early.error()), (StatusCode::BAD_REQUEST, "INVALID_STATE"));
    let (_, parameters) = callback(&login.approve(&service).await);
    let code = &parameters[1].1;
    let newline = format!("{VERIFIER}\n");
    let long = "a".repeat(129);
    for wrong in [json!(null), json!(""), json!(hex_challenge(VERIFIER)), json!(newline)] {
        let answer = login.exchange(&service, &json!({ "exchange_code": code, "code_verifier": wrong })).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    // Neither half: not counted.
    let neither = json!({ "exchange_code": "aae_x", "code_verifier": long });
    assert_eq!(login.exchange(&service, &neither).await.status, StatusCode::UNAUTHORIZED);
    let right = json!({ "exchange_code": code, "code_verifier": VERIFIER });
    assert_eq!(login.exchange(&service, &right).await.status, StatusCode::OK, "within five tries");

    let digest = sha2::Sha256::digest(VERIFIER.as_bytes());
    let mut body = interactive();
    body["code_challenge"] = json!(BASE64URL_NOPAD.encode(&digest));
    let login = Login::start(&service, &body).await;
    let (_, parameters) = callback(&login.approve(&service).await);
    let right = json!({ "exchange_code": parameters[1].1, "code_verifier": VERIFIER });
    assert_eq!(login.exchange(&service, &right).await.status, StatusCode::OK);

    let detached = Login::start(&service, &detached()).await;
    detached.approve(&service).await;
    let code = detached.polled_code(&service).await;
    let answer = detached.exchange(&service, &json!({ "exchange_code": code, "code_verifier": VERIFIER })).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "there was no challenge");
}

#[tokio::test]
async fn r74_the_modes_do_not_mix() {
    let service = Service::new();
    let bodies = [interactive(), detached(), finish_code()];
    for (started, body) in bodies.iter().enumerate() {
        // What a thief of the other ways would have: the callback's code, the poll's code, the page's code.
        for way in 0..3 {
            let login = Login::start(&service, body).await;
            let form = login.form(&service, "ada").await;
            let approved = service.send(form.post(&login.path(), &all_of(&SCOPES))).await;
            let by_redirect = approved.headers.get("location").and_then(|url| {
                let (_, query) = url.to_str().unwrap().split_once('?')?;
                form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "exchange_code")
            });
            let by_redirect = by_redirect.map(|(_, code)| code.into_owned());
            let by_poll = login.poll(&service).await.json["exchange_code"].as_str().map(str::to_owned);
            let by_page = login.shown_code(&service, &form).await;
            assert_eq!(by_redirect.is_some(), started == 0);
            assert_eq!(by_poll.is_some(), started == 1);
            assert_eq!(by_page.is_some(), started == 2);
            let code = [by_redirect, by_poll, by_page][way].clone().unwrap_or_else(|| "aae_none".into());
            let proof = match way {
                0 => json!({ "exchange_code": code, "code_verifier": VERIFIER }),
                1 => json!({ "exchange_code": code }),
                _ => json!({ "exchange_code": code, "poll_token": login.poll_token }),
            };
            let answer = login.exchange(&service, &proof).await;
            assert_eq!(answer.status == StatusCode::OK, started == way, "{started} by {way}: {}", answer.text);
        }
    }
    for field in ["callback_url", "code_challenge", "state"] {
        let mut body = detached();
        body[field] = json!("x");
        assert_eq!(service.post("/agent-sessions/start", &body).await.status, StatusCode::BAD_REQUEST, "{field}");
    }
}

#[tokio::test]
async fn a_mode_that_is_off_is_refused_and_not_advertised() {
    for (name, body) in [("interactive", interactive()), ("detached", detached()), ("finish_code", finish_code())] {
        let service = Service::with(config().modes(|modes| match name {
            "interactive" => modes.browser = false,
            "detached" => modes.detached = false,
            _ => modes.finish_code = false,
        }));
        let answer = service.post("/agent-sessions/start", &body).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "MODE_NOT_ENABLED"), "{name}");
        let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
        let supported = metadata["agent_auth"]["agent_sessions"]["modes_supported"].as_array().unwrap();
        assert!(supported.len() == 2 && !supported.contains(&json!(name)));
        let auth_md = service.get("/auth.md").await.text;
        assert!(!auth_md.contains(&format!("| `{name}` |")), "{name}");
    }
    let service = Service::with(config().dialects(&[tower_agent_auth::config::Dialect::AgentAuth]));
    assert_eq!(service.post("/agent-sessions/start", &detached()).await.status, StatusCode::NOT_FOUND);
    let metadata = service.get("/.well-known/oauth-authorization-server").await.text;
    assert!(!metadata.contains("agent-sessions"));
    assert!(!service.get("/auth.md").await.text.contains("agent-sessions"));
}

#[tokio::test]
async fn r75_refresh_rotates_as_the_command_line_does_it() {
    let service = Service::new();
    let first = session(&service).await;
    service.clock.advance(3_600 * SECOND);
    assert!(!works(&service, &first).await);
    // The dead access token comes along.
    let mut request = as_cli("/agent-sessions/refresh", &json!({ "refresh_token": first["refresh_token"] }));
    let dead = format!("Bearer {}", text(&first, "access_token"));
    request.headers_mut().insert("authorization", dead.parse().unwrap());
    let answer = service.send(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let second = &answer.json["agent_session"];
    let now = START.as_millis() + 3_600_000;
    assert_eq!(
        answer.json,
        json!({ "ok": true, "agent_session": {
            "session_id": first["id"], "access_token": second["access_token"], "refresh_token": second["refresh_token"],
            "access_expires_at": now + 3_600_000, "refresh_expires_at": now + 30 * 86_400_000_i64,
            "scopes": first["scopes"],
            "account": { "id": "acct_ada", "email": "ada@example.com", "github_login": null, "google_name": null, "tier": "free" },
        } })
    );
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert!(works(&service, second).await);
    let third = refresh(&service, text(second, "refresh_token")).await.json["agent_session"].clone();
    assert!(works(&service, &third).await && !works(&service, second).await);
    for (body, status) in [
        (json!({}), StatusCode::BAD_REQUEST),
        (json!({ "refresh_token": "aar_x" }), StatusCode::UNAUTHORIZED),
        (json!({ "refresh_token": third["access_token"] }), StatusCode::UNAUTHORIZED),
    ] {
        let answer = service.post("/agent-sessions/refresh", &body).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.json["error"].is_string() && answer.json["message"].is_string());
    }
}

#[tokio::test]
async fn r76_a_refresh_token_that_comes_back_late_ends_the_family_and_no_other() {
    let service = Service::new();
    let (first, other) = (session(&service).await, session(&service).await);
    let mut current = first.clone();
    for _ in 0..3 {
        current = refresh(&service, text(&current, "refresh_token")).await.json["agent_session"].clone();
    }
    assert!(works(&service, &current).await);
    let reused = refresh(&service, text(&first, "refresh_token")).await;
    assert_eq!((reused.status, reused.error()), (StatusCode::UNAUTHORIZED, "INVALID_REFRESH_TOKEN"));
    assert!(!works(&service, &current).await);
    assert_eq!(refresh(&service, text(&current, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
    assert!(works(&service, &other).await);
    let page = service.send(browse("ada", "/sessions")).await;
    assert!(page.text.contains("a secret was used twice"), "the human is told");
    let events = service.audit.events();
    let id = text(&first, "id");
    assert!(events.iter().any(|event| matches!(event, Event::ReuseDetected { session } if session.as_str() == id)));
    assert!(events.iter().any(|event| matches!(event, Event::Revoked { by: RevokedBy::Reuse, .. })));
}

#[tokio::test]
async fn r77_within_the_grace_the_previous_token_gets_the_same_successor() {
    let service = Service::new();
    let grace = service.auth.config().lifetimes().refresh_grace;
    let first = session(&service).await;
    let token = text(&first, "refresh_token");
    let second = refresh(&service, token).await.json;
    for _ in 0..50 {
        assert_eq!(refresh(&service, token).await.json, second);
    }
    service.clock.advance(grace - Duration::from_millis(1));
    let repeated = refresh(&service, token).await.json;
    assert_eq!(repeated, second, "the same answer, instants included");
    assert!(works(&service, &repeated["agent_session"]).await);
    service.clock.advance(Duration::from_millis(1));
    assert_eq!(refresh(&service, token).await.status, StatusCode::UNAUTHORIZED);
    assert!(!works(&service, &second["agent_session"]).await, "at the end of the grace it is reuse");

    // Once the successor was used, its predecessor has no grace.
    let first = session(&service).await;
    let second = refresh(&service, text(&first, "refresh_token")).await.json["agent_session"].clone();
    let third = refresh(&service, text(&second, "refresh_token")).await.json["agent_session"].clone();
    assert_eq!(refresh(&service, text(&first, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
    assert!(!works(&service, &third).await);

    let strict = Service::with(config().lifetimes(|lifetimes| lifetimes.refresh_grace = Duration::ZERO));
    let first = session(&strict).await;
    let second = refresh(&strict, text(&first, "refresh_token")).await.json["agent_session"].clone();
    assert_eq!(refresh(&strict, text(&first, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
    assert!(!works(&strict, &second).await);
}

/// The answer is lost, the agent waits for its time-out, and tries again. Each time-out is one that clients have.
#[tokio::test]
async fn c2_a_retry_after_a_usual_time_out_gets_the_lost_answer() {
    let service = Service::new();
    for timeout in [5_000, 10_000, 10_500, 15_000, 30_000, 30_500, 45_000, 59_999] {
        let first = session(&service).await;
        let lost = refresh(&service, text(&first, "refresh_token")).await.json;
        service.clock.advance(Duration::from_millis(timeout));
        let again = refresh(&service, text(&first, "refresh_token")).await;
        assert_eq!((again.status, &again.json), (StatusCode::OK, &lost), "{timeout}");
        assert!(works(&service, &again.json["agent_session"]).await, "{timeout}");
        let next = refresh(&service, text(&again.json["agent_session"], "refresh_token")).await;
        assert_eq!(next.status, StatusCode::OK, "{timeout}: {}", next.text);
    }
    assert!(!service.audit.names().contains(&"reuse_detected"));
}

/// auth.md says how long, in whole seconds that a client can rely on.
#[tokio::test]
async fn c2_the_grace_is_what_the_configuration_and_auth_md_say() {
    for (grace, said) in [(1_000, "within 1 seconds"), (20_000, "within 20 seconds"), (60_000, "within 60 seconds")] {
        let grace = Duration::from_millis(grace);
        let service = Service::with(config().lifetimes(|lifetimes| lifetimes.refresh_grace = grace));
        assert!(service.get("/auth.md").await.text.contains(said), "{said}");
        let before = Duration::from_millis(1);
        for (wait, kept) in [(grace - before, true), (grace, false), (grace + before, false)] {
            let first = session(&service).await;
            let second = refresh(&service, text(&first, "refresh_token")).await.json["agent_session"].clone();
            service.clock.advance(wait);
            let again = refresh(&service, text(&first, "refresh_token")).await;
            assert_eq!(again.status == StatusCode::OK, kept, "{grace:?} after {wait:?}");
            assert_eq!(works(&service, &second).await, kept, "{grace:?} after {wait:?}");
        }
    }
}

#[tokio::test]
async fn r78_a_refresh_may_narrow_and_never_widens() {
    let service = Service::new();
    let login = Login::start(&service, &detached()).await;
    login.decide(&service, &[("decision", "approve"), ("scope", "projects:read"), ("scope", "projects:write")]).await;
    let code = login.polled_code(&service).await;
    let first = login.exchange(&service, &json!({ "exchange_code": code })).await.json["agent_session"].clone();
    let with = async |token: &str, field: &str, value: Value| {
        service.post("/agent-sessions/refresh", &json!({ "refresh_token": token, field: value })).await
    };
    let token = text(&first, "refresh_token");
    for (field, value, error) in [
        ("scopes", json!(["analytics:read"]), "INVALID_SCOPE"),
        ("scopes", json!(["nonsense"]), "INVALID_SCOPE"),
        ("resource", json!("https://other.example.com"), "INVALID_TARGET"),
    ] {
        let answer = with(token, field, value).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, error));
        assert!(works(&service, &first).await, "nothing was used up");
    }
    let narrowed = with(token, "scopes", json!(["projects:read"])).await.json["agent_session"].clone();
    assert_eq!(narrowed["scopes"], json!(["projects:read"]));
    let write = service.get_as("/write", text(&narrowed, "access_token")).await;
    assert_eq!(write.status, StatusCode::FORBIDDEN);
    let whole = with(text(&narrowed, "refresh_token"), "resource", json!(ORIGIN)).await.json["agent_session"].clone();
    assert_eq!(whole["scopes"], json!(["projects:read", "projects:write"]), "what was granted, and no more");
}

#[tokio::test]
async fn r12_a_refresh_never_outlives_the_session() {
    let service = Service::with(
        config()
            .lifetimes(|lifetimes| lifetimes.access = Duration::from_secs(3_600))
            .lifetimes(|lifetimes| lifetimes.refresh = Duration::from_secs(7_200))
            .lifetimes(|lifetimes| lifetimes.session = Duration::from_secs(9_000)),
    );
    let first = session(&service).await;
    service.clock.advance(6_000 * SECOND);
    let second = refresh(&service, text(&first, "refresh_token")).await.json["agent_session"].clone();
    let end = START.as_millis() + 9_000_000;
    assert_eq!((second["access_expires_at"].as_i64(), second["refresh_expires_at"].as_i64()), (Some(end), Some(end)));
    service.clock.advance(3_000 * SECOND);
    assert!(!works(&service, &second).await);
    assert_eq!(refresh(&service, text(&second, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
    // Unused, it ends sooner.
    let idle = session(&service).await;
    service.clock.advance(7_200 * SECOND);
    assert_eq!(refresh(&service, text(&idle, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn r79_r80_either_token_ends_the_whole_session_and_unknown_ones_are_no_error() {
    let service = Service::new();
    for field in ["access_token", "refresh_token"] {
        let first = session(&service).await;
        let second = refresh(&service, text(&first, "refresh_token")).await.json["agent_session"].clone();
        let answer = service.post("/agent/auth/revoke", &json!({ "token": second[field] })).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, ""));
        assert!(!works(&service, &second).await);
        assert_eq!(refresh(&service, text(&second, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
        let again = service.post("/agent/auth/revoke", &json!({ "token": second[field] })).await;
        assert_eq!((again.status, again.text.as_str()), (StatusCode::OK, ""));
    }
    // Revoking all also takes back what was approved and not yet redeemed.
    let login = Login::start(&service, &detached()).await;
    login.approve(&service).await;
    let code = login.polled_code(&service).await;
    service.auth.ceremony().unwrap().revoke_all(&account("ada").id).await.unwrap();
    assert_eq!(login.exchange(&service, &json!({ "exchange_code": code })).await.status, StatusCode::GONE);
    assert_eq!(login.poll(&service).await.json["status"], "revoked");
}

#[tokio::test]
async fn r81_r87_an_agent_sees_and_revokes_only_itself() {
    let service = Service::new();
    let (own, sibling) = (session(&service).await, session(&service).await);
    let list = async |token: &str| service.get_as("/account/agent-sessions", token).await;
    assert!(works(&service, &own).await);
    let answer = list(text(&own, "access_token")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let entry = json!({
        "id": own["id"], "client_type": "cli", "client_name": "Agent Analytics CLI", "client_instance_id": "pid:123",
        "label": null, "scopes": own["scopes"], "status": "active", "created_at": START.as_millis(),
        "last_used_at": START.as_millis(), "access_expires_at": own["access_expires_at"],
        "refresh_expires_at": own["refresh_expires_at"], "revoked_at": null,
    });
    assert_eq!(answer.json, json!({ "sessions": [entry] }));

    let revoke = async |token: &str, id: &str| {
        let mut request = as_cli("/agent-sessions/revoke", &json!({ "session_id": id }));
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        service.send(request).await
    };
    let token = text(&own, "access_token");
    let foreign = revoke(token, text(&sibling, "id")).await;
    let unknown = revoke(token, "ses_0123456789012345678901").await;
    let malformed = revoke(token, "'; DROP TABLE").await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert_eq!((&foreign.text, &foreign.text), (&unknown.text, &malformed.text));
    assert!(works(&service, &sibling).await);
    let done = revoke(token, text(&own, "id")).await;
    assert_eq!((done.status, done.json), (StatusCode::OK, json!({ "ok": true, "session_id": own["id"] })));
    assert!(!works(&service, &own).await);
    let gone = revoke(token, text(&own, "id")).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "so that the command line refreshes, and learns that it is over");
    assert!(gone.header("www-authenticate").starts_with("Bearer resource_metadata="));
    assert_eq!(list(token).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(service.get("/account/agent-sessions").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn d8_a_caller_who_is_not_authenticated_causes_no_write() {
    let service = Service::new();
    let own = session(&service).await;
    service.clock.advance(common::SECOND);
    assert!(works(&service, &own).await);
    let token = text(&own, "access_token");
    // One use waits to be written.
    let (writes, list) = (service.store.writes(), "/account/agent-sessions");
    let unknown = format!("{}{}", &token[..token.len() - 1], if token.ends_with('x') { 'y' } else { 'x' });
    for (path, token) in [(list, Some(unknown.as_str())), (list, Some("aas_")), (list, Some("x")), (list, None)] {
        let answer = match token {
            Some(token) => service.get_as(path, token).await,
            None => service.get(path).await,
        };
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token:?}");
    }
    let mut two = bearer(http::Method::GET, list, token);
    two.headers_mut().append("authorization", "Bearer aas_x".parse().unwrap());
    assert_eq!(service.send(two).await.status, StatusCode::BAD_REQUEST);
    assert_ne!(service.get("/sessions").await.status, StatusCode::OK);
    for path in ["/agent-sessions/revoke", "/agent-sessions/refresh", "/agent-sessions/poll"] {
        let body = json!({ "session_id": own["id"], "refresh_token": "aar_x", "auth_request_id": own["id"], "poll_token": "x" });
        assert_eq!(service.send(as_cli(path, &body)).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(service.store.writes(), writes);
    // Nor does a store that fails to write keep a 401 from such a caller.
    service.store.break_after(0, common::Fault::Unavailable);
    assert_eq!(service.get(list).await.status, StatusCode::UNAUTHORIZED);
    service.store.mend();
    assert_eq!(service.get_as(list, token).await.status, StatusCode::OK);
    assert_eq!(service.store.writes(), writes + 1, "the use is written for the agent");
}

#[tokio::test]
async fn g16_the_last_use_of_a_new_session_is_a_number() {
    let service = Service::new();
    let own = session(&service).await;
    service.clock.advance(common::SECOND);
    let mut entries = Vec::new();
    for list in [
        service.send(browse("ada", "/account/agent-sessions")).await,
        service.get_as("/account/agent-sessions", text(&own, "access_token")).await,
    ] {
        let entry = list.json["sessions"][0].clone();
        assert_eq!(entry["last_used_at"], entry["created_at"]);
        assert_eq!(entry["last_used_at"], json!(START.as_millis()));
        entries.push(entry);
    }
    assert_eq!(entries[0].as_object_mut().unwrap().remove("name"), Some(Value::Null), "for the human only");
    assert_eq!(entries[0], entries[1]);
    assert!(works(&service, &own).await);
    let used = service.send(browse("ada", "/account/agent-sessions")).await.json;
    assert_eq!(used["sessions"][0]["last_used_at"], json!(START.after(common::SECOND).as_millis()));
    service.auth.ceremony().unwrap().revoke_token(text(&own, "access_token"), None).await.unwrap();
    let ended = service.send(browse("ada", "/account/agent-sessions")).await.json;
    assert!(ended["sessions"][0]["last_used_at"].is_i64(), "of a session that has ended, too");
}

#[tokio::test]
async fn r82_what_was_revoked_meanwhile_is_not_shown_to_its_agent() {
    let service = Service::new();
    let own = session(&service).await;
    let ceremony = service.auth.ceremony().unwrap();
    let token = text(&own, "access_token");
    let found = ceremony.session(token.as_bytes()).await.unwrap().unwrap();
    let record = ceremony.own_record(&found).await.unwrap().unwrap();
    assert_eq!((&record.session, &record.client.name), (&found, &found.client));
    ceremony.revoke_token(token, None).await.unwrap();
    assert_eq!(ceremony.own_record(&found).await.unwrap(), None);
}

#[tokio::test]
async fn r81_r87_r90_a_human_sees_and_revokes_all_of_the_own_account() {
    let service = Service::new();
    let (one, two) = (session(&service).await, session(&service).await);
    service.session("bob", &["projects:read"]).await;
    let list = service.send(browse("ada", "/account/agent-sessions")).await;
    let ids: Vec<&str> = list.json["sessions"].as_array().unwrap().iter().map(|entry| text(entry, "id")).collect();
    assert_eq!(ids, [text(&two, "id"), text(&one, "id")]);
    assert_eq!(list.json["next"], Value::Null);
    let revoke = |human: &str, id: &str, site: &str| {
        let mut request = json_request("/agent-sessions/revoke", &json!({ "session_id": id }).to_string());
        let headers = request.headers_mut();
        headers.insert("cookie", format!("user={human}").parse().unwrap());
        headers.insert("sec-fetch-site", site.parse().unwrap());
        request
    };
    let answer = service.send(revoke("bob", text(&one, "id"), "same-origin")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = service.send(revoke("ada", text(&one, "id"), "cross-site")).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(works(&service, &one).await);
    let answer = service.send(revoke("ada", text(&one, "id"), "same-origin")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!works(&service, &one).await && works(&service, &two).await);
    let list = service.send(browse("ada", "/account/agent-sessions")).await.json;
    assert_eq!(
        (&list["sessions"][1]["status"], &list["sessions"][1]["revoked_at"]),
        (&json!("revoked"), &json!(START.as_millis()))
    );
    // An agent's credential is nobody's sign-in, even beside a good cookie.
    let mut both = bearer(http::Method::GET, "/account/agent-sessions", text(&two, "access_token"));
    both.headers_mut().insert("cookie", "user=ada".parse().unwrap());
    assert_eq!(service.send(both).await.json["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn r87_a_long_list_comes_in_pages() {
    let service = Service::with(config().no_limits());
    for _ in 0..120 {
        session(&service).await;
    }
    let (mut path, mut sizes, mut seen) =
        ("/account/agent-sessions".to_owned(), Vec::new(), std::collections::HashSet::new());
    loop {
        let page = service.send(browse("ada", &path)).await.json;
        let sessions = page["sessions"].as_array().unwrap();
        sizes.push(sessions.len());
        seen.extend(sessions.iter().map(|entry| text(entry, "id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = next.strip_prefix(ORIGIN).unwrap().to_owned();
    }
    assert_eq!((sizes, seen.len()), (vec![50, 50, 20], 120));
}

#[tokio::test]
async fn r82_a_revoke_that_fails_never_looks_done() {
    let service = Service::new();
    let live = session(&service).await;
    let revoke = async || {
        let mut request = as_cli("/agent-sessions/revoke", &json!({ "session_id": live["id"] }));
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {}", text(&live, "access_token")).parse().unwrap());
        service.send(request).await
    };
    for after in [0, 1] {
        service.store.break_after(after, common::Fault::Unavailable);
        let answer = revoke().await;
        assert_eq!((answer.status, answer.error()), (StatusCode::SERVICE_UNAVAILABLE, "TEMPORARILY_UNAVAILABLE"));
        assert!(answer.headers.contains_key("retry-after"));
        service.store.mend();
        assert!(works(&service, &live).await, "what was not acknowledged did not happen");
    }
    assert_eq!(revoke().await.status, StatusCode::OK);
    assert!(!works(&service, &live).await);
}

#[tokio::test]
async fn r91_a_failed_store_is_503_at_every_step_and_changes_nothing() {
    let service = Service::with(alone());
    let login = Login::start(&service, &detached()).await;
    login.approve(&service).await;
    let code = login.polled_code(&service).await;
    let live = session(&service).await;
    let requests = [
        ("/agent-sessions/start", detached()),
        ("/agent-sessions/poll", json!({ "auth_request_id": login.id, "poll_token": login.poll_token })),
        ("/agent-sessions/exchange", json!({ "auth_request_id": login.id, "exchange_code": code })),
        ("/agent-sessions/exchange", json!({ "auth_request_id": login.id, "exchange_code": "aaf_wrong" })),
        ("/agent-sessions/refresh", json!({ "refresh_token": live["refresh_token"] })),
    ];
    for (path, body) in &requests {
        for after in 0..2 {
            service.store.break_after(after, common::Fault::Unavailable);
            let answer = service.send(as_cli(path, body)).await;
            service.store.mend();
            if after == 0 {
                assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
                assert_eq!(answer.error(), "TEMPORARILY_UNAVAILABLE");
            }
            assert_ne!(answer.status.as_u16() / 100, 2, "{path} {after} {}", answer.text);
            service.clock.advance(SECOND);
            if *path != "/agent-sessions/exchange" && *path != "/agent-sessions/refresh" {
                break;
            }
        }
    }
    assert_eq!(login.exchange(&service, &json!({ "exchange_code": code })).await.status, StatusCode::OK);
    assert_eq!(refresh(&service, text(&live, "refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r88_an_agent_approves_nothing() {
    let service = Service::new();
    let live = session(&service).await;
    let token = text(&live, "access_token");
    let login = Login::start(&service, &detached()).await;
    let form = login.form(&service, "ada").await;
    for decision in ["approve", "deny"] {
        let mut request = form.post(&login.path(), &[("decision", decision), ("scope", SCOPES[0])]);
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        assert_eq!(service.send(request).await.status, StatusCode::BAD_REQUEST);
        let mut request = form.post(&login.path(), &[("decision", decision), ("scope", SCOPES[0])]);
        request.headers_mut().remove("cookie");
        assert!(service.send(request).await.goes_on_to().starts_with("/login?next="), "to sign in");
    }
    assert_eq!(login.poll(&service).await.json["status"], "pending");
}

#[tokio::test]
async fn r89_another_resource_refreshes_nothing_with_our_tokens() {
    let service = Service::new();
    let live = session(&service).await;
    let other = Service::on(config().resource("https://other.example.com"), service.store.clone());
    assert_eq!(refresh(&other, text(&live, "refresh_token")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        other.get_as("/account/agent-sessions", text(&live, "access_token")).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(refresh(&service, text(&live, "refresh_token")).await.status, StatusCode::OK, "and used nothing up");
}

#[tokio::test]
async fn r63_the_page_says_what_is_new_and_how_the_access_is_handed_over() {
    let service = Service::new();
    let page = async |body: &Value| {
        let login = Login::start(&service, body).await;
        service.send(browse("ada", &login.path())).await.text
    };
    let first = page(&detached()).await;
    assert!(first.contains("You have never let an agent use this account."));
    assert!(first.contains("collects its access by itself"));
    session(&service).await;
    let known = page(&detached()).await;
    assert!(!known.contains("You have never let an agent"));
    let new = page(&finish_code()).await;
    assert!(new.contains("You have let other agents in, and none of this name."));
    assert!(new.contains("You take a code from this page to the agent."));
    assert!(
        page(&interactive())
            .await
            .contains("Your browser takes the access to http:&#x2f;&#x2f;127.0.0.1:43123, a program on this computer.")
    );
    assert!(new.contains("At most 90 days") && new.contains("if the agent does not use it for 30 days"));
}

#[tokio::test]
async fn r66_an_old_sign_in_approves_nothing() {
    let service = Service::new();
    let signed_in = |at| *service.accounts.since.lock().unwrap() = Some(at);
    let fields = [("decision", "approve"), ("scope", SCOPES[0])];
    signed_in(START);
    service.clock.advance(Duration::from_millis(15 * 60_000 - 1));
    let login = Login::start(&service, &detached()).await;
    let form = login.form(&service, "ada").await;
    service.clock.advance(Duration::from_millis(1));
    let step_up = format!("/step-up?next={}", login.path());
    let page = service.send(browse("ada", &login.path())).await;
    assert_eq!(page.header("location"), step_up);
    let answer = service.send(form.post(&login.path(), &fields)).await;
    assert!(answer.goes_on_to().starts_with(&format!("{step_up}?ticked=")), "checked when it is sent, too");
    assert_eq!(login.poll(&service).await.json["status"], "pending");
    signed_in(service.clock.now());
    let answer = service.send(form.post(&login.path(), &fields)).await;
    assert_eq!(answer.header("location"), login.path());
    assert_eq!(login.poll(&service).await.json["status"], "approved");

    // Denying needs no fresh sign-in, nor does revoking.
    let denied = Login::start(&service, &detached()).await;
    let form = denied.form(&service, "ada").await;
    signed_in(START);
    let answer = service.send(form.post(&denied.path(), &[("decision", "deny")])).await;
    assert_eq!(answer.header("location"), denied.path());
    assert_eq!(service.send(browse("ada", "/sessions")).await.status, StatusCode::OK);

    // A host that does not say when its human signed in is refused if the service asks for freshness.
    let strict = Service::with(config().lifetimes(|lifetimes| lifetimes.sign_in = Some(Duration::from_secs(60))));
    let login = Login::start(&strict, &detached()).await;
    let page = strict.send(browse("ada", &login.path())).await;
    assert_eq!(page.header("location"), format!("/step-up?next={}", login.path()));
}

#[tokio::test]
async fn r104_each_endpoint_has_its_rate_by_source() {
    let service = Service::new();
    let id = "reg_0123456789012345678901";
    let cases: [(&str, Value, usize); 6] = [
        ("/agent/auth/claim/complete", json!({ "claim_token": "x" }), 60),
        ("/agent-sessions/start", detached(), 10),
        ("/agent-sessions/poll", json!({ "auth_request_id": id, "poll_token": "x" }), 600),
        ("/agent-sessions/exchange", json!({ "auth_request_id": id, "exchange_code": "x" }), 60),
        ("/agent-sessions/refresh", json!({ "refresh_token": "x" }), 60),
        ("/agent-sessions/revoke", json!({ "session_id": "x" }), 60),
    ];
    for (path, body, rate) in cases {
        let send = async |address: &str| service.send(common::from_address(as_cli(path, &body), address)).await;
        service.clock.advance(60 * SECOND);
        for count in 0..rate {
            assert_ne!(send("192.0.2.1").await.status, StatusCode::TOO_MANY_REQUESTS, "{path} {count}");
        }
        let refused = send("192.0.2.1").await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert!(refused.json["error"].is_string() && refused.json["message"].is_string());
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert_ne!(send("192.0.2.2").await.status, StatusCode::TOO_MANY_REQUESTS, "another source is not concerned");
        service.clock.advance(Duration::from_secs(wait));
        assert_ne!(send("192.0.2.1").await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    let page = async || {
        let mut request = browse("ada", &format!("/agent-sessions/authorize/{id}"));
        request.extensions_mut().insert(std::net::SocketAddr::from(([192, 0, 2, 1], 1)));
        service.send(request).await
    };
    for _ in 0..120 {
        assert_eq!(page().await.status, StatusCode::NOT_FOUND);
    }
    let refused = page().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers.contains_key("retry-after") && refused.text.contains("Too many requests"));

    let off = Service::with(config().limits(|limits| {
        limits.rates.authorization_requests = None;
        (limits.pending_per_source, limits.pending_total) = (None, None);
    }));
    for _ in 0..200 {
        let request = common::from_address(as_cli("/agent-sessions/start", &detached()), "192.0.2.1");
        assert_eq!(off.send(request).await.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn r105_each_change_of_state_is_one_event() {
    let service = Service::new();
    let login = Login::start(&service, &finish_code()).await;
    let code = login.finish_code(&service).await;
    login.exchange(&service, &json!({ "exchange_code": "aaf_x", "poll_token": login.poll_token })).await;
    let proof = json!({ "exchange_code": code, "poll_token": login.poll_token });
    let first = login.exchange(&service, &proof).await.json["agent_session"].clone();
    refresh(&service, text(&first, "refresh_token")).await;
    refresh(&service, text(&first, "refresh_token")).await;
    service.clock.advance(service.auth.config().lifetimes().refresh_grace);
    refresh(&service, text(&first, "refresh_token")).await;
    assert_eq!(
        service.audit.names(),
        [
            "no_client_address",
            "requested",
            "viewed",
            "approved",
            "code_failed",
            "redeemed",
            "refreshed",
            "refresh_repeated",
            "reuse_detected",
            "revoked",
        ]
    );
    let told = format!("{:?}", service.audit.events());
    for secret in [login.poll_token.as_str(), &code, text(&first, "access_token"), text(&first, "refresh_token")] {
        assert!(!told.contains(secret));
    }
}

#[tokio::test]
async fn r3_each_secret_is_good_in_its_own_place_only() {
    let service = Service::with(alone());
    let claim = service.register(&["projects:read"]).await;
    let browser = Login::start(&service, &interactive()).await;
    let (_, parameters) = callback(&browser.approve(&service).await);
    let detached_login = Login::start(&service, &detached()).await;
    let finish = detached_login.finish_code(&service).await;
    let live = session(&service).await;
    let secrets = [
        text(&live, "access_token").to_owned(),
        text(&live, "refresh_token").to_owned(),
        claim.claim_token.clone(),
        browser.poll_token.clone(),
        parameters[1].1.clone(),
        finish,
    ];
    for (index, secret) in secrets.iter().enumerate() {
        let as_bearer = service.get_as("/projects", secret).await.status == StatusCode::OK;
        assert_eq!(as_bearer, index == 0, "bearer {index}");
        let as_claim = service.post("/agent/auth/claim", &json!({ "claim_token": secret })).await.status;
        assert_eq!(as_claim == StatusCode::OK, index == 2, "claim {index}");
        let as_poll = Login { id: browser.id.clone(), poll_token: secret.clone() }.poll(&service).await.status;
        assert_eq!(as_poll == StatusCode::OK, index == 3, "poll {index}");
        if index != 1 {
            assert_eq!(refresh(&service, secret).await.status, StatusCode::UNAUTHORIZED, "refresh {index}");
        }
        let page = service.send(browse("ada", &format!("/agent-sessions/authorize/{secret}"))).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "page {index}");
    }
    assert!(works(&service, &live).await);
}

#[tokio::test]
async fn r10_nothing_of_it_is_cached() {
    let service = Service::new();
    for path in ["start", "poll", "exchange", "refresh", "revoke"] {
        for answer in [
            service.post(&format!("/agent-sessions/{path}"), &json!({})).await,
            service.get(&format!("/agent-sessions/{path}")).await,
        ] {
            assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"), "{path}");
        }
    }
    let login = Login::start(&service, &detached()).await;
    assert_eq!(login.poll(&service).await.header("cache-control"), "no-store");
    assert_eq!(service.get("/account/agent-sessions").await.header("cache-control"), "no-store");
}

/// Every way in, with the service that offers it.
fn ways() -> [(&'static str, ConfigBuilder, Value); 4] {
    [
        ("interactive", config(), interactive()),
        ("detached", config(), detached()),
        ("detached with a code", alone(), detached()),
        ("finish code", config(), finish_code()),
    ]
}

fn approvals(service: &Service) -> usize {
    service.audit.names().iter().filter(|name| **name == "approved").count()
}

#[tokio::test]
async fn a1_the_same_form_again_gets_the_same_answer() {
    for (way, config, body) in ways() {
        let service = Service::with(config.no_limits());
        let login = Login::start(&service, &body).await;
        let form = login.form(&service, "ada").await;
        let first = service.send(form.post(&login.path(), &all_of(&SCOPES))).await;
        let code = login.shown_code(&service, &form).await;
        for _ in 0..3 {
            service.clock.advance(SECOND);
            // Another process of the service answers too.
            let again = service.send(form.post(&login.path(), &all_of(&SCOPES))).await;
            assert_eq!((again.status, again.header("location")), (first.status, first.header("location")), "{way}");
            assert_eq!(login.shown_code(&service, &form).await, code, "{way}");
        }
        assert_eq!(approvals(&service), 1, "{way}");
        // Another decision is refused, and so is the same of another browser, which may not see the code.
        for fields in [vec![("decision", "deny")], all_of(&SCOPES[..1])] {
            let other = service.send(form.post(&login.path(), &fields)).await;
            assert_eq!(other.status, StatusCode::CONFLICT, "{way} {fields:?}");
        }
        let proof = match (way, code) {
            ("interactive", _) => {
                let code = callback(&first).1.into_iter().find(|(name, _)| name == "exchange_code").unwrap().1;
                json!({ "exchange_code": code, "code_verifier": VERIFIER })
            }
            (_, Some(code)) => json!({ "exchange_code": code, "poll_token": login.poll_token }),
            (_, None) => json!({ "exchange_code": login.polled_code(&service).await }),
        };
        assert_eq!(login.exchange(&service, &proof).await.status, StatusCode::OK, "{way}");
        // What was collected is not handed over again: the page shows who has it.
        let late = service.send(form.post(&login.path(), &all_of(&SCOPES))).await;
        assert_eq!((late.status, late.header("location")), (StatusCode::SEE_OTHER, login.path().as_str()), "{way}");
        assert!(service.send(browse_again(&form, &login.path())).await.text.contains("and collected"), "{way}");
    }
}

#[tokio::test]
async fn a1_the_link_shows_the_approving_browser_where_it_stands_and_nobody_else() {
    for (way, config, body) in ways().into_iter().filter(|(way, ..)| *way != "detached") {
        let store = common::TestStore::default();
        let service = Service::on(config.clone().no_limits(), store);
        let login = Login::start(&service, &body).await;
        let form = login.form(&service, "ada").await;
        let before = service.send(browse("ada", &login.path())).await.form("ada");
        let approved = service.send(form.post(&login.path(), &all_of(&SCOPES))).await;
        let code = match login.shown_code(&service, &form).await {
            Some(code) => code,
            None => callback(&approved).1.into_iter().find(|(name, _)| name == "exchange_code").unwrap().1,
        };
        let other_process = service.again(config.no_limits());
        for service in [&service, &other_process] {
            let page = service.send(browse_again(&form, &login.path())).await;
            assert!(page.text.contains(&code), "{way}: {}", page.text);
            let leads_back = page.text.replace("&#x2f;", "/").contains(&format!("href=\"{CALLBACK}?request_id="));
            assert_eq!(leads_back, way == "interactive", "{way}: {}", page.text);
        }
        let with_cookies =
            |cookies: String| Request::get(login.path()).header("cookie", cookies).body(Body::empty()).unwrap();
        let strangers = [
            ("another browser", browse("ada", &login.path())),
            ("another browser with a key of its own", browse_again(&before, &login.path())),
            ("signed in again", with_cookies(format!("user=ada; login=second; {}", form.cookie))),
            ("another account in this browser", with_cookies(format!("user=bob; {}", form.cookie))),
        ];
        for (who, request) in strangers {
            let page = service.send(request).await;
            assert!(!page.text.contains(&code), "{way}: {who}");
            assert!(!page.text.contains("aae_") && !page.text.contains("aaf_"), "{way}: {who}");
        }
        // The same decision in another browser does not show it either.
        let elsewhere = service.send(before.post(&login.path(), &all_of(&SCOPES))).await;
        assert_eq!(elsewhere.status, StatusCode::CONFLICT, "{way}");
        assert!(!elsewhere.text.contains(&code) && !elsewhere.headers.contains_key("location"), "{way}");
        // Until it expires, at the exact instant.
        let life = if way == "interactive" { 60_000 } else { 600_000 };
        service.clock.advance(Duration::from_millis(life - 1));
        assert!(service.send(browse_again(&form, &login.path())).await.text.contains(&code), "{way}");
        service.clock.advance(Duration::from_millis(1));
        assert!(!service.send(browse_again(&form, &login.path())).await.text.contains(&code), "{way}");
        assert_eq!(service.send(form.post(&login.path(), &all_of(&SCOPES))).await.status, StatusCode::GONE, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a1_many_sends_of_one_form_at_once_are_one_decision() {
    for racers in [2, 16, 64] {
        for (way, config, body) in ways() {
            let service = std::sync::Arc::new(Service::with(config.no_limits()));
            let login = Login::start(&service, &body).await;
            let form = login.form(&service, "ada").await;
            let racing: Vec<_> = (0..racers)
                .map(|_| {
                    let (service, request) = (service.clone(), form.post(&login.path(), &all_of(&SCOPES)));
                    tokio::spawn(async move { service.send(request).await })
                })
                .collect();
            let mut locations = std::collections::HashSet::new();
            for racer in racing {
                let answer = racer.await.unwrap();
                assert_eq!(answer.status, StatusCode::SEE_OTHER, "{way}: {}", answer.text);
                locations.insert(answer.header("location").to_owned());
            }
            assert_eq!(locations.len(), 1, "{way}: all get the same answer");
            assert_eq!(approvals(&service), 1, "{way}: one event");
        }
    }
}

/// A decision whose write is done, and whose answers are lost.
struct DecisionInDoubt {
    service: Service,
    login: Login,
    form: Form,
    fields: Vec<(&'static str, &'static str)>,
    first: Answer,
}

impl DecisionInDoubt {
    async fn meet(fault: Fault, config: ConfigBuilder, body: &Value, decision: &str) -> Self {
        let service = Service::with(config.no_limits());
        let login = Login::start(&service, body).await;
        let form = login.form(&service, "ada").await;
        let fields = if decision == "approve" { all_of(&SCOPES) } else { vec![("decision", "deny")] };
        // Two reads come before the write.
        service.store.break_after(2, fault);
        let first = service.send(form.post(&login.path(), &fields)).await;
        service.store.mend();
        Self { service, login, form, fields, first }
    }
}

#[tokio::test]
async fn a4_a_decision_whose_answer_is_lost_is_found_and_given_again() {
    for (way, config, body) in ways() {
        for decision in ["approve", "deny"] {
            let met = DecisionInDoubt::meet(Fault::AnswerLost, config.clone(), &body, decision).await;
            let DecisionInDoubt { service, login, form, fields, first } = met;
            assert_eq!(first.status, StatusCode::SEE_OTHER, "{way} {decision}: {}", first.text);
            let again = service.send(form.post(&login.path(), &fields)).await;
            assert_eq!(again.header("location"), first.header("location"), "{way} {decision}");
            let decided = if decision == "approve" { "approved" } else { "denied" };
            let recorded = service.audit.names().iter().filter(|name| **name == decided).count();
            assert_eq!(recorded, 1, "{way} {decision}");
        }
    }
}

#[tokio::test]
async fn a4_after_a_write_of_unknown_outcome_nobody_is_told_that_nothing_happened() {
    for (way, config, body) in ways() {
        for decision in ["approve", "deny"] {
            let met = DecisionInDoubt::meet(Fault::AnswersLost, config.clone(), &body, decision).await;
            let DecisionInDoubt { service, login, form, fields, first } = met;
            assert_eq!(first.status, StatusCode::SERVICE_UNAVAILABLE, "{way} {decision}");
            assert!(first.text.contains("can’t tell whether this was saved"), "{way} {decision}: {}", first.text);
            let way_to_find_out = format!("href=\"{}\"", login.path());
            assert!(first.text.replace("&#x2f;", "/").contains(&way_to_find_out), "{way} {decision}");
            assert!(!first.text.contains("Nothing was"), "{way} {decision}");
            // The page shows what was committed, and the same form is answered with it.
            let state = service.send(browse_again(&form, &login.path())).await;
            assert!(state.text.contains(if decision == "approve" { "Approved" } else { "Denied" }), "{way}");
            let again = service.send(form.post(&login.path(), &fields)).await;
            assert_eq!(again.status, StatusCode::SEE_OTHER, "{way} {decision}: {}", again.text);
            if way == "interactive" && decision == "approve" {
                let code = callback(&again).1.into_iter().find(|(name, _)| name == "exchange_code").unwrap().1;
                let proof = json!({ "exchange_code": code, "code_verifier": VERIFIER });
                assert_eq!(login.exchange(&service, &proof).await.status, StatusCode::OK);
            }
        }
    }
}

#[tokio::test]
async fn a7_the_page_says_by_flow_who_may_have_sent_the_link() {
    let sent = "If somebody sent you this link, press Deny";
    for (way, config, body) in ways() {
        let service = Service::with(config.no_limits());
        let login = Login::start(&service, &body).await;
        let page = service.send(browse("ada", &login.path())).await.text;
        // Only a live browser login starts on the human's own machine.
        assert_eq!(page.contains(sent), way == "interactive", "{way}");
        assert_eq!(page.contains("The link may have come from your agent"), way != "interactive", "{way}");
        assert_eq!(page.contains("Give the code that you get to that agent only"), way == "finish code", "{way}");
    }
    let service = Service::new();
    let pending = service.register(&[]).await;
    assert!(!service.send(browse("ada", &pending.path())).await.text.contains(sent), "an agent shows this link itself");
}

#[tokio::test]
async fn b9_the_link_alone_tells_nothing_of_the_state() {
    // With the id, which the link contains, and any code: the same answer as for an id that nobody has.
    let service = Service::with(alone().no_limits());
    let wrong = ["aaf_wrong", "aae_wrong", "x"];
    let unknown = exchange(&service, &format!("reg_{}", "0".repeat(22)), &json!({ "exchange_code": "x" })).await;
    let mut logins = Vec::new();
    for state in ["pending", "opened", "approved", "denied", "expired", "exchanged"] {
        let login = Login::start(&service, &detached()).await;
        match state {
            "opened" => drop(login.form(&service, "ada").await),
            "approved" => drop(login.finish_code(&service).await),
            "denied" => drop(login.decide(&service, &[("decision", "deny")]).await),
            "exchanged" => {
                let code = login.finish_code(&service).await;
                let issued = login.exchange(&service, &json!({ "exchange_code": code })).await;
                assert_eq!(issued.status, StatusCode::OK);
            }
            _ => {}
        }
        logins.push((state, login));
    }
    let same = async |state: &str, login: &Login, code: &str| {
        let answer = login.exchange(&service, &json!({ "exchange_code": code })).await;
        assert_eq!((answer.status, &answer.text), (unknown.status, &unknown.text), "{state} {code:?}");
    };
    for (state, login) in logins.iter().filter(|(state, _)| *state != "expired") {
        for code in wrong {
            same(state, login, code).await;
        }
    }
    service.clock.advance(Duration::from_secs(600));
    for (state, login) in &logins {
        same(state, login, "aaf_wrong").await;
    }
    // Who holds the poll token is told.
    let pending = Login::start(&service, &detached()).await;
    let asked = json!({ "exchange_code": "x", "poll_token": pending.poll_token });
    assert_eq!(pending.exchange(&service, &asked).await.error(), "INVALID_STATE");
    pending.decide(&service, &[("decision", "deny")]).await;
    assert_eq!(pending.exchange(&service, &asked).await.status, StatusCode::GONE);
}
