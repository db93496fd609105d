//! A call whose future is dropped leaves nothing, or the whole change. Repeating the call waits for work in progress,
//! and so shows which.

use std::{
    future::{Future, poll_fn},
    task::Poll,
    time::Duration,
};

use super::fixtures::{
    LIFE, NO_CAPS, account, after, approved, authorization, find, flow, is_live, listed, lookup, opened, rotation,
    scopes, session, session_of, with_lookup,
};
use crate::{
    store::{AuthorizationKey, CeremonyStore, Creation, RevokeTarget},
    types::{
        authorization::{Approval, State, Transition},
        session::RevokedBy,
    },
};

/// An upper bound on the polls of any call.
const MOST_POLLS: usize = 200;

/// Polls `future` at most `polls` times and drops it. If `hastily`, it does not wait for a wake-up before the drop.
pub(super) async fn dropped_after<F: Future>(future: F, polls: usize, hastily: bool) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 && hastily => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drops a call at every possible point. `check` returns whether the call had completed.
pub(super) async fn at_every_point(check: impl AsyncFn(usize, bool) -> bool) {
    for hastily in [false, true] {
        let mut ended = false;
        for polls in 0..MOST_POLLS {
            ended = check(polls, hastily).await;
            if ended {
                break;
            }
        }
        assert!(ended, "with enough polls the call ends");
    }
}

pub async fn r93_a_dropped_redemption_is_whole_or_nothing(store: impl CeremonyStore) {
    at_every_point(async |polls, hastily| {
        let approved = approved(&store, "alice").await;
        let new = session_of(&approved, "alice");
        let before = listed(&store, "alice").await.len();
        let outcome = dropped_after(store.redeem(&new, after(2)), polls, hastily).await;
        let again = store.redeem(&new, after(2)).await.unwrap();
        assert!(outcome.is_none_or(|first| first.unwrap() != again), "what was acknowledged is kept");
        assert!(is_live(&store, &new).await, "redeemed means that there is a session");
        assert_eq!(find(&store, &approved).await.state_at(after(2)), State::Redeemed);
        assert_eq!(listed(&store, "alice").await.len(), before + 1);
        !again
    })
    .await;
}

pub async fn r93_a_dropped_creation_is_whole_or_nothing(store: impl CeremonyStore) {
    at_every_point(async |polls, hastily| {
        let new = with_lookup(&authorization());
        let outcome = dropped_after(store.create_authorization(&new, NO_CAPS), polls, hastily).await;
        let again = store.create_authorization(&new, NO_CAPS).await.unwrap();
        assert!(outcome.is_none() || again == Creation::Conflict);
        let key = AuthorizationKey::Lookup(new.lookups[0]);
        assert_eq!(store.find_authorization(&key).await.unwrap(), Some(new.request));
        again == Creation::Conflict
    })
    .await;
}

pub async fn r82_r93_a_dropped_revocation_is_whole_or_nothing_and_can_be_made_again(store: impl CeremonyStore) {
    at_every_point(async |polls, hastily| {
        let name = format!("alice-{polls}-{hastily}");
        let sessions = [session(&store, &name).await, session(&store, &name).await];
        let waiting = approved(&store, &name).await;
        let target = RevokeTarget::Account(account(&name).id);
        let outcome = dropped_after(store.revoke(&target, RevokedBy::Human, after(3)), polls, hastily).await;
        let again = store.revoke(&target, RevokedBy::Human, after(3)).await.unwrap();
        assert!(again.is_empty() || again.len() == 2, "all or nothing: {again:?}");
        assert!(outcome.is_none() || again.is_empty(), "what was acknowledged is kept");
        for session in &sessions {
            assert!(!is_live(&store, session).await);
        }
        assert_eq!(find(&store, &waiting).await.state_at(after(LIFE - 1)), State::Revoked);
        again.is_empty()
    })
    .await;
}

pub async fn r93_a_dropped_approval_is_whole_or_nothing(store: impl CeremonyStore) {
    at_every_point(async |polls, hastily| {
        let opened = opened(&store, "alice").await;
        let mut approval = Approval::new(account("alice").id, scopes("a"), flow(2), after(LIFE));
        approval.lookups = vec![lookup()];
        let key = AuthorizationKey::Lookup(approval.lookups[0]);
        let approve = Transition::Approve(approval);
        let outcome = dropped_after(store.transition(&opened.id, &approve, after(1)), polls, hastily).await;
        let again = store.transition(&opened.id, &approve, after(1)).await.unwrap();
        assert!(outcome.is_none_or(|first| first.unwrap() != again), "what was acknowledged is kept");
        let found = store.find_authorization(&key).await.unwrap().unwrap();
        assert_eq!((found.id, found.flow), (opened.id, flow(2)));
        !again
    })
    .await;
}

pub async fn r93_a_dropped_deletion_of_an_account_is_whole_or_nothing(store: impl CeremonyStore) {
    at_every_point(async |polls, hastily| {
        let name = format!("alice-{polls}-{hastily}");
        let (one, waiting) = (session(&store, &name).await, approved(&store, &name).await);
        let account = account(&name).id;
        let outcome = dropped_after(store.forget_account(&account, 10), polls, hastily).await;
        let key = AuthorizationKey::Id(waiting.id);
        // What was dropped may still be under way, so that the two reads see different states.
        let mut is_there = false;
        let mut is_whole = false;
        for _ in 0..200 {
            // A cache may show the session until its staleness ends, since nobody was told that it is deleted.
            let live = !listed(&store, &name).await.is_empty();
            is_there = store.find_authorization(&key).await.unwrap().is_some();
            is_whole = live == is_there;
            if is_whole {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(is_whole, "all or nothing");
        assert!(outcome.is_none() || !is_there, "what was acknowledged is done");
        store.forget_account(&account, 10).await.unwrap();
        assert!(!is_live(&store, &one).await && listed(&store, &name).await.is_empty());
        !is_there
    })
    .await;
}

pub async fn r93_a_dropped_refresh_is_whole_or_nothing(store: impl CeremonyStore) {
    at_every_point(async |polls, hastily| {
        let first = session(&store, "alice").await;
        let new = rotation(first.refresh, 3);
        let outcome = dropped_after(store.rotate(&new, after(3)), polls, hastily).await;
        let again = store.rotate(&new, after(3)).await.unwrap().is_some();
        assert!(outcome.is_none() || !again, "what was acknowledged is kept");
        assert!(!is_live(&store, &first).await);
        assert!(store.find_session(&new.access).await.unwrap().is_some());
        assert_eq!(store.find_refresh(&new.refresh).await.unwrap().unwrap().age, 0);
        !again
    })
    .await;
}
