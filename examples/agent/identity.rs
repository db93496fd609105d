//! The login of the open auth.md protocol, on its flat wire. It replaces steps 3 to 6 if the service offers nothing else, or
//! with `--mode identity`.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use ::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::{
    Options, Progress, Session,
    callback::TOO_LATE,
    credential::Credential,
    failure::{Exit, Failure},
    http::{Answer, Client},
    interrupt, plain, show_link, step,
};

const CLAIM_GRANT: &str = "urn:workos:agent-auth:grant-type:claim";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The answer to a registration, with the fields that are used here.
#[derive(Deserialize)]
struct Registered {
    claim_token: String,
    claim: Claim,
    #[serde(default)]
    post_claim_scopes: Vec<String>,
    check_phrase: Option<String>,
}

/// How the human decides. Only a service that lets them type a code sends one.
#[derive(Deserialize)]
struct Claim {
    verification_uri: String,
    user_code: Option<String>,
    expires_in: u64,
    #[serde(default)]
    interval: u64,
}

/// The answer of the token endpoint (RFC 7523 section 2.1).
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    #[serde(default)]
    scope: String,
    identity_assertion: Option<String>,
}

/// Registers, shows the code that the human types, and polls. Answers the session with its assertion, which renews it in
/// place of a refresh token.
pub(crate) fn log_in(
    client: &Client,
    options: &Options,
    resource: &str,
    identity_endpoint: &str,
    token_endpoint: &str,
) -> Result<Session, Failure> {
    let mut body = json!({ "type": "service_auth", "client_name": options.name, "resource": resource });
    if !options.scope.is_empty() {
        body["requested_scopes"] = json!(options.scope);
    }
    if let Some(reason) = &options.reason {
        body["reason"] = json!(reason);
    }
    let registered: Registered = client.post(identity_endpoint, &body)?.expect(StatusCode::OK)?.read()?;
    let Registered { claim_token, claim, post_claim_scopes, check_phrase } = registered;
    step(3, &format!("registered as {:?}, asking for: {}", options.name, post_claim_scopes.join(" ")));
    let code = claim.user_code.ok_or("this service takes no code that your human types")?;
    step(4, "show this link and this code to your human; only they can approve, and they type the code there:");
    show_link(options.qr, &claim.verification_uri, check_phrase.as_deref());
    eprintln!("   {}\n", plain(&code));

    let deadline = Instant::now() + Duration::from_secs(claim.expires_in);
    let mut interval = Duration::from_secs(claim.interval.max(1));
    let mut progress = Progress::new();
    while Instant::now() < deadline {
        progress.show(deadline);
        sleep(interval);
        let answer = client.post_form(token_endpoint, &[("grant_type", CLAIM_GRANT), ("claim_token", &claim_token)])?;
        if answer.status == StatusCode::OK {
            interrupt::leaves(interrupt::SESSION);
            drop(progress);
            step(5, "was approved");
            let session = session(&answer)?;
            step(6, "exchanged the claim token");
            return Ok(session);
        }
        match answer.error().0.as_str() {
            "authorization_pending" => {}
            // RFC 8628 section 3.5.
            "slow_down" => interval += Duration::from_secs(5),
            "access_denied" => return Err(Failure::new(Exit::Denied, "Your human denied it.")),
            "expired_token" => break,
            _ => return Err(answer.expect(StatusCode::OK).err().unwrap_or_else(|| "the login failed".into())),
        }
    }
    Err(Failure::new(Exit::TooLate, TOO_LATE))
}

/// Exchanges the assertion of a credential for another access token. `None` if the identity is over.
pub(crate) fn exchange(
    client: &Client,
    credential: &Credential,
    uri: &str,
    assertion: &str,
) -> Result<Option<Session>, Failure> {
    let asked = [("grant_type", JWT_BEARER), ("assertion", assertion), ("resource", &*credential.resource)];
    let answer = client.post_form(uri, &asked)?;
    if answer.error().0 == "invalid_grant" {
        return Ok(None);
    }
    session(&answer.expect(StatusCode::OK)?).map(Some)
}

fn session(answer: &Answer) -> Result<Session, Failure> {
    let Tokens { access_token, scope, identity_assertion } = answer.read()?;
    let scopes = scope.split_whitespace().map(str::to_owned).collect();
    Ok(Session { access_token, refresh_token: identity_assertion, scopes, account: None })
}
