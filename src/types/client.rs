//! Clients that registered themselves (RFC 7591).
//!
//! ```
//! use tower_agent_auth::types::{client::RegisteredClient, clock::Timestamp, id::ClientId};
//!
//! let now = Timestamp::from_millis(0);
//! let client = RegisteredClient::new(ClientId::new("client-7")?, r#"{"client_name":"Agent"}"#, now);
//! assert_eq!((client.created_at, client.used_at), (now, None));
//! # Ok::<(), tower_agent_auth::types::id::ClientIdError>(())
//! ```

use std::{fmt, sync::Arc};

use super::{clock::Timestamp, id::ClientId};

/// A client that registered itself, as stored.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct RegisteredClient {
    /// The identifier that it was given.
    pub id: ClientId,
    /// Its metadata (RFC 7591 section 2): one text that the dialect writes and reads. A store keeps it unchanged. It has
    /// no NUL character and no secret, and may be a few kilobytes long.
    pub metadata: Arc<str>,
    /// When it registered.
    pub created_at: Timestamp,
    /// The last time that it was granted access or refreshed; `None` if no human has approved it yet.
    pub used_at: Option<Timestamp>,
}

impl RegisteredClient {
    /// A client that registered at this instant and has never been used.
    #[must_use]
    pub fn new(id: ClientId, metadata: &str, created_at: Timestamp) -> Self {
        Self { id, metadata: metadata.into(), created_at, used_at: None }
    }
}

impl fmt::Debug for RegisteredClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Anybody can register, so the metadata does not go into logs.
        let Self { id, created_at, used_at, .. } = self;
        let mut shown = f.debug_struct("RegisteredClient");
        shown.field("id", id).field("created_at", created_at).field("used_at", used_at).finish_non_exhaustive()
    }
}
