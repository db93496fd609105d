//! Opens the server: the connection, the version of the stored data, and a check of its settings.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{
    Client, Cmd, FromRedisValue, cmd,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::timeout;

use super::{
    super::{StoreError, StoreErrorKind},
    Cells, RedisStore,
    connection::{Connection, PATIENCE},
    error,
    notices::Listener,
    scripts::{Arguments, Scripts},
};

/// The time without traffic after which the operating system tests a connection.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The version of the key layout. An unknown version is refused. A field that is absent where it has no value, such as
/// `client_id`, changes no layout: older entries don't have it, and older nodes neither read nor remove it.
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
    migrates: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { prefix: "agent_auth".into(), replicas: 0, migrates: true }
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

    /// Opens the store without changing what is there: [`migrate`](Self::migrate) did, with another user. A prefix that
    /// has no store, or one of an older version of this crate, is then refused. By default it is created or migrated.
    pub const fn without_migration(mut self) -> Self {
        self.migrates = false;
        self
    }

    /// Marks the prefix as a store's if it is empty, and migrates data of an older version. An operator runs it before
    /// the services start, with a user that may do so; those use [`without_migration`](Self::without_migration). Several
    /// may run it at the same time.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn migrate(self, url: &str) -> Result<(), StoreError> {
        Self { migrates: true, ..self }.connect(url).await.map(drop)
    }

    /// Connects to the server of a URL such as `rediss://user:password@host:6380/0`. `rediss` means TLS, verified
    /// against the system's certificates. Data of an older version of this crate is migrated, and its sessions stay
    /// valid; stop the nodes of that version first.
    ///
    /// # Errors
    /// * [`Unavailable`](StoreErrorKind::Unavailable) when the server can't be reached, or is a replica;
    /// * [`Corrupt`](StoreErrorKind::Corrupt) when the stored data was written by a newer version of this crate, or by
    ///   another application;
    /// * [`Other`](StoreErrorKind::Other) when the URL or the prefix is invalid, or the user lacks a right: without `DEL`
    ///   and `SETRANGE` a replica is not noticed.
    pub async fn connect(self, url: &str) -> Result<RedisStore, StoreError> {
        let client = Client::open(url).map_err(|_| StoreError::because(StoreErrorKind::Other, Refused::Url))?;
        let settings = client.get_connection_info().tcp_settings().clone().set_nodelay(true);
        self.over(with_tcp_settings(&client, settings)?).await
    }

    /// Like [`connect`](Self::connect), with an existing client. The store uses one connection for token checks and one
    /// for everything else, and a third one if there is a cache on top. Each is replaced after a loss. TCP keepalive and
    /// user timeout are set unless the client sets them.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn over(self, client: Client) -> Result<RedisStore, StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
        if self.prefix.is_empty() || self.prefix.len() > 100 || !self.prefix.bytes().all(plain) {
            return Err(StoreError::because(StoreErrorKind::Other, Refused::Prefix));
        }
        reach(&client).await?;
        let client = with_timeouts(&client)?;
        let connection = || Connection::new(client.clone()).map(Arc::new).map_err(error::failed);
        let (checks, ceremony) = (connection()?, connection()?);
        let base = format!("{{{}}}:", self.prefix);
        let mut store = RedisStore {
            client,
            checks,
            ceremony,
            base: base.into(),
            replicas: self.replicas,
            scripts: Arc::new(Scripts::new()),
            warnings: Arc::default(),
            listener: Arc::new(Listener::default()),
        };
        check_role(&store).await?;
        store.warnings = check_settings(&store).await?.into();
        check_version(&store, self.migrates).await?;
        Ok(store)
    }
}

/// The client with timeouts on its sockets, where it has none.
fn with_timeouts(client: &Client) -> Result<Client, StoreError> {
    let mut settings = client.get_connection_info().tcp_settings().clone();
    if settings.keepalive().is_none() {
        settings = settings.set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
    }
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    if settings.user_timeout().is_none() {
        settings = settings.set_user_timeout(PATIENCE);
    }
    with_tcp_settings(client, settings)
}

fn with_tcp_settings(client: &Client, settings: TcpSettings) -> Result<Client, StoreError> {
    Client::open(client.get_connection_info().clone().set_tcp_settings(settings)).map_err(error::failed)
}

