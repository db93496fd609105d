//! The claims of assertions and what must hold of them.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Number, Value};

use super::{IdJagError, MAX_AGE, MOST_LIFETIME, SKEW, VerifiedIdentity, Verifier, keys::Issuer};
use crate::types::{clock::Timestamp, id::ClientId, identity::ForeignIdentity, scope::ScopeSet};

/// Claims that name their issuer.
pub(super) trait Issued {
    fn issuer(&self) -> Option<&str>;
}

/// A value that is written as a JSON object. A plain structure would be read from an array, too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// A text, or a list of texts.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Seconds since the Unix epoch, with or without a fraction (RFC 7519 section 2).
#[derive(Deserialize)]
pub(super) struct NumericDate(Number);

impl NumericDate {
    /// Far dates become the farthest one.
    pub(super) fn timestamp(&self) -> Timestamp {
        match self.0.as_i64() {
            Some(seconds) => Timestamp::from_millis(seconds.saturating_mul(1_000)),
            // A cast of floating-point numbers saturates.
            None => Timestamp::from_millis((self.0.as_f64().unwrap_or(f64::MAX) * 1_000.0) as i64),
        }
    }
}

/// The claims of an assertion that count. A claim that is there twice is an error.
#[derive(Deserialize)]
pub(super) struct AssertionClaims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Texts>,
    client_id: Option<String>,
    jti: Option<String>,
    exp: Option<NumericDate>,
    iat: Option<NumericDate>,
    nbf: Option<NumericDate>,
    auth_time: Option<NumericDate>,
    // Of any type, so that another one counts as not verified.
    #[serde(default)]
    email: Value,
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    phone_number: Value,
    #[serde(default)]
    phone_number_verified: Value,
    resource: Option<Texts>,
    scope: Option<String>,
    cnf: Option<IgnoredAny>,
    authorization_details: Option<IgnoredAny>,
}

impl Issued for AssertionClaims {
    fn issuer(&self) -> Option<&str> {
        self.iss.as_deref()
    }
}

/// The claims of a security event token (RFC 8417 section 2.2) that count.
#[derive(Deserialize)]
pub(super) struct EventClaims {
    pub(super) iss: Option<String>,
    pub(super) sub: Option<String>,
    pub(super) aud: Option<Texts>,
    pub(super) jti: Option<String>,
    pub(super) iat: Option<NumericDate>,
    pub(super) exp: Option<NumericDate>,
    pub(super) events: Option<BTreeMap<String, IgnoredAny>>,
}

impl Issued for EventClaims {
    fn issuer(&self) -> Option<&str> {
        self.iss.as_deref()
    }
}

/// The token's identifier, if it is there.
pub(super) fn token_id(jti: Option<String>) -> Option<String> {
    jti.filter(|id| !id.is_empty())
}

impl AssertionClaims {
    /// Checks all but the replay. Returns the identity and the assertion's identifier.
    pub(super) fn check(
        self,
        issuer: &Issuer,
        verifier: &Verifier,
        now: Timestamp,
    ) -> Result<(VerifiedIdentity, String), IdJagError> {
        use IdJagError::Malformed;

        if self.cnf.is_some() || self.authorization_details.is_some() {
            return Err(Malformed("`cnf` and `authorization_details` are not supported"));
        }
        match self.aud.as_ref().map(Texts::as_slice) {
            Some([audience]) if verifier.is_audience(audience) => {}
            _ => return Err(IdJagError::InvalidAudience),
        }
        let client = self.client_id.and_then(|id| ClientId::new(&id).ok()).filter(|id| issuer.may_speak_for(id));
        let client = client.ok_or(IdJagError::InvalidClient)?;
        let expires_at = self.exp.ok_or(Malformed("`exp` is missing"))?.timestamp();
        if expires_at.has_passed(now) {
            return Err(IdJagError::Expired);
        }
        if expires_at > now.after(MOST_LIFETIME) {
            return Err(Malformed("`exp` must be an hour ahead at most"));
        }
        let soon = now.after(SKEW);
        if self.iat.ok_or(Malformed("`iat` is missing"))?.timestamp() > soon {
            return Err(Malformed("`iat` is in the future"));
        }
        if self.nbf.is_some_and(|start| start.timestamp() > soon) {
            return Err(Malformed("`nbf` is in the future"));
        }
        let id = token_id(self.jti).ok_or(Malformed("`jti` is missing"))?;
        let subject = self.sub.and_then(|subject| ForeignIdentity::new(issuer.id(), &subject).ok());
        let identity = subject.ok_or(Malformed("`sub` must be 1 to 255 bytes without control characters"))?;
        let scopes = self.scope.map(|list| ScopeSet::parse(&list)).transpose();
        let scopes = scopes.map_err(|_| Malformed("`scope` is no list of scopes"))?;
        let signed_in_at = self.auth_time.map(|time| time.timestamp());
        let signed_in_at = signed_in_at.filter(|at| *at >= now.before(MAX_AGE) && *at <= soon);
        let signed_in_at = signed_in_at.ok_or(IdJagError::LoginRequired { max_age: MAX_AGE })?;
        let email = verified(self.email, &self.email_verified);
        let phone_number = verified(self.phone_number, &self.phone_number_verified);
        if email.is_none() && phone_number.is_none() {
            return Err(IdJagError::MissingVerifiedContact);
        }
        let resources = self.resource.as_ref().map(Texts::as_slice).unwrap_or_default().to_vec();
        let verified =
            VerifiedIdentity { identity, client, email, phone_number, signed_in_at, expires_at, resources, scopes };
        Ok((verified, id))
    }
}

/// A contact, if it is verified: by the value `true`, not by a text that says so.
fn verified(contact: Value, is_verified: &Value) -> Option<String> {
    match contact {
        Value::String(contact) if !contact.is_empty() && *is_verified == Value::Bool(true) => Some(contact),
        _ => None,
    }
}
