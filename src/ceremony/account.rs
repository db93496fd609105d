use std::{net::IpAddr, time::Duration};

use serde::Serialize;

use super::{Ceremony, CeremonyError, KnownFlow, sessions::Revoker};
use crate::{
    audit::Event,
    store::RevokeTarget,
    types::{
        authorization::{AuthorizationRequest, Client, State},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId},
        identity::{IdentityKey, LinkedIdentity},
        scope::ScopeSet,
        session::{RevokedBy, SessionRecord},
        text::HumanText,
    },
};

/// How many requests are read, and how many entries of each kind are deleted, at a time.
const AT_ONCE: usize = 500;

/// All that is stored about an account, for its human to take away. Dates are those of RFC 3339. It has no secret and no
/// digest.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AccountExport {
    /// The name of the service.
    pub service: String,
    /// The account's identifier at the service.
    pub account: String,
    /// When this was exported.
    pub exported_at: String,
    /// The sessions, newest first.
    pub sessions: Vec<ExportedSession>,
    /// The authorization requests that the account has opened or decided. They are kept for about an hour after their end.
    pub requests: Vec<ExportedRequest>,
    /// The identities of other issuers that are linked to the account.
    pub identities: Vec<ExportedIdentity>,
}

/// A linked identity of an [`AccountExport`]. Neither its issuer nor its subject is stored, only a digest of both.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportedIdentity {
    /// The label of the account when it was linked.
    pub account_label: String,
    /// When it was linked.
    pub linked_at: String,
}

/// The client of an exported session or request.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportedClient {
    /// The name that it gives itself.
    pub name: String,
    /// Its label for the session.
    pub label: Option<String>,
    /// What it says that it needs the access for.
    pub reason: Option<String>,
    /// The kind of client by its own claim.
    pub kind: Option<String>,
    /// Its name for the instance.
    pub instance: Option<String>,
    /// The way to sign in that it prefers.
    pub method: Option<String>,
    /// The address that it asked from.
    pub address: Option<IpAddr>,
    /// The id of the OAuth client.
    pub id: Option<String>,
}

/// A session of an [`AccountExport`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportedSession {
    /// Its identifier.
    pub id: String,
    /// The authorization request that it was created from.
    pub request: String,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
    /// The name that its human gave it.
    pub name: Option<String>,
    /// The label of the account when the session was created.
    pub account_label: String,
    /// The client.
    pub client: ExportedClient,
    /// The resource that it is for.
    pub resource: String,
    /// The scopes that the human granted.
    pub granted: Vec<String>,
    /// The scopes of its access token.
    pub scopes: Vec<String>,
    /// When it was created.
    pub created_at: String,
    /// The address that collected it.
    pub collected_from: Option<IpAddr>,
    /// The program that collected it, by its own claim.
    pub collected_by: Option<String>,
    /// The last use.
    pub last_used_at: Option<String>,
    /// The address of the last use.
    pub last_used_from: Option<IpAddr>,
    /// When its access token expires.
    pub expires_at: String,
    /// When its refresh token expires.
    pub refresh_expires_at: String,
    /// When it ends at the latest, if its human chose that.
    pub lasts_until: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Who revoked it: `agent`, `human`, `service` or `reuse`.
    pub revoked_by: Option<&'static str>,
}

/// An authorization request of an [`AccountExport`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportedRequest {
    /// Its identifier.
    pub id: String,
    /// `pending`, `approved`, `denied`, `redeemed`, `revoked`, `locked` or `expired`.
    pub state: &'static str,
    /// How the agent collects its access; `None` if this version does not know it.
    pub flow: Option<&'static str>,
    /// The label of the account that opened it.
    pub account_label: Option<String>,
    /// The client.
    pub client: ExportedClient,
    /// The resource that it is for.
    pub resource: String,
    /// The scopes that were asked for.
    pub requested: Vec<String>,
    /// The scopes that the human granted.
    pub granted: Option<Vec<String>>,
    /// How long the human lets the session last, in seconds, if they were offered a choice.
    pub lasting_seconds: Option<u64>,
    /// When it was made.
    pub created_at: String,
    /// When it expires or expired.
    pub expires_at: String,
}

impl Ceremony {
    /// All that is stored about an account. It is read in pages; with many sessions it is large.
    ///
    /// # Errors
    /// When the service fails.
    pub async fn export(&self, account: &AccountId) -> Result<AccountExport, CeremonyError> {
        self.try_to_write_uses().await;
        let (now, mut sessions) = (self.now(), Vec::new());
        self.visit_sessions(account, |record| sessions.push(session(record, now))).await?;
        let (mut requests, mut last) = (Vec::new(), None::<AuthorizationRequestId>);
        loop {
            let read = self.store.list_authorizations(account, last.as_ref(), AT_ONCE).await?;
            requests.extend(read.iter().map(|found| request(found, now)));
            match read.last() {
                Some(found) if read.len() == AT_ONCE => last = Some(found.id.clone()),
                _ => break,
            }
        }
        let identities = self.linked_identities(account).await?;
        let (service, account) = (self.config.name().to_owned(), account.as_str().to_owned());
        Ok(AccountExport { service, account, exported_at: now.to_string(), sessions, requests, identities })
    }

