//! What the guard costs over HTTP: requests a second by one server with it and by the same server without, on loopback, in
//! turns, within a minute.
//!
//! ```text
//! cargo bench --bench http
//! ```
//!
//! Both get the same requests, each with a token of 10,000 sessions. The result is written to `target/http.json`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

#[path = "common/service.rs"]
mod service;
#[path = "common/world.rs"]
mod world;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tower::{Layer, Service, service_fn};
use tower_agent_auth::store::MemoryStore;

const SESSIONS: usize = 10_000;
const CONNECTIONS: usize = 16;
const PAIRS: usize = 24;
const TURN: Duration = Duration::from_secs(1);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Serves on a thread of its own.
fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    });
    told.recv().unwrap()
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Requests a second over so many connections, none of which may be answered but by 200.
async fn rate(senders: &mut Vec<SendRequest<Full<Bytes>>>, tokens: &'static [String]) -> f64 {
    let begun = Instant::now();
    let mut working = JoinSet::new();
    for (number, mut sender) in senders.drain(..).enumerate() {
        working.spawn(async move {
            let mut done = 0_u32;
            for token in tokens.iter().cycle().skip(number * SESSIONS / CONNECTIONS) {
                let request = Request::get("/projects").header("host", "localhost");
                let request = request.header("authorization", format!("Bearer {token}")).body(Full::default()).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                response.into_body().collect().await.unwrap();
                done += 1;
                if begun.elapsed() >= TURN {
                    break;
                }
            }
            (sender, done)
        });
    }
    let (kept, done): (Vec<_>, Vec<u32>) = working.join_all().await.into_iter().unzip();
    *senders = kept;
    f64::from(done.into_iter().sum::<u32>()) / begun.elapsed().as_secs_f64()
}

fn main() {
    let runtime = runtime();
    let store = MemoryStore::new();
    let tokens = runtime.block_on(world::sessions(&store, SESSIONS));
    let tokens: &'static [String] = tokens.iter().map(|token| token.expose().to_owned()).collect::<Vec<_>>().leak();
    let inner = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("ok"))));
    let bare = serve(inner);
    let guarded = serve(service::service(store).require("a").layer(inner));
    let mut pairs = runtime.block_on(async {
        let mut senders = [Vec::new(), Vec::new()];
        for _ in 0..CONNECTIONS {
            senders[0].push(connect(bare).await);
            senders[1].push(connect(guarded).await);
        }
        let [bare, guarded] = &mut senders;
        let mut pairs = Vec::new();
        for turn in 0..PAIRS {
            // Each goes first in every other pair.
            let pair = if turn % 2 == 0 {
                let bare = rate(bare, tokens).await;
                (bare, rate(guarded, tokens).await)
            } else {
                let guarded = rate(guarded, tokens).await;
                (rate(bare, tokens).await, guarded)
            };
            pairs.push(pair);
        }
        pairs
    });
    pairs.sort_by(|one, other| (one.1 / one.0).total_cmp(&(other.1 / other.0)));
    let ratio = |number: usize| 100.0 * pairs[number].1 / pairs[number].0;
    let (low, median, high) = (ratio(PAIRS / 4), ratio(PAIRS / 2), ratio(PAIRS * 3 / 4));
    let (bare, guarded) = pairs[PAIRS / 2];
    println!(
        "without {bare:.0} requests a second, with {guarded:.0}: {median:.1} % (quartiles {low:.1} to {high:.1}); target >= 97"
    );
    let found = serde_json::json!({ "bare": bare, "guarded": guarded, "percent": median, "quartiles": [low, high] });
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/http.json");
    std::fs::write(out, found.to_string()).unwrap();
}
