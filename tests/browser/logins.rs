//! The three ways to log in, each to its end in a browser, with the agent of the examples at the other side.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use axum::{Router, http::request::Parts, response::Redirect, routing::get};
use fantoccini::Locator;
use serde_json::{Value, json};
use tower_agent_auth::{
    AgentAuth, Config,
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    store::MemoryStore,
    types::{
        authorization::Account,
        clock::{Clock as _, SystemClock, Timestamp},
        id::AccountId,
    },
};

use super::{
    browser::Browser,
    harness::{AgentAt, AgentProcess, Answer, Demo, Folder, Http},
};

/// The command line of an agent that logs in by that mode, with a credential of its own.
fn arguments(demo: &Demo, folder: &Folder, mode: &str) -> Vec<String> {
    let file = folder.0.join(format!("{mode}.json"));
    let url = format!("{}/projects", demo.url);
    let scopes = ["--scope", "projects:read", "--scope", "account:read"];
    let rest = ["--credential", file.to_str().unwrap(), "--name", "Walker", "--mode", mode];
    std::iter::once(url.as_str()).chain(scopes).chain(rest).map(str::to_owned).collect()
}

fn agent(arguments: &[String]) -> AgentProcess {
    AgentProcess::start(&arguments.iter().map(String::as_str).collect::<Vec<&str>>())
}

