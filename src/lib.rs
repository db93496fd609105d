//! Tower layers that let AI agents ask a human for scoped, visible, revocable access to an HTTP API.
//!
//! A refused agent follows the challenge to the documents that this crate serves, which say how to request access. It
//! makes an authorization request, shows its human a link, and waits. The human signs in at the service, sees which
//! client requests which scopes, and approves all or some of them, or denies. The agent redeems the approved request
//! once for a session: an `aas_…` access token that it sends as a normal Bearer token. The human sees every session and
//! can revoke it. No account key is pasted into a chat, and an agent session is never an account-owner session.
//!
//! # A whole service
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_agent_auth::{AgentAuth, Config, guard::AgentSession, store::MemoryStore};
//! # use tower_agent_auth::accounts::{Accounts, AccountsError, SignedIn};
//! # use tower_agent_auth::types::id::AccountId;
//! # struct MyLogin;
//! # impl Accounts for MyLogin {
//! #     async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> { Ok(None) }
//! #     fn login_url(&self, return_to: &str) -> String { format!("/login?next={return_to}") }
//! #     async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> { Ok(true) }
//! # }
//!
//! fn app() -> Result<Router, Box<dyn std::error::Error>> {
//!     let config = Config::from_toml(r#"
//!         resource = "https://api.example.com"
//!         name = "Example Analytics"
//!
//!         [[scopes]]
//!         name = "projects:read"
//!         description = "See your projects"
//!         default = true
//!     "#)?;
//!     let auth = AgentAuth::builder(config)
//!         .sessions(MemoryStore::new())   // or SqliteStore, PostgresStore, RedisStore, your own
//!         .accounts(MyLogin)              // who is the human behind this browser request?
//!         .build()?;
//!     Ok(Router::new()
//!         .route("/projects", get(projects).layer(auth.require("projects:read")))
//!         .route("/billing", get(|| async { "nothing due" }).layer(auth.owner_only()))
//!         .merge(auth.router()))          // documents, ceremony endpoints and pages
//! }
//!
//! async fn projects(agent: AgentSession) -> String {
//!     format!("the projects of {}", agent.account.label)
//! }
//! # app().unwrap();
//! ```
//!
//! With bare hyper, the same guards wrap a `service_fn`, and the layer [`AgentAuth::endpoints`] replaces the router. The
//! handler finds the session in the request's extensions; see [`guard`] and `examples/hyper.rs`.
//!
//! The `guide` has short chapters: quick start, your login, scopes, the owner boundary, MCP, gRPC, proxies, versions.
//!
//! # Modules
//!
//! * [`config`]: every setting. [`accounts`]: the one trait that a host implements. [`store`]: where sessions are
//!   stored.
//! * [`guard`]: which requests pass and how others are refused, also beside auth that the service has already.
//!   [`endpoints`]: the public documents and endpoints.
//!   [`ceremony`]: how an authorization request becomes a session. [`admin`]: sessions of all accounts, for operators.
//! * [`client_metadata`]: OAuth clients whose id is the URL of a document about them. `id_jag`, with that feature:
//!   identity assertions of issuers that the service trusts.
//! * [`challenge`]: the `WWW-Authenticate` header, for servers and agents. [`audit`]: audit events. [`observe`]:
//!   metrics and spans. [`notify`]: notes to the account's human, such as mail.
//! * [`types`]: values and their rules, such as scopes, secrets, sessions and the clock. `axum`, with that feature: a
//!   router and extractors. `tonic`, with that feature: rules by gRPC method.
//!   `testing`, with that feature: sessions for tests, and a check of how a service is put together.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `issuer` | a service that issues sessions: the ceremony, its dialects and documents. Without it, a service only checks tokens, and compiles no templates, rate limiter or Unicode tables | yes |
//! | `toml` | `Config::from_toml` | yes |
//! | `axum` | a router and extractors for axum 0.8 | |
//! | `tonic` | gRPC services of tonic 0.14: scopes by service and method | |
//! | `mcp` | a guard for MCP servers: scopes by tool, resource, prompt and method | |
//! | `pages` | the human's approval and sessions pages | |
//! | `sqlite` | `SqliteStore`; needs Rust 1.94 | |
//! | `postgres` | `PostgresStore`; needs Rust 1.94 | |
//! | `redis` | `RedisStore` | |
//! | `cache` | `CachedStore` over any store | |
//! | `remote` | `RemoteSessions`, which asks the issuer's introspection endpoint; includes `cache` | |
//! | `cimd` | `client_metadata::HttpFetcher`: OAuth clients by client id metadata documents | |
//! | `id_jag` | `id_jag`: identity assertions of issuers that the service trusts; needs Rust 1.88, and `cimd` or a fetcher of your own | |
//! | `conformance` | `store::conformance`, for a store of your own | |
//! | `testing` | `testing`: sessions for tests in one line, and a check of how a service is put together | |
//! | `tracing` | `TracingAudit`, and [spans](observe) | |
//! | `metrics` | [counters and store latencies](observe) | |
//! | `full` | all of them | |
//!
//! Features add API and do not change behaviour, with two exceptions:
//!
//! * With `pages`, [`AgentAuth::endpoints`] also serves the pages. Without it, the host builds the approval page on
//!   [`ceremony`] and serves it at the path below the issuer that the approval link names.
//! * Without `issuer`, the settings of the ceremony are read, but not all are checked: `claim_methods`, the names of
//!   `oauth.clients` and `auth_md.template`. And names of clients are [read by fewer rules](types::text).
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "issuer"),
    allow(dead_code, unused_imports, reason = "a service that only checks tokens uses a part of the shared modules")
)]

pub mod accounts;
#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
pub mod admin;
pub mod audit;
mod auth;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod axum;
#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
pub mod ceremony;
#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
pub mod client_metadata;
pub mod config;
#[cfg(feature = "issuer")]
mod dialect;
mod documents;
pub mod endpoints;
pub mod guard;
#[cfg(all(doc, feature = "full"))]
pub mod guide;
mod http;
#[cfg(feature = "id_jag")]
#[cfg_attr(docsrs, doc(cfg(feature = "id_jag")))]
pub mod id_jag;
#[cfg(feature = "mcp")]
#[cfg_attr(docsrs, doc(cfg(feature = "mcp")))]
pub mod mcp;
#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
pub mod notify;
pub mod observe;
#[cfg(feature = "pages")]
pub mod pages;
pub mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
#[cfg(any(feature = "cimd", feature = "remote"))]
mod tls;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub mod tonic;
pub mod types;

pub use self::http::challenge;
pub use auth::{AgentAuth, AgentAuthBuilder};
pub use config::{Config, ConfigBuilder, ConfigError};
