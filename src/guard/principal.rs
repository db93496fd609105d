use std::{ops::Deref, sync::Arc};

use http::Extensions;

use crate::types::{authorization::Account, session::Session};

/// The agent session of a request that a guard forwarded. Only a guard creates one.
#[derive(Clone, Debug)]
pub struct AgentSession {
    pub(super) session: Arc<Session>,
}

impl Deref for AgentSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

#[cfg(feature = "testing")]
impl AgentSession {
    pub(crate) const fn for_test(session: Arc<Session>) -> Self {
        Self { session }
    }
}

/// The signed-in human who called an owner-only route. An agent's request never has one.
#[derive(Clone, Debug)]
pub struct Owner {
    pub(super) account: Arc<Account>,
}

impl Owner {
    /// The human's account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

#[cfg(feature = "testing")]
impl Owner {
    pub(crate) fn for_test(account: Account) -> Self {
        Self { account: Arc::new(account) }
    }
}

/// Marks a request that a guard forwarded without a principal.
#[derive(Clone, Copy)]
struct Nobody;

/// Whether a guard in front of the handler looked for a principal. If not, the service's code is at fault.
#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) fn is_guarded(extensions: &Extensions) -> bool {
    extensions.get::<Nobody>().is_some()
        || extensions.get::<AgentSession>().is_some()
        || extensions.get::<Owner>().is_some()
}

/// The text of the error for a handler that takes the caller where no guard inserts one.
#[cfg(any(feature = "axum", feature = "testing", feature = "tonic"))]
pub(crate) const NO_GUARD: &str = "this handler takes the caller, but no guard in front of it inserts one: add \
    `.layer(auth.require(…))`, `.layer(auth.optional())` or `.layer(auth.owner_only())` to its route, without \
    `without_principal()`";

/// The caller of a request that a guard forwards.
pub(super) enum Principal {
    Nobody,
    /// Whoever the host's own auth says, or nobody.
    Host,
    Agent(AgentSession),
    Owner(Owner),
}

impl Principal {
    pub(super) fn insert_into(self, extensions: &mut Extensions) {
        match self {
            Self::Nobody | Self::Host => drop(extensions.insert(Nobody)),
            Self::Agent(session) => drop(extensions.insert(session)),
            Self::Owner(owner) => drop(extensions.insert(owner)),
        }
    }
}

/// Removes a principal that another layer inserted.
pub(super) fn remove_principal(extensions: &mut Extensions) {
    if !extensions.is_empty() {
        extensions.remove::<AgentSession>();
        extensions.remove::<Owner>();
    }
}
