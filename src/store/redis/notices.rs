//! Sends and receives notices of ended sessions between processes, by publish/subscribe.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures_core::Stream;
use redis::{Client, Msg, RedisResult, Value};
use tokio::{task::AbortHandle, time::timeout};

use super::{
    super::notices::{Notice, Notices},
    connection::PATIENCE,
};
use crate::types::id::SessionId;

/// The pause before a reconnect.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, after several failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that received nothing for this long is tested.
const QUIET: Duration = Duration::from_secs(5);

/// The subscribers, and the task that forwards notices from other processes. The task ends with the store.
#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) notices: Notices,
    task: OnceLock<AbortHandle>,
}

impl Listener {
    /// Starts the task, unless it runs. It uses its own connection.
    pub(super) fn start(self: &Arc<Self>, client: &Client, channel: String) {
        self.task.get_or_init(|| {
            let (listener, client) = (Arc::downgrade(self), client.clone());
            tokio::spawn(listen(listener, client, channel)).abort_handle()
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

async fn listen(listener: Weak<Listener>, client: Client, channel: String) {
    let mut pause = PAUSE;
    loop {
        let has_listened = receive(&listener, &client, &channel).await.is_ok();
        // Notices sent meanwhile are lost.
        send(&listener, &Notice::Gap);
        pause = if has_listened { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// Forwards notices until the connection is lost. Fails if it could not listen at all.
async fn receive(to: &Weak<Listener>, client: &Client, channel: &str) -> RedisResult<()> {
    let listening = async {
        let mut listener = client.get_async_pubsub().await?;
        listener.subscribe(channel).await?;
        RedisResult::Ok(listener)
    };
    let listener = timeout(PATIENCE, listening).await.map_err(std::io::Error::from)??;
    send(to, &Notice::Gap);
    let (mut sender, messages) = listener.split();
    let mut messages = pin!(messages);
    loop {
        match timeout(QUIET, poll_fn(|context| messages.as_mut().poll_next(context))).await {
            Ok(Some(received)) => send(to, &Notice::Ended(ids(&received))),
            Ok(None) => return Ok(()),
            Err(_) => match timeout(PATIENCE, sender.ping::<Value>()).await {
                Ok(Ok(_)) => {}
                _ => return Ok(()),
            },
        }
    }
}

fn ids(received: &Msg) -> Vec<SessionId> {
    let text = std::str::from_utf8(received.get_payload_bytes()).unwrap_or_default();
    text.split(' ').filter_map(SessionId::parse).collect()
}

fn send(to: &Weak<Listener>, notice: &Notice) {
    if let Some(listener) = to.upgrade() {
        listener.notices.send(notice);
    }
}
