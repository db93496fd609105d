//! The innermost ring: values and rules without I/O and without HTTP.
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | time, injected |
//! | [`random`] | randomness, injected |
//! | [`secret`] | tokens, what they look like, and the digests that stores keep |
//! | [`id`] | public identifiers |
//! | [`scope`] | scopes, sets of them, and the catalogue that a service offers |
//! | [`text`] | text that a stranger chose and a human will read |
//! | [`authorization`] | an agent's request for access and what may become of it |
//! | [`session`] | what a redeemed authorization request becomes |
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
pub mod clock;
pub mod id;
pub mod pkce;
pub mod random;
pub mod scope;
pub mod secret;
pub mod session;
pub mod text;
