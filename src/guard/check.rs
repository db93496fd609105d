use std::{fmt, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, Method, Request, Response,
    header::{AUTHORIZATION, RETRY_AFTER},
};

use super::{
    AgentSession, Call, CallOutcome, CallRule, CallSink, Owner, Refusal, Rule,
    policy::Demand,
    principal::{Principal, remove_principal},
    refusal::Refusals,
    response::Forwarded,
    session_end::Endings,
};
use crate::{
    Config,
    accounts::{AccountsError, DynAccounts, SignedIn, head_of},
    audit::{AuditSink, Event},
    challenge::ChallengeError,
    config::{Prefixes, Resource},
    http::{
        Answering, Assembly, ClientAddresses, Credentials, has_agent_credential, has_query_token, jitter,
        presents_own_token,
    },
    observe::CheckCounter,
    store::{LastUsedBuffer, StoreError, traits::DynSessionStore},
    types::{
        clock::{Clock, Timestamp},
        session::{Session, Use},
    },
};

/// The shared state of the guards of one resource.
pub(crate) struct Shared {
    parts: Parts,
    prefixes: Prefixes,
    resource: Resource,
    refusals: Refusals,
    counters: Counters,
    /// The response bodies that end with their sessions.
    pub(super) endings: Arc<Endings>,
}

/// The parts of a guard.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn DynSessionStore>,
    pub(crate) accounts: Option<Arc<dyn DynAccounts>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Arc<dyn AuditSink>,
    /// Receives each call; `None` by default.
    pub(crate) calls: Option<Arc<dyn CallSink>>,
    /// `None` if nobody writes them.
    pub(crate) uses: Option<Arc<LastUsedBuffer>>,
    pub(crate) addresses: ClientAddresses,
    pub(crate) assembly: Arc<Assembly>,
}

/// Counters of forwarded requests, by principal.
struct Counters {
    agent: CheckCounter,
    owner: CheckCounter,
    nobody: CheckCounter,
    host: CheckCounter,
}

impl Shared {
    pub(crate) fn new(config: &Config, resource: &Resource, parts: Parts) -> Result<Self, ChallengeError> {
        let counters = Counters {
            agent: CheckCounter::new("agent"),
            owner: CheckCounter::new("owner"),
            nobody: CheckCounter::new("nobody"),
            host: CheckCounter::new("host"),
        };
        let refusals = Refusals::new(&resource.protected_resource_metadata_url(), &parts.assembly)?;
        let (prefixes, resource) = (config.prefixes().clone(), resource.clone());
        Ok(Self { parts, prefixes, resource, refusals, counters, endings: Arc::default() })
    }

    pub(crate) const fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(super) const fn assembly(&self) -> &Arc<Assembly> {
        &self.parts.assembly
    }

    pub(super) fn store(&self) -> &Arc<dyn DynSessionStore> {
        &self.parts.store
    }

    /// Whether a session that a store found is valid now.
    pub(super) fn is_good(&self, session: &Session) -> bool {
        session.is_good(self.resource.id(), self.parts.clock.now())
    }

    /// How long the access token is still valid.
    pub(super) fn time_left(&self, session: &Session) -> Duration {
        session.expires_at.since(self.parts.clock.now())
    }

    fn audit(&self, event: &Event) {
        self.parts.audit.record(self.parts.clock.now(), event);
    }
}

/// The rule and the options for checking a request.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) shared: Arc<Shared>,
    pub(super) rule: Rule,
    /// Whether handlers find the caller in the request's extensions.
    pub(super) insert_principal: bool,
    /// Whether the route serves gRPC, so that gRPC calls are refused in gRPC.
    pub(super) grpc: bool,
    /// Whether the inner service must not see the `Authorization` header.
    pub(super) strip_authorization: bool,
    /// Whether a [`LateCheck`] decides a POST that this check forwards.
    pub(super) decides_late: bool,
}

/// The result of a check.
pub(super) enum Verdict {
    Forward(Principal),
    Refuse(Refusal),
    Wait(Lookup),
}

