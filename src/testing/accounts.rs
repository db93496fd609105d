use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use http::request::Parts;

use super::IntoAccount;
use crate::{
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    types::{authorization::Account, clock::Timestamp, id::AccountId},
};

/// Humans of a test's choice, as an [`Accounts`] for its service. Clones share their state.
///
/// Only for tests: whoever sends the cookie or the header is signed in.
///
/// ```
/// use tower_agent_auth::{accounts::Accounts, testing::TestAccounts};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let accounts = TestAccounts::by_cookie("user");
/// let (request, ()) = http::Request::get("/").header("cookie", "user=alice").body(())?.into_parts();
/// let human = accounts.current(&request).await?.expect("the cookie names a human");
/// assert_eq!(human.account().id.as_str(), "alice");
///
/// accounts.deactivate("alice");
/// assert!(!accounts.is_active(&human.account().id).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestAccounts {
    who: Who,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug)]
enum Who {
    Cookie(String),
    Header(String),
    Always(Account),
}

#[derive(Debug, Default)]
struct State {
    inactive: HashSet<AccountId>,
    since: Option<Timestamp>,
}

impl TestAccounts {
    /// The cookie with this name has the id of the human's account. Without it, nobody is signed in.
    #[must_use]
    pub fn by_cookie(name: &str) -> Self {
        Self::of(Who::Cookie(name.into()))
    }

    /// The header with this name has the id of the human's account. Without it, nobody is signed in.
    #[must_use]
    pub fn by_header(name: &str) -> Self {
        Self::of(Who::Header(name.into()))
    }

    /// This human is always signed in.
    #[must_use]
    #[track_caller]
    pub fn always(account: impl IntoAccount) -> Self {
        Self::of(Who::Always(account.into_account()))
    }

    fn of(who: Who) -> Self {
        Self { who, state: Arc::default() }
    }

    /// When the humans signed in last, from now on; by default the host does not say. To approve, a human must have signed
    /// in recently; see [`Lifetimes::sign_in`](crate::config::Lifetimes::sign_in).
    pub fn signed_in_at(&self, at: Timestamp) {
        self.with_state(|state| state.since = Some(at));
    }

    /// Agents may no longer act for the account: [`is_active`](Accounts::is_active) is `false` from now on.
    #[track_caller]
    pub fn deactivate(&self, account: impl IntoAccount) {
        let account = account.into_account().id;
        self.with_state(|state| state.inactive.insert(account));
    }

    /// Agents may act for the account again.
    #[track_caller]
    pub fn activate(&self, account: impl IntoAccount) {
        let account = account.into_account().id;
        self.with_state(|state| state.inactive.remove(&account));
    }

    fn with_state<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Accounts for TestAccounts {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let named = match &self.who {
            Who::Cookie(name) => cookie(&request.headers, name),
            Who::Header(name) => header(name),
            Who::Always(account) => return Ok(Some(self.signed_in(account.clone()))),
        };
        let Some(id) = named.and_then(|id| AccountId::new(id).ok()) else { return Ok(None) };
        let label = format!("{}@example.com", id.as_str());
        Ok(Some(self.signed_in(Account::new(id, label))))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/login?next={return_to}")
    }

    async fn is_active(&self, account: &AccountId) -> Result<bool, AccountsError> {
        Ok(self.with_state(|state| !state.inactive.contains(account)))
    }
}

impl TestAccounts {
    fn signed_in(&self, account: Account) -> SignedIn {
        let browser_session = format!("the browser of {}", account.id.as_str());
        let human = SignedIn::new(account, browser_session);
        match self.with_state(|state| state.since) {
            Some(since) => human.since(since),
            None => human,
        }
    }
}
