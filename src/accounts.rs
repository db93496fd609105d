//! The host's accounts: the trait with which the host service identifies its signed-in human.
//!
//! ```
//! use http::request::Parts;
//! use tower_agent_auth::accounts::{Accounts, AccountsError, SignedIn};
//! use tower_agent_auth::types::{id::AccountId, authorization::Account};
//!
//! /// A service whose reverse proxy has signed the human in already.
//! struct SingleSignOn;
//!
//! impl Accounts for SingleSignOn {
//!     async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
//!         let Some(user) = request.extensions.get::<String>() else { return Ok(None) };
//!         let id = AccountId::new(user).map_err(AccountsError::new)?;
//!         Ok(Some(SignedIn::new(Account::new(id, user.clone()), "the id of their browser session")))
//!     }
//!
//!     fn login_url(&self, return_to: &str) -> String {
//!         format!("/login?next={return_to}")
//!     }
//!
//!     async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
//!         Ok(true)
//!     }
//! }
//! ```

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc};

use http::{HeaderMap, Request, header::COOKIE, request::Parts};

use crate::types::{
    authorization::{Account, Client},
    clock::Timestamp,
    id::AccountId,
};

/// The host service's accounts.
pub trait Accounts: Send + Sync + 'static {
    /// The signed-in human who sent this browser request; `None` if nobody is signed in.
    ///
    /// Read the session cookie, never `Authorization`: an agent's credentials must not identify a human.
    ///
    /// # Errors
    /// When the host can't determine it. The response is 503.
    fn current(&self, request: &Parts) -> impl Future<Output = Result<Option<SignedIn>, AccountsError>> + Send;

    /// The URL at which a browser signs in and then returns to `return_to`. This crate builds `return_to` as a path on
    /// this service, perhaps with a query of one parameter. It needs no escaping in a URL query.
    fn login_url(&self, return_to: &str) -> String;

    /// The URL at which a signed-in human signs in again and then returns to `return_to`. It is used when the sign-in
    /// is too old to approve with. Default: [`login_url`](Self::login_url).
    fn step_up_url(&self, return_to: &str) -> String {
        self.login_url(return_to)
    }

    /// The URL at which a signed-in human chooses another account, by signing out or otherwise, and then returns to
    /// `return_to`. The approval page links to it from "Not you?". If `None`, the default, the page tells the human to
    /// sign out and to open the link again.
    fn switch_account_url(&self, return_to: &str) -> Option<String> {
        let _ = return_to;
        None
    }

    /// The language that the host's human has chosen, for the pages of this crate: a tag such as `de` (RFC 5646). If
    /// `None`, the default, or if the pages have no words in it, the browser's preference decides.
    fn language(&self, request: &Parts) -> Option<String> {
        let _ = request;
        None
    }

    /// Whether agents may still act for the account. Called when its human approves, and when a session is issued or
    /// refreshed.
    ///
    /// # Errors
    /// When the host can't determine it. The response is 503.
    fn is_active(&self, account: &AccountId) -> impl Future<Output = Result<bool, AccountsError>> + Send;

    /// Makes an account for an agent that nobody has claimed yet: the dialect `auth_md` with
    /// [`anonymous`](crate::config::AuthMd::anonymous). Such an account belongs to no human, and holds what the agent does
    /// until one claims it. Anybody can cause calls: the configured rate of authorization requests limits them by address.
    /// If `None`, the default, such agents are refused.
    ///
    /// # Errors
    /// When the host can't make one. The response is 503.
    fn provisional(&self, client: &Client) -> impl Future<Output = Result<Option<Account>, AccountsError>> + Send {
        let _ = client;
        async { Ok(None) }
    }

    /// Moves what belongs to a provisional account to the account of the human who has claimed its agent. Called before
    /// the agent acts for that account. It may be called again with the same accounts, if a failure follows.
    ///
    /// # Errors
    /// When the host can't do it now. The response is 503, and the agent tries again.
    fn merge(
        &self,
        provisional: &AccountId,
        claimed_by: &Account,
    ) -> impl Future<Output = Result<(), AccountsError>> + Send {
        let _ = (provisional, claimed_by);
        async { Ok(()) }
    }

    /// The account's plan, such as `free` or `pro`, for agents to show. Default: `None`.
    ///
    /// # Errors
    /// When the host can't determine it. The response to the agent is then the same as for `None`.
    fn plan(&self, account: &AccountId) -> impl Future<Output = Result<Option<String>, AccountsError>> + Send {
        let _ = account;
        async { Ok(None) }
    }
}

