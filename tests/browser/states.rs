//! Every page of the demo in every state that a human can meet.

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use fantoccini::Locator;
use serde_json::{Value, json};
use sha2::Digest as _;
use sqlx::{Connection, SqliteConnection};

use super::{
    DEMO_CONFIG,
    browser::Browser,
    harness::{AgentAt, Demo, EvilSite, Folder, Http, Pending},
};

/// What an agent asks for that a human has not met yet: some of it is not ticked at first.
const MIXED: [&str; 4] = ["projects:read", "analytics:read", "projects:write", "experiments:write"];

/// Demos over one file, so that who signs in at one is signed in at all: browsers don't tell ports apart.
struct Demos {
    folder: Folder,
}

impl Demos {
    /// A demo with its configuration changed.
    fn start(&self, name: &str, change: impl Fn(String) -> String) -> Demo {
        let file = self.folder.0.join(format!("{name}.toml"));
        std::fs::write(&file, change(DEMO_CONFIG.to_owned())).unwrap();
        Demo::start(&["--store", &self.folder.store(), "--config", file.to_str().unwrap()])
    }

    /// Takes the tables away, so that the store fails.
    async fn break_store(&self) {
        let mut file = SqliteConnection::connect(&self.folder.store()).await.unwrap();
        sqlx::query("ALTER TABLE authorization_requests RENAME TO gone").execute(&mut file).await.unwrap();
    }
}

/// The configuration with so many scopes more.
pub fn with_scopes(config: &str, count: usize) -> String {
    let (before, after) = config.split_once("[lifetimes]").unwrap();
    let areas = ["orders", "invoices", "customers", "shipments", "products", "reports", "refunds", "discounts"];
    let rights = [
        ("read", "See", "see"),
        ("write", "Add and change", "change"),
        ("delete", "Delete", "change"),
        ("buy", "Pay for", "spend"),
    ];
    let all = areas.iter().flat_map(|area| rights.iter().map(move |right| (area, right)));
    let scopes = all.take(count).map(|(area, (right, verb, effect))| {
        let caution = if *right == "delete" { "caution = \"Can’t be undone\"\n" } else { "" };
        format!("[[scopes]]\nname = \"{area}:{right}\"\ndescription = \"{verb} your {area} in every shop\"\neffect = \"{effect}\"\n{caution}\n")
    });
    format!("{before}{}[lifetimes]{after}", scopes.collect::<String>())
}

/// Opens the approval page of a request, signed in already.
async fn open(human: &Browser, pending: &Pending) {
    human.goto(&pending.claim_url).await;
    human.shows("form.permit").await;
}

async fn approve(human: &Browser) {
    human.approve().await;
    human.shows("[data-state=approved]").await;
}

/// Signs in at a demo, whoever was signed in.
async fn sign_in(human: &Browser, demo: &Demo, email: &str) {
    human.goto(&format!("{}/login", demo.url)).await;
    human.sign_in(email).await;
    human.shows("main.width").await;
}

fn post(demo: &Demo, path: &str, body: &Value) -> Value {
    let answer = Http::new().post(&format!("{}{path}", demo.url), body);
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.json);
    answer.json
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// Calls `look` with the name of each state while the browser shows it.
pub async fn every_page(human: &Browser, look: &impl AsyncFn(&str)) {
    let demos = Demos { folder: Folder::new() };
    let demo = demos.start("demo", |config| config);
    human.goto(&demo.url).await;
    look("demo-start").await;
    human.goto(&format!("{}/login", demo.url)).await;
    look("demo-login").await;
    sign_in(human, &demo, "ada@example.com").await;
    human.goto(&format!("{}/sessions", demo.url)).await;
    look("sessions-empty").await;
    let known = approvals(human, &demo, look).await;
    outcomes(human, &demos, &demo, look).await;
    oauth(human, &demo, look).await;
    human.goto(&format!("{}/sessions", demo.url)).await;
    look("sessions-full").await;
    human.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })").await;
    look("sessions-details").await;
    human.click(".finder .revoke").await;
    human.shows("button[value=revoke_all]").await;
    look("sessions-question").await;
    human.goto(&format!("{}/sessions?q=nobody", demo.url)).await;
    human.shows(".empty").await;
    look("sessions-not-found").await;
    messages(human, &demos, &demo, &known, look).await;
}

