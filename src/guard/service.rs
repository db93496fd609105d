use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{GuardBody, ResponseFuture, Shared, future::Waiting, layer::Class, shared::Verdict};

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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let named;
        let rule = match &self.class {
            Class::Fixed(kind) => Some(kind),
            Class::Policy(policy) => {
                let (parts, body) = request.into_parts();
                named = policy(&parts).map(|rule| rule.0);
                request = Request::from_parts(parts, body);
                named.as_ref()
            }
        };
        match self.shared.judge(&mut request, rule) {
            Verdict::Pass(principal) => {
                let challenge = self.shared.pass(principal, request.extensions_mut(), rule, self.tells);
                ResponseFuture::inner(self.inner.call(request), challenge)
            }
            Verdict::Refuse(refusal) => ResponseFuture::refused(self.shared.refuse(refusal, &request, rule)),
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
