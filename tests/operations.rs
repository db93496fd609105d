//! What operators switch on: the record of each call, the last uses of a service that only checks tokens, and events with
//! all that other systems need.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{body::Body, extract::MatchedPath};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;
use tower::{Layer, ServiceExt, service_fn};
use tower_agent_auth::{
    AgentAuth,
    accounts::SignedIn,
    audit::{Event, Reason},
    ceremony::{Decision, Request as AccessRequest},
    guard::{Call, CallOutcome, CallRule, CallSink, Refusal},
    mcp::Operations,
    store::{MemoryStore, SessionRecordStore},
    testing::{self, TestAccounts},
    types::{
        clock::{ManualClock, Timestamp},
        id::ClientId,
        session::{Redeemer, RevokedBy},
        text::HumanText,
    },
};

mod common;
use common::{Audit, Fault, Service, TestStore, bearer, browse, config};

/// What a sink got of one call.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Kept {
    session: Option<String>,
    account: Option<String>,
    client: Option<String>,
    granted: Option<String>,
    rule: String,
    outcome: &'static str,
    resource: String,
    method: Method,
    path: Option<String>,
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Kept>>>);

impl Calls {
    fn take(&self) -> Vec<Kept> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl CallSink for Calls {
    fn record(&self, at: Timestamp, call: &Call<'_>) {
        assert!(at >= common::START);
        let rule = match call.rule {
            CallRule::AllOf(scopes) => format!("all of {scopes}"),
            CallRule::AnyOf(scopes) => format!("any of {scopes}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(Kept {
            session: call.session.map(ToString::to_string),
            account: call.account.map(|account| account.id.to_string()),
            client: call.client.map(ToString::to_string),
            granted: call.granted.map(ToString::to_string),
            rule,
            outcome: call.outcome.as_str(),
            resource: call.resource.to_owned(),
            method: call.method.clone(),
            path: call.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()),
        });
    }
}

fn audited() -> (Service, Calls) {
    let calls = Calls::default();
    let (clock, sink) = (ManualClock::at(common::START), calls.clone());
    let store = TestStore::default();
    let service = Service::made_of(config(), store, clock.clone(), clock, |builder| builder.audit_calls(sink));
    (service, calls)
}

/// Each outcome once, whether the store answers at once or has to be waited for.
#[tokio::test]
async fn r131_each_call_is_recorded_once_with_its_caller_its_rule_and_its_outcome() {
    let (service, calls) = audited();
    let token = service.token(&["projects:read"]).await;
    let sessions = service.auth.ceremony().unwrap().sessions(&common::account("ada").id, None).await.unwrap().sessions;
    let id = sessions[0].session.id.to_string();
    assert_eq!(calls.take(), [], "the ceremony's own endpoints are no calls");
    let none = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let with = |path: &str| bearer(Method::GET, path, &token);
    let twice = || {
        let mut request = bearer(Method::GET, "/projects", &token);
        request.headers_mut().append("authorization", "Bearer x".parse().unwrap());
        request
    };
    for waits in [false, true] {
        if waits {
            service.store.wait();
        }
        // The request, whether its session is known, the rule and the outcome.
        let all = |scopes: &str| format!("all of {scopes}");
        for (request, agent, rule, outcome) in [
            (with("/projects"), true, all("projects:read"), "forwarded"),
            (bearer(Method::DELETE, "/projects", &token), true, all("projects:read"), "forwarded"),
            (with("/write"), true, all("projects:write"), "insufficient_scope"),
            (with("/any"), true, "any of analytics:read projects:read".into(), "forwarded"),
            (with("/optional"), true, "Optional".into(), "forwarded"),
            (with("/billing"), true, "OwnerOnly".into(), "owner_only"),
            (none("/optional"), false, "Optional".into(), "forwarded"),
            (none("/projects"), false, all("projects:read"), "no_credentials"),
            (none("/billing"), false, "OwnerOnly".into(), "no_credentials"),
            (bearer(Method::GET, "/projects", "aas_nonsense"), false, all("projects:read"), "invalid_token"),
            (twice(), false, all("projects:read"), "invalid_request"),
            (bearer(Method::TRACE, "/projects", &token), false, all("projects:read"), "method"),
        ] {
            let (path, method) = (request.uri().path().to_owned(), request.method().clone());
            service.send(request).await;
            let [kept] = calls.take().try_into().unwrap();
            let known = |text: &str| agent.then(|| text.to_owned());
            let expected = Kept {
                session: known(&id),
                account: known("acct_ada"),
                client: known("Example Agent"),
                granted: known("projects:read"),
                rule,
                outcome,
                resource: common::ORIGIN.into(),
                method,
                path: Some(path),
            };
            assert_eq!(kept, expected);
        }
        service.send(browse("ada", "/billing")).await;
        let [owner] = calls.take().try_into().unwrap();
        assert_eq!((owner.session, owner.account.as_deref(), owner.outcome), (None, Some("acct_ada"), "forwarded"));
        // What has no guard, or a guard that looks at nothing, is no call that was checked.
        service.send(with("/health")).await;
        service.send(with("/unclassified")).await;
        assert_eq!(calls.take(), []);
    }
    service.store.break_after(0, Fault::Unavailable);
    service.send(with("/projects")).await;
    let [failed] = calls.take().try_into().unwrap();
    assert_eq!((failed.session, failed.outcome), (None, "unavailable"));
}

