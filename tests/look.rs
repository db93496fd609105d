//! The pages in a service's own look: theme, template, language, own page; and what is refused when it is built.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use http::{Request, StatusCode};
use tower::{Layer, ServiceExt};
use tower_agent_auth::{
    AgentAuth, Config, ConfigError,
    ceremony::Request as AccessRequest,
    pages::{Frame, Page, PageOptions, RenderPage},
    types::text::HumanText,
};

mod common;
use common::{Answer, between, config};

#[path = "../examples/look/looks.rs"]
mod looks;
use looks::Look;

async fn send(auth: &AgentAuth, request: Request<axum::body::Body>) -> Answer {
    let nowhere = tower::service_fn(async |_: Request<axum::body::Body>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty()))
    });
    Answer::read(auth.endpoints().layer(nowhere).oneshot(request).await.unwrap()).await
}

fn get(path: &str, language: &str) -> Request<axum::body::Body> {
    let request = Request::get(path).header("host", "localhost:3000").header("accept-language", language);
    request.body(axum::body::Body::empty()).unwrap()
}

/// The path of the approval page of a new request.
async fn asked(auth: &AgentAuth) -> String {
    let scopes = vec!["recipes:read".into(), "orders:write".into()];
    let request = AccessRequest::by(HumanText::new("<Agent> & Co").unwrap()).scopes(scopes);
    let asked = auth.ceremony().unwrap().request(request).await.unwrap();
    format!("/agent/auth/approve/{}", asked.authorization.id)
}

async fn page(look: Look, language: &str) -> Answer {
    let auth = looks::agent_auth(look).unwrap();
    let path = asked(&auth).await;
    let page = send(&auth, get(&path, language)).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(!page.text.contains("<Agent>"), "escaped: {}", page.text);
    page
}

#[tokio::test]
async fn a_theme_sets_the_colours_of_both_schemes() {
    let page = page(Look::Theme, "en").await.text;
    let light = between(&page, "@media (prefers-color-scheme: light) { :root {", "}");
    assert!(light.contains("--key: #7a3e9d;") && light.contains("--on-key: #ffffff;"), "{light}");
    let themes = page.rsplit_once("prefers-color-scheme: dark").unwrap().1;
    assert!(themes.contains("--key: #d5a6f2;") && themes.contains("--on-key: #000000;"));
    assert!(page.contains("--sans: Georgia, serif;") && page.contains("--radius: 4px;"));
}

#[tokio::test]
async fn a_template_takes_the_place_of_ours() {
    let auth = looks::agent_auth(Look::Template).unwrap();
    let page = send(&auth, get("/agent/auth/approve/reg_unknown", "en")).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.text.contains("🥖") && page.text.contains("There is nothing to decide here"), "{}", page.text);
    assert!(page.text.contains("See all sessions"), "no dead end");
}

#[tokio::test]
async fn a_language_of_the_service_speaks_its_own_texts_and_english_beside() {
    let french = page(Look::Language, "fr-CA, en;q=0.5").await;
    assert_eq!(french.header("content-language"), "fr");
    for needed in
        ["<html lang=\"fr\" dir=\"ltr\">", "votre compte Bakery Books", "Voir vos recettes", "Coûte de l’argent"]
    {
        assert!(french.text.contains(needed), "{needed} in {}", french.text);
    }
    assert!(
        french.text.contains("les paiements")
            && french.text.contains("account deletion")
            && french.text.contains("Who asks")
    );
    assert_eq!(page(Look::Language, "en").await.header("content-language"), "en");
    assert_eq!(page(Look::Language, "de, *;q=0.1").await.header("content-language"), "fr", "the first one");
}

#[tokio::test]
async fn a_page_of_the_service_decides_as_ours_does() {
    let auth = looks::agent_auth(Look::Own).unwrap();
    let path = asked(&auth).await;
    let page = send(&auth, get(&path, "en")).await;
    assert!(page.text.contains("wants to come in") && page.text.contains("Costs money"), "{}", page.text);
    let nonce = between(&page.text, "nonce=\"", "\"");
    assert!(page.header("content-security-policy").contains(&format!("style-src 'nonce-{nonce}'")));
    assert!(!page.header("content-security-policy").contains("script-src"));
    let cookie = page.header("set-cookie").split(';').next().unwrap().to_owned();
    let seal = between(&page.text, "name=\"csrf\" value=\"", "\"").to_owned();
    let post = |body: String| {
        let request = Request::post(&path).header("host", "localhost:3000").header("cookie", &cookie);
        let request = request.header("origin", "http://localhost:3000").header("sec-fetch-site", "same-origin");
        request.header("content-type", "application/x-www-form-urlencoded").body(body.into()).unwrap()
    };
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let fields = "decision=approve&scope=recipes%3Aread&lasting=3600";
    assert_eq!(send(&auth, post(fields.into())).await.status, StatusCode::FORBIDDEN, "without its seal");
    let wrong = send(&auth, post(format!("csrf={seal}&decision=approve&scope=recipes%3Aread&lasting=7"))).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "no such choice: {}", wrong.text);
    assert_eq!(send(&auth, post(format!("csrf={seal}&{fields}"))).await.status, StatusCode::SEE_OTHER);
    let after = send(&auth, get(&path, "en")).await;
    assert!(after.text.contains("Approved") && after.text.contains("data-state=\"approved\""), "{}", after.text);
}

