use std::{fmt, sync::Arc};

use http::request::Parts;

use super::{CallRule, Refusal, Shared, refusal::RefusalResponse};
#[cfg(feature = "mcp")]
use crate::http::Reply;
use crate::{
    Config,
    challenge::{Challenge, ChallengeError},
    config::Resource,
    types::scope::ScopeSet,
};

/// What a route demands of its caller. Rules that demand scopes come from
/// [`AgentAuth::all_of`](crate::AgentAuth::all_of) and [`any_of`](crate::AgentAuth::any_of). A
/// [policy](crate::AgentAuth::policy) returns a rule for each request.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) demand: Demand,
    /// Whether requests that present no token of this service are left to the host's own auth.
    pub(super) or_host: bool,
}

/// Returns the rule for a request.
pub(super) type Policy = dyn Fn(&Parts) -> Rule + Send + Sync;

#[derive(Clone, Debug)]
pub(super) enum Demand {
    Public,
    Optional,
    Scopes(Arc<Requirement>),
    OwnerOnly,
    /// The policy returns no rule. Nobody passes.
    Unnamed,
    /// Nobody passes. An agent with a valid session gets this response.
    #[cfg_attr(not(feature = "mcp"), expect(dead_code, reason = "only `mcp` has such rules"))]
    Never(Arc<RefusalResponse>),
}

impl Rule {
    /// Anybody passes; the guard does not look at tokens.
    #[must_use]
    pub const fn public() -> Self {
        Self::of(Demand::Public)
    }

    /// Anybody passes; an agent's session is checked. A request without a token passes; one with a bad token is
    /// refused.
    #[must_use]
    pub const fn optional() -> Self {
        Self::of(Demand::Optional)
    }

    /// Only the account's human passes. Agents are refused, whatever their scopes.
    #[must_use]
    pub const fn owner_only() -> Self {
        Self::of(Demand::OwnerOnly)
    }

    /// Leaves every request that presents no token of this service to the host's own auth: API keys, the host's bearer
    /// tokens, Basic, cookies, or no credentials at all. For services that had auth before agents came.
    ///
    /// A request that [presents a token of this service](crate::AgentAuth::presents_agent_token) is an agent's. This rule
    /// alone decides it, whatever other credentials are beside the token, and every refusal is the guard's. All other
    /// requests reach the inner service unchanged and without a principal, also those that the rule itself would refuse,
    /// of any method. If the inner service answers 401, or `UNAUTHENTICATED` on a gRPC route, the guard puts its challenge
    /// before those of the service.
    ///
    /// **The service must authenticate these requests itself.** Nothing else does: a handler without auth of its own is
    /// open to everybody but agents.
    ///
    /// On [`owner_only`](Self::owner_only), it means that agents are refused, and the host decides who else passes;
    /// [`Accounts`](crate::accounts::Accounts) is not asked. On [`public`](Self::public), it changes nothing.
    ///
    /// ```
    /// # use tower_agent_auth::{AgentAuth, Config, guard::Rule, store::MemoryStore};
    /// # let config = Config::from_json(r#"{ "resource": "https://api.example.com", "name": "Example",
    /// #     "scopes": [{ "name": "projects:read", "description": "See your projects" }] }"#)?;
    /// # let auth = AgentAuth::builder(config).checks_only(MemoryStore::new()).build()?;
    /// let read = auth.all_of("projects:read")?.or_host_auth();
    /// let layer = auth.policy(move |request| match request.uri.path() {
    ///     "/projects" => Some(read.clone()),
    ///     "/billing" => Some(Rule::owner_only().or_host_auth()),
    ///     _ => None,
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn or_host_auth(mut self) -> Self {
        self.or_host = true;
        self
    }

    const fn of(demand: Demand) -> Self {
        Self { demand, or_host: false }
    }

    /// The rule of a request for which a policy returns none.
    pub(super) const fn unnamed() -> Self {
        Self::of(Demand::Unnamed)
    }

