//! Metrics and spans for operators, each behind a feature.
//!
//! Names follow the semantic conventions of OpenTelemetry: dots between namespaces, no unit and no `_total` in the name of
//! a metric, and the conventions' own names where they have one. So a bridge from `metrics` or `tracing` to OTLP needs no
//! renaming. An exporter for Prometheus writes `_` for each dot; `metrics-exporter-prometheus` appends `_total` and
//! `_seconds` with `with_recommended_naming(true)`.
//!
//! The feature `metrics` uses the `metrics` facade. Every label has a small fixed set of values, independent of
//! requests:
//!
//! | metric | kind | labels | counts |
//! |---|---|---|---|
//! | `agent_auth.checks` | counter | `agent_auth.outcome`: `agent`, `owner`, `nobody` or `host` (left to the [host's own auth](crate::guard::Rule::or_host_auth)) if the request passed, else the [refusal's name](crate::guard::Refusal::as_str) | requests that a guard decided |
//! | `agent_auth.events` | counter | `agent_auth.event`: the [name](crate::audit::Event::name) of an audit event | audit events |
//! | `agent_auth.store.duration` | histogram, in seconds | `agent_auth.store.call`: the store's method; `error.type`: the error's kind, only if the call failed | store calls that a request waited for |
//!
//! Install the recorder before you build [`AgentAuth`](crate::AgentAuth) and its rules: they get their counters from it
//! once. A check for which the store returns immediately is not in the histogram.
//!
//! The feature `tracing` adds spans of level `DEBUG` and target `tower_agent_auth::observe`:
//!
//! * `agent_auth.endpoint`, with `http.request.method` and `url.path`, for each request that this crate serves;
//! * `agent_auth.store`, with `agent_auth.store.call`, for each store call that a request waits for. If the call fails, also
//!   with `error.type`, the error's kind, and `otel.status_code`, from which `tracing-opentelemetry` sets the status.
//!
//! A store call has no `db.` attributes: a store may be no database, and spans of database clients are those of its driver.
//! No span has `user.id`, `enduser.id` or a client's address. A service that wants them on its own spans has them in the
//! [`AgentSession`](crate::guard::AgentSession).
//!
//! Spans hold no secrets. [`TracingAudit`](crate::audit) turns audit events into `tracing` events. Three kinds of events
//! have the target of the spans: an `ERROR` for a handler that takes the caller without a guard in front of it, a `WARN` if
//! limits by source have no effect, because requests have no address, and a `WARN` if challenges lead to documents that
//! this process does not serve, or that a guard refuses.
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

use std::{future::Future, pin::Pin};

use http::request::Parts;

/// Registers the unit and help text of each metric with the recorder.
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!(CHECKS, Unit::Count, "Requests that a guard decided, by outcome");
    describe_counter!(EVENTS, Unit::Count, "Audit events, by name");
    describe_histogram!(STORE, Unit::Seconds, "How long the store took, by call and outcome");
}

#[cfg(feature = "metrics")]
const CHECKS: &str = "agent_auth.checks";
#[cfg(feature = "metrics")]
const EVENTS: &str = "agent_auth.events";
#[cfg(feature = "metrics")]
const STORE: &str = "agent_auth.store.duration";

#[cfg(feature = "metrics")]
mod counting {
    use std::sync::Arc;

    use metrics::{Counter, counter};

    use super::{CHECKS, EVENTS};
    use crate::{
        audit::{AuditSink, Event},
        types::clock::Timestamp,
    };

    /// Counts the token checks with one outcome.
    pub(crate) struct CheckCounter(Counter);

    impl CheckCounter {
        pub(crate) fn new(outcome: &'static str) -> Self {
            Self(counter!(CHECKS, "agent_auth.outcome" => outcome))
        }

        pub(crate) fn increment(&self) {
            self.0.increment(1);
        }
    }

    /// Counts the events of a sink.
    pub(crate) fn counted(sink: Arc<dyn AuditSink>) -> Arc<dyn AuditSink> {
        Arc::new(Counted(sink))
    }

    struct Counted(Arc<dyn AuditSink>);

    impl AuditSink for Counted {
        fn record(&self, at: Timestamp, event: &Event) {
            counter!(EVENTS, "agent_auth.event" => event.name()).increment(1);
            self.0.record(at, event);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod counting {
    use std::sync::Arc;

    use crate::audit::AuditSink;

    pub(crate) struct CheckCounter;

    impl CheckCounter {
        pub(crate) const fn new(_: &'static str) -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "with `metrics` it counts")]
        pub(crate) const fn increment(&self) {}
    }

    pub(crate) fn counted(sink: Arc<dyn AuditSink>) -> Arc<dyn AuditSink> {
        sink
    }
}

pub(crate) use counting::{CheckCounter, counted};

/// Measures a store call.
pub(crate) async fn of_store<T, E>(
    call: &'static str,
    answer: impl Future<Output = Result<T, E>> + Send,
    kind: impl Fn(&E) -> &'static str,
) -> Result<T, E> {
    #[cfg(feature = "tracing")]
    let span = tracing::debug_span!(
        "agent_auth.store",
        "agent_auth.store.call" = call,
        "error.type" = tracing::field::Empty,
        "otel.status_code" = tracing::field::Empty,
    );
    #[cfg(feature = "tracing")]
    let answer = tracing::Instrument::instrument(answer, span.clone());
    #[cfg(feature = "metrics")]
    let begun = tokio::time::Instant::now();
    let answer = answer.await;
    let failed = answer.as_ref().err().map(kind);
    #[cfg(feature = "tracing")]
    if let Some(kind) = failed {
        span.record("error.type", kind).record("otel.status_code", "ERROR");
    }
    #[cfg(feature = "metrics")]
    match failed {
        None => metrics::histogram!(STORE, "agent_auth.store.call" => call),
        Some(kind) => metrics::histogram!(STORE, "agent_auth.store.call" => call, "error.type" => kind),
    }
    .record(begun.elapsed());
    let _ = (call, failed);
    answer
}

/// Logs an error in how the service is put together, with its remedy.
#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) fn of_mistake(text: &str) {
    #[cfg(feature = "tracing")]
    tracing::error!(target: TARGET, "{text}");
    let _ = text;
}

/// Logs that the service lacks something that its configuration relies on.
pub(crate) fn of_gap(text: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: TARGET, "{text}");
    let _ = text;
}

#[cfg(feature = "tracing")]
const TARGET: &str = "tower_agent_auth::observe";

/// Runs an endpoint in a span.
pub(crate) fn of_endpoint<T: 'static>(
    request: Parts,
    answer: impl FnOnce(Parts) -> Pin<Box<dyn Future<Output = T> + Send>>,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    #[cfg(feature = "tracing")]
    {
        use tracing::Instrument as _;
        let (method, path) = (&request.method, request.uri.path());
        let span = tracing::debug_span!("agent_auth.endpoint", "http.request.method" = %method, "url.path" = path);
        if !span.is_disabled() {
            return Box::pin(answer(request).instrument(span));
        }
    }
    answer(request)
}
