//! Conversion of authorization requests and sessions to and from columns, for all engines that store rows. Each
//! function uses the column order of its list.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{RefreshToken, StoreError, StoreErrorKind, StoredSession};
use crate::types::{
    authorization::{Account, AuthorizationRequest, Client, Decision, Flow, Lookup},
    client::RegisteredClient,
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
    identity::{IdentityKey, LinkedIdentity},
    scope::ScopeSet,
    secret::{Digest, Kind},
    session::{
        LastUsed, Redeemer, RefreshTokenState, Refreshed, Revocation, RevokedBy, Salt, Session, SessionRecord, Use,
    },
    text::HumanText,
};

pub(super) const AUTHORIZATION: [&str; 21] = [
    "id",
    "resource",
    "flow",
    "client_name",
    "client_label",
    "client_kind",
    "client_instance",
    "client_address",
    "client_method",
    "client_id",
    "client_claims",
    "requested",
    "created_at",
    "expires_at",
    "account_id",
    "account_label",
    "lasting",
    "state",
    "granted",
    "failed_attempts",
    "source",
];

pub(super) const SESSION: [&str; 27] = [
    "id",
    "access",
    "resource",
    "account_id",
    "account_label",
    "client_name",
    "scopes",
    "expires_at",
    "last_use_at",
    "revoked_at",
    "revoked_by",
    "request",
    "client_label",
    "client_kind",
    "client_instance",
    "client_address",
    "client_method",
    "client_id",
    "client_claims",
    "granted",
    "created_at",
    "redeemer_address",
    "redeemer_program",
    "refresh_expires_at",
    "lasts_until",
    "name",
    "last_use_address",
];

pub(super) const CLIENT: [&str; 4] = ["id", "metadata", "created_at", "used_at"];

/// The columns of a linked identity that are read.
pub(super) const IDENTITY: [&str; 2] = ["account_id", "account_label"];

/// The columns of a linked identity that a list reads.
pub(super) const LINKED_IDENTITY: [&str; 4] = ["account_id", "account_label", "linked_at", "identity"];

/// The first columns of a session: the only ones that a token check reads.
pub(super) const CHECKED: &[&str] = SESSION.split_at(11).0;

