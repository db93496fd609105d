//! What it costs to build the crate, by feature, beside crates that do a neighbouring job.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use clap::Args;

use crate::{Failure, Outcome, output::say};

/// What is built: a line of the table, and the dependencies of an empty package.
const BUILDS: [(&str, &str); 8] = [
    ("no feature: a service that only checks tokens", "tower-agent-auth = { path = '.', default-features = false }"),
    (
        "the same for axum, with `toml`",
        "tower-agent-auth = { path = '.', default-features = false, features = ['axum', 'toml'] }",
    ),
    ("default: `issuer` and `toml`", "tower-agent-auth = { path = '.' }"),
    ("`axum`, `pages`, `sqlite`", "tower-agent-auth = { path = '.', features = ['axum', 'pages', 'sqlite'] }"),
    ("`full`", "tower-agent-auth = { path = '.', features = ['full'] }"),
    ("tower-sessions 0.15", "tower-sessions = '0.15'"),
    ("axum-login 0.18", "axum-login = '0.18'"),
    ("oxide-auth 0.6", "oxide-auth = '0.6'"),
];

#[derive(Args)]
pub(crate) struct Options {
    /// How often each is built; the table has the fastest
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

/// Builds each from nothing, and prints a table.
pub(crate) fn run(options: &Options) -> Outcome<ExitCode> {
    let root = std::env::current_dir()?;
    say("| | crates | seconds |");
    say("|---|---|---|");
    for (name, dependency) in BUILDS {
        let package = tempfile::tempdir()?;
        write_package(package.path(), &dependency.replace("path = '.'", &format!("path = '{}'", root.display())))?;
        cargo(package.path(), &["fetch", "--quiet"])?;
        let crates = count(package.path())?;
        let mut best = f64::INFINITY;
        for _ in 0..options.rounds {
            best = best.min(time(package.path())?);
        }
        say(&format!("| {name} | {crates} | {best:.1} |"));
    }
    Ok(ExitCode::SUCCESS)
}

fn write_package(folder: &Path, dependency: &str) -> Outcome<()> {
    let manifest = format!(
        "[package]\nname = 'empty'\nversion = '0.0.0'\nedition = '2024'\n[workspace]\n[dependencies]\n{dependency}\n"
    );
    std::fs::create_dir(folder.join("src"))?;
    std::fs::write(folder.join("src/lib.rs"), "")?;
    std::fs::write(folder.join("Cargo.toml"), manifest)?;
    Ok(())
}

/// The crates that are built for the package, without itself.
fn count(folder: &Path) -> Outcome<usize> {
    let tree = Command::new("cargo")
        .args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()?;
    let lines = String::from_utf8(tree.stdout)?;
    let crates: BTreeSet<&str> = lines.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    crates.len().checked_sub(1).ok_or_else(|| Failure::from("`cargo tree` printed nothing"))
}

/// Seconds of a debug build into an empty folder.
fn time(folder: &Path) -> Outcome<f64> {
    match std::fs::remove_dir_all(folder.join("target")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let start = Instant::now();
    cargo(folder, &["build", "--quiet", "--offline"])?;
    Ok(start.elapsed().as_secs_f64())
}

fn cargo(folder: &Path, arguments: &[&str]) -> Outcome<()> {
    let mut cargo = crate::command("cargo");
    let status = cargo.args(arguments).env_remove("CARGO_TARGET_DIR").current_dir(folder).as_std_mut().status()?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed: {status}", arguments.join(" ")).into()) }
}
