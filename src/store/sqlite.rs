use std::{fmt, path::Path, sync::Arc};

use sqlx::{Row, Sqlite, SqlitePool, Transaction as SqlTransaction, query, sqlite::SqliteRow};

use super::{CeremonyStore, Creation, PendingCaps, RegistrationKey, RevokeTarget, SessionStore, StoreError};
use crate::core::{
    clock::Timestamp,
    id::{AccountId, RegistrationId, SessionId},
    registration::{Account, Approval, Code, CodeDigest, Decision, MOST_MISSES, Mode, Registration, Transition},
    scope::ScopeSet,
    secret::{Access, Digest, Refresh},
    session::{Lineage, NewSession, RevokedBy, Rotation, Session, Use},
    text::HumanText,
};

mod error;
mod open;
mod row;

use row::{registration_columns, session_columns};

/// Keeps everything in one SQLite file: for a service that runs on one machine, in one process or several.
///
/// **A change that was acknowledged is kept**: the file is in WAL mode and synced before each answer
/// (`synchronous=FULL`), so that what was granted or revoked outlives a killed process, and a power loss too as far as
/// the disk keeps its word. The file must be on a local disk; SQLite's locks don't hold on network file systems.
///
/// The file is the store's own, with `-wal` and `-shm` beside it while it is in use. It holds digests, never a secret,
/// but also the names and network addresses of agents and humans: a new file is readable by its owner only (mode 0600);
/// the mode of one that exists is left as it is.
///
/// Clones share the same connections, one that writes and a few that read. Changes stand in line; reads don't wait for
/// them. A call that does not get its turn within five seconds fails with
/// [`Unavailable`](super::StoreErrorKind::Unavailable). It runs on Tokio, with time enabled.
///
/// ```
/// use tower_agent_auth::{core::secret::Digest, store::{SessionStore, SqliteStore}};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("tower-agent-auth-example-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let store = SqliteStore::open(directory.join("sessions.db")).await?;
/// assert_eq!(store.find_session(&Digest::from_bytes([0; 32])).await?, None);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, creates it if it is missing, and brings its schema up to date. Several may open it at once.
    ///
    /// # Errors
    /// * [`Unavailable`](super::StoreErrorKind::Unavailable) when the file can't be opened, or stays locked;
    /// * [`Corrupt`](super::StoreErrorKind::Corrupt) when it is no SQLite file, belongs to something else, or was
    ///   written by a newer version of this crate;
    /// * [`Other`](super::StoreErrorKind::Other) when SQLite does not take the settings that the promise above needs.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        // An absolute path is never taken for one of SQLite's special names, such as `:memory:`.
        let path = std::path::absolute(path).map_err(error::unopened)?;
        open::create_file(&path)?;
        let readers = open::readers(&path).await?;
        let writer = open::writer(&path).await?;
        Ok(Self { writer, readers })
    }

    async fn begin(&self) -> Result<SqlTransaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(error::failed)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SessionStore for SqliteStore {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        const FIND: &str =
            concat!("SELECT ", session_columns!(), " FROM sessions WHERE access = ?1 AND revoked_at IS NULL",);
        let found = query(FIND).bind(access.as_bytes().as_slice()).fetch_optional(&self.readers);
        let row = found.await.map_err(error::failed)?;
        row.as_ref().map(|row| row::session(row).map(Arc::new)).transpose()
    }
}

impl CeremonyStore for SqliteStore {
    async fn create_registration(
        &self,
        registration: &Registration,
        caps: PendingCaps,
    ) -> Result<Creation, StoreError> {
        let mut transaction = self.begin().await?;
        if let Some(refusal) = refusal(&mut transaction, registration, caps).await? {
            return Ok(refusal);
        }
        insert_registration(&mut transaction, registration).await?;
        forget_old_registrations(&mut transaction, registration.created_at).await?;
        transaction.commit().await.map_err(error::failed)?;
        Ok(Creation::Created)
    }

    async fn find_registration(&self, key: &RegistrationKey) -> Result<Option<Registration>, StoreError> {
        const BY_ID: &str = concat!("SELECT ", registration_columns!(), " FROM registrations WHERE id = ?1");
        const BY_CLAIM: &str = concat!("SELECT ", registration_columns!(), " FROM registrations WHERE claim = ?1");
        let find = match key {
            RegistrationKey::Id(id) => query(BY_ID).bind(id.as_str()),
            RegistrationKey::Claim(claim) => query(BY_CLAIM).bind(claim.as_bytes().as_slice()),
        };
        let found = find.fetch_optional(&self.readers).await.map_err(error::failed)?;
        found.as_ref().map(row::registration).transpose()
    }

