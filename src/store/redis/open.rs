//! Opens the server: the connection, the version of the stored data, and a check of its settings.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{
    Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
};

use super::{
    super::{StoreError, StoreErrorKind},
    RedisStore, error,
    notices::Listener,
    scripts::{Arguments, Scripts},
};

/// The timeout to connect and to receive a response, unless a call's deadline comes first.
const PATIENCE: Duration = Duration::from_secs(5);
/// The version of the key layout. An unknown version is refused.
const VERSION: u32 = 2;
/// The number of entries that one migration step changes, so that none blocks the server for long.
const MIGRATED_AT_ONCE: i64 = 200;

/// The options of a Redis connection.
///
/// ```no_run
/// use tower_agent_auth::store::RedisOptions;
///
/// # async fn start(client: redis::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let by_url = RedisOptions::new().replicas(1).connect("rediss://app:password@redis.internal/0").await?;
/// let the_service_s = RedisOptions::new().prefix("agents").over(client).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisOptions {
    prefix: String,
    replicas: u8,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { prefix: "agent_auth".into(), replicas: 0 }
    }
}

impl RedisOptions {
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the prefix of all keys. It is put in braces, so that they share a hash slot. Defaults to `agent_auth`,
    /// which gives `{agent_auth}:`.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Sets how many replicas must have a change before it is acknowledged. Defaults to none. With one, a failover to a
    /// replica that has the change loses nothing acknowledged.
    pub const fn replicas(mut self, least: u8) -> Self {
        self.replicas = least;
        self
    }

    /// Connects to the server of a URL such as `rediss://user:password@host:6380/0`. `rediss` means TLS, verified
    /// against the system's certificates. Data of an older version of this crate is migrated, and its sessions stay
    /// valid; stop the nodes of that version first.
    ///
    /// # Errors
    /// * [`Unavailable`](StoreErrorKind::Unavailable) when the server can't be reached;
    /// * [`Corrupt`](StoreErrorKind::Corrupt) when the stored data was written by a newer version of this crate, or by
    ///   another application;
    /// * [`Other`](StoreErrorKind::Other) when the URL or the prefix is invalid, or the user lacks a right.
    pub async fn connect(self, url: &str) -> Result<RedisStore, StoreError> {
        let client = Client::open(url).map_err(|_| StoreError::because(StoreErrorKind::Other, Refused::Url))?;
        self.over(client).await
    }

    /// Like [`connect`](Self::connect), with an existing client. The store uses one connection that reconnects after a
    /// loss, and a second one if there is a cache on top.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn over(self, client: Client) -> Result<RedisStore, StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
        if self.prefix.is_empty() || self.prefix.len() > 100 || !self.prefix.bytes().all(plain) {
            return Err(StoreError::because(StoreErrorKind::Other, Refused::Prefix));
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(250));
        let connected = ConnectionManager::new_with_config(client.clone(), config).await;
        let mut connection = connected.map_err(|cause| {
            let place = client.get_connection_info().addr();
            let context = format!("can't connect to Redis at {place}; check that it runs there, and the URL");
            error::failed(cause).within(context)
        })?;
        let base = format!("{{{}}}:", self.prefix);
        let warnings = check_settings(&mut connection).await?;
        let store = RedisStore {
            client,
            connection,
            base: base.into(),
            replicas: self.replicas,
            scripts: Arc::new(Scripts::new()),
            warnings: warnings.into(),
            listener: Arc::new(Listener::default()),
        };
        check_version(&store).await?;
        Ok(store)
    }
}

/// A server setting that can lose acknowledged changes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisWarning {
    /// There is no append-only file.
    #[error("Redis runs with appendonly no; a restart loses sessions and revocations")]
    NoAppendOnlyFile,
    /// The operating system decides when the append-only file is synced.
    #[error("Redis runs with appendfsync no; a crash of its machine loses some seconds of sessions and revocations")]
    Unsynced,
    /// Keys may be evicted.
    #[error("Redis has another maxmemory-policy than noeviction; when its memory is full, sessions end at random")]
    Eviction,
}

async fn check_version(store: &RedisStore) -> Result<(), StoreError> {
    let (mut connection, key) = (store.connection.clone(), format!("{}version", store.base));
    let mut mark = cmd("SET");
    let mark = mark.arg(&key).arg(VERSION).arg("NX");
    mark.query_async::<redis::Value>(&mut connection).await.map_err(error::failed)?;
    let version: String = cmd("GET").arg(&key).query_async(&mut connection).await.map_err(error::failed)?;
    match version.parse::<u32>() {
        Ok(VERSION) => Ok(()),
        Ok(1) => migrate(store).await,
        Ok(newer) if newer > VERSION => Err(StoreError::because(StoreErrorKind::Corrupt, Refused::Newer(newer))),
        _ => Err(StoreError::because(StoreErrorKind::Corrupt, Refused::Foreign)),
    }
}

/// Migrates a store of version 1. Several nodes may do this at the same time, or continue where one failed.
async fn migrate(store: &RedisStore) -> Result<(), StoreError> {
    while store.write(&store.scripts.migrate, Arguments::new().integer(MIGRATED_AT_ONCE)).await? {}
    Ok(())
}

async fn check_settings(connection: &mut ConnectionManager) -> Result<Vec<RedisWarning>, StoreError> {
    let info: String = cmd("INFO").query_async(connection).await.map_err(error::failed)?;
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
    // A managed server may refuse `CONFIG`. Its operator is then responsible for the settings.
    let fsync: redis::RedisResult<Vec<String>> =
        cmd("CONFIG").arg("GET").arg("appendfsync").query_async(connection).await;
    let mut warnings = Vec::new();
    if info.get("aof_enabled") == Some(&"0") {
        warnings.push(RedisWarning::NoAppendOnlyFile);
    } else if fsync.is_ok_and(|pair| pair.last().is_some_and(|value| value == "no")) {
        warnings.push(RedisWarning::Unsynced);
    }
    let may_evict = info.get("maxmemory_policy").is_some_and(|policy| *policy != "noeviction");
    if may_evict && info.get("maxmemory").is_some_and(|most| *most != "0") {
        warnings.push(RedisWarning::Eviction);
    }
    Ok(warnings)
}

/// None of these messages contains the URL, because it may include a password.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the URL can't be used; write redis://host:port/number, or rediss:// for TLS")]
    Url,
    #[error("the prefix must be 1 to 100 letters, digits, `_`, `-`, `.` or `:`")]
    Prefix,
    #[error(
        "what is there was written by a newer version of tower-agent-auth ({0}, this one knows {VERSION}); run that version"
    )]
    Newer(u32),
    #[error("the prefix is in use by something else; give the store one of its own")]
    Foreign,
}
