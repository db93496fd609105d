//! A registration: an agent's request for access, and the state machine of what may become of it.
//!
//! ```text
//! pending ──approve──► approved ──redeem──► exchanged
//!    ├──deny──► denied     ├──revoke──► revoked
//!    └──expire──► expired  └──expire──► expired
//! ```
//!
//! A [`Transition`] is one edge. [`Registration::allows`] is the rule; a store applies it in one conditional write.
//!
//! ```
//! use std::time::Duration;
//! use tower_agent_auth::core::{clock::Timestamp, registration::State};
//! # use tower_agent_auth::core::{id::*, random::OsRandom, registration::*, scope::ScopeSet, secret::*, text::HumanText};
//! # let now = Timestamp::from_millis(0);
//! # let registration = Registration {
//! #     id: RegistrationId::generate(&OsRandom)?,
//! #     claim: Prefix::<Claim>::new("clm_")?.generate(&OsRandom)?.digest(),
//! #     client: Client { name: HumanText::new("Agent")?, label: None, address: None, method: None },
//! #     requested: ScopeSet::default(), created_at: now, expires_at: now.after(Duration::from_secs(600)),
//! #     account: None, decision: Decision::Undecided,
//! # };
//! assert_eq!(registration.state_at(now), State::Pending);
//! assert_eq!(registration.state_at(now.after(Duration::from_secs(600))), State::Expired);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    clock::Timestamp,
    id::{AccountId, RegistrationId},
    scope::ScopeSet,
    secret::{Claim, Digest},
    text::HumanText,
};

/// An agent's request for access, as a store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registration {
    /// The public name; it stands in the approval URL.
    pub id: RegistrationId,
    /// The digest of the claim token. Unique.
    pub claim: Digest<Claim>,
    /// Who asks, in the asker's own words.
    pub client: Client,
    /// What is asked for.
    pub requested: ScopeSet,
    /// When it was asked.
    pub created_at: Timestamp,
    /// From when on nothing more can become of it, unless it was exchanged or denied before.
    pub expires_at: Timestamp,
    /// The account whose human opened the approval page; from then on no other account can decide.
    pub account: Option<Account>,
    /// What has become of it. That it has expired is not written down, see [`Registration::state_at`].
    pub decision: Decision,
}

/// Who asks for access. Everything but the address is the asker's own claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    /// What the client calls itself.
    pub name: HumanText,
    /// What the client calls this session, if it does.
    pub label: Option<HumanText>,
    /// The network address that the request came from, if the host tells.
    pub address: Option<IpAddr>,
    /// The way to sign in that the client would like its human to use: a hint.
    pub method: Option<HumanText>,
}

impl Client {
    /// Whom the caps on pending registrations count as one: an IPv4 address, or an IPv6 network of 64 bits.
    #[must_use]
    pub fn source(&self) -> Option<IpNet> {
        self.address.map(|address| {
            let bits = if address.to_canonical().is_ipv4() { 32 } else { 64 };
            IpNet::new(address.to_canonical(), bits).unwrap_or_else(|_| address.into()).trunc()
        })
    }
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

/// What has become of a registration, as a store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Nothing yet.
    Undecided,
    /// The human approved these scopes.
    Approved(ScopeSet),
    /// The human refused.
    Denied,
    /// The claim token was redeemed; a session exists or existed.
    Exchanged(ScopeSet),
    /// It was approved and then taken back before it was redeemed.
    Revoked,
}

/// Where a registration stands at an instant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// The human has not decided.
    Pending,
    /// The human approved; the agent has not come back yet.
    Approved,
    /// The human refused. Final.
    Denied,
    /// The agent has its session. Final.
    Exchanged,
    /// Approved, then taken back. Final.
    Revoked,
    /// Nobody finished in time. Final.
    Expired,
}

/// One edge of the state machine, but for redeeming, which creates a session as well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transition {
    /// A signed-in human opened the page: bind the registration to the account, if it is bound to no other.
    Open(Account),
    /// The human of the bound account approves these scopes.
    Approve(AccountId, ScopeSet),
    /// The human of the bound account refuses.
    Deny(AccountId),
    /// What was approved is taken back before it was redeemed.
    Revoke,
}

impl Registration {
    /// Where the registration stands at `now`. Expiry is judged here, at reading; no write is needed for it.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> State {
        let over = self.expires_at.has_passed(now);
        match self.decision {
            Decision::Undecided | Decision::Approved(_) if over => State::Expired,
            Decision::Undecided => State::Pending,
            Decision::Approved(_) => State::Approved,
            Decision::Denied => State::Denied,
            Decision::Exchanged(_) => State::Exchanged,
            Decision::Revoked => State::Revoked,
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
            Transition::Approve(account, scopes) => {
                self.state_at(now) == State::Pending
                    && bound_to(account)
                    && !scopes.is_empty()
                    && scopes.is_subset(&self.requested)
            }
            Transition::Deny(account) => self.state_at(now) == State::Pending && bound_to(account),
            Transition::Revoke => self.state_at(now) == State::Approved,
        }
    }

    /// Applies `transition` if it is legal at `now`, and says whether it was.
    pub fn apply(&mut self, transition: Transition, now: Timestamp) -> bool {
        if !self.allows(&transition, now) {
            return false;
        }
        match transition {
            Transition::Open(account) => self.account = Some(account),
            Transition::Approve(_, scopes) => self.decision = Decision::Approved(scopes),
            Transition::Deny(_) => self.decision = Decision::Denied,
            Transition::Revoke => self.decision = Decision::Revoked,
        }
        true
    }

    /// Redeems the registration if it is approved at `now`, and says whether it was.
    pub fn exchange(&mut self, now: Timestamp) -> bool {
        match &self.decision {
            Decision::Approved(scopes) if !self.expires_at.has_passed(now) => {
                self.decision = Decision::Exchanged(scopes.clone());
                true
            }
            _ => false,
        }
    }

    /// What the human granted, once that is known.
    #[must_use]
    pub fn granted(&self) -> Option<&ScopeSet> {
        match &self.decision {
            Decision::Approved(scopes) | Decision::Exchanged(scopes) => Some(scopes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> String {
        let address = Some(address.parse().unwrap());
        let client = Client { name: HumanText::new("x").unwrap(), label: None, address, method: None };
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
