//! The connection to PostgreSQL is cut around the COMMIT of a redeemed claim: whatever the agent is told, the claim and
//! its session are both there or both not. In every other round it is that of an identity that is proved.

use crate::{
    Outcome,
    faults::{
        Setup,
        claim::{Claim, Exchange},
        identity::approved_identity,
        load::Records,
        node::Fault,
        proxy::{Cut, Proxy},
        report::Rule,
        site::Site,
        verbs::tolerate,
        witness::approved_claim,
    },
    servers::postgres::{self, Postgres},
};

/// How often a cut is tried again that met no COMMIT.
const TRIES: usize = 3;

pub(crate) async fn run(setup: &Setup) -> Outcome<bool> {
    let postgres = Postgres::start().await?;
    let proxy = Proxy::cutting(postgres.port()).await?;
    let mut site = Site::open(&setup.binary, &postgres::url(proxy.port()), 1, setup.report("cut-postgres")).await?;
    for number in setup.rounds(300, 10) {
        site.world.report.begin_round(number);
        for cut in Cut::ALL {
            match number % 2 {
                0 => make_for_identity(&mut site, &proxy, cut).await?,
                _ => make(&mut site, &proxy, cut).await?,
            }
        }
    }
    site.close().await
}

async fn make(site: &mut Site, proxy: &Proxy, cut: Cut) -> Outcome<()> {
    for attempt in 0..TRIES {
        let made = proxy.made();
        let Some(claim) = complete(site, proxy, cut, attempt).await? else { return Ok(()) };
        let is_cut = proxy.made() > made;
        let was_answered = claim.session().is_some();
        site.world.report.tell(&format!("{}: cut: {is_cut}, answered: {was_answered}", cut.name()));
        let claim = site.check_one(claim).await?;
        if is_cut {
            site.world.report.count(cut.name());
            if !was_answered {
                check_effect(site, cut, &claim);
            }
            return Ok(());
        }
    }
    Err("redeeming a claim sends no COMMIT, so that there is nothing to cut".into())
}

/// The same for an identity. What was cut is asked again by the check, and one identity comes of it.
async fn make_for_identity(site: &mut Site, proxy: &Proxy, cut: Cut) -> Outcome<()> {
    for attempt in 0..TRIES {
        let (made, world) = (proxy.made(), &site.world);
        let node = world.nodes.first().ok_or("there is no server")?;
        let label = format!("r{}-identity-{cut:?}-{attempt}", world.report.round());
        let approved = tolerate(approved_identity(world, node, &label, attempt % 2 == 1).await)?;
        let Some(mut identity) = approved else { return Ok(()) };
        world.begin(Fault::StoreAway);
        proxy.arm(cut);
        let proved = world.prove(node, &mut identity, Rule::Half).await;
        proxy.disarm();
        world.end(Fault::StoreAway);
        tolerate(proved)?;
        let is_cut = proxy.made() > made;
        site.check(Records { identities: vec![identity], ..Records::default() }).await?;
        if is_cut {
            site.world.report.count(cut.name());
            return Ok(());
        }
    }
    Err("proving an identity sends no COMMIT, so that there is nothing to cut".into())
}

/// Completes a fresh claim with the cut waiting for it.
async fn complete(site: &Site, proxy: &Proxy, cut: Cut, attempt: usize) -> Outcome<Option<Claim>> {
    let world = &site.world;
    let node = world.nodes.first().ok_or("there is no server")?;
    let label = format!("r{}-{cut:?}-{attempt}", world.report.round());
    let Some(mut claim) = tolerate(approved_claim(world, node, &label).await)? else { return Ok(None) };
    world.begin(Fault::StoreAway);
    proxy.arm(cut);
    let completed = world.complete(node, &mut claim, Rule::Half).await;
    proxy.disarm();
    world.end(Fault::StoreAway);
    tolerate(completed)?;
    Ok(Some(claim))
}

/// A claim whose COMMIT never arrived can be completed still; one whose COMMIT was answered can't. The check before has
/// tried.
fn check_effect(site: &Site, cut: Cut, claim: &Claim) {
    let is_exchanged = matches!(claim.exchange, Exchange::Perhaps);
    let wrong = match cut {
        Cut::BeforeCommit => is_exchanged,
        Cut::AfterForwarding => false,
        Cut::AfterAnswer => !is_exchanged,
    };
    if wrong {
        let text = format!("{}: the claim was exchanged: {is_exchanged}", cut.name());
        site.world.violation(Rule::Half, &claim.label, &text);
    }
}