    async fn transition(
        &self,
        id: &RegistrationId,
        transition: &Transition,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        // Each WHERE clause states what `Registration::allows` states.
        const OPEN: &str = "UPDATE registrations SET account_id = ?3, account_label = ?4 \
            WHERE id = ?1 AND state = 'pending' AND expires_at > ?2 AND (account_id IS NULL OR account_id = ?3)";
        const APPROVE: &str = "UPDATE registrations \
            SET state = 'approved', granted = ?4, code = ?6, code_expires_at = ?7, expires_at = ?8 \
            WHERE id = ?1 AND state = 'pending' AND expires_at > ?2 AND account_id = ?3 AND json_array_length(?5) > 0 \
            AND NOT EXISTS (SELECT 1 FROM json_each(?5) WHERE instr(' ' || requested || ' ', ' ' || value || ' ') = 0)";
        const DENY: &str = "UPDATE registrations SET state = 'denied' \
            WHERE id = ?1 AND state = 'pending' AND expires_at > ?2 AND account_id = ?3";
        const REVOKE: &str = "UPDATE registrations SET state = 'revoked', granted = NULL \
            WHERE id = ?1 AND state = 'approved' AND expires_at > ?2";
        const MISS: &str = "UPDATE registrations SET misses = misses + 1, \
            state = iif(misses + 1 < ?3, state, 'locked'), granted = iif(misses + 1 < ?3, granted, NULL) \
            WHERE id = ?1 AND state = 'approved' AND expires_at > ?2";
        let bound = |sql: &'static str| query(sql).bind(id.as_str()).bind(at.as_millis());
        let update = match transition {
            Transition::Open(account) => bound(OPEN).bind(account.id.as_str()).bind(&account.label),
            Transition::Approve(Approval { account, scopes, code, expires_at }) => {
                let names = serde_json::Value::from(scopes.names());
                bound(APPROVE)
                    .bind(account.as_str())
                    .bind(scopes.to_string())
                    .bind(names.to_string())
                    .bind(code.as_ref().map(code_bytes))
                    .bind(code.map(|code| code.expires_at.as_millis()))
                    .bind(expires_at.as_millis())
            }
            Transition::Deny(account) => bound(DENY).bind(account.as_str()),
            Transition::Revoke => bound(REVOKE),
            Transition::Miss => bound(MISS).bind(MOST_MISSES),
        };
        let done = update.execute(&self.writer).await.map_err(error::failed)?;
        Ok(done.rows_affected() == 1)
    }

    async fn redeem(&self, new: &NewSession, at: Timestamp) -> Result<bool, StoreError> {
        const EXCHANGE: &str = "UPDATE registrations SET state = 'exchanged' \
            WHERE id = ?1 AND state = 'approved' AND expires_at > ?2";
        let mut transaction = self.begin().await?;
        let exchange = query(EXCHANGE).bind(new.session.registration.as_str()).bind(at.as_millis());
        let done = exchange.execute(&mut *transaction).await.map_err(error::failed)?;
        if done.rows_affected() != 1 {
            return Ok(false);
        }
        insert_session(&mut transaction, new).await?;
        insert_refresh(&mut transaction, &new.session.id, 0, &new.refresh).await?;
        transaction.commit().await.map_err(error::failed)?;
        Ok(true)
    }

    async fn session_of(&self, registration: &RegistrationId) -> Result<Option<Session>, StoreError> {
        const FIND: &str = concat!("SELECT ", session_columns!(), " FROM sessions WHERE registration = ?1");
        let found = query(FIND).bind(registration.as_str()).fetch_optional(&self.readers).await;
        found.map_err(error::failed)?.as_ref().map(row::session).transpose()
    }

