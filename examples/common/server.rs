//! The HTTP server of the examples. It serves HTTP/1.1 and HTTP/2 as `axum::serve` does, and bounds what a slow, silent or
//! greedy client can hold:
//!
//! * [`Limits::connections`] and [`Limits::connections_per_address`] bound open connections.
//! * [`Limits::idle`] ends a connection without a complete request: one that is silent, that stopped in the middle of a
//!   head, or that is kept alive for a next request. A peer that has vanished counts as silent.
//! * [`Limits::transfer`] ends a request body that does not arrive, and a response that the client does not read.
//! * A head has at most 64 KiB and 100 fields over HTTP/1.1, and 16 KiB over HTTP/2. A connection of HTTP/2 has at most
//!   128 streams.
//!
//! A handler that takes long is not ended, and neither is a stream that has nothing to send for a while. A response that is
//! sent before the upload was read arrives, if the upload ends within [`Limits::idle`].

use std::{
    collections::HashMap,
    error::Error,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use pin_project_lite::pin_project;
use tokio::{
    net::{TcpListener, TcpStream},
    signal,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};
use tower::{Service, ServiceExt};

use linger::Linger;

#[path = "linger.rs"]
mod linger;

/// How long running requests may take after a shutdown starts.
const GRACE: Duration = Duration::from_secs(10);
/// How long a connection may take to close after it reached a limit.
const CLOSING: Duration = Duration::from_secs(1);

type BoxError = Box<dyn Error + Send + Sync>;

/// What clients may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open connections in total. Further ones wait until one ends. It must be below the process's limit of open files.
    pub(crate) connections: usize,
    /// Open connections of one address, or of one IPv6 network of /64. Further ones are closed at once. Behind a proxy,
    /// all connections are the proxy's: set it to the total.
    pub(crate) connections_per_address: usize,
    /// How long a connection may be without a complete request.
    pub(crate) idle: Duration,
    /// How long a request body may take to arrive, and how long the client may leave a part of a response unread.
    pub(crate) transfer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Common systems allow 1,024 open files.
            connections: 768,
            connections_per_address: 256,
            idle: Duration::from_secs(10),
            transfer: Duration::from_secs(30),
        }
    }
}

/// Serves until `stop` completes, then finishes running requests. Each request has its peer's `SocketAddr` as an extension.
pub(crate) async fn serve<S, B>(listener: TcpListener, limits: Limits, service: S, stop: impl Future<Output = ()>)
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send, Error: Into<BoxError>> + Clone + Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let builder = http_builder(limits);
    let (places, addresses) = (Arc::new(Semaphore::new(limits.connections)), Addresses::default());
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        // While all places are taken, new connections wait in the listener's queue.
        let next = async { (Arc::clone(&places).acquire_owned().await, listener.accept().await) };
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = next => match (place, accepted) {
                (Ok(place), Ok((stream, peer))) => {
                    if let Some(held) = Held::take(place, &addresses, peer.ip(), limits.connections_per_address) {
                        let connection = Connection { peer, limits, builder: builder.clone(), service: service.clone() };
                        connections.spawn(connection.run(stream, stopped.clone(), held));
                    }
                }
                // For example, too many files are open: wait until some are closed.
                _ => sleep(Duration::from_millis(100)).await,
            },
        }
    }
    drop(listener);
    let _ = stopping.send(());
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

fn http_builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.transfer)
        .keep_alive_timeout(limits.idle)
        .max_concurrent_streams(128)
        .max_header_list_size(16 * 1024);
    builder
}

/// How many connections each address has.
type Addresses = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// What an open connection takes up.
struct Held {
    _place: OwnedSemaphorePermit,
    addresses: Addresses,
    address: IpAddr,
}

