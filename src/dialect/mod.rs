//! The dialects: wire formats that speak to the ceremony.
//!
//! A dialect translates, and does nothing else: it has no state, no rule and no store of its own. It contributes its part
//! of the authorization server metadata and its chapter of auth.md; nothing else knows that it exists.

use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};

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
mod fields;

use fields::{Fields, Refused, invalid};

/// The wire formats that are on.
pub(crate) fn dialects(config: &Config) -> Vec<&'static dyn Dialect> {
    let dialect = |name: &config::Dialect| -> &'static dyn Dialect {
        match name {
            config::Dialect::AgentAuth => &agent_auth::AgentAuthDialect,
            config::Dialect::AgentSessions => &agent_sessions::AgentSessionsDialect,
        }
    };
    config.dialects().iter().map(dialect).collect()
}

/// The name of a client that gave none.
const UNNAMED: &str = "Unnamed agent";
/// How long an agent waits that was refused because too many wait.
const BUSY: u64 = 30;

/// What the client calls itself.
fn client_name(fields: &Fields) -> Result<HumanText, Refused> {
    match fields.human_text("client_name")? {
        Some(name) => Ok(name),
        None => HumanText::new(UNNAMED).map_err(|_| invalid("`client_name` is required: send a string")),
    }
}

/// The endpoints are for programs, not for web pages of other sites.
fn refuse_pages(context: &Context, headers: &HeaderMap) -> Result<(), Refused> {
    if !context.is_cross_site(headers) {
        return Ok(());
    }
    let text = "this is not for pages of other sites; call it from a program";
    Err(Refused::Wire(StatusCode::FORBIDDEN, "invalid_request", text.into()))
}

/// How long to wait where too many wait.
fn busy(context: &Context) -> u64 {
    BUSY + jitter(context.ceremony.now())
}

/// RFC 9110 section 15.5.2: a 401 carries a challenge. This one leads to where one begins anew.
fn challenged(context: &Context, mut reply: Reply) -> Reply {
    let challenge = Challenge::bearer().with("resource_metadata", &context.config.protected_resource_metadata_url());
    let challenge = challenge.to_header().unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    reply
}

/// What a refusal of the ceremony says about a field of the request, by the name that it has on the wire. `scopes` is what
/// the dialect calls the scopes that are asked for.
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
            "`resource` must be the identifier of this service's resource, or be left out".into()
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
