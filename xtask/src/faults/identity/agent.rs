//! What such an agent and its human do under load.

use super::{
    super::{
        agent::Agent,
        claim::{Decision, Fate},
        report::Rule,
        verbs::Registering,
        wire,
        world::Step,
    },
    Identity,
};

impl Agent {
    pub(in crate::faults) async fn register_identity(&mut self, label: String) -> Step<Identity> {
        let (scopes, unclaimed, node) = (self.dice.some_of(&wire::SCOPES), self.dice.once_in(2), self.node());
        let new = Registering { label, human: self.human.email(), scopes };
        self.world.register_identity(&node, new, unclaimed).await
    }

    /// From what it does unclaimed to the end of the identity, or to wherever chance ends it.
    pub(in crate::faults) async fn follow_identity(&mut self, identity: &mut Identity) -> Step<()> {
        if identity.unclaimed.is_some() && !self.act_unclaimed(identity).await? {
            return Ok(());
        }
        if self.dice.once_in(16) || !self.decide_identity(identity).await? {
            return Ok(());
        }
        if self.dice.once_in(16) || self.is_halted() {
            return Ok(());
        }
        let nodes = [self.node(), self.node()];
        if self.dice.once_in(3) {
            self.world.prove_twice([&nodes[0], &nodes[1]], identity).await?;
        } else {
            self.world.prove(&nodes[0], identity, Rule::Half).await?;
        }
        if let Some(unclaimed) = &identity.unclaimed {
            self.world.check_keys_over(&nodes[1], &identity.label, unclaimed).await?;
        }
        for _ in 0..=self.dice.below(2) {
            self.exchange(identity).await?;
            if self.dice.once_in(2) {
                self.refresh_identity(identity).await?;
                self.exchange(identity).await?;
            }
        }
        if self.dice.once_in(3) {
            self.end(identity).await?;
        }
        Ok(())
    }

    /// Whether it goes on to be claimed.
    async fn act_unclaimed(&mut self, identity: &mut Identity) -> Step<bool> {
        let node = self.node();
        let Some((label, keys)) = identity.unclaimed_mut() else { return Ok(false) };
        self.world.exchange(&node, label, keys).await?;
        self.world.check_keys(&node, label, keys).await?;
        if self.dice.once_in(8) {
            self.world.revoke_identity(&node, label, keys, false).await?;
            self.world.check_keys_over(&node, label, keys).await?;
            return Ok(false);
        }
        if self.dice.once_in(4) {
            return Ok(false);
        }
        let node = self.node();
        self.world.claim_identity(&node, identity).await?;
        Ok(true)
    }

    /// Whether the human approved.
    async fn decide_identity(&mut self, identity: &mut Identity) -> Step<bool> {
        let (deny, typed) = (self.dice.once_in(8), self.dice.once_in(2));
        let decision = if deny { Decision::Deny } else { Decision::Approve(self.dice.some_of(&identity.requested)) };
        let node = self.node();
        self.world.decide_identity(&node, &mut self.human, identity, decision, typed && !deny).await?;
        let node = self.node();
        if deny {
            self.world.prove(&node, identity, Rule::Revived).await?;
            if let Some((label, keys)) = identity.unclaimed_mut() {
                self.world.exchange(&node, label, keys).await?;
            }
        } else if !typed {
            if self.dice.once_in(3) {
                self.world.prove(&node, identity, Rule::Half).await?;
            }
            self.world.read_back(&node, &mut self.human, identity).await?;
        } else if self.dice.once_in(3) {
            identity.tells_its_code();
        }
        Ok(!deny)
    }

    async fn exchange(&mut self, identity: &mut Identity) -> Step<()> {
        let nodes = [self.node(), self.node()];
        let Some((label, keys)) = identity.held_mut() else { return Ok(()) };
        self.world.exchange(&nodes[0], label, keys).await?;
        self.world.check_keys(&nodes[1], label, keys).await
    }

    async fn refresh_identity(&mut self, identity: &mut Identity) -> Step<()> {
        let node = self.node();
        let Some((label, keys)) = identity.held_mut() else { return Ok(()) };
        self.world.refresh_identity(&node, label, keys).await
    }

    /// Ends it: its agent does, or its human.
    async fn end(&mut self, identity: &mut Identity) -> Step<()> {
        let nodes = [self.node(), self.node()];
        if self.dice.once_in(2) {
            self.world.revoke_as_human(&nodes[0], &mut self.human, identity).await?;
        } else {
            let by_refresh = self.dice.once_in(2);
            let Some((label, keys)) = identity.held_mut() else { return Ok(()) };
            self.world.revoke_identity(&nodes[0], label, keys, by_refresh).await?;
        }
        match identity.keys() {
            Some(keys) if matches!(keys.fate, Fate::Revoked) => {
                self.world.check_keys_over(&nodes[1], &identity.label, keys).await
            }
            _ => Ok(()),
        }
    }
}
