use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use http::{
    HeaderValue, Request, StatusCode,
    header::{ALLOW, WWW_AUTHENTICATE},
};

use super::{
    grpc::{is_grpc, trailers_only},
    policy::Requirement,
};
use crate::{
    challenge::{Challenge, ChallengeError},
    core::clock::Timestamp,
    reply::{Reply, UNAVAILABLE, error_reply, for_method, unavailable},
};

/// Why a guard refused a request. It stands in the response's extensions, so that outer layers can tell causes apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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

/// A refusal as it is told: written once, in each form.
pub(super) struct Told {
    http: Reply,
    grpc: Reply,
}

impl Told {
    fn new(refusal: Refusal, status: StatusCode, code: &str, text: &str, challenge: Option<&HeaderValue>) -> Self {
        let mut http = error_reply(status, code, text);
        if let Some(challenge) = challenge {
            http.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if refusal == Refusal::Method {
            http.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        http.extensions_mut().insert(refusal);
        Self { grpc: trailers_only(refusal, text, &http), http }
    }

    fn unavailable(now: Timestamp) -> Self {
        let mut http = unavailable(now);
        http.extensions_mut().insert(Refusal::Unavailable);
        Self { grpc: trailers_only(Refusal::Unavailable, UNAVAILABLE, &http), http }
    }

    fn to<B>(&self, request: &Request<B>) -> Reply {
        if is_grpc(request.headers()) { self.grpc.clone() } else { for_method(request.method(), self.http.clone()) }
    }
}

/// The refusals of a service that are the same for every request.
pub(super) struct Refusals {
    /// The challenge without credentials.
    pub(super) challenge: &'static HeaderValue,
    no_credentials: Told,
    invalid_request: Told,
    invalid_token: Told,
    owner_only: Told,
    unclassified: Told,
    method: Told,
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
        let challenge = constant(bare.to_header()?);
        let bad_request = bare.clone().with("error", "invalid_request").to_header()?;
        let bad_token = bare.with("error", "invalid_token").with("error_description", INVALID_TOKEN).to_header()?;
        let (request, token) = (Refusal::InvalidRequest, Refusal::InvalidToken);
        let forbidden = |refusal, code, text| Told::new(refusal, StatusCode::FORBIDDEN, code, text, None);
        Ok(Self {
            no_credentials: no_credentials(challenge),
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
            challenge,
        })
    }

    pub(super) fn reply<B>(
        &self,
        refusal: Refusal,
        request: &Request<B>,
        requirement: Option<&Requirement>,
        now: impl FnOnce() -> Timestamp,
    ) -> Reply {
        match (refusal, requirement) {
            (Refusal::NoCredentials, Some(requirement)) => requirement.no_credentials.to(request),
            (Refusal::NoCredentials, None) => self.no_credentials.to(request),
            (Refusal::InsufficientScope, Some(requirement)) => requirement.insufficient_scope.to(request),
            (Refusal::InvalidRequest, _) => self.invalid_request.to(request),
            (Refusal::InvalidToken, _) => self.invalid_token.to(request),
            (Refusal::OwnerOnly, _) => self.owner_only.to(request),
            (Refusal::Method, _) => self.method.to(request),
            (Refusal::Unclassified | Refusal::InsufficientScope, _) => self.unclassified.to(request),
            (Refusal::Unavailable, _) => Told::unavailable(now()).to(request),
        }
    }
}

/// Keeps a challenge for as long as the process lives, each only once. Every response in the making must be able to name
/// its own, and counting who still does would make all threads write to one place for each request.
pub(super) fn constant(challenge: HeaderValue) -> &'static HeaderValue {
    static KNOWN: Mutex<BTreeSet<&'static HeaderValue>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = known.get(&challenge) {
        return same;
    }
    let kept = Box::leak(Box::new(challenge));
    known.insert(kept);
    kept
}

pub(super) fn no_credentials(challenge: &HeaderValue) -> Told {
    let text =
        "this needs a bearer token in the Authorization header; WWW-Authenticate says where to learn how to get one";
    Told::new(Refusal::NoCredentials, StatusCode::UNAUTHORIZED, "unauthorized", text, Some(challenge))
}

pub(super) fn insufficient_scope(challenge: &HeaderValue, scopes: &str) -> Told {
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
