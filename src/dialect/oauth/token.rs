use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{
    clients,
    parameters::{InvalidTarget, Parameters, Repeated},
};
use crate::{
    ceremony::{CeremonyError, CodeRedemption, Issued, Refreshing},
    config::Resource,
    dialect::{
        auth_md::{self, CLAIM_GRANT, JWT_BEARER},
        busy,
        fields::{Refused, invalid, media_type, unsupported},
    },
    endpoints::Context,
    http::{Reply, error_reply, jitter, json_reply, retry_after, unavailable},
    types::id::ClientId,
};

pub(super) const AUTHORIZATION_CODE: &str = "authorization_code";
pub(super) const REFRESH_TOKEN: &str = "refresh_token";
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The token endpoint (RFC 6749 section 3.2).
pub(super) async fn answer(context: &Arc<Context>, request: &Request<Bytes>) -> Result<Reply, Refused> {
    check_form(request)?;
    let parameters = Parameters::read(request.body());
    let on = super::grant_types(&context.config);
    let grant = parameters.one("grant_type").map_err(repeated)?.ok_or_else(|| invalid("`grant_type` is required"))?;
    let issued = match grant {
        _ if !on.contains(&grant) => {
            let text = format!("`grant_type` must be one of: {}", on.join(", "));
            return Err(Refused::Request(StatusCode::BAD_REQUEST, "unsupported_grant_type", text));
        }
        AUTHORIZATION_CODE => code(context, request, &parameters).await?,
        DEVICE_CODE => device(context, request, &parameters).await?,
        JWT_BEARER => assertion(context, request, &parameters).await?,
        CLAIM_GRANT => return claim(context, request, &parameters).await,
        _ => refresh(context, request, &parameters).await?,
    };
    if let Some(client) = &issued.record.client.id {
        clients::note_use(context, client);
    }
    let mut body = tokens(context, &issued);
    if context.ceremony.refreshes() && grant != JWT_BEARER {
        body["refresh_token"] = json!(issued.refresh_token.expose());
    }
    Ok(json_reply(StatusCode::OK, &body))
}

/// Exchanges the assertion of an auth.md identity (RFC 7523 section 2.1). It can be exchanged again.
async fn assertion(
    context: &Context,
    request: &Request<Bytes>,
    parameters: &Parameters<'_>,
) -> Result<Issued, Refused> {
    let resource = parameters.resource(&context.config)?.map(Resource::id);
    let scopes = scopes(parameters)?;
    let assertion = required(parameters, "assertion")?;
    // A JWT is of another issuer: our own assertions have no dot.
    if assertion.contains('.') {
        return auth_md::exchange_foreign(context, request, assertion, scopes, resource).await;
    }
    let redeemer = context.redeemer(request);
    Ok(context.ceremony.exchange_assertion(assertion, &scopes, resource, &redeemer).await?)
}

/// Polls with the claim token of an auth.md identity, and redeems it.
async fn claim(context: &Context, request: &Request<Bytes>, parameters: &Parameters<'_>) -> Result<Reply, Refused> {
    let resource = parameters.resource(&context.config)?.map(Resource::id);
    let (claim_token, redeemer) = (required(parameters, "claim_token")?, context.redeemer(request));
    let (issued, identified) = context.ceremony.redeem_identity(claim_token, resource, &redeemer).await?;
    let mut body = tokens(context, &issued);
    auth_md::add_identity(&mut body, &identified);
    Ok(json_reply(StatusCode::OK, &body))
}

/// The scopes of the parameter `scope`.
fn scopes(parameters: &Parameters<'_>) -> Result<Vec<String>, Refused> {
    let scopes = parameters.one("scope").map_err(repeated)?.unwrap_or_default();
    let scopes = scopes.split(' ').filter(|name| !name.is_empty() && !super::authorize::IGNORED.contains(name));
    Ok(scopes.map(str::to_owned).collect())
}

