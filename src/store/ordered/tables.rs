//! Requests, sessions and their indexes as ordered keys.
//!
//! The keys of a record follow from it. Putting a record removes those keys of the old one that the new one lacks, and adds
//! those that the old one lacks. What grows with the age of a record has entries of its own: the lookups of a request, and
//! the refresh tokens of a session. So a record stays small.

use std::ops::RangeInclusive;

use data_encoding::HEXLOWER;

use super::{Snapshot, Transaction};
use crate::{
    store::{
        Creation, DISPLACED_AT_ONCE, PendingCaps, RefreshToken, RevokeTarget, StoreError, StoreErrorKind,
        StoredSession, codec, columns::garbage,
    },
    types::{
        authorization::{AuthorizationRequest, Decision, Lookup, NewAuthorizationRequest, Transition},
        clock::Timestamp,
        id::{AuthorizationRequestId, SessionId},
        secret::{Digest, Refresh},
        session::{NewSession, RefreshTokenState, Revocation, Rotation, SessionRecord},
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
    /// The lookups of a request, and the refresh tokens of a session, in hexadecimal.
    LookupOf = b'k' as isize,
    TokenOf = b't' as isize,
    /// The requests that are bound to an account.
    Bound = b'b' as isize,
    /// Sessions by place: all, those of an account, and those of a request.
    Place = b'o' as isize,
    Account = b'c' as isize,
    Redeemed = b'd' as isize,
    /// Sessions by their end, and used refresh tokens by theirs.
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

pub(super) fn request(entries: &dyn Snapshot, id: &str) -> Result<Option<AuthorizationRequest>, StoreError> {
    let found = entries.get(&key(Kind::Request, id.as_bytes()))?;
    found.map(|found| Ok(codec::decode_authorization(&text(found)?)?.request)).transpose()
}

/// A session and its place.
pub(super) fn session(entries: &dyn Snapshot, id: &str) -> Result<Option<(i64, StoredSession)>, StoreError> {
    let Some(found) = entries.get(&key(Kind::Session, id.as_bytes()))? else { return Ok(None) };
    let Some((place, record)) = found.split_first_chunk::<8>() else { return Err(garbage("place")) };
    Ok(Some((i64::from_be_bytes(*place), codec::decode_session(&text(record.to_vec())?)?)))
}

/// The id of the request or the session that a digest belongs to.
pub(super) fn owner(entries: &dyn Snapshot, kind: Kind, digest: &[u8; 32]) -> Result<Option<String>, StoreError> {
    entries.get(&key(kind, digest))?.map(text).transpose()
}

/// A refresh token of any generation, and the id of its session.
fn refresh_token(
    entries: &dyn Snapshot,
    digest: &Digest<Refresh>,
) -> Result<Option<(String, RefreshToken)>, StoreError> {
    let Some(value) = entries.get(&key(Kind::Refresh, digest.as_bytes()))? else { return Ok(None) };
    let parts = value.split_first_chunk::<8>();
    let parts = parts.and_then(|(generation, rest)| Some((generation, rest.split_first_chunk::<8>()?)));
    let Some((generation, (ends_at, id))) = parts else { return Err(garbage("refresh")) };
    let ends_at = Timestamp::from_millis(i64::from_be_bytes(*ends_at));
    let token = RefreshToken { digest: *digest, generation: u64::from_be_bytes(*generation), ends_at };
    Ok(Some((text(id.to_vec())?, token)))
}

/// The session of a refresh token, and that token's state.
pub(super) fn refresh_state(
    entries: &dyn Snapshot,
    digest: &Digest<Refresh>,
) -> Result<Option<RefreshTokenState>, StoreError> {
    let Some((id, token)) = refresh_token(entries, digest)? else { return Ok(None) };
    let Some((_, stored)) = session(entries, &id)? else { return Ok(None) };
    let current = stored.refresh_tokens.last().map(|current| current.generation);
    let age = current.and_then(|current| current.checked_sub(token.generation)).ok_or_else(|| garbage("generation"))?;
    Ok(Some(RefreshTokenState { session: stored.session, age, last: stored.refreshed }))
}

/// The session of a refresh token.
pub(super) fn refresh_owner(entries: &dyn Snapshot, digest: &Digest<Refresh>) -> Result<Option<String>, StoreError> {
    Ok(refresh_token(entries, digest)?.map(|(id, _)| id))
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

/// The ids of a list whose entries are all at place zero: at most `limit` of those after `after`.
pub(super) fn list_after(
    entries: &dyn Snapshot,
    kind: Kind,
    owner: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let place = Place::new(kind, owner, 0);
    // The first key after that of an id is the id with a NUL.
    let first = after.map_or_else(|| place.key(""), |after| place.key(&format!("{after}\0")));
    let prefix = place.key("").len();
    let keys = entries.keys(&first, &place.key("\u{10FFFF}"), false, limit)?;
    keys.into_iter().map(|key| text(key.get(prefix..).unwrap_or_default().to_vec())).collect()
}

pub(super) fn records(entries: &dyn Snapshot, ids: Vec<String>) -> Result<Vec<SessionRecord>, StoreError> {
    let records = ids.into_iter().map(|id| Ok(session(entries, &id)?.map(|(_, stored)| stored.session)));
    records.filter_map(Result::transpose).collect()
}

pub(super) fn requests(entries: &dyn Snapshot, ids: Vec<String>) -> Result<Vec<AuthorizationRequest>, StoreError> {
    ids.into_iter().map(|id| request(entries, &id)).filter_map(Result::transpose).collect()
}

/// One key of a record, and its value.
#[derive(Eq, PartialEq)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
    /// Whether another record may not have the key.
    is_unique: bool,
}

impl Entry {
    fn listed(place: &Place, id: &str) -> Self {
        Self { key: place.key(id), value: Vec::new(), is_unique: false }
    }

    fn unique(kind: Kind, digest: &[u8; 32], value: impl Into<Vec<u8>>) -> Self {
        Self { key: key(kind, digest), value: value.into(), is_unique: true }
    }
}

/// Replaces the entries of a record. Fails with a conflict if another record has a key that is unique.
fn replace(entries: Change<'_>, old: &[Entry], new: &[Entry]) -> Result<(), StoreError> {
    for entry in old.iter().filter(|entry| !new.iter().any(|new| new.key == entry.key)) {
        entries.remove(&entry.key)?;
    }
    for entry in new.iter().filter(|entry| !old.contains(entry)) {
        let is_known = old.iter().any(|old| old.key == entry.key);
        if entry.is_unique && !is_known && entries.get(&entry.key)?.is_some() {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        entries.put(&entry.key, &entry.value)?;
    }
    Ok(())
}

fn hexadecimal(digest: &[u8; 32]) -> String {
    HEXLOWER.encode(digest)
}

fn digest_of(hexadecimal: &str) -> Result<[u8; 32], StoreError> {
    let digest = HEXLOWER.decode(hexadecimal.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    digest.ok_or_else(|| garbage("digest"))
}

/// Replaces a request. Its record has no lookups: they are entries of their own.
fn put_request(
    entries: Change<'_>,
    old: Option<&AuthorizationRequest>,
    new: Option<&AuthorizationRequest>,
) -> Result<(), StoreError> {
    let listed = |request: &AuthorizationRequest| {
        let places = places_of(request);
        places.iter().map(|place| Entry::listed(place, request.id.as_str())).collect::<Vec<_>>()
    };
    let [before, after] = [old, new].map(|request| request.map(listed).unwrap_or_default());
    replace(entries, &before, &after)?;
    if let Some(old) = old {
        settle(entries, old.expires_at.as_millis(), old.id.as_str())?;
    }
    let Some(new) = new else { return Ok(()) };
    if new.decision == Decision::Undecided {
        entries.put(&Place::new(Kind::Pending, "", new.expires_at.as_millis()).key(new.id.as_str()), &[])?;
        count_pending(entries, 1)?;
    }
    let record = codec::encode_authorization(&NewAuthorizationRequest::new(new.clone(), Vec::new()));
    entries.put(&key(Kind::Request, new.id.as_str().as_bytes()), record.as_bytes())
}

/// Adds lookups to a request. Fails with a conflict if one is taken.
fn add_lookups(entries: Change<'_>, id: &str, lookups: &[Lookup]) -> Result<(), StoreError> {
    for lookup in lookups {
        let place = Place::new(Kind::LookupOf, id, 0);
        let entry = Entry::listed(&place, &hexadecimal(lookup.as_bytes()));
        replace(entries, &[], &[Entry::unique(Kind::Lookup, lookup.as_bytes(), id), entry])?;
    }
    Ok(())
}

fn forget_request(entries: Change<'_>, id: &str) -> Result<(), StoreError> {
    let Some(old) = request(entries, id)? else { return Ok(()) };
    for lookup in list(entries, Kind::LookupOf, id, 0..=0, false, usize::MAX)? {
        entries.remove(&key(Kind::Lookup, &digest_of(&lookup)?))?;
        entries.remove(&Place::new(Kind::LookupOf, id, 0).key(&lookup))?;
    }
    put_request(entries, Some(&old), None)?;
    entries.remove(&key(Kind::Request, id.as_bytes()))
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

/// Replaces a session at its place. Its record has the current refresh token only: each token is an entry of its own.
fn put_session(
    entries: Change<'_>,
    place: i64,
    old: Option<&StoredSession>,
    new: Option<&StoredSession>,
) -> Result<(), StoreError> {
    let entries_of = |stored: &StoredSession| entries_of_session(place, stored);
    let [before, after] = [old, new].map(|stored| stored.map(entries_of).unwrap_or_default());
    replace(entries, &before, &after)
}

fn entries_of_session(place: i64, stored: &StoredSession) -> Vec<Entry> {
    let record = &stored.session;
    let id = record.session.id.as_str();
    let places = [
        Place::new(Kind::Place, "", place),
        Place::new(Kind::Account, record.session.account.id.as_str(), place),
        Place::new(Kind::Redeemed, record.authorization.as_str(), place),
        Place::new(Kind::End, "", record.ends_at().as_millis()),
    ];
    let mut all: Vec<Entry> = places.iter().map(|place| Entry::listed(place, id)).collect();
    all.push(Entry::unique(Kind::Access, record.session.access.as_bytes(), id));
    let text = [&place.to_be_bytes()[..], codec::encode_session(stored).as_bytes()].concat();
    all.push(Entry { key: key(Kind::Session, id.as_bytes()), value: text, is_unique: true });
    all
}

/// Adds a refresh token to a session. Fails with a conflict if it is taken.
fn add_refresh_token(entries: Change<'_>, id: &str, token: &RefreshToken) -> Result<(), StoreError> {
    let value = [&token.generation.to_be_bytes()[..], &token.ends_at.as_millis().to_be_bytes(), id.as_bytes()].concat();
    let place = Place::new(Kind::TokenOf, id, 0);
    let listed = Entry::listed(&place, &hexadecimal(token.digest.as_bytes()));
    replace(entries, &[], &[Entry::unique(Kind::Refresh, token.digest.as_bytes(), value), listed])
}

/// Removes a refresh token of a session.
fn forget_refresh_token(entries: Change<'_>, id: &str, digest: &str) -> Result<(), StoreError> {
    let token = Digest::from_bytes(digest_of(digest)?);
    if let Some((_, token)) = refresh_token(entries, &token)? {
        entries.remove(&Place::new(Kind::Used, "", token.ends_at.as_millis()).key(digest))?;
    }
    entries.remove(&key(Kind::Refresh, token.as_bytes()))?;
    entries.remove(&Place::new(Kind::TokenOf, id, 0).key(digest))
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
    put_request(entries, None, Some(&new.request))?;
    add_lookups(entries, id, &new.lookups)?;
    Ok(if displaced.is_empty() { Creation::Created } else { Creation::Displaced(displaced) })
}

/// The requests that count as pending though they have expired, with their expiry.
fn expired(entries: &dyn Snapshot, now: Timestamp) -> Result<Vec<(String, i64)>, StoreError> {
    let ids = list(entries, Kind::Pending, "", i64::MIN..=now.as_millis(), false, usize::MAX)?;
    let expiry = |id: String| Ok(request(entries, &id)?.map(|known| (id, known.expires_at.as_millis())));
    ids.into_iter().map(expiry).filter_map(Result::transpose).collect()
}

/// Lets unopened requests give way if the total cap is reached, and returns their ids; `None` if there are none.
fn displace(
    entries: Change<'_>,
    now: Timestamp,
    caps: PendingCaps,
) -> Result<Option<Vec<AuthorizationRequestId>>, StoreError> {
    let mut displaced = Vec::new();
    let Some(cap) = caps.total else { return Ok(Some(displaced)) };
    let later = now.as_millis().saturating_add(1)..=i64::MAX;
    while pending(entries)? >= i64::from(cap) && displaced.len() < DISPLACED_AT_ONCE {
        let oldest = list(entries, Kind::Unopened, "", later.clone(), false, 1)?;
        let Some(old) = oldest.first().map(|id| request(entries, id)).transpose()?.flatten() else { break };
        let mut gone = old.clone();
        gone.expires_at = now;
        put_request(entries, Some(&old), Some(&gone))?;
        settle(entries, now.as_millis(), gone.id.as_str())?;
        displaced.push(gone.id);
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
    let added = match &transition {
        Transition::Approve(approval) => approval.lookups.clone(),
        Transition::Renew(renewal) => renewal.lookups.clone(),
        _ => Vec::new(),
    };
    let mut new = old.clone();
    let is_legal = new.apply(transition, at);
    if is_legal {
        add_lookups(entries, id, &added)?;
        put_request(entries, Some(&old), Some(&new))?;
    }
    Ok(is_legal)
}

pub(super) fn redeem(entries: Change<'_>, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
    let Some(old) = request(entries, new.session.authorization.as_str())? else { return Ok(false) };
    let mut redeemed = old.clone();
    if !redeemed.redeem(new.redemption, at) {
        return Ok(false);
    }
    put_request(entries, Some(&old), Some(&redeemed))?;
    let stored = StoredSession::created(new);
    let place = last_place(entries)? + 1;
    put_session(entries, place, None, Some(&stored))?;
    let id = stored.session.session.id.as_str();
    stored.refresh_tokens.iter().try_for_each(|token| add_refresh_token(entries, id, token))?;
    Ok(true)
}

/// The place of the last session, or zero.
fn last_place(entries: &dyn Snapshot) -> Result<i64, StoreError> {
    let [first, last] = [i64::MIN, i64::MAX].map(|place| Place::new(Kind::Place, "", place));
    let keys = entries.keys(&first.key(""), &last.key("\u{10FFFF}"), true, 1)?;
    let Some(key) = keys.first() else { return Ok(0) };
    let place = key.get(2..10).and_then(|place| place.try_into().ok()).map(u64::from_be_bytes);
    place.map(|place| (place ^ (1 << 63)) as i64).ok_or_else(|| garbage("place"))
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
        RevokeTarget::Refresh(refresh) => refresh_owner(entries, refresh)?.into_iter().collect(),
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

/// Gives the session of a refresh token new secrets, if that is legal.
pub(super) fn rotate(entries: Change<'_>, rotation: &Rotation, at: Timestamp) -> Result<Option<SessionId>, StoreError> {
    let Some((id, used)) = refresh_token(entries, &rotation.from)? else { return Ok(None) };
    let Some((place, old)) = session(entries, &id)? else { return Ok(None) };
    let mut new = old.clone();
    if !new.rotate(rotation, at) {
        return Ok(None);
    }
    let current = new.refresh_tokens.split_off(new.refresh_tokens.len().saturating_sub(1));
    new.refresh_tokens = current;
    put_session(entries, place, Some(&old), Some(&new))?;
    new.refresh_tokens.iter().try_for_each(|token| add_refresh_token(entries, &id, token))?;
    let used_place = Place::new(Kind::Used, "", used.ends_at.as_millis());
    entries.put(&used_place.key(&hexadecimal(used.digest.as_bytes())), &[])?;
    Ok(Some(old.session.session.id.clone()))
}

pub(super) fn forget_requests(entries: Change<'_>, ids: &[String]) -> Result<(), StoreError> {
    ids.iter().try_for_each(|id| forget_request(entries, id))
}

pub(super) fn forget_sessions(entries: Change<'_>, ids: &[String]) -> Result<Vec<SessionId>, StoreError> {
    let mut forgotten = Vec::new();
    for id in ids {
        let Some((place, old)) = session(entries, id)? else { continue };
        for digest in list(entries, Kind::TokenOf, id, 0..=0, false, usize::MAX)? {
            forget_refresh_token(entries, id, &digest)?;
        }
        put_session(entries, place, Some(&old), None)?;
        forgotten.push(old.session.session.id.clone());
    }
    Ok(forgotten)
}

/// Deletes at most `limit` used refresh tokens that would have expired by then. Returns how many.
pub(super) fn forget_used(entries: Change<'_>, until: Timestamp, limit: usize) -> Result<usize, StoreError> {
    let used = list(entries, Kind::Used, "", i64::MIN..=until.as_millis(), false, limit)?;
    for digest in &used {
        if let Some(id) = refresh_owner(entries, &Digest::from_bytes(digest_of(digest)?))? {
            forget_refresh_token(entries, &id, digest)?;
        }
    }
    Ok(used.len())
}
