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
    callback::{Listener, TOO_LATE},
    failure::{Exit, Failure},
    http::{Answer, Client, host},
    interrupt, plain,
    qr::Qr,
    show_link, step,
};

/// The interval of status polls.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many wrong finish codes the human may paste. The service locks a login after five.
const MISSES: usize = 4;
/// The fewest letters and digits of a finish code after its prefix.
const SHORTEST_CODE: usize = 20;

/// The response to the start of a login, with the fields that are used here.
#[derive(Deserialize)]
struct Started {
    auth_request_id: String,
    authorize_url: String,
    poll_token: String,
    expires_at: u64,
    scopes: Vec<String>,
    check_phrase: Option<String>,
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
    endpoints: &AgentSessionsBlock,
) -> Result<Session, Failure> {
    let name = match mode {
        Mode::Browser => "interactive",
        Mode::Detached => "detached",
        Mode::FinishCode => "finish_code",
        Mode::Identity => return Err("an identity needs no login of the command line".into()),
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
    if let Some(reason) = &options.reason {
        body["reason"] = json!(reason);
    }
    match mode {
        Mode::Browser => browser(client, endpoints, resource, server, body),
        Mode::Detached => detached(client, options.qr, endpoints, &body),
        Mode::FinishCode | Mode::Identity => finish_code(client, options.qr, endpoints, &body),
    }
}

/// Live browser login: the human's browser, on this machine, sends the code to the callback.
fn browser(
    client: &Client,
    endpoints: &AgentSessionsBlock,
    resource: &str,
    server: &AuthorizationServer,
    mut body: Value,
) -> Result<Session, Failure> {
    let listener = Listener::bind(&[&host(&server.issuer)?, &host(resource)?])?;
    let (verifier, state) = (random()?, random()?);
    body["callback_url"] = json!(listener.url());
    body["code_challenge"] = json!(BASE64URL_NOPAD.encode(&Sha256::digest(&verifier)));
    body["state"] = json!(state);
    // No phone, so no QR code.
    let ask = "open this link in a browser on this machine; only your human can approve:";
    let started = start(client, endpoints, &body, ask, Qr::Never)?;
    let expected = [("request_id", started.auth_request_id.as_str()), ("state", &state), ("iss", &server.issuer)];
    let ask = started.ask();
    // Only an end of the login is of interest here: the code comes with the browser.
    let poll = || client.post_once(&endpoints.poll_uri, &ask).map_or(Ok(()), |answer| ended(&answer));
    let (_, code) = listener.wait(&expected, &["exchange_code"], started.deadline(), INTERVAL, poll)?;
    step(5, "was approved; the browser brought the code");
    exchange(client, endpoints, &started, &json!({ "exchange_code": code, "code_verifier": verifier }))
}

/// Detached login: the human's browser may be on any machine, and the agent polls.
fn detached(client: &Client, qr: Qr, endpoints: &AgentSessionsBlock, body: &Value) -> Result<Session, Failure> {
    let started = start(client, endpoints, body, "show this link to your human; only they can approve:", qr)?;
    let deadline = started.deadline();
    let mut progress = Progress::new();
    while Instant::now() < deadline {
        progress.show(deadline);
        sleep(INTERVAL);
        let answer = client.post(&endpoints.poll_uri, &started.ask())?;
        ended(&answer)?;
        let Polled { status, exchange_code } = answer.expect(StatusCode::OK)?.read()?;
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
    Err(Failure::new(Exit::TooLate, TOO_LATE))
}

/// The failure if a status poll says that the login came to nothing.
fn ended(answer: &Answer) -> Result<(), Failure> {
    let status = if answer.status == StatusCode::GONE { answer.read::<Polled>()?.status } else { String::new() };
    match status.as_str() {
        "revoked" => {
            let (_, text) = answer.error();
            Err(Failure::new(Exit::Denied, format!("The login is over: {}.", plain(&text))))
        }
        "expired" => Err(Failure::new(Exit::TooLate, TOO_LATE)),
        _ => Ok(()),
    }
}

/// Login by finish code: the human passes back a code, which is valid only with the poll token.
fn finish_code(client: &Client, qr: Qr, endpoints: &AgentSessionsBlock, body: &Value) -> Result<Session, Failure> {
    let started = start(client, endpoints, body, "show this link to your human; only they can approve:", qr)?;
    let mut lines = io::stdin().lock().lines();
    let mut misses = 0;
    loop {
        eprint!("   the finish code that the page shows, or its message: ");
        io::stderr().flush()?;
        let code = loop {
            let line = lines.next().transpose()?.ok_or("There was no code.")?;
            // The page's message is two lines: what it is, and the code.
            match code_in(&line).map(str::to_owned) {
                Some(code) => break code,
                None if line.trim().is_empty() || line.trim_end().ends_with(':') => {}
                None => eprint!("   there is no code in that; paste the code: "),
            }
        };
        interrupt::leaves(interrupt::SESSION);
        let body = started.proof(&json!({ "exchange_code": code }));
        let answer = client.post(&endpoints.exchange_uri, &body)?;
        match answer.status {
            StatusCode::BAD_REQUEST if answer.error().0 == "INVALID_STATE" => {
                interrupt::leaves(interrupt::REQUEST);
                eprintln!("   your human has not approved yet; they do that first, and then the page shows the code");
            }
            StatusCode::UNAUTHORIZED if misses < MISSES - 1 => {
                misses += 1;
                interrupt::leaves(interrupt::REQUEST);
                eprintln!("   that is not the code; copy it once more from the page");
            }
            StatusCode::OK => {
                step(5, "got the code");
                return issued(answer);
            }
            _ => {
                ended(&client.post(&endpoints.poll_uri, &started.ask())?)?;
                return issued(answer);
            }
        }
    }
}

/// The finish code in a line that a human pasted: a prefix, an underscore, and many letters and digits.
fn code_in(line: &str) -> Option<&str> {
    let words = line.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.into_iter().find(|word| {
        let random = word.split_once('_').map_or("", |(_, random)| random);
        random.len() >= SHORTEST_CODE && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn start(client: &Client, endpoints: &AgentSessionsBlock, body: &Value, ask: &str, qr: Qr) -> Result<Started, Failure> {
    let started: Started = client.post(&endpoints.start_uri, body)?.expect(StatusCode::CREATED)?.read()?;
    step(3, &format!("started a login as {}, asking for: {}", body["client_name"], started.scopes.join(" ")));
    step(4, ask);
    show_link(qr, &started.authorize_url, started.check_phrase.as_deref());
    Ok(started)
}

fn exchange(
    client: &Client,
    endpoints: &AgentSessionsBlock,
    started: &Started,
    proof: &Value,
) -> Result<Session, Failure> {
    interrupt::leaves(interrupt::SESSION);
    issued(client.post(&endpoints.exchange_uri, &started.proof(proof))?)
}

fn issued(answer: Answer) -> Result<Session, Failure> {
    let issued: Issued = answer.expect(StatusCode::OK)?.read()?;
    step(6, "exchanged the code");
    let Tokens { access_token, refresh_token, scopes } = issued.agent_session;
    let account = issued.account.ok_or("the service does not say whose account it is")?;
    Ok(Session { access_token, refresh_token: Some(refresh_token), scopes, account: Some(account) })
}

impl Started {
    /// The body of a status poll.
    fn ask(&self) -> Value {
        json!({ "auth_request_id": self.auth_request_id, "poll_token": self.poll_token })
    }

    /// The body that redeems the login.
    fn proof(&self, proof: &Value) -> Value {
        let mut body = proof.clone();
        body["auth_request_id"] = json!(self.auth_request_id);
        body["poll_token"] = json!(self.poll_token);
        body
    }

    fn deadline(&self) -> Instant {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant::now() + Duration::from_millis(self.expires_at).saturating_sub(now)
    }
}

/// 256 random bits, encoded for a URL.
pub(crate) fn random() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    OsRandom.fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}
