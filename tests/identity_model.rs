//! Identities of the auth.md protocol: random traces of the ceremony against a model that is written down from the docs of
//! its methods and from rows R122 to R127. On every store.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::mem::replace;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use tower_agent_auth::{
    accounts::SignedIn,
    ceremony::{Approve, Approver, Decision, HandedOut},
    config::Codes,
    store::{MemoryStore, conformance::property},
    types::{authorization::State, id::AccountId, scope::ScopeSet, session::Redeemer},
};

mod common;
#[path = "common/identity.rs"]
mod identity;
#[path = "common/places.rs"]
mod places;

use identity::{Agent, BOTH, Model, READ, Stage, account, name_of, pair_of, seconds, wrong};
use places::{Prefix, Schema, TempFile};

/// The scopes of a token that agents ask for.
const NAMED: &[&[&str]] = &[&[], &[READ], &["projects:write"], &[READ, "analytics:read"]];

/// What somebody presents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shown {
    Right,
    Wrong,
    Nothing,
}

/// One step of a trace. It concerns the agent whose turn it is, and of its requests the last one, unless it says `first`.
#[derive(Clone, Debug)]
enum Step {
    /// The clock advances by so many milliseconds.
    Advance(i64),
    Claim,
    View(&'static str),
    Approve(&'static str, &'static str, Shown),
    Deny(&'static str),
    Complete(bool),
    Redeem,
    /// So many times, with the assertion of so many refreshes ago.
    Exchange {
        first: bool,
        age: usize,
        scopes: &'static [&'static str],
        times: usize,
    },
    /// With the refresh token of so many refreshes ago.
    Refresh(usize),
    RevokeAccessToken {
        first: bool,
        index: Index,
    },
    RevokeAssertion {
        first: bool,
        age: usize,
    },
    RevokeRefreshToken(usize),
    RevokeSession(&'static str, Index),
    TakeBack(&'static str),
    RevokeAccount(&'static str),
    /// The host ends all of the account for which the agent acts unclaimed.
    RevokeProvisional,
    /// The account of `ada`, or the provisional account of the agent, becomes inactive.
    Suspend {
        provisional: bool,
    },
    Restore,
}

/// What comes first here is what a failing trace shrinks to.
fn step() -> impl Strategy<Value = Step> {
    let name = || prop_oneof![5 => Just("ada"), 1 => Just("bob")];
    let scopes = || prop_oneof![2 => Just(READ), 1 => Just(BOTH)];
    let shown = || prop_oneof![2 => Just(Shown::Right), 1 => Just(Shown::Wrong), 2 => Just(Shown::Nothing)];
    let age = || prop_oneof![5 => Just(0), 2 => Just(1), 1 => Just(2)];
    let first = || prop::bool::weighted(0.3);
    let named = select(NAMED);
    let times = || prop_oneof![12 => Just(1), 1 => Just(17)];
    prop_oneof![
        10 => select(&[1, 4_000, 9_998, 10_000, 19_999, 59_999, 100_000][..]).prop_map(Step::Advance),
        5 => Just(Step::Claim),
        6 => name().prop_map(Step::View),
        6 => (name(), scopes(), shown()).prop_map(|(name, scopes, code)| Step::Approve(name, scopes, code)),
        1 => name().prop_map(Step::Deny),
        6 => prop::bool::weighted(0.7).prop_map(Step::Complete),
        6 => Just(Step::Redeem),
        8 => (first(), age(), named, times())
            .prop_map(|(first, age, scopes, times)| Step::Exchange { first, age, scopes, times }),
        8 => age().prop_map(Step::Refresh),
        1 => (first(), any::<Index>()).prop_map(|(first, index)| Step::RevokeAccessToken { first, index }),
        1 => (first(), age()).prop_map(|(first, age)| Step::RevokeAssertion { first, age }),
        1 => age().prop_map(Step::RevokeRefreshToken),
        1 => (name(), any::<Index>()).prop_map(|(name, index)| Step::RevokeSession(name, index)),
        1 => name().prop_map(Step::TakeBack),
        1 => name().prop_map(Step::RevokeAccount),
        1 => Just(Step::RevokeProvisional),
        1 => any::<bool>().prop_map(|provisional| Step::Suspend { provisional }),
        3 => Just(Step::Restore),
    ]
}

/// The steps of a turn, and the agent whose turn it is. A login needs several in a row, so some turns are one.
type Turn = (usize, Vec<Step>);

fn trace() -> impl Strategy<Value = Vec<Turn>> {
    let login = (any::<bool>(), select(&[READ, BOTH][..])).prop_map(|(types, scopes)| {
        let (code, last) = if types { (Shown::Right, Step::Redeem) } else { (Shown::Nothing, Step::Complete(true)) };
        vec![Step::Claim, Step::View("ada"), Step::Approve("ada", scopes, code), last]
    });
    let wrong = prop_oneof![Just(Step::Complete(false)), Just(Step::Approve("ada", READ, Shown::Wrong)),];
    let guesses = wrong.prop_map(|step| vec![step; 5]);
    vec((0..AGENTS, prop_oneof![12 => vec(step(), 1..=7), 3 => login, 1 => guesses]), 1..=60)
}

/// The agents of a trace: every other one acts unclaimed at first.
const AGENTS: usize = 4;

async fn run(stage: &Stage, turns: Vec<Turn>) {
    stage.accounts.inactive.lock().unwrap().clear();
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        agents.push(Agent::register(stage, number % 2 == 1).await);
    }
    for (chosen, steps) in turns {
        for step in steps {
            let context = &format!("{step:?} at {} of {:?}", stage.now(), agents[chosen]);
            match step {
                Step::RevokeAccount(name) => revoke_account(stage, &mut agents, &account(name), context).await,
                Step::RevokeProvisional => {
                    let id = agents[chosen].requests[0].account.clone().filter(|_| agents[chosen].is_anonymous);
                    let Some(id) = id else { continue };
                    revoke_account(stage, &mut agents, &AccountId::new(&id).unwrap(), context).await;
                }
                step => one(stage, &mut agents[chosen], step, context).await,
            }
            for model in &agents[chosen].requests {
                model.check(stage, context).await;
            }
        }
    }
    for model in agents.iter().flat_map(|agent| &agent.requests) {
        model.check(stage, &format!("the end: {model:?}")).await;
    }
}

async fn one(stage: &Stage, agent: &mut Agent, step: Step, context: &str) {
    let (now, ceremony) = (stage.now(), &stage.ceremony);
    match step {
        Step::Advance(millis) => stage.clock.advance(seconds(millis)),
        Step::Claim => claim(stage, agent, context).await,
        Step::View(name) => {
            let last = agent.last_mut();
            if last.account.is_none() && last.state(now) == State::Pending {
                last.account = Some(account(name).to_string());
            }
            let seen = ceremony.view(&last.id, &human(name)).await;
            assert_eq!(seen.is_ok(), last.is_of(name), "{context}");
        }
        Step::Approve(name, scopes, code) => approve(stage, agent.last_mut(), name, scopes, code, context).await,
        Step::Deny(name) => {
            let last = agent.last_mut();
            let decided = ceremony.decide(&last.id, &human(name), Decision::Deny).await;
            let is_legal = matches!(last.state(now), State::Pending | State::Denied) && last.is_of(name);
            assert_eq!(decided.is_ok(), is_legal, "{context}");
            if is_legal {
                last.state = State::Denied;
            }
        }
        Step::Complete(is_right) => complete(stage, agent, is_right, context).await,
        Step::Redeem => redeem(stage, agent, context).await,
        Step::Exchange { first, age, scopes, times } => {
            for _ in 0..times {
                exchange(stage, agent.one(first), age, scopes, context).await;
            }
        }
        Step::Refresh(age) => refresh(stage, agent.last_mut(), age, context).await,
        Step::RevokeAccessToken { first, index } => {
            let sessions = &mut agent.one(first).sessions;
            if sessions.is_empty() {
                return;
            }
            let session = index.get(sessions).token.clone();
            ceremony.revoke_token(&session, None).await.unwrap();
            sessions.iter_mut().find(|one| one.token == session).unwrap().revoked = true;
        }
        Step::RevokeAssertion { first, age } => {
            let model = agent.one(first);
            let Some((assertion, _)) = model.pair(age).cloned() else { return };
            ceremony.revoke_token(&assertion, None).await.unwrap();
            model.end(now);
        }
        Step::RevokeRefreshToken(age) => {
            let Some((_, Some(token))) = agent.last_mut().pair(age).cloned() else { return };
            ceremony.revoke_token(&token, None).await.unwrap();
            agent.last_mut().end(now);
        }
        Step::RevokeSession(name, index) => revoke_session(stage, agent.last_mut(), name, index, context).await,
        Step::TakeBack(name) => {
            let last = agent.last_mut();
            let is_taken = ceremony.take_back(&account(name), &last.id).await.unwrap();
            assert_eq!(is_taken, last.is_of(name) && last.state(now) == State::Approved, "{context}");
            if is_taken {
                last.end(now);
            }
        }
        Step::Suspend { provisional } => {
            let of = agent.requests[0].account.clone().filter(|_| provisional && agent.is_anonymous);
            stage.accounts.inactive.lock().unwrap().push(of.unwrap_or_else(|| account("ada").to_string()));
        }
        Step::Restore => stage.accounts.inactive.lock().unwrap().clear(),
        Step::RevokeAccount(_) | Step::RevokeProvisional => panic!("they concern all agents"),
    }
}

fn human(name: &str) -> SignedIn {
    SignedIn::new(common::account(name), "a browser")
}

async fn claim(stage: &Stage, agent: &mut Agent, context: &str) {
    let now = stage.now();
    let (is_unclaimed, is_anonymous) = (agent.is_unclaimed(), agent.is_anonymous);
    let own_is_live = is_anonymous && agent.requests[0].state(now) == State::Approved;
    let last = agent.last_mut();
    let waits = !is_unclaimed && matches!(last.state(now), State::Pending | State::Approved);
    let expected = match () {
        () if !is_unclaimed && last.held.is_some() => "claimed",
        () if waits || own_is_live => "given",
        () => last.refusal(now),
    };
    let answer = stage.ceremony.claim_identity(&agent.claim_token, None, None).await;
    assert_eq!(name_of(&answer), expected, "{context}");
    let Ok(claiming) = answer else { return };
    assert_eq!(claiming.registration, agent.requests[0].id, "{context}");
    assert!(claiming.claim_token.is_none() && claiming.identified.is_none(), "{context}");
    if waits {
        let code = claiming.user_code.as_ref().map(|code| code.as_str().to_owned());
        assert_eq!((&claiming.authorization.id, &code), (&agent.last().id, &agent.last().user_code), "{context}");
    } else {
        assert_eq!(claiming.user_code.is_some(), stage.codes != Codes::ReadBack, "{context}");
        agent.requests.push(Model::of(&claiming, now));
    }
}

async fn approve(stage: &Stage, model: &mut Model, name: &str, scopes: &'static str, shown: Shown, context: &str) {
    let now = stage.now();
    let code = match shown {
        Shown::Right => model.user_code.clone(),
        Shown::Wrong => Some(wrong(model.user_code.as_ref())),
        Shown::Nothing => None,
    };
    let mut approved = Approve::scopes(ScopeSet::parse(scopes).unwrap());
    approved.user_code = code;
    let signed_in = human(name);
    let approver = Approver::with_secret(&signed_in, name);
    let decided = stage.ceremony.decide(&model.id, approver, Decision::Approve(approved)).await;
    let is_live_code = model.read_back.as_ref().is_some_and(|(_, end)| now < *end);
    // R122: the human typed the agent's code, or their page shows one to tell it.
    let (is_read, is_typed) = (stage.codes != Codes::Typed, stage.codes != Codes::ReadBack);
    let expected = match model.state(now) {
        _ if !model.is_of(name) => false,
        State::Pending if !stage.is_active(account(name).as_str()) => false,
        State::Pending if is_typed && shown == Shown::Right => {
            model.typed = true;
            true
        }
        State::Pending if is_typed && shown == Shown::Wrong => {
            model.fail(now);
            false
        }
        State::Pending => is_read,
        State::Approved => model.granted == scopes,
        _ => false,
    };
    assert_eq!(decided.is_ok(), expected, "{context}");
    let Ok(decided) = decided else { return };
    let code = decided.code.map(|code| match code {
        HandedOut::ReadBack(code) => code.as_str().to_owned(),
        other => panic!("{other:?}"),
    });
    if model.state == State::Approved {
        let again = model.read_back.as_ref().filter(|_| is_live_code && model.held.is_none());
        assert_eq!(code.as_ref(), again.map(|(code, _)| code), "{context}");
        return;
    }
    assert_eq!(code.is_some(), !model.typed, "{context}");
    assert!(code.is_none() || code != model.user_code, "no code is both, but for one in a million: {context}");
    (model.state, model.granted) = (State::Approved, scopes);
    model.read_back = code.map(|code| (code, model.expires_at));
}

async fn complete(stage: &Stage, agent: &mut Agent, is_right: bool, context: &str) {
    let (now, is_unclaimed) = (stage.now(), agent.is_unclaimed());
    // The page showed a code, or the human typed the agent's.
    let last = agent.last_mut();
    let shown = last.read_back.as_ref().map(|(code, _)| code);
    let proof = shown.or_else(|| last.user_code.as_ref().filter(|_| last.typed)).cloned();
    let code = if is_right { proof.clone().unwrap_or_default() } else { wrong(proof.as_ref()) };
    let answer = stage.ceremony.complete_identity(&agent.claim_token, &code).await;
    let last = agent.last_mut();
    let expected = match () {
        () if is_unclaimed || last.state(now) != State::Approved => last.refusal(now),
        () if is_right && proof.is_some() => agent.hand_over(stage).err().unwrap_or("given"),
        // Who has been claimed has nothing to guess any more.
        () if last.held.is_some() && !last.is_repeated(now) => "claimed",
        () => {
            last.fail(now);
            "wrong"
        }
    };
    assert_eq!(name_of(&answer), expected, "{context}");
    if let Ok(identified) = answer {
        agent.identified(stage, &identified, context);
    }
}

async fn redeem(stage: &Stage, agent: &mut Agent, context: &str) {
    // So that one session is older than another.
    stage.clock.advance(seconds(1));
    let (now, is_unclaimed) = (stage.now(), agent.is_unclaimed());
    let answer = stage.ceremony.redeem_identity(&agent.claim_token, None, &Redeemer::default()).await;
    let last = agent.last_mut();
    let proved = last.typed || last.held.is_some();
    let is_ready = !is_unclaimed && proved && last.state(now) == State::Approved;
    let expected = if is_ready { agent.hand_over(stage).err().unwrap_or("given") } else { last.refusal(now) };
    assert_eq!(name_of(&answer), expected, "{context}");
    let Ok((issued, identified)) = answer else { return };
    agent.identified(stage, &identified, context);
    let last = agent.last_mut();
    last.add(&issued, last.granted, now);
}

async fn exchange(stage: &Stage, model: &mut Model, age: usize, scopes: &[&str], context: &str) {
    stage.clock.advance(seconds(1));
    let now = stage.now();
    let Some((assertion, _)) = model.pair(age).cloned() else { return };
    let named: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let answer = stage.ceremony.exchange_assertion(&assertion, &named, None, &Redeemer::default()).await;
    let expected = match model.is_good(age, now) {
        false => "invalid",
        true if !scopes.iter().all(|scope| model.granted.contains(scope)) => "not granted",
        true if !stage.is_active(model.account.as_ref().unwrap()) => {
            model.end(now);
            "invalid"
        }
        true => "given",
    };
    assert_eq!(name_of(&answer), expected, "{context}");
    if let Ok(issued) = answer {
        let scopes = if scopes.is_empty() { model.granted.to_owned() } else { scopes.join(" ") };
        model.add(&issued, &scopes, now);
    }
}

async fn refresh(stage: &Stage, model: &mut Model, age: usize, context: &str) {
    let now = stage.now();
    let Some((_, Some(token))) = model.pair(age).cloned() else { return };
    let answer = stage.ceremony.refresh_identity(&token).await;
    let may_act = stage.is_active(model.account.as_ref().unwrap());
    // A used token that returns late ends the identity (R126).
    let is_answered = model.is_good(age, now) && (age > 0 || may_act);
    assert_eq!(name_of(&answer), if is_answered { "given" } else { "invalid" }, "{context}");
    match answer {
        Ok(identified) if age == 0 => model.hold(&identified, now),
        Ok(identified) => assert_eq!(Some(&pair_of(&identified)), model.pair(0), "the same answer: {context}"),
        Err(_) if model.state(now) == State::Approved => drop(model.end(now)),
        Err(_) => {}
    }
}

async fn revoke_session(stage: &Stage, model: &mut Model, name: &str, index: Index, context: &str) {
    if model.sessions.is_empty() {
        return;
    }
    let (now, number) = (stage.now(), index.index(model.sessions.len()));
    let ended = stage.ceremony.revoke_session(&account(name), &model.sessions[number].id).await.unwrap();
    let expected = match model.state(now) {
        _ if !model.is_of(name) => false,
        State::Approved => model.end(now) > 0,
        _ => !replace(&mut model.sessions[number].revoked, true),
    };
    assert_eq!(ended, expected, "{context}");
}

async fn revoke_account(stage: &Stage, agents: &mut [Agent], account: &AccountId, context: &str) {
    let ended = stage.ceremony.revoke_all(account).await.unwrap();
    let all = agents.iter_mut().flat_map(|agent| &mut agent.requests);
    let own = all.filter(|model| model.account.as_deref() == Some(account.as_str()));
    let expected: usize = own.map(|model| model.end(stage.now())).sum();
    // Other traces leave sessions of the same humans behind.
    assert!(ended >= expected, "{ended} of {expected}: {context}");
}

const TRACES: u32 = 150;

/// Each store with as many traces as it can do in the time.
macro_rules! on_each_store {
    ($($(#[$attribute:meta])* $store:ident: $fresh:expr, $traces:expr;)*) => {$(
        mod $store {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r122_r124_r125_r126_r127_random_traces_agree_with_the_model() {
                let (store, _place) = $fresh.await;
                for codes in [Codes::Both, Codes::Typed, Codes::ReadBack] {
                    let stage = Stage::on(store.clone(), codes);
                    property($traces, trace(), async |turns| run(&stage, turns).await);
                }
            }
        }
    )*};
}

on_each_store! {
    memory: async { (MemoryStore::new(), ()) }, TRACES;
    sqlite_file: TempFile::fresh(), TRACES / 3;
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    postgres_server: Schema::fresh(), TRACES / 10;
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    redis_server: Prefix::fresh(), TRACES / 3;
}
