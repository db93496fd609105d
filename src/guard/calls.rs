use http::{Extensions, Method};

use super::Refusal;
use crate::types::{
    authorization::Account, clock::Timestamp, id::SessionId, scope::ScopeSet, session::Session, text::HumanText,
};

/// Receives each call that a guard decided. Set it with
/// [`AgentAuthBuilder::audit_calls`](crate::AgentAuthBuilder::audit_calls). It runs within each request, so it must return
/// quickly: count, or put what it needs into a bounded queue.
///
/// ```
/// use std::sync::mpsc::SyncSender;
/// use axum::extract::MatchedPath;
/// use tower_agent_auth::{guard::{Call, CallSink}, types::clock::Timestamp};
///
/// struct Queue(SyncSender<String>);
///
/// impl CallSink for Queue {
///     fn record(&self, at: Timestamp, call: &Call<'_>) {
///         let path = call.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
///         let session = call.session.map_or("-", |session| session.as_str());
///         let line = format!("{at} {session} {} {path} {}", call.method, call.outcome.as_str());
///         self.0.try_send(line).ok(); // a full queue drops the line, not the request
///     }
/// }
/// ```
pub trait CallSink: Send + Sync + 'static {
    /// Records one call.
    fn record(&self, at: Timestamp, call: &Call<'_>);
}

/// A call that a guard decided. It has neither the request's URI nor its headers, so no token and no query. The
/// extensions are the host's: axum's `OriginalUri` there has the query.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Call<'c> {
    /// The agent's session, if its token is valid.
    pub session: Option<&'c SessionId>,
    /// The account of the session, or of the signed-in owner.
    pub account: Option<&'c Account>,
    /// What the session's client calls itself.
    pub client: Option<&'c HumanText>,
    /// The scopes of the session.
    pub granted: Option<&'c ScopeSet>,
    /// What the route demands.
    pub rule: CallRule<'c>,
    /// What became of the call.
    pub outcome: CallOutcome,
    /// The resource of the guard (RFC 9728).
    pub resource: &'c str,
    /// The request's method.
    pub method: &'c Method,
    /// The request's extensions, for what the host put there: axum's `MatchedPath`, a request id.
    pub extensions: &'c Extensions,
}

/// The rule of a [`Call`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CallRule<'c> {
    /// All of these scopes.
    AllOf(&'c ScopeSet),
    /// Any of these scopes.
    AnyOf(&'c ScopeSet),
    /// Anybody passes.
    Optional,
    /// Only the account's owner passes.
    OwnerOnly,
    /// The policy has no rule for the request.
    None,
}

/// What became of a [`Call`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CallOutcome {
    /// The inner service got the request. What it answered is not known. Without a caller, under a rule that demands one, the
    /// request was left to the [host's own auth](super::Rule::or_host_auth).
    Forwarded,
    /// The guard refused.
    Refused(Refusal),
}

impl CallOutcome {
    /// `forwarded`, or the [refusal's name](Refusal::as_str).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Refused(refusal) => refusal.as_str(),
        }
    }
}

impl<'c> Call<'c> {
    pub(crate) fn new(
        (rule, outcome): (CallRule<'c>, CallOutcome),
        resource: &'c str,
        method: &'c Method,
        extensions: &'c Extensions,
    ) -> Self {
        let (session, account, client, granted) = (None, None, None, None);
        Self { session, account, client, granted, rule, outcome, resource, method, extensions }
    }

    pub(crate) fn by_agent(self, session: &'c Session) -> Self {
        Self {
            session: Some(&session.id),
            account: Some(&session.account),
            client: Some(&session.client),
            granted: Some(&session.scopes),
            ..self
        }
    }

    pub(crate) fn by_owner(self, account: &'c Account) -> Self {
        Self { account: Some(account), ..self }
    }
}

#[cfg(feature = "tracing")]
impl CallSink for crate::audit::TracingAudit {
    /// Writes each call as one `tracing` event of level `INFO` with the target `tower_agent_auth::calls`.
    fn record(&self, at: Timestamp, call: &Call<'_>) {
        let (session, client) = (call.session.map(SessionId::as_str), call.client.map(HumanText::as_str));
        let account = call.account.map(|account| account.id.as_str());
        let granted = call.granted.map(tracing::field::display);
        let (rule, scopes) = match call.rule {
            CallRule::AllOf(scopes) => ("all_of", Some(scopes)),
            CallRule::AnyOf(scopes) => ("any_of", Some(scopes)),
            CallRule::Optional => ("optional", None),
            CallRule::OwnerOnly => ("owner_only", None),
            CallRule::None => ("none", None),
        };
        let scopes = scopes.map(tracing::field::display);
        let (method, outcome, resource) = (call.method.as_str(), call.outcome.as_str(), call.resource);
        tracing::info!(
            target: "tower_agent_auth::calls",
            %at, session, account, client, granted, rule, scopes, outcome, resource, method,
        );
    }
}
