//! Authorization server metadata (RFC 8414, OpenID Connect Discovery).

use serde_json::Value;
use url::Url;

use crate::{
    catalogue::Check,
    examination::{Examination, Members, has, list, object, text},
    report::Row,
    urls,
};

const OAUTH: &str = "oauth-authorization-server";
const OPENID: &str = "openid-configuration";

const LISTS: [&str; 5] = [
    "response_types_supported",
    "grant_types_supported",
    "scopes_supported",
    "code_challenge_methods_supported",
    "token_endpoint_auth_methods_supported",
];
const FLAGS: [&str; 2] = ["authorization_response_iss_parameter_supported", "client_id_metadata_document_supported"];
const SAME_EVERYWHERE: [&str; 4] = ["issuer", "authorization_endpoint", "token_endpoint", "registration_endpoint"];

/// The metadata of an authorization server, and where it was read.
pub(crate) struct Server {
    pub(crate) issuer: Url,
    pub(crate) url: String,
    pub(crate) document: Members,
}

/// Checks the metadata of an issuer. `None` if there is none. Unless the issuer is `named` by the resource, nobody misses
/// it.
pub(crate) fn check(examination: &mut Examination, written: &str, is_named: bool) -> Option<Server> {
    let target = examination.target.to_string();
    let issuer = examination.callable("the issuer", written, &target, Check::AsIssuerInvalid)?;
    if issuer.query().is_some() || issuer.fragment().is_some() {
        examination.report.add(Check::AsIssuerInvalid, written, "the issuer has a query or a fragment");
        return None;
    }
    let first = urls::well_known(OAUTH, &issuer);
    let mut places = vec![first.clone(), urls::well_known(OPENID, &issuer)];
    let below = urls::below(&issuer, &format!("/.well-known/{OPENID}"));
    if !places.contains(&below) {
        places.push(below);
    }
    let mut found: Vec<(String, Members)> = Vec::new();
    for place in places {
        let document = examination.document(&place, !found.is_empty());
        found.extend(document.map(|document| (place, document)));
    }
    if found.is_empty() {
        if is_named {
            examination.report.add(Check::AsMissing, &first, format!("no metadata of the issuer {written}"));
        }
        return None;
    }
    let (url, document) = found.remove(0);
    if url != first {
        examination.report.add(Check::AsOnlyOpenid, &first, format!("the metadata is only at {url}"));
    }
    for (other, its) in &found {
        for field in SAME_EVERYWHERE {
            if its.get(field) != document.get(field) {
                let shown = |document: &Members| document.get(field).unwrap_or(&Value::Null).to_string();
                let text = format!("{field} is {} here, {} at {url}", shown(its), shown(&document));
                examination.report.add(Check::AsDisagree, other, text);
            }
        }
    }
    match text(&document, "issuer") {
        Some(its) if its == written => {}
        // A guess says nothing about the slash.
        Some(its) if !is_named && its.trim_end_matches('/') == written.trim_end_matches('/') => {}
        its => {
            let text = format!("issuer is {:?}, the expected one is {written:?}", its.unwrap_or_default());
            examination.report.add(Check::AsIssuerMismatch, &url, text);
        }
    }
    check_fields(examination, &url, &document);
    Some(Server { issuer, url, document })
}

fn check_fields(examination: &mut Examination, url: &str, document: &Members) {
    for field in LISTS.into_iter().filter(|field| document.contains_key(*field)) {
        if list(document, field).is_none() {
            examination.report.add(Check::AsFieldType, url, format!("{field} is no list of texts"));
        }
    }
    for field in FLAGS {
        if document.get(field).is_some_and(|value| !value.is_boolean()) {
            examination.report.add(Check::AsFieldType, url, format!("{field} is neither true nor false"));
        }
    }
    let rows = rows(document, examination.is_mcp);
    examination.report.add_failed(url, rows);
}

/// A server that lists its resources must list this one, or a resource of somebody else may name it.
pub(crate) fn check_resource(examination: &mut Examination, server: &Server, identifier: &str) {
    if let Some(resources) = list(&server.document, "protected_resources") {
        if !resources.contains(&identifier) {
            let text = format!("{identifier} is not among {}", resources.join(", "));
            examination.report.add(Check::AsResourceUnknown, &server.url, text);
        }
    }
}

fn rows(document: &Members, is_mcp: bool) -> Vec<Row> {
    let lacks = |field| !document.contains_key(field);
    let is_on = |field| document.get(field) == Some(&Value::Bool(true));
    let grants = |grant| has(document, "grant_types_supported", grant);
    let (dcr, cimd) = (!lacks("registration_endpoint"), is_on("client_id_metadata_document_supported"));
    let registers = |field| {
        let block = object(document, "agent_auth");
        dcr && block.is_some_and(|block| block.get(field) == document.get("registration_endpoint"))
    };
    let is_shared = registers("register_uri") || registers("identity_endpoint");
    let has_code = is_mcp
        || grants("authorization_code")
        || has(document, "response_types_supported", "code")
        || !lacks("authorization_endpoint");
    let mut rows = vec![
        (lacks("response_types_supported"), Check::AsResponseTypes, "no response_types_supported"),
        (lacks("scopes_supported"), Check::AsNoScopes, "no scopes_supported"),
        (lacks("revocation_endpoint"), Check::AsNoRevocation, "no revocation_endpoint"),
        (lacks("grant_types_supported"), Check::AsGrantTypes, "no grant_types_supported"),
        (is_shared, Check::AsRegistrationShared, "registration_endpoint is where agent_auth registers agents"),
        (grants("implicit") || grants("password"), Check::AsGrantImplicit, "implicit or password is listed"),
    ];
    // A service may give access by auth.md alone.
    let uses_tokens = has_code || list(document, "grant_types_supported").is_some_and(|grants| !grants.is_empty());
    if uses_tokens {
        rows.push((lacks("token_endpoint"), Check::AsTokenEndpoint, "no token_endpoint"));
        let found = "no token_endpoint_auth_methods_supported";
        rows.push((lacks("token_endpoint_auth_methods_supported"), Check::AsAuthMethods, found));
    }
    if has_code {
        let challenges = |method| has(document, "code_challenge_methods_supported", method);
        let has_methods = !lacks("token_endpoint_auth_methods_supported");
        let lacks_none = has_methods && !has(document, "token_endpoint_auth_methods_supported", "none");
        let has_grants = !lacks("grant_types_supported");
        rows.extend([
            (lacks("authorization_endpoint"), Check::AsAuthorizationEndpoint, "no authorization_endpoint"),
            (!challenges("S256"), Check::AsPkce, "code_challenge_methods_supported without S256"),
            (challenges("plain"), Check::AsPkcePlain, "plain is listed"),
            (
                !is_on("authorization_response_iss_parameter_supported"),
                Check::AsIss,
                "authorization_response_iss_parameter_supported is missing or false",
            ),
            (lacks_none, Check::AsAuthNone, "token_endpoint_auth_methods_supported without none"),
            (has_grants && !grants("refresh_token"), Check::AsNoRefresh, "no grant refresh_token"),
            (!dcr && !cimd, Check::AsNoRegistration, "neither is offered: pre-registered clients only"),
            (!dcr && cimd, Check::AsNoDcr, "client metadata documents only"),
            (dcr && !cimd, Check::AsNoCimd, "registration only"),
        ]);
    }
    rows
}
