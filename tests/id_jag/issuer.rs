//! An issuer of identity assertions: its keys, its signatures, and the places where its key set is.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower_agent_auth::client_metadata::{Fetch, FetchError, Fetched};

enum Private {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key pair of the issuer.
pub(crate) struct Key {
    pub(crate) id: String,
    private: Private,
}

impl Key {
    pub(crate) fn on_p256(id: &str) -> Self {
        let private = Private::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
        Self { id: id.into(), private }
    }

    pub(crate) fn on_p384(id: &str) -> Self {
        let private = Private::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
        Self { id: id.into(), private }
    }

    pub(crate) fn rsa(id: &str) -> Self {
        Self { id: id.into(), private: Private::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub(crate) fn ed25519(id: &str) -> Self {
        Self { id: id.into(), private: Private::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    /// The algorithm that it signs with unless another one is demanded.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.private {
            Private::P256(_) => "ES256",
            Private::P384(_) => "ES384",
            Private::Rsa(_) => "RS256",
            Private::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key in the bytes that an attacker would take for a shared secret.
    pub(crate) fn public(&self) -> Vec<u8> {
        match &self.private {
            Private::P256(key) | Private::P384(key) => key.public_key().as_ref().to_vec(),
            Private::Rsa(key) => key.public_key().as_ref().to_vec(),
            Private::Ed25519(key) => key.public_key().as_ref().to_vec(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let point = self.public();
        let mut jwk = match &self.private {
            Private::P256(_) => {
                json!({ "kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..]) })
            }
            Private::P384(_) => {
                json!({ "kty": "EC", "crv": "P-384", "x": base64(&point[1..49]), "y": base64(&point[49..]) })
            }
            Private::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({ "kty": "RSA", "n": base64(&public.n), "e": base64(&public.e) })
            }
            Private::Ed25519(_) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(&point) }),
        };
        jwk["kid"] = json!(self.id);
        jwk
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            _ if algorithm == "none" => Vec::new(),
            _ if algorithm.starts_with("HS") => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.public()), message).as_ref().to_vec()
            }
            Private::P256(key) | Private::P384(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding: &dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                key.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Private::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims, signed by the algorithm of the header.
    pub(crate) fn token(&self, header: &Value, claims: &str) -> String {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.as_bytes()));
        let algorithm = header["alg"].as_str().unwrap_or_else(|| self.algorithm());
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", base64(&signature))
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

pub(crate) fn key_set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A place that has the issuer's key set, without a network. Clones are the same place.
#[derive(Clone)]
pub(crate) struct KeyServer(Arc<Place>);

struct Place {
    /// The response; `None` while the server is away.
    response: Mutex<Option<Fetched>>,
    fetches: AtomicUsize,
    /// The fetches that may respond.
    open: Semaphore,
}

impl KeyServer {
    pub(crate) fn of(keys: &[&Key]) -> Self {
        let place = Place { response: Mutex::default(), fetches: AtomicUsize::new(0), open: Semaphore::new(1_000_000) };
        let server = Self(Arc::new(place));
        server.publish(keys);
        server
    }

    pub(crate) fn publish(&self, keys: &[&Key]) {
        self.respond(Fetched::new("application/jwk-set+json", key_set(keys)));
    }

    pub(crate) fn respond(&self, response: Fetched) {
        *self.0.response.lock().unwrap() = Some(response);
    }

    pub(crate) fn go_away(&self) {
        *self.0.response.lock().unwrap() = None;
    }

    /// Lets fetches wait, until `resume`.
    pub(crate) fn pause(&self) {
        self.0.open.forget_permits(usize::MAX);
    }

    pub(crate) fn resume(&self) {
        self.0.open.add_permits(1_000_000);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::SeqCst)
    }
}

impl Fetch for KeyServer {
    async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        assert_eq!(url, crate::KEYS);
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        let _permit = self.0.open.acquire().await.unwrap();
        self.0.response.lock().unwrap().clone().ok_or(FetchError::Status(500))
    }
}
