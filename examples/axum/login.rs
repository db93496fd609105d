//! The demo's sign-in, and its [`Accounts`] implementation for the crate.
//!
//! The crate works with any sign-in. A service implements three methods: who is signed in, where to sign in, and
//! whether agents may still act for an account.

use std::{error::Error, io, sync::Arc};

use axum::{
    Form, Router,
    extract::{
        Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use minijinja::context;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tower_agent_auth::{
    Config,
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    types::{
        authorization::{Account, Client},
        id::AccountId,
    },
};
use tower_http::csrf::{self, CsrfLayer, ProtectionError};

use crate::{
    data::Data,
    error::ApiError,
    logging,
    logins::{self, LoginSecret, Logins, hexadecimal},
    pages::Pages,
};

/// The path of the sign-in page, below the issuer.
pub(crate) const PATH: &str = "/login";

const LONGEST_EMAIL: usize = 100;
/// The prefix of account ids that may sign in, but for which agents may not act.
const DISABLED: &str = "acct_disabled_";
/// The prefix of the ids of accounts of agents that nobody has claimed.
const UNCLAIMED: &str = "acct_unclaimed_";

pub(crate) type OwnPagesOnly = CsrfLayer<fn(ProtectionError) -> Response>;

/// The demo's accounts.
#[derive(Clone)]
pub(crate) struct Login {
    config: Config,
    logins: Arc<Logins>,
    pages: Arc<Pages>,
    data: Arc<Data>,
}

impl Accounts for Login {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let Some(secret) = self.secret(&request.headers) else { return Ok(None) };
        let found = self.logins.find(&secret.id()).map_err(AccountsError::new)?;
        let Some(logins::Login { email, since }) = found else { return Ok(None) };
        let id = account_id(&email).map_err(AccountsError::new)?;
        let human = SignedIn::new(Account::new(id, email), secret.id().to_string());
        // To approve, a sign-in must be recent.
        Ok(Some(human.since(since.into())))
    }

    fn login_url(&self, return_to: &str) -> String {
        let next: String = form_urlencoded::byte_serialize(return_to.as_bytes()).collect();
        format!("{}?next={next}", self.config.path(PATH))
    }

    /// The sign-in page takes another account at any time.
    fn switch_account_url(&self, return_to: &str) -> Option<String> {
        Some(self.login_url(return_to))
    }

    async fn is_active(&self, account: &AccountId) -> Result<bool, AccountsError> {
        Ok(!account.as_str().starts_with(DISABLED))
    }

    /// An agent that nobody has claimed has the seeded data. What it adds is lost unless a human claims it.
    async fn provisional(&self, client: &Client) -> Result<Option<Account>, AccountsError> {
        let secret = LoginSecret::generate().map_err(AccountsError::new)?;
        let id = AccountId::new(&format!("{UNCLAIMED}{}", &secret.expose()[..16])).map_err(AccountsError::new)?;
        Ok(Some(Account::new(id, format!("{} (not claimed)", client.name))))
    }

    async fn merge(&self, provisional: &AccountId, claimed_by: &Account) -> Result<(), AccountsError> {
        self.data.merge(provisional, &claimed_by.id);
        Ok(())
    }
}

impl Login {
    pub(crate) fn new(config: &Config, logins: Logins, data: Arc<Data>) -> Result<Self, minijinja::Error> {
        Ok(Self { config: config.clone(), logins: Arc::new(logins), pages: Arc::new(Pages::new(config)?), data })
    }

    /// The sign-in page and the start page.
    pub(crate) fn routes(self) -> Result<Router, csrf::ConfigError> {
        Ok(Router::new()
            .route("/", get(start))
            .route("/style.css", get(Pages::style))
            .route(PATH, get(show).post(sign_in))
            .route("/logout", post(sign_out))
            .layer(self.own_pages_only()?)
            .with_state(self))
    }

    /// Refuses requests that a page of another site causes, because the browser sends its cookies with them.
    pub(crate) fn own_pages_only(&self) -> Result<OwnPagesOnly, csrf::ConfigError> {
        let layer = CsrfLayer::new().add_trusted_origin(self.config.origin())?;
        Ok(layer.with_rejection_response(|_| ApiError::cross_site().into_response()))
    }

    fn email(&self, headers: &HeaderMap) -> io::Result<Option<String>> {
        let found = self.secret(headers).map_or(Ok(None), |secret| self.logins.find(&secret.id()));
        Ok(found?.map(|login| login.email))
    }

    /// The secret in the cookie.
    fn secret(&self, headers: &HeaderMap) -> Option<LoginSecret> {
        LoginSecret::parse(cookie(headers, self.cookie_name())?)
    }

    fn set_cookie(&self, value: &str, attributes: &str) -> [(HeaderName, String); 1] {
        let secure = if self.config.is_https() { "; Secure" } else { "" };
        let cookie = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{attributes}", self.cookie_name());
        [(header::SET_COOKIE, cookie)]
    }

    /// The cookie's name. Over TLS, it has the prefix that other domains can't set.
    fn cookie_name(&self) -> &'static str {
        if self.config.is_https() { "__Host-demo_session" } else { "demo_session" }
    }

    /// The destination after the sign-in: a path on this service, or the sessions page.
    fn destination(&self, next: &str) -> String {
        if is_local_path(next) { next.to_owned() } else { self.config.path(self.config.sessions_path()) }
    }

    fn form(
        &self,
        status: StatusCode,
        next: &str,
        email: &str,
        problem: &str,
        signed_in_as: Option<String>,
    ) -> Response {
        self.pages.show(status, "login.html", context! { next, email, problem, signed_in_as })
    }

    fn failed(&self, error: &(dyn Error + 'static)) -> Response {
        logging::failure("sign-in fails", error);
        let error = ApiError::unavailable();
        self.form(error.status(), "", "", error.message(), None)
    }
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
    #[serde(default)]
    next: String,
}

async fn start(State(login): State<Login>, headers: HeaderMap) -> Response {
    match login.email(&headers) {
        Ok(email) => login.pages.show(StatusCode::OK, "start.html", context! { signed_in_as => email }),
        Err(error) => login.failed(&error),
    }
}

async fn show(State(login): State<Login>, headers: HeaderMap, query: Result<Query<Next>, QueryRejection>) -> Response {
    let next = query.map_or_else(|_| String::new(), |Query(Next { next })| next);
    match login.email(&headers) {
        Ok(email) => login.form(StatusCode::OK, &next, "", "", email),
        Err(error) => login.failed(&error),
    }
}

async fn sign_in(
    State(login): State<Login>,
    headers: HeaderMap,
    form: Result<Form<Credentials>, FormRejection>,
) -> Response {
    let Credentials { email, password, next } = match form.map_err(ApiError::from) {
        Ok(Form(credentials)) => credentials,
        Err(error) => return login.form(error.status(), "", "", error.message(), None),
    };
    let email = email.trim().to_lowercase();
    let problem = match (is_email(&email), password.is_empty()) {
        (false, _) => "Type an e-mail address, such as you@example.com.",
        (true, true) => "Type a password. Any will do.",
        (true, false) => return welcome(&login, &headers, &email, &next).unwrap_or_else(|error| login.failed(&*error)),
    };
    login.form(StatusCode::BAD_REQUEST, &next, &email, problem, None)
}

/// Signs in with a new secret, even if the browser already has one.
fn welcome(login: &Login, headers: &HeaderMap, email: &str, next: &str) -> Result<Response, Box<dyn Error>> {
    if let Some(old) = login.secret(headers) {
        login.logins.remove(&old.id())?;
    }
    let secret = LoginSecret::generate()?;
    login.logins.add(&secret.id(), email)?;
    Ok((login.set_cookie(secret.expose(), ""), Redirect::to(&login.destination(next))).into_response())
}

async fn sign_out(State(login): State<Login>, headers: HeaderMap, form: Result<Form<Next>, FormRejection>) -> Response {
    let next = form.map_or_else(|_| String::new(), |Form(Next { next })| next);
    if let Some(Err(error)) = login.secret(&headers).map(|secret| login.logins.remove(&secret.id())) {
        return login.failed(&error);
    }
    (login.set_cookie("", "; Max-Age=0"), Redirect::to(&login.login_url(&next))).into_response()
}

/// An account id that is the same in all processes and after restarts. A real service has ids that do not depend on the
/// e-mail address.
fn account_id(email: &str) -> Result<AccountId, Box<dyn Error + Send + Sync>> {
    let kind = if email.starts_with("disabled") { DISABLED } else { "acct_" };
    let digest = hexadecimal(&Sha256::digest(email)[..8]);
    Ok(AccountId::new(&format!("{kind}{digest}"))?)
}

fn is_email(email: &str) -> bool {
    let (name, host) = email.split_once('@').unwrap_or_default();
    let plain = email.bytes().all(|byte| byte.is_ascii_graphic());
    plain && email.len() <= LONGEST_EMAIL && !name.is_empty() && !host.is_empty() && !host.contains('@')
}

/// Whether `next` is a path on this service. `//host` and `/\host` lead to other hosts, and control characters may too.
fn is_local_path(next: &str) -> bool {
    let mut bytes = next.bytes();
    bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && next.bytes().all(|b| b.is_ascii_graphic())
}
