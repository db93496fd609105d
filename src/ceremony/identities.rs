use std::fmt;

use super::{Ceremony, CeremonyError};
use crate::{
    store::traits::DynIdentityStore,
    types::{
        authorization::Account,
        clock::Timestamp,
        identity::{ForeignIdentity, TokenKey},
    },
};

/// The identities of other issuers that are linked to accounts, and the used tokens of these issuers.
///
/// **A link lets the issuer act for the account.** Link only what the account's human has confirmed, signed in: an e-mail
/// address that an issuer states proves nothing about an account that exists.
pub struct Identities<'a> {
    ceremony: &'a Ceremony,
    store: &'a dyn DynIdentityStore,
}

impl Ceremony {
    /// The identities of other issuers; `None` if the service does not
    /// [store](crate::AgentAuthBuilder::identities) them.
    #[must_use]
    pub fn identities(&self) -> Option<Identities<'_>> {
        self.identities.as_deref().map(|store| Identities { ceremony: self, store })
    }
}

impl Identities<'_> {
    /// The account that the identity is linked to, with the label that it had then. Whether agents may still act for it,
    /// only the host's [accounts](crate::accounts::Accounts::is_active) know.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn find(&self, identity: &ForeignIdentity) -> Result<Option<Account>, CeremonyError> {
        Ok(self.store.find_identity(&identity.key()).await?)
    }

    /// Links the identity to the account, in place of another one.
    ///
    /// # Errors
    /// When the service fails; the identity may be linked.
    pub async fn link(&self, identity: &ForeignIdentity, account: &Account) -> Result<(), CeremonyError> {
        Ok(self.store.link_identity(&identity.key(), account, self.ceremony.now()).await?)
    }

    /// Deletes the link of the identity. Returns the account that it was linked to. Its sessions go on.
    ///
    /// # Errors
    /// When the service fails; the link may be deleted.
    pub async fn unlink(&self, identity: &ForeignIdentity) -> Result<Option<Account>, CeremonyError> {
        Ok(self.store.unlink_identity(&identity.key()).await?)
    }

    /// Notes that a token was used, and remembers it until `until` at least. Returns whether it had not been used: of
    /// concurrent callers, `true` to one only.
    ///
    /// # Errors
    /// When the service fails; the token may count as used.
    pub async fn use_once(&self, token: &TokenKey, until: Timestamp) -> Result<bool, CeremonyError> {
        Ok(self.store.use_once(token, until).await?)
    }

    /// Whether a token was used, as far as it is remembered.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn is_used(&self, token: &TokenKey) -> Result<bool, CeremonyError> {
        Ok(self.store.is_used(token).await?)
    }
}

impl fmt::Debug for Identities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities").finish_non_exhaustive()
    }
}
