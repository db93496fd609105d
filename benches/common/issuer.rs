//! An issuer in this process, the humans who sign in at it, and how both are spoken to.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::SET_COOKIE, request::Parts};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_agent_auth::{
    AgentAuth,
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    types::{authorization::Account, id::AccountId},
};

pub(crate) const ORIGIN: &str = "https://api.example.com";

/// Signs in whoever the cookie names.
pub(crate) struct Humans;

impl Accounts for Humans {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let Some(name) = cookie(&request.headers, "user") else { return Ok(None) };
        let account = Account::new(AccountId::new(name).map_err(AccountsError::new)?, name);
        Ok(Some(SignedIn::new(account, "browser")))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/login?next={return_to}")
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

/// What the endpoints answer.
pub(crate) async fn send(auth: &AgentAuth, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, String) {
    let nothing = service_fn(async |_| Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::default())));
    let (parts, body) = auth.endpoints().layer(nothing).oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

/// A request that sends a form.
pub(crate) fn form(path: &str) -> http::request::Builder {
    Request::post(path).header("content-type", "application/x-www-form-urlencoded")
}

/// The cookies of a browser, and those that the response sets.
pub(crate) fn cookies(so_far: String, headers: &HeaderMap) -> String {
    match headers.get(SET_COOKIE) {
        Some(set) => format!("{so_far}; {}", set.to_str().unwrap().split(';').next().unwrap()),
        None => so_far,
    }
}

/// The seal of the page's form.
pub(crate) fn seal(page: &str) -> &str {
    page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap()
}
