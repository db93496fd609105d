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
    /// A request by a client of that name, for the catalogue's default scopes.
    #[must_use]
    pub fn by(name: HumanText) -> Self {
        Self { client: Client::named(name), scopes: Vec::new(), resource: None }
    }

    /// What the client calls the session.
    #[must_use]
    pub fn label(mut self, label: Option<HumanText>) -> Self {
        self.client.label = label;
        self
    }

    /// What kind of client it is, and what it calls this instance of itself.
    #[must_use]
    pub fn kind(mut self, kind: Option<HumanText>, instance: Option<HumanText>) -> Self {
        self.client.kind = kind;
        self.client.instance = instance;
        self
    }

    /// Where the request came from.
    #[must_use]
    pub fn address(mut self, address: Option<IpAddr>) -> Self {
        self.client.address = address;
        self
    }

    /// The way to sign in that the client would like its human to use.
    #[must_use]
    pub fn method(mut self, method: Option<HumanText>) -> Self {
        self.client.method = method;
        self
    }

    /// What is asked for; none means the catalogue's default scopes.
    #[must_use]
    pub fn scopes(mut self, scopes: Vec<String>) -> Self {
        self.scopes = scopes;
        self
    }

    /// Which resource access is requested to (RFC 8707 section 2); none means this service's.
    #[must_use]
    pub fn resource(mut self, resource: Option<String>) -> Self {
        self.resource = resource;
        self
    }
}

/// What an agent gets that requested access by claim token.
#[derive(Debug)]
#[non_exhaustive]
pub struct Requested {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// What the agent redeems after approval. It is delivered here and never again.
    pub claim_token: Secret<Claim>,
    /// How long is left.
    pub expires_in: Duration,
    /// How long to wait before asking what has become of it, and between askings.
    pub interval: Duration,
}

/// Where an authorization request stands, for an agent that asks by its claim token.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The authorization request.
    pub authorization: AuthorizationRequestId,
    /// Where it stands.
    pub state: State,
    /// How long is left; zero if it is over.
    pub expires_in: Duration,
    /// How long to wait before asking again.
    pub interval: Duration,
}

impl Ceremony {
    /// Takes an agent's request for access, to be redeemed by a claim token. It gives nothing by itself: a human decides.
    ///
    /// # Errors
    /// When the request can't be used, when too many wait, or when the service fails.
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

    /// Keeps a new authorization request with the flow and the secret that are drawn for it.
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
                Creation::Created => {
                    self.record_requested(&new.request, &flow);
                    return Ok((new.request, secret));
                }
                Creation::SourceFull => return Err(CeremonyError::TooManyFromSource),
                Creation::Full => return Err(CeremonyError::TooManyPending),
                Creation::Conflict => {}
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Tells an agent what has become of its authorization request. It consumes nothing, and reveals only the state.
    ///
    /// # Errors
    /// When the claim token is unknown, when the agent asks too often while its human decides, or when the service fails.
    pub async fn status(&self, claim_token: &str) -> Result<Status, CeremonyError> {
        let authorization = self.by_claim(claim_token).await?;
        let (state, asked) = self.ask(&authorization);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        let over = !matches!(state, State::Pending | State::Approved);
        let expires_in = if over { Duration::ZERO } else { authorization.expires_at.since(self.now()) };
        let interval = self.pace.interval(&authorization.id);
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

    /// The scopes of these names, if the catalogue has them all.
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
