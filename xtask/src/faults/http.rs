//! HTTP as an agent and a browser speak it, and whole answers only: what was cut off was not acknowledged.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, DATE, HeaderName, LOCATION, ORIGIN, SET_COOKIE},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::Outcome;

/// Longer than anything that is waited for in these runs.
const PATIENCE: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(4);

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// An answer that came whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) text: String,
    /// The body as JSON; null if it is none.
    pub(crate) json: Value,
}

impl Http {
    pub(crate) fn new(base: &str) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        // What may have been sent is never sent again behind our back.
        builder.retry_canceled_requests(false);
        // The server closes a connection that is idle for longer; a request that meets that end would look like a fault.
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Self { client: builder.build_http(), base: base.to_owned() }
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Outcome<Answer> {
        let request = self.request("POST", path).header(CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_string().into())?).await
    }

    pub(crate) async fn post_form_as_agent(&self, path: &str, fields: &[(&str, &str)]) -> Outcome<Answer> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.request("POST", path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(body.into())?).await
    }

    /// Sends JSON with the cookies of a human.
    pub(crate) async fn post_json_as_human(&self, path: &str, cookies: &str, body: &Value) -> Outcome<Answer> {
        let request = self.request("POST", path).header(CONTENT_TYPE, "application/json").header(COOKIE, cookies);
        self.send(request.body(body.to_string().into())?).await
    }

    pub(crate) async fn get_as_agent(&self, path: &str, token: &str) -> Outcome<Answer> {
        let request = self.request("GET", path).header(AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Full::default())?).await
    }

    pub(crate) async fn get(&self, path: &str, cookies: &str) -> Outcome<Answer> {
        self.send(self.request("GET", path).header(COOKIE, cookies).body(Full::default())?).await
    }

    /// Sends a form as the browser does on a page of the service at `origin`.
    pub(crate) async fn post_form(
        &self,
        path: &str,
        origin: &str,
        cookies: &str,
        fields: &[(&str, &str)],
    ) -> Outcome<Answer> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .request("POST", path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(COOKIE, cookies)
            .header(ORIGIN, origin)
            .header(HeaderName::from_static("sec-fetch-site"), "same-origin");
        self.send(request.body(body.into())?).await
    }

    fn request(&self, method: &str, path: &str) -> hyper::http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.base))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Outcome<Answer> {
        let asked = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
            let json = serde_json::from_str(&text).unwrap_or_default();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, text, json })
        };
        timeout(PATIENCE, asked).await.map_err(|_| "no answer in time")?
    }
}

impl Answer {
    /// A text of the JSON body.
    pub(crate) fn field(&self, name: &str) -> Outcome<String> {
        text_of(&self.json, name)
    }

    /// The code of an error.
    pub(crate) fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    /// Where it leads.
    pub(crate) fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION)?.to_str().ok()
    }

    /// When it was made, by the clock of the server.
    pub(crate) fn date(&self) -> Option<&str> {
        self.headers.get(DATE)?.to_str().ok()
    }

    /// The `name=value` of each cookie that came with it.
    pub(crate) fn cookies(&self) -> impl Iterator<Item = &str> {
        let lines = self.headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
        lines.filter_map(|line| line.split(';').next())
    }

    /// What stands between two texts.
    pub(crate) fn between(&self, start: &str, end: &str) -> Option<&str> {
        Some(self.text.split_once(start)?.1.split_once(end)?.0)
    }
}

/// A text of a JSON object.
pub(crate) fn text_of(json: &Value, name: &str) -> Outcome<String> {
    json[name].as_str().map(str::to_owned).ok_or_else(|| format!("the answer has no `{name}`").into())
}
