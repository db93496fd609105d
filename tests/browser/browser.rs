//! A human with a browser.

use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    engine::{Driver, Engine},
    harness::{Folder, Http, PATIENCE},
};

/// So many browsers at a time.
static PLACES: Semaphore = Semaphore::const_new(2);

/// A human with a browser of their own.
pub struct Browser {
    pub client: Client,
    pub engine: Engine,
    session: String,
    http: Http,
    _driver: Driver,
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
        let engine = Engine::chosen();
        let driver = Driver::start(engine, &profile.0);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(engine.capabilities(language, &profile.0).as_object().unwrap().clone());
        let client = builder.connect(&driver.url).await.unwrap_or_else(|error| panic!("no browser: {error}"));
        let session = format!("{}/session/{}", driver.url, client.session_id().await.unwrap().unwrap());
        Self { client, engine, session, http: Http::new(), _driver: driver, _profile: profile, _place: place }
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
        let (_, sent) = self.fetch(self.client.current_url().await.unwrap().as_str()).await;
        let title = |html: &str| Some(html.split_once("<title>")?.1.split_once("</title>")?.0.to_owned());
        let shown = self.run("return `<!doctype html>${document.documentElement.outerHTML}`").await;
        let shown = shown.as_str().unwrap();
        if title(&sent) == title(shown) { sent } else { shown.to_owned() }
    }

    /// The status and the HTML at a URL, with the browser's cookies.
    pub async fn fetch(&self, url: &str) -> (u16, String) {
        let cookies = self.client.get_all_cookies().await.unwrap();
        let cookies: Vec<String> =
            cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
        self.http.page(url, &cookies.join("; "))
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
        // On the page before, the pointer would wake up nothing.
        self.shows("button[value=approve]").await;
        self.point_at([4.0, 4.0]);
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

    /// The names of elements for assistive technology, each of which has this role.
    pub async fn names_of(&self, css: &str, role: &str) -> Vec<String> {
        let elements = self.client.find_all(Locator::Css(css)).await.unwrap();
        let computed = |id: &str, what: &str| {
            let answer = self.http.get(&format!("{}/element/{id}/{what}", self.session), None);
            answer.json["value"].as_str().unwrap_or_else(|| panic!("no {what}: {}", answer.json)).to_owned()
        };
        let named = elements.iter().map(|element| {
            let id = element.element_id();
            assert_eq!(computed(&id, "computedrole"), role);
            computed(&id, "computedlabel")
        });
        named.collect()
    }

    /// Sends a command that not all drivers know, or that is worth no `await`.
    pub fn post(&self, command: &str, body: &Value) -> Value {
        let answer = self.http.post(&format!("{}/{command}", self.session), body);
        assert_eq!(answer.status, 200, "{}", answer.json);
        answer.json["value"].clone()
    }

    pub async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Browser {
    /// A test that fails has not closed it.
    fn drop(&mut self) {
        self.http.delete(&self.session);
    }
}

/// The text of a page without the invisible characters that isolate what is filled in.
fn plain(text: &str) -> String {
    text.replace(['\u{2068}', '\u{2069}'], "")
}
