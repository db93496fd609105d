//! What a guard answers: which requests carry a credential, and what those are told that don't (security rows R14 to R31).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use tower::{Layer, Service as _, ServiceExt};
use tower_agent_auth::{
    challenge::Challenge,
    guard::Refusal,
    types::{
        random::OsRandom,
        secret::{Access, Prefix, Refresh},
    },
};

mod common;
use axum::body::Body;
use common::{Answer, ORIGIN, PRM, SECOND, Service, TestStore, bearer, config};

fn with_authorization(path: &str, value: &[u8]) -> Request<Body> {
    Request::get(path).header(AUTHORIZATION, value).body(Body::empty()).unwrap()
}

fn bare() -> String {
    format!("Bearer resource_metadata=\"{PRM}\"")
}

/// The challenge of `/projects` without an error.
fn asking() -> String {
    format!("{}, scope=\"projects:read\"", bare())
}

/// `/projects` was called without credentials.
fn assert_bare_401(answer: &Answer, what: &str) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
    assert_eq!(answer.header("www-authenticate"), asking(), "{what}");
    assert_eq!(answer.error(), "unauthorized", "{what}");
}

fn assert_invalid_token(answer: &Answer, what: &str) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
    let challenge = Challenge::parse(answer.header("www-authenticate")).unwrap().remove(0);
    assert_eq!(challenge.parameter("error"), Some("invalid_token"), "{what}");
    assert_eq!(challenge.parameter("resource_metadata"), Some(PRM), "{what}");
    assert_eq!(answer.error(), "invalid_token", "{what}");
}

#[tokio::test]
async fn r14_the_scheme_is_case_insensitive_and_the_separator_is_space() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer "] {
        let answer = service.send(with_authorization("/projects", format!("{scheme} {token}").as_bytes())).await;
        assert_eq!(answer.status, StatusCode::OK, "{scheme}");
    }
    for line in [format!("Bearer\t{token}"), format!("Bearer{token}"), "Bearer".into(), "Bearer ".into()] {
        assert_bare_401(&service.send(with_authorization("/projects", line.as_bytes())).await, &line);
    }
}

#[tokio::test]
async fn r15_two_authorization_lines_are_refused_whatever_they_say() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let good = format!("Bearer {token}");
    for pair in [[&*good, &*good], [&good, "Bearer junk"], ["Bearer junk", &good], ["Basic Zm9vOmJhcg==", &good]] {
        let request = Request::get("/projects").header("authorization", pair[0]).header("authorization", pair[1]);
        let answer = service.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_request"), "{pair:?}");
        assert!(answer.header("www-authenticate").contains("error=\"invalid_request\""));
    }
    let joined = format!("Bearer {token}, Bearer {token}");
    assert_invalid_token(&service.send(with_authorization("/projects", joined.as_bytes())).await, "joined");
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn r16_r17_any_other_byte_is_refused_without_a_panic() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let before = service.store.calls();
    let mut lines: Vec<Vec<u8>> =
        vec![b"Bearer  \xc2\xa0".to_vec(), b"Bearer \x80\xff".to_vec(), b"Bearer \xc0\xaf".to_vec()];
    lines.push("Bearer ａａｓ_ｘ".as_bytes().to_vec());
    for (start, end) in [("tok ", ""), ("", ","), ("\"", "\""), ("", " "), ("", "="), ("", "\u{e9}")] {
        lines.push(format!("Bearer {start}{token}{end}").into_bytes());
    }
    for line in lines {
        let answer = service.send(with_authorization("/projects", &line)).await;
        assert_invalid_token(&answer, &String::from_utf8_lossy(&line));
    }
    assert_eq!((service.handled(), service.store.calls()), (0, before));
}

#[tokio::test]
async fn r18_an_oversized_token_is_refused_without_asking_the_store() {
    let service = Service::new();
    for length in [257, 16 * 1024, 60 * 1024] {
        let answer = service.get_as("/projects", &"x".repeat(length)).await;
        assert_invalid_token(&answer, &length.to_string());
    }
    assert_eq!(service.store.calls(), 0);
}

