//! The behaviour of each call in isolation.

use std::{net::IpAddr, sync::Arc};

use crate::{
    store::{AuthorizationKey, CLOCK_SKEW, CeremonyStore, Creation, Cutoff, PendingCaps, RevokeTarget, StoreErrorKind},
    types::{
        authorization::{
            Account, Approval, AuthorizationRequest, Decision, MAX_FAILED_ATTEMPTS, NewAuthorizationRequest,
            Redemption, Release, State, Transition,
        },
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, SessionId},
        random::OsRandom,
        scope::ScopeSet,
        secret::{Access, Digest, Refresh},
        session::{NewSession, Revocation, RevokedBy, Rotation, SessionRecord, Use},
    },
};

use super::fixtures::{
    LASTING, LIFE, NO_CAPS, account, after, apply, approve, approve_until, approved, authorization, authorization_from,
    checked, create, deny, digest, find, flow, is_live, listed, longest_client_id, lookup, open, open_as, opened,
    release, renew, rotation, scopes, session, session_of, session_with, text, with_lookup,
};

pub async fn an_authorization_request_is_found_by_id_and_by_each_lookup(store: impl CeremonyStore) {
    let (mut one, other) = (with_lookup(&authorization()), with_lookup(&authorization_from("2001:db8::1")));
    one.lookups.push(lookup());
    for new in [&one, &other] {
        assert_eq!(creation(&store, new, NO_CAPS).await, Creation::Created);
    }
    for new in [&one, &other] {
        let lookups = new.lookups.iter().map(|lookup| AuthorizationKey::Lookup(*lookup));
        for key in lookups.chain([AuthorizationKey::Id(new.request.id.clone())]) {
            assert_eq!(store.find_authorization(&key).await.unwrap().as_ref(), Some(&new.request));
        }
    }
    for key in [AuthorizationKey::Lookup(lookup()), AuthorizationKey::Id(authorization().id)] {
        assert_eq!(store.find_authorization(&key).await.unwrap(), None);
    }
    assert_eq!(store.find_session(&digest::<Access>()).await.unwrap(), None);
}

pub async fn r91_what_is_unknown_is_an_answer_and_no_error(store: impl CeremonyStore) {
    let unknown = authorization();
    let never = session_of(&unknown, "alice");
    let id = AuthorizationKey::Id(unknown.id.clone());
    assert_eq!(store.find_authorization(&id).await.unwrap(), None);
    assert_eq!(store.find_authorization(&AuthorizationKey::Lookup(lookup())).await.unwrap(), None);
    assert_eq!(store.find_session(&never.session.session.access).await.unwrap(), None);
    assert_eq!(store.sessions_of(&unknown.id).await.unwrap(), []);
    assert_eq!(store.find_record(&never.session.session.id).await.unwrap(), None);
    assert!(store.find_refresh(&never.refresh).await.unwrap().is_none());
    assert_eq!(store.list_approved(&account("alice").id, after(0), 9).await.unwrap(), []);
    assert_eq!(listed(&store, "alice").await, []);
    for transition in [
        open("alice"),
        release("alice"),
        approve("alice", "a"),
        deny("alice"),
        Transition::Revoke,
        Transition::FailedAttempt,
        renew(2),
    ] {
        assert!(!apply(&store, &unknown, transition).await);
    }
    assert!(!store.redeem(&never, after(1)).await.unwrap());
    assert_eq!(store.rotate(&rotation(never.refresh, 1), after(1)).await.unwrap(), None);
    for target in [
        RevokeTarget::Access(never.session.session.access),
        RevokeTarget::Refresh(never.refresh),
        RevokeTarget::Session(never.session.session.id.clone(), account("alice").id),
        RevokeTarget::Account(account("alice").id),
    ] {
        assert_eq!(revoke(&store, target).await, []);
    }
    let last = Use { at: after(1), address: None };
    store.record_uses(&[(never.session.session.id.clone(), last)], last.at).await.unwrap();
    assert!(!store.forget(&Cutoff::at(after(1)), 9).await.unwrap());
}

pub async fn r98_creating_what_exists_is_a_conflict_and_changes_nothing(store: impl CeremonyStore) {
    let kept = create(&store, &authorization()).await;
    assert!(apply(&store, &kept.request, open("alice")).await);
    let before = find(&store, &kept.request).await;
    let same_id = with_lookup(&AuthorizationRequest { id: kept.request.id.clone(), ..authorization() });
    let mut same_lookup = with_lookup(&authorization());
    same_lookup.lookups.extend(&kept.lookups);
    for clash in [&same_id, &same_lookup, &kept] {
        assert_eq!(creation(&store, clash, NO_CAPS).await, Creation::Conflict);
    }
    assert_eq!(find(&store, &kept.request).await, before);
    for lookup in [same_id.lookups[0], same_lookup.lookups[0]] {
        assert_eq!(store.find_authorization(&AuthorizationKey::Lookup(lookup)).await.unwrap(), None);
    }
    let id = AuthorizationKey::Id(same_lookup.request.id);
    assert_eq!(store.find_authorization(&id).await.unwrap(), None);
}

const TWO_PER_SOURCE: PendingCaps = PendingCaps { per_source: Some(2), total: None };
const TWO_IN_ALL: PendingCaps = PendingCaps { per_source: None, total: Some(2) };

async fn creation(store: &impl CeremonyStore, new: &NewAuthorizationRequest, caps: PendingCaps) -> Creation {
    store.create_authorization(new, caps).await.unwrap()
}

pub async fn r42_a_source_has_its_cap(store: impl CeremonyStore) {
    for _ in 0..2 {
        assert_eq!(creation(&store, &with_lookup(&authorization()), TWO_PER_SOURCE).await, Creation::Created);
    }
    let refused = authorization();
    assert_eq!(creation(&store, &with_lookup(&refused), TWO_PER_SOURCE).await, Creation::SourceFull);
    let key = AuthorizationKey::Id(refused.id);
    assert_eq!(store.find_authorization(&key).await.unwrap(), None);
    let mapped = authorization_from("::ffff:192.0.2.7");
    assert_eq!(creation(&store, &with_lookup(&mapped), TWO_PER_SOURCE).await, Creation::SourceFull);
    let other = authorization_from("192.0.2.8");
    assert_eq!(creation(&store, &with_lookup(&other), TWO_PER_SOURCE).await, Creation::Created);
}

pub async fn r42_an_ipv6_network_of_64_bits_counts_as_one_source(store: impl CeremonyStore) {
    for (address, expected) in [
        ("2001:db8:0:1::1", Creation::Created),
        ("2001:db8:0:1:ffff::1", Creation::Created),
        ("2001:db8:0:1::3", Creation::SourceFull),
        ("2001:db8:0:2::1", Creation::Created),
    ] {
        let authorization = authorization_from(address);
        assert_eq!(creation(&store, &with_lookup(&authorization), TWO_PER_SOURCE).await, expected, "{address}");
    }
}

