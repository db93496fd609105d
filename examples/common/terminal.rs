//! What a terminal may be sent.

use std::{env, ffi::OsStr, io::IsTerminal};

/// Whether text may have colours and other escape sequences: it goes to a terminal that knows them, and the human did not
/// set `NO_COLOR` (<https://no-color.org>).
pub(crate) fn has_escapes(stream: &impl IsTerminal) -> bool {
    decide(stream.is_terminal(), env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
}

/// An empty `NO_COLOR` counts as none.
pub(crate) fn decide(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}
