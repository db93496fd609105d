//! Agent auth around a tonic gRPC service, with the documents and the ceremony on the same port.
//!
//! ```text
//! cargo run --example tonic
//! ```
//!
//! `cargo run --example agent -- URL/agent/sessions` runs the ceremony. A gRPC client then sends the token as metadata:
//! `authorization: Bearer aas_…`. `cargo xtask proto` generates `notes.rs` from `notes.proto`.
#![allow(clippy::print_stdout, reason = "it says where it is and what to try")]

use std::{error::Error, pin::Pin, sync::Mutex};

use axum::{extract::RawQuery, response::Redirect, routing::get};
use http::{
    HeaderName,
    header::{COOKIE, SET_COOKIE},
    request::Parts,
};
use tokio::net::TcpListener;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    service::Routes,
    transport::{Server, server::TcpConnectInfo},
};
use tower::Layer;
use tower_agent_auth::{
    AgentAuth, Config,
    accounts::{Accounts, AccountsError, SignedIn},
    guard::Rule,
    store::MemoryStore,
    tonic::{Methods, agent, owner},
    types::{authorization::Account, id::AccountId},
};

use notes::{
    Added, DeleteAccountRequest, Deleted, ListRequest, NewestRequest, Note,
    notes_server::{Notes, NotesServer},
};

mod notes {
    #![allow(dead_code, unreachable_pub, reason = "generated")]
    include!("notes.rs");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Not 127.0.0.1, where agents listen for the browser: it would send them the cookies of this service.
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    let config = Config::builder()
        .resource(&url)
        .name("Notes")
        .scope("notes:read", "Read your notes", |scope| scope.by_default())
        .scope("notes:write", "Add to your notes", |scope| scope.implies("notes:read"))
        .build()?;
    let auth = AgentAuth::builder(config)
        .sessions(MemoryStore::new())
        .accounts(OneHuman)
        .peer_address(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()))
        .build()?;

    // The rule of each method; all other methods are refused.
    let methods = Methods::new()
        .service("notes.v1.Notes", auth.all_of("notes:read")?)?
        .method("/notes.v1.Notes/Add", auth.all_of("notes:write")?)?
        .method("/notes.v1.Notes/DeleteAccount", Rule::owner_only())?;

    let notes = Routes::new(methods.into_layer(&auth).layer(NotesServer::new(Book::default())));

    println!("listening on {url}\n\nTry: curl -i {url}/.well-known/oauth-protected-resource");
    Server::builder()
        .accept_http1(true) // for the documents and the human's browser
        .layer(auth.endpoints())
        .add_routes(Routes::from(notes.into_axum_router().route("/login", get(sign_in))))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

/// The notes of the only account.
#[derive(Debug, Default)]
struct Book(Mutex<Vec<Note>>);

impl Book {
    fn notes(&self) -> Vec<Note> {
        self.0.lock().map(|notes| notes.clone()).unwrap_or_default()
    }
}

#[tonic::async_trait]
impl Notes for Book {
    async fn newest(&self, request: Request<NewestRequest>) -> Result<Response<Note>, Status> {
        let account = agent(&request)?.account.id.clone();
        let newest = self.notes().pop();
        newest.map(Response::new).ok_or_else(|| Status::not_found(format!("{account} has no note")))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::iter(self.notes().into_iter().map(Ok)))))
    }

    async fn add(&self, request: Request<Streaming<Note>>) -> Result<Response<Added>, Status> {
        let mut added = request.into_inner();
        while let Some(note) = added.message().await? {
            self.0.lock().map_err(|_| Status::internal("the book is torn"))?.push(note);
        }
        Ok(Response::new(Added { total: self.notes().len() as u64 }))
    }

    async fn delete_account(&self, request: Request<DeleteAccountRequest>) -> Result<Response<Deleted>, Status> {
        Ok(Response::new(Deleted { account: owner(&request)?.account().id.to_string() }))
    }
}

/// Signs in every caller, and redirects back to `return_to`, a path of this service.
async fn sign_in(RawQuery(return_to): RawQuery) -> ([(HeaderName, &'static str); 1], Redirect) {
    let return_to = return_to.unwrap_or_default();
    let local = return_to.starts_with('/') && !return_to[1..].starts_with(['/', '\\']);
    let location = if local { &return_to } else { "/agent/sessions" };
    ([(SET_COOKIE, "human=me; Path=/; HttpOnly; SameSite=Lax")], Redirect::to(location))
}

/// The only human, identified by a cookie that anybody can set. A real service checks its own sign-in here, as
/// `examples/axum/login.rs` does.
struct OneHuman;

impl Accounts for OneHuman {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let cookies = request.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        if !cookies.flat_map(|line| line.split(';')).any(|cookie| cookie.trim() == "human=me") {
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
