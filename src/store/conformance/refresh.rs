//! What a store promises about refresh tokens.

use std::sync::Arc;

use crate::{
    store::{CeremonyStore, RevokeTarget, StoreErrorKind},
    types::session::{Refreshed, Rotation, Session, SessionRecord},
};

use super::{
    contract::revoke,
    fixtures::{account, after, digest, listed, rotation, scopes, session},
};

pub async fn r75_a_refresh_gives_new_secrets_and_ends_the_old_ones(store: impl CeremonyStore) {
    let first = session(&store, "alice").await;
    let mut current = first.refresh;
    let mut secrets = vec![(first.session.session.access, first.refresh)];
    for step in 1..=3 {
        let new = Rotation { scopes: scopes(if step == 2 { "a" } else { "a b" }), ..rotation(current, step) };
        assert!(store.rotate(&new, after(step)).await.unwrap().is_some());
        let found = store.find_session(&new.access).await.unwrap().unwrap();
        let session = Session {
            access: new.access,
            scopes: new.scopes.clone(),
            expires_at: new.expires_at,
            ..Session::clone(&first.session.session)
        };
        let expected = SessionRecord {
            session: Arc::new(session),
            refresh_expires_at: new.refresh_expires_at,
            ..first.session.clone()
        };
        assert_eq!(found, expected.session);
        assert_eq!(listed(&store, "alice").await, std::slice::from_ref(&expected));
        assert_eq!(store.find_record(&expected.session.id).await.unwrap().as_ref(), Some(&expected));
        secrets.push((new.access, new.refresh));
        for (age, (access, refresh)) in secrets.iter().rev().enumerate() {
            assert_eq!(store.find_session(access).await.unwrap().is_some(), age == 0);
            let known = store.find_refresh(refresh).await.unwrap().unwrap();
            assert_eq!((known.age, &known.session), (age as u64, &expected));
            assert_eq!(known.last, Some(Refreshed::new(after(step), new.salt)));
        }
        current = new.refresh;
    }
    assert!(store.find_refresh(&digest()).await.unwrap().is_none());
    let unused = session(&store, "alice").await;
    let known = store.find_refresh(&unused.refresh).await.unwrap().unwrap();
    assert_eq!((known.age, known.last), (0, None));
}

pub async fn r75_only_the_current_refresh_token_of_a_live_session_refreshes(store: impl CeremonyStore) {
    let one = session(&store, "alice").await;
    assert!(store.rotate(&rotation(digest(), 3), after(3)).await.unwrap().is_none(), "unknown");
    let end = one.session.refresh_expires_at.as_millis() - after(0).as_millis();
    assert!(store.rotate(&rotation(one.refresh, 3), after(end)).await.unwrap().is_none(), "expired at this instant");
    let second = rotation(one.refresh, 3);
    assert!(store.rotate(&second, after(3)).await.unwrap().is_some());
    assert!(store.rotate(&rotation(one.refresh, 4), after(4)).await.unwrap().is_none(), "used up");
    assert!(store.find_session(&second.access).await.unwrap().is_some(), "and nothing changed");
    revoke(&store, RevokeTarget::Session(one.session.session.id.clone(), account("alice").id)).await;
    assert!(store.rotate(&rotation(second.refresh, 5), after(5)).await.unwrap().is_none(), "revoked");
    let known = store.find_refresh(&second.refresh).await.unwrap().unwrap();
    assert!(known.session.revoked.is_some(), "what has ended is still known");
}

pub async fn r98_refreshing_with_a_known_digest_is_a_conflict_and_changes_nothing(store: impl CeremonyStore) {
    let (one, other) = (session(&store, "alice").await, session(&store, "alice").await);
    let used = rotation(other.refresh, 3);
    assert!(store.rotate(&used, after(3)).await.unwrap().is_some());
    let ended = session(&store, "alice").await;
    revoke(&store, RevokeTarget::Access(ended.session.session.access)).await;
    for clash in [
        Rotation { access: used.access, ..rotation(one.refresh, 4) },
        Rotation { access: ended.session.session.access, ..rotation(one.refresh, 4) },
        Rotation { refresh: used.refresh, ..rotation(one.refresh, 4) },
        Rotation { refresh: other.refresh, ..rotation(one.refresh, 4) },
        Rotation { refresh: one.refresh, ..rotation(one.refresh, 4) },
    ] {
        let error = store.rotate(&clash, after(4)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        assert_eq!(
            store.find_session(&one.session.session.access).await.unwrap().as_deref(),
            Some(&*one.session.session)
        );
        assert!(store.find_session(&used.access).await.unwrap().is_some());
        assert_eq!(store.find_refresh(&one.refresh).await.unwrap().unwrap().age, 0);
    }
}

pub async fn r80_a_used_refresh_token_revokes_what_became_of_it(store: impl CeremonyStore) {
    let one = session(&store, "alice").await;
    let second = rotation(one.refresh, 3);
    assert!(store.rotate(&second, after(3)).await.unwrap().is_some());
    assert!(
        revoke(&store, RevokeTarget::Access(one.session.session.access)).await.is_empty(),
        "a dead access token names nothing"
    );
    assert_eq!(revoke(&store, RevokeTarget::Refresh(one.refresh)).await, std::slice::from_ref(&one.session.session.id));
    assert!(store.find_session(&second.access).await.unwrap().is_none());
}
