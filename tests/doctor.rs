//! The doctor of the examples: what it finds at our own demos, at services with planted faults, and at what is no service.
//!
//! `cargo test` builds the examples before it runs this. With a filter by target, build them first: `cargo build --examples`.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

#[path = "doctor/faults.rs"]
mod faults;
#[expect(dead_code, unreachable_pub, reason = "it is that of the tests of the demo")]
#[path = "demo/screen.rs"]
mod screen;
#[path = "doctor/site.rs"]
mod site;
use faults::FAULTS;
use screen::{Screen, USUAL};
use site::{Reply, Site, request};

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built; run cargo build --examples", path.display());
    path
}

fn doctor(arguments: &[&str]) -> Output {
    let output = Command::new(example("doctor")).args(arguments).env("CLICOLOR", "1").env("TERM", "xterm").output();
    let output = output.unwrap();
    assert!(output.stderr.is_empty() || output.status.code() == Some(2), "{}", text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A report, as JSON.
struct Report {
    code: Option<i32>,
    json: Value,
}

impl Report {
    fn of(url: &str) -> Self {
        Self::with(&[url])
    }

    fn with(arguments: &[&str]) -> Self {
        let output = doctor(&[arguments, &["--json"]].concat());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stdout)));
        let names: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(names, ["findings", "grade", "url"]);
        for finding in json["findings"].as_array().unwrap() {
            let names: Vec<&String> = finding.as_object().unwrap().keys().collect();
            assert_eq!(names, ["at", "expected", "found", "id", "remedy", "severity", "source"]);
            assert!(finding.as_object().unwrap().values().all(|value| value.as_str().is_some_and(|it| !it.is_empty())));
        }
        Self { code: output.status.code(), json }
    }

    fn findings(&self) -> &[Value] {
        self.json["findings"].as_array().unwrap()
    }

    fn ids(&self) -> BTreeSet<&str> {
        self.findings().iter().map(|finding| finding["id"].as_str().unwrap()).collect()
    }

    fn severities(&self) -> BTreeSet<&str> {
        self.findings().iter().map(|finding| finding["severity"].as_str().unwrap()).collect()
    }
}

/// One of our own servers, as anybody starts it.
struct Demo {
    process: Child,
    url: String,
}

impl Demo {
    fn start(name: &str) -> Self {
        let mut process = Command::new(example(name))
            .args(["--listen", "127.0.0.1:0", "--store", "memory"])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        let url = first.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{first:?}")).to_owned();
        thread::spawn(move || stdout.read_to_string(&mut String::new()));
        Self { process, url }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A listener whose connections are all treated so. Answers its address.
fn listen(treat: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let treat = Arc::new(treat);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let treat = Arc::clone(&treat);
            thread::spawn(move || treat(stream));
        }
    });
    address
}

#[test]
fn our_own_servers_have_notes_only() {
    for (name, path) in [("axum", "/projects"), ("axum", "/billing"), ("mcp", "/mcp")] {
        let demo = Demo::start(name);
        let report = Report::of(&format!("{}{path}", demo.url));
        assert_eq!(report.code, Some(0), "{:#}", report.json);
        assert_eq!(report.json["grade"], "good");
        assert!(report.severities().is_subset(&BTreeSet::from(["note"])), "{:#}", report.json);
    }
}

