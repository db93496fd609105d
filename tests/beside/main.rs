//! Agents beside a service's own auth, on the same routes (requirements R129 and R130): API keys, JWT, Basic and cookies
//! pass on to the service, and a token of an agent never does.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, routing::any};
use http::{HeaderMap, Method, Request, Response, StatusCode, header::WWW_AUTHENTICATE};
use serde_json::json;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_agent_auth::{
    AgentAuth,
    guard::{AgentSession, GuardLayer, Owner, Refusal, Rule},
    mcp::Operations,
    testing,
};

#[path = "../common/mod.rs"]
mod common;
mod example;
mod grpc;
use common::{Answer, Fault, PRM, Service};

/// A token of the service's own. The form of an agent's prefix is in its signature by chance.
const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.aas_c2lnbmF0dXJl";
const HOSTS_BEARER: &str = r#"Bearer realm="host", error="invalid_token""#;
const HOSTS_BASIC: &str = r#"Basic realm="host""#;

/// What reached the service.
#[derive(Clone, Debug)]
struct Seen {
    who: Option<&'static str>,
    headers: HeaderMap,
    uri: String,
    agent: bool,
    owner: bool,
}

/// The service with its own auth, as it was before agents came. It records what reaches it.
#[derive(Clone, Default)]
struct Host(Arc<Mutex<Vec<Seen>>>);

impl Host {
    fn taken(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn who(request: &Request<Body>) -> Option<&'static str> {
        let headers = request.headers();
        let is = |name: &str, value: &str| headers.get_all(name).iter().any(|line| line == value);
        if is("x-api-key", "key_1") {
            return Some("key");
        }
        if headers.get_all("authorization").iter().any(|line| {
            let line = line.to_str().unwrap();
            line.split_once(' ').is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token == JWT)
        }) {
            return Some("jwt");
        }
        if is("authorization", "Basic YWRhOnNlY3JldA==") {
            return Some("basic");
        }
        if request.uri().query().is_some_and(|query| query.contains("access_token=hosts")) {
            return Some("query");
        }
        let cookies = headers.get_all("cookie").iter().flat_map(|line| line.to_str().unwrap().split("; "));
        cookies.into_iter().any(|cookie| cookie == "login=ada").then_some("cookie")
    }

    fn answer(&self, request: Request<Body>) -> Ready<Result<Response<Body>, Infallible>> {
        let extensions = request.extensions();
        let (agent, owner) = (extensions.get::<AgentSession>().is_some(), extensions.get::<Owner>().is_some());
        let who = if agent { Some("agent") } else { Self::who(&request) };
        let (headers, uri) = (request.headers().clone(), request.uri().to_string());
        self.0.lock().unwrap().push(Seen { who, headers, uri, agent, owner });
        let mut response = Response::new(Body::from(who.unwrap_or_default()));
        if who.is_none() {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response.headers_mut().append(WWW_AUTHENTICATE, HOSTS_BEARER.parse().unwrap());
            response.headers_mut().append(WWW_AUTHENTICATE, HOSTS_BASIC.parse().unwrap());
        }
        ready(Ok(response))
    }

    fn service(&self) -> App {
        let host = self.clone();
        App::new(service_fn(move |request| host.answer(request)))
    }
}

