//! Stores that older versions wrote are migrated when they are opened, with their sessions alive.

use std::{fs, time::Duration};

use data_encoding::BASE64;
use http::request::Parts;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tower_agent_auth::{
    AgentAuth, Config,
    accounts::{Accounts, AccountsError, SignedIn},
    ceremony::{Attempt, Ceremony, Decision, KnownFlow, Refreshing, Request},
    store::{AuthorizationKey, CeremonyStore},
    types::{
        authorization::{Account, AuthorizationRequest, State},
        clock::{ManualClock, Timestamp},
        id::{AccountId, AuthorizationRequestId, SessionId},
        scope::ScopeSet,
        session::{Redeemer, SessionRecord},
        text::HumanText,
    },
};

use crate::places::{Place, Prefix, Schema, TempFile, postgres_url};

const RESOURCE: &str = "https://api.example.com";
const DAY: Duration = Duration::from_secs(86_400);

struct Humans;

impl Accounts for Humans {
    async fn current(&self, _: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        Ok(None)
    }

    fn login_url(&self, _: &str) -> String {
        "/login".into()
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

/// The service that wrote the files, on the present version.
struct Service<S> {
    store: S,
    now: Timestamp,
    plain: Ceremony,
    /// Where a finish code is good without the poll token.
    alone: Ceremony,
    config: Config,
}

impl<S: CeremonyStore + Clone> Service<S> {
    fn on(store: S, expected: &Value) -> Self {
        let now = Timestamp::from_millis(expected["now"].as_i64().unwrap());
        let (plain, alone) = (ceremony(&store, now, false), ceremony(&store, now, true));
        Self { store, now, plain, alone, config: config(false) }
    }
}

fn config(alone: bool) -> Config {
    let builder = Config::builder()
        .resource(RESOURCE)
        .name("Example Analytics")
        .scope("projects:read", "See your projects", |scope| scope.by_default())
        .scope("projects:write", "Create and change projects", |scope| scope)
        .lifetimes(|lifetimes| {
            (lifetimes.access, lifetimes.refresh, lifetimes.session) = (30 * DAY, 90 * DAY, 365 * DAY)
        })
        .modes(|modes| modes.finish_code_alone = alone)
        .no_limits();
    builder.build().unwrap()
}

fn ceremony<S: CeremonyStore + Clone>(store: &S, now: Timestamp, alone: bool) -> Ceremony {
    let builder =
        AgentAuth::builder(config(alone)).sessions(store.clone()).accounts(Humans).clock(ManualClock::at(now));
    builder.build().unwrap().ceremony().unwrap().clone()
}

fn secrets() -> Value {
    serde_json::from_str(include_str!("old/secrets.json")).unwrap()
}

fn account(expected: &Value, name: &str) -> Account {
    let account = &expected["accounts"][name];
    Account::new(AccountId::new(account["id"].as_str().unwrap()).unwrap(), account["label"].as_str().unwrap())
}

fn entries(section: &Value, name: &str) -> Vec<(String, Map<String, Value>)> {
    let entries = section[name].as_object().unwrap().iter();
    entries.map(|(name, entry)| (name.clone(), entry.as_object().unwrap().clone())).collect()
}

fn text(entry: &Map<String, Value>, field: &str) -> String {
    entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn state_of(entry: &Map<String, Value>) -> State {
    match entry["state"].as_str().unwrap() {
        "pending" => State::Pending,
        "approved" => State::Approved,
        "denied" => State::Denied,
        "exchanged" => State::Redeemed,
        "revoked" => State::Revoked,
        "locked" => State::Locked,
        other => panic!("{other}"),
    }
}

fn check_request(name: &str, found: &AuthorizationRequest, entry: &Map<String, Value>, now: Timestamp) {
    assert_eq!(&*found.resource, RESOURCE, "{name}");
    assert_eq!(found.state_at(now), state_of(entry), "{name}");
    assert_eq!(found.client.name.as_str(), entry["client"]["name"].as_str().unwrap(), "{name}");
    assert_eq!((&found.client.id, &found.client.reason, found.lasting), (&None, &None, None), "{name}");
    assert_eq!(found.client.label.as_ref().map(HumanText::as_str), entry["client"]["label"].as_str(), "{name}");
    assert_eq!(found.requested.to_string(), text(entry, "requested"), "{name}");
    assert_eq!(found.granted().map(ScopeSet::to_string).as_deref(), entry["granted"].as_str(), "{name}");
    assert_eq!(found.account.as_ref().map(|account| account.id.as_str()), entry["account_id"].as_str(), "{name}");
    assert_eq!(Value::from(found.created_at.as_millis()), entry["created_at"], "{name}");
    assert_eq!(Value::from(found.expires_at.as_millis()), entry["expires_at"], "{name}");
    assert_eq!(Value::from(found.failed_attempts), entry["misses"], "{name}");
    let (flow, mode) = (KnownFlow::of(found).unwrap(), text(entry, "mode"));
    let expected = if mode == "detached_or_finish_code" { "detached" } else { &mode };
    assert_eq!(flow.name(), expected, "{name}");
    assert_eq!(flow.has_finish_code(), mode.contains("finish_code"), "{name}");
    if let KnownFlow::Browser { callback, state, .. } = flow {
        assert_eq!(
            (callback.as_str(), state),
            (&*text(entry, "callback"), Some(text(entry, "callback_state"))),
            "{name}"
        );
    }
}

fn check_record(name: &str, found: &SessionRecord, entry: &Map<String, Value>) {
    let session = &found.session;
    assert_eq!((&*session.resource, session.account.id.as_str()), (RESOURCE, &*text(entry, "account_id")), "{name}");
    assert_eq!(found.authorization.as_str(), text(entry, "registration"), "{name}");
    assert_eq!((&found.client.id, &found.client.reason), (&None, &None), "{name}");
    assert_eq!((found.lasts_until, &found.name), (None, &None), "{name}");
    assert_eq!(
        (found.granted.to_string(), session.scopes.to_string()),
        (text(entry, "granted"), text(entry, "scopes"))
    );
    let instants =
        [found.created_at, session.expires_at, found.refresh_expires_at].map(|at| Value::from(at.as_millis()));
    assert_eq!(
        instants,
        ["created_at", "expires_at", "refresh_expires_at"].map(|field| entry[field].clone()),
        "{name}"
    );
    assert_eq!(Value::from(found.last_use.map(|last| last.at.as_millis())), entry["last_use_at"], "{name}");
    assert_eq!(found.revoked.map(|revoked| revoked.by.as_str()), entry["revoked_by"].as_str(), "{name}");
}

/// Everything is there as it was.
async fn check<S: CeremonyStore + Clone>(service: &Service<S>, section: &Value, owner: &Account) {
    let prefixes = service.config.prefixes();
    for (name, entry) in entries(section, "registrations") {
        let id = AuthorizationRequestId::parse(&text(&entry, "id")).unwrap();
        let key = AuthorizationKey::Id(id.clone());
        let found = service.store.find_authorization(&key).await.unwrap().unwrap();
        check_request(&name, &found, &entry, service.now);
        if let Some(digest) = prefixes.claim.digest(text(&entry, "claim_token").as_bytes()) {
            let by_claim = service.store.find_authorization(&AuthorizationKey::Lookup(digest.into())).await.unwrap();
            assert_eq!(by_claim.unwrap().id, id, "{name}");
        }
        let sessions = service.store.sessions_of(&id).await.unwrap();
        let expected: Vec<&str> = entry["session"].as_str().into_iter().collect();
        assert_eq!(sessions.iter().map(|record| record.session.id.as_str()).collect::<Vec<_>>(), expected, "{name}");
    }
    for (name, entry) in entries(section, "sessions") {
        let id = SessionId::parse(&text(&entry, "id")).unwrap();
        check_record(&name, &service.store.find_record(&id).await.unwrap().unwrap(), &entry);
        let access = |token: &str| prefixes.access.digest(token.as_bytes()).unwrap();
        let found = service.store.find_session(&access(&text(&entry, "access_token"))).await.unwrap();
        assert_eq!(found.is_some(), entry["revoked_by"].is_null(), "{name}");
        assert!(found.is_none_or(|session| session.is_good(RESOURCE, service.now)), "{name}");
        for used in entry["used_access_tokens"].as_array().unwrap() {
            assert_eq!(service.store.find_session(&access(used.as_str().unwrap())).await.unwrap(), None, "{name}");
        }
        let tokens = entry["refresh_tokens"].as_array().unwrap();
        for (age, token) in tokens.iter().rev().enumerate() {
            let digest = prefixes.refresh.digest(token.as_str().unwrap().as_bytes()).unwrap();
            let known = service.store.find_refresh(&digest).await.unwrap().unwrap();
            assert_eq!((known.age as usize, &known.session.session.id), (age, &id), "{name}");
        }
    }
    let sessions: Map<String, Value> = section["sessions"].as_object().unwrap().clone();
    let oldest_first = section["sessions_oldest_first"].as_array().unwrap().iter();
    let own = oldest_first
        .map(|name| &sessions[name.as_str().unwrap()])
        .filter(|entry| entry["account_id"] == owner.id.as_str());
    let own: Vec<&str> = own.map(|entry| entry["id"].as_str().unwrap()).collect();
    let listed = service.store.list_sessions(&owner.id, None, 100).await.unwrap();
    assert_eq!(listed.iter().rev().map(|record| record.session.id.as_str()).collect::<Vec<_>>(), own);
}

/// What waits for a human is approved, what is approved is redeemed once, and live sessions are refreshed.
async fn go_on<S: CeremonyStore + Clone>(service: &Service<S>, section: &Value, owner: &Account) {
    let human = SignedIn::new(owner.clone(), "browser session");
    for (name, entry) in entries(section, "sessions") {
        let live = service.plain.session(text(&entry, "access_token").as_bytes()).await.unwrap().is_some();
        assert_eq!(live, entry["revoked_by"].is_null(), "{name}");
        let tokens = entry["refresh_tokens"].as_array().unwrap();
        let refreshed = service.plain.refresh(&Refreshing::new(tokens.last().unwrap().as_str().unwrap())).await;
        assert_eq!(refreshed.is_ok(), live, "{name}");
        let Ok(refreshed) = refreshed else { continue };
        assert_eq!(refreshed.record.session.scopes.to_string(), text(&entry, "granted"), "{name}");
        if tokens.len() > 1 {
            let oldest = Refreshing::new(tokens[0].as_str().unwrap());
            assert!(service.plain.refresh(&oldest).await.is_err(), "{name}: it comes back");
            let ended = service.plain.session(refreshed.access_token.expose().as_bytes()).await.unwrap();
            assert!(ended.is_none(), "{name}");
        }
    }
    for (name, entry) in entries(section, "registrations") {
        let id = AuthorizationRequestId::parse(&text(&entry, "id")).unwrap();
        let mode = text(&entry, "mode");
        let ceremony = if mode == "detached_or_finish_code" { &service.alone } else { &service.plain };
        if state_of(&entry) == State::Pending {
            ceremony.view(&id, &human).await.unwrap();
            let scopes = ScopeSet::parse("projects:read").unwrap();
            ceremony.decide(&id, &human, Decision::Approve(scopes.into())).await.unwrap();
            continue;
        }
        let approved = state_of(&entry) == State::Approved;
        if mode == "claim" {
            let redeemed = ceremony.redeem(&text(&entry, "claim_token"), &Redeemer::default()).await;
            assert_eq!(redeemed.is_ok(), approved, "{name} {redeemed:?}");
            continue;
        }
        let poll_token = text(&entry, "poll_token");
        let status = ceremony.login_status(id.as_str(), &poll_token).await.unwrap();
        assert_eq!(status.state, state_of(&entry), "{name}");
        if mode.starts_with("detached") {
            assert_eq!(status.exchange_code.unwrap().expose(), text(&entry, "exchange_code"), "{name}");
        }
        let code = if mode.contains("finish_code") { "finish_code" } else { "exchange_code" };
        let (code, verifier) = (text(&entry, code), text(&entry, "code_verifier"));
        let mut attempt = Attempt::new(id.as_str(), &code);
        attempt.poll_token = Some(&poll_token);
        attempt.verifier = Some(verifier.as_str()).filter(|verifier| !verifier.is_empty());
        let redeemed = ceremony.redeem_login(&attempt).await;
        assert_eq!(redeemed.is_ok(), approved, "{name} {redeemed:?}");
    }
    let asked = service.plain.request(Request::by(HumanText::new("Agent").unwrap())).await.unwrap();
    service.plain.view(&asked.authorization.id, &human).await.unwrap();
    let all = asked.authorization.requested.clone();
    service.plain.decide(&asked.authorization.id, &human, Decision::Approve(all.into())).await.unwrap();
    let issued = service.plain.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap();
    let newest = service.store.list_sessions(&owner.id, None, 1).await.unwrap();
    assert_eq!(newest[0].session.id, issued.record.session.id);
}

async fn goes_on<S: CeremonyStore + Clone>(store: S, section: &str) {
    let expected = secrets();
    let (section, owner) = (&expected[section], account(&expected, "ada"));
    let service = Service::on(store, section);
    check(&service, section, &owner).await;
    go_on(&service, section, &owner).await;
}

#[tokio::test]
async fn r99_a_sqlite_file_of_version_6_goes_on() {
    let file = TempFile::on_disk();
    fs::write(file.path(), include_bytes!("old/version-6.sqlite")).unwrap();
    goes_on(file.open().await, "current").await;
    file.open().await;
}

#[tokio::test]
async fn r99_a_sqlite_file_of_version_5_goes_on() {
    let file = TempFile::on_disk();
    fs::write(file.path(), include_bytes!("old/version-5.sqlite")).unwrap();
    goes_on(file.open().await, "current").await;
    file.open().await;
}

#[tokio::test]
async fn r99_a_sqlite_file_of_version_4_goes_on() {
    let file = TempFile::on_disk();
    fs::write(file.path(), include_bytes!("old/version-4.sqlite")).unwrap();
    goes_on(file.open().await, "current").await;
    file.open().await;
}

#[tokio::test]
async fn r99_a_sqlite_file_of_version_3_goes_on() {
    let file = TempFile::on_disk();
    fs::write(file.path(), include_bytes!("old/version-3.sqlite")).unwrap();
    goes_on(file.open().await, "current").await;
    file.open().await;
}

#[tokio::test]
async fn r99_a_sqlite_file_of_version_1_goes_on() {
    let file = TempFile::on_disk();
    fs::write(file.path(), include_bytes!("old/version-1.sqlite")).unwrap();
    goes_on(file.open().await, "sqlite_1").await;
}

/// What each older migration left.
const DUMPS: [&str; 4] = [
    include_str!("old/postgres-1.sql"),
    include_str!("old/postgres-2.sql"),
    include_str!("old/postgres-3.sql"),
    include_str!("old/postgres-4.sql"),
];

async fn old_schema(dump: &str) -> Schema {
    let schema = Schema::new();
    let dump = dump
        .replace("SCHEMA agent_auth", &format!("SCHEMA {}", schema.0))
        .replace("agent_auth.", &format!("{}.", schema.0));
    let mut connection = PgConnection::connect(&postgres_url()).await.unwrap();
    raw_sql(AssertSqlSafe(dump)).execute(&mut connection).await.unwrap();
    schema
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn r99_a_postgresql_schema_of_an_older_version_goes_on() {
    for dump in DUMPS {
        let schema = old_schema(dump).await;
        goes_on(schema.open().await, "current").await;
        schema.open().await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Redis: `cargo xtask servers` starts them"]
async fn r99_nodes_that_migrate_at_once_agree() {
    for dump in DUMPS {
        let schema = old_schema(dump).await;
        let opened = tokio::join!(schema.open(), schema.open(), schema.open());
        goes_on(opened.1, "current").await;
    }
    let prefix = old_prefix(include_str!("old/redis-1.txt"));
    let opened = tokio::join!(prefix.open(), prefix.open(), prefix.open());
    goes_on(opened.1, "current").await;
}

fn old_prefix(commands: &str) -> Prefix {
    let prefix = Prefix::new();
    let (old, new) = (b"{agent_auth}:".as_slice(), prefix.key(""));
    let mut connection = Prefix::beside();
    for line in commands.lines() {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| BASE64.decode(word.as_bytes()).unwrap()).collect();
        let mut command = ::redis::cmd(std::str::from_utf8(&words[0]).unwrap());
        command.arg([new.as_bytes(), words[1].strip_prefix(old).unwrap()].concat());
        for word in &words[2..] {
            command.arg(word.as_slice());
        }
        command.exec(&mut connection).unwrap();
    }
    prefix
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r99_redis_of_version_1_goes_on() {
    let prefix = old_prefix(include_str!("old/redis-1.txt"));
    goes_on(prefix.open().await, "current").await;
    prefix.open().await;
    let mut connection = Prefix::beside();
    let left: Vec<String> = ::redis::cmd("KEYS").arg(prefix.key("reg:*")).query(&mut connection).unwrap();
    assert_eq!(left, [""; 0], "nothing of the old version is left");
}

/// The same version, from before sessions had a client id, a reason, a name or a chosen end.
#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn r99_redis_without_client_ids_goes_on() {
    let prefix = old_prefix(include_str!("old/redis-2.txt"));
    goes_on(prefix.open().await, "current").await;
    prefix.open().await;
}
