//! All clients of a round.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    agent::{Agent, Halt},
    claim::Claim,
    world::World,
};
use crate::Outcome;

pub(crate) struct Load {
    clients: JoinSet<Outcome<Vec<Claim>>>,
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
    pub(crate) async fn stop(mut self) -> Outcome<Vec<Claim>> {
        self.halt.store(true, Ordering::Relaxed);
        let mut claims = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            claims.extend(client??);
        }
        Ok(claims)
    }

    /// A load that nothing disturbs: everything must work.
    pub(crate) async fn undisturbed(
        world: &Arc<World>,
        first: usize,
        clients: usize,
        time: Duration,
    ) -> Outcome<Vec<Claim>> {
        let load = Self::start_from(world, first, clients);
        tokio::time::sleep(time).await;
        load.stop().await
    }
}
