use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Refusal;
use crate::http::Reply;

/// Whether a request to a route that serves gRPC is a gRPC call (gRPC over HTTP/2, "Requests"). gRPC-Web is not.
pub(super) fn is_call<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    *request.method() == Method::POST && matches!(kind, Some([] | [b'+' | b';', ..]))
}

/// A refusal in gRPC: the status in the headers and no body (gRPC over HTTP/2, "Responses", Trailers-Only). The
/// metadata contains the challenge and `Retry-After`.
pub(super) fn trailers_only(refusal: Refusal, text: &str, reply: &Reply) -> Reply {
    let mut grpc = Response::default();
    let headers = grpc.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from(status(refusal)));
    // Percent-encoded text is printable ASCII.
    if let Ok(message) = HeaderValue::try_from(utf8_percent_encode(text, PLAIN).to_string()) {
        headers.insert("grpc-message", message);
    }
    for name in [WWW_AUTHENTICATE, RETRY_AFTER, CACHE_CONTROL, PRAGMA] {
        if let Some(value) = reply.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    grpc
}

/// Escapes all but printable ASCII without `%`.
const PLAIN: &AsciiSet = &CONTROLS.add(b'%');

pub(super) const UNAUTHENTICATED: u16 = 16;
const STATUS: &str = "grpc-status";

/// Whether these are the headers of a Trailers-Only response with the status `UNAUTHENTICATED`.
pub(super) fn is_unauthenticated(headers: &HeaderMap) -> bool {
    headers.get(STATUS).is_some_and(|status| status == "16")
}

const fn status(refusal: Refusal) -> u16 {
    const INVALID_ARGUMENT: u16 = 3;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const UNAVAILABLE: u16 = 14;
    match refusal {
        Refusal::NoCredentials | Refusal::InvalidToken => UNAUTHENTICATED,
        Refusal::InsufficientScope | Refusal::OwnerOnly | Refusal::NoRule => PERMISSION_DENIED,
        Refusal::InvalidRequest | Refusal::InvalidOperation | Refusal::Body => INVALID_ARGUMENT,
        Refusal::Method => UNIMPLEMENTED,
        Refusal::Unavailable => UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        let of = |kind: &str| is_call(&Request::post("/a.B/C").header(CONTENT_TYPE, kind).body(()).unwrap());
        assert!(of("application/grpc") && of("application/grpc+proto") && of("application/grpc;charset=utf-8"));
        assert!(!of("application/grpc-web") && !of("application/grpc-web+proto") && !of("application/json"));
        assert!(!of("") && !of("application/grp"));
        assert!(!is_call(&Request::post("/a.B/C").body(()).unwrap()));
        assert!(!is_call(&Request::put("/a.B/C").header(CONTENT_TYPE, "application/grpc").body(()).unwrap()));
    }

    #[test]
    fn a_message_is_percent_encoded() {
        let grpc = trailers_only(Refusal::OwnerOnly, "100 % für\nalle", &Response::default());
        assert_eq!(grpc.headers()["grpc-message"], "100 %25 f%C3%BCr%0Aalle");
        assert_eq!(grpc.headers()["grpc-status"], "7");
    }
}
