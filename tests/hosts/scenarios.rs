//! What holds under every host.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tower_agent_auth::challenge::Challenge;

use crate::{
    common::{Fault, ORIGIN, PRM, Pending},
    host::{Answered, Host, Operation, Outcome},
};

fn passed(account: &str) -> Outcome {
    Outcome::Passed(account.into())
}

/// What the first challenge says.
fn challenged(answered: &Answered, parameter: &str) -> Option<String> {
    let header = answered.headers.get("www-authenticate")?.to_str().unwrap();
    let first = Challenge::parse(header).unwrap().remove(0);
    assert!(first.is_bearer());
    first.parameter(parameter).map(str::to_owned)
}

pub(crate) async fn without_a_token_an_agent_is_led_to_the_documents(host: &Host) {
    let refused = host.call(Operation::Read, None).await;
    assert_eq!(refused.outcome, Outcome::Unauthenticated);
    assert_eq!(refused.headers["cache-control"], "no-store");
    assert_eq!(challenged(&refused, "error"), None);
    let metadata_url = challenged(&refused, "resource_metadata").unwrap();
    assert_eq!(metadata_url, PRM);
    let resource = host.send(Method::GET, metadata_url.strip_prefix(ORIGIN).unwrap(), None).await;
    assert_eq!(resource.json["resource"], ORIGIN);
    let issuer = host.send(Method::GET, "/.well-known/oauth-authorization-server", None).await;
    assert!(issuer.json["agent_auth"].is_object(), "{}", issuer.text);
    let prose = host.send(Method::GET, "/auth.md", None).await;
    assert!(prose.text.contains("/agent/auth"), "{}", prose.text);
    let head = host.send(Method::HEAD, "/auth.md", None).await;
    assert!(head.text.is_empty() && head.header("content-length") == prose.text.len().to_string());
}

pub(crate) async fn an_agent_registers_and_its_session_works_until_it_is_revoked(host: &Host) {
    let asked = json!({ "type": "user_claimed", "client_name": "Agent", "requested_scopes": ["projects:read"] });
    let registered = host.send(Method::POST, "/agent/auth", Some(&asked)).await;
    let text = |field: &str| registered.json[field].as_str().unwrap().to_owned();
    let pending =
        Pending { id: text("registration_id"), claim_token: text("claim_token"), claim_url: text("claim_url") };
    host.service.approve("ada", &pending, &["projects:read"]).await;
    let claim = json!({ "claim_token": pending.claim_token });
    let complete = host.send(Method::POST, "/agent/auth/claim/complete", Some(&claim)).await;
    let token = complete.json["access_token"].as_str().unwrap_or_else(|| panic!("{}", complete.text));
    assert_eq!(host.call(Operation::Read, Some(token)).await.outcome, passed("acct_ada"));
    let again = host.send(Method::POST, "/agent/auth/claim/complete", Some(&claim)).await;
    assert!(again.status.is_client_error(), "{}", again.text);
    let revoke = json!({ "token": token });
    assert!(host.send(Method::POST, "/agent/auth/revoke", Some(&revoke)).await.status.is_success());
    assert_eq!(host.call(Operation::Read, Some(token)).await.outcome, Outcome::Unauthenticated);
}

pub(crate) async fn a_session_is_scoped(host: &Host) {
    let token = host.service.token(&["projects:read"]).await;
    assert_eq!(host.call(Operation::Read, Some(&token)).await.outcome, passed("acct_ada"));
    let refused = host.call(Operation::Write, Some(&token)).await;
    assert_eq!(refused.outcome, Outcome::Denied);
    assert_eq!(challenged(&refused, "error").as_deref(), Some("insufficient_scope"));
    assert_eq!(challenged(&refused, "scope").as_deref(), Some("projects:write"));
    assert!(refused.text.contains("projects:write"), "{}", refused.text);
}

pub(crate) async fn the_owner_alone_passes_what_is_the_owners(host: &Host) {
    let token = host.service.token(&["projects:read", "projects:write"]).await;
    let refused = host.call(Operation::Own, Some(&token)).await;
    assert_eq!((&refused.outcome, challenged(&refused, "error")), (&Outcome::Denied, None));
    assert_eq!(host.call(Operation::Own, None).await.outcome, Outcome::Unauthenticated);
    let human = vec![("cookie", "user=ada".to_owned())];
    assert_eq!(host.call_with(Operation::Own, "", human.clone()).await.outcome, passed("acct_ada"));
    assert_eq!(host.call_with(Operation::Read, "", human).await.outcome, Outcome::Unauthenticated);
    let both = vec![("cookie", "user=ada".to_owned()), ("authorization", format!("Bearer {token}"))];
    assert_eq!(host.call_with(Operation::Own, "", both).await.outcome, Outcome::Denied);
}

