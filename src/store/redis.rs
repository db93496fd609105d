use std::{
    fmt,
    sync::{Arc, Weak},
};

use redis::{FromRedisValue, RedisResult, cmd};

use super::{
    AuthorizationKey, AuthorizationStore, CLOCK_SKEW, ClientCreation, ClientCutoff, ClientStore, Creation, Cutoff,
    DISPLACED_AT_ONCE, HousekeepingStore, IdentityStore, PendingCaps, Portable, RefreshTokenStore, RevokeTarget,
    SessionRecordStore, SessionStore, StoreError, StoreErrorKind, StoredSession, Subscriber,
    columns::{self, AUTHORIZATION, CLIENT, IDENTITY, Row, SESSION, Values},
};
use crate::types::{
    authorization::{
        Account, Approval, AuthorizationRequest, MAX_FAILED_ATTEMPTS, NewAuthorizationRequest, Opening, Redemption,
        Release, Renewal, Transition,
    },
    client::RegisteredClient,
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
    identity::{IdentityKey, LinkedIdentity, TokenKey},
    secret::{Access, Digest, Refresh},
    session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
    text::HumanText,
};

mod connection;
mod error;
mod notices;
mod open;
mod scripts;

use connection::Connection;
use notices::Listener;
pub use open::{RedisOptions, RedisWarning};
use scripts::{Arguments, Scripts};

/// The number of uses that one script writes, so that none blocks the server for long.
const USES_AT_ONCE: usize = 500;

/// Stores everything in Redis, for a service that runs on more than one machine and tolerates what a crash of Redis
/// loses.
///
/// **Acknowledged changes are as durable as Redis is configured to make them.** With `appendonly yes` and `appendfsync
/// always`, a change is on the disk first. With `everysec`, a crash may lose the last second, revocations included.
/// Without an append-only file, a restart loses everything. A failover loses what the new primary had not received;
/// [`RedisOptions::replicas`] waits for replicas. [`warnings`](Self::warnings) lists the settings that can lose data.
///
/// Lost or evicted keys make sessions invalid, never valid. An eviction policy other than `noeviction` ends sessions at
/// random. Each change is one script, and all keys are in one hash slot.
///
/// Once a revocation returns on one node, all nodes refuse the session. A [`CachedStore`](super::CachedStore) on top is
/// notified by publish/subscribe. It requires Redis 6 or later, and Tokio.
///
/// Connections that are silent or lost are replaced. Nothing is read from a replica. Its calls fail with
/// [`Unavailable`](StoreErrorKind::Unavailable) until the same address leads to a primary. When the memory of Redis is
/// full, nothing new is stored, but tokens are checked, and sessions and requests can be revoked.
///
/// ```no_run
/// use tower_agent_auth::store::RedisStore;
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::connect("rediss://app:password@redis.internal/0").await?;
/// for warning in store.warnings() {
///     eprintln!("sessions may be lost: {warning}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    client: redis::Client,
    /// For token checks only. On the other one, `WAIT` holds up all later commands.
    checks: Arc<Connection>,
    ceremony: Arc<Connection>,
    base: Arc<str>,
    replicas: u8,
    scripts: Arc<Scripts>,
    warnings: Arc<[RedisWarning]>,
    listener: Arc<Listener>,
}

