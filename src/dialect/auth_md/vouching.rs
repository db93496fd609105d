//! Agents for whose human another issuer vouches: identity assertions (ID-JAG), and the events that end them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::{
    Context, Endpoint, Fields, Metadata, RateClass, Refused, Reply, asked, identity_body, invalid, off, registered_body,
};
use crate::{
    ceremony::{self, CeremonyError, Issued, Vouching},
    config::Resource,
    dialect::{challenged, fields::media_type},
    http::{Answering, jitter, json_reply, no_store, unavailable},
    id_jag::{EventError, IdJagError, VerifiedIdentity, Verifier},
    types::{scope::ScopeSet, text::HumanText},
};

const EVENTS: &str = "/agent/event/notify";
/// The type of assertion (draft-ietf-oauth-identity-assertion-authz-grant).
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
/// The event that an issuer's statements about a human hold no longer.
const REVOKED: &str = "https://schemas.workos.com/events/agent/auth/identity/assertion/revoked";
const EVENT_TYPE: &str = "application/secevent+jwt";

pub(super) fn endpoints(context: &Arc<Context>) -> Option<(&'static str, Arc<dyn Endpoint>)> {
    let endpoint = || -> (_, Arc<dyn Endpoint>) { (EVENTS, Arc::new(Events(Arc::clone(context)))) };
    is_on(context).then(endpoint)
}

pub(super) fn describe(context: &Context, metadata: &mut Metadata) {
    if !is_on(context) {
        return;
    }
    metadata.add_identity_type("identity_assertion");
    let block = &mut metadata.agent_auth;
    let types = json!({ "assertion_types_supported": [ID_JAG], "credential_types_supported": [super::ACCESS_TOKEN] });
    block.insert("identity_assertion".into(), types);
    block.insert("events_endpoint".into(), json!(context.config.url(EVENTS)));
    block.insert("events_supported".into(), json!([REVOKED]));
}

pub(super) const fn is_on(context: &Context) -> bool {
    context.id_jag.is_some()
}

/// Registers an agent by an assertion: at once if its human's approval stands, else once they have confirmed it.
pub(super) async fn identity(context: &Context, request: &Request<Bytes>, fields: &Fields) -> Result<Reply, Refused> {
    let Some(verifier) = &context.id_jag else { return Err(off("invalid_issuer", context)) };
    if fields.text("assertion_type")?.is_some_and(|kind| kind != ID_JAG) {
        return Err(invalid(format!("`assertion_type` must be \"{ID_JAG}\"")));
    }
    let assertion = fields.required("assertion")?;
    // What is malformed beside the assertion uses nothing up.
    let (asked, resource) = (asked(context, request, fields)?, fields.text("resource")?);
    let verified = match verify(context, verifier, assertion).await {
        Ok(verified) => verified,
        Err(reply) => return Ok(reply),
    };
    let asked = restricted(context, asked.client_id(Some(verified.client.clone())), &verified, resource)?;
    let vouching = Vouching::new(&verified.identity, assertion).limit(verified.scopes.as_ref());
    if let Some(identified) = context.ceremony.identify_foreign(asked.clone(), &vouching).await? {
        let mut body = identity_body(&identified);
        body["type"] = json!("identity_assertion");
        body["registration_type"] = json!("identity_assertion");
        return Ok(json_reply(StatusCode::OK, &body));
    }
    let asked = match &verified.scopes {
        Some(limit) if asked.scope_names().is_empty() => asked.scopes(names(limit)),
        _ => asked,
    };
    let hint = verified.email.or(verified.phone_number);
    let requested = context.ceremony.request_foreign(asked, &verified.identity, hint).await?;
    let text = "your human has to confirm this at the service; show them the link in `claim`";
    let mut body = registered_body(context, &requested);
    add_error(&mut body, "interaction_required", text);
    Ok(agent_auth_challenge(context, json_reply(StatusCode::UNAUTHORIZED, &body), "interaction_required", None))
}

