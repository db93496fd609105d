//! Names that an older or newer version stored, and that this one would refuse, are read (fault A13).

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, raw_sql, sqlite::SqliteConnectOptions};
use tower_agent_auth::{
    store::{
        AuthorizationKey, CeremonyStore, Portable, SessionRecordStore,
        conformance::fixtures::{account, after, approved, authorization, create, find, session_of},
        transfer,
    },
    types::{
        authorization::{AuthorizationRequest, Client},
        session::NewSession,
        text::HumanText,
    },
};

use crate::places::{Prefix, Schema, TempFile};

/// Stored texts that are refused when they are received, and how each is shown.
const STORED: [(&str, &str); 6] = [
    ("evil\u{202e}gpj.exe", "evil\u{fffd}gpj.exe"),
    ("\u{3164}", "\u{fffd}"),
    (" padded ", "padded"),
    ("two\nlines\u{7f}", "two\u{fffd}lines\u{fffd}"),
    ("Cafe\u{301}", "Caf\u{e9}"),
    ("", "\u{fffd}"),
];
const TEXTS: [&str; 5] = ["client_name", "client_label", "client_kind", "client_instance", "client_method"];

/// A pending request, and a session that has every text.
async fn keep(store: &impl CeremonyStore) -> (AuthorizationRequest, NewSession) {
    let text = |text: &str| Some(HumanText::new(text).unwrap());
    let mut new = session_of(&approved(store, "alice").await, "alice");
    let client = &mut new.session.client;
    (client.label, client.kind, client.instance, client.method) = (text("l"), text("k"), text("i"), text("m"));
    assert!(store.redeem(&new, after(2)).await.unwrap());
    let mut pending = authorization();
    pending.client = new.session.client.clone();
    create(store, &pending).await;
    (pending, new)
}

fn texts(client: &Client) -> Vec<&str> {
    let beside = [&client.label, &client.kind, &client.instance, &client.method].into_iter().flatten();
    std::iter::once(&client.name).chain(beside).map(HumanText::as_str).collect()
}

/// Every way to read the request and the session.
async fn check(store: &impl Portable, kept: &(AuthorizationRequest, NewSession), shown: &str) {
    let (pending, new) = kept;
    let id = &new.session.session.id;
    assert_eq!(texts(&find(store, pending).await.client), [shown; 5], "{shown:?}");
    let key = AuthorizationKey::Id(new.session.authorization.clone());
    assert!(store.find_authorization(&key).await.unwrap().is_some());
    let found = store.find_session(&new.session.session.access).await.unwrap().unwrap();
    assert_eq!(found.client.as_str(), shown);
    let listed = store.list_sessions(&account("alice").id, None, 9).await.unwrap();
    let of_request = store.sessions_of(&new.session.authorization).await.unwrap();
    let refresh = store.find_refresh(&new.refresh).await.unwrap().unwrap().session;
    let record = store.find_record(id).await.unwrap().unwrap();
    for record in listed.into_iter().chain(of_request).chain([refresh, record]) {
        assert_eq!(texts(&record.client), [shown; 5], "{shown:?}");
        assert_eq!(record.redeemer.program.unwrap().as_str(), shown);
    }
    let (copy, _file) = TempFile::fresh().await;
    let moved = transfer(store, &copy).await.unwrap();
    assert_eq!(moved.sessions, 1, "{moved:?}");
    assert_eq!(copy.find_record(id).await.unwrap().unwrap().client.name.as_str(), shown);
}

fn updates(prefix: &str, stored: &str) -> String {
    let texts = TEXTS.map(|column| format!("{column} = '{stored}'")).join(", ");
    format!(
        "UPDATE {prefix}authorization_requests SET {texts}; \
         UPDATE {prefix}sessions SET {texts}, redeemer_program = '{stored}';"
    )
}

#[tokio::test]
async fn a13_sqlite_reads_names_that_break_a_rule_of_this_version() {
    let (store, file) = TempFile::fresh().await;
    let kept = keep(&store).await;
    let options = SqliteConnectOptions::new().filename(file.path());
    let mut beside = SqliteConnection::connect_with(&options).await.unwrap();
    for (stored, shown) in STORED {
        raw_sql(AssertSqlSafe(updates("", stored))).execute(&mut beside).await.unwrap();
        check(&store, &kept, shown).await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn a13_postgresql_reads_names_that_break_a_rule_of_this_version() {
    let (store, schema) = Schema::fresh().await;
    let kept = keep(&store).await;
    for (stored, shown) in STORED {
        schema.execute(&updates("", stored)).await;
        check(&store, &kept, shown).await;
    }
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn a13_redis_reads_names_that_break_a_rule_of_this_version() {
    let (store, prefix) = Prefix::fresh().await;
    let kept = keep(&store).await;
    let mut beside = Prefix::beside();
    for (stored, shown) in STORED {
        let keys = [
            format!("req:{}", kept.0.id),
            format!("req:{}", kept.1.session.authorization),
            format!("ses:{}", kept.1.session.session.id),
        ];
        for key in keys {
            let mut set = ::redis::cmd("HSET");
            set.arg(prefix.key(&key));
            for column in TEXTS.into_iter().chain(["redeemer_program"]) {
                set.arg(column).arg(stored);
            }
            set.exec(&mut beside).unwrap();
        }
        check(&store, &kept, shown).await;
    }
}
