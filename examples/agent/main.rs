//! An agent that gets access in the eight steps of auth.md, from any service that offers them.
//!
//! ```text
//! cargo run --example agent -- http://localhost:3000/projects --scope projects:read
//! ```
//!
//! If the service has the login of the Agent Analytics command line, `--mode` selects one of its three modes in place
//! of steps 3 to 6: a live browser on this machine, a browser on any machine, or a finish code that the human passes
//! back. A service that has only an OAuth server gets an OAuth client: by authorization code, or with `--mode detached` by
//! device code. `--mode identity` logs in by the open auth.md protocol, and so does a service that has nothing else.
//!
//! It stores the credential in a file, and `--logout` revokes and removes it. Only the response of the URL goes to stdout, so
//! `agent URL | jq` works.
//!
//! It knows one URL. It learns everything else from the challenge of a refused call, and from the documents that the
//! challenge refers to. It checks both before it sends a secret.
#![allow(clippy::print_stderr, reason = "it talks to the human who started it")]

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use ::http::{StatusCode, Uri};
use clap::{Parser, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

mod callback;
mod credential;
mod failure;
mod http;
mod identity;
mod interrupt;
mod login;
mod oauth;
#[path = "../common/plain.rs"]
mod plain;
#[path = "../common/qr.rs"]
mod qr;
#[path = "../common/terminal.rs"]
mod terminal;

use credential::{Credential, Credentials, Refresh};
use failure::{EXIT_CODES, Exit, Failure};
use http::{Answer, Client, LONGEST_WAIT, check_url, is_below, origin};
use plain::plain;
use qr::Qr;

/// An agent that asks its human for access to a URL, and calls it
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Options {
    /// The URL to call
    #[arg(value_parser = callable)]
    url: String,

    /// A scope to request; may be repeated. Default: the service's default scopes
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,

    /// The file that stores the credential
    #[arg(long, value_name = "FILE", default_value = "agent-credential.json")]
    credential: PathBuf,

    /// The agent's name, as shown to the human
    #[arg(long, default_value = "Example agent")]
    name: String,

    /// Why it needs access, in a sentence for the human
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// When to show the link as a QR code, for the human's phone; never with --mode browser
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Qr::Auto)]
    qr: Qr,

    /// The login mode, in place of a claim token
    #[arg(long, value_enum)]
    mode: Option<Mode>,

    /// Revoke the session of the URL, and delete its credential
    #[arg(long, conflicts_with_all = ["mode", "reason", "scope"])]
    logout: bool,
}

/// A login mode.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// The human's browser is on this machine
    Browser,
    /// The human's browser may be on any machine
    Detached,
    /// The human passes a code back
    FinishCode,
    /// The open auth.md protocol: the human types a code, and an assertion renews the access token
    Identity,
}

