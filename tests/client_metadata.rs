//! Client ids that are URLs of client metadata documents (draft-ietf-oauth-client-id-metadata-document).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use common::{Answer, Form, Service, between, browse, browse_again, config, from_address};
use data_encoding::BASE64URL_NOPAD;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};
use tower_agent_auth::{
    ConfigBuilder,
    audit::Event,
    client_metadata::{Fetch, FetchError, Fetched, HttpFetcher},
    config::Dialect,
};

const CLIENT: &str = "https://app.example.net/client.json";
const REDIRECT: &str = "http://127.0.0.1:43123/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn oauth() -> ConfigBuilder {
    config().dialects(&[Dialect::OAuth])
}

fn document(url: &str) -> Value {
    json!({ "client_id": url, "client_name": "Example App", "redirect_uris": ["http://127.0.0.1/callback"] })
}

fn authorize(client: &str, redirect_uri: &str) -> String {
    let challenge = BASE64URL_NOPAD.encode(&sha2::Sha256::digest(VERIFIER));
    let parameters = [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", redirect_uri),
        ("state", "s"),
        ("code_challenge", &*challenge),
        ("code_challenge_method", "S256"),
    ];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("/oauth2/authorize?{query}")
}

async fn open(service: &Service, client: &str) -> Answer {
    service.send(browse("ada", &authorize(client, REDIRECT))).await
}

/// Whether the client is let in: to the approval page.
async fn is_known(service: &Service, client: &str) -> bool {
    let answer = open(service, client).await;
    let is_known = answer.status == StatusCode::SEE_OTHER;
    assert!(is_known || !answer.headers.contains_key("location"), "nothing is sent anywhere");
    is_known
}

async fn token(service: &Service, parameters: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let request = Request::post("/oauth2/token").header("content-type", "application/x-www-form-urlencoded");
    service.send(request.body(Body::from(body)).unwrap()).await
}

/// Lets a human open the page and approve. Answers the page and the code.
async fn approve(service: &Service, client: &str, redirect_uri: &str) -> (String, String) {
    let arrived = service.send(browse("ada", &authorize(client, redirect_uri))).await;
    assert_eq!(arrived.status, StatusCode::SEE_OTHER, "{}", arrived.text);
    let path = arrived.header("location").to_owned();
    let cookie = arrived.header("set-cookie").split(';').next().unwrap().to_owned();
    let form = Form { human: "ada".into(), csrf: String::new(), cookie };
    let page = service.send(browse_again(&form, &path)).await.text;
    let form = Form { csrf: between(&page, "name=\"csrf\" value=\"", "\"").to_owned(), ..form };
    let decided = service.send(form.post(&path, &[("decision", "approve"), ("scope", "projects:read")])).await;
    let sent_to = decided.header("location").to_owned();
    assert!(sent_to.starts_with(redirect_uri), "{sent_to}");
    let query = sent_to.split_once('?').unwrap().1;
    let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code").unwrap().1.into_owned();
    (page, code)
}

/// Documents in memory. `gate` lets fetches end.
#[derive(Debug)]
struct Documents {
    served: Mutex<HashMap<String, Fetched>>,
    fetches: AtomicUsize,
    gate: Semaphore,
}

impl Documents {
    fn new() -> Arc<Self> {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { served: Mutex::default(), fetches: AtomicUsize::new(0), gate })
    }

    /// Fetches end only after [`open`](Self::open).
    fn closed() -> Arc<Self> {
        Arc::new(Self { served: Mutex::default(), fetches: AtomicUsize::new(0), gate: Semaphore::new(0) })
    }

    fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    fn serve(&self, url: &str, document: &Value, max_age: Option<Duration>) {
        let fetched = Fetched::new("application/json", document.to_string());
        let fetched = match max_age {
            Some(max_age) => fetched.max_age(max_age),
            None => fetched,
        };
        self.served.lock().unwrap().insert(url.into(), fetched);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    async fn have_begun(&self, fetches: usize) {
        while self.fetches() < fetches {
            tokio::task::yield_now().await;
        }
    }
}

