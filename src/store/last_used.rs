use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::types::{id::SessionId, session::Use};

/// The most sessions with an unwritten use. Uses of further sessions are dropped, so that memory stays bounded.
const MOST: usize = 100_000;

/// Buffers last uses of sessions. The guard adds them without a store write; they are written in batches.
#[derive(Debug, Default)]
pub(crate) struct LastUsedBuffer(Mutex<HashMap<SessionId, Use>>);

impl LastUsedBuffer {
    pub(crate) fn note(&self, session: &SessionId, new: Use) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = uses.get_mut(session) {
            *old = new;
        } else if uses.len() < MOST {
            uses.insert(session.clone(), new);
        }
    }

    /// Removes and returns at most `most` uses.
    pub(crate) fn take(&self, most: usize) -> Vec<(SessionId, Use)> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() <= most {
            return std::mem::take(&mut *uses).into_iter().collect();
        }
        let taken: Vec<SessionId> = uses.keys().take(most).cloned().collect();
        taken.into_iter().filter_map(|session| uses.remove_entry(&session)).collect()
    }

    pub(crate) fn put_back(&self, batch: Vec<(SessionId, Use)>) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, old) in batch {
            uses.entry(session).or_insert(old);
        }
    }
}