impl RedisStore {
    /// Connects with the default [options](RedisOptions) to the server of that URL.
    ///
    /// # Errors
    /// As for [`RedisOptions::connect`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        RedisOptions::new().connect(url).await
    }

    /// Creates or migrates the store with the default [options](RedisOptions), and opens nothing.
    ///
    /// # Errors
    /// As for [`RedisOptions::migrate`].
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        RedisOptions::new().migrate(url).await
    }

    /// What can lose acknowledged changes or delay revocations, as found when the store was opened.
    #[must_use]
    pub fn warnings(&self) -> &[RedisWarning] {
        &self.warnings
    }

    /// Runs a script that changes nothing. Tries once more if the connection was lost or the server can't be used.
    async fn read<T: FromRedisValue>(&self, script: &redis::Script, arguments: Arguments) -> Result<T, StoreError> {
        self.read_on(&self.ceremony, script, &arguments).await
    }

    async fn read_on<T: FromRedisValue>(
        &self,
        connection: &Connection,
        script: &redis::Script,
        arguments: &Arguments,
    ) -> Result<T, StoreError> {
        match self.once(connection, script, arguments).await {
            Err(error) if error::is_connection_lost(&error) || error::is_refused(&error) => {
                self.once(connection, script, arguments).await
            }
            answer => answer,
        }
        .map_err(error::failed)
    }

    /// Runs a script, and waits for the replicas. Tries once more only if the server has refused it, and so changed
    /// nothing.
    async fn write<T: FromRedisValue>(&self, script: &redis::Script, arguments: Arguments) -> Result<T, StoreError> {
        match self.write_once(script, &arguments).await {
            Err(error) if error::is_refused(&error) => self.write_once(script, &arguments).await,
            answer => answer,
        }
        .map_err(error::failed)?
    }

    async fn write_once<T: FromRedisValue>(
        &self,
        script: &redis::Script,
        arguments: &Arguments,
    ) -> RedisResult<Result<T, StoreError>> {
        if self.replicas == 0 {
            return self.once(&self.ceremony, script, arguments).await.map(Ok);
        }
        let call = self.call(script, arguments);
        let (answer, reached) = self.left_if_refused(self.ceremony.invoke_and_wait(&call, self.replicas).await)?;
        let enough = reached >= self.replicas;
        Ok(if enough { Ok(answer) } else { Err(error::too_few_replicas(reached)) })
    }

    async fn once<T: FromRedisValue>(
        &self,
        connection: &Connection,
        script: &redis::Script,
        arguments: &Arguments,
    ) -> RedisResult<T> {
        self.left_if_refused(connection.invoke(&self.call(script, arguments)).await)
    }

    fn call<'s>(&self, script: &'s redis::Script, arguments: &Arguments) -> redis::ScriptInvocation<'s> {
        let mut call = script.key(&*self.base);
        for argument in &arguments.0 {
            call.arg(argument.as_slice());
        }
        call
    }

    fn left_if_refused<T>(&self, answer: RedisResult<T>) -> RedisResult<T> {
        if answer.as_ref().is_err_and(error::is_refused) {
            self.checks.leave_server()?;
            self.ceremony.leave_server()?;
        }
        answer
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("base", &self.base).finish_non_exhaustive()
    }
}

/// The values that a script or `HMGET` returns, in the order of the requested names.
type Cells = Vec<Option<Vec<u8>>>;

impl SessionStore for RedisStore {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        let found: Option<Cells> =
            self.read_on(&self.checks, &self.scripts.find_session, &Arguments::new().bytes(access.as_bytes())).await?;
        found.map(|cells| columns::session(&cells).map(Arc::new)).transpose()
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.listener.start(&self.client, format!("{}ended", self.base));
        self.listener.notices.subscribe(subscriber);
        true
    }
}

