use std::fmt;

use super::{AccountExport, Ceremony, CeremonyError, Page, Revoked, SessionSearch, sessions::Revoker};
use crate::{
    audit::Reason,
    store::{AuthorizationKey, Portable, RevokeTarget},
    types::{
        authorization::{AuthorizationRequest, State},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
        session::{RevokedBy, SessionRecord, SessionState},
    },
};

/// How many requests or sessions are read at a time.
const READ_AT_ONCE: usize = 250;

/// The sessions of all accounts, for the operators of the service: support, abuse desk, offboarding.
/// [`AgentAuth::admin`](crate::AgentAuth::admin) creates it. Cheap to clone.
///
/// It asks nobody for permission: the code that calls it decides who may. What it revokes is recorded as revoked by the
/// [service](RevokedBy::Service), with the [reason](Self::because) in the audit event.
///
/// ```
/// use tower_agent_auth::{AgentAuth, audit::Reason, ceremony::CeremonyError, types::id::AccountId};
///
/// async fn offboard(auth: &AgentAuth, account: &AccountId, ticket: &str) -> Result<usize, CeremonyError> {
///     let Some(admin) = auth.admin() else { return Ok(0) };
///     let revoked = admin.because(Reason::new(ticket)).revoke_account(account).await?;
///     Ok(revoked.sessions)
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Admin {
    ceremony: Ceremony,
    revoker: Revoker,
}

impl Admin {
    pub(crate) const fn new(ceremony: Ceremony) -> Self {
        Self { ceremony, revoker: Revoker { by: RevokedBy::Service, reason: None } }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ceremony.now()
    }

    pub(crate) const fn config(&self) -> &crate::Config {
        &self.ceremony.config
    }

    pub(crate) fn note_failure(&self, error: &(dyn std::error::Error + 'static)) {
        self.ceremony.record(&crate::audit::Event::unavailable(error));
    }

    /// The same with a reason, which is in the audit event of all that it revokes. No store keeps it.
    pub fn because(mut self, reason: Reason) -> Self {
        self.revoker.reason = Some(reason);
        self
    }

    /// One page of the account's sessions, as [`Ceremony::search_sessions`] returns it.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn sessions(
        &self,
        account: &AccountId,
        search: &SessionSearch,
        after: Option<&SessionId>,
    ) -> Result<Page, CeremonyError> {
        self.ceremony.search_sessions(account, search, after).await
    }

