//! The store traits, each declared once: the trait itself, the same for `Arc<T>`, its form as a trait object, and the
//! deadline of each call.

use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use tokio::time::timeout;

use super::{AuthorizationKey, Creation, Cutoff, PendingCaps, RevokeTarget, StoreError, StoreErrorKind, Subscriber};
use crate::{
    observe,
    types::{
        authorization::{AuthorizationRequest, NewAuthorizationRequest, Transition},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, SessionId},
        secret::{Access, Digest, Refresh},
        session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
    },
};

/// Finds sessions: all that a service needs that only checks tokens.
pub trait SessionStore: Send + Sync + 'static {
    /// The session whose access token has this digest, unless it was revoked. Whether it has expired is the caller's to
    /// judge, by its own clock. Its [last use](crate::types::session::Noted) is the one that is written down.
    ///
    /// # Errors
    /// When the store can't know. The caller answers 503, never 401.
    fn find_session(
        &self,
        access: &Digest<Access>,
    ) -> impl Future<Output = Result<Option<Arc<Session>>, StoreError>> + Send;

    /// The same answer, if the store can give it without waiting. `Poll::Pending`, which is the default, means that
    /// [`find_session`](Self::find_session) must be asked.
    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        let _ = access;
        Poll::Pending
    }

    /// Tells `subscriber` from now on of sessions that end, whichever process ends them. `false`, which is the default,
    /// means that the store can't. A cache subscribes, to drop them at once.
    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        let _ = subscriber;
        false
    }
}

impl<T: SessionStore> SessionStore for Arc<T> {
    fn find_session(
        &self,
        access: &Digest<Access>,
    ) -> impl Future<Output = Result<Option<Arc<Session>>, StoreError>> + Send {
        T::find_session(self, access)
    }

    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        T::try_find_session(self, access)
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        T::subscribe(self, subscriber)
    }
}

/// Declares store traits. `read` and `write` name the deadline of a call.
macro_rules! store_traits {
    ($(
        $(#[$doc:meta])*
        $name:ident as $object:ident {$(
            $(#[$method_doc:meta])*
            $deadline:ident $method:ident($($argument:ident: $type:ty),* $(,)?) -> $answer:ty;
        )*}
    )*) => {$(
        $(#[$doc])*
        pub trait $name: Send + Sync + 'static {$(
            $(#[$method_doc])*
            fn $method<'a>(
                &'a self,
                $($argument: $type),*
            ) -> impl Future<Output = Result<$answer, StoreError>> + Send;
        )*}

        impl<T: $name> $name for Arc<T> {$(
            fn $method<'a>(
                &'a self,
                $($argument: $type),*
            ) -> impl Future<Output = Result<$answer, StoreError>> + Send {
                T::$method(self, $($argument),*)
            }
        )*}

        /// The same as a trait object.
        pub(crate) trait $object: Send + Sync {$(
            fn $method<'a>(&'a self, $($argument: $type),*) -> Pending<'a, $answer>;
        )*}

        impl<S: $name> $object for WithDeadline<S> {$(
            fn $method<'a>(&'a self, $($argument: $type),*) -> Pending<'a, $answer> {
                let answer = self.store.$method($($argument),*);
                Box::pin(with_deadline(stringify!($method), self.deadlines.$deadline, answer))
            }
        )*}
    )*};
}

