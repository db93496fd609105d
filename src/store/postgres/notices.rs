//! What ends, told to other processes through `LISTEN` and `NOTIFY`.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgListener};

use super::super::notices::{Notice, NoticeSender, Notices};
use crate::types::id::SessionId;

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(250);
/// A payload has less than 8,000 bytes.
const IDS_AT_ONCE: usize = 250;

/// The ids as the texts that are sent.
pub(super) fn payloads(ended: &[SessionId]) -> impl Iterator<Item = String> {
    ended.chunks(IDS_AT_ONCE).map(|ids| ids.iter().map(SessionId::as_str).collect::<Vec<_>>().join(" "))
}

/// Listens until nobody wants to know any more. It takes one connection of the pool for itself.
pub(super) fn listen(pool: PgPool, channel: String) -> Notices {
    let (sender, notices) = Notices::new();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.unwanted() => return,
                () = tell(&sender, &pool, &channel) => {}
            }
            // Whatever was told meanwhile is lost.
            sender.tell(Notice::Gap);
            tokio::time::sleep(PAUSE).await;
        }
    });
    notices
}

/// Passes on what is told until the connection is lost.
async fn tell(sender: &NoticeSender, pool: &PgPool, channel: &str) {
    let Ok(mut listener) = PgListener::connect_with(pool).await else { return };
    listener.eager_reconnect(false);
    if listener.listen(channel).await.is_err() {
        return;
    }
    sender.tell(Notice::Gap);
    while let Ok(Some(told)) = listener.try_recv().await {
        sender.tell(Notice::Ended(told.payload().split(' ').filter_map(SessionId::parse).collect()));
    }
}
