//! The endpoints: registration by an assertion, the human's confirmation, exchange, and what ends it.

use axum::body::Body;
use common::{
    Answer, Service as Whole, TestStore,
    auth_md::{JWT_BEARER, Registration, auth_md, text},
    browse_again,
};
use http::{Request, StatusCode};

use super::*;

const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
const REVOKED: &str = "https://schemas.workos.com/events/agent/auth/identity/assertion/revoked";
const NOTIFY: &str = "/agent/event/notify";

/// A service with all dialects that trusts an issuer.
struct Wire {
    service: Whole,
    key: Key,
    keys: KeyServer,
}

impl Wire {
    fn new() -> Self {
        let key = Key::on_p256("a");
        let keys = KeyServer::of(&[&key]);
        let (store, clock) = (TestStore::default(), ManualClock::at(Timestamp::from_millis(NOW * 1_000)));
        let settings = auth_md().no_limits().trusted_issuer(ISSUER, KEYS, |_| {});
        let (identities, fetcher) = (store.memory.clone(), keys.clone());
        let service = Whole::made_of(settings, store, clock.clone(), clock, |builder| {
            builder.identities(identities).identity_assertions(fetcher)
        });
        Self { service, key, keys }
    }

    fn seconds(&self) -> i64 {
        self.service.clock.now().as_millis() / 1_000
    }

    /// A valid assertion of now with these changes of its claims.
    fn token(&self, changes: &Value) -> String {
        self.key.token(&header(&self.key), &with(claims(self.seconds()), changes).to_string())
    }

    async fn register(&self, changes: &Value) -> Answer {
        self.present(&self.token(changes), &json!({})).await
    }

    async fn present(&self, assertion: &str, more: &Value) -> Answer {
        let body = json!({ "type": "identity_assertion", "assertion_type": ID_JAG, "assertion": assertion });
        self.service.post("/agent/identity", &with(body, more)).await
    }

    /// Registers, and lets this human confirm. Answers the identity.
    async fn confirmed(&self, human: &str, changes: &Value) -> Value {
        let asked = self.register(changes).await;
        assert_interaction(&asked);
        let registration = registration(&asked);
        let form = self.service.open_identity(human, &registration).await;
        let decided = self.service.decide_identity(&form, &registration, None).await;
        assert_eq!(decided.status, StatusCode::SEE_OTHER, "{}", decided.text);
        let code = self.service.code_of_the_page(&form, &registration).await;
        let done = self.service.complete_claim(&registration.claim_token, &code).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
        done.json
    }

    async fn exchange(&self, assertion: &str) -> Answer {
        self.service.grant(&[("grant_type", JWT_BEARER), ("assertion", assertion)]).await
    }

    fn event(&self, id: &str, subject: &str) -> String {
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "jti": id, "iat": self.seconds(), "events": { REVOKED: {} },
        });
        let header = json!({ "typ": "secevent+jwt", "alg": self.key.algorithm(), "kid": self.key.id });
        self.key.token(&header, &claims.to_string())
    }

    async fn notify(&self, token: &str) -> Answer {
        let request = Request::post(NOTIFY).header("content-type", "application/secevent+jwt");
        self.service.send(request.body(Body::from(token.to_owned())).unwrap()).await
    }
}

fn registration(asked: &Answer) -> Registration {
    let mut fine = asked.clone();
    fine.status = StatusCode::OK;
    Registration::of(&fine, &asked.json["claim"], &text(&asked.json["claim"]["token"]))
}

fn assert_interaction(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.error()), (401, "interaction_required"), "{}", answer.text);
    let challenges: Vec<&str> =
        answer.headers.get_all("www-authenticate").iter().map(|line| line.to_str().unwrap()).collect();
    assert!(challenges[0].starts_with("Bearer resource_metadata="), "{challenges:?}");
    assert_eq!(challenges[1], "AgentAuth error=\"interaction_required\"");
    assert!(answer.json["claim"]["attempt"]["verification_uri"].is_string() && answer.json["identity"].is_null());
}