/// A provider gives one customer up to a /48, so the wider networks have caps, too: four and sixteen times as large.
pub async fn e14_ipv6_networks_of_56_and_48_bits_have_larger_caps(store: impl CeremonyStore) {
    let caps = PendingCaps { per_source: Some(1), total: None };
    let create = async |address: &str| creation(&store, &with_lookup(&authorization_from(address)), caps).await;
    for subnet in 0..4 {
        assert_eq!(create(&format!("2001:db8:1:{subnet:x}::1")).await, Creation::Created, "{subnet}");
        assert_eq!(create(&format!("2001:db8:1:{subnet:x}::2")).await, Creation::SourceFull, "{subnet}");
    }
    for subnet in ["4", "ff", "80"] {
        assert_eq!(create(&format!("2001:db8:1:{subnet}::1")).await, Creation::SourceFull, "the /56 is full");
    }
    for subnet in 1..13 {
        assert_eq!(create(&format!("2001:db8:1:{subnet:x}00::1")).await, Creation::Created, "{subnet}");
    }
    for subnet in ["d00", "fff", "ffff", "7f00"] {
        assert_eq!(create(&format!("2001:db8:1:{subnet}::1")).await, Creation::SourceFull, "the /48 is full");
    }
    for neighbour in ["2001:db8:0:ffff::1", "2001:db8:2::1", "192.0.2.1"] {
        assert_eq!(create(neighbour).await, Creation::Created, "{neighbour}");
    }
    // An IPv4 address has no wider network.
    for host in 2..40 {
        assert_eq!(create(&format!("192.0.2.{host}")).await, Creation::Created);
    }
}

pub async fn r42_without_an_address_only_the_total_counts(store: impl CeremonyStore) {
    let caps = PendingCaps { per_source: Some(0), total: Some(3) };
    let mut first = None;
    for millis in 0..3 {
        let mut nameless = made(millis);
        nameless.client.address = None;
        assert_eq!(creation(&store, &with_lookup(&nameless), caps).await, Creation::Created);
        first.get_or_insert(nameless.id);
    }
    let mut nameless = made(3);
    nameless.client.address = None;
    assert_eq!(creation(&store, &with_lookup(&nameless), caps).await, Creation::Displaced(first.into_iter().collect()));
}

/// A new authorization request that is created `millis` after the start of the test.
fn made(millis: i64) -> AuthorizationRequest {
    AuthorizationRequest { created_at: after(millis), expires_at: after(millis + LIFE), ..authorization() }
}

pub async fn e14_at_the_cap_the_oldest_unopened_request_gives_way(store: impl CeremonyStore) {
    let all: Vec<_> = (0..5).map(|millis| with_lookup(&made(millis))).collect();
    for new in &all[..2] {
        assert_eq!(creation(&store, new, TWO_IN_ALL).await, Creation::Created);
    }
    for (old, new) in all.iter().zip(&all[2..]) {
        let gone = Creation::Displaced(vec![old.request.id.clone()]);
        assert_eq!(creation(&store, new, TWO_IN_ALL).await, gone);
        let at = new.request.created_at;
        let found = find(&store, &old.request).await;
        assert_eq!((found.state_at(at), found.expires_at), (State::Expired, at));
        // Its agent finds it, and learns that it has expired. No human can open it.
        let by_lookup = store.find_authorization(&AuthorizationKey::Lookup(old.lookups[0])).await.unwrap();
        assert_eq!(by_lookup, Some(found));
        assert!(!store.transition(&old.request.id, &open("alice"), at).await.unwrap());
    }
    for new in &all[3..] {
        assert_eq!(find(&store, &new.request).await, new.request, "the newest are as they were");
    }
    assert_eq!(creation(&store, &with_lookup(&made(6)), NO_CAPS).await, Creation::Created);
    // What is refused for another reason displaces nothing.
    let caps = PendingCaps { per_source: Some(1), total: Some(1) };
    assert_eq!(creation(&store, &with_lookup(&made(7)), caps).await, Creation::SourceFull);
    assert_eq!(creation(&store, &all[4], TWO_IN_ALL).await, Creation::Conflict);
    assert_eq!(find(&store, &all[4].request).await, all[4].request);
}

pub async fn e14_what_a_human_has_opened_never_gives_way(store: impl CeremonyStore) {
    let mut opened = Vec::new();
    let mut is_full = false;
    for millis in 0..8 {
        let new = with_lookup(&made(millis));
        match creation(&store, &new, TWO_IN_ALL).await {
            Creation::Created => {}
            Creation::Full => {
                is_full = true;
                let key = AuthorizationKey::Id(new.request.id);
                assert_eq!(store.find_authorization(&key).await.unwrap(), None);
                continue;
            }
            other => panic!("nothing is unopened: {other:?}"),
        }
        assert!(!is_full, "once it is full it stays so");
        assert!(store.transition(&new.request.id, &open("alice"), after(millis)).await.unwrap());
        opened.push(new.request);
    }
    assert!(is_full && opened.len() <= 4, "at most twice the cap: {}", opened.len());
    for request in &opened {
        let found = find(&store, request).await;
        assert_eq!((found.state_at(after(9)), found.expires_at), (State::Pending, request.expires_at));
        assert!(store.transition(&request.id, &deny("alice"), after(9)).await.unwrap());
    }
    assert_eq!(
        creation(&store, &with_lookup(&made(10)), TWO_IN_ALL).await,
        Creation::Created,
        "decided is not pending"
    );
}

