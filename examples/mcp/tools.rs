//! The tools of the MCP server, and the scopes that each needs.

use std::{borrow::Cow, sync::Arc};

use http::request::Parts;
use rmcp::{
    ErrorData, ServerHandler,
    handler::server::{router::tool::ToolRouter, tool::Extension, wrapper::Parameters},
    model::{CallToolResult, Implementation, ServerCapabilities, ServerConfig},
    schemars, tool, tool_handler, tool_router,
    transport::{
        StreamableHttpServerConfig,
        streamable_http_server::{StreamableHttpService, session::never::NeverSessionManager},
    },
};
use serde::Deserialize;
use serde_json::json;
use tower_agent_auth::{guard::AgentSession, mcp::Operations};

use crate::data::Data;

const LONGEST_NAME: usize = 100;

/// The scopes of each tool. A tool that is not listed is refused.
pub(crate) fn operations() -> Operations {
    Operations::new()
        .tool("get_account", "account:read")
        .tool("list_projects", "projects:read")
        .tool("create_project", "projects:write")
        .tool_owner_only("delete_account")
}

/// The MCP server, for requests to this host.
///
/// It keeps no MCP sessions, so that each call has its own caller, and any process can serve it. It refuses headers that
/// do not match the body, and requests to other hosts (DNS rebinding).
pub(crate) fn service(data: Arc<Data>, host: &str) -> StreamableHttpService<Tools, NeverSessionManager> {
    let mut config = StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true);
    config.allowed_hosts.push(host.to_owned());
    let tools = Tools { data, tool_router: Tools::tool_router() };
    StreamableHttpService::new(move || Ok(tools.clone()), Arc::default(), config)
}

#[derive(Clone)]
pub(crate) struct Tools {
    data: Arc<Data>,
    tool_router: ToolRouter<Self>,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct NewProject {
    /// The name of the website
    name: String,
}

type Answer = Result<CallToolResult, ErrorData>;

#[tool_router]
impl Tools {
    #[tool(description = "Shows the account that you act for, and what you may do", annotations(read_only_hint = true))]
    async fn get_account(&self, Extension(request): Extension<Parts>) -> Answer {
        let agent = agent(&request)?;
        let projects = self.data.of(&agent.account.id, |books| books.projects.len());
        Ok(CallToolResult::structured(json!({
            "id": agent.account.id.as_str(),
            "email": agent.account.label,
            "projects_count": projects,
            "scopes": agent.scopes.names(),
        })))
    }

    #[tool(description = "Lists the websites of the account", annotations(read_only_hint = true))]
    async fn list_projects(&self, Extension(request): Extension<Parts>) -> Answer {
        let agent = agent(&request)?;
        let projects = self.data.of(&agent.account.id, |books| books.projects.clone());
        Ok(CallToolResult::structured(json!({ "projects": projects })))
    }

    #[tool(description = "Adds a website to the account", annotations(destructive_hint = false))]
    async fn create_project(
        &self,
        Extension(request): Extension<Parts>,
        Parameters(NewProject { name }): Parameters<NewProject>,
    ) -> Answer {
        let agent = agent(&request)?;
        let name = name.trim();
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            let text = format!("`name` must be a text of 1 to {LONGEST_NAME} characters");
            return Err(ErrorData::invalid_params(text, None));
        }
        let added = self.data.of(&agent.account.id, |books| match books.project(name) {
            Some(project) => Ok(project.clone()),
            None => books.add_project(name.to_owned(), "*".to_owned()),
        });
        match added {
            Ok(project) => Ok(CallToolResult::structured(json!(project))),
            Err(_) => Ok(CallToolResult::structured_error(json!({ "error": "you have as many as the demo allows" }))),
        }
    }

    /// No agent gets here: the guard refuses it.
    #[tool(description = "Deletes the account. Only its human may do this", annotations(destructive_hint = true))]
    async fn delete_account(&self) -> Answer {
        Err(ErrorData::internal_error("the guard in front of this server is missing", None))
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("demo-analytics", env!("CARGO_PKG_VERSION")))
            .with_instructions("Demo Analytics: the websites of one account.")
    }
}

/// The caller. Only a guard inserts it into the request, whose head rmcp gives to each call.
fn agent(request: &Parts) -> Result<&AgentSession, ErrorData> {
    let no_guard = || ErrorData::internal_error(Cow::Borrowed("the guard in front of this server is missing"), None);
    request.extensions.get().ok_or_else(no_guard)
}
