//! Humans are told of their requests and sessions, and whatever becomes of that changes nothing else.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_agent_auth::{
    ConfigBuilder,
    accounts::SignedIn,
    audit::Event,
    ceremony::{Approve, Attempt, Ceremony, Decision, Login, Request as AccessRequest, Requested},
    notify::{Notification, Notify, NotifyError},
    types::{
        authorization::Account,
        clock::ManualClock,
        id::{AccountId, AuthorizationRequestId},
        session::Redeemer,
        text::HumanText,
    },
};

mod common;
use common::{Fault, ORIGIN, START, Service, TestStore, config};

/// What the host's mailer does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Mood {
    #[default]
    Works,
    Fails,
    Panics,
    Hangs,
}

#[derive(Clone, Debug, Default)]
struct Mailer {
    mood: Arc<Mutex<Mood>>,
    sent: Arc<Mutex<Vec<Notification>>>,
    under_way: Arc<AtomicUsize>,
}

impl Notify for Mailer {
    async fn notify(&self, notification: Notification) -> Result<(), NotifyError> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Works => self.sent.lock().unwrap().push(notification),
            Mood::Fails => return Err(NotifyError::new("the mail server said no")),
            Mood::Panics => panic!("the mailer panics, as it was told"),
            Mood::Hangs => std::future::pending().await,
        }
        Ok(())
    }
}

impl Mailer {
    fn service(&self, config: ConfigBuilder) -> Service {
        let clock = ManualClock::at(START);
        let mailer = Arc::new(self.clone());
        Service::made_of(config, TestStore::default(), clock.clone(), clock, |builder| builder.notify(mailer))
    }

    /// What was sent since the last call.
    async fn sent(&self) -> Vec<Notification> {
        tasks_end().await;
        std::mem::take(&mut *self.sent.lock().unwrap())
    }
}

/// Lets all tasks run that can.
async fn tasks_end() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn text(text: &str) -> HumanText {
    HumanText::new(text).unwrap()
}

fn ada() -> SignedIn {
    SignedIn::new(Account::new(AccountId::new("acct_ada").unwrap(), "ada@example.com"), "a browser")
}

fn ceremony(service: &Service) -> &Ceremony {
    service.auth.ceremony().unwrap()
}

fn by_claude() -> AccessRequest {
    let request = AccessRequest::by(text("Claude Code")).reason(Some(text("Weekly report")));
    request.address(Some("203.0.113.9".parse().unwrap())).scopes(vec!["experiments:write".into()])
}

async fn approve(service: &Service, id: &AuthorizationRequestId) {
    let scopes = ceremony(service).view(id, &ada()).await.unwrap().authorization.requested;
    ceremony(service).decide(id, &ada(), Decision::Approve(Approve::scopes(scopes))).await.unwrap();
}

async fn approved(service: &Service) -> Requested {
    let asked = ceremony(service).request(by_claude()).await.unwrap();
    approve(service, &asked.authorization.id).await;
    asked
}

fn failures(service: &Service) -> Vec<String> {
    let events = service.audit.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::NotificationFailed { error, .. } => Some(error),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_human_is_told_of_what_waits_and_of_what_was_collected() {
    let mailer = Mailer::default();
    let service = mailer.service(config());
    let asked = ceremony(&service).request(by_claude()).await.unwrap();
    let id = &asked.authorization.id;
    assert_eq!(mailer.sent().await, [], "nobody knows yet whose it is");
    ceremony(&service).view(id, &ada()).await.unwrap();
    ceremony(&service).view(id, &ada()).await.unwrap();
    let sent = mailer.sent().await;
    let [Notification::ApprovalPending(pending)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&pending.about.request, pending.about.account.id.as_str()), (id, "acct_ada"));
    assert_eq!((pending.about.at, pending.expires_at), (START, asked.authorization.expires_at));
    assert_eq!(pending.about.approval_url, format!("{ORIGIN}/agent/auth/approve/{id}"));
    assert_eq!(pending.about.sessions_url, format!("{ORIGIN}/sessions"));
    assert_eq!(pending.requested.to_string(), "experiments:write");
    assert_eq!(sent[0].subject(), "Example Analytics: an agent asks for access to your account");
    assert_eq!(
        sent[0].text(),
        format!(
            "An agent that calls itself “Claude Code” asks for access to your Example Analytics account.\n\n\
             Account: ada@example.com\nIts reason, in its own words: “Weekly report”\nIt asked from: 203.0.113.9\n\n\
             It asks to:\n- See your experiments\n- Create and change experiments\n\n\
             Decide until 2026-11-24 01:20 UTC:\n{ORIGIN}/agent/auth/approve/{id}\n\n\
             If you did not tell an agent to ask, deny it there, or do nothing: without your approval it gets no access.\n"
        )
    );

    approve(&service, id).await;
    assert_eq!(mailer.sent().await, [], "the human knows what they did");
    let redeemer = Redeemer::new(Some("198.51.100.4".parse().unwrap()), Some(text("node")));
    let issued = ceremony(&service).redeem(asked.claim_token.expose(), &redeemer).await.unwrap();
    assert!(ceremony(&service).redeem(asked.claim_token.expose(), &redeemer).await.is_err());
    let sent = mailer.sent().await;
    let [Notification::Collected(collected)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&collected.about.request, &collected.session), (id, &issued.record.session.id));
    assert_eq!((collected.address, &collected.program), (redeemer.address, &redeemer.program));
    assert_eq!(collected.ends_at, START.after(Duration::from_secs(90 * 86_400)));
    assert_eq!(
        sent[0].to_string(),
        format!(
            "Example Analytics: an agent now has access to your account\n\n\
             The agent “Claude Code” has collected the access to your Example Analytics account that you approved.\n\n\
             Account: ada@example.com\nWhen: 2026-11-24 01:10 UTC\nFrom: 198.51.100.4\n\
             Program, in its own words: “node”\nThe access ends: 2027-02-22 01:10 UTC at the latest\n\n\
             It may:\n- See your experiments\n- Create and change experiments\n\n\
             If this was not your agent, take the access back now:\n{ORIGIN}/sessions\n\n\
             What you approved:\n{ORIGIN}/agent/auth/approve/{id}\n"
        )
    );
    for secret in [asked.claim_token.expose(), issued.access_token.expose(), issued.refresh_token.expose()] {
        assert!(!format!("{sent:?}").contains(secret));
    }
    assert_eq!(failures(&service), [""; 0]);
}

