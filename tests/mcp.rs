//! The guard of MCP servers: rmcp's server behind it over loopback, called by rmcp's client and by hand.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, ClientConfig, ProtocolVersion},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        streamable_http_client::StreamableHttpClientTransportConfig,
        streamable_http_server::{StreamableHttpService, session::never::NeverSessionManager},
    },
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{Layer, Service as _, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_agent_auth::{
    AgentAuth,
    audit::Event,
    challenge::Challenge,
    guard::{AgentSession, Refusal, Rule},
    mcp::{Body, McpBodyLayer, McpLayer, Operations},
};

#[path = "common/changes.rs"]
mod changes;
mod common;
use common::{Answer, Dripping, PRM, Service, Silent, config};

#[path = "../examples/axum/data.rs"]
#[allow(dead_code, unreachable_pub, reason = "the demo's")]
mod data;
#[path = "../examples/mcp/tools.rs"]
#[allow(dead_code, unreachable_pub, reason = "the example's")]
mod tools;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Server = StreamableHttpService<tools::Tools, NeverSessionManager>;
type Guarded = BoxCloneSyncService<Request<Incoming>, Response<UnsyncBoxBody<Bytes, BoxError>>, Infallible>;

const ALL: [&str; 3] = ["account:read", "projects:read", "projects:write"];
/// The first version whose headers prove the operation.
const NEW: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const OLD: (&str, &str) = ("mcp-protocol-version", "2025-11-25");

fn with_account() -> tower_agent_auth::ConfigBuilder {
    config().scope("account:read", "See your e-mail address", |scope| scope)
}

/// The guard of the example, by headers.
fn by_headers(auth: &AgentAuth) -> McpLayer {
    auth.mcp(tools::operations()).unwrap()
}

/// The guard of the example, by bodies.
fn by_bodies(auth: &AgentAuth) -> McpBodyLayer {
    by_headers(auth).strip_authorization().read_bodies()
}

fn boxed<S, R>(service: S) -> Guarded
where
    S: tower::Service<Request<Incoming>, Response = Response<R>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    BoxCloneSyncService::new(
        service.map_response(|response| response.map(|body| body.map_err(Into::into).boxed_unsync())),
    )
}

/// The example's MCP server behind a guard, on a port of its own.
struct Host {
    service: Service,
    address: SocketAddr,
}

impl Host {
    async fn by_bodies() -> Self {
        Self::start(|auth, server| boxed(by_bodies(auth).end_with_session().layer(server))).await
    }

    async fn by_headers() -> Self {
        Self::start(|auth, server| boxed(by_headers(auth).layer(server))).await
    }

    async fn start(guarded: impl FnOnce(&AgentAuth, Server) -> Guarded) -> Self {
        let service = Service::with(with_account());
        let guarded = guarded(&service.auth, tools::service(Arc::default(), "api.example.com"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let guarded = TowerToHyperService::new(guarded.clone());
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), guarded).await;
                });
            }
        });
        Self { service, address }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// rmcp's client.
    async fn client(&self, token: &str, version: &ProtocolVersion) -> RunningService<RoleClient, ClientConfig> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.url()).auth_header(token);
        let transport = StreamableHttpClientTransport::from_config(config);
        let lifecycle = if *version == ProtocolVersion::V_2026_07_28 {
            ClientLifecycleMode::Discover { preferred_versions: vec![version.clone()] }
        } else {
            ClientLifecycleMode::Initialize
        };
        let client = ClientConfig::default().with_protocol_version(version.clone());
        client.serve_with_lifecycle(transport, lifecycle).await.unwrap()
    }

    /// A request by hand.
    async fn send(&self, request: Request<String>) -> Answer {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut request = request.map(Full::from);
        *request.uri_mut() = self.url().parse().unwrap();
        Answer::read(client.request(request).await.unwrap()).await
    }

    async fn post(&self, token: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(post(token, headers, body)).await
    }
}

/// A POST as MCP clients send it; no token if it is empty.
fn post(token: &str, headers: &[(&str, &str)], body: &str) -> Request<String> {
    let mut request = Request::post("/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if !token.is_empty() {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.to_owned()).unwrap()
}

fn message(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string()
}

fn call(tool: &str) -> String {
    message("tools/call", &json!({ "name": tool, "arguments": { "name": "A new website" } }))
}

/// A call of version 2026-07-28, whose metadata is in each message.
fn new_call(tool: &str) -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    message("tools/call", &json!({ "name": tool, "arguments": { "name": "A new website" }, "_meta": meta }))
}

