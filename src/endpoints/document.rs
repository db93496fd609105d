use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
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

    fn is_open(&self) -> bool {
        true
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        Box::pin(std::future::ready(self.get(&request)))
    }
}
