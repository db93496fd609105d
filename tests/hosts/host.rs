//! The hosts, and how a call is made to each.

use std::{convert::Infallible, net::SocketAddr, pin::Pin};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::TcpListener;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Status, Streaming, service::Routes, transport::Server};
use tower::{Layer, ServiceExt, service_fn};
use tower_agent_auth::{
    AgentAuth,
    guard::{AgentSession, Owner, Rule},
};

use crate::common::{Answer, Service, config};
use notes::{
    Added, DeleteAccountRequest, Deleted, ListRequest, NewestRequest, Note,
    notes_server::{Notes, NotesServer},
};

mod notes {
    #![allow(dead_code, unreachable_pub, missing_docs, reason = "generated")]
    include!("../../examples/tonic/notes.rs");
}

/// What a service offers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Needs `projects:read`.
    Read,
    /// Needs `projects:write`.
    Write,
    /// The owner's alone.
    Own,
    /// Anybody's.
    Optional,
    /// Without a class.
    Unclassified,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "Newest",
            Self::Write => "Add",
            Self::Own => "DeleteAccount",
            Self::Optional => "List",
            Self::Unclassified => "Unknown",
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It was served, to this account or to `nobody`.
    Passed(String),
    /// 401 or `UNAUTHENTICATED`.
    Unauthenticated,
    /// 403 or `PERMISSION_DENIED`.
    Denied,
    /// 400 or `INVALID_ARGUMENT`.
    Invalid,
    /// 503 or `UNAVAILABLE`.
    Unavailable,
}

/// What came of a call, with what stands beside it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    pub(crate) headers: HeaderMap,
    /// What a person or a program is told.
    pub(crate) text: String,
}

/// A server that runs.
pub(crate) struct Host {
    pub(crate) service: Service,
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    grpc: bool,
}

impl Host {
    fn new(service: Service, address: SocketAddr, http2: bool, grpc: bool) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        Self { service, address, client, grpc: grpc && http2 }
    }

    /// Calls with a bearer token, or without.
    pub(crate) async fn call(&self, operation: Operation, token: Option<&str>) -> Answered {
        let token = token.map(|token| ("authorization", format!("Bearer {token}")));
        self.call_with(operation, "", token.into_iter().collect()).await
    }

    /// Calls with these headers, and this behind the path.
    pub(crate) async fn call_with(&self, operation: Operation, query: &str, headers: Vec<(&str, String)>) -> Answered {
        let path = if self.grpc { "notes.v1.Notes" } else { "plain" };
        let uri = format!("http://{}/{path}/{}{query}", self.address, operation.name());
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = if self.grpc {
            request = request.header("content-type", "application/grpc").header("te", "trailers");
            // One message of no bytes (gRPC over HTTP/2, "Length-Prefixed-Message").
            Bytes::from_static(&[0; 5])
        } else {
            Bytes::new()
        };
        let response = self.client.request(request.body(Full::new(body)).unwrap()).await.unwrap();
        if self.grpc { grpc(response).await } else { plain(response).await }
    }

    /// Sends plain HTTP.
    pub(crate) async fn send(&self, method: Method, path: &str, json: Option<&serde_json::Value>) -> Answer {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let (request, body) = match json {
            Some(json) => (request.header("content-type", "application/json"), Bytes::from(json.to_string())),
            None => (request, Bytes::new()),
        };
        Answer::read(self.client.request(request.body(Full::new(body)).unwrap()).await.unwrap()).await
    }
}

async fn plain(response: Response<Incoming>) -> Answered {
    let answer = Answer::read(response).await;
    let outcome = match answer.status {
        StatusCode::OK => Outcome::Passed(answer.text.clone()),
        StatusCode::UNAUTHORIZED => Outcome::Unauthenticated,
        StatusCode::FORBIDDEN => Outcome::Denied,
        StatusCode::BAD_REQUEST => Outcome::Invalid,
        StatusCode::SERVICE_UNAVAILABLE => Outcome::Unavailable,
        other => panic!("{other}: {}", answer.text),
    };
    let text = answer.json["message"].as_str().unwrap_or_default().to_owned();
    Answered { outcome, headers: answer.headers, text }
}

