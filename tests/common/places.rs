//! Where the stores of the tests keep what they hold: a place of its own for each, gone when it is dropped.
//!
//! A test that needs a server is ignored unless it is asked for, and fails where it then finds none.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::expect_used, reason = "a test that finds no server fails")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tower_agent_auth::store::{CeremonyStore, PostgresOptions, PostgresStore, RedisOptions, RedisStore, SqliteStore};

/// Where stores share what they hold.
pub(crate) trait Place {
    type Store: CeremonyStore + Clone;

    fn new() -> Self;
    fn open(&self) -> impl Future<Output = Self::Store> + Send + 'static;
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A file in a directory of its own, removed with all that SQLite put beside it.
pub(crate) struct TempFile(PathBuf);

impl Place for TempFile {
    type Store = SqliteStore;

    /// In memory if the machine has a place for that: for tests with tens of thousands of writes.
    fn new() -> Self {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() { Self::beneath(shared) } else { Self::on_disk() }
    }

    fn open(&self) -> impl Future<Output = SqliteStore> + Send + 'static {
        let path = self.path();
        async { SqliteStore::open(path).await.unwrap() }
    }
}

impl TempFile {
    pub(crate) fn on_disk() -> Self {
        Self::beneath(&env::temp_dir())
    }

    pub(crate) async fn fresh() -> (SqliteStore, Self) {
        let file = Self::new();
        (file.open().await, file)
    }

    fn beneath(parent: &Path) -> Self {
        let directory = parent.join(format!("tower-agent-auth-stores-{}", unique()));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("sessions.db")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The PostgreSQL server of the tests.
pub(crate) fn postgres_url() -> String {
    env::var("POSTGRES_URL").expect("POSTGRES_URL, as `cargo xtask servers` sets it")
}

/// The same URL with one more parameter.
pub(crate) fn with_parameter(url: &str, parameter: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{parameter}")
}

/// Where the certificate is that the servers of the tests have.
pub(crate) fn certificate() -> String {
    env::var("TLS_CERTIFICATE").expect("TLS_CERTIFICATE, as `cargo xtask servers` sets it")
}

/// A schema of its own.
pub(crate) struct Schema(pub(crate) String);

impl Place for Schema {
    type Store = PostgresStore;

    fn new() -> Self {
        Self(format!("agent_auth_test_{}", unique()))
    }

    fn open(&self) -> impl Future<Output = PostgresStore> + Send + 'static {
        let options = PostgresOptions::new().schema(&self.0);
        async { options.connect(&postgres_url()).await.expect("PostgreSQL at POSTGRES_URL") }
    }
}

impl Schema {
    pub(crate) async fn fresh() -> (PostgresStore, Self) {
        let schema = Self::new();
        (schema.open().await, schema)
    }

    /// A connection beside the store's, whose search path is the schema.
    pub(crate) async fn beside(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&postgres_url()).await.unwrap();
        let path = format!("SET search_path TO {}", self.0);
        raw_sql(AssertSqlSafe(path)).execute(&mut connection).await.unwrap();
        connection
    }

    pub(crate) async fn execute(&self, sql: &str) {
        raw_sql(AssertSqlSafe(sql)).execute(&mut self.beside().await).await.unwrap();
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A test that found no server is failing already.
        let Ok(url) = env::var("POSTGRES_URL") else { return };
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.0);
        // A thread of its own: a runtime can't be started within another.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
            });
        });
        dropping.join().ok();
    }
}

/// The Redis server of the tests.
pub(crate) fn redis_url() -> String {
    env::var("REDIS_URL").expect("REDIS_URL, as `cargo xtask servers` sets it")
}

/// A prefix of its own.
pub(crate) struct Prefix(pub(crate) String);

impl Place for Prefix {
    type Store = RedisStore;

    fn new() -> Self {
        Self(format!("agent_auth_test_{}", unique()))
    }

    fn open(&self) -> impl Future<Output = RedisStore> + Send + 'static {
        let options = RedisOptions::new().prefix(&self.0);
        async { options.connect(&redis_url()).await.expect("Redis at REDIS_URL") }
    }
}

impl Prefix {
    pub(crate) async fn fresh() -> (RedisStore, Self) {
        let prefix = Self::new();
        (prefix.open().await, prefix)
    }

    /// A connection beside the store's.
    pub(crate) fn beside() -> ::redis::Connection {
        ::redis::Client::open(redis_url()).unwrap().get_connection().unwrap()
    }

    /// Ends every connection that listens to anything.
    pub(crate) async fn cut_listeners(&self) {
        ::redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut Self::beside()).unwrap();
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.0)
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        const DELETE: &str = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end";
        // A test that found no server is failing already; a second panic would hide the first.
        let client = env::var("REDIS_URL").ok().and_then(|url| ::redis::Client::open(url).ok());
        let Some(mut connection) = client.and_then(|client| client.get_connection().ok()) else { return };
        ::redis::cmd("EVAL").arg(DELETE).arg(0).arg(self.key("*")).exec(&mut connection).ok();
    }
}
