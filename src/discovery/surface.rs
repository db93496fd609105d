use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header::ALLOW};

use super::{auth_md, authorization_server, document::Document, protected_resource};
use crate::{
    Config,
    accounts::DynAccounts,
    address::Addresses,
    audit::{AuditSink, Event},
    ceremony::Ceremony,
    core::{clock::Clock, random::Random},
    dialect,
    reply::{Answering, Reply, error_reply},
};

/// Something that is served at a path.
pub(crate) trait Endpoint: Send + Sync {
    /// The methods that it serves, for `Allow`.
    fn methods(&self) -> &'static [Method];

    /// Whether it serves this request; if not, the answer is 405.
    fn serves(&self, request: &http::request::Parts) -> bool {
        self.methods().contains(&request.method)
    }

    /// Answers a request of one of its methods. The body has been read whole; it is empty for GET and HEAD.
    fn answer(&self, request: Request<Bytes>) -> Answering<Reply>;
}

/// What the endpoints of one service have in common.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) ceremony: Ceremony,
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages ask who the human is"))]
    pub(crate) accounts: Arc<dyn DynAccounts>,
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages draw nonces and form keys"))]
    pub(crate) random: Arc<dyn Random>,
    pub(crate) addresses: Addresses,
    pub(crate) audit: Arc<dyn AuditSink>,
}

impl Site {
    pub(crate) fn client_address<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        self.addresses.client(request.headers(), request.extensions())
    }

    /// Whether a browser sent this for a page of another origin, or can't say for whose (Fetch Metadata, RFC 6454).
    pub(crate) fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let origin = headers.get("origin").map(HeaderValue::as_bytes);
        let foreign_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        foreign_site || origin.is_some_and(|origin| origin != self.config.origin().as_bytes())
    }

    pub(crate) fn note_failure(&self, error: &(dyn std::error::Error + 'static)) {
        self.audit.record(self.ceremony.now(), &Event::unavailable(error));
    }
}

/// Every path that this crate serves.
pub(crate) struct Surface {
    exact: HashMap<String, Arc<dyn Endpoint>>,
    /// Paths that end in one more segment.
    below: Vec<(String, Arc<dyn Endpoint>)>,
    clock: Arc<dyn Clock>,
    audit: Arc<dyn AuditSink>,
}

impl Surface {
    /// The surface of a service that runs the ceremony, or, without `site`, of one that only checks tokens.
    pub(crate) fn new(
        config: &Config,
        site: Option<&Arc<Site>>,
        clock: Arc<dyn Clock>,
        audit: Arc<dyn AuditSink>,
    ) -> Result<Self, minijinja::Error> {
        let mut surface = Self { exact: HashMap::new(), below: Vec::new(), clock, audit };
        let protected_resource = Document::json(&protected_resource::render(config));
        for path in config.protected_resource_paths() {
            surface.serve(path, protected_resource.clone());
        }
        let Some(site) = site else { return Ok(surface) };
        surface.serve(config.authorization_server_path(), Document::json(&authorization_server::render(config)));
        surface.serve(config.path(auth_md::PATH), Document::markdown(auth_md::render(config)?));
        for wire in dialect::wires(config) {
            for (path, endpoint) in wire.endpoints(site) {
                surface.exact.insert(config.path(path), endpoint);
            }
        }
        #[cfg(feature = "pages")]
        {
            let pages = crate::pages::Pages::new(Arc::clone(site))?;
            surface.below.push((config.path(dialect::APPROVAL_PATH), pages.approval()));
            surface.exact.insert(config.path(config.sessions_path()), pages.sessions());
        }
        Ok(surface)
    }

    fn serve(&mut self, path: String, document: Document) {
        self.exact.insert(path, Arc::new(document));
    }

    pub(super) fn find(&self, path: &str) -> Option<Arc<dyn Endpoint>> {
        let below = || {
            let (parent, last) = path.rsplit_once('/')?;
            let found = self.below.iter().find(|(known, _)| known.strip_suffix('/') == Some(parent));
            found.filter(|_| !last.is_empty()).map(|(_, endpoint)| endpoint)
        };
        self.exact.get(path).or_else(below).cloned()
    }

    pub(super) fn now(&self) -> crate::core::clock::Timestamp {
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
