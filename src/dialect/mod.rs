//! The dialects: wire formats that speak to the ceremony.
//!
//! A dialect translates, and does nothing else: it has no state, no rule and no store of its own. It contributes its part
//! of the authorization server metadata and its chapter of auth.md; nothing else knows that it exists.

use std::sync::Arc;

use crate::{
    Config,
    config::Dialect,
    core::id::RegistrationId,
    discovery::{Endpoint, Site, authorization_server::Metadata},
};

mod agent_auth;
mod fields;

/// Where a human decides, below the issuer: one more segment, the registration's id.
pub(crate) const APPROVAL_PATH: &str = "/agent/auth/approve/";

/// The approval URL of a registration. It holds no secret.
pub(crate) fn approval_url(config: &Config, id: &RegistrationId) -> String {
    config.url(&format!("{APPROVAL_PATH}{id}"))
}

/// A wire format.
pub(crate) trait Wire {
    /// What it serves, by path below the issuer.
    fn endpoints(&self, site: &Arc<Site>) -> Vec<(&'static str, Arc<dyn Endpoint>)>;

    /// Its part of the authorization server metadata.
    fn describe(&self, config: &Config, metadata: &mut Metadata);

    /// Its chapter of auth.md.
    fn chapter(&self, config: &Config) -> Result<String, minijinja::Error>;
}

/// The wire formats that are on.
pub(crate) fn wires(config: &Config) -> Vec<&'static dyn Wire> {
    let wire = |dialect: &Dialect| -> &'static dyn Wire {
        match dialect {
            Dialect::AgentAuth => &agent_auth::AgentAuthWire,
        }
    };
    config.dialects().iter().map(wire).collect()
}
