use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::Quota;

use crate::{
    ceremony::Limiter,
    config::Limits,
    types::{
        authorization::AuthorizationRequest,
        clock::{Clock, Timestamp},
        id::AuthorizationRequestId,
    },
};

/// What RFC 8628 section 3.5 adds to the interval of an agent that asks too often.
const STEP: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// How often each agent asks about its authorization request. It is held in this process's memory: to lose it costs nothing.
pub(super) struct Pace {
    limits: Limits,
    /// By claim token (RFC 8628 section 3.5). One entry for each authorization request that is asked about, until it expires.
    asked: Mutex<Asked>,
    /// By poll token. Clients exist that ask every two seconds and give up when they are told that it is too often, so
    /// there is no interval to keep, only a flood to stop: one a second, and five at once.
    polls: Limiter<AuthorizationRequestId>,
}

#[derive(Debug, Default)]
struct Asked {
    agents: HashMap<AuthorizationRequestId, Agent>,
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
    pub(super) fn new(limits: Limits, clock: &Arc<dyn Clock>) -> Self {
        const FIVE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
        let polls = Limiter::new(Quota::per_second(NonZeroU32::MIN).allow_burst(FIVE), clock);
        Self { limits, asked: Mutex::default(), polls }
    }

    /// Notes that an agent asks by its poll token; how long to wait if that is a flood.
    pub(super) fn poll(&self, id: &AuthorizationRequestId) -> Result<(), Duration> {
        if self.limits.enforce_poll_interval { self.polls.check(id) } else { Ok(()) }
    }

    /// Notes that an agent asks at `now`. `Err` if it is too soon; either way the interval that holds from now on.
    pub(super) fn ask(&self, authorization: &AuthorizationRequest, now: Timestamp) -> Result<Duration, Duration> {
        if !self.limits.enforce_poll_interval {
            return Ok(self.limits.poll_interval);
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.sweep(now);
        let Some(agent) = asked.agents.get_mut(&authorization.id) else {
            let interval = self.limits.poll_interval;
            let agent = Agent { last: now, interval, expires_at: authorization.expires_at };
            asked.agents.insert(authorization.id.clone(), agent);
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
    pub(super) fn interval(&self, id: &AuthorizationRequestId) -> Duration {
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
