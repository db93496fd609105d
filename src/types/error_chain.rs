//! Errors as text, for `main`, logs and audit events.

use std::{error::Error, fmt};

/// The text of an error and of its causes, from the outside in. A cause that the text before it ends with is left out:
/// some libraries repeat their cause.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// [`chain`] into a formatter.
pub(crate) fn write_chain(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&chain(error))
}

/// Implements `Debug` as the text of the error and of its causes. `main` prints the `Debug` of the error that it
/// returns, so that its reader gets the sentence with the remedy, and not the names of our types.
macro_rules! debug_as_text {
    ($($error:ty),+) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::types::error_chain::write_chain(self, f)
            }
        }
    )+};
}

pub(crate) use debug_as_text;
