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
        clock::Clock,
        id::{AccountId, AuthorizationRequestId},
    },
};

/// The increase of the interval of an agent that polls too often (RFC 8628 section 3.5).
const STEP: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// Limits how often each agent polls, by elapsed time. The state is in this process's memory; losing it does no harm.
pub(super) struct Polling {
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Polls by claim token (RFC 8628 section 3.5). One entry for each polled authorization request, until it expires.
    asked: Mutex<Asked>,
    /// Polls by poll token. Some clients poll every two seconds and give up when a poll is refused. So no interval is
    /// enforced, only a rate limit: one per second, with a burst of five.
    polls: Limiter<AuthorizationRequestId>,
    /// User codes that the humans of each account try: ten a minute (RFC 8628 section 5.1).
    codes: Limiter<AccountId>,
    /// Sessions that the agent of each identity takes: one a minute, with a burst of twenty.
    exchanges: Limiter<AuthorizationRequestId>,
}

#[derive(Debug, Default)]
struct Asked {
    agents: HashMap<AuthorizationRequestId, Agent>,
    /// The map size at which expired entries are removed.
    sweep_at: usize,
}

/// An agent that polls. The times are elapsed times.
#[derive(Debug)]
struct Agent {
    last: Duration,
    interval: Duration,
    expires_at: Duration,
}

impl Polling {
    pub(super) fn new(limits: Limits, clock: &Arc<dyn Clock>) -> Self {
        const FIVE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
        let polls = Limiter::new(Quota::per_second(NonZeroU32::MIN).allow_burst(FIVE), clock);
        const TEN: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
        let codes = Limiter::new(Quota::per_minute(TEN), clock);
        const TWENTY: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
        let exchanges = Limiter::new(Quota::per_minute(NonZeroU32::MIN).allow_burst(TWENTY), clock);
        Self { limits, clock: Arc::clone(clock), asked: Mutex::default(), polls, codes, exchanges }
    }

    /// Records a user code that an account tries. Returns how long to wait if it exceeds the rate limit.
    pub(super) fn try_code(&self, account: &AccountId) -> Result<(), Duration> {
        if self.limits.enforce_poll_interval { self.codes.check(account) } else { Ok(()) }
    }

    /// Records a poll by poll token. Returns how long to wait if it exceeds the rate limit.
    pub(super) fn poll(&self, id: &AuthorizationRequestId) -> Result<(), Duration> {
        if self.limits.enforce_poll_interval { self.polls.check(id) } else { Ok(()) }
    }

    /// Records that an assertion is exchanged for a session. Returns how long to wait if it exceeds the rate limit.
    pub(super) fn exchange(&self, id: &AuthorizationRequestId) -> Result<(), Duration> {
        if self.limits.enforce_poll_interval { self.exchanges.check(id) } else { Ok(()) }
    }

    /// Records a poll by claim token. `Err` if it is too soon. Both variants contain the interval from now on.
    pub(super) fn ask(&self, authorization: &AuthorizationRequest) -> Result<Duration, Duration> {
        if !self.limits.enforce_poll_interval {
            return Ok(self.limits.poll_interval);
        }
        let now = self.clock.elapsed();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.sweep(now);
        let Some(agent) = asked.agents.get_mut(&authorization.id) else {
            let interval = self.limits.poll_interval;
            let left = authorization.expires_at.since(self.clock.now());
            let agent = Agent { last: now, interval, expires_at: now.saturating_add(left) };
            asked.agents.insert(authorization.id.clone(), agent);
            return Ok(interval);
        };
        let early = now.saturating_sub(agent.last) < agent.interval;
        agent.last = now;
        if early {
            agent.interval = (agent.interval + STEP).min(LONGEST);
            return Err(agent.interval);
        }
        Ok(agent.interval)
    }

    /// Forgets the polls of authorization requests that are gone before their time.
    pub(super) fn forget(&self, gone: &[AuthorizationRequestId]) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for id in gone {
            asked.agents.remove(id);
        }
    }

    /// The current interval, without recording a poll.
    pub(super) fn interval(&self, id: &AuthorizationRequestId) -> Duration {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.agents.get(id).map_or(self.limits.poll_interval, |agent| agent.interval)
    }
}

impl Asked {
    fn sweep(&mut self, now: Duration) {
        const FEWEST: usize = 1_024;
        if self.agents.len() >= self.sweep_at.max(FEWEST) {
            self.agents.retain(|_, agent| agent.expires_at > now);
            self.sweep_at = self.agents.len() * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config,
        types::{
            authorization::{Client, Flow},
            clock::{ManualClock, Timestamp},
            random::OsRandom,
            text::HumanText,
        },
    };

    #[test]
    fn polls_of_a_request_that_is_gone_are_forgotten() {
        let config = Config::builder().resource("https://api.example.com").name("Example");
        let config = config.scope("a", "A", |scope| scope).build().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let polling = Polling::new(config.limits(), &clock);
        let new = || {
            let id = AuthorizationRequestId::generate(&OsRandom).unwrap();
            let (client, flow) = (Client::named(HumanText::new("Example").unwrap()), Flow::from_stored("{}"));
            AuthorizationRequest::new(id, "r", client, flow, clock.now(), Timestamp::from_millis(600_000))
        };
        let (gone, stays) = (new(), new());
        for request in [&gone, &stays] {
            polling.ask(request).unwrap();
            polling.ask(request).unwrap_err();
        }
        polling.forget(std::slice::from_ref(&gone.id));
        assert_eq!(polling.asked.lock().unwrap().agents.keys().collect::<Vec<_>>(), [&stays.id]);
        assert_eq!(polling.interval(&gone.id), config.limits().poll_interval);
        assert!(polling.interval(&stays.id) > config.limits().poll_interval);
    }
}