fn headers_of(tool: &str) -> [(&'static str, &str); 3] {
    [NEW, ("mcp-method", "tools/call"), ("mcp-name", tool)]
}

fn code(answer: &Answer) -> i64 {
    answer.json["error"]["code"].as_i64().unwrap_or_default()
}

/// The challenge of a refusal for missing scopes.
fn missing_scopes(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, "insufficient_scope"), "{}", answer.text);
    let challenge = Challenge::parse(answer.header("www-authenticate")).unwrap().remove(0);
    assert_eq!(challenge.parameter("error"), Some("insufficient_scope"));
    assert_eq!(challenge.parameter("resource_metadata"), Some(PRM));
    challenge.parameter("scope").unwrap().to_owned()
}

#[tokio::test]
async fn rmcp_clients_of_both_kinds_list_and_call_what_their_scopes_allow() {
    let host = Host::by_bodies().await;
    let (wide, narrow) = (host.service.token(&ALL).await, host.service.token(&["projects:read"]).await);
    for version in [ProtocolVersion::V_2026_07_28, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2025_06_18] {
        let client = host.client(&narrow, &version).await;
        let tools = client.list_all_tools().await.unwrap();
        assert_eq!(tools.len(), 4, "{version}");
        let listed = client.call_tool(CallToolRequestParams::new("list_projects")).await.unwrap();
        assert_eq!(listed.structured_content.unwrap()["projects"].as_array().unwrap().len(), 3);
        for (tool, scope) in [("get_account", "account:read"), ("create_project", "projects:write")] {
            let error = client.call_tool(CallToolRequestParams::new(tool)).await.unwrap_err();
            let text = format!("{error:?}");
            assert!(text.contains("insufficient_scope") && text.contains(scope), "{version}: {text}");
        }
        for (tool, code) in [("delete_account", "owner_only"), ("drop_tables", "unclassified")] {
            let error = client.call_tool(CallToolRequestParams::new(tool)).await.unwrap_err();
            assert!(format!("{error:?}").contains(code), "{version}: {error:?}");
        }
        client.cancel().await.unwrap();

        let client = host.client(&wide, &version).await;
        let account = client.call_tool(CallToolRequestParams::new("get_account")).await.unwrap();
        assert_eq!(account.structured_content.unwrap()["email"], "ada@example.com");
        let error = client.call_tool(CallToolRequestParams::new("delete_account")).await.unwrap_err();
        assert!(format!("{error:?}").contains("owner_only"), "{version}: {error:?}");
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn each_account_has_data_of_its_own() {
    let host = Host::by_bodies().await;
    let ada = host.service.token(&ALL).await;
    let bob = host.service.session("bob", &ALL).await.json["access_token"].as_str().unwrap().to_owned();
    let added = host.post(&ada, &[OLD], &call("create_project")).await;
    assert_eq!(added.json["result"]["structuredContent"]["name"], "A new website", "{}", added.text);
    for (token, many) in [(&ada, 4), (&bob, 3)] {
        let account = host.post(token, &headers_of("get_account"), &new_call("get_account")).await;
        assert_eq!(account.json["result"]["structuredContent"]["projects_count"], many, "{}", account.text);
    }
}

#[tokio::test]
async fn rs14_by_headers_alone_new_clients_work_and_older_versions_reach_nothing() {
    let host = Host::by_headers().await;
    let token = host.service.token(&ALL).await;
    let client = host.client(&token, &ProtocolVersion::V_2026_07_28).await;
    assert_eq!(client.list_all_tools().await.unwrap().len(), 4);
    client.call_tool(CallToolRequestParams::new("list_projects")).await.unwrap();
    client.cancel().await.unwrap();

    let many = |method: &'static str, tool: &'static str| [("mcp-method", method), ("mcp-name", tool)];
    for version in ["2025-11-25", "2025-03-26", "2026-07-27", "draft", "9", ""] {
        // Whatever else the headers claim, and whatever is in the body.
        for [method, name] in [many("tools/list", ""), many("tools/call", "list_projects")] {
            for tool in ["delete_account", "drop_tables", "list_projects"] {
                let answer = host.post(&token, &[("mcp-protocol-version", version), method, name], &call(tool)).await;
                assert_eq!(
                    (answer.status, code(&answer)),
                    (StatusCode::BAD_REQUEST, -32600),
                    "{version}: {}",
                    answer.text
                );
                assert!(answer.text.contains("MCP-Protocol-Version"), "{}", answer.text);
            }
        }
    }
    assert_eq!(host.post(&token, &[], &call("list_projects")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn rs14_by_headers_the_tool_is_checked_and_the_server_refuses_another_body() {
    let host = Host::by_headers().await;
    let token = host.service.token(&["projects:read"]).await;
    let send = async |headers: &[(&str, &str)], body: &str| host.post(&token, headers, body).await;
    let listed = send(&headers_of("list_projects"), &new_call("list_projects")).await;
    assert_eq!(listed.status, StatusCode::OK, "{}", listed.text);
    assert_eq!(
        missing_scopes(&send(&headers_of("create_project"), &new_call("create_project")).await),
        "projects:write"
    );
    for (tool, error) in [("delete_account", "owner_only"), ("drop_tables", "unclassified"), ("", "unclassified")] {
        let answer = send(&headers_of(tool), &new_call(tool)).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, error));
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    // Names are compared exactly.
    for tool in ["List_Projects", "list_projects ", "list%5Fprojects", "list_projects\u{0}"] {
        let name = format!("=?base64?{}?=", BASE64.encode(tool.as_bytes()));
        assert_eq!(send(&headers_of(&name), &new_call(tool)).await.error(), "unclassified", "{tool:?}");
    }
    // The server inside sees the difference.
    for tool in ["create_project", "delete_account"] {
        let answer = send(&headers_of("list_projects"), &new_call(tool)).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, -32020), "{}", answer.text);
    }
}

#[tokio::test]
async fn rs14_tricks_with_headers_are_refused() {
    let (headers, bodies) = (Host::by_headers().await, Host::by_bodies().await);
    let (name, method) = (("mcp-name", "list_projects"), ("mcp-method", "tools/call"));
    let encoded = |text: &[u8]| format!("=?base64?{}?=", BASE64.encode(text));
    let (plain, bad_utf8) = (encoded(b"list_projects"), encoded(b"\xff"));
    for host in [&headers, &bodies] {
        let token = host.service.token(&["projects:read"]).await;
        let send = async |headers: &[(&str, &str)]| host.post(&token, headers, &new_call("list_projects")).await;
        // Header names have no case, and a base64 name is decoded.
        for allowed in [
            vec![NEW, method, name],
            vec![("MCP-Protocol-Version", NEW.1), ("Mcp-Method", method.1), ("MCP-NAME", name.1)],
            vec![NEW, method, ("mcp-name", plain.as_str())],
        ] {
            let answer = send(&allowed).await;
            assert_eq!(answer.status, StatusCode::OK, "{allowed:?}: {}", answer.text);
        }
        for refused in [
            vec![NEW, NEW, method, name],
            vec![NEW, OLD, method, name],
            vec![OLD, OLD],
            vec![NEW, method, method, name],
            vec![NEW, method, name, name],
            vec![NEW, method, name, ("mcp-name", "delete_account")],
            vec![NEW, ("mcp-method", "tools/list"), method, name],
            vec![NEW, method],
            vec![NEW, name],
            vec![NEW],
            vec![NEW, method, ("mcp-name", "=?base64?bGlzdA?=")],
            vec![NEW, method, ("mcp-name", "=?base64?*?=")],
            vec![NEW, method, ("mcp-name", bad_utf8.as_str())],
            vec![NEW, method, ("mcp-name", "lïst")],
        ] {
            let answer = send(&refused).await;
            assert_eq!(
                (answer.status, code(&answer)),
                (StatusCode::BAD_REQUEST, -32020),
                "{refused:?}: {}",
                answer.text
            );
        }
        // Another case is another method, or another name.
        for unknown in [
            vec![NEW, ("mcp-method", "Tools/Call"), name],
            vec![NEW, ("mcp-method", "tools/call "), ("mcp-name", "LIST_PROJECTS")],
            vec![NEW, method, ("mcp-name", "=?BASE64?bGlzdF9wcm9qZWN0cw==?=")],
        ] {
            let answer = send(&unknown).await;
            assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, "unclassified"), "{unknown:?}");
        }
    }
}

