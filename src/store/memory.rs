use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
    task::Poll,
};

use ipnet::IpNet;

mod clients;
mod identities;
mod table;

use self::{clients::Clients, identities::Identities, table::Table};
use super::{
    AuthorizationKey, AuthorizationStore, Creation, Cutoff, DISPLACED_AT_ONCE, HousekeepingStore, Notices, PendingCaps,
    RefreshTokenStore, RevokeTarget, SessionRecordStore, SessionStore, StoreError, StoreErrorKind, Subscriber,
};
use crate::types::{
    authorization::{AuthorizationRequest, Lookup, NewAuthorizationRequest, State, Transition},
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Digest, Refresh},
    session::{NewSession, RefreshTokenState, Refreshed, Revocation, RevokedBy, Rotation, Session, SessionRecord, Use},
    text::HumanText,
};

/// Stores everything in this process's memory, for tests and first steps. **A restart loses every session.**
///
/// Clones share the same memory. Ended sessions stay in the list until [housekeeping](crate::AgentAuth::housekeeping)
/// deletes them. Token checks return without waiting, and checks of different tokens do not contend.
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
    /// Every session that is not revoked, by access token. Written under the lock of `tables`, and read without it.
    access: Arc<Table>,
    clients: RwLock<Clients>,
    identities: RwLock<Identities>,
    notices: Notices,
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        let access = Arc::new(Table::default());
        let tables = Tables { access: Arc::clone(&access), ..Tables::default() };
        let (clients, identities, notices) = (RwLock::default(), RwLock::default(), Notices::new());
        Self(Arc::new(Memory { tables: RwLock::new(tables), access, clients, identities, notices }))
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        // A poisoned lock is safe to use: no method below leaves the tables half changed when it unwinds.
        self.0.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> RwLockWriteGuard<'_, Clients> {
        self.0.clients.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn identities(&self) -> RwLockWriteGuard<'_, Identities> {
        self.0.identities.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct Tables {
    authorizations: HashMap<AuthorizationRequestId, NewAuthorizationRequest>,
    lookups: HashMap<Lookup, AuthorizationRequestId>,
    /// All authorization requests by expiry, so that old ones are deleted without a scan.
    by_expiry: BTreeSet<(Timestamp, AuthorizationRequestId)>,
    /// The undecided requests, each with the networks that it counts against.
    pending: BTreeMap<(Timestamp, AuthorizationRequestId), Vec<IpNet>>,
    pending_by_network: HashMap<IpNet, u32>,
    /// Those that no human has opened.
    unopened: BTreeSet<(Timestamp, AuthorizationRequestId)>,
    /// Every session by id, revoked ones included. Their ids, authorization request ids and digests are not reused.
    sessions: HashMap<SessionId, Box<Entry>>,
    access: Arc<Table>,
    /// The access tokens of revoked sessions.
    ended: HashSet<Digest<Access>>,
    /// Refresh tokens of every generation.
    refresh: HashMap<Digest<Refresh>, RefreshToken>,
    redeemed: HashMap<AuthorizationRequestId, Vec<SessionId>>,
    /// The sessions of each account, oldest first.
    accounts: HashMap<AccountId, Vec<SessionId>>,
}

/// A session with the state of its refresh tokens.
#[derive(Debug)]
struct Entry {
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
    fn create(&mut self, new: &NewAuthorizationRequest, caps: PendingCaps) -> Creation {
        let NewAuthorizationRequest { request, lookups } = new;
        self.sweep(request.created_at);
        if self.are_taken(lookups) || self.authorizations.contains_key(&request.id) {
            return Creation::Conflict;
        }
        let networks = request.client.networks();
        let pending_of = |network: &IpNet| self.pending_by_network.get(network).copied().unwrap_or(0);
        let is_full = |network: &IpNet| caps.of_network(*network).is_some_and(|cap| pending_of(network) >= cap);
        if networks.iter().any(is_full) {
            return Creation::SourceFull;
        }
        let Some(displaced) = self.displace(request.created_at, caps) else { return Creation::Full };
        for network in &networks {
            *self.pending_by_network.entry(*network).or_default() += 1;
        }
        self.pending.insert((request.expires_at, request.id.clone()), networks);
        self.unopened.insert((request.expires_at, request.id.clone()));
        self.by_expiry.insert((request.expires_at, request.id.clone()));
        self.lookups.extend(lookups.iter().map(|lookup| (*lookup, request.id.clone())));
        self.authorizations.insert(request.id.clone(), new.clone());
        if displaced.is_empty() { Creation::Created } else { Creation::Displaced(displaced) }
    }

