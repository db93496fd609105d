use std::sync::Arc;

use http::{
    HeaderValue, StatusCode,
    header::{ALLOW, WWW_AUTHENTICATE},
};

use super::policy::Requirement;
use crate::{
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

/// The header values of a service's refusals.
#[derive(Debug)]
pub(super) struct Challenges {
    pub(super) bare: HeaderValue,
    pub(super) invalid_request: HeaderValue,
    pub(super) invalid_token: HeaderValue,
}

impl Refusal {
    pub(super) fn reply(
        self,
        challenges: &Challenges,
        requirement: Option<&Arc<Requirement>>,
        now: Timestamp,
    ) -> Reply {
        let bare = requirement.map_or(&challenges.bare, |requirement| &requirement.unauthorized);
        let (mut reply, challenge) = match self {
            Self::NoCredentials => (
                error_reply(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    "this needs a bearer token in the Authorization header; WWW-Authenticate says where to learn how to get one",
                ),
                Some(bare),
            ),
            Self::InvalidRequest => (
                error_reply(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    "send one Authorization header with one bearer token, and no token anywhere else",
                ),
                Some(&challenges.invalid_request),
            ),
            Self::InvalidToken => {
                (error_reply(StatusCode::UNAUTHORIZED, "invalid_token", INVALID_TOKEN), Some(&challenges.invalid_token))
            }
            Self::InsufficientScope => (
                error_reply(StatusCode::FORBIDDEN, "insufficient_scope", &lacking(requirement)),
                requirement.map(|requirement| &requirement.insufficient),
            ),
            Self::OwnerOnly => (
                error_reply(
                    StatusCode::FORBIDDEN,
                    "owner_only",
                    "this stays with the account's human; no scope opens it to an agent, so do not ask for more",
                ),
                None,
            ),
            Self::Unclassified => {
                (error_reply(StatusCode::FORBIDDEN, "unclassified", "this service has not opened this to agents"), None)
            }
            Self::Method => {
                (error_reply(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this method is not served"), None)
            }
            Self::Unavailable => (unavailable(now), None),
        };
        if let Some(challenge) = challenge {
            reply.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if self == Self::Method {
            let served = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            reply.headers_mut().insert(ALLOW, served);
        }
        reply.extensions_mut().insert(self);
        reply
    }
}

/// One text for every reason, so that nobody can probe which tokens exist.
pub(super) const INVALID_TOKEN: &str =
    "the access token is malformed, unknown, expired or revoked; forget it and register anew";

fn lacking(requirement: Option<&Arc<Requirement>>) -> String {
    let scopes = requirement.map_or("", |requirement| requirement.scopes.as_str());
    format!("this needs what your human has not granted: {scopes}; to ask for it, register anew with that scope")
}
