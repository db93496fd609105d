use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use tower_service::Service;

use super::{Access, api};
use crate::{
    accounts::head_of,
    ceremony::Admin,
    endpoints::{BODY_TIME, MAX_BODY, Unreadable, refused_body, too_slow},
    http::{
        Answering, Reply, error_reply, for_method, has_own_token, has_query_token, jitter, poll_caught, unavailable,
    },
};

type Decide = dyn Fn(Parts) -> Answering<Access> + Send + Sync;

impl Admin {
    /// The admin API as a Tower service that never fails. `decide` decides for each request who may use it; without it
    /// there is no service, so that it can't be served unguarded.
    ///
    /// Serve it at a path of its own: under axum by `nest_service`, elsewhere with [`AdminService::below`]. No agent can
    /// use it, whatever `decide` says: a request with a token of this service is 403. So is a request of a page of another
    /// origin. Bearer tokens of others, such as those of the host's own login, are for `decide` to check. See the [module](crate::admin) for the endpoints.
    pub fn service<F>(&self, decide: impl Fn(Parts) -> F + Send + Sync + 'static) -> AdminService
    where
        F: Future<Output = Access> + Send + 'static,
    {
        let decide = Arc::new(decide);
        let decide = move |request| -> Answering<Access> {
            let decide = Arc::clone(&decide);
            // A panic of the host's code, wherever it is, is one of the future.
            Box::pin(async move { decide(request).await })
        };
        AdminService { admin: self.clone(), decide: Arc::new(decide), below: "".into() }
    }
}

/// The admin API as a Tower service. [`Admin::service`] creates it.
#[derive(Clone)]
#[must_use]
pub struct AdminService {
    admin: Admin,
    decide: Arc<Decide>,
    below: Arc<str>,
}

impl AdminService {
    /// Where requests arrive: a path such as `/admin/agents`, if nothing in front of the service removes it. By default the
    /// endpoints are at the root, as under axum's `nest_service`.
    pub fn below(mut self, path: &str) -> Self {
        self.below = path.trim_end_matches('/').into();
        self
    }
}

impl<B> Service<Request<B>> for AdminService
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let admin = self.admin.clone();
        let method = request.method().clone();
        let mut answer: Answering<Reply> = Box::pin(self.clone().answer(request));
        let response = async move {
            let answer = poll_fn(|context| poll_caught(&mut answer, context)).await;
            let reply = answer.unwrap_or_else(|panicked| api::failed(&admin, &panicked, method == Method::POST));
            for_method(&method, reply).map(Full::new)
        };
        ResponseFuture { response: Box::pin(response) }
    }
}

impl AdminService {
    async fn answer<B>(self, request: Request<B>) -> Reply
    where
        B: Body,
    {
        let prefixes = self.admin.config().prefixes();
        if has_own_token(request.headers(), prefixes) || has_query_token(request.uri()) {
            return forbidden("owner_only", "this stays with the service's operators; no agent can use it");
        }
        if is_cross_origin(request.headers()) {
            return forbidden("forbidden", "this answers no page of another origin");
        }
        let operator = match (self.decide)(head_of(&request)).await {
            Access::Granted { operator } => operator,
            Access::Denied => return forbidden("forbidden", "you may not do this"),
            Access::Unavailable => return unavailable(jitter(self.admin.now())),
        };
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let Some(path) = path.strip_prefix(&*self.below).map(str::to_owned) else { return api::not_found() };
        let body = Limited::new(body.map_err(|_| Unreadable), MAX_BODY).collect();
        let body = match tokio::time::timeout(BODY_TIME, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return refused_body(&*error),
            Err(_) => return too_slow(),
        };
        let asked = api::Asked { admin: self.admin, operator, parts, path, body };
        asked.answer().await
    }
}

/// Whether a browser sent the request for a page of another origin (Fetch Metadata). Other clients don't say.
fn is_cross_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| site != b"same-origin" && site != b"none")
}

fn forbidden(code: &str, text: &str) -> Reply {
    error_reply(StatusCode::FORBIDDEN, code, text)
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService").field("below", &self.below).finish_non_exhaustive()
    }
}

/// The future of an [`AdminService`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    response: Answering<Response<Full<Bytes>>>,
}

impl Future for ResponseFuture {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.response.as_mut().poll(context).map(Ok)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
