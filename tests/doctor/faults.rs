//! Faults to plant in a service that does all right, and what the doctor must find.

use serde_json::{Value, json};

use crate::site::{AS, OPENID, PRM, PRM_ROOT, Reply, Routes};

/// A fault.
pub(crate) struct Fault {
    /// All that is found, if this is the only fault.
    pub(crate) ids: &'static [&'static str],
    pub(crate) plant: fn(&mut Routes),
    /// Whether it hides others, or others hide it.
    pub(crate) hides: bool,
}

/// A fault that can be planted beside others.
const fn open(ids: &'static [&'static str], plant: fn(&mut Routes)) -> Fault {
    Fault { ids, plant, hides: false }
}

/// A fault that hides others.
const fn hides(ids: &'static [&'static str], plant: fn(&mut Routes)) -> Fault {
    Fault { ids, plant, hides: true }
}

fn drop_member(document: &mut Value, name: &str) {
    document.as_object_mut().unwrap().remove(name).unwrap();
}

fn html() -> Reply {
    Reply::new(200, "text/html", "<!doctype html><title>App</title>")
}

pub(crate) const FAULTS: &[Fault] = &[
    // The challenge
    hides(&["challenge-none"], |site| site.refusal(|_| Reply::json(200, &json!({})))),
    hides(&["challenge-status"], |site| site.refusal(|_| Reply::json(403, &json!({})))),
    hides(&["challenge-status"], |site| site.refusal(|_| Reply::json(404, &json!({})))),
    hides(&["challenge-status"], |site| site.refusal(|_| Reply::json(500, &json!({})))),
    hides(&["challenge-redirect"], |site| {
        site.refusal(|_| Reply::new(302, "text/plain", "").with("location", "/login"));
    }),
    hides(&["challenge-missing"], |site| site.refusal(|reply| reply.without("www-authenticate"))),
    hides(&["challenge-malformed"], |site| site.challenge("Bearer resource_metadata=\"http://x")),
    hides(&["challenge-no-bearer"], |site| site.challenge("Basic realm=\"notes\"")),
    hides(&["challenge-no-metadata"], |site| site.challenge("Bearer scope=\"notes:read\"")),
    hides(&["challenge-relative"], |site| {
        site.challenge(&format!("Bearer resource_metadata=\"{PRM}\", scope=\"notes:read\""));
    }),
    hides(&["challenge-unquoted"], |site| {
        site.challenge(&format!("Bearer resource_metadata={}{PRM}, scope=\"notes:read\"", site.base));
    }),
    hides(&["challenge-origin"], |site| {
        let other = site.base.replace("127.0.0.1", "localhost");
        site.challenge(&format!("Bearer resource_metadata=\"{other}{PRM}\", scope=\"notes:read\""));
    }),
    open(
        &["challenge-not-first", "challenge-no-scope", "challenge-error", "challenge-method", "bad-token-error"],
        |site| {
            let named = format!("Bearer resource_metadata=\"{}{PRM}\"", site.base);
            site.refusal(|reply| {
                reply
                    .with("www-authenticate", "DPoP algs=\"ES256\"")
                    .and("www-authenticate", &format!("{named}, error=\"invalid_token\""))
                    .and("www-authenticate", "Bearer realm=\"old\"")
            });
            site.set("HEAD /mcp", Reply::json(405, &json!({})));
            site.change("TOKEN /mcp", |reply| reply.with("www-authenticate", &named));
        },
    ),
    hides(&["challenge-not-first"], |site| {
        let named = format!("Bearer resource_metadata=\"{}{PRM}\", scope=\"notes:read\"", site.base);
        site.challenge(&format!("Basic realm=\"notes\", {named}"));
    }),
    hides(&["challenge-scope-unknown"], |site| {
        site.challenge(&format!("Bearer resource_metadata=\"{}{PRM}\", scope=\"other:read\"", site.base));
    }),
    hides(&["challenge-method"], |site| site.set("GET /mcp", Reply::json(404, &json!({})))),
    hides(&["challenge-several", "challenge-no-metadata", "challenge-no-scope"], |site| {
        let second = format!("Bearer resource_metadata=\"{}{PRM}\", scope=\"notes:read\"", site.base);
        site.challenge(&format!("Bearer realm=\"old\", {second}"));
    }),
    hides(&["bad-token-accepted"], |site| site.set("TOKEN /mcp", Reply::json(200, &json!({})))),
    hides(&["bad-token-status"], |site| site.set("TOKEN /mcp", Reply::json(500, &json!({})))),
    // Documents
    open(&["document-media-type", "document-head", "document-cors", "document-cache"], |site| {
        site.change(&format!("GET {PRM_ROOT}"), |reply| {
            Reply::new(200, "text/plain", std::str::from_utf8(&reply.body).unwrap())
        });
        site.set(&format!("HEAD {PRM_ROOT}"), Reply::json(405, &json!({})));
    }),
    hides(&["document-cache"], |site| {
        site.change(&format!("GET {AS}"), |reply| reply.with("cache-control", "public, max-age=31536000, immutable"));
    }),
    hides(&["document-redirect"], |site| {
        site.rename(&format!("GET {AS}"), "GET /moved");
        site.set(&format!("GET {AS}"), Reply::new(301, "text/plain", "").with("location", "/moved"));
    }),
    hides(&["document-redirect", "prm-named-missing", "prm-well-known"], |site| {
        // To itself, for ever.
        site.set(&format!("GET {PRM}"), Reply::new(302, "text/plain", "").with("location", PRM));
    }),
    hides(&["document-guarded", "as-only-openid"], |site| {
        site.set(&format!("GET {AS}"), Reply::json(401, &json!({})));
    }),
    hides(&["document-status", "as-only-openid"], |site| {
        site.set(&format!("GET {AS}"), Reply::json(500, &json!({})));
    }),
    hides(&["document-spare"], |site| site.set(&format!("GET {PRM_ROOT}"), Reply::json(500, &json!({})))),
    hides(&["document-spare"], |site| site.set(&format!("GET {OPENID}"), html())),
    hides(&["document-html", "as-only-openid"], |site| site.set(&format!("GET {AS}"), html())),
    hides(&["document-html", "as-only-openid"], |site| {
        let page = "\u{feff}\n <!DOCTYPE html><title>App</title>";
        site.set(&format!("GET {AS}"), Reply::new(200, "application/json", page));
    }),
    hides(&["document-not-json", "as-only-openid"], |site| {
        site.set(&format!("GET {AS}"), Reply::new(200, "application/json", "{\"issuer\": }"));
    }),
    hides(&["document-spare"], |site| site.set(&format!("GET {PRM_ROOT}"), Reply::json(200, &json!([1])))),
    hides(&["document-too-large", "as-only-openid"], |site| {
        let large = json!({ "resource": "x".repeat(1024 * 1024) });
        site.set(&format!("GET {AS}"), Reply::json(200, &large));
    }),
    hides(&["not-http"], |site| {
        site.change(&format!("GET {PRM_ROOT}"), |reply| reply.with("content-encoding", "gzip"));
    }),
    // Protected resource metadata
    hides(&["prm-missing", "challenge-no-metadata"], |site| {
        [PRM, PRM_ROOT].iter().for_each(|path| site.remove(&format!("GET {path}")));
        site.challenge("Bearer scope=\"notes:read\"");
    }),
    hides(&["prm-named-missing"], |site| {
        site.challenge(&format!("Bearer resource_metadata=\"{}/nowhere\", scope=\"notes:read\"", site.base));
    }),
    hides(&["prm-well-known"], |site| {
        site.rename(&format!("GET {PRM}"), "GET /metadata");
        site.challenge(&format!("Bearer resource_metadata=\"{}/metadata\", scope=\"notes:read\"", site.base));
    }),
    open(&["prm-disagree"], |site| {
        site.resource_at(PRM_ROOT, |document| document["authorization_servers"] = json!(["https://other.example"]));
    }),
    hides(&["prm-resource-missing"], |site| site.resource(|document| drop_member(document, "resource"))),
    hides(&["prm-resource-missing"], |site| site.resource(|document| document["resource"] = json!("/mcp"))),
    hides(&["prm-resource-mismatch"], |site| {
        site.resource(|document| document["resource"] = json!("https://other.example/mcp"));
    }),
    hides(&["prm-resource-mismatch"], |site| {
        let other = format!("{}/mcp-v2", site.base);
        site.resource(|document| document["resource"] = json!(other));
    }),
    hides(&["prm-resource-inexact"], |site| {
        let origin = site.base.clone();
        site.resource(|document| document["resource"] = json!(origin));
    }),
    open(&["prm-resource-form"], |site| {
        let slash = format!("{}/mcp/", site.base);
        site.resource(|document| document["resource"] = json!(slash));
    }),
    hides(&["url-insecure"], |site| {
        site.resource(|document| document["resource"] = json!("http://api.example/mcp"));
    }),
    hides(&["prm-servers"], |site| site.resource(|document| document["authorization_servers"] = json!([]))),
    hides(&["prm-scopes"], |site| {
        site.resource(|document| document["scopes_supported"] = json!([]));
        site.challenge(&format!("Bearer resource_metadata=\"{}{PRM}\", scope=\"\"", site.base));
    }),
    open(&["prm-offline-access"], |site| {
        site.resource(|document| document["scopes_supported"] = json!(["notes:read", "offline_access"]));
    }),
    hides(&["prm-no-bearer-methods"], |site| {
        site.resource(|document| drop_member(document, "bearer_methods_supported"));
    }),
    open(&["prm-bearer-methods"], |site| {
        site.resource(|document| document["bearer_methods_supported"] = json!(["query"]));
    }),
    // Authorization server metadata
    hides(&["as-issuer-invalid"], |site| {
        site.resource(|document| document["authorization_servers"] = json!(["auth.example"]));
    }),
    hides(&["as-issuer-invalid"], |site| {
        let query = format!("{}?tenant=1", site.base);
        site.resource(|document| document["authorization_servers"] = json!([query]));
    }),
    hides(&["as-missing"], |site| [AS, OPENID].into_iter().for_each(|path| site.remove(&format!("GET {path}")))),
    hides(&["as-only-openid"], |site| site.remove(&format!("GET {AS}"))),
    hides(&["as-issuer-mismatch"], |site| {
        let slash = format!("{}/", site.base);
        site.server(|document| document["issuer"] = json!(slash));
    }),
    open(&["as-disagree"], |site| {
        let other = format!("{}/other", site.base);
        site.server_at(OPENID, |document| document["token_endpoint"] = json!(other));
    }),
    hides(&["as-token-endpoint"], |site| site.server(|document| drop_member(document, "token_endpoint"))),
    hides(&["as-authorization-endpoint"], |site| {
        site.server(|document| drop_member(document, "authorization_endpoint"));
    }),
    open(&["as-response-types"], |site| site.server(|document| drop_member(document, "response_types_supported"))),
    hides(&["as-grant-types", "agent-auth-grant"], |site| {
        site.server(|document| drop_member(document, "grant_types_supported"));
    }),
    open(&["as-grant-implicit", "as-no-refresh", "agent-auth-grant"], |site| {
        site.server(|document| document["grant_types_supported"] = json!(["authorization_code", "implicit"]));
    }),
    open(&["as-pkce", "as-pkce-plain"], |site| {
        site.server(|document| document["code_challenge_methods_supported"] = json!(["plain"]));
    }),
    open(&["as-iss"], |site| {
        site.server(|document| drop_member(document, "authorization_response_iss_parameter_supported"));
    }),
    hides(&["as-auth-methods"], |site| {
        site.server(|document| drop_member(document, "token_endpoint_auth_methods_supported"));
    }),
    open(&["as-auth-none"], |site| {
        site.server(|document| document["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]));
    }),
    hides(&["as-no-registration"], |site| {
        site.server(|document| {
            drop_member(document, "registration_endpoint");
            document["client_id_metadata_document_supported"] = json!(false);
        });
    }),
    open(&["as-registration-shared"], |site| {
        site.server(|document| document["registration_endpoint"] = document["agent_auth"]["register_uri"].clone());
    }),
    open(&["as-resource-unknown"], |site| {
        site.server(|document| document["protected_resources"] = json!(["https://other.example"]));
    }),
    hides(&["as-no-dcr"], |site| site.server(|document| drop_member(document, "registration_endpoint"))),
    open(&["as-no-cimd"], |site| {
        site.server(|document| drop_member(document, "client_id_metadata_document_supported"));
    }),
    hides(&["as-no-scopes"], |site| site.server(|document| drop_member(document, "scopes_supported"))),
    open(&["as-field-type"], |site| site.server(|document| document["scopes_supported"] = json!("notes:read"))),
    hides(&["as-no-revocation"], |site| site.server(|document| drop_member(document, "revocation_endpoint"))),
    hides(&["as-field-type", "as-iss"], |site| {
        site.server(|document| document["authorization_response_iss_parameter_supported"] = json!("true"));
    }),
    // Endpoints
    open(&["endpoint-relative"], |site| site.server(|document| document["jwks_uri"] = json!("/keys"))),
    hides(&["endpoint-relative"], |site| {
        let fragment = format!("{}/token#x", site.base);
        site.server(|document| document["token_endpoint"] = json!(fragment));
    }),
    hides(&["url-insecure"], |site| {
        site.server(|document| document["revocation_endpoint"] = json!("http://api.example/revoke"));
    }),
    hides(&["endpoint-origin"], |site| {
        let other = format!("{}/revoke", site.base.replace("127.0.0.1", "localhost"));
        site.server(|document| document["revocation_endpoint"] = json!(other));
    }),
    open(&["endpoint-not-found"], |site| site.remove("POST /revoke")),
    open(&["endpoint-broken"], |site| site.set("POST /introspect", Reply::json(500, &json!({ "error": "oops" })))),
    hides(&["endpoint-broken"], |site| site.set("GET /authorize", Reply::new(503, "text/html", "<html>"))),
    open(&["endpoint-html"], |site| site.set("POST /device", html())),
    open(&["endpoint-method"], |site| site.set("POST /agent/identity", Reply::json(405, &json!({ "error": "x" })))),
    open(&["endpoint-accepts"], |site| site.set("POST /agent/auth", Reply::json(201, &json!({})))),
    open(&["endpoint-not-json"], |site| site.set("POST /agent/auth/claim", Reply::new(400, "text/plain", "no"))),
    hides(&["endpoint-not-json"], |site| {
        // The command line of Agent Analytics shows it as [object Object].
        site.set("POST /token", Reply::json(400, &json!({ "error": { "code": "invalid_request" } })));
    }),
    open(&["endpoint-cors"], |site| site.remove("OPTIONS /token")),
    hides(&["endpoint-keys"], |site| site.set("GET /keys", Reply::json(200, &json!({})))),
    // The agent_auth block
    hides(&["agent-auth-missing"], |site| site.server(|document| drop_member(document, "agent_auth"))),
    hides(&["agent-auth-skill", "scanner-method"], |site| {
        site.server(|document| drop_member(&mut document["agent_auth"], "skill"));
    }),
    hides(&["agent-auth-no-register", "scanner-method", "scanner-canagentuse"], |site| {
        site.server(|document| {
            drop_member(&mut document["agent_auth"], "register_uri");
            drop_member(&mut document["agent_auth"], "identity_endpoint");
        });
    }),
    hides(&["agent-auth-no-claim"], |site| {
        site.server(|document| drop_member(&mut document["agent_auth"], "claim_endpoint"));
    }),
    hides(&["agent-auth-old-names"], |site| {
        site.server(|document| drop_member(&mut document["agent_auth"], "identity_endpoint"));
    }),
    hides(&["agent-auth-new-names", "scanner-method", "scanner-canagentuse"], |site| {
        site.server(|document| drop_member(&mut document["agent_auth"], "register_uri"));
    }),
    hides(&["agent-auth-types", "scanner-method"], |site| {
        site.server(|document| document["agent_auth"]["identity_types_supported"] = json!([]));
    }),
    open(&["agent-auth-assertion"], |site| {
        site.server(|document| {
            drop_member(&mut document["agent_auth"]["identity_assertion"], "assertion_types_supported");
        });
    }),
    open(&["agent-auth-unlisted"], |site| {
        site.server(|document| document["agent_auth"]["service_auth"] = json!({}));
    }),
    open(&["agent-auth-events"], |site| {
        site.server(|document| drop_member(&mut document["agent_auth"], "events_supported"));
    }),
    open(&["scanner-method"], |site| {
        site.server(|document| document["agent_auth"]["anonymous"] = json!({}));
        site.server(|document| document["agent_auth"]["identity_assertion"]["credential_types_supported"] = json!([]));
    }),
    open(&["scanner-canagentuse"], |site| {
        site.server(|document| drop_member(&mut document["agent_auth"], "supported_identity_types"));
    }),
    // auth.md
    hides(&["auth-md-missing"], |site| site.remove("GET /auth.md")),
    hides(&["auth-md-html"], |site| site.set("GET /auth.md", html())),
    open(&["auth-md-media-type"], |site| {
        site.change("GET /auth.md", |reply| reply.with("content-type", "text/plain; charset=utf-8"));
    }),
    open(&["auth-md-heading"], |site| site.auth_md(|text| text.replace("# auth.md:", "# Auth:"))),
    open(&["auth-md-dead-url"], |site| site.auth_md(|text| text.replace("/docs", "/old-docs"))),
    open(&["auth-md-unmentioned"], |site| site.auth_md(|text| text.replace("/agent/identity/claim", "/docs"))),
    // MCP
    open(&["mcp-preflight"], |site| site.set("OPTIONS /mcp", Reply::json(401, &json!({})))),
    open(&["mcp-expose"], |site| site.refusal(|reply| reply.without("access-control-expose-headers"))),
];
