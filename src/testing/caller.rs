use std::time::Duration;

use crate::{
    guard::{AgentSession, Owner},
    types::{
        authorization::Account,
        clock::{Clock as _, SystemClock, Timestamp},
        id::{AccountId, SessionId},
        random::OsRandom,
        scope::ScopeSet,
        secret::{Access, Prefix},
        session::Session,
        text::HumanText,
    },
};

/// What names an account in a test: its id, or an [`Account`]. Implement it for the host's own type of a user.
pub trait IntoAccount {
    /// The account.
    ///
    /// # Panics
    /// The implementation for `&str` panics when the text is no [`AccountId`].
    fn into_account(self) -> Account;
}

impl IntoAccount for Account {
    fn into_account(self) -> Account {
        self
    }
}

impl IntoAccount for &Account {
    fn into_account(self) -> Account {
        self.clone()
    }
}

impl IntoAccount for &str {
    #[track_caller]
    fn into_account(self) -> Account {
        account(self)
    }
}

/// The account with this id, and the label `ID@example.com`.
///
/// # Panics
/// When the id is empty, too long, or has a control character.
#[must_use]
#[track_caller]
pub fn account(id: &str) -> Account {
    let known = expect(AccountId::new(id), "the id of an account");
    Account::new(known, format!("{id}@example.com"))
}

/// Starts an [`AgentSession`] for a handler that a test calls as a function, without a guard and without a store. For a
/// request through a guard use [`session`](super::session).
///
/// ```
/// use tower_agent_auth::{guard::AgentSession, testing};
///
/// async fn projects(agent: AgentSession) -> String {
///     format!("{} may {}", agent.account.id.as_str(), agent.scopes)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let agent = testing::agent_session("alice").scopes("projects:read").build();
/// assert_eq!(projects(agent).await, "alice may projects:read");
/// # }
/// ```
#[track_caller]
pub fn agent_session(account: impl IntoAccount) -> AgentSessionBuilder {
    AgentSessionBuilder {
        account: account.into_account(),
        scopes: ScopeSet::default(),
        resource: "https://api.example.com".into(),
        client: expect(HumanText::new("Test Agent"), "a client's name"),
        expires_at: SystemClock::default().now().after(Duration::from_secs(3_600)),
    }
}

/// Builds an [`AgentSession`] for a handler that a test calls as a function.
#[derive(Clone, Debug)]
#[must_use]
pub struct AgentSessionBuilder {
    account: Account,
    scopes: ScopeSet,
    resource: String,
    client: HumanText,
    expires_at: Timestamp,
}

impl AgentSessionBuilder {
    /// The scopes, separated by spaces; by default none. The catalogue is not asked, so `implies` adds none.
    ///
    /// # Panics
    /// When a scope has a character that no scope has.
    #[track_caller]
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes = expect(ScopeSet::parse(scopes), "the scopes");
        self
    }

    /// The resource; by default `https://api.example.com`.
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = resource.into();
        self
    }

    /// What the client calls itself; by default `Test Agent`.
    ///
    /// # Panics
    /// When the name is none that an agent may have.
    #[track_caller]
    pub fn client(mut self, name: &str) -> Self {
        self.client = expect(HumanText::new(name), "a client's name");
        self
    }

    /// When the access token expires; by default in an hour, by the system's clock.
    pub const fn expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = at;
        self
    }

    /// The session, as a guard inserts it. Its token is random, and no store knows it.
    ///
    /// # Panics
    /// When the operating system has no random bytes.
    #[must_use]
    #[track_caller]
    pub fn build(self) -> AgentSession {
        let prefix = expect(Prefix::<Access>::new("aas_"), "the prefix of a token");
        let token = expect(prefix.generate(&OsRandom), "a token");
        let id = expect(SessionId::generate(&OsRandom), "the id of a session");
        let Self { account, scopes, resource, client, expires_at } = self;
        let session = Session::new(id, token.digest(), resource, account, client, scopes, expires_at);
        AgentSession::for_test(session.into())
    }
}

/// The [`Owner`] for a handler that a test calls as a function: the account's signed-in human.
///
/// ```
/// use tower_agent_auth::{guard::Owner, testing};
///
/// let owner: Owner = testing::owner("alice");
/// assert_eq!(owner.account().label, "alice@example.com");
/// ```
#[must_use]
#[track_caller]
pub fn owner(account: impl IntoAccount) -> Owner {
    Owner::for_test(account.into_account())
}

/// What a test can't go on without.
#[expect(clippy::panic, reason = "documented: a test with a wrong argument fails where it has it")]
#[track_caller]
pub(super) fn expect<T, E: std::fmt::Display>(made: Result<T, E>, what: &str) -> T {
    match made {
        Ok(made) => made,
        Err(error) => panic!("{what} can't be used: {error}"),
    }
}
