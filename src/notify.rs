//! Notes to the account's human, such as mail: that a request waits for their decision, and that an agent has collected
//! its access. The host delivers them.
//!
//! ```
//! use tower_agent_auth::notify::{Notification, Notify, NotifyError};
//!
//! /// Delivers by the host's mailer.
//! struct Mail;
//!
//! impl Notify for Mail {
//!     async fn notify(&self, notification: Notification) -> Result<(), NotifyError> {
//!         let to = &notification.about().account.label;
//!         println!("to {to}: {}\n\n{}", notification.subject(), notification.text());
//!         Ok(())
//!     }
//! }
//! ```
//!
//! A notification is sent after the store has the change, in a task of its own: it delays and fails nothing. If it fails,
//! panics or takes longer than 30 seconds, that is [audited](crate::audit::Event::NotificationFailed), and it is not sent
//! again. At most 16 are delivered at the same time, and 1,000 wait; further ones are dropped, and audited too.

use std::{error::Error, fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc};

use crate::types::{
    authorization::{Account, Client},
    clock::Timestamp,
    id::{AuthorizationRequestId, SessionId},
    scope::ScopeSet,
    text::HumanText,
};

mod english;

/// Delivers notifications to humans.
pub trait Notify: Send + Sync + 'static {
    /// Delivers one notification, or leaves it if it is not wanted.
    ///
    /// # Errors
    /// When it was not delivered. The error is audited.
    fn notify(&self, notification: Notification) -> impl Future<Output = Result<(), NotifyError>> + Send;
}

impl<N: Notify> Notify for Arc<N> {
    fn notify(&self, notification: Notification) -> impl Future<Output = Result<(), NotifyError>> + Send {
        N::notify(self, notification)
    }
}

/// [`Notify`] as a trait object.
pub(crate) trait DynNotify: Send + Sync {
    fn notify(self: Arc<Self>, notification: Notification) -> Notifying;
}

pub(crate) type Notifying = Pin<Box<dyn Future<Output = Result<(), NotifyError>> + Send>>;

impl<N: Notify> DynNotify for N {
    fn notify(self: Arc<Self>, notification: Notification) -> Notifying {
        Box::pin(async move { Notify::notify(&*self, notification).await })
    }
}

/// A notification was not delivered. The fault is the host's.
#[derive(thiserror::Error)]
#[error("the notification was not delivered")]
pub struct NotifyError {
    source: Box<dyn Error + Send + Sync>,
}

crate::types::error_chain::debug_as_text!(NotifyError);

impl NotifyError {
    /// Creates the error with its cause.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

/// What a human is told. It has no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Notification {
    /// A request was opened by the account, and waits for its decision.
    ApprovalPending(ApprovalPending),
    /// An agent collected the access that the account gave it.
    Collected(Collected),
}

/// What every notification is about.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct About {
    /// The account.
    pub account: Account,
    /// The authorization request.
    pub request: AuthorizationRequestId,
    /// The client, by its own claims.
    pub client: Client,
    /// When it happened.
    pub at: Timestamp,
    /// The name of the service.
    pub service: String,
    /// The URL of the page of the request. It shows the human where it stands.
    pub approval_url: String,
    /// The URL of the page of the account's sessions.
    pub sessions_url: String,
}

/// A request that waits for a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ApprovalPending {
    /// The account, the request and its client.
    pub about: About,
    /// The requested scopes.
    pub requested: ScopeSet,
    /// The sentences of all that the requested scopes give.
    pub sentences: Vec<String>,
    /// Until when the human can decide.
    pub expires_at: Timestamp,
}

/// An access that an agent collected.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Collected {
    /// The account, the request and its client.
    pub about: About,
    /// The session.
    pub session: SessionId,
    /// The granted scopes.
    pub granted: ScopeSet,
    /// The sentences of all that the granted scopes give.
    pub sentences: Vec<String>,
    /// The address that collected it, if the host provides it.
    pub address: Option<IpAddr>,
    /// The program that collected it, by its own claim.
    pub program: Option<HumanText>,
    /// When the access ends at the latest.
    pub ends_at: Timestamp,
}

impl Notification {
    /// The account, the request and its client.
    #[must_use]
    pub const fn about(&self) -> &About {
        match self {
            Self::ApprovalPending(ApprovalPending { about, .. }) | Self::Collected(Collected { about, .. }) => about,
        }
    }

    /// A subject in English. It has no words of the agent.
    #[must_use]
    pub fn subject(&self) -> String {
        english::subject(self)
    }

    /// A text in English, with the words of the agent in quotes.
    #[must_use]
    pub fn text(&self) -> String {
        english::text(self)
    }
}

impl fmt::Display for Notification {
    /// The subject and the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.subject(), self.text())
    }
}