impl Fetch for Documents {
    async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let _open = self.gate.acquire().await.unwrap();
        self.served.lock().unwrap().get(url).cloned().ok_or(FetchError::Status(404))
    }
}

/// Documents of the hosts that log in so. ChatGPT's prefers a key.
fn hosts() -> [(&'static str, Value, &'static str); 4] {
    let claude = "https://claude.ai/oauth/claude-code-client-metadata";
    let codex = "https://chatgpt.com/oauth/codex/client.json";
    let copilot = "https://github.com/copilot/cli/client-metadata.json";
    let chatgpt = "https://chatgpt.com/oauth/abc/client.json";
    let more = |mut document: Value, more: Value| {
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document
    };
    let common = json!({
        "client_uri": "https://example.com/",
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    [
        (
            claude,
            more(
                common.clone(),
                json!({
                    "client_id": claude,
                    "client_name": "Claude Code",
                    "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"],
                }),
            ),
            "http://localhost:54321/callback",
        ),
        (
            codex,
            more(
                common.clone(),
                json!({
                    "client_id": codex,
                    "client_name": "Codex",
                    "redirect_uris": ["http://127.0.0.1/callback"],
                }),
            ),
            "http://127.0.0.1:5050/callback",
        ),
        (
            copilot,
            more(
                common,
                json!({
                    "client_id": copilot,
                    "client_name": "GitHub Copilot CLI",
                    "redirect_uris": ["http://127.0.0.1:33418/callback", "vscode://copilot/callback"],
                }),
            ),
            "http://127.0.0.1:50001/callback",
        ),
        (
            chatgpt,
            json!({
                "client_id": chatgpt,
                "client_name": "ChatGPT",
                "redirect_uris": ["https://chatgpt.com/connector/oauth/abc"],
                "token_endpoint_auth_method": "private_key_jwt",
                "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
                "token_endpoint_auth_signing_alg": "RS256",
                "jwks_uri": "https://chatgpt.com/oauth/jwks.json",
            }),
            "https://chatgpt.com/connector/oauth/abc",
        ),
    ]
}

#[tokio::test]
async fn ci3_real_hosts_log_in_and_go_on_while_their_document_is_gone() {
    let documents = Documents::new();
    let service = Service::fetching(oauth(), Arc::clone(&documents));
    for (client, document, redirect_uri) in hosts() {
        documents.serve(client, &document, None);
        let (page, code) = approve(&service, client, redirect_uri).await;
        let host = client.split('/').nth(2).unwrap();
        assert!(page.contains(document["client_name"].as_str().unwrap()), "{page}");
        assert!(page.contains(&format!("n app of {host}")), "CI-10: the host of the document: {page}");
        let is_loopback = redirect_uri.starts_with("http:");
        assert_eq!(page.contains("Any program on this computer can say so"), is_loopback);
        // L-13: no URL of the document is on the page.
        assert!(!page.contains("jwks") && !page.contains("example.com/\""), "{page}");

        documents.served.lock().unwrap().clear();
        service.clock.advance(Duration::from_secs(50));
        let before = documents.fetches();
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("client_id", client),
            ("code_verifier", VERIFIER),
            ("redirect_uri", redirect_uri),
        ];
        let redeemed = token(&service, &parameters).await;
        assert_eq!(redeemed.status, StatusCode::OK, "{}", redeemed.text);
        service.clock.advance(Duration::from_secs(40 * 60));
        let refresh = redeemed.json["refresh_token"].as_str().unwrap();
        let refreshed = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", client)];
        let refreshed = token(&service, &refreshed).await;
        assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
        let access = refreshed.json["access_token"].as_str().unwrap();
        assert_eq!(service.get_as("/projects", access).await.status, StatusCode::OK);
        assert_eq!(documents.fetches(), before, "the token endpoint fetches nothing");
    }
}

