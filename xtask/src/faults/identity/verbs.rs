//! What such an agent asks, with its twin kept before and after each request, and what may be answered.

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    super::{
        claim::{Decided, Decision, Fate},
        http::{Answer, text_of},
        human::Human,
        node::Node,
        report::Rule,
        verbs::Registering,
        wire,
        world::{Expected, Question, Step, Stop, World},
    },
    Held, Identity, Keys, Page, Proof,
};
use crate::Outcome;

/// A status, and the error that comes with it.
pub(crate) type Told = (u16, &'static str);

pub(super) const GIVEN: Told = (200, "");
const OVER: Told = (400, "invalid_grant");
const NOT_REFRESHED: Told = (400, "invalid_refresh_token");

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Register,
    Claim,
    /// Prove it by the code that the human told.
    Complete,
    /// Prove it by the claim token alone.
    Poll,
    Exchange,
    Refresh,
}

/// Every answer to an agent that does nothing wrong, beside 503 during a fault (docs/auth-md.md).
const DOCUMENTED: [(Verb, &[Told]); 6] = [
    (Verb::Register, &[GIVEN]),
    (
        Verb::Claim,
        &[
            GIVEN,
            (401, "invalid_claim_token"),
            (403, "claim_denied"),
            (409, "already_claimed"),
            (410, "claim_expired"),
            (410, "claim_revoked"),
        ],
    ),
    (
        Verb::Complete,
        &[
            GIVEN,
            (400, "invalid_claim"),
            (401, "invalid_user_code"),
            (403, "claim_denied"),
            (409, "already_claimed"),
            (409, "claim_not_confirmed"),
            (410, "claim_revoked"),
            (410, "user_code_expired"),
        ],
    ),
    (
        Verb::Poll,
        &[
            GIVEN,
            (400, "access_denied"),
            (400, "authorization_pending"),
            (400, "expired_token"),
            (400, "invalid_grant"),
        ],
    ),
    (Verb::Exchange, &[GIVEN, OVER]),
    (Verb::Refresh, &[GIVEN, NOT_REFRESHED]),
];

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Register => "register an identity",
            Self::Claim => "ask to be claimed",
            Self::Complete => "complete an identity",
            Self::Poll => "poll for an identity",
            Self::Exchange => "exchange an assertion",
            Self::Refresh => "refresh an identity",
        }
    }
}

/// Whether it is a documented answer. Of other questions than those here, nothing is known.
pub(crate) fn is_documented(what: &str, answer: &Answer) -> bool {
    let known = DOCUMENTED.iter().find(|(verb, _)| verb.name() == what);
    known.is_none_or(|(_, told)| told.contains(&(answer.status, answer.error())))
}

/// Whether these agents ask it.
pub(crate) fn is_asked(what: &str) -> bool {
    DOCUMENTED.iter().any(|(verb, _)| verb.name() == what)
}

impl World {
    /// Registers an agent: to be approved first, or `unclaimed`, so that it acts at once.
    pub(super) async fn register_identity(&self, node: &Node, new: Registering<'_>, unclaimed: bool) -> Step<Identity> {
        let Registering { label, human, scopes } = new;
        let kind = if unclaimed { "anonymous" } else { "service_auth" };
        let body = json!({
            "type": kind, "login_hint": human, "client_name": "Fault Agent", "label": label, "requested_scopes": scopes,
        });
        let question = told(&label, Verb::Register, &[GIVEN], Rule::Undocumented);
        let answer = self.ask(node, &question, async |http| http.post_json(wire::IDENTITY, &body).await).await?;
        let claim_token = answer.field("claim_token")?;
        self.secrets.add(&claim_token);
        let mut identity = Identity {
            label,
            human: human.to_owned(),
            claim_token,
            unclaimed: None,
            decision: None,
            requested: scopes,
            decided: Decided::Not,
            proof: None,
            held: Held::Not,
        };
        if unclaimed {
            identity.unclaimed = Some(self.keys(&answer.json, wire::PRE_CLAIM.to_vec())?);
            self.report.count("agents acted unclaimed");
        } else {
            identity.decision = Some(self.page(&answer.json["claim"])?);
        }
        Ok(identity)
    }

