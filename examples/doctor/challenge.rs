//! The challenge: what a call without a token is answered, and one with a token that nobody issued.

use http::{HeaderName, Method, StatusCode, header};
use serde_json::json;
use tower_agent_auth::challenge::Challenge;

use crate::{
    catalogue::Check,
    examination::Examination,
    fetch::{Answer, Problem},
    urls,
};

/// No service has issued it. It has the characters of a token, so that only its verification refuses it.
const BAD_TOKEN: &str = "Bearer doctor-0000000000000000000000000000000000000000000000";

/// What the challenge leads to.
#[derive(Default)]
pub(crate) struct Challenged {
    /// The method that was answered 401, if any was.
    pub(crate) refused: Option<Method>,
    pub(crate) metadata: Option<String>,
    pub(crate) scopes: Vec<String>,
    /// The status and kind of the first answer.
    pub(crate) summary: String,
}

/// Calls the target without a token. Fails if it can't be reached.
pub(crate) fn check(examination: &mut Examination) -> Result<Challenged, Problem> {
    let url = examination.target.to_string();
    let mut answers = vec![(Method::GET, examination.client.get(&url)?)];
    if examination.is_mcp {
        for method in [Method::POST, Method::HEAD] {
            match call(examination, &method, None) {
                Ok(answer) => answers.push((method, answer)),
                Err(problem) if problem.check == Check::Unavailable => return Err(problem),
                Err(problem) => examination.problem(&url, &problem),
            }
        }
    }
    if let Some((_, answer)) = answers.iter().find(|(_, answer)| answer.is_unavailable()) {
        return Err(Problem { check: Check::Unavailable, text: answer.summary() });
    }
    let is_refusal = |answer: &Answer| answer.status == StatusCode::UNAUTHORIZED;
    let Some((method, refusal)) = answers.iter().find(|(_, answer)| is_refusal(answer)) else {
        // An MCP host calls the endpoint by POST, an agent calls an API by GET.
        let (method, answer) = answers.get(1).unwrap_or(&answers[0]);
        let check = match answer.status {
            status if status.is_success() => Check::ChallengeNone,
            status if status.is_redirection() => Check::ChallengeRedirect,
            _ => Check::ChallengeStatus,
        };
        examination.report.add(check, &url, format!("{} to {method} without a token", answer.summary()));
        return Ok(Challenged { summary: answer.summary(), ..Challenged::default() });
    };
    // A server that never sends unasked serves no GET (MCP Streamable HTTP), and so no HEAD.
    let serves_get = !examination.is_mcp || answers[0].1.status != StatusCode::METHOD_NOT_ALLOWED;
    let is_accepted = |answer: &Answer| !serves_get && answer.status == StatusCode::METHOD_NOT_ALLOWED;
    for (other, answer) in &answers {
        if !is_refusal(answer) && !is_accepted(answer) {
            let text = format!("401 to {method}, but {} to {other}", answer.summary());
            examination.report.add(Check::ChallengeMethod, &url, text);
        }
    }
    examination.report.looked_at(format!("the challenge of {url}"));
    let challenged = Challenged { refused: Some(method.clone()), ..read(examination, &url, refusal) };
    try_bad_token(examination, &url, method);
    Ok(challenged)
}

/// Calls the target with one more header: an MCP endpoint with the first request of a host.
pub(crate) fn call(
    examination: &mut Examination,
    method: &Method,
    header: Option<(HeaderName, &str)>,
) -> Result<Answer, Problem> {
    let url = examination.target.to_string();
    let mut headers: Vec<(HeaderName, &str)> = header.into_iter().collect();
    let mut body = String::new();
    if *method == Method::POST {
        headers.push((header::CONTENT_TYPE, "application/json"));
        headers.push((header::ACCEPT, "application/json, text/event-stream"));
        let client = json!({ "name": "doctor", "version": env!("CARGO_PKG_VERSION") });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string();
    }
    let answer = examination.client.send(method.clone(), &url, &headers, &body)?;
    // A server that lets anybody in has begun a session, which ends here.
    let name = HeaderName::from_static("mcp-session-id");
    let session = answer.header(name.clone()).to_owned();
    if *method == Method::POST && answer.status.is_success() && !session.is_empty() {
        let _ = examination.client.send(Method::DELETE, &url, &[(name, &session)], "");
    }
    Ok(answer)
}

