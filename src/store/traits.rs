//! The store traits, each declared once. Each comes with an implementation for `Arc<T>`, a trait object form, and a
//! deadline for each call.

use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    AuthorizationKey, ClientCreation, ClientCutoff, Creation, Cutoff, PendingCaps, RevokeTarget, StoreError,
    StoreErrorKind, Subscriber,
};
use crate::{
    observe,
    types::{
        authorization::{Account, AuthorizationRequest, NewAuthorizationRequest, Transition},
        client::RegisteredClient,
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
        identity::{IdentityKey, LinkedIdentity, TokenKey},
        secret::{Access, Digest, Refresh},
        session::{NewSession, RefreshTokenState, RevokedBy, Rotation, Session, SessionRecord, Use},
        text::HumanText,
    },
};

/// Finds sessions. This is all that a service needs to check tokens.
pub trait SessionStore: Send + Sync + 'static {
    /// Returns the session whose access token has this digest, unless it was revoked. Expired sessions may be returned:
    /// the caller checks expiry with its own clock. The [last use](crate::types::session::LastUsed) of the session is
    /// the persisted one.
    ///
    /// # Errors
    /// When the lookup fails. The caller responds with 503, never 401.
    fn find_session(
        &self,
        access: &Digest<Access>,
    ) -> impl Future<Output = Result<Option<Arc<Session>>, StoreError>> + Send;

    /// Returns the same result, if it is available without waiting. `Poll::Pending`, the default, means that the caller
    /// must use [`find_session`](Self::find_session).
    fn try_find_session(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        let _ = access;
        Poll::Pending
    }

    /// Notifies `subscriber` of sessions that end, in any process. Returns `false`, the default, if the store has no
    /// notices. A cache subscribes to drop ended sessions at once.
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

