use std::sync::Arc;

use tower_layer::Layer;

use super::{Discovery, Surface};

/// Serves the documents, the endpoints and the pages in front of a service. Made by
/// [`AgentAuth::discovery`](crate::AgentAuth::discovery).
#[derive(Clone, Debug)]
#[must_use]
pub struct DiscoveryLayer {
    surface: Arc<Surface>,
}

impl DiscoveryLayer {
    pub(crate) const fn new(surface: Arc<Surface>) -> Self {
        Self { surface }
    }
}

impl<S> Layer<S> for DiscoveryLayer {
    type Service = Discovery<S>;

    fn layer(&self, inner: S) -> Discovery<S> {
        Discovery::new(inner, Arc::clone(&self.surface))
    }
}
