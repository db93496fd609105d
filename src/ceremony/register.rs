use std::{net::IpAddr, time::Duration};

use super::{Ceremony, CeremonyError, DRAWS};
use crate::{
    audit::Event,
    core::{
        id::RegistrationId,
        registration::{Client, Decision, Registration, State},
        scope::{Scope, ScopeSet},
        secret::{Claim, Secret},
        text::HumanText,
    },
    store::{Creation, PendingCaps, StoreError, StoreErrorKind},
};

/// An agent's request for access.
#[derive(Clone, Debug)]
pub struct Request {
    client: Client,
    scopes: Vec<String>,
}

impl Request {
    /// A request by a client of that name, for the catalogue's default scopes.
    #[must_use]
    pub fn by(name: HumanText) -> Self {
        let client = Client { name, label: None, address: None, method: None };
        Self { client, scopes: Vec::new() }
    }

    /// What the client calls the session.
    #[must_use]
    pub fn label(mut self, label: Option<HumanText>) -> Self {
        self.client.label = label;
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
}

/// What an agent gets that has registered.
#[derive(Debug)]
#[non_exhaustive]
pub struct Registered {
    /// The registration.
    pub registration: Registration,
    /// What the agent redeems after approval. It is delivered here and never again.
    pub claim_token: Secret<Claim>,
    /// How long is left.
    pub expires_in: Duration,
    /// How long to wait before asking what has become of it, and between askings.
    pub interval: Duration,
}

/// What an agent is told that asks what has become of its registration.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The registration.
    pub registration: RegistrationId,
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
        let requested = self.requested(&request.scopes)?;
        self.check_method(&request.client)?;
        let limits = self.config.limits();
        let caps = PendingCaps { per_source: limits.pending_per_source, total: limits.pending_total };
        for _ in 0..DRAWS {
            let (registration, claim_token) = self.draw(&request, &requested)?;
            match self.store.create_registration(&registration, caps).await? {
                Creation::Created => return Ok(self.registered(registration, claim_token)),
                Creation::SourceFull => return Err(CeremonyError::TooManyFromSource),
                Creation::Full => return Err(CeremonyError::TooManyPending),
                Creation::Conflict => {}
            }
        }
        Err(StoreError::new(StoreErrorKind::Conflict).into())
    }

    /// Tells an agent what has become of its registration. It consumes nothing, and reveals nothing but the state.
    ///
    /// # Errors
    /// When the claim token is unknown, when the agent asks too often while its human decides, or when the service fails.
    pub async fn status(&self, claim_token: &str) -> Result<Status, CeremonyError> {
        let registration = self.by_claim(claim_token).await?;
        let now = self.now();
        let state = registration.state_at(now);
        if state == State::Pending {
            self.pace.ask(&registration, now).map_err(|interval| CeremonyError::SlowDown { interval })?;
        }
        let over = !matches!(state, State::Pending | State::Approved);
        let expires_in = if over { Duration::ZERO } else { registration.expires_at.since(now) };
        let interval = self.pace.interval(&registration.id);
        Ok(Status { registration: registration.id, state, expires_in, interval })
    }

    fn requested(&self, names: &[String]) -> Result<ScopeSet, CeremonyError> {
        let catalogue = self.config.catalogue();
        if names.is_empty() {
            let defaults = catalogue.defaults();
            if defaults.is_empty() {
                let problem = format!("is required: name one or more of: {}", self.config.scopes());
                return Err(CeremonyError::Invalid { field: "requested_scopes", problem });
            }
            return Ok(defaults);
        }
        let known = |name: &String| Scope::new(name).ok().filter(|scope| catalogue.find(scope).is_some());
        let scopes: Option<ScopeSet> = names.iter().map(known).collect();
        scopes.ok_or_else(|| CeremonyError::UnknownScope { offered: self.config.scopes().to_string() })
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

    fn draw(&self, request: &Request, requested: &ScopeSet) -> Result<(Registration, Secret<Claim>), CeremonyError> {
        let claim_token = self.config.prefixes().claim.generate(&*self.random)?;
        let created_at = self.now();
        let registration = Registration {
            id: RegistrationId::generate(&*self.random)?,
            claim: claim_token.digest(),
            client: request.client.clone(),
            requested: requested.clone(),
            created_at,
            expires_at: created_at.after(self.config.lifetimes().registration),
            account: None,
            decision: Decision::Undecided,
        };
        Ok((registration, claim_token))
    }

    fn registered(&self, registration: Registration, claim_token: Secret<Claim>) -> Registered {
        self.record(&Event::Registered {
            registration: registration.id.clone(),
            client: registration.client.name.clone(),
            address: registration.client.address,
            requested: registration.requested.clone(),
        });
        let expires_in = registration.expires_at.since(registration.created_at);
        Registered { registration, claim_token, expires_in, interval: self.config.limits().poll_interval }
    }
}
