//! One issuer for two origins: a service with the ceremony and an API of its own, and an API on another origin that only
//! checks tokens. They share the store of the sessions, and nothing else; or not even that, and the API asks the issuer.
//!
//! ```text
//! cargo run --example split
//! cargo run --example split -- --introspect
//! ```
#![allow(clippy::print_stdout, reason = "it says where it is and what to try")]

use std::{error::Error, path::Path};

use axum::{Json, Router, extract::RawQuery, routing::get};
use serde_json::{Value, json};
use sha2::Digest;
use tokio::net::TcpListener;
use tower_agent_auth::{
    AgentAuth, Config,
    config::{Dialect, ResourceServer},
    guard::AgentSession,
    store::{RemoteSessions, SqliteStore},
};

#[path = "common/human.rs"]
mod human;
#[path = "common/server.rs"]
mod server;
use human::OneHuman;
use server::Limits;

/// What the API proves itself with when it asks the issuer. A real one is random and comes from the environment.
const SECRET: &str = "the secret of the files, not to be copied";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("sessions.db");
    let (notes, notes_url) = listen().await?;
    let (files, files_url) = listen().await?;
    let issuer = issuer(&notes_url, &files_url, &store).await?;
    let shared = (!std::env::args().any(|argument| argument == "--introspect")).then_some(&*store);
    let checks_only = checks_only(&files_url, &notes_url, shared).await?;

    println!("the issuer listens on {notes_url}\nthe files listen on {files_url}\n");
    println!("Try: cargo run --example agent -- {notes_url}/notes");
    println!("And: cargo run --example agent -- {files_url}/files");
    let housekeeping = tokio::spawn({
        let issuer = issuer.clone();
        async move { issuer.housekeeping(server::asked_to_stop()).await }
    });
    tokio::join!(
        server::serve(notes, Limits::default(), notes_app(&issuer), server::asked_to_stop()),
        server::serve(files, Limits::default(), files_app(&checks_only), server::asked_to_stop()),
    );
    housekeeping.await?;
    Ok(())
}

async fn listen() -> Result<(TcpListener, String), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Not 127.0.0.1, where agents listen for the browser: it would send them the cookies of this service.
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    Ok((listener, url))
}

/// The issuer. It knows each resource that agents may ask for, with the scopes that they may be granted there.
async fn issuer(own: &str, files: &str, store: &Path) -> Result<AgentAuth, Box<dyn Error>> {
    let config = Config::builder()
        .resource(own)
        .name("Notes")
        .scope("notes:read", "Read your notes", |scope| scope.by_default())
        .scope("files:read", "Read your files", |scope| scope.by_default())
        .add_resource(files, |resource| resource.name("Files").scopes("files:read"))
        .dialects(&[Dialect::AgentAuth, Dialect::AgentSessions, Dialect::OAuth])
        .oauth(|oauth| {
            let digest = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(SECRET));
            oauth.resource_servers.push(ResourceServer::new("files", &digest, &[files]));
        })
        .build()?;
    let store = SqliteStore::open(store).await?;
    Ok(AgentAuth::builder(config).sessions(store).accounts(OneHuman).build()?)
}

/// The service on the other origin. Its configuration names the issuer, and its own resource and scopes. Without a shared
/// store, it asks the issuer about each token.
async fn checks_only(own: &str, issuer: &str, shared: Option<&Path>) -> Result<AgentAuth, Box<dyn Error>> {
    let config = Config::builder()
        .resource(own)
        .issuer(issuer)
        .name("Files")
        .scope("files:read", "Read your files", |scope| scope.by_default())
        .build()?;
    let builder = AgentAuth::builder(config.clone());
    let builder = match shared {
        Some(store) => builder.checks_only(SqliteStore::open(store).await?),
        None => builder.checks_only(RemoteSessions::of(&config, "files", SECRET)?),
    };
    Ok(builder.build()?)
}

fn notes_app(auth: &AgentAuth) -> Router {
    Router::new()
        .route("/notes", get(notes).layer(auth.require("notes:read")))
        .route("/login", get(async |RawQuery(return_to)| human::sign_in(&return_to.unwrap_or_default())))
        .merge(auth.router())
}

fn files_app(auth: &AgentAuth) -> Router {
    Router::new().route("/files", get(files).layer(auth.require("files:read"))).merge(auth.router())
}

async fn notes(agent: AgentSession) -> Json<Value> {
    Json(json!({ "notes": ["buy bread"], "account": agent.account.id.as_str() }))
}

async fn files(agent: AgentSession) -> Json<Value> {
    Json(json!({ "files": ["letter.txt"], "account": agent.account.id.as_str() }))
}
