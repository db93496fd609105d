use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::Poll,
};

use ipnet::IpNet;

mod table;

use self::table::Table;
use super::{
    AuthorizationKey, CeremonyStore, Creation, Cutoff, PendingCaps, REMEMBERED, RevokeTarget, SessionStore, StoreError,
    StoreErrorKind,
};
use crate::types::{
    authorization::{AuthorizationRequest, State, Transition},
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Claim, Digest, Refresh},
    session::{NewSession, RefreshTokenState, Refreshed, Revocation, RevokedBy, Rotation, Session, SessionRecord, Use},
};

/// Keeps everything in this process's memory: for tests and first steps. **A restart loses every session.**
///
/// Clones share the same memory. Ended sessions stay in it, for the list, until
/// [housekeeping](crate::AgentAuth::housekeeping) forgets them. It answers token checks without waiting, and those of
/// different tokens without standing in each other's way.
///
/// ```
/// use tower_agent_auth::{types::secret::Digest, store::{MemoryStore, SessionStore}};
/// use std::task::Poll;
///
/// let store = MemoryStore::new();
/// assert_eq!(store.try_find_session(&Digest::from_bytes([0; 32])), Poll::Ready(None));
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    tables: RwLock<Tables>,
    /// Every session that is not revoked by its access token. It is changed under the lock of `tables`, and read without it.
    access: Arc<Table>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let access = Arc::new(Table::default());
        let tables = Tables { access: Arc::clone(&access), ..Tables::default() };
        Self(Arc::new(Memory { tables: RwLock::new(tables), access }))
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        // A poisoned lock is as good as any: no method below leaves the tables half changed when it unwinds.
        self.0.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct Tables {
    authorizations: HashMap<AuthorizationRequestId, AuthorizationRequest>,
    claims: HashMap<Digest<Claim>, AuthorizationRequestId>,
    /// All authorization requests in the order in which they expire, so that old ones leave without a scan.
    by_expiry: BTreeSet<(Timestamp, AuthorizationRequestId)>,
    /// The undecided ones, and whom each counts against.
    pending: BTreeMap<(Timestamp, AuthorizationRequestId), Option<IpNet>>,
    pending_by_source: HashMap<IpNet, u32>,
    /// Every session, revoked ones too, by its id. No id, authorization request or digest of a session that stands here is used twice.
    sessions: HashMap<SessionId, Box<Kept>>,
    access: Arc<Table>,
    /// The access tokens of those that were revoked.
    ended: HashSet<Digest<Access>>,
    /// Refresh tokens of every generation.
    refresh: HashMap<Digest<Refresh>, RefreshToken>,
    redeemed: HashMap<AuthorizationRequestId, SessionId>,
    /// The sessions of each account, oldest first.
    accounts: HashMap<AccountId, Vec<SessionId>>,
}

/// A session with what is kept of its refresh tokens.
#[derive(Debug)]
struct Kept {
    record: SessionRecord,
    generation: u64,
    refreshed: Option<Refreshed>,
}

/// A refresh token, current or used up.
#[derive(Clone, Debug)]
struct RefreshToken {
    session: SessionId,
    generation: u64,
    ends_at: Timestamp,
}

impl Tables {
    fn create(&mut self, authorization: &AuthorizationRequest, caps: PendingCaps) -> Creation {
        self.sweep(authorization.created_at);
        let claim = authorization.mode.claim();
        let claimed = claim.is_some_and(|claim| self.claims.contains_key(claim));
        if claimed || self.authorizations.contains_key(&authorization.id) {
            return Creation::Conflict;
        }
        let source = authorization.client.source();
        let from_source = source.and_then(|source| self.pending_by_source.get(&source)).copied();
        if source.is_some() && caps.per_source.is_some_and(|cap| from_source.unwrap_or(0) >= cap) {
            return Creation::SourceFull;
        }
        if caps.total.is_some_and(|cap| self.pending.len() >= cap as usize) {
            return Creation::Full;
        }
        if let Some(source) = source {
            *self.pending_by_source.entry(source).or_default() += 1;
        }
        self.pending.insert((authorization.expires_at, authorization.id.clone()), source);
        self.by_expiry.insert((authorization.expires_at, authorization.id.clone()));
        if let Some(claim) = claim {
            self.claims.insert(*claim, authorization.id.clone());
        }
        self.authorizations.insert(authorization.id.clone(), authorization.clone());
        Creation::Created
    }