    async fn find_refresh(&self, refresh: &Digest<Refresh>) -> Result<Option<Lineage>, StoreError> {
        const FIND: &str = concat!(
            "SELECT ",
            session_columns!(),
            ", sessions.generation - token.generation, refreshed_at, refresh_salt \
             FROM refresh_tokens AS token JOIN sessions ON sessions.id = token.session WHERE token.refresh = ?1",
        );
        let found = query(FIND).bind(refresh.as_bytes().as_slice()).fetch_optional(&self.readers).await;
        found.map_err(error::failed)?.as_ref().map(row::lineage).transpose()
    }

    async fn rotate(&self, rotation: &Rotation, at: Timestamp) -> Result<bool, StoreError> {
        const ROTATE: &str = "UPDATE sessions SET access = ?3, scopes = ?4, expires_at = ?5, refresh_expires_at = ?6, \
                generation = sessions.generation + 1, refreshed_at = ?2, refresh_salt = ?7 \
            FROM refresh_tokens AS token \
            WHERE token.refresh = ?1 AND token.session = sessions.id AND token.generation = sessions.generation \
            AND revoked_at IS NULL AND refresh_expires_at > ?2 \
            RETURNING id, sessions.generation";
        let mut transaction = self.begin().await?;
        let update = query(ROTATE)
            .bind(rotation.from.as_bytes().as_slice())
            .bind(at.as_millis())
            .bind(rotation.access.as_bytes().as_slice())
            .bind(rotation.scopes.to_string())
            .bind(rotation.expires_at.as_millis())
            .bind(rotation.refresh_expires_at.as_millis())
            .bind(rotation.salt.0.as_slice());
        let Some(row) = update.fetch_optional(&mut *transaction).await.map_err(error::failed)? else {
            return Ok(false);
        };
        let generation = row.try_get(1).map_err(error::failed)?;
        insert_refresh(&mut transaction, &row::session_id(&row)?, generation, &rotation.refresh).await?;
        transaction.commit().await.map_err(error::failed)?;
        Ok(true)
    }

    async fn list_sessions(
        &self,
        account: &AccountId,
        before: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>, StoreError> {
        const LIST: &str = concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions WHERE account_id = ?1 AND seq < \
             coalesce((SELECT seq FROM sessions WHERE id = ?2 AND account_id = ?1), 9223372036854775807) \
             ORDER BY seq DESC LIMIT ?3",
        );
        let list = query(LIST)
            .bind(account.as_str())
            .bind(before.map(SessionId::as_str))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = list.fetch_all(&self.readers).await.map_err(error::failed)?;
        rows.iter().map(row::session).collect()
    }

