//! The proof that the checks find something. What they are to find is done on purpose.

use std::{fs, io::Write, path::Path, time::Duration};

use tokio::time::sleep;

use super::{acl_redis, failover, fill, half_open, leap_clock, pin_pool};
use crate::{
    Outcome,
    faults::{
        Setup,
        claim::Claim,
        identity::{Identity, approved_identity},
        load::{Load, Records},
        report::{Report, Rule},
        site::Site,
        verbs::tolerate,
        witness::{Witness, approved_claim},
    },
    output::say,
};

const LOAD: Duration = Duration::from_millis(600);
/// What a SQLite store consists of, and where a copy of it is put.
const FILES: [&str; 3] = ["demo.db", "demo.db-wal", "demo.db-shm"];
const COPY: &str = "copy";

pub(crate) async fn run(setup: &Setup) -> Outcome<bool> {
    let forgetting = forgets(setup).await?;
    let setting_back = is_set_back(setup).await?;
    let undoing = identities_are_set_back(setup).await?;
    let inventing = invents(setup).await?;
    let failing = fails(setup).await?;
    let leaking = leaks(setup).await?;
    let outliving = outlives(setup).await?;
    let planted = [
        is_found(&half_open::planted(setup).await?, "connections stay dead", &[Rule::Late]),
        is_found(&failover::planted(setup).await?, "a replica did not follow", &[Rule::Lost]),
        is_found(&pin_pool::planted(setup).await?, "token checks wait for a lock", &[Rule::Undocumented]),
        is_found(&acl_redis::planted(setup).await?, "a right is missing", &[Rule::Undocumented]),
        is_found(&fill::planted(setup).await?, "a full store forgets", &[Rule::Lost]),
        is_found(&leap_clock::planted(setup).await?, "all clocks leap", &[Rule::Lost]),
    ];
    Ok(forgetting
        && setting_back
        && undoing
        && inventing
        && failing
        && leaking
        && outliving
        && !planted.contains(&false))
}

/// A store that forgets everything with its process.
async fn forgets(setup: &Setup) -> Outcome<bool> {
    let mut site = open(setup, "memory").await?;
    // A slow machine may get no further under load.
    let waiting = approved(&site, "waiting").await?;
    let mut redeemed = approved(&site, "redeemed").await?;
    complete(&site, &mut redeemed).await?;
    let load = Load::start(&site.world, setup.clients);
    sleep(LOAD).await;
    site.kill(0).await?;
    let mut claims = load.stop().await?;
    claims.extend(vec![waiting, redeemed].into());
    site.start_again(0).await?;
    site.check(claims).await?;
    Ok(is_found(&site, "a store forgets all", &[Rule::Lost, Rule::Half]))
}

/// A store that wakes up as it was some time before: what was revoked since is good again, and what was redeemed since
/// can be redeemed once more.
async fn is_set_back(setup: &Setup) -> Outcome<bool> {
    let mut site = open(setup, "sqlite:{}/demo.db").await?;
    let mut revoked = approved(&site, "revoked").await?;
    let mut redeemed = approved(&site, "redeemed").await?;
    complete(&site, &mut revoked).await?;
    site.kill(0).await?;
    copy_files(site.directory(), &site.directory().join(COPY))?;
    site.start_again(0).await?;

    let node = site.world.nodes.first().ok_or("there is no server")?;
    complete(&site, &mut redeemed).await?;
    if let Some((label, session)) = revoked.session_mut() {
        tolerate(site.world.revoke(node, label, session, false).await)?;
    }
    site.kill(0).await?;
    copy_files(&site.directory().join(COPY), site.directory())?;
    site.start_again(0).await?;
    site.check(vec![revoked, redeemed].into()).await?;
    Ok(is_found(&site, "a store is set back", &[Rule::Lost, Rule::Revived, Rule::Double]))
}

/// The same for identities alone, which no check of claims looks at: what was ended gives access again, what was proved
/// gives another identity, and what was claimed acts unclaimed once more.
async fn identities_are_set_back(setup: &Setup) -> Outcome<bool> {
    let mut site = open(setup, "sqlite:{}/demo.db").await?;
    let mut identities = Vec::new();
    for (label, unclaimed) in [("ended", false), ("proved", false), ("claimed", true)] {
        identities.push(approved_identity_of(&site, label, unclaimed).await?);
    }
    prove(&site, &mut identities[0]).await?;
    site.kill(0).await?;
    copy_files(site.directory(), &site.directory().join(COPY))?;
    site.start_again(0).await?;

    for identity in &mut identities[1..] {
        prove(&site, identity).await?;
    }
    let node = site.world.nodes.first().ok_or("there is no server")?;
    if let Some((label, keys)) = identities[0].held_mut() {
        tolerate(site.world.revoke_identity(node, label, keys, true).await)?;
    }
    site.kill(0).await?;
    copy_files(&site.directory().join(COPY), site.directory())?;
    site.start_again(0).await?;
    site.check(Records { identities, ..Records::default() }).await?;
    Ok(is_found(&site, "a store with identities is set back", &[Rule::Lost, Rule::Revived, Rule::Double]))
}

