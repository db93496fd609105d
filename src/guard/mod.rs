//! The guard: the layers that check an agent's token in front of a route.
//!
//! | class | no credentials | a good agent token | the signed-in human |
//! |---|---|---|---|
//! | [`require`](crate::AgentAuth::require) | 401 | passes with the scopes, else 403 | 401: a browser session is no token |
//! | [`optional`](crate::AgentAuth::optional) | passes | passes | passes as nobody |
//! | [`owner_only`](crate::AgentAuth::owner_only) | 401 | 403 `owner_only`, whatever its scopes | passes |
//! | [`policy`](crate::AgentAuth::policy) | as the class that it names | as the class that it names; 403 if it names none | as the class that it names |
//!
//! A gRPC call, which is a POST of that content type, is refused in gRPC: `UNAUTHENTICATED` for 401, `PERMISSION_DENIED` for 403, `INVALID_ARGUMENT` for 400 and
//! `UNAVAILABLE` for 503, with the challenge in the metadata.
//!
//! A bad token is refused in every class but `public`. A handler finds who called in the request's extensions: an
//! [`AgentSession`] or an [`Owner`]. Both come from a check that was passed, and from nowhere else:
//!
//! ```compile_fail
//! # fn forge(session: std::sync::Arc<tower_agent_auth::types::session::Session>) {
//! let forged = tower_agent_auth::guard::AgentSession { session };
//! # }
//! ```
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode, header::WWW_AUTHENTICATE};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_agent_auth::{AgentAuth, Config, guard::AgentSession, store::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
//! #     "scopes": [{ "name": "projects:read", "description": "See your projects" }] }"#)?;
//! let auth = AgentAuth::builder(config).checks_only(MemoryStore::new()).build()?;
//! let service = ServiceBuilder::new().layer(auth.require("projects:read")).service(service_fn(
//!     async |request: Request<Full<Bytes>>| {
//!         let session = request.extensions().get::<AgentSession>().expect("the guard let it pass");
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(session.account.label.clone())))
//!     },
//! ));
//! let refused = service.oneshot(Request::get("/projects").body(Full::default())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(
//!     refused.headers()[WWW_AUTHENTICATE],
//!     r#"Bearer resource_metadata="https://api.example.com/.well-known/oauth-protected-resource""#,
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # Why it was refused
//!
//! The body of a refusal [tells its cause](GuardBody::refusal) to the layer around the guard, at no cost to any request.
//! Routers such as axum's hide the type of a body; there, read it before the router does:
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::Response;
//! use tower::ServiceBuilder;
//! use tower_agent_auth::{AgentAuth, guard::GuardBody};
//!
//! # fn app(auth: &AgentAuth) -> Router {
//! let guard = ServiceBuilder::new()
//!     .map_response(|mut response: Response<GuardBody<Body>>| {
//!         if let Some(refusal) = response.body().refusal() {
//!             response.extensions_mut().insert(refusal);
//!         }
//!         response
//!     })
//!     .layer(auth.require("projects:read"));
//! Router::new().route("/projects", get(async || "none").layer(guard))
//! # }
//! ```
//!
//! # In which order to stack
//!
//! CORS outermost, so that a preflight is answered before it needs a token and refusals carry its headers; then
//! [`discovery`](crate::AgentAuth::endpoints); then routing; and the guards around the handlers, inside routing, so that
//! what is decided is the class of the handler that will run, not the spelling of a URL.

mod future;
mod grpc;
mod layer;
mod policy;
mod refusal;
mod service;
mod shared;

pub use crate::http::GuardBody;
pub use future::ResponseFuture;
pub use layer::GuardLayer;
pub use policy::Rule;
pub use refusal::Refusal;
pub use service::Guard;
pub use shared::{AgentSession, Owner};

pub(crate) use policy::{Kind, Requirement};
pub(crate) use shared::{Parts, Shared};
