use std::{
    fmt,
    future::Future,
    sync::{Mutex, PoisonError, Weak},
};

use super::{RevokeTarget, StoreError};
use crate::types::{
    id::SessionId,
    secret::{Access, Digest},
    session::Use,
};

/// Receives notices of sessions that end, as a cache does.
pub trait Subscriber: Send + Sync + 'static {
    /// Receives one notice. It runs inside the call that changes the store, so it must do little and return.
    fn notify(&self, notice: &Notice);
}

/// A notice from a store to its subscribers.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The access tokens of these sessions are no longer valid.
    Ended(Vec<SessionId>),
    /// This access token is no longer valid.
    EndedToken(Digest<Access>),
    /// These uses were written down.
    Used(Vec<(SessionId, Use)>),
    /// Notices may have been lost, for example while a connection was down. Drop everything that is cached.
    Gap,
}

/// The subscribers of a store. A store that sends notices has one, shared by its clones.
///
/// ```
/// use std::sync::{Arc, Weak};
/// use tower_agent_auth::store::{Notice, Notices, Subscriber};
///
/// struct Printer;
///
/// impl Subscriber for Printer {
///     fn notify(&self, notice: &Notice) {
///         println!("{notice:?}");
///     }
/// }
///
/// let (notices, printer) = (Notices::new(), Arc::new(Printer));
/// let printer_again: Weak<Printer> = Arc::downgrade(&printer);
/// notices.subscribe(printer_again);
/// notices.send(&Notice::Gap);
/// ```
#[derive(Default)]
pub struct Notices {
    subscribers: Mutex<Vec<Weak<dyn Subscriber>>>,
}

impl Notices {
    /// Creates a list without subscribers.
    #[must_use]
    pub const fn new() -> Self {
        Self { subscribers: Mutex::new(Vec::new()) }
    }

    /// Adds a subscriber. It is removed when it is dropped.
    pub fn subscribe(&self, subscriber: Weak<dyn Subscriber>) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|known| known.strong_count() > 0);
        subscribers.push(subscriber);
    }

    /// Notifies every subscriber before it returns.
    pub fn send(&self, notice: &Notice) {
        let subscribers: Vec<_> = {
            let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            subscribers.iter().filter_map(Weak::upgrade).collect()
        };
        subscribers.iter().for_each(|subscriber| subscriber.notify(notice));
    }

    /// Runs a change in this process and sends the ids that `ended` returns for its result. Sends [`Notice::Gap`] if
    /// the change fails or is dropped, because its outcome is then unknown.
    ///
    /// # Errors
    /// Returns the error of the change.
    pub async fn announce<T>(
        &self,
        change: impl Future<Output = Result<T, StoreError>>,
        ended: impl FnOnce(&T) -> Vec<SessionId>,
    ) -> Result<T, StoreError> {
        let unknown = Unknown(self);
        let answer = change.await?;
        std::mem::forget(unknown);
        let ended = ended(&answer);
        if !ended.is_empty() {
            self.send(&Notice::Ended(ended));
        }
        Ok(answer)
    }

    /// Runs a revocation in this process, like [`announce`](Self::announce). A session or access token in `target` is
    /// sent as ended even if it ended before, because this process may have no notice of that.
    ///
    /// # Errors
    /// Returns the error of the revocation.
    pub async fn announce_revocation(
        &self,
        target: &RevokeTarget,
        revocation: impl Future<Output = Result<Vec<SessionId>, StoreError>>,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ended = self.announce(revocation, Vec::clone).await?;
        match target {
            RevokeTarget::Session(session, _) => self.send(&Notice::Ended(vec![session.clone()])),
            RevokeTarget::Access(access) => self.send(&Notice::EndedToken(*access)),
            _ => {}
        }
        Ok(ended)
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

/// Sends [`Notice::Gap`] on drop, unless it is forgotten.
struct Unknown<'n>(&'n Notices);

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        self.0.send(&Notice::Gap);
    }
}
