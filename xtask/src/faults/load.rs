//! All clients of a round.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    agent::{Agent, Halt},
    claim::Claim,
    identity::Identity,
    world::World,
};
use crate::Outcome;

/// What clients know of what they asked for.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) claims: Vec<Claim>,
    pub(crate) identities: Vec<Identity>,
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.claims.len() + self.identities.len()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.claims.extend(more.claims);
        self.identities.extend(more.identities);
    }
}

impl From<Vec<Claim>> for Records {
    fn from(claims: Vec<Claim>) -> Self {
        Self { claims, identities: Vec::new() }
    }
}

pub(crate) struct Load {
    clients: JoinSet<Outcome<Records>>,
    halt: Halt,
}

impl Load {
    pub(crate) fn start(world: &Arc<World>, clients: usize) -> Self {
        Self::start_from(world, 0, clients)
    }

    /// The same for clients whose numbers begin at `first`: a second load of a round is another one.
    pub(crate) fn start_from(world: &Arc<World>, first: usize, clients: usize) -> Self {
        let halt = Halt::default();
        let agents = (first..first + clients).map(|number| Agent::new(world, &halt, number).work());
        Self { clients: agents.collect(), halt }
    }

    /// Lets each client finish its ceremony, or whatever the fault left of it.
    pub(crate) async fn stop(mut self) -> Outcome<Records> {
        self.halt.store(true, Ordering::Relaxed);
        let mut records = Records::default();
        while let Some(client) = self.clients.join_next().await {
            records.extend(client??);
        }
        Ok(records)
    }

    /// A load that nothing disturbs: everything must work.
    pub(crate) async fn undisturbed(
        world: &Arc<World>,
        first: usize,
        clients: usize,
        time: Duration,
    ) -> Outcome<Records> {
        let load = Self::start_from(world, first, clients);
        tokio::time::sleep(time).await;
        load.stop().await
    }
}