    /// Takes what expired undecided out of the count, and forgets old authorization requests.
    fn sweep(&mut self, now: Timestamp) {
        while let Some(((expires_at, id), _)) = self.pending.first_key_value() {
            if !expires_at.has_passed(now) {
                break;
            }
            let (id, expires_at) = (id.clone(), *expires_at);
            self.settle(&id, expires_at);
        }
        self.forget_authorizations(now.before(REMEMBERED), usize::MAX);
    }

    /// Takes an authorization request that is decided or over out of the count of pending ones.
    fn settle(&mut self, id: &AuthorizationRequestId, expires_at: Timestamp) {
        let Some(Some(source)) = self.pending.remove(&(expires_at, id.clone())) else { return };
        if let Some(count) = self.pending_by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.pending_by_source.remove(&source);
            }
        }
    }

    fn transition(&mut self, id: &AuthorizationRequestId, transition: &Transition, at: Timestamp) -> bool {
        let Some(authorization) = self.authorizations.get_mut(id) else { return false };
        let expired_at = authorization.expires_at;
        if !authorization.apply(transition.clone(), at) {
            return false;
        }
        let (state, expires_at) = (authorization.state_at(at), authorization.expires_at);
        if state != State::Pending {
            self.settle(id, expired_at);
        }
        if expires_at != expired_at {
            self.by_expiry.remove(&(expired_at, id.clone()));
            self.by_expiry.insert((expires_at, id.clone()));
        }
        true
    }

    fn redeem(&mut self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        let NewSession { session: record, refresh } = new;
        let taken = self.sessions.contains_key(&record.id)
            || self.is_taken(&record.access)
            || self.refresh.contains_key(refresh)
            || self.redeemed.contains_key(&record.authorization);
        let Some(authorization) = self.authorizations.get_mut(&record.authorization) else {
            return Ok(false);
        };
        if authorization.state_at(at) != State::Approved {
            return Ok(false);
        }
        if taken {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        authorization.redeem(at);
        self.redeemed.insert(record.authorization.clone(), record.id.clone());
        let first = RefreshToken { session: record.id.clone(), generation: 0, ends_at: record.refresh_expires_at };
        self.refresh.insert(*refresh, first);
        self.accounts.entry(record.account.id.clone()).or_default().push(record.id.clone());
        self.access.insert(Arc::clone(&record.session));
        let kept = Kept { record: record.clone(), generation: 0, refreshed: None };
        self.sessions.insert(record.id.clone(), Box::new(kept));
        Ok(true)
    }

    /// Whether it is, or was, the access token of a session.
    fn is_taken(&self, access: &Digest<Access>) -> bool {
        self.ended.contains(access) || self.access.get(access).is_some()
    }

    fn lineage(&self, refresh: &Digest<Refresh>) -> Option<RefreshTokenState> {
        let token = self.refresh.get(refresh)?;
        let kept = self.sessions.get(&token.session)?;
        Some(RefreshTokenState {
            session: kept.record.clone(),
            age: kept.generation - token.generation,
            last: kept.refreshed,
        })
    }

    fn rotate(&mut self, rotation: &Rotation, at: Timestamp) -> Result<Option<SessionId>, StoreError> {
        let taken = self.is_taken(&rotation.access) || self.refresh.contains_key(&rotation.refresh);
        let Some(RefreshToken { session: id, generation, .. }) = self.refresh.get(&rotation.from).cloned() else {
            return Ok(None);
        };
        let Some(kept) = self.sessions.get_mut(&id) else { return Ok(None) };
        let over = kept.record.revoked.is_some() || kept.record.refresh_expires_at.has_passed(at);
        if over || generation != kept.generation {
            return Ok(None);
        }
        if taken {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        self.access.remove(&kept.record.access);
        let session = Arc::make_mut(&mut kept.record.session);
        session.access = rotation.access;
        session.scopes = rotation.scopes.clone();
        session.expires_at = rotation.expires_at;
        self.access.insert(Arc::clone(&kept.record.session));
        kept.record.refresh_expires_at = rotation.refresh_expires_at;
        kept.generation += 1;
        kept.refreshed = Some(Refreshed { at, salt: rotation.salt });
        let issued =
            RefreshToken { session: id.clone(), generation: kept.generation, ends_at: rotation.refresh_expires_at };
        self.refresh.insert(rotation.refresh, issued);
        Ok(Some(id))
    }

    fn record(&self, id: &SessionId) -> Option<SessionRecord> {
        self.sessions.get(id).map(|kept| kept.record.clone())
    }

    fn list(&self, account: &AccountId, before: Option<&SessionId>, limit: usize) -> Vec<SessionRecord> {
        let ids = self.accounts.get(account).map(Vec::as_slice).unwrap_or_default();
        let end = before.and_then(|id| ids.iter().position(|known| known == id)).unwrap_or(ids.len());
        let page = ids[..end].iter().rev().take(limit);
        page.filter_map(|id| self.record(id)).collect()
    }

    fn revoke(&mut self, target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Vec<SessionId> {
        let targets: Vec<SessionId> = match target {
            RevokeTarget::Access(digest) => {
                self.access.get(digest).map(|session| session.id.clone()).into_iter().collect()
            }
            RevokeTarget::Refresh(digest) => {
                self.refresh.get(digest).map(|token| token.session.clone()).into_iter().collect()
            }
            RevokeTarget::Session(id, account) => {
                let owned = self.sessions.get(id).filter(|kept| kept.record.account.id == *account);
                owned.map(|_| id.clone()).into_iter().collect()
            }
            RevokeTarget::Account(account) => {
                self.revoke_approved(account, at);
                self.accounts.get(account).cloned().unwrap_or_default()
            }
        };
        targets.into_iter().filter(|id| self.end(id, Revocation { at, by })).collect()
    }

    fn revoke_approved(&mut self, account: &AccountId, at: Timestamp) {
        for authorization in self.authorizations.values_mut() {
            if authorization.account.as_ref().is_some_and(|bound| bound.id == *account) {
                authorization.apply(Transition::Revoke, at);
            }
        }
    }

    fn end(&mut self, id: &SessionId, revocation: Revocation) -> bool {
        let Some(Kept { record, .. }) = self.sessions.get_mut(id).map(Box::as_mut) else { return false };
        if record.revoked.is_some() {
            return false;
        }
        record.revoked = Some(revocation);
        self.access.remove(&record.access);
        self.ended.insert(record.access);
        true
    }

    fn record_use(&mut self, id: &SessionId, new: Use) {
        let Some(Kept { record, .. }) = self.sessions.get_mut(id).map(Box::as_mut) else { return };
        if record.last_use.is_some_and(|old| old.at >= new.at) {
            return;
        }
        record.last_use = Some(new);
        record.noted.advance(new.at);
    }

    /// Takes authorization requests away that expired at `until` or before, at most `limit`; whether there may be more.
    fn forget_authorizations(&mut self, until: Timestamp, limit: usize) -> bool {
        for _ in 0..limit {
            let Some((expires_at, id)) = self.by_expiry.first().cloned() else { return false };
            if !expires_at.has_passed(until) {
                return false;
            }
            self.settle(&id, expires_at);
            if let Some(claim) = self.authorizations.remove(&id).as_ref().and_then(|forgotten| forgotten.mode.claim()) {
                self.claims.remove(claim);
            }
            self.by_expiry.remove(&(expires_at, id));
        }
        true
    }

    fn forget_session(&mut self, id: &SessionId) {
        let Some(kept) = self.sessions.remove(id) else { return };
        let record = &kept.record;
        self.access.remove(&record.access);
        self.ended.remove(&record.access);
        self.redeemed.remove(&record.authorization);
        if let Some(ids) = self.accounts.get_mut(&record.account.id) {
            ids.retain(|known| known != id);
            if ids.is_empty() {
                self.accounts.remove(&record.account.id);
            }
        }
    }

    /// Takes sessions away that ended at `until` or before, at most `limit`, and refresh tokens of which nothing is left
    /// to tell; whether there may be more.
    fn forget_sessions(&mut self, until: Timestamp, limit: usize) -> bool {
        let over = self.sessions.values().filter(|kept| kept.record.ends_at().has_passed(until));
        let over: Vec<SessionId> = over.take(limit).map(|kept| kept.record.id.clone()).collect();
        over.iter().for_each(|id| self.forget_session(id));
        let sessions = &self.sessions;
        self.refresh.retain(|_, token| {
            let session = sessions.get(&token.session);
            session.is_some_and(|kept| kept.generation == token.generation || !token.ends_at.has_passed(until))
        });
        over.len() >= limit
    }
}

impl SessionStore for MemoryStore {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        Ok(self.0.access.get(access))
    }

    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        Poll::Ready(self.0.access.get(access))
    }
}