#[tokio::test]
async fn r19_a_token_anywhere_else_is_no_credential() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    for name in ["access_token", "token", "key"] {
        assert_bare_401(&service.get(&format!("/projects?{name}={token}")).await, name);
    }
    let form = Request::post("/projects").header("content-type", "application/x-www-form-urlencoded");
    assert_bare_401(&service.send(form.body(Body::from(format!("access_token={token}"))).unwrap()).await, "form");
    let cookie = Request::get("/projects").header("cookie", format!("access_token={token}"));
    assert_bare_401(&service.send(cookie.body(Body::empty()).unwrap()).await, "cookie");
    let both = service.get_as(&format!("/projects?a=b&access_token={token}"), &token).await;
    assert_eq!((both.status, both.error()), (StatusCode::BAD_REQUEST, "invalid_request"));
    assert!(service.audit.names().contains(&"token_in_query"));
    assert!(!format!("{:?}", service.audit.events()).contains(&token));
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn r2_r20_what_is_no_access_token_of_ours_is_refused_without_asking_the_store() {
    let service = Service::new();
    let session = service.session("ada", &["projects:read"]).await;
    let pending = service.register(&[]).await;
    let before = service.store.calls();
    let refresh = session.json["refresh_token"].as_str().unwrap();
    let foreign = Prefix::<Refresh>::new("aak_").unwrap().generate(&OsRandom).unwrap();
    let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    let wrong_checksum = format!("aas_{}", "x".repeat(49));
    for token in [refresh, &pending.claim_token, foreign.expose(), jwt, "sk_live_x", &wrong_checksum] {
        assert_invalid_token(&service.get_as("/projects", token).await, token);
    }
    assert_eq!((service.handled(), service.store.calls()), (0, before));
}

#[tokio::test]
async fn r21_another_scheme_counts_as_no_credentials() {
    let service = Service::new();
    for line in ["Basic Zm9vOmJhcg==", "DPoP x", "Negotiate x", "Unheard of", ""] {
        assert_bare_401(&service.send(with_authorization("/projects", line.as_bytes())).await, line);
    }
}

#[tokio::test]
async fn r22_a_principal_comes_from_a_check_alone() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    // The only way to get hold of a principal is to be let pass; it is worth nothing at the next door.
    let taken = std::sync::Arc::new(std::sync::Mutex::new(None));
    let keep = taken.clone();
    let mut guard = service.auth.require("projects:read").layer(tower::service_fn(move |request: Request<Body>| {
        *keep.lock().unwrap() = request.extensions().get::<tower_agent_auth::guard::AgentSession>().cloned();
        async { Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty())) }
    }));
    guard.ready().await.unwrap().call(bearer(Method::GET, "/", &token)).await.unwrap();
    let mut request = Request::get("/projects").header("x-user-id", "owner").body(Body::empty()).unwrap();
    request.extensions_mut().insert(taken.lock().unwrap().take().unwrap());
    assert_bare_401(&service.send(request).await, "forged");
    assert_eq!(service.handled(), 0);
    let mut request = Request::get("/optional").body(Body::empty()).unwrap();
    request.extensions_mut().insert(());
    assert!(service.send(request).await.json["session"].is_null());
}

#[tokio::test]
async fn r23_without_credentials_the_challenge_names_metadata_and_scopes_byte_for_byte() {
    let service = Service::new();
    let answer = service.get("/projects").await;
    assert_bare_401(&answer, "none");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");

    let answer = service.get("/both").await;
    assert_eq!(answer.header("www-authenticate"), format!("{}, scope=\"projects:read projects:write\"", bare()));
    // No scope opens it.
    assert_eq!(service.get("/billing").await.header("www-authenticate"), bare());

    let service = Service::with(config().challenge_scope(false));
    for path in ["/projects", "/both", "/billing"] {
        assert_eq!(service.get(path).await.header("www-authenticate"), bare(), "{path}");
    }
}

