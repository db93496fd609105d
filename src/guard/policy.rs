use std::{fmt, sync::Arc};

use http::request::Parts;

use super::{CallRule, Refusal, refusal::RefusalResponse};
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
pub struct Rule(pub(super) Demand);

/// Returns the rule for a request; `None` refuses it.
pub(super) type Policy = dyn Fn(&Parts) -> Option<Rule> + Send + Sync;

#[derive(Clone, Debug)]
pub(super) enum Demand {
    Public,
    Optional,
    Scopes(Arc<Requirement>),
    OwnerOnly,
    /// Nobody passes. An agent with a valid session gets this response.
    #[cfg_attr(not(feature = "mcp"), expect(dead_code, reason = "only `mcp` has such rules"))]
    Never(Arc<RefusalResponse>),
}

impl Rule {
    /// Anybody passes; the guard does not look at tokens.
    #[must_use]
    pub const fn public() -> Self {
        Self(Demand::Public)
    }

    /// Anybody passes; an agent's session is checked. A request without a token passes; one with a bad token is
    /// refused.
    #[must_use]
    pub const fn optional() -> Self {
        Self(Demand::Optional)
    }

    /// Only the account's human passes. Agents are refused, whatever their scopes.
    #[must_use]
    pub const fn owner_only() -> Self {
        Self(Demand::OwnerOnly)
    }

    /// Agents that have all of the scopes pass.
    pub(crate) fn all_of(config: &Config, resource: &Resource, scopes: &str) -> Result<Self, RequirementError> {
        Ok(Self(Demand::Scopes(Arc::new(Requirement::new(config, resource, scopes, false)?))))
    }

    /// Agents with a valid session pass, whatever its scopes. `request` are the scopes that the challenge to a request
    /// without credentials names.
    #[cfg(feature = "mcp")]
    pub(crate) fn any_session(config: &Config, resource: &Resource, request: &str) -> Result<Self, RequirementError> {
        let request = parse(resource, request)?;
        let requirement = Requirement::challenging(config, resource, ScopeSet::default(), &request, false)?;
        Ok(Self(Demand::Scopes(Arc::new(requirement))))
    }

    /// Nobody passes: agents are told that only the account's human may do this, and the human does it elsewhere.
    #[cfg(feature = "mcp")]
    pub(crate) fn owner_only_for_agents() -> Self {
        Self(Demand::Never(Arc::new(RefusalResponse::owner_only())))
    }

    /// Agents with a valid session are refused with this response, all others with 401.
    #[cfg(feature = "mcp")]
    pub(crate) fn never(refusal: Refusal, text: &str, response: Reply) -> Self {
        Self(Demand::Never(Arc::new(RefusalResponse::new(refusal, text, response))))
    }

    /// The scopes that an agent needs; `None` for other rules.
    #[cfg(feature = "mcp")]
    pub(crate) fn scopes(&self) -> Option<&ScopeSet> {
        match &self.0 {
            Demand::Scopes(requirement) => Some(&requirement.names),
            _ => None,
        }
    }

    /// Agents that have any of the scopes pass.
    pub(crate) fn any_of(config: &Config, resource: &Resource, scopes: &str) -> Result<Self, RequirementError> {
        Ok(Self(Demand::Scopes(Arc::new(Requirement::new(config, resource, scopes, true)?))))
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
    fn new(config: &Config, resource: &Resource, scopes: &str, any: bool) -> Result<Self, RequirementError> {
        let names = parse(resource, scopes)?;
        if names.is_empty() {
            return Err(RequirementError::NoScope(scopes.into()));
        }
        let request = if config.challenge_scope() { names.clone() } else { ScopeSet::default() };
        Ok(Self::challenging(config, resource, names, &request, any)?)
    }

    /// `request` are the scopes that the challenge to a request without credentials names.
    fn challenging(
        config: &Config,
        resource: &Resource,
        names: ScopeSet,
        request: &ScopeSet,
        any: bool,
    ) -> Result<Self, ChallengeError> {
        let catalogue = config.catalogue();
        let metadata_url = resource.protected_resource_metadata_url();
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
            no_credentials: Arc::new(RefusalResponse::no_credentials(no_credentials.to_header()?)),
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
    use super::*;

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
            let new = |scopes: &str, any| Requirement::new(&config, config.default_resource(), scopes, any).unwrap();
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
