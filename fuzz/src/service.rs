//! A service with something of everything: a request for access that waits, one that is denied, a session, a login.

use std::{
    cell::RefCell,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_agent_auth::{
    AgentAuth, Config, ConfigBuilder,
    accounts::{Accounts, AccountsError, SignedIn},
    audit::{AuditSink, Event},
    client_metadata::{Fetch, FetchError, Fetched},
    config::Dialect,
    mcp::Operations,
    store::MemoryStore,
    types::{
        authorization::Account,
        clock::{ManualClock, Timestamp},
        id::AccountId,
    },
};

pub(crate) const ORIGIN: &str = "https://api.example.com";
/// The tool that the MCP server opens to agents.
pub(crate) const TOOL: &str = "list";
/// What the MCP server answers.
pub(crate) const REACHED: StatusCode = StatusCode::NO_CONTENT;

/// How many inputs one service takes, so that what they leave behind stays small.
const INPUTS: usize = 256;

type Body = Full<Bytes>;
type App = BoxCloneService<Request<Body>, Response<Bytes>, Infallible>;

pub(crate) fn config() -> ConfigBuilder {
    Config::builder()
        .resource(ORIGIN)
        .name("Example Analytics")
        .scope("projects:read", "See your projects", |scope| scope.by_default())
        .scope("projects:write", "Create and change projects", |scope| scope)
}

/// Runs a future on this thread's runtime.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

async fn whole<B>(response: Response<B>) -> Response<Bytes>
where
    B: http_body_util::BodyExt<Data = Bytes>,
{
    let (parts, body) = response.into_parts();
    let body = body.collect().await.ok().map(|body| body.to_bytes()).unwrap_or_default();
    Response::from_parts(parts, body)
}

async fn ok(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::default()))
}

/// A handler behind a guard that only checks tokens, and knows none.
pub(crate) fn guarded() -> App {
    thread_local! {
        static GUARDED: App = {
            let auth = AgentAuth::builder(config().build().unwrap()).checks_only(MemoryStore::new()).build().unwrap();
            BoxCloneService::new(auth.require("projects:read").layer(service_fn(ok)).then(read))
        };
    }
    GUARDED.with(Clone::clone)
}

/// The documents and endpoints before a service that knows nothing else.
pub(crate) fn documents(auth: &AgentAuth) -> App {
    let nothing = service_fn(|_: Request<Body>| async {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok::<_, Infallible>(response)
    });
    BoxCloneService::new(auth.endpoints().layer(nothing).then(read))
}

/// An MCP server behind a guard that reads bodies.
fn mcp_server(auth: &AgentAuth) -> App {
    let server = service_fn(|_: Request<tower_agent_auth::mcp::Body<Body>>| async {
        let mut response = Response::new(Body::default());
        *response.status_mut() = REACHED;
        Ok::<_, Infallible>(response)
    });
    let operations = Operations::new()
        .tool(TOOL, "projects:read")
        .tool("create", "projects:write")
        .tool_owner_only("delete")
        .resources("projects:read");
    BoxCloneService::new(auth.mcp(operations).unwrap().read_bodies().layer(server).then(read))
}

async fn read<B>(response: Result<Response<B>, Infallible>) -> Result<Response<Bytes>, Infallible>
where
    B: http_body_util::BodyExt<Data = Bytes>,
{
    let response = response.unwrap_or_else(|never| match never {});
    Ok(whole(response).await)
}

/// The challenge of a route that needs a session, without one.
pub(crate) async fn challenge(auth: &AgentAuth) -> String {
    let guard = auth.guard(tower_agent_auth::guard::Rule::optional());
    let refusing = service_fn(|_: Request<Body>| async {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        Ok::<_, Infallible>(response)
    });
    let response = guard.layer(refusing).oneshot(Request::new(Body::default())).await.unwrap();
    response.headers()["www-authenticate"].to_str().unwrap().to_owned()
}

pub(crate) async fn status_of(app: App, request: Request<Body>) -> StatusCode {
    app.oneshot(request).await.unwrap().status()
}

/// Whoever sends the cookie `user=ada` is signed in.
#[derive(Debug)]
struct Humans;

