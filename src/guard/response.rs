//! What the guard adds to the response of the inner service.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

use super::refusal::RefusalResponse;
use crate::challenge::Challenge;

/// A request that the guard forwarded, for the headers that its response lacks.
pub(super) struct Forwarded {
    /// The refusal whose challenge is added if the inner service returns 401.
    pub(super) unauthorized: Arc<RefusalResponse>,
}

impl Forwarded {
    pub(super) fn complete(&self, status: StatusCode, headers: &mut HeaderMap) {
        if status == StatusCode::UNAUTHORIZED {
            add_challenge(headers, self.unauthorized.challenge());
        }
    }
}

/// Adds the guard's challenge to a 401 of the inner service. It comes first, because some clients read only the first
/// challenge. If the inner service sent a `Bearer` challenge, none is added.
fn add_challenge(headers: &mut HeaderMap, challenge: Option<&HeaderValue>) {
    let Some(challenge) = challenge else { return };
    let theirs: Vec<HeaderValue> = headers.get_all(WWW_AUTHENTICATE).iter().cloned().collect();
    if theirs.iter().any(has_bearer) {
        return;
    }
    headers.insert(WWW_AUTHENTICATE, challenge.clone());
    for challenge in theirs {
        headers.append(WWW_AUTHENTICATE, challenge);
    }
}

fn has_bearer(value: &HeaderValue) -> bool {
    let challenges = value.to_str().ok().and_then(|value| Challenge::parse(value).ok());
    challenges.is_some_and(|challenges| challenges.iter().any(Challenge::is_bearer))
}
