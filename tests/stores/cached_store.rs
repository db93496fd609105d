//! A store with a cache in front of its token checks, as a service puts them together.

use std::sync::Arc;

use tower_agent_auth::{
    store::{
        AuthorizationKey, AuthorizationStore, CachedStore, CeremonyStore, Creation, Cutoff, HousekeepingStore,
        PendingCaps, RefreshTokenStore, RevokeTarget, SessionRecordStore, SessionStore, StoreError,
    },
    types::{
        authorization::{AuthorizationRequest, NewAuthorizationRequest, Transition},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, SessionId},
        secret::{Access, Digest, Refresh},
        session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
    },
};

#[derive(Clone)]
pub(crate) struct WithCache<S> {
    store: S,
    checks: Arc<CachedStore<S>>,
}

impl<S: CeremonyStore + Clone> WithCache<S> {
    pub(crate) fn over(store: S) -> Self {
        Self { checks: Arc::new(CachedStore::over(store.clone())), store }
    }
}

impl<S: CeremonyStore + Clone> SessionStore for WithCache<S> {
    async fn find_session(&self, access: &Digest<Access>) -> Result<Option<Arc<Session>>, StoreError> {
        self.checks.find_session(access).await
    }
}

macro_rules! forward {
    ($($trait:ident { $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* })*) => {$(
        impl<S: CeremonyStore + Clone> $trait for WithCache<S> {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.store.$name($($argument),*).await
            })*
        }
    )*};
}

forward! {
    AuthorizationStore {
        create_authorization(new: &NewAuthorizationRequest, caps: PendingCaps) -> Creation;
        find_authorization(key: &AuthorizationKey) -> Option<AuthorizationRequest>;
        transition(id: &AuthorizationRequestId, transition: &Transition, at: Timestamp) -> bool;
        redeem(new: &NewSession, at: Timestamp) -> bool;
    }
    SessionRecordStore {
        find_record(session: &SessionId) -> Option<SessionRecord>;
        sessions_of(authorization: &AuthorizationRequestId) -> Vec<SessionRecord>;
        list_sessions(account: &AccountId, before: Option<&SessionId>, limit: usize) -> Vec<SessionRecord>;
        revoke(target: &RevokeTarget, by: RevokedBy, at: Timestamp) -> Vec<SessionId>;
        record_uses(uses: &[(SessionId, Use)]) -> ();
    }
    RefreshTokenStore {
        find_refresh(refresh: &Digest<Refresh>) -> Option<RefreshTokenState>;
        rotate(rotation: &Rotation, at: Timestamp) -> Option<SessionId>;
    }
    HousekeepingStore {
        forget(cutoff: &Cutoff, limit: usize) -> bool;
        server_time() -> Option<Timestamp>;
    }
}