    /// Lets unopened requests give way if the total cap is reached, and returns their ids; `None` if there are none.
    fn displace(&mut self, now: Timestamp, caps: PendingCaps) -> Option<Vec<AuthorizationRequestId>> {
        let mut displaced = Vec::new();
        let Some(cap) = caps.total else { return Some(displaced) };
        while self.pending.len() >= cap as usize && displaced.len() < DISPLACED_AT_ONCE {
            let Some((expires_at, id)) = self.unopened.first().cloned() else { break };
            self.settle(&id, expires_at);
            if let Some(known) = self.authorizations.get_mut(&id) {
                known.request.expires_at = now;
            }
            self.by_expiry.remove(&(expires_at, id.clone()));
            self.by_expiry.insert((now, id.clone()));
            displaced.push(id);
        }
        let is_full = displaced.is_empty() && self.pending.len() >= cap as usize;
        (!is_full).then_some(displaced)
    }

    fn are_taken(&self, lookups: &[Lookup]) -> bool {
        lookups.iter().any(|lookup| self.lookups.contains_key(lookup))
    }

    /// Removes expired requests from the pending counts.
    fn sweep(&mut self, now: Timestamp) {
        while let Some(((expires_at, id), _)) = self.pending.first_key_value() {
            if !expires_at.has_passed(now) {
                break;
            }
            let (id, expires_at) = (id.clone(), *expires_at);
            self.settle(&id, expires_at);
        }
    }

