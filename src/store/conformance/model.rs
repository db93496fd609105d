//! Random traces against a model written from the specification, not from the code under test.

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    store::{CeremonyStore, RevokeTarget},
    types::{
        authorization::{AuthorizationRequest, Renewal, State, Transition},
        clock::Timestamp,
        session::{NewSession, RevokedBy},
    },
};

use super::{
    fixtures::{
        LASTING, account, after, approve_until, authorization, checked, client_id, create, deny, find, flow,
        longest_client_id, open, release, rotation, scopes, session_of,
    },
    property,
};

const TRACES: u32 = 256;
/// A trace has half as many steps on average.
const MAX_STEPS: usize = 120;
const ACCOUNTS: [&str; 2] = ["alice", "bob"];
/// The lifetimes of a trace's authorization requests, in clock steps. A trace advances the clock by about 11 steps.
const LIVES: [i64; 3] = [5, 8, 11];

/// What happens to one of the authorization requests, by one of the accounts.
#[derive(Clone, Debug)]
enum Step {
    /// The clock advances.
    Advance(i64),
    Open,
    Release,
    /// With these scopes.
    Approve(&'static str),
    Deny,
    FailedAttempt,
    Renew,
    Redeem,
    /// With the current token, and then with the used-up one.
    Refresh,
    Revoke,
    RevokeSession,
    RevokeAccount,
}

/// The authorization request, the account and the step. What comes first here is what a failing trace shrinks to.
fn step() -> impl Strategy<Value = (usize, &'static str, Step)> {
    let step = prop_oneof![
        2 => (0_i64..4).prop_map(Step::Advance),
        3 => Just(Step::Open),
        1 => Just(Step::Release),
        3 => select(&["a", "a b", "a b c", "", "a d"][..]).prop_map(Step::Approve),
        1 => Just(Step::Deny),
        2 => Just(Step::FailedAttempt),
        1 => Just(Step::Renew),
        2 => Just(Step::Redeem),
        1 => Just(Step::Refresh),
        1 => Just(Step::Revoke),
        1 => Just(Step::RevokeSession),
        1 => Just(Step::RevokeAccount),
    ];
    (0..LIVES.len(), select(&ACCOUNTS[..]), step)
}

/// An authorization request as the specification defines it, and the session that it became.
struct Expected {
    authorization: AuthorizationRequest,
    state: State,
    account: Option<String>,
    granted: Option<&'static str>,
    failed_attempts: u32,
    session: Option<(NewSession, bool)>,
}

impl Expected {
    fn expire(&mut self, now: Timestamp) {
        let open = matches!(self.state, State::Pending | State::Approved);
        if open && now.as_millis() >= self.authorization.expires_at.as_millis() {
            self.state = State::Expired;
        }
    }

    fn open(&mut self, account: &str) -> bool {
        let free = self.account.as_deref().is_none_or(|bound| bound == account);
        let legal = self.state == State::Pending && free;
        if legal {
            self.account = Some(account.to_owned());
        }
        legal
    }

    fn release(&mut self, account: &str) -> bool {
        let legal = self.state == State::Pending && self.account.as_deref() == Some(account);
        if legal {
            self.account = None;
        }
        legal
    }

    fn decide(&mut self, account: &str, granted: Option<&'static str>) -> bool {
        let fits = granted.is_none_or(|granted| !matches!(granted, "" | "a d"));
        let legal = self.state == State::Pending && self.account.as_deref() == Some(account) && fits;
        if legal {
            self.state = if granted.is_some() { State::Approved } else { State::Denied };
            self.granted = granted;
        }
        legal
    }

    fn leave_approved(&mut self, next: State) -> bool {
        let legal = self.state == State::Approved;
        if legal {
            self.state = next;
        }
        legal
    }

    fn miss(&mut self) -> bool {
        let legal = matches!(self.state, State::Pending | State::Approved);
        self.failed_attempts += u32::from(legal);
        if legal && self.failed_attempts == 5 {
            self.state = State::Locked;
        }
        legal
    }

    fn revoke_all_of(&mut self, account: &str) -> usize {
        if self.account.as_deref() != Some(account) {
            return 0;
        }
        self.leave_approved(State::Revoked);
        match &mut self.session {
            Some((_, live)) if *live => {
                *live = false;
                1
            }
            _ => 0,
        }
    }