#[tokio::test]
async fn r131_a_request_without_a_rule_is_recorded() {
    let (service, calls) = audited();
    let token = service.token(&["projects:read"]).await;
    let inner = service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
    let guarded = service.auth.policy(|_| None).layer(inner);
    let refused = guarded.oneshot(bearer(Method::GET, "/x", &token)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let [kept] = calls.take().try_into().unwrap();
    assert_eq!((&*kept.rule, kept.outcome, kept.path), ("None", "unclassified", None));
    assert!(kept.session.is_some());
}

/// An operation that is found in the body is one call, with the rule of the operation.
#[tokio::test]
async fn r131_an_mcp_operation_is_one_call() {
    let (service, calls) = audited();
    let token = service.token(&["projects:read"]).await;
    let operations = Operations::new().tool("list", "projects:read").tool("write", "projects:write");
    for reads in [false, true] {
        let tool = |name: &str| {
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name } });
            let request = Request::post("/mcp").header("authorization", format!("Bearer {token}"));
            let proof = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", name)];
            let proof = proof.into_iter().filter(|_| !reads);
            proof.fold(request, |request, (name, value)| request.header(name, value)).body(body.to_string()).unwrap()
        };
        let layer = service.auth.mcp(operations.clone()).unwrap();
        let send = async |request: Request<String>| {
            if reads {
                let inner = service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
                layer.clone().read_bodies().layer(inner).oneshot(request).await.unwrap().status()
            } else {
                let inner = service_fn(async |_: Request<String>| {
                    Ok::<_, std::convert::Infallible>(Response::new(String::new()))
                });
                layer.layer(inner).oneshot(request).await.unwrap().status()
            }
        };
        for (request, status, rule, outcome) in [
            (tool("list"), StatusCode::OK, "all of projects:read", "forwarded"),
            (tool("write"), StatusCode::FORBIDDEN, "all of projects:write", "insufficient_scope"),
            (tool("other"), StatusCode::FORBIDDEN, "None", "unclassified"),
        ] {
            assert_eq!(send(request).await, status, "{reads} {rule}");
            let [kept] = calls.take().try_into().unwrap();
            assert_eq!((&*kept.rule, kept.outcome), (rule, outcome), "{reads}");
            assert_eq!(kept.client.as_deref(), Some("Example Agent"));
        }
        if reads {
            let mut broken = tool("list");
            "no JSON".clone_into(broken.body_mut());
            assert_eq!(send(broken).await, StatusCode::BAD_REQUEST);
            let [kept] = calls.take().try_into().unwrap();
            assert_eq!((kept.outcome, kept.session.is_some()), ("invalid_operation", true));
        }
    }
}

