//! The demo: a small web analytics API that an agent can ask its human for access to.
//!
//! ```text
//! cargo run --example axum
//! ```
//!
//! Read `routes.rs` first: it sets the rule of each route, which is all that a service adds to its router. `login.rs`
//! identifies the signed-in human. The rest is common to any service: options, data, errors, logs, metrics, and the server
//! in `examples/common`, with its bounds on what clients can hold. `examples/mcp` shares it.

mod data;
mod demo;
mod error;
mod logging;
mod login;
mod logins;
mod metrics;
mod options;
mod pages;
#[path = "../common/qr.rs"]
mod qr;
mod routes;
#[path = "../common/server.rs"]
mod server;
mod stores;
#[path = "../common/terminal.rs"]
mod terminal;

use std::process::ExitCode;

use tower_agent_auth::Config;

/// What `--help` says.
const ABOUT: &str = "A demo web analytics API for which AI agents can ask their human for access";
/// The built-in configuration.
const CONFIG: &str = include_str!("agent-auth.toml");
/// The path of the resource, below the public URL.
const RESOURCE: &str = "";
const START_PAGE: &str = include_str!("start.html");

#[tokio::main]
async fn main() -> ExitCode {
    demo::main(routes::app, announce).await
}

/// Says what to try.
fn announce(config: &Config) -> String {
    let name = config.name();
    let resource = config.resource().trim_end_matches('/');
    let [auth_md, login, sessions] = ["/auth.md", login::PATH, config.sessions_path()].map(|path| config.url(path));
    format!(
        "\
This is {name}. Try, in this order:

  be refused, and see where to ask   curl -i {resource}/projects
  read what an agent reads           curl {auth_md}
  be an agent                        cargo run --example agent -- {resource}/projects
  sign in, with any password         {login}
  see and revoke what agents have    {sessions}
"
    )
}
