//! A server process is killed at a random moment, and started again.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Outcome,
    faults::{Setup, dice::Dice, load::Load, site::Site},
    servers::postgres::Postgres,
};

/// The longest that load goes on before the kill.
const BEFORE: usize = 2_000;
/// How long the other server then works alone.
const ALONE: Duration = Duration::from_millis(500);

pub(crate) async fn sqlite(setup: &Setup) -> Outcome<bool> {
    let report = setup.report("kill-sqlite");
    let mut site = Site::open(&setup.binary, "sqlite:{}/demo.db", 1, report).await?;
    rounds(setup, &mut site, 200, 3).await?;
    site.close().await
}

pub(crate) async fn postgres(setup: &Setup) -> Outcome<bool> {
    let postgres = Postgres::start().await?;
    let mut site = Site::open(&setup.binary, &postgres.url(), 2, setup.report("kill-postgres")).await?;
    rounds(setup, &mut site, 200, 3).await?;
    site.close().await
}

async fn rounds(setup: &Setup, site: &mut Site, usual: usize, short: usize) -> Outcome<()> {
    for number in setup.rounds(usual, short) {
        site.world.report.begin_round(number);
        round(setup, site, Dice::of_fault(number)).await?;
    }
    Ok(())
}

async fn round(setup: &Setup, site: &mut Site, mut dice: Dice) -> Outcome<()> {
    let load = Load::start(&site.world, setup.clients);
    let after = dice.millis(0, BEFORE);
    sleep(after).await;
    let processes = site.world.nodes.len();
    let victim = dice.below(processes);
    site.kill(victim).await?;
    if processes > 1 {
        sleep(ALONE).await;
    }
    let claims = load.stop().await?;
    site.start_again(victim).await?;
    site.world.report.tell(&format!("process {victim} killed after {after:?}; {} claims to check", claims.len()));
    site.check(claims).await
}
