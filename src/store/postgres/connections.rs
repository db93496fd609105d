//! Connections to the server: borrowed from the pool for one call, returned if they are sound, and closed otherwise.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, Connection as _, Error, PgConnection, PgPool, Postgres, Row as _, pool::PoolConnection,
    postgres::PgRow, raw_sql,
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{super::columns::Values, bound, error};

/// How long a call waits for a connection, unless its deadline comes first.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that was idle for this long is tested before use.
pub(super) const IDLE: Duration = Duration::from_secs(1);

/// How long a test of an idle connection may take.
const TEST: Duration = Duration::from_millis(500);

/// A connection on which a dropped call got no response for this long is dead.
const SILENCE: Duration = Duration::from_secs(1);

/// Begins a transaction and returns whether it is read-only.
///
/// At READ COMMITTED, a write that waited for a row evaluates its conditions on the new version of the row. The server
/// ends a transaction whose client is silent, because its locks would stop other nodes. It also ends a statement that
/// waits: a backend that waits for a lock does not notice that its client is gone. The lock timeout is shorter than the
/// default deadline of a write, so that the caller gets the server's error. A statement may wait for several locks.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '4s'; \
    SET LOCAL statement_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '3s'; \
    SHOW transaction_read_only";

/// Bounds the statements outside of transactions, which only read. They wait only for a lock on a whole table. The lock
/// timeout is shorter than the default deadline of a read.
pub(super) const BOUND_READS: &str = "SET lock_timeout = '1500ms'; SET statement_timeout = '5s'";

/// The pool, shared by token checks and the ceremony.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    pool: PgPool,
    /// One permit for each connection that the ceremony may borrow. The others are reserved for token checks.
    ceremony: Arc<Semaphore>,
    health: Arc<Health>,
    /// How often the pool left a read-only server.
    generation: AtomicU64,
}

/// Whether an idle connection was found dead. The others are then likely dead too.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_suspect: AtomicBool,
}

impl Health {
    /// Tests an idle connection.
    pub(super) async fn test(&self, connection: &mut PgConnection) -> bool {
        let is_alive = matches!(timeout(TEST, connection.ping()).await, Ok(Ok(())));
        if !is_alive {
            self.is_suspect.store(true, Ordering::Relaxed);
        }
        is_alive
    }
}

impl Connections {
    pub(super) fn new(pool: PgPool, health: Arc<Health>) -> Self {
        let most = pool.options().get_max_connections();
        let reserved = if most < 2 { 0 } else { (most / 3).max(1) };
        let ceremony = Arc::new(Semaphore::new((most - reserved) as usize));
        Self(Arc::new(Inner { pool, ceremony, health, generation: AtomicU64::new(0) }))
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// Borrows a connection for a token check.
    pub(super) async fn for_check(&self) -> Result<Borrowed, Error> {
        self.borrow(None).await
    }

    /// Borrows a connection for anything else. Some connections are never borrowed that way.
    pub(super) async fn for_ceremony(&self) -> Result<Borrowed, Error> {
        let permit = timeout(PATIENCE, Arc::clone(&self.0.ceremony).acquire_owned()).await;
        let permit = permit.map_err(|_| Error::PoolTimedOut)?.map_err(|_| Error::PoolClosed)?;
        self.borrow(Some(permit)).await
    }

    /// Begins a transaction on a server that accepts writes.
    pub(super) async fn begin(&self) -> Result<Borrowed, Error> {
        let mut borrowed = self.for_ceremony().await?;
        borrowed.begin().await?;
        Ok(borrowed)
    }

    async fn borrow(&self, permit: Option<OwnedSemaphorePermit>) -> Result<Borrowed, Error> {
        let generation = self.generation();
        let waiting = Waiting { connections: self, since: Instant::now() };
        let connection = self.0.pool.acquire().await?;
        std::mem::forget(waiting);
        if self.0.health.is_suspect.swap(false, Ordering::Relaxed) {
            self.close_idle();
        }
        Ok(Borrowed {
            connection: Some(connection),
            connections: self.clone(),
            permit,
            generation,
            sent_at: None,
            is_in_transaction: false,
            is_sound: true,
        })
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Closes all idle connections. They may be as dead as the one that showed a failure.
    fn close_idle(&self) {
        for _ in 0..self.0.pool.num_idle() {
            match self.0.pool.try_acquire() {
                Some(idle) => drop(idle.detach()),
                None => break,
            }
        }
    }

    /// Closes the idle connections at once and the borrowed ones when they come back.
    fn leave_server(&self, generation: u64) {
        let next = generation + 1;
        if self.0.generation.compare_exchange(generation, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.close_idle();
        }
    }
}

/// A call that waits for a connection. If it waits long in vain, an idle connection may be dead: the test before use, in a
/// pool of the service, has no time limit of its own.
struct Waiting<'c> {
    connections: &'c Connections,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.since.elapsed() >= SILENCE {
            self.connections.close_idle();
        }
    }
}

