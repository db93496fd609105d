//! The command line, and the configuration that it produces.

use std::{
    error::Error,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::Parser;
use tower_agent_auth::{Config, ConfigBuilder};

const BUILT_IN: &str = include_str!("agent-auth.toml");

/// A demo web analytics API for which AI agents can ask their human for access
#[derive(Parser)]
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

    /// The demo's public URL; default: the listening address
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

    /// The address for Prometheus metrics, which only operators should reach; default: no metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// The log level: error, warn, info, debug (with the time of each store call) or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: tracing::Level,

    /// Remove caps and rate limits, for load and race tests
    #[arg(long)]
    no_limits: bool,
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
            None => BUILT_IN.to_owned(),
        };
        let mut builder = ConfigBuilder::from_toml(&text);
        if let Some(url) = &self.public_url {
            let url = url.trim_end_matches('/');
            builder = builder.resource(url).issuer(url);
        } else if !names_resource(&text) {
            let url = loopback_url(address);
            builder = builder.resource(&url).issuer(&url);
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
        Ok(builder.build()?)
    }
}

fn names_resource(text: &str) -> bool {
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("resource"))
}

/// The loopback URL of a listener, which may listen on all addresses.
fn loopback_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{address}")
}
