//! What stands between an agent and the demo: it keeps the bodies of both, and may add to those of the demo.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::IntoResponse,
};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, runtime::Runtime};

use super::harness::Demo;

/// Paths, and what was sent there.
type Bodies = Arc<Mutex<Vec<(String, String)>>>;

pub struct Relay {
    pub url: String,
    bodies: Bodies,
    started: Arc<Mutex<Vec<Value>>>,
    _demo: Demo,
    _runtime: Runtime,
}

impl Relay {
    /// Starts a demo behind it. Each start of a request for access is answered with `added` members more.
    pub fn start(arguments: &[&str], added: &Value) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let demo = Demo::start(&[arguments, &["--public-url", &url]].concat());
        let (bodies, started) = (Bodies::default(), Arc::<Mutex<Vec<Value>>>::default());
        let (to, added) = (demo.url.clone(), added.as_object().unwrap().clone());
        let (kept, answers) = (Arc::clone(&bodies), Arc::clone(&started));
        let router = Router::new().fallback(async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            kept.lock().unwrap().push((uri.path().to_owned(), String::from_utf8_lossy(&body).into_owned()));
            let work = move || forward(&to, &added, &answers, &method, &uri, &headers, &body);
            tokio::task::spawn_blocking(work).await.unwrap()
        });
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { url, bodies, started, _demo: demo, _runtime: runtime }
    }

    /// The bodies that were sent to a path.
    pub fn bodies(&self, path: &str) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().filter(|(sent_to, _)| sent_to == path).map(|(_, body)| body.clone()).collect()
    }

    /// What the demo answered to the last start.
    pub fn started(&self) -> Value {
        self.started.lock().unwrap().last().unwrap().clone()
    }
}

fn forward(
    to: &str,
    added: &Map<String, Value>,
    answers: &Mutex<Vec<Value>>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> impl IntoResponse + use<> {
    let client: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let mut request = ureq::http::Request::builder().method(method.clone()).uri(format!("{to}{uri}"));
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::COOKIE] {
        request = headers.get_all(&name).iter().fold(request, |request, value| request.header(&name, value));
    }
    let mut response = client.run(request.body(body).unwrap()).unwrap();
    let mut body = response.body_mut().read_to_vec().unwrap();
    let starts = ["/agent/auth", "/agent-sessions/start", "/oauth2/device_authorization"].contains(&uri.path());
    if starts && let Ok(Value::Object(mut members)) = serde_json::from_slice(&body) {
        answers.lock().unwrap().push(Value::Object(members.clone()));
        members.extend(added.clone());
        body = serde_json::to_vec(&members).unwrap();
    }
    let mut headers = response.headers().clone();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    (StatusCode::from_u16(response.status().as_u16()).unwrap(), headers, body)
}
