//! The command line, and the configuration that it leads to.

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

/// A demo web analytics API that AI agents can ask their human for access to
#[derive(Parser)]
pub(crate) struct Options {
    /// Where to listen; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,

    /// Where to keep authorization requests and sessions: sqlite:FILE, postgres://…, redis://… or memory
    #[arg(long, value_name = "STORE", default_value = "sqlite:demo.db")]
    pub(crate) store: Store,

    /// Copy everything from this store into the other one, which nobody may use meanwhile, and end
    #[arg(long, value_name = "STORE")]
    pub(crate) copy_from: Option<Store>,

    /// Under which URL the world reaches the demo; the listening address unless given
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// An agent-auth configuration in place of the built-in one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How long an access token is good, such as 15s or 1h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    access_ttl: Option<Duration>,

    /// Where to serve metrics, as Prometheus reads them: an address that only operators reach; none unless given
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,

    /// What to log: error, warn, info, debug (with the time of each store call) or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: tracing::Level,

    /// Lift caps and rate limits: for load and race tests
    #[arg(long)]
    no_limits: bool,
}

/// Where sessions are kept.
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

/// Who listens on every address is reached at this one as well.
fn loopback_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{address}")
}
