use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header::SET_COOKIE};
use sha2::Sha256;

use super::{PageError, Pages};
use crate::{
    accounts::{SignedIn, cookie},
    http::Reply,
    types::random::push_base62,
};

/// The length of the key in base62 digits: 256 bits.
const KEY: usize = 43;

/// The key that authenticates a browser's forms. It is random, in a cookie that scripts can't read and, over TLS, other
/// domains can't set. The server stores nothing, so any process of the service can check a form.
pub(super) struct FormKey {
    key: String,
    is_new: bool,
}

impl FormKey {
    /// Reads the browser's key, or generates a new one.
    pub(super) fn of(pages: &Pages, headers: &HeaderMap) -> Result<Self, PageError> {
        if let Some(key) = read(headers, cookie_name(pages)) {
            return Ok(Self { key, is_new: false });
        }
        let mut key = String::new();
        push_base62(&mut key, KEY, &*pages.context.random)?;
        Ok(Self { key, is_new: true })
    }

    /// The token of a form. It is valid only for this browser, this human's current sign-in, and this subject.
    pub(super) fn token(&self, human: &SignedIn, subject: &str) -> String {
        HEXLOWER.encode(&mac(&self.key, human, subject).finalize().into_bytes())
    }

    /// Sets the cookie if the key is new.
    pub(super) fn keep(&self, pages: &Pages, reply: &mut Reply) {
        if !self.is_new {
            return;
        }
        let secure = if pages.context.config.is_https() { "; Secure" } else { "" };
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Lax{secure}", cookie_name(pages), self.key);
        if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
            cookie.set_sensitive(true);
            reply.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

/// Checks that a page of this service created the form for this browser, this human and this subject. Requests from
/// other sites are refused before this check.
pub(super) fn check(
    pages: &Pages,
    headers: &HeaderMap,
    human: &SignedIn,
    subject: &str,
    token: Option<&str>,
) -> Result<(), PageError> {
    let (Some(key), Some(token)) =
        (read(headers, cookie_name(pages)), token.and_then(|token| HEXLOWER.decode(token.as_bytes()).ok()))
    else {
        return Err(PageError::Forged);
    };
    // The comparison is constant-time.
    mac(&key, human, subject).verify_slice(&token).map_err(|_| PageError::Forged)
}

/// The cookie's name. The `__Host-` prefix, which other domains can't set, requires TLS (RFC 6265bis section 4.1.3).
fn cookie_name(pages: &Pages) -> &'static str {
    if pages.context.config.is_https() { "__Host-agent_auth_form" } else { "agent_auth_form" }
}

fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let fits = |value: &&str| value.len() == KEY && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    cookie(headers, name).filter(fits).map(str::to_owned)
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn mac(key: &str, human: &SignedIn, subject: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key of any length is good");
    for part in [subject, human.account.id.as_str(), &human.browser_session] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac
}