impl Held {
    /// `None` if the address has its maximum.
    fn take(place: OwnedSemaphorePermit, addresses: &Addresses, address: IpAddr, most: usize) -> Option<Self> {
        let address = source(address);
        let mut counts = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Self { _place: place, addresses: Arc::clone(addresses), address })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// The address that is counted: of IPv6 the network of /64, which one client has.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

struct Connection<S> {
    peer: SocketAddr,
    limits: Limits,
    builder: Builder<TokioExecutor>,
    service: S,
}

impl<S> Connection<S> {
    async fn run<B>(self, stream: TcpStream, mut stopped: watch::Receiver<()>, _held: Held)
    where
        S: Service<Request<Body>, Response = Response<B>, Future: Send, Error: Into<BoxError>> + Clone + Send + 'static,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { peer, limits, builder, service } = self;
        let activity = Arc::new(Activity::default());
        let exchanges = Arc::clone(&activity);
        let service = service_fn(move |request: Request<Incoming>| {
            let exchange = Exchange::begin(&exchanges);
            let mut request = request.map(|body| Body::new(body, limits.transfer));
            request.extensions_mut().insert(peer);
            let answer = service.clone().oneshot(request);
            async move { answer.await.map(|response| response.map(|body| Watched { body, exchange })) }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(Linger::new(stream)), service));
        // Connection errors are ignored: the client causes them.
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stopped.changed() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                    return;
                }
                () = sleep_until(activity.next_check(limits)) => {
                    if activity.is_over(limits) {
                        break;
                    }
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(CLOSING, connection).await;
    }
}

/// What happens on a connection.
struct Activity(Mutex<Exchanges>);

struct Exchanges {
    /// Since when each running exchange waits for its client to read; `None` while it waits for the service.
    unread: HashMap<u64, Option<Instant>>,
    next: u64,
    /// When the connection was opened, or its last exchange ended.
    idle_since: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(Exchanges { unread: HashMap::new(), next: 0, idle_since: Instant::now() }))
    }
}

impl Activity {
    fn with<T>(&self, work: impl FnOnce(&mut Exchanges) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the connection reaches a limit if nothing happens until then; `None` while it waits for the service.
    fn end(&self, limits: Limits) -> Option<Instant> {
        self.with(|exchanges| match exchanges.unread.is_empty() {
            true => Some(exchanges.idle_since + limits.idle),
            false => exchanges.unread.values().flatten().min().map(|since| *since + limits.transfer),
        })
    }

    /// Not later than the shorter limit from now: what happens until then may bring the end forward.
    fn next_check(&self, limits: Limits) -> Instant {
        let soon = Instant::now() + limits.idle.min(limits.transfer);
        self.end(limits).map_or(soon, |end| end.min(soon))
    }

    fn is_over(&self, limits: Limits) -> bool {
        self.end(limits).is_some_and(|end| end <= Instant::now())
    }
}

/// A request and its response, until the response was sent or given up.
struct Exchange {
    activity: Arc<Activity>,
    number: u64,
}

impl Exchange {
    fn begin(activity: &Arc<Activity>) -> Self {
        let number = activity.with(|exchanges| {
            exchanges.next += 1;
            exchanges.unread.insert(exchanges.next, None);
            exchanges.next
        });
        Self { activity: Arc::clone(activity), number }
    }

    fn waits_for_client(&self, since: Option<Instant>) {
        self.activity.with(|exchanges| exchanges.unread.insert(self.number, since));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.activity.with(|exchanges| {
            exchanges.unread.remove(&self.number);
            exchanges.idle_since = Instant::now();
        });
    }
}

pin_project! {
    /// The body of a request. It fails if it does not arrive in time.
    pub(crate) struct Body {
        #[pin]
        body: Incoming,
        // `None` if there is nothing to wait for.
        late: Option<Pin<Box<Sleep>>>,
    }
}

impl Body {
    fn new(body: Incoming, time: Duration) -> Self {
        let late = (!http_body::Body::is_end_stream(&body)).then(|| Box::pin(sleep(time)));
        Self { body, late }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        // A body that comes in small pieces is late as well, so the time is checked first.
        if this.late.as_mut().is_some_and(|late| late.as_mut().poll(context).is_ready()) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the body did not arrive in time");
            return Poll::Ready(Some(Err(error.into())));
        }
        let frame = ready!(this.body.poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// The body of a response. It notes whether it waits for the client or for the service.
    struct Watched<B> {
        #[pin]
        body: B,
        exchange: Exchange,
    }
}

impl<B: http_body::Body> http_body::Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(context);
        // It is polled for the next frame when the client has made room for it.
        this.exchange.waits_for_client(polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Completes when the process is interrupted or terminated.
pub(crate) async fn asked_to_stop() {
    tokio::select! {
        _ = signal::ctrl_c() => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    match signal::unix::signal(signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}
