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
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

#[path = "browser/harness.rs"]
mod harness;
#[path = "demo/relay.rs"]
mod relay;
#[path = "demo/screen.rs"]
mod screen;
#[path = "../examples/common/terminal.rs"]
mod terminal;
use harness::{AgentProcess, Demo, Ended, Folder, Http, example};
use relay::Relay;
use screen::{Screen, Size, USUAL, qr_code};

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
fn f4_colours_follow_the_terminal_and_no_color() {
    let decide = |is_terminal, no_color: Option<&str>, term: Option<&str>| {
        terminal::decide(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new))
    };
    assert!(decide(true, None, Some("xterm")) && decide(true, Some(""), None));
    for no_color in ["1", "0", "false", " "] {
        assert!(!decide(true, Some(no_color), Some("xterm")), "{no_color:?}");
    }
    assert!(!decide(true, None, Some("dumb")) && !decide(false, None, Some("xterm")));
    for name in ["agent", "axum"] {
        for (no_color, has_colours) in [("", true), ("1", false)] {
            let mut command = Command::new(example(name));
            let (code, seen, _) = Screen::start(command.arg("--x").env("NO_COLOR", no_color), USUAL, "C", None).end();
            assert_eq!((code, seen.contains('\u{1b}')), (Some(2), has_colours), "{name} {no_color:?} {seen:?}");
        }
    }
}