    /// Agents that have all of the scopes pass.
    pub(crate) fn all_of(config: &Config, shared: &Shared, scopes: &str) -> Result<Self, RequirementError> {
        Ok(Self::of(Demand::Scopes(Arc::new(Requirement::new(config, shared, scopes, false)?))))
    }

    /// Agents with a valid session pass, whatever its scopes. `request` are the scopes that the challenge to a request
    /// without credentials names.
    #[cfg(feature = "mcp")]
    pub(crate) fn any_session(config: &Config, shared: &Shared, request: &str) -> Result<Self, RequirementError> {
        let request = parse(shared.resource(), request)?;
        let requirement = Requirement::challenging(config, shared, ScopeSet::default(), &request, false)?;
        Ok(Self::of(Demand::Scopes(Arc::new(requirement))))
    }

    /// Nobody passes: agents are told that only the account's human may do this, and the human does it elsewhere.
    #[cfg(feature = "mcp")]
    pub(crate) fn owner_only_for_agents() -> Self {
        Self::of(Demand::Never(Arc::new(RefusalResponse::owner_only())))
    }

    /// Agents with a valid session are refused with this response, all others with 401.
    #[cfg(feature = "mcp")]
    pub(crate) fn never(refusal: Refusal, text: &str, response: Reply) -> Self {
        Self::of(Demand::Never(Arc::new(RefusalResponse::new(refusal, text, response))))
    }

    /// The scopes that an agent needs; `None` for other rules.
    #[cfg(feature = "mcp")]
    pub(crate) fn scopes(&self) -> Option<&ScopeSet> {
        match &self.demand {
            Demand::Scopes(requirement) => Some(&requirement.names),
            _ => None,
        }
    }

    /// Agents that have any of the scopes pass.
    pub(crate) fn any_of(config: &Config, shared: &Shared, scopes: &str) -> Result<Self, RequirementError> {
        Ok(Self::of(Demand::Scopes(Arc::new(Requirement::new(config, shared, scopes, true)?))))
    }
}

/// Scopes that a route needs, and the refusals that name them.
pub(super) struct Requirement {
    names: ScopeSet,
    /// For each needed scope, every scope of the catalogue that includes it.
    givers: Vec<ScopeSet>,
    any: bool,
    pub(super) no_credentials: Arc<RefusalResponse>,
    insufficient_scope: RefusalResponse,
}

impl Requirement {
    fn new(config: &Config, shared: &Shared, scopes: &str, any: bool) -> Result<Self, RequirementError> {
        let names = parse(shared.resource(), scopes)?;
        if names.is_empty() {
            return Err(RequirementError::NoScope(scopes.into()));
        }
        let request = if config.challenge_scope() { names.clone() } else { ScopeSet::default() };
        Ok(Self::challenging(config, shared, names, &request, any)?)
    }

    /// `request` are the scopes that the challenge to a request without credentials names.
    fn challenging(
        config: &Config,
        shared: &Shared,
        names: ScopeSet,
        request: &ScopeSet,
        any: bool,
    ) -> Result<Self, ChallengeError> {
        let catalogue = config.catalogue();
        let metadata_url = shared.resource().protected_resource_metadata_url();
        let scopes = names.to_string();
        let mut no_credentials = Challenge::bearer().with("resource_metadata", &metadata_url);
        if !request.is_empty() {
            no_credentials = no_credentials.with("scope", &request.to_string());
        }
        let insufficient_scope = Challenge::bearer()
            .with("error", "insufficient_scope")
            .with("scope", &scopes)
            .with("resource_metadata", &metadata_url);
        Ok(Self {
            givers: names.iter().map(|scope| catalogue.givers(scope)).collect(),
            names,
            any,
            no_credentials: Arc::new(RefusalResponse::no_credentials(no_credentials.to_header()?, shared.assembly())),
            insufficient_scope: RefusalResponse::insufficient_scope(insufficient_scope.to_header()?, &scopes),
        })
    }

