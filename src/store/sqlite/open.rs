//! Opens the file: its mode, connections, settings and schema.

use std::{
    fs::OpenOptions,
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool,
    pool::PoolOptions,
    query_as, query_scalar, raw_sql,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    super::{StoreError, StoreErrorKind, migrations::SQLITE as MIGRATIONS},
    error,
};

/// How long a call waits for a connection, and a connection for a write of another process.
const PATIENCE: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// The `PRAGMA application_id` that the first migration sets.
const APPLICATION_ID: i64 = 0x6167_6131;

/// Creates the file, accessible to its owner only, unless it exists. SQLite gives the same mode to the files beside it.
pub(super) fn create_file(path: &Path) -> Result<(), StoreError> {
    // Closing any handle of a file drops all POSIX locks that the process has on it. So no other call may continue to
    // SQLite, which locks the file, while this handle is open.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error::unopened(error)),
        _ => Ok(()),
    }
}

/// Opens the connections that read. They don't wait for the writer. Refuses a file of another application before
/// anything is written to it.
pub(super) async fn readers(path: &Path) -> Result<SqlitePool, StoreError> {
    let pool = pool_options(READERS).connect_lazy_with(options(path).read_only(true));
    patiently(|| async { Fingerprint::read(&mut *pool.acquire().await?).await }).await?.migrations_done()?;
    Ok(pool)
}

/// Opens the one connection that writes, and checks its settings. Migrates the schema, or refuses an old one.
pub(super) async fn writer(path: &Path, migrates: bool) -> Result<SqlitePool, StoreError> {
    let options = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON");
    let pool =
        pool_options(1).after_release(|connection, _| Box::pin(is_reusable(connection))).connect_lazy_with(options);
    let mut connection = patiently(|| pool.acquire()).await?;
    check_settings(&mut connection).await?;
    migrate(&mut connection, migrates).await?;
    Ok(pool)
}

fn options(path: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(PATIENCE);
    options.foreign_keys(true).disable_statement_logging()
}

fn pool_options(size: u32) -> PoolOptions<Sqlite> {
    PoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Whether a connection can be reused. It is closed if it may still be in a transaction. SQLite ends a transaction
/// itself after some errors, such as a full disk. sqlx does not detect that, and would refuse to begin another.
async fn is_reusable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // A round trip completes the rollback of a dropped transaction.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Retries while the file is busy. SQLite does not wait for the locks that enabling WAL and cleaning up after the last
/// process take. Concurrent opens therefore may need retries.
async fn patiently<T, F>(attempt: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error) if error::is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            other => return other.map_err(error::failed),
        }
    }
}

/// Checks the settings. If SQLite can't apply one, it continues with another value and reports no error.
async fn check_settings(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let journal: String =
        query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.map_err(error::failed)?;
    let synchronous: i64 =
        query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.map_err(error::failed)?;
    if journal == "wal" && synchronous == 2 {
        return Ok(());
    }
    Err(StoreError::because(StoreErrorKind::Other, SettingsRefused { journal, synchronous }))
}

async fn migrate(connection: &mut SqliteConnection, migrates: bool) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(error::failed)?;
    let fingerprint = Fingerprint::read(&mut transaction).await.map_err(error::failed)?;
    let done = fingerprint.migrations_done()?;
    if !migrates && done < MIGRATIONS.len() {
        return Err(StoreError::because(StoreErrorKind::Other, Refused::Old(done)));
    }
    for (_, migration) in MIGRATIONS.iter().skip(done) {
        raw_sql(*migration).execute(&mut *transaction).await.map_err(error::failed)?;
    }
    // On a file that it can't write, SQLite accepts `BEGIN IMMEDIATE` and refuses the first write, even of nothing.
    raw_sql("DELETE FROM sessions WHERE false").execute(&mut *transaction).await.map_err(error::failed)?;
    transaction.commit().await.map_err(error::failed)
}

/// The identification of a file.
struct Fingerprint {
    application: i64,
    version: i64,
    has_tables: bool,
}

impl Fingerprint {
    /// Uses one statement, so that a concurrent migration is seen whole or not at all.
    async fn read(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        const READ: &str = "SELECT \
            (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), \
            EXISTS (SELECT 1 FROM sqlite_schema)";
        let (application, version, has_tables) = query_as(READ).fetch_one(connection).await?;
        Ok(Self { application, version, has_tables })
    }

