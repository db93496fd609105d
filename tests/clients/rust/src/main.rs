//! OAuth and MCP clients written in Rust, as programs that a test directs:
//!
//! ```text
//! clients oauth2 SERVICE_URL
//! clients rmcp MCP_URL
//! ```
//!
//! Both write `open URL` for the browser, wait on a free port for the answer, and then do something for each line that
//! they read: `call` or `refresh`. What comes of it is one line, `failed …` or another.

use std::{error::Error, io::Write};

use oauth2::{
    AuthUrl, AuthorizationCode, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, RefreshToken, Scope,
    TokenResponse, TokenUrl, basic::BasicClient, http,
};
use rmcp::{
    ServiceExt,
    model::CallToolRequestParams,
    transport::{
        AuthClient, StreamableHttpClientTransport,
        auth::{AuthorizationRequest, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin},
    net::TcpListener,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let told = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["oauth2", url] => oauth2(url).await,
        ["rmcp", url] => rmcp(url).await,
        _ => Err("usage: clients oauth2 SERVICE_URL | rmcp MCP_URL".into()),
    };
    told.or_else(|error| say("failed", &causes(&*error)))
}

/// The crate `oauth2`, which knows no discovery and no registration.
async fn oauth2(service: &str) -> Outcome<()> {
    let listener = Listener::start().await?;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let metadata: Value =
        http.get(format!("{service}/.well-known/oauth-authorization-server")).send().await?.json().await?;
    let url = |name: &str| metadata[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {metadata}"));
    let about = json!({ "client_name": "oauth2 crate", "redirect_uris": [listener.redirect_uri()?] });
    let registered: Value = http.post(url("registration_endpoint")?).json(&about).send().await?.json().await?;
    let id = registered["client_id"].as_str().ok_or("no client_id")?;

    let client = BasicClient::new(ClientId::new(id.to_owned()))
        .set_auth_uri(AuthUrl::new(url("authorization_endpoint")?)?)
        .set_token_uri(TokenUrl::new(url("token_endpoint")?)?)
        .set_redirect_uri(RedirectUrl::new(listener.redirect_uri()?)?);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (link, state) = client
        .authorize_url(CsrfToken::new_random)
        .set_pkce_challenge(challenge)
        .add_scope(Scope::new("projects:read".into()))
        .url();
    say("open", link.as_str())?;
    let answer = reqwest::Url::parse(&listener.answer().await?)?;
    let parameter = |name: &str| answer.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    if let Some(error) = parameter("error") {
        return Err(format!("{error}: {}", parameter("error_description").unwrap_or_default()).into());
    }
    if parameter("state").as_ref() != Some(state.secret()) {
        return Err("another state came back".into());
    }

    let code = AuthorizationCode::new(parameter("code").ok_or("no code")?);
    let send = |request: http::Request<Vec<u8>>| send(&http, request);
    let mut tokens = client.exchange_code(code).set_pkce_verifier(verifier).request_async(&send).await?;
    let mut lines = lines();
    loop {
        let response =
            http.get(format!("{service}/projects")).bearer_auth(tokens.access_token().secret()).send().await?;
        say("status", response.status().as_str())?;
        match lines.next_line().await?.as_deref() {
            Some("refresh") => {
                let token = RefreshToken::new(tokens.refresh_token().ok_or("no refresh token")?.secret().clone());
                tokens = client.exchange_refresh_token(&token).request_async(&send).await?;
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

async fn send(
    client: &reqwest::Client,
    request: http::Request<Vec<u8>>,
) -> Result<http::Response<Vec<u8>>, reqwest::Error> {
    let response = client.execute(request.try_into()?).await?;
    let mut answer = http::Response::new(Vec::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    *answer.body_mut() = response.bytes().await?.to_vec();
    Ok(answer)
}

/// rmcp: discovery, registration, login and refreshes by its `AuthorizationManager`, and MCP with them.
async fn rmcp(url: &str) -> Outcome<()> {
    let listener = Listener::start().await?;
    let mut login = OAuthState::new(url, None).await?;
    let request = AuthorizationRequest::new(listener.redirect_uri()?).with_client_name("rmcp");
    login.start_authorization(request).await?;
    say("open", &login.get_authorization_url().await?)?;
    login.handle_callback_url(&listener.answer().await?).await?;

    let manager = login.into_authorization_manager().ok_or("not authorized")?;
    let http = AuthClient::new(reqwest::Client::new(), manager);
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let client = ().serve(StreamableHttpClientTransport::with_client(http.clone(), config)).await?;
    let mut lines = lines();
    loop {
        let names: Vec<_> = client.list_all_tools().await?.into_iter().map(|tool| tool.name.into_owned()).collect();
        let called = client.call_tool(CallToolRequestParams::new("list_projects")).await?;
        say("called", &serde_json::to_string(&called)?)?;
        say("tools", &names.join(" "))?;
        match lines.next_line().await?.as_deref() {
            Some("refresh") => drop(http.auth_manager.lock().await.refresh_token().await?),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// Waits on a free port for the authorization response.
struct Listener(TcpListener);

impl Listener {
    async fn start() -> Outcome<Self> {
        Ok(Self(TcpListener::bind("127.0.0.1:0").await?))
    }

    fn redirect_uri(&self) -> Outcome<String> {
        Ok(format!("http://{}/callback", self.0.local_addr()?))
    }

    /// The URL at which the browser arrives.
    async fn answer(&self) -> Outcome<String> {
        loop {
            let (stream, _) = self.0.accept().await?;
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nDone\n").await?;
            let path = line.split(' ').nth(1).unwrap_or_default();
            if path.starts_with("/callback?") {
                return Ok(format!("http://{}{path}", self.0.local_addr()?));
            }
        }
    }
}

fn lines() -> Lines<BufReader<Stdin>> {
    BufReader::new(tokio::io::stdin()).lines()
}

fn say(word: &str, text: &str) -> Outcome<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{word} {}", text.replace('\n', " "))?;
    Ok(stdout.flush()?)
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
