//! The check of services that are put together well, under each host.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{
    Extension, Router,
    body::Body,
    extract::ConnectInfo,
    middleware::{Next, from_fn},
    response::{Html, Response as AxumResponse},
    routing::{get, post},
};
use bytes::Bytes;
use http::{
    Request, Response,
    header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE},
    request::Parts,
};
use http_body_util::Full;
use tonic::service::Routes;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_agent_auth::{
    AgentAuth,
    accounts::{Accounts, AccountsError, SignedIn},
    config::{Dialect, OAuth, ResourceServer},
    guard::Rule,
    store::MemoryStore,
    testing::{self, Misassembly, Report},
    types::{authorization::Account, id::AccountId},
};
use tower_http::{compression::CompressionLayer, cors::CorsLayer, limit::RequestBodyLimitLayer, trace::TraceLayer};

use crate::{
    app, assert_finds, auth, checked,
    common::{ORIGIN, config},
    routes, with,
};

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

/// The human whom a layer outside of all routes has found, as many hosts do it. Without that layer it fails.
#[derive(Clone)]
struct FoundByLayer;

#[derive(Clone)]
struct Found(Option<Account>);

impl Accounts for FoundByLayer {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let found = request.extensions.get::<Found>().ok_or_else(|| AccountsError::new("there is no login layer"))?;
        Ok(found.0.clone().map(|account| SignedIn::new(account, "a browser")))
    }

    fn login_url(&self, return_to: &str) -> String {
        static STATES: AtomicUsize = AtomicUsize::new(0);
        format!("/login?state={}&next={return_to}", STATES.fetch_add(1, Ordering::Relaxed))
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

#[tokio::test]
async fn g3_accounts_that_read_what_an_outer_layer_inserts_pass() {
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new());
    let auth = builder.accounts(FoundByLayer).build().unwrap();
    for found in [None, Some(testing::account("alice"))] {
        let report =
            testing::check(&auth, app(&auth).layer(Extension(Found(found)))).protected("/projects").run().await;
        assert!(report.is_ok(), "{report}");
    }
    // What keeps requests from the pages is found all the same.
    let report = testing::check(&auth, routes(&auth)).run().await;
    assert_finds(&report, &[Misassembly::NotServed]);
    assert!(report.findings()[0].requests.iter().any(|request| request == "GET /sessions"), "{report:?}");
    // The reference has the extension as well, so only the query of the two redirects differs.
    let report = testing::check(&auth, app(&auth)).extension(Found(None)).run().await;
    assert_finds(&report, &[Misassembly::NoClientAddress]);
}

#[tokio::test]
async fn g3_a_resource_server_beside_its_issuer_passes() {
    let split = config().issuer("https://auth.example.com").documentation("https://auth.example.com/docs");
    let builder = AgentAuth::builder(split.terms(&format!("{ORIGIN}/terms")).build().unwrap());
    let auth = builder.checks_only(MemoryStore::new()).build().unwrap();
    let app = app(&auth);
    let peer = ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 40_000)));
    let report = testing::check(&auth, app.clone()).protected("/projects").extension(peer).run().await;
    assert_finds(&report, &[Misassembly::BrokenLink]);
    assert_eq!(report.findings()[0].requests, ["GET /terms"]);
    let app = app.route("/terms", get(async || "be kind"));
    let report = testing::check(&auth, app).protected("/projects").extension(peer).run().await;
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn g3_a_proxy_that_removes_the_prefix_of_the_resource_is_told() {
    let v1 = config().resource("https://api.example.com/v1").issuer("https://api.example.com");
    let auth = with(v1);
    let report = testing::check(&auth, app(&auth)).protected("/projects").run().await;
    assert_finds(&report, &[Misassembly::OutsideResource]);
    let report = testing::check(&auth, app(&auth)).protected("/projects").removed_prefix("/v1/").run().await;
    assert!(report.is_ok(), "{report}");
    let report = testing::check(&auth, app(&auth)).protected("/projects").removed_prefix("/v2").run().await;
    assert_finds(&report, &[Misassembly::OutsideResource]);
}

#[tokio::test]
async fn g3_requests_are_for_the_host_of_the_service() {
    let only = |allowed: &'static [&'static str]| {
        from_fn(async move |request: Request<Body>, next: Next| {
            let hosts: Vec<_> = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap()).collect();
            assert_eq!(hosts.len(), 1);
            if allowed.contains(&hosts[0]) {
                return next.run(request).await;
            }
            AxumResponse::builder().status(421).body(Body::empty()).unwrap()
        })
    };
    let auth = auth();
    let report = checked(&auth, app(&auth).layer(only(&["api.example.com"]))).await;
    assert!(report.is_ok(), "{report}");
    let auth = with(config().issuer("https://auth.example.com:8443"));
    let (api, issuer) = (only(&["api.example.com"]), only(&["auth.example.com:8443"]));
    let report = checked(&auth, routes(&auth).layer(api).merge(auth.router().layer(issuer))).await;
    assert!(report.is_ok(), "{report}");
}
