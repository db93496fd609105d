//! What a developer of the crate runs beside its tests: `cargo xtask servers` and `cargo xtask faults`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod faults;
mod instructions;
mod output;
mod servers;

/// Why something could not be done, in words for whoever ran it.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

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
    /// Kill, cut and flush under load, and check that nothing acknowledged is lost
    Faults(faults::Options),
    /// Count the instructions of a token check, by valgrind
    Instructions(instructions::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Options::parse().task {
        Task::Servers(options) => servers::run(options).await,
        Task::Faults(options) => faults::run(options).await,
        Task::Instructions(options) => instructions::run(options).await,
    };
    done.unwrap_or_else(|failure| {
        output::complain(&format!("error: {failure}"));
        ExitCode::FAILURE
    })
}
