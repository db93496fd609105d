use std::{net::IpAddr, time::Duration};

use super::{Ceremony, CeremonyError, DRAWS};
use crate::{
    audit::Event,
    core::{
        id::RegistrationId,
        registration::{Client, Decision, Mode, Registration, State},
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
        let draw = |_: &RegistrationId| {
            let claim_token = self.config.prefixes().claim.generate(&*self.random)?;
            Ok((Mode::Claim { claim: claim_token.digest() }, claim_token))
        };
        let (registration, claim_token) = self.create(&request, draw).await?;
        let expires_in = registration.expires_at.since(registration.created_at);
        Ok(Registered { registration, claim_token, expires_in, interval: self.config.limits().poll_interval })
    }

    /// Keeps a new registration of the mode that is drawn for it.
    pub(super) async fn create<S>(
        &self,
        request: &Request,
        draw: impl Fn(&RegistrationId) -> Result<(Mode, S), CeremonyError>,
    ) -> Result<(Registration, S), CeremonyError> {
        let requested = self.requested(request)?;
        self.check_method(&request.client)?;
        let limits = self.config.limits();
        let caps = PendingCaps { per_source: limits.pending_per_source, total: limits.pending_total };
        for _ in 0..DRAWS {
            let id = RegistrationId::generate(&*self.random)?;
            let (mode, secret) = draw(&id)?;
            let registration = self.pending(id, mode, request, &requested);
            match self.store.create_registration(&registration, caps).await? {
                Creation::Created => {
                    self.record_registered(&registration);
                    return Ok((registration, secret));
                }
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
        let (state, asked) = self.ask(&registration);
        asked.map_err(|interval| CeremonyError::SlowDown { interval })?;
        let over = !matches!(state, State::Pending | State::Approved);
        let expires_in = if over { Duration::ZERO } else { registration.expires_at.since(self.now()) };
        let interval = self.pace.interval(&registration.id);
        Ok(Status { registration: registration.id, state, expires_in, interval })
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

    fn pending(&self, id: RegistrationId, mode: Mode, request: &Request, requested: &ScopeSet) -> Registration {
        let created_at = self.now();
        Registration {
            id,
            mode,
            client: request.client.clone(),
            requested: requested.clone(),
            created_at,
            expires_at: created_at.after(self.config.lifetimes().registration),
            account: None,
            decision: Decision::Undecided,
            code: None,
            misses: 0,
        }
    }

    fn record_registered(&self, registration: &Registration) {
        self.record(&Event::Registered {
            registration: registration.id.clone(),
            mode: registration.mode.as_str(),
            client: registration.client.name.clone(),
            address: registration.client.address,
            requested: registration.requested.clone(),
        });
    }
}
