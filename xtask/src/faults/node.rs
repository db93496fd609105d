//! A server as its clients see it, and what it is forgiven while something is being done to it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use super::http::Http;

pub(crate) struct Node {
    http: Mutex<Http>,
    base: String,
    /// The faults that are being made, a bit for each.
    faults: AtomicU8,
    quiet: AtomicBool,
}

/// What is being done to a server or its store, and what the server is forgiven for it.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Fault {
    /// It was killed: broken connections.
    Gone = 1,
    /// Its store is away: 503.
    StoreAway = 1 << 1,
    /// Its store was emptied: it does not know what it knew.
    StoreForgets = 1 << 2,
    /// Its store can't write: 503, but for token checks.
    WritesFail = 1 << 3,
    /// Its store can't grow: 503, but for token checks and revocations.
    StoreFull = 1 << 4,
    /// Nothing is forgiven.
    Harmless = 1 << 5,
}

/// What somebody asks a server for, as far as a fault matters to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    TokenCheck,
    Revocation,
    /// What agents of the open auth.md protocol ask.
    Identity,
    Other,
}

/// The faults for which a server is forgiven at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mercy(u8);

impl Mercy {
    /// What was forgiven when a request began is forgiven until it ends.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn forgives(self, status: u16, need: Need) -> bool {
        match (status, need) {
            (503, _) if self.has(Fault::StoreAway) => true,
            (503, Need::Revocation | Need::Identity | Need::Other) if self.has(Fault::WritesFail) => true,
            (503, Need::Identity | Need::Other) => self.has(Fault::StoreFull),
            // An unknown token, a claim or page that is not there, a browser that is sent to sign in.
            (401 | 404 | 303, _) => self.has(Fault::StoreForgets),
            // An unknown claim token, assertion or refresh token is a bad request there.
            (400, Need::Identity) => self.has(Fault::StoreForgets),
            _ => false,
        }
    }

    pub(crate) const fn forgives_silence(self) -> bool {
        self.has(Fault::Gone)
    }

    pub(crate) const fn has(self, fault: Fault) -> bool {
        self.0 & fault as u8 != 0
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl Node {
    pub(crate) fn new(port: u16) -> Self {
        let base = format!("http://127.0.0.1:{port}");
        let http = Mutex::new(Http::new(&base));
        Self { http, base, faults: AtomicU8::new(0), quiet: AtomicBool::new(false) }
    }

    pub(crate) fn http(&self) -> Http {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Http> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, fault: Fault) {
        self.faults.fetch_or(fault as u8, Ordering::SeqCst);
    }

    pub(crate) fn end(&self, fault: Fault) {
        self.faults.fetch_and(!(fault as u8), Ordering::SeqCst);
    }

    /// It is there again, and connections to the process that was there before are forgotten.
    pub(crate) fn comes(&self) {
        *self.locked() = Http::new(&self.base);
        self.end(Fault::Gone);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.mercy().has(Fault::Gone)
    }

    /// The load leaves it alone: it is asked what a run itself asks.
    pub(crate) fn set_quiet(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    pub(crate) fn mercy(&self) -> Mercy {
        Mercy(self.faults.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Fault,
        Need::{Identity, Other, Revocation, TokenCheck},
        Node,
    };

    #[test]
    fn only_what_is_being_done_is_forgiven() {
        let node = Node::new(1);
        assert!(node.mercy().is_none() && !node.mercy().forgives(503, Other));
        node.begin(Fault::StoreAway);
        let away = node.mercy();
        assert!(away.forgives(503, TokenCheck) && !away.forgives(401, TokenCheck) && !away.forgives_silence());
        node.end(Fault::StoreAway);
        node.begin(Fault::StoreForgets);
        assert!(node.mercy().forgives(401, TokenCheck) && !node.mercy().forgives(503, Other));
        assert!(node.mercy().forgives(400, Identity) && !away.forgives(400, Identity));
        assert!(node.mercy().and(away).forgives(503, Other), "a request that began during the fault");
        assert!([200, 400, 409, 500].iter().all(|status| !node.mercy().and(away).forgives(*status, Other)));
    }

    #[test]
    fn a_store_that_can_not_write_still_checks_tokens_and_a_full_one_still_revokes() {
        let forgiven = |fault| {
            let node = Node::new(1);
            node.begin(fault);
            [TokenCheck, Revocation, Identity, Other].map(|need| node.mercy().forgives(503, need))
        };
        assert_eq!(forgiven(Fault::WritesFail), [false, true, true, true]);
        assert_eq!(forgiven(Fault::StoreFull), [false, false, true, true]);
        assert_eq!(forgiven(Fault::Harmless), [false; 4]);
    }
}
