//! From one store to another, and nothing is lost.

use tower_agent_auth::{
    store::{
        AuthorizationKey, AuthorizationStore, Creation, PendingCaps, Portable, RefreshTokenStore, RevokeTarget,
        SessionRecordStore, SessionStore, StoreErrorKind,
        conformance::fixtures::{
            account, after, apply, approve, approved, authorization, create, find, is_live, listed, open, rotation,
            session, session_of, session_with, with_lookup,
        },
        transfer,
    },
    types::{
        authorization::{NewAuthorizationRequest, Transition},
        session::RevokedBy,
    },
};

use crate::{
    nodes::Everything,
    places::{Place, Prefix, Schema, TempFile},
};

async fn everything_is_there_and_goes_on<From: Place, To: Place>()
where
    From::Store: Portable,
    To::Store: Portable,
{
    let (from, to) = (From::new(), To::new());
    let (old, new) = (from.open().await, to.open().await);
    let everything = Everything::keep(&old).await;
    let first = session(&old, "carol").await;
    let (second, mut third) = (rotation(first.refresh, 3), rotation(first.refresh, 4));
    assert!(old.rotate(&second, after(3)).await.unwrap().is_some());
    third.from = second.refresh;
    assert!(old.rotate(&third, after(4)).await.unwrap().is_some());
    let mut requests = Vec::new();
    for approves in [false, true] {
        let new = create(&old, &authorization()).await;
        assert!(apply(&old, &new.request, open("dave")).await);
        if approves {
            assert!(apply(&old, &new.request, approve("dave", "a")).await);
        }
        requests.push((find(&old, &new.request).await, new.lookups[0]));
    }
    let waiting = approved(&old, "erin").await;
    for number in 0..600 {
        session(&old, &format!("account-{number}")).await;
    }

    let sessions = 603;
    let transferred = transfer(&old, &new).await.unwrap();
    assert_eq!(transferred.sessions, sessions);
    assert!(transferred.authorizations > sessions);
    let again = transfer(&old, &new).await.unwrap();
    assert_eq!((again.authorizations, again.sessions), (0, 0));

    everything.check(&new).await;
    for name in ["alice", "bob", "carol", "account-7"] {
        assert_eq!(listed(&new, name).await, listed(&old, name).await, "{name}");
    }
    for (request, lookup) in &requests {
        assert_eq!(find(&new, request).await, *request);
        let found = new.find_authorization(&AuthorizationKey::Lookup(*lookup)).await.unwrap();
        assert_eq!(found.as_ref(), Some(request));
    }
    for token in [first.refresh, second.refresh, third.refresh] {
        let (there, here) =
            (new.find_refresh(&token).await.unwrap().unwrap(), old.find_refresh(&token).await.unwrap().unwrap());
        assert_eq!((there.session, there.age, there.last), (here.session, here.age, here.last));
    }
    // And all of it goes on.
    assert!(new.find_session(&third.access).await.unwrap().is_some());
    assert!(new.find_session(&second.access).await.unwrap().is_none());
    assert!(new.rotate(&rotation(third.refresh, 5), after(5)).await.unwrap().is_some());
    assert!(new.redeem(&session_of(&waiting, "erin"), after(5)).await.unwrap());
    let later = session(&new, "carol").await;
    assert_eq!(listed(&new, "carol").await[0], later.session, "the newest is first");
    let taken_back = approved(&new, "frank").await;
    for name in ["carol", "dave", "frank"] {
        new.revoke(&RevokeTarget::Account(account(name).id), RevokedBy::Human, after(6)).await.unwrap();
    }
    assert!(listed(&new, "carol").await.iter().all(|session| session.revoked.is_some()));
    assert!(!new.redeem(&session_of(&taken_back, "frank"), after(7)).await.unwrap());
    for (request, _) in &requests {
        assert!(!apply(&new, request, Transition::Revoke).await, "what was approved is revoked");
    }
    // Those that are pending count.
    let mut caps = PendingCaps::NONE;
    caps.per_source = Some(1);
    assert_eq!(new.create_authorization(&with_lookup(&authorization()), caps).await.unwrap(), Creation::SourceFull);
}

async fn what_is_taken_by_another_is_a_conflict<From: Place, To: Place>()
where
    From::Store: Portable,
    To::Store: Portable,
{
    let (from, to) = (From::new(), To::new());
    let (old, new) = (from.open().await, to.open().await);
    let asking = create(&old, &authorization()).await;
    let clash = NewAuthorizationRequest::new(authorization(), asking.lookups);
    assert_eq!(new.create_authorization(&clash, PendingCaps::NONE).await.unwrap(), Creation::Created);
    assert_eq!(transfer(&old, &new).await.unwrap_err().kind(), StoreErrorKind::Conflict);
    let kept = session(&old, "alice").await;
    let clash = session_with(&approved(&new, "bob").await, "bob", kept.session.session.access);
    assert!(new.redeem(&clash, after(2)).await.unwrap());
    let [(_, kept)] = old.sessions_after(0, 9).await.unwrap().try_into().unwrap();
    assert_eq!(new.import_session(&kept).await.unwrap_err().kind(), StoreErrorKind::Conflict);
    assert!(is_live(&new, &clash).await);
    assert_eq!(listed(&new, "alice").await, []);
}

macro_rules! each_way {
    ($($name:ident: $from:ty => $to:ty;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL and Redis: `cargo xtask servers` starts both"]
            async fn r100_everything_is_there_and_goes_on() {
                everything_is_there_and_goes_on::<$from, $to>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL and Redis: `cargo xtask servers` starts both"]
            async fn r98_what_is_taken_by_another_is_a_conflict() {
                what_is_taken_by_another_is_a_conflict::<$from, $to>().await;
            }
        }
    )*};
}

each_way! {
    sqlite_to_postgres: TempFile => Schema;
    postgres_to_redis: Schema => Prefix;
    redis_to_sqlite: Prefix => TempFile;
    redis_to_redis: Prefix => Prefix;
}
