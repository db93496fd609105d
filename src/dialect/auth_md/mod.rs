//! The open auth.md protocol: its flat wire (up to version 0.6) and its nested wire (from version 0.7) in one answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use minijinja::context;
use serde_json::{Value, json};

use super::{
    busy, challenged, client_name, field_text,
    fields::{Fields, Refused, invalid},
    label, oauth,
};
use crate::{
    Config,
    ceremony::{self, CeremonyError, Decided, HandedOut, Identified, IdentityKind, IdentityRequested, KnownFlow},
    config,
    documents::{Metadata, auth_md},
    endpoints::{Context, Dialect, Endpoint, Handover, RateClass},
    http::{Answering, Reply, error_reply, jitter, json_reply, retry_after, unavailable},
    types::{scope::ScopeSet, secret::Secret},
};

#[cfg(feature = "id_jag")]
mod vouching;
/// Without the feature, no other issuer vouches.
#[cfg(not(feature = "id_jag"))]
mod vouching {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::Request;

    use super::{Context, Endpoint, Fields, Metadata, Refused, Reply, off};
    use crate::ceremony::{CeremonyError, Issued};

    pub(super) fn endpoints(_: &Arc<Context>) -> Option<(&'static str, Arc<dyn Endpoint>)> {
        None
    }

    pub(super) fn describe(_: &Context, _: &mut Metadata) {}

    pub(super) const fn is_on(_: &Context) -> bool {
        false
    }

    pub(super) async fn identity(context: &Context, _: &Request<Bytes>, _: &Fields) -> Result<Reply, Refused> {
        std::future::ready(Err(off("invalid_issuer", context))).await
    }

    pub(in crate::dialect) async fn token(
        _: &Context,
        _: &Request<Bytes>,
        _: &str,
        _: Vec<String>,
        _: Option<&str>,
    ) -> Result<Issued, Refused> {
        std::future::ready(Err(CeremonyError::InvalidAssertion.into())).await
    }
}

pub(super) use vouching::token as exchange_foreign;

const IDENTITY: &str = "/agent/identity";
const CLAIM: &str = "/agent/identity/claim";
const COMPLETE: &str = "/agent/identity/claim/complete";
const APPROVAL: &str = "/agent/identity/approve/";

/// The grant by which an agent polls for its human's decision (auth.md 0.4 to 0.6).
pub(super) const CLAIM_GRANT: &str = "urn:workos:agent-auth:grant-type:claim";
/// The grant by which an agent exchanges its assertion (RFC 7523 section 2.1).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The only type of credential that this dialect issues.
const ACCESS_TOKEN: &str = "access_token";

/// Whether the dialect is on.
pub(super) fn is_on(config: &Config) -> bool {
    config.dialects().contains(&config::Dialect::AuthMd)
}

/// Whether the dialect is on and lets agents act that nobody has claimed.
pub(super) fn takes_unclaimed(config: &Config) -> bool {
    is_on(config) && config.auth_md().anonymous
}

/// `/agent/identity…`: register, claim, complete, refresh. Its grants are served by the token endpoint.
pub(super) struct AuthMdDialect;

impl Dialect for AuthMdDialect {
    fn endpoints(&self, context: &Arc<Context>) -> Vec<(&'static str, Arc<dyn Endpoint>)> {
        let verbs = [(IDENTITY, Verb::Identity), (CLAIM, Verb::Claim), (COMPLETE, Verb::Complete)];
        let endpoint =
            |(path, verb)| -> (_, Arc<dyn Endpoint>) { (path, Arc::new(Post { verb, context: Arc::clone(context) })) };
        let token = if oauth::is_on(&context.config) { Vec::new() } else { oauth::token_endpoints(context) };
        verbs.into_iter().map(endpoint).chain(token).chain(vouching::endpoints(context)).collect()
    }

