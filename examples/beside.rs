//! Agents beside the auth that a service has already: API keys, JWT and cookie sessions, on the same routes.
//!
//! ```text
//! cargo run --example beside
//! ```
//!
//! `axum-login`, over `tower-sessions`, signs humans in. `MyLogin` reads it, so the same login approves agents. What agents
//! add to the service is little: the rules in `app`, one branch in `Caller`, and `MyLogin`. Users, keys and browser sessions
//! are in memory. Their one user's password and key are in this file: a service of yours has a database.
#![allow(clippy::print_stdout, reason = "it says where it is and what to try")]

use std::{collections::HashMap, error::Error, fmt, num::NonZeroU32, sync::Arc};

use aws_lc_rs::{digest, pbkdf2, rand};
use axum::{
    Form, Json, Router,
    extract::{FromRequestParts, Query, State},
    http::{StatusCode, header::WWW_AUTHENTICATE, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_agent_auth::{
    AgentAuth, Config,
    accounts::{Accounts, AccountsError, SignedIn},
    guard::AgentSession,
    store::MemoryStore,
    types::{
        authorization::Account,
        clock::{Clock, SystemClock, Timestamp},
        id::AccountId,
    },
};
use tower_http::csrf::CsrfLayer;
use tower_sessions::{MemoryStore as BrowserSessions, SessionManagerLayer, cookie::SameSite};

#[path = "common/server.rs"]
mod server;

pub(crate) const EMAIL: &str = "ada@example.com";
pub(crate) const PASSWORD: &str = "a password of the demo";
pub(crate) const API_KEY: &str = "key_demo";

/// PBKDF2 with HMAC-SHA-256 (RFC 8018), and so many rounds of it.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Not 127.0.0.1, where agents listen for the browser: it would send them the cookies of this service.
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    let (_, app) = app(&url, SystemClock::default())?;
    println!("listening on {url}\n\nTry: curl -i {url}/projects");
    println!("     curl -H 'X-Api-Key: {API_KEY}' {url}/projects\n     {url}/login, as {EMAIL} with {PASSWORD:?}");
    println!("     cargo run --example agent -- {url}/projects");
    server::serve(listener, server::Limits::default(), app, server::asked_to_stop()).await;
    Ok(())
}

/// The whole service.
pub(crate) fn app(url: &str, clock: impl Clock) -> Result<(AgentAuth, Router), Box<dyn Error>> {
    let users = Users(Arc::new(vec![User::new("u1", EMAIL, PASSWORD)?]));
    let config = Config::builder()
        .resource(url)
        .name("Projects")
        .scope("projects:read", "See your projects", |scope| scope.by_default())
        .scope("projects:write", "Create projects", |scope| scope)
        .build()?;
    let auth = AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(MyLogin(users.clone()));
    let auth = auth.clock(clock).build()?;

    // Agents by scope, everybody else by the service's own auth, which is `Caller`.
    let read = auth.require("projects:read").or_host_auth();
    let write = auth.require("projects:write").or_host_auth();
    // No agent at all.
    let no_agents = auth.owner_only().or_host_auth();
    let keys = HashMap::from([(digest_of(API_KEY), "u1".to_owned())]);
    let host = Host { keys, jwt: random()?, auth: auth.clone() };
    let api = Router::new()
        .route("/projects", get(projects).layer(read))
        .route("/projects", post(projects).layer(write))
        .route("/billing", get(billing).layer(no_agents.clone()))
        .route("/token", post(token).layer(no_agents))
        .route("/login", get(async |next: Query<Next>| login_page(StatusCode::OK, &next.next)).post(sign_in))
        .with_state(Arc::new(host));

    // Strict cookies would not come along when a human follows an agent's link. `Secure` needs TLS.
    let sessions = SessionManagerLayer::new(BrowserSessions::default()).with_same_site(SameSite::Lax);
    let sessions = sessions.with_secure(url.starts_with("https:"));
    let login = AuthManagerLayerBuilder::new(users, sessions).build();
    // The login is around the pages of the crate too, where `MyLogin` reads what it inserts.
    let own_pages_only = CsrfLayer::new().add_trusted_origin(url)?;
    Ok((auth.clone(), api.layer(own_pages_only).merge(auth.router()).layer(login)))
}

async fn projects(caller: Caller) -> Json<Value> {
    Json(json!({ "projects": [], "of": caller.user, "by": caller.by }))
}

async fn billing(caller: Caller) -> Json<Value> {
    Json(json!({ "due": 0, "of": caller.user, "by": caller.by }))
}

/// The service's own auth: who calls, and how that was proven. Without a caller, no handler runs.
pub(crate) struct Caller {
    user: String,
    by: &'static str,
}

impl FromRequestParts<Arc<Host>> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, host: &Arc<Host>) -> Result<Self, Response> {
        // The one addition for agents. The guard has checked token and scopes, and nobody else can insert a session.
        if let Some(agent) = parts.extensions.get::<AgentSession>() {
            return Ok(Self { user: agent.account.id.to_string(), by: "agent" });
        }
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let by_key = header("x-api-key").map(|key| ("key", host.keys.get(&digest_of(key)).cloned()));
        let by_jwt = || header("authorization")?.strip_prefix("Bearer ").map(|token| ("jwt", host.user_of(token)));
        let by_cookie = || {
            let session = parts.extensions.get::<AuthSession<Users>>();
            session.map(|session| ("cookie", session.user.as_ref().map(|user| user.id.clone())))
        };
        // 401, and no redirect to the login: an agent that knows no token learns from it where to ask.
        let realm = [(WWW_AUTHENTICATE, r#"Bearer realm="projects""#)];
        match by_key.or_else(by_jwt).or_else(by_cookie) {
            Some((by, Some(user))) => Ok(Self { user, by }),
            _ => Err((StatusCode::UNAUTHORIZED, realm, "sign in, or send a key or a token\n").into_response()),
        }
    }
}

/// What the service's own auth knows.
pub(crate) struct Host {
    /// The user of each API key, by the key's SHA-256.
    keys: HashMap<[u8; 32], String>,
    jwt: [u8; 32],
    auth: AgentAuth,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    sub: String,
    exp: u64,
}

impl Host {
    fn user_of(&self, token: &str) -> Option<String> {
        let (key, rules) = (DecodingKey::from_secret(&self.jwt), Validation::new(Algorithm::HS256));
        jsonwebtoken::decode::<Claims>(token, &key, &rules).ok().map(|token| token.claims.sub)
    }
}

/// A JWT for whoever calls, for 15 minutes.
async fn token(State(host): State<Arc<Host>>, caller: Caller) -> Result<String, StatusCode> {
    let claims = Claims { sub: caller.user, exp: jsonwebtoken::get_current_timestamp() + 900 };
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&host.jwt));
    token.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// The login of the service, for this crate: who signed in with axum-login.
