//! A replica takes over behind the same address. The old server goes on as a read-only one, without what is written
//! from then on, and old connections stay with it. The service must leave it within one deadline.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Outcome,
    faults::{
        Setup,
        dice::Dice,
        load::Load,
        node::Fault,
        proxy::Proxy,
        report::Report,
        site::Site,
        witness::Witness,
        world::{READ_DEADLINE, WRITE_DEADLINE},
    },
    servers::{
        postgres::{self, Postgres},
        redis::{self, Redis},
    },
};

/// The first of them only checks tokens: no failed write shows it that its server is read-only.
const PROCESSES: usize = 3;
/// How long the old server goes on alone, as a read-only one.
const ALONE: Duration = Duration::from_millis(700);

/// Two servers, of which one takes over from the other.
enum Pair {
    Postgres { old: Postgres, new: Postgres },
    Redis { old: Redis, new: Redis },
}

pub(crate) async fn postgres(setup: &Setup) -> Outcome<bool> {
    let mut postgres = Postgres::start().await?;
    let proxy = Proxy::start(postgres.port()).await?;
    let report = setup.report("failover-postgres");
    let mut site = open(setup, &postgres::url(proxy.port()), report).await?;
    for number in setup.rounds(10, 2) {
        site.world.report.begin_round(number);
        let mut pair = Pair::Postgres { new: postgres.standby().await?, old: postgres };
        round(setup, &mut site, &proxy, &mut pair, number).await?;
        let Pair::Postgres { new, .. } = pair else { return Err("PostgreSQL became Redis".into()) };
        postgres = new;
    }
    site.close().await
}

pub(crate) async fn redis(setup: &Setup) -> Outcome<bool> {
    let mut redis = Redis::start().await?;
    let proxy = Proxy::start(redis.port()).await?;
    let mut site = open(setup, &redis::url(proxy.port()), setup.report("failover-redis")).await?;
    for number in setup.rounds(10, 1) {
        site.world.report.begin_round(number);
        let mut pair = Pair::Redis { new: redis.replica().await?, old: redis };
        round(setup, &mut site, &proxy, &mut pair, number).await?;
        let Pair::Redis { new, .. } = pair else { return Err("Redis became PostgreSQL".into()) };
        redis = new;
    }
    site.close().await
}

/// With a replica that had stopped to follow, which must be found.
pub(crate) async fn planted(setup: &Setup) -> Outcome<Site> {
    let redis = Redis::start().await?;
    let proxy = Proxy::start(redis.port()).await?;
    let site = open(setup, &redis::url(proxy.port()), Report::silent("self-test")).await?;
    site.world.report.begin_round(setup.first);
    let replica = redis.replica().await?;
    replica.command("REPLICAOF NO ONE").await?;
    let witness = Witness::new(&site.world).await?;
    site.world.begin(Fault::StoreAway);
    proxy.switch(replica.port());
    drop(redis);
    witness.watch(ALONE).await?;
    Ok(site)
}

async fn open(setup: &Setup, store: &str, report: Report) -> Outcome<Site> {
    let site = Site::open(&setup.binary, store, PROCESSES, report).await?;
    site.world.nodes[0].set_quiet();
    Ok(site)
}

async fn round(setup: &Setup, site: &mut Site, proxy: &Proxy, pair: &mut Pair, number: usize) -> Outcome<()> {
    let world = &site.world;
    let witness = Witness::new(world).await?;
    let mut revoked = Witness::named(world, "revoked").await?;
    let load = Load::start(world, setup.clients);
    sleep(Dice::of_fault(number).millis(500, 1_500)).await;

    world.begin(Fault::StoreAway);
    // Connections that are opened meanwhile are to the old server.
    let (asked, demoted) = tokio::join!(witness.watch(ALONE), pair.demote(number));
    asked.and(demoted)?;
    witness.watch(ALONE).await?;
    proxy.switch(pair.promote().await?);
    let recovering = async {
        tokio::try_join!(
            witness.steady(200, READ_DEADLINE),
            witness.steady_writes(WRITE_DEADLINE),
            // Revoked through the new server, and refused by the process that only checks tokens.
            async {
                if revoked.revoke_within(WRITE_DEADLINE).await? {
                    let passed = revoked.refused_within(READ_DEADLINE).await?;
                    world.report.took("a revoked token refused everywhere", passed);
                }
                Ok(())
            }
        )
    };
    let (recovered, ()) = tokio::join!(recovering, world.await_deadlines());
    let (checks, writes, ()) = recovered?;

    site.check_after(load, checks, writes).await
}

impl Pair {
    /// From now on the old server refuses writes, and the new one has all that was written.
    async fn demote(&mut self, number: usize) -> Outcome<()> {
        match self {
            // All connections break once, and are opened again before the switch.
            Self::Postgres { old, .. } if number.is_multiple_of(2) => old.restart_as_standby().await,
            Self::Postgres { old, new } => old.refuse_writes(new).await,
            Self::Redis { old, new } => old.hand_over(new).await,
        }
    }

    /// Lets the new server take writes, and answers its port.
    async fn promote(&self) -> Outcome<u16> {
        match self {
            Self::Postgres { new, .. } => new.promote().await.map(|()| new.port()),
            Self::Redis { new, .. } => Ok(new.port()),
        }
    }
}
