use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use governor::Quota;
use http::request::Parts;
use ipnet::IpNet;

use super::{Context, Endpoint, RateClass};
use crate::{
    Config,
    audit::Event,
    ceremony::{Limiter, limiter},
    config::Rates,
    http::Reply,
    observe,
    types::{authorization::source_of, clock::Clock},
};

const NO_ADDRESS: &str = "requests have no client address, so limits by source have no effect: set `peer_address` when \
    you build `AgentAuth`, and serve with connect info (axum: `into_make_service_with_connect_info::<SocketAddr>()`)";

/// Limits the requests per minute of each source, by rate class.
pub(super) struct RateLimits {
    context: Arc<Context>,
    /// Whether to warn of a request without an address: limits by source are configured, and nobody was warned yet.
    warns_of_missing_address: AtomicBool,
    authorizations: Option<Limiter<IpNet>>,
    polls: Option<Limiter<IpNet>>,
    redemptions: Option<Limiter<IpNet>>,
    refreshes: Option<Limiter<IpNet>>,
    revocations: Option<Limiter<IpNet>>,
    pages: Option<Limiter<IpNet>>,
}

impl RateLimits {
    pub(super) fn new(context: &Arc<Context>, clock: &Arc<dyn Clock>) -> Self {
        let rates = context.config.limits().rates;
        let limiter = |rate: Option<NonZeroU32>| rate.map(|rate| Limiter::new(Quota::per_minute(rate), clock));
        Self {
            context: Arc::clone(context),
            warns_of_missing_address: AtomicBool::new(limits_by_source(&context.config)),
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
        self.context.addresses.client(&request.headers, &request.extensions)
    }

    /// Counts a request. Returns the refusal if it is over the limit of its source. A request without an address is not
    /// counted.
    pub(super) fn refusal(&self, endpoint: &dyn Endpoint, request: &Parts) -> Option<Reply> {
        let limiter = match endpoint.rate_class()? {
            RateClass::AuthorizationRequest => &self.authorizations,
            RateClass::Poll => &self.polls,
            RateClass::Redemption => &self.redemptions,
            RateClass::Refresh => &self.refreshes,
            RateClass::Revocation => &self.revocations,
            RateClass::Page => &self.pages,
        };
        let Some(address) = self.address(request) else {
            self.note_missing_address();
            return None;
        };
        let wait = limiter.as_ref()?.check(&source_of(address)).err()?;
        Some(endpoint.too_many(limiter::seconds(wait), &request.headers))
    }

    /// Warns once that the limits by source have no effect.
    fn note_missing_address(&self) {
        if self.warns_of_missing_address.swap(false, Ordering::Relaxed) {
            observe::of_gap(NO_ADDRESS);
            self.context.audit.record(self.context.ceremony.now(), &Event::NoClientAddress);
        }
    }
}

/// Whether the configuration limits requests by their source.
pub(crate) fn limits_by_source(config: &Config) -> bool {
    let limits = config.limits();
    limits.rates != Rates::NONE || limits.pending_per_source.is_some()
}
