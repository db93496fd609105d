//! How often a token check allocates: exactly, since each allocation is a choice.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};
use tower_agent_auth::{
    AgentAuth, Config,
    guard::GuardLayer,
    store::{
        AuthorizationStore, CachedStore, MemoryStore, SessionStore, StoreError,
        conformance::fixtures::{after, approved, authorization, session_with},
    },
    types::{
        random::OsRandom,
        secret::{Access, Digest, Prefix, Secret},
        session::Session,
    },
};

fn token() -> Secret<Access> {
    Prefix::new("aas_").unwrap().generate(&OsRandom).unwrap()
}

fn auth(store: impl SessionStore) -> AgentAuth {
    let config = Config::builder().resource("https://api.example.org").name("Test");
    let config = ["a", "b", "c"].into_iter().fold(config, |config, name| config.scope(name, "A scope", |scope| scope));
    AgentAuth::builder(config.build().unwrap()).checks_only(store).build().unwrap()
}

/// A store with a session of the scopes `a` and `b`, and its token.
async fn store() -> (MemoryStore, String) {
    let (store, token) = (MemoryStore::new(), token());
    let authorization = approved(&store, "acct_1").await;
    let new = session_with(&authorization, "acct_1", token.digest());
    assert!(store.redeem(&new, after(2)).await.unwrap());
    (store, token.expose().to_owned())
}

#[test]
fn a_session_in_memory_is_small() {
    let mut kept = None;
    let own = allocation_counter::measure(|| {
        kept = Some(session_with(&authorization(), "acct_00000001", token().digest()).session.session);
    });
    assert!(kept.is_some() && own.bytes_current <= 416, "{}", own.bytes_current);
}

fn request(token: &str) -> Request<()> {
    Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

/// A handler whose response has a header, as responses do.
fn inner(_: Request<()>) -> Answer {
    let mut response = Response::new(Full::default());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    ready(Ok(response))
}

fn without_headers(_: Request<()>) -> Answer {
    ready(Ok(Response::new(Full::default())))
}

/// What a guard allocates for a call that its handler answers. What the handler allocates is left out.
fn hit(guard: &GuardLayer, request: impl Fn() -> Request<()>) -> u64 {
    hit_of(inner, guard, request)
}

fn hit_of(handler: fn(Request<()>) -> Answer, guard: &GuardLayer, request: impl Fn() -> Request<()>) -> u64 {
    let bare = total(service_fn(handler), StatusCode::OK, &request);
    total(guard.layer(service_fn(handler)), StatusCode::OK, &request) - bare
}

/// What a call allocates, without the creation of the request. It is the second one, because the first records the use.
fn total<S, B>(mut service: S, expected: StatusCode, request: impl Fn() -> Request<()>) -> u64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let mut call = |request| {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut context) else { unreachable!() };
        assert_eq!(response.status(), expected);
    };
    call(request());
    let again = request();
    allocation_counter::measure(|| call(again)).count_total
}

#[tokio::test]
async fn a_hit_allocates_for_the_extension_alone() {
    let (store, token) = store().await;
    let require = auth(store).require("a");
    assert_eq!(hit(&require, || request(&token)), 3, "map, table, value");
    let populated = || {
        let mut request = request(&token);
        request.extensions_mut().insert(7_u64);
        request
    };
    assert_eq!(hit(&require, populated), 1, "value");
    assert_eq!(hit(&require.clone().without_principal(), || request(&token)), 0);
    let first_header = hit_of(without_headers, &require, || request(&token));
    assert_eq!(first_header, 5, "the header map of the response, for `Cache-Control`");
}

/// A store that must always be waited for.
struct Slow(MemoryStore);

impl SessionStore for Slow {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.0.find_session(access).await
    }
}

#[tokio::test]
async fn a_hit_in_the_cache_allocates_no_more() {
    let (store, token) = store().await;
    let cached = CachedStore::over(Slow(store));
    let digest = Prefix::<Access>::new("aas_").unwrap().digest(token.as_bytes()).unwrap();
    assert!(cached.find_session(&digest).await.unwrap().is_some());
    let require = auth(cached).require("a");
    assert_eq!(hit(&require, || request(&token)), 3);
    assert_eq!(hit(&require.without_principal(), || request(&token)), 0);
}

#[tokio::test]
async fn a_refusal_allocates_its_headers_and_its_extension() {
    let (store, token) = store().await;
    let auth = auth(store);
    let (require, other) = (auth.require("a"), auth.require("c"));
    let unknown = self::token();
    let malformed = format!("{}-", &token[..token.len() - 1]);
    let unauthorized =
        |request: &dyn Fn() -> Request<()>| total(require.layer(service_fn(inner)), StatusCode::UNAUTHORIZED, request);
    assert_eq!(unauthorized(&|| request(&malformed)), 5, "two for the headers, three for the extension");
    assert_eq!(unauthorized(&|| request(unknown.expose())), 5);
    assert_eq!(unauthorized(&|| Request::new(())), 5);
    assert_eq!(total(other.layer(service_fn(inner)), StatusCode::FORBIDDEN, || request(&token)), 5);
    let call = || Request::post("/").header("content-type", "application/grpc").body(()).unwrap();
    assert_eq!(total(require.clone().grpc().layer(service_fn(inner)), StatusCode::OK, call), 5, "as gRPC");
}

#[test]
fn e16_nothing_outlives_its_owner() {
    const SERVICES: usize = 2_000;
    let build = |number: usize| {
        let config = Config::builder().resource(&format!("https://api{number}.example.org")).name("Test");
        let config = config.scope("a", "A scope", |scope| scope).build().unwrap();
        let auth = AgentAuth::builder(config).checks_only(MemoryStore::new()).build().unwrap();
        drop((auth.require("a"), auth.require_any("a"), auth.owner_only()));
    };
    build(SERVICES);
    let kept = allocation_counter::measure(|| (0..SERVICES).for_each(build)).bytes_current;
    // In proportion, less than 5 MiB for 20,000.
    assert!(kept < 512 << 10, "{kept} bytes");
}
