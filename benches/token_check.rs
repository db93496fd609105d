//! What a token check costs: the guard around a service that does nothing, less that service; beside what others cost
//! around the same service, in one run.
//!
//! ```text
//! cargo bench --bench token_check
//! ```
//!
//! It ends with one table, and writes it to `target/token-check.json`. Times move with the machine: what counts is each
//! one's ratio to another of the same run, and the allocations, which are exact.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

mod common;

use std::{
    hint::black_box,
    path::Path,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use common::{
    counting::counted,
    measure::{Case, Cost, costs, median},
    peers::{Inner, axum_login, boxed, call, es256, inner, least, one_block, own_middleware, tower_sessions},
    service::service,
    world::{forget_authorizations, session, sessions, token},
};
use http::{
    HeaderName, HeaderValue, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, COOKIE},
};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Runtime;
use tower::{Layer, service_fn};
use tower_agent_auth::{
    AgentAuth,
    store::{
        CacheOptions, MemoryStore, SessionStore, StoreError,
        conformance::fixtures::{authorization, session_of},
    },
    types::{
        secret::{Access, Digest, Prefix},
        session::Session,
    },
};

const SESSIONS: usize = 1_000;
const MILLION: usize = 1_000_000;

/// A header's value as an HTTP server has it: a part of a buffer that is counted.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text.to_owned())).unwrap()
}

fn bearer(token: &str) -> HeaderValue {
    value(&format!("Bearer {token}"))
}

fn request(name: HeaderName, value: &HeaderValue) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(name, value.clone());
    request
}

fn authorized(value: &HeaderValue) -> Request<Body> {
    request(AUTHORIZATION, value)
}

/// The same with something of somebody else in the extension map.
fn populated(mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(7_u64);
    request
}

/// A service of ours around the inner one, with its name, and what it must answer.
fn ours<'c>(
    name: &'static str,
    over: &'static str,
    auth: &AgentAuth,
    (scope, without_principal): (&str, bool),
    mut input: impl FnMut() -> Request<Body> + 'c,
    expected: StatusCode,
) -> Case<'c> {
    let layer = auth.require(scope);
    let layer = if without_principal { layer.without_principal() } else { layer };
    let mut guard = layer.layer(service_fn(inner as Inner));
    assert_eq!(call(&mut guard, input()).status(), expected, "{name}");
    Case::new(name, Some(over), input, move |request| call(&mut guard, request))
}

