//! What a token check costs: the guard around a trivial service, beside that service without it, in one run.
//!
//! `cargo bench --bench token_check` prints the times; what counts is each one's ratio to `bare` in the same run, since
//! times move with the machine. The store is `MemoryStore` with 1,000 sessions.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that can't go on fails; its main is generated")]

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};
use tower_agent_auth::{
    AgentAuth, Config,
    accounts::{Accounts, AccountsError, SignedIn},
    ceremony::{Ceremony, Decision, Request as Asked},
    core::{id::AccountId, registration::Account, scope::ScopeSet, session::Redeemer, text::HumanText},
    store::MemoryStore,
};

const SESSIONS: usize = 1_000;

struct Nobody;

impl Accounts for Nobody {
    async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> {
        Ok(None)
    }

    fn login_url(&self, _: &str) -> String {
        "/login".into()
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

fn auth() -> AgentAuth {
    let config = Config::builder()
        .resource("https://api.example.com")
        .name("Bench")
        .scope("projects:read", "See your projects", |scope| scope.by_default())
        .scope("projects:write", "Change your projects", |scope| scope)
        .no_limits()
        .build()
        .unwrap();
    AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(Nobody).build().unwrap()
}

/// Goes through the whole ceremony, as an agent and its human do.
async fn session(ceremony: &Ceremony) -> String {
    let asked = ceremony.register(Asked::by(HumanText::new("Bench").unwrap())).await.unwrap();
    let account = Account { id: AccountId::new("1").unwrap(), label: "ada@example.com".into() };
    ceremony.view(&asked.registration.id, &account, None).await.unwrap();
    let scopes = ScopeSet::parse("projects:read").unwrap();
    ceremony
        .decide(&asked.registration.id, &SignedIn::new(account, "browser"), Decision::Approve(scopes))
        .await
        .unwrap();
    ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap().access_token.expose().to_owned()
}

type Inner = fn(Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>>;

fn inner(_: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::default())))
}

/// Calls a service that answers without waiting.
fn call<S: Service<Request<()>>>(service: &mut S, request: Request<()>) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = black_box(service.poll_ready(&mut context));
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(answer) => drop(black_box(answer)),
        Poll::Pending => unreachable!("the memory store does not wait"),
    }
}

fn request(token: Option<&str>) -> Request<()> {
    let mut request = Request::get("/projects");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(()).unwrap()
}

fn token_check(criterion: &mut Criterion) {
    let auth = auth();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ceremony = auth.ceremony().unwrap();
    let tokens: Vec<String> = (0..SESSIONS).map(|_| runtime.block_on(session(ceremony))).collect();
    let unknown = runtime.block_on(session(self::auth().ceremony().unwrap()));
    let service: Inner = inner;
    let mut bare = service_fn(service);
    let mut read = auth.require("projects:read").layer(service_fn(service));
    let mut write = auth.require("projects:write").layer(service_fn(service));

    let mut group = criterion.benchmark_group("token_check");
    let mut next = tokens.iter().cycle();
    let mut hits = move || request(next.next().map(String::as_str));
    group.bench_function("bare", |bencher| bencher.iter_batched(&mut hits, |request| call(&mut bare, request), SMALL));
    group.bench_function("hit", |bencher| bencher.iter_batched(&mut hits, |request| call(&mut read, request), SMALL));
    group.bench_function("wrong scope", |bencher| {
        bencher.iter_batched(&mut hits, |request| call(&mut write, request), SMALL);
    });
    let malformed = format!("{}x", &tokens[0][..tokens[0].len() - 1]);
    for (name, token) in [("unknown", Some(unknown.as_str())), ("malformed", Some(&malformed)), ("none", None)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| request(token), |request| call(&mut read, request), SMALL);
        });
    }
    group.finish();
}

const SMALL: criterion::BatchSize = criterion::BatchSize::SmallInput;

criterion_group!(benches, token_check);
criterion_main!(benches);
