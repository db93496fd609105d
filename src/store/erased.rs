//! The stores as trait objects, so that no layer's type drags a store's type along. A future is boxed only here, and here
//! it gets its deadline.

use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    AuthorizationKey, CeremonyStore, Creation, Cutoff, PendingCaps, RevokeTarget, SessionStore, StoreError,
    StoreErrorKind,
};
use crate::{
    observe,
    types::{
        authorization::{AuthorizationRequest, Transition},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, SessionId},
        secret::{Access, Digest, Refresh},
        session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
    },
};

pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

pub(crate) trait DynSessionStore: Send + Sync {
    fn try_find(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>>;
    fn find(self: Arc<Self>, access: Digest<Access>) -> Answer<'static, Option<Arc<Session>>>;
}

/// How long a store may take to answer, whatever it waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

/// A store whose every call has a deadline.
pub(crate) struct WithDeadline<S> {
    pub(crate) store: S,
    pub(crate) deadlines: Deadlines,
}

async fn with_deadline<T>(
    call: &'static str,
    deadline: Duration,
    answer: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::because(StoreErrorKind::Unavailable, Late(deadline)));
    observe::of_store(call, async { timeout(deadline, answer).await.unwrap_or_else(late) }).await
}

#[derive(Debug, thiserror::Error)]
#[error("the session store did not answer within {}", humantime::format_duration(*.0))]
struct Late(Duration);

impl<S: SessionStore> DynSessionStore for WithDeadline<S> {
    fn try_find(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        // A store that panics here is waited for instead, where a panic is one request's failure.
        let answer = panic::catch_unwind(AssertUnwindSafe(|| self.store.try_find_session(access)));
        answer.unwrap_or(Poll::Pending)
    }

    fn find(self: Arc<Self>, access: Digest<Access>) -> Answer<'static, Option<Arc<Session>>> {
        Box::pin(
            async move { with_deadline("find_session", self.deadlines.read, self.store.find_session(&access)).await },
        )
    }
}

macro_rules! ceremony_store {
    ($($kind:ident $name:ident ( $($argument:ident : $type:ty),* ) -> $answer:ty;)*) => {
        pub(crate) trait DynCeremonyStore: Send + Sync {
            fn find_session<'a>(&'a self, access: &'a Digest<Access>) -> Answer<'a, Option<Arc<Session>>>;
            $(fn $name<'a>(&'a self, $($argument: $type),*) -> Answer<'a, $answer>;)*
        }

        impl<S: CeremonyStore> DynCeremonyStore for WithDeadline<S> {
            fn find_session<'a>(&'a self, access: &'a Digest<Access>) -> Answer<'a, Option<Arc<Session>>> {
                Box::pin(with_deadline("find_session", self.deadlines.read, self.store.find_session(access)))
            }

            $(fn $name<'a>(&'a self, $($argument: $type),*) -> Answer<'a, $answer> {
                Box::pin(with_deadline(stringify!($name), self.deadlines.$kind, self.store.$name($($argument),*)))
            })*
        }
    };
}

ceremony_store! {
    write create_authorization(authorization: &'a AuthorizationRequest, caps: PendingCaps) -> Creation;
    read find_authorization(key: &'a AuthorizationKey) -> Option<AuthorizationRequest>;
    write transition(id: &'a AuthorizationRequestId, transition: &'a Transition, at: Timestamp) -> bool;
    write redeem(new: &'a NewSession, at: Timestamp) -> bool;
    read session_of(authorization: &'a AuthorizationRequestId) -> Option<SessionRecord>;
    read find_record(session: &'a SessionId) -> Option<SessionRecord>;
    read find_refresh(refresh: &'a Digest<Refresh>) -> Option<RefreshTokenState>;
    write rotate(rotation: &'a Rotation, at: Timestamp) -> Option<SessionId>;
    read list_sessions(account: &'a AccountId, before: Option<&'a SessionId>, limit: usize) -> Vec<SessionRecord>;
    write revoke(target: &'a RevokeTarget, by: RevokedBy, at: Timestamp) -> Vec<SessionId>;
    write record_uses(uses: &'a [(SessionId, Use)]) -> ();
    write forget(cutoff: &'a Cutoff, limit: usize) -> bool;
}
