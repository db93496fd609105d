//! What the PostgreSQL store promises beyond the contract.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions, query_scalar, raw_sql};
use tower_agent_auth::{
    store::{
        AuthorizationKey, AuthorizationStore, Cutoff, HousekeepingStore, PendingCaps, PostgresOptions, PostgresStore,
        RefreshTokenStore, RevokeTarget, SessionRecordStore, SessionStore, StoreError, StoreErrorKind,
        conformance::fixtures::{
            account, after, apply, approved, authorization, deny, digest, find, is_live, listed, opened, session,
            session_of, with_lookup,
        },
    },
    types::{
        authorization::{State, Transition},
        session::RevokedBy,
    },
};

use crate::{
    nodes::Everything,
    places::{Place, Schema, certificate, postgres_url, with_parameter},
    proxy::{Proxy, Remote},
};

fn cause(error: &StoreError) -> String {
    error.source().unwrap().to_string()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn the_service_s_own_connections_will_do() {
    let schema = Schema::new();
    let pool = PgPool::connect(&postgres_url()).await.unwrap();
    let store = PostgresOptions::new().schema(&schema.0).over(pool.clone()).await.unwrap();
    Everything::keep(&store).await.check(&schema.open().await).await;
    let path: String = query_scalar("SHOW search_path").fetch_one(&pool).await.unwrap();
    assert!(!path.contains(&schema.0), "what the connections are set to is left alone");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r99_a_newer_schema_is_refused_and_left_alone() {
    let schema = Schema::new();
    let everything = Everything::keep(&schema.open().await).await;
    schema.execute("INSERT INTO migrations (version) VALUES (4711)").await;
    let error = PostgresOptions::new().schema(&schema.0).connect(&postgres_url()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(cause(&error).contains("newer version") && cause(&error).contains("4711"), "{}", cause(&error));
    schema.execute("DELETE FROM migrations WHERE version = 4711").await;
    everything.check(&schema.open().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r99_the_schema_of_something_else_is_refused_and_a_failed_migration_leaves_nothing() {
    let schema = Schema::new();
    schema.execute(&format!("CREATE SCHEMA {}", schema.0)).await;
    for (theirs, kind) in [
        ("TABLE sessions (id INTEGER)", StoreErrorKind::Corrupt),
        ("TABLE migrations (version BIGINT)", StoreErrorKind::Corrupt),
        // It stands in the way of the last statement but one.
        ("VIEW refresh_tokens AS SELECT 1", StoreErrorKind::Other),
    ] {
        schema.execute(&format!("CREATE {theirs}")).await;
        let error = PostgresOptions::new().schema(&schema.0).connect(&postgres_url()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{theirs}");
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace \
            AND relname IN ('authorization_requests', 'sessions', 'migrations', 'refresh_tokens')";
        let count: i64 = query_scalar(tables).fetch_one(&mut schema.beside().await).await.unwrap();
        assert_eq!(count, 1, "{theirs}");
        let words: Vec<&str> = theirs.split(' ').collect();
        schema.execute(&format!("DROP {} {}", words[0], words[1])).await;
    }
    Everything::keep(&schema.open().await).await;
}

#[tokio::test]
async fn r99_a_name_that_is_no_plain_identifier_is_refused() {
    let long = "a".repeat(51);
    for name in ["", "1a", "A", "a b", "a\"; DROP SCHEMA public; --", "a.b", "é", long.as_str()] {
        let error =
            PostgresOptions::new().schema(name).connect("postgres://postgres@127.0.0.1:1/postgres").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Other, "{name}");
        assert!(cause(&error).contains("schema's name"), "{}", cause(&error));
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn a_role_that_may_not_create_uses_what_another_made() {
    let schema = Schema::new();
    let everything = Everything::keep(&schema.open().await).await;
    let role = format!("{}_role", schema.0);
    schema
        .execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {0} TO {role}; \
             GRANT SELECT ON migrations TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON authorization_requests, authorization_lookups, sessions, refresh_tokens TO {role}",
            schema.0
        ))
        .await;
    let server = postgres_url();
    let as_role = server.replacen("postgres@", &format!("{role}@"), 1);
    let store = PostgresOptions::new().schema(&schema.0).connect(&as_role).await.unwrap();
    everything.check(&store).await;
    session(&store, "carol").await;
    drop(store);
    schema.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r95_synchronous_commit_off_is_refused() {
    let schema = Schema::new();
    let url = with_parameter(&postgres_url(), "options=-c%20synchronous_commit%3Doff");
    let error = PostgresOptions::new().schema(&schema.0).connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    assert!(cause(&error).contains("synchronous_commit"), "{}", cause(&error));
    let store = schema.open().await;
    let fsync: String = query_scalar("SHOW fsync").fetch_one(&mut schema.beside().await).await.unwrap();
    assert_eq!(store.warnings().is_empty(), fsync == "on");
}

#[tokio::test]
async fn r91_what_can_t_be_reached_is_unavailable_and_the_password_is_told_nobody() {
    for url in ["postgres://app:hunter2@127.0.0.1:1/app", "postgres://app:hunter2@127.0.0.1:1/app?sslmode=require"] {
        let error = PostgresStore::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
    let error = PostgresStore::connect("postgres://app:hunter2@[/app").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    assert!(!format!("{error:?} {}", cause(&error)).contains("hunter2"));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r91_a_row_that_makes_no_sense_is_an_error_and_not_absent() {
    let schema = Schema::new();
    let store = schema.open().await;
    let (damaged, sound) = (session(&store, "alice").await, session(&store, "bob").await);
    let asking = opened(&store, "alice").await;
    schema
        .execute(
            "UPDATE sessions SET scopes = '\"', account_label = '\\xff' WHERE account_id = 'alice'; \
             UPDATE authorization_requests SET requested = '\"' WHERE account_id = 'alice'",
        )
        .await;
    let error = store.find_session(&damaged.session.session.access).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let error = store.list_sessions(&account("alice").id, None, 9).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let error = store.find_authorization(&AuthorizationKey::Id(asking.id)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(is_live(&store, &sound).await, "others are not affected");
    let target = RevokeTarget::Account(account("alice").id);
    let ended = store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap();
    assert_eq!(ended, std::slice::from_ref(&damaged.session.session.id), "it is revoked with its account");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r92_with_two_connections_hundreds_of_calls_are_answered() {
    let schema = Schema::new();
    let store = PostgresOptions::new().schema(&schema.0).connections(2).connect(&postgres_url()).await.unwrap();
    let new = session(&store, "alice").await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let (store, new) = (store.clone(), new.clone());
        calls.spawn(async move { is_live(&store, &new).await });
    }
    assert!(calls.join_all().await.into_iter().all(|live| live));
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r92_a_row_that_somebody_locks_holds_up_only_who_needs_it() {
    let schema = Schema::new();
    let store = schema.open().await;
    let approved = approved(&store, "alice").await;
    let other = session(&store, "bob").await;
    let mut beside = schema.beside().await;
    let lock = format!("BEGIN; SELECT * FROM authorization_requests WHERE id = '{}' FOR UPDATE", approved.id);
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut beside).await.unwrap();
    let revoking = store.transition(&approved.id, &Transition::Revoke, after(2));
    assert!(tokio::time::timeout(Duration::from_millis(300), revoking).await.is_err());
    assert!(is_live(&store, &other).await);
    let before = find(&store, &approved).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut beside).await.unwrap();
    assert_eq!(find(&store, &approved).await.id, before.id);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn an_encrypted_connection_is_verified() {
    let schema = Schema::new();
    let server = postgres_url().replace("?sslmode=disable", "");
    let trusting = with_parameter(&server, &format!("sslmode=verify-full&sslrootcert={}", certificate()));
    let store = PostgresOptions::new().schema(&schema.0).connect(&trusting).await.unwrap();
    Everything::keep(&store).await;
    let strange = with_parameter(&server, "sslmode=verify-full");
    let error = PostgresOptions::new().schema(&schema.0).connect(&strange).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "nobody vouches for the server: {error:?}");
}

/// As many connections as the pool may have.
async fn all_of(pool: &PgPool) -> Vec<sqlx::pool::PoolConnection<sqlx::Postgres>> {
    let mut all = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        all.push(pool.acquire().await.unwrap());
    }
    all
}

/// Makes all open connections read-only, as if their server had been demoted. New ones are not.
async fn demote(pool: &PgPool) {
    for connection in &mut all_of(pool).await {
        raw_sql("SET default_transaction_read_only = on").execute(&mut **connection).await.unwrap();
    }
    while pool.num_idle() < pool.options().get_max_connections() as usize {
        tokio::task::yield_now().await;
    }
}

async fn read_only_connections(pool: &PgPool) -> usize {
    let mut count = 0;
    for connection in &mut all_of(pool).await {
        let value: String = query_scalar("SHOW transaction_read_only").fetch_one(&mut **connection).await.unwrap();
        count += usize::from(value == "on");
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn d2_a_demoted_server_is_left_at_the_first_call_of_any_kind() {
    let schema = Schema::new();
    let pool = PgPoolOptions::new().max_connections(4).connect(&postgres_url()).await.unwrap();
    let store = PostgresOptions::new().schema(&schema.0).over(pool.clone()).await.unwrap();
    let new = session(&store, "alice").await;
    let asking = opened(&store, "alice").await;
    let waiting = approved(&store, "alice").await;
    for call in 0..9 {
        demote(&pool).await;
        match call {
            0 => assert!(is_live(&store, &new).await),
            1 => assert!(store.find_refresh(&new.refresh).await.unwrap().is_some()),
            2 => assert!(store.find_record(&new.session.session.id).await.unwrap().is_some()),
            3 => assert_eq!(listed(&store, "alice").await.len(), 1),
            4 => assert_eq!(find(&store, &asking).await.id, asking.id),
            5 => assert!(apply(&store, &asking, deny("alice")).await),
            6 => assert!(store.redeem(&session_of(&waiting, "alice"), after(2)).await.unwrap()),
            7 => assert!(store.find_session(&digest()).await.unwrap().is_none()),
            _ => {
                let target = RevokeTarget::Account(account("alice").id);
                assert_eq!(store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap().len(), 2);
            }
        }
        assert_eq!(read_only_connections(&pool).await, 0, "call {call}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn d2_nothing_is_read_from_a_read_only_server() {
    let schema = Schema::new();
    let owner = schema.open().await;
    let new = session(&owner, "alice").await;
    let role = format!("{}_role", schema.0);
    let rights = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {0} TO {role}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {0} TO {role}",
        schema.0
    );
    schema.execute(&rights).await;
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .connect(&postgres_url().replacen("postgres@", &format!("{role}@"), 1))
        .await
        .unwrap();
    let store = PostgresOptions::new().schema(&schema.0).over(pool.clone()).await.unwrap();
    assert!(is_live(&store, &new).await);

    schema.execute(&format!("ALTER ROLE {role} SET default_transaction_read_only = on")).await;
    demote(&pool).await;
    let answers = [
        store.find_session(&new.session.session.access).await.map(drop),
        store.find_session(&digest()).await.map(drop),
        store.find_refresh(&digest()).await.map(drop),
        store.find_authorization(&AuthorizationKey::Id(authorization().id)).await.map(drop),
        store.revoke(&RevokeTarget::Access(digest()), RevokedBy::Agent, after(3)).await.map(drop),
    ];
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(cause(&error).contains("read-only") && cause(&error).contains("primary"), "{}", cause(&error));
    }
    schema.execute(&format!("ALTER ROLE {role} SET default_transaction_read_only = off")).await;
    assert!(is_live(&store, &new).await, "it is back with the next call");
    pool.close().await;
    schema.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn d2_a_read_only_server_is_refused_with_a_remedy() {
    let schema = Schema::new();
    drop(schema.open().await);
    let url = with_parameter(&postgres_url(), "options=-c%20default_transaction_read_only%3Don");
    let error = PostgresOptions::new().schema(&schema.0).connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(cause(&error).contains("SET default_transaction_read_only = off"), "{}", cause(&error));
}

/// A transaction whose client is silent holds its locks. The server ends it in time for the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn d1_a_silent_transaction_does_not_hold_its_locks_for_long() {
    let schema = Schema::new();
    let proxy = Proxy::to(Schema::server()).await;
    let (here, there) = (schema.open().await, schema.open_at(proxy.port()).await);
    let waiting = approved(&here, "alice").await;
    let mut beside = schema.beside().await;
    let lock = format!("BEGIN; SELECT * FROM authorization_requests WHERE id = '{}' FOR UPDATE", waiting.id);
    raw_sql(AssertSqlSafe(lock)).execute(&mut beside).await.unwrap();
    let lost = session_of(&waiting, "alice");
    let redeeming = tokio::spawn({
        let (there, lost) = (there.clone(), lost.clone());
        async move { there.redeem(&lost, after(2)).await }
    });
    // It has begun, and waits for the row.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1";
    let pattern = format!("%\"{}\".authorization_requests%", schema.0);
    let mut observer = schema.beside().await;
    while query_scalar::<_, i64>(waits).bind(&pattern).fetch_one(&mut observer).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.silence();
    raw_sql("ROLLBACK").execute(&mut beside).await.unwrap();
    let new = session_of(&waiting, "alice");
    let redeemed = tokio::time::timeout(Duration::from_secs(60), here.redeem(&new, after(2))).await;
    proxy.close().await;
    assert!(redeemed.expect("long before TCP gives the connection up").unwrap());
    redeeming.abort();
    assert!(is_live(&here, &new).await && !is_live(&here, &lost).await);
}

/// A foreign transaction locks the tables. Half of the calls are dropped, as by a deadline, and half are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn d1_what_waits_for_a_foreign_lock_ends_on_the_server_too() {
    let schema = Schema::new();
    let url = with_parameter(&postgres_url(), &format!("application_name={}", schema.0));
    let store = PostgresOptions::new().schema(&schema.0).connect(&url).await.unwrap();
    let pool = PgPoolOptions::new().connect(&url).await.unwrap();
    let in_a_pool = PostgresOptions::new().schema(&schema.0).over(pool).await.unwrap();
    let (new, waiting) = (session(&store, "alice").await, approved(&store, "alice").await);
    let mut beside = schema.beside().await;
    let lock = "BEGIN; LOCK TABLE authorization_requests, sessions, refresh_tokens IN ACCESS EXCLUSIVE MODE";
    raw_sql(lock).execute(&mut beside).await.unwrap();

    let begun = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for is_dropped in [true, false] {
        for store in [&store, &in_a_pool] {
            for call in 0..5 {
                let (store, new, waiting) = (store.clone(), new.clone(), waiting.clone());
                let target = RevokeTarget::Access(new.session.session.access);
                let answer = async move {
                    match call {
                        0 => store.redeem(&session_of(&waiting, "alice"), after(2)).await.map(drop),
                        1 => store.transition(&waiting.id, &Transition::Revoke, after(2)).await.map(drop),
                        2 => store.revoke(&target, RevokedBy::Human, after(2)).await.map(drop),
                        3 => {
                            let new = with_lookup(&authorization());
                            store.create_authorization(&new, PendingCaps::NONE).await.map(drop)
                        }
                        _ => store.forget(&Cutoff::at(after(2)), 10).await.map(drop),
                    }
                };
                let patience = if is_dropped { Duration::from_millis(700) } else { Duration::from_secs(30) };
                calls.spawn(async move { (is_dropped, tokio::time::timeout(patience, answer).await) });
            }
        }
        let (store, access) = (store.clone(), new.session.session.access);
        calls.spawn(async move {
            let answer = async move { store.find_session(&access).await.map(drop) };
            let patience = if is_dropped { Duration::from_millis(700) } else { Duration::from_secs(30) };
            (is_dropped, tokio::time::timeout(patience, answer).await)
        });
    }
    for (is_dropped, answer) in calls.join_all().await {
        match answer {
            Err(_) => assert!(is_dropped, "it ends without its caller"),
            Ok(answer) => assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Unavailable),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    // The statements of dropped calls end as late as those of the others.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = $1";
    let mut observer = schema.beside().await;
    let waiting_backends = query_scalar::<_, i64>(waits).bind(&schema.0).fetch_one(&mut observer).await.unwrap();
    assert_eq!(waiting_backends, 0);

    raw_sql("ROLLBACK").execute(&mut beside).await.unwrap();
    let released = Instant::now();
    for store in [&store, &in_a_pool] {
        assert!(is_live(store, &new).await, "nothing of the calls that failed was done");
        session(store, "bob").await;
    }
    assert_eq!(find(&store, &waiting).await.state_at(after(2)), State::Approved);
    assert!(released.elapsed() < Duration::from_secs(1), "{:?}", released.elapsed());
}

/// Ceremony calls in flight, all of them waiting, on the store's own pool and on the service's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn d4_token_checks_never_wait_for_the_ceremony() {
    for connections in [2, 4, 10] {
        for is_own in [true, false] {
            let schema = Schema::new();
            let store = if is_own {
                PostgresOptions::new().schema(&schema.0).connections(connections).connect(&postgres_url()).await
            } else {
                let pool = PgPoolOptions::new().max_connections(connections).connect(&postgres_url()).await.unwrap();
                PostgresOptions::new().schema(&schema.0).over(pool).await
            };
            let store = store.unwrap();
            let new = session(&store, "alice").await;
            let mut beside = schema.beside().await;
            let lock = "BEGIN; LOCK TABLE authorization_requests IN ACCESS EXCLUSIVE MODE";
            raw_sql(lock).execute(&mut beside).await.unwrap();
            let mut registrations = tokio::task::JoinSet::new();
            for _ in 0..256 {
                let store = store.clone();
                registrations.spawn(async move {
                    store.create_authorization(&with_lookup(&authorization()), PendingCaps::NONE).await
                });
            }
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1";
            let pattern = format!("%\"{}\".authorization_requests%", schema.0);
            let mut observer = schema.beside().await;
            while query_scalar::<_, i64>(waits).bind(&pattern).fetch_one(&mut observer).await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for _ in 0..20 {
                // One that gets no connection fails after five seconds.
                assert!(is_live(&store, &new).await, "{connections} connections");
            }
            registrations.shutdown().await;
            raw_sql("ROLLBACK").execute(&mut beside).await.unwrap();
            session(&store, "bob").await;
        }
    }
}

#[tokio::test]
async fn f_an_unreachable_server_is_named_without_its_password() {
    // A listener that is closed again: its port refuses.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://app:hunter2@127.0.0.1:{port}/sessions?sslmode=disable");
    let error = PostgresStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let shown = format!("{error:?}");
    for needed in [&format!("postgres://app@127.0.0.1:{port}/sessions"), "check that PostgreSQL runs", "refused"] {
        assert!(shown.contains(needed), "{needed} in {shown}");
    }
    assert!(!shown.contains("hunter2") && !shown.contains("pool timed out"), "{shown}");
}
