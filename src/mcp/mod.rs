//! A guard for MCP servers: scopes by tool, resource, prompt and method.
//!
//! MCP sends all operations to one path. [`Operations`] lists the scopes of each, and [`AgentAuth::mcp`] guards the
//! server by them. It takes any service of HTTP, such as the `StreamableHttpService` of the crate rmcp:
//!
//! ```
//! use tower_agent_auth::{AgentAuth, ConfigError, mcp::{McpBodyLayer, Operations}};
//!
//! fn guard(auth: &AgentAuth) -> Result<McpBodyLayer, ConfigError> {
//!     let operations = Operations::new()
//!         .tool("list_projects", "projects:read")
//!         .tool("create_project", "projects:write")
//!         .tool_owner_only("delete_account")
//!         .resources("projects:read");
//!     Ok(auth.mcp(operations)?.strip_authorization().read_bodies())
//! }
//! # let config = tower_agent_auth::Config::from_json(r#"{ "resource": "https://api.example.com/mcp", "name": "Example",
//! #     "scopes": [{ "name": "projects:read", "description": "See your projects" },
//! #     { "name": "projects:write", "description": "Add projects" }] }"#).unwrap();
//! # let store = tower_agent_auth::store::MemoryStore::new();
//! # guard(&AgentAuth::builder(config).checks_only(store).build().unwrap()).unwrap();
//! ```
//!
//! `examples/mcp` is a whole server. A tool reads the caller from the request's extensions, which rmcp passes on in the
//! context of the call: `context.extensions.get::<http::request::Parts>()` has an
//! [`AgentSession`](crate::guard::AgentSession) in its `extensions`. Read the account there, in each call. An
//! `Mcp-Session-Id`, or any other handle of the server, is no credential.
//!
//! # Which operation is it?
//!
//! | request | rule |
//! |---|---|
//! | POST of `tools/call`, `resources/read` or `prompts/get` | the rule of the tool, the resource or the prompt |
//! | POST of `initialize`, `ping`, `server/discover`, `tools/list`, `prompts/list`, `resources/list`, `resources/templates/list`, `logging/setLevel`, `notifications/…`, or of a response | any valid session of the resource: these start the conversation, or list names, and have nothing of an account |
//! | POST of another method | its [`Operations::method`] |
//! | GET, HEAD, DELETE, OPTIONS | any valid session of the resource |
//! | OPTIONS with `Origin` and `Access-Control-Request-Method` | public: a preflight has no credentials |
//! | anything else, and what has no rule | refused with 403 |
//!
//! A refusal for missing scopes is one 403 `insufficient_scope` that names all scopes of the operation. A request without
//! a valid token gets 401 with the challenge, whatever else is wrong with it. Headers and bodies that name no operation,
//! or two, get 400 with a JSON-RPC error.
//!
//! From version 2026-07-28 on, the headers `Mcp-Method` and `Mcp-Name` name the operation, and a server must refuse a
//! request whose body differs (error -32020). The guard trusts these headers only beside `MCP-Protocol-Version:
//! 2026-07-28` or a later date. **So the server inside must speak this version, and refuse a mismatch**, as rmcp does.
//!
//! Where the headers prove nothing, any operation may be in the body: one that only the owner may call, or one without a
//! rule. So the guard refuses such requests. Most clients of today send no such headers. For them, use
//! [`read_bodies`](McpLayer::read_bodies): the guard then reads each body once the caller is authenticated, finds the
//! operation there, and refuses a mismatch itself.
//!
//! # Beside other tokens
//!
//! A server that takes keys or tokens of its own keeps them: with [`or_host_auth`](McpLayer::or_host_auth) the guard decides
//! requests with a token of this service only, and leaves all others to the server, unread.
//!
//! # Browsers
//!
//! For MCP clients in browsers, put a CORS layer outside of the guard. It answers preflights, and exposes
//! `WWW-Authenticate`. Checking `Host` and `Origin` against DNS rebinding is the server's task.

mod message;
mod rules;
mod service;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tower_layer::Layer;

use self::{
    rules::{Names, PROMPT, RESOURCE, Rules, TOOL},
    service::Reader,
};
use crate::{
    AgentAuth, ConfigError,
    config::Problem,
    guard::{Guard, GuardLayer, Rule, SessionGuardLayer},
};

pub use service::{Body, ReadBodies, ResponseFuture};

/// The largest body that is read by default, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;
/// How long a body may take by default.
const TIME: Duration = Duration::from_secs(30);

/// The scopes of each operation of an MCP server. What is not listed is refused; see the [module](self).
///
/// Scopes are separated by spaces; an agent needs all of them. Names are compared exactly. [`AgentAuth::mcp`] reports
/// what is wrong.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Operations {
    listed: Vec<(Operation, Access)>,
    initial_scopes: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Operation {
    Tool(String),
    Resource(String),
    Resources,
    Prompt(String),
    Prompts,
    Method(String),
}

#[derive(Clone, Debug)]
enum Access {
    Scopes(String),
    AnySession,
    OwnerOnly,
}

