use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::PoisonError,
};

use super::{
    super::{IdentityStore, StoreError},
    MemoryStore,
};
use crate::types::{
    authorization::Account,
    clock::Timestamp,
    id::AccountId,
    identity::{IdentityKey, LinkedIdentity, TokenKey},
};

/// Identities of other issuers that are linked to accounts, and used tokens of these issuers.
#[derive(Debug, Default)]
pub(super) struct Identities {
    links: HashMap<IdentityKey, (Account, Timestamp)>,
    /// The same links by account.
    by_account: BTreeSet<(AccountId, IdentityKey)>,
    used: HashMap<TokenKey, Timestamp>,
    /// The same tokens by the instant until which they are remembered.
    by_end: BTreeSet<(Timestamp, TokenKey)>,
}

impl Identities {
    pub(super) fn link(&mut self, identity: &IdentityKey, account: &Account, at: Timestamp) {
        self.unlink(identity);
        self.by_account.insert((account.id.clone(), *identity));
        self.links.insert(*identity, (account.clone(), at));
    }

    pub(super) fn find(&self, identity: &IdentityKey) -> Option<Account> {
        self.links.get(identity).map(|(account, _)| account.clone())
    }

    /// At most `limit` links of the account whose keys come after `after`.
    pub(super) fn list(&self, account: &AccountId, after: Option<&IdentityKey>, limit: usize) -> Vec<LinkedIdentity> {
        let after = after.map_or(Bound::Unbounded, |key| Bound::Excluded((account.clone(), *key)));
        let first = Bound::Included((account.clone(), IdentityKey::from_bytes([0; 32])));
        let from = if matches!(after, Bound::Unbounded) { first } else { after };
        let own = self.by_account.range((from, Bound::Unbounded)).take_while(|(owner, _)| owner == account);
        let links = own.filter_map(|(_, key)| {
            self.links.get(key).map(|(account, at)| LinkedIdentity::new(*key, account.clone(), *at))
        });
        links.take(limit).collect()
    }

    pub(super) fn unlink(&mut self, identity: &IdentityKey) -> Option<Account> {
        let (account, _) = self.links.remove(identity)?;
        self.by_account.remove(&(account.id.clone(), *identity));
        Some(account)
    }

    /// Deletes at most `limit` links of the account. Returns whether there may be more.
    pub(super) fn unlink_account(&mut self, account: &AccountId, limit: usize) -> bool {
        let first = (account.clone(), IdentityKey::from_bytes([0; 32]));
        let own = self.by_account.range(first..).take_while(|(owner, _)| owner == account);
        let own: Vec<IdentityKey> = own.take(limit).map(|(_, identity)| *identity).collect();
        for identity in &own {
            self.unlink(identity);
        }
        own.len() >= limit
    }

    pub(super) fn use_once(&mut self, token: &TokenKey, until: Timestamp) -> bool {
        if self.used.contains_key(token) {
            return false;
        }
        self.used.insert(*token, until);
        self.by_end.insert((until, *token))
    }

    pub(super) fn is_used(&self, token: &TokenKey) -> bool {
        self.used.contains_key(token)
    }

    /// Deletes at most `limit` tokens that are remembered until `cutoff` or before. Returns whether there may be more.
    pub(super) fn forget_used(&mut self, cutoff: Timestamp, limit: usize) -> bool {
        for _ in 0..limit {
            match self.by_end.first() {
                Some((until, token)) if until.has_passed(cutoff) => self.used.remove(token),
                _ => return false,
            };
            self.by_end.pop_first();
        }
        true
    }
}

impl IdentityStore for MemoryStore {
    async fn link_identity(&self, identity: &IdentityKey, account: &Account, at: Timestamp) -> Result<(), StoreError> {
        self.identities().link(identity, account, at);
        Ok(())
    }

    async fn find_identity(&self, identity: &IdentityKey) -> Result<Option<Account>, StoreError> {
        Ok(self.0.identities.read().unwrap_or_else(PoisonError::into_inner).find(identity))
    }

    async fn list_identities(
        &self,
        account: &AccountId,
        after: Option<&IdentityKey>,
        limit: usize,
    ) -> Result<Vec<LinkedIdentity>, StoreError> {
        let identities = self.0.identities.read().unwrap_or_else(PoisonError::into_inner);
        Ok(identities.list(account, after, limit))
    }

    async fn unlink_identity(&self, identity: &IdentityKey) -> Result<Option<Account>, StoreError> {
        Ok(self.identities().unlink(identity))
    }

    async fn unlink_account(&self, account: &AccountId, limit: usize) -> Result<bool, StoreError> {
        Ok(self.identities().unlink_account(account, limit))
    }

    async fn use_once(&self, token: &TokenKey, until: Timestamp) -> Result<bool, StoreError> {
        Ok(self.identities().use_once(token, until))
    }

    async fn is_used(&self, token: &TokenKey) -> Result<bool, StoreError> {
        Ok(self.0.identities.read().unwrap_or_else(PoisonError::into_inner).is_used(token))
    }

    async fn forget_used(&self, cutoff: Timestamp, limit: usize) -> Result<bool, StoreError> {
        Ok(self.identities().forget_used(cutoff, limit))
    }
}
