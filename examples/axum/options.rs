//! The command line, and the configuration that it produces.

use std::{
    error::Error,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::Parser;
use tower_agent_auth::{Config, ConfigBuilder};

use crate::{qr::Qr, server::Limits};

const EXIT_CODES: &str = "Exit codes: 0 after it was stopped, 1 when it can't start, 2 for a wrong command line.";
/// The time-outs of connections that are accepted.
const TIME_OUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(500 * 24 * 3_600);

/// The options of both demos.
#[derive(Parser)]
#[command(version, about = crate::ABOUT, long_about = None, after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// The listening address; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,

    /// The store for authorization requests and sessions: sqlite:FILE, postgres://…, redis://… or memory
    #[arg(long, value_name = "STORE", default_value = "sqlite:demo.db")]
    pub(crate) store: Store,

    /// Copy everything from this store into the other one, and exit; no process may use the stores meanwhile
    #[arg(long, value_name = "STORE")]
    pub(crate) copy_from: Option<Store>,

    /// The demo's public URL; default: localhost with the listening port. Agents listen for the browser on 127.0.0.1, and a
    /// browser sends the cookies of a host to all its ports, so the two are apart
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Where requests for the public URL's path arrive, if a proxy rewrites it: / if it strips the path
    #[arg(long, value_name = "PATH")]
    mount_path: Option<String>,

    /// A configuration file in place of the built-in configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The lifetime of access tokens, such as 15s or 1h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    access_ttl: Option<Duration>,

    /// When to show the link to the start page as a QR code, for a phone
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Qr::Auto)]
    pub(crate) qr: Qr,

    /// The address for Prometheus metrics, which only operators should reach; default: no metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// The log level: error, warn, info, debug (with the time of each store call) or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: tracing::Level,

    /// The maximum number of open connections; keep it below the limit of open files
    #[arg(long, value_name = "NUMBER", default_value_t = NonZeroUsize::new(Limits::default().connections).unwrap_or(NonZeroUsize::MIN))]
    connections: NonZeroUsize,

    /// The maximum number of open connections from one address (IPv6: from one /64)
    #[arg(long, value_name = "NUMBER", default_value_t = NonZeroUsize::new(Limits::default().connections_per_address).unwrap_or(NonZeroUsize::MIN))]
    connections_per_address: NonZeroUsize,

    /// How long a connection may be without a complete request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time_out)]
    idle_timeout: Duration,

    /// How long a request body may take, and how long a client may leave a response unread
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time_out)]
    transfer_timeout: Duration,

    /// Remove caps and rate limits, for load and race tests
    #[arg(long)]
    no_limits: bool,
}

fn time_out(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if TIME_OUTS.contains(&time) { Ok(time) } else { Err("write a time from 100ms to 500d".into()) }
}

/// The store of authorization requests and sessions.
#[derive(Clone)]
pub(crate) enum Store {
    Memory,
    Sqlite(PathBuf),
    Postgres(String),
    Redis(String),
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(file.into())),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(text.to_owned())),
            Some(("redis" | "rediss", _)) => Ok(Self::Redis(text.to_owned())),
            _ => Err("write sqlite:FILE, postgres://user:password@host/database, redis://host or memory".into()),
        }
    }
}

impl Options {
    /// The configuration for a demo that listens on `address`.
    pub(crate) fn config(&self, address: SocketAddr) -> Result<Config, Box<dyn Error>> {
        let text = match &self.config {
            Some(file) => {
                fs::read_to_string(file).map_err(|error| format!("can't read {}: {error}", file.display()))?
            }
            None => crate::CONFIG.to_owned(),
        };
        let mut builder = ConfigBuilder::from_toml(&text);
        if let Some(url) = &self.public_url {
            let url = url.trim_end_matches('/');
            builder = builder.resource(&resource(url)).issuer(url);
        } else if !names_resource(&text) {
            let url = localhost_url(address);
            builder = builder.resource(&resource(&url)).issuer(&url);
        }
        if let Some(path) = &self.mount_path {
            builder = builder.mount_path(path);
        }
        if let Some(span) = self.access_ttl {
            builder = builder.lifetimes(|lifetimes| lifetimes.access = span);
        }
        if self.no_limits {
            builder = builder.no_limits();
        }
        let wrong = |error| format!("check --public-url, --config and --access-ttl: {error}");
        Ok(builder.build().map_err(wrong)?)
    }

    /// The limits of the server.
    pub(crate) fn limits(&self) -> Limits {
        let connections = self.connections.get();
        let connections_per_address = if self.no_limits { connections } else { self.connections_per_address.get() };
        Limits { connections, connections_per_address, idle: self.idle_timeout, transfer: self.transfer_timeout }
    }
}

/// The resource of the demo with this public URL.
fn resource(url: &str) -> String {
    format!("{url}{}", crate::RESOURCE)
}

fn names_resource(text: &str) -> bool {
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("resource"))
}

/// The URL of a listener on this machine.
fn localhost_url(address: SocketAddr) -> String {
    format!("http://localhost:{}", address.port())
}

/// Where the demo listens, as a URL that reaches it.
pub(crate) fn own_url(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => localhost_url(address),
        _ => format!("http://{address}"),
    }
}
