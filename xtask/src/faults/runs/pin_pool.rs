//! 256 clients ask for access at the same time, and a lock in PostgreSQL keeps their writes waiting. Token checks must
//! go on meanwhile.

use std::time::Duration;

use crate::{
    Outcome,
    faults::{Setup, load::Load, node::Fault, report::Report, site::Site, witness::Witness, world::WRITE_DEADLINE},
    servers::postgres::Postgres,
};

const CLIENTS: usize = 256;
/// How long nothing is locked, before and after.
const FREE: Duration = Duration::from_secs(1);
/// Longer than a write may wait.
const LOCKED: Duration = Duration::from_secs(6);

pub(crate) async fn run(setup: &Setup) -> Outcome<bool> {
    let postgres = Postgres::start().await?;
    let mut site = Site::open(&setup.binary, &postgres.url(), 1, setup.report("pin-pool")).await?;
    for number in setup.rounds(10, 1) {
        site.world.report.begin_round(number);
        round(&mut site, &postgres, "authorization_requests IN EXCLUSIVE MODE").await?;
    }
    site.close().await
}

/// With a lock that keeps token checks waiting too, which must be found.
pub(crate) async fn planted(setup: &Setup) -> Outcome<Site> {
    let postgres = Postgres::start().await?;
    let mut site = Site::open(&setup.binary, &postgres.url(), 1, Report::silent("self-test")).await?;
    site.world.report.begin_round(setup.first);
    round(&mut site, &postgres, "sessions IN ACCESS EXCLUSIVE MODE").await?;
    Ok(site)
}

async fn round(site: &mut Site, postgres: &Postgres, lock: &str) -> Outcome<()> {
    let world = &site.world;
    let witness = Witness::new(world).await?;
    world.begin(Fault::WritesFail);
    let load = Load::start(world, CLIENTS);
    witness.watch(FREE).await?;
    let lock = format!("BEGIN; LOCK TABLE agent_auth.{lock}; SELECT pg_sleep({}); COMMIT", LOCKED.as_secs());
    let (locked, watched) = tokio::join!(postgres.sql(&lock), witness.watch(LOCKED));
    locked?;
    watched?;
    witness.watch(FREE).await?;
    // Without the lock, this many clients may still overload a small machine.
    let claims = load.stop().await?;
    world.end(Fault::WritesFail);
    let recovered = witness.steady_writes(WRITE_DEADLINE).await?;
    world.report.took("writes right again", recovered);
    world.report.tell(&format!("writes right again after {recovered:?}; {} claims to check", claims.len()));
    site.check(claims).await
}
