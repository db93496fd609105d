//! An agent that gets access in the eight steps of auth.md, from any service that offers them.
//!
//! ```text
//! cargo run --example agent -- http://127.0.0.1:3000/projects --scope projects:read
//! ```
//!
//! It knows one URL. Everything else it is told: by the challenge of a refused call, and by the documents that the challenge
//! leads to. What it is told it checks before it sends a secret anywhere.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the human who started it")]

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use clap::Parser;
use http::{HeaderMap, Response, StatusCode, Uri, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tower_agent_auth::challenge::Challenge;
use ureq::{Agent, Body};

/// The most that is read of an answer.
const LARGEST_ANSWER: u64 = 256 * 1024;
/// The longest that one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The longest that the agent waits because a service says so.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a request is sent again that a service could not answer.
const RETRIES: usize = 5;

type Failure = Box<dyn Error>;

/// An agent that asks its human for access to a URL, and calls it
#[derive(Parser)]
struct Options {
    /// The URL to call
    url: String,

    /// A scope to ask for; may be given several times. The service's default scopes unless given
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,

    /// Where the credential is kept
    #[arg(long, value_name = "FILE", default_value = "agent-credential.json")]
    credential: PathBuf,

    /// What the agent is called, as the human sees it
    #[arg(long, default_value = "Example agent")]
    name: String,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", plain(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    check_url("the URL", &options.url)?;
    let client = Client::new();
    let mut kept = Credentials::load(&options.credential)?;

    if let Some(credential) = kept.find(&options.url).filter(|credential| credential.has(&options.scope)) {
        println!("The credential in {} is for {}.", options.credential.display(), plain(&credential.resource));
        let answer = client.call(&options.url, Some(&credential.access_token))?;
        if !answer.refuses_token() {
            return finish(&answer, &credential.scopes);
        }
        println!("It is no longer good: it has expired, or was revoked. Starting over.");
        kept.forget(&options.url)?;
    }

    let Some(credential) = ask_for_access(&client, options)? else { return Ok(()) };
    kept.keep(&credential)?;
    let answer = client.call(&options.url, Some(&credential.access_token))?;
    step(8, &format!("called {} with the token: {}", options.url, answer.status));
    finish(&answer, &credential.scopes)
}

/// Steps 1 to 7. `None` if the URL can be called without access.
fn ask_for_access(client: &Client, options: &Options) -> Result<Option<Credential>, Failure> {
    let url = &options.url;

    let answer = client.call(url, None)?;
    if answer.status != StatusCode::UNAUTHORIZED {
        println!("{url} answers {} without a credential; there is nothing to ask for.", answer.status);
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

    let registration = register(client, options, &server)?;
    step(3, &format!("registered as {:?}, asking for: {}", options.name, registration.scopes.join(" ")));

    step(4, "show this link to your human; only they can approve:");
    println!("\n   {}\n", plain(&registration.claim_url));

    wait_for_approval(client, &server, &registration)?;
    step(5, "was approved");

    let claim = json!({ "claim_token": registration.claim_token });
    let answer = client.post(&server.agent_auth.claim_complete_uri, &claim)?.expect(StatusCode::OK)?;
    let session: Session = answer.read()?;
    step(6, &format!("completed the claim; the session is good for {} s", session.expires_in));

    let scopes = session.scopes.join(" ");
    step(7, &format!("acts for the account {}, with the scopes: {scopes}", session.account));
    Ok(Some(Credential { resource: resource.resource, access_token: session.access_token, scopes: session.scopes }))
}

/// Protected resource metadata (RFC 9728), as far as it matters here.
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

/// Authorization server metadata (RFC 8414), as far as it matters here.
#[derive(Deserialize)]
struct AuthorizationServer {
    issuer: String,
    agent_auth: AgentAuthBlock,
}

#[derive(Deserialize)]
struct AgentAuthBlock {
    #[serde(default)]
    skill: String,
    register_uri: String,
    claim_uri: String,
    claim_complete_uri: String,
}

/// Reads both documents, and checks that each speaks for whom it is asked about.
fn discover(client: &Client, url: &str, metadata_url: &str) -> Result<(Resource, AuthorizationServer), Failure> {
    check_url("resource_metadata", metadata_url)?;
    let resource: Resource = client.get(metadata_url)?.expect(StatusCode::OK)?.read()?;
    // RFC 9728 section 3.3: or else a service could make us bring it another's token.
    if !is_below(url, &resource.resource) {
        return Err(format!("{metadata_url} is about {}, not about {url}", resource.resource).into());
    }

    let issuer = resource.authorization_servers.first().ok_or("the resource names no authorization server")?;
    check_url("authorization_servers", issuer)?;
    let server: AuthorizationServer = client.get(&metadata_of(issuer)?)?.expect(StatusCode::OK)?.read()?;
    // RFC 8414 section 3.3.
    if server.issuer != *issuer {
        return Err(format!("the metadata of {issuer} is about {}", server.issuer).into());
    }
    let AgentAuthBlock { register_uri, claim_uri, claim_complete_uri, .. } = &server.agent_auth;
    for endpoint in [register_uri, claim_uri, claim_complete_uri] {
        if origin(endpoint)? != origin(issuer)? {
            return Err(format!("{endpoint} is not at the authorization server {issuer}").into());
        }
    }
    Ok((resource, server))
}

/// Where an issuer's metadata is (RFC 8414 section 3.1): the well-known path goes between its host and its path.
fn metadata_of(issuer: &str) -> Result<String, Failure> {
    let path = issuer.parse::<Uri>()?.path().trim_end_matches('/').to_owned();
    Ok(format!("{}/.well-known/oauth-authorization-server{path}", origin(issuer)?))
}

#[derive(Deserialize)]
struct Registration {
    claim_url: String,
    claim_token: String,
    expires_in: u64,
    interval: u64,
    #[serde(default)]
    scopes: Vec<String>,
}

fn register(client: &Client, options: &Options, server: &AuthorizationServer) -> Result<Registration, Failure> {
    let mut body = json!({
        "type": "user_claimed",
        "requested_credential_type": "access_token",
        "client_name": options.name,
    });
    if !options.scope.is_empty() {
        body["requested_scopes"] = json!(options.scope);
    }
    client.post(&server.agent_auth.register_uri, &body)?.expect(StatusCode::CREATED)?.read()
}

#[derive(Deserialize)]
struct ClaimStatus {
    status: String,
    #[serde(default)]
    interval: u64,
}

/// Asks as often as it may until the human has decided.
fn wait_for_approval(client: &Client, server: &AuthorizationServer, asked: &Registration) -> Result<(), Failure> {
    let claim = json!({ "claim_token": asked.claim_token });
    let deadline = Instant::now() + Duration::from_secs(asked.expires_in);
    let mut interval = Duration::from_secs(asked.interval.max(1));
    let mut progress = Progress::new();
    while Instant::now() < deadline {
        progress.show(deadline);
        sleep(interval.min(LONGEST_WAIT));
        let answer = client.post_once(&server.agent_auth.claim_uri, &claim)?;
        if let Some(pause) = answer.asks_to_wait() {
            // RFC 8628 section 3.5: who asked too often asks less often from now on.
            interval = if answer.status == StatusCode::TOO_MANY_REQUESTS { interval.max(pause) } else { interval };
            continue;
        }
        let ClaimStatus { status, interval: wanted } = answer.expect(StatusCode::OK)?.read()?;
        interval = interval.max(Duration::from_secs(wanted));
        match status.as_str() {
            "pending" => {}
            "approved" => return Ok(()),
            "denied" => return Err("Your human denied it. Do not ask again unless they tell you to.".into()),
            "expired" => break,
            other => return Err(format!("The request for access is over: {other}.").into()),
        }
    }
    Err("Nobody decided in time. Start again when your human is there.".into())
}

/// A line that says how long the human may still take: one that is written over on a terminal.
struct Progress {
    is_terminal: bool,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), shown: false }
    }

    fn show(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        if self.is_terminal {
            print!("\r   waiting for your human, for {left} s at most \u{1b}[K");
        } else if !self.shown {
            println!("   waiting for your human, for {left} s at most");
        }
        self.shown = true;
        let _ = io::stdout().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal && self.shown {
            println!();
        }
    }
}

