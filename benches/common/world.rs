//! A store with sessions.

use tower_agent_auth::{
    store::{
        AuthorizationStore, Cutoff, HousekeepingStore, MemoryStore,
        conformance::fixtures::{LIFE, after, apply, approve, authorization, create, open, session_with},
    },
    types::{
        random::OsRandom,
        secret::{Access, Prefix, Secret},
        session::NewSession,
    },
};

/// An access token that nobody was issued.
pub(crate) fn token() -> Secret<Access> {
    Prefix::new("aas_").unwrap().generate(&OsRandom).unwrap()
}

/// A session of an account of its own, with the scopes `a` and `b`, that has not ended for a long while.
pub(crate) async fn session(store: &MemoryStore, number: usize, token: &Secret<Access>) -> NewSession {
    let account = format!("acct_{number:08}");
    let authorization = authorization();
    create(store, &authorization).await;
    assert!(apply(store, &authorization, open(&account)).await);
    assert!(apply(store, &authorization, approve(&account, "a b")).await);
    let new = session_with(&authorization, &account, token.digest());
    assert!(store.redeem(&new, after(2)).await.unwrap());
    new
}

/// So many sessions, and their tokens.
pub(crate) async fn sessions(store: &MemoryStore, count: usize) -> Vec<Secret<Access>> {
    let mut tokens = Vec::with_capacity(count);
    for number in 0..count {
        let token = token();
        session(store, number, &token).await;
        tokens.push(token);
        // Looking for what is over takes the longer the more there is.
        if number % (count / 10).max(10_000) == 0 {
            forget_authorizations(store).await;
        }
    }
    tokens
}

/// Forgets what became of the sessions' authorization requests, as housekeeping does an hour later.
pub(crate) async fn forget_authorizations(store: &MemoryStore) {
    let mut cutoff = Cutoff::at(after(0));
    cutoff.authorizations = after(LIFE);
    assert!(!store.forget(&cutoff, usize::MAX).await.unwrap());
}