#[tokio::test]
async fn r128_the_human_confirms_once_and_the_issuer_vouches_from_then_on() {
    let wire = Wire::new();
    let asked = wire.register(&json!({})).await;
    assert_interaction(&asked);
    let registration = registration(&asked);
    let form = wire.service.open_identity("bob", &registration).await;
    let page = wire.service.send(browse_again(&form, registration.form_path())).await.text.replace("&#x2f;", "/");
    for shown in [ISSUER, "ada@example.com", "agent.example"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    // Whoever confirms it is who it is linked to, whatever address the issuer states.
    let first = wire.confirmed("bob", &json!({})).await;
    assert_eq!(first["scopes"], json!(["projects:read"]));
    let again = wire.register(&json!({})).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text);
    assert_eq!((&again.json["type"], &again.json["scopes"]), (&json!("identity_assertion"), &json!(["projects:read"])));
    assert_eq!(again.json["identity"]["assertion"], again.json["identity_assertion"]);
    let access = wire.exchange(&text(&again.json["identity_assertion"])).await.json;
    let answer = wire.service.get_as("/projects", &text(&access["access_token"])).await;
    assert_eq!(answer.status, StatusCode::OK);
    let sessions = wire.service.auth.ceremony().unwrap().sessions(&common::account("bob").id, None).await.unwrap();
    assert_eq!(sessions.sessions.len(), 1);
    // The same assertion again is a replay.
    let token = wire.token(&json!({}));
    assert_eq!(wire.present(&token, &json!({})).await.status, StatusCode::OK);
    assert_eq!(wire.present(&token, &json!({})).await.error(), "replay_detected");
    // Another human of the issuer, and another client, are asked again.
    assert_interaction(&wire.register(&json!({ "sub": "user-8" })).await);
    assert_interaction(&wire.register(&json!({ "client_id": "https://other.example/client.json" })).await);
}

#[tokio::test]
async fn r128_an_assertion_gives_no_more_than_stands_and_no_longer() {
    let wire = Wire::new();
    wire.confirmed("ada", &json!({})).await;
    let ask = async |more: Value, changes: Value| wire.present(&wire.token(&changes), &more).await;
    assert_interaction(&ask(json!({ "requested_scopes": ["projects:write"] }), json!({})).await);
    assert_interaction(&ask(json!({ "requested_scopes": ["projects:read", "projects:write"] }), json!({})).await);
    let narrowed = ask(json!({}), json!({ "scope": "projects:read analytics:read" })).await;
    assert_eq!(narrowed.json["scopes"], json!(["projects:read"]), "{}", narrowed.text);
    for more in [
        json!({ "requested_scopes": ["projects:write"] }),
        json!({ "scope": "projects:write" }),
        json!({ "requested_scopes": ["projects:read"], "scope": "projects:write" }),
    ] {
        let wrong = ask(more, json!({ "scope": "projects:read" })).await;
        assert_eq!((wrong.status.as_u16(), wrong.error()), (400, "invalid_scope"), "{}", wrong.text);
    }
    let foreign = ask(json!({}), json!({ "resource": "https://other.example" })).await;
    assert_eq!(foreign.error(), "invalid_target", "{}", foreign.text);
    // A minute before the end of the approval.
    let days = Duration::from_secs(86_400);
    let kept = ask(json!({}), json!({})).await.json;
    for _ in 0..3 {
        wire.service.clock.advance(20 * days);
        let last = wire.register(&json!({})).await;
        if last.status == StatusCode::UNAUTHORIZED {
            assert_interaction(&last);
            break;
        }
    }
    assert_eq!(wire.exchange(&text(&kept["identity_assertion"])).await.error(), "invalid_grant");
    wire.service.accounts.inactive.lock().unwrap().push("acct_ada".into());
    let denied = wire.register(&json!({})).await;
    assert!(denied.status.is_client_error() && denied.json["identity"].is_null(), "{}", denied.text);
}

