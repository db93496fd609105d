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

use std::{fmt, net::Ipv6Addr, str, sync::Arc};

use super::random::{Random, RandomError, push_base62};

/// Base62 characters of randomness in an identifier: 22 × log2(62) = 131 bits.
const RANDOM_LENGTH: usize = 22;
/// The length of a random identifier. Stored inline to save two allocations per session.
const RANDOM_ID_BYTES: usize = 4 + RANDOM_LENGTH;
const ACCOUNT_ID_BYTES: usize = 255;
const CLIENT_ID_BYTES: usize = 2_048;

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

crate::types::chain::debug_as_text!(AccountIdError);

/// The identifier of an OAuth client (RFC 6749 section 2.2): 1 to 2048 bytes of visible ASCII. It is compared byte for
/// byte.
///
/// ```
/// use tower_agent_auth::types::id::ClientId;
///
/// let id = ClientId::new("https://agent.example/client.json")?;
/// assert_eq!(id.metadata_host(), Some("agent.example"));
/// assert!(ClientId::new("two words").is_err());
/// # Ok::<(), tower_agent_auth::types::id::ClientIdError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Creates a client identifier: 1 to 2048 bytes from `0x21` to `0x7E`.
    ///
    /// # Errors
    /// When `text` is empty, longer, or has another byte. The fault is the client's.
    pub fn new(text: &str) -> Result<Self, ClientIdError> {
        let fits = (1..=CLIENT_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.into())) } else { Err(ClientIdError) }
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host of the client's metadata document, if the identifier is the URL of one: `https`, a host and a path,
    /// without user, password and fragment. `None` for any other identifier, and for a host in an unusual spelling.
    ///
    /// Whether the document says so too, and whether the client is who it claims to be, is not known here.
    #[must_use]
    pub fn metadata_host(&self) -> Option<&str> {
        let (authority, path) = self.0.strip_prefix("https://")?.split_once('/')?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
        let fits = is_host(host) && port.is_none_or(is_port) && !path.contains('#');
        fits.then_some(host)
    }
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(is_label),
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invalid client identifier. The fault is the client's.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("a client id is 1 to {CLIENT_ID_BYTES} visible ASCII characters")]
#[non_exhaustive]
pub struct ClientIdError;

crate::types::chain::debug_as_text!(ClientIdError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_client_id_is_visible_ascii_of_a_bounded_length() {
        let longest = "x".repeat(CLIENT_ID_BYTES);
        for good in ["!", "~", "a'\"<&>%_\\", "https://agent.example/c?x=1", &longest] {
            assert_eq!(ClientId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a\n", "a\0", "\u{7f}", "\u{e9}", &format!("{longest}x")] {
            assert!(ClientId::new(bad).is_err(), "{bad:?}");
        }
        let id = ClientId::new("agent-7").unwrap();
        assert_eq!((format!("{id:?}"), id.to_string()), ("ClientId(\"agent-7\")".into(), "agent-7".into()));
    }

    #[test]
    fn the_host_of_a_metadata_document_is_the_one_that_is_asked_for_it() {
        for (id, host) in [
            ("https://agent.example/client.json", Some("agent.example")),
            ("https://agent.example/", Some("agent.example")),
            ("https://Agent.Example:8443/c?x=1", Some("Agent.Example")),
            ("https://xn--exmple-cua.com/c", Some("xn--exmple-cua.com")),
            ("https://[2001:db8::7]:8443/c", Some("[2001:db8::7]")),
            ("https://[::1]/c", Some("[::1]")),
            ("https://agent.example", None),
            ("https://agent.example?/c", None),
            ("https://agent.example#/c", None),
            ("https://agent.example/c#x", None),
            ("https://good.example@evil.example/c", None),
            ("https://good.example:x@evil.example/c", None),
            ("https://good.example\\@evil.example/c", None),
            ("https://good.example%2fevil.example/c", None),
            ("https://agent.example:/c", None),
            ("https://agent.example:99999/c", None),
            ("https://agent.example:+44/c", None),
            ("https://agent..example/c", None),
            ("https://.agent.example/c", None),
            ("https://[agent.example]/c", None),
            ("https:///c", None),
            ("HTTPS://agent.example/c", None),
            ("http://agent.example/c", None),
            ("agent-7", None),
        ] {
            assert_eq!(ClientId::new(id).unwrap().metadata_host(), host, "{id}");
        }
    }
}
