//! What a store promises about requests whose agents prove themselves again.

use crate::{
    store::{AuthorizationKey, CeremonyStore, StoreErrorKind},
    types::authorization::{Decision, Lookup, Renewal, State, Transition},
};

use super::{
    fixtures::{LIFE, account, after, apply, approved, authorization, create, find, flow, lookup, scopes},
    races::{RACERS, race, winners},
};

fn renewal(from: u32, to: u32, lookups: &[Lookup], millis: i64) -> Transition {
    let mut renewal = Renewal::new(flow(from), flow(to), after(millis));
    renewal.lookups = lookups.to_vec();
    Transition::Renew(renewal)
}

pub async fn a_renewal_changes_the_flow_the_end_and_the_lookups_and_nothing_else(store: impl CeremonyStore) {
    let request = approved(&store, "alice").await;
    let before = find(&store, &request).await;
    let added = [lookup(), lookup()];
    // Its end moves either way.
    for (from, to, millis) in [(2, 5, 9 * LIFE), (5, 6, 2 * LIFE)] {
        let lookups = if from == 2 { &added[..] } else { &[] };
        assert!(store.transition(&request.id, &renewal(from, to, lookups, millis), after(LIFE - 1)).await.unwrap());
        let found = find(&store, &request).await;
        assert_eq!((&found.flow, found.expires_at), (&flow(to), after(millis)));
        assert_eq!((&found.account, &found.decision), (&before.account, &before.decision));
        assert_eq!(found.lasting, before.lasting);
        for lookup in added {
            let by_lookup = store.find_authorization(&AuthorizationKey::Lookup(lookup)).await.unwrap();
            assert_eq!(by_lookup, Some(found.clone()));
        }
    }
    assert_eq!(store.list_approved(&account("alice").id, after(2 * LIFE - 1), 9).await.unwrap().len(), 1);
    assert_eq!(store.list_approved(&account("alice").id, after(2 * LIFE), 9).await.unwrap(), []);
    assert_eq!(find(&store, &request).await.state_at(after(2 * LIFE)), State::Expired);
}

pub async fn a_renewal_of_another_flow_changes_nothing(store: impl CeremonyStore) {
    let request = approved(&store, "alice").await;
    let (before, added) = (find(&store, &request).await, lookup());
    assert!(!apply(&store, &request, renewal(3, 5, &[added], 9 * LIFE)).await);
    assert_eq!(find(&store, &request).await, before);
    assert_eq!(store.find_authorization(&AuthorizationKey::Lookup(added)).await.unwrap(), None);
}

pub async fn r98_a_renewal_with_a_known_lookup_is_a_conflict_and_changes_nothing(store: impl CeremonyStore) {
    let other = create(&store, &authorization()).await;
    let request = approved(&store, "alice").await;
    let (before, added) = (find(&store, &request).await, lookup());
    let renew = renewal(2, 5, &[added, other.lookups[0]], 9 * LIFE);
    let error = store.transition(&request.id, &renew, after(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    assert_eq!(find(&store, &request).await, before);
    assert_eq!(store.find_authorization(&AuthorizationKey::Lookup(added)).await.unwrap(), None);
}

pub async fn r45_one_winner_of_racing_renewals(store: impl CeremonyStore + Clone) {
    let request = approved(&store, "alice").await;
    let answers = race((0..RACERS).map(|racer| {
        let (store, id) = (store.clone(), request.id.clone());
        let renew = renewal(2, 10 + u32::try_from(racer).unwrap(), &[lookup()], 2 * LIFE);
        async move { store.transition(&id, &renew, after(1)).await.unwrap() }
    }));
    assert_eq!(winners(&answers.await), 1);
}

/// Whoever comes first: what was revoked stays revoked, and is found by no lookup of a later renewal.
pub async fn r45_a_revoked_request_is_never_renewed(store: impl CeremonyStore + Clone) {
    for _ in 0..20 {
        let request = approved(&store, "alice").await;
        race((0..8).map(|racer| {
            let (store, id) = (store.clone(), request.id.clone());
            let transition = if racer == 3 { Transition::Revoke } else { renewal(2, 2, &[], 2 * LIFE) };
            async move { store.transition(&id, &transition, after(1)).await.unwrap() }
        }))
        .await;
        let found = find(&store, &request).await;
        assert_eq!((found.decision, found.requested), (Decision::Revoked, scopes("a b c")));
        assert!(!apply(&store, &request, renewal(2, 5, &[], 9 * LIFE)).await);
    }
}
