use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ALLOW, WWW_AUTHENTICATE},
};

use super::grpc::{is_call, trailers_only};
use crate::{
    challenge::{Challenge, ChallengeError},
    http::{Assembly, Reply, UNAVAILABLE, error_reply, for_method, unavailable},
    observe::CheckCounter,
};

/// Why a guard refused a request. The response's extensions contain it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Refusal {
    /// 401: the request has no bearer token.
    NoCredentials,
    /// 400: the request has more than one `Authorization` line, or a token in the query beside one in the header.
    InvalidRequest,
    /// 401: the token is malformed, unknown, expired, revoked or issued for another resource.
    InvalidToken,
    /// 403: the session lacks a scope.
    InsufficientScope,
    /// 403: only the account's owner may call the route.
    OwnerOnly,
    /// 403: the policy returns no rule for the request.
    NoRule,
    /// 400: the headers or the body of a request to an [MCP server](crate::AgentAuth::mcp) do not name its operation
    /// unambiguously.
    InvalidOperation,
    /// 413, 408 or 400: the body of a request to an MCP server is too large, too slow, or breaks off.
    Body,
    /// 405: the method is TRACE or CONNECT.
    Method,
    /// 503: the store or the accounts failed.
    Unavailable,
}

impl Refusal {
    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::OwnerOnly => "owner_only",
            Self::NoRule => "unclassified",
            Self::InvalidOperation => "invalid_operation",
            Self::Body => "body",
            Self::Method => "method",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The response for one refusal, built once and cloned for each refused request.
pub(super) struct RefusalResponse {
    refusal: Refusal,
    http: Reply,
    grpc: Reply,
    counter: CheckCounter,
    /// Is told when a request without credentials gets the challenge.
    assembly: Option<Arc<Assembly>>,
}

impl RefusalResponse {
    pub(super) fn new(refusal: Refusal, text: &str, mut http: Reply) -> Self {
        let mut grpc = trailers_only(refusal, text, &http);
        for response in [&mut http, &mut grpc] {
            response.extensions_mut().insert(refusal);
        }
        Self { refusal, http, grpc, counter: CheckCounter::new(refusal.as_str()), assembly: None }
    }

    fn challenged(refusal: Refusal, status: StatusCode, code: &str, text: &str, challenge: HeaderValue) -> Self {
        let mut http = error_reply(status, code, text);
        http.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        Self::new(refusal, text, http)
    }

    pub(super) fn no_credentials(challenge: HeaderValue, assembly: &Arc<Assembly>) -> Self {
        let refusal = Self::challenged(
            Refusal::NoCredentials,
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this needs a bearer token in the Authorization header; WWW-Authenticate says where to learn how to get one",
            challenge,
        );
        Self { assembly: Some(Arc::clone(assembly)), ..refusal }
    }

    pub(super) fn insufficient_scope(challenge: HeaderValue, scopes: &str) -> Self {
        let text = format!(
            "this needs what your human has not granted: {scopes}; to ask for it, register anew with that scope"
        );
        Self::challenged(Refusal::InsufficientScope, StatusCode::FORBIDDEN, "insufficient_scope", &text, challenge)
    }

    fn forbidden(refusal: Refusal, code: &str, text: &str) -> Self {
        Self::new(refusal, text, error_reply(StatusCode::FORBIDDEN, code, text))
    }

    pub(super) fn owner_only() -> Self {
        Self::forbidden(Refusal::OwnerOnly, "owner_only", OWNER_ONLY)
    }

    /// The response in the form that the request's protocol and method require. `grpc` is whether the route serves
    /// gRPC. Counts the refusal.
    pub(super) fn to<B>(&self, request: &Request<B>, grpc: bool) -> Response<Bytes> {
        self.counter.increment();
        if grpc && is_call(request) { self.grpc.clone() } else { for_method(request.method(), self.http.clone()) }
    }

    /// Notes that a request without credentials gets the challenge, if this is that challenge.
    pub(super) fn note_challenge(&self) {
        if let Some(assembly) = &self.assembly {
            assembly.note_challenge();
        }
    }

    pub(super) const fn refusal(&self) -> Refusal {
        self.refusal
    }

    pub(super) fn challenge(&self) -> Option<&HeaderValue> {
        self.http.headers().get(WWW_AUTHENTICATE)
    }
}

impl fmt::Debug for RefusalResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.refusal)
    }
}

/// The refusals that do not depend on the rule.
pub(super) struct Refusals {
    pub(super) no_credentials: Arc<RefusalResponse>,
    invalid_request: RefusalResponse,
    invalid_token: RefusalResponse,
    owner_only: RefusalResponse,
    no_rule: RefusalResponse,
    method: RefusalResponse,
    unavailable: RefusalResponse,
}

impl Refusals {
    pub(super) fn new(metadata_url: &str, assembly: &Arc<Assembly>) -> Result<Self, ChallengeError> {
        let challenge = Challenge::bearer().with("resource_metadata", metadata_url);
        let invalid_request = challenge.clone().with("error", "invalid_request").to_header()?;
        let invalid_token =
            challenge.clone().with("error", "invalid_token").with("error_description", INVALID_TOKEN).to_header()?;
        let mut method = error_reply(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", METHOD);
        method.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        Ok(Self {
            no_credentials: Arc::new(RefusalResponse::no_credentials(challenge.to_header()?, assembly)),
            invalid_request: RefusalResponse::challenged(
                Refusal::InvalidRequest,
                StatusCode::BAD_REQUEST,
                "invalid_request",
                INVALID_REQUEST,
                invalid_request,
            ),
            invalid_token: RefusalResponse::challenged(
                Refusal::InvalidToken,
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                INVALID_TOKEN,
                invalid_token,
            ),
            owner_only: RefusalResponse::owner_only(),
            no_rule: RefusalResponse::forbidden(Refusal::NoRule, "unclassified", NO_RULE),
            method: RefusalResponse::new(Refusal::Method, METHOD, method),
            unavailable: RefusalResponse::new(Refusal::Unavailable, UNAVAILABLE, unavailable(1)),
        })
    }

    pub(super) fn response(&self, refusal: Refusal) -> &RefusalResponse {
        match refusal {
            Refusal::NoCredentials => &self.no_credentials,
            Refusal::InvalidRequest => &self.invalid_request,
            Refusal::InvalidToken => &self.invalid_token,
            Refusal::OwnerOnly => &self.owner_only,
            // These come from rules that have their own response.
            Refusal::NoRule | Refusal::InsufficientScope | Refusal::InvalidOperation | Refusal::Body => &self.no_rule,
            Refusal::Method => &self.method,
            Refusal::Unavailable => &self.unavailable,
        }
    }
}

/// One text for all reasons, so that callers can't probe which tokens exist.
const INVALID_TOKEN: &str = "the access token is malformed, unknown, expired or revoked; forget it and register anew";
const INVALID_REQUEST: &str = "send one Authorization header with one bearer token, and no token anywhere else";
const OWNER_ONLY: &str = "this stays with the account's human; no scope opens it to an agent, so do not ask for more";
const NO_RULE: &str = "this service has not opened this to agents";
const METHOD: &str = "this method is not served";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