#[tokio::test]
async fn r24_r2_every_bad_token_gets_the_same_answer() {
    let service = Service::new();
    let expired = service.token(&["projects:read"]).await;
    service.clock.advance(3_600 * SECOND);
    let revoked = service.token(&["projects:read"]).await;
    let answer = service.send(bearer(Method::POST, "/agent/auth/revoke", &revoked)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let unknown = Prefix::<Access>::new("aas_").unwrap().generate(&OsRandom).unwrap();
    let mut answers = Vec::new();
    for token in ["malformed", &format!("aas_{}", "0".repeat(49)), unknown.expose(), &expired, &revoked] {
        let answer = service.get_as("/projects", token).await;
        assert_invalid_token(&answer, token);
        answers.push((format!("{:?}", answer.headers), answer.text));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

#[tokio::test]
async fn r24_a_token_of_another_resource_is_refused() {
    let store = TestStore::default();
    let one = Service::on(config(), store.clone());
    let other = Service::on(config().resource("https://api.example.com/other").issuer(ORIGIN), store);
    let token = one.token(&["projects:read"]).await;
    assert_eq!(one.get_as("/projects", &token).await.status, StatusCode::OK);
    let answer = other.get_as("/projects", &token).await;
    assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "invalid_token"));
}

#[tokio::test]
async fn r25_a_missing_scope_is_403_and_names_what_is_needed() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    for (path, scope) in [("/write", "projects:write"), ("/both", "projects:read projects:write")] {
        let answer = service.get_as(path, &token).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, "insufficient_scope"));
        let golden = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{PRM}\"");
        assert_eq!(answer.header("www-authenticate"), golden);
    }
    assert_eq!(service.handled(), 0);
    assert_eq!(service.get_as("/any", &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r26_a_route_that_nobody_could_pass_is_refused_at_build_time() {
    let service = Service::new();
    for scopes in ["", " ", "projects:raed", "a\"b", "projects:read unknown", "projects:read\r\nX: 1"] {
        let error = service.auth.all_of(scopes).unwrap_err();
        assert_eq!(error.problems()[0].field, "require", "{scopes:?}");
        assert!(service.auth.any_of(scopes).is_err(), "{scopes:?}");
    }
}

#[tokio::test]
async fn r27_challenges_of_the_inner_service_survive_and_ours_comes_first() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let inner = |status: StatusCode, challenges: &'static [&'static str]| {
        tower::service_fn(move |_: Request<Body>| {
            let mut response = http::Response::builder().status(status);
            for challenge in challenges {
                response = response.header("www-authenticate", *challenge);
            }
            std::future::ready(Ok::<_, std::convert::Infallible>(response.body(Body::empty()).unwrap()))
        })
    };
    let challenges = async |status, theirs| {
        let guarded = service.auth.require("projects:read").layer(inner(status, theirs));
        let response = guarded.oneshot(bearer(Method::GET, "/", &token)).await.unwrap();
        let values = response.headers().get_all("www-authenticate").iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let two: &[&str] = &["Basic realm=\"x\"", "DPoP algs=\"ES256\""];
    assert_eq!(challenges(StatusCode::UNAUTHORIZED, two).await, [asking(), two[0].into(), two[1].into()]);
    let own: &[&str] = &["DPoP algs=\"ES256\", bearer realm=\"y\""];
    assert_eq!(challenges(StatusCode::UNAUTHORIZED, own).await, [&asking(), own[0]]);
    let nested: &[&str] = &[
        "DPoP algs=\"ES256\"",
        "bearer resource_metadata=\"https://api.example.com/.well-known/oauth-protected-resource\"",
    ];
    assert_eq!(challenges(StatusCode::UNAUTHORIZED, nested).await, nested);
    assert_eq!(challenges(StatusCode::UNAUTHORIZED, &[]).await, [asking()]);
    assert!(challenges(StatusCode::OK, &[]).await.is_empty());
    assert!(challenges(StatusCode::FORBIDDEN, &[]).await.is_empty());
}

#[tokio::test]
async fn r28_head_is_refused_as_get_is_and_methods_change_nothing() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let get = service.get("/projects").await;
    let head = service.send(Request::head("/projects").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.text.as_str()), (get.status, ""));
    assert_eq!(head.header("www-authenticate"), get.header("www-authenticate"));
    assert_eq!(head.header("content-length"), get.text.len().to_string());
    assert_eq!(service.send(bearer(Method::HEAD, "/billing", &token)).await.status, StatusCode::FORBIDDEN);
    for method in [Method::TRACE, Method::CONNECT] {
        let answer = service.send(bearer(method.clone(), "/projects", &token)).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        answer.header("allow");
    }
    let mut disguised = bearer(Method::GET, "/billing", &token);
    disguised.headers_mut().insert("x-http-method-override", "OPTIONS".parse().unwrap());
    assert_eq!(service.send(disguised).await.status, StatusCode::FORBIDDEN);
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn r29_r30_under_cors_a_preflight_passes_and_refusals_can_be_read() {
    use tower_http::cors::{AllowOrigin, CorsLayer};
    let service = Service::new();
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_headers([AUTHORIZATION])
        .expose_headers([http::header::WWW_AUTHENTICATE, http::header::RETRY_AFTER]);
    let app = service.app.clone().layer(cors);
    let preflight = Request::options("/projects")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "GET")
        .body(Body::empty())
        .unwrap();
    let answer = Answer::read(app.clone().oneshot(preflight).await.unwrap()).await;
    assert!(answer.status.is_success());
    assert!(answer.header("access-control-allow-headers").contains("authorization"));
    let get = Request::get("/projects").header("origin", "https://evil.example").body(Body::empty()).unwrap();
    let answer = Answer::read(app.clone().oneshot(get).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-expose-headers").contains("www-authenticate"));
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    assert_eq!(service.handled(), 0);
    // Without CORS above, an OPTIONS is a request like any other, and a preflight that reaches a guard is let through to nobody.
    let preflight = Request::options("/projects").header("origin", "x").header("access-control-request-method", "GET");
    assert_bare_401(&service.send(preflight.body(Body::empty()).unwrap()).await, "preflight");
    assert_bare_401(&service.send(Request::options("/projects").body(Body::empty()).unwrap()).await, "options");
    assert_eq!(service.handled(), 0);
}

