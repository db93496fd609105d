//! Opening the server: the connection, the version of what it holds, and a look at its settings.

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

/// Unless a call's deadline comes first.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the keys mean. A version that this one does not know is refused.
const VERSION: u32 = 2;
/// How much one step of a migration changes, so that none holds the server for long.
const MIGRATED_AT_ONCE: i64 = 200;

/// How to connect to Redis.
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
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How all keys begin, in braces, so that they share a hash slot: `agent_auth`, and so `{agent_auth}:`, unless set.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// How many replicas must have a change before it is acknowledged: none unless set. With one, a failover loses nothing
    /// that was acknowledged, as far as it promotes a replica that has it.
    pub const fn replicas(mut self, least: u8) -> Self {
        self.replicas = least;
        self
    }

    /// Connects to the server of a URL such as `rediss://user:password@host:6380/0`; `rediss` is TLS, verified against the
    /// system's certificates. What an older version of this crate wrote there is brought up to date, and its sessions stay
    /// alive: stop the nodes of that version first.
    ///
    /// # Errors
    /// * [`Unavailable`](StoreErrorKind::Unavailable) when the server can't be reached;
    /// * [`Corrupt`](StoreErrorKind::Corrupt) when what is there was written by a newer version of this crate, or by
    ///   something else;
    /// * [`Other`](StoreErrorKind::Other) when the URL or the prefix can't be used, or the user lacks a right.
    pub async fn connect(self, url: &str) -> Result<RedisStore, StoreError> {
        let client = Client::open(url).map_err(|_| StoreError::because(StoreErrorKind::Other, Refused::Url))?;
        self.over(client).await
    }

    /// The same with a client that the service has. The store takes one connection for itself, which comes back after it
    /// was lost, and a second one if there is a cache on top.
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
        let mut connection = ConnectionManager::new_with_config(client.clone(), config).await.map_err(error::failed)?;
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

/// A setting of the server that can lose what was acknowledged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisWarning {
    /// There is no append-only file.
    #[error("Redis runs with appendonly no; a restart loses sessions and revocations")]
    NoAppendOnlyFile,
    /// The append-only file is synced when the operating system likes.
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

/// Brings a store of version 1 up to date. Nodes may do this at the same time, or take over where one failed.
async fn migrate(store: &RedisStore) -> Result<(), StoreError> {
    while store.write(&store.scripts.migrate, Arguments::new().integer(MIGRATED_AT_ONCE)).await? {}
    Ok(())
}

async fn check_settings(connection: &mut ConnectionManager) -> Result<Vec<RedisWarning>, StoreError> {
    let info: String = cmd("INFO").query_async(connection).await.map_err(error::failed)?;
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
    // A managed server may not tell; then the settings are its keeper's.
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

/// None of these texts holds the URL: it may hold a password.
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
