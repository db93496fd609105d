//! Fixtures of the conformance suite.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use crate::{
    store::{AuthorizationKey, CeremonyStore, Creation, PendingCaps, SessionStore},
    types::{
        authorization::{
            Account, Approval, AuthorizationRequest, Client, Flow, Lookup, NewAuthorizationRequest, Opening, Release,
            Renewal, Transition,
        },
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
        random::OsRandom,
        scope::ScopeSet,
        secret::{Access, Digest, Kind, Prefix, Refresh, Secret},
        session::{NewSession, Redeemer, Rotation, Salt, Session, SessionRecord},
        text::HumanText,
    },
};

/// The start of each test, and the lifetime of the requests of [`authorization`], in milliseconds.
pub const START: i64 = 1_800_000_000_000;
pub const LIFE: i64 = 600_000;

/// What the human of an approval chooses.
pub const LASTING: Duration = Duration::from_secs(86_400);

pub const NO_CAPS: PendingCaps = PendingCaps { per_source: None, total: None };

/// The instant `millis` milliseconds after the start of the test.
pub fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

pub fn secret<K: Kind>() -> Secret<K> {
    Prefix::new("t_").unwrap().generate(&OsRandom).unwrap()
}

pub fn digest<K: Kind>() -> Digest<K> {
    secret().digest()
}

pub fn text(text: &str) -> HumanText {
    HumanText::new(text).unwrap()
}

pub fn scopes(list: &str) -> ScopeSet {
    ScopeSet::parse(list).unwrap()
}

pub fn client_id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

