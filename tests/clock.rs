//! What leaps of the wall clock, and nodes whose clocks differ, do to a service.
#![cfg(feature = "full")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tower_agent_auth::{
    AgentAuth, ConfigBuilder,
    accounts::SignedIn,
    ceremony::{Ceremony, CeremonyError, Decision, Issued, Refreshing, Request},
    store::{AuthorizationStore, CeremonyStore, MemoryStore, SessionRecordStore},
    types::{
        clock::{Clock, ManualClock, SystemClock, TimeSource, Timestamp},
        scope::ScopeSet,
        session::Redeemer,
        text::HumanText,
    },
};

mod common;
#[path = "common/places.rs"]
mod places;
use common::{SECOND, START, Service, TestAccounts, TestStore, account, browse, config, from_address, json_request};
use places::{Prefix, Schema, TempFile};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The largest difference between nodes with which the promises hold.
const APART: Duration = Duration::from_secs(300);

/// A machine whose wall clock is off by some milliseconds.
#[derive(Clone)]
struct Machine(Arc<Hands>);

struct Hands {
    start: Timestamp,
    elapsed: AtomicI64,
    error: AtomicI64,
}

impl Machine {
    fn at(start: Timestamp) -> Self {
        Self(Arc::new(Hands { start, elapsed: AtomicI64::new(0), error: AtomicI64::new(0) }))
    }

    fn leap(&self, millis: i64) {
        self.0.error.store(millis, Ordering::SeqCst);
    }

    fn truth(&self) -> Timestamp {
        self.0.start.after(self.elapsed())
    }

    /// Lets time pass. The service looks at its clock once a second, as any request makes it do.
    fn pass(&self, span: Duration, service: &Service) {
        for _ in 0..span.as_secs() {
            self.0.elapsed.fetch_add(1_000, Ordering::SeqCst);
            let _ = service.auth.ceremony().unwrap().now();
        }
    }
}

impl TimeSource for Machine {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.truth().as_millis() + self.0.error.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.elapsed.load(Ordering::SeqCst).unsigned_abs())
    }
}

fn leaping(config: ConfigBuilder) -> (Service, Machine) {
    let machine = Machine::at(START);
    (Service::by(config, TestStore::default(), SystemClock::over(machine.clone())), machine)
}

const LEAPS: [i64; 6] = [600_000, -600_000, 86_400_000, 400 * 86_400_000, -400 * 86_400_000, 20 * 365 * 86_400_000];

async fn status(service: &Service, token: &str) -> StatusCode {
    service.get_as("/projects", token).await.status
}

/// Repeated leaps, each for some requests and shorter than the bound: nothing valid is refused, and what has expired
/// stays expired.
#[tokio::test]
async fn c1_tokens_are_valid_and_expire_through_leaps() {
    for leap in LEAPS {
        let (service, machine) = leaping(config().no_limits());
        let token = service.token(&["projects:read"]).await;
        for round in 0..12 {
            machine.leap(leap);
            assert_eq!(status(&service, &token).await, StatusCode::OK, "{leap} {round}");
            machine.pass(280 * SECOND, &service);
            assert_eq!(status(&service, &token).await, StatusCode::OK, "{leap} {round}");
            let pending = service.register(&["projects:read"]).await;
            service.approve("ada", &pending, &["projects:read"]).await;
            machine.leap(0);
            machine.pass(SECOND, &service);
            assert_eq!(service.complete(&pending).await.status, StatusCode::OK, "{leap} {round}");
        }
        machine.pass(MINUTE * 60, &service);
        for now in [leap, 0, leap, 0] {
            machine.leap(now);
            machine.pass(SECOND, &service);
            assert_eq!(status(&service, &token).await, StatusCode::UNAUTHORIZED, "{leap}");
        }
    }
}

