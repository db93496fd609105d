//! The main job on a running service: the demo as a process, real HTTP, and Chromium or Firefox as the human.
//!
//! `tests/run browser` and `tests/run firefox` build the demo, install the browser if it is missing, and run this file.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a test that can't go on fails; what its modules share is nobody else's"
)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use fantoccini::Locator;
use serde_json::{Value, json};
use tower_agent_auth::challenge::Challenge;

mod browser;
mod decisions;
mod engine;
mod harness;
mod logins;
mod matrix;
mod screenshots;
mod settings;
mod states;
use browser::Browser;
use harness::{AgentAt, AgentProcess, Demo, EvilSite, Folder, Http, Pending};
use settings::Preferences;

const DEMO_CONFIG: &str = include_str!("../../examples/axum/agent-auth.toml");
const ALL: [&str; 8] = [
    "account:read",
    "projects:read",
    "projects:write",
    "analytics:read",
    "experiments:read",
    "experiments:write",
    "feedback:write",
    "live:read",
];

fn token(answer: &harness::Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.json);
    answer.json["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_from_a_refusal_to_a_revoked_session() {
    let folder = Folder::new();
    let demo = Demo::start(&["--store", &folder.store()]);
    let http = Http::new();

    // Knowing one URL, an agent is refused and finds its way.
    let refused = http.get(&format!("{}/projects", demo.url), None);
    assert_eq!(refused.status, 401);
    let challenge = Challenge::parse(refused.header("www-authenticate")).unwrap().remove(0);
    let resource = http.get(challenge.parameter("resource_metadata").unwrap(), None);
    assert_eq!(resource.json["resource"], demo.url);
    let issuer = resource.json["authorization_servers"][0].as_str().unwrap();
    let server = http.get(&format!("{issuer}/.well-known/oauth-authorization-server"), None);
    let uri = |name: &str| server.json["agent_auth"][name].as_str().unwrap().to_owned();

    let asked = json!({ "type": "user_claimed", "client_name": "Research CLI", "label": "weekly report",
        "requested_scopes": ["projects:read", "projects:write", "analytics:read"] });
    let registered = http.post(&uri("register_uri"), &asked);
    assert_eq!(registered.status, 201);
    let claim = json!({ "claim_token": registered.json["claim_token"] });
    assert_eq!(http.post(&uri("claim_uri"), &claim).json["status"], "pending");

    // Its human signs in, looks, unticks one scope and approves.
    let human = Browser::open().await;
    human.open_as("ada@example.com", registered.json["claim_url"].as_str().unwrap()).await;
    human.reads("“Research CLI”").await;
    let text = human.text().await;
    for needed in [
        "ada@example.com",
        "Nobody has checked who it is",
        "weekly report",
        "127.0.0.1",
        "Add websites to your account",
        "projects:write",
        "For how long",
        "90 days",
        "billing",
        "The link may have come from your agent",
    ] {
        assert!(text.contains(needed), "{needed} in {text}");
    }
    human.wakes_up().await;
    human.click("input[value='projects:write']").await;
    human.approve().await;
    human.reads("Go back to your agent").await;

    // The agent comes back once.
    let completed = http.post(&uri("claim_complete_uri"), &claim);
    let token = token(&completed);
    assert_eq!(completed.json["account"]["email"], "ada@example.com");
    assert_eq!(completed.json["scopes"], json!(["analytics:read", "projects:read"]));
    assert_eq!(http.post(&uri("claim_complete_uri"), &claim).error(), "previously_claimed");

    // It may do what was granted, and nothing else.
    let agent = AgentAt::new(&demo.url);
    assert_eq!(agent.get("/projects", &token).status, 200);
    let lacking = http.post(&format!("{}/projects", demo.url), &json!({}));
    assert_eq!(lacking.status, 401);
    let lacking = agent.get("/live?project=1", &token);
    assert_eq!((lacking.status, lacking.error()), (403, "insufficient_scope"));
    assert!(lacking.header("www-authenticate").contains("scope=\"live:read\""));
    let unticked = post_as(&demo.url, "/projects", &token, &json!({ "name": "x" }));
    assert_eq!(unticked.0, 403);
    assert!(unticked.1.contains("scope=\"projects:write\""), "{}", unticked.1);
    let owner_only = agent.get("/billing", &token);
    assert_eq!((owner_only.status, owner_only.error()), (403, "owner_only"));
    assert!(!owner_only.headers.contains_key("www-authenticate"));

    // Its human sees it, and takes it back.
    human.goto(&format!("{}/sessions", demo.url)).await;
    human.click("summary").await;
    let text = human.text().await;
    for needed in ["Research CLI", "weekly report", "See your list of websites", "Active", "127.0.0.1"] {
        assert!(text.to_lowercase().contains(&needed.to_lowercase()), "{needed} in {text}");
    }
    assert!(!text.contains("Add websites"), "what was unticked is not there");
    human.goto(&format!("{}/billing", demo.url)).await;
    human.reads("due_dollars").await;
    human.goto(&format!("{}/sessions", demo.url)).await;
    human.click("button[value=revoke]").await;
    human.reads("Session revoked").await;
    let revoked = agent.get("/projects", &token);
    assert_eq!((revoked.status, revoked.error()), (401, "invalid_token"));
    human.assert_quiet_console();
    human.close().await;

    // Nothing of it is in the log, but one line for each request and each event.
    let log = demo.log();
    for secret in [claim["claim_token"].as_str().unwrap(), &token, completed.json["refresh_token"].as_str().unwrap()] {
        let random = secret.split_once('_').unwrap().1;
        assert!(
            (0..random.len() - 8).all(|start| !log.contains(&random[start..start + 8])),
            "a piece of a secret in the log"
        );
    }
    for event in
        ["name=\"requested\"", "viewed", "approved", "redeemed", "owner_only_refused", "revoked", "path=\"/projects\""]
    {
        assert!(log.contains(event), "{event} in {log}");
    }
}

