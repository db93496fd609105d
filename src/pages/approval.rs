use bytes::Bytes;
use http::{Method, Request, StatusCode};
use minijinja::{Value, context};

use super::{
    Desk, PageError,
    csrf::{self, FormKey},
    form::Form,
    render::{Message, Tone},
    words,
};
use crate::{
    accounts::SignedIn,
    ceremony::{CeremonyError, Decision, View, Warning},
    config::APPROVAL_PATH,
    core::{
        id::RegistrationId,
        registration::{Registration, State},
        scope::{Scope, ScopeSet},
    },
    reply::Reply,
};

/// Shows who asks for what, and takes the human's decision.
pub(super) async fn answer(desk: &Desk, request: &Request<Bytes>) -> Result<Reply, PageError> {
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    let id = RegistrationId::parse(last).ok_or(CeremonyError::UnknownRegistration)?;
    let path = desk.site.config.path(&format!("{APPROVAL_PATH}{id}"));
    let human = desk.human(request, path.clone()).await?;
    if *request.method() == Method::POST {
        return decide(desk, request, &id, &human, &path).await;
    }
    let browser = desk.site.client_address(request);
    let view = desk.site.ceremony.view(&id, &human.account, browser).await?;
    match view.state {
        State::Pending => ask(desk, request, &human, &view, path),
        state => desk.show(status(state), &outcome(desk, state, &view.registration)),
    }
}

async fn decide(
    desk: &Desk,
    request: &Request<Bytes>,
    id: &RegistrationId,
    human: &SignedIn,
    path: &str,
) -> Result<Reply, PageError> {
    let form = Form::read(request)?;
    csrf::check(desk, request.headers(), human, id.as_str(), form.one("csrf"))?;
    let decision = match form.one("decision") {
        Some("approve") => Decision::Approve(ticked(&form)?),
        Some("deny") => Decision::Deny,
        _ => return Err(PageError::Form("must have one `decision`, approve or deny")),
    };
    desk.site.ceremony.decide(id, &human.account, decision).await?;
    desk.see_other(path)
}

fn ticked(form: &Form) -> Result<ScopeSet, PageError> {
    let names: Vec<&str> = form.all("scope").collect();
    let scopes: Result<ScopeSet, _> = names.iter().map(|name| Scope::new(name)).collect();
    match scopes {
        Ok(scopes) if scopes.len() == names.len() => Ok(scopes),
        Ok(_) => Err(PageError::Form("has a `scope` twice")),
        Err(_) => Err(PageError::Ceremony(CeremonyError::NotRequested)),
    }
}

fn ask(
    desk: &Desk,
    request: &Request<Bytes>,
    human: &SignedIn,
    view: &View,
    action: String,
) -> Result<Reply, PageError> {
    let key = FormKey::of(desk, request.headers())?;
    let registration = &view.registration;
    let client = &registration.client;
    let now = desk.site.ceremony.now();
    let content = context! {
        account => context! { label => human.account.label.clone() },
        client => context! {
            name => client.name.to_string(),
            label => client.label.as_ref().map(ToString::to_string),
            address => client.address.map(|address| address.to_string()),
            method => client.method.as_ref().map(ToString::to_string),
        },
        warnings => view.warnings.iter().map(|warning| warn(*warning)).collect::<Vec<&str>>(),
        scopes => scopes(desk, registration),
        lifetime => words::span(desk.site.config.lifetimes().access),
        asked => context! {
            ago => words::ago(registration.created_at, now),
            at => words::time(registration.created_at),
        },
        expires_in => words::about(registration.expires_at.since(now)),
        action,
        csrf => key.token(human, registration.id.as_str()),
        sessions_url => desk.sessions_path(),
    };
    let mut reply = desk.renderer.page(&*desk.site.random, StatusCode::OK, "approval.html", content)?;
    key.keep(desk, &mut reply);
    Ok(reply)
}

/// The requested scopes in the catalogue's order, each with its sentence.
fn scopes(desk: &Desk, registration: &Registration) -> Vec<Value> {
    let entries = desk.site.config.catalogue().entries().iter();
    let requested = entries.filter(|entry| registration.requested.contains(&entry.scope));
    requested
        .map(|entry| {
            context! { name => entry.scope.to_string(), description => entry.description.clone(), checked => true }
        })
        .collect()
}

const fn warn(warning: Warning) -> &'static str {
    match warning {
        Warning::DeceptiveName => {
            "The name mixes alphabets, as names do that imitate another. Read it letter by letter."
        }
        Warning::OfficialName => "The name sounds official. Anybody can choose such a name.",
        Warning::OtherAddress => {
            "The request came from another network address than your browser’s. That is right for an agent that runs elsewhere, and wrong for one on this computer."
        }
    }
}

const fn status(state: State) -> StatusCode {
    match state {
        State::Expired => StatusCode::GONE,
        _ => StatusCode::OK,
    }
}

fn outcome(desk: &Desk, state: State, registration: &Registration) -> Message {
    let message = match state {
        State::Approved => Message::new(Tone::Good, "Approved")
            .line("Go back to your agent. It collects its access by itself; you can close this page.")
            .line("You can take it back at any time on the sessions page."),
        State::Exchanged => Message::new(Tone::Good, "Approved, and collected")
            .line("The agent has its access. If that was not your agent, revoke the session now."),
        State::Denied => Message::new(Tone::Neutral, "Denied")
            .line("The agent gets no access, and is told so. You can close this page."),
        State::Revoked => Message::new(Tone::Neutral, "Taken back")
            .line("The approval was taken back before the agent collected its access."),
        State::Expired | State::Pending => Message::new(Tone::Neutral, "This request has expired")
            .line("The time ran out, so the agent got no access. If you still want it, tell the agent to ask again."),
    };
    let message = match registration.granted() {
        Some(granted) if state != State::Expired => {
            message.fact("Agent", registration.client.name.to_string()).fact("May", granted.names().join(", "))
        }
        _ => message,
    };
    message.link(desk.sessions_link())
}
