use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use unicode_normalization::UnicodeNormalization as _;

use super::{
    Action, Notice, Page, PageError, Pages, Tone,
    csrf::FormKey,
    form::Fields,
    session_list::{Place, SessionList, parameter},
    words::filled,
};
use crate::{
    accounts::SignedIn,
    http::Reply,
    types::{
        id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
        text::{HumanText, TextError},
    },
};

/// The subject of this page's form tokens.
pub(super) const SUBJECT: &str = "sessions";
/// How long the page says what was done. Later, the same URL shows the page without it.
const NOTICE: Duration = Duration::from_secs(60);

/// Lists the sessions of the account, names them, and revokes one or many.
pub(super) async fn answer(pages: &Pages, request: &Request<Bytes>) -> Result<Reply, PageError> {
    let query = request.uri().query();
    let is_export = *request.method() == Method::GET && parameter(query, "export").is_some();
    if is_export && pages.context.is_cross_site(request.headers()) {
        let message = pages.message(Tone::Bad, "export-elsewhere", &[]).link(pages.sessions_link());
        return pages.show(StatusCode::FORBIDDEN, message);
    }
    let human = pages.human(request, pages.sessions_path()).await?;
    if is_export {
        return export(pages, &human.account.id).await;
    }
    let key = FormKey::of(pages, request.headers())?;
    let visit = Visit { pages, place: Place::of(query), human, key };
    if *request.method() == Method::POST {
        return visit.receive(&Fields::read(request)?).await;
    }
    let mut reply = match parameter(query, "confirm").as_deref() {
        Some("all") => visit.ask_about_all().await?,
        Some("client") => visit.ask_about_client(parameter(query, "session")).await?,
        _ => visit.show(StatusCode::OK, visit.what_was_done(query)).await?,
    };
    visit.key.keep(pages, &mut reply);
    Ok(reply)
}

/// All that is stored about the account, as a file.
async fn export(pages: &Pages, account: &AccountId) -> Result<Reply, PageError> {
    let export = pages.context.ceremony.export(account).await?;
    let json = serde_json::to_vec_pretty(&export).map_err(|error| PageError::Render(error.into()))?;
    let mut reply = pages.renderer.empty(StatusCode::OK);
    let attachment = HeaderValue::from_static("attachment; filename=\"agent-sessions.json\"");
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CONTENT_DISPOSITION, attachment);
    *reply.body_mut() = json.into();
    Ok(reply)
}

/// A human's visit to the page.
struct Visit<'a> {
    pages: &'a Pages,
    place: Place,
    human: SignedIn,
    key: FormKey,
}

