//! Rows as values. Each function takes the columns in the order of its list.

use std::{net::IpAddr, sync::Arc};

use sqlx::{Column, Decode, Row, Sqlite, Type, sqlite::SqliteRow};

use super::{super::StoreError, error};
use crate::core::{
    callback::Callback,
    clock::Timestamp,
    id::{AccountId, RegistrationId, SessionId},
    pkce::CodeChallenge,
    registration::{Account, Client, Code, CodeDigest, Decision, Mode, Registration},
    scope::ScopeSet,
    secret::{Digest, Kind},
    session::{Lineage, Redeemer, Refreshed, Revocation, RevokedBy, Salt, Session, Use},
    text::HumanText,
};

macro_rules! registration_columns {
    () => {
        "id, mode, claim, poll, exchange, callback, callback_state, challenge, client_name, client_label, client_kind, \
         client_instance, client_address, client_method, requested, created_at, expires_at, account_id, account_label, \
         state, granted, code, code_expires_at, misses"
    };
}

macro_rules! session_columns {
    () => {
        "id, registration, resource, account_id, account_label, client_name, client_label, client_kind, \
         client_instance, client_address, client_method, granted, scopes, created_at, redeemer_address, \
         redeemer_program, expires_at, refresh_expires_at, last_use_at, last_use_address, revoked_at, revoked_by"
    };
}

pub(super) use {registration_columns, session_columns};

pub(super) fn registration(row: &SqliteRow) -> Result<Registration, StoreError> {
    let mut fields = Fields { row, next: 0 };
    let id = fields.parse(RegistrationId::parse)?;
    let mode = fields.mode()?;
    Ok(Registration {
        id,
        client: fields.client()?,
        requested: fields.parse(scopes)?,
        created_at: fields.instant()?,
        expires_at: fields.instant()?,
        account: fields.optional_account()?,
        decision: fields.decision()?,
        code: fields.code(&mode)?,
        misses: fields.take()?,
        mode,
    })
}

pub(super) fn session(row: &SqliteRow) -> Result<Session, StoreError> {
    Fields { row, next: 0 }.session()
}

/// The columns of a session, and behind them the generation that is asked for and those of [`Lineage`].
pub(super) fn lineage(row: &SqliteRow) -> Result<Lineage, StoreError> {
    let mut fields = Fields { row, next: 0 };
    let session = fields.session()?;
    let age: i64 = fields.take()?;
    Ok(Lineage { session, age: age.try_into().map_err(|_| fields.garbage())?, last: fields.refreshed()? })
}

pub(super) fn session_id(row: &SqliteRow) -> Result<SessionId, StoreError> {
    Fields { row, next: 0 }.parse(SessionId::parse)
}

struct Fields<'r> {
    row: &'r SqliteRow,
    next: usize,
}