/// A lookup that a request waits for.
pub(super) enum Lookup {
    Session(Answering<Result<Option<Arc<Session>>, StoreError>>),
    Owner(Answering<Result<Option<SignedIn>, AccountsError>>),
}

impl Check {
    pub(super) const fn new(shared: Arc<Shared>, rule: Rule) -> Self {
        Self { shared, rule, insert_principal: true, grpc: false, strip_authorization: false, decides_late: false }
    }

    /// Authenticates the caller. The order of checks is: parse, authenticate, owner boundary, scope.
    pub(super) fn authenticate<B>(&self, request: &mut Request<B>) -> Verdict {
        if let Demand::Public = self.rule.demand {
            return Verdict::Forward(Principal::Nobody);
        }
        if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
            return self.refuse_agent(Refusal::Method, request);
        }
        let query_token = has_query_token(request.uri());
        if query_token && !self.is_left_to_host(request) {
            self.shared.audit(&Event::TokenInQuery);
        }
        match Credentials::marked(request.headers_mut()) {
            Credentials::Ambiguous => self.refuse_agent(Refusal::InvalidRequest, request),
            Credentials::Bearer(_) if query_token => self.refuse_agent(Refusal::InvalidRequest, request),
            Credentials::Bearer(token) => match self.shared.prefixes.access.digest(token) {
                None => self.refuse_agent(Refusal::InvalidToken, request),
                Some(digest) => match self.shared.parts.store.try_find(&digest) {
                    Poll::Ready(found) => self.authorize(found, request),
                    Poll::Pending => Verdict::Wait(Lookup::Session(Arc::clone(&self.shared.parts.store).find(digest))),
                },
            },
            Credentials::None if self.rule.or_host => self.refuse_agent(Refusal::NoCredentials, request),
            Credentials::None => match (&self.rule.demand, &self.shared.parts.accounts) {
                (Demand::Optional, _) => Verdict::Forward(Principal::Nobody),
                // An attempt at an agent's credential, in whatever form, is never the owner.
                (Demand::OwnerOnly, Some(accounts))
                    if !query_token
                        && !has_agent_credential(request.headers(), &self.shared.prefixes)
                        && !presents_own_token(request.headers(), request.uri(), &self.shared.prefixes) =>
                {
                    Verdict::Wait(Lookup::Owner(Arc::clone(accounts).current(head_of(request))))
                }
                _ => Verdict::Refuse(Refusal::NoCredentials),
            },
        }
    }

    /// Refuses a request that is not authenticated, unless it is left to the host's own auth.
    fn refuse_agent<B>(&self, refusal: Refusal, request: &Request<B>) -> Verdict {
        if self.is_left_to_host(request) { Verdict::Forward(Principal::Host) } else { Verdict::Refuse(refusal) }
    }

    fn is_left_to_host<B>(&self, request: &Request<B>) -> bool {
        self.rule.or_host && !presents_own_token(request.headers(), request.uri(), &self.shared.prefixes)
    }

    /// Checks the session that the store found against the rule.
    pub(super) fn authorize<B>(&self, found: Option<Arc<Session>>, request: &Request<B>) -> Verdict {
        let now = self.shared.parts.clock.now();
        let Some(session) = found.filter(|session| session.is_good(self.shared.resource.id(), now)) else {
            return Verdict::Refuse(Refusal::InvalidToken);
        };
        let refusal = match &self.rule.demand {
            Demand::Scopes(requirement) if !requirement.is_met_by(&session.scopes) => {
                self.audit_refusal_of(&session, Refusal::InsufficientScope, request);
                return Verdict::Refuse(Refusal::InsufficientScope);
            }
            Demand::OwnerOnly => Refusal::OwnerOnly,
            Demand::Never(response) => response.refusal(),
            Demand::Unnamed => Refusal::NoRule,
            Demand::Public | Demand::Optional | Demand::Scopes(_) => {
                if session.note_use(now) {
                    self.note_use(&session, request.headers(), request.extensions(), now);
                }
                return Verdict::Forward(Principal::Agent(AgentSession { session }));
            }
        };
        if matches!(refusal, Refusal::OwnerOnly | Refusal::NoRule) {
            self.shared.audit(&Event::OwnerOnlyRefused { session: session.id.clone() });
        }
        self.audit_refusal_of(&session, refusal, request);
        Verdict::Refuse(refusal)
    }

    /// Forwards the request of a signed-in human.
    pub(super) fn authorize_owner(found: Option<SignedIn>) -> Verdict {
        match found {
            Some(SignedIn { account, .. }) => Verdict::Forward(Principal::Owner(Owner { account: Arc::new(account) })),
            None => Verdict::Refuse(Refusal::NoCredentials),
        }
    }

    fn note_use(&self, session: &Session, headers: &HeaderMap, extensions: &Extensions, now: Timestamp) {
        let Some(uses) = &self.shared.parts.uses else { return };
        let address = self.shared.parts.addresses.client(headers, extensions);
        uses.note(&session.id, Use { at: now, address });
    }

    /// The call for the sink, before it is known who calls.
    fn call<'c, B>(&'c self, outcome: CallOutcome, request: &'c Request<B>) -> Call<'c> {
        let rule = match &self.rule.demand {
            Demand::Scopes(requirement) => requirement.as_call_rule(),
            Demand::Public | Demand::Optional => CallRule::Optional,
            Demand::OwnerOnly => CallRule::OwnerOnly,
            Demand::Never(response) if response.refusal() == Refusal::OwnerOnly => CallRule::OwnerOnly,
            Demand::Never(_) | Demand::Unnamed => CallRule::None,
        };
        Call::new((rule, outcome), self.shared.resource.id(), request.method(), request.extensions())
    }

    #[cold]
    fn record_call(&self, sink: &dyn CallSink, call: &Call<'_>) {
        sink.record(self.shared.parts.clock.now(), call);
    }

    /// Tells the sink of a refusal that depends on the session.
    fn audit_refusal_of<B>(&self, session: &Session, refusal: Refusal, request: &Request<B>) {
        if let Some(sink) = &self.shared.parts.calls {
            self.record_refusal_of(&**sink, session, refusal, request);
        }
    }

    #[cold]
    fn record_refusal_of<B>(&self, sink: &dyn CallSink, session: &Session, refusal: Refusal, request: &Request<B>) {
        self.record_call(sink, &self.call(CallOutcome::Refused(refusal), request).by_agent(session));
    }

    #[cold]
    fn audit_refusal<B>(&self, sink: &dyn CallSink, refusal: Refusal, request: &Request<B>) {
        match refusal {
            // These depend on a session, and were recorded with it.
            Refusal::InsufficientScope | Refusal::OwnerOnly | Refusal::NoRule => {}
            Refusal::InvalidOperation | Refusal::Body => {}
            _ => self.record_call(sink, &self.call(CallOutcome::Refused(refusal), request)),
        }
    }

    fn audit_forward<B>(&self, sink: &dyn CallSink, principal: &Principal, request: &Request<B>) {
        let is_public = matches!(self.rule.demand, Demand::Public);
        let is_decided_late =
            self.decides_late && *request.method() == Method::POST && !matches!(principal, Principal::Host);
        if is_public || is_decided_late {
            return;
        }
        let call = self.call(CallOutcome::Forwarded, request);
        let call = match principal {
            Principal::Nobody | Principal::Host => call,
            Principal::Agent(agent) => call.by_agent(&agent.session),
            Principal::Owner(owner) => call.by_owner(&owner.account),
        };
        self.record_call(sink, &call);
    }

    /// Refuses because a lookup failed.
    pub(super) fn fail(&self, error: &(dyn std::error::Error + 'static)) -> Verdict {
        self.shared.audit(&Event::unavailable(error));
        Verdict::Refuse(Refusal::Unavailable)
    }

    /// Prepares a request for the inner service. Returns what the response of the inner service lacks; `None` under the
    /// public rule.
    pub(super) fn forward<B>(&self, principal: Principal, request: &mut Request<B>) -> Option<Forwarded> {
        if let Some(sink) = &self.shared.parts.calls {
            self.audit_forward(&**sink, &principal, request);
        }
        if self.strip_authorization {
            let is_public = matches!(self.rule.demand, Demand::Public);
            if !(matches!(principal, Principal::Host) || self.rule.or_host && is_public) {
                request.headers_mut().remove(AUTHORIZATION);
            }
        }
        let extensions = request.extensions_mut();
        let counters = &self.shared.counters;
        match &principal {
            Principal::Nobody => counters.nobody.increment(),
            Principal::Agent(_) => counters.agent.increment(),
            Principal::Owner(_) => counters.owner.increment(),
            Principal::Host => counters.host.increment(),
        }
        remove_principal(extensions);
        let (unauthorized, owner_only) = match &self.rule.demand {
            Demand::Public => return None,
            Demand::Scopes(requirement) => (&requirement.no_credentials, false),
            demand => (&self.shared.refusals.no_credentials, matches!(demand, Demand::OwnerOnly)),
        };
        if self.insert_principal {
            principal.insert_into(extensions);
        }
        Some(Forwarded { unauthorized: Arc::clone(unauthorized), owner_only, grpc: self.grpc })
    }

    pub(super) fn refuse<B>(&self, refusal: Refusal, request: &Request<B>) -> Response<Bytes> {
        if let Some(sink) = &self.shared.parts.calls {
            self.audit_refusal(&**sink, refusal, request);
        }
        let own = match &self.rule.demand {
            Demand::Scopes(requirement) => requirement.response(refusal),
            Demand::Never(response) if response.refusal() == refusal => Some(&**response),
            _ => None,
        };
        let own = own.unwrap_or_else(|| self.shared.refusals.response(refusal));
        if refusal == Refusal::NoCredentials {
            own.note_challenge();
        }
        let mut response = own.to(request, self.grpc);
        if refusal == Refusal::Unavailable {
            response.headers_mut().insert(RETRY_AFTER, jitter(self.shared.parts.clock.now()).into());
        }
        response
    }
}

