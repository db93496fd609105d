use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, ORIGIN,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde_json::Value;
use sha2::Digest as _;

use super::Endpoint;
use crate::http::{Answering, Reply};

static METHODS: [Method; 2] = [Method::GET, Method::HEAD];

/// A public document, rendered once and served to all clients, whatever credentials they send.
#[derive(Clone)]
pub(super) struct Document {
    content_type: &'static str,
    body: Bytes,
    etag: HeaderValue,
}

impl Document {
    pub(super) fn json(document: &Value) -> Self {
        Self::new("application/json", format!("{document:#}\n"))
    }

    pub(super) fn markdown(text: String) -> Self {
        Self::new("text/markdown; charset=utf-8", text)
    }

    fn new(content_type: &'static str, body: String) -> Self {
        let digest = sha2::Sha256::digest(body.as_bytes());
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { content_type, body: body.into(), etag }
    }

    fn get(&self, request: &Request<Bytes>) -> Reply {
        let known = request.headers().get_all(IF_NONE_MATCH).iter().any(|tags| self.matches(tags));
        let mut reply = Response::new(if known { Bytes::new() } else { self.body.clone() });
        let headers = reply.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if known {
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            return reply;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        reply
    }

    /// Whether `If-None-Match` matches: a list of entity tags, compared weakly, or `*` (RFC 9110 section 13.1.2).
    fn matches(&self, tags: &HeaderValue) -> bool {
        let ours = self.etag.to_str().unwrap_or_default();
        let tags = tags.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).any(|tag| tag == "*" || tag == ours)
    }
}

impl Endpoint for Document {
    fn methods(&self) -> &'static [Method] {
        &METHODS
    }

    fn serves(&self, request: &http::request::Parts) -> bool {
        METHODS.contains(&request.method) || is_preflight(request)
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let reply = if *request.method() == Method::OPTIONS { preflight() } else { self.get(&request) };
        Box::pin(std::future::ready(reply))
    }
}

/// Whether this is a CORS preflight (Fetch standard). Browser clients send one because they add headers to a GET.
fn is_preflight(request: &http::request::Parts) -> bool {
    let has = |name: HeaderName| request.headers.contains_key(name);
    request.method == Method::OPTIONS && has(ORIGIN) && has(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Reply {
    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization"));
    reply
}