/// Redeems an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
async fn code(context: &Context, request: &Request<Bytes>, parameters: &Parameters<'_>) -> Result<Issued, Refused> {
    let client = client(context, request, parameters).await?;
    let resource = parameters.resource(&context.config)?.map(Resource::id);
    let code = required(parameters, "code")?;
    let verifier = required(parameters, "code_verifier")?;
    if verifier.len() < 43 {
        return Err(invalid("`code_verifier` must have 43 to 128 characters"));
    }
    let mut presented = CodeRedemption::new(code, &client, verifier);
    presented.redirect_uri = parameters.one("redirect_uri").map_err(repeated)?;
    presented.resource = resource;
    let redeemed = context.ceremony.redeem_code(&presented, &context.redeemer(request)).await;
    // Whatever became of the request, it is the code that is no longer good (RFC 6749 section 5.2).
    redeemed.map_err(|error| match error {
        CeremonyError::Expired | CeremonyError::Denied | CeremonyError::Revoked => CeremonyError::WrongCode.into(),
        error => error.into(),
    })
}

/// Polls with a device code, and redeems it (RFC 8628 section 3.4).
async fn device(context: &Context, request: &Request<Bytes>, parameters: &Parameters<'_>) -> Result<Issued, Refused> {
    let client = client(context, request, parameters).await?;
    let resource = parameters.resource(&context.config)?.map(Resource::id);
    let (device_code, redeemer) = (required(parameters, "device_code")?, context.redeemer(request));
    Ok(context.ceremony.redeem_device(device_code, &client, resource, &redeemer).await?)
}

/// Refreshes a session (RFC 6749 section 6).
async fn refresh(context: &Context, request: &Request<Bytes>, parameters: &Parameters<'_>) -> Result<Issued, Refused> {
    let client = client(context, request, parameters).await?;
    let resource = parameters.resource(&context.config)?.map(Resource::id);
    let asked = Refreshing {
        token: required(parameters, "refresh_token")?,
        scopes: scopes(parameters)?,
        resource,
        client: Some(&client),
    };
    Ok(context.ceremony.refresh(&asked).await?)
}

/// The access token response (RFC 6749 section 5.1).
fn tokens(context: &Context, issued: &Issued) -> Value {
    let session = &issued.record.session;
    json!({
        "access_token": issued.access_token.expose(),
        "token_type": "Bearer",
        "expires_in": session.expires_at.since(context.ceremony.now()).as_secs(),
        "scope": session.scopes.to_string(),
        "resource": &*session.resource,
    })
}

/// Parameters are sent in a form body, and none in the query (RFC 6749 section 3.2).
pub(super) fn check_form(request: &Request<Bytes>) -> Result<(), Refused> {
    const FORM: &str = "application/x-www-form-urlencoded";
    if media_type(request.headers()).as_deref() != Some(FORM) {
        return Err(unsupported(FORM));
    }
    match request.uri().query() {
        None | Some("") => Ok(()),
        Some(_) => Err(invalid("send parameters in the body only, none in the URL")),
    }
}

/// The client that a request names: by `client_id`, or as the user of Basic credentials without a password.
pub(super) async fn optional_client(
    context: &Context,
    request: &Request<Bytes>,
    parameters: &Parameters<'_>,
) -> Result<Option<ClientId>, Refused> {
    let named = parameters.one("client_id").map_err(repeated)?;
    if parameters.one("client_secret").map_err(repeated)?.is_some() {
        return Err(invalid_client("clients have no secret here; leave `client_secret` out"));
    }
    let basic = basic(request.headers())?;
    if basic.as_ref().is_some_and(|(_, password)| !password.is_empty()) {
        return Err(invalid_client("clients have no secret here; send an empty password, or `client_id` in the body"));
    }
    let basic = basic.map(|(user, _)| user).filter(|user| !user.is_empty());
    if named.is_some() && basic.is_some() && named != basic.as_deref() {
        return Err(invalid("`client_id` must be the user name in `Authorization`, or be left out"));
    }
    let Some(id) = named.or(basic.as_deref()) else { return Ok(None) };
    match clients::known_id(context, id).await? {
        Some(id) => Ok(Some(id)),
        None => Err(invalid_client("the client is unknown; register again")),
    }
}

pub(super) async fn client(
    context: &Context,
    request: &Request<Bytes>,
    parameters: &Parameters<'_>,
) -> Result<ClientId, Refused> {
    let client = optional_client(context, request, parameters).await?;
    client.ok_or_else(|| invalid_client("`client_id` is required"))
}

