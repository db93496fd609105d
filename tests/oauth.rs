//! The dialect `oauth`: MCP hosts and other OAuth 2.1 clients log in.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::{
    Answer, Form, ORIGIN, Service, bearer, browse, browse_again, config,
    oauth::{Login, REDIRECT, VERIFIER, form, oauth, parameter, poll, start_device, text, token, type_code, works},
};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use sha2::Digest as _;

#[tokio::test]
async fn a_client_registers_asks_is_approved_and_calls() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let scopes = [("decision", "approve"), ("scope", "projects:read")];
    let sent_to = login.decide(&service, "ada", &scopes).await;
    assert!(sent_to.starts_with(&format!("{REDIRECT}?")), "{sent_to}");
    assert_eq!(parameter(&sent_to, "state"), login.state);
    assert_eq!(parameter(&sent_to, "iss"), ORIGIN);
    let code = parameter(&sent_to, "code");
    let answer = login.redeem(&service, &code, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json["token_type"], "Bearer");
    assert_eq!(answer.json["expires_in"], 3_600);
    assert_eq!(answer.json["scope"], "projects:read", "what the human unticked is not granted, and the answer says so");
    let access = text(&answer.json, "access_token");
    assert!(access.starts_with("aas_") && works(&service, access).await);

    let refreshed = login.refresh(&service, text(&answer.json, "refresh_token"), &[]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
    let next = text(&refreshed.json, "access_token");
    assert!(works(&service, next).await && !works(&service, access).await);

    // The human sees it, and the client ends it.
    let page = service.send(browse("ada", "/sessions")).await;
    assert!(page.text.contains("Example Host"), "{}", page.text);
    let revoked = service.send(form("/oauth2/revoke", &[("token", next), ("client_id", &login.client)])).await;
    assert_eq!((revoked.status, &*revoked.text), (StatusCode::OK, ""));
    assert!(!works(&service, next).await);
}