    async fn check(&self, store: &impl CeremonyStore, now: Timestamp, context: &str) {
        let found = find(store, &self.authorization).await;
        assert_eq!(found.state_at(now), self.state, "{context}");
        if matches!(self.state, State::Approved | State::Redeemed) {
            assert_eq!(found.granted(), self.granted.map(scopes).as_ref(), "{context}");
        }
        assert_eq!(found.lasting, self.granted.map(|_| LASTING), "{context}");
        assert_eq!(found.failed_attempts, self.failed_attempts, "{context}");
        assert_eq!(found.client, self.authorization.client, "{context}");
        assert_eq!(found.account.map(|account| account.id.to_string()), self.account, "{context}");
        assert_eq!(self.session.is_some(), self.state == State::Redeemed, "{context}");
        if let Some((new, live)) = &self.session {
            assert_eq!(store.find_session(&new.session.session.access).await.unwrap().is_some(), *live, "{context}");
        }
    }
}

pub async fn r44_random_traces_agree_with_the_model(store: impl CeremonyStore) {
    property(TRACES, vec(step(), 1..=MAX_STEPS), async |steps| run(&store, &steps).await);
}

async fn run(store: &impl CeremonyStore, steps: &[(usize, &str, Step)]) {
    let mut now = 0;
    let mut all = Vec::new();
    for (life, client) in LIVES.into_iter().zip([None, Some(client_id("agent-7")), Some(longest_client_id())]) {
        let mut authorization = AuthorizationRequest { expires_at: after(life), ..authorization() };
        authorization.client.id = client;
        create(store, &authorization).await;
        let state = State::Pending;
        all.push(Expected { authorization, state, account: None, granted: None, failed_attempts: 0, session: None });
    }
    // The store still has what other traces left, so the accounts are of this trace alone.
    let trace = all[0].authorization.id.clone();
    for (number, (chosen, name, step)) in steps.iter().enumerate() {
        let account = &format!("{name}-{trace}");
        let context = &format!("step {number} at {now}: {name} {step:?} of {chosen}");
        let (at, expected) = (after(now), &mut all[*chosen]);
        let transition = match *step {
            Step::Advance(millis) => {
                now += millis;
                None
            }
            Step::Open => Some((open(account), expected.open(account))),
            Step::Release => Some((release(account), expected.release(account))),
            Step::Approve(granted) => {
                let legal = expected.decide(account, Some(granted));
                Some((approve_until(account, granted, LIVES[*chosen]), legal))
            }
            Step::Deny => Some((deny(account), expected.decide(account, None))),
            Step::FailedAttempt => Some((Transition::FailedAttempt, expected.miss())),
            Step::Renew => {
                let renewal = Renewal::new(flow(2), flow(2), after(LIVES[*chosen]));
                Some((Transition::Renew(renewal), expected.state == State::Approved))
            }
            Step::Redeem => {
                redeem(store, expected, account, at, context).await;
                None
            }
            Step::Refresh => {
                refresh(store, expected, at, context).await;
                None
            }
            Step::Revoke => Some((Transition::Revoke, expected.leave_approved(State::Revoked))),
            Step::RevokeSession => {
                revoke_session(store, expected, account, at, context).await;
                None
            }
            Step::RevokeAccount => {
                revoke_account(store, &mut all, account, at, context).await;
                None
            }
        };
        if let Some((transition, legal)) = transition {
            let id = &all[*chosen].authorization.id;
            assert_eq!(store.transition(id, &transition, at).await.unwrap(), legal, "{context}");
        }
        all.iter_mut().for_each(|expected| expected.expire(after(now)));
        all[*chosen].check(store, after(now), context).await;
    }
    for expected in &all {
        expected.check(store, after(now), "in the end").await;
    }
}

async fn redeem(store: &impl CeremonyStore, expected: &mut Expected, name: &str, at: Timestamp, context: &str) {
    let owner = expected.account.as_deref().unwrap_or(name);
    let new = session_of(&expected.authorization, owner);
    let legal = expected.leave_approved(State::Redeemed);
    assert_eq!(store.redeem(&new, at).await.unwrap(), legal, "{context}");
    if legal {
        let kept = store.find_record(&new.session.session.id).await.unwrap();
        assert_eq!(kept.as_ref(), Some(&new.session), "{context}");
        expected.session = Some((new, true));
    }
}

/// Refreshes with the current token, which succeeds while the session is live, and then with the used-up one.
async fn refresh(store: &impl CeremonyStore, expected: &mut Expected, at: Timestamp, context: &str) {
    let Some((new, live)) = &mut expected.session else { return };
    let rotation = rotation(new.refresh, 1);
    assert_eq!(store.rotate(&rotation, at).await.unwrap().is_some(), *live, "{context}");
    if *live {
        (checked(new).access, new.refresh) = (rotation.access, rotation.refresh);
        assert!(store.rotate(&rotation, at).await.unwrap().is_none(), "{context}");
    }
}

async fn revoke_account(store: &impl CeremonyStore, all: &mut [Expected], name: &str, at: Timestamp, context: &str) {
    let count: usize = all.iter_mut().map(|expected| expected.revoke_all_of(name)).sum();
    let target = RevokeTarget::Account(account(name).id);
    let ended = store.revoke(&target, RevokedBy::Human, at).await.unwrap();
    assert_eq!(ended.len(), count, "{context}");
}

async fn revoke_session(store: &impl CeremonyStore, expected: &mut Expected, name: &str, at: Timestamp, context: &str) {
    let Some((new, live)) = &mut expected.session else { return };
    let own = expected.account.as_deref() == Some(name);
    let target = RevokeTarget::Session(new.session.session.id.clone(), account(name).id);
    let ended = store.revoke(&target, RevokedBy::Human, at).await.unwrap();
    assert_eq!(!ended.is_empty(), own && *live, "{context}");
    *live &= !own;
}
