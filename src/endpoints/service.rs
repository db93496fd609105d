use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::{
    BodyExt, Limited,
    combinators::{Collect, MapErr},
};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Endpoint, RouteTable, cors, route_table::method_not_allowed};
use crate::{
    http::{Answering, GuardBody, Reply, error_reply, for_method, jitter, poll_caught, unavailable, unfinished},
    observe,
};

/// The maximum size of a body in bytes.
pub(crate) const MAX_BODY: usize = 16 * 1024;
/// The timeout for reading a body.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(10);

/// The service that serves the documents, the endpoints and the pages, and forwards all other requests to the inner
/// service.
#[derive(Clone, Debug)]
pub struct Endpoints<S> {
    inner: S,
    routes: Arc<RouteTable>,
}

impl<S> Endpoints<S> {
    pub(super) const fn new(inner: S, routes: Arc<RouteTable>) -> Self {
        Self { inner, routes }
    }
}

impl<S, B, R> Service<Request<B>> for Endpoints<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body,
{
    type Response = Response<GuardBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(endpoint) = self.routes.find(request.uri().path()) else {
            return ResponseFuture { state: State::Inner { future: self.inner.call(request) } };
        };
        let (parts, body) = request.into_parts();
        let methods = endpoint.methods();
        let done = |reply| State::done(endpoint.is_open(), &parts.method, reply);
        let state = if endpoint.is_open() && cors::is_preflight(&parts) {
            done(cors::preflight(methods))
        } else if !methods.contains(&parts.method) {
            done(method_not_allowed(methods))
        } else if let Some(refusal) = self.routes.refusal(&*endpoint, &parts) {
            done(refusal)
        } else if !has_body(&parts.method) {
            State::answering(&*endpoint, parts, Bytes::new(), Arc::clone(&self.routes))
        } else if body.size_hint().lower() > MAX_BODY as u64 {
            done(too_large())
        } else {
            let unreadable: fn(B::Error) -> Unreadable = |_| Unreadable;
            let body = Limited::new(body.map_err(unreadable), MAX_BODY).collect();
            let body = tokio::time::timeout(BODY_TIME, body);
            State::Reading { body, asked: Some((endpoint, parts, Arc::clone(&self.routes))) }
        };
        ResponseFuture { state }
    }
}

fn has_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The body ended with an error.
#[derive(Debug, thiserror::Error)]
#[error("the body could not be read")]
pub(crate) struct Unreadable;

type Reading<B> = tokio::time::Timeout<Collect<Limited<MapErr<B, fn(<B as Body>::Error) -> Unreadable>>>>;

pin_project! {
    /// The future of an [`Endpoints`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B>
    where
        B: Body,
    {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B>
    where
        B: Body,
    {
        Inner { #[pin] future: F },
        Reading { #[pin] body: Reading<B>, asked: Option<(Arc<dyn Endpoint>, Parts, Arc<RouteTable>)> },
        Answering { answer: Answering<Reply>, open: bool, method: Method, routes: Arc<RouteTable> },
        Done { reply: Option<Reply> },
    }
}

impl<F, B: Body> State<F, B> {
    fn answering(endpoint: &dyn Endpoint, parts: Parts, body: Bytes, routes: Arc<RouteTable>) -> Self {
        let (open, method) = (endpoint.is_open(), parts.method.clone());
        let answer = observe::of_endpoint(parts, |parts| endpoint.answer(Request::from_parts(parts, body)));
        Self::Answering { answer, open, method, routes }
    }

    /// `open` is whether pages of other origins may read the response.
    fn done(open: bool, method: &Method, mut reply: Reply) -> Self {
        if open {
            cors::open(&mut reply);
        }
        Self::Done { reply: Some(for_method(method, reply)) }
    }
}

impl<F, B, R, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<R>, E>>,
    B: Body,
{
    type Output = Result<Response<GuardBody<R>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { future } => {
                    let response = ready!(future.poll(context))?;
                    return Poll::Ready(Ok(response.map(GuardBody::inner)));
                }
                StateProjection::Done { reply } => {
                    return Poll::Ready(Ok(unfinished(reply.take()).map(GuardBody::own)));
                }
                StateProjection::Reading { body, asked } => {
                    let read = ready!(body.poll(context));
                    let (endpoint, parts, routes) = unfinished(asked.take());
                    let done = |reply| State::done(endpoint.is_open(), &parts.method, reply);
                    match read {
                        Ok(Ok(body)) => State::answering(&*endpoint, parts, body.to_bytes(), routes),
                        Ok(Err(error)) => done(refused_body(&*error)),
                        Err(_) => done(too_slow()),
                    }
                }
                StateProjection::Answering { answer, open, method, routes } => {
                    let reply = ready!(poll_caught(answer, context)).unwrap_or_else(|panicked| {
                        routes.note_failure(&panicked);
                        unavailable(jitter(routes.now()))
                    });
                    State::done(*open, method, reply)
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pub(crate) fn refused_body(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Reply {
    if error.is::<Unreadable>() {
        error_reply(StatusCode::BAD_REQUEST, "invalid_request", "the body broke off; send it again, whole")
    } else {
        too_large()
    }
}

fn too_large() -> Reply {
    let text = format!("the body is larger than {MAX_BODY} bytes; send less");
    error_reply(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", &text)
}

pub(crate) fn too_slow() -> Reply {
    let text = format!("the body did not arrive within {} seconds; send it faster", BODY_TIME.as_secs());
    error_reply(StatusCode::REQUEST_TIMEOUT, "invalid_request", &text)
}
