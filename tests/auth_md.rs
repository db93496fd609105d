//! The dialect `auth_md`: both wires of the open auth.md protocol, on every store.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};
use tower_agent_auth::{
    ConfigBuilder,
    accounts::SignedIn,
    ceremony::{Approve, Decision},
    config::Codes,
    store::{CeremonyStore, MemoryStore},
    types::{clock::ManualClock, id::AuthorizationRequestId, scope::ScopeSet},
};

mod common;
#[path = "common/places.rs"]
mod places;

use common::{
    Fault, ORIGIN, START, Service, TestStore,
    auth_md::{CLAIM_GRANT, JWT_BEARER, Registration, auth_md, form_request, text, token_request},
    between, browse, browse_again, from_address, json_request, race,
};
use places::{Prefix, Schema, TempFile};

/// Longer than the time in which an answer is given again.
const GRACE: Duration = Duration::from_secs(11);

fn settings() -> ConfigBuilder {
    auth_md().no_limits().lifetimes(|lifetimes| lifetimes.refresh_grace = Duration::from_secs(10))
}

fn service() -> Service {
    let service = Service::with(settings());
    service.accounts.makes_accounts.store(true, Ordering::SeqCst);
    service
}

fn assert_error(answer: &common::Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.error()), (status, code), "{}", answer.text);
    assert_eq!(answer.json["message"], answer.json["error_description"]);
    assert!(answer.json["message"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "RFC 9110 section 15.5.2");
}

#[tokio::test]
async fn an_agent_of_the_flat_wire_logs_in() {
    let service = service();
    let registration = service.service_auth(json!({ "reason": "Weekly report" })).await;
    let body = &registration.answer;
    // Auth.md 0.4 to 0.6.
    assert_eq!(body["registration_type"], "service_auth");
    assert_eq!(body["claim_url"], format!("{ORIGIN}/agent/identity/claim"));
    assert_eq!(body["post_claim_scopes"], json!(["analytics:read", "projects:read"]));
    assert!(text(&body["registration_id"]).starts_with("reg_") && body["identity_assertion"].is_null());
    let claim = &body["claim"];
    let code = text(&claim["user_code"]);
    assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
    assert_eq!((&claim["expires_in"], &claim["interval"]), (&json!(600), &json!(5)));
    assert!(registration.path.contains("?claim_attempt_token=reg_"));
    // Nothing is given before the human has decided.
    assert_error(&service.poll(&registration.claim_token).await, 400, "authorization_pending");
    let form = service.open_identity("ada", &registration).await;
    let page = service.send(browse_again(&form, &registration.path)).await.text;
    assert!(page.contains("ada@example.com") && page.contains("“Weekly report”"), "{page}");
    assert!(!page.contains(&code), "only the agent shows the code");
    let typed = format!(" {} {} ", &code[..3], &code[3..]);
    let decided = service.decide_identity(&form, &registration, Some(&typed)).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER, "{}", decided.text);
    let answer = service.poll(&registration.claim_token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let tokens = &answer.json;
    assert_eq!((&tokens["token_type"], &tokens["scope"]), (&json!("Bearer"), &json!("projects:read")));
    assert_eq!(tokens["expires_in"], 3600);
    assert!(tokens["refresh_token"].is_null(), "the assertion renews it");
    assert!(service.opens(&text(&tokens["access_token"]), "/projects").await);
    assert!(!service.opens(&text(&tokens["access_token"]), "/billing").await);
    // The assertion is good for more.
    let again = service.exchange(&text(&tokens["identity_assertion"])).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert!(service.opens(&text(&again.json["access_token"]), "/projects").await);
    assert!(service.opens(&text(&tokens["access_token"]), "/projects").await, "the first one lasts");
}

#[tokio::test]
async fn an_agent_of_the_nested_wire_logs_in() {
    let service = service();
    let registration = service.service_auth(json!({})).await;
    let body = &registration.answer;
    // Auth.md 0.7.
    assert_eq!(body["type"], "service_auth");
    assert_eq!(body["scopes"], json!({ "post_claim": ["analytics:read", "projects:read"] }));
    assert_eq!(body["claim"]["url"], format!("{ORIGIN}/agent/identity/claim"));
    assert_eq!(body["claim"]["attempt"]["expires_at"], body["claim"]["expires_at"]);
    assert_eq!(body["claim"]["attempt"]["verification_uri"], body["claim"]["verification_uri"]);
    assert_error(&service.complete_claim(&registration.claim_token, "123456").await, 409, "claim_not_confirmed");
    let form = service.open_identity("ada", &registration).await;
    assert_eq!(service.decide_identity(&form, &registration, None).await.status, StatusCode::SEE_OTHER);
    // A bare press is no proof: the poll waits for the code.
    assert_error(&service.poll(&registration.claim_token).await, 400, "authorization_pending");
    let code = service.code_of_the_page(&form, &registration).await;
    assert_ne!(Some(&code), registration.user_code.as_ref());
    let done = service.complete_claim(&registration.claim_token, &code).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!((&done.json["status"], &done.json["id"]), (&json!("claimed"), &body["id"]));
    let identity = &done.json["identity"];
    let exchanged = service.exchange(&text(&identity["assertion"])).await;
    assert_eq!(exchanged.json["scope"], "projects:read");
    assert!(service.opens(&text(&exchanged.json["access_token"]), "/projects").await);
    // The page says so, and shows the code no more.
    let page = service.send(browse_again(&form, registration.form_path())).await.text;
    assert!(page.contains("Approved, and collected") && !page.contains(&code), "{page}");
}

#[tokio::test]
async fn one_answer_has_the_keys_of_both_wires_and_no_code_is_both() {
    let service = service();
    for _ in 0..50 {
        let registration = service.service_auth(json!({})).await;
        let form = service.open_identity("ada", &registration).await;
        service.decide_identity(&form, &registration, None).await;
        let shown = service.code_of_the_page(&form, &registration).await.replace(' ', "");
        assert!(!registration.answer.to_string().contains(&shown), "the agent never gets the code to read back");
    }
}

