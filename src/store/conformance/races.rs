//! The behaviour of concurrent calls.

use std::{future::Future, sync::Arc};

use crate::{
    store::{AuthorizationKey, CeremonyStore, Creation, PendingCaps, RevokeTarget},
    types::{
        authorization::{AuthorizationRequest, Decision, MAX_FAILED_ATTEMPTS, Redemption, State, Transition},
        session::{RevokedBy, Use},
    },
};
use tokio::{sync::Barrier, task::JoinSet};

use super::fixtures::{
    LIFE, NO_CAPS, account, after, approve, approved, authorization, deny, find, is_live, listed, lookup, open, opened,
    release, rotation, scopes, session, session_of, with_lookup,
};

pub(super) const RACERS: usize = 64;

/// Starts the futures together and returns their outputs.
pub(super) async fn race<F>(racers: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let racers: Vec<F> = racers.into_iter().collect();
    let line = Arc::new(Barrier::new(racers.len()));
    let mut running = JoinSet::new();
    for racer in racers {
        let line = Arc::clone(&line);
        running.spawn(async move {
            line.wait().await;
            racer.await
        });
    }
    running.join_all().await
}

pub(super) fn winners(answers: &[bool]) -> usize {
    answers.iter().filter(|won| **won).count()
}

pub async fn r45_one_winner_of_64_racing_redeems(store: impl CeremonyStore + Clone) {
    for _ in 0..5 {
        let before = listed(&store, "alice").await.len();
        let approved = approved(&store, "alice").await;
        let answers = race((0..RACERS).map(|_| {
            let (store, new) = (store.clone(), session_of(&approved, "alice"));
            async move { store.redeem(&new, after(2)).await.unwrap() && is_live(&store, &new).await }
        }));
        assert_eq!(winners(&answers.await), 1);
        assert_eq!(listed(&store, "alice").await.len(), before + 1);
        assert!(matches!(find(&store, &approved).await.decision, Decision::Redeemed(_)));
    }
}

pub async fn r45_one_winner_of_64_racing_redeems_of_one_session(store: impl CeremonyStore + Clone) {
    let approved = approved(&store, "alice").await;
    let new = session_of(&approved, "alice");
    let answers = race((0..RACERS).map(|_| {
        let (store, new) = (store.clone(), new.clone());
        async move { store.redeem(&new, after(2)).await.unwrap() }
    }));
    assert_eq!(winners(&answers.await), 1);
    assert_eq!(listed(&store, "alice").await, [new.session]);
}

pub async fn r45_one_winner_of_racing_approvals_and_denials(store: impl CeremonyStore + Clone) {
    for _ in 0..5 {
        let opened = opened(&store, "alice").await;
        let answers = race((0..RACERS).map(|racer| {
            let (store, id) = (store.clone(), opened.id.clone());
            let approves = racer % 2 == 0;
            let transition = if approves { approve("alice", "a") } else { deny("alice") };
            async move { (approves, store.transition(&id, &transition, after(1)).await.unwrap()) }
        }));
        let won: Vec<bool> = answers.await.into_iter().filter_map(|(approves, won)| won.then_some(approves)).collect();
        assert_eq!(won.len(), 1);
        let expected = if won[0] { State::Approved } else { State::Denied };
        assert_eq!(find(&store, &opened).await.state_at(after(1)), expected);
    }
}

/// Of a release, an opening by another account and an approval, the approval is by the account that is bound.
pub async fn a6_racing_releases_and_openings_leave_one_account_bound(store: impl CeremonyStore + Clone) {
    for _ in 0..5 {
        let opened = opened(&store, "alice").await;
        let answers = race((0..RACERS).map(|racer| {
            let (store, id) = (store.clone(), opened.id.clone());
            let transition = match racer % 4 {
                0 => release("alice"),
                1 => open("bob"),
                2 => approve("alice", "a"),
                _ => approve("bob", "b"),
            };
            async move { (racer % 4, store.transition(&id, &transition, after(1)).await.unwrap()) }
        }));
        let answers = answers.await;
        let won = |kind| answers.iter().filter(|(of, won)| *of == kind && *won).count();
        assert!(won(0) <= 1 && won(2) + won(3) <= 1, "{answers:?}");
        let found = find(&store, &opened).await;
        let bound = found.account.map(|account| account.id.to_string());
        let expected = match (won(2), won(3), won(0), won(1)) {
            (1, ..) => (Some("alice".to_owned()), Decision::Approved(scopes("a"))),
            (_, 1, ..) => (Some("bob".to_owned()), Decision::Approved(scopes("b"))),
            (_, _, 1, 0) => (None, Decision::Undecided),
            (_, _, 1, _) => (Some("bob".to_owned()), Decision::Undecided),
            _ => (Some("alice".to_owned()), Decision::Undecided),
        };
        assert_eq!((bound, found.decision), expected, "{answers:?}");
    }
}

