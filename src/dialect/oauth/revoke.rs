use bytes::Bytes;
use http::{Request, Response};

use super::{parameters::Parameters, token};
use crate::{
    dialect::{
        agent_auth,
        fields::{Refused, invalid, media_type},
    },
    endpoints::Context,
    http::{Reply, no_store},
};

/// Revokes a token (RFC 7009): with it the whole session, its access token and its refresh token. A client that names
/// itself can revoke only its own tokens. The token alone is enough otherwise, as agents of the other dialects have no
/// client id. The metadata names this endpoint for all dialects, so those agents may also send what they send to their
/// own: JSON, or the bearer token without a body.
pub(super) async fn answer(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    if request.body().is_empty() || media_type(request.headers()).as_deref() == Some("application/json") {
        return agent_auth::revoke(context, request).await;
    }
    token::check_form(request)?;
    let parameters = Parameters::read(request.body());
    let client = token::optional_client(context, request, &parameters).await?;
    let secret = parameters.one("token").map_err(token::repeated)?;
    let secret = secret.ok_or_else(|| invalid("`token` is required: send the token to revoke"))?;
    context.ceremony.revoke_token(secret, client.as_ref()).await?;
    let mut reply = Response::new(Bytes::new());
    no_store(&mut reply);
    Ok(reply)
}