/// The oldest may be opened, and the next one is not.
pub async fn e14_an_opened_request_is_passed_over(store: impl CeremonyStore) {
    let all: Vec<_> = (0..3).map(|millis| with_lookup(&made(millis))).collect();
    let three = PendingCaps { per_source: None, total: Some(3) };
    for new in &all {
        assert_eq!(creation(&store, new, three).await, Creation::Created);
    }
    assert!(store.transition(&all[0].request.id, &open("alice"), after(3)).await.unwrap());
    let mut gone = Vec::new();
    for millis in 4..7 {
        match creation(&store, &with_lookup(&made(millis)), three).await {
            Creation::Created => {}
            Creation::Displaced(ids) => gone.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gone[..2], [all[1].request.id.clone(), all[2].request.id.clone()]);
    assert_eq!(find(&store, &all[0].request).await.state_at(after(8)), State::Pending);
}

/// Expired requests take no place, and a lowered cap is reached within a few creations.
pub async fn e14_a_lowered_cap_is_reached_a_few_at_a_time(store: impl CeremonyStore) {
    for millis in 0..40 {
        assert_eq!(creation(&store, &with_lookup(&made(millis)), NO_CAPS).await, Creation::Created);
    }
    let mut gone = Vec::new();
    for millis in 40..50 {
        if let Creation::Displaced(ids) = creation(&store, &with_lookup(&made(millis)), TWO_IN_ALL).await {
            assert!(ids.len() <= 10);
            gone.extend(ids);
        }
    }
    assert_eq!(gone.len(), 48, "all but two");
    for begin in [LIFE + 60, 2 * LIFE + 120] {
        for millis in [begin, begin + 1] {
            assert_eq!(creation(&store, &with_lookup(&made(millis)), TWO_IN_ALL).await, Creation::Created);
        }
    }
}

pub async fn r42_what_is_decided_or_expired_frees_its_place(store: impl CeremonyStore) {
    let caps = TWO_PER_SOURCE;
    let decided = made(0);
    assert_eq!(creation(&store, &with_lookup(&decided), caps).await, Creation::Created);
    assert_eq!(creation(&store, &with_lookup(&made(0)), caps).await, Creation::Created);
    assert!(store.transition(&decided.id, &open("alice"), after(1)).await.unwrap());
    assert_eq!(creation(&store, &with_lookup(&made(2)), caps).await, Creation::SourceFull, "opened is pending still");
    assert!(store.transition(&decided.id, &deny("alice"), after(1)).await.unwrap());
    assert_eq!(creation(&store, &with_lookup(&made(2)), caps).await, Creation::Created);
    assert_eq!(creation(&store, &with_lookup(&made(LIFE - 1)), caps).await, Creation::SourceFull);
    assert_eq!(
        creation(&store, &with_lookup(&made(LIFE)), caps).await,
        Creation::Created,
        "one is over at this instant"
    );
    assert_eq!(creation(&store, &with_lookup(&made(LIFE)), caps).await, Creation::SourceFull);
}

/// Brings a new authorization request of alice into `state`. Returns it with the instant at which it has that state.
async fn in_state(store: &impl CeremonyStore, state: State) -> (AuthorizationRequest, Timestamp) {
    let authorization = match state {
        State::Approved | State::Redeemed | State::Revoked | State::Locked => approved(store, "alice").await,
        State::Pending | State::Denied | State::Expired => opened(store, "alice").await,
    };
    match state {
        State::Denied => assert!(apply(store, &authorization, deny("alice")).await),
        State::Revoked => assert!(apply(store, &authorization, Transition::Revoke).await),
        State::Locked => {
            for _ in 0..MAX_FAILED_ATTEMPTS {
                assert!(apply(store, &authorization, Transition::FailedAttempt).await);
            }
        }
        State::Redeemed => {
            assert!(store.redeem(&session_of(&authorization, "alice"), after(2)).await.unwrap());
        }
        State::Pending | State::Approved | State::Expired => {}
    }
    let at = if state == State::Expired { after(LIFE) } else { after(3) };
    let found = find(store, &authorization).await;
    assert_eq!(found.state_at(at), state);
    (found, at)
}

const STATES: [State; 7] =
    [State::Pending, State::Approved, State::Denied, State::Redeemed, State::Revoked, State::Locked, State::Expired];

pub async fn r44_every_edge_is_legal_or_not_as_the_table_says(store: impl CeremonyStore) {
    for state in STATES {
        for (transition, legal_in, leads_to) in [
            (open("alice"), Some(State::Pending), State::Pending),
            (open("mallory"), None, state),
            (release("alice"), Some(State::Pending), State::Pending),
            (release("mallory"), None, state),
            (approve("alice", "a"), Some(State::Pending), State::Approved),
            (approve("mallory", "a"), None, state),
            (deny("alice"), Some(State::Pending), State::Denied),
            (deny("mallory"), None, state),
            (Transition::Revoke, Some(State::Approved), State::Revoked),
            (renew(2), Some(State::Approved), State::Approved),
            (renew(1), None, state),
        ] {
            let (before, at) = in_state(&store, state).await;
            let counts = matches!(state, State::Pending | State::Approved);
            assert_eq!(
                store.transition(&before.id, &Transition::FailedAttempt, at).await.unwrap(),
                counts,
                "{state:?}"
            );
            assert_eq!(find(&store, &before).await.state_at(at), state);
            let (before, at) = in_state(&store, state).await;
            let legal = legal_in == Some(state);
            let applied = store.transition(&before.id, &transition, at).await.unwrap();
            assert_eq!(applied, legal, "{transition:?} in {state:?}");
            let after = find(&store, &before).await;
            assert_eq!(after.state_at(at), if legal { leads_to } else { state });
            assert!(legal || after == before, "{transition:?} in {state:?} changed something");
        }
        let (before, at) = in_state(&store, state).await;
        let redeemed = store.redeem(&session_of(&before, "alice"), at).await.unwrap();
        assert_eq!(redeemed, state == State::Approved, "redeem in {state:?}");
        assert!(redeemed || find(&store, &before).await == before);
    }
    let unknown = authorization();
    assert!(!apply(&store, &unknown, open("alice")).await);
    assert!(!store.redeem(&session_of(&unknown, "alice"), after(1)).await.unwrap());
}

pub async fn r44_approved_scopes_are_some_of_those_requested(store: impl CeremonyStore) {
    for (asked, granted, legal) in [
        ("a b c", "a b c", true),
        ("a b c", "b", true),
        ("a b c", "", false),
        ("a b c", "a d", false),
        ("a b c", "A", false),
        ("ab bc", "b", false),
        ("ab bc", "a", false),
        ("a:read", "a", false),
        ("a:read", "a:rea_", false),
        ("%", "a", false),
        ("", "a", false),
        ("", "", false),
        ("[] {} ' %_", "[] ' %_", true),
    ] {
        let asking = AuthorizationRequest { requested: scopes(asked), ..authorization() };
        create(&store, &asking).await;
        assert!(apply(&store, &asking, open("alice")).await);
        assert_eq!(apply(&store, &asking, approve("alice", granted)).await, legal, "{granted:?} of {asked:?}");
        let expected = if legal { Decision::Approved(scopes(granted)) } else { Decision::Undecided };
        let found = find(&store, &asking).await;
        assert_eq!((found.decision, found.lasting), (expected, legal.then_some(LASTING)));
    }
}

pub async fn r44_the_first_account_that_opens_is_bound(store: impl CeremonyStore) {
    let unopened = authorization();
    create(&store, &unopened).await;
    assert!(!apply(&store, &unopened, approve("alice", "a")).await, "nobody opened it");
    assert!(!apply(&store, &unopened, deny("alice")).await, "nobody opened it");
    assert!(apply(&store, &unopened, open("alice")).await);
    assert!(!apply(&store, &unopened, open("mallory")).await);
    assert_eq!(find(&store, &unopened).await.account, Some(account("alice")));
    let renamed = Account { label: "alice@new.example".to_owned(), ..account("alice") };
    assert!(apply(&store, &unopened, open_as(renamed.clone())).await);
    assert_eq!(find(&store, &unopened).await.account, Some(renamed));
}

/// A release names the account and the flow that it releases. What another browser has opened since stays bound.
pub async fn a6_a_release_frees_a_request_only_from_the_opening_that_it_names(store: impl CeremonyStore) {
    let request = authorization();
    create(&store, &request).await;
    assert!(!apply(&store, &request, release("alice")).await, "nobody opened it");
    assert!(apply(&store, &request, open("alice")).await);
    let bound = find(&store, &request).await;
    assert_eq!((bound.account.as_ref(), &bound.flow), (Some(&account("alice")), &flow(3)));
    let other_flow = Transition::Release(Release::new(account("alice").id, flow(1), flow(1)));
    for refused in [release("mallory"), other_flow] {
        assert!(!apply(&store, &request, refused).await);
        assert_eq!(find(&store, &request).await, bound);
    }
    assert!(apply(&store, &request, release("alice")).await);
    assert_eq!(find(&store, &request).await, request, "as if nobody had opened it");
    assert!(!apply(&store, &request, release("alice")).await, "once");
    assert!(!apply(&store, &request, approve("alice", "a")).await && !apply(&store, &request, deny("alice")).await);
    assert!(apply(&store, &request, open("bob")).await);
    assert!(!apply(&store, &request, release("alice")).await, "bob has opened it since");
    assert!(apply(&store, &request, approve("bob", "a")).await);
    assert!(!apply(&store, &request, release("bob")).await, "it is decided");
    let found = find(&store, &request).await;
    assert_eq!((found.account, found.decision), (Some(account("bob")), Decision::Approved(scopes("a"))));
}

/// Instants around the expiry, and whether a transition is legal at each.
const AROUND: [(i64, bool); 3] = [(LIFE - 1, true), (LIFE, false), (LIFE + 1, false)];

pub async fn r13_every_edge_is_closed_from_the_instant_of_expiry_on(store: impl CeremonyStore) {
    for (millis, legal) in AROUND {
        for (state, transition) in [
            (State::Pending, open("alice")),
            (State::Pending, release("alice")),
            (State::Pending, approve("alice", "a")),
            (State::Pending, deny("alice")),
            (State::Approved, Transition::Revoke),
            (State::Approved, renew(2)),
            (State::Pending, Transition::FailedAttempt),
            (State::Approved, Transition::FailedAttempt),
        ] {
            let (before, _) = in_state(&store, state).await;
            let applied = store.transition(&before.id, &transition, after(millis)).await.unwrap();
            assert_eq!(applied, legal, "{transition:?} at {millis}");
            assert!(legal || find(&store, &before).await == before);
        }
    }
}

pub async fn r13_nothing_is_redeemed_from_the_instant_of_expiry_on(store: impl CeremonyStore) {
    for (millis, legal) in AROUND {
        let approved = approved(&store, "alice").await;
        let new = session_of(&approved, "alice");
        assert_eq!(store.redeem(&new, after(millis)).await.unwrap(), legal, "at {millis}");
        assert_eq!(is_live(&store, &new).await, legal);
    }
}

pub async fn redeeming_keeps_the_whole_session(store: impl CeremonyStore) {
    let approved = approved(&store, "alice").await;
    let mut new = session_of(&approved, "alice");
    new.session.client.address = Some("2001:db8::7".parse().unwrap());
    new.session.client.method = Some(text("passkey"));
    new.session.client.id = Some(longest_client_id());
    assert!(store.redeem(&new, after(2)).await.unwrap());
    assert_eq!(store.find_session(&new.session.session.access).await.unwrap().as_deref(), Some(&*new.session.session));
    assert_eq!(store.find_record(&new.session.session.id).await.unwrap().as_ref(), Some(&new.session));
    assert_eq!(store.sessions_of(&approved.id).await.unwrap(), std::slice::from_ref(&new.session));
    assert_eq!(listed(&store, "alice").await, [new.session]);
    assert_eq!(find(&store, &approved).await.decision, Decision::Redeemed(scopes("a b")));
}

pub async fn r98_redeeming_with_a_known_id_or_digest_is_a_conflict_and_changes_nothing(store: impl CeremonyStore) {
    let live = session(&store, "alice").await;
    let ended = session(&store, "alice").await;
    let target = RevokeTarget::Access(ended.session.session.access);
    store.revoke(&target, RevokedBy::Agent, after(3)).await.unwrap();
    let approved = approved(&store, "bob").await;
    for known in [&live, &ended] {
        let mut same_id = session_of(&approved, "bob");
        checked(&mut same_id).id = known.session.session.id.clone();
        let same_access = session_with(&approved, "bob", known.session.session.access);
        let same_refresh = NewSession { refresh: known.refresh, ..session_of(&approved, "bob") };
        for clash in [same_id, same_access, same_refresh] {
            let error = store.redeem(&clash, after(4)).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Conflict);
            assert_eq!(find(&store, &approved).await.state_at(after(4)), State::Approved);
            assert_eq!(listed(&store, "bob").await, []);
        }
    }
    assert_eq!(
        store.find_session(&live.session.session.access).await.unwrap().as_deref(),
        Some(&*live.session.session)
    );
    assert!(!is_live(&store, &ended).await);
    assert!(store.redeem(&session_of(&approved, "bob"), after(4)).await.unwrap());
}

