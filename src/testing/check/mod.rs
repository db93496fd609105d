use std::{
    error::Error,
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower_service::Service;

use super::IssuedSession;
use crate::AgentAuth;

mod driver;
mod endpoints;
mod report;
mod routes;

use driver::{Answer, App, Driver, Nothing, host_of};
use endpoints::Endpoints;
use routes::{Kind, Named};

pub use report::{Finding, Misassembly, Report};

/// Checks how a service is put together around `auth`: it calls the service in this process, compares what agents and
/// browsers find with what this crate would answer alone, and reports what is missing, misplaced or changed.
///
/// It fetches every document, endpoint and page of this crate with requests that change nothing, follows the links of the
/// documents, and calls the routes that the test [names](Check::protected). Handlers run only where a guard is missing, or
/// where a [session](Check::session) lets the check pass.
///
/// `app` is the outermost service, with all its layers: an axum `Router`, tonic's `Routes`, or any Tower service that takes
/// bodies of all types. If it takes one type only, use [`check_with_body`].
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_agent_auth::{AgentAuth, Config, store::MemoryStore, testing::{self, Misassembly, TestAccounts}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
/// #     "scopes": [{ "name": "projects:read", "description": "See your projects" }] }"#)?;
/// # let auth = AgentAuth::builder(config)
/// #     .sessions(MemoryStore::new())
/// #     .accounts(TestAccounts::by_cookie("user"))
/// #     .build()?;
/// let routes = Router::<()>::new().route("/projects", get(async || "none").layer(auth.require("projects:read")));
///
/// let app = routes.clone().merge(auth.router());
/// let report = testing::check(&auth, app).protected("/projects").run().await;
/// assert!(report.is_ok(), "{report}");
///
/// let nested = Router::new().nest("/api", routes.merge(auth.router()));
/// let report = testing::check(&auth, nested).protected("/api/projects").run().await;
/// assert!(report.has(Misassembly::Nested), "{report}");
/// # Ok(())
/// # }
/// ```
pub fn check<S>(auth: &AgentAuth, app: S) -> Check<'_, S, fn(Bytes) -> Full<Bytes>>
where
    S: Service<Request<Full<Bytes>>>,
{
    check_with_body(auth, app, Full::new)
}

/// The same as [`check()`], for a service whose request body is made by `body`.
///
/// ```
/// use axum::{body::Body, response::Response};
/// use http::Request;
/// use tower::Layer;
/// use tower_agent_auth::{AgentAuth, testing::{self, Report}};
///
/// async fn answer(_: Request<Body>) -> Result<Response, std::convert::Infallible> {
///     Ok(Response::new(Body::from("none")))
/// }
///
/// async fn checked(auth: AgentAuth) -> Report {
///     let guarded = auth.require("projects:read").layer(tower::service_fn(answer));
///     let app = auth.endpoints().layer(guarded);
///     testing::check_with_body(&auth, app, Body::from).protected("/projects").run().await
/// }
/// ```
pub fn check_with_body<S, B, M>(auth: &AgentAuth, app: S, body: M) -> Check<'_, S, M>
where
    S: Service<Request<B>>,
    M: Fn(Bytes) -> B,
{
    Check {
        auth,
        driver: Driver { app, body, extensions: Extensions::new(), host: None },
        routes: Vec::new(),
        removed: None,
        session: None,
        origin: None,
    }
}

/// A check of how a service is put together. [`check()`] starts it, [`run`](Self::run) runs it.
#[must_use = "nothing is checked until it runs"]
pub struct Check<'a, S, M> {
    auth: &'a AgentAuth,
    driver: Driver<S, M>,
    routes: Vec<Named>,
    removed: Option<String>,
    session: Option<HeaderValue>,
    origin: Option<String>,
}

impl<S, M> Check<'_, S, M> {
    /// A route that agents need a session for. `route` is a path, or a method and a path, such as `POST /projects`; without
    /// a method it is GET. Name a real path, with its parameters filled in.
    pub fn protected(self, route: &str) -> Self {
        self.named(Kind::Protected, route)
    }

    /// A route for the account's owner only, named as for [`protected`](Self::protected).
    pub fn owner_only(self, route: &str) -> Self {
        self.named(Kind::OwnerOnly, route)
    }

    /// A gRPC method that agents need a session for, such as `/notes.Notes/Newest`.
    pub fn grpc(self, path: &str) -> Self {
        self.named(Kind::Grpc, &format!("POST {path}"))
    }

    fn named(mut self, kind: Kind, route: &str) -> Self {
        self.routes.push(Named::new(kind, route));
        self
    }

    /// A proxy in front removes this prefix, such as `/v1`, from the paths of the named routes. So a route `/projects` is
    /// below the resource `https://api.example.com/v1`.
    pub fn removed_prefix(mut self, prefix: &str) -> Self {
        self.removed = Some(prefix.trim_end_matches('/').into());
        self
    }

    /// A session with the scopes of all [protected](Self::protected) routes: the check also sends its token to them, where
    /// they are GET, and to [owner-only](Self::owner_only) routes. The handlers run.
    pub fn session(mut self, session: &IssuedSession) -> Self {
        self.session = Some(session.bearer());
        self
    }

    /// Pages of this origin, such as `https://inspector.example`, call the named routes by script. So the service's CORS
    /// layer must let them, and let them read refusals.
    pub fn cross_origin(mut self, origin: &str) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// What the server adds to the extensions of each request, such as axum's `ConnectInfo`. Then the check also finds out
    /// whether `auth` reads the client's address from it.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.driver.extensions.insert(value);
        self
    }
}

