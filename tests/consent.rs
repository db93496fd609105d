//! What a human is shown before they decide, and what of their decision binds the session.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use http::StatusCode;
use serde_json::{Value, json};
use tower_agent_auth::{
    ConfigBuilder,
    accounts::SignedIn,
    ceremony::{Ceremony, Decision, Login, Request as AccessRequest, Requested, View},
    types::{
        authorization::{Account, State},
        id::{AccountId, AuthorizationRequestId, ClientId},
        phrase::CheckPhrase,
        scope::{Effect, ScopeSet},
        session::Redeemer,
        text::HumanText,
    },
};

mod common;
use common::{Service, config};

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

/// A catalogue in which `pay` is risky, and `manage` gives it.
fn risky() -> ConfigBuilder {
    config().scope("pay", "Pay", |scope| scope.effect(Effect::Spend).caution("Costs money")).scope(
        "manage",
        "Manage everything",
        |scope| scope.implies("pay").effect(Effect::Spend),
    )
}

async fn ask(service: &Service, request: AccessRequest, scopes: &str) -> Requested {
    let scopes = scopes.split(' ').map(str::to_owned).collect();
    ceremony(service).request(request.scopes(scopes)).await.unwrap()
}

async fn view(service: &Service, asked: &Requested, name: &str) -> View {
    ceremony(service).view(&asked.authorization.id, &human(name)).await.unwrap()
}

/// Approves all that is asked for, and collects it.
async fn let_in(service: &Service, asked: &Requested, name: &str) {
    let id = &asked.authorization.id;
    view(service, asked, name).await;
    let decision = Decision::Approve(asked.authorization.requested.clone());
    ceremony(service).decide(id, &human(name), decision).await.unwrap();
    ceremony(service).redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap();
}

#[tokio::test]
async fn risky_scopes_are_not_proposed_when_an_account_meets_a_client() {
    let service = Service::with(risky());
    let by = |name: &str| AccessRequest::by(text(name));
    let proposed = async |request: AccessRequest, scopes: &str, name: &str| {
        let asked = ask(&service, request, scopes).await;
        view(&service, &asked, name).await.proposed().to_string()
    };
    let all = "manage pay projects:read";
    assert_eq!(proposed(by("Claude Code"), all, "ada").await, "projects:read");
    assert_eq!(proposed(by("Claude Code"), "manage pay", "ada").await, "", "the human has to choose");
    assert_eq!(
        proposed(by("Claude Code"), "projects:read projects:write", "ada").await,
        "projects:read projects:write"
    );

    let first = ask(&service, by("Claude Code"), "projects:read").await;
    let_in(&service, &first, "ada").await;
    assert_eq!(view(&service, &first, "ada").await.proposed().to_string(), "", "there is nothing left to tick");
    assert_eq!(proposed(by("Claude Code"), all, "ada").await, all);
    assert_eq!(proposed(by("Claude Code"), all, "bob").await, "projects:read", "it is the other account's first");
    assert_eq!(proposed(by("Claude"), all, "ada").await, "projects:read");
    let kind = by("Claude Code").kind(Some(text("cli")), None);
    assert_eq!(proposed(kind, all, "ada").await, "projects:read");
}

#[tokio::test]
async fn a_client_with_an_id_is_known_by_its_id_alone() {
    let service = Service::with(risky());
    let by = |id: &str| AccessRequest::by(text("Agent")).client_id(Some(ClientId::new(id).unwrap()));
    let_in(&service, &ask(&service, by("one"), "projects:read").await, "ada").await;
    let proposed = async |request: AccessRequest| {
        let asked = ask(&service, request, "pay projects:read").await;
        view(&service, &asked, "ada").await.proposed().to_string()
    };
    assert_eq!(proposed(by("one")).await, "pay projects:read");
    assert_eq!(proposed(by("other")).await, "projects:read", "of the same name");
    assert_eq!(proposed(AccessRequest::by(text("Agent"))).await, "projects:read", "of the same name");
    let renamed = AccessRequest::by(text("Renamed")).client_id(Some(ClientId::new("one").unwrap()));
    assert_eq!(proposed(renamed).await, "pay projects:read");
}

#[tokio::test]
async fn a_scope_that_the_catalogue_has_no_more_is_not_proposed() {
    let service = Service::with(risky());
    let asked = ask(&service, AccessRequest::by(text("Agent")), "pay projects:read").await;
    let later = service.again(config());
    assert_eq!(view(&later, &asked, "ada").await.proposed().to_string(), "projects:read");
    assert_eq!(asked.authorization.requested, ScopeSet::parse("pay projects:read").unwrap());
}

fn phrase_of(id: &Value) -> String {
    CheckPhrase::of(&AuthorizationRequestId::parse(id.as_str().unwrap()).unwrap()).to_string()
}

#[tokio::test]
async fn every_start_answer_has_the_phrase_that_the_page_shows() {
    let service = Service::with(config());
    let registered = service.post("/agent/auth", &json!({ "type": "user_claimed" })).await.json;
    assert_eq!(registered["check_phrase"], phrase_of(&registered["registration_id"]));
    let id = AuthorizationRequestId::parse(registered["registration_id"].as_str().unwrap()).unwrap();
    let seen = ceremony(&service).view(&id, &human("ada")).await.unwrap();
    assert_eq!(registered["check_phrase"], seen.check_phrase().as_str());

    let start = |mode: &str| json!({ "mode": mode, "client_type": "cli", "scopes": ["projects:read"] });
    let mut interactive = start("interactive");
    interactive["callback_url"] = json!("http://127.0.0.1:4711/callback");
    interactive["code_challenge"] = json!("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    for body in [interactive, start("detached"), start("finish_code")] {
        let started = service.post("/agent-sessions/start", &body).await;
        assert_eq!(started.status, StatusCode::CREATED, "{}", started.text);
        assert_eq!(started.json["check_phrase"], phrase_of(&started.json["auth_request_id"]), "{body}");
    }
    let login = ceremony(&service).request_login(AccessRequest::by(text("Agent")), Login::Detached).await.unwrap();
    assert_eq!(login.check_phrase(), CheckPhrase::of(&login.authorization.id));

    let chapters = service.get("/auth.md").await.text;
    assert_eq!(chapters.matches("`check_phrase`").count(), 3, "two in the steps, one in the other dialect");
    assert_eq!(chapters.matches("the page shows the same").count(), 2);
    let pending = ceremony(&service).status(registered["claim_token"].as_str().unwrap()).await.unwrap();
    assert_eq!(pending.state, State::Pending);
}
