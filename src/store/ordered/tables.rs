//! Requests, sessions and their indexes as ordered keys.
//!
//! All indexes follow from a record: putting a record removes the keys of the old one, and adds those of the new one.

use std::ops::RangeInclusive;

use super::{Snapshot, Transaction};
use crate::{
    store::{
        Creation, DISPLACED_AT_ONCE, PendingCaps, RevokeTarget, StoreError, StoreErrorKind, StoredSession, codec,
        columns::garbage,
    },
    types::{
        authorization::{AuthorizationRequest, Decision, NewAuthorizationRequest, Transition},
        clock::Timestamp,
        id::SessionId,
        session::{NewSession, Revocation, SessionRecord},
    },
};

/// What a key is for: its first byte. Stored, so a letter never changes its meaning.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A request, by id.
    Request = b'r' as isize,
    /// A session, by id, after its place in the order of creation.
    Session = b's' as isize,
    /// The owner of a lookup, an access token or a refresh token, by digest. A key of these can exist once.
    Lookup = b'l' as isize,
    Access = b'a' as isize,
    Refresh = b'f' as isize,
    /// Requests by expiry: all, the undecided, and those of them that no human has opened.
    Expiry = b'e' as isize,
    Pending = b'p' as isize,
    Unopened = b'u' as isize,
    /// The undecided requests of a network, by expiry.
    Network = b'n' as isize,
    /// The requests that are bound to an account.
    Bound = b'b' as isize,
    /// Sessions by place: all, those of an account, and those of a request.
    Place = b'o' as isize,
    Account = b'c' as isize,
    Redeemed = b'd' as isize,
    /// Sessions by their end, and those with used refresh tokens by the end of the first.
    End = b'z' as isize,
    Used = b'x' as isize,
    /// How many keys of [`Kind::Pending`] there are.
    Count = b'#' as isize,
}

type Change<'t> = &'t mut dyn Transaction;

/// An entry of a list: what it lists, the owner of the list, and the place in it.
struct Place {
    kind: Kind,
    owner: String,
    at: i64,
}

impl Place {
    fn new(kind: Kind, owner: impl Into<String>, at: i64) -> Self {
        Self { kind, owner: owner.into(), at }
    }

    /// The key of an id at this place. Owners have no NUL, and places are in order as big-endian unsigned numbers.
    fn key(&self, id: &str) -> Vec<u8> {
        let place = (self.at as u64 ^ (1 << 63)).to_be_bytes();
        [&[self.kind as u8], self.owner.as_bytes(), &[0], &place, id.as_bytes()].concat()
    }
}

fn key(kind: Kind, rest: &[u8]) -> Vec<u8> {
    [&[kind as u8], rest].concat()
}

fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|error| StoreError::because(StoreErrorKind::Corrupt, error))
}

pub(super) fn request(entries: &dyn Snapshot, id: &str) -> Result<Option<NewAuthorizationRequest>, StoreError> {
    let found = entries.get(&key(Kind::Request, id.as_bytes()))?;
    found.map(|found| codec::decode_authorization(&text(found)?)).transpose()
}

/// A session and its place.
pub(super) fn session(entries: &dyn Snapshot, id: &str) -> Result<Option<(i64, StoredSession)>, StoreError> {
    let Some(found) = entries.get(&key(Kind::Session, id.as_bytes()))? else { return Ok(None) };
    let Some((place, record)) = found.split_first_chunk::<8>() else { return Err(garbage("place")) };
    Ok(Some((i64::from_be_bytes(*place), codec::decode_session(&text(record.to_vec())?)?)))
}

/// The id of the owner of a digest.
pub(super) fn owner(entries: &dyn Snapshot, kind: Kind, digest: &[u8; 32]) -> Result<Option<String>, StoreError> {
    entries.get(&key(kind, digest))?.map(text).transpose()
}

/// The ids of a list whose places are in the range: at most `limit`, from its beginning or its end.
pub(super) fn list(
    entries: &dyn Snapshot,
    kind: Kind,
    owner: &str,
    places: RangeInclusive<i64>,
    newest_first: bool,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let (first, last) = (Place::new(kind, owner, *places.start()), Place::new(kind, owner, *places.end()));
    let prefix = first.key("").len();
    let keys = entries.keys(&first.key(""), &last.key("\u{10FFFF}"), newest_first, limit)?;
    keys.into_iter().map(|key| text(key.get(prefix..).unwrap_or_default().to_vec())).collect()
}