/// An authorization request is either redeemed and its session then ended, or revoked and never redeemed. Once the
/// revocation returns, nothing that was approved before is live or can be redeemed.
pub async fn r45_after_an_account_is_revoked_nothing_approved_before_is_live(store: impl CeremonyStore + Clone) {
    for _ in 0..5 {
        let mut sessions = Vec::new();
        for _ in 0..RACERS / 4 {
            sessions.push(session_of(&approved(&store, "alice").await, "alice"));
        }
        let revoker = store.clone();
        let target = RevokeTarget::Account(account("alice").id);
        let revoking = async move { revoker.revoke(&target, RevokedBy::Human, after(2)).await.unwrap() };
        let redeeming = sessions.clone().into_iter().map(|new| {
            let store = store.clone();
            async move { store.redeem(&new, after(2)).await.unwrap().then(|| new.session.session.id.clone()) }
        });
        let (redeemed, mut ended) = tokio::join!(race(redeeming), tokio::spawn(revoking));
        let mut redeemed: Vec<_> = redeemed.into_iter().flatten().collect();
        redeemed.sort();
        ended.as_mut().unwrap().sort();
        assert_eq!(ended.unwrap(), redeemed, "every session that came to be was ended");
        for new in &sessions {
            assert!(!is_live(&store, new).await);
            assert!(!store.redeem(new, after(3)).await.unwrap());
            let key = AuthorizationKey::Id(new.session.authorization.clone());
            let authorization = store.find_authorization(&key).await.unwrap().unwrap();
            let exchanged = matches!(authorization.decision, Decision::Redeemed(_));
            assert_eq!(exchanged, redeemed.contains(&new.session.session.id));
            assert!(exchanged || authorization.decision == Decision::Revoked);
        }
        assert!(listed(&store, "alice").await.iter().all(|session| session.revoked.is_some()));
    }
}

pub async fn r45_after_an_account_is_forgotten_nothing_approved_before_is_live(store: impl CeremonyStore + Clone) {
    for _ in 0..5 {
        let mut sessions = Vec::new();
        for _ in 0..RACERS / 4 {
            sessions.push(session_of(&approved(&store, "alice").await, "alice"));
        }
        let (forgetter, alice) = (store.clone(), account("alice").id);
        let forgetting = async move { while forgetter.forget_account(&alice, 100).await.unwrap() {} };
        let redeeming = sessions.clone().into_iter().map(|new| {
            let store = store.clone();
            async move { store.redeem(&new, after(2)).await.unwrap() }
        });
        let (_, forgotten) = tokio::join!(race(redeeming), tokio::spawn(forgetting));
        forgotten.unwrap();
        for new in &sessions {
            assert!(!is_live(&store, new).await);
            assert!(!store.redeem(new, after(3)).await.unwrap());
        }
        assert!(listed(&store, "alice").await.is_empty());
        assert!(store.list_authorizations(&account("alice").id, None, 10).await.unwrap().is_empty());
    }
}

/// Each redemption of a repeatable request locks it, so that no redemption escapes a revocation.
pub async fn r45_after_an_account_is_revoked_no_repeated_redemption_is_live(store: impl CeremonyStore + Clone) {
    for _ in 0..5 {
        let approved = approved(&store, "alice").await;
        let sessions: Vec<_> = (0..RACERS / 4).map(|_| session_of(&approved, "alice")).collect();
        let revoker = store.clone();
        let target = RevokeTarget::Account(account("alice").id);
        let revoking = async move { revoker.revoke(&target, RevokedBy::Human, after(2)).await.unwrap().len() };
        let redeeming = sessions.clone().into_iter().map(|mut new| {
            let store = store.clone();
            new.redemption = Redemption::Again;
            async move { store.redeem(&new, after(2)).await.unwrap() }
        });
        let (redeemed, ended) = tokio::join!(race(redeeming), tokio::spawn(revoking));
        assert_eq!(winners(&redeemed), ended.unwrap(), "every session that came to be was ended");
        for new in &sessions {
            assert!(!is_live(&store, new).await);
        }
        assert_eq!(find(&store, &approved).await.decision, Decision::Revoked);
    }
}

