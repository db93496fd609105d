//! Response bodies that end when their session ends.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};
use tower_layer::Layer;
use tower_service::Service;

use super::{AgentSession, Guard, GuardLayer, Shared, grpc};
use crate::{
    http::{Answering, poll_caught},
    store::{Notice, StoreError, Subscriber, traits::DynSessionStore},
    types::{
        id::SessionId,
        secret::{Access, Digest},
        session::Session,
    },
};

/// How often the session of a body is checked.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a body goes on while its session can't be checked.
const UNCHECKED: Duration = Duration::from_secs(60);

/// The layer of a guard whose response bodies end with the agent's session. Created by
/// [`GuardLayer::end_with_session`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionGuardLayer {
    guard: GuardLayer,
}

impl SessionGuardLayer {
    pub(super) const fn new(guard: GuardLayer) -> Self {
        Self { guard }
    }
}

impl<S> Layer<S> for SessionGuardLayer {
    type Service = Guard<EndWithSession<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        let check = &self.guard.check;
        self.guard.layer(EndWithSession { inner, shared: Arc::clone(&check.shared), grpc: check.grpc })
    }
}

/// The service inside a guard that ends response bodies with the agent's session.
#[derive(Clone, Debug)]
pub struct EndWithSession<S> {
    inner: S,
    shared: Arc<Shared>,
    grpc: bool,
}

impl<S, B, R> Service<Request<B>> for EndWithSession<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<SessionBody<R>>;
    type Error = S::Error;
    type Future = SessionResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let grpc = self.grpc && grpc::is_call(&request);
        let agent = request.extensions().get::<AgentSession>();
        let watch = agent.map(|agent| Box::new(Watch::new(&self.shared, &agent.session, grpc)));
        SessionResponseFuture { future: self.inner.call(request), watch }
    }
}

pin_project! {
    /// The future of an [`EndWithSession`].
    #[must_use = "futures do nothing unless polled"]
    pub struct SessionResponseFuture<F> {
        #[pin]
        future: F,
        watch: Option<Box<Watch>>,
    }
}

impl<F, R, E> Future for SessionResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<SessionBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(context))?;
        let watch = this.watch.take();
        Poll::Ready(Ok(response.map(|body| SessionBody { body: Some(body), watch })))
    }
}

impl<F> fmt::Debug for SessionResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionResponseFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// A response body that ends when the session of its request ends: with the error [`SessionEnded`], or for gRPC
    /// with the status `UNAUTHENTICATED` in the trailers.
    pub struct SessionBody<B> {
        // `None` if the body was ended.
        #[pin]
        body: Option<B>,
        watch: Option<Box<Watch>>,
    }
}

/// The session of a request ended while its response was sent. Servers then break the response off, so that a client
/// does not take it for complete: HTTP/1.1 closes the connection, HTTP/2 resets the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the agent's session ended while the response was sent")]
#[non_exhaustive]
pub struct SessionEnded;

impl<B> Body for SessionBody<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        if let Some(watch) = this.watch {
            if watch.poll_ended(context).is_ready() {
                let grpc = watch.grpc;
                *this.watch = None;
                this.body.set(None);
                return Poll::Ready(Some(if grpc { Ok(Frame::trailers(ended())) } else { Err(SessionEnded.into()) }));
            }
        }
        match this.body.as_pin_mut() {
            Some(body) => body.poll_frame(context).map_err(Into::into),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The inner service's default body, which does not end with a session.
impl<B: Default> Default for SessionBody<B> {
    fn default() -> Self {
        Self { body: Some(B::default()), watch: None }
    }
}

impl<B> fmt::Debug for SessionBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBody").finish_non_exhaustive()
    }
}

/// The trailers of a gRPC response whose session ended.
fn ended() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", grpc::UNAUTHENTICATED.into());
    trailers.insert("grpc-message", HeaderValue::from_static("the session ended while the response was sent"));
    trailers
}

