//! The callback URL of a live browser login. It returns the human's browser, and the exchange code, to the agent.
//!
//! An agent in a terminal listens on a loopback address (RFC 8252 section 7.3), which only browsers on the same machine
//! can reach. An `https` callback is accepted only if its origin is listed in the configuration.
//!
//! ```
//! use tower_agent_auth::types::callback::Callback;
//!
//! let callback = Callback::parse("http://127.0.0.1:43123/callback", &[])?;
//! assert_eq!(callback.with(&[("exchange_code", "a b")]), "http://127.0.0.1:43123/callback?exchange_code=a%20b");
//! assert!(Callback::parse("http://127.0.0.1.example.com:80/", &[]).is_err());
//! # Ok::<(), tower_agent_auth::types::callback::CallbackError>(())
//! ```

use std::fmt;

const LONGEST: usize = 512;
/// Parameters that the redirect adds. A callback that already has one could make the agent read the wrong value.
const RESERVED: [&str; 6] = ["request_id", "exchange_code", "code", "state", "iss", "error"];
pub(crate) const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];
/// The lowest accepted port. Lower ports are well-known ports, where no agent listens.
const LOWEST_PORT: u16 = 1_024;

/// A validated callback URL, stored byte for byte as the client sent it.
#[derive(Clone, Eq, PartialEq)]
pub struct Callback(Box<str>);

impl Callback {
    /// Validates a callback. Accepts `http` with an exact loopback host and an explicit port from 1024 on, or an
    /// `https` URL of one of `origins`.
    ///
    /// # Errors
    /// For any other URL; the error names the invalid part. The fault is the client's.
    pub fn parse(url: &str, origins: &[String]) -> Result<Self, CallbackError> {
        if url.len() > LONGEST {
            return Err(CallbackError::TooLong);
        }
        let (location, query) = match url.split_once('?') {
            Some((location, query)) => (location, Some(query)),
            None => (url, None),
        };
        let path = match origins.iter().find_map(|origin| location.strip_prefix(origin.as_str())) {
            Some(path) => path,
            None => loopback_path(location).ok_or(CallbackError::NotAllowed)?,
        };
        if !path.starts_with('/') || !path.bytes().all(is_path) || !is_escaped(path) || has_dot_segment(path) {
            return Err(CallbackError::Path);
        }
        if query.is_some_and(|query| !query.bytes().all(is_query) || !is_escaped(query)) {
            return Err(CallbackError::Query);
        }
        if names(query).any(|name| RESERVED.contains(&name)) {
            return Err(CallbackError::Reserved);
        }
        Ok(Self(url.into()))
    }

    /// Restores a callback from its stored URL, without validation. It is validated before it is stored and again
    /// before it is used.
    #[must_use]
    pub fn from_stored(url: &str) -> Self {
        Self(url.into())
    }

    /// The URL as the client sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a loopback URL, and not one of a listed origin.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// The host, in brackets if it is an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        host_of(&self.0)
    }

    /// The URL with these parameters appended to its query once each, percent-encoded.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        with_parameters(&self.0, parameters)
    }

    /// The URL without its query, in the form used by a content security policy.
    #[must_use]
    pub fn location(&self) -> &str {
        self.0.split('?').next().unwrap_or(&self.0)
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may contain a secret of the client.
        write!(f, "Callback({})", self.location())
    }
}

/// Why a URL can't be a callback. The fault is the client's.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// Longer than 512 bytes.
    #[error("is longer than {LONGEST} bytes; shorten it")]
    TooLong,
    /// Neither a loopback URL nor a URL of a listed origin.
    #[error(
        "must be http://127.0.0.1, http://[::1] or http://localhost with an explicit port from {LOWEST_PORT} on and a path"
    )]
    NotAllowed,
    /// A loopback URL with the host of the service itself. Cookies don't tell ports apart (RFC 6265 section 8.5), so a
    /// browser would send the service's cookies to the agent.
    #[error(
        "must not have the service's own host: browsers send its cookies to every port of that host; \
         use another one of 127.0.0.1, [::1] and localhost"
    )]
    OwnHost,
    /// The path has characters or segments that a browser would rewrite.
    #[error(
        "must have a path that begins with a slash, of unreserved and percent-encoded characters, without . and .. in it"
    )]
    Path,
    /// The query has characters that a browser would rewrite, or a fragment follows.
    #[error("must have its query percent-encoded, and no fragment")]
    Query,
    /// The query has a parameter that the service adds.
    #[error("must not have a parameter that the service adds: request_id, exchange_code, code, state, iss, error")]
    Reserved,
}

