//! What a human sees, ends and takes away of an account with many sessions.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;
use tower_agent_auth::{
    accounts::SignedIn,
    audit::Event,
    ceremony::{Approve, Ceremony, Decision, Issued, Request as AccessRequest, Requested, SessionSearch},
    store::{AuthorizationKey, AuthorizationStore},
    types::{
        authorization::Account,
        id::{AccountId, ClientId, SessionId},
        session::{Redeemer, RevokedBy},
        text::HumanText,
    },
};

mod common;
use common::{Fault, SECOND, Service, config};

fn text(text: &str) -> HumanText {
    HumanText::new(text).unwrap()
}

fn human(name: &str) -> SignedIn {
    let account = Account::new(AccountId::new(&format!("acct_{name}")).unwrap(), format!("{name}@example.com"));
    SignedIn::new(account, format!("the browser of {name}"))
}

fn ceremony(service: &Service) -> &Ceremony {
    service.auth.ceremony().unwrap()
}

fn by(name: &str) -> AccessRequest {
    AccessRequest::by(text(name))
}

async fn approve(service: &Service, human: &SignedIn, request: AccessRequest) -> Requested {
    let asked = ceremony(service).request(request).await.unwrap();
    let id = &asked.authorization.id;
    let scopes = ceremony(service).view(id, human).await.unwrap().authorization.requested;
    ceremony(service).decide(id, human, Decision::Approve(Approve::scopes(scopes))).await.unwrap();
    asked
}

async fn issue(service: &Service, human: &SignedIn, request: AccessRequest) -> Issued {
    let asked = approve(service, human, request).await;
    ceremony(service).redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap()
}

fn ids(sessions: &[tower_agent_auth::types::session::SessionRecord]) -> Vec<SessionId> {
    sessions.iter().map(|record| record.session.id.clone()).collect()
}

/// All pages of a search.
async fn search(service: &Service, human: &SignedIn, search: &SessionSearch) -> Vec<SessionId> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = ceremony(service).search_sessions(&human.account().id, search, after.as_ref()).await.unwrap();
        all.extend(ids(&page.sessions));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn r87_five_hundred_sessions_are_searched_counted_and_paged() {
    let service = Service::with(config().no_limits());
    let (ada, bob) = (human("ada"), human("bob"));
    let names = ["Claude Code", "codex", "Gemini CLI", "Übersetzer", "agent 5"];
    let mut oldest_first = Vec::new();
    for index in 0..500 {
        service.clock.advance(SECOND);
        oldest_first.push(issue(&service, &ada, by(names[index % 5])).await.record.session.id.clone());
    }
    let others = issue(&service, &bob, by("Claude Code")).await;
    let account = &ada.account().id;
    let ended: Vec<SessionId> = oldest_first.iter().step_by(4).cloned().collect();
    assert_eq!(ceremony(&service).revoke_sessions(account, &ended).await.unwrap(), 125);
    let newest_first: Vec<SessionId> = oldest_first.iter().rev().cloned().collect();
    let is_ended = |id: &&SessionId| ended.contains(id);

    let began = Instant::now();
    let counts = ceremony(&service).count_sessions(account).await.unwrap();
    assert_eq!((counts.active, counts.ended, counts.more), (375, 125, false));
    assert_eq!(search(&service, &ada, &SessionSearch::new()).await, newest_first);
    let active: Vec<SessionId> = newest_first.iter().filter(|id| !is_ended(id)).cloned().collect();
    assert_eq!(search(&service, &ada, &SessionSearch::new().active(true)).await, active);
    let over: Vec<SessionId> = newest_first.iter().filter(is_ended).cloned().collect();
    assert_eq!(search(&service, &ada, &SessionSearch::new().active(false)).await, over);
    for (typed, found) in
        [("claude", 100), (" CODE", 200), ("übers", 100), ("u\u{308}BERS", 100), ("nobody", 0), (" ", 500)]
    {
        assert_eq!(search(&service, &ada, &SessionSearch::new().text(typed)).await.len(), found, "{typed:?}");
    }
    let both = SessionSearch::new().active(false).text("gemini");
    assert_eq!(search(&service, &ada, &both).await.len(), 25);
    eprintln!("ten searches and a count of 500 sessions: {:?}", began.elapsed());

    // A page keeps its place when newer sessions come.
    let page = ceremony(&service).search_sessions(account, &SessionSearch::new().active(true), None).await.unwrap();
    assert_eq!(page.sessions.len(), 50);
    issue(&service, &ada, by("new")).await;
    let next = page.next.as_ref();
    let second = ceremony(&service).search_sessions(account, &SessionSearch::new().active(true), next).await.unwrap();
    assert_eq!(ids(&second.sessions), active[50..100]);

    assert!(search(&service, &bob, &SessionSearch::new()).await == [others.record.session.id.clone()]);
    ceremony(&service).rename_session(account, &oldest_first[1], Some(&text("The bakery"))).await.unwrap();
    assert_eq!(search(&service, &ada, &SessionSearch::new().text("BAKERY")).await, [oldest_first[1].clone()]);
}

