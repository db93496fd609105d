//! Sends and receives notices of ended sessions between processes, by publish/subscribe.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures_core::Stream;
use redis::{Client, Msg};
use tokio::task::AbortHandle;

use super::super::notices::{Notice, Notices};
use crate::types::id::SessionId;

/// The pause before a reconnect.
const PAUSE: Duration = Duration::from_millis(250);

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
    loop {
        receive(&listener, &client, &channel).await;
        // Notices sent meanwhile are lost.
        send(&listener, &Notice::Gap);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Forwards notices until the connection is lost.
async fn receive(to: &Weak<Listener>, client: &Client, channel: &str) {
    let Ok(mut listener) = client.get_async_pubsub().await else { return };
    if listener.subscribe(channel).await.is_err() {
        return;
    }
    send(to, &Notice::Gap);
    let mut messages = pin!(listener.into_on_message());
    while let Some(received) = poll_fn(|context| messages.as_mut().poll_next(context)).await {
        send(to, &Notice::Ended(ids(&received)));
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