#[tokio::test]
async fn rs14_by_bodies_a_body_must_match_its_headers() {
    let host = Host::by_bodies().await;
    let token = host.service.token(&ALL).await;
    let batch = format!("[{}]", new_call("list_projects"));
    let response = json!({ "jsonrpc": "2.0", "id": 7, "result": {} }).to_string();
    for (body, id) in [
        (new_call("create_project"), json!(7)),
        (new_call("delete_account"), json!(7)),
        (message("tools/list", &json!({})), json!(7)),
        (message("tools/call", &json!({ "name": ["list_projects"] })), json!(7)),
        (message("tools/call", &json!(["list_projects"])), json!(7)),
        (batch, Value::Null),
        (response, json!(7)),
    ] {
        let answer = host.post(&token, &headers_of("list_projects"), &body).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, -32020), "{body}: {}", answer.text);
        assert_eq!((&answer.json["id"], &answer.json["jsonrpc"]), (&id, &json!("2.0")), "{body}");
    }
    // Where headers prove nothing they are not read.
    let old = [OLD, ("mcp-method", "tools/list"), ("mcp-name", "delete_account")];
    assert_eq!(host.post(&token, &old, &call("list_projects")).await.status, StatusCode::OK);
    assert_eq!(host.post(&token, &old, &call("delete_account")).await.error(), "owner_only");
}