/// What completing a claim answers, as far as it matters here.
#[derive(Deserialize)]
struct Session {
    access_token: String,
    expires_in: u64,
    scopes: Vec<String>,
    account: Account,
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

/// Shows what the called URL answered; what is refused is an error that says what would help.
fn finish(answer: &Answer, granted: &[String]) -> Result<(), Failure> {
    if answer.status.is_success() {
        println!();
        answer.body.lines().for_each(|line| println!("{}", plain(line)));
        return Ok(());
    }
    let (code, text) = answer.error();
    Err(match (answer.status, code.as_str()) {
        (StatusCode::FORBIDDEN, "insufficient_scope") => {
            let challenge = answer.challenge();
            let needed = challenge.as_ref().and_then(|bearer| bearer.parameter("scope")).unwrap_or_default();
            let scopes = granted.iter().map(String::as_str).chain(needed.split_whitespace());
            let flags: String = scopes.map(|scope| format!(" --scope {scope}")).collect();
            format!("The session lacks a scope. If your human agrees, run this again with{flags}.")
        }
        (StatusCode::FORBIDDEN, "owner_only") => {
            "Only the account's human can do this; no scope would help.".to_owned()
        }
        (status, _) => format!("The service answered {status}: {text}"),
    }
    .into())
}

/// Prints a step of the eight.
fn step(number: u8, text: &str) {
    println!("{number}. {}", plain(text));
    let _ = io::stdout().flush();
}

/// What a service says, on one line and without what would command a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

/// Sends requests. It follows no redirect, so that nothing that is meant for one URL reaches another.
struct Client(Agent);

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Client {
    fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(REQUEST_TIME))
            .user_agent(concat!("tower-agent-auth-example/", env!("CARGO_PKG_VERSION")));
        Self(config.build().into())
    }

    fn call(&self, url: &str, token: Option<&str>) -> Result<Answer, Failure> {
        patiently(|| {
            let mut request = self.0.get(url);
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            Answer::of(url, request.call())
        })
    }

    fn get(&self, url: &str) -> Result<Answer, Failure> {
        self.call(url, None)
    }

    fn post(&self, url: &str, body: &Value) -> Result<Answer, Failure> {
        patiently(|| self.post_once(url, body))
    }

    fn post_once(&self, url: &str, body: &Value) -> Result<Answer, Failure> {
        Answer::of(url, self.0.post(url).send_json(body))
    }
}

