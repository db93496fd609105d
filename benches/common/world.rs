//! A service with sessions.

use tower_agent_auth::{
    AgentAuth, Config,
    core::{
        random::OsRandom,
        secret::{Access, Prefix, Secret},
        session::NewSession,
    },
    store::{
        CeremonyStore, MemoryStore, SessionStore,
        conformance::fixtures::{NO_CAPS, after, approve, open, registration, session_of},
    },
};

const RESOURCE: &str = "https://api.example.org";

/// A service of scopes `a`, `b` and `c`, over that store.
pub(crate) fn service(store: impl SessionStore) -> AgentAuth {
    let config = Config::builder().resource(RESOURCE).name("Bench");
    let config = ["a", "b", "c"].into_iter().fold(config, |config, name| config.scope(name, "A scope", |scope| scope));
    AgentAuth::builder(config.build().unwrap()).checks_only(store).build().unwrap()
}

/// An access token that nobody was issued.
pub(crate) fn token() -> Secret<Access> {
    Prefix::new("aas_").unwrap().generate(&OsRandom).unwrap()
}

/// A session of an account of its own, with the scopes `a` and `b`, that has not ended for a long while.
pub(crate) async fn session(store: &MemoryStore, number: usize, token: &Secret<Access>) -> NewSession {
    let account = format!("acct_{number:08}");
    let registration = registration();
    store.create_registration(&registration, NO_CAPS).await.unwrap();
    store.transition(&registration.id, &open(&account), after(1)).await.unwrap();
    store.transition(&registration.id, &approve(&account, "a b"), after(1)).await.unwrap();
    let new = NewSession { access: token.digest(), ..session_of(&registration, &account) };
    assert!(store.redeem(&new, after(2)).await.unwrap());
    new
}

/// So many sessions, and their tokens.
pub(crate) async fn sessions(store: &MemoryStore, count: usize) -> Vec<String> {
    let mut tokens = Vec::with_capacity(count);
    for number in 0..count {
        let token = token();
        session(store, number, &token).await;
        tokens.push(token.expose().to_owned());
    }
    tokens
}