impl<A: Accounts> Accounts for Arc<A> {
    fn current(&self, request: &Parts) -> impl Future<Output = Result<Option<SignedIn>, AccountsError>> + Send {
        A::current(self, request)
    }

    fn login_url(&self, return_to: &str) -> String {
        A::login_url(self, return_to)
    }

    fn step_up_url(&self, return_to: &str) -> String {
        A::step_up_url(self, return_to)
    }

    fn switch_account_url(&self, return_to: &str) -> Option<String> {
        A::switch_account_url(self, return_to)
    }

    fn language(&self, request: &Parts) -> Option<String> {
        A::language(self, request)
    }

    fn is_active(&self, account: &AccountId) -> impl Future<Output = Result<bool, AccountsError>> + Send {
        A::is_active(self, account)
    }

    fn provisional(&self, client: &Client) -> impl Future<Output = Result<Option<Account>, AccountsError>> + Send {
        A::provisional(self, client)
    }

    fn merge(
        &self,
        provisional: &AccountId,
        claimed_by: &Account,
    ) -> impl Future<Output = Result<(), AccountsError>> + Send {
        A::merge(self, provisional, claimed_by)
    }

    fn plan(&self, account: &AccountId) -> impl Future<Output = Result<Option<String>, AccountsError>> + Send {
        A::plan(self, account)
    }
}

/// A signed-in human.
#[derive(Clone)]
pub struct SignedIn {
    pub(crate) account: Account,
    pub(crate) browser_session: String,
    pub(crate) since: Option<Timestamp>,
}

impl SignedIn {
    /// The account, and an identifier of the signed-in browser session, such as a digest of its cookie. The identifier
    /// must change when another account signs in. Forms and codes are bound to it, and it is never shown.
    #[must_use]
    pub fn new(account: Account, browser_session: impl Into<String>) -> Self {
        Self { account, browser_session: browser_session.into(), since: None }
    }

    /// When the human last authenticated to the host. To approve, this must be recent; see
    /// [`Lifetimes::sign_in`](crate::config::Lifetimes::sign_in).
    ///
    /// A date more than five minutes ahead counts as old, because a wrong clock wrote it. Take the date from the clock
    /// of the service, such as [`Ceremony::now`](crate::ceremony::Ceremony::now), so that a leap of the wall clock does
    /// no harm.
    #[must_use]
    pub const fn since(mut self, signed_in_at: Timestamp) -> Self {
        self.since = Some(signed_in_at);
        self
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").field("account", &self.account).finish_non_exhaustive()
    }
}

/// The host's accounts failed. The fault is the host's.
#[derive(thiserror::Error)]
#[error("the service's accounts are unavailable")]
pub struct AccountsError {
    source: Box<dyn Error + Send + Sync>,
}

crate::types::error_chain::debug_as_text!(AccountsError);

impl AccountsError {
    /// Creates the error with its cause.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: source.into() }
    }
}

/// The value of the cookie with this name, for an implementation of [`Accounts::current`].
///
/// Only this cookie has to be well formed. Other cookies may have any bytes: whatever else runs on the same host sets
/// them. `None` if the cookie is missing, if its value is not UTF-8, or if it is sent twice, because another domain may
/// have set one of the two.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::COOKIE};
/// use tower_agent_auth::accounts::cookie;
///
/// let mut headers = HeaderMap::new();
/// headers.append(COOKIE, HeaderValue::from_bytes(b"city=Z\xfcrich; login=abc")?);
/// assert_eq!(cookie(&headers, "login"), Some("abc"));
///
/// headers.append(COOKIE, HeaderValue::from_static("login=other"));
/// assert_eq!(cookie(&headers, "login"), None);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = lines.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        (&pair[..equals] == name.as_bytes()).then(|| &pair[equals + 1..])
    });
    match (values.next(), values.next()) {
        (Some(value), None) => std::str::from_utf8(value).ok(),
        _ => None,
    }
}

