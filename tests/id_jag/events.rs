//! Security events.

use serde_json::{Value, json};
use tower_agent_auth::{
    id_jag::{EventError, VerifiedEvent},
    store::MemoryStore,
};

use super::*;

const REVOKED: &str = "https://schemas.workos.com/events/agent/auth/identity/assertion/revoked";

fn event(key: &Key, in_header: &Value, in_claims: &Value) -> String {
    let claims = json!({
        "iss": ISSUER, "sub": "user-7", "aud": SERVICE, "jti": "event-1", "iat": NOW, "events": { REVOKED: {} },
    });
    let header = json!({ "typ": "secevent+jwt", "alg": key.algorithm(), "kid": key.id });
    key.token(&with(header, in_header), &with(claims, in_claims).to_string())
}

async fn verify(service: &Service, token: &str) -> Result<VerifiedEvent, EventError> {
    service.verifier().verify_event(token, service.clock.now()).await
}

fn code(result: &Result<VerifiedEvent, EventError>) -> &'static str {
    result.as_ref().map_or_else(|error| error.code().unwrap_or("503"), |_| "accepted")
}

#[tokio::test]
async fn a_revocation_names_the_identity_until_it_is_acknowledged() {
    let key = Key::ed25519("a");
    let store = MemoryStore::new();
    let service = Service::on(trusting(), KeyServer::of(&[&key]), store.clone());
    let token = event(&key, &json!({}), &json!({}));
    for _ in 0..2 {
        let verified = verify(&service, &token).await.unwrap();
        let identity = verified.revoked.as_ref().unwrap();
        assert_eq!((identity.issuer(), identity.subject()), (ISSUER, "user-7"));
    }
    let verified = verify(&service, &token).await.unwrap();
    service.verifier().acknowledge(&verified).await.unwrap();
    service.verifier().acknowledge(&verified).await.unwrap();
    let node = Service::on(trusting(), KeyServer::of(&[&key]), store);
    for service in [&service, &node] {
        assert_eq!(verify(service, &token).await.unwrap().revoked, None, "accepted, with nothing to do");
    }
    let another = event(&key, &json!({}), &json!({ "jti": "event-2" }));
    assert!(verify(&service, &another).await.unwrap().revoked.is_some());
    // An assertion is no event, and the reverse.
    assert_eq!(code(&verify(&service, &valid(&key)).await), "invalid_request");
    assert_eq!(outcome(&service.verify(&another).await), "malformed");
}

#[tokio::test]
async fn unknown_events_are_accepted_and_ignored() {
    let key = Key::on_p256("a");
    let (service, _) = served(&key);
    let unknown = "https://schemas.example/other";
    for (events, revokes) in [
        (json!({ unknown: { "a": 1 } }), false),
        (json!({ unknown: {}, REVOKED: {} }), true),
        (json!({ REVOKED: null }), true),
    ] {
        let verified = verify(&service, &event(&key, &json!({}), &json!({ "events": events }))).await.unwrap();
        assert_eq!(verified.revoked.is_some(), revokes, "{events}");
    }
    // One that is unknown needs no subject.
    let token = event(&key, &json!({}), &json!({ "events": { unknown: {} }, "sub": null }));
    assert_eq!(code(&verify(&service, &token).await), "accepted");
}

#[tokio::test]
async fn refused_events_have_the_codes_of_rfc_8935() {
    let key = Key::on_p256("a");
    let (service, server) = served(&key);
    let day = 86_400;
    for (in_header, in_claims, expected) in [
        (json!({}), json!({ "aud": ["https://other.example", SERVICE] }), "accepted"),
        (json!({}), json!({ "iat": NOW + 60 }), "accepted"),
        (json!({}), json!({ "iat": NOW - 7 * day + 1 }), "accepted"),
        (json!({}), json!({ "exp": NOW + 1 }), "accepted"),
        (json!({ "typ": "oauth-id-jag+jwt" }), json!({}), "invalid_request"),
        (json!({ "typ": "JWT" }), json!({}), "invalid_request"),
        (json!({ "alg": "none" }), json!({}), "invalid_request"),
        (json!({ "alg": "HS256" }), json!({}), "invalid_key"),
        (json!({ "kid": "b" }), json!({}), "invalid_key"),
        (json!({}), json!({ "iss": "https://other.example" }), "invalid_issuer"),
        (json!({}), json!({ "iss": null }), "invalid_issuer"),
        (json!({}), json!({ "aud": "https://other.example" }), "invalid_audience"),
        (json!({}), json!({ "aud": null }), "invalid_audience"),
        (json!({}), json!({ "aud": [] }), "invalid_audience"),
        (json!({}), json!({ "sub": null }), "invalid_request"),
        (json!({}), json!({ "jti": null }), "invalid_request"),
        (json!({}), json!({ "iat": null }), "invalid_request"),
        (json!({}), json!({ "iat": NOW + 61 }), "invalid_request"),
        (json!({}), json!({ "iat": NOW - 7 * day }), "invalid_request"),
        (json!({}), json!({ "exp": NOW }), "invalid_request"),
        (json!({}), json!({ "events": null }), "invalid_request"),
        (json!({}), json!({ "events": {} }), "invalid_request"),
        (json!({}), json!({ "events": [REVOKED] }), "invalid_request"),
    ] {
        let result = verify(&service, &event(&key, &in_header, &in_claims)).await;
        assert_eq!(code(&result), expected, "{in_header} {in_claims}: {:?}", result.err());
    }
    let forged = event(&Key::on_p256("a"), &json!({}), &json!({}));
    assert_eq!(code(&verify(&service, &forged).await), "authentication_failed");
    assert_eq!(code(&verify(&service, "").await), "invalid_request");
    server.go_away();
    let unreached = Service::new(trusting(), server);
    assert_eq!(code(&verify(&unreached, &forged).await), "503");
}
