//! All connections to the store go dead without a reset, as behind a firewall that drops their packets. New connections
//! work, so the service must be right again within one deadline.

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

pub(crate) async fn postgres(setup: &Setup) -> Outcome<bool> {
    let postgres = Postgres::start().await?;
    let proxy = Proxy::start(postgres.port()).await?;
    rounds(setup, &postgres::url(proxy.port()), &proxy, "half-open-postgres").await
}

pub(crate) async fn redis(setup: &Setup) -> Outcome<bool> {
    let redis = Redis::start().await?;
    let proxy = Proxy::start(redis.port()).await?;
    rounds(setup, &redis::url(proxy.port()), &proxy, "half-open-redis").await
}

async fn rounds(setup: &Setup, store: &str, proxy: &Proxy, name: &'static str) -> Outcome<bool> {
    let mut site = Site::open(&setup.binary, store, 1, setup.report(name)).await?;
    for number in setup.rounds(20, 1) {
        site.world.report.begin_round(number);
        round(setup, &mut site, Dice::of_fault(number), || proxy.fall_silent()).await?;
    }
    site.close().await
}

/// With connections that stay dead when they are opened anew, which must be found.
pub(crate) async fn planted(setup: &Setup) -> Outcome<Site> {
    let redis = Redis::start().await?;
    let proxy = Proxy::start(redis.port()).await?;
    let mut site = Site::open(&setup.binary, &redis::url(proxy.port()), 1, Report::silent("self-test")).await?;
    site.world.report.begin_round(setup.first);
    round(setup, &mut site, Dice::of_fault(setup.first), || proxy.stay_silent()).await?;
    Ok(site)
}

async fn round(setup: &Setup, site: &mut Site, mut dice: Dice, silence: impl Fn()) -> Outcome<()> {
    let world = &site.world;
    let witness = Witness::new(world).await?;
    let load = Load::start(world, setup.clients);
    sleep(dice.millis(500, 1_500)).await;

    world.begin(Fault::StoreAway);
    silence();
    let recovering =
        async { tokio::try_join!(witness.steady(200, READ_DEADLINE), witness.steady_writes(WRITE_DEADLINE)) };
    let (recovered, ()) = tokio::join!(recovering, world.await_deadlines());
    let (checks, writes) = recovered?;

    site.check_after(load, checks, writes).await
}