/// The value of a column.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text without a NUL character.
    Text(Option<String>),
    /// Arbitrary text, chosen by the host or an agent. Not every engine accepts every character in a text column.
    AnyText(Option<String>),
    Integer(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

/// Column values under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(pub(super) Vec<Value>);

impl Values {
    pub(super) fn text<'t>(mut self, text: impl Into<Option<&'t str>>) -> Self {
        self.0.push(Value::Text(text.into().map(str::to_owned)));
        self
    }

    pub(super) fn any_text<'t>(mut self, text: impl Into<Option<&'t str>>) -> Self {
        self.0.push(Value::AnyText(text.into().map(str::to_owned)));
        self
    }

    pub(super) fn integer(mut self, integer: impl Into<Option<i64>>) -> Self {
        self.0.push(Value::Integer(integer.into()));
        self
    }

    pub(super) fn instant(self, instant: impl Into<Option<Timestamp>>) -> Self {
        self.integer(instant.into().map(Timestamp::as_millis))
    }

    pub(super) fn duration(self, span: Option<Duration>) -> Self {
        self.integer(span.map(|span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    pub(super) fn bytes<'b>(mut self, bytes: impl Into<Option<&'b [u8]>>) -> Self {
        self.0.push(Value::Bytes(bytes.into().map(<[u8]>::to_vec)));
        self
    }

    pub(super) fn digest<'d, K: Kind>(self, digest: impl Into<Option<&'d Digest<K>>>) -> Self {
        self.bytes(digest.into().map(|digest| digest.as_bytes().as_slice()))
    }

    pub(super) fn human_text<'t>(self, text: impl Into<Option<&'t HumanText>>) -> Self {
        self.text(text.into().map(HumanText::as_str))
    }

    pub(super) fn address(mut self, address: Option<IpAddr>) -> Self {
        self.0.push(Value::Text(address.map(|address| address.to_string())));
        self
    }

    pub(super) fn scopes<'s>(mut self, scopes: impl Into<Option<&'s ScopeSet>>) -> Self {
        self.0.push(Value::Text(scopes.into().map(ScopeSet::to_string)));
        self
    }

    pub(super) fn account(self, account: Option<&Account>) -> Self {
        self.text(account.map(|account| account.id.as_str())).any_text(account.map(|account| account.label.as_str()))
    }

    fn client(self, client: &Client) -> Self {
        self.human_text(&client.name).client_beside_its_name(client)
    }

    fn client_beside_its_name(self, client: &Client) -> Self {
        self.human_text(&client.label)
            .human_text(&client.kind)
            .human_text(&client.instance)
            .address(client.address)
            .human_text(&client.method)
            .text(client.id.as_ref().map(ClientId::as_str))
            .text(Claims::of(client).as_deref())
    }

    /// The columns of [`AUTHORIZATION`].
    pub(super) fn authorization(new: &AuthorizationRequest) -> Self {
        Self::default()
            .text(new.id.as_str())
            .text(&*new.resource)
            .text(new.flow.as_str())
            .client(&new.client)
            .scopes(&new.requested)
            .instant(new.created_at)
            .instant(new.expires_at)
            .account(new.account.as_ref())
            .duration(new.lasting)
            .text(state_of(&new.decision))
            .scopes(new.granted())
            .integer(i64::from(new.failed_attempts))
            .text(source(new).as_deref())
    }

    /// The columns of [`CLIENT`].
    pub(super) fn registered_client(new: &RegisteredClient) -> Self {
        Self::default().text(new.id.as_str()).text(&*new.metadata).instant(new.created_at).instant(new.used_at)
    }

    /// The columns of [`SESSION`].
    pub(super) fn session(new: &SessionRecord) -> Self {
        let session = &new.session;
        Self::default()
            .text(session.id.as_str())
            .digest(&session.access)
            .text(&*session.resource)
            .account(Some(&session.account))
            .human_text(&session.client)
            .scopes(&session.scopes)
            .instant(session.expires_at)
            .instant(new.last_use.map(|last| last.at))
            .instant(new.revoked.map(|revoked| revoked.at))
            .text(new.revoked.map(|revoked| revoked.by.as_str()))
            .text(new.authorization.as_str())
            .client_beside_its_name(&new.client)
            .scopes(&new.granted)
            .instant(new.created_at)
            .address(new.redeemer.address)
            .human_text(&new.redeemer.program)
            .instant(new.refresh_expires_at)
            .instant(new.lasts_until)
            .human_text(&new.name)
            .address(new.last_use.and_then(|last| last.address))
    }
}

/// Further claims of a client, as one JSON object without members that have no value. Another claim needs no column.
#[derive(Default, Deserialize, Serialize)]
struct Claims<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

impl Claims<'_> {
    /// The column of a client; `None` if it claims no more.
    fn of(client: &Client) -> Option<String> {
        let reason = client.reason.as_ref().map(|reason| Cow::Borrowed(reason.as_str()))?;
        serde_json::to_string(&Claims { reason: Some(reason) }).ok()
    }
}

/// The source that the caps count an authorization request against. Sources of one IPv6 network are neighbours in every
/// usual collation, because all have the same length and begin with the network's digits.
pub(super) fn source(authorization: &AuthorizationRequest) -> Option<String> {
    authorization.client.source().map(|source| sources_of(source).0)
}

/// The first and the last source of a network.
pub(super) fn sources_of(network: IpNet) -> (String, String) {
    let source = |address: IpAddr| match address {
        IpAddr::V4(address) => format!("v4 {address}"),
        IpAddr::V6(address) => format!("v6 {:016x}", address.to_bits() >> 64),
    };
    (source(network.network()), source(network.broadcast()))
}

pub(super) fn state_of(decision: &Decision) -> &'static str {
    match decision {
        Decision::Undecided => "pending",
        Decision::Approved(_) => "approved",
        Decision::Denied => "denied",
        Decision::Redeemed(_) => "redeemed",
        Decision::Revoked => "revoked",
        Decision::Locked => "locked",
    }
}

