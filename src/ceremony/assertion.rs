//! What an agent does with an assertion that it holds: exchange and refresh; and how its identity ends.

use super::{
    Ceremony, CeremonyError, DRAWS, Identified, IdentityFlow, Issued,
    flow::KnownFlow,
    identity::{Held, check_resource, identity},
    refresh::narrowed,
    sessions::Revoker,
};
use crate::{
    audit::Event,
    store::{AuthorizationKey, RevokeTarget, StoreError, StoreErrorKind},
    types::{
        authorization::{AuthorizationRequest, Lookup, Renewal, State, Transition},
        clock::Timestamp,
        id::AuthorizationRequestId,
        scope::ScopeSet,
        secret::{Assertion, Digest, Refresh, Secret},
        session::{Redeemer, RevokedBy, Salt},
    },
};

/// How many sessions of one identity are active at most. A further one ends the oldest.
const ACTIVE: usize = 16;

/// The secrets that an agent gets.
pub(super) struct Derived {
    pub(super) assertion: Secret<Assertion>,
    pub(super) refresh: Secret<Refresh>,
}

impl Ceremony {
    /// Exchanges an assertion for a session with all granted scopes, or with those that are named. It can be exchanged
    /// again and again. At most 16 sessions of one identity are active; a further one ends the oldest.
    ///
    /// # Errors
    /// When the assertion is not valid, when it is exchanged too often, when a scope was not granted or the resource is
    /// another one, when agents may no longer act for the account, or when the service fails.
    pub async fn exchange_assertion(
        &self,
        assertion: &str,
        scopes: &[String],
        resource: Option<&str>,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        let digest = self.config.prefixes().assertion.digest(assertion.as_bytes());
        let digest = digest.ok_or(CeremonyError::InvalidAssertion)?;
        let found = self.identity_with(Lookup::from(digest)).await?;
        let (request, flow) = found.ok_or(CeremonyError::InvalidAssertion)?;
        let now = self.now();
        if !self.is_good(&flow, &digest, now) || request.state_at(now) != State::Approved {
            return Err(CeremonyError::InvalidAssertion);
        }
        check_resource(&request, resource)?;
        let granted = request.granted().cloned().unwrap_or_default();
        let scopes = narrowed(scopes, &granted)?;
        self.polling.exchange(&request.id).map_err(|wait| CeremonyError::TooFast { wait })?;
        let issued = self.issue_of_identity(&request, &scopes, redeemer).await;
        issued.map_err(|error| match error {
            CeremonyError::Denied | CeremonyError::Revoked | CeremonyError::Expired | CeremonyError::Locked => {
                CeremonyError::InvalidAssertion
            }
            error => error,
        })
    }

