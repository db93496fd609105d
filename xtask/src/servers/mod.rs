//! `cargo xtask servers`: a command runs beside a PostgreSQL and a Redis of its own, which are gone afterwards.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};

use clap::Args;
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
};

use crate::Outcome;

mod certificate;
pub(crate) mod disk;
pub(crate) mod port;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod redis;

use certificate::Certificate;
use postgres::Postgres;
use redis::Redis;

#[derive(Args)]
pub(crate) struct Options {
    /// The command and its arguments; it finds the servers in POSTGRES_URL, REDIS_URL and REDIS_TLS_URL, and what to trust in
    /// TLS_CERTIFICATE
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(options: Options) -> Outcome<ExitCode> {
    let mut words = options.command.into_iter();
    let Some(program) = words.next() else { return Err("name a command".into()) };
    let certificate = Certificate::new()?;
    let trusted = tempfile::tempdir()?;
    certificate.write(trusted.path())?;
    let postgres = Postgres::start_with(Some(&certificate)).await?;
    let redis = Redis::start_with(Some(&certificate)).await?;
    let mut command = crate::command(&program);
    command
        .args(words)
        .env("POSTGRES_URL", postgres.url())
        .env("REDIS_URL", redis.url())
        .env("REDIS_TLS_URL", redis.tls_url())
        .env("TLS_CERTIFICATE", trusted.path().join("server.crt"))
        .kill_on_drop(true);
    let child = command.spawn().map_err(|error| format!("can't run {}: {error}", program.display()))?;
    let status = end_of(child).await?;
    Ok(exit_code(status))
}

/// Waits for the command. A Ctrl-C reaches it from the terminal, and it may take its time to end; a SIGTERM reaches only
/// us, and ends it.
async fn end_of(mut child: Child) -> Outcome<ExitStatus> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupts.recv() => {}
            _ = terminations.recv() => child.start_kill()?,
        }
    }
}

/// The status as a shell would tell it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
