//! The same over gRPC, by a real client: `Methods` whose rules leave the host's callers to the host.

use std::{net::SocketAddr, pin::Pin};

use tokio::net::TcpListener;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::MetadataMap,
    transport::{Channel, Server},
};
use tower_agent_auth::{
    guard::Rule,
    testing,
    tonic::{Methods, agent},
};

use super::{
    JWT,
    common::{PRM, Service},
};
use notes::{
    Added, DeleteAccountRequest, Deleted, ListRequest, NewestRequest, Note,
    notes_client::NotesClient,
    notes_server::{Notes, NotesServer},
};

mod notes {
    #![allow(dead_code, unreachable_pub, missing_docs, reason = "generated")]
    include!("../../examples/tonic/notes.rs");
}

const HOSTS: &str = r#"Bearer realm="host""#;

/// A service with keys and JWT of its own. Each method says who calls.
struct Book;

fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    if let Ok(agent) = agent(request) {
        return Ok(agent.account.id.to_string());
    }
    let is = |name: &str, value: &str| request.metadata().get(name).is_some_and(|line| line == value);
    if is("x-api-key", "key_1") {
        return Ok("key".into());
    }
    if is("authorization", &format!("Bearer {JWT}")) {
        return Ok("jwt".into());
    }
    let mut metadata = MetadataMap::new();
    metadata.insert("www-authenticate", HOSTS.parse().unwrap());
    Err(Status::with_metadata(Code::Unauthenticated, "the host knows you not", metadata))
}

#[tonic::async_trait]
impl Notes for Book {
    async fn newest(&self, request: Request<NewestRequest>) -> Result<Response<Note>, Status> {
        Ok(Response::new(Note { text: caller(&request)? }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let note = Note { text: caller(&request)? };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(note)))))
    }

    async fn add(&self, request: Request<Streaming<Note>>) -> Result<Response<Added>, Status> {
        caller(&request).map(|_| Response::new(Added { total: 0 }))
    }

    async fn delete_account(&self, request: Request<DeleteAccountRequest>) -> Result<Response<Deleted>, Status> {
        Ok(Response::new(Deleted { account: caller(&request)? }))
    }
}