/// A row that an engine returns.
pub(super) trait Row {
    fn text(&self, index: usize) -> Result<Option<&str>, StoreError>;
    fn any_text(&self, index: usize) -> Result<Option<&str>, StoreError>;
    fn integer(&self, index: usize) -> Result<Option<i64>, StoreError>;
    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, StoreError>;
}

pub(super) fn authorization(row: &impl Row) -> Result<AuthorizationRequest, StoreError> {
    let mut fields = Fields::new(row, &AUTHORIZATION);
    let id = fields.parse(AuthorizationRequestId::parse)?;
    let (resource, flow) = (fields.text()?.into(), Flow::from_stored(fields.text()?));
    let name = fields.parse(human_text)?;
    Ok(AuthorizationRequest {
        id,
        resource,
        flow,
        client: fields.client(name)?,
        requested: fields.parse(scopes)?,
        created_at: fields.instant()?,
        expires_at: fields.instant()?,
        account: fields.optional_account()?,
        lasting: fields.duration()?,
        decision: fields.decision()?,
        failed_attempts: fields.integer()?.try_into().map_err(|_| fields.garbage())?,
    })
}

/// The columns of [`CLIENT`].
pub(super) fn registered_client(row: &impl Row) -> Result<RegisteredClient, StoreError> {
    let mut fields = Fields::new(row, &CLIENT);
    let id = fields.parse(client_id)?;
    let metadata = fields.text()?;
    let mut client = RegisteredClient::new(id, metadata, fields.instant()?);
    client.used_at = fields.optional_instant()?;
    Ok(client)
}

/// The columns of [`IDENTITY`].
pub(super) fn account(row: &impl Row) -> Result<Account, StoreError> {
    let mut fields = Fields::new(row, &IDENTITY);
    fields.optional_account()?.ok_or_else(|| fields.garbage())
}

/// The columns of [`LINKED_IDENTITY`].
pub(super) fn linked_identity(row: &impl Row) -> Result<LinkedIdentity, StoreError> {
    let mut fields = Fields::new(row, &LINKED_IDENTITY);
    let account = fields.optional_account()?.ok_or_else(|| fields.garbage())?;
    let linked_at = fields.instant()?;
    let key = row.bytes(3)?.and_then(|bytes| bytes.try_into().ok());
    let key = key.map(IdentityKey::from_bytes).ok_or_else(|| garbage("identity"))?;
    Ok(LinkedIdentity::new(key, account, linked_at))
}

/// Reads the columns of [`CHECKED`]. The caller's query excludes revoked sessions.
pub(super) fn session(row: &impl Row) -> Result<Session, StoreError> {
    let (session, _, revoked) = Fields::new(row, CHECKED).session()?;
    if revoked.is_some() { Err(garbage("revoked_at")) } else { Ok(session) }
}

/// The columns of [`SESSION`].
pub(super) fn record(row: &impl Row) -> Result<SessionRecord, StoreError> {
    Fields::new(row, &SESSION).record()
}

/// Reads the columns of a session, then the age of the refresh token and the last refresh.
pub(super) fn refresh_token_state(row: &impl Row) -> Result<RefreshTokenState, StoreError> {
    let mut fields = Fields::new(row, &SESSION);
    let session = fields.record()?;
    let age = fields.integer()?;
    Ok(RefreshTokenState { session, age: age.try_into().map_err(|_| fields.garbage())?, last: fields.refreshed()? })
}

/// Reads the columns of a session, then its last refresh.
pub(super) fn stored_session(row: &impl Row, refresh_tokens: Vec<RefreshToken>) -> Result<StoredSession, StoreError> {
    let mut fields = Fields::new(row, &SESSION);
    Ok(StoredSession { session: fields.record()?, refreshed: fields.refreshed()?, refresh_tokens })
}

