//! How many instructions a token check takes: counted by valgrind, so the same on a busy machine and on an idle one.
//!
//! Each program run does one thing so many times; the difference of a long and a short run is what it costs each time.
//! valgrind does not know the processor's instructions for SHA-256, so the hash is counted apart and taken off.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;
use tokio::process::Command;

use crate::{Outcome, output};

const SHORT: usize = 200;
const LONG: usize = 1_200;

/// What is counted, over which other thing, and how many hashes are in it; and the most that it may take.
const LIMITS: [(&str, u64, u64); 5] = [
    ("hit", 1, 1_900),
    ("hit, principal off", 1, 1_210),
    ("malformed", 0, 2_060),
    ("unknown", 1, 2_530),
    ("wrong scope", 1, 2_710),
];

/// The optional parts, and what one that is built in may add to a hit where nobody listens.
const LISTENING: u64 = 20;
const OPTIONAL: [&str; 2] = ["metrics", "tracing"];

/// Count the instructions of a token check
#[derive(Args)]
pub(crate) struct Options;

pub(crate) async fn run(_: Options) -> Outcome<ExitCode> {
    let plain = counts(&[]).await?;
    let mut over = Vec::new();
    output::say("instructions, less the bare service and the hash");
    for (what, _, limit) in LIMITS {
        let count = plain[what];
        output::say(&format!("{what:<20} {count:>6}   limit {limit}"));
        if count > limit {
            over.push(what);
        }
    }
    for feature in OPTIONAL {
        let with = counts(&[feature]).await?;
        let added = with["hit"].saturating_sub(plain["hit"]);
        output::say(&format!("hit, with `{feature}` built in and nobody listening: {added} more, limit {LISTENING}"));
        if added > LISTENING {
            over.push(feature);
        }
    }
    match over.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        over => Err(format!("takes more instructions than its limit: {}", over.join("; ")).into()),
    }
}

async fn counts(features: &[&str]) -> Outcome<BTreeMap<&'static str, u64>> {
    let program = build(features).await?;
    let hash = each(&program, "hash").await?;
    let bare = each(&program, "bare").await?;
    let mut counts = BTreeMap::new();
    for (what, hashes, _) in LIMITS {
        let count = each(&program, what).await?;
        counts.insert(what, count.saturating_sub(bare + hashes * hash));
    }
    Ok(counts)
}

async fn build(features: &[&str]) -> Outcome<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--profile", "bench", "--package", "instructions", "--features"]);
    let built = cargo.arg(features.join(",")).current_dir(root()).status().await?;
    if !built.success() {
        return Err("the program that is counted could not be built".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/instructions"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What one time costs.
async fn each(program: &PathBuf, what: &str) -> Outcome<u64> {
    let short = collected(program, what, SHORT).await?;
    let long = collected(program, what, LONG).await?;
    Ok(long.saturating_sub(short) / (LONG - SHORT) as u64)
}

async fn collected(program: &PathBuf, what: &str, times: usize) -> Outcome<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).arg(what).arg(times.to_string());
    let ran = valgrind.output().await.map_err(|error| format!("valgrind could not be started: {error}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.filter(|_| ran.status.success()).ok_or_else(|| format!("`{what}` was not counted: {said}").into())
}
