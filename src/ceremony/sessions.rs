use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use unicode_normalization::UnicodeNormalization as _;

use super::{Ceremony, CeremonyError, KnownFlow};
use crate::{
    audit::{Event, Reason},
    config::Resource,
    store::{AuthorizationKey, RevokeTarget},
    types::{
        authorization::{AuthorizationRequest, Client, State, Transition},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
        secret::{Access, Digest},
        session::{RevokedBy, Session, SessionRecord, SessionState, Use},
        text::HumanText,
    },
};

/// The maximum number of sessions per page.
const PAGE: usize = 50;
/// How many sessions are read at a time to search or count them.
const READ_AT_ONCE: usize = 250;
/// The most sessions that one call looks at to search or count them.
const SEARCHED: usize = 5_000;

/// The most sessions that are found one by one, and not by listing their account's.
const FOUND_ONE_BY_ONE: usize = 16;

/// One page of an account's sessions, newest first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The sessions.
    pub sessions: Vec<SessionRecord>,
    /// The cursor for the next page, if there is one.
    pub next: Option<SessionId>,
}

/// Which sessions of an account to list. By default, all.
///
/// ```
/// use tower_agent_auth::{ceremony::SessionSearch, types::session::SessionState};
///
/// let active = SessionSearch::new().active(true).text("claude");
/// # let _ = active;
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct SessionSearch {
    active: Option<bool>,
    text: String,
}

impl SessionSearch {
    /// All sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only active sessions, or only ended ones.
    pub const fn active(mut self, active: bool) -> Self {
        self.active = Some(active);
        self
    }

    /// Only sessions that have this text in the client's name, in its label, in the host of its metadata document, or in
    /// the name that their human gave them. Upper and lower case don't count, nor do blanks around it.
    pub fn text(mut self, text: &str) -> Self {
        self.text = folded(text.trim());
        self
    }

    pub(crate) fn is_met_by(&self, record: &SessionRecord, now: Timestamp) -> bool {
        let is_active = record.state_at(now) == SessionState::Active;
        let client = &record.client;
        let texts = [Some(&client.name), client.label.as_ref(), record.name.as_ref()].into_iter().flatten();
        let host = client.id.as_ref().and_then(ClientId::metadata_host);
        let mut texts = texts.map(HumanText::as_str).chain(host);
        self.active.is_none_or(|active| active == is_active)
            && (self.text.is_empty() || texts.any(|text| folded(text).contains(&self.text)))
    }
}

/// The text as it is compared. Some keyboards write letters and marks apart.
fn folded(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// How many sessions an account has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionCounts {
    /// Sessions that can be used or refreshed.
    pub active: usize,
    /// Sessions that have ended, and are still listed.
    pub ended: usize,
    /// Whether only the newest 5,000 sessions were counted: there are more.
    pub more: bool,
}

/// How much was revoked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Revoked {
    /// Sessions that were not revoked before.
    pub sessions: usize,
    /// Approvals that could still become sessions.
    pub approvals: usize,
}

impl std::ops::AddAssign for Revoked {
    fn add_assign(&mut self, more: Self) {
        self.sessions += more.sessions;
        self.approvals += more.approvals;
    }
}

/// Who revokes, and why.
#[derive(Clone, Debug)]
pub(super) struct Revoker {
    pub(super) by: RevokedBy,
    pub(super) reason: Option<Reason>,
}

impl Revoker {
    pub(super) const fn by(by: RevokedBy) -> Self {
        Self { by, reason: None }
    }
}

