use serde_json::{Map, Value, json};

use super::auth_md;
use crate::{Config, config::Resource};

/// The dialects' parts of the authorization server metadata.
#[derive(Default)]
pub(crate) struct Metadata {
    /// Top-level fields (RFC 8414 section 2).
    pub(crate) top: Map<String, Value>,
    /// The `agent_auth` block of auth.md.
    pub(crate) agent_auth: Map<String, Value>,
}

impl Metadata {
    /// Adds a way in which an agent may register.
    pub(crate) fn add_identity_type(&mut self, name: &str) {
        let types = self.agent_auth.entry("identity_types_supported").or_insert_with(|| json!([]));
        if let Value::Array(types) = types {
            types.push(json!(name));
        }
    }
}

/// Authorization server metadata (RFC 8414 section 2) with the `agent_auth` block. `response_types_supported` is
/// required, and without `grant_types_supported` a client assumes `authorization_code` and `implicit`. Both are empty unless
/// a dialect has an authorization or token endpoint.
pub(crate) fn render(config: &Config, from_dialects: Metadata) -> Value {
    let mut top = Map::new();
    top.insert("issuer".into(), json!(config.issuer()));
    top.insert("resource".into(), json!(config.resource()));
    top.insert("authorization_servers".into(), json!([config.issuer()]));
    top.insert("scopes_supported".into(), json!(config.scopes().names()));
    top.insert("bearer_methods_supported".into(), json!(["header"]));
    top.insert("response_types_supported".into(), json!([]));
    top.insert("grant_types_supported".into(), json!([]));
    // RFC 9728 section 4.
    if let resources @ [_, _, ..] = config.resources() {
        let ids: Vec<&str> = resources.iter().map(Resource::id).collect();
        top.insert("protected_resources".into(), json!(ids));
    }
    let links = config.links();
    let optional = [
        ("service_documentation", &links.documentation),
        ("op_policy_uri", &links.policy),
        ("op_tos_uri", &links.terms),
    ];
    for (field, link) in optional {
        if let Some(link) = link {
            top.insert(field.into(), json!(link));
        }
    }
    top.extend(from_dialects.top);
    let mut agent_auth = Map::from_iter([("skill".to_owned(), json!(config.url(auth_md::PATH)))]);
    agent_auth.extend(from_dialects.agent_auth);
    top.insert("agent_auth".into(), Value::Object(agent_auth));
    Value::Object(top)
}