async fn approvals(human: &Browser, demo: &Demo, look: &impl AsyncFn(&str)) -> Pending {
    let agent = AgentAt::new(&demo.url);
    let asked = json!({ "type": "user_claimed", "client_name": "Research CLI", "label": "weekly report",
        "reason": "Compare visitors by week; start an A/B test of the sign-up",
        "requested_scopes": MIXED });
    let asked = post(demo, "/agent/auth", &asked);
    let first = Pending { claim_url: text(&asked, "claim_url"), claim_token: text(&asked, "claim_token") };
    open(human, &first).await;
    look("approval").await;
    approve(human).await;
    look("approved").await;
    let token = text(&agent.complete(&first).json, "access_token");
    human.shows("[data-state=collected]").await;
    look("collected").await;
    assert_eq!(agent.get("/projects", &token).status, 200);
    human.shows("[data-state=used]").await;
    look("used").await;

    let second = agent.register(&["projects:read", "projects:write", "live:read"], "Research CLI");
    open(human, &second).await;
    look("approval-known-client").await;
    let warned = agent.register(&["projects:read"], "Demo Аnalytics official support");
    open(human, &warned).await;
    look("approval-warnings").await;
    second
}

async fn outcomes(human: &Browser, demos: &Demos, demo: &Demo, look: &impl AsyncFn(&str)) {
    let agent = AgentAt::new(&demo.url);
    let brief = agent.register(&["projects:read"], "Brief agent");
    open(human, &brief).await;
    human.click("button[value=deny]").await;
    human.shows("[data-state=denied]").await;
    look("denied").await;
    let brief = agent.register(&["projects:read"], "Brief agent");
    open(human, &brief).await;
    approve(human).await;
    human.click("button[value=take_back]").await;
    human.shows("[data-state=taken_back]").await;
    look("taken-back").await;
    let brief = agent.register(&["projects:read", "account:read"], "Brief agent");
    open(human, &brief).await;
    approve(human).await;
    assert_eq!(agent.complete(&brief).status, 200);
    human.shows("[data-state=collected]").await;
    human.click("button[value=revoke]").await;
    human.shows(".notice").await;
    look("sessions-notice").await;
    human.goto(&brief.claim_url).await;
    human.shows("[data-state=ended]").await;
    look("ended").await;

    let start = json!({ "mode": "detached", "client_type": "cli", "client_name": "Agent Analytics CLI",
        "scopes": ["projects:read"] });
    let started = post(demo, "/agent-sessions/start", &start);
    human.goto(&text(&started, "authorize_url")).await;
    human.shows("form.permit").await;
    look("approval-finish-code").await;
    approve(human).await;
    look("finish-code").await;
    let guess = json!({ "auth_request_id": started["auth_request_id"], "exchange_code": "aaf_guess" });
    for _ in 0..20 {
        Http::new().post(&format!("{}/agent-sessions/exchange", demo.url), &guess);
    }
    human.client.refresh().await.unwrap();
    human.shows("[data-state=locked]").await;
    look("locked").await;

    let many = demos.start("many", |config| with_scopes(&config, 24));
    let names = scope_names(&with_scopes(DEMO_CONFIG, 24));
    let wide =
        AgentAt::new(&many.url).register(&names.iter().map(String::as_str).collect::<Vec<_>>(), "Shop assistant");
    open(human, &wide).await;
    look("approval-32-scopes").await;

    let careful = demos.start("careful", |config| config.replace("[limits]", "[limits]\napprove_after = \"10s\""));
    let quick = AgentAt::new(&careful.url).register(&["projects:read"], "Example agent");
    open(human, &quick).await;
    human.run("document.querySelector('form.permit').requestSubmit(document.querySelector('button.approve'))").await;
    human.shows(".notice").await;
    look("approval-notice").await;

    let hasty = demos.start("hasty", |config| {
        let config = config.replace("authorization_request = \"10m\"", "authorization_request = \"2s\"");
        config.replace("pages_per_minute = 600", "pages_per_minute = 2")
    });
    let late = AgentAt::new(&hasty.url).register(&["projects:read"], "Late agent");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    human.goto(&late.claim_url).await;
    human.shows("article.outcome").await;
    look("expired").await;
    for _ in 0..4 {
        human.client.refresh().await.unwrap();
    }
    look("too-many-requests").await;
}

