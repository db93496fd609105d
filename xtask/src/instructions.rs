//! How many instructions a token check takes: counted by valgrind, so the same on a busy machine and on an idle one.
//!
//! Each program run does one thing so many times; the difference of a long and a short run is what it costs each time.
//! valgrind does not know the processor's instructions for SHA-256, so the hash is counted apart and taken off.
//!
//! The count depends on the compiler. The limits hold exactly for the one that they were taken with; any other gets room.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;
use tokio::process::Command;

use crate::{Outcome, output};

const SHORT: usize = 200;
const LONG: usize = 1_200;

/// The compiler and the machine that the limits were taken with, as `rustc -vV` tells them.
const RECORDED_RELEASE: &str = "1.95.0";
const RECORDED_HOST: &str = "x86_64-unknown-linux-gnu";
/// How much more another compiler may take, in percent.
const ROOM: u64 = 10;

/// What is counted beyond the bare service, how many hashes are in it, and the most that it may take. The bare service
/// sets no header, so a hit includes the header map that its `Cache-Control` needs.
const LIMITS: [(&str, u64, u64); 6] = [
    ("hit", 1, 2_470),
    ("hit, principal off", 1, 1_790),
    ("hit, call recorded", 1, 2_640),
    ("malformed", 0, 2_060),
    ("unknown", 1, 2_530),
    ("wrong scope", 1, 2_715),
];

/// The optional parts, and what one that is built in may add to a hit where nobody listens.
const LISTENING: u64 = 20;
const OPTIONAL: [&str; 2] = ["metrics", "tracing"];

/// Count the instructions of a token check
#[derive(Args)]
pub(crate) struct Options;

pub(crate) async fn run(_: Options) -> Outcome<ExitCode> {
    let compiler = Compiler::current().await?;
    let room = compiler.room();
    let plain = counts(&[]).await?;
    let mut over = Vec::new();
    output::say("instructions, less the bare service and the hash");
    if room > 0 {
        output::say(&format!(
            "The limits were taken with rustc {RECORDED_RELEASE} on {RECORDED_HOST}. \
             This is {} on {}: {room} % is added to each.",
            compiler.release, compiler.host
        ));
    }
    for (what, _, limit) in LIMITS {
        let count = plain[what];
        let limit = with_room(limit, room);
        output::say(&format!("{what:<20} {count:>6}   limit {limit}"));
        if count > limit {
            over.push(what);
        }
    }
    for feature in OPTIONAL {
        let with = counts(&[feature]).await?;
        let added = with["hit"].saturating_sub(plain["hit"]);
        // Of a difference between two builds, the room is that of what is compared.
        let limit = with_room(plain["hit"], room) - plain["hit"] + LISTENING;
        output::say(&format!("hit, with `{feature}` built in and nobody listening: {added} more, limit {limit}"));
        if added > limit {
            over.push(feature);
        }
    }
    match over.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        over => Err(format!("takes more instructions than its limit: {}", over.join("; ")).into()),
    }
}

const fn with_room(limit: u64, percent: u64) -> u64 {
    limit + limit * percent / 100
}

/// What `rustc -vV` says of itself.
struct Compiler {
    release: String,
    host: String,
}

impl Compiler {
    async fn current() -> Outcome<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let asked = Command::new(rustc).arg("-vV").output().await;
        let asked = asked.map_err(|error| format!("rustc could not be asked for its version: {error}"))?;
        Self::read(&String::from_utf8_lossy(&asked.stdout)).ok_or_else(|| "rustc does not tell its version".into())
    }

    fn read(text: &str) -> Option<Self> {
        let value = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        Some(Self { release: value("release:")?, host: value("host:")? })
    }

    fn room(&self) -> u64 {
        if self.release == RECORDED_RELEASE && self.host == RECORDED_HOST { 0 } else { ROOM }
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
    let mut cargo = crate::command(env!("CARGO"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recorded_compiler_has_no_room() {
        let said =
            |release: &str, host: &str| format!("rustc {release}\nbinary: rustc\nhost: {host}\nrelease: {release}\n");
        let room = |release, host| Compiler::read(&said(release, host)).map(|compiler| compiler.room());
        assert_eq!(room(RECORDED_RELEASE, RECORDED_HOST), Some(0));
        assert_eq!(room("1.96.0", RECORDED_HOST), Some(ROOM));
        assert_eq!(room(RECORDED_RELEASE, "aarch64-unknown-linux-gnu"), Some(ROOM));
        assert!(Compiler::read("release: 1.95.0").is_none());
    }

    #[test]
    fn room_is_added_in_percent() {
        assert_eq!((with_room(1_600, 0), with_room(1_600, 10)), (1_600, 1_760));
    }
}
