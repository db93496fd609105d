use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{Extensions, HeaderMap};

use crate::Config;

/// Finds the peer's address in a request's extensions.
pub(crate) type PeerAddress = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

/// Determines the client's address of a request: the peer's address, or the address that a trusted proxy reports.
#[derive(Clone)]
pub(crate) struct ClientAddresses {
    config: Config,
    peer: Arc<PeerAddress>,
}

impl ClientAddresses {
    pub(crate) fn new(config: Config, peer: Option<Arc<PeerAddress>>) -> Self {
        let of_connection = |extensions: &Extensions| extensions.get::<SocketAddr>().map(SocketAddr::ip);
        Self { config, peer: peer.unwrap_or_else(|| Arc::new(of_connection)) }
    }

    /// The client's address. `X-Forwarded-For` is read from the right as long as the entries come from trusted proxies.
    /// Reading stops at an entry that can't be parsed.
    pub(crate) fn client(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let mut client = (self.peer)(extensions)?.to_canonical();
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
        for hop in hops {
            if !self.config.trusts(client) {
                break;
            }
            let Some(address) = parse_hop(hop) else {
                break;
            };
            client = address.to_canonical();
        }
        Some(client)
    }
}

/// Parses an address as proxies write it: an IPv6 address with or without brackets, either with a port, all of it in
/// quotes or not (RFC 7239 section 6). A zone has a meaning on the proxy only, so an address with one is refused.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let hop = hop.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(hop);
    if hop.contains('%') {
        return None;
    }
    if let Some(address) = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse().ok().map(|address: Ipv6Addr| address.into());
    }
    hop.parse().ok().or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip()))
}

impl fmt::Debug for ClientAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAddresses").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let config = Config::builder()
            .resource("https://api.example.com")
            .name("Example")
            .scope("a", "A", |scope| scope)
            .trusted_proxy("10.0.0.0/8")
            .build()
            .unwrap();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(SocketAddr::new(peer.parse().unwrap(), 1));
        ClientAddresses::new(config, None).client(&headers, &extensions).unwrap().to_string()
    }

    #[test]
    fn r43_a_stranger_is_not_believed() {
        assert_eq!(client("192.0.2.1", &["1.2.3.4"]), "192.0.2.1");
    }

    #[test]
    fn r43_the_rightmost_untrusted_hop_counts() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 2.2.2.2, 10.0.0.2"]), "2.2.2.2");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "2.2.2.2"]), "2.2.2.2");
        assert_eq!(client("::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }

    #[test]
    fn e4_ports_brackets_and_quotes_are_not_part_of_the_address() {
        for (written, address) in [
            ("203.0.113.9:51234", "203.0.113.9"),
            ("203.0.113.9:1", "203.0.113.9"),
            ("\"203.0.113.9\"", "203.0.113.9"),
            ("\"203.0.113.9:51234\"", "203.0.113.9"),
            (" \t203.0.113.9:443 ", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("\"[2001:db8::1]\"", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("[::ffff:203.0.113.9]:443", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(client("10.0.0.1", &[written]), address, "{written}");
            // A proxy between is recognized in the same spellings.
            assert_eq!(client("10.0.0.1", &[written, "10.0.0.2:80"]), address, "{written}");
            assert_eq!(client("10.0.0.1", &[&format!("6.6.6.6, {written},\"[::ffff:10.0.0.3]:8080\"")]), address);
        }
    }

    #[test]
    fn e4_what_is_no_address_is_not_guessed() {
        for written in [
            "",
            "unknown",
            "_hidden",
            "203.0.113.9:",
            "203.0.113.9:99999",
            "203.0.113.9:_port",
            ":80",
            "[203.0.113.9]",
            "[203.0.113.9]:80",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]443",
            "[2001:db8::1]:",
            "[[2001:db8::1]]",
            "[]",
            "\"203.0.113.9",
            "203.0.113.9\"",
            "\"\"203.0.113.9\"\"",
            "fe80::1%eth0",
            "[fe80::1%eth0]:80",
            "[fe80::1%1]:80",
            "203.0.113.9 51234",
            "203.0.113.09",
            "for=203.0.113.9",
        ] {
            assert_eq!(client("10.0.0.1", &[&format!("6.6.6.6, {written}")]), "10.0.0.1", "{written}");
        }
    }

    #[test]
    fn r43_garbage_ends_at_the_last_known_hop() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, not an address"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }
}
