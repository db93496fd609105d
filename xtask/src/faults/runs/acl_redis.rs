//! A user of Redis without the right to publish, as Redis 7 creates users by default. Every call must succeed: without
//! a cache a revocation needs no notice.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Outcome,
    faults::{Setup, load::Load, node::Fault, report::Report, site::Site, witness::Witness},
    servers::redis::Redis,
};

const LOAD: Duration = Duration::from_secs(1);

pub(crate) async fn run(setup: &Setup) -> Outcome<bool> {
    let redis = Redis::start().await?;
    let mut site = open(setup, &redis, setup.report("acl-redis")).await?;
    for number in setup.rounds(10, 1) {
        site.world.report.begin_round(number);
        round(setup, &mut site, &redis, "resetchannels").await?;
    }
    site.close().await
}

/// With a user that may not write either, which must be found.
pub(crate) async fn planted(setup: &Setup) -> Outcome<Site> {
    let redis = Redis::start().await?;
    let mut site = open(setup, &redis, Report::silent("self-test")).await?;
    site.world.report.begin_round(setup.first);
    round(setup, &mut site, &redis, "resetchannels -@write").await?;
    Ok(site)
}

async fn open(setup: &Setup, redis: &Redis, report: Report) -> Outcome<Site> {
    redis.command("ACL SETUSER service on >servicepassword ~* +@all resetchannels").await?;
    Site::open(&setup.binary, &redis.url_as("service:servicepassword"), 1, report).await
}

async fn round(setup: &Setup, site: &mut Site, redis: &Redis, taken: &str) -> Outcome<()> {
    let world = &site.world;
    let mut revoked = Witness::new(world).await?;
    world.begin(Fault::Harmless);
    let load = Load::start(world, setup.clients);
    sleep(LOAD).await;
    // The right comes, and is taken away from a connection that has it.
    redis.command("ACL SETUSER service allchannels").await?;
    sleep(LOAD).await;
    redis.command(&format!("ACL SETUSER service {taken}")).await?;
    if revoked.revoke().await? {
        world.report.took("a revoked token refused", revoked.refused_within(Duration::ZERO).await?);
    }
    sleep(LOAD).await;
    let claims = load.stop().await?;
    world.end(Fault::Harmless);
    world.report.tell(&format!("{} claims to check", claims.len()));
    site.check(claims).await
}