/// The longest client id, with characters that have a meaning in SQL, Lua, JSON or HTML.
pub fn longest_client_id() -> ClientId {
    client_id(&r#"'"\;--%_$1{}[]<&>?:@,"#.repeat(2_048)[..2_048])
}

/// The resource of all sessions, shared among them as in a service.
pub fn resource() -> Arc<str> {
    static SHARED: LazyLock<Arc<str>> = LazyLock::new(|| "https://api.example.org".into());
    Arc::clone(&SHARED)
}

pub fn account(id: &str) -> Account {
    Account::new(AccountId::new(id).unwrap(), format!("{id}@example.org"))
}

/// The flow of every request in the suite. The ceremony does not define it, and no store may read it.
pub fn flow(version: u32) -> Flow {
    Flow::from_stored(&format!(r#"{{"version":{version},"flow":"of_a_test","state":"&=%#é\u0000 ' \" \\"}}"#))
}

/// A new authorization request for `a b c`, created at the start of the test.
pub fn authorization() -> AuthorizationRequest {
    let id = AuthorizationRequestId::generate(&OsRandom).unwrap();
    let mut client = Client::named(text("Claude Code"));
    client.label = Some(text("on the laptop"));
    client.reason = Some(text(r#"Über "Zahlen" \\ 'x'"#));
    client.kind = Some(text("cli"));
    client.address = Some("192.0.2.7".parse().unwrap());
    client.id = Some(client_id("https://agent.example/client.json"));
    let mut request = AuthorizationRequest::new(id, resource(), client, flow(1), after(0), after(LIFE));
    request.requested = scopes("a b c");
    request
}

pub fn lookup() -> Lookup {
    Lookup::from(digest::<Access>())
}

/// A new authorization request to store, with one lookup.
pub fn with_lookup(request: &AuthorizationRequest) -> NewAuthorizationRequest {
    NewAuthorizationRequest::new(request.clone(), vec![lookup()])
}

pub fn authorization_from(address: &str) -> AuthorizationRequest {
    let mut authorization = authorization();
    authorization.client.address = Some(address.parse::<IpAddr>().unwrap());
    authorization
}

/// New secrets for the session of the refresh token `from`, issued at `millis`.
pub fn rotation(from: Digest<Refresh>, millis: i64) -> Rotation {
    Rotation {
        from,
        access: digest(),
        refresh: digest(),
        salt: Salt([u8::try_from(millis % 251).unwrap(); 32]),
        scopes: scopes("a b"),
        expires_at: after(millis + 3_600_000),
        refresh_expires_at: after(millis + 86_400_000),
    }
}

/// The session that `authorization` may become, for the account `id`.
pub fn session_of(authorization: &AuthorizationRequest, id: &str) -> NewSession {
    session_with(authorization, id, digest())
}

/// The same, with this access token digest.
pub fn session_with(authorization: &AuthorizationRequest, id: &str, access: Digest<Access>) -> NewSession {
    let session = Session::new(
        SessionId::generate(&OsRandom).unwrap(),
        access,
        resource(),
        account(id),
        authorization.client.name.clone(),
        scopes("a b"),
        after(3_600_000),
    );
    let mut record = SessionRecord::new(session, authorization.id.clone(), authorization.client.clone(), after(2));
    record.redeemer = Redeemer::new(Some("192.0.2.9".parse().unwrap()), Some(text("node")));
    record.refresh_expires_at = after(86_400_000);
    record.lasts_until = Some(after(864_000_001));
    NewSession::new(record, digest::<Refresh>())
}

/// Mutable access to the part of a new session that token checks read.
pub fn checked(new: &mut NewSession) -> &mut Session {
    Arc::make_mut(&mut new.session.session)
}

pub async fn create(store: &impl CeremonyStore, authorization: &AuthorizationRequest) -> NewAuthorizationRequest {
    let new = with_lookup(authorization);
    assert_eq!(store.create_authorization(&new, NO_CAPS).await.unwrap(), Creation::Created);
    new
}

pub async fn find(store: &impl CeremonyStore, authorization: &AuthorizationRequest) -> AuthorizationRequest {
    let key = AuthorizationKey::Id(authorization.id.clone());
    store.find_authorization(&key).await.unwrap().unwrap()
}

pub fn open(id: &str) -> Transition {
    open_as(account(id))
}

pub fn open_as(account: Account) -> Transition {
    Transition::Open(Opening::new(account, flow(3)))
}

/// Releases what [`open`] bound.
pub fn release(id: &str) -> Transition {
    Transition::Release(Release::new(account(id).id, flow(3), flow(1)))
}

pub fn approve(id: &str, list: &str) -> Transition {
    approve_until(id, list, LIFE)
}

/// The same, with the instant at which the approval expires.
pub fn approve_until(id: &str, list: &str, millis: i64) -> Transition {
    let mut approval = Approval::new(account(id).id, scopes(list), flow(2), after(millis));
    approval.lasting = Some(LASTING);
    Transition::Approve(approval)
}

/// Renews a request with this flow for as long as [`approve`] approves it.
pub fn renew(from: u32) -> Transition {
    Transition::Renew(Renewal::new(flow(from), flow(2), after(LIFE)))
}

pub fn deny(id: &str) -> Transition {
    Transition::Deny(account(id).id)
}

pub async fn apply(store: &impl CeremonyStore, authorization: &AuthorizationRequest, transition: Transition) -> bool {
    store.transition(&authorization.id, &transition, after(1)).await.unwrap()
}

/// An authorization request opened by the account `id`.
pub async fn opened(store: &impl CeremonyStore, id: &str) -> AuthorizationRequest {
    let authorization = authorization();
    create(store, &authorization).await;
    assert!(apply(store, &authorization, open(id)).await);
    authorization
}

/// An authorization request with `a b` approved by the account `id`.
pub async fn approved(store: &impl CeremonyStore, id: &str) -> AuthorizationRequest {
    let authorization = opened(store, id).await;
    assert!(apply(store, &authorization, approve(id, "a b")).await);
    authorization
}

/// A session of the account `id`.
pub async fn session(store: &impl CeremonyStore, id: &str) -> NewSession {
    let new = session_of(&approved(store, id).await, id);
    assert!(store.redeem(&new, after(2)).await.unwrap());
    new
}

pub async fn is_live(store: &impl SessionStore, new: &NewSession) -> bool {
    store.find_session(&new.session.session.access).await.unwrap().is_some()
}

pub async fn listed(store: &impl CeremonyStore, id: &str) -> Vec<SessionRecord> {
    store.list_sessions(&account(id).id, None, usize::MAX).await.unwrap()
}