#[tokio::test]
async fn rs1_rs13_each_method_of_http_is_challenged_and_passes_with_any_session() {
    for host in [Host::by_bodies().await, Host::by_headers().await] {
        let request = |method: Method| Request::builder().method(method).uri("/mcp");
        let initialize = message("initialize", &json!({}));
        let unproven = post("", &[OLD], &initialize);
        let proven = post("", &headers_of("delete_account"), &new_call("delete_account"));
        let tricky = post("", &[NEW, NEW], "no JSON");
        let bare = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS, Method::PUT]
            .map(|method| request(method).body(String::new()).unwrap());
        for asked in bare.into_iter().chain([unproven, proven, tricky]) {
            let what = format!("{asked:?}");
            let answer = host.send(asked).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, format!("Bearer resource_metadata=\"{PRM}\""), "{what}");
        }
        let bad = host.post("aas_nonsense", &[OLD], &initialize).await;
        assert!(bad.header("www-authenticate").contains("error=\"invalid_token\""));

        let token = host.service.token(&["analytics:read"]).await;
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS] {
            let asked = request(method.clone()).header(AUTHORIZATION, format!("Bearer {token}"));
            let answer = host.send(asked.body(String::new()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} reaches the server");
        }
        let put = request(Method::PUT).header(AUTHORIZATION, format!("Bearer {token}"));
        assert_eq!(host.send(put.body(String::new()).unwrap()).await.error(), "unclassified");

        let preflight = request(Method::OPTIONS)
            .header("origin", "https://inspector.example")
            .header("access-control-request-method", "POST");
        let answer = host.send(preflight.body(String::new()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "a preflight reaches the server");
    }
}

/// What reached a server that only takes notes.
#[derive(Clone, Default)]
struct Notes {
    heads: Arc<Mutex<Vec<http::request::Parts>>>,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Notes {
    fn many(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    fn last_body(&self) -> Bytes {
        self.bodies.lock().unwrap().last().unwrap().clone()
    }

    /// Sends a request through a guard in this process.
    async fn through<B>(&self, guard: &McpBodyLayer, request: Request<B>) -> Response<Answer>
    where
        B: http_body::Body<Error: std::fmt::Debug> + Send + 'static,
        B::Data: Send,
    {
        let notes = self.clone();
        let server = service_fn(move |request: Request<Body<B>>| {
            let notes = notes.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                notes.heads.lock().unwrap().push(head);
                notes.bodies.lock().unwrap().push(body);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        });
        let response = guard.layer(server).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let answer = Answer::read(Response::from_parts(parts.clone(), body)).await;
        Response::from_parts(parts, answer)
    }
}

/// A service, an agent's token, and a server that takes notes.
async fn noted(scopes: &[&str]) -> (Service, String, Notes) {
    let service = Service::with(with_account());
    let token = service.token(scopes).await;
    (service, token, Notes::default())
}

#[tokio::test]
async fn the_body_names_the_operation_and_the_server_gets_the_same_bytes() {
    let (service, token, notes) = noted(&["projects:read"]).await;
    let guard = by_bodies(&service.auth);
    let send = async |body: &str| notes.through(&guard, post(&token, &[OLD], body)).await.into_body();
    // Whatever its spaces and escapes.
    let spaced = " {\n\"params\" : {\"name\":\"list\\u005fprojects\", \"name2\": 1},\t\"method\":\"tools/call\",\"id\":1,\"jsonrpc\":\"2.0\"} ";
    assert_eq!(send(spaced).await.status, StatusCode::OK);
    assert_eq!(notes.last_body(), spaced);
    assert!(!notes.heads.lock().unwrap()[0].headers.contains_key(AUTHORIZATION), "it was asked to strip it");
    assert!(notes.heads.lock().unwrap()[0].extensions.get::<AgentSession>().is_some());

    assert_eq!(missing_scopes(&send(&call("create_project")).await), "projects:write");
    let without_id = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"create_project"}}"#;
    assert_eq!(missing_scopes(&send(without_id).await), "projects:write", "a server may call it without an id too");
    for (body, error) in [
        (call("delete_account"), "owner_only"),
        (call("drop_tables"), "unclassified"),
        (call("LIST_PROJECTS"), "unclassified"),
        (message("Tools/List", &json!({})), "unclassified"),
        (message("resources/read", &json!({ "uri": "demo://projects" })), "unclassified"),
        (message("prompts/get", &json!({ "name": "list_projects" })), "unclassified"),
        (message("resources/subscribe", &json!({ "uri": "demo://projects" })), "unclassified"),
        (message("subscriptions/listen", &json!({})), "unclassified"),
        (message("completion/complete", &json!({})), "unclassified"),
        (message("tasks/get", &json!({ "taskId": "1" })), "unclassified"),
        (message("notifications", &json!({})), "unclassified"),
        (message("", &json!({})), "unclassified"),
    ] {
        let answer = send(&body).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, error), "{body}");
    }
    assert_eq!(notes.many(), 1);
    assert!(service.audit.events().iter().any(|event| matches!(event, Event::OwnerOnlyRefused { .. })));
}