impl AuthorizationStore for RedisStore {
    async fn create_authorization(
        &self,
        new: &NewAuthorizationRequest,
        caps: PendingCaps,
    ) -> Result<Creation, StoreError> {
        let NewAuthorizationRequest { request, lookups } = new;
        let cap = |cap: Option<u32>| cap.map(|cap| cap.to_string()).unwrap_or_default();
        let of_networks = request.client.networks().into_iter().map(|network| cap(caps.of_network(network)));
        let of_networks: Vec<String> = of_networks.collect();
        let arguments = Arguments::new()
            .text(request.id.as_str())
            .text(&columns::source(request).unwrap_or_default())
            .instant(request.created_at)
            .instant(request.expires_at)
            .text(&of_networks.join(" "))
            .text(&cap(caps.total))
            .integer(i64::try_from(DISPLACED_AT_ONCE).unwrap_or(i64::MAX))
            .lookups(lookups)
            .columns(&AUTHORIZATION, Values::authorization(request));
        let answer: Vec<String> = self.write(&self.scripts.create, arguments).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["created"] => Ok(Creation::Created),
            ["created", displaced @ ..] => {
                let ids = displaced.iter().map(|id| AuthorizationRequestId::parse(id).ok_or_else(error::unreadable));
                Ok(Creation::Displaced(ids.collect::<Result<_, _>>()?))
            }
            ["conflict"] => Ok(Creation::Conflict),
            ["source_full"] => Ok(Creation::SourceFull),
            ["full"] => Ok(Creation::Full),
            _ => Err(StoreError::new(StoreErrorKind::Corrupt)),
        }
    }

    async fn find_authorization(&self, key: &AuthorizationKey) -> Result<Option<AuthorizationRequest>, StoreError> {
        let found: Option<Cells> = match key {
            AuthorizationKey::Id(id) => {
                self.read(&self.scripts.find_authorization_by_id, Arguments::new().text(id.as_str())).await?
            }
            AuthorizationKey::Lookup(lookup) => {
                self.read(&self.scripts.find_authorization_by_lookup, Arguments::new().bytes(lookup.as_bytes())).await?
            }
        };
        let found = found.filter(|cells| cells.iter().any(Option::is_some));
        found.map(|cells| columns::authorization(&cells)).transpose()
    }

    async fn list_approved(
        &self,
        account: &AccountId,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<AuthorizationRequest>, StoreError> {
        let arguments = Arguments::new().text(account.as_str()).instant(at);
        let rows: Vec<Cells> = self.read(&self.scripts.list_approved, arguments).await?;
        let mut approved: Vec<_> = rows.iter().map(columns::authorization).collect::<Result<_, _>>()?;
        approved.sort_by_key(|request| std::cmp::Reverse(request.created_at));
        approved.truncate(limit);
        Ok(approved)
    }

    async fn list_authorizations(
        &self,
        account: &AccountId,
        after: Option<&AuthorizationRequestId>,
        limit: usize,
    ) -> Result<Vec<AuthorizationRequest>, StoreError> {
        let arguments = Arguments::new()
            .text(account.as_str())
            .text(after.map_or("", AuthorizationRequestId::as_str))
            .integer(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<Cells> = self.read(&self.scripts.list_authorizations, arguments).await?;
        rows.iter().map(columns::authorization).collect()
    }

    async fn transition(
        &self,
        id: &AuthorizationRequestId,
        transition: &Transition,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let edge = |name| Arguments::new().text(id.as_str()).instant(at).text(name);
        let arguments = match transition {
            Transition::Open(Opening { account, flow }) => {
                edge("open").text(account.id.as_str()).text(&account.label).text(flow.as_str())
            }
            Transition::Release(Release { account, from, flow }) => {
                edge("release").text(account.as_str()).text(from.as_str()).text(flow.as_str())
            }
            Transition::Approve(Approval { account, scopes, flow, lookups, expires_at, lasting }) => edge("approve")
                .text(account.as_str())
                .text(&scopes.to_string())
                .text(flow.as_str())
                .instant(*expires_at)
                .values(Values::default().duration(*lasting))
                .lookups(lookups),
            Transition::Deny(account) => edge("deny").text(account.as_str()),
            Transition::Renew(Renewal { from, flow, lookups, expires_at }) => {
                edge("renew").text(from.as_str()).text(flow.as_str()).instant(*expires_at).lookups(lookups)
            }
            Transition::Revoke => edge("revoke"),
            Transition::FailedAttempt => edge("failed_attempt").integer(i64::from(MAX_FAILED_ATTEMPTS)),
        };
        self.write(&self.scripts.transition, arguments).await
    }

    async fn redeem(&self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        let NewSession { session: record, refresh, redemption } = new;
        let session = &record.session;
        let redemption = match redemption {
            Redemption::Once => "once",
            Redemption::Again => "again",
        };
        let arguments = Arguments::new()
            .text(record.authorization.as_str())
            .instant(at)
            .text(redemption)
            .text(session.id.as_str())
            .text(session.account.id.as_str())
            .bytes(session.access.as_bytes())
            .bytes(refresh.as_bytes())
            .instant(record.refresh_expires_at)
            .instant(record.ends_at())
            .columns(&SESSION, Values::session(record));
        self.write(&self.scripts.redeem, arguments).await
    }
}

impl SessionRecordStore for RedisStore {
    async fn find_record(&self, session: &SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let found: Option<Cells> =
            self.read(&self.scripts.find_record, Arguments::new().text(session.as_str())).await?;
        found.map(|cells| columns::record(&cells)).transpose()
    }

    async fn sessions_of(&self, authorization: &AuthorizationRequestId) -> Result<Vec<SessionRecord>, StoreError> {
        let rows: Vec<Cells> =
            self.read(&self.scripts.sessions_of, Arguments::new().text(authorization.as_str())).await?;
        rows.iter().map(columns::record).collect()
    }

    async fn list_sessions(
        &self,
        account: &AccountId,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let arguments = Arguments::new()
            .text(account.as_str())
            .text(before.map_or("", SessionId::as_str))
            .integer(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<Cells> = self.read(&self.scripts.list, arguments).await?;
        rows.iter().map(columns::record).collect()
    }

    async fn revoke(&self, target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let kind = |name| Arguments::new().instant(at).text(by.as_str()).text(name);
        let arguments = match target {
            RevokeTarget::Access(access) => kind("access").bytes(access.as_bytes()),
            RevokeTarget::Refresh(refresh) => kind("refresh").bytes(refresh.as_bytes()),
            RevokeTarget::Session(id, account) => kind("session").text(id.as_str()).text(account.as_str()),
            RevokeTarget::Account(account) => kind("account").text(account.as_str()),
        };
        let revoking = async {
            let ended: Vec<String> = self.write(&self.scripts.revoke, arguments).await?;
            ended.iter().map(|id| SessionId::parse(id).ok_or_else(error::unreadable)).collect()
        };
        self.listener.notices.announce_revocation(target, revoking).await
    }

    async fn rename_session(
        &self,
        account: &AccountId,
        session: &SessionId,
        name: Option<&HumanText>,
    ) -> Result<bool, StoreError> {
        let arguments = Arguments::new().text(session.as_str()).text(account.as_str());
        self.write(&self.scripts.rename_session, arguments.text(name.map_or("", HumanText::as_str))).await
    }

    async fn record_uses(&self, uses: &[(SessionId, Use)], at: Timestamp) -> Result<(), StoreError> {
        for some in uses.chunks(USES_AT_ONCE) {
            let latest = Arguments::new().instant(at.after(CLOCK_SKEW));
            let arguments = some.iter().fold(latest, |arguments, (id, last)| {
                let address = last.address.map(|address| address.to_string()).unwrap_or_default();
                arguments.text(id.as_str()).instant(last.at).text(&address)
            });
            self.write::<bool>(&self.scripts.record_uses, arguments).await?;
        }
        self.listener.notices.send(&super::Notice::Used(uses.to_vec()));
        Ok(())
    }
}

impl RefreshTokenStore for RedisStore {
    async fn find_refresh(&self, refresh: &Digest<Refresh>) -> Result<Option<RefreshTokenState>, StoreError> {
        let found: Option<Cells> =
            self.read(&self.scripts.find_refresh, Arguments::new().bytes(refresh.as_bytes())).await?;
        found.map(|cells| columns::refresh_token_state(&cells)).transpose()
    }

    async fn rotate(&self, rotation: &Rotation, at: Timestamp) -> Result<Option<SessionId>, StoreError> {
        let arguments = Arguments::new()
            .bytes(rotation.from.as_bytes())
            .instant(at)
            .bytes(rotation.access.as_bytes())
            .bytes(rotation.refresh.as_bytes())
            .text(&rotation.scopes.to_string())
            .instant(rotation.expires_at)
            .instant(rotation.refresh_expires_at)
            .bytes(&rotation.salt.0)
            .instant(rotation.expires_at.max(rotation.refresh_expires_at));
        let rotating = async {
            let refreshed: Option<String> = self.write(&self.scripts.rotate, arguments).await?;
            refreshed.map(|id| SessionId::parse(&id).ok_or_else(error::unreadable)).transpose()
        };
        self.listener.notices.announce(rotating, |session| session.iter().cloned().collect()).await
    }
}

impl HousekeepingStore for RedisStore {
    async fn forget(&self, cutoff: &Cutoff, limit: usize) -> Result<bool, StoreError> {
        let arguments = Arguments::new()
            .instant(cutoff.authorizations)
            .instant(cutoff.sessions)
            .integer(i64::try_from(limit).unwrap_or(i64::MAX));
        self.write(&self.scripts.forget, arguments).await
    }

    async fn forget_account(&self, account: &AccountId, limit: usize) -> Result<bool, StoreError> {
        let arguments = Arguments::new().text(account.as_str()).integer(i64::try_from(limit).unwrap_or(i64::MAX));
        let forgetting = async {
            let (more, ended): (bool, Vec<String>) = self.write(&self.scripts.forget_account, arguments).await?;
            let ended = ended.iter().map(|id| SessionId::parse(id).ok_or_else(error::unreadable));
            Ok((more, ended.collect::<Result<Vec<_>, _>>()?))
        };
        self.listener.notices.announce(forgetting, |(_, ended)| ended.clone()).await.map(|(more, _)| more)
    }

    async fn server_time(&self) -> Result<Option<Timestamp>, StoreError> {
        let (seconds, micros): (i64, i64) = self.ceremony.run(&cmd("TIME")).await.map_err(error::failed)?;
        Ok(Some(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000))))
    }
}

