//! The guard: layers that check an agent's token in front of a route.
//!
//! | rule | no credentials | a valid agent token | the signed-in human |
//! |---|---|---|---|
//! | [`require`](crate::AgentAuth::require) | 401 | passes with the scopes, else 403 | 401: a browser session is not a token |
//! | [`optional`](crate::AgentAuth::optional) | passes | passes | passes without a principal |
//! | [`owner_only`](crate::AgentAuth::owner_only) | 401 | 403 `owner_only`, whatever its scopes | passes |
//! | [`policy`](crate::AgentAuth::policy) | as the rule that it returns | as the rule that it returns; 403 for `None` | as the rule that it returns |
//! | `mcp` (feature `mcp`) | 401 | passes with the scopes of its MCP operation, else 403 | 401 |
//! | any of them with [`or_host_auth`](Rule::or_host_auth) | left to the service's own auth | as without it | left to the service's own auth |
//!
//! On a route that serves gRPC by [`GuardLayer::grpc`], a gRPC call (a POST with a gRPC content type) is refused with a
//! gRPC status: `UNAUTHENTICATED` for 401, `PERMISSION_DENIED` for 403, `INVALID_ARGUMENT` for 400 and `UNAVAILABLE` for
//! 503. The metadata contains the challenge.
//!
//! Every rule except [`public`](Rule::public) refuses a bad token. If the inner service answers 401, the guard adds its
//! challenge, before those of the service. A handler finds the caller in the request's
//! extensions: an [`AgentSession`] or an [`Owner`]. Only a guard creates them, and a test with the feature `testing`:
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
//!         let session = request.extensions().get::<AgentSession>().expect("the guard inserts it");
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(session.account.label.clone())))
//!     },
//! ));
//! let refused = service.oneshot(Request::get("/projects").body(Full::default())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(
//!     refused.headers()[WWW_AUTHENTICATE],
//!     r#"Bearer resource_metadata="https://api.example.com/.well-known/oauth-protected-resource", scope="projects:read""#,
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # Caches
//!
//! A response of a guarded route is for one caller. Where the handler sets no `Cache-Control`, the guard adds
//! `private`, on owner-only routes `no-store`. Where the handler sets it, the guard adds `Vary: Authorization`, on
//! owner-only routes with `Cookie`, unless `Vary` names `Authorization`.
//!
//! # Streams
//!
//! A guard checks a session before the handler runs. A long response goes on after the session was revoked, unless the
//! route chooses otherwise with [`GuardLayer::end_with_session`].
//!
//! # Refusals
//!
//! The extensions of a refusal's response contain the [`Refusal`], for layers around the guard:
//!
//! ```
//! use axum::{Router, response::Response, routing::get};
//! use tower::ServiceBuilder;
//! use tower_agent_auth::{AgentAuth, guard::Refusal};
//!
//! # fn app(auth: &AgentAuth) -> Router {
//! let layers = ServiceBuilder::new()
//!     .map_response(|response: Response| {
//!         if let Some(refusal) = response.extensions().get::<Refusal>() {
//!             println!("refused: {}", refusal.as_str());
//!         }
//!         response
//!     });
//! Router::new().route("/projects", get(async || "none")).layer(auth.require("projects:read")).layer(layers)
//! # }
//! ```
//!
//! # Order of layers
//!
//! From the outside in: [`endpoints`](crate::AgentAuth::endpoints), which have CORS rules of their own; the service's CORS
//! layer, so that it handles preflights and adds its headers to refusals; routing; guards around the handlers. Inside
//! routing, a guard's rule depends on the handler that will run, not on the spelling of a URL.
//!
#![doc = include_str!("../../docs/already-have-auth.md")]

mod calls;
mod check;
mod future;
mod grpc;
mod layer;
mod policy;
mod principal;
mod refusal;
mod response;
mod service;
mod session_end;

pub use crate::http::GuardBody;
pub use calls::{Call, CallOutcome, CallRule, CallSink};
#[cfg(feature = "mcp")]
pub(crate) use check::LateCheck;
pub(crate) use check::{Parts, Shared};
pub use future::ResponseFuture;
pub use layer::GuardLayer;
pub use policy::Rule;
#[cfg(any(feature = "axum", feature = "testing", feature = "tonic"))]
pub(crate) use principal::NO_GUARD;
#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) use principal::is_guarded;
pub use principal::{AgentSession, Owner};
pub use refusal::Refusal;
pub use service::Guard;
pub use session_end::{EndWithSession, SessionBody, SessionEnded, SessionGuardLayer, SessionResponseFuture};