impl<'r> Fields<'r> {
    fn take<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T, StoreError> {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index).map_err(error::failed)
    }

    /// That the column taken last makes no sense.
    fn garbage(&self) -> StoreError {
        let index = self.next.saturating_sub(1);
        error::garbage(self.row.columns().get(index).map_or("?", Column::name))
    }

    fn parse<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.take()?;
        parse(text).ok_or_else(|| self.garbage())
    }

    fn parse_optional<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.take()?;
        text.map(|text| parse(text).ok_or_else(|| self.garbage())).transpose()
    }

    fn optional_digest<K: Kind>(&mut self) -> Result<Option<Digest<K>>, StoreError> {
        let bytes: Option<&[u8]> = self.take()?;
        bytes.map(|bytes| bytes.try_into().map(Digest::from_bytes).map_err(|_| self.garbage())).transpose()
    }

    fn instant(&mut self) -> Result<Timestamp, StoreError> {
        self.take().map(Timestamp::from_millis)
    }

    fn session(&mut self) -> Result<Session, StoreError> {
        Ok(Session {
            id: self.parse(SessionId::parse)?,
            registration: self.parse(RegistrationId::parse)?,
            resource: self.parse(|text| Some(Arc::from(text)))?,
            account: Account { id: self.parse(account_id)?, label: self.take()? },
            client: self.client()?,
            granted: self.parse(scopes)?,
            scopes: self.parse(scopes)?,
            created_at: self.instant()?,
            redeemer: Redeemer { address: self.address()?, program: self.parse_optional(human_text)? },
            expires_at: self.instant()?,
            refresh_expires_at: self.instant()?,
            last_use: self.last_use()?,
            revoked: self.revocation()?,
        })
    }

    fn mode(&mut self) -> Result<Mode, StoreError> {
        let mode: &str = self.take()?;
        let claim = self.optional_digest()?;
        let poll = self.optional_digest()?;
        let exchange = self.optional_digest()?;
        let callback: Option<&str> = self.take()?;
        let state: Option<String> = self.take()?;
        let challenge: Option<&[u8]> = self.take()?;
        let challenge = challenge.and_then(|bytes| bytes.try_into().ok()).map(CodeChallenge::from_bytes);
        let read = match (mode, claim, poll, exchange, callback, challenge) {
            ("claim", Some(claim), None, None, None, None) => Mode::Claim { claim },
            ("browser", None, Some(poll), None, Some(callback), Some(challenge)) => {
                Mode::Browser { poll, callback: Callback::kept(callback), state, challenge }
            }
            ("detached", None, Some(poll), Some(exchange), None, None) => {
                Mode::Detached { poll, exchange, finish_code: false }
            }
            ("detached_or_finish_code", None, Some(poll), Some(exchange), None, None) => {
                Mode::Detached { poll, exchange, finish_code: true }
            }
            ("finish_code", None, Some(poll), None, None, None) => Mode::FinishCode { poll },
            _ => return Err(error::garbage("mode")),
        };
        Ok(read)
    }

    fn code(&mut self, mode: &Mode) -> Result<Option<Code>, StoreError> {
        let digest = match mode {
            Mode::Browser { .. } => self.optional_digest()?.map(CodeDigest::Exchange),
            _ => self.optional_digest()?.map(CodeDigest::Finish),
        };
        let expires_at: Option<i64> = self.take()?;
        match (digest, expires_at.map(Timestamp::from_millis)) {
            (Some(digest), Some(expires_at)) => Ok(Some(Code { digest, expires_at })),
            (None, None) => Ok(None),
            _ => Err(self.garbage()),
        }
    }

    fn refreshed(&mut self) -> Result<Option<Refreshed>, StoreError> {
        let at: Option<i64> = self.take()?;
        let salt: Option<&[u8]> = self.take()?;
        match (at.map(Timestamp::from_millis), salt.map(<[u8; 32]>::try_from)) {
            (Some(at), Some(Ok(salt))) => Ok(Some(Refreshed { at, salt: Salt(salt) })),
            (None, None) => Ok(None),
            _ => Err(self.garbage()),
        }
    }

    fn address(&mut self) -> Result<Option<IpAddr>, StoreError> {
        self.parse_optional(|text| text.parse().ok())
    }

    fn client(&mut self) -> Result<Client, StoreError> {
        Ok(Client {
            name: self.parse(human_text)?,
            label: self.parse_optional(human_text)?,
            kind: self.parse_optional(human_text)?,
            instance: self.parse_optional(human_text)?,
            address: self.address()?,
            method: self.parse_optional(human_text)?,
        })
    }

    fn optional_account(&mut self) -> Result<Option<Account>, StoreError> {
        let id = self.parse_optional(account_id)?;
        let label: Option<String> = self.take()?;
        match (id, label) {
            (Some(id), Some(label)) => Ok(Some(Account { id, label })),
            (None, None) => Ok(None),
            _ => Err(self.garbage()),
        }
    }

    fn decision(&mut self) -> Result<Decision, StoreError> {
        let state: &str = self.take()?;
        let granted = self.parse_optional(scopes)?;
        match (state, granted) {
            ("pending", None) => Ok(Decision::Undecided),
            ("approved", Some(granted)) => Ok(Decision::Approved(granted)),
            ("denied", None) => Ok(Decision::Denied),
            ("exchanged", Some(granted)) => Ok(Decision::Exchanged(granted)),
            ("revoked", None) => Ok(Decision::Revoked),
            ("locked", None) => Ok(Decision::Locked),
            _ => Err(self.garbage()),
        }
    }

    fn last_use(&mut self) -> Result<Option<Use>, StoreError> {
        let at: Option<i64> = self.take()?;
        let address = self.address()?;
        match (at.map(Timestamp::from_millis), address) {
            (Some(at), address) => Ok(Some(Use { at, address })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(self.garbage()),
        }
    }

    fn revocation(&mut self) -> Result<Option<Revocation>, StoreError> {
        let at: Option<i64> = self.take()?;
        let by = self.parse_optional(revoked_by)?;
        match (at.map(Timestamp::from_millis), by) {
            (Some(at), Some(by)) => Ok(Some(Revocation { at, by })),
            (None, None) => Ok(None),
            _ => Err(self.garbage()),
        }
    }
}

fn scopes(text: &str) -> Option<ScopeSet> {
    ScopeSet::parse(text).ok()
}

fn account_id(text: &str) -> Option<AccountId> {
    AccountId::new(text).ok()
}

fn human_text(text: &str) -> Option<HumanText> {
    HumanText::new(text).ok()
}

fn revoked_by(text: &str) -> Option<RevokedBy> {
    [RevokedBy::Agent, RevokedBy::Human, RevokedBy::Service, RevokedBy::Reuse]
        .into_iter()
        .find(|by| by.as_str() == text)
}
