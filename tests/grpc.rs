//! A gRPC service of tonic behind the guard, called by a real tonic client over loopback: what passes, what is refused and
//! how, streams, and the documents on the same port over HTTP/1.1 and HTTP/2.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Method, StatusCode, header::WWW_AUTHENTICATE};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Server},
};
use tower::Layer;
use tower_agent_auth::{
    AgentAuth,
    challenge::Challenge,
    guard::Rule,
    tonic::{Methods, agent, owner},
};

use notes::{
    Added, DeleteAccountRequest, Deleted, ListRequest, NewestRequest, Note,
    notes_client::NotesClient,
    notes_server::{Notes, NotesServer},
};

mod common;
use common::{Fault, PRM, Service};

mod notes {
    #![allow(dead_code, unreachable_pub, missing_docs, reason = "generated")]
    include!("../examples/tonic/notes.rs");
}

/// A book that says who asks, and lists a first note at once and a second when it is told to.
#[derive(Clone, Default)]
struct Book(Arc<Notify>);

#[tonic::async_trait]
impl Notes for Book {
    async fn newest(&self, request: Request<NewestRequest>) -> Result<Response<Note>, Status> {
        Ok(Response::new(Note { text: agent(&request)?.account.id.to_string() }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let more = Arc::clone(&self.0);
        let first = tokio_stream::once(Ok(Note { text: "first".into() }));
        let (send, second) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            more.notified().await;
            let _ = send.send(Ok(Note { text: "second".into() })).await;
        });
        Ok(Response::new(Box::pin(first.chain(tokio_stream::wrappers::ReceiverStream::new(second)))))
    }

    async fn add(&self, request: Request<Streaming<Note>>) -> Result<Response<Added>, Status> {
        let mut notes = request.into_inner();
        let mut total = 0;
        while notes.message().await?.is_some() {
            total += 1;
        }
        Ok(Response::new(Added { total }))
    }

    async fn delete_account(&self, request: Request<DeleteAccountRequest>) -> Result<Response<Deleted>, Status> {
        Ok(Response::new(Deleted { account: owner(&request)?.account().id.to_string() }))
    }
}

struct Host {
    service: Service,
    address: SocketAddr,
    book: Book,
}

impl Host {
    /// A server on which the methods have classes of their own.
    async fn start() -> Self {
        let service = Service::new();
        let auth = &service.auth;
        let methods = Methods::new()
            .method("/notes.v1.Notes/Newest", auth.all_of("projects:read").unwrap())
            .and_then(|methods| methods.method("/notes.v1.Notes/List", auth.all_of("projects:read").unwrap()))
            .and_then(|methods| methods.method("/notes.v1.Notes/Add", auth.all_of("projects:write").unwrap()))
            .and_then(|methods| methods.method("/notes.v1.Notes/DeleteAccount", Rule::owner_only()))
            .unwrap();
        let layer = methods.into_layer(auth);
        let book = Book::default();
        let server = NotesServer::new(book.clone());
        let router = Server::builder().accept_http1(true).layer(auth.endpoints()).layer(layer).add_service(server);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { service, address, book }
    }

    async fn client(&self) -> NotesClient<Channel> {
        connect(self.address).await
    }

    async fn refused(&self, token: Option<&str>) -> Status {
        self.client().await.newest(call(NewestRequest {}, token)).await.unwrap_err()
    }
}

async fn connect(address: SocketAddr) -> NotesClient<Channel> {
    NotesClient::connect(format!("http://{address}")).await.unwrap()
}

fn call<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

fn challenge(status: &Status) -> Challenge {
    let value = status.metadata().get("www-authenticate").unwrap().to_str().unwrap();
    Challenge::parse(value).unwrap().remove(0)
}

#[tokio::test]
async fn a_call_without_a_token_is_told_where_to_learn_how_to_get_one() {
    let status = Host::start().await.refused(None).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(challenge(&status).parameter("resource_metadata"), Some(PRM));
    assert!(status.message().contains("WWW-Authenticate"), "{}", status.message());
}

