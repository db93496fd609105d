//! What must hold after a fault, claim by claim: what the service says now, against the twin of the ledger.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    claim::{Claim, Decided, Decision, Exchange, Fate, Session},
    human::Human,
    identity,
    load::Records,
    node::Node,
    report::Rule,
    verbs::tolerate,
    wire,
    world::{Expected, Question, Step, World},
};
use crate::Outcome;

/// For so long a refresh that was not answered may be asked again, and a claim be completed again without ending its
/// session; the service's own limit is 10 seconds.
pub(super) const AGAIN: Duration = Duration::from_secs(7);
/// How many accounts are looked at together.
const TOGETHER: usize = 16;
/// Access tokens are good for an hour. Those that may have expired are not looked at again.
pub(super) const GOOD: Duration = Duration::from_secs(50 * 60);

/// A session as the list has it.
pub(super) struct Row {
    id: String,
    status: String,
}

impl Row {
    pub(super) fn is_active(&self) -> bool {
        self.status == "active"
    }
}

/// Checks all that was asked for in a round, and answers it with what is known now.
pub(crate) async fn after_fault(world: &Arc<World>, records: Records) -> Outcome<Records> {
    let mut by_human: BTreeMap<String, Records> = BTreeMap::new();
    for claim in records.claims {
        by_human.entry(claim.human.clone()).or_default().claims.push(claim);
    }
    for identity in records.identities {
        by_human.entry(identity.human.clone()).or_default().identities.push(identity);
    }
    let permits = Arc::new(Semaphore::new(TOGETHER));
    let examine = |(index, (email, records))| {
        let (world, permits) = (Arc::clone(world), Arc::clone(&permits));
        async move {
            let _permit = permits.acquire().await?;
            let node = Arc::clone(&world.nodes[index % world.nodes.len()]);
            account(world, node, email, records).await
        }
    };
    let mut examined: JoinSet<_> = by_human.into_iter().enumerate().map(examine).collect();
    let mut records = Records::default();
    while let Some(done) = examined.join_next().await {
        records.extend(done??);
    }
    Ok(records)
}

/// At the end of a run: what was acknowledged in any round still stands.
pub(crate) async fn at_the_end(world: &Arc<World>, records: Records) -> Outcome<()> {
    let mut turns = world.nodes.iter().cycle();
    for claim in &records.claims {
        let (Some(session), Some(node)) = (claim.session(), turns.next()) else { continue };
        let checked = match session.fate {
            Fate::Revoked => world.check_dead(node, &claim.label, &session.access, Rule::Revived).await,
            Fate::Live if session.since.elapsed() < GOOD => one_route(world, node, &claim.label, session).await,
            _ => Ok(()),
        };
        tolerate(checked)?;
    }
    for mut identity in records.identities {
        let Some(node) = turns.next() else { continue };
        identity::check::at_the_end(world, node, &mut identity).await?;
    }
    Ok(())
}

async fn account(world: Arc<World>, node: Arc<Node>, email: String, mut records: Records) -> Outcome<Records> {
    let listed = Human::new(&email).sessions(&world, &node).await;
    let Some(listed) = tolerate(listed)? else { return Ok(records) };
    let mut rows = by_label(&listed);
    for (index, claim) in records.claims.iter_mut().enumerate() {
        let rows = rows.remove(&claim.label).unwrap_or_default();
        if rows.len() > 1 {
            world.violation(Rule::Double, &claim.label, &format!("{} sessions are listed", rows.len()));
        }
        tolerate(examine(&world, &node, claim, &rows).await)?;
        if index % 3 == 0 {
            tolerate(second_complete(&world, &node, claim).await)?;
        }
    }
    for identity in &mut records.identities {
        let rows = rows.remove(&identity.label).unwrap_or_default();
        identity::check::after_fault(&world, &node, identity, &rows).await?;
    }
    Ok(records)
}