impl Visit<'_> {
    async fn show(&self, status: StatusCode, notice: Option<Notice>) -> Result<Reply, PageError> {
        let (pages, account) = (self.pages, &self.human.account.id);
        let list = SessionList::read(pages, account, &self.place).await?;
        let waiting = pages.context.ceremony.uncollected(account).await?;
        let page = list.show(pages, &self.place, &self.human, &self.key, notice, &waiting);
        pages.page(status, &Page::Sessions(Box::new(page)), &[])
    }

    async fn receive(&self, form: &Fields) -> Result<Reply, PageError> {
        let (ceremony, account) = (&self.pages.context.ceremony, &self.human.account.id);
        self.key.verify(&self.human, SUBJECT, form.one("csrf"))?;
        let session = || {
            let id = form.one("session").and_then(SessionId::parse);
            id.ok_or(PageError::Form("must have one `session`"))
        };
        let or_gone = |was_done: bool, done: &'static str| if was_done { done } else { "gone" };
        match form.one("decision") {
            Some("revoke") => {
                let session = session()?;
                let done = or_gone(ceremony.revoke_session(account, &session).await?, "revoked");
                self.go_back(done, Some(&session))
            }
            Some("revoke_client") => {
                let session = session()?;
                match ceremony.revoke_client(account, &session).await? {
                    0 => self.go_back("gone", Some(&session)),
                    count => self.go_back(&format!("{MANY}{count}"), Some(&session)),
                }
            }
            Some("revoke_all") => {
                ceremony.revoke_all(account).await?;
                self.go_back("revoked_all", None)
            }
            Some("take_back") => {
                let id = form.one("request").and_then(AuthorizationRequestId::parse);
                let id = id.ok_or(PageError::Form("must have one `request`"))?;
                self.go_back(or_gone(ceremony.take_back(account, &id).await?, "taken_back"), None)
            }
            Some("rename") => {
                let session = session()?;
                let typed = form.one("name").ok_or(PageError::Form("must have one `name`"))?;
                match name(typed) {
                    Ok(name) => {
                        let is_known = ceremony.rename_session(account, &session, name.as_ref()).await?;
                        self.go_back(if is_known { "renamed" } else { "unknown" }, Some(&session))
                    }
                    Err(error) => self.refuse_name(&session, typed, error).await,
                }
            }
            _ => Err(PageError::Form("must have one `decision`, such as revoke or rename")),
        }
    }

    /// Sends the browser back to where the form was, and says there what was done.
    fn go_back(&self, done: &str, session: Option<&SessionId>) -> Result<Reply, PageError> {
        let proof = self.key.token(&self.human, &subject_of(done), self.pages.context.ceremony.now());
        let mut more = vec![("done", done), ("proof", &proof)];
        more.extend(session.map(|session| ("on", session.as_str())));
        let fragment = session.map(|session| format!("#{session}")).unwrap_or_default();
        self.pages.see_other(&format!("{}{fragment}", self.place.url(&self.pages.sessions_path(), &more)))
    }

    /// Only this service makes the proof, and only for what it has just done for this human.
    fn what_was_done(&self, query: Option<&str>) -> Option<Notice> {
        let (done, proof) = (parameter(query, "done")?, parameter(query, "proof")?);
        let done_at = self.key.verify(&self.human, &subject_of(&done), Some(&proof)).ok()?;
        if self.pages.context.ceremony.now() >= done_at.after(NOTICE) {
            return None;
        }
        let text = match (notice(&done), done.strip_prefix(MANY).and_then(|count| count.parse::<u64>().ok())) {
            (Some(id), _) => self.pages.say(id, &[]),
            (None, Some(count)) => self.pages.say("done-revoked-many", &[("count", count.into())]),
            (None, None) => return None,
        };
        Some(Notice { text, session: parameter(query, "on"), refused: None })
    }

    async fn refuse_name(&self, session: &SessionId, typed: &str, error: TextError) -> Result<Reply, PageError> {
        let text = self.pages.say("name-refused", &[("problem", self.pages.say(name_problem(error), &[]).into())]);
        // A browser sends back no more than it has room for.
        let typed = typed.chars().take(LONGEST_TYPED).collect();
        let notice = Notice { text, session: Some(session.to_string()), refused: Some(typed) };
        self.show(StatusCode::BAD_REQUEST, Some(notice)).await
    }

    async fn ask_about_all(&self) -> Result<Reply, PageError> {
        let account = &self.human.account.id;
        // All of them, wherever the human is in the list.
        let list = SessionList::read(self.pages, account, &Place::default()).await?;
        self.ask(&Question {
            id: "confirm-all",
            decision: "revoke_all",
            client: String::new(),
            fields: Vec::new(),
            active: list.all_active(),
            waiting: self.pages.context.ceremony.uncollected(account).await?.len(),
            more: list.has_more(&Place::default()),
        })
    }

    async fn ask_about_client(&self, session: Option<String>) -> Result<Reply, PageError> {
        let account = &self.human.account.id;
        let place = self.place.without_newest();
        let list = SessionList::read(self.pages, account, &place).await?;
        let session = session.and_then(|session| SessionId::parse(&session));
        let found = session.and_then(|id| list.client_of(&id).map(|found| (id, found)));
        let Some((session, (client, active))) = found else { return self.ask_nothing() };
        let mut waiting = self.pages.context.ceremony.uncollected(account).await?;
        waiting.retain(|request| request.client.is_same_as(client));
        let name = self.pages.say("quoted", &[("text", filled(client.name.as_str()))]);
        let named = match client.id.as_ref().and_then(ClientId::metadata_host) {
            Some(host) => self.pages.say("client-of-host", &[("client", name.into()), ("host", filled(host))]),
            None => name,
        };
        self.ask(&Question {
            id: "confirm-client",
            decision: "revoke_client",
            client: named,
            fields: vec![("session", session.to_string())],
            active,
            waiting: waiting.len(),
            more: list.has_more(&place),
        })
    }

    /// Asks before many sessions end. The way back leads to where the human was.
    fn ask(&self, question: &Question) -> Result<Reply, PageError> {
        let Question { active, waiting, more, .. } = *question;
        if active == 0 && waiting == 0 && !more {
            return self.ask_nothing();
        }
        let pages = self.pages;
        let arguments = [("count", active.into()), ("client", question.client.clone().into())];
        let mut message = pages.message(Tone::Neutral, question.id, &arguments);
        message.title = pages.say(question.id, &arguments);
        if waiting > 0 {
            message.lines.push(pages.say("confirm-waiting", &[("count", waiting.into())]));
        }
        if more {
            message.lines.push(pages.say("confirm-more", &[]));
        }
        let back = self.place.url(&pages.sessions_path(), &[]);
        let form = pages.form(back.clone(), &self.key, &self.human, SUBJECT);
        let text = pages.say("confirm-revoke", &[("count", active.into())]);
        let action = Action { form, decision: question.decision, fields: question.fields.clone(), text };
        pages.show(StatusCode::OK, message.action(action).link(pages.link(back, "keep-them")))
    }

    fn ask_nothing(&self) -> Result<Reply, PageError> {
        let back = self.pages.link(self.place.url(&self.pages.sessions_path(), &[]), "see-sessions");
        self.pages.show(StatusCode::OK, self.pages.message(Tone::Neutral, "confirm-none", &[]).link(back))
    }
}