#[tokio::test]
async fn the_older_names_of_a_hint_are_understood() {
    let service = service();
    for more in [
        json!({ "type": "service_auth" }),
        json!({ "type": "service_auth", "client_id": "https://agent.example/client.json" }),
        json!({ "type": "service_auth", "email": "ada@example.com" }),
        json!({ "type": "service_auth", "login_hint": "+4915112345678" }),
        json!({ "type": "identity_assertion", "assertion_type": "verified_email", "assertion": "ada@example.com" }),
    ] {
        let answer = service.post("/agent/identity", &more).await;
        assert_eq!(answer.status, StatusCode::OK, "{more}: {}", answer.text);
    }
    let long = "a".repeat(255);
    for hint in ["", "ada example", "ada\n", "\u{202e}ada@example.com", long.as_str()] {
        let answer = service.post("/agent/identity", &json!({ "type": "service_auth", "login_hint": hint })).await;
        assert_error(&answer, 400, "invalid_login_hint");
    }
    let answer = service.post("/agent/identity", &json!({ "type": "service_auth", "login_hint": 7 })).await;
    assert_error(&answer, 400, "invalid_request");
}

#[tokio::test]
async fn what_is_off_is_refused_and_not_advertised() {
    let off = auth_md().auth_md(|settings| {
        settings.anonymous = false;
        settings.service_auth = false;
    });
    let service = Service::with(off);
    let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["agent_auth"]["identity_types_supported"], json!(["user_claimed"]));
    assert!(metadata["agent_auth"]["anonymous"].is_null());
    for (kind, code) in [
        ("anonymous", "anonymous_registration_disabled"),
        ("service_auth", "service_auth_registration_disabled"),
        ("identity_assertion", "invalid_issuer"),
        ("user_claimed", "invalid_request"),
    ] {
        let answer = service.post("/agent/identity", &json!({ "type": kind })).await;
        assert_error(&answer, 400, code);
        assert!(answer.json["message"].as_str().unwrap().contains("refresh"), "the remedy: {}", answer.text);
    }
    // The host makes no accounts.
    let service = Service::with(auth_md());
    let answer = service.post("/agent/identity", &json!({ "type": "anonymous" })).await;
    assert_error(&answer, 400, "anonymous_registration_disabled");
}

#[tokio::test]
async fn the_documents_name_what_is_on() {
    let service = service();
    let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
    let block = &metadata["agent_auth"];
    assert_eq!(block["identity_endpoint"], format!("{ORIGIN}/agent/identity"));
    assert_eq!(block["claim_endpoint"], format!("{ORIGIN}/agent/identity/claim"));
    assert_eq!(block["identity_types_supported"], json!(["user_claimed", "anonymous", "service_auth"]));
    assert_eq!(block["anonymous"], json!({ "credential_types_supported": ["access_token"] }));
    let grants = metadata["grant_types_supported"].as_array().unwrap();
    for grant in [JWT_BEARER, CLAIM_GRANT, "authorization_code", "refresh_token"] {
        assert!(grants.contains(&json!(grant)), "{grants:?}");
    }
    let document = service.get("/auth.md").await.text;
    assert!(document.starts_with("# auth.md: how an agent gets access to Example Analytics\n"), "{document}");
    for url in [&block["identity_endpoint"], &block["claim_endpoint"], &metadata["token_endpoint"]] {
        assert!(document.contains(url.as_str().unwrap()), "{url}");
    }
    assert!(!document.contains("{{") && !document.contains("\n\n\n"), "{document}");
    // Alone, it has a token endpoint too.
    let alone = settings().dialects(&[tower_agent_auth::config::Dialect::AuthMd]);
    let service = Service::with(alone);
    let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["grant_types_supported"], json!([JWT_BEARER, CLAIM_GRANT]));
    assert!(metadata["authorization_endpoint"].is_null());
    assert_eq!(metadata["token_endpoint"], format!("{ORIGIN}/oauth2/token"));
    service.flat_login("ada").await;
    let refused = service.grant(&[("grant_type", "authorization_code"), ("code", "x")]).await;
    assert_error(&refused, 400, "unsupported_grant_type");
}

#[tokio::test]
async fn r49_the_fifth_wrong_code_locks_on_either_side() {
    let service = service();
    let read_back = service.service_auth(json!({})).await;
    let form = service.open_identity("ada", &read_back).await;
    service.decide_identity(&form, &read_back, None).await;
    let code = service.code_of_the_page(&form, &read_back).await;
    let typed = service.service_auth(json!({})).await;
    let typing = service.open_identity("ada", &typed).await;
    let wrong = |right: &str| format!("{:06}", (right.replace(' ', "").parse::<u32>().unwrap() + 1) % 1_000_000);
    let (wrong_read, wrong_typed) = (wrong(&code), wrong(typed.user_code.as_ref().unwrap()));
    for attempt in 0..5 {
        assert_error(&service.complete_claim(&read_back.claim_token, &wrong_read).await, 401, "invalid_user_code");
        let page = service.decide_identity(&typing, &typed, Some(&wrong_typed)).await;
        if attempt < 4 {
            assert_eq!(page.status, StatusCode::BAD_REQUEST, "{}", page.text);
            assert!(page.text.contains("not the code that your agent shows"), "{}", page.text);
            assert!(page.text.contains("value=\"projects:read\" checked"), "what was ticked stays: {}", page.text);
        }
    }
    assert_error(&service.complete_claim(&read_back.claim_token, &code).await, 429, "too_many_attempts");
    let late = service.decide_identity(&typing, &typed, typed.user_code.as_deref()).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.text);
    assert!(service.send(browse("ada", &typed.path)).await.text.contains("This request is locked"));
    assert_error(&service.poll(&typed.claim_token).await, 400, "invalid_grant");
}

/// All that an attacker can try, beginning with the code after the right one: the right one is the last.
fn guesses(right: &str) -> impl Iterator<Item = String> {
    const GUESSES: u32 = 100_000;
    let right: u32 = right.replace(' ', "").parse().unwrap();
    (1..=GUESSES).map(move |guess| format!("{:06}", (right + 1_000_000 - GUESSES + guess) % 1_000_000))
}

