//! From one store to another.

use std::future::Future;

use super::{CeremonyStore, StoreError};
use crate::types::{
    authorization::NewAuthorizationRequest,
    clock::Timestamp,
    secret::{Digest, Refresh},
    session::{Refreshed, SessionRecord},
};

/// How much is read at a time.
const PAGE: usize = 500;

/// Copies everything that one store holds into another: sessions with their digests, so that no agent notices, ended ones
/// too, and authorization requests that wait for their humans. What is there already is left alone, so that a copy that was
/// interrupted is simply made again.
///
/// Nobody may use either store meanwhile: what is granted or revoked behind the copy is not copied. Stop the service,
/// copy, and start it with the other store.
///
/// ```no_run
/// use tower_agent_auth::store::{PostgresStore, SqliteStore, transfer};
///
/// # async fn move_house() -> Result<(), Box<dyn std::error::Error>> {
/// let from = SqliteStore::open("sessions.db").await?;
/// let to = PostgresStore::connect("postgres://app@db.internal/app").await?;
/// let copied = transfer(&from, &to).await?;
/// println!("{} sessions, {} authorization requests", copied.sessions, copied.authorizations);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When either store fails, or the other one holds something else under the same id or digest.
pub async fn transfer(from: &impl Portable, to: &impl Portable) -> Result<Transferred, StoreError> {
    let mut transferred = Transferred { authorizations: 0, sessions: 0 };
    let mut after = 0;
    loop {
        let page = from.authorizations_after(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, authorization) in &page {
            transferred.authorizations += usize::from(to.keep_authorization(authorization).await?);
        }
    }
    after = 0;
    loop {
        let page = from.sessions_after(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, session) in &page {
            transferred.sessions += usize::from(to.keep_session(session).await?);
        }
    }
    Ok(transferred)
}

/// How much was copied that was not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Transferred {
    /// Authorization requests.
    pub authorizations: usize,
    /// Sessions.
    pub sessions: usize,
}

/// A store of which everything can be taken into another. See [`transfer`].
pub trait Portable: CeremonyStore {
    /// The authorization requests behind the place `after`, each with its own place, at most `limit`. The first place is above zero.
    ///
    /// # Errors
    /// When the store can't know.
    fn authorizations_after(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(u64, NewAuthorizationRequest)>, StoreError>> + Send;

    /// The sessions behind the place `after` in the order in which they came to be, as for authorization requests.
    ///
    /// # Errors
    /// When the store can't know.
    fn sessions_after(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(u64, Kept)>, StoreError>> + Send;

    /// Keeps an authorization request as it is, in whatever state. `false` if its id is known.
    ///
    /// # Errors
    /// When the store can't know whether it did.
    fn keep_authorization(
        &self,
        new: &NewAuthorizationRequest,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps a session as it is, as the newest of its account. `false` if its id is known.
    ///
    /// # Errors
    /// When the store can't know whether it did, or holds one of its digests for another session.
    fn keep_session(&self, session: &Kept) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// All that a store keeps of a session and of its refresh tokens.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The session, be it ended or not.
    pub session: SessionRecord,
    /// Its last refresh.
    pub refreshed: Option<Refreshed>,
    /// Its refresh tokens by generation. The last is the current one.
    pub refresh_tokens: Vec<RefreshToken>,
}

/// A refresh token of a session, current or used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefreshToken {
    /// Its digest.
    pub digest: Digest<Refresh>,
    /// How many refreshes led to it.
    pub generation: u64,
    /// From when on it is, or would be, refused.
    pub ends_at: Timestamp,
}
