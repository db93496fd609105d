//! Core types and rules, without I/O and without HTTP.
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | injected time |
//! | [`random`] | injected randomness |
//! | [`secret`] | tokens, their format, and the digests that stores keep |
//! | [`id`] | public identifiers |
//! | [`scope`] | scopes, scope sets, and a service's scope catalogue |
//! | [`text`] | untrusted text that a human reads |
//! | [`phrase`] | the words by which a human recognises the request of their agent |
//! | [`authorization`] | an agent's request for access and its state machine |
//! | [`redirect_uri`] | where a browser takes an OAuth client's authorization code |
//! | [`session`] | the result of a redeemed authorization request |
//! | [`client`] | an OAuth client that registered itself |
//! | [`identity`] | a human as another issuer knows them |
//!
//! ```
//! use tower_agent_auth::types::{random::OsRandom, secret::{Access, Prefix}};
//!
//! let prefix = Prefix::<Access>::new("aas_")?;
//! let token = prefix.generate(&OsRandom)?;
//! assert!(token.expose().starts_with("aas_"));
//! assert_eq!(format!("{token:?}"), "Secret<access token>([redacted])");
//! assert_eq!(prefix.digest(token.expose().as_bytes()), Some(token.digest()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod authorization;
pub mod callback;
pub mod client;
pub mod clock;
pub(crate) mod error_chain;
pub mod id;
pub mod identity;
pub mod phrase;
pub mod pkce;
pub mod random;
pub mod redirect_uri;
pub mod scope;
pub mod secret;
pub mod session;
pub mod text;
