use std::{fmt, sync::Arc};

use super::{Ceremony, CeremonyError, DRAWS, Issued};
use crate::{
    audit::Event,
    store::{RevokeTarget, StoreError, StoreErrorKind},
    types::{
        clock::Timestamp,
        id::ClientId,
        scope::{Scope, ScopeSet},
        secret::{Access, Refresh, Secret},
        session::{RefreshTokenState, RevokedBy, Rotation, Salt, Session, SessionRecord},
    },
};

/// What an agent presents to refresh its session.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Refreshing<'a> {
    /// The refresh token.
    pub token: &'a str,
    /// The scopes of the new access token; empty means all granted scopes.
    pub scopes: Vec<String>,
    /// The resource of the new access token (RFC 8707 section 2): the session's own, as
    /// [`Config::find_resource`](crate::Config::find_resource) finds it, or `None`.
    pub resource: Option<&'a str>,
    /// The OAuth client that presents the token, as far as the dialect has authenticated it; `None` in dialects without
    /// client ids. It must be the client that the session was issued to (RFC 6749 section 6).
    pub client: Option<&'a ClientId>,
}

impl<'a> Refreshing<'a> {
    /// A refresh with this token and all granted scopes. Set the rest as fields.
    #[must_use]
    pub fn new(token: &'a str) -> Self {
        Self { token, ..Self::default() }
    }
}

impl fmt::Debug for Refreshing<'_> {
    /// Without the refresh token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scopes, resource, client, .. } = self;
        let mut shown = f.debug_struct("Refreshing");
        shown.field("scopes", scopes).field("resource", resource).field("client", client).finish_non_exhaustive()
    }
}