#[test]
fn f6_f7_versions_and_exit_codes_are_told() {
    for name in ["axum", "mcp", "agent"] {
        let version = run(name, &["--version"]);
        assert!(version.status.success() && text(&version.stdout).trim().ends_with(env!("CARGO_PKG_VERSION")));
        let help = run(name, &["--help"]);
        assert!(help.status.success() && help.stderr.is_empty() && version.stderr.is_empty());
        let help = text(&help.stdout);
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
fn f3_f8_a_demo_that_can_not_start_says_why_at_any_log_level() {
    let demo = Demo::start(&["--store", "memory"]);
    let taken = demo.url.replace("http://localhost", "127.0.0.1");
    let folder = Folder::new();
    let path = |name: &str| folder.0.join(name).display().to_string();
    let (missing, directory) = (path("missing.toml"), path("directory"));
    std::fs::create_dir(&directory).unwrap();
    // A port that refuses: its listener is gone.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (postgres, redis) = (format!("postgres://app:hunter2@{closed}/db"), format!("redis://app:hunter2@{closed}"));
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_postgres = format!("postgres://app:hunter2@{}/db", silent.local_addr().unwrap());
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
        (
            vec!["--listen", "127.0.0.1:0", "--store", &silent_postgres],
            vec![&silent_postgres.replace(":hunter2", ""), "check that PostgreSQL runs", "no answer within"],
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
fn f1_only_the_response_is_on_stdout() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let file = folder.0.join("credential.json").display().to_string();
    let open = agent(&[&format!("{}/health", demo.url), "--credential", &file]);
    assert_eq!((open.code, open.body.as_str()), (Some(0), r#"{"status":"ok"}"#), "{}", open.said);
    assert!(open.said.contains("without a credential"), "{}", open.said);

    let missing = agent(&[&format!("{}/nowhere", demo.url), "--credential", &file]);
    assert_eq!((missing.code, missing.body.as_str()), (Some(1), ""), "{}", missing.said);
    for wrong in [&["ftp://x"][..], &["--logout"], &["http://example.com/"], &["http://localhost:1/", "--qr", "maybe"]]
    {
        let ended = agent(wrong);
        assert_eq!((ended.code, ended.body.as_str()), (Some(2), ""), "{}", ended.said);
    }
}

/// Nobody listens; and a service whose store is locked, so that it answers 503.
#[tokio::test(flavor = "multi_thread")]
async fn f6_a_service_that_can_not_be_reached_has_an_exit_code_of_its_own() {
    let folder = Folder::new();
    let file = folder.0.join("credential.json").display().to_string();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = agent(&[&format!("http://{closed}/projects"), "--credential", &file]);
    assert_eq!((down.code, down.body.as_str()), (Some(5), ""), "{}", down.said);
    assert!(down.said.contains("can't reach"), "{}", down.said);

    let demo = Demo::start(&["--store", &folder.store()]);
    let database = SqliteConnectOptions::new().filename(folder.0.join("demo.db"));
    let mut other = SqliteConnection::connect_with(&database).await.unwrap();
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let arguments = [format!("{}/projects", demo.url), "--credential".to_owned(), file];
    let busy = tokio::task::spawn_blocking(move || agent(&arguments.each_ref().map(String::as_str))).await.unwrap();
    assert_eq!((busy.code, busy.body.as_str()), (Some(5), ""), "{}", busy.said);
    assert!(busy.said.contains("can't answer now: 503"), "{}", busy.said);
    lock.rollback().await.unwrap();
}

#[test]
fn f6_what_the_service_refuses_has_an_exit_code_of_its_own() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let file = folder.0.join("credential.json").display().to_string();
    approved(&demo, [&format!("{}/projects", demo.url), "--credential", &file]);
    for (path, said) in [("stats?project=x", "--scope analytics:read"), ("billing", "no scope would help")] {
        let refused = agent(&[&format!("{}/{path}", demo.url), "--credential", &file]);
        assert_eq!((refused.code, refused.body.as_str()), (Some(6), ""), "{}", refused.said);
        assert!(refused.said.contains(said), "{}", refused.said);
    }
}

#[test]
fn f6_a_human_who_denies_ends_the_wait() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let (url, file) = (format!("{}/projects", demo.url), folder.0.join("credential.json"));
    let human = Human::of(&demo);
    for mode in [&[][..], &["--mode", "browser"], &["--mode", "detached"]] {
        let mut agent = AgentProcess::start(&[&[&url, "--credential", file.to_str().unwrap()], mode].concat());
        human.decide(&agent.link(), "deny");
        let ended = agent.end();
        assert_eq!((ended.code, ended.body.as_str()), (Some(3), ""), "{mode:?} {}", ended.said);
        assert!(!file.exists());
    }
}

#[test]
fn the_agent_sends_a_reason_and_shows_the_check_phrase() {
    let oauth_only = include_str!("../examples/axum/agent-auth.toml")
        .replace(r#"["agent_auth", "agent_sessions", "oauth", "auth_md"]"#, r#"["oauth"]"#);
    let folder = Folder::new();
    let toml = folder.0.join("agent-auth.toml");
    std::fs::write(&toml, oauth_only).unwrap();
    let file = folder.0.join("credential.json").display().to_string();
    let demo = Relay::start(&["--store", "memory"], &json!({}));
    // What a service writes to a terminal does not move its cursor.
    let bent = Relay::start(&["--store", "memory"], &json!({ "check_phrase": "amber\u{1b}[2J otter\r 42" }));
    let oauth = Relay::start(&["--store", "memory", "--config", toml.to_str().unwrap()], &json!({}));
    for (relay, mode, path) in [
        (&demo, None, "/agent/auth"),
        (&demo, Some("browser"), "/agent-sessions/start"),
        (&demo, Some("detached"), "/agent-sessions/start"),
        (&demo, Some("finish-code"), "/agent-sessions/start"),
        (&bent, None, "/agent/auth"),
        (&oauth, Some("detached"), "/oauth2/device_authorization"),
    ] {
        let url = format!("{}/projects", relay.url);
        for reason in [None, Some("to draw your chart")] {
            let mut command = Command::new(example("agent"));
            command.args([&url, "--credential", &file]).args(mode.into_iter().flat_map(|mode| ["--mode", mode]));
            command.args(reason.into_iter().flat_map(|reason| ["--reason", reason])).env("NO_COLOR", "1");
            let agent = Screen::start(&mut command, USUAL, "C", None);
            agent.shows("\n4. ");
            if path == "/oauth2/device_authorization" {
                agent.shows(&format!("\n\n   {}\n", relay.started()["user_code"].as_str().unwrap()));
            } else {
                let phrase = match relay.started()["check_phrase"].as_str() {
                    Some(_) if relay.url == bent.url => "amber[2J otter 42".to_owned(),
                    phrase => phrase.unwrap().to_owned(),
                };
                agent.shows(&format!("The page must show the phrase: {phrase}\n"));
            }
            assert!(!agent.seen().contains('\u{1b}'), "{:?}", agent.seen());
            let sent = relay.bodies(path).pop().unwrap();
            let sent: serde_json::Value = serde_json::from_str(&sent).unwrap_or_else(|_| {
                let members = url::form_urlencoded::parse(sent.as_bytes());
                members.into_owned().map(|(name, value)| (name, json!(value))).collect()
            });
            assert_eq!(sent.get("reason").and_then(|sent| sent.as_str()), reason, "{mode:?} {sent}");
            agent.interrupt();
            assert_eq!(agent.end().0, Some(130));
        }
    }
}

/// The demo in a terminal, until it is stopped. Answers what it showed.
fn demo_in(size: Size, locale: &str, no_color: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(example("axum"));
    command.args(["--listen", "127.0.0.1:0", "--store", "memory", "--log", "error"]).args(arguments);
    let demo = Screen::start(command.env("NO_COLOR", no_color), size, locale, None);
    let seen = demo.shows("Stop it with Ctrl-C.");
    // Since it serves, it knows how to stop.
    let address = seen.lines().next().unwrap().strip_prefix("listening on ").unwrap();
    assert_eq!(Http::new().get(&format!("{address}/health"), None).status, 200);
    demo.interrupt();
    let (code, seen, _) = demo.end();
    assert_eq!(code, Some(0), "{seen}");
    seen
}

#[test]
fn the_demo_shows_its_link_as_a_qr_code_where_a_phone_can_use_it() {
    let public = ["--public-url", "https://demo.example.com"];
    let utf8 = "C.UTF-8";
    let seen = demo_in(USUAL, utf8, "", &public);
    assert_eq!(qr_code(&seen).as_deref(), Some("https://demo.example.com/"), "{seen}");
    assert!(seen.contains("\u{1b}[97;40m"), "right on any background: {seen}");
    let plain = demo_in(USUAL, utf8, "1", &public);
    assert_eq!(qr_code(&plain).as_deref(), Some("https://demo.example.com/"), "{plain}");
    assert!(!plain.contains('\u{1b}'), "{plain}");

    for (size, locale, arguments) in [
        (USUAL, "C", &public[..]),
        (Size { columns: 20, ..USUAL }, utf8, &public),
        (Size { rows: 10, ..USUAL }, utf8, &public),
        (USUAL, utf8, &["--public-url", "https://demo.example.com", "--qr", "never"]),
        // A phone is another machine.
        (USUAL, utf8, &[]),
        (USUAL, utf8, &["--public-url", "https://127.0.0.2"]),
    ] {
        let seen = demo_in(size, locale, "", arguments);
        assert_eq!(qr_code(&seen), None, "{locale} {arguments:?} {seen}");
    }
    let asked_for = demo_in(USUAL, "C", "", &["--qr", "always"]);
    let url = asked_for.lines().next().unwrap().strip_prefix("listening on ").unwrap();
    assert_eq!(qr_code(&asked_for), Some(format!("{url}/")), "{asked_for}");
}

/// In each mode the agent is interrupted while it waits.
#[test]
fn an_interrupted_agent_says_what_it_leaves_and_had_shown_a_qr_code() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let (url, file) = (format!("{}/projects", demo.url), folder.0.join("credential.json"));
    for (mode, qr) in [
        (None, "always"),
        (Some("detached"), "always"),
        (Some("finish-code"), "always"),
        (Some("browser"), "always"),
        (None, "auto"),
    ] {
        let mut command = Command::new(example("agent"));
        command.args([&url, "--credential", file.to_str().unwrap(), "--qr", qr]).env_remove("NO_COLOR");
        command.args(mode.into_iter().flat_map(|mode| ["--mode", mode]));
        let agent = Screen::start(&mut command, USUAL, "C.UTF-8", Some(Stdio::piped()));
        agent.shows(match mode {
            Some("browser") => "/reg_",
            Some("finish-code") => "the finish code that the page shows",
            _ => "waiting for your human",
        });
        agent.interrupt();
        let (code, seen, body) = agent.end();
        assert_eq!((code, body.as_str()), (Some(130), ""), "{seen}");
        assert!(seen.contains("\nInterrupted. The request for access stays open until it expires"), "{seen}");
        assert!(!file.exists());
        let link = seen.lines().map(str::trim).find(|line| line.starts_with("http://")).unwrap();
        // The browser of that mode is on this machine.
        let expected = (qr == "always" && mode != Some("browser")).then(|| link.to_owned());
        assert_eq!(qr_code(&seen), expected, "{mode:?} {qr} {seen}");
    }
}

#[test]
fn f2_a_finish_code_is_taken_from_the_message_of_the_page_after_a_miss() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let (url, file) = (format!("{}/projects", demo.url), folder.0.join("credential.json").display().to_string());
    let mut command = Command::new(example("agent"));
    command.args([&url, "--credential", &file, "--mode", "finish-code", "--qr", "never"]).env("NO_COLOR", "1");
    let mut agent = Screen::start(&mut command, USUAL, "C", Some(Stdio::piped()));
    let seen = agent.shows("the finish code that the page shows");
    let link = seen.lines().map(str::trim).find(|line| line.starts_with("http://")).unwrap().to_owned();

    agent.types("aaf_AAAAAAAAAAAAAAAAAAAAAAAA\n");
    agent.shows("has not approved yet");
    let human = Human::of(&demo);
    let page = human.finish_code_page(&link);
    let message = page.html.split("id=\"message\">").nth(1).unwrap().split("</pre>").next().unwrap();
    assert!(message.contains(":\n"), "{message}");
    agent.types("I have approved it\n");
    agent.shows("there is no code in that");
    agent.types("aaf_AAAAAAAAAAAAAAAAAAAAAAAA\n");
    agent.shows("that is not the code");
    agent.types(&format!("{message}\n"));
    let (code, seen, body) = agent.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(body.contains("\"projects\":"), "{body}");
    assert!(!seen.contains("aas_"), "{seen}");
}

#[test]
fn f5_a_credential_that_could_not_be_kept_is_not_asked_for() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let url = format!("{}/projects", demo.url);
    let broken = folder.0.join("broken.json");
    std::fs::write(&broken, "not JSON").unwrap();
    let missing = folder.0.join("missing").join("credential.json");
    for file in [missing.as_path(), broken.as_path(), folder.0.as_path(), Path::new("/proc/credential.json")] {
        let ended = agent(&[&url, "--credential", file.to_str().unwrap()]);
        assert_eq!((ended.code, ended.body.as_str()), (Some(7), ""), "{}", ended.said);
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
fn f6_nobody_decides_in_time() {
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
fn f7_a_logout_revokes_and_deletes_the_credential() {
    let demo = Demo::start(&["--store", "memory"]);
    let folder = Folder::new();
    let file = folder.0.join("credential.json");
    let url = format!("{}/projects", demo.url);
    let arguments = [url.as_str(), "--credential", file.to_str().unwrap()];
    let none = agent(&[&arguments[..], &["--logout"]].concat());
    assert_eq!((none.code, none.body.as_str()), (Some(0), ""), "{}", none.said);
    assert!(none.said.contains("no credential") && !file.exists(), "{}", none.said);

    let token = approved(&demo, arguments);
    assert_eq!(Http::new().get(&url, Some(&token)).status, 200);
    let out = agent(&[&arguments[..], &["--logout"]].concat());
    assert_eq!((out.code, out.body.as_str()), (Some(0), ""), "{}", out.said);
    assert_eq!(Http::new().get(&url, Some(&token)).status, 401);
    assert!(out.said.contains("is revoked") && out.said.contains(file.to_str().unwrap()), "{}", out.said);
    assert!(!file.exists(), "no secret stays");

    // Nobody to tell. What is for another service stays.
    let token = approved(&demo, arguments);
    let other = Demo::start(&["--store", "memory"]);
    approved(&other, [&format!("{}/projects", other.url), arguments[1], arguments[2]]);
    drop(demo);
    let out = agent(&[&arguments[..], &["--logout"]].concat());
    assert_eq!((out.code, out.body.as_str()), (Some(5), ""), "{}", out.said);
    assert!(out.said.contains("may still live") && out.said.contains("can't reach"), "{}", out.said);
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(!stored.contains(&token) && stored.contains(&other.url), "{}", out.said);
}

/// Where a service has nothing but an OAuth server, the agent is an OAuth client, by code and by device code.
#[test]
fn the_agent_logs_in_as_an_oauth_client_where_there_is_nothing_else() {
    let folder = Folder::new();
    let built_in = include_str!("../examples/axum/agent-auth.toml");
    let config = built_in.replace(r#"["agent_auth", "agent_sessions", "oauth", "auth_md"]"#, r#"["oauth"]"#);
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
        let out = agent(&[url.as_str(), "--credential", file.to_str().unwrap(), "--logout"]);
        assert_eq!(out.code, Some(0), "{}", out.said);
    }
    let finish_code = agent(&[&arguments[..], &["--mode", "finish-code"]].concat());
    assert_eq!(finish_code.code, Some(1), "{}", finish_code.said);
}

/// Where a service has nothing but the open auth.md protocol, the agent logs in by it, and elsewhere if it is told to.
#[test]
fn the_agent_logs_in_by_the_open_protocol_where_there_is_nothing_else() {
    let folder = Folder::new();
    let built_in = include_str!("../examples/axum/agent-auth.toml");
    let config = built_in.replace(r#"["agent_auth", "agent_sessions", "oauth", "auth_md"]"#, r#"["auth_md"]"#);
    // What is not refreshed lasts as long as its access token.
    let is_choice = |line: &&str| line.starts_with("choices =") || line.starts_with("proposed =");
    let config: String = config.lines().filter(|line| !is_choice(line)).flat_map(|line| [line, "\n"]).collect();
    let toml = folder.0.join("agent-auth.toml");
    std::fs::write(&toml, config).unwrap();
    let alone = Demo::start(&["--store", "memory", "--config", toml.to_str().unwrap(), "--no-limits"]);
    let all = Demo::start(&["--store", "memory", "--no-limits"]);
    for (demo, mode) in [(&alone, &[][..]), (&alone, &["--mode", "identity"]), (&all, &["--mode", "identity"])] {
        let url = format!("{}/projects", demo.url);
        let file = folder.0.join("credential.json");
        let credential = [url.as_str(), "--credential", file.to_str().unwrap()];
        let arguments = [&credential[..], &["--scope", "projects:read"], mode].concat();
        let human = Human::of(demo);
        let mut denied = AgentProcess::start(&arguments);
        human.decide(denied.link().split('?').next().unwrap(), "deny");
        let ended = denied.end();
        assert_eq!((ended.code, ended.body.as_str()), (Some(3), ""), "{mode:?} {}", ended.said);

        let mut approved = AgentProcess::start(&arguments);
        let link = approved.link();
        let code = loop {
            let word = approved.says("");
            if word.len() == 6 && word.bytes().all(|digit| digit.is_ascii_digit()) {
                break word;
            }
        };
        human.decide_with(link.split('?').next().unwrap(), "approve", Some(&code));
        let ended = approved.end();
        assert_eq!(ended.code, Some(0), "{mode:?} {}", ended.said);
        assert!(ended.body.contains("projects") && ended.said.contains("\n8. "), "{}", ended.said);
        let stored: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let token = stored[&demo.url]["access_token"].as_str().unwrap().to_owned();
        assert_eq!(Http::new().get(&url, Some(&token)).status, 200);

        // The assertion gives another token, without a human, and again.
        for spoilt in ["aas_x", "aas_y"] {
            let stored = std::fs::read_to_string(&file).unwrap();
            let stored_json: serde_json::Value = serde_json::from_str(&stored).unwrap();
            let token = stored_json[&demo.url]["access_token"].as_str().unwrap();
            std::fs::write(&file, stored.replace(token, spoilt)).unwrap();
            let again = agent(&credential);
            assert_eq!(again.code, Some(0), "{}", again.said);
            assert!(again.said.contains("was refreshed"), "{}", again.said);
        }
        let out = agent(&[&credential[..], &["--logout"]].concat());
        assert_eq!(out.code, Some(0), "{}", out.said);
        assert_eq!(Http::new().get(&url, Some(&token)).status, 401, "the end of the identity ends all");
    }
    let other = agent(&[&format!("{}/projects", alone.url), "--mode", "detached"]);
    assert_eq!(other.code, Some(1), "{}", other.said);
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
        self.get_with(url, None)
    }

    fn get_with(&self, url: &str, form: Option<&str>) -> Page {
        let request = self.browser.get(url).header("cookie", self.cookies(form));
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
        self.decided(link, decision).0.location()
    }

    /// Approves, and is sent to the page with the finish code.
    fn finish_code_page(&self, link: &str) -> Page {
        let (decided, form) = self.decided(link, "approve");
        self.get_with(&decided.location(), form.as_deref())
    }

    /// The response to a decision at an approval page, and the cookie of the form.
    fn decided(&self, link: &str, decision: &str) -> (Page, Option<String>) {
        self.decide_with(link, decision, None)
    }

    /// The same for a human who types the code that the agent shows.
    fn decide_with(&self, link: &str, decision: &str, code: Option<&str>) -> (Page, Option<String>) {
        let page = self.get(link);
        // Nobody has read the page before that.
        std::thread::sleep(Duration::from_secs(1));
        let csrf = page.csrf();
        let mut form = vec![("csrf", &*csrf), ("decision", decision), ("scope", "projects:read")];
        form.extend(code.map(|code| ("user_code", code)));
        let request = self.browser.post(link).header("cookie", self.cookies(page.cookie.as_deref()));
        (Self::page(link, request.send_form(form).unwrap()), page.cookie)
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
