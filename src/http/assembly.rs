use std::{
    collections::HashSet,
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
const GUARDED: &str = "a guard refused a request to a document or an endpoint of this crate, so no agent can ask for \
    access: put `auth.endpoints()` or `auth.router()` outside the guards";

/// Notices that a service is put together so that agents can't find out how to ask for access. Warns once of each.
pub(crate) struct Assembly {
    /// The paths of the documents and endpoints.
    served: HashSet<String>,
    /// Whether this service issues sessions, so that its own process has to serve the endpoints.
    issues: bool,
    /// Whether the endpoints were put in front of a service.
    mounted: AtomicBool,
    warned_not_mounted: AtomicBool,
    warned_guarded: AtomicBool,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
}

impl Assembly {
    pub(crate) fn new(served: HashSet<String>, issues: bool, clock: Arc<dyn Clock>, audit: Arc<dyn AuditSink>) -> Self {
        let [mounted, warned_not_mounted, warned_guarded] = [(); 3].map(|()| AtomicBool::new(false));
        Self { served, issues, mounted, warned_not_mounted, warned_guarded, clock, audit }
    }

    /// Notes that the endpoints were put in front of a service.
    pub(crate) fn note_mounted(&self) {
        self.mounted.store(true, Ordering::Relaxed);
    }

    /// Notes that a guard sent its challenge to a request for `path` that had no credentials.
    pub(crate) fn note_challenge(&self, path: &str) {
        if !self.mounted.load(Ordering::Relaxed) {
            if self.issues {
                self.warn(&self.warned_not_mounted, NOT_MOUNTED);
            }
        } else if self.served.contains(path) {
            self.warn(&self.warned_guarded, GUARDED);
        }
    }

    fn warn(&self, warned: &AtomicBool, problem: &'static str) {
        if !warned.load(Ordering::Relaxed) && !warned.swap(true, Ordering::Relaxed) {
            observe::of_gap(problem);
            self.audit.record(self.clock.now(), &Event::Misassembled { problem });
        }
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly").finish_non_exhaustive()
    }
}