#[tokio::test]
async fn tk6_a_token_is_good_for_its_own_client_alone() {
    let documents = Documents::new();
    let config = oauth().oauth(|oauth| oauth.metadata_denied_hosts = vec!["evil.example".into()]);
    let service = Service::fetching(config, Arc::clone(&documents));
    documents.serve(CLIENT, &document(CLIENT), None);
    let (_, code) = approve(&service, CLIENT, REDIRECT).await;
    let redeem = async |client: &str| {
        let parameters =
            [("grant_type", "authorization_code"), ("code", &code), ("client_id", client), ("code_verifier", VERIFIER)];
        token(&service, &parameters).await
    };
    for (client, status, error) in [
        ("https://app.example.net/other.json", StatusCode::BAD_REQUEST, "invalid_grant"),
        ("https://other.example/client.json", StatusCode::BAD_REQUEST, "invalid_grant"),
        ("https://app.example.net/client.json?x=1", StatusCode::UNAUTHORIZED, "invalid_client"),
        ("https://app.example.net", StatusCode::UNAUTHORIZED, "invalid_client"),
        ("https://evil.example/client.json", StatusCode::UNAUTHORIZED, "invalid_client"),
        ("unknown", StatusCode::UNAUTHORIZED, "invalid_client"),
    ] {
        let answer = redeem(client).await;
        assert_eq!((answer.status, answer.error()), (status, error), "{client}");
    }
    let redeemed = redeem(CLIENT).await;
    assert_eq!(redeemed.status, StatusCode::OK, "{}", redeemed.text);

    // A host that the service denies later loses its sessions at the next refresh.
    let refresh = redeemed.json["refresh_token"].as_str().unwrap();
    let refreshed = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", CLIENT)];
    let off = service.again(oauth());
    assert_eq!(token(&off, &refreshed).await.error(), "invalid_client", "without a fetcher");
    assert_eq!(token(&service, &refreshed).await.status, StatusCode::OK);
}

#[tokio::test]
async fn as7_the_metadata_says_so_only_if_such_ids_are_taken() {
    let claims = async |service: &Service| {
        let metadata = service.get("/.well-known/oauth-authorization-server").await.json;
        metadata["client_id_metadata_document_supported"].clone()
    };
    let documents = Documents::new();
    documents.serve(CLIENT, &document(CLIENT), None);
    let on = Service::fetching(oauth(), Arc::clone(&documents));
    assert_eq!(claims(&on).await, json!(true));
    assert!(on.get("/auth.md").await.text.contains("metadata document or registers"));
    assert!(is_known(&on, CLIENT).await);
    let fetches = documents.fetches();
    let off = oauth().oauth(|oauth| oauth.metadata_documents = false);
    for service in [Service::fetching(off, Arc::clone(&documents)), Service::with(oauth())] {
        assert_eq!(claims(&service).await, Value::Null);
        assert!(!is_known(&service, CLIENT).await);
        assert!(!service.audit.names().contains(&"client_metadata_refused"), "L-11: it is no failed fetch");
    }
    let without = Service::fetching(config(), Arc::clone(&documents));
    assert_eq!(claims(&without).await, Value::Null, "without the dialect");
    assert_eq!(documents.fetches(), fetches);
}

