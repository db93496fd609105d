use data_encoding::BASE64_NOPAD;
use http::{HeaderMap, Uri, header::AUTHORIZATION};

use crate::config::Prefixes;

/// The credentials in a request's `Authorization` header (RFC 6750 section 2.1, RFC 9110 section 11.6.2).
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Credentials<'a> {
    /// No line, or a scheme other than `Bearer`.
    None,
    /// A bearer token, not checked yet.
    Bearer(&'a [u8]),
    /// More than one `Authorization` line.
    Ambiguous,
}

impl<'a> Credentials<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::None,
            (Some(line), None) => Self::read(line.as_bytes()),
            (Some(_), Some(_)) => Self::Ambiguous,
        }
    }

    /// Reads the credentials and marks the line as sensitive, so that inner layers that log headers omit it.
    pub(crate) fn marked(headers: &'a mut HeaderMap) -> Self {
        // If no header is repeated, one look-up is enough. Two more cost 170 instructions, 11 % of a hit.
        let repeated = headers.len() != headers.keys_len();
        if repeated && headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
            return Self::Ambiguous;
        }
        let Some(line) = headers.get_mut(AUTHORIZATION) else { return Self::None };
        line.set_sensitive(true);
        Self::read(line.as_bytes())
    }

    fn read(line: &'a [u8]) -> Self {
        const SCHEME: &[u8] = b"bearer";
        let Some((scheme, rest)) = line.split_at_checked(SCHEME.len()) else {
            return Self::None;
        };
        // Only spaces separate the scheme from the token. `Bearer` alone carries no token.
        let token = rest.trim_ascii_start();
        let spaces = &rest[..rest.len() - token.len()];
        let separated = !spaces.is_empty() && spaces.iter().all(|byte| *byte == b' ');
        if scheme.eq_ignore_ascii_case(SCHEME) && separated && !token.is_empty() {
            Self::Bearer(token)
        } else {
            Self::None
        }
    }
}

/// Whether an `Authorization` line could be meant as an agent's credential, well formed or not. Such a request is never
/// the owner's, whatever cookie it has. True for a scheme that begins with `Bearer` or `DPoP`, and for a line with a
/// prefix of this service's secrets, also inside Basic credentials. False for all others, such
/// as a proxy's own credentials.
pub(crate) fn has_agent_credential(headers: &HeaderMap, prefixes: &Prefixes) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|line| may_be_agents(line.as_bytes(), prefixes))
}

/// Whether an `Authorization` line has a prefix of this service's secrets, also inside Basic credentials.
pub(crate) fn has_own_token(headers: &HeaderMap, prefixes: &Prefixes) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|line| names_own_token(line.as_bytes(), prefixes))
}

/// Whether a request presents a secret of this service, well formed or not, in a place where credentials are sent: with its
/// prefix in an `Authorization` line or in the query's `access_token`, or whole at the start of any other header or
/// parameter. A browser sends cookies and `Referer` by itself: they do not begin with a secret.
pub(crate) fn presents_own_token(headers: &HeaderMap, uri: &Uri, prefixes: &Prefixes) -> bool {
    let in_headers = headers.iter().any(|(name, value)| {
        let value = value.as_bytes().trim_ascii();
        if name == AUTHORIZATION { names_own_token(value, prefixes) } else { prefixes.begin(value) }
    });
    let query = uri.query().unwrap_or_default();
    in_headers
        || form_urlencoded::parse(query.as_bytes()).any(|(name, value)| {
            prefixes.begin(value.as_bytes()) || (name == ACCESS_TOKEN && names_secret(value.as_bytes(), prefixes))
        })
}

fn may_be_agents(line: &[u8], prefixes: &Prefixes) -> bool {
    begins_with(line, b"bearer") || begins_with(line, b"dpop") || names_own_token(line, prefixes)
}

