use std::{collections::HashMap, fmt, sync::Arc};

use http::{HeaderValue, Method, StatusCode, header::ALLOW, request::Parts};

use super::{
    Endpoint, Site, Wire, auth_md, authorization_server, document::Document, limits::Limits, protected_resource,
};
use crate::{
    Config,
    address::Addresses,
    audit::{AuditSink, Event},
    core::clock::{Clock, Timestamp},
    limiter,
    reply::{Reply, error_reply},
};

/// Every path that this crate serves.
pub(crate) struct Surface {
    exact: HashMap<String, Arc<dyn Endpoint>>,
    /// Paths that end in one more segment.
    below: Vec<(String, Arc<dyn Endpoint>)>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
}

impl Surface {
    /// What every service serves, one that only checks tokens too: the protected resource metadata.
    pub(crate) fn new(config: &Config, addresses: Addresses, clock: Arc<dyn Clock>, audit: Arc<dyn AuditSink>) -> Self {
        let limits = Limits::new(config, addresses, &clock);
        let mut surface = Self { exact: HashMap::new(), below: Vec::new(), limits, clock, audit };
        let document: Arc<dyn Endpoint> = Arc::new(Document::json(&protected_resource::render(config)));
        for path in config.protected_resource_paths() {
            surface.serve(path, Arc::clone(&document));
        }
        surface
    }

    /// What a service serves that runs the ceremony: the other documents, and the endpoints that they name.
    pub(crate) fn serve_ceremony(
        &mut self,
        config: &Config,
        site: &Arc<Site>,
        wires: &[&dyn Wire],
    ) -> Result<(), minijinja::Error> {
        let metadata = Document::json(&authorization_server::render(config, wires));
        self.serve(config.authorization_server_path(), Arc::new(metadata));
        let auth_md = Document::markdown(auth_md::render(config, wires)?);
        self.serve(config.path(auth_md::PATH), Arc::new(auth_md));
        for (path, endpoint) in wires.iter().flat_map(|wire| wire.endpoints(site)) {
            self.serve(config.path(path), endpoint);
        }
        Ok(())
    }

    pub(crate) fn serve(&mut self, path: String, endpoint: Arc<dyn Endpoint>) {
        self.exact.insert(path, endpoint);
    }

    /// Serves every path of `parent`, which ends in a slash, and one more segment.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages have such paths"))]
    pub(crate) fn serve_below(&mut self, parent: String, endpoint: Arc<dyn Endpoint>) {
        self.below.push((parent, endpoint));
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<dyn Endpoint>> {
        let below = || {
            let (parent, last) = path.rsplit_once('/')?;
            let found = self.below.iter().find(|(known, _)| known.strip_suffix('/') == Some(parent));
            found.filter(|_| !last.is_empty()).map(|(_, endpoint)| endpoint)
        };
        self.exact.get(path).or_else(below).cloned()
    }

    /// What a request is answered that is one too many of its source.
    pub(super) fn refusal(&self, endpoint: &dyn Endpoint, request: &Parts) -> Option<Reply> {
        let wait = self.limits.check(endpoint.rated()?, request).err()?;
        Some(endpoint.too_many(limiter::seconds(wait)))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn note_failure(&self, error: &(dyn std::error::Error + 'static)) {
        self.audit.record(self.now(), &Event::unavailable(error));
    }
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surface").finish_non_exhaustive()
    }
}

/// 405 with the methods that are served (RFC 9110 section 15.5.6).
pub(super) fn method_not_allowed(methods: &[Method]) -> Reply {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let text = format!("this method is not served here; served are: {}", names.join(", "));
    let mut reply = error_reply(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", &text);
    if let Ok(allow) = HeaderValue::try_from(names.join(", ")) {
        reply.headers_mut().insert(ALLOW, allow);
    }
    reply
}