    /// Asks that a human claims an unclaimed agent.
    pub(super) async fn claim_identity(&self, node: &Node, identity: &mut Identity) -> Step<()> {
        let body = json!({ "claim_token": identity.claim_token, "login_hint": identity.human });
        let question = told(&identity.label, Verb::Claim, &[GIVEN], Rule::Lost);
        let answer = self.ask(node, &question, async |http| http.post_json(wire::CLAIM_IDENTITY, &body).await).await?;
        identity.decision = Some(self.page(&answer.json["claim_attempt"])?);
        // What it has already is asked for again, so that it may stay.
        for scope in wire::PRE_CLAIM {
            if !identity.requested.contains(&scope) {
                identity.requested.push(scope);
            }
        }
        Ok(())
    }

    fn page(&self, attempt: &Value) -> Outcome<Page> {
        let url = text_of(attempt, "verification_uri")?;
        let path = url.strip_prefix(&self.origin).ok_or("the approval page is of another origin")?;
        let path = path.split('?').next().unwrap_or(path).to_owned();
        Ok(Page { path, user_code: text_of(attempt, "user_code")? })
    }

    fn keys(&self, json: &Value, scopes: Vec<&'static str>) -> Outcome<Keys> {
        let identity = &json["identity"];
        let assertion = text_of(identity, "assertion")?;
        let refresh = identity["refresh_token"]["value"].as_str().map(str::to_owned);
        for secret in [Some(&assertion), refresh.as_ref()].into_iter().flatten() {
            self.secrets.add(secret);
        }
        Ok(Keys::new(assertion, refresh, scopes))
    }

    /// Lets the human decide, and type the agent's code if `typed`.
    pub(super) async fn decide_identity(
        &self,
        node: &Node,
        human: &mut Human,
        identity: &mut Identity,
        decision: Decision,
        typed: bool,
    ) -> Step<()> {
        let Page { path, user_code } = identity.decision.clone().ok_or("there is no page to decide on")?;
        let csrf = human.open(self, node, &identity.label, &path).await?;
        let code = typed.then_some(user_code);
        identity.decided = Decided::Perhaps(decision.clone());
        identity.proof = typed.then_some(Proof::Typed);
        if human.send_decision(self, node, (&identity.label, &path), &csrf, &decision, code.as_deref()).await? {
            identity.decided = Decided::Surely(decision);
        }
        Ok(())
    }

    /// Lets the human who approved tell the code of the page.
    pub(super) async fn read_back(&self, node: &Node, human: &mut Human, identity: &mut Identity) -> Step<()> {
        let Page { path, .. } = identity.decision.clone().ok_or("there is no page to read")?;
        let page = human.read(self, node, &identity.label, &path).await?;
        match page.between("id=\"code\" dir=\"ltr\">", "</code>") {
            Some(code) => identity.proof = Some(Proof::Told(code.to_owned())),
            None => {
                self.violation(Rule::Half, &identity.label, "the page shows no code to the human who approved");
                return Err(Stop::Broken);
            }
        }
        Ok(())
    }

    /// Proves that the human approved: by the code they told, or by the claim token once they typed one.
    pub(in crate::faults) async fn prove(&self, node: &Node, identity: &mut Identity, rule: Rule) -> Step<u16> {
        identity.is_being_proven();
        let answer = self.ask_to_prove(node, identity, rule).await?;
        self.proven(identity, &answer, rule)?;
        Ok(answer.status)
    }

    /// The same at two servers at once: one identity comes of it.
    pub(super) async fn prove_twice(&self, nodes: [&Node; 2], identity: &mut Identity) -> Step<()> {
        identity.is_being_proven();
        let ask = |node| self.ask_to_prove(node, identity, Rule::Double);
        let answers = tokio::join!(ask(nodes[0]), ask(nodes[1]));
        for answer in [answers.0, answers.1] {
            self.proven(identity, &answer?, Rule::Double)?;
        }
        Ok(())
    }