/// Guesses of which each comes from a network of its own go through HTTP. The rest ask the ceremony, which knows no network:
/// whatever the limits by network let through.
const BY_HTTP: usize = 500;

fn network(number: usize) -> String {
    format!("2001:db8:{:x}:{:x}::1", number >> 8, number & 0xff)
}

#[tokio::test]
async fn r104_guesses_from_many_sources_open_nothing() {
    let service = Service::with(auth_md());
    service.accounts.makes_accounts.store(true, Ordering::SeqCst);
    let ceremony = service.auth.ceremony().unwrap();
    let (registration, other) = (service.service_auth(json!({})).await, service.service_auth(json!({})).await);
    let form = service.open_identity("ada", &registration).await;
    service.decide_identity(&form, &registration, None).await;
    let code = service.code_of_the_page(&form, &registration).await.replace(' ', "");
    let (head, tail) = registration.claim_token.split_at(10);
    let invented = format!("{head}{}", tail.chars().rev().collect::<String>());
    let is_open = async |token: &str, guess: &str, number: usize| {
        if number >= BY_HTTP {
            return ceremony.complete_identity(token, guess).await.is_ok();
        }
        let body = json!({ "claim_token": token, "user_code": guess }).to_string();
        let request = json_request("/agent/identity/claim/complete", &body);
        let answer = service.send(from_address(request, &network(number))).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
        false
    };
    // Without the claim token no guess counts, not even the right one.
    for (number, guess) in guesses(&code).step_by(9).enumerate() {
        assert!(!is_open(&invented, &guess, number).await, "{number}");
    }
    // With it, the fifth wrong one ends the request, and the right one comes too late.
    for (number, guess) in guesses(&code).enumerate() {
        assert!(!is_open(&registration.claim_token, &guess, number).await, "{number}");
        if number == 3 {
            assert_error(&service.poll(&registration.claim_token).await, 400, "authorization_pending");
        }
    }
    assert_error(&service.complete_claim(&registration.claim_token, &code).await, 429, "too_many_attempts");
    // Only that request is lost. Its agent asks again at once, and its human approves again.
    let form = service.open_identity("ada", &other).await;
    service.decide_identity(&form, &other, None).await;
    let code = service.code_of_the_page(&form, &other).await;
    assert_eq!(service.complete_claim(&other.claim_token, &code).await.status, StatusCode::OK);
    service.nested_login("ada").await;
}

#[tokio::test]
async fn r104_guesses_at_the_typed_code_open_nothing() {
    let service = Service::with(auth_md());
    service.accounts.makes_accounts.store(true, Ordering::SeqCst);
    let ceremony = service.auth.ceremony().unwrap();
    // An agent that acts unclaimed, whose claim somebody else finds.
    let registered = service.anonymous().await.json;
    let claim_token = text(&registered["claim_token"]);
    let claim = service.claim(&claim_token).await;
    let registration = Registration::of(&claim, &claim.json["claim_attempt"], &claim_token);
    let code = registration.user_code.clone().unwrap();
    let id = AuthorizationRequestId::parse(claim.json["claim_attempt_id"].as_str().unwrap()).unwrap();
    let form = service.open_identity("eve", &registration).await;
    let eve = SignedIn::new(common::account("eve"), "another browser");
    for (number, guess) in guesses(&code).enumerate() {
        if number < BY_HTTP {
            let fields = [("decision", "approve"), ("scope", "projects:read"), ("user_code", guess.as_str())];
            let request = form.post(registration.form_path(), &fields);
            let answer = service.send(from_address(request, &network(number))).await;
            // The fifth one leads to the page that says so.
            let is_refused = answer.status.is_client_error() || number == 4;
            assert!(is_refused, "{number}: {} {}", answer.status, answer.text);
            continue;
        }
        let approve = Approve::scopes(ScopeSet::parse("projects:read").unwrap()).user_code(&guess);
        assert!(ceremony.decide(&id, &eve, Decision::Approve(approve)).await.is_err(), "{number}");
    }
    assert_error(&service.poll(&claim_token).await, 400, "invalid_grant");
    // The agent acts on, and its human claims it by a new request.
    assert_eq!(service.exchange(&text(&registered["identity_assertion"])).await.status, StatusCode::OK);
    let again = service.claim(&claim_token).await;
    let registration = Registration::of(&again, &again.json["claim_attempt"], &claim_token);
    let form = service.open_identity("ada", &registration).await;
    let decided = service.decide_identity(&form, &registration, registration.user_code.as_deref()).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER, "{}", decided.text);
    service.clock.advance(Duration::from_secs(30));
    assert_eq!(service.poll(&claim_token).await.status, StatusCode::OK);
}

/// The end of what an agent held unclaimed is no end of what it holds since.
#[tokio::test]
async fn an_assertion_from_before_the_claim_ends_nothing_after_it() {
    let service = service();
    let registered = service.anonymous().await.json;
    let claim_token = text(&registered["claim_token"]);
    let claim = service.claim(&claim_token).await;
    let registration = Registration::of(&claim, &claim.json["claim_attempt"], &claim_token);
    let form = service.open_identity("ada", &registration).await;
    service.decide_identity(&form, &registration, registration.user_code.as_deref()).await;
    let claimed = service.poll(&claim_token).await.json;
    service.revoke_token(&text(&registered["identity_assertion"])).await;
    assert!(service.opens(&text(&claimed["access_token"]), "/projects").await);
    assert_eq!(service.exchange(&text(&claimed["identity_assertion"])).await.status, StatusCode::OK);
}

