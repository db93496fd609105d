//! Requests and responses. Whatever a server answers, or fails to answer, is a value here and never a panic.

use std::{
    error::Error,
    io::{self, Read as _},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use serde_json::Value;
use ureq::{Agent, Body};

use crate::catalogue::Check;

/// The maximum size of a body in bytes. The rest is cut off.
pub(crate) const LARGEST_BODY: u64 = 1024 * 1024;
/// After so many late answers nothing more is sent, so that a service that hangs takes no hour.
const MOST_LATE: usize = 3;

/// Sends requests, each with the same deadline. It follows no redirects and sends no credential.
pub(crate) struct Client {
    agent: Agent,
    timeout: Duration,
    late: usize,
    sent: usize,
}

/// A response.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body was longer than [`LARGEST_BODY`].
    pub(crate) is_cut: bool,
}

/// Why there is no response.
#[derive(Clone)]
pub(crate) struct Problem {
    pub(crate) check: Check,
    pub(crate) text: String,
}

impl Client {
    pub(crate) fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .user_agent(concat!("tower-agent-auth-doctor/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().into(), timeout, late: 0, sent: 0 }
    }

    /// How many requests were sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    pub(crate) fn get(&mut self, url: &str) -> Result<Answer, Problem> {
        self.send(Method::GET, url, &[], "")
    }

    pub(crate) fn send(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, &str)],
        body: &str,
    ) -> Result<Answer, Problem> {
        if self.late >= MOST_LATE {
            let text = format!("{MOST_LATE} answers did not come in time, so nothing more was asked");
            return Err(Problem { check: Check::GaveUp, text });
        }
        self.sent += 1;
        let (posts, is_head) = (method == Method::POST, method == Method::HEAD);
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let answer = if posts {
            request.body(body).map_err(ureq::Error::Http).and_then(|request| self.agent.run(request))
        } else {
            request.body(()).map_err(ureq::Error::Http).and_then(|request| self.agent.run(request))
        };
        let answer = answer.and_then(|answer| Answer::read(answer, is_head)).map_err(|error| self.problem(&error));
        self.late += usize::from(answer.as_ref().is_err_and(|problem| problem.check == Check::Timeout));
        // Who asks too often learns nothing about the service.
        answer.and_then(|answer| match answer.status {
            StatusCode::TOO_MANY_REQUESTS => Err(Problem { check: Check::Unavailable, text: answer.summary() }),
            _ => Ok(answer),
        })
    }

    fn problem(&self, error: &ureq::Error) -> Problem {
        let check = check_of(error);
        let text = match check {
            Check::Timeout => format!("no whole answer within {}", humantime::format_duration(self.timeout)),
            Check::TlsFailed => format!("no TLS connection: {error}"),
            Check::NotHttp => format!("an answer that is not HTTP, or breaks off: {error}"),
            _ => format!("can't be reached: {error}"),
        };
        Problem { check, text }
    }
}

fn check_of(error: &ureq::Error) -> Check {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, TimedOut, UnexpectedEof, WouldBlock,
    };
    match error {
        ureq::Error::Timeout(_) => Check::Timeout,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => Check::TlsFailed,
        ureq::Error::Protocol(_)
        | ureq::Error::Http(_)
        | ureq::Error::LargeResponseHeader(..)
        | ureq::Error::BodyStalled
        | ureq::Error::Decompress(..) => Check::NotHttp,
        // Its text comes from rustls if the handshake failed.
        ureq::Error::Io(error) if is_tls(error) => Check::TlsFailed,
        ureq::Error::Io(error) => match error.kind() {
            TimedOut | WouldBlock => Check::Timeout,
            BrokenPipe | ConnectionAborted | ConnectionReset | InvalidData | UnexpectedEof => Check::NotHttp,
            _ => Check::Unreachable,
        },
        _ => Check::Unreachable,
    }
}

fn is_tls(error: &io::Error) -> bool {
    let mut next = error.get_ref().map(|error| error as &(dyn Error + 'static));
    while let Some(error) = next {
        if error.is::<tokio_rustls::rustls::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

impl Answer {
    fn read(response: http::Response<Body>, is_head: bool) -> Result<Self, ureq::Error> {
        let (parts, body) = response.into_parts();
        let mut answer = Self { status: parts.status, headers: parts.headers, body: Vec::new(), is_cut: false };
        // A stream of events has no end, and what HEAD is answered has no body, whatever encoding its headers name.
        if !is_head && answer.media_type() != "text/event-stream" {
            body.into_reader().take(LARGEST_BODY + 1).read_to_end(&mut answer.body)?;
            answer.is_cut = answer.body.len() as u64 > LARGEST_BODY;
        }
        Ok(answer)
    }

    /// The first value of a header, or nothing if it is no text.
    pub(crate) fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The media type without parameters, in lower case.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header(header::CONTENT_TYPE);
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the body is a page, whatever its media type says.
    pub(crate) fn is_html(&self) -> bool {
        let start = String::from_utf8_lossy(&self.body[..self.body.len().min(1024)]).to_ascii_lowercase();
        let start = start.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
        matches!(self.media_type().as_str(), "text/html" | "application/xhtml+xml")
            || start.starts_with("<!doctype html")
            || start.starts_with("<html")
    }

    /// Whether the service, or what is in front of it, can't answer now.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 502..=504)
    }

    /// The status, and what kind of body came with it.
    pub(crate) fn summary(&self) -> String {
        let location = self.header(header::LOCATION);
        match self.media_type() {
            _ if self.status.is_redirection() && !location.is_empty() => format!("{} to {location}", self.status),
            media_type if media_type.is_empty() => self.status.to_string(),
            media_type => format!("{} with {media_type}", self.status),
        }
    }
}
