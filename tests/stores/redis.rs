//! What the Redis store promises beyond the contract.

use std::{collections::BTreeSet, error::Error};

use redis::{Commands, cmd};
use tower_agent_auth::{
    store::{
        AuthorizationStore, RedisOptions, RedisStore, RefreshTokenStore, RevokeTarget, SessionRecordStore,
        SessionStore, StoreError, StoreErrorKind,
        conformance::fixtures::{account, after, approved, is_live, listed, session, session_of},
    },
    types::session::RevokedBy,
};

use crate::{
    nodes::Everything,
    places::{Place, Prefix, certificate, redis_url},
};

fn cause(error: &StoreError) -> String {
    error.source().unwrap().to_string()
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn the_service_s_own_client_will_do() {
    let prefix = Prefix::new();
    let client = redis::Client::open(redis_url()).unwrap();
    let store = RedisOptions::new().prefix(&prefix.0).over(client).await.unwrap();
    Everything::keep(&store).await.check(&prefix.open().await).await;
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r96_all_keys_are_in_one_slot_and_none_but_the_store_s_own_is_touched() {
    // Other tests make keys meanwhile, below prefixes of their own.
    let strange = || {
        let keys: BTreeSet<Vec<u8>> = cmd("KEYS").arg("*").query(&mut Prefix::beside()).unwrap();
        keys.into_iter().filter(|key| !key.starts_with(b"{agent_auth_test_")).collect::<BTreeSet<_>>()
    };
    let before = strange();
    let prefix = Prefix::new();
    Everything::keep(&prefix.open().await).await;
    let own: Vec<Vec<u8>> = Prefix::beside().keys(prefix.key("*")).unwrap();
    assert!(own.len() > 10);
    assert_eq!(strange(), before);
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r99_what_a_newer_version_or_something_else_wrote_is_refused_and_left_alone() {
    let prefix = Prefix::new();
    let everything = Everything::keep(&prefix.open().await).await;
    for (version, text) in [("3", "newer version"), ("0", "something else"), ("theirs", "something else")] {
        let _: () = Prefix::beside().set(prefix.key("version"), version).unwrap();
        let error = RedisOptions::new().prefix(&prefix.0).connect(&redis_url()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{version}");
        assert!(cause(&error).contains(text), "{}", cause(&error));
    }
    let _: () = Prefix::beside().set(prefix.key("version"), "2").unwrap();
    everything.check(&prefix.open().await).await;
}

#[tokio::test]
async fn a_prefix_that_would_leave_its_slot_is_refused() {
    let long = "a".repeat(101);
    for prefix in ["", "a}b", "{", "a b", "é", "a*", long.as_str()] {
        let error = RedisOptions::new().prefix(prefix).connect("redis://127.0.0.1:1").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Other, "{prefix}");
    }
}

#[tokio::test]
async fn r91_what_can_t_be_reached_is_unavailable_and_the_password_is_told_nobody() {
    for url in ["redis://app:hunter2@127.0.0.1:1/0", "rediss://app:hunter2@127.0.0.1:1/0"] {
        let error = RedisStore::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
    let error = RedisStore::connect("http://app:hunter2@localhost").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    assert!(!format!("{error:?} {}", cause(&error)).contains("hunter2"));
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r96_whatever_is_lost_makes_sessions_invalid_and_never_valid() {
    let prefix = Prefix::new();
    let store = prefix.open().await;
    let keys = || -> Vec<Vec<u8>> { Prefix::beside().keys(prefix.key("*")).unwrap() };
    // One after the other, each key that a live and a revoked session, and an authorization request taken back, consist of.
    for index in 0.. {
        let live = session(&store, "alice").await;
        let revoked = session(&store, "alice").await;
        store.revoke(&RevokeTarget::Access(revoked.session.session.access), RevokedBy::Human, after(3)).await.unwrap();
        let waiting = approved(&store, "alice").await;
        let mut all = keys();
        all.sort();
        let Some(lost) = all.get(index) else { break };
        let _: () = Prefix::beside().del(lost).unwrap();
        assert_eq!(store.find_session(&revoked.session.session.access).await.unwrap(), None);
        // Whoever is revoked is found by it, or is no session any more.
        store.revoke(&RevokeTarget::Account(account("alice").id), RevokedBy::Human, after(4)).await.unwrap();
        assert!(!is_live(&store, &live).await, "after the loss of {}", String::from_utf8_lossy(lost));
        assert!(!store.redeem(&session_of(&waiting, "alice"), after(5)).await.unwrap_or(false));
        for key in keys() {
            let _: () = Prefix::beside().del(key).unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r96_after_a_flush_nobody_is_let_pass_and_new_ceremonies_work() {
    let prefix = Prefix::new();
    let store = prefix.open().await;
    let before = session(&store, "alice").await;
    for key in Prefix::beside().keys::<_, Vec<Vec<u8>>>(prefix.key("*")).unwrap() {
        let _: () = Prefix::beside().del(key).unwrap();
    }
    let _: () = cmd("SCRIPT").arg("FLUSH").query(&mut Prefix::beside()).unwrap();
    assert_eq!(store.find_session(&before.session.session.access).await.unwrap(), None, "not found, and no error");
    assert_eq!(store.find_refresh(&before.refresh).await.unwrap().map(|_| ()), None);
    assert_eq!(listed(&store, "alice").await, []);
    let new = session(&store, "alice").await;
    assert!(is_live(&store, &new).await);
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r96_a_change_that_too_few_replicas_have_is_not_acknowledged() {
    let prefix = Prefix::new();
    let store = prefix.open().await;
    let new = session(&store, "alice").await;
    let careful = RedisOptions::new().prefix(&prefix.0).replicas(1).connect(&redis_url()).await.unwrap();
    let target = RevokeTarget::Access(new.session.session.access);
    let error = careful.revoke(&target, RevokedBy::Human, after(3)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(cause(&error).contains("only 0 replicas"), "{}", cause(&error));
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r91_a_value_that_makes_no_sense_is_an_error_and_not_absent() {
    let prefix = Prefix::new();
    let store = prefix.open().await;
    let (damaged, sound) = (session(&store, "alice").await, session(&store, "bob").await);
    let hash = prefix.key(&format!("ses:{}", damaged.session.session.id));
    // A token check reads only some of it.
    for (field, garbage, checked) in
        [("scopes", "\"", true), ("created_at", "soon", false), ("expires_at", "soon", true), ("client_name", "", true)]
    {
        let kept: Vec<u8> = Prefix::beside().hget(&hash, field).unwrap();
        let _: () = Prefix::beside().hset(&hash, field, garbage).unwrap();
        match store.find_session(&damaged.session.session.access).await {
            Err(error) => assert_eq!((error.kind(), checked), (StoreErrorKind::Corrupt, true), "{field}"),
            Ok(found) => assert_eq!((found.is_some(), checked), (true, false), "{field}"),
        }
        let error = store.list_sessions(&account("alice").id, None, 9).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{field}");
        let _: () = Prefix::beside().hset(&hash, field, kept).unwrap();
    }
    assert!(is_live(&store, &damaged).await && is_live(&store, &sound).await);
    let _: () = Prefix::beside().set(&hash, "a string").unwrap();
    assert_eq!(store.find_session(&damaged.session.session.access).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r95_what_the_server_may_lose_is_told() {
    let prefix = Prefix::new();
    let store = prefix.open().await;
    let info: String = cmd("INFO").arg("persistence").query(&mut Prefix::beside()).unwrap();
    let kept = info.contains("aof_enabled:1");
    let told = store.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(told.contains("appendonly no"), !kept, "{told}");
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn an_encrypted_connection_is_verified() {
    let prefix = Prefix::new();
    let url = std::env::var("REDIS_TLS_URL").unwrap();
    let root_cert = Some(std::fs::read(certificate()).unwrap());
    let certificates = redis::TlsCertificates { client_tls: None, root_cert };
    let client = redis::Client::build_with_tls(url.as_str(), certificates).unwrap();
    let store = RedisOptions::new().prefix(&prefix.0).over(client).await.unwrap();
    Everything::keep(&store).await;
    let error = RedisOptions::new().prefix(&prefix.0).connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "nobody vouches for the server: {error:?}");
}

#[tokio::test]
async fn f_an_unreachable_server_is_named_without_its_password() {
    // A listener that is closed again: its port refuses.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = RedisStore::connect(&format!("redis://app:hunter2@127.0.0.1:{port}/0")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let shown = format!("{error:?}");
    for needed in [&format!("Redis at 127.0.0.1:{port}"), "check that it runs", "refused"] {
        assert!(shown.contains(needed), "{needed} in {shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
}
