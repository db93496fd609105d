//! What holds between the nodes of a service that share a store, and from one start of a node to the next.

use std::time::{Duration, Instant};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_agent_auth::{
    store::{
        AuthorizationKey, AuthorizationStore, CacheOptions, CeremonyStore, PendingCaps, RefreshTokenStore,
        RevokeTarget, SessionRecordStore, SessionStore,
        conformance::fixtures::{
            after, apply, approved, authorization, create, deny, find, is_live, listed, opened, session, session_of,
            with_lookup,
        },
    },
    types::{
        authorization::{AuthorizationRequest, Transition},
        session::{NewSession, RevokedBy, Use},
    },
};

use crate::{
    places::{Place, Prefix, Schema, TempFile},
    proxy::{Proxy, Remote},
};

/// One of each: what a store may be asked to remember.
pub(crate) struct Everything {
    authorizations: Vec<AuthorizationRequest>,
    live: NewSession,
    ended: NewSession,
}

impl Everything {
    pub(crate) async fn keep(store: &impl CeremonyStore) -> Self {
        let unopened = authorization();
        create(store, &unopened).await;
        let denied = opened(store, "alice").await;
        assert!(apply(store, &denied, deny("alice")).await);
        let revoked = approved(store, "alice").await;
        assert!(apply(store, &revoked, Transition::Revoke).await);
        let live = session(store, "alice").await;
        let last = Use::new(after(7), Some("192.0.2.9".parse().unwrap()));
        store.record_uses(&[(live.session.session.id.clone(), last)], last.at).await.unwrap();
        let ended = session(store, "alice").await;
        let target = RevokeTarget::Access(ended.session.session.access);
        store.revoke(&target, RevokedBy::Human, after(8)).await.unwrap();
        let kept = [unopened, denied, revoked, opened(store, "bob").await, approved(store, "bob").await];
        let mut authorizations = Vec::new();
        for authorization in &kept {
            authorizations.push(find(store, authorization).await);
        }
        Self { authorizations, live, ended }
    }

    pub(crate) async fn check(&self, store: &impl CeremonyStore) {
        for authorization in &self.authorizations {
            assert_eq!(find(store, authorization).await, *authorization);
        }
        assert!(is_live(store, &self.live).await && !is_live(store, &self.ended).await);
        let [ended, live] = listed(store, "alice").await.try_into().unwrap();
        assert_eq!(ended.revoked.map(|revoked| revoked.at), Some(after(8)));
        assert_eq!(live.last_use.map(|last| last.at), Some(after(7)));
    }
}

async fn a_store_that_is_opened_again_holds_everything<P: Place>() {
    let place = P::new();
    let store = place.open().await;
    let everything = Everything::keep(&store).await;
    let before = listed(&store, "alice").await;
    drop(store);
    let store = place.open().await;
    everything.check(&store).await;
    assert_eq!(listed(&store, "alice").await, before);
}

async fn many_may_start_at_once<P: Place>() {
    for _ in 0..10 {
        let place = P::new();
        let mut opening = JoinSet::new();
        for _ in 0..8 {
            let opened = place.open();
            opening.spawn(async move {
                let store = opened.await;
                (session(&store, "alice").await, store)
            });
        }
        let opened = opening.join_all().await;
        for (_, store) in &opened {
            for (new, _) in &opened {
                assert!(is_live(store, new).await);
            }
            assert_eq!(listed(store, "alice").await.len(), opened.len());
        }
    }
}

async fn one_winner_among_two_nodes<P: Place>() {
    let place = P::new();
    let nodes = [place.open().await, place.open().await];
    for _ in 0..20 {
        let approved = approved(&nodes[0], "alice").await;
        let mut racing = JoinSet::new();
        for racer in 0..16 {
            let (store, new) = (nodes[racer % 2].clone(), session_of(&approved, "alice"));
            racing.spawn(async move { store.redeem(&new, after(2)).await.unwrap() });
        }
        assert_eq!(racing.join_all().await.into_iter().filter(|won| *won).count(), 1);
    }
    for store in &nodes {
        assert_eq!(listed(store, "alice").await.len(), 20);
    }
}