#[tokio::test]
async fn ci9_the_configuration_says_whose_documents_are_taken() {
    let known = async |hosts: &[&str], denied: &[&str], client: &str| {
        let documents = Documents::new();
        documents.serve(client, &document(client), None);
        let list = |hosts: &[&str]| hosts.iter().map(|&host| host.to_owned()).collect();
        let config = oauth().oauth(|oauth| {
            oauth.metadata_hosts = list(hosts);
            oauth.metadata_denied_hosts = list(denied);
        });
        let service = Service::fetching(config, Arc::clone(&documents));
        let known = is_known(&service, client).await;
        assert_eq!(documents.fetches(), usize::from(known), "a host that is not trusted is not asked");
        known
    };
    assert!(known(&[], &[], CLIENT).await);
    assert!(known(&["claude.ai", "app.example.net"], &[], CLIENT).await);
    assert!(!known(&["claude.ai"], &[], CLIENT).await);
    assert!(!known(&["example.net"], &[], CLIENT).await, "a host is listed exactly");
    assert!(!known(&[], &["app.example.net"], CLIENT).await);
    assert!(!known(&[], &["example.net"], CLIENT).await, "and is denied with all below it");
    assert!(known(&[], &["ample.net"], CLIENT).await);
    assert!(!known(&["app.example.net"], &["app.example.net"], CLIENT).await);
    for field in ["metadata_hosts", "metadata_denied_hosts"] {
        let config = oauth().oauth(|oauth| match field {
            "metadata_hosts" => oauth.metadata_hosts = vec!["https://claude.ai".into()],
            _ => oauth.metadata_denied_hosts = vec!["Claude.ai".into()],
        });
        let error = config.build().unwrap_err();
        assert_eq!(error.problems()[0].field, format!("oauth.{field}"));
    }
}

#[tokio::test]
async fn ci8_a_redirect_uri_that_is_not_in_the_document_is_shown_and_not_followed() {
    let documents = Documents::new();
    documents.serve(CLIENT, &document(CLIENT), None);
    let service = Service::fetching(oauth(), Arc::clone(&documents));
    for uri in ["http://localhost:1/callback", "http://127.0.0.1:1/other", "https://evil.example/callback"] {
        let answer = service.send(browse("ada", &authorize(CLIENT, uri))).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}");
        assert!(!answer.headers.contains_key("location"));
    }
}

#[tokio::test]
async fn ci1_an_url_that_no_document_can_have_is_not_fetched() {
    let documents = Documents::new();
    let service = Service::fetching(oauth(), Arc::clone(&documents));
    for client in [
        "https://app.example.net",
        "https://app.example.net/",
        "https://app.example.net/c?x=1",
        "https://app.example.net/a/../c",
        "https://ada@app.example.net/c",
        "https://[::1]/c",
        "https://[::ffff:10.0.0.1]/c",
        "https:app.example.net/c",
        "http://app.example.net/c",
    ] {
        assert_eq!(open(&service, client).await.status, StatusCode::BAD_REQUEST, "{client}");
    }
    assert_eq!(documents.fetches(), 0);
}

#[tokio::test]
async fn ci6_a_document_is_cached_as_its_server_says_within_bounds() {
    const MINUTE: u64 = 60;
    for (max_age, cached_for) in [
        (None, 5 * MINUTE),
        (Some(0), 5 * MINUTE),
        (Some(60 * MINUTE), 60 * MINUTE),
        (Some(u64::MAX), 24 * 60 * MINUTE),
    ] {
        let documents = Documents::new();
        documents.serve(CLIENT, &document(CLIENT), max_age.map(Duration::from_secs));
        let service = Service::fetching(oauth(), Arc::clone(&documents));
        for _ in 0..3 {
            assert!(is_known(&service, CLIENT).await);
        }
        service.clock.advance(Duration::from_secs(cached_for - 1));
        assert!(is_known(&service, CLIENT).await);
        assert_eq!(documents.fetches(), 1, "{max_age:?}");
        service.clock.advance(Duration::from_secs(1));
        assert!(is_known(&service, CLIENT).await);
        assert_eq!(documents.fetches(), 2, "{max_age:?}");
    }
}

#[tokio::test]
async fn l11_failures_are_not_cached_and_are_events_of_their_own() {
    let documents = Documents::new();
    let service = Service::fetching(oauth(), Arc::clone(&documents));
    let mut wrong = document(CLIENT);
    wrong["client_secret"] = json!("x");
    let answer = open(&service, CLIENT).await;
    assert!(answer.text.contains("status 404"), "{}", answer.text);
    documents.serve(CLIENT, &wrong, Some(Duration::from_secs(3_600)));
    assert!(!is_known(&service, CLIENT).await);
    documents.serve(CLIENT, &document(CLIENT), None);
    assert!(is_known(&service, CLIENT).await);
    assert_eq!(documents.fetches(), 3);
    let refused: Vec<_> = service
        .audit
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ClientMetadataRefused { client, error } => Some((client.to_string(), error)),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|(client, _)| client == CLIENT));
    assert!(refused[0].1.contains("404") && refused[1].1.contains("client_secret"), "{refused:?}");
}

