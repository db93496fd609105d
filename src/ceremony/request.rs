use std::{net::IpAddr, time::Duration};

use super::{
    Ceremony, CeremonyError, DRAWS,
    flow::{KnownFlow, NewFlow},
};
use crate::{
    audit::Event,
    config::Resource,
    store::{Creation, PendingCaps, StoreError, StoreErrorKind},
    types::{
        authorization::{AuthorizationRequest, Client, Lookup, NewAuthorizationRequest, State},
        id::{AuthorizationRequestId, ClientId},
        phrase::CheckPhrase,
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

    /// Sets what the client says that it needs the access for.
    #[must_use]
    pub fn reason(mut self, reason: Option<HumanText>) -> Self {
        self.client.reason = reason;
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

    /// Sets the OAuth client that asks (RFC 6749 section 2.2). Only this client can refresh the session.
    #[must_use]
    pub fn client_id(mut self, id: Option<ClientId>) -> Self {
        self.client.id = id;
        self
    }

    /// Sets the requested scopes; empty means the catalogue's default scopes.
    #[must_use]
    pub fn scopes(mut self, scopes: Vec<String>) -> Self {
        self.scopes = scopes;
        self
    }

    /// The same request again, by the same client.
    pub(super) fn again(earlier: &AuthorizationRequest) -> Self {
        let (client, resource) = (earlier.client.clone(), Some(earlier.resource.to_string()));
        Self { client, scopes: earlier.requested.iter().map(ToString::to_string).collect(), resource }
    }

    pub(super) const fn id(&self) -> &Option<ClientId> {
        &self.client.id
    }

    /// The names of the requested scopes; empty for the default ones.
    #[cfg(feature = "id_jag")]
    pub(crate) fn scope_names(&self) -> &[String] {
        &self.scopes
    }

    pub(super) fn names_scopes(&self) -> bool {
        !self.scopes.is_empty()
    }

    pub(super) fn resource_id(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// What distinguishes this request from others of the same human.
    pub(super) fn subject(&self) -> String {
        format!("{:?} {:?} {:?}", self.client.id, self.resource, self.scopes)
    }

    /// Sets the requested resource (RFC 8707 section 2), which
    /// [`Config::find_resource`](crate::Config::find_resource) must find; `None` means the top-level one.
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

impl Requested {
    /// The phrase that the agent shows its human beside the link. The approval page shows the same.
    #[must_use]
    pub fn check_phrase(&self) -> CheckPhrase {
        self.authorization.check_phrase()
    }
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
        let (authorization, claim_token) = self.create(&request, None, draw).await?;
        let expires_in = authorization.expires_at.since(authorization.created_at);
        Ok(Requested { authorization, claim_token, expires_in, interval: self.config.limits().poll_interval })
    }

    /// Stores a new authorization request with a newly generated flow and secret. Its id is new too, unless `derived`
    /// is given.
    pub(super) async fn create<S>(
        &self,
        request: &Request,
        derived: Option<AuthorizationRequestId>,
        draw: impl Fn(&AuthorizationRequestId) -> Result<(NewFlow, S), CeremonyError>,
    ) -> Result<(AuthorizationRequest, S), CeremonyError> {
        let resource = self.resource(request.resource.as_deref())?;
        let requested = self.requested(resource, request)?;
        self.check_method(&request.client)?;
        let limits = self.config.limits();
        let caps = PendingCaps { per_source: limits.pending_per_source, total: limits.pending_total };
        for _ in 0..DRAWS {
            let id = derived.clone().map_or_else(|| AuthorizationRequestId::generate(&*self.random), Ok)?;
            let (NewFlow { flow, lookups }, secret) = draw(&id)?;
            let new = NewAuthorizationRequest::new(self.pending(id, &flow, resource, request, &requested), lookups);
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
                Creation::Conflict if derived.is_some() => break,
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
        let (authorization, flow) = self.by_claim(claim_token).await?;
        if flow != KnownFlow::Claim {
            return Err(CeremonyError::UnknownClaim);
        }
        let (state, asked) = self.ask(&authorization);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        let over = !matches!(state, State::Pending | State::Approved);
        let expires_in = if over { Duration::ZERO } else { authorization.expires_at.since(self.now()) };
        let interval = self.polling.interval(&authorization.id);
        Ok(Status { authorization: authorization.id, state, expires_in, interval })
    }

    /// The resource that is asked for (RFC 8707 section 2).
    pub(super) fn resource(&self, asked: Option<&str>) -> Result<&Resource, CeremonyError> {
        match asked {
            Some(asked) => self.config.find_resource(asked).ok_or(CeremonyError::InvalidTarget),
            None => Ok(self.config.default_resource()),
        }
    }

    pub(super) fn requested(&self, resource: &Resource, request: &Request) -> Result<ScopeSet, CeremonyError> {
        let offered = resource.scopes();
        if !request.scopes.is_empty() {
            let known = |name: &String| Scope::new(name).ok().filter(|scope| offered.contains(scope));
            let scopes: Option<ScopeSet> = request.scopes.iter().map(known).collect();
            return scopes.ok_or_else(|| CeremonyError::UnknownScope { offered: offered.to_string() });
        }
        let defaults = self.config.catalogue().defaults();
        let defaults: ScopeSet = defaults.iter().filter(|scope| offered.contains(scope)).cloned().collect();
        if defaults.is_empty() {
            return Err(CeremonyError::NoScope { offered: offered.to_string() });
        }
        Ok(defaults)
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
        resource: &Resource,
        request: &Request,
        requested: &ScopeSet,
    ) -> AuthorizationRequest {
        let (resource, client, now) = (resource.shared_id(), request.client.clone(), self.now());
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
