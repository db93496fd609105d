//! The redirect URI of an OAuth client: where a browser takes the authorization code (RFC 6749 section 3.1.2).
//!
//! A requested redirect URI must be one that the client registered, byte for byte. For loopback addresses alone the port
//! may differ, because a program listens on whatever port is free (RFC 8252 section 7.3). `localhost` counts as one:
//! the hosts that programs register by name listen there.
//!
//! ```
//! use tower_agent_auth::types::redirect_uri::{RedirectUri, Schemes};
//!
//! let registered = RedirectUri::parse("http://127.0.0.1/callback", Schemes::Web)?;
//! assert!(registered.matches("http://127.0.0.1:43123/callback"));
//! assert!(!registered.matches("http://localhost:43123/callback"));
//! assert!(!registered.matches("http://127.0.0.1:43123/callback?next=/"));
//!
//! let error = RedirectUri::parse("http://app.example.com/callback", Schemes::Web).unwrap_err();
//! assert!(error.to_string().contains("https"));
//! # Ok::<(), tower_agent_auth::types::redirect_uri::RedirectUriError>(())
//! ```

use std::fmt;

use super::callback::{LOOPBACK, host_of, with_parameters};

const LONGEST: usize = 512;
/// Parameters of an authorization response (RFC 6749 section 4.1.2, RFC 9207). A redirect URI that already has one
/// could make the client read the wrong value.
const RESERVED: [&str; 5] = ["code", "state", "iss", "error", "error_description"];
/// Schemes that run or show what follows them, or that are no scheme of an app.
const FORBIDDEN: [&str; 12] = [
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "javascript",
    "resource",
    "vbscript",
    "view-source",
    "ws",
];

/// Which schemes a redirect URI may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Schemes {
    /// `https`, and `http` on a loopback address.
    Web,
    /// Those, and the schemes of apps, such as `com.example.app:/callback` (RFC 8252 section 7.1). Any program can claim
    /// such a scheme.
    AndPrivateUse,
}

/// A validated redirect URI, byte for byte as the client sent it.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct RedirectUri(Box<str>);

impl RedirectUri {
    /// Validates a redirect URI: `https`, `http` with a loopback host and any port or none, or, if `schemes` allows it,
    /// an app's scheme. It has no fragment, no user information, and no parameter of an authorization response.
    ///
    /// # Errors
    /// For any other URI; the error names the invalid part. The fault is the client's.
    pub fn parse(uri: &str, schemes: Schemes) -> Result<Self, RedirectUriError> {
        if uri.len() > LONGEST {
            return Err(RedirectUriError::TooLong);
        }
        if !uri.bytes().all(is_uri_byte) {
            return Err(RedirectUriError::Character);
        }
        let (scheme, rest) = uri.split_once(':').ok_or(RedirectUriError::Scheme)?;
        match scheme {
            "https" => check_authority(rest)?,
            "http" if Loopback::of(uri).is_some() => {}
            "http" => return Err(RedirectUriError::Scheme),
            scheme if schemes == Schemes::AndPrivateUse && is_private_use(scheme) => {
                // The authority means something to the app alone, but nobody reads past a name of another host.
                if authority_of(rest).is_some_and(|authority| authority.contains('@')) {
                    return Err(RedirectUriError::Authority);
                }
            }
            _ => return Err(RedirectUriError::Scheme),
        }
        let query = uri.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.to_ascii_lowercase());
        if names.any(|name| RESERVED.contains(&name.as_str())) {
            return Err(RedirectUriError::Reserved);
        }
        Ok(Self(uri.into()))
    }

    /// Restores a redirect URI from its stored text, without validation. It was validated before it was stored.
    #[must_use]
    pub fn from_stored(uri: &str) -> Self {
        Self(uri.into())
    }

    /// Whether `requested` is this registered redirect URI: byte for byte, or on a loopback address with any port.
    #[must_use]
    pub fn matches(&self, requested: &str) -> bool {
        if *self.0 == *requested {
            return true;
        }
        match (Loopback::of(&self.0), Loopback::of(requested)) {
            (Some(registered), Some(requested)) => registered == requested,
            _ => false,
        }
    }

    /// The URI without its port if it is on a loopback address, where [`matches`](Self::matches) ignores the port; any
    /// other URI as it is.
    #[must_use]
    pub fn without_free_port(&self) -> Self {
        match Loopback::of(&self.0) {
            Some(Loopback { host, rest }) => Self(format!("http://{host}{rest}").into()),
            None => self.clone(),
        }
    }

    /// The URI as the client sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it leads to a program on the computer of the browser.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        Loopback::of(&self.0).is_some()
    }

    /// The host, in brackets if it is an IPv6 address; `None` for the scheme of an app.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.is_web().then(|| host_of(&self.0))
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The source expression that lets a form redirect there, in a content security policy: the URI without its query,
    /// or the scheme of an app.
    #[must_use]
    pub fn form_action(&self) -> &str {
        if self.is_web() {
            return self.0.split('?').next().unwrap_or(&self.0);
        }
        self.0.find(':').map_or(&*self.0, |colon| &self.0[..=colon])
    }

    /// The URI with these parameters appended to its query once each, percent-encoded.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        with_parameters(&self.0, parameters)
    }

    fn is_web(&self) -> bool {
        self.0.starts_with("https://") || self.0.starts_with("http://")
    }
}