#[tokio::test]
async fn ci6_a_thousand_who_ask_at_once_cause_one_fetch() {
    let documents = Documents::closed();
    let service = Service::fetching(oauth(), Arc::clone(&documents));
    let url = authorize(CLIENT, REDIRECT);
    // A document that is there, and one that is not.
    for is_there in [true, false] {
        let before = documents.fetches();
        if is_there {
            documents.serve(CLIENT, &document(CLIENT), None);
        }
        let all = join_all((0..1_000).map(|_| service.send(Request::get(&*url).body(Body::empty()).unwrap())));
        let (answers, ()) = tokio::join!(all, async {
            documents.have_begun(before + 1).await;
            documents.open();
        });
        let expected = if is_there { StatusCode::SEE_OTHER } else { StatusCode::BAD_REQUEST };
        assert!(answers.iter().all(|answer| answer.status == expected));
        assert_eq!(documents.fetches(), before + 1);
        documents.gate.forget_permits(Semaphore::MAX_PERMITS);
        documents.served.lock().unwrap().clear();
        service.clock.advance(Duration::from_secs(300));
    }
}

#[tokio::test]
async fn ci6_whoever_waits_for_a_fetch_goes_on_when_the_first_one_leaves() {
    let documents = Documents::closed();
    documents.serve(CLIENT, &document(CLIENT), None);
    let service = Arc::new(Service::fetching(oauth(), Arc::clone(&documents)));
    let ask = || {
        let service = Arc::clone(&service);
        tokio::spawn(async move { is_known(&service, CLIENT).await })
    };
    let first = ask();
    documents.have_begun(1).await;
    let second = ask();
    tokio::task::yield_now().await;
    first.abort();
    documents.have_begun(2).await;
    documents.open();
    assert!(second.await.unwrap());
    assert!(is_known(&service, CLIENT).await);
    assert_eq!(documents.fetches(), 2);
}

#[tokio::test]
async fn ci6_fetches_at_once_are_bounded_and_a_hung_one_ends() {
    let documents = Documents::closed();
    let config = oauth().limits(|limits| limits.metadata_fetch = Duration::from_secs(2));
    let service = Arc::new(Service::fetching(config, Arc::clone(&documents)));
    let client = |number: usize| format!("https://app.example.net/{number}");
    let hung: Vec<_> = (0..32)
        .map(|number| {
            let service = Arc::clone(&service);
            tokio::spawn(async move { open(&service, &client(number)).await })
        })
        .collect();
    documents.have_begun(32).await;
    let refused = open(&service, CLIENT).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    for hung in hung {
        let answer = hung.await.unwrap();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains("takes too long"), "{}", answer.text);
    }
    documents.open();
    documents.serve(CLIENT, &document(CLIENT), None);
    assert!(is_known(&service, CLIENT).await);
}

