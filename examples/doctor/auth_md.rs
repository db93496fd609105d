//! auth.md: the text that agents read.

use http::{Method, StatusCode};

use crate::{
    catalogue::Check,
    examination::{Examination, Members, object, text},
    fetch::Problem,
    server::Server,
    urls,
};

/// So many of its URLs are called at most.
const MOST_URLS: usize = 20;
/// The endpoints that an agent must learn about.
const ENDPOINTS: [&str; 6] =
    ["register_uri", "claim_uri", "claim_complete_uri", "identity_endpoint", "claim_endpoint", "revocation_uri"];

/// Checks the text of a service: where `skill` says, below the issuer, or at the origin of the target.
pub(crate) fn check(examination: &mut Examination, servers: &[Server]) {
    let at_origin = format!("{}/auth.md", urls::origin(&examination.target));
    let mut read_at: Vec<String> = Vec::new();
    for server in servers {
        let block = object(&server.document, "agent_auth");
        let skill = block.and_then(|block| text(block, "skill"));
        let url = skill.map_or_else(|| urls::below(&server.issuer, "/auth.md"), str::to_owned);
        let Some(url) = examination.callable("skill", &url, &server.url, Check::EndpointRelative) else { continue };
        let is_read = read(examination, url.as_str(), &server.document, block.is_some());
        if is_read && block.is_none() {
            let text = format!("there is {url}, and no agent_auth");
            examination.report.add(Check::AgentAuthMissing, &server.url, text);
        }
        read_at.push(url.into());
    }
    if !read_at.contains(&at_origin) {
        let document = servers.first().map_or_else(Members::new, |server| server.document.clone());
        read(examination, &at_origin, &document, false);
    }
}

/// Reads the text at a URL. Returns whether there is one.
fn read(examination: &mut Examination, url: &str, document: &Members, is_needed: bool) -> bool {
    let (answer, moved) = examination.follow(url);
    let report_moved = |examination: &mut Examination| {
        if let Some(moved) = &moved {
            examination.report.add(Check::DocumentRedirect, url, moved);
        }
    };
    if is_needed {
        report_moved(examination);
    }
    let Some(answer) = answer else { return false };
    if !answer.status.is_success() {
        if is_needed {
            examination.report.add(Check::AuthMdMissing, url, answer.summary());
        }
        return false;
    }
    let written = answer.text();
    let heading = heading(&written);
    if answer.is_html() {
        if is_needed {
            examination.report.add(Check::AuthMdHtml, url, answer.summary());
        }
        return false;
    }
    // A service may answer 200 to any path.
    if !is_needed && heading.is_none() && answer.media_type() != "text/markdown" {
        return false;
    }
    report_moved(examination);
    examination.report.looked_at(url);
    if answer.media_type() != "text/markdown" {
        examination.report.add(Check::AuthMdMediaType, url, answer.summary());
    }
    examination.check_transport(url, &answer);
    let heading = heading.unwrap_or_default();
    if !heading.contains("auth.md") {
        examination.report.add(Check::AuthMdHeading, url, format!("the first heading is {heading:?}"));
    }
    check_urls(examination, url, &written, document);
    for (field, endpoint) in endpoints(document) {
        if !written.contains(endpoint) && !written.contains(path_of(endpoint)) {
            examination.report.add(Check::AuthMdUnmentioned, url, format!("{field}, {endpoint}, is not in the text"));
        }
    }
    true
}

/// The first heading of the first level outside of code.
fn heading(written: &str) -> Option<&str> {
    let mut in_code = false;
    written.lines().find_map(|line| {
        in_code ^= line.trim_start().starts_with("```");
        line.strip_prefix("# ").filter(|_| !in_code).map(str::trim)
    })
}

fn endpoints(document: &Members) -> Vec<(&str, &str)> {
    let block = object(document, "agent_auth");
    let of = |field| block.and_then(|block| Some((field, text(block, field)?)));
    ENDPOINTS.into_iter().filter_map(of).collect()
}

/// The path of a URL: text may name an endpoint by it.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or(url, |start| &rest[start..])
}

/// Each URL at the origin of the text must be in the metadata, or answer, unless the text says to POST there.
fn check_urls(examination: &mut Examination, url: &str, written: &str, document: &Members) {
    let Some(own) = urls::absolute(url) else { return };
    let known = serde_json::Value::Object(document.clone()).to_string();
    let mut called: Vec<&str> = vec![url];
    for found in mentioned(written, &urls::origin(&own)) {
        if called.contains(&found) || called.len() > MOST_URLS || known.contains(&format!("\"{found}\"")) {
            continue;
        }
        called.push(found);
        if is_posted(written, found) {
            continue;
        }
        match status(examination, found) {
            Ok(status) if is_dead(status) => {
                let text = format!("{status} to GET and OPTIONS, named by {url}");
                examination.report.add(Check::AuthMdDeadUrl, found, text);
            }
            Ok(_) => {}
            Err(problem) if problem.check == Check::Unavailable => {}
            Err(problem) => examination.problem(found, &problem),
        }
    }
}

/// Many services answer 404 to GET where there is only a route for POST. Nobody has said what POST does there.
fn status(examination: &mut Examination, url: &str) -> Result<StatusCode, Problem> {
    let answer = examination.client.get(url)?;
    if !is_dead(answer.status) {
        return Ok(answer.status);
    }
    Ok(examination.client.send(Method::OPTIONS, url, &[], "")?.status)
}

/// Whether the word before the URL is POST.
fn is_posted(written: &str, url: &str) -> bool {
    let mut before = written.match_indices(url).map(|(start, _)| &written[..start]);
    before.any(|text| text.trim_end_matches(|c: char| !c.is_alphanumeric()).ends_with("POST"))
}

fn is_dead(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// The whole URLs of an origin in a text. One that is the beginning of others, such as `https://h/approve/`, is none.
fn mentioned<'a>(written: &'a str, origin: &str) -> Vec<&'a str> {
    let starts = written.match_indices(origin).map(|(start, _)| &written[start..]);
    let whole = starts.filter_map(|rest| {
        let end = rest.find(|c: char| c.is_whitespace() || "\"'`,;)|<>]*…{$".contains(c)).unwrap_or(rest.len());
        let is_template = rest[end..].starts_with(['…', '<', '{', '$']);
        let url = rest[..end].trim_end_matches(['.', ':', '!', '?']);
        let is_whole = match url.strip_prefix(origin) {
            Some("" | "/") => true,
            Some(path) => path.starts_with('/') && !path.ends_with('/'),
            None => false,
        };
        (is_whole && !is_template).then_some(url)
    });
    whole.collect()
}
