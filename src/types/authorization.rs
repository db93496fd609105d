//! An authorization request: an agent's request for access, and its state machine.
//!
//! ```text
//! pending ──approve──► approved ──redeem──► redeemed
//!    │ open, release       │
//!    ├──deny──► denied     ├──revoke──► revoked
//!    └──expire──► expired  ├──5 failed attempts──► locked
//!                          └──expire──► expired
//! ```
//!
//! A [`Transition`] is one edge. [`AuthorizationRequest::allows`] decides whether it is legal; a store applies it in
//! one conditional write. The request's [`Flow`] states what the agent must present. Only the
//! [ceremony](crate::ceremony) reads it.
//!
//! ```
//! use std::time::Duration;
//! use tower_agent_auth::types::{authorization::*, clock::Timestamp, id::*, random::OsRandom, scope::*, text::HumanText};
//!
//! let now = Timestamp::from_millis(0);
//! let mut request = AuthorizationRequest::new(
//!     AuthorizationRequestId::generate(&OsRandom)?,
//!     "https://api.example.com",
//!     Client::named(HumanText::new("Agent")?),
//!     Flow::from_stored("{}"),
//!     now,
//!     now.after(Duration::from_secs(600)),
//! );
//! request.requested = ScopeSet::parse("projects:read")?;
//! assert_eq!(request.state_at(now), State::Pending);
//! assert_eq!(request.state_at(now.after(Duration::from_secs(600))), State::Expired);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId, ClientId},
    phrase::CheckPhrase,
    scope::ScopeSet,
    secret::{Digest, Kind},
    text::HumanText,
};

/// The number of failed attempts that locks an authorization request.
pub const MAX_FAILED_ATTEMPTS: u32 = 5;

/// An agent's request for access, as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AuthorizationRequest {
    /// The public identifier. It is part of the approval URL.
    pub id: AuthorizationRequestId,
    /// The resource identifier (RFC 9728 section 2) that access is requested to. The request is valid for this resource
    /// only.
    pub resource: Arc<str>,
    /// The client that requests access.
    pub client: Client,
    /// The requested scopes.
    pub requested: ScopeSet,
    /// The time of the request.
    pub created_at: Timestamp,
    /// The expiry of a pending or approved request. An approval may change it.
    pub expires_at: Timestamp,
    /// The account whose human opened the approval page. Until it is released, no other account can decide.
    pub account: Option<Account>,
    /// How long the human lets the session last, if they were offered a choice. An approval sets it.
    pub lasting: Option<Duration>,
    /// The stored decision. Expiry is computed, not stored; see [`AuthorizationRequest::state_at`].
    pub decision: Decision,
    /// The number of wrong codes presented.
    pub failed_attempts: u32,
    /// What the agent must present, and how access is delivered.
    pub flow: Flow,
}

/// What the agent must present to poll and to redeem, and how access is delivered. The [ceremony](crate::ceremony)
/// writes and reads it as one text that contains its name and version.
///
/// A store keeps the text unchanged. The digests used to find a request are stored separately, as [`Lookup`]s.
#[derive(Clone, Eq, PartialEq)]
pub struct Flow(Arc<str>);

