use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use http::{
    HeaderValue, StatusCode,
    header::{ALLOW, WWW_AUTHENTICATE},
};

use super::policy::Requirement;
use crate::{
    challenge::{Challenge, ChallengeError},
    core::clock::Timestamp,
    reply::{Reply, error_reply, unavailable},
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

/// The refusals of a service that are the same for every request, each written once.
pub(super) struct Refusals {
    /// The challenge without credentials.
    pub(super) challenge: &'static HeaderValue,
    no_credentials: Reply,
    invalid_request: Reply,
    invalid_token: Reply,
    owner_only: Reply,
    unclassified: Reply,
    method: Reply,
}

impl Refusals {
    pub(super) fn new(metadata_url: &str) -> Result<Self, ChallengeError> {
        let bare = Challenge::bearer().with("resource_metadata", metadata_url);
        let challenge = constant(bare.to_header()?);
        let invalid_request = bare.clone().with("error", "invalid_request").to_header()?;
        let invalid_token = bare.with("error", "invalid_token").with("error_description", INVALID_TOKEN).to_header()?;
        let mut method = Refusal::Method.write(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", METHOD, None);
        method.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        Ok(Self {
            no_credentials: no_credentials(challenge),
            invalid_request: Refusal::InvalidRequest.write(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "send one Authorization header with one bearer token, and no token anywhere else",
                Some(&invalid_request),
            ),
            invalid_token: Refusal::InvalidToken.write(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                INVALID_TOKEN,
                Some(&invalid_token),
            ),
            owner_only: Refusal::OwnerOnly.write(
                StatusCode::FORBIDDEN,
                "owner_only",
                "this stays with the account's human; no scope opens it to an agent, so do not ask for more",
                None,
            ),
            unclassified: Refusal::Unclassified.write(
                StatusCode::FORBIDDEN,
                "unclassified",
                "this service has not opened this to agents",
                None,
            ),
            method,
            challenge,
        })
    }

    pub(super) fn reply(&self, refusal: Refusal, requirement: Option<&Requirement>, now: Timestamp) -> Reply {
        match (refusal, requirement) {
            (Refusal::NoCredentials, Some(requirement)) => requirement.no_credentials.clone(),
            (Refusal::NoCredentials, None) => self.no_credentials.clone(),
            (Refusal::InsufficientScope, Some(requirement)) => requirement.insufficient_scope.clone(),
            (Refusal::InvalidRequest, _) => self.invalid_request.clone(),
            (Refusal::InvalidToken, _) => self.invalid_token.clone(),
            (Refusal::OwnerOnly, _) => self.owner_only.clone(),
            (Refusal::Method, _) => self.method.clone(),
            (Refusal::Unclassified | Refusal::InsufficientScope, _) => self.unclassified.clone(),
            (Refusal::Unavailable, _) => {
                let mut reply = unavailable(now);
                reply.extensions_mut().insert(refusal);
                reply
            }
        }
    }
}

impl Refusal {
    fn write(self, status: StatusCode, code: &str, text: &str, challenge: Option<&HeaderValue>) -> Reply {
        let mut reply = error_reply(status, code, text);
        if let Some(challenge) = challenge {
            reply.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
        }
        reply.extensions_mut().insert(self);
        reply
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

pub(super) fn no_credentials(challenge: &HeaderValue) -> Reply {
    let text =
        "this needs a bearer token in the Authorization header; WWW-Authenticate says where to learn how to get one";
    Refusal::NoCredentials.write(StatusCode::UNAUTHORIZED, "unauthorized", text, Some(challenge))
}

pub(super) fn insufficient_scope(challenge: &HeaderValue, scopes: &str) -> Reply {
    let text =
        format!("this needs what your human has not granted: {scopes}; to ask for it, register anew with that scope");
    Refusal::InsufficientScope.write(StatusCode::FORBIDDEN, "insufficient_scope", &text, Some(challenge))
}

/// One text for every reason, so that nobody can probe which tokens exist.
const INVALID_TOKEN: &str = "the access token is malformed, unknown, expired or revoked; forget it and register anew";
const METHOD: &str = "this method is not served";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
