//! The human of an agent, with a browser's cookies.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    claim::{Claim, Decided, Decision},
    http::{Answer, Http},
    node::Node,
    report::Rule,
    wire,
    world::{Expected, Question, Step, World},
};

pub(crate) struct Human {
    email: String,
    cookies: BTreeMap<String, String>,
}

impl Human {
    pub(crate) fn new(email: &str) -> Self {
        Self { email: email.to_owned(), cookies: BTreeMap::new() }
    }

    pub(crate) fn email(&self) -> &str {
        &self.email
    }

    async fn sign_in(&mut self, world: &World, node: &Node) -> Step<()> {
        let question = Question {
            label: &self.email,
            what: "sign in",
            expected: Expected::Status(&[303]),
            rule: Rule::Undocumented,
        };
        let fields = [("email", self.email.as_str()), ("password", "any"), ("next", "/sessions")];
        let cookies = self.jar();
        let signed_in = world
            .ask(node, &question, async |http| http.post_form(wire::LOGIN, &world.origin, &cookies, &fields).await);
        let answer = signed_in.await?;
        self.keep(world, &answer);
        Ok(())
    }

    /// Reads a page; signs in first where the service does not know this browser.
    pub(crate) async fn read(&mut self, world: &World, node: &Node, label: &str, path: &str) -> Step<Answer> {
        let cookies = self.jar();
        // A page sends to sign in, the list says that it takes that.
        let expected = Expected::Status(&[200, 303, 401]);
        let question = Question { label, what: "open the page", expected, rule: Rule::Half };
        let answer = world.ask(node, &question, async |http| http.get(path, &cookies).await).await?;
        if answer.status == 200 {
            self.keep(world, &answer);
            return Ok(answer);
        }
        self.sign_in(world, node).await?;
        let cookies = self.jar();
        let question = Question { expected: Expected::Status(&[200]), ..question };
        let answer = world.ask(node, &question, async |http| http.get(path, &cookies).await).await?;
        self.keep(world, &answer);
        Ok(answer)
    }

    /// Opens the approval page and decides there.
    pub(crate) async fn decide(
        &mut self,
        world: &World,
        node: &Node,
        claim: &mut Claim,
        decision: Decision,
    ) -> Step<()> {
        let csrf = self.open(world, node, &claim.label, &claim.page).await?;
        claim.decided = Decided::Perhaps(decision.clone());
        if self.send_decision(world, node, (&claim.label, &claim.page), &csrf, &decision, None).await? {
            claim.decided = Decided::Surely(decision);
        }
        Ok(())
    }

    /// Opens an approval page. Answers the token of its form.
    pub(crate) async fn open(&mut self, world: &World, node: &Node, label: &str, path: &str) -> Step<String> {
        let page = self.read(world, node, label, path).await?;
        Ok(page.between("name=\"csrf\" value=\"", "\"").ok_or("the approval page has no form")?.to_owned())
    }

    /// Sends the form, with the agent's code if the human types one. Answers whether the service took the decision.
    pub(crate) async fn send_decision(
        &self,
        world: &World,
        node: &Node,
        (label, path): (&str, &str),
        csrf: &str,
        decision: &Decision,
        code: Option<&str>,
    ) -> Step<bool> {
        let mut fields = vec![("csrf", csrf)];
        match decision {
            Decision::Approve(scopes) => {
                fields.push(("decision", "approve"));
                fields.extend(scopes.iter().map(|scope| ("scope", *scope)));
            }
            Decision::Deny => fields.push(("decision", "deny")),
        }
        fields.extend(code.map(|code| ("user_code", code)));
        let cookies = self.jar();
        let question = Question { label, what: "decide", expected: Expected::Status(&[303]), rule: Rule::Undocumented };
        let decided =
            world.ask(node, &question, async |http| http.post_form(path, &world.origin, &cookies, &fields).await);
        // A browser that is sent to sign in has decided nothing.
        Ok(decided.await?.location().is_some_and(|location| location.ends_with(path)))
    }

    /// Ends a session of the list.
    pub(crate) async fn revoke(&self, world: &World, node: &Node, label: &str, session: &str) -> Step<()> {
        let (cookies, body) = (self.jar(), json!({ "session_id": session }));
        let expected = Expected::Status(&[200]);
        let question = Question { label, what: wire::REVOKES, expected, rule: Rule::Lost };
        let send = async |http: Http| http.post_json_as_human(wire::REVOKE_SESSION, &cookies, &body).await;
        world.ask(node, &question, send).await.map(drop)
    }

    /// All sessions of the account, newest first.
    pub(crate) async fn sessions(&mut self, world: &World, node: &Node) -> Step<Vec<Value>> {
        let mut sessions = Vec::new();
        let mut path = wire::SESSIONS.to_owned();
        let label = self.email.clone();
        loop {
            let answer = self.read(world, node, &label, &path).await?;
            sessions.extend(answer.json["sessions"].as_array().ok_or("the list has no `sessions`")?.iter().cloned());
            let Some(next) = answer.json["next"].as_str() else { return Ok(sessions) };
            path = next.strip_prefix(&world.origin).unwrap_or(next).to_owned();
        }
    }

    fn keep(&mut self, world: &World, answer: &Answer) {
        for (name, value) in answer.cookies().filter_map(|cookie| cookie.split_once('=')) {
            world.secrets.add(value);
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    fn jar(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }
}
