use std::{
    array,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};

use super::{
    GuardBody,
    grpc::{is_grpc, trailers_only},
};
use crate::{
    challenge::{Challenge, ChallengeError},
    http::{JITTERS, Reply, UNAVAILABLE, error_reply, for_method, jitter, unavailable},
    types::clock::Timestamp,
};

/// Why a guard refused a request. The body of the response [tells it](super::GuardBody::refusal) to outer layers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Refusal {
    /// 401: no bearer token.
    NoCredentials,
    /// 400: more than one `Authorization` line, or a token in the query beside one in the header.
    InvalidRequest,
    /// 401: the token is malformed, unknown, expired, revoked or meant for another resource.
    InvalidToken,
    /// 403: the session lacks a scope.
    InsufficientScope,
    /// 403: the route is the account owner's alone.
    OwnerOnly,
    /// 403: nobody said what class the route has.
    Unclassified,
    /// 405: TRACE or CONNECT.
    Method,
    /// 503: the store or the accounts could not answer.
    Unavailable,
}

/// A refusal as it is told, in each form: written when the service is built, each text once, and kept for as long as the
/// process lives. A refused request then carries a reference to its answer, and every response in the making one to its
/// challenge. Counting who still has one would make all threads write to one place for each request.
pub(super) struct Told {
    http: Answer,
    head: Answer,
    grpc: Answer,
}

/// All in which one answer differs from another: its cause, its text, its challenge, and when to come back.
type Key = (Refusal, String, Option<HeaderValue>, Option<HeaderValue>);

/// What a refused request is answered.
pub(super) struct Answer {
    refusal: Refusal,
    reply: Reply,
}

impl Told {
    fn new(
        refusal: Refusal,
        status: StatusCode,
        code: &str,
        text: &str,
        challenge: Option<&HeaderValue>,
    ) -> &'static Self {
        let mut http = error_reply(status, code, text);
        if let Some(challenge) = challenge {
            http.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if refusal == Refusal::Method {
            http.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        Self::kept(refusal, text, http)
    }

    fn kept(refusal: Refusal, text: &str, mut http: Reply) -> &'static Self {
        static KNOWN: Mutex<BTreeMap<Key, &'static Told>> = Mutex::new(BTreeMap::new());
        // Its text is not chosen by others, so there is nothing to sniff; and each header is paid for by every refusal.
        http.headers_mut().remove(X_CONTENT_TYPE_OPTIONS);
        let [challenge, retry] = [WWW_AUTHENTICATE, RETRY_AFTER].map(|name| http.headers().get(name).cloned());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((refusal, text.to_owned(), challenge, retry)).or_insert_with(|| {
            let answer = |reply| Answer { refusal, reply: constant(reply) };
            let grpc = answer(trailers_only(refusal, text, &http));
            let head = answer(for_method(&Method::HEAD, http.clone()));
            Box::leak(Box::new(Self { http: answer(http), head, grpc }))
        })
    }