/// What is asked before many sessions end.
struct Question {
    /// The message that asks.
    id: &'static str,
    decision: &'static str,
    /// The client, in words, if it is about one.
    client: String,
    fields: Vec<(&'static str, String)>,
    /// How many sessions end.
    active: usize,
    /// How many approvals are taken back.
    waiting: usize,
    /// Whether there are sessions that were not counted.
    more: bool,
}

/// The beginning of what was done, if that was to revoke a number of sessions.
const MANY: &str = "revoked_";
/// As many characters of a refused name are shown again.
const LONGEST_TYPED: usize = 256;

/// A name as a human typed it; `None` if it is blank.
fn name(typed: &str) -> Result<Option<HumanText>, TextError> {
    // Some keyboards write letters and marks apart.
    let typed: String = typed.trim().nfc().collect();
    if typed.is_empty() { Ok(None) } else { HumanText::new(&typed).map(Some) }
}

const fn name_problem(error: TextError) -> &'static str {
    match error {
        TextError::TooLong => "name-too-long",
        TextError::Blank | TextError::NotNormal => "name-begins-with-mark",
        TextError::Invisible => "name-invisible",
        TextError::StackedMarks => "name-stacked-marks",
    }
}

/// What the proof of a notice is made for.
fn subject_of(done: &str) -> String {
    format!("done {done}")
}

fn notice(done: &str) -> Option<&'static str> {
    match done {
        "revoked" => Some("done-revoked"),
        "revoked_all" => Some("done-revoked-all"),
        "taken_back" => Some("done-taken-back"),
        "renamed" => Some("done-renamed"),
        "unknown" => Some("done-unknown"),
        "gone" => Some("done-gone"),
        _ => None,
    }
}
