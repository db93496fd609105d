//! Every rule for an assertion.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use tower_agent_auth::{
    AgentAuth, Config,
    client_metadata::Fetched,
    id_jag::{IdJagError, LONGEST},
    store::{MemoryStore, conformance::property},
    types::{
        authorization::Account,
        clock::Timestamp,
        id::AccountId,
        identity::{ForeignIdentity, TokenKey},
    },
};

use super::*;

#[tokio::test]
async fn a_verified_assertion_names_the_human_and_what_it_is_for() {
    let key = Key::on_p256("a");
    let (service, _) = served(&key);
    let more = json!({
        "email": "Ada@Example.com", "phone_number": "+15550100", "phone_number_verified": true,
        "resource": ["https://api.example.com/mcp"], "scope": "projects:read other:scope", "unknown": { "claim": [1] },
    });
    let verified = service.verify(&assertion(&key, &json!({}), &more)).await.unwrap();
    assert_eq!((verified.identity.issuer(), verified.identity.subject()), (ISSUER, "user-7"));
    assert_eq!(verified.client.as_str(), CLIENT);
    assert_eq!(verified.email.as_deref(), Some("Ada@Example.com"));
    assert_eq!(verified.phone_number.as_deref(), Some("+15550100"));
    assert_eq!(verified.signed_in_at, Timestamp::from_millis((NOW - 60) * 1_000));
    assert_eq!(verified.expires_at, Timestamp::from_millis((NOW + 300) * 1_000));
    assert_eq!(verified.resources, ["https://api.example.com/mcp"]);
    assert_eq!(verified.scopes.as_ref().unwrap().to_string(), "other:scope projects:read");
    let shown = format!("{verified:?}");
    assert!(!shown.contains("Ada") && !shown.contains("555"), "{shown}");

    let plain = service.verify(&valid(&key)).await.unwrap();
    assert_eq!((plain.resources.len(), plain.scopes, plain.phone_number), (0, None, None));
}

#[tokio::test]
async fn each_algorithm_verifies_by_a_key_of_its_own_kind_only() {
    let keys = [Key::on_p256("p256"), Key::on_p384("p384"), Key::rsa("rsa"), Key::ed25519("ed")];
    let all: Vec<&Key> = keys.iter().collect();
    let names = ["ES256", "ES384", "RS256", "RS512", "PS256", "EdDSA"];
    let config = config().trusted_issuer(ISSUER, KEYS, |issuer| {
        issuer.algorithms = names.map(str::to_owned).into();
    });
    let service = Service::new(config, KeyServer::of(&all));
    for key in &keys {
        for name in names {
            let own = match key.id.as_str() {
                "p256" => name == "ES256",
                "p384" => name == "ES384",
                "rsa" => name.ends_with("S256") && !name.starts_with('E') || name == "RS512",
                _ => name == "EdDSA",
            };
            let token = assertion(key, &json!({ "alg": name }), &json!({}));
            let expected = if own { "valid" } else { "signature" };
            assert_eq!(outcome(&service.verify(&token).await), expected, "{name} by {}", key.id);
            // Without the name of a key, those of the kind are tried.
            let token = assertion(key, &json!({ "alg": name, "kid": null }), &json!({}));
            assert_eq!(outcome(&service.verify(&token).await), expected, "{name} by {}, unnamed", key.id);
        }
    }
}

#[tokio::test]
async fn the_issuer_chooses_its_algorithms_by_the_configuration_alone() {
    let (p384, rsa) = (Key::on_p384("p384"), Key::rsa("rsa"));
    let service = Service::new(trusting(), KeyServer::of(&[&p384, &rsa]));
    assert_eq!(outcome(&service.verify(&valid(&p384)).await), "signature", "ES384 is not on by default");
    assert_eq!(outcome(&service.verify(&valid(&rsa)).await), "valid");
    let pss = assertion(&rsa, &json!({ "alg": "PS256" }), &json!({}));
    assert_eq!(outcome(&service.verify(&pss).await), "signature");
}

