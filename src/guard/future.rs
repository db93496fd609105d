use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::WWW_AUTHENTICATE};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    GuardBody, Shared,
    policy::Kind,
    refusal::{Answer, Told},
    shared::{Lookup, Verdict},
};
use crate::{challenge::Challenge, http::poll_caught};

pin_project! {
    /// The future of a [`Guard`](super::Guard). It is boxed only where the store really has to be waited for.
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
        Inner { #[pin] future: S::Future, challenge: Option<&'static Told> },
        Waiting { lookup: Lookup, waiting: Option<Box<Waiting<S, B>>> },
        Refused { answer: &'static Answer },
    }
}

/// A request and the readied service that it is for, while the answer is awaited.
pub(super) struct Waiting<S, B> {
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) shared: Arc<Shared>,
    pub(super) rule: Option<Kind>,
    pub(super) tells: bool,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) const fn inner(future: S::Future, challenge: Option<&'static Told>) -> Self {
        Self { state: State::Inner { future, challenge } }
    }

    pub(super) const fn refused(answer: &'static Answer) -> Self {
        Self { state: State::Refused { answer } }
    }

    pub(super) fn waiting(lookup: Lookup, waiting: Waiting<S, B>) -> Self {
        Self { state: State::Waiting { lookup, waiting: Some(Box::new(waiting)) } }
    }
}

impl Lookup {
    /// What the answer means for the request, once it is there.
    fn poll<S, B>(&mut self, context: &mut Context<'_>, waiting: &Waiting<S, B>) -> Poll<Verdict> {
        let Waiting { request, shared, rule, .. } = waiting;
        Poll::Ready(match self {
            Self::Session(lookup) => match ready!(poll_caught(lookup, context)) {
                Ok(Ok(found)) => shared.admit(found, request, rule.as_ref()),
                Ok(Err(error)) => shared.failed(&error),
                Err(panicked) => shared.failed(&panicked),
            },
            Self::Owner(lookup) => match ready!(poll_caught(lookup, context)) {
                Ok(Ok(found)) => Shared::owner(found),
                Ok(Err(error)) => shared.failed(&error),
                Err(panicked) => shared.failed(&panicked),
            },
        })
    }
}

impl<S, B> Waiting<S, B>
where
    S: Service<Request<B>>,
{
    fn resume(mut self: Box<Self>, verdict: Verdict) -> State<S, B> {
        let rule = self.rule.as_ref();
        match verdict {
            Verdict::Pass(principal) => {
                let challenge = self.shared.pass(principal, self.request.extensions_mut(), rule, self.tells);
                let Self { mut service, request, .. } = *self;
                State::Inner { future: service.call(request), challenge }
            }
            Verdict::Refuse(refusal) => State::Refused { answer: self.shared.refuse(refusal, &self.request, rule) },
            Verdict::Ask(lookup) => State::Waiting { lookup, waiting: Some(self) },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<GuardBody<R>>, S::Error>;

    #[expect(clippy::panic, reason = "a future that is polled after its end is the caller's bug, as for any future")]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Inner { future, challenge } => {
                    return future.poll(context).map_ok(|response| {
                        let (mut head, body) = response.into_parts();
                        if head.status == StatusCode::UNAUTHORIZED {
                            add_challenge(&mut head.headers, challenge.and_then(Told::challenge));
                        }
                        Response::from_parts(head, GuardBody::inner(body))
                    });
                }
                StateProjection::Refused { answer } => return Poll::Ready(Ok(answer.response())),
                StateProjection::Waiting { lookup, waiting } => {
                    let Some(kept) = waiting.as_ref() else { panic!("polled after completion") };
                    let verdict = ready!(lookup.poll(context, kept));
                    waiting.take().map(|waiting| waiting.resume(verdict))
                }
            };
            if let Some(next) = next {
                self.as_mut().project().state.set(next);
            }
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

/// Adds our challenge to a 401 of the inner service, before its own: clients split the first one off at a space, and
/// must find `Bearer` there. A `Bearer` challenge of the inner service is left alone.
fn add_challenge(headers: &mut HeaderMap, challenge: Option<&HeaderValue>) {
    let Some(challenge) = challenge else { return };
    let theirs: Vec<HeaderValue> = headers.get_all(WWW_AUTHENTICATE).iter().cloned().collect();
    if theirs.iter().any(has_bearer) {
        return;
    }
    headers.insert(WWW_AUTHENTICATE, challenge.clone());
    for challenge in theirs {
        headers.append(WWW_AUTHENTICATE, challenge);
    }
}

fn has_bearer(value: &HeaderValue) -> bool {
    let challenges = value.to_str().ok().and_then(|value| Challenge::parse(value).ok());
    challenges.is_some_and(|challenges| challenges.iter().any(Challenge::is_bearer))
}
