//! Protected resource metadata (RFC 9728).

use url::Url;

use crate::{
    catalogue::Check,
    challenge::Challenged,
    examination::{Examination, Members, has, list, text},
    report::Row,
    urls,
};

const NAME: &str = "oauth-protected-resource";

/// What the metadata of the resource leads to.
pub(crate) struct Resource {
    /// The identifier, as written, if it is that of the target.
    pub(crate) identifier: Option<String>,
    pub(crate) servers: Vec<String>,
}

/// Checks the documents of the resource. `None` if there is none.
pub(crate) fn check(examination: &mut Examination, challenged: &Challenged) -> Option<Resource> {
    let target = examination.target.clone();
    let root = format!("{}/.well-known/{NAME}", urls::origin(&target));
    let mut places: Vec<String> = challenged.metadata.iter().cloned().collect();
    places.extend([urls::well_known(NAME, &target), root]);
    let mut found: Vec<(String, Members)> = Vec::new();
    for place in places {
        if found.iter().all(|(known, _)| *known != place) {
            let document = examination.document(&place, !found.is_empty());
            found.extend(document.map(|document| (place, document)));
        }
    }
    let is_named = |named: &String| found.iter().any(|(url, _)| url == named);
    if let Some(named) = challenged.metadata.as_ref().filter(|named| !is_named(named)) {
        examination.report.add(Check::PrmNamedMissing, named, "no metadata where the challenge says");
    }
    let Some((url, document)) = found.first() else {
        if challenged.metadata.is_none() {
            let at = urls::well_known(NAME, &target);
            examination.report.add(Check::PrmMissing, at, "none here, nor at the root, nor does a challenge name one");
        }
        return None;
    };
    check_fields(examination, url, document);
    for scope in &challenged.scopes {
        if list(document, "scopes_supported").is_some_and(|scopes| !scopes.contains(&&**scope)) {
            let text = format!("the challenge asks for {scope:?}, which the metadata does not list");
            examination.report.add(Check::ChallengeScopeUnknown, url, text);
        }
    }
    let servers = |document: &Members| list(document, "authorization_servers").unwrap_or_default().join(" ");
    for (other, its) in &found[1..] {
        // The document at the root may be of another resource.
        if its.get("resource") == document.get("resource") && servers(its) != servers(document) {
            let text = format!("{:?} here, {:?} at {url}", servers(its), servers(document));
            examination.report.add(Check::PrmDisagree, other, text);
        }
    }
    let identifier = check_resource(examination, url, document);
    let servers = list(document, "authorization_servers").unwrap_or_default().into_iter().map(str::to_owned).collect();
    Some(Resource { identifier, servers })
}

fn check_fields(examination: &mut Examination, url: &str, document: &Members) {
    let is_empty = |name| list(document, name).is_none_or(|list| list.is_empty());
    let methods = document.contains_key("bearer_methods_supported");
    let rows: [Row; 5] = [
        (is_empty("authorization_servers"), Check::PrmServers, "authorization_servers is missing, empty, or no list"),
        (is_empty("scopes_supported"), Check::PrmScopes, "scopes_supported is missing, empty, or no list"),
        (has(document, "scopes_supported", "offline_access"), Check::PrmOfflineAccess, "offline_access is listed"),
        (!methods, Check::PrmNoBearerMethods, "no bearer_methods_supported"),
        (
            methods && !has(document, "bearer_methods_supported", "header"),
            Check::PrmBearerMethods,
            "bearer_methods_supported without header",
        ),
    ];
    examination.report.add_failed(url, rows);
}

/// The identifier must be that of the target (RFC 9728 section 3.3). Returns it if it is.
fn check_resource(examination: &mut Examination, url: &str, document: &Members) -> Option<String> {
    let target = examination.target.clone();
    let Some(written) = text(document, "resource") else {
        examination.report.add(Check::PrmResourceMissing, url, "no resource");
        return None;
    };
    let resource = examination.callable("resource", written, url, Check::PrmResourceMissing)?;
    let report = &mut examination.report;
    if !urls::covers(&resource, &target) {
        report.add(Check::PrmResourceMismatch, url, format!("resource is {written}, the URL is {target}"));
        return None;
    }
    if examination.is_mcp && !is_same(&resource, &target) {
        report.add(Check::PrmResourceInexact, url, format!("resource is {written}, the MCP URL is {target}"));
    }
    let path = resource.path().trim_end_matches('/');
    let canonical = format!("{}{path}", urls::origin(&resource));
    if written != canonical {
        report.add(Check::PrmResourceForm, url, format!("{written}, where {canonical} is canonical"));
    }
    let place = urls::well_known(NAME, &resource);
    if examination.document(&place, true).is_none() {
        let text = format!("the document of {written} is at {url} only");
        examination.report.add(Check::PrmWellKnown, place, text);
    }
    Some(written.to_owned())
}

fn is_same(one: &Url, other: &Url) -> bool {
    one.path().trim_end_matches('/') == other.path().trim_end_matches('/') && one.query() == other.query()
}
