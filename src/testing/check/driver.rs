use std::{
    convert::Infallible,
    error::Error,
    future::{Ready, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, WWW_AUTHENTICATE},
};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use tower_service::Service;

use crate::{challenge::Challenge, config::origin_of, endpoints::Endpoints, guard::Refusal, types::error_chain::chain};

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read of a body.
const LONGEST: usize = 1024 * 1024;

/// Sends requests to a service in this process.
#[derive(Clone)]
pub(super) struct Driver<S, M> {
    pub(super) app: S,
    /// Makes the body that the service takes.
    pub(super) body: M,
    /// What the server would add to each request.
    pub(super) extensions: Extensions,
    /// The host that requests are for. Some layers refuse a request without one (RFC 9110 section 7.2).
    pub(super) host: Option<HeaderValue>,
}

/// The value of `Host` for the origin of a URL.
pub(super) fn host_of(url: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(origin_of(url).split_once("://")?.1).ok()
}

/// The endpoints of this crate in front of nothing.
pub(super) type Own = Driver<Endpoints<Nothing>, fn(Bytes) -> Full<Bytes>>;

/// A response.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The refusal of a guard, if no layer dropped the response's extensions.
    pub(super) refusal: Option<Refusal>,
    /// `None` if it is too long, breaks off or does not end in time.
    pub(super) body: Option<Bytes>,
}

/// What requests are sent to.
pub(super) trait App {
    /// Sends a request. `Err` says how the service failed.
    async fn send(&mut self, request: Request<Bytes>) -> Result<Answer, String>;

    async fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.send(request(&Method::GET, path, &[], Bytes::new())).await
    }
}

impl<S, M, B, R> App for Driver<S, M>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    M: Fn(Bytes) -> B,
    R: Body,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    async fn send(&mut self, request: Request<Bytes>) -> Result<Answer, String> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.extend(self.extensions.clone());
        parts.headers.extend(self.host.clone().map(|host| (HOST, host)));
        let request = Request::from_parts(parts, (self.body)(body));
        caught(async {
            let ready = poll_fn(|context| self.app.poll_ready(context));
            within(ready).await?;
            let response = within(self.app.call(request)).await?;
            let (parts, body) = response.into_parts();
            let body = tokio::time::timeout(PATIENCE, Limited::new(body, LONGEST).collect());
            let body = body.await.ok().and_then(Result::ok).map(|body| body.to_bytes());
            let refusal = parts.extensions.get().copied();
            Ok(Answer { status: parts.status, headers: parts.headers, refusal, body })
        })
        .await
    }
}

/// Turns a panic of the service into words.
async fn caught<T>(answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let mut answer = pin!(answer);
    let poll = |context: &mut Context<'_>| {
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err("the service panicked".into())))
    };
    poll_fn(poll).await
}

async fn within<T, E: Into<Box<dyn Error + Send + Sync>>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("the service returned an error: {}", chain(&*error.into()))),
        Err(_) => Err(format!("the service did not answer in {} seconds", PATIENCE.as_secs())),
    }
}

/// A request with these headers.
pub(super) fn request(method: &Method, path: &str, headers: &[(HeaderName, &str)], body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    // A path that is no URI is looked for at the root, where no named route is.
    *request.uri_mut() = path.parse().unwrap_or_default();
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            request.headers_mut().append(name.clone(), value);
        }
    }
    request
}

impl Answer {
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn is_html(&self) -> bool {
        self.header(&CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"))
    }

    pub(super) fn text(&self) -> &str {
        self.body.as_deref().and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default()
    }

    /// The first challenge that names protected resource metadata (RFC 9728 section 5.1).
    pub(super) fn challenge(&self) -> Option<Challenge> {
        let values = self.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let mut challenges = values.filter_map(|value| Challenge::parse(value).ok()).flatten();
        challenges.find(|challenge| challenge.is_bearer() && challenge.parameter("resource_metadata").is_some())
    }
}

/// The service behind nothing: it answers 404.
#[derive(Clone, Debug)]
pub(super) struct Nothing;

impl Service<Request<Full<Bytes>>> for Nothing {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}
