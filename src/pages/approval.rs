use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::{
    Action, ApprovalPage, AskedScope, Before, Choice, CodeField, Group, Identity, Kind, Page, PageError, Pages,
    Requester, Switch, Tone, csrf::FormKey, form::Fields, words::filled,
};
use crate::{
    accounts::SignedIn,
    ceremony::{Approve, Approver, Ceremony, CeremonyError, Decision, KnownFlow, View, Warning},
    config::origin_of,
    endpoints::{Destination, Dialect, Handover},
    http::Reply,
    types::{
        authorization::{AuthorizationRequest, Client, State, source_of},
        clock::Timestamp,
        id::{AuthorizationRequestId, ClientId},
        scope::{CatalogueEntry, Effect, Scope, ScopeSet},
    },
};

/// The field of the form for how long the session may last.
const LASTING: &str = "lasting";
/// The field of the form for the code that the agent shows.
const USER_CODE: &str = "user_code";

/// Shows the authorization request, and receives the human's decision.
pub(super) async fn answer(
    pages: &Pages,
    request: &Request<Bytes>,
    dialect: &'static dyn Dialect,
) -> Result<Reply, PageError> {
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    let id = AuthorizationRequestId::parse(last).ok_or(CeremonyError::UnknownAuthorization)?;
    let path = pages.context.config.path(&format!("{}{id}", dialect.approval_path()));
    let key = FormKey::of(pages, request.headers())?;
    let chosen = Chosen::of(pages, request, &key, &id);
    let human = pages.human(request, chosen.kept_in(&path)).await?;
    if !dialect.owns(&pages.context.ceremony.flow(&id).await?) {
        return Err(CeremonyError::UnknownAuthorization.into());
    }
    let visit = Visit { pages, dialect, id, human, path, chosen, key, browser: pages.context.client_address(request) };
    if *request.method() == Method::POST {
        return visit.receive(&Fields::read(request)?).await;
    }
    let shown = visit.show().await;
    let mut reply = shown.unwrap_or_else(|error| pages.refuse(&error, request, Kind::Approval(dialect)));
    // What was opened is bound to this key, also if reading more of it failed.
    visit.key.keep(pages, &mut reply);
    Ok(reply)
}

/// A human's visit to the page of one request.
pub(super) struct Visit<'a> {
    pub(super) pages: &'a Pages,
    pub(super) dialect: &'static dyn Dialect,
    pub(super) id: AuthorizationRequestId,
    pub(super) human: SignedIn,
    /// The path of the page.
    pub(super) path: String,
    chosen: Chosen,
    pub(super) key: FormKey,
    /// The address of the browser.
    browser: Option<IpAddr>,
}

impl Visit<'_> {
    pub(super) fn ceremony(&self) -> &Ceremony {
        &self.pages.context.ceremony
    }

    pub(super) fn approver(&self) -> Approver<'_> {
        self.key.approver(&self.human)
    }

    /// A form of this page with one button.
    pub(super) fn action(&self, decision: &'static str, text: &str) -> Action {
        let form = self.pages.form(self.path.clone(), &self.key, &self.human, self.id.as_str());
        Action { form, decision, fields: Vec::new(), text: self.pages.say(text, &[]) }
    }

    /// Where the human returns to after signing in again.
    fn return_to(&self) -> String {
        self.chosen.kept_in(&self.path)
    }

    async fn show(&self) -> Result<Reply, PageError> {
        let view = match self.ceremony().view(&self.id, self.approver()).await {
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
            _ => self.outcome(&view).await,
        }
    }

    async fn receive(&self, form: &Fields) -> Result<Reply, PageError> {
        let shown_at = self.key.verify(&self.human, self.id.as_str(), form.one("csrf"))?;
        match form.one("decision") {
            Some("approve") if self.is_too_early(shown_at) => self.ask_again("too-early").await,
            Some("approve") => self.decide(Decision::Approve(approved(form)?)).await,
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
        let decided = match decided {
            Ok(decided) => decided,
            Err(CeremonyError::SignInTooOld) => return Err(PageError::StepUp { return_to: self.return_to() }),
            Err(CeremonyError::WrongUserCode) => return self.ask_again("wrong-user-code").await,
            Err(CeremonyError::UserCodeRequired) => return self.ask_again("user-code-required").await,
            Err(CeremonyError::TooFast { wait }) => return self.pages.too_many_codes(wait, self.path.clone()),
            Err(error) => return Err(error.into()),
        };
        match self.dialect.hand_over(&self.pages.context, decided) {
            Handover::Page | Handover::Code(_) | Handover::ReadBack(_) => self.pages.see_other(&self.path),
            Handover::Url(url) => go_to(self.pages, url, is_approved),
        }
    }

    /// Whether nobody can have read the page in the time since it was made. The second press of a double click, meant
    /// for another window, arrives that early.
    fn is_too_early(&self, shown_at: Timestamp) -> bool {
        let limits = self.pages.context.config.limits();
        self.ceremony().now() < shown_at.after(limits.approve_after)
    }

    async fn ask_again(&self, notice: &str) -> Result<Reply, PageError> {
        let view = self.ceremony().view(&self.id, self.approver()).await?;
        match view.state {
            State::Pending => self.ask(&view, Some(self.pages.say(notice, &[]))),
            // Decided meanwhile, perhaps by another form.
            _ => self.pages.see_other(&self.path),
        }
    }

    /// This browser opened the request while another account was signed in. It can release it.
    fn opened_for_another(&self) -> Result<Reply, PageError> {
        let account = filled(&self.human.account.label);
        let message = self.pages.message(Tone::Neutral, "opened-for-another", &[("account", account)]);
        self.pages.show(StatusCode::CONFLICT, message.action(self.action("release", "use-this-account")))
    }
}

