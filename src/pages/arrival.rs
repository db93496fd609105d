use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{Request, StatusCode};

use super::{PageError, Pages, Tone, csrf::FormKey, words::filled};
use crate::{
    endpoints::{Arrival, Dialect, Turned},
    http::{Reply, jitter, retry_after},
};

/// The parameter that holds the query during a sign-in.
const PARAMETER: &str = "again";
/// `Retry-After` in seconds, if the service is too busy to tell who asks.
const WAIT: u64 = 30;

/// Receives a browser that brings a request for access, and sends it on to the approval page.
///
/// Nothing changes until the browser's human is signed in. Then the request is stored, once: the same link in the same
/// browser leads to the same page.
pub(super) async fn answer(
    pages: &Pages,
    request: &Request<Bytes>,
    dialect: &'static dyn Dialect,
    path: &str,
) -> Result<Reply, PageError> {
    let context = &pages.context;
    let query = query_of(request.uri().query().unwrap_or_default());
    let browser = context.client_address(request);
    // Nobody is redirected before they have signed in (RFC 9700 section 4.11.2): anybody can register a place.
    let return_to = format!("{}?{PARAMETER}={}", context.config.path(path), BASE64URL_NOPAD.encode(query.as_bytes()));
    let arrived = match dialect.arrive(context, &query, browser).await {
        Ok(arrival) => Ok(arrival),
        Err(Turned::Url(url)) => Err(url),
        Err(Turned::Page(text)) => return refuse(pages, &text),
        Err(Turned::Later(text)) => return delay(pages, &text, return_to),
        Err(Turned::Failed(error)) => return Err(error.into()),
    };
    let human = pages.human(request, return_to).await?;
    let Arrival { request: asked, grant } = match arrived {
        Ok(arrival) => arrival,
        Err(url) => return pages.see_other(&url),
    };
    let key = FormKey::of(pages, request.headers())?;
    let asked = asked.address(browser);
    let mut reply = match context.ceremony.request_code(asked, grant.clone(), key.approver(&human)).await {
        Ok(authorization) => {
            pages.see_other(&context.config.path(&format!("{}{}", dialect.approval_path(), authorization.id)))?
        }
        Err(error) => match dialect.turn_away(context, &grant, &error) {
            Some(url) => pages.see_other(&url)?,
            None => return Err(error.into()),
        },
    };
    key.keep(pages, &mut reply);
    Ok(reply)
}

/// The query of the client, which is inside of another one after a sign-in.
fn query_of(query: &str) -> String {
    let kept = query.strip_prefix(PARAMETER).and_then(|rest| rest.strip_prefix('='));
    let kept = kept.and_then(|kept| BASE64URL_NOPAD.decode(kept.as_bytes()).ok());
    kept.and_then(|kept| String::from_utf8(kept).ok()).unwrap_or_else(|| query.to_owned())
}

fn refuse(pages: &Pages, error: &str) -> Result<Reply, PageError> {
    let message = pages.message(Tone::Bad, "app-refused", &[("error", filled(error))]);
    pages.show(StatusCode::BAD_REQUEST, message.link(pages.sessions_link()))
}

fn delay(pages: &Pages, error: &str, again: String) -> Result<Reply, PageError> {
    let message = pages.message(Tone::Neutral, "busy", &[("error", filled(error))]);
    let mut reply = pages.show(StatusCode::SERVICE_UNAVAILABLE, message.link(pages.link(again, "try-again")))?;
    retry_after(&mut reply, WAIT + jitter(pages.context.ceremony.now()));
    Ok(reply)
}
