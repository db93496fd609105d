//! `OrderedStore` passes the conformance suite, on redb and with a cache in front.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{sync::Arc, time::Duration};

use redb::backends::InMemoryBackend;
use tower_agent_auth::{
    AgentAuth, Config,
    ceremony::Refreshing,
    store::{
        CachedStore, RevokeTarget, SessionRecordStore, SessionStore, StoreErrorKind,
        conformance::CheckedWith,
        ordered::{OrderedEngine, OrderedStore},
    },
    testing::{self, ManualClock, TestAccounts, Timestamp},
    types::{secret::Digest, session::RevokedBy},
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

/// What a session costs does not grow with the number of its refreshes.
#[tokio::test]
async fn a_session_that_was_refreshed_often_stays_small() {
    let store = OrderedStore::new(Redb::in_memory(InMemoryBackend::new()).unwrap());
    let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
    let config = Config::builder().resource("https://api.example.com").name("Example");
    let config = config.scope("projects:read", "See your projects", |scope| scope).build().unwrap();
    let auth = AgentAuth::builder(config).sessions(store.clone()).accounts(TestAccounts::by_cookie("user"));
    let auth = auth.clock(clock.clone()).build().unwrap();
    let issued = testing::session(&auth).scopes("projects:read").issue().await;
    let mut refresh = issued.refresh_token().to_owned();
    let ceremony = auth.ceremony().unwrap();
    let id = ceremony.session(issued.access_token().as_bytes()).await.unwrap().unwrap().id.clone();
    let key = format!("s{}", id.as_str());
    let size = || store.engine().read(|entries| Ok(entries.get(key.as_bytes())?.map(|value| value.len()))).unwrap();
    let first = size().unwrap();
    for _ in 0..200 {
        clock.advance(Duration::from_secs(60));
        refresh = ceremony.refresh(&Refreshing::new(&refresh)).await.unwrap().refresh_token.expose().to_owned();
    }
    assert!(size().unwrap() < first + 200, "{first} bytes became {:?}", size());
    // The first refresh token is still known: it ends the session.
    assert!(ceremony.refresh(&Refreshing::new(issued.refresh_token())).await.is_err());
    assert!(ceremony.refresh(&Refreshing::new(&refresh)).await.is_err());
}

/// A revocation whose caller gave up is announced all the same, once it is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_revocation_reaches_the_cache() {
    let store = OrderedStore::new(Redb::in_memory(InMemoryBackend::new()).unwrap());
    let cache = CachedStore::over(store.clone());
    let config = Config::builder().resource("https://api.example.com").name("Example");
    let config = config.scope("projects:read", "See your projects", |scope| scope).build().unwrap();
    let auth = AgentAuth::builder(config).sessions(store.clone()).accounts(TestAccounts::by_cookie("user"));
    let auth = auth.build().unwrap();
    let issued = testing::session(&auth).scopes("projects:read").issue().await;
    let session = auth.ceremony().unwrap().session(issued.access_token().as_bytes()).await.unwrap().unwrap();
    assert!(cache.find_session(&session.access).await.unwrap().is_some());
    let (held, release) = (store.clone(), std::sync::mpsc::channel::<()>());
    let (taken, is_taken) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        held.engine().change(|_| {
            taken.send(()).unwrap();
            release.1.recv().unwrap();
            Ok(())
        })
    });
    is_taken.recv().unwrap();
    let target = RevokeTarget::Account(session.account.id.clone());
    let revoking = store.revoke(&target, RevokedBy::Human, Timestamp::from_millis(1_800_000_000_000));
    assert!(tokio::time::timeout(Duration::from_millis(50), revoking).await.is_err(), "the writer is held");
    assert!(cache.find_session(&session.access).await.unwrap().is_some(), "nothing is stored yet");
    release.0.send(()).unwrap();
    writer.join().unwrap().unwrap();
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while cache.find_session(&session.access).await.unwrap().is_some() {
        assert!(tokio::time::Instant::now() < patience, "the cache was never told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Cached = CheckedWith<OrderedStore<Redb>, Arc<CachedStore<OrderedStore<Redb>>>>;

async fn fresh_cached() -> (Cached, ()) {
    let (store, ()) = fresh().await;
    (CheckedWith::new(store.clone(), Arc::new(CachedStore::over(store))), ())
}

mod on_redb {
    use super::fresh;

    tower_agent_auth::store_conformance!(fresh);
}

mod cached {
    use super::fresh_cached;

    tower_agent_auth::store_conformance!(fresh_cached);
}