/// What a human has chosen, in a form or before signing in again. `None` at first.
#[derive(Default)]
struct Chosen {
    /// The ticked scopes.
    ticked: Option<ScopeSet>,
    /// How long the session may last.
    lasting: Option<Duration>,
    /// Both, sealed for the way back from a sign-in: the scopes, and in a second line the seconds.
    kept: Option<String>,
}

impl Chosen {
    /// The name of the parameter that keeps it.
    const PARAMETER: &'static str = "ticked";

    /// Reads the choice of a form, or one of this browser that was kept. Only scopes of the catalogue and lengths of the
    /// configuration count, so that there are not many.
    fn of(pages: &Pages, request: &Request<Bytes>, key: &FormKey, id: &AuthorizationRequestId) -> Self {
        if *request.method() == Method::POST {
            let Ok(form) = Fields::read(request) else { return Self::default() };
            let (ticked, lasting) = known(pages, form.all("scope"), form.one(LASTING));
            let seconds = lasting.map(|lasting| format!("\n{}", lasting.as_secs())).unwrap_or_default();
            let kept = key.seal(id.as_str(), &format!("{ticked}{seconds}")).filter(|_| !ticked.is_empty());
            return Self { ticked: Some(ticked).filter(|ticked| !ticked.is_empty()), lasting, kept };
        }
        let query = request.uri().query().unwrap_or_default();
        let sealed = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == Self::PARAMETER);
        let Some(sealed) = sealed.map(|(_, sealed)| sealed.into_owned()) else { return Self::default() };
        let Some(kept) = key.unseal(id.as_str(), &sealed) else { return Self::default() };
        let (scopes, lasting) = kept.split_once('\n').unwrap_or((&kept, ""));
        let (ticked, lasting) = known(pages, scopes.split(' '), Some(lasting));
        Self { ticked: Some(ticked), lasting, kept: Some(sealed) }
    }

    /// The path with this choice.
    fn kept_in(&self, path: &str) -> String {
        match &self.kept {
            Some(kept) => format!("{path}?{}={kept}", Self::PARAMETER),
            None => path.to_owned(),
        }
    }
}

/// The scopes of the catalogue, and the length if the configuration offers it.
fn known<'n>(
    pages: &Pages,
    scopes: impl Iterator<Item = &'n str>,
    lasting: Option<&str>,
) -> (ScopeSet, Option<Duration>) {
    let config = &pages.context.config;
    let scopes = scopes.filter_map(|name| Scope::new(name).ok());
    let ticked = scopes.filter(|scope| config.catalogue().find(scope).is_some()).collect();
    let lasting = lasting.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    (ticked, lasting.filter(|span| config.lifetimes().choices.contains(span)))
}

/// Redirects the browser to the agent. A content security policy can't name an IPv6 address, so a redirect to one would be
/// blocked. In that case, the response is a page that goes on by itself.
fn go_to(pages: &Pages, url: String, is_approved: bool) -> Result<Reply, PageError> {
    if !is_ipv6(&url) {
        return pages.see_other(&url);
    }
    let (tone, id) = if is_approved { (Tone::Good, "going-back") } else { (Tone::Neutral, "going-back-denied") };
    pages.go_on(pages.message(tone, id, &[]), pages.link(url, "go-to-agent"))
}

