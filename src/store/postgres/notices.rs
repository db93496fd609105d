//! Sends and receives notices of ended sessions between processes, through `LISTEN` and `NOTIFY`.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio::task::AbortHandle;

use super::super::notices::{Notice, Notices};
use crate::types::id::SessionId;

/// The pause before a reconnect.
const PAUSE: Duration = Duration::from_millis(250);
/// The number of ids per payload. A payload must be shorter than 8,000 bytes.
const IDS_AT_ONCE: usize = 250;

/// The ids as notification payloads.
pub(super) fn payloads(ended: &[SessionId]) -> impl Iterator<Item = String> {
    ended.chunks(IDS_AT_ONCE).map(|ids| ids.iter().map(SessionId::as_str).collect::<Vec<_>>().join(" "))
}

/// The subscribers, and the task that forwards notices from other processes. The task ends with the store.
#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) notices: Notices,
    task: OnceLock<AbortHandle>,
}

impl Listener {
    /// Starts the task, unless it runs. It occupies one connection of the pool.
    pub(super) fn start(self: &Arc<Self>, pool: &PgPool, channel: String) {
        self.task.get_or_init(|| {
            let (listener, pool) = (Arc::downgrade(self), pool.clone());
            tokio::spawn(listen(listener, pool, channel)).abort_handle()
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

async fn listen(listener: Weak<Listener>, pool: PgPool, channel: String) {
    loop {
        receive(&listener, &pool, &channel).await;
        // Notices sent meanwhile are lost.
        send(&listener, &Notice::Gap);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Forwards notices until the connection is lost.
async fn receive(to: &Weak<Listener>, pool: &PgPool, channel: &str) {
    let Ok(mut listener) = PgListener::connect_with(pool).await else { return };
    listener.eager_reconnect(false);
    if listener.listen(channel).await.is_err() {
        return;
    }
    send(to, &Notice::Gap);
    while let Ok(Some(received)) = listener.try_recv().await {
        send(to, &Notice::Ended(received.payload().split(' ').filter_map(SessionId::parse).collect()));
    }
}

fn send(to: &Weak<Listener>, notice: &Notice) {
    if let Some(listener) = to.upgrade() {
        listener.notices.send(notice);
    }
}
