use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use http::{HeaderValue, Method, StatusCode, header::ALLOW, request::Parts};

#[cfg(feature = "issuer")]
use super::{Context, Dialect, rate_limits::RateLimits};
use super::{Endpoint, document::Document};
#[cfg(feature = "issuer")]
use crate::documents::{Metadata, auth_md, authorization_server};
use crate::{
    Config,
    audit::{AuditSink, Event},
    config::{PROTECTED_RESOURCE, Problem, Resource},
    documents::protected_resource,
    http::{Reply, error_reply},
    types::clock::{Clock, Timestamp},
};

/// All paths that this crate serves.
pub(crate) struct RouteTable {
    exact: HashMap<String, Arc<dyn Endpoint>>,
    /// Paths that are followed by one more segment.
    below: Vec<(String, Arc<dyn Endpoint>)>,
    /// The name of what each path serves, for the error about two endpoints on one path.
    names: BTreeMap<String, &'static str>,
    conflicts: Vec<Problem>,
    /// The limits of the ceremony's endpoints. Documents have none.
    #[cfg(feature = "issuer")]
    rates: Option<RateLimits>,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
}

impl RouteTable {
    /// The routes of every service, including one that only checks tokens: the protected resource metadata.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>, audit: Arc<dyn AuditSink>) -> Self {
        let mut routes = Self {
            exact: HashMap::new(),
            below: Vec::new(),
            names: BTreeMap::new(),
            conflicts: Vec::new(),
            #[cfg(feature = "issuer")]
            rates: None,
            clock,
            audit,
        };
        for (index, resource) in config.documented_resources() {
            let document = Document::json(&protected_resource::render(config, resource));
            routes.serve_resource(config, index, resource, &(Arc::new(document) as _));
        }
        routes
    }

    /// Serves the metadata of a resource: path-inserted, and that of the top-level resource also at the root, for clients
    /// that request only that one.
    fn serve_resource(&mut self, config: &Config, index: usize, resource: &Resource, document: &Arc<dyn Endpoint>) {
        let mut paths = resource.protected_resource_paths();
        let field = if index == 0 {
            paths.push(PROTECTED_RESOURCE.to_owned());
            paths.sort_unstable();
            paths.dedup();
            "resource".to_owned()
        } else {
            format!("resources[{}].resource", index - 1)
        };
        for path in paths {
            let path = config.arriving_path(&path);
            self.serve(&field, path, "the protected resource metadata", Arc::clone(document));
        }
    }

    /// Adds the routes of a service that runs the ceremony: the other documents, and the endpoints that they name.
    #[cfg(feature = "issuer")]
    pub(crate) fn serve_ceremony(
        &mut self,
        config: &Config,
        context: &Arc<Context>,
        dialects: &[&dyn Dialect],
    ) -> Result<(), minijinja::Error> {
        self.rates = Some(RateLimits::new(context, &self.clock));
        let mut metadata = Metadata::default();
        let mut chapters = Vec::new();
        for dialect in dialects {
            dialect.describe(context, &mut metadata);
            chapters.push(dialect.chapter(context)?);
        }
        let has_alias = metadata.top.contains_key("authorization_endpoint") && config.oauth().openid_configuration;
        let metadata: Arc<dyn Endpoint> = Arc::new(Document::json(&authorization_server::render(config, metadata)));
        let aliases = if has_alias { config.openid_configuration_paths() } else { Vec::new() };
        for path in std::iter::once(config.authorization_server_path()).chain(aliases) {
            let path = config.arriving_path(&path);
            self.serve("issuer", path, "the authorization server metadata", Arc::clone(&metadata));
        }
        let auth_md = Document::markdown(auth_md::render(config, &chapters, context.ceremony.refreshes())?);
        let arriving = |path: &str| config.arriving_path(&config.path(path));
        self.serve("issuer", arriving(auth_md::PATH), "auth.md", Arc::new(auth_md));
        for (path, endpoint) in dialects.iter().flat_map(|dialect| dialect.endpoints(context)) {
            self.serve("dialects", arriving(path), "an endpoint of a dialect", endpoint);
        }
        Ok(())
    }

    /// Serves `path`. `field` is the field of the configuration that sets the path, `name` describes the endpoint in
    /// errors.
    pub(crate) fn serve(&mut self, field: &str, path: String, name: &'static str, endpoint: Arc<dyn Endpoint>) {
        self.claim(field, &path, name);
        self.exact.insert(path, endpoint);
    }

    /// Serves every path that consists of `parent`, which ends in a slash, and one more segment.
    #[cfg(feature = "pages")]
    pub(crate) fn serve_below(&mut self, parent: String, name: &'static str, endpoint: Arc<dyn Endpoint>) {
        self.claim("dialects", &parent, name);
        self.below.push((parent, endpoint));
    }

    /// Records what `path` serves, and a conflict if it already serves something else.
    fn claim(&mut self, field: &str, path: &str, name: &'static str) {
        let parent = path.trim_end_matches('/').rsplit_once('/').map(|(parent, _)| format!("{parent}/"));
        let below =
            |parent: String| self.below.iter().any(|(known, _)| *known == parent).then(|| self.names.get(&parent))?;
        let there = self.names.get(path).or_else(|| below(parent.filter(|parent| path != parent)?));
        if let Some(there) = there {
            self.conflicts.push(Problem::new(
                field,
                path,
                format!("would serve {name}, but serves {there}; change it"),
            ));
        }
        self.names.insert(path.to_owned(), name);
    }

    /// All that is served, by path: its name and its endpoint. A path that ends in a slash is followed by one more segment.
    #[cfg(feature = "testing")]
    pub(crate) fn served(&self) -> impl Iterator<Item = (&str, &'static str, Arc<dyn Endpoint>)> {
        let below = |path: &str| self.below.iter().find(|(parent, _)| parent == path).map(|(_, endpoint)| endpoint);
        self.names.iter().filter_map(move |(path, name)| {
            let endpoint = self.exact.get(path).or_else(|| below(path))?;
            Some((path.as_str(), *name, Arc::clone(endpoint)))
        })
    }

    /// Whether a request with these extensions has a client address, as limits by source need it.
    #[cfg(feature = "testing")]
    pub(crate) fn finds_address(&self, request: &Parts) -> bool {
        self.rates.as_ref().is_some_and(|rates| rates.address(request).is_some())
    }

    /// The paths that are served, and those that are followed by one more segment.
    #[cfg(feature = "axum")]
    pub(crate) fn paths(&self) -> (impl Iterator<Item = &str>, impl Iterator<Item = &str>) {
        (self.exact.keys().map(String::as_str), self.below.iter().map(|(parent, _)| parent.as_str()))
    }

    /// The paths with more than one endpoint.
    pub(crate) fn conflicts(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.conflicts)
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<dyn Endpoint>> {
        let below = || {
            let (parent, last) = path.rsplit_once('/')?;
            let found = self.below.iter().find(|(known, _)| known.strip_suffix('/') == Some(parent));
            found.filter(|_| !last.is_empty()).map(|(_, endpoint)| endpoint)
        };
        self.exact.get(path).or_else(below).cloned()
    }

    /// The refusal of a request over the rate limit of its source. A request without an address is not counted.
    pub(super) fn refusal(&self, endpoint: &dyn Endpoint, request: &Parts) -> Option<Reply> {
        #[cfg(feature = "issuer")]
        return self.rates.as_ref()?.refusal(endpoint, request);
        #[cfg(not(feature = "issuer"))]
        {
            let _ = (endpoint, request);
            None
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn note_failure(&self, error: &(dyn std::error::Error + 'static)) {
        self.audit.record(self.now(), &Event::unavailable(error));
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable").finish_non_exhaustive()
    }
}

/// The 405 response, with the methods that are served (RFC 9110 section 15.5.6).
pub(crate) fn method_not_allowed(methods: &[Method]) -> Reply {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let text = format!("this method is not served here; served are: {}", names.join(", "));
    let mut reply = error_reply(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", &text);
    if let Ok(allow) = HeaderValue::try_from(names.join(", ")) {
        reply.headers_mut().insert(ALLOW, allow);
    }
    reply
}