    fn approval_path(&self) -> &'static str {
        APPROVAL
    }

    fn owns(&self, flow: &KnownFlow) -> bool {
        matches!(flow, KnownFlow::Identity(_))
    }

    fn takes_refresh_tokens(&self) -> bool {
        false
    }

    fn hand_over(&self, _: &Context, decided: Decided) -> Handover {
        match decided.code {
            Some(HandedOut::ReadBack(code)) => Handover::ReadBack(code),
            _ => Handover::Page,
        }
    }

    fn describe(&self, context: &Context, metadata: &mut Metadata) {
        let config = &context.config;
        let settings = config.auth_md();
        if !oauth::is_on(config) {
            oauth::describe_token_endpoints(config, metadata);
        }
        let block = &mut metadata.agent_auth;
        block.insert("identity_endpoint".into(), json!(config.url(IDENTITY)));
        block.insert("claim_endpoint".into(), json!(config.url(CLAIM)));
        let types = [(settings.anonymous, "anonymous"), (settings.service_auth, "service_auth")];
        for (_, name) in types.into_iter().filter(|(is_on, _)| *is_on) {
            metadata.add_identity_type(name);
        }
        vouching::describe(context, metadata);
        if settings.anonymous {
            metadata.agent_auth.insert("anonymous".into(), json!({ "credential_types_supported": [ACCESS_TOKEN] }));
        }
    }

    fn chapter(&self, context: &Context) -> Result<String, minijinja::Error> {
        let config = &context.config;
        let (settings, prefixes) = (config.auth_md(), config.prefixes());
        let pre_claim: Vec<String> = settings.pre_claim().iter().map(ToString::to_string).collect();
        auth_md::fill(
            include_str!("../auth_md.md.jinja"),
            context! {
                identity => config.url(IDENTITY),
                claim => config.url(CLAIM),
                complete => config.url(COMPLETE),
                token => config.url(oauth::TOKEN),
                revoke => config.url(oauth::REVOKE),
                approval => config.url(APPROVAL),
                resource => config.resource().to_owned(),
                claim_grant => CLAIM_GRANT,
                jwt_bearer => JWT_BEARER,
                anonymous => settings.anonymous,
                service_auth => settings.service_auth,
                vouches => vouching::is_on(context),
                pre_claim,
                typed => settings.codes.are_typed(),
                read_back => settings.codes.are_read_back(),
                access_prefix => prefixes.access.as_str().to_owned(),
                assertion_prefix => prefixes.assertion.as_str().to_owned(),
                claim_prefix => prefixes.claim.as_str().to_owned(),
                refresh_prefix => prefixes.refresh.as_str().to_owned(),
                interval => config.limits().poll_interval.as_secs(),
                access_seconds => config.lifetimes().access.as_secs(),
            },
        )
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Verb {
    Identity,
    Claim,
    Complete,
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
            Verb::Identity | Verb::Claim => RateClass::AuthorizationRequest,
            Verb::Complete => RateClass::Redemption,
        })
    }

    fn too_many(&self, seconds: u64, _: &HeaderMap) -> Reply {
        let text = format!("you ask too often; wait {seconds} seconds");
        let mut reply = error_reply(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", &text);
        retry_after(&mut reply, seconds);
        reply
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let (verb, context) = (self.verb, Arc::clone(&self.context));
        Box::pin(async move {
            let answered = match verb {
                Verb::Identity => identity(&context, &request).await,
                Verb::Claim => claim(&context, &request).await,
                Verb::Complete => complete(&context, &request).await,
            };
            answered.unwrap_or_else(|refused| refuse(&context, verb, refused))
        })
    }
}

/// Registers an agent, or refreshes its identity.
async fn identity(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    let settings = context.config.auth_md();
    match fields.required("type")? {
        "anonymous" if settings.anonymous => {
            let registered = context.ceremony.register_unclaimed(asked(context, request, &fields)?).await?;
            Ok(json_reply(StatusCode::OK, &registered_body(context, &registered)))
        }
        "service_auth" if settings.service_auth => ask(context, request, &fields).await,
        // The name of `service_auth` in auth.md 0.4 and 0.5.
        "identity_assertion" if fields.text("assertion_type")? == Some("verified_email") && settings.service_auth => {
            ask(context, request, &fields).await
        }
        "refresh" => {
            let identified = context.ceremony.refresh_identity(fields.required("refresh_token")?).await?;
            let mut body = identity_body(&identified);
            body["type"] = json!("refresh");
            Ok(json_reply(StatusCode::OK, &body))
        }
        "identity_assertion" => vouching::identity(context, request, &fields).await,
        "anonymous" => Err(off("anonymous_registration_disabled", context)),
        "service_auth" => Err(off("service_auth_registration_disabled", context)),
        _ => Err(off("invalid_request", context)),
    }
}

