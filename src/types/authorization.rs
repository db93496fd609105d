//! An authorization request: an agent's request for access, and the state machine of what may become of it.
//!
//! ```text
//! pending ──approve──► approved ──redeem──► redeemed
//!    ├──deny──► denied     ├──revoke──► revoked
//!    └──expire──► expired  ├──5 failed attempts──► locked
//!                          └──expire──► expired
//! ```
//!
//! A [`Transition`] is one edge. [`AuthorizationRequest::allows`] is the rule; a store applies it in one conditional write.
//! What the agent must show to ask and to redeem is the request's [`Flow`], which only the
//! [ceremony](crate::ceremony) reads.
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

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId},
    scope::ScopeSet,
    secret::{Digest, Kind},
    text::HumanText,
};

/// So many failed attempts lock an authorization request.
pub const MAX_FAILED_ATTEMPTS: u32 = 5;

/// An agent's request for access, as a store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AuthorizationRequest {
    /// The public name; it stands in the approval URL.
    pub id: AuthorizationRequestId,
    /// The resource identifier (RFC 9728 section 2) that access is requested to. Nothing becomes of the request elsewhere.
    pub resource: Arc<str>,
    /// Who asks, in the asker's own words.
    pub client: Client,
    /// What is asked for.
    pub requested: ScopeSet,
    /// When it was asked.
    pub created_at: Timestamp,
    /// From when on nothing more can become of it, unless it was redeemed or denied before. Approving may move it.
    pub expires_at: Timestamp,
    /// The account whose human opened the approval page; from then on no other account can decide.
    pub account: Option<Account>,
    /// What has become of it. Expiry is not written down, see [`AuthorizationRequest::state_at`].
    pub decision: Decision,
    /// How many wrong codes were presented.
    pub failed_attempts: u32,
    /// What the agent must show, and how access is handed over.
    pub flow: Flow,
}

/// What the agent must show to ask and to redeem, and how access is handed over: one text that the
/// [ceremony](crate::ceremony) writes and reads, with its name and version in it.
///
/// A store keeps it as it is. The digests by which a request is found are kept beside it, as [`Lookup`]s.
#[derive(Clone, Eq, PartialEq)]
pub struct Flow(Arc<str>);

impl Flow {
    /// A flow as a store has kept it.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The text that a store keeps. It holds digests and no secret, and is none the less not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A client may keep a secret of its own in what it gets back.
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

/// The digest of a secret by which an authorization request is found, whatever the secret's kind. Unique in a store.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lookup([u8; 32]);

impl Lookup {
    /// A lookup as a store has kept it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The lookup as a store keeps it.
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

/// An authorization request on its way into a store, with the digests by which it is found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NewAuthorizationRequest {
    /// The request.
    pub request: AuthorizationRequest,
    /// By what it is found beside its id.
    pub lookups: Vec<Lookup>,
}

impl NewAuthorizationRequest {
    /// A request that is found by its id and by `lookups`.
    #[must_use]
    pub fn new(request: AuthorizationRequest, lookups: Vec<Lookup>) -> Self {
        Self { request, lookups }
    }
}

/// Who asks for access. Everything but the address is the asker's own claim.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Client {
    /// What the client calls itself.
    pub name: HumanText,
    /// What the client calls this session, if it does.
    pub label: Option<HumanText>,
    /// What kind of client it says it is, such as `cli`.
    pub kind: Option<HumanText>,
    /// What the client calls this instance of itself, such as its process.
    pub instance: Option<HumanText>,
    /// The network address that the request came from, if the host tells.
    pub address: Option<IpAddr>,
    /// The way to sign in that the client would like its human to use: a hint.
    pub method: Option<HumanText>,
}

impl Client {
    /// A client of that name, of which nothing else is known.
    #[must_use]
    pub const fn named(name: HumanText) -> Self {
        Self { name, label: None, kind: None, instance: None, address: None, method: None }
    }

    /// Whom the caps on pending authorization requests count as one: an IPv4 address, or an IPv6 network of 64 bits.
    #[must_use]
    pub fn source(&self) -> Option<IpNet> {
        self.address.map(source_of)
    }
}

/// Whom caps and rates count as one.
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
    /// What the human recognises the account by, such as an e-mail address. Shown to the human, and told to the agent
    /// that got access.
    pub label: String,
}

