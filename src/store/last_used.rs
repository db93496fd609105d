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
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = noted.get_mut(session) {
            *old = new;
        } else if noted.len() < MOST {
            noted.insert(session.clone(), new);
        }
    }

    /// Removes and returns at most `most` uses.
    pub(crate) fn take(&self, most: usize) -> Vec<(SessionId, Use)> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() <= most {
            return std::mem::take(&mut *noted).into_iter().collect();
        }
        let taken: Vec<SessionId> = noted.keys().take(most).cloned().collect();
        taken.into_iter().filter_map(|session| noted.remove_entry(&session)).collect()
    }

    pub(crate) fn put_back(&self, batch: Vec<(SessionId, Use)>) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, old) in batch {
            noted.entry(session).or_insert(old);
        }
    }
}
