//! What ends, told to other processes by publish/subscribe.

use std::{future::poll_fn, pin::pin, time::Duration};

use futures_core::Stream;
use redis::{Client, Msg};

use super::super::notices::{Notice, NoticeSender, Notices};
use crate::types::id::SessionId;

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(250);

/// Listens until nobody wants to know any more, on a connection of its own.
pub(super) fn listen(client: Client, channel: String) -> Notices {
    let (sender, notices) = Notices::new();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.unwanted() => return,
                () = tell(&sender, &client, &channel) => {}
            }
            // Whatever was told meanwhile is lost.
            sender.tell(Notice::Gap);
            tokio::time::sleep(PAUSE).await;
        }
    });
    notices
}

/// Passes on what is told until the connection is lost.
async fn tell(sender: &NoticeSender, client: &Client, channel: &str) {
    let Ok(mut listener) = client.get_async_pubsub().await else { return };
    if listener.subscribe(channel).await.is_err() {
        return;
    }
    sender.tell(Notice::Gap);
    let mut messages = pin!(listener.into_on_message());
    while let Some(told) = poll_fn(|context| messages.as_mut().poll_next(context)).await {
        sender.tell(Notice::Ended(ids(&told)));
    }
}

fn ids(told: &Msg) -> Vec<SessionId> {
    let text = std::str::from_utf8(told.get_payload_bytes()).unwrap_or_default();
    text.split(' ').filter_map(SessionId::parse).collect()
}