/// Agents of the open auth.md protocol reach an MCP server too: one that nobody has claimed lists its tools.
#[test]
fn an_agent_of_the_open_protocol_reaches_the_mcp_server() {
    let demo = Demo::start("mcp");
    let http: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let read = |mut response: http::Response<ureq::Body>| -> Value {
        let text = response.body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| json!(text))
    };
    let asked = json!({ "type": "anonymous", "client_name": "Example agent" });
    let registered = read(http.post(&format!("{}/agent/identity", demo.url)).send_json(&asked).unwrap());
    let assertion = registered["identity_assertion"].as_str().unwrap_or_else(|| panic!("{registered}"));
    let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion)];
    let tokens = read(http.post(&format!("{}/oauth2/token", demo.url)).send_form(form).unwrap());
    let token = tokens["access_token"].as_str().unwrap_or_else(|| panic!("{tokens}"));
    let call = |method: &str, params: Value| {
        let request = http.post(&format!("{}/mcp", demo.url));
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("accept", "application/json, text/event-stream");
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response = request.send_json(&body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    };
    let client = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "example", "version": "1" } });
    let (status, body) = call("initialize", client);
    assert!(status == 200 && body.contains("serverInfo"), "{status} {body}");
    let (status, body) = call("tools/call", json!({ "name": "delete_account", "arguments": {} }));
    assert_eq!(status, 403, "{body}");
}

#[test]
fn a_service_that_does_all_right_has_no_finding() {
    let site = Site::start(|_| {});
    let report = Report::of(&site.target());
    assert_eq!((report.code, report.findings()), (Some(0), &[][..]), "{:#}", report.json);
    let text = text(&doctor(&[&site.target()]).stdout);
    assert!(text.starts_with(&format!("{}: 0 errors, 0 warnings, 0 notes\n", site.target())), "{text}");
}

