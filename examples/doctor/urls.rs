//! What URLs say about each other.

use url::{Host, Url};

/// An absolute URL with a host.
pub(crate) fn absolute(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(Url::has_host)
}

/// The scheme, host and port, as text.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether it uses TLS or a loopback host.
pub(crate) fn is_secure(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && is_loopback
}

/// Whether `url` is `resource` or lies below it.
pub(crate) fn covers(resource: &Url, url: &Url) -> bool {
    let rest = url.path().strip_prefix(resource.path().trim_end_matches('/'));
    resource.origin() == url.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The well-known URL of an identifier: the well-known path is inserted between its host and its path (RFC 8414
/// section 3.1, RFC 9728 section 3.1).
pub(crate) fn well_known(name: &str, identifier: &Url) -> String {
    format!("{}/.well-known/{name}{}", origin(identifier), identifier.path().trim_end_matches('/'))
}

/// The URL below an identifier: of OpenID Connect Discovery, and of auth.md.
pub(crate) fn below(identifier: &Url, path: &str) -> String {
    format!("{}{}{path}", origin(identifier), identifier.path().trim_end_matches('/'))
}

/// Whether a URL is that of an MCP endpoint, by its looks.
pub(crate) fn looks_like_mcp(url: &Url) -> bool {
    let last = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    matches!(last, "mcp" | "sse") || url.host_str().is_some_and(|host| host.starts_with("mcp."))
}
