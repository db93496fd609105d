use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use minijinja::context;
use serde_json::json;

use super::{auth_md, fields::Refused};
use crate::{
    Config,
    ceremony::{CeremonyError, CodeGrant, Decided, HandedOut, KnownFlow},
    config::{self, INTROSPECT},
    documents::{self, Metadata},
    endpoints::{Arriving, CodeEntry, Context, Destination, Dialect, Endpoint, Handover, RateClass},
    http::{Answering, Reply, error_reply, retry_after},
    types::authorization::State,
};

mod authorize;
mod clients;
mod device;
mod introspect;
mod parameters;
mod register;
mod revoke;
mod token;

const AUTHORIZE: &str = "/oauth2/authorize";
const APPROVAL: &str = "/oauth2/authorize/";
pub(super) const TOKEN: &str = "/oauth2/token";
const REGISTER: &str = "/oauth2/register";
pub(super) const REVOKE: &str = "/oauth2/revoke";

const DEVICE_AUTHORIZATION: &str = "/oauth2/device_authorization";
const DEVICE: &str = "/oauth2/device";

/// Whether the dialect is on.
pub(super) fn is_on(config: &Config) -> bool {
    config.dialects().contains(&config::Dialect::OAuth)
}

/// The grant types that are on.
fn grant_types(config: &Config) -> Vec<&'static str> {
    let oauth = is_on(config).then_some([token::AUTHORIZATION_CODE, token::REFRESH_TOKEN]);
    let device = (is_on(config) && config.oauth().device).then_some(token::DEVICE_CODE);
    let auth_md = auth_md::is_on(config).then_some([auth_md::JWT_BEARER, auth_md::CLAIM_GRANT]);
    oauth.into_iter().flatten().chain(device).chain(auth_md.into_iter().flatten()).collect()
}

/// The token and the revocation endpoint, which the dialect `auth_md` has too.
pub(super) fn token_endpoints(context: &Arc<Context>) -> Vec<(&'static str, Arc<dyn Endpoint>)> {
    let both = [(TOKEN, Verb::Token), (REVOKE, Verb::Revoke)];
    let endpoint =
        |(path, verb)| -> (_, Arc<dyn Endpoint>) { (path, Arc::new(Call { verb, context: Arc::clone(context) })) };
    both.into_iter().map(endpoint).collect()
}

/// Their part of the authorization server metadata.
pub(super) fn describe_token_endpoints(config: &Config, metadata: &mut Metadata) {
    let top = &mut metadata.top;
    top.insert("token_endpoint".into(), json!(config.url(TOKEN)));
    top.insert("revocation_endpoint".into(), json!(config.url(REVOKE)));
    top.insert("revocation_endpoint_auth_methods_supported".into(), json!(["none"]));
    top.insert("grant_types_supported".into(), json!(grant_types(config)));
    top.insert("token_endpoint_auth_methods_supported".into(), json!(["none"]));
}

/// `/oauth2/…`: the authorization code grant of OAuth 2.1 for MCP hosts and other public clients.
pub(super) struct OAuthDialect;

impl Dialect for OAuthDialect {
    fn endpoints(&self, context: &Arc<Context>) -> Vec<(&'static str, Arc<dyn Endpoint>)> {
        let endpoint =
            |(path, verb)| -> (_, Arc<dyn Endpoint>) { (path, Arc::new(Call { verb, context: Arc::clone(context) })) };
        let oauth = context.config.oauth();
        let register = oauth.registration.then_some((REGISTER, Verb::Register));
        let device = oauth.device.then_some((DEVICE_AUTHORIZATION, Verb::Device));
        let introspect = (!oauth.resource_servers.is_empty()).then_some((INTROSPECT, Verb::Introspect));
        let others = register.into_iter().chain(device).chain(introspect).map(endpoint);
        token_endpoints(context).into_iter().chain(others).collect()
    }

