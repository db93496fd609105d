//! The dialects: wire formats that speak to the ceremony.
//!
//! A dialect translates, and does nothing else: it has no state, no rule and no store of its own. It contributes its part
//! of the authorization server metadata and its chapter of auth.md; nothing else knows that it exists.

use crate::{Config, config::Dialect, discovery::Wire};

mod agent_auth;
mod agent_sessions;
mod fields;

/// The wire formats that are on.
pub(crate) fn wires(config: &Config) -> Vec<&'static dyn Wire> {
    let wire = |dialect: &Dialect| -> &'static dyn Wire {
        match dialect {
            Dialect::AgentAuth => &agent_auth::AgentAuthWire,
            Dialect::AgentSessions => &agent_sessions::AgentSessionsWire,
        }
    };
    config.dialects().iter().map(wire).collect()
}
