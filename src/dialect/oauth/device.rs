use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;

use super::{
    DEVICE, authorize,
    clients::{self, NotFound},
    parameters::Parameters,
    token,
};
use crate::{
    ceremony,
    client_metadata::Failure,
    dialect::{fields::Refused, page_label},
    endpoints::Context,
    http::{Reply, json_reply},
};

/// The parameter of a link that holds the code.
pub(super) const USER_CODE: &str = "user_code";

/// Starts the login of a device (RFC 8628 section 3.1).
pub(super) async fn answer(context: &Context, request: &Request<Bytes>) -> Result<Reply, Refused> {
    token::check_form(request)?;
    let parameters = Parameters::read(request.body());
    let id = token::client(context, request, &parameters).await?;
    let client = clients::find(context, id.as_str(), context.client_address(request)).await;
    let client = client.map_err(|not_found| match not_found {
        NotFound::Unknown => token::invalid_client("the client is unknown; register again"),
        NotFound::Document(Failure::TooMany | Failure::Fetch(_)) => {
            let text = "the client's metadata document can't be read right now; try again later";
            Refused::Request(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", text.into())
        }
        NotFound::Document(failure) => token::invalid_client(&format!("the client can't be identified: {failure}")),
        NotFound::Ceremony(error) => error.into(),
    })?;
    let resource = parameters.resource(&context.config)?.unwrap_or_else(|| context.config.default_resource());
    let scope = parameters.one("scope").map_err(token::repeated)?;
    let scopes = authorize::scopes(context, resource, scope)
        .map_err(|authorize::Answer(code, text)| Refused::Request(StatusCode::BAD_REQUEST, code, text))?;
    let asked = ceremony::Request::by(client.name)
        .client_id(Some(client.id))
        .label(page_label(context, request.headers()))
        .scopes(scopes)
        .resource(Some(resource.id().to_owned()))
        .address(context.client_address(request));
    let started = context.ceremony.request_device(asked).await?;
    let verification = context.config.url(DEVICE);
    let body = json!({
        "device_code": started.device_code.expose(),
        "user_code": started.user_code,
        "verification_uri": verification,
        "verification_uri_complete": format!("{verification}?{USER_CODE}={}", started.user_code),
        "expires_in": started.expires_in.as_secs(),
        "interval": started.interval.as_secs(),
    });
    Ok(json_reply(StatusCode::OK, &body))
}
