//! Agent auth around a bare hyper service, without a framework.
//!
//! ```text
//! cargo run --example hyper
//! ```
#![allow(clippy::print_stdout, reason = "it says where it is and what to try")]

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION, SET_COOKIE},
    request::Parts,
};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::Layer;
use tower_agent_auth::{
    AgentAuth, Config,
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    guard::{AgentSession, Owner, Rule},
    store::MemoryStore,
    types::{authorization::Account, id::AccountId},
};

/// The server, which the axum example has as well. It bounds connections, heads, bodies and idle time; hyper alone does not.
#[path = "common/server.rs"]
mod server;
use server::{Body, Limits};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Not 127.0.0.1, where agents listen for the browser: it would send them the cookies of this service.
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    let config = Config::builder()
        .resource(&url)
        .name("Bare hyper")
        .scope("notes:read", "Read your notes", |scope| scope.by_default())
        .build()?;
    let auth = AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(OneHuman).build()?;

    // The rule of each path that the service matches; all other paths are refused.
    let read = auth.all_of("notes:read")?;
    let policy = auth.policy(move |request| match request.uri.path() {
        "/login" => Some(Rule::public()),
        "/notes" => Some(read.clone()),
        "/billing" => Some(Rule::owner_only()),
        _ => None,
    });
    let app = auth.endpoints().layer(policy.layer(tower::service_fn(answer)));

    println!("listening on {url}\n\nTry: cargo run --example agent -- {url}/notes");
    // Each request has its peer's address as an extension. The approval page shows it.
    server::serve(listener, Limits::default(), app, server::asked_to_stop()).await;
    Ok(())
}

/// The service. It reads the caller from the request's extensions, where only a guard inserts it.
async fn answer(request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    let extensions = request.extensions();
    Ok(if let Some(agent) = extensions.get::<AgentSession>() {
        reply(StatusCode::OK, &json!({ "notes": ["buy bread"], "account": agent.account.id.as_str() }))
    } else if let Some(owner) = extensions.get::<Owner>() {
        reply(StatusCode::OK, &json!({ "due": 0, "account": owner.account().id.as_str() }))
    } else if request.uri().path() == "/login" {
        sign_in(request.uri().query().unwrap_or_default())
    } else {
        reply(StatusCode::NOT_FOUND, &json!({ "error": "not_found" }))
    })
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// The only human, identified by a cookie that anybody can set. A real service checks its own sign-in here, as
/// `examples/axum/login.rs` does.
struct OneHuman;

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
fn sign_in(return_to: &str) -> Response<Full<Bytes>> {
    let local = return_to.starts_with('/') && !return_to[1..].starts_with(['/', '\\']);
    let location = if local { return_to } else { "/agent/sessions" };
    let mut response = reply(StatusCode::SEE_OTHER, &json!({ "signed_in": true }));
    response
        .headers_mut()
        .insert(SET_COOKIE, http::HeaderValue::from_static("human=me; Path=/; HttpOnly; SameSite=Lax"));
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
