use std::net::IpAddr;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::{Method, Request, StatusCode};
use minijinja::{Value, context};

use super::{
    Kind, PageError, Pages,
    csrf::FormKey,
    finish,
    form::Form,
    render::{Action, Allowed, Link, Message, Tone},
    sessions, words,
};
use crate::{
    accounts::SignedIn,
    ceremony::{Approver, Ceremony, CeremonyError, Decided, Decision, KnownFlow, View, Warning},
    config::origin_of,
    endpoints::{Destination, Dialect, Handover},
    http::Reply,
    types::{
        authorization::{AuthorizationRequest, Client, State},
        clock::Timestamp,
        id::AuthorizationRequestId,
        scope::{CatalogueEntry, Scope, ScopeSet},
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
    let ticks = Ticks::of(pages, request);
    let human = pages.human(request, ticks.kept_in(&path)).await?;
    if !dialect.owns(&pages.context.ceremony.flow(&id).await?) {
        return Err(CeremonyError::UnknownAuthorization.into());
    }
    let key = FormKey::of(pages, request.headers())?;
    let visit = Visit { pages, dialect, id, human, path, ticks, key, browser: pages.context.client_address(request) };
    if *request.method() == Method::POST {
        return visit.receive(&Form::read(request)?).await;
    }
    let shown = visit.show().await;
    let mut reply = shown.unwrap_or_else(|error| pages.refuse(&error, request, Kind::Approval(dialect)));
    // What was opened is bound to this key, also if reading more of it failed.
    visit.key.keep(pages, &mut reply);
    Ok(reply)
}

/// A human's visit to the page of one request.
struct Visit<'a> {
    pages: &'a Pages,
    dialect: &'static dyn Dialect,
    id: AuthorizationRequestId,
    human: SignedIn,
    /// The path of the page.
    path: String,
    ticks: Ticks,
    key: FormKey,
    /// The address of the browser.
    browser: Option<IpAddr>,
}

