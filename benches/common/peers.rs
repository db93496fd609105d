//! What others do for the same request: each as its authors, or a competent service author, would set it up.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    sync::{Arc, RwLock},
    task::{Context, Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::{
    body::Body,
    extract::State,
    middleware::{Next, from_fn_with_state},
    response::IntoResponse,
};
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend, UserId, login_required};
use data_encoding::BASE64URL_NOPAD;
use futures_util::future::Either;
use hashbrown::HashTable;
use http::{HeaderValue, Request, Response, StatusCode, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use sha2::{Digest as _, Sha256, block_api::compress256};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_agent_auth::{
    store::{MemoryStore, SessionStore, StoreError},
    types::{
        clock::Timestamp,
        scope::Scope,
        secret::{Access, Digest},
        session::Session,
    },
};
use tower_oauth2_resource_server::{server::OAuth2ResourceServer, tenant::TenantConfiguration};
use tower_sessions::{Session as CookieSession, SessionManagerLayer};

/// A service that does nothing.
pub(crate) type Inner = fn(Request<Body>) -> Ready<Result<Response<Body>, Infallible>>;

/// What it answers: a header, as every service does, and no body.
pub(crate) fn inner(_: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    ready(Ok(response))
}

/// Calls a service that answers without waiting.
pub(crate) fn call<S>(service: &mut S, request: Request<Body>) -> S::Response
where
    S: Service<Request<Body>, Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(Ok(response)) => response,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => unreachable!("nobody has to wait here"),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

fn bearer(request: &Request<Body>) -> Option<&str> {
    request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// tower-oauth2-resource-server with ES256 by aws-lc, and a token that it takes.
pub(crate) async fn es256() -> (impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>, String) {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64URL_NOPAD.encode(half));
    let keys =
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": x, "y": y }] });
    let claims = json!({ "sub": "acct_00000001", "aud": "https://api.example.org", "scope": "a b",
        "exp": now().as_millis() / 1_000 + 86_400 });
    let head = Header { kid: Some("1".into()), ..Header::new(Algorithm::ES256) };
    let token = encode(&head, &claims, &EncodingKey::from_ec_der(pkcs8.as_ref())).unwrap();
    let tenant = TenantConfiguration::static_builder(keys.to_string()).audiences(&["https://api.example.org"]);
    let server = <OAuth2ResourceServer>::builder().add_tenant(tenant.build().unwrap()).build().await.unwrap();
    (server.into_layer().layer(service_fn(inner as Inner)), token)
}

/// A user of axum-login.
#[derive(Clone, Debug)]
pub(crate) struct User(u64);

/// All users of axum-login.
#[derive(Clone, Debug)]
pub(crate) struct Users(Arc<HashMap<u64, User>>);

impl AuthUser for User {
    type Id = u64;

    fn id(&self) -> u64 {
        self.0
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"the hash of a password"
    }
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = u64;
    type Error = Infallible;

    async fn authenticate(&self, id: u64) -> Result<Option<User>, Infallible> {
        Ok(self.0.get(&id).cloned())
    }

    async fn get_user(&self, id: &UserId<Self>) -> Result<Option<User>, Infallible> {
        Ok(self.0.get(id).cloned())
    }
}

/// axum-login over its memory store, and the cookie of somebody who is logged in.
pub(crate) async fn axum_login() -> (impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>, String)
{
    let users = Users(Arc::new((0..1_000).map(|id| (id, User(id))).collect()));
    let sessions = SessionManagerLayer::new(tower_sessions::MemoryStore::default());
    let layer = AuthManagerLayerBuilder::new(users, sessions).build();
    let log_in = service_fn(async |mut request: Request<Body>| {
        let login = request.extensions_mut().get_mut::<AuthSession<Users>>().unwrap();
        login.login(&User(7)).await.unwrap();
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let response = layer.clone().layer(log_in).oneshot(Request::new(Body::empty())).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    (layer.layer(login_required!(Users).layer(service_fn(inner as Inner))), cookie)
}

/// tower-sessions over its memory store around a service that asks it who is signed in, and the cookie of somebody who is.
pub(crate) async fn tower_sessions()
-> (impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>, String) {
    let layer = SessionManagerLayer::new(tower_sessions::MemoryStore::default());
    let sign_in = service_fn(async |request: Request<Body>| {
        request.extensions().get::<CookieSession>().unwrap().insert("user", 7_u64).await.unwrap();
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let response = layer.clone().layer(sign_in).oneshot(Request::new(Body::empty())).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let signed_in = service_fn(async |request: Request<Body>| {
        let session = request.extensions().get::<CookieSession>().unwrap().clone();
        match session.get::<u64>("user").await.unwrap() {
            Some(_) => inner(request).await,
            None => Ok(StatusCode::UNAUTHORIZED.into_response()),
        }
    });
    (layer.layer(signed_in), cookie)
}

/// A session as a service author would write it down for a middleware of their own.
#[derive(Clone, Debug)]
pub(crate) struct OwnSession {
    expires_at: SystemTime,
    scopes: HashSet<String>,
}

type OwnSessions = Arc<RwLock<HashMap<[u8; 32], Arc<OwnSession>>>>;

async fn check(State(sessions): State<OwnSessions>, mut request: axum::extract::Request, next: Next) -> Response<Body> {
    let Some(token) = bearer(&request) else { return StatusCode::UNAUTHORIZED.into_response() };
    let digest: [u8; 32] = Sha256::digest(token).into();
    let found = sessions.read().unwrap().get(&digest).cloned();
    let Some(session) = found.filter(|session| session.expires_at > SystemTime::now()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if !session.scopes.contains("a") {
        return StatusCode::FORBIDDEN.into_response();
    }
    request.extensions_mut().insert(session);
    next.run(request).await
}

/// A middleware that a competent service author writes with `axum::middleware::from_fn`.
pub(crate) fn own_middleware(
    tokens: &[String],
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + use<> {
    let expires_at = SystemTime::now() + std::time::Duration::from_secs(86_400);
    let session = OwnSession { expires_at, scopes: ["a".to_owned(), "b".to_owned()].into() };
    let keep = |token: &String| (Sha256::digest(token).into(), Arc::new(session.clone()));
    let sessions: OwnSessions = Arc::new(RwLock::new(tokens.iter().map(keep).collect()));
    from_fn_with_state(sessions, check).layer(service_fn(inner as Inner))
}

/// A store as `async-trait` makes it.
#[async_trait]
trait BoxedStore: Send + Sync {
    async fn find(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError>;
}

#[async_trait]
impl BoxedStore for MemoryStore {
    async fn find(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.find_session(access).await
    }
}

/// A middleware of boxed futures over a boxed store: the same store, the same digest, the same answer.
#[derive(Clone)]
pub(crate) struct Boxed<S> {
    inner: S,
    store: Arc<dyn BoxedStore>,
    scope: Scope,
}

impl<S> Service<Request<Body>> for Boxed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Self { mut inner, store, scope } = self.clone();
        Box::pin(async move {
            let Some(token) = bearer(&request) else { return Ok(StatusCode::UNAUTHORIZED.into_response()) };
            let digest = Digest::from_bytes(Sha256::digest(token).into());
            let Ok(found) = store.find(&digest).await else {
                return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
            };
            let Some(session) = found.filter(|session| !session.expires_at.has_passed(now())) else {
                return Ok(StatusCode::UNAUTHORIZED.into_response());
            };
            if !session.scopes.contains(&scope) {
                return Ok(StatusCode::FORBIDDEN.into_response());
            }
            request.extensions_mut().insert(session);
            inner.call(request).await
        })
    }
}

/// The same around a service that does nothing.
pub(crate) fn boxed(store: MemoryStore) -> Boxed<tower::util::ServiceFn<Inner>> {
    Boxed { inner: service_fn(inner as Inner), store: Arc::new(store), scope: Scope::new("a").unwrap() }
}

/// A session of [`Least`].
#[derive(Debug)]
struct LeastSession {
    digest: [u8; 32],
    expires_at: i64,
    scopes: u64,
}

/// Who called, of [`Least`].
#[derive(Clone, Debug)]
pub(crate) struct Caller(#[expect(dead_code, reason = "for a handler")] Arc<LeastSession>);

/// The least that such a check can be: parse, hash, find, compare, tell. No checksum, no clock, no note of a use, no
/// resource, no challenge, no store but this, and a refusal is empty. What is above it is what promises cost.
#[derive(Clone)]
pub(crate) struct Least<S> {
    inner: S,
    shards: Arc<[RwLock<HashTable<Arc<LeastSession>>>]>,
    tells: bool,
}

/// The same around a service that does nothing.
pub(crate) fn least(tokens: &[String], tells: bool) -> Least<tower::util::ServiceFn<Inner>> {
    let shards: Vec<RwLock<HashTable<_>>> = (0..64).map(|_| RwLock::default()).collect();
    for token in tokens {
        let digest = least_digest(token.as_bytes());
        let session = Arc::new(LeastSession { digest, expires_at: i64::MAX, scopes: 0b11 });
        let mut shard = shards[usize::from(digest[0] % 64)].write().unwrap();
        shard.insert_unique(least_hash(&digest), session, |session| least_hash(&session.digest));
    }
    Least { inner: service_fn(inner as Inner), shards: shards.into(), tells }
}

fn least_hash(digest: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*digest.last_chunk().unwrap())
}

fn least_digest(token: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(one_block(token)) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

impl<S> Least<S> {
    fn find(&self, request: &Request<Body>) -> Option<Arc<LeastSession>> {
        let token = request.headers().get(header::AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")?;
        let rest: &[u8; 49] = token.strip_prefix(b"aas_")?.try_into().ok()?;
        if !rest.iter().fold(true, |so_far, byte| so_far & byte.is_ascii_alphanumeric()) {
            return None;
        }
        let digest = least_digest(token);
        let shard = self.shards[usize::from(digest[0] % 64)].read().unwrap();
        let found = shard.find(least_hash(&digest), |session| session.digest == digest)?;
        (found.expires_at > 0 && found.scopes & 1 != 0).then(|| Arc::clone(found))
    }
}

impl<S> Service<Request<Body>> for Least<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(session) = self.find(&request) else {
            return Either::Right(ready(Ok(StatusCode::UNAUTHORIZED.into_response())));
        };
        if self.tells {
            request.extensions_mut().insert(Caller(session));
        }
        Either::Left(self.inner.call(request))
    }
}

/// One block of SHA-256, and nothing around it.
pub(crate) fn one_block(token: &[u8]) -> [u32; 8] {
    let mut block = [0; 64];
    block[..token.len()].copy_from_slice(token);
    block[token.len()] = 0x80;
    block[56..].copy_from_slice(&(token.len() as u64 * 8).to_be_bytes());
    let mut state = [7; 8];
    compress256(&mut state, &[block]);
    state
}
