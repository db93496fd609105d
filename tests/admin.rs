//! What the operators of a service see and end, in code and by the admin API.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, StatusCode, request::Parts};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_agent_auth::{
    accounts::SignedIn,
    admin::{Access, AdminService},
    audit::{Event, Reason},
    ceremony::{Admin, Approve, Decision, Request as AccessRequest, Requested, Revoked, SessionSearch},
    store::{MemoryStore, SqliteStore},
    testing::{self, IssuedSession},
    types::{
        clock::ManualClock,
        id::{ClientId, SessionId},
        identity::ForeignIdentity,
        random::OsRandom,
        session::{Redeemer, RevokedBy},
        text::HumanText,
    },
};

mod common;
use common::{Answer, Fault, Service, config};

fn admin(service: &Service) -> Admin {
    service.auth.admin().unwrap()
}

async fn issue(service: &Service, account: &str, client: &str) -> IssuedSession {
    testing::session(&service.auth).account(account).client(client).scopes("projects:read").issue().await
}

/// An approval that no agent has collected.
async fn approved(service: &Service, account: &str, request: AccessRequest) -> Requested {
    let ceremony = service.auth.ceremony().unwrap();
    let human = SignedIn::new(testing::account(account), "a browser");
    let asked = ceremony.request(request).await.unwrap();
    let scopes = ceremony.view(&asked.authorization.id, &human).await.unwrap().authorization.requested;
    let approve = Decision::Approve(Approve::scopes(scopes));
    ceremony.decide(&asked.authorization.id, &human, approve).await.unwrap();
    asked
}

fn by(client: &str) -> AccessRequest {
    AccessRequest::by(HumanText::new(client).unwrap())
}

async fn works(service: &Service, session: &IssuedSession) -> bool {
    service.get_as("/projects", session.access_token()).await.status == StatusCode::OK
}

fn counts(revoked: Revoked) -> (usize, usize) {
    (revoked.sessions, revoked.approvals)
}

