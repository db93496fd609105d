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
        authorization::{Account, Client},
        clock::{ManualClock, Timestamp},
        id::AccountId,
    },
};

pub(crate) const ORIGIN: &str = "https://api.example.com";
/// The tool that the MCP server opens to agents.
pub(crate) const TOOL: &str = "list";
/// What the MCP server answers.
pub(crate) const REACHED: StatusCode = StatusCode::NO_CONTENT;

/// Where the OAuth client of the service waits.
pub(crate) const REDIRECTS: [&str; 2] = ["http://127.0.0.1/callback", "https://app.example.com/callback?a=b"];
/// The code verifier of its login.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const CLAIM_GRANT: &str = "urn:workos:agent-auth:grant-type:claim";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

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

    async fn provisional(&self, _: &Client) -> Result<Option<Account>, AccountsError> {
        let id = AccountId::new("unclaimed").map_err(AccountsError::new)?;
        Ok(Some(Account::new(id, "an agent that nobody has claimed")))
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
    pub(crate) fn with<T>(target: impl FnOnce(&mut Self) -> T) -> T {
        thread_local! {
            static SERVICE: RefCell<Option<Service>> = const { RefCell::new(None) };
        }
        SERVICE.with_borrow_mut(|service| {
            // A failed input leaves no service behind for the next one.
            let mut current = service.take().filter(|service| service.inputs < INPUTS).unwrap_or_else(Self::new);
            current.inputs += 1;
            let result = target(&mut current);
            *service = Some(current);
            result
        })
    }

    fn new() -> Self {
        let dialects = [Dialect::AgentAuth, Dialect::AgentSessions, Dialect::OAuth, Dialect::AuthMd];
        let config = config()
            .dialects(&dialects)
            .no_limits()
            .auth_md(|settings| {
                settings.anonymous = true;
                settings.pre_claim_scopes = vec!["projects:read".into()];
            })
            .sessions_path("/sessions")
            .trusted_proxy("10.0.0.0/8")
            .modes(|modes| {
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
        service.oauth();
        service.identities();
        service.live();
        service
    }

    /// Lets an OAuth client log in twice, once up to the code, and a device once up to its code.
    fn oauth(&mut self) {
        let client = self.post("/oauth2/register", &json!({ "client_name": "Host", "redirect_uris": REDIRECTS }));
        let client = client["client_id"].as_str().unwrap().to_owned();
        let form = format!("client_id={client}&scope=projects%3Aread");
        let device: Value = serde_json::from_slice(self.form("/oauth2/device_authorization", form).body()).unwrap();
        let session = self.code(&client, "first");
        let form = format!("grant_type=authorization_code&code={session}&client_id={client}&code_verifier={VERIFIER}");
        let (status, session) = self.token(form.as_bytes());
        assert_eq!(status, StatusCode::OK, "{session}");
        let code = self.code(&client, "second");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.secrets.extend([
            ("<client>", client),
            ("<code>", code),
            ("<verifier>", VERIFIER.to_owned()),
            ("<challenge>", CHALLENGE.to_owned()),
            ("<device_code>", text(&device["device_code"])),
            ("<user_code>", text(&device["user_code"])),
            ("<oauth_access>", text(&session["access_token"])),
            ("<oauth_refresh>", text(&session["refresh_token"])),
        ]);
    }

    /// Lets agents of the auth.md protocol register: one has its identity, one waits, and one acts unclaimed.
    fn identities(&mut self) {
        let ask = json!({ "type": "service_auth", "client_name": "Agent", "requested_scopes": ["projects:read"] });
        let approved = self.post("/agent/identity", &ask);
        let claim = &approved["claim"];
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text in {approved}")).to_owned();
        self.open_at(text(&claim["verification_uri"]).strip_prefix(ORIGIN).unwrap().to_owned());
        let path = self.approval.split('?').next().unwrap().to_owned();
        let code = text(&claim["user_code"]);
        let form = format!("csrf=<csrf>&decision=approve&scope=projects%3Aread&user_code={code}");
        assert_eq!(self.submit(&path, form.as_bytes()).status(), StatusCode::SEE_OTHER);
        let form = format!("grant_type={CLAIM_GRANT}&claim_token={}", text(&claim["token"]));
        let (status, identity) = self.token(form.as_bytes());
        assert_eq!(status, StatusCode::OK, "{identity}");
        let waiting = self.post("/agent/identity", &ask);
        let unclaimed = self.post("/agent/identity", &json!({ "type": "anonymous" }));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.secrets.extend([
            ("<assertion>", text(&identity["identity"]["assertion"])),
            ("<identity_refresh>", text(&identity["identity"]["refresh_token"]["value"])),
            ("<identity_claim>", text(&waiting["claim"]["token"])),
            ("<unclaimed>", text(&unclaimed["claim_token"])),
            ("<unclaimed_assertion>", text(&unclaimed["identity_assertion"])),
            ("<claim_grant>", CLAIM_GRANT.to_owned()),
            ("<jwt_bearer>", JWT_BEARER.to_owned()),
        ]);
    }

    /// A code that its human has approved.
    fn code(&mut self, client: &str, state: &str) -> String {
        let query = format!(
            "response_type=code&client_id={client}&redirect_uri=http%3A%2F%2F127.0.0.1%3A4000%2Fcallback&state={state}\
             &code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        let (status, location) = self.authorize(query.as_bytes()).unwrap();
        assert_eq!(status, StatusCode::SEE_OTHER);
        self.open_at(location.unwrap());
        let sent = self.submit(&self.approval.clone(), b"csrf=<csrf>&decision=approve&scope=projects%3Aread");
        let location = sent.headers()["location"].to_str().unwrap().to_owned();
        let code = location.split("code=").nth(1).unwrap_or_else(|| panic!("no code in {location}"));
        code.split('&').next().unwrap().to_owned()
    }

    /// Posts a form without credentials.
    fn form(&self, path: &str, form: impl Into<Bytes>) -> Response<Bytes> {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Full::new(form.into())).unwrap())
    }

    /// Sends a form of a page, with these secrets in it, as the human's browser does.
    fn submit(&self, path: &str, form: &[u8]) -> Response<Bytes> {
        self.send(
            Request::post(path)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("cookie", &self.cookie)
                .header("origin", ORIGIN)
                .header("sec-fetch-site", "same-origin")
                .body(Full::new(self.fill(form).into()))
                .unwrap(),
        )
    }

    /// Brings the human's browser with this query. `None` if no request can have it; otherwise the status, and where the
    /// browser is sent.
    pub(crate) fn authorize(&self, query: &[u8]) -> Option<(StatusCode, Option<String>)> {
        let path = [b"/oauth2/authorize?", query].concat();
        let mut request = Request::new(Body::default());
        *request.uri_mut() = path.try_into().ok()?;
        request.headers_mut().insert("cookie", self.cookie.parse().unwrap());
        let response = self.send(request);
        assert!(!response.status().is_server_error(), "{}", response.status());
        let location = response.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
        Some((response.status(), location))
    }

    /// What the token endpoint answers.
    pub(crate) fn token(&self, form: &[u8]) -> (StatusCode, Value) {
        let response = self.form("/oauth2/token", form.to_vec());
        (response.status(), serde_json::from_slice(response.body()).unwrap_or_default())
    }

    /// Types a code at the page for it.
    pub(crate) fn type_code(&mut self, typed: &[u8]) -> StatusCode {
        self.open_at("/oauth2/device".into());
        let typed: String = form_urlencoded::byte_serialize(typed).collect();
        self.submit("/oauth2/device", format!("csrf=<csrf>&code={typed}").as_bytes()).status()
    }

    /// The secret that a name in an input stands for.
    pub(crate) fn secret(&self, name: &str) -> Option<&str> {
        self.secrets.iter().find(|(known, _)| *known == name).map(|(_, secret)| &**secret)
    }

    /// Fills the service by the wire alone.
    fn live(&mut self) {
        let ask = json!({ "type": "user_claimed", "client_name": "Agent", "requested_scopes": ["projects:read"] });
        let approved = self.post("/agent/auth", &ask);
        self.open(&approved);
        let decided = self.submit(&self.approval, b"csrf=<csrf>&decision=approve&scope=projects%3Aread");
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
        self.open_at(asked["claim_url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap().to_owned());
    }

    fn open_at(&mut self, path: String) {
        self.approval = path;
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
        let identity = ["/agent/identity", "/agent/identity/claim", "/agent/identity/claim/complete", "/oauth2/token"];
        let named = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        // The seeds name an endpoint by its number, so a new one comes last.
        named(&fixed).into_iter().chain(self.pages()).chain(named(&identity)).collect()
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