    pub(super) fn to<B>(&'static self, request: &Request<B>) -> &'static Answer {
        match *request.method() {
            Method::HEAD => &self.head,
            Method::POST if is_grpc(request.headers()) => &self.grpc,
            _ => &self.http,
        }
    }

    /// The challenge in it.
    pub(super) fn challenge(&self) -> Option<&HeaderValue> {
        self.http.reply.headers().get(WWW_AUTHENTICATE)
    }
}

impl Answer {
    pub(super) fn response<B>(&self) -> Response<GuardBody<B>> {
        let mut response = Response::new(GuardBody::refused(self.reply.body().clone(), self.refusal));
        *response.status_mut() = self.reply.status();
        *response.headers_mut() = self.reply.headers().clone();
        response
    }
}

/// The same reply, of bytes that nobody counts.
fn constant(mut reply: Reply) -> Reply {
    let fixed = |bytes: &[u8]| Bytes::from_static(bytes.to_vec().leak());
    for value in reply.headers_mut().values_mut() {
        if let Ok(constant) = HeaderValue::from_maybe_shared(fixed(value.as_bytes())) {
            *value = constant;
        }
    }
    reply.map(|body| fixed(&body))
}

/// The refusals of a service that are the same for every request.
pub(super) struct Refusals {
    pub(super) no_credentials: &'static Told,
    invalid_request: &'static Told,
    invalid_token: &'static Told,
    owner_only: &'static Told,
    unclassified: &'static Told,
    method: &'static Told,
    /// One for each number of seconds to come back after.
    unavailable: [&'static Told; JITTERS as usize],
}

impl Refusal {
    /// All of them, in their order.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 8] = [
        Self::NoCredentials,
        Self::InvalidRequest,
        Self::InvalidToken,
        Self::InsufficientScope,
        Self::OwnerOnly,
        Self::Unclassified,
        Self::Method,
        Self::Unavailable,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::OwnerOnly => "owner_only",
            Self::Unclassified => "unclassified",
            Self::Method => "method",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Refusals {
    pub(super) fn new(metadata_url: &str) -> Result<Self, ChallengeError> {
        let bare = Challenge::bearer().with("resource_metadata", metadata_url);
        let challenge = bare.to_header()?;
        let bad_request = bare.clone().with("error", "invalid_request").to_header()?;
        let bad_token = bare.with("error", "invalid_token").with("error_description", INVALID_TOKEN).to_header()?;
        let (request, token) = (Refusal::InvalidRequest, Refusal::InvalidToken);
        let forbidden = |refusal, code, text| Told::new(refusal, StatusCode::FORBIDDEN, code, text, None);
        Ok(Self {
            no_credentials: no_credentials(&challenge),
            invalid_request: Told::new(
                request,
                StatusCode::BAD_REQUEST,
                "invalid_request",
                INVALID_REQUEST,
                Some(&bad_request),
            ),
            invalid_token: Told::new(token, StatusCode::UNAUTHORIZED, "invalid_token", INVALID_TOKEN, Some(&bad_token)),
            owner_only: forbidden(Refusal::OwnerOnly, "owner_only", OWNER_ONLY),
            unclassified: forbidden(Refusal::Unclassified, "unclassified", UNCLASSIFIED),
            method: Told::new(Refusal::Method, StatusCode::METHOD_NOT_ALLOWED, "invalid_request", METHOD, None),
            unavailable: array::from_fn(|past_one| {
                Told::kept(Refusal::Unavailable, UNAVAILABLE, unavailable(1 + past_one as u64))
            }),
        })
    }

    pub(super) fn told(&self, refusal: Refusal, now: impl FnOnce() -> Timestamp) -> &'static Told {
        match refusal {
            Refusal::NoCredentials => self.no_credentials,
            Refusal::InvalidRequest => self.invalid_request,
            Refusal::InvalidToken => self.invalid_token,
            Refusal::OwnerOnly => self.owner_only,
            Refusal::Method => self.method,
            Refusal::Unclassified | Refusal::InsufficientScope => self.unclassified,
            Refusal::Unavailable => self.unavailable[jitter(now()) as usize - 1],
        }
    }
}

pub(super) fn no_credentials(challenge: &HeaderValue) -> &'static Told {
    let text =
        "this needs a bearer token in the Authorization header; WWW-Authenticate says where to learn how to get one";
    Told::new(Refusal::NoCredentials, StatusCode::UNAUTHORIZED, "unauthorized", text, Some(challenge))
}

pub(super) fn insufficient_scope(challenge: &HeaderValue, scopes: &str) -> &'static Told {
    let text =
        format!("this needs what your human has not granted: {scopes}; to ask for it, register anew with that scope");
    Told::new(Refusal::InsufficientScope, StatusCode::FORBIDDEN, "insufficient_scope", &text, Some(challenge))
}

/// One text for every reason, so that nobody can probe which tokens exist.
const INVALID_TOKEN: &str = "the access token is malformed, unknown, expired or revoked; forget it and register anew";
const INVALID_REQUEST: &str = "send one Authorization header with one bearer token, and no token anywhere else";
const OWNER_ONLY: &str = "this stays with the account's human; no scope opens it to an agent, so do not ask for more";
const UNCLASSIFIED: &str = "this service has not opened this to agents";
const METHOD: &str = "this method is not served";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
