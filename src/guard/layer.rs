use std::{fmt, sync::Arc};

use http::request::Parts;
use tower_layer::Layer;

use super::{Guard, Rule, Shared, policy::Kind};

/// Puts a [`Guard`] in front of a service. Made by [`AgentAuth`](crate::AgentAuth).
#[derive(Clone, Debug)]
#[must_use]
pub struct GuardLayer {
    shared: Arc<Shared>,
    class: Class,
    tells: bool,
}

/// How a guard knows the class of a request.
#[derive(Clone)]
pub(super) enum Class {
    Fixed(Kind),
    Policy(Arc<Policy>),
}

/// Names the class of a request.
type Policy = dyn Fn(&Parts) -> Option<Rule> + Send + Sync;

impl GuardLayer {
    pub(crate) fn fixed(shared: Arc<Shared>, rule: Rule) -> Self {
        Self { shared, class: Class::Fixed(rule.0), tells: true }
    }

    pub(crate) fn policy(shared: Arc<Shared>, policy: impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static) -> Self {
        Self { shared, class: Class::Policy(Arc::new(policy)), tells: true }
    }

    /// The same guard, which does not put into the request's extensions who called: for a service that never asks, and
    /// spares the allocations. Handlers then find neither an [`AgentSession`](super::AgentSession) nor an
    /// [`Owner`](super::Owner); the extractors refuse.
    pub const fn without_principal(mut self) -> Self {
        self.tells = false;
        self
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard::new(inner, Arc::clone(&self.shared), self.class.clone(), self.tells)
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(kind) => kind.fmt(f),
            Self::Policy(_) => f.write_str("Policy(..)"),
        }
    }
}
