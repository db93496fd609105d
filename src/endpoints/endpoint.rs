use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};

use crate::http::{Answering, Reply, error_reply, retry_after};

/// An endpoint that is served at a path.
pub(crate) trait Endpoint: Send + Sync {
    /// The methods that it serves; the response to others is 405.
    fn methods(&self) -> &'static [Method];

    /// Whether pages of other origins may use it. It then authenticates nobody by a cookie of such a page's request.
    fn is_open(&self) -> bool {
        false
    }

    /// The rate class of its requests; `None` if they are not counted.
    fn rate_class(&self) -> Option<RateClass> {
        None
    }

    /// The response to a request with these headers that is over the rate limit.
    fn too_many(&self, seconds: u64, headers: &HeaderMap) -> Reply {
        let _ = headers;
        let text = format!("you ask too often; wait {seconds} seconds");
        let mut reply = error_reply(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &text);
        retry_after(&mut reply, seconds);
        reply
    }

    /// Responds to a request with one of its methods. The body has been read completely; it is empty for GET and HEAD.
    fn answer(&self, request: Request<Bytes>) -> Answering<Reply>;
}

/// The rate limit that a request counts against.
#[derive(Clone, Copy)]
pub(crate) enum RateClass {
    AuthorizationRequest,
    Poll,
    Redemption,
    Refresh,
    Revocation,
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages are counted so"))]
    Page,
}