async fn what_one_node_revokes_the_other_refuses_on_the_next_call<P: Place>() {
    let place = P::new();
    let (here, there) = (place.open().await, place.open().await);
    for _ in 0..50 {
        let new = session(&here, "alice").await;
        assert!(is_live(&there, &new).await);
        here.revoke(&RevokeTarget::Access(new.session.session.access), RevokedBy::Human, after(3)).await.unwrap();
        assert!(!is_live(&there, &new).await);
    }
}

async fn aborted_tasks_leave_whole_changes_and_a_store_that_works<P: Place>() {
    let place = P::new();
    let store = place.open().await;
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(session_of(&approved(&store, "alice").await, "alice"));
    }
    let mut running = JoinSet::new();
    for new in waiting.clone() {
        let store = store.clone();
        running.spawn(async move { store.redeem(&new, after(2)).await.unwrap() });
    }
    assert!(running.join_next().await.unwrap().unwrap());
    running.shutdown().await;
    for new in &waiting {
        // It waits for what is still under way.
        store.redeem(new, after(2)).await.unwrap();
        assert!(is_live(&store, new).await);
    }
    assert_eq!(listed(&store, "alice").await.len(), waiting.len());
}

async fn hundreds_of_calls_at_once_are_all_answered<P: Place>() {
    let place = P::new();
    let store = place.open().await;
    let new = session(&store, "alice").await;
    let mut calls = JoinSet::new();
    for number in 0..500 {
        let (store, new) = (store.clone(), new.clone());
        calls.spawn(async move {
            if number % 10 == 0 {
                session(&store, "bob").await;
            }
            is_live(&store, &new).await
        });
    }
    assert!(calls.join_all().await.into_iter().all(|live| live));
    assert_eq!(listed(&store, "bob").await.len(), 50);
}

/// Waits until the other node refuses what this one revoked, and says how long that took.
async fn refused_after(here: &impl CeremonyStore, there: &impl SessionStore, new: &NewSession) -> Duration {
    here.revoke(&RevokeTarget::Access(new.session.session.access), RevokedBy::Human, after(3)).await.unwrap();
    let begun = Instant::now();
    while there.find_session(&new.session.session.access).await.unwrap().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it was told, long before the staleness of a minute");
        sleep(Duration::from_millis(1)).await;
    }
    begun.elapsed()
}

/// `cut` ends all connections of the store's.
async fn what_one_node_revokes_is_pushed_to_the_other<P: Place>(cut: impl AsyncFn(&P)) {
    let place = P::new();
    let minute = CacheOptions::new().staleness(Duration::from_secs(60));
    let (here, there) = (place.open().await, minute.over(place.open().await));
    // Both hear of it: the one that revokes by itself, the other by the push, as soon as it listens.
    for _ in 0..100 {
        let new = session(&here, "alice").await;
        assert!(is_live(&there, &new).await);
        refused_after(&here, &there, &new).await;
    }
    let kept = session(&here, "alice").await;
    let ended = session(&here, "alice").await;
    assert!(is_live(&there, &kept).await && is_live(&there, &ended).await);
    cut(&place).await;
    // The connections of both nodes may be dead: one call finds that out.
    here.find_session(&kept.session.session.access).await.ok();
    while here.find_session(&kept.session.session.access).await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    refused_after(&here, &there, &ended).await;
    assert!(is_live(&there, &kept).await);
    let new = session(&here, "alice").await;
    assert!(is_live(&there, &new).await);
    refused_after(&here, &there, &new).await;
}

/// The default deadlines of a service.
const READ_DEADLINE: Duration = Duration::from_secs(2);
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Long enough on a machine under load. A store that does not recover fails by itself before.
const LENIENT: Duration = Duration::from_secs(30);