/// Refuses a type that is off or unknown, and names those that are on.
fn off(code: &'static str, context: &Context) -> Refused {
    let settings = context.config.auth_md();
    let on = [
        (settings.service_auth, "service_auth"),
        (settings.anonymous, "anonymous"),
        (vouching::is_on(context), "identity_assertion"),
        (true, "refresh"),
    ];
    let on: Vec<&str> = on.into_iter().filter_map(|(is_on, name)| is_on.then_some(name)).collect();
    Refused::Request(StatusCode::BAD_REQUEST, code, format!("`type` must be one of: {}", on.join(", ")))
}

async fn ask(context: &Context, request: &Request<Bytes>, fields: &Fields) -> Result<Reply, Refused> {
    let hint = login_hint(fields)?;
    let requested = context.ceremony.request_identity(asked(context, request, fields)?, hint).await?;
    Ok(json_reply(StatusCode::OK, &registered_body(context, &requested)))
}

/// Asks a human to claim an agent that has acted unclaimed so far, or shows again how the human can.
pub(super) async fn claim(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    match fields.text("type")? {
        None | Some("service_auth" | "login_hint" | "email") => {}
        Some(_) => return Err(invalid("`type` must be \"service_auth\", or be left out")),
    }
    let (token, address) = (fields.required("claim_token")?, context.client_address(request));
    let claiming = context.ceremony.claim_identity(token, login_hint(&fields)?, address).await?;
    let attempt = attempt(context, &claiming);
    let authorization = &claiming.authorization;
    let body = json!({
        "id": claiming.registration.as_str(),
        "registration_id": claiming.registration.as_str(),
        "type": IdentityKind::ServiceAuth.as_str(),
        "attempt": { "verification_uri": attempt["verification_uri"], "expires_at": authorization.expires_at.to_string() },
        "claim_attempt_id": authorization.id.as_str(),
        "status": "initiated",
        "expires_at": authorization.expires_at.to_string(),
        "check_phrase": authorization.check_phrase().as_str(),
        "claim_attempt": attempt,
    });
    Ok(json_reply(StatusCode::OK, &body))
}

/// Completes the claim by the code that the human read to the agent.
async fn complete(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let identified = completed(context, request).await?;
    let mut body = identity_body(&identified);
    body["status"] = json!("claimed");
    Ok(json_reply(StatusCode::OK, &body))
}

async fn completed(context: &Context, request: &Request<Bytes>) -> Result<Identified, Refused> {
    let fields = Fields::read(request.headers(), request.body())?;
    if fields.is_there("claim_attempt_token") && !fields.is_there("claim_token") {
        return Err(invalid("`claim_token` is required here; a human types their code into the page itself"));
    }
    let token = fields.required("claim_token")?;
    let code = match fields.text("user_code")? {
        Some(code) => code,
        // The name in auth.md 0.1 to 0.3.
        None => match fields.text("otp")? {
            Some(code) => code,
            None => fields.text("code")?.ok_or_else(|| invalid("`user_code` is required: send a string"))?,
        },
    };
    Ok(context.ceremony.complete_identity(token, code).await?)
}

/// The registration of auth.md 0.1: an unclaimed agent gets an access token at once. Agents of that version know no
/// assertion, so they register anew when the token has expired.
pub(super) async fn register_with_token(
    context: &Context,
    request: &Request<Bytes>,
    fields: &Fields,
) -> Result<Reply, Refused> {
    let registered = context.ceremony.register_unclaimed(asked(context, request, fields)?).await?;
    let mut body = registered_body(context, &registered);
    if let Some(identified) = &registered.identified {
        merge(&mut body, credential(context, request, identified).await?);
    }
    Ok(json_reply(StatusCode::OK, &body))
}

