//! The documents that describe how an agent requests access. They are rendered once, from the configuration and the
//! dialects.

#[cfg(feature = "issuer")]
pub(crate) mod auth_md;
#[cfg(feature = "issuer")]
pub(crate) mod authorization_server;
pub(crate) mod protected_resource;
#[cfg(feature = "issuer")]
pub(crate) mod template;

#[cfg(feature = "issuer")]
pub(crate) use authorization_server::Metadata;
