//! A node of an older version and one of this version at once, over the schema of this version. The older node is the
//! statements that its store sent, recorded in `old/statements-*.json`.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _, SqliteConnection};
use tower_agent_auth::{
    store::{
        AuthorizationKey, CeremonyStore, RevokeTarget,
        conformance::fixtures::{
            account, after, apply, approve, approved, authorization, create, digest, find, flow, is_live, listed, open,
            opened, rotation, session, session_of, text, with_lookup,
        },
    },
    types::{
        authorization::{AuthorizationRequest, Lookup, State},
        secret::{Digest, Kind},
        session::{NewSession, RevokedBy, Rotation, Use},
    },
};

use crate::places::{Place, Schema, TempFile, postgres_url};

/// The value of a column or a parameter.
#[derive(Clone)]
enum Value {
    Text(Option<String>),
    /// What is text in SQLite, and bytes in PostgreSQL.
    AnyText(Option<String>),
    Integer(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

fn words(text: &str) -> Value {
    Value::Text(Some(text.to_owned()))
}

fn number(number: i64) -> Value {
    Value::Integer(Some(number))
}

fn hash<K: Kind>(digest: &Digest<K>) -> Value {
    Value::Bytes(Some(digest.as_bytes().to_vec()))
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

macro_rules! fetch {
    ($connection:expr, $sql:expr, $values:expr, $any:expr) => {{
        let query = $values.into_iter().fold(sqlx::query(AssertSqlSafe($sql)), |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::AnyText(text) => query.bind(text.map($any)),
            Value::Integer(integer) => query.bind(integer),
            Value::Bytes(bytes) => query.bind(bytes),
        });
        let rows = query.fetch_all($connection).await.unwrap();
        rows.iter().map(|row| row.try_get::<String, _>(0).unwrap_or_default()).collect()
    }};
}

/// A node of an older version.
struct OldNode {
    connection: Connection,
    statements: HashMap<String, String>,
}

impl OldNode {
    async fn sqlite(file: &TempFile, statements: &str) -> Self {
        let url = format!("sqlite://{}", file.path().display());
        let connection = Connection::Sqlite(SqliteConnection::connect(&url).await.unwrap());
        Self { connection, statements: serde_json::from_str(statements).unwrap() }
    }

    async fn postgres(schema: &Schema, statements: &str) -> Self {
        let connection = Connection::Postgres(PgConnection::connect(&postgres_url()).await.unwrap());
        let statements = statements.replace("agent_auth.", &format!("{}.", schema.0));
        // The name of a parameter, which is no table.
        let statements = statements.replace(&format!("'{}.server", schema.0), "'agent_auth.server");
        Self { connection, statements: serde_json::from_str(&statements).unwrap() }
    }

    /// Runs a statement of that version. Returns the first column of each row, if it is text.
    async fn run(&mut self, name: &str, values: Vec<Value>) -> Vec<String> {
        let sql = self.statements[name].clone();
        match &mut self.connection {
            Connection::Sqlite(connection) => fetch!(connection, sql, values, String::from),
            Connection::Postgres(connection) => fetch!(connection, sql, values, String::into_bytes),
        }
    }

    /// Has the engine read every statement of that version: each of its tables and columns must still be there.
    async fn prepare_all(&mut self) {
        for (name, sql) in self.statements.clone() {
            let sql = AssertSqlSafe(sql).into_sql_str();
            let prepared = match &mut self.connection {
                Connection::Sqlite(connection) => connection.prepare(sql).await.map(drop),
                Connection::Postgres(connection) => connection.prepare(sql).await.map(drop),
            };
            assert!(prepared.is_ok(), "{name}: {prepared:?}");
        }
    }

    /// Inserts a row with the columns that that version has.
    async fn insert(&mut self, name: &str, columns: &HashMap<&str, Value>) -> Vec<String> {
        let (_, listed) = self.statements[name].split_once('(').unwrap();
        let names = listed.split_once(')').unwrap().0.to_owned();
        let values = names.split(", ").map(|name| columns[name].clone());
        let values = values.collect();
        self.run(name, values).await
    }

    async fn create(&mut self, request: &AuthorizationRequest, lookup: &Lookup) {
        let client = |text: Option<&str>| Value::Text(text.map(str::to_owned));
        let columns = HashMap::from([
            ("id", words(request.id.as_str())),
            ("resource", words(&request.resource)),
            ("flow", words(request.flow.as_str())),
            ("client_name", words(request.client.name.as_str())),
            ("client_label", client(Some("on the laptop"))),
            ("client_kind", client(None)),
            ("client_instance", client(None)),
            ("client_address", client(Some("192.0.2.7"))),
            ("client_method", client(None)),
            ("client_id", client(None)),
            ("client_claims", client(None)),
            ("requested", words(&request.requested.to_string())),
            ("created_at", number(request.created_at.as_millis())),
            ("expires_at", number(request.expires_at.as_millis())),
            ("account_id", client(None)),
            ("account_label", Value::AnyText(None)),
            ("lasting", Value::Integer(None)),
            ("state", words("pending")),
            ("granted", client(None)),
            ("failed_attempts", number(0)),
            ("source", client(Some("v4 192.0.2.7"))),
        ]);
        assert_eq!(self.insert("insert_authorization", &columns).await, [request.id.as_str()]);
        let lookup = Value::Bytes(Some(lookup.as_bytes().to_vec()));
        assert_eq!(self.run("insert_lookup", vec![lookup, words(request.id.as_str())]).await, [request.id.as_str()]);
    }

    async fn open(&mut self, request: &AuthorizationRequest, id: &str) -> bool {
        let account = account(id);
        let values = vec![
            words(request.id.as_str()),
            number(after(1).as_millis()),
            words(account.id.as_str()),
            Value::AnyText(Some(account.label)),
            words(flow(3).as_str()),
        ];
        !self.run("open", values).await.is_empty()
    }

    async fn approve(&mut self, request: &AuthorizationRequest, id: &str) -> bool {
        let mut values = vec![
            words(request.id.as_str()),
            number(after(1).as_millis()),
            words(id),
            words("a b"),
            words(flow(2).as_str()),
            number(request.expires_at.as_millis()),
        ];
        if self.statements["approve"].contains("$7") {
            values.push(Value::Integer(None));
        }
        !self.run("approve", values).await.is_empty()
    }

    /// Redeems in one transaction, as its store did.
    async fn redeem(&mut self, new: &NewSession) -> bool {
        self.execute("BEGIN").await;
        let record = &new.session;
        let redeemed =
            self.run("redeem_once", vec![words(record.authorization.as_str()), number(after(2).as_millis())]).await;
        if redeemed.is_empty() {
            self.execute("ROLLBACK").await;
            return false;
        }
        let session = &record.session;
        let none = || Value::Text(None);
        let columns = HashMap::from([
            ("id", words(session.id.as_str())),
            ("access", hash(&session.access)),
            ("resource", words(&session.resource)),
            ("account_id", words(session.account.id.as_str())),
            ("account_label", Value::AnyText(Some(session.account.label.clone()))),
            ("client_name", words(session.client.as_str())),
            ("scopes", words(&session.scopes.to_string())),
            ("expires_at", number(session.expires_at.as_millis())),
            ("last_use_at", Value::Integer(None)),
            ("revoked_at", Value::Integer(None)),
            ("revoked_by", none()),
            ("request", words(record.authorization.as_str())),
            ("client_label", none()),
            ("client_kind", none()),
            ("client_instance", none()),
            ("client_address", none()),
            ("client_method", none()),
            ("client_id", none()),
            ("client_claims", none()),
            ("granted", words(&record.granted.to_string())),
            ("created_at", number(record.created_at.as_millis())),
            ("redeemer_address", none()),
            ("redeemer_program", none()),
            ("refresh_expires_at", number(record.refresh_expires_at.as_millis())),
            ("lasts_until", Value::Integer(None)),
            ("name", none()),
            ("last_use_address", none()),
        ]);
        self.insert("insert_session", &columns).await;
        self.refresh_token(&new.refresh, session.id.as_str(), 0, record.refresh_expires_at.as_millis()).await;
        self.execute("COMMIT").await;
        true
    }

    async fn refresh_token(
        &mut self,
        refresh: &Digest<tower_agent_auth::types::secret::Refresh>,
        session: &str,
        generation: i64,
        end: i64,
    ) {
        let values = vec![hash(refresh), words(session), number(generation), number(end)];
        self.run("insert_refresh", values).await;
    }

    async fn rotate(&mut self, rotation: &Rotation) -> bool {
        let values = vec![
            hash(&rotation.from),
            number(after(3).as_millis()),
            hash(&rotation.access),
            words(&rotation.scopes.to_string()),
            number(rotation.expires_at.as_millis()),
            number(rotation.refresh_expires_at.as_millis()),
            Value::Bytes(Some(rotation.salt.0.to_vec())),
        ];
        self.execute("BEGIN").await;
        let rotated = self.run("rotate", values).await;
        if let Some(session) = rotated.first() {
            self.refresh_token(&rotation.refresh, session, 1, rotation.refresh_expires_at.as_millis()).await;
        }
        self.execute("COMMIT").await;
        !rotated.is_empty()
    }

    async fn is_live(&mut self, new: &NewSession) -> bool {
        !self.run("find_session", vec![hash(&new.session.session.access)]).await.is_empty()
    }

    async fn execute(&mut self, sql: &'static str) {
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.execute(sql).await.map(drop).unwrap(),
            Connection::Postgres(connection) => connection.execute(sql).await.map(drop).unwrap(),
        }
    }
}

/// Both nodes take every part of the ceremony in turn; nothing fails, nothing is lost, and what one ends has ended for both.
async fn go_together<S: CeremonyStore + Clone>(mut old: OldNode, new: S) {
    old.prepare_all().await;

    // A request of the old node, seen by the new one, and the other way round.
    let theirs = authorization();
    let lookup = with_lookup(&theirs).lookups[0];
    old.create(&theirs, &lookup).await;
    let found = new.find_authorization(&AuthorizationKey::Lookup(lookup)).await.unwrap().unwrap();
    assert_eq!((&found.id, found.state_at(after(1)), found.lasting), (&theirs.id, State::Pending, None));
    assert!(apply(&new, &theirs, open("alice")).await);
    assert!(!old.open(&theirs, "mallory").await && old.approve(&theirs, "alice").await);
    let first = session_of(&find(&new, &theirs).await, "alice");
    assert!(new.redeem(&first, after(2)).await.unwrap());
    assert!(old.is_live(&first).await && !old.redeem(&session_of(&theirs, "alice")).await);

    // A request of the new node, with what only that one knows.
    let ours = authorization();
    create(&new, &ours).await;
    assert!(old.open(&ours, "alice").await && apply(&new, &ours, approve("alice", "a b")).await);
    let second = session_of(&ours, "alice");
    assert!(old.redeem(&second).await);
    assert!(is_live(&new, &second).await && !new.redeem(&session_of(&ours, "alice"), after(2)).await.unwrap());
    assert_eq!(find(&new, &ours).await.client.reason, ours.client.reason, "what the old node does not know stays");
    let id = &second.session.session.id;
    assert!(new.rename_session(&account("alice").id, id, Some(&text("laptop"))).await.unwrap());

    // Each refreshes what the other one issued. The used token stays known to both.
    let rotated = rotation(second.refresh, 3);
    assert!(old.rotate(&rotated).await && !is_live(&new, &second).await && !old.is_live(&second).await);
    assert!(new.find_session(&rotated.access).await.unwrap().is_some());
    assert_eq!(new.find_refresh(&second.refresh).await.unwrap().unwrap().age, 1);
    let again = rotation(rotated.refresh, 4);
    assert_eq!(new.rotate(&again, after(4)).await.unwrap().as_ref(), Some(id));
    assert!(!old.rotate(&rotation(rotated.refresh, 5)).await);
    let record = new.find_record(id).await.unwrap().unwrap();
    assert_eq!(record.name, Some(text("laptop")), "a refresh by the old node keeps the name");

    // Uses, by either.
    let last = Use::new(after(9), Some("192.0.2.9".parse().unwrap()));
    new.record_uses(&[(id.clone(), last)], last.at).await.unwrap();
    let uses = format!(r#"[["{id}",{},null]]"#, after(8).as_millis());
    old.run("record_uses", vec![words(&uses), number(after(8).as_millis() + 300_000)]).await;
    assert_eq!(
        new.find_record(id).await.unwrap().unwrap().last_use,
        Some(last),
        "an earlier use replaces no later one"
    );
    assert_eq!(old.run("list_sessions", vec![words("alice"), Value::Text(None), number(9)]).await.len(), 2);
    assert_eq!(listed(&new, "alice").await.len(), 2);

    // What one ends has ended for the other.
    let ended = vec![number(after(10).as_millis()), words("human"), hash(&first.session.session.access)];
    assert_eq!(old.run("end_by_access", ended).await, [first.session.session.id.as_str()]);
    assert!(!is_live(&new, &first).await);
    let target = RevokeTarget::Account(account("alice").id);
    let revoked = new.revoke(&target, RevokedBy::Service, after(11)).await.unwrap();
    assert_eq!(revoked.iter().collect::<Vec<_>>(), [id]);
    assert!(old.run("find_session", vec![hash(&again.access)]).await.is_empty());
    let waiting = approved(&new, "bob").await;
    let account_ends = vec![words("bob"), number(after(1).as_millis())];
    old.run("revoke_approved", account_ends).await;
    assert_eq!(find(&new, &waiting).await.state_at(after(2)), State::Revoked);
    let bobs = session(&new, "bob").await;
    let by_account = vec![number(after(12).as_millis()), words("service"), words("bob")];
    assert_eq!(old.run("end_by_account", by_account).await, [bobs.session.session.id.as_str()]);
    assert!(!is_live(&new, &bobs).await);

    // Both at once: each request has one winner, and every session that anybody got is there.
    let mut winners = 0;
    for _ in 0..16 {
        let request = approved(&new, "carol").await;
        let (by_old, by_new) = (session_of(&request, "carol"), session_of(&request, "carol"));
        let racing = new.clone();
        let (olds, news) = tokio::join!(old.redeem(&by_old), racing.redeem(&by_new, after(2)));
        assert_ne!(olds, news.unwrap(), "one winner");
        assert_eq!((is_live(&new, &by_old).await, is_live(&new, &by_new).await), (olds, !olds));
        winners += 1;
    }
    assert_eq!(listed(&new, "carol").await.len(), winners);
    // What the old node opened and then stopped with is for the new one to finish.
    let left = opened(&new, "dave").await;
    assert!(old.approve(&left, "dave").await);
    drop(old);
    assert!(new.redeem(&session_of(&left, "dave"), after(2)).await.unwrap());
    assert!(new.find_session(&digest()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn r99_nodes_of_two_versions_share_a_sqlite_file() {
    for statements in [include_str!("old/statements-sqlite-5.json"), include_str!("old/statements-sqlite-6.json")] {
        let file = TempFile::new();
        let new = file.open().await;
        go_together(OldNode::sqlite(&file, statements).await, new).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r99_nodes_of_two_versions_share_a_postgresql_schema() {
    for statements in [include_str!("old/statements-postgres-3.json"), include_str!("old/statements-postgres-4.json")] {
        let schema = Schema::new();
        let new = schema.open().await;
        go_together(OldNode::postgres(&schema, statements).await, new).await;
    }
}
