//! A service whose store is redb, an embedded database in one file: an engine of one's own under `OrderedStore`.
//!
//! ```text
//! cargo run --example redb
//! ```
//!
//! `tests/redb.rs` runs the conformance suite on this store.
#![allow(clippy::print_stdout, reason = "it says where it is and what to try")]

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpListener;
use tower::Layer;
use tower_agent_auth::{
    AgentAuth, Config,
    guard::{AgentSession, Rule},
    store::ordered::OrderedStore,
};

mod engine;
#[path = "../common/human.rs"]
mod human;
#[path = "../common/server.rs"]
mod server;

use engine::Redb;
use human::OneHuman;
use server::{Body, Limits};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    let config = Config::builder()
        .resource(&url)
        .name("On redb")
        .scope("notes:read", "Read your notes", |scope| scope.by_default())
        .build()?;
    let file = std::env::temp_dir().join("agent-auth.redb");
    let store = OrderedStore::new(Redb::create(&file)?);
    let auth = AgentAuth::builder(config).sessions(store).accounts(OneHuman).build()?;

    let read = auth.all_of("notes:read")?;
    let policy = auth.policy(move |request| match request.uri.path() {
        "/login" => Some(Rule::public()),
        "/notes" => Some(read.clone()),
        _ => None,
    });
    let app = auth.endpoints().layer(policy.layer(tower::service_fn(answer)));

    println!("listening on {url}, sessions in {}\n\nTry: cargo run --example agent -- {url}/notes", file.display());
    server::serve(listener, Limits::default(), app, server::asked_to_stop()).await;
    Ok(())
}

async fn answer(request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.extensions().get::<AgentSession>() {
        Some(agent) => Response::new(Full::from(format!("the notes of {}\n", agent.account.label))),
        None if request.uri().path() == "/login" => human::sign_in(request.uri().query().unwrap_or_default()),
        None => {
            let mut response = Response::new(Full::from("there is nothing at this path\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    })
}
