//! The demo and the agent of the examples as programs: their command lines, exit codes, streams and files (faults E12, F).
//!
//! `cargo test` builds both before it runs this. With a filter by target, build them first: `cargo build --examples`.
#![cfg(unix)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test that can't go on fails; the harness is that of the browser tests, and more is in it"
)]

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

#[path = "browser/harness.rs"]
mod harness;
#[path = "../examples/common/terminal.rs"]
mod terminal;
use harness::{AgentProcess, Demo, Ended, Folder, Http, example};

fn run(name: &str, arguments: &[&str]) -> Output {
    // Colours are asked for, and must not be in what is no terminal.
    output(Command::new(example(name)).args(arguments).env("CLICOLOR", "1").env("TERM", "xterm"))
}

/// What a program that ends by itself wrote. One that goes on is ended, and fails the test.
fn output(command: &mut Command) -> Output {
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            process.kill().unwrap();
            panic!("{command:?} does not end: {}", text(&process.wait_with_output().unwrap().stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    process.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn agent(arguments: &[&str]) -> Ended {
    AgentProcess::start(arguments).end()
}

#[test]
fn f_colours_follow_the_terminal_and_no_color() {
    let decide = |is_terminal, no_color: Option<&str>, term: Option<&str>| {
        terminal::decide(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new))
    };
    assert!(decide(true, None, Some("xterm")) && decide(true, Some(""), None));
    for no_color in ["1", "0", "false", " "] {
        assert!(!decide(true, Some(no_color), Some("xterm")), "{no_color:?}");
    }
    assert!(!decide(true, None, Some("dumb")) && !decide(false, None, Some("xterm")));
}

#[test]
fn f_versions_and_exit_codes_are_told() {
    for name in ["axum", "mcp", "agent"] {
        let version = run(name, &["--version"]);
        assert!(version.status.success() && text(&version.stdout).trim().ends_with(env!("CARGO_PKG_VERSION")));
        let help = text(&run(name, &["--help"]).stdout);
        assert!(help.contains("Exit codes:") && help.contains("--version"), "{help}");
        assert_eq!(run(name, &["--nonsense"]).status.code(), Some(2));
    }
}

/// A resource of somebody else names the demo as its authorization server, to be handed a token of the demo (RFC 9728
/// section 7.4). It hears of no credential, and the demo of no request.
#[test]
fn b2_the_agent_gives_a_foreign_resource_no_access_of_another_service() {
    let demo = Demo::start(&["--store", "memory", "--log", "info"]);
    let metadata = Http::new().get(&format!("{}/.well-known/oauth-protected-resource", demo.url), None).json;
    let good = metadata["resource"].as_str().unwrap().to_owned();
    for (claims, said) in [("", "does not give access to"), (good.as_str(), "is about")] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let foreign = format!("http://{}", listener.local_addr().unwrap());
        let resource = if claims.is_empty() { foreign.clone() } else { claims.to_owned() };
        let document = json!({ "resource": resource, "authorization_servers": [demo.url] }).to_string();
        let challenge = format!("Bearer resource_metadata=\"{foreign}/metadata\"");
        let heard = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let hears = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut request) = (stream.unwrap(), vec![0; 4_096]);
                let length = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let response = if request.starts_with("GET /metadata ") {
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
                        document.len()
                    ) + &format!("connection: close\r\n\r\n{document}")
                } else {
                    format!("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: {challenge}\r\n")
                        + "content-length: 0\r\nconnection: close\r\n\r\n"
                };
                hears.lock().unwrap().push_str(&request);
                stream.write_all(response.as_bytes()).unwrap();
            }
        });
        for mode in [&[][..], &["--mode", "detached"]] {
            let folder = Folder::new();
            let credentials = folder.0.join("credentials").display().to_string();
            let url = format!("{foreign}/projects");
            let ended = agent(&[&[url.as_str(), "--credential", &credentials], mode].concat());
            assert_eq!(ended.body, "", "{}", ended.said);
            assert!(ended.code != Some(0) && ended.said.contains(said), "{said} in {}", ended.said);
        }
        assert!(!heard.lock().unwrap().to_lowercase().contains("authorization:"), "{heard:?}");
    }
    assert!(!demo.log().contains("requested"), "{}", demo.log());
}