/// The names of the scopes of a configuration.
pub fn scope_names(config: &str) -> Vec<String> {
    let names = config.split("[[scopes]]").skip(1);
    names.map(|scope| scope.split('"').nth(1).unwrap().to_owned()).collect()
}

/// The ways to ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    Claim,
    FinishCode,
    Browser,
    AuthorizationCode,
    Device,
}

impl Flow {
    pub const ALL: [Self; 5] = [Self::Claim, Self::FinishCode, Self::Browser, Self::AuthorizationCode, Self::Device];

    /// Asks for these scopes. The answer of a client that waits on this computer goes to `callback`. Answers the link.
    pub fn ask(self, demo: &Demo, scopes: &[&str], callback: &str) -> String {
        let challenge = sha2::Sha256::digest("v".repeat(43));
        match self {
            Self::Claim => AgentAt::new(&demo.url).register(scopes, "Example agent").claim_url,
            Self::FinishCode | Self::Browser => {
                let mut body = json!({ "client_type": "cli", "client_name": "Agent Analytics CLI", "scopes": scopes });
                if self == Self::Browser {
                    body["callback_url"] = json!(callback);
                    body["code_challenge"] = json!(HEXLOWER.encode(&challenge));
                } else {
                    body["mode"] = json!("detached");
                }
                text(&post(demo, "/agent-sessions/start", &body), "authorize_url")
            }
            Self::AuthorizationCode => {
                let client = json!({ "client_name": "Code editor", "redirect_uris": [callback] });
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair("response_type", "code")
                    .append_pair("client_id", &text(&post(demo, "/oauth2/register", &client), "client_id"))
                    .append_pair("redirect_uri", callback)
                    .append_pair("scope", &scopes.join(" "))
                    // Another one for each request: the same request is the same page.
                    .append_pair("state", &format!("{:?}", std::time::Instant::now()))
                    .append_pair("code_challenge", &BASE64URL_NOPAD.encode(&challenge))
                    .append_pair("code_challenge_method", "S256")
                    .finish();
                format!("{}/oauth2/authorize?{query}", demo.url)
            }
            Self::Device => {
                let grants = ["urn:ietf:params:oauth:grant-type:device_code"];
                let client = json!({ "client_name": "Television", "grant_types": grants });
                let client = text(&post(demo, "/oauth2/register", &client), "client_id");
                let form = [("client_id", &*client), ("scope", &scopes.join(" "))];
                let started = Http::new().post_form(&format!("{}/oauth2/device_authorization", demo.url), &form);
                assert_eq!(started.status, 200, "{}", started.json);
                text(&started.json, "verification_uri_complete")
            }
        }
    }

    /// Opens the approval page, signed in already.
    pub async fn open(self, human: &Browser, link: &str) {
        human.goto(link).await;
        if self == Self::Device {
            human.click(".code-entry button").await;
        }
        human.shows("form.permit").await;
    }

    /// Waits until the browser is where an approval leads.
    pub async fn ends(self, human: &Browser, callback: &str) {
        match self {
            Self::Claim | Self::Device => human.shows("[data-state=approved]").await,
            Self::FinishCode => human.shows("#code").await,
            Self::Browser | Self::AuthorizationCode => human.at(callback).await,
        }
    }
}

/// The page of an OAuth client that waits on this computer, and that of a device.
async fn oauth(human: &Browser, demo: &Demo, look: &impl AsyncFn(&str)) {
    let listener = EvilSite::serve("<!doctype html><title>Done</title>".into());
    let callback = format!("{}/callback", listener.url);
    let link = Flow::AuthorizationCode.ask(demo, &MIXED, &callback);
    Flow::AuthorizationCode.open(human, &link).await;
    look("approval-oauth").await;
    let page = human.client.current_url().await.unwrap();
    human.approve().await;
    human.at(&callback).await;
    human.goto(page.as_str()).await;
    human.shows("[data-state=approved]").await;
    look("approved-for-a-program").await;
    human.goto(&link.replace("client_id=", "client_id=not-")).await;
    human.shows("article.outcome").await;
    look("app-refused").await;

    let link = Flow::Device.ask(demo, &["projects:read", "live:read"], "");
    human.goto(link.split('?').next().unwrap()).await;
    human.shows(".code-entry").await;
    look("code-entry").await;
    human.client.find(Locator::Css("#code")).await.unwrap().send_keys("BBBB-BBBB").await.unwrap();
    human.click(".code-entry button").await;
    human.shows(".notice").await;
    look("code-entry-notice").await;
    Flow::Device.open(human, &link).await;
    look("approval-device").await;
}