fn callable(url: &str) -> Result<String, String> {
    check_url("the URL", url).map(|()| url.to_owned()).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let options = Options::parse();
    match interrupt::watch().map_err(Failure::from).and_then(|()| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", plain(&error.text));
            error.exit.into()
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let client = Client::new();
    let mut kept = Credentials::load(&options.credential)?;
    if options.logout {
        return log_out(&client, options, &mut kept);
    }

    if let Some(credential) = kept.find(&options.url).filter(|credential| credential.has(&options.scope)) {
        eprintln!("The credential in {} is for {}.", options.credential.display(), plain(&credential.resource));
        let mut answer = client.call(&options.url, Some(&credential.access_token))?;
        if answer.refuses_token() {
            // A refresh uses the old tokens up.
            kept.check_writable()?;
        }
        let fresh = if answer.refuses_token() { refresh(&client, &credential)? } else { None };
        if let Some(fresh) = fresh {
            eprintln!("It had expired, and was refreshed.");
            interrupt::complete(&stored(options), || kept.keep(&fresh))?;
            answer = client.call(&options.url, Some(&fresh.access_token))?;
        }
        if !answer.refuses_token() {
            return finish(&answer, &credential.scopes);
        }
        eprintln!("It is no longer good: it has expired, or was revoked. Starting over.");
        interrupt::complete(interrupt::NOTHING, || kept.forget(&options.url))?;
    }

    // Before a human is asked for what could not be kept.
    kept.check_writable()?;
    let Some(credential) = ask_for_access(&client, options)? else { return Ok(()) };
    interrupt::complete(&stored(options), || kept.keep(&credential))?;
    let answer = client.call(&options.url, Some(&credential.access_token))?;
    step(8, &format!("called {} with the token: {}", options.url, answer.status));
    finish(&answer, &credential.scopes)
}

/// What Ctrl-C leaves behind once there is a credential.
fn stored(options: &Options) -> String {
    format!("The credential is in {}; --logout revokes its session and deletes it.", options.credential.display())
}

/// Revokes the session and deletes its credential, which is deleted even if the service can't be reached.
fn log_out(client: &Client, options: &Options, kept: &mut Credentials) -> Result<(), Failure> {
    let Some(credential) = kept.find(&options.url) else {
        eprintln!("There is no credential for {} in {}.", options.url, options.credential.display());
        return Ok(());
    };
    kept.check_writable()?;
    interrupt::leaves(interrupt::LOG_OUT);
    let revoked = revoke(client, &credential);
    kept.forget(&options.url)?;
    let (resource, file) = (plain(&credential.resource), options.credential.display());
    match revoked {
        Ok(()) => {
            eprintln!("Logged out of {resource}: its session is revoked, and its credential is deleted from {file}.")
        }
        Err(Failure { exit, text }) => {
            let text = format!(
                "The credential for {resource} is deleted from {file}, but its session may still live: {text}. \
                 Your human can revoke it on the sessions page of the service."
            );
            return Err(Failure::new(exit, text));
        }
    }
    Ok(())
}

/// Revokes the session of a credential (RFC 7009).
fn revoke(client: &Client, credential: &Credential) -> Result<(), Failure> {
    let uri = credential.revocation_uri.as_ref().ok_or("the service has no revocation endpoint")?;
    let token = credential.refresh.as_ref().map_or(&credential.access_token, |refresh| &refresh.token);
    // Whether or not the session was over already, the answer is 200 (RFC 7009 section 2.2).
    let answer = match credential.refresh.as_ref().and_then(|refresh| refresh.client_id.as_deref()) {
        Some(id) => client.post_form(uri, &[("token", token), ("client_id", id)])?,
        None => client.post(uri, &json!({ "token": token }))?,
    };
    answer.expect(StatusCode::OK).map(drop)
}

/// Refreshes the credential. `None` if it has no refresh token or the session is over. Processes that share a
/// credential must also share the new one: a refresh token can be used once.
fn refresh(client: &Client, credential: &Credential) -> Result<Option<Credential>, Failure> {
    let Some(Refresh { token, uri, client_id, is_assertion }) = &credential.refresh else { return Ok(None) };
    interrupt::leaves(interrupt::REFRESH);
    if *is_assertion {
        let fresh = identity::exchange(client, credential, uri, token)?;
        return Ok(fresh.map(|Session { access_token, scopes, .. }| {
            // The assertion is good for more.
            Credential { access_token, scopes, ..credential.clone() }
        }));
    }
    if let Some(id) = client_id {
        let fresh = oauth::refresh(client, credential, id, uri, token)?;
        return Ok(fresh.map(|Session { access_token, refresh_token, scopes, .. }| {
            // A service may keep the refresh token as it is (RFC 6749 section 6).
            let token = refresh_token.unwrap_or_else(|| token.clone());
            let refresh = Some(Refresh { token, uri: uri.clone(), client_id: client_id.clone(), is_assertion: false });
            Credential { access_token, refresh, scopes, ..credential.clone() }
        }));
    }
    let answer = client.post(uri, &json!({ "refresh_token": token }))?;
    if answer.status == StatusCode::UNAUTHORIZED {
        return Ok(None);
    }
    let login::Issued { agent_session: fresh, .. } = answer.expect(StatusCode::OK)?.read()?;
    let refresh = Some(Refresh { token: fresh.refresh_token, uri: uri.clone(), client_id: None, is_assertion: false });
    Ok(Some(Credential { access_token: fresh.access_token, refresh, scopes: fresh.scopes, ..credential.clone() }))
}

/// Steps 1 to 7. `None` if the URL can be called without access.
fn ask_for_access(client: &Client, options: &Options) -> Result<Option<Credential>, Failure> {
    let url = &options.url;

    let answer = client.call(url, None)?;
    if answer.status != StatusCode::UNAUTHORIZED {
        eprintln!("{url} answers {} without a credential; there is nothing to ask for.", answer.status);
        finish(&answer, &[])?;
        return Ok(None);
    }
    let metadata_url = answer.challenged_metadata()?;
    step(1, &format!("was refused by {url}; the challenge leads to {metadata_url}"));

    let (resource, server) = discover(client, url, &metadata_url)?;
    let about = if server.agent_auth.skill.is_empty() {
        String::new()
    } else {
        format!("; to read: {}", server.agent_auth.skill)
    };
    step(2, &format!("discovered {}, whose access is given by {}{about}", resource.title(), server.issuer));

    let blocks = (&server.agent_auth.agent_sessions, &server.agent_auth.claim, &server.oauth);
    let mut is_assertion = false;
    let (issued, refresh_uri, client_id) = match (options.mode, blocks) {
        (Some(Mode::Identity), _) | (None, (None, None, None)) => {
            let (Some(identity), Some(token)) = (&server.agent_auth.identity_endpoint, &server.token_endpoint) else {
                return Err("this service has no login of the open auth.md protocol".into());
            };
            is_assertion = true;
            let issued = identity::log_in(client, options, &resource.resource, identity, token)?;
            (issued, Some(token.clone()), None)
        }
        (Some(mode), (Some(sessions), ..)) => {
            let issued = login::log_in(client, options, mode, &resource.resource, &server, sessions)?;
            (issued, Some(sessions.refresh_uri.clone()), None)
        }
        (None, (sessions, Some(endpoints), _)) => {
            let issued = claim(client, options, &resource.resource, endpoints)?;
            (issued, sessions.as_ref().map(|sessions| sessions.refresh_uri.clone()), None)
        }
        (_, (.., Some(endpoints))) => {
            let (issued, id) = oauth::log_in(client, options, &resource.resource, &server, endpoints)?;
            (issued, Some(endpoints.token_endpoint.clone()), Some(id))
        }
        (Some(_), _) => return Err("this service has no such login; leave --mode out".into()),
        (None, _) => return Err("this service has no login for this agent; one may be open to it with --mode".into()),
    };
    let scopes = issued.scopes.join(" ");
    match &issued.account {
        Some(account) => step(7, &format!("acts for the account {account}, with the scopes: {scopes}")),
        None => step(7, &format!("has the scopes: {scopes}")),
    }
    let revocation_uri = server.revocation_endpoint;
    let refresh = issued.refresh_token.zip(refresh_uri);
    let refresh = refresh.map(|(token, uri)| Refresh { token, uri, client_id, is_assertion });
    let Session { access_token, scopes, .. } = issued;
    Ok(Some(Credential { resource: resource.resource, access_token, refresh, revocation_uri, scopes }))
}

/// Steps 3 to 6 of auth.md.
fn claim(client: &Client, options: &Options, resource: &str, endpoints: &ClaimBlock) -> Result<Session, Failure> {
    let authorization = register(client, options, resource, endpoints)?;
    step(3, &format!("registered as {:?}, asking for: {}", options.name, authorization.scopes.join(" ")));

    step(4, "show this link to your human; only they can approve:");
    show_link(options.qr, &authorization.claim_url, authorization.check_phrase.as_deref());

    wait_for_approval(client, endpoints, &authorization)?;
    step(5, "was approved");

    interrupt::leaves(interrupt::SESSION);
    let claim = json!({ "claim_token": authorization.claim_token });
    let answer = client.post(&endpoints.claim_complete_uri, &claim)?.expect(StatusCode::OK)?;
    step(6, "completed the claim");
    answer.read()
}

/// Protected resource metadata (RFC 9728), with the fields that are used here.
#[derive(Deserialize)]
struct Resource {
    resource: String,
    authorization_servers: Vec<String>,
    #[serde(default)]
    resource_name: String,
}

impl Resource {
    fn title(&self) -> String {
        let name = if self.resource_name.is_empty() { "a service" } else { &self.resource_name };
        format!("{name} at {}", self.resource)
    }
}

/// Authorization server metadata (RFC 8414), with the fields that are used here.
#[derive(Deserialize)]
struct AuthorizationServer {
    issuer: String,
    resource: Option<String>,
    /// All resources, if there are several (RFC 9728 section 4).
    protected_resources: Option<Vec<String>>,
    revocation_endpoint: Option<String>,
    /// Also a field of `oauth`, so it is read apart: a flattened field takes its members away.
    #[serde(skip)]
    token_endpoint: Option<String>,
    #[serde(default)]
    agent_auth: AgentAuthBlock,
    #[serde(flatten)]
    oauth: Option<oauth::Endpoints>,
}

#[derive(Default, Deserialize)]
struct AgentAuthBlock {
    #[serde(default)]
    skill: String,
    /// Where agents of the open auth.md protocol register.
    identity_endpoint: Option<String>,
    #[serde(flatten)]
    claim: Option<ClaimBlock>,
    agent_sessions: Option<AgentSessionsBlock>,
}

/// The login of auth.md by claim token.
#[derive(Deserialize)]
struct ClaimBlock {
    register_uri: String,
    claim_uri: String,
    claim_complete_uri: String,
}

/// The login of the Agent Analytics command line.
#[derive(Deserialize)]
struct AgentSessionsBlock {
    start_uri: String,
    poll_uri: String,
    exchange_uri: String,
    refresh_uri: String,
    modes_supported: Vec<String>,
}

/// Reads both documents, and checks that each is for the expected resource and issuer.
fn discover(client: &Client, url: &str, metadata_url: &str) -> Result<(Resource, AuthorizationServer), Failure> {
    check_url("resource_metadata", metadata_url)?;
    let resource: Resource = client.get(metadata_url)?.expect(StatusCode::OK)?.read()?;
    // RFC 9728 section 3.3: otherwise a service could obtain a token for another service.
    if !is_below(url, &resource.resource) {
        return Err(format!("{metadata_url} is about {}, not about {url}", resource.resource).into());
    }

    let issuer = resource.authorization_servers.first().ok_or("the resource names no authorization server")?;
    check_url("authorization_servers", issuer)?;
    let metadata = client.get(&metadata_of(issuer)?)?.expect(StatusCode::OK)?;
    let mut server: AuthorizationServer = metadata.read()?;
    server.token_endpoint = metadata.read::<Value>()?["token_endpoint"].as_str().map(str::to_owned);
    // RFC 8414 section 3.3.
    if server.issuer != *issuer {
        return Err(format!("the metadata of {issuer} is about {}", server.issuer).into());
    }
    // RFC 9728 section 7.4: a malicious resource may name another's authorization server to obtain a token for that
    // one.
    let known = match (&server.protected_resources, &server.resource) {
        (Some(all), _) => all.contains(&resource.resource),
        (None, Some(one)) => *one == resource.resource,
        (None, None) => true,
    };
    if !known {
        return Err(format!("{issuer} does not give access to {}", resource.resource).into());
    }
    let AgentAuthBlock { claim, agent_sessions, .. } = &server.agent_auth;
    let mut endpoints = Vec::new();
    if let Some(ClaimBlock { register_uri, claim_uri, claim_complete_uri }) = claim {
        endpoints.extend([register_uri, claim_uri, claim_complete_uri]);
    }
    if let Some(AgentSessionsBlock { start_uri, poll_uri, exchange_uri, refresh_uri, .. }) = agent_sessions {
        endpoints.extend([start_uri, poll_uri, exchange_uri, refresh_uri]);
    }
    if let Some(oauth) = &server.oauth {
        endpoints.extend([&oauth.authorization_endpoint, &oauth.token_endpoint]);
        endpoints.extend(oauth.registration_endpoint.iter().chain(&oauth.device_authorization_endpoint));
    }
    endpoints.extend(&server.revocation_endpoint);
    for endpoint in endpoints {
        if origin(endpoint)? != origin(issuer)? {
            return Err(format!("{endpoint} is not at the authorization server {issuer}").into());
        }
    }
    Ok((resource, server))
}

/// The URL of an issuer's metadata (RFC 8414 section 3.1): the well-known path is inserted between its host and its
/// path.
fn metadata_of(issuer: &str) -> Result<String, Failure> {
    let path = issuer.parse::<Uri>()?.path().trim_end_matches('/').to_owned();
    Ok(format!("{}/.well-known/oauth-authorization-server{path}", origin(issuer)?))
}

#[derive(Deserialize)]
struct AuthorizationRequest {
    claim_url: String,
    claim_token: String,
    expires_in: u64,
    interval: u64,
    #[serde(default)]
    scopes: Vec<String>,
    check_phrase: Option<String>,
}

fn register(
    client: &Client,
    options: &Options,
    resource: &str,
    endpoints: &ClaimBlock,
) -> Result<AuthorizationRequest, Failure> {
    let mut body = json!({
        "type": "user_claimed",
        "resource": resource,
        "requested_credential_type": "access_token",
        "client_name": options.name,
    });
    if !options.scope.is_empty() {
        body["requested_scopes"] = json!(options.scope);
    }
    if let Some(reason) = &options.reason {
        body["reason"] = json!(reason);
    }
    client.post(&endpoints.register_uri, &body)?.expect(StatusCode::CREATED)?.read()
}

#[derive(Deserialize)]
struct ClaimStatus {
    status: String,
    #[serde(default)]
    interval: u64,
}

/// Polls at the given interval until the human has decided.
fn wait_for_approval(client: &Client, endpoints: &ClaimBlock, asked: &AuthorizationRequest) -> Result<(), Failure> {
    let claim = json!({ "claim_token": asked.claim_token });
    let deadline = Instant::now() + Duration::from_secs(asked.expires_in);
    let mut interval = Duration::from_secs(asked.interval.max(1));
    let mut progress = Progress::new();
    while Instant::now() < deadline {
        progress.show(deadline);
        sleep(interval.min(LONGEST_WAIT));
        let answer = client.post_once(&endpoints.claim_uri, &claim)?;
        if let Some(pause) = answer.asks_to_wait() {
            // RFC 8628 section 3.5: after polling too often, the agent polls less often from now on.
            interval = if answer.status == StatusCode::TOO_MANY_REQUESTS { interval.max(pause) } else { interval };
            continue;
        }
        let ClaimStatus { status, interval: wanted } = answer.expect(StatusCode::OK)?.read()?;
        interval = interval.max(Duration::from_secs(wanted));
        match status.as_str() {
            "pending" => {}
            "approved" => return Ok(()),
            "denied" => {
                let text = "Your human denied it. Do not ask again unless they tell you to.";
                return Err(Failure::new(Exit::Denied, text));
            }
            "revoked" => return Err(Failure::new(Exit::Denied, "Your human took the approval back.")),
            "expired" => break,
            other => return Err(format!("The request for access is over: {other}.").into()),
        }
    }
    Err(Failure::new(Exit::TooLate, callback::TOO_LATE))
}

/// A line that shows how much time the human has left. If the terminal knows escape sequences, it is overwritten.
struct Progress {
    has_escapes: bool,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { has_escapes: terminal::has_escapes(&io::stderr()), shown: false }
    }

    fn show(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        if self.has_escapes {
            eprint!("\r   waiting for your human, for {left} s at most \u{1b}[K");
        } else if !self.shown {
            eprintln!("   waiting for your human, for {left} s at most");
        }
        self.shown = true;
        let _ = io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_escapes && self.shown {
            eprintln!();
        }
    }
}

