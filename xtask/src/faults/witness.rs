//! A session that is watched through a fault: what its token is answered tells when the service is itself again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    claim::{Claim, Decision},
    human::Human,
    node::Node,
    report::Rule,
    verbs::{Registering, tolerate},
    wire,
    world::{Question, Step, Stop, World},
};
use crate::Outcome;

/// How many right answers in a row it takes.
const ENOUGH: usize = 10;
const BETWEEN: Duration = Duration::from_millis(5);

pub(crate) struct Witness {
    world: Arc<World>,
    claim: Claim,
}

/// A claim that waits to be completed, approved for the first route.
pub(crate) async fn approved_claim(world: &World, node: &Node, label: &str) -> Step<Claim> {
    let mut human = Human::new(&format!("{label}@faults.example"));
    let scopes = vec![wire::ROUTES[0].0];
    let new = Registering { label: label.to_owned(), human: human.email(), scopes: scopes.clone() };
    let mut claim = world.register(node, new).await?;
    human.decide(world, node, &mut claim, Decision::Approve(scopes)).await?;
    Ok(claim)
}

impl Witness {
    pub(crate) async fn new(world: &Arc<World>) -> Outcome<Self> {
        let node = world.nodes.first().ok_or("there is no server")?;
        let label = format!("r{}-witness", world.report.round());
        let ceremony = async {
            let mut claim = approved_claim(world, node, &label).await?;
            world.complete(node, &mut claim, Rule::Half).await?;
            Ok(claim)
        };
        match ceremony.await {
            Ok(claim) => Ok(Self { world: Arc::clone(world), claim }),
            Err(Stop::Failed(failure)) => Err(failure),
            Err(Stop::Broken | Stop::Fault) => Err("nothing works even before the fault".into()),
        }
    }

    /// Looks again and again for as long as `time`: the token may be good or the store away, and nothing else.
    pub(crate) async fn watch(&self, time: Duration) -> Outcome<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            tolerate(self.is_answered(200).await)?;
            sleep(BETWEEN).await;
        }
        Ok(())
    }

    /// Waits until the token is steadily answered with `status`, and answers how long that took. Meanwhile 503 is
    /// forgiven, and nothing else.
    pub(crate) async fn steady(&self, status: u16, limit: Duration) -> Outcome<Duration> {
        let began = Instant::now();
        let (mut in_a_row, mut since) = (0, Duration::ZERO);
        while in_a_row < ENOUGH {
            let right = tolerate(self.is_answered(status).await)?.is_some();
            let answered = began.elapsed();
            in_a_row = if right { in_a_row + 1 } else { 0 };
            if in_a_row == 1 {
                since = answered;
            }
            if in_a_row == 0 && answered > limit * 5 {
                return Err(
                    format!("no token check is answered {status}, {answered:?} after the store came back").into()
                );
            }
            sleep(BETWEEN).await;
        }
        if since > limit {
            self.world.report.violation(Rule::Late, format!("right again after {since:?}, not within {limit:?}"));
        }
        Ok(since)
    }

    /// The token is answered with `status`.
    pub(crate) async fn is_answered(&self, status: u16) -> Step<()> {
        let Some(session) = self.claim.session() else { return Ok(()) };
        let node = self.world.nodes.first().ok_or("there is no server")?;
        let (_, path) = wire::ROUTES[0];
        let question = Question { label: &self.claim.label, what: path, expected: &[status], rule: Rule::Lost };
        self.world.call(node, &session.access, path, question).await.map(drop)
    }
}