#[tokio::test]
async fn r81_a_chosen_set_and_all_of_one_client_end() {
    let service = Service::new();
    let (ada, bob) = (human("ada"), human("bob"));
    let account = &ada.account().id;
    let (one, two) = (issue(&service, &ada, by("Claude")).await, issue(&service, &ada, by("Claude")).await);
    let cli = issue(&service, &ada, by("Claude").kind(Some(text("cli")), None)).await;
    let client = |id: &str| by("Claude").client_id(Some(ClientId::new(id).unwrap()));
    let (oauth, other) = (issue(&service, &ada, client("a")).await, issue(&service, &ada, client("b")).await);
    let bobs = issue(&service, &bob, by("Claude")).await;
    let (waiting, others) = (approve(&service, &ada, by("Claude")).await, approve(&service, &ada, by("Codex")).await);
    let is_live = async |issued: &Issued| {
        ceremony(&service).session(issued.access_token.expose().as_bytes()).await.unwrap().is_some()
    };
    let id = |issued: &Issued| issued.record.session.id.clone();

    assert_eq!(ceremony(&service).revoke_client(&bob.account().id, &id(&one)).await.unwrap(), 0, "not his");
    assert!(is_live(&one).await);
    assert_eq!(ceremony(&service).revoke_client(account, &id(&one)).await.unwrap(), 2);
    assert!(!is_live(&one).await && !is_live(&two).await);
    for stays in [&cli, &oauth, &other, &bobs] {
        assert!(is_live(stays).await);
    }
    let uncollected = ceremony(&service).uncollected(account).await.unwrap();
    assert_eq!(uncollected.iter().map(|request| &request.id).collect::<Vec<_>>(), [&others.authorization.id]);
    assert!(ceremony(&service).redeem(waiting.claim_token.expose(), &Redeemer::default()).await.is_err());
    assert_eq!(ceremony(&service).revoke_client(account, &id(&oauth)).await.unwrap(), 1);
    assert!(!is_live(&oauth).await && is_live(&other).await);

    let chosen = [id(&cli), id(&bobs), id(&one), id(&cli)];
    assert_eq!(ceremony(&service).revoke_sessions(account, &chosen).await.unwrap(), 1);
    assert!(!is_live(&cli).await && is_live(&bobs).await && is_live(&other).await);
}

