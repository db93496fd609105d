//! What each store can do, beside what its engine can do for the same statement, and how soon a revocation is seen.
//!
//! ```text
//! cargo xtask servers -- cargo bench --bench stores
//! ```
//!
//! It prints two tables. All rates are of one run on one machine, with the servers on the same machine: compare them with
//! each other, not with those of another run.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{PgPool, SqlitePool, postgres::PgPoolOptions, sqlite::SqlitePoolOptions};
use tokio::{task::JoinSet, time::sleep};
use tower_agent_auth::{
    store::{
        CacheOptions, CachedStore, CeremonyStore, MemoryStore, PostgresOptions, RedisOptions, RevokeTarget,
        SessionStore, SqliteStore,
        conformance::fixtures::{after, approved, session, session_of},
    },
    types::session::{NewSession, RevokedBy},
};

const CALLERS: usize = 32;
const SPAN: Duration = Duration::from_secs(3);
const SESSIONS: usize = 1_000;
/// More redemptions than any store does in the time.
const APPROVED: usize = 6_000;

/// Calls per second of so many callers, each with a number of its own each time; until the time is up or the numbers are.
async fn rate<F>(most: usize, call: impl Fn(usize) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (next, call) = (Arc::clone(&next), call.clone());
        callers.spawn(async move {
            let mut done = 0;
            while begun.elapsed() < SPAN {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= most {
                    break;
                }
                call(number).await;
                done += 1;
            }
            done
        });
    }
    let done: usize = callers.join_all().await.into_iter().sum();
    done as f64 / begun.elapsed().as_secs_f64()
}

async fn sessions(store: &impl CeremonyStore) -> Arc<Vec<NewSession>> {
    let mut all = Vec::new();
    for account in 0..SESSIONS {
        all.push(session(store, &format!("account-{account}")).await);
    }
    Arc::new(all)
}

async fn checks(store: &(impl SessionStore + Clone), sessions: &Arc<Vec<NewSession>>) -> f64 {
    let (store, sessions) = (store.clone(), Arc::clone(sessions));
    rate(usize::MAX, move |number| {
        let (store, sessions) = (store.clone(), Arc::clone(&sessions));
        async move {
            let access = &sessions[number % SESSIONS].session.session.access;
            // As a guard asks.
            let found = match store.try_find_session(access) {
                std::task::Poll::Ready(found) => found,
                std::task::Poll::Pending => store.find_session(access).await.unwrap(),
            };
            assert!(found.is_some());
        }
    })
    .await
}

async fn waiting(store: &impl CeremonyStore) -> Arc<Vec<NewSession>> {
    let mut all = Vec::new();
    for number in 0..APPROVED {
        let account = format!("account-{}", number % SESSIONS);
        all.push(session_of(&approved(store, &account).await, &account));
    }
    Arc::new(all)
}

async fn redemptions(store: &(impl CeremonyStore + Clone)) -> f64 {
    let (store, waiting) = (store.clone(), waiting(store).await);
    rate(APPROVED, move |number| {
        let (store, waiting) = (store.clone(), Arc::clone(&waiting));
        async move { assert!(store.redeem(&waiting[number], after(2)).await.unwrap()) }
    })
    .await
}

struct Raw {
    checks: Option<f64>,
    redemptions: Option<f64>,
}

async fn row(name: &str, store: impl CeremonyStore + Clone, raw: impl AsyncFn(Arc<Vec<NewSession>>) -> Raw) {
    let all = sessions(&store).await;
    let raw = raw(Arc::clone(&all)).await;
    let uncached = checks(&store, &all).await;
    let cached = checks(&CachedStore::over(store.clone()), &all).await;
    let redeemed = redemptions(&store).await;
    let beside = |raw: Option<f64>, own: f64| {
        raw.map_or_else(|| "–".into(), |raw| format!("{} ({:.0} %)", thousands(raw), 100.0 * own / raw))
    };
    println!(
        "| {name} | {} | {} | {} | {} | {} |",
        thousands(uncached),
        beside(raw.checks, uncached),
        thousands(cached),
        thousands(redeemed),
        beside(raw.redemptions, redeemed),
    );
}