/// A connection borrowed for one call. It may be dropped at any point.
pub(in super::super) struct Borrowed {
    /// `None` only while it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    connections: Connections,
    permit: Option<OwnedSemaphorePermit>,
    generation: u64,
    /// When the statement that has no response yet was sent.
    sent_at: Option<Instant>,
    /// Whether a transaction may be open.
    is_in_transaction: bool,
    is_sound: bool,
}

impl Borrowed {
    /// Runs one statement.
    pub(super) async fn run(&mut self, sql: &Arc<str>, values: Values) -> Result<Vec<PgRow>, Error> {
        let connection = self.send()?;
        let answer = bound(sql, values).fetch_all(connection).await;
        self.received(answer)
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.is_in_transaction = true;
        let connection = self.send()?;
        let begun = raw_sql(BEGIN).fetch_one(connection).await;
        let read_only: String = self.received(begun)?.try_get(0)?;
        if read_only == "off" { Ok(()) } else { self.received(Err(error::read_only())) }
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        let connection = self.send()?;
        let committed = raw_sql("COMMIT").execute(connection).await;
        self.received(committed)?;
        self.is_in_transaction = false;
        Ok(())
    }

    pub(super) async fn notify(&mut self, channel: &str, payload: &str) -> Result<(), Error> {
        let connection = self.send()?;
        let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(payload);
        let notified = notify.execute(connection).await;
        self.received(notified).map(drop)
    }

    /// Waits until this transaction has the advisory lock on `name`.
    pub(super) async fn take_turn(&mut self, name: &str) -> Result<(), Error> {
        let connection = self.send()?;
        let taken = super::open::take_turn(connection, name).await;
        self.received(taken)
    }

    fn send(&mut self) -> Result<&mut PgConnection, Error> {
        self.sent_at = Some(Instant::now());
        self.connection.as_deref_mut().ok_or(Error::PoolClosed)
    }

    /// Leaves the server if it is read-only, and the connection if it is lost.
    fn received<T>(&mut self, answer: Result<T, Error>) -> Result<T, Error> {
        self.sent_at = None;
        if let Err(error) = &answer {
            if error::is_read_only(error) {
                self.is_sound = false;
                self.connections.leave_server(self.generation);
            } else if error::is_connection_lost(error) {
                self.is_sound = false;
                self.connections.close_idle();
            }
        }
        answer
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let left = self.generation != self.connections.generation();
        let waited = self.sent_at.map_or(Duration::ZERO, |sent_at| sent_at.elapsed());
        let patience = SILENCE.saturating_sub(waited);
        if patience.is_zero() {
            drop(connection.detach());
            self.connections.close_idle();
            return;
        }
        match Handle::try_current() {
            Ok(runtime) if self.is_sound && !left => {
                let returning = Returning {
                    connections: self.connections.clone(),
                    permit: self.permit.take(),
                    is_in_transaction: self.is_in_transaction,
                };
                runtime.spawn(returning.run(connection, patience));
            }
            _ => drop(connection.detach()),
        }
    }
}

/// A connection on its way back to the pool.
struct Returning {
    connections: Connections,
    /// Held until the connection is back, so that the ceremony never has more than its share.
    permit: Option<OwnedSemaphorePermit>,
    is_in_transaction: bool,
}

impl Returning {
    /// Rolls back what may be open, and returns the connection, if the server responds within `patience`.
    async fn run(self, mut connection: PoolConnection<Postgres>, patience: Duration) {
        let since = Instant::now();
        if self.is_in_transaction {
            let rollback = timeout(patience, raw_sql(AssertSqlSafe("ROLLBACK")).execute(&mut *connection)).await;
            match rollback {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return drop(connection.detach()),
                Err(_) => {
                    drop(connection.detach());
                    return self.connections.close_idle();
                }
            }
        }
        // sqlx returns a dropped connection in the same way, but without a time limit.
        let returned = timeout(patience.saturating_sub(since.elapsed()), connection.return_to_pool()).await;
        if returned.is_err() {
            self.connections.close_idle();
        }
        drop(self.permit);
    }
}