/// Declares store traits, and the macro `with_store_traits`, which calls another macro with all their methods. Each
/// method is listed only here. `read` and `write` name the deadline of a call. A method with a default is provided.
macro_rules! store_traits {
    ($dollar:tt $(
        $(#[$doc:meta])*
        $name:ident as $object:ident {$(
            $(#[$method_doc:meta])*
            $deadline:ident $method:ident($($argument:ident: $type:ty),* $(,)?) -> $answer:ty $(= $default:expr)?;
        )*}
    )*) => {$(
        $(#[$doc])*
        #[allow(clippy::needless_lifetimes, reason = "most methods have arguments that borrow for as long")]
        pub trait $name: Send + Sync + 'static {$(
            store_traits! {
                @method [$($default)?]
                $(#[$method_doc])*
                fn $method<'a>(&'a self, $($argument: $type),*) -> $answer
            }
        )*}

        #[allow(clippy::needless_lifetimes, reason = "most methods have arguments that borrow for as long")]
        impl<T: $name> $name for Arc<T> {$(
            fn $method<'a>(
                &'a self,
                $($argument: $type),*
            ) -> impl Future<Output = Result<$answer, StoreError>> + Send {
                T::$method(self, $($argument),*)
            }
        )*}

        /// The trait as a trait object.
        pub(crate) trait $object: Send + Sync {$(
            fn $method<'a>(&'a self, $($argument: $type),*) -> Pending<'a, $answer>;
        )*}

        impl<S: $name> $object for WithDeadline<S> {$(
            fn $method<'a>(&'a self, $($argument: $type),*) -> Pending<'a, $answer> {
                let answer = self.store.$method($($argument),*);
                Box::pin(with_deadline(stringify!($method), self.deadlines.$deadline(), answer))
            }
        )*}
    )*

        #[allow(unused_macros, reason = "only stores in SQL and the conformance suite use it")]
        macro_rules! with_store_traits {
            ($dollar then:ident $dollar store:ident) => {
                $dollar then! { $dollar store: $($name {$(
                    $method($($argument: $type),*) -> $answer;
                )*})* }
            };
        }
    };
    (@method [] $(#[$doc:meta])* fn $method:ident<'a>(&'a self, $($argument:ident: $type:ty),*) -> $answer:ty) => {
        $(#[$doc])*
        fn $method<'a>(&'a self, $($argument: $type),*) -> impl Future<Output = Result<$answer, StoreError>> + Send;
    };
    (@method [$default:expr] $(#[$doc:meta])* fn $method:ident<'a>(&'a self,) -> $answer:ty) => {
        $(#[$doc])*
        fn $method(&self) -> impl Future<Output = Result<$answer, StoreError>> + Send {
            async { Ok($default) }
        }
    };
}

store_traits! { $
    /// Stores authorization requests, and redeems them for sessions.
    AuthorizationStore as DynAuthorizationStore {
        /// Stores a new authorization request, if its id and lookups are unused and `caps` leave room, or an unopened
        /// request [gives way](PendingCaps::total). Counting a source and inserting are one atomic step. The caps count
        /// requests that are pending at `new.request.created_at`. The cost does not depend on how many are pending.
        ///
        /// Deletes nothing: the clock that dated the request may be wrong, and the other requests may be those of other
        /// nodes. [`forget`](HousekeepingStore::forget) deletes what has expired.
        ///
        /// # Errors
        /// When it is unknown whether the request was stored.
        write create_authorization(new: &'a NewAuthorizationRequest, caps: PendingCaps) -> Creation;

        /// Returns the authorization request of that id or lookup.
        ///
        /// # Errors
        /// When the lookup fails.
        read find_authorization(key: &'a AuthorizationKey) -> Option<AuthorizationRequest>;

        /// Returns the authorization requests that the account has approved and that can be redeemed at `at`: at most
        /// `limit`, the last created first.
        ///
        /// # Errors
        /// When the lookup fails.
        read list_approved(account: &'a AccountId, at: Timestamp, limit: usize) -> Vec<AuthorizationRequest>;

        /// Returns the authorization requests that are bound to the account, in any state: at most `limit` of those whose
        /// ids come after `after`, in an order of the ids that stays the same.
        ///
        /// # Errors
        /// When the lookup fails.
        read list_authorizations(
            account: &'a AccountId,
            after: Option<&'a AuthorizationRequestId>,
            limit: usize,
        ) -> Vec<AuthorizationRequest>;

        /// Applies `transition` in one conditional write, if [`AuthorizationRequest::allows`] permits it at `at`.
        /// Returns whether it was applied. An approval adds its lookups in the same transaction. If one is taken,
        /// nothing changes and the error's kind is [`StoreErrorKind::Conflict`].
        ///
        /// # Errors
        /// When it is unknown whether the transition was applied.
        write transition(id: &'a AuthorizationRequestId, transition: &'a Transition, at: Timestamp) -> bool;

        /// Redeems an authorization request and creates its session, in one transaction. Returns `false` if the request
        /// is not approved, or has expired at `at`. `new.redemption` decides whether the request stays approved. The
        /// session's id and digests must be unique. If one is not, nothing changes and the error's kind is
        /// [`StoreErrorKind::Conflict`].
        ///
        /// # Errors
        /// When it is unknown whether the session was created.
        write redeem(new: &'a NewSession, at: Timestamp) -> bool;
    }

    /// Finds, lists and revokes sessions, and records their uses.
    SessionRecordStore as DynSessionRecordStore {
        /// Returns the session of that id with everything that is stored for it, ended or not.
        ///
        /// # Errors
        /// When the lookup fails.
        read find_record(session: &'a SessionId) -> Option<SessionRecord>;

        /// Returns the sessions created from an authorization request, ended or not, newest first.
        ///
        /// # Errors
        /// When the lookup fails.
        read sessions_of(authorization: &'a AuthorizationRequestId) -> Vec<SessionRecord>;

        /// Returns the sessions of an account, ended or not, newest first: at most `limit` of those older than
        /// `before`.
        ///
        /// # Errors
        /// When the lookup fails.
        read list_sessions(
            account: &'a AccountId,
            before: Option<&'a SessionId>,
            limit: usize,
        ) -> Vec<SessionRecord>;

        /// Revokes `target`. Returns the newly revoked ids, expired sessions included. Once this returns, no lookup
        /// finds a revoked session.
        ///
        /// # Errors
        /// When it is unknown whether the revocation was applied. The caller responds with 503, never 200.
        write revoke(target: &'a RevokeTarget, by: RevokedBy, at: Timestamp) -> Vec<SessionId>;

        /// Names a session of the account, ended or not. `None` takes its name away. Returns whether the account has that
        /// session.
        ///
        /// # Errors
        /// When it is unknown whether the session was named.
        write rename_session(account: &'a AccountId, session: &'a SessionId, name: Option<&'a HumanText>) -> bool;

        /// Persists last uses. An older use never replaces a newer one, unless that one is later than `at` by more than
        /// [`CLOCK_SKEW`](super::CLOCK_SKEW).
        ///
        /// # Errors
        /// When the uses could not be written.
        write record_uses(uses: &'a [(SessionId, Use)], at: Timestamp) -> ();
    }

    /// Stores refresh tokens, current and used up.
    RefreshTokenStore as DynRefreshTokenStore {
        /// Returns the state of a refresh token of any generation, whether its session has ended or not.
        ///
        /// # Errors
        /// When the lookup fails.
        read find_refresh(refresh: &'a Digest<Refresh>) -> Option<RefreshTokenState>;

        /// Gives a session new secrets, in one conditional write. `rotation.from` must be its current refresh token and
        /// not expired at `at`, and the session must not be revoked. Afterwards no lookup finds the old access token,
        /// and the old refresh token is used up. Returns the session, or `None` if a condition did not hold. If a
        /// digest is taken, nothing changes and the error's kind is [`StoreErrorKind::Conflict`].
        ///
        /// # Errors
        /// When it is unknown whether the session was refreshed.
        write rotate(rotation: &'a Rotation, at: Timestamp) -> Option<SessionId>;
    }

    /// Deletes data.
    HousekeepingStore as DynHousekeepingStore {
        /// Deletes at most `limit` of each: expired authorization requests, sessions of which both tokens expired, and
        /// used-up refresh tokens past their expiry. Data that expired at the instants of `cutoff` or before is
        /// deleted. Returns whether there may be more. Only the store's size depends on it.
        ///
        /// It is called only while the clock of the calling node [is trusted](crate::types::clock::Clock::is_trusted).
        /// `cutoff` is at least an hour before that clock, and before [`server_time`](Self::server_time).
        ///
        /// # Errors
        /// When it is unknown whether the data was deleted.
        write forget(cutoff: &'a Cutoff, limit: usize) -> bool;

        /// Deletes at most `limit` of each, ended or not: sessions of the account with all their refresh tokens, and
        /// authorization requests that are bound to it. Returns whether there may be more. Afterwards no lookup finds a
        /// deleted session.
        ///
        /// # Errors
        /// When it is unknown whether the data was deleted.
        write forget_account(account: &'a AccountId, limit: usize) -> bool;

        /// Returns the time of the database server, if the store has one: a second clock, beside that of the calling
        /// node, by which data must have expired to be deleted. `None`, the default, if there is no such clock.
        ///
        /// # Errors
        /// When the server can't be asked. Nothing is deleted then.
        read server_time() -> Option<Timestamp> = None;
    }

    /// Stores OAuth clients that registered themselves (RFC 7591). A service needs it only if it offers registration and
    /// stores the clients. No call costs more when there are more clients.
    ClientStore as DynClientStore {
        /// Stores a new client, if its id is unused. If it has never been used, fewer than `most_unused` such clients
        /// must be stored; `None` means no cap. Counting and inserting are one atomic step, so the cap is exact.
        ///
        /// # Errors
        /// When it is unknown whether the client was stored.
        write create_client(new: &'a RegisteredClient, most_unused: Option<u32>) -> ClientCreation;

        /// Returns the client of that id.
        ///
        /// # Errors
        /// When the lookup fails.
        read find_client(id: &'a ClientId) -> Option<RegisteredClient>;

        /// Records that the client was used at `at`. An older use never replaces a newer one. Returns whether the client
        /// is stored.
        ///
        /// # Errors
        /// When it is unknown whether the use was recorded.
        write use_client(id: &'a ClientId, at: Timestamp) -> bool;

        /// Deletes at most `limit` clients that have never been used, and as many that have, by `cutoff`. Returns whether
        /// there may be more.
        ///
        /// # Errors
        /// When it is unknown whether the clients were deleted.
        write forget_clients(cutoff: &'a ClientCutoff, limit: usize) -> bool;
    }

    /// Stores which accounts the identities of other issuers are linked to, and which of their tokens were used. A service
    /// needs it only if it [trusts issuers](crate::Config::trusted_issuers). No call costs more when there are more links
    /// or tokens.
    IdentityStore as DynIdentityStore {
        /// Links an identity to an account, from `at` on. An identity has one link at most: another one is replaced.
        ///
        /// # Errors
        /// When it is unknown whether the identity was linked.
        write link_identity(identity: &'a IdentityKey, account: &'a Account, at: Timestamp) -> ();

        /// Returns the account that an identity is linked to, with the label that it had then.
        ///
        /// # Errors
        /// When the lookup fails.
        read find_identity(identity: &'a IdentityKey) -> Option<Account>;

        /// Returns the identities that are linked to the account, with the label of their last link: at most `limit` of
        /// those whose keys come after `after`, in the order of the keys' bytes.
        ///
        /// # Errors
        /// When the lookup fails.
        read list_identities(
            account: &'a AccountId,
            after: Option<&'a IdentityKey>,
            limit: usize,
        ) -> Vec<LinkedIdentity>;

        /// Deletes the link of an identity. Returns the account that it was linked to: of concurrent calls to one of them.
        ///
        /// # Errors
        /// When it is unknown whether the link was deleted.
        write unlink_identity(identity: &'a IdentityKey) -> Option<Account>;

        /// Deletes at most `limit` links to the account. Returns whether there may be more.
        ///
        /// # Errors
        /// When it is unknown whether the links were deleted.
        write unlink_account(account: &'a AccountId, limit: usize) -> bool;

        /// Notes that a token was used, and remembers it until `until` at least. Returns whether it had not been used: of
        /// any number of concurrent calls, `true` to one only. A token that is remembered has been used, whatever its
        /// `until`.
        ///
        /// # Errors
        /// When it is unknown whether the use was noted. The token then counts as used.
        write use_once(token: &'a TokenKey, until: Timestamp) -> bool;

        /// Returns whether a token was used, as far as it is remembered.
        ///
        /// # Errors
        /// When the lookup fails.
        read is_used(token: &'a TokenKey) -> bool;

        /// Deletes at most `limit` tokens that are remembered until `cutoff` or before. Returns whether there may be more.
        ///
        /// # Errors
        /// When it is unknown whether the tokens were deleted.
        write forget_used(cutoff: Timestamp, limit: usize) -> bool;
    }
}

#[allow(unused_imports, reason = "only stores in SQL and the conformance suite use it")]
pub(crate) use with_store_traits;

/// All that the ceremony needs of a store. Implemented for every type that implements its supertraits.
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

/// The future that a store call returns.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// [`SessionStore`] as a trait object. The future of `find` outlives the borrow of the guard.
pub(crate) trait DynSessionStore: Send + Sync {
    fn try_find(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>>;
    fn find(self: Arc<Self>, access: Digest<Access>) -> Pending<'static, Option<Arc<Session>>>;
    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool;
}

/// The time limits of store calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

/// The time limit of one store call.
#[derive(Clone, Copy)]
struct Deadline {
    limit: Duration,
    /// Whether the call changes stored data. If it fails, it is unknown whether the change was made.
    writes: bool,
}

impl Deadlines {
    const fn read(self) -> Deadline {
        Deadline { limit: self.read, writes: false }
    }

    const fn write(self) -> Deadline {
        Deadline { limit: self.write, writes: true }
    }
}

/// A store whose every call has a deadline.
pub(crate) struct WithDeadline<S> {
    pub(crate) store: S,
    pub(crate) deadlines: Deadlines,
}

async fn with_deadline<T>(
    call: &'static str,
    deadline: Deadline,
    answer: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::because(StoreErrorKind::Unavailable, Late(deadline.limit)));
    let answer = async { timeout(deadline.limit, answer).await.unwrap_or_else(late) };
    let answer = observe::of_store(call, answer, |error: &StoreError| error.kind().as_str()).await;
    answer.map_err(|error| if deadline.writes { error.of_a_write() } else { error })
}

/// Whether the store did not respond in time.
pub(crate) fn is_late(error: &StoreError) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Late>())
}

#[derive(Debug, thiserror::Error)]
#[error("the session store did not answer within {}", humantime::format_duration(*.0))]
struct Late(Duration);

impl<S: SessionStore> DynSessionStore for WithDeadline<S> {
    fn try_find(&self, access: &Digest<Access>) -> Poll<Option<Arc<Session>>> {
        // If the store panics here, the caller falls back to `find`, where a panic fails only one request.
        let answer = panic::catch_unwind(AssertUnwindSafe(|| self.store.try_find_session(access)));
        answer.unwrap_or(Poll::Pending)
    }

    fn find(self: Arc<Self>, access: Digest<Access>) -> Pending<'static, Option<Arc<Session>>> {
        Box::pin(
            async move { with_deadline("find_session", self.deadlines.read(), self.store.find_session(&access)).await },
        )
    }

    fn subscribe(&self, subscriber: Weak<dyn Subscriber>) -> bool {
        self.store.subscribe(subscriber)
    }
}
