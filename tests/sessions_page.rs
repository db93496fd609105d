//! The sessions page of a human with many sessions: what it shows, how it keeps its place, what it asks before, and what it
//! hands out.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeSet;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tower_agent_auth::{
    ConfigBuilder,
    accounts::SignedIn,
    ceremony::{Approve, Ceremony, Decision, Issued, Request as AccessRequest, Requested},
    types::{
        id::{ClientId, SessionId},
        session::Redeemer,
        text::HumanText,
    },
};

mod common;
use common::{Answer, Form, SECOND, Service, account, between, browse, browse_again, config};

const PATH: &str = "/sessions";
const FULL: usize = 100 * 1024;

fn text(text: &str) -> HumanText {
    HumanText::new(text).unwrap()
}

fn by(name: &str) -> AccessRequest {
    AccessRequest::by(text(name))
}

fn ceremony(service: &Service) -> &Ceremony {
    service.auth.ceremony().unwrap()
}

fn quiet() -> Service {
    Service::with(config().no_limits())
}

/// A request that `human` has approved.
async fn approve(service: &Service, human: &str, request: AccessRequest) -> Requested {
    let human = SignedIn::new(account(human), "a browser");
    let asked = ceremony(service).request(request).await.unwrap();
    let id = &asked.authorization.id;
    let scopes = ceremony(service).view(id, &human).await.unwrap().authorization.requested;
    ceremony(service).decide(id, &human, Decision::Approve(Approve::scopes(scopes))).await.unwrap();
    asked
}

/// A new session, a second after what was before.
async fn issue(service: &Service, human: &str, request: AccessRequest) -> Issued {
    service.clock.advance(SECOND);
    let asked = approve(service, human, request).await;
    ceremony(service).redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap()
}

async fn new(service: &Service, name: &str) -> SessionId {
    issue(service, "ada", by(name)).await.record.session.id.clone()
}

async fn get(service: &Service, path: &str) -> Answer {
    let page = service.send(browse("ada", path)).await;
    assert_eq!(page.status, StatusCode::OK, "{path} {}", page.text);
    page
}

/// The sessions of a page, in its order.
fn ids(page: &Answer) -> Vec<SessionId> {
    let cards = page.text.match_indices("\" id=\"ses_");
    cards.map(|(at, _)| SessionId::parse(between(&page.text[at + 1..], " id=\"", "\"")).unwrap()).collect()
}

/// The URL of the first link with these attributes before it.
fn link(page: &Answer, before: &str) -> Option<String> {
    let start = format!("{before}href=\"");
    page.text.contains(&start).then(|| unescaped(between(&page.text, &start, "\"")))
}

fn unescaped(html: &str) -> String {
    let plain = html.replace("&#x2f;", "/").replace("&#x27;", "'").replace("&quot;", "\"");
    plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn next(page: &Answer) -> Option<String> {
    link(page, "rel=\"next\" ")
}

fn previous(page: &Answer) -> Option<String> {
    link(page, "rel=\"prev\" ")
}

/// Follows a page to the last one.
async fn walk(service: &Service, path: &str) -> Vec<Answer> {
    let mut pages = vec![get(service, path).await];
    while let Some(next) = next(pages.last().unwrap()) {
        pages.push(get(service, &next).await);
    }
    pages
}

/// The card of a session.
fn card_of<'a>(page: &'a Answer, session: &SessionId) -> &'a str {
    let from = page.text.find(&format!("\" id=\"{session}\"")).unwrap();
    let rest = &page.text[from..];
    let end = rest.find("<li class=\"session").or_else(|| rest.find("</section>")).unwrap();
    &rest[..end]
}

fn headings(page: &Answer) -> Vec<String> {
    let all = page.text.match_indices("<h2 id=\"g");
    all.map(|(at, _)| between(&page.text[at..], "\">", "</h2>").to_owned()).collect()
}

async fn is_live(service: &Service, issued: &Issued) -> bool {
    ceremony(service).session(issued.access_token.expose().as_bytes()).await.unwrap().is_some()
}