impl Visit<'_> {
    fn ceremony(&self) -> &Ceremony {
        &self.pages.context.ceremony
    }

    fn approver(&self) -> Approver<'_> {
        self.key.approver(&self.human)
    }

    fn token(&self) -> String {
        self.key.token(&self.human, self.id.as_str(), self.ceremony().now())
    }

    /// Where the human returns to after signing in again.
    fn return_to(&self) -> String {
        self.ticks.kept_in(&self.path)
    }

    async fn show(&self) -> Result<Reply, PageError> {
        let view = match self.ceremony().view(&self.id, self.approver(), self.browser).await {
            Err(CeremonyError::WrongAccount) if self.ceremony().can_release(&self.id, self.approver()).await? => {
                return self.opened_for_another();
            }
            view => view?,
        };
        match view.state {
            State::Pending if self.ceremony().check_sign_in(&self.human).is_err() => {
                self.pages.see_other(&self.pages.context.accounts.step_up_url(&self.return_to()))
            }
            State::Pending => self.ask(&view, None),
            State::Approved => self.approved(&view),
            State::Redeemed => self.collected(&view).await,
            state => self.pages.show(status(state), &self.outcome(&view)),
        }
    }

    async fn receive(&self, form: &Form) -> Result<Reply, PageError> {
        let shown_at = self.key.verify(&self.human, self.id.as_str(), form.one("csrf"))?;
        match form.one("decision") {
            Some("approve") if self.is_too_early(shown_at) => self.ask_again().await,
            Some("approve") => self.decide(Decision::Approve(ticked(form)?)).await,
            Some("deny") => self.decide(Decision::Deny).await,
            Some("switch") => {
                self.ceremony().release(&self.id, self.approver()).await?;
                let (accounts, return_to) = (&self.pages.context.accounts, self.return_to());
                let url = accounts.switch_account_url(&return_to).unwrap_or_else(|| accounts.login_url(&return_to));
                self.pages.sign_in(&Method::POST, url)
            }
            Some("release") => {
                self.ceremony().release(&self.id, self.approver()).await?;
                self.pages.see_other(&self.path)
            }
            Some("take_back") => {
                self.ceremony().take_back(&self.human.account.id, &self.id).await?;
                self.pages.see_other(&self.path)
            }
            _ => Err(PageError::Form("must have one `decision`, such as approve or deny")),
        }
    }

    async fn decide(&self, decision: Decision) -> Result<Reply, PageError> {
        let is_approved = matches!(decision, Decision::Approve(_));
        let decided = self.ceremony().decide(&self.id, self.approver(), decision).await;
        let decided = decided.map_err(|error| match error {
            CeremonyError::SignInTooOld => PageError::StepUp { return_to: self.return_to() },
            error => error.into(),
        })?;
        match self.dialect.hand_over(&self.pages.context, decided) {
            Handover::Page | Handover::Code(_) => self.pages.see_other(&self.path),
            Handover::Url(url) => go_to(self.pages, url, is_approved),
        }
    }

    /// Whether nobody can have read the page in the time since it was made. The second press of a double click, meant
    /// for another window, arrives that early.
    fn is_too_early(&self, shown_at: Timestamp) -> bool {
        let limits = self.pages.context.config.limits();
        self.ceremony().now() < shown_at.after(limits.approve_after)
    }

    async fn ask_again(&self) -> Result<Reply, PageError> {
        let view = self.ceremony().view(&self.id, self.approver(), self.browser).await?;
        let notice = "Approve was pressed before anybody could read this, so it did not count. Read, then press again.";
        match view.state {
            State::Pending => self.ask(&view, Some(notice)),
            // Decided meanwhile, perhaps by another form.
            _ => self.pages.see_other(&self.path),
        }
    }

    /// Shows an approved request: to the browser session that approved, with the code or the way back to the agent.
    fn approved(&self, view: &View) -> Result<Reply, PageError> {
        let code = self.ceremony().code_again(&view.authorization, &view.flow, self.approver())?;
        let (authorization, flow) = (view.authorization.clone(), view.flow.clone());
        let message = match self.dialect.hand_over(&self.pages.context, Decided { authorization, flow, code }) {
            Handover::Code(code) => return finish::show(self.pages, view, &code, self.take_back()),
            Handover::Url(url) => {
                let link = Link { href: url, text: "Go back to your agent" };
                let message = Message::new(Tone::Good, "Approved").line("Your agent waits for you. Go back to it.");
                about(self.pages, message, &view.authorization).form(self.take_back()).link(link)
            }
            Handover::Page => self.outcome(view).form(self.take_back()),
        };
        self.pages.show(StatusCode::OK, &message)
    }

    /// The form that takes the approval back.
    fn take_back(&self) -> Action {
        Action { path: self.path.clone(), csrf: self.token(), decision: "take_back", text: "Take it back" }
    }

    /// This browser opened the request while another account was signed in. It can release it.
    fn opened_for_another(&self) -> Result<Reply, PageError> {
        let label = &self.human.account.label;
        let message = Message::new(Tone::Neutral, "You opened this as another account")
            .line(
                "In this browser, the request was opened while another account was signed in. That account can decide.",
            )
            .line(format!("You can use {label} instead. Then only {label} can decide."))
            .form(Action {
                path: self.path.clone(),
                csrf: self.token(),
                decision: "release",
                text: "Use this account instead",
            });
        self.pages.show(StatusCode::CONFLICT, &message)
    }
}

/// The scopes that a human has ticked, in a form or before signing in again. `None` at first: all that were requested.
struct Ticks(Option<ScopeSet>);

impl Ticks {
    /// The name of the parameter that keeps them during a sign-in.
    const PARAMETER: &'static str = "ticked";

    /// Reads the ticks of a form, or those that were kept. Only scopes of the catalogue count, so that their number is
    /// limited.
    fn of(pages: &Pages, request: &Request<Bytes>) -> Self {
        let catalogue = pages.context.config.catalogue();
        let known = |name: &str| Scope::new(name).ok().filter(|scope| catalogue.find(scope).is_some());
        if *request.method() == Method::POST {
            let ticked = Form::read(request).map(|form| form.all("scope").filter_map(known).collect::<ScopeSet>());
            return Self(ticked.ok().filter(|ticked| !ticked.is_empty()));
        }
        let query = request.uri().query().unwrap_or_default();
        let kept = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == Self::PARAMETER);
        let names = kept.and_then(|(_, kept)| BASE64URL_NOPAD.decode(kept.as_bytes()).ok());
        let names = names.and_then(|names| String::from_utf8(names).ok());
        Self(names.map(|names| names.split(' ').filter_map(known).collect()))
    }

    /// The path with these ticks, in characters that need no escaping in a URL query.
    fn kept_in(&self, path: &str) -> String {
        match &self.0 {
            None => path.to_owned(),
            Some(ticked) => {
                let names = BASE64URL_NOPAD.encode(ticked.to_string().as_bytes());
                format!("{path}?{}={names}", Self::PARAMETER)
            }
        }
    }

    fn has(&self, scope: &Scope) -> bool {
        self.0.as_ref().is_none_or(|ticked| ticked.contains(scope))
    }
}