    fn approval_path(&self) -> &'static str {
        APPROVAL
    }

    fn owns(&self, flow: &KnownFlow) -> bool {
        matches!(flow, KnownFlow::AuthorizationCode { .. } | KnownFlow::Device { .. })
    }

    fn takes_refresh_tokens(&self) -> bool {
        true
    }

    fn arrival_path(&self) -> Option<&'static str> {
        Some(AUTHORIZE)
    }

    fn arrive<'a>(&'a self, context: &'a Context, query: &'a str, browser: Option<IpAddr>) -> Arriving<'a> {
        Box::pin(authorize::read(context, query, browser))
    }

    fn code_entry(&self, config: &Config) -> Option<CodeEntry> {
        config.oauth().device.then_some(CodeEntry { path: DEVICE, parameter: device::USER_CODE })
    }

    fn turn_away(&self, context: &Context, grant: &CodeGrant, error: &CeremonyError) -> Option<String> {
        authorize::refused(context, grant, error)
    }

    fn destination<'f>(&self, flow: &'f KnownFlow) -> Option<Destination<'f>> {
        let KnownFlow::AuthorizationCode { redirect_uri, .. } = flow else { return None };
        Some(Destination {
            form_action: redirect_uri.form_action(),
            host: redirect_uri.host(),
            is_loopback: redirect_uri.is_loopback(),
        })
    }

    /// Takes the answer to the client's redirect URI (RFC 6749 section 4.1.2), always with `iss` (RFC 9207 section 2).
    fn hand_over(&self, context: &Context, decided: Decided) -> Handover {
        let KnownFlow::AuthorizationCode { redirect_uri, state, .. } = &decided.flow else { return Handover::Page };
        let state = state.as_deref();
        match (decided.code, decided.authorization.state_at(context.ceremony.now())) {
            (Some(HandedOut::Exchange(code)), _) => {
                Handover::Url(authorize::answer(context, redirect_uri, state, &[("code", code.expose())]))
            }
            (_, State::Denied) => {
                let error = [("error", "access_denied"), ("error_description", "the human denied the request")];
                Handover::Url(authorize::answer(context, redirect_uri, state, &error))
            }
            _ => Handover::Page,
        }
    }

    fn describe(&self, context: &Context, metadata: &mut Metadata) {
        let config = &context.config;
        describe_token_endpoints(config, metadata);
        let top = &mut metadata.top;
        top.insert("authorization_endpoint".into(), json!(config.url(AUTHORIZE)));
        if config.oauth().registration {
            top.insert("registration_endpoint".into(), json!(config.url(REGISTER)));
        }
        if config.oauth().device {
            top.insert("device_authorization_endpoint".into(), json!(config.url(DEVICE_AUTHORIZATION)));
        }
        if !config.oauth().resource_servers.is_empty() {
            top.insert("introspection_endpoint".into(), json!(config.url(INTROSPECT)));
            let methods = ["client_secret_basic", "client_secret_post"];
            top.insert("introspection_endpoint_auth_methods_supported".into(), json!(methods));
        }
        top.insert("response_types_supported".into(), json!(["code"]));
        top.insert("response_modes_supported".into(), json!(["query"]));
        top.insert("code_challenge_methods_supported".into(), json!(["S256"]));
        top.insert("authorization_response_iss_parameter_supported".into(), json!(true));
        if context.client_metadata.is_some() {
            top.insert("client_id_metadata_document_supported".into(), json!(true));
        }
    }

    fn chapter(&self, context: &Context) -> Result<String, minijinja::Error> {
        let config = &context.config;
        documents::auth_md::fill(
            include_str!("../oauth.md.jinja"),
            context! {
                authorize => config.url(AUTHORIZE),
                token => config.url(TOKEN),
                documents => context.client_metadata.is_some(),
                register => config.oauth().registration.then(|| config.url(REGISTER)),
                metadata => format!("{}{}", config.origin(), config.authorization_server_path()),
            },
        )
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Token,
    Register,
    Device,
    Introspect,
    Revoke,
}

struct Call {
    verb: Verb,
    context: Arc<Context>,
}

impl Endpoint for Call {
    fn methods(&self) -> &'static [Method] {
        static POST: [Method; 1] = [Method::POST];
        &POST
    }

    fn is_open(&self) -> bool {
        !matches!(self.verb, Verb::Introspect)
    }

    fn rate_class(&self) -> Option<RateClass> {
        Some(match self.verb {
            // Each of its callers asks for the agents of a whole service.
            Verb::Introspect => return None,
            // A stored registration takes a place; another one costs nothing.
            Verb::Register if self.context.ceremony.clients().is_some() => RateClass::AuthorizationRequest,
            Verb::Token | Verb::Register => RateClass::Poll,
            Verb::Device => RateClass::AuthorizationRequest,
            Verb::Revoke => RateClass::Revocation,
        })
    }

    fn too_many(&self, seconds: u64, _: &HeaderMap) -> Reply {
        let text = format!("you ask too often; wait {seconds} seconds");
        let mut reply = error_reply(http::StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", &text);
        retry_after(&mut reply, seconds);
        reply
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let (verb, context) = (self.verb, Arc::clone(&self.context));
        Box::pin(async move {
            let answered: Result<Reply, Refused> = match verb {
                Verb::Token => token::answer(&context, &request).await,
                Verb::Register => register::answer(&context, &request).await,
                Verb::Device => device::answer(&context, &request).await,
                Verb::Introspect => introspect::answer(&context, &request).await,
                Verb::Revoke => revoke::answer(&context, &request).await,
            };
            answered.unwrap_or_else(|refused| token::refuse(&context, request.headers(), refused))
        })
    }
}
