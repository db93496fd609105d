use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use minijinja::{Value, context};

use super::{PageError, Pages, csrf::FormKey, form::Form, render::Allowed, words};
use crate::{
    accounts::SignedIn,
    http::Reply,
    types::{
        authorization::AuthorizationRequest,
        clock::Timestamp,
        id::{AuthorizationRequestId, ClientId, SessionId},
        scope::ScopeSet,
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
    let active = page.sessions.iter().filter(|session| session.state_at(now) == SessionState::Active).count();
    let content = context! {
        account => context! { label => human.account.label.clone() },
        sessions => page.sessions.iter().map(|session| show(pages, session, now)).collect::<Vec<Value>>(),
        waiting => waiting.iter().map(|request| show_waiting(pages, request)).collect::<Vec<Value>>(),
        notice => field("done").zip(field("proof")).and_then(|(done, proof)| {
            // Only this service makes the proof, and only for what it has just done for this human.
            let done_at = key.verify(&human, &subject_of(&done), Some(&*proof)).ok()?;
            if now < done_at.after(NOTICE) { notice(&done) } else { None }
        }),
        active_count => active,
        csrf => key.token(&human, SUBJECT, now),
        next_url => page.next.map(|next| format!("{path}?after={next}")),
        action => path,
    };
    let random = &*pages.context.random;
    let mut reply = pages.renderer.page(random, StatusCode::OK, "sessions.html", content, Allowed::default())?;
    key.keep(pages, &mut reply);
    Ok(reply)
}

async fn revoke(pages: &Pages, request: &Request<Bytes>, human: &SignedIn) -> Result<Reply, PageError> {
    let form = Form::read(request)?;
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
        "revoked" => Some("Session revoked. Its next call is refused."),
        "revoked_all" => Some("All sessions revoked. Their next calls are refused."),
        "taken_back" => Some("Taken back. The agent gets no access."),
        "gone" => Some("That had ended already."),
        _ => None,
    }
}

const fn ended_by(by: RevokedBy) -> &'static str {
    match by {
        RevokedBy::Agent => "the agent itself",
        RevokedBy::Human => "you",
        RevokedBy::Service => "the service, because the account is not active",
        RevokedBy::Reuse => "the service, because a secret was used twice: it may have been stolen",
    }
}

/// An approved request that no agent has collected.
fn show_waiting(pages: &Pages, request: &AuthorizationRequest) -> Value {
    context! {
        id => request.id.to_string(),
        client => request.client.name.to_string(),
        host => request.client.id.as_ref().and_then(ClientId::metadata_host),
        label => request.client.label.as_ref().map(ToString::to_string),
        scopes => request.granted().map(|granted| scopes(pages, granted)).unwrap_or_default(),
        resource => pages.resource(&request.resource),
        asked => words::time(request.created_at),
        expires => words::time(request.expires_at),
        address => request.client.address.map(|address| address.to_string()),
    }
}

/// The granted scopes, then those that they imply, each with its description.
fn scopes(pages: &Pages, granted: &ScopeSet) -> Vec<Value> {
    let catalogue = pages.context.config.catalogue();
    let granted_ones = granted.iter().map(|scope| {
        let description = catalogue.find(scope).map(|entry| entry.description.clone()).unwrap_or_default();
        context! { name => scope.to_string(), description }
    });
    let implied = catalogue.given(granted).filter(|entry| !granted.contains(&entry.scope)).map(|entry| {
        context! { name => entry.scope.to_string(), description => entry.description.clone(), implied => true }
    });
    granted_ones.chain(implied).collect()
}

fn show(pages: &Pages, session: &SessionRecord, now: Timestamp) -> Value {
    let state = session.state_at(now);
    let address = session.last_use.and_then(|last| last.address).or(session.client.address);
    context! {
        id => session.session.id.to_string(),
        client => session.client.name.to_string(),
        host => session.client.id.as_ref().and_then(ClientId::metadata_host),
        label => session.client.label.as_ref().map(ToString::to_string),
        scopes => scopes(pages, &session.granted),
        resource => pages.resource(&session.session.resource),
        created => words::time(session.created_at),
        last_used => session.last_use.map_or_else(|| "never".into(), |last| words::time(last.at)),
        address => address.map(|address| address.to_string()),
        expires => words::time(session.ends_at()),
        state => match state {
            SessionState::Active => "active",
            SessionState::Expired => "expired",
            SessionState::Revoked => "revoked",
        },
        ended_by => session.revoked.map(|revoked| ended_by(revoked.by)),
        revocable => state == SessionState::Active,
    }
}
