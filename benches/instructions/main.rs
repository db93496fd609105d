//! Does one thing many times, so that an instruction counter can say what one time costs: see `cargo xtask instructions`.
//!
//! ```text
//! instructions WHAT TIMES
//! ```
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::{
    convert::Infallible,
    env,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use sha2::block_api::compress256;
use tower_agent_auth::{
    AgentAuth, Config,
    guard::{Call, CallSink},
    store::{
        AuthorizationStore, MemoryStore,
        conformance::fixtures::{after, approved, session_with},
    },
    types::{
        clock::Timestamp,
        random::OsRandom,
        secret::{Access, Prefix},
    },
};
use tower_layer::Layer;
use tower_service::Service;

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Full::default())))
    }
}

/// Receives each call, and keeps nothing.
struct Sink;

impl CallSink for Sink {
    fn record(&self, at: Timestamp, call: &Call<'_>) {
        black_box((at, call));
    }
}

fn call<S: Service<Request<()>>>(service: &mut S, request: Request<()>) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = black_box(service.poll_ready(&mut context));
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(answer) => drop(black_box(answer)),
        Poll::Pending => unreachable!("the memory store does not wait"),
    }
}

fn request(token: &str) -> Request<()> {
    Request::get("/projects").header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

fn hash(token: &str) {
    let mut block = [0; 64];
    block[..token.len()].copy_from_slice(token.as_bytes());
    block[token.len()] = 0x80;
    block[56..].copy_from_slice(&(token.len() as u64 * 8).to_be_bytes());
    let mut state = [7; 8];
    compress256(&mut state, &[block]);
    black_box(state);
}

fn main() {
    let [what, many] = [1, 2].map(|argument| env::args().nth(argument).unwrap());
    let many: usize = many.parse().unwrap();
    let config = Config::builder().resource("https://api.example.org").name("Bench");
    let config = ["a", "b", "c"].into_iter().fold(config, |config, name| config.scope(name, "A scope", |scope| scope));
    let config = config.build().unwrap();
    let store = MemoryStore::new();
    let builder = || AgentAuth::builder(config.clone()).checks_only(store.clone());
    let (auth, recorded) = (builder().build().unwrap(), builder().audit_calls(Sink).build().unwrap());
    let token = Prefix::<Access>::new("aas_").unwrap().generate(&OsRandom).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let authorization = approved(&store, "acct_1").await;
        let new = session_with(&authorization, "acct_1", token.digest());
        assert!(store.redeem(&new, after(2)).await.unwrap());
    });
    let token = token.expose();
    let malformed = format!("{}-", &token[..token.len() - 1]);
    let unknown = Prefix::<Access>::new("aas_").unwrap().generate(&OsRandom).unwrap();
    // One request after the other, as on a connection.
    let times = |token: &str, guard: Option<&mut _>| match guard {
        Some(guard) => (0..many).for_each(|_| call(guard, request(token))),
        None => (0..many).for_each(|_| call(&mut Inner, request(token))),
    };
    let mut guard = auth.require("a").layer(Inner);
    // The first request of a minute notes the use.
    call(&mut guard, request(token));
    match what.as_str() {
        "hash" => (0..many).for_each(|_| hash(black_box(token))),
        "bare" => times(token, None),
        "hit" => times(token, Some(&mut guard)),
        "hit, principal off" => times(token, Some(&mut auth.require("a").without_principal().layer(Inner))),
        "hit, call recorded" => times(token, Some(&mut recorded.require("a").layer(Inner))),
        "malformed" => times(&malformed, Some(&mut guard)),
        "unknown" => times(unknown.expose(), Some(&mut guard)),
        "wrong scope" => times(token, Some(&mut auth.require("c").layer(Inner))),
        other => unreachable!("nothing is called {other}"),
    }
}