/// Exchanges an assertion for an access token (RFC 7523 section 2.1), as MCP hosts of an enterprise do.
pub(in crate::dialect) async fn token(
    context: &Context,
    request: &Request<Bytes>,
    assertion: &str,
    scopes: Vec<String>,
    resource: Option<&str>,
) -> Result<Issued, Refused> {
    let Some(verifier) = &context.id_jag else { return Err(CeremonyError::InvalidAssertion.into()) };
    let verified = match verifier.verify(assertion, context.ceremony.now()).await {
        Ok(verified) => verified,
        Err(IdJagError::Store(error)) => return Err(CeremonyError::Store(error).into()),
        Err(error @ IdJagError::Unavailable(_)) => {
            context.note_failure(&error);
            let text = "the keys of the issuer can't be fetched now; try again later";
            return Err(Refused::Request(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", text.into()));
        }
        Err(error) => return Err(Refused::Request(StatusCode::BAD_REQUEST, "invalid_grant", error.to_string())),
    };
    let name = HumanText::new(verified.client.metadata_host().unwrap_or(super::super::UNNAMED));
    let name = name.or_else(|_| HumanText::new(super::super::UNNAMED));
    let name = name.map_err(|_| CeremonyError::InvalidAssertion)?;
    let asked = ceremony::Request::by(name)
        .client_id(Some(verified.client.clone()))
        .scopes(scopes)
        .address(context.client_address(request));
    let asked = restricted(context, asked, &verified, resource)?;
    let vouching = Vouching::new(&verified.identity, assertion).limit(verified.scopes.as_ref());
    let issued = context.ceremony.issue_foreign(asked, &vouching, &context.redeemer(request)).await?;
    issued.ok_or_else(|| {
        let text =
            "this human has not let in agents of this client, or not lately: register by `identity_endpoint` first";
        Refused::Request(StatusCode::BAD_REQUEST, "invalid_grant", text.into())
    })
}

async fn verify(context: &Context, verifier: &Verifier, assertion: &str) -> Result<VerifiedIdentity, Reply> {
    let error = match verifier.verify(assertion, context.ceremony.now()).await {
        Ok(verified) => return Ok(verified),
        Err(error) => error,
    };
    let code = match &error {
        IdJagError::Malformed(_) => "invalid_request",
        IdJagError::InvalidIssuer => "invalid_issuer",
        IdJagError::InvalidSignature => "invalid_signature",
        IdJagError::Expired => "expired",
        IdJagError::Replay => "replay_detected",
        IdJagError::InvalidAudience => "invalid_audience",
        IdJagError::InvalidClient => "invalid_client_id",
        IdJagError::MissingVerifiedContact => "missing_verified_email",
        IdJagError::LoginRequired { max_age } => {
            let seconds = max_age.as_secs();
            let mut body = json!({ "max_age": seconds });
            add_error(&mut body, "login_required", &error.to_string());
            let reply = json_reply(StatusCode::UNAUTHORIZED, &body);
            return Err(agent_auth_challenge(context, reply, "login_required", Some(seconds)));
        }
        IdJagError::Unavailable(_) | IdJagError::Store(_) => {
            context.note_failure(&error);
            return Err(unavailable(jitter(context.ceremony.now())));
        }
    };
    let mut body = json!({});
    add_error(&mut body, code, &error.to_string());
    Err(json_reply(StatusCode::BAD_REQUEST, &body))
}

/// The request at the resource that the assertion is for. The agent may ask for less than that, and for nothing else.
fn restricted(
    context: &Context,
    asked: ceremony::Request,
    verified: &VerifiedIdentity,
    resource: Option<&str>,
) -> Result<ceremony::Request, Refused> {
    let config = &context.config;
    let known: Vec<&str> =
        verified.resources.iter().filter_map(|named| config.find_resource(named)).map(Resource::id).collect();
    let resource = match resource {
        Some(asked) => config.find_resource(asked).map(Resource::id),
        None => known.first().copied().or_else(|| Some(config.resource()).filter(|_| verified.resources.is_empty())),
    };
    let is_for = |id: &&str| verified.resources.is_empty() || known.contains(id);
    let resource = resource.filter(is_for).ok_or(CeremonyError::InvalidTarget)?;
    if let Some(limit) = &verified.scopes {
        let offered = names(limit);
        if asked.scope_names().iter().any(|name| !offered.contains(name)) {
            return Err(CeremonyError::UnknownScope { offered: offered.join(" ") }.into());
        }
    }
    Ok(asked.resource(Some(resource.to_owned())))
}

fn names(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

fn add_error(body: &mut Value, code: &str, text: &str) {
    body["error"] = json!(code);
    body["error_description"] = json!(text);
    body["message"] = json!(text);
}

/// Adds the challenges of a 401: `Bearer` first, because clients read the first one.
fn agent_auth_challenge(context: &Context, reply: Reply, error: &'static str, max_age: Option<u64>) -> Reply {
    let mut reply = challenged(context, reply);
    let max_age = max_age.map(|seconds| format!(", max_age=\"{seconds}\"")).unwrap_or_default();
    if let Ok(challenge) = HeaderValue::try_from(format!("AgentAuth error=\"{error}\"{max_age}")) {
        reply.headers_mut().append(WWW_AUTHENTICATE, challenge);
    }
    reply
}

/// Receives security events by push (RFC 8935).
struct Events(Arc<Context>);

impl Endpoint for Events {
    fn methods(&self) -> &'static [Method] {
        static POST: [Method; 1] = [Method::POST];
        &POST
    }

    fn rate_class(&self) -> Option<RateClass> {
        // An issuer tells of many humans at once.
        Some(RateClass::Poll)
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let context = Arc::clone(&self.0);
        Box::pin(async move { notified(&context, &request).await })
    }
}

async fn notified(context: &Context, request: &Request<Bytes>) -> Reply {
    let text = match std::str::from_utf8(request.body()) {
        Ok(text) if media_type(request.headers()).as_deref() == Some(EVENT_TYPE) => text.trim(),
        _ => return refused_event("invalid_request", &format!("send a token with `Content-Type: {EVENT_TYPE}`")),
    };
    let Some(verifier) = &context.id_jag else {
        return refused_event("invalid_issuer", "no issuer is trusted here");
    };
    let event = match verifier.verify_event(text, context.ceremony.now()).await {
        Ok(event) => event,
        Err(error) => return event_error(context, &error),
    };
    if let Some(identity) = &event.revoked {
        if let Err(error) = context.ceremony.end_foreign(identity).await {
            context.note_failure(&error);
            return unavailable(jitter(context.ceremony.now()));
        }
    }
    // Only what is done counts as delivered.
    if let Err(error) = verifier.acknowledge(&event).await {
        return event_error(context, &error);
    }
    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = StatusCode::ACCEPTED;
    no_store(&mut reply);
    reply
}

fn event_error(context: &Context, error: &EventError) -> Reply {
    let Some(code) = error.code() else {
        context.note_failure(error);
        return unavailable(jitter(context.ceremony.now()));
    };
    refused_event(code, &error.to_string())
}

/// The error response (RFC 8935 section 2.4).
fn refused_event(code: &str, text: &str) -> Reply {
    json_reply(StatusCode::BAD_REQUEST, &json!({ "err": code, "description": text }))
}
