use std::{
    collections::{BTreeSet, HashMap},
    sync::PoisonError,
};

use super::{
    super::{ClientCreation, ClientCutoff, ClientStore, StoreError},
    MemoryStore,
};
use crate::types::{client::RegisteredClient, clock::Timestamp, id::ClientId};

/// Clients that registered themselves.
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: HashMap<ClientId, RegisteredClient>,
    /// Those that have never been used, by registration.
    unused: BTreeSet<(Timestamp, ClientId)>,
    /// The others, by their last use.
    used: BTreeSet<(Timestamp, ClientId)>,
}

impl Clients {
    pub(super) fn create(&mut self, new: &RegisteredClient, most_unused: Option<u32>) -> ClientCreation {
        if self.all.contains_key(&new.id) {
            return ClientCreation::Conflict;
        }
        match new.used_at {
            Some(at) => self.used.insert((at, new.id.clone())),
            None if most_unused.is_some_and(|most| self.unused.len() >= most as usize) => return ClientCreation::Full,
            None => self.unused.insert((new.created_at, new.id.clone())),
        };
        self.all.insert(new.id.clone(), new.clone());
        ClientCreation::Created
    }

    pub(super) fn find(&self, id: &ClientId) -> Option<RegisteredClient> {
        self.all.get(id).cloned()
    }

    pub(super) fn note_use(&mut self, id: &ClientId, at: Timestamp) -> bool {
        let Some(client) = self.all.get_mut(id) else { return false };
        if client.used_at.is_none_or(|last| last < at) {
            match client.used_at.replace(at) {
                Some(last) => self.used.remove(&(last, id.clone())),
                None => self.unused.remove(&(client.created_at, id.clone())),
            };
            self.used.insert((at, id.clone()));
        }
        true
    }

    pub(super) fn forget(&mut self, cutoff: &ClientCutoff, limit: usize) -> bool {
        let mut more = false;
        for (list, until) in [(&mut self.unused, cutoff.unused), (&mut self.used, cutoff.used)] {
            let mut left = limit;
            while left > 0 && list.first().is_some_and(|(at, _)| at.has_passed(until)) {
                let forgotten = list.pop_first();
                forgotten.and_then(|(_, id)| self.all.remove(&id));
                left -= 1;
            }
            more |= left == 0;
        }
        more
    }
}

impl ClientStore for MemoryStore {
    async fn create_client(
        &self,
        new: &RegisteredClient,
        most_unused: Option<u32>,
    ) -> Result<ClientCreation, StoreError> {
        Ok(self.clients().create(new, most_unused))
    }

    async fn find_client(&self, id: &ClientId) -> Result<Option<RegisteredClient>, StoreError> {
        Ok(self.0.clients.read().unwrap_or_else(PoisonError::into_inner).find(id))
    }

    async fn use_client(&self, id: &ClientId, at: Timestamp) -> Result<bool, StoreError> {
        Ok(self.clients().note_use(id, at))
    }

    async fn forget_clients(&self, cutoff: &ClientCutoff, limit: usize) -> Result<bool, StoreError> {
        Ok(self.clients().forget(cutoff, limit))
    }
}
