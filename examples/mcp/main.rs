//! An MCP server that agents can ask their human for access to: the websites of the demo, as tools.
//!
//! ```text
//! cargo run --example mcp
//! ```
//!
//! Read `tools.rs` first: it sets the scopes of each tool. `routes.rs` puts the guard in front of rmcp's server. The rest
//! is that of the demo in `examples/axum`: data, login, options, pages and stores.
#![allow(dead_code, reason = "the modules of the other demo have more")]

#[path = "../axum/data.rs"]
mod data;
#[path = "../axum/demo.rs"]
mod demo;
#[path = "../axum/error.rs"]
mod error;
#[path = "../axum/logging.rs"]
mod logging;
#[path = "../axum/login.rs"]
mod login;
#[path = "../axum/logins.rs"]
mod logins;
#[path = "../axum/metrics.rs"]
mod metrics;
#[path = "../axum/options.rs"]
mod options;
#[path = "../axum/pages.rs"]
mod pages;
#[path = "../common/qr.rs"]
mod qr;
mod routes;
#[path = "../common/server.rs"]
mod server;
#[path = "../axum/stores.rs"]
mod stores;
#[path = "../common/terminal.rs"]
mod terminal;
mod tools;

use std::process::ExitCode;

use tower_agent_auth::Config;

/// What `--help` says.
const ABOUT: &str = "A demo MCP server for which AI agents can ask their human for access";
/// The built-in configuration.
const CONFIG: &str = include_str!("agent-auth.toml");
/// The path of the MCP endpoint, below the public URL.
const RESOURCE: &str = "/mcp";
const START_PAGE: &str = include_str!("start.html");

#[tokio::main]
async fn main() -> ExitCode {
    demo::main(routes::app, announce).await
}

/// Says how to add the server to MCP hosts.
fn announce(config: &Config) -> String {
    let name = config.name();
    let url = config.resource();
    let [login, sessions] = [login::PATH, config.sessions_path()].map(|path| config.url(path));
    format!(
        "\
This is {name}, an MCP server at {url}. Add it to your agent:

  Claude Code   claude mcp add --transport http demo-analytics {url}
  Codex         codex mcp add demo-analytics --url {url}
  VS Code       code --add-mcp '{{\"name\":\"demo-analytics\",\"type\":\"http\",\"url\":\"{url}\"}}'
  Cursor        in ~/.cursor/mcp.json: {{\"mcpServers\":{{\"demo-analytics\":{{\"url\":\"{url}\"}}}}}}
  Gemini        gemini mcp add --transport http demo-analytics {url}

  be refused, and see where to ask   curl -i {url}
  sign in, with any password         {login}
  see and revoke what agents have    {sessions}
"
    )
}