async fn serve(service: &Service, around: bool) -> SocketAddr {
    let auth = &service.auth;
    let rule = |rule: Rule| if around { rule } else { rule.or_host_auth() };
    let methods = Methods::new()
        .method("/notes.v1.Notes/Newest", rule(auth.all_of("projects:read").unwrap()))
        .and_then(|methods| methods.method("/notes.v1.Notes/Add", rule(auth.all_of("projects:write").unwrap())))
        .and_then(|methods| methods.method("/notes.v1.Notes/DeleteAccount", rule(Rule::owner_only())))
        .unwrap();
    let layer = methods.into_layer(auth);
    let layer = if around { layer.or_host_auth() } else { layer };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Server::builder().layer(auth.endpoints()).layer(layer).add_service(NotesServer::new(Book));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn with<T>(message: T, lines: &[(&'static str, String)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in lines {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// What became of a call: who the service took it for, or the code and the challenges.
type Fate = Result<String, (Code, Vec<String>)>;

fn fate(answer: Result<String, Status>) -> Fate {
    answer.map_err(|status| {
        let challenges = status.metadata().get_all("www-authenticate").iter();
        (status.code(), challenges.map(|value| value.to_str().unwrap().to_owned()).collect())
    })
}

#[tokio::test]
async fn r129_r130_grpc_calls_of_agents_and_of_the_hosts_callers() {
    let service = Service::new();
    let issued = testing::session(&service.auth).account("ada").scopes("projects:read").issue().await;
    let revoked = testing::session(&service.auth).scopes("projects:read").revoked().issue().await;
    let [token, revoked] = [&issued, &revoked].map(|issued| format!("Bearer {}", issued.access_token()));
    let line = |value: &str| ("authorization", value.to_owned());
    let key = || ("x-api-key", "key_1".to_owned());
    let bare = format!(r#"Bearer resource_metadata="{PRM}""#);
    let asks = |scope: &str| format!(r#"{bare}, scope="{scope}""#);
    let refused = |code: Code, challenge: &str| -> Fate { Err((code, vec![challenge.to_owned()])) };
    let hosts =
        |challenge: &str| -> Fate { Err((Code::Unauthenticated, vec![challenge.to_owned(), HOSTS.to_owned()])) };
    let ok = |who: &str| -> Fate { Ok(who.to_owned()) };
    let error = |code: &str| format!(r#"error="{code}""#);
    for around in [false, true] {
        let mut client: NotesClient<Channel> =
            NotesClient::connect(format!("http://{}", serve(&service, around).await)).await.unwrap();
        let jwt = format!("Bearer {JWT}");
        let dpop = token.replacen("Bearer", "DPoP", 1);
        for (lines, newest, add, delete) in [
            (vec![], hosts(&asks("projects:read")), hosts(&asks("projects:write")), hosts(&bare)),
            (vec![key()], ok("key"), ok("0"), ok("key")),
            (vec![line(&jwt)], ok("jwt"), ok("0"), ok("jwt")),
            (
                vec![line("Bearer sk_unknown")],
                hosts(&asks("projects:read")),
                hosts(&asks("projects:write")),
                hosts(&bare),
            ),
            (
                vec![line(&token), key()],
                ok("ada"),
                refused(Code::PermissionDenied, &error("insufficient_scope")),
                Err((Code::PermissionDenied, vec![])),
            ),
            (
                vec![line(&revoked), key()],
                refused(Code::Unauthenticated, &error("invalid_token")),
                refused(Code::Unauthenticated, &error("invalid_token")),
                refused(Code::Unauthenticated, &error("invalid_token")),
            ),
            (
                vec![line(&jwt), line(&token), key()],
                refused(Code::InvalidArgument, &error("invalid_request")),
                refused(Code::InvalidArgument, &error("invalid_request")),
                refused(Code::InvalidArgument, &error("invalid_request")),
            ),
            (
                vec![line(&dpop), key()],
                refused(Code::Unauthenticated, &asks("projects:read")),
                refused(Code::Unauthenticated, &asks("projects:write")),
                refused(Code::Unauthenticated, &bare),
            ),
        ] {
            let answers = [
                fate(client.newest(with(NewestRequest {}, &lines)).await.map(|note| note.into_inner().text)),
                fate(
                    client
                        .add(with(tokio_stream::empty(), &lines))
                        .await
                        .map(|added| added.into_inner().total.to_string()),
                ),
                fate(
                    client
                        .delete_account(with(DeleteAccountRequest {}, &lines))
                        .await
                        .map(|deleted| deleted.into_inner().account),
                ),
            ];
            for (answer, expected) in answers.into_iter().zip([newest, add, delete]) {
                let same = match (&answer, &expected) {
                    (Ok(answer), Ok(expected)) => answer == expected,
                    (Err((code, challenges)), Err((expected, parts))) => {
                        let found = challenges.iter().zip(parts).all(|(challenge, part)| challenge.contains(part));
                        code == expected && found && challenges.len() == parts.len()
                    }
                    _ => false,
                };
                assert!(same, "around: {around}, {lines:?}: {answer:?}, expected {expected:?}");
            }
        }
        // A method without a rule: default deny for everybody, or for agents alone.
        let mut list = async |lines: &[(&'static str, String)]| {
            let listed = client.list(with(ListRequest {}, lines)).await;
            fate(listed.map(|_| String::new())).map_err(|(code, _)| code)
        };
        let others = if around { Ok(String::new()) } else { Err(Code::Unauthenticated) };
        assert_eq!(list(&[key()]).await, others);
        assert_eq!(list(&[line(&token), key()]).await, Err(Code::PermissionDenied));
    }
}
