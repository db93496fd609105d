//! Rows as values. Each function takes the columns in the order of its list.

use std::sync::Arc;

use sqlx::{Column, Decode, Row, Sqlite, Type, sqlite::SqliteRow};

use super::{super::StoreError, error};
use crate::core::{
    clock::Timestamp,
    id::{AccountId, RegistrationId, SessionId},
    registration::{Account, Client, Decision, Registration},
    scope::ScopeSet,
    secret::{Digest, Kind},
    session::{Revocation, RevokedBy, Session, Use},
    text::HumanText,
};

macro_rules! registration_columns {
    () => {
        "id, claim, client_name, client_label, client_address, client_method, requested, created_at, expires_at, \
         account_id, account_label, state, granted"
    };
}

macro_rules! session_columns {
    () => {
        "id, registration, resource, account_id, account_label, client_name, client_label, client_address, \
         client_method, scopes, created_at, expires_at, refresh_expires_at, last_use_at, last_use_address, revoked_at, \
         revoked_by"
    };
}

pub(super) use {registration_columns, session_columns};

pub(super) fn registration(row: &SqliteRow) -> Result<Registration, StoreError> {
    let mut fields = Fields { row, next: 0 };
    Ok(Registration {
        id: fields.parse(RegistrationId::parse)?,
        claim: fields.digest()?,
        client: fields.client()?,
        requested: fields.parse(scopes)?,
        created_at: fields.instant()?,
        expires_at: fields.instant()?,
        account: fields.optional_account()?,
        decision: fields.decision()?,
    })
}

pub(super) fn session(row: &SqliteRow) -> Result<Session, StoreError> {
    let mut fields = Fields { row, next: 0 };
    Ok(Session {
        id: fields.parse(SessionId::parse)?,
        registration: fields.parse(RegistrationId::parse)?,
        resource: fields.parse(|text| Some(Arc::from(text)))?,
        account: Account { id: fields.parse(account_id)?, label: fields.take()? },
        client: fields.client()?,
        scopes: fields.parse(scopes)?,
        created_at: fields.instant()?,
        expires_at: fields.instant()?,
        refresh_expires_at: fields.instant()?,
        last_use: fields.last_use()?,
        revoked: fields.revocation()?,
    })
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

    fn digest<K: Kind>(&mut self) -> Result<Digest<K>, StoreError> {
        let bytes: &[u8] = self.take()?;
        bytes.try_into().map(Digest::from_bytes).map_err(|_| self.garbage())
    }

    fn instant(&mut self) -> Result<Timestamp, StoreError> {
        self.take().map(Timestamp::from_millis)
    }

    fn client(&mut self) -> Result<Client, StoreError> {
        Ok(Client {
            name: self.parse(human_text)?,
            label: self.parse_optional(human_text)?,
            address: self.parse_optional(|text| text.parse().ok())?,
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
            _ => Err(self.garbage()),
        }
    }

    fn last_use(&mut self) -> Result<Option<Use>, StoreError> {
        let at: Option<i64> = self.take()?;
        let address = self.parse_optional(|text| text.parse().ok())?;
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
    [RevokedBy::Agent, RevokedBy::Human, RevokedBy::Service].into_iter().find(|by| by.as_str() == text)
}
