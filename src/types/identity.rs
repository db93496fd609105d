//! Identities that another issuer vouches for, and the keys by which stores find them.
//!
//! ```
//! use tower_agent_auth::types::identity::ForeignIdentity;
//!
//! let ada = ForeignIdentity::new("https://idp.example", "user-7")?;
//! assert_eq!(ada.key(), ForeignIdentity::new("https://idp.example", "user-7")?.key());
//! assert_ne!(ada.key(), ForeignIdentity::new("https://other.example", "user-7")?.key());
//! # Ok::<(), tower_agent_auth::types::identity::ForeignIdentityError>(())
//! ```

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

use super::{authorization::Account, clock::Timestamp};

/// The longest subject in bytes (OpenID Connect Core section 2).
const SUBJECT_BYTES: usize = 255;

/// A human as another issuer knows them: the issuer and its identifier for the human (RFC 7519 sections 4.1.1 and
/// 4.1.2). Both are compared byte for byte.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ForeignIdentity {
    issuer: Arc<str>,
    subject: Arc<str>,
}

impl ForeignIdentity {
    /// The human that `issuer` calls `subject`: 1 to 255 bytes without control characters.
    ///
    /// # Errors
    /// When `subject` is empty, longer, or has a control character. The fault is the issuer's.
    pub fn new(issuer: &str, subject: &str) -> Result<Self, ForeignIdentityError> {
        let fits = (1..=SUBJECT_BYTES).contains(&subject.len()) && !subject.chars().any(char::is_control);
        if fits { Ok(Self { issuer: issuer.into(), subject: subject.into() }) } else { Err(ForeignIdentityError) }
    }

    /// The issuer's identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The human's identifier at the issuer. It is stable, and means nothing elsewhere.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The key by which a store finds it.
    #[must_use]
    pub fn key(&self) -> IdentityKey {
        IdentityKey(digest("identity", &self.issuer, &self.subject))
    }
}

/// An invalid subject. The fault is the issuer's.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("a subject is 1 to {SUBJECT_BYTES} bytes without control characters")]
#[non_exhaustive]
pub struct ForeignIdentityError;

crate::types::error_chain::debug_as_text!(ForeignIdentityError);

/// SHA-256 of `first` and `second`, apart from digests for another purpose and of another split.
fn digest(purpose: &str, first: &str, second: &str) -> [u8; 32] {
    let parts = [purpose, first, second].map(str::as_bytes);
    let hasher = parts
        .into_iter()
        .fold(Sha256::new(), |hasher, part| hasher.chain_update((part.len() as u64).to_be_bytes()).chain_update(part));
    hasher.finalize().into()
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Restores a key from its stored bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes to store.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

key! {
    /// Finds a [`ForeignIdentity`] in a store: a SHA-256 of issuer and subject.
    IdentityKey
}

key! {
    /// Finds a token that may be used once in a store: a SHA-256 of issuer and token id.
    TokenKey
}

/// An identity that is linked to an account, as a store lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LinkedIdentity {
    /// The key of the identity. Neither its issuer nor its subject is stored.
    pub key: IdentityKey,
    /// The account, with the label that it had when it was linked.
    pub account: Account,
    /// When it was linked.
    pub linked_at: Timestamp,
}

impl LinkedIdentity {
    /// Restores a link from its stored values.
    #[must_use]
    pub const fn new(key: IdentityKey, account: Account, linked_at: Timestamp) -> Self {
        Self { key, account, linked_at }
    }
}

impl TokenKey {
    /// The key of the token that `issuer` calls `id` (`jti`, RFC 7519 section 4.1.7).
    #[must_use]
    pub fn new(issuer: &str, id: &str) -> Self {
        Self(digest("token", issuer, id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn keys_differ_by_every_byte_by_the_split_and_by_the_purpose() {
        let key = |issuer, subject| ForeignIdentity::new(issuer, subject).unwrap().key();
        let one = key("https://idp.example", "7");
        assert_eq!(one, IdentityKey::from_bytes(*one.as_bytes()));
        for other in [
            key("https://idp.example/", "7"),
            key("https://idp.example7", "7"),
            key("https://idp.exampl", "e7"),
            key("https://idp.example", "07"),
            key("7", "https://idp.example"),
        ] {
            assert_ne!(one, other);
        }
        assert_ne!(one.as_bytes(), TokenKey::new("https://idp.example", "7").as_bytes());
        assert_eq!(format!("{one:?}"), "IdentityKey");
    }

    #[test]
    fn a_subject_is_bounded_text() {
        let longest = "x".repeat(SUBJECT_BYTES);
        for good in ["a", "auth0|7", "\u{e9}", &longest] {
            assert_eq!(ForeignIdentity::new("i", good).unwrap().subject(), good);
        }
        for bad in ["", "a\0", "a\n", &format!("{longest}x")] {
            assert!(ForeignIdentity::new("i", bad).is_err(), "{bad:?}");
        }
    }
}
