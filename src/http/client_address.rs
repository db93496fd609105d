use std::{
    fmt,
    net::{IpAddr, SocketAddr},
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
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
        }
        Some(client)
    }
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
    fn r43_garbage_ends_at_the_last_known_hop() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, not an address"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }
}