pub(super) fn records(entries: &dyn Snapshot, ids: Vec<String>) -> Result<Vec<SessionRecord>, StoreError> {
    let records = ids.into_iter().map(|id| Ok(session(entries, &id)?.map(|(_, stored)| stored.session)));
    records.filter_map(Result::transpose).collect()
}

pub(super) fn requests(entries: &dyn Snapshot, ids: Vec<String>) -> Result<Vec<AuthorizationRequest>, StoreError> {
    let requests = ids.into_iter().map(|id| Ok(request(entries, &id)?.map(|known| known.request)));
    requests.filter_map(Result::transpose).collect()
}

/// Adds a digest. Fails with a conflict if another record has it.
fn claim(entries: Change<'_>, kind: Kind, digest: &[u8; 32], id: &str) -> Result<(), StoreError> {
    let key = key(kind, digest);
    if entries.get(&key)?.is_some() {
        return Err(StoreError::new(StoreErrorKind::Conflict));
    }
    entries.put(&key, id.as_bytes())
}

/// Replaces a request, with all its keys. Fails with a conflict if another one has one of its lookups.
fn put_request(
    entries: Change<'_>,
    old: Option<&NewAuthorizationRequest>,
    new: Option<&NewAuthorizationRequest>,
) -> Result<(), StoreError> {
    if let Some(NewAuthorizationRequest { request, lookups }) = old {
        let id = request.id.as_str();
        for lookup in lookups {
            entries.remove(&key(Kind::Lookup, lookup.as_bytes()))?;
        }
        for place in places_of(request) {
            entries.remove(&place.key(id))?;
        }
        settle(entries, request.expires_at.as_millis(), id)?;
        entries.remove(&key(Kind::Request, id.as_bytes()))?;
    }
    if let Some(known @ NewAuthorizationRequest { request, lookups }) = new {
        let id = request.id.as_str();
        for lookup in lookups {
            claim(entries, Kind::Lookup, lookup.as_bytes(), id)?;
        }
        for place in places_of(request) {
            entries.put(&place.key(id), &[])?;
        }
        if request.decision == Decision::Undecided {
            entries.put(&Place::new(Kind::Pending, "", request.expires_at.as_millis()).key(id), &[])?;
            count_pending(entries, 1)?;
        }
        entries.put(&key(Kind::Request, id.as_bytes()), codec::encode_authorization(known).as_bytes())?;
    }
    Ok(())
}

/// The places of a request in the lists that its record alone determines.
fn places_of(request: &AuthorizationRequest) -> Vec<Place> {
    let expires_at = request.expires_at.as_millis();
    let mut places = vec![Place::new(Kind::Expiry, "", expires_at)];
    places.extend(request.account.iter().map(|account| Place::new(Kind::Bound, account.id.as_str(), 0)));
    if request.decision == Decision::Undecided {
        let networks = request.client.networks().into_iter();
        places.extend(networks.map(|network| Place::new(Kind::Network, network.to_string(), expires_at)));
        places.extend(request.account.is_none().then(|| Place::new(Kind::Unopened, "", expires_at)));
    }
    places
}

/// Removes a decided or expired request from those that count as pending.
fn settle(entries: Change<'_>, expires_at: i64, id: &str) -> Result<(), StoreError> {
    let pending = Place::new(Kind::Pending, "", expires_at).key(id);
    if entries.get(&pending)?.is_some() {
        entries.remove(&pending)?;
        count_pending(entries, -1)?;
    }
    Ok(())
}

fn pending(entries: &dyn Snapshot) -> Result<i64, StoreError> {
    let count = entries.get(&key(Kind::Count, b""))?;
    count.map_or(Ok(0), |count| count.try_into().map(i64::from_be_bytes).map_err(|_| garbage("count")))
}

fn count_pending(entries: Change<'_>, more: i64) -> Result<(), StoreError> {
    let count = pending(entries)? + more;
    entries.put(&key(Kind::Count, b""), &count.to_be_bytes())
}

