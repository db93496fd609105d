//! What the guard adds to the response of the inner service.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, Entry, VARY, WWW_AUTHENTICATE},
};

use super::{grpc, refusal::RefusalResponse};
use crate::challenge::Challenge;

/// A request that the guard forwarded, for the headers that its response lacks.
pub(super) struct Forwarded {
    /// The refusal whose challenge is added if the inner service returns 401.
    pub(super) unauthorized: Arc<RefusalResponse>,
    pub(super) owner_only: bool,
    /// Whether the route serves gRPC.
    pub(super) grpc: bool,
}

impl Forwarded {
    pub(super) fn complete(&self, status: StatusCode, headers: &mut HeaderMap) {
        if status == StatusCode::UNAUTHORIZED || (self.grpc && grpc::is_unauthenticated(headers)) {
            self.unauthorized.note_challenge();
            add_challenge(headers, self.unauthorized.challenge());
        }
        if self.owner_only {
            restrict(
                headers,
                const { HeaderValue::from_static("no-store") },
                const { HeaderValue::from_static("authorization, cookie") },
            );
        } else {
            restrict(
                headers,
                const { HeaderValue::from_static("private") },
                const { HeaderValue::from_static("authorization") },
            );
        }
    }
}

/// Keeps shared caches from giving the response to another caller. Many proxies do not look at `Authorization` (RFC 9111
/// section 3.5), and their keys do not contain it. Where the inner service allows storing by a `Cache-Control` of its
/// own, `Vary` keeps callers apart. No shared cache stores a private response, so `Vary` would only cost another 390
/// instructions there.
fn restrict(headers: &mut HeaderMap, cache_control: HeaderValue, vary: HeaderValue) {
    // A map that is full stays as it is.
    if let Ok(Entry::Vacant(entry)) = headers.try_entry(CACHE_CONTROL) {
        let _ = entry.try_insert(cache_control);
    } else if names(&vary).any(|name| !headers.get_all(VARY).iter().any(|own| covers(own, name))) {
        let _ = headers.try_append(VARY, vary);
    }
}

fn covers(vary: &HeaderValue, name: &[u8]) -> bool {
    names(vary).any(|own| own == b"*" || own.eq_ignore_ascii_case(name))
}

fn names(vary: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    vary.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Adds the guard's challenge to a 401 of the inner service. It comes first, because some clients read only the first
/// challenge. A `Bearer` challenge of the inner service survives beside it: one scheme may have several challenges (RFC 9110
/// section 11.6.1), and without the guard's no client would find the metadata (RFC 9728 section 5.1). None is added if one
/// names this metadata already: a guard further in wrote it.
fn add_challenge(headers: &mut HeaderMap, challenge: Option<&HeaderValue>) {
    let Some(challenge) = challenge else { return };
    let theirs: Vec<HeaderValue> = headers.get_all(WWW_AUTHENTICATE).iter().cloned().collect();
    let own = metadata_urls(challenge);
    if theirs.iter().flat_map(metadata_urls).any(|url| own.contains(&url)) {
        return;
    }
    headers.insert(WWW_AUTHENTICATE, challenge.clone());
    for challenge in theirs {
        headers.append(WWW_AUTHENTICATE, challenge);
    }
}

/// The `resource_metadata` of each `Bearer` challenge.
fn metadata_urls(value: &HeaderValue) -> Vec<String> {
    let challenges = value.to_str().ok().and_then(|value| Challenge::parse(value).ok()).unwrap_or_default();
    let bearer = challenges.iter().filter(|challenge| challenge.is_bearer());
    bearer.filter_map(|challenge| challenge.parameter("resource_metadata").map(str::to_owned)).collect()
}
