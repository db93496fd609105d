//! A Redis of one's own: on 127.0.0.1, in a directory that goes away with it, and synced before each answer.

use std::{
    fs, io,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{sleep, timeout},
};

use super::{
    certificate::Certificate,
    port,
    process::{Process, Signal},
};
use crate::Outcome;

const START: Duration = Duration::from_secs(30);

pub(crate) struct Redis {
    // Dropped in this order: the directory must outlive the server.
    process: Process,
    port: u16,
    tls_port: u16,
    directory: TempDir,
}

/// What Redis finds when it starts again.
#[derive(Clone, Copy)]
pub(crate) enum Dataset {
    Kept,
    Lost,
}

impl Redis {
    pub(crate) async fn start() -> Outcome<Self> {
        Self::start_with(None).await
    }

    /// One that also takes encrypted connections, if there is a certificate.
    pub(crate) async fn start_with(certificate: Option<&Certificate>) -> Outcome<Self> {
        Self::start_at(&std::env::temp_dir(), certificate).await
    }

    /// One whose files are in that folder.
    pub(crate) async fn start_in(folder: &Path) -> Outcome<Self> {
        Self::start_at(folder, None).await
    }

    async fn start_at(folder: &Path, certificate: Option<&Certificate>) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("redis-").tempdir_in(folder)?;
        let (port, tls_port) = (port::free()?, port::free()?);
        if let Some(certificate) = certificate {
            certificate.write(directory.path())?;
        }
        let process = launch(directory.path(), port, tls_port)?;
        let mut redis = Self { process, port, tls_port, directory };
        redis.ready().await?;
        Ok(redis)
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port)
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// The URL for a user, written `name:password`.
    pub(crate) fn url_as(&self, user: &str) -> String {
        format!("redis://{user}@127.0.0.1:{}", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Starts a copy that follows this one.
    pub(crate) async fn replica(&self) -> Outcome<Self> {
        let replica = Self::start().await?;
        replica.command(&format!("REPLICAOF 127.0.0.1 {}", self.port)).await?;
        // The full copy takes a moment. A write waits for the replica that is online.
        self.command("SET replica 0").await?;
        let began = Instant::now();
        while ask(self.port, "WAIT 1 100").await? != ":1" {
            if began.elapsed() > START {
                return Err("the replica does not follow".into());
            }
        }
        Ok(replica)
    }

    /// Makes the replica the server that is written to, with all that was written, and this one a replica that has lost
    /// sight of it. Connections stay open.
    pub(crate) async fn hand_over(&self, replica: &Self) -> Outcome<()> {
        const MASTER: &str = "*3";
        self.command(&format!("FAILOVER TO 127.0.0.1 {}", replica.port)).await?;
        while ask(self.port, "ROLE").await? == MASTER || ask(replica.port, "ROLE").await? != MASTER {
            sleep(Duration::from_millis(5)).await;
        }
        self.command(&format!("REPLICAOF 127.0.0.1 {}", port::free()?)).await
    }

    /// Forgets everything.
    pub(crate) async fn flush(&self) -> Outcome<()> {
        self.command("FLUSHALL").await
    }

    /// A command that is answered OK.
    pub(crate) async fn command(&self, command: &str) -> Outcome<()> {
        let answer = ask(self.port, command).await?;
        if answer == "+OK" { Ok(()) } else { Err(format!("{command}: {answer}").into()) }
    }

    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        self.process.end(Signal::Kill).await?;
        Ok(())
    }

    pub(crate) async fn start_again(&mut self, dataset: Dataset) -> Outcome<()> {
        if let Dataset::Lost = dataset {
            fs::remove_dir_all(self.directory.path().join("appendonlydir"))?;
        }
        self.process = launch(self.directory.path(), self.port, self.tls_port)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Outcome<()> {
        let began = Instant::now();
        while !ask(self.port, "PING").await.is_ok_and(|answer| answer == "+PONG") {
            if let Some(status) = self.process.ended()? {
                return Err(format!("Redis ends at once: {status}").into());
            }
            if began.elapsed() > START {
                return Err("Redis does not start".into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// The URL of a server without encryption on this machine.
pub(crate) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn launch(directory: &Path, port: u16, tls_port: u16) -> Outcome<Process> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(directory);
    command.args(["--repl-diskless-sync-delay", "0"]);
    let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
    if key.exists() {
        command.args(["--tls-port", &tls_port.to_string(), "--tls-auth-clients", "no"]);
        command.arg("--tls-cert-file").arg(certificate).arg("--tls-key-file").arg(key);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Process::spawn(&mut command, Signal::Kill)
        .map_err(|error| format!("{error}; on Debian: apt-get install redis-server").into())
}

/// The first line of the answer to a command.
async fn ask(port: u16, command: &str) -> io::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = String::new();
        while !answer.ends_with("\r\n") {
            answer.push(char::from(stream.read_u8().await?));
        }
        Ok(answer.trim_end().to_owned())
    };
    timeout(Duration::from_secs(5), asked).await.map_err(io::Error::from)?
}
