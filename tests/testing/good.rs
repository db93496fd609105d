//! The check of services that are put together well, under each host.

use std::{convert::Infallible, net::SocketAddr};

use axum::{Router, extract::ConnectInfo, response::Html, routing::post};
use bytes::Bytes;
use http::{
    Request, Response,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use tonic::service::Routes;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_agent_auth::{
    AgentAuth,
    config::{Dialect, OAuth, ResourceServer},
    guard::Rule,
    store::MemoryStore,
    testing::{self, Misassembly, Report},
};
use tower_http::{compression::CompressionLayer, cors::CorsLayer, limit::RequestBodyLimitLayer, trace::TraceLayer};

use crate::{app, assert_finds, auth, checked, common::config, routes, with};

mod notes {
    #![allow(dead_code, unreachable_pub, missing_docs, reason = "generated")]
    include!("../../examples/tonic/notes.rs");
}

#[tokio::test]
async fn g3_a_good_axum_app_passes() {
    let auth = auth();
    let report = checked(&auth, app(&auth)).await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.to_string(), "the service is put together as it should be");
    let by_layer = routes(&auth).fallback(async || Html("<p>the app</p>")).layer(auth.endpoints());
    let report = checked(&auth, by_layer).await;
    assert!(report.is_ok(), "{report}");
    let with_fallback = routes(&auth).fallback(async || Html("<p>the app</p>")).merge(auth.router());
    let report = checked(&auth, with_fallback).await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_a_good_app_with_all_dialects_and_two_resources_passes() {
    let all = [Dialect::AgentAuth, Dialect::AgentSessions, Dialect::OAuth];
    let oauth =
        |oauth: &mut OAuth| oauth.resource_servers = vec![ResourceServer::new("files", &"0".repeat(64), &["/mcp"])];
    let auth = with(config().dialects(&all).oauth(oauth).add_resource("/mcp", |resource| resource));
    let mcp = auth.resource("/mcp").require("projects:read");
    let app = app(&auth).route("/mcp", post(async || "").layer(mcp));
    let report = testing::check(&auth, app).protected("/projects").protected("POST /mcp").run().await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_a_good_app_with_usual_layers_passes() {
    let auth = auth();
    let issued = testing::session(&auth).scopes("projects:read").issue().await;
    let cors = CorsLayer::new()
        .allow_origin(["https://inspector.example".parse().unwrap()])
        .allow_headers([AUTHORIZATION])
        .expose_headers([WWW_AUTHENTICATE]);
    let inner = ServiceBuilder::new().layer(cors).layer(RequestBodyLimitLayer::new(100));
    let app = routes(&auth).layer(inner).merge(auth.router());
    let app = app.layer((TraceLayer::new_for_http(), CompressionLayer::new()));
    let peer = ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 40_000)));
    let report = testing::check(&auth, app)
        .protected("/projects")
        .session(&issued)
        .cross_origin("https://inspector.example")
        .extension(SocketAddr::from(([192, 0, 2, 7], 40_000)))
        .extension(peer)
        .run()
        .await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_a_good_service_without_a_framework_passes() {
    let auth = auth();
    let read = auth.all_of("projects:read").unwrap();
    let policy = auth.policy(move |request| match request.uri.path() {
        "/projects" => Some(read.clone()),
        "/billing" => Some(Rule::owner_only()),
        _ => None,
    });
    let handler =
        service_fn(async |_: Request<Full<Bytes>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let app = auth.endpoints().layer(policy.layer(handler));
    let issued = testing::session(&auth).scopes("projects:read").issue().await;
    let check = testing::check(&auth, app).protected("/projects").owner_only("/billing").session(&issued);
    let report = tokio::spawn(check_of(check)).await.unwrap();
    assert!(report.is_ok(), "{report}");

    /// The future can be sent to another thread.
    fn check_of(check: testing::Check<'_, impl Sized, impl Sized>) -> impl Future<Output = Report> + Send + 'static {
        drop(check);
        std::future::ready(Report::default())
    }
}

/// Answers each call with nothing.
#[derive(Clone, Default)]
struct Book;

#[tonic::async_trait]
impl notes::notes_server::Notes for Book {
    async fn newest(
        &self,
        _: tonic::Request<notes::NewestRequest>,
    ) -> Result<tonic::Response<notes::Note>, tonic::Status> {
        Ok(tonic::Response::new(Default::default()))
    }

    type ListStream = tokio_stream::Empty<Result<notes::Note, tonic::Status>>;

    async fn list(
        &self,
        _: tonic::Request<notes::ListRequest>,
    ) -> Result<tonic::Response<Self::ListStream>, tonic::Status> {
        Ok(tonic::Response::new(tokio_stream::empty()))
    }

    async fn add(
        &self,
        _: tonic::Request<tonic::Streaming<notes::Note>>,
    ) -> Result<tonic::Response<notes::Added>, tonic::Status> {
        Ok(tonic::Response::new(Default::default()))
    }

    async fn delete_account(
        &self,
        _: tonic::Request<notes::DeleteAccountRequest>,
    ) -> Result<tonic::Response<notes::Deleted>, tonic::Status> {
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tokio::test]
async fn g3_a_tonic_service_is_checked() {
    let auth = auth();
    let service = notes::notes_server::NotesServer::new(Book);
    let path = format!("/{}/Newest", <notes::notes_server::NotesServer<Book> as tonic::server::NamedService>::NAME);
    let grpc = async |app: Router| testing::check(&auth, app).grpc(&path).run().await;
    let good = Routes::new(service.clone()).into_axum_router().layer(auth.require("projects:read").grpc());
    let report = grpc(good.merge(auth.router())).await;
    assert!(report.is_ok(), "{report}");

    let plain = Routes::new(service.clone()).into_axum_router().layer(auth.require("projects:read"));
    assert_finds(&grpc(plain.merge(auth.router())).await, &[Misassembly::NotGrpc]);
    let open = Routes::new(service).into_axum_router();
    assert_finds(&grpc(open.clone().merge(auth.router())).await, &[Misassembly::Unguarded]);
    let report = testing::check(&auth, open.merge(auth.router())).grpc("/notes.v1.Notes/None").run().await;
    assert_finds(&report, &[Misassembly::NoSuchRoute]);
    // Without a router of axum in between.
    let layers = ServiceBuilder::new().layer(auth.endpoints()).layer(auth.require("projects:read").grpc());
    let bare = layers.service(Routes::new(notes::notes_server::NotesServer::new(Book)));
    let report = testing::check(&auth, bare).grpc(&path).run().await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_a_service_that_only_checks_tokens_passes() {
    let auth = AgentAuth::builder(config().build().unwrap()).checks_only(MemoryStore::new()).build().unwrap();
    let report = testing::check(&auth, app(&auth)).protected("/projects").run().await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_a_good_service_behind_a_prefix_passes() {
    let base = |resource: &str| config().resource(resource);
    // The whole service has a path of its own.
    let auth = with(base("https://example.com/api"));
    let nested = Router::new().nest("/api", routes(&auth)).merge(auth.router());
    let report = testing::check(&auth, nested).protected("/api/projects").owner_only("/api/billing").run().await;
    assert!(report.is_ok(), "{report}");
    // A proxy in front removes it.
    let auth = with(base("https://example.com/api").issuer("https://example.com/api").mount_path("/"));
    let report = checked(&auth, app(&auth)).await;
    assert!(report.is_ok(), "{report}");
}
