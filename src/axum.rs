//! Extractors for axum 0.8.
//!
//! [`AgentSession`] and [`Owner`] extract the principal that a guard authenticated. Without one, the response is 401,
//! and the guard around the route adds the challenge. Without a guard around the route, it is 500, and names the
//! missing layer. Use `Option<AgentSession>` on routes under [`AgentAuth::optional`](crate::AgentAuth::optional).
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
//!         .layer(auth.endpoints())
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
//!         .layer(auth.endpoints()))
//! }
//! ```

use ::axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::Response,
};
use http::{StatusCode, request::Parts};

use crate::{
    guard::{AgentSession, NO_GUARD, Owner, is_guarded},
    http::error_reply,
    observe,
};

impl<S: Sync> FromRequestParts<S> for AgentSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| missing(parts, "this needs an agent's bearer token"))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for AgentSession {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
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