/// A wall clock that stays wrong is believed in the end. Five minutes after it was mended, the truth holds again.
#[tokio::test]
async fn c1_a_wrong_wall_clock_that_lasted_does_harm_for_five_minutes_after_it() {
    for leap in LEAPS {
        let (service, machine) = leaping(config().no_limits());
        let token = service.token(&["projects:read"]).await;
        machine.leap(leap);
        machine.pass(10 * MINUTE, &service);
        machine.leap(0);
        machine.pass(APART + 2 * SECOND, &service);
        assert_eq!(status(&service, &token).await, StatusCode::OK, "{leap}");
        machine.pass(50 * MINUTE, &service);
        assert_eq!(status(&service, &token).await, StatusCode::UNAUTHORIZED, "{leap}: an hour is over");
        let again = service.token(&["projects:read"]).await;
        assert_eq!(status(&service, &again).await, StatusCode::OK, "{leap}");
    }
}

/// The wall clock is years behind when the service starts, as without a battery, and is then set.
#[tokio::test]
async fn c1_a_service_that_started_with_a_wrong_wall_clock_works_once_it_is_mended() {
    for error in [-6, 6].map(|years| years * 365 * 86_400_000) {
        let machine = Machine::at(START);
        machine.leap(error);
        let service = Service::by(config().no_limits(), TestStore::default(), SystemClock::over(machine.clone()));
        let early = service.token(&["projects:read"]).await;
        machine.pass(MINUTE, &service);
        machine.leap(0);
        machine.pass(APART + 2 * SECOND, &service);
        let token = service.token(&["projects:read"]).await;
        assert_eq!(status(&service, &token).await, StatusCode::OK);
        // Dated by a clock that was behind, it has ended; by one that was ahead, it has not.
        let expected = if error < 0 { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(status(&service, &early).await, expected);
        machine.pass(60 * MINUTE, &service);
        assert_eq!(status(&service, &token).await, StatusCode::UNAUTHORIZED);
    }
}

/// Used-up limits refill by the time that passed, and by nothing else, whatever the wall clock did: also where the date
/// followed it there and back.
#[tokio::test]
async fn c1_limits_refill_after_leaps() {
    for leap in LEAPS {
        for lasts in [SECOND, 20 * MINUTE] {
            let (service, machine) = leaping(config());
            let register = async || {
                let body = json!({ "type": "user_claimed", "client_name": "Example Agent" }).to_string();
                service.send(from_address(json_request("/agent/auth", &body), "192.0.2.7")).await.status
            };
            let use_up = async || {
                let mut done = 0;
                while register().await == StatusCode::CREATED {
                    done += 1;
                }
                assert_eq!(register().await, StatusCode::TOO_MANY_REQUESTS);
                done
            };
            assert_eq!(use_up().await, 10, "{leap}");
            machine.leap(leap);
            assert_eq!(use_up().await, 0, "{leap}: a leap refills nothing");
            machine.pass(lasts, &service);
            let refilled = use_up().await;
            assert_eq!(refilled, (lasts.as_secs() / 6).min(10), "{leap} for {lasts:?}");
            machine.leap(0);
            assert_eq!(use_up().await, 0, "{leap}: neither does the way back");
            machine.pass(20 * MINUTE, &service);
            assert_eq!(use_up().await, 10, "{leap} for {lasts:?}");
        }
    }
}

/// The interval of polls is elapsed time.
#[tokio::test]
async fn c1_polls_keep_their_interval_through_leaps() {
    for leap in LEAPS {
        let service = Service::with(config());
        let right = service.clock.now();
        let wrong = Timestamp::from_millis(right.as_millis() + leap);
        let pending = service.register(&[]).await;
        let poll = async || {
            let answer = service.post("/agent/auth/claim", &json!({ "claim_token": pending.claim_token })).await;
            (answer.status, answer.error().to_owned())
        };
        // The request may have expired by the leap. The interval is asked for at the right date only.
        assert_eq!(poll().await.0, StatusCode::OK);
        service.clock.set(wrong);
        service.clock.set(right);
        assert_eq!(poll().await.1, "slow_down", "{leap}: no time has passed");
        service.clock.advance(10 * SECOND);
        service.clock.set(right);
        assert_eq!(poll().await.0, StatusCode::OK, "{leap}: 10 seconds have, whatever the date");
    }
}

/// A sign-in looks neither too old because of a leap nor fresh for ever.
#[tokio::test]
async fn c1_sign_ins_do_not_look_too_old_after_a_leap() {
    for leap in LEAPS {
        let (service, machine) = leaping(config().no_limits());
        *service.accounts.since.lock().unwrap() = Some(machine.truth());
        machine.leap(leap);
        service.get("/auth.md").await;
        let pending = service.register(&[]).await;
        service.approve("ada", &pending, &["projects:read"]).await;
        machine.pass(4 * MINUTE, &service);
        let pending = service.register(&[]).await;
        service.approve("ada", &pending, &["projects:read"]).await;
        machine.leap(0);
        machine.pass(12 * MINUTE, &service);
        let pending = service.register(&[]).await;
        let page = service.send(browse("ada", &pending.path())).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{leap}: 16 minutes are too old: {}", page.text);
    }
}

/// The host dated a sign-in by a clock that was ahead. Within the difference that nodes may have, it counts; beyond, it
/// says nothing about the age.
#[tokio::test]
async fn c1_a_sign_in_from_the_future_is_not_fresh() {
    for (ahead, fresh) in [(SECOND, true), (APART, true), (APART + SECOND, false), (400 * DAY, false)] {
        let service = Service::new();
        *service.accounts.since.lock().unwrap() = Some(START.after(ahead));
        let pending = service.register(&[]).await;
        let page = service.send(browse("ada", &pending.path())).await;
        assert_eq!(page.status == StatusCode::OK, fresh, "{ahead:?}: {}", page.status);
    }
}

/// Lets housekeeping run for some seconds of Tokio's paused time.
async fn keep_house(auth: &AgentAuth, seconds: u64) {
    auth.housekeeping(sleep(Duration::from_secs(seconds))).await;
}

#[tokio::test(start_paused = true)]
async fn c1_housekeeping_deletes_nothing_because_of_a_leap() {
    for leap in LEAPS.into_iter().filter(|leap| *leap > 0) {
        let (service, machine) = leaping(config().no_limits().lifetimes(|lifetimes| lifetimes.history = SECOND));
        for _ in 0..10 {
            service.token(&["projects:read"]).await;
        }
        let kept = async || service.store.memory.list_sessions(&account("ada").id, None, 99).await.unwrap().len();
        keep_house(&service.auth, 61).await;
        assert_eq!(kept().await, 10);
        // The clock is trusted.
        machine.pass(61 * MINUTE, &service);
        machine.leap(leap);
        for _ in 0..64 {
            // The date is followed after five minutes, and is not trusted before an hour.
            keep_house(&service.auth, 61).await;
            machine.pass(MINUTE, &service);
            service.register(&[]).await;
            assert_eq!(kept().await, 10, "{leap}");
        }
        machine.leap(0);
        machine.pass(APART + 2 * SECOND, &service);
        keep_house(&service.auth, 61).await;
        assert_eq!(kept().await, 10, "{leap}");
        // In the end housekeeping deletes again.
        for _ in 0..32 {
            machine.0.elapsed.fetch_add(86_400_000, Ordering::SeqCst);
            let _ = service.auth.ceremony().unwrap().now();
        }
        keep_house(&service.auth, 61).await;
        assert_eq!(kept().await, 0, "{leap}");
    }
}

/// Lets the tasks of the service run to their end. Each waits for the store a few times at most.
async fn tasks_end() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Without housekeeping, creating requests deletes those that expired an hour ago, and no earlier.
#[tokio::test]
async fn c1_expired_requests_are_deleted_an_hour_later_by_a_trusted_clock() {
    let (service, machine) = leaping(config().no_limits());
    let there = async |pending: &common::Pending| {
        let id = tower_agent_auth::types::id::AuthorizationRequestId::parse(&pending.id).unwrap();
        let key = tower_agent_auth::store::AuthorizationKey::Id(id);
        service.store.memory.find_authorization(&key).await.unwrap().is_some()
    };
    let mut old = Vec::new();
    for _ in 0..501 {
        old.push(service.register(&[]).await);
    }
    let left = async || {
        tasks_end().await;
        let mut left = 0;
        for pending in &old {
            left += usize::from(there(pending).await);
        }
        left
    };
    machine.pass(10 * MINUTE + 3_599 * SECOND, &service);
    service.register(&[]).await;
    assert_eq!(left().await, 501, "not before an hour is over");
    machine.pass(MINUTE, &service);
    service.register(&[]).await;
    assert_eq!(left().await, 1, "then at most 500 at once");
    service.register(&[]).await;
    assert_eq!(left().await, 0, "and the rest at once, because more were left");
    // A leap, and nothing is deleted.
    let recent = service.register(&[]).await;
    machine.leap(400 * 86_400_000);
    for _ in 0..20 {
        machine.pass(MINUTE, &service);
        service.register(&[]).await;
        tasks_end().await;
        assert!(there(&recent).await);
    }
}

/// A store that fails to delete does not fail the request.
#[tokio::test]
async fn c1_a_request_is_created_though_deleting_old_ones_fails() {
    for healthy in [0, 1] {
        let service = Service::with(config().no_limits());
        service.clock.advance(2 * MINUTE);
        // One call creates the request. The next ones ask for the server's time, and delete.
        service.store.break_after(1 + healthy, common::Fault::Unavailable);
        let pending = service.register(&[]).await;
        tasks_end().await;
        assert_eq!(service.audit.names(), ["requested", "unavailable"]);
        service.store.mend();
        service.approve("ada", &pending, &["projects:read"]).await;
    }
}

/// The server's clock is the second one by which data must have ended.
#[tokio::test(start_paused = true)]
async fn c1_housekeeping_needs_both_clocks() {
    let ended = 30 * DAY + 30 * DAY;
    for (node, server, deletes) in [
        (400 * DAY, Some(Duration::ZERO), false),
        (Duration::ZERO, Some(400 * DAY), false),
        (400 * DAY, Some(ended - SECOND), false),
        (400 * DAY, Some(ended), true),
        (ended, Some(400 * DAY), true),
        (ended - SECOND, Some(400 * DAY), false),
        (400 * DAY, None, true),
    ] {
        let service = Service::with(config().no_limits());
        service.token(&["projects:read"]).await;
        service.clock.set(START.after(node));
        *service.store.server.lock().unwrap() = server.map(|time| START.after(time));
        keep_house(&service.auth, 1).await;
        let left = service.store.memory.list_sessions(&account("ada").id, None, 9).await.unwrap().len();
        assert_eq!(left == 0, deletes, "{node:?} {server:?}");
    }
}

/// One node of a service, with a clock of its own.
struct Node {
    auth: AgentAuth,
    clock: ManualClock,
}

impl Node {
    fn over(store: impl CeremonyStore, at: Timestamp) -> Self {
        let clock = ManualClock::at(at);
        let config = config().no_limits().lifetimes(|lifetimes| lifetimes.history = SECOND).build().unwrap();
        let auth = AgentAuth::builder(config)
            .sessions(store)
            .accounts(TestAccounts::default())
            .clock(clock.clone())
            .build()
            .unwrap();
        Self { auth, clock }
    }

    fn ceremony(&self) -> &Ceremony {
        self.auth.ceremony().unwrap()
    }

    async fn is_live(&self, issued: &Issued) -> bool {
        self.ceremony().session(issued.access_token.expose().as_bytes()).await.unwrap().is_some()
    }

    /// Runs housekeeping until a session is deleted that must be: then it has deleted all that it deletes.
    async fn keep_house(&self, gone: &Issued) {
        let authorization = gone.record.authorization.clone();
        let forgotten = async {
            let begun = Instant::now();
            while !self.ceremony().sessions_of(&authorization).await.unwrap().is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(60), "it is deleted");
                sleep(Duration::from_millis(5)).await;
            }
            // The batch that deleted it is followed by one more, at most.
            sleep(Duration::from_millis(200)).await;
        };
        self.auth.housekeeping(forgotten).await;
    }
}