#[test]
fn f_a_demo_that_can_not_start_says_why_at_any_log_level() {
    let demo = Demo::start(&["--store", "memory"]);
    let taken = demo.url.replace("http://localhost", "127.0.0.1");
    let folder = Folder::new();
    let path = |name: &str| folder.0.join(name).display().to_string();
    let (missing, directory) = (path("missing.toml"), path("directory"));
    std::fs::create_dir(&directory).unwrap();
    // A port that refuses: its listener is gone.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (postgres, redis) = (format!("postgres://app:hunter2@{closed}/db"), format!("redis://app:hunter2@{closed}"));
    for (arguments, needed) in [
        (vec!["--listen", &taken], vec!["can't listen on", &taken, "in use"]),
        (vec!["--listen", "127.0.0.1:0", "--metrics", &taken], vec!["can't serve metrics", &taken]),
        (
            vec!["--listen", "127.0.0.1:0", "--store", &format!("sqlite:{directory}")],
            vec!["the SQLite file", &directory],
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--store", &postgres],
            vec![&postgres.replace(":hunter2", ""), "check that PostgreSQL runs"],
        ),
        (vec!["--listen", "127.0.0.1:0", "--store", &redis], vec![&closed.to_string(), "check that it runs"]),
        (vec!["--listen", "127.0.0.1:0", "--config", &missing], vec!["can't read", &missing]),
        (vec!["--listen", "127.0.0.1:0", "--public-url", "http://example.com"], vec!["--public-url", "must be https"]),
        (vec!["--listen", "127.0.0.1:0", "--access-ttl", "0s"], vec!["--access-ttl", "lifetimes.access"]),
    ] {
        let mut arguments = arguments;
        arguments.extend(["--log", "error"]);
        let ended = output(Command::new(example("axum")).args(&arguments).current_dir(&folder.0));
        let said = text(&ended.stderr);
        assert_eq!((ended.status.code(), text(&ended.stdout).as_str()), (Some(1), ""), "{arguments:?}: {said}");
        for needed in needed {
            assert!(said.contains(needed), "{needed} in {said}");
        }
        assert!(!said.contains("hunter2") && !said.contains("pool timed out") && !said.contains('\u{1b}'), "{said}");
    }
    for wrong in [
        ["--connections", "0"],
        ["--connections-per-address", "many"],
        ["--idle-timeout", "10ms"],
        ["--transfer-timeout", "501d"],
        ["--idle-timeout", "soon"],
        ["--store", "mysql://x"],
        ["--listen", "localhost"],
        ["--log", "loud"],
    ] {
        let ended = run("axum", &wrong);
        assert_eq!(ended.status.code(), Some(2), "{wrong:?}");
        assert!(text(&ended.stderr).contains(wrong[0]), "{}", text(&ended.stderr));
    }
}

#[test]
fn b4_the_demo_lives_on_another_name_than_agents_listen_on() {
    let demo = Demo::start(&["--store", "memory"]);
    let metadata = Http::new().get(&format!("{}/.well-known/oauth-protected-resource", demo.url), None);
    assert!(demo.url.starts_with("http://localhost:"));
    assert_eq!(
        (&metadata.json["resource"], &metadata.json["authorization_servers"][0]),
        (&json!(demo.url), &json!(demo.url))
    );
    for (host, status) in [("127.0.0.1", 201), ("[::1]", 201), ("localhost", 400)] {
        let body = json!({ "client_type": "cli", "callback_url": format!("http://{host}:4000/callback"),
            "code_challenge": "0".repeat(64) });
        assert_eq!(Http::new().post(&format!("{}/agent-sessions/start", demo.url), &body).status, status, "{host}");
    }
}