async fn grpc(response: Response<Incoming>) -> Answered {
    assert_eq!(response.status(), StatusCode::OK);
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let ended = body.trailers().unwrap_or(&parts.headers).clone();
    let status = Status::from_header_map(&ended).unwrap();
    let outcome = match status.code() {
        tonic::Code::Ok => Outcome::Passed(parts.headers["who"].to_str().unwrap().to_owned()),
        tonic::Code::Unauthenticated => Outcome::Unauthenticated,
        tonic::Code::PermissionDenied => Outcome::Denied,
        tonic::Code::InvalidArgument => Outcome::Invalid,
        tonic::Code::Unavailable => Outcome::Unavailable,
        other => panic!("{other}: {}", status.message()),
    };
    assert!(matches!(outcome, Outcome::Passed(_)) || body.to_bytes().is_empty());
    Answered { outcome, headers: parts.headers, text: status.message().to_owned() }
}

/// The classes of the operations, whatever stands before their names.
fn policy(auth: &AgentAuth) -> impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static + use<> {
    let (read, write) = (auth.all_of("projects:read").unwrap(), auth.all_of("projects:write").unwrap());
    move |request| match request.uri.path().rsplit_once('/')?.1 {
        "Newest" => Some(read.clone()),
        "Add" => Some(write.clone()),
        "DeleteAccount" => Some(Rule::owner_only()),
        "List" => Some(Rule::optional()),
        _ => None,
    }
}

fn who(extensions: &http::Extensions) -> String {
    let agent = extensions.get::<AgentSession>().map(|session| session.account.id.to_string());
    let owner = extensions.get::<Owner>().map(|owner| owner.account().id.to_string());
    agent.or(owner).unwrap_or_else(|| "nobody".into())
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn service() -> Service {
    Service::with(config().no_limits())
}

/// Bare hyper.
pub(crate) async fn hyper(http2: bool) -> Host {
    let service = service();
    let answer = async |request: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(who(request.extensions()))))
    };
    let auth = &service.auth;
    let app = auth.endpoints().layer(auth.policy(policy(auth)).layer(service_fn(answer)));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let app = app.clone();
            let service = hyper::service::service_fn(move |request| app.clone().oneshot(request));
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Host::new(service, address, http2, false)
}

fn router(auth: &AgentAuth) -> axum::Router {
    let handler = async |request: Request<Body>| who(request.extensions());
    axum::Router::new().route("/plain/{operation}", axum::routing::post(handler)).layer(auth.policy(policy(auth)))
}

/// axum.
pub(crate) async fn axum(http2: bool) -> Host {
    let service = service();
    let app = router(&service.auth).layer(service.auth.endpoints());
    let (listener, address) = listen().await;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Host::new(service, address, http2, false)
}

/// tonic, with plain routes beside the gRPC service.
pub(crate) async fn tonic(http2: bool) -> Host {
    let service = service();
    let auth = &service.auth;
    let grpc = Routes::new(auth.policy(policy(auth)).grpc().layer(NotesServer::new(Book)));
    let routes = Routes::from(grpc.into_axum_router().merge(router(auth)));
    let server = Server::builder().accept_http1(true).layer(auth.endpoints()).add_routes(routes);
    let (listener, address) = listen().await;
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Host::new(service, address, http2, true)
}

struct Book;

/// An answer that says who asked.
fn told<Q, A>(request: &tonic::Request<Q>, answer: A) -> Result<tonic::Response<A>, Status> {
    let mut response = tonic::Response::new(answer);
    response.metadata_mut().insert("who", who(request.extensions()).parse().unwrap());
    Ok(response)
}

#[tonic::async_trait]
impl Notes for Book {
    async fn newest(&self, request: tonic::Request<NewestRequest>) -> Result<tonic::Response<Note>, Status> {
        told(&request, Note::default())
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

    async fn list(&self, request: tonic::Request<ListRequest>) -> Result<tonic::Response<Self::ListStream>, Status> {
        told(&request, Box::pin(tokio_stream::iter([Ok(Note::default()), Ok(Note::default())])))
    }

    async fn add(&self, mut request: tonic::Request<Streaming<Note>>) -> Result<tonic::Response<Added>, Status> {
        while request.get_mut().message().await?.is_some() {}
        told(&request, Added { total: 0 })
    }

    async fn delete_account(
        &self,
        request: tonic::Request<DeleteAccountRequest>,
    ) -> Result<tonic::Response<Deleted>, Status> {
        told(&request, Deleted::default())
    }
}
