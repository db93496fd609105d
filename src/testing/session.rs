use std::{fmt, panic::Location, sync::Arc, time::Duration};

use http::HeaderValue;

use super::{IntoAccount, account};
use crate::{
    AgentAuth,
    accounts::SignedIn,
    ceremony::{Approve, Ceremony, CeremonyError, Decision, Issued, Request},
    types::{
        authorization::Account,
        clock::{Clock, Timestamp},
        session::{Redeemer, SessionRecord},
        text::{HumanText, TextError},
    },
};

/// Starts a session for a test of a service behind its own guards. It takes the way of every session: an agent asks, a
/// human approves, the agent redeems. Only the browser is left out. So the host's store, accounts, notes and audit sink see
/// it like any other.
///
/// The session is for the resource of `auth`. For another one, pass [`auth.resource(…)`](AgentAuth::resource).
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use http::{Request, StatusCode};
/// use tower::ServiceExt;
/// use tower_agent_auth::{AgentAuth, Config, store::MemoryStore, testing::{self, TestAccounts}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
/// #     "scopes": [{ "name": "projects:read", "description": "See your projects" }] }"#)?;
/// let auth = AgentAuth::builder(config)
///     .sessions(MemoryStore::new())
///     .accounts(TestAccounts::by_cookie("user"))
///     .build()?;
/// let app: Router = Router::new()
///     .route("/projects", get(async || "none").layer(auth.require("projects:read")))
///     .merge(auth.router());
///
/// let issued = testing::session(&auth).account("alice").scopes("projects:read").issue().await;
/// let request = Request::get("/projects").header("authorization", issued.bearer()).body(Body::empty())?;
/// assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
pub fn session(auth: &AgentAuth) -> SessionBuilder<'_> {
    SessionBuilder {
        auth,
        account: None,
        scopes: Vec::new(),
        client: "Test Agent".into(),
        lasting: None,
        expired: false,
        revoked: false,
    }
}

/// Issues a session for a test.
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionBuilder<'a> {
    auth: &'a AgentAuth,
    account: Option<Account>,
    scopes: Vec<String>,
    client: String,
    lasting: Option<Duration>,
    expired: bool,
    revoked: bool,
}

impl SessionBuilder<'_> {
    /// The account that the agent acts for; by default `alice`.
    #[track_caller]
    pub fn account(mut self, account: impl IntoAccount) -> Self {
        self.account = Some(account.into_account());
        self
    }

    /// The scopes that the agent asks for and the human grants, separated by spaces; by default the catalogue's default
    /// scopes.
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
        self
    }

    /// What the client calls itself; by default `Test Agent`.
    pub fn client(mut self, name: &str) -> Self {
        self.client = name.into();
        self
    }

    /// How long the human lets the session last: one of [`Lifetimes::choices`](crate::config::Lifetimes::choices).
    pub const fn lasting(mut self, span: Duration) -> Self {
        self.lasting = Some(span);
        self
    }

    /// The access token expired a second ago: the session was issued by a clock that far in the past.
    pub const fn expired(mut self) -> Self {
        self.expired = true;
        self
    }

    /// The account's human has revoked the session.
    pub const fn revoked(mut self) -> Self {
        self.revoked = true;
        self
    }

    /// Issues the session.
    ///
    /// # Panics
    /// When [`try_issue`](Self::try_issue) returns an error. The message has the place of the call.
    #[expect(clippy::panic, reason = "documented: a test that can't go on fails")]
    #[track_caller]
    pub fn issue(self) -> impl Future<Output = IssuedSession> + Send {
        let caller = Location::caller();
        async move {
            match self.try_issue().await {
                Ok(issued) => issued,
                Err(error) => panic!("{caller}: no session was issued: {error:?}"),
            }
        }
    }

    /// Issues the session.
    ///
    /// # Errors
    /// When `auth` only checks tokens, or when the ceremony refuses: a scope that is not in the catalogue, an account that
    /// is not [active](crate::accounts::Accounts::is_active), or a store that fails.
    pub async fn try_issue(self) -> Result<IssuedSession, IssueError> {
        let ceremony = self.auth.ceremony().ok_or(IssueError::NoCeremony)?;
        let ceremony = if self.expired {
            let clock =
                Past { now: ceremony.now(), ago: self.auth.config().lifetimes().access + Duration::from_secs(1) };
            ceremony.with_clock(Arc::new(clock))
        } else {
            ceremony.clone()
        };
        let client = HumanText::new(&self.client)?;
        let resource = self.auth.own_resource().id().to_owned();
        let request = Request::by(client).scopes(self.scopes).resource(Some(resource));
        let account = self.account.unwrap_or_else(|| account("alice"));
        let issued = issue(&ceremony, request, account, self.lasting).await?;
        let session = &issued.record.session;
        if self.revoked {
            ceremony.revoke_session(&session.account.id, &session.id).await?;
        }
        Ok(IssuedSession { issued })
    }
}

async fn issue(
    ceremony: &Ceremony,
    request: Request,
    account: Account,
    lasting: Option<Duration>,
) -> Result<Issued, CeremonyError> {
    let human = SignedIn::new(account, "a test's browser").since(ceremony.now());
    let asked = ceremony.request(request).await?;
    let seen = ceremony.view(&asked.authorization.id, &human).await?;
    let approve = Approve { lasting, ..Approve::scopes(seen.authorization.requested) };
    ceremony.decide(&asked.authorization.id, &human, Decision::Approve(approve)).await?;
    ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await
}

/// A clock that stands still, some time before now.
struct Past {
    now: Timestamp,
    ago: Duration,
}

impl Clock for Past {
    fn now(&self) -> Timestamp {
        self.now.before(self.ago)
    }

    fn is_trusted(&self) -> bool {
        false
    }
}

/// A session of a test, with its secrets.
pub struct IssuedSession {
    issued: Issued,
}

impl IssuedSession {
    /// The value of `Authorization`: `Bearer aas_…`, marked as sensitive.
    #[must_use]
    pub fn bearer(&self) -> HeaderValue {
        let value = HeaderValue::try_from(format!("Bearer {}", self.access_token()));
        let mut value = super::caller::expect(value, "a token");
        value.set_sensitive(true);
        value
    }

    /// The access token.
    #[must_use]
    pub fn access_token(&self) -> &str {
        self.issued.access_token.expose()
    }

    /// The refresh token. It is of use only if a dialect refreshes sessions.
    #[must_use]
    pub fn refresh_token(&self) -> &str {
        self.issued.refresh_token.expose()
    }

    /// The session as it was stored when it was issued.
    #[must_use]
    pub const fn record(&self) -> &SessionRecord {
        &self.issued.record
    }
}

impl fmt::Debug for IssuedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedSession").field("record", &self.issued.record).finish_non_exhaustive()
    }
}

/// Why no session was issued for a test. The fault is the test's, or of the service's configuration.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The `AgentAuth` only checks tokens.
    #[error(
        "this `AgentAuth` only checks tokens: issue the session by an `AgentAuth` with `sessions(store)`, over the same \
         store and with the same resource"
    )]
    NoCeremony,
    /// The client's name can't be used.
    #[error("the client's name can't be used")]
    Client(#[from] TextError),
    /// The ceremony refused, or the store failed.
    #[error("the ceremony did not issue the session")]
    Ceremony(#[from] CeremonyError),
}

crate::types::error_chain::debug_as_text!(IssueError);
