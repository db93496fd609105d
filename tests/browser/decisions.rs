//! Every decision by the keyboard alone, without script, and sent twice; and the decision is in view.

use std::time::Duration;

use serde_json::json;

use super::{
    DEMO_CONFIG,
    browser::Browser,
    harness::{AgentAt, Demo, EvilSite, Folder},
    states::{Flow, scope_names, with_scopes},
    token,
};

/// A demo with Ada signed in.
async fn signed_in() -> (Demo, Browser) {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let human = Browser::open().await;
    human.goto(&format!("{}/login", demo.url)).await;
    human.sign_in("ada@example.com").await;
    human.shows("main.width").await;
    (demo, human)
}

/// Goes on by Tab until an element has the focus, and shows that it has.
async fn tab_to(human: &Browser, css: &str) {
    for _ in 0..80 {
        let script = format!(
            "const e = document.activeElement; if (!e?.matches({css:?})) return null; \
             return getComputedStyle(e).outlineStyle !== 'none'"
        );
        let focused = human.run(&script).await;
        if !focused.is_null() {
            assert_eq!(focused, json!(true), "{css} has the focus and does not show it");
            return;
        }
        human.press_key("Tab");
    }
    panic!("Tab never gets to {css}: {}", human.text().await);
}

async fn decide(human: &Browser, decision: &str) {
    tab_to(human, &format!("button[value={decision}]")).await;
    if decision == "approve" {
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    human.press_key("Enter");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_made_by_the_keyboard_alone_and_without_script() {
    for script in [true, false] {
        let (demo, human) = signed_in().await;
        human.allow_scripts(script);
        let agent = AgentAt::new(&demo.url);
        let open = async |scopes: &[&str]| {
            let pending = agent.register(scopes, "Example agent");
            human.goto(&pending.claim_url).await;
            human.shows("form.permit").await;
            pending
        };

        // Less than was asked for, and for less time.
        let pending = open(&["projects:read", "projects:write"]).await;
        tab_to(&human, "input[value='projects:write']").await;
        human.press_key(" ");
        tab_to(&human, "[name=lasting]").await;
        human.press_key("ArrowUp");
        let chosen = human.run("return document.querySelector('[name=lasting]:checked').value").await;
        assert_eq!(chosen, json!("86400"));
        decide(&human, "approve").await;
        human.shows("[data-state=approved]").await;
        let completed = agent.complete(&pending);
        assert_eq!(completed.json["scopes"], json!(["projects:read"]));
        let token = token(&completed);
        let listed = human.client.current_url().await.unwrap();

        // What was collected is revoked.
        if !script {
            human.goto(listed.as_str()).await;
        }
        human.shows("[data-state=collected]").await;
        decide(&human, "revoke").await;
        human.shows(".notice").await;
        assert_eq!(agent.get("/projects", &token).status, 401);

        // One session of the list is revoked.
        let pending = open(&["projects:read"]).await;
        decide(&human, "approve").await;
        human.shows("[data-state=approved]").await;
        let token = super::token(&agent.complete(&pending));
        human.goto(&format!("{}/sessions", demo.url)).await;
        decide(&human, "revoke").await;
        human.shows(".notice").await;
        assert_eq!(agent.get("/projects", &token).status, 401);

        // What was approved is taken back.
        let pending = open(&["projects:read"]).await;
        decide(&human, "approve").await;
        human.shows("[data-state=approved]").await;
        decide(&human, "take_back").await;
        human.shows("[data-state=taken_back]").await;
        assert_ne!(agent.complete(&pending).status, 200);

        let pending = open(&["projects:read"]).await;
        decide(&human, "deny").await;
        human.shows("[data-state=denied]").await;
        assert_eq!(agent.complete(&pending).error(), "access_denied");

        // Another account decides.
        let pending = open(&["projects:read"]).await;
        decide(&human, "switch").await;
        human.sign_in("bob@example.com").await;
        human.reads("Signed in as bob@example.com").await;
        decide(&human, "approve").await;
        human.shows("[data-state=approved]").await;
        assert_eq!(agent.complete(&pending).json["account"]["email"], "bob@example.com");
        human.assert_quiet_console();
        human.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_ends_where_it_does_once_in_every_flow() {
    let (demo, human) = signed_in().await;
    let listener = EvilSite::serve("<!doctype html><title>Done</title>Done.".into());
    let callback = format!("{}/callback", listener.url);
    for flow in Flow::ALL {
        for delay in [0, 300, 1_000, 2_000] {
            flow.open(&human, &flow.ask(&demo, &["projects:read"], &callback)).await;
            human.wakes_up().await;
            // The first answer is slow, or lost: the browser takes that of the second form.
            let twice = format!(
                "const form = document.querySelector('form.permit');
                const body = new URLSearchParams(new FormData(form));
                body.set('decision', 'approve');
                fetch(form.action, {{ method: 'POST', body, redirect: 'manual' }});
                setTimeout(() => form.requestSubmit(form.querySelector('.approve')), {delay})"
            );
            human.run(&twice).await;
            flow.ends(&human, &callback).await;
        }
    }
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_decision_stays_in_view_beside_32_scopes() {
    let folder = Folder::new();
    let file = folder.0.join("agent-auth.toml");
    let config = with_scopes(DEMO_CONFIG, 24);
    std::fs::write(&file, &config).unwrap();
    let demo = Demo::start(&["--store", "memory", "--config", file.to_str().unwrap()]);
    let scopes = scope_names(&config);
    assert_eq!(scopes.len(), 32);
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let pending = AgentAt::new(&demo.url).register(&scopes, "Shop assistant");
    let human = Browser::open().await;
    human.open_as("ada@example.com", &pending.claim_url).await;
    human.shows("form.permit").await;
    human.narrow(1280, 800);
    let size = human.source().await.len();
    assert!(size < 100 * 1024, "the page has {size} bytes");
    let height = human.run("return document.documentElement.scrollHeight").await.as_u64().unwrap();
    assert!(height > 1_600, "nothing to scroll: {height} px");
    for top in (0..height - 800).step_by(200).chain([height]) {
        let seen = human
            .run(&format!(
                "scrollTo(0, {top}); return [...document.querySelectorAll('.permit .actions button')].map((button) => {{
                    const {{ top, bottom }} = button.getBoundingClientRect(); return [top, bottom]; }})"
            ))
            .await;
        let buttons: Vec<[f64; 2]> = serde_json::from_value(seen).unwrap();
        assert_eq!(buttons.len(), 2);
        assert!(buttons.iter().all(|[top, bottom]| *top >= 0.0 && *bottom <= 800.0), "at {top}: {buttons:?}");
        // Neither weighs more than the other.
        let size = "const [one, other] = document.querySelectorAll('.permit .actions button');
            return one.offsetWidth === other.offsetWidth && one.offsetHeight === other.offsetHeight";
        assert_eq!(human.run(size).await, json!(true));
    }
    human.close().await;
}
