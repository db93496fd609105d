//! What a human is shown before they decide, and what of their decision binds the session.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_agent_auth::{
    ConfigBuilder,
    accounts::SignedIn,
    audit::Event,
    ceremony::{
        Approve, Approver, Attempt, Ceremony, CeremonyError, CodeGrant, CodeRedemption, Decided, Decision, HandedOut,
        Issued, Login, Refreshing, Request as AccessRequest, Requested, View, Warning,
    },
    types::{
        authorization::{Account, State},
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId},
        phrase::CheckPhrase,
        pkce::CodeChallenge,
        redirect_uri::{RedirectUri, Schemes},
        scope::{Effect, ScopeSet},
        session::Redeemer,
        text::HumanText,
    },
};

mod common;
use common::{
    START, Service, bearer, browse, config,
    oauth::{REDIRECT, VERIFIER, challenge, oauth},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

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
    let decision = Decision::Approve(asked.authorization.requested.clone().into());
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
    assert_eq!(proposed(by("Claude Code"), all, "ada").await, "projects:read", "less says nothing of more");
    let more = ask(&service, by("Claude Code"), all).await;
    let_in(&service, &more, "ada").await;
    assert_eq!(proposed(by("Claude Code"), all, "ada").await, all);
    assert_eq!(proposed(by("Claude Code"), all, "bob").await, "projects:read", "it is the other account's first");
    assert_eq!(proposed(by("Claude"), all, "ada").await, "projects:read");
    let kind = by("Claude Code").kind(Some(text("cli")), None);
    assert_eq!(proposed(kind, all, "ada").await, "projects:read");
    // What the human has taken away is not ticked again.
    ceremony(&service).revoke_all(&human("ada").account().id).await.unwrap();
    assert_eq!(proposed(by("Claude Code"), all, "ada").await, "projects:read");
}

