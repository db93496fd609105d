//! The `agent_auth` block of auth.md, in its versions' names.

use crate::{
    catalogue::Check,
    examination::{Examination, Members, has, list, object, text},
    report::Row,
    server::Server,
};

const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
const VERIFIED_EMAIL: &str = "verified_email";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Methods that need the human, who hands something over at the claim endpoint.
const CLAIMED: [&str; 3] = ["anonymous", "service_auth", "user_claimed"];

/// Checks the block of an authorization server, if it has one.
pub(crate) fn check(examination: &mut Examination, server: &Server) {
    let Some(block) = object(&server.document, "agent_auth") else { return };
    let at = format!("{}#agent_auth", server.url);
    examination.report.add_failed(&at, rows(block, &server.document));
    let types = list(block, "identity_types_supported").unwrap_or_default();
    for method in ["anonymous", "service_auth", "identity_assertion", "user_claimed"] {
        if object(block, method).is_some() && !types.is_empty() && !types.contains(&method) {
            let text = format!("{method} has a block, and is not among the types");
            examination.report.add(Check::AgentAuthUnlisted, format!("{at}.{method}"), text);
        }
    }
}

fn rows(block: &Members, document: &Members) -> [Row; 11] {
    let names = |field| text(block, field).is_some();
    let (old, new) = (names("register_uri"), names("identity_endpoint"));
    let has_type = |name| has(block, "identity_types_supported", name);
    let claims = CLAIMED.into_iter().any(has_type) || has_verified_email(block);
    let has_claim = (!old || names("claim_uri")) && (!new || names("claim_endpoint"));
    let assertions = object(block, "identity_assertion").and_then(|block| list(block, "assertion_types_supported"));
    let lacks_assertions = assertions.is_none_or(|types| types.is_empty());
    let is_untyped = list(block, "identity_types_supported").is_none_or(|types| types.is_empty());
    let can_use = ["register_uri", "supported_identity_types", "revocation_url"];
    [
        (!names("skill"), Check::AgentAuthSkill, "no skill"),
        (!old && !new, Check::AgentAuthNoRegister, "neither register_uri nor identity_endpoint"),
        (
            (old || new) && claims && !has_claim,
            Check::AgentAuthNoClaim,
            "no claim_uri or claim_endpoint of that version",
        ),
        (old && !new, Check::AgentAuthOldNames, "register_uri without identity_endpoint"),
        (new && !old, Check::AgentAuthNewNames, "identity_endpoint without register_uri"),
        (is_untyped, Check::AgentAuthTypes, "identity_types_supported is missing, empty, or no list"),
        (
            has_type("identity_assertion") && lacks_assertions,
            Check::AgentAuthAssertion,
            "identity_assertion without assertion_types_supported",
        ),
        (
            new && !has(document, "grant_types_supported", JWT_BEARER),
            Check::AgentAuthGrant,
            "identity_endpoint, and no grant that redeems an assertion",
        ),
        (
            names("events_endpoint") && list(block, "events_supported").is_none_or(|events| events.is_empty()),
            Check::AgentAuthEvents,
            "events_endpoint without events_supported",
        ),
        (!passes_scanner(block), Check::ScannerMethod, "no method that the scanner calls complete"),
        (
            !can_use.into_iter().all(|field| block.contains_key(field)),
            Check::ScannerCanAgentUse,
            "not all of the names that this grader reads",
        ),
    ]
}

fn has_verified_email(block: &Members) -> bool {
    object(block, "identity_assertion").is_some_and(|block| has(block, "assertion_types_supported", VERIFIED_EMAIL))
}

/// Whether the block has one method that Cloudflare's scanner calls complete.
fn passes_scanner(block: &Members) -> bool {
    let is_complete = |method: &str, assertion: Option<&str>| {
        has(block, "identity_types_supported", method)
            && object(block, method).is_some_and(|its| {
                let credentials = list(its, "credential_types_supported").is_some_and(|types| !types.is_empty());
                credentials && assertion.is_none_or(|wanted| has(its, "assertion_types_supported", wanted))
            })
    };
    let claim = text(block, "claim_uri").is_some();
    text(block, "skill").is_some()
        && text(block, "register_uri").is_some()
        && (is_complete("identity_assertion", Some(ID_JAG))
            || claim && is_complete("identity_assertion", Some(VERIFIED_EMAIL))
            || claim && is_complete("anonymous", None))
}