struct MyLogin(Users);

impl Accounts for MyLogin {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let session = request.extensions.get::<AuthSession<Users>>();
        let session = session.ok_or_else(|| AccountsError::new("axum-login's layer is not around the pages"))?;
        let (Some(user), Some(cookie)) = (&session.user, session.session.id()) else { return Ok(None) };
        let account = Account::new(AccountId::new(&user.id).map_err(AccountsError::new)?, &user.email);
        // It changes with the browser session and with the user.
        let human = SignedIn::new(account, format!("{cookie} {}", user.id));
        let since: Option<i64> = session.session.get(SINCE).await.map_err(AccountsError::new)?;
        Ok(Some(human.since(Timestamp::from_millis(since.unwrap_or_default()))))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/login?next={return_to}")
    }

    async fn is_active(&self, account: &AccountId) -> Result<bool, AccountsError> {
        Ok(self.0.0.iter().any(|user| user.id == account.as_str()))
    }
}

/// When the human signed in, in milliseconds, in the browser session. To approve, it must be recent.
const SINCE: &str = "signed_in_at";

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct SignIn {
    email: String,
    password: String,
    next: String,
}

fn login_page(status: StatusCode, next: &str) -> Response {
    let next = next.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let page = format!(
        r#"<!doctype html><title>Sign in</title><form method="post" action="/login">
<input name="email" type="email" aria-label="E-mail" value="{EMAIL}">
<input name="password" type="password" aria-label="Password">
<input name="next" type="hidden" value="{next}"><button>Sign in</button></form>"#
    );
    (status, Html(page)).into_response()
}

async fn sign_in(
    State(host): State<Arc<Host>>,
    mut session: AuthSession<Users>,
    Form(form): Form<SignIn>,
) -> Result<Response, StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let next = Some(&*form.next).filter(|next| next.starts_with('/') && !next[1..].starts_with(['/', '\\']));
    let next = next.unwrap_or("/agent/sessions").to_owned();
    let Some(user) = session.authenticate((form.email, form.password)).await.map_err(failed)? else {
        return Ok(login_page(StatusCode::UNAUTHORIZED, &next));
    };
    session.login(&user).await.map_err(failed)?;
    let now = host.auth.ceremony().map(|ceremony| ceremony.now().as_millis());
    session.session.insert(SINCE, now).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Redirect::to(&next).into_response())
}

/// The users, for axum-login.
#[derive(Clone, Debug)]
pub(crate) struct Users(Arc<Vec<User>>);

#[derive(Clone)]
pub(crate) struct User {
    id: String,
    email: String,
    salt: [u8; 32],
    password: [u8; 32],
}

impl User {
    fn new(id: &str, email: &str, password: &str) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let (salt, mut derived) = (random()?, [0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut derived);
        Ok(Self { id: id.into(), email: email.into(), salt, password: derived })
    }

    fn has(&self, password: &str) -> bool {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &self.salt, password.as_bytes(), &self.password).is_ok()
    }
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.id.clone()
    }

    /// With another password, all browser sessions of the user end.
    fn session_auth_hash(&self) -> &[u8] {
        &self.password
    }
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = (String, String);
    type Error = tokio::task::JoinError;

    async fn authenticate(&self, (email, password): (String, String)) -> Result<Option<User>, Self::Error> {
        let user = self.0.iter().find(|user| user.email == email).cloned();
        // The rounds take a while, so not on a thread that serves others. A service with more users spends them on unknown ones too.
        tokio::task::spawn_blocking(move || user.filter(|user| user.has(&password))).await
    }

    async fn get_user(&self, id: &String) -> Result<Option<User>, Self::Error> {
        Ok(self.0.iter().find(|user| user.id == *id).cloned())
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

fn digest_of(text: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    digest
}

fn random() -> Result<[u8; 32], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}
