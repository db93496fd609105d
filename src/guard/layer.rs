use std::{fmt, sync::Arc};

use http::request::Parts;
use tower_layer::Layer;

use super::{Guard, Rule, Shared, check::Check, policy::Policy};

/// The layer that puts a [`Guard`] in front of a service. [`AgentAuth`](crate::AgentAuth) creates it.
#[derive(Clone)]
#[must_use]
pub struct GuardLayer {
    pub(super) check: Check,
    /// Returns the rule for each request. Without a policy, the rule of `check` applies.
    pub(super) policy: Option<Arc<Policy>>,
}

impl GuardLayer {
    pub(crate) const fn fixed(shared: Arc<Shared>, rule: Rule) -> Self {
        Self { check: Check { shared, rule: Some(rule), insert_principal: true, grpc: false }, policy: None }
    }

    pub(crate) fn policy(shared: Arc<Shared>, policy: impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static) -> Self {
        let check = Check { shared, rule: None, insert_principal: true, grpc: false };
        Self { check, policy: Some(Arc::new(policy)) }
    }

    /// Does not insert the caller into the request's extensions, which saves the allocations. For services whose
    /// handlers do not use the caller: they find neither an [`AgentSession`](super::AgentSession) nor an
    /// [`Owner`](super::Owner), and the extractors refuse.
    pub const fn without_principal(mut self) -> Self {
        self.check.insert_principal = false;
        self
    }

    /// Refuses gRPC calls in gRPC: with status 200, a `grpc-status` and no body. For routes that serve gRPC. Other
    /// requests to them, and all requests to other routes, are refused in HTTP, whatever `Content-Type` they send.
    pub const fn grpc(mut self) -> Self {
        self.check.grpc = true;
        self
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, layer: self.clone() }
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer").field("check", &self.check).finish_non_exhaustive()
    }
}