/// The well-known path is inserted between the host and the path of the issuer (RFC 8414 section 3.1).
#[test]
fn an_issuer_with_a_path_has_its_metadata_at_the_inserted_path() {
    for openid in ["/.well-known/openid-configuration/tenant", "/tenant/.well-known/openid-configuration"] {
        let site = Site::start(|site| {
            let issuer = format!("{}/tenant", site.base);
            site.resource(|document| document["authorization_servers"] = json!([issuer]));
            site.server(|document| document["issuer"] = json!(issuer));
            site.rename(&format!("GET {}", site::AS), &format!("GET {}/tenant", site::AS));
            site.rename(&format!("GET {}", site::OPENID), &format!("GET {openid}"));
        });
        let report = Report::of(&site.target());
        assert_eq!((report.code, report.findings()), (Some(0), &[][..]), "{:#}", report.json);
        assert!(site.seen().iter().any(|(head, _)| head.starts_with(&format!("GET {openid} "))));
    }
}

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    let mut wrong = Vec::new();
    for fault in FAULTS {
        let site = Site::start(fault.plant);
        let report = Report::with(&[&site.target(), "--timeout", "5s"]);
        let expected: BTreeSet<&str> = fault.ids.iter().copied().collect();
        let code = match report.severities() {
            severities if severities.contains("error") => 3,
            severities if severities.contains("warning") => 1,
            _ => 0,
        };
        if report.ids() != expected || report.code != Some(code) {
            let findings = report.findings().iter().map(|finding| format!("{}: {}", finding["id"], finding["found"]));
            let findings: Vec<String> = findings.collect();
            wrong.push(format!("{expected:?}: {:?} {}", report.code, findings.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_that_do_not_hide_each_other_are_found_together() {
    let open: Vec<_> = FAULTS.iter().filter(|fault| !fault.hides).collect();
    assert!(open.len() >= 30, "{}", open.len());
    let site = Site::start(|site| FAULTS.iter().filter(|fault| !fault.hides).for_each(|fault| (fault.plant)(site)));
    let report = Report::of(&site.target());
    let expected: BTreeSet<&str> = open.iter().flat_map(|fault| fault.ids).copied().collect();
    assert_eq!(report.ids(), expected, "{:#}", report.json);
    assert_eq!((report.code, &report.json["grade"]), (Some(3), &json!("errors")));
}

#[test]
fn the_text_and_the_json_have_the_same_findings() {
    let site = Site::start(|site| FAULTS.iter().filter(|fault| !fault.hides).for_each(|fault| (fault.plant)(site)));
    let report = Report::of(&site.target());
    let shown = text(&doctor(&[&site.target()]).stdout);
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let mut rest = shown.as_str();
    for finding in report.findings() {
        for field in ["id", "at", "found", "expected", "source", "remedy"] {
            let value = finding[field].as_str().unwrap();
            let start = rest.find(value).unwrap_or_else(|| panic!("{field} of {finding:#} in {rest}"));
            rest = &rest[start + value.len()..];
        }
    }
    let headings = shown.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count();
    assert_eq!(headings, report.findings().len());
    let places: Vec<_> = ["\nErrors", "\nWarnings", "\nNotes"].map(|title| shown.find(title).unwrap()).into();
    assert!(places.is_sorted(), "worst first");
}

#[test]
fn only_a_terminal_gets_colours() {
    let site = Site::start(|site| site.remove("POST /revoke"));
    for (no_color, has_colours) in [("", true), ("1", false)] {
        let mut command = Command::new(example("doctor"));
        let (code, seen, _) =
            Screen::start(command.arg(site.target()).env("NO_COLOR", no_color), USUAL, "C", None).end();
        assert_eq!((code, seen.contains("\u{1b}[1;31mendpoint-not-found\u{1b}[0m")), (Some(3), has_colours), "{seen}");
        assert_eq!(seen.contains('\u{1b}'), has_colours, "{seen:?}");
    }
}

/// What a fault can't plant, since nothing else is looked at then: see the tests of unreachable services.
const FOUND_ELSEWHERE: [&str; 8] = [
    "unreachable",
    "unavailable",
    "timeout",
    "gave-up",
    "tls-failed",
    "not-http",
    "not-an-auth-server",
    "url-insecure",
];

#[test]
fn every_finding_of_the_list_is_planted_somewhere() {
    let list = text(&doctor(&["--list"]).stdout);
    let listed: BTreeSet<&str> = list.lines().skip(2).map(|row| row.split('`').nth(1).unwrap()).collect();
    let planted: BTreeSet<&str> = FAULTS.iter().flat_map(|fault| fault.ids).copied().chain(FOUND_ELSEWHERE).collect();
    assert_eq!(listed, planted);
}

#[test]
fn the_page_has_the_list() {
    let list = text(&doctor(&["--list"]).stdout);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md")).unwrap();
    let rows =
        |text: &str| -> Vec<String> { text.lines().filter(|row| row.starts_with('|')).map(str::to_owned).collect() };
    let section = page.split("## All findings").nth(1).unwrap();
    assert_eq!(
        rows(section),
        rows(&list),
        "replace the table of docs/doctor.md by: cargo run --example doctor -- --list"
    );
    let help = text(&doctor(&["--help"]).stdout);
    for line in help.split("Exit codes:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty()) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(page.contains(&format!("| {code} | {meaning} |")), "{line}");
    }
}

#[test]
fn the_command_line_is_checked() {
    for wrong in [
        &[][..],
        &["api.example.com"],
        &["ftp://example.com/"],
        &["https://"],
        &["https://me:secret@example.com/"],
        &["http://localhost:1/", "--timeout", "soon"],
        &["http://localhost:1/", "--timeout", "0s"],
        &["http://localhost:1/", "--list"],
        &["http://localhost:1/", "http://localhost:2/"],
    ] {
        let output = doctor(wrong);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{wrong:?}");
    }
    let version = text(&doctor(&["--version"]).stdout);
    assert!(version.trim().ends_with(env!("CARGO_PKG_VERSION")), "{version}");
}

/// The one finding of a service that has no other, and the exit code.
fn only(arguments: &[&str]) -> (Option<i32>, String, String) {
    let started = Instant::now();
    let report = Report::with(arguments);
    assert!(started.elapsed() < Duration::from_secs(30), "{:#}", report.json);
    let [finding] = report.findings() else { panic!("{:#}", report.json) };
    let field = |name: &str| finding[name].as_str().unwrap().to_owned();
    (report.code, field("id"), field("found"))
}

#[test]
fn what_can_not_be_reached_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let garbage = listen(|mut stream| drop(stream.write_all(b"\x16\x03\x01\x00\xff\xfe garbage \r\n\r\n")));
    let cut = listen(|mut stream| {
        request(&mut stream);
        drop(stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 100\r\n\r\nshort"));
    });
    let hangs_up = listen(|mut stream| drop(request(&mut stream)));
    let endless_head = listen(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"x-more: and more and more and more\r\n").is_ok() {}
    });
    for (url, id) in [
        (format!("http://{closed}/"), "unreachable"),
        (format!("http://{}/", silent.local_addr().unwrap()), "timeout"),
        (format!("http://{garbage}/"), "not-http"),
        (format!("http://{cut}/"), "not-http"),
        (format!("http://{hangs_up}/"), "not-http"),
        (format!("http://{endless_head}/"), "not-http"),
    ] {
        let (code, found, said) = only(&[&url, "--timeout", "1s"]);
        assert_eq!((code, found.as_str()), (Some(5), id), "{url}: {said}");
    }
    // This machine, by an address that says nothing of that.
    let report = Report::of(&format!("http://0.0.0.0:{}/", closed.port()));
    assert_eq!((report.code, report.ids()), (Some(5), BTreeSet::from(["unreachable", "url-insecure"])));
    for status in [429, 502, 503, 504] {
        let site = Site::start(|site| site.set("GET /mcp", Reply::json(status, &json!({}))));
        let (code, found, said) = only(&[&site.target()]);
        assert_eq!((code, found.as_str()), (Some(5), "unavailable"), "{said}");
        assert!(said.contains(&status.to_string()), "{said}");
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let own = listen(move |mut stream| {
        let mut connection = tokio_rustls::rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
    });
    let plain = listen(|mut stream| {
        // No request comes, only the hello of TLS.
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    for address in [own, plain] {
        let url = format!("https://{}/mcp", address.replace("127.0.0.1", "localhost"));
        let (code, id, found) = only(&[&url, "--timeout", "5s"]);
        assert_eq!((code, id.as_str()), (Some(5), "tls-failed"), "{found}");
    }
}

#[test]
fn what_is_no_auth_server_gets_one_clear_answer() {
    let page = || Reply::new(200, "text/html; charset=utf-8", "<!doctype html><title>App</title>");
    let hello = Site::empty(|site| site.set("GET /", Reply::new(200, "text/plain", "hello")));
    let app = Site::empty(|site| site.fallback = page());
    let says_yes = Site::empty(|site| site.fallback = Reply::new(200, "text/plain", "ok"));
    let nothing = Site::empty(|_| {});
    let moved = Site::empty(|site| {
        site.fallback = Reply::new(302, "text/plain", "").with("location", "/login");
    });
    for (site, said) in [
        (&hello, "200 OK"),
        (&app, "a single-page app"),
        (&says_yes, "200 OK"),
        (&nothing, "404 Not Found"),
        (&moved, "302 Found to /login"),
    ] {
        let (code, id, found) = only(&[&format!("{}/", site.base)]);
        assert_eq!((code, id.as_str()), (Some(3), "not-an-auth-server"), "{found}");
        assert!(found.contains("does not ask for a token") && found.contains(said), "{found}");
        assert!(found.contains("nothing here says that it is an auth.md or MCP server"), "{found}");
    }
}

#[test]
fn a_document_that_is_an_app_s_page_is_one_finding_each() {
    let site = Site::empty(|site| {
        site.fallback = Reply::new(200, "text/html", "<!doctype html><title>App</title>");
        site.set("GET /api", Reply::json(401, &json!({})).with("www-authenticate", "Bearer"));
    });
    let report = Report::of(&format!("{}/api", site.base));
    assert_eq!(report.code, Some(3), "{:#}", report.json);
    assert!(report.ids().contains("document-html") && report.ids().contains("prm-missing"), "{:#}", report.json);
    assert!(!report.ids().contains("not-an-auth-server"), "{:#}", report.json);
}

#[test]
fn a_service_that_stops_to_answer_is_not_waited_for_again_and_again() {
    let site = Site::start(|site| {
        for path in [site::PRM, site::PRM_ROOT, site::AS, "/.well-known/openid-configuration", "/auth.md"] {
            site.set(&format!("GET {path}"), Reply::hanging());
        }
    });
    let started = Instant::now();
    let report = Report::with(&[&site.target(), "--timeout", "1s"]);
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(report.code, Some(3), "{:#}", report.json);
    assert!(report.ids().contains("timeout") && report.ids().contains("gave-up"), "{:#}", report.json);
    let given_up = report.findings().iter().filter(|finding| finding["id"] == "gave-up").count();
    assert_eq!(given_up, 1);
}

#[test]
fn a_compressed_document_is_read() {
    let site = Site::start(|site| {
        for path in [site::PRM, site::AS] {
            let key = format!("GET {path}");
            let reply = site.get(&key);
            let (packed, was) = (site::gzip(&reply.body), reply.headers.clone());
            let mut packed = Reply { body: packed, headers: was, ..Reply::json(200, &json!({})) };
            packed.headers.push(("content-encoding".into(), "gzip".into()));
            site.set(&key, packed);
        }
    });
    let report = Report::of(&site.target());
    assert_eq!((report.code, report.findings()), (Some(0), &[][..]), "{:#}", report.json);
}

#[test]
fn members_of_any_type_are_findings() {
    for value in [json!(null), json!(7), json!([]), json!({}), json!("x"), json!([[null]]), json!({ "a": [1] })] {
        for path in [site::PRM, site::AS] {
            let site = Site::start(|site| {
                site.server_at(path, |document| {
                    document.as_object_mut().unwrap().values_mut().for_each(|member| *member = value.clone());
                });
            });
            let report = Report::of(&site.target());
            assert_eq!(report.code, Some(3), "{value} {path} {:#}", report.json);
        }
    }
}

/// A service that would register whoever asks in a valid way has registered nobody.
#[test]
fn nothing_is_created() {
    let site = Site::start(|_| {});
    Report::of(&site.target());
    let seen = site.seen();
    assert!(seen.len() > 20, "{seen:#?}");
    for (head, body) in &seen {
        let (head, to_target) = (head.to_lowercase(), head.contains(" /mcp "));
        assert!(to_target || matches!(body.as_str(), "" | "["), "{head}: {body}");
        let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: "));
        assert!(authorization.is_none_or(|it| to_target && it.starts_with("bearer doctor-0000")), "{head}");
    }
    let methods: BTreeSet<&str> = seen.iter().map(|(head, _)| head.split(' ').next().unwrap()).collect();
    assert_eq!(methods, BTreeSet::from(["GET", "HEAD", "OPTIONS", "POST"]));
}

/// An MCP server that lets anybody in begins a session, which ends at once.
#[test]
fn a_session_that_was_given_is_ended() {
    let site = Site::start(|site| {
        site.set("GET /mcp", Reply::json(405, &json!({})));
        site.set("POST /mcp", Reply::json(200, &json!({ "jsonrpc": "2.0" })).with("mcp-session-id", "session-1"));
    });
    let report = Report::of(&site.target());
    assert_eq!((report.code, report.ids()), (Some(1), BTreeSet::from(["challenge-none"])), "{:#}", report.json);
    let deleted: Vec<_> = site.seen().into_iter().filter(|(head, _)| head.starts_with("DELETE ")).collect();
    assert_eq!(deleted.len(), 1);
    assert!(deleted[0].0.contains("\r\nmcp-session-id: session-1"), "{}", deleted[0].0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_can_not_be_written_has_an_exit_code_of_its_own() {
    let site = Site::start(|_| {});
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(example("doctor"));
    let output = command.arg(site.target()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("can't be written"));
}

/// Text of a service can't write to the terminal.
#[test]
fn what_a_service_says_is_shown_without_control_characters() {
    let site = Site::start(|site| {
        site.server(|document| document["token_endpoint"] = json!("\u{1b}[2J\u{7}relative\nErrors"));
    });
    let shown = text(&doctor(&[&site.target()]).stdout);
    assert!(shown.contains("relative") && !shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(!shown.contains("\nErrors\n") && Report::of(&site.target()).ids().contains("endpoint-relative"), "{shown}");
}

/// What is right, and looks wrong at first.
#[test]
fn what_a_right_service_may_do_is_no_finding() {
    type Plant = fn(&mut site::Routes);
    let plants: [(&str, Plant); 7] = [
        ("an MCP server without a stream", |site| site.set("GET /mcp", Reply::json(405, &json!({})))),
        ("a document of another resource at the root", |site| {
            let base = site.base.clone();
            site.resource_at(site::PRM_ROOT, |document| {
                document["resource"] = json!(base);
                document["authorization_servers"] = json!(["https://other.example"]);
            });
        }),
        ("a login page where nobody promised a document", |site| {
            site.remove(&format!("GET {}", site::PRM_ROOT));
            site.set(&format!("GET {}", site::PRM_ROOT), Reply::new(302, "text/plain", "").with("location", "/login"));
        }),
        ("a challenge in place of a body", |site| {
            site.set("POST /introspect", Reply::new(401, "text/plain", "").with("www-authenticate", "Basic"));
        }),
        ("an endpoint that limits rates", |site| site.set("POST /token", Reply::json(429, &json!({})))),
        ("a route in the text that the text says to POST to", |site| {
            site.auth_md(|text| text.replace(" See http", " Then POST `http").replace("/docs", "/hooks/deploy"));
            site.set("POST /hooks/deploy", Reply::json(202, &json!({})));
            site.set("OPTIONS /hooks/deploy", Reply::json(404, &json!({})));
        }),
        ("a route for POST in the text", |site| {
            site.auth_md(|text| text.replace("/docs", "/hooks/deploy"));
            site.set("POST /hooks/deploy", Reply::json(202, &json!({})));
        }),
    ];
    for (name, plant) in plants {
        let site = Site::start(plant);
        let report = Report::of(&site.target());
        assert_eq!((report.code, report.findings()), (Some(0), &[][..]), "{name}: {:#}", report.json);
        assert!(site.seen().iter().all(|(head, _)| !head.starts_with("POST /hooks")), "{name}");
    }
}

#[test]
fn a_guessed_issuer_may_end_in_a_slash() {
    let plant = |site: &mut site::Routes| {
        [site::PRM, site::PRM_ROOT].iter().for_each(|path| site.remove(&format!("GET {path}")));
        site.challenge("Bearer scope=\"notes:read\"");
        let slash = format!("{}/", site.base);
        site.server(|document| document["issuer"] = json!(slash));
    };
    let report = Report::of(&Site::start(plant).target());
    assert_eq!(report.ids(), BTreeSet::from(["prm-missing", "challenge-no-metadata"]), "{:#}", report.json);
}

#[test]
fn a_service_that_limits_the_doctor_lacks_nothing() {
    for path in [site::PRM, site::AS, "/auth.md"] {
        let plant = |site: &mut site::Routes| {
            site.set(&format!("GET {path}"), Reply::json(429, &json!({})));
            site.set(&format!("HEAD {path}"), Reply::json(429, &json!({})));
        };
        let report = Report::of(&Site::start(plant).target());
        assert_eq!((report.code, report.ids()), (Some(5), BTreeSet::from(["unavailable"])), "{path} {:#}", report.json);
        assert_eq!(report.json["grade"], "unreachable");
    }
}
