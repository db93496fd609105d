use std::{
    fmt,
    sync::{Arc, Weak},
};

use sqlx::{
    AssertSqlSafe, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    AuthorizationKey, ClientCreation, ClientCutoff, Creation, Cutoff, Notices, PendingCaps, RevokeTarget, StoreError,
    StoredSession,
    columns::{Row, Value, Values},
    sql::{self, Engine, Statements, Syntax, sql_store},
    traits::with_store_traits,
};
use crate::types::{
    authorization::{Account, AuthorizationRequest, NewAuthorizationRequest, Transition},
    client::RegisteredClient,
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
    identity::{IdentityKey, LinkedIdentity, TokenKey},
    secret::{Access, Digest, Refresh},
    session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
    text::HumanText,
};

mod connections;
mod error;
mod notices;
mod open;

use connections::{Borrowed, Connections};
pub use open::{PostgresOptions, PostgresWarning};

/// How often a call that has changed nothing is retried. The second connection may be lost in the same moment.
const RETRIES: u32 = 2;

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
/// Connections that are silent or lost are replaced. Nothing is read from a server that is read-only. Its calls fail
/// with [`Unavailable`](super::StoreErrorKind::Unavailable) until the same address leads to a primary.
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
    connections: Connections,
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

    /// Creates or migrates the schema with the default [options](PostgresOptions), and opens nothing.
    ///
    /// # Errors
    /// As for [`PostgresOptions::migrate`].
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        PostgresOptions::new().migrate(url).await
    }

    /// The server settings that can lose acknowledged changes, as read when the store was opened.
    #[must_use]
    pub fn warnings(&self) -> &[PostgresWarning] {
        &self.warnings
    }

    fn open(connections: Connections, schema: &str, warnings: Vec<PostgresWarning>) -> Self {
        let statements = Arc::new(Statements::new(&syntax(schema)));
        Self { connections, schema: schema.into(), statements, warnings: warnings.into(), notices: Arc::default() }
    }

    /// Starts to receive notices from other processes.
    fn listen(&self) {
        self.notices.start(self.connections.pool(), self.channel());
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
    type Transaction = Borrowed;

    fn statements(&self) -> &Statements {
        &self.statements
    }

    fn notices(&self) -> &Notices {
        &self.notices.notices
    }

    async fn check(&self, sql: &Arc<str>, values: Values) -> Result<Vec<PgRow>, StoreError> {
        read(|| self.connections.for_check(), sql, values).await
    }

    async fn read(&self, sql: &Arc<str>, values: Values) -> Result<Vec<PgRow>, StoreError> {
        read(|| self.connections.for_ceremony(), sql, values).await
    }

    /// Runs in a transaction, which bounds how long the statement waits for locks.
    async fn write(&self, sql: &Arc<str>, values: Values) -> Result<Vec<PgRow>, StoreError> {
        let mut transaction = Engine::begin(self).await?;
        let rows = Self::run(&mut transaction, sql, values).await?;
        Self::commit(transaction).await?;
        Ok(rows)
    }

    /// Retries on another connection if the first was lost or its server read-only: nothing has been done yet.
    async fn begin(&self) -> Result<Borrowed, StoreError> {
        for _ in 0..RETRIES {
            match self.connections.begin().await {
                Err(error) if error::is_left(&error) => {}
                begun => return begun.map_err(error::failed),
            }
        }
        self.connections.begin().await.map_err(error::failed)
    }

    async fn run(
        transaction: &mut Self::Transaction,
        sql: &Arc<str>,
        values: Values,
    ) -> Result<Vec<PgRow>, StoreError> {
        transaction.run(sql, values).await.map_err(error::failed)
    }

    async fn commit(transaction: Self::Transaction) -> Result<(), StoreError> {
        transaction.commit().await.map_err(error::failed)
    }

    async fn take_turn(&self, transaction: &mut Self::Transaction, thing: &str) -> Result<(), StoreError> {
        let name = format!("{}.{thing}", self.schema);
        transaction.take_turn(&name).await.map_err(error::failed)
    }

    async fn announce(&self, transaction: &mut Self::Transaction, ended: &[SessionId]) -> Result<(), StoreError> {
        for payload in notices::payloads(ended) {
            transaction.notify(&self.channel(), &payload).await.map_err(error::failed)?;
        }
        Ok(())
    }
}

/// Runs a statement that changes nothing. Retries on another connection if the first was lost or its server read-only.
async fn read<F>(borrow: impl Fn() -> F, sql: &Arc<str>, values: Values) -> Result<Vec<PgRow>, StoreError>
where
    F: Future<Output = Result<Borrowed, sqlx::Error>>,
{
    for _ in 0..RETRIES {
        match once(borrow(), sql, values.clone()).await {
            Err(error) if error::is_left(&error) => {}
            answer => return answer.map_err(error::failed),
        }
    }
    once(borrow(), sql, values).await.map_err(error::failed)
}

async fn once(
    borrowed: impl Future<Output = Result<Borrowed, sqlx::Error>>,
    sql: &Arc<str>,
    values: Values,
) -> Result<Vec<PgRow>, sqlx::Error> {
    borrowed.await?.run(sql, values).await
}

fn syntax(schema: &str) -> Syntax {
    Syntax {
        schema: format!("\"{schema}\"."),
        grantable: "$4 <> '' AND string_to_array($4, ' ') <@ string_to_array(requested, ' ')",
        uses: "(SELECT item ->> 0 AS id, (item ->> 1)::bigint AS at, item ->> 2 AS address \
            FROM json_array_elements($1::json) AS item)",
        // The parameter does not exist, so reading it is an error with a telling name (see `error::is_read_only`).
        on_primary: "CASE current_setting('transaction_read_only') WHEN 'on' \
            THEN current_setting('agent_auth.server_is_read_only') ELSE '' END IS NOT NULL",
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
