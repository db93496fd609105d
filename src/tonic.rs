//! Guards for gRPC services of tonic 0.14.
//!
//! Require scopes by service or by method. By service, wrap the generated server in a guard:
//!
//! ```
//! use tonic::service::Routes;
//! use tower_agent_auth::AgentAuth;
//! use tower_layer::Layer;
//! # use tonic::server::NamedService;
//! # #[derive(Clone)] struct NotesServer;
//! # impl NamedService for NotesServer { const NAME: &'static str = "notes.v1.Notes"; }
//! # impl tower_service::Service<http::Request<tonic::body::Body>> for NotesServer {
//! #     type Response = http::Response<tonic::body::Body>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> { Ok(()).into() }
//! #     fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future { unimplemented!() }
//! # }
//!
//! fn routes(auth: &AgentAuth, notes: NotesServer) -> Routes {
//!     Routes::new(auth.require("notes:read").grpc().layer(notes))
//! }
//! ```
//!
//! By method, put one guard, built from [`Methods`], in front of all services. The documents and the ceremony are
//! served on the same port as the gRPC services: see `examples/tonic`.
//!
//! ```
//! # fn layers(auth: &tower_agent_auth::AgentAuth) -> Result<(), Box<dyn std::error::Error>> {
//! use tower_agent_auth::{guard::Rule, tonic::Methods};
//!
//! let methods = Methods::new()
//!     .service("notes.v1.Notes", auth.all_of("notes:read")?)?
//!     .method("/notes.v1.Notes/Add", auth.all_of("notes:write")?)?
//!     .method("/notes.v1.Notes/DeleteAccount", Rule::owner_only())?;
//! let layer = methods.into_layer(auth);
//! # Ok(())
//! # }
//! ```
//!
//! In a method, [`agent`] and [`owner`] return the caller.

use std::collections::HashMap;

use ::tonic::{Request, Status, server::NamedService};
use http::request::Parts;

use crate::{
    AgentAuth,
    endpoints::Endpoints,
    guard::{AgentSession, EndWithSession, Guard, GuardLayer, NO_GUARD, Owner, Rule, is_guarded},
    observe,
};

/// The agent session of a call that a guard forwarded.
///
/// # Errors
/// `UNAUTHENTICATED` if the caller is no agent: the rule also forwards others. `INTERNAL` if the service has no guard.
pub fn agent<T>(request: &Request<T>) -> Result<AgentSession, Status> {
    let session = request.extensions().get::<AgentSession>().cloned();
    session.ok_or_else(|| missing(request, "this needs an agent's bearer token"))
}

/// The signed-in human who called an owner-only method.
///
/// # Errors
/// `UNAUTHENTICATED` if the caller is not the human: the rule also forwards others. `INTERNAL` if the service has no
/// guard.
pub fn owner<T>(request: &Request<T>) -> Result<Owner, Status> {
    let owner = request.extensions().get::<Owner>().cloned();
    owner.ok_or_else(|| missing(request, "this needs the account's human, signed in"))
}

fn missing<T>(request: &Request<T>, text: &str) -> Status {
    if is_guarded(request.extensions()) {
        return Status::unauthenticated(text);
    }
    observe::of_mistake(NO_GUARD);
    Status::internal(NO_GUARD)
}

/// The rule of each gRPC method. Methods without a rule are refused.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Methods {
    services: HashMap<String, Rule>,
    methods: HashMap<String, Rule>,
}

impl Methods {
    /// No rules yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the rule of all methods of a service, such as `notes.v1.Notes` (its [`NamedService::NAME`]).
    ///
    /// # Errors
    /// When the name has a slash or is empty, or already has a rule. The service's code is at fault.
    pub fn service(mut self, name: &str, rule: Rule) -> Result<Self, MethodsError> {
        if name.is_empty() || name.contains('/') {
            return Err(MethodsError::Service(name.into()));
        }
        match self.services.insert(name.into(), rule) {
            None => Ok(self),
            Some(_) => Err(MethodsError::Twice(name.into())),
        }
    }

    /// Sets the rule of one method, such as `/notes.v1.Notes/Add`. It overrides the rule of its service.
    ///
    /// # Errors
    /// When the path has another form, or already has a rule. The service's code is at fault.
    pub fn method(mut self, path: &str, rule: Rule) -> Result<Self, MethodsError> {
        if split(path).is_none() {
            return Err(MethodsError::Method(path.into()));
        }
        match self.methods.insert(path.into(), rule) {
            None => Ok(self),
            Some(_) => Err(MethodsError::Twice(path.into())),
        }
    }

    /// Converts the rules to a guard in front of gRPC services. Calls are refused [in gRPC](GuardLayer::grpc).
    pub fn into_layer(self, auth: &AgentAuth) -> GuardLayer {
        auth.policy(self.into_policy()).grpc()
    }

    /// Converts the rules to a policy for [`AgentAuth::policy`], to combine it with rules of other routes. The guard
    /// refuses in gRPC only with [`GuardLayer::grpc`]; [`into_layer`](Self::into_layer) sets it.
    pub fn into_policy(self) -> impl Fn(&Parts) -> Option<Rule> + Send + Sync + 'static {
        move |request| {
            let path = request.uri.path();
            let (service, _) = split(path)?;
            self.methods.get(path).or_else(|| self.services.get(service)).cloned()
        }
    }
}

/// Splits a path into service and method (gRPC over HTTP/2, "Requests", Path).
fn split(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

/// A rule can't be set for a method or service.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodsError {
    /// It is not a service name.
    #[error("`{0}` names no gRPC service: write it without slashes, such as `notes.v1.Notes`")]
    Service(String),
    /// It is not a method path.
    #[error("`{0}` names no gRPC method: write its path, such as `/notes.v1.Notes/Add`")]
    Method(String),
    /// It already has a rule.
    #[error("`{0}` has a rule already; remove one of the two")]
    Twice(String),
}

crate::types::error_chain::debug_as_text!(MethodsError);

impl<S: NamedService> NamedService for Guard<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: NamedService> NamedService for EndWithSession<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: NamedService> NamedService for Endpoints<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_method_is_refused_when_the_service_is_built() {
        let methods = Methods::new;
        for name in ["", "/a.B", "a.B/C"] {
            assert_eq!(methods().service(name, Rule::public()).unwrap_err(), MethodsError::Service(name.into()));
        }
        for path in ["", "/", "a.B/C", "/a.B", "/a.B/", "//C", "/a.B/C/D"] {
            assert_eq!(methods().method(path, Rule::public()).unwrap_err(), MethodsError::Method(path.into()));
        }
        let once = methods().service("a.B", Rule::public()).unwrap();
        assert_eq!(once.service("a.B", Rule::owner_only()).unwrap_err(), MethodsError::Twice("a.B".into()));
    }

    #[test]
    fn r84_a_method_goes_before_its_service_and_what_is_not_named_has_no_class() {
        let methods = Methods::new().service("a.B", Rule::public()).unwrap();
        let policy = methods.method("/a.B/C", Rule::owner_only()).unwrap().into_policy();
        let of = |path: &str| policy(&http::Request::get(path).body(()).unwrap().into_parts().0);
        assert!(matches!(of("/a.B/C"), Some(rule) if format!("{rule:?}").contains("demand: OwnerOnly,")));
        assert!(matches!(of("/a.B/D"), Some(rule) if format!("{rule:?}").contains("demand: Public,")));
        for path in ["/a.b/C", "/a.B", "/a.B/", "/a.B/C/", "/a.B/C/D", "/", "/a.Bc/C", "/a%2eB/C"] {
            assert!(of(path).is_none(), "{path}");
        }
    }
}
