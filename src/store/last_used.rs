use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::types::{id::SessionId, session::Use};

/// Beyond so many sessions with an unwritten use further ones go unnoted, so that memory stays bounded.
const MOST: usize = 100_000;

/// Last uses of sessions, noted by the guard at no cost of a write, and written down in batches.
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

    /// Takes at most so many away.
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