/// A POST with a token: its status and its challenge.
fn post_as(base: &str, path: &str, token: &str, body: &Value) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.post(format!("{base}{path}")).header("authorization", format!("Bearer {token}"));
    let answer = request.send_json(body).unwrap();
    let challenge = answer.headers().get("www-authenticate").map_or("", |value| value.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), challenge)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_human_denies() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let pending = agent.register(&["projects:read"], "Nosy agent");
    let human = Browser::open().await;
    human.open_as("ada@example.com", &pending.claim_url).await;
    human.click("button[value=deny]").await;
    human.reads("Denied").await;
    assert_eq!(agent.status(&pending).json["status"], "denied");
    let refused = agent.complete(&pending);
    assert_eq!((refused.status, refused.error()), (403, "access_denied"));
    human.assert_quiet_console();
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_in_time() {
    let folder = Folder::new();
    let file = folder.0.join("agent-auth.toml");
    std::fs::write(&file, DEMO_CONFIG.replace("authorization_request = \"10m\"", "authorization_request = \"4s\""))
        .unwrap();
    let demo = Demo::start(&["--store", "memory", "--no-limits", "--config", file.to_str().unwrap()]);
    let agent = AgentAt::new(&demo.url);
    // The time runs while the page is opened, not while a browser starts.
    let human = Browser::open().await;
    human.goto(&format!("{}/login", demo.url)).await;
    human.sign_in("ada@example.com").await;
    human.reads("Agent sessions").await;
    let pending = agent.register(&["projects:read"], "Late agent");
    human.goto(&pending.claim_url).await;
    human.reads("Let this agent use").await;
    while agent.status(&pending).json["status"] != "expired" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The form that is still open is worth nothing, and neither is the page.
    human.approve().await;
    human.reads("This request has expired").await;
    human.goto(&pending.claim_url).await;
    human.reads("This request has expired").await;
    let refused = agent.complete(&pending);
    assert_eq!((refused.status, refused.error()), (410, "claim_expired"));
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_another_account_can_neither_approve_nor_deny() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let pending = agent.register(&["projects:read"], "Example agent");
    let (ada, bob) = (Browser::open().await, Browser::open().await);
    ada.open_as("ada@example.com", &pending.claim_url).await;
    ada.reads("Let this agent use").await;
    bob.open_as("bob@example.com", &pending.claim_url).await;
    bob.reads("belongs to another account").await;
    assert!(!bob.text().await.contains("ada@example.com"));
    assert!(bob.client.find(Locator::Css("button[value=approve]")).await.is_err());
    assert_eq!(agent.status(&pending).json["status"], "pending");
    ada.approve().await;
    ada.reads("Approved").await;
    assert_eq!(agent.complete(&pending).json["account"]["email"], "ada@example.com");
    ada.close().await;
    bob.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r100_a_killed_service_comes_back_with_everything() {
    let folder = Folder::new();
    let mut demo = Demo::start(&["--store", &folder.store()]);
    let agent = AgentAt::new(&demo.url);
    let human = Browser::open().await;
    let before = agent.register(&["projects:read"], "Before");
    human.approve_as("ada@example.com", &before.claim_url).await;
    let old = token(&agent.complete(&before));
    let between = agent.register(&["projects:read"], "Between");
    human.goto(&between.claim_url).await;
    human.approve().await;
    human.reads("Approved").await;

    demo.kill();
    let address = demo.url.strip_prefix("http://").unwrap().replace("localhost", "127.0.0.1");
    let demo = Demo::start(&["--store", &folder.store(), "--listen", &address]);
    let new = token(&agent.complete(&between));
    for token in [&old, &new] {
        assert_eq!(agent.get("/projects", token).status, 200);
    }
    assert_eq!(agent.complete(&between).error(), "previously_claimed");
    // The human is still signed in, and sees both.
    human.goto(&format!("{}/sessions", demo.url)).await;
    let text = human.text().await;
    assert!(text.contains("Before") && text.contains("Between"), "{text}");
    human.close().await;
}

/// Races agents at several addresses to complete one claim, and answers the one token.
async fn race(addresses: &[String], pending: &Pending) -> String {
    const AGENTS: usize = 64;
    let start = Arc::new(tokio::sync::Barrier::new(AGENTS));
    let racing: Vec<_> = (0..AGENTS)
        .map(|index| {
            let (agent, pending, start) =
                (AgentAt::new(&addresses[index % addresses.len()]), pending.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                tokio::task::spawn_blocking(move || agent.complete(&pending)).await.unwrap()
            })
        })
        .collect();
    let mut outcomes: HashMap<(u16, String), usize> = HashMap::new();
    let mut tokens = Vec::new();
    for racer in racing {
        let answer = racer.await.unwrap();
        *outcomes.entry((answer.status, answer.error().to_owned())).or_default() += 1;
        if answer.status == 200 {
            tokens.push(token(&answer));
        }
    }
    let expected = HashMap::from([((200, String::new()), 1), ((409, "previously_claimed".into()), AGENTS - 1)]);
    assert_eq!(outcomes, expected);
    tokens.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn r45_of_64_agents_that_race_over_the_wire_one_completes() {
    let folder = Folder::new();
    let human = Browser::open().await;
    for store in ["memory", &folder.store()] {
        let demo = Demo::start(&["--store", store, "--no-limits"]);
        let agent = AgentAt::new(&demo.url);
        let pending = agent.register(&["projects:read"], "Racer");
        human.approve_as("ada@example.com", &pending.claim_url).await;
        let token = race(std::slice::from_ref(&demo.url), &pending).await;
        assert_eq!(agent.get("/projects", &token).status, 200);
    }
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r45_two_processes_over_one_file_let_one_agent_complete() {
    let folder = Folder::new();
    let human = Browser::open().await;
    let one = Demo::start(&["--store", &folder.store(), "--no-limits"]);
    let two = Demo::start(&["--store", &folder.store(), "--no-limits", "--public-url", &one.url]);
    let agent = AgentAt::new(&one.url);
    let pending = agent.register(&["projects:read"], "Racer");
    human.approve_as("ada@example.com", &pending.claim_url).await;
    let token = race(&[one.url.clone(), two.url.clone()], &pending).await;
    for base in [&one.url, &two.url] {
        assert_eq!(AgentAt::new(base).get("/projects", &token).status, 200);
    }
    // Revoked at one, refused at the other on the next call.
    assert_eq!(post_as(&two.url, "/agent/auth/revoke", &token, &json!({ "token": token })).0, 200);
    assert_eq!(agent.get("/projects", &token).status, 401);
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r59_a_double_click_on_a_page_that_has_just_opened_approves_nothing() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let pending = agent.register(&["projects:read"], "Example agent");
    let human = Browser::open().await;
    human.open_as("ada@example.com", &pending.claim_url).await;
    human.reads("Let this agent use").await;
    let place = human.place_of("button[value=approve]").await;
    // A page that was led in under a clicking hand: the clicks land as soon as it is there.
    human.goto(&pending.claim_url).await;
    human.press(place);
    human.press(place);
    let age = human.run("return performance.now()").await.as_f64().unwrap();
    assert!(age < 1_000.0, "the clicks came too late to show anything: {age} ms");
    assert_eq!(agent.status(&pending).json["status"], "pending");
    human.approve().await;
    human.reads("Approved").await;
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_double_click_on_a_page_that_another_window_has_covered_approves_nothing() {
    for script in [true, false] {
        let demo = Demo::start(&["--store", "memory"]);
        let agent = AgentAt::new(&demo.url);
        let pending = agent.register(&["projects:read"], "Example agent");
        let human = Browser::open().await;
        human.open_as("ada@example.com", &pending.claim_url).await;
        human.reads("Let this agent use").await;
        let place = human.place_of("button[value=approve]").await;
        if !script {
            human.allow_scripts(false);
        }
        // The page was there for long, and no pointer was over it: then its cover closes at the first press.
        human.goto(&pending.claim_url).await;
        tokio::time::sleep(Duration::from_millis(1_800)).await;
        human.press(place);
        tokio::time::sleep(Duration::from_millis(260)).await;
        human.press(place);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(agent.status(&pending).json["status"], "pending", "script: {script}");
        human.reads("Approve works a second after the page shows").await;
        // A second later it can be pressed, also with less motion.
        human.prefer(Preferences { reduced_motion: true, ..Preferences::default() });
        human.approve().await;
        human.reads("Approved").await;
        human.assert_quiet_console();
        human.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_whoever_opened_the_link_as_the_wrong_account_uses_another_one() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let pending = agent.register(&["projects:read"], "Example agent");
    let human = Browser::open().await;
    human.open_as("private@example.com", &pending.claim_url).await;
    human.click("button[value=switch]").await;
    human.sign_in("work@example.com").await;
    human.reads("Signed in as work@example.com").await;
    // The same by signing out first: the way back is kept.
    human.click("button[value=switch]").await;
    human.click("form[action$=logout] button").await;
    human.sign_in("third@example.com").await;
    human.reads("Signed in as third@example.com").await;
    human.approve().await;
    human.reads("Approved").await;
    assert_eq!(agent.complete(&pending).json["account"]["email"], "third@example.com");
    // Signed in elsewhere as another, the link offers that account.
    let other = agent.register(&["projects:read"], "Example agent");
    human.goto(&other.claim_url).await;
    human.reads("Let this agent use").await;
    human.goto(&format!("{}/login", demo.url)).await;
    human.sign_in("work@example.com").await;
    human.reads("Agent sessions").await;
    human.goto(&other.claim_url).await;
    human.click("button[value=release]").await;
    human.reads("Signed in as work@example.com").await;
    human.assert_quiet_console_but("409");
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_boxes_are_tied_where_one_scope_gives_another() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let pending = agent.register(&["experiments:write", "experiments:read", "projects:read"], "Example agent");
    let human = Browser::open().await;
    human.open_as("ada@example.com", &pending.claim_url).await;
    human.reads("Gives as well").await;
    let ticked = async || {
        let script = "return [...document.querySelectorAll('[name=scope]:checked')].map((box) => box.value)";
        human.run(script).await
    };
    // What changes something is not ticked for an agent that is new.
    assert_eq!(ticked().await, json!(["projects:read", "experiments:read"]));
    human.click("input[value='experiments:read']").await;
    human.click("input[value='experiments:write']").await;
    assert_eq!(ticked().await, json!(["projects:read", "experiments:read", "experiments:write"]));
    human.click("input[value='experiments:read']").await;
    assert_eq!(ticked().await, json!(["projects:read", "experiments:read", "experiments:write"]));
    human.click("input[value='experiments:write']").await;
    human.click("input[value='experiments:read']").await;
    assert_eq!(ticked().await, json!(["projects:read"]));
    human.assert_quiet_console();
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r30_r54_r58_r59_a_foreign_page_gets_nowhere() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let pending = agent.register(&["projects:read"], "Example agent");
    let human = Browser::open().await;
    human.open_as("ada@example.com", &pending.claim_url).await;
    human.reads("Let this agent use").await;
    let csrf = human.run("return document.querySelector('input[name=csrf]').value").await;
    let (url, claim_url, csrf) = (&demo.url, &pending.claim_url, csrf.as_str().unwrap());

    // A form that sends itself, with a token that its author can't know but shall have here.
    let form = EvilSite::serve(format!(
        "<form method=post action='{claim_url}'><input name=csrf value='{csrf}'><input name=decision value=approve>\
         <input name=scope value='projects:read'></form><script>document.forms[0].submit()</script>"
    ));
    human.goto(&form.url).await;
    human.reads("no longer good").await;
    assert_eq!(agent.status(&pending).json["status"], "pending");

    // A frame around the page shows nothing of it.
    let frame = EvilSite::serve(format!("<iframe src='{claim_url}' width=800 height=800></iframe>"));
    human.console();
    human.goto(&frame.url).await;
    human.client.enter_frame(0).await.unwrap();
    assert!(!human.text().await.contains("Let this agent use"));
    human.client.enter_parent_frame().await.unwrap();
    let console = human.console();
    assert!(console.iter().any(|line| line.contains("frame-ancestors")), "the refusal is on the console: {console:?}");

    // A script of that page acts by no cookie. It may be an agent: the approval page then names it.
    let page = EvilSite::serve("<p>hello</p>".into());
    human.goto(&page.url).await;
    let fetch = format!(
        "const done = arguments[arguments.length - 1];
         const post = (type) => fetch('{url}/agent/auth', {{ method: 'POST', mode: type === 'text/plain' ? 'no-cors' : 'cors',
             headers: {{ 'content-type': type }}, body: '{{\"type\":\"user_claimed\"}}' }});
         const blocked = (answer) => answer.then((r) => r.type, () => 'blocked');
         const list = '{url}/account/agent-sessions';
         Promise.all([post('application/json').then((r) => r.json()).then((asked) => asked.claim_url),
             blocked(post('text/plain')), blocked(fetch(list, {{ credentials: 'include' }})),
             fetch(list).then((r) => r.status),
             fetch('{url}/projects').then((r) => [r.status, r.headers.get('www-authenticate')])]).then(done);"
    );
    let answers = human.client.execute_async(&fetch, Vec::new()).await.unwrap();
    assert_eq!((&answers[1], &answers[2], &answers[3]), (&"opaque".into(), &"blocked".into(), &403.into()));
    assert_eq!(answers[4][0], 401);
    assert!(answers[4][1].as_str().unwrap().starts_with("Bearer resource_metadata="));
    assert_eq!(demo.log().matches("name=\"requested\"").count(), 2, "the honest agent's and the page's");
    human.goto(answers[0].as_str().unwrap()).await;
    human.reads(&format!("Web page of {}", page.url.trim_end_matches('/'))).await;
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_hostile_names_are_read_and_never_run() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let human = Browser::open().await;
    let names = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        "</title><b>x</b>",
        "{{ 7*7 }}",
        "' onfocus='alert(1)",
    ];
    for (index, name) in names.into_iter().enumerate() {
        let pending = agent.register(&["projects:read"], name);
        if index == 0 {
            human.open_as("ada@example.com", &pending.claim_url).await;
        } else {
            human.goto(&pending.claim_url).await;
        }
        human.reads(name).await;
        human.approve().await;
        human.reads("Approved").await;
        human.reads(name).await;
        assert_eq!(agent.complete(&pending).status, 200);
        human.goto(&format!("{}/sessions", demo.url)).await;
        human.reads(name).await;
        assert!(human.client.get_alert_text().await.is_err(), "no dialog");
    }
    human.assert_quiet_console();
    human.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_fit_a_phone_and_a_desktop_and_the_keyboard_reaches_everything() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let human = Browser::open().await;
    let pending = agent.register(&ALL, &"W".repeat(64));
    human.open_as("ada@example.com", &pending.claim_url).await;
    human.reads("WWWW").await;
    assert_fits(&human, "approval").await;

    // Tab goes through "Not you?", the boxes and both buttons in the order of the page.
    let order = human
        .run("return [...document.querySelectorAll('form input[type=checkbox], form button')].map((e) => e.value)")
        .await;
    human.run("document.body.focus()").await;
    let mut reached = Vec::new();
    for _ in 0..30 {
        human.press_key("Tab");
        let focused = human.run("const e = document.activeElement; return e.form && e.matches('button, [type=checkbox]') ? e.value : null").await;
        if focused.is_string() && !reached.contains(&focused) {
            reached.push(focused);
        }
    }
    assert_eq!(json!(reached), order);
    assert_eq!(reached.len(), ALL.len() + 3);
    let boxes = human.names_of("input[type=checkbox]", "checkbox").await;
    assert_eq!(boxes.len(), ALL.len());
    assert!(boxes.iter().all(|name| name.len() > 12), "each has its sentence for a name: {boxes:?}");

    // Enter in the form never approves.
    human.run("document.querySelector('input[type=checkbox]').focus()").await;
    human.press_key("Enter");
    human.reads("Denied").await;

    let pending = agent.register(&ALL, &"W".repeat(64));
    human.goto(&pending.claim_url).await;
    human.approve().await;
    human.reads("Approved").await;
    agent.complete(&pending);
    human.goto(&format!("{}/sessions", demo.url)).await;
    assert_fits(&human, "sessions").await;
    human.assert_quiet_console();
    human.close().await;
}

async fn assert_fits(human: &Browser, name: &str) {
    for (width, dark) in [(320, false), (320, true), (390, true), (1280, false), (1280, true)] {
        human.narrow(width, 900);
        human.prefer(Preferences { dark, ..Preferences::default() });
        let overflow = human.run("return document.documentElement.scrollWidth - window.innerWidth").await;
        assert!(overflow.as_i64().unwrap() <= 0, "{name} at {width}: {overflow} px too wide");
    }
    human.narrow(1280, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_script_is_needed() {
    let demo = Demo::start(&["--store", "memory", "--no-limits"]);
    let agent = AgentAt::new(&demo.url);
    let pending = agent.register(&["projects:read"], "Example agent");
    let human = Browser::open().await;
    human.allow_scripts(false);
    human.open_as("ada@example.com", &pending.claim_url).await;
    human.reads("Let this agent use").await;
    human.approve().await;
    human.reads("Approved").await;
    assert_eq!(agent.complete(&pending).status, 200);
    human.close().await;
}

/// Runs the agent of the examples until it is done, and lets `human` approve what it asks for, if it asks.
async fn run_agent(arguments: &[&str], human: Option<&Browser>) -> (bool, String) {
    let mut agent = AgentProcess::start(arguments);
    if let Some(human) = human {
        human.goto(&agent.link()).await;
        human.approve().await;
        human.reads("Approved").await;
    }
    tokio::task::spawn_blocking(move || agent.finish()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_the_examples_asks_once_keeps_its_credential_and_starts_over_when_it_is_revoked() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let demo = Demo::start(&["--store", "memory"]);
    let file = folder.0.join("credential.json");
    let url = format!("{}/projects", demo.url);
    let arguments =
        [url.as_str(), "--scope", "projects:read", "--credential", file.to_str().unwrap(), "--name", "Walker"];
    let human = Browser::open().await;
    human.goto(&format!("{}/login", demo.url)).await;
    human.sign_in("ada@example.com").await;
    human.reads("Agent sessions").await;

    let (done, said) = run_agent(&arguments, Some(&human)).await;
    assert!(done, "{said}");
    for step in 1..=8 {
        assert!(said.contains(&format!("\n{step}. ")) || said.starts_with("1. "), "step {step} in {said}");
    }
    assert!(said.contains("ada@example.com") && said.contains("\"projects\""), "{said}");
    assert!(!said.contains("aas_") && !said.contains("clm_"), "no secret in {said}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let (done, said) = run_agent(&arguments, None).await;
    assert!(done && !said.contains("8. ") && said.contains("\"projects\""), "it uses what it has: {said}");

    human.goto(&format!("{}/sessions", demo.url)).await;
    human.click("a[href*='confirm=all']").await;
    human.click("button[value=revoke_all]").await;
    human.reads("All sessions revoked").await;
    let (done, said) = run_agent(&arguments, Some(&human)).await;
    assert!(done && said.contains("Starting over") && said.contains("8. "), "{said}");
    human.close().await;
}