impl CeremonyStore for MemoryStore {
    async fn create_authorization(
        &self,
        authorization: &AuthorizationRequest,
        caps: PendingCaps,
    ) -> Result<Creation, StoreError> {
        Ok(self.write().create(authorization, caps))
    }

    async fn find_authorization(&self, key: &AuthorizationKey) -> Result<Option<AuthorizationRequest>, StoreError> {
        let tables = self.read();
        let id = match key {
            AuthorizationKey::Id(id) => Some(id),
            AuthorizationKey::Claim(claim) => tables.claims.get(claim),
        };
        Ok(id.and_then(|id| tables.authorizations.get(id)).cloned())
    }

    async fn transition(
        &self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.write().transition(id, transition, at))
    }

    async fn redeem(&self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        self.write().redeem(new, at)
    }

    async fn session_of(&self, authorization: &AuthorizationRequestId) -> Result<Option<SessionRecord>, StoreError> {
        let tables = self.read();
        Ok(tables.redeemed.get(authorization).and_then(|id| tables.record(id)))
    }

    async fn find_record(&self, session: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.read().record(session))
    }

    async fn find_refresh(&self, refresh: &Digest<Refresh>) -> Result<Option<RefreshTokenState>, StoreError> {
        Ok(self.read().lineage(refresh))
    }

    async fn rotate(&self, rotation: &Rotation, at: Timestamp) -> Result<Option<SessionId>, StoreError> {
        self.write().rotate(rotation, at)
    }

    async fn list_sessions(
        &self,
        account: &AccountId,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        Ok(self.read().list(account, before, limit))
    }

    async fn revoke(&self, target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        Ok(self.write().revoke(target, by, at))
    }

    async fn record_uses(&self, uses: &[(SessionId, Use)]) -> Result<(), StoreError> {
        let mut tables = self.write();
        for (id, new) in uses {
            tables.record_use(id, *new);
        }
        Ok(())
    }

    async fn forget(&self, cutoff: &Cutoff, limit: usize) -> Result<bool, StoreError> {
        let mut tables = self.write();
        let more_authorizations = tables.forget_authorizations(cutoff.authorizations, limit);
        Ok(tables.forget_sessions(cutoff.sessions, limit) || more_authorizations)
    }
}
