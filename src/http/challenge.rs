//! The challenge: the value of `WWW-Authenticate` (RFC 9110 section 11.6.1), for guards to write and agents to parse.
//!
//! ```
//! use tower_agent_auth::challenge::Challenge;
//!
//! let challenge = Challenge::bearer()
//!     .with("resource_metadata", "https://api.example.com/.well-known/oauth-protected-resource")
//!     .with("error", "invalid_token");
//! assert_eq!(
//!     challenge.to_header()?,
//!     r#"Bearer resource_metadata="https://api.example.com/.well-known/oauth-protected-resource", error="invalid_token""#,
//! );
//!
//! let read = Challenge::parse(r#"Basic realm="x", Bearer error="invalid_token", scope="a b""#)?;
//! assert_eq!(read[1].scheme(), "Bearer");
//! assert_eq!(read[1].parameter("scope"), Some("a b"));
//! # Ok::<(), tower_agent_auth::challenge::ChallengeError>(())
//! ```

use http::HeaderValue;

/// One challenge: a scheme and its parameters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A challenge of the scheme `Bearer` (RFC 6750 section 3), without parameters yet.
    #[must_use]
    pub fn bearer() -> Self {
        Self { scheme: "Bearer".into(), parameters: Vec::new() }
    }

    /// Adds a parameter to the challenge.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The scheme, as it was written.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether the scheme is `Bearer`, in any case (RFC 9110 section 11.1).
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Bearer")
    }

    /// The value of a parameter; its name is compared in any case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The header value. Every parameter is a quoted string.
    ///
    /// # Errors
    /// When a value contains a character that RFC 6750 section 3 does not allow: a quote, a backslash, a control
    /// character or a non-ASCII character. Nothing is escaped, so that parsers can't disagree about where a value ends.
    pub fn to_header(&self) -> Result<HeaderValue, ChallengeError> {
        let mut text = self.scheme.clone();
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            if !value.bytes().all(|byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
                return Err(ChallengeError);
            }
            text.push_str(if index == 0 { " " } else { ", " });
            text.push_str(&format!("{name}=\"{value}\""));
        }
        HeaderValue::try_from(text).map_err(|_| ChallengeError)
    }

    /// Parses the challenges of one header value (RFC 9110 section 11.6.1). A `token68` in place of parameters is
    /// skipped.
    ///
    /// # Errors
    /// When the value does not follow the grammar.
    pub fn parse(value: &str) -> Result<Vec<Self>, ChallengeError> {
        let mut rest = Cursor(value);
        let mut challenges: Vec<Self> = Vec::new();
        loop {
            rest.skip_list();
            if rest.0.is_empty() {
                return if challenges.is_empty() { Err(ChallengeError) } else { Ok(challenges) };
            }
            let name = rest.token()?;
            if rest.skip_equals() {
                let value = rest.value()?;
                let challenge = challenges.last_mut().ok_or(ChallengeError)?;
                challenge.parameters.push((name.into(), value));
            } else {
                challenges.push(Self { scheme: name.into(), parameters: Vec::new() });
                rest.skip_token68()?;
            }
        }
    }
}

/// A challenge can't be written or parsed.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("a challenge does not follow the grammar of RFC 9110 section 11.6.1 and RFC 6750 section 3")]
#[non_exhaustive]
pub struct ChallengeError;

crate::types::error_chain::debug_as_text!(ChallengeError);

struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// Skips whitespace and the commas between list members.
    fn skip_list(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
    }

    fn token(&mut self) -> Result<&'a str, ChallengeError> {
        let end = self.0.find(|character| !is_token(character)).unwrap_or(self.0.len());
        if end == 0 {
            return Err(ChallengeError);
        }
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Ok(token)
    }

    /// Skips `=` with optional whitespace around it, but not the padding of a `token68`.
    fn skip_equals(&mut self) -> bool {
        let rest = self.0.trim_start_matches([' ', '\t']);
        match rest.strip_prefix('=') {
            Some(rest) if !rest.starts_with('=') => {
                self.0 = rest.trim_start_matches([' ', '\t']);
                true
            }
            _ => false,
        }
    }

    fn value(&mut self) -> Result<String, ChallengeError> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.token().map(str::to_owned);
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &quoted[index + 1..];
                    return Ok(value);
                }
                '\\' => value.push(characters.next().ok_or(ChallengeError)?.1),
                _ => value.push(character),
            }
        }
        Err(ChallengeError)
    }

    /// Skips a `token68` after a scheme, if one follows, and not a parameter or the next challenge.
    fn skip_token68(&mut self) -> Result<(), ChallengeError> {
        let blank = self.0.starts_with([' ', '\t']);
        let rest = self.0.trim_start_matches([' ', '\t']);
        if rest.is_empty() || rest.starts_with(',') {
            return Ok(());
        }
        if !blank {
            return Err(ChallengeError);
        }
        let end = rest.find(|character| !is_token68(character)).unwrap_or(rest.len());
        let after = rest[end..].trim_start_matches('=').trim_start_matches([' ', '\t']);
        if end > 0 && (after.is_empty() || after.starts_with(',')) {
            self.0 = after;
        }
        Ok(())
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

fn is_token68(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~+/".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r26_what_would_need_escaping_is_refused() {
        for bad in ["a\"b", "a\\b", "a\r\nX: 1", "é", "\u{7f}", "a\0"] {
            assert_eq!(Challenge::bearer().with("realm", bad).to_header(), Err(ChallengeError), "{bad:?}");
        }
    }

    #[test]
    fn r26_what_is_written_reads_back() {
        for value in ["", " ", "a b", "https://x/y?z=1,2", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"] {
            let written = Challenge::bearer().with("error", "x").with("scope", value);
            let header = written.to_header().unwrap();
            assert_eq!(Challenge::parse(header.to_str().unwrap()).unwrap(), [written]);
        }
    }

    #[test]
    fn several_challenges_and_token68_are_told_apart() {
        let read =
            Challenge::parse(r#"Negotiate YWJj==, DPoP algs="ES256" , bearer, Basic realm = "a\"b, c" ,x=y"#).unwrap();
        let schemes: Vec<&str> = read.iter().map(Challenge::scheme).collect();
        assert_eq!(schemes, ["Negotiate", "DPoP", "bearer", "Basic"]);
        assert!(read[2].is_bearer());
        assert_eq!(read[3].parameter("REALM"), Some("a\"b, c"));
        assert_eq!(read[3].parameter("x"), Some("y"));
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        for bad in ["", ",", "=", "a=b", "Bearer \"", "Bearer a=\"b", "Bearer a=\"\\", "\"x\"", "B(", "é"] {
            assert_eq!(Challenge::parse(bad), Err(ChallengeError), "{bad:?}");
        }
    }
}
