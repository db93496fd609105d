//! What the promises are checked with.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use crate::{
    store::{AuthorizationKey, CeremonyStore, Creation, PendingCaps},
    types::{
        authorization::{
            Account, Approval, AuthorizationRequest, Client, Code, CodeDigest, Decision, Mode, Transition,
        },
        callback::Callback,
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, SessionId},
        pkce::CodeChallenge,
        random::OsRandom,
        scope::ScopeSet,
        secret::{Access, Claim, Digest, Kind, Prefix, Refresh, Secret},
        session::{NewSession, Noted, Redeemer, Rotation, Salt, Session, SessionRecord},
        text::HumanText,
    },
};

/// When each test begins, and how long an authorization request of [`authorization request`] lives.
pub const START: i64 = 1_800_000_000_000;
pub const LIFE: i64 = 600_000;

pub const NO_CAPS: PendingCaps = PendingCaps { per_source: None, total: None };

/// `millis` after the test began.
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

/// The resource of all sessions, shared by them as a service's are.
pub fn resource() -> Arc<str> {
    static SHARED: LazyLock<Arc<str>> = LazyLock::new(|| "https://api.example.org".into());
    Arc::clone(&SHARED)
}

pub fn account(id: &str) -> Account {
    Account { id: AccountId::new(id).unwrap(), label: format!("{id}@example.org") }
}

/// A new authorization request that asks for `a b c`, made at the beginning of the test.
pub fn authorization() -> AuthorizationRequest {
    AuthorizationRequest {
        id: AuthorizationRequestId::generate(&OsRandom).unwrap(),
        mode: Mode::Claim { claim: digest::<Claim>() },
        client: Client {
            name: text("Claude Code"),
            label: Some(text("on the laptop")),
            kind: Some(text("cli")),
            instance: None,
            address: Some("192.0.2.7".parse().unwrap()),
            method: None,
        },
        requested: scopes("a b c"),
        created_at: after(0),
        expires_at: after(LIFE),
        account: None,
        decision: Decision::Undecided,
        code: None,
        failed_attempts: 0,
    }
}

/// The digest of the claim token of an authorization request of [`authorization request`].
pub fn claim_of(authorization: &AuthorizationRequest) -> Digest<Claim> {
    *authorization.mode.claim().unwrap()
}

pub fn registration_from(address: &str) -> AuthorizationRequest {
    let mut authorization = authorization();
    authorization.client.address = Some(address.parse::<IpAddr>().unwrap());
    authorization
}

/// New authorization requests of every mode, each with the code that its approval hands out.
pub fn of_every_mode() -> [(AuthorizationRequest, Option<Code>); 5] {
    let exchange = CodeDigest::Exchange(digest());
    let finish = CodeDigest::Finish(digest());
    let code = |digest| Some(Code { digest, expires_at: after(60_000) });
    let browser = Mode::Browser {
        poll: digest(),
        callback: Callback::kept("http://127.0.0.1:4000/callback?a=b"),
        state: Some("&=%#é".into()),
        challenge: CodeChallenge::from_bytes([7; 32]),
    };
    let modes = [
        (Mode::Claim { claim: digest() }, None),
        (browser, code(exchange)),
        (Mode::Detached { poll: digest(), exchange: digest(), finish_code: false }, None),
        (Mode::Detached { poll: digest(), exchange: digest(), finish_code: true }, code(finish)),
        (Mode::FinishCode { poll: digest() }, code(finish)),
    ];
    modes.map(|(mode, code)| (AuthorizationRequest { mode, ..authorization() }, code))
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

/// The session that `authorization request` may become, for the account `id`.
pub fn session_of(authorization: &AuthorizationRequest, id: &str) -> NewSession {
    session_with(authorization, id, digest())
}

/// The same, with an access token of that digest.
pub fn session_with(authorization: &AuthorizationRequest, id: &str, access: Digest<Access>) -> NewSession {
    let session = Session {
        id: SessionId::generate(&OsRandom).unwrap(),
        access,
        resource: resource(),
        account: account(id),
        client: authorization.client.name.clone(),
        scopes: scopes("a b"),
        expires_at: after(3_600_000),
        noted: Noted::default(),
    };
    let session = SessionRecord {
        session: Arc::new(session),
        authorization: authorization.id.clone(),
        client: authorization.client.clone(),
        granted: scopes("a b"),
        created_at: after(2),
        redeemer: Redeemer { address: Some("192.0.2.9".parse().unwrap()), program: Some(text("node")) },
        refresh_expires_at: after(86_400_000),
        last_use: None,
        revoked: None,
    };
    NewSession { session, refresh: digest::<Refresh>() }
}

/// What a token check reads of a new session, to be changed.
pub fn checked(new: &mut NewSession) -> &mut Session {
    Arc::make_mut(&mut new.session.session)
}

pub async fn create(store: &impl CeremonyStore, authorization: &AuthorizationRequest) {
    let created = store.create_authorization(authorization, NO_CAPS).await.unwrap();
    assert_eq!(created, Creation::Created);
}

pub async fn find(store: &impl CeremonyStore, authorization: &AuthorizationRequest) -> AuthorizationRequest {
    let key = AuthorizationKey::Id(authorization.id.clone());
    store.find_authorization(&key).await.unwrap().unwrap()
}

pub fn open(id: &str) -> Transition {
    Transition::Open(account(id))
}

pub fn approve(id: &str, list: &str) -> Transition {
    let approval = Approval { account: account(id).id, scopes: scopes(list), code: None, expires_at: after(LIFE) };
    Transition::Approve(approval)
}

/// The same with a code, and with the instant at which everything ends.
pub fn approve_until(id: &str, list: &str, code: Option<Code>, millis: i64) -> Transition {
    let (account, scopes) = (account(id).id, scopes(list));
    Transition::Approve(Approval { account, scopes, code, expires_at: after(millis) })
}

pub fn deny(id: &str) -> Transition {
    Transition::Deny(account(id).id)
}

pub async fn apply(store: &impl CeremonyStore, authorization: &AuthorizationRequest, transition: Transition) -> bool {
    store.transition(&authorization.id, &transition, after(1)).await.unwrap()
}

/// An authorization request that the account `id` opened.
pub async fn opened(store: &impl CeremonyStore, id: &str) -> AuthorizationRequest {
    let authorization = authorization();
    create(store, &authorization).await;
    assert!(apply(store, &authorization, open(id)).await);
    authorization
}

/// An authorization request of which the account `id` approved `a b`.
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

pub async fn is_live(store: &impl CeremonyStore, new: &NewSession) -> bool {
    store.find_session(&new.session.access).await.unwrap().is_some()
}

pub async fn listed(store: &impl CeremonyStore, id: &str) -> Vec<SessionRecord> {
    store.list_sessions(&account(id).id, None, usize::MAX).await.unwrap()
}