/// Whether the host is an IPv6 address, which a content security policy can't name (CSP level 3 section 2.3.1).
fn is_ipv6(url: &str) -> bool {
    origin_of(url).contains("://[")
}

fn approved(form: &Fields) -> Result<Approve, PageError> {
    let names: Vec<&str> = form.all("scope").collect();
    let scopes: Result<ScopeSet, _> = names.iter().map(|name| Scope::new(name)).collect();
    let approve = match scopes {
        Ok(scopes) if scopes.len() == names.len() => Approve::scopes(scopes),
        Ok(_) => return Err(PageError::Form("has a `scope` twice")),
        Err(_) => return Err(CeremonyError::NotRequested.into()),
    };
    let approve = match (form.all(USER_CODE).count(), form.one(USER_CODE)) {
        (0, _) => approve,
        (1, Some(typed)) => approve.user_code(typed),
        _ => return Err(PageError::Form("must have one `user_code`")),
    };
    match (form.all(LASTING).count(), form.one(LASTING).map(str::parse)) {
        (0, _) => Ok(approve),
        (1, Some(Ok(seconds))) => Ok(approve.lasting(Duration::from_secs(seconds))),
        _ => Err(PageError::Form("must have one `lasting`, in seconds")),
    }
}

impl Visit<'_> {
    /// Shows the request and asks for a decision.
    fn ask(&self, view: &View, notice: Option<String>) -> Result<Reply, PageError> {
        let pages = self.pages;
        let (context, words) = (&pages.context, &pages.words);
        let authorization = &view.authorization;
        let now = self.ceremony().now();
        let destination = self.dialect.destination(&view.flow);
        let switch = match context.accounts.switch_account_url(&self.path) {
            Some(_) => Switch::Button,
            None => Switch::ByHand,
        };
        let lifetimes = context.config.lifetimes();
        let identity = match &view.flow {
            KnownFlow::Identity(identity) => Some(identity),
            _ => None,
        };
        let refreshes = context.ceremony.refreshes() || identity.is_some();
        let has_phrase = !matches!(view.flow, KnownFlow::AuthorizationCode { .. } | KnownFlow::Device { .. });
        let groups = self.groups(authorization, view);
        let page = ApprovalPage {
            form: pages.form(self.path.clone(), &self.key, &self.human, self.id.as_str()),
            account: self.human.account.label.clone(),
            switch: view.can_release.then_some(switch),
            flow: view.flow.name(),
            from_here: matches!(view.flow, KnownFlow::Browser { .. } | KnownFlow::AuthorizationCode { .. }),
            // An OAuth client that brings its request by a browser shows no phrase.
            check_phrase: has_phrase.then(|| view.check_phrase().to_string()),
            user_code: match &view.flow {
                KnownFlow::Device { user_code } => Some(user_code.clone()),
                _ => None,
            },
            code_field: identity
                .filter(|identity| identity.user_code.is_some())
                .map(|identity| if identity.reads_back { CodeField::Optional } else { CodeField::Required }),
            client: Requester {
                login_hint: identity.and_then(|identity| identity.login_hint.clone()),
                vouched_by: identity.and_then(|identity| identity.issuer().map(str::to_owned)),
                ..self.requester(&authorization.client, destination)
            },
            asked: pages.instant(authorization.created_at),
            before: Before {
                any: view.earlier.any,
                count: view.earlier.sessions,
                last_used: view.earlier.last_used.map(|at| words.ago(at, now)),
            },
            resource: pages.resource(&authorization.resource),
            handover: self.handover(&view.flow, destination),
            warnings: view.warnings.iter().map(|warning| pages.say(warning_id(*warning), &[])).collect(),
            has_unticked: self.chosen.ticked.is_none() && *view.proposed() != authorization.requested,
            groups,
            has_held: !view.held.is_empty(),
            choices: view.choices().iter().map(|span| self.choice(*span, view)).collect(),
            at_most: words.span(if refreshes { lifetimes.session } else { lifetimes.access }),
            unused: refreshes.then(|| words.span(lifetimes.refresh.min(lifetimes.session))),
            never: context.config.owner_only().iter().map(|text| words.own("never", text, text).into_owned()).collect(),
            expires_in: words.about(authorization.expires_at.since(now)),
            sessions_url: pages.sessions_path(),
            notice,
        };
        // The form may redirect to the agent.
        let form_action: Vec<&str> =
            destination.map(|place| place.form_action).into_iter().filter(|url| !is_ipv6(url)).collect();
        let status = if page.notice.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        pages.page(status, &Page::Approval(Box::new(page)), &form_action)
    }

    fn choice(&self, span: Duration, view: &View) -> Choice {
        let chosen = self.chosen.lasting.or_else(|| view.proposed_choice()) == Some(span);
        Choice { seconds: span.as_secs(), text: self.pages.words.span(span), chosen }
    }

    fn requester(&self, client: &Client, destination: Option<Destination<'_>>) -> Requester {
        // The browser brought the request of an OAuth client, so its address says nothing of the client.
        let address = client.address.filter(|_| destination.is_none());
        let text = |address: IpAddr| address.to_canonical().to_string();
        Requester {
            name: client.name.to_string(),
            reason: client.reason.as_ref().map(ToString::to_string),
            label: client.label.as_ref().map(ToString::to_string),
            method: client.method.as_ref().map(ToString::to_string),
            login_hint: None,
            vouched_by: None,
            identity: self.identity(client.id.as_ref(), destination),
            address: address.map(text),
            same_network: address.zip(self.browser).map(|(one, other)| source_of(one) == source_of(other)),
            browser: self.browser.map(text),
        }
    }

    /// What is known of an OAuth client: the service registered it, or its metadata document has this host.
    fn identity(&self, id: Option<&ClientId>, destination: Option<Destination<'_>>) -> Option<Identity> {
        let id = id?;
        let registered = &self.pages.context.config.oauth().clients;
        let host = id.metadata_host().map(ToString::to_string);
        let is_known = host.is_some() || registered.iter().any(|client| client.id == id.as_str());
        is_known.then(|| Identity { host, proven: is_proven(destination) })
    }

    /// The requested scopes in the catalogue's order, each with all that it gives.
    fn groups(&self, authorization: &AuthorizationRequest, view: &View) -> Vec<Group> {
        let catalogue = self.pages.context.config.catalogue();
        let asked = |entry: &CatalogueEntry| {
            let scope = self.pages.scope(entry, false);
            let alone = ScopeSet::from_iter([entry.scope.clone()]);
            let gives = catalogue.given(&alone).filter(|given| given.scope != entry.scope);
            let givers = catalogue.givers(&entry.scope);
            let givers =
                givers.iter().filter(|giver| **giver != entry.scope && authorization.requested.contains(giver));
            let (words, name) = (&self.pages.words, scope.name);
            AskedScope {
                description: scope.description,
                caution: entry.caution.as_deref().map(|text| words.own("caution", &name, text).into_owned()),
                ticked: self.chosen.ticked.as_ref().unwrap_or_else(|| view.proposed()).contains(&entry.scope),
                held: view.held.contains(&entry.scope),
                gives: gives.map(|given| self.pages.scope(given, true)).collect(),
                given_by: givers.map(ToString::to_string).collect(),
                name,
            }
        };
        let groups = Effect::ALL.into_iter().map(|effect| {
            let entries = catalogue.entries().iter().filter(|entry| entry.effect == effect);
            let requested = entries.filter(|entry| authorization.requested.contains(&entry.scope));
            Group { effect: effect.as_str(), scopes: requested.map(asked).collect() }
        });
        groups.filter(|group| !group.scopes.is_empty()).collect()
    }

    /// How the agent gets its session after approval.
    fn handover(&self, flow: &KnownFlow, destination: Option<Destination<'_>>) -> String {
        let say = |id, arguments: &[_]| self.pages.say(id, arguments);
        match destination {
            Some(Destination { host: None, form_action, .. }) => {
                say("handover-app", &[("scheme", filled(form_action))])
            }
            Some(place) => {
                let id = if place.is_loopback { "handover-program" } else { "handover-site" };
                say(id, &[("place", filled(origin_of(place.form_action)))])
            }
            None => match flow {
                KnownFlow::Detached { finish_code: true, .. } => say("handover-either", &[]),
                KnownFlow::FinishCode { .. } => say("handover-code", &[]),
                KnownFlow::Identity(identity) if identity.user_code.is_none() => say("handover-read-back", &[]),
                _ => say("handover-agent", &[]),
            },
        }
    }
}

/// Whether the client is who it says: only an answer that goes to a web host shows it. Any program can wait on this
/// computer or claim an app's scheme, and anybody can start the login of a device.
fn is_proven(destination: Option<Destination<'_>>) -> bool {
    destination.is_some_and(|place| place.host.is_some() && !place.is_loopback)
}

const fn warning_id(warning: Warning) -> &'static str {
    match warning {
        Warning::DeceptiveName => "warning-deceptive",
        Warning::OfficialName => "warning-official",
    }
}