fn name() -> HumanText {
    HumanText::new("Example Agent").unwrap()
}

/// A session that is requested at one node, approved at the next and redeemed at the third.
async fn session(by: [&Node; 3]) -> Issued {
    let requested = by[0].ceremony().request(Request::by(name())).await.unwrap();
    let human = SignedIn::new(account("ada"), "the browser").since(by[1].clock.now());
    let id = requested.authorization.id.clone();
    by[1].ceremony().view(&id, &human).await.unwrap();
    let scopes = ScopeSet::parse("projects:read").unwrap();
    by[1].ceremony().decide(&id, &human, Decision::Approve(scopes.into())).await.unwrap();
    let token = requested.claim_token.expose();
    by[2].ceremony().redeem(token, &Redeemer::default()).await.unwrap()
}

/// Two nodes over one store, their clocks five minutes apart.
async fn five_minutes_apart(store: impl CeremonyStore + Clone) {
    let start = Timestamp::from(SystemTime::now());
    let (behind, ahead) = (Node::over(store.clone(), start), Node::over(store.clone(), start.after(APART)));
    let nodes = [&behind, &ahead];
    let advance = |span: Duration| nodes.iter().for_each(|node| node.clock.advance(span));

    // A session that ended long ago by both clocks, for housekeeping to delete.
    let past = Node::over(store.clone(), start.before(100 * DAY));
    let gone = session([&past; 3]).await;

    // The ceremony works, whichever node a step comes to, and the session is valid at both.
    let mut sessions = Vec::new();
    for first in nodes {
        for second in nodes {
            for third in nodes {
                let issued = session([first, second, third]).await;
                assert!(behind.is_live(&issued).await && ahead.is_live(&issued).await);
                sessions.push((issued, third.clock.now()));
            }
        }
    }

    // Neither deletes what is live, nor what ended less than an hour ago.
    ahead.keep_house(&gone).await;
    for (issued, _) in &sessions {
        assert!(behind.is_live(issued).await && ahead.is_live(issued).await);
    }

    // Each node of the pair refreshes. A retry at the same node gets the same answer.
    for (by, node) in nodes.into_iter().enumerate() {
        let (issued, _) = &sessions[by];
        let refreshing = Refreshing::new(issued.refresh_token.expose());
        let first = node.ceremony().refresh(&refreshing).await.unwrap();
        let again = node.ceremony().refresh(&refreshing).await.unwrap();
        assert_eq!(first.access_token.expose(), again.access_token.expose());
        assert!(behind.is_live(&first).await && ahead.is_live(&first).await);
        assert!(!behind.is_live(issued).await && !ahead.is_live(issued).await);
    }

    // A revocation is no matter of time.
    for (by, node) in nodes.into_iter().enumerate() {
        let (issued, _) = &sessions[2 + by];
        node.ceremony().revoke_all(&issued.record.session.account.id).await.unwrap();
        let (more, _) = (session([&ahead, &behind, &ahead]).await, ());
        assert!(!behind.is_live(issued).await && !ahead.is_live(issued).await);
        assert!(behind.is_live(&more).await && ahead.is_live(&more).await);
    }

    // An access token ends at each node by its own clock: five minutes earlier or later, and no more.
    let (by_behind, by_ahead) = (session([&behind; 3]).await, session([&ahead; 3]).await);
    let hour = 60 * MINUTE;
    advance(hour - APART - Duration::from_millis(1));
    assert!(ahead.is_live(&by_behind).await && behind.is_live(&by_behind).await);
    advance(Duration::from_millis(1));
    assert!(!ahead.is_live(&by_behind).await, "five minutes early");
    assert!(behind.is_live(&by_behind).await && ahead.is_live(&by_ahead).await);
    advance(APART);
    assert!(!behind.is_live(&by_behind).await && !ahead.is_live(&by_ahead).await);
    assert!(behind.is_live(&by_ahead).await, "five minutes late");
    advance(APART);
    assert!(!behind.is_live(&by_ahead).await);
}

