//! The demo as a process, Chromium as the human, and plain HTTP as the agent.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use ureq::{Agent, http};

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

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

    /// The HTML at a URL, for a browser with these cookies.
    pub fn page(&self, url: &str, cookies: &str) -> String {
        self.0.get(url).header("cookie", cookies).call().unwrap().body_mut().read_to_string().unwrap()
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

/// The one driver of all tests.
struct Driver {
    url: String,
}

/// So many browsers at a time.
static PLACES: Semaphore = Semaphore::const_new(2);

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        // A static is never dropped: a small watcher ends the driver when this process is gone. It does not hold the pipe,
        // so that a driver that does not start is noticed.
        let watch = format!(
            "chromedriver --port=0 & driver=$!; \
             (while kill -0 {} 2>/dev/null; do sleep 1; done; kill $driver) >/dev/null & wait $driver",
            std::process::id()
        );
        let mut process = Command::new("sh")
            .args(["-c", &watch])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start a shell: {error}"));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.unwrap_or_else(|| panic!("chromedriver does not start; run tests/run browser"));
        std::thread::spawn(move || (lines.count(), process.wait()));
        Driver { url: format!("http://127.0.0.1:{port}") }
    })
}

/// A human with a browser of their own.
pub struct Browser {
    pub client: Client,
    session: String,
    http: Http,
    _profile: Folder,
    _place: SemaphorePermit<'static>,
}

impl Browser {
    pub async fn open() -> Self {
        Self::open_in("en").await
    }

