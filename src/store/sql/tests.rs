//! Creating an authorization request touches a fixed number of rows, however many are pending (fault D4). So does each
//! call for registered clients, linked identities and used tokens, however many there are.

use super::*;
use crate::{
    store::{PostgresOptions, SqliteStore},
    types::identity::IdentityKey,
};

const PENDING: u32 = 100_000;
const NOW: i64 = 1_000;

/// Inserts pending requests of as many IPv6 /64 networks below `2001:db8::/32`, from a series `n` of numbers `i`.
fn fill(table: &str, hex: &str, series: &str) -> Arc<str> {
    format!(
        "{series} INSERT INTO {table} (id, resource, flow, client_name, source, requested, created_at, expires_at, state) \
         SELECT 'reg_' || i, 'r', '{{}}', 'n', 'v6 20010db8' || {hex}, 'a', 0, {NOW} + 600000 + i, 'pending' FROM n"
    )
    .into()
}

/// Inserts as many clients that have never been used, from the same series.
fn fill_clients(table: &str, series: &str) -> Arc<str> {
    format!("{series} INSERT INTO {table} (id, metadata, created_at) SELECT 'client_' || i, '{{}}', {NOW} + i FROM n")
        .into()
}

/// Inserts as many links of identities, and as many used tokens, from the same series. `key` is one of 32 bytes.
fn fill_identities(schema: &str, key: &str, series: &str) -> [Arc<str>; 2] {
    [
        format!(
            "{series} INSERT INTO {schema}identities (identity, account_id, account_label, linked_at) \
             SELECT {key}, 'account_' || i % 1000, 'a', 0 FROM n"
        )
        .into(),
        format!("{series} INSERT INTO {schema}used_tokens (token, until_at) SELECT {key}, {NOW} + i FROM n").into(),
    ]
}

/// The statements that create a request, and those for clients, with values as for a store that holds [`PENDING`] of them.
fn statements(sql: &Statements) -> Vec<(&'static str, Arc<str>, Values)> {
    let now = || Timestamp::from_millis(NOW);
    let key = || Values::default().bytes(IdentityKey::from_bytes([0; 32]).as_bytes().as_slice());
    let range = |first: &str, last: &str| Values::default().text(first).text(last).instant(now()).integer(320);
    vec![
        ("exists", Arc::clone(&sql.authorization_exists), Values::default().text("reg_x")),
        ("of a /64", Arc::clone(&sql.count_pending_of), range("v6 20010db800000007", "v6 20010db800000007")),
        ("of a /48", Arc::clone(&sql.count_pending_of), range("v6 20010db800000000", "v6 20010db80000ffff")),
        ("of a stranger", Arc::clone(&sql.count_pending_of), range("v6 20020db800000000", "v6 20020db80000ffff")),
        (
            "beyond the cap",
            Arc::clone(&sql.beyond_cap),
            Values::default().integer(10).instant(now()).integer(BEYOND_CAP),
        ),
        (
            "list of an account",
            Arc::clone(&sql.list_authorizations),
            Values::default().text("alice").text("").integer(100),
        ),
        ("give way", Arc::clone(&sql.give_way), Values::default().integer(1).instant(now())),
        ("find a client", Arc::clone(&sql.find_client), Values::default().text("client_7")),
        ("use a client", Arc::clone(&sql.use_client), Values::default().text("client_7").instant(now())),
        ("first use", Arc::clone(&sql.use_client_first), Values::default().text("client_8").instant(now())),
        (
            "forget unused clients",
            Arc::clone(&sql.forget_unused_clients),
            Values::default().instant(Timestamp::from_millis(NOW + 50)).integer(100),
        ),
        ("forget used clients", Arc::clone(&sql.forget_used_clients), Values::default().instant(now()).integer(100)),
        ("find an identity", Arc::clone(&sql.find_identity), key()),
        ("unlink an identity", Arc::clone(&sql.unlink_identity), key()),
        ("unlink an account", Arc::clone(&sql.unlink_account), Values::default().text("account_7").integer(50)),
        ("find a used token", Arc::clone(&sql.find_used_token), key()),
        (
            "forget used tokens",
            Arc::clone(&sql.forget_used_tokens),
            Values::default().instant(Timestamp::from_millis(NOW + 50)).integer(100),
        ),
        (
            "forget",
            Arc::clone(&sql.forget_authorizations),
            Values::default().instant(Timestamp::from_millis(0)).integer(100),
        ),
    ]
}

