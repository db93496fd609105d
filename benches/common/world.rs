//! A store with sessions.

use tower_agent_auth::{
    store::{
        CeremonyStore, Cutoff, MemoryStore,
        conformance::fixtures::{LIFE, NO_CAPS, after, approve, authorization, open, session_with},
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
    store.create_authorization(&authorization, NO_CAPS).await.unwrap();
    store.transition(&authorization.id, &open(&account), after(1)).await.unwrap();
    store.transition(&authorization.id, &approve(&account, "a b"), after(1)).await.unwrap();
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
    let cutoff = Cutoff { authorizations: after(LIFE), sessions: after(0) };
    assert!(!store.forget(&cutoff, usize::MAX).await.unwrap());
}