/// What is not promised with clocks so far apart, as docs/stores.md says.
async fn what_five_minutes_apart_break(store: impl CeremonyStore + Clone) {
    let (behind, ahead) = (Node::over(store.clone(), START), Node::over(store.clone(), START.after(APART)));
    // The grace of a refresh is shorter at the node that is ahead, and longer at the one that is behind.
    let issued = session([&behind; 3]).await;
    let refreshing = Refreshing::new(issued.refresh_token.expose());
    let first = behind.ceremony().refresh(&refreshing).await.unwrap();
    assert!(matches!(ahead.ceremony().refresh(&refreshing).await, Err(CeremonyError::InvalidRefresh)));
    assert!(!behind.is_live(&first).await);
    let issued = session([&ahead; 3]).await;
    let refreshing = Refreshing::new(issued.refresh_token.expose());
    ahead.ceremony().refresh(&refreshing).await.unwrap();
    behind.clock.advance(APART);
    assert!(behind.ceremony().refresh(&refreshing).await.is_ok());
    // So with clocks closer than the grace, a retry at another node gets its answer.
    let close = Node::over(store.clone(), START.after(30 * SECOND));
    let exact = Node::over(store, START);
    let issued = session([&exact; 3]).await;
    let refreshing = Refreshing::new(issued.refresh_token.expose());
    let first = exact.ceremony().refresh(&refreshing).await.unwrap();
    close.clock.advance(29 * SECOND);
    let again = close.ceremony().refresh(&refreshing).await.unwrap();
    assert_eq!(first.access_token.expose(), again.access_token.expose());
}