/// What stands in the way, one after the other. `open` is a request that waits for Ada.
async fn messages(human: &Browser, demos: &Demos, demo: &Demo, opened: &Pending, look: &impl AsyncFn(&str)) {
    let agent = AgentAt::new(&demo.url);
    let message = "article.outcome:not([data-state])";
    let submit = async |prepare: &str, button: &str| {
        let script = format!(
            "const form = document.querySelector('form.permit'); {prepare}; \
            form.requestSubmit(form.querySelector('button[value={button}]'))"
        );
        human.run(&script).await;
        human.shows(message).await;
    };
    let unknown = opened.claim_url.rsplit_once('/').unwrap().0;
    human.goto(&format!("{unknown}/reg_unknown")).await;
    human.shows(message).await;
    look("unknown-request").await;

    open(human, opened).await;
    submit("form.elements.csrf.value = 'bent'", "deny").await;
    look("forged").await;
    open(human, opened).await;
    human.wakes_up().await;
    submit("form.querySelectorAll('[name=scope]').forEach((box) => { box.checked = false; })", "approve").await;
    look("nothing-ticked").await;
    open(human, opened).await;
    human.wakes_up().await;
    submit("form.querySelector('[name=scope]:checked').value = 'a b'; form.elements.lasting[0].name = 'x'", "approve")
        .await;
    look("not-possible").await;

    // Decided in another tab meanwhile.
    let twice = agent.register(&["projects:read"], "Example agent");
    open(human, &twice).await;
    human.wakes_up().await;
    let elsewhere = "const body = new URLSearchParams(new FormData(document.querySelector('form.permit')));
        body.set('decision', 'deny');
        const done = arguments[arguments.length - 1];
        fetch(location.href, { method: 'POST', body, redirect: 'manual' }).then((answer) => done(answer.type), done)";
    assert_eq!(human.client.execute_async(elsewhere, Vec::new()).await.unwrap(), json!("opaqueredirect"));
    submit("", "approve").await;
    look("already-decided").await;

    human.send_authorization(Some("Bearer aas_agent"));
    human.goto(&opened.claim_url).await;
    human.shows(message).await;
    human.send_authorization(None);
    look("for-people").await;

    sign_in(human, demo, "bob@example.com").await;
    human.goto(&opened.claim_url).await;
    human.shows("button[value=release]").await;
    look("opened-for-another").await;
    human.client.delete_all_cookies().await.unwrap();
    sign_in(human, demo, "bob@example.com").await;
    human.goto(&opened.claim_url).await;
    human.shows(message).await;
    look("wrong-account").await;
    let other = agent.register(&["projects:read"], "Example agent");
    sign_in(human, demo, "disabled@example.com").await;
    open(human, &other).await;
    human.wakes_up().await;
    submit("", "approve").await;
    look("inactive").await;

    // The sign-in follows by itself: its page is shown without the header that says so.
    let other = agent.register(&["projects:read"], "Example agent");
    open(human, &other).await;
    let answered = "const done = arguments[arguments.length - 1];
        const body = new URLSearchParams(new FormData(document.querySelector('form.permit')));
        body.set('decision', 'switch');
        fetch(location.href, { method: 'POST', body }).then((answer) => answer.text()).then(done, done)";
    let answered = human.client.execute_async(answered, Vec::new()).await.unwrap();
    human.write(answered.as_str().unwrap()).await;
    human.shows(message).await;
    look("sign-in").await;

    demos.break_store().await;
    human.goto(&opened.claim_url).await;
    human.shows(message).await;
    look("unavailable").await;
}
