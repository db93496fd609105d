use std::{
    borrow::Cow,
    mem,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    GuardBody, GuardLayer, ResponseFuture,
    check::{Check, Verdict},
    future::Waiting,
};

/// The service that checks the agent's token in front of another. See the [module](super) for its responses.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    pub(super) inner: S,
    pub(super) layer: GuardLayer,
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
        let mut check = Cow::Borrowed(&self.layer.check);
        if let Some(policy) = &self.layer.policy {
            let (parts, body) = request.into_parts();
            check = Cow::Owned(Check { rule: policy(&parts), ..check.into_owned() });
            request = Request::from_parts(parts, body);
        }
        match check.authenticate(&mut request) {
            Verdict::Forward(principal) => {
                let forwarded = check.forward(principal, &mut request);
                ResponseFuture::inner(self.inner.call(request), forwarded)
            }
            Verdict::Refuse(refusal) => ResponseFuture::refused(check.refuse(refusal, &request)),
            Verdict::Wait(lookup) => {
                // Call the instance that was polled ready, and leave an unready clone in its place.
                let unready = self.inner.clone();
                let service = mem::replace(&mut self.inner, unready);
                ResponseFuture::waiting(lookup, Waiting { service, request, check: check.into_owned() })
            }
        }
    }
}
