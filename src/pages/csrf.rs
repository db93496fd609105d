use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header::SET_COOKIE};
use sha2::Sha256;

use super::{PageError, Pages};
use crate::{
    accounts::{SignedIn, cookie},
    ceremony::Approver,
    http::Reply,
    types::{clock::Timestamp, random::push_base62},
};

/// The length of the key in base62 digits: 256 bits.
const KEY: usize = 43;

/// The key of a browser: it authenticates the browser's forms, and codes are derived from it. It is random, in a cookie
/// that scripts can't read and, over TLS, other domains can't set. The server does not store it, so any process of the
/// service can check a form.
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

    /// The human in this browser, for the ceremony.
    pub(super) fn approver<'a>(&'a self, human: &'a SignedIn) -> Approver<'a> {
        Approver::with_secret(human, &self.key)
    }

    /// The token of a form that is made at `now`. It is valid only for this browser, this human's current sign-in, and
    /// this subject.
    pub(super) fn token(&self, human: &SignedIn, subject: &str, now: Timestamp) -> String {
        let made_at = now.as_millis().to_string();
        format!("{made_at}.{}", HEXLOWER.encode(&self.mac(human, subject, &made_at).finalize().into_bytes()))
    }

    /// Checks that a page of this service made the form for this browser, this human and this subject, and returns when.
    /// Requests from other sites are refused before this check.
    pub(super) fn verify(&self, human: &SignedIn, subject: &str, token: Option<&str>) -> Result<Timestamp, PageError> {
        let (made_at, mac) = token.and_then(|token| token.split_once('.')).ok_or(PageError::Forged)?;
        let mac = HEXLOWER.decode(mac.as_bytes()).map_err(|_| PageError::Forged)?;
        // The comparison is constant-time.
        self.mac(human, subject, made_at).verify_slice(&mac).map_err(|_| PageError::Forged)?;
        made_at.parse().map(Timestamp::from_millis).map_err(|_| PageError::Forged)
    }

    /// A value that this browser's own form chose for `subject`, to be kept in a URL during a sign-in. It needs no
    /// escaping there. `None` if the browser has no key yet.
    pub(super) fn seal(&self, subject: &str, value: &str) -> Option<String> {
        let mac = HEXLOWER.encode(&self.mac_of(&["kept", subject, value]).finalize().into_bytes());
        (!self.is_new).then(|| format!("{}-{mac}", BASE64URL_NOPAD.encode(value.as_bytes())))
    }

    /// The value that [`seal`](Self::seal) sealed for `subject`. Anybody may write a link, so any other is ignored.
    pub(super) fn unseal(&self, subject: &str, sealed: &str) -> Option<String> {
        let (value, mac) = sealed.rsplit_once('-')?;
        let value = String::from_utf8(BASE64URL_NOPAD.decode(value.as_bytes()).ok()?).ok()?;
        let mac = HEXLOWER.decode(mac.as_bytes()).ok()?;
        self.mac_of(&["kept", subject, &value]).verify_slice(&mac).ok()?;
        Some(value)
    }

    fn mac(&self, human: &SignedIn, subject: &str, made_at: &str) -> Hmac<Sha256> {
        self.mac_of(&[subject, human.account.id.as_str(), &human.browser_session, made_at])
    }

    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    fn mac_of(&self, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).expect("a key of any length is good");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
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

/// The cookie's name. The `__Host-` prefix, which other domains can't set, requires TLS (RFC 6265bis section 4.1.3).
fn cookie_name(pages: &Pages) -> &'static str {
    if pages.context.config.is_https() { "__Host-agent_auth_form" } else { "agent_auth_form" }
}

fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    let fits = |value: &&str| value.len() == KEY && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    cookie(headers, name).filter(fits).map(str::to_owned)
}
