//! Opens the database: connections, schema migrations, and a check of the server's settings.

use std::{str::FromStr, sync::Arc};

use sqlx::{
    ConnectOptions, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
    query, query_as, query_scalar, raw_sql,
};
use tokio::time::timeout;

use super::{
    super::{
        StoreError, StoreErrorKind,
        migrations::{self, Migration, POSTGRES as MIGRATIONS},
    },
    PostgresStore,
    connections::{BOUND_READS, Connections, Health, IDLE, PATIENCE},
    error,
};

/// The table that has a row for each completed migration.
const MARKS: &str = "CREATE TABLE migrations (version BIGINT PRIMARY KEY, done_at TIMESTAMPTZ NOT NULL DEFAULT now());";

/// The options of a PostgreSQL connection.
///
/// ```no_run
/// use tower_agent_auth::store::PostgresOptions;
///
/// # async fn start(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let own_connections = PostgresOptions::new().connections(20).connect("postgres://app@db.internal/app").await?;
/// let the_service_s = PostgresOptions::new().schema("agents").over(pool).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresOptions {
    schema: String,
    connections: u32,
    migrates: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { schema: "agent_auth".into(), connections: 10, migrates: true }
    }
}

impl PostgresOptions {
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the schema of the tables. Defaults to `agent_auth`. A missing schema is created, which requires the right
    /// to create in the database. A role without that right can use a schema that another role created and migrated.
    pub fn schema(mut self, name: &str) -> Self {
        name.clone_into(&mut self.schema);
        self
    }

    /// Sets the maximum number of connections. Defaults to 10. A third of them, at least one, is reserved for token
    /// checks, so that ceremony calls can't hold them up; with a single connection nothing is reserved. A cache on top
    /// uses one more to listen.
    pub const fn connections(mut self, most: u32) -> Self {
        self.connections = most;
        self
    }

    /// Opens the store without changing the schema: [`migrate`](Self::migrate) did, with another role. A schema that is
    /// missing or older than this version of the crate is then refused. By default it is created or migrated.
    pub const fn without_migration(mut self) -> Self {
        self.migrates = false;
        self
    }

    /// Creates the schema if it is missing, and migrates it, over one connection. An operator runs it before the
    /// services start, with a role that may do so; those use [`without_migration`](Self::without_migration). Several may
    /// run it at the same time.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn migrate(self, url: &str) -> Result<(), StoreError> {
        let options = self.server(url)?;
        let mut connection = reach(&options).await?;
        check_role(&mut connection).await?;
        migrate(&mut connection, &self.schema).await?;
        // The answer is of no interest: the server drops the connection either way.
        let _ = connection.close().await;
        Ok(())
    }

    /// All migrations of the schema, oldest first, for a migration tool of the service's own. Each leaves `search_path`
    /// as the session's default. Each inserts its version into the table `migrations` of the schema, by which the store
    /// knows that it was applied.
    ///
    /// # Errors
    /// [`Other`](StoreErrorKind::Other) when the schema's name is invalid.
    pub fn migrations(&self) -> Result<Vec<Migration>, StoreError> {
        self.check_schema()?;
        let schema = &self.schema;
        Ok(migrations::all(&MIGRATIONS, |version, file| {
            let create = if version == 1 { create_schema(schema) } else { String::new() };
            format!("{create}SET search_path TO {schema};\n{}\nRESET search_path;\n", script(version, file))
        }))
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        let refused = || StoreError::because(StoreErrorKind::Other, Refused::Schema);
        is_identifier(&self.schema).then_some(()).ok_or_else(refused)
    }

    fn server(&self, url: &str) -> Result<PgConnectOptions, StoreError> {
        let unusable = |_| StoreError::because(StoreErrorKind::Other, Refused::Url);
        let options = PgConnectOptions::from_str(url).map_err(unusable)?.disable_statement_logging();
        self.check_schema()?;
        Ok(options)
    }

    /// Connects to the database of a URL such as `postgres://user:password@host/database?sslmode=verify-full`, and
    /// migrates its schema. `sslmode` defaults to `prefer`; use `verify-full` across a network
    /// (<https://www.postgresql.org/docs/current/libpq-ssl.html>).
    ///
    /// # Errors
    /// * [`Unavailable`](StoreErrorKind::Unavailable) when the server can't be reached, or is read-only: a standby, or
    ///   `default_transaction_read_only` is on;
    /// * [`Corrupt`](StoreErrorKind::Corrupt) when the schema was written by a newer version of this crate, or its
    ///   tables belong to another application;
    /// * [`Other`](StoreErrorKind::Other) when the URL or the schema's name is invalid, the role lacks a right, or
    ///   `synchronous_commit` is off.
    pub async fn connect(self, url: &str) -> Result<PostgresStore, StoreError> {
        let options = self.server(url)?;
        // The answer is of no interest: the server drops the connection either way.
        let _ = reach(&options).await?.close().await;
        let health = Arc::<Health>::default();
        let tests = Arc::clone(&health);
        let pool = PgPoolOptions::new()
            .max_connections(self.connections)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { raw_sql(BOUND_READS).execute(connection).await.map(drop) })
            })
            .before_acquire(move |connection, metadata| {
                let health = Arc::clone(&tests);
                Box::pin(async move { Ok(metadata.idle_for < IDLE || health.test(connection).await) })
            })
            .connect_lazy_with(options);
        self.open(pool, health).await
    }

    /// Like [`connect`](Self::connect), over an existing pool. Ceremony calls leave a third of its connections to token
    /// checks. After a failure, the store closes the idle connections of the pool. A pooler that shares one connection
    /// among transactions must support prepared statements. If there is a cache on top, it must also support `LISTEN`.
    ///
    /// Set `lock_timeout` to at most 2 seconds on the connections of the pool, or for their role. The store leaves the
    /// settings of an existing pool as they are. It sets timeouts in its own transactions, but its reads have none.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn over(self, pool: PgPool) -> Result<PostgresStore, StoreError> {
        self.open(pool, Arc::default()).await
    }

    async fn open(self, pool: PgPool, health: Arc<Health>) -> Result<PostgresStore, StoreError> {
        self.check_schema()?;
        let mut connection = pool.acquire().await.map_err(error::failed)?;
        check_role(&mut connection).await?;
        let warnings = check_settings(&mut connection).await?;
        if self.migrates {
            migrate(&mut connection, &self.schema).await?;
        } else {
            check_schema(&mut connection, &self.schema).await?;
        }
        drop(connection);
        Ok(PostgresStore::open(Connections::new(pool, health), &self.schema, warnings))
    }
}