#[tokio::test]
async fn every_refusal_has_its_code() {
    let host = Host::start().await;
    let token = host.service.token(&["projects:read"]).await;
    let last = if token.ends_with('x') { 'y' } else { 'x' };
    for bad in ["nonsense", &format!("{}{last}", &token[..token.len() - 1])] {
        let status = host.refused(Some(bad)).await;
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(challenge(&status).parameter("error"), Some("invalid_token"));
    }
    let mut client = host.client().await;
    let wrong = client.add(call(tokio_stream::empty(), Some(&token))).await.unwrap_err();
    assert_eq!(wrong.code(), Code::PermissionDenied);
    assert_eq!(challenge(&wrong).parameter("scope"), Some("projects:write"));
    let owners = client.delete_account(call(DeleteAccountRequest {}, Some(&token))).await.unwrap_err();
    assert_eq!(owners.code(), Code::PermissionDenied);
    assert!(owners.message().contains("human") && owners.metadata().get("www-authenticate").is_none());

    let mut twice = call(NewestRequest {}, Some(&token));
    twice.metadata_mut().append("authorization", format!("Bearer {token}").parse().unwrap());
    let ambiguous = client.newest(twice).await.unwrap_err();
    assert_eq!(ambiguous.code(), Code::InvalidArgument);

    host.service.store.break_after(0, Fault::Unavailable);
    let failed = client.newest(call(NewestRequest {}, Some(&token))).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
    assert!(failed.metadata().get("retry-after").is_some());
    host.service.store.mend();
    assert!(client.newest(call(NewestRequest {}, Some(&token))).await.is_ok());
}

#[tokio::test]
async fn an_agent_passes_unary_and_streaming_and_the_method_knows_it() {
    let host = Host::start().await;
    let token = host.service.token(&["projects:read", "projects:write"]).await;
    for waits in [false, true] {
        if waits {
            host.service.store.wait();
        }
        let mut client = host.client().await;
        let note = client.newest(call(NewestRequest {}, Some(&token))).await.unwrap().into_inner();
        assert_eq!(note.text, common::account("ada").id.as_str());
        let added = client.add(call(tokio_stream::iter(vec![Note::default(); 3]), Some(&token))).await.unwrap();
        assert_eq!(added.into_inner().total, 3);
    }
}

#[tokio::test]
async fn a_revoked_session_is_refused_at_the_next_call_and_a_stream_under_way_goes_on() {
    let host = Host::start().await;
    let token = host.service.token(&["projects:read"]).await;
    let mut client = host.client().await;
    let mut list = client.list(call(ListRequest {}, Some(&token))).await.unwrap().into_inner();
    assert_eq!(list.message().await.unwrap().unwrap().text, "first");
    let revoked = host.service.post("/agent/auth/revoke", &serde_json::json!({ "token": token })).await;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text);
    assert_eq!(host.refused(Some(&token)).await.code(), Code::Unauthenticated);
    host.book.0.notify_one();
    assert_eq!(list.message().await.unwrap().unwrap().text, "second");
    assert!(list.message().await.unwrap().is_none());
}