/// The answer that is given again is one more look at the account.
#[tokio::test]
async fn r82_a_completion_again_asks_whether_the_account_is_active() {
    let service = service();
    let registration = service.service_auth(json!({})).await;
    let form = service.open_identity("ada", &registration).await;
    service.decide_identity(&form, &registration, None).await;
    let code = service.code_of_the_page(&form, &registration).await;
    let first = service.complete_claim(&registration.claim_token, &code).await;
    assert_eq!(service.complete_claim(&registration.claim_token, &code).await.json, first.json);
    service.accounts.inactive.lock().unwrap().push("acct_ada".into());
    assert_error(&service.complete_claim(&registration.claim_token, &code).await, 403, "claim_denied");
    assert_error(&service.exchange(&text(&first.json["identity"]["assertion"])).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_service_takes_one_kind_of_code_alone() {
    let typed = Service::with(settings().auth_md(|settings| settings.codes = Codes::Typed));
    let registration = typed.service_auth(json!({})).await;
    let form = typed.open_identity("ada", &registration).await;
    for code in [None, Some(""), Some("  ")] {
        let page = typed.decide_identity(&form, &registration, code).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.text.contains("Without the right code nothing is approved"), "{}", page.text);
    }
    let decided = typed.decide_identity(&form, &registration, registration.user_code.as_deref()).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER);
    let read_back = Service::with(settings().auth_md(|settings| settings.codes = Codes::ReadBack));
    let registration = read_back.service_auth(json!({})).await;
    assert!(registration.user_code.is_none());
    let form = read_back.open_identity("ada", &registration).await;
    let page = read_back.send(browse_again(&form, &registration.path)).await.text;
    assert!(!page.contains("name=\"user_code\""), "{page}");
    read_back.nested_login("ada").await;
    for (service, has, lacks) in [(&typed, CLAIM_GRANT, "claim/complete"), (&read_back, "claim/complete", CLAIM_GRANT)]
    {
        let document = service.get("/auth.md").await.text;
        let chapter = &document[document.find("## With an auth.md client").unwrap()..];
        assert!(chapter.contains(has) && !chapter.contains(lacks), "{chapter}");
    }
}

#[tokio::test]
async fn an_unclaimed_agent_acts_at_once_and_is_claimed_later() {
    let service = service();
    let registered = service.anonymous().await;
    let body = &registered.json;
    assert_eq!((&body["type"], &body["registration_type"]), (&json!("anonymous"), &json!("anonymous")));
    assert_eq!(body["scopes"]["pre_claim"], json!(["projects:read"]));
    assert_eq!(body["identity"]["assertion"], body["identity_assertion"]);
    assert_eq!(body["identity"]["expires_at"], body["assertion_expires"]);
    assert!(body["identity"]["refresh_token"].is_null() && body["claim"]["attempt"].is_null());
    let claim_token = text(&body["claim_token"]);
    let assertion = text(&body["identity_assertion"]);
    let before = service.exchange(&assertion).await;
    assert_eq!(before.json["scope"], "projects:read");
    let before = text(&before.json["access_token"]);
    assert!(service.opens(&before, "/projects").await && !service.opens(&before, "/write").await);
    assert_error(&service.poll(&claim_token).await, 400, "authorization_pending");

    let claim = service.claim(&claim_token).await;
    assert_eq!((&claim.json["status"], &claim.json["id"]), (&json!("initiated"), &body["id"]), "{}", claim.text);
    assert_eq!(claim.json["attempt"]["verification_uri"], claim.json["claim_attempt"]["verification_uri"]);
    let registration = Registration::of(&claim, &claim.json["claim_attempt"], &claim_token);
    // The same claim again is the one that waits.
    assert_eq!(service.claim(&claim_token).await.json, claim.json);
    let form = service.open_identity("ada", &registration).await;
    assert!(service.opens(&before, "/projects").await, "until somebody claims it");
    let fields = [
        ("decision", "approve"),
        ("scope", "projects:read"),
        ("scope", "analytics:read"),
        ("user_code", registration.user_code.as_deref().unwrap()),
    ];
    let decided = service.send(form.post(registration.form_path(), &fields)).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER, "{}", decided.text);
    let claimed = service.poll(&claim_token).await;
    assert_eq!(claimed.json["scope"], "analytics:read projects:read", "{}", claimed.text);
    // Once before the agent's earlier tokens end, and once after.
    let merged = ("acct_unclaimed0".to_owned(), "acct_ada".to_owned());
    assert_eq!(*service.accounts.merged.lock().unwrap(), [merged.clone(), merged]);
    assert!(!service.opens(&before, "/projects").await, "what was given before the claim ends");
    assert_error(&service.exchange(&assertion).await, 400, "invalid_grant");
    assert!(service.opens(&text(&claimed.json["access_token"]), "/any").await);
    assert_error(&service.claim(&claim_token).await, 409, "already_claimed");
    let page = service.send(browse("ada", "/sessions")).await.text;
    assert!(page.contains("Example Agent"), "{page}");
}

#[tokio::test]
async fn an_agent_of_version_0_1_gets_its_token_at_once() {
    let service = service();
    let registered = service.post("/agent/auth", &json!({ "type": "anonymous" })).await;
    assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
    let body = &registered.json;
    assert_eq!((&body["credential_type"], &body["scopes"]), (&json!("access_token"), &json!(["projects:read"])));
    let before = text(&body["credential"]);
    assert!(service.opens(&before, "/projects").await);
    let claim_token = text(&body["claim_token"]);
    let claim =
        service.post("/agent/auth/claim", &json!({ "claim_token": claim_token, "email": "ada@example.com" })).await;
    assert_eq!(claim.json["status"], "initiated", "{}", claim.text);
    let registration = Registration::of(&claim, &claim.json["claim_attempt"], &claim_token);
    let form = service.open_identity("ada", &registration).await;
    service.decide_identity(&form, &registration, None).await;
    let otp = service.code_of_the_page(&form, &registration).await;
    let complete = async |otp: &str| {
        service.post("/agent/auth/claim/complete", &json!({ "claim_token": claim_token, "otp": otp })).await
    };
    assert_error(&complete("12345").await, 401, "otp_invalid");
    // An agent of Agent Analytics whose request is gone sends no code, and hears that its claim is unknown.
    let body = json!({ "claim_token": format!("{claim_token}x") });
    let gone = service.post("/agent/auth/claim/complete", &body).await;
    assert_error(&gone, 401, "invalid_claim_token");
    let done = complete(&otp).await;
    assert_eq!((&done.json["status"], done.status), (&json!("claimed"), StatusCode::OK), "{}", done.text);
    assert!(service.opens(&text(&done.json["credential"]), "/projects").await);
    assert!(!service.opens(&before, "/projects").await);
    // The agents of Agent Analytics go on as before.
    service.session("ada", &["projects:read"]).await;
    let off = Service::with(auth_md().auth_md(|settings| settings.anonymous = false));
    let refused = off.post("/agent/auth", &json!({ "type": "anonymous" })).await;
    assert_error(&refused, 400, "anonymous_not_enabled");
}

