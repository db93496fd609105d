//! Stores that are opened without the right to change their schema, and the rights that the pages document.

use std::{error::Error, fs, thread};

use ::redis::cmd;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, query_as, raw_sql};
use tower_agent_auth::{
    store::{
        CacheOptions, ClientStore, IdentityStore, PostgresOptions, PostgresStore, RedisOptions, RedisStore,
        RevokeTarget, SessionRecordStore, SessionStore, SqliteStore, StoreError, StoreErrorKind,
        conformance::{
            CheckedWith,
            fixtures::{account, after, is_live, session},
        },
    },
    types::session::{RevokedBy, Use},
};

use crate::{
    nodes::Everything,
    places::{Place, Prefix, Schema, TempFile, postgres_url, redis_url},
};

fn cause(error: &StoreError) -> String {
    error.source().unwrap().to_string()
}

/// The code blocks below a heading of `docs/stores.md`.
fn documented(heading: &str) -> Vec<String> {
    let page = fs::read_to_string("docs/stores.md").unwrap();
    let (_, section) = page.split_once(&format!("### {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').unwrap().1.to_owned()).collect()
}

// Migration apart from opening.

#[tokio::test]
async fn g14_sqlite_is_migrated_apart_and_an_old_file_is_refused_with_what_to_run() {
    let file = TempFile::on_disk();
    let error = SqliteStore::open_migrated(file.path()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "it creates no file");
    assert!(cause(&error).contains("does not exist; start the issuer first"), "{}", cause(&error));
    assert!(!file.path().exists());
    fs::write(file.path(), include_bytes!("old/version-6.sqlite")).unwrap();
    let error = SqliteStore::open_migrated(file.path()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    assert!(cause(&error).contains("schema 6") && cause(&error).contains("SqliteStore::migrate"), "{}", cause(&error));
    let mut beside = SqliteConnection::connect(&format!("sqlite://{}", file.path().display())).await.unwrap();
    let (version,): (i64,) = query_as("PRAGMA user_version").fetch_one(&mut beside).await.unwrap();
    let identities = query_as::<_, (i64,)>("SELECT count(*) FROM sqlite_schema WHERE name = 'identities'");
    assert_eq!((version, identities.fetch_one(&mut beside).await.unwrap().0), (6, 0), "nothing was migrated");
    drop(beside);
    SqliteStore::migrate(file.path()).await.unwrap();
    SqliteStore::migrate(file.path()).await.unwrap();
    Everything::keep(&SqliteStore::open_migrated(file.path()).await.unwrap()).await.check(&file.open().await).await;
}

#[tokio::test]
async fn g14_the_sql_of_sqlite_makes_what_the_store_makes() {
    let (by_store, by_hand) = (TempFile::on_disk(), TempFile::on_disk());
    SqliteStore::migrate(by_store.path()).await.unwrap();
    fs::write(by_hand.path(), "").unwrap();
    let connect = async |file: &TempFile| {
        SqliteConnection::connect(&format!("sqlite://{}", file.path().display())).await.unwrap()
    };
    let mut connection = connect(&by_hand).await;
    for (number, migration) in (1..).zip(SqliteStore::migrations()) {
        assert_eq!((migration.version, &migration.name[..4]), (number, &*format!("{number:04}")));
        assert!(SqliteStore::open_migrated(by_hand.path()).await.is_err());
        let mut transaction = connection.begin().await.unwrap();
        raw_sql(AssertSqlSafe(migration.sql)).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
    const SCHEMA: &str = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
    let of_hand: Vec<(String, String)> = query_as(SCHEMA).fetch_all(&mut connection).await.unwrap();
    let of_store: Vec<(String, String)> = query_as(SCHEMA).fetch_all(&mut connect(&by_store).await).await.unwrap();
    assert_eq!(of_hand, of_store);
    drop(connection);
    Everything::keep(&SqliteStore::open_migrated(by_hand.path()).await.unwrap()).await;
}

fn without_migration(schema: &Schema) -> PostgresOptions {
    PostgresOptions::new().schema(&schema.0).without_migration()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn g14_postgresql_is_migrated_apart_and_an_old_schema_is_refused_with_what_to_run() {
    let schema = Schema::new();
    let url = postgres_url();
    let error = without_migration(&schema).connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    assert!(cause(&error).contains("missing") && cause(&error).contains("PostgresOptions::migrate"), "{error:?}");
    let migrations = PostgresOptions::new().schema(&schema.0).migrations().unwrap();
    let mut connection = schema.beside().await;
    let path = format!("SET search_path TO {}", schema.0);
    for migration in &migrations[..4] {
        raw_sql(AssertSqlSafe(migration.sql.clone())).execute(&mut connection).await.unwrap();
        raw_sql(AssertSqlSafe(path.clone())).execute(&mut connection).await.unwrap();
    }
    let error = without_migration(&schema).connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    assert!(cause(&error).contains("migration 4") && cause(&error).contains("needs 5"), "{}", cause(&error));
    PostgresOptions::new().schema(&schema.0).migrate(&url).await.unwrap();
    PostgresOptions::new().schema(&schema.0).migrate(&url).await.unwrap();
    Everything::keep(&without_migration(&schema).connect(&url).await.unwrap()).await.check(&schema.open().await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn g14_the_sql_of_postgresql_makes_what_the_store_makes() {
    const COLUMNS: &str = "SELECT table_name || '.' || column_name, data_type || coalesce(column_default, '') || is_nullable \
        FROM information_schema.columns WHERE table_schema = $1 ORDER BY 1";
    const INDEXES: &str =
        "SELECT indexname::text, replace(indexdef, $1, '') FROM pg_indexes WHERE schemaname = $1 ORDER BY 1";
    let (by_store, by_hand) = (Schema::new(), Schema::new());
    PostgresOptions::new().schema(&by_store.0).migrate(&postgres_url()).await.unwrap();
    let mut connection = PgConnection::connect(&postgres_url()).await.unwrap();
    for migration in PostgresOptions::new().schema(&by_hand.0).migrations().unwrap() {
        // As a tool does: one transaction for each, on one connection.
        let mut transaction = connection.begin().await.unwrap();
        raw_sql(AssertSqlSafe(migration.sql)).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let path: (String,) = query_as("SHOW search_path").fetch_one(&mut connection).await.unwrap();
    assert!(!path.0.contains(&by_hand.0), "the tool's own statements are not affected");
    for made in [COLUMNS, INDEXES] {
        let mut of = async |schema: &Schema| -> Vec<(String, String)> {
            query_as(made).bind(&schema.0).fetch_all(&mut connection).await.unwrap()
        };
        let (store, hand) = (of(&by_store).await, of(&by_hand).await);
        assert!(store.len() > 10 && store == hand, "{store:?}\n{hand:?}");
    }
    Everything::keep(&without_migration(&by_hand).connect(&postgres_url()).await.unwrap()).await;
    let error = PostgresOptions::new().schema("a; b").migrations().unwrap_err();
    assert!(cause(&error).contains("schema's name"), "{}", cause(&error));
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn g14_redis_is_migrated_apart_and_an_old_store_is_refused_with_what_to_run() {
    let prefix = Prefix::new();
    let options = || RedisOptions::new().prefix(&prefix.0);
    let refused = async |expected: &str| {
        let error = options().without_migration().connect(&redis_url()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Other);
        assert!(cause(&error).contains(expected) && cause(&error).contains("RedisOptions::migrate"), "{error:?}");
    };
    refused("has no store").await;
    let keys: Vec<String> = cmd("KEYS").arg(prefix.key("*")).query(&mut Prefix::beside()).unwrap();
    assert_eq!(keys, [""; 0], "nothing was marked");
    cmd("SET").arg(prefix.key("version")).arg(1).exec(&mut Prefix::beside()).unwrap();
    refused("older version").await;
    options().migrate(&redis_url()).await.unwrap();
    let store = options().without_migration().connect(&redis_url()).await.unwrap();
    Everything::keep(&store).await.check(&prefix.open().await).await;
}

// The documented rights.

/// A schema with the documented roles, which are dropped with it.
pub(crate) struct Roles(Schema);

impl Roles {
    /// Runs a documented block as the role of that URL, with the names of this schema.
    async fn run(&self, url: &str, sql: &str) {
        let sql = sql.replace("agent_auth", &self.0.0).replace(" PASSWORD '…'", "");
        let mut connection = PgConnection::connect(url).await.unwrap();
        raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn url(&self, role: &str) -> String {
        postgres_url().replacen("postgres@", &format!("{}_{role}@", self.0.0), 1)
    }

    async fn create() -> Self {
        let roles = Self(Schema::new());
        let [once, grants, _] = documented("Rights of the PostgreSQL roles").try_into().unwrap();
        roles.run(&postgres_url(), &once).await;
        PostgresOptions::new().schema(&roles.0.0).migrate(&roles.url("owner")).await.unwrap();
        roles.run(&roles.url("owner"), &grants).await;
        roles
    }

    async fn open(&self, role: &str) -> PostgresStore {
        without_migration(&self.0).connect(&self.url(role)).await.unwrap()
    }

    /// Everything is done by the issuer's role, and each token check by the checker's.
    pub(crate) async fn fresh() -> (CheckedWith<PostgresStore, PostgresStore>, Self) {
        let roles = Self::create().await;
        let (issuer, checker) = (roles.open("issuer").await, roles.open("checker").await);
        (CheckedWith::new(issuer, checker), roles)
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        let (schema, url) = (self.0.0.clone(), std::env::var("POSTGRES_URL"));
        let Ok(url) = url else { return };
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let roles = ["owner", "issuer", "checker"].map(|role| format!("{schema}_{role}")).join(", ");
                let sql = format!("DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}");
                raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            });
        });
        dropping.join().ok();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn g14_each_documented_role_may_do_its_part_and_no_more() {
    let roles = Roles::create().await;
    let (issuer, checker) = (roles.open("issuer").await, roles.open("checker").await);
    let alice = session(&issuer, "alice").await;
    assert!(is_live(&checker, &alice).await);
    assert!(checker.find_record(&alice.session.session.id).await.is_err(), "a checker reads no address");
    let target = RevokeTarget::Account(account("alice").id);
    assert_eq!(checker.revoke(&target, RevokedBy::Human, after(3)).await.unwrap_err().kind(), StoreErrorKind::Other);
    let uses = [(alice.session.session.id.clone(), Use::new(after(5), None))];
    assert!(checker.record_uses(&uses, after(5)).await.is_err());
    let key = tower_agent_auth::types::identity::TokenKey::from_bytes([7; 32]);
    assert!(issuer.use_once(&key, after(5)).await.unwrap() && checker.is_used(&key).await.is_err());
    assert!(issuer.find_client(&tower_agent_auth::types::id::ClientId::new("x").unwrap()).await.unwrap().is_none());
    for (role, forbidden) in [
        ("checker", "UPDATE agent_auth.sessions SET revoked_at = NULL"),
        ("checker", "DELETE FROM agent_auth.sessions"),
        ("checker", "SELECT refresh FROM agent_auth.refresh_tokens"),
        ("checker", "SELECT redeemer_address FROM agent_auth.sessions"),
        ("checker", "CREATE TABLE agent_auth.t (a INTEGER)"),
        ("issuer", "CREATE TABLE agent_auth.t (a INTEGER)"),
        ("issuer", "ALTER TABLE agent_auth.sessions ADD COLUMN a INTEGER"),
        ("issuer", "DROP TABLE agent_auth.sessions"),
        ("issuer", "INSERT INTO agent_auth.migrations (version) VALUES (99)"),
    ] {
        let mut connection = PgConnection::connect(&roles.url(role)).await.unwrap();
        let sql = forbidden.replace("agent_auth", &roles.0.0);
        let error = raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_err();
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "42501", "{role}: {forbidden}");
    }
    // The notices arrive with the role that reads.
    let cached = CacheOptions::new().staleness(std::time::Duration::from_secs(60)).over(checker.clone());
    assert!(cached.find_session(&alice.session.session.access).await.unwrap().is_some());
    eventually(async || {
        let bob = session(&issuer, "bob").await;
        assert!(cached.find_session(&bob.session.session.access).await.unwrap().is_some());
        issuer.revoke(&RevokeTarget::Account(account("bob").id), RevokedBy::Human, after(4)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        cached.find_session(&bob.session.session.access).await.unwrap().is_none()
    })
    .await;
    // With the two further grants, a checker records uses, and still nothing else.
    let further = documented("Rights of the PostgreSQL roles");
    roles.run(&roles.url("owner"), &further[2]).await;
    checker.record_uses(&uses, after(5)).await.unwrap();
    let record = issuer.find_record(&alice.session.session.id).await.unwrap().unwrap();
    assert_eq!(record.last_use.map(|last| last.at), Some(after(5)));
    assert!(checker.revoke(&target, RevokedBy::Human, after(3)).await.is_err() && is_live(&checker, &alice).await);
}

/// A role that may not migrate is told so by an open that would.
#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn g14_a_role_that_may_not_migrate_is_told_what_to_run() {
    let roles = Roles::create().await;
    roles.run(&postgres_url(), "DROP TABLE agent_auth.identities, agent_auth.used_tokens; DELETE FROM agent_auth.migrations WHERE version = 5").await;
    let error = PostgresOptions::new().schema(&roles.0.0).connect(&roles.url("issuer")).await.unwrap_err();
    assert!(cause(&error).contains("run PostgresOptions::migrate with the role that owns it"), "{}", cause(&error));
    let missing = Schema::new();
    let error = PostgresOptions::new().schema(&missing.0).connect(&roles.url("issuer")).await.unwrap_err();
    assert!(cause(&error).contains("PostgresOptions::migrate"), "{}", cause(&error));
}

/// A role that lacks a right is told which, and what grants it.
#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn g14_a_role_without_the_documented_rights_is_told_what_to_grant() {
    let roles = Roles::create().await;
    for right in ["SELECT ON agent_auth.migrations", "USAGE ON SCHEMA agent_auth"] {
        roles.run(&roles.url("owner"), &format!("REVOKE {right} FROM agent_auth_checker")).await;
        let error = without_migration(&roles.0).connect(&roles.url("checker")).await.unwrap_err();
        let granted = format!("GRANT USAGE ON SCHEMA {0} and SELECT ON {0}.migrations", roles.0.0);
        assert!(cause(&error).contains(&granted), "{}", cause(&error));
    }
}

/// Tries again until it holds, a few seconds at most: a listener needs a moment to start.
async fn eventually(attempt: impl AsyncFn() -> bool) {
    for _ in 0..60 {
        if attempt().await {
            return;
        }
    }
    panic!("it never held");
}

/// A prefix with the documented users, which are dropped with it.
pub(crate) struct Users(Prefix);

impl Users {
    fn create() -> Self {
        let users = Self(Prefix::new());
        let [commands] = documented("Rights of the Redis user").try_into().unwrap();
        for line in commands.lines() {
            users.run(line);
        }
        users
    }

    /// Runs a documented command with the names of this prefix.
    fn run(&self, line: &str) {
        let line = line.replace("agent_auth", &self.0.0);
        let mut words = line.split(' ');
        let mut command = cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).exec(&mut Prefix::beside()).unwrap();
    }

    fn url(&self, user: &str) -> String {
        redis_url().replacen("redis://", &format!("redis://{}_{user}:password@", self.0.0), 1)
    }

    async fn open(&self, user: &str) -> RedisStore {
        let options = RedisOptions::new().prefix(&self.0.0).without_migration();
        options.connect(&self.url(user)).await.unwrap()
    }

    /// Everything is done by the issuer's user, and each token check by the checker's.
    pub(crate) async fn fresh() -> (CheckedWith<RedisStore, RedisStore>, Self) {
        let users = Self::create();
        RedisOptions::new().prefix(&users.0.0).migrate(&users.url("issuer")).await.unwrap();
        let (issuer, checker) = (users.open("issuer").await, users.open("checker").await);
        (CheckedWith::new(issuer, checker), users)
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let names = ["issuer", "checker"].map(|user| format!("{}_{user}", self.0.0));
        cmd("ACL").arg("DELUSER").arg(&names).exec(&mut Prefix::beside()).ok();
    }
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn g14_each_documented_redis_user_may_do_its_part_and_no_more() {
    let users = Users::create();
    RedisOptions::new().prefix(&users.0.0).migrate(&users.url("issuer")).await.unwrap();
    let (issuer, checker) = (users.open("issuer").await, users.open("checker").await);
    let quiet = |store: &RedisStore| {
        let lacks_a_right =
            |warning: &&tower_agent_auth::store::RedisWarning| warning.to_string().contains("ACL SETUSER");
        store.warnings().iter().find(lacks_a_right).cloned()
    };
    assert_eq!((quiet(&issuer), quiet(&checker)), (None, None), "nobody is told to grant more");
    let alice = session(&issuer, "alice").await;
    assert!(is_live(&checker, &alice).await);
    let target = RevokeTarget::Account(account("alice").id);
    assert!(checker.revoke(&target, RevokedBy::Human, after(3)).await.is_err());
    let uses = [(alice.session.session.id.clone(), Use::new(after(5), None))];
    assert!(checker.record_uses(&uses, after(5)).await.is_err());
    let mut connection = ::redis::Client::open(users.url("checker")).unwrap().get_connection().unwrap();
    let hash = users.0.key(&format!("ses:{}", alice.session.session.id));
    let key = |name: &str| users.0.key(name);
    let request = key(&format!("req:{}", alice.session.authorization));
    let (refresh, pending) = (key("refresh:x"), key("pending"));
    for forbidden in [
        vec!["HMGET", &request, "id"],
        vec!["GET", &refresh],
        vec!["ZSCORE", &pending, "x"],
        vec!["HSET", &hash, "revoked_at", ""],
        vec!["DEL", &hash],
        vec!["EVAL", "return redis.call('DEL', KEYS[1])", "1", &hash],
        vec!["FLUSHALL"],
        vec!["KEYS", "*"],
    ] {
        let mut command = cmd(forbidden[0]);
        let error = command.arg(&forbidden[1..]).exec(&mut connection).unwrap_err();
        let text = error.to_string().to_lowercase();
        assert!(text.contains("noperm") || text.contains("acl"), "{forbidden:?}: {error}");
    }
    assert!(is_live(&issuer, &alice).await && is_live(&checker, &alice).await);
    let cached = CacheOptions::new().staleness(std::time::Duration::from_secs(60)).over(checker.clone());
    eventually(async || {
        let bob = session(&issuer, "bob").await;
        assert!(cached.find_session(&bob.session.session.access).await.unwrap().is_some());
        issuer.revoke(&RevokeTarget::Account(account("bob").id), RevokedBy::Human, after(4)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        cached.find_session(&bob.session.session.access).await.unwrap().is_none()
    })
    .await;
    // With the further rights, a checker records uses.
    users.run("ACL SETUSER agent_auth_checker ~{agent_auth}:ses:* +hget +hset +hdel");
    checker.record_uses(&uses, after(5)).await.unwrap();
    let record = issuer.find_record(&alice.session.session.id).await.unwrap().unwrap();
    assert_eq!(record.last_use.map(|last| last.at), Some(after(5)));
}