impl fmt::Debug for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may contain a secret of the client.
        write!(f, "RedirectUri({})", self.form_action())
    }
}

/// Why a URI can't be a redirect URI. The fault is the client's.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectUriError {
    /// Longer than 512 bytes.
    #[error("is longer than {LONGEST} bytes; shorten it")]
    TooLong,
    /// Has a character that a URI can't have, or a fragment.
    #[error("has a fragment, or a character that a URI can't have; percent-encode it")]
    Character,
    /// Neither https nor loopback http nor, if allowed, the scheme of an app.
    #[error("must be https, or http on 127.0.0.1, [::1] or localhost")]
    Scheme,
    /// The host or port has no plain spelling, or there is user information.
    #[error(
        "must have a host of letters, digits, hyphens and dots in lower case, a plain port or none, and no user name"
    )]
    Authority,
    /// The query has a parameter that an authorization response adds.
    #[error("must not have a parameter that the service adds: code, state, iss, error, error_description")]
    Reserved,
}

crate::types::error_chain::debug_as_text!(RedirectUriError);

/// A loopback URI without its port.
#[derive(Eq, PartialEq)]
struct Loopback<'a> {
    host: &'static str,
    /// What follows the port.
    rest: &'a str,
}

impl<'a> Loopback<'a> {
    fn of(uri: &'a str) -> Option<Self> {
        let after = uri.strip_prefix("http://")?;
        let host = LOOPBACK.into_iter().find(|host| after.starts_with(host))?;
        let after = &after[host.len()..];
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (port, rest) = after.split_at(end);
        (port.is_empty() || is_port(port)).then_some(Self { host, rest })
    }
}

/// Whether this is a colon and a port from 1 on, without leading zeros.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else { return false };
    digits.parse::<u16>().is_ok_and(|port| port > 0 && port.to_string() == digits)
}

/// The authority, given what follows the scheme and its colon (RFC 3986 section 3.2).
fn authority_of(rest: &str) -> Option<&str> {
    let after = rest.strip_prefix("//")?;
    Some(&after[..after.find(['/', '?']).unwrap_or(after.len())])
}

/// Checks the authority of a web URI. Its host is written as a browser shows it, so that the human reads the real one.
fn check_authority(rest: &str) -> Result<(), RedirectUriError> {
    let authority = authority_of(rest).ok_or(RedirectUriError::Authority)?;
    let (host, port) = authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let labels = host.split('.').all(|label| !label.is_empty() && label.bytes().all(plain));
    // Browsers read a name whose last label is a number, decimal or hexadecimal, as an IPv4 address (WHATWG URL section
    // 3.5).
    let last = host.rsplit('.').next().unwrap_or(host);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    let known = !is_number || host.parse::<std::net::Ipv4Addr>().is_ok();
    if labels && known && (port.is_empty() || is_port(port)) { Ok(()) } else { Err(RedirectUriError::Authority) }
}

/// Whether this can be the scheme of an app (RFC 3986 section 3.1).
fn is_private_use(scheme: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    let begins = scheme.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    begins && scheme.bytes().all(plain) && !FORBIDDEN.contains(&scheme) && !matches!(scheme, "http" | "https" | "wss")
}