impl Flow {
    /// Restores a flow from its stored text.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The text to store. It contains digests and no secret, but must not be logged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text contains the client's `state`, which may include a secret of the client.
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

/// The digest of a secret that identifies an authorization request, whatever the secret's kind. Unique in a store.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lookup([u8; 32]);

impl Lookup {
    /// Restores a lookup from its stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl<K: Kind> From<Digest<K>> for Lookup {
    fn from(digest: Digest<K>) -> Self {
        Self(*digest.as_bytes())
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// A new authorization request to store, with the digests used to find it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NewAuthorizationRequest {
    /// The request.
    pub request: AuthorizationRequest,
    /// The digests that find the request, in addition to its id.
    pub lookups: Vec<Lookup>,
}

impl NewAuthorizationRequest {
    /// Creates a new request that is found by its id and by `lookups`.
    #[must_use]
    pub fn new(request: AuthorizationRequest, lookups: Vec<Lookup>) -> Self {
        Self { request, lookups }
    }
}

/// The client that requests access. All fields except the address are claims of the client. The dialect verifies `id`
/// as far as it can; nobody verifies the others.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Client {
    /// The name that the client gives itself.
    pub name: HumanText,
    /// The client's label for this session, if it sends one.
    pub label: Option<HumanText>,
    /// What the client says that it needs the access for, such as "Weekly report for the bakery".
    pub reason: Option<HumanText>,
    /// The kind of client by its own claim, such as `cli`.
    pub kind: Option<HumanText>,
    /// The client's name for this instance, such as a process.
    pub instance: Option<HumanText>,
    /// The network address of the request, if the host provides it.
    pub address: Option<IpAddr>,
    /// The sign-in method that the client prefers for its human: a hint.
    pub method: Option<HumanText>,
    /// The OAuth client that asks; `None` for agents of the other dialects. Only this client can refresh the session.
    pub id: Option<ClientId>,
}

impl Client {
    /// Creates a client with this name and no other details.
    #[must_use]
    pub const fn named(name: HumanText) -> Self {
        let (label, reason, kind, instance, method) = (None, None, None, None, None);
        Self { name, label, reason, kind, instance, address: None, method, id: None }
    }

    /// Whether both are the same client as far as can be told: by the id, or without ids by name and kind, which anybody
    /// can claim.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (&self.id, &other.id) {
            (None, None) => self.name == other.name && self.kind == other.kind,
            (one, other) => one == other,
        }
    }

    /// The source that caps on pending authorization requests count: an IPv4 address, or an IPv6 /64 network.
    #[must_use]
    pub fn source(&self) -> Option<IpNet> {
        self.address.map(source_of)
    }

    /// The networks that caps on pending authorization requests count, the source first: an IPv4 address, or an IPv6
    /// /64 with the /56 and the /48 that it is in. Providers give one customer up to a /48.
    #[must_use]
    pub fn networks(&self) -> Vec<IpNet> {
        let Some(source) = self.source() else { return Vec::new() };
        let wider = |bits| IpNet::new(source.addr(), bits).ok().filter(|_| source.addr().is_ipv6());
        std::iter::once(source).chain([56, 48].into_iter().filter_map(wider).map(|network| network.trunc())).collect()
    }
}

/// The source that caps and rate limits count: an IPv4 address, or an IPv6 /64 network.
pub(crate) fn source_of(address: IpAddr) -> IpNet {
    let address = address.to_canonical();
    let bits = if address.is_ipv4() { 32 } else { 64 };
    IpNet::new(address, bits).unwrap_or_else(|_| address.into()).trunc()
}

/// A human's account at the host service.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Account {
    /// The host's stable identifier.
    pub id: AccountId,
    /// A label that the human recognises, such as an e-mail address. It is shown to the human, and sent to the agent
    /// that was granted access.
    pub label: String,
}

impl Account {
    /// Creates an account with this identifier and label.
    #[must_use]
    pub fn new(id: AccountId, label: impl Into<String>) -> Self {
        Self { id, label: label.into() }
    }
}

/// The decision on an authorization request, as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// No decision yet.
    Undecided,
    /// The human approved these scopes.
    Approved(ScopeSet),
    /// The human refused.
    Denied,
    /// The request was redeemed; a session exists or existed.
    Redeemed(ScopeSet),
    /// The request was approved, then revoked before it was redeemed.
    Revoked,
    /// The request was locked after too many wrong codes.
    Locked,
}

/// The state of an authorization request at an instant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// The human has not decided.
    Pending,
    /// The human approved; the agent has not redeemed the request yet.
    Approved,
    /// The human refused. Final.
    Denied,
    /// The agent redeemed the request. Final.
    Redeemed,
    /// Approved, then revoked. Final.
    Revoked,
    /// Locked after too many wrong codes. Final.
    Locked,
    /// Not completed in time. Final.
    Expired,
}

