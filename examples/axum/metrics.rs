//! Metrics, for operators only: on a separate address, not among the routes of the service.

use std::{io, net::SocketAddr};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{net::TcpListener, task::AbortHandle};
use tower_agent_auth::observe;

/// A running metrics server. It stops when this is dropped.
pub(crate) struct Served {
    address: SocketAddr,
    task: AbortHandle,
}

impl Served {
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Installs the recorder, and serves its metrics. Call it before the guards are built, because they get their counters
/// then.
pub(crate) async fn start(address: Option<SocketAddr>) -> io::Result<Option<Served>> {
    let Some(address) = address else { return Ok(None) };
    let listener =
        TcpListener::bind(address).await.map_err(|error| io::Error::other(format!("on {address}: {error}")))?;
    let address = listener.local_addr()?;
    let counted =
        PrometheusBuilder::new().with_recommended_naming(true).install_recorder().map_err(io::Error::other)?;
    observe::describe();
    let app = Router::new().route("/metrics", get(async move || counted.render()));
    let task = tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle();
    Ok(Some(Served { address, task }))
}