/// One node of a service has a clock that is years ahead, and believes it. `server` says whether the store has a server
/// with a clock of its own, which is right.
async fn one_node_years_ahead(store: impl CeremonyStore + Clone, server: bool) {
    let start = Timestamp::from(SystemTime::now());
    let right = Node::over(store.clone(), start);
    let past = Node::over(store.clone(), start.before(100 * DAY));
    let gone = session([&past; 3]).await;
    let live = session([&right; 3]).await;
    let pending = right.ceremony().request(Request::by(name())).await.unwrap();
    let is_pending = async || right.ceremony().status(pending.claim_token.expose()).await.is_ok();

    let wrong = Node::over(store.clone(), start.after(400 * DAY));
    // What it creates deletes nothing, also when it is time to delete.
    wrong.ceremony().request(Request::by(name())).await.unwrap();
    assert!(right.is_live(&live).await && is_pending().await);
    if server {
        wrong.clock.advance(2 * MINUTE);
        wrong.ceremony().request(Request::by(name())).await.unwrap();
        wrong.keep_house(&gone).await;
        assert!(right.is_live(&live).await && is_pending().await);
        return;
    }
    // Without a server's clock, a clock that started wrong deletes nothing within the hour that it is not trusted.
    let machine = Machine::at(start.after(400 * DAY));
    let config = config().no_limits().lifetimes(|lifetimes| lifetimes.history = SECOND).build().unwrap();
    let started_wrong = AgentAuth::builder(config)
        .sessions(store)
        .accounts(TestAccounts::default())
        .clock(SystemClock::over(machine.clone()))
        .build()
        .unwrap();
    for minutes in [0, 30, 29] {
        machine.0.elapsed.fetch_add(minutes * 60_000, Ordering::SeqCst);
        started_wrong.ceremony().unwrap().request(Request::by(name())).await.unwrap();
        started_wrong.housekeeping(sleep(Duration::from_millis(300))).await;
        assert!(right.is_live(&live).await && is_pending().await);
    }
    assert!(!right.ceremony().sessions_of(&gone.record.authorization).await.unwrap().is_empty());
    right.keep_house(&gone).await;
    assert!(right.is_live(&live).await && is_pending().await);
}

macro_rules! on_each_store {
    ($($(#[$attribute:meta])* $store:ident: $fresh:expr, $server:expr;)*) => {$(
        mod $store {
            use super::*;

            #[tokio::test]
            $(#[$attribute])*
            async fn c1_five_minutes_apart() {
                let (store, _place) = $fresh.await;
                five_minutes_apart(store).await;
            }

            #[tokio::test]
            $(#[$attribute])*
            async fn c1_what_five_minutes_apart_break() {
                let (store, _place) = $fresh.await;
                what_five_minutes_apart_break(store).await;
            }

            #[tokio::test]
            $(#[$attribute])*
            async fn c1_one_node_years_ahead() {
                let (store, _place) = $fresh.await;
                one_node_years_ahead(store, $server).await;
            }
        }
    )*};
}

on_each_store! {
    memory: async { (MemoryStore::new(), ()) }, false;
    sqlite_file: TempFile::fresh(), false;
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    postgres_server: Schema::fresh(), true;
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    redis_server: Prefix::fresh(), true;
}
