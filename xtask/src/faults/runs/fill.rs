//! The memory of Redis is full, or the disk under Redis, SQLite or PostgreSQL. What is stored must stand, and token
//! checks must go on. With a full memory, revocations must go on too.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Outcome,
    faults::{
        Setup,
        dice::Dice,
        load::Load,
        node::Fault,
        report::Report,
        site::Site,
        witness::Witness,
        world::{READ_DEADLINE, WRITE_DEADLINE},
    },
    servers::{disk::Disk, postgres::Postgres, redis::Redis},
};

const FULL: Duration = Duration::from_secs(2);
/// More than PostgreSQL needs for its catalogues.
const MEBIBYTES: usize = 128;

enum Store<'a> {
    Memory(&'a Redis),
    Disk(&'a Disk),
}

pub(crate) async fn redis_memory(setup: &Setup) -> Outcome<bool> {
    let redis = Redis::start().await?;
    rounds(setup, &Store::Memory(&redis), &redis.url(), "fill-redis-memory").await
}

pub(crate) async fn redis_disk(setup: &Setup) -> Outcome<bool> {
    let disk = Disk::mount(MEBIBYTES)?;
    let redis = Redis::start_in(disk.path()).await?;
    // Redis ends when it can't sync before an answer.
    redis.command("CONFIG SET appendfsync everysec").await?;
    rounds(setup, &Store::Disk(&disk), &redis.url(), "fill-redis-disk").await
}

pub(crate) async fn sqlite(setup: &Setup) -> Outcome<bool> {
    let disk = Disk::mount(MEBIBYTES)?;
    let file = format!("sqlite:{}", disk.path().join("demo.db").display());
    rounds(setup, &Store::Disk(&disk), &file, "fill-sqlite").await
}

pub(crate) async fn postgres(setup: &Setup) -> Outcome<bool> {
    let disk = Disk::mount(MEBIBYTES)?;
    let postgres = Postgres::start_in(disk.path()).await?;
    rounds(setup, &Store::Disk(&disk), &postgres.url(), "fill-postgres").await
}

async fn rounds(setup: &Setup, store: &Store<'_>, url: &str, name: &'static str) -> Outcome<bool> {
    let mut site = Site::open(&setup.binary, url, 1, setup.report(name)).await?;
    for number in setup.rounds(20, 1) {
        site.world.report.begin_round(number);
        round(setup, &mut site, store, Dice::of_fault(number)).await?;
    }
    site.close().await
}

/// With a store that makes room by itself, which must be found.
pub(crate) async fn planted(setup: &Setup) -> Outcome<Site> {
    let redis = Redis::start().await?;
    redis.command("CONFIG SET maxmemory-policy allkeys-random").await?;
    let mut site = Site::open(&setup.binary, &redis.url(), 1, Report::silent("self-test")).await?;
    site.world.report.begin_round(setup.first);
    round(setup, &mut site, &Store::Memory(&redis), Dice::of_fault(setup.first)).await?;
    Ok(site)
}

async fn round(setup: &Setup, site: &mut Site, store: &Store<'_>, mut dice: Dice) -> Outcome<()> {
    let world = &site.world;
    let witness = Witness::new(world).await?;
    let mut revoked = Witness::named(world, "revoked").await?;
    let load = Load::start(world, setup.clients);
    sleep(dice.millis(500, 1_500)).await;

    world.begin(store.fault());
    store.fill().await?;
    witness.watch(FULL).await?;
    if revoked.revoke().await? {
        world.report.took("a revoked token refused", revoked.refused_within(Duration::ZERO).await?);
    }
    store.empty().await?;
    let (checks, writes) = tokio::try_join!(witness.steady(200, READ_DEADLINE), witness.steady_writes(WRITE_DEADLINE))?;
    world.end(store.fault());

    site.check_after(load, checks, writes).await
}

impl Store<'_> {
    const fn fault(&self) -> Fault {
        match self {
            Self::Memory(_) => Fault::StoreFull,
            Self::Disk(_) => Fault::WritesFail,
        }
    }

    async fn fill(&self) -> Outcome<()> {
        match self {
            Self::Memory(redis) => redis.command("CONFIG SET maxmemory 1").await,
            Self::Disk(disk) => disk.fill(),
        }
    }

    async fn empty(&self) -> Outcome<()> {
        match self {
            Self::Memory(redis) => redis.command("CONFIG SET maxmemory 0").await,
            Self::Disk(disk) => disk.empty(),
        }
    }
}