#[tokio::test]
async fn as1_to_as11_the_metadata_names_what_is_on() {
    let service = Service::with(oauth());
    let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
    for (field, value) in [
        ("issuer", json!(ORIGIN)),
        ("authorization_endpoint", json!("https://api.example.com/oauth2/authorize")),
        ("token_endpoint", json!("https://api.example.com/oauth2/token")),
        ("registration_endpoint", json!("https://api.example.com/oauth2/register")),
        ("revocation_endpoint", json!("https://api.example.com/oauth2/revoke")),
        ("revocation_endpoint_auth_methods_supported", json!(["none"])),
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
    ] {
        assert_eq!(metadata[field], value, "{field}");
    }
    let has = |field: &str, value: &str| metadata[field].as_array().unwrap().contains(&json!(value));
    assert!(has("grant_types_supported", "authorization_code") && has("grant_types_supported", "refresh_token"));
    assert!(has("token_endpoint_auth_methods_supported", "none"));
    assert!(metadata["agent_auth"].is_object());
    assert_eq!(service.get("/.well-known/openid-configuration").await.json, metadata);

    let off = Service::with(oauth().oauth(|oauth| {
        oauth.registration = false;
        oauth.openid_configuration = false;
    }));
    let metadata = off.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["registration_endpoint"], Value::Null);
    assert_eq!(off.post("/oauth2/register", &json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(off.get("/.well-known/openid-configuration").await.status, StatusCode::NOT_FOUND);

    let without = Service::with(config());
    let metadata = without.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["grant_types_supported"], json!([]));
    assert_eq!(without.get("/oauth2/authorize").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn az6_a_browser_without_a_session_is_sent_to_sign_in_and_comes_back_to_the_same_request() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await.with("scope", "projects:read");
    let arrived = service.get(&login.url(&[])).await;
    assert_eq!(arrived.status, StatusCode::SEE_OTHER);
    assert_eq!(service.store.writes(), 0, "nothing changes before somebody is signed in");
    let return_to = arrived.header("location").strip_prefix("/login?next=").unwrap().to_owned();
    assert!(return_to.starts_with("/oauth2/authorize?again="), "{return_to}");
    let signed_in = service.send(browse("ada", &return_to)).await;
    let path = signed_in.header("location").to_owned();
    assert!(path.starts_with("/oauth2/authorize/reg_"), "{path}");

    // The same link in the same browser is the same request; in another browser it is another.
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let form = Form { human: "ada".into(), csrf: String::new(), cookie };
    for url in [&return_to, &login.url(&[])] {
        assert_eq!(service.send(browse_again(&form, url)).await.header("location"), path);
    }
    assert_ne!(service.send(browse("ada", &login.url(&[]))).await.header("location"), path);
    let other = login.url(&[("state", "other")]);
    assert_ne!(service.send(browse_again(&form, &other)).await.header("location"), path);
}

#[tokio::test]
async fn az5_errors_go_to_the_client_once_its_redirect_uri_is_proven() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    for (changed, error) in [
        (vec![("response_type", "token")], "unsupported_response_type"),
        (vec![("response_type", "")], "invalid_request"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge", "short")], "invalid_request"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("scope", "nothing:here")], "invalid_scope"),
        (vec![("resource", "https://other.example.com")], "invalid_target"),
        (vec![("prompt", "none")], "interaction_required"),
        (vec![("scope", "projects:read"), ("scope", "projects:write")], "invalid_request"),
    ] {
        // Nobody is redirected before they have signed in: anybody can register a place.
        let signed_out = service.get(&login.url(&changed)).await;
        assert!(signed_out.header("location").starts_with("/login?next=/oauth2/authorize?again="), "{changed:?}");
        let again = signed_out.header("location").strip_prefix("/login?next=").unwrap().to_owned();
        for path in [again, login.url(&changed)] {
            let answer = service.send(browse("ada", &path)).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{changed:?} {}", answer.text);
            let sent_to = answer.header("location");
            assert!(sent_to.starts_with(&format!("{REDIRECT}?")), "{sent_to}");
            assert_eq!(parameter(sent_to, "error"), error, "{changed:?}");
            assert_eq!(parameter(sent_to, "state"), login.state);
            assert_eq!(parameter(sent_to, "iss"), ORIGIN);
            assert!(!parameter(sent_to, "error_description").is_empty());
        }
    }
    assert_eq!(service.store.writes(), 0);
}

#[tokio::test]
async fn ru4_an_unproven_client_or_redirect_uri_is_shown_and_nothing_is_sent_there() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let url = login.url(&[]);
    for bad in [
        login.url(&[("client_id", "")]),
        login.url(&[("client_id", "unknown")]),
        login.url(&[("client_id", "dyn_AAAA")]),
        login.url(&[("redirect_uri", "")]),
        login.url(&[("redirect_uri", "https://evil.example/callback")]),
        login.url(&[("redirect_uri", "http://localhost:43123/callback")]),
        login.url(&[("redirect_uri", "http://127.0.0.1:43123/callback/")]),
        login.url(&[("redirect_uri", "http://127.0.0.1:43123/callback?x=1")]),
        format!("{url}&redirect_uri=https%3A%2F%2Fevil.example%2F"),
        format!("{url}&client_id=other"),
        format!("{url}&state={}", "a".repeat(13_000)),
    ] {
        let answer = service.send(browse("ada", &bad)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(!answer.headers.contains_key("location"), "{bad}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
    assert_eq!(service.store.writes(), 0);
}

#[tokio::test]
async fn co4_a_denial_goes_back_to_the_client_with_state_and_issuer() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let sent_to = login.decide(&service, "ada", &[("decision", "deny")]).await;
    assert_eq!(parameter(&sent_to, "error"), "access_denied");
    assert_eq!(parameter(&sent_to, "state"), login.state);
    assert_eq!(parameter(&sent_to, "iss"), ORIGIN);
    // mcpc sends no state.
    let mut login = Login::named(&service, "Other").await;
    login.state = "";
    let url = login.url(&[("state", "")]);
    let arrived = service.send(browse("ada", &url)).await;
    assert_eq!(arrived.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn az8_a_code_is_good_once_and_its_replay_ends_what_it_issued() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let code = login.code(&service).await;
    let first = login.redeem(&service, &code, &[]).await;
    assert_eq!(first.status, StatusCode::OK);
    let access = text(&first.json, "access_token").to_owned();
    let again = login.redeem(&service, &code, &[]).await;
    assert_eq!((again.status, again.error()), (StatusCode::BAD_REQUEST, "invalid_grant"));
    assert!(works(&service, &access).await, "a request that was sent twice harms nobody");
    service.clock.advance(Duration::from_secs(11));
    // A stranger without the verifier, or with another client, ends nothing.
    let stranger = Login::named(&service, "Stranger").await;
    for changed in [[("code_verifier", "a".repeat(43))], [("client_id", stranger.client.clone())]] {
        let changed = changed.each_ref().map(|(name, value)| (*name, &**value));
        assert_eq!(login.redeem(&service, &code, &changed).await.error(), "invalid_grant");
        assert!(works(&service, &access).await);
    }
    assert_eq!(login.redeem(&service, &code, &[]).await.error(), "invalid_grant");
    assert!(!works(&service, &access).await);
    let refreshed = login.refresh(&service, text(&first.json, "refresh_token"), &[]).await;
    assert_eq!(refreshed.error(), "invalid_grant");
}

#[tokio::test]
async fn l1_l2_what_is_wrong_beside_a_code_spends_nothing() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let stranger = Login::named(&service, "Stranger").await;
    let code = login.code(&service).await;
    for (changed, status, error) in [
        (vec![("client_id", &*stranger.client)], StatusCode::BAD_REQUEST, "invalid_grant"),
        (vec![("client_id", "unknown")], StatusCode::UNAUTHORIZED, "invalid_client"),
        (vec![("client_id", "")], StatusCode::UNAUTHORIZED, "invalid_client"),
        (vec![("redirect_uri", "http://127.0.0.1:43124/callback")], StatusCode::BAD_REQUEST, "invalid_grant"),
        (vec![("resource", "https://other.example.com")], StatusCode::BAD_REQUEST, "invalid_target"),
        (vec![("code_verifier", "")], StatusCode::BAD_REQUEST, "invalid_request"),
        (vec![("code_verifier", "short")], StatusCode::BAD_REQUEST, "invalid_request"),
        (vec![("grant_type", "")], StatusCode::BAD_REQUEST, "invalid_request"),
        (vec![("grant_type", "password")], StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        (vec![("client_secret", "x")], StatusCode::UNAUTHORIZED, "invalid_client"),
        (vec![("code", "aae_x")], StatusCode::BAD_REQUEST, "invalid_grant"),
    ] {
        let answer = login.redeem(&service, &code, &changed).await;
        assert_eq!((answer.status, answer.error()), (status, error), "{changed:?} {}", answer.text);
    }
    // OAuth 2.1 clients send no redirect URI, and a slash after an origin is the same resource.
    let answer = login.redeem(&service, &code, &[("redirect_uri", ""), ("resource", "https://api.example.com/")]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn a_wrong_verifier_locks_a_code_at_the_fifth_time() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let code = login.code(&service).await;
    for _ in 0..5 {
        let answer = login.redeem(&service, &code, &[("code_verifier", &"a".repeat(43))]).await;
        assert_eq!(answer.error(), "invalid_grant");
    }
    assert_eq!(login.redeem(&service, &code, &[]).await.error(), "invalid_grant");
}

#[tokio::test]
async fn tk4_a_refresh_narrows_never_widens_and_belongs_to_its_client() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let stranger = Login::named(&service, "Stranger").await;
    let tokens = login.tokens(&service).await;
    let refresh = text(&tokens, "refresh_token");
    for (more, error) in [
        (vec![("scope", "projects:write")], "invalid_scope"),
        (vec![("resource", "https://other.example.com")], "invalid_target"),
        (vec![("client_id", &*stranger.client)], "invalid_grant"),
        (vec![("client_id", "unknown")], "invalid_client"),
    ] {
        assert_eq!(login.refresh(&service, refresh, &more).await.error(), error, "{more:?}");
    }
    // Gemini refreshes one token twice at once.
    let more = [("scope", "projects:read offline_access"), ("resource", ORIGIN)];
    let (one, two) = tokio::join!(login.refresh(&service, refresh, &more), login.refresh(&service, refresh, &more));
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK), "{} {}", one.text, two.text);
    assert_eq!(one.json["access_token"], two.json["access_token"]);
    assert_eq!(one.json["scope"], "projects:read");
    // A stranger can't end the family by presenting what is used up.
    service.clock.advance(Duration::from_secs(3_000));
    assert_eq!(stranger.refresh(&service, refresh, &[]).await.error(), "invalid_grant");
    assert!(works(&service, text(&one.json, "access_token")).await);
    assert_eq!(login.refresh(&service, refresh, &[]).await.error(), "invalid_grant");
    assert!(!works(&service, text(&one.json, "access_token")).await, "its own client's reuse does");
}

/// mcporter listens on another port at each start, and registers again with it before it refreshes.
#[tokio::test]
async fn ci13_a_program_that_registers_again_with_another_port_is_the_same_client() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let tokens = login.tokens(&service).await;
    let body = json!({ "client_name": "Example Host", "redirect_uris": ["http://127.0.0.1:50123/callback"] });
    let answer = service.post("/oauth2/register", &body).await;
    assert_eq!(answer.json["redirect_uris"], body["redirect_uris"]);
    let again = Login { client: text(&answer.json, "client_id").to_owned(), ..Login::of(&service).await };
    let refreshed = again.refresh(&service, text(&tokens, "refresh_token"), &[]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
}

#[tokio::test]
async fn l3_l8_basic_credentials_without_a_secret_name_the_client_and_malformed_ones_are_401() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let code = login.code(&service).await;
    let body = [("grant_type", "authorization_code"), ("code", &*code), ("code_verifier", VERIFIER)];
    let basic = |text: &str| format!("bAsIc {}", data_encoding::BASE64.encode(text.as_bytes()));
    let request = |authorization: &str| {
        let mut request = form("/oauth2/token", &body);
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        request
    };
    for bad in [
        "Basic",
        "Basic !!!",
        "Bearer x",
        &basic("no colon"),
        &basic("unknown:"),
        &basic(&format!("{}:secret", login.client)),
    ] {
        let answer = service.send(request(bad)).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "invalid_client"), "{bad}");
        assert!(answer.header("www-authenticate").starts_with("Basic "), "{bad}");
    }
    let answer = token(&service, &body).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    assert!(!answer.headers.contains_key("www-authenticate"));
    assert_eq!(service.send(request(&basic(&format!("{}:", login.client)))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn tk1_the_token_endpoint_takes_posted_forms_only() {
    let service = Service::with(oauth());
    assert_eq!(service.get("/oauth2/token").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let json = service.post("/oauth2/token", &json!({ "grant_type": "refresh_token" })).await;
    assert_eq!(json.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let in_query = service.send(form("/oauth2/token?grant_type=refresh_token", &[])).await;
    assert_eq!((in_query.status, in_query.error()), (StatusCode::BAD_REQUEST, "invalid_request"));
    let twice = token(&service, &[("grant_type", "refresh_token"), ("grant_type", "refresh_token")]).await;
    assert_eq!((twice.status, twice.error()), (StatusCode::BAD_REQUEST, "invalid_request"));
}

#[tokio::test]
async fn ci12_registration_gives_what_there_is_and_ignores_the_rest() {
    let service = Service::with(oauth());
    let body = json!({
        "client_name": " Example Host ",
        "redirect_uris": ["http://localhost:3118/callback", "https://claude.ai/api/mcp/auth_callback"],
        "grant_types": ["authorization_code", "refresh_token", "implicit"],
        "response_types": ["code", "token"],
        "token_endpoint_auth_method": "client_secret_basic",
        "application_type": "native",
        "logo_uri": "javascript:alert(1)",
        "code_challenge_method": "S256",
        "scope": "everything",
    });
    let answer = service.post("/oauth2/register", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json["client_name"], "Example Host");
    assert_eq!(answer.json["redirect_uris"], body["redirect_uris"]);
    assert_eq!(answer.json["token_endpoint_auth_method"], "none");
    assert_eq!(answer.json["response_types"], json!(["code"]));
    assert_eq!(answer.json["application_type"], "native");
    for absent in ["client_secret", "registration_client_uri", "logo_uri", "client_secret_expires_at"] {
        assert_eq!(answer.json[absent], Value::Null, "{absent}");
    }
    assert_eq!(service.store.calls(), 0, "nothing is stored for a registration");
    for (bad, error) in [
        (json!({}), "invalid_redirect_uri"),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": "http://127.0.0.1/" }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["http://example.com/"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["cursor://x/y"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["javascript:alert(1)"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://a.example/cb#x"] }), "invalid_redirect_uri"),
        (json!({ "redirect_uris": ["https://a.example/cb"], "client_name": "a\u{202e}b" }), "invalid_client_metadata"),
        (json!({ "redirect_uris": ["https://a.example/cb"], "client_name": 5 }), "invalid_client_metadata"),
        (json!({ "redirect_uris": vec!["https://a.example/cb"; 21] }), "invalid_redirect_uri"),
        (json!([]), "invalid_client_metadata"),
    ] {
        let answer = service.post("/oauth2/register", &bad).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, error), "{bad}");
        assert!(!answer.json["error_description"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn ci11_a_client_of_the_configuration_needs_no_registration() {
    use tower_agent_auth::config::OAuthClient;
    let config = oauth().oauth(|oauth| {
        oauth.registration = false;
        oauth.clients.push(OAuthClient::new("suite", "Test Suite", &["http://127.0.0.1/callback"]));
    });
    let service = Service::with(config);
    let login = Login { client: "suite".into(), state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
    assert!(works(&service, text(&login.tokens(&service).await, "access_token")).await);
}

#[tokio::test]
async fn a_failed_store_is_503_and_never_an_invalid_grant() {
    for fault in [common::Fault::Unavailable, common::Fault::Corrupt, common::Fault::Panic] {
        let service = Service::with(oauth());
        let login = Login::of(&service).await;
        let tokens = login.tokens(&service).await;
        let second = Login { verifier: "b".repeat(43), ..Login::of(&service).await };
        let code = second.code(&service).await;
        service.store.break_after(0, fault);
        for answer in [
            second.redeem(&service, &code, &[]).await,
            login.refresh(&service, text(&tokens, "refresh_token"), &[]).await,
            service.send(form("/oauth2/revoke", &[("token", text(&tokens, "access_token"))])).await,
        ] {
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
            assert_eq!(answer.error(), "temporarily_unavailable");
            assert!(answer.headers.contains_key("retry-after"));
        }
        let arrived = service.send(browse("ada", &Login::of(&service).await.url(&[("state", "x")]))).await;
        assert_eq!(arrived.status, StatusCode::SERVICE_UNAVAILABLE);
        service.store.mend();
        assert_eq!(second.redeem(&service, &code, &[]).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_use_what_needs_no_cookie() {
    let service = Service::with(oauth());
    for path in ["/oauth2/token", "/oauth2/register", "/oauth2/revoke"] {
        let preflight = Request::options(path)
            .header("origin", "https://inspector.example")
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .unwrap();
        let answer = service.send(preflight).await;
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
    }
    let preflight = Request::options("/oauth2/authorize")
        .header("origin", "https://inspector.example")
        .header("access-control-request-method", "GET")
        .body(Body::empty())
        .unwrap();
    assert!(!service.send(preflight).await.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn no_token_of_an_agent_opens_the_authorization_endpoint() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let access = text(&login.tokens(&service).await, "access_token").to_owned();
    let mut request = bearer(Method::GET, &login.url(&[]), &access);
    request.headers_mut().insert("cookie", "user=ada".parse().unwrap());
    let answer = service.send(request).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn r118_a_device_logs_in_by_the_code_that_its_human_types() {
    let service = Service::with(oauth());
    let login = Login::named(&service, "Television").await;
    let started = start_device(&service, &login, &[("scope", "projects:read")]).await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.text);
    assert_eq!(started.json["expires_in"], 600);
    assert_eq!(started.json["interval"], 5);
    let (device_code, user_code) = (text(&started.json, "device_code"), text(&started.json, "user_code"));
    assert!(started.json["check_phrase"].is_null(), "the code is compared");
    let verification = text(&started.json, "verification_uri");
    assert_eq!(verification, "https://api.example.com/oauth2/device");
    let link = text(&started.json, "verification_uri_complete").strip_prefix(ORIGIN).unwrap().to_owned();

    let waiting = poll(&service, &login, device_code).await;
    assert_eq!((waiting.status, waiting.error()), (StatusCode::BAD_REQUEST, "authorization_pending"));
    assert_eq!(poll(&service, &login, device_code).await.error(), "slow_down");

    // Who is not signed in comes back to the same code.
    let signed_out = service.get(&link).await;
    assert_eq!(signed_out.header("location"), format!("/login?next={link}"));
    let linked = service.send(browse("ada", &link)).await;
    assert!(linked.text.contains(&format!("value=\"{user_code}\"")), "{}", linked.text);

    let typed = user_code.replace('-', " ").to_lowercase();
    let (sent, browser) = type_code(&service, "ada", "/oauth2/device", &typed).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
    let path = sent.header("location").to_owned();
    let page = service.send(browse_again(&browser, &path)).await;
    assert!(page.text.contains(user_code), "the page shows the code to compare: {}", page.text);
    let approval = Form { csrf: common::between(&page.text, "name=\"csrf\" value=\"", "\"").into(), ..browser };
    let answer = service.send(approval.post(&path, &[("decision", "approve"), ("scope", "projects:read")])).await;
    assert_eq!(answer.header("location"), path);

    service.clock.advance(Duration::from_secs(11));
    let stranger = Login::named(&service, "Stranger").await;
    assert_eq!(poll(&service, &stranger, device_code).await.error(), "invalid_grant");
    let done = poll(&service, &login, device_code).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert!(works(&service, text(&done.json, "access_token")).await);
    let refreshed = login.refresh(&service, text(&done.json, "refresh_token"), &[]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
    assert_eq!(poll(&service, &login, device_code).await.error(), "invalid_grant");
}

#[tokio::test]
async fn r118_a_device_is_told_of_denial_and_expiry() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let started = start_device(&service, &login, &[]).await.json;
    let (sent, browser) = type_code(&service, "ada", "/oauth2/device", text(&started, "user_code")).await;
    let path = sent.header("location").to_owned();
    let page = service.send(browse_again(&browser, &path)).await;
    let approval = Form { csrf: common::between(&page.text, "name=\"csrf\" value=\"", "\"").into(), ..browser };
    service.send(approval.post(&path, &[("decision", "deny")])).await;
    assert_eq!(poll(&service, &login, text(&started, "device_code")).await.error(), "access_denied");

    let started = start_device(&service, &login, &[]).await.json;
    service.clock.advance(Duration::from_secs(601));
    assert_eq!(poll(&service, &login, text(&started, "device_code")).await.error(), "expired_token");
    assert_eq!(poll(&service, &login, "clm_x").await.error(), "invalid_grant");
}

#[tokio::test]
async fn r118_user_codes_are_not_guessed() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    for bad in ["", "BCDF-GHJK", "\"><script>", "ä".repeat(20).as_str()] {
        let (answer, _) = type_code(&service, "ada", "/oauth2/device", bad).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{bad}");
        assert!(!answer.text.contains("\"><script>"));
    }
    let started = start_device(&service, &login, &[]).await.json;
    let code = text(&started, "user_code");
    for _ in 0..6 {
        type_code(&service, "ada", "/oauth2/device", "BCDF-GHJK").await;
    }
    let (answer, _) = type_code(&service, "ada", "/oauth2/device", code).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers.contains_key("retry-after"));
    let (answer, _) = type_code(&service, "bob", "/oauth2/device", code).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "another account is not held up");
    // A form of another site, or without its token, finds nothing.
    let forged = Form { human: "ada".into(), csrf: "0.00".into(), cookie: "x=y".into() };
    let answer = service.send(forged.post("/oauth2/device", &[("code", code)])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn r118_a_device_code_is_good_at_the_token_endpoint_only() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let started = start_device(&service, &login, &[]).await.json;
    let device_code = text(&started, "device_code");
    let body = json!({ "claim_token": device_code });
    for path in ["/agent/auth/claim", "/agent/auth/claim/complete"] {
        assert_eq!(service.post(path, &body).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let pending = service.register(&[]).await;
    assert_eq!(poll(&service, &login, &pending.claim_token).await.error(), "invalid_grant");

    let off = Service::with(oauth().oauth(|oauth| oauth.device = false));
    assert_eq!(start_device(&off, &login, &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(off.send(browse("ada", "/oauth2/device")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(poll(&off, &login, device_code).await.error(), "unsupported_grant_type");
    let metadata = off.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["device_authorization_endpoint"], Value::Null);
}

#[tokio::test]
async fn r118_a_device_needs_no_redirect_uri() {
    let service = Service::with(oauth());
    let grants = json!(["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]);
    let body = json!({ "client_name": "Television", "grant_types": grants });
    let answer = service.post("/oauth2/register", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let login = Login {
        client: text(&answer.json, "client_id").into(),
        state: "s",
        verifier: VERIFIER.into(),
        extra: Vec::new(),
    };
    assert_eq!(start_device(&service, &login, &[]).await.status, StatusCode::OK);
    assert_eq!(service.send(browse("ada", &login.url(&[]))).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn ru5_co1_the_page_says_where_the_answer_goes_and_what_is_known_of_the_client() {
    let config = oauth().oauth(|oauth| {
        let uris = ["https://app.example.com/callback"];
        oauth.clients.push(tower_agent_auth::config::OAuthClient::new("ours", "Our App", &uris));
        oauth.private_use_schemes = true;
    });
    let service = Service::with(config);
    let page = async |login: &Login, redirect: &str| {
        let arrived = service.send(browse("ada", &login.url(&[("redirect_uri", redirect)]))).await;
        let cookie = arrived.header("set-cookie").split(';').next().unwrap().to_owned();
        let form = Form { human: "ada".into(), csrf: String::new(), cookie };
        service.send(browse_again(&form, arrived.header("location"))).await
    };
    let shown = page(&Login::of(&service).await, REDIRECT).await;
    assert!(
        shown.text.contains("takes the access to http:&#x2f;&#x2f;127.0.0.1:43123, a program on this computer."),
        "{}",
        shown.text
    );
    assert!(shown.text.contains("Nobody has checked who it is"));
    let policy = shown.header("content-security-policy");
    assert!(policy.contains("form-action 'self' http://127.0.0.1:43123/callback"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"));

    let ours = Login { client: "ours".into(), state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
    let shown = page(&ours, "https://app.example.com/callback").await;
    assert!(shown.text.contains("takes the access to https:&#x2f;&#x2f;app.example.com."), "{}", shown.text);
    assert!(shown.text.contains("Registered by Example Analytics") && !shown.text.contains("Nobody has checked"));

    let body = json!({ "client_name": "Editor", "redirect_uris": ["cursor://anysphere.cursor-mcp/oauth/callback"] });
    let client = text(&service.post("/oauth2/register", &body).await.json, "client_id").to_owned();
    let editor = Login { client, state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
    let shown = page(&editor, "cursor://anysphere.cursor-mcp/oauth/callback").await;
    assert!(shown.text.contains("the app that opens cursor: links"), "{}", shown.text);
    assert!(shown.header("content-security-policy").contains("form-action 'self' cursor:"));
}

#[tokio::test]
async fn su1_a_step_up_shows_what_is_new_and_ends_no_other_session() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let first = login.tokens(&service).await;
    let more = Login { verifier: "c".repeat(43), ..Login::of(&service).await };
    let more = more.with("scope", "projects:read analytics:read projects:write");
    assert_eq!(more.client, login.client, "the same metadata is the same client");
    let arrived = service.send(browse("ada", &more.url(&[]))).await;
    let cookie = arrived.header("set-cookie").split(';').next().unwrap().to_owned();
    let form = Form { human: "ada".into(), csrf: String::new(), cookie };
    let page = service.send(browse_again(&form, arrived.header("location"))).await;
    assert_eq!(page.text.matches("You gave this to an app of this name before").count(), 2, "{}", page.text);
    assert_eq!(page.text.matches(">New<").count(), 1);
    // Another account's page says nothing of it.
    let (_, other) = more.open(&service, "bob").await;
    assert!(!other.csrf.is_empty());

    // Denied: the old session stays. Approved: it stays too, beside the new one.
    let denied = more.decide(&service, "ada", &[("decision", "deny")]).await;
    assert_eq!(parameter(&denied, "error"), "access_denied");
    assert!(works(&service, text(&first, "access_token")).await);
    let wider = Login { verifier: "d".repeat(43), ..more };
    let scopes = [("decision", "approve"), ("scope", "projects:read"), ("scope", "projects:write")];
    let code = parameter(&wider.decide(&service, "ada", &scopes).await, "code");
    let second = wider.redeem(&service, &code, &[]).await.json;
    assert_eq!(second["scope"], "projects:read projects:write");
    assert!(
        works(&service, text(&first, "access_token")).await && works(&service, text(&second, "access_token")).await
    );
}

#[tokio::test]
async fn g1_rs8_a_token_is_good_at_the_resource_that_it_was_asked_for() {
    let config =
        oauth().add_resource("/mcp", |resource| resource.name("Example for assistants").scopes("projects:read"));
    let service = Service::with(config);
    let metadata = service.get("/.well-known/oauth-protected-resource/mcp").await.json;
    assert_eq!(metadata["resource"], "https://api.example.com/mcp");
    let mcp = Login::of(&service).await.with("resource", "https://api.example.com/mcp/");
    let sent_to = mcp.decide(&service, "ada", &[("decision", "approve"), ("scope", "projects:read")]).await;
    let code = parameter(&sent_to, "code");
    let wrong = mcp.redeem(&service, &code, &[("resource", ORIGIN)]).await;
    assert_eq!(wrong.error(), "invalid_target", "{}", wrong.text);
    let tokens = mcp.redeem(&service, &code, &[("resource", "HTTPS://API.example.com/mcp")]).await.json;
    assert_eq!(tokens["resource"], "https://api.example.com/mcp");
    assert_eq!(tokens["scope"], "projects:read");
    let access = text(&tokens, "access_token");
    assert!(!works(&service, access).await, "the guards of the API refuse it");
    let refresh = text(&tokens, "refresh_token");
    assert_eq!(mcp.refresh(&service, refresh, &[("resource", ORIGIN)]).await.error(), "invalid_target");
    assert_eq!(
        mcp.refresh(&service, refresh, &[("resource", "https://api.example.com/mcp")]).await.status,
        StatusCode::OK
    );
    let scope =
        Login::of(&service).await.url(&[("resource", "https://api.example.com/mcp"), ("scope", "projects:write")]);
    assert_eq!(parameter(service.send(browse("ada", &scope)).await.header("location"), "error"), "invalid_scope");
}

/// A resource server's question about a token.
async fn introspect(service: &Service, server: &str, secret: &str, token: &str) -> Answer {
    introspect_by(service, server, secret, &[("token", token)]).await
}

async fn introspect_by(service: &Service, server: &str, secret: &str, parameters: &[(&str, &str)]) -> Answer {
    let mut request = form("/oauth2/introspect", parameters);
    let basic = data_encoding::BASE64.encode(format!("{server}:{secret}").as_bytes());
    request.headers_mut().insert("authorization", format!("Basic {basic}").parse().unwrap());
    service.send(request).await
}

#[tokio::test]
async fn in1_a_resource_server_learns_of_tokens_for_its_own_resource_only() {
    use tower_agent_auth::config::ResourceServer;
    const SECRET: &str = "a secret of 32 random characters";
    let hash = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(SECRET));
    let config = oauth().add_resource("/mcp", |resource| resource.scopes("projects:read"));
    let config = config.oauth(|oauth| {
        oauth.resource_servers.push(ResourceServer::new("api", &hash, &[ORIGIN]));
        oauth.resource_servers.push(ResourceServer::new("mcp", &hash.to_uppercase(), &["/mcp"]));
    });
    let service = Service::with(config);
    let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["introspection_endpoint"], "https://api.example.com/oauth2/introspect");
    let login = Login::of(&service).await;
    let tokens = login.tokens(&service).await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let answer = introspect(&service, "api", SECRET, access).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    for (field, value) in [
        ("active", json!(true)),
        ("scope", json!("analytics:read projects:read")),
        ("client_id", json!(login.client)),
        ("sub", json!("acct_ada")),
        ("aud", json!(ORIGIN)),
        ("iss", json!(ORIGIN)),
        ("iat", json!(common::START.as_millis() / 1_000)),
        ("exp", json!(common::START.as_millis() / 1_000 + 3_600)),
        ("token_type", json!("Bearer")),
        ("agent", json!({ "name": "Example Host", "client": login.client })),
    ] {
        assert_eq!(answer.json[field], value, "{field}");
    }
    let inactive = json!({ "active": false });
    for (server, token) in [("mcp", access), ("api", refresh), ("api", "aas_x"), ("api", "x")] {
        assert_eq!(introspect(&service, server, SECRET, token).await.json, inactive, "{server}");
    }
    // The same by the digest of the token, so that the server need not send it.
    let digest = |token: &str| data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(token));
    let (of_access, of_refresh) = (digest(access), digest(refresh));
    let upper = of_access.to_uppercase();
    for (server, digest, expected) in [
        ("api", &of_access, &answer.json),
        ("api", &upper, &answer.json),
        ("mcp", &of_access, &inactive),
        ("api", &of_refresh, &inactive),
    ] {
        let mut expected = expected.clone();
        expected["token_sha256"] = json!(digest);
        assert_eq!(introspect_by(&service, server, SECRET, &[("token_sha256", digest)]).await.json, expected);
    }
    for parameters in [
        &[("token_sha256", &of_access[1..])] as &[_],
        &[("token_sha256", access)],
        &[("token_sha256", &*of_access), ("token", access)],
        &[("token_sha256", &*of_access), ("token_sha256", &*of_access)],
        &[],
    ] {
        let answer = introspect_by(&service, "api", SECRET, parameters).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_request"), "{parameters:?}");
    }
    assert_eq!(service.get_as("/projects", &of_access).await.status, StatusCode::UNAUTHORIZED, "it opens nothing");
    for (server, secret) in [("api", "wrong"), ("api", ""), ("", SECRET), ("other", SECRET), ("api", &*hash)] {
        let answer = introspect(&service, server, secret, access).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "invalid_client"), "{server}");
        assert!(answer.header("www-authenticate").starts_with("Basic "));
    }
    let in_body = [("token", access), ("client_id", "api"), ("client_secret", SECRET)];
    assert_eq!(service.send(form("/oauth2/introspect", &in_body)).await.json["active"], true);
    let nobody = service.send(form("/oauth2/introspect", &[("token", access)])).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);

    service.store.break_after(0, common::Fault::Unavailable);
    assert_eq!(introspect(&service, "api", SECRET, access).await.status, StatusCode::SERVICE_UNAVAILABLE);
    service.store.mend();
    service.clock.advance(Duration::from_secs(3_600));
    assert_eq!(introspect(&service, "api", SECRET, access).await.json, inactive, "it has expired");
    let next = login.refresh(&service, refresh, &[]).await.json;
    let next = text(&next, "access_token");
    assert_eq!(introspect(&service, "api", SECRET, next).await.json["active"], true);
    service.send(form("/oauth2/revoke", &[("token", next)])).await;
    assert_eq!(introspect(&service, "api", SECRET, next).await.json, inactive, "it was revoked");

    assert_eq!(Service::with(oauth()).send(form("/oauth2/introspect", &[])).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn l7_a_client_revokes_its_own_tokens_only() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let stranger = Login::named(&service, "Stranger").await;
    let tokens = login.tokens(&service).await;
    for field in ["access_token", "refresh_token"] {
        let parameters = [("token", text(&tokens, field)), ("client_id", &*stranger.client)];
        let answer = service.send(form("/oauth2/revoke", &parameters)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert!(works(&service, text(&tokens, "access_token")).await);
    }
    let unknown = service.send(form("/oauth2/revoke", &[("token", "aas_x"), ("client_id", &login.client)])).await;
    assert_eq!(unknown.status, StatusCode::OK, "RFC 7009 section 2.2");
    let parameters = [("token", text(&tokens, "refresh_token")), ("token_type_hint", "access_token")];
    assert_eq!(service.send(form("/oauth2/revoke", &parameters)).await.status, StatusCode::OK);
    assert!(!works(&service, text(&tokens, "access_token")).await);
}

#[tokio::test]
async fn agents_of_other_dialects_revoke_at_the_endpoint_of_the_metadata_too() {
    let service = Service::with(oauth());
    let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
    let path = text(&metadata, "revocation_endpoint").strip_prefix(ORIGIN).unwrap().to_owned();
    for in_body in [true, false] {
        let access = service.token(&["projects:read"]).await;
        let request = if in_body {
            common::json_request(&path, &json!({ "token": access }).to_string())
        } else {
            bearer(Method::POST, &path, &access)
        };
        assert_eq!(service.send(request).await.status, StatusCode::OK, "{in_body}");
        assert!(!works(&service, &access).await, "{in_body}");
    }
    let nothing = service.send(form(&path, &[])).await;
    assert_eq!((nothing.status, nothing.error()), (StatusCode::BAD_REQUEST, "invalid_request"));
}

#[tokio::test]
async fn l1_a_stranger_with_half_a_grant_ends_nothing() {
    let service = Service::with(oauth().no_limits());
    let login = Login::of(&service).await;
    let stranger = Login::named(&service, "Stranger").await;
    let code = login.code(&service).await;
    let first = login.redeem(&service, &code, &[]).await.json;
    let second = login.refresh(&service, text(&first, "refresh_token"), &[]).await.json;
    service.clock.advance(Duration::from_secs(61));
    let (half, used) = (&code[..code.len() / 2], text(&first, "refresh_token"));
    for answer in [
        login.redeem(&service, half, &[]).await,
        login.redeem(&service, &code, &[("code_verifier", &"a".repeat(43))]).await,
        login.redeem(&service, &code, &[("redirect_uri", "http://127.0.0.1:1/callback")]).await,
        stranger.redeem(&service, &code, &[]).await,
        stranger.refresh(&service, used, &[]).await,
        login.refresh(&service, &used[..used.len() / 2], &[]).await,
        poll(&service, &login, &code).await,
    ] {
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_grant"), "{}", answer.text);
        assert!(works(&service, text(&second, "access_token")).await);
    }
}

#[tokio::test]
async fn l2_a_wrong_resource_can_be_tried_again() {
    let service = Service::with(oauth().no_limits());
    let login = Login::of(&service).await;
    let (wrong, right) = ([("resource", "https://api.example.org")], [("resource", ORIGIN)]);
    let code = login.code(&service).await;
    assert_eq!(login.redeem(&service, &code, &wrong).await.error(), "invalid_target");
    let tokens = login.redeem(&service, &code, &right).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text);
    let refresh = text(&tokens.json, "refresh_token");
    assert_eq!(login.refresh(&service, refresh, &wrong).await.error(), "invalid_target");
    assert_eq!(login.refresh(&service, refresh, &right).await.status, StatusCode::OK);

    let started = start_device(&service, &login, &right).await.json;
    let (sent, browser) = type_code(&service, "ada", "/oauth2/device", text(&started, "user_code")).await;
    let path = sent.header("location").to_owned();
    let page = service.send(browse_again(&browser, &path)).await;
    let approval = Form { csrf: common::between(&page.text, "name=\"csrf\" value=\"", "\"").into(), ..browser };
    service.send(approval.post(&path, &[("decision", "approve"), ("scope", "projects:read")])).await;
    let redeem = async |resource: &str| {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let device_code = text(&started, "device_code");
        let client = ("client_id", &*login.client);
        token(&service, &[("grant_type", grant), ("device_code", device_code), client, ("resource", resource)]).await
    };
    assert_eq!(redeem("https://api.example.org").await.error(), "invalid_target");
    assert_eq!(redeem(ORIGIN).await.status, StatusCode::OK);
}

#[tokio::test]
async fn l4_a_registered_client_is_not_told_of_what_manages_it() {
    let service = Service::with(oauth());
    let body = json!({ "client_name": "Host", "redirect_uris": ["http://127.0.0.1/callback"] });
    let registered = service.post("/oauth2/register", &body).await.json;
    for absent in ["registration_client_uri", "registration_access_token", "client_secret"] {
        assert_eq!(registered[absent], Value::Null, "{absent}");
    }
    let at = format!("/oauth2/register/{}", text(&registered, "client_id"));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(method.clone()).uri(&at).body(Body::empty()).unwrap();
        assert_eq!(service.send(request).await.status, StatusCode::NOT_FOUND, "{method}");
    }
}

#[tokio::test]
async fn l5_a_client_that_names_more_grants_and_responses_gets_those_that_there_are() {
    let service = Service::with(oauth());
    let ours = json!(["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]);
    for (grants, responses) in [
        (json!(["authorization_code", "refresh_token", "client_credentials", "implicit"]), json!(["code", "id_token"])),
        (json!(["authorization_code"]), json!(["code", "code token", "none"])),
        (json!([]), json!([])),
    ] {
        let redirect_uris = ["http://127.0.0.1/callback"];
        let body = json!({ "redirect_uris": redirect_uris, "grant_types": grants, "response_types": responses });
        let answer = service.post("/oauth2/register", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert_eq!((&answer.json["grant_types"], &answer.json["response_types"]), (&ours, &json!(["code"])));
    }
}

#[tokio::test]
async fn l6_a_client_that_prefers_a_key_is_public() {
    let service = Service::with(oauth());
    let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(["none"]));
    for method in [json!("private_key_jwt"), json!(["private_key_jwt", "none"]), json!("client_secret_post")] {
        let body = json!({
            "redirect_uris": ["http://127.0.0.1/callback"],
            "token_endpoint_auth_method": method,
            "token_endpoint_auth_signing_alg": "ES256",
            "jwks_uri": "https://app.example.com/jwks.json",
        });
        let registered = service.post("/oauth2/register", &body).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
        assert_eq!(registered.json["token_endpoint_auth_method"], "none", "{method}");
        let client = text(&registered.json, "client_id").to_owned();
        let login = Login { client, state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
        assert!(works(&service, text(&login.tokens(&service).await, "access_token")).await);
    }
}

#[tokio::test]
async fn l8_a_challenge_names_an_error_only_if_credentials_were_sent() {
    let service = Service::with(oauth());
    let none = service.get("/projects").await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED);
    assert!(!none.header("www-authenticate").contains("error"), "{}", none.header("www-authenticate"));
    let bad = service.get_as("/projects", "aas_x").await;
    assert_eq!(bad.status, StatusCode::UNAUTHORIZED);
    assert!(bad.header("www-authenticate").contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn l10_a_resource_is_a_whole_part_of_a_path() {
    let config = oauth().no_limits().add_resource("/api", |resource| resource.scopes("projects:read"));
    let service = Service::with(config);
    for (asked, granted) in [
        ("https://api.example.com/api", "https://api.example.com/api"),
        ("https://api.example.com/api/", "https://api.example.com/api"),
        ("https://api.example.com/api/v1", "https://api.example.com/api"),
        ("https://api.example.com/api-v2", ORIGIN),
        ("https://api.example.com/", ORIGIN),
    ] {
        let login = Login::of(&service).await.with("resource", asked);
        let scopes = [("decision", "approve"), ("scope", "projects:read")];
        let code = parameter(&login.decide(&service, "ada", &scopes).await, "code");
        let tokens = login.redeem(&service, &code, &[("resource", asked)]).await;
        assert_eq!(tokens.json["resource"], granted, "{asked}: {}", tokens.text);
    }
    for (well_known, resource) in [("", ORIGIN), ("/api", "https://api.example.com/api")] {
        let document = service.get(&format!("/.well-known/oauth-protected-resource{well_known}")).await;
        assert_eq!(document.json["resource"], resource);
    }
    let longer = service.get("/.well-known/oauth-protected-resource/api-v2").await;
    assert_eq!(longer.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn l12_what_is_over_is_forgotten() {
    let service = Service::with(oauth().no_limits());
    let empty = format!("{:?}", service.store.memory).len();
    let login = Login::of(&service).await;
    assert_eq!(format!("{:?}", service.store.memory).len(), empty, "a client is not stored");
    // One of each: a request that nobody decided, one that was denied, a code that nobody redeemed, a session, a device.
    login.open(&service, "ada").await;
    login.decide(&service, "ada", &[("decision", "deny")]).await;
    login.code(&service).await;
    login.tokens(&service).await;
    start_device(&service, &login, &[]).await;
    assert!(format!("{:?}", service.store.memory).len() > empty + 1_000);
    service.clock.advance(Duration::from_secs(400 * 86_400));
    tokio::time::timeout(Duration::from_secs(120), service.auth.housekeeping(std::future::pending()))
        .await
        .unwrap_err();
    assert_eq!(format!("{:?}", service.store.memory).len(), empty, "{:?}", service.store.memory);
}

#[tokio::test]
async fn l13_addresses_in_the_metadata_of_a_client_are_neither_kept_nor_shown() {
    let service = Service::with(oauth());
    let fields = ["logo_uri", "client_uri", "tos_uri", "policy_uri", "jwks_uri", "software_statement"];
    for evil in ["javascript:alert(1)", "data:text/html,evil", "http://evil.example/", "https://evil.example/"] {
        let mut body = json!({ "client_name": "Host", "redirect_uris": ["http://127.0.0.1/callback"] });
        for field in fields {
            body[field] = json!(evil);
        }
        let registered = service.post("/oauth2/register", &body).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
        assert!(fields.iter().all(|field| registered.json[field].is_null()), "{}", registered.text);
        let client = text(&registered.json, "client_id").to_owned();
        let login = Login { client, state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
        let (path, form) = login.open(&service, "ada").await;
        let page = service.send(browse_again(&form, &path)).await;
        let policy = page.header("content-security-policy");
        for shown in [&*page.text, policy] {
            assert!(!shown.contains("evil") && !shown.contains("javascript:") && !shown.contains("data:"), "{shown}");
        }
    }
}

#[tokio::test]
async fn l14_r117_r113_errors_are_shown_until_the_redirect_uri_is_proven_and_then_sent_with_the_issuer() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let unproven = [
        ("client_id", "unknown"),
        ("client_id", ""),
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1:43123/other"),
        ("redirect_uri", ""),
    ];
    for error in [
        ("response_type", "token"),
        ("response_type", ""),
        ("code_challenge", ""),
        ("code_challenge_method", "plain"),
        ("response_mode", "form_post"),
        ("scope", "nothing:here"),
        ("resource", "https://api.example.org"),
        ("prompt", "none"),
    ] {
        for wrong in unproven {
            let shown = service.send(browse("ada", &login.url(&[error, wrong]))).await;
            assert_eq!(shown.status, StatusCode::BAD_REQUEST, "{error:?} {wrong:?}");
            assert!(!shown.headers.contains_key("location"), "{error:?} {wrong:?}");
        }
        let sent = service.send(browse("ada", &login.url(&[error]))).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{error:?} {}", sent.text);
        let sent_to = sent.header("location");
        assert!(sent_to.starts_with(&format!("{REDIRECT}?error=")), "{sent_to}");
        assert_eq!((parameter(sent_to, "iss"), parameter(sent_to, "state")), (ORIGIN.into(), login.state.into()));
    }
    for decision in ["approve", "deny"] {
        let fields = [("decision", decision), ("scope", "projects:read")];
        assert_eq!(parameter(&login.decide(&service, "ada", &fields).await, "iss"), ORIGIN);
    }
    assert_eq!(service.store.writes(), 6, "the decisions: each creates, opens and decides a request");
}

#[tokio::test]
async fn tk6_a_code_that_is_over_is_an_invalid_grant_whatever_became_of_the_request() {
    for over in ["expired", "taken back", "inactive"] {
        let service = Service::with(oauth());
        let login = Login::of(&service).await;
        let (path, form) = login.open(&service, "ada").await;
        let approve = [("decision", "approve"), ("scope", "projects:read")];
        let decided = service.send(form.post(&path, &approve)).await;
        let code = parameter(decided.header("location"), "code");
        match over {
            "expired" => service.clock.advance(Duration::from_secs(61)),
            "inactive" => service.accounts.inactive.lock().unwrap().push("acct_ada".into()),
            _ => {
                let taken = service.send(form.post(&path, &[("decision", "take_back")])).await;
                assert_eq!(taken.status, StatusCode::SEE_OTHER, "{}", taken.text);
            }
        }
        let answer = login.redeem(&service, &code, &[]).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_grant"), "{over}");
    }
}

#[tokio::test]
async fn a_web_page_that_starts_the_login_of_a_device_is_named() {
    let service = Service::with(oauth());
    let login = Login::of(&service).await;
    let mut request = form("/oauth2/device_authorization", &[("client_id", &login.client)]);
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    request.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    let started = service.send(request).await.json;
    let (sent, browser) = type_code(&service, "ada", "/oauth2/device", text(&started, "user_code")).await;
    let page = service.send(browse_again(&browser, sent.header("location"))).await;
    assert!(page.text.contains("Web page of https:&#x2f;&#x2f;evil.example"), "{}", page.text);
}

#[tokio::test]
async fn ru5_a_name_that_anybody_can_claim_is_not_shown_as_proven() {
    use tower_agent_auth::config::OAuthClient;
    let config = oauth().oauth(|oauth| {
        oauth.clients.push(OAuthClient::new("cli", "Our CLI", &["http://127.0.0.1/callback"]));
    });
    let service = Service::with(config);
    let login = Login { client: "cli".into(), state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
    let arrived = service.send(browse("ada", &login.url(&[]))).await;
    let cookie = arrived.header("set-cookie").split(';').next().unwrap().to_owned();
    let browser = Form { human: "ada".into(), csrf: String::new(), cookie };
    let page = service.send(browse_again(&browser, arrived.header("location"))).await;
    let said = "It says that it is an app of Example Analytics. Any program on this computer can say so.";
    assert!(page.text.contains(said) && !page.text.contains("Registered by"), "{}", page.text);
    let started = start_device(&service, &login, &[]).await.json;
    let (sent, browser) = type_code(&service, "ada", "/oauth2/device", text(&started, "user_code")).await;
    let page = service.send(browse_again(&browser, sent.header("location"))).await;
    assert!(page.text.contains("Anybody can say so") && !page.text.contains("Registered by"), "{}", page.text);
}

#[tokio::test]
async fn a_redirect_that_the_configuration_has_dropped_gets_no_code() {
    let config = || oauth().oauth(|oauth| oauth.redirect_hosts = vec!["app.example.com".into()]);
    let service = Service::with(config());
    let body = json!({ "redirect_uris": ["https://app.example.com/cb"] });
    let client = text(&service.post("/oauth2/register", &body).await.json, "client_id").to_owned();
    let login = Login { client, state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
    let arrived = service.send(browse("ada", &login.url(&[("redirect_uri", "https://app.example.com/cb")]))).await;
    let cookie = arrived.header("set-cookie").split(';').next().unwrap().to_owned();
    let path = arrived.header("location").to_owned();
    let browser = Form { human: "ada".into(), csrf: String::new(), cookie };
    let page = service.send(browse_again(&browser, &path)).await;
    let csrf = common::between(&page.text, "name=\"csrf\" value=\"", "\"").to_owned();
    let later = service.again(oauth().oauth(|oauth| oauth.redirect_hosts = vec!["other.example.com".into()]));
    let approve = [("decision", "approve"), ("scope", "projects:read")];
    let answer = later.send(Form { csrf, ..browser }.post(&path, &approve)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    assert!(!answer.headers.contains_key("location"));
}

#[tokio::test]
async fn ci13_a_full_store_of_clients_keeps_nobody_out() {
    use tower_agent_auth::{
        AgentAuth,
        store::{ClientStore, MemoryStore},
        types::{client::RegisteredClient, id::ClientId},
    };
    let mut service = Service::with(oauth().no_limits());
    let clients = MemoryStore::new();
    service.auth = AgentAuth::builder(oauth().no_limits().build().unwrap())
        .sessions(service.store.clone())
        .clients(clients.clone())
        .accounts(service.accounts.clone())
        .clock(service.clock.clone())
        .build()
        .unwrap();
    service.app = common::app(&service.auth, &service.handled);
    let stored = Login::of(&service).await;
    assert!(stored.client.starts_with("client_"), "{}", stored.client);
    assert!(works(&service, text(&stored.tokens(&service).await, "access_token")).await);
    for number in 0..10_000 {
        let id = ClientId::new(&format!("client_{number}")).unwrap();
        clients.create_client(&RegisteredClient::new(id, "{}", common::START), None).await.unwrap();
    }
    let beyond = Login::of(&service).await;
    assert!(beyond.client.starts_with("dyn_"), "{}", beyond.client);
    let beyond = Login { verifier: "b".repeat(43), ..beyond };
    assert!(works(&service, text(&beyond.tokens(&service).await, "access_token")).await);
    let unknown = Login { client: "client_unknown".into(), state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
    assert_eq!(unknown.redeem(&service, "aae_x", &[]).await.error(), "invalid_client");
}
