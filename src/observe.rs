//! What operators see: metrics and spans, each behind a feature, and nothing at all without it.
//!
//! With the feature `metrics`, by the facade of that name; every label is one of a fixed few, whatever is requested:
//!
//! | metric | kind | labels | counts |
//! |---|---|---|---|
//! | `agent_auth_checks_total` | counter | `outcome`: `agent`, `owner` or `nobody` for what passed, else the refusal's name | requests that a guard decided |
//! | `agent_auth_events_total` | counter | `event`: the [name](crate::audit::Event::name) of an audit event | what became of authorization requests and sessions |
//! | `agent_auth_store_seconds` | histogram, in seconds | `call`: the store's method; `outcome`: `ok` or the error's kind | how long a store took that had to be waited for |
//!
//! The counters of checks are taken from the recorder when [`AgentAuth`](crate::AgentAuth) is built, so that a check costs
//! one addition: install the recorder before. A check that a store answers at once is in no histogram.
//!
//! With the feature `tracing`, spans of level `DEBUG` and target `tower_agent_auth::observe`: `agent_auth.endpoint` for each request
//! that this crate answers, with `method` and `path`, and within it, or within the span of the request that is checked,
//! `agent_auth.store` for each call of a store that has to be waited for, with `call`. No secret is in either. Audit events
//! come as `tracing` events by [`TracingAudit`](crate::audit).
//!
//! ```
//! # #[cfg(feature = "metrics")]
//! # {
//! use tower_agent_auth::observe;
//!
//! // Install your recorder, such as that of `metrics-exporter-prometheus`; then give it units and help texts:
//! observe::describe();
//! # }
//! ```

use std::future::Future;

use http::request::Parts;

use crate::{guard::Refusal, http::Answering, store::StoreError};

/// Tells the recorder the unit and a help text of each metric.
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!(CHECKS, Unit::Count, "Requests that a guard decided, by outcome");
    describe_counter!(EVENTS, Unit::Count, "Audit events, by name");
    describe_histogram!(STORE, Unit::Seconds, "How long the store took, by call and outcome");
}

#[cfg(feature = "metrics")]
const CHECKS: &str = "agent_auth_checks_total";
#[cfg(feature = "metrics")]
const EVENTS: &str = "agent_auth_events_total";
#[cfg(feature = "metrics")]
const STORE: &str = "agent_auth_store_seconds";

/// What a guard decided.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only counters tell them apart"))]
pub(crate) enum Check {
    Agent,
    Owner,
    Nobody,
    Refused(Refusal),
}

#[cfg(feature = "metrics")]
mod counting {
    use std::sync::Arc;

    use metrics::{Counter, counter};

    use super::{CHECKS, Check, EVENTS};
    use crate::{
        audit::{AuditSink, Event},
        guard::Refusal,
        types::clock::Timestamp,
    };

    /// The counters of token checks.
    pub(crate) struct Checks {
        agent: Counter,
        owner: Counter,
        nobody: Counter,
        refused: [Counter; Refusal::ALL.len()],
    }

    impl Checks {
        pub(crate) fn new() -> Self {
            let of = |outcome: &'static str| counter!(CHECKS, "outcome" => outcome);
            let refused = Refusal::ALL.map(|refusal| of(refusal.as_str()));
            Self { agent: of("agent"), owner: of("owner"), nobody: of("nobody"), refused }
        }

        pub(crate) fn count(&self, check: Check) {
            let counter = match check {
                Check::Agent => &self.agent,
                Check::Owner => &self.owner,
                Check::Nobody => &self.nobody,
                Check::Refused(refusal) => &self.refused[refusal as usize],
            };
            counter.increment(1);
        }
    }

    /// The same sink, with its events counted.
    pub(crate) fn counted(sink: Arc<dyn AuditSink>) -> Arc<dyn AuditSink> {
        Arc::new(Counted(sink))
    }

    struct Counted(Arc<dyn AuditSink>);

    impl AuditSink for Counted {
        fn record(&self, at: Timestamp, event: &Event) {
            counter!(EVENTS, "event" => event.name()).increment(1);
            self.0.record(at, event);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod counting {
    use std::sync::Arc;

    use super::Check;
    use crate::audit::AuditSink;

    pub(crate) struct Checks;

    impl Checks {
        pub(crate) const fn new() -> Self {
            Self
        }

        #[inline]
        #[expect(clippy::unused_self, reason = "its twin has counters")]
        pub(crate) const fn count(&self, _: Check) {}
    }

    pub(crate) fn counted(sink: Arc<dyn AuditSink>) -> Arc<dyn AuditSink> {
        sink
    }
}

pub(crate) use counting::{Checks, counted};

/// Waits for a store, and says how long that took.
pub(crate) async fn of_store<T>(
    call: &'static str,
    answer: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    #[cfg(feature = "tracing")]
    let answer = tracing::Instrument::instrument(answer, tracing::debug_span!("agent_auth.store", call));
    #[cfg(feature = "metrics")]
    let begun = tokio::time::Instant::now();
    let answer = answer.await;
    #[cfg(feature = "metrics")]
    {
        let outcome = answer.as_ref().map_or_else(|error| error.kind().as_str(), |_| "ok");
        metrics::histogram!(STORE, "call" => call, "outcome" => outcome).record(begun.elapsed());
    }
    let _ = call;
    answer
}

/// What this crate answers itself, in a span.
pub(crate) fn of_endpoint<T: 'static>(request: Parts, answer: impl FnOnce(Parts) -> Answering<T>) -> Answering<T> {
    #[cfg(feature = "tracing")]
    {
        use tracing::Instrument as _;
        let (method, path) = (&request.method, request.uri.path());
        let span = tracing::debug_span!("agent_auth.endpoint", %method, path);
        if !span.is_disabled() {
            return Box::pin(answer(request).instrument(span));
        }
    }
    answer(request)
}

#[cfg(feature = "metrics")]
impl crate::store::StoreErrorKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Other => "other",
        }
    }
}