fn thousands(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

const FIND: &str = "SELECT id, access, resource, account_id, account_label, client_name, scopes, expires_at, last_use_at, \
    revoked_at, revoked_by FROM sessions WHERE access = $1 AND revoked_at IS NULL";
const EXCHANGE: &str =
    "UPDATE authorization_requests SET state = 'redeemed' WHERE id = $1 AND state = 'approved' AND expires_at > $2";
const INSERT_SESSION: &str = "INSERT INTO sessions (id, request, access, resource, account_id, account_label, \
    client_name, granted, scopes, created_at, expires_at, refresh_expires_at) \
    VALUES ($1, $2, $3, 'r', 'a', $4, 'c', 'a b', 'a b', 1, 2, 3)";
const INSERT_REFRESH: &str = "INSERT INTO refresh_tokens (refresh, session, generation, ends_at) VALUES ($1, $2, 0, 3)";

/// The same statements without the crate, over the same number of connections.
macro_rules! raw_sql_rates {
    ($readers:expr, $writer:expr, $begin:literal, $label:expr, $store:expr, $all:expr) => {{
        let (readers, writer, store, all) = ($readers, $writer, $store, $all);
        let checks = rate(usize::MAX, move |number| {
            let (pool, all) = (readers.clone(), Arc::clone(&all));
            async move {
                let access = all[number % SESSIONS].session.session.access;
                sqlx::query(FIND).bind(access.as_bytes().as_slice()).fetch_one(&pool).await.unwrap();
            }
        })
        .await;
        let waiting = waiting(&store).await;
        let redemptions = rate(APPROVED, move |number| {
            let (pool, waiting) = (writer.clone(), Arc::clone(&waiting));
            async move {
                let new = &waiting[number];
                let (id, authorization) = (new.session.session.id.as_str(), new.session.authorization.as_str());
                let mut transaction = pool.begin_with($begin).await.unwrap();
                sqlx::query(EXCHANGE)
                    .bind(authorization)
                    .bind(after(2).as_millis())
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                sqlx::query(INSERT_SESSION)
                    .bind(id)
                    .bind(authorization)
                    .bind(new.session.session.access.as_bytes().as_slice())
                    .bind($label)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                sqlx::query(INSERT_REFRESH)
                    .bind(new.refresh.as_bytes().as_slice())
                    .bind(id)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
            }
        })
        .await;
        Raw { checks: Some(checks), redemptions: Some(redemptions) }
    }};
}

async fn raw_postgres(pool: PgPool, store: impl CeremonyStore, all: Arc<Vec<NewSession>>) -> Raw {
    raw_sql_rates!(pool.clone(), pool, "BEGIN", b"label".as_slice(), store, all)
}

async fn raw_sqlite(
    readers: SqlitePool,
    writer: SqlitePool,
    store: impl CeremonyStore,
    all: Arc<Vec<NewSession>>,
) -> Raw {
    raw_sql_rates!(readers, writer, "BEGIN IMMEDIATE", "label", store, all)
}

async fn raw_redis(client: redis::Client, all: Arc<Vec<NewSession>>) -> Raw {
    // As many commands and bytes as the store's own scripts, and no more.
    const FIND: &str = "local id = redis.call('GET', KEYS[1]); \
        return redis.call('HMGET', id, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)";
    const REDEEM: &str = "for n = 1, 22 do redis.call('HSET', KEYS[1], n, ARGV[1]) end \
        for n = 1, 3 do redis.call('SET', KEYS[1] .. ':' .. n, ARGV[1]) end \
        for n = 4, 5 do redis.call('ZADD', KEYS[1] .. ':' .. n, n, ARGV[1]) end \
        redis.call('HSET', KEYS[1] .. ':6', 'state', 'exchanged') return 1";
    let manager = redis::aio::ConnectionManager::new(client).await.unwrap();
    let (find, redeem) = (Arc::new(redis::Script::new(FIND)), Arc::new(redis::Script::new(REDEEM)));
    for number in 0..SESSIONS {
        let (pointer, hash) = (format!("{{raw}}:{number}"), format!("{{raw}}:hash:{number}"));
        let set = redis::cmd("SET").arg(&pointer).arg(&hash).exec_async(&mut manager.clone()).await;
        set.unwrap();
        let mut fill = redis::cmd("HSET");
        fill.arg(&hash);
        (0..22).for_each(|field| drop(fill.arg(field).arg("a value of that length").clone()));
        fill.exec_async(&mut manager.clone()).await.unwrap();
    }
    let connection = manager.clone();
    let checks = rate(usize::MAX, move |number| {
        let (mut connection, find) = (connection.clone(), Arc::clone(&find));
        async move {
            let key = format!("{{raw}}:{}", number % SESSIONS);
            find.key(key).invoke_async::<redis::Value>(&mut connection).await.unwrap();
        }
    })
    .await;
    let connection = manager.clone();
    let redemptions = rate(APPROVED, move |number| {
        let (mut connection, redeem) = (connection.clone(), Arc::clone(&redeem));
        async move {
            let key = format!("{{raw}}:ses:{number}");
            redeem.key(key).arg("a value of that length").invoke_async::<redis::Value>(&mut connection).await.unwrap();
        }
    })
    .await;
    drop(all);
    Raw { checks: Some(checks), redemptions: Some(redemptions) }
}

/// How long after each revocation on one node the other refuses.
async fn delays(here: impl CeremonyStore + Clone, there: impl SessionStore + Clone, trials: usize) -> Vec<Duration> {
    let mut delays = Vec::new();
    for _ in 0..trials {
        let new = session(&here, "alice").await;
        assert!(there.find_session(&new.session.session.access).await.unwrap().is_some());
        delays.push(refused_after(&here, &there, &new).await);
    }
    delays.sort();
    delays
}

async fn refused_after(here: &impl CeremonyStore, there: &impl SessionStore, new: &NewSession) -> Duration {
    here.revoke(&RevokeTarget::Access(new.session.session.access), RevokedBy::Human, after(3)).await.unwrap();
    let begun = Instant::now();
    while there.find_session(&new.session.session.access).await.unwrap().is_some() {
        sleep(Duration::from_micros(200)).await;
    }
    begun.elapsed()
}

/// The same where nobody is told: all trials at once, each revoked at another moment of the bound.
async fn delays_without_push(
    here: impl CeremonyStore + Clone,
    there: impl SessionStore + Clone,
    trials: usize,
) -> Vec<Duration> {
    let mut running = JoinSet::new();
    for trial in 0..trials {
        let (here, there) = (here.clone(), there.clone());
        running.spawn(async move {
            let new = session(&here, &format!("account-{trial}")).await;
            assert!(there.find_session(&new.session.session.access).await.unwrap().is_some());
            sleep(Duration::from_millis(4_000 * trial as u64 / trials as u64)).await;
            refused_after(&here, &there, &new).await
        });
    }
    let mut delays = running.join_all().await;
    delays.sort();
    delays
}

fn print_delays(name: &str, delays: &[Duration]) {
    let at = |share: usize| delays[(delays.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
    println!("| {name} | {} | {:.1} ms | {:.1} ms | {:.1} ms |", delays.len(), at(50), at(99), at(100));
}

#[tokio::main]
async fn main() {
    let url = |name, usual: &str| env::var(name).unwrap_or_else(|_| usual.to_owned());
    let postgres_url = url("POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres");
    let redis_url = url("REDIS_URL", "redis://127.0.0.1:6379");
    let unique = format!("agent_auth_bench_{}", std::process::id());

    println!("\n{CALLERS} callers, {SESSIONS} sessions, a second\n");
    println!("| store | checks | the engine's own | checks, cached | redemptions | the engine's own |");
    println!("|---|---|---|---|---|---|");
    row("memory", MemoryStore::new(), async |_| Raw { checks: None, redemptions: None }).await;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sessions.db");
    let sqlite = SqliteStore::open(&file).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&file)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    let readers =
        SqlitePoolOptions::new().max_connections(4).test_before_acquire(false).connect_lazy_with(options.clone());
    let writer = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_lazy_with(options);
    row("SQLite", sqlite.clone(), async |all| raw_sqlite(readers.clone(), writer.clone(), sqlite.clone(), all).await)
        .await;

    let options = PostgresOptions::new().schema(&unique);
    let postgres = options.clone().connect(&postgres_url).await.unwrap();
    let path = format!("SET search_path TO {unique}");
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let path = sqlx::AssertSqlSafe(path.clone());
            Box::pin(async move { sqlx::raw_sql(path).execute(connection).await.map(drop) })
        })
        .connect_lazy(&postgres_url)
        .unwrap();
    row("PostgreSQL", postgres.clone(), async |all| raw_postgres(pool.clone(), postgres.clone(), all).await).await;

    let redis_options = RedisOptions::new().prefix(&unique);
    let redis = redis_options.clone().connect(&redis_url).await.unwrap();
    let client = redis::Client::open(redis_url.as_str()).unwrap();
    row("Redis", redis.clone(), async |all| raw_redis(client.clone(), all).await).await;

    println!("\nfrom a revocation on one node until the other refuses\n");
    println!("| store | trials | median | 99 % | most |\n|---|---|---|---|---|");
    let minute = CacheOptions::new().staleness(Duration::from_secs(60));
    print_delays("PostgreSQL, no cache", &delays(postgres.clone(), postgres.clone(), 1_000).await);
    let there = minute.over(options.connect(&postgres_url).await.unwrap());
    print_delays("PostgreSQL, cache and push", &delays(postgres.clone(), there, 1_000).await);
    let there = minute.over(redis_options.connect(&redis_url).await.unwrap());
    print_delays("Redis, cache and push", &delays(redis.clone(), there, 1_000).await);
    let there = CachedStore::over(SqliteStore::open(&file).await.unwrap());
    print_delays("SQLite, cache of 5 s, no push", &delays_without_push(sqlite, there, 1_000).await);

    let drop = format!("DROP SCHEMA {unique} CASCADE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&pool).await.unwrap();
    const DELETE: &str = "for _, pattern in ipairs(ARGV) do \
        for _, key in ipairs(redis.call('KEYS', pattern)) do redis.call('DEL', key) end end";
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let patterns = [format!("{{{unique}}}:*"), "{raw}:*".to_owned()];
    redis::cmd("EVAL").arg(DELETE).arg(0).arg(&patterns).exec_async(&mut connection).await.unwrap();
}