fn table(runtime: &Runtime, store: &MemoryStore, tokens: &[String]) -> Vec<Cost> {
    let auth = service(store.clone());
    let cached = {
        let cached = CacheOptions::new().staleness(Duration::from_secs(60)).over(Slow(store.clone()));
        for token in tokens {
            runtime.block_on(cached.find_session(&digest(token))).unwrap();
        }
        service(cached)
    };
    let (mut jwt, jwt_token) = runtime.block_on(es256());
    let (mut login, cookie) = runtime.block_on(axum_login());
    let (mut signed_in, session_cookie) = runtime.block_on(tower_sessions());
    let mut own = own_middleware(tokens);
    let mut boxed = boxed(store.clone());
    let [mut least, mut least_off] = [true, false].map(|tells| least(tokens, tells));
    let [mut bare, mut bare_populated, mut bare_other, mut bare_cookie, mut bare_long] =
        [(); 5].map(|()| service_fn(inner as Inner));

    let next = || {
        let values: Vec<HeaderValue> = tokens.iter().map(|token| bearer(token)).collect();
        let mut number = 0;
        move || {
            number = if number + 1 < values.len() { number + 1 } else { 0 };
            authorized(&values[number])
        }
    };
    let unknown = bearer(token().expose());
    let malformed = format!("{}x", &tokens[0][..tokens[0].len() - 1]);
    let malformed = if malformed == tokens[0] { malformed.replace('x', "y") } else { malformed };
    let malformed = bearer(&malformed);
    let (anything, cookie, jwt_token) = (value("*/*"), value(&cookie), bearer(&jwt_token));
    let session_cookie = value(&session_cookie);
    assert_eq!(call(&mut jwt, authorized(&jwt_token)).status(), StatusCode::OK);
    assert_eq!(call(&mut login, request(COOKIE, &cookie)).status(), StatusCode::OK);
    assert_eq!(call(&mut signed_in, request(COOKIE, &session_cookie)).status(), StatusCode::OK);
    assert_eq!(call(&mut own, authorized(&bearer(&tokens[0]))).status(), StatusCode::OK);
    assert_eq!(call(&mut least, authorized(&bearer(&tokens[0]))).status(), StatusCode::OK);
    assert_eq!(call(&mut boxed, authorized(&bearer(&tokens[0]))).status(), StatusCode::OK);

    let mut hashed = tokens.iter().cycle();
    costs(vec![
        Case::new("sha256", None, move || hashed.next().unwrap(), |token| one_block(token.as_bytes())),
        Case::new("bare", None, next(), |request| call(&mut bare, request)),
        Case::new("bare, other header", None, || request(ACCEPT, &anything), |request| call(&mut bare_other, request)),
        Case::new("bare, cookie", None, || request(COOKIE, &cookie), |request| call(&mut bare_cookie, request)),
        Case::new("bare, long token", None, || authorized(&jwt_token), |request| call(&mut bare_long, request)),
        Case::new(
            "bare, map populated",
            None,
            {
                let mut next = next();
                move || populated(next())
            },
            |request| call(&mut bare_populated, request),
        ),
        ours("hit", "bare", &auth, ("a", false), next(), StatusCode::OK),
        ours(
            "hit, map populated",
            "bare, map populated",
            &auth,
            ("a", false),
            {
                let mut next = next();
                move || populated(next())
            },
            StatusCode::OK,
        ),
        ours("hit, principal off", "bare", &auth, ("a", true), next(), StatusCode::OK),
        ours("hit in the cache", "bare", &cached, ("a", false), next(), StatusCode::OK),
        ours("malformed", "bare", &auth, ("a", false), || authorized(&malformed), StatusCode::UNAUTHORIZED),
        ours("unknown", "bare", &auth, ("a", false), || authorized(&unknown), StatusCode::UNAUTHORIZED),
        ours("wrong scope", "bare", &auth, ("c", false), next(), StatusCode::FORBIDDEN),
        ours(
            "no token",
            "bare, other header",
            &auth,
            ("a", false),
            || request(ACCEPT, &anything),
            StatusCode::UNAUTHORIZED,
        ),
        Case::new("the least", Some("bare"), next(), |request| call(&mut least, request)),
        Case::new("the least, principal off", Some("bare"), next(), |request| call(&mut least_off, request)),
        Case::new("boxed async-trait", Some("bare"), next(), |request| call(&mut boxed, request)),
        Case::new("axum from_fn", Some("bare"), next(), |request| call(&mut own, request)),
        Case::new(
            "tower-sessions",
            Some("bare, cookie"),
            || request(COOKIE, &session_cookie),
            |request| call(&mut signed_in, request),
        ),
        Case::new("axum-login", Some("bare, cookie"), || request(COOKIE, &cookie), |request| call(&mut login, request)),
        Case::new(
            "tower-oauth2-resource-server ES256",
            Some("bare, long token"),
            || authorized(&jwt_token),
            |request| call(&mut jwt, request),
        ),
    ])
}

fn digest(token: &str) -> Digest<Access> {
    Prefix::new("aas_").unwrap().digest(token.as_bytes()).unwrap()
}

/// A store that must always be waited for, so that a cache over it is what answers.
struct Slow(MemoryStore);

impl SessionStore for Slow {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.0.find_session(access).await
    }
}

/// What so many threads did together.
struct Together {
    checks_per_second: f64,
    /// How often a thread gave its core away because it had to wait, in a million checks: for a lock, as nothing else here
    /// waits but the start and the end.
    waits: f64,
}

