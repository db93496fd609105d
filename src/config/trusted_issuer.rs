use super::check::Check;
use crate::types::id::ClientId;

/// The algorithms that an issuer may sign with, by their names in JWTs (RFC 7518 section 3.1, RFC 8037). All are
/// asymmetric: the service knows no key that could sign.
const ALGORITHMS: [&str; 9] = ["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"];
const DEFAULT_ALGORITHMS: [&str; 3] = ["ES256", "RS256", "EdDSA"];

/// An issuer whose statements about humans the service believes: identity assertions (ID-JAG,
/// draft-ietf-oauth-identity-assertion-authz-grant), and security events about them (RFC 8417).
///
/// **It can name any human of its own.** A service that links identities to accounts gives it the accounts that are linked
/// to its subjects, and no others.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TrustedIssuer {
    /// Its identifier: an https URL. It is compared with the claim `iss` byte for byte, so a slash at its end counts.
    pub issuer: String,
    /// The https URL of its public keys, a JWK set (RFC 7517 section 5).
    pub jwks_uri: String,
    /// The algorithms that it may sign with: `ES256`, `ES384`, `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512` and
    /// `EdDSA`, which is Ed25519. Default: `ES256`, `RS256` and `EdDSA`.
    pub algorithms: Vec<String>,
    /// The ids of the clients that it may speak for, in the claim `client_id`. Empty, the default: any.
    pub client_ids: Vec<String>,
}

impl TrustedIssuer {
    /// An issuer with this identifier and this URL of its keys. It may use the default algorithms, for any client.
    #[must_use]
    pub fn new(issuer: &str, jwks_uri: &str) -> Self {
        Self {
            issuer: issuer.into(),
            jwks_uri: jwks_uri.into(),
            algorithms: DEFAULT_ALGORITHMS.map(str::to_owned).into(),
            client_ids: Vec::new(),
        }
    }
}

/// Checks the issuers that the service with the identifier `own` trusts.
pub(super) fn check(check: &mut Check, issuers: &[TrustedIssuer], own: &str) {
    for (index, trusted) in issuers.iter().enumerate() {
        let TrustedIssuer { issuer, jwks_uri, algorithms, client_ids } = trusted;
        let field = |name: &str| format!("trusted_issuers[{index}].{name}");
        check.https(&field("issuer"), issuer, false);
        check.https(&field("jwks_uri"), jwks_uri, true);
        if issuers[..index].iter().any(|other| other.issuer == *issuer) {
            check.note(field("issuer"), issuer, "is there twice; give each issuer one entry");
        }
        if issuer == own {
            check.note(
                field("issuer"),
                issuer,
                "is this service itself; its own assertions are not for itself to trust",
            );
        }
        if algorithms.is_empty() {
            check.note(field("algorithms"), "", "must name at least one; leave it out for ES256, RS256 and EdDSA");
        }
        for algorithm in algorithms.iter().filter(|name| !ALGORITHMS.contains(&name.as_str())) {
            let remedy = format!("must be one of these, which sign with a private key: {}", ALGORITHMS.join(", "));
            check.note(field("algorithms"), algorithm, remedy);
        }
        for id in client_ids {
            if let Err(error) = ClientId::new(id) {
                check.note(field("client_ids"), id, error.to_string());
            }
        }
    }
}