impl<S, M, B, R> Check<'_, S, M>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    M: Fn(Bytes) -> B,
    R: Body,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Runs the check. It requires a Tokio runtime with time enabled, and waits ten seconds at most for each response.
    pub async fn run(mut self) -> Report {
        let mut report = Report::default();
        let server = self.driver.extensions.clone();
        let config = self.auth.config();
        // Who only checks tokens is not at the issuer's host.
        let at = if self.auth.ceremony().is_some() { config.issuer() } else { config.resource() };
        self.driver.host = host_of(at);
        // The service must not warn that requests of the check have no address.
        if server.get::<SocketAddr>().is_none() {
            self.driver.extensions.insert(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)));
        }
        let own = Driver {
            app: self.auth.endpoints().serve(Nothing),
            body: Full::new as fn(Bytes) -> Full<Bytes>,
            extensions: self.driver.extensions.clone(),
            host: self.driver.host.clone(),
        };
        let unrouted = self.driver.get(UNROUTED).await.ok();
        let mut endpoints = Endpoints {
            auth: self.auth,
            own,
            server: Some(&server).filter(|server| !server.is_empty()),
            routes: &self.routes,
            unrouted: unrouted.as_ref(),
            report: &mut report,
        };
        endpoints.check(&mut self.driver).await;
        self.driver.host = host_of(config.resource());
        for route in &self.routes {
            let seen = routes::Context {
                config,
                removed: self.removed.as_deref(),
                session: self.session.as_ref(),
                origin: self.origin.as_deref(),
                unrouted: unrouted.as_ref(),
            };
            route.check(&seen, &mut self.driver, &mut report).await;
        }
        report
    }
}

/// A path that nothing serves, to learn what a fallback answers.
const UNROUTED: &str = "/tower-agent-auth-check/nothing-is-served-here";

/// Whether the service answered what it answers where it has no route.
fn is_unrouted(answer: &Answer, unrouted: Option<&Answer>) -> bool {
    unrouted.is_some_and(|unrouted| answer.status == unrouted.status && answer.body == unrouted.body)
}

impl<S, M> fmt::Debug for Check<'_, S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("routes", &self.routes).finish_non_exhaustive()
    }
}
