//! A PostgreSQL of one's own: trusting, on 127.0.0.1, in a directory that goes away with it, and as durable as it is by
//! default.

use std::{
    fs,
    path::{Path, PathBuf},
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

/// The account that PostgreSQL runs as where we are root, which it refuses to be.
const USER: &str = "postgres";
const DEBIAN: &str = "/usr/lib/postgresql";
/// Version 3.0 of the protocol, as whom, and to which database.
const STARTUP: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
const START: Duration = Duration::from_secs(60);

pub(crate) struct Postgres {
    // Dropped in this order: the directory must outlive the server.
    process: Process,
    port: u16,
    binaries: PathBuf,
    data: PathBuf,
    directory: TempDir,
}

impl Postgres {
    pub(crate) async fn start() -> Outcome<Self> {
        Self::start_with(None).await
    }

    /// One whose tables are in that folder, and its write-ahead log elsewhere.
    pub(crate) async fn start_in(folder: &Path) -> Outcome<Self> {
        let directory = directory()?;
        let data = folder.join("data");
        fs::create_dir(&data)?;
        give_away(&data)?;
        Self::start_at(directory, data, None).await
    }

    /// One that also takes encrypted connections, if there is a certificate.
    pub(crate) async fn start_with(certificate: Option<&Certificate>) -> Outcome<Self> {
        let directory = directory()?;
        let data = directory.path().join("data");
        Self::start_at(directory, data, certificate).await
    }

    async fn start_at(directory: TempDir, data: PathBuf, certificate: Option<&Certificate>) -> Outcome<Self> {
        let binaries = find_binaries()?;
        let mut initdb = as_user(&binaries.join("initdb"), directory.path())?;
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            "--waldir",
        ]);
        checked(initdb.arg(directory.path().join("wal")).arg("-D").arg(&data))?;
        if let Some(certificate) = certificate {
            certificate.write(&data)?;
            give_away(&data.join("server.key"))?;
        }
        Self::launch(binaries, directory, data).await
    }

    /// Starts a copy that follows this one, and takes what is written there.
    pub(crate) async fn standby(&self) -> Outcome<Self> {
        let directory = directory()?;
        let data = directory.path().join("data");
        let mut copy = as_user(&self.binaries.join("pg_basebackup"), directory.path())?;
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        copy.args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "-D"]);
        checked(copy.arg(&data))?;
        Self::launch(self.binaries.clone(), directory, data).await
    }

    async fn launch(binaries: PathBuf, directory: TempDir, data: PathBuf) -> Outcome<Self> {
        let port = port::free()?;
        let process = launch(&binaries, directory.path(), &data, port)?;
        let mut postgres = Self { process, port, binaries, data, directory };
        postgres.ready().await?;
        Ok(postgres)
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would.
    pub(crate) async fn crash(&mut self) -> Outcome<()> {
        self.process.end(Signal::Quit).await?;
        Ok(())
    }

    /// Starts it again after a crash. Ready when it accepts connections.
    pub(crate) async fn start_again(&mut self) -> Outcome<()> {
        self.process = launch(&self.binaries, self.directory.path(), &self.data, self.port)?;
        self.ready().await
    }

    /// Runs SQL, and answers with what it returns.
    pub(crate) async fn sql(&self, sql: &str) -> Outcome<String> {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string(), "-XAtqc", sql]);
        let answer = psql.kill_on_drop(true).output().await?;
        if answer.status.success() {
            return Ok(String::from_utf8(answer.stdout)?.trim().to_owned());
        }
        Err(format!("{sql}: {}", String::from_utf8_lossy(&answer.stderr).trim()).into())
    }

    /// Makes a standby a server of its own that can be written to.
    pub(crate) async fn promote(&self) -> Outcome<()> {
        match self.sql("SELECT pg_promote()").await?.as_str() {
            "t" => Ok(()),
            answer => Err(format!("the standby is not promoted: {answer}").into()),
        }
    }

    /// Stops it in order, with all that it has sent to its standby, and starts it again as a standby of nobody.
    pub(crate) async fn restart_as_standby(&mut self) -> Outcome<()> {
        self.process.end(Signal::Interrupt).await?;
        fs::write(self.data.join("standby.signal"), "")?;
        fs::write(self.data.join("postgresql.auto.conf"), "")?;
        self.start_again().await
    }

    /// Refuses writes on connections that stay open, and waits until `standby` has all that was written.
    pub(crate) async fn refuse_writes(&self, standby: &Self) -> Outcome<()> {
        const OPEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
            AND pid <> pg_backend_pid() AND xact_start < now() - interval '200 ms'";
        self.sql("ALTER SYSTEM SET default_transaction_read_only = on").await?;
        self.sql("SELECT pg_reload_conf()").await?;
        // Transactions that began before the change may still write.
        sleep(Duration::from_millis(400)).await;
        while self.sql(OPEN).await? != "0" {
            sleep(Duration::from_millis(20)).await;
        }
        let end = self.sql("SELECT pg_current_wal_lsn()").await?;
        while standby.sql(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'")).await? != "t" {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn ready(&mut self) -> Outcome<()> {
        let began = Instant::now();
        while !accepts(self.port).await {
            if let Some(status) = self.process.ended()? {
                return Err(format!("PostgreSQL ends at once, {status}: {}", self.last_words()).into());
            }
            if began.elapsed() > START {
                return Err(format!("PostgreSQL does not start: {}", self.last_words()).into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        log.lines().last().unwrap_or("it says nothing").to_owned()
    }
}

/// The URL of a server without encryption on this machine.
pub(crate) fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// A directory of the account that PostgreSQL runs as.
fn directory() -> Outcome<TempDir> {
    let directory = tempfile::Builder::new().prefix("postgres-").tempdir()?;
    give_away(directory.path())?;
    Ok(directory)
}

/// Whether the server takes a connection to its database, and does not say that it is starting up or recovering.
async fn accepts(port: u16) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(STARTUP).await?;
        stream.read_u8().await
    };
    const AUTHENTICATION: u8 = b'R';
    matches!(timeout(Duration::from_secs(1), asked).await, Ok(Ok(AUTHENTICATION)))
}

/// To the account that PostgreSQL runs as.
fn give_away(path: &Path) -> Outcome<()> {
    if is_root()? {
        checked(std::process::Command::new("chown").arg(USER).arg(path))?;
    }
    Ok(())
}

fn launch(binaries: &Path, directory: &Path, data: &Path, port: u16) -> Outcome<Process> {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log"))?;
    let mut command = as_user(&binaries.join("postgres"), directory)?;
    command.arg("-D").arg(data).arg("-k").arg(directory).args(["-p", &port.to_string()]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]);
    if data.join("server.key").exists() {
        command.args(["-c", "ssl=on"]);
    }
    command.stdout(log.try_clone()?).stderr(log);
    Process::spawn(&mut Command::from(command), Signal::Quit)
}