/// One edge of the state machine. Redeeming is separate, because it also creates a session.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Transition {
    /// A signed-in human opened the page. Binds the request to the account, unless it is bound to another.
    Open(Opening),
    /// The browser that bound the request releases it, so that another account can open it.
    Release(Release),
    /// The human of the bound account approves.
    Approve(Approval),
    /// The human of the bound account refuses.
    Deny(AccountId),
    /// Gives an approved request another flow, because its agent has proved itself.
    Renew(Renewal),
    /// Revokes an approved request before it is redeemed.
    Revoke,
    /// A wrong code was presented for a pending or an approved request. The fifth locks it.
    FailedAttempt,
}

/// A human opens the page of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Opening {
    /// The account to bind the request to.
    pub account: Account,
    /// The flow from now on. It may contain what identifies the browser.
    pub flow: Flow,
}

impl Opening {
    /// Creates an opening by `account`, after which the request has this flow.
    #[must_use]
    pub const fn new(account: Account, flow: Flow) -> Self {
        Self { account, flow }
    }
}

/// A request is released from the account that opened it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Release {
    /// The bound account.
    pub account: AccountId,
    /// The flow that the request must have: the text is compared byte for byte.
    pub from: Flow,
    /// The flow from now on.
    pub flow: Flow,
}

impl Release {
    /// Creates a release from `account` that is applied only to a request with the flow `from`.
    #[must_use]
    pub const fn new(account: AccountId, from: Flow, flow: Flow) -> Self {
        Self { account, from, flow }
    }
}

/// An approved request gets another flow.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Renewal {
    /// The flow that the request must have: the text is compared byte for byte.
    pub from: Flow,
    /// The flow from now on. It may contain the digests of new secrets.
    pub flow: Flow,
    /// Digests that find the request from now on, in addition to the existing ones.
    pub lookups: Vec<Lookup>,
    /// When the request expires from now on.
    pub expires_at: Timestamp,
}

impl Renewal {
    /// Creates a renewal that is applied only to a request with the flow `from`.
    #[must_use]
    pub const fn new(from: Flow, flow: Flow, expires_at: Timestamp) -> Self {
        Self { from, flow, lookups: Vec::new(), expires_at }
    }
}

/// A human's approval.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Approval {
    /// The bound account.
    pub account: AccountId,
    /// The granted scopes: one or more of the requested scopes.
    pub scopes: ScopeSet,
    /// The flow after the approval. It may contain the digest of an issued code.
    pub flow: Flow,
    /// Digests that find the request from now on, in addition to the existing ones.
    pub lookups: Vec<Lookup>,
    /// When the approval expires. Until then the agent can redeem.
    pub expires_at: Timestamp,
    /// How long the session may last, if the human was offered a choice.
    pub lasting: Option<Duration>,
}

impl Approval {
    /// Creates an approval of `scopes` by `account` that the agent can redeem until `expires_at`.
    #[must_use]
    pub const fn new(account: AccountId, scopes: ScopeSet, flow: Flow, expires_at: Timestamp) -> Self {
        Self { account, scopes, flow, lookups: Vec::new(), expires_at, lasting: None }
    }
}

/// How often an authorization request can be redeemed. Its flow decides.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Redemption {
    /// Once: no second session can be created from it.
    Once,
    /// Repeatedly: it stays approved until it expires, and each redemption creates another session.
    Again,
}