#[tokio::test]
async fn a_client_with_an_id_is_known_by_its_id_alone() {
    let service = Service::with(risky());
    let by = |id: &str| AccessRequest::by(text("Agent")).client_id(Some(ClientId::new(id).unwrap()));
    let_in(&service, &ask(&service, by("one"), "pay projects:read").await, "ada").await;
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

#[tokio::test]
async fn a_reason_is_kept_with_the_request_and_the_session() {
    let service = Service::with(config());
    let reason = "Weekly report for the bakery";
    let registered = service.post("/agent/auth", &json!({ "type": "user_claimed", "reason": reason })).await.json;
    let id = AuthorizationRequestId::parse(registered["registration_id"].as_str().unwrap()).unwrap();
    let seen = ceremony(&service).view(&id, &human("ada")).await.unwrap();
    assert_eq!(seen.authorization.client.reason, Some(text(reason)));
    assert_eq!(seen.warnings, []);
    let decision = Decision::Approve(seen.authorization.requested.into());
    ceremony(&service).decide(&id, &human("ada"), decision).await.unwrap();
    let token = registered["claim_token"].as_str().unwrap();
    let issued = ceremony(&service).redeem(token, &Redeemer::default()).await.unwrap();
    let listed = ceremony(&service).sessions(&human("ada").account().id, None).await.unwrap();
    assert_eq!(listed.sessions[0].client.reason, Some(text(reason)));
    assert_eq!(issued.record, listed.sessions[0]);

    let start = json!({ "mode": "detached", "client_type": "cli", "scopes": ["projects:read"], "reason": reason });
    let started = service.post("/agent-sessions/start", &start).await.json;
    let id = AuthorizationRequestId::parse(started["auth_request_id"].as_str().unwrap()).unwrap();
    let seen = ceremony(&service).view(&id, &human("ada")).await.unwrap();
    assert_eq!(seen.authorization.client.reason, Some(text(reason)));

    for (reason, warning) in [
        ("Paid by \u{0421}laude", Warning::DeceptiveName),
        ("\u{2705} Verified by Example Analytics", Warning::OfficialName),
    ] {
        let asked = ask(&service, AccessRequest::by(text("Agent")).reason(Some(text(reason))), "projects:read").await;
        let warnings = view(&service, &asked, "ada").await.warnings;
        assert!(warnings.contains(&warning), "{reason}: {warnings:?}");
    }
}

fn choosing() -> ConfigBuilder {
    config().lifetimes(|lifetimes| {
        lifetimes.choices = vec![MINUTE, HOUR, 20 * DAY];
        lifetimes.proposed = Some(HOUR);
    })
}

/// Approves a new request for this time, and returns the decision.
async fn decide(service: &Service, asked: &Requested, lasting: Option<Duration>) -> Result<Decided, CeremonyError> {
    let mut approve = Approve::scopes(asked.authorization.requested.clone());
    approve.lasting = lasting;
    ceremony(service).decide(&asked.authorization.id, &human("ada"), Decision::Approve(approve)).await
}

async fn asked(service: &Service) -> Requested {
    let asked = ask(service, AccessRequest::by(text("Agent")), "projects:read").await;
    view(service, &asked, "ada").await;
    asked
}

#[tokio::test]
async fn only_a_length_that_is_offered_can_be_chosen() {
    let service = Service::with(choosing());
    let one = asked(&service).await;
    let seen = view(&service, &one, "ada").await;
    assert_eq!((seen.choices(), seen.proposed_choice()), (&[MINUTE, HOUR, 20 * DAY][..], Some(HOUR)));
    let odd = [Duration::ZERO, MINUTE + Duration::from_nanos(1), 90 * DAY, Duration::MAX];
    for lasting in odd {
        let refused = decide(&service, &one, Some(lasting)).await.unwrap_err();
        assert!(matches!(refused, CeremonyError::NoSuchChoice), "{lasting:?}");
        assert_eq!(view(&service, &one, "ada").await.state, State::Pending);
    }
    // Without a choice, the proposed one is taken.
    let decided = decide(&service, &one, None).await.unwrap();
    assert_eq!(decided.authorization.lasting, Some(HOUR));
    assert_eq!(view(&service, &one, "ada").await.authorization.lasting, Some(HOUR));
    let chosen = |event: &Event| matches!(event, Event::Approved { lasting: Some(HOUR), .. });
    assert!(service.audit.events().iter().any(chosen));

    let without = service.again(config());
    let two = asked(&without).await;
    let seen = view(&without, &two, "ada").await;
    assert_eq!((seen.choices(), seen.proposed_choice()), (&[][..], None));
    assert!(matches!(decide(&without, &two, Some(HOUR)).await, Err(CeremonyError::NoSuchChoice)));
    assert_eq!(decide(&without, &two, None).await.unwrap().authorization.lasting, None);
    let issued = ceremony(&without).redeem(two.claim_token.expose(), &Redeemer::default()).await.unwrap();
    assert_eq!((issued.record.lasts_until, issued.record.refresh_expires_at), (None, START.after(30 * DAY)));
}

#[tokio::test]
async fn a1_the_first_choice_stands() {
    let service = Service::with(choosing());
    let asked = asked(&service).await;
    decide(&service, &asked, Some(MINUTE)).await.unwrap();
    assert!(matches!(decide(&service, &asked, Some(HOUR)).await, Err(CeremonyError::AlreadyDecided)));
    for again in [Some(MINUTE), None] {
        assert_eq!(decide(&service, &asked, again).await.unwrap().authorization.lasting, Some(MINUTE), "{again:?}");
    }
    ceremony(&service).redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap();
    assert!(matches!(decide(&service, &asked, Some(HOUR)).await, Err(CeremonyError::AlreadyDecided)));
    assert!(decide(&service, &asked, Some(MINUTE)).await.is_ok());
}

#[derive(Clone, Copy, Debug)]
enum Flow {
    Claim,
    Browser,
    Detached,
    FinishCode,
    Code,
    Device,
}

/// A session that is issued by this flow, and whose human chose this time.
async fn issue(service: &Service, flow: Flow, lasting: Duration) -> Issued {
    let (ceremony, ada) = (ceremony(service), human("ada"));
    let client = ClientId::new("client").unwrap();
    let by = || AccessRequest::by(text("Agent")).scopes(vec!["projects:read".into()]);
    let decide = async |id: &AuthorizationRequestId| {
        let approver = Approver::with_secret(&ada, "a secret of the browser");
        let scopes = ceremony.view(id, approver).await.unwrap().authorization.requested;
        let decision = Decision::Approve(Approve::scopes(scopes).lasting(lasting));
        match ceremony.decide(id, approver, decision).await.unwrap().code {
            Some(HandedOut::Exchange(code)) => code.expose().to_owned(),
            Some(HandedOut::Finish(code)) => code.expose().to_owned(),
            _ => String::new(),
        }
    };
    let login = async |login: Login| {
        let started = ceremony.request_login(by(), login).await.unwrap();
        let (id, poll_token) = (&started.authorization.id, started.poll_token.expose());
        let mut code = decide(id).await;
        if let Some(polled) = ceremony.login_status(id.as_str(), poll_token).await.unwrap().exchange_code {
            code = polled.expose().to_owned();
        }
        let mut attempt = Attempt::new(id.as_str(), &code);
        attempt.poll_token = Some(poll_token);
        attempt.verifier = Some(VERIFIER).filter(|_| matches!(flow, Flow::Browser));
        ceremony.redeem_login(&attempt).await.unwrap()
    };
    match flow {
        Flow::Claim => {
            let asked = ceremony.request(by()).await.unwrap();
            decide(&asked.authorization.id).await;
            ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap()
        }
        Flow::Browser => {
            let (callback, challenge) = ("http://127.0.0.1:4711/".to_owned(), challenge(VERIFIER));
            login(Login::Browser { callback, state: None, challenge }).await
        }
        Flow::Detached => login(Login::Detached).await,
        Flow::FinishCode => login(Login::FinishCode).await,
        Flow::Code => {
            let (redirect, challenge) = (RedirectUri::parse(REDIRECT, Schemes::Web), challenge(VERIFIER));
            let grant = CodeGrant::new(redirect.unwrap(), None, CodeChallenge::parse(&challenge).unwrap());
            let asked = ceremony.request_code(by().client_id(Some(client.clone())), grant, &ada).await.unwrap();
            let code = decide(&asked.id).await;
            let redemption = CodeRedemption::new(&code, &client, VERIFIER);
            ceremony.redeem_code(&redemption, &Redeemer::default()).await.unwrap()
        }
        Flow::Device => {
            let asked = ceremony.request_device(by().client_id(Some(client.clone()))).await.unwrap();
            decide(&asked.authorization.id).await;
            ceremony.redeem_device(asked.device_code.expose(), &client, None, &Redeemer::default()).await.unwrap()
        }
    }
}

#[tokio::test]
async fn r13_no_token_outlives_what_the_human_chose_however_often_it_is_refreshed() {
    for flow in [Flow::Claim, Flow::Browser, Flow::Detached, Flow::FinishCode, Flow::Code, Flow::Device] {
        let service = Service::with(oauth().lifetimes(|lifetimes| {
            (lifetimes.access, lifetimes.refresh, lifetimes.session) = (HOUR, 10 * DAY, 90 * DAY);
            lifetimes.choices = vec![MINUTE, HOUR, 25 * DAY];
        }));
        let short = issue(&service, flow, MINUTE).await;
        let ends = |issued: &Issued| (issued.record.session.expires_at, issued.record.refresh_expires_at);
        let minute = START.after(MINUTE);
        assert_eq!((ends(&short), short.record.lasts_until), ((minute, minute), Some(minute)), "{flow:?}");

        let mut issued = issue(&service, flow, 25 * DAY).await;
        let last = START.after(25 * DAY);
        assert_eq!(ends(&issued), (START.after(HOUR), START.after(10 * DAY)), "{flow:?}");
        let refresh = async |issued: &Issued| {
            let mut asked = Refreshing::new(issued.refresh_token.expose());
            asked.client = issued.record.client.id.as_ref();
            ceremony(&service).refresh(&asked).await
        };
        for (days, access, refreshable) in [
            (9, START.after(9 * DAY + HOUR), START.after(19 * DAY)),
            (18, START.after(18 * DAY + HOUR), last),
            (24, START.after(24 * DAY + HOUR), last),
        ] {
            set(&service, START.after(days * DAY));
            issued = refresh(&issued).await.unwrap();
            assert_eq!(ends(&issued), (access, refreshable), "{flow:?}");
        }
        let almost = START.after(25 * DAY - Duration::from_secs(1));
        set(&service, almost);
        issued = refresh(&issued).await.unwrap();
        assert_eq!((ends(&issued), issued.record.lasts_until), ((last, last), Some(last)), "{flow:?}");
        let token = issued.access_token.expose().to_owned();
        assert!(ceremony(&service).session(token.as_bytes()).await.unwrap().is_some());
        set(&service, last);
        assert!(ceremony(&service).session(token.as_bytes()).await.unwrap().is_none(), "{flow:?}");
        assert!(matches!(refresh(&issued).await, Err(CeremonyError::InvalidRefresh)), "{flow:?}");
    }
}

/// Lets time pass until this instant.
fn set(service: &Service, at: Timestamp) {
    service.clock.advance(at.since(service.auth.ceremony().unwrap().now()));
}

#[tokio::test]
async fn r13_the_configuration_may_end_a_session_before_its_human_chose() {
    let service = Service::with(choosing());
    let issued = issue(&service, Flow::Detached, 20 * DAY).await;
    // A day later the operator shortens all sessions.
    let later = service.again(choosing().lifetimes(|lifetimes| {
        (lifetimes.refresh, lifetimes.session, lifetimes.choices) = (2 * DAY, 3 * DAY, vec![HOUR]);
    }));
    service.clock.advance(DAY + HOUR);
    let refreshed = ceremony(&later).refresh(&Refreshing::new(issued.refresh_token.expose())).await.unwrap();
    assert_eq!(refreshed.record.refresh_expires_at, START.after(3 * DAY));
    assert_eq!(refreshed.record.lasts_until, Some(START.after(20 * DAY)));
}

#[tokio::test]
async fn a_choice_that_is_offered_no_more_still_bounds_what_was_approved() {
    let service = Service::with(choosing());
    let asked = asked(&service).await;
    decide(&service, &asked, Some(MINUTE)).await.unwrap();
    let later = service.again(config());
    let issued = ceremony(&later).redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap();
    assert_eq!(issued.record.refresh_expires_at, START.after(MINUTE));
}

#[tokio::test]
async fn r90_a_human_names_their_own_sessions_and_agents_do_not_see_it() {
    let service = Service::with(config());
    let issued = issue_default(&service).await;
    let (id, ada, bob) = (&issued.record.session.id, human("ada"), human("bob"));
    let (name, other) = (text("The bakery’s"), text("Mine"));
    let rename =
        async |human: &SignedIn, name| ceremony(&service).rename_session(&human.account().id, id, name).await.unwrap();
    assert!(rename(&ada, Some(&name)).await);
    assert!(!rename(&bob, Some(&other)).await);
    let listed = ceremony(&service).sessions(&ada.account().id, None).await.unwrap();
    assert_eq!(listed.sessions[0].name.as_ref(), Some(&name));
    let renamed: Vec<Event> = service.audit.events();
    let renamed = renamed.iter().filter(|event| matches!(event, Event::Renamed { .. })).count();
    assert_eq!(renamed, 1, "a name that was not given is no event");

    let seen = service.send(browse("ada", "/account/agent-sessions")).await;
    assert_eq!(seen.json["sessions"][0]["name"], name.as_str(), "{}", seen.text);
    let own = bearer(Method::GET, "/account/agent-sessions", issued.access_token.expose());
    let own = service.send(own).await;
    assert_eq!(own.json["sessions"][0]["id"], id.as_str());
    assert!(own.json["sessions"][0].get("name").is_none() && !own.text.contains("bakery"), "{}", own.text);

    assert!(rename(&ada, None).await);
    let seen = service.send(browse("ada", "/account/agent-sessions")).await;
    assert_eq!(seen.json["sessions"][0]["name"], Value::Null);
}

/// A session of a service that offers no choice.
async fn issue_default(service: &Service) -> Issued {
    let asked = asked(service).await;
    decide(service, &asked, None).await.unwrap();
    ceremony(service).redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap()
}