/// Redirects the browser to the agent. A content security policy can't name an IPv6 address, so a redirect to one would be
/// blocked. In that case, the response is a page that goes on by itself.
fn go_to(pages: &Pages, url: String, is_approved: bool) -> Result<Reply, PageError> {
    if !is_ipv6(&url) {
        return pages.see_other(&url);
    }
    let message = if is_approved {
        Message::new(Tone::Good, "Approved")
    } else {
        Message::new(Tone::Neutral, "Denied").line("The agent gets no access, and is told so.")
    };
    let message = message.line("You are being sent back to your agent.");
    pages.go_on(message, Link { href: url, text: "Go back to your agent" })
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

impl Visit<'_> {
    /// Shows the request and asks for a decision.
    fn ask(&self, view: &View, notice: Option<&str>) -> Result<Reply, PageError> {
        let pages = self.pages;
        let authorization = &view.authorization;
        let client = &authorization.client;
        let now = self.ceremony().now();
        let destination = self.dialect.destination(&view.flow);
        let switch = pages.context.accounts.switch_account_url(&self.path);
        let content = context! {
            account => context! { label => self.human.account.label.clone() },
            can_release => view.can_release,
            can_switch => switch.is_some(),
            notice,
            client => context! {
                name => client.name.to_string(),
                label => client.label.as_ref().map(ToString::to_string),
                // The browser brought the request of an OAuth client, so its address says nothing of the client.
                address => client.address.filter(|_| destination.is_none()).map(|address| address.to_string()),
                known => known(pages, client, destination),
                method => client.method.as_ref().map(ToString::to_string),
            },
            resource => pages.resource(&authorization.resource),
            warnings => said(&view.warnings, Warning::is_danger),
            remarks => said(&view.warnings, |warning| !warning.is_danger()),
            holds => !view.held.is_empty(),
            held_by => if is_proven(destination) { "It has this already" } else { "You gave this to an app of this name before" },
            scopes => self.scopes(authorization, &view.held),
            lifetime => lifetime(pages),
            handover => handover(&view.flow, destination),
            from_here => matches!(view.flow, KnownFlow::Browser { .. } | KnownFlow::AuthorizationCode { .. }),
            user_code => match &view.flow {
                KnownFlow::Device { user_code } => Some(user_code.clone()),
                _ => None,
            },
            by_code => matches!(view.flow, KnownFlow::FinishCode { .. }),
            owner_only => pages.context.config.owner_only().to_vec(),
            asked => context! {
                ago => words::ago(authorization.created_at, now),
                at => words::time(authorization.created_at),
            },
            expires_in => words::about(authorization.expires_at.since(now)),
            action => self.path.clone(),
            csrf => self.token(),
            sessions_url => pages.sessions_path(),
        };
        // The form may redirect to the agent.
        let form_action = destination.map(|place| place.form_action).into_iter().filter(|url| !is_ipv6(url)).collect();
        let allowed = Allowed { form_action, script: true };
        let status = if notice.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        pages.renderer.page(&*pages.context.random, status, "approval.html", content, allowed)
    }

    /// The requested scopes in the catalogue's order, each with its description and all that it gives.
    fn scopes(&self, authorization: &AuthorizationRequest, held: &ScopeSet) -> Vec<Value> {
        let catalogue = self.pages.context.config.catalogue();
        let requested = catalogue.entries().iter().filter(|entry| authorization.requested.contains(&entry.scope));
        let row = |entry: &CatalogueEntry| {
            let alone = ScopeSet::from_iter([entry.scope.clone()]);
            let gives = catalogue.given(&alone).filter(|given| given.scope != entry.scope);
            let gives: Vec<Value> = gives.map(scope_value).collect();
            let givers = catalogue.givers(&entry.scope);
            let givers =
                givers.iter().filter(|giver| **giver != entry.scope && authorization.requested.contains(giver));
            let givers: Vec<String> = givers.map(ToString::to_string).collect();
            context! { checked => self.ticks.has(&entry.scope), held => held.contains(&entry.scope), gives, givers, ..scope_value(entry) }
        };
        requested.map(row).collect()
    }
}

