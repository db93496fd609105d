use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{GuardBody, ResponseFuture, Shared, layer::Class, policy::Kind, shared::Verdict};

/// Checks the agent's token in front of a service. See the [module](super) for what it answers.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    shared: Arc<Shared>,
    class: Class,
}

impl<S> Guard<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>, class: Class) -> Self {
        Self { inner, shared, class }
    }
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<GuardBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut request, rule) = self.class.of(request);
        match self.shared.judge(&mut request, rule.as_ref()) {
            Verdict::Pass(principal) => {
                principal.enter(request.extensions_mut());
                let challenge = self.shared.challenge(rule.as_ref());
                ResponseFuture::inner(self.inner.call(request), challenge)
            }
            Verdict::Refuse(refusal) => {
                let reply = self.shared.refuse(refusal, rule.as_ref());
                ResponseFuture::refused(request.method(), reply)
            }
            // The instance that was polled ready is the one that is called, once the answer is there.
            Verdict::Ask(lookup) => {
                let ready = self.take_ready();
                ResponseFuture::waiting(lookup, ready, request, Arc::clone(&self.shared), rule)
            }
        }
    }
}

impl<S: Clone> Guard<S> {
    fn take_ready(&mut self) -> S {
        let unready = self.inner.clone();
        mem::replace(&mut self.inner, unready)
    }
}

impl Class {
    fn of<B>(&self, request: Request<B>) -> (Request<B>, Option<Kind>) {
        match self {
            Self::Fixed(kind) => (request, Some(kind.clone())),
            Self::Policy(policy) => {
                let (parts, body) = request.into_parts();
                let rule = policy(&parts).map(|rule| rule.0);
                (Request::from_parts(parts, body), rule)
            }
        }
    }
}