    async fn ask_to_prove(&self, node: &Node, identity: &Identity, rule: Rule) -> Step<Answer> {
        let token = identity.claim_token.as_str();
        let (verb, code) = match &identity.proof {
            Some(Proof::Told(code)) => (Verb::Complete, code.as_str()),
            Some(Proof::Typed) | None => (Verb::Poll, ""),
        };
        let expected = identity.proves_with(verb);
        let question = told(&identity.label, verb, &expected, rule);
        let (body, form) = (
            json!({ "claim_token": token, "user_code": code }),
            [("grant_type", wire::CLAIM_GRANT), ("claim_token", token)],
        );
        let send = async |http: super::super::http::Http| match verb {
            Verb::Poll => http.post_form_as_agent(wire::TOKEN, &form).await,
            _ => http.post_json(wire::COMPLETE_IDENTITY, &body).await,
        };
        self.ask(node, &question, send).await
    }

    /// Notes the answer to a proof. The same proof again gets what was given before.
    fn proven(&self, identity: &mut Identity, answer: &Answer, rule: Rule) -> Step<()> {
        if answer.status != 200 {
            return Ok(());
        }
        let fresh = self.keys(&answer.json, identity.granted())?;
        let access = answer.json["access_token"].as_str().map(str::to_owned);
        access.iter().for_each(|access| self.secrets.add(access));
        match &mut identity.held {
            Held::Done(keys) => {
                if keys.assertion != fresh.assertion {
                    self.violation(Rule::Double, &identity.label, "one claim gave two identities");
                    return Err(Stop::Broken);
                }
                access.into_iter().for_each(|access| keys.took(access));
            }
            Held::Not | Held::Perhaps => {
                let mut keys = fresh;
                access.into_iter().for_each(|access| keys.took(access));
                if keys.refresh.is_none() {
                    self.violation(rule, &identity.label, "a claimed agent got no refresh token");
                }
                identity.held = Held::Done(keys);
                self.report.count("identities proved");
                if let Some(unclaimed) = &mut identity.unclaimed {
                    unclaimed.fate = Fate::Revoked;
                }
            }
        }
        Ok(())
    }

    /// Exchanges the assertion for one more access token, which opens what was granted and nothing else.
    pub(super) async fn exchange(&self, node: &Node, label: &str, keys: &mut Keys) -> Step<()> {
        let answer = self.ask_to_exchange(node, label, &keys.assertion, GIVEN, Rule::Lost).await?;
        let access = answer.field("access_token")?;
        self.secrets.add(&access);
        keys.took(access);
        Ok(())
    }

    async fn ask_to_exchange(
        &self,
        node: &Node,
        label: &str,
        assertion: &str,
        expected: Told,
        rule: Rule,
    ) -> Step<Answer> {
        let form = [("grant_type", wire::JWT_BEARER), ("assertion", assertion)];
        let expected = [expected];
        let question = told(label, Verb::Exchange, &expected, rule);
        self.ask(node, &question, async |http| http.post_form_as_agent(wire::TOKEN, &form).await).await
    }

    /// Refreshes the identity: good once, and again for whoever did not get the answer.
    pub(super) async fn refresh_identity(&self, node: &Node, label: &str, keys: &mut Keys) -> Step<()> {
        let Some(token) = keys.refresh.clone() else { return Ok(()) };
        keys.fate = match keys.fate {
            Fate::PerhapsRefreshed(since) => Fate::PerhapsRefreshed(since),
            _ => Fate::PerhapsRefreshed(Instant::now()),
        };
        // From now on the proof may be answered no more.
        keys.is_refreshed = true;
        let answer = self.ask_to_refresh(node, label, &token, GIVEN, Rule::Lost).await?;
        let fresh = self.keys(&answer.json, keys.scopes.clone())?;
        (keys.assertion, keys.refresh, keys.renewed) = (fresh.assertion, fresh.refresh, fresh.renewed);
        keys.fate = Fate::Live;
        Ok(())
    }