/// How many of eight concurrent token checks find the session in time.
async fn checks_that_pass(store: &(impl SessionStore + Clone), new: &NewSession, deadline: Duration) -> usize {
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let (store, access) = (store.clone(), new.session.session.access);
        calls.spawn(async move { timeout(deadline, store.find_session(&access)).await });
    }
    let found = calls.join_all().await;
    // Whatever fails, nobody is told that the token is unknown.
    assert!(!found.iter().any(|found| matches!(found, Ok(Ok(None)))));
    found.into_iter().filter(|found| matches!(found, Ok(Ok(Some(_))))).count()
}

async fn silent_connections_are_left_within_one_deadline<P: Remote>() {
    let place = P::new();
    let proxy = Proxy::to(P::server()).await;
    let store = place.open_at(proxy.port()).await;
    let new = session(&store, "alice").await;
    for idle in [Duration::ZERO, Duration::from_millis(1_200)] {
        assert_eq!(checks_that_pass(&store, &new, LENIENT).await, 8);
        sleep(idle).await;
        proxy.silence();
        let waiting = with_lookup(&authorization());
        let write = timeout(WRITE_DEADLINE, store.create_authorization(&waiting, PendingCaps::NONE));
        tokio::join!(async { drop(write.await) }, async {
            checks_that_pass(&store, &new, READ_DEADLINE).await;
            assert_eq!(checks_that_pass(&store, &new, LENIENT).await, 8, "after {idle:?}");
        });
        session(&store, "bob").await;
    }
}

