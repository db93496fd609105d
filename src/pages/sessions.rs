use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::{Page, PageError, Pages, SessionEntry, SessionsPage, WaitingEntry, csrf::FormKey, form::Fields};
use crate::{
    accounts::SignedIn,
    http::Reply,
    types::{
        authorization::AuthorizationRequest,
        clock::Timestamp,
        id::{AuthorizationRequestId, ClientId, SessionId},
        session::{RevokedBy, SessionRecord, SessionState},
    },
};

/// The subject of this page's form tokens.
pub(super) const SUBJECT: &str = "sessions";
/// How long the page says what was done. Later, the same URL shows the page without it.
const NOTICE: Duration = Duration::from_secs(60);

/// Lists the sessions of the account, and revokes one or all.
pub(super) async fn answer(pages: &Pages, request: &Request<Bytes>) -> Result<Reply, PageError> {
    let human = pages.human(request, pages.sessions_path()).await?;
    if *request.method() == Method::POST {
        return revoke(pages, request, &human).await;
    }
    let query = request.uri().query().unwrap_or_default();
    let field =
        |name: &str| form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value);
    let after = field("after").and_then(|id| SessionId::parse(&id));
    let page = pages.context.ceremony.sessions(&human.account.id, after.as_ref()).await?;
    let key = FormKey::of(pages, request.headers())?;
    let now = pages.context.ceremony.now();
    let path = pages.sessions_path();
    // What was approved and not collected is on the first page only: there is not much of it.
    let waiting = match &after {
        None => pages.context.ceremony.uncollected(&human.account.id).await?,
        Some(_) => Vec::new(),
    };
    let shown = SessionsPage {
        form: pages.form(path.clone(), &key, &human, SUBJECT),
        account: human.account.label.clone(),
        notice: field("done").zip(field("proof")).and_then(|(done, proof)| {
            // Only this service makes the proof, and only for what it has just done for this human.
            let done_at = key.verify(&human, &subject_of(&done), Some(&*proof)).ok()?;
            if now < done_at.after(NOTICE) { notice(&done).map(|id| pages.say(id, &[])) } else { None }
        }),
        waiting: waiting.iter().map(|request| waiting_entry(pages, request)).collect(),
        sessions: page.sessions.iter().map(|session| entry(pages, session, now)).collect(),
        next_url: page.next.map(|next| format!("{path}?after={next}")),
    };
    let mut reply = pages.page(StatusCode::OK, &Page::Sessions(Box::new(shown)), &[])?;
    key.keep(pages, &mut reply);
    Ok(reply)
}

async fn revoke(pages: &Pages, request: &Request<Bytes>, human: &SignedIn) -> Result<Reply, PageError> {
    let form = Fields::read(request)?;
    let key = FormKey::of(pages, request.headers())?;
    key.verify(human, SUBJECT, form.one("csrf"))?;
    let account = &human.account.id;
    let done = match form.one("decision") {
        Some("revoke") => {
            let id = form.one("session").and_then(SessionId::parse);
            let id = id.ok_or(PageError::Form("must have one `session`"))?;
            if pages.context.ceremony.revoke_session(account, &id).await? { "revoked" } else { "gone" }
        }
        Some("revoke_all") => {
            pages.context.ceremony.revoke_all(account).await?;
            "revoked_all"
        }
        Some("take_back") => {
            let id = form.one("request").and_then(AuthorizationRequestId::parse);
            let id = id.ok_or(PageError::Form("must have one `request`"))?;
            if pages.context.ceremony.take_back(account, &id).await? { "taken_back" } else { "gone" }
        }
        _ => {
            return Err(PageError::Form("must have one `decision`, such as revoke or revoke_all"));
        }
    };
    let proof = key.token(human, &subject_of(done), pages.context.ceremony.now());
    pages.see_other(&format!("{}?done={done}&proof={proof}", pages.sessions_path()))
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
        "gone" => Some("done-gone"),
        _ => None,
    }
}

const fn ended_by(by: RevokedBy) -> &'static str {
    match by {
        RevokedBy::Agent => "by-agent",
        RevokedBy::Human => "by-human",
        RevokedBy::Service => "by-service",
        RevokedBy::Reuse => "by-reuse",
    }
}

fn waiting_entry(pages: &Pages, request: &AuthorizationRequest) -> WaitingEntry {
    let client = &request.client;
    WaitingEntry {
        id: request.id.to_string(),
        client: client.name.to_string(),
        host: client.id.as_ref().and_then(ClientId::metadata_host).map(ToString::to_string),
        label: client.label.as_ref().map(ToString::to_string),
        scopes: request.granted().map(|granted| pages.given(granted)).unwrap_or_default(),
        resource: pages.resource(&request.resource),
        asked: pages.instant(request.created_at),
        expires: pages.instant(request.expires_at),
        address: client.address.map(|address| address.to_string()),
    }
}

fn entry(pages: &Pages, session: &SessionRecord, now: Timestamp) -> SessionEntry {
    let client = &session.client;
    let address = session.last_use.and_then(|last| last.address).or(client.address);
    SessionEntry {
        id: session.session.id.to_string(),
        client: client.name.to_string(),
        host: client.id.as_ref().and_then(ClientId::metadata_host).map(ToString::to_string),
        label: client.label.as_ref().map(ToString::to_string),
        scopes: pages.given(&session.granted),
        resource: pages.resource(&session.session.resource),
        created: pages.instant(session.created_at),
        last_used: session.last_use.map(|last| pages.instant(last.at)),
        address: address.map(|address| address.to_string()),
        expires: pages.instant(session.ends_at()),
        state: match session.state_at(now) {
            SessionState::Active => "active",
            SessionState::Expired => "expired",
            SessionState::Revoked => "revoked",
        },
        ended_by: session.revoked.map(|revoked| pages.say(ended_by(revoked.by), &[])),
    }
}
