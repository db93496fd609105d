//! Redis is emptied under load, or killed, with and without what it had. What it lost must be refused, never let in and
//! never taken for a failure; what it kept must stand.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    Outcome,
    faults::{
        Setup,
        claim::{Claim, Fate},
        dice::Dice,
        identity::{self, Identity},
        load::{Load, Records},
        node::Fault,
        site::Site,
        verbs::tolerate,
        witness::Witness,
    },
    servers::redis::{Dataset, Redis},
};

/// Within so long after Redis accepts connections all must work again.
const LIMIT: Duration = Duration::from_secs(2);
/// How long a load goes on after the fault.
const AFTER: Duration = Duration::from_millis(300);

pub(crate) async fn run(setup: &Setup) -> Outcome<bool> {
    let mut redis = Redis::start().await?;
    let mut site = Site::open(&setup.binary, &redis.url(), 1, setup.report("flush-redis")).await?;
    for number in setup.rounds(20, 3) {
        site.world.report.begin_round(number);
        let dice = Dice::of_fault(number);
        match number % 3 {
            0 => flush(setup, &mut site, &redis, dice).await?,
            1 => restart(setup, &mut site, &mut redis, dice, Dataset::Lost).await?,
            _ => restart(setup, &mut site, &mut redis, dice, Dataset::Kept).await?,
        }
    }
    site.close().await
}

async fn flush(setup: &Setup, site: &mut Site, redis: &Redis, mut dice: Dice) -> Outcome<()> {
    let witness = Witness::new(&site.world).await?;
    let load = Load::start(&site.world, setup.clients);
    sleep(dice.millis(200, 1_500)).await;
    site.world.begin(Fault::StoreForgets);
    let flushed = Instant::now();
    redis.flush().await?;
    tolerate(witness.is_answered(401).await)?;
    sleep(AFTER).await;
    let claims = load.stop().await?;
    site.world.end(Fault::StoreForgets);
    site.world.report.tell(&format!("emptied; {} claims to check", claims.len()));
    begin_anew(setup, site, claims, flushed).await
}

async fn restart(setup: &Setup, site: &mut Site, redis: &mut Redis, mut dice: Dice, dataset: Dataset) -> Outcome<()> {
    let witness = Witness::new(&site.world).await?;
    let load = Load::start(&site.world, setup.clients);
    sleep(dice.millis(200, 1_500)).await;
    site.world.begin(Fault::StoreAway);
    redis.kill().await?;
    tolerate(witness.is_answered(503).await)?;
    sleep(dice.millis(0, 1_000)).await;
    tolerate(witness.is_answered(503).await)?;
    let claims = load.stop().await?;
    let killed = Instant::now();
    redis.start_again(dataset).await?;
    let is_kept = matches!(dataset, Dataset::Kept);
    let recovered = witness.steady(if is_kept { 200 } else { 401 }, LIMIT).await?;
    site.world.report.took("token checks right again", recovered);
    site.world.end(Fault::StoreAway);
    let how = if is_kept { "kept" } else { "lost" };
    site.world.report.tell(&format!("killed, data {how}, right again after {recovered:?}; {} claims", claims.len()));
    if is_kept { site.check(claims).await } else { begin_anew(setup, site, claims, killed).await }
}

/// All that was issued before is gone for good, and new ceremonies work as if nothing had been.
async fn begin_anew(setup: &Setup, site: &mut Site, mut records: Records, emptied: Instant) -> Outcome<()> {
    records.extend(site.take_archive());
    for claim in &records.claims {
        is_gone(site, claim, emptied).await?;
    }
    for identity in &records.identities {
        identity_is_gone(site, identity, emptied).await?;
    }
    let new = Load::undisturbed(&site.world, setup.clients, setup.clients, AFTER).await?;
    site.check(new).await
}

async fn is_gone(site: &Site, claim: &Claim, emptied: Instant) -> Outcome<()> {
    let world = &site.world;
    let node = world.nodes.first().ok_or("there is no server")?;
    let Some(session) = claim.session() else { return Ok(()) };
    // What was being issued at that moment may be from before or after.
    let is_old = session.renewed < emptied && !matches!(session.fate, Fate::PerhapsRefreshed(_));
    if is_old {
        tolerate(world.check_over(node, &claim.label, session).await)?;
    }
    Ok(())
}

async fn identity_is_gone(site: &Site, identity: &Identity, emptied: Instant) -> Outcome<()> {
    let node = site.world.nodes.first().ok_or("there is no server")?;
    for keys in identity.keys().into_iter().chain(&identity.unclaimed) {
        if keys.renewed < emptied && !matches!(keys.fate, Fate::PerhapsRefreshed(_)) {
            identity::check::is_gone(&site.world, node, &identity.label, keys).await?;
        }
    }
    Ok(())
}
