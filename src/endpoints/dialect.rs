use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header::USER_AGENT};

use crate::{
    Config,
    accounts::DynAccounts,
    audit::{AuditSink, Event},
    ceremony::{Ceremony, Decided, HandedOut, KnownFlow},
    documents::Metadata,
    http::ClientAddresses,
    http::{Answering, Reply, error_reply, retry_after},
    types::{
        callback::Callback,
        random::Random,
        secret::{Finish, Secret},
        session::Redeemer,
        text::HumanText,
    },
};

/// A dialect, a wire format over the ceremony: its endpoints, and its parts of the documents.
pub(crate) trait Dialect: Sync {
    /// Its endpoints, by path below the issuer.
    fn endpoints(&self, context: &Arc<Context>) -> Vec<(&'static str, Arc<dyn Endpoint>)>;

    /// The path of its approval page, below the issuer. The authorization request's id follows as one more segment.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages are served there"))]
    fn approval_path(&self) -> &'static str;

    /// Whether its endpoints start and finish this flow. Only its own approval page shows such a request.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages ask"))]
    fn owns(&self, flow: &KnownFlow) -> bool;

    /// Whether it accepts refresh tokens.
    fn takes_refresh_tokens(&self) -> bool;

    /// The URL that the human's browser may be sent to after a decision. The page shows it and allows its form to
    /// redirect there.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages hand over"))]
    fn destination<'f>(&self, flow: &'f KnownFlow) -> Option<&'f Callback> {
        let _ = flow;
        None
    }

    /// What happens in the human's browser after a decision.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages hand over"))]
    fn hand_over(&self, context: &Context, decided: Decided) -> Handover {
        let _ = context;
        match decided.code {
            Some(HandedOut::Finish(code)) => Handover::Code(code),
            _ => Handover::Page,
        }
    }

    /// Its part of the authorization server metadata.
    fn describe(&self, config: &Config, metadata: &mut Metadata);

    /// Its chapter of auth.md.
    fn chapter(&self, context: &Context) -> Result<String, minijinja::Error>;
}

/// What happens in the human's browser after a decision.
#[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages hand over"))]
pub(crate) enum Handover {
    /// The approval page shows the decision.
    Page,
    /// The approval page shows the human a code to pass to the agent.
    Code(Secret<Finish>),
    /// The browser is redirected to this URL.
    Url(String),
}

/// An endpoint that is served at a path.
pub(crate) trait Endpoint: Send + Sync {
    /// The methods that it serves; the response to others is 405.
    fn methods(&self) -> &'static [Method];

    /// Whether pages of other origins may use it. It then authenticates nobody by a cookie of such a page's request.
    fn is_open(&self) -> bool {
        false
    }

    /// The rate class of its requests; `None` if they are not counted.
    fn rate_class(&self) -> Option<RateClass> {
        None
    }

    /// The response to a request over the rate limit.
    fn too_many(&self, seconds: u64) -> Reply {
        let text = format!("you ask too often; wait {seconds} seconds");
        let mut reply = error_reply(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &text);
        retry_after(&mut reply, seconds);
        reply
    }

    /// Responds to a request with one of its methods. The body has been read completely; it is empty for GET and HEAD.
    fn answer(&self, request: Request<Bytes>) -> Answering<Reply>;
}

/// The rate limit that a request counts against.
#[derive(Clone, Copy)]
pub(crate) enum RateClass {
    AuthorizationRequest,
    Poll,
    Redemption,
    Refresh,
    Revocation,
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages are counted so"))]
    Page,
}

/// The shared context of the endpoints of one service.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) ceremony: Ceremony,
    pub(crate) accounts: Arc<dyn DynAccounts>,
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages draw nonces and form keys"))]
    pub(crate) random: Arc<dyn Random>,
    pub(crate) addresses: ClientAddresses,
    pub(crate) audit: Arc<dyn AuditSink>,
}

impl Context {
    pub(crate) fn client_address<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        self.addresses.client(request.headers(), request.extensions())
    }

    /// The client that redeems, as far as the request identifies it.
    pub(crate) fn redeemer<B>(&self, request: &Request<B>) -> Redeemer {
        const LONGEST: usize = 64;
        let program = request.headers().get(USER_AGENT).and_then(|name| name.to_str().ok());
        // Unlike a client name, a user agent is often long and not meant for humans: its beginning is enough.
        let program = program.and_then(|name| HumanText::new(name.get(..LONGEST).unwrap_or(name).trim()).ok());
        Redeemer::new(self.client_address(request), program)
    }

    /// Whether a browser sent this request for a page of another or an unknown origin (Fetch Metadata, RFC 6454).
    pub(crate) fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let origin = headers.get("origin").map(HeaderValue::as_bytes);
        // This crate's pages set `no-referrer`, so their forms are sent with the origin `null` (Fetch standard, "append
        // a request `Origin` header"). Only the browser itself can send `same-origin` with it.
        let own_page = site == Some(b"same-origin") && origin == Some(b"null");
        let foreign_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        let foreign_origin = origin.is_some_and(|origin| origin != self.config.origin().as_bytes());
        foreign_site || (foreign_origin && !own_page)
    }

    pub(crate) fn note_failure(&self, error: &(dyn std::error::Error + 'static)) {
        self.audit.record(self.ceremony.now(), &Event::unavailable(error));
    }
}
