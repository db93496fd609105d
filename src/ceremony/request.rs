use std::{net::IpAddr, time::Duration};

use super::{
    Ceremony, CeremonyError, DRAWS,
    flow::{KnownFlow, NewFlow},
};
use crate::{
    audit::Event,
    store::{Creation, PendingCaps, StoreError, StoreErrorKind},
    types::{
        authorization::{AuthorizationRequest, Client, Lookup, NewAuthorizationRequest, State},
        id::AuthorizationRequestId,
        scope::{Scope, ScopeSet},
        secret::{Claim, Secret},
        text::HumanText,
    },
};

/// An agent's request for access.
#[derive(Clone, Debug)]
pub struct Request {
    client: Client,
    scopes: Vec<String>,
    resource: Option<String>,
}

impl Request {
    /// A request by a client of this name, for the catalogue's default scopes.
    #[must_use]
    pub fn by(name: HumanText) -> Self {
        Self { client: Client::named(name), scopes: Vec::new(), resource: None }
    }

    /// Sets the client's label for the session.
    #[must_use]
    pub fn label(mut self, label: Option<HumanText>) -> Self {
        self.client.label = label;
        self
    }

    /// Sets the kind of client, and its name for this instance.
    #[must_use]
    pub fn kind(mut self, kind: Option<HumanText>, instance: Option<HumanText>) -> Self {
        self.client.kind = kind;
        self.client.instance = instance;
        self
    }

    /// Sets the client's address.
    #[must_use]
    pub fn address(mut self, address: Option<IpAddr>) -> Self {
        self.client.address = address;
        self
    }

    /// Sets the client's preferred way for its human to sign in.
    #[must_use]
    pub fn method(mut self, method: Option<HumanText>) -> Self {
        self.client.method = method;
        self
    }

    /// Sets the requested scopes; empty means the catalogue's default scopes.
    #[must_use]
    pub fn scopes(mut self, scopes: Vec<String>) -> Self {
        self.scopes = scopes;
        self
    }

    /// Sets the requested resource (RFC 8707 section 2); `None` means this service's.
    #[must_use]
    pub fn resource(mut self, resource: Option<String>) -> Self {
        self.resource = resource;
        self
    }
}

/// The result of an authorization request with a claim token.
#[derive(Debug)]
#[non_exhaustive]
pub struct Requested {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// The token that the agent redeems after approval. It is returned only here.
    pub claim_token: Secret<Claim>,
    /// The remaining lifetime.
    pub expires_in: Duration,
    /// How long to wait before the first status poll, and between polls.
    pub interval: Duration,
}

/// The status of an authorization request, for an agent that polls by claim token.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The authorization request.
    pub authorization: AuthorizationRequestId,
    /// Its state.
    pub state: State,
    /// The remaining lifetime; zero if the request is no longer open.
    pub expires_in: Duration,
    /// How long to wait before the next poll.
    pub interval: Duration,
}

impl Ceremony {
    /// Creates an authorization request that is redeemed by a claim token. It grants nothing until a human approves it.
    ///
    /// # Errors
    /// When the request is invalid, when too many requests are pending, or when the service fails.
    pub async fn request(&self, request: Request) -> Result<Requested, CeremonyError> {
        let draw = |_: &AuthorizationRequestId| {
            let claim_token = self.config.prefixes().claim.generate(&*self.random)?;
            let lookups = vec![Lookup::from(claim_token.digest())];
            Ok((NewFlow { flow: KnownFlow::Claim, lookups }, claim_token))
        };
        let (authorization, claim_token) = self.create(&request, draw).await?;
        let expires_in = authorization.expires_at.since(authorization.created_at);
        Ok(Requested { authorization, claim_token, expires_in, interval: self.config.limits().poll_interval })
    }