#[tokio::test]
async fn the_link_is_that_of_the_dialect() {
    let mailer = Mailer::default();
    let service = mailer.service(config());
    let started = ceremony(&service).request_login(by_claude(), Login::Detached).await.unwrap();
    let (id, poll_token) = (&started.authorization.id, started.poll_token.expose());
    approve(&service, id).await;
    let code = ceremony(&service).login_status(id.as_str(), poll_token).await.unwrap().exchange_code.unwrap();
    let mut attempt = Attempt::new(id.as_str(), code.expose());
    attempt.poll_token = Some(poll_token);
    ceremony(&service).redeem_login(&attempt).await.unwrap();
    let sent = mailer.sent().await;
    assert_eq!(sent.len(), 2);
    for notification in &sent {
        assert_eq!(notification.about().approval_url, format!("{ORIGIN}/agent-sessions/authorize/{id}"));
    }
}

#[tokio::test]
async fn nothing_is_told_of_what_did_not_happen() {
    let mailer = Mailer::default();
    let service = mailer.service(config());
    let asked = ceremony(&service).request(by_claude()).await.unwrap();
    service.store.break_after(1, Fault::Unavailable);
    assert!(ceremony(&service).view(&asked.authorization.id, &ada()).await.is_err());
    service.store.mend();
    assert_eq!(mailer.sent().await, []);
    let asked = approved(&service).await;
    assert_eq!(mailer.sent().await.len(), 1);
    service.store.break_after(1, Fault::Unavailable);
    assert!(ceremony(&service).redeem(asked.claim_token.expose(), &Redeemer::default()).await.is_err());
    service.store.mend();
    assert_eq!(mailer.sent().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_mailer_that_fails_panics_or_hangs_is_recorded_and_nothing_else() {
    for (mood, error) in [
        (Mood::Fails, "the notification was not delivered: the mail server said no"),
        (Mood::Panics, "it panicked"),
        (Mood::Hangs, "it took longer than 30 seconds"),
    ] {
        let mailer = Mailer::default();
        *mailer.mood.lock().unwrap() = mood;
        let service = mailer.service(config());
        let asked = approved(&service).await;
        ceremony(&service).redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap();
        tasks_end().await;
        if mood == Mood::Hangs {
            assert_eq!(failures(&service), [""; 0]);
            tokio::time::sleep(Duration::from_secs(31)).await;
        }
        assert_eq!(failures(&service), [error; 2], "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_bounded_and_what_does_not_fit_is_recorded() {
    let mailer = Mailer::default();
    *mailer.mood.lock().unwrap() = Mood::Hangs;
    let service = mailer.service(config().no_limits());
    for _ in 0..1_020 {
        let asked = ceremony(&service).request(by_claude()).await.unwrap();
        ceremony(&service).view(&asked.authorization.id, &ada()).await.unwrap();
    }
    tasks_end().await;
    assert_eq!(mailer.under_way.load(Ordering::SeqCst), 16);
    assert_eq!(failures(&service), ["too many notifications wait"; 4]);
    // The first ones give way to those that wait.
    *mailer.mood.lock().unwrap() = Mood::Works;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(mailer.sent().await.len(), 1_000);
    assert_eq!(failures(&service).len(), 4 + 16);
}