#[tokio::test]
async fn r131_a_record_of_a_call_has_no_secret() {
    /// Keeps all that it can print.
    #[derive(Clone, Default)]
    struct Printed(Arc<Mutex<String>>);

    impl CallSink for Printed {
        fn record(&self, _: Timestamp, call: &Call<'_>) {
            self.0.lock().unwrap().push_str(&format!("{call:?}"));
        }
    }

    let printed = Printed::default();
    let clock = ManualClock::at(common::START);
    let sink = printed.clone();
    let store = TestStore::default();
    let service = Service::made_of(config(), store, clock.clone(), clock, |builder| builder.audit_calls(sink));
    let token = service.token(&["projects:read"]).await;
    for path in ["/projects?q=private", "/write?q=private", &format!("/projects?access_token={token}")] {
        service.send(bearer(Method::GET, path, &token)).await;
    }
    let text = printed.0.lock().unwrap().clone();
    assert!(text.contains("Forwarded") && text.contains("Refused(InsufficientScope)"), "{text}");
    assert!(text.contains("Refused(InvalidRequest)"), "{text}");
    assert!(!text.contains("private") && !text.contains("Bearer"), "{text}");
    let random = &token[4..];
    assert!((0..random.len() - 8).all(|start| !text.contains(&random[start..start + 8])), "a secret in {text}");
    assert_eq!(CallOutcome::Refused(Refusal::Unavailable).as_str(), "unavailable");
}

// Last uses of a service that only checks tokens.

/// An issuer and a service that only checks tokens, over one store.
struct Split {
    store: TestStore,
    issuer: AgentAuth,
    clock: ManualClock,
    audit: Audit,
}

impl Split {
    fn new() -> Self {
        let (store, clock) = (TestStore::default(), ManualClock::at(common::START));
        let issuer = AgentAuth::builder(config().build().unwrap()).sessions(store.clone());
        let issuer = issuer.accounts(TestAccounts::by_cookie("user")).clock(clock.clone()).build().unwrap();
        Self { store, issuer, clock, audit: Audit::default() }
    }

    fn checker(&self, records: bool) -> AgentAuth {
        let builder = AgentAuth::builder(config().build().unwrap()).checks_only(self.store.clone());
        let builder = if records { builder.record_uses_in(self.store.clone()) } else { builder };
        builder.clock(self.clock.clone()).audit(self.audit.clone()).build().unwrap()
    }

    async fn last_use(&self, session: &testing::IssuedSession) -> Option<Timestamp> {
        let record = self.store.find_record(&session.record().session.id).await.unwrap().unwrap();
        record.last_use.map(|last| last.at)
    }
}