#[tokio::test]
async fn the_sessions_of_a_client_stand_together_and_the_newest_client_first() {
    let service = quiet();
    let oauth = by("Claude").client_id(Some(ClientId::new("https://agent.example/client.json").unwrap()));
    let first = new(&service, "Claude").await;
    let codex = new(&service, "Codex").await;
    let hosted = issue(&service, "ada", oauth).await.record.session.id.clone();
    let last = new(&service, "Claude").await;
    issue(&service, "bob", by("Bob’s agent")).await;
    let page = get(&service, PATH).await;
    assert_eq!(ids(&page), [last.clone(), first.clone(), hosted, codex.clone()]);
    let count = |count: &str| format!(" <span class=\"count\">{count}</span>");
    let expected = [
        format!("“Claude”{}", count("2 active")),
        format!("“Claude” <span class=\"soft small\"><bdi>agent.example</bdi></span>{}", count("1 active")),
        format!("“Codex”{}", count("1 active")),
    ];
    assert_eq!(headings(&page), expected);
    assert!(!page.text.contains("Bob"));
    assert_eq!(page.text.matches("confirm=client").count(), 1, "one session has its own button");
    assert_eq!(link(&page, "class=\"button revoke\" ").as_deref(), Some("/sessions?confirm=all"));

    let form = page.form("ada");
    service.send(form.post(PATH, &[("decision", "revoke"), ("session", codex.as_str())])).await;
    assert!(headings(&get(&service, PATH).await)[2].contains("none active"));
}

/// A service with 32 scopes of long descriptions.
fn of_32_scopes() -> ConfigBuilder {
    (0..32).fold(config().no_limits(), |config, index| {
        let does = format!("See & change what is in part {index} of your account's projects/experiments");
        config.scope(&format!("part-{index:02}:write"), &does, |scope| scope.by_default())
    })
}

/// The size of a page, which is not too large.
async fn size(service: &Service, path: &str) -> usize {
    let answer = service.app.clone().oneshot(browse("ada", path)).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.len() < FULL, "{path} has {} bytes", bytes.len());
    bytes.len()
}

#[tokio::test]
async fn five_hundred_sessions_are_on_pages_below_100_kib_and_each_is_reached_once() {
    let service = Service::with(of_32_scopes());
    let hostile = ["'", "/", "<", "&", "\u{5d0}"];
    let mut all = BTreeSet::new();
    for index in 0..500 {
        let longest = |text: &str| text.repeat(if text.len() == 1 { 62 } else { 61 });
        let name = format!("{:02}{}", index % 20, longest(hostile[index % 5]));
        let claim = Some(text(&longest(hostile[(index + 1) % 5])));
        let request = by(&name).label(claim.clone()).reason(claim).address(Some("2001:db8::1".parse().unwrap()));
        let id = issue(&service, "ada", request).await.record.session.id.clone();
        if index % 2 == 0 {
            let own = text(&"\"".repeat(64));
            ceremony(&service).rename_session(&account("ada").id, &id, Some(&own)).await.unwrap();
        }
        all.insert(id);
    }
    let pages = walk(&service, PATH).await;
    let listed: Vec<SessionId> = pages.iter().flat_map(ids).collect();
    let unique: BTreeSet<SessionId> = listed.iter().cloned().collect();
    assert_eq!((listed.len(), unique.len()), (200, 200), "ten of each client");
    assert!(headings(&pages[0])[0].starts_with("“19"), "the newest first");
    // Whoever goes on to all of a client comes to each of its sessions.
    let mut reached = BTreeSet::new();
    let mut paths = vec![PATH.to_owned()];
    for page in &pages {
        paths.extend(next(page));
        assert!(page.text.contains("Show all 25 sessions") || !page.text.contains("client="), "{}", page.text);
        for (at, _) in page.text.match_indices("<p><a class=\"button\" href=\"") {
            let of_client = unescaped(between(&page.text[at..], "href=\"", "\""));
            let walked = walk(&service, &of_client).await;
            let listed: Vec<SessionId> = walked.iter().flat_map(ids).collect();
            assert_eq!(listed.len(), 25, "{of_client}");
            assert_eq!(walked.iter().flat_map(headings).filter(|heading| !heading.contains("continued")).count(), 1);
            assert!(walked.iter().all(|page| page.text.contains("Show all sessions")), "a way back");
            paths.push(of_client);
            paths.extend(walked.iter().filter_map(next));
            reached.extend(listed);
        }
    }
    assert_eq!(reached, all);
    let mut largest = 0;
    for path in &paths {
        largest = largest.max(size(&service, path).await);
    }
    // The way back has the same pages' sessions.
    let mut back = pages.last().unwrap().clone();
    let mut seen: BTreeSet<SessionId> = ids(&back).into_iter().collect();
    while let Some(previous) = previous(&back) {
        back = get(&service, &previous).await;
        seen.extend(ids(&back));
    }
    assert_eq!(seen, unique);
    assert_eq!(ids(&back)[0], listed[0]);
    eprintln!("{} pages of all clients, {} in all, of {largest} bytes at most", pages.len(), paths.len());
}

