//! The endpoints that the metadata names: each is asked once, in a way that a right service refuses. Nothing is created.

use http::{HeaderName, Method, StatusCode, header};
use serde_json::Value;

use crate::{
    catalogue::Check,
    examination::{Examination, Members, object, text},
    fetch::Answer,
    server::Server,
    urls,
};

/// How an endpoint is asked.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Probe {
    /// POST of a form without a parameter.
    Form,
    /// POST of what is no JSON, so that no parser finds a request in it.
    Json,
    /// POST of an empty security event token.
    Event,
    /// GET of a page for humans, without a parameter.
    Page,
    /// GET of a list that needs a token.
    Get,
    /// GET of a public key set.
    Keys,
}

/// Members of the metadata that are endpoints.
const OAUTH: [(&str, Probe); 8] = [
    ("authorization_endpoint", Probe::Page),
    ("token_endpoint", Probe::Form),
    ("registration_endpoint", Probe::Json),
    ("revocation_endpoint", Probe::Form),
    ("introspection_endpoint", Probe::Form),
    ("device_authorization_endpoint", Probe::Form),
    ("pushed_authorization_request_endpoint", Probe::Form),
    ("jwks_uri", Probe::Keys),
];
/// Members of `agent_auth` that are endpoints: of auth.md v0.1, then of v0.2 and later.
const AGENT_AUTH: [(&str, Probe); 7] = [
    ("register_uri", Probe::Json),
    ("claim_uri", Probe::Json),
    ("claim_complete_uri", Probe::Json),
    ("revocation_uri", Probe::Json),
    ("identity_endpoint", Probe::Json),
    ("claim_endpoint", Probe::Json),
    ("events_endpoint", Probe::Event),
];
/// Members of `agent_auth.agent_sessions` that are endpoints (Agent Analytics).
const AGENT_SESSIONS: [(&str, Probe); 6] = [
    ("start_uri", Probe::Json),
    ("poll_uri", Probe::Json),
    ("exchange_uri", Probe::Json),
    ("refresh_uri", Probe::Json),
    ("revoke_uri", Probe::Json),
    ("sessions_uri", Probe::Get),
];

/// Asks each endpoint once.
pub(crate) fn check(examination: &mut Examination, server: &Server) {
    let document = &server.document;
    let nothing = Members::new();
    let agent_auth = object(document, "agent_auth").unwrap_or(&nothing);
    let sessions = object(agent_auth, "agent_sessions").unwrap_or(&nothing);
    let mut asked: Vec<&str> = Vec::new();
    for (members, fields) in [(document, &OAUTH[..]), (agent_auth, &AGENT_AUTH), (sessions, &AGENT_SESSIONS)] {
        for (field, probe) in fields {
            let Some(value) = members.get(*field) else { continue };
            let written = value.as_str().unwrap_or_default();
            if !asked.contains(&written) {
                asked.push(written);
                ask(examination, server, field, written, *probe);
            }
        }
    }
    if !asked.is_empty() {
        examination.report.looked_at(format!("{} endpoints that {} names", asked.len(), server.url));
    }
    if let Some(token) = text(document, "token_endpoint") {
        check_preflight(examination, token);
    }
}

fn ask(examination: &mut Examination, server: &Server, field: &str, written: &str, probe: Probe) {
    let at = format!("{}#{field}", server.url);
    let Some(url) = examination.callable(field, written, &at, Check::EndpointRelative) else { return };
    if url.fragment().is_some() {
        return examination.report.add(Check::EndpointRelative, at, format!("{field} is {written}"));
    }
    if url.origin() != server.issuer.origin() {
        let text = format!("{field} is at {}, the issuer at {}", urls::origin(&url), urls::origin(&server.issuer));
        examination.report.add(Check::EndpointOrigin, written, text);
    }
    let (method, media_type, body) = match probe {
        Probe::Form => (Method::POST, "application/x-www-form-urlencoded", ""),
        Probe::Json => (Method::POST, "application/json", "["),
        Probe::Event => (Method::POST, "application/secevent+jwt", ""),
        Probe::Page | Probe::Get | Probe::Keys => (Method::GET, "", ""),
    };
    let mut headers: Vec<(HeaderName, &str)> = Vec::new();
    if method == Method::POST {
        headers.push((header::CONTENT_TYPE, media_type));
        headers.push((header::ACCEPT, "application/json"));
    }
    match examination.client.send(method, written, &headers, body) {
        Ok(answer) => judge(examination, field, written, probe, &answer),
        // An endpoint that limits rates is there.
        Err(problem) if problem.check == Check::Unavailable => {}
        Err(problem) => examination.problem(written, &problem),
    }
}

fn judge(examination: &mut Examination, field: &str, url: &str, probe: Probe, answer: &Answer) {
    let found = format!("{field} answers {}", answer.summary());
    let posts = matches!(probe, Probe::Form | Probe::Json | Probe::Event);
    let check = match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Some(Check::EndpointNotFound),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED if posts => Some(Check::EndpointMethod),
        status if status.is_server_error() => Some(Check::EndpointBroken),
        // A page for humans may be anything else.
        _ if probe == Probe::Page => None,
        _ if answer.is_html() => Some(Check::EndpointHtml),
        status if probe == Probe::Keys => {
            let is_set = answer.json().is_some_and(|keys| keys["keys"].is_array());
            (!status.is_success() || !is_set).then_some(Check::EndpointKeys)
        }
        // Revoking nothing may succeed (RFC 7009 section 2.2), and an introspected nothing is inactive (RFC 7662).
        _ if matches!(field, "revocation_endpoint" | "revocation_uri") && answer.status.is_success() => None,
        _ if field == "introspection_endpoint" && answer.json().is_some_and(|it| it["active"] == false) => None,
        status if status.is_success() || status.is_redirection() => Some(Check::EndpointAccepts),
        // A challenge says what is wrong (RFC 6750 section 3.1).
        StatusCode::UNAUTHORIZED if answer.body.is_empty() && !answer.header(header::WWW_AUTHENTICATE).is_empty() => {
            None
        }
        // RFC 8935 section 2.3 names its error otherwise.
        _ if probe == Probe::Event => None,
        _ => {
            let has_error = answer.json().is_some_and(|body| body.get("error").is_some_and(Value::is_string));
            (!has_error).then_some(Check::EndpointNotJson)
        }
    };
    if let Some(check) = check {
        examination.report.add(check, url, found);
    }
}

/// A page of another origin asks first (Fetch standard).
fn check_preflight(examination: &mut Examination, url: &str) {
    if !urls::absolute(url).is_some_and(|url| urls::is_secure(&url)) {
        return;
    }
    if let Some(found) = preflight(examination, url, "content-type") {
        examination.report.add(Check::EndpointCors, url, found);
    }
}

/// Sends a preflight of a POST from another origin. Returns what is wrong with the answer.
pub(crate) fn preflight(examination: &mut Examination, url: &str, wanted: &str) -> Option<String> {
    let headers = [
        (header::ORIGIN, "https://host.example"),
        (header::ACCESS_CONTROL_REQUEST_METHOD, "POST"),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, wanted),
    ];
    match examination.client.send(Method::OPTIONS, url, &headers, "") {
        Ok(answer) => {
            let origin = answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            let is_allowed = answer.status.is_success() && matches!(origin, "*" | "https://host.example");
            (!is_allowed).then(|| format!("{} to OPTIONS, Access-Control-Allow-Origin: {origin:?}", answer.status))
        }
        Err(problem) => {
            examination.problem(url, &problem);
            None
        }
    }
}
