//! Agents of the open auth.md protocol: the twin of the ledger for each, as `claim` is for those of the other dialects.
//!
//! | file | holds |
//! |---|---|
//! | `verbs` | what they ask, and what each of these questions may be answered |
//! | `agent` | what such an agent and its human do under load |
//! | `check` | what must hold of them after a fault |

use std::time::Instant;

use super::{
    claim::{Decided, Decision, Fate},
    human::Human,
    node::Node,
    verbs::Registering,
    wire,
    world::{Step, World},
};
use verbs::{GIVEN, Verb};

mod agent;
pub(crate) mod check;
mod verbs;

pub(crate) use verbs::{Told, is_asked, is_documented};

/// For so long the same proof again is answered with the same identity; the service's own limit is 10 seconds.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(7);
/// As many of its access tokens are looked at. The service keeps 16.
const LOOKED_AT: usize = 4;

#[derive(Debug)]
pub(crate) struct Identity {
    /// Names it in the ledger and in the list of sessions.
    pub(crate) label: String,
    pub(crate) human: String,
    claim_token: String,
    /// What it holds until a human claims it, if it registered without one.
    pub(crate) unclaimed: Option<Keys>,
    /// Where the human decides, and the code that they type there, once there is such a page.
    decision: Option<Page>,
    requested: Vec<&'static str>,
    decided: Decided,
    /// The proof that its human approved it.
    proof: Option<Proof>,
    pub(crate) held: Held,
}

#[derive(Clone, Debug)]
struct Page {
    path: String,
    user_code: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Proof {
    /// The human typed the agent's code, so that the claim token alone is enough.
    Typed,
    /// The code that the page told, or that was typed there.
    Told(String),
}

#[derive(Debug)]
pub(crate) enum Held {
    Not,
    /// It was asked for, and no answer came.
    Perhaps,
    Done(Keys),
}

/// What an agent holds.
#[derive(Debug)]
pub(crate) struct Keys {
    assertion: String,
    /// Nothing renews what nobody has claimed.
    refresh: Option<String>,
    scopes: Vec<&'static str>,
    /// Its last access tokens.
    access: Vec<String>,
    since: Instant,
    /// When its assertion came.
    pub(crate) renewed: Instant,
    is_refreshed: bool,
    pub(crate) fate: Fate,
}

impl Keys {
    fn new(assertion: String, refresh: Option<String>, scopes: Vec<&'static str>) -> Self {
        let (access, now) = (Vec::new(), Instant::now());
        Self { assertion, refresh, scopes, access, since: now, renewed: now, is_refreshed: false, fate: Fate::Live }
    }

    fn took(&mut self, access: String) {
        if self.access.len() == LOOKED_AT {
            self.access.remove(0);
        }
        self.access.push(access);
    }

    /// Makes it ask with an assertion that is none, for the proof that the checks find what follows.
    pub(crate) fn break_assertion(&mut self) {
        self.assertion.clear();
    }

    /// Whether the proof that gave it is answered again.
    fn is_given_again(&self) -> bool {
        !self.is_refreshed && self.since.elapsed() <= AGAIN
    }
}

impl Identity {
    pub(crate) const fn keys(&self) -> Option<&Keys> {
        match &self.held {
            Held::Done(keys) => Some(keys),
            Held::Not | Held::Perhaps => None,
        }
    }

    /// What it holds, to change it, beside the label to ask about it with.
    pub(crate) fn held_mut(&mut self) -> Option<(&str, &mut Keys)> {
        match &mut self.held {
            Held::Done(keys) => Some((&self.label, keys)),
            Held::Not | Held::Perhaps => None,
        }
    }

    fn unclaimed_mut(&mut self) -> Option<(&str, &mut Keys)> {
        Some((&self.label, self.unclaimed.as_mut()?))
    }

    fn granted(&self) -> Vec<&'static str> {
        match &self.decided {
            Decided::Perhaps(Decision::Approve(scopes)) | Decided::Surely(Decision::Approve(scopes)) => scopes.clone(),
            _ => Vec::new(),
        }
    }

