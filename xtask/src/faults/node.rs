//! A server as its clients see it, and what it is forgiven while something is being done to it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::http::Http;

pub(crate) struct Node {
    http: Mutex<Http>,
    base: String,
    gone: AtomicBool,
    store_away: AtomicBool,
    store_forgets: AtomicBool,
}

/// What a server is forgiven at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mercy {
    /// It was killed: broken connections.
    gone: bool,
    /// Its store is away: 503.
    store_away: bool,
    /// Its store was emptied: it does not know what it knew.
    store_forgets: bool,
}

impl Mercy {
    /// What was forgiven when a request began is forgiven until it ends.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            gone: self.gone || other.gone,
            store_away: self.store_away || other.store_away,
            store_forgets: self.store_forgets || other.store_forgets,
        }
    }

    pub(crate) const fn forgives(self, status: u16) -> bool {
        match status {
            503 => self.store_away,
            // An unknown token, a claim or page that is not there, a browser that is sent to sign in.
            401 | 404 | 303 => self.store_forgets,
            _ => false,
        }
    }

    pub(crate) const fn forgives_silence(self) -> bool {
        self.gone
    }

    pub(crate) const fn is_none(self) -> bool {
        !(self.gone || self.store_away || self.store_forgets)
    }
}

impl Node {
    pub(crate) fn new(port: u16) -> Self {
        let base = format!("http://127.0.0.1:{port}");
        let flag = || AtomicBool::new(false);
        let http = Mutex::new(Http::new(&base));
        Self { http, base, gone: flag(), store_away: flag(), store_forgets: flag() }
    }

    pub(crate) fn http(&self) -> Http {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Http> {
        self.http.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn goes(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    /// It is there again, and connections to the process that was there before are forgotten.
    pub(crate) fn comes(&self) {
        *self.locked() = Http::new(&self.base);
        self.gone.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    pub(crate) fn set_store_away(&self, away: bool) {
        self.store_away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn set_store_forgets(&self, forgets: bool) {
        self.store_forgets.store(forgets, Ordering::SeqCst);
    }

    pub(crate) fn mercy(&self) -> Mercy {
        Mercy {
            gone: self.is_gone(),
            store_away: self.store_away.load(Ordering::SeqCst),
            store_forgets: self.store_forgets.load(Ordering::SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn only_what_is_being_done_is_forgiven() {
        let node = Node::new(1);
        assert!(node.mercy().is_none() && !node.mercy().forgives(503));
        node.set_store_away(true);
        let away = node.mercy();
        assert!(away.forgives(503) && !away.forgives(401) && !away.forgives_silence());
        node.set_store_away(false);
        node.set_store_forgets(true);
        assert!(node.mercy().forgives(401) && !node.mercy().forgives(503));
        assert!(node.mercy().and(away).forgives(503), "a request that began during the fault");
        assert!([200, 400, 409, 500].iter().all(|status| !node.mercy().and(away).forgives(*status)));
    }
}