    async fn revoke(&self, target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Result<Vec<SessionId>, StoreError> {
        let mut transaction = self.begin().await?;
        if let RevokeTarget::Account(account) = target {
            revoke_approved(&mut transaction, account, at).await?;
        }
        let rows = end_sessions(&mut transaction, target, by, at).await?;
        transaction.commit().await.map_err(error::failed)?;
        // Only now: an unreadable row must not keep the others alive.
        rows.iter().map(row::session_id).collect()
    }

    async fn record_uses(&self, uses: &[(SessionId, Use)]) -> Result<(), StoreError> {
        // Beside max(), the other columns are of the row that holds the maximum.
        const RECORD: &str = "UPDATE sessions SET last_use_at = use.at, last_use_address = use.address \
            FROM (SELECT value ->> 0 AS id, max(value ->> 1) AS at, value ->> 2 AS address \
                FROM json_each(?1) GROUP BY 1) AS use \
            WHERE sessions.id = use.id AND (last_use_at IS NULL OR last_use_at < use.at)";
        let uses = uses.iter().map(|(id, last)| {
            let address = last.address.map(|address| address.to_string());
            serde_json::json!([id.as_str(), last.at.as_millis(), address])
        });
        let uses = serde_json::Value::from_iter(uses).to_string();
        query(RECORD).bind(uses).execute(&self.writer).await.map_err(error::failed)?;
        Ok(())
    }
}

/// Why the registration can't be kept now, if it can't.
async fn refusal(
    transaction: &mut SqlTransaction<'_, Sqlite>,
    registration: &Registration,
    caps: PendingCaps,
) -> Result<Option<Creation>, StoreError> {
    const COUNT: &str = "SELECT \
        EXISTS (SELECT 1 FROM registrations WHERE id = ?1 OR claim = ?2), \
        (SELECT count(*) FROM registrations WHERE state = 'pending' AND source = ?3 AND expires_at > ?4), \
        (SELECT count(*) FROM registrations WHERE state = 'pending' AND expires_at > ?4)";
    let count = query(COUNT)
        .bind(registration.id.as_str())
        .bind(registration.mode.claim().map(|claim| claim.as_bytes().as_slice()))
        .bind(source(registration))
        .bind(registration.created_at.as_millis());
    let row = count.fetch_one(&mut **transaction).await.map_err(error::failed)?;
    let number = |index: usize| row.try_get::<i64, _>(index).map_err(error::failed);
    let (taken, from_source, pending) = (number(0)?, number(1)?, number(2)?);
    let reached = |cap: Option<u32>, count| cap.is_some_and(|cap| count >= i64::from(cap));
    Ok(if taken != 0 {
        Some(Creation::Conflict)
    } else if registration.client.address.is_some() && reached(caps.per_source, from_source) {
        Some(Creation::SourceFull)
    } else if reached(caps.total, pending) {
        Some(Creation::Full)
    } else {
        None
    })
}

async fn insert_registration(
    transaction: &mut SqlTransaction<'_, Sqlite>,
    new: &Registration,
) -> Result<(), StoreError> {
    const INSERT: &str = concat!(
        "INSERT INTO registrations (",
        registration_columns!(),
        ", source) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
         ?21, ?22, ?23, ?24, ?25)",
    );
    let (callback, state, challenge) = match &new.mode {
        Mode::Browser { callback, state, challenge, .. } => {
            (Some(callback.as_str()), state.as_deref(), Some(challenge.as_bytes().as_slice()))
        }
        _ => (None, None, None),
    };
    let exchange = match &new.mode {
        Mode::Detached { exchange, .. } => Some(exchange.as_bytes().as_slice()),
        _ => None,
    };
    let insert = query(INSERT)
        .bind(new.id.as_str())
        .bind(new.mode.as_str())
        .bind(new.mode.claim().map(|claim| claim.as_bytes().as_slice()))
        .bind(new.mode.poll().map(|poll| poll.as_bytes().as_slice()))
        .bind(exchange)
        .bind(callback)
        .bind(state)
        .bind(challenge)
        .bind(new.client.name.as_str())
        .bind(new.client.label.as_ref().map(HumanText::as_str))
        .bind(new.client.kind.as_ref().map(HumanText::as_str))
        .bind(new.client.instance.as_ref().map(HumanText::as_str))
        .bind(new.client.address.map(|address| address.to_string()))
        .bind(new.client.method.as_ref().map(HumanText::as_str))
        .bind(new.requested.to_string())
        .bind(new.created_at.as_millis())
        .bind(new.expires_at.as_millis())
        .bind(new.account.as_ref().map(|account| account.id.as_str()))
        .bind(new.account.as_ref().map(|account| account.label.as_str()))
        .bind(decision(&new.decision))
        .bind(new.granted().map(ScopeSet::to_string))
        .bind(new.code.as_ref().map(code_bytes))
        .bind(new.code.map(|code| code.expires_at.as_millis()))
        .bind(new.misses)
        .bind(source(new));
    insert.execute(&mut **transaction).await.map_err(error::failed)?;
    Ok(())
}

/// Forgets registrations an hour after they expired, a few at a time: until then agent and human are still told what
/// became of them. Nothing depends on it but the size of the file.
async fn forget_old_registrations(
    transaction: &mut SqlTransaction<'_, Sqlite>,
    now: Timestamp,
) -> Result<(), StoreError> {
    const REMEMBERED_MILLIS: i64 = 3_600_000;
    const FORGET: &str = "DELETE FROM registrations \
        WHERE seq IN (SELECT seq FROM registrations WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 100)";
    let forget = query(FORGET).bind(now.as_millis().saturating_sub(REMEMBERED_MILLIS));
    forget.execute(&mut **transaction).await.map_err(error::failed)?;
    Ok(())
}