/// The characters of RFC 3986, without `#`, and without `;`, `,` and `'`, which end a directive of a content security
/// policy.
const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b';' | b',' | b'\'')
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::{option, prelude::*, sample::select};
    use url::Url;

    use super::*;

    fn web(uri: &str) -> Result<RedirectUri, RedirectUriError> {
        RedirectUri::parse(uri, Schemes::Web)
    }

    #[test]
    fn ru2_the_port_of_a_loopback_address_is_free_and_nothing_else() {
        for (registered, requested) in [
            ("http://localhost/callback", "http://localhost:3118/callback"),
            ("http://127.0.0.1:33418/", "http://127.0.0.1:50001/"),
            ("http://127.0.0.1:33418/", "http://127.0.0.1/"),
            ("http://[::1]/cb", "http://[::1]:1/cb"),
            ("http://127.0.0.1", "http://127.0.0.1:8000"),
            ("http://127.0.0.1/cb?x=1", "http://127.0.0.1:8000/cb?x=1"),
        ] {
            assert!(web(registered).unwrap().matches(requested), "{registered} {requested}");
            let (one, other) = (web(registered).unwrap(), web(requested).unwrap());
            assert_eq!(one.without_free_port(), other.without_free_port(), "{registered} {requested}");
        }
        for (registered, requested) in [
            ("http://localhost/callback", "http://127.0.0.1:3118/callback"),
            ("http://localhost/callback", "http://localhost:3118/callback/"),
            ("http://localhost/callback", "http://localhost:3118/callback?a=b"),
            ("http://localhost/callback", "http://localhost:3118/Callback"),
            ("http://localhost/callback", "https://localhost:3118/callback"),
            ("http://localhost/callback", "http://localhost:0/callback"),
            ("http://localhost/callback", "http://localhost:03118/callback"),
            ("http://localhost/callback", "http://localhost:70000/callback"),
            ("http://localhost/callback", "http://localhost:/callback"),
            ("http://localhost/callback", "http://localhost.example.com/callback"),
            ("http://localhost/callback", "http://localhost:3118@example.com/callback"),
            ("http://127.0.0.1", "http://127.0.0.1:8000/"),
            ("https://example.com/callback", "https://example.com:444/callback"),
            ("https://example.com/callback", "https://example.com/callback?x"),
            ("https://example.com/callback", "https://example.com/callback/"),
        ] {
            assert!(!web(registered).unwrap().matches(requested), "{registered} {requested}");
            let kept = web(registered).unwrap().without_free_port();
            assert!(!kept.matches(requested) && kept.as_str() == registered, "{registered} {requested}");
        }
    }

    #[test]
    fn ru3_other_schemes_and_odd_authorities_are_refused() {
        use RedirectUriError::{Authority, Character, Reserved, Scheme, TooLong};
        for (uri, error) in [
            ("http://example.com/cb", Scheme),
            ("http://127.0.0.2/cb", Scheme),
            ("http://localhost.example.com/cb", Scheme),
            ("http://localhost@example.com/cb", Scheme),
            ("javascript:alert(1)", Scheme),
            ("data:text/html,x", Character),
            ("cursor://anysphere.cursor-mcp/oauth/callback", Scheme),
            ("example.com/cb", Scheme),
            ("https:/example.com/cb", Authority),
            ("https://user@example.com/cb", Authority),
            ("https://EXAMPLE.com/cb", Authority),
            ("https://example..com/cb", Authority),
            ("https://example.com:0443/cb", Authority),
            ("https://0x7f.1/cb", Authority),
            ("https://127.0.0x1/cb", Authority),
            ("https://127.0.0.0x1:8443/cb", Authority),
            ("https://0x7f000001/cb", Authority),
            ("https://app.0x/cb", Authority),
            ("https:///cb", Authority),
            ("https://example.com/cb#f", Character),
            ("https://example.com/c b", Character),
            ("https://example.com/cb;script-src", Character),
            ("https://ex\u{e4}mple.com/cb", Character),
            ("https://example.com/cb?code=1", Reserved),
            ("https://example.com/cb?x=1&%73tate=2", Reserved),
            ("https://example.com/cb?Code=2", Reserved),
        ] {
            assert_eq!(web(uri), Err(error), "{uri}");
        }
        assert_eq!(web(&format!("https://example.com/{}", "a".repeat(500))), Err(TooLong));
    }

    #[test]
    fn ru3_app_schemes_are_a_choice() {
        let apps = |uri| RedirectUri::parse(uri, Schemes::AndPrivateUse);
        for uri in ["cursor://anysphere.cursor-mcp/oauth/callback", "com.example.app:/cb"] {
            let uri = apps(uri).unwrap();
            assert!(uri.matches(uri.as_str()) && !uri.is_loopback() && uri.host().is_none());
            assert!(uri.with(&[("code", "a b")]).ends_with("?code=a%20b"));
        }
        assert_eq!(apps("cursor://x/y").unwrap().form_action(), "cursor:");
        assert_eq!(apps("cursor://example.com@x/y"), Err(RedirectUriError::Authority));
        for uri in FORBIDDEN.map(|scheme| format!("{scheme}:x")).iter().chain(&["http://example.com/".into()]) {
            assert_eq!(apps(uri), Err(RedirectUriError::Scheme), "{uri}");
        }
    }

    /// A URI in parts, so that a model can compare them one by one.
    #[derive(Clone, Debug, Eq, PartialEq)]
    struct Parts {
        scheme: &'static str,
        user: &'static str,
        host: &'static str,
        port: &'static str,
        path: &'static str,
        query: &'static str,
        fragment: &'static str,
    }

    impl Parts {
        fn text(&self) -> String {
            let Self { scheme, user, host, port, path, query, fragment } = self;
            format!("{scheme}://{user}{host}{port}{path}{query}{fragment}")
        }

        /// RFC 8252 section 7.3, in the words of the configuration.
        fn has_free_port(&self) -> bool {
            let port = self.port.strip_prefix(':').map(|digits| (digits, digits.parse::<u16>()));
            let plain = match port {
                None => self.port.is_empty(),
                Some((digits, Ok(number))) => number > 0 && !digits.starts_with(['0', '+']),
                Some((_, Err(_))) => false,
            };
            self.scheme == "http"
                && matches!(self.host, "127.0.0.1" | "[::1]" | "localhost")
                && (self.user, self.fragment) == ("", "")
                && plain
        }

        fn matches(&self, requested: &Self) -> bool {
            let but_port = Self { port: self.port, ..requested.clone() };
            self == requested || (self.has_free_port() && requested.has_free_port() && *self == but_port)
        }
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let hosts = [
            "127.0.0.1",
            "127.0.0.1",
            "[::1]",
            "localhost",
            "localhost",
            "app.example",
            "LOCALHOST",
            "127.1",
            "127.0.0.2",
            "localhost.",
            "localhost.app.example",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:0:0:1]",
            "127.0.0.1\\",
            "evil.example",
        ];
        let ports = ["", "", ":1", ":80", ":443", ":33418", ":65535", ":0", ":080", ":+80", ":65536", ":", ":x"];
        (
            select(&["http", "http", "https", "HTTP", "cursor"][..]),
            select(&["", "", "", "", "", "user@", "127.0.0.1@", "localhost:80@", ":@"][..]),
            select(hosts.to_vec()),
            select(ports.to_vec()),
            select(
                &["/callback", "/callback", "", "/", "/callback/", "/Callback", "/x/../callback", "/%63allback"][..],
            ),
            select(&["", "", "", "?", "?a=b", "?a=b&a=b", "?a=%62"][..]),
            select(&["", "", "", "", "", "#", "#x"][..]),
        )
            .prop_map(|(scheme, user, host, port, path, query, fragment)| Parts {
                scheme,
                user,
                host,
                port,
                path,
                query,
                fragment,
            })
    }

    /// A registered URI, and one that differs from it in any of its parts, or in all.
    fn pairs() -> impl Strategy<Value = (Parts, Parts)> {
        let loopback = (select(&LOOPBACK[..]), select(&["", ":1", ":33418"][..]));
        let plain = option::weighted(0.7, loopback);
        let pair = (parts(), plain, parts(), any::<[bool; 7]>(), any::<bool>());
        pair.prop_map(|(registered, plain, other, differs, often)| {
            let registered = match plain {
                Some((host, port)) => Parts { scheme: "http", user: "", host, port, fragment: "", ..registered },
                None => registered,
            };
            let [scheme, user, host, port, path, query, fragment] =
                if often { [false, false, false, true, false, false, false] } else { differs };
            let requested = Parts {
                scheme: if scheme { other.scheme } else { registered.scheme },
                user: if user { other.user } else { registered.user },
                host: if host { other.host } else { registered.host },
                port: if port { other.port } else { registered.port },
                path: if path { other.path } else { registered.path },
                query: if query { other.query } else { registered.query },
                fragment: if fragment { other.fragment } else { registered.fragment },
            };
            (registered, requested)
        })
    }

    /// The match against a model of the parts, and what it lets through as the `url` crate reads it, which is how a
    /// browser does.
    #[test]
    fn r111_a_requested_uri_matches_as_its_parts_do() {
        let (matched, free, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let cases = ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(cases, |((registered, requested) in pairs())| {
            let (here, there) = (registered.text(), requested.text());
            let Ok(uri) = RedirectUri::parse(&here, Schemes::AndPrivateUse) else {
                prop_assert_eq!(RedirectUri::parse(&here, Schemes::Web).err().is_some(), true);
                refused.set(refused.get() + 1);
                return Ok(());
            };
            let matches = uri.matches(&there);
            prop_assert_eq!(matches, registered.matches(&requested), "{} {}", here, there);
            if !matches {
                return Ok(());
            }
            matched.set(matched.get() + 1);
            let (here, there) = (Url::parse(&here), Url::parse(&there));
            let (Ok(here), Ok(there)) = (here, there) else {
                // The url crate knows no hosts of an app's scheme.
                prop_assert_eq!(registered.scheme, "cursor");
                return Ok(());
            };
            prop_assert_eq!((here.scheme(), here.host()), (there.scheme(), there.host()));
            prop_assert_eq!((here.path(), here.query(), here.fragment()), (there.path(), there.query(), None));
            prop_assert_eq!((there.username(), there.password()), ("", None));
            if here.port() != there.port() {
                free.set(free.get() + 1);
                prop_assert!(here.scheme() == "http" && uri.is_loopback());
            }
        });
        let reached = [matched.get(), free.get(), refused.get()];
        assert!(reached.iter().all(|count| *count > 1_000), "every branch is reached: {reached:?}");
    }
}
