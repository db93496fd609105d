//! How long humans wait for the approval page, and for the answer to their decision.
//!
//! ```text
//! cargo xtask servers -- cargo bench --bench pages
//! ```
//!
//! 100 humans at once, each with a request and an account of their own. Each opens the page, opens it ten times more, and
//! approves. First with a second between, as humans read, and then without. The service runs in this process.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

#[path = "common/issuer.rs"]
mod issuer;

use std::{
    env,
    time::{Duration, Instant},
};

use http::{Request, StatusCode, header::COOKIE};
use http_body_util::Full;
use issuer::{Humans, ORIGIN, cookies, form, seal, send};
use tokio::task::JoinSet;
use tower_agent_auth::{
    AgentAuth, Config,
    ceremony::Request as AccessRequest,
    store::{CeremonyStore, MemoryStore, PostgresOptions, SqliteStore},
    types::text::HumanText,
};

const HUMANS: usize = 100;
const VIEWS: usize = 10;
/// Sixteen scopes, as a large service has.
const SCOPES: usize = 16;

fn config() -> Config {
    let mut config = Config::builder().resource(ORIGIN).name("Example");
    for number in 0..SCOPES {
        let name = format!("things-{number}:read");
        config =
            config.scope(&name, "See some of the things that you keep at this service", |scope| scope.by_default());
    }
    config.no_limits().build().unwrap()
}

#[derive(Default)]
struct Times {
    opened: Vec<Duration>,
    seen: Vec<Duration>,
    decided: Vec<Duration>,
}

/// One human: opens the page, looks at it again and again, and approves.
async fn human(auth: AgentAuth, round: usize, number: usize, reads: Duration) -> Times {
    let mut times = Times::default();
    let request = AccessRequest::by(HumanText::new("Example Agent").unwrap());
    let asked = auth.ceremony().unwrap().request(request).await.unwrap();
    let path = format!("/agent/auth/approve/{}", asked.authorization.id);
    let mut jar = format!("user=human-{round}-{number}");
    // Humans do not begin at the same moment.
    tokio::time::sleep(reads.mul_f64(number as f64 / HUMANS as f64)).await;
    let mut sealed = String::new();
    for view in 0..=VIEWS {
        let begun = Instant::now();
        let get = Request::get(&path).header(COOKIE, &jar).body(Full::default()).unwrap();
        let (status, headers, page) = send(&auth, get).await;
        let taken = begun.elapsed();
        assert_eq!(status, StatusCode::OK, "{page}");
        if view == 0 {
            times.opened.push(taken)
        } else {
            times.seen.push(taken)
        }
        jar = cookies(jar, &headers);
        sealed = seal(&page).to_owned();
        tokio::time::sleep(reads).await;
    }
    let body = format!("csrf={sealed}&decision=approve&scope=things-0%3Aread");
    let post = form(&path).header(COOKIE, &jar).header("origin", ORIGIN).body(Full::from(body)).unwrap();
    let begun = Instant::now();
    let (status, _, page) = send(&auth, post).await;
    times.decided.push(begun.elapsed());
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    times
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("{:.1} / {:.1}", at(0.5), at(0.99))
}

async fn row(name: &str, store: impl CeremonyStore) {
    let auth = AgentAuth::builder(config()).sessions(store).accounts(Humans).build().unwrap();
    for (round, (what, reads)) in
        [("a second between", Duration::from_secs(1)), ("none between", Duration::ZERO)].into_iter().enumerate()
    {
        let mut humans = JoinSet::new();
        for number in 0..HUMANS {
            humans.spawn(human(auth.clone(), round, number, reads));
        }
        let mut all = Times::default();
        for times in humans.join_all().await {
            all.opened.extend(times.opened);
            all.seen.extend(times.seen);
            all.decided.extend(times.decided);
        }
        println!("| {name}, {what} | {} | {} | {} |", shown(all.opened), shown(all.seen), shown(all.decided));
    }
}

#[tokio::main]
async fn main() {
    println!("{HUMANS} humans, {SCOPES} scopes; milliseconds, p50 / p99\n");
    println!("| store | first view | further views | decision |\n|---|---|---|---|");
    row("memory", MemoryStore::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.db");
    row("SQLite", SqliteStore::open(&file).await.unwrap()).await;
    let schema = format!("agent_auth_bench_{}", std::process::id());
    match env::var("POSTGRES_URL") {
        Ok(url) => row("PostgreSQL", PostgresOptions::new().schema(&schema).connect(&url).await.unwrap()).await,
        Err(_) => println!("| PostgreSQL | run it by `cargo xtask servers` | | |"),
    }
}