crate::types::error_chain::debug_as_text!(CallbackError);

/// The URL with these parameters appended to its query once each, percent-encoded.
pub(crate) fn with_parameters(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = url.to_owned();
    let mut separator = if url.contains('?') { '&' } else { '?' };
    for (name, value) in parameters {
        url.push(separator);
        url.push_str(name);
        url.push('=');
        value.bytes().for_each(|byte| push_encoded(&mut url, byte));
        separator = '&';
    }
    url
}

/// The host of an absolute URL without user information, in brackets if it is an IPv6 address.
pub(crate) fn host_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or(authority);
    let port = authority.rfind(':').filter(|colon| !authority[*colon..].contains(']'));
    port.map_or(authority, |colon| &authority[..colon])
}

/// The path, if a loopback origin precedes it in the one spelling that all parsers read alike.
fn loopback_path(location: &str) -> Option<&str> {
    let rest = location.strip_prefix("http://")?;
    let rest = LOOPBACK.iter().find_map(|host| rest.strip_prefix(host))?.strip_prefix(':')?;
    let (port, path) = rest.split_at(rest.find('/')?);
    let number: u16 = port.parse().ok()?;
    // `parse` also accepts a plus sign and leading zeros.
    (number >= LOWEST_PORT && number.to_string() == port).then_some(path)
}

/// The path characters of RFC 3986 section 3.3, except those that browsers rewrite.
const fn is_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b'='
                | b':'
                | b'@'
        )
}

const fn is_query(byte: u8) -> bool {
    is_path(byte) || byte == b'?'
}

/// Whether each percent sign begins an escape.
fn is_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit))
}

/// Whether the path has a `.` or `..` segment, encoded or not. Browsers remove such segments.
fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

fn names(query: Option<&str>) -> impl Iterator<Item = &str> {
    // Receivers decode an encoded name. No valid name needs an escape, so an encoded name counts as reserved.
    let pairs = query.unwrap_or_default().split('&');
    pairs.map(|pair| pair.split('=').next().unwrap_or(pair)).map(|name| if name.contains('%') { "state" } else { name })
}

