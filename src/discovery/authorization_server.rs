use serde_json::{Map, Value, json};

use super::{Metadata, Wire, auth_md};
use crate::Config;

/// Authorization server metadata (RFC 8414 section 2) with the `agent_auth` block. `response_types_supported` is
/// required, and empty because there is no authorization endpoint.
pub(super) fn render(config: &Config, wires: &[&dyn Wire]) -> Value {
    let mut metadata = Metadata { top: Map::new(), agent_auth: Map::new() };
    let top = &mut metadata.top;
    top.insert("issuer".into(), json!(config.issuer()));
    top.insert("resource".into(), json!(config.resource()));
    top.insert("authorization_servers".into(), json!([config.issuer()]));
    top.insert("scopes_supported".into(), json!(config.scopes().names()));
    top.insert("bearer_methods_supported".into(), json!(["header"]));
    top.insert("response_types_supported".into(), json!([]));
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
    metadata.agent_auth.insert("skill".into(), json!(config.url(auth_md::PATH)));
    for wire in wires {
        wire.describe(config, &mut metadata);
    }
    let Metadata { mut top, agent_auth } = metadata;
    top.insert("agent_auth".into(), Value::Object(agent_auth));
    Value::Object(top)
}