/// Replaces a session at its place, with all its keys. Fails with a conflict if another one has one of its digests.
fn put_session(
    entries: Change<'_>,
    place: i64,
    old: Option<&StoredSession>,
    new: Option<&StoredSession>,
) -> Result<(), StoreError> {
    if let Some(stored) = old {
        let id = stored.session.session.id.as_str();
        entries.remove(&key(Kind::Access, stored.session.session.access.as_bytes()))?;
        for token in &stored.refresh_tokens {
            entries.remove(&key(Kind::Refresh, token.digest.as_bytes()))?;
        }
        for place in places_of_session(place, stored) {
            entries.remove(&place.key(id))?;
        }
        entries.remove(&key(Kind::Session, id.as_bytes()))?;
    }
    if let Some(stored) = new {
        let id = stored.session.session.id.as_str();
        claim(entries, Kind::Access, stored.session.session.access.as_bytes(), id)?;
        for token in &stored.refresh_tokens {
            claim(entries, Kind::Refresh, token.digest.as_bytes(), id)?;
        }
        for place in places_of_session(place, stored) {
            entries.put(&place.key(id), &[])?;
        }
        let record = [&place.to_be_bytes()[..], codec::encode_session(stored).as_bytes()].concat();
        entries.put(&key(Kind::Session, id.as_bytes()), &record)?;
    }
    Ok(())
}

fn places_of_session(place: i64, stored: &StoredSession) -> Vec<Place> {
    let record = &stored.session;
    let used = stored.refresh_tokens.split_last().map_or(&[][..], |(_, used)| used);
    let mut places = vec![
        Place::new(Kind::Place, "", place),
        Place::new(Kind::Account, record.session.account.id.as_str(), place),
        Place::new(Kind::Redeemed, record.authorization.as_str(), place),
        Place::new(Kind::End, "", record.ends_at().as_millis()),
    ];
    let first = used.iter().map(|token| token.ends_at.as_millis()).min();
    places.extend(first.map(|ends_at| Place::new(Kind::Used, "", ends_at)));
    places
}

pub(super) fn create(
    entries: Change<'_>,
    new: &NewAuthorizationRequest,
    caps: PendingCaps,
) -> Result<Creation, StoreError> {
    let (id, now) = (new.request.id.as_str(), new.request.created_at);
    let is_taken = |lookup: &[u8; 32]| Ok(owner(entries, Kind::Lookup, lookup)?.is_some());
    let taken: Result<Vec<bool>, StoreError> = new.lookups.iter().map(|lookup| is_taken(lookup.as_bytes())).collect();
    if request(entries, id)?.is_some() || taken?.contains(&true) {
        return Ok(Creation::Conflict);
    }
    let still = now.as_millis().saturating_add(1)..=i64::MAX;
    for network in new.request.client.networks() {
        let Some(cap) = caps.of_network(network) else { continue };
        // The cost is bounded by the cap, not by how many are pending.
        let pending = list(entries, Kind::Network, &network.to_string(), still.clone(), false, cap as usize)?;
        if pending.len() >= cap as usize {
            return Ok(Creation::SourceFull);
        }
    }
    // What has expired no longer counts. Each is removed once.
    for (id, expires_at) in expired(entries, now)? {
        settle(entries, expires_at, &id)?;
    }
    let Some(displaced) = displace(entries, now, caps)? else { return Ok(Creation::Full) };
    put_request(entries, None, Some(new))?;
    Ok(if displaced.is_empty() { Creation::Created } else { Creation::Displaced(displaced) })
}

/// The requests that count as pending though they have expired, with their expiry.
fn expired(entries: &dyn Snapshot, now: Timestamp) -> Result<Vec<(String, i64)>, StoreError> {
    let ids = list(entries, Kind::Pending, "", i64::MIN..=now.as_millis(), false, usize::MAX)?;
    let expiry = |id: String| Ok(request(entries, &id)?.map(|known| (id, known.request.expires_at.as_millis())));
    ids.into_iter().map(expiry).filter_map(Result::transpose).collect()
}

/// Lets unopened requests give way if the total cap is reached, and returns their ids; `None` if there are none.
fn displace(
    entries: Change<'_>,
    now: Timestamp,
    caps: PendingCaps,
) -> Result<Option<Vec<crate::types::id::AuthorizationRequestId>>, StoreError> {
    let mut displaced = Vec::new();
    let Some(cap) = caps.total else { return Ok(Some(displaced)) };
    let later = now.as_millis().saturating_add(1)..=i64::MAX;
    while pending(entries)? >= i64::from(cap) && displaced.len() < DISPLACED_AT_ONCE {
        let oldest = list(entries, Kind::Unopened, "", later.clone(), false, 1)?;
        let Some(old) = oldest.first().map(|id| request(entries, id)).transpose()?.flatten() else { break };
        let mut gone = old.clone();
        gone.request.expires_at = now;
        put_request(entries, Some(&old), Some(&gone))?;
        settle(entries, now.as_millis(), gone.request.id.as_str())?;
        displaced.push(gone.request.id);
    }
    let is_full = displaced.is_empty() && pending(entries)? >= i64::from(cap);
    Ok((!is_full).then_some(displaced))
}

