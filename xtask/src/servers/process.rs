//! A server as a process of the operating system, which never outlives its owner.

use std::{
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::Outcome;

/// How long a server may take to end that is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a process is told.
#[derive(Clone, Copy)]
pub(crate) enum Signal {
    /// PostgreSQL calls it an immediate shutdown: no checkpoint, and recovery at the next start.
    Quit,
    /// PostgreSQL calls it a fast shutdown: in order, and connections are closed.
    Interrupt,
    Kill,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Quit => "QUIT",
            Self::Interrupt => "INT",
            Self::Kill => "KILL",
        }
    }
}

pub(crate) struct Process {
    child: Child,
    /// What it is asked with to end when its owner is gone.
    farewell: Signal,
}

impl Process {
    /// Starts `command` in a process group of its own, so that a Ctrl-C in the terminal reaches the owner alone, who then
    /// stops its servers in order.
    pub(crate) fn spawn(command: &mut Command, farewell: Signal) -> Outcome<Self> {
        let program = command.as_std().get_program().display().to_string();
        let child = command.stdin(Stdio::null()).process_group(0).kill_on_drop(true).spawn();
        Ok(Self { child: child.map_err(|error| format!("can't run {program}: {error}"))?, farewell })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Outcome<()> {
        let Some(id) = self.child.id() else { return Ok(()) };
        // No child of ours is waited for anywhere else, so that the number is still its own.
        let status = std::process::Command::new("kill").args(["-s", signal.name(), &id.to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(format!("can't signal process {id}: {status}").into()) }
    }

    /// Signals, and waits for the end.
    pub(crate) async fn end(&mut self, signal: Signal) -> Outcome<ExitStatus> {
        self.signal(signal)?;
        Ok(self.child.wait().await?)
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.signal(self.farewell).is_err() {
            return;
        }
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
