//! What the SQLite store promises beyond the contract.

use std::{error::Error, fs, path::Path};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, raw_sql, sqlite::SqliteConnectOptions};
use tower_agent_auth::{
    store::{
        AuthorizationKey, AuthorizationStore, Creation, PendingCaps, RevokeTarget, SessionRecordStore, SessionStore,
        SqliteStore, StoreError, StoreErrorKind,
    },
    types::{
        authorization::{NewAuthorizationRequest, State},
        random::OsRandom,
        secret::{Access, Claim, Kind, Prefix, Refresh, Secret},
        session::RevokedBy,
    },
};

use crate::{
    nodes::Everything,
    places::{Place, TempFile},
};
use tower_agent_auth::store::conformance::fixtures::{
    account, after, apply, approve, approved, authorization, find, is_live, listed, open, opened, session, session_of,
    session_with,
};

/// A connection beside the store's, as another program could have it.
async fn beside(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn execute(path: &Path, sql: &str) {
    raw_sql(AssertSqlSafe(sql)).execute(&mut beside(path).await).await.unwrap();
}

fn cause(error: &StoreError) -> String {
    error.source().unwrap().to_string()
}

/// The files as they stand are what a killed process would leave behind.
#[tokio::test]
async fn r100_what_was_acknowledged_is_in_the_files_at_once() {
    let (file, copy) = (TempFile::on_disk(), TempFile::on_disk());
    let store = file.open().await;
    let everything = Everything::keep(&store).await;
    for suffix in ["", "-wal"] {
        let name = |file: &TempFile| format!("{}{suffix}", file.path().display());
        fs::copy(name(&file), name(&copy)).unwrap();
    }
    everything.check(&copy.open().await).await;
    everything.check(&store).await;
}

#[cfg(unix)]
#[tokio::test]
async fn r95_new_files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let file = TempFile::on_disk();
    let store = file.open().await;
    session(&store, "alice").await;
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", file.path().display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
    }

    let existing = TempFile::on_disk();
    fs::write(existing.path(), "").unwrap();
    fs::set_permissions(existing.path(), fs::Permissions::from_mode(0o640)).unwrap();
    existing.open().await;
    assert_eq!(fs::metadata(existing.path()).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn r4_no_secret_reaches_the_files() {
    fn secret<K: Kind>(prefix: &str) -> Secret<K> {
        Prefix::new(prefix).unwrap().generate(&OsRandom).unwrap()
    }
    let file = TempFile::on_disk();
    let store = file.open().await;
    let (claim, access, refresh) = (secret::<Claim>("aac_"), secret::<Access>("aas_"), secret::<Refresh>("aar_"));
    let asked = authorization();
    let new = NewAuthorizationRequest::new(asked.clone(), vec![claim.digest().into()]);
    assert_eq!(store.create_authorization(&new, PendingCaps::NONE).await.unwrap(), Creation::Created);
    assert!(apply(&store, &asked, open("alice")).await);
    assert!(apply(&store, &asked, approve("alice", "a b")).await);
    let mut issued = session_with(&asked, "alice", access.digest());
    issued.refresh = refresh.digest();
    assert!(store.redeem(&issued, after(2)).await.unwrap());
    assert!(is_live(&store, &issued).await);
    let target = RevokeTarget::Refresh(refresh.digest());
    assert_eq!(store.revoke(&target, RevokedBy::Agent, after(3)).await.unwrap().len(), 1);

    let mut bytes = Vec::new();
    for suffix in ["", "-wal", "-shm"] {
        bytes.extend(fs::read(format!("{}{suffix}", file.path().display())).unwrap());
    }
    let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(access.digest().as_bytes()), "the search finds what is there");
    for secret in [claim.expose(), access.expose(), refresh.expose()] {
        let random = &secret[4..47];
        let hex: String = random.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [secret, random, &random[..16], &hex] {
            assert!(!holds(form.as_bytes()));
        }
    }
    assert_eq!(format!("{store:?}"), "SqliteStore { .. }");
}

#[tokio::test]
async fn reads_go_on_while_another_process_writes() {
    let file = TempFile::on_disk();
    let store = file.open().await;
    let new = session(&store, "alice").await;
    let mut other = beside(&file.path()).await;
    let mut writing = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    raw_sql("DELETE FROM sessions").execute(&mut *writing).await.unwrap();
    assert!(is_live(&store, &new).await);
    assert_eq!(listed(&store, "alice").await.len(), 1);
    writing.rollback().await.unwrap();
    assert!(is_live(&store, &new).await);
}