impl Operations {
    /// No operations yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the scopes of a tool.
    pub fn tool(self, name: &str, scopes: &str) -> Self {
        self.with(Operation::Tool(name.into()), Access::Scopes(scopes.into()))
    }

    /// Lets every agent with a valid session call a tool, whatever its scopes.
    pub fn tool_any_session(self, name: &str) -> Self {
        self.with(Operation::Tool(name.into()), Access::AnySession)
    }

    /// Refuses a tool to all agents: only the account's human does what it does, elsewhere. Unlike a tool that is not
    /// listed, the refusal says that no scope opens it.
    pub fn tool_owner_only(self, name: &str) -> Self {
        self.with(Operation::Tool(name.into()), Access::OwnerOnly)
    }

    /// Sets the scopes for reading one resource.
    ///
    /// URIs are compared as texts. If the server reads the same resource under other spellings, those have the rule of
    /// [`resources`](Self::resources), so give that one no weaker scopes.
    pub fn resource(self, uri: &str, scopes: &str) -> Self {
        self.with(Operation::Resource(uri.into()), Access::Scopes(scopes.into()))
    }

    /// Sets the scopes for reading all resources that have no rule of their own.
    pub fn resources(self, scopes: &str) -> Self {
        self.with(Operation::Resources, Access::Scopes(scopes.into()))
    }

    /// Sets the scopes of a prompt.
    pub fn prompt(self, name: &str, scopes: &str) -> Self {
        self.with(Operation::Prompt(name.into()), Access::Scopes(scopes.into()))
    }

    /// Sets the scopes of all prompts that have no rule of their own.
    pub fn prompts(self, scopes: &str) -> Self {
        self.with(Operation::Prompts, Access::Scopes(scopes.into()))
    }

    /// Sets the scopes of another method, such as `completion/complete`, `resources/subscribe`, `subscriptions/listen` or
    /// one of an extension. It overrides the rule of a method that needs only a session.
    pub fn method(self, method: &str, scopes: &str) -> Self {
        self.with(Operation::Method(method.into()), Access::Scopes(scopes.into()))
    }

    /// Sets the scopes that the challenge names to a client without a token, where the operation needs only a session. It
    /// is the first challenge that most clients see, and they request what it names. By default it names none. Hosts
    /// then request all that the resource's metadata lists; a client that requests nothing gets the catalogue's defaults.
    pub fn initial_scopes(mut self, scopes: &str) -> Self {
        self.initial_scopes = scopes.into();
        self
    }

    fn with(mut self, operation: Operation, access: Access) -> Self {
        self.listed.push((operation, access));
        self
    }

    fn into_rules(self, auth: &AgentAuth) -> Result<Rules, ConfigError> {
        let mut problems = Vec::new();
        let any_session = auth.any_session(&self.initial_scopes);
        let any_session = any_session.map_err(|error| problems.extend(named(&error, "mcp.initial_scopes"))).ok();
        let any_session = any_session.unwrap_or_else(Rule::owner_only_for_agents);
        let mut rules = Rules {
            auth: auth.clone(),
            tools: Names::default(),
            resources: Names::default(),
            prompts: Names::default(),
            methods: HashMap::new(),
            any_session,
        };
        for (operation, access) in self.listed {
            let field = operation.field();
            if let Some(remedy) = operation.fault() {
                problems.push(Problem::new(field, operation.name(), remedy));
                continue;
            }
            let rule = match access {
                Access::AnySession => rules.any_session.clone(),
                Access::OwnerOnly => Rule::owner_only_for_agents(),
                Access::Scopes(scopes) => match auth.all_of(&scopes) {
                    Ok(rule) => rule,
                    Err(error) => {
                        problems.extend(named(&error, &format!("{field}({:?})", operation.name())));
                        continue;
                    }
                },
            };
            let replaced = match &operation {
                Operation::Tool(name) => rules.tools.named.insert(name.clone(), rule),
                Operation::Resource(uri) => rules.resources.named.insert(uri.clone(), rule),
                Operation::Resources => rules.resources.others.replace(rule),
                Operation::Prompt(name) => rules.prompts.named.insert(name.clone(), rule),
                Operation::Prompts => rules.prompts.others.replace(rule),
                Operation::Method(method) => rules.methods.insert(method.clone(), rule),
            };
            if replaced.is_some() {
                problems.push(Problem::new(field, operation.name(), "has a rule already; remove one of the two"));
            }
        }
        if problems.is_empty() { Ok(rules) } else { Err(ConfigError::new(problems)) }
    }
}

/// The problems of a rule, under the name of the operation.
fn named(error: &ConfigError, field: &str) -> Vec<Problem> {
    let of = |problem: &Problem| Problem::new(field, &problem.value, problem.remedy.clone());
    error.problems().iter().map(of).collect()
}

