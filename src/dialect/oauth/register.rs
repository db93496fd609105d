use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;

use super::{clients, grant_types, token::DEVICE_CODE};
use crate::{
    dialect::fields::{Fields, Refused},
    endpoints::Context,
    http::{Reply, json_reply},
    types::{redirect_uri::RedirectUri, text::HumanText},
};

/// The most redirect URIs of a client.
const MOST: usize = 20;

/// Registers a client (RFC 7591 section 3). Every client gets the same: no secret, and the code and refresh grants,
/// whatever it asks for (section 2). Unknown members are ignored.
pub(super) async fn answer(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let fields = Fields::read(request.headers(), request.body()).map_err(metadata)?;
    let redirect_uris = redirect_uris(context, &fields)?;
    let name = name(&fields, &redirect_uris)?;
    let id = clients::register(context, &name, &redirect_uris).await?;
    let id = id.ok_or_else(|| invalid("`client_name` and `redirect_uris` are too long together; shorten them"))?;
    let mut body = json!({
        "client_id": id.as_str(),
        "client_id_issued_at": context.ceremony.now().as_millis() / 1_000,
        "client_name": name.as_str(),
        "redirect_uris": redirect_uris.iter().map(RedirectUri::as_str).collect::<Vec<_>>(),
        "token_endpoint_auth_method": "none",
        "grant_types": grant_types(&context.config),
        "response_types": ["code"],
    });
    if let Some(kind @ ("native" | "web")) = fields.text("application_type").ok().flatten() {
        body["application_type"] = json!(kind);
    }
    Ok(json_reply(StatusCode::CREATED, &body))
}

fn redirect_uris(context: &Context, fields: &Fields) -> Result<Vec<RedirectUri>, Refused> {
    let refused = |text: String| Refused::Request(StatusCode::BAD_REQUEST, "invalid_redirect_uri", text);
    let uris =
        fields.texts("redirect_uris").map_err(|_| refused("`redirect_uris` must be an array of strings".into()))?;
    // A device needs none.
    let device = context.config.oauth().device
        && fields.texts("grant_types").is_ok_and(|types| types.iter().any(|name| name == DEVICE_CODE));
    if (uris.is_empty() && !device) || uris.len() > MOST {
        return Err(refused(format!("`redirect_uris` is required: name 1 to {MOST}")));
    }
    let oauth = context.config.oauth();
    let parse = |uri: &String| match RedirectUri::parse(uri, oauth.schemes()) {
        Ok(uri) if oauth.allows(&uri) => Ok(uri),
        Ok(_) => Err(refused("`redirect_uris` has a host that this service does not allow".into())),
        Err(error) => Err(refused(format!("one of `redirect_uris` {error}"))),
    };
    uris.iter().map(parse).collect()
}

/// The name of the client; without one, where it waits.
fn name(fields: &Fields, redirect_uris: &[RedirectUri]) -> Result<HumanText, Refused> {
    let given = fields.text("client_name").map_err(metadata)?.map(str::trim).filter(|name| !name.is_empty());
    let from_uri = || redirect_uris.iter().find_map(RedirectUri::host).unwrap_or("Unnamed app");
    HumanText::new(given.unwrap_or_else(from_uri)).map_err(|error| invalid(format!("`client_name` {error}")))
}

fn invalid(text: impl Into<String>) -> Refused {
    Refused::Request(StatusCode::BAD_REQUEST, "invalid_client_metadata", text.into())
}

/// The error code of RFC 7591 section 3.2.2 for a body that can't be read.
fn metadata(refused: Refused) -> Refused {
    match refused {
        Refused::Request(StatusCode::BAD_REQUEST, _, text) => invalid(text),
        other => other,
    }
}
