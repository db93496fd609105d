//! Metrics, for operators alone: on an address of their own, and never among the routes of the service.

use std::{io, net::SocketAddr};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{net::TcpListener, task::AbortHandle};
use tower_agent_auth::observe;

/// Metrics that are served until this is dropped.
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

/// Begins to count, and serves what was counted there. The guards take their counters when they are built, so this comes
/// first.
pub(crate) async fn start(address: Option<SocketAddr>) -> io::Result<Option<Served>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let counted = PrometheusBuilder::new().install_recorder().map_err(io::Error::other)?;
    observe::describe();
    let app = Router::new().route("/metrics", get(async move || counted.render()));
    let task = tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle();
    Ok(Some(Served { address, task }))
}