    /// Opens a browser that prefers a language.
    pub async fn open_in(language: &str) -> Self {
        let place = PLACES.acquire().await.unwrap();
        let profile = Folder::new();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1280,1100",
            // A mouse, as a desktop has: newer versions see none on a machine without a screen.
            "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
            &format!("--accept-lang={language}"),
            &format!("--user-data-dir={}", profile.0.display()),
        ]
        .map(str::to_owned);
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "ignore",
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = builder.connect(&driver().url).await.unwrap_or_else(|error| panic!("no browser: {error}"));
        let session = client.session_id().await.unwrap().unwrap();
        Self { client, session, http: Http::new(), _profile: profile, _place: place }
    }

    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub async fn click(&self, css: &str) {
        self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Everything that a human reads on the page.
    pub async fn text(&self) -> String {
        plain(&self.client.find(Locator::Css("body")).await.unwrap().text().await.unwrap())
    }

    /// Waits until the page says something.
    pub async fn reads(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // While the browser is between two pages there may be no body.
            let text = match self.client.find(Locator::Css("body")).await {
                Ok(body) => plain(&body.text().await.unwrap_or_default()),
                Err(_) => String::new(),
            };
            if text.contains(words) {
                return;
            }
            assert!(Instant::now() < deadline, "no {words:?} in {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the page has such an element.
    pub async fn shows(&self, css: &str) {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        if let Err(error) = found {
            panic!("no {css}: {error}: {}", self.text().await);
        }
    }

    /// Waits until the browser is at a URL that begins so.
    pub async fn at(&self, start: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.client.current_url().await.unwrap().as_str().starts_with(start) {
            assert!(Instant::now() < deadline, "not at {start}: {}", self.text().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Shows this HTML in place of the page, under the page's own content security policy.
    pub async fn write(&self, html: &str) {
        let write = "const nonce = document.querySelector('style').nonce;
            const html = arguments[0].replaceAll(/nonce=\"[^\"]*\"/g, `nonce=\"${nonce}\"`);
            document.open(); document.write(html); document.close()";
        self.client.execute(write, vec![json!(html)]).await.unwrap();
    }

    /// The HTML of the page: as it was sent, or if a form led here, as the browser understood it.
    pub async fn source(&self) -> String {
        let cookies = self.client.get_all_cookies().await.unwrap();
        let cookies: Vec<String> =
            cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
        let sent = self.http.page(self.client.current_url().await.unwrap().as_str(), &cookies.join("; "));
        let title = |html: &str| Some(html.split_once("<title>")?.1.split_once("</title>")?.0.to_owned());
        let shown = self.run("return `<!doctype html>${document.documentElement.outerHTML}`").await;
        let shown = shown.as_str().unwrap();
        if title(&sent) == title(shown) { sent } else { shown.to_owned() }
    }

    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Signs in where the demo has sent the browser, and comes back.
    pub async fn sign_in(&self, email: &str) {
        let field = self.client.wait().at_most(PATIENCE).for_element(Locator::Css("input[type=email]")).await.unwrap();
        field.send_keys(email).await.unwrap();
        self.client.find(Locator::Css("input[type=password]")).await.unwrap().send_keys("any").await.unwrap();
        self.click("form:has(input[type=password]) button").await;
    }

    /// Opens an approval page as somebody.
    pub async fn open_as(&self, email: &str, url: &str) {
        self.goto(url).await;
        self.sign_in(email).await;
    }

    /// Clicks Approve as a human does who has read the page.
    pub async fn approve(&self) {
        self.wakes_up().await;
        self.click("button[value=approve]").await;
    }

    /// Moves the pointer over the page and waits until the Approve button can be clicked, a second later.
    pub async fn wakes_up(&self) {
        self.mouse("mouseMoved", [4.0, 4.0]);
        let awake = "return getComputedStyle(document.querySelector('button[value=approve]')).pointerEvents !== 'none'";
        let deadline = Instant::now() + PATIENCE;
        while self.run(awake).await != json!(true) {
            assert!(Instant::now() < deadline, "the button never wakes up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The same, if there is such a button.
    pub async fn wakes_up_if_it_sleeps(&self) {
        if self.run("return document.querySelector('button[value=approve]') !== null").await == json!(true) {
            self.wakes_up().await;
        }
    }

    /// The whole approval of everything that is asked for.
    pub async fn approve_as(&self, email: &str, url: &str) {
        self.open_as(email, url).await;
        self.reads("Let this agent use").await;
        self.approve().await;
        self.reads("Approved").await;
    }

    /// The middle of an element, in the window.
    pub async fn place_of(&self, css: &str) -> [f64; 2] {
        let script = format!(
            "const e = document.querySelector({css:?}); e.scrollIntoView({{ block: 'center' }}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]"
        );
        serde_json::from_value(self.run(&script).await).unwrap()
    }

    /// Presses and releases the mouse.
    pub fn press(&self, place: [f64; 2]) {
        self.mouse("mousePressed", place);
        self.mouse("mouseReleased", place);
    }

    fn mouse(&self, kind: &str, [x, y]: [f64; 2]) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
        self.devtools("Input.dispatchMouseEvent", &event);
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.extension("goog/cdp/execute", &body)
    }

    /// What the console said since the last time: violations of the content security policy, errors, failed loads.
    pub fn console(&self) -> Vec<String> {
        let entries = self.extension("se/log", &json!({ "type": "browser" }));
        let messages = entries.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned());
        // Chromium asks every site for an icon; the demo has none.
        messages.filter(|message| !message.contains("/favicon.ico")).collect()
    }

    pub fn assert_quiet_console(&self) {
        assert_eq!(self.console(), Vec::<String>::new());
    }

    /// The same, but for loads that failed with this status.
    pub fn assert_quiet_console_but(&self, status: &str) {
        let rest = self.console().into_iter().filter(|line| !line.contains(status));
        assert_eq!(rest.collect::<Vec<String>>(), Vec::<String>::new());
    }

    fn extension(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(&format!("{}/session/{}/{path}", driver().url, self.session), body);
        assert_eq!(answer.status, 200, "{}", answer.json);
        answer.json["value"].clone()
    }

    pub fn narrow(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    pub async fn close(self) {
        self.client.close().await.unwrap();
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

/// The text of a page without the invisible characters that isolate what is filled in.
fn plain(text: &str) -> String {
    text.replace(['\u{2068}', '\u{2069}'], "")
}