/// Connects once without the pool. A pool retries until its time-out, and then does not say why it got no connection.
async fn reach(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let failed = match timeout(PATIENCE, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(cause)) => error::failed(cause),
        Err(_) => StoreError::because(StoreErrorKind::Unavailable, Refused::Silent),
    };
    let context = format!("can't connect to {}; check that PostgreSQL runs there, and the URL", shown(options));
    Err(failed.within(context))
}

/// The server's URL without the password.
fn shown(options: &PgConnectOptions) -> String {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("postgres://{}@{place}/{database}", options.get_username())
}

/// A server setting that can lose acknowledged changes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresWarning {
    /// `fsync` is off.
    #[error("PostgreSQL runs with fsync = off; a crash of its machine may lose or damage everything")]
    Fsync,
    /// `full_page_writes` is off.
    #[error("PostgreSQL runs with full_page_writes = off; a crash of its machine may damage what it holds")]
    FullPageWrites,
}

/// Whether the name needs no quotes, and leaves room for the suffix of the channel name (at most 63 bytes).
fn is_identifier(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=50).contains(&name.len()) && name.bytes().all(plain) && !name.as_bytes()[0].is_ascii_digit()
}

/// Refuses a server that accepts no writes.
async fn check_role(connection: &mut PgConnection) -> Result<(), StoreError> {
    const ROLE: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";
    let (is_standby, is_read_only): (bool, bool) = query_as(ROLE).fetch_one(connection).await.map_err(error::failed)?;
    let refused = match (is_standby, is_read_only) {
        (true, _) => Refused::Standby,
        (false, true) => Refused::ReadOnly,
        (false, false) => return Ok(()),
    };
    Err(StoreError::because(StoreErrorKind::Unavailable, refused))
}

async fn check_settings(connection: &mut PgConnection) -> Result<Vec<PostgresWarning>, StoreError> {
    let mut is_off = async |setting: &'static str| {
        let value: String =
            query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut *connection).await?;
        Ok(value == "off")
    };
    if is_off("synchronous_commit").await.map_err(error::failed)? {
        return Err(StoreError::because(StoreErrorKind::Other, Refused::SynchronousCommit));
    }
    let mut warnings = Vec::new();
    for (setting, warning) in [("fsync", PostgresWarning::Fsync), ("full_page_writes", PostgresWarning::FullPageWrites)]
    {
        if is_off(setting).await.map_err(error::failed)? {
            warnings.push(warning);
        }
    }
    Ok(warnings)
}

/// Takes an advisory lock on `thing` until the transaction ends. Other transactions wait for it.
pub(super) async fn take_turn(connection: &mut PgConnection, thing: &str) -> Result<(), sqlx::Error> {
    let lock = query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))").bind(thing);
    lock.execute(connection).await.map(drop)
}

/// Refuses a schema that lacks migrations.
async fn check_schema(connection: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    match done(connection, schema).await? {
        done if done == MIGRATIONS.len() => Ok(()),
        done => Err(StoreError::because(StoreErrorKind::Other, Refused::Old(done))),
    }
}

async fn migrate(connection: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    if done(connection, schema).await? == MIGRATIONS.len() {
        return Ok(());
    }
    migrate_in_transaction(connection, schema).await.map_err(|failed| match failed {
        Failed::Server(cause) if error::is_forbidden(&cause) => error::failed(cause).within(format!(
            "the schema {schema} must be created or migrated, which this role may not do; \
             run PostgresOptions::migrate with the role that owns it"
        )),
        Failed::Server(cause) => error::failed(cause),
        Failed::Refused(refused) => refused,
    })
}

