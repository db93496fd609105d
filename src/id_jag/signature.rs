//! Signatures and keys. `jsonwebtoken` reads tokens and keys, and `ring` verifies.
//!
//! `jsonwebtoken` verifies by a backend that the whole process shares, and panics if two backends are enabled. A library
//! must not choose it for the service, so no backend is enabled here.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use serde_json::Value;

use super::claims::Object;

/// The most keys of one issuer, and the most that one signature is tried with.
const MOST_KEYS: usize = 100;
const MOST_TRIED: usize = 8;

/// A token, split into what is signed and its signature.
pub(super) struct Signed<'t> {
    pub(super) algorithm: Algorithm,
    /// The identifier of the key, as the token states it.
    key_id: Option<String>,
    message: &'t [u8],
    signature: Vec<u8>,
}

impl<'t> Signed<'t> {
    /// `None` if the signature is not in base64url.
    pub(super) fn new(token: &'t str, header: &Header) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
        let (algorithm, key_id) = (header.alg, header.kid.clone());
        Some(Self { algorithm, key_id, message: message.as_bytes(), signature })
    }
}

/// What keys say of a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Valid,
    /// It is not of the key that it names.
    Wrong,
    /// There is no such key. The issuer may have a new one.
    Unknown,
}

/// The public keys of an issuer.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

/// A JWK set (RFC 7517 section 5). Each key is read by itself, so that one of an unknown kind does not hide the others.
#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl Keys {
    /// The keys of a JWK set that are for signatures. `None` if it is no JWK set.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let Object::<JwkSet>(set) = serde_json::from_slice(body).ok()?;
        let jwks = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Some(Self(jwks.filter_map(|jwk| Key::new(&jwk)).take(MOST_KEYS).collect()))
    }

    pub(super) fn check(&self, signed: &Signed<'_>) -> Found {
        let named = |key: &&Key| signed.key_id.is_none() || signed.key_id == key.id;
        let mut named = self.0.iter().filter(named).peekable();
        if named.peek().is_none() {
            return Found::Unknown;
        }
        match named.filter(|key| key.is_for(signed.algorithm)).take(MOST_TRIED).any(|key| key.verifies(signed)) {
            true => Found::Valid,
            // Without an identifier nobody knows whether the key is there.
            false if signed.key_id.is_none() => Found::Unknown,
            false => Found::Wrong,
        }
    }
}

/// A public key.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for; `None` if its type alone decides.
    algorithm: Option<KeyAlgorithm>,
    kind: Kind,
    key: DecodingKey,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl Key {
    /// `None` if the key is not a public key for signatures, or of an unknown kind. A shared secret is none.
    fn new(jwk: &Jwk) -> Option<Self> {
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Kind::Rsa,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Kind::P256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Kind::P384,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Kind::Ed25519,
            _ => return None,
        };
        let is_for_signatures = matches!(&jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let operations = jwk.common.key_operations.as_ref();
        if !is_for_signatures || operations.is_some_and(|listed| !listed.contains(&KeyOperations::Verify)) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm: jwk.common.key_algorithm, kind, key })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match algorithm {
            Algorithm::ES256 => self.kind == Kind::P256,
            Algorithm::ES384 => self.kind == Kind::P384,
            Algorithm::EdDSA => self.kind == Kind::Ed25519,
            _ => rsa(algorithm).is_some() && self.kind == Kind::Rsa,
        };
        fits && self.algorithm.is_none_or(|own| own == KeyAlgorithm::from(algorithm))
    }

    /// Whether the signature is of this key, which [is for](Self::is_for) its algorithm.
    fn verifies(&self, signed: &Signed<'_>) -> bool {
        let point = |algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
            UnparsedPublicKey::new(algorithm, bytes).verify(signed.message, &signed.signature).is_ok()
        };
        match (self.kind, self.key.kind()) {
            (Kind::P256, DecodingKeyKind::SecretOrDer(bytes)) => point(&ECDSA_P256_SHA256_FIXED, bytes),
            (Kind::P384, DecodingKeyKind::SecretOrDer(bytes)) => point(&ECDSA_P384_SHA384_FIXED, bytes),
            (Kind::Ed25519, DecodingKeyKind::SecretOrDer(bytes)) => point(&ED25519, bytes),
            (Kind::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => rsa(signed.algorithm).is_some_and(|rsa| {
                RsaPublicKeyComponents { n, e }.verify(rsa, signed.message, &signed.signature).is_ok()
            }),
            _ => false,
        }
    }
}

/// The RSA parameters of an algorithm: keys of 2048 to 8192 bits.
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}
