//! The demo: a small web analytics API that an agent can ask its human for access to.
//!
//! ```text
//! cargo run --example axum
//! ```
//!
//! Read `routes.rs` first: it sets the rule of each route, which is all that a service adds to its router. `login.rs`
//! identifies the signed-in human. The rest is common to any service: options, data, errors, logs, metrics, and the server
//! in `examples/common`, with its bounds on what clients can hold.

mod data;
mod error;
mod logging;
mod login;
mod logins;
mod metrics;
mod options;
mod pages;
mod routes;
#[path = "../common/server.rs"]
mod server;
mod stores;
#[path = "../common/terminal.rs"]
mod terminal;

use std::{error::Error, io::Write, net::SocketAddr, process::ExitCode};

use axum::{Router, body::Body, extract::ConnectInfo};
use clap::Parser;
use tokio::net::TcpListener;
use tower::{ServiceExt, service_fn};
use tower_agent_auth::{AgentAuth, Config, audit::TracingAudit, client_metadata::HttpFetcher};

use crate::{
    data::Data,
    login::Login,
    logins::Logins,
    options::{Options, Store},
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    logging::start(options.log);
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whatever the log level is. The cause of each of these errors is in its text.
            let _ = writeln!(std::io::stderr(), "error: {}", logging::causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if let Some(from) = &options.copy_from {
        return copy(from, &options.store).await;
    }
    let listen = options.listen;
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("can't listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    let config = options.config(address)?;
    let metrics = metrics::start(options.metrics).await.map_err(|error| format!("can't serve metrics: {error}"))?;
    let login = Login::new(&config, Logins::open(&options.store)?)?;
    let auth = agent_auth(config, &options.store, login.clone()).await?;
    let app = routes::app(&auth, login, Data::default())?;

    announce(&options::own_url(address), auth.config());
    if let Some(metrics) = &metrics {
        writeln!(std::io::stdout(), "Metrics are at http://{}/metrics\n", metrics.address())?;
    }
    let (served, stopped) = tokio::sync::oneshot::channel::<()>();
    let housekeeping = tokio::spawn(async move { auth.housekeeping(async { drop(stopped.await) }).await });
    server::serve(listener, options.limits(), with_connect_info(app), server::asked_to_stop()).await;
    drop((served, metrics));
    Ok(housekeeping.await?)
}

/// Gives the router the peer's address as `axum::serve` does.
fn with_connect_info(
    app: Router,
) -> impl tower::Service<
    http::Request<server::Body>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    service_fn(move |request: http::Request<server::Body>| {
        let mut request = request.map(Body::new);
        if let Some(peer) = request.extensions().get::<SocketAddr>().copied() {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        app.clone().oneshot(request)
    })
}

async fn agent_auth(config: Config, store: &Store, login: Login) -> Result<AgentAuth, Box<dyn Error>> {
    let builder = AgentAuth::builder(config)
        .accounts(login)
        .audit(TracingAudit)
        .peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
    // Asks the internet only if a client's id is the URL of its metadata document.
    let builder = match HttpFetcher::new() {
        Ok(fetcher) => builder.client_metadata(fetcher),
        Err(error) => {
            tracing::warn!("clients can't be identified by metadata documents: {error}");
            builder
        }
    };
    Ok(stores::with_store(builder, store).await?.build()?)
}

/// Copies everything and prints the counts.
async fn copy(from: &Store, to: &Store) -> Result<(), Box<dyn Error>> {
    let copied = stores::copy(from, to).await?;
    let (sessions, authorizations) = (copied.sessions, copied.authorizations);
    writeln!(std::io::stdout(), "copied {sessions} sessions and {authorizations} authorizations that were not there")?;
    Ok(())
}

/// Prints the demo's URL, and what to try.
fn announce(url: &str, config: &Config) {
    let name = config.name();
    let resource = config.resource().trim_end_matches('/');
    let [auth_md, login, sessions] = ["/auth.md", login::PATH, config.sessions_path()].map(|path| config.url(path));
    let text = format!(
        "listening on {url}

This is {name}. Try, in this order:

  be refused, and see where to ask   curl -i {resource}/projects
  read what an agent reads           curl {auth_md}
  be an agent                        cargo run --example agent -- {resource}/projects
  sign in, with any password         {login}
  see and revoke what agents have    {sessions}

Stop it with Ctrl-C.
"
    );
    // Errors are ignored: stdout may be closed.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
