//! What the Redis store promises beyond the contract.

use std::{
    collections::BTreeSet,
    error::Error,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{Commands, cmd};
use tower_agent_auth::{
    store::{
        AuthorizationStore, CacheOptions, HousekeepingStore, PendingCaps, RedisOptions, RedisStore, RedisWarning,
        RefreshTokenStore, RevokeTarget, SessionRecordStore, SessionStore, StoreError, StoreErrorKind,
        conformance::fixtures::{
            account, after, apply, approve, approved, authorization, create, deny, find, is_live, listed, open, opened,
            rotation, session, session_of, with_lookup,
        },
    },
    types::{
        authorization::{State, Transition},
        session::{NewSession, RevokedBy},
    },
};

use crate::{
    nodes::Everything,
    places::{Place, Prefix, certificate, redis_url},
    proxy::Proxy,
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

/// The connection is lost between the response to a write and the response to its `WAIT`. Another call notices that first,
/// so that there is a new connection. It leads to another server, whose replicas don't have the write.
#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r96_a_change_is_not_acknowledged_by_the_replicas_of_another_connection() {
    let (primary, replica) = (Server::start(), Server::start());
    replica.follow(&primary);
    let (other, its_replica) = (Server::start(), Server::start());
    its_replica.follow(&other);
    let proxy = Proxy::to(primary.port).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let store = RedisOptions::new().replicas(1).connect(&url).await.unwrap();
    let (first, second) = (session(&store, "alice").await, session(&store, "alice").await);
    let revoke = async |new: &NewSession| {
        store.revoke(&RevokeTarget::Access(new.session.session.access), RevokedBy::Human, after(3)).await
    };
    revoke(&first).await.expect("a replica that responds");

    replica.signal("STOP");
    proxy.redirect(other.port);
    proxy.cut_before_the_second_response();
    let (mut writing, mut reading) =
        (Box::pin(revoke(&second)), Box::pin(store.find_record(&first.session.session.id)));
    let sent = tokio::time::timeout(Duration::from_millis(50), writing.as_mut()).await;
    assert!(sent.is_err(), "its response waits for a second call");
    let (read, written) = tokio::join!(biased; reading.as_mut(), writing.as_mut());
    replica.signal("CONT");
    assert!(read.unwrap().is_none(), "a read is tried once more, and the other server has nothing");
    assert_eq!(written.unwrap_err().kind(), StoreErrorKind::Unavailable);
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
        [("scopes", "\"", true), ("created_at", "soon", false), ("expires_at", "soon", true)]
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

/// A Redis of one test's own, for what changes the server itself.
struct Server {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Nobody else takes it who asks for port 0.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--repl-diskless-sync-delay", "0"])
            .arg("--dir")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port, _directory: directory };
        let began = Instant::now();
        while server.client().get_connection().is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "Redis does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    fn execute(&self, command: &str) -> redis::Value {
        let mut words = command.split(' ');
        let mut connection = self.client().get_connection().unwrap();
        cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>()).query(&mut connection).unwrap()
    }

    fn info(&self, section: &str) -> String {
        cmd("INFO").arg(section).query(&mut self.client().get_connection().unwrap()).unwrap()
    }

    /// Makes this server a replica, and waits until it has everything.
    fn follow(&self, primary: &Self) {
        self.execute(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
        let began = Instant::now();
        while !self.info("replication").contains("master_link_status:up") {
            assert!(began.elapsed() < Duration::from_secs(30), "the replica does not follow");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(sent.unwrap().success());
    }

    fn lead(&self) {
        self.execute("REPLICAOF NO ONE");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn d2_after_a_failover_nothing_is_read_from_the_demoted_server() {
    // Each call is the first after a failover once. The proxy is what a name is that follows the primary.
    for first in 0..7 {
        let (old, new) = (Server::start(), Server::start());
        let proxy = Proxy::to(old.port).await;
        let store = RedisStore::connect(&format!("redis://127.0.0.1:{}", proxy.port())).await.unwrap();
        let (kept, revoked) = (session(&store, "alice").await, session(&store, "alice").await);
        let waiting = approved(&store, "alice").await;
        new.follow(&old);
        new.lead();
        let elsewhere = RedisStore::connect(&new.url()).await.unwrap();
        old.follow(&new);
        // Connections stay with the demoted server. It does not see what happens once its link is cut.
        old.execute("REPLICAOF 127.0.0.1 1");
        let target = RevokeTarget::Access(revoked.session.session.access);
        elsewhere.revoke(&target, RevokedBy::Human, after(3)).await.unwrap();
        let newest = session(&elsewhere, "bob").await;
        let unknown = approved(&elsewhere, "bob").await;
        let error = store.find_session(&revoked.session.session.access).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "the name still leads to the demoted server");
        assert_eq!(store.find_session(&newest.session.session.access).await.unwrap_err().kind(), error.kind());
        assert_eq!(store.find_refresh(&newest.refresh).await.unwrap_err().kind(), error.kind());
        assert_eq!(store.redeem(&session_of(&waiting, "alice"), after(4)).await.unwrap_err().kind(), error.kind());
        // What would be refused for what the demoted server knows, too.
        assert_eq!(store.rotate(&rotation(newest.refresh, 4), after(4)).await.unwrap_err().kind(), error.kind());
        assert_eq!(store.redeem(&session_of(&unknown, "bob"), after(4)).await.unwrap_err().kind(), error.kind());
        for transition in [open("bob"), approve("bob", "a"), deny("bob"), Transition::Revoke] {
            assert_eq!(store.transition(&unknown.id, &transition, after(4)).await.unwrap_err().kind(), error.kind());
        }
        proxy.redirect(new.port);
        // A connection stays for a moment.
        tokio::time::sleep(Duration::from_millis(150)).await;
        match first {
            0 => assert!(!is_live(&store, &revoked).await),
            1 => assert!(is_live(&store, &newest).await),
            2 => assert!(store.find_refresh(&newest.refresh).await.unwrap().is_some()),
            3 => assert_eq!(find(&store, &waiting).await.state_at(after(4)), State::Approved),
            4 => assert!(store.redeem(&session_of(&waiting, "alice"), after(4)).await.unwrap()),
            5 => assert!(apply(&store, &waiting, Transition::Revoke).await),
            _ => {
                let target = RevokeTarget::Account(account("bob").id);
                assert_eq!(store.revoke(&target, RevokedBy::Human, after(4)).await.unwrap().len(), 1);
            }
        }
        assert!(is_live(&store, &kept).await && !is_live(&store, &revoked).await);
    }
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn d2_a_replica_is_refused_with_a_remedy() {
    let (primary, replica) = (Server::start(), Server::start());
    drop(RedisStore::connect(&primary.url()).await.unwrap());
    replica.follow(&primary);
    let error = RedisStore::connect(&replica.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(cause(&error).contains("address of the primary"), "{}", cause(&error));
    replica.execute("CONFIG SET replica-serve-stale-data no");
    replica.execute("REPLICAOF 127.0.0.1 1");
    let error = RedisStore::connect(&replica.url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(cause(&error).contains("replica") || cause(&error).contains("lost its primary"), "{}", cause(&error));
}

/// A user with these rules, and the URL of the server for it.
fn user(name: &str, rules: &[&str]) -> String {
    let mut add = cmd("ACL");
    add.arg("SETUSER").arg(name).arg(&["reset", "on", ">hunter2"]).arg(rules).exec(&mut Prefix::beside()).unwrap();
    redis_url().replacen("redis://", &format!("redis://{name}:hunter2@"), 1)
}

fn drop_user(name: &str) {
    cmd("ACL").arg("DELUSER").arg(name).exec(&mut Prefix::beside()).unwrap();
}

/// Runs the command that a warning ends with.
fn remedy(warning: &RedisWarning) {
    let text = warning.to_string();
    let (_, command) = text.rsplit_once("run ").unwrap();
    let mut words = command.split(' ');
    let mut run = cmd(words.next().unwrap());
    run.arg(words.collect::<Vec<_>>()).exec(&mut Prefix::beside()).unwrap();
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn d3_without_the_right_to_publish_revocations_succeed_and_a_warning_has_the_remedy() {
    let prefix = Prefix::new();
    let name = format!("{}_mute", prefix.0);
    let url = user(&name, &[&format!("~{}", prefix.key("*")), "resetchannels", "+@all"]);
    let store = RedisOptions::new().prefix(&prefix.0).connect(&url).await.unwrap();
    let warns = |store: &RedisStore| {
        store.warnings().iter().find(|warning| matches!(warning, RedisWarning::NoChannel { .. })).cloned()
    };
    let warning = warns(&store).unwrap();
    let expected = format!("run ACL SETUSER {name} +publish +subscribe &{}", prefix.key("ended"));
    assert!(warning.to_string().ends_with(&expected), "{warning}");

    let staleness = Duration::from_millis(300);
    let elsewhere = CacheOptions::new().staleness(staleness).over(store.clone());
    for kind in 0..4 {
        let new = session(&store, "alice").await;
        let target = match kind {
            0 => RevokeTarget::Access(new.session.session.access),
            1 => RevokeTarget::Refresh(new.refresh),
            2 => RevokeTarget::Session(new.session.session.id.clone(), account("alice").id),
            _ => RevokeTarget::Account(account("alice").id),
        };
        assert!(is_live(&elsewhere, &new).await);
        let asked = Instant::now();
        let ended = store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap();
        assert_eq!(ended, std::slice::from_ref(&new.session.session.id));
        assert!(!is_live(&store, &new).await);
        tokio::time::sleep(staleness.saturating_sub(asked.elapsed())).await;
        assert!(!is_live(&elsewhere, &new).await, "the staleness is the bound");
    }
    remedy(&warning);
    let store = RedisOptions::new().prefix(&prefix.0).connect(&url).await.unwrap();
    assert_eq!(warns(&store), None);
    drop_user(&name);
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn d7_without_the_right_to_info_or_config_the_store_opens_and_warns() {
    for (rules, commands) in [
        (&["+@all", "-@dangerous"][..], &["INFO"][..]),
        (&["+@all", "-info"], &["INFO"]),
        (&["+@all", "-config"], &["CONFIG GET"]),
        (&["+@all"], &[]),
    ] {
        let prefix = Prefix::new();
        let name = format!("{}_user", prefix.0);
        let url = user(&name, &[&["~*", "&*"], rules].concat());
        let open = async || RedisOptions::new().prefix(&prefix.0).connect(&url).await.unwrap();
        let unchecked = |store: &RedisStore| -> Vec<RedisWarning> {
            let all = store.warnings().iter();
            all.filter(|warning| matches!(warning, RedisWarning::Unchecked { .. })).cloned().collect()
        };
        let store = open().await;
        let warnings = unchecked(&store);
        let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), commands.len(), "{rules:?}: {told:?}");
        assert!(told.iter().zip(commands).all(|(text, command)| text.contains(&format!("may not run {command},"))));
        Everything::keep(&store).await.check(&open().await).await;
        warnings.iter().for_each(remedy);
        assert!(unchecked(&open().await).iter().all(|warning| !warnings.contains(warning)), "the remedy is right");
        drop_user(&name);
    }
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn d2_without_the_rights_that_show_a_replica_the_store_is_refused_with_the_remedy() {
    let prefix = Prefix::new();
    drop(prefix.open().await);
    let name = format!("{}_user", prefix.0);
    let keys = format!("~{}", prefix.key("*"));
    let except = format!("~{}", prefix.key("[^n]*"));
    for rules in [
        &[keys.as_str(), "&*", "+@all", "-del"][..],
        &[keys.as_str(), "&*", "+@all", "-setrange"],
        &[keys.as_str(), "&*", "+@all", "-@write"],
        &[except.as_str(), "&*", "+@all"],
        &[except.as_str(), "&*", "+@all", "-@write"],
        &["~*", "&*", "+@all", "-@scripting"],
    ] {
        let url = user(&name, rules);
        let mut remedies = 0;
        while let Err(error) = RedisOptions::new().prefix(&prefix.0).connect(&url).await {
            assert_eq!(error.kind(), StoreErrorKind::Other, "{rules:?}: {error:?}");
            remedies += 1;
            assert!(remedies <= 2, "the remedy is right for {rules:?}: {error:?}");
            let text = cause(&error);
            let (_, command) = text.rsplit_once("run ").unwrap();
            let mut words = command.split(' ');
            cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>()).exec(&mut Prefix::beside()).unwrap();
        }
        assert!(remedies > 0, "{rules:?}");
    }

    // If the right is lost later, nothing is read any more.
    let url = user(&name, &[&keys, "&*", "+@all"]);
    let store = RedisOptions::new().prefix(&prefix.0).connect(&url).await.unwrap();
    let new = session(&store, "alice").await;
    cmd("ACL").arg(&["SETUSER", &name, "-del"]).exec(&mut Prefix::beside()).unwrap();
    assert_eq!(store.find_session(&new.session.session.access).await.unwrap_err().kind(), StoreErrorKind::Other);
    cmd("ACL").arg(&["SETUSER", &name, "+del"]).exec(&mut Prefix::beside()).unwrap();
    assert!(is_live(&store, &new).await);
    drop_user(&name);
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn d6_when_memory_is_full_what_takes_access_away_works() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let sessions = [
        session(&store, "alice").await,
        session(&store, "alice").await,
        session(&store, "alice").await,
        session(&store, "bob").await,
    ];
    let live = session(&store, "carol").await;
    let (asking, locked, taken_back) =
        (opened(&store, "carol").await, approved(&store, "carol").await, approved(&store, "carol").await);
    let unopened = authorization();
    create(&store, &unopened).await;
    let of_bob = approved(&store, "bob").await;
    server.execute("CONFIG SET maxmemory 1");

    let full = |error: StoreError| assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    full(store.create_authorization(&with_lookup(&authorization()), PendingCaps::NONE).await.unwrap_err());
    full(store.redeem(&session_of(&of_bob, "bob"), after(2)).await.unwrap_err());
    full(store.rotate(&rotation(live.refresh, 2), after(2)).await.unwrap_err());

    let store = RedisStore::connect(&server.url()).await.unwrap();
    assert!(is_live(&store, &live).await, "tokens are checked");
    let targets = [
        RevokeTarget::Access(sessions[0].session.session.access),
        RevokeTarget::Refresh(sessions[1].refresh),
        RevokeTarget::Session(sessions[2].session.session.id.clone(), account("alice").id),
        RevokeTarget::Account(account("bob").id),
    ];
    for (target, new) in targets.iter().zip(&sessions) {
        assert_eq!(store.revoke(target, RevokedBy::Human, after(3)).await.unwrap().len(), 1, "{target:?}");
        assert!(!is_live(&store, new).await);
    }
    assert_eq!(find(&store, &of_bob).await.state_at(after(3)), State::Revoked);
    assert!(apply(&store, &unopened, open("carol")).await, "the page on which the human denies");
    assert!(apply(&store, &unopened, deny("carol")).await);
    assert!(apply(&store, &asking, deny("carol")).await);
    assert!(apply(&store, &taken_back, Transition::Revoke).await);
    for _ in 0..5 {
        assert!(apply(&store, &locked, Transition::FailedAttempt).await);
    }
    assert_eq!(find(&store, &locked).await.state_at(after(3)), State::Locked);
    let cutoff = tower_agent_auth::store::Cutoff::at(after(i64::from(u32::MAX)));
    store.forget(&cutoff, 1_000).await.unwrap();
    assert_eq!(listed(&store, "alice").await, [], "and makes room");
    server.execute("CONFIG SET maxmemory 0");
    session(&store, "alice").await;
}

/// `WAIT` of a ceremony call holds up its connection for two seconds if there is no replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn d4_token_checks_never_wait_for_replicas() {
    let prefix = Prefix::new();
    let new = session(&prefix.open().await, "alice").await;
    let careful = RedisOptions::new().prefix(&prefix.0).replicas(1).connect(&redis_url()).await.unwrap();
    let mut ceremony = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = careful.clone();
        ceremony.spawn(async move {
            store.create_authorization(&with_lookup(&authorization()), PendingCaps::NONE).await.unwrap_err()
        });
    }
    let began = Instant::now();
    while !ceremony.is_empty() {
        let asked = Instant::now();
        assert!(is_live(&careful, &new).await);
        assert!(asked.elapsed() < Duration::from_secs(4), "a check waits");
        while ceremony.try_join_next().is_some() {}
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(began.elapsed() < Duration::from_secs(60));
    }
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