#[tokio::test]
async fn as_many_clients_as_sessions_make_no_page_too_large() {
    let service = quiet();
    for index in 0..100 {
        let id = new(&service, &format!("{index:02}{}", "\u{5d0}".repeat(62))).await;
        new(&service, &format!("{index:02}{}", "'".repeat(62))).await;
        if index % 2 == 0 {
            ceremony(&service).revoke_session(&account("ada").id, &id).await.unwrap();
        }
    }
    let pages = walk(&service, PATH).await;
    assert_eq!(pages.iter().flat_map(ids).collect::<BTreeSet<_>>().len(), 200);
    assert_eq!(pages.iter().flat_map(headings).count(), 200);
    let mut sizes = vec![size(&service, PATH).await];
    for next in pages.iter().filter_map(next) {
        sizes.push(size(&service, &next).await);
    }
    eprintln!("pages of 200 clients: {sizes:?} bytes");
}

#[tokio::test]
async fn pages_keep_their_place_while_sessions_come_and_go() {
    let service = quiet();
    let mut before = BTreeSet::new();
    for index in 0..104 {
        before.insert(new(&service, &format!("agent {}", index % 13)).await);
    }
    for state in ["", "?state=active"] {
        let path = format!("{PATH}{state}");
        let first = get(&service, &path).await;
        let mut seen = ids(&first);
        assert!(seen.len() > 20, "{}", seen.len());
        // The client of the last page comes first now, and another is new. Some of what was seen, and what the next page
        // begins after, end.
        let newer = [new(&service, "agent 0").await, new(&service, "another").await];
        let form = first.form("ada");
        for id in [&seen[3], seen.last().unwrap()] {
            service.send(form.post(PATH, &[("decision", "revoke"), ("session", id.as_str())])).await;
        }
        let rest = walk(&service, &next(&first).unwrap()).await;
        seen.extend(rest.iter().flat_map(ids));
        assert_eq!(seen.len(), before.len(), "none twice, {state}");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), before, "none left out, {state}");
        assert_eq!(ids(&get(&service, &path).await)[..1], newer[1..], "the first page shows what is new");
        before.extend(newer);
        if state.is_empty() {
            let ended = walk(&service, "/sessions?state=ended").await.iter().flat_map(ids).collect::<BTreeSet<_>>();
            before = &before - &ended;
            assert_eq!(ended.len(), 2);
        }
    }
    // Cursors of others, of nobody, and nonsense begin anew.
    let bobs = issue(&service, "bob", by("Bob’s agent")).await.record.session.id.to_string();
    for cursor in [&bobs, &format!("ses_{}", "0".repeat(22)), "x", "' OR 1=1", ""] {
        for name in ["after", "newest", "client"] {
            let page = get(&service, &format!("{PATH}?{name}={}", cursor.replace(' ', "%20"))).await;
            assert_eq!(ids(&page), ids(&get(&service, PATH).await), "{name}={cursor}");
        }
        assert!(!get(&service, &format!("{PATH}?older={}", cursor.replace(' ', "%20"))).await.text.contains("Bob"));
    }
}

