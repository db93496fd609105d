//! Tokens that an issuer gives, renews and answers for in a second: this crate over each of its stores, beside `oauth-as`.
//!
//! ```text
//! cargo xtask servers -- cargo bench --bench oauth
//! ```
//!
//! Both servers run in this process. 32 clients at once call the token endpoint (RFC 6749 section 4.1.3 and 6) and the
//! introspection endpoint (RFC 7662) as HTTP services, without a connection. Codes were approved before the time begins.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench")]

#[path = "common/issuer.rs"]
mod issuer;

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, COOKIE, LOCATION},
};
use http_body_util::Full;
use issuer::{Humans, ORIGIN, cookies, form, seal, send};
use oauth_as::{
    AuthorizationRequest, AuthorizationServer, Client, ClientAuth, ClientId, GrantType, ResourceServerRegistration,
    ScopeSet, ServerConfig, SystemClock, UserApproval,
    http::{AuthorizationService, ServiceBuilder},
    store::MemoryStorage,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tower_agent_auth::{
    AgentAuth, Config,
    config::{Dialect, OAuthClient, ResourceServer},
    store::{CeremonyStore, MemoryStore, PostgresOptions, RedisOptions, SqliteStore},
};

const CALLERS: usize = 32;
const SPAN: Duration = Duration::from_secs(3);
/// More than a store in memory redeems in a tenth of a second; fewer than take long to approve.
const CODES: usize = 3_000;
const CLIENT: &str = "client";
const REDIRECT: &str = "http://127.0.0.1:43123/callback";
const VERIFIER: &str = "a-verifier-of-forty-three-characters-0000000";
const SECRET: &str = "a secret of 32 random characters";

/// One of the two servers.
#[derive(Clone)]
enum Server {
    Ours(Box<AgentAuth>),
    OauthAs(Arc<AuthorizationServer<MemoryStorage>>, AuthorizationService<MemoryStorage, SystemClock>),
}

fn ours(store: impl CeremonyStore) -> Server {
    let config = Config::builder().resource(ORIGIN).name("Bench").scope("read", "See", |scope| scope.by_default());
    let config = config.dialects(&[Dialect::OAuth]).no_limits().oauth(|oauth| {
        oauth.clients.push(OAuthClient::new(CLIENT, "A client", &[REDIRECT]));
        let hash = HEXLOWER.encode(&Sha256::digest(SECRET));
        oauth.resource_servers.push(ResourceServer::new("api", &hash, &[ORIGIN]));
    });
    let config = config.build().unwrap();
    Server::Ours(Box::new(AgentAuth::builder(config).sessions(store).accounts(Humans).build().unwrap()))
}

async fn oauth_as() -> Server {
    let mut config = ServerConfig::new("https://as.example.com", "https://as.example.com/device");
    config.resource_servers = Some(Box::new([ResourceServerRegistration::new(ClientId::new("api"), [ORIGIN])]));
    let server = AuthorizationServer::new(config, MemoryStorage::new());
    let scopes = ScopeSet::parse("read").unwrap();
    for (id, auth, grant_types) in [
        (CLIENT, ClientAuth::Public, vec![GrantType::AuthorizationCode, GrantType::RefreshToken]),
        ("api", ClientAuth::ConfidentialSecret { secret: SECRET.into() }, vec![GrantType::ClientCredentials]),
    ] {
        let client = Client {
            client_id: ClientId::new(id),
            auth,
            grant_types,
            redirect_uris: vec![REDIRECT.into()],
            allowed_scopes: scopes.clone(),
            default_scopes: scopes.clone(),
            name: None,
            registration: None,
        };
        server.register_client(client).await.unwrap();
    }
    let server = Arc::new(server);
    let service = ServiceBuilder::new(Arc::clone(&server)).build().unwrap();
    Server::OauthAs(server, service)
}

impl Server {
    /// What the server answers to a form: JSON, always 200.
    async fn post(&self, endpoint: &str, parameters: &[(&str, &str)], basic: Option<&str>) -> Value {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let path = match self {
            Self::Ours(_) => format!("/oauth2/{endpoint}"),
            Self::OauthAs(..) => format!("/{endpoint}"),
        };
        let mut request = form(&path);
        if let Some(basic) = basic {
            request = request.header(AUTHORIZATION, basic);
        }
        let request: Request<Full<Bytes>> = request.body(Full::from(body)).unwrap();
        let (status, body) = match self {
            Self::Ours(auth) => {
                let (status, _, body) = send(auth, request).await;
                (status, Bytes::from(body))
            }
            Self::OauthAs(_, service) => {
                let response = service.handle(request).await;
                (response.status(), response.into_body().into_bytes())
            }
        };
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// A code that a human of that number has approved.
    async fn code(&self, number: usize) -> String {
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(VERIFIER));
        let parameters = [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("scope", "read"),
            ("state", "s"),
            ("resource", ORIGIN),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        match self {
            Self::Ours(auth) => {
                let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
                let jar = format!("user=human-{number}");
                let get = |path: &str, jar: &str| Request::get(path).header(COOKIE, jar).body(Full::default()).unwrap();
                let (_, headers, text) = send(auth, get(&format!("/oauth2/authorize?{query}"), &jar)).await;
                let path = headers.get(LOCATION).unwrap_or_else(|| unreachable!("{text}")).to_str().unwrap();
                let jar = cookies(jar, &headers);
                let (_, _, page) = send(auth, get(path, &jar)).await;
                let body = format!("csrf={}&decision=approve&scope=read", seal(&page));
                let post = form(path).header(COOKIE, &jar).header("origin", ORIGIN).body(Full::from(body)).unwrap();
                let (_, headers, page) = send(auth, post).await;
                let location = headers.get(LOCATION).unwrap_or_else(|| unreachable!("{page}")).to_str().unwrap();
                let query = location.split_once('?').unwrap().1;
                let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code");
                code.unwrap().1.into_owned()
            }
            Self::OauthAs(server, _) => {
                let request = AuthorizationRequest::from_pairs(parameters);
                let request = server.validate_authorization_request(&request).await.unwrap();
                let approval = UserApproval::granted(&request, format!("human-{number}"));
                server.issue_authorization_code(approval).await.unwrap().code
            }
        }
    }

    async fn redeem(&self, code: &str) -> Value {
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        self.post("token", &parameters, None).await
    }

    async fn refresh(&self, token: &str) -> Value {
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", CLIENT)];
        self.post("token", &parameters, None).await
    }
}

fn text(json: &Value, field: &str) -> String {
    json[field].as_str().unwrap().to_owned()
}

/// Runs a caller of each number at once. Answers all that they made, and how many calls a second that were.
async fn at_once<T, F>(caller: impl Fn(usize) -> F) -> (Vec<T>, f64)
where
    T: Send + 'static,
    F: Future<Output = (Vec<T>, usize)> + Send + 'static,
{
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        callers.spawn(caller(number));
    }
    let (made, calls): (Vec<Vec<T>>, Vec<usize>) = callers.join_all().await.into_iter().unzip();
    (made.into_iter().flatten().collect(), calls.into_iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64())
}

/// Does each of the numbers below `CODES` once.
async fn each<T, F>(work: impl Fn(usize) -> F + Clone + Send + Sync + 'static) -> (Vec<T>, f64)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    at_once(|_| {
        let (next, work) = (Arc::clone(&next), work.clone());
        async move {
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= CODES {
                    break;
                }
                made.push(work(number).await);
            }
            let calls = made.len();
            (made, calls)
        }
    })
    .await
}

