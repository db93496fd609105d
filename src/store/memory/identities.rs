use std::{
    collections::{BTreeSet, HashMap},
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
    identity::{IdentityKey, TokenKey},
};

/// Identities of other issuers that are linked to accounts, and used tokens of these issuers.
#[derive(Debug, Default)]
pub(super) struct Identities {
    accounts: HashMap<IdentityKey, Account>,
    /// The same links by account.
    by_account: BTreeSet<(AccountId, IdentityKey)>,
    used: HashMap<TokenKey, Timestamp>,
    /// The same tokens by the instant until which they are remembered.
    by_end: BTreeSet<(Timestamp, TokenKey)>,
}

impl Identities {
    pub(super) fn link(&mut self, identity: &IdentityKey, account: &Account) {
        self.unlink(identity);
        self.by_account.insert((account.id.clone(), *identity));
        self.accounts.insert(*identity, account.clone());
    }

    pub(super) fn find(&self, identity: &IdentityKey) -> Option<Account> {
        self.accounts.get(identity).cloned()
    }

    pub(super) fn unlink(&mut self, identity: &IdentityKey) -> Option<Account> {
        let account = self.accounts.remove(identity)?;
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
    async fn link_identity(&self, identity: &IdentityKey, account: &Account, _: Timestamp) -> Result<(), StoreError> {
        self.identities().link(identity, account);
        Ok(())
    }

    async fn find_identity(&self, identity: &IdentityKey) -> Result<Option<Account>, StoreError> {
        Ok(self.0.identities.read().unwrap_or_else(PoisonError::into_inner).find(identity))
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