/// Reads the digest, generation and expiry of a refresh token.
pub(super) fn refresh_token(row: &impl Row) -> Result<RefreshToken, StoreError> {
    let mut fields = Fields::new(row, &["refresh", "generation", "ends_at"]);
    Ok(RefreshToken {
        digest: fields.optional_digest()?.ok_or_else(|| fields.garbage())?,
        generation: fields.integer()?.try_into().map_err(|_| fields.garbage())?,
        ends_at: fields.instant()?,
    })
}

/// Reads one lookup of an authorization request.
pub(super) fn lookup(row: &impl Row) -> Result<Lookup, StoreError> {
    let bytes = row.bytes(0)?.and_then(|bytes| bytes.try_into().ok());
    bytes.map(Lookup::from_bytes).ok_or_else(|| garbage("lookup"))
}

/// Reads the position of a row from the column `index`.
pub(super) fn place(row: &impl Row, index: usize) -> Result<u64, StoreError> {
    row.integer(index)?.and_then(|place| place.try_into().ok()).ok_or_else(|| garbage("seq"))
}

struct Fields<'r, R> {
    row: &'r R,
    names: &'static [&'static str],
    next: usize,
}

impl<'r, R: Row> Fields<'r, R> {
    const fn new(row: &'r R, names: &'static [&'static str]) -> Self {
        Self { row, names, next: 0 }
    }

    fn take<T>(
        &mut self,
        read: impl FnOnce(&'r R, usize) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let index = self.next;
        self.next += 1;
        read(self.row, index)
    }

    /// The error for the column read last.
    fn garbage(&self) -> StoreError {
        garbage(self.next.checked_sub(1).and_then(|index| self.names.get(index)).unwrap_or(&"?"))
    }

    fn text(&mut self) -> Result<&'r str, StoreError> {
        self.take(R::text)?.ok_or_else(|| self.garbage())
    }

    fn any_text(&mut self) -> Result<Option<String>, StoreError> {
        Ok(self.take(R::any_text)?.map(str::to_owned))
    }

    fn integer(&mut self) -> Result<i64, StoreError> {
        self.take(R::integer)?.ok_or_else(|| self.garbage())
    }

    fn optional_instant(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.take(R::integer)?.map(Timestamp::from_millis))
    }