pub async fn r45_a_request_is_redeemed_once(store: impl CeremonyStore) {
    let approved = approved(&store, "alice").await;
    let first = session_of(&approved, "alice");
    assert!(store.redeem(&first, after(2)).await.unwrap());
    assert!(!store.redeem(&session_of(&approved, "alice"), after(2)).await.unwrap());
    assert!(!store.redeem(&first, after(2)).await.unwrap(), "nor with the same session");
    assert_eq!(listed(&store, "alice").await, [first.session]);
}

pub(super) async fn revoke(store: &impl CeremonyStore, target: RevokeTarget) -> Vec<SessionId> {
    let mut ended = store.revoke(&target, RevokedBy::Human, after(5)).await.unwrap();
    ended.sort();
    ended
}

pub async fn a_session_is_revoked_by_its_access_token(store: impl CeremonyStore) {
    let (one, other) = (session(&store, "alice").await, session(&store, "alice").await);
    assert_eq!(revoke(&store, RevokeTarget::Access(digest())).await, []);
    assert_eq!(
        revoke(&store, RevokeTarget::Access(one.session.session.access)).await,
        std::slice::from_ref(&one.session.session.id)
    );
    assert!(!is_live(&store, &one).await && is_live(&store, &other).await);
}

pub async fn a_session_is_revoked_by_its_refresh_token(store: impl CeremonyStore) {
    let (one, other) = (session(&store, "alice").await, session(&store, "alice").await);
    assert_eq!(revoke(&store, RevokeTarget::Refresh(digest::<Refresh>())).await, []);
    assert_eq!(revoke(&store, RevokeTarget::Refresh(one.refresh)).await, std::slice::from_ref(&one.session.session.id));
    assert!(!is_live(&store, &one).await && is_live(&store, &other).await);
}

pub async fn a_session_is_revoked_by_its_id_for_its_account_only(store: impl CeremonyStore) {
    let (one, other) = (session(&store, "alice").await, session(&store, "alice").await);
    let target = |id: &str| RevokeTarget::Session(one.session.session.id.clone(), account(id).id);
    assert_eq!(revoke(&store, target("mallory")).await, []);
    assert!(is_live(&store, &one).await);
    assert_eq!(revoke(&store, target("alice")).await, std::slice::from_ref(&one.session.session.id));
    assert!(!is_live(&store, &one).await && is_live(&store, &other).await);
    let unknown = SessionId::generate(&OsRandom).unwrap();
    assert_eq!(revoke(&store, RevokeTarget::Session(unknown, account("alice").id)).await, []);
}

pub async fn an_account_is_revoked_with_what_it_approved(store: impl CeremonyStore) {
    let (one, two) = (session(&store, "alice").await, session(&store, "alice").await);
    let bobs = session(&store, "bob").await;
    let (undecided, waiting) = (opened(&store, "alice").await, approved(&store, "alice").await);
    let bobs_waiting = approved(&store, "bob").await;
    let expired = AuthorizationRequest { expires_at: after(5), ..authorization() };
    create(&store, &expired).await;
    assert!(apply(&store, &expired, open("alice")).await);
    assert!(apply(&store, &expired, approve_until("alice", "a", 5)).await);

    let mut expected = [one.session.session.id.clone(), two.session.session.id.clone()];
    expected.sort();
    assert_eq!(revoke(&store, RevokeTarget::Account(account("alice").id)).await, expected);

    assert!(!is_live(&store, &one).await && !is_live(&store, &two).await && is_live(&store, &bobs).await);
    assert_eq!(find(&store, &waiting).await.decision, Decision::Revoked);
    assert!(!store.redeem(&session_of(&waiting, "alice"), after(6)).await.unwrap());
    assert_eq!(find(&store, &undecided).await.decision, Decision::Undecided);
    assert_eq!(find(&store, &expired).await.decision, Decision::Approved(scopes("a")));
    assert!(store.redeem(&session_of(&bobs_waiting, "bob"), after(6)).await.unwrap());
    let later = session(&store, "alice").await;
    assert!(is_live(&store, &later).await, "what is approved afterwards lives");
}

