//! Why the agent ends without a result, and its exit codes.

use std::{fmt, process::ExitCode};

/// Why the agent ends without a result.
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

/// The exit codes besides 0, and 2 for a wrong command line.
#[derive(Clone, Copy)]
pub(crate) enum Exit {
    /// A service did not do what it documents, or refuses what it was asked.
    Failed = 1,
    /// The human denied, or took the approval back.
    Denied = 3,
    /// The human did not decide in time.
    TooLate = 4,
    /// The service can't be reached, or says that it can't answer now.
    Unreachable = 5,
    /// The service refused the call: a scope is missing, or only the human may do it.
    Refused = 6,
    /// The file for the credential can't be read or written.
    File = 7,
    /// Ctrl-C, as shells count it: 128 and the number of the signal.
    Interrupted = 130,
}

/// The exit codes in `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  the URL was called, and its response is on stdout; or the logout is done
    1  any other failure
    2  the command line is wrong
    3  your human denied, or took the approval back
    4  your human did not decide in time
    5  the service can't be reached, or can't answer now (502, 503, 504)
    6  the service refused: a scope is missing, or only your human may do it
    7  the file for the credential can't be read or written
  130  Ctrl-C

Only the response is written to stdout. Steps, questions and errors are written to stderr.";

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(Exit::Failed, text)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(Exit::Failed, text)
    }
}

macro_rules! from_errors {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(Exit::Failed, error.to_string())
            }
        }
    )*};
}

from_errors!(std::io::Error, serde_json::Error, ::http::uri::InvalidUri, tower_agent_auth::types::random::RandomError);