#[tokio::test]
async fn e7_a_stream_that_ends_with_its_session_has_the_status_unauthenticated() {
    let service = Service::new();
    let auth = AgentAuth::builder(common::config().build().unwrap())
        .sessions(service.store.memory.clone())
        .accounts(common::TestAccounts::default())
        .clock(service.clock.clone())
        .build()
        .unwrap();
    let book = Book::default();
    let guard = auth.require("projects:read").grpc().end_with_session();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(guard.layer(NotesServer::new(book.clone())));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let (token, other) = (service.token(&["projects:read"]).await, service.token(&["projects:read"]).await);
    let mut client = connect(address).await;
    let mut lists = Vec::new();
    for token in [&token, &other] {
        let mut list = client.list(call(ListRequest {}, Some(token))).await.unwrap().into_inner();
        assert_eq!(list.message().await.unwrap().unwrap().text, "first");
        lists.push(list);
    }
    let revoked = service.post("/agent/auth/revoke", &serde_json::json!({ "token": token })).await;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text);
    let status = lists[0].message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("session ended"), "{}", status.message());
    // The stream of another session goes on.
    book.0.notify_waiters();
    assert_eq!(lists[1].message().await.unwrap().unwrap().text, "second");
    assert!(lists[1].message().await.unwrap().is_none());
}

