//! The only human of the small examples, identified by a cookie that anybody can set. A real service checks its own
//! sign-in, as `examples/axum/login.rs` does.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{LOCATION, SET_COOKIE},
    request::Parts,
};
use http_body_util::Full;
use tower_agent_auth::{
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    types::{authorization::Account, id::AccountId},
};

pub(crate) struct OneHuman;

impl Accounts for OneHuman {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        if cookie(&request.headers, "human") != Some("me") {
            return Ok(None);
        }
        let id = AccountId::new("acct_1").map_err(AccountsError::new)?;
        Ok(Some(SignedIn::new(Account::new(id, "me@example.com"), "the only browser session")))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/login?{return_to}")
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

/// Signs in every caller, and redirects back to `return_to`, a path of this service.
pub(crate) fn sign_in(return_to: &str) -> Response<Full<Bytes>> {
    let local = return_to.starts_with('/') && !return_to[1..].starts_with(['/', '\\']);
    let location = if local { return_to } else { "/agent/sessions" };
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(SET_COOKIE, HeaderValue::from_static("human=me; Path=/; HttpOnly; SameSite=Lax"));
    if let Ok(location) = location.parse() {
        headers.insert(LOCATION, location);
    }
    response
}