    /// The session of that id, ended or not; `None` if it is not stored, or not any more.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRecord>, CeremonyError> {
        self.ceremony.try_to_write_uses().await;
        Ok(self.ceremony.store.find_record(id).await?)
    }

    /// The sessions that were issued for an authorization request, newest first, ended or not.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn sessions_of(&self, id: &AuthorizationRequestId) -> Result<Vec<SessionRecord>, CeremonyError> {
        self.ceremony.try_to_write_uses().await;
        self.ceremony.sessions_of(id).await
    }

    /// The authorization requests that the account has approved and that can still become sessions: at most 50, newest first.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn uncollected(&self, account: &AccountId) -> Result<Vec<AuthorizationRequest>, CeremonyError> {
        self.ceremony.uncollected(account).await
    }

    /// Revokes a session. None is counted if it is unknown or was revoked before.
    ///
    /// # Errors
    /// When the service fails; the session may still be active. The same call again does no harm.
    pub async fn revoke_session(&self, id: &SessionId) -> Result<Revoked, CeremonyError> {
        let Some(record) = self.ceremony.store.find_record(id).await? else { return Ok(Revoked::default()) };
        let is_new = self.ceremony.revoke_session_as(&record.session.account.id, id, &self.revoker).await?;
        Ok(Revoked { sessions: usize::from(is_new), approvals: 0 })
    }

    /// Revokes every session of the account, and takes back what it approved and no agent has collected.
    ///
    /// To offboard an account, first let [`is_active`](crate::accounts::Accounts::is_active) be `false` for it. Otherwise
    /// its human can approve again.
    ///
    /// # Errors
    /// When the service fails; some sessions may still be active. The same call again does no harm.
    pub async fn revoke_account(&self, account: &AccountId) -> Result<Revoked, CeremonyError> {
        let mut revoked = Revoked::default();
        for request in self.ceremony.store.list_approved(account, self.now(), usize::MAX).await? {
            revoked += self.ceremony.take_back_as(account, &request.id, &self.revoker).await?;
        }
        // Also what was approved meanwhile.
        revoked.sessions += self.ceremony.revoke_as(&RevokeTarget::Account(account.clone()), &self.revoker).await?;
        Ok(revoked)
    }

    /// Revokes every active session that the account gave to an OAuth client, and takes back what it approved for the
    /// client and no agent has collected.
    ///
    /// # Errors
    /// When the service fails; some sessions may still be active. The same call again does no harm.
    pub async fn revoke_client(&self, account: &AccountId, client: &ClientId) -> Result<Revoked, CeremonyError> {
        let is_meant = |known: &crate::types::authorization::Client| known.id.as_ref() == Some(client);
        self.ceremony.revoke_clients_as(account, is_meant, &self.revoker).await
    }

    /// The same for the [same client](crate::types::authorization::Client::is_same_as) as that of a session, with or
    /// without an id. Nothing is counted if the session is unknown.
    ///
    /// # Errors
    /// When the service fails; some sessions may still be active. The same call again does no harm.
    pub async fn revoke_client_of(&self, session: &SessionId) -> Result<Revoked, CeremonyError> {
        let Some(record) = self.ceremony.store.find_record(session).await? else { return Ok(Revoked::default()) };
        let account = &record.session.account.id;
        self.ceremony.revoke_clients_as(account, |known| known.is_same_as(&record.client), &self.revoker).await
    }

    /// The same for an OAuth client of all accounts: reads everything in `store`, which is the service's own, and so takes
    /// long in a large one. The stores of this crate are [`Portable`], except for memory.
    ///
    /// First refuse the client, for example by deleting its registration. Otherwise humans can approve it again meanwhile.
    ///
    /// # Errors
    /// When the service fails; some sessions may still be active. The same call again does no harm.
    pub async fn revoke_client_everywhere(
        &self,
        store: &impl Portable,
        client: &ClientId,
    ) -> Result<Revoked, CeremonyError> {
        let (mut revoked, now) = (Revoked::default(), self.now());
        // First what can still become a session. Sessions that are created meanwhile come later in the order.
        let mut last = 0;
        loop {
            let read = store.authorizations_after(last, READ_AT_ONCE).await?;
            let Some((place, _)) = read.last() else { break };
            last = *place;
            let of_client = read.iter().map(|(_, new)| &new.request).filter(|request| {
                request.client.id.as_ref() == Some(client) && request.state_at(now) == State::Approved
            });
            for request in of_client {
                let Some(account) = &request.account else { continue };
                revoked += self.ceremony.take_back_as(&account.id, &request.id, &self.revoker).await?;
            }
        }
        let mut last = 0;
        loop {
            let read = store.sessions_after(last, READ_AT_ONCE).await?;
            let Some((place, _)) = read.last() else { return Ok(revoked) };
            last = *place;
            let of_client = read.iter().map(|(_, stored)| &stored.session).filter(|record| {
                record.client.id.as_ref() == Some(client) && record.state_at(now) == SessionState::Active
            });
            for record in of_client {
                let (account, session) = (&record.session.account.id, &record.session.id);
                let is_new = self.ceremony.revoke_session_as(account, session, &self.revoker).await?;
                revoked.sessions += usize::from(is_new);
            }
        }
    }

    /// All that is stored about the account, as [`Ceremony::export`] returns it.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn export(&self, account: &AccountId) -> Result<AccountExport, CeremonyError> {
        self.ceremony.export(account).await
    }

    /// Revokes and deletes all that is stored about the account, as [`Ceremony::forget_account`] does, with the reason in
    /// the events.
    ///
    /// # Errors
    /// When the service fails; a part may be deleted. The same call again does no harm.
    pub async fn forget_account(&self, account: &AccountId) -> Result<usize, CeremonyError> {
        self.ceremony.forget_account_as(account, &self.revoker).await
    }

    /// Revokes every active session that was issued for an authorization request, and takes the approval back if an agent
    /// can still collect it.
    ///
    /// # Errors
    /// When the service fails; some sessions may still be active. The same call again does no harm.
    pub async fn revoke_authorization(&self, id: &AuthorizationRequestId) -> Result<Revoked, CeremonyError> {
        let mut revoked = Revoked::default();
        // First what can still become a session.
        let found = self.ceremony.store.find_authorization(&AuthorizationKey::Id(id.clone())).await?;
        if let Some(account) = found.and_then(|request| request.account) {
            revoked += self.ceremony.take_back_as(&account.id, id, &self.revoker).await?;
        }
        let now = self.now();
        let sessions = self.ceremony.sessions_of(id).await?;
        for record in sessions.iter().filter(|record| record.state_at(now) == SessionState::Active) {
            let (account, session) = (&record.session.account.id, &record.session.id);
            revoked.sessions += usize::from(self.ceremony.revoke_session_as(account, session, &self.revoker).await?);
        }
        Ok(revoked)
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("revoker", &self.revoker).finish_non_exhaustive()
    }
}
