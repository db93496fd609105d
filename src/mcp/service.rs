use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{
    BodyExt, Full, Limited,
    combinators::{Collect, MapErr},
};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::rules::Rules;
use crate::{
    guard::{AgentSession, LateCheck, Refusal},
    http::{GuardBody, Reply, error_reply, unfinished},
};

/// How the body of a request is read.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) rules: Arc<Rules>,
    pub(super) check: LateCheck,
    /// Whether requests without an agent session are left to the server's own auth.
    pub(super) or_host: bool,
    /// The maximum size in bytes.
    pub(super) limit: usize,
    pub(super) time: Duration,
}

/// The service inside a guard that reads the body of each POST, and checks the session against the rule of its
/// operation. Created by [`McpLayer::read_bodies`](super::McpLayer::read_bodies).
#[derive(Clone, Debug)]
pub struct ReadBodies<S> {
    pub(super) inner: S,
    pub(super) reader: Reader,
}

impl<S, B, R> Service<Request<B>> for ReadBodies<S>
where
    S: Service<Request<Body<B>>, Response = Response<R>> + Clone,
    B: http_body::Body,
{
    type Response = Response<GuardBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_hosts = self.reader.or_host && request.extensions().get::<AgentSession>().is_none();
        if is_hosts || *request.method() != Method::POST {
            return ResponseFuture { state: State::Inner { future: self.inner.call(request.map(Body::arriving)) } };
        }
        let (head, body) = request.into_parts();
        let head = Request::from_parts(head, ());
        if body.size_hint().lower() > self.reader.limit as u64 {
            let response = self.reader.refuse_body(&head, too_large(self.reader.limit));
            return ResponseFuture { state: State::Refused { response: Some(response) } };
        }
        let unreadable: fn(B::Error) -> Unreadable = |_| Unreadable;
        let body = Limited::new(body.map_err(unreadable), self.reader.limit).collect();
        let body = tokio::time::timeout(self.reader.time, body);
        // Call the instance that was polled ready, and leave an unready clone in its place.
        let unready = self.inner.clone();
        let service = mem::replace(&mut self.inner, unready);
        let waiting = Some(Box::new(Waiting { service, head, reader: self.reader.clone() }));
        ResponseFuture { state: State::Reading { body, waiting } }
    }
}

/// The body ended with an error.
#[derive(Debug, thiserror::Error)]
#[error("the body could not be read")]
struct Unreadable;

type Reading<B> = tokio::time::Timeout<Collect<Limited<MapErr<B, fn(<B as http_body::Body>::Error) -> Unreadable>>>>;

/// The head of a request and the service that was polled ready for it, while the body is read.
struct Waiting<S> {
    service: S,
    head: Request<()>,
    reader: Reader,
}

impl Reader {
    /// Returns the refusal of a request, if it is refused.
    fn check(&self, head: &Request<()>, body: &[u8]) -> Option<Response<Bytes>> {
        match self.rules.of_body(head.headers(), body) {
            Ok(rule) => self.check.refusal(rule, head),
            Err((fault, id)) => {
                Some(self.check.refuse_with(Refusal::InvalidOperation, &fault.to_string(), fault.reply(&id), head))
            }
        }
    }

    fn refuse_body(&self, head: &Request<()>, (status, text): (StatusCode, String)) -> Response<Bytes> {
        let reply: Reply = error_reply(status, "invalid_request", &text);
        self.check.refuse_with(Refusal::Body, &text, reply, head)
    }
}

pin_project! {
    /// The future of a [`ReadBodies`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<Body<B>>>,
        B: http_body::Body,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<Body<B>>>,
        B: http_body::Body,
    {
        Inner { #[pin] future: S::Future },
        Reading { #[pin] body: Reading<B>, waiting: Option<Box<Waiting<S>>> },
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<Body<B>>, Response = Response<R>>,
    B: http_body::Body,
{
    type Output = Result<Response<GuardBody<R>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { future } => {
                    return future.poll(context).map_ok(|response| response.map(GuardBody::inner));
                }
                StateProjection::Refused { response } => {
                    return Poll::Ready(Ok(unfinished(response.take()).map(GuardBody::own)));
                }
                StateProjection::Reading { body, waiting } => {
                    let read = ready!(body.poll(context));
                    let Waiting { mut service, head, reader } = *unfinished(waiting.take());
                    let refused = |response| State::Refused { response: Some(response) };
                    match read {
                        Ok(Ok(body)) => {
                            let body = body.to_bytes();
                            match reader.check(&head, &body) {
                                Some(response) => refused(response),
                                None => State::Inner { future: service.call(head.map(|()| Body::read(body))) },
                            }
                        }
                        Ok(Err(error)) if error.is::<Unreadable>() => refused(reader.refuse_body(&head, broke_off())),
                        Ok(Err(_)) => refused(reader.refuse_body(&head, too_large(reader.limit))),
                        Err(_) => refused(reader.refuse_body(&head, too_slow(reader.time))),
                    }
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<Body<B>>>,
    B: http_body::Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

fn too_large(limit: usize) -> (StatusCode, String) {
    (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes; send less"))
}

fn too_slow(time: Duration) -> (StatusCode, String) {
    let time = humantime::format_duration(time);
    (StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {time}; send it faster"))
}

fn broke_off() -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, "the body broke off; send it again, whole".into())
}

pin_project! {
    /// The body of a request behind [`ReadBodies`]: one that was read, with the same bytes, or one that still arrives.
    /// Trailers of a body that was read are dropped.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = SourceProjection]
    enum Source<B> {
        Read { #[pin] body: Full<Bytes> },
        Arriving { #[pin] body: B },
    }
}

impl<B> Body<B> {
    fn read(body: Bytes) -> Self {
        Self { source: Source::Read { body: Full::new(body) } }
    }

    const fn arriving(body: B) -> Self {
        Self { source: Source::Arriving { body } }
    }
}

impl<B: http_body::Body> http_body::Body for Body<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().source.project() {
            SourceProjection::Read { body } => body.poll_frame(context).map_err(|never| match never {}),
            SourceProjection::Arriving { body } => {
                // For `Bytes`, this copies nothing.
                let as_bytes = |frame: Frame<B::Data>| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                body.poll_frame(context).map_ok(as_bytes)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Read { body } => body.is_end_stream(),
            Source::Arriving { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Read { body } => body.size_hint(),
            Source::Arriving { body } => body.size_hint(),
        }
    }
}