#[tokio::test]
async fn ci6_fetches_are_limited_by_source() {
    let documents = Documents::new();
    let service = Service::fetching(oauth(), Arc::clone(&documents));
    let ask = async |client: &str, address: &str| {
        service.send(from_address(browse("ada", &authorize(client, REDIRECT)), address)).await.status
    };
    documents.serve(CLIENT, &document(CLIENT), None);
    for _ in 0..30 {
        assert_eq!(ask(CLIENT, "192.0.2.1").await, StatusCode::SEE_OTHER, "what is cached counts for nothing");
    }
    let client = |number: usize| format!("https://app.example.net/{number}");
    for number in 1..20 {
        assert_eq!(ask(&client(number), "192.0.2.1").await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(ask(&client(20), "192.0.2.1").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(CLIENT, "192.0.2.1").await, StatusCode::SEE_OTHER);
    assert_eq!(ask(&client(20), "192.0.2.2").await, StatusCode::BAD_REQUEST, "another source is not concerned");
    assert_eq!(documents.fetches(), 21);
    service.clock.advance(Duration::from_secs(3));
    assert_eq!(ask(&client(21), "192.0.2.1").await, StatusCode::BAD_REQUEST, "one more in three seconds");
}

#[tokio::test]
async fn ci6_the_cache_is_bounded_and_keeps_what_is_used() {
    let documents = Documents::new();
    let service = Service::fetching(oauth().no_limits(), Arc::clone(&documents));
    documents.serve(CLIENT, &document(CLIENT), Some(Duration::from_secs(86_400)));
    let ask = async |client: &str| service.get(&authorize(client, REDIRECT)).await.status;
    assert_eq!(ask(CLIENT).await, StatusCode::SEE_OTHER);
    let client = |number: usize| format!("https://app.example.net/{number}");
    for number in 0..1_100 {
        documents.serve(&client(number), &document(&client(number)), Some(Duration::from_secs(86_400)));
        service.clock.advance(Duration::from_millis(1));
        assert_eq!(ask(&client(number)).await, StatusCode::SEE_OTHER);
        assert_eq!(ask(CLIENT).await, StatusCode::SEE_OTHER);
    }
    assert_eq!(documents.fetches(), 1_101);
    assert_eq!(ask(&client(1_099)).await, StatusCode::SEE_OTHER);
    assert_eq!(documents.fetches(), 1_101, "new ones are there");
    assert_eq!(ask(&client(0)).await, StatusCode::SEE_OTHER);
    assert_eq!(documents.fetches(), 1_102, "old ones have left");
}

/// A web server with TLS on 127.0.0.1.
struct WebServer {
    port: u16,
    authority: String,
    connections: Arc<AtomicUsize>,
    _task: tokio::task::JoinSet<()>,
}

impl WebServer {
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                served.spawn(async move {
                    // A client that stops reading is part of the test.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = Self::serve(stream, port).await;
                    }
                });
            }
        });
        Self { port, authority: made.cert.pem(), connections, _task: task }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.port)
    }

    fn fetcher(&self) -> HttpFetcher {
        HttpFetcher::trusting(self.authority.as_bytes()).unwrap()
    }

    async fn serve(
        mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
        port: u16,
    ) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("accept: application/json\r\n") && !head.contains("cookie"), "{head}");
        let path = between(&head, "GET /", " HTTP/1.1\r\n");
        let url = format!("https://127.0.0.1:{port}/{path}");
        let json = |body: &str, more: &str| {
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n{body}")
        };
        let padded = |length: usize| {
            let document = document(&url).to_string();
            let padding = " ".repeat(length - document.len());
            json(&format!("{document}{padding}"), "")
        };
        let answer = match path {
            "good" => json(&document(&url).to_string(), "cache-control: public, max-age=3600\r\n"),
            "longest" => padded(5 * 1024),
            "long" => padded(6 * 1024),
            "redirect" => "HTTP/1.1 302 Found\r\nlocation: /good\r\ncontent-length: 0\r\n\r\n".into(),
            "html" => json(&document(&url).to_string(), "").replace("application/json", "text/html"),
            "untyped" => json(&document(&url).to_string(), "").replace("content-type: application/json\r\n", ""),
            "other" => json(&document(&url.replace("other", "good")).to_string(), ""),
            "secret" => {
                let mut document = document(&url);
                document["client_secret"] = json!("x");
                json(&document.to_string(), "")
            }
            "created" => json(&document(&url).to_string(), "").replace("200 OK", "201 Created"),
            "cut" => json(&document(&url).to_string(), "").split_once("redirect").unwrap().0.into(),
            "nonsense" => "SSH-2.0-Example\r\n\r\n".into(),
            "endless" | "silent" | "dripping" => {
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".into()
            }
            "headers" => "HTTP/1.1 200 OK\r\n".into(),
            "slow" => String::new(),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        loop {
            let (bytes, pause) = match path {
                "endless" => (format!("400\r\n{}\r\n", " ".repeat(1_024)), 0),
                "dripping" => ("1\r\n \r\n".to_owned(), 50),
                "headers" => (format!("x-more: {}\r\n", "a".repeat(1_000)), 0),
                "slow" | "silent" => (String::new(), 50),
                _ => return stream.shutdown().await,
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            stream.write_all(bytes.as_bytes()).await?;
            stream.flush().await?;
        }
    }
}