    async fn ask_to_refresh(&self, node: &Node, label: &str, token: &str, expected: Told, rule: Rule) -> Step<Answer> {
        let body = json!({ "type": "refresh", "refresh_token": token });
        let expected = [expected];
        let question = told(label, Verb::Refresh, &expected, rule);
        self.ask(node, &question, async |http| http.post_json(wire::IDENTITY, &body).await).await
    }

    /// Ends the identity on request of its agent, by its assertion or by its refresh token.
    pub(in crate::faults) async fn revoke_identity(
        &self,
        node: &Node,
        label: &str,
        keys: &mut Keys,
        by_refresh: bool,
    ) -> Step<()> {
        let token = keys.refresh.as_ref().filter(|_| by_refresh).unwrap_or(&keys.assertion).clone();
        keys.fate = Fate::PerhapsRevoked;
        let status = Expected::Status(&[200]);
        let question = Question { label, what: wire::REVOKES, expected: status, rule: Rule::Undocumented };
        let form = [("token", token.as_str())];
        self.ask(node, &question, async |http| http.post_form_as_agent(wire::REVOKE_TOKEN, &form).await).await?;
        keys.fate = Fate::Revoked;
        Ok(())
    }

    /// Lets the human end one of its sessions, which ends all. Whether there was one.
    pub(super) async fn revoke_as_human(&self, node: &Node, human: &mut Human, identity: &mut Identity) -> Step<bool> {
        let sessions = human.sessions(self, node).await?;
        let is_one = |row: &&Value| row["label"] == identity.label.as_str() && row["status"] == "active";
        let Some(session) = sessions.iter().find(is_one).and_then(|row| row["id"].as_str()) else { return Ok(false) };
        let Some((label, keys)) = identity.held_mut() else { return Ok(false) };
        keys.fate = Fate::PerhapsRevoked;
        human.revoke(self, node, label, session).await?;
        keys.fate = Fate::Revoked;
        Ok(true)
    }

    /// What is live: each token opens what was granted, and the assertion gives another one.
    pub(super) async fn check_keys(&self, node: &Node, label: &str, keys: &Keys) -> Step<()> {
        let Some((newest, older)) = keys.access.split_last() else { return Ok(()) };
        for (scope, path) in wire::ROUTES {
            self.check(node, label, newest, path, wire::expected(&keys.scopes, scope), Rule::Lost).await?;
        }
        self.check(node, label, newest, wire::OWNER_ONLY, 403, Rule::Lost).await?;
        let (scope, path) = wire::ROUTES[0];
        for access in older {
            self.check(node, label, access, path, wire::expected(&keys.scopes, scope), Rule::Lost).await?;
        }
        Ok(())
    }

    /// What is over: no token opens anything, and the assertion and the refresh token give nothing.
    pub(super) async fn check_keys_over(&self, node: &Node, label: &str, keys: &Keys) -> Step<()> {
        for access in &keys.access {
            self.check_dead(node, label, access, Rule::Revived).await?;
        }
        self.ask_to_exchange(node, label, &keys.assertion, OVER, Rule::Revived).await?;
        let Some(refresh) = &keys.refresh else { return Ok(()) };
        self.ask_to_refresh(node, label, refresh, NOT_REFRESHED, Rule::Revived).await.map(drop)
    }
}

impl Identity {
    /// Lets the agent send the code that its human typed, in place of the poll.
    pub(super) fn tells_its_code(&mut self) {
        self.proof = self.decision.as_ref().map(|page| Proof::Told(page.user_code.clone()));
    }

    /// Notes that an identity may come of what is asked next, in place of what it held unclaimed.
    fn is_being_proven(&mut self) {
        if matches!(self.held, Held::Not) && self.proof.is_some() && !self.granted().is_empty() {
            self.held = Held::Perhaps;
            if let Some(Keys { fate: fate @ Fate::Live, .. }) = &mut self.unclaimed {
                *fate = Fate::PerhapsRevoked;
            }
        }
    }
}

fn told<'a>(label: &'a str, verb: Verb, expected: &'a [Told], rule: Rule) -> Question<'a> {
    Question { label, what: verb.name(), expected: Expected::Told(expected), rule }
}