impl ClientStore for RedisStore {
    async fn create_client(
        &self,
        new: &RegisteredClient,
        most_unused: Option<u32>,
    ) -> Result<ClientCreation, StoreError> {
        let arguments = Arguments::new()
            .text(new.id.as_str())
            .instant(new.created_at)
            .values(Values::default().instant(new.used_at))
            .text(&most_unused.map(|most| most.to_string()).unwrap_or_default())
            .columns(&CLIENT, Values::registered_client(new));
        let answer: String = self.write(&self.scripts.create_client, arguments).await?;
        match answer.as_str() {
            "created" => Ok(ClientCreation::Created),
            "conflict" => Ok(ClientCreation::Conflict),
            "full" => Ok(ClientCreation::Full),
            _ => Err(error::unreadable()),
        }
    }

    async fn find_client(&self, id: &ClientId) -> Result<Option<RegisteredClient>, StoreError> {
        let cells: Cells = self.read(&self.scripts.find_client, Arguments::new().text(id.as_str())).await?;
        let found = Some(cells).filter(|cells| cells.iter().any(Option::is_some));
        found.map(|cells| columns::registered_client(&cells)).transpose()
    }

    async fn use_client(&self, id: &ClientId, at: Timestamp) -> Result<bool, StoreError> {
        self.write(&self.scripts.use_client, Arguments::new().text(id.as_str()).instant(at)).await
    }