    async fn linked_identities(&self, account: &AccountId) -> Result<Vec<ExportedIdentity>, CeremonyError> {
        let (mut identities, mut last) = (Vec::new(), None::<IdentityKey>);
        let Some(store) = &self.identities else { return Ok(identities) };
        loop {
            let read = store.list_identities(account, last.as_ref(), AT_ONCE).await?;
            identities.extend(read.iter().map(identity));
            match read.last() {
                Some(linked) if read.len() == AT_ONCE => last = Some(linked.key),
                _ => return Ok(identities),
            }
        }
    }

    /// Revokes all sessions and approvals of an account as the [service](RevokedBy::Service), and deletes all that is
    /// stored about it: its sessions, their refresh tokens, its authorization requests, and its links to identities of
    /// other issuers. Returns how many sessions were revoked.
    ///
    /// The host calls it when the account is closed or its human asks for it. Until then,
    /// [`is_active`](crate::accounts::Accounts::is_active) must be `false`, or nobody may be signed in: what the human
    /// approves later is stored anew. Audit events that were recorded before are the sink's matter.
    ///
    /// # Errors
    /// When the service fails; a part may be deleted. Call it again.
    pub async fn forget_account(&self, account: &AccountId) -> Result<usize, CeremonyError> {
        self.forget_account_as(account, &Revoker::by(RevokedBy::Service)).await
    }

    pub(super) async fn forget_account_as(
        &self,
        account: &AccountId,
        revoker: &Revoker,
    ) -> Result<usize, CeremonyError> {
        let revoked = self.revoke_as(&RevokeTarget::Account(account.clone()), revoker).await?;
        if let Some(identities) = &self.identities {
            while identities.unlink_account(account, AT_ONCE).await? {}
        }
        while self.store.forget_account(account, AT_ONCE).await? {}
        self.record(&Event::AccountForgotten { account: account.clone(), reason: revoker.reason.clone() });
        Ok(revoked)
    }
}

fn identity(linked: &LinkedIdentity) -> ExportedIdentity {
    ExportedIdentity { account_label: linked.account.label.clone(), linked_at: linked.linked_at.to_string() }
}

fn text(text: Option<&HumanText>) -> Option<String> {
    text.map(ToString::to_string)
}

fn names(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

fn client(client: &Client) -> ExportedClient {
    ExportedClient {
        name: client.name.to_string(),
        label: text(client.label.as_ref()),
        reason: text(client.reason.as_ref()),
        kind: text(client.kind.as_ref()),
        instance: text(client.instance.as_ref()),
        method: text(client.method.as_ref()),
        address: client.address,
        id: client.id.as_ref().map(ClientId::as_str).map(str::to_owned),
    }
}

impl From<(&SessionRecord, Timestamp)> for ExportedSession {
    /// The session as it stands at this instant.
    fn from((record, now): (&SessionRecord, Timestamp)) -> Self {
        self::session(record, now)
    }
}

fn session(record: &SessionRecord, now: Timestamp) -> ExportedSession {
    let session = &record.session;
    ExportedSession {
        id: session.id.to_string(),
        request: record.authorization.to_string(),
        state: record.state_at(now).as_str(),
        name: text(record.name.as_ref()),
        account_label: session.account.label.clone(),
        client: client(&record.client),
        resource: session.resource.to_string(),
        granted: names(&record.granted),
        scopes: names(&session.scopes),
        created_at: record.created_at.to_string(),
        collected_from: record.redeemer.address,
        collected_by: text(record.redeemer.program.as_ref()),
        last_used_at: record.last_use.map(|last| last.at.to_string()),
        last_used_from: record.last_use.and_then(|last| last.address),
        expires_at: session.expires_at.to_string(),
        refresh_expires_at: record.refresh_expires_at.to_string(),
        lasts_until: record.lasts_until.map(|end| end.to_string()),
        revoked_at: record.revoked.map(|revoked| revoked.at.to_string()),
        revoked_by: record.revoked.map(|revoked| revoked.by.as_str()),
    }
}

fn request(found: &AuthorizationRequest, now: Timestamp) -> ExportedRequest {
    ExportedRequest {
        id: found.id.to_string(),
        state: match found.state_at(now) {
            State::Pending => "pending",
            State::Approved => "approved",
            State::Denied => "denied",
            State::Redeemed => "redeemed",
            State::Revoked => "revoked",
            State::Locked => "locked",
            State::Expired => "expired",
        },
        flow: KnownFlow::of(found).ok().map(|flow| flow.name()),
        account_label: found.account.as_ref().map(|account| account.label.clone()),
        client: client(&found.client),
        resource: found.resource.to_string(),
        requested: names(&found.requested),
        granted: found.granted().map(names),
        lasting_seconds: found.lasting.as_ref().map(Duration::as_secs),
        created_at: found.created_at.to_string(),
        expires_at: found.expires_at.to_string(),
    }
}