store_traits! {
    /// Keeps authorization requests, and turns them into sessions.
    AuthorizationStore as DynAuthorizationStore {
        /// Keeps a new authorization request, if its id and its lookups are unknown and `caps` leave room for it. Counting
        /// and inserting are one atomic step. What counts is pending at `new.request.created_at`.
        ///
        /// # Errors
        /// When the store can't know whether it was kept.
        write create_authorization(new: &'a NewAuthorizationRequest, caps: PendingCaps) -> Creation;

        /// The authorization request of that id or lookup.
        ///
        /// # Errors
        /// When the store can't know.
        read find_authorization(key: &'a AuthorizationKey) -> Option<AuthorizationRequest>;

        /// Applies `transition` if [`AuthorizationRequest::allows`] it at `at`, in one conditional write, and says whether
        /// it did. An approval adds its lookups in the same transaction; if one is taken, nothing changes and the error's
        /// kind is [`StoreErrorKind::Conflict`].
        ///
        /// # Errors
        /// When the store can't know whether it did.
        write transition(id: &'a AuthorizationRequestId, transition: &'a Transition, at: Timestamp) -> bool;

        /// Turns an approved authorization request into a session, in one transaction: if it is approved and not expired at
        /// `at`, it becomes what `new.redemption` says, and the session is created. `false` if it was not approved. The
        /// session's id and digests must be unique; if one is not, nothing changes and the error's kind is
        /// [`StoreErrorKind::Conflict`].
        ///
        /// # Errors
        /// When the store can't know whether it did.
        write redeem(new: &'a NewSession, at: Timestamp) -> bool;
    }

    /// Lists, revokes and keeps what a human sees of sessions.
    SessionRecordStore as DynSessionRecordStore {
        /// The session of that id with all that is kept of it, ended or not.
        ///
        /// # Errors
        /// When the store can't know.
        read find_record(session: &'a SessionId) -> Option<SessionRecord>;

        /// The sessions that came of an authorization request, ended or not, newest first.
        ///
        /// # Errors
        /// When the store can't know.
        read sessions_of(authorization: &'a AuthorizationRequestId) -> Vec<SessionRecord>;

        /// The sessions of an account, ended or not, newest first: at most `limit` of those before `before`.
        ///
        /// # Errors
        /// When the store can't know.
        read list_sessions(
            account: &'a AccountId,
            before: Option<&'a SessionId>,
            limit: usize,
        ) -> Vec<SessionRecord>;

        /// Revokes what `target` names. Returns the newly revoked ids, expired sessions included. From the answer on no
        /// lookup finds a session that it ended.
        ///
        /// # Errors
        /// When the store can't know whether it did. The caller answers 503, never 200.
        write revoke(target: &'a RevokeTarget, by: RevokedBy, at: Timestamp) -> Vec<SessionId>;

        /// Writes down last uses, each only if it is later than the one that stands.
        ///
        /// # Errors
        /// When the store could not write them.
        write record_uses(uses: &'a [(SessionId, Use)]) -> ();
    }

    /// Keeps refresh tokens, current and used up.
    RefreshTokenStore as DynRefreshTokenStore {
        /// What is known of a refresh token of any generation, whether its session has ended or not.
        ///
        /// # Errors
        /// When the store can't know.
        read find_refresh(refresh: &'a Digest<Refresh>) -> Option<RefreshTokenState>;

        /// Gives a session new secrets, if `rotation.from` is its current refresh token, not expired at `at`, and the
        /// session is not revoked; in one conditional write, after which the old access token finds nothing and the old
        /// refresh token is used up. Answers the session, or `None` if that did not hold. If a digest is taken, nothing
        /// changes and the error's kind is [`StoreErrorKind::Conflict`].
        ///
        /// # Errors
        /// When the store can't know whether it did.
        write rotate(rotation: &'a Rotation, at: Timestamp) -> Option<SessionId>;
    }

    /// Forgets what is over.
    HousekeepingStore as DynHousekeepingStore {
        /// Forgets at most `limit` of each: authorization requests that expired, sessions of which both tokens expired, and
        /// used-up refresh tokens that would have expired, at the instants of `cutoff` or before. Answers whether there may
        /// be more. Nothing but the store's size depends on it.
        ///
        /// # Errors
        /// When the store can't know whether it did.
        write forget(cutoff: &'a Cutoff, limit: usize) -> bool;
    }
}

/// All that the ceremony needs of a store. It is implemented for whatever implements its parts.
pub trait CeremonyStore:
    SessionStore + AuthorizationStore + SessionRecordStore + RefreshTokenStore + HousekeepingStore
{
}

impl<T: SessionStore + AuthorizationStore + SessionRecordStore + RefreshTokenStore + HousekeepingStore> CeremonyStore
    for T
{
}

/// [`CeremonyStore`] as a trait object.
pub(crate) trait DynCeremonyStore:
    DynSessionStore + DynAuthorizationStore + DynSessionRecordStore + DynRefreshTokenStore + DynHousekeepingStore
{
}

impl<T: DynSessionStore + DynAuthorizationStore + DynSessionRecordStore + DynRefreshTokenStore + DynHousekeepingStore>
    DynCeremonyStore for T
{
}

/// What a call of a store answers, in time to come.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`SessionStore`] as a trait object. A guard's lookup outlives the borrow of the guard.
pub(crate) trait DynSessionStore: Send + Sync {
    fn try_find(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>>;
    fn find(self: Arc<Self>, access: Digest<Access>) -> Pending<'static, Option<Arc<Session>>>;
}

/// How long a store may take to answer.
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
    let answer = async { timeout(deadline, answer).await.unwrap_or_else(late) };
    observe::of_store(call, answer, |error: &StoreError| error.kind().as_str()).await
}

#[derive(Debug, thiserror::Error)]
#[error("the session store did not answer within {}", humantime::format_duration(*.0))]
struct Late(Duration);

impl<S: SessionStore> DynSessionStore for WithDeadline<S> {
    fn try_find(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        // A store that panics here is asked again by `find`, where a panic fails one request.
        let answer = panic::catch_unwind(AssertUnwindSafe(|| self.store.try_find_session(access)));
        answer.unwrap_or(Poll::Pending)
    }

    fn find(self: Arc<Self>, access: Digest<Access>) -> Pending<'static, Option<Arc<Session>>> {
        Box::pin(
            async move { with_deadline("find_session", self.deadlines.read, self.store.find_session(&access)).await },
        )
    }
}
