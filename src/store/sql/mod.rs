//! The store contract in SQL, shared by all SQL engines: the statements of each call, and their transactions. An
//! [`Engine`] runs them.

use std::{future::Future, sync::Arc};

use super::{
    AuthorizationKey, CLOCK_SKEW, Creation, Cutoff, DISPLACED_AT_ONCE, Notice, Notices, PendingCaps, RevokeTarget,
    StoreError, StoreErrorKind, StoredSession,
    columns::{self, AUTHORIZATION, Row, SESSION, Values},
};
use crate::types::{
    authorization::{
        Approval, AuthorizationRequest, Lookup, MAX_FAILED_ATTEMPTS, NewAuthorizationRequest, Opening, Redemption,
        Release, Renewal, Transition,
    },
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, SessionId},
    secret::{Access, Digest, Refresh},
    session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
    text::HumanText,
};

mod clients;
mod identities;
mod statements;
#[cfg(all(test, feature = "sqlite", feature = "postgres"))]
mod tests;

pub(super) use clients::{create_client, find_client, forget_clients, use_client};
pub(super) use identities::{
    find_identity, forget_used, is_used, link_identity, list_identities, unlink_account, unlink_identity, use_once,
};
pub(super) use statements::{Statements, Syntax};

/// The number of requests just beyond the total cap that a creation reads, to let unopened ones of them give way. Each
/// creation moves this window on by one request.
const BEYOND_CAP: i64 = 100;

/// Runs statements. A dropped transaction is rolled back.
pub(super) trait Engine: Sync {
    type Row: Row + Send + Sync;
    type Transaction: Send;

    fn statements(&self) -> &Statements;

    /// The subscribers to notify of ended sessions.
    fn notices(&self) -> &Notices;

    /// Runs one read-only statement.
    fn read(&self, sql: &Arc<str>, values: Values) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// Runs the one statement of a token check. It does not wait for the ceremony's statements.
    fn check(&self, sql: &Arc<str>, values: Values) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send {
        self.read(sql, values)
    }

    /// Runs one statement as its own transaction.
    fn write(&self, sql: &Arc<str>, values: Values) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    fn begin(&self) -> impl Future<Output = Result<Self::Transaction, StoreError>> + Send;