    fn parse<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.text()?;
        parse(text).ok_or_else(|| self.garbage())
    }

    fn parse_optional<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        let text = self.take(R::text)?;
        text.map(|text| parse(text).ok_or_else(|| self.garbage())).transpose()
    }

    fn optional_digest<K: Kind>(&mut self) -> Result<Option<Digest<K>>, StoreError> {
        let bytes = self.take(R::bytes)?;
        bytes.map(|bytes| bytes.try_into().map(Digest::from_bytes).map_err(|_| self.garbage())).transpose()
    }

    fn duration(&mut self) -> Result<Option<Duration>, StoreError> {
        let millis = self.take(R::integer)?.map(u64::try_from).transpose();
        Ok(millis.map_err(|_| self.garbage())?.map(Duration::from_millis))
    }

    fn instant(&mut self) -> Result<Timestamp, StoreError> {
        self.integer().map(Timestamp::from_millis)
    }

    /// Reads a session, its last use, and its revocation.
    fn session(&mut self) -> Result<(Session, Option<Timestamp>, Option<Revocation>), StoreError> {
        let mut session = Session {
            id: self.parse(SessionId::parse)?,
            access: self.optional_digest()?.ok_or_else(|| self.garbage())?,
            resource: self.parse(|text| Some(Arc::from(text)))?,
            account: self.optional_account()?.ok_or_else(|| self.garbage())?,
            client: self.parse(human_text)?,
            scopes: self.parse(scopes)?,
            expires_at: self.instant()?,
            last_used: LastUsed::default(),
        };
        let last_use = self.optional_instant()?;
        session.last_used = LastUsed::since(last_use);
        Ok((session, last_use, self.revocation()?))
    }

    fn record(&mut self) -> Result<SessionRecord, StoreError> {
        let (session, last_use, revoked) = self.session()?;
        Ok(SessionRecord {
            authorization: self.parse(AuthorizationRequestId::parse)?,
            client: self.client(session.client.clone())?,
            granted: self.parse(scopes)?,
            created_at: self.instant()?,
            redeemer: Redeemer { address: self.address()?, program: self.parse_optional(human_text)? },
            refresh_expires_at: self.instant()?,
            lasts_until: self.optional_instant()?,
            name: self.parse_optional(human_text)?,
            last_use: self.last_use(last_use)?,
            revoked,
            session: Arc::new(session),
        })
    }

    fn refreshed(&mut self) -> Result<Option<Refreshed>, StoreError> {
        let at = self.optional_instant()?;
        let salt = self.take(R::bytes)?;
        match (at, salt.map(<[u8; 32]>::try_from)) {
            (Some(at), Some(Ok(salt))) => Ok(Some(Refreshed { at, salt: Salt(salt) })),
            (None, None) => Ok(None),
            _ => Err(self.garbage()),
        }
    }

    fn address(&mut self) -> Result<Option<IpAddr>, StoreError> {
        self.parse_optional(|text| text.parse().ok())
    }

    /// Reads the client columns after the name.
    fn client(&mut self, name: HumanText) -> Result<Client, StoreError> {
        let mut client = Client {
            label: self.parse_optional(human_text)?,
            kind: self.parse_optional(human_text)?,
            instance: self.parse_optional(human_text)?,
            address: self.address()?,
            method: self.parse_optional(human_text)?,
            id: self.parse_optional(client_id)?,
            ..Client::named(name)
        };
        let claims = self.take(R::text)?.map(serde_json::from_str::<Claims<'_>>).transpose();
        let claims = claims.map_err(|_| self.garbage())?.unwrap_or_default();
        client.reason = claims.reason.map(|reason| HumanText::from_stored(&reason));
        Ok(client)
    }

    fn optional_account(&mut self) -> Result<Option<Account>, StoreError> {
        let id = self.parse_optional(account_id)?;
        let label = self.any_text()?;
        match (id, label) {
            (Some(id), Some(label)) => Ok(Some(Account { id, label })),
            (None, None) => Ok(None),
            _ => Err(self.garbage()),
        }
    }

    fn decision(&mut self) -> Result<Decision, StoreError> {
        let state = self.text()?;
        let granted = self.parse_optional(scopes)?;
        match (state, granted) {
            ("pending", None) => Ok(Decision::Undecided),
            ("approved", Some(granted)) => Ok(Decision::Approved(granted)),
            ("denied", None) => Ok(Decision::Denied),
            ("redeemed", Some(granted)) => Ok(Decision::Redeemed(granted)),
            ("revoked", None) => Ok(Decision::Revoked),
            ("locked", None) => Ok(Decision::Locked),
            _ => Err(self.garbage()),
        }
    }

    fn last_use(&mut self, at: Option<Timestamp>) -> Result<Option<Use>, StoreError> {
        let address = self.address()?;
        match (at, address) {
            (Some(at), address) => Ok(Some(Use { at, address })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(self.garbage()),
        }
    }

    fn revocation(&mut self) -> Result<Option<Revocation>, StoreError> {
        let at = self.optional_instant()?;
        let by = self.parse_optional(revoked_by)?;
        match (at, by) {
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

fn client_id(text: &str) -> Option<ClientId> {
    ClientId::new(text).ok()
}

/// Text for humans is never refused when it is read, so that one old name does not hide a list.
fn human_text(text: &str) -> Option<HumanText> {
    Some(HumanText::from_stored(text))
}

fn revoked_by(text: &str) -> Option<RevokedBy> {
    [RevokedBy::Agent, RevokedBy::Human, RevokedBy::Service, RevokedBy::Reuse]
        .into_iter()
        .find(|by| by.as_str() == text)
}

/// The error for a value that the store never writes.
pub(super) fn garbage(column: &str) -> StoreError {
    StoreError::because(StoreErrorKind::Corrupt, Garbage(column.to_owned()))
}

#[derive(Debug, thiserror::Error)]
#[error("column `{0}` makes no sense")]
struct Garbage(String);