/// What may lose acknowledged changes or delay revocations, and its remedy.
#[derive(Clone, Debug, Eq, Hash, PartialEq, thiserror::Error)]
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
    /// The user may not run a command, so that settings were not checked.
    #[error(
        "the Redis user may not run {command}, so that settings that lose data are not noticed; \
         run ACL SETUSER {user} +{right}",
        right = command.to_lowercase().replace(' ', "|")
    )]
    #[non_exhaustive]
    Unchecked {
        /// The command.
        command: &'static str,
        /// The user of the connection.
        user: String,
    },
    /// The user may not publish to the channel of ended sessions.
    #[error(
        "the Redis user may not publish to the channel {channel}; caches of other processes accept a revoked session \
         until their entry is too old; run ACL SETUSER {user} +publish +subscribe &{channel}"
    )]
    #[non_exhaustive]
    NoChannel {
        /// The channel.
        channel: String,
        /// The user of the connection.
        user: String,
    },
}

/// Refuses a replica, and a user for whom scripts would not notice one.
async fn check_role(store: &RedisStore) -> Result<(), StoreError> {
    let nobody = Arguments::new().bytes(&[0; 32]);
    match store.once::<Option<Cells>>(&store.checks, &store.scripts.find_session, &nobody).await {
        Err(error) if error::is_refused(&error) => {
            let refused = if error.code() == Some("READONLY") { Refused::Replica } else { Refused::NotReady };
            return Err(StoreError::because(StoreErrorKind::Unavailable, refused));
        }
        answer => check_rights(store, answer)?,
    };
    let mut set = cmd("SETRANGE");
    match store.ceremony.run::<redis::Value>(set.arg(format!("{}nothing", store.base)).arg(0).arg("")).await {
        // It changes nothing. A store opens even if memory is full.
        Err(error) if error::is_of_server(&error) && !error::is_forbidden(&error) => Ok(()),
        answer => check_rights(store, answer),
    }
}

/// Refuses a user without the rights by which scripts notice that they run on a replica.
fn check_rights<T>(store: &RedisStore, answer: redis::RedisResult<T>) -> Result<(), StoreError> {
    match answer {
        Err(error) if error::is_forbidden(&error) => {
            let (user, keys) = (user(store), format!("{}*", store.base));
            let refused = if error::is_about_keys(&error) {
                Refused::Keys { user, keys }
            } else {
                Refused::Commands { user, keys }
            };
            Err(StoreError::because(StoreErrorKind::Other, refused))
        }
        answer => answer.map(drop).map_err(error::failed),
    }
}

/// The user of the connections.
fn user(store: &RedisStore) -> String {
    store.client.get_connection_info().redis_settings().username().unwrap_or("default").to_owned()
}

async fn check_version(store: &RedisStore, migrates: bool) -> Result<(), StoreError> {
    let key = format!("{}version", store.base);
    let find = async || store.ceremony.run::<Option<String>>(cmd("GET").arg(&key)).await.map_err(error::failed);
    // A store that is there already opens even if memory is full, which refuses `SET`.
    let version = match find().await? {
        Some(version) => Some(version),
        None if !migrates => return Err(StoreError::because(StoreErrorKind::Other, Refused::Absent)),
        None => {
            let mut mark = cmd("SET");
            store.ceremony.run::<redis::Value>(mark.arg(&key).arg(VERSION).arg("NX")).await.map_err(error::failed)?;
            find().await?
        }
    };
    match version.unwrap_or_default().parse::<u32>() {
        Ok(VERSION) => Ok(()),
        Ok(1) if migrates => migrate(store).await,
        Ok(1) => Err(StoreError::because(StoreErrorKind::Other, Refused::Old)),
        Ok(newer) if newer > VERSION => Err(StoreError::because(StoreErrorKind::Corrupt, Refused::Newer(newer))),
        _ => Err(StoreError::because(StoreErrorKind::Corrupt, Refused::Foreign)),
    }
}

/// Migrates a store of version 1. Several nodes may do this at the same time, or continue where one failed.
async fn migrate(store: &RedisStore) -> Result<(), StoreError> {
    while store.write(&store.scripts.migrate, Arguments::new().integer(MIGRATED_AT_ONCE)).await? {}
    Ok(())
}

async fn check_settings(store: &RedisStore) -> Result<Vec<RedisWarning>, StoreError> {
    let user = user(store);
    let unchecked = |command| RedisWarning::Unchecked { command, user: user.clone() };
    let mut warnings = Vec::new();
    match allowed::<String>(store, &cmd("INFO")).await? {
        None => warnings.push(unchecked("INFO")),
        Some(info) => {
            let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
            if info.get("aof_enabled") == Some(&"0") {
                warnings.push(RedisWarning::NoAppendOnlyFile);
            } else {
                match allowed::<Vec<String>>(store, cmd("CONFIG").arg("GET").arg("appendfsync")).await? {
                    None => warnings.push(unchecked("CONFIG GET")),
                    Some(pair) if pair.last().is_some_and(|value| value == "no") => {
                        warnings.push(RedisWarning::Unsynced);
                    }
                    Some(_) => {}
                }
            }
            let may_evict = info.get("maxmemory_policy").is_some_and(|policy| *policy != "noeviction");
            if may_evict && info.get("maxmemory").is_some_and(|most| *most != "0") {
                warnings.push(RedisWarning::Eviction);
            }
        }
    }
    // A notice without ids tells nobody anything. A user that can't write ends nothing, so it has no notices to send.
    let channel = format!("{}ended", store.base);
    if allowed::<redis::Value>(store, cmd("PUBLISH").arg(&channel).arg("")).await?.is_none() && may_write(store).await?
    {
        warnings.push(RedisWarning::NoChannel { channel, user });
    }
    Ok(warnings)
}