/// Reads the challenges of a refusal.
fn read(examination: &mut Examination, url: &str, refusal: &Answer) -> Challenged {
    let mut challenged = Challenged { summary: refusal.summary(), ..Challenged::default() };
    let report = &mut examination.report;
    let lines: Vec<String> = refusal
        .headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    // Clients see one header, joined by commas (RFC 9110 section 5.3).
    let raw = lines.join(", ");
    if raw.is_empty() {
        report.add(Check::ChallengeMissing, url, format!("{} without WWW-Authenticate", refusal.status));
        return challenged;
    }
    // A URL without quotes is against the grammar, and common.
    let repaired = unquoted_metadata(&raw).map(|metadata| {
        report.add(Check::ChallengeUnquoted, url, format!("WWW-Authenticate: {raw}"));
        raw.replace(&format!("resource_metadata={metadata}"), &format!("resource_metadata=\"{metadata}\""))
    });
    let Ok(challenges) = Challenge::parse(repaired.as_ref().unwrap_or(&raw)) else {
        report.add(Check::ChallengeMalformed, url, format!("WWW-Authenticate: {raw}"));
        return challenged;
    };
    let bearers: Vec<&Challenge> = challenges.iter().filter(|challenge| challenge.is_bearer()).collect();
    let Some(bearer) = bearers.first() else {
        report.add(Check::ChallengeNoBearer, url, format!("WWW-Authenticate: {raw}"));
        return challenged;
    };
    if !challenges[0].is_bearer() {
        report.add(Check::ChallengeNotFirst, url, format!("{} comes before Bearer", challenges[0].scheme()));
    }
    if bearers.len() > 1 && bearer.parameter("resource_metadata").is_none() {
        let text = format!("{} Bearer challenges, and the first has no resource_metadata", bearers.len());
        report.add(Check::ChallengeSeveral, url, text);
    }
    match bearer.parameter("scope") {
        Some(scope) => challenged.scopes = scope.split_whitespace().map(str::to_owned).collect(),
        None => report.add(Check::ChallengeNoScope, url, "no scope in the challenge"),
    }
    if let Some(error) = bearer.parameter("error") {
        report.add(Check::ChallengeError, url, format!("error={error:?} although no token was sent"));
    }
    let Some(metadata) = bearer.parameter("resource_metadata") else {
        report.add(Check::ChallengeNoMetadata, url, format!("WWW-Authenticate: {raw}"));
        return challenged;
    };
    let named = examination.callable("resource_metadata", metadata, url, Check::ChallengeRelative);
    if let Some(named) = named {
        if named.origin() != examination.target.origin() {
            let text = format!("resource_metadata is at {}", urls::origin(&named));
            examination.report.add(Check::ChallengeOrigin, url, text);
        }
        challenged.metadata = Some(metadata.to_owned());
    }
    challenged
}

fn unquoted_metadata(raw: &str) -> Option<&str> {
    let (_, rest) = raw.split_once("resource_metadata=")?;
    let value = rest.split([',', ' ', '\t']).next()?;
    (!value.is_empty() && !value.starts_with('"')).then_some(value)
}

fn try_bad_token(examination: &mut Examination, url: &str, method: &Method) {
    let answer = match call(examination, method, Some((header::AUTHORIZATION, BAD_TOKEN))) {
        Ok(answer) => answer,
        Err(problem) => return examination.problem(url, &problem),
    };
    let text = format!("{} to a token that was never issued", answer.summary());
    let report = &mut examination.report;
    if answer.status.is_success() {
        report.add(Check::BadTokenAccepted, url, text);
    } else if answer.status != StatusCode::UNAUTHORIZED {
        report.add(Check::BadTokenStatus, url, text);
    } else {
        let lines = answer.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        let challenges = lines.filter_map(|line| Challenge::parse(line).ok()).flatten();
        let error = challenges.into_iter().find_map(|challenge| challenge.parameter("error").map(str::to_owned));
        if error.as_deref() != Some("invalid_token") {
            report.add(Check::BadTokenError, url, format!("error is {:?}", error.unwrap_or_default()));
        }
    }
}