async fn row(name: &str, server: Server) {
    let of = server.clone();
    let (codes, _) = each(move |number| {
        let server = of.clone();
        async move { server.code(number).await }
    })
    .await;
    let (of, codes) = (server.clone(), Arc::new(codes));
    let (tokens, redeemed) = each(move |number| {
        let (server, codes) = (of.clone(), Arc::clone(&codes));
        async move { server.redeem(&codes[number]).await }
    })
    .await;
    let tokens = Arc::new(tokens);
    // A store in memory never waits, so callers may run one after the other: they share the time.
    let begun = Instant::now();
    let (_, refreshed) = at_once(|number| {
        let (server, tokens) = (server.clone(), Arc::clone(&tokens));
        async move {
            let mut calls = 0;
            let mut token = text(&tokens[number], "refresh_token");
            while begun.elapsed() < SPAN {
                token = text(&server.refresh(&token).await, "refresh_token");
                calls += 1;
            }
            (Vec::<()>::new(), calls)
        }
    })
    .await;
    let begun = Instant::now();
    let (_, introspected) = at_once(|number| {
        let (server, tokens) = (server.clone(), Arc::clone(&tokens));
        async move {
            let basic = format!("Basic {}", BASE64.encode(format!("api:{SECRET}").as_bytes()));
            let mut calls = 0;
            while begun.elapsed() < SPAN {
                // Those that were not refreshed.
                let token = CALLERS + (number + calls * CALLERS) % (CODES - CALLERS);
                let token = text(&tokens[token], "access_token");
                let answer = server.post("introspect", &[("token", &token)], Some(&basic)).await;
                assert_eq!(answer["active"], true, "{answer}");
                calls += 1;
            }
            (Vec::<()>::new(), calls)
        }
    })
    .await;
    println!("| {name} | {redeemed:.0} | {refreshed:.0} | {introspected:.0} |");
}

#[tokio::main]
async fn main() {
    println!("{CALLERS} callers; calls a second\n");
    println!("| server | codes redeemed | tokens refreshed | tokens introspected |\n|---|---:|---:|---:|");
    row("oauth-as, memory", oauth_as().await).await;
    row("tower-agent-auth, memory", ours(MemoryStore::new())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.db");
    row("tower-agent-auth, SQLite", ours(SqliteStore::open(&file).await.unwrap())).await;
    let unique = format!("agent_auth_bench_{}", std::process::id());
    if let Ok(url) = env::var("POSTGRES_URL") {
        let store = PostgresOptions::new().schema(&unique).connect(&url).await.unwrap();
        row("tower-agent-auth, PostgreSQL", ours(store)).await;
    }
    if let Ok(url) = env::var("REDIS_URL") {
        row("tower-agent-auth, Redis", ours(RedisOptions::new().prefix(&unique).connect(&url).await.unwrap())).await;
    }
}