fn built(options: impl FnOnce(PageOptions) -> PageOptions) -> Result<AgentAuth, ConfigError> {
    let store = tower_agent_auth::store::MemoryStore::new();
    AgentAuth::builder(config().build().unwrap())
        .sessions(store)
        .accounts(common::TestAccounts::default())
        .pages(options)
        .build()
}

struct Broken;

impl RenderPage for Broken {
    fn render(&self, _: &Page, _: &Frame) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        Err("the disk is gone".into())
    }
}

#[test]
fn what_can_not_be_used_is_refused_when_it_is_built() {
    let refused = |error: Result<AgentAuth, ConfigError>| {
        let error = error.unwrap_err();
        assert_eq!(error.problems()[0].field, "pages");
        error.to_string()
    };
    for (template, source, said) in [
        ("message.html", "{% if %}", "message.html"),
        ("message.html", "{{ words(\"no-such-words\") }}", "no-such-words"),
        ("message.html", "{% include \"missing.html\" %}", "missing.html"),
        ("approval.html", "<form><button name=decision value=approve>Go</button></form>", "without its seal"),
        ("code_entry.html", "<form><input name=code></form>", "without its seal"),
        ("sessions.html", "<button name=decision value=revoke_all>Revoke</button>", "without its seal"),
        ("message.html", "<p>{{ title }}{{ lines[0] | safe }}</p>{{ action.seal }}", "not escaped"),
        ("message.html", "{{ title }}{{ action.seal }}", "further fields"),
        ("outcome.html", "<form method=\"post\">{{ title }}</form>", "without its seal"),
        ("aproval.html", "x", "aproval.html"),
    ] {
        let error = refused(built(|pages| pages.template(template, source)));
        assert!(error.contains(said), "{template} {source}: {error}");
    }
    let error = refused(built(|pages| pages.words("de", "deny = Nein\nbroken")));
    assert!(error.contains("de") && error.contains("line 2"), "{error}");
    assert!(refused(built(|pages| pages.words("no language", "deny = x"))).contains("no language"));
    assert!(refused(built(|pages| pages.languages(["xx"]))).contains("xx"));
    assert!(refused(built(|pages| pages.words("en", "denny = No"))).contains("denny"));
    built(|pages| pages.words("en", "scope-projects-read = See what you work on\nby-human = by you")).unwrap();
    // A part that our templates include, and one that only the host's do.
    built(|pages| {
        pages
            .template("logo.html", "x")
            .template("message.html", "{% include \"logo.html\" %}{{ action.seal }} name=\"session\"")
    })
    .unwrap();
}

#[tokio::test]
async fn a_page_that_can_not_be_rendered_is_unavailable_and_noted() {
    let auth = built(|pages| pages.renderer(Broken)).unwrap();
    let request = Request::get("/agent/auth/approve/reg_x").body(axum::body::Body::empty()).unwrap();
    assert_eq!(send(&auth, request).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_theme_that_nobody_could_read_is_refused() {
    let refused = |field: &str, toml: &str| {
        let all = format!(
            "resource = \"https://api.example.com\"\nname = \"x\"\n[[scopes]]\nname = \"a\"\ndescription = \"A\"\n{toml}"
        );
        let error = Config::from_toml(&all).unwrap_err();
        assert!(error.problems().iter().any(|problem| problem.field == field), "{toml}: {error}");
        error.to_string()
    };
    let error = refused("theme.light.accent", "[theme.light]\naccent = \"#ffd700\"");
    assert!(error.contains("contrast of 1.4 with paper #ffffff") && error.contains("4.5"), "{error}");
    refused("theme.dark.accent", "[theme.dark]\naccent = \"#223344\"");
    refused("theme.light.soft", "[theme.light]\nsoft = \"#999999\"");
    refused("theme.light.ink", "[theme.light]\npaper = \"#222222\"");
    for colour in ["red", "#fff", "#12345g", "#000000;}", "url(x)"] {
        refused("theme.light.ink", &format!("[theme.light]\nink = \"{colour}\""));
    }
    refused("theme.radius", "[theme]\nradius = 33");
    refused("theme.font", "[theme]\nfont = \"x;}body{display:none\"");
    refused("theme.font", "[theme]\nfont = \"Inter'\"");
    refused("theme.light.acent", "[theme.light]\nacent = \"#000000\"");
}
