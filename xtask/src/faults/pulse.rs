//! Whether the machine itself stood still. A store that gets no disk for longer than its patience is right to say 503,
//! which is then no finding.

use std::{
    fs::File,
    io::{Seek, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use crate::Outcome;

const BEAT: Duration = Duration::from_millis(100);
/// A beat that takes longer is a standstill.
const LONG: Duration = Duration::from_secs(1);

/// Writes a byte to the disk again and again, and remembers when that took long.
pub(crate) struct Pulse(Mutex<Beats>);

struct Beats {
    /// The last one.
    last: Instant,
    /// The end of the last standstill.
    stood_until: Option<Instant>,
}

impl Pulse {
    /// Beats until the last owner is gone.
    pub(crate) fn start(path: &Path) -> Outcome<Arc<Self>> {
        let file = File::create(path)?;
        let pulse = Arc::new(Self(Mutex::new(Beats { last: Instant::now(), stood_until: None })));
        let weak = Arc::downgrade(&pulse);
        thread::Builder::new().name("pulse".into()).spawn(move || beat(file, &weak))?;
        Ok(pulse)
    }

    /// Whether the machine stood still at any time since then.
    pub(crate) fn stood_still_since(&self, begin: Instant) -> bool {
        let beats = self.beats();
        beats.last.elapsed() > LONG || beats.stood_until.is_some_and(|end| end > begin)
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, now: Instant) {
        let mut beats = self.beats();
        if now - beats.last > LONG {
            beats.stood_until = Some(now);
        }
        beats.last = now;
    }
}

fn beat(mut file: File, pulse: &Weak<Pulse>) {
    loop {
        let written = file.rewind().and_then(|()| file.write_all(b".")).and_then(|()| file.sync_data());
        match pulse.upgrade() {
            // Without a disk it stands still, which the next question finds out.
            Some(pulse) if written.is_ok() => pulse.note(Instant::now()),
            Some(_) => {}
            None => return,
        }
        thread::sleep(BEAT);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Mutex,
        time::{Duration, Instant},
    };

    use super::{Beats, Pulse};

    #[test]
    fn a_standstill_concerns_those_who_waited_then() {
        let start = Instant::now();
        let pulse = Pulse(Mutex::new(Beats { last: start, stood_until: None }));
        pulse.note(start + Duration::from_millis(100));
        assert!(!pulse.stood_still_since(start));
        pulse.note(start + Duration::from_secs(6));
        assert!(pulse.stood_still_since(start + Duration::from_secs(3)));
        assert!(!pulse.stood_still_since(start + Duration::from_secs(7)));
    }
}