async fn insert_session(transaction: &mut SqlTransaction<'_, Sqlite>, new: &NewSession) -> Result<(), StoreError> {
    const INSERT: &str = concat!(
        "INSERT INTO sessions (",
        session_columns!(),
        ", access) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
         ?21, ?22, ?23)",
    );
    let NewSession { session, access, .. } = new;
    let Account { id: account, label } = &session.account;
    let insert = query(INSERT)
        .bind(session.id.as_str())
        .bind(session.registration.as_str())
        .bind(&*session.resource)
        .bind(account.as_str())
        .bind(label)
        .bind(session.client.name.as_str())
        .bind(session.client.label.as_ref().map(HumanText::as_str))
        .bind(session.client.kind.as_ref().map(HumanText::as_str))
        .bind(session.client.instance.as_ref().map(HumanText::as_str))
        .bind(session.client.address.map(|address| address.to_string()))
        .bind(session.client.method.as_ref().map(HumanText::as_str))
        .bind(session.granted.to_string())
        .bind(session.scopes.to_string())
        .bind(session.created_at.as_millis())
        .bind(session.redeemer.address.map(|address| address.to_string()))
        .bind(session.redeemer.program.as_ref().map(HumanText::as_str))
        .bind(session.expires_at.as_millis())
        .bind(session.refresh_expires_at.as_millis())
        .bind(session.last_use.map(|last| last.at.as_millis()))
        .bind(session.last_use.and_then(|last| last.address).map(|address| address.to_string()))
        .bind(session.revoked.map(|revoked| revoked.at.as_millis()))
        .bind(session.revoked.map(|revoked| revoked.by.as_str()))
        .bind(access.as_bytes().as_slice());
    insert.execute(&mut **transaction).await.map_err(error::failed)?;
    Ok(())
}

async fn insert_refresh(
    transaction: &mut SqlTransaction<'_, Sqlite>,
    session: &SessionId,
    generation: i64,
    refresh: &Digest<Refresh>,
) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO refresh_tokens (refresh, session, generation) VALUES (?1, ?2, ?3)";
    let insert = query(INSERT).bind(refresh.as_bytes().as_slice()).bind(session.as_str()).bind(generation);
    insert.execute(&mut **transaction).await.map_err(error::failed)?;
    Ok(())
}

async fn revoke_approved(
    transaction: &mut SqlTransaction<'_, Sqlite>,
    account: &AccountId,
    at: Timestamp,
) -> Result<(), StoreError> {
    const REVOKE: &str = "UPDATE registrations SET state = 'revoked', granted = NULL \
        WHERE account_id = ?1 AND state = 'approved' AND expires_at > ?2";
    let revoke = query(REVOKE).bind(account.as_str()).bind(at.as_millis());
    revoke.execute(&mut **transaction).await.map_err(error::failed)?;
    Ok(())
}

async fn end_sessions(
    transaction: &mut SqlTransaction<'_, Sqlite>,
    target: &RevokeTarget,
    by: RevokedBy,
    at: Timestamp,
) -> Result<Vec<SqliteRow>, StoreError> {
    macro_rules! end {
        ($which:literal) => {
            concat!(
                "UPDATE sessions SET revoked_at = ?1, revoked_by = ?2 WHERE revoked_at IS NULL AND ",
                $which,
                " RETURNING id",
            )
        };
    }
    let bound = |sql: &'static str| query(sql).bind(at.as_millis()).bind(by.as_str());
    let update = match target {
        RevokeTarget::Access(access) => bound(end!("access = ?3")).bind(access.as_bytes().as_slice()),
        RevokeTarget::Refresh(refresh) => bound(end!("id = (SELECT session FROM refresh_tokens WHERE refresh = ?3)"))
            .bind(refresh.as_bytes().as_slice()),
        RevokeTarget::Session(id, account) => {
            bound(end!("id = ?3 AND account_id = ?4")).bind(id.as_str()).bind(account.as_str())
        }
        RevokeTarget::Account(account) => bound(end!("account_id = ?3")).bind(account.as_str()),
    };
    update.fetch_all(&mut **transaction).await.map_err(error::failed)
}

fn source(registration: &Registration) -> Option<String> {
    registration.client.source().map(|source| source.to_string())
}

fn code_bytes(code: &Code) -> Vec<u8> {
    match &code.digest {
        CodeDigest::Exchange(digest) => digest.as_bytes().to_vec(),
        CodeDigest::Finish(digest) => digest.as_bytes().to_vec(),
    }
}

fn decision(decision: &Decision) -> &'static str {
    match decision {
        Decision::Undecided => "pending",
        Decision::Approved(_) => "approved",
        Decision::Denied => "denied",
        Decision::Exchanged(_) => "exchanged",
        Decision::Revoked => "revoked",
        Decision::Locked => "locked",
    }
}
