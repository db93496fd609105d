use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::{CodeEntryPage, Page, PageError, Pages, csrf::FormKey, form::Fields};
use crate::{
    ceremony::CeremonyError,
    endpoints::{CodeEntry, Dialect},
    http::Reply,
};

/// The subject of this page's form tokens.
const SUBJECT: &str = "code entry";
/// The field of the form.
const FIELD: &str = "code";

/// Asks for the code that a device shows, and sends the browser on to the approval page.
pub(super) async fn answer(
    pages: &Pages,
    request: &Request<Bytes>,
    dialect: &'static dyn Dialect,
    entry: CodeEntry,
) -> Result<Reply, PageError> {
    let path = pages.context.config.path(entry.path);
    let given = given(request, entry.parameter);
    let return_to = match &given {
        Some(code) => format!("{path}?{}={code}", entry.parameter),
        None => path.clone(),
    };
    let human = pages.human(request, return_to).await?;
    let key = FormKey::of(pages, request.headers())?;
    let show = |status, code: &str, notice: Option<String>| {
        let form = pages.form(path.clone(), &key, &human, SUBJECT);
        let page = CodeEntryPage { form, account: human.account.label.clone(), notice, code: code.to_owned() };
        pages.page(status, &Page::CodeEntry(page), &[])
    };
    if *request.method() != Method::POST {
        let mut reply = show(StatusCode::OK, given.as_deref().unwrap_or_default(), None)?;
        key.keep(pages, &mut reply);
        return Ok(reply);
    }
    let form = Fields::read(request)?;
    key.verify(&human, SUBJECT, form.one("csrf"))?;
    let code = form.one(FIELD).unwrap_or_default();
    match pages.context.ceremony.find_user_code(&human.account.id, code).await {
        Ok(id) => pages.see_other(&pages.context.config.path(&format!("{}{id}", dialect.approval_path()))),
        Err(CeremonyError::UnknownAuthorization) => {
            show(StatusCode::NOT_FOUND, code.get(..16).unwrap_or(code), Some(pages.say("code-unknown", &[])))
        }
        Err(CeremonyError::TooFast { wait }) => pages.too_many_codes(wait, path.clone()),
        Err(error) => Err(error.into()),
    }
}

/// The code in a link, if it needs no escaping.
fn given(request: &Request<Bytes>, parameter: &str) -> Option<String> {
    const LONGEST: usize = 16;
    let query = request.uri().query().unwrap_or_default();
    let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == parameter)?.1.into_owned();
    let plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (!code.is_empty() && code.len() <= LONGEST && plain).then_some(code)
}