pub(super) fn transition(
    entries: Change<'_>,
    id: &str,
    transition: Transition,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let Some(old) = request(entries, id)? else { return Ok(false) };
    let mut new = old.clone();
    match &transition {
        Transition::Approve(approval) => new.lookups.extend(&approval.lookups),
        Transition::Renew(renewal) => new.lookups.extend(&renewal.lookups),
        _ => {}
    }
    let is_legal = new.request.apply(transition, at);
    if is_legal {
        put_request(entries, Some(&old), Some(&new))?;
    }
    Ok(is_legal)
}

pub(super) fn redeem(entries: Change<'_>, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
    let Some(old) = request(entries, new.session.authorization.as_str())? else { return Ok(false) };
    let mut redeemed = old.clone();
    if !redeemed.request.redeem(new.redemption, at) {
        return Ok(false);
    }
    if session(entries, new.session.session.id.as_str())?.is_some() {
        return Err(StoreError::new(StoreErrorKind::Conflict));
    }
    put_request(entries, Some(&old), Some(&redeemed))?;
    let last = list(entries, Kind::Place, "", 0..=i64::MAX, true, 1)?;
    let last = last.first().map(|id| session(entries, id)).transpose()?.flatten();
    let place = last.map_or(0, |(place, _)| place + 1);
    put_session(entries, place, None, Some(&StoredSession::created(new)))?;
    Ok(true)
}

/// Changes a session, if there is one and `change` says that it changed. Returns its id then.
pub(super) fn change_session(
    entries: Change<'_>,
    id: &str,
    change: impl FnOnce(&mut StoredSession) -> bool,
) -> Result<Option<SessionId>, StoreError> {
    let Some((place, old)) = session(entries, id)? else { return Ok(None) };
    let mut new = old.clone();
    if !change(&mut new) {
        return Ok(None);
    }
    put_session(entries, place, Some(&old), Some(&new))?;
    Ok(Some(old.session.session.id.clone()))
}

pub(super) fn revoke(
    entries: Change<'_>,
    target: &RevokeTarget,
    revocation: Revocation,
) -> Result<Vec<SessionId>, StoreError> {
    let ids: Vec<String> = match target {
        RevokeTarget::Access(access) => owner(entries, Kind::Access, access.as_bytes())?.into_iter().collect(),
        RevokeTarget::Refresh(refresh) => owner(entries, Kind::Refresh, refresh.as_bytes())?.into_iter().collect(),
        RevokeTarget::Session(id, account) => {
            let found = session(entries, id.as_str())?.map(|(_, stored)| stored.session.session.account.id.clone());
            found.filter(|owner| owner == account).map(|_| id.to_string()).into_iter().collect()
        }
        RevokeTarget::Account(account) => {
            for id in list(entries, Kind::Bound, account.as_str(), 0..=0, false, usize::MAX)? {
                transition(entries, &id, Transition::Revoke, revocation.at)?;
            }
            list(entries, Kind::Account, account.as_str(), 0..=i64::MAX, false, usize::MAX)?
        }
    };
    let revoked = ids.iter().map(|id| change_session(entries, id, |stored| stored.session.revoke(revocation)));
    revoked.filter_map(Result::transpose).collect()
}

pub(super) fn forget_requests(entries: Change<'_>, ids: &[String]) -> Result<(), StoreError> {
    ids.iter().try_for_each(|id| {
        let old = request(entries, id)?;
        put_request(entries, old.as_ref(), None)
    })
}

pub(super) fn forget_sessions(entries: Change<'_>, ids: &[String]) -> Result<Vec<SessionId>, StoreError> {
    let mut forgotten = Vec::new();
    for id in ids {
        if let Some((place, old)) = session(entries, id)? {
            put_session(entries, place, Some(&old), None)?;
            forgotten.push(old.session.session.id.clone());
        }
    }
    Ok(forgotten)
}
