//! The documents that tell an agent how to ask: rendered once, from the configuration and from what each dialect adds.

pub(crate) mod auth_md;
pub(crate) mod authorization_server;
pub(crate) mod protected_resource;

pub(crate) use authorization_server::Metadata;