fn scope_value(entry: &CatalogueEntry) -> Value {
    context! { name => entry.scope.to_string(), description => entry.description.clone() }
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
fn handover(flow: &KnownFlow, destination: Option<Destination<'_>>) -> String {
    if let Some(place) = destination {
        return match place.host {
            Some(_) if place.is_loopback => {
                format!("Your browser takes it to {}, a program on this computer.", origin_of(place.form_action))
            }
            Some(_) => format!("Your browser takes it to {}.", origin_of(place.form_action)),
            None => format!("Your browser takes it to the app that opens {} links.", place.form_action),
        };
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

/// What is known of an OAuth client: the service registered it, or its metadata document has this host.
fn known(pages: &Pages, client: &Client, destination: Option<Destination<'_>>) -> Option<Value> {
    let id = client.id.as_ref()?;
    let is_registered = pages.context.config.oauth().clients.iter().any(|client| client.id == id.as_str());
    let host = id.metadata_host();
    let proven = is_proven(destination);
    (is_registered || host.is_some()).then(|| context! { host, proven, from_here => destination.is_some() })
}

/// Whether the client is who it says: only an answer that goes to a web host shows it. Any program can wait on this
/// computer or claim an app's scheme, and anybody can start the login of a device.
fn is_proven(destination: Option<Destination<'_>>) -> bool {
    destination.is_some_and(|place| place.host.is_some() && !place.is_loopback)
}

fn said(warnings: &[Warning], which: impl Fn(Warning) -> bool) -> Vec<&'static str> {
    warnings.iter().filter(|warning| which(**warning)).map(|warning| warn(*warning)).collect()
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

impl Visit<'_> {
    /// Shows which client redeemed the request, from which address and when, with a form to revoke the session.
    async fn collected(&self, view: &View) -> Result<Reply, PageError> {
        let (pages, now) = (self.pages, self.ceremony().now());
        let sessions = self.ceremony().sessions_of(&self.id).await?;
        let Some(record) = sessions.first() else { return pages.show(StatusCode::OK, &self.outcome(view)) };
        let content = context! {
            client => record.client.name.to_string(),
            granted => given(pages, &record.granted),
            at => words::time(record.created_at),
            ago => words::ago(record.created_at, now),
            address => record.redeemer.address.map(|address| address.to_string()),
            program => record.redeemer.program.as_ref().map(ToString::to_string),
            active => record.state_at(now) == SessionState::Active,
            session => record.session.id.to_string(),
            csrf => self.key.token(&self.human, sessions::SUBJECT, now),
            sessions_url => pages.sessions_path(),
        };
        let random = &*pages.context.random;
        pages.renderer.page(random, StatusCode::OK, "collected.html", content, Allowed::default())
    }

    fn outcome(&self, view: &View) -> Message {
        let message = match view.state {
            State::Approved => Message::new(Tone::Good, "Approved")
                .line(match &view.flow {
                    KnownFlow::Browser { .. } | KnownFlow::AuthorizationCode { .. } => "The browser in which you approved leads back to the agent.",
                    KnownFlow::FinishCode { .. } => {
                        "The code for the agent is shown for a few minutes, and only in the browser in which you approved."
                    }
                    _ => "Go back to your agent. It collects its access by itself; you can close this page.",
                })
                .line("Until the agent has collected it, you can take it back here. Later, revoke it on the sessions page."),
            State::Redeemed => Message::new(Tone::Good, "Approved, and collected").line("The agent has its access."),
            State::Locked => Message::new(Tone::Bad, "This request is locked")
                .line("Wrong codes were presented for it too often, so the agent got no access.")
                .line("Somebody may have guessed. If you still want it, tell the agent to ask again."),
            State::Denied => Message::new(Tone::Neutral, "Denied")
                .line("The agent gets no access, and is told so. You can close this page."),
            State::Revoked => Message::new(Tone::Neutral, "Taken back")
                .line("The approval was taken back before the agent collected its access."),
            State::Expired | State::Pending => Message::new(Tone::Neutral, "This request has expired").line(
                "The time ran out, so the agent got no access. If you still want it, tell the agent to ask again.",
            ),
        };
        let message = match view.state {
            State::Expired => message,
            _ => about(self.pages, message, &view.authorization),
        };
        message.link(self.pages.sessions_link())
    }
}

/// Adds who got what.
fn about(pages: &Pages, message: Message, authorization: &AuthorizationRequest) -> Message {
    match authorization.granted() {
        Some(granted) => {
            message.fact("Agent", authorization.client.name.to_string()).fact("May", given(pages, granted))
        }
        None => message,
    }
}

/// The names of all scopes that the granted ones give.
fn given(pages: &Pages, granted: &ScopeSet) -> String {
    let implied = pages.context.config.catalogue().given(granted).map(|entry| entry.scope.clone());
    granted.iter().cloned().chain(implied).collect::<ScopeSet>().names().join(", ")
}
