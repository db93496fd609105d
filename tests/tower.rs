//! The Tower contract: the instance that was polled ready is the one that is called, back-pressure and errors pass through,
//! bodies and clones are left alone (security row R109).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service as _, ServiceBuilder, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use tower_agent_auth::{
    store::StoreError,
    types::{
        secret::{Access, Digest},
        session::Session,
    },
};

mod common;
use common::{Service, bearer, browse, from_address};

/// A service that must be polled ready before each call, on the very instance that is called, as `ConcurrencyLimit` and
/// `Buffer` must.
#[derive(Debug)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        // A clone has reserved nothing.
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl tower::Service<Request<Body>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(Full::default())))
    }
}

fn strict() -> (Strict, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    (Strict { ready: false, calls: Arc::clone(&calls) }, calls)
}

#[tokio::test]
async fn r109_the_readied_instance_is_called_at_once_and_after_waiting() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let (inner, calls) = strict();
    let mut guard = service.auth.require("projects:read").layer(inner.clone());
    let mut owner = service.auth.owner_only().layer(inner.clone());
    let mut endpoints = service.auth.endpoints().layer(inner);
    for waits in [false, true] {
        if waits {
            service.store.wait();
        }
        for _ in 0..3 {
            let call = bearer(http::Method::GET, "/", &token);
            assert_eq!(guard.ready().await.unwrap().call(call).await.unwrap().status(), StatusCode::OK);
            assert_eq!(owner.ready().await.unwrap().call(browse("ada", "/")).await.unwrap().status(), StatusCode::OK);
            let other = Request::get("/other").body(Body::empty()).unwrap();
            assert_eq!(endpoints.ready().await.unwrap().call(other).await.unwrap().status(), StatusCode::OK);
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 18);
}

#[tokio::test]
async fn r109_a_refusal_leaves_the_reservation_usable() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let inner = ServiceBuilder::new().concurrency_limit(1).service(strict().0);
    let mut guard = service.auth.require("projects:read").layer(inner);
    for _ in 0..5 {
        let refused = guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", "junk")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let passed = guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", &token)).await.unwrap();
        assert_eq!(passed.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn r109_under_limit_buffer_and_load_shed_in_every_order() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    service.store.wait();
    let call = || bearer(http::Method::GET, "/", &token);
    let require = || service.auth.require("projects:read");
    let limited = ServiceBuilder::new().layer(require()).concurrency_limit(1).service(strict().0);
    let shed = ServiceBuilder::new().layer(require()).load_shed().concurrency_limit(1).service(strict().0);
    let outside = ServiceBuilder::new().concurrency_limit(1).layer(require()).service(strict().0);
    let buffered = ServiceBuilder::new().buffer(4).layer(require()).service(strict().0);
    for _ in 0..3 {
        assert_eq!(limited.clone().oneshot(call()).await.unwrap().status(), StatusCode::OK);
        assert_eq!(shed.clone().oneshot(call()).await.unwrap().status(), StatusCode::OK);
        assert_eq!(outside.clone().oneshot(call()).await.unwrap().status(), StatusCode::OK);
        assert_eq!(buffered.clone().oneshot(call()).await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn r109_back_pressure_passes_through() {
    let service = Service::new();
    let inner = ServiceBuilder::new().concurrency_limit(1).service(strict().0);
    let layered = ServiceBuilder::new().layer(service.auth.endpoints()).layer(service.auth.optional()).service(inner);
    let (mut first, mut second) = (layered.clone(), layered);
    let mut context = Context::from_waker(Waker::noop());
    let poll = |service: &mut _, context: &mut Context<'_>| {
        tower::Service::<Request<Body>>::poll_ready(service, context).is_ready()
    };
    assert!(poll(&mut first, &mut context));
    assert!(!poll(&mut second, &mut context), "the only place is reserved");
    drop(first);
    assert!(poll(&mut second, &mut context));
}

#[tokio::test]
async fn e1_tower_http_stacks_on_either_side_without_a_router() {
    let service = Service::new();
    let inner = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    let stack = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(service.auth.endpoints())
        .layer(CorsLayer::permissive())
        .layer(service.auth.require("projects:read"))
        .layer(CorsLayer::permissive())
        .service(inner);
    let preflight = Request::options("/").header("origin", "x").header("access-control-request-method", "GET");
    let response = stack.clone().oneshot(preflight.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let refused = stack.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn r109_errors_of_the_inner_service_pass_through() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let inner = service_fn(|_: Request<Body>| ready(Err::<Response<Full<Bytes>>, _>("the inner error")));
    for waits in [false, true] {
        if waits {
            service.store.wait();
        }
        let guard = service.auth.require("projects:read").layer(inner);
        assert_eq!(guard.oneshot(bearer(http::Method::GET, "/", &token)).await.unwrap_err(), "the inner error");
    }
    let endpoints = service.auth.endpoints().layer(inner);
    let request = Request::get("/x").body(Body::empty()).unwrap();
    assert_eq!(endpoints.oneshot(request).await.unwrap_err(), "the inner error");
}

#[tokio::test]
async fn r109_request_and_response_bodies_are_handed_on_untouched() {
    /// A request body that is no HTTP body at all.
    struct Opaque(&'static str);
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let guard = service.auth.require("projects:read").layer(service_fn(|request: Request<Opaque>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(request.into_body().0.as_bytes())))))
    }));
    let (parts, _) = bearer(http::Method::GET, "/", &token).into_parts();
    let response = guard.oneshot(Request::from_parts(parts, Opaque("as it was"))).await.unwrap();
    let body = response.into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(9));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "as it was");
}