/// Whether the user may change what the store keeps, tried by a command that changes nothing.
async fn may_write(store: &RedisStore) -> Result<bool, StoreError> {
    let mut set = cmd("SETRANGE");
    match store.ceremony.run::<redis::Value>(set.arg(format!("{}version", store.base)).arg(0).arg("")).await {
        Err(error) if error::is_forbidden(&error) => Ok(false),
        // It may, even if memory is full.
        Err(error) if error::is_of_server(&error) => Ok(true),
        answer => answer.map(|_| true).map_err(error::failed),
    }
}

/// Connects once, to name the server if it can't be reached.
async fn reach(client: &Client) -> Result<(), StoreError> {
    let failed = match timeout(PATIENCE, client.get_multiplexed_async_connection()).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(cause)) => error::failed(cause),
        Err(_) => StoreError::because(StoreErrorKind::Unavailable, Refused::Silent),
    };
    let place = client.get_connection_info().addr();
    Err(failed.within(format!("can't connect to Redis at {place}; check that it runs there, and the URL")))
}

/// Runs a command. Returns `None` if the user may not, or the server does not know it.
async fn allowed<T: FromRedisValue>(store: &RedisStore, command: &Cmd) -> Result<Option<T>, StoreError> {
    match store.ceremony.run(command).await {
        Err(error) if error::is_forbidden(&error) => Ok(None),
        answer => answer.map(Some).map_err(error::failed),
    }
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
    #[error(
        "what is there was written by an older version of tower-agent-auth (1, this one needs {VERSION}); \
         stop the nodes of that version, and run RedisOptions::migrate with a user that may write"
    )]
    Old,
    #[error("the prefix has no store; run RedisOptions::migrate with a user that may write, or correct the prefix")]
    Absent,
    #[error("the server is a replica, which accepts no writes; write the address of the primary into the URL")]
    Replica,
    #[error(
        "the Redis user may not run scripts, DEL and SETRANGE on {keys}, so that a replica would not be noticed; \
         run ACL SETUSER {user} +eval +evalsha +script|load +del +setrange"
    )]
    Commands { user: String, keys: String },
    #[error(
        "the Redis user may not use all keys {keys}, so that a replica would not be noticed; \
         run ACL SETUSER {user} ~{keys}"
    )]
    Keys { user: String, keys: String },
    #[error("the server is starting or has lost its primary; try again later")]
    NotReady,
    #[error("the server did not answer in time")]
    Silent,
    #[error("the prefix is in use by something else; give the store one of its own")]
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_sockets_have_timeouts_and_those_of_the_service_stay() {
        let client = Client::open("redis://127.0.0.1:1").unwrap();
        let settings = with_timeouts(&client).unwrap().get_connection_info().tcp_settings().clone();
        assert!(settings.keepalive().is_some());
        #[cfg(target_os = "linux")]
        assert_eq!(settings.user_timeout(), Some(PATIENCE));

        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(77));
        let theirs = with_tcp_settings(&client, TcpSettings::default().set_keepalive(keepalive.clone())).unwrap();
        let settings = with_timeouts(&theirs).unwrap().get_connection_info().tcp_settings().clone();
        assert_eq!(format!("{:?}", settings.keepalive()), format!("{:?}", Some(&keepalive)));
    }

    #[test]
    fn d7_each_warning_has_its_remedy() {
        let user = || "app".to_owned();
        for (warning, remedy) in [
            (RedisWarning::Unchecked { command: "INFO", user: user() }, "run ACL SETUSER app +info"),
            (RedisWarning::Unchecked { command: "CONFIG GET", user: user() }, "run ACL SETUSER app +config|get"),
            (
                RedisWarning::NoChannel { channel: "{agent_auth}:ended".into(), user: user() },
                "run ACL SETUSER app +publish +subscribe &{agent_auth}:ended",
            ),
        ] {
            assert!(warning.to_string().ends_with(remedy), "{warning}");
        }
    }
}
