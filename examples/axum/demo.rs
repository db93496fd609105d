//! What the demos share: they start, serve with their stores and logins, and stop.

use std::{any::Any, error::Error, io::Write, net::SocketAddr, process::ExitCode, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::Uri,
    response::{IntoResponse, Response},
};
use clap::Parser;
use tokio::net::TcpListener;
use tower::{ServiceExt, service_fn};
use tower_agent_auth::{AgentAuth, Config, audit::TracingAudit, client_metadata::HttpFetcher};

use crate::{
    data::Data,
    error::ApiError,
    logging,
    login::Login,
    logins::Logins,
    metrics,
    options::{self, Options, Store},
    server, stores,
};

/// Makes the routes of a demo.
type App = fn(&AgentAuth, Login, Arc<Data>) -> Result<Router, Box<dyn Error>>;

/// Runs until it is asked to stop. `app` are the routes, and `announce` says what to try.
pub(crate) async fn main(app: App, announce: fn(&Config) -> String) -> ExitCode {
    let options = Options::parse();
    logging::start(options.log);
    match run(&options, app, announce).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whatever the log level is. The cause of each of these errors is in its text.
            let _ = writeln!(std::io::stderr(), "error: {}", logging::causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options, app: App, announce: fn(&Config) -> String) -> Result<(), Box<dyn Error>> {
    if let Some(from) = &options.copy_from {
        return copy(from, &options.store).await;
    }
    let listen = options.listen;
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("can't listen on {listen}: {error}"))?;
    let address = listener.local_addr()?;
    let config = options.config(address)?;
    let metrics = metrics::start(options.metrics).await.map_err(|error| format!("can't serve metrics: {error}"))?;
    let data = Arc::new(Data::default());
    let login = Login::new(&config, Logins::open(&options.store)?, Arc::clone(&data))?;
    let auth = agent_auth(config, &options.store, login.clone()).await?;
    let app = app(&auth, login, data)?;

    say(&format!("listening on {}\n\n{}\nStop it with Ctrl-C.\n", options::own_url(address), announce(auth.config())));
    let start = auth.config().url("/");
    if let Some(lines) = options.qr.lines(&start, &std::io::stdout()) {
        say(&format!("\nThe start page, for a phone: {start}\n\n{lines}"));
    }
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
        .notify(logging::Mail)
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

/// Writes to stdout. Errors are ignored: it may be closed.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Nests the routes where requests for the path of `url` arrive.
pub(crate) fn below(config: &Config, url: &str, routes: Router) -> Result<Router, axum::http::uri::InvalidUri> {
    let path = arriving(config, url)?;
    Ok(if path.is_empty() { routes } else { Router::new().nest(&path, routes) })
}

/// The path at which requests for `url` arrive, without a slash at its end.
pub(crate) fn arriving(config: &Config, url: &str) -> Result<String, axum::http::uri::InvalidUri> {
    let url: Uri = url.parse()?;
    Ok(config.arriving_path(url.path().trim_end_matches('/')))
}

/// The response to a request whose handler panicked.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::internal().into_response()
}
