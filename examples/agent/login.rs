//! The three modes of the Agent Analytics login. They replace steps 3 to 6 if the service offers it.

use std::{
    io::{self, BufRead, Write},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::http::StatusCode;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower_agent_auth::types::random::{OsRandom, Random};

use crate::{
    Account, AgentSessionsBlock, AuthorizationServer, Mode, Options, Progress, Session,
    callback::Listener,
    http::{Client, Failure},
    plain, step,
};

/// The interval of status polls.
const INTERVAL: Duration = Duration::from_secs(2);

/// The response to the start of a login, with the fields that are used here.
#[derive(Deserialize)]
struct Started {
    auth_request_id: String,
    authorize_url: String,
    poll_token: String,
    expires_at: u64,
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct Polled {
    status: String,
    exchange_code: Option<String>,
}

/// The response to redeeming a code or refreshing a session. A refresh response has the account in another place.
#[derive(Deserialize)]
pub(crate) struct Issued {
    pub(crate) agent_session: Tokens,
    account: Option<Account>,
}

#[derive(Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) scopes: Vec<String>,
}

pub(crate) fn log_in(
    client: &Client,
    options: &Options,
    mode: Mode,
    resource: &str,
    server: &AuthorizationServer,
) -> Result<Session, Failure> {
    let endpoints =
        server.agent_auth.agent_sessions.as_ref().ok_or("this service has no such login; leave --mode out")?;
    let name = match mode {
        Mode::Browser => "interactive",
        Mode::Detached => "detached",
        Mode::FinishCode => "finish_code",
    };
    if !endpoints.modes_supported.iter().any(|supported| supported == name) {
        return Err(format!(
            "this service has switched off {name}; it offers: {}",
            endpoints.modes_supported.join(", ")
        )
        .into());
    }
    let mut body = json!({ "mode": name, "client_type": "example", "client_name": options.name, "resource": resource });
    if !options.scope.is_empty() {
        body["scopes"] = json!(options.scope);
    }
    match mode {
        Mode::Browser => browser(client, endpoints, server, body),
        Mode::Detached => detached(client, endpoints, &body),
        Mode::FinishCode => finish_code(client, endpoints, &body),
    }
}

/// Live browser login: the human's browser, on this machine, sends the code to the callback.
fn browser(
    client: &Client,
    endpoints: &AgentSessionsBlock,
    server: &AuthorizationServer,
    mut body: Value,
) -> Result<Session, Failure> {
    let listener = Listener::bind()?;
    let (verifier, state) = (random()?, random()?);
    body["callback_url"] = json!(listener.url());
    body["code_challenge"] = json!(BASE64URL_NOPAD.encode(&Sha256::digest(&verifier)));
    body["state"] = json!(state);
    let started =
        start(client, endpoints, &body, "open this link in a browser on this machine; only your human can approve:")?;
    let expected = [("request_id", started.auth_request_id.as_str()), ("state", &state), ("iss", &server.issuer)];
    let code = listener.wait(&expected, started.deadline())?;
    step(5, "was approved; the browser brought the code");
    exchange(client, endpoints, &started, &json!({ "exchange_code": code, "code_verifier": verifier }))
}

/// Detached login: the human's browser may be on any machine, and the agent polls.
fn detached(client: &Client, endpoints: &AgentSessionsBlock, body: &Value) -> Result<Session, Failure> {
    let started = start(client, endpoints, body, "show this link to your human; only they can approve:")?;
    let ask = json!({ "auth_request_id": started.auth_request_id, "poll_token": started.poll_token });
    let deadline = started.deadline();
    let mut progress = Progress::new();
    while Instant::now() < deadline {
        progress.show(deadline);
        sleep(INTERVAL);
        let Polled { status, exchange_code } =
            client.post(&endpoints.poll_uri, &ask)?.expect(StatusCode::OK)?.read()?;
        match (status.as_str(), exchange_code) {
            ("approved", Some(code)) => {
                drop(progress);
                step(5, "was approved");
                return exchange(client, endpoints, &started, &json!({ "exchange_code": code }));
            }
            ("pending", _) => {}
            (other, _) => return Err(format!("The login is over: {}.", plain(other)).into()),
        }
    }
    Err("Nobody decided in time. Start again when your human is there.".into())
}

/// Login by finish code: the human passes back a code, which is valid only with the poll token.
fn finish_code(client: &Client, endpoints: &AgentSessionsBlock, body: &Value) -> Result<Session, Failure> {
    let started = start(client, endpoints, body, "show this link to your human; only they can approve:")?;
    print!("   the finish code that the page shows: ");
    io::stdout().flush()?;
    let mut code = String::new();
    io::stdin().lock().read_line(&mut code)?;
    let code = code.trim();
    if code.is_empty() {
        return Err("There was no code.".into());
    }
    step(5, "got the code");
    exchange(client, endpoints, &started, &json!({ "exchange_code": code }))
}

fn start(client: &Client, endpoints: &AgentSessionsBlock, body: &Value, ask: &str) -> Result<Started, Failure> {
    let started: Started = client.post(&endpoints.start_uri, body)?.expect(StatusCode::CREATED)?.read()?;
    step(3, &format!("started a login as {}, asking for: {}", body["client_name"], started.scopes.join(" ")));
    step(4, ask);
    println!("\n   {}\n", plain(&started.authorize_url));
    Ok(started)
}

fn exchange(
    client: &Client,
    endpoints: &AgentSessionsBlock,
    started: &Started,
    proof: &Value,
) -> Result<Session, Failure> {
    let mut body = proof.clone();
    body["auth_request_id"] = json!(started.auth_request_id);
    body["poll_token"] = json!(started.poll_token);
    let issued: Issued = client.post(&endpoints.exchange_uri, &body)?.expect(StatusCode::OK)?.read()?;
    step(6, "exchanged the code");
    let Tokens { access_token, refresh_token, scopes } = issued.agent_session;
    let account = issued.account.ok_or("the service does not say whose account it is")?;
    Ok(Session { access_token, refresh_token: Some(refresh_token), scopes, account })
}

impl Started {
    fn deadline(&self) -> Instant {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant::now() + Duration::from_millis(self.expires_at).saturating_sub(now)
    }
}

/// 256 random bits, encoded for a URL.
fn random() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    OsRandom.fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}