/// The response to redeeming a claim token, with the fields that are used here.
#[derive(Deserialize)]
struct Session {
    access_token: String,
    refresh_token: Option<String>,
    scopes: Vec<String>,
    /// OAuth does not say whose it is.
    account: Option<Account>,
}

#[derive(Deserialize)]
struct Account {
    id: String,
    #[serde(default)]
    email: Option<String>,
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.email.as_ref().unwrap_or(&self.id))
    }
}

/// Prints the response of the called URL to stdout. A refusal is returned as an error with advice.
fn finish(answer: &Answer, granted: &[String]) -> Result<(), Failure> {
    if answer.status.is_success() {
        return print_body(&answer.body);
    }
    let (code, text) = answer.error();
    let (exit, text) = match (answer.status, code.as_str()) {
        (StatusCode::FORBIDDEN, "insufficient_scope") => {
            let challenge = answer.challenge();
            let needed = challenge.as_ref().and_then(|bearer| bearer.parameter("scope")).unwrap_or_default();
            let scopes = granted.iter().map(String::as_str).chain(needed.split_whitespace());
            let flags: String = scopes.map(|scope| format!(" --scope {scope}")).collect();
            let text = format!("The session lacks a scope. If your human agrees, run this again with{flags}.");
            (Exit::Refused, text)
        }
        (StatusCode::FORBIDDEN, "owner_only") => {
            (Exit::Refused, "Only the account's human can do this; no scope would help.".to_owned())
        }
        (StatusCode::FORBIDDEN, _) => (Exit::Refused, format!("The service refused: {text}")),
        _ if answer.is_unavailable() => {
            (Exit::Unreachable, format!("The service can't answer now: {}: {text}", answer.status))
        }
        (status, _) => (Exit::Failed, format!("The service answered {status}: {text}")),
    };
    Err(Failure::new(exit, text))
}

/// Prints a body byte for byte, or on a terminal without control characters.
fn print_body(body: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = if stdout.is_terminal() {
        String::from_utf8_lossy(body).lines().try_for_each(|line| writeln!(stdout, "{}", plain(line)))
    } else {
        stdout.write_all(body)
    };
    match written.and_then(|()| stdout.flush()) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints one of the eight steps to stderr.
fn step(number: u8, text: &str) {
    eprintln!("{number}. {}", plain(text));
}

/// Shows the link to the human, and what its page must show.
fn show_link(qr: Qr, link: &str, check_phrase: Option<&str>) {
    interrupt::leaves(interrupt::REQUEST);
    let link = plain(link);
    eprintln!("\n   {link}\n");
    if let Some(lines) = qr.lines(&link, &io::stderr()) {
        eprintln!("{lines}");
    }
    // A page that shows another phrase is about the request of another agent.
    if let Some(phrase) = check_phrase {
        eprintln!("   The page must show the phrase: {}\n", plain(phrase));
    }
}
