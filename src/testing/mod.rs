//! Tests of a service that uses this crate: sessions in one line, callers without a guard, a human of the test's choice,
//! and a check of how the service is put together.
//!
#![doc = include_str!("../../docs/testing.md")]

mod accounts;
mod caller;
mod check;
mod session;

pub use accounts::TestAccounts;
pub use caller::{AgentSessionBuilder, IntoAccount, account, agent_session, owner};
pub use check::{Check, Finding, Misassembly, Report, check, check_with_body};
pub use session::{IssueError, IssuedSession, SessionBuilder, session};

#[doc(no_inline)]
pub use crate::types::clock::{ManualClock, Timestamp};
