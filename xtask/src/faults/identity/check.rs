//! What must hold of these agents after a fault.

use super::{
    super::{
        check::{AGAIN, GOOD, Row},
        claim::{Decided, Decision, Fate},
        node::Node,
        report::Rule,
        verbs::tolerate,
        world::{Step, World},
    },
    Held, Identity, Keys,
};
use crate::Outcome;

/// What the service says now, against the twin. `rows` are its sessions in the list of its human.
pub(in crate::faults) async fn after_fault(
    world: &World,
    node: &Node,
    identity: &mut Identity,
    rows: &[Row],
) -> Outcome<()> {
    tolerate(examine(world, node, identity, rows).await)?;
    tolerate(second_proof(world, node, identity).await)?;
    tolerate(unclaimed(world, node, identity).await)?;
    Ok(())
}

/// At the end of a run: what was acknowledged in any round still stands.
pub(in crate::faults) async fn at_the_end(world: &World, node: &Node, identity: &mut Identity) -> Outcome<()> {
    let keys = match &mut identity.held {
        Held::Done(keys) => Some(keys),
        _ => identity.unclaimed.as_mut(),
    };
    let Some(keys) = keys else { return Ok(()) };
    let checked = match keys.fate {
        Fate::Revoked => world.check_keys_over(node, &identity.label, keys).await,
        Fate::Live if keys.since.elapsed() < GOOD => live(world, node, &identity.label, keys).await,
        _ => Ok(()),
    };
    tolerate(checked)?;
    Ok(())
}

/// A store that forgot it gives nothing for it.
pub(in crate::faults) async fn is_gone(world: &World, node: &Node, label: &str, keys: &Keys) -> Outcome<()> {
    tolerate(world.check_keys_over(node, label, keys).await)?;
    Ok(())
}

async fn examine(world: &World, node: &Node, identity: &mut Identity, rows: &[Row]) -> Step<()> {
    match &mut identity.held {
        Held::Done(keys) => acknowledged(world, node, &identity.label, keys, rows).await,
        Held::Not | Held::Perhaps => unacknowledged(world, node, identity, rows).await,
    }
}

/// I4: whatever was in flight was done wholly or not at all. The proof tells which.
async fn unacknowledged(world: &World, node: &Node, identity: &mut Identity, rows: &[Row]) -> Step<()> {
    if identity.decision.is_none() {
        return Ok(());
    }
    let was_asked = matches!(identity.held, Held::Perhaps);
    if !was_asked && !rows.is_empty() {
        let text = format!("nobody proved it, but {} sessions are listed", rows.len());
        world.violation(Rule::Half, &identity.label, &text);
    }
    let rule = match identity.decided {
        Decided::Surely(Decision::Deny) => Rule::Revived,
        _ => Rule::Half,
    };
    world.prove(node, identity, rule).await?;
    match identity.held_mut() {
        Some((label, keys)) => live(world, node, label, keys).await,
        None => Ok(()),
    }
}

/// I1 and I2: what was acknowledged stands, and what was in flight can be asked again.
async fn acknowledged(world: &World, node: &Node, label: &str, keys: &mut Keys, rows: &[Row]) -> Step<()> {
    match keys.fate {
        Fate::Live => {
            let active = rows.iter().filter(|row| row.is_active()).count();
            if active < keys.access.len() {
                let text = format!("{} sessions were acknowledged, and {active} are listed", keys.access.len());
                world.violation(Rule::Lost, label, &text);
            }
            live(world, node, label, keys).await
        }
        Fate::PerhapsRefreshed(since) if since.elapsed() > AGAIN => {
            world.report.count("refreshes too old to ask again");
            Ok(())
        }
        Fate::PerhapsRefreshed(_) => {
            world.refresh_identity(node, label, keys).await?;
            live(world, node, label, keys).await
        }
        Fate::PerhapsRevoked => {
            world.revoke_identity(node, label, keys, false).await?;
            world.check_keys_over(node, label, keys).await
        }
        Fate::Revoked => {
            if rows.iter().any(Row::is_active) {
                world.violation(Rule::Revived, label, "a session of an identity that was ended is listed as active");
            }
            world.check_keys_over(node, label, keys).await
        }
    }
}

/// I3: the same proof gives the same identity for a while, and then nothing; and never anything once it was ended.
async fn second_proof(world: &World, node: &Node, identity: &mut Identity) -> Step<()> {
    let rule = match identity.keys().map(|keys| keys.fate) {
        Some(Fate::Live) => Rule::Double,
        Some(Fate::Revoked) => Rule::Revived,
        _ => return Ok(()),
    };
    world.prove(node, identity, rule).await?;
    Ok(())
}

/// What it holds until it is claimed stands until then, and is worth nothing afterwards.
async fn unclaimed(world: &World, node: &Node, identity: &mut Identity) -> Step<()> {
    let Some((label, keys)) = identity.unclaimed_mut() else { return Ok(()) };
    match keys.fate {
        Fate::Live => live(world, node, label, keys).await,
        Fate::PerhapsRevoked => {
            world.revoke_identity(node, label, keys, false).await?;
            world.check_keys_over(node, label, keys).await
        }
        Fate::Revoked => world.check_keys_over(node, label, keys).await,
        Fate::PerhapsRefreshed(_) => Ok(()),
    }
}

async fn live(world: &World, node: &Node, label: &str, keys: &mut Keys) -> Step<()> {
    world.exchange(node, label, keys).await?;
    world.check_keys(node, label, keys).await
}