impl Ceremony {
    /// Replaces the secrets of a session by new ones (RFC 6749 section 6, RFC 9700 section 4.14.2).
    ///
    /// A refresh token can be used once. If it is presented again within the grace period, and before its successor is
    /// used, the same successor is returned. Later reuse revokes the session, because two parties may hold the token.
    ///
    /// A refresh token is valid for the [client](Refreshing::client) that it was issued to. Presented by another, it is
    /// refused and nothing changes, even if it is used up: a stranger can't end a session.
    ///
    /// # Errors
    /// When a requested scope was not granted, or another resource is requested, both of which leave the refresh token
    /// unused; when the refresh token is unknown, another client's, already used, expired or revoked; when agents may no
    /// longer act for the account; or when the service fails.
    pub async fn refresh(&self, asked: &Refreshing<'_>) -> Result<Issued, CeremonyError> {
        let target = match asked.resource {
            Some(resource) => Some(self.config.find_resource(resource).ok_or(CeremonyError::InvalidTarget)?),
            None => None,
        };
        let presented = asked.token.as_bytes();
        let from = self.config.prefixes().refresh.digest(presented).ok_or(CeremonyError::InvalidRefresh)?;
        for _ in 0..DRAWS {
            let known = self.store.find_refresh(&from).await?.ok_or(CeremonyError::InvalidRefresh)?;
            let record = &known.session;
            // First of all: what follows may end the session.
            if record.client.id.as_ref() != asked.client {
                return Err(CeremonyError::InvalidRefresh);
            }
            let resource = self.config.resource_with_id(&record.session.resource);
            if !resource.is_some_and(|resource| record.is_alive(resource.id(), self.now())) {
                return Err(CeremonyError::InvalidRefresh);
            }
            if target.is_some_and(|target| *target.id() != *record.session.resource) {
                return Err(CeremonyError::InvalidTarget);
            }
            if !self.accounts.is_active(&record.session.account.id).await? {
                self.end(&record.session, RevokedBy::Service).await?;
                return Err(CeremonyError::InvalidRefresh);
            }
            if known.age > 0 {
                return self.used_up(asked.token, &known).await;
            }
            let scopes = narrowed(&asked.scopes, &record.granted)?;
            let mut salt = Salt([0; 32]);
            self.random.fill(&mut salt.0)?;
            let (access_token, refresh_token) = self.successors(asked.token, &salt, &record.session)?;
            let at = self.now();
            let last = self.last_instant(record.created_at, record.lasts_until);
            let rotation = Rotation {
                from,
                access: access_token.digest(),
                refresh: refresh_token.digest(),
                salt,
                scopes,
                expires_at: self.access_end(at, last),
                refresh_expires_at: self.refresh_end(at, last),
            };
            match self.store.rotate(&rotation, at).await {
                Ok(Some(_)) => return Ok(self.refreshed(known.session, rotation, access_token, refresh_token)),
                // Another call refreshed first, or a digest is taken: try again.
                Ok(None) => {}
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Handles a used refresh token: returns the same successor within the grace period, and revokes the session
    /// otherwise.
    async fn used_up(&self, token: &str, known: &RefreshTokenState) -> Result<Issued, CeremonyError> {
        let record = &known.session;
        let grace = self.config.lifetimes().refresh_grace;
        let previous = known.last.filter(|last| known.age == 1 && self.now().since(last.at) < grace);
        if let Some(last) = previous {
            let (access_token, refresh_token) = self.successors(token, &last.salt, &record.session)?;
            self.record(&Event::RefreshRepeated { session: record.session.id.clone() });
            return Ok(Issued { record: record.clone(), access_token, refresh_token });
        }
        self.record(&Event::ReuseDetected { session: record.session.id.clone() });
        self.end(&record.session, RevokedBy::Reuse).await?;
        Err(CeremonyError::InvalidRefresh)
    }

    /// Derives the new secrets from a refresh token and the salt of its rotation. Neither alone is enough.
    fn successors(
        &self,
        token: &str,
        salt: &Salt,
        session: &Session,
    ) -> Result<(Secret<Access>, Secret<Refresh>), CeremonyError> {
        let prefixes = self.config.prefixes();
        let access_token = prefixes.access.derive(token, &salt.0, session.id.as_str())?;
        let refresh_token = prefixes.refresh.derive(token, &salt.0, session.id.as_str())?;
        Ok((access_token, refresh_token))
    }

    fn refreshed(
        &self,
        before: SessionRecord,
        rotation: Rotation,
        access_token: Secret<Access>,
        refresh_token: Secret<Refresh>,
    ) -> Issued {
        self.record(&Event::Refreshed { session: before.session.id.clone() });
        let Rotation { access, scopes, expires_at, refresh_expires_at, .. } = rotation;
        let session = Arc::new(Session { access, scopes, expires_at, ..Session::clone(&before.session) });
        Issued { record: SessionRecord { session, refresh_expires_at, ..before }, access_token, refresh_token }
    }

    pub(super) async fn end(&self, session: &Session, by: RevokedBy) -> Result<usize, CeremonyError> {
        let target = RevokeTarget::Session(session.id.clone(), session.account.id.clone());
        self.revoke(&target, by).await
    }

    /// When a session ends at the latest, however often it is refreshed.
    pub(super) fn last_instant(&self, created_at: Timestamp, chosen: Option<Timestamp>) -> Timestamp {
        let last = created_at.after(self.config.lifetimes().session);
        chosen.map_or(last, |chosen| chosen.min(last))
    }

    /// When an access token expires that is issued at `at` for a session that ends at `last` at the latest.
    pub(super) fn access_end(&self, at: Timestamp, last: Timestamp) -> Timestamp {
        at.after(self.config.lifetimes().access).min(last)
    }

    /// The same for a refresh token. If no dialect accepts refresh tokens, a session ends with its access token.
    pub(super) fn refresh_end(&self, at: Timestamp, last: Timestamp) -> Timestamp {
        if !self.refreshes {
            return self.access_end(at, last);
        }
        at.after(self.config.lifetimes().refresh).min(last)
    }
}

/// The scopes with these names, if all were granted; without names, all that were granted.
pub(super) fn narrowed(names: &[String], granted: &ScopeSet) -> Result<ScopeSet, CeremonyError> {
    if names.is_empty() {
        return Ok(granted.clone());
    }
    let known = |name: &String| Scope::new(name).ok().filter(|scope| granted.contains(scope));
    let scopes: Option<ScopeSet> = names.iter().map(known).collect();
    scopes.ok_or_else(|| CeremonyError::UnknownScope { offered: granted.to_string() })
}
