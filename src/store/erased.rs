//! The stores as trait objects, so that no layer's type drags a store's type along. A future is boxed only here.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll};

use super::{CeremonyStore, Creation, Cutoff, PendingCaps, RegistrationKey, RevokeTarget, SessionStore, StoreError};
use crate::core::{
    clock::Timestamp,
    id::{AccountId, RegistrationId, SessionId},
    registration::{Registration, Transition},
    secret::{Access, Digest, Refresh},
    session::{Lineage, NewSession, RevokedBy, Rotation, Session, Use},
};

pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

pub(crate) trait DynSessionStore: Send + Sync {
    fn find_now(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>>;
    fn find(self: Arc<Self>, access: Digest<Access>) -> Answer<'static, Option<Arc<Session>>>;
}

impl<S: SessionStore> DynSessionStore for S {
    fn find_now(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        self.find_session_now(access)
    }

    fn find(self: Arc<Self>, access: Digest<Access>) -> Answer<'static, Option<Arc<Session>>> {
        Box::pin(async move { SessionStore::find_session(&*self, &access).await })
    }
}

macro_rules! ceremony_store {
    ($($name:ident ( $($argument:ident : $type:ty),* ) -> $answer:ty;)*) => {
        pub(crate) trait DynCeremonyStore: Send + Sync {
            fn find_session<'a>(&'a self, access: &'a Digest<Access>) -> Answer<'a, Option<Arc<Session>>>;
            $(fn $name<'a>(&'a self, $($argument: $type),*) -> Answer<'a, $answer>;)*
        }

        impl<S: CeremonyStore> DynCeremonyStore for S {
            fn find_session<'a>(&'a self, access: &'a Digest<Access>) -> Answer<'a, Option<Arc<Session>>> {
                Box::pin(SessionStore::find_session(self, access))
            }

            $(fn $name<'a>(&'a self, $($argument: $type),*) -> Answer<'a, $answer> {
                Box::pin(CeremonyStore::$name(self, $($argument),*))
            })*
        }
    };
}

ceremony_store! {
    create_registration(registration: &'a Registration, caps: PendingCaps) -> Creation;
    find_registration(key: &'a RegistrationKey) -> Option<Registration>;
    transition(id: &'a RegistrationId, transition: &'a Transition, at: Timestamp) -> bool;
    redeem(new: &'a NewSession, at: Timestamp) -> bool;
    session_of(registration: &'a RegistrationId) -> Option<Session>;
    find_refresh(refresh: &'a Digest<Refresh>) -> Option<Lineage>;
    rotate(rotation: &'a Rotation, at: Timestamp) -> Option<SessionId>;
    list_sessions(account: &'a AccountId, before: Option<&'a SessionId>, limit: usize) -> Vec<Session>;
    revoke(target: &'a RevokeTarget, by: RevokedBy, at: Timestamp) -> Vec<SessionId>;
    record_uses(uses: &'a [(SessionId, Use)]) -> ();
    forget(cutoff: &'a Cutoff, limit: usize) -> bool;
}