/// Why a migration failed.
enum Failed {
    Server(sqlx::Error),
    Refused(StoreError),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Server(error)
    }
}

async fn migrate_in_transaction(connection: &mut PgConnection, schema: &str) -> Result<(), Failed> {
    let mut transaction = connection.begin().await?;
    // A migration takes its time, and so does another node's.
    raw_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
    take_turn(&mut transaction, &format!("{schema}.migrations")).await?;
    // Another node may have migrated the schema meanwhile.
    let done = done(&mut transaction, schema).await.map_err(Failed::Refused)?;
    if done == 0 {
        raw_sql(sqlx::AssertSqlSafe(create_schema(schema))).execute(&mut *transaction).await?;
    }
    query("SELECT set_config('search_path', $1, true)").bind(schema).execute(&mut *transaction).await?;
    for (version, (_, file)) in (1..).zip(&MIGRATIONS).skip(done) {
        raw_sql(sqlx::AssertSqlSafe(script(version, file))).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// Creates the schema unless it exists. `IF NOT EXISTS` would need the right to create one even then.
fn create_schema(schema: &str) -> String {
    format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '{schema}') THEN \
         CREATE SCHEMA {schema}; END IF; END $$;\n"
    )
}

/// The statements of a migration, which name tables without their schema.
fn script(version: u32, file: &str) -> String {
    let marks = if version == 1 { MARKS } else { "" };
    format!("{marks}\n{file}\nINSERT INTO migrations (version) VALUES ({version});")
}

/// The number of migrations that the schema has.
async fn done(connection: &mut PgConnection, schema: &str) -> Result<usize, StoreError> {
    const TABLES: &str = "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = $1 \
        AND tablename IN ('migrations', 'registrations', 'authorization_requests', 'sessions', 'refresh_tokens')";
    let tables: Vec<String> =
        query_scalar(TABLES).bind(schema).fetch_all(&mut *connection).await.map_err(error::failed)?;
    let corrupt = |cause| StoreError::because(StoreErrorKind::Corrupt, cause);
    if tables.is_empty() {
        return Ok(0);
    }
    if tables.len() != 4 || !tables.iter().any(|table| table == "migrations") {
        return Err(corrupt(Refused::Foreign));
    }
    let version = format!("SELECT coalesce(max(version), 0) FROM \"{schema}\".migrations");
    let read = query_scalar(sqlx::AssertSqlSafe(version)).fetch_one(connection).await;
    let version: i64 = read.map_err(|cause| {
        let is_forbidden = error::is_forbidden(&cause);
        let failed = error::failed(cause);
        if !is_forbidden {
            return failed;
        }
        failed.within(format!(
            "this role may not read {schema}.migrations; \
             GRANT USAGE ON SCHEMA {schema} and SELECT ON {schema}.migrations to it"
        ))
    })?;
    match usize::try_from(version) {
        Ok(version @ 1..) if version <= MIGRATIONS.len() => Ok(version),
        Ok(version @ 1..) => Err(corrupt(Refused::Newer(version))),
        _ => Err(corrupt(Refused::Foreign)),
    }
}

/// None of these messages contains the URL, because it may include a password.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no answer within {} seconds", PATIENCE.as_secs())]
    Silent,
    #[error("the URL can't be used; write postgres://user:password@host:port/database")]
    Url,
    #[error("the schema's name must be 1 to 50 lower-case letters, digits and `_`, and not begin with a digit")]
    Schema,
    #[error(
        "synchronous_commit is off, so that acknowledged changes may be lost; \
         run ALTER ROLE … SET synchronous_commit = on for the store's role"
    )]
    SynchronousCommit,
    #[error(
        "the schema was written by a newer version of tower-agent-auth (migration {0}, this one knows {known}); \
         run that version",
        known = MIGRATIONS.len()
    )]
    Newer(usize),
    #[error(
        "{}; run PostgresOptions::migrate with the role that owns the schema, or the SQL of PostgresOptions::migrations",
        lacking(*.0)
    )]
    Old(usize),
    #[error("the server is a standby, which accepts no writes; write the address of the primary into the URL")]
    Standby,
    #[error(
        "default_transaction_read_only is on, so that nothing can be stored; \
         run ALTER ROLE … SET default_transaction_read_only = off for the store's role, or find out why the server is read-only"
    )]
    ReadOnly,
    #[error("the schema has tables of something else; give the store a schema of its own")]
    Foreign,
}

/// What a schema lacks that has so many migrations.
fn lacking(done: usize) -> String {
    match done {
        0 => "the schema is missing or has no tables".into(),
        _ => {
            format!("the schema has migration {done}, and this version of tower-agent-auth needs {}", MIGRATIONS.len())
        }
    }
}