    /// Renews an identity: a new assertion and a new refresh token. The old assertion stays valid for the
    /// [grace](crate::config::Lifetimes::refresh_grace), within which the old refresh token gets the same answer again.
    /// Later, the old refresh token ends the identity and its sessions: two parties may hold it.
    ///
    /// # Errors
    /// When the refresh token is not valid, when agents may no longer act for the account, or when the service fails.
    pub async fn refresh_identity(&self, refresh_token: &str) -> Result<Identified, CeremonyError> {
        let digest = self.config.prefixes().refresh.digest(refresh_token.as_bytes());
        let digest = digest.ok_or(CeremonyError::InvalidRefresh)?;
        for _ in 0..DRAWS {
            let found = self.identity_with(Lookup::from(digest)).await?;
            let (request, flow) = found.ok_or(CeremonyError::InvalidRefresh)?;
            let (state, held) = (request.state_at(self.now()), flow.held);
            if state == State::Revoked {
                // An end that failed half-way is finished.
                self.end_request(&request.id, &Revoker::by(RevokedBy::Reuse)).await?;
            }
            let (State::Approved, Some(held)) = (state, held) else { return Err(CeremonyError::InvalidRefresh) };
            let is = |of: Option<Digest<Refresh>>| of.is_some_and(|of| of.matches(&digest));
            if !is(held.refresh) {
                let grace = self.config.lifetimes().refresh_grace;
                if flow.before.is_some_and(|before| is(before.refresh)) && self.now().since(held.issued_at) < grace {
                    return self.identified(request, &flow, refresh_token, &held);
                }
                self.record(&Event::IdentityReused { authorization: request.id.clone() });
                self.end_identity(&request.id, &Revoker::by(RevokedBy::Reuse)).await?;
                return Err(CeremonyError::InvalidRefresh);
            }
            if !self.may_act(&request).await? {
                return Err(CeremonyError::InvalidRefresh);
            }
            let next = IdentityFlow { before: Some(held), ..flow };
            if let Some(identified) = self.renew_identity(request, next, refresh_token, held.until).await? {
                self.record(&Event::IdentityRefreshed { authorization: identified.authorization.id.clone() });
                return Ok(identified);
            }
            // Another call refreshed first: try again.
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Ends an identity with its sessions. What a human or an operator ends takes along what another issuer's word gave the
    /// same client: otherwise its next word would bring the agent back. Returns how many sessions were revoked. The same call
    /// again finishes what failed half-way.
    pub(super) async fn end_identity(
        &self,
        id: &AuthorizationRequestId,
        revoker: &Revoker,
    ) -> Result<usize, CeremonyError> {
        let ended = self.end_request(id, revoker).await?;
        if !matches!(revoker.by, RevokedBy::Human | RevokedBy::Service) {
            return Ok(ended);
        }
        let found = self.store.find_authorization(&AuthorizationKey::Id(id.clone())).await;
        let Some(request) = found.map_err(|error| CeremonyError::from(error).after_a_write())? else {
            return Ok(ended);
        };
        let foreign = identity(request.clone())?.and_then(|(_, flow)| flow.foreign?.identity());
        let (Some(foreign), Some(account)) = (foreign, &request.account) else { return Ok(ended) };
        let of_client = |other: &AuthorizationRequest| other.client.id == request.client.id;
        let more = self.end_of_account(&account.id, &foreign, of_client, revoker).await;
        Ok(ended + more.map_err(CeremonyError::after_a_write)?)
    }

    /// Ends one authorization request with its sessions.
    pub(super) async fn end_request(
        &self,
        id: &AuthorizationRequestId,
        revoker: &Revoker,
    ) -> Result<usize, CeremonyError> {
        // First what can still become sessions.
        self.store.transition(id, &Transition::Revoke, self.now()).await?;
        let mut ended = 0;
        let sessions = self.store.sessions_of(id).await;
        for record in sessions.map_err(|error| CeremonyError::from(error).after_a_write())? {
            if record.revoked.is_none() {
                let target = RevokeTarget::Session(record.session.id.clone(), record.session.account.id.clone());
                ended += self.revoke_as(&target, revoker).await?;
            }
        }
        Ok(ended)
    }

    /// Ends the identity of an assertion or of its refresh token, on request of its holder. An unknown token is not an error.
    pub(super) async fn revoke_identity(&self, token: &str) -> Result<(), CeremonyError> {
        let prefixes = self.config.prefixes();
        let assertion = prefixes.assertion.digest(token.as_bytes()).map(Lookup::from);
        let lookup = assertion.or_else(|| prefixes.refresh.digest(token.as_bytes()).map(Lookup::from));
        let Some(lookup) = lookup else { return Ok(()) };
        match self.identity_with(lookup).await? {
            Some((request, _)) => self.end_identity(&request.id, &Revoker::by(RevokedBy::Agent)).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether the agent holds this assertion, or held it until it refreshed a moment ago.
    fn is_good(&self, flow: &IdentityFlow, assertion: &Digest<Assertion>, now: Timestamp) -> bool {
        let is = |held: Option<Held>| held.is_some_and(|held| held.assertion.matches(assertion));
        let grace = self.config.lifetimes().refresh_grace;
        let is_fresh = flow.held.is_some_and(|held| now.since(held.issued_at) < grace);
        is(flow.held) || (is(flow.before) && is_fresh)
    }

    pub(super) async fn issue_of_identity(
        &self,
        request: &AuthorizationRequest,
        scopes: &ScopeSet,
        redeemer: &Redeemer,
    ) -> Result<Issued, CeremonyError> {
        if !self.may_act(request).await? {
            return Err(CeremonyError::Denied);
        }
        let now = self.now();
        let earlier = self.store.sessions_of(&request.id).await?;
        let is_first = earlier.is_empty();
        let active = earlier.into_iter().filter(|record| record.is_alive(&request.resource, now));
        for oldest in active.skip(ACTIVE - 1) {
            self.end(&oldest.session, RevokedBy::Agent).await?;
        }
        let flow = KnownFlow::of(request)?;
        let issued = self.issue_with(request, &flow, scopes, redeemer).await?;
        if is_first {
            self.notify_of_session(&issued.record, &flow);
        }
        Ok(issued)
    }

    /// Gives the request new secrets, derived from what its agent presented. `None` if it was changed meanwhile.
    pub(super) async fn renew_identity(
        &self,
        mut request: AuthorizationRequest,
        flow: IdentityFlow,
        presented: &str,
        until: Timestamp,
    ) -> Result<Option<Identified>, CeremonyError> {
        let (salt, now) = (self.new_salt()?, self.now());
        let derived = self.derive_identity(presented, &salt, &request.id)?;
        let (assertion, refresh) = (derived.assertion.digest(), derived.refresh.digest());
        let held = Held { assertion, refresh: Some(refresh), salt, issued_at: now, until };
        let expires_at = now.after(self.config.lifetimes().refresh).min(until);
        let registration = flow.registration(&request.id);
        let stored = KnownFlow::Identity(Box::new(IdentityFlow { held: Some(held), ..flow })).to_stored();
        let mut renewal = Renewal::new(request.flow.clone(), stored, expires_at);
        renewal.lookups = vec![assertion.into(), refresh.into()];
        let renew = Transition::Renew(renewal);
        if !self.store.transition(&request.id, &renew, now).await? || !request.apply(renew, now) {
            return Ok(None);
        }
        let refresh_token = Some(derived.refresh);
        Ok(Some(Identified {
            registration,
            authorization: request,
            assertion: derived.assertion,
            refresh_token,
            expires_at,
        }))
    }

    /// The secrets that were derived from `presented` before.
    pub(super) fn identified(
        &self,
        authorization: AuthorizationRequest,
        flow: &IdentityFlow,
        presented: &str,
        held: &Held,
    ) -> Result<Identified, CeremonyError> {
        let Derived { assertion, refresh } = self.derive_identity(presented, &held.salt, &authorization.id)?;
        let (registration, expires_at) = (flow.registration(&authorization.id), authorization.expires_at);
        Ok(Identified { registration, authorization, assertion, refresh_token: Some(refresh), expires_at })
    }

    pub(super) fn derive_identity(
        &self,
        presented: &str,
        salt: &Salt,
        id: &AuthorizationRequestId,
    ) -> Result<Derived, CeremonyError> {
        let prefixes = self.config.prefixes();
        let assertion = prefixes.assertion.derive(presented, &salt.0, id.as_str())?;
        let refresh = prefixes.refresh.derive(presented, &salt.0, id.as_str())?;
        Ok(Derived { assertion, refresh })
    }

    pub(super) fn new_salt(&self) -> Result<Salt, CeremonyError> {
        let mut salt = Salt([0; 32]);
        self.random.fill(&mut salt.0)?;
        Ok(salt)
    }
}
