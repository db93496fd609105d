use http::StatusCode;

use super::{Action, Fact, FinishCode, OutcomePage, Page, PageError, Tone, approval::Visit, sessions, words::filled};
use crate::{
    ceremony::{Decided, KnownFlow, ShortCode, View},
    endpoints::Handover,
    http::Reply,
    types::{
        authorization::State,
        scope::ScopeSet,
        secret::{Finish, Secret},
        session::{SessionRecord, SessionState},
    },
};

impl Visit<'_> {
    /// Shows what became of a request that is no longer pending.
    pub(super) async fn outcome(&self, view: &View) -> Result<Reply, PageError> {
        let page = match view.state {
            State::Approved if is_held(view) => match self.ceremony().sessions_of(&self.id).await?.first() {
                Some(record) => {
                    let action = Some(self.action("take_back", "end-access"));
                    OutcomePage { action, ..self.collected(record) }
                }
                None => {
                    let action = Some(self.action("take_back", "end-access"));
                    OutcomePage { action, live: true, ..self.told("approved", Tone::Good, "collected-identity", view) }
                }
            },
            State::Approved => self.approved(view)?,
            State::Redeemed => match self.ceremony().sessions_of(&self.id).await?.first() {
                Some(record) => self.collected(record),
                None => self.told("ended", Tone::Good, "collected-gone", view),
            },
            State::Locked => self.told("locked", Tone::Bad, "locked", view),
            State::Denied => self.told("denied", Tone::Neutral, "denied", view),
            State::Revoked => self.told("taken_back", Tone::Neutral, "taken-back", view),
            State::Expired | State::Pending => {
                OutcomePage { facts: Vec::new(), ..self.told("expired", Tone::Neutral, "expired", view) }
            }
        };
        let status = if view.state == State::Expired { StatusCode::GONE } else { StatusCode::OK };
        self.pages.page(status, &Page::Outcome(Box::new(page)), &[])
    }

    /// Shows an approved request: to the browser session that approved, with the code or the way back to the agent.
    fn approved(&self, view: &View) -> Result<OutcomePage, PageError> {
        let code = self.ceremony().code_again(&view.authorization, &view.flow, self.approver())?;
        let (authorization, flow) = (view.authorization.clone(), view.flow.clone());
        let page = match self.dialect.hand_over(&self.pages.context, Decided { authorization, flow, code }) {
            Handover::Code(code) => self.finish(view, &code),
            Handover::ReadBack(code) => self.read_back(view, &code),
            Handover::Url(url) => {
                let mut page = self.told("approved", Tone::Good, "approved-waits", view);
                page.links.insert(0, self.pages.link(url, "go-to-agent"));
                page
            }
            Handover::Page => {
                let id = match &view.flow {
                    KnownFlow::Browser { .. } | KnownFlow::AuthorizationCode { .. } => "approved-in-browser",
                    KnownFlow::FinishCode { .. } => "approved-by-code",
                    KnownFlow::Identity(identity) if !identity.typed => "approved-by-code",
                    _ => "approved",
                };
                let mut page = self.told("approved", Tone::Good, id, view);
                page.lines.push(self.pages.say("waiting-for-agent", &[]));
                page
            }
        };
        let action = Some(self.action("take_back", "take-back"));
        Ok(OutcomePage { action, live: true, ..page })
    }

    /// Shows the code to the human who approved, with a message to copy to the agent.
    fn finish(&self, view: &View, code: &Secret<Finish>) -> OutcomePage {
        let pages = self.pages;
        let left = view.flow.finish_code().map(|code| code.expires_at.since(self.ceremony().now()));
        let by_itself = matches!(view.flow, KnownFlow::Detached { .. });
        let id = if by_itself { "finish-or-by-itself" } else { "finish" };
        let client = pages.say("quoted", &[("text", filled(view.authorization.client.name.as_str()))]);
        let arguments = [("client", client.into()), ("span", pages.words.about(left.unwrap_or_default()).into())];
        let service = pages.context.config.name();
        let intro = pages.say("finish-code-message", &[("service", service.into())]);
        OutcomePage {
            lines: pages.words.sentences(id, &arguments),
            code: Some(FinishCode { code: code.expose().to_owned(), message: format!("{intro}\n{}", code.expose()) }),
            facts: Vec::new(),
            ..self.told("approved", Tone::Good, id, view)
        }
    }

    /// Shows the code that the human who approved tells the agent.
    fn read_back(&self, view: &View, code: &ShortCode) -> OutcomePage {
        let pages = self.pages;
        let left = view.authorization.expires_at.since(self.ceremony().now());
        let client = pages.say("quoted", &[("text", filled(view.authorization.client.name.as_str()))]);
        let arguments = [("client", client.into()), ("span", pages.words.about(left).into())];
        let service = pages.context.config.name();
        let intro = pages.say("read-back-message", &[("service", service.into())]);
        let (first, second) = code.as_str().split_at(3);
        OutcomePage {
            lines: pages.words.sentences("read-back", &arguments),
            code: Some(FinishCode { code: format!("{first} {second}"), message: format!("{intro} {}", code.as_str()) }),
            facts: Vec::new(),
            ..self.told("approved", Tone::Good, "read-back", view)
        }
    }

    /// Shows which client redeemed the request, from which address and when, and what it has done since.
    fn collected(&self, record: &SessionRecord) -> OutcomePage {
        let (pages, now) = (self.pages, self.ceremony().now());
        let is_active = record.state_at(now) == SessionState::Active;
        let (state, tone, id) = match (is_active, record.last_use) {
            (true, None) => ("collected", Tone::Good, "collected"),
            (true, Some(_)) => ("used", Tone::Good, "collected"),
            (false, _) => ("ended", Tone::Neutral, "collected-ended"),
        };
        let instant = |term, at| Fact { instant: Some(pages.instant(at)), ..pages.fact(term, "") };
        let mut facts = self.granted(record.client.name.as_str(), &record.granted);
        facts.push(instant("collected-at", record.created_at));
        facts.extend(record.redeemer.address.map(|address| pages.fact("collected-from", address.to_string())));
        let program = record.redeemer.program.as_ref();
        facts.extend(program.map(|program| pages.fact("collected-by", self.quoted(program.as_str()))));
        facts.push(match record.last_use {
            Some(last) => instant("first-use", last.at),
            None => pages.fact("first-use", pages.say("never-used", &[])),
        });
        let revoke = Action {
            form: pages.form(pages.sessions_path(), &self.key, &self.human, sessions::SUBJECT),
            decision: "revoke",
            fields: vec![("session", record.session.id.to_string())],
            text: pages.say("revoke-session", &[]),
        };
        OutcomePage {
            state,
            tone,
            title: pages.say(id, &[]),
            lines: pages.words.sentences(id, &[]),
            code: None,
            facts,
            action: is_active.then_some(revoke),
            links: vec![pages.sessions_link()],
            path: self.path.clone(),
            live: is_active && record.last_use.is_none(),
        }
    }

    /// The page of a state: with the sentences of the message `id`, and with who got what.
    fn told(&self, state: &'static str, tone: Tone, id: &str, view: &View) -> OutcomePage {
        let authorization = &view.authorization;
        let granted = authorization.granted();
        OutcomePage {
            state,
            tone,
            title: self.pages.say(id, &[]),
            lines: self.pages.words.sentences(id, &[]),
            code: None,
            facts: granted.map(|it| self.granted(authorization.client.name.as_str(), it)).unwrap_or_default(),
            action: None,
            links: vec![self.pages.sessions_link()],
            path: self.path.clone(),
            live: false,
        }
    }

    /// Who got what. What the granted scopes give is granted, too.
    fn granted(&self, client: &str, granted: &ScopeSet) -> Vec<Fact> {
        let pages = self.pages;
        let descriptions = pages.given(granted).into_iter();
        let descriptions =
            descriptions.map(|scope| if scope.description.is_empty() { scope.name } else { scope.description });
        let descriptions: Vec<String> = descriptions.collect();
        vec![pages.fact("agent", self.quoted(client)), pages.fact("may", pages.words.list(&descriptions))]
    }

    fn quoted(&self, text: &str) -> String {
        self.pages.say("quoted", &[("text", filled(text))])
    }
}

/// Whether the agent of an identity has collected what was approved.
fn is_held(view: &View) -> bool {
    matches!(&view.flow, KnownFlow::Identity(identity) if identity.is_held())
}
