use bytes::Bytes;
use data_encoding::HEXLOWER_PERMISSIVE;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use sha2::Digest as _;
use subtle::ConstantTimeEq;

use super::{parameters::Parameters, token};
use crate::{
    config::{Resource, ResourceServer, TOKEN_SHA256},
    dialect::fields::{Refused, invalid},
    endpoints::Context,
    http::{Reply, json_reply},
    types::{secret::Digest, session::SessionRecord},
};

/// Says whether an access token is valid, to the service that guards its resource (RFC 7662). A token for another
/// resource, a refresh token and an unknown token are all the same to it: not active.
pub(super) async fn answer(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    token::check_form(request)?;
    let parameters = Parameters::read(request.body());
    let server = authenticate(context, request, &parameters)?;
    let one = |name| parameters.one(name).map_err(token::repeated);
    let resources: Vec<&Resource> =
        server.resources.iter().filter_map(|resource| context.config.resource_named(resource)).collect();
    let digest = one(TOKEN_SHA256)?;
    let found = match (one("token")?, digest) {
        (Some(secret), None) => context.ceremony.introspect(secret.as_bytes(), &resources).await?,
        (None, Some(digest)) => {
            let digest = read_sha256(digest).ok_or_else(|| invalid("`token_sha256` must be 64 hexadecimal digits"))?;
            context.ceremony.introspect_digest(Digest::from_bytes(digest), &resources).await?
        }
        _ => return Err(invalid("send the access token to look up as `token`, or its SHA-256 as `token_sha256`")),
    };
    let mut body = found.map_or_else(|| json!({ "active": false }), |record| active(&record, context.config.issuer()));
    if let Some(asked) = digest {
        body[TOKEN_SHA256] = json!(asked);
    }
    Ok(json_reply(StatusCode::OK, &body))
}

/// The answer about a valid token (RFC 7662 section 2.2).
fn active(record: &SessionRecord, issuer: &str) -> Value {
    let session = &record.session;
    let mut body = json!({
        "active": true,
        "scope": session.scopes.to_string(),
        "sub": session.account.id.as_str(),
        "username": session.account.label,
        "aud": &*session.resource,
        "iss": issuer,
        "iat": record.created_at.as_millis() / 1_000,
        "exp": session.expires_at.as_millis() / 1_000,
        "token_type": "Bearer",
        "session_id": session.id.as_str(),
        "agent": { "name": session.client.as_str() },
    });
    if let Some(client) = &record.client.id {
        body["client_id"] = json!(client.as_str());
        body["agent"]["client"] = json!(client.as_str());
    }
    body
}

/// The resource server that asks, by its secret in Basic credentials or in the body.
fn authenticate<'c>(
    context: &'c Context,
    request: &Request<Bytes>,
    parameters: &Parameters<'_>,
) -> Result<&'c ResourceServer, Refused> {
    let in_body = |name| parameters.one(name).map(|value| value.map(str::to_owned)).map_err(token::repeated);
    let (id, secret) = match token::basic(request.headers())? {
        Some(basic) => basic,
        None => (in_body("client_id")?.unwrap_or_default(), in_body("client_secret")?.unwrap_or_default()),
    };
    let digest = sha2::Sha256::digest(secret);
    let known = context.config.oauth().resource_servers.iter().find(|server| server.id == id);
    let expected = known.and_then(|server| read_sha256(&server.secret_sha256));
    match known.zip(expected) {
        Some((server, expected)) if digest.ct_eq(&expected[..]).into() => Ok(server),
        _ => Err(token::invalid_client("the resource server is unknown, or its secret is wrong")),
    }
}

fn read_sha256(digits: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
}
