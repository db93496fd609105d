use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;
use http::request::Parts;
use ipnet::IpNet;

use super::RateClass;
use crate::{
    Config,
    ceremony::Limiter,
    http::ClientAddresses,
    types::{authorization::source_of, clock::Clock},
};

/// Limits the requests per minute of each source, by rate class.
pub(super) struct RateLimits {
    addresses: ClientAddresses,
    authorizations: Option<Limiter<IpNet>>,
    polls: Option<Limiter<IpNet>>,
    redemptions: Option<Limiter<IpNet>>,
    refreshes: Option<Limiter<IpNet>>,
    revocations: Option<Limiter<IpNet>>,
    pages: Option<Limiter<IpNet>>,
}

impl RateLimits {
    pub(super) fn new(config: &Config, addresses: ClientAddresses, clock: &Arc<dyn Clock>) -> Self {
        let rates = config.limits().rates;
        let limiter = |rate: Option<NonZeroU32>| rate.map(|rate| Limiter::new(Quota::per_minute(rate), clock));
        Self {
            addresses,
            authorizations: limiter(rates.authorization_requests),
            polls: limiter(rates.polls),
            redemptions: limiter(rates.redemptions),
            refreshes: limiter(rates.refreshes),
            revocations: limiter(rates.revocations),
            pages: limiter(rates.pages),
        }
    }

    /// The address that a request is counted by.
    pub(super) fn address(&self, request: &Parts) -> Option<IpAddr> {
        self.addresses.client(&request.headers, &request.extensions)
    }

    /// Counts a request from `address`. Returns how long to wait if it exceeds the limit.
    pub(super) fn check(&self, rate_class: RateClass, address: IpAddr) -> Result<(), Duration> {
        let limiter = match rate_class {
            RateClass::AuthorizationRequest => &self.authorizations,
            RateClass::Poll => &self.polls,
            RateClass::Redemption => &self.redemptions,
            RateClass::Refresh => &self.refreshes,
            RateClass::Revocation => &self.revocations,
            RateClass::Page => &self.pages,
        };
        limiter.as_ref().map_or(Ok(()), |limiter| limiter.check(&source_of(address)))
    }
}
