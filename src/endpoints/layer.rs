use std::sync::Arc;

use tower_layer::Layer;

use super::{Endpoints, RouteTable};
use crate::http::Assembly;

/// The layer that serves the documents, the endpoints and the pages in front of a service. Created by
/// [`AgentAuth::endpoints`](crate::AgentAuth::endpoints).
#[derive(Clone, Debug)]
#[must_use]
pub struct EndpointsLayer {
    routes: Arc<RouteTable>,
    assembly: Arc<Assembly>,
}

impl EndpointsLayer {
    pub(crate) const fn new(routes: Arc<RouteTable>, assembly: Arc<Assembly>) -> Self {
        Self { routes, assembly }
    }
}

#[cfg(feature = "axum")]
impl EndpointsLayer {
    pub(crate) fn routes(&self) -> &RouteTable {
        &self.routes
    }
}

impl EndpointsLayer {
    /// The service, which is not noted as mounted.
    pub(crate) fn serve<S>(&self, inner: S) -> Endpoints<S> {
        Endpoints::new(inner, Arc::clone(&self.routes))
    }
}

impl<S> Layer<S> for EndpointsLayer {
    type Service = Endpoints<S>;

    fn layer(&self, inner: S) -> Endpoints<S> {
        self.assembly.note_mounted();
        self.serve(inner)
    }
}
