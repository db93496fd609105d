use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    config::Limits,
    core::{clock::Timestamp, id::RegistrationId, registration::Registration},
};

/// What RFC 8628 section 3.5 adds to the interval of an agent that asks too often.
const STEP: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// How often each agent asks about its pending registration (RFC 8628 section 3.5). It is held in this process's memory:
/// to lose it costs nothing. One entry for each registration that is asked about, until it expires.
#[derive(Debug)]
pub(super) struct Pace {
    limits: Limits,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    agents: HashMap<RegistrationId, Agent>,
    /// Expired entries are looked for when the map has grown to this.
    sweep_at: usize,
}

#[derive(Debug)]
struct Agent {
    last: Timestamp,
    interval: Duration,
    expires_at: Timestamp,
}

impl Pace {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, asked: Mutex::default() }
    }

    /// Notes that an agent asks at `now`. `Err` if it is too soon; either way the interval that holds from now on.
    pub(super) fn ask(&self, registration: &Registration, now: Timestamp) -> Result<Duration, Duration> {
        if !self.limits.enforce_poll_interval {
            return Ok(self.limits.poll_interval);
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.sweep(now);
        let Some(agent) = asked.agents.get_mut(&registration.id) else {
            let interval = self.limits.poll_interval;
            let agent = Agent { last: now, interval, expires_at: registration.expires_at };
            asked.agents.insert(registration.id.clone(), agent);
            return Ok(interval);
        };
        let early = now.since(agent.last) < agent.interval;
        agent.last = now;
        if early {
            agent.interval = (agent.interval + STEP).min(LONGEST);
            return Err(agent.interval);
        }
        Ok(agent.interval)
    }

    /// The interval that holds, without asking.
    pub(super) fn interval(&self, id: &RegistrationId) -> Duration {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.agents.get(id).map_or(self.limits.poll_interval, |agent| agent.interval)
    }
}

impl Asked {
    fn sweep(&mut self, now: Timestamp) {
        const FEWEST: usize = 1_024;
        if self.agents.len() >= self.sweep_at.max(FEWEST) {
            self.agents.retain(|_, agent| !agent.expires_at.has_passed(now));
            self.sweep_at = self.agents.len() * 2;
        }
    }
}
