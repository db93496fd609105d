use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};

use super::{Ceremony, KnownFlow};
use crate::{
    audit::Event,
    notify::{About, ApprovalPending, Collected, DynNotify, Notification},
    types::{
        authorization::{Account, AuthorizationRequest, Client},
        id::AuthorizationRequestId,
        scope::ScopeSet,
        session::SessionRecord,
    },
};

/// How many notifications are delivered at the same time.
const AT_ONCE: usize = 16;
/// How many wait for that, besides.
const WAITING: usize = 1_000;
const DEADLINE: Duration = Duration::from_secs(30);

/// The path below the issuer of the page that shows requests of a flow.
pub(crate) type ApprovalPath = dyn Fn(&KnownFlow) -> &'static str + Send + Sync;

/// Delivers notifications in tasks.
pub(crate) struct Notifier {
    notify: Arc<dyn DynNotify>,
    approval_path: Box<ApprovalPath>,
    /// Those that may wait or be delivered.
    room: Arc<Semaphore>,
    /// Those that may be delivered.
    turns: Arc<Semaphore>,
}

impl Notifier {
    pub(crate) fn new(notify: Arc<dyn DynNotify>, approval_path: Box<ApprovalPath>) -> Self {
        let (room, turns) = (Arc::new(Semaphore::new(AT_ONCE + WAITING)), Arc::new(Semaphore::new(AT_ONCE)));
        Self { notify, approval_path, room, turns }
    }
}

impl Ceremony {
    /// Tells the human that a request was opened and waits.
    pub(super) fn notify_of_request(&self, request: &AuthorizationRequest, flow: &KnownFlow, account: &Account) {
        let Some(notifier) = &self.notifier else { return };
        let about = self.about(notifier, account, &request.id, &request.client, flow);
        let (requested, sentences) = (request.requested.clone(), self.sentences(&request.requested));
        let pending = ApprovalPending { about, requested, sentences, expires_at: request.expires_at };
        self.deliver(notifier, Notification::ApprovalPending(pending));
    }

    /// Tells the human that an agent collected its access.
    pub(super) fn notify_of_session(&self, record: &SessionRecord, flow: &KnownFlow) {
        let Some(notifier) = &self.notifier else { return };
        let session = &record.session;
        let last = self.last_instant(record.created_at, record.lasts_until);
        let collected = Collected {
            about: self.about(notifier, &session.account, &record.authorization, &record.client, flow),
            session: session.id.clone(),
            granted: record.granted.clone(),
            sentences: self.sentences(&record.granted),
            address: record.redeemer.address,
            program: record.redeemer.program.clone(),
            ends_at: if self.refreshes { last } else { record.ends_at() },
        };
        self.deliver(notifier, Notification::Collected(collected));
    }

    fn about(
        &self,
        notifier: &Notifier,
        account: &Account,
        request: &AuthorizationRequestId,
        client: &Client,
        flow: &KnownFlow,
    ) -> About {
        About {
            account: account.clone(),
            request: request.clone(),
            client: client.clone(),
            at: self.now(),
            service: self.config.name().to_owned(),
            approval_url: self.config.url(&format!("{}{request}", (notifier.approval_path)(flow))),
            sessions_url: self.config.url(self.config.sessions_path()),
        }
    }

    /// The sentences of all that the scopes give, in the catalogue's order.
    fn sentences(&self, scopes: &ScopeSet) -> Vec<String> {
        self.config.catalogue().given(scopes).map(|entry| entry.description.clone()).collect()
    }

    /// Starts a task that delivers a notification. Whatever becomes of it is only recorded.
    fn deliver(&self, notifier: &Notifier, notification: Notification) {
        let request = notification.about().request.clone();
        let failed = |error: String| Event::NotificationFailed { authorization: request.clone(), error };
        let Ok(runtime) = Handle::try_current() else {
            return self.record(&failed("there is no Tokio runtime".into()));
        };
        let Ok(place) = Arc::clone(&notifier.room).try_acquire_owned() else {
            return self.record(&failed("too many notifications wait".into()));
        };
        let (ceremony, notify) = (self.clone(), Arc::clone(&notifier.notify));
        let (turns, request) = (Arc::clone(&notifier.turns), request.clone());
        runtime.spawn(async move {
            let turn = turns.acquire().await;
            // In a task of its own, so that a panic is noticed here.
            let delivery = tokio::spawn(async move { timeout(DEADLINE, notify.notify(notification)).await });
            let error = match delivery.await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(error))) => Some(crate::types::error_chain::chain(&error)),
                Ok(Err(Elapsed { .. })) => Some(format!("it took longer than {} seconds", DEADLINE.as_secs())),
                Err(_) => Some("it panicked".into()),
            };
            if let Some(error) = error {
                ceremony.record(&Event::NotificationFailed { authorization: request, error });
            }
            drop((turn, place));
        });
    }
}
