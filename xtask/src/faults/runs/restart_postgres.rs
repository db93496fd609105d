//! PostgreSQL itself crashes under load and comes back. The service must say 503 meanwhile, and go on by itself.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Outcome,
    faults::{Setup, dice::Dice, load::Load, node::Fault, site::Site, witness::Witness},
    servers::postgres::Postgres,
};

/// Within so long after PostgreSQL accepts connections all must work again.
const LIMIT: Duration = Duration::from_secs(2);
/// How long the load then goes on, with nothing forgiven.
const AFTER: Duration = Duration::from_millis(300);

pub(crate) async fn run(setup: &Setup) -> Outcome<bool> {
    let mut postgres = Postgres::start().await?;
    let mut site = Site::open(&setup.binary, &postgres.url(), 1, setup.report("restart-postgres")).await?;
    for number in setup.rounds(50, 2) {
        site.world.report.begin_round(number);
        round(setup, &mut site, &mut postgres, Dice::of_fault(number)).await?;
    }
    site.close().await
}

async fn round(setup: &Setup, site: &mut Site, postgres: &mut Postgres, mut dice: Dice) -> Outcome<()> {
    let world = &site.world;
    let witness = Witness::new(world).await?;
    let load = Load::start(world, setup.clients);
    sleep(dice.millis(200, 1_000)).await;

    world.begin(Fault::StoreAway);
    postgres.crash().await?;
    let away = dice.millis(0, 3_000);
    witness.watch(away).await?;
    postgres.start_again().await?;
    let accepts = Instant::now();
    let recovered = witness.steady(200, LIMIT).await?;
    world.report.took("token checks right again", recovered);
    sleep_until(accepts + LIMIT).await;
    world.end(Fault::StoreAway);

    sleep(AFTER).await;
    let claims = load.stop().await?;
    let text = format!("away for {away:?}, right again after {recovered:?}; {} claims to check", claims.len());
    world.report.tell(&text);
    site.check(claims).await
}