/// An answer with a documented status and an error that is not.
async fn invents(setup: &Setup) -> Outcome<bool> {
    let mut site = open(setup, "memory").await?;
    let mut identity = approved_identity_of(&site, "invented", false).await?;
    prove(&site, &mut identity).await?;
    let node = site.world.nodes.first().ok_or("there is no server")?;
    if let Some((label, keys)) = identity.held_mut() {
        tolerate(site.world.revoke_identity(node, label, keys, false).await)?;
        keys.break_assertion();
    }
    site.check(Records { identities: vec![identity], ..Records::default() }).await?;
    Ok(is_found(&site, "an error is not documented", &[Rule::Undocumented]))
}

/// A server that is gone though nobody made a fault.
async fn fails(setup: &Setup) -> Outcome<bool> {
    let mut site = open(setup, "memory").await?;
    let mut claim = approved(&site, "failed").await?;
    site.kill(0).await?;
    site.world.nodes.iter().for_each(|node| node.comes());
    complete(&site, &mut claim).await?;
    Ok(is_found(&site, "a server fails by itself", &[Rule::Undocumented]))
}

/// A server that writes a secret to its log.
async fn leaks(setup: &Setup) -> Outcome<bool> {
    let mut site = open(setup, "memory").await?;
    let claim = approved(&site, "leaked").await?;
    for log in site.logs() {
        writeln!(fs::OpenOptions::new().append(true).open(log)?, "registered {}", claim.token)?;
    }
    site.check_logs()?;
    Ok(is_found(&site, "a server logs a secret", &[Rule::Leaked]))
}

/// A token that passes after its revocation, which was never made.
async fn outlives(setup: &Setup) -> Outcome<bool> {
    let site = open(setup, "memory").await?;
    Witness::new(&site.world).await?.refused_within(Duration::from_millis(50)).await?;
    Ok(is_found(&site, "a token outlives its revocation", &[Rule::Revived]))
}

async fn open(setup: &Setup, store: &str) -> Outcome<Site> {
    let site = Site::open(&setup.binary, store, 1, Report::silent("self-test")).await?;
    site.world.report.begin_round(setup.first);
    Ok(site)
}

async fn approved(site: &Site, label: &str) -> Outcome<Claim> {
    let node = site.world.nodes.first().ok_or("there is no server")?;
    let claim = tolerate(approved_claim(&site.world, node, label).await)?;
    claim.ok_or_else(|| "nothing works even before the fault".into())
}

async fn approved_identity_of(site: &Site, label: &str, unclaimed: bool) -> Outcome<Identity> {
    let node = site.world.nodes.first().ok_or("there is no server")?;
    let identity = tolerate(approved_identity(&site.world, node, label, unclaimed).await)?;
    identity.ok_or_else(|| "nothing works even before the fault".into())
}

async fn prove(site: &Site, identity: &mut Identity) -> Outcome<()> {
    let node = site.world.nodes.first().ok_or("there is no server")?;
    tolerate(site.world.prove(node, identity, Rule::Half).await)?;
    Ok(())
}

async fn complete(site: &Site, claim: &mut Claim) -> Outcome<()> {
    let node = site.world.nodes.first().ok_or("there is no server")?;
    tolerate(site.world.complete(node, claim, Rule::Half).await)?;
    Ok(())
}

/// Makes `to` hold the files as they are in `from`.
fn copy_files(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for file in FILES {
        let (from, to) = (from.join(file), to.join(file));
        if from.exists() {
            fs::copy(from, to)?;
        } else if to.exists() {
            fs::remove_file(to)?;
        }
    }
    Ok(())
}

fn is_found(site: &Site, what: &str, rules: &[Rule]) -> bool {
    let report = &site.world.report;
    let found = rules.iter().all(|rule| report.violations_of(*rule) > 0);
    say(&format!("self-test: {what}: {}", if found { "found" } else { "NOT FOUND" }));
    say(&format!("  {}", report.summary()));
    found
}
