use std::{fmt, sync::Arc};

use super::{
    Refusal,
    refusal::{Told, insufficient_scope, no_credentials},
};
use crate::{
    Config,
    challenge::{Challenge, ChallengeError},
    types::scope::ScopeSet,
};

/// The class of a route: who may call it. Made by [`AgentAuth`](crate::AgentAuth); a
/// [policy](crate::AgentAuth::policy) names one for each request.
#[derive(Clone, Debug)]
pub struct Rule(pub(crate) Kind);

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Public,
    Optional,
    Require(Arc<Requirement>),
    OwnerOnly,
}

impl Rule {
    /// Anybody; no token is looked at.
    #[must_use]
    pub const fn public() -> Self {
        Self(Kind::Public)
    }

    /// Anybody, and an agent as itself: a missing token passes as none, a bad one is refused.
    #[must_use]
    pub const fn optional() -> Self {
        Self(Kind::Optional)
    }

    /// The account's human alone. No agent passes, whatever its scopes.
    #[must_use]
    pub const fn owner_only() -> Self {
        Self(Kind::OwnerOnly)
    }
}

/// Scopes that a route needs, resolved against the catalogue once, when the layer is built.
pub(crate) struct Requirement {
    config: Config,
    needed: ScopeSet,
    /// The same as bits of the catalogue, unless that has too many entries.
    bits: Option<u64>,
    any: bool,
    pub(super) no_credentials: &'static Told,
    insufficient_scope: &'static Told,
}

impl Requirement {
    pub(crate) fn new(config: &Config, scopes: &str, any: bool) -> Result<Self, RequirementError> {
        let names = ScopeSet::parse(scopes).map_err(|_| RequirementError::NoScope(scopes.into()))?;
        if names.is_empty() {
            return Err(RequirementError::NoScope(scopes.into()));
        }
        let catalogue = config.catalogue();
        if let Some(unknown) = names.iter().find(|scope| catalogue.find(scope).is_none()) {
            return Err(RequirementError::Unknown { scope: unknown.to_string(), offered: config.scopes().to_string() });
        }
        let metadata_url = config.protected_resource_metadata_url();
        let scopes = names.to_string();
        let mut bare = Challenge::bearer().with("resource_metadata", &metadata_url);
        if config.challenge_scope() {
            bare = bare.with("scope", &scopes);
        }
        let insufficient = Challenge::bearer()
            .with("error", "insufficient_scope")
            .with("scope", &scopes)
            .with("resource_metadata", &metadata_url);
        Ok(Self {
            config: config.clone(),
            bits: catalogue.bits(&names),
            needed: names,
            any,
            no_credentials: no_credentials(&bare.to_header()?),
            insufficient_scope: insufficient_scope(&insufficient.to_header()?, &scopes),
        })
    }

    /// What those are told who don't meet it, in its own words; `None` if it has none for that.
    pub(super) fn told(&self, refusal: Refusal) -> Option<&'static Told> {
        match refusal {
            Refusal::NoCredentials => Some(self.no_credentials),
            Refusal::InsufficientScope => Some(self.insufficient_scope),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn is_met_by(&self, granted: &ScopeSet) -> bool {
        let catalogue = self.config.catalogue();
        match (self.bits, self.any) {
            (Some(bits), true) => catalogue.powers(granted) & bits != 0,
            (Some(bits), false) => catalogue.powers(granted) & bits == bits,
            (None, true) => self.needed.iter().any(|scope| catalogue.grants(granted, scope)),
            (None, false) => self.needed.iter().all(|scope| catalogue.grants(granted, scope)),
        }
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.any { "any" } else { "all" };
        write!(f, "Requirement({mode} of {})", self.needed)
    }
}

/// A route's requirement can't be met by anybody. The fault is the service's code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequirementError {
    #[error("`{0}` names no scope: write one or more, separated by spaces")]
    NoScope(String),
    #[error("`{scope}` is not in the scope catalogue; offered are: {offered}")]
    Unknown { scope: String, offered: String },
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
}
