//! The example `split` as a process: one issuer, and an API on another origin that only checks tokens.
//!
//! `cargo test` builds the examples before it runs this. With a filter by target, build them first: `cargo build --examples`.
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
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tower_agent_auth::challenge::Challenge;

#[path = "browser/harness.rs"]
mod harness;
use harness::{AgentProcess, Answer, Folder, Http, example};

struct Split {
    process: Child,
    notes: String,
    files: String,
}

impl Split {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(example("split")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut url = |before: &str| lines.next().unwrap().unwrap().strip_prefix(before).unwrap().to_owned();
        let (notes, files) = (url("the issuer listens on "), url("the files listen on "));
        // The rest is read away, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, notes, files }
    }
}

impl Drop for Split {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The metadata URL that a refusal names.
fn metadata_url(refused: &Answer) -> String {
    let challenge = Challenge::parse(refused.header("www-authenticate")).unwrap().remove(0);
    challenge.parameter("resource_metadata").unwrap().to_owned()
}

/// Runs the example agent against a URL, approves as its human would, and answers the access token that it stored and the
/// approval page.
fn approved(folder: &Folder, url: &str, origin: &str, scope: &str) -> (String, String) {
    let file = folder.0.join(scope.replace(':', "-")).display().to_string();
    let mut agent = AgentProcess::start(&[url, "--credential", &file]);
    let link = agent.link();
    let browser: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let mut page = browser.get(&link).header("cookie", "human=me").call().unwrap();
    let cookie = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let html = page.body_mut().read_to_string().unwrap();
    let csrf = html.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    // Nobody has read the page before that.
    std::thread::sleep(Duration::from_secs(1));
    let approve = [("csrf", csrf), ("decision", "approve"), ("scope", scope)];
    let decided = browser.post(&link).header("cookie", format!("human=me; {cookie}")).send_form(approve).unwrap();
    assert_eq!(decided.status(), 303);
    let ended = agent.end();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let stored: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let token = stored[origin]["access_token"].as_str().unwrap_or_else(|| panic!("{stored}")).to_owned();
    (token, html)
}

#[test]
fn g1_a_token_of_one_origin_is_refused_at_the_other_and_each_names_its_own_document() {
    each_origin_takes_its_own_tokens(&[]);
}

#[test]
fn r120_an_api_without_the_store_asks_the_issuer_and_takes_the_same_tokens() {
    each_origin_takes_its_own_tokens(&["--introspect"]);
}

fn each_origin_takes_its_own_tokens(arguments: &[&str]) {
    let split = Split::start(arguments);
    let (folder, http) = (Folder::new(), Http::new());
    let (notes, files) = (format!("{}/notes", split.notes), format!("{}/files", split.files));
    let (of_notes, page) = approved(&folder, &notes, &split.notes, "notes:read");
    assert!(page.contains("<bdi>Notes</bdi>"), "{page}");
    let (of_files, page) = approved(&folder, &files, &split.files, "files:read");
    assert!(page.contains("<bdi>Files</bdi>"), "{page}");
    assert_eq!(http.get(&notes, Some(&of_notes)).json["notes"][0], "buy bread");
    assert_eq!(http.get(&files, Some(&of_files)).json["files"][0], "letter.txt");

    for (url, own, foreign, name) in
        [(&notes, &split.notes, &of_files, "Notes"), (&files, &split.files, &of_notes, "Files")]
    {
        let refused = http.get(url, Some(foreign));
        assert_eq!((refused.status, refused.error()), (401, "invalid_token"), "{url}");
        let named = metadata_url(&refused);
        assert_eq!(named, metadata_url(&http.get(url, None)));
        assert!(named.starts_with(own.as_str()), "{named}");
        let document = http.get(&named, None);
        assert_eq!(document.status, 200);
        assert_eq!(document.json["resource"], *own);
        assert_eq!(document.json["resource_name"], name);
        assert_eq!(document.json["authorization_servers"][0], split.notes);
    }
}
