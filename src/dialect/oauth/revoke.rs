use bytes::Bytes;
use http::{Request, Response};

use super::{parameters::Parameters, token};
use crate::{
    dialect::{
        agent_auth::revoked_token,
        fields::{Refused, invalid, media_type},
    },
    endpoints::Context,
    http::{Reply, no_store},
};

/// Revokes a token (RFC 7009): with it the whole session, its access token and its refresh token. A client that names
/// itself can revoke only its own tokens. The token alone is enough otherwise, as agents of the other dialects have no
/// client id. They send JSON, or the token as a bearer token without a body.
pub(super) async fn answer(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    let is_form = media_type(request.headers()).as_deref() == Some("application/x-www-form-urlencoded");
    if is_form && !request.body().is_empty() {
        token::check_form(request)?;
        let parameters = Parameters::read(request.body());
        let client = token::optional_client(context, request, &parameters).await?;
        let secret = parameters.one("token").map_err(token::repeated)?;
        let secret = secret.ok_or_else(|| invalid("`token` is required: send the token to revoke"))?;
        context.ceremony.revoke_token(secret, client.as_ref()).await?;
    } else {
        context.ceremony.revoke_token(&revoked_token(request)?, None).await?;
    }
    let mut reply = Response::new(Bytes::new());
    no_store(&mut reply);
    Ok(reply)
}
