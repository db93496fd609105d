//! What a developer of the crate runs beside its tests: private servers, fault runs, generated code, and a count of
//! instructions.

use std::{env, ffi::OsStr, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::process::Command;

mod builds;
mod faults;
mod instructions;
mod output;
mod proto;
mod servers;

/// Why something could not be done, in words for whoever ran it.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

/// A command without what `cargo run` told this program of its package. A cargo below it would take that for a change, and build
/// `ring` anew with all that depends on it.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// Private servers for the tests, and the fault runs
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a command beside a private PostgreSQL and a private Redis
    Servers(servers::Options),
    /// Break processes, stores, the network and the clock under load, and check that nothing acknowledged is lost
    Faults(faults::Options),
    /// Time cold builds of the crate by feature, beside neighbouring crates
    Builds(builds::Options),
    /// Generate the code of the tonic example
    Proto(proto::Options),
    /// Count the instructions of a token check, by valgrind
    Instructions(instructions::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Options::parse().task {
        Task::Servers(options) => servers::run(options).await,
        Task::Faults(options) => faults::run(options).await,
        Task::Builds(options) => builds::run(&options),
        Task::Proto(options) => proto::run(&options),
        Task::Instructions(options) => instructions::run(options).await,
    };
    done.unwrap_or_else(|failure| {
        output::complain(&format!("error: {failure}"));
        ExitCode::FAILURE
    })
}