impl Account {
    /// An account of that identifier and label.
    #[must_use]
    pub fn new(id: AccountId, label: impl Into<String>) -> Self {
        Self { id, label: label.into() }
    }
}

/// What has become of an authorization request, as a store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// Nothing yet.
    Undecided,
    /// The human approved these scopes.
    Approved(ScopeSet),
    /// The human refused.
    Denied,
    /// It was redeemed; a session exists or existed.
    Redeemed(ScopeSet),
    /// It was approved and then taken back before it was redeemed.
    Revoked,
    /// It was approved, and then too many wrong codes were presented.
    Locked,
}

/// Where an authorization request stands at an instant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// The human has not decided.
    Pending,
    /// The human approved; the agent has not come back yet.
    Approved,
    /// The human refused. Final.
    Denied,
    /// The agent has its session. Final.
    Redeemed,
    /// Approved, then taken back. Final.
    Revoked,
    /// Approved, then too many wrong codes were presented. Final.
    Locked,
    /// Nobody finished in time. Final.
    Expired,
}

/// One edge of the state machine, but for redeeming, which creates a session as well.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Transition {
    /// A signed-in human opened the page: bind the authorization request to the account, if it is bound to no other.
    Open(Account),
    /// The human of the bound account approves.
    Approve(Approval),
    /// The human of the bound account refuses.
    Deny(AccountId),
    /// What was approved is taken back before it was redeemed.
    Revoke,
    /// A wrong code was presented for what was approved. The fifth locks it.
    FailedAttempt,
}

/// What a human approves.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Approval {
    /// The bound account.
    pub account: AccountId,
    /// One or more of the scopes that were asked for.
    pub scopes: ScopeSet,
    /// The flow from now on, which may hold a code that was handed out.
    pub flow: Flow,
    /// By what the request is found from now on, beside what it was found by before.
    pub lookups: Vec<Lookup>,
    /// Until when the agent can redeem.
    pub expires_at: Timestamp,
}

impl Approval {
    /// The approval of `scopes` by `account`, which the agent can redeem until `expires_at`.
    #[must_use]
    pub const fn new(account: AccountId, scopes: ScopeSet, flow: Flow, expires_at: Timestamp) -> Self {
        Self { account, scopes, flow, lookups: Vec::new(), expires_at }
    }
}

/// What redeeming leaves of an authorization request: the rule of its flow.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Redemption {
    /// It is redeemed: no second session can come of it.
    Once,
    /// It stays approved until it expires: each redemption is one more session.
    Again,
}

impl AuthorizationRequest {
    /// A request that nobody has opened, for no scope yet.
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
            decision: Decision::Undecided,
            failed_attempts: 0,
            flow,
        }
    }

    /// Where the authorization request stands at `now`. Expiry is judged here, at reading; no write is needed for it.
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

    /// Whether `transition` is legal at `now`. There is no other edge than those named here.
    #[must_use]
    pub fn allows(&self, transition: &Transition, now: Timestamp) -> bool {
        let bound_to = |id: &AccountId| self.account.as_ref().is_some_and(|account| account.id == *id);
        match transition {
            Transition::Open(account) => {
                self.state_at(now) == State::Pending && (self.account.is_none() || bound_to(&account.id))
            }
            Transition::Approve(Approval { account, scopes, .. }) => {
                self.state_at(now) == State::Pending
                    && bound_to(account)
                    && !scopes.is_empty()
                    && scopes.is_subset(&self.requested)
            }
            Transition::Deny(account) => self.state_at(now) == State::Pending && bound_to(account),
            Transition::Revoke | Transition::FailedAttempt => self.state_at(now) == State::Approved,
        }
    }

    /// Applies `transition` if it is legal at `now`, and says whether it was.
    pub fn apply(&mut self, transition: Transition, now: Timestamp) -> bool {
        if !self.allows(&transition, now) {
            return false;
        }
        match transition {
            Transition::Open(account) => self.account = Some(account),
            Transition::Approve(Approval { scopes, flow, expires_at, .. }) => {
                self.decision = Decision::Approved(scopes);
                self.flow = flow;
                self.expires_at = expires_at;
            }
            Transition::Deny(_) => self.decision = Decision::Denied,
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

    /// Redeems the request if it is approved at `now`, and says whether it was.
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

    /// What the human granted, once that is known.
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
}
