//! The human of an agent, with a browser's cookies.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    claim::{Claim, Decided, Decision},
    http::Answer,
    node::Node,
    report::Rule,
    wire,
    world::{Question, Step, World},
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
        let question = Question { label: &self.email, what: "sign in", expected: &[303], rule: Rule::Undocumented };
        let fields = [("email", self.email.as_str()), ("password", "any"), ("next", "/sessions")];
        let cookies = self.jar();
        let signed_in = world
            .ask(node, &question, async |http| http.post_form(wire::LOGIN, &world.origin, &cookies, &fields).await);
        let answer = signed_in.await?;
        self.keep(world, &answer);
        Ok(())
    }

    /// Reads a page; signs in first where the service does not know this browser.
    async fn read(&mut self, world: &World, node: &Node, label: &str, path: &str) -> Step<Answer> {
        let cookies = self.jar();
        // A page sends to sign in, the list says that it takes that.
        let expected = &[200, 303, 401];
        let question = Question { label, what: "open the page", expected, rule: Rule::Half };
        let answer = world.ask(node, &question, async |http| http.get(path, &cookies).await).await?;
        if answer.status == 200 {
            self.keep(world, &answer);
            return Ok(answer);
        }
        self.sign_in(world, node).await?;
        let cookies = self.jar();
        let question = Question { expected: &[200], ..question };
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
        let page = self.read(world, node, &claim.label, &claim.page).await?;
        let csrf = page.between("name=\"csrf\" value=\"", "\"").ok_or("the approval page has no form")?;
        let mut fields = vec![("csrf", csrf)];
        match &decision {
            Decision::Approve(scopes) => {
                fields.push(("decision", "approve"));
                fields.extend(scopes.iter().map(|scope| ("scope", *scope)));
            }
            Decision::Deny => fields.push(("decision", "deny")),
        }
        claim.decided = Decided::Perhaps(decision.clone());
        let cookies = self.jar();
        let question = Question { label: &claim.label, what: "decide", expected: &[303], rule: Rule::Undocumented };
        let decided = world
            .ask(node, &question, async |http| http.post_form(&claim.page, &world.origin, &cookies, &fields).await);
        let answer = decided.await?;
        // A browser that is sent to sign in has decided nothing.
        if answer.location().is_some_and(|location| location.ends_with(&claim.page)) {
            claim.decided = Decided::Surely(decision);
        }
        Ok(())
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