pub(crate) async fn anybody_passes_what_is_optional_but_not_with_a_bad_token(host: &Host) {
    let token = host.service.token(&["projects:read"]).await;
    assert_eq!(host.call(Operation::Optional, None).await.outcome, passed("nobody"));
    assert_eq!(host.call(Operation::Optional, Some(&token)).await.outcome, passed("acct_ada"));
    assert_eq!(host.call(Operation::Optional, Some("nonsense")).await.outcome, Outcome::Unauthenticated);
}

pub(crate) async fn bad_tokens_are_refused_alike(host: &Host) {
    let token = host.service.token(&["projects:read"]).await;
    let mut texts = Vec::new();
    let unknown = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { '1' } else { '0' });
    for bad in ["nonsense", "aas_", &token[1..], &unknown, &token.to_uppercase(), &"x".repeat(4_000)] {
        let refused = host.call(Operation::Read, Some(bad)).await;
        assert_eq!(refused.outcome, Outcome::Unauthenticated, "{bad}");
        assert_eq!(challenged(&refused, "error").as_deref(), Some("invalid_token"));
        texts.push(refused.text);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
}

pub(crate) async fn an_expired_session_is_refused(host: &Host) {
    let token = host.service.token(&["projects:read"]).await;
    assert_eq!(host.call(Operation::Read, Some(&token)).await.outcome, passed("acct_ada"));
    host.service.clock.advance(Duration::from_secs(365 * 86_400));
    assert_eq!(host.call(Operation::Read, Some(&token)).await.outcome, Outcome::Unauthenticated);
}

pub(crate) async fn a_request_that_is_unclear_is_refused(host: &Host) {
    let token = host.service.token(&["projects:read"]).await;
    let line = ("authorization", format!("Bearer {token}"));
    let twice = host.call_with(Operation::Read, "", vec![line.clone(), line.clone()]).await;
    assert_eq!(twice.outcome, Outcome::Invalid);
    let query = host.call_with(Operation::Read, &format!("?access_token={token}"), vec![line]).await;
    assert_eq!(query.outcome, Outcome::Invalid);
    let alone = host.call_with(Operation::Read, &format!("?access_token={token}"), vec![]).await;
    assert_eq!(alone.outcome, Outcome::Unauthenticated);
}

pub(crate) async fn what_nobody_classed_sees_no_agent(host: &Host) {
    let token = host.service.token(&["projects:read"]).await;
    assert_eq!(host.call(Operation::Unclassified, Some(&token)).await.outcome, Outcome::Denied);
    assert_eq!(host.call(Operation::Unclassified, None).await.outcome, Outcome::Unauthenticated);
}

pub(crate) async fn a_failed_store_is_no_refused_token(host: &Host) {
    let token = host.service.token(&["projects:read"]).await;
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::Panic] {
        host.service.store.break_after(0, fault);
        let failed = host.call(Operation::Read, Some(&token)).await;
        assert_eq!(failed.outcome, Outcome::Unavailable, "{fault:?}");
        let wait: u64 = failed.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=5).contains(&wait) && !failed.headers.contains_key("www-authenticate"));
        host.service.store.mend();
        assert_eq!(host.call(Operation::Read, Some(&token)).await.outcome, passed("acct_ada"));
    }
}

pub(crate) async fn a_store_that_waits_answers_the_same(host: &Host) {
    host.service.store.wait();
    a_session_is_scoped(host).await;
    the_owner_alone_passes_what_is_the_owners(host).await;
    bad_tokens_are_refused_alike(host).await;
}

pub(crate) async fn calls_side_by_side_are_not_mixed_up(host: &Host) {
    let mut tokens = Vec::new();
    for human in ["ada", "bob", "eve"] {
        let session = host.service.session(human, &["projects:read"]).await;
        tokens.push((format!("acct_{human}"), session.json["access_token"].as_str().unwrap().to_owned()));
    }
    for waits in [false, true] {
        if waits {
            host.service.store.wait();
        }
        let calls = (0..96).map(|number| {
            let (account, token) = &tokens[number % tokens.len()];
            async move { (host.call(Operation::Read, Some(token)).await.outcome, account) }
        });
        for (outcome, account) in join_all(calls).await {
            assert_eq!(outcome, passed(account));
        }
    }
}