    /// The response for a refusal that names the scopes, else `None`.
    pub(super) fn response(&self, refusal: Refusal) -> Option<&RefusalResponse> {
        match refusal {
            Refusal::NoCredentials => Some(&self.no_credentials),
            Refusal::InsufficientScope => Some(&self.insufficient_scope),
            _ => None,
        }
    }

    pub(super) const fn as_call_rule(&self) -> CallRule<'_> {
        if self.any { CallRule::AnyOf(&self.names) } else { CallRule::AllOf(&self.names) }
    }

    pub(super) fn is_met_by(&self, granted: &ScopeSet) -> bool {
        let given = |givers: &ScopeSet| granted.intersects(givers);
        if self.any { self.givers.iter().any(given) } else { self.givers.iter().all(given) }
    }
}

/// Parses scopes of the resource.
fn parse(resource: &Resource, scopes: &str) -> Result<ScopeSet, RequirementError> {
    let names = ScopeSet::parse(scopes).map_err(|_| RequirementError::NoScope(scopes.into()))?;
    let Some(unknown) = names.iter().find(|scope| !resource.scopes().contains(scope)) else { return Ok(names) };
    let (scope, resource_id) = (unknown.to_string(), resource.id().to_owned());
    Err(RequirementError::Unknown { scope, resource: resource_id, offered: resource.scopes().to_string() })
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.any { "any" } else { "all" };
        write!(f, "Requirement({mode} of {})", self.names)
    }
}

/// No session can meet the requirement. The service's code is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequirementError {
    #[error("`{0}` names no scope: write one or more, separated by spaces")]
    NoScope(String),
    #[error("`{scope}` is not in the scope catalogue of {resource}; offered are: {offered}")]
    Unknown { scope: String, resource: String, offered: String },
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        audit::NoAudit,
        guard::Parts,
        http::{Assembly, ClientAddresses},
        store::{
            MemoryStore,
            traits::{Deadlines, WithDeadline},
        },
        types::clock::SystemClock,
    };

    fn shared(config: &Config) -> Shared {
        let deadlines = Deadlines { read: Duration::ZERO, write: Duration::ZERO };
        let (clock, audit) = (Arc::new(SystemClock::default()), Arc::new(NoAudit));
        let parts = Parts {
            store: Arc::new(WithDeadline { store: MemoryStore::new(), deadlines }),
            accounts: None,
            clock: clock.clone(),
            audit: audit.clone(),
            uses: None,
            calls: None,
            addresses: ClientAddresses::new(config.clone(), None),
            assembly: Arc::new(Assembly::new(false, clock, audit)),
        };
        Shared::new(config, config.default_resource(), parts).unwrap()
    }

    #[test]
    fn e15_implied_scopes_count_in_a_catalogue_of_any_size() {
        for size in [2, 64, 65, 200] {
            let config = Config::builder().resource("https://api.example.org").name("Test");
            let config = (0..size).fold(config, |config, number| {
                config.scope(&format!("s{number}"), "A scope", |scope| match number {
                    0 => scope,
                    _ => scope.implies(&format!("s{}", number - 1)),
                })
            });
            let config = config.build().unwrap();
            let shared = shared(&config);
            let new = |scopes: &str, any| Requirement::new(&config, &shared, scopes, any).unwrap();
            let last = ScopeSet::parse(&format!("s{}", size - 1)).unwrap();
            let first = ScopeSet::parse("s0").unwrap();
            for needed in [0, size / 2, size - 1].map(|number| format!("s{number}")) {
                let requirement = new(&needed, false);
                assert!(requirement.is_met_by(&last), "{size}: the last gives {needed}");
                assert_eq!(requirement.is_met_by(&first), needed == "s0", "{size}: {needed}");
            }
            let both = format!("s0 s{}", size - 1);
            assert!(!new(&both, false).is_met_by(&first), "{size}");
            assert!(new(&both, true).is_met_by(&first), "{size}");
        }
    }
}
