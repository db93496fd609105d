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

use super::{
    callback::host_of,
    random::{Random, RandomError, push_base62},
    redirect_uri::{RedirectUri, Schemes},
};

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

crate::types::error_chain::debug_as_text!(AccountIdError);

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

    /// Generates the identifier of a client that registers itself: `client_` and 22 base62 characters, of which 131 bits
    /// are random.
    ///
    /// # Errors
    /// When `random` fails.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut text = String::from("client_");
        push_base62(&mut text, RANDOM_LENGTH, random)?;
        Ok(Self(text.into()))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClientId {
    /// The host of the client's metadata document, if the identifier is the URL of one
    /// (draft-ietf-oauth-client-id-metadata-document section 3): `https`, a plain host and a path, at most 512 bytes.
    /// There is no query, fragment, user name or dot segment. The host is in lower case.
    ///
    /// ```
    /// use tower_agent_auth::types::id::ClientId;
    ///
    /// assert_eq!(ClientId::new("https://app.example.com/client.json")?.metadata_host(), Some("app.example.com"));
    /// assert_eq!(ClientId::new("https://app.example.com/")?.metadata_host(), None);
    /// # Ok::<(), tower_agent_auth::types::id::ClientIdError>(())
    /// ```
    #[must_use]
    pub fn metadata_host(&self) -> Option<&str> {
        let (_, path) = self.0.strip_prefix("https://")?.split_once('/')?;
        // A URL parser removes dot segments, also those in percent-encoding (WHATWG URL section 4.4).
        let is_dots = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
        let fits = !path.is_empty() && !self.0.contains('?') && !path.split('/').any(is_dots);
        (fits && RedirectUri::parse(&self.0, Schemes::Web).is_ok()).then(|| host_of(&self.0))
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

crate::types::error_chain::debug_as_text!(ClientIdError);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

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

    fn host(id: &str) -> Option<String> {
        ClientId::new(id).unwrap().metadata_host().map(str::to_owned)
    }

    #[test]
    fn ci1_the_url_of_a_metadata_document_is_https_with_a_path_and_one_spelling() {
        for (id, expected) in [
            ("https://claude.ai/oauth/claude-code-client-metadata", Some("claude.ai")),
            ("https://chatgpt.com/oauth/codex/client.json", Some("chatgpt.com")),
            ("https://github.com/copilot/cli/client-metadata.json", Some("github.com")),
            ("https://app.example.com:8443/client", Some("app.example.com")),
            ("https://xn--exmple-cua.com/c", Some("xn--exmple-cua.com")),
            ("https://192.0.2.1/c", Some("192.0.2.1")),
            ("https://app.example.com//c/", Some("app.example.com")),
            ("https://app.example.com/...", Some("app.example.com")),
            ("https://app.example.com", None),
            ("https://app.example.com/", None),
            ("https://app.example.com?/c", None),
            ("https://app.example.com/c?x=1", None),
            ("https://app.example.com/c?", None),
            ("https://app.example.com/c#x", None),
            ("https://app.example.com#/c", None),
            ("https://app.example.com/.", None),
            ("https://app.example.com/a/../c", None),
            ("https://app.example.com/a/%2e%2E/c", None),
            ("https://app.example.com/a/.%2e", None),
            ("https://app.example.com/%2e/c", None),
            ("https://ada@app.example.com/c", None),
            ("https://good.example:x@evil.example/c", None),
            ("https://good.example\\@evil.example/c", None),
            ("https://App.example.com/c", None),
            ("https://app..example.com/c", None),
            ("https://.example.com/c", None),
            ("https://app.example.com./c", None),
            ("https://app.example.com:/c", None),
            ("https://app.example.com:0/c", None),
            ("https://app.example.com:99999/c", None),
            ("https://127.1/c", None),
            ("https://2130706433/c", None),
            ("https://[::1]/c", None),
            ("https:///c", None),
            ("HTTPS://app.example.com/c", None),
            ("http://app.example.com/c", None),
            ("http://127.0.0.1/c", None),
            ("agent-7", None),
        ] {
            assert_eq!(host(id).as_deref(), expected, "{id}");
        }
        assert_eq!(host(&format!("https://app.example.com/{}", "a".repeat(500))), None);
    }

    proptest! {
        /// What an HTTP client reads of the URL is what the human and the trust policy see.
        #[test]
        fn ci1_the_host_is_the_one_that_is_asked(id in "https://[a-z0-9.:@/%2eE\\\\?#\\[\\]-]{1,40}") {
            if let Some(host) = host(&id) {
                let uri: http::Uri = id.parse().unwrap();
                prop_assert_eq!(uri.host(), Some(&*host));
                prop_assert!(uri.path().len() > 1 && uri.query().is_none());
                prop_assert!(!uri.authority().unwrap().as_str().contains('@'));
            }
        }
    }
}
