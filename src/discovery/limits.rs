use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;
use http::request::Parts;
use ipnet::IpNet;

use super::Rated;
use crate::{
    Config,
    address::Addresses,
    core::{clock::Clock, registration::source_of},
    limiter::Limiter,
};

/// Counts requests by their source, so many a minute of each kind.
pub(super) struct Limits {
    addresses: Addresses,
    registrations: Option<Limiter<IpNet>>,
    polls: Option<Limiter<IpNet>>,
    redemptions: Option<Limiter<IpNet>>,
    refreshes: Option<Limiter<IpNet>>,
    revocations: Option<Limiter<IpNet>>,
    pages: Option<Limiter<IpNet>>,
}

impl Limits {
    pub(super) fn new(config: &Config, addresses: Addresses, clock: &Arc<dyn Clock>) -> Self {
        let rates = config.limits().rates;
        let limiter = |rate: Option<NonZeroU32>| rate.map(|rate| Limiter::new(Quota::per_minute(rate), clock));
        Self {
            addresses,
            registrations: limiter(rates.registrations),
            polls: limiter(rates.polls),
            redemptions: limiter(rates.redemptions),
            refreshes: limiter(rates.refreshes),
            revocations: limiter(rates.revocations),
            pages: limiter(rates.pages),
        }
    }

    /// Counts a request; how long to wait if it is one too many. Without an address it is not counted.
    pub(super) fn check(&self, rated: Rated, request: &Parts) -> Result<(), Duration> {
        let limiter = match rated {
            Rated::Registration => &self.registrations,
            Rated::Poll => &self.polls,
            Rated::Redemption => &self.redemptions,
            Rated::Refresh => &self.refreshes,
            Rated::Revocation => &self.revocations,
            Rated::Page => &self.pages,
        };
        let address = self.addresses.client(&request.headers, &request.extensions);
        match limiter.as_ref().zip(address) {
            Some((limiter, address)) => limiter.check(&source_of(address)),
            None => Ok(()),
        }
    }
}
