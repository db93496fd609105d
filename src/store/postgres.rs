use std::{
    fmt,
    sync::{Arc, Weak},
};

use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Row as _, Transaction as SqlTransaction,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    AuthorizationKey, Creation, Cutoff, Kept, Notices, PendingCaps, RevokeTarget, StoreError,
    columns::{Row, Value, Values},
    sql::{self, Engine, Statements, Syntax, sql_store},
};
use crate::types::{
    authorization::{AuthorizationRequest, NewAuthorizationRequest, Transition},
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Digest, Refresh},
    session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
};

mod error;
mod notices;
mod open;

pub use open::{PostgresOptions, PostgresWarning};

/// Stores everything in a PostgreSQL database, for a service that runs on more than one machine.
///
/// **Acknowledged changes are as durable as the server's settings allow.** Each call is one transaction, or one
/// statement as its own transaction, and `synchronous_commit = off` is refused. A server with `fsync = off` may lose
/// everything in a crash; [`warnings`](Self::warnings) reports it. After a failover, the new primary has only what it
/// received before. Name a replica in `synchronous_standby_names`, or expect to lose the last moments before a
/// failover.
///
/// The tables are in their own schema, `agent_auth` unless [`PostgresOptions::schema`] names another. They contain
/// digests, never a secret, but also the names and network addresses of agents and humans.
///
/// Nodes may start, migrate and run at the same time. Once a revocation returns on one node, all nodes refuse the
/// session; a [`CachedStore`](super::CachedStore) on top is notified through `LISTEN`. It requires PostgreSQL 12 or
/// later, and Tokio.
///
/// ```no_run
/// use tower_agent_auth::store::PostgresStore;
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://app@db.internal/app?sslmode=verify-full").await?;
/// for warning in store.warnings() {
///     eprintln!("sessions may be lost: {warning}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    schema: Arc<str>,
    statements: Arc<Statements>,
    warnings: Arc<[PostgresWarning]>,
    notices: Arc<notices::Listener>,
}

impl PostgresStore {
    /// Connects with the default [options](PostgresOptions) to the database of that URL, and migrates its schema.
    ///
    /// # Errors
    /// As for [`PostgresOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        PostgresOptions::new().connect(url).await
    }

    /// The server settings that can lose acknowledged changes, as read when the store was opened.
    #[must_use]
    pub fn warnings(&self) -> &[PostgresWarning] {
        &self.warnings
    }

    fn open(pool: PgPool, schema: &str, warnings: Vec<PostgresWarning>) -> Self {
        let statements = Arc::new(Statements::new(&syntax(schema)));
        Self { pool, schema: schema.into(), statements, warnings: warnings.into(), notices: Arc::default() }
    }

    /// Starts to receive notices from other processes.
    fn listen(&self) {
        self.notices.start(&self.pool, self.channel());
    }

    /// The channel for notices of ended sessions.
    fn channel(&self) -> String {
        format!("{}_ended", self.schema)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.schema).finish_non_exhaustive()
    }
}

sql_store!(PostgresStore);

impl Engine for PostgresStore {
    type Row = PgRow;
    type Transaction = SqlTransaction<'static, Postgres>;

    fn statements(&self) -> &Statements {
        &self.statements
    }

    fn notices(&self) -> &Notices {
        &self.notices.notices
    }

    /// Retries on a lost connection. After a restart of the server, all connections of the pool are lost.
    async fn read(&self, sql: &Arc<str>, values: Values) -> Result<Vec<PgRow>, StoreError> {
        for _ in 0..self.pool.options().get_max_connections() {
            match bound(sql, values.clone()).fetch_all(&self.pool).await {
                Err(error) if error::is_connection_lost(&error) => {}
                answer => return answer.map_err(error::failed),
            }
        }
        bound(sql, values).fetch_all(&self.pool).await.map_err(error::failed)
    }

    async fn write(&self, sql: &Arc<str>, values: Values) -> Result<Vec<PgRow>, StoreError> {
        bound(sql, values).fetch_all(&self.pool).await.map_err(error::failed)
    }

    /// Retries like [`read`](Self::read): nothing has been done yet.
    async fn begin(&self) -> Result<Self::Transaction, StoreError> {
        for _ in 0..self.pool.options().get_max_connections() {
            match begin(self.pool.clone()).await? {
                Err(error) if error::is_connection_lost(&error) => {}
                begun => return begun.map_err(error::failed),
            }
        }
        begin(self.pool.clone()).await?.map_err(error::failed)
    }

    async fn run(
        transaction: &mut Self::Transaction,
        sql: &Arc<str>,
        values: Values,
    ) -> Result<Vec<PgRow>, StoreError> {
        bound(sql, values).fetch_all(&mut **transaction).await.map_err(error::failed)
    }

    async fn commit(transaction: Self::Transaction) -> Result<(), StoreError> {
        transaction.commit().await.map_err(error::failed)
    }

    async fn take_turn(&self, transaction: &mut Self::Transaction, thing: &str) -> Result<(), StoreError> {
        let name = format!("{}.{thing}", self.schema);
        open::take_turn(transaction, &name).await.map_err(error::failed)
    }

    async fn announce(&self, transaction: &mut Self::Transaction, ended: &[SessionId]) -> Result<(), StoreError> {
        for payload in notices::payloads(ended) {
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(self.channel()).bind(payload);
            notify.execute(&mut **transaction).await.map_err(error::failed)?;
        }
        Ok(())
    }
}

/// Begins in a separate task. If this future were dropped, sqlx 0.9 would leave a connection in an open transaction.
async fn begin(pool: PgPool) -> Result<Result<SqlTransaction<'static, Postgres>, sqlx::Error>, StoreError> {
    // At READ COMMITTED, a write that waited for a row evaluates its conditions on the new version of the row.
    let begun = tokio::spawn(async move { pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await });
    begun.await.map_err(error::lost)
}

fn syntax(schema: &str) -> Syntax {
    Syntax {
        schema: format!("\"{schema}\"."),
        grantable: "$4 <> '' AND string_to_array($4, ' ') <@ string_to_array(requested, ' ')",
        uses: "(SELECT item ->> 0 AS id, (item ->> 1)::bigint AS at, item ->> 2 AS address \
            FROM json_array_elements($1::json) AS item)",
        server_time: "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        for_update: "FOR UPDATE",
        skip_locked: "FOR UPDATE SKIP LOCKED",
    }
}

fn bound(sql: &Arc<str>, values: Values) -> Query<'static, Postgres, PgArguments> {
    values.0.into_iter().fold(sqlx::query(AssertSqlSafe(Arc::clone(sql))), |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::AnyText(text) => query.bind(text.map(String::into_bytes)),
        Value::Integer(integer) => query.bind(integer),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

impl Row for PgRow {
    fn text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        self.try_get(index).map_err(error::failed)
    }

    fn any_text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        let bytes: Option<&[u8]> = self.try_get(index).map_err(error::failed)?;
        bytes.map(std::str::from_utf8).transpose().map_err(error::unreadable)
    }

    fn integer(&self, index: usize) -> Result<Option<i64>, StoreError> {
        self.try_get(index).map_err(error::failed)
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, StoreError> {
        self.try_get(index).map_err(error::failed)
    }
}