async fn call(auth: &AgentAuth, session: &testing::IssuedSession) {
    let inner = service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
    let guarded = auth.require("projects:read").layer(inner);
    let answer = guarded.oneshot(bearer(Method::GET, "/projects", session.access_token())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn g6_a_service_that_only_checks_tokens_records_uses_through_housekeeping() {
    let split = Split::new();
    let session = testing::session(&split.issuer).account("ada").scopes("projects:read").issue().await;
    let (checker, silent) = (split.checker(true), split.checker(false));
    call(&silent, &session).await;
    silent.write_uses().await.unwrap();
    assert_eq!(split.last_use(&session).await, None, "nobody said where");
    split.clock.advance(Duration::from_secs(100));
    let (stop, stopped) = oneshot::channel::<()>();
    let housekeeping = tokio::spawn({
        let checker = checker.clone();
        async move { checker.housekeeping(async { stopped.await.unwrap() }).await }
    });
    call(&checker, &session).await;
    assert_eq!(split.last_use(&session).await, None, "not within the request");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let first = common::START.after(Duration::from_secs(100));
    assert_eq!(split.last_use(&session).await, Some(first));
    // The last ones are written when the service stops.
    split.clock.advance(Duration::from_secs(100));
    call(&checker, &session).await;
    stop.send(()).unwrap();
    housekeeping.await.unwrap();
    assert_eq!(split.last_use(&session).await, Some(first.after(Duration::from_secs(100))));
    // The human sees it at the issuer.
    let sessions = split.issuer.ceremony().unwrap().sessions(&testing::account("ada").id, None).await.unwrap();
    assert!(sessions.sessions[0].last_use.is_some());
}

#[tokio::test(start_paused = true)]
async fn g6_uses_that_could_not_be_written_are_kept_and_audited() {
    let split = Split::new();
    let session = testing::session(&split.issuer).account("ada").scopes("projects:read").issue().await;
    let checker = split.checker(true);
    call(&checker, &session).await;
    split.store.break_after(0, Fault::Unavailable);
    assert!(checker.write_uses().await.is_err());
    checker.housekeeping(tokio::time::sleep(Duration::from_secs(6))).await;
    assert_eq!(split.audit.names(), ["unavailable"; 2], "at five seconds, and when it stopped");
    split.store.mend();
    checker.write_uses().await.unwrap();
    assert_eq!(split.last_use(&session).await, Some(common::START));
}

#[test]
fn g6_a_service_with_sessions_records_uses_in_no_other_store() {
    let builder = AgentAuth::builder(config().build().unwrap()).sessions(MemoryStore::new());
    let builder = builder.accounts(TestAccounts::by_cookie("user")).record_uses_in(MemoryStore::new());
    let error = builder.build().unwrap_err().to_string();
    assert!(error.contains("record_uses_in") && error.contains("only checks tokens"), "{error}");
}

// Events that other systems are told.

/// The session, the account, the client, its id, by whom and why.
type Told = (String, Option<String>, Option<String>, Option<String>, RevokedBy, Option<String>);

fn told(service: &Service) -> Vec<Told> {
    let of = |event: &Event| match event {
        Event::Revoked { session, account, client, client_id, by, reason } => Some((
            session.to_string(),
            account.as_ref().map(ToString::to_string),
            client.as_ref().map(ToString::to_string),
            client_id.as_ref().map(ToString::to_string),
            *by,
            reason.as_ref().map(|reason| reason.as_str().to_owned()),
        )),
        _ => None,
    };
    service.audit.events().iter().filter_map(of).collect()
}

/// Whoever ends a session by whatever target: the event names the account and the client.
#[tokio::test]
async fn r132_an_event_of_a_revocation_names_session_account_client_and_why() {
    let service = Service::new();
    let (ceremony, account) = (service.auth.ceremony().unwrap().clone(), common::account("ada"));
    let human = SignedIn::new(account.clone(), "a browser");
    let client = ClientId::new("https://client.example/metadata.json").unwrap();
    let issue = async || {
        let request = AccessRequest::by(HumanText::new("Claude").unwrap()).client_id(Some(client.clone()));
        let asked = ceremony.request(request).await.unwrap();
        let scopes = ceremony.view(&asked.authorization.id, &human).await.unwrap().authorization.requested;
        ceremony.decide(&asked.authorization.id, &human, Decision::Approve(scopes.into())).await.unwrap();
        ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap()
    };
    let admin = service.auth.admin().unwrap().because(Reason::new("ticket 7"));
    let mut expected = Vec::new();
    for way in 0..5 {
        let issued = issue().await;
        let id = issued.record.session.id.clone();
        let access = issued.access_token.expose();
        let (by, reason) = match way {
            0 => {
                ceremony.revoke_token(access, Some(&client)).await.unwrap();
                (RevokedBy::Agent, None)
            }
            1 => {
                assert!(ceremony.revoke_session(&account.id, &id).await.unwrap());
                (RevokedBy::Human, None)
            }
            2 => {
                admin.revoke_session(&id).await.unwrap();
                (RevokedBy::Service, Some("ticket 7".to_owned()))
            }
            3 => {
                admin.revoke_account(&account.id).await.unwrap();
                (RevokedBy::Service, Some("ticket 7".to_owned()))
            }
            _ => {
                ceremony.revoke_all(&account.id).await.unwrap();
                (RevokedBy::Human, None)
            }
        };
        let (known, named) = (Some(account.id.to_string()), Some("Claude".to_owned()));
        expected.push((id.to_string(), known, named, Some(client.as_str().to_owned()), by, reason));
        assert_eq!(told(&service), expected, "{way}");
    }
    // More than are found one by one.
    for _ in 0..40 {
        issue().await;
    }
    assert_eq!(ceremony.revoke_all(&account.id).await.unwrap(), 40);
    let all = told(&service);
    assert!(all.len() == 45 && all.iter().all(|told| told.2.is_some() && told.3.is_some()));
}

#[tokio::test]
async fn r132_a_store_that_fails_after_the_revocation_leaves_the_client_out() {
    let service = Service::new();
    let issued = testing::session(&service.auth).account("ada").scopes("projects:read").issue().await;
    let session = &issued.record().session;
    // It looks for the session and its request, revokes it, and asks for its client.
    service.store.break_after(3, Fault::Unavailable);
    assert!(service.auth.ceremony().unwrap().revoke_session(&session.account.id, &session.id).await.unwrap());
    service.store.mend();
    let account = Some(session.account.id.to_string());
    assert_eq!(told(&service), [(session.id.to_string(), account, None, None, RevokedBy::Human, None)]);
}
