//! Agent auth around a bare hyper service, without a framework.
//!
//! ```text
//! cargo run --example hyper
//! ```
#![allow(clippy::print_stdout, reason = "it says where it is and what to try")]

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::Layer;
use tower_agent_auth::{
    AgentAuth, Config,
    guard::{AgentSession, Owner, Rule},
    store::MemoryStore,
};

#[path = "common/human.rs"]
mod human;
use human::OneHuman;

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
        human::sign_in(request.uri().query().unwrap_or_default())
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
