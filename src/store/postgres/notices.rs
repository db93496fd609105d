//! Sends and receives notices of ended sessions between processes, through `LISTEN` and `NOTIFY`.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use sqlx::{Error, PgPool, postgres::PgListener, query_scalar};
use tokio::{task::AbortHandle, time::timeout};

use super::{
    super::notices::{Notice, Notices},
    connections::PATIENCE,
};
use crate::types::id::SessionId;

/// The pause before a reconnect.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, after several failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that received nothing for this long is tested.
const QUIET: Duration = Duration::from_secs(5);
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
    /// Starts the task, unless it runs. It has one connection beside the pool.
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
    let mut pause = PAUSE;
    while !pool.is_closed() {
        let has_listened = receive(&listener, &pool, &channel).await.is_ok();
        // Notices sent meanwhile are lost.
        send(&listener, &Notice::Gap);
        pause = if has_listened { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// Forwards notices until the connection is lost. Fails if it could not listen at all.
async fn receive(to: &Weak<Listener>, pool: &PgPool, channel: &str) -> Result<(), Error> {
    // In a pool of its own, a dead connection takes nothing from the calls.
    let own = pool.options().clone().min_connections(0).max_connections(1);
    let own = own.connect_lazy_with((*pool.connect_options()).clone());
    let listening = async {
        let mut listener = PgListener::connect_with(&own).await?;
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok::<_, Error>(listener)
    };
    let mut listener = timeout(PATIENCE, listening).await.map_err(|_| Error::PoolTimedOut)??;
    send(to, &Notice::Gap);
    loop {
        match timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(received))) => {
                send(to, &Notice::Ended(received.payload().split(' ').filter_map(SessionId::parse).collect()));
            }
            Ok(_) => return Ok(()),
            Err(_) if !is_sound(&mut listener).await => return Ok(()),
            Err(_) => {}
        }
    }
}

/// Whether the server responds and is not read-only. A server that was demoted sends no notices.
async fn is_sound(listener: &mut PgListener) -> bool {
    let read_only = query_scalar::<_, String>("SHOW transaction_read_only").fetch_one(listener);
    matches!(timeout(PATIENCE, read_only).await, Ok(Ok(value)) if value == "off")
}

fn send(to: &Weak<Listener>, notice: &Notice) {
    if let Some(listener) = to.upgrade() {
        listener.notices.send(notice);
    }
}
