//! The documents that describe how an agent requests access. They are rendered once, from the configuration and the
//! dialects.

pub(crate) mod auth_md;
pub(crate) mod authorization_server;
pub(crate) mod protected_resource;
pub(crate) mod template;

pub(crate) use authorization_server::Metadata;