pub async fn r42_racing_requests_stay_within_the_cap_of_their_source(store: impl CeremonyStore + Clone) {
    let caps = PendingCaps { per_source: Some(10), total: None };
    for ipv6 in [false, true] {
        let answers = race((0..RACERS).map(|racer| {
            let store = store.clone();
            let mut new = authorization();
            // Four subnets of one /56 share forty places, and no subnet has more than ten.
            let subnet = u16::try_from(racer % 8).unwrap();
            let one_of_eight = std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, subnet, 0, 0, 0, 1);
            let one_of_two = [192, 0, 2, u8::from(racer % 2 == 0)];
            new.client.address = Some(if ipv6 { one_of_eight.into() } else { one_of_two.into() });
            let new = with_lookup(&new);
            async move { store.create_authorization(&new, caps).await.unwrap() }
        }));
        let answers = answers.await;
        let count = |wanted: &Creation| answers.iter().filter(|creation| *creation == wanted).count();
        let created = if ipv6 { 40 } else { 20 };
        assert_eq!((count(&Creation::Created), count(&Creation::SourceFull)), (created, RACERS - created));
    }
}

/// Requests that are created at the same time may exceed the total cap together, until the next one is created.
pub async fn e14_after_a_race_the_next_request_restores_the_total_cap(store: impl CeremonyStore + Clone) {
    let caps = PendingCaps { per_source: None, total: Some(15) };
    let expiring = |millis: usize| {
        let expires_at = after(LIFE + i64::try_from(millis).unwrap());
        with_lookup(&AuthorizationRequest { expires_at, ..authorization() })
    };
    let all: Vec<_> = (0..RACERS).map(expiring).collect();
    let answers = race(all.clone().into_iter().map(|new| {
        let store = store.clone();
        async move { store.create_authorization(&new, caps).await.unwrap() }
    }));
    for answer in answers.await {
        assert!(matches!(answer, Creation::Created | Creation::Displaced(_)), "{answer:?}");
    }
    // Each of these lets several give way.
    let mut later = Vec::new();
    for millis in 0..RACERS / 8 {
        let new = expiring(RACERS + millis);
        store.create_authorization(&new, caps).await.unwrap();
        later.push(new);
    }
    let mut pending = 0;
    for new in all.iter().chain(&later) {
        pending += usize::from(find(&store, &new.request).await.state_at(after(1)) == State::Pending);
    }
    assert!(pending <= 15, "{pending}");
}

pub async fn e14_racing_requests_displace_no_request_twice_and_none_that_is_opened(store: impl CeremonyStore + Clone) {
    const OLD: usize = 16;
    let caps = PendingCaps { per_source: None, total: Some(u32::try_from(OLD).unwrap()) };
    let old: Vec<_> = (0..OLD).map(|_| with_lookup(&authorization())).collect();
    for new in &old {
        assert_eq!(store.create_authorization(new, caps).await.unwrap(), Creation::Created);
    }
    let (opener, to_open) = (store.clone(), old.clone());
    let opening = tokio::spawn(async move {
        let mut opened = Vec::new();
        for new in to_open.iter().rev() {
            if opener.transition(&new.request.id, &open("alice"), after(1)).await.unwrap() {
                opened.push(new.request.clone());
            }
        }
        opened
    });
    let creating = race((0..RACERS).map(|_| {
        let (store, new) = (store.clone(), authorization());
        let new = with_lookup(&AuthorizationRequest { created_at: after(1), expires_at: after(LIFE + 1), ..new });
        async move { store.create_authorization(&new, caps).await.unwrap() }
    }));
    let (answers, opened) = tokio::join!(creating, opening);
    let (opened, mut displaced) = (opened.unwrap(), Vec::new());
    for answer in answers {
        if let Creation::Displaced(ids) = answer {
            displaced.extend(ids);
        }
    }
    let count = displaced.len();
    displaced.sort();
    displaced.dedup();
    assert_eq!(displaced.len(), count, "each gives way once");
    for request in opened {
        assert!(!displaced.contains(&request.id));
        assert_eq!(find(&store, &request).await.state_at(after(2)), State::Pending);
    }
}

pub async fn r98_one_winner_of_64_racing_creations(store: impl CeremonyStore + Clone) {
    for same_id in [true, false] {
        let first = with_lookup(&authorization());
        let answers = race((0..RACERS).map(|racer| {
            let (store, mut new) = (store.clone(), first.clone());
            match (racer % 2, same_id) {
                (0, true) => new.lookups = vec![lookup()],
                (0, false) => new.request = authorization(),
                _ => {}
            }
            async move { store.create_authorization(&new, NO_CAPS).await.unwrap() }
        }));
        let answers = answers.await;
        assert_eq!(answers.iter().filter(|creation| **creation == Creation::Created).count(), 1);
        assert_eq!(answers.iter().filter(|creation| **creation == Creation::Conflict).count(), RACERS - 1);
    }
}

