//! The login of OAuth 2.1 clients. It replaces steps 3 to 6 if the service offers nothing else, or no such mode.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use ::http::StatusCode;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    AuthorizationServer, Mode, Options, Progress, Session,
    callback::{Listener, TOO_LATE},
    credential::Credential,
    failure::{Exit, Failure},
    http::{Answer, Client, host},
    interrupt,
    login::random,
    plain,
    qr::Qr,
    show_link, step,
};

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long the human may take in the browser. The service does not say.
const PATIENCE: Duration = Duration::from_secs(600);

/// The endpoints of an OAuth server, with the fields that are used here (RFC 8414 section 2).
#[derive(Deserialize)]
pub(crate) struct Endpoints {
    pub(crate) authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) registration_endpoint: Option<String>,
    pub(crate) device_authorization_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
}

/// The token response (RFC 6749 section 5.1).
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    refresh_token: Option<String>,
    #[serde(default)]
    scope: String,
}

/// The response to a device's request (RFC 8628 section 3.2).
#[derive(Deserialize)]
struct Device {
    device_code: String,
    user_code: String,
    verification_uri: String,
    /// The same with the code in it.
    verification_uri_complete: Option<String>,
    expires_in: u64,
    #[serde(default)]
    interval: u64,
}

/// Logs in by authorization code, or with `--mode detached` by device code.
pub(crate) fn log_in(
    client: &Client,
    options: &Options,
    resource: &str,
    server: &AuthorizationServer,
    endpoints: &Endpoints,
) -> Result<(Session, String), Failure> {
    match options.mode {
        None | Some(Mode::Browser) => browser(client, options, resource, server, endpoints),
        Some(Mode::Detached) => device(client, options, resource, endpoints),
        Some(Mode::FinishCode | Mode::Identity) => Err("this service has no such login; leave --mode out".into()),
    }
}

/// Authorization code grant (RFC 6749 section 4.1) with PKCE (RFC 7636).
fn browser(
    client: &Client,
    options: &Options,
    resource: &str,
    server: &AuthorizationServer,
    endpoints: &Endpoints,
) -> Result<(Session, String), Failure> {
    if !endpoints.code_challenge_methods_supported.iter().any(|method| method == "S256") {
        return Err("the service does not say that it checks code challenges (S256)".into());
    }
    let listener = Listener::bind(&[&host(&server.issuer)?, &host(resource)?])?;
    let (redirect_uri, verifier, state) = (listener.url(), random()?, random()?);
    let id = register(client, options, endpoints, &json!({ "redirect_uris": [redirect_uri] }))?;
    let (challenge, scope) = (BASE64URL_NOPAD.encode(&Sha256::digest(&verifier)), options.scope.join(" "));
    let mut asked = vec![
        ("response_type", "code"),
        ("client_id", &*id),
        ("redirect_uri", &*redirect_uri),
        ("state", &*state),
        ("code_challenge", &*challenge),
        ("code_challenge_method", "S256"),
        ("resource", resource),
    ];
    asked.extend((!scope.is_empty()).then_some(("scope", &*scope)));
    asked.extend(options.reason.as_deref().map(|reason| ("reason", reason)));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(asked).finish();
    let separator = if endpoints.authorization_endpoint.contains('?') { '&' } else { '?' };
    step(4, "open this link in a browser on this machine; only your human can approve:");
    show_link(Qr::Never, &format!("{}{separator}{query}", endpoints.authorization_endpoint), None);
    // RFC 9207: an answer of another server is refused.
    let expected = [("state", &*state), ("iss", &*server.issuer)];
    let deadline = Instant::now() + PATIENCE;
    let code = match listener.wait(&expected, &["code", "error"], deadline, PATIENCE, || Ok(()))? {
        ("error", error) if error == "access_denied" => {
            return Err(Failure::new(Exit::Denied, "Your human denied it."));
        }
        ("error", error) => return Err(format!("the service refused: {error}").into()),
        (_, code) => code,
    };
    step(5, "was approved; the browser brought the code");
    interrupt::leaves(interrupt::SESSION);
    let answer = client.post_form(
        &endpoints.token_endpoint,
        &[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &redirect_uri),
            ("client_id", &id),
            ("code_verifier", &verifier),
            ("resource", resource),
        ],
    )?;
    let session = session(&answer.expect(StatusCode::OK)?)?;
    step(6, "exchanged the code");
    Ok((session, id))
}

