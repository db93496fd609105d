//! An authorization request: an agent's request for access, and the state machine of what may become of it.
//!
//! ```text
//! pending ──approve──► approved ──redeem──► redeemed
//!    ├──deny──► denied     ├──revoke──► revoked
//!    └──expire──► expired  ├──5 failed attempts──► locked
//!                          └──expire──► expired
//! ```
//!
//! A [`Transition`] is one edge. [`AuthorizationRequest::allows`] is the rule; a store applies it in one conditional write. By which
//! secret an agent proves that an authorization request is its own is the authorization request's [`Mode`], fixed when it is made.
//!
//! ```
//! use std::time::Duration;
//! use tower_agent_auth::types::{clock::Timestamp, authorization request::State};
//! # use tower_agent_auth::types::{id::*, random::OsRandom, authorization request::*, scope::ScopeSet, secret::*, text::HumanText};
//! # let now = Timestamp::from_millis(0);
//! # let claim = Prefix::<Claim>::new("clm_")?.generate(&OsRandom)?.digest();
//! # let authorization request = AuthorizationRequest {
//! #     id: AuthorizationRequestId::generate(&OsRandom)?, mode: Mode::Claim { claim },
//! #     client: Client::named(HumanText::new("Agent")?),
//! #     requested: ScopeSet::default(), created_at: now, expires_at: now.after(Duration::from_secs(600)),
//! #     account: None, decision: Decision::Undecided, code: None, failed_attempts: 0,
//! # };
//! assert_eq!(authorization request.state_at(now), State::Pending);
//! assert_eq!(authorization request.state_at(now.after(Duration::from_secs(600))), State::Expired);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    callback::Callback,
    clock::Timestamp,
    id::{AccountId, AuthorizationRequestId},
    pkce::CodeChallenge,
    scope::ScopeSet,
    secret::{Claim, Digest, Exchange, Finish, Poll},
    text::HumanText,
};

/// So many wrong codes lock an authorization request.
pub const MAX_FAILED_ATTEMPTS: u32 = 5;

/// An agent's request for access, as a store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorizationRequest {
    /// The public name; it stands in the approval URL.
    pub id: AuthorizationRequestId,
    /// How the agent proves that it is its own, and finishes.
    pub mode: Mode,
    /// Who asks, in the asker's own words.
    pub client: Client,
    /// What is asked for.
    pub requested: ScopeSet,
    /// When it was asked.
    pub created_at: Timestamp,
    /// From when on nothing more can become of it, unless it was exchanged or denied before. Approving may move it.
    pub expires_at: Timestamp,
    /// The account whose human opened the approval page; from then on no other account can decide.
    pub account: Option<Account>,
    /// What has become of it. That it has expired is not written down, see [`AuthorizationRequest::state_at`].
    pub decision: Decision,
    /// The code that was handed out when it was approved, in the modes that have one.
    pub code: Option<Code>,
    /// How many wrong codes were presented.
    pub failed_attempts: u32,
}

/// How an agent proves that an authorization request is its own, and finishes. Fixed at authorization request: the modes don't mix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mode {
    /// The agent asks and redeems with its claim token.
    Claim {
        /// The digest of the claim token. Unique.
        claim: Digest<Claim>,
    },
    /// Live browser login: the human's browser brings the exchange code to the agent's callback, and the agent redeems it
    /// with its code verifier.
    Browser {
        /// The digest of the poll token, with which the agent may ask; asking never tells the code.
        poll: Digest<Poll>,
        /// Where the browser goes.
        callback: Callback,
        /// What the agent gave to be handed back beside the code.
        state: Option<String>,
        /// What the verifier must meet.
        challenge: CodeChallenge,
    },
    /// Detached login: the agent asks with its poll token, is told the exchange code, and redeems it.
    Detached {
        /// The digest of the poll token.
        poll: Digest<Poll>,
        /// The digest of the exchange code, which follows from the poll token.
        exchange: Digest<Exchange>,
        /// Whether the human is shown a finish code as well, which redeems without the poll token.
        finish_code: bool,
    },
    /// The human carries the finish code to the agent, which redeems it with its poll token.
    FinishCode {
        /// The digest of the poll token.
        poll: Digest<Poll>,
    },
}

impl Mode {
    /// The name in stores.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Browser { .. } => "browser",
            Self::Detached { finish_code: false, .. } => "detached",
            Self::Detached { finish_code: true, .. } => "detached_or_finish_code",
            Self::FinishCode { .. } => "finish_code",
        }
    }

    /// The digest of the claim token, if there is one.
    #[must_use]
    pub const fn claim(&self) -> Option<&Digest<Claim>> {
        match self {
            Self::Claim { claim } => Some(claim),
            _ => None,
        }
    }

    /// The digest of the poll token, if there is one.
    #[must_use]
    pub const fn poll(&self) -> Option<&Digest<Poll>> {
        match self {
            Self::Claim { .. } => None,
            Self::Browser { poll, .. } | Self::Detached { poll, .. } | Self::FinishCode { poll } => Some(poll),
        }
    }

    /// Whether a human is shown a finish code who approves.
    #[must_use]
    pub const fn has_finish_code(&self) -> bool {
        matches!(self, Self::FinishCode { .. } | Self::Detached { finish_code: true, .. })
    }

    /// Whether only a code that is handed out at approval can finish.
    #[must_use]
    pub const fn needs_code(&self) -> bool {
        matches!(self, Self::Browser { .. } | Self::FinishCode { .. })
    }
}

/// A code that was handed out when an authorization request was approved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code {
    /// What it is compared with.
    pub digest: CodeDigest,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// The digest of a code, by its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CodeDigest {
    /// Of an exchange code, which went to the callback.
    Exchange(Digest<Exchange>),
    /// Of a finish code, which the human was shown.
    Finish(Digest<Finish>),
}

/// Who asks for access. Everything but the address is the asker's own claim.
#[derive(Clone, Debug, Eq, PartialEq)]
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
pub struct Account {
    /// The host's stable identifier.
    pub id: AccountId,
    /// What the human recognises the account by, such as an e-mail address. Shown to the human, and told to the agent
    /// that got access.
    pub label: String,
}

/// What has become of an authorization request, as a store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
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
pub struct Approval {
    /// The bound account.
    pub account: AccountId,
    /// One or more of the scopes that were asked for.
    pub scopes: ScopeSet,
    /// The code that is handed out, in the modes that have one.
    pub code: Option<Code>,
    /// Until when the agent can redeem.
    pub expires_at: Timestamp,
}

impl AuthorizationRequest {
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
            Transition::Approve(Approval { scopes, code, expires_at, .. }) => {
                self.decision = Decision::Approved(scopes);
                self.code = code;
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

    /// Redeems the authorization request if it is approved at `now`, and says whether it was.
    pub fn redeem(&mut self, now: Timestamp) -> bool {
        match &self.decision {
            Decision::Approved(scopes) if !self.expires_at.has_passed(now) => {
                self.decision = Decision::Redeemed(scopes.clone());
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