/// The user and the password of Basic credentials (RFC 6749 section 2.3.1). Some clients send them although they have no
/// secret.
pub(super) fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Refused> {
    let malformed = || invalid_client("the Basic credentials can't be read; send `client_id` in the body");
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let line = line.to_str().map_err(|_| malformed())?;
    let Some((scheme, credentials)) = line.split_once(' ') else { return Err(malformed()) };
    if !scheme.eq_ignore_ascii_case("basic") || lines.next().is_some() {
        return Err(malformed());
    }
    let decoded = BASE64.decode(credentials.trim().as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(malformed)?;
    let (user, password) = decoded.split_once(':').ok_or_else(malformed)?;
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().map(Cow::into_owned);
    let decoded = decode(user).and_then(|user| Ok((user, decode(password)?)));
    decoded.map(Some).map_err(|_| malformed())
}

impl From<InvalidTarget> for Refused {
    fn from(_: InvalidTarget) -> Self {
        CeremonyError::InvalidTarget.into()
    }
}

fn required<'a>(parameters: &'a Parameters<'_>, name: &'static str) -> Result<&'a str, Refused> {
    parameters.one(name).map_err(repeated)?.ok_or_else(|| invalid(format!("`{name}` is required")))
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
pub(super) fn repeated(repeated: Repeated) -> Refused {
    invalid(repeated.text())
}

pub(super) fn invalid_client(text: &str) -> Refused {
    Refused::Request(StatusCode::UNAUTHORIZED, "invalid_client", text.into())
}

/// The error response (RFC 6749 section 5.2).
pub(super) fn refuse(context: &Context, headers: &HeaderMap, refused: Refused) -> Reply {
    let error = match refused {
        Refused::Request(status, code, text) => {
            let mut reply = error_reply(status, code, &text);
            if status == StatusCode::UNAUTHORIZED && headers.contains_key(AUTHORIZATION) {
                reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"oauth2\""));
            }
            if status == StatusCode::SERVICE_UNAVAILABLE {
                retry_after(&mut reply, jitter(context.ceremony.now()));
            }
            return reply;
        }
        Refused::SignedOut => CeremonyError::WrongCode,
        Refused::Ceremony(error) => error,
    };
    if error.is_unavailable() {
        context.note_failure(&error);
        return unavailable(jitter(context.ceremony.now()));
    }
    let (code, text): (_, Cow<'_, str>) = match error {
        CeremonyError::TooManyFromSource | CeremonyError::TooManyPending | CeremonyError::TooManyClients => {
            let mut reply = error_reply(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", &error.to_string());
            retry_after(&mut reply, busy(context));
            return reply;
        }
        CeremonyError::NoScope { .. } => ("invalid_scope", error.to_string().into()),
        CeremonyError::UnknownScope { offered } => {
            let text = format!("`scope` has a scope that was not granted; granted are: {offered}");
            ("invalid_scope", text.into())
        }
        CeremonyError::InvalidTarget => {
            ("invalid_target", "`resource` must be the resource that access was granted to".into())
        }
        // RFC 8628 section 3.5.
        CeremonyError::Pending { .. } => ("authorization_pending", error.to_string().into()),
        CeremonyError::TooFast { wait } => {
            let mut reply = error_reply(StatusCode::TOO_MANY_REQUESTS, "slow_down", &error.to_string());
            retry_after(&mut reply, wait.as_secs() + 1);
            return reply;
        }
        CeremonyError::SlowDown { .. } => ("slow_down", error.to_string().into()),
        CeremonyError::Denied | CeremonyError::Revoked => ("access_denied", "the human denied the request".into()),
        CeremonyError::Expired => ("expired_token", "the request has expired; start again".into()),
        CeremonyError::WrongCode => {
            ("invalid_grant", "the code is unknown, expired or used, or not for this client and verifier".into())
        }
        CeremonyError::UnknownClaim => {
            ("invalid_grant", "the device code or claim token is unknown, or not for this client".into())
        }
        CeremonyError::AlreadyClaimed => ("invalid_grant", "the code was redeemed before".into()),
        error => ("invalid_grant", error.to_string().into()),
    };
    error_reply(StatusCode::BAD_REQUEST, code, &text)
}
