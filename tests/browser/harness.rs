//! The demo as a process, and plain HTTP as the agent.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use ureq::{Agent, http};

/// How long something may take that happens by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of one test's own, gone at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("tower-agent-auth-browser-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn store(&self) -> String {
        format!("sqlite:{}", self.0.join("demo.db").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The demo service, as anybody starts it.
pub struct Demo {
    process: Child,
    pub url: String,
    log: PathBuf,
    _folder: Folder,
}

impl Demo {
    pub fn start(arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let log = folder.0.join("log");
        let binary = example("axum");
        let mut process = Command::new(&binary)
            .args(if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(arguments)
            .current_dir(&folder.0)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {}: {error}; run tests/run browser", binary.display()));
        let mut first = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        let url = first.trim().strip_prefix("listening on ").unwrap_or_else(|| {
            panic!("the first line is {first:?}: {}", std::fs::read_to_string(&log).unwrap_or_default())
        });
        let url = url.to_owned();
        // The rest is read away, so that the demo never waits for us.
        std::thread::spawn(move || stdout.read_to_string(&mut String::new()));
        Self { process, url, log, _folder: folder }
    }

    /// Ends it as a power cut would, and leaves its files.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built; run tests/run browser", path.display());
    path
}

/// An answer, read whole.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub json: Value,
}

impl Answer {
    pub fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }
}

/// An agent: plain HTTP and no cookie.
#[derive(Clone)]
pub struct Http(Agent);

impl Http {
    pub fn new() -> Self {
        Self(Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into())
    }

    pub fn get(&self, url: &str, token: Option<&str>) -> Answer {
        let mut request = self.0.get(url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Self::read(request.call().unwrap())
    }

    pub fn post(&self, url: &str, body: &Value) -> Answer {
        Self::read(self.0.post(url).send_json(body).unwrap())
    }

    pub fn post_form(&self, url: &str, form: &[(&str, &str)]) -> Answer {
        Self::read(self.0.post(url).send_form(form.iter().copied()).unwrap())
    }

    /// Deletes what is there, if it is.
    pub fn delete(&self, url: &str) {
        let _ = self.0.delete(url).call();
    }

    /// The status and the HTML at a URL, for a browser with these cookies.
    pub fn page(&self, url: &str, cookies: &str) -> (u16, String) {
        let mut response = self.0.get(url).header("cookie", cookies).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    fn read(response: http::Response<ureq::Body>) -> Answer {
        let (parts, mut body) = response.into_parts();
        let text = body.read_to_string().unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_str(&text).unwrap_or_default(),
        }
    }
}

/// An authorization request that waits for its human.
#[derive(Clone)]
pub struct Pending {
    pub claim_url: String,
    pub claim_token: String,
}

/// What an agent does at a service that it has discovered.
pub struct AgentAt {
    pub http: Http,
    pub base: String,
}

impl AgentAt {
    pub fn new(base: &str) -> Self {
        Self { http: Http::new(), base: base.into() }
    }

    pub fn register(&self, scopes: &[&str], name: &str) -> Pending {
        let body = json!({ "type": "user_claimed", "client_name": name, "requested_scopes": scopes });
        let answer = self.http.post(&format!("{}/agent/auth", self.base), &body);
        assert_eq!(answer.status, 201, "{}", answer.json);
        let text = |field: &str| answer.json[field].as_str().unwrap().to_owned();
        Pending { claim_url: text("claim_url"), claim_token: text("claim_token") }
    }

    pub fn status(&self, pending: &Pending) -> Answer {
        self.http.post(&format!("{}/agent/auth/claim", self.base), &json!({ "claim_token": pending.claim_token }))
    }

    pub fn complete(&self, pending: &Pending) -> Answer {
        self.http
            .post(&format!("{}/agent/auth/claim/complete", self.base), &json!({ "claim_token": pending.claim_token }))
    }

    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.http.get(&format!("{}{path}", self.base), Some(token))
    }
}

/// A site of somebody else, with one page.
pub struct EvilSite {
    pub url: String,
}

impl EvilSite {
    pub fn serve(page: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Another host name and another port: another site.
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = stream;
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                let length = page.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(format!("{head}{page}").as_bytes());
            }
        });
        Self { url }
    }
}

/// The agent of the examples, as anybody starts it.
pub struct AgentProcess {
    process: Child,
    stderr: BufReader<std::process::ChildStderr>,
    said: String,
}

/// How a run of the agent ended.
pub struct Ended {
    pub code: Option<i32>,
    /// What it wrote to stdout: the body of the response, and nothing else.
    pub body: String,
    /// What it said to its human.
    pub said: String,
}

impl AgentProcess {
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(example("agent"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        Self { process, stderr, said: String::new() }
    }

    /// The approval link that it shows its human.
    pub fn link(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended without a link: {}", self.said);
            self.said.push_str(&line);
            let link = line.trim();
            if link.starts_with("http://") && (link.contains("/approve/") || link.contains("/authorize")) {
                return link.to_owned();
            }
        }
    }

    /// The next line of one word that has `part` in it: a code to type.
    #[allow(dead_code, reason = "the tests of the demo use it, those in a browser don't")]
    pub fn says(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended without {part}: {}", self.said);
            self.said.push_str(&line);
            let word = line.trim();
            if word.contains(part) && !word.contains(char::is_whitespace) {
                return word.to_owned();
            }
        }
    }

    /// Types a line.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits for its end. Nothing more is typed.
    pub fn end(&mut self) -> Ended {
        drop(self.process.stdin.take());
        let mut body = String::new();
        self.stderr.read_to_string(&mut self.said).unwrap();
        self.process.stdout.take().unwrap().read_to_string(&mut body).unwrap();
        Ended { code: self.process.wait().unwrap().code(), body, said: std::mem::take(&mut self.said) }
    }

    /// Whether it went well, and all that it said and wrote.
    pub fn finish(&mut self) -> (bool, String) {
        let Ended { code, body, said } = self.end();
        (code == Some(0), said + &body)
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