type App = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The host behind a guard, put together in each way that there is.
fn stacks(auth: &AgentAuth, rule: Option<Rule>, host: &Host) -> Vec<(&'static str, App)> {
    let bare = |guard: GuardLayer| guard.layer(host.service()).map_response(|response| response.map(Body::new));
    let by_rule = rule.clone().map(Rule::or_host_auth);
    let returned = rule.clone();
    let around = auth.policy(move |_| returned.clone()).or_host_auth();
    let routed = Router::new().route_service("/r", host.service());
    let mut stacks = vec![
        ("policy, or_host_auth around", App::new(bare(around.clone()))),
        ("axum, policy as a layer", App::new(routed.clone().route_layer(around))),
    ];
    let Some(rule) = rule else { return stacks };
    let inside = by_rule.clone();
    stacks.push(("policy, or_host_auth inside", App::new(bare(auth.policy(move |_| inside.clone())))));
    stacks.push(("one rule", App::new(bare(auth.guard(by_rule.unwrap())))));
    let sugar = auth.guard(rule.clone()).or_host_auth();
    stacks.push(("axum, one route", App::new(routed.layer(sugar))));
    let ending = auth.guard(rule).or_host_auth().end_with_session().layer(host.service());
    stacks.push(("a body that ends", App::new(ending.map_response(|response| response.map(Body::new)))));
    stacks
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It reaches the host unchanged, and the host knows who it is.
    Host(&'static str),
    /// It reaches the host unchanged, and the host answers 401.
    HostRefuses,
    /// An agent with the scope `projects:read`.
    Agent,
    /// It never reaches the host.
    Refused(Refusal),
}

use Fate::{Agent, HostRefuses, Refused};
const INVALID: Fate = Refused(Refusal::InvalidToken);
const AMBIGUOUS: Fate = Refused(Refusal::InvalidRequest);
const NONE: Fate = Refused(Refusal::NoCredentials);

struct Credential {
    name: String,
    headers: Vec<(&'static str, String)>,
    query: String,
    fate: Fate,
}

fn credential(fate: Fate, query: &str, headers: &[(&'static str, &str)]) -> Credential {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Credential { name: format!("{headers:?} {query}"), headers, query: query.into(), fate }
}

/// Every way to present credentials, with what must become of it.
async fn credentials(service: &Service) -> Vec<Credential> {
    const A: &str = "authorization";
    const KEY: (&str, &str) = ("x-api-key", "key_1");
    const COOKIE: (&str, &str) = ("cookie", "login=ada");
    const BASIC: (&str, &str) = (A, "Basic YWRhOnNlY3JldA==");
    let issued = async |builder: testing::SessionBuilder<'_>| builder.scopes("projects:read").issue().await;
    let good = issued(testing::session(&service.auth)).await;
    let (token, refresh) = (good.access_token(), good.refresh_token());
    let revoked = issued(testing::session(&service.auth).revoked()).await.access_token().to_owned();
    let expired = issued(testing::session(&service.auth).expired()).await.access_token().to_owned();
    let bearer = |token: &str| format!("Bearer {token}");
    let basic = |text: &str| format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes()));
    let last = if token.ends_with('x') { 'y' } else { 'x' };
    let mistyped = format!("{}{last}", &token[..token.len() - 1]);
    let jwt = bearer(JWT);
    let good = bearer(token);
    let mut all = vec![
        // The host's own.
        credential(HostRefuses, "", &[]),
        credential(Fate::Host("jwt"), "", &[(A, &jwt)]),
        credential(Fate::Host("jwt"), "", &[(A, &format!("bearer {JWT}"))]),
        credential(Fate::Host("key"), "", &[(A, &jwt), KEY]),
        credential(Fate::Host("basic"), "", &[BASIC]),
        credential(Fate::Host("basic"), "", &[BASIC, (A, "Basic b3RoZXI6")]),
        credential(Fate::Host("jwt"), "", &[(A, "Negotiate YWJj"), (A, &jwt)]),
        credential(Fate::Host("key"), "", &[KEY]),
        credential(Fate::Host("cookie"), "", &[COOKIE]),
        credential(Fate::Host("query"), "?access_token=hosts", &[]),
        credential(Fate::Host("query"), "?access_token=hosts", &[(A, "Bearer sk_live_1")]),
        credential(HostRefuses, "", &[(A, "Bearer sk_live_unknown")]),
        credential(HostRefuses, "?access_token=unknown", &[]),
        credential(HostRefuses, "", &[(A, "Digest username=\"ada\", realm=\"host\"")]),
        credential(HostRefuses, "", &[(A, "")]),
        credential(Fate::Host("cookie"), "", &[COOKIE, (A, "Bearer")]),
        credential(Fate::Host("cookie"), "", &[COOKIE, (A, "DPoP eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.x")]),
        credential(Fate::Host("cookie"), "", &[COOKIE, (A, "Bearer sk-haas_x")]),
        // A browser sends these by itself, wherever they come from.
        credential(Fate::Host("cookie"), "", &[("cookie", &format!("stash={token}; login=ada"))]),
        credential(Fate::Host("cookie"), "", &[COOKIE, ("referer", &format!("https://x.test/?access_token={token}"))]),
        // An agent, whatever is beside its token.
        credential(Agent, "", &[(A, &good)]),
        credential(Agent, "", &[(A, &format!("bEARER {token}"))]),
        credential(Agent, "", &[(A, &good), COOKIE]),
        credential(Agent, "", &[(A, &good), KEY]),
        credential(AMBIGUOUS, "", &[(A, &good), (A, &jwt)]),
        credential(AMBIGUOUS, "", &[(A, &jwt), (A, &good)]),
        credential(AMBIGUOUS, "", &[BASIC, (A, &format!("bearer {token}"))]),
        credential(AMBIGUOUS, "", &[BASIC, (A, "Basic eA=="), (A, &format!("DPoP {token}"))]),
        credential(AMBIGUOUS, &format!("?access_token={token}"), &[(A, &good)]),
        credential(AMBIGUOUS, "?access_token=hosts", &[(A, &good)]),
        credential(AMBIGUOUS, &format!("?access_token={token}"), &[(A, &jwt), COOKIE]),
        credential(INVALID, &format!("?a=b&access%5Ftoken={token}"), &[(A, &jwt)]),
        credential(INVALID, &format!("?key={token}"), &[(A, &jwt)]),
        credential(INVALID, "", &[(A, &jwt), ("x-api-key", token)]),
    ];
    // What is no agent's token any more, or never was: with all that the host lets in beside it.
    for bad in [&revoked, &expired, &mistyped, refresh, "aas_", "aas_x", "aas_eyJhbGciOiJFUzI1NiJ9.e30.x"] {
        all.push(credential(INVALID, "", &[(A, &bearer(bad)), COOKIE, KEY]));
    }
    all.push(credential(INVALID, "", &[(A, &bearer(&token.to_uppercase())), COOKIE]));
    all.push(credential(INVALID, "", &[(A, &bearer(&format!("\"{token}\""))), COOKIE]));
    all.push(credential(INVALID, "", &[(A, &bearer(&format!("eyJ.e30.{token}"))), COOKIE]));
    // Where no agent may send its token.
    for line in [
        format!("Bearer\t{token}"),
        format!("Bearer{token}"),
        format!("DPoP {token}"),
        format!("Token {token}"),
        token.to_owned(),
        token.to_uppercase(),
        basic(&format!("{token}:")),
        basic(&format!("x:{token}")),
        basic("aas_x").replace('=', ""),
        format!("Basic {token}"),
    ] {
        all.push(credential(NONE, "", &[(A, &line), COOKIE]));
    }
    for query in ["access_token=", "access_token=aas_x&x=", "a=b&access%5ftoken=", "access_token=Bearer+", "key="] {
        all.push(credential(NONE, &format!("?{query}{token}"), &[COOKIE]));
    }
    all.push(credential(NONE, "?access_token=AAR_x", &[COOKIE]));
    all.push(credential(NONE, "", &[("x-api-key", token), COOKIE]));
    all.push(credential(NONE, "", &[KEY, ("x-token", refresh)]));
    all
}

/// A rule, what it makes of an agent, and the challenge to whoever has no credentials.
struct Row {
    name: &'static str,
    rule: Option<Rule>,
    agent: Result<(), (Refusal, StatusCode)>,
    challenge: String,
}

fn rows(auth: &AgentAuth) -> Vec<Row> {
    let bare = format!(r#"Bearer resource_metadata="{PRM}""#);
    let row = |name, rule, agent, scopes: &str| {
        let scopes = if scopes.is_empty() { String::new() } else { format!(r#", scope="{scopes}""#) };
        Row { name, rule, agent, challenge: format!("{bare}{scopes}") }
    };
    let denied = |refusal| Err((refusal, StatusCode::FORBIDDEN));
    let (read, write) = (auth.all_of("projects:read").unwrap(), auth.all_of("projects:write").unwrap());
    let either = auth.any_of("projects:write projects:read").unwrap();
    vec![
        row("read", Some(read), Ok(()), "projects:read"),
        row("either", Some(either), Ok(()), "projects:read projects:write"),
        row("write", Some(write), denied(Refusal::InsufficientScope), "projects:write"),
        row("optional", Some(Rule::optional()), Ok(()), ""),
        row("owner only", Some(Rule::owner_only()), denied(Refusal::OwnerOnly), ""),
        row("no rule", None, denied(Refusal::NoRule), ""),
    ]
}

fn challenges(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(WWW_AUTHENTICATE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn r129_r130_every_credential_on_every_rule_in_every_stack() {
    let service = Service::new();
    let credentials = credentials(&service).await;
    let host = Host::default();
    let mut cells = 0;
    for waits in [false, true] {
        if waits {
            service.store.wait();
        }
        for row in rows(&service.auth) {
            for (stack, app) in stacks(&service.auth, row.rule.clone(), &host) {
                for credential in &credentials {
                    let what = format!("{stack}, {}: {}", row.name, credential.name);
                    let mut request = Request::get(format!("/r{}", credential.query)).body(Body::empty()).unwrap();
                    for (name, value) in &credential.headers {
                        request.headers_mut().append(*name, value.parse().unwrap());
                    }
                    // A session that anything but a guard inserts is worth nothing.
                    request.extensions_mut().insert(testing::agent_session("mallory").build());
                    request.extensions_mut().insert(testing::owner("mallory"));
                    let (sent, uri) = (request.headers().clone(), request.uri().to_string());
                    let response = app.clone().oneshot(request).await.unwrap();
                    let refusal = response.extensions().get::<Refusal>().copied();
                    let answer = Answer::read(response).await;
                    let seen = host.taken();
                    let challenges = challenges(&answer.headers);
                    let fate = match (credential.fate, row.agent) {
                        (Agent, Err((refusal, status))) => {
                            assert_eq!(answer.status, status, "{what}");
                            Refused(refusal)
                        }
                        (fate, _) => fate,
                    };
                    match fate {
                        Refused(expected) => {
                            assert_eq!((refusal, seen.len()), (Some(expected), 0), "{what}: {}", answer.text);
                            let only = challenges.first().cloned().unwrap_or_default();
                            match expected {
                                Refusal::NoCredentials => assert_eq!(only, row.challenge, "{what}"),
                                Refusal::OwnerOnly | Refusal::NoRule => assert_eq!(only, "", "{what}"),
                                _ => assert!(only.contains(&format!(r#"error="{}""#, expected.as_str())), "{what}"),
                            }
                            assert!(challenges.len() <= 1, "{what}: {challenges:?}");
                        }
                        Agent => {
                            assert_eq!(
                                (answer.status, &*answer.text, refusal),
                                (StatusCode::OK, "agent", None),
                                "{what}"
                            );
                            assert!(challenges.is_empty() && seen[0].agent && !seen[0].owner, "{what}");
                        }
                        Fate::Host(_) | HostRefuses => {
                            let [seen] = &seen[..] else { panic!("{what}: {} {}", answer.status, answer.text) };
                            assert!(!seen.agent && !seen.owner && refusal.is_none(), "{what}");
                            assert_eq!((&seen.headers, &seen.uri), (&sent, &uri), "{what}");
                            if let Fate::Host(who) = fate {
                                assert_eq!((answer.status, &*answer.text), (StatusCode::OK, who), "{what}");
                                assert!(challenges.is_empty(), "{what}: {challenges:?}");
                            } else {
                                assert_eq!((answer.status, seen.who), (StatusCode::UNAUTHORIZED, None), "{what}");
                                assert_eq!(challenges, [&*row.challenge, HOSTS_BEARER, HOSTS_BASIC], "{what}");
                            }
                        }
                    }
                    // The same question, without a guard.
                    let presents = matches!(credential.fate, Agent | Refused(_));
                    let uri = uri.parse().unwrap();
                    assert_eq!(service.auth.presents_agent_token(&sent, &uri), presents, "{what}");
                    cells += 1;
                }
            }
        }
    }
    assert!(cells > 3_000, "{cells}");
}

#[tokio::test]
async fn r130_the_hosts_callers_cost_no_store_call_and_pass_while_the_store_is_down() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let host = Host::default();
    let app = service.auth.require("projects:read").or_host_auth().layer(host.service());
    let calls = service.store.calls();
    service.store.break_after(0, Fault::Unavailable);
    for (name, value) in [("x-api-key", "key_1"), ("authorization", &*format!("Bearer {JWT}")), ("cookie", "login=ada")]
    {
        let request = Request::get("/r").header(name, value).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), StatusCode::OK, "{name}");
    }
    assert_eq!(service.store.calls(), calls);
    assert_eq!(host.taken().len(), 3);
    let mut agents = common::bearer(Method::GET, "/r", &token);
    agents.headers_mut().insert("cookie", "login=ada".parse().unwrap());
    let failed = app.oneshot(agents).await.unwrap();
    assert_eq!((failed.status(), host.taken().len()), (StatusCode::SERVICE_UNAVAILABLE, 0));
}

#[tokio::test]
async fn r130_methods_and_preflights_of_the_host_pass() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let host = Host::default();
    let app = service.auth.require("projects:read").or_host_auth().layer(host.service());
    for method in [Method::OPTIONS, Method::CONNECT, Method::TRACE, Method::PATCH, "PURGE".parse().unwrap()] {
        let request = Request::builder().method(method.clone()).uri("/r").header("cookie", "login=ada");
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!((response.status(), host.taken().len()), (StatusCode::OK, 1), "{method}");
    }
    for method in [Method::TRACE, Method::CONNECT] {
        let mut request = common::bearer(method.clone(), "/r", &token);
        request.headers_mut().insert("cookie", "login=ada".parse().unwrap());
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!((response.status(), host.taken().len()), (StatusCode::METHOD_NOT_ALLOWED, 0), "{method}");
    }
}

#[tokio::test]
async fn r130_a_client_finds_the_metadata_whatever_the_host_challenges_with() {
    let service = Service::new();
    let ours = format!(r#"Bearer resource_metadata="{PRM}", scope="projects:read""#);
    let nested = format!(r#"Bearer error="invalid_token", resource_metadata="{PRM}""#);
    let cases: [(&[&str], bool); 9] = [
        (&[], true),
        (&["Bearer"], true),
        (&[HOSTS_BEARER], true),
        (&[HOSTS_BASIC, HOSTS_BEARER], true),
        (&[r#"DPoP algs="ES256", bearer realm="y""#], true),
        (&[r#"Bearer resource_metadata="https://login.example/.well-known/oauth-protected-resource""#], true),
        (&["no \"challenge"], true),
        // A guard of this service further in.
        (&[&nested], false),
        (&[HOSTS_BASIC, &nested], false),
    ];
    for (theirs, is_added) in cases {
        for status in
            [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::OK, StatusCode::PROXY_AUTHENTICATION_REQUIRED]
        {
            let owned: Vec<String> = theirs.iter().map(|challenge| (*challenge).to_owned()).collect();
            let inner = service_fn(move |_: Request<Body>| {
                let mut response = Response::builder().status(status);
                for challenge in &owned {
                    response = response.header(WWW_AUTHENTICATE, challenge);
                }
                ready(Ok::<_, Infallible>(response.body(Body::empty()).unwrap()))
            });
            let app = service.auth.require("projects:read").or_host_auth().layer(inner);
            let response = app.oneshot(Request::get("/r").body(Body::empty()).unwrap()).await.unwrap();
            let added = (is_added && status == StatusCode::UNAUTHORIZED).then_some(&*ours);
            let expected: Vec<&str> = added.into_iter().chain(theirs.iter().copied()).collect();
            assert_eq!(challenges(response.headers()), expected, "{status} {theirs:?}");
        }
    }
}

#[tokio::test]
async fn r129_only_an_agents_token_in_the_query_is_audited() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let app = service.auth.require("projects:read").or_host_auth().layer(Host::default().service());
    let audited = || service.audit.names().iter().filter(|name| **name == "token_in_query").count();
    for (query, expected) in [("access_token=hosts", 0), (&*format!("access_token={token}"), 1)] {
        app.clone().oneshot(Request::get(format!("/r?{query}")).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(audited(), expected, "{query}");
    }
}

#[tokio::test]
async fn r129_what_an_agent_sends_is_stripped_and_what_the_hosts_callers_send_is_not() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let host = Host::default();
    let app = service.auth.require("projects:read").or_host_auth().strip_authorization().layer(host.service());
    for (line, is_kept) in [(format!("Bearer {token}"), false), (format!("Bearer {JWT}"), true)] {
        let request = Request::get("/r").header("authorization", &line).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
        let seen = host.taken().remove(0);
        assert_eq!(seen.headers.get("authorization").is_some_and(|kept| kept == &*line), is_kept, "{line}");
    }
}

#[tokio::test]
async fn r130_a_handler_that_takes_an_agent_refuses_the_hosts_callers_with_the_challenge() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let auth = &service.auth;
    let guard = || auth.require("projects:read").or_host_auth();
    let app = Router::new()
        .route("/agent", any(async |agent: AgentSession| agent.account.id.to_string()).layer(guard()))
        .route("/owner", any(async |owner: Owner| owner.account().id.to_string()).layer(guard()))
        .route("/either", any(async |agent: Option<AgentSession>| agent.is_some().to_string()).layer(guard()))
        .route("/blind", any(async |_: AgentSession| "").layer(guard().without_principal()));
    let ours = format!(r#"Bearer resource_metadata="{PRM}", scope="projects:read""#);
    let get = async |path: &str, name: &str, value: &str| {
        let request = Request::get(path).header(name, value).body(Body::empty()).unwrap();
        Answer::read(app.clone().oneshot(request).await.unwrap()).await
    };
    let as_agent = format!("Bearer {token}");
    for (path, status, text) in [
        ("/agent", StatusCode::UNAUTHORIZED, None),
        ("/owner", StatusCode::UNAUTHORIZED, None),
        ("/either", StatusCode::OK, Some("false")),
        ("/blind", StatusCode::INTERNAL_SERVER_ERROR, None),
    ] {
        for (name, value) in [("x-api-key", "key_1"), ("cookie", "user=ada"), ("authorization", "Basic YWRhOg==")] {
            let answer = get(path, name, value).await;
            assert_eq!(answer.status, status, "{path} {name}: {}", answer.text);
            assert!(text.is_none_or(|text| answer.text == text), "{path}: {}", answer.text);
            let expected: &[&str] = if status == StatusCode::UNAUTHORIZED { &[&ours] } else { &[] };
            assert_eq!(challenges(&answer.headers), expected, "{path} {name}");
        }
    }
    assert_eq!(get("/agent", "authorization", &as_agent).await.text, "acct_ada");
    assert_eq!(get("/either", "authorization", &as_agent).await.text, "true");
}

#[tokio::test]
async fn r130_no_shared_cache_gives_one_caller_what_is_for_another() {
    let service = Service::new();
    let inner = |control: Option<&'static str>| {
        service_fn(move |_: Request<Body>| {
            let response = Response::builder().header("x", "y");
            let response = control.map_or_else(Response::builder, |control| response.header("cache-control", control));
            ready(Ok::<_, Infallible>(response.body(Body::empty()).unwrap()))
        })
    };
    let owner = Rule::owner_only().or_host_auth();
    for (guard, control, expected) in [
        (service.auth.require("projects:read").or_host_auth(), None, ("private", None)),
        (service.auth.require("projects:read").or_host_auth(), Some("max-age=9"), ("max-age=9", Some("authorization"))),
        (service.auth.guard(owner.clone()), None, ("no-store", None)),
        (service.auth.guard(owner), Some("max-age=9"), ("max-age=9", Some("authorization, cookie"))),
    ] {
        let request = Request::get("/r").header("x-api-key", "key_1").body(Body::empty()).unwrap();
        let response = guard.layer(inner(control)).oneshot(request).await.unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!((header("cache-control").unwrap(), header("vary")), expected);
    }
}

#[tokio::test]
async fn g3_a_hosts_401_whose_challenge_leads_nowhere_is_warned_about() {
    let service = Service::new();
    let auth = AgentAuth::builder(common::config().build().unwrap())
        .sessions(service.store.clone())
        .accounts(service.accounts.clone())
        .audit(service.audit.clone())
        .build()
        .unwrap();
    let app = auth.require("projects:read").or_host_auth().layer(Host::default().service());
    let warned = || service.audit.names().contains(&"misassembled");
    let send = async |key: &str| {
        let request = Request::get("/r").header("x-api-key", key).body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!((send("key_1").await, warned()), (StatusCode::OK, false));
    assert_eq!((send("none").await, warned()), (StatusCode::UNAUTHORIZED, true));
}

/// An MCP server with keys of its own.
#[tokio::test]
async fn r129_r130_an_mcp_server_takes_its_own_keys_unread_and_agents_by_operation() {
    let service = Service::new();
    let token = service.token(&["projects:read"]).await;
    let operations = || {
        Operations::new()
            .tool("list", "projects:read")
            .tool("create", "projects:write")
            .tool_owner_only("delete")
            .initial_scopes("projects:read")
    };
    let call = |tool: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool } });
    let host = Host::default();
    let by_body =
        service.auth.mcp(operations()).unwrap().or_host_auth().strip_authorization().read_bodies().limit(1_000);
    let echo = host.clone();
    let echoing = service_fn(move |request: Request<tower_agent_auth::mcp::Body<Body>>| {
        let echo = echo.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
            let response = echo.answer(Request::from_parts(head, Body::empty())).await.unwrap();
            Ok::<_, Infallible>(response.map(|_| Body::from(body)))
        }
    });
    let app = by_body.layer(echoing);
    let post = async |headers: &[(&'static str, &str)], body: String| {
        let mut request = Request::post("/mcp").body(Body::from(body)).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        Answer::read(app.clone().oneshot(request).await.unwrap()).await
    };
    let as_agent = format!("Bearer {token}");
    let agent = ("authorization", &*as_agent);
    let jwt = format!("Bearer {JWT}");
    // The host's callers may do all that the host lets them do, in any form and size.
    for body in
        [call("list").to_string(), call("delete").to_string(), call("?").to_string(), "{".into(), "x".repeat(5_000)]
    {
        for own in [("x-api-key", "key_1"), ("authorization", &*jwt), ("cookie", "login=ada")] {
            let answer = post(&[own], body.clone()).await;
            assert_eq!((answer.status, &answer.text), (StatusCode::OK, &body), "{own:?}");
            assert!(!host.taken()[0].agent);
        }
        let answer = post(&[], body).await;
        let ours = format!(r#"Bearer resource_metadata="{PRM}", scope="projects:read""#);
        assert_eq!(challenges(&answer.headers), [&*ours, HOSTS_BEARER, HOSTS_BASIC]);
        assert_eq!((answer.status, host.taken().len()), (StatusCode::UNAUTHORIZED, 1));
    }
    // An agent may do what its scopes say, whatever the host would let in.
    for (body, status) in [
        (call("list").to_string(), StatusCode::OK),
        (call("create").to_string(), StatusCode::FORBIDDEN),
        (call("delete").to_string(), StatusCode::FORBIDDEN),
        (call("?").to_string(), StatusCode::FORBIDDEN),
        ("{".into(), StatusCode::BAD_REQUEST),
        ("x".repeat(5_000), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = post(&[agent, ("x-api-key", "key_1"), ("cookie", "login=ada")], body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(host.taken().len(), usize::from(status == StatusCode::OK));
    }
    let bad = post(&[("authorization", "Bearer aas_x"), ("x-api-key", "key_1")], call("list").to_string()).await;
    assert_eq!((bad.error(), host.taken().len()), ("invalid_token", 0));

    // By headers alone.
    let app = service.auth.mcp(operations()).unwrap().or_host_auth().layer(host.service());
    for (name, value, status) in [
        ("x-api-key", "key_1", StatusCode::OK),
        ("authorization", &*as_agent, StatusCode::BAD_REQUEST),
        ("x-api-key", "unknown", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::post("/mcp").header(name, value).body(Body::from(call("list").to_string())).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), status, "{name}");
    }
}