    /// Removes a decided or expired authorization request from the pending counts.
    fn settle(&mut self, id: &AuthorizationRequestId, expires_at: Timestamp) {
        let key = (expires_at, id.clone());
        self.unopened.remove(&key);
        for network in self.pending.remove(&key).into_iter().flatten() {
            if let Some(count) = self.pending_by_network.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    self.pending_by_network.remove(&network);
                }
            }
        }
    }

    fn transition(
        &mut self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let added: &[Lookup] = match transition {
            Transition::Approve(approval) => &approval.lookups,
            Transition::Renew(renewal) => &renewal.lookups,
            _ => &[],
        };
        let taken = self.are_taken(added);
        let Some(NewAuthorizationRequest { request, lookups, .. }) = self.authorizations.get_mut(id) else {
            return Ok(false);
        };
        let expired_at = request.expires_at;
        if !request.allows(transition, at) {
            return Ok(false);
        }
        if taken {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        request.apply(transition.clone(), at);
        lookups.extend(added);
        self.lookups.extend(added.iter().map(|lookup| (*lookup, id.clone())));
        let (state, expires_at, is_open) = (request.state_at(at), request.expires_at, request.account.is_some());
        if state != State::Pending {
            self.settle(id, expired_at);
        } else if is_open {
            self.unopened.remove(&(expired_at, id.clone()));
        } else {
            self.unopened.insert((expired_at, id.clone()));
        }
        if expires_at != expired_at {
            self.by_expiry.remove(&(expired_at, id.clone()));
            self.by_expiry.insert((expires_at, id.clone()));
        }
        Ok(true)
    }

    fn list_approved(&self, account: &AccountId, at: Timestamp, limit: usize) -> Vec<AuthorizationRequest> {
        let of_account = |request: &&AuthorizationRequest| {
            let bound = request.account.as_ref().is_some_and(|bound| bound.id == *account);
            bound && request.state_at(at) == State::Approved
        };
        let requests = self.authorizations.values().map(|new| &new.request);
        let mut approved: Vec<AuthorizationRequest> = requests.filter(of_account).cloned().collect();
        approved.sort_by_key(|request| std::cmp::Reverse(request.created_at));
        approved.truncate(limit);
        approved
    }

    fn list_authorizations(
        &self,
        account: &AccountId,
        after: Option<&AuthorizationRequestId>,
        limit: usize,
    ) -> Vec<AuthorizationRequest> {
        let bound = self.authorizations.values().map(|new| &new.request);
        let bound = bound.filter(|request| request.account.as_ref().is_some_and(|bound| bound.id == *account));
        let mut page: Vec<&AuthorizationRequest> =
            bound.filter(|request| after.is_none_or(|after| request.id > *after)).collect();
        page.sort_by_key(|request| &request.id);
        page.into_iter().take(limit).cloned().collect()
    }

    fn redeem(&mut self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        let NewSession { session: record, refresh, redemption } = new;
        let id = &record.session.id;
        let taken = self.sessions.contains_key(id)
            || self.is_taken(&record.session.access)
            || self.refresh.contains_key(refresh);
        let Some(NewAuthorizationRequest { request, .. }) = self.authorizations.get_mut(&record.authorization) else {
            return Ok(false);
        };
        if request.state_at(at) != State::Approved {
            return Ok(false);
        }
        if taken {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        request.redeem(*redemption, at);
        self.redeemed.entry(record.authorization.clone()).or_default().push(id.clone());
        let first = RefreshToken { session: id.clone(), generation: 0, ends_at: record.refresh_expires_at };
        self.refresh.insert(*refresh, first);
        self.accounts.entry(record.session.account.id.clone()).or_default().push(id.clone());
        self.access.insert(Arc::clone(&record.session));
        let kept = Entry { record: record.clone(), generation: 0, refreshed: None };
        self.sessions.insert(id.clone(), Box::new(kept));
        Ok(true)
    }

    /// Whether `access` is, or was, the access token of a session.
    fn is_taken(&self, access: &Digest<Access>) -> bool {
        self.ended.contains(access) || self.access.get(access).is_some()
    }

    fn refresh_token(&self, refresh: &Digest<Refresh>) -> Option<RefreshTokenState> {
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
        self.access.remove(&kept.record.session.access);
        kept.record.rotate(rotation);
        self.access.insert(Arc::clone(&kept.record.session));
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
                let owned = self.sessions.get(id).filter(|kept| kept.record.session.account.id == *account);
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
        for NewAuthorizationRequest { request, .. } in self.authorizations.values_mut() {
            if request.account.as_ref().is_some_and(|bound| bound.id == *account) {
                request.apply(Transition::Revoke, at);
            }
        }
    }

    fn end(&mut self, id: &SessionId, revocation: Revocation) -> bool {
        let Some(Entry { record, .. }) = self.sessions.get_mut(id).map(Box::as_mut) else { return false };
        if !record.revoke(revocation) {
            return false;
        }
        self.access.remove(&record.session.access);
        self.ended.insert(record.session.access);
        true
    }

    fn record_use(&mut self, id: &SessionId, new: Use, now: Timestamp) {
        if let Some(kept) = self.sessions.get_mut(id) {
            kept.record.record_use(new, now);
        }
    }

    /// Deletes at most `limit` authorization requests that expired at `until` or before. Returns whether there may be
    /// more.
    fn forget_authorizations(&mut self, until: Timestamp, limit: usize) -> bool {
        for _ in 0..limit {
            let Some((expires_at, id)) = self.by_expiry.first().cloned() else { return false };
            if !expires_at.has_passed(until) {
                return false;
            }
            self.forget_authorization(&id, expires_at);
        }
        true
    }

    fn forget_authorization(&mut self, id: &AuthorizationRequestId, expires_at: Timestamp) {
        self.settle(id, expires_at);
        for lookup in self.authorizations.remove(id).into_iter().flat_map(|forgotten| forgotten.lookups) {
            self.lookups.remove(&lookup);
        }
        self.by_expiry.remove(&(expires_at, id.clone()));
    }

    /// Deletes at most `limit` authorization requests and sessions of the account. Returns whether there may be more, and
    /// the deleted sessions.
    fn forget_account(&mut self, account: &AccountId, limit: usize) -> (bool, Vec<SessionId>) {
        let requests = self.list_authorizations(account, None, limit);
        for request in &requests {
            self.forget_authorization(&request.id, request.expires_at);
        }
        let sessions = self.accounts.get(account).map(Vec::as_slice).unwrap_or_default();
        let sessions: Vec<SessionId> = sessions.iter().take(limit).cloned().collect();
        sessions.iter().for_each(|id| self.forget_session(id));
        let kept = &self.sessions;
        self.refresh.retain(|_, token| kept.contains_key(&token.session));
        (requests.len() >= limit || sessions.len() >= limit, sessions)
    }

    fn forget_session(&mut self, id: &SessionId) {
        let Some(kept) = self.sessions.remove(id) else { return };
        let record = &kept.record;
        self.access.remove(&record.session.access);
        self.ended.remove(&record.session.access);
        if let Some(ids) = self.redeemed.get_mut(&record.authorization) {
            ids.retain(|known| known != id);
            if ids.is_empty() {
                self.redeemed.remove(&record.authorization);
            }
        }
        if let Some(ids) = self.accounts.get_mut(&record.session.account.id) {
            ids.retain(|known| known != id);
            if ids.is_empty() {
                self.accounts.remove(&record.session.account.id);
            }
        }
    }

    /// Deletes at most `limit` sessions that ended at `until` or before, and used-up refresh tokens past their expiry.
    /// Returns whether there may be more sessions.
    fn forget_sessions(&mut self, until: Timestamp, limit: usize) -> bool {
        // A ceremony that deletes requests only says so: nothing has ended before all time.
        if until == Timestamp::from_millis(i64::MIN) {
            return false;
        }
        let over = self.sessions.values().filter(|kept| kept.record.ends_at().has_passed(until));
        let over: Vec<SessionId> = over.take(limit).map(|kept| kept.record.session.id.clone()).collect();
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

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.0.notices.subscribe(subscriber);
        true
    }
}

impl AuthorizationStore for MemoryStore {
    async fn create_authorization(
        &self,
        new: &NewAuthorizationRequest,
        caps: PendingCaps,
    ) -> Result<Creation, StoreError> {
        Ok(self.write().create(new, caps))
    }

    async fn find_authorization(&self, key: &AuthorizationKey) -> Result<Option<AuthorizationRequest>, StoreError> {
        let tables = self.read();
        let id = match key {
            AuthorizationKey::Id(id) => Some(id),
            AuthorizationKey::Lookup(lookup) => tables.lookups.get(lookup),
        };
        Ok(id.and_then(|id| tables.authorizations.get(id)).map(|known| known.request.clone()))
    }

    async fn list_approved(
        &self,
        account: &AccountId,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<AuthorizationRequest>, StoreError> {
        Ok(self.read().list_approved(account, at, limit))
    }

    async fn list_authorizations(
        &self,
        account: &AccountId,
        after: Option<&AuthorizationRequestId>,
        limit: usize,
    ) -> Result<Vec<AuthorizationRequest>, StoreError> {
        Ok(self.read().list_authorizations(account, after, limit))
    }

    async fn transition(
        &self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write().transition(id, transition, at)
    }

    async fn redeem(&self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        self.write().redeem(new, at)
    }
}

impl SessionRecordStore for MemoryStore {
    async fn find_record(&self, session: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.read().record(session))
    }

    async fn sessions_of(&self, authorization: &AuthorizationRequestId) -> Result<Vec<SessionRecord>, StoreError> {
        let tables = self.read();
        let ids = tables.redeemed.get(authorization).map(Vec::as_slice).unwrap_or_default();
        Ok(ids.iter().rev().filter_map(|id| tables.record(id)).collect())
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
        self.0.notices.announce_revocation(target, async { Ok(self.write().revoke(target, by, at)) }).await
    }

    async fn rename_session(
        &self,
        account: &AccountId,
        session: &SessionId,
        name: Option<&HumanText>,
    ) -> Result<bool, StoreError> {
        let mut tables = self.write();
        let found = tables.sessions.get_mut(session).filter(|kept| kept.record.session.account.id == *account);
        Ok(found.map(|kept| kept.record.name = name.cloned()).is_some())
    }

    async fn record_uses(&self, uses: &[(SessionId, Use)], at: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.write();
        for (id, new) in uses {
            tables.record_use(id, *new, at);
        }
        Ok(())
    }
}

impl RefreshTokenStore for MemoryStore {
    async fn find_refresh(&self, refresh: &Digest<Refresh>) -> Result<Option<RefreshTokenState>, StoreError> {
        Ok(self.read().refresh_token(refresh))
    }

    async fn rotate(&self, rotation: &Rotation, at: Timestamp) -> Result<Option<SessionId>, StoreError> {
        let rotating = async { self.write().rotate(rotation, at) };
        self.0.notices.announce(rotating, |session| session.iter().cloned().collect()).await
    }
}

impl HousekeepingStore for MemoryStore {
    async fn forget(&self, cutoff: &Cutoff, limit: usize) -> Result<bool, StoreError> {
        let mut tables = self.write();
        let more = tables.forget_authorizations(cutoff.authorizations, limit);
        Ok(tables.forget_sessions(cutoff.sessions, limit) || more)
    }

    async fn forget_account(&self, account: &AccountId, limit: usize) -> Result<bool, StoreError> {
        let forgetting = async { Ok(self.write().forget_account(account, limit)) };
        self.0.notices.announce(forgetting, |(_, ended)| ended.clone()).await.map(|(more, _)| more)
    }
}
