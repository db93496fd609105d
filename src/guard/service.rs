use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{GuardBody, ResponseFuture, Shared, future::Waiting, layer::Class, policy::Kind, shared::Verdict};

/// Checks the agent's token in front of a service. See the [module](super) for what it answers.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    shared: Arc<Shared>,
    class: Class,
    tells: bool,
}

impl<S> Guard<S> {
    pub(super) const fn new(inner: S, shared: Arc<Shared>, class: Class, tells: bool) -> Self {
        Self { inner, shared, class, tells }
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
        let (mut request, named) = self.class.of(request);
        let rule = self.class.fixed().or(named.as_ref());
        match self.shared.judge(&mut request, rule) {
            Verdict::Pass(principal) => {
                principal.enter(request.extensions_mut(), self.tells);
                let challenge = self.shared.challenge(rule);
                ResponseFuture::inner(self.inner.call(request), challenge)
            }
            Verdict::Refuse(refusal) => {
                let reply = self.shared.refuse(refusal, rule);
                ResponseFuture::refused(request.method(), reply)
            }
            // The instance that was polled ready is the one that is called, once the answer is there.
            Verdict::Ask(lookup) => {
                let (shared, rule, tells) = (Arc::clone(&self.shared), rule.cloned(), self.tells);
                let service = self.take_ready();
                ResponseFuture::waiting(lookup, Waiting { service, request, shared, rule, tells })
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
    const fn fixed(&self) -> Option<&Kind> {
        match self {
            Self::Fixed(kind) => Some(kind),
            Self::Policy(_) => None,
        }
    }

    /// What the policy says of a request, if there is one.
    fn of<B>(&self, request: Request<B>) -> (Request<B>, Option<Kind>) {
        match self {
            Self::Fixed(_) => (request, None),
            Self::Policy(policy) => {
                let (parts, body) = request.into_parts();
                let rule = policy(&parts).map(|rule| rule.0);
                (Request::from_parts(parts, body), rule)
            }
        }
    }
}
