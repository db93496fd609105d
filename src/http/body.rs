use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::guard::Refusal;

pin_project! {
    /// The body of a response that came either from the inner service, untouched, or from this crate.
    #[derive(Debug)]
    pub struct GuardBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Own { #[pin] body: Full<Bytes>, refusal: Option<Refusal> },
    }
}

impl<B> GuardBody<B> {
    pub(crate) const fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    /// Of what this crate answers where no guard refused anything.
    pub(crate) fn own(body: Bytes) -> Self {
        Self { kind: Kind::Own { body: Full::new(body), refusal: None } }
    }

    pub(crate) fn refused(body: Bytes, refusal: Refusal) -> Self {
        Self { kind: Kind::Own { body: Full::new(body), refusal: Some(refusal) } }
    }

    /// Why a guard refused the request, if one did.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match &self.kind {
            Kind::Inner { .. } => None,
            Kind::Own { refusal, .. } => *refusal,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for GuardBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(context),
            KindProjection::Own { body, .. } => body.poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { body, .. } => body.size_hint(),
        }
    }
}