    async fn forget_clients(&self, cutoff: &ClientCutoff, limit: usize) -> Result<bool, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let arguments = Arguments::new().instant(cutoff.unused).instant(cutoff.used).integer(limit);
        self.write(&self.scripts.forget_clients, arguments).await
    }
}

impl IdentityStore for RedisStore {
    async fn link_identity(&self, identity: &IdentityKey, account: &Account, at: Timestamp) -> Result<(), StoreError> {
        let arguments = Arguments::new()
            .bytes(identity.as_bytes())
            .text(account.id.as_str())
            .columns(&IDENTITY, Values::default().account(Some(account)))
            .columns(&["linked_at"], Values::default().instant(at));
        self.write::<bool>(&self.scripts.link_identity, arguments).await.map(drop)
    }

    async fn find_identity(&self, identity: &IdentityKey) -> Result<Option<Account>, StoreError> {
        let found: Option<Cells> =
            self.read(&self.scripts.find_identity, Arguments::new().bytes(identity.as_bytes())).await?;
        found.map(|cells| columns::account(&cells)).transpose()
    }

    async fn list_identities(
        &self,
        account: &AccountId,
        after: Option<&IdentityKey>,
        limit: usize,
    ) -> Result<Vec<LinkedIdentity>, StoreError> {
        let arguments = Arguments::new()
            .text(account.as_str())
            .bytes(after.map_or(&[][..], |key| key.as_bytes().as_slice()))
            .integer(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<Cells> = self.read(&self.scripts.list_identities, arguments).await?;
        rows.iter().map(columns::linked_identity).collect()
    }

    async fn unlink_identity(&self, identity: &IdentityKey) -> Result<Option<Account>, StoreError> {
        let found: Option<Cells> =
            self.write(&self.scripts.unlink_identity, Arguments::new().bytes(identity.as_bytes())).await?;
        found.map(|cells| columns::account(&cells)).transpose()
    }

    async fn unlink_account(&self, account: &AccountId, limit: usize) -> Result<bool, StoreError> {
        let arguments = Arguments::new().text(account.as_str()).integer(i64::try_from(limit).unwrap_or(i64::MAX));
        self.write(&self.scripts.unlink_account, arguments).await
    }

    async fn use_once(&self, token: &TokenKey, until: Timestamp) -> Result<bool, StoreError> {
        self.write(&self.scripts.use_once, Arguments::new().bytes(token.as_bytes()).instant(until)).await
    }

    async fn is_used(&self, token: &TokenKey) -> Result<bool, StoreError> {
        self.read(&self.scripts.is_used, Arguments::new().bytes(token.as_bytes())).await
    }

    async fn forget_used(&self, cutoff: Timestamp, limit: usize) -> Result<bool, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(&self.scripts.forget_used, Arguments::new().instant(cutoff).integer(limit)).await
    }
}