#[tokio::test]
async fn an_export_has_everything_of_the_account_and_no_secret() {
    let service = Service::with(config().lifetimes(|lifetimes| lifetimes.choices = vec![Duration::from_secs(3_600)]));
    let (ada, bob) = (human("ada"), human("bob"));
    let request = by("Claude Code").label(Some(text("laptop"))).reason(Some(text("Weekly report")));
    let issued = issue(&service, &ada, request.address(Some("192.0.2.7".parse().unwrap()))).await;
    let waiting = approve(&service, &ada, by("Codex")).await;
    let pending = ceremony(&service).request(by("Gemini")).await.unwrap();
    ceremony(&service).view(&pending.authorization.id, &ada).await.unwrap();
    issue(&service, &bob, by("Bob’s own")).await;
    let account = &ada.account().id;
    ceremony(&service).rename_session(account, &issued.record.session.id, Some(&text("bakery"))).await.unwrap();

    let export = ceremony(&service).export(account).await.unwrap();
    let json: Value = serde_json::to_value(&export).unwrap();
    let session = &json["sessions"][0];
    assert_eq!(json["sessions"].as_array().unwrap().len(), 1);
    assert_eq!((&json["account"], &json["service"]), (&"acct_ada".into(), &"Example Analytics".into()));
    assert_eq!(json["exported_at"], "2026-11-24T01:10:00Z");
    for (field, value) in [
        ("id", issued.record.session.id.as_str()),
        ("state", "active"),
        ("name", "bakery"),
        ("account_label", "ada@example.com"),
        ("lasts_until", "2026-11-24T02:10:00Z"),
    ] {
        assert_eq!(session[field], value, "{field}");
    }
    assert_eq!(session["client"]["reason"], "Weekly report");
    assert_eq!(session["client"]["address"], "192.0.2.7");
    let states: BTreeSet<(&str, &str)> = json["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (request["client"]["name"].as_str().unwrap(), request["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("Claude Code", "redeemed"), ("Codex", "approved"), ("Gemini", "pending")].into());
    let text = json.to_string();
    for secret in [
        issued.access_token.expose(),
        issued.refresh_token.expose(),
        waiting.claim_token.expose(),
        pending.claim_token.expose(),
        "Bob",
        "digest",
    ] {
        assert!(!text.contains(secret), "{text}");
    }
    let digest = issued.access_token.digest();
    let hex = data_encoding::HEXLOWER.encode(digest.as_bytes());
    assert!(!text.contains(&hex) && !text.contains(&data_encoding::BASE64.encode(digest.as_bytes())));
    let empty = ceremony(&service).export(&AccountId::new("acct_carol").unwrap()).await.unwrap();
    assert!(empty.sessions.is_empty() && empty.requests.is_empty());
}

#[tokio::test]
async fn r82_an_account_is_forgotten_whole() {
    let service = Service::new();
    let (ada, bob) = (human("ada"), human("bob"));
    let (live, other) = (issue(&service, &ada, by("Claude")).await, issue(&service, &bob, by("Claude")).await);
    let waiting = approve(&service, &ada, by("Codex")).await;
    let account = &ada.account().id;

    service.store.break_after(0, Fault::Unavailable);
    assert!(ceremony(&service).forget_account(account).await.unwrap_err().may_have_changed());
    service.store.mend();
    assert_eq!(ceremony(&service).forget_account(account).await.unwrap(), 1);
    assert!(ceremony(&service).session(live.access_token.expose().as_bytes()).await.unwrap().is_none());
    assert!(ceremony(&service).session(other.access_token.expose().as_bytes()).await.unwrap().is_some());
    assert!(ceremony(&service).redeem(waiting.claim_token.expose(), &Redeemer::default()).await.is_err());
    let export = ceremony(&service).export(account).await.unwrap();
    assert!(export.sessions.is_empty() && export.requests.is_empty());
    let key = AuthorizationKey::Id(live.record.authorization.clone());
    assert!(service.store.find_authorization(&key).await.unwrap().is_none());
    let events = service.audit.events();
    let revoked = Event::Revoked {
        session: live.record.session.id.clone(),
        account: Some(account.clone()),
        client: Some(text("Claude")),
        client_id: None,
        by: RevokedBy::Service,
        reason: None,
    };
    let forgotten = Event::AccountForgotten { account: account.clone(), reason: None };
    assert!(events.contains(&revoked) && events.contains(&forgotten));
    assert_eq!(ceremony(&service).forget_account(account).await.unwrap(), 0, "again, nothing is left");
}