/// Threads that each check tokens of their own, or all the same one.
fn together(auth: &AgentAuth, threads: usize, tokens: impl Fn(usize) -> Vec<String>) -> Together {
    const CALLS: usize = 200_000;
    let barrier = Barrier::new(threads);
    let waits = || getrusage(UsageWho::RUSAGE_SELF).unwrap().voluntary_context_switches();
    let before = waits();
    let checks_per_second = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let mut guard = auth.require("a").layer(service_fn(inner as Inner));
                let tokens = tokens(thread);
                let barrier = &barrier;
                scope.spawn(move || {
                    let values: Vec<HeaderValue> = tokens.iter().map(|token| bearer(token)).collect();
                    barrier.wait();
                    let begun = Instant::now();
                    for value in values.iter().cycle().take(CALLS) {
                        drop(black_box(call(&mut guard, authorized(value))));
                    }
                    let took = begun.elapsed();
                    barrier.wait();
                    CALLS as f64 / took.as_secs_f64()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    Together { checks_per_second, waits: (waits() - before) as f64 * 1e6 / (CALLS * threads) as f64 }
}

/// What 1, 2, 4 and 8 threads do, in turns: the median of the rounds. More threads than cores show what locks cost.
fn threads(auth: &AgentAuth, tokens: &[String]) {
    const THREADS: [usize; 4] = [1, 2, 4, 8];
    let cores = thread::available_parallelism().unwrap();
    println!("\nthreads, on {cores} cores            checks a second   to one thread   waits in a million");
    for (name, hot) in [("distinct tokens", false), ("one hot token", true)] {
        let own = |thread: usize| {
            let share = tokens.len() / THREADS[THREADS.len() - 1];
            if hot { tokens[..1].to_vec() } else { tokens[thread * share..][..share].to_vec() }
        };
        let rounds: Vec<_> = (0..9).map(|_| THREADS.map(|threads| together(auth, threads, own))).collect();
        for (at, threads) in THREADS.into_iter().enumerate() {
            let each =
                |of: fn(&[Together; 4], usize) -> f64| median(rounds.iter().map(|round| of(round, at)).collect());
            let rate = each(|round, at| round[at].checks_per_second);
            let ratio = each(|round, at| round[at].checks_per_second / round[0].checks_per_second);
            let waits = each(|round, at| round[at].waits);
            println!("{threads}, {name:<30} {rate:>14.0} {ratio:>15.2} {waits:>20.1}");
        }
    }
}

/// Bytes of a session at a million: what a handler sees and its slot in the table; and all that the store keeps.
fn bytes(runtime: &Runtime) -> (f64, f64) {
    let store = MemoryStore::new();
    let (_, all) = counted(|| {
        for number in 0..MILLION {
            runtime.block_on(session(&store, number, &token()));
            if number % 10_000 == 0 {
                runtime.block_on(forget_authorizations(&store));
            }
        }
    });
    // Sessions share the configuration's resource.
    let resource = Arc::clone(&session_of(&authorization(), "acct_0").session.session.resource);
    let mut sessions = Vec::with_capacity(SESSIONS);
    let (_, seen) = counted(|| {
        sessions.extend((0..SESSIONS).map(|number| {
            let mut own = Session::clone(&session_of(&authorization(), &format!("acct_{number:08}")).session.session);
            own.resource = Arc::clone(&resource);
            Arc::new(own)
        }));
    });
    let seen = seen as f64 / SESSIONS as f64;
    // A pointer and a tag for each slot of the store's table.
    let slots = (MILLION / 8 * 8 / 7).next_power_of_two() * 8;
    let table = 9.0 * slots as f64 / MILLION as f64;
    (seen + table, all as f64 / MILLION as f64)
}

fn print(costs: &[Cost]) {
    println!("{:<36} {:>10} {:>10} {:>12}", "over the bare service", "ns", "x sha256", "allocations");
    for Cost { name, ns, ratio_to_sha, allocations } in costs {
        println!("{name:<36} {ns:>10.1} {ratio_to_sha:>10.2} {allocations:>12.2}");
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = MemoryStore::new();
    let tokens = runtime.block_on(sessions(&store, SESSIONS));
    let tokens: Vec<String> = tokens.iter().map(|token| token.expose().to_owned()).collect();
    let costs = table(&runtime, &store, &tokens);
    print(&costs);
    let ns = |name: &str| costs.iter().find(|cost| cost.name == name).unwrap().ns;
    let auth = service(store.clone());
    let (seen, kept) = bytes(&runtime);
    println!();
    for (what, value, target) in [
        ("hit in hashes", ns("hit") / ns("sha256"), ""),
        ("hit to the least", ns("hit") / ns("the least"), ""),
        ("malformed to a hit", ns("malformed") / ns("hit"), ""),
        ("boxed async-trait to a hit", ns("boxed async-trait") / ns("hit"), "> 1"),
        ("axum from_fn to a hit", ns("axum from_fn") / ns("hit"), "> 1"),
        ("tower-sessions to a hit", ns("tower-sessions") / ns("hit"), "> 1"),
        ("axum-login to a hit", ns("axum-login") / ns("hit"), "> 1"),
        ("ES256 to a hit", ns("tower-oauth2-resource-server ES256") / ns("hit"), "> 1"),
        ("bytes a session, all a handler sees", seen, ""),
        ("bytes a session, ceremony included", kept, ""),
    ] {
        println!("{what:<36} {value:>10.2}   {target}");
    }
    threads(&auth, &tokens);
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("token-check.json"), serde_json::to_string_pretty(&costs).unwrap()).unwrap();
}