    fn run(
        transaction: &mut Self::Transaction,
        sql: &Arc<str>,
        values: Values,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    fn commit(transaction: Self::Transaction) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a lock on `thing` until the transaction ends. Other transactions wait for it.
    fn take_turn(
        &self,
        transaction: &mut Self::Transaction,
        thing: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notifies other processes, on commit, that these sessions have ended.
    fn announce(
        &self,
        transaction: &mut Self::Transaction,
        ended: &[SessionId],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Implements the store traits for an [`Engine`]. Each method calls the function of the same name below.
macro_rules! sql_store {
    ($store:ident) => {
        impl $crate::store::SessionStore for $store {
            async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
                sql::find_session(self, access).await
            }

            fn subscribe(&self, subscriber: Weak<dyn $crate::store::Subscriber>) -> bool {
                self.listen();
                Engine::notices(self).subscribe(subscriber);
                true
            }
        }

        with_store_traits!(sql_store $store);

        sql_store! { $store:
            Portable {
                authorizations_after(after: u64, limit: usize) -> Vec<(u64, NewAuthorizationRequest)>;
                sessions_after(after: u64, limit: usize) -> Vec<(u64, StoredSession)>;
                import_authorization(new: &NewAuthorizationRequest) -> bool;
                import_session(stored: &StoredSession) -> bool;
            }
        }
    };
    ($store:ident: $($trait:ident {
        $($name:ident ( $($argument:ident : $type:ty),* ) -> $answer:ty;)*
    })*) => {$(
        impl $crate::store::$trait for $store {$(
            #[allow(clippy::needless_lifetimes, reason = "the list of methods names `'a`")]
            async fn $name<'a>(&'a self, $($argument: $type),*) -> Result<$answer, StoreError> {
                sql::$name(self, $($argument),*).await
            }
        )*}
    )*};
}

pub(super) use sql_store;

pub(super) async fn find_session<E: Engine>(
    engine: &E,
    access: &Digest<Access>,
) -> Result<Option<Arc<Session>>, StoreError> {
    let rows = engine.check(&engine.statements().find_session, Values::default().digest(access)).await?;
    rows.first().map(|row| columns::session(row).map(Arc::new)).transpose()
}

pub(super) async fn create_authorization<E: Engine>(
    engine: &E,
    new: &NewAuthorizationRequest,
    caps: PendingCaps,
) -> Result<Creation, StoreError> {
    let sql = engine.statements();
    let NewAuthorizationRequest { request, lookups } = new;
    let mut transaction = engine.begin().await?;
    let id = Values::default().text(request.id.as_str());
    if !E::run(&mut transaction, &sql.authorization_exists, id).await?.is_empty() {
        return Ok(Creation::Conflict);
    }
    if is_source_full(engine, &mut transaction, request, caps).await? {
        return Ok(Creation::SourceFull);
    }
    let Some(displaced) = displace(engine, &mut transaction, request.created_at, caps).await? else {
        return Ok(Creation::Full);
    };
    let kept = E::run(&mut transaction, &sql.insert_authorization, Values::authorization(request)).await?;
    if kept.is_empty() || !insert_lookups(engine, &mut transaction, &request.id, lookups).await? {
        return Ok(Creation::Conflict);
    }
    E::commit(transaction).await?;
    Ok(if displaced.is_empty() { Creation::Created } else { Creation::Displaced(displaced) })
}

/// Whether the source of a new request, or a wider network of it, has as many pending requests as it may. Others of the
/// widest network wait until the transaction ends, and nobody else does.
async fn is_source_full<E: Engine>(
    engine: &E,
    transaction: &mut E::Transaction,
    request: &AuthorizationRequest,
    caps: PendingCaps,
) -> Result<bool, StoreError> {
    let networks = request.client.networks();
    let Some(widest) = networks.last().filter(|_| caps.per_source.is_some()) else { return Ok(false) };
    engine.take_turn(transaction, &format!("authorization_requests of {widest}")).await?;
    for network in &networks {
        let Some(cap) = caps.of_network(*network).map(i64::from) else { continue };
        let (first, last) = columns::sources_of(*network);
        let values =
            Values::default().text(first.as_str()).text(last.as_str()).instant(request.created_at).integer(cap);
        let counted = E::run(transaction, &engine.statements().count_pending_of, values).await?;
        if first_number(&counted)? >= cap {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lets the oldest unopened requests give way if the total cap is reached, and returns their ids; `None` if humans have
/// opened all.
///
/// A request is beyond the cap once as many as the cap were created after it, decided or not. Only those that have come
/// to be so lately are read, and nothing is counted.
async fn displace<E: Engine>(
    engine: &E,
    transaction: &mut E::Transaction,
    now: Timestamp,
    caps: PendingCaps,
) -> Result<Option<Vec<AuthorizationRequestId>>, StoreError> {
    let mut displaced = Vec::new();
    let Some(cap) = caps.total.map(i64::from) else { return Ok(Some(displaced)) };
    let sql = engine.statements();
    let values = Values::default().integer(cap).instant(now).integer(BEYOND_CAP);
    let (mut unopened, mut opened) = (Vec::new(), 0);
    for row in &E::run(transaction, &sql.beyond_cap, values).await? {
        match (row.integer(0)?, row.text(1)?) {
            (Some(seq), None) => unopened.push(seq),
            _ => opened += 1,
        }
    }
    if unopened.is_empty() && opened >= cap.min(BEYOND_CAP) {
        let rows = E::run(transaction, &sql.oldest_unopened, Values::default().instant(now)).await?;
        let Some(oldest) = rows.first().map(|row| row.integer(0)).transpose()?.flatten() else { return Ok(None) };
        unopened.push(oldest);
    }
    for seq in unopened.into_iter().take(DISPLACED_AT_ONCE) {
        let rows = E::run(transaction, &sql.give_way, Values::default().integer(seq).instant(now)).await?;
        for row in &rows {
            displaced.push(row.text(0)?.and_then(AuthorizationRequestId::parse).ok_or_else(|| columns::garbage("id"))?);
        }
    }
    Ok(Some(displaced))
}

fn first_number(rows: &[impl Row]) -> Result<i64, StoreError> {
    Ok(rows.first().map(|row| row.integer(0)).transpose()?.flatten().unwrap_or_default())
}

/// Inserts the lookups of an authorization request. Returns `false` if one is taken.
async fn insert_lookups<E: Engine>(
    engine: &E,
    transaction: &mut E::Transaction,
    id: &AuthorizationRequestId,
    lookups: &[Lookup],
) -> Result<bool, StoreError> {
    for lookup in lookups {
        let values = Values::default().bytes(lookup.as_bytes().as_slice()).text(id.as_str());
        if E::run(transaction, &engine.statements().insert_lookup, values).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) async fn find_authorization<E: Engine>(
    engine: &E,
    key: &AuthorizationKey,
) -> Result<Option<AuthorizationRequest>, StoreError> {
    let sql = engine.statements();
    let rows = match key {
        AuthorizationKey::Id(id) => engine.read(&sql.authorization_by_id, Values::default().text(id.as_str())).await?,
        AuthorizationKey::Lookup(lookup) => {
            let values = Values::default().bytes(lookup.as_bytes().as_slice());
            engine.read(&sql.authorization_by_lookup, values).await?
        }
    };
    rows.first().map(columns::authorization).transpose()
}

pub(super) async fn list_approved<E: Engine>(
    engine: &E,
    account: &AccountId,
    at: Timestamp,
    limit: usize,
) -> Result<Vec<AuthorizationRequest>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = Values::default().text(account.as_str()).instant(at).integer(limit);
    let rows = engine.read(&engine.statements().list_approved, values).await?;
    rows.iter().map(columns::authorization).collect()
}

pub(super) async fn list_authorizations<E: Engine>(
    engine: &E,
    account: &AccountId,
    after: Option<&AuthorizationRequestId>,
    limit: usize,
) -> Result<Vec<AuthorizationRequest>, StoreError> {
    let values = Values::default()
        .text(account.as_str())
        .text(after.map_or("", AuthorizationRequestId::as_str))
        .integer(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = engine.read(&engine.statements().list_authorizations, values).await?;
    rows.iter().map(columns::authorization).collect()
}

pub(super) async fn transition<E: Engine>(
    engine: &E,
    id: &AuthorizationRequestId,
    transition: &Transition,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let sql = engine.statements();
    let values = Values::default().text(id.as_str()).instant(at);
    let (update, values) = match transition {
        Transition::Open(Opening { account, flow }) => {
            (&sql.open, values.text(account.id.as_str()).any_text(account.label.as_str()).text(flow.as_str()))
        }
        Transition::Release(Release { account, from, flow }) => {
            (&sql.release, values.text(account.as_str()).text(from.as_str()).text(flow.as_str()))
        }
        Transition::Approve(approval) => {
            let Approval { account, scopes, flow, lookups, expires_at, lasting } = approval;
            let values = values.text(account.as_str()).scopes(scopes).text(flow.as_str());
            let values = values.instant(*expires_at).duration(*lasting);
            return found_by(engine, id, &sql.approve, values, lookups).await;
        }
        Transition::Renew(Renewal { from, flow, lookups, expires_at }) => {
            let values = values.text(from.as_str()).text(flow.as_str()).instant(*expires_at);
            return found_by(engine, id, &sql.renew, values, lookups).await;
        }
        Transition::Deny(account) => (&sql.deny, values.text(account.as_str())),
        Transition::Revoke => (&sql.revoke, values),
        Transition::FailedAttempt => (&sql.failed_attempt, values.integer(i64::from(MAX_FAILED_ATTEMPTS))),
    };
    Ok(engine.write(update, values).await?.len() == 1)
}

/// Updates an authorization request that is found by `lookups` from then on.
async fn found_by<E: Engine>(
    engine: &E,
    id: &AuthorizationRequestId,
    update: &Arc<str>,
    values: Values,
    lookups: &[Lookup],
) -> Result<bool, StoreError> {
    let mut transaction = engine.begin().await?;
    if E::run(&mut transaction, update, values).await?.len() != 1 {
        return Ok(false);
    }
    if !insert_lookups(engine, &mut transaction, id, lookups).await? {
        return Err(StoreError::new(StoreErrorKind::Conflict));
    }
    E::commit(transaction).await?;
    Ok(true)
}

pub(super) async fn redeem<E: Engine>(engine: &E, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
    let sql = engine.statements();
    let NewSession { session: record, refresh, redemption } = new;
    let mut transaction = engine.begin().await?;
    let redeem = match redemption {
        Redemption::Once => &sql.redeem_once,
        Redemption::Again => &sql.redeem_again,
    };
    let values = Values::default().text(record.authorization.as_str()).instant(at);
    if E::run(&mut transaction, redeem, values).await?.len() != 1 {
        return Ok(false);
    }
    E::run(&mut transaction, &sql.insert_session, Values::session(record)).await?;
    insert_refresh(engine, &mut transaction, &record.session.id, 0, refresh, record.refresh_expires_at).await?;
    E::commit(transaction).await?;
    Ok(true)
}

async fn insert_refresh<E: Engine>(
    engine: &E,
    transaction: &mut E::Transaction,
    session: &SessionId,
    generation: i64,
    refresh: &Digest<Refresh>,
    ends_at: Timestamp,
) -> Result<(), StoreError> {
    let values = Values::default().digest(refresh).text(session.as_str()).integer(generation).instant(ends_at);
    E::run(transaction, &engine.statements().insert_refresh, values).await.map(drop)
}

pub(super) async fn sessions_of<E: Engine>(
    engine: &E,
    authorization: &AuthorizationRequestId,
) -> Result<Vec<SessionRecord>, StoreError> {
    let values = Values::default().text(authorization.as_str());
    let rows = engine.read(&engine.statements().sessions_of, values).await?;
    rows.iter().map(columns::record).collect()
}

pub(super) async fn find_record<E: Engine>(
    engine: &E,
    session: &SessionId,
) -> Result<Option<SessionRecord>, StoreError> {
    let rows = engine.read(&engine.statements().find_record, Values::default().text(session.as_str())).await?;
    rows.first().map(columns::record).transpose()
}

pub(super) async fn find_refresh<E: Engine>(
    engine: &E,
    refresh: &Digest<Refresh>,
) -> Result<Option<RefreshTokenState>, StoreError> {
    let rows = engine.read(&engine.statements().find_refresh, Values::default().digest(refresh)).await?;
    rows.first().map(columns::refresh_token_state).transpose()
}

pub(super) async fn rotate<E: Engine>(
    engine: &E,
    rotation: &Rotation,
    at: Timestamp,
) -> Result<Option<SessionId>, StoreError> {
    let rotating = rotate_in_transaction(engine, rotation, at);
    engine.notices().announce(rotating, |session| session.iter().cloned().collect()).await
}

async fn rotate_in_transaction<E: Engine>(
    engine: &E,
    rotation: &Rotation,
    at: Timestamp,
) -> Result<Option<SessionId>, StoreError> {
    let mut transaction = engine.begin().await?;
    let values = Values::default()
        .digest(&rotation.from)
        .instant(at)
        .digest(&rotation.access)
        .scopes(&rotation.scopes)
        .instant(rotation.expires_at)
        .instant(rotation.refresh_expires_at)
        .bytes(rotation.salt.0.as_slice());
    let rows = E::run(&mut transaction, &engine.statements().rotate, values).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (session, generation) = (session_id(row)?, row.integer(1)?.unwrap_or_default());
    let (refresh, ends_at) = (&rotation.refresh, rotation.refresh_expires_at);
    insert_refresh(engine, &mut transaction, &session, generation, refresh, ends_at).await?;
    E::commit(transaction).await?;
    Ok(Some(session))
}

pub(super) async fn list_sessions<E: Engine>(
    engine: &E,
    account: &AccountId,
    before: Option<&SessionId>,
    limit: usize,
) -> Result<Vec<SessionRecord>, StoreError> {
    let values = Values::default()
        .text(account.as_str())
        .text(before.map(SessionId::as_str))
        .integer(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = engine.read(&engine.statements().list_sessions, values).await?;
    rows.iter().map(columns::record).collect()
}

pub(super) async fn revoke<E: Engine>(
    engine: &E,
    target: &RevokeTarget,
    by: RevokedBy,
    at: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    let revoking = revoke_in_transaction(engine, target, by, at);
    engine.notices().announce_revocation(target, revoking).await
}

async fn revoke_in_transaction<E: Engine>(
    engine: &E,
    target: &RevokeTarget,
    by: RevokedBy,
    at: Timestamp,
) -> Result<Vec<SessionId>, StoreError> {
    let sql = engine.statements();
    let mut transaction = engine.begin().await?;
    if let RevokeTarget::Account(account) = target {
        let values = Values::default().text(account.as_str()).instant(at);
        E::run(&mut transaction, &sql.revoke_approved, values).await?;
    }
    let values = Values::default().instant(at).text(by.as_str());
    let (end, values) = match target {
        RevokeTarget::Access(access) => (&sql.end_by_access, values.digest(access)),
        RevokeTarget::Refresh(refresh) => (&sql.end_by_refresh, values.digest(refresh)),
        RevokeTarget::Session(id, account) => (&sql.end_by_id, values.text(id.as_str()).text(account.as_str())),
        RevokeTarget::Account(account) => (&sql.end_by_account, values.text(account.as_str())),
    };
    let rows = E::run(&mut transaction, end, values).await?;
    let ended: Vec<_> = rows.iter().map(session_id).collect();
    let readable: Vec<_> = ended.iter().filter_map(|id| id.as_ref().ok().cloned()).collect();
    engine.announce(&mut transaction, &readable).await?;
    E::commit(transaction).await?;
    // An error for an unreadable row is returned only after the commit, so that the other sessions are revoked.
    ended.into_iter().collect()
}

pub(super) async fn rename_session<E: Engine>(
    engine: &E,
    account: &AccountId,
    session: &SessionId,
    name: Option<&HumanText>,
) -> Result<bool, StoreError> {
    let values = Values::default().text(session.as_str()).text(account.as_str()).human_text(name);
    Ok(!engine.write(&engine.statements().rename_session, values).await?.is_empty())
}

pub(super) async fn record_uses<E: Engine>(
    engine: &E,
    uses: &[(SessionId, Use)],
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut latest = std::collections::BTreeMap::<&SessionId, &Use>::new();
    for (id, new) in uses {
        let last = latest.entry(id).or_insert(new);
        if new.at > last.at {
            *last = new;
        }
    }
    let rows = latest.into_iter().map(|(id, last)| {
        let address = last.address.map(|address| address.to_string());
        serde_json::json!([id.as_str(), last.at.as_millis(), address])
    });
    let rows = serde_json::Value::from_iter(rows).to_string();
    let values = Values::default().text(rows.as_str()).instant(at.after(CLOCK_SKEW));
    engine.write(&engine.statements().record_uses, values).await?;
    engine.notices().send(&Notice::Used(uses.to_vec()));
    Ok(())
}

pub(super) async fn forget<E: Engine>(engine: &E, cutoff: &Cutoff, limit: usize) -> Result<bool, StoreError> {
    let sql = engine.statements();
    let mut more = false;
    for (delete, before) in [
        (&sql.forget_authorizations, cutoff.authorizations),
        (&sql.forget_sessions, cutoff.sessions),
        (&sql.forget_refresh_tokens, cutoff.sessions),
    ] {
        let values = Values::default().instant(before).integer(i64::try_from(limit).unwrap_or(i64::MAX));
        more |= engine.write(delete, values).await?.len() >= limit;
    }
    Ok(more)
}

pub(super) async fn forget_account<E: Engine>(
    engine: &E,
    account: &AccountId,
    limit: usize,
) -> Result<bool, StoreError> {
    let forgetting = forget_account_in_transaction(engine, account, limit);
    engine.notices().announce(forgetting, |(_, ended)| ended.clone()).await.map(|(more, _)| more)
}

/// The requests come first, as in a revocation: what waits for them can't create a session that is not deleted.
async fn forget_account_in_transaction<E: Engine>(
    engine: &E,
    account: &AccountId,
    limit: usize,
) -> Result<(bool, Vec<SessionId>), StoreError> {
    let sql = engine.statements();
    let values = || Values::default().text(account.as_str()).integer(i64::try_from(limit).unwrap_or(i64::MAX));
    let mut transaction = engine.begin().await?;
    let requests = E::run(&mut transaction, &sql.forget_authorizations_of, values()).await?.len();
    let rows = E::run(&mut transaction, &sql.forget_sessions_of, values()).await?;
    let ended: Vec<SessionId> = rows.iter().filter_map(|row| session_id(row).ok()).collect();
    engine.announce(&mut transaction, &ended).await?;
    E::commit(transaction).await?;
    Ok((requests >= limit || rows.len() >= limit, ended))
}

pub(super) async fn server_time<E: Engine>(engine: &E) -> Result<Option<Timestamp>, StoreError> {
    let rows = engine.read(&engine.statements().server_time, Values::default()).await?;
    let millis = rows.first().map(|row| row.integer(0)).transpose()?.flatten();
    Ok(millis.map(Timestamp::from_millis))
}

fn page(after: u64, limit: usize) -> Values {
    let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
    Values::default().integer(i64::try_from(after).unwrap_or(i64::MAX)).integer(count(limit))
}

pub(super) async fn authorizations_after<E: Engine>(
    engine: &E,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, NewAuthorizationRequest)>, StoreError> {
    let sql = engine.statements();
    let mut all = Vec::new();
    for row in engine.read(&sql.authorizations_after, page(after, limit)).await? {
        let request = columns::authorization(&row)?;
        let lookups = engine.read(&sql.lookups_of, Values::default().text(request.id.as_str())).await?;
        let lookups = lookups.iter().map(columns::lookup).collect::<Result<_, _>>()?;
        all.push((columns::place(&row, AUTHORIZATION.len())?, NewAuthorizationRequest::new(request, lookups)));
    }
    Ok(all)
}

pub(super) async fn sessions_after<E: Engine>(
    engine: &E,
    after: u64,
    limit: usize,
) -> Result<Vec<(u64, StoredSession)>, StoreError> {
    let sql = engine.statements();
    let mut all = Vec::new();
    for row in engine.read(&sql.sessions_after, page(after, limit)).await? {
        let id = session_id(&row)?;
        let tokens = engine.read(&sql.refresh_tokens_of, Values::default().text(id.as_str())).await?;
        let tokens = tokens.iter().map(columns::refresh_token).collect::<Result<_, _>>()?;
        // After the columns of the session come the two of its last refresh.
        all.push((columns::place(&row, SESSION.len() + 2)?, columns::stored_session(&row, tokens)?));
    }
    Ok(all)
}

pub(super) async fn import_authorization<E: Engine>(
    engine: &E,
    new: &NewAuthorizationRequest,
) -> Result<bool, StoreError> {
    let NewAuthorizationRequest { request, lookups } = new;
    let mut transaction = engine.begin().await?;
    let kept =
        E::run(&mut transaction, &engine.statements().insert_authorization, Values::authorization(request)).await?;
    if kept.is_empty() {
        return Ok(false);
    }
    if !insert_lookups(engine, &mut transaction, &request.id, lookups).await? {
        return Err(StoreError::new(StoreErrorKind::Conflict));
    }
    E::commit(transaction).await?;
    Ok(true)
}

pub(super) async fn import_session<E: Engine>(engine: &E, stored: &StoredSession) -> Result<bool, StoreError> {
    let sql = engine.statements();
    let StoredSession { session, refreshed, refresh_tokens } = stored;
    let mut transaction = engine.begin().await?;
    let session_id = &session.session.id;
    let id = || Values::default().text(session_id.as_str());
    if !E::run(&mut transaction, &sql.has_session, id()).await?.is_empty() {
        return Ok(false);
    }
    E::run(&mut transaction, &sql.insert_session, Values::session(session)).await?;
    let current = refresh_tokens.last().map_or(0, |token| token.generation);
    let values = id()
        .integer(i64::try_from(current).unwrap_or(i64::MAX))
        .instant(refreshed.map(|last| last.at))
        .bytes(refreshed.as_ref().map(|last| last.salt.0.as_slice()));
    E::run(&mut transaction, &sql.set_refreshed, values).await?;
    for token in refresh_tokens {
        let generation = i64::try_from(token.generation).unwrap_or(i64::MAX);
        insert_refresh(engine, &mut transaction, session_id, generation, &token.digest, token.ends_at).await?;
    }
    E::commit(transaction).await?;
    Ok(true)
}

fn session_id(row: &impl Row) -> Result<SessionId, StoreError> {
    row.text(0)?.and_then(SessionId::parse).ok_or_else(|| columns::garbage("id"))
}
