use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header::REFRESH};
use minijinja::{Value, context};

use super::{
    PageError, Pages,
    csrf::{self, FormKey},
    finish,
    form::Form,
    render::{Allowed, Link, Message, Tone},
    sessions, words,
};
use crate::{
    accounts::SignedIn,
    ceremony::{CeremonyError, Decision, KnownFlow, View, Warning},
    config::origin_of,
    endpoints::{Dialect, Handover},
    http::Reply,
    types::{
        authorization::{AuthorizationRequest, State},
        callback::Callback,
        id::AuthorizationRequestId,
        scope::{Scope, ScopeSet},
        session::SessionState,
    },
};

/// Shows the authorization request, and receives the human's decision.
pub(super) async fn answer(
    pages: &Pages,
    request: &Request<Bytes>,
    dialect: &'static dyn Dialect,
) -> Result<Reply, PageError> {
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    let id = AuthorizationRequestId::parse(last).ok_or(CeremonyError::UnknownAuthorization)?;
    let path = pages.context.config.path(&format!("{}{id}", dialect.approval_path()));
    let human = pages.human(request, path.clone()).await?;
    if !dialect.owns(&pages.context.ceremony.flow(&id).await?) {
        return Err(CeremonyError::UnknownAuthorization.into());
    }
    if *request.method() == Method::POST {
        return decide(pages, request, dialect, &id, &human, &path).await;
    }
    let browser = pages.context.client_address(request);
    let view = pages.context.ceremony.view(&id, &human.account, browser).await?;
    let authorization = &view.authorization;
    match view.state {
        State::Pending if pages.context.ceremony.check_sign_in(&human).is_err() => {
            Err(PageError::StepUp { return_to: path })
        }
        State::Pending => ask(pages, request, dialect, &human, &view, path),
        State::Approved if view.flow.has_finish_code() => finish::show(pages, request, &view, &path),
        State::Redeemed => collected(pages, request, &human, authorization).await,
        state => pages.show(status(state), &outcome(pages, state, authorization)),
    }
}

async fn decide(
    pages: &Pages,
    request: &Request<Bytes>,
    dialect: &dyn Dialect,
    id: &AuthorizationRequestId,
    human: &SignedIn,
    path: &str,
) -> Result<Reply, PageError> {
    let form = Form::read(request)?;
    csrf::check(pages, request.headers(), human, id.as_str(), form.one("csrf"))?;
    let decision = match form.one("decision") {
        Some("approve") => Decision::Approve(ticked(&form)?),
        Some("deny") => Decision::Deny,
        _ => return Err(PageError::Form("must have one `decision`, approve or deny")),
    };
    let decided = pages.context.ceremony.decide(id, human, decision).await;
    let decided = decided.map_err(|error| match error {
        CeremonyError::SignInTooOld => PageError::StepUp { return_to: path.to_owned() },
        error => error.into(),
    })?;
    match dialect.hand_over(&pages.context, decided) {
        Handover::Page => pages.see_other(path),
        Handover::Code(code) => {
            let mut reply = pages.see_other(path)?;
            finish::keep(pages, &mut reply, path, &code);
            Ok(reply)
        }
        Handover::Url(url) => go_to(pages, url),
    }
}

/// Redirects the browser. A content security policy can't name an IPv6 address, so a redirect to one would be blocked.
/// In that case, the response is a page with a `Refresh` header.
fn go_to(pages: &Pages, url: String) -> Result<Reply, PageError> {
    if !is_ipv6(&url) {
        return pages.see_other(&url);
    }
    let refresh = HeaderValue::try_from(format!("0;url={url}"));
    let link = Link { href: url, text: "Go back to your agent" };
    let message = Message::new(Tone::Good, "Approved").line("You are being sent back to your agent.").link(link);
    let mut reply = pages.show(StatusCode::OK, &message)?;
    if let Ok(refresh) = refresh {
        reply.headers_mut().insert(REFRESH, refresh);
    }
    Ok(reply)
}

/// Whether the host is an IPv6 address, which a content security policy can't name (CSP level 3 section 2.3.1).
fn is_ipv6(url: &str) -> bool {
    origin_of(url).contains("://[")
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
    pages: &Pages,
    request: &Request<Bytes>,
    dialect: &dyn Dialect,
    human: &SignedIn,
    view: &View,
    action: String,
) -> Result<Reply, PageError> {
    let key = FormKey::of(pages, request.headers())?;
    let authorization = &view.authorization;
    let client = &authorization.client;
    let now = pages.context.ceremony.now();
    let destination = dialect.destination(&view.flow).map(Callback::location);
    let content = context! {
        account => context! { label => human.account.label.clone() },
        client => context! {
            name => client.name.to_string(),
            label => client.label.as_ref().map(ToString::to_string),
            address => client.address.map(|address| address.to_string()),
            method => client.method.as_ref().map(ToString::to_string),
        },
        warnings => view.warnings.iter().map(|warning| warn(*warning)).collect::<Vec<&str>>(),
        scopes => scopes(pages, authorization),
        lifetime => lifetime(pages),
        handover => handover(&view.flow, destination),
        asked => context! {
            ago => words::ago(authorization.created_at, now),
            at => words::time(authorization.created_at),
        },
        expires_in => words::about(authorization.expires_at.since(now)),
        action,
        csrf => key.token(human, authorization.id.as_str()),
        sessions_url => pages.sessions_path(),
    };
    let allowed = Allowed { form_action: destination.filter(|url| !is_ipv6(url)), script: false };
    let mut reply = pages.renderer.page(&*pages.context.random, StatusCode::OK, "approval.html", content, allowed)?;
    key.keep(pages, &mut reply);
    Ok(reply)
}

