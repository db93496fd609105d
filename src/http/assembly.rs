use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    audit::{AuditSink, Event},
    observe,
    types::clock::Clock,
};

const NOT_MOUNTED: &str = "a guard refused a request with a challenge, but this process never mounted the documents that \
    the challenge leads to: merge `auth.router()` (axum) or add the layer `auth.endpoints()` around the whole service; if \
    another process serves them, build this one with `checks_only`";

/// Notices that a service is put together so that agents can't find out how to ask for access. Warns once.
pub(crate) struct Assembly {
    /// Whether this service issues sessions, so that its own process has to serve the endpoints.
    issues: bool,
    /// Whether the endpoints were put in front of a service.
    mounted: AtomicBool,
    warned: AtomicBool,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
}

impl Assembly {
    pub(crate) fn new(issues: bool, clock: Arc<dyn Clock>, audit: Arc<dyn AuditSink>) -> Self {
        Self { issues, mounted: AtomicBool::new(false), warned: AtomicBool::new(false), clock, audit }
    }

    /// Notes that the endpoints were put in front of a service.
    pub(crate) fn note_mounted(&self) {
        self.mounted.store(true, Ordering::Relaxed);
    }

    /// Notes that a guard sent its challenge to a request that had no credentials.
    pub(crate) fn note_challenge(&self) {
        if !self.issues || self.mounted.load(Ordering::Relaxed) || self.warned.load(Ordering::Relaxed) {
            return;
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            observe::of_gap(NOT_MOUNTED);
            self.audit.record(self.clock.now(), &Event::Misassembled { problem: NOT_MOUNTED });
        }
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly").finish_non_exhaustive()
    }
}