#[tokio::test]
async fn r128_what_the_human_ends_stays_ended() {
    for ends_confirmed in [false, true] {
        let wire = Wire::new();
        let confirmed = wire.confirmed("ada", &json!({})).await;
        let again = wire.register(&json!({})).await.json;
        let access = text(&wire.exchange(&text(&again["identity_assertion"])).await.json["access_token"]);
        let ceremony = wire.service.auth.ceremony().unwrap();
        let account = common::account("ada").id;
        if ends_confirmed {
            let id = tower_agent_auth::types::id::AuthorizationRequestId::parse(&text(&confirmed["id"])).unwrap();
            assert!(ceremony.take_back(&account, &id).await.unwrap());
        } else {
            let session = ceremony.sessions(&account, None).await.unwrap().sessions[0].session.id.clone();
            assert!(ceremony.revoke_session(&account, &session).await.unwrap());
        }
        assert!(!wire.service.opens(&access, "/projects").await);
        assert_eq!(wire.exchange(&text(&again["identity_assertion"])).await.error(), "invalid_grant");
        assert_eq!(wire.exchange(&wire.token(&json!({}))).await.error(), "invalid_grant");
        assert_interaction(&wire.register(&json!({})).await);
    }
}

#[tokio::test]
async fn r128_an_identity_acts_for_one_account() {
    let wire = Wire::new();
    wire.confirmed("ada", &json!({})).await;
    let asked = wire.present(&wire.token(&json!({})), &json!({ "requested_scopes": ["projects:write"] })).await;
    let registration = registration(&asked);
    let form = wire.service.open_identity("bob", &registration).await;
    let fields = [("decision", "approve"), ("scope", "projects:write")];
    let refused = wire.service.send(form.post(registration.form_path(), &fields)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    assert!(refused.text.contains("acts for another account"), "{}", refused.text);
    wire.service.auth.ceremony().unwrap().revoke_all(&common::account("ada").id).await.unwrap();
    wire.confirmed("bob", &json!({})).await;
    assert_eq!(wire.register(&json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r128_one_client_has_sixteen_identities_by_its_issuers_word() {
    let wire = Wire::new();
    wire.confirmed("ada", &json!({})).await;
    let mut assertions = Vec::new();
    for _ in 0..20 {
        assertions.push(text(&wire.register(&json!({})).await.json["identity_assertion"]));
        wire.service.clock.advance(Duration::from_millis(5));
    }
    for (index, assertion) in assertions.iter().enumerate() {
        assert_eq!(wire.exchange(assertion).await.status == StatusCode::OK, index >= 4, "{index}");
    }
}

#[tokio::test]
async fn r128_an_assertion_is_exchanged_for_a_token_at_once() {
    let wire = Wire::new();
    let unknown = wire.exchange(&wire.token(&json!({}))).await;
    assert_eq!((unknown.status.as_u16(), unknown.error()), (400, "invalid_grant"), "{}", unknown.text);
    wire.confirmed("ada", &json!({})).await;
    let token = wire.token(&json!({}));
    let tokens = wire.exchange(&token).await;
    assert_eq!((tokens.status, &tokens.json["scope"]), (StatusCode::OK, &json!("projects:read")), "{}", tokens.text);
    assert!(tokens.json["refresh_token"].is_null() && tokens.json["identity_assertion"].is_null());
    assert_eq!(wire.exchange(&token).await.error(), "invalid_grant", "a replay");
    let forged = Key::on_p256("a").token(&header(&wire.key), &claims(NOW).to_string());
    assert_eq!(wire.exchange(&forged).await.error(), "invalid_grant");
    wire.keys.go_away();
    wire.service.clock.advance(Duration::from_secs(3 * 86_400));
    let late = wire.exchange(&wire.token(&json!({}))).await;
    assert_eq!((late.status.as_u16(), late.error()), (503, "temporarily_unavailable"), "{}", late.text);
}

#[tokio::test]
async fn r128_each_refusal_has_its_code() {
    let wire = Wire::new();
    let now = NOW;
    for (changes, code) in [
        (json!({ "iss": "https://evil.example" }), "invalid_issuer"),
        (json!({ "aud": "https://other.example" }), "invalid_audience"),
        (json!({ "aud": [SERVICE, "https://other.example"] }), "invalid_audience"),
        (json!({ "exp": now - 300 }), "expired"),
        (json!({ "client_id": null }), "invalid_client_id"),
        (json!({ "email_verified": false }), "missing_verified_email"),
        (json!({ "sub": null }), "invalid_request"),
    ] {
        let answer = wire.register(&changes).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (400, code), "{changes}: {}", answer.text);
        assert_eq!(answer.json["message"], answer.json["error_description"]);
    }
    let forged = Key::on_p256("a").token(&header(&wire.key), &claims(now).to_string());
    assert_eq!(wire.present(&forged, &json!({})).await.error(), "invalid_signature");
    let stale = wire.register(&json!({ "auth_time": now - 7_200 })).await;
    assert_eq!((stale.status.as_u16(), stale.error(), &stale.json["max_age"]), (401, "login_required", &json!(3600)));
    let challenges: Vec<_> = stale.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges[1], "AgentAuth error=\"login_required\", max_age=\"3600\"");
    let other = wire.present("x", &json!({ "assertion_type": "urn:ietf:params:oauth:token-type:jwt" })).await;
    assert_eq!(other.error(), "invalid_request");
    // What is wrong beside the assertion uses nothing up.
    let token = wire.token(&json!({}));
    assert_eq!(wire.present(&token, &json!({ "client_name": 7 })).await.error(), "invalid_request");
    assert_interaction(&wire.present(&token, &json!({})).await);
}

#[tokio::test]
async fn r128_an_event_ends_tokens_requests_and_link() {
    let wire = Wire::new();
    let identity = wire.confirmed("ada", &json!({})).await;
    let other = wire.confirmed("ada", &json!({ "sub": "user-8" })).await;
    let access = text(&wire.exchange(&text(&identity["identity"]["assertion"])).await.json["access_token"]);
    let at_once = text(&wire.exchange(&wire.token(&json!({}))).await.json["access_token"]);
    let kept = text(&wire.exchange(&text(&other["identity"]["assertion"])).await.json["access_token"]);
    let waiting = wire.present(&wire.token(&json!({})), &json!({ "requested_scopes": ["projects:write"] })).await;
    let waiting = registration(&waiting);
    let form = wire.service.open_identity("ada", &waiting).await;
    let event = wire.event("e1", "user-7");
    for _ in 0..2 {
        let answer = wire.notify(&event).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, ""));
    }
    for token in [&access, &at_once] {
        assert!(!wire.service.opens(token, "/projects").await);
    }
    assert!(wire.service.opens(&kept, "/projects").await, "of another human of the issuer");
    assert_eq!(wire.exchange(&text(&identity["identity"]["assertion"])).await.error(), "invalid_grant");
    assert_ne!(wire.service.decide_identity(&form, &waiting, None).await.status, StatusCode::SEE_OTHER);
    assert_interaction(&wire.register(&json!({})).await);
    // Errors of RFC 8935 section 2.4.
    let refused = wire.notify(&wire.token(&json!({}))).await;
    assert_eq!((refused.status.as_u16(), &refused.json["err"]), (400, &json!("invalid_request")), "{}", refused.text);
    let request = Request::post(NOTIFY).header("content-type", "application/json").body(Body::from("{}")).unwrap();
    assert_eq!(wire.service.send(request).await.json["err"], "invalid_request");
    // A store that fails is asked again.
    wire.confirmed("ada", &json!({})).await;
    let event = wire.event("e2", "user-7");
    wire.service.store.break_after(0, common::Fault::Unavailable);
    assert_eq!(wire.notify(&event).await.status.as_u16(), 503);
    wire.service.store.mend();
    assert_eq!(wire.notify(&event).await.status.as_u16(), 202);
    assert_interaction(&wire.register(&json!({})).await);
}

#[tokio::test]
async fn the_documents_name_identity_assertions_where_issuers_are_trusted() {
    let metadata = Wire::new().service.get("/.well-known/oauth-authorization-server").await.json;
    let block = &metadata["agent_auth"];
    assert!(block["identity_types_supported"].as_array().unwrap().contains(&json!("identity_assertion")));
    assert_eq!(block["identity_assertion"]["assertion_types_supported"], json!([ID_JAG]));
    assert_eq!(block["events_endpoint"], format!("{SERVICE}{NOTIFY}"));
    assert_eq!(block["events_supported"], json!([REVOKED]));
    let plain = Whole::with(auth_md());
    let block = plain.get("/.well-known/oauth-authorization-server").await.json["agent_auth"].clone();
    assert!(block["events_endpoint"].is_null() && block["identity_assertion"].is_null());
    assert_eq!(plain.post(NOTIFY, &json!({})).await.status, StatusCode::NOT_FOUND);
}
