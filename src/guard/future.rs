use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    GuardBody,
    check::{Check, Lookup, Verdict},
    response::Forwarded,
};
use crate::http::{poll_caught, unfinished};

pin_project! {
    /// The future of a [`Guard`](super::Guard). It allocates only if it has to wait for the store.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        Inner { #[pin] future: S::Future, forwarded: Option<Forwarded> },
        Waiting { lookup: Lookup, waiting: Option<Box<Waiting<S, B>>> },
        Refused { response: Option<Response<Bytes>> },
    }
}

/// A request and the service that was polled ready for it, during a lookup.
pub(super) struct Waiting<S, B> {
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) check: Check,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) const fn inner(future: S::Future, forwarded: Option<Forwarded>) -> Self {
        Self { state: State::Inner { future, forwarded } }
    }

    pub(super) const fn refused(response: Response<Bytes>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(super) fn waiting(lookup: Lookup, waiting: Waiting<S, B>) -> Self {
        Self { state: State::Waiting { lookup, waiting: Some(Box::new(waiting)) } }
    }
}

impl<S, B> Waiting<S, B>
where
    S: Service<Request<B>>,
{
    fn poll(&self, lookup: &mut Lookup, context: &mut Context<'_>) -> Poll<Verdict> {
        Poll::Ready(match lookup {
            Lookup::Session(lookup) => match ready!(poll_caught(lookup, context)) {
                Ok(Ok(found)) => self.check.authorize(found, &self.request),
                Ok(Err(error)) => self.check.fail(&error),
                Err(panicked) => self.check.fail(&panicked),
            },
            Lookup::Owner(lookup) => match ready!(poll_caught(lookup, context)) {
                Ok(Ok(found)) => Check::authorize_owner(found),
                Ok(Err(error)) => self.check.fail(&error),
                Err(panicked) => self.check.fail(&panicked),
            },
        })
    }

    fn resume(mut self: Box<Self>, verdict: Verdict) -> State<S, B> {
        match verdict {
            Verdict::Forward(principal) => {
                let forwarded = self.check.forward(principal, &mut self.request);
                let Self { mut service, request, .. } = *self;
                State::Inner { future: service.call(request), forwarded }
            }
            Verdict::Refuse(refusal) => State::Refused { response: Some(self.check.refuse(refusal, &self.request)) },
            Verdict::Wait(lookup) => State::Waiting { lookup, waiting: Some(self) },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<GuardBody<R>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { future, forwarded } => {
                    return future.poll(context).map_ok(|mut response| {
                        if let Some(forwarded) = forwarded {
                            let status = response.status();
                            forwarded.complete(status, response.headers_mut());
                        }
                        response.map(GuardBody::inner)
                    });
                }
                StateProjection::Refused { response } => {
                    return Poll::Ready(Ok(unfinished(response.take()).map(GuardBody::own)));
                }
                StateProjection::Waiting { lookup, waiting } => {
                    let request = unfinished(waiting.take());
                    match request.poll(lookup, context) {
                        Poll::Ready(verdict) => request.resume(verdict),
                        Poll::Pending => {
                            *waiting = Some(request);
                            return Poll::Pending;
                        }
                    }
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
