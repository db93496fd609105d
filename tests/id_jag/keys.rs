//! Key sets: rotation, caching, servers that are away, slow or hostile.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};
use tower_agent_auth::client_metadata::{Fetched, HttpFetcher};

use super::*;

/// A valid assertion at the service's date.
fn fresh(service: &Service, key: &Key) -> String {
    key.token(&header(key), &claims(service.seconds()).to_string())
}

async fn outcome_of(service: &Service, key: &Key) -> &'static str {
    outcome(&service.verify(&fresh(service, key)).await)
}

#[tokio::test]
async fn keys_are_cached_as_long_as_their_server_says_within_bounds() {
    let key = Key::on_p256("a");
    for (max_age, fresh_for) in [(None, 300), (Some(1), 300), (Some(1_000), 1_000), (Some(9_999_999), 86_400)] {
        let (service, server) = served(&key);
        let mut response = Fetched::new("application/json", issuer::key_set(&[&key]));
        response.max_age = max_age.map(Duration::from_secs);
        server.respond(response);
        assert_eq!(outcome_of(&service, &key).await, "valid");
        service.advance(fresh_for - 1);
        assert_eq!(outcome_of(&service, &key).await, "valid");
        assert_eq!(server.fetches(), 1, "{max_age:?}");
        service.advance(1);
        assert_eq!(outcome_of(&service, &key).await, "valid");
        assert_eq!(server.fetches(), 2, "{max_age:?}");
    }
}

