use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use minijinja::context;
use serde_json::json;

use super::{
    auth_md, busy, challenged, client_name, field_text,
    fields::{Fields, Refused, invalid, media_type, unsupported},
    label,
};
use crate::{
    ceremony::{self, CeremonyError, Issued, KnownFlow, Requested, Status},
    config::APPROVAL_PATH,
    documents::{self, Metadata},
    endpoints::{Context, Dialect, Endpoint, RateClass},
    http::{Answering, Credentials, Reply, error_reply, jitter, json_reply, no_store, retry_after, unavailable},
    types::authorization::State,
};

const REGISTER: &str = "/agent/auth";
const CLAIM: &str = "/agent/auth/claim";
const COMPLETE: &str = "/agent/auth/claim/complete";
const REVOKE: &str = "/agent/auth/revoke";

/// The only type of authorization request that this dialect accepts.
const USER_CLAIMED: &str = "user_claimed";
/// The only type of credential that this dialect issues.
const ACCESS_TOKEN: &str = "access_token";
/// `/agent/auth…`: request, poll, redeem, revoke.
pub(super) struct AgentAuthDialect;

impl Dialect for AgentAuthDialect {
    fn endpoints(&self, context: &Arc<Context>) -> Vec<(&'static str, Arc<dyn Endpoint>)> {
        let verbs =
            [(REGISTER, Verb::Register), (CLAIM, Verb::Claim), (COMPLETE, Verb::Complete), (REVOKE, Verb::Revoke)];
        let endpoint =
            |(path, verb)| -> (_, Arc<dyn Endpoint>) { (path, Arc::new(Post { verb, context: Arc::clone(context) })) };
        verbs.into_iter().map(endpoint).collect()
    }

    fn approval_path(&self) -> &'static str {
        APPROVAL_PATH
    }

    fn owns(&self, flow: &KnownFlow) -> bool {
        matches!(flow, KnownFlow::Claim)
    }

    fn takes_refresh_tokens(&self) -> bool {
        false
    }

    fn describe(&self, context: &Context, metadata: &mut Metadata) {
        let config = &context.config;
        let Metadata { top, agent_auth } = metadata;
        top.insert("revocation_endpoint".into(), json!(config.url(REVOKE)));
        top.insert("revocation_endpoint_auth_methods_supported".into(), json!(["none"]));
        agent_auth.insert("register_uri".into(), json!(config.url(REGISTER)));
        agent_auth.insert("claim_uri".into(), json!(config.url(CLAIM)));
        agent_auth.insert("claim_complete_uri".into(), json!(config.url(COMPLETE)));
        agent_auth.insert(USER_CLAIMED.into(), json!({ "credential_types_supported": [ACCESS_TOKEN] }));
        metadata.add_identity_type(USER_CLAIMED);
    }

    fn chapter(&self, context: &Context) -> Result<String, minijinja::Error> {
        let config = &context.config;
        let lifetimes = config.lifetimes();
        let methods: Vec<String> = config.claim_methods().iter().map(ToString::to_string).collect();
        let entries = config.catalogue().entries();
        let example = entries.iter().find(|entry| entry.default).or_else(|| entries.first());
        documents::auth_md::fill(
            include_str!("agent_auth.md.jinja"),
            context! {
                resource => config.resource().to_owned(),
                several => config.resources().len() > 1,
                challenge_scope => config.challenge_scope(),
                protected_resource_metadata => config.protected_resource_metadata_url(),
                register => config.url(REGISTER),
                claim => config.url(CLAIM),
                complete => config.url(COMPLETE),
                revoke => config.url(REVOKE),
                approval => config.url(APPROVAL_PATH),
                issuer => config.issuer().to_owned(),
                methods,
                example_scope => example.map(|entry| entry.scope.to_string()),
                access_prefix => config.prefixes().access.as_str().to_owned(),
                refresh_prefix => config.prefixes().refresh.as_str().to_owned(),
                claim_prefix => config.prefixes().claim.as_str().to_owned(),
                refreshes => context.ceremony.refreshes(),
                registration_seconds => lifetimes.authorization_request.as_secs(),
                access_seconds => lifetimes.access.as_secs(),
                interval => config.limits().poll_interval.as_secs(),
            },
        )
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Register,
    Claim,
    Complete,
    Revoke,
}

struct Post {
    verb: Verb,
    context: Arc<Context>,
}