#[tokio::test]
async fn a_human_who_denies_a_claim_leaves_the_agent_unclaimed() {
    let service = service();
    let registered = service.anonymous().await.json;
    let claim_token = text(&registered["claim_token"]);
    let claim = service.claim(&claim_token).await;
    let registration = Registration::of(&claim, &claim.json["claim_attempt"], &claim_token);
    let form = service.open_identity("bob", &registration).await;
    service.send(form.post(registration.form_path(), &[("decision", "deny")])).await;
    assert_error(&service.poll(&claim_token).await, 400, "access_denied");
    assert!(service.accounts.merged.lock().unwrap().is_empty());
    assert_eq!(service.exchange(&text(&registered["identity_assertion"])).await.status, StatusCode::OK);
    // Another human may claim it.
    let again = service.claim(&claim_token).await;
    assert_ne!(again.json["claim_attempt_id"], claim.json["claim_attempt_id"]);
    let registration = Registration::of(&again, &again.json["claim_attempt"], &claim_token);
    let form = service.open_identity("ada", &registration).await;
    service.decide_identity(&form, &registration, registration.user_code.as_deref()).await;
    assert_eq!(service.poll(&claim_token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_unclaimed_agent_ends_by_itself() {
    let service = service();
    let registered = service.anonymous().await.json;
    let access = text(&service.exchange(&text(&registered["identity_assertion"])).await.json["access_token"]);
    service.clock.advance(Duration::from_secs(86_400));
    assert!(!service.opens(&access, "/projects").await);
    assert_error(&service.exchange(&text(&registered["identity_assertion"])).await, 400, "invalid_grant");
    assert_error(&service.claim(&text(&registered["claim_token"])).await, 410, "claim_expired");
}

#[tokio::test]
async fn r75_a_refresh_renews_both_and_reuse_ends_all() {
    let service = service();
    let login = service.nested_login("ada").await;
    let (first, refresh) = (text(&login["identity"]["assertion"]), text(&login["identity"]["refresh_token"]["value"]));
    let access = text(&service.exchange(&first).await.json["access_token"]);
    let renewed = service.refresh_identity(&refresh).await;
    assert_eq!((renewed.status, &renewed.json["type"]), (StatusCode::OK, &json!("refresh")), "{}", renewed.text);
    assert_eq!(service.refresh_identity(&refresh).await.json, renewed.json, "lost answers are given again");
    let second = text(&renewed.json["identity"]["assertion"]);
    assert_eq!(service.exchange(&first).await.status, StatusCode::OK, "what was under way goes on");
    service.clock.advance(GRACE);
    assert_error(&service.exchange(&first).await, 400, "invalid_grant");
    assert_eq!(service.exchange(&second).await.status, StatusCode::OK);
    assert!(service.opens(&access, "/projects").await);
    assert_error(&service.refresh_identity(&refresh).await, 400, "invalid_refresh_token");
    assert!(!service.opens(&access, "/projects").await, "two parties may hold it");
    assert_error(&service.exchange(&second).await, 400, "invalid_grant");
    let next = text(&renewed.json["identity"]["refresh_token"]["value"]);
    assert_error(&service.refresh_identity(&next).await, 400, "invalid_refresh_token");
    for junk in ["", "aar_", "aas_xyz", &first] {
        assert_error(&service.refresh_identity(junk).await, 400, "invalid_refresh_token");
    }
}

#[tokio::test]
async fn an_identity_ends_however_often_it_is_refreshed() {
    let service = service();
    let mut identity = service.nested_login("ada").await["identity"].clone();
    let day = Duration::from_secs(86_400);
    for _ in 0..4 {
        service.clock.advance(20 * day);
        let renewed = service.refresh_identity(&text(&identity["refresh_token"]["value"])).await;
        assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text);
        identity = renewed.json["identity"].clone();
    }
    // 80 days: ten are left of 90.
    service.clock.advance(10 * day - Duration::from_secs(60));
    let last = service.exchange(&text(&identity["assertion"])).await;
    assert_eq!(last.json["expires_in"], 60, "no session outlives its identity");
    service.clock.advance(Duration::from_secs(60));
    assert_error(&service.exchange(&text(&identity["assertion"])).await, 400, "invalid_grant");
    assert_error(
        &service.refresh_identity(&text(&identity["refresh_token"]["value"])).await,
        400,
        "invalid_refresh_token",
    );
    // Without a refresh, 30 days.
    let idle = service.nested_login("ada").await;
    service.clock.advance(30 * day);
    assert_error(&service.exchange(&text(&idle["identity"]["assertion"])).await, 400, "invalid_grant");
}

#[tokio::test]
async fn r82_whoever_ends_an_identity_ends_its_sessions() {
    for how in ["session", "take back", "all", "assertion", "refresh token", "host"] {
        let service = service();
        let login = service.nested_login("ada").await;
        let assertion = text(&login["identity"]["assertion"]);
        let one = text(&service.exchange(&assertion).await.json["access_token"]);
        let other = text(&service.exchange(&assertion).await.json["access_token"]);
        let page = service.send(browse("ada", "/sessions")).await;
        assert!(page.text.contains("Approvals that agents can use"), "{}", page.text);
        let form = page.form("ada");
        let session = between(&page.text, "name=\"session\" value=\"", "\"").to_owned();
        let id = text(&login["id"]);
        match how {
            "session" => {
                let fields = [("decision", "revoke"), ("session", &session)];
                assert_eq!(service.send(form.post("/sessions", &fields)).await.status, StatusCode::SEE_OTHER);
            }
            "take back" => {
                let fields = [("decision", "take_back"), ("request", &id)];
                assert_eq!(service.send(form.post("/sessions", &fields)).await.status, StatusCode::SEE_OTHER);
            }
            "all" => drop(service.auth.ceremony().unwrap().revoke_all(&common::account("ada").id).await.unwrap()),
            "assertion" => assert_eq!(service.revoke_token(&assertion).await.status, StatusCode::OK),
            "refresh token" => {
                let token = text(&login["identity"]["refresh_token"]["value"]);
                assert_eq!(service.revoke_token(&token).await.status, StatusCode::OK);
            }
            _ => service.auth.ceremony().unwrap().forget_account(&common::account("ada").id).await.map(drop).unwrap(),
        }
        assert!(!service.opens(&one, "/projects").await && !service.opens(&other, "/projects").await, "{how}");
        assert_error(&service.exchange(&assertion).await, 400, "invalid_grant");
    }
    // One access token can be given back alone.
    let service = service();
    let assertion = text(&service.nested_login("ada").await["identity"]["assertion"]);
    let one = text(&service.exchange(&assertion).await.json["access_token"]);
    service.revoke_token(&one).await;
    assert!(!service.opens(&one, "/projects").await);
    assert_eq!(service.exchange(&assertion).await.status, StatusCode::OK);
}

/// A store that fails after the first write of an end: the same call again finishes it.
#[tokio::test]
async fn r82_an_end_that_fails_half_way_is_finished_by_the_same_call() {
    for by_session in [false, true] {
        for after in 0..8 {
            let service = service();
            let login = service.nested_login("ada").await;
            let assertion = text(&login["identity"]["assertion"]);
            let one = text(&service.exchange(&assertion).await.json["access_token"]);
            let other = text(&service.exchange(&assertion).await.json["access_token"]);
            let page = service.send(browse("ada", "/sessions")).await;
            let (form, id) = (page.form("ada"), text(&login["id"]));
            let session = between(&page.text, "name=\"session\" value=\"", "\"").to_owned();
            let fields = match by_session {
                true => [("decision", "revoke"), ("session", session.as_str())],
                false => [("decision", "take_back"), ("request", id.as_str())],
            };
            service.store.break_after(after, Fault::Unavailable);
            service.send(form.post("/sessions", &fields)).await;
            service.store.mend();
            assert_eq!(service.send(form.post("/sessions", &fields)).await.status, StatusCode::SEE_OTHER);
            for token in [&one, &other] {
                assert!(!service.opens(token, "/projects").await, "{by_session} {after}");
            }
        }
    }
}

#[tokio::test]
async fn a_completion_takes_the_code_that_the_human_typed_too() {
    let service = service();
    let registration = service.service_auth(json!({})).await;
    let form = service.open_identity("ada", &registration).await;
    let code = registration.user_code.clone().unwrap();
    service.decide_identity(&form, &registration, Some(&code)).await;
    assert_error(&service.complete_claim(&registration.claim_token, "000000").await, 401, "invalid_user_code");
    let done = service.complete_claim(&registration.claim_token, &code).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    // Nobody can lock what stands, once the same claim is answered no more.
    service.clock.advance(GRACE);
    for _ in 0..6 {
        assert_error(&service.complete_claim(&registration.claim_token, "000000").await, 409, "already_claimed");
    }
    assert_eq!(service.exchange(&text(&done.json["identity"]["assertion"])).await.status, StatusCode::OK);
    // The form that the browser sends again is the same decision.
    let again = service.decide_identity(&form, &registration, Some(&code)).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER, "{}", again.text);
}

#[tokio::test]
async fn r82_an_exchange_for_an_inactive_account_ends_every_session_of_the_identity() {
    let service = service();
    let assertion = text(&service.nested_login("ada").await["identity"]["assertion"]);
    let access = text(&service.exchange(&assertion).await.json["access_token"]);
    service.accounts.inactive.lock().unwrap().push("acct_ada".into());
    assert_error(&service.exchange(&assertion).await, 400, "invalid_grant");
    assert!(!service.opens(&access, "/projects").await, "the host ends the identity, and with it its sessions");
}

#[tokio::test]
async fn r49_wrong_codes_after_a_claim_lock_nothing_once_it_is_answered_no_more() {
    for waits in [false, true] {
        let service = service();
        let registration = service.service_auth(json!({})).await;
        let form = service.open_identity("ada", &registration).await;
        service.decide_identity(&form, &registration, None).await;
        let code = service.code_of_the_page(&form, &registration).await;
        let wrong = format!("{:06}", (code.replace(' ', "").parse::<u32>().unwrap() + 1) % 1_000_000);
        let login = service.complete_claim(&registration.claim_token, &code).await.json;
        let assertion = text(&login["identity"]["assertion"]);
        let access = text(&service.exchange(&assertion).await.json["access_token"]);
        if waits {
            service.clock.advance(GRACE);
        }
        for _ in 0..5 {
            let answer = service.complete_claim(&registration.claim_token, &wrong).await;
            let (status, error) = if waits { (409, "already_claimed") } else { (401, "invalid_user_code") };
            assert_error(&answer, status, error);
        }
        // Who guesses while the right code still gets the secrets ends all that the agent has.
        assert_eq!(service.opens(&access, "/projects").await, waits);
        assert_eq!(service.exchange(&assertion).await.status == StatusCode::OK, waits);
    }
}

#[tokio::test]
async fn of_one_identity_sixteen_sessions_are_active() {
    let service = service();
    let assertion = text(&service.nested_login("ada").await["identity"]["assertion"]);
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(text(&service.exchange(&assertion).await.json["access_token"]));
        service.clock.advance(Duration::from_millis(1));
    }
    for (index, token) in tokens.iter().enumerate() {
        assert_eq!(service.opens(token, "/projects").await, index >= 4, "{index}");
    }
    // And not as often as an agent likes.
    let service = Service::with(auth_md().no_limits().limits(|limits| limits.enforce_poll_interval = true));
    let assertion = text(&service.nested_login("ada").await["identity"]["assertion"]);
    let mut refused = None;
    for taken in 0..25 {
        let answer = service.exchange(&assertion).await;
        if answer.status != StatusCode::OK {
            assert_error(&answer, 429, "slow_down");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 60);
            refused = refused.or(Some(taken));
        }
    }
    assert_eq!(refused, Some(20));
    service.clock.advance(Duration::from_secs(60));
    assert_eq!(service.exchange(&assertion).await.status, StatusCode::OK, "one a minute");
}