    fn migrations_done(&self) -> Result<usize, StoreError> {
        let corrupt = |cause: Refused| StoreError::because(StoreErrorKind::Corrupt, cause);
        let own = self.application == APPLICATION_ID;
        match usize::try_from(self.version) {
            Ok(0) if self.application == 0 && !self.has_tables => Ok(0),
            Ok(version) if own && version <= MIGRATIONS.len() => Ok(version),
            Ok(version) if own => Err(corrupt(Refused::Newer(version))),
            _ => Err(corrupt(Refused::Foreign)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "SQLite runs with journal_mode `{journal}` and synchronous {synchronous} instead of `wal` and 2; \
     put the file on a local disk"
)]
struct SettingsRefused {
    journal: String,
    synchronous: i64,
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "the file was written by a newer version of tower-agent-auth (schema {0}, this one knows {known}); \
         run that version",
        known = MIGRATIONS.len()
    )]
    Newer(usize),
    #[error(
        "the file has schema {0}, and this version of tower-agent-auth needs {needed}; \
         run SqliteStore::migrate on it first, or open it with SqliteStore::open, which migrates it",
        needed = MIGRATIONS.len()
    )]
    Old(usize),
    #[error("the file is the database of something else; give the store a file of its own")]
    Foreign,
}

#[cfg(test)]
mod tests {
    use sqlx::Executor;

    use super::*;