#[tokio::test]
async fn what_starts_lists_and_answers_needs_only_a_session() {
    let (service, token, notes) = noted(&["analytics:read"]).await;
    let guard = by_bodies(&service.auth);
    let methods = [
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "notifications/initialized",
        "notifications/cancelled",
    ];
    let messages = methods.map(|method| message(method, &json!({})));
    let responses = [
        r#"{"jsonrpc":"2.0","id":1,"result":{"name":"delete_account"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#.to_owned(),
    ];
    for (index, body) in messages.iter().chain(&responses).enumerate() {
        let answer = notes.through(&guard, post(&token, &[], body)).await.into_body();
        assert_eq!((answer.status, notes.many()), (StatusCode::OK, index + 1), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_batch_needs_the_scopes_of_all_its_messages_at_once() {
    let (service, token, notes) = noted(&["analytics:read"]).await;
    let all = service.token(&ALL).await;
    let guard = by_bodies(&service.auth);
    let send = async |token: &str, messages: &[String]| {
        let body = format!("[{}]", messages.join(","));
        notes.through(&guard, post(token, &[OLD], &body)).await.into_body()
    };
    let (list, create, account) = (call("list_projects"), call("create_project"), call("get_account"));
    let ping = message("ping", &json!({}));
    let together = [ping.clone(), create.clone(), list.clone(), account, list.clone()];
    assert_eq!(missing_scopes(&send(&token, &together).await), "account:read projects:read projects:write");
    assert_eq!(send(&all, &together).await.status, StatusCode::OK);
    let one = service.token(&["projects:read"]).await;
    assert_eq!(missing_scopes(&send(&one, &[list.clone(), create]).await), "projects:read projects:write");
    assert_eq!(send(&token, &[ping.clone(), ping.clone()]).await.status, StatusCode::OK);
    assert_eq!(notes.many(), 2);
    for (last, error) in [(call("delete_account"), "owner_only"), (call("drop_tables"), "unclassified")] {
        assert_eq!(send(&all, &[list.clone(), ping.clone(), last]).await.error(), error);
    }
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#.to_owned();
    for bad in [vec![], vec![format!("[{list}]")], vec![list, twice]] {
        let answer = send(&all, &bad).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, -32600), "{bad:?}");
    }
    assert_eq!(notes.many(), 2);
}

#[tokio::test]
async fn bodies_that_parsers_could_read_differently_are_refused() {
    let (service, token, notes) = noted(&ALL).await;
    let guard = by_bodies(&service.auth);
    let before = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"list_projects""#;
    for (body, expected) in [
        (format!(r#"{before},"name":"delete_account"}}}}"#), -32600),
        (format!(r#"{before},"n\u0061me":"delete_account"}}}}"#), -32600),
        (format!(r#"{before},"NAME":"delete_account"}}}}"#), -32600),
        (format!(r#"{before}}},"params":{{"name":"delete_account"}}}}"#), -32600),
        (format!(r#"{before}}},"Params":{{"name":"delete_account"}}}}"#), -32600),
        (format!(r#"{before}}},"method":"tools/list"}}"#), -32600),
        (format!(r#"{before}}},"result":{{}}}}"#), -32600),
        (format!("{before}}}}} {}", call("delete_account")), -32700),
        (before.to_owned(), -32700),
        (
            message("ping", &json!({})).replace("{}", &format!("{{\"name\":{}{}}}", "[".repeat(200), "]".repeat(200))),
            -32700,
        ),
        (String::new(), -32700),
        ("data: {}".to_owned(), -32700),
        (message("tools/call", &json!({})), -32602),
        (message("tools/call", &json!({ "name": null })), -32602),
        (message("tools/call", &json!({ "uri": "list_projects" })), -32602),
        (message("resources/read", &json!({ "name": "list_projects" })), -32602),
    ] {
        let answer = notes.through(&guard, post(&token, &[OLD], &body)).await;
        assert_eq!(answer.extensions().get::<Refusal>(), Some(&Refusal::InvalidOperation));
        let answer = answer.into_body();
        assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, expected), "{body}: {}", answer.text);
    }
    let invalid_utf8 =
        post(&token, &[OLD], "").map(|_| Full::<Bytes>::from(&b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"[..]));
    assert_eq!(notes.through(&guard, invalid_utf8).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(notes.many(), 0);
}

#[tokio::test]
async fn nothing_of_a_body_is_read_before_the_caller_is_known() {
    let (service, token, notes) = noted(&ALL).await;
    let guard = by_bodies(&service.auth);
    let dripping = |token: &str, left: usize| {
        let sent = Arc::new(AtomicUsize::new(0));
        (post(token, &[OLD], "").map(|_| Dripping { left, sent: Arc::clone(&sent) }), sent)
    };
    for waits in [false, true] {
        service.store.waits.store(waits, Ordering::SeqCst);
        for bad in ["", "aas_nonsense"] {
            let (request, sent) = dripping(bad, 10_000);
            assert_eq!(notes.through(&guard, request).await.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(sent.load(Ordering::SeqCst), 0);
        }
        let (request, sent) = dripping(&token, 10_000);
        assert_eq!(notes.through(&guard, request).await.status(), StatusCode::BAD_REQUEST, "spaces are no JSON");
        assert_eq!(sent.load(Ordering::SeqCst), 10_000);
        let (request, sent) = dripping(&token, 100_000_000);
        let answer = notes.through(&guard.clone().limit(5_000), request).await;
        assert_eq!(answer.extensions().get::<Refusal>(), Some(&Refusal::Body));
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(sent.load(Ordering::SeqCst) <= 6_000, "it stops at the limit");
        let (request, sent) = dripping(&token, 5_000_000);
        assert_eq!(notes.through(&guard, request).await.status(), StatusCode::PAYLOAD_TOO_LARGE, "4 MiB by default");
        assert!(sent.load(Ordering::SeqCst) <= 4 * 1024 * 1024 + 1024);
    }
    // A length that is announced is refused unread, and the limit itself passes.
    let exact = call("list_projects");
    let answer = notes.through(&guard.clone().limit(exact.len() - 1), post(&token, &[OLD], &exact)).await.into_body();
    assert!(answer.status == StatusCode::PAYLOAD_TOO_LARGE && answer.text.contains("bytes"), "{}", answer.text);
    assert_eq!(notes.many(), 0);
    let answer = notes.through(&guard.limit(exact.len()), post(&token, &[OLD], &exact)).await;
    assert_eq!((answer.status(), notes.many()), (StatusCode::OK, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let (service, token, notes) = noted(&ALL).await;
    let guard = by_bodies(&service.auth);
    for (guard, seconds) in [(guard.clone(), 30), (guard.time(Duration::from_secs(3)), 3)] {
        let begun = tokio::time::Instant::now();
        let answer = notes.through(&guard, post(&token, &[OLD], "").map(|_| Silent)).await.into_body();
        assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT, "{}", answer.text);
        assert_eq!(begun.elapsed().as_secs(), seconds);
        assert!(answer.text.contains(&format!("within {seconds}s")), "{}", answer.text);
    }
    assert_eq!(notes.many(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused_and_one_of_another_method_passes_unread() {
    let (service, token, notes) = noted(&ALL).await;
    let guard = by_bodies(&service.auth);
    let broken = http_body_util::StreamBody::new(futures_util::stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"{"))),
        Err("the connection is gone"),
    ]));
    let answer = notes.through(&guard, post(&token, &[OLD], "").map(|_| broken)).await;
    assert_eq!((answer.status(), notes.many()), (StatusCode::BAD_REQUEST, 0));
    let mut delete = post(&token, &[OLD], "no JSON");
    *delete.method_mut() = Method::DELETE;
    assert_eq!(notes.through(&guard, delete).await.status(), StatusCode::OK);
    assert_eq!(notes.last_body(), "no JSON");
}

#[tokio::test]
async fn a_session_that_expires_while_its_body_arrives_is_refused() {
    let (service, token, notes) = noted(&ALL).await;
    let clock = service.clock.clone();
    let late = futures_util::stream::once(async move {
        clock.advance(Duration::from_secs(24 * 3_600));
        Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(call("list_projects"))))
    });
    let request = post(&token, &[OLD], "").map(|_| http_body_util::StreamBody::new(Box::pin(late)));
    let answer = notes.through(&by_bodies(&service.auth), request).await.into_body();
    assert_eq!((answer.status, notes.many()), (StatusCode::UNAUTHORIZED, 0));
    assert!(answer.header("www-authenticate").contains("invalid_token"), "one challenge");
}

/// Bodies near those that a client sends: pieces of messages in any order, with bytes changed.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        r#""id":1,"#,
        r#""method":"tools/call","#,
        r#""method":"tools/call","params":{"name":"list_projects"},"#,
        r#""method":"tools/list","#,
        r#""METHOD":"tools/call","#,
        r#""params":{"name":"delete_account"},"#,
        r#""params":{"name":"list_projects"},"#,
        r#""params":{"name":"list_projects","name":"delete_account"},"#,
        r#""params":{"name":"list_projects","arguments":{"name":"delete_account"}},"#,
        r#""params":["delete_account"],"#,
        r#""result":{},"#,
        r#""x":{"method":"tools/call"},"#,
    ]);
    let message = prop::collection::vec(piece, 1..4).prop_map(|pieces| {
        let members = pieces.concat();
        format!(r#"{{"jsonrpc":"2.0",{}}}"#, members.trim_end_matches(','))
    });
    let whole = prop_oneof![
        4 => message.clone(),
        1 => prop::collection::vec(message, 0..3).prop_map(|messages| format!("[{}]", messages.join(","))),
    ];
    let changes = prop::collection::vec(changes::change(), 0..2);
    (whole, changes).prop_map(|(body, changes)| changes::changed(body.as_bytes(), &changes))
}

/// JSON as any parser may read it: all of the members with one name count, in any case.
#[derive(Default)]
struct Loose {
    members: Vec<(String, Self)>,
    items: Vec<Self>,
    text: String,
}

impl Loose {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.members.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Each method in a body, with each name beside it.
    fn calls(&self) -> Vec<(&str, &str)> {
        let mut calls = Vec::new();
        for message in self.items.iter().chain([self]) {
            for method in message.all("method") {
                let names = message.all("params").flat_map(|params| params.all("name"));
                let names: Vec<&str> = names.map(|name| name.text.as_str()).collect();
                calls.extend(
                    names.iter().chain(names.is_empty().then_some(&"")).map(|name| (method.text.as_str(), *name)),
                );
            }
        }
        calls
    }
}

impl<'de> serde::Deserialize<'de> for Loose {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> serde::de::Visitor<'de> for Any {
            type Value = Loose;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Loose { members, ..Loose::default() })
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Loose { items, ..Loose::default() })
            }

            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose { text: text.into(), ..Loose::default() })
            }

            fn visit_unit<E>(self) -> Result<Loose, E> {
                Ok(Loose::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
                Ok(Loose::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Loose, E> {
                Ok(Loose::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Loose, E> {
                Ok(Loose::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
                Ok(Loose::default())
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[test]
fn r84_no_message_reaches_a_server_that_its_agent_may_not_send() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (service, token, notes) = runtime.block_on(noted(&["projects:read"]));
    let guard = by_bodies(&service.auth);
    let reached = AtomicUsize::new(0);
    let config = ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() };
    let proven = prop::sample::select(vec![
        vec![OLD],
        headers_of("list_projects").to_vec(),
        vec![NEW, ("mcp-method", "tools/list")],
    ]);
    proptest!(config, |(body in bodies(), headers in proven)| {
        let request = post(&token, &headers, "").map(|_| Full::<Bytes>::from(body.clone()));
        let before = notes.many();
        let answer = runtime.block_on(notes.through(&guard, request));
        prop_assert!(!answer.status().is_server_error());
        prop_assert_eq!(answer.status() == StatusCode::OK, notes.many() > before);
        if notes.many() > before {
            reached.fetch_add(1, Ordering::SeqCst);
            prop_assert_eq!(&notes.last_body(), &body);
            // What the guard skips may be more than another parser takes.
            let read: Loose = serde_json::from_slice(&body).unwrap_or_default();
            for (method, name) in read.calls() {
                let allowed = match method {
                    "tools/call" => name == "list_projects",
                    "tools/list" => true,
                    _ => false,
                };
                prop_assert!(allowed, "{} {} reached the server", method, name);
                if headers[0] == NEW {
                    prop_assert_eq!(Some(method), headers.get(1).map(|(_, method)| *method));
                }
            }
        }
    });
    assert!(reached.load(Ordering::SeqCst) > 100, "bodies that pass are among them: {reached:?}");
}

/// Panics when it is called before it is ready, and is never ready once cloned.
struct ReadyOnce {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for ReadyOnce {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl<B> tower::Service<Request<B>> for ReadyOnce {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "an instance that was not polled ready was called");
        self.calls.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Err("an error of the server"))
    }
}

#[tokio::test]
async fn r109_the_readied_instance_is_called_after_the_body_was_read_and_its_error_passes() {
    let (service, token, _) = noted(&ALL).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut guarded = by_bodies(&service.auth).layer(ReadyOnce { ready: false, calls: Arc::clone(&calls) });
    for (times, waits) in [(1, false), (2, true)] {
        service.store.waits.store(waits, Ordering::SeqCst);
        for (method, times) in [(Method::POST, 2 * times - 1), (Method::GET, 2 * times)] {
            let mut request = post(&token, &[OLD], &call("list_projects"));
            *request.method_mut() = method;
            let answer = ServiceExt::<Request<String>>::ready(&mut guarded).await.unwrap().call(request).await;
            assert_eq!(answer.unwrap_err(), "an error of the server");
            assert_eq!(calls.load(Ordering::SeqCst), times);
        }
    }
}

#[tokio::test]
async fn rs4_challenges_name_the_scopes_of_the_operation_and_initial_scopes_otherwise() {
    let service = Service::with(with_account().challenge_scope(true));
    let scope = async |operations: Operations, request: Request<String>| {
        let guard = service.auth.mcp(operations).unwrap();
        let answer = Notes::default().through(&guard.read_bodies(), request).await.into_body();
        let challenge = Challenge::parse(answer.header("www-authenticate")).unwrap().remove(0);
        assert_eq!((answer.status, challenge.parameter("error")), (StatusCode::UNAUTHORIZED, None));
        challenge.parameter("scope").map(str::to_owned)
    };
    let (listed, list) = (tools::operations, headers_of("list_projects"));
    assert_eq!(scope(listed(), post("", &list, "")).await.as_deref(), Some("projects:read"));
    assert_eq!(scope(listed(), post("", &[OLD], "")).await, None);
    let initial = listed().initial_scopes("projects:read account:read");
    assert_eq!(scope(initial.clone(), post("", &[OLD], "")).await.as_deref(), Some("account:read projects:read"));
    assert_eq!(scope(initial, post("", &list, "")).await.as_deref(), Some("projects:read"));
}

#[tokio::test]
async fn resources_prompts_and_methods_have_rules_of_their_own() {
    let (service, token, notes) = noted(&["projects:read", "experiments:write"]).await;
    let operations = Operations::new()
        .resource("demo://account", "account:read")
        .resources("projects:read")
        .prompt("billing", "account:read projects:write")
        .prompts("experiments:read")
        .tool_any_session("whoami")
        .method("completion/complete", "projects:read")
        .method("tools/list", "account:read");
    let guard = service.auth.mcp(operations).unwrap().read_bodies();
    let send = async |method: &str, params: Value| {
        notes.through(&guard, post(&token, &[OLD], &message(method, &params))).await.into_body()
    };
    for (method, params) in [
        ("resources/read", json!({ "uri": "demo://projects" })),
        // By a scope that implies it.
        ("prompts/get", json!({ "name": "report" })),
        ("tools/call", json!({ "name": "whoami" })),
        ("completion/complete", json!({ "ref": {} })),
    ] {
        assert_eq!(send(method, params).await.status, StatusCode::OK, "{method}");
    }
    for (method, params, scopes) in [
        ("resources/read", json!({ "uri": "demo://account", "name": "demo://projects" }), "account:read"),
        ("prompts/get", json!({ "name": "billing", "uri": "report" }), "account:read projects:write"),
        ("tools/list", json!({}), "account:read"),
    ] {
        assert_eq!(missing_scopes(&send(method, params).await), scopes, "{method}");
    }
}

#[test]
fn operations_that_are_wrong_are_refused_when_the_service_is_built() {
    let service = Service::new();
    let wrong = Operations::new()
        .tool("list", "projects:red")
        .tool("", "projects:read")
        .tool("twice", "projects:read")
        .tool_owner_only("twice")
        .resources("")
        .prompts("projects:read")
        .prompts("projects:read")
        .method("tools/call", "projects:read")
        .method("x/y", "projects:\u{e9}")
        .initial_scopes("nothing");
    let error = service.auth.mcp(wrong).unwrap_err();
    let told: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    for (index, needed) in [
        ("mcp.initial_scopes", "`nothing` is not in the scope catalogue"),
        (
            "mcp.tool(\"list\")",
            "`projects:red` is not in the scope catalogue of https://api.example.com; offered are: ",
        ),
        ("mcp.tool", "needs a name"),
        ("mcp.tool = \"twice\"", "has a rule already"),
        ("mcp.resources", "names no scope"),
        ("mcp.prompts", "has a rule already"),
        ("mcp.method = \"tools/call\"", "use .tool(…)"),
        ("mcp.method(\"x/y\")", "names no scope"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(told[index].starts_with(needed.0) && told[index].contains(needed.1), "{index}: {}", told[index]);
    }
    assert_eq!(told.len(), 8);
    assert!(service.auth.mcp(Operations::new()).is_ok(), "a server that only lists");
}

#[tokio::test]
async fn rs9_a_guard_strips_the_token_if_it_is_asked_to() {
    let (service, token, _) = noted(&ALL).await;
    let seen = async |guard: tower_agent_auth::guard::GuardLayer, lines: &[&str]| {
        let server = service_fn(async |request: Request<String>| {
            let headers: HeaderMap = request.headers().clone();
            let lines = headers.get_all(AUTHORIZATION).iter().count();
            let agent = request.extensions().get::<AgentSession>().is_some();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("{lines} {agent} {}", headers.len()))))
        });
        let mut request = Request::get("/").header("accept", "*/*").body(String::new()).unwrap();
        for line in lines {
            request.headers_mut().append(AUTHORIZATION, line.parse().unwrap());
        }
        Answer::read(guard.layer(server).oneshot(request).await.unwrap()).await.text
    };
    let bearer = format!("Bearer {token}");
    let (auth, agents) = (&service.auth, [bearer.as_str()]);
    for waits in [false, true] {
        service.store.waits.store(waits, Ordering::SeqCst);
        assert_eq!(seen(auth.require("projects:read"), &agents).await, "1 true 2");
        assert_eq!(seen(auth.require("projects:read").strip_authorization(), &agents).await, "0 true 1");
        assert_eq!(seen(auth.optional().strip_authorization(), &["Basic x"]).await, "0 false 1");
        assert_eq!(seen(auth.guard(Rule::public()).strip_authorization(), &["a", "b"]).await, "0 false 1");
    }
}
