//! The public endpoints: the documents that describe how an agent requests access, and the endpoints that they name.
//!
//! One layer serves them all: [`AgentAuth::endpoints`](crate::AgentAuth::endpoints). It forwards every other path to
//! the inner service unchanged. The documents are rendered once, from the same configuration as the endpoints, so they
//! never advertise a disabled endpoint.
//!
//! Documents and endpoints for agents need no cookie, so pages of any origin may use them (CORS). The pages for humans
//! are open to their own origin only. Put the layer outside a CORS layer of the service, which would answer preflights
//! by its own rules.
//!
//! It requires a Tokio runtime with time enabled: reading a body times out after ten seconds.
//!
//! | path | document |
//! |---|---|
//! | `/.well-known/oauth-protected-resource` and path-inserted | protected resource metadata (RFC 9728) |
//! | `/.well-known/oauth-authorization-server`, path-inserted for an issuer with a path | authorization server metadata (RFC 8414) |
//! | `/auth.md` below the issuer | the same in prose |
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_agent_auth::{AgentAuth, Config, store::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
//! #     "scopes": [{ "name": "projects:read", "description": "See your projects" }] }"#)?;
//! let auth = AgentAuth::builder(config).checks_only(MemoryStore::new()).build()?;
//! let service = ServiceBuilder::new().layer(auth.endpoints()).service(service_fn(
//!     async |_: Request<Full<Bytes>>| Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default())),
//! ));
//! let request = Request::get("/.well-known/oauth-protected-resource").body(Full::default())?;
//! let body = service.oneshot(request).await?.into_body().collect().await?.to_bytes();
//! let document: serde_json::Value = serde_json::from_slice(&body)?;
//! assert_eq!(document["resource"], "https://api.example.com");
//! # Ok(())
//! # }
//! ```

mod cors;
#[cfg(feature = "issuer")]
mod dialect;
mod document;
mod endpoint;
mod layer;
#[cfg(feature = "issuer")]
mod rate_limits;
mod route_table;
mod service;

pub use layer::EndpointsLayer;
pub use service::{Endpoints, ResponseFuture};

#[cfg(feature = "mcp")]
pub(crate) use cors::is_preflight;
#[cfg(feature = "issuer")]
pub(crate) use dialect::{Arrival, Arriving, CodeEntry, Context, Destination, Dialect, Handover, Turned};
pub(crate) use endpoint::{Endpoint, RateClass};
#[cfg(feature = "testing")]
pub(crate) use rate_limits::limits_by_source;
pub(crate) use route_table::{RouteTable, method_not_allowed};
pub(crate) use service::{BODY_TIME, MAX_BODY, Unreadable, refused_body, too_slow};
