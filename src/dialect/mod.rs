//! The dialects: wire formats over the ceremony.
//!
//! A dialect only translates: it has no state, rules or store of its own. It contributes its part of the authorization
//! server metadata and its chapter of auth.md. No other module depends on a specific dialect.

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ORIGIN, WWW_AUTHENTICATE},
};

use crate::{
    Config,
    ceremony::CeremonyError,
    challenge::Challenge,
    config,
    endpoints::{Context, Dialect},
    http::{Reply, jitter},
    types::text::HumanText,
};

mod agent_auth;
mod agent_sessions;
mod auth_md;
mod fields;
mod oauth;

use fields::{Fields, Refused, invalid};

/// The enabled dialects.
pub(crate) fn dialects(config: &Config) -> Vec<&'static dyn Dialect> {
    let dialect = |name: &config::Dialect| -> &'static dyn Dialect {
        match name {
            config::Dialect::AgentAuth => &agent_auth::AgentAuthDialect,
            config::Dialect::AgentSessions => &agent_sessions::AgentSessionsDialect,
            config::Dialect::OAuth => &oauth::OAuthDialect,
            config::Dialect::AuthMd => &auth_md::AuthMdDialect,
        }
    };
    config.dialects().iter().map(dialect).collect()
}

/// The name of a client that sent none.
const UNNAMED: &str = "Unnamed agent";
/// `Retry-After` in seconds if too many authorization requests are pending.
const BUSY: u64 = 30;

/// What the client calls itself.
fn client_name(fields: &Fields) -> Result<HumanText, Refused> {
    match fields.human_text("client_name")? {
        Some(name) => Ok(name),
        None => HumanText::new(UNNAMED).map_err(|_| invalid("`client_name` is required: send a string")),
    }
}

/// The label of the session: the client's own, or that of a web page.
fn label(context: &Context, headers: &HeaderMap, fields: &Fields) -> Result<Option<HumanText>, Refused> {
    let own = fields.human_text("label")?;
    Ok(page_label(context, headers).or(own))
}

/// The label of a session that a web page of another site asks for: its origin, which the browser names. A visitor of
/// such a page has the address that the page's requests have, so only the origin tells them who asks.
fn page_label(context: &Context, headers: &HeaderMap) -> Option<HumanText> {
    if !context.is_cross_site(headers) {
        return None;
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).filter(|origin| *origin != "null");
    let named = origin.and_then(|origin| HumanText::new(&format!("Web page of {origin}")).ok());
    named.or_else(|| HumanText::new("Web page of another site").ok())
}

/// Refuses requests from web pages of other sites, where a cookie would authenticate them.
fn refuse_pages(context: &Context, headers: &HeaderMap) -> Result<(), Refused> {
    if !context.is_cross_site(headers) {
        return Ok(());
    }
    let text = "pages of other sites need an access token here; a cookie is not enough";
    Err(Refused::Request(StatusCode::FORBIDDEN, "invalid_request", text.into()))
}

/// `Retry-After` in seconds, with jitter, if too many authorization requests are pending.
fn busy(context: &Context) -> u64 {
    BUSY + jitter(context.ceremony.now())
}

/// Adds the challenge that a 401 requires (RFC 9110 section 15.5.2). It names the documents for a new authorization
/// request.
fn challenged(context: &Context, mut reply: Reply) -> Reply {
    let challenge = Challenge::bearer().with("resource_metadata", &context.config.protected_resource_metadata_url());
    let challenge = challenge.to_header().unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    reply
}

/// The text of a ceremony refusal that concerns a field of the request, with the field's name in the dialect. `scopes`
/// is the dialect's name for the requested scopes.
fn field_text(error: &CeremonyError, scopes: &str) -> String {
    match error {
        CeremonyError::Callback(problem) => format!("`callback_url` {problem}"),
        CeremonyError::InvalidChallenge => {
            "`code_challenge` must be the SHA-256 of the code verifier, as 43 characters of \
            base64url or 64 lower-case hexadecimal digits"
                .into()
        }
        CeremonyError::StateTooLong { longest } => format!("`state` must be {longest} bytes at most"),
        CeremonyError::UnexpectedVerifier => {
            "`code_verifier` is not for this login: it was started without a code challenge".into()
        }
        CeremonyError::UnknownMethod { offered } => format!("`claim_method` must be one of: {offered}"),
        CeremonyError::NoScope { offered } => format!("`{scopes}` is required: name one or more of: {offered}"),
        CeremonyError::UnknownScope { offered } => {
            format!("`{scopes}` has a scope that is not offered; offered are: {offered}")
        }
        CeremonyError::InvalidTarget => {
            "`resource` must be the identifier of a resource of this service, for a refresh the session's own one, or be \
            left out"
                .into()
        }
        CeremonyError::LoginOff(login) => {
            format!("this service has switched off {login}; `mode` must be one that its documents name")
        }
        CeremonyError::PollTokenRequired => {
            "`poll_token` is required: this service does not take a finish code alone".into()
        }
        other => other.to_string(),
    }
}
