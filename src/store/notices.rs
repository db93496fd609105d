use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::types::id::SessionId;

/// Sessions that end, as a store tells of them, whichever process ended them. They end when the store does.
#[derive(Debug)]
pub struct Notices(UnboundedReceiver<Notice>);

/// What a store tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// These sessions were revoked.
    Ended(Vec<SessionId>),
    /// Something may have been missed, such as while a connection was lost: whatever was known before is in doubt.
    Gap,
}

impl Notices {
    /// New notices, and who tells them.
    #[must_use]
    pub fn new() -> (NoticeSender, Self) {
        let (sender, notices) = unbounded_channel();
        (NoticeSender(sender), Self(notices))
    }

    /// The next one; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Notice> {
        self.0.recv().await
    }
}

/// Tells [`Notices`].
#[derive(Clone, Debug)]
pub struct NoticeSender(UnboundedSender<Notice>);

impl NoticeSender {
    /// Tells one.
    pub fn tell(&self, notice: Notice) {
        // Nobody may want to know any more.
        let _ = self.0.send(notice);
    }

    /// Ends when nobody wants to know any more.
    pub async fn unwanted(&self) {
        self.0.closed().await;
    }
}
