//! `cargo xtask faults`: the demo service as real processes, under real load, while a process, the store, the network
//! or the clock fails. Afterwards everything that was acknowledged must hold.
//!
//! | file | holds |
//! |---|---|
//! | `runs/` | the faults, a file for each kind |
//! | `site`, `demo`, `node`, `proxy` | the service under test |
//! | `load`, `agent`, `human`, `verbs`, `wire` | its clients |
//! | `identity/` | its clients of the open auth.md protocol |
//! | `world`, `ledger`, `claim` | what is asked, and what is known by the answers |
//! | `check`, `witness`, `leak`, `pulse`, `report` | what must hold, and what was found |

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Outcome, output::say};

mod agent;
mod check;
mod claim;
mod demo;
mod dice;
mod http;
mod human;
mod identity;
mod leak;
mod ledger;
mod load;
mod node;
mod proxy;
mod pulse;
mod report;
mod runs;
mod site;
mod verbs;
mod wire;
mod witness;
mod world;

use report::Report;
use runs::Run;

#[derive(Args)]
pub(crate) struct Options {
    /// Which runs; all but self-test unless named
    #[arg(value_enum, value_name = "RUN")]
    runs: Vec<Run>,

    /// How many rounds of each run, in place of its own number
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// The number of the first round: what is done in a round is known by its number
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: usize,

    /// How many clients make the load
    #[arg(long, value_name = "N", default_value_t = 16)]
    clients: usize,

    /// A few rounds of each run
    #[arg(long)]
    short: bool,

    /// Build the demo with optimizations
    #[arg(long)]
    release: bool,

    /// Tell about each round
    #[arg(long)]
    verbose: bool,
}

/// What a run is made with.
pub(crate) struct Setup {
    binary: PathBuf,
    rounds: Option<usize>,
    first: usize,
    clients: usize,
    short: bool,
    verbose: bool,
}

impl Setup {
    /// The numbers of the rounds of a run that usually has `usual` of them.
    fn rounds(&self, usual: usize, short: usize) -> std::ops::Range<usize> {
        let count = self.rounds.unwrap_or(if self.short { short } else { usual });
        self.first..self.first + count
    }

    fn report(&self, run: &'static str) -> Report {
        Report::new(run, self.verbose)
    }
}

pub(crate) async fn run(options: Options) -> Outcome<ExitCode> {
    let mut terminations = signal(SignalKind::terminate())?;
    // Whatever is dropped here kills the processes that it started.
    tokio::select! {
        done = run_all(options) => done,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        _ = terminations.recv() => Err("terminated".into()),
    }
}

async fn run_all(options: Options) -> Outcome<ExitCode> {
    let Options { runs, rounds, first, clients, short, release, verbose } = options;
    // A copy, so that whoever builds meanwhile does not change what is tested.
    let directory = tempfile::Builder::new().prefix("faults-").tempdir()?;
    let binary = directory.path().join("demo");
    std::fs::copy(demo::build(release).await?, &binary)?;
    let setup = Setup { binary, rounds, first, clients: clients.max(1), short, verbose };
    let runs = if runs.is_empty() { Run::USUAL.to_vec() } else { runs };
    let mut all_held = true;
    for run in runs {
        say(&format!("{}: {}", run.name(), run.checks()));
        all_held &= run.make(&setup).await?;
    }
    Ok(if all_held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
