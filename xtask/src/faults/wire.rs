//! The routes that the runs call, and which scope opens which.

pub(crate) const REGISTER: &str = "/agent/auth";
pub(crate) const CLAIM: &str = "/agent/auth/claim";
pub(crate) const COMPLETE: &str = "/agent/auth/claim/complete";
pub(crate) const REVOKE: &str = "/agent/auth/revoke";
pub(crate) const REFRESH: &str = "/agent-sessions/refresh";
pub(crate) const IDENTITY: &str = "/agent/identity";
pub(crate) const CLAIM_IDENTITY: &str = "/agent/identity/claim";
pub(crate) const COMPLETE_IDENTITY: &str = "/agent/identity/claim/complete";
pub(crate) const TOKEN: &str = "/oauth2/token";
pub(crate) const REVOKE_TOKEN: &str = "/oauth2/revoke";
pub(crate) const CLAIM_GRANT: &str = "urn:workos:agent-auth:grant-type:claim";
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(crate) const REVOKE_SESSION: &str = "/agent-sessions/revoke";
pub(crate) const SESSIONS: &str = "/account/agent-sessions";
pub(crate) const LOGIN: &str = "/login";
pub(crate) const HEALTH: &str = "/health";
/// What a revocation is called in the ledger.
pub(crate) const REVOKES: &str = "revoke";
/// No scope opens it.
pub(crate) const OWNER_ONLY: &str = "/billing";

/// A scope and a route that needs it and nothing else.
pub(crate) const ROUTES: [(&str, &str); 5] = [
    ("projects:read", "/projects"),
    ("account:read", "/account"),
    ("analytics:read", "/stats?project=prj_bakery"),
    ("experiments:read", "/experiments"),
    ("live:read", "/live?project=prj_bakery"),
];

/// All scopes that the runs ask for.
pub(crate) const SCOPES: [&str; 5] = [ROUTES[0].0, ROUTES[1].0, ROUTES[2].0, ROUTES[3].0, ROUTES[4].0];

/// What the demo gives agents that nobody has claimed.
pub(crate) const PRE_CLAIM: [&str; 2] = [ROUTES[0].0, ROUTES[2].0];

/// What a live session with these scopes is answered on a route that needs `scope`.
pub(crate) fn expected(granted: &[&str], scope: &str) -> u16 {
    if granted.contains(&scope) { 200 } else { 403 }
}