#[tokio::test]
async fn scopes_by_service_are_a_guard_around_the_generated_server() {
    let service = Service::new();
    let guarded = service.auth.require("projects:read").grpc().layer(NotesServer::new(Book::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(guarded).serve_with_incoming(TcpListenerStream::new(listener)));
    let token = service.token(&["projects:read"]).await;
    let mut client = connect(address).await;
    assert!(client.newest(call(NewestRequest {}, Some(&token))).await.is_ok());
    let unknown = client.newest(call(NewestRequest {}, None)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unauthenticated);
    // The whole server is one class: who calls is not the owner.
    let none = client.delete_account(call(DeleteAccountRequest {}, Some(&token))).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
}

type Plain = Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

fn plain(http2: bool) -> Plain {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

async fn answer(
    client: &Plain,
    host: &Host,
    method: Method,
    path: &str,
    kind: Option<&str>,
) -> (http::Response<()>, Bytes) {
    let mut request = http::Request::builder().method(method).uri(format!("http://{}{path}", host.address));
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let (parts, body) = client.request(request.body(Full::default()).unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    assert!(body.trailers().is_none(), "a refusal has no trailers but its headers");
    (http::Response::from_parts(parts, ()), body.to_bytes())
}

#[tokio::test]
async fn the_documents_stand_beside_the_service_over_http_1_and_2() {
    let host = Host::start().await;
    for http2 in [false, true] {
        let client = plain(http2);
        let (response, body) = answer(&client, &host, Method::GET, "/.well-known/oauth-protected-resource", None).await;
        assert_eq!(response.status(), StatusCode::OK);
        let metadata: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(metadata["resource"], common::ORIGIN);
        let (response, body) = answer(&client, &host, Method::GET, "/auth.md", None).await;
        assert!(response.status().is_success() && !body.is_empty());
        // What is no gRPC call is refused in HTTP.
        let (response, _) = answer(&client, &host, Method::POST, "/notes.v1.Notes/Newest", None).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    }
}

#[tokio::test]
async fn a_grpc_refusal_is_trailers_only_and_only_for_grpc() {
    let host = Host::start().await;
    let client = plain(true);
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        let (response, body) = answer(&client, &host, Method::POST, "/notes.v1.Notes/Newest", Some(kind)).await;
        assert_eq!(response.status(), StatusCode::OK, "{kind}");
        let headers = response.headers();
        assert_eq!(
            (&headers["content-type"], &headers["grpc-status"]),
            (&"application/grpc".parse().unwrap(), &"16".parse().unwrap())
        );
        assert_eq!(headers["cache-control"], "no-store");
        assert!(body.is_empty());
    }
    for kind in ["application/grpc-web", "application/grpcx", "text/application/grpc", "\u{e9}"] {
        let (response, _) = answer(&client, &host, Method::POST, "/notes.v1.Notes/Newest", Some(kind)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{kind}");
        assert!(!response.headers().contains_key("grpc-status"));
    }
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let kind = Some("application/grpc");
        let (response, _) = answer(&client, &host, method, "/notes.v1.Notes/Newest", kind).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "a gRPC call is a POST");
    }
}

#[tokio::test]
async fn g4_a_method_without_a_guard_names_what_it_lacks() {
    let bare = Request::new(());
    for status in [agent(&bare).unwrap_err(), owner(&bare).unwrap_err()] {
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("auth.require("), "{}", status.message());
    }
    // Where a guard forwards nobody, the caller lacks the credential.
    let service = Service::new();
    let seen = tower::service_fn(|request: http::Request<axum::body::Body>| {
        let (parts, _) = request.into_parts();
        let request = Request::from_parts(Default::default(), parts.extensions, ());
        let codes = [agent(&request).unwrap_err().code(), owner(&request).unwrap_err().code()];
        assert_eq!(codes, [Code::Unauthenticated; 2]);
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty())))
    });
    let optional = service.auth.optional().grpc().layer(seen);
    let answer = tower::ServiceExt::oneshot(optional, http::Request::default()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn e8_a_guard_in_front_of_plain_http_refuses_in_http_whatever_the_content_type() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let kinds = ["application/grpc", "application/grpc+proto", "application/grpc;x=y", "application/grpc-web"];
    for kind in kinds {
        for (path, token, status) in [
            ("/projects", None, StatusCode::UNAUTHORIZED),
            ("/projects", Some("junk"), StatusCode::UNAUTHORIZED),
            ("/write", Some(&*token), StatusCode::FORBIDDEN),
            ("/billing", Some(&*token), StatusCode::FORBIDDEN),
            ("/billing", None, StatusCode::UNAUTHORIZED),
            ("/optional", Some("junk"), StatusCode::UNAUTHORIZED),
        ] {
            let mut call = common::bearer(Method::POST, path, token.unwrap_or_default());
            call.headers_mut().insert("content-type", kind.parse().unwrap());
            call.headers_mut().insert("te", "trailers".parse().unwrap());
            if token.is_none() {
                call.headers_mut().remove("authorization");
            }
            let answer = service.send(call).await;
            assert_eq!(answer.status, status, "{path} {kind}");
            assert!(!answer.headers.contains_key("grpc-status") && !answer.error().is_empty(), "{path} {kind}");
        }
    }
    assert_eq!(service.handled(), 0);
    // The same rule on a route that serves gRPC, and a policy without a rule for the call.
    let inner = tower::service_fn(|_: http::Request<axum::body::Body>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty())))
    });
    for layer in [service.auth.require("projects:read").grpc(), service.auth.policy(|_| None).grpc()] {
        for (kind, refused) in kinds.into_iter().zip([StatusCode::OK, StatusCode::OK, StatusCode::OK]) {
            let mut call = common::bearer(Method::POST, "/", "junk");
            call.headers_mut().insert("content-type", kind.parse().unwrap());
            let answer = tower::ServiceExt::oneshot(layer.layer(inner), call).await.unwrap();
            assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (refused, &"16".parse().unwrap()));
        }
        let mut call = common::bearer(Method::POST, "/", "junk");
        call.headers_mut().insert("content-type", "application/json".parse().unwrap());
        let answer = tower::ServiceExt::oneshot(layer.layer(inner), call).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn r84_a_method_that_nobody_named_sees_no_agent() {
    let host = Host::start().await;
    let token = host.service.token(&["projects:read"]).await;
    let channel = Channel::from_shared(format!("http://{}", host.address)).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    for path in ["/notes.v1.Notes/Other", "/notes.v1.Others/Newest"] {
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<NewestRequest, Note>::default();
        let path = path.parse().unwrap();
        let status = grpc.unary(call(NewestRequest {}, Some(&token)), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
    }
}

#[test]
fn layers_fit_a_tonic_server() {
    fn fits<S>(_: S)
    where
        S: tonic::server::NamedService + Clone + Send + Sync + 'static,
    {
    }
    let auth: AgentAuth = Service::new().auth;
    fits(auth.endpoints().layer(auth.require("projects:read").grpc().layer(NotesServer::new(Book::default()))));
}