impl Accounts for Humans {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let mut cookies = request.headers.get_all("cookie").iter();
        let ada = cookies.any(|line| line.as_bytes().windows(8).any(|window| window == b"user=ada"));
        let id = AccountId::new("ada").map_err(AccountsError::new)?;
        Ok(ada.then(|| SignedIn::new(Account::new(id, "ada@example.com"), "a browser")))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/login?next={return_to}")
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

/// Where the last request for access came from.
#[derive(Clone, Debug, Default)]
struct LastAddress(Arc<Mutex<Option<IpAddr>>>);

impl AuditSink for LastAddress {
    fn record(&self, _: Timestamp, event: &Event) {
        if let Event::Requested { address, .. } = event {
            *self.0.lock().unwrap() = *address;
        }
    }
}

/// The client whose metadata document is the input.
pub(crate) const CLIENT: &str = "https://app.example.com/client.json";

#[derive(Clone, Default)]
struct Document(Arc<Mutex<Bytes>>);

impl Fetch for Document {
    async fn fetch(&self, _: &str) -> Result<Fetched, FetchError> {
        Ok(Fetched::new("application/json", self.0.lock().unwrap().clone()))
    }
}

/// The status for a browser that brings a request of the client with this document.
pub(crate) fn identify(document: &[u8], redirect_uri: &str) -> StatusCode {
    thread_local! {
        static SERVICE: (App, Document, ManualClock) = {
            let (document, clock) = (Document::default(), ManualClock::at(Timestamp::from_millis(0)));
            let auth = AgentAuth::builder(config().dialects(&[Dialect::OAuth]).build().unwrap())
                .sessions(MemoryStore::new())
                .accounts(Humans)
                .clock(clock.clone())
                .client_metadata(document.clone())
                .build()
                .unwrap();
            (documents(&auth), document, clock)
        };
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", CLIENT)
        .append_pair("redirect_uri", redirect_uri)
        .finish();
    let request = Request::get(format!("/oauth2/authorize?{query}")).body(Full::default()).unwrap();
    SERVICE.with(|(app, served, clock)| {
        *served.0.lock().unwrap() = Bytes::copy_from_slice(document);
        // What was cached has expired.
        clock.advance(Duration::from_secs(300));
        run(status_of(app.clone(), request))
    })
}

pub(crate) struct Service {
    app: App,
    mcp: App,
    last: LastAddress,
    inputs: usize,
    /// What stands for which live secret in an input.
    secrets: Vec<(&'static str, String)>,
    cookie: String,
    approval: String,
}

impl Service {
    /// Calls `target` with this thread's service.
    pub(crate) fn with(target: impl FnOnce(&mut Self)) {
        thread_local! {
            static SERVICE: RefCell<Option<Service>> = const { RefCell::new(None) };
        }
        SERVICE.with_borrow_mut(|service| {
            // A failed input leaves no service behind for the next one.
            let mut current = service.take().filter(|service| service.inputs < INPUTS).unwrap_or_else(Self::new);
            current.inputs += 1;
            target(&mut current);
            *service = Some(current);
        });
    }

    fn new() -> Self {
        let config = config().no_limits().sessions_path("/sessions").trusted_proxy("10.0.0.0/8").modes(|modes| {
            modes.finish_code_alone = true;
            modes.callback_origins = vec!["https://listed.example".into()];
        });
        let last = LastAddress::default();
        let auth = AgentAuth::builder(config.build().unwrap())
            .sessions(MemoryStore::new())
            .accounts(Humans)
            .audit(last.clone())
            .build()
            .unwrap();
        let (app, mcp) = (documents(&auth), mcp_server(&auth));
        let mut service =
            Self { app, mcp, last, inputs: 0, secrets: Vec::new(), cookie: "user=ada".into(), approval: String::new() };
        service.live();
        service
    }

    /// Fills the service by the wire alone.
    fn live(&mut self) {
        let ask = json!({ "type": "user_claimed", "client_name": "Agent", "requested_scopes": ["projects:read"] });
        let approved = self.post("/agent/auth", &ask);
        self.open(&approved);
        let form = self.fill(b"csrf=<csrf>&decision=approve&scope=projects%3Aread");
        let decided = self.send(
            Request::post(&self.approval)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("cookie", &self.cookie)
                .header("origin", ORIGIN)
                .header("sec-fetch-site", "same-origin")
                .body(Full::new(form.into()))
                .unwrap(),
        );
        assert_eq!(decided.status(), StatusCode::SEE_OTHER);
        let session = self.post("/agent/auth/claim/complete", &json!({ "claim_token": approved["claim_token"] }));
        let detached = json!({ "mode": "detached", "client_type": "cli", "scopes": ["projects:read"] });
        let login = self.post("/agent-sessions/start", &detached);
        let waiting = self.post("/agent/auth", &ask);
        self.open(&waiting);
        for (name, answer, field) in [
            ("<claim>", &waiting, "claim_token"),
            ("<used>", &approved, "claim_token"),
            ("<id>", &waiting, "registration_id"),
            ("<access>", &session, "access_token"),
            ("<refresh>", &session, "refresh_token"),
            ("<session>", &session, "session_id"),
            ("<login>", &login, "auth_request_id"),
            ("<poll>", &login, "poll_token"),
        ] {
            let secret = answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}"));
            self.secrets.push((name, secret.to_owned()));
        }
    }

    /// Opens the approval page, and keeps the seal of its form.
    fn open(&mut self, asked: &Value) {
        self.approval = asked["claim_url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap().to_owned();
        let page = Request::get(&self.approval).header("cookie", &self.cookie).body(Full::default()).unwrap();
        let page = self.send(page);
        let text = String::from_utf8(page.body().to_vec()).unwrap();
        let seal = text.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        self.secrets.retain(|(name, _)| *name != "<csrf>" && *name != "<form>");
        self.secrets.push(("<csrf>", form_urlencoded::byte_serialize(seal.as_bytes()).collect()));
        if let Some(cookie) = page.headers().get("set-cookie") {
            self.cookie = format!("user=ada; {}", cookie.to_str().unwrap().split(';').next().unwrap());
        }
        self.secrets.push(("<form>", self.cookie.clone()));
    }

    /// Posts JSON that the service takes.
    fn post(&self, path: &str, body: &Value) -> Value {
        let body = Full::new(body.to_string().into());
        let response = self.send(Request::post(path).header("content-type", "application/json").body(body).unwrap());
        assert!(response.status().is_success(), "{} from {path}: {:?}", response.status(), response.body());
        serde_json::from_slice(response.body()).unwrap()
    }

    fn send(&self, request: Request<Body>) -> Response<Bytes> {
        run(self.app.clone().oneshot(request)).unwrap_or_else(|never| match never {})
    }

    pub(crate) fn status(&self, request: Request<Body>) -> StatusCode {
        self.send(request).status()
    }

    /// What the MCP server answers to the agent, or its guard.
    pub(crate) fn mcp(&self, mut request: Request<Body>) -> StatusCode {
        let token = String::from_utf8(self.fill(b"Bearer <access>")).unwrap();
        request.headers_mut().insert("authorization", token.parse().unwrap());
        run(status_of(self.mcp.clone(), request))
    }

    /// A request for access from there.
    pub(crate) fn registration(&self, peer: IpAddr) -> Request<Body> {
        *self.last.0.lock().unwrap() = None;
        let request = Request::post("/agent/auth").header("content-type", "application/json");
        request
            .extension(SocketAddr::new(peer, 40_000))
            .body(Full::new(Bytes::from_static(b"{\"type\":\"user_claimed\"}")))
            .unwrap()
    }

    pub(crate) fn last_address(&self) -> Option<IpAddr> {
        *self.last.0.lock().unwrap()
    }

    /// Every path that takes a body.
    pub(crate) fn posts(&self) -> Vec<String> {
        let fixed = [
            "/agent/auth",
            "/agent/auth/claim",
            "/agent/auth/claim/complete",
            "/agent/auth/revoke",
            "/agent-sessions/start",
            "/agent-sessions/poll",
            "/agent-sessions/exchange",
            "/agent-sessions/refresh",
            "/agent-sessions/revoke",
        ];
        fixed.into_iter().map(str::to_owned).chain(self.pages()).collect()
    }

    /// The pages for humans.
    pub(crate) fn pages(&self) -> [String; 3] {
        ["/sessions".into(), self.approval.clone(), format!("{}x", self.approval)]
    }

    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The input with each name of a secret, such as `<claim>`, replaced by the secret.
    pub(crate) fn fill(&self, input: &[u8]) -> Vec<u8> {
        let mut filled = input.to_vec();
        for (name, secret) in &self.secrets {
            let name = name.as_bytes();
            while let Some(at) = filled.windows(name.len()).position(|window| window == name) {
                filled.splice(at..at + name.len(), secret.bytes());
            }
        }
        filled
    }
}