fn explain(how: &str, sql: &Arc<str>) -> Arc<str> {
    format!("{how} {sql}").into()
}

#[tokio::test]
async fn d4_in_sqlite_no_statement_scans_the_pending_requests() {
    let directory = std::env::temp_dir().join(format!("tower-agent-auth-cost-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let store = SqliteStore::open(directory.join("sessions.db")).await.unwrap();
    let series = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PENDING})");
    store.write(&fill("authorization_requests", "printf('%08x', i)", &series), Values::default()).await.unwrap();
    store.write(&fill_clients("clients", &series), Values::default()).await.unwrap();
    for fill in fill_identities("", "unhex(printf('%064x', i))", &series) {
        store.write(&fill, Values::default()).await.unwrap();
    }
    for (name, sql, values) in statements(store.statements()) {
        let plan = store.read(&explain("EXPLAIN QUERY PLAN", &sql), values).await.unwrap();
        let steps: Vec<&str> = plan.iter().map(|row| row.text(3).unwrap().unwrap()).collect();
        assert!(!steps.is_empty());
        for step in steps {
            // The result of a bounded subquery is scanned.
            let is_bounded = step == "SCAN counted" || !step.starts_with("SCAN");
            assert!(is_bounded && !step.contains("TEMP B-TREE"), "{name}: {step}");
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// The rows that a plan's steps returned or filtered, each time that they ran.
fn touched(step: &str) -> u64 {
    let number = |after: &str| {
        let digits = step.split_once(after).map_or("", |(_, rest)| rest);
        digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    number(" actual rows=").max(number("(actual rows=")).max(number("Removed by Filter: "))
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn d4_in_postgresql_no_statement_touches_many_rows() {
    let url = std::env::var("POSTGRES_URL").expect("POSTGRES_URL, as `cargo xtask servers` sets it");
    let schema = format!("agent_auth_cost_{}", std::process::id());
    let store = PostgresOptions::new().schema(&schema).connect(&url).await.unwrap();
    let series = format!("WITH n AS (SELECT generate_series(1, {PENDING}) AS i)");
    let table = format!("\"{schema}\".authorization_requests");
    let run = async |sql: String| store.write(&sql.into(), Values::default()).await.unwrap();
    store.write(&fill(&table, "lpad(to_hex(i), 8, '0')", &series), Values::default()).await.unwrap();
    let clients = format!("\"{schema}\".clients");
    store.write(&fill_clients(&clients, &series), Values::default()).await.unwrap();
    let (own, key) = (format!("\"{schema}\"."), "decode(lpad(to_hex(i), 64, '0'), 'hex')");
    for fill in fill_identities(&own, key, &series) {
        store.write(&fill, Values::default()).await.unwrap();
    }
    // Without statistics of the tables, and with them.
    for analysed in [false, true] {
        if analysed {
            run(format!("ANALYZE {table}, {clients}, {own}identities, {own}used_tokens")).await;
        }
        for (name, sql, values) in statements(store.statements()) {
            let explain = explain("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)", &sql);
            let plan = store.write(&explain, values).await.unwrap();
            let steps: Vec<&str> = plan.iter().map(|row| row.text(0).unwrap().unwrap()).collect();
            let most = steps.iter().map(|step| touched(step)).max().unwrap();
            assert!(most <= 320, "{name}, analysed: {analysed}: {steps:#?}");
            assert!(steps.iter().all(|step| !step.contains("Seq Scan")), "{name}, analysed: {analysed}: {steps:#?}");
        }
    }
    run(format!("DROP SCHEMA \"{schema}\" CASCADE")).await;
}