fn by_label(listed: &[Value]) -> HashMap<String, Vec<Row>> {
    let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
    for entry in listed {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        rows.entry(text("label")).or_default().push(Row { id: text("id"), status: text("status") });
    }
    rows
}

async fn examine(world: &World, node: &Node, claim: &mut Claim, rows: &[Row]) -> Step<()> {
    let Claim { label, exchange, .. } = claim;
    match exchange {
        Exchange::Done(session) => acknowledged(world, node, label, session, rows).await,
        Exchange::Not | Exchange::Perhaps => unacknowledged(world, node, claim, rows).await,
    }
}

/// I4: whatever was in flight was done wholly or not at all. Completing the claim tells which.
async fn unacknowledged(world: &World, node: &Node, claim: &mut Claim, rows: &[Row]) -> Step<()> {
    let rule = match claim.decided {
        Decided::Surely(Decision::Deny) => Rule::Revived,
        _ => Rule::Half,
    };
    let is_exchanged = world.complete(node, claim, rule).await? == 409;
    if is_exchanged != (rows.len() == 1) {
        let text = format!("exchanged: {is_exchanged}, but {} sessions were listed", rows.len());
        world.violation(Rule::Half, &claim.label, &text);
    }
    match claim.session() {
        Some(session) => world.check_live(node, &claim.label, session).await,
        None => Ok(()),
    }
}

/// I1 and I2: what was acknowledged stands, and what was in flight can be asked again.
async fn acknowledged(world: &World, node: &Node, label: &str, session: &mut Session, rows: &[Row]) -> Step<()> {
    let Some(row) = rows.iter().find(|row| row.id == session.id) else {
        world.violation(Rule::Lost, label, "the session is not listed");
        return Ok(());
    };
    match session.fate {
        Fate::Live => {
            world.expect_status(label, row, "active", Rule::Lost);
            world.check_live(node, label, session).await?;
        }
        Fate::PerhapsRefreshed(since) => {
            world.expect_status(label, row, "active", Rule::Lost);
            if since.elapsed() > AGAIN {
                world.report.count("refreshes too old to ask again");
                return Ok(());
            }
            world.refresh(node, label, session).await?;
            world.check_live(node, label, session).await?;
        }
        Fate::PerhapsRevoked => {
            let (_, path) = wire::ROUTES[0];
            let question =
                Question { label, what: path, expected: Expected::Status(&[200, 403, 401]), rule: Rule::Lost };
            world.call(node, &session.access, path, question).await?;
            world.revoke(node, label, session, false).await?;
            world.check_over(node, label, session).await?;
        }
        Fate::Revoked => {
            world.expect_status(label, row, "revoked", Rule::Revived);
            world.check_over(node, label, session).await?;
        }
    }
    match &session.retired {
        Some(retired) => world.check_dead(node, label, retired, Rule::Revived).await,
        None => Ok(()),
    }
}

/// I3 from the agent's side: a claim that has its session gets no other, and keeps that one.
async fn second_complete(world: &World, node: &Node, claim: &mut Claim) -> Step<()> {
    let Some(Session { since, fate: Fate::Live, .. }) = claim.session() else { return Ok(()) };
    if since.elapsed() > AGAIN {
        return Ok(());
    }
    world.complete(node, claim, Rule::Double).await?;
    match claim.session() {
        Some(session) => one_route(world, node, &claim.label, session).await,
        None => Ok(()),
    }
}

async fn one_route(world: &World, node: &Node, label: &str, session: &Session) -> Step<()> {
    let (scope, path) = wire::ROUTES[0];
    let expected = wire::expected(&session.scopes, scope);
    world.check(node, label, &session.access, path, expected, Rule::Lost).await
}

impl World {
    fn expect_status(&self, label: &str, row: &Row, expected: &str, rule: Rule) {
        if row.status != expected {
            self.violation(rule, label, &format!("the session is listed as {}, not {expected}", row.status));
        }
    }
}