/// The reasons of all that was revoked, and who did it.
fn reasons(service: &Service) -> Vec<(&'static str, RevokedBy, Option<String>)> {
    let text = |reason: &Option<Reason>| reason.as_ref().map(|reason| reason.as_str().to_owned());
    let events = service.audit.events();
    let of = |event: &Event| match event {
        Event::Revoked { by, reason, .. } | Event::TakenBack { by, reason, .. } => {
            Some((event.name(), *by, text(reason)))
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[tokio::test]
async fn g12_an_operator_finds_and_revokes_a_session_with_a_reason() {
    let service = Service::new();
    let (alice, bob) = (issue(&service, "alice", "Claude").await, issue(&service, "bob", "Claude").await);
    let id = &alice.record().session.id;
    let admin = admin(&service).because(Reason::new("ticket 1"));
    assert_eq!(admin.session(id).await.unwrap().unwrap().session.account.id.as_str(), "alice");
    assert_eq!(counts(admin.revoke_session(id).await.unwrap()), (1, 0));
    assert!(!works(&service, &alice).await && works(&service, &bob).await);
    assert_eq!(reasons(&service), [("revoked", RevokedBy::Service, Some("ticket 1".into()))]);
    let found = admin.session(id).await.unwrap().unwrap();
    assert_eq!(found.revoked.unwrap().by, RevokedBy::Service);
    assert_eq!(counts(admin.revoke_session(id).await.unwrap()), (0, 0), "again");
    let unknown = SessionId::generate(&OsRandom).unwrap();
    assert!(admin.session(&unknown).await.unwrap().is_none());
    assert_eq!(counts(admin.revoke_session(&unknown).await.unwrap()), (0, 0));
}

#[tokio::test]
async fn g12_an_account_is_offboarded_with_what_it_approved() {
    let service = Service::new();
    let (one, two) = (issue(&service, "alice", "Claude").await, issue(&service, "alice", "Codex").await);
    let bob = issue(&service, "bob", "Claude").await;
    let waiting = approved(&service, "alice", by("Gemini")).await;
    let admin = admin(&service).because(Reason::new("left"));
    let account = testing::account("alice").id;
    assert_eq!(admin.uncollected(&account).await.unwrap().len(), 1);
    assert_eq!(counts(admin.revoke_account(&account).await.unwrap()), (2, 1));
    assert!(!works(&service, &one).await && !works(&service, &two).await && works(&service, &bob).await);
    let ceremony = service.auth.ceremony().unwrap();
    assert!(ceremony.redeem(waiting.claim_token.expose(), &Redeemer::default()).await.is_err());
    let left = Some("left".to_owned());
    let revoked = ("revoked", RevokedBy::Service, left.clone());
    assert_eq!(reasons(&service), [("taken_back", RevokedBy::Service, left), revoked.clone(), revoked]);
    assert_eq!(counts(admin.revoke_account(&account).await.unwrap()), (0, 0), "again");
}

#[tokio::test]
async fn g12_what_one_client_has_of_an_account_is_revoked() {
    let service = Service::new();
    let ceremony = service.auth.ceremony().unwrap();
    let client = ClientId::new("https://client.example/metadata.json").unwrap();
    let known = |name: &str| by(name).client_id(Some(client.clone()));
    let mut issued = Vec::new();
    for (account, request) in
        [("alice", known("One")), ("alice", known("Two")), ("alice", by("One")), ("bob", known("One"))]
    {
        let asked = approved(&service, account, request).await;
        issued.push(ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap());
    }
    approved(&service, "alice", known("Three")).await;
    let admin = admin(&service);
    assert_eq!(counts(admin.revoke_client(&testing::account("alice").id, &client).await.unwrap()), (2, 1));
    let mut left = Vec::new();
    for session in &issued {
        left.push(ceremony.session(session.access_token.expose().as_bytes()).await.unwrap().is_some());
    }
    assert_eq!(left, [false, false, true, true]);
    // A client without an id is known by its name and kind.
    let session = &issued[2].record.session.id;
    assert_eq!(counts(admin.revoke_client_of(session).await.unwrap()), (1, 0));
    assert_eq!(counts(admin.revoke_client_of(&issued[3].record.session.id).await.unwrap()), (1, 0));
    assert!(reasons(&service).iter().all(|(_, by, reason)| *by == RevokedBy::Service && reason.is_none()));
}

#[tokio::test]
async fn g12_what_came_of_an_authorization_request_is_revoked() {
    let service = Service::new();
    let issued = issue(&service, "alice", "Claude").await;
    let other = issue(&service, "alice", "Claude").await;
    let waiting = approved(&service, "alice", by("Gemini")).await;
    let admin = admin(&service);
    let request = &issued.record().authorization;
    assert_eq!(admin.sessions_of(request).await.unwrap().len(), 1);
    assert_eq!(counts(admin.revoke_authorization(request).await.unwrap()), (1, 0));
    assert_eq!(counts(admin.revoke_authorization(request).await.unwrap()), (0, 0));
    assert_eq!(counts(admin.revoke_authorization(&waiting.authorization.id).await.unwrap()), (0, 1));
    assert!(!works(&service, &issued).await && works(&service, &other).await);
}

#[tokio::test]
async fn g12_what_the_human_does_is_still_the_humans() {
    let service = Service::new();
    let issued = issue(&service, "alice", "Claude").await;
    let waiting = approved(&service, "alice", by("Gemini")).await;
    let ceremony = service.auth.ceremony().unwrap();
    let account = &issued.record().session.account.id;
    assert!(ceremony.take_back(account, &waiting.authorization.id).await.unwrap());
    assert_eq!(ceremony.revoke_client(account, &issued.record().session.id).await.unwrap(), 1);
    assert_eq!(reasons(&service), [("taken_back", RevokedBy::Human, None), ("revoked", RevokedBy::Human, None)]);
}

#[test]
fn g12_a_reason_is_one_short_line() {
    assert_eq!(Reason::new("  a\r\nb\tc\u{7f}\u{1b}[31m ").as_str(), "a  b c  [31m");
    assert_eq!(Reason::new(&"\u{e9}".repeat(1_000)).as_str().chars().count(), 300);
    assert_eq!(Reason::new("").as_str(), "");
}

#[test]
fn g12_a_service_that_only_checks_tokens_has_no_admin() {
    let builder = tower_agent_auth::AgentAuth::builder(config().build().unwrap());
    assert!(builder.checks_only(MemoryStore::new()).build().unwrap().admin().is_none());
}

// The API.

/// Lets in whom the header `x-staff` names.
async fn decide(request: Parts) -> Access {
    match request.headers.get("x-staff").map(|name| name.to_str().unwrap()) {
        Some("down") => Access::Unavailable,
        Some("panic") => panic!("the host's code panics, as it was told"),
        Some(name) => Access::granted_to(name),
        None => Access::Denied,
    }
}

fn api(service: &Service) -> AdminService {
    admin(service).service(decide)
}

async fn send(api: &AdminService, request: Request<Full<Bytes>>) -> Answer {
    Answer::read(api.clone().oneshot(request).await.unwrap()).await
}

async fn get(api: &AdminService, path: &str) -> Answer {
    send(api, Request::get(path).header("x-staff", "eve").body(Full::default()).unwrap()).await
}

async fn revoke(api: &AdminService, body: &Value) -> Answer {
    let request = Request::post("/revoke").header("x-staff", "eve").header("content-type", "application/json");
    send(api, request.body(Full::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn g12_the_api_lists_shows_and_revokes() {
    let service = Service::new();
    let mut all = BTreeSet::new();
    for _ in 0..60 {
        all.insert(issue(&service, "alice", "Claude").await.record().session.id.to_string());
    }
    let bob = issue(&service, "bob", "Codex").await;
    let api = api(&service);
    let mut seen = BTreeSet::new();
    let mut path = "/sessions?account=alice".to_owned();
    loop {
        let page = get(&api, &path).await;
        assert_eq!((page.status, page.header("cache-control")), (StatusCode::OK, "no-store"), "{}", page.text);
        let sessions = page.json["sessions"].as_array().unwrap().clone();
        seen.extend(sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()));
        let Some(next) = page.json["next"].as_str() else { break };
        assert_eq!(sessions.len(), 50);
        path = format!("/sessions?account=alice&after={next}");
    }
    assert_eq!(seen, all);
    let none = get(&api, "/sessions?account=alice&state=ended").await;
    assert_eq!(none.json["sessions"], json!([]));
    let codex = get(&api, "/sessions?account=bob&text=codex&state=active").await;
    assert_eq!(codex.json["sessions"][0]["client"]["name"], "Codex");

    let id = bob.record().session.id.as_str();
    let shown = get(&api, &format!("/sessions/{id}")).await;
    assert_eq!(
        (&shown.json["id"], &shown.json["account"], &shown.json["state"]),
        (&json!(id), &json!("bob"), &json!("active"))
    );
    assert!(!shown.text.contains(bob.access_token()), "{}", shown.text);
    let of = format!("/sessions?authorization={}", bob.record().authorization);
    assert_eq!(get(&api, &of).await.json["sessions"][0]["id"], id);

    let answer = revoke(&api, &json!({ "session": id, "reason": "stolen\nlaptop" })).await;
    assert_eq!(answer.json, json!({ "revoked_sessions": 1, "revoked_approvals": 0 }), "{}", answer.text);
    assert!(!works(&service, &bob).await);
    assert_eq!(reasons(&service), [("revoked", RevokedBy::Service, Some("eve: stolen laptop".into()))]);
    let answer = revoke(&api, &json!({ "account": "alice" })).await;
    assert_eq!(answer.json["revoked_sessions"], 60);
    assert_eq!(reasons(&service).last().unwrap().2.as_deref(), Some("eve"));
    let shown = get(&api, &format!("/sessions/{id}")).await;
    assert_eq!((&shown.json["state"], &shown.json["revoked_by"]), (&json!("revoked"), &json!("service")));
}

#[tokio::test]
async fn g12_the_api_revokes_by_client_and_by_request() {
    let service = Service::new();
    let api = api(&service);
    let ceremony = service.auth.ceremony().unwrap();
    let id = "https://client.example/metadata.json";
    let asked = approved(&service, "alice", by("One").client_id(Some(ClientId::new(id).unwrap()))).await;
    ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap();
    let answer = revoke(&api, &json!({ "account": "alice", "client": id })).await;
    assert_eq!(answer.json["revoked_sessions"], 1, "{}", answer.text);
    let issued = issue(&service, "alice", "Claude").await;
    let answer = revoke(&api, &json!({ "client_of": issued.record().session.id.as_str() })).await;
    assert_eq!(answer.json["revoked_sessions"], 1, "{}", answer.text);
    let waiting = approved(&service, "alice", by("Gemini")).await;
    let answer = revoke(&api, &json!({ "authorization": waiting.authorization.id.as_str() })).await;
    assert_eq!(answer.json["revoked_approvals"], 1, "{}", answer.text);
}

#[tokio::test]
async fn g12_the_api_is_for_those_whom_the_host_lets_in() {
    let service = Service::new();
    let issued = issue(&service, "alice", "Claude").await;
    let api = api(&service);
    let request = || Request::get("/sessions?account=alice");
    let status = async |request: http::request::Builder| {
        let answer = send(&api, request.body(Full::default()).unwrap()).await;
        (answer.status.as_u16(), answer.error().to_owned())
    };
    let is = |status: u16, error: &str| (status, error.to_owned());
    assert_eq!(status(request()).await, is(403, "forbidden"));
    assert_eq!(status(request().header("x-staff", "eve")).await, is(200, ""));
    assert_eq!(status(request().header("x-staff", "down")).await, is(503, "temporarily_unavailable"));
    assert_eq!(status(request().header("x-staff", "panic")).await, is(503, "temporarily_unavailable"));
    assert_eq!(service.audit.names().last(), Some(&"unavailable"));
    // What the host's own login gives to its staff is no agent's.
    let own = request().header("x-staff", "eve").header("authorization", "Bearer of-the-staff-login");
    assert_eq!(status(own).await, is(200, ""));
    for site in ["cross-site", "same-site", "odd"] {
        let foreign = request().header("x-staff", "eve").header("sec-fetch-site", site);
        assert_eq!(status(foreign).await, is(403, "forbidden"), "{site}");
    }
    assert_eq!(status(request().header("x-staff", "eve").header("sec-fetch-site", "same-origin")).await, is(200, ""));
    // Unknown paths tell nothing to those who may not ask.
    assert_eq!(status(Request::get("/nothing")).await, is(403, "forbidden"));
    assert_eq!(status(Request::get("/nothing").header("x-staff", "eve")).await, is(404, "not_found"));
    assert!(works(&service, &issued).await);
}

#[tokio::test]
async fn r83_no_agent_uses_the_admin_api() {
    let service = Service::new();
    let issued = issue(&service, "alice", "Claude").await;
    let decided = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&decided);
    let open = admin(&service).service(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Access::granted_to("anybody"))
    });
    let token = issued.access_token();
    for (name, value) in [("authorization", format!("Bearer {token}")), ("authorization", format!("DPoP {token}"))] {
        let request = Request::get("/sessions?account=alice").header(name, value).body(Full::default()).unwrap();
        let answer = send(&open, request).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::FORBIDDEN, "owner_only"));
    }
    let query = Request::get(format!("/sessions?account=alice&access_token={token}")).body(Full::default()).unwrap();
    assert_eq!(send(&open, query).await.status, StatusCode::FORBIDDEN);
    assert_eq!(decided.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn g12_what_the_api_can_t_read_changes_nothing() {
    let service = Service::new();
    let issued = issue(&service, "alice", "Claude").await;
    let id = issued.record().session.id.as_str();
    let api = api(&service);
    let writes = service.store.writes();
    for body in [
        json!({}),
        json!([]),
        json!({ "reason": "x" }),
        json!({ "session": id, "account": "alice" }),
        json!({ "client": "x" }),
        json!({ "session": "ses_1" }),
        json!({ "session": 1 }),
        json!({ "acount": "alice" }),
        json!({ "account": "" }),
        json!({ "authorization": id }),
        json!({ "client_of": id, "client": "x" }),
        // An unset variable of a script must not make the target wider.
        json!({ "account": "alice", "client": null }),
        json!({ "account": null, "session": id }),
        json!({ "session": id, "reason": null }),
        // By position.
        json!([null, "alice", null, null, null, null]),
        json!([id, null, null, null, null, null]),
    ] {
        let answer = revoke(&api, &body).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_request"), "{body}");
    }
    let staff = |method: Method, path: &str| Request::builder().method(method).uri(path).header("x-staff", "eve");
    let json = json!({ "session": id }).to_string();
    let form = staff(Method::POST, "/revoke").header("content-type", "text/plain").body(Full::from(json)).unwrap();
    assert_eq!(send(&api, form).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = Full::from(" ".repeat(17 * 1024));
    let large = staff(Method::POST, "/revoke").header("content-type", "application/json").body(large).unwrap();
    assert_eq!(send(&api, large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    for (method, path) in [(Method::GET, "/revoke"), (Method::DELETE, "/sessions"), (Method::OPTIONS, "/revoke")] {
        let answer = send(&api, staff(method, path).body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    for path in [
        "/sessions",
        "/sessions?account=a&authorization=b",
        "/sessions?account=a&state=odd",
        "/sessions?account=a&after=x",
    ] {
        assert_eq!(get(&api, path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    let head = staff(Method::HEAD, "/sessions?account=alice").body(Full::default()).unwrap();
    let head = send(&api, head).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(service.store.writes(), writes);
    assert!(works(&service, &issued).await);
}

#[tokio::test]
async fn g12_a_store_that_fails_is_503_and_says_what_may_have_happened() {
    let service = Service::new();
    let issued = issue(&service, "alice", "Claude").await;
    let id = issued.record().session.id.as_str();
    let api = api(&service);
    service.store.break_after(0, Fault::Unavailable);
    let answer = get(&api, "/sessions?account=alice").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));
    // The session is found, and its revocation has no answer.
    service.store.break_after(1, Fault::Unavailable);
    let answer = revoke(&api, &json!({ "session": id })).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.json["message"].as_str().unwrap().contains("may have been revoked"), "{}", answer.text);
    service.store.mend();
    assert_eq!(revoke(&api, &json!({ "session": id })).await.json["revoked_sessions"], 1);
}

#[tokio::test]
async fn g12_a_revocation_that_stops_at_any_call_says_so() {
    let service = Service::new();
    let api = api(&service);
    for fault in [Fault::Unavailable, Fault::Panic] {
        let (mut calls, mut half_done) = (0, false);
        loop {
            issue(&service, "alice", "Claude").await;
            for client in ["Gemini", "Codex"] {
                approved(&service, "alice", by(client)).await;
            }
            service.store.break_after(calls, fault);
            let answer = revoke(&api, &json!({ "account": "alice" })).await;
            service.store.mend();
            if answer.status == StatusCode::OK {
                break;
            }
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
            assert!(answer.headers.contains_key("retry-after"));
            let message = answer.json["message"].as_str().unwrap();
            assert!(message.contains("may have been revoked"), "{fault:?} {calls}: {message}");
            half_done |= admin(&service).uncollected(&testing::account("alice").id).await.unwrap().len() == 1;
            assert_eq!(revoke(&api, &json!({ "account": "alice" })).await.status, StatusCode::OK, "{calls}");
            calls += 1;
        }
        assert!(half_done && calls > 2, "{calls}");
    }
}

#[tokio::test]
async fn g12_the_api_is_served_at_a_path_of_its_own() {
    let service = Service::new();
    issue(&service, "alice", "Claude").await;
    let nested: Router = Router::new().nest_service("/admin/agents", api(&service));
    let request = || Request::get("/admin/agents/sessions?account=alice").header("x-staff", "eve");
    let answer = Answer::read(nested.oneshot(request().body(Body::empty()).unwrap()).await.unwrap()).await;
    assert_eq!(answer.json["sessions"].as_array().unwrap().len(), 1, "{}", answer.text);
    let below = api(&service).below("/admin/agents/");
    let answer = send(&below, request().body(Full::default()).unwrap()).await;
    assert_eq!(answer.json["sessions"].as_array().unwrap().len(), 1, "{}", answer.text);
    assert_eq!(get(&below, "/sessions?account=alice").await.status, StatusCode::NOT_FOUND);
    let listed = admin(&service).sessions(&testing::account("alice").id, &SessionSearch::new(), None).await.unwrap();
    assert_eq!(listed.sessions.len(), 1);
}

#[tokio::test]
async fn g12_what_a_client_has_of_all_accounts_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("sessions.db")).await.unwrap();
    let clock = ManualClock::at(common::START);
    let service = Service::made_of(config().no_limits(), store.clone(), clock.clone(), clock, |builder| builder);
    let ceremony = service.auth.ceremony().unwrap();
    let (bad, good) = (ClientId::new("bad").unwrap(), ClientId::new("good").unwrap());
    let ask = async |account: &str, client: &ClientId| {
        let human = SignedIn::new(testing::account(account), "a browser");
        let asked = ceremony.request(by("Agent").client_id(Some(client.clone()))).await.unwrap();
        let scopes = ceremony.view(&asked.authorization.id, &human).await.unwrap().authorization.requested;
        ceremony.decide(&asked.authorization.id, &human, Decision::Approve(scopes.into())).await.unwrap();
        asked
    };
    let mut sessions = Vec::new();
    // More than are read at a time, with one of the other client among them, and some ended before.
    for number in 0..260 {
        let client = if number == 130 { &good } else { &bad };
        let asked = ask(&format!("account-{}", number % 7), client).await;
        sessions.push(ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap());
    }
    let first = &sessions[0].record.session;
    assert!(ceremony.revoke_session(&first.account.id, &first.id).await.unwrap());
    let (waiting, others) = (ask("alice", &bad).await, ask("alice", &good).await);

    let admin = service.auth.admin().unwrap().because(Reason::new("malware"));
    assert_eq!(counts(admin.revoke_client_everywhere(&store, &bad).await.unwrap()), (258, 1));
    for (number, session) in sessions.iter().enumerate() {
        let live = ceremony.session(session.access_token.expose().as_bytes()).await.unwrap().is_some();
        assert_eq!(live, number == 130, "{number}");
    }
    assert!(ceremony.redeem(waiting.claim_token.expose(), &Redeemer::default()).await.is_err());
    assert!(ceremony.redeem(others.claim_token.expose(), &Redeemer::default()).await.is_ok());
    assert_eq!(counts(admin.revoke_client_everywhere(&store, &bad).await.unwrap()), (0, 0), "again");
    assert_eq!(counts(admin.revoke_client_everywhere(&store, &ClientId::new("x").unwrap()).await.unwrap()), (0, 0));
}

/// A service that stores identities of other issuers.
fn with_identities() -> (Service, MemoryStore) {
    let (identities, clock) = (MemoryStore::new(), ManualClock::at(common::START));
    let store = common::TestStore::default();
    let builder = |builder: tower_agent_auth::AgentAuthBuilder| builder.identities(identities.clone());
    (Service::made_of(config(), store, clock.clone(), clock, builder), identities)
}

#[tokio::test]
async fn an_account_is_exported_and_forgotten_with_its_linked_identities() {
    let (service, _) = with_identities();
    let (alice, bob) = (testing::account("alice"), testing::account("bob"));
    let (issued, other) = (issue(&service, "alice", "Claude").await, issue(&service, "bob", "Claude").await);
    let linked = service.auth.ceremony().unwrap().identities().unwrap();
    for (subject, account) in [("one", &alice), ("two", &alice), ("three", &bob)] {
        linked.link(&ForeignIdentity::new("https://idp.example", subject).unwrap(), account).await.unwrap();
    }
    let api = api(&service);
    let export = get(&api, "/export?account=alice").await;
    assert_eq!((export.status, export.header("cache-control")), (StatusCode::OK, "no-store"));
    assert_eq!(export.json["sessions"][0]["id"], issued.record().session.id.as_str());
    let date = common::START.to_string();
    let one = json!({ "account_label": alice.label, "linked_at": date });
    assert_eq!(export.json["identities"], json!([one, one]));
    let in_code = admin(&service).export(&alice.id).await.unwrap();
    assert_eq!(serde_json::to_value(&in_code).unwrap(), export.json);
    assert!(!export.text.contains("idp.example") && !export.text.contains(issued.access_token()));

    let forget = async |body: Value| {
        let request = Request::post("/forget").header("x-staff", "eve").header("content-type", "application/json");
        send(&api, request.body(Full::from(body.to_string())).unwrap()).await
    };
    for wrong in [
        json!({}),
        json!([]),
        json!({ "reason": "x" }),
        json!({ "account": null }),
        json!({ "account": "" }),
        json!({ "account": "alice", "client": "x" }),
        json!({ "session": issued.record().session.id.as_str() }),
    ] {
        let answer = forget(wrong.clone()).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_request"), "{wrong}");
    }
    assert!(works(&service, &issued).await);
    service.store.break_after(0, Fault::Unavailable);
    let failed = forget(json!({ "account": "alice" })).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(failed.json["message"].as_str().unwrap().contains("may have been revoked"), "{}", failed.text);
    service.store.mend();
    let answer = forget(json!({ "account": "alice", "reason": "asked for it" })).await;
    assert_eq!(answer.json, json!({ "revoked_sessions": 1 }), "{}", answer.text);
    assert!(!works(&service, &issued).await && works(&service, &other).await);
    let empty = get(&api, "/export?account=alice").await;
    for list in ["sessions", "requests", "identities"] {
        assert_eq!(empty.json[list], json!([]), "{list}");
    }
    let one = ForeignIdentity::new("https://idp.example", "one").unwrap();
    let three = ForeignIdentity::new("https://idp.example", "three").unwrap();
    assert_eq!((linked.find(&one).await.unwrap(), linked.find(&three).await.unwrap()), (None, Some(bob)));
    let reason = Some(Reason::new("eve: asked for it"));
    assert!(service.audit.events().contains(&Event::AccountForgotten { account: alice.id, reason }));
    for (method, path, status) in [
        (Method::POST, "/export", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/forget", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/export", StatusCode::BAD_REQUEST),
    ] {
        let request = Request::builder().method(method).uri(path).header("x-staff", "eve");
        assert_eq!(send(&api, request.body(Full::default()).unwrap()).await.status, status, "{path}");
    }
    let denied = send(&api, Request::get("/export?account=bob").body(Full::default()).unwrap()).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_export_has_more_identities_than_are_read_at_a_time() {
    let (service, _) = with_identities();
    let alice = testing::account("alice");
    let linked = service.auth.ceremony().unwrap().identities().unwrap();
    for number in 0..1_001 {
        let identity = ForeignIdentity::new("https://idp.example", &number.to_string()).unwrap();
        linked.link(&identity, &alice).await.unwrap();
    }
    assert_eq!(admin(&service).export(&alice.id).await.unwrap().identities.len(), 1_001);
}