#[tokio::test]
async fn ci2_a_document_is_fetched_over_tls_and_only_as_the_rules_say() {
    let server = WebServer::start().await;
    let fetcher = server.fetcher().allowing(&["127.0.0.1"]).unwrap();
    let config = oauth().limits(|limits| limits.metadata_fetch = Duration::from_secs(3));
    let service = Service::fetching(config, fetcher);
    for good in ["good", "longest"] {
        assert!(is_known(&service, &server.url(good)).await, "{good}");
    }
    let bad = [
        ("redirect", "redirects"),
        ("long", "longer than 5120 bytes"),
        ("missing", "status 404"),
        ("created", "status 201"),
        ("html", "media type"),
        ("untyped", "media type"),
        ("other", "`client_id` is not its URL"),
        ("secret", "client_secret"),
        ("cut", "can&#x27;t be reached"),
        ("nonsense", "can&#x27;t be reached"),
        ("slow", "takes too long"),
        ("silent", "takes too long"),
        ("dripping", "takes too long"),
        ("endless", "longer than 5120 bytes"),
        ("headers", "can&#x27;t be reached"),
    ];
    join_all(bad.map(async |(path, text)| {
        let answer = open(&service, &server.url(path)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(!answer.headers.contains_key("location"), "{path}");
        assert!(answer.text.contains(text), "{path}: {}", answer.text);
    }))
    .await;
    let refused = service.audit.events().into_iter().filter_map(|event| match event {
        Event::ClientMetadataRefused { client, error } => Some((client.to_string(), error)),
        _ => None,
    });
    let refused: HashMap<_, _> = refused.collect();
    assert_eq!(refused.len(), bad.len());
    let cause = &refused[&server.url("headers")];
    assert!(cause.contains("can't be reached: "), "the operator reads the cause: {cause}");
}

#[tokio::test]
async fn ci2_the_lifetime_is_read_and_a_certificate_is_needed() {
    let server = WebServer::start().await;
    let fetcher = server.fetcher().allowing(&["127.0.0.0/8"]).unwrap();
    let fetched = fetcher.fetch(&server.url("good")).await.unwrap();
    assert_eq!((&*fetched.media_type, fetched.max_age), ("application/json", Some(Duration::from_secs(3_600))));
    // `localhost` has more addresses than the one that is allowed.
    let by_name = format!("https://localhost:{}/good", server.port);
    assert!(fetcher.fetch(&by_name).await.is_ok());
    let stranger = WebServer::start().await.fetcher().allowing(&["127.0.0.1"]).unwrap();
    let failed = stranger.fetch(&server.url("good")).await;
    assert!(matches!(failed, Err(FetchError::Unreachable(_))), "{failed:?}");
}

#[tokio::test]
async fn ci5_no_address_inside_is_connected_to() {
    let server = WebServer::start().await;
    let service = Service::fetching(oauth(), server.fetcher());
    let port = server.port;
    for client in [
        server.url("good"),
        format!("https://localhost:{port}/good"),
        "https://169.254.169.254/latest/meta-data".into(),
        "https://10.0.0.1/client.json".into(),
    ] {
        let answer = open(&service, &client).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{client}");
        assert!(answer.text.contains("no public address"), "{client}: {}", answer.text);
    }
    for url in [format!("https://[::1]:{port}/good"), format!("https://[::ffff:127.0.0.1]:{port}/good")] {
        let failed = server.fetcher().fetch(&url).await;
        assert!(matches!(failed, Err(FetchError::RefusedAddress)), "{url} {failed:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}
