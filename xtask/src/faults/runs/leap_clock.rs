//! The wall clock of the server leaps under load, forwards or backwards, and is right again some time later. Every
//! answer must be as without the leap. libfaketime makes the time, and leaves the monotonic clocks alone.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    Outcome,
    faults::{Setup, load::Load, node::Fault, report::Report, site::Site, wire, witness::Witness},
};

/// Housekeeping runs during the last one.
const LEAPS: [Leap; 4] = [Leap::MINUTES, Leap(-10 * 60), Leap(-400 * 24 * 3_600), Leap::DAYS];
const LOAD: Duration = Duration::from_secs(1);
/// How long the clock is wrong at least.
const WRONG: Duration = Duration::from_secs(2);
/// How often the service deletes what is old.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// How many seconds the wall clock is ahead of the time.
#[derive(Clone, Copy)]
struct Leap(i64);

impl Leap {
    const NONE: Self = Self(0);
    const MINUTES: Self = Self(10 * 60);
    const DAYS: Self = Self(400 * 24 * 3_600);
}

/// The wall clock of a site.
struct Clock {
    directory: TempDir,
    library: PathBuf,
    started: Instant,
}

pub(crate) async fn run(setup: &Setup) -> Outcome<bool> {
    let clock = Clock::new()?;
    let mut site = clock.open(setup, setup.report("leap-clock"), true).await?;
    for number in setup.rounds(3 * LEAPS.len(), LEAPS.len()) {
        site.world.report.begin_round(number);
        let leap = LEAPS[(number - setup.first) % LEAPS.len()];
        let wrong = if leap.0 == Leap::DAYS.0 { clock.until_housekeeping() } else { WRONG };
        round(setup, &mut site, &clock, leap, wrong).await?;
    }
    site.close().await
}

/// With monotonic clocks that leap too, which must be found.
pub(crate) async fn planted(setup: &Setup) -> Outcome<Site> {
    let clock = Clock::new()?;
    let mut site = clock.open(setup, Report::silent("self-test"), false).await?;
    site.world.report.begin_round(setup.first);
    round(setup, &mut site, &clock, Leap::DAYS, WRONG).await?;
    Ok(site)
}

async fn round(setup: &Setup, site: &mut Site, clock: &Clock, leap: Leap, wrong: Duration) -> Outcome<()> {
    let world = &site.world;
    let witness = Witness::new(world).await?;
    let load = Load::start(world, setup.clients);
    sleep(LOAD).await;

    world.begin(Fault::Harmless);
    clock.set(leap)?;
    let began = Instant::now();
    clock.check(site, leap).await?;
    witness.watch(WRONG).await?;
    let mut claims = load.stop().await?;
    witness.watch(wrong.saturating_sub(began.elapsed())).await?;
    clock.set(Leap::NONE)?;
    claims.extend(Load::undisturbed(world, setup.clients, setup.clients, LOAD).await?);
    world.end(Fault::Harmless);
    world.report.tell(&format!("{} s ahead for {:?}; {} claims to check", leap.0, began.elapsed(), claims.len()));
    site.check(claims).await
}

impl Clock {
    fn new() -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("clock-").tempdir()?;
        let clock = Self { directory, library: find_library()?, started: Instant::now() };
        clock.set(Leap::NONE)?;
        Ok(clock)
    }

    /// Opens a site that has this clock. Its sign-ins are in its memory: the times of files are not this clock's.
    async fn open(&self, setup: &Setup, report: Report, monotonic_is_right: bool) -> Outcome<Site> {
        let flag = |on: bool| if on { "1".to_owned() } else { "0".to_owned() };
        let environment = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", flag(true)),
            ("FAKETIME_DONT_FAKE_MONOTONIC", flag(monotonic_is_right)),
        ];
        Site::open_with(&setup.binary, "memory", 1, report, &environment).await
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("time")
    }

    fn set(&self, leap: Leap) -> Outcome<()> {
        let new = self.directory.path().join("new");
        fs::write(&new, format!("{:+}\n", leap.0))?;
        Ok(fs::rename(new, self.file())?)
    }

    /// A leap that the server does not see proves nothing. Its HTTP library does not show one backwards.
    async fn check(&self, site: &Site, leap: Leap) -> Outcome<()> {
        const NEAR: Duration = Duration::from_secs(10);
        let node = site.world.nodes.first().ok_or("there is no server")?;
        let answer = node.http().get(wire::HEALTH, "").await?;
        let date = httpdate::parse_http_date(answer.date().ok_or("the answer has no date")?)?;
        let ahead = u64::try_from(leap.0).map(Duration::from_secs).unwrap_or_default();
        if date + NEAR < SystemTime::now() + ahead {
            return Err("the server does not see the time of libfaketime".into());
        }
        Ok(())
    }

    /// The time until housekeeping has run once more.
    fn until_housekeeping(&self) -> Duration {
        let since = Duration::from_millis((self.started.elapsed().as_millis() % HOUSEKEEPING.as_millis()) as u64);
        HOUSEKEEPING - since + WRONG
    }
}

/// Debian has a folder for each architecture.
fn find_library() -> Outcome<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries = folders.map(|folder| folder.join(Path::new("faketime/libfaketimeMT.so.1")));
    libraries
        .find(|library| library.exists())
        .ok_or_else(|| "libfaketime is not installed; on Debian: apt-get install libfaketime".into())
}
