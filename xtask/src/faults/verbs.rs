//! What an agent asks the service, with the twin of the ledger kept before and after each request.

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    claim::{Claim, Decided, Exchange, Fate, Session},
    http::{Answer, text_of},
    node::Node,
    report::Rule,
    wire,
    world::{Expected, Question, Step, Stop, World},
};
use crate::Outcome;

/// Who registers for what.
pub(crate) struct Registering<'a> {
    pub(crate) label: String,
    pub(crate) human: &'a str,
    pub(crate) scopes: Vec<&'static str>,
}

impl World {
    pub(crate) async fn register(&self, node: &Node, new: Registering<'_>) -> Step<Claim> {
        let Registering { label, human, scopes } = new;
        let body = json!({
            "type": "user_claimed", "client_name": "Fault Agent", "label": label, "requested_scopes": scopes,
        });
        let question =
            Question { label: &label, what: "register", expected: Expected::Status(&[201]), rule: Rule::Undocumented };
        let answer = self.ask(node, &question, async |http| http.post_json(wire::REGISTER, &body).await).await?;
        let token = answer.field("claim_token")?;
        self.secrets.add(&token);
        let page = answer.field("claim_url")?;
        let page = page.strip_prefix(&self.origin).ok_or("the claim URL is of another origin")?.to_owned();
        let (decided, exchange) = (Decided::Not, Exchange::Not);
        Ok(Claim { label, human: human.to_owned(), token, page, requested: scopes, decided, exchange })
    }

    /// What has become of the claim, by its claim token.
    pub(crate) async fn status(&self, node: &Node, claim: &Claim) -> Step<String> {
        let body = json!({ "claim_token": claim.token });
        let question =
            Question { label: &claim.label, what: "ask", expected: Expected::Status(&[200]), rule: Rule::Undocumented };
        let answer = self.ask(node, &question, async |http| http.post_json(wire::CLAIM, &body).await).await?;
        Ok(answer.field("status")?)
    }

    /// Completes the claim. It may answer what the twin allows, and `rule` is broken by anything else.
    pub(crate) async fn complete(&self, node: &Node, claim: &mut Claim, rule: Rule) -> Step<u16> {
        let expected = claim.completes_with();
        if matches!(claim.exchange, Exchange::Not) && !claim.granted().is_empty() {
            claim.exchange = Exchange::Perhaps;
        }
        let body = json!({ "claim_token": claim.token });
        let question = Question { label: &claim.label, what: "complete", expected: Expected::Status(expected), rule };
        let answer = self.ask(node, &question, async |http| http.post_json(wire::COMPLETE, &body).await).await?;
        if answer.status == 200 {
            claim.exchange = Exchange::Done(self.issued(claim, &answer)?);
        }
        Ok(answer.status)
    }

    fn issued(&self, claim: &Claim, answer: &Answer) -> Outcome<Session> {
        let (access, refresh) = self.tokens(&answer.json)?;
        Ok(Session {
            id: answer.field("session_id")?,
            access,
            refresh,
            scopes: claim.granted(),
            since: Instant::now(),
            renewed: Instant::now(),
            retired: None,
            fate: Fate::Live,
        })
    }

    fn tokens(&self, json: &Value) -> Outcome<(String, String)> {
        let (access, refresh) = (text_of(json, "access_token")?, text_of(json, "refresh_token")?);
        self.secrets.add(&access);
        self.secrets.add(&refresh);
        Ok((access, refresh))
    }

    /// Calls a route with an access token.
    pub(crate) async fn call(&self, node: &Node, token: &str, path: &str, question: Question<'_>) -> Step<u16> {
        Ok(self.ask(node, &question, async |http| http.get_as_agent(path, token).await).await?.status)
    }

    /// Refreshes the session: good once, and again for whoever did not get the answer.
    pub(crate) async fn refresh(&self, node: &Node, label: &str, session: &mut Session) -> Step<()> {
        session.fate = match session.fate {
            Fate::PerhapsRefreshed(since) => Fate::PerhapsRefreshed(since),
            _ => Fate::PerhapsRefreshed(Instant::now()),
        };
        let body = json!({ "refresh_token": session.refresh });
        let question = Question { label, what: "refresh", expected: Expected::Status(&[200]), rule: Rule::Lost };
        let answer = self.ask(node, &question, async |http| http.post_json(wire::REFRESH, &body).await).await?;
        let (access, refresh) = self.tokens(&answer.json["agent_session"])?;
        session.retired = Some(std::mem::replace(&mut session.access, access));
        session.refresh = refresh;
        session.renewed = Instant::now();
        session.fate = Fate::Live;
        Ok(())
    }

    /// Revokes the session, by one of its tokens.
    pub(crate) async fn revoke(&self, node: &Node, label: &str, session: &mut Session, by_refresh: bool) -> Step<()> {
        session.fate = Fate::PerhapsRevoked;
        let token = if by_refresh { &session.refresh } else { &session.access };
        let body = json!({ "token": token });
        let question =
            Question { label, what: wire::REVOKES, expected: Expected::Status(&[200]), rule: Rule::Undocumented };
        self.ask(node, &question, async |http| http.post_json(wire::REVOKE, &body).await).await?;
        session.fate = Fate::Revoked;
        Ok(())
    }

    /// A live session: its scopes open their routes, and no others.
    pub(crate) async fn check_live(&self, node: &Node, label: &str, session: &Session) -> Step<()> {
        for (scope, path) in wire::ROUTES {
            let expected = wire::expected(&session.scopes, scope);
            self.check(node, label, &session.access, path, expected, Rule::Lost).await?;
        }
        self.check(node, label, &session.access, wire::OWNER_ONLY, 403, Rule::Lost).await
    }

    /// A token that must be worth nothing.
    pub(crate) async fn check_dead(&self, node: &Node, label: &str, token: &str, rule: Rule) -> Step<()> {
        self.check(node, label, token, wire::ROUTES[0].1, 401, rule).await
    }

    /// A session that is over: neither token is worth anything.
    pub(crate) async fn check_over(&self, node: &Node, label: &str, session: &Session) -> Step<()> {
        self.check_dead(node, label, &session.access, Rule::Revived).await?;
        let body = json!({ "refresh_token": session.refresh });
        let question = Question { label, what: "refresh", expected: Expected::Status(&[401]), rule: Rule::Revived };
        self.ask(node, &question, async |http| http.post_json(wire::REFRESH, &body).await).await.map(drop)
    }

    pub(crate) async fn check(
        &self,
        node: &Node,
        label: &str,
        token: &str,
        path: &str,
        expected: u16,
        rule: Rule,
    ) -> Step<()> {
        let question = Question { label, what: path, expected: Expected::Status(&[expected]), rule };
        self.call(node, token, path, question).await.map(drop)
    }
}

/// Goes on where a promise was broken, which the report knows: the others have to be looked at too.
pub(crate) fn tolerate<T>(step: Step<T>) -> Outcome<Option<T>> {
    match step {
        Ok(value) => Ok(Some(value)),
        Err(Stop::Failed(failure)) => Err(failure),
        Err(Stop::Broken | Stop::Fault) => Ok(None),
    }
}