pub async fn r49_racing_wrong_codes_are_counted_up_to_the_lock(store: impl CeremonyStore + Clone) {
    let new = approved(&store, "alice").await;
    let answers = race((0..RACERS).map(|_| {
        let (store, id) = (store.clone(), new.id.clone());
        async move { store.transition(&id, &Transition::FailedAttempt, after(1)).await.unwrap() }
    }));
    assert_eq!(winners(&answers.await), MAX_FAILED_ATTEMPTS as usize);
    assert_eq!(find(&store, &new).await.failed_attempts, MAX_FAILED_ATTEMPTS);
}

pub async fn r75_one_winner_of_racing_refreshes(store: impl CeremonyStore + Clone) {
    let first = session(&store, "alice").await;
    let mut current = first.refresh;
    for step in 0..5 {
        let answers = race((0..RACERS).map(|_| {
            let (store, new) = (store.clone(), rotation(current, step));
            async move { store.rotate(&new, after(3)).await.unwrap().map(|_| new) }
        }));
        let won: Vec<_> = answers.await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        assert!(store.find_session(&won[0].access).await.unwrap().is_some());
        let known = store.find_refresh(&current).await.unwrap().unwrap();
        assert_eq!(known.age, 1, "one generation more");
        current = won[0].refresh;
    }
}

pub async fn r76_after_a_revocation_no_racing_refresh_is_live(store: impl CeremonyStore + Clone) {
    for _ in 0..20 {
        let first = session(&store, "alice").await;
        let target = RevokeTarget::Refresh(first.refresh);
        let rotations: Vec<_> = (0..8).map(|step| rotation(first.refresh, step)).collect();
        let racers = (0..9).map(|racer| {
            let (store, target, new) = (store.clone(), target.clone(), rotations.get(racer).cloned());
            async move {
                match new {
                    Some(new) => drop(store.rotate(&new, after(3)).await.unwrap().is_some()),
                    None => drop(store.revoke(&target, RevokedBy::Reuse, after(3)).await.unwrap()),
                }
            }
        });
        race(racers).await;
        assert!(!is_live(&store, &first).await);
        for new in rotations {
            assert!(store.find_session(&new.access).await.unwrap().is_none());
            assert!(store.rotate(&rotation(new.refresh, 9), after(4)).await.unwrap().is_none());
        }
    }
}

pub async fn r45_a_session_is_ended_by_one_of_64_racing_revocations(store: impl CeremonyStore + Clone) {
    let new = session(&store, "alice").await;
    let (id, access) = (new.session.session.id.clone(), new.session.session.access);
    let answers = race((0..RACERS).map(|racer| {
        let store = store.clone();
        let target = match racer % 4 {
            0 => RevokeTarget::Access(access),
            1 => RevokeTarget::Refresh(new.refresh),
            2 => RevokeTarget::Session(id.clone(), account("alice").id),
            _ => RevokeTarget::Account(account("alice").id),
        };
        async move {
            let ended = store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap();
            assert_eq!(store.find_session(&access).await.unwrap(), None, "once any revocation answered");
            ended
        }
    }));
    assert_eq!(answers.await.concat(), [id]);
    let waiting = approved(&store, "alice").await;
    let taken_back = race((0..RACERS).map(|_| {
        let (store, id) = (store.clone(), waiting.id.clone());
        async move { store.transition(&id, &Transition::Revoke, after(3)).await.unwrap() }
    }));
    assert_eq!(winners(&taken_back.await), 1);
}

pub async fn racing_uses_and_revocations_do_not_wait_for_each_other_in_a_circle(store: impl CeremonyStore + Clone) {
    for _ in 0..5 {
        let mut sessions = Vec::new();
        for _ in 0..16 {
            sessions.push(session(&store, "alice").await);
        }
        let racers = (0..RACERS).map(|racer| {
            let (store, mut ids): (_, Vec<_>) =
                (store.clone(), sessions.iter().map(|new| new.session.session.id.clone()).collect());
            async move {
                if racer % 8 == 0 {
                    let target = RevokeTarget::Account(account("alice").id);
                    return store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap().len();
                }
                if racer % 2 == 0 {
                    ids.reverse();
                }
                let last = Use::new(after(10 + i64::try_from(racer).unwrap()), None);
                let uses: Vec<_> = ids.into_iter().map(|id| (id, last)).collect();
                store.record_uses(&uses, after(99)).await.unwrap();
                0
            }
        });
        let ended: usize = race(racers).await.into_iter().sum();
        assert_eq!(ended, sessions.len());
    }
}