#[tokio::test]
async fn forged_tokens_and_confused_algorithms_are_refused() {
    for key in [Key::on_p256("a"), Key::rsa("a"), Key::ed25519("a")] {
        let (service, server) = served(&key);
        let stranger = match key.algorithm() {
            "ES256" => Key::on_p256("a"),
            "RS256" => Key::rsa("a"),
            _ => Key::ed25519("a"),
        };
        assert_eq!(outcome(&service.verify(&valid(&stranger)).await), "signature", "another key of the same name");
        // The public key as a shared secret, also if it is in the set as one.
        for name in ["HS256", "HS384", "HS512"] {
            let token = assertion(&key, &json!({ "alg": name }), &json!({}));
            assert_eq!(outcome(&service.verify(&token).await), "signature", "{name}");
        }
        for name in ["none", "None", "nOnE", "", "ES512", "ES256K"] {
            let token = assertion(&key, &json!({ "alg": name }), &json!({}));
            assert_eq!(outcome(&service.verify(&token).await), "malformed", "{name}");
        }
        // A key or a place of keys that the token brings along.
        let brought =
            json!({ "jwk": stranger.jwk(), "jku": "https://evil.example/keys", "x5u": "https://evil.example" });
        let token = assertion(&stranger, &with(brought, &json!({ "kid": "a" })), &json!({}));
        assert_eq!(outcome(&service.verify(&token).await), "signature");
        // The claims of one token with the signature of another, and no signature.
        let (one, other) = (valid(&key), assertion(&key, &json!({}), &json!({ "sub": "admin" })));
        let (message, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = one.rsplit_once('.').unwrap();
        assert_eq!(outcome(&service.verify(&format!("{message}.{signature}")).await), "signature");
        assert_eq!(outcome(&service.verify(&format!("{message}.")).await), "signature");
        assert_eq!(outcome(&service.verify(&one).await), "valid", "none of them has used anything up");
        assert_eq!(server.fetches(), 1);
    }
}

#[tokio::test]
async fn a_shared_secret_in_the_key_set_is_no_key() {
    let key = Key::on_p256("a");
    let server = KeyServer::of(&[&key]);
    let secret = json!({ "kty": "oct", "kid": "a", "k": issuer::base64(&key.public()), "alg": "HS256" });
    server.respond(Fetched::new("application/json", json!({ "keys": [secret] }).to_string()));
    let service = Service::new(trusting(), server);
    let token = assertion(&key, &json!({ "alg": "HS256" }), &json!({}));
    assert_eq!(outcome(&service.verify(&token).await), "signature");
}

#[tokio::test]
async fn every_header_and_claim_is_checked() {
    let key = Key::on_p256("a");
    let (service, _) = served(&key);
    let check = async |in_header: Value, in_claims: Value, expected: &str| {
        let result = service.verify(&assertion(&key, &in_header, &in_claims)).await;
        assert_eq!(outcome(&result), expected, "{in_header} {in_claims}: {:?}", result.err());
    };
    for kind in
        ["JWT", "oauth-id-jag", "at+jwt", "secevent+jwt", "application/oauth-id-jag+jwt", "OAuth-ID-JAG+JWT", ""]
    {
        check(json!({ "typ": kind }), json!({}), "malformed").await;
    }
    check(json!({ "typ": null }), json!({}), "malformed").await;
    check(json!({ "crit": ["b64"], "b64": false }), json!({}), "malformed").await;
    check(json!({ "crit": [] }), json!({}), "malformed").await;

    let foreign = ["https://idp.example/", "https://IDP.example", "https://idp.example.evil.example", "", SERVICE];
    for issuer in foreign {
        check(json!({}), json!({ "iss": issuer }), "issuer").await;
    }
    check(json!({}), json!({ "iss": null }), "issuer").await;
    check(json!({}), json!({ "iss": [ISSUER] }), "malformed").await;

    for audience in [json!("https://api.example.com/"), json!([SERVICE]), json!(["https://api.example.com/"])] {
        check(json!({}), json!({ "aud": audience }), "valid").await;
    }
    for audience in [
        json!(null),
        json!(""),
        json!([]),
        json!("https://other.example"),
        json!("https://api.example.com//"),
        json!("https://api.example.com/mcp"),
        json!("http://api.example.com"),
        json!("HTTPS://api.example.com"),
        json!([SERVICE, "https://other.example"]),
        json!([SERVICE, SERVICE]),
    ] {
        check(json!({}), json!({ "aud": audience }), "audience").await;
    }
    check(json!({}), json!({ "aud": 7 }), "malformed").await;

    for client in [json!(null), json!(""), json!("two words"), json!("x".repeat(2_049))] {
        check(json!({}), json!({ "client_id": client }), "client").await;
    }
    check(json!({}), json!({ "client_id": [CLIENT] }), "malformed").await;

    let longest = "s".repeat(255);
    check(json!({}), json!({ "sub": longest }), "valid").await;
    for subject in [json!(null), json!(""), json!("a\0b"), json!(format!("{longest}s")), json!(7)] {
        check(json!({}), json!({ "sub": subject }), "malformed").await;
    }
    for id in [json!(null), json!(""), json!(7)] {
        check(json!({}), json!({ "jti": id }), "malformed").await;
    }
    for claim in ["cnf", "authorization_details"] {
        check(json!({}), json!({ claim: { "jkt": "x" } }), "malformed").await;
    }
    for (scope, expected) in [(json!(""), "valid"), (json!("a  b"), "valid"), (json!("a\"b"), "malformed")] {
        check(json!({}), json!({ "scope": scope }), expected).await;
    }
    check(json!({}), json!({ "resource": "https://api.example.com/mcp" }), "valid").await;
    check(json!({}), json!({ "resource": { "a": 1 } }), "malformed").await;
}

#[tokio::test]
async fn every_date_is_checked_to_the_second() {
    let key = Key::on_p256("a");
    let (service, _) = served(&key);
    const YEAR: i64 = 366 * 86_400;
    let cases = [
        ("exp", json!(null), "malformed"),
        ("exp", json!("1800000300"), "malformed"),
        ("exp", json!(NOW), "expired"),
        ("exp", json!(NOW - 1), "expired"),
        ("exp", json!(-1), "expired"),
        ("exp", json!(-1e300), "expired"),
        ("exp", json!(NOW + 1), "valid"),
        ("exp", json!(NOW as f64 + 0.5), "valid"),
        ("exp", json!(NOW + 3_600), "valid"),
        ("exp", json!(NOW + 3_601), "malformed"),
        ("exp", json!(NOW + 10 * YEAR), "malformed"),
        ("exp", json!(i64::MAX), "malformed"),
        ("exp", json!(u64::MAX), "malformed"),
        ("exp", json!(1e300), "malformed"),
        ("iat", json!(null), "malformed"),
        ("iat", json!(NOW + 60), "valid"),
        ("iat", json!(NOW + 61), "malformed"),
        ("iat", json!(NOW - YEAR), "valid"),
        ("nbf", json!(NOW + 60), "valid"),
        ("nbf", json!(NOW + 61), "malformed"),
        ("nbf", json!(true), "malformed"),
        ("auth_time", json!(null), "login"),
        ("auth_time", json!(NOW - 3_600), "valid"),
        ("auth_time", json!(NOW - 3_601), "login"),
        ("auth_time", json!(NOW + 60), "valid"),
        ("auth_time", json!(NOW + 61), "login"),
        ("auth_time", json!(NOW + YEAR), "login"),
        ("auth_time", json!(0), "login"),
        ("auth_time", json!("now"), "malformed"),
    ];
    for (claim, value, expected) in cases {
        let token = assertion(&key, &json!({}), &json!({ claim: value }));
        let result = service.verify(&token).await;
        assert_eq!(outcome(&result), expected, "{claim} {value}: {:?}", result.err());
        if let Err(IdJagError::LoginRequired { max_age }) = result {
            assert_eq!(max_age, Duration::from_secs(3_600));
        }
    }
}

#[tokio::test]
async fn a_contact_is_returned_only_if_it_is_verified() {
    let key = Key::on_p256("a");
    let (service, _) = served(&key);
    let (mail, phone) = (Some("ada@example.com"), Some("+15550100"));
    for (email_verified, phone_verified, expected) in [
        (json!(true), json!(true), Some((mail, phone))),
        (json!(true), json!(false), Some((mail, None))),
        (json!(false), json!(true), Some((None, phone))),
        (json!(null), json!(true), Some((None, phone))),
        (json!("true"), json!(true), Some((None, phone))),
        (json!(1), json!("true"), None),
        (json!(false), json!(null), None),
    ] {
        let changes = json!({
            "email_verified": email_verified, "phone_number": phone, "phone_number_verified": phone_verified,
        });
        let result = service.verify(&assertion(&key, &json!({}), &changes)).await;
        match (&result, expected) {
            (Ok(verified), Some(expected)) => {
                assert_eq!((verified.email.as_deref(), verified.phone_number.as_deref()), expected, "{changes}");
            }
            _ => assert_eq!((outcome(&result), expected), ("contact", None), "{changes}"),
        }
    }
    for email in [json!(null), json!(""), json!(["ada@example.com"])] {
        let token = assertion(&key, &json!({}), &json!({ "email": email, "phone_number_verified": true }));
        assert_eq!(outcome(&service.verify(&token).await), "contact", "{email}");
    }
}

#[tokio::test]
async fn an_issuer_speaks_for_its_clients_only() {
    let key = Key::on_p256("a");
    let config = config().trusted_issuer(ISSUER, KEYS, |issuer| {
        issuer.client_ids = vec!["agent-1".into(), CLIENT.into()];
    });
    let service = Service::new(config, KeyServer::of(&[&key]));
    for (client, expected) in
        [(CLIENT, "valid"), ("agent-1", "valid"), ("agent-2", "client"), ("Agent-1", "client"), ("agent-1/", "client")]
    {
        let token = assertion(&key, &json!({}), &json!({ "client_id": client }));
        assert_eq!(outcome(&service.verify(&token).await), expected, "{client}");
    }
}

#[tokio::test]
async fn an_issuer_can_not_sign_for_another_one() {
    let (key, others) = (Key::on_p256("a"), Key::on_p256("a"));
    let other = KeyServer::of(&[&others]);
    let config = trusting().trusted_issuer("https://other.example", KEYS, |_| {});
    let service = Service::new(config, other);
    let token = assertion(&key, &json!({}), &json!({ "iss": "https://other.example" }));
    assert_eq!(outcome(&service.verify(&token).await), "signature");
    let own = assertion(&others, &json!({}), &json!({ "iss": "https://other.example" }));
    assert_eq!(service.verify(&own).await.unwrap().identity.issuer(), "https://other.example");
}

#[tokio::test]
async fn an_assertion_is_used_once_and_a_refused_one_uses_nothing_up() {
    let key = Key::on_p256("a");
    let store = MemoryStore::new();
    let service = Service::on(trusting(), KeyServer::of(&[&key]), store.clone());
    let stale = json!({ "jti": "same", "auth_time": 0 });
    assert_eq!(outcome(&service.verify(&assertion(&key, &json!({}), &stale)).await), "login");
    let good = assertion(&key, &json!({}), &json!({ "jti": "same" }));
    assert_eq!(outcome(&service.verify(&good).await), "valid");
    assert_eq!(outcome(&service.verify(&good).await), "replay");
    // Another token of the same identifier, and another node.
    let other = assertion(&key, &json!({}), &json!({ "jti": "same", "sub": "user-8" }));
    assert_eq!(outcome(&service.verify(&other).await), "replay");
    let node = Service::on(trusting(), KeyServer::of(&[&key]), store);
    assert_eq!(outcome(&node.verify(&good).await), "replay");
    service.advance(299);
    assert_eq!(outcome(&service.verify(&good).await), "replay");
    service.advance(1);
    assert_eq!(outcome(&service.verify(&good).await), "expired");
}

/// Nobody can use a token again while it is valid, and what is remembered does not grow for ever.
#[tokio::test(start_paused = true)]
async fn housekeeping_forgets_used_tokens_once_they_have_expired() {
    let key = Key::on_p256("a");
    let (service, _) = served(&key);
    let identities = service.auth.ceremony().unwrap().identities().unwrap();
    let tokens: Vec<TokenKey> =
        (0..1_200).map(|number| TokenKey::new(ISSUER, &format!("housekeeping-{number}"))).collect();
    let until = service.clock.now().after(Duration::from_secs(300));
    for token in &tokens {
        assert!(identities.use_once(token, until).await.unwrap());
    }
    let remembered = async || {
        let mut remembered = 0;
        for token in &tokens {
            remembered += usize::from(identities.is_used(token).await.unwrap());
        }
        remembered
    };
    for (advance, expected) in [(0, 1_200), (300, 1_200), (3_599, 1_200), (1, 0)] {
        service.advance(advance);
        service.auth.housekeeping(tokio::time::sleep(Duration::from_secs(10))).await;
        assert_eq!(remembered().await, expected, "{advance}");
    }
    assert!(identities.use_once(&tokens[0], until).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_256_racing_callers_one_uses_an_assertion() {
    let key = Key::on_p256("a");
    let (service, server) = served(&key);
    let token = valid(&key);
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..256 {
        let (verifier, token, now) = (service.verifier().clone(), token.clone(), service.clock.now());
        racing.spawn(async move { outcome(&verifier.verify(&token, now).await) });
    }
    let outcomes = racing.join_all().await;
    let count = |kind| outcomes.iter().filter(|outcome| **outcome == kind).count();
    assert_eq!((count("valid"), count("replay")), (1, 255));
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let key = Key::on_p256("a");
    let (service, server) = served(&key);
    let good = valid(&key);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let twice = format!("{{\"sub\":\"x\",{}", &super::claims(NOW).to_string()[1..]);
    let twice = key.token(&super::header(&key), &twice);
    // The claims in the order of the program's structure.
    let list = json!([
        ISSUER,
        "user-7",
        SERVICE,
        CLIENT,
        "id",
        NOW + 300,
        NOW,
        NOW,
        NOW,
        "a@b",
        true,
        null,
        null,
        null,
        null,
        null,
        null
    ]);
    let list = key.token(&super::header(&key), &list.to_string());
    let deep = key.token(&super::header(&key), &format!("{}{}", "[".repeat(3_000), "]".repeat(3_000)));
    let longest = assertion(&key, &json!({}), &json!({ "x": "x".repeat(LONGEST) }));
    for token in [
        "",
        ".",
        "..",
        "...",
        &twice,
        &list,
        &deep,
        &longest,
        &format!("{header}.{claims}"),
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}="),
        &format!(" {good}"),
        &format!("{good}\n"),
        &format!("{header}.{claims}.{signature}!"),
        &format!("{header}.{header}.{claims}.{signature}"),
        &format!("{header}.{claims}\u{e9}.{signature}"),
    ] {
        assert_eq!(outcome(&service.verify(token).await), "malformed", "{token}");
    }
    assert_eq!(server.fetches(), 0, "nothing is fetched for it");
    assert_eq!(outcome(&service.verify(&good).await), "valid");
}

/// A change of a token: at a place, these bytes in place of as many.
fn changes() -> impl Strategy<Value = (usize, usize, String)> {
    (0..1_000_usize, 0..4_usize, "[A-Za-z0-9_.=\\-\u{0}\u{e9}{}\"]{0,4}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_changed_token_verifies_or_panics() {
    for key in [Key::on_p256("a"), Key::rsa("a"), Key::ed25519("a")] {
        let (service, server) = served(&key);
        let good = valid(&key);
        property(400, vec(changes(), 1..4), async |changes| {
            let mut token: Vec<char> = good.chars().collect();
            for (place, length, text) in changes {
                let start = place % token.len().max(1);
                token.splice(start..(start + length).min(token.len()), text.chars());
            }
            let token = String::from_iter(token);
            let result = service.verify(&token).await;
            assert!(token == good || result.is_err(), "{token}");
        });
        assert!(server.fetches() <= 2, "{}", server.fetches());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_random_text_or_claims_verify_or_panic() {
    let key = Key::ed25519("a");
    let (service, _) = served(&key);
    let claim = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        vec("\\PC{0,8}", 0..3).prop_map(Value::from),
    ];
    let names = ["iss", "sub", "aud", "client_id", "jti", "exp", "iat", "auth_time", "email_verified"];
    let one = (0..names.len(), claim, "\\PC{0,300}");
    property(600, one, async |(name, value, text)| {
        assert!(service.verify(&text).await.is_err());
        let changed = json!({ names[name]: value });
        let still_holds = match (names[name], &value) {
            ("sub" | "jti", Value::String(text)) => !text.is_empty(),
            ("client_id", Value::String(text)) => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()),
            ("iat", Value::Number(at)) => at.as_f64().unwrap() <= (NOW + 60) as f64,
            ("email_verified", value) => *value == json!(true),
            _ => false,
        };
        let result = service.verify(&assertion(&key, &json!({}), &changed)).await;
        assert!(still_holds || result.is_err(), "{changed}");
    });
}

#[tokio::test]
async fn links_are_found_replaced_and_deleted_with_their_account() {
    let key = Key::on_p256("a");
    let (service, _) = served(&key);
    let ceremony = service.auth.ceremony().unwrap();
    let identities = ceremony.identities().unwrap();
    let verified = service.verify(&valid(&key)).await.unwrap();
    assert_eq!(identities.find(&verified.identity).await.unwrap(), None);
    let ada = Account::new(AccountId::new("42").unwrap(), "ada@example.com");
    identities.link(&verified.identity, &ada).await.unwrap();
    let same = ForeignIdentity::new(ISSUER, "user-7").unwrap();
    assert_eq!(identities.find(&same).await.unwrap(), Some(ada.clone()));
    ceremony.forget_account(&ada.id).await.unwrap();
    assert_eq!(identities.find(&same).await.unwrap(), None);
    identities.link(&same, &ada).await.unwrap();
    assert_eq!(identities.unlink(&same).await.unwrap(), Some(ada));
    assert_eq!(identities.unlink(&same).await.unwrap(), None);
}

#[test]
fn a_service_that_trusts_issuers_needs_a_fetcher_and_a_store() {
    let key = Key::on_p256("a");
    let store = MemoryStore::new();
    let builder = |config: Config| AgentAuth::builder(config).sessions(store.clone()).accounts(Nobody);
    let trusting = || trusting().build().unwrap();
    let problem = |built: Result<AgentAuth, tower_agent_auth::ConfigError>| built.unwrap_err().to_string();
    assert!(problem(builder(trusting()).build()).contains("call .identity_assertions(fetcher)"));
    let fetching = builder(trusting()).identity_assertions(KeyServer::of(&[&key]));
    assert!(problem(fetching.build()).contains("call .identities(store)"));
    // Without an issuer the feature is off, and a service that only checks tokens does not use it.
    let untrusting = builder(config().build().unwrap()).identities(store.clone());
    assert!(untrusting.identity_assertions(KeyServer::of(&[&key])).build().unwrap().id_jag().is_none());
    assert!(AgentAuth::builder(trusting()).checks_only(store.clone()).build().unwrap().id_jag().is_none());
}