#[tokio::test]
async fn a_dropped_check_leaves_no_trace_and_the_service_goes_on() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    service.store.wait();
    let (inner, calls) = strict();
    let mut guard = service.auth.require("projects:read").layer(inner);
    {
        let mut dropped = pin!(guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", &token)));
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    let request = from_address(bearer(http::Method::GET, "/", &token), "192.0.2.1");
    assert_eq!(guard.ready().await.unwrap().call(request).await.unwrap().status(), StatusCode::OK);
}

/// How many calls of an inner service are under way, and how many were dropped or ended.
#[derive(Clone, Default)]
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A service whose calls never end.
fn endless(
    held: Arc<AtomicUsize>,
) -> impl tower::Service<Request<Body>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone {
    service_fn(move |_: Request<Body>| {
        held.fetch_add(1, Ordering::SeqCst);
        let held = Held(Arc::clone(&held));
        async move {
            let _held = held;
            std::future::pending().await
        }
    })
}

#[tokio::test]
async fn r109_a_call_that_is_dropped_drops_the_inner_call_and_gives_the_permit_back() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let held = Arc::new(AtomicUsize::new(0));
    let limited = ServiceBuilder::new().concurrency_limit(1).service(endless(Arc::clone(&held)));
    let mut guard = ServiceBuilder::new()
        .layer(service.auth.endpoints())
        .layer(service.auth.require("projects:read"))
        .service(limited);
    for waits in [false, false, true, true] {
        if waits {
            service.store.wait();
        }
        let mut call = Box::pin(guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", &token)));
        let mut context = Context::from_waker(Waker::noop());
        // The store is asked, answers, and the inner service is called.
        for _ in 0..4 {
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(held.load(Ordering::SeqCst), 1, "waits: {waits}");
        drop(call);
        assert_eq!(held.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn r109_a_clone_takes_nothing_from_the_instance_that_is_ready() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    for waits in [false, true] {
        if waits {
            service.store.wait();
        }
        let mut guard = service.auth.require("projects:read").layer(strict().0);
        let readied = guard.ready().await.unwrap();
        let clone = readied.clone();
        // Called first, the clone must get ready for itself; what was readied still is.
        let by_clone = clone.oneshot(bearer(http::Method::GET, "/", &token));
        let by_readied = readied.call(bearer(http::Method::GET, "/", &token));
        let (by_clone, by_readied) = tokio::join!(by_clone, by_readied);
        assert_eq!((by_clone.unwrap().status(), by_readied.unwrap().status()), (StatusCode::OK, StatusCode::OK));
    }
}

#[tokio::test]
async fn r109_errors_of_readiness_pass_through() {
    /// A service that is never ready.
    #[derive(Clone)]
    struct Broken;
    impl tower::Service<Request<Body>> for Broken {
        type Response = Response<Full<Bytes>>;
        type Error = &'static str;
        type Future = Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err("not ready, ever"))
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            panic!("called without having been ready")
        }
    }
    let auth = Service::new().auth;
    assert_eq!(auth.optional().layer(Broken).ready().await.map(drop), Err("not ready, ever"));
    assert_eq!(auth.endpoints().layer(Broken).ready().await.map(drop), Err("not ready, ever"));
}

/// A store that panics wherever it is asked.
struct Panics;

impl tower_agent_auth::store::SessionStore for Panics {
    async fn find_session(&self, _: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        panic!("the store panics, as it was told")
    }

    fn try_find_session(&self, _: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        panic!("the store panics at once, as it was told")
    }
}

#[tokio::test]
async fn r109_a_store_that_panics_fails_one_request_and_gives_the_permit_back() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let config = common::config().build().unwrap();
    let auth = tower_agent_auth::AgentAuth::builder(config).checks_only(Panics).build().unwrap();
    let (inner, calls) = strict();
    let limited = ServiceBuilder::new().concurrency_limit(1).service(inner);
    let mut guard = auth.require("projects:read").layer(limited);
    for _ in 0..3 {
        let failed = guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", &token)).await.unwrap();
        assert_eq!(failed.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn r109_a_panic_of_the_inner_service_is_not_swallowed() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let inner =
        service_fn(async |_: Request<Body>| -> Result<Response<Full<Bytes>>, Infallible> { panic!("the inner") });
    let guard = service.auth.require("projects:read").layer(inner);
    let call = tokio::spawn(guard.oneshot(bearer(http::Method::GET, "/", &token)));
    assert!(call.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn r109_a_full_service_below_sheds_and_is_asked_again() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let held = Arc::new(AtomicUsize::new(0));
    let inner = ServiceBuilder::new().load_shed().concurrency_limit(1).service(endless(Arc::clone(&held)));
    let mut guard = service.auth.require("projects:read").layer(inner);
    let mut context = Context::from_waker(Waker::noop());
    let mut first = Box::pin(guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", &token)));
    assert!(first.as_mut().poll(&mut context).is_pending());
    let shed = guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", &token)).await;
    assert!(shed.unwrap_err().is::<tower::load_shed::error::Overloaded>(), "the inner error, as it was");
    drop(first);
    let mut second = Box::pin(guard.ready().await.unwrap().call(bearer(http::Method::GET, "/", &token)));
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert_eq!(held.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn r109_trailers_and_ends_of_bodies_are_handed_on() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let inner = service_fn(async |_: Request<Body>| {
        let trailers = http::HeaderMap::from_iter([("x-end".parse().unwrap(), "yes".parse().unwrap())]);
        let frames = [http_body::Frame::data(Bytes::from_static(b"body")), http_body::Frame::trailers(trailers)];
        let frames = tokio_stream::iter(frames.map(Ok::<_, Infallible>));
        Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(frames)))
    });
    let stack = ServiceBuilder::new().layer(service.auth.endpoints()).layer(service.auth.require("projects:read"));
    let response = stack.service(inner).oneshot(bearer(http::Method::GET, "/", &token)).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-end"], "yes");
    assert_eq!(body.to_bytes(), "body");
}

#[test]
fn layers_services_and_futures_can_be_sent_shared_and_cloned() {
    fn layer<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: T) {}
    let auth = Service::new().auth;
    layer(auth.clone());
    layer(auth.endpoints());
    layer(auth.owner_only());
    layer(auth.owner_only().layer(strict().0));
    layer(auth.endpoints().layer(strict().0));
    fn future<T: Send + 'static>(_: T) {}
    future(auth.owner_only().layer(strict().0).oneshot(Request::new(Body::empty())));
    future(auth.endpoints().layer(strict().0).oneshot(Request::new(Body::empty())));
}
