use std::fmt;

/// How a service is put together wrongly.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Misassembly {
    /// A document, an endpoint or a page of this crate is not served.
    NotServed,
    /// The documents are served below a prefix, where no agent looks for them.
    Nested,
    /// A fallback of the service answers for a document, an endpoint or a page.
    Swallowed,
    /// A guard refuses requests to a document, an endpoint or a page.
    Guarded,
    /// A login layer of the service keeps requests from a document, an endpoint or a page.
    BehindLogin,
    /// A layer changes a document, an endpoint's response or a page.
    Changed,
    /// A layer refuses bodies that the endpoints take.
    BodyLimit,
    /// Pages of other origins can't use the documents and endpoints, or can't read a route's refusal.
    Cors,
    /// The host does not serve a page that a document names.
    BrokenLink,
    /// Requests have no client address, so limits by source have no effect.
    NoClientAddress,
    /// The service has no such route, or the route does not serve the method.
    NoSuchRoute,
    /// No guard refuses a request to a route that should have one.
    Unguarded,
    /// A refusal has no challenge, so agents don't find out how to ask for access.
    NoChallenge,
    /// A challenge names the metadata of another service.
    ForeignChallenge,
    /// A route is not below the resource that its challenge leads to.
    OutsideResource,
    /// The guard does not see the `Authorization` header.
    AuthorizationLost,
    /// The guard refuses the session that the check was given.
    SessionRefused,
    /// The guard lets the agent pass, and a layer behind it refuses.
    RefusedInside,
    /// An agent's session passes on a route for the owner only.
    OpenToAgents,
    /// A gRPC route refuses in plain HTTP.
    NotGrpc,
    /// The service failed, panicked in a layer, or did not answer in time.
    Failed,
}

impl Misassembly {
    /// The remedy.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NotServed => {
                "under axum, merge `auth.router()` into the outermost router; elsewhere put the layer `auth.endpoints()` \
                 around the whole service. Under axum that layer serves nothing if it is added by `route_layer`, or before \
                 `fallback`"
            }
            Self::Nested => {
                "merge `auth.router()` into the outermost router, not into a nested one. If a proxy in front removes the \
                 prefix, set `mount_path`"
            }
            Self::Swallowed => {
                "under axum, merge `auth.router()`, whose routes go before any fallback; or add the layer \
                 `auth.endpoints()` after `fallback`"
            }
            Self::Guarded => {
                "put guards around routes only: merge `auth.router()` last, or put `auth.endpoints()` outside the guards"
            }
            Self::BehindLogin => {
                "put the login layer around the routes that need it: agents that ask for access have no login yet. Merge \
                 `auth.router()` after that layer, or put `auth.endpoints()` outside it"
            }
            Self::Changed => {
                "merge `auth.router()` after the layers of the service's own routes, or put `auth.endpoints()` outside \
                 them, so that they don't change responses of this crate"
            }
            Self::BodyLimit => {
                "allow bodies of 16 KiB for the endpoints, or put the limit around the service's own routes"
            }
            Self::Cors => {
                "for documents and endpoints, put the CORS layer around the service's own routes: merge `auth.router()` \
                 last, or put `auth.endpoints()` outside it. For a guarded route, put the CORS layer outside the guard, \
                 allow the header `authorization`, and expose `www-authenticate`"
            }
            Self::BrokenLink => "serve the page, or change the link in the configuration",
            Self::NoClientAddress => {
                "set `peer_address` when you build `AgentAuth`; under axum serve with \
                 `into_make_service_with_connect_info::<SocketAddr>()`"
            }
            Self::NoSuchRoute => "correct the path or the method in the test, or add the route",
            Self::Unguarded => "add `.layer(auth.require(…))` or `.layer(auth.owner_only())` to the route",
            Self::NoChallenge => {
                "put the guard outside the service's own login, and let no layer remove `WWW-Authenticate`"
            }
            Self::ForeignChallenge => {
                "create the guard by the `AgentAuth` that is checked, or by one with the same configuration"
            }
            Self::OutsideResource => {
                "clients compare the resource with the URL that they call (RFC 9728 section 3.3): set `resource` to a URL \
                 that the route's URL begins with, or guard the route by `auth.resource(…)`"
            }
            Self::AuthorizationLost => "let no layer outside the guard remove or replace `Authorization`",
            Self::SessionRefused => {
                "give the check a session of this service, for this resource, with the route's scopes"
            }
            Self::RefusedInside => {
                "let the service's own login pass requests that have an `AgentSession` in their extensions, or put it \
                 around other routes"
            }
            Self::OpenToAgents => "guard the route by `auth.owner_only()`",
            Self::NotGrpc => "add `.grpc()` to the guard of the route",
            Self::Failed => "repair the service; the check sends nothing that a client could not send",
        }
    }
}

/// One thing that is wrong, with all requests that show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub kind: Misassembly,
    /// The requests that show it, such as `GET /auth.md`.
    pub requests: Vec<String>,
    /// What was seen, in words.
    pub seen: String,
}

/// The most requests that a finding lists when it is shown.
const LISTED: usize = 4;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: Vec<&str> = self.requests.iter().take(LISTED).map(String::as_str).collect();
        write!(f, "{:?}: {}", self.kind, listed.join(", "))?;
        if self.requests.len() > LISTED {
            write!(f, " and {} more", self.requests.len() - LISTED)?;
        }
        write!(f, ": {}. Remedy: {}.", self.seen, self.kind.remedy())
    }
}

/// What a [check](super::check) found. `Display` and `Debug` show each finding with its remedy.
#[derive(Clone, Default)]
#[must_use]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// What is wrong.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether this is among what is wrong.
    #[must_use]
    pub fn has(&self, kind: Misassembly) -> bool {
        self.findings.iter().any(|finding| finding.kind == kind)
    }

    /// The documents that were not served are served below a prefix.
    pub(super) fn move_to_nested(&mut self, prefix: &str) {
        let is_missing = |finding: &Finding| finding.kind == Misassembly::NotServed;
        let (missing, others) = std::mem::take(&mut self.findings).into_iter().partition::<Vec<_>, _>(is_missing);
        self.findings = others;
        for request in missing.into_iter().flat_map(|finding| finding.requests) {
            self.add(Misassembly::Nested, &request, super::endpoints::nested(prefix));
        }
    }

    /// Adds a finding, or the request to a finding of the same kind that looks the same.
    pub(super) fn add(&mut self, kind: Misassembly, request: &str, seen: impl Into<String>) {
        let seen = seen.into();
        let same = self.findings.iter_mut().find(|finding| finding.kind == kind && finding.seen == seen);
        match same {
            Some(finding) => finding.requests.push(request.to_owned()),
            None => self.findings.push(Finding { kind, requests: vec![request.to_owned()], seen }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return f.write_str("the service is put together as it should be");
        }
        f.write_str("the service is put together wrongly:")?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n* {finding}"))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
