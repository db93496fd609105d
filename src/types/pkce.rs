//! Proof Key for Code Exchange (RFC 7636): binds an exchange code to the process that started the login.
//!
//! ```
//! use tower_agent_auth::types::pkce::CodeChallenge;
//!
//! // RFC 7636 appendix B.
//! let challenge = CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
//! assert!(challenge.is_met_by("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
//! assert!(!challenge.is_met_by("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
//! ```

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::Digest as _;
use subtle::ConstantTimeEq;

/// The longest verifier (RFC 7636 section 4.1). The minimum length of 43 is not enforced, because some clients send 32
/// hexadecimal digits (128 bits).
const LONGEST_VERIFIER: usize = 128;

/// The SHA-256 of a code verifier. The method `plain` (RFC 7636 section 4.2) is not supported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// Parses a challenge: 43 base64url characters, or 64 lower-case hexadecimal digits as sent by the Agent Analytics
    /// command line. The length decides which.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let decoded = match text.len() {
            43 => BASE64URL_NOPAD.decode(text.as_bytes()),
            64 => HEXLOWER.decode(text.as_bytes()),
            _ => return None,
        };
        decoded.ok()?.try_into().ok().map(Self)
    }

    /// Restores a challenge from its stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the challenge was made from `verifier`, compared in constant time.
    #[must_use]
    pub fn is_met_by(&self, verifier: &str) -> bool {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let fits = (1..=LONGEST_VERIFIER).contains(&verifier.len()) && verifier.bytes().all(unreserved);
        fits && sha2::Sha256::digest(verifier.as_bytes()).ct_eq(&self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "5d41402abc4b2a76b9719d911017c592ae3f1e8c5d41402abc4b2a76b9719d91";

    fn hex(verifier: &str) -> String {
        HEXLOWER.encode(&sha2::Sha256::digest(verifier.as_bytes()))
    }

    #[test]
    fn r73_both_spellings_are_the_same_challenge() {
        let digest = sha2::Sha256::digest(VERIFIER.as_bytes());
        let challenge = CodeChallenge::parse(&hex(VERIFIER)).unwrap();
        assert_eq!(CodeChallenge::parse(&BASE64URL_NOPAD.encode(&digest)), Some(challenge));
        assert!(challenge.is_met_by(VERIFIER));
    }

    #[test]
    fn r73_no_other_spelling_is_one() {
        let hex = hex(VERIFIER);
        let base64 = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let padded = format!("{base64}=");
        // The last of 43 symbols carries only four bits. A decoder that ignores the rest accepts two spellings of one
        // challenge.
        let loose = base64.replace("-cM", "-cN");
        for wrong in ["", &hex[1..], &hex.to_uppercase(), &format!("{hex}0"), &base64[1..], &padded, &loose, "plain"] {
            assert_eq!(CodeChallenge::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn r73_nothing_but_the_verifier_meets_it() {
        let challenge = CodeChallenge::parse(&hex(VERIFIER)).unwrap();
        let with = |end: &str| format!("{VERIFIER}{end}");
        for wrong in
            ["", &VERIFIER[1..], &hex(VERIFIER), &with("\n"), &with("\0"), &with(" "), &VERIFIER.to_uppercase()]
        {
            assert!(!challenge.is_met_by(wrong), "{wrong:?}");
        }
        let long = "a".repeat(129);
        assert!(!CodeChallenge::parse(&hex(&long)).unwrap().is_met_by(&long));
        assert!(CodeChallenge::parse(&hex(&long[1..])).unwrap().is_met_by(&long[1..]));
    }
}