#[tokio::test]
async fn after_an_action_the_browser_is_where_it_was() {
    let service = quiet();
    for index in 0..80 {
        new(&service, &format!("agent {}", index % 8)).await;
    }
    let first = get(&service, "/sessions?state=active&q=AGENT").await;
    let path = next(&first).unwrap();
    let page = get(&service, &path).await;
    let form = page.form("ada");
    assert_eq!(unescaped(&form_action(&service, &path).await), path);
    let last = ids(&page).last().unwrap().clone();
    for (decision, said, state) in [
        ("rename", "Name saved.", "active"),
        ("revoke", "Session revoked.", "revoked"),
        ("revoke", "had ended", "revoked"),
    ] {
        let fields = [("decision", decision), ("session", last.as_str()), ("name", "The bakery’s")];
        let done = service.send(form.post(&path, &fields)).await;
        let location = done.header("location");
        assert!(location.starts_with(&format!("{path}&done=")), "{location}");
        assert!(location.ends_with(&format!("&on={last}#{last}")), "{location}");
        let shown = service.send(browse_again(&form, location)).await;
        assert_eq!(ids(&shown), ids(&page), "{decision}");
        let card = card_of(&shown, &last);
        assert!(card.contains(said) && card.contains("<bdi>The bakery’s</bdi>"), "{card}");
        assert!(card.to_lowercase().contains(&format!(">{state}<")), "{card}");
        assert_eq!(shown.text.matches("role=\"status\"").count(), 1);
        assert!(!next(&shown).is_some_and(|next| next.contains("done=")));
    }
    // The next look shows active ones only.
    assert!(!ids(&get(&service, &path).await).contains(&last));
    // On the first page too, though newer sessions have filled it meanwhile.
    let first = get(&service, PATH).await;
    let (form, id) = (first.form("ada"), ids(&first).last().unwrap().clone());
    for index in 0..60 {
        new(&service, &format!("newer {index}")).await;
    }
    let done = service.send(form.post(PATH, &[("decision", "revoke"), ("session", id.as_str())])).await;
    let shown = service.send(browse_again(&form, done.header("location"))).await;
    assert!(card_of(&shown, &id).contains("Session revoked."), "{}", shown.text);
}

/// The action that the page at `path` gives to forms, as a host that renders its own sees it.
async fn form_action(service: &Service, path: &str) -> String {
    struct Actions(std::sync::Arc<std::sync::Mutex<String>>);
    impl tower_agent_auth::pages::RenderPage for Actions {
        fn render(
            &self,
            page: &tower_agent_auth::pages::Page,
            _: &tower_agent_auth::pages::Frame,
        ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
            if let tower_agent_auth::pages::Page::Sessions(page) = page {
                page.form.action.clone_into(&mut self.0.lock().unwrap());
            }
            Ok(None)
        }
    }
    let seen = std::sync::Arc::default();
    let other = Service::made_of(
        config().no_limits(),
        service.store.clone(),
        service.clock.clone(),
        service.clock.clone(),
        |builder| builder.pages(|pages| pages.renderer(Actions(std::sync::Arc::clone(&seen)))),
    );
    get(&other, path).await;
    seen.lock().unwrap().clone()
}

fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("{PATH}?{}", query.extend_pairs(pairs).finish())
}

#[tokio::test]
async fn any_text_is_searched_for_and_nothing_found_leads_back() {
    let service = quiet();
    let names = ["100% + \"more\" & <b>", "a'b/c#d?e=f;g", "Übersetzer", "סוכן", "{{ 7*7 }}", "\\%_"];
    for name in names {
        new(&service, name).await;
    }
    let oauth = by("Walker").client_id(Some(ClientId::new("https://agent.example/client.json").unwrap()));
    issue(&service, "ada", oauth.label(Some(text("Weekly report")))).await;
    for name in names {
        let page = get(&service, &query(&[("q", name)])).await;
        assert_eq!(ids(&page).len(), 1, "{name}");
        assert!(
            unescaped(&page.text).contains(&format!("name=\"q\" dir=\"auto\" maxlength=\"64\" value=\"{name}\"")),
            "{name}"
        );
        assert!(!page.text.contains("<b>") && !page.text.contains("value=\"49\""), "{name}");
        let active = link(&page, "<li><a ").unwrap();
        assert_eq!(ids(&get(&service, &active).await).len(), 1, "its filters keep {name}: {active}");
    }
    for (typed, found) in
        [("%", 2), ("u\u{308}BERS", 1), (" weekly ", 1), ("AGENT.example", 1), ("", 7), (" ", 7), ("\u{0}", 0)]
    {
        assert_eq!(ids(&get(&service, &query(&[("q", typed)])).await).len(), found, "{typed:?}");
    }
    for (typed, state) in
        [("nobody", "all"), ("Übersetzer", "ended"), (&*"x".repeat(5_000), "all"), ("\u{202e}", "all")]
    {
        let page = get(&service, &query(&[("q", typed), ("state", state)])).await;
        assert!(page.text.contains("No session here") && ids(&page).is_empty(), "{typed}");
        assert_eq!(link(&page, "<a class=\"button\" ").as_deref(), Some(PATH), "a way back");
        assert!(!page.text.contains("No agent has access") && page.text.len() < FULL);
    }
    // Whoever has none at all is told so, and is offered the download.
    let nobody = service.send(browse("carol", PATH)).await;
    assert!(nobody.text.contains("No agent has access") && nobody.text.contains("?export"));
    assert!(!nobody.text.contains("role=\"search\""));
}