#[tokio::test]
async fn r31_the_order_is_parse_authenticate_owner_scope() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let twice = Request::get("/billing").header("authorization", "Bearer x").header("authorization", "Bearer x");
    assert_eq!(service.send(twice.body(Body::empty()).unwrap()).await.status, StatusCode::BAD_REQUEST);
    assert_invalid_token(&service.get_as("/billing", "junk").await, "owner-only with an invalid token");
    assert_eq!(service.get_as("/billing", &token).await.error(), "owner_only");
    assert_eq!(service.get_as("/nowhere", &token).await.status, StatusCode::NOT_FOUND);
    assert_eq!(service.get("/nowhere").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_optional_mode_lets_nobody_pass_as_somebody() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let nobody = service.get("/optional").await;
    assert_eq!((nobody.status, nobody.json["session"].is_null()), (StatusCode::OK, true));
    assert!(service.get_as("/optional", &token).await.json["session"].is_string());
    assert_invalid_token(&service.get_as("/optional", "junk").await, "optional");
}

#[tokio::test]
async fn the_response_extensions_of_a_refusal_hold_its_cause() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let causes = [
        (service.auth.require("projects:read"), None, Some(Refusal::NoCredentials)),
        (service.auth.require("projects:read"), Some("junk"), Some(Refusal::InvalidToken)),
        (service.auth.require("projects:write"), Some(&*token), Some(Refusal::InsufficientScope)),
        (service.auth.owner_only(), Some(&*token), Some(Refusal::OwnerOnly)),
        (service.auth.policy(|_| None), Some(&*token), Some(Refusal::NoRule)),
        (service.auth.require("projects:read"), Some(&*token), None),
    ];
    for (guard, token, cause) in causes {
        let inner = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::empty())));
        let mut request = Request::get("/");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = guard.layer(inner).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.extensions().get::<Refusal>().copied(), cause);
        assert_eq!(response.headers().contains_key("x-content-type-options"), cause.is_some());
    }
    // A router hides the type of the body, not the extensions.
    let refused = service.app.clone().oneshot(Request::get("/projects").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(refused.extensions().get::<Refusal>(), Some(&Refusal::NoCredentials));
}

#[tokio::test]
async fn r3_the_secrets_of_a_ceremony_are_good_in_their_own_place_alone() {
    let service = Service::new();
    let session = service.session("ada", &["projects:read"]).await;
    let secret = |field: &str| session.json[field].as_str().unwrap().to_owned();
    let (access, refresh) = (secret("access_token"), secret("refresh_token"));
    let pending = service.register(&[]).await;
    let public = [pending.id.clone(), secret("session_id")];
    let claim = pending.claim_token.clone();

    // As bearer, only the access token.
    for token in [&refresh, &claim, &public[0], &public[1]] {
        assert_invalid_token(&service.get_as("/projects", token).await, token);
    }
    assert_eq!(service.get_as("/projects", &access).await.status, StatusCode::OK);
    // At claim and complete, only the claim token.
    for path in ["/agent/auth/claim", "/agent/auth/claim/complete"] {
        for token in [&access, &refresh, &public[0], &public[1]] {
            let answer = service.post(path, &serde_json::json!({ "claim_token": token })).await;
            assert_eq!((answer.status, answer.error()), (StatusCode::UNAUTHORIZED, "invalid_claim_token"), "{path}");
        }
    }
    // At the page, none: it is opened by the public id.
    for token in [&access, &refresh, &claim, &public[1]] {
        let page = service.send(common::browse("ada", &format!("/agent/auth/approve/{token}"))).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND);
    }
    // At revoke, what is no access or refresh token has no effect.
    for token in [&claim, &public[0], &public[1]] {
        let answer = service.post("/agent/auth/revoke", &serde_json::json!({ "token": token })).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert_eq!(service.get_as("/projects", &access).await.status, StatusCode::OK);
    let status = service.post("/agent/auth/claim", &serde_json::json!({ "claim_token": claim })).await;
    assert_eq!(status.json["status"], "pending");
}
