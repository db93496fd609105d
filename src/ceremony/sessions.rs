use std::sync::Arc;

use super::{Ceremony, CeremonyError};
use crate::{
    audit::Event,
    store::RevokeTarget,
    types::{
        id::{AccountId, AuthorizationRequestId, SessionId},
        session::{RevokedBy, Session, SessionRecord},
    },
};

/// The most sessions on one page of the list.
const PAGE: usize = 50;

/// One page of an account's sessions, newest first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The sessions.
    pub sessions: Vec<SessionRecord>,
    /// Where the next page begins, if there is one.
    pub next: Option<SessionId>,
}

impl Ceremony {
    /// The account's sessions, ended ones too, newest first: the page that begins after `after`.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn sessions(&self, account: &AccountId, after: Option<&SessionId>) -> Result<Page, CeremonyError> {
        self.write_uses().await?;
        let mut sessions = self.store.list_sessions(account, after, PAGE + 1).await?;
        let more = sessions.len() > PAGE;
        sessions.truncate(PAGE);
        let next = sessions.last().filter(|_| more).map(|record| record.session.id.clone());
        Ok(Page { sessions, next })
    }

    /// The sessions that came of an authorization request, ended or not, newest first.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn sessions_of(&self, id: &AuthorizationRequestId) -> Result<Vec<SessionRecord>, CeremonyError> {
        Ok(self.store.sessions_of(id).await?)
    }

    /// All that is kept of an agent's own session, unless it was revoked meanwhile.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn own_record(&self, session: &Session) -> Result<Option<SessionRecord>, CeremonyError> {
        let found = self.store.find_record(&session.id).await?;
        Ok(found.filter(|record| record.revoked.is_none()))
    }

    /// The session of an access token that is good now.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn session(&self, access_token: &[u8]) -> Result<Option<Arc<Session>>, CeremonyError> {
        let Some(digest) = self.config.prefixes().access.digest(access_token) else { return Ok(None) };
        let found = Arc::clone(&self.store).find(digest).await?;
        Ok(found.filter(|session| session.is_good(self.config.resource(), self.now())))
    }

    /// Revokes the session of an access or refresh token, at the hand of whoever holds it (RFC 7009 section 2.1). What is
    /// malformed, unknown or revoked already is no error (section 2.2).
    ///
    /// # Errors
    /// When the service fails; the session may be alive then.
    pub async fn revoke_token(&self, token: &str) -> Result<(), CeremonyError> {
        let prefixes = self.config.prefixes();
        let access = prefixes.access.digest(token.as_bytes()).map(RevokeTarget::Access);
        let target = access.or_else(|| prefixes.refresh.digest(token.as_bytes()).map(RevokeTarget::Refresh));
        match target {
            Some(target) => self.revoke(&target, RevokedBy::Agent).await.map(drop),
            None => Ok(()),
        }
    }

    /// Revokes an agent's own session, at its own hand. `false` if it had ended meanwhile.
    ///
    /// # Errors
    /// When the service fails; the session may be alive then.
    pub async fn revoke_own(&self, session: &Session) -> Result<bool, CeremonyError> {
        let target = RevokeTarget::Session(session.id.clone(), session.account.id.clone());
        Ok(self.revoke(&target, RevokedBy::Agent).await? > 0)
    }

    /// Revokes a session of the account, at the hand of its human. `false` if it has no such session that was alive.
    ///
    /// # Errors
    /// When the service fails; the session may be alive then.
    pub async fn revoke_session(&self, account: &AccountId, session: &SessionId) -> Result<bool, CeremonyError> {
        let target = RevokeTarget::Session(session.clone(), account.clone());
        Ok(self.revoke(&target, RevokedBy::Human).await? > 0)
    }

    /// Revokes every session of the account, and whatever it approved that is not redeemed yet, at the hand of its human.
    /// Answers how many sessions that ended.
    ///
    /// # Errors
    /// When the service fails; sessions may be alive then.
    pub async fn revoke_all(&self, account: &AccountId) -> Result<usize, CeremonyError> {
        self.revoke(&RevokeTarget::Account(account.clone()), RevokedBy::Human).await
    }

    pub(super) async fn revoke(&self, target: &RevokeTarget, by: RevokedBy) -> Result<usize, CeremonyError> {
        let ended = self.store.revoke(target, by, self.now()).await?;
        for session in &ended {
            self.record(&Event::Revoked { session: session.clone(), by });
        }
        Ok(ended.len())
    }
}