/// Sends a request again after as long as the service asks to wait.
fn patiently(send: impl Fn() -> Result<Answer, Failure>) -> Result<Answer, Failure> {
    for _ in 0..RETRIES {
        let answer = send()?;
        let Some(pause) = answer.asks_to_wait() else { return Ok(answer) };
        println!("   the service asks to wait {} s", pause.as_secs());
        sleep(pause);
    }
    send()
}

impl Answer {
    fn of(url: &str, response: Result<Response<Body>, ureq::Error>) -> Result<Self, Failure> {
        let unreadable = |error| format!("can't read what {url} answers: {error}");
        let (parts, mut body) = response.map_err(|error| format!("can't reach {url}: {error}"))?.into_parts();
        let body = body.with_config().limit(LARGEST_ANSWER).lossy_utf8(true).read_to_string().map_err(unreadable)?;
        Ok(Self { status: parts.status, headers: parts.headers, body })
    }

    /// The answer if it has that status, or else an error with what it says.
    fn expect(self, status: StatusCode) -> Result<Self, Failure> {
        if self.status == status {
            return Ok(self);
        }
        let (code, text) = self.error();
        Err(format!("The service refused: {} {code}: {text}", self.status.as_u16()).into())
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // The parser's own text may quote a secret.
        serde_json::from_str(&self.body).map_err(|error| {
            format!("the service's answer is not what auth.md says, at line {} column {}", error.line(), error.column())
                .into()
        })
    }

