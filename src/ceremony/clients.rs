use std::{fmt, time::Duration};

use super::{Ceremony, CeremonyError, DRAWS};
use crate::{
    store::{ClientCreation, ClientCutoff, Cutoff, StoreError, StoreErrorKind, traits::DynClientStore},
    types::{client::RegisteredClient, id::ClientId},
};

/// The most stored clients that have never been used. Anybody can register.
const MOST_UNUSED: u32 = 10_000;
/// How long a client that has never been used is stored. Hosts register some time before their human approves.
const UNUSED_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The OAuth clients that registered themselves (RFC 7591), as far as the service stores them.
///
/// Anybody can register, so the number of clients that no human has approved is limited to 10,000, and each is deleted
/// after a week. A used client is stored for as long as a session of it may last, and an hour more.
pub struct Clients<'a> {
    ceremony: &'a Ceremony,
    store: &'a dyn DynClientStore,
}

impl Ceremony {
    /// The clients that registered themselves; `None` if the service does not
    /// [store](crate::AgentAuthBuilder::clients) them.
    #[must_use]
    pub fn clients(&self) -> Option<Clients<'_>> {
        self.clients.as_deref().map(|store| Clients { ceremony: self, store })
    }
}

impl Clients<'_> {
    /// Registers a client with this metadata, under a new random identifier. It grants nothing.
    ///
    /// `metadata` is what the dialect wants to know later: at most a few kilobytes, without a NUL character and without
    /// a secret.
    ///
    /// # Errors
    /// [`CeremonyError::TooManyClients`] when too many registered clients have never been used, or when the service
    /// fails.
    pub async fn register(&self, metadata: &str) -> Result<RegisteredClient, CeremonyError> {
        let mut has_forgotten = false;
        for _ in 0..DRAWS {
            let id = ClientId::generate(&*self.ceremony.random)?;
            let new = RegisteredClient::new(id, metadata, self.ceremony.now());
            match self.store.create_client(&new, Some(MOST_UNUSED)).await? {
                ClientCreation::Created => return Ok(new),
                ClientCreation::Conflict => {}
                // A service without housekeeping must not refuse new clients for ever.
                ClientCreation::Full if !has_forgotten => {
                    has_forgotten = true;
                    if let Some(cutoff) = self.ceremony.cutoff().await? {
                        self.ceremony.forget_some_clients(self.store, &cutoff).await?;
                    }
                }
                ClientCreation::Full => return Err(CeremonyError::TooManyClients),
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// The client of that identifier.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn find(&self, id: &ClientId) -> Result<Option<RegisteredClient>, CeremonyError> {
        Ok(self.store.find_client(id).await?)
    }

    /// Records that the client is granted access or refreshes a session now. Returns `false` if it is not stored. A
    /// dialect calls this at each of both, so that a client outlives its refresh tokens.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn note_use(&self, id: &ClientId) -> Result<bool, CeremonyError> {
        Ok(self.store.use_client(id, self.ceremony.now()).await?)
    }
}

impl fmt::Debug for Clients<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Ceremony {
    /// Deletes some clients by the cutoff of authorization requests. Returns whether there may be more.
    pub(super) async fn forget_some_clients(
        &self,
        store: &dyn DynClientStore,
        cutoff: &Cutoff,
    ) -> Result<bool, StoreError> {
        // An hour ago, by the clocks that can be trusted.
        let before = cutoff.authorizations;
        let cutoff = ClientCutoff::new(before.before(UNUSED_FOR), before.before(self.config.lifetimes().session));
        store.forget_clients(&cutoff, super::housekeeping::FORGOTTEN_AT_ONCE).await
    }
}
