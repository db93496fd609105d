use std::{fmt, ops::Deref, sync::Arc, task::Poll};

use http::{Extensions, HeaderMap, Method, Request};

use super::{
    Refusal,
    policy::Kind,
    refusal::{Answer, Refusals, Told},
};
use crate::{
    Config,
    accounts::{AccountsError, DynAccounts, SignedIn, head_of},
    audit::{AuditSink, Event},
    challenge::ChallengeError,
    http::{Answering, ClientAddresses, Credentials, has_query_token},
    observe::{Check, Checks},
    store::LastUsedBuffer,
    store::{StoreError, traits::DynSessionStore},
    types::{
        authorization::Account,
        clock::{Clock, Timestamp},
        secret::{Access, Digest, Prefix},
        session::{Session, Use},
    },
};

/// The agent session that a request was let pass with. It comes from a guard, and from nowhere else.
#[derive(Clone, Debug)]
pub struct AgentSession {
    session: Arc<Session>,
}

impl Deref for AgentSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

/// The signed-in human that an owner-only route was called by. No agent's request ever has one.
#[derive(Clone, Debug)]
pub struct Owner {
    account: Arc<Account>,
}

impl Owner {
    /// The human's account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

/// What the guards of one service have in common.
pub(crate) struct Shared {
    store: Arc<dyn DynSessionStore>,
    accounts: Option<Arc<dyn DynAccounts>>,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
    uses: Arc<LastUsedBuffer>,
    addresses: ClientAddresses,
    prefix: Prefix<Access>,
    resource: Arc<str>,
    refusals: Refusals,
    checks: Checks,
}

/// What a guard is made of.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn DynSessionStore>,
    pub(crate) accounts: Option<Arc<dyn DynAccounts>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) uses: Arc<LastUsedBuffer>,
    pub(crate) addresses: ClientAddresses,
}

/// What to do with a request, as far as that is known at once.
pub(super) enum Verdict {
    Pass(Principal),
    Refuse(Refusal),
    /// Somebody has to be waited for.
    Ask(Lookup),
}

/// Who is waited for.
pub(super) enum Lookup {
    /// The store.
    Session(Answering<Result<Option<Arc<Session>>, StoreError>>),
    /// The host's accounts.
    Owner(Answering<Result<Option<SignedIn>, AccountsError>>),
}

/// Who a request was let pass as.
pub(super) enum Principal {
    Nobody,
    Agent(AgentSession),
    Owner(Owner),
}

impl Principal {
    /// A principal comes from a check alone: whatever stands there was not put there by this one.
    fn enter(self, extensions: &mut Extensions, tells: bool) {
        if !extensions.is_empty() {
            extensions.remove::<AgentSession>();
            extensions.remove::<Owner>();
        }
        match self {
            Self::Agent(session) if tells => drop(extensions.insert(session)),
            Self::Owner(owner) if tells => drop(extensions.insert(owner)),
            _ => {}
        }
    }
}

impl Shared {
    pub(crate) fn new(config: &Config, parts: Parts) -> Result<Self, ChallengeError> {
        let Parts { store, accounts, clock, audit, uses, addresses } = parts;
        let refusals = Refusals::new(&config.protected_resource_metadata_url())?;
        let prefix = config.prefixes().access.clone();
        let resource = config.shared_resource();
        Ok(Self { store, accounts, clock, audit, uses, addresses, prefix, resource, refusals, checks: Checks::new() })
    }

