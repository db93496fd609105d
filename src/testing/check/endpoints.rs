use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use http::{
    Extensions, HeaderName, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
        CONTENT_TYPE, LOCATION, ORIGIN,
    },
};
use serde_json::Value;

use super::{
    Answer, App, Misassembly, Named, Report,
    driver::{Own, request},
    is_unrouted,
};
use crate::{
    AgentAuth,
    config::{origin_of, path_of},
    endpoints::{Endpoint, limits_by_source},
};

/// The origin of a page that runs an agent, for requests across origins.
const PAGE: &str = "https://agent.example";
/// The size of a body that the endpoints take.
const BODY: usize = 15 * 1024;

/// The check of the documents, the endpoints and the pages.
pub(super) struct Endpoints<'a> {
    pub(super) auth: &'a AgentAuth,
    /// The endpoints alone, for what they answer.
    pub(super) own: Own,
    /// What the test says that the server adds to each request.
    pub(super) server: Option<&'a Extensions>,
    pub(super) routes: &'a [Named],
    pub(super) unrouted: Option<&'a Answer>,
    pub(super) report: &'a mut Report,
}

/// What of a response must be as this crate made it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Compared {
    /// Status, type and body.
    Whole,
    /// A page has a new key in each response.
    Page,
}

impl Endpoints<'_> {
    fn served(&self) -> Vec<(String, &'static str, Arc<dyn Endpoint>)> {
        let served = self.auth.route_table().served();
        served.map(|(path, name, endpoint)| (path.to_owned(), name, endpoint)).collect()
    }

    pub(super) async fn check(&mut self, app: &mut impl App) {
        let served: Vec<(String, &'static str, Arc<dyn Endpoint>)> = self.served();
        let mut is_served = true;
        let mut prefix = None;
        for (path, name, endpoint) in &served {
            let methods = endpoint.methods();
            // A page of one request has its id after the slash.
            let path = if path.ends_with('/') { format!("{path}reg_unknown") } else { path.clone() };
            let is_document = is_document(&**endpoint);
            let is_page = !endpoint.is_open() && methods.contains(&Method::GET);
            let (method, compared) = match () {
                () if is_document => (Method::GET, Compared::Whole),
                () if is_page => (Method::GET, Compared::Page),
                // What no endpoint serves is answered without any effect.
                () if !methods.contains(&Method::DELETE) => (Method::DELETE, Compared::Whole),
                () => (Method::PATCH, Compared::Whole),
            };
            let asked = request(&method, &path, &[], Bytes::new());
            let found = self.compare(app, asked, name, compared, &prefix).await;
            is_served &= found;
            if !found && is_document && prefix.is_none() && self.report.has(Misassembly::NotServed) {
                prefix = self.prefix(app, &path).await;
                if let Some(prefix) = &prefix {
                    self.report.move_to_nested(prefix);
                }
            }
        }
        if is_served {
            self.cors(app, &served).await;
            self.body(app, &served).await;
            self.links(app).await;
        }
        self.address();
    }

    /// Sends a request to the service and to the endpoints alone. Returns whether the answers are the same.
    async fn compare(
        &mut self,
        app: &mut impl App,
        asked: Request<Bytes>,
        name: &str,
        compared: Compared,
        prefix: &Option<String>,
    ) -> bool {
        let label = format!("{} {}", asked.method(), asked.uri().path());
        let has_body = !asked.body().is_empty();
        // The endpoints alone never fail.
        let Ok(expected) = self.own.send(asked.clone()).await else { return true };
        let (kind, seen) = match app.send(asked).await {
            Err(error) => (Misassembly::Failed, error),
            Ok(answer) => match self.difference(&expected, &answer, name, compared) {
                None => return true,
                Some((Misassembly::NotServed, _)) if prefix.is_some() => {
                    self.report.add(Misassembly::Nested, &label, nested(prefix.as_deref().unwrap_or_default()));
                    return false;
                }
                // A layer may have refused the body after its beginning.
                Some((Misassembly::Changed, seen)) if has_body => (Misassembly::BodyLimit, seen),
                Some(difference) => difference,
            },
        };
        self.report.add(kind, &label, seen);
        false
    }

    fn difference(
        &self,
        expected: &Answer,
        answer: &Answer,
        name: &str,
        compared: Compared,
    ) -> Option<(Misassembly, String)> {
        let status = answer.status;
        // `Accounts` may need what the service's own layers insert, and fail without: then a page may answer anything.
        let is_unknown = compared == Compared::Page && expected.status.is_server_error();
        let is_kept_away = answer.refusal.is_some() || answer.challenge().is_some() || is_missing(status);
        if is_unknown && !is_kept_away && !is_unrouted(answer, self.unrouted) {
            return None;
        }
        if status != expected.status {
            return Some(match status {
                _ if answer.refusal.is_some() || answer.challenge().is_some() => {
                    (Misassembly::Guarded, format!("a guard answered {status}"))
                }
                _ if is_missing(status) => (Misassembly::NotServed, format!("the service answered {status}")),
                StatusCode::PAYLOAD_TOO_LARGE => (Misassembly::BodyLimit, format!("the service answered {status}")),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    (Misassembly::BehindLogin, format!("the service answered {status}"))
                }
                _ if status.is_redirection() => (Misassembly::BehindLogin, redirected(answer)),
                _ if is_unrouted(answer, self.unrouted) && !is_missing(status) => {
                    (Misassembly::Swallowed, format!("the service's fallback answered {status}"))
                }
                _ if status.is_server_error() => (Misassembly::Failed, format!("the service answered {status}")),
                _ if status.is_success() && answer.is_html() => {
                    (Misassembly::Swallowed, format!("the service answered {status} with HTML of its own"))
                }
                _ => (Misassembly::Changed, format!("the service answered {status}, not {}", expected.status)),
            });
        }
        if is_unrouted(answer, self.unrouted) && answer.body != expected.body {
            let kind = if is_missing(status) { Misassembly::NotServed } else { Misassembly::Swallowed };
            return Some((kind, format!("the service's fallback answered {status}")));
        }
        let is_same = |name: &HeaderName| answer.header(name) == expected.header(name);
        if compared == Compared::Page {
            return match () {
                // A login may begin with a query of its own for each request.
                () if location(answer) != location(expected) => Some((Misassembly::BehindLogin, redirected(answer))),
                () if status.is_redirection() => None,
                () if !is_same(&CONTENT_TYPE) => Some((Misassembly::Changed, "its `Content-Type` was changed".into())),
                () if policies(expected) != policies(answer) => Some((
                    Misassembly::Changed,
                    "its `Content-Security-Policy` was changed, so its forms may not work".into(),
                )),
                () => None,
            };
        }
        if answer.body == expected.body && is_same(&CONTENT_TYPE) {
            return None;
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            return Some((Misassembly::NotServed, format!("the service answered {status} itself")));
        }
        if answer.is_html() && !expected.is_html() {
            return Some((Misassembly::Swallowed, format!("the service answered {status} with HTML of its own")));
        }
        let encoding = answer.header(&http::header::CONTENT_ENCODING);
        let what = match encoding {
            Some(encoding) => format!("a layer encoded it as {encoding}, which the request did not accept"),
            None => format!("the body or the type of {name} is not what this crate sent"),
        };
        Some((Misassembly::Changed, what))
    }

    /// The prefix below which the service serves the document at `path`.
    async fn prefix(&mut self, app: &mut impl App, path: &str) -> Option<String> {
        let expected = self.own.get(path).await.ok()?;
        for prefix in self.prefixes() {
            let answer = app.get(&format!("{prefix}{path}")).await;
            if answer.is_ok_and(|answer| answer.status == expected.status && answer.body == expected.body) {
                return Some(prefix);
            }
        }
        None
    }

    /// Where a service may be nested: below each segment of its named routes and of its resources, or at a usual place.
    fn prefixes(&self) -> BTreeSet<String> {
        let usual = ["/api", "/api/v1", "/v1", "/auth", "/agent", "/agents", "/oauth", "/mcp"].map(str::to_owned);
        let resources = self.auth.config().resources().iter().map(|resource| path_of(resource.id()));
        let paths = self.routes.iter().map(Named::path).chain(resources);
        let above = paths.flat_map(|path| path.match_indices('/').map(move |(at, _)| &path[..at]).chain([path]));
        above.filter(|path| !path.is_empty()).map(str::to_owned).chain(usual).collect()
    }

    /// Pages of other origins read documents, and send JSON to endpoints.
    async fn cors(&mut self, app: &mut impl App, served: &[(String, &'static str, Arc<dyn Endpoint>)]) {
        for (path, _, endpoint) in served.iter().filter(|(_, _, endpoint)| endpoint.is_open()) {
            let posts = endpoint.methods().contains(&Method::POST);
            let asked = if posts {
                let preflight = [
                    (ORIGIN, PAGE),
                    (ACCESS_CONTROL_REQUEST_METHOD, "POST"),
                    (ACCESS_CONTROL_REQUEST_HEADERS, "content-type,authorization"),
                ];
                request(&Method::OPTIONS, path, &preflight, Bytes::new())
            } else {
                request(&Method::GET, path, &[(ORIGIN, PAGE)], Bytes::new())
            };
            let label = format!("{} {path}", asked.method());
            let seen = match app.send(asked).await {
                Err(error) => Some(error),
                Ok(answer) if posts => refused_preflight(&answer, PAGE, "POST", &["content-type", "authorization"]),
                Ok(answer) => unreadable(&answer, PAGE),
            };
            if let Some(seen) = seen {
                self.report.add(Misassembly::Cors, &label, seen);
            }
        }
    }

    /// Sends one endpoint a large body that is not valid, so that nothing comes of it.
    async fn body(&mut self, app: &mut impl App, served: &[(String, &'static str, Arc<dyn Endpoint>)]) {
        let posts = |endpoint: &Arc<dyn Endpoint>| endpoint.is_open() && endpoint.methods().contains(&Method::POST);
        let Some((path, name, _)) = served.iter().find(|(_, _, endpoint)| posts(endpoint)) else { return };
        let body = format!("{{{}", " ".repeat(BODY));
        let headers = [(CONTENT_TYPE, "application/json"), (CONTENT_LENGTH, &*body.len().to_string())];
        let asked = request(&Method::POST, path, &headers, body.clone().into());
        self.compare(app, asked, name, Compared::Whole, &None).await;
    }

    /// Fetches what the documents link to at this service, and this crate does not serve.
    async fn links(&mut self, app: &mut impl App) {
        let config = self.auth.config();
        // Another process is at the issuer's origin if this one only checks tokens.
        let issues = self.auth.ceremony().is_some();
        let resources = config.resources().iter().map(|resource| origin_of(resource.id()));
        let origins: Vec<&str> = match issues {
            true => vec![config.origin()],
            false => resources.filter(|origin| *origin != config.origin()).collect(),
        };
        let all = self.served();
        let served: BTreeSet<&str> = all.iter().map(|(path, ..)| path.as_str()).collect();
        let mut linked = BTreeSet::new();
        for (path, ..) in all.iter().filter(|(_, _, endpoint)| is_document(&**endpoint)) {
            let document = self.own.get(path).await.ok();
            let Some(Value::Object(fields)) = document.and_then(|document| serde_json::from_str(document.text()).ok())
            else {
                continue;
            };
            // A resource is no page, and neither is the issuer.
            let pages =
                fields.into_iter().filter(|(name, _)| name.ends_with("_uri") || name.ends_with("_documentation"));
            linked.extend(pages.filter_map(|(name, url)| Some((url.as_str()?.to_owned(), name))));
        }
        for (url, name) in linked {
            let path = path_of(&url);
            if path.is_empty() || !origins.contains(&origin_of(&url)) {
                continue;
            }
            let path = if issues { config.arriving_path(path) } else { path.to_owned() };
            if served.contains(path.as_str()) {
                continue;
            }
            let seen = match app.get(&path).await {
                Ok(answer) if is_missing(answer.status) => format!("`{name}` links to it, and it is {}", answer.status),
                Ok(_) => continue,
                Err(error) => error,
            };
            self.report.add(Misassembly::BrokenLink, &format!("GET {path}"), seen);
        }
    }

    /// Whether the client's address is found in what the server adds to each request.
    fn address(&mut self) {
        // Only what the ceremony serves has limits by source.
        let has_limits = self.auth.ceremony().is_some() && limits_by_source(self.auth.config());
        let Some(server) = self.server.filter(|_| has_limits) else { return };
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.extensions.extend(server.clone());
        if !self.auth.route_table().finds_address(&parts) {
            let seen = "`peer_address` finds no address in what the server adds to it";
            self.report.add(Misassembly::NoClientAddress, "each request", seen);
        }
    }
}

/// Where a response redirects to, without the query.
fn location(answer: &Answer) -> Option<&str> {
    answer.header(&LOCATION)?.split('?').next()
}

pub(super) fn redirected(answer: &Answer) -> String {
    format!("the service redirects to {}", answer.header(&LOCATION).unwrap_or("nowhere"))
}

pub(super) fn nested(prefix: &str) -> String {
    format!("it is served below {prefix} only, where nobody looks for it")
}

/// Everybody may read a document, as often as they like.
fn is_document(endpoint: &dyn Endpoint) -> bool {
    endpoint.is_open() && endpoint.rate_class().is_none() && endpoint.methods().contains(&Method::GET)
}

fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

/// The names of the directives of each policy. Their values may have a key of one response.
fn policies(answer: &Answer) -> Vec<Vec<String>> {
    let values = answer.headers.get_all(CONTENT_SECURITY_POLICY).iter();
    let directives =
        |value: &str| value.split(';').filter_map(|part| part.split_whitespace().next().map(str::to_owned)).collect();
    values.map(|value| directives(value.to_str().unwrap_or_default())).collect()
}

/// Why a page of this origin can't read a response.
pub(super) fn unreadable(answer: &Answer, origin: &str) -> Option<String> {
    let allowed: Vec<&[u8]> =
        answer.headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().map(http::HeaderValue::as_bytes).collect();
    match allowed.as_slice() {
        [only] if *only == b"*" || *only == origin.as_bytes() => None,
        [] => Some("no `Access-Control-Allow-Origin` lets pages of other origins read it".into()),
        [only] => Some(format!("`Access-Control-Allow-Origin` is {} only", String::from_utf8_lossy(only))),
        _ => Some("it has several `Access-Control-Allow-Origin`, which browsers refuse".into()),
    }
}

/// Why a browser does not send the request that this is the preflight of.
pub(super) fn refused_preflight(answer: &Answer, origin: &str, method: &str, headers: &[&str]) -> Option<String> {
    if !answer.status.is_success() {
        return Some(format!("the preflight was answered {}", answer.status));
    }
    let listed = |name: HeaderName| -> Vec<String> {
        let values = answer.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(|value| value.trim().to_ascii_lowercase()).collect()
    };
    let (methods, allowed) = (listed(ACCESS_CONTROL_ALLOW_METHODS), listed(ACCESS_CONTROL_ALLOW_HEADERS));
    // `*` does not include `Authorization` (Fetch standard, "CORS-preflight fetch").
    let is_allowed =
        |name: &&str| allowed.iter().any(|known| known == name || (known == "*" && *name != "authorization"));
    let is_simple = matches!(method, "GET" | "HEAD" | "POST");
    if !is_simple && !methods.iter().any(|known| known.eq_ignore_ascii_case(method) || known == "*") {
        return Some(format!("the preflight does not allow {method}"));
    }
    if let Some(refused) = headers.iter().find(|name| !is_allowed(name)) {
        return Some(format!("the preflight does not allow the header `{refused}`"));
    }
    unreadable(answer, origin)
}
