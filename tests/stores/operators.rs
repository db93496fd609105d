//! Sessions that tests issue, and what operators end, over each store (faults G10 and G12).

use tower_agent_auth::{
    AgentAuth, Config,
    audit::Reason,
    store::MemoryStore,
    testing::{self, TestAccounts},
};

use crate::places::{Place, Prefix, Schema, TempFile};

fn auth(store: impl tower_agent_auth::store::CeremonyStore) -> AgentAuth {
    let config = Config::builder()
        .resource("https://api.example.com")
        .name("Example")
        .scope("projects:read", "See your projects", |scope| scope.by_default())
        .build();
    AgentAuth::builder(config.unwrap()).sessions(store).accounts(TestAccounts::by_cookie("user")).build().unwrap()
}

async fn sessions_are_issued_listed_and_revoked(auth: &AgentAuth) {
    let (ceremony, admin) = (auth.ceremony().unwrap(), auth.admin().unwrap().because(Reason::new("a test")));
    let passes = async |issued: &testing::IssuedSession| {
        ceremony.session(issued.access_token().as_bytes()).await.unwrap().is_some()
    };
    let mut issued = Vec::new();
    for account in ["alice", "alice", "alice", "alice", "bob"] {
        issued.push(testing::session(auth).account(account).issue().await);
    }
    for session in &issued {
        assert!(passes(session).await);
    }
    let expired = testing::session(auth).account("carol").expired().issue().await;
    let revoked = testing::session(auth).account("carol").revoked().issue().await;
    assert!(!passes(&expired).await && !passes(&revoked).await);
    assert!(admin.session(&expired.record().session.id).await.unwrap().unwrap().revoked.is_none());

    let one = &issued[0].record().session.id;
    assert_eq!(admin.revoke_session(one).await.unwrap().sessions, 1);
    assert_eq!(admin.revoke_authorization(&issued[1].record().authorization).await.unwrap().sessions, 1);
    assert!(!passes(&issued[0]).await && !passes(&issued[1]).await && passes(&issued[2]).await);
    assert_eq!(admin.revoke_account(&testing::account("alice").id).await.unwrap().sessions, 2);
    assert!(!passes(&issued[2]).await && !passes(&issued[3]).await && passes(&issued[4]).await);
    assert_eq!(admin.revoke_client_of(&issued[4].record().session.id).await.unwrap().sessions, 1);
    assert!(!passes(&issued[4]).await);
}

async fn over<P: Place>() {
    let place = P::new();
    sessions_are_issued_listed_and_revoked(&auth(place.open().await)).await;
}

#[tokio::test]
async fn g10_g12_sessions_are_issued_listed_and_revoked_in_memory() {
    sessions_are_issued_listed_and_revoked(&auth(MemoryStore::new())).await;
}

#[tokio::test]
async fn g10_g12_sessions_are_issued_listed_and_revoked_in_sqlite() {
    over::<TempFile>().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
async fn g10_g12_sessions_are_issued_listed_and_revoked_in_postgres() {
    over::<Schema>().await;
}

#[tokio::test]
#[ignore = "needs Redis: `cargo xtask servers` starts one"]
async fn g10_g12_sessions_are_issued_listed_and_revoked_in_redis() {
    over::<Prefix>().await;
}
