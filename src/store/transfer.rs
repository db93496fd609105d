//! Copies one store to another.

use std::future::Future;

use super::{CeremonyStore, StoreError};
use crate::types::{
    authorization::NewAuthorizationRequest,
    clock::Timestamp,
    secret::{Digest, Refresh},
    session::{NewSession, Refreshed, Rotation, SessionRecord},
};

/// The number of entries read at a time.
const PAGE: usize = 500;

/// Copies everything from one store to another. Sessions keep their digests, so agents are unaffected. Ended sessions
/// and pending authorization requests are included. Existing entries are left unchanged, so an interrupted copy can be
/// repeated. A stored name that breaks a rule of this version is copied as it is shown, with U+FFFD or cut.
///
/// Neither store may be in use meanwhile: changes made during the copy may be lost. Stop the service, copy, and start
/// it with the other store.
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
/// When either store fails, or the target has different data under the same id or digest.
pub async fn transfer(from: &impl Portable, to: &impl Portable) -> Result<Transferred, StoreError> {
    let mut transferred = Transferred { authorizations: 0, sessions: 0 };
    let mut after = 0;
    loop {
        let page = from.authorizations_after(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, authorization) in &page {
            transferred.authorizations += usize::from(to.import_authorization(authorization).await?);
        }
    }
    after = 0;
    loop {
        let page = from.sessions_after(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, session) in &page {
            transferred.sessions += usize::from(to.import_session(session).await?);
        }
    }
    Ok(transferred)
}

/// The number of newly copied entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Transferred {
    /// Authorization requests.
    pub authorizations: usize,
    /// Sessions.
    pub sessions: usize,
}

/// A store whose whole content can be copied to another. See [`transfer`].
pub trait Portable: CeremonyStore {
    /// Returns at most `limit` authorization requests after the position `after`, each with its position. The first
    /// position is above zero.
    ///
    /// # Errors
    /// When the read fails.
    fn authorizations_after(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(u64, NewAuthorizationRequest)>, StoreError>> + Send;

    /// Returns at most `limit` sessions after the position `after`, in creation order, each with its position.
    ///
    /// # Errors
    /// When the read fails.
    fn sessions_after(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(u64, StoredSession)>, StoreError>> + Send;

    /// Stores an authorization request unchanged, in any state. Returns `false` if its id exists.
    ///
    /// # Errors
    /// When it is unknown whether the request was stored.
    fn import_authorization(
        &self,
        new: &NewAuthorizationRequest,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Stores a session unchanged, as the newest of its account. Returns `false` if its id exists.
    ///
    /// # Errors
    /// When it is unknown whether the session was stored, or one of its digests belongs to another session.
    fn import_session(&self, session: &StoredSession) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// A session as a store has it, with all its refresh tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredSession {
    /// The session, ended or not.
    pub session: SessionRecord,
    /// Its last refresh.
    pub refreshed: Option<Refreshed>,
    /// Its refresh tokens by generation. The last is the current one.
    pub refresh_tokens: Vec<RefreshToken>,
}

impl StoredSession {
    /// The session that a redemption creates, with its first refresh token.
    #[must_use]
    pub fn created(new: &NewSession) -> Self {
        let first = RefreshToken { digest: new.refresh, generation: 0, ends_at: new.session.refresh_expires_at };
        Self { session: new.session.clone(), refreshed: None, refresh_tokens: vec![first] }
    }

    /// Gives it new secrets, if that is legal at `at`: `rotation.from` is its current refresh token and has not expired,
    /// and it is not revoked. Returns whether it was. The store sees to it that the new digests are unique.
    pub fn rotate(&mut self, rotation: &Rotation, at: Timestamp) -> bool {
        let current = self.refresh_tokens.last().filter(|token| token.digest == rotation.from);
        let is_over = self.session.revoked.is_some() || self.session.refresh_expires_at.has_passed(at);
        let Some(generation) = current.filter(|_| !is_over).and_then(|token| token.generation.checked_add(1)) else {
            return false;
        };
        self.session.rotate(rotation);
        self.refreshed = Some(Refreshed { at, salt: rotation.salt });
        let ends_at = rotation.refresh_expires_at;
        self.refresh_tokens.push(RefreshToken { digest: rotation.refresh, generation, ends_at });
        true
    }

    /// A session with its refresh tokens by generation, the current one last.
    #[must_use]
    pub const fn new(session: SessionRecord, refreshed: Option<Refreshed>, refresh_tokens: Vec<RefreshToken>) -> Self {
        Self { session, refreshed, refresh_tokens }
    }
}

/// A refresh token of a session, current or used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RefreshToken {
    /// Its digest.
    pub digest: Digest<Refresh>,
    /// The number of refreshes that led to it.
    pub generation: u64,
    /// When it expires, or would have expired if it is used up.
    pub ends_at: Timestamp,
}

impl RefreshToken {
    /// The refresh token of that generation.
    #[must_use]
    pub const fn new(digest: Digest<Refresh>, generation: u64, ends_at: Timestamp) -> Self {
        Self { digest, generation, ends_at }
    }
}