    /// The code and the text of a refusal.
    fn error(&self) -> (String, String) {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        let message = text("error_description").or_else(|| text("message"));
        (text("error").unwrap_or_default(), message.unwrap_or_else(|| "without saying why".to_owned()))
    }

    /// How long to wait before asking again, for 429 and 503.
    fn asks_to_wait(&self) -> Option<Duration> {
        if !matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return None;
        }
        let seconds = self.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Some(Duration::from_secs(seconds.unwrap_or(5)).clamp(Duration::from_secs(1), LONGEST_WAIT))
    }

    /// The first challenge of the scheme Bearer.
    fn challenge(&self) -> Option<Challenge> {
        let lines = self.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        lines.filter_map(|line| Challenge::parse(line).ok()).flatten().find(Challenge::is_bearer)
    }

    /// The URL that a 401 leads to.
    fn challenged_metadata(&self) -> Result<String, Failure> {
        let challenge = self.challenge().ok_or("the service refuses without a Bearer challenge")?;
        let url =
            challenge.parameter("resource_metadata").ok_or("the challenge leads nowhere: no resource_metadata")?;
        Ok(url.to_owned())
    }

    fn refuses_token(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }
}

/// Secrets go over TLS, or stay on this machine.
fn check_url(what: &str, url: &str) -> Result<(), Failure> {
    let uri: Uri = url.parse().map_err(|_| format!("{what} must be an absolute URL, not {url}"))?;
    let is_loopback = matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost"));
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => Ok(()),
        (Some("http"), Some(_)) if is_loopback => Ok(()),
        _ => Err(format!("{what} must begin with https://, or with http:// on this machine, not be {url}").into()),
    }
}

fn origin(url: &str) -> Result<String, Failure> {
    let uri: Uri = url.parse()?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("{url} is not absolute").into());
    };
    Ok(format!("{scheme}://{authority}"))
}

/// Whether `url` is `resource` or lies below it.
fn is_below(url: &str, resource: &str) -> bool {
    let (Ok(inner), Ok(outer)) = (url.parse::<Uri>(), resource.parse::<Uri>()) else { return false };
    let same_origin = inner.scheme() == outer.scheme() && inner.authority() == outer.authority();
    let rest = inner.path().strip_prefix(outer.path().trim_end_matches('/'));
    same_origin && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the agent may send to a resource.
#[derive(Clone, Deserialize, Serialize)]
struct Credential {
    resource: String,
    access_token: String,
    scopes: Vec<String>,
}

impl Credential {
    fn has(&self, scopes: &[String]) -> bool {
        scopes.iter().all(|scope| self.scopes.contains(scope))
    }
}

/// The credentials in a file that only its owner can read, one for each resource.
struct Credentials {
    file: PathBuf,
    by_resource: BTreeMap<String, Credential>,
}

impl Credentials {
    fn load(file: &Path) -> Result<Self, Failure> {
        let by_resource = match fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).map_err(|_| format!("{} holds no credentials", file.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("can't read {}: {error}", file.display()).into()),
        };
        Ok(Self { file: file.to_owned(), by_resource })
    }

    fn find(&self, url: &str) -> Option<Credential> {
        self.by_resource.values().find(|credential| is_below(url, &credential.resource)).cloned()
    }

    fn keep(&mut self, credential: &Credential) -> Result<(), Failure> {
        self.by_resource.insert(credential.resource.clone(), credential.clone());
        self.save()
    }

    fn forget(&mut self, url: &str) -> Result<(), Failure> {
        self.by_resource.retain(|_, credential| !is_below(url, &credential.resource));
        self.save()
    }

    /// Writes a new file and puts it in the old one's place, so that there is never half a file, nor one that others may read.
    fn save(&self) -> Result<(), Failure> {
        let mut name = self.file.clone().into_os_string();
        name.push(format!(".{}.new", std::process::id()));
        let new = PathBuf::from(name);
        let text = serde_json::to_string_pretty(&self.by_resource)?;
        let written = write_private(&new, &text).and_then(|()| fs::rename(&new, &self.file));
        written.map_err(|error| format!("can't write {}: {error}", self.file.display()).into())
    }
}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