fn push_encoded(url: &mut String, byte: u8) {
    use fmt::Write;
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        url.push(char::from(byte));
    } else {
        // Writing to a string can't fail.
        let _ = write!(url, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Vec<String> {
        vec!["https://paperclip.example".into()]
    }

    #[test]
    fn r69_loopback_and_listed_origins_are_taken() {
        for good in [
            "http://127.0.0.1:43123/callback",
            "http://[::1]:5000/cb",
            "http://localhost:1024/",
            "http://127.0.0.1:65535/a/b.html?aa_auth_callback=1",
            "http://127.0.0.1:9119/api/plugins/agent-analytics/auth/callback",
            "https://paperclip.example/?aa_auth_callback=1",
            "https://paperclip.example/plugins/x%20y",
        ] {
            assert_eq!(Callback::parse(good, &listed()).map(|kept| kept.as_str().to_owned()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn r69_whatever_else_is_refused() {
        for bad in [
            "",
            "/",
            "127.0.0.1:9000/",
            "//127.0.0.1:9000/",
            "https://127.0.0.1:9000/",
            "https://127.0.0.1:1",
            "HTTP://127.0.0.1:9000/",
            "http:/127.0.0.1:9000/",
            "http:127.0.0.1:9000/",
            "http://127.0.0.1",
            "http://127.0.0.1/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:80/",
            "http://127.0.0.1:1023/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:+9000/",
            "http://127.0.0.1:09000/",
            "http://127.0.0.1:9000",
            "http://127.0.0.1:9000x/",
            "http://127.0.0.1:9０00/",
            "http://127.0.0.1.evil.com:8000/",
            "http://evil.com/?http://127.0.0.1:9000/",
            "http://localhost@evil.com/",
            "http://localhost:9000@evil.com/",
            "http://user@127.0.0.1:9000/",
            "http://user:pass@127.0.0.1:9000/",
            "http://evil.com#@127.0.0.1:9000/",
            "http://127.0.0.1:9000#/",
            "http://127.0.0.1:9000/#x",
            "http://127.0.0.1:9000/?a=b#x",
            "http://0.0.0.0:9000/",
            "http://127.0.0.2:9000/",
            "http://[::]:9000/",
            "http://[::ffff:127.0.0.1]:9000/",
            "http://[0:0:0:0:0:0:0:1]:9000/",
            "http://[::1%25lo]:9000/",
            "http://::1:9000/",
            "http://2130706433:9000/",
            "http://0x7f.1:9000/",
            "http://127.1:9000/",
            "http://0177.0.0.1:9000/",
            "http://localhost.:9000/",
            "http://LOCALHOST:9000/",
            "http://localhost.localdomain:9000/",
            "http://127.0.0.1:9000\\@evil.com/",
            "http://127.0.0.1:9000/\\evil.com",
            "http://127.0.0.1:9000/ x",
            "http://127.0.0.1:9000/\r\nLocation: x",
            "http://127.0.0.1:9000/\tx",
            " http://127.0.0.1:9000/",
            "http://127.0.0.1:9000/é",
            "http://127.0.0.1:9000/%",
            "http://127.0.0.1:9000/%2",
            "http://127.0.0.1:9000/%zz",
            "http://127.0.0.1:9000/a/../b",
            "http://127.0.0.1:9000/a/%2e%2E/b",
            "http://127.0.0.1:9000/./b",
            "http://127.0.0.1:9000/a;b",
            "http://127.0.0.1:9000/a,b",
            "http://127.0.0.1:9000/a'b",
            "http://127.0.0.1:9000/a\"b",
            "http://127.0.0.1:9000/?a=\"b",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "ftp://127.0.0.1:9000/",
            "https://paperclip.example",
            "https://paperclip.example.evil.com/",
            "https://paperclip.example@evil.com/",
            "https://paperclip.example:8443/",
            "https://sub.paperclip.example/",
            "http://paperclip.example/",
            "https://PAPERCLIP.example/",
        ] {
            assert!(Callback::parse(bad, &listed()).is_err(), "{bad:?}");
        }
        let long = format!("http://127.0.0.1:9000/{}", "a".repeat(LONGEST));
        assert_eq!(Callback::parse(&long, &[]), Err(CallbackError::TooLong));
        assert_eq!(Callback::parse("https://paperclip.example/", &[]), Err(CallbackError::NotAllowed));
    }

    #[test]
    fn b4_a_callback_knows_its_host() {
        for (url, host, is_loopback) in [
            ("http://127.0.0.1:43123/callback?a=http://x:1/", "127.0.0.1", true),
            ("http://[::1]:5000/cb", "[::1]", true),
            ("http://localhost:1024/", "localhost", true),
            ("https://paperclip.example/a:b?x=:1", "paperclip.example", false),
        ] {
            let callback = Callback::parse(url, &listed()).unwrap();
            assert_eq!((callback.host(), callback.is_loopback()), (host, is_loopback));
        }
        for (url, host) in
            [("https://[::1]", "[::1]"), ("https://a.example", "a.example"), ("http://[::1]:3000", "[::1]")]
        {
            assert_eq!(host_of(url), host);
        }
    }

    #[test]
    fn r70_no_parameter_is_there_twice() {
        for name in RESERVED {
            for query in [format!("{name}=x"), format!("a=b&{name}=x"), name.to_owned()] {
                let url = format!("http://127.0.0.1:9000/cb?{query}");
                assert_eq!(Callback::parse(&url, &[]), Err(CallbackError::Reserved), "{url}");
            }
        }
        let encoded = "http://127.0.0.1:9000/cb?%73tate=x";
        assert_eq!(Callback::parse(encoded, &[]), Err(CallbackError::Reserved));
    }

    #[test]
    fn r70_what_was_there_stays_and_what_is_added_is_encoded() {
        let plain = Callback::parse("http://127.0.0.1:9000/cb", &[]).unwrap();
        assert_eq!(plain.with(&[("a", "1"), ("b", "&=%#é")]), "http://127.0.0.1:9000/cb?a=1&b=%26%3D%25%23%C3%A9");
        let query = Callback::parse("http://127.0.0.1:9000/cb?x=y", &[]).unwrap();
        assert_eq!(query.with(&[("a", "1")]), "http://127.0.0.1:9000/cb?x=y&a=1");
        assert_eq!(query.location(), "http://127.0.0.1:9000/cb");
    }
}
