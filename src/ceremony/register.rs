use std::{net::IpAddr, time::Duration};

use super::{Ceremony, CeremonyError, DRAWS};
use crate::{
    audit::Event,
    store::{Creation, PendingCaps, StoreError, StoreErrorKind},
    types::{
        authorization::{AuthorizationRequest, Client, Decision, Mode, State},
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
    /// What the wire calls them.
    scopes_field: &'static str,
}

impl Request {
    /// A request by a client of that name, for the catalogue's default scopes.
    #[must_use]
    pub fn by(name: HumanText) -> Self {
        Self { client: Client::named(name), scopes: Vec::new(), scopes_field: "requested_scopes" }
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

    /// What error texts call the scopes.
    pub(crate) const fn scopes_field(mut self, field: &'static str) -> Self {
        self.scopes_field = field;
        self
    }
}

/// What an agent gets that has registered.
#[derive(Debug)]
#[non_exhaustive]
pub struct Registered {
    /// The authorization request.
    pub authorization: AuthorizationRequest,
    /// What the agent redeems after approval. It is delivered here and never again.
    pub claim_token: Secret<Claim>,
    /// How long is left.
    pub expires_in: Duration,
    /// How long to wait before asking what has become of it, and between askings.
    pub interval: Duration,
}

/// What an agent is told that asks what has become of its authorization request.
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
    /// Takes an agent's request for access. It gives nothing by itself: a human decides.
    ///
    /// # Errors
    /// When the request can't be used, when too many wait, or when the service fails.
    pub async fn register(&self, request: Request) -> Result<Registered, CeremonyError> {
        let draw = |_: &AuthorizationRequestId| {
            let claim_token = self.config.prefixes().claim.generate(&*self.random)?;
            Ok((Mode::Claim { claim: claim_token.digest() }, claim_token))
        };
        let (authorization, claim_token) = self.create(&request, draw).await?;
        let expires_in = authorization.expires_at.since(authorization.created_at);
        Ok(Registered { authorization, claim_token, expires_in, interval: self.config.limits().poll_interval })
    }

    /// Keeps a new authorization request of the mode that is drawn for it.
    pub(super) async fn create<S>(
        &self,
        request: &Request,
        draw: impl Fn(&AuthorizationRequestId) -> Result<(Mode, S), CeremonyError>,
    ) -> Result<(AuthorizationRequest, S), CeremonyError> {
        let requested = self.requested(request)?;
        self.check_method(&request.client)?;
        let limits = self.config.limits();
        let caps = PendingCaps { per_source: limits.pending_per_source, total: limits.pending_total };
        for _ in 0..DRAWS {
            let id = AuthorizationRequestId::generate(&*self.random)?;
            let (mode, secret) = draw(&id)?;
            let authorization = self.pending(id, mode, request, &requested);
            match self.store.create_authorization(&authorization, caps).await? {
                Creation::Created => {
                    self.record_requested(&authorization);
                    return Ok((authorization, secret));
                }
                Creation::SourceFull => return Err(CeremonyError::TooManyFromSource),
                Creation::Full => return Err(CeremonyError::TooManyPending),
                Creation::Conflict => {}
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Tells an agent what has become of its authorization request. It consumes nothing, and reveals nothing but the state.
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

    fn requested(&self, request: &Request) -> Result<ScopeSet, CeremonyError> {
        let catalogue = self.config.catalogue();
        if request.scopes.is_empty() {
            let defaults = catalogue.defaults();
            if defaults.is_empty() {
                let problem = format!("is required: name one or more of: {}", self.config.scopes());
                return Err(CeremonyError::Invalid { field: request.scopes_field, problem });
            }
            return Ok(defaults);
        }
        self.offered(&request.scopes, request.scopes_field)
    }

    /// The scopes of these names, if the catalogue has them all.
    pub(super) fn offered(&self, names: &[String], field: &'static str) -> Result<ScopeSet, CeremonyError> {
        let catalogue = self.config.catalogue();
        let known = |name: &String| Scope::new(name).ok().filter(|scope| catalogue.find(scope).is_some());
        let scopes: Option<ScopeSet> = names.iter().map(known).collect();
        scopes.ok_or_else(|| CeremonyError::UnknownScope { field, offered: self.config.scopes().to_string() })
    }

    fn check_method(&self, client: &Client) -> Result<(), CeremonyError> {
        let methods = self.config.claim_methods();
        match &client.method {
            Some(method) if !methods.is_empty() && !methods.contains(method) => {
                let all: Vec<&str> = methods.iter().map(HumanText::as_str).collect();
                let problem = format!("must be one of: {}", all.join(", "));
                Err(CeremonyError::Invalid { field: "claim_method", problem })
            }
            _ => Ok(()),
        }
    }

    fn pending(
        &self,
        id: AuthorizationRequestId,
        mode: Mode,
        request: &Request,
        requested: &ScopeSet,
    ) -> AuthorizationRequest {
        let created_at = self.now();
        AuthorizationRequest {
            id,
            mode,
            client: request.client.clone(),
            requested: requested.clone(),
            created_at,
            expires_at: created_at.after(self.config.lifetimes().authorization_request),
            account: None,
            decision: Decision::Undecided,
            code: None,
            failed_attempts: 0,
        }
    }

    fn record_requested(&self, authorization: &AuthorizationRequest) {
        self.record(&Event::Registered {
            authorization: authorization.id.clone(),
            mode: authorization.mode.as_str(),
            client: authorization.client.name.clone(),
            address: authorization.client.address,
            requested: authorization.requested.clone(),
        });
    }
}
