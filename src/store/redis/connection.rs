//! A connection that is replaced when it is dead, or leads to a server that can't be used.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    Client, Cmd, FromRedisValue, RedisError, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
};
use tokio::time::timeout;

use super::error;

/// The timeout to connect and to receive a response, unless a call's deadline comes first.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that has not responded for this long is tested before use.
const QUIET: Duration = Duration::from_secs(1);

/// A connection younger than this is not replaced because its server refuses calls. Another would lead there too.
const YOUNG: Duration = Duration::from_millis(100);

/// How long a write waits for replicas.
const REPLICATION: Duration = Duration::from_secs(2);

/// How long a test may take.
const TEST: Duration = Duration::from_millis(500);

/// One multiplexed connection, shared by many calls.
pub(super) struct Connection {
    client: Client,
    current: Mutex<Arc<Line>>,
}

/// The connection until it is replaced. The manager reconnects by itself when the server closes it. It does not when
/// the server is silent or read-only.
struct Line {
    manager: ConnectionManager,
    created_at: Instant,
    /// When the last response came, or the line was created.
    responded_at: Mutex<Instant>,
}

impl Connection {
    /// Creates a connection that is opened by the first call.
    pub(super) fn new(client: Client) -> RedisResult<Self> {
        let current = Mutex::new(Arc::new(Line::new(&client)?));
        Ok(Self { client, current })
    }

    /// Runs one command. If the connection fails it is replaced, and the outcome of the command is unknown, unless
    /// [the server refused it](error::is_refused).
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let line = self.tested().await?;
        let answer = command.query_async(&mut line.manager.clone()).await;
        self.received(&line, answer)
    }

    /// Runs a script, like [`run`](Self::run).
    pub(super) async fn invoke<T: FromRedisValue>(&self, script: &redis::ScriptInvocation<'_>) -> RedisResult<T> {
        let line = self.tested().await?;
        let answer = script.invoke_async(&mut line.manager.clone()).await;
        self.received(&line, answer)
    }

    /// Runs a script, and waits until `replicas` replicas have what it wrote. Returns how many have it.
    ///
    /// `WAIT` counts the replicas that have the writes of its own connection. Another connection may lead to another
    /// server. So both are sent as one pipeline (<https://redis.io/docs/latest/commands/wait/>).
    pub(super) async fn invoke_and_wait<T: FromRedisValue>(
        &self,
        script: &redis::ScriptInvocation<'_>,
        replicas: u8,
    ) -> RedisResult<(T, u8)> {
        let line = self.tested().await?;
        let mut both = redis::pipe();
        both.ignore_errors().invoke_script(script).cmd("WAIT").arg(replicas).arg(REPLICATION.as_millis() as u64);
        let mut manager = line.manager.clone();
        let answer = async {
            let (answer, reached) = both.query_async::<(RedisResult<T>, RedisResult<u8>)>(&mut manager).await?;
            if !answer.as_ref().is_err_and(error::is_unknown_script) {
                return Ok((answer?, reached?));
            }
            script.load_async(&mut manager).await?;
            let (answer, reached) = both.query_async::<(RedisResult<T>, RedisResult<u8>)>(&mut manager).await?;
            Ok((answer?, reached?))
        };
        let answer = answer.await;
        self.received(&line, answer)
    }

    /// Leaves a server that refuses calls. Calls in progress keep the old connection.
    pub(super) fn leave_server(&self) -> RedisResult<()> {
        let mut current = self.current();
        if current.created_at.elapsed() >= YOUNG {
            *current = Arc::new(Line::new(&self.client)?);
        }
        Ok(())
    }

    /// The connection, which has responded lately.
    async fn tested(&self) -> RedisResult<Arc<Line>> {
        let line = Arc::clone(&self.current());
        if line.is_quiet() {
            let ping = cmd("PING");
            match timeout(TEST, ping.query_async::<redis::Value>(&mut line.manager.clone())).await {
                // A server that refuses the test has responded.
                Ok(Ok(_)) => line.responded(),
                Ok(Err(error)) if error::is_of_server(&error) => line.responded(),
                _ => self.replace_line(&line)?,
            }
        }
        Ok(Arc::clone(&self.current()))
    }

    fn received<T>(&self, line: &Arc<Line>, answer: RedisResult<T>) -> RedisResult<T> {
        match &answer {
            Err(error) if error::is_connection_lost(error) || error.is_io_error() => self.replace_line(line)?,
            _ => line.responded(),
        }
        answer
    }

    /// Replaces the connection, unless another call did.
    fn replace_line(&self, line: &Arc<Line>) -> Result<(), RedisError> {
        let mut current = self.current();
        if Arc::ptr_eq(&current, line) {
            *current = Arc::new(Line::new(&self.client)?);
        }
        Ok(())
    }

    fn current(&self) -> MutexGuard<'_, Arc<Line>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn new(client: &Client) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(250));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        let created_at = Instant::now();
        Ok(Self { manager, created_at, responded_at: Mutex::new(created_at) })
    }

    fn responded(&self) {
        *self.responded_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_quiet(&self) -> bool {
        self.responded_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= QUIET
    }
}
