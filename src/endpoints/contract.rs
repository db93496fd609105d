use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header::USER_AGENT, request::Parts};

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

/// A wire format over the ceremony: what it serves, and what it adds to the documents.
pub(crate) trait Dialect: Sync {
    /// What it serves, by path below the issuer.
    fn endpoints(&self, context: &Arc<Context>) -> Vec<(&'static str, Arc<dyn Endpoint>)>;

    /// Where its humans decide, below the issuer: one more segment, the authorization request's id.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages are served there"))]
    fn approval_path(&self) -> &'static str;

    /// Whether it takes refresh tokens.
    fn takes_refresh_tokens(&self) -> bool;

    /// Where the human's browser may be sent after a decision. The page names it and allows its form to lead there.
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
    /// The approval page says what was decided.
    Page,
    /// The approval page shows the human a code, to be carried to the agent.
    Code(Secret<Finish>),
    /// The browser goes to this URL.
    Url(String),
}

/// Something that is served at a path.
pub(crate) trait Endpoint: Send + Sync {
    /// The methods that it serves, for `Allow`.
    fn methods(&self) -> &'static [Method];

    /// Whether it serves this request; if not, the answer is 405.
    fn serves(&self, request: &Parts) -> bool {
        self.methods().contains(&request.method)
    }

    /// As what its requests are counted, if they are.
    fn rate_class(&self) -> Option<RateClass> {
        None
    }

    /// What a request is answered that is one too many.
    fn too_many(&self, seconds: u64) -> Reply {
        let text = format!("you ask too often; wait {seconds} seconds");
        let mut reply = error_reply(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &text);
        retry_after(&mut reply, seconds);
        reply
    }

    /// Answers a request of one of its methods. The body has been read whole; it is empty for GET and HEAD.
    fn answer(&self, request: Request<Bytes>) -> Answering<Reply>;
}

/// As what a request is counted against the rate of its source.
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

/// What the endpoints of one service have in common.
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

    /// Who presents a code, as far as the request tells.
    pub(crate) fn redeemer<B>(&self, request: &Request<B>) -> Redeemer {
        const LONGEST: usize = 64;
        let program = request.headers().get(USER_AGENT).and_then(|name| name.to_str().ok());
        // Unlike what a client calls itself, this is often long and never meant to be read: its beginning is enough.
        let program = program.and_then(|name| HumanText::new(name.get(..LONGEST).unwrap_or(name).trim()).ok());
        Redeemer::new(self.client_address(request), program)
    }

    /// Whether a browser sent this for a page of another origin, or can't say for whose (Fetch Metadata, RFC 6454).
    pub(crate) fn is_cross_site(&self, headers: &HeaderMap) -> bool {
        let context = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let origin = headers.get("origin").map(HeaderValue::as_bytes);
        // Our own pages forbid a referrer, and so their forms come with the origin `null` (Fetch standard, "append a
        // request `Origin` header"). Only the browser itself can say `same-origin` beside it.
        let own_page = context == Some(b"same-origin") && origin == Some(b"null");
        let foreign_site = context.is_some_and(|context| context != b"same-origin" && context != b"none");
        let foreign_origin = origin.is_some_and(|origin| origin != self.config.origin().as_bytes());
        foreign_site || (foreign_origin && !own_page)
    }

    pub(crate) fn note_failure(&self, error: &(dyn std::error::Error + 'static)) {
        self.audit.record(self.ceremony.now(), &Event::unavailable(error));
    }
}