/// The completion of auth.md 0.1: it answers another access token, which has the scopes that the human granted.
pub(super) async fn complete_with_token(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let identified = completed(context, request).await?;
    let mut body = identity_body(&identified);
    body["status"] = json!("claimed");
    merge(&mut body, credential(context, request, &identified).await?);
    Ok(json_reply(StatusCode::OK, &body))
}

/// An access token as auth.md 0.1 names it.
async fn credential(context: &Context, request: &Request<Bytes>, identified: &Identified) -> Result<Value, Refused> {
    let assertion = identified.assertion.expose();
    let issued = context.ceremony.exchange_assertion(assertion, &[], None, &context.redeemer(request)).await?;
    let session = &issued.record.session;
    Ok(json!({
        "credential_type": ACCESS_TOKEN,
        "credential": issued.access_token.expose(),
        "credential_expires": session.expires_at.to_string(),
        "scopes": session.scopes.names(),
    }))
}

fn asked(context: &Context, request: &Request<Bytes>, fields: &Fields) -> Result<ceremony::Request, Refused> {
    let mut scopes = fields.texts("requested_scopes")?;
    if let Some(list) = fields.text("scope")? {
        scopes.extend(list.split_ascii_whitespace().map(str::to_owned));
    }
    Ok(ceremony::Request::by(client_name(fields)?)
        .label(label(context, request.headers(), fields)?)
        .reason(fields.human_text("reason")?)
        .scopes(scopes)
        .resource(fields.text("resource")?.map(str::to_owned))
        .address(context.client_address(request)))
}

/// Whom the agent expects to approve: `login_hint`, or `email` or `assertion` as older versions name it.
fn login_hint(fields: &Fields) -> Result<Option<String>, Refused> {
    const LONGEST: usize = 254;
    for field in ["login_hint", "email", "assertion"] {
        let Some(hint) = fields.text(field)? else { continue };
        let is_plain = |letter: char| letter.is_ascii_graphic() || letter.is_alphanumeric();
        if hint.is_empty() || hint.len() > LONGEST || !hint.chars().all(is_plain) {
            let text = format!("`{field}` must be an e-mail address or a telephone number, at most {LONGEST} bytes");
            return Err(Refused::Request(StatusCode::BAD_REQUEST, "invalid_login_hint", text));
        }
        return Ok(Some(hint.to_owned()));
    }
    Ok(None)
}

/// The answer to a registration, on both wires.
fn registered_body(context: &Context, requested: &IdentityRequested) -> Value {
    let IdentityRequested { authorization, claim_token, identified, kind, .. } = requested;
    let id = requested.registration.as_str();
    let (claim_url, ends) = (context.config.url(CLAIM), authorization.expires_at.to_string());
    let token = claim_token.as_ref().map(Secret::expose);
    let post_claim = authorization.requested.names();
    let mut body = json!({
        "id": id,
        "registration_id": id,
        "type": kind.as_str(),
        "registration_type": kind.as_str(),
        "scopes": { "post_claim": post_claim },
        "post_claim_scopes": post_claim,
        "claim_url": claim_url,
        "claim_token": token,
        "claim_token_expires": ends,
        "claim": { "token": token, "expires_at": ends, "url": claim_url },
    });
    match identified {
        Some(identified) => {
            let pre_claim = identified.authorization.granted().map(ScopeSet::names);
            body["pre_claim_scopes"] = json!(pre_claim);
            body["scopes"]["pre_claim"] = json!(pre_claim);
            merge(&mut body, secrets(identified));
        }
        None => {
            let attempt = attempt(context, requested);
            body["check_phrase"] = json!(authorization.check_phrase().as_str());
            body["claim"]["attempt"] = json!({ "verification_uri": attempt["verification_uri"], "expires_at": ends });
            merge(&mut body["claim"], attempt);
        }
    }
    body
}

/// How a human decides: the link, and the code to type if there is one.
fn attempt(context: &Context, requested: &IdentityRequested) -> Value {
    let authorization = &requested.authorization;
    let id = authorization.id.as_str();
    let mut attempt = json!({
        // Some agents pass the parameter on. The page needs only the path.
        "verification_uri": format!("{}{id}?claim_attempt_token={id}", context.config.url(APPROVAL)),
        "expires_in": authorization.expires_at.since(context.ceremony.now()).as_secs(),
        "interval": requested.interval.as_secs(),
    });
    if let Some(code) = &requested.user_code {
        attempt["user_code"] = json!(code.as_str());
    }
    attempt
}

