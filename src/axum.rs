//! A router and extractors for axum 0.8.
//!
//! [`AgentAuth::router`] has the documents, the endpoints and the pages as routes of their own. Merge it last, so that
//! no layer of the service's own routes is around it.
//!
//! [`AgentSession`] and [`Owner`] extract the principal that a guard authenticated. Without one, the response is 401,
//! and the guard around the route adds the challenge. Without a guard around the route, it is 500, and names the
//! missing layer. Use `Option<AgentSession>` on routes under [`AgentAuth::optional`](crate::AgentAuth::optional); it too
//! is an error without a guard.
//!
//! ```
//! use axum::{Json, Router, routing::get};
//! use serde_json::{Value, json};
//! use tower_agent_auth::{AgentAuth, guard::{AgentSession, Owner}};
//!
//! async fn projects(agent: AgentSession) -> Json<Value> {
//!     Json(json!({ "account": agent.account.id.as_str(), "projects": [] }))
//! }
//!
//! async fn billing(owner: Owner) -> Json<Value> {
//!     Json(json!({ "account": owner.account().id.as_str(), "due": 0 }))
//! }
//!
//! fn app(auth: &AgentAuth) -> Router {
//!     Router::new()
//!         .route("/projects", get(projects).layer(auth.require("projects:read")))
//!         .route("/billing", get(billing).layer(auth.owner_only()))
//!         .merge(auth.router())
//! }
//! ```
//!
//! # Default deny
//!
//! On a route without a guard, the extensions hold no session, and these extractors are an error. To refuse agents there
//! before the handler runs, guard all routes with one [`policy`](crate::AgentAuth::policy), which axum runs after
//! routing. It returns the rule of each matched path:
//!
//! ```
//! use axum::{Router, extract::MatchedPath, routing::get};
//! use tower_agent_auth::{AgentAuth, ConfigError, guard::Rule};
//!
//! fn app(auth: &AgentAuth) -> Result<Router, ConfigError> {
//!     let read = auth.all_of("projects:read")?;
//!     let policy = auth.policy(move |request| match request.extensions.get::<MatchedPath>()?.as_str() {
//!         "/health" => Some(Rule::public()),
//!         "/projects/{id}" => Some(read.clone()),
//!         _ => None,
//!     });
//!     Ok(Router::new()
//!         .route("/health", get(|| async { "ok" }))
//!         .route("/projects/{id}", get(|| async { "a project" }))
//!         .route_layer(policy)
//!         .merge(auth.router()))
//! }
//! ```

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use ::axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::Response,
};
use http::{Request, StatusCode, request::Parts};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::{
    AgentAuth,
    guard::{AgentSession, NO_GUARD, Owner, is_guarded},
    http::error_reply,
    observe,
};

impl AgentAuth {
    /// The documents, the endpoints and the pages as a router of their own, to [merge](Router::merge) into the
    /// service's. It answers as [`endpoints`](Self::endpoints) does, and can't be put in a wrong place: its routes go
    /// before any fallback, and a route of the service with the same path is an error at the start. Requests of other
    /// methods are answered here, too.
    ///
    /// Merge it last: a layer of the outer router, such as CORS or a default-deny policy, is then around the service's
    /// own routes only. Do not nest it: the documents name the paths of the configuration. For a service behind a
    /// proxy that rewrites paths, set [`mount_path`](crate::ConfigBuilder::mount_path).
    ///
    /// # Panics
    /// `Router::merge` panics if both routers have a route with the same path.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let layer = self.endpoints();
        let service = layer.layer(Unrouted);
        let (exact, below) = layer.routes().paths();
        let below = below.map(|parent| format!("{parent}{{segment}}"));
        let paths = exact.map(str::to_owned).chain(below);
        // A segment of the configured paths may begin with a colon or an asterisk.
        // As services, not as method routers: axum would merge those with the service's, method by method.
        paths.fold(Router::new().without_v07_checks(), |router, path| router.route_service(&path, service.clone()))
    }
}

/// Responds to paths that the route table does not serve. The router has no such route.
#[derive(Clone, Debug)]
struct Unrouted;

impl Service<Request<Body>> for Unrouted {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}

impl<S: Sync> FromRequestParts<S> for AgentSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| missing(parts, "this needs an agent's bearer token"))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for AgentSession {
    type Rejection = Response;

    /// `None` where a guard found no agent. Where no guard looked, `None` would let an agent pass as nobody.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Response> {
        match parts.extensions.get::<Self>() {
            None if !is_guarded(&parts.extensions) => Err(missing(parts, "")),
            found => Ok(found.cloned()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Owner {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| missing(parts, "this needs the account's human, signed in"))
    }
}

/// The response if there is no principal: the caller has the wrong credentials, or the route has no guard.
fn missing(request: &Parts, text: &str) -> Response {
    let reply = if is_guarded(&request.extensions) {
        error_reply(StatusCode::UNAUTHORIZED, "unauthorized", text)
    } else {
        observe::of_mistake(NO_GUARD);
        error_reply(StatusCode::INTERNAL_SERVER_ERROR, "server_error", NO_GUARD)
    };
    reply.map(Body::from)
}
