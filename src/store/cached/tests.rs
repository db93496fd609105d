//! The cache over a store that can wait, count, fail and send notices.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::{sync::Semaphore, task::JoinSet, time::advance};

use super::*;
use crate::store::{
    MemoryStore, Notices, RefreshTokenStore, RevokeTarget, SessionRecordStore, StoreErrorKind,
    conformance::fixtures::{after, digest, rotation, session},
};
use crate::types::session::{NewSession, RevokedBy, Rotation};

/// A remote store. It returns token checks only when permitted. Changes through it are those of this process; changes
/// of its `memory` are those of another.
#[derive(Clone)]
struct Remote {
    memory: MemoryStore,
    asked: Arc<AtomicUsize>,
    /// One permit for each response.
    permits: Arc<Semaphore>,
    fails: Arc<AtomicBool>,
    notices: Arc<Notices>,
}

const PLENTY: usize = 1_000_000;

impl Remote {
    fn new() -> Self {
        Self {
            memory: MemoryStore::new(),
            asked: Arc::default(),
            permits: Arc::new(Semaphore::new(PLENTY)),
            fails: Arc::default(),
            notices: Arc::default(),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    /// Blocks all responses until permits are added.
    fn hold(&self) {
        self.permits.forget_permits(PLENTY);
    }

    fn let_go(&self, answers: usize) {
        self.permits.add_permits(answers);
    }

    fn check(&self) -> Result<(), StoreError> {
        let down = self.fails.load(SeqCst);
        if down { Err(StoreError::new(StoreErrorKind::Unavailable)) } else { Ok(()) }
    }
}

impl SessionStore for Remote {
    /// Reads first and returns later, as a store across a network does.
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.asked.fetch_add(1, SeqCst);
        self.check()?;
        let found = self.memory.find_session(access).await;
        self.permits.acquire().await.unwrap().forget();
        found
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.notices.subscribe(subscriber);
        true
    }
}

impl Remote {
    async fn revoke(&self, target: &RevokeTarget) -> Result<Vec<SessionId>, StoreError> {
        let revoking = async {
            // The change is done, though the response may be lost.
            let ended = self.memory.revoke(target, RevokedBy::Human, after(5)).await;
            self.check()?;
            tokio::task::yield_now().await;
            ended
        };
        self.notices.announce_revocation(target, revoking).await
    }