#[tokio::test]
async fn an_exchange_narrows_and_never_widens() {
    let service = service();
    let assertion = text(&service.nested_login("ada").await["identity"]["assertion"]);
    let ask = async |more: &[(&str, &str)]| {
        let mut fields = vec![("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
        fields.extend(more);
        service.grant(&fields).await
    };
    assert_eq!(ask(&[("scope", "projects:read")]).await.status, StatusCode::OK);
    assert_error(&ask(&[("scope", "projects:write")]).await, 400, "invalid_scope");
    assert_error(&ask(&[("resource", "https://other.example")]).await, 400, "invalid_target");
    assert_eq!(ask(&[("resource", ORIGIN)]).await.status, StatusCode::OK);
    service.accounts.inactive.lock().unwrap().push("acct_ada".into());
    assert_error(&ask(&[]).await, 400, "invalid_grant");
    service.accounts.inactive.lock().unwrap().clear();
    assert_error(&ask(&[]).await, 400, "invalid_grant");
}

#[tokio::test]
async fn hostile_secrets_are_refused_alike() {
    let service = service();
    let login = service.flat_login("ada").await;
    let assertion = text(&login["identity_assertion"]);
    let access = text(&login["access_token"]);
    let claim = text(&service.anonymous().await.json["claim_token"]);
    let mut flipped = assertion.clone().into_bytes();
    flipped[20] = if flipped[20] == b'a' { b'b' } else { b'a' };
    let flipped = String::from_utf8(flipped).unwrap();
    let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.";
    for junk in ["x", "aai_", &flipped, &access, &claim, jwt, &"a".repeat(5_000), "\0", "аai_"] {
        assert_error(&service.exchange(junk).await, 400, "invalid_grant");
        assert!(!service.opens(junk.trim_matches('\0'), "/projects").await || junk == access, "{junk}");
    }
    for junk in ["x", "clm_", &assertion, &access] {
        assert_error(&service.poll(junk).await, 400, "invalid_grant");
        assert_error(&service.claim(junk).await, 401, "invalid_claim_token");
        assert_error(&service.complete_claim(junk, "123456").await, 400, "invalid_claim");
    }
    // Secrets of other dialects are none of this one, and its own are none of theirs.
    let other = service.register(&[]).await;
    assert_error(&service.poll(&other.claim_token).await, 400, "invalid_grant");
    assert_error(&service.claim(&other.claim_token).await, 401, "invalid_claim_token");
    let ours = service.post("/agent/auth/claim/complete", &json!({ "claim_token": claim })).await;
    assert_eq!((ours.status, ours.error()), (StatusCode::BAD_REQUEST, "invalid_request"), "it needs a code");
    assert!(!service.opens(&assertion, "/projects").await, "an assertion is no access token");
    for (path, body) in [
        ("/agent/identity", "[]"),
        ("/agent/identity", r#"{"type":"service_auth","type":"anonymous"}"#),
        ("/agent/identity/claim", r#"{"claim_token":7}"#),
        ("/agent/identity/claim/complete", r#"{"claim_attempt_token":"x","user_code":"123456"}"#),
    ] {
        assert_error(&service.send(json_request(path, body)).await, 400, "invalid_request");
    }
}

#[tokio::test]
async fn r95_no_secret_is_stored_or_logged() {
    let service = service();
    let registration = service.service_auth(json!({})).await;
    let anonymous = service.anonymous().await.json;
    let form = service.open_identity("ada", &registration).await;
    service.decide_identity(&form, &registration, registration.user_code.as_deref()).await;
    let tokens = service.poll(&registration.claim_token).await.json;
    let stored = format!("{:?} {:?}", service.store.memory, service.audit.events());
    for secret in [
        &tokens["access_token"],
        &tokens["identity_assertion"],
        &tokens["identity"]["refresh_token"]["value"],
        &anonymous["identity_assertion"],
        &anonymous["claim_token"],
        &registration.answer["claim_token"],
    ] {
        assert!(!stored.contains(&text(secret)));
    }
    let names = service.audit.names();
    for name in ["requested", "unclaimed", "approved", "identified", "redeemed"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test]
async fn r91_a_store_that_fails_is_503_and_nothing_is_lost() {
    let service = service();
    let registered = service.anonymous().await.json;
    let claim_token = text(&registered["claim_token"]);
    let assertion = text(&registered["identity_assertion"]);
    let claim = service.claim(&claim_token).await;
    let registration = Registration::of(&claim, &claim.json["claim_attempt"], &claim_token);
    let form = service.open_identity("ada", &registration).await;
    service.decide_identity(&form, &registration, None).await;
    let code = service.code_of_the_page(&form, &registration).await;
    // At every call of the completion: an answer that is lost, and one that never was.
    for fault in [Fault::Unavailable, Fault::AnswerLost] {
        for after in 0..3 {
            service.store.break_after(after, fault);
            for request in [
                json_request("/agent/identity", r#"{"type":"anonymous"}"#),
                json_request("/agent/identity/claim", &json!({ "claim_token": claim_token }).to_string()),
                token_request(&[("grant_type", JWT_BEARER), ("assertion", &assertion)]),
                token_request(&[("grant_type", CLAIM_GRANT), ("claim_token", &claim_token)]),
            ] {
                service.store.break_after(after, fault);
                let answer = service.send(request).await;
                let is_fine = answer.status == StatusCode::OK || answer.error() == "authorization_pending";
                assert!(is_fine || answer.status == StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
            }
            service.store.mend();
        }
    }
    service.accounts.fails.store(true, Ordering::SeqCst);
    let answer = service.complete_claim(&claim_token, &code).await;
    assert_eq!((answer.status.as_u16(), answer.error()), (503, "temporarily_unavailable"));
    service.accounts.fails.store(false, Ordering::SeqCst);
    for after in 0..12 {
        service.store.break_after(after, Fault::AnswerLost);
        let answer = service.complete_claim(&claim_token, &code).await;
        service.store.mend();
        assert!(matches!(answer.status.as_u16(), 200 | 503), "{after}: {}", answer.text);
    }
    let done = service.complete_claim(&claim_token, &code).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(service.exchange(&text(&done.json["identity"]["assertion"])).await.status, StatusCode::OK);
    assert_error(&service.exchange(&assertion).await, 400, "invalid_grant");
}

/// Races on one store.
struct Races<S> {
    service: Service<S>,
}

impl<S: CeremonyStore + Clone> Races<S> {
    fn on(store: S) -> Self {
        let clock = ManualClock::at(START);
        let service = Service::made_of(settings(), store, clock.clone(), clock, |builder| builder);
        service.accounts.makes_accounts.store(true, Ordering::SeqCst);
        Self { service }
    }

    /// The agent sends its code twice or 256 times at once: one identity.
    async fn of_a_completion(&self, racers: usize) {
        let service = &self.service;
        let registration = service.service_auth(json!({})).await;
        let form = service.open_identity("ada", &registration).await;
        service.decide_identity(&form, &registration, None).await;
        let code = service.code_of_the_page(&form, &registration).await;
        let body = json!({ "claim_token": registration.claim_token, "user_code": code }).to_string();
        let app = service.app.clone();
        let answers = race(racers, move |_| {
            let (app, request) = (app.clone(), json_request("/agent/identity/claim/complete", &body));
            async move { send(app, request).await }
        })
        .await;
        assert_one_identity(&answers);
        service.clock.advance(GRACE);
        assert_error(&service.complete_claim(&registration.claim_token, &code).await, 409, "already_claimed");
        assert_error(&service.poll(&registration.claim_token).await, 400, "invalid_grant");
    }

    async fn of_a_refresh(&self, racers: usize) {
        let service = &self.service;
        let login = service.nested_login("ada").await;
        let body =
            json!({ "type": "refresh", "refresh_token": login["identity"]["refresh_token"]["value"] }).to_string();
        let app = service.app.clone();
        let answers = race(racers, move |_| {
            let (app, request) = (app.clone(), json_request("/agent/identity", &body));
            async move { send(app, request).await }
        })
        .await;
        assert_one_identity(&answers);
    }

    /// Claims of one agent that are asked for together lead to one page.
    async fn of_a_claim(&self, racers: usize) {
        let service = &self.service;
        let registered = service.anonymous().await.json;
        let body = json!({ "claim_token": registered["claim_token"] }).to_string();
        let app = service.app.clone();
        let answers = race(racers, move |_| {
            let (app, request) = (app.clone(), json_request("/agent/identity/claim", &body));
            async move { send(app, request).await }
        })
        .await;
        let ids: HashSet<String> = answers.iter().map(|answer| text(&answer["claim_attempt_id"])).collect();
        assert_eq!(ids.len(), 1, "{answers:?}");
    }

    /// Once an identity was ended, none of its assertion's exchanges is good.
    async fn of_an_end(&self, racers: usize) {
        let service = &self.service;
        let assertion = text(&service.nested_login("ada").await["identity"]["assertion"]);
        let app = service.app.clone();
        let token = assertion.clone();
        let answers = race(racers, move |racer| {
            let request = match racer {
                0 => form_request("/oauth2/revoke", &[("token", &token)]),
                _ => token_request(&[("grant_type", JWT_BEARER), ("assertion", &token)]),
            };
            let app = app.clone();
            async move { send(app, request).await }
        })
        .await;
        for answer in &answers {
            if let Some(token) = answer["access_token"].as_str() {
                assert!(!service.opens(token, "/projects").await);
            }
        }
        assert_error(&service.exchange(&assertion).await, 400, "invalid_grant");
    }
}

async fn send(app: axum::Router, request: http::Request<axum::body::Body>) -> Value {
    use tower::ServiceExt;
    common::Answer::read(app.oneshot(request).await.unwrap()).await.json
}

fn assert_one_identity(answers: &[Value]) {
    let identities: HashSet<String> = answers.iter().map(|answer| answer["identity"].to_string()).collect();
    assert_eq!(identities.len(), 1, "{identities:?}");
    assert!(answers[0]["identity"]["assertion"].is_string(), "{answers:?}");
}

macro_rules! on_each_store {
    ($($(#[$attribute:meta])* $store:ident: $fresh:expr;)*) => {$(
        mod $store {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r45_of_many_calls_at_once_one_identity_comes() {
                let (store, _place) = $fresh.await;
                let races = Races::on(store);
                for racers in [2, 16, 64, 256] {
                    races.of_a_completion(racers).await;
                    races.of_a_refresh(racers).await;
                    races.of_a_claim(racers).await;
                    races.of_an_end(racers).await;
                }
            }

            #[tokio::test]
            $(#[$attribute])*
            async fn agents_of_both_wires_log_in() {
                let (store, _place) = $fresh.await;
                let service = Races::on(store).service;
                let flat = service.flat_login("ada").await;
                let nested = service.nested_login("bob").await;
                assert!(service.opens(&text(&flat["access_token"]), "/projects").await);
                let access = service.exchange(&text(&nested["identity"]["assertion"])).await.json;
                assert!(service.opens(&text(&access["access_token"]), "/projects").await);
                let renewed = service.refresh_identity(&text(&nested["identity"]["refresh_token"]["value"])).await;
                assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text);
                let waiting = service.auth.ceremony().unwrap().uncollected(&common::account("bob").id).await.unwrap();
                assert_eq!(waiting.len(), 1, "it stands");
            }
        }
    )*};
}

async fn memory() -> (TestStore, MemoryStore) {
    let store = MemoryStore::new();
    (TestStore::over(store.clone()), store)
}

on_each_store! {
    memory: super::memory();
    sqlite_file: TempFile::fresh();
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    postgres_server: Schema::fresh();
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    redis_server: Prefix::fresh();
}
