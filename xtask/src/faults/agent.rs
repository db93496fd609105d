//! One client of the load: an agent and its human, who go through one ceremony after the other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    claim::{Claim, Decision, Fate},
    dice::Dice,
    human::Human,
    load::Records,
    node::Node,
    report::Rule,
    verbs::{Registering, tolerate},
    wire,
    world::{Step, Stop, World},
};
use crate::Outcome;

/// Tells clients when to stop.
pub(crate) type Halt = Arc<AtomicBool>;

pub(crate) struct Agent {
    pub(super) world: Arc<World>,
    halt: Halt,
    pub(super) dice: Dice,
    pub(super) human: Human,
    /// How what it asks for is named.
    name: String,
    records: Records,
}

impl Agent {
    pub(crate) fn new(world: &Arc<World>, halt: &Halt, number: usize) -> Self {
        let round = world.report.round();
        let name = format!("r{round}-c{number}");
        Self {
            world: Arc::clone(world),
            halt: Arc::clone(halt),
            dice: Dice::of(round, number),
            human: Human::new(&format!("{name}@faults.example")),
            name,
            records: Records::default(),
        }
    }

    /// Works until it is halted, and answers what it knows of what it asked for.
    pub(crate) async fn work(mut self) -> Outcome<Records> {
        while !self.is_halted() {
            let label = format!("{}-{}", self.name, self.records.len());
            let done =
                if self.dice.once_in(3) { self.with_identity(label).await? } else { self.with_claim(label).await? };
            if !done {
                // Something failed; to ask again at once would only make a noise.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        Ok(self.records)
    }

    /// Whether the ceremony went as it should.
    async fn with_claim(&mut self, label: String) -> Outcome<bool> {
        let Some(mut claim) = tolerate(self.register(label).await)? else { return Ok(false) };
        let followed = self.follow(&mut claim).await;
        self.records.claims.push(claim);
        Ok(tolerate(followed)?.is_some())
    }

    /// The same for an agent of the open auth.md protocol.
    async fn with_identity(&mut self, label: String) -> Outcome<bool> {
        let Some(mut identity) = tolerate(self.register_identity(label).await)? else { return Ok(false) };
        let followed = self.follow_identity(&mut identity).await;
        self.records.identities.push(identity);
        Ok(tolerate(followed)?.is_some())
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halt.load(Ordering::Relaxed)
    }

    /// A server at random, of those that are there if any is.
    pub(super) fn node(&mut self) -> Arc<Node> {
        let all: Vec<_> = self.world.nodes.iter().filter(|node| !node.is_quiet()).collect();
        let there: Vec<_> = all.iter().copied().filter(|node| !node.is_gone()).collect();
        let choice = if there.is_empty() { all } else { there };
        Arc::clone(choice[self.dice.below(choice.len())])
    }

    async fn register(&mut self, label: String) -> Step<Claim> {
        let scopes = self.dice.some_of(&wire::SCOPES);
        let node = self.node();
        self.world.register(&node, Registering { label, human: self.human.email(), scopes }).await
    }

    /// From the human's decision to the end of the session, or to wherever chance ends it.
    async fn follow(&mut self, claim: &mut Claim) -> Step<()> {
        if self.dice.once_in(16) || !self.decide(claim).await? {
            return Ok(());
        }
        if self.dice.once_in(16) || self.is_halted() {
            return Ok(());
        }
        let node = self.node();
        self.world.complete(&node, claim, Rule::Half).await?;
        self.check(claim).await?;
        for _ in 0..self.dice.below(3) {
            self.refresh(claim).await?;
            self.check(claim).await?;
        }
        if self.dice.once_in(3) {
            self.revoke(claim).await?;
            self.check(claim).await?;
        }
        Ok(())
    }

    /// Whether the human approved.
    async fn decide(&mut self, claim: &mut Claim) -> Step<bool> {
        let deny = self.dice.once_in(8);
        let decision = if deny { Decision::Deny } else { Decision::Approve(self.dice.some_of(&claim.requested)) };
        let node = self.node();
        self.human.decide(&self.world, &node, claim, decision).await?;
        if self.dice.once_in(3) {
            self.ask(claim, if deny { "denied" } else { "approved" }).await?;
        }
        if deny {
            let node = self.node();
            self.world.complete(&node, claim, Rule::Revived).await?;
        }
        Ok(!deny)
    }

    async fn ask(&mut self, claim: &Claim, expected: &str) -> Step<()> {
        let node = self.node();
        let status = self.world.status(&node, claim).await?;
        if status != expected {
            self.world.violation(Rule::Half, &claim.label, &format!("expected status {expected}, got {status}"));
            return Err(Stop::Broken);
        }
        Ok(())
    }

    /// Calls a few routes with whatever the session's tokens are worth.
    async fn check(&mut self, claim: &Claim) -> Step<()> {
        let Some(session) = claim.session() else { return Ok(()) };
        let node = self.node();
        if let Fate::Revoked = session.fate {
            return self.world.check_dead(&node, &claim.label, &session.access, Rule::Revived).await;
        }
        for _ in 0..=self.dice.below(3) {
            let (scope, path) = wire::ROUTES[self.dice.below(wire::ROUTES.len())];
            let expected = wire::expected(&session.scopes, scope);
            self.world.check(&node, &claim.label, &session.access, path, expected, Rule::Lost).await?;
        }
        match &session.retired {
            Some(retired) => self.world.check_dead(&node, &claim.label, retired, Rule::Revived).await,
            None => Ok(()),
        }
    }

    async fn refresh(&mut self, claim: &mut Claim) -> Step<()> {
        let node = self.node();
        let Some((label, session)) = claim.session_mut() else { return Ok(()) };
        self.world.refresh(&node, label, session).await
    }

    async fn revoke(&mut self, claim: &mut Claim) -> Step<()> {
        let node = self.node();
        let by_refresh = self.dice.once_in(2);
        let Some((label, session)) = claim.session_mut() else { return Ok(()) };
        self.world.revoke(&node, label, session, by_refresh).await
    }
}