/// Copies the head of a request for [`Accounts::current`], which may outlive the borrow of the request.
pub(crate) fn head_of<B>(request: &Request<B>) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = request.method().clone();
    head.uri = request.uri().clone();
    head.version = request.version();
    head.headers = request.headers().clone();
    head.extensions = request.extensions().clone();
    head
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, AccountsError>> + Send + 'a>>;

/// [`Accounts`] as a trait object.
pub(crate) trait DynAccounts: Send + Sync {
    fn current(self: Arc<Self>, request: Parts) -> Answer<'static, Option<SignedIn>>;
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages send a browser to sign in"))]
    fn login_url(&self, return_to: &str) -> String;
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages send a browser to sign in"))]
    fn step_up_url(&self, return_to: &str) -> String;
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages send a browser to sign in"))]
    fn switch_account_url(&self, return_to: &str) -> Option<String>;
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages speak a language"))]
    fn language(&self, request: &Parts) -> Option<String>;
    fn is_active<'a>(&'a self, account: &'a AccountId) -> Answer<'a, bool>;
    fn provisional<'a>(&'a self, client: &'a Client) -> Answer<'a, Option<Account>>;
    fn merge<'a>(&'a self, provisional: &'a AccountId, claimed_by: &'a Account) -> Answer<'a, ()>;
    fn plan<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Option<String>>;
}

impl<A: Accounts> DynAccounts for A {
    fn current(self: Arc<Self>, request: Parts) -> Answer<'static, Option<SignedIn>> {
        Box::pin(async move { Accounts::current(&*self, &request).await })
    }

    fn login_url(&self, return_to: &str) -> String {
        Accounts::login_url(self, return_to)
    }

    fn step_up_url(&self, return_to: &str) -> String {
        Accounts::step_up_url(self, return_to)
    }

    fn switch_account_url(&self, return_to: &str) -> Option<String> {
        Accounts::switch_account_url(self, return_to)
    }

    fn language(&self, request: &Parts) -> Option<String> {
        Accounts::language(self, request)
    }

    fn is_active<'a>(&'a self, account: &'a AccountId) -> Answer<'a, bool> {
        Box::pin(Accounts::is_active(self, account))
    }

    fn provisional<'a>(&'a self, client: &'a Client) -> Answer<'a, Option<Account>> {
        Box::pin(Accounts::provisional(self, client))
    }

    fn merge<'a>(&'a self, provisional: &'a AccountId, claimed_by: &'a Account) -> Answer<'a, ()> {
        Box::pin(Accounts::merge(self, provisional, claimed_by))
    }

    fn plan<'a>(&'a self, account: &'a AccountId) -> Answer<'a, Option<String>> {
        Box::pin(Accounts::plan(self, account))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn b6_odd_cookies_beside_a_cookie_do_not_hide_it() {
        let read = |lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            cookie(&headers, "ours").map(str::to_owned)
        };
        let good: [&[&[u8]]; 10] = [
            &[b"ours=x"],
            &[b" a=1;ours=x ;b=2"],
            &["name=Zo\u{eb}; ours=x".as_bytes()],
            &[b"bad=\xff\xfe; ours=x; \xff=1"],
            &[b"ours=x", b"bad=\xff"],
            &[b"bad=\xff", b"ours=x"],
            &[b"=nameless; ours=x; =ours=y"],
            &[b"flag; ours=x; ours"],
            &[b";;; ours=x;; ;="],
            &[b"yours=y; ours2=z; OURS=w; ours=x"],
        ];
        for lines in good {
            assert_eq!(read(lines), Some("x".into()), "{lines:?}");
        }
        let none: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"ours"],
            &[b"ours=\xff"],
            &[b"ours=x; ours=x"],
            &[b"ours=x", b"ours=y"],
            &[b"ours=x; ours=\xff"],
            &[b"a=\"; ours2=x\""],
        ];
        for lines in none {
            assert_eq!(read(lines), None, "{lines:?}");
        }
        assert_eq!(read(&[b"ours=a=b"]), Some("a=b".into()));
        assert_eq!(read(&[b"ours="]), Some(String::new()));
    }
}
