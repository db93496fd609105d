use serde_json::{Value, json};

use crate::{Config, config::Resource};

/// Protected resource metadata (RFC 9728 section 2).
pub(crate) fn render(config: &Config, resource: &Resource) -> Value {
    let mut document = json!({
        "resource": resource.id(),
        "authorization_servers": [config.issuer()],
        "scopes_supported": resource.scopes().names(),
        "bearer_methods_supported": ["header"],
        "resource_name": resource.name(),
    });
    let links = config.links();
    let optional = [
        ("resource_documentation", &links.documentation),
        ("resource_policy_uri", &links.policy),
        ("resource_tos_uri", &links.terms),
    ];
    for (field, link) in optional {
        if let Some(link) = link {
            document[field] = json!(link);
        }
    }
    document
}