/// Checks a request that the guard forwarded against a rule that is found only later.
#[cfg(feature = "mcp")]
#[derive(Clone, Debug)]
pub(crate) struct LateCheck(pub(super) Check);

#[cfg(feature = "mcp")]
impl LateCheck {
    /// Returns the response if the agent's session does not meet the rule, or has expired meanwhile.
    pub(crate) fn refusal<B>(&self, rule: Option<Rule>, request: &Request<B>) -> Option<Response<Bytes>> {
        let check = Check { rule: rule.unwrap_or(const { Rule::unnamed() }), ..self.0.clone() };
        let session = request.extensions().get::<AgentSession>().map(|agent| Arc::clone(&agent.session));
        let refusal = match check.authorize(session, request) {
            Verdict::Forward(principal) => {
                if let Some(sink) = &check.shared.parts.calls {
                    check.audit_forward(&**sink, &principal, request);
                }
                return None;
            }
            Verdict::Refuse(refusal) => refusal,
            Verdict::Wait(_) => Refusal::Unavailable,
        };
        Some(check.refuse(refusal, request))
    }

    /// Refuses with a response of its own.
    pub(crate) fn refuse_with<B>(
        &self,
        refusal: Refusal,
        text: &str,
        response: Response<Bytes>,
        request: &Request<B>,
    ) -> Response<Bytes> {
        let check = Check { rule: Rule::never(refusal, text, response), ..self.0.clone() };
        if let Some(AgentSession { session }) = request.extensions().get() {
            check.audit_refusal_of(session, refusal, request);
        }
        check.refuse(refusal, request)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("resource", &self.resource.id()).finish_non_exhaustive()
    }
}