    /// Stores a new authorization request with a newly generated flow and secret.
    pub(super) async fn create<S>(
        &self,
        request: &Request,
        draw: impl Fn(&AuthorizationRequestId) -> Result<(NewFlow, S), CeremonyError>,
    ) -> Result<(AuthorizationRequest, S), CeremonyError> {
        self.check_resource(request.resource.as_deref())?;
        let requested = self.requested(request)?;
        self.check_method(&request.client)?;
        let limits = self.config.limits();
        let caps = PendingCaps { per_source: limits.pending_per_source, total: limits.pending_total };
        for _ in 0..DRAWS {
            let id = AuthorizationRequestId::generate(&*self.random)?;
            let (NewFlow { flow, lookups }, secret) = draw(&id)?;
            let new = NewAuthorizationRequest::new(self.pending(id, &flow, request, &requested), lookups);
            match self.store.create_authorization(&new, caps).await? {
                created @ (Creation::Created | Creation::Displaced(_)) => {
                    if let Creation::Displaced(displaced) = created {
                        self.polling.forget(&displaced);
                        displaced
                            .into_iter()
                            .for_each(|authorization| self.record(&Event::Displaced { authorization }));
                    }
                    self.record_requested(&new.request, &flow);
                    self.forget_some_requests();
                    return Ok((new.request, secret));
                }
                Creation::SourceFull => return Err(CeremonyError::TooManyFromSource),
                Creation::Full => return Err(CeremonyError::TooManyPending),
                Creation::Conflict => {}
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Returns the status of an authorization request. It consumes nothing, and reveals only the state.
    ///
    /// # Errors
    /// When the claim token is unknown, when the agent polls too often while the request is pending, or when the
    /// service fails.
    pub async fn status(&self, claim_token: &str) -> Result<Status, CeremonyError> {
        let authorization = self.by_claim(claim_token).await?;
        let (state, asked) = self.ask(&authorization);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        let over = !matches!(state, State::Pending | State::Approved);
        let expires_in = if over { Duration::ZERO } else { authorization.expires_at.since(self.now()) };
        let interval = self.polling.interval(&authorization.id);
        Ok(Status { authorization: authorization.id, state, expires_in, interval })
    }

    /// Refuses any resource but this service's (RFC 8707 section 2).
    pub(super) fn check_resource(&self, resource: Option<&str>) -> Result<(), CeremonyError> {
        match resource {
            Some(resource) if resource != self.config.resource() => Err(CeremonyError::InvalidTarget),
            _ => Ok(()),
        }
    }

    fn requested(&self, request: &Request) -> Result<ScopeSet, CeremonyError> {
        if !request.scopes.is_empty() {
            return self.offered(&request.scopes);
        }
        let defaults = self.config.catalogue().defaults();
        if defaults.is_empty() {
            return Err(CeremonyError::NoScope { offered: self.config.scopes().to_string() });
        }
        Ok(defaults)
    }

    /// The scopes with these names, if all are in the catalogue.
    pub(super) fn offered(&self, names: &[String]) -> Result<ScopeSet, CeremonyError> {
        let catalogue = self.config.catalogue();
        let known = |name: &String| Scope::new(name).ok().filter(|scope| catalogue.find(scope).is_some());
        let scopes: Option<ScopeSet> = names.iter().map(known).collect();
        scopes.ok_or_else(|| CeremonyError::UnknownScope { offered: self.config.scopes().to_string() })
    }

    fn check_method(&self, client: &Client) -> Result<(), CeremonyError> {
        let methods = self.config.claim_methods();
        match &client.method {
            Some(method) if !methods.is_empty() && !methods.contains(method) => {
                let all: Vec<&str> = methods.iter().map(HumanText::as_str).collect();
                Err(CeremonyError::UnknownMethod { offered: all.join(", ") })
            }
            _ => Ok(()),
        }
    }

    fn pending(
        &self,
        id: AuthorizationRequestId,
        flow: &KnownFlow,
        request: &Request,
        requested: &ScopeSet,
    ) -> AuthorizationRequest {
        let (resource, client, now) = (self.config.shared_resource(), request.client.clone(), self.now());
        let expires_at = now.after(self.config.lifetimes().authorization_request);
        let mut authorization = AuthorizationRequest::new(id, resource, client, flow.to_stored(), now, expires_at);
        authorization.requested = requested.clone();
        authorization
    }

    fn record_requested(&self, authorization: &AuthorizationRequest, flow: &KnownFlow) {
        self.record(&Event::Requested {
            authorization: authorization.id.clone(),
            flow: flow.name(),
            client: authorization.client.name.clone(),
            address: authorization.client.address,
            requested: authorization.requested.clone(),
        });
    }
}