/// The secrets of an identity, on both wires.
fn secrets(identified: &Identified) -> Value {
    let (assertion, ends) = (identified.assertion.expose(), identified.expires_at.to_string());
    let mut identity = json!({ "assertion": assertion, "expires_at": ends });
    if let Some(refresh_token) = &identified.refresh_token {
        identity["refresh_token"] = json!({ "value": refresh_token.expose(), "expires_at": ends });
    }
    json!({ "identity": identity, "identity_assertion": assertion, "assertion_expires": ends })
}

/// The answer to a completed claim and to a refresh.
fn identity_body(identified: &Identified) -> Value {
    let id = identified.registration.as_str();
    let scopes = identified.authorization.granted().map(ScopeSet::names);
    let mut body = json!({ "id": id, "registration_id": id, "scopes": scopes });
    merge(&mut body, secrets(identified));
    body
}

/// Adds to the answer of the token endpoint what the claim grant gives besides an access token.
pub(super) fn add_identity(body: &mut Value, identified: &Identified) {
    merge(body, secrets(identified));
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn refuse(context: &Context, verb: Verb, refused: Refused) -> Reply {
    let error = match refused {
        Refused::Request(status, code, text) => return error_reply(status, code, &text),
        Refused::SignedOut => CeremonyError::UnknownClaim,
        Refused::Ceremony(error) => error,
    };
    if error.is_unavailable() {
        context.note_failure(&error);
        return unavailable(jitter(context.ceremony.now()));
    }
    let is_completing = verb == Verb::Complete;
    let (status, code) = match &error {
        CeremonyError::UnknownClaim | CeremonyError::UnknownAuthorization if is_completing => {
            (StatusCode::BAD_REQUEST, "invalid_claim")
        }
        CeremonyError::UnknownClaim | CeremonyError::UnknownAuthorization => {
            (StatusCode::UNAUTHORIZED, "invalid_claim_token")
        }
        CeremonyError::Pending { .. } => (StatusCode::CONFLICT, "claim_not_confirmed"),
        CeremonyError::WrongCode => (StatusCode::UNAUTHORIZED, "invalid_user_code"),
        CeremonyError::Expired if is_completing => (StatusCode::GONE, "user_code_expired"),
        CeremonyError::Expired => (StatusCode::GONE, "claim_expired"),
        CeremonyError::AlreadyClaimed => (StatusCode::CONFLICT, "already_claimed"),
        CeremonyError::Locked => (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"),
        CeremonyError::Denied => (StatusCode::FORBIDDEN, "claim_denied"),
        CeremonyError::Revoked => (StatusCode::GONE, "claim_revoked"),
        CeremonyError::InvalidRefresh => (StatusCode::BAD_REQUEST, "invalid_refresh_token"),
        CeremonyError::NoProvisionalAccount => (StatusCode::BAD_REQUEST, "anonymous_registration_disabled"),
        CeremonyError::UnknownScope { .. } | CeremonyError::NoScope { .. } => {
            (StatusCode::BAD_REQUEST, "invalid_scope")
        }
        CeremonyError::InvalidTarget => (StatusCode::BAD_REQUEST, "invalid_target"),
        CeremonyError::TooManyFromSource => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        CeremonyError::TooManyPending => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        _ => (StatusCode::BAD_REQUEST, "invalid_request"),
    };
    let text = match &error {
        CeremonyError::WrongCode => {
            "the code is wrong; send the one that the page showed your human, or that they typed into it".into()
        }
        CeremonyError::Pending { .. } => "your human has not confirmed yet; wait until they read you a code".into(),
        CeremonyError::InvalidRefresh => "the refresh token is not valid any more; register anew".into(),
        other => field_text(other, "requested_scopes"),
    };
    let mut reply = error_reply(status, code, &text);
    if matches!(error, CeremonyError::TooManyFromSource | CeremonyError::TooManyPending) {
        retry_after(&mut reply, busy(context));
    }
    if status == StatusCode::UNAUTHORIZED { challenged(context, reply) } else { reply }
}