    async fn rotate(&self, rotation: &Rotation) -> Option<SessionId> {
        let rotating = self.memory.rotate(rotation, after(3));
        self.notices.announce(rotating, |session| session.iter().cloned().collect()).await.unwrap()
    }
}

async fn cached() -> (Remote, CachedStore<Remote>, NewSession) {
    let remote = Remote::new();
    let store = CachedStore::over(remote.clone());
    let new = session(&remote.memory, "alice").await;
    (remote, store, new)
}

async fn is_live(store: &CachedStore<Remote>, new: &NewSession) -> bool {
    store.find_session(&new.session.session.access).await.unwrap().is_some()
}

async fn revoke(remote: &Remote, new: &NewSession) -> Result<Vec<SessionId>, StoreError> {
    remote.revoke(&RevokeTarget::Access(new.session.session.access)).await
}

fn is_empty(store: &CachedStore<Remote>) -> bool {
    let state = store.cache.state();
    store.cache.entries.is_empty() && state.flights.is_empty() && state.tokens.is_empty()
}

async fn begin_and_drop<T>(future: impl Future<Output = T>) {
    let mut future = Box::pin(future);
    let begun = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await;
    assert!(begun, "it waits");
}

#[tokio::test(start_paused = true)]
async fn r97_an_answer_is_given_again_until_it_is_too_old() {
    let (remote, store, new) = cached().await;
    assert!(is_live(&store, &new).await && is_live(&store, &new).await);
    assert!(matches!(store.try_find_session(&new.session.session.access), Poll::Ready(Some(_))));
    assert_eq!(remote.asked(), 1);
    advance(Duration::from_millis(4_999)).await;
    assert!(is_live(&store, &new).await);
    assert_eq!(remote.asked(), 1);
    advance(Duration::from_millis(1)).await;
    assert!(store.try_find_session(&new.session.session.access).is_pending());
    assert!(is_live(&store, &new).await);
    assert_eq!(remote.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn r97_what_another_process_revokes_without_telling_is_refused_within_the_bound() {
    let (remote, store, new) = cached().await;
    remote.hold();
    let asking = tokio::spawn({
        let (store, new) = (store.clone(), new.clone());
        async move { is_live(&store, &new).await }
    });
    while remote.asked() == 0 {
        tokio::task::yield_now().await;
    }
    remote.memory.revoke(&RevokeTarget::Access(new.session.session.access), RevokedBy::Human, after(5)).await.unwrap();
    // The response time of the store counts towards the staleness.
    advance(Duration::from_secs(3)).await;
    remote.let_go(PLENTY);
    assert!(asking.await.unwrap());
    advance(Duration::from_millis(1_999)).await;
    assert!(is_live(&store, &new).await);
    advance(Duration::from_millis(1)).await;
    assert!(!is_live(&store, &new).await);
}

#[tokio::test]
async fn r97_what_is_not_there_is_never_remembered() {
    let (remote, store, _) = cached().await;
    for unknown in 0..1_000 {
        assert!(store.find_session(&digest()).await.unwrap().is_none());
        assert_eq!(remote.asked(), unknown + 1);
    }
    assert!(is_empty(&store));
}

#[tokio::test(start_paused = true)]
async fn r97_that_a_token_is_unknown_is_remembered_for_a_time_of_its_own_and_costs_no_session_its_place() {
    let remote = Remote::new();
    let store = CacheOptions::new().capacity(100).unknown(Duration::from_secs(2)).over(remote.clone());
    let new = session(&remote.memory, "alice").await;
    let unknown = digest();
    assert!(is_live(&store, &new).await);
    assert!(store.find_session(&unknown).await.unwrap().is_none());
    advance(Duration::from_millis(1_999)).await;
    assert_eq!(store.try_find_session(&unknown), Poll::Ready(None));
    assert_eq!(remote.asked(), 2);
    advance(Duration::from_millis(1)).await;
    assert!(store.find_session(&unknown).await.unwrap().is_none());
    assert_eq!(remote.asked(), 3);

    for _ in 0..10_000 {
        assert!(store.find_session(&digest()).await.unwrap().is_none());
        assert!(store.cache.unknown.as_ref().unwrap().tokens.len() <= 100);
    }
    assert!(store.cache.state().flights.is_empty());
    let asked = remote.asked();
    assert!(is_live(&store, &new).await);
    assert_eq!(remote.asked(), asked, "it is still cached");

    // No error is taken for an unknown token, and a gap ends what was cached.
    remote.fails.store(true, SeqCst);
    assert!(store.find_session(&digest()).await.is_err());
    remote.fails.store(false, SeqCst);
    assert!(store.find_session(&unknown).await.unwrap().is_none());
    assert!(store.try_find_session(&unknown).is_ready());
    remote.notices.send(&Notice::Gap);
    assert!(store.try_find_session(&unknown).is_pending());
}

#[tokio::test(start_paused = true)]
async fn r91_an_error_is_never_remembered_and_an_outage_is_bridged_for_as_long_as_the_bound() {
    let (remote, store, new) = cached().await;
    let other = session(&remote.memory, "bob").await;
    assert!(is_live(&store, &new).await);
    remote.fails.store(true, SeqCst);
    assert!(store.find_session(&other.session.session.access).await.is_err());
    assert!(is_live(&store, &new).await);
    advance(Duration::from_secs(5)).await;
    assert!(store.find_session(&new.session.session.access).await.is_err());
    remote.fails.store(false, SeqCst);
    assert!(is_live(&store, &new).await && is_live(&store, &other).await);
}

#[tokio::test]
async fn r97_many_callers_of_one_token_ask_once_and_the_first_may_leave() {
    let (remote, store, new) = cached().await;
    remote.hold();
    let mut callers = JoinSet::new();
    let mut first = None;
    for _ in 0..100 {
        let (store, new) = (store.clone(), new.clone());
        let caller = callers.spawn(async move { is_live(&store, &new).await });
        first.get_or_insert(caller);
        tokio::task::yield_now().await;
    }
    assert_eq!(remote.asked(), 1);
    first.unwrap().abort();
    remote.let_go(PLENTY);
    let answers: Vec<bool> = callers.join_all_but_the_aborted().await;
    assert_eq!(answers, [true; 99]);
    assert_eq!(remote.asked(), 2, "another one took over");
    assert!(store.cache.state().flights.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r97_of_many_callers_at_once_one_asks_even_if_others_come_just_after_the_answer() {
    let (remote, store, _) = cached().await;
    for round in 1..=1_000 {
        let new = session(&remote.memory, "alice").await;
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let (store, new) = (store.clone(), new.clone());
            callers.spawn(async move { is_live(&store, &new).await });
        }
        assert_eq!(callers.join_all().await, [true; 8]);
        assert_eq!(remote.asked(), round);
    }
}

trait JoinAllButTheAborted<T> {
    async fn join_all_but_the_aborted(self) -> Vec<T>;
}

impl<T: 'static> JoinAllButTheAborted<T> for JoinSet<T> {
    async fn join_all_but_the_aborted(mut self) -> Vec<T> {
        let mut answers = Vec::new();
        while let Some(answer) = self.join_next().await {
            answers.extend(answer.ok());
        }
        answers
    }
}

#[tokio::test]
async fn r97_callers_that_leave_leave_nothing_behind() {
    let (remote, store, new) = cached().await;
    remote.hold();
    for _ in 0..100 {
        begin_and_drop(store.find_session(&new.session.session.access)).await;
    }
    assert!(is_empty(&store));
}

#[tokio::test]
async fn r97_what_was_looked_up_while_its_session_was_revoked_is_not_remembered() {
    let (remote, store, new) = cached().await;
    remote.hold();
    let asking = tokio::spawn({
        let (store, new) = (store.clone(), new.clone());
        async move { is_live(&store, &new).await }
    });
    while remote.asked() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(revoke(&remote, &new).await.unwrap(), std::slice::from_ref(&new.session.session.id));
    let after_the_revocation = tokio::spawn({
        let (store, new) = (store.clone(), new.clone());
        async move { is_live(&store, &new).await }
    });
    while remote.asked() == 1 {
        tokio::task::yield_now().await;
    }
    remote.let_go(PLENTY);
    assert!(asking.await.unwrap(), "it was asked before");
    assert!(!after_the_revocation.await.unwrap(), "it did not join what was asked before");
    assert!(!is_live(&store, &new).await);
    assert!(is_empty(&store));
}

#[tokio::test]
async fn r82_a_revocation_that_fails_or_is_dropped_leaves_nothing_remembered() {
    let (remote, store, new) = cached().await;
    assert!(is_live(&store, &new).await);
    remote.fails.store(true, SeqCst);
    assert!(revoke(&remote, &new).await.is_err());
    remote.fails.store(false, SeqCst);
    assert!(!is_live(&store, &new).await, "it was done, though nobody heard");

    let new = session(&remote.memory, "bob").await;
    assert!(is_live(&store, &new).await);
    begin_and_drop(revoke(&remote, &new)).await;
    assert!(!is_live(&store, &new).await);
}

#[tokio::test]
async fn r82_what_ended_elsewhere_unheard_of_is_dropped_by_a_revocation_here() {
    let (remote, store, new) = cached().await;
    let other = session(&remote.memory, "bob").await;
    for ended in [&new, &other] {
        assert!(is_live(&store, ended).await);
        let elsewhere = RevokeTarget::Access(ended.session.session.access);
        remote.memory.revoke(&elsewhere, RevokedBy::Human, after(4)).await.unwrap();
        assert!(is_live(&store, ended).await, "within the bound");
    }
    assert_eq!(revoke(&remote, &new).await.unwrap(), []);
    assert!(!is_live(&store, &new).await);
    let by_id = RevokeTarget::Session(other.session.session.id.clone(), other.session.session.account.id.clone());
    assert_eq!(remote.revoke(&by_id).await.unwrap(), []);
    assert!(!is_live(&store, &other).await);
}

#[tokio::test]
async fn r75_the_access_token_of_before_a_refresh_is_dropped() {
    let (remote, store, first) = cached().await;
    assert!(is_live(&store, &first).await);
    let second = rotation(first.refresh, 3);
    assert_eq!(remote.rotate(&second).await, Some(first.session.session.id.clone()));
    assert!(!is_live(&store, &first).await);
    assert!(store.find_session(&second.access).await.unwrap().is_some());
    // If a refresh elsewhere leaves two tokens of one session, only the later one is cached.
    let third = rotation(second.refresh, 4);
    remote.memory.rotate(&third, after(4)).await.unwrap();
    assert!(store.find_session(&second.access).await.unwrap().is_some(), "within the bound");
    assert!(store.find_session(&third.access).await.unwrap().is_some());
    assert!(store.find_session(&second.access).await.unwrap().is_none());
}

#[tokio::test]
async fn r97_what_another_process_tells_is_dropped() {
    let (remote, store, new) = cached().await;
    let other = session(&remote.memory, "bob").await;
    for notice in [Notice::Ended(vec![new.session.session.id.clone()]), Notice::Gap] {
        assert!(is_live(&store, &new).await && is_live(&store, &other).await);
        let asked = remote.asked();
        remote.notices.send(&notice);
        assert!(store.try_find_session(&new.session.session.access).is_pending());
        assert!(is_live(&store, &new).await && is_live(&store, &other).await);
        assert_eq!(remote.asked() - asked, if notice == Notice::Gap { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_token_that_ended_is_dropped_by_its_digest() {
    let (remote, store, new) = cached().await;
    assert!(is_live(&store, &new).await);
    remote.notices.send(&Notice::EndedToken(digest()));
    assert!(store.try_find_session(&new.session.session.access).is_ready());
    remote.notices.send(&Notice::EndedToken(new.session.session.access));
    assert!(is_empty(&store));
}

#[tokio::test]
async fn a_cache_that_is_dropped_is_told_no_more() {
    let (remote, store, _) = cached().await;
    let cache = Arc::downgrade(&store.cache);
    drop(store);
    assert!(cache.upgrade().is_none());
    remote.notices.send(&Notice::Gap);
}

#[tokio::test]
async fn r97_no_more_is_remembered_than_there_is_room_for() {
    let remote = Remote::new();
    let store = CacheOptions::new().capacity(100).over(remote.clone());
    let mut sessions = Vec::new();
    for _ in 0..1_000 {
        sessions.push(session(&remote.memory, "alice").await);
    }
    for new in &sessions {
        assert!(is_live(&store, new).await);
        let remembered = store.cache.entries.len();
        assert!(remembered <= 100, "{remembered}");
        assert_eq!(store.cache.state().tokens.len(), remembered, "no trace is left of what had to leave");
    }
    let everybody = RevokeTarget::Account(sessions[0].session.session.account.id.clone());
    remote.revoke(&everybody).await.unwrap();
    assert!(is_empty(&store));
}