/// What the agent does with a service that it can call without access, and with one that refuses.
#[test]
fn f_only_the_response_is_on_stdout() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let file = folder.0.join("credential.json").display().to_string();
    let open = agent(&[&format!("{}/health", demo.url), "--credential", &file]);
    assert_eq!((open.code, open.body.as_str()), (Some(0), r#"{"status":"ok"}"#), "{}", open.said);
    assert!(open.said.contains("without a credential"), "{}", open.said);

    let missing = agent(&[&format!("{}/nowhere", demo.url), "--credential", &file]);
    assert_eq!((missing.code, missing.body.as_str()), (Some(1), ""), "{}", missing.said);
    let down = agent(&["http://localhost:1/projects", "--credential", &file]);
    assert_eq!((down.code, down.body.as_str()), (Some(1), ""), "{}", down.said);
    assert_eq!(agent(&["ftp://x", "--credential", &file]).code, Some(1));
    assert_eq!(agent(&["--log-out"]).code, Some(2));
}

#[test]
fn f_a_credential_that_could_not_be_kept_is_not_asked_for() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let url = format!("{}/projects", demo.url);
    let broken = folder.0.join("broken.json");
    std::fs::write(&broken, "not JSON").unwrap();
    let missing = folder.0.join("missing").join("credential.json");
    for file in [missing.as_path(), broken.as_path(), folder.0.as_path(), Path::new("/proc/credential.json")] {
        let ended = agent(&[&url, "--credential", file.to_str().unwrap()]);
        assert_eq!((ended.code, ended.body.as_str()), (Some(6), ""), "{}", ended.said);
        assert!(ended.said.contains(file.to_str().unwrap()) && ended.said.contains("--credential"), "{}", ended.said);
    }
    assert!(!demo.log().contains("name=\"requested\""), "nobody was asked");
}

#[test]
fn the_mcp_demo_says_how_to_add_it_and_challenges_at_its_endpoint() {
    let mut demo = Command::new(example("mcp"))
        .args(["--listen", "127.0.0.1:0", "--store", "memory", "--public-url", "https://mcp.example.com/demo/"])
        .args(["--log", "error"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    while !said.ends_with("Ctrl-C.\n") {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "it ends early: {said}");
    }
    let address = said.lines().next().unwrap().strip_prefix("listening on ").unwrap();
    let url = "https://mcp.example.com/demo/mcp";
    for line in [
        format!("claude mcp add --transport http demo-analytics {url}\n"),
        format!("codex mcp add demo-analytics --url {url}\n"),
        format!("code --add-mcp '{}'\n", json!({ "name": "demo-analytics", "type": "http", "url": url })),
        format!("~/.cursor/mcp.json: {}\n", json!({ "mcpServers": { "demo-analytics": { "url": url } } })),
        format!("gemini mcp add --transport http demo-analytics {url}\n"),
    ] {
        assert!(said.contains(&line), "{line} in {said}");
    }
    let refused = Http::new().get(&format!("{address}/demo/mcp"), None);
    let metadata = r#"resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/demo/mcp""#;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains(metadata), "{}", refused.header("www-authenticate"));
    demo.kill().unwrap();
    demo.wait().unwrap();
}

#[test]
fn f_nobody_decides_in_time() {
    let folder = Folder::new();
    let config = include_str!("../examples/axum/agent-auth.toml").replace("\"10m\"", "\"3s\"");
    let toml = folder.0.join("agent-auth.toml");
    std::fs::write(&toml, config).unwrap();
    let demo = Demo::start(&["--store", "memory", "--config", toml.to_str().unwrap()]);
    let (url, file) = (format!("{}/projects", demo.url), folder.0.join("credential.json").display().to_string());
    for mode in [None, Some("browser"), Some("detached")] {
        let mut arguments = vec![url.as_str(), "--credential", &file];
        arguments.extend(mode.into_iter().flat_map(|mode| ["--mode", mode]));
        let ended = agent(&arguments);
        assert_eq!((ended.code, ended.body.as_str()), (Some(4), ""), "{mode:?} {}", ended.said);
        assert!(ended.said.contains("Nobody decided in time"), "{}", ended.said);
    }
}

#[test]
fn f_logging_out_revokes_and_removes_the_credential() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let file = folder.0.join("credential.json");
    let url = format!("{}/projects", demo.url);
    let arguments = [url.as_str(), "--credential", file.to_str().unwrap()];
    let none = agent(&[&arguments[..], &["--log-out"]].concat());
    assert_eq!((none.code, none.body.as_str()), (Some(0), ""), "{}", none.said);
    assert!(none.said.contains("no credential") && !file.exists(), "{}", none.said);

    let token = approved(&demo, arguments);
    assert_eq!(Http::new().get(&url, Some(&token)).status, 200);
    let out = agent(&[&arguments[..], &["--log-out"]].concat());
    assert_eq!((out.code, out.body.as_str()), (Some(0), ""), "{}", out.said);
    assert_eq!(Http::new().get(&url, Some(&token)).status, 401);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("aa"), "no secret stays");

    // Nobody to tell: the credential stays for another try.
    let token = approved(&demo, arguments);
    drop(demo);
    let out = agent(&[&arguments[..], &["--log-out"]].concat());
    assert_eq!(out.code, Some(1), "{}", out.said);
    assert!(std::fs::read_to_string(&file).unwrap().contains(&token));
}