impl Endpoint for Post {
    fn methods(&self) -> &'static [Method] {
        static METHODS: [Method; 1] = [Method::POST];
        &METHODS
    }

    fn is_open(&self) -> bool {
        true
    }

    fn rate_class(&self) -> Option<RateClass> {
        Some(match self.verb {
            Verb::Register => RateClass::AuthorizationRequest,
            Verb::Claim => RateClass::Poll,
            Verb::Complete => RateClass::Redemption,
            Verb::Revoke => RateClass::Revocation,
        })
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let (verb, context) = (self.verb, Arc::clone(&self.context));
        Box::pin(
            async move { answer(verb, &context, &request).await.unwrap_or_else(|refused| refuse(&context, refused)) },
        )
    }
}

async fn answer(verb: Verb, context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    match verb {
        Verb::Register => register(context, request).await,
        Verb::Claim => claim(context, request).await,
        Verb::Complete => complete(context, request).await,
        Verb::Revoke => revoke(context, request).await,
    }
}

async fn register(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    if fields.text("type")? == Some("anonymous") && auth_md::takes_unclaimed(&context.config) {
        return auth_md::register_with_token(context, request, &fields).await;
    }
    check_type(&fields)?;
    if fields.text("requested_credential_type")?.is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(invalid("`requested_credential_type` must be \"access_token\""));
    }
    let asked = ceremony::Request::by(client_name(&fields)?)
        .label(label(context, request.headers(), &fields)?)
        .reason(fields.human_text("reason")?)
        .method(fields.human_text("claim_method")?)
        .scopes(fields.texts("requested_scopes")?)
        .resource(fields.text("resource")?.map(str::to_owned))
        .address(context.client_address(request));
    let requested = context.ceremony.request(asked).await?;
    let check_phrase = requested.check_phrase();
    let Requested { authorization, claim_token, expires_in, interval } = requested;
    let body = json!({
        "registration_id": authorization.id.as_str(),
        "registration_type": USER_CLAIMED,
        "status": "pending",
        "claim_url": context.config.approval_url(&authorization.id),
        "check_phrase": check_phrase.as_str(),
        "claim_token": claim_token.expose(),
        "claim_token_expires": authorization.expires_at.to_string(),
        "expires_in": expires_in.as_secs(),
        "interval": interval.as_secs(),
        "scopes": authorization.requested.names(),
    });
    Ok(json_reply(StatusCode::CREATED, &body))
}

/// Refuses identity types of auth.md v0.1 that this service does not support.
fn check_type(fields: &Fields) -> Result<(), Refused> {
    let text = "`type` must be \"user_claimed\": this service takes no other";
    let off = |code| Err(Refused::Request(StatusCode::BAD_REQUEST, code, text.into()));
    match fields.required("type")? {
        USER_CLAIMED => Ok(()),
        "anonymous" => off("anonymous_not_enabled"),
        "identity_assertion" if fields.text("assertion_type")? == Some("verified_email") => {
            off("verified_email_not_enabled")
        }
        "identity_assertion" => off("issuer_not_enabled"),
        _ => Err(invalid(text)),
    }
}

async fn claim(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    let status = context.ceremony.status(fields.required("claim_token")?).await;
    let Status { authorization, state, expires_in, interval } = match status {
        Err(CeremonyError::UnknownClaim) if auth_md::is_on(&context.config) => {
            return auth_md::claim(context, request).await;
        }
        status => status?,
    };
    let body = json!({
        "registration_id": authorization.as_str(),
        "status": wire_name(state),
        "expires_in": expires_in.as_secs(),
        "interval": interval.as_secs(),
    });
    Ok(json_reply(StatusCode::OK, &body))
}

async fn complete(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    let issued = context.ceremony.redeem(fields.required("claim_token")?, &context.redeemer(request)).await;
    let Issued { record, access_token, refresh_token } = match issued {
        Err(CeremonyError::UnknownClaim) if auth_md::is_on(&context.config) => {
            // An agent of auth.md 0.1 has an identity, and sends a code. Of another one, the claim is unknown.
            if !context.ceremony.is_identity(fields.required("claim_token")?).await? {
                return Err(CeremonyError::UnknownClaim.into());
            }
            return auth_md::complete_with_token(context, request).await;
        }
        issued => issued?,
    };
    let session = &record.session;
    let body = json!({
        "registration_id": record.authorization.as_str(),
        "status": wire_name(State::Redeemed),
        "credential_type": ACCESS_TOKEN,
        "credential": access_token.expose(),
        "credential_expires": session.expires_at.to_string(),
        "access_token": access_token.expose(),
        "token_type": "Bearer",
        "expires_in": session.expires_at.since(record.created_at).as_secs(),
        "refresh_token": refresh_token.expose(),
        "refresh_expires": record.refresh_expires_at.to_string(),
        "scopes": session.scopes.names(),
        "session_id": session.id.as_str(),
        "account": { "id": session.account.id.as_str(), "email": session.account.label },
    });
    Ok(json_reply(StatusCode::OK, &body))
}