impl Portable for RedisStore {
    async fn authorizations_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, NewAuthorizationRequest)>, StoreError> {
        let rows: Vec<Cells> = self.read(&self.scripts.authorizations_after, page(after, limit)).await?;
        let new = |row: &Cells| {
            // After the columns of the authorization request come its position and its lookups.
            let lookups = row.iter().skip(AUTHORIZATION.len() + 1).map(|cell| columns::lookup(&vec![cell.clone()]));
            let lookups = lookups.collect::<Result<_, _>>()?;
            let new = NewAuthorizationRequest::new(columns::authorization(row)?, lookups);
            Ok((columns::place(row, AUTHORIZATION.len())?, new))
        };
        rows.iter().map(new).collect()
    }

    async fn sessions_after(&self, after: u64, limit: usize) -> Result<Vec<(u64, StoredSession)>, StoreError> {
        let rows: Vec<Cells> = self.read(&self.scripts.sessions_after, page(after, limit)).await?;
        let mut all = Vec::new();
        for row in &rows {
            let id = row.text(0)?.unwrap_or_default();
            let tokens: Vec<Cells> = self.read(&self.scripts.refresh_tokens_of, Arguments::new().text(id)).await?;
            let tokens = tokens.iter().map(columns::refresh_token).collect::<Result<_, _>>()?;
            // After the columns of the session come the two of its last refresh.
            all.push((columns::place(row, SESSION.len() + 2)?, columns::stored_session(row, tokens)?));
        }
        Ok(all)
    }

    async fn import_authorization(&self, new: &NewAuthorizationRequest) -> Result<bool, StoreError> {
        let NewAuthorizationRequest { request, lookups } = new;
        let account = request.account.as_ref().map_or("", |account| account.id.as_str());
        let arguments = Arguments::new()
            .text(request.id.as_str())
            .text(&columns::source(request).unwrap_or_default())
            .instant(request.expires_at)
            .text(account)
            .text(columns::state_of(&request.decision))
            .lookups(lookups)
            .columns(&AUTHORIZATION, Values::authorization(request));
        self.write(&self.scripts.import_authorization, arguments).await
    }

    async fn import_session(&self, stored: &StoredSession) -> Result<bool, StoreError> {
        let StoredSession { session: record, refreshed, refresh_tokens } = stored;
        let session = &record.session;
        let arguments = Arguments::new()
            .text(session.id.as_str())
            .text(session.account.id.as_str())
            .text(record.authorization.as_str())
            .bytes(session.access.as_bytes())
            .values(Values::default().instant(refreshed.map(|last| last.at)))
            .bytes(refreshed.as_ref().map_or(&[], |last| &last.salt.0))
            .instant(record.ends_at())
            .text(&refresh_tokens.len().to_string());
        let arguments = refresh_tokens.iter().fold(arguments, |arguments, token| {
            let generation = token.generation.to_string();
            arguments.bytes(token.digest.as_bytes()).text(&generation).instant(token.ends_at)
        });
        let arguments = arguments.columns(&SESSION, Values::session(record));
        self.write(&self.scripts.import_session, arguments).await
    }
}

fn page(after: u64, limit: usize) -> Arguments {
    Arguments::new().text(&after.to_string()).text(&limit.to_string())
}

impl Row for Cells {
    fn text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        self.bytes(index)?.map(|bytes| std::str::from_utf8(bytes).map_err(|_| error::unreadable())).transpose()
    }

    fn any_text(&self, index: usize) -> Result<Option<&str>, StoreError> {
        self.text(index)
    }

    fn integer(&self, index: usize) -> Result<Option<i64>, StoreError> {
        self.text(index)?.map(|text| text.parse().map_err(|_| error::unreadable())).transpose()
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, StoreError> {
        Ok(self.get(index).and_then(Option::as_deref))
    }
}