    /// What proving it may be answered now, by the poll or by the code.
    fn proves_with(&self, verb: Verb) -> Vec<Told> {
        let (pending, denied, over, claimed) = match verb {
            Verb::Poll => {
                let poll = |code| (400, code);
                (poll("authorization_pending"), poll("access_denied"), poll("access_denied"), poll("invalid_grant"))
            }
            _ => {
                ((409, "claim_not_confirmed"), (403, "claim_denied"), (410, "claim_revoked"), (409, "already_claimed"))
            }
        };
        if let Held::Done(keys) = &self.held {
            return match keys.fate {
                Fate::Revoked => vec![over],
                Fate::PerhapsRevoked => vec![over, claimed, GIVEN],
                _ if keys.is_given_again() => vec![GIVEN],
                _ => vec![GIVEN, claimed],
            };
        }
        match (&self.decided, &self.held, &self.proof) {
            (Decided::Not, ..) => vec![pending],
            (Decided::Surely(Decision::Deny), ..) => vec![denied],
            (Decided::Perhaps(Decision::Deny), ..) => vec![denied, pending],
            // Approved, and nobody has told the code: the claim token alone gives nothing.
            (Decided::Surely(Decision::Approve(_)) | Decided::Perhaps(Decision::Approve(_)), _, None) => vec![pending],
            (Decided::Surely(Decision::Approve(_)), Held::Not, Some(_)) => vec![GIVEN],
            (Decided::Surely(Decision::Approve(_)), ..) => vec![GIVEN, claimed],
            (Decided::Perhaps(Decision::Approve(_)), Held::Not, Some(_)) => vec![GIVEN, pending],
            (Decided::Perhaps(Decision::Approve(_)), ..) => vec![GIVEN, pending, claimed],
        }
    }
}

/// An identity that waits to be proved: its human approved the first route, and typed its code. If it was `unclaimed`, it
/// acted before.
pub(crate) async fn approved_identity(world: &World, node: &Node, label: &str, unclaimed: bool) -> Step<Identity> {
    let mut human = Human::new(&format!("{label}@faults.example"));
    let scopes = vec![wire::ROUTES[0].0];
    let new = Registering { label: label.to_owned(), human: human.email(), scopes: scopes.clone() };
    let mut identity = world.register_identity(node, new, unclaimed).await?;
    if let Some((label, keys)) = identity.unclaimed_mut() {
        world.exchange(node, label, keys).await?;
        world.claim_identity(node, &mut identity).await?;
    }
    world.decide_identity(node, &mut human, &mut identity, Decision::Approve(scopes), true).await?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::{Decided, Decision, Fate, GIVEN, Held, Identity, Keys, Proof, Verb};

    fn identity(decided: Decided, held: Held, proof: Option<Proof>) -> Identity {
        let (label, human, claim_token) = (String::new(), String::new(), String::new());
        let (unclaimed, decision, requested) = (None, None, Vec::new());
        Identity { label, human, claim_token, unclaimed, decision, requested, decided, proof, held }
    }

    #[test]
    fn what_was_acknowledged_leaves_one_answer_and_what_was_not_leaves_some() {
        let approve = || Decision::Approve(vec!["projects:read"]);
        let typed = || Some(Proof::Typed);
        let may = |decided, held, proof| identity(decided, held, proof).proves_with(Verb::Poll);
        let (pending, claimed) = ((400, "authorization_pending"), (400, "invalid_grant"));
        assert_eq!(may(Decided::Not, Held::Not, None), [pending]);
        assert_eq!(may(Decided::Surely(Decision::Deny), Held::Not, typed()), [(400, "access_denied")]);
        assert_eq!(may(Decided::Surely(approve()), Held::Not, None), [pending], "a press of the button is no proof");
        assert_eq!(may(Decided::Surely(approve()), Held::Not, typed()), [GIVEN]);
        assert_eq!(may(Decided::Surely(approve()), Held::Perhaps, typed()), [GIVEN, claimed]);
        assert_eq!(may(Decided::Perhaps(approve()), Held::Not, typed()), [GIVEN, pending]);
        let held =
            |fate, is_refreshed| Held::Done(Keys { fate, is_refreshed, ..Keys::new(String::new(), None, Vec::new()) });
        assert_eq!(may(Decided::Surely(approve()), held(Fate::Live, false), typed()), [GIVEN]);
        assert_eq!(may(Decided::Surely(approve()), held(Fate::Live, true), typed()), [GIVEN, claimed]);
        assert_eq!(may(Decided::Surely(approve()), held(Fate::Revoked, false), typed()), [(400, "access_denied")]);
    }
}