#[tokio::test]
async fn r99_a_newer_schema_is_refused_and_left_alone() {
    let file = TempFile::on_disk();
    let everything = Everything::keep(&file.open().await).await;
    execute(&file.path(), "PRAGMA user_version = 4711").await;
    let error = SqliteStore::open(file.path()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(cause(&error).contains("newer version"), "{}", cause(&error));
    assert!(cause(&error).contains("4711"), "{}", cause(&error));
    execute(&file.path(), "PRAGMA user_version = 7").await;
    everything.check(&file.open().await).await;
}

#[tokio::test]
async fn the_database_of_something_else_is_refused_and_left_alone() {
    let file = TempFile::on_disk();
    for sql in ["CREATE TABLE sessions (id)", "PRAGMA user_version = 1", "PRAGMA application_id = 7"] {
        execute(&file.path(), sql).await;
        let before = fs::read(file.path()).unwrap();
        let error = SqliteStore::open(file.path()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(cause(&error).contains("something else"), "{}", cause(&error));
        assert_eq!(fs::read(file.path()).unwrap(), before);
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_alone() {
    let file = TempFile::on_disk();
    let text = "not a database ".repeat(1_000);
    fs::write(file.path(), &text).unwrap();
    let error = SqliteStore::open(file.path()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert_eq!(fs::read_to_string(file.path()).unwrap(), text);

    let missing = file.path().join("below/sessions.db");
    let error = SqliteStore::open(missing).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

/// Runs `damage` on the file past all checks.
async fn damage(path: &Path, damage: &str) {
    execute(path, &format!("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; {damage}")).await;
}

#[tokio::test]
async fn r91_a_request_that_makes_no_sense_is_an_error_and_not_absent() {
    for garbage in [
        "client_method = CAST(x'ff' AS TEXT)",
        "client_id = 'two words'",
        "client_id = ''",
        "client_address = '192.0.2'",
        "requested = 'a \"b'",
        "failed_attempts = -1",
        "account_id = ''",
        "account_id = NULL",
        "account_label = NULL",
        "state = 'wild'",
        "state = 'pending'",
        "state = 'denied'",
        "granted = NULL",
        "granted = '\\'",
    ] {
        let file = TempFile::new();
        let store = file.open().await;
        let damaged = approved(&store, "alice").await;
        damage(&file.path(), &format!("UPDATE authorization_requests SET {garbage}")).await;
        let key = AuthorizationKey::Id(damaged.id.clone());
        let error = store.find_authorization(&key).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{garbage}");
        assert!(error.source().is_some());
        let sound = opened(&store, "bob").await;
        assert_eq!(find(&store, &sound).await.state_at(after(1)), State::Pending, "others are not affected");
    }
}

#[tokio::test]
async fn r91_a_session_that_makes_no_sense_is_an_error_and_not_absent() {
    // A token check reads only some of it.
    for (garbage, checked) in [
        ("id = 'ses_'", true),
        ("request = 'ses_x'", false),
        ("client_address = ''", false),
        ("scopes = 'ü'", true),
        ("last_use_address = '::1'", false),
        ("last_use_at = 1, last_use_address = 'localhost'", false),
        ("revoked_by = 'human'", true),
    ] {
        let file = TempFile::new();
        let store = file.open().await;
        let damaged = session(&store, "alice").await;
        let sound = session(&store, "bob").await;
        damage(&file.path(), &format!("UPDATE sessions SET {garbage} WHERE account_id = 'alice'")).await;
        match store.find_session(&damaged.session.session.access).await {
            Err(error) => assert_eq!((error.kind(), checked), (StoreErrorKind::Corrupt, true), "{garbage}"),
            Ok(found) => assert_eq!((found.is_some(), checked), (true, false), "{garbage}"),
        }
        let error = store.list_sessions(&account("alice").id, None, 9).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{garbage}");
        assert!(is_live(&store, &sound).await, "others are not affected");
    }
}

#[tokio::test]
async fn r91_an_unreadable_session_is_revoked_with_its_account() {
    let file = TempFile::on_disk();
    let store = file.open().await;
    let (damaged, sound) = (session(&store, "alice").await, session(&store, "alice").await);
    let name = damaged.session.session.id.as_str();
    damage(&file.path(), &format!("UPDATE sessions SET id = 'garbage' WHERE id = '{name}'")).await;
    let target = RevokeTarget::Account(account("alice").id);
    let error = store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(!is_live(&store, &sound).await && !is_live(&store, &damaged).await);
}

#[tokio::test]
async fn r91_a_damaged_file_is_an_error_that_tells_no_content() {
    let file = TempFile::on_disk();
    let store = file.open().await;
    let new = session(&store, "alice").await;
    execute(&file.path(), "ALTER TABLE sessions RENAME TO elsewhere").await;
    let error = store.find_session(&new.session.session.access).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    assert_eq!(error.to_string(), "the session store failed");
    execute(&file.path(), "ALTER TABLE elsewhere RENAME TO sessions").await;
    assert!(is_live(&store, &new).await, "and it recovers");
}

/// After some errors SQLite has ended the transaction by itself when sqlx still believes in it.
#[tokio::test]
async fn r94_a_transaction_that_sqlite_ended_by_itself_does_not_block_the_next() {
    let file = TempFile::on_disk();
    let store = file.open().await;
    let approved = approved(&store, "alice").await;
    let new = session_of(&approved, "alice");
    let full_disk = "CREATE TRIGGER full_disk BEFORE INSERT ON sessions BEGIN SELECT RAISE(ROLLBACK, 'full'); END";
    execute(&file.path(), full_disk).await;
    for _ in 0..3 {
        assert!(store.redeem(&new, after(2)).await.is_err());
        assert_eq!(find(&store, &approved).await.state_at(after(2)), State::Approved);
    }
    execute(&file.path(), "DROP TRIGGER full_disk").await;
    assert!(store.redeem(&new, after(2)).await.unwrap());
    assert!(is_live(&store, &new).await);
}

#[tokio::test]
async fn g8_a_file_that_can_not_be_opened_is_named_with_the_remedy() {
    let place = TempFile::on_disk();
    let folder = place.path().parent().unwrap().to_owned();
    let missing = folder.join("missing").join("sessions.db");
    let error = SqliteStore::open(&missing).await.unwrap_err();
    let shown = format!("{error:?}");
    for needed in ["unavailable", missing.to_str().unwrap(), "its folder must be there", "(os error 2)"] {
        assert!(shown.contains(needed), "{needed} in {shown}");
    }
    let foreign = folder.join("foreign.db");
    std::fs::write(&foreign, "not a database, and long enough to tell").unwrap();
    let shown = format!("{:?}", SqliteStore::open(&foreign).await.unwrap_err());
    assert!(shown.contains(foreign.to_str().unwrap()) && shown.contains("not a database"), "{shown}");
    assert!(!shown.contains("StoreError") && !shown.contains("kind:"), "{shown}");
}