/// How long the session lasts, and what happens at its end.
fn lifetime(pages: &Pages) -> Value {
    let lifetimes = pages.context.config.lifetimes();
    if !pages.context.ceremony.refreshes() {
        return context! { at_most => words::span(lifetimes.access) };
    }
    context! { at_most => words::span(lifetimes.session), unused => words::span(lifetimes.refresh.min(lifetimes.session)) }
}

/// The text about how the agent gets its session after approval.
fn handover(flow: &KnownFlow, destination: Option<&str>) -> String {
    if let Some(url) = destination {
        return format!("Your browser takes it to {}.", origin_of(url));
    }
    let text = match flow {
        KnownFlow::Detached { finish_code: true, .. } => {
            "The agent collects its access by itself, or you take a code to it."
        }
        KnownFlow::FinishCode { .. } => "You take a code from this page to the agent.",
        _ => "The agent collects its access by itself, from wherever it runs.",
    };
    text.into()
}

/// The requested scopes in the catalogue's order, each with its description.
fn scopes(pages: &Pages, authorization: &AuthorizationRequest) -> Vec<Value> {
    let entries = pages.context.config.catalogue().entries().iter();
    let requested = entries.filter(|entry| authorization.requested.contains(&entry.scope));
    requested
        .map(|entry| {
            context! { name => entry.scope.to_string(), description => entry.description.clone(), checked => true }
        })
        .collect()
}

const fn warn(warning: Warning) -> &'static str {
    match warning {
        Warning::DeceptiveName => {
            "The name has letters or quotation marks that look like others, as names do that imitate another. Read it letter by letter."
        }
        Warning::OfficialName => "The name sounds official. Anybody can choose such a name.",
        Warning::FirstAgent => "You have never let an agent use this account.",
        Warning::NewClient => "You have never let an agent of this name use this account.",
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

/// Shows which client redeemed the request, from which address and when, with a form to revoke the session.
async fn collected(
    pages: &Pages,
    request: &Request<Bytes>,
    human: &SignedIn,
    authorization: &AuthorizationRequest,
) -> Result<Reply, PageError> {
    let sessions = pages.context.ceremony.sessions_of(&authorization.id).await?;
    let Some(record) = sessions.first() else {
        return pages.show(StatusCode::OK, &outcome(pages, State::Redeemed, authorization));
    };
    let now = pages.context.ceremony.now();
    let key = FormKey::of(pages, request.headers())?;
    let content = context! {
        client => record.client.name.to_string(),
        granted => record.granted.names().join(", "),
        at => words::time(record.created_at),
        ago => words::ago(record.created_at, now),
        address => record.redeemer.address.map(|address| address.to_string()),
        program => record.redeemer.program.as_ref().map(ToString::to_string),
        active => record.state_at(now) == SessionState::Active,
        session => record.session.id.to_string(),
        csrf => key.token(human, sessions::SUBJECT),
        sessions_url => pages.sessions_path(),
    };
    let random = &*pages.context.random;
    let mut reply = pages.renderer.page(random, StatusCode::OK, "collected.html", content, Allowed::default())?;
    key.keep(pages, &mut reply);
    Ok(reply)
}

fn outcome(pages: &Pages, state: State, authorization: &AuthorizationRequest) -> Message {
    let message = match state {
        State::Approved => Message::new(Tone::Good, "Approved")
            .line("Go back to your agent. It collects its access by itself; you can close this page.")
            .line("You can take it back at any time on the sessions page."),
        State::Redeemed => Message::new(Tone::Good, "Approved, and collected").line("The agent has its access."),
        State::Locked => Message::new(Tone::Bad, "This request is locked")
            .line("Wrong codes were presented for it too often, so the agent got no access.")
            .line("Somebody may have guessed. If you still want it, tell the agent to ask again."),
        State::Denied => Message::new(Tone::Neutral, "Denied")
            .line("The agent gets no access, and is told so. You can close this page."),
        State::Revoked => Message::new(Tone::Neutral, "Taken back")
            .line("The approval was taken back before the agent collected its access."),
        State::Expired | State::Pending => Message::new(Tone::Neutral, "This request has expired")
            .line("The time ran out, so the agent got no access. If you still want it, tell the agent to ask again."),
    };
    let message = match authorization.granted() {
        Some(granted) if state != State::Expired => {
            message.fact("Agent", authorization.client.name.to_string()).fact("May", granted.names().join(", "))
        }
        _ => message,
    };
    message.link(pages.sessions_link())
}
