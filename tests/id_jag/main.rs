//! Identity assertions and security events of trusted issuers, with real keys.
#![cfg(feature = "full")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::request::Parts;
use serde_json::{Value, json};
use tower_agent_auth::{
    AgentAuth, Config, ConfigBuilder,
    accounts::{Accounts, AccountsError, SignedIn},
    client_metadata::Fetch,
    id_jag::{IdJagError, VerifiedIdentity, Verifier},
    store::MemoryStore,
    types::{
        clock::{Clock, ManualClock, Timestamp},
        id::AccountId,
    },
};

mod assertions;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod issuer;
mod keys;
mod wire;

use issuer::{Key, KeyServer};

const SERVICE: &str = "https://api.example.com";
const ISSUER: &str = "https://idp.example";
const KEYS: &str = "https://idp.example/keys";
const CLIENT: &str = "https://agent.example/client.json";
/// The date of the tests in seconds.
const NOW: i64 = 1_800_000_000;

struct Nobody;

impl Accounts for Nobody {
    async fn current(&self, _: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        Ok(None)
    }

    fn login_url(&self, _: &str) -> String {
        "/login".into()
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

fn config() -> ConfigBuilder {
    Config::builder().resource(SERVICE).name("Example").scope("projects:read", "See your projects", |scope| scope)
}

fn trusting() -> ConfigBuilder {
    config().trusted_issuer(ISSUER, KEYS, |_| {})
}

/// A service that trusts an issuer.
struct Service {
    auth: AgentAuth,
    clock: ManualClock,
}

impl Service {
    fn new(config: ConfigBuilder, fetcher: impl Fetch) -> Self {
        Self::on(config, fetcher, MemoryStore::new())
    }

    fn on(config: ConfigBuilder, fetcher: impl Fetch, store: MemoryStore) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(NOW * 1_000));
        let builder = AgentAuth::builder(config.build().unwrap()).accounts(Nobody).clock(clock.clone());
        let builder = builder.sessions(store.clone()).identities(store).identity_assertions(fetcher);
        Self { auth: builder.build().unwrap(), clock }
    }

    fn verifier(&self) -> &Verifier {
        self.auth.id_jag().unwrap()
    }

    async fn verify(&self, token: &str) -> Result<VerifiedIdentity, IdJagError> {
        self.verifier().verify(token, self.clock.now()).await
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn seconds(&self) -> i64 {
        self.clock.now().as_millis() / 1_000
    }
}

/// The name of an error, without its text.
fn kind(error: &IdJagError) -> &'static str {
    match error {
        IdJagError::Malformed(_) => "malformed",
        IdJagError::InvalidIssuer => "issuer",
        IdJagError::InvalidSignature => "signature",
        IdJagError::Expired => "expired",
        IdJagError::Replay => "replay",
        IdJagError::InvalidAudience => "audience",
        IdJagError::InvalidClient => "client",
        IdJagError::MissingVerifiedContact => "contact",
        IdJagError::LoginRequired { .. } => "login",
        IdJagError::Unavailable(_) => "unavailable",
        IdJagError::Store(_) => "store",
        other => panic!("{other}"),
    }
}

/// What became of a verification.
fn outcome(result: &Result<VerifiedIdentity, IdJagError>) -> &'static str {
    result.as_ref().map_or_else(kind, |_| "valid")
}

fn header(key: &Key) -> Value {
    json!({ "typ": "oauth-id-jag+jwt", "alg": key.algorithm(), "kid": key.id })
}

/// The claims of an assertion that is valid at `now`, with an identifier of its own.
fn claims(now: i64) -> Value {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    json!({
        "iss": ISSUER, "sub": "user-7", "aud": SERVICE, "client_id": CLIENT,
        "jti": format!("id-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        "iat": now, "exp": now + 300, "auth_time": now - 60,
        "email": "ada@example.com", "email_verified": true,
    })
}

/// The value with these members set; null takes one away.
fn with(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            change => value[name] = change.clone(),
        }
    }
    value
}

/// A valid assertion with these changes of its header and its claims.
fn assertion(key: &Key, in_header: &Value, in_claims: &Value) -> String {
    key.token(&with(header(key), in_header), &with(claims(NOW), in_claims).to_string())
}

fn valid(key: &Key) -> String {
    assertion(key, &json!({}), &json!({}))
}

fn served(key: &Key) -> (Service, KeyServer) {
    let server = KeyServer::of(&[key]);
    (Service::new(trusting(), server.clone()), server)
}
