use std::{net::IpAddr, pin::Pin, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, header::USER_AGENT};

use super::Endpoint;
use crate::{
    Config,
    accounts::DynAccounts,
    audit::{AuditSink, Event},
    ceremony::{self, Ceremony, CeremonyError, CodeGrant, Decided, HandedOut, KnownFlow, ShortCode},
    client_metadata::ClientMetadata,
    documents::Metadata,
    http::ClientAddresses,
    types::{
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
    fn approval_path(&self) -> &'static str;

    /// Whether its endpoints start and finish this flow. Only its own approval page shows such a request.
    fn owns(&self, flow: &KnownFlow) -> bool;

    /// Whether it accepts refresh tokens.
    fn takes_refresh_tokens(&self) -> bool;

    /// The path, below the issuer, to which a client sends its human's browser with a request for access in the query;
    /// `None`, the default, if its requests come from the client itself.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages are served there"))]
    fn arrival_path(&self) -> Option<&'static str> {
        None
    }

    /// Reads the request for access in the query of a browser at the arrival path. `browser` is its address.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages ask"))]
    fn arrive<'a>(&'a self, context: &'a Context, query: &'a str, browser: Option<IpAddr>) -> Arriving<'a> {
        let _ = (context, query, browser);
        Box::pin(std::future::ready(Err(Turned::Page("this service takes no request for access here".into()))))
    }

    /// The URL of the answer to the client when the ceremony refuses its request; `None` if the human is told.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages ask"))]
    fn turn_away(&self, context: &Context, grant: &CodeGrant, error: &CeremonyError) -> Option<String> {
        let _ = (context, grant, error);
        None
    }

    /// Where a human types the code that their device shows, if the dialect has such codes.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages are served there"))]
    fn code_entry(&self, config: &Config) -> Option<CodeEntry> {
        let _ = config;
        None
    }

    /// Where the human's browser may be sent after a decision. The page shows it and allows its form to redirect there.
    #[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages hand over"))]
    fn destination<'f>(&self, flow: &'f KnownFlow) -> Option<Destination<'f>> {
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
    fn describe(&self, context: &Context, metadata: &mut Metadata);

    /// Its chapter of auth.md.
    fn chapter(&self, context: &Context) -> Result<String, minijinja::Error>;
}

/// Where a human types the code that their device shows.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages are served there"))]
pub(crate) struct CodeEntry {
    /// The path, below the issuer.
    pub(crate) path: &'static str,
    /// The parameter that holds the code in a link.
    pub(crate) parameter: &'static str,
}

/// A request for access that a human's browser brings.
#[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages receive it"))]
pub(crate) struct Arrival {
    pub(crate) request: ceremony::Request,
    pub(crate) grant: CodeGrant,
}

/// Why a browser's request for access is not shown to its human.
#[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages receive it"))]
pub(crate) enum Turned {
    /// The client or its redirect URI is not proven. The human reads the text; nothing is sent anywhere.
    Page(String),
    /// The service can't tell now. The human reads the text, and tries again later.
    Later(String),
    /// The error is taken to the client, at this URL.
    Url(String),
    /// The service itself failed.
    Failed(CeremonyError),
}

pub(crate) type Arriving<'a> = Pin<Box<dyn Future<Output = Result<Arrival, Turned>> + Send + 'a>>;

/// Where a browser may be sent after a decision.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages hand over"))]
pub(crate) struct Destination<'a> {
    /// The URL as a content security policy names it.
    pub(crate) form_action: &'a str,
    /// The host; `None` for the scheme of an app.
    pub(crate) host: Option<&'a str>,
    /// Whether a program on the computer of the browser receives it.
    pub(crate) is_loopback: bool,
}

/// What happens in the human's browser after a decision.
#[cfg_attr(not(feature = "pages"), expect(dead_code, reason = "only pages hand over"))]
pub(crate) enum Handover {
    /// The approval page shows the decision.
    Page,
    /// The approval page shows the human a code to pass to the agent.
    Code(Secret<Finish>),
    /// The approval page shows the human six digits to tell the agent.
    ReadBack(ShortCode),
    /// The browser is redirected to this URL.
    Url(String),
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
    /// The clients whose ids are URLs of metadata documents, if the service takes such ids.
    pub(crate) client_metadata: Option<ClientMetadata>,
    /// The verifier of identity assertions, if the service trusts issuers.
    #[cfg(feature = "id_jag")]
    pub(crate) id_jag: Option<crate::id_jag::Verifier>,
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
