use std::{fmt, sync::Arc};

use http::request::Parts;
use tower_layer::Layer;

#[cfg(feature = "mcp")]
use super::LateCheck;
use super::{Guard, Rule, SessionGuardLayer, Shared, check::Check, policy::Policy};

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
        Self { check: Check::new(shared, rule), policy: None }
    }

    pub(crate) fn policy(shared: Arc<Shared>, policy: impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static) -> Self {
        let guard = Self { check: Check::new(shared, Rule::unnamed()), policy: None };
        guard.with_policy(policy)
    }

    /// The same guard with another policy.
    pub(crate) fn with_policy(self, policy: impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static) -> Self {
        let policy = move |request: &Parts| policy(request).unwrap_or(const { Rule::unnamed() });
        Self { policy: Some(Arc::new(policy)), ..self }
    }

    /// The same guard, in front of a [`LateCheck`] that decides each POST.
    #[cfg(feature = "mcp")]
    pub(crate) const fn decided_late(mut self) -> Self {
        self.check.decides_late = true;
        self
    }

    /// Checks sessions against rules that are found after this guard forwarded the request.
    #[cfg(feature = "mcp")]
    pub(crate) fn late_check(&self) -> LateCheck {
        LateCheck(self.check.clone())
    }

    /// Leaves every request that presents no token of this service to the host's own auth; see [`Rule::or_host_auth`].
    /// Under a policy, it applies to each rule, and to requests for which the policy returns none: agents are refused
    /// there, and all others are left to the host.
    ///
    /// ```
    /// use axum::{Router, extract::Request, http::StatusCode, middleware::Next, response::{IntoResponse, Response}, routing::get};
    /// use tower_agent_auth::{AgentAuth, guard::AgentSession};
    ///
    /// /// The service's own middleware, with one branch for agents: otherwise it would refuse them.
    /// async fn logged_in(request: Request, next: Next) -> Response {
    ///     let agent = request.extensions().get::<AgentSession>().is_some();
    ///     if agent || is_known(&request) { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
    /// }
    /// # fn is_known(_: &Request) -> bool { false }
    ///
    /// fn app(auth: &AgentAuth) -> Router {
    ///     let agents = auth.require("projects:read").or_host_auth();
    ///     // The first is outside.
    ///     let projects = get(async || "none").layer((agents, axum::middleware::from_fn(logged_in)));
    ///     Router::new().route("/projects", projects).merge(auth.router())
    /// }
    /// ```
    pub fn or_host_auth(mut self) -> Self {
        self.check.rule.or_host = true;
        if let Some(policy) = self.policy.take() {
            self.policy = Some(Arc::new(move |request: &Parts| policy(request).or_host_auth()));
        }
        self
    }

    /// Does not insert the caller into the request's extensions, which saves the allocations. For services whose
    /// handlers do not use the caller: they find neither an [`AgentSession`](super::AgentSession) nor an
    /// [`Owner`](super::Owner), and the extractors refuse.
    pub const fn without_principal(mut self) -> Self {
        self.check.insert_principal = false;
        self
    }

    /// Removes all `Authorization` lines from a request before the inner service sees it, so that it can't pass the
    /// token on. For services that call other services: a token is valid for one resource, and no other may get it (MCP
    /// security best practices, "Token Passthrough"). The handler still finds the caller.
    ///
    /// It is off by default, because some services read the header themselves. A request that is
    /// [left to the host's own auth](Self::or_host_auth) keeps its lines.
    pub const fn strip_authorization(mut self) -> Self {
        self.check.strip_authorization = true;
        self
    }

    /// Ends the response body when the agent's session ends: when the session is revoked, or the access token of the
    /// request expires or is replaced by a refresh. For long responses such as server-sent events and gRPC streams.
    ///
    /// The session is checked every 5 seconds, and at once when the store sends a notice. A cache may add its staleness
    /// to the 5 seconds. If the store fails, the body goes on for a minute at most. A body that is ended has the error
    /// [`SessionEnded`](super::SessionEnded), so HTTP/1.1 closes the connection and HTTP/2 resets the stream: no client
    /// takes the response for complete. A gRPC call on a route with [`grpc`](Self::grpc) ends with the status
    /// `UNAUTHENTICATED`. Requests without an agent session are not affected.
    ///
    /// It inserts the principal, even after [`without_principal`](Self::without_principal). It requires a Tokio runtime
    /// with time enabled.
    pub const fn end_with_session(mut self) -> SessionGuardLayer {
        self.check.insert_principal = true;
        SessionGuardLayer::new(self)
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