/// What can still be redeemed is listed for its account, newest first, and nothing else is.
pub async fn a3_what_an_account_has_approved_is_listed_until_it_is_redeemed_or_over(store: impl CeremonyStore) {
    let list = async |name: &str, millis: i64, limit: usize| {
        let found = store.list_approved(&account(name).id, after(millis), limit).await.unwrap();
        found.into_iter().map(|request| request.id).collect::<Vec<_>>()
    };
    let mut newest_first = Vec::new();
    for millis in [5, 3, 4] {
        let request = AuthorizationRequest { created_at: after(millis), ..authorization() };
        create(&store, &request).await;
        assert!(apply(&store, &request, open("alice")).await);
        assert!(!list("alice", 6, 9).await.contains(&request.id), "it is pending");
        assert!(store.transition(&request.id, &approve_until("alice", "a", 100 + millis), after(6)).await.unwrap());
        newest_first.push((millis, request));
    }
    newest_first.sort_by_key(|(millis, _)| -millis);
    let ids: Vec<_> = newest_first.iter().map(|(_, request)| request.id.clone()).collect();
    for state in [State::Pending, State::Denied, State::Revoked, State::Locked, State::Redeemed, State::Expired] {
        in_state(&store, state).await;
    }
    // One that expires at the end of the fixtures' life is still approved at 6.
    let waiting = list("alice", LIFE, 9).await;
    assert_eq!(waiting, [], "all are over by then");
    let others = approved(&store, "bob").await;
    let listed_now = list("alice", 6, 9).await;
    assert_eq!(listed_now.iter().filter(|id| ids.contains(id)).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert_eq!(list("bob", 6, 9).await, [others.id]);
    assert_eq!(list("carol", 6, 9).await, []);
    assert_eq!(list("alice", 6, 2).await, ids[..2]);
    // Closed at the exact instant, one after the other.
    assert_eq!(list("alice", 103, 2).await, ids[..2]);
    let found = store.list_approved(&account("alice").id, after(104), 9).await.unwrap();
    let found = found.iter().find(|request| request.id == ids[0]).unwrap();
    assert_eq!(found, &find(&store, &newest_first[0].1).await, "the whole request");
    let redeemed = session_of(&newest_first[0].1, "alice");
    assert!(store.redeem(&redeemed, after(7)).await.unwrap());
    assert!(store.transition(&ids[1], &Transition::Revoke, after(7)).await.unwrap());
    let left = list("alice", 8, 9).await;
    assert!(!left.contains(&ids[0]) && !left.contains(&ids[1]) && left.contains(&ids[2]));
    revoke(&store, RevokeTarget::Account(account("alice").id)).await;
    assert_eq!(list("alice", 8, 9).await, []);
}

pub async fn the_requests_of_an_account_are_listed_page_by_page(store: impl CeremonyStore) {
    let mut own = Vec::new();
    for step in 0..7 {
        let request = opened(&store, "alice").await;
        let transition = match step {
            0 => None,
            1 => Some(deny("alice")),
            _ => Some(approve("alice", "a b")),
        };
        assert!(match transition {
            Some(transition) => apply(&store, &request, transition).await,
            None => true,
        });
        match step {
            3 => assert!(store.redeem(&session_of(&request, "alice"), after(2)).await.unwrap()),
            4 => assert!(apply(&store, &request, Transition::Revoke).await),
            _ => {}
        }
        own.push(find(&store, &request).await);
    }
    let (released, unopened) = (opened(&store, "alice").await, authorization());
    assert!(apply(&store, &released, release("alice")).await);
    create(&store, &unopened).await;
    let others = approved(&store, "bob").await;

    let (mut pages, mut last) = (Vec::new(), None::<AuthorizationRequestId>);
    loop {
        let page = store.list_authorizations(&account("alice").id, last.as_ref(), 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(found) = page.last() else { break };
        last = Some(found.id.clone());
        pages.extend(page);
    }
    let by_id = |mut all: Vec<AuthorizationRequest>| {
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    };
    assert_eq!(by_id(pages), by_id(own));
    let of_bob = store.list_authorizations(&account("bob").id, None, 10).await.unwrap();
    assert_eq!(of_bob, [find(&store, &others).await]);
    assert!(store.list_authorizations(&account("carol").id, None, 10).await.unwrap().is_empty());
    // Released, it is bound to the next who opens it.
    assert!(apply(&store, &released, open("carol")).await);
    assert_eq!(store.list_authorizations(&account("carol").id, None, 10).await.unwrap()[0].id, released.id);
}

pub async fn an_account_is_forgotten_with_all_that_is_stored_of_it(store: impl CeremonyStore) {
    let (live, ended, refreshed) =
        (session(&store, "alice").await, session(&store, "alice").await, session(&store, "alice").await);
    revoke(&store, RevokeTarget::Access(ended.session.session.access)).await;
    let rotation = rotation(refreshed.refresh, 3);
    assert!(store.rotate(&rotation, after(3)).await.unwrap().is_some());
    let (waiting, denied, pending) =
        (approved(&store, "alice").await, opened(&store, "alice").await, opened(&store, "alice").await);
    assert!(apply(&store, &denied, deny("alice")).await);
    let (others, approved_by_bob) = (session(&store, "bob").await, approved(&store, "bob").await);
    // A cache knows the tokens.
    assert!(is_live(&store, &live).await && is_live(&store, &others).await);

    while store.forget_account(&account("alice").id, 100).await.unwrap() {}
    for access in [live.session.session.access, ended.session.session.access, rotation.access] {
        assert!(store.find_session(&access).await.unwrap().is_none());
    }
    for new in [&live, &ended, &refreshed] {
        assert!(store.find_record(&new.session.session.id).await.unwrap().is_none());
        assert!(store.sessions_of(&new.session.authorization).await.unwrap().is_empty());
        assert!(store.find_refresh(&new.refresh).await.unwrap().is_none());
    }
    assert!(store.find_refresh(&rotation.refresh).await.unwrap().is_none());
    for gone in [&waiting, &denied, &pending] {
        assert!(store.find_authorization(&AuthorizationKey::Id(gone.id.clone())).await.unwrap().is_none());
    }
    assert!(!store.redeem(&session_of(&waiting, "alice"), after(4)).await.unwrap());
    assert!(listed(&store, "alice").await.is_empty());
    assert!(store.list_approved(&account("alice").id, after(4), 10).await.unwrap().is_empty());
    assert!(store.list_authorizations(&account("alice").id, None, 10).await.unwrap().is_empty());

    assert!(is_live(&store, &others).await);
    assert_eq!(store.list_authorizations(&account("bob").id, None, 10).await.unwrap().len(), 2);
    assert!(store.redeem(&session_of(&approved_by_bob, "bob"), after(4)).await.unwrap());
    // What is gone is free again.
    let again = session(&store, "alice").await;
    assert_eq!(listed(&store, "alice").await, [again.session]);
}

pub async fn an_account_is_forgotten_a_few_entries_at_a_time(store: impl CeremonyStore) {
    let alice = account("alice").id;
    for _ in 0..5 {
        session(&store, "alice").await;
    }
    for left in [3, 1] {
        assert!(store.forget_account(&alice, 2).await.unwrap());
        assert_eq!(listed(&store, "alice").await.len(), left);
        assert_eq!(store.list_authorizations(&alice, None, 10).await.unwrap().len(), left);
    }
    assert!(!store.forget_account(&alice, 2).await.unwrap());
    assert!(listed(&store, "alice").await.is_empty());
    assert!(!store.forget_account(&alice, 2).await.unwrap(), "nothing is left, and that is no error");
}

pub async fn what_was_revoked_is_listed_but_not_found(store: impl CeremonyStore) {
    for (by, millis) in [(RevokedBy::Agent, 5), (RevokedBy::Human, 6), (RevokedBy::Service, 7)] {
        let new = session(&store, "alice").await;
        let at = after(millis);
        store.revoke(&RevokeTarget::Access(new.session.session.access), by, at).await.unwrap();
        assert!(!is_live(&store, &new).await);
        let newest = listed(&store, "alice").await.swap_remove(0);
        assert_eq!(newest.session.id, new.session.session.id);
        assert_eq!(newest.revoked, Some(Revocation::new(at, by)));
    }
}

pub async fn revoking_twice_ends_nothing_more(store: impl CeremonyStore) {
    let new = session(&store, "alice").await;
    let targets = [
        RevokeTarget::Session(new.session.session.id.clone(), account("alice").id),
        RevokeTarget::Access(new.session.session.access),
        RevokeTarget::Refresh(new.refresh),
        RevokeTarget::Account(account("alice").id),
    ];
    assert_eq!(revoke(&store, targets[0].clone()).await, std::slice::from_ref(&new.session.session.id));
    let before = listed(&store, "alice").await;
    for target in targets {
        let again = store.revoke(&target, RevokedBy::Service, after(9)).await.unwrap();
        assert_eq!(again, []);
    }
    assert_eq!(listed(&store, "alice").await, before, "the first revocation stands");
}

pub async fn an_expired_session_can_be_revoked(store: impl CeremonyStore) {
    let new = session(&store, "alice").await;
    let late = new.session.refresh_expires_at;
    assert!(is_live(&store, &new).await, "expiry is the caller's to judge");
    let ended = store.revoke(&RevokeTarget::Refresh(new.refresh), RevokedBy::Agent, late).await.unwrap();
    assert_eq!(ended, std::slice::from_ref(&new.session.session.id));
}

pub async fn sessions_are_listed_newest_first_page_by_page(store: impl CeremonyStore) {
    let mut newest_first = Vec::new();
    for _ in 0..7 {
        session(&store, "bob").await;
        newest_first.insert(0, session(&store, "alice").await.session);
    }
    let alice = account("alice").id;
    let page = async |before: Option<&SessionId>, limit| store.list_sessions(&alice, before, limit).await.unwrap();

    assert_eq!(page(None, usize::MAX).await, newest_first);
    assert_eq!(page(None, 0).await, []);
    assert_eq!(page(None, 3).await, newest_first[..3]);
    assert_eq!(page(Some(&newest_first[2].session.id), 3).await, newest_first[3..6]);
    assert_eq!(page(Some(&newest_first[5].session.id), 3).await, newest_first[6..]);
    assert_eq!(page(Some(&newest_first[6].session.id), 3).await, []);
    let bobs = listed(&store, "bob").await.swap_remove(3).session.id.clone();
    assert_eq!(page(Some(&bobs), 2).await, newest_first[..2], "a foreign cursor is no cursor");
    assert_eq!(listed(&store, "nobody").await, []);
}

pub async fn a_human_names_a_session_of_their_account(store: impl CeremonyStore) {
    let (one, other) = (session(&store, "alice").await, session(&store, "alice").await);
    let id = &one.session.session.id;
    let rename = async |name: &str, id: &SessionId, new: Option<&str>| {
        let new = new.map(text);
        store.rename_session(&account(name).id, id, new.as_ref()).await.unwrap()
    };
    let name_of = async |new: &NewSession| store.find_record(&new.session.session.id).await.unwrap().unwrap().name;
    assert_eq!(name_of(&one).await, None);
    assert!(rename("alice", id, Some("bakery")).await);
    let hostile = r#"'; DROP "x" \ $1 %s 日本 é"#;
    assert!(rename("alice", id, Some(hostile)).await);
    assert!(!rename("mallory", id, Some("mine")).await, "the session of another account");
    assert!(!rename("mallory", id, None).await);
    assert!(!rename("alice", &session_of(&authorization(), "alice").session.session.id, Some("x")).await, "unknown");
    assert_eq!((name_of(&one).await, name_of(&other).await), (Some(text(hostile)), None));
    // The name stays when the session is refreshed or ends, and changes nothing else.
    let rotation = rotation(one.refresh, 3);
    assert!(store.rotate(&rotation, after(3)).await.unwrap().is_some());
    assert!(store.find_session(&rotation.access).await.unwrap().is_some());
    revoke(&store, RevokeTarget::Session(id.clone(), account("alice").id)).await;
    let listed = listed(&store, "alice").await;
    assert_eq!(listed[1].name, Some(text(hostile)));
    assert_eq!(listed[0], other.session);
    assert!(rename("alice", id, None).await, "one that has ended");
    assert_eq!(name_of(&one).await, None);
    assert!(rename("alice", id, None).await, "one without a name");
}

pub async fn the_later_use_stands(store: impl CeremonyStore) {
    let (one, other) = (session(&store, "alice").await, session(&store, "alice").await);
    let used = |millis, address: Option<&str>| {
        let address = address.map(|address| address.parse::<IpAddr>().unwrap());
        Use::new(after(millis), address)
    };
    let record = async |uses: &[(&NewSession, Use)]| {
        let uses: Vec<_> = uses.iter().map(|(new, last)| (new.session.session.id.clone(), *last)).collect();
        store.record_uses(&uses, after(99)).await.unwrap();
        store.find_record(&one.session.session.id).await.unwrap().unwrap().last_use
    };

    assert_eq!(record(&[]).await, None);
    assert_eq!(record(&[(&other, used(99, None))]).await, None);
    let first = used(10, Some("192.0.2.1"));
    assert_eq!(record(&[(&one, first)]).await, Some(first));
    assert_eq!(record(&[(&one, used(9, None))]).await, Some(first), "an earlier one");
    assert_eq!(record(&[(&one, used(10, None))]).await, Some(first), "one at the same instant");
    let second = used(11, None);
    assert_eq!(record(&[(&one, second)]).await, Some(second));
    let last = used(30, Some("2001:db8::1"));
    let several = [(&one, used(20, Some("192.0.2.2"))), (&one, last), (&one, used(25, None))];
    assert_eq!(record(&several).await, Some(last));
    let unknown = session_of(&authorization(), "alice");
    assert_eq!(record(&[(&unknown, used(40, None))]).await, Some(last));
    assert_eq!(listed(&store, "alice").await[1].last_use, Some(last));
    assert_eq!(listed(&store, "alice").await[0].last_use, Some(used(99, None)));
}

/// By a clock that is ahead, which has been corrected since.
pub async fn c1_a_last_use_that_is_dated_ahead_gives_way(store: impl CeremonyStore) {
    let new = session(&store, "alice").await;
    let id = new.session.session.id.clone();
    let skew = i64::try_from(CLOCK_SKEW.as_millis()).unwrap();
    let record = async |used_at: i64, now: i64| {
        store.record_uses(&[(id.clone(), Use::new(after(used_at), None))], after(now)).await.unwrap();
        store.find_record(&id).await.unwrap().unwrap().last_use.unwrap().at
    };
    let ahead = 400 * 86_400_000;
    assert_eq!(record(ahead, ahead).await, after(ahead));
    assert_eq!(record(20, 25).await, after(20), "the wrong date gives way");
    assert_eq!(record(10, 25).await, after(20));
    assert_eq!(record(20 + skew, 20 + skew).await, after(20 + skew), "another node may be ahead");
    assert_eq!(record(15, 20).await, after(20 + skew), "by as much");
    assert_eq!(record(15, 19).await, after(15), "and not by more");
}

pub async fn a_use_that_is_written_down_is_noted_where_its_session_is_found(store: impl CeremonyStore) {
    let (used, unused) = (session(&store, "alice").await, session(&store, "alice").await);
    let found = async |access| store.find_session(&access).await.unwrap().unwrap();
    let access = used.session.session.access;
    found(access).await;
    store.record_uses(&[(used.session.session.id.clone(), Use::new(after(10), None))], after(10)).await.unwrap();
    assert!(!found(access).await.note_use(after(60_009)), "a use is noted once a minute");
    let second = rotation(used.refresh, 20);
    assert!(store.rotate(&second, after(20)).await.unwrap().is_some());
    assert!(!found(second.access).await.note_use(after(60_009)), "and a refresh is no use");
    assert!(found(second.access).await.note_use(after(60_010)));
    assert!(found(unused.session.session.access).await.note_use(after(10)));
}

pub async fn a_session_and_its_record_agree(store: impl CeremonyStore) {
    let new = session(&store, "alice").await;
    let record = agreed(&store, &new, new.refresh).await;
    assert_eq!((record.session.access, record.last_use), (new.session.session.access, None));
    assert!(record.is_good(&record.session.resource, after(30)));
    let last = Use { at: after(10), address: Some("192.0.2.1".parse().unwrap()) };
    store.record_uses(&[(new.session.session.id.clone(), last)], last.at).await.unwrap();
    assert_eq!(agreed(&store, &new, new.refresh).await.last_use, Some(last));
    let second = Rotation { scopes: scopes("a"), ..rotation(new.refresh, 20) };
    assert!(store.rotate(&second, after(20)).await.unwrap().is_some());
    let record = agreed(&store, &new, second.refresh).await;
    assert_eq!(
        (record.session.access, &record.session.scopes, record.last_use),
        (second.access, &scopes("a"), Some(last))
    );
    revoke(&store, RevokeTarget::Access(second.access)).await;
    let record = agreed(&store, &new, second.refresh).await;
    assert_eq!(record.revoked, Some(Revocation::new(after(5), RevokedBy::Human)));
    assert!(!record.is_good(&record.session.resource, after(30)));
}

/// Returns the record of a session, after checking that all lookups return the same.
async fn agreed(store: &impl CeremonyStore, new: &NewSession, refresh: Digest<Refresh>) -> SessionRecord {
    let record = store.find_record(&new.session.session.id).await.unwrap().unwrap();
    assert_eq!(record.session.client, record.client.name);
    assert_eq!(store.sessions_of(&new.session.authorization).await.unwrap(), std::slice::from_ref(&record));
    assert_eq!(store.find_refresh(&refresh).await.unwrap().unwrap().session, record);
    assert_eq!(listed(store, "alice").await, std::slice::from_ref(&record));
    let found = store.find_session(&record.session.access).await.unwrap();
    assert_eq!(found, record.revoked.is_none().then(|| Arc::clone(&record.session)));
    record
}

/// The clock of the node that creates a request may be wrong by any amount.
pub async fn c1_creating_a_request_deletes_nothing_whatever_its_date(store: impl CeremonyStore) {
    const DAY: i64 = 86_400_000;
    let old = session(&store, "alice").await;
    let (redeemed, pending) = (AuthorizationKey::Id(old.session.authorization.clone()), authorization());
    let new = create(&store, &pending).await;
    for millis in [LIFE, LIFE + DAY / 24, 400 * DAY, 40_000 * DAY, -400 * DAY, 1] {
        let (created_at, expires_at) = (after(millis), after(millis + LIFE));
        create(&store, &AuthorizationRequest { created_at, expires_at, ..authorization() }).await;
        assert!(store.find_authorization(&redeemed).await.unwrap().is_some(), "{millis}");
        for key in [AuthorizationKey::Id(pending.id.clone()), AuthorizationKey::Lookup(new.lookups[0])] {
            assert_eq!(store.find_authorization(&key).await.unwrap().as_ref(), Some(&pending), "{millis}");
        }
        assert!(is_live(&store, &old).await, "{millis}");
    }
    assert!(apply(&store, &pending, open("alice")).await, "it can still be opened and decided");
    assert!(apply(&store, &pending, approve("alice", "a")).await);
}

pub async fn r99_what_is_over_is_forgotten_a_few_at_a_time(store: impl CeremonyStore) {
    let mut over = Vec::new();
    for _ in 0..5 {
        over.push(session(&store, "alice").await);
    }
    let end = over[0].session.refresh_expires_at;
    let mut later = session_of(&approved(&store, "alice").await, "alice");
    later.session.refresh_expires_at = after(END + 1);
    assert!(store.redeem(&later, after(2)).await.unwrap());
    let target = RevokeTarget::Access(over[0].session.session.access);
    store.revoke(&target, RevokedBy::Human, after(5)).await.unwrap();

    let early = Cutoff { authorizations: after(LIFE - 1), sessions: after(END - 1) };
    assert!(!store.forget(&early, 2).await.unwrap());
    assert_eq!(listed(&store, "alice").await.len(), 6, "nothing is over yet, be it revoked or not");

    let cutoff = Cutoff { authorizations: after(LIFE), sessions: end };
    let mut left = Vec::new();
    while store.forget(&cutoff, 2).await.unwrap() {
        left.push(listed(&store, "alice").await.len());
    }
    assert_eq!(left[..2], [4, 2]);
    assert_eq!(listed(&store, "alice").await, [later.session.clone()]);
    for new in &over {
        assert!(!is_live(&store, new).await);
        assert!(store.find_refresh(&new.refresh).await.unwrap().is_none());
        assert_eq!(store.sessions_of(&new.session.authorization).await.unwrap(), []);
        assert_eq!(store.find_record(&new.session.session.id).await.unwrap(), None);
    }
    for forgotten in [&over[4], &later] {
        let key = AuthorizationKey::Id(forgotten.session.authorization.clone());
        assert_eq!(store.find_authorization(&key).await.unwrap(), None);
    }
    assert!(is_live(&store, &later).await, "a session outlives its authorization");
    assert!(store.rotate(&rotation(later.refresh, 3), after(3)).await.unwrap().is_some());
}

/// When the sessions of the fixtures end.
const END: i64 = 86_400_000;

pub async fn r99_a_used_refresh_token_is_forgotten_when_its_own_time_was_over(store: impl CeremonyStore) {
    let one = session(&store, "alice").await;
    let (second, third) = (rotation(one.refresh, 10), rotation(digest(), 20));
    let third = Rotation { from: second.refresh, ..third };
    assert!(store.rotate(&second, after(10)).await.unwrap().is_some());
    assert!(store.rotate(&third, after(20)).await.unwrap().is_some());
    let cutoff = Cutoff { authorizations: after(0), sessions: after(END) };
    while store.forget(&cutoff, 9).await.unwrap() {}
    assert!(store.find_refresh(&one.refresh).await.unwrap().is_none(), "it would have ended at this instant");
    assert_eq!(store.find_refresh(&second.refresh).await.unwrap().unwrap().age, 1);
    assert_eq!(store.find_refresh(&third.refresh).await.unwrap().unwrap().age, 0);
    assert!(store.find_session(&third.access).await.unwrap().is_some());
}

fn approve_as(owner: &Account, scopes: &ScopeSet) -> Transition {
    Transition::Approve(Approval::new(owner.id.clone(), scopes.clone(), flow(2), after(LIFE)))
}

/// The ceremony does not define the flow of this suite. Stores don't read flows, so a new flow needs no store change.
pub async fn a_flow_that_no_store_knows_is_kept_found_and_replaced(store: impl CeremonyStore) {
    let new = create(&store, &authorization()).await;
    assert_eq!(find(&store, &new.request).await, new.request);
    assert!(apply(&store, &new.request, open("alice")).await);
    let mut approval = Approval::new(account("alice").id, scopes("a b"), flow(7), after(LIFE + 7));
    approval.lookups = vec![lookup(), lookup()];
    assert!(apply(&store, &new.request, Transition::Approve(approval.clone())).await);
    for lookup in new.lookups.iter().chain(&approval.lookups) {
        let found = store.find_authorization(&AuthorizationKey::Lookup(*lookup)).await.unwrap().unwrap();
        assert_eq!((&found.id, &found.flow, found.expires_at), (&new.request.id, &flow(7), after(LIFE + 7)));
    }
    assert!(store.redeem(&session_of(&new.request, "alice"), after(LIFE + 6)).await.unwrap());
    let found = find(&store, &new.request).await;
    assert_eq!((found.flow, found.decision), (flow(7), Decision::Redeemed(scopes("a b"))));
}

pub async fn r98_an_approval_with_a_known_lookup_is_a_conflict_and_changes_nothing(store: impl CeremonyStore) {
    let other = create(&store, &authorization()).await;
    let new = create(&store, &authorization()).await;
    assert!(apply(&store, &new.request, open("alice")).await);
    let before = find(&store, &new.request).await;
    let mut approval = Approval::new(account("alice").id, scopes("a"), flow(2), after(LIFE));
    approval.lookups = vec![lookup(), other.lookups[0]];
    let approve = Transition::Approve(approval.clone());
    let error = store.transition(&new.request.id, &approve, after(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    assert_eq!(find(&store, &new.request).await, before);
    let added = AuthorizationKey::Lookup(approval.lookups[0]);
    assert_eq!(store.find_authorization(&added).await.unwrap(), None);
    let found = store.find_authorization(&AuthorizationKey::Lookup(other.lookups[0])).await.unwrap();
    assert_eq!(found, Some(other.request));
}

pub async fn r45_a_request_that_may_be_redeemed_again_becomes_several_sessions(store: impl CeremonyStore) {
    let approved = approved(&store, "alice").await;
    let mut newest_first = Vec::new();
    for millis in [2, 3, LIFE - 1] {
        let mut new = session_of(&approved, "alice");
        new.redemption = Redemption::Again;
        assert!(store.redeem(&new, after(millis)).await.unwrap());
        assert_eq!(find(&store, &approved).await.state_at(after(millis)), State::Approved);
        newest_first.insert(0, new.session);
    }
    assert_eq!(store.sessions_of(&approved.id).await.unwrap(), newest_first);
    assert_eq!(listed(&store, "alice").await, newest_first);
    let mut late = session_of(&approved, "alice");
    late.redemption = Redemption::Again;
    assert!(!store.redeem(&late, after(LIFE)).await.unwrap(), "expired at this instant");
    revoke(&store, RevokeTarget::Account(account("alice").id)).await;
    assert!(!store.redeem(&late, after(6)).await.unwrap(), "taken back with the account");
    let once = opened(&store, "bob").await;
    assert!(apply(&store, &once, approve("bob", "a")).await);
    let mut again = session_of(&once, "bob");
    again.redemption = Redemption::Again;
    assert!(store.redeem(&again, after(2)).await.unwrap());
    assert!(store.redeem(&session_of(&once, "bob"), after(2)).await.unwrap(), "the last one closes it");
    assert!(!store.redeem(&session_of(&once, "bob"), after(2)).await.unwrap());
}

pub async fn r49_the_fifth_wrong_code_locks(store: impl CeremonyStore) {
    let pending = opened(&store, "alice").await;
    for _ in 0..MAX_FAILED_ATTEMPTS {
        assert_eq!(find(&store, &pending).await.state_at(after(1)), State::Pending);
        assert!(apply(&store, &pending, Transition::FailedAttempt).await);
    }
    assert_eq!(find(&store, &pending).await.state_at(after(1)), State::Locked);
    assert!(!apply(&store, &pending, approve("alice", "a")).await);
    let new = opened(&store, "alice").await;
    assert!(apply(&store, &new, Transition::FailedAttempt).await);
    assert!(apply(&store, &new, approve("alice", "a")).await);
    for attempts in 2..=MAX_FAILED_ATTEMPTS {
        assert_eq!(find(&store, &new).await.state_at(after(1)), State::Approved);
        assert!(apply(&store, &new, Transition::FailedAttempt).await);
        assert_eq!(find(&store, &new).await.failed_attempts, attempts);
    }
    assert_eq!(find(&store, &new).await.state_at(after(1)), State::Locked);
    assert!(!apply(&store, &new, Transition::FailedAttempt).await);
    assert!(!store.redeem(&session_of(&new, "alice"), after(2)).await.unwrap());
    assert_eq!(find(&store, &new).await.state_at(after(10 * LIFE)), State::Locked);
}

pub async fn r99_hostile_text_comes_back_as_it_was(store: impl CeremonyStore) {
    const HOSTILE: [&str; 9] = [
        "'; DROP TABLE sessions; --",
        "\" OR 1=1 --",
        "') RETURNING access --",
        "%_\\?1:name@p$1",
        "<script>alert(1)</script>",
        "null",
        "\u{0410}gent \u{4f60}\u{597d} \u{1f980}",
        "a\u{0301}\u{0302}b",
        "{\"a\":[1,2]}",
    ];
    for hostile in HOSTILE {
        let mut new = authorization();
        // Not every string is a valid `HumanText`. Such text is refused before it reaches a store.
        let human = crate::types::text::HumanText::new(hostile).unwrap_or_else(|_| text("'"));
        new.client.name = human.clone();
        new.client.label = Some(human.clone());
        new.client.kind = Some(human.clone());
        new.client.instance = Some(human.clone());
        new.client.method = Some(human.clone());
        new.client.id = crate::types::id::ClientId::new(hostile).ok().or_else(|| Some(longest_client_id()));
        new.requested = scopes("';--! %_ ?1 [] {}");
        new.resource = hostile.into();
        let owner = Account::new(AccountId::new(hostile).unwrap(), format!("{hostile}\0\n\u{202e}{hostile}"));
        create(&store, &new).await;
        assert!(apply(&store, &new, open_as(owner.clone())).await);
        assert!(apply(&store, &new, approve_as(&owner, &new.requested)).await);
        let found = find(&store, &new).await;
        assert_eq!(found.client, new.client);
        assert_eq!(found.account.as_ref(), Some(&owner));
        assert_eq!(found.granted().map(ScopeSet::to_string), Some(new.requested.to_string()));

        let mut issued = session_of(&new, "alice");
        checked(&mut issued).account = owner.clone();
        checked(&mut issued).resource = hostile.into();
        issued.session.redeemer.program = Some(human);
        assert!(store.redeem(&issued, after(2)).await.unwrap());
        assert_eq!(
            store.find_session(&issued.session.session.access).await.unwrap().as_deref(),
            Some(&*issued.session.session)
        );
        assert_eq!(store.list_sessions(&owner.id, None, 9).await.unwrap(), [issued.session.clone()]);
        let target = RevokeTarget::Session(issued.session.session.id.clone(), owner.id);
        assert_eq!(revoke(&store, target).await, std::slice::from_ref(&issued.session.session.id));
    }
    let key = AuthorizationKey::Lookup(lookup());
    assert_eq!(store.find_authorization(&key).await.unwrap(), None);
    assert_eq!(AuthorizationRequestId::parse("reg_'; DROP TABLE sessions"), None);
}
