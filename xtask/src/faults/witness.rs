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
    world::{Expected, Question, Step, Stop, World},
};
use crate::Outcome;

/// How many right answers in a row it takes.
const ENOUGH: usize = 10;
const BETWEEN: Duration = Duration::from_millis(5);
/// What takes more than so many times as long as it may is waited for no longer.
const HOPELESS: u32 = 2;

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
        Self::named(world, "witness").await
    }

    /// One of several in a round.
    pub(crate) async fn named(world: &Arc<World>, name: &str) -> Outcome<Self> {
        let node = world.nodes.first().ok_or("there is no server")?;
        let label = format!("r{}-{name}", world.report.round());
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
        self.steadily(limit, "token checks", async || self.is_answered(status).await).await
    }

    /// The same for whatever writes: agents can ask for access.
    pub(crate) async fn steady_writes(&self, limit: Duration) -> Outcome<Duration> {
        let node = self.world.nodes.last().ok_or("there is no server")?;
        let ask = async || {
            let scopes = vec![wire::ROUTES[0].0];
            let new = Registering { label: self.claim.label.clone(), human: &self.claim.human, scopes };
            self.world.register(node, new).await.map(drop)
        };
        self.steadily(limit, "writes", ask).await
    }

    async fn steadily(
        &self,
        limit: Duration,
        what: &'static str,
        ask: impl AsyncFn() -> Step<()>,
    ) -> Outcome<Duration> {
        let began = Instant::now();
        let (mut in_a_row, mut since) = (0, Duration::ZERO);
        while in_a_row < ENOUGH {
            let right = tolerate(ask().await)?.is_some();
            let answered = began.elapsed();
            in_a_row = if right { in_a_row + 1 } else { 0 };
            if in_a_row == 1 {
                since = answered;
            }
            if in_a_row == 0 && answered > limit * HOPELESS {
                let text = format!("{what} are not right again after {answered:?}, of which {limit:?} were to do");
                self.world.report.violation(Rule::Late, text);
                return Ok(answered);
            }
            sleep(BETWEEN).await;
        }
        if since > limit {
            let text = format!("{what} were right again after {since:?}, not within {limit:?}");
            self.world.report.violation(Rule::Late, text);
        }
        Ok(since)
    }

    /// Revokes the session at another server than the one that is watched, if there is another. Answers whether it is
    /// revoked.
    pub(crate) async fn revoke(&mut self) -> Outcome<bool> {
        let node = self.world.nodes.last().ok_or("there is no server")?;
        let Some((label, session)) = self.claim.session_mut() else { return Ok(false) };
        Ok(tolerate(self.world.revoke(node, label, session, false).await)?.is_some())
    }

    /// The same, again and again until it is done or there is no hope.
    pub(crate) async fn revoke_within(&mut self, limit: Duration) -> Outcome<bool> {
        let began = Instant::now();
        while began.elapsed() < limit * HOPELESS {
            if self.revoke().await? {
                return Ok(true);
            }
            sleep(BETWEEN).await;
        }
        Ok(false)
    }

    /// A token that was revoked passes for `limit` at most, and never again. Answers how long it passed.
    pub(crate) async fn refused_within(&self, limit: Duration) -> Outcome<Duration> {
        let Some(session) = self.claim.session() else { return Ok(Duration::ZERO) };
        let node = self.world.nodes.first().ok_or("there is no server")?;
        let (_, path) = wire::ROUTES[0];
        let began = Instant::now();
        let (mut refused, mut passed) = (0, Duration::ZERO);
        while refused < ENOUGH {
            // Late or once it was refused it may not pass.
            let expected: &[u16] = if began.elapsed() > limit || refused > 0 { &[401] } else { &[401, 200] };
            let question = Question {
                label: &self.claim.label,
                what: path,
                expected: Expected::Status(expected),
                rule: Rule::Revived,
            };
            match self.world.call(node, &session.access, path, question).await {
                Ok(401) => refused += 1,
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Broken) if began.elapsed() > limit * HOPELESS => return Ok(began.elapsed()),
                Ok(_) | Err(Stop::Broken) => passed = began.elapsed(),
                Err(Stop::Fault) => {}
            }
            sleep(BETWEEN).await;
        }
        Ok(passed)
    }

    /// The token is answered with `status`.
    pub(crate) async fn is_answered(&self, status: u16) -> Step<()> {
        let Some(session) = self.claim.session() else { return Ok(()) };
        let node = self.world.nodes.first().ok_or("there is no server")?;
        let (_, path) = wire::ROUTES[0];
        let question =
            Question { label: &self.claim.label, what: path, expected: Expected::Status(&[status]), rule: Rule::Lost };
        self.world.call(node, &session.access, path, question).await.map(drop)
    }
}
