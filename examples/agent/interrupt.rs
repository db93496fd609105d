//! Ctrl-C: the agent ends with a line that says what is left behind.

use std::{
    io,
    process::exit,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::{runtime::Builder, signal};

use crate::{failure::Exit, terminal};

pub(crate) const NOTHING: &str = "Nothing was asked for.";
pub(crate) const REQUEST: &str = "The request for access stays open until it expires, unless your human denies it. \
    This agent can no longer collect what they approve.";
pub(crate) const SESSION: &str = "A session may have been created, and its credential is not stored. Your human can \
    revoke it on the sessions page of the service.";
pub(crate) const REFRESH: &str = "The session may have been refreshed, and its new credential is not stored. Run this \
    again: if the old one is refused, it asks your human again.";
pub(crate) const LOG_OUT: &str = "The session may be revoked or not. Run this again.";

static LEFT: Mutex<String> = Mutex::new(String::new());

/// From now on Ctrl-C ends the process in this way.
pub(crate) fn watch() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    leaves(NOTHING);
    thread::spawn(move || {
        if runtime.block_on(signal::ctrl_c()).is_ok() {
            let left = left();
            // The line that shows the time left has no end.
            let end = if terminal::has_escapes(&io::stderr()) { "\n" } else { "" };
            eprintln!("{end}Interrupted. {left}");
            exit(Exit::Interrupted as i32);
        }
    });
    Ok(())
}

/// Says what Ctrl-C leaves behind from now on.
pub(crate) fn leaves(what: &str) {
    what.clone_into(&mut left());
}

/// Does what Ctrl-C must not break off. If it succeeds, `what` is left behind from now on.
pub(crate) fn complete<T, E>(what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let mut left = left();
    let done = work()?;
    what.clone_into(&mut left);
    Ok(done)
}

fn left() -> MutexGuard<'static, String> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}