/// Device authorization grant (RFC 8628): the browser may be on any machine.
fn device(
    client: &Client,
    options: &Options,
    resource: &str,
    endpoints: &Endpoints,
) -> Result<(Session, String), Failure> {
    let start = endpoints.device_authorization_endpoint.as_ref().ok_or("this service has no login by device code")?;
    let id = register(client, options, endpoints, &json!({ "grant_types": [DEVICE_CODE, "refresh_token"] }))?;
    let scope = options.scope.join(" ");
    let reason = options.reason.as_deref().unwrap_or_default();
    let asked = [("client_id", &*id), ("resource", resource), ("scope", &*scope), ("reason", reason)];
    let asked: Vec<_> = asked.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let device: Device = client.post_form(start, &asked)?.expect(StatusCode::OK)?.read()?;
    step(
        4,
        &format!("ask your human to open {} and to type the code, which the page then shows:", device.verification_uri),
    );
    eprintln!("\n   {}\n", plain(&device.user_code));
    interrupt::leaves(interrupt::REQUEST);
    let complete = device.verification_uri_complete.as_ref();
    if let Some(lines) = complete.and_then(|link| options.qr.lines(link, &io::stderr())) {
        eprintln!("   Or they open this on a phone; the page must show the same code:\n\n{lines}");
    }
    let deadline = Instant::now() + Duration::from_secs(device.expires_in);
    let mut interval = Duration::from_secs(device.interval.max(5));
    let mut progress = Progress::new();
    while Instant::now() < deadline {
        progress.show(deadline);
        sleep(interval);
        let poll = [("grant_type", DEVICE_CODE), ("device_code", &*device.device_code), ("client_id", &*id)];
        let answer = client.post_form(&endpoints.token_endpoint, &poll)?;
        if answer.status == StatusCode::OK {
            interrupt::leaves(interrupt::SESSION);
            drop(progress);
            step(5, "was approved");
            let session = session(&answer)?;
            step(6, "exchanged the code");
            return Ok((session, id));
        }
        match answer.error().0.as_str() {
            "authorization_pending" => {}
            "slow_down" => interval += Duration::from_secs(5),
            "access_denied" => return Err(Failure::new(Exit::Denied, "Your human denied it.")),
            "expired_token" => break,
            _ => return Err(answer.expect(StatusCode::OK).err().unwrap_or_else(|| "the login failed".into())),
        }
    }
    Err(Failure::new(Exit::TooLate, TOO_LATE))
}

/// Registers the agent (RFC 7591), and returns its client id.
fn register(
    client: &Client,
    options: &Options,
    endpoints: &Endpoints,
    with: &serde_json::Value,
) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Registered {
        client_id: String,
    }

    let endpoint = endpoints.registration_endpoint.as_ref().ok_or("this service registers no clients by itself")?;
    let mut body = with.clone();
    body["client_name"] = json!(options.name);
    body["token_endpoint_auth_method"] = json!("none");
    let Registered { client_id } = client.post(endpoint, &body)?.expect(StatusCode::CREATED)?.read()?;
    step(3, &format!("registered as {:?}", options.name));
    Ok(client_id)
}

/// Refreshes a credential of an OAuth client. `None` if the session is over.
pub(crate) fn refresh(
    client: &Client,
    credential: &Credential,
    id: &str,
    uri: &str,
    token: &str,
) -> Result<Option<Session>, Failure> {
    let asked = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", id),
        ("resource", &*credential.resource),
    ];
    let answer = client.post_form(uri, &asked)?;
    if matches!(answer.error().0.as_str(), "invalid_grant" | "invalid_client") {
        return Ok(None);
    }
    session(&answer.expect(StatusCode::OK)?).map(Some)
}

fn session(answer: &Answer) -> Result<Session, Failure> {
    let Tokens { access_token, refresh_token, scope } = answer.read()?;
    let scopes = scope.split_whitespace().map(str::to_owned).collect();
    Ok(Session { access_token, refresh_token, scopes, account: None })
}
