use std::{
    fmt,
    path::Path,
    sync::{Arc, Weak},
};

use sqlx::{
    AssertSqlSafe, Row as _, Sqlite, SqlitePool, Transaction as SqlTransaction,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    AuthorizationKey, ClientCreation, ClientCutoff, Creation, Cutoff, Migration, Notices, PendingCaps, RevokeTarget,
    StoreError, StoredSession,
    columns::{Row, Value, Values},
    migrations,
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

mod error;
mod open;

/// Stores everything in one SQLite file, for a service that runs on one machine, in one process or several.
///
/// **Acknowledged changes are durable**: the file is in WAL mode and synced before each call returns
/// (`synchronous=FULL`). Grants and revocations survive a killed process, and a power loss if the disk honours syncs.
/// The file must be on a local disk, because SQLite's locks don't work on network file systems.
///
/// The store owns the file, and the `-wal` and `-shm` files beside it while it is in use. It contains digests, never a
/// secret, but also the names and network addresses of agents and humans. A new file is readable by its owner only
/// (mode 0600); the mode of an existing file is unchanged.
///
/// Clones share the same connections: one writer and a few readers. Changes are serialised; reads don't wait for them.
/// A call that gets no connection within five seconds fails with [`Unavailable`](super::StoreErrorKind::Unavailable).
/// It requires Tokio, with time enabled.
///
/// ```
/// use tower_agent_auth::{types::secret::Digest, store::{SessionStore, SqliteStore}};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("tower-agent-auth-example-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let store = SqliteStore::open(directory.join("sessions.db")).await?;
/// assert_eq!(store.find_session(&Digest::from_bytes([0; 32])).await?, None);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    statements: Arc<Statements>,
    notices: Arc<Notices>,
}

impl SqliteStore {
    /// Opens the file, creates it if it is missing, and migrates its schema. Several processes may open it at once.
    ///
    /// # Errors
    /// * [`Unavailable`](super::StoreErrorKind::Unavailable) when the file can't be opened or written, or stays locked;
    /// * [`Corrupt`](super::StoreErrorKind::Corrupt) when it is not a SQLite file, belongs to another application, or
    ///   was written by a newer version of this crate;
    /// * [`Other`](super::StoreErrorKind::Other) when SQLite does not accept the settings that durability requires.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), true).await
    }

    /// Opens the file, and neither creates it nor changes its schema: [`migrate`](Self::migrate) did.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and [`Other`](super::StoreErrorKind::Other) when the schema is older than this
    /// version of the crate; the error says what to run.
    pub async fn open_migrated(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path.as_ref(), false).await
    }

    /// Creates the file if it is missing, and migrates its schema. An operator runs it before the services start that
    /// [open](Self::open_migrated) the file.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn migrate(path: impl AsRef<Path>) -> Result<(), StoreError> {
        let store = Self::open(path).await?;
        store.readers.close().await;
        store.writer.close().await;
        Ok(())
    }

    /// All migrations of the schema, oldest first, for a migration tool of the service's own. Each sets
    /// `PRAGMA user_version` to its version, by which the store knows that it was applied.
    #[must_use]
    pub fn migrations() -> Vec<Migration> {
        migrations::all(&migrations::SQLITE, |_, file| file.to_owned())
    }

    async fn open_with(path: &Path, migrates: bool) -> Result<Self, StoreError> {
        // An absolute path can't be mistaken for one of SQLite's special names, such as `:memory:`.
        let path = std::path::absolute(path).map_err(error::unopened)?;
        let opened = async {
            if migrates {
                open::create_file(&path)?;
            } else if !path.try_exists().map_err(error::unopened)? {
                return Err(error::missing());
            }
            Ok((open::readers(&path).await?, open::writer(&path, migrates).await?))
        };
        let (readers, writer) =
            opened.await.map_err(|error: StoreError| error.within(format!("the SQLite file {}", path.display())))?;
        let statements = Arc::new(Statements::new(&syntax()));
        Ok(Self { writer, readers, statements, notices: Arc::default() })
    }

    /// Does nothing: SQLite has no notification channel.
    const fn listen(&self) {
        let _ = self;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

sql_store!(SqliteStore);

impl Engine for SqliteStore {
    type Row = SqliteRow;
    type Transaction = SqlTransaction<'static, Sqlite>;

    fn statements(&self) -> &Statements {
        &self.statements
    }

    fn notices(&self) -> &Notices {
        &self.notices
    }

    async fn read(&self, sql: &Arc<str>, values: Values) -> Result<Vec<SqliteRow>, StoreError> {
        bound(sql, values).fetch_all(&self.readers).await.map_err(error::failed)
    }

    async fn write(&self, sql: &Arc<str>, values: Values) -> Result<Vec<SqliteRow>, StoreError> {
        bound(sql, values).fetch_all(&self.writer).await.map_err(error::failed)
    }

    async fn begin(&self) -> Result<Self::Transaction, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(error::failed)
    }

    async fn run(
        transaction: &mut Self::Transaction,
        sql: &Arc<str>,
        values: Values,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        bound(sql, values).fetch_all(&mut **transaction).await.map_err(error::failed)
    }

    async fn commit(transaction: Self::Transaction) -> Result<(), StoreError> {
        transaction.commit().await.map_err(error::failed)
    }

    /// Does nothing: SQLite serialises transactions that write.
    async fn take_turn(&self, _: &mut Self::Transaction, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Does nothing: SQLite has no notification channel.
    async fn announce(&self, _: &mut Self::Transaction, _: &[SessionId]) -> Result<(), StoreError> {
        Ok(())
    }
}

fn syntax() -> Syntax {
    Syntax {
        schema: String::new(),
        // A scope contains neither a quote nor a backslash (RFC 6749 section 3.3).
        grantable: r#"$4 <> '' AND NOT EXISTS (SELECT 1 FROM json_each('["' || replace($4, ' ', '","') || '"]')
            WHERE instr(' ' || requested || ' ', ' ' || value || ' ') = 0)"#,
        uses: "(SELECT value ->> 0 AS id, value ->> 1 AS at, value ->> 2 AS address FROM json_each($1))",
        on_primary: "true",
        server_time: "NULL",
        for_update: "",
        skip_locked: "",
    }
}

fn bound(sql: &Arc<str>, values: Values) -> Query<'static, Sqlite, SqliteArguments> {
    values.0.into_iter().fold(sqlx::query(AssertSqlSafe(Arc::clone(sql))), |query, value| match value {
        Value::Text(text) | Value::AnyText(text) => query.bind(text),
        Value::Integer(integer) => query.bind(integer),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

impl Row for SqliteRow {
    fn text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        self.try_get(index).map_err(error::failed)
    }

    fn any_text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        self.try_get(index).map_err(error::failed)
    }

    fn integer(&self, index: usize) -> Result<Option<i64>, StoreError> {
        self.try_get(index).map_err(error::failed)
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, StoreError> {
        self.try_get(index).map_err(error::failed)
    }
}
