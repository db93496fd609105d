//! Public identifiers. None of them is a secret or grants access.
//!
//! ```
//! use tower_agent_auth::types::{id::SessionId, random::OsRandom};
//!
//! let id = SessionId::generate(&OsRandom)?;
//! assert!(id.as_str().starts_with("ses_"));
//! assert_eq!(SessionId::parse(id.as_str()), Some(id));
//! assert_eq!(SessionId::parse("ses_../../etc"), None);
//! # Ok::<(), tower_agent_auth::types::random::RandomError>(())
//! ```

use std::{fmt, str, sync::Arc};

use super::random::{Random, RandomError, push_base62};

/// Base62 characters of randomness in an identifier: 22 × log2(62) = 131 bits.
const RANDOM_LENGTH: usize = 22;
/// The length of a random identifier. Stored inline to save two allocations per session.
const RANDOM_ID_BYTES: usize = 4 + RANDOM_LENGTH;
const ACCOUNT_ID_BYTES: usize = 255;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; RANDOM_ID_BYTES]);

        impl $name {
            /// Generates an identifier of 131 random bits.
            ///
            /// # Errors
            /// When `random` fails.
            pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
                let mut text = String::from($prefix);
                push_base62(&mut text, RANDOM_LENGTH, random)?;
                Self::of(&text).ok_or(RandomError)
            }

            /// Parses `text`. Returns `None` if it has another form.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let random = text.strip_prefix($prefix)?;
                let fits = random.len() == RANDOM_LENGTH && random.bytes().all(|b| b.is_ascii_alphanumeric());
                if fits { Self::of(text) } else { None }
            }

            fn of(text: &str) -> Option<Self> {
                text.as_bytes().try_into().ok().map(Self)
            }

            /// The identifier as text, safe in a URL path.
            #[must_use]
            pub fn as_str(&self) -> &str {
                // The bytes are always ASCII.
                str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.as_str()).finish()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

random_id! {
    /// The identifier of an authorization request: `reg_` and 22 base62 characters. It is part of the approval URL.
    AuthorizationRequestId, "reg_"
}

random_id! {
    /// The identifier of a session: `ses_` and 22 base62 characters. It appears on the sessions page and in audit
    /// events.
    SessionId, "ses_"
}

/// The identifier of an account at the host service. The host assigns it. It must be stable and never reused, so an
/// e-mail address is unsuitable.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Creates an account identifier: 1 to 255 bytes without control characters.
    ///
    /// # Errors
    /// When `text` is empty, longer, or has a control character.
    pub fn new(text: &str) -> Result<Self, AccountIdError> {
        if text.is_empty() || text.len() > ACCOUNT_ID_BYTES || text.chars().any(char::is_control) {
            return Err(AccountIdError);
        }
        Ok(Self(text.into()))
    }

    /// The identifier as the host assigned it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invalid account identifier. The fault is the host's.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("an account id is 1 to {ACCOUNT_ID_BYTES} bytes without control characters")]
#[non_exhaustive]
pub struct AccountIdError;

crate::types::error_chain::debug_as_text!(AccountIdError);
