//! The connection to PostgreSQL is cut around the COMMIT of a redeemed claim: whatever the agent is told, the claim and
//! its session are both there or both not.

use crate::{
    Outcome,
    faults::{
        Setup,
        claim::{Claim, Exchange},
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
            make(&mut site, &proxy, cut).await?;
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