/// Whether a line has this scheme, or one that begins with it.
fn begins_with(line: &[u8], scheme: &[u8]) -> bool {
    line.trim_ascii().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

fn names_own_token(line: &[u8], prefixes: &Prefixes) -> bool {
    let line = line.trim_ascii();
    if names_secret(line, prefixes) {
        return true;
    }
    if !begins_with(line, b"basic") {
        return false;
    }
    let encoded = line[b"basic".len()..].trim_ascii();
    let unpadded = encoded.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    BASE64_NOPAD.decode(&encoded[..unpadded]).is_ok_and(|decoded| names_secret(&decoded, prefixes))
}

/// Whether a word of the text begins with a prefix of this service's secrets, in any case, or the text contains a whole
/// secret. A dot begins no word: behind it, one JWT in 300,000 would have such a prefix by chance.
fn names_secret(text: &[u8], prefixes: &Prefixes) -> bool {
    let begins_word = |index: usize| {
        index == 0 || !matches!(text[index - 1], b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
    };
    // Every prefix ends with its only underscore.
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'_').map(|(index, _)| index + 1);
    ends.into_iter().any(|end| {
        prefixes.texts().into_iter().any(|prefix| {
            let start = end.checked_sub(prefix.len());
            start.is_some_and(|start| {
                let found = text[start..end].eq_ignore_ascii_case(prefix.as_bytes());
                found && (begins_word(start) || prefixes.begin(&text[start..]))
            })
        })
    })
}

const ACCESS_TOKEN: &str = "access_token";

/// Whether the query contains a token, where logs and caches may expose it (RFC 6750 section 5.3).
pub(crate) fn has_query_token(uri: &Uri) -> bool {
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    pairs.map(|pair| pair.split('=').next().unwrap_or(pair)).any(|name| name == ACCESS_TOKEN)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(line: &[u8]) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
        let read = match Credentials::of(&headers) {
            Credentials::Bearer(token) => Some(token.to_vec()),
            _ => None,
        };
        let marked = Credentials::marked(&mut headers);
        assert_eq!(marked, read.as_deref().map_or(Credentials::None, Credentials::Bearer));
        assert!(headers[AUTHORIZATION].is_sensitive());
        read
    }

    #[test]
    fn r18_two_lines_are_ambiguous_and_doubles_of_other_headers_are_not() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        headers.append("accept", HeaderValue::from_static("a"));
        headers.append("accept", HeaderValue::from_static("b"));
        assert_eq!(Credentials::marked(&mut headers), Credentials::Bearer(b"x"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        assert_eq!(Credentials::marked(&mut headers), Credentials::Ambiguous);
    }

    #[test]
    fn r14_the_scheme_is_case_insensitive_and_the_separator_is_space() {
        for line in ["Bearer x", "bearer x", "BEARER x", "bEaReR x", "Bearer   x"] {
            assert_eq!(read(line.as_bytes()), Some(b"x".to_vec()), "{line}");
        }
        for line in ["Bearer\tx", "Bearer \tx", "Bearerx", "Bearer", "Bearer ", "Bearer  ", "Bear", "Basic x", ""] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn r16_r17_nothing_inside_the_token_is_trimmed_or_decoded() {
        assert_eq!(read(b"Bearer tok en"), Some(b"tok en".to_vec()));
        assert_eq!(read(b"Bearer \xc2\xa0"), Some(b"\xc2\xa0".to_vec()));
        assert_eq!(read(b"Bearer \xff\x80"), Some(b"\xff\x80".to_vec()));
    }

    #[test]
    fn b7_what_could_be_meant_as_an_agents_credential_is_told_from_what_could_not() {
        let config = crate::Config::builder()
            .resource("https://api.example.com")
            .name("Example")
            .scope("a", "A", |scope| scope)
            .prefixes(|prefixes| prefixes.poll = "p_".into())
            .build()
            .unwrap();
        let basic = |text: &str| format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes())).into_bytes();
        let seen = |line: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, HeaderValue::from_static("Basic dXNlcjpwYXNz"));
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
            has_agent_credential(&headers, config.prefixes())
        };
        for line in [
            &b"Bearer x"[..],
            b"bearer",
            b"BEARER\tx",
            b"Beareraas_x",
            b"\tBearer x",
            b"Bearer \xff",
            b"Bearer eyJhbGciOiJFUzI1NiJ9.e30.x",
            b"DPoP aas_x",
            b"dpop x",
            b"aas_x",
            b"AAS_X",
            b"Token aar_x",
            b"Basic aas_x",
            b"Digest username=\"clm_x\", realm=\"y\"",
            b"Negotiate x,aae_x",
            b"X p_1",
            &basic("aas_x:"),
            &basic("user:AAS_x"),
            &basic("aaf_x"),
            basic("user:aas_x").strip_suffix(b"=").unwrap(),
        ] {
            assert!(seen(line), "{}", String::from_utf8_lossy(line));
        }
        for line in [
            &b""[..],
            b"Basic",
            b"Basic Zm9vOmJhcg==",
            b"Basic no base64",
            b"basic Zm9vOmJhcg",
            b"Negotiate YWJjZA==",
            b"NTLM TlRMTVNTUAAB",
            b"Digest username=\"x\", realm=\"y\"",
            b"AWS4-HMAC-SHA256 Credential=x/20260101/r/s/aws4_request",
            b"Unheard of",
            b"Bear x",
            b"GNAP haas_x-aas_y_aas_z",
            b"\xff\xfe",
            &basic("user:haas_x"),
        ] {
            assert!(!seen(line), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn r129_chance_makes_no_agent_of_a_jwt() {
        let config = crate::Config::builder().resource("https://api.example.com").name("Example");
        let config = config.scope("a", "A", |scope| scope).build().unwrap();
        let prefixes = config.prefixes();
        let secret = prefixes.access.generate(&crate::types::random::OsRandom).unwrap();
        let secret = secret.expose();
        let presents = |line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
            presents_own_token(&headers, &Uri::from_static("/"), prefixes)
        };
        for prefix in prefixes.texts() {
            for own in [format!("{prefix}e30.e30.x"), format!("key={prefix}x"), prefix.to_uppercase()] {
                assert!(presents(&format!("Bearer {own}")), "{own}");
            }
            for foreign in [format!("e30.e30.{prefix}x"), format!("e30.{prefix}x.x"), format!("x-{prefix}x")] {
                assert!(!presents(&format!("Bearer {foreign}")), "{foreign}");
            }
        }
        // A whole secret is one wherever it stands.
        for line in [format!("Bearer e30.{secret}.x"), format!("Bearerx{secret}"), format!("Bearer x-{secret}y")] {
            assert!(presents(&line), "{line}");
        }
        let mistyped = format!("Bearer e30.{}", secret.replacen(&secret[10..11], "_", 1));
        assert!(!presents(&mistyped), "{mistyped}");
    }

    #[test]
    fn r19_a_token_in_the_query_is_noticed() {
        let seen = |uri: &str| has_query_token(&uri.parse().unwrap());
        assert!(seen("/?access_token=x") && seen("/?a=b&access_token") && seen("/?access_token="));
        assert!(!seen("/") && !seen("/?") && !seen("/?token=x") && !seen("/?my_access_token=x"));
    }
}