impl Ceremony {
    /// One page of the account's sessions, newest first, including ended ones. The page starts after `after`.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn sessions(&self, account: &AccountId, after: Option<&SessionId>) -> Result<Page, CeremonyError> {
        self.search_sessions(account, &SessionSearch::new(), after).await
    }

    /// One page of those of the account's sessions that `search` names, newest first. The page starts after `after`. It may
    /// have fewer sessions than there is room for, or none, and a next page all the same: one call looks at 5,000 sessions
    /// at most.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn search_sessions(
        &self,
        account: &AccountId,
        search: &SessionSearch,
        after: Option<&SessionId>,
    ) -> Result<Page, CeremonyError> {
        // A store that can't write must not hide what can be revoked.
        self.try_to_write_uses().await;
        let at_once = if *search == SessionSearch::new() { PAGE + 1 } else { READ_AT_ONCE };
        let (mut sessions, now, mut last) = (Vec::new(), self.now(), after.cloned());
        let mut looked_at = 0;
        while looked_at < SEARCHED {
            let read = self.store.list_sessions(account, last.as_ref(), at_once).await?;
            let count = read.len();
            for record in read {
                let is_met = search.is_met_by(&record, now);
                if is_met && sessions.len() == PAGE {
                    return Ok(Page { sessions, next: last });
                }
                last = Some(record.session.id.clone());
                if is_met {
                    sessions.push(record);
                }
            }
            looked_at += count;
            if count < at_once {
                return Ok(Page { sessions, next: None });
            }
        }
        Ok(Page { sessions, next: last })
    }

    /// Counts the account's sessions, up to the newest 5,000.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn count_sessions(&self, account: &AccountId) -> Result<SessionCounts, CeremonyError> {
        let (newest, now) = (self.many_sessions(account, None).await?, self.now());
        let active = newest.sessions.iter().filter(|record| record.state_at(now) == SessionState::Active).count();
        Ok(SessionCounts { active, ended: newest.sessions.len() - active, more: newest.next.is_some() })
    }

    /// The account's sessions, newest first: at most 5,000 of those that come after `after`.
    pub(crate) async fn many_sessions(
        &self,
        account: &AccountId,
        after: Option<&SessionId>,
    ) -> Result<Page, CeremonyError> {
        self.try_to_write_uses().await;
        let (mut sessions, mut last) = (Vec::<SessionRecord>::new(), after.cloned());
        loop {
            let read = self.store.list_sessions(account, last.as_ref(), READ_AT_ONCE).await?;
            let is_last = read.len() < READ_AT_ONCE;
            sessions.extend(read);
            let more = sessions.len() > SEARCHED;
            sessions.truncate(SEARCHED);
            last = sessions.last().map(|record| record.session.id.clone());
            if is_last || more {
                return Ok(Page { sessions, next: last.filter(|_| more) });
            }
        }
    }

    /// Looks at all sessions of the account, newest first.
    pub(super) async fn visit_sessions(
        &self,
        account: &AccountId,
        mut visit: impl FnMut(&SessionRecord),
    ) -> Result<(), CeremonyError> {
        let mut last = None;
        loop {
            let read = self.store.list_sessions(account, last.as_ref(), READ_AT_ONCE).await?;
            read.iter().for_each(&mut visit);
            match read.last() {
                Some(record) if read.len() == READ_AT_ONCE => last = Some(record.session.id.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// The authorization requests that the account has approved and that can still become sessions, newest first: at most 50.
    /// Of these, an agent has collected only identities of the auth.md protocol.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn uncollected(&self, account: &AccountId) -> Result<Vec<AuthorizationRequest>, CeremonyError> {
        let mut approved = self.store.list_approved(account, self.now(), PAGE).await?;
        approved.retain(|request| self.config.resource_with_id(&request.resource).is_some());
        Ok(approved)
    }

    /// Takes back an approval of the account, on its human's request, before an agent collects it. An identity of the
    /// auth.md protocol can be taken back at any time; its sessions end. `false` if there is none to take back: it was
    /// collected, taken back before, or has expired.
    ///
    /// # Errors
    /// When the service fails; the approval may still stand.
    pub async fn take_back(&self, account: &AccountId, id: &AuthorizationRequestId) -> Result<bool, CeremonyError> {
        Ok(self.take_back_as(account, id, &Revoker::by(RevokedBy::Human)).await?.approvals > 0)
    }

    /// Takes back an approval of the account, with the sessions that its agent has already.
    pub(super) async fn take_back_as(
        &self,
        account: &AccountId,
        id: &AuthorizationRequestId,
        revoker: &Revoker,
    ) -> Result<Revoked, CeremonyError> {
        let found = self.find(&AuthorizationKey::Id(id.clone())).await?;
        let own = found.filter(|request| request.account.as_ref().is_some_and(|bound| bound.id == *account));
        let Some(request) = own else { return Ok(Revoked::default()) };
        let is_new = self.store.transition(id, &Transition::Revoke, self.now()).await?;
        if is_new {
            self.record(&Event::TakenBack {
                authorization: id.clone(),
                account: account.clone(),
                client: request.client.name.clone(),
                client_id: request.client.id.clone(),
                by: revoker.by,
                reason: revoker.reason.clone(),
            });
        }
        // The agent of an identity may have sessions. They end also if an earlier call failed half-way.
        let sessions = if stands(&request, self.now()) { self.end_identity(id, revoker).await } else { Ok(0) };
        let sessions = sessions.map_err(CeremonyError::after_a_write)?;
        Ok(Revoked { sessions, approvals: usize::from(is_new) })
    }

    /// The sessions that were issued for an authorization request, newest first, including ended ones.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn sessions_of(&self, id: &AuthorizationRequestId) -> Result<Vec<SessionRecord>, CeremonyError> {
        Ok(self.store.sessions_of(id).await?)
    }

    /// The stored record of an agent's own session; `None` if it has been revoked.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn own_record(&self, session: &Session) -> Result<Option<SessionRecord>, CeremonyError> {
        let found = self.store.find_record(&session.id).await?;
        Ok(found.filter(|record| record.revoked.is_none()))
    }

    /// The session of an access token, if the token is valid now at one of this service's resources.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn session(&self, access_token: &[u8]) -> Result<Option<Arc<Session>>, CeremonyError> {
        match self.config.prefixes().access.digest(access_token) {
            Some(digest) => self.session_with(digest).await,
            None => Ok(None),
        }
    }

    async fn session_with(&self, access: Digest<Access>) -> Result<Option<Arc<Session>>, CeremonyError> {
        let found = Arc::clone(&self.store).find(access).await?;
        let is_good = |session: &Arc<Session>| {
            let resource = self.config.resource_with_id(&session.resource);
            resource.is_some_and(|resource| session.is_good(resource.id(), self.now()))
        };
        Ok(found.filter(is_good))
    }

    /// The stored record of the session of an access token, for a resource server that asks whether it is valid (RFC 7662):
    /// if it is, at one of `resources`. That counts as a use of the session. `None` too if the token is malformed.
    ///
    /// # Errors
    /// When the service fails. The caller must not take that for an invalid token.
    pub async fn introspect(
        &self,
        access_token: &[u8],
        resources: &[&Resource],
    ) -> Result<Option<SessionRecord>, CeremonyError> {
        match self.config.prefixes().access.digest(access_token) {
            Some(digest) => self.introspect_digest(digest, resources).await,
            None => Ok(None),
        }
    }

    /// The same as [`introspect`](Self::introspect), by the digest of the access token.
    ///
    /// # Errors
    /// As for [`introspect`](Self::introspect).
    pub async fn introspect_digest(
        &self,
        access: Digest<Access>,
        resources: &[&Resource],
    ) -> Result<Option<SessionRecord>, CeremonyError> {
        let Some(session) = self.session_with(access).await? else { return Ok(None) };
        if !resources.iter().any(|resource| *resource.id() == *session.resource) {
            return Ok(None);
        }
        // It may have been revoked or refreshed meanwhile.
        let record = self.own_record(&session).await?.filter(|record| record.session.access == session.access);
        let now = self.now();
        if record.is_some() && session.note_use(now) {
            self.uses.note(&session.id, Use::new(now, None));
        }
        Ok(record)
    }

    /// Revokes the session of an access or refresh token on request of its holder (RFC 7009 section 2.1). A malformed,
    /// unknown or already revoked token is not an error (section 2.2).
    ///
    /// `client` is the OAuth client that presents the token. Only a token that was issued to it is revoked. `None`, in
    /// dialects without client ids, revokes any token.
    ///
    /// # Errors
    /// [`CeremonyError::WrongClient`] when the token was issued to another client; nothing is revoked. When the service
    /// fails; the session may still be active.
    pub async fn revoke_token(&self, token: &str, client: Option<&ClientId>) -> Result<(), CeremonyError> {
        let prefixes = self.config.prefixes();
        let access = prefixes.access.digest(token.as_bytes()).map(RevokeTarget::Access);
        let target = access.or_else(|| prefixes.refresh.digest(token.as_bytes()).map(RevokeTarget::Refresh));
        let Some(target) = target else { return self.revoke_identity(token).await };
        if client.is_some() {
            let Some(record) = self.record_of(&target).await? else { return self.revoke_identity(token).await };
            if record.client.id.as_ref() != client {
                return Err(CeremonyError::WrongClient);
            }
        }
        let ended = self.revoke(&target, RevokedBy::Agent).await?;
        match target {
            RevokeTarget::Refresh(_) if ended == 0 => self.revoke_identity(token).await,
            _ => Ok(()),
        }
    }

    /// The session of a token, whether it has ended or not. A token belongs to one session for ever.
    async fn record_of(&self, token: &RevokeTarget) -> Result<Option<SessionRecord>, CeremonyError> {
        match token {
            RevokeTarget::Access(access) => match Arc::clone(&self.store).find(*access).await? {
                Some(session) => Ok(self.store.find_record(&session.id).await?),
                None => Ok(None),
            },
            RevokeTarget::Refresh(refresh) => Ok(self.store.find_refresh(refresh).await?.map(|known| known.session)),
            RevokeTarget::Session(session, _) => Ok(self.store.find_record(session).await?),
            RevokeTarget::Account(_) => Ok(None),
        }
    }

    /// Revokes an agent's own session on the agent's request. `false` if it had already ended.
    ///
    /// # Errors
    /// When the service fails; the session may still be active.
    pub async fn revoke_own(&self, session: &Session) -> Result<bool, CeremonyError> {
        let target = RevokeTarget::Session(session.id.clone(), session.account.id.clone());
        Ok(self.revoke(&target, RevokedBy::Agent).await? > 0)
    }

    /// Revokes a session of the account on its human's request. `false` if the account has no such active session. With a
    /// session of an auth.md identity, the identity and its other sessions end.
    ///
    /// # Errors
    /// When the service fails; the session may still be active.
    pub async fn revoke_session(&self, account: &AccountId, session: &SessionId) -> Result<bool, CeremonyError> {
        self.revoke_session_as(account, session, &Revoker::by(RevokedBy::Human)).await
    }

    pub(super) async fn revoke_session_as(
        &self,
        account: &AccountId,
        session: &SessionId,
        revoker: &Revoker,
    ) -> Result<bool, CeremonyError> {
        let record = self.store.find_record(session).await?;
        let Some(record) = record.filter(|record| record.session.account.id == *account) else { return Ok(false) };
        // Otherwise the agent of an identity would take another session.
        let key = AuthorizationKey::Id(record.authorization.clone());
        if self.store.find_authorization(&key).await?.is_some_and(|request| stands(&request, self.now())) {
            return Ok(self.end_identity(&record.authorization, revoker).await? > 0);
        }
        let target = RevokeTarget::Session(session.clone(), account.clone());
        Ok(self.revoke_as(&target, revoker).await? > 0)
    }

    /// Revokes these sessions of the account on its human's request, one by one. Returns how many were revoked: sessions of
    /// other accounts, and those that have ended, are passed over.
    ///
    /// # Errors
    /// When the service fails; some sessions may still be active. The same call again does no harm.
    pub async fn revoke_sessions(&self, account: &AccountId, sessions: &[SessionId]) -> Result<usize, CeremonyError> {
        let mut revoked = 0;
        for session in sessions {
            revoked += usize::from(self.revoke_session(account, session).await?);
        }
        Ok(revoked)
    }

    /// Revokes all sessions that the account gave to the [same client](crate::types::authorization::Client::is_same_as) as
    /// `session`, and takes back what it approved for that client and no agent has collected. Returns how many sessions
    /// were revoked; zero if the account has no such session.
    ///
    /// # Errors
    /// When the service fails; some sessions may still be active. The same call again does no harm.
    pub async fn revoke_client(&self, account: &AccountId, session: &SessionId) -> Result<usize, CeremonyError> {
        let found = self.store.find_record(session).await?;
        let Some(client) = found.filter(|found| found.session.account.id == *account).map(|found| found.client) else {
            return Ok(0);
        };
        let revoked =
            self.revoke_clients_as(account, |other| other.is_same_as(&client), &Revoker::by(RevokedBy::Human)).await?;
        Ok(revoked.sessions)
    }

    /// Revokes all active sessions that the account gave to these clients, and takes back what it approved for them and no
    /// agent has collected.
    pub(super) async fn revoke_clients_as(
        &self,
        account: &AccountId,
        is_meant: impl Fn(&Client) -> bool,
        revoker: &Revoker,
    ) -> Result<Revoked, CeremonyError> {
        let mut revoked = Revoked::default();
        // First what can still become sessions.
        for request in self.store.list_approved(account, self.now(), usize::MAX).await? {
            if is_meant(&request.client) {
                revoked += self.take_back_as(account, &request.id, revoker).await?;
            }
        }
        let (mut all, now) = (Vec::new(), self.now());
        let of_client = |record: &SessionRecord| {
            if is_meant(&record.client) && record.state_at(now) == SessionState::Active {
                all.push(record.session.id.clone());
            }
        };
        self.visit_sessions(account, of_client).await?;
        for session in &all {
            revoked.sessions += usize::from(self.revoke_session_as(account, session, revoker).await?);
        }
        Ok(revoked)
    }

    /// Revokes every session of the account, and its approved requests that are not redeemed yet, on its human's
    /// request. Returns how many sessions were revoked.
    ///
    /// # Errors
    /// When the service fails; sessions may still be active.
    pub async fn revoke_all(&self, account: &AccountId) -> Result<usize, CeremonyError> {
        self.revoke(&RevokeTarget::Account(account.clone()), RevokedBy::Human).await
    }

    /// Names a session of the account, ended or not, on its human's request. `None` takes the name away. `false` if the
    /// account has no such session. Agents don't see the name.
    ///
    /// # Errors
    /// When the service fails; the session may have the name all the same.
    pub async fn rename_session(
        &self,
        account: &AccountId,
        session: &SessionId,
        name: Option<&HumanText>,
    ) -> Result<bool, CeremonyError> {
        let renamed = self.store.rename_session(account, session, name).await?;
        if renamed {
            self.record(&Event::Renamed { session: session.clone(), account: account.clone() });
        }
        Ok(renamed)
    }

    pub(super) async fn revoke(&self, target: &RevokeTarget, by: RevokedBy) -> Result<usize, CeremonyError> {
        self.revoke_as(target, &Revoker::by(by)).await
    }

    pub(super) async fn revoke_as(&self, target: &RevokeTarget, revoker: &Revoker) -> Result<usize, CeremonyError> {
        let ended = self.store.revoke(target, revoker.by, self.now()).await?;
        let revoked = ended.len();
        if revoked > 0 {
            let (ceremony, target, revoker) = (self.clone(), target.clone(), revoker.clone());
            // In a task of its own: a caller who goes away now takes no event along.
            let recording = tokio::spawn(async move { ceremony.record_revoked(&target, &ended, &revoker).await });
            recording.await.ok();
        }
        Ok(revoked)
    }

    /// Records the events of sessions that were revoked just now.
    async fn record_revoked(&self, target: &RevokeTarget, ended: &[SessionId], revoker: &Revoker) {
        let by = revoker.by;
        let mut records = self.revoked_records(target, ended).await;
        let account = match target {
            RevokeTarget::Session(_, account) | RevokeTarget::Account(account) => Some(account),
            _ => None,
        };
        for session in ended {
            let record = records.remove(session);
            let known = record.as_ref();
            self.record(&Event::Revoked {
                session: session.clone(),
                account: known.map(|record| &record.session.account.id).or(account).cloned(),
                client: known.map(|record| record.client.name.clone()),
                client_id: known.and_then(|record| record.client.id.clone()),
                by,
                reason: revoker.reason.clone(),
            });
        }
    }

    /// The records of sessions that were revoked just now, for their events. A store that fails now has revoked them all
    /// the same.
    async fn revoked_records(&self, target: &RevokeTarget, ended: &[SessionId]) -> HashMap<SessionId, SessionRecord> {
        let mut records = HashMap::new();
        if let (RevokeTarget::Account(account), true) = (target, ended.len() > FOUND_ONE_BY_ONE) {
            let ended: HashSet<&SessionId> = ended.iter().collect();
            let listed = self.visit_sessions(account, |record| {
                if ended.contains(&record.session.id) {
                    records.insert(record.session.id.clone(), record.clone());
                }
            });
            // What was not found is `None` in its event.
            listed.await.ok();
            return records;
        }
        for session in ended {
            match self.store.find_record(session).await {
                Ok(record) => records.extend(record.map(|record| (session.clone(), record))),
                // The others would wait for as long.
                Err(_) => break,
            }
        }
        records
    }
}

/// Whether it is an identity that stands, or one whose end may have failed half-way.
fn stands(request: &AuthorizationRequest, now: Timestamp) -> bool {
    let is_identity = matches!(KnownFlow::of(request), Ok(KnownFlow::Identity(_)));
    is_identity && matches!(request.state_at(now), State::Approved | State::Revoked)
}