impl Operation {
    const fn field(&self) -> &'static str {
        match self {
            Self::Tool(_) => "mcp.tool",
            Self::Resource(_) => "mcp.resource",
            Self::Resources => "mcp.resources",
            Self::Prompt(_) => "mcp.prompt",
            Self::Prompts => "mcp.prompts",
            Self::Method(_) => "mcp.method",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Tool(name) | Self::Resource(name) | Self::Prompt(name) | Self::Method(name) => name,
            Self::Resources | Self::Prompts => "",
        }
    }

    /// Why it can have no rule.
    fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Resources | Self::Prompts => None,
            _ if self.name().is_empty() => Some("needs a name"),
            Self::Method(method) if matches!(method.as_str(), TOOL | RESOURCE | PROMPT) => {
                Some("is checked by name: use .tool(…), .resource(…) or .prompt(…)")
            }
            _ => None,
        }
    }
}

impl AgentAuth {
    /// Guards an MCP server by its operations; see [`mcp`](crate::mcp).
    ///
    /// # Errors
    /// When a scope is not in the catalogue, a name is empty, or an operation is listed twice. The service's code is at
    /// fault.
    pub fn mcp(&self, operations: Operations) -> Result<McpLayer, ConfigError> {
        let rules = Arc::new(operations.into_rules(self)?);
        let guard = self.policy(rules::policy(Arc::clone(&rules), false));
        Ok(McpLayer { guard, rules, or_host: false })
    }
}

/// The layer that guards an MCP server by the headers of its requests. Created by [`AgentAuth::mcp`].
///
/// It refuses requests of versions before 2026-07-28, and trusts the server inside to refuse headers that do not match
/// the body. [`read_bodies`](Self::read_bodies) needs neither.
#[derive(Clone, Debug)]
#[must_use]
pub struct McpLayer {
    guard: GuardLayer,
    rules: Arc<Rules>,
    or_host: bool,
}

impl McpLayer {
    /// Leaves every request that presents no token of this service to the server's own auth, unread and unchanged, whatever
    /// its operation; see [`Rule::or_host_auth`]. For servers that take other tokens or keys too.
    pub fn or_host_auth(self) -> Self {
        Self { guard: self.guard.or_host_auth(), or_host: true, ..self }
    }

    /// See [`GuardLayer::strip_authorization`].
    pub fn strip_authorization(self) -> Self {
        Self { guard: self.guard.strip_authorization(), ..self }
    }

    /// See [`GuardLayer::end_with_session`]. For servers with streams that last.
    pub fn end_with_session(self) -> SessionGuardLayer {
        self.guard.end_with_session()
    }

    /// Reads the body of each POST, after the caller is authenticated and before the server is called. So clients of all
    /// versions have scopes by operation, and a request whose headers do not match its body is refused with 400 and the
    /// JSON-RPC error -32020.
    ///
    /// The server gets the same bytes, as [`Body`]. The messages must be JSON-RPC 2.0 without members that parsers could
    /// read differently: with a member twice, or with `Method` for `method`, a request is refused with 400. A batch needs
    /// the scopes of all its messages.
    ///
    /// A body is read into memory, up to [a limit](McpBodyLayer::limit) and within [a time](McpBodyLayer::time). It
    /// requires a Tokio runtime with time enabled. A request that is refused by its body counts twice in
    /// [metrics](crate::observe): as one that passed the guard, and as refused.
    pub fn read_bodies(self) -> McpBodyLayer {
        let guard = self.guard.with_policy(rules::policy(Arc::clone(&self.rules), true));
        let guard = if self.or_host { guard.or_host_auth() } else { guard };
        let reader =
            Reader { rules: self.rules, check: guard.late_check(), or_host: self.or_host, limit: LIMIT, time: TIME };
        McpBodyLayer { guard: guard.decided_late(), reader }
    }
}

impl<S> Layer<S> for McpLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.guard.layer(inner)
    }
}

/// The layer that guards an MCP server by the bodies of its requests. Created by [`McpLayer::read_bodies`].
///
/// `G` is the guard around it: with [`end_with_session`](Self::end_with_session), another one.
#[derive(Clone, Debug)]
#[must_use]
pub struct McpBodyLayer<G = GuardLayer> {
    guard: G,
    reader: Reader,
}

impl<G> McpBodyLayer<G> {
    /// The largest body in bytes. Larger ones are refused with 413. 4 MiB by default.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.reader.limit = bytes;
        self
    }

    /// How long a body may take. Slower ones are refused with 408. 30 seconds by default.
    pub fn time(mut self, time: Duration) -> Self {
        self.reader.time = time;
        self
    }
}

impl McpBodyLayer {
    /// See [`GuardLayer::end_with_session`]. For servers with streams that last.
    pub fn end_with_session(self) -> McpBodyLayer<SessionGuardLayer> {
        McpBodyLayer { guard: self.guard.end_with_session(), reader: self.reader }
    }
}

impl<S, G: Layer<ReadBodies<S>>> Layer<S> for McpBodyLayer<G> {
    type Service = G::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.guard.layer(ReadBodies { inner, reader: self.reader.clone() })
    }
}