/// Watches the session of one response.
struct Watch {
    shared: Arc<Shared>,
    session: Arc<Session>,
    grpc: bool,
    /// Receives a message when a store sends a notice about the session.
    noticed: mpsc::Receiver<()>,
    /// Elapses when the next check is due. Created when the body is first polled.
    due: Option<Pin<Box<Sleep>>>,
    lookup: Option<Answering<Result<Option<Arc<Session>>, StoreError>>>,
    /// When the session was last known to be good.
    known: Instant,
}

impl Watch {
    fn new(shared: &Arc<Shared>, session: &Arc<Session>, grpc: bool) -> Self {
        let noticed = shared.endings.watch(session, shared.store());
        let (shared, session) = (Arc::clone(shared), Arc::clone(session));
        Self { shared, session, grpc, noticed, due: None, lookup: None, known: Instant::now() }
    }

    /// Completes when the session has ended.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.shared.is_good(&self.session) {
                return Poll::Ready(());
            }
            let found = if let Some(lookup) = &mut self.lookup {
                let found = ready!(poll_caught(lookup, context));
                self.lookup = None;
                found.ok().and_then(Result::ok)
            } else {
                ready!(self.poll_due(context));
                match self.shared.store().try_find(&self.session.access) {
                    Poll::Ready(found) => Some(found),
                    Poll::Pending => {
                        self.lookup = Some(Arc::clone(self.shared.store()).find(self.session.access));
                        continue;
                    }
                }
            };
            match found {
                Some(Some(found)) if self.shared.is_good(&found) => self.known = Instant::now(),
                Some(_) => return Poll::Ready(()),
                // The store failed.
                None if self.known.elapsed() >= UNCHECKED => return Poll::Ready(()),
                None => {}
            }
            self.due = None;
        }
    }

    /// Completes when a check is due: after the interval, at the end of the access token, or after a notice.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let noticed = matches!(self.noticed.poll_recv(context), Poll::Ready(Some(())));
        let left = self.shared.time_left(&self.session);
        let due = self.due.get_or_insert_with(|| Box::pin(sleep(INTERVAL.min(left))));
        if noticed || due.as_mut().poll(context).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.noticed.close();
        self.shared.endings.forget_closed(&self.session.id);
    }
}

/// Passes the store's notices on to the bodies of the sessions that they concern.
#[derive(Default)]
pub(super) struct Endings {
    subscribed: OnceLock<bool>,
    watches: Mutex<HashMap<SessionId, Vec<Subscription>>>,
}

struct Subscription {
    access: Digest<Access>,
    notify: mpsc::Sender<()>,
}

impl Endings {
    /// Returns a receiver of notices about the session. The first call subscribes to the store.
    fn watch(self: &Arc<Self>, session: &Session, store: &Arc<dyn DynSessionStore>) -> mpsc::Receiver<()> {
        self.subscribed.get_or_init(|| {
            let subscriber: Weak<Self> = Arc::downgrade(self);
            // Without notices, or if the store panics, bodies end by the interval.
            catch_unwind(AssertUnwindSafe(|| store.subscribe(subscriber))).unwrap_or(false)
        });
        // One message is enough: it stands for all notices until the body is polled.
        let (notify, noticed) = mpsc::channel(1);
        let subscription = Subscription { access: session.access, notify };
        self.watches().entry(session.id.clone()).or_default().push(subscription);
        noticed
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Subscription>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_closed(&self, session: &SessionId) {
        let mut watches = self.watches();
        if let Some(subscriptions) = watches.get_mut(session) {
            subscriptions.retain(|subscription| !subscription.notify.is_closed());
            if subscriptions.is_empty() {
                watches.remove(session);
            }
        }
    }
}

impl Subscriber for Endings {
    fn notify(&self, notice: &Notice) {
        let watches = self.watches();
        let send = |subscription: &Subscription| {
            // A channel that is full holds a message already.
            let _ = subscription.notify.try_send(());
        };
        match notice {
            Notice::Ended(sessions) => {
                sessions.iter().filter_map(|session| watches.get(session)).flatten().for_each(send);
            }
            Notice::EndedToken(access) => {
                watches.values().flatten().filter(|subscription| subscription.access == *access).for_each(send);
            }
            // After a gap, the interval finds what was missed.
            _ => {}
        }
    }
}
