//! Responses that this crate creates itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::{Value, json};

use crate::types::clock::Timestamp;

pub(crate) type Reply = Response<Bytes>;
pub(crate) type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A JSON response that must not be cached (RFC 6749 section 5.1).
pub(crate) fn json_reply(status: StatusCode, body: &Value) -> Reply {
    let mut reply = Response::new(Bytes::from(body.to_string()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    no_store(&mut reply);
    reply
}

/// An error response: the code for programs, and the text twice, for OAuth clients and for clients that read `message`.
pub(crate) fn error_reply(status: StatusCode, code: &str, text: &str) -> Reply {
    json_reply(status, &json!({ "error": code, "error_description": text, "message": text }))
}

/// The 503 response if the service itself failed. It says nothing about the credential, which the client keeps.
pub(crate) fn unavailable(seconds: u64) -> Reply {
    let mut reply = error_reply(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", UNAVAILABLE);
    retry_after(&mut reply, seconds);
    reply
}

pub(crate) const UNAVAILABLE: &str = "the service can't check this right now; keep your credential and try again later";

pub(crate) fn retry_after(reply: &mut Reply, seconds: u64) {
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
}

/// A wait of one to five seconds, so that clients that were refused together do not retry together.
pub(crate) fn jitter(now: Timestamp) -> u64 {
    1 + now.as_millis().unsigned_abs() % JITTERS
}

pub(crate) const JITTERS: u64 = 5;

pub(crate) fn no_store(reply: &mut Reply) {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Adapts a response to the method: HEAD gets the response of GET without the body (RFC 9110 section 9.3.2).
pub(crate) fn for_method(method: &Method, mut reply: Reply) -> Reply {
    if *method == Method::HEAD && !reply.body().is_empty() {
        let length = HeaderValue::from(reply.body().len());
        reply.headers_mut().insert(CONTENT_LENGTH, length);
        *reply.body_mut() = Bytes::new();
    }
    reply
}

/// The host's store or accounts panicked. Only this request is affected.
#[derive(Debug, thiserror::Error)]
#[error("a part of the service panicked")]
pub(crate) struct Panicked;

/// Polls a future of the host's store or accounts, and turns a panic into an error.
pub(crate) fn poll_caught<T>(future: &mut Answering<T>, context: &mut Context<'_>) -> Poll<Result<T, Panicked>> {
    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    }
}

/// Takes what a future keeps until its end.
#[expect(clippy::expect_used, reason = "a future that is polled after its end is the caller's bug, as for any future")]
pub(crate) fn unfinished<T>(value: Option<T>) -> T {
    value.expect("polled after completion")
}