#[tokio::test]
async fn what_ends_many_is_asked_for_first_and_ends_no_others() {
    let service = quiet();
    let client = || by("<b>Claude</b>");
    let (one, two) = (issue(&service, "ada", client()).await, issue(&service, "ada", client()).await);
    let (other, bobs) = (issue(&service, "ada", by("Codex")).await, issue(&service, "bob", client()).await);
    let waiting = approve(&service, "ada", client()).await;
    let page = get(&service, "/sessions?state=active").await;
    let ask = link(&page, "<a class=\"button revoke\" ").unwrap();
    assert_eq!(ask, "/sessions?state=active&confirm=all");
    let ask =
        unescaped(between(&page.text, "\"button revoke\" href=\"&#x2f;sessions?state=active&amp;confirm=client", "\""));
    let ask = format!("/sessions?state=active&confirm=client{ask}");

    let asked = get(&service, &ask).await;
    for needed in [
        "Revoke all 2 active sessions of “&lt;b&gt;Claude&lt;&#x2f;b&gt;”?",
        "1 approval that no agent has collected is taken back as well",
        "Revoke 2 sessions",
        "Keep them",
        "value=\"revoke_client\"",
    ] {
        assert!(asked.text.contains(needed), "{needed} in {}", asked.text);
    }
    assert_eq!(link(&asked, "<a class=\"button\" ").as_deref(), Some("/sessions?state=active"));
    assert!(!asked.text.contains("<script"), "no script is needed");
    let action = unescaped(between(&asked.text, "<form method=\"post\" action=\"", "\""));
    let session = between(&asked.text, "name=\"session\" value=\"", "\"").to_owned();
    for issued in [&one, &two, &other, &bobs] {
        assert!(is_live(&service, issued).await, "asking ends nothing");
    }

    let form = asked.form("ada");
    let fields = [("decision", "revoke_client"), ("session", session.as_str())];
    for forged in [
        Form { csrf: String::new(), ..form.clone() },
        Form { human: "bob".into(), ..form.clone() },
        Form { cookie: get(&service, &ask).await.form("ada").cookie, ..form.clone() },
    ] {
        assert_eq!(service.send(forged.post(&action, &fields)).await.status, StatusCode::FORBIDDEN);
    }
    // Another account's session names no client of this one.
    let foreign = bobs.record.session.id.as_str();
    for id in [foreign, &format!("ses_{}", "0".repeat(22))] {
        let nothing = get(&service, &query(&[("confirm", "client"), ("session", id)])).await;
        assert!(
            nothing.text.contains("Nothing is active there") && !nothing.text.contains("<form"),
            "{}",
            nothing.text
        );
        let none = service.send(form.post(&action, &[fields[0], ("session", id)])).await;
        assert!(none.header("location").contains("done=gone"), "{id}");
    }
    for bad in [vec![fields[0]], vec![fields[0], ("session", "' OR 1=1")]] {
        assert_eq!(service.send(form.post(&action, &bad)).await.status, StatusCode::BAD_REQUEST);
    }
    assert!(is_live(&service, &one).await && is_live(&service, &bobs).await);

    // Both of a double click are answered; the second has nothing left to do.
    let done = service.send(form.post(&action, &fields)).await;
    let again = service.send(form.post(&action, &fields)).await;
    let said = async |answer: &Answer| service.send(browse_again(&form, answer.header("location"))).await.text;
    assert!(said(&done).await.contains("2 sessions revoked. Their next calls are refused."));
    assert!(said(&again).await.contains("That had ended already."));
    assert!(!is_live(&service, &one).await && !is_live(&service, &two).await);
    assert!(is_live(&service, &other).await && is_live(&service, &bobs).await);
    assert!(ceremony(&service).redeem(waiting.claim_token.expose(), &Redeemer::default()).await.is_err());
    let nothing = get(&service, &ask).await;
    assert!(nothing.text.contains("Nothing is active there"), "{}", nothing.text);
    assert_eq!(link(&nothing, "<a class=\"button\" ").as_deref(), Some("/sessions?state=active"));

    let asked = get(&service, "/sessions?confirm=all").await;
    assert!(asked.text.contains("Revoke your active session?") && asked.text.contains("value=\"revoke_all\""));
    let all = [("decision", "revoke_all")];
    let form = asked.form("ada");
    for _ in 0..2 {
        let done = service.send(form.post(PATH, &all)).await;
        let shown = service.send(browse_again(&form, done.header("location"))).await;
        assert!(shown.text.contains("All sessions revoked") && !shown.text.contains("confirm="));
    }
    assert!(!is_live(&service, &other).await && is_live(&service, &bobs).await);
}