    /// Decides what can be decided at once. The order is: parse, authenticate, owner boundary, scope.
    pub(super) fn judge<B>(&self, request: &mut Request<B>, rule: Option<&Kind>) -> Verdict {
        if let Some(Kind::Public) = rule {
            return Verdict::Pass(Principal::Nobody);
        }
        if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
            return Verdict::Refuse(Refusal::Method);
        }
        let query_token = request.uri().query().is_some() && has_query_token(request.uri());
        if query_token {
            self.audit.record(self.clock.now(), &Event::TokenInQuery);
        }
        match Credentials::marked(request.headers_mut()) {
            Credentials::Ambiguous => Verdict::Refuse(Refusal::InvalidRequest),
            Credentials::Bearer(_) if query_token => Verdict::Refuse(Refusal::InvalidRequest),
            Credentials::Bearer(token) => match self.prefix.digest(token) {
                Some(digest) => self.authenticate(digest, request, rule),
                None => Verdict::Refuse(Refusal::InvalidToken),
            },
            Credentials::None => match rule {
                Some(Kind::Optional) => Verdict::Pass(Principal::Nobody),
                Some(Kind::OwnerOnly) => self.find_owner(request),
                _ => Verdict::Refuse(Refusal::NoCredentials),
            },
        }
    }

    fn authenticate<B>(&self, digest: Digest<Access>, request: &Request<B>, rule: Option<&Kind>) -> Verdict {
        match self.store.try_find(&digest) {
            Poll::Ready(found) => self.admit(found, request, rule),
            Poll::Pending => Verdict::Ask(Lookup::Session(Arc::clone(&self.store).find(digest))),
        }
    }

    /// Decides with what the store has found.
    #[inline]
    pub(super) fn admit<B>(&self, found: Option<Arc<Session>>, request: &Request<B>, rule: Option<&Kind>) -> Verdict {
        let now = self.clock.now();
        let Some(session) = found.filter(|session| session.is_good(&self.resource, now)) else {
            return Verdict::Refuse(Refusal::InvalidToken);
        };
        let refusal = match rule {
            Some(Kind::OwnerOnly) => Some(Refusal::OwnerOnly),
            None => Some(Refusal::Unclassified),
            Some(Kind::Require(requirement)) if !requirement.is_met_by(&session.scopes) => {
                Some(Refusal::InsufficientScope)
            }
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.keep_out(&session, refusal, now);
        }
        if session.note_use(now) {
            self.note_use(&session, request.headers(), request.extensions(), now);
        }
        Verdict::Pass(Principal::Agent(AgentSession { session }))
    }

    #[cold]
    fn keep_out(&self, session: &Session, refusal: Refusal, now: Timestamp) -> Verdict {
        if refusal != Refusal::InsufficientScope {
            self.audit.record(now, &Event::OwnerOnlyRefused { session: session.id.clone() });
        }
        Verdict::Refuse(refusal)
    }

    #[cold]
    fn note_use(&self, session: &Session, headers: &HeaderMap, extensions: &Extensions, now: Timestamp) {
        let address = self.addresses.client(headers, extensions);
        self.uses.note(&session.id, Use { at: now, address });
    }

    fn find_owner<B>(&self, request: &Request<B>) -> Verdict {
        let Some(accounts) = &self.accounts else {
            return Verdict::Refuse(Refusal::NoCredentials);
        };
        Verdict::Ask(Lookup::Owner(Arc::clone(accounts).current(head_of(request))))
    }

    pub(super) fn owner(found: Option<SignedIn>) -> Verdict {
        match found {
            Some(SignedIn { account, .. }) => Verdict::Pass(Principal::Owner(Owner { account: Arc::new(account) })),
            None => Verdict::Refuse(Refusal::NoCredentials),
        }
    }

    pub(super) fn failed(&self, error: &(dyn std::error::Error + 'static)) -> Verdict {
        self.audit.record(self.clock.now(), &Event::unavailable(error));
        Verdict::Refuse(Refusal::Unavailable)
    }

    /// Lets a request pass, and says with which challenge a 401 of the inner service is given as well.
    #[inline]
    pub(super) fn pass(
        &self,
        principal: Principal,
        extensions: &mut Extensions,
        rule: Option<&Kind>,
        tells: bool,
    ) -> Option<&'static Told> {
        self.checks.count(match principal {
            Principal::Agent(_) => Check::Agent,
            Principal::Owner(_) => Check::Owner,
            Principal::Nobody => Check::Nobody,
        });
        principal.enter(extensions, tells);
        match rule {
            Some(Kind::Public) => None,
            Some(Kind::Require(requirement)) => Some(requirement.no_credentials),
            _ => Some(self.refusals.no_credentials),
        }
    }

    pub(super) fn refuse<B>(&self, refusal: Refusal, request: &Request<B>, rule: Option<&Kind>) -> &'static Answer {
        self.checks.count(Check::Refused(refusal));
        let own = match rule {
            Some(Kind::Require(requirement)) => requirement.told(refusal),
            _ => None,
        };
        own.unwrap_or_else(|| self.refusals.told(refusal, || self.clock.now())).to(request)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("resource", &self.resource).finish_non_exhaustive()
    }
}