/// Calls that clients give up early never see a deadline.
async fn silent_connections_are_left_by_impatient_callers<P: Remote>() {
    let place = P::new();
    let proxy = Proxy::to(P::server()).await;
    let store = place.open_at(proxy.port()).await;
    let new = session(&store, "alice").await;
    assert_eq!(checks_that_pass(&store, &new, LENIENT).await, 8);
    proxy.silence();
    let began = Instant::now();
    let mut passed = 0;
    while passed < 3 {
        let all = checks_that_pass(&store, &new, Duration::from_millis(700)).await == 8;
        passed = if all { passed + 1 } else { 0 };
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

/// Reads in every way that a service does.
async fn reads_succeed(store: &impl CeremonyStore, new: &NewSession) {
    assert!(is_live(store, new).await);
    let record = store.find_record(&new.session.session.id).await.unwrap().unwrap();
    assert!(store.find_refresh(&new.refresh).await.unwrap().is_some());
    assert_eq!(store.sessions_of(&record.authorization).await.unwrap().len(), 1);
    assert!(!listed(store, "alice").await.is_empty());
    let key = AuthorizationKey::Id(record.authorization.clone());
    assert!(store.find_authorization(&key).await.unwrap().is_some());
}

async fn a_read_on_a_closed_connection_is_tried_once_more<P: Remote>() {
    let place = P::new();
    let proxy = Proxy::to(P::server()).await;
    let store = place.open_at(proxy.port()).await;
    let new = session(&store, "alice").await;
    let key = AuthorizationKey::Id(new.session.authorization.clone());
    // Each kind of read is the first one once.
    for first in 0..6 {
        assert_eq!(checks_that_pass(&store, &new, LENIENT).await, 8);
        proxy.close().await;
        match first {
            0 => assert!(is_live(&store, &new).await),
            1 => assert!(store.find_record(&new.session.session.id).await.unwrap().is_some()),
            2 => assert!(store.find_refresh(&new.refresh).await.unwrap().is_some()),
            3 => assert_eq!(store.sessions_of(&new.session.authorization).await.unwrap().len(), 1),
            4 => assert_eq!(listed(&store, "alice").await.len(), 1),
            _ => assert!(store.find_authorization(&key).await.unwrap().is_some()),
        }
        reads_succeed(&store, &new).await;
    }
    // After a second without a call, a write finds a connection that was tested.
    sleep(Duration::from_millis(1_200)).await;
    proxy.close().await;
    session(&store, "bob").await;
}

/// A listener on a silent connection gets no notice. It finds out by itself.
async fn a_silent_listener_listens_again<P: Remote>() {
    let place = P::new();
    let proxy = Proxy::to(P::server()).await;
    let minute = CacheOptions::new().staleness(Duration::from_secs(60));
    let (here, there) = (place.open().await, minute.over(place.open_at(proxy.port()).await));
    let (first, second) = (session(&here, "alice").await, session(&here, "alice").await);
    assert!(is_live(&there, &first).await);
    refused_after(&here, &there, &first).await;
    assert!(is_live(&there, &second).await);
    proxy.silence();
    here.revoke(&RevokeTarget::Access(second.session.session.access), RevokedBy::Human, after(3)).await.unwrap();
    let began = Instant::now();
    while there.find_session(&second.session.session.access).await.is_ok_and(|found| found.is_some()) {
        assert!(began.elapsed() < Duration::from_secs(50), "before the staleness of a minute");
        sleep(Duration::from_millis(20)).await;
    }
}

macro_rules! on_each_server {
    ($($(#[$attribute:meta])* $module:ident: $place:ty;)*) => {$(
        mod $module {
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn d1_silent_connections_are_left_within_one_deadline() {
                super::silent_connections_are_left_within_one_deadline::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn d1_silent_connections_are_left_by_impatient_callers() {
                super::silent_connections_are_left_by_impatient_callers::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn d1_a_silent_listener_listens_again() {
                super::a_silent_listener_listens_again::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn d5_a_read_on_a_closed_connection_is_tried_once_more() {
                super::a_read_on_a_closed_connection_is_tried_once_more::<$place>().await;
            }
        }
    )*};
}

on_each_server! {
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    through_a_proxy_to_postgres: crate::places::Schema;
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    through_a_proxy_to_redis: crate::places::Prefix;
}

macro_rules! on_each_place {
    ($($(#[$attribute:meta])* $module:ident: $place:ty;)*) => {$(
        mod $module {
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r100_a_store_that_is_opened_again_holds_everything() {
                super::a_store_that_is_opened_again_holds_everything::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r99_many_may_start_at_once() {
                super::many_may_start_at_once::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r45_one_winner_among_two_nodes() {
                super::one_winner_among_two_nodes::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r97_what_one_node_revokes_the_other_refuses_on_the_next_call() {
                super::what_one_node_revokes_the_other_refuses_on_the_next_call::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r92_hundreds_of_calls_at_once_are_all_answered() {
                super::hundreds_of_calls_at_once_are_all_answered::<$place>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r94_aborted_tasks_leave_whole_changes_and_a_store_that_works() {
                super::aborted_tasks_leave_whole_changes_and_a_store_that_works::<$place>().await;
            }
        }
    )*};
}

on_each_place! {
    sqlite_file: crate::places::TempFile;
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    postgres_server: crate::places::Schema;
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    redis_server: crate::places::Prefix;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r97_postgres_pushes_what_is_revoked_and_a_lost_push_is_noticed() {
    what_one_node_revokes_is_pushed_to_the_other(async |schema: &Schema| {
        // Only the connections that this test's nodes have: those that listen to the schema's channel, and those idle.
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND (query LIKE '%{0}_ended%' OR query LIKE '%\"{0}\".%')",
            schema.0
        );
        schema.execute(&cut).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r97_redis_pushes_what_is_revoked_and_a_lost_push_is_noticed() {
    what_one_node_revokes_is_pushed_to_the_other(async |prefix: &Prefix| prefix.cut_listeners().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r97_without_a_push_the_staleness_is_the_bound() {
    let place = TempFile::new();
    let bound = Duration::from_millis(300);
    let (here, there) = (place.open().await, CacheOptions::new().staleness(bound).over(place.open().await));
    for _ in 0..5 {
        let new = session(&here, "alice").await;
        assert!(is_live(&there, &new).await);
        let asked = Instant::now();
        here.revoke(&RevokeTarget::Access(new.session.session.access), RevokedBy::Human, after(3)).await.unwrap();
        sleep(bound.saturating_sub(asked.elapsed())).await;
        assert!(!is_live(&there, &new).await);
    }
}