impl AuthorizationRequest {
    /// Creates a pending request without an account and without scopes.
    #[must_use]
    pub fn new(
        id: AuthorizationRequestId,
        resource: impl Into<Arc<str>>,
        client: Client,
        flow: Flow,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            id,
            resource: resource.into(),
            client,
            requested: ScopeSet::default(),
            created_at,
            expires_at,
            account: None,
            lasting: None,
            decision: Decision::Undecided,
            failed_attempts: 0,
            flow,
        }
    }

    /// The phrase by which the human recognises the request. See [`phrase`](super::phrase).
    #[must_use]
    pub fn check_phrase(&self) -> CheckPhrase {
        CheckPhrase::of(&self.id)
    }

    /// The state at `now`. Expiry is evaluated here, when read; no write is needed.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> State {
        let over = self.expires_at.has_passed(now);
        match self.decision {
            Decision::Undecided | Decision::Approved(_) if over => State::Expired,
            Decision::Undecided => State::Pending,
            Decision::Approved(_) => State::Approved,
            Decision::Denied => State::Denied,
            Decision::Redeemed(_) => State::Redeemed,
            Decision::Revoked => State::Revoked,
            Decision::Locked => State::Locked,
        }
    }

    /// Whether `transition` is legal at `now`. This function defines every edge except redeeming.
    #[must_use]
    pub fn allows(&self, transition: &Transition, now: Timestamp) -> bool {
        let bound_to = |id: &AccountId| self.account.as_ref().is_some_and(|account| account.id == *id);
        match transition {
            Transition::Open(Opening { account, .. }) => {
                self.state_at(now) == State::Pending && (self.account.is_none() || bound_to(&account.id))
            }
            Transition::Release(Release { account, from, .. }) => {
                self.state_at(now) == State::Pending && bound_to(account) && self.flow == *from
            }
            Transition::Approve(Approval { account, scopes, .. }) => {
                self.state_at(now) == State::Pending
                    && bound_to(account)
                    && !scopes.is_empty()
                    && scopes.is_subset(&self.requested)
            }
            Transition::Deny(account) => self.state_at(now) == State::Pending && bound_to(account),
            Transition::Renew(Renewal { from, .. }) => self.state_at(now) == State::Approved && self.flow == *from,
            Transition::Revoke => self.state_at(now) == State::Approved,
            Transition::FailedAttempt => matches!(self.state_at(now), State::Pending | State::Approved),
        }
    }

    /// Applies `transition` if it is legal at `now`. Returns whether it was applied.
    pub fn apply(&mut self, transition: Transition, now: Timestamp) -> bool {
        if !self.allows(&transition, now) {
            return false;
        }
        match transition {
            Transition::Open(Opening { account, flow }) => {
                self.account = Some(account);
                self.flow = flow;
            }
            Transition::Release(Release { flow, .. }) => {
                self.account = None;
                self.flow = flow;
            }
            Transition::Approve(Approval { scopes, flow, expires_at, lasting, .. }) => {
                self.lasting = lasting;
                self.decision = Decision::Approved(scopes);
                self.flow = flow;
                self.expires_at = expires_at;
            }
            Transition::Deny(_) => self.decision = Decision::Denied,
            Transition::Renew(Renewal { flow, expires_at, .. }) => {
                self.flow = flow;
                self.expires_at = expires_at;
            }
            Transition::Revoke => self.decision = Decision::Revoked,
            Transition::FailedAttempt => {
                self.failed_attempts += 1;
                if self.failed_attempts >= MAX_FAILED_ATTEMPTS {
                    self.decision = Decision::Locked;
                }
            }
        }
        true
    }

    /// Redeems the request if it is approved at `now`. Returns whether it was redeemed.
    pub fn redeem(&mut self, redemption: Redemption, now: Timestamp) -> bool {
        match &self.decision {
            Decision::Approved(scopes) if !self.expires_at.has_passed(now) => {
                if redemption == Redemption::Once {
                    self.decision = Decision::Redeemed(scopes.clone());
                }
                true
            }
            _ => false,
        }
    }

    /// The granted scopes, if the request is approved or redeemed.
    #[must_use]
    pub fn granted(&self) -> Option<&ScopeSet> {
        match &self.decision {
            Decision::Approved(scopes) | Decision::Redeemed(scopes) => Some(scopes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> String {
        let address = Some(address.parse().unwrap());
        let client = Client { address, ..Client::named(HumanText::new("x").unwrap()) };
        client.source().unwrap().to_string()
    }

    #[test]
    fn r42_an_ipv6_network_of_64_bits_counts_as_one() {
        assert_eq!(source("2001:db8:1:2:3::4"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn e14_an_ipv6_address_counts_in_three_networks() {
        let networks = |address: &str| {
            let address = Some(address.parse().unwrap());
            let client = Client { address, ..Client::named(HumanText::new("x").unwrap()) };
            client.networks().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(networks("2001:db8:1:2ff::4"), ["2001:db8:1:2ff::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]);
        assert_eq!(networks("192.0.2.1"), ["192.0.2.1/32"]);
        assert_eq!(networks("::ffff:192.0.2.1"), ["192.0.2.1/32"]);
        assert!(Client::named(HumanText::new("x").unwrap()).networks().is_empty());
    }
}
