//! The demo service as a process.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{process::Command, time::sleep};

use super::{http::Http, leak::Log, wire};
use crate::{
    Outcome,
    servers::process::{Process, Signal},
};

/// How long the demo may take to serve.
const START: Duration = Duration::from_secs(20);

/// Builds the demo, and answers where it is.
pub(crate) async fn build(release: bool) -> Outcome<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = crate::command(cargo);
    command.args(["build", "--example", "axum", "--features", "full", "--message-format=json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    let built = command.stderr(Stdio::inherit()).kill_on_drop(true).output().await?;
    if !built.status.success() {
        return Err(format!("the demo does not build: {}", built.status).into());
    }
    let text = String::from_utf8(built.stdout)?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut binaries = messages.filter(|message| message["target"]["name"] == "axum");
    let binary = binaries.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    binary.ok_or_else(|| "cargo does not say where the demo is".into())
}

pub(crate) struct Demo {
    binary: PathBuf,
    port: u16,
    store: String,
    origin: String,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) log: Log,
    process: Option<Process>,
}

impl Demo {
    pub(crate) fn new(binary: &Path, port: u16, store: &str, origin: &str, log: &Path) -> Self {
        let (store, origin) = (store.to_owned(), origin.to_owned());
        let environment = Vec::new();
        Self { binary: binary.to_owned(), port, store, origin, environment, log: Log::new(log), process: None }
    }

    /// Starts it, and answers how long it took until it served.
    pub(crate) async fn start(&mut self) -> Outcome<Duration> {
        let log = OpenOptions::new().create(true).append(true).open(self.log.path())?;
        let mut command = Command::new(&self.binary);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port), "--store", &self.store]);
        command.args(["--public-url", &self.origin, "--no-limits"]);
        // So that no connection looks idle when all clocks of the process leap.
        command.args(["--idle-timeout", "500d", "--transfer-timeout", "500d"]);
        // Beside a store on a network it keeps its sign-ins where it runs.
        command.current_dir(self.log.path().parent().ok_or("a log is in a directory")?);
        command.stdout(log.try_clone()?).stderr(log);
        command.envs(self.environment.iter().cloned());
        let began = Instant::now();
        let process = self.process.insert(Process::spawn(&mut command, Signal::Kill)?);
        let http = Http::new(&format!("http://127.0.0.1:{}", self.port));
        while !http.get(wire::HEALTH, "").await.is_ok_and(|answer| answer.status == 200) {
            if let Some(status) = process.ended()? {
                return Err(format!("the demo ends at once, {status}: {}", last_line(self.log.path())).into());
            }
            if began.elapsed() > START {
                return Err(format!("the demo does not start: {}", last_line(self.log.path())).into());
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(began.elapsed())
    }

    /// Ends it without a chance to do anything (SIGKILL).
    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        if let Some(mut process) = self.process.take() {
            process.end(Signal::Kill).await?;
        }
        Ok(())
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it says nothing").to_owned()
}
