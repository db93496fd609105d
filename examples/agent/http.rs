//! Requests and responses.

use std::{thread::sleep, time::Duration};

use http::{HeaderMap, Response, StatusCode, Uri, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower_agent_auth::challenge::Challenge;
use ureq::{Agent, Body};

use crate::failure::{Exit, Failure};

/// The maximum size of a response in bytes.
const LARGEST_ANSWER: u64 = 16 * 1024 * 1024;
/// The timeout of one request.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The longest wait that the agent accepts from a service.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a failed request is retried.
const RETRIES: usize = 5;

/// Sends requests. It follows no redirects, so that a secret for one URL does not reach another.
pub(crate) struct Client(Agent);

/// A response with its complete body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(REQUEST_TIME))
            .user_agent(concat!("tower-agent-auth-example/", env!("CARGO_PKG_VERSION")));
        Self(config.build().into())
    }

    pub(crate) fn call(&self, url: &str, token: Option<&str>) -> Result<Answer, Failure> {
        patiently(|| {
            let mut request = self.0.get(url);
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            Answer::of(url, request.call())
        })
    }

    pub(crate) fn get(&self, url: &str) -> Result<Answer, Failure> {
        self.call(url, None)
    }

    pub(crate) fn post(&self, url: &str, body: &Value) -> Result<Answer, Failure> {
        patiently(|| self.post_once(url, body))
    }

    pub(crate) fn post_form(&self, url: &str, parameters: &[(&str, &str)]) -> Result<Answer, Failure> {
        patiently(|| Answer::of(url, self.0.post(url).send_form(parameters.iter().copied())))
    }

    pub(crate) fn post_once(&self, url: &str, body: &Value) -> Result<Answer, Failure> {
        Answer::of(url, self.0.post(url).send_json(body))
    }
}

/// Retries a request after the wait that the service requests.
fn patiently(send: impl Fn() -> Result<Answer, Failure>) -> Result<Answer, Failure> {
    for _ in 0..RETRIES {
        let answer = send()?;
        let Some(pause) = answer.asks_to_wait() else { return Ok(answer) };
        eprintln!("   the service asks to wait {} s", pause.as_secs());
        sleep(pause);
    }
    send()
}

impl Answer {
    fn of(url: &str, response: Result<Response<Body>, ureq::Error>) -> Result<Self, Failure> {
        let unreachable = |error| Failure::new(Exit::Unreachable, format!("can't reach {url}: {error}"));
        let unreadable = |error| {
            let exit = if matches!(error, ureq::Error::Io(_) | ureq::Error::Timeout(_)) {
                Exit::Unreachable
            } else {
                Exit::Failed
            };
            Failure::new(exit, format!("can't read what {url} answers: {error}"))
        };
        let (parts, mut body) = response.map_err(unreachable)?.into_parts();
        let body = body.with_config().limit(LARGEST_ANSWER).read_to_vec().map_err(unreadable)?;
        Ok(Self { status: parts.status, headers: parts.headers, body })
    }

    /// Returns the response if it has this status, otherwise an error with its text.
    pub(crate) fn expect(self, status: StatusCode) -> Result<Self, Failure> {
        if self.status == status {
            return Ok(self);
        }
        let (code, text) = self.error();
        let status = self.status.as_u16();
        Err(if self.is_unavailable() {
            Failure::new(Exit::Unreachable, format!("The service can't answer now: {status} {code}: {text}"))
        } else {
            format!("The service refused: {status} {code}: {text}").into()
        })
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // The parser's error text may quote a secret.
        serde_json::from_slice(&self.body).map_err(|error| {
            format!("the service's answer is not what auth.md says, at line {} column {}", error.line(), error.column())
                .into()
        })
    }

    /// The code and the text of a refusal.
    pub(crate) fn error(&self) -> (String, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        let message = text("error_description").or_else(|| text("message"));
        (text("error").unwrap_or_default(), message.unwrap_or_else(|| "without saying why".to_owned()))
    }

    /// Whether the service can't answer now, or what is in front of it can't reach it.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self.status.as_u16(), 502..=504)
    }

    /// How long to wait before a retry, for 429 and 503.
    pub(crate) fn asks_to_wait(&self) -> Option<Duration> {
        if !matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return None;
        }
        let seconds = self.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Some(Duration::from_secs(seconds.unwrap_or(5)).clamp(Duration::from_secs(1), LONGEST_WAIT))
    }

    /// The first challenge of the scheme Bearer.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        let lines = self.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        lines.filter_map(|line| Challenge::parse(line).ok()).flatten().find(Challenge::is_bearer)
    }

    /// The metadata URL in the challenge of a 401.
    pub(crate) fn challenged_metadata(&self) -> Result<String, Failure> {
        let challenge = self.challenge().ok_or("the service refuses without a Bearer challenge")?;
        let url =
            challenge.parameter("resource_metadata").ok_or("the challenge leads nowhere: no resource_metadata")?;
        Ok(url.to_owned())
    }

    pub(crate) fn refuses_token(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }
}

/// Checks that a URL uses TLS or a loopback host.
pub(crate) fn check_url(what: &str, url: &str) -> Result<(), Failure> {
    let uri: Uri = url.parse().map_err(|_| format!("{what} must be an absolute URL, not {url}"))?;
    let is_loopback = matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost"));
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => Ok(()),
        (Some("http"), Some(_)) if is_loopback => Ok(()),
        _ => Err(format!("{what} must begin with https://, or with http:// on this machine, not be {url}").into()),
    }
}

/// The host of an absolute URL, in brackets if it is an IPv6 address.
pub(crate) fn host(url: &str) -> Result<String, Failure> {
    let uri: Uri = url.parse()?;
    Ok(uri.host().ok_or_else(|| format!("{url} is not absolute"))?.to_owned())
}

pub(crate) fn origin(url: &str) -> Result<String, Failure> {
    let uri: Uri = url.parse()?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("{url} is not absolute").into());
    };
    Ok(format!("{scheme}://{authority}"))
}

/// Whether `url` is `resource` or lies below it.
pub(crate) fn is_below(url: &str, resource: &str) -> bool {
    let (Ok(inner), Ok(outer)) = (url.parse::<Uri>(), resource.parse::<Uri>()) else { return false };
    let same_origin = inner.scheme() == outer.scheme() && inner.authority() == outer.authority();
    let rest = inner.path().strip_prefix(outer.path().trim_end_matches('/'));
    same_origin && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