async fn end_of(mut agent: AgentProcess) -> String {
    let (done, said) = tokio::task::spawn_blocking(move || agent.finish()).await.unwrap();
    assert!(done, "{said}");
    assert!(!said.contains("aas_") && !said.contains("aap_") && !said.contains("aae_"), "no secret in {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn live_browser_login_ends_at_the_callback() {
    let folder = Folder::new();
    let demo = Demo::start(&["--store", &folder.store()]);
    let human = Browser::open().await;
    let mut agent = agent(&arguments(&demo, &folder, "browser"));
    human.open_as("ada@example.com", &agent.link()).await;
    human.reads("Your browser takes the access to http://127.0.0.1:").await;
    human.approve().await;
    human.reads("Done. You can close this page").await;
    let address = human.client.current_url().await.unwrap();
    assert_eq!((address.path(), address.query()), ("/done", None), "no code stays in the history");
    let said = end_of(agent).await;
    assert!(said.contains("ada@example.com") && said.contains("\"projects\""), "{said}");
    human.assert_quiet_console();
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r72_a_thousand_bogus_callbacks_do_not_stop_a_login() {
    let folder = Folder::new();
    let demo = Demo::start(&["--store", "memory"]);
    let human = Browser::open().await;
    let mut agent = agent(&arguments(&demo, &folder, "browser"));
    let link = agent.link();
    human.open_as("ada@example.com", &link).await;
    human.reads("Your browser takes the access to").await;
    let text = human.text().await;
    let port: u16 = text
        .split("http://127.0.0.1:")
        .nth(1)
        .unwrap()
        .split(|next: char| !next.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let http = Http::new();
    let id = link.rsplit('/').next().unwrap();
    for index in 0..1_000 {
        let query = match index % 4 {
            0 => String::new(),
            1 => format!("?request_id={id}&exchange_code=aae_bogus&state=guessed&iss={}", demo.url),
            2 => "?error=access_denied".to_owned(),
            _ => format!("?request_id={id}&request_id={id}&exchange_code=x"),
        };
        assert_eq!(http.get(&format!("http://127.0.0.1:{port}/callback{query}"), None).status, 400);
    }
    // Another name for the same place is no way in.
    assert_eq!(http.get(&format!("http://localhost:{port}/callback"), None).status, 400);
    human.approve().await;
    human.reads("Done. You can close this page").await;
    end_of(agent).await;
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detached_login_needs_no_callback() {
    let folder = Folder::new();
    let demo = Demo::start(&["--store", &folder.store(), "--access-ttl", "2s"]);
    let human = Browser::open().await;
    let arguments = arguments(&demo, &folder, "detached");
    let mut first = agent(&arguments);
    human.open_as("ada@example.com", &first.link()).await;
    human.approve().await;
    human.reads("Approved").await;
    let said = end_of(first).await;
    assert!(said.contains("ada@example.com"), "{said}");
    human.assert_quiet_console();

    // The session goes on after its access token has ended, without its human.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let said = end_of(agent(&arguments)).await;
    assert!(said.contains("was refreshed") && said.contains("\"projects\""), "{said}");
    human.goto(&format!("{}/sessions", demo.url)).await;
    human.reads("Walker").await;
    assert!(human.text().await.contains("Active"), "a session that can be refreshed has not ended");
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_code_is_carried_to_the_agent_and_the_page_says_who_used_it() {
    let folder = Folder::new();
    let demo = Demo::start(&["--store", &folder.store()]);
    let human = Browser::open().await;
    let mut agent = agent(&arguments(&demo, &folder, "finish-code"));
    human.open_as("ada@example.com", &agent.link()).await;
    human.reads("You take a code from this page to the agent.").await;
    human.approve().await;
    human.reads("Take this code to your agent").await;
    let page = human.client.current_url().await.unwrap();
    let shown = async || human.client.find(Locator::Id("code")).await.unwrap().text().await.unwrap();
    let code = shown().await;
    assert!(code.starts_with("aaf_") && code.len() > 50, "{code}");

    // It can be copied, and it is still there after a reload.
    human.allow_clipboard(&demo.url);
    human.client.find(Locator::Css("button[data-copy=code]")).await.unwrap().click().await.unwrap();
    human.reads("Copied.").await;
    let message = human.run("return document.getElementById('message').textContent").await;
    assert_eq!(message, json!(format!("Demo Analytics finish code:\n{code}")));
    human.client.refresh().await.unwrap();
    human.reads("Take this code to your agent").await;
    assert_eq!(shown().await, code);
    for (width, height) in [(320, 900), (1280, 1000)] {
        human.narrow(width, height);
        let overflow = human.run("return document.documentElement.scrollWidth - window.innerWidth").await;
        assert!(overflow.as_i64().unwrap() <= 0, "{overflow} px too wide at {width}");
    }

    // In another browser of the same human there is no code to see.
    let elsewhere = Browser::open().await;
    elsewhere.open_as("ada@example.com", page.as_str()).await;
    elsewhere.reads("only in the browser in which you approved").await;
    assert!(!elsewhere.text().await.contains("aaf_"));
    elsewhere.close().await;

    // A miss may be made good, and the page's message is as good as the code alone.
    agent.tell("aaf_what?");
    agent.tell(&format!("aaf_{}", "x".repeat(49)));
    agent.tell(message.as_str().unwrap());
    let said = end_of(agent).await;
    assert!(said.contains("ada@example.com"), "{said}");
    assert!(said.contains("there is no code in that") && said.contains("that is not the code"), "{said}");
    // The page finds out by itself who used it, from where, and takes it back.
    human.reads("Approved, and collected").await;
    human.reads("127.0.0.1").await;
    human.reads("tower-agent-auth-example").await;
    human.click("button[value=revoke]").await;
    human.reads("Session revoked").await;
    human.goto(page.as_str()).await;
    human.reads("collected, and ended").await;
    human.assert_quiet_console();
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_double_click_on_approve_ends_where_one_click_does() {
    let folder = Folder::new();
    let demo = Demo::start(&["--store", &folder.store()]);
    let human = Browser::open().await;
    for script in [true, false] {
        for mode in ["finish-code", "browser"] {
            let own = Folder::new();
            let mut agent = agent(&arguments(&demo, &own, mode));
            human.allow_scripts(true);
            human.goto(&agent.link()).await;
            if human.client.find(Locator::Css("input[type=email]")).await.is_ok() {
                human.sign_in("ada@example.com").await;
            }
            human.reads("Let this agent use").await;
            human.wakes_up().await;
            let place = human.place_of("button[value=approve]").await;
            human.allow_scripts(script);
            human.press(place);
            human.press(place);
            if mode == "browser" {
                human.reads("Done. You can close this page").await;
            } else {
                human.reads("Take this code to your agent").await;
                agent.tell(&human.client.find(Locator::Id("code")).await.unwrap().text().await.unwrap());
            }
            end_of(agent).await;
        }
    }
    human.close().await;
}

/// What the Agent Analytics command line sends, and no more.
fn as_cli(demo: &Demo, path: &str, body: &Value) -> Answer {
    Http::new().post(&format!("{}/agent-sessions/{path}", demo.url), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_code_alone_is_redeemed_once_and_not_by_guessing() {
    let demo = Demo::start(&["--store", "memory"]);
    let human = Browser::open().await;
    let detached = json!({ "mode": "detached", "client_type": "cli", "client_name": "Agent Analytics CLI",
        "client_instance_id": "pid:123", "scopes": ["projects:read"], "metadata": { "runtime": "cli" } });
    let started = as_cli(&demo, "start", &detached);
    assert_eq!(started.status, 201);
    human.open_as("ada@example.com", started.json["authorize_url"].as_str().unwrap()).await;
    human.approve().await;
    human.reads("unless the agent goes on by itself").await;
    let code = human.client.find(Locator::Id("code")).await.unwrap().text().await.unwrap();
    let exchange = |code: &str| {
        as_cli(&demo, "exchange", &json!({ "auth_request_id": started.json["auth_request_id"], "exchange_code": code }))
    };
    assert_eq!(exchange("aaf_wrong").status, 401);
    let issued = exchange(&code);
    assert_eq!(issued.status, 200, "{}", issued.json);
    assert_eq!((exchange(&code).status, exchange("aaf_wrong").status), (409, 401));
    human.reads("Approved, and collected").await;
    let token = issued.json["agent_session"]["access_token"].as_str().unwrap();
    assert_eq!(Http::new().get(&format!("{}/projects", demo.url), Some(token)).status, 200);
    human.assert_quiet_console();
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_live_login_is_told_to_the_human_and_calls_nobody() {
    let demo = Demo::start(&["--store", "memory"]);
    let human = Browser::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let callback = format!("http://{}/callback", listener.local_addr().unwrap());
    let challenge = "0".repeat(64);
    let body = json!({ "client_type": "cli", "callback_url": callback, "code_challenge": challenge });
    let started = as_cli(&demo, "start", &body);
    human.open_as("ada@example.com", started.json["authorize_url"].as_str().unwrap()).await;
    human.click("button[value=deny]").await;
    human.reads("The agent gets no access").await;
    assert!(listener.accept().is_err(), "nobody called");
    let poll = json!({ "auth_request_id": started.json["auth_request_id"], "poll_token": started.json["poll_token"] });
    let polled = as_cli(&demo, "poll", &poll);
    assert_eq!((polled.status, polled.json["status"].as_str()), (410, Some("revoked")));
    human.assert_quiet_console();
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_denied_live_login_ends_the_agents_wait() {
    let folder = Folder::new();
    let demo = Demo::start(&["--store", "memory"]);
    let human = Browser::open().await;
    let mut agent = agent(&arguments(&demo, &folder, "browser"));
    human.open_as("ada@example.com", &agent.link()).await;
    human.click("button[value=deny]").await;
    human.reads("The agent gets no access").await;
    let ended = tokio::task::spawn_blocking(move || agent.end());
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it waits on").unwrap();
    assert_eq!((ended.code, ended.body.as_str()), (Some(3), ""), "{}", ended.said);
    assert!(ended.said.contains("your human denied it"), "{}", ended.said);
    human.close().await;
}

/// Cookies don't tell ports apart: what listens on the demo's own host would get them.
#[tokio::test(flavor = "multi_thread")]
async fn b4_the_browser_takes_no_cookie_of_the_demo_to_the_agents_listener() {
    let demo = Demo::start(&["--store", "memory"]);
    let human = Browser::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let start = |host: &str| {
        let callback = format!("http://{host}:{port}/callback");
        as_cli(
            &demo,
            "start",
            &json!({ "client_type": "cli", "callback_url": callback, "code_challenge": "0".repeat(64) }),
        )
    };
    let refused = start("localhost");
    assert_eq!(refused.status, 400);
    assert!(refused.json["message"].as_str().unwrap().contains("own host"), "{}", refused.json);
    let started = start("127.0.0.1");
    assert_eq!(started.status, 201, "{}", started.json);
    human.open_as("ada@example.com", started.json["authorize_url"].as_str().unwrap()).await;
    human.reads("Let this agent use").await;
    let called = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let length = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").unwrap();
        String::from_utf8_lossy(&head[..length]).to_ascii_lowercase()
    });
    human.approve().await;
    human.reads("hello").await;
    let request = tokio::task::spawn_blocking(move || called.join().unwrap()).await.unwrap();
    assert!(request.starts_with("get /callback?request_id="), "{request}");
    assert!(!request.contains("cookie:"), "{request}");
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reaches_no_other_port_than_the_callback() {
    let demo = Demo::start(&["--store", "memory"]);
    let human = Browser::open().await;
    let callback = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/cb?x=y", callback.local_addr().unwrap().port());
    let body = json!({ "client_type": "cli", "callback_url": url, "code_challenge": "0".repeat(64), "state": "a b&c" });
    let started = as_cli(&demo, "start", &body);
    human.open_as("ada@example.com", started.json["authorize_url"].as_str().unwrap()).await;
    human.reads("Let this agent use").await;

    // A form of the page that was bent to lead elsewhere leads nowhere. In Firefox, `submit` throws then.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let bend = format!(
        "const f = document.createElement('form'); f.action = 'http://{}/'; f.method = 'post'; document.body.append(f); try {{ f.submit() }} catch {{}}",
        elsewhere.local_addr().unwrap()
    );
    human.run(&bend).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Chromium may open a connection before it asks the policy; it sends nothing.
    if let Ok((mut stream, _)) = elsewhere.accept() {
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)), "a request went elsewhere");
    }
    assert!(human.console().iter().any(|line| line.contains("form-action")), "the refusal is on the console");

    let served = std::thread::spawn(move || {
        let (mut stream, _) = callback.accept().unwrap();
        let mut head = [0; 2048];
        let length = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    human.approve().await;
    human.reads("hello").await;
    let request = tokio::task::spawn_blocking(move || served.join().unwrap()).await.unwrap();
    assert!(request.starts_with("GET /cb?x=y&request_id=reg_"), "{request}");
    assert!(request.contains("&state=a%20b%26c&iss=http%3A%2F%2Flocalhost"), "{request}");
    assert!(!request.to_ascii_lowercase().contains("referer:"), "{request}");
    human.close().await;
}

/// A host whose own path redirects to a sign-in at another origin. The cookie `user=NAME` signs NAME in, and `old=1` says
/// that this was long ago.
struct SignInElsewhere;

impl Accounts for SignInElsewhere {
    async fn current(&self, request: &Parts) -> Result<Option<SignedIn>, AccountsError> {
        let Some(name) = cookie(&request.headers, "user") else { return Ok(None) };
        let account = Account::new(AccountId::new(name).map_err(AccountsError::new)?, name);
        let is_old = cookie(&request.headers, "old").is_some();
        let since = if is_old { Timestamp::from_millis(0) } else { SystemClock::new().now() };
        Ok(Some(SignedIn::new(account, name).since(since)))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/sign-in?next={return_to}")
    }

    fn switch_account_url(&self, return_to: &str) -> Option<String> {
        Some(self.login_url(return_to))
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

/// Where browsers apply `form-action` to redirects after a form, the policy of our page can't know that other origin.
#[tokio::test(flavor = "multi_thread")]
async fn a6_a9_a_sign_in_at_another_origin_is_reached_from_each_form() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://localhost:{port}");
    let config = Config::builder()
        .resource(&url)
        .name("Example")
        .scope("projects:read", "See your projects", |scope| scope.by_default())
        .lifetimes(|lifetimes| lifetimes.sign_in = Some(Duration::from_secs(600)))
        .no_limits();
    let auth = AgentAuth::builder(config.build().unwrap()).sessions(MemoryStore::new()).accounts(SignInElsewhere);
    let auth = auth.build().unwrap();
    let elsewhere = format!("http://127.0.0.1:{port}/elsewhere");
    let app = Router::new()
        .route("/sign-in", get(async move || Redirect::to(&elsewhere)))
        .route("/elsewhere", get(async || "This is the sign-in of another origin."))
        .layer(auth.endpoints());
    tokio::spawn(async { axum::serve(listener, app).await });

    let human = Browser::open().await;
    // Another account, a sign-in that has become too old, and one that has ended.
    for (button, cookie) in [("switch", ""), ("approve", "old=1; path=/"), ("approve", "user=; max-age=0; path=/")] {
        let agent = AgentAt::new(&url);
        let pending = tokio::task::spawn_blocking(move || agent.register(&["projects:read"], "Agent")).await.unwrap();
        human.goto(&format!("{url}/elsewhere")).await;
        human.client.delete_all_cookies().await.unwrap();
        human.run("document.cookie = 'user=ada; path=/'").await;
        human.goto(&pending.claim_url).await;
        human.reads("Let this agent use").await;
        if !cookie.is_empty() {
            human.run(&format!("document.cookie = '{cookie}'")).await;
        }
        human.wakes_up().await;
        human.click(&format!("button[value={button}]")).await;
        human.reads("This is the sign-in of another origin").await;
        assert_eq!(human.client.current_url().await.unwrap().host_str(), Some("127.0.0.1"));
    }
    human.assert_quiet_console();
    human.close().await;
}
