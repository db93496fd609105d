use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Fetch, FetchError, Fetched, LONGEST, address::is_public};
use crate::{ConfigError, config::Problem, tls};

/// The name of this part in errors.
const PART: &str = "client_metadata";
/// How long one address is tried before the next one.
const CONNECT: Duration = Duration::from_secs(1);
/// The most bytes of a response head.
const MOST_HEAD: usize = 16 * 1024;

/// Fetches client metadata documents, and the keys of trusted issuers, from the internet: one connection and one `GET`
/// for each.
///
/// It follows no redirect, uses no proxy, sends no cookie, and reads a limited number of bytes. It needs TLS with a
/// certificate that the system trusts. It looks a host up once, and connects to no other than the public addresses that
/// it found: no loopback, private, link-local, shared, multicast, documentation or reserved address, in whatever
/// spelling (draft-ietf-oauth-client-id-metadata-document section 6.5).
///
/// It needs a Tokio runtime with I/O and time enabled.
///
/// ```no_run
/// use tower_agent_auth::{AgentAuth, Config, client_metadata::HttpFetcher, store::MemoryStore};
/// # fn builder(config: Config) -> Result<tower_agent_auth::AgentAuthBuilder, tower_agent_auth::ConfigError> {
/// Ok(AgentAuth::builder(config).sessions(MemoryStore::new()).client_metadata(HttpFetcher::new()?))
/// # }
/// ```
#[derive(Clone)]
pub struct HttpFetcher {
    tls: TlsConnector,
    allowed: Vec<IpNet>,
    look_up: LookUp,
}

type LookUp = Arc<dyn Fn(String, u16) -> LookingUp + Send + Sync>;
type LookingUp = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

impl HttpFetcher {
    /// A fetcher that trusts the certificates that the system trusts.
    ///
    /// # Errors
    /// When the system has none. The machine's set-up is at fault.
    pub fn new() -> Result<Self, ConfigError> {
        Ok(Self::with(tls::as_the_system(PART)?))
    }

    /// A fetcher that trusts only these certificates of authorities, in PEM. For a company with an authority of its
    /// own, and for tests.
    ///
    /// # Errors
    /// When `pem` has no certificate. The caller is at fault.
    pub fn trusting(pem: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self::with(tls::trusting(PART, pem)?))
    }

    /// Lets it also connect to the addresses of these networks, such as `10.1.0.0/16`, which are not public. For
    /// clients inside of a company, and for tests.
    ///
    /// Whoever sends a browser to the service can then make it ask each host and port of these networks. It still needs
    /// TLS there, with a certificate for the name in the URL.
    ///
    /// # Errors
    /// When one is no network. The caller is at fault.
    pub fn allowing(mut self, networks: &[&str]) -> Result<Self, ConfigError> {
        for network in networks {
            let parsed = network.parse().or_else(|_| network.parse().map(|address: IpAddr| IpNet::from(address)));
            let remedy = "must be an address or a network such as 10.0.0.0/8";
            let unusable = |_| ConfigError::new(vec![Problem::new(format!("{PART}.allowing"), network, remedy)]);
            self.allowed.push(parsed.map_err(unusable)?);
        }
        Ok(self)
    }

    fn with(tls: rustls::ClientConfig) -> Self {
        let look_up: LookUp =
            Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }));
        Self { tls: Arc::new(tls).into(), allowed: Vec::new(), look_up }
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Looks a host up, once, and connects to one of its addresses that are allowed.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, FetchError> {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => (self.look_up)(host.to_owned(), port).await.map_err(FetchError::unreachable)?,
        };
        let mut failed = FetchError::RefusedAddress;
        for address in found.into_iter().filter(|address| self.is_allowed(address.ip())) {
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = FetchError::unreachable(error),
                Err(_) => failed = FetchError::TooSlow,
            }
        }
        Err(failed)
    }

    async fn get(&self, uri: &Uri, longest: usize) -> Result<Fetched, FetchError> {
        let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("https")) else {
            return Err(FetchError::RefusedAddress);
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(FetchError::unreachable)?;
        let stream = self.connect(host, authority.port_u16().unwrap_or(443)).await?;
        let stream = self.tls.connect(name, stream).await.map_err(FetchError::unreachable)?;
        let request = Request::get(uri.path_and_query().map_or("/", PathAndQuery::as_str))
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(FetchError::unreachable)?;
        let handshake = http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(FetchError::unreachable)?;
        let mut exchange = pin!(async {
            let response = sender.send_request(request).await.map_err(FetchError::unreachable)?;
            read(response, longest).await
        });
        // Both in this future, so that the connection ends with it.
        tokio::select! {
            biased;
            fetched = &mut exchange => fetched,
            _ = connection => exchange.await,
        }
    }
}

impl Fetch for HttpFetcher {
    async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        self.fetch_up_to(url, LONGEST).await
    }

    async fn fetch_up_to(&self, url: &str, longest: usize) -> Result<Fetched, FetchError> {
        self.get(&url.parse().map_err(FetchError::unreachable)?, longest).await
    }
}

impl fmt::Debug for HttpFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFetcher").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