/// Where a service has nothing but an OAuth server, the agent is an OAuth client, by code and by device code.
#[test]
fn the_agent_logs_in_as_an_oauth_client_where_there_is_nothing_else() {
    let folder = Folder::new();
    let built_in = include_str!("../examples/axum/agent-auth.toml");
    let config = built_in.replace(r#"["agent_auth", "agent_sessions", "oauth"]"#, r#"["oauth"]"#);
    let toml = folder.0.join("agent-auth.toml");
    std::fs::write(&toml, config).unwrap();
    let demo = Demo::start(&["--store", "memory", "--config", toml.to_str().unwrap()]);
    let url = format!("{}/projects", demo.url);
    let file = folder.0.join("credential.json");
    let arguments = [url.as_str(), "--credential", file.to_str().unwrap()];
    let human = Human::of(&demo);
    for mode in [None, Some("detached")] {
        let arguments: Vec<&str> =
            arguments.into_iter().chain(mode.into_iter().flat_map(|mode| ["--mode", mode])).collect();
        for decision in ["deny", "approve"] {
            let mut agent = AgentProcess::start(&arguments);
            let link = match mode {
                None => human.get(&agent.link()).location(),
                Some(_) => human.type_code(&demo, &agent.says("-")),
            };
            let decided = human.decide(&link, decision);
            if mode.is_none() {
                // The browser takes the answer to the agent.
                assert!(Http::new().get(&decided, None).status < 400);
            }
            let ended = agent.end();
            if decision == "deny" {
                assert_eq!((ended.code, ended.body.as_str()), (Some(3), ""), "{mode:?} {}", ended.said);
                continue;
            }
            assert_eq!(ended.code, Some(0), "{mode:?} {}", ended.said);
        }
        let stored: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let token = stored[&demo.url]["access_token"].as_str().unwrap().to_owned();
        assert_eq!(Http::new().get(&url, Some(&token)).status, 200);

        // What is no longer good is refreshed, without a human.
        let spoilt = std::fs::read_to_string(&file).unwrap().replace(&token, "aas_x");
        std::fs::write(&file, spoilt).unwrap();
        let again = agent(&arguments);
        assert_eq!(again.code, Some(0), "{}", again.said);
        assert!(again.said.contains("was refreshed"), "{}", again.said);
        let out = agent(&[url.as_str(), "--credential", file.to_str().unwrap(), "--log-out"]);
        assert_eq!(out.code, Some(0), "{}", out.said);
    }
    let finish_code = agent(&[&arguments[..], &["--mode", "finish-code"]].concat());
    assert_eq!(finish_code.code, Some(1), "{}", finish_code.said);
}

/// A human in a browser that runs no script: signed in at a demo.
struct Human {
    browser: ureq::Agent,
    login: String,
}

/// A page, and the cookie that came with it.
struct Page {
    location: Option<String>,
    cookie: Option<String>,
    html: String,
    base: String,
}

impl Page {
    /// Where the browser is sent, as an absolute URL.
    fn location(&self) -> String {
        let location = self.location.as_ref().unwrap_or_else(|| panic!("{}", self.html));
        if location.starts_with('/') { format!("{}{location}", self.base) } else { location.clone() }
    }

    fn csrf(&self) -> String {
        self.html.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }
}

impl Human {
    fn of(demo: &Demo) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let browser: ureq::Agent = config.build().into();
        let form = [("email", "ada@example.com"), ("password", "any")];
        let signed_in = Self::page(&demo.url, browser.post(format!("{}/login", demo.url)).send_form(form).unwrap());
        Self { browser, login: signed_in.cookie.unwrap() }
    }

    fn page(url: &str, mut answer: ureq::http::Response<ureq::Body>) -> Page {
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (location, cookie) = (header("location"), header("set-cookie"));
        let cookie = cookie.map(|cookie| cookie.split(';').next().unwrap().to_owned());
        let base = url.split('/').take(3).collect::<Vec<_>>().join("/");
        Page { location, cookie, html: answer.body_mut().read_to_string().unwrap(), base }
    }

    /// Another program on this host has set a cookie that is no text.
    fn cookies(&self, form: Option<&str>) -> ureq::http::HeaderValue {
        let cookies = [&self.login, form.unwrap_or_default()].join("; ");
        ureq::http::HeaderValue::from_bytes(&[b"odd=\xff; ", cookies.as_bytes()].concat()).unwrap()
    }

    fn get(&self, url: &str) -> Page {
        let request = self.browser.get(url).header("cookie", self.cookies(None));
        Self::page(url, request.header("authorization", "Basic eDp5").call().unwrap())
    }

    /// Types the code of a device. Answers the URL of the approval page.
    fn type_code(&self, demo: &Demo, code: &str) -> String {
        let url = format!("{}/oauth2/device", demo.url);
        let page = self.get(&url);
        let form = [("csrf", &*page.csrf()), ("code", code.trim())];
        let request = self.browser.post(&url).header("cookie", self.cookies(page.cookie.as_deref()));
        Self::page(&url, request.send_form(form).unwrap()).location()
    }

    /// Decides at an approval page. Answers where the browser is sent.
    fn decide(&self, link: &str, decision: &str) -> String {
        let page = self.get(link);
        // Nobody has read the page before that.
        std::thread::sleep(Duration::from_secs(1));
        let form = [("csrf", &*page.csrf()), ("decision", decision), ("scope", "projects:read")];
        let request = self.browser.post(link).header("cookie", self.cookies(page.cookie.as_deref()));
        let decided = Self::page(link, request.send_form(form).unwrap());
        decided.location()
    }
}