/// Revokes a token (RFC 7009). Once the store succeeds, the response is 200 for any token.
pub(super) async fn revoke(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let token = revoked_token(request)?;
    context.ceremony.revoke_token(&token, None).await?;
    let mut reply = Response::new(Bytes::new());
    no_store(&mut reply);
    Ok(reply)
}

/// The token to revoke: from the body, as JSON or as a form, or without a body the bearer token itself.
pub(super) fn revoked_token(request: &Request<Bytes>) -> Result<String, Refused> {
    const EITHER: &str = "application/json or application/x-www-form-urlencoded";
    if request.body().is_empty() {
        return match Credentials::of(request.headers()) {
            Credentials::Bearer(token) => Ok(String::from_utf8_lossy(token).into_owned()),
            Credentials::None => {
                Err(invalid("`token` is required: send it in the body, or as bearer token without a body"))
            }
            Credentials::Ambiguous => Err(invalid("send one `Authorization` header")),
        };
    }
    match media_type(request.headers()).as_deref() {
        Some("application/json") => Ok(Fields::read(request.headers(), request.body())?.required("token")?.to_owned()),
        Some("application/x-www-form-urlencoded") => form_token(request.body()),
        _ => Err(unsupported(EITHER)),
    }
}

fn form_token(body: &Bytes) -> Result<String, Refused> {
    let mut tokens =
        form_urlencoded::parse(body).filter(|(name, _)| name == "token").map(|(_, value)| value.into_owned());
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token),
        (None, _) => Err(invalid("`token` is required: send a string")),
        (Some(_), Some(_)) => Err(invalid("`token` is there twice; send it once")),
    }
}

const fn wire_name(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Approved => "approved",
        State::Denied => "denied",
        State::Redeemed => "claimed",
        // Only logins that are redeemed by code can be locked.
        State::Revoked | State::Locked => "revoked",
        State::Expired => "expired",
    }
}

fn refuse(context: &Context, refused: Refused) -> Reply {
    match refused {
        Refused::Request(status, code, text) => error_reply(status, code, &text),
        Refused::SignedOut => refused_by_ceremony(context, &CeremonyError::UnknownClaim),
        Refused::Ceremony(error) => refused_by_ceremony(context, &error),
    }
}

fn refused_by_ceremony(context: &Context, error: &CeremonyError) -> Reply {
    if error.is_unavailable() {
        context.note_failure(error);
        return unavailable(jitter(context.ceremony.now()));
    }
    let (status, code) = match error {
        CeremonyError::UnknownScope { .. } => (StatusCode::BAD_REQUEST, "invalid_scope"),
        CeremonyError::InvalidTarget => (StatusCode::BAD_REQUEST, "invalid_target"),
        CeremonyError::TooManyFromSource => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
        CeremonyError::TooManyPending => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        CeremonyError::UnknownClaim | CeremonyError::UnknownAuthorization => {
            (StatusCode::UNAUTHORIZED, "invalid_claim_token")
        }
        CeremonyError::Pending { .. } => (StatusCode::BAD_REQUEST, "authorization_pending"),
        CeremonyError::SlowDown { .. } => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
        CeremonyError::Denied | CeremonyError::Revoked => (StatusCode::FORBIDDEN, "access_denied"),
        CeremonyError::Expired => (StatusCode::GONE, "claim_expired"),
        CeremonyError::AlreadyClaimed => (StatusCode::CONFLICT, "previously_claimed"),
        CeremonyError::WrongCode => (StatusCode::UNAUTHORIZED, "otp_invalid"),
        CeremonyError::Locked => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
        CeremonyError::NoProvisionalAccount => (StatusCode::BAD_REQUEST, "anonymous_not_enabled"),
        _ => (StatusCode::BAD_REQUEST, "invalid_request"),
    };
    let text = field_text(error, "requested_scopes");
    match error {
        CeremonyError::Pending { interval } | CeremonyError::SlowDown { interval } => {
            let seconds = interval.as_secs();
            let body = json!({ "error": code, "error_description": text, "message": text, "interval": seconds });
            let mut reply = json_reply(status, &body);
            retry_after(&mut reply, seconds);
            reply
        }
        CeremonyError::TooManyFromSource | CeremonyError::TooManyPending => {
            let mut reply = error_reply(status, code, &text);
            retry_after(&mut reply, busy(context));
            reply
        }
        CeremonyError::UnknownClaim | CeremonyError::UnknownAuthorization | CeremonyError::WrongCode => {
            challenged(context, error_reply(status, code, &text))
        }
        _ => error_reply(status, code, &text),
    }
}