async fn read(response: Response<Incoming>, longest: usize) -> Result<Fetched, FetchError> {
    let (head, body) = response.into_parts();
    if head.status.is_redirection() {
        return Err(FetchError::Redirect);
    }
    if head.status != StatusCode::OK {
        return Err(FetchError::Status(head.status.as_u16()));
    }
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = Limited::new(body, longest).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchError::TooLong(longest),
        false => FetchError::Unreachable(error),
    })?;
    Ok(Fetched { media_type: media_type.into(), body: body.to_bytes(), max_age: max_age(&head.headers) })
}

/// How long the response may be cached (RFC 9111 section 5.2.2).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives: Vec<_> =
        lines.flat_map(|line| line.split(',')).map(|word| word.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|word| matches!(word.as_str(), "no-store" | "no-cache")) {
        return None;
    }
    let seconds = directives.iter().find_map(|word| word.strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::HeaderValue;
    use tokio::net::TcpListener;

    use super::*;

    /// A fetcher for which 127.0.0.1 is a public address, and which finds these addresses, one line of them a look-up.
    fn fetcher(answers: &'static [&'static str]) -> (HttpFetcher, Arc<AtomicUsize>) {
        let authority = rcgen::generate_simple_self_signed(["app.example.com".to_owned()]).unwrap();
        let fetcher = HttpFetcher::trusting(authority.cert.pem().as_bytes()).unwrap();
        let looked_up = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&looked_up);
        let look_up: LookUp = Arc::new(move |_, port| {
            let answer = answers[count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
            let found =
                answer.split_whitespace().map(|address| SocketAddr::new(address.parse().unwrap(), port)).collect();
            Box::pin(std::future::ready(Ok(found)))
        });
        (HttpFetcher { look_up, ..fetcher.allowing(&["127.0.0.1/32"]).unwrap() }, looked_up)
    }

    #[tokio::test]
    async fn ci5_a_host_is_looked_up_once_and_the_address_that_was_checked_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://app.example.com:{}/client", listener.local_addr().unwrap().port());
        // Whoever rebinds the name answers with a public address first, and then with one inside.
        for answers in [&["127.0.0.1", "169.254.169.254"] as &[_], &["10.0.0.1 ::1 127.0.0.1"]] {
            let (fetcher, looked_up) = fetcher(answers);
            let (failed, connected) = tokio::join!(fetcher.fetch(&url), async {
                let (stream, _) = listener.accept().await.unwrap();
                drop(stream);
            });
            assert!(matches!(failed, Err(FetchError::Unreachable(_))), "{failed:?} {connected:?}");
            assert_eq!(looked_up.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test]
    async fn ci5_a_name_with_special_use_addresses_alone_is_refused() {
        for answers in [
            &["127.0.0.2"] as &[_],
            &["169.254.169.254"],
            &["::1"],
            &["::ffff:10.0.0.1"],
            &["10.0.0.1 fd00::1 64:ff9b::a00:1 0.0.0.0"],
            &[""],
        ] {
            let failed = fetcher(answers).0.fetch("https://app.example.com/client").await;
            assert!(matches!(failed, Err(FetchError::RefusedAddress)), "{answers:?} {failed:?}");
        }
    }

    #[tokio::test]
    async fn ci5_addresses_in_the_url_and_other_schemes_are_refused_without_a_look_up() {
        let (fetcher, looked_up) = fetcher(&["127.0.0.1"]);
        for url in [
            "https://127.0.0.2/c",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/c",
            "https://[::ffff:10.0.0.1]/c",
            "https://[::ffff:a00:1]:8443/c",
            "http://app.example.com/c",
            "file:///etc/passwd",
            "/c",
        ] {
            assert!(fetcher.fetch(url).await.is_err(), "{url}");
        }
        assert_eq!(looked_up.load(Ordering::SeqCst), 0);
        // What only the system reads as an address goes through the look-up, and so through the check.
        let _ = fetcher.fetch("https://127.1/c").await;
        assert!(looked_up.load(Ordering::SeqCst) <= 1);
    }

    #[test]
    fn ci6_the_cache_lifetime_is_what_the_server_says() {
        let read = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
            }
            max_age(&headers).map(|age| age.as_secs())
        };
        for (lines, seconds) in [
            (&["max-age=60"] as &[_], Some(60)),
            (&["public, Max-Age=60"], Some(60)),
            (&["public", "max-age=\"60\""], Some(60)),
            (&["s-maxage=9, max-age=60"], Some(60)),
            (&["max-age=60, no-cache"], None),
            (&["no-store"], None),
            (&["max-age=-1"], None),
            (&["max-age=99999999999999999999"], None),
            (&["public"], None),
            (&[], None),
        ] {
            assert_eq!(read(lines), seconds, "{lines:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_fetcher_names_the_remedy() {
        let pem = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        for error in [
            HttpFetcher::trusting(b"").unwrap_err(),
            HttpFetcher::trusting(pem.as_bytes()).unwrap().allowing(&["10.0.0.0/33"]).unwrap_err(),
        ] {
            assert!(error.problems()[0].remedy.contains("must be"), "{error}");
        }
    }
}