    /// A path in its own directory, which is deleted on drop.
    struct Place(std::path::PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("tower-agent-auth-open-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            std::fs::create_dir(&directory).unwrap();
            Self(directory)
        }

        fn path(&self) -> std::path::PathBuf {
            let path = self.0.join("sessions.db");
            create_file(&path).unwrap();
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    #[tokio::test]
    async fn r95_the_writer_runs_with_the_promised_settings() {
        let place = Place::new("settings");
        let writer = writer(&place.path(), true).await.unwrap();
        let journal: String = query_scalar("PRAGMA journal_mode").fetch_one(&writer).await.unwrap();
        assert_eq!(journal, "wal");
        for (pragma, expected) in [
            ("PRAGMA synchronous", 2),
            ("PRAGMA busy_timeout", 5_000),
            ("PRAGMA foreign_keys", 1),
            ("PRAGMA secure_delete", 1),
            ("PRAGMA application_id", APPLICATION_ID),
            ("PRAGMA user_version", MIGRATIONS.len() as i64),
        ] {
            let value: i64 = query_scalar(pragma).fetch_one(&writer).await.unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
    }

    #[tokio::test]
    async fn r95_other_settings_are_refused() {
        let place = Place::new("refused");
        for options in [
            options(&place.path()).journal_mode(SqliteJournalMode::Delete),
            options(&place.path()).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal),
        ] {
            let mut connection = options.connect().await.unwrap();
            let error = check_settings(&mut connection).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Other);
            connection.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn readers_can_not_write() {
        let place = Place::new("readers");
        let readers = readers(&place.path()).await.unwrap();
        writer(&place.path(), true).await.unwrap();
        assert!(readers.execute("DELETE FROM sessions").await.is_err());
    }

    #[tokio::test]
    async fn d2_a_file_that_can_not_be_written_is_refused_with_a_remedy() {
        let place = Place::new("read-only");
        let path = place.path();
        writer(&path, true).await.unwrap().close().await;
        // SQLite opens a file without the right to write in the same way.
        let mut connection = options(&path).read_only(true).connect().await.unwrap();
        let error = migrate(&mut connection, true).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("write access to the file and its directory"), "{cause}");
    }

    #[cfg(feature = "conformance")]
    #[tokio::test]
    async fn d6_a_full_disk_is_unavailable_and_nothing_is_lost() {
        use super::super::super::{
            AuthorizationStore, RevokeTarget, SessionRecordStore, SqliteStore,
            conformance::fixtures::{NO_CAPS, account, after, approved, authorization, is_live, session, with_lookup},
        };
        use crate::types::session::RevokedBy;

        let place = Place::new("full");
        let store = SqliteStore::open(place.path()).await.unwrap();
        let (kept, ended) = (session(&store, "alice").await, session(&store, "bob").await);
        let target = RevokeTarget::Account(account("bob").id);
        store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap();
        let limit = async |pages: i64| {
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            query_scalar::<_, i64>(pragma).fetch_one(&store.writer).await.unwrap();
        };
        let pages: i64 = query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
        limit(pages).await;
        let mut stored = 0;
        let error = loop {
            match store.create_authorization(&with_lookup(&authorization()), NO_CAPS).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        let count: i64 =
            query_scalar("SELECT count(*) FROM authorization_requests").fetch_one(&store.readers).await.unwrap();
        assert_eq!(count, 2 + stored, "the failed one left nothing");
        assert!(is_live(&store, &kept).await && !is_live(&store, &ended).await);
        limit(i64::from(i32::MAX)).await;
        approved(&store, "carol").await;
        assert!(is_live(&store, &kept).await && !is_live(&store, &ended).await);
    }

    #[tokio::test]
    async fn a_locked_file_is_unavailable() {
        let place = Place::new("locked");
        let writer = writer(&place.path(), true).await.unwrap();
        let mut lock = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let impatient = options(&place.path()).busy_timeout(Duration::ZERO);
        let mut other = impatient.connect().await.unwrap();
        let error = other.execute("DELETE FROM sessions").await.unwrap_err();
        assert!(error::is_busy(&error));
        assert_eq!(error::failed(error).kind(), StoreErrorKind::Unavailable);
        lock.execute("DELETE FROM sessions").await.unwrap();
    }

    #[tokio::test]
    async fn r99_what_an_older_version_kept_survives_the_migration() {
        const OLD: &str = "INSERT INTO registrations (id, claim, client_name, requested, created_at, expires_at, state) \
                VALUES ('reg_aaaaaaaaaaaaaaaaaaaaaa', zeroblob(32), 'Agent', 'a b', 1, 2, 'pending'); \
            INSERT INTO sessions (seq, id, registration, access, refresh, resource, account_id, account_label, \
                client_name, scopes, created_at, expires_at, refresh_expires_at, revoked_at, revoked_by) \
                VALUES (7, 'ses_aaaaaaaaaaaaaaaaaaaaaa', 'reg_bbbbbbbbbbbbbbbbbbbbbb', zeroblob(32), \
                    cast('0123456789abcdef0123456789abcdef' AS BLOB), 'https://api.example.com', '42', 'ada', \
                    'Agent', 'a', 1, 2, 3, 4, 'human');";
        let place = Place::new("older");
        let path = place.path();
        let mut connection = options(&path).journal_mode(SqliteJournalMode::Wal).connect().await.unwrap();
        raw_sql(MIGRATIONS[0].1).execute(&mut connection).await.unwrap();
        raw_sql(OLD).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let writer = writer(&path, true).await.unwrap();
        let kept: (String, String, i64) =
            query_as("SELECT flow ->> 'flow', requested, failed_attempts FROM authorization_requests")
                .fetch_one(&writer)
                .await
                .unwrap();
        assert_eq!(kept, ("claim".into(), "a b".into(), 0));
        let kept: (i64, String, String, i64, String) = query_as(
            "SELECT seq, granted, scopes, generation, cast(refresh AS TEXT) \
             FROM sessions JOIN refresh_tokens USING (generation) WHERE revoked_by = 'human' AND session = id",
        )
        .fetch_one(&writer)
        .await
        .unwrap();
        assert_eq!(kept, (7, "a".into(), "a".into(), 0, "0123456789abcdef0123456789abcdef".into()));
    }

    #[tokio::test]
    async fn r99_a_migration_that_fails_leaves_nothing() {
        let place = Place::new("halfway");
        let mut connection = options(&place.path()).connect().await.unwrap();
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for (_, migration) in &MIGRATIONS {
            raw_sql(*migration).execute(&mut *transaction).await.unwrap();
        }
        transaction.rollback().await.unwrap();
        let fingerprint = Fingerprint::read(&mut connection).await.unwrap();
        assert_eq!((fingerprint.application, fingerprint.version, fingerprint.has_tables), (0, 0, false));
    }
}
