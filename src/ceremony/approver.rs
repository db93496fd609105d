use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

use super::CeremonyError;
use crate::{
    accounts::SignedIn,
    types::{
        authorization::Account,
        id::{AccountId, AuthorizationRequestId},
        random::{Random, RandomError},
        secret::{Derived, Kind, Prefix, Secret},
        session::Salt,
    },
};

/// The human at a page: the signed-in account, and if possible a secret that only their browser has.
///
/// Only the browser that opened a request can [release](super::Ceremony::release) it: the one with the same secret. The
/// code that an approval hands out is derived from this secret, a salt in the store, the account, the browser session
/// and the request. So any process of the service can show the code again to the same browser session, and to nobody
/// else: the store lacks the secret, and the browser lacks the salt.
///
/// A page of the host passes such a secret with [`with_secret`](Self::with_secret). Without one (`From<&SignedIn>`), a
/// code is random and returned only once, and nothing can be released.
///
/// ```
/// use tower_agent_auth::{accounts::SignedIn, ceremony::Approver, types::{authorization::Account, id::AccountId}};
///
/// let account = Account::new(AccountId::new("42")?, "ada@example.com");
/// let human = SignedIn::new(account, "the id of their browser session");
/// let approver = Approver::with_secret(&human, "256 random bits from an HttpOnly cookie");
/// # Ok::<(), tower_agent_auth::types::id::AccountIdError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Approver<'a> {
    pub(super) human: &'a SignedIn,
    secret: Option<&'a str>,
}

impl<'a> Approver<'a> {
    /// The human, and a secret that only their browser has, such as a random value in an `HttpOnly` cookie. It must have
    /// at least 128 bits of randomness, and stay the same while a request is decided.
    #[must_use]
    pub const fn with_secret(human: &'a SignedIn, secret: &'a str) -> Self {
        Self { human, secret: Some(secret) }
    }

    pub(super) const fn account(&self) -> &'a Account {
        &self.human.account
    }

    /// The id of the request that this approver makes for `subject`, always the same; `None` without a secret.
    pub(super) fn request_id(&self, subject: &str) -> Result<Option<AuthorizationRequestId>, RandomError> {
        let account = self.account().id.as_str();
        let info = format!("request {}:{account} {subject}", account.len());
        self.secret.map(|secret| AuthorizationRequestId::generate(&Derived::new(secret, b"", &info))).transpose()
    }

    /// A new code for this request, and the salt to store if this approver can derive the code again.
    pub(super) fn new_code<K: Kind>(
        &self,
        prefix: &Prefix<K>,
        id: &AuthorizationRequestId,
        random: &dyn Random,
    ) -> Result<(Secret<K>, Option<Salt>), CeremonyError> {
        let Some(secret) = self.secret else { return Ok((prefix.generate(random)?, None)) };
        let mut salt = Salt([0; 32]);
        random.fill(&mut salt.0)?;
        Ok((prefix.derive(secret, &salt.0, &self.subject(id))?, Some(salt)))
    }

    /// The code that this approver got with this salt. For another approver, some other code.
    pub(super) fn code_again<K: Kind>(
        &self,
        prefix: &Prefix<K>,
        id: &AuthorizationRequestId,
        salt: Option<Salt>,
    ) -> Result<Option<Secret<K>>, CeremonyError> {
        let derive = |(secret, salt): (&str, Salt)| prefix.derive(secret, &salt.0, &self.subject(id));
        Ok(self.secret.zip(salt).map(derive).transpose()?)
    }

    /// What identifies the browser of this approver as the one that opened a request for `account`. It reveals nothing of
    /// the secret.
    pub(super) fn opener(
        &self,
        account: &AccountId,
        id: &AuthorizationRequestId,
    ) -> Result<Option<Opener>, CeremonyError> {
        let Some(secret) = self.secret else { return Ok(None) };
        let mut opener = Opener([0; 32]);
        let info = format!("opener {id} {}", account.as_str());
        let expanded = Hkdf::<Sha256>::new(None, secret.as_bytes()).expand(info.as_bytes(), &mut opener.0);
        expanded.map_err(|_| RandomError)?;
        Ok(Some(opener))
    }

    /// What a code is bound to. The lengths keep two different subjects apart.
    fn subject(&self, id: &AuthorizationRequestId) -> String {
        let (account, session) = (self.account().id.as_str(), self.human.browser_session.as_str());
        format!("{id} {}:{account} {}:{session}", account.len(), session.len())
    }
}

/// Identifies the browser that opened a request.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Opener(pub(super) [u8; 32]);

impl<'a> From<&'a SignedIn> for Approver<'a> {
    /// Without a secret.
    fn from(human: &'a SignedIn) -> Self {
        Self { human, secret: None }
    }
}

impl fmt::Debug for Approver<'_> {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approver").field("human", self.human).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{
        id::AccountId,
        random::OsRandom,
        secret::{Exchange, Finish},
    };

    fn human(account: &str, session: &str) -> SignedIn {
        SignedIn::new(Account::new(AccountId::new(account).unwrap(), "label"), session)
    }

    #[test]
    fn a1_only_the_same_browser_session_derives_a_code_again() {
        let prefix = Prefix::<Finish>::new("aaf_").unwrap();
        let id = AuthorizationRequestId::generate(&OsRandom).unwrap();
        let ada = human("ada", "a browser");
        let approver = Approver::with_secret(&ada, "a key");
        let (code, salt) = approver.new_code(&prefix, &id, &OsRandom).unwrap();
        let again = |approver: &Approver<'_>, prefix: &Prefix<Finish>, id, salt| {
            approver.code_again(prefix, id, salt).unwrap().map(|code| code.digest())
        };
        assert_eq!(again(&approver, &prefix, &id, salt), Some(code.digest()));
        // Each part counts, and a byte that moves from one part to the next makes another code.
        let other_id = AuthorizationRequestId::generate(&OsRandom).unwrap();
        let others = [human("bob", "a browser"), human("ada", "b browser"), human("ada 9:a", "browser")];
        for other in &others {
            assert_ne!(again(&Approver::with_secret(other, "a key"), &prefix, &id, salt), Some(code.digest()));
        }
        assert_ne!(again(&Approver::with_secret(&ada, "b key"), &prefix, &id, salt), Some(code.digest()));
        assert_ne!(again(&approver, &prefix, &other_id, salt), Some(code.digest()));
        assert_ne!(again(&approver, &prefix, &id, Some(Salt([0; 32]))), Some(code.digest()));
        assert_eq!(again(&approver, &prefix, &id, None), None, "the secret alone is not enough");
        assert_eq!(again(&Approver::from(&ada), &prefix, &id, salt), None, "nor is what is stored");
        let exchange = Prefix::<Exchange>::new("aaf_").unwrap();
        let of_other_kind = approver.code_again(&exchange, &id, salt).unwrap().unwrap();
        assert_ne!(of_other_kind.expose(), code.expose());
    }

    #[test]
    fn a1_without_a_secret_a_code_is_random() {
        let prefix = Prefix::<Finish>::new("aaf_").unwrap();
        let (id, ada) = (AuthorizationRequestId::generate(&OsRandom).unwrap(), human("ada", "a browser"));
        let (one, salt) = Approver::from(&ada).new_code(&prefix, &id, &OsRandom).unwrap();
        let (other, _) = Approver::from(&ada).new_code(&prefix, &id, &OsRandom).unwrap();
        assert!(salt.is_none() && one.expose() != other.expose());
        assert!(!format!("{:?}", Approver::with_secret(&ada, "a key")).contains("a key"));
    }
}