/// The binaries are not on the path of most systems.
fn find_binaries() -> Outcome<PathBuf> {
    let newest = newest_debian().into_iter();
    let candidates = newest.chain(from_pg_config());
    let mut complete = candidates.filter(|folder| ["initdb", "postgres"].iter().all(|name| folder.join(name).exists()));
    complete.next().ok_or_else(|| "PostgreSQL is not installed; on Debian: apt-get install postgresql".into())
}

fn from_pg_config() -> Option<PathBuf> {
    let answer = std::process::Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim()))
}

fn newest_debian() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    versions.max().map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin"))
}

fn is_root() -> Outcome<bool> {
    let answer = std::process::Command::new("id").arg("-u").output()?;
    Ok(answer.stdout.trim_ascii() == b"0")
}

/// A command that runs as somebody whom PostgreSQL accepts. `setpriv` becomes the command, so that its process is the
/// server's own.
fn as_user(program: &Path, directory: &Path) -> Outcome<std::process::Command> {
    let mut command = if is_root()? {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
        command
    } else {
        std::process::Command::new(program)
    };
    command.current_dir(directory);
    Ok(command)
}

/// Runs a command that must succeed.
fn checked(command: &mut std::process::Command) -> Outcome<()> {
    let program = command.get_program().display().to_string();
    let answer = command.output().map_err(|error| format!("can't run {program}: {error}"))?;
    if answer.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", answer.status, String::from_utf8_lossy(&answer.stderr).trim()).into())
}