#[tokio::test]
async fn a_human_downloads_what_is_known_about_them_and_nobody_else_does() {
    let service = quiet();
    let request = by("Claude").reason(Some(text("Weekly report"))).address(Some("192.0.2.7".parse().unwrap()));
    let issued = issue(&service, "ada", request).await;
    let waiting = approve(&service, "ada", by("Codex")).await;
    issue(&service, "bob", by("Bob’s agent")).await;
    let page = get(&service, PATH).await;
    let path = link(&page, "<p class=\"taken\"><a ").unwrap();
    let browser = |site: Option<&str>| {
        let mut request = browse("ada", &path);
        if let Some(site) = site {
            request.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
        }
        request
    };
    for site in [None, Some("same-origin"), Some("none")] {
        let file = service.send(browser(site)).await;
        assert_eq!(file.status, StatusCode::OK);
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-disposition", "attachment; filename=\"agent-sessions.json\""),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(file.header(name), value);
        }
        assert_eq!(file.json["account"], "acct_ada");
        assert_eq!(file.json["sessions"].as_array().unwrap().len(), 1);
        assert_eq!(file.json["sessions"][0]["client"]["reason"], "Weekly report");
        assert_eq!(file.json["requests"].as_array().unwrap().len(), 2);
        let digest = issued.access_token.digest();
        for secret in [
            issued.access_token.expose(),
            issued.refresh_token.expose(),
            waiting.claim_token.expose(),
            &data_encoding::HEXLOWER.encode(digest.as_bytes()),
            &data_encoding::BASE64.encode(digest.as_bytes()),
            "Bob",
        ] {
            assert!(!file.text.contains(secret));
        }
    }
    for site in ["cross-site", "same-site"] {
        let refused = service.send(browser(Some(site))).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{site}");
        assert!(!refused.text.contains("Weekly") && link(&refused, "<a class=\"button\" ").as_deref() == Some(PATH));
    }
    let signed_out = service.get(&path).await;
    assert_eq!(signed_out.header("location"), "/login?next=/sessions");
    let mut agent = browser(None);
    let token = format!("Bearer {}", issued.access_token.expose());
    agent.headers_mut().insert("authorization", token.parse().unwrap());
    assert_eq!(service.send(agent).await.status, StatusCode::BAD_REQUEST);
    let carol = service.send(browse("carol", &path)).await;
    assert_eq!((&carol.json["account"], carol.json["sessions"].as_array().unwrap().len()), (&"acct_carol".into(), 0));
    service.store.break_after(0, common::Fault::Unavailable);
    assert_eq!(service.send(browser(None)).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_session_is_named_and_a_refused_name_changes_nothing() {
    let service = quiet();
    let (id, other) = (new(&service, "Claude").await, new(&service, "Claude").await);
    let bobs = issue(&service, "bob", by("Claude")).await.record.session.id.clone();
    let form = get(&service, PATH).await.form("ada");
    let rename = async |session: &SessionId, name: &str| {
        let fields = [("decision", "rename"), ("session", session.as_str()), ("name", name)];
        service.send(form.post("/sessions?state=active", &fields)).await
    };
    let stored = async || {
        let listed = ceremony(&service).sessions(&account("ada").id, None).await.unwrap();
        let found = listed.sessions.into_iter().find(|record| record.session.id == id).unwrap();
        found.name.map(|name| name.to_string())
    };
    for (typed, kept) in [
        ("The bakery’s", Some("The bakery’s")),
        ("  <b>\"mine\"</b> ", Some("<b>\"mine\"</b>")),
        ("u\u{308}ber", Some("über")),
        (" ", None),
        ("שלי", Some("שלי")),
    ] {
        let done = rename(&id, typed).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{typed}");
        assert_eq!(stored().await.as_deref(), kept, "{typed}");
        let page = service.send(browse_again(&form, done.header("location"))).await;
        assert!(card_of(&page, &id).contains("Name saved."), "{}", page.text);
        let heading = between(card_of(&page, &id), "<h3>", "</h3>").to_owned();
        match kept {
            Some(kept) => assert_eq!(unescaped(&heading), format!("<bdi>{kept}</bdi>")),
            None => assert!(heading.starts_with("Created "), "{heading}"),
        }
        assert!(!page.text.contains("<b>"));
    }
    for (typed, problem) in [
        ("x".repeat(65), "Use at most 64 characters"),
        ("evil\u{202e}gpj".into(), "a character that nobody can see"),
        ("a\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}".into(), "too many marks"),
        ("\u{301}a".into(), "begins with a mark"),
    ] {
        let refused = rename(&id, &typed).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{typed}");
        let card = card_of(&refused, &id);
        assert!(card.contains("The name was not saved") && card.contains(problem), "{card}");
        assert!(card.contains("role=\"alert\"") && card.contains("<details open>"), "{card}");
        assert!(card.contains("aria-invalid=\"true\"") && card.contains("autofocus"), "{card}");
        assert!(card.contains(&format!("value=\"{typed}\"")), "what was typed is there to be changed: {card}");
        assert_eq!(refused.text.matches("aria-invalid").count(), 1);
        assert_eq!(stored().await.as_deref(), Some("שלי"), "{typed}");
    }
    assert!(rename(&bobs, "Mine").await.header("location").contains("done=unknown"));
    assert!(!service.send(browse("bob", PATH)).await.text.contains("Mine"));
    for bad in [
        vec![("decision", "rename"), ("session", other.as_str())],
        vec![("decision", "rename"), ("session", other.as_str()), ("name", "a"), ("name", "b")],
        vec![("decision", "rename"), ("name", "a")],
    ] {
        assert_eq!(service.send(form.post(PATH, &bad)).await.status, StatusCode::BAD_REQUEST);
    }
    let renamed = service.audit.names().iter().filter(|name| **name == "renamed").count();
    assert_eq!(renamed, 5, "refused names are no events");
}

#[tokio::test]
async fn details_are_folded_and_say_all_that_is_known() {
    let service = Service::with(config().no_limits().lifetimes(|lifetimes| lifetimes.choices = vec![3_600 * SECOND]));
    let request = by("Claude").label(Some(text("laptop"))).reason(Some(text("Weekly <report>")));
    let asked = approve(&service, "ada", request.address(Some("192.0.2.7".parse().unwrap()))).await;
    let redeemer = Redeemer::new(Some("198.51.100.4".parse().unwrap()), Some(text("node/<22>")));
    let issued = ceremony(&service).redeem(asked.claim_token.expose(), &redeemer).await.unwrap();
    let id = issued.record.session.id.clone();
    ceremony(&service).rename_session(&account("ada").id, &id, Some(&text("bakery"))).await.unwrap();
    let page = get(&service, PATH).await;
    let card = card_of(&page, &id);
    let (row, details) = card.split_once("<details>").unwrap();
    assert!(row.contains("bakery") && row.contains("just now") && row.contains("not used yet"), "{row}");
    assert!(row.contains("in 1 hour <time "), "{row}");
    assert!(row.contains("datetime=\"2026-11-24T02:10:00Z\">2026-11-24 02:10 UTC</time>"), "{row}");
    for needed in [
        "“laptop”",
        "“Weekly &lt;report&gt;”",
        "192.0.2.7",
        "198.51.100.4",
        "“node&#x2f;&lt;22&gt;”",
        "See your projects",
    ] {
        assert!(details.contains(needed) && !row.contains(needed), "{needed} in {card}");
    }
    assert!(details.contains("Ends at the latest"), "{details}");
    // The Enter key presses the first button of a form.
    let (rename, revoke) = (card.find("value=\"rename\"").unwrap(), card.find("value=\"revoke\"").unwrap());
    assert!(rename < revoke);
    // The script that shows local times has the nonce of the policy.
    let nonce = between(&page.text, "<script nonce=\"", "\"");
    assert!(page.header("content-security-policy").contains(&format!("script-src 'nonce-{nonce}'")));

    let form = page.form("ada");
    service.send(form.post(PATH, &[("decision", "revoke"), ("session", id.as_str())])).await;
    let page = get(&service, PATH).await;
    let ended = card_of(&page, &id);
    assert!(ended.contains("Revoked by</dt><dd>you<") && !ended.contains("value=\"revoke\""), "{ended}");
    assert!(ended.contains("value=\"rename\""), "what has ended can be named, too");
}

#[tokio::test]
async fn many_uncollected_approvals_leave_room_for_sessions() {
    let service = Service::with(of_32_scopes());
    let session = new(&service, "Claude").await;
    for index in 0..50 {
        approve(&service, "ada", by(&format!("{index}{}", "'".repeat(60)))).await;
    }
    size(&service, PATH).await;
    let page = get(&service, PATH).await;
    assert_eq!(ids(&page), [session]);
    let shown = page.text.matches("value=\"take_back\"").count();
    assert!(shown > 1, "{shown}");
    assert!(page.text.contains(&format!("{} more have no room here", 50 - shown)), "{shown}");
    for elsewhere in ["/sessions?q=Claude", "/sessions?state=ended"] {
        assert!(!get(&service, elsewhere).await.text.contains("take_back"), "{elsewhere}");
    }
    let asked = get(&service, "/sessions?confirm=all").await;
    assert!(asked.text.contains("50 approvals that no agent has collected"), "{}", asked.text);
}

/// The columns of a table in a file, but for its key.
async fn columns(beside: &mut sqlx::SqliteConnection) -> Vec<String> {
    let names = "SELECT name FROM pragma_table_info('sessions') WHERE name <> 'seq' ORDER BY cid";
    sqlx::query_scalar(names).fetch_all(beside).await.unwrap()
}

#[tokio::test]
async fn an_account_with_more_than_5000_sessions_reaches_its_oldest() {
    use sqlx::ConnectOptions as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions.db");
    let store = tower_agent_auth::store::SqliteStore::open(&file).await.unwrap();
    let clock = tower_agent_auth::types::clock::ManualClock::at(common::START);
    let service = Service::made_of(config().no_limits(), store, clock.clone(), clock, |builder| builder);
    let human = SignedIn::new(account("ada"), "a browser");
    let ceremony = service.auth.ceremony().unwrap();
    let asked = ceremony.request(by("Claude")).await.unwrap();
    let scopes = ceremony.view(&asked.authorization.id, &human).await.unwrap().authorization.requested;
    ceremony.decide(&asked.authorization.id, &human, Decision::Approve(Approve::scopes(scopes))).await.unwrap();
    let oldest = ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap().record;

    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut beside = options.connect().await.unwrap();
    let columns = columns(&mut beside).await;
    let values: Vec<String> = columns
        .iter()
        .map(|column| match column.as_str() {
            "id" => "printf('ses_%022d', n)".to_owned(),
            "access" | "refresh" => "randomblob(32)".to_owned(),
            "client_name" => "'agent ' || (n % 5)".to_owned(),
            "created_at" => "created_at + n".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    let copy = format!(
        "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 5100) \
         INSERT INTO sessions ({}) SELECT {} FROM counted, (SELECT * FROM sessions)",
        columns.join(", "),
        values.join(", ")
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&mut beside).await.unwrap();

    let began = std::time::Instant::now();
    let page = service.send(browse("ada", "/sessions?state=active")).await;
    eprintln!("the first page of 5101 sessions: {:?}", began.elapsed());
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("5000+") && page.text.contains("1000 active"), "{}", page.text);
    assert!(!page.text.contains("“Claude”"));
    let mut page = page;
    while let Some(next) = next(&page) {
        page = service.send(browse("ada", &next)).await;
    }
    assert!(page.text.contains("“Claude”") && ids(&page).contains(&oldest.session.id), "{}", page.text);
    assert!(previous(&page).is_some(), "a way back");
    // Whatever is not counted ends too, and that is said.
    let asked = service.send(browse("ada", "/sessions?confirm=all")).await;
    assert!(asked.text.contains("Revoke all 5000 active sessions?") && asked.text.contains("not all were counted"));
    let form = asked.form("ada");
    let done = service.send(form.post(PATH, &[("decision", "revoke_all")])).await;
    let page = service.send(browse_again(&form, done.header("location"))).await;
    assert!(page.text.contains("All sessions revoked") && page.text.contains("none active"), "{}", page.text);
    let counts = ceremony.count_sessions(&account("ada").id).await.unwrap();
    assert_eq!((counts.active, counts.ended, counts.more), (0, 5_000, true));
}