/// Runs the agent, approves as its human would, and answers the access token that it stored.
fn approved(demo: &Demo, arguments: [&str; 3]) -> String {
    let mut agent = AgentProcess::start(&arguments);
    let link = agent.link();
    Human::of(demo).decide(&link, "approve");
    let ended = agent.end();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let body: serde_json::Value = serde_json::from_str(&ended.body).unwrap_or_else(|_| panic!("{}", ended.body));
    assert!(body["projects"].is_array() && ended.said.contains("\n8. "), "{}", ended.said);
    let stored: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(arguments[2]).unwrap()).unwrap();
    stored[&demo.url]["access_token"].as_str().unwrap().to_owned()
}

/// Whether a read found the end. A reset is one as well, and a time-out is none.
fn is_closed(read: std::io::Result<usize>) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    read.map_or_else(|error| !matches!(error.kind(), TimedOut | WouldBlock), |length| length == 0)
}

#[test]
fn e12_a_thousand_silent_connections_end_and_stop_nobody() {
    let demo = Demo::start(&[
        "--store",
        "memory",
        "--connections",
        "100",
        "--connections-per-address",
        "20",
        "--idle-timeout",
        "500ms",
        "--transfer-timeout",
        "500ms",
    ]);
    let address = demo.url.replace("http://localhost", "127.0.0.1");
    let connect = || {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut silent: Vec<TcpStream> = (0..1_000).map(|_| connect()).collect();
    // The last ones were closed at once, and the first ones when they were idle for too long.
    for stream in &mut silent {
        // A half-sent head is no request.
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\n");
        assert!(is_closed(stream.read(&mut [0; 64])), "it is kept, or something was answered");
    }
    let mut slow = connect();
    let head = "POST /agent/auth HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    // It is refused, and its connection ends.
    let mut answer = Vec::new();
    assert!(is_closed(slow.read_to_end(&mut answer).map(|_| 0)), "it is kept");
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 2"));
    assert_eq!(Http::new().get(&format!("{}/health", demo.url), None).status, 200);
}