#[tokio::test]
async fn a_new_key_is_found_and_a_removed_one_is_refused() {
    let (old, new) = (Key::on_p256("old"), Key::rsa("new"));
    let (service, server) = served(&old);
    assert_eq!(outcome_of(&service, &old).await, "valid");
    server.publish(&[&new]);
    service.advance(60);
    assert_eq!(outcome_of(&service, &new).await, "valid", "an unknown key is fetched");
    assert_eq!(server.fetches(), 2);
    service.advance(60);
    assert_eq!(outcome_of(&service, &old).await, "signature", "it left the set");
    // All keys are withdrawn.
    server.publish(&[]);
    service.advance(300);
    assert_eq!(outcome_of(&service, &new).await, "signature");
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_a_minute() {
    let key = Key::on_p256("a");
    let (service, server) = served(&key);
    assert_eq!(outcome_of(&service, &key).await, "valid");
    for minute in 0..4 {
        for number in 0..50 {
            let token = assertion(&key, &json!({ "kid": format!("unknown-{minute}-{number}") }), &json!({}));
            assert_eq!(outcome(&service.verify(&token).await), "signature");
        }
        assert_eq!(server.fetches(), 1 + minute);
        assert_eq!(outcome_of(&service, &key).await, "valid");
        service.advance(60);
    }
}

#[tokio::test]
async fn keys_outlast_their_server_for_an_hour() {
    let key = Key::on_p256("a");
    let (service, server) = served(&key);
    assert_eq!(outcome_of(&service, &key).await, "valid");
    server.go_away();
    service.advance(300);
    assert_eq!(outcome_of(&service, &key).await, "valid");
    assert_eq!(outcome_of(&service, &key).await, "valid");
    assert_eq!(server.fetches(), 2, "and its server is asked once a minute");
    service.advance(3_599);
    assert_eq!(outcome_of(&service, &key).await, "valid");
    service.advance(1);
    assert_eq!(outcome_of(&service, &key).await, "unavailable");
    server.publish(&[&key]);
    service.advance(60);
    assert_eq!(outcome_of(&service, &key).await, "valid");
}

#[tokio::test]
async fn without_keys_the_server_is_asked_every_ten_seconds() {
    let key = Key::on_p256("a");
    let (service, server) = served(&key);
    server.go_away();
    for _ in 0..20 {
        let error = service.verify(&fresh(&service, &key)).await.unwrap_err();
        assert_eq!(kind(&error), "unavailable");
        let cause = format!("{error:?}");
        assert!(cause.contains(KEYS) && cause.contains("status 500"), "the operator reads the cause: {cause}");
    }
    assert_eq!(server.fetches(), 1);
    service.advance(10);
    server.publish(&[&key]);
    assert_eq!(outcome_of(&service, &key).await, "valid");
    assert_eq!(server.fetches(), 2);
}

#[tokio::test]
async fn requests_share_a_fetch_which_outlives_them() {
    let key = Key::on_p256("a");
    let (service, server) = served(&key);
    server.pause();
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let (verifier, token, now) = (service.verifier().clone(), fresh(&service, &key), service.clock.now());
        waiting.spawn(async move { outcome(&verifier.verify(&token, now).await) });
    }
    while server.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    // All of them go away; those that come later find what was fetched.
    waiting.shutdown().await;
    let (verifier, token, now) = (service.verifier().clone(), fresh(&service, &key), service.clock.now());
    let later = tokio::spawn(async move { outcome(&verifier.verify(&token, now).await) });
    server.resume();
    assert_eq!(later.await.unwrap(), "valid");
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn what_a_key_is_for_is_respected() {
    let key = Key::on_p256("a");
    for (changes, expected) in [
        (json!({}), "valid"),
        (json!({ "use": "sig", "alg": "ES256", "key_ops": ["verify"], "x5c": ["AA=="], "ext": true }), "valid"),
        (json!({ "use": "enc" }), "signature"),
        (json!({ "use": "tls" }), "signature"),
        (json!({ "key_ops": ["sign", "encrypt"] }), "signature"),
        (json!({ "alg": "ES384" }), "signature"),
        (json!({ "alg": "RS256" }), "signature"),
        (json!({ "alg": "ES256K" }), "signature"),
        (json!({ "crv": "P-384" }), "signature"),
        (json!({ "crv": "secp256k1" }), "signature"),
        (json!({ "kty": "OKP", "crv": "Ed25519" }), "signature"),
        (json!({ "x": "AA" }), "signature"),
        (json!({ "x": "!" }), "signature"),
        (json!({ "y": null }), "signature"),
        (json!({ "kid": "b" }), "signature"),
        (json!({ "kid": null }), "signature"),
    ] {
        let server = KeyServer::of(&[]);
        // Keys that can't be read hide no other one.
        let keys = json!([1, null, "x", {}, { "kty": "PQC" }, with(key.jwk(), &changes), { "kty": "RSA" }]);
        server.respond(Fetched::new("application/json", json!({ "keys": keys }).to_string()));
        let service = Service::new(trusting(), server);
        assert_eq!(outcome_of(&service, &key).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn what_is_no_key_set_is_unavailable() {
    let key = Key::on_p256("a");
    let good = issuer::key_set(&[&key]);
    let padded = format!("{good}{}", " ".repeat(256 * 1024 - good.len()));
    for (media_type, body, expected) in [
        ("application/json", good.clone(), "valid"),
        ("application/jwk-set+json; charset=utf-8", good.clone(), "valid"),
        ("application/json", padded.clone(), "valid"),
        ("application/json", format!("{padded} "), "unavailable"),
        ("text/html", good.clone(), "unavailable"),
        ("", good.clone(), "unavailable"),
        ("application/json", String::new(), "unavailable"),
        ("application/json", "{}".into(), "unavailable"),
        ("application/json", "[]".into(), "unavailable"),
        ("application/json", json!([[key.jwk()]]).to_string(), "unavailable"),
        ("application/json", json!({ "keys": { "a": 1 } }).to_string(), "unavailable"),
        ("application/json", format!("{{\"keys\":[],{}", &good[1..]), "unavailable"),
        ("application/json", good[..good.len() - 1].into(), "unavailable"),
    ] {
        let server = KeyServer::of(&[]);
        server.respond(Fetched::new(media_type, body));
        let service = Service::new(trusting(), server);
        assert_eq!(outcome_of(&service, &key).await, expected, "{media_type}");
    }
}

/// A fetcher with a fault.
struct Panicking;

impl Fetch for Panicking {
    async fn fetch(&self, _: &str) -> Result<Fetched, tower_agent_auth::client_metadata::FetchError> {
        panic!("a fault of the fetcher");
    }
}

#[tokio::test]
async fn a_fetcher_that_panics_is_unavailable() {
    let service = Service::new(trusting(), Panicking);
    for _ in 0..2 {
        assert_eq!(outcome_of(&service, &Key::on_p256("a")).await, "unavailable");
    }
}

/// A web server with TLS on 127.0.0.1, which has these key sets.
async fn web_server(keys: String) -> (u16, String, Arc<AtomicUsize>, JoinSet<()>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let private = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], private).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split_whitespace().nth(1).unwrap();
            let body = match path {
                "/huge" => format!("{keys}{}", " ".repeat(1024 * 1024)),
                _ => keys.clone(),
            };
            let status = if path == "/redirect" { "302 Found\r\nlocation: /keys?p=1" } else { "200 OK" };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/jwk-set+json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            if path == "/keys?p=1" || path == "/huge" || path == "/redirect" {
                count.fetch_add(1, Ordering::SeqCst);
                // A client that stops reading is part of the test.
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (port, made.cert.pem(), served, task)
}

#[tokio::test]
async fn keys_are_fetched_over_tls_and_only_as_the_rules_say() {
    let key = Key::rsa("a");
    let mut jwk = key.jwk();
    // Longer than a client metadata document may be.
    jwk["x5c"] = json!(["A".repeat(20_000)]);
    let (port, authority, served, _task) = web_server(json!({ "keys": [jwk] }).to_string()).await;
    let fetcher = HttpFetcher::trusting(authority.as_bytes()).unwrap();
    let allowed = fetcher.clone().allowing(&["127.0.0.1"]).unwrap();
    let service = |fetcher: &HttpFetcher, path: &str| {
        let url = format!("https://127.0.0.1:{port}{path}");
        Service::new(config().trusted_issuer(ISSUER, &url, |_| {}), fetcher.clone())
    };
    for (path, expected, cause) in [
        ("/keys?p=1", "valid", ""),
        ("/huge", "unavailable", "longer than 262144 bytes"),
        ("/redirect", "unavailable", "redirects"),
        ("/missing", "unavailable", "can't be reached"),
    ] {
        let service = service(&allowed, path);
        let result = service.verify(&fresh(&service, &key)).await;
        assert_eq!(outcome(&result), expected, "{path}");
        assert!(format!("{:?}", result.err()).contains(cause), "{path}");
    }
    assert_eq!(served.load(Ordering::SeqCst), 3);
    // The address is not public, and nobody listens there.
    assert_eq!(outcome_of(&service(&fetcher, "/keys?p=1"), &key).await, "unavailable");
    let away = config().trusted_issuer(ISSUER, "https://127.0.0.1:1/keys", |_| {});
    assert_eq!(outcome_of(&Service::new(away, allowed), &key).await, "unavailable");
    assert_eq!(served.load(Ordering::SeqCst), 3);
}
