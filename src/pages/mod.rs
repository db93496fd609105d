//! The pages for humans: the approval page and the sessions page, rendered on the server. They need no script. Where
//! script runs, the approval page disables its buttons once a form is sent, and the page after a decision shows what
//! becomes of it.
//!
//! Only the host's own sign-in authenticates a human here. A request with what could be an agent's credential is refused,
//! even with a valid cookie. Other `Authorization` headers, such as the Basic credentials that a proxy forwards, pass.
//!
//! A service can have them in its own colours, words, languages and templates, or render them itself:
//!
//! ```
//! use tower_agent_auth::pages::{Frame, Page, RenderPage};
//! # use tower_agent_auth::AgentAuthBuilder;
//!
//! struct OurPages;
//!
//! impl RenderPage for OurPages {
//!     fn render(&self, page: &Page, frame: &Frame) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
//!         let Page::Message(message) = page else { return Ok(None) };
//!         Ok(Some(format!("<!doctype html><html lang={}><title>{}</title>", frame.language, message.title)))
//!     }
//! }
//!
//! # fn build(builder: AgentAuthBuilder) -> AgentAuthBuilder {
//! builder.pages(|pages| pages.words("en", "approve = Let it in").languages(["en"]).renderer(OurPages))
//! # }
//! ```

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{LOCATION, REFRESH},
};

use crate::{
    accounts::{SignedIn, head_of},
    ceremony::CeremonyError,
    endpoints::{CodeEntry, Context, Dialect, Endpoint, RateClass, RouteTable},
    http::{Answering, Reply, has_agent_credential},
    types::{
        clock::Timestamp,
        scope::{CatalogueEntry, ScopeSet},
    },
};

mod approval;
mod arrival;
mod code_entry;
mod csrf;
mod form;
mod options;
mod outcome;
mod render;
mod samples;
mod session_list;
mod sessions;
mod view;
mod words;

pub use options::{PageOptions, RenderPage};
pub use samples::samples;
pub use view::*;

use csrf::FormKey;
use render::Renderer;
use words::{Arguments, Words, filled};

static METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];

/// Adds the routes of the pages.
pub(crate) fn serve(
    routes: &mut RouteTable,
    context: &Arc<Context>,
    dialects: &[&'static dyn Dialect],
    options: PageOptions,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let config = &context.config;
    let renderer = Arc::new(Renderer::new(config, options)?);
    let page = |kind| Arc::new(Served { kind, context: Arc::clone(context), renderer: Arc::clone(&renderer) });
    let arriving = |path: &str| config.arriving_path(&config.path(path));
    for dialect in dialects {
        if let Some(path) = dialect.arrival_path() {
            routes.serve("dialects", arriving(path), "an authorization endpoint", page(Kind::Arrival(*dialect, path)));
        }
        if let Some(entry) = dialect.code_entry(config) {
            routes.serve("dialects", arriving(entry.path), "a code page", page(Kind::CodeEntry(*dialect, entry)));
        }
        routes.serve_below(arriving(dialect.approval_path()), "the approval page", page(Kind::Approval(*dialect)));
    }
    routes.serve("sessions_path", arriving(config.sessions_path()), "the sessions page", page(Kind::Sessions));
    Ok(())
}

/// What renders the pages for one request.
struct Pages {
    context: Arc<Context>,
    renderer: Arc<Renderer>,
    words: Arc<Words>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The authorization endpoint of this dialect, at this path below the issuer.
    Arrival(&'static dyn Dialect, &'static str),
    /// The page of this dialect for the code that a device shows.
    CodeEntry(&'static dyn Dialect, CodeEntry),
    /// The approval page of this dialect.
    Approval(&'static dyn Dialect),
    Sessions,
}

/// A page at its path.
struct Served {
    kind: Kind,
    context: Arc<Context>,
    renderer: Arc<Renderer>,
}

impl Served {
    fn pages(&self, chosen: Option<&str>, headers: &HeaderMap) -> Pages {
        let words = self.renderer.words(chosen, headers);
        Pages { context: Arc::clone(&self.context), renderer: Arc::clone(&self.renderer), words }
    }
}

impl Endpoint for Served {
    fn methods(&self) -> &'static [Method] {
        match self.kind {
            Kind::Arrival(..) => &METHODS[..2],
            Kind::CodeEntry(..) | Kind::Approval(_) | Kind::Sessions => &METHODS,
        }
    }

    fn rate_class(&self) -> Option<RateClass> {
        Some(RateClass::Page)
    }

    fn too_many(&self, seconds: u64, headers: &HeaderMap) -> Reply {
        let pages = self.pages(None, headers);
        let message = pages.message(Tone::Neutral, "too-many-requests", &[("seconds", seconds.into())]);
        // An empty reference leads to the page itself, with its query (RFC 3986 section 4.4).
        let again = pages.link(String::new(), "try-again");
        let shown = pages.show(StatusCode::TOO_MANY_REQUESTS, message.link(again));
        let mut reply = shown.unwrap_or_else(|_| self.renderer.empty(StatusCode::TOO_MANY_REQUESTS));
        crate::http::retry_after(&mut reply, seconds);
        reply
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let chosen = self.context.accounts.language(&head_of(&request));
        let (kind, pages) = (self.kind, self.pages(chosen.as_deref(), request.headers()));
        Box::pin(async move {
            let refused = match pages.check_channel(&request) {
                Ok(()) if *request.method() == Method::HEAD => Ok(pages.renderer.empty(StatusCode::OK)),
                Ok(()) => match kind {
                    Kind::Arrival(dialect, path) => arrival::answer(&pages, &request, dialect, path).await,
                    Kind::CodeEntry(dialect, entry) => code_entry::answer(&pages, &request, dialect, entry).await,
                    Kind::Approval(dialect) => approval::answer(&pages, &request, dialect).await,
                    Kind::Sessions => sessions::answer(&pages, &request).await,
                },
                Err(refusal) => Err(refusal),
            };
            refused.unwrap_or_else(|refusal| pages.refuse(&refusal, &request, kind))
        })
    }
}

/// Why a page is not shown.
enum PageError {
    /// The request is a prefetch or a preview, which must not bind the authorization request to an account.
    Prefetch,
    /// The request has an `Authorization` header that could be meant as an agent's credential.
    AgentCredential,
    /// Nobody is signed in.
    SignedOut { return_to: String },
    /// The signed-in human has to sign in again.
    StepUp { return_to: String },
    /// The form does not come from a page of this service for this human and this subject.
    Forged,
    /// The form can't be read.
    Form(&'static str),
    /// The ceremony refused, or the service failed.
    Ceremony(CeremonyError),
    /// The page can't be rendered.
    Render(Box<dyn std::error::Error + Send + Sync>),
}

impl<E: Into<CeremonyError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self::Ceremony(error.into())
    }
}

impl Pages {
    /// The checks that do not need the human's identity.
    fn check_channel(&self, request: &Request<Bytes>) -> Result<(), PageError> {
        let headers = request.headers();
        if has_agent_credential(headers, self.context.config.prefixes()) {
            return Err(PageError::AgentCredential);
        }
        if *request.method() == Method::POST && self.context.is_cross_site(headers) {
            return Err(PageError::Forged);
        }
        if looks_ahead(headers) { Err(PageError::Prefetch) } else { Ok(()) }
    }

    /// The signed-in human. If nobody is signed in, the browser is sent to sign in and then returns to `return_to`, a
    /// path that this crate built.
    async fn human(&self, request: &Request<Bytes>, return_to: String) -> Result<SignedIn, PageError> {
        let found = Arc::clone(&self.context.accounts).current(head_of(request)).await?;
        found.ok_or(PageError::SignedOut { return_to })
    }

    fn say(&self, id: &str, arguments: Arguments<'_>) -> String {
        self.words.say(id, arguments)
    }

    /// A message page with the sentences of the message `id`.
    fn message(&self, tone: Tone, id: &str, arguments: Arguments<'_>) -> MessagePage {
        let (title, lines) = (self.say(id, &[]), self.words.sentences(id, arguments));
        MessagePage { tone, title, lines, action: None, link: None }
    }

    fn link(&self, href: impl Into<String>, id: &str) -> Link {
        Link { href: href.into(), text: self.say(id, &[]) }
    }

    fn show(&self, status: StatusCode, message: MessagePage) -> Result<Reply, PageError> {
        self.page(status, &Page::Message(message), &[])
    }

    fn page(&self, status: StatusCode, page: &Page, form_action: &[&str]) -> Result<Reply, PageError> {
        self.renderer.page(&self.words, &*self.context.random, status, page, form_action)
    }

    fn see_other(&self, location: &str) -> Result<Reply, PageError> {
        let location = HeaderValue::try_from(location).map_err(|_| PageError::Form("leads to no address"))?;
        let mut reply = self.renderer.empty(StatusCode::SEE_OTHER);
        reply.headers_mut().insert(LOCATION, location);
        Ok(reply)
    }

    /// Sends the browser on to `link`, without a redirect: by a page with a `Refresh` header.
    ///
    /// A browser applies `form-action` of the content security policy to all redirects after a form. It can't list where
    /// the host's own sign-in redirects to, nor an IPv6 address.
    fn go_on(&self, message: MessagePage, link: Link) -> Result<Reply, PageError> {
        let refresh = HeaderValue::try_from(format!("0;url={}", link.href));
        let mut reply = self.show(StatusCode::OK, message.link(link))?;
        if let Ok(refresh) = refresh {
            reply.headers_mut().insert(REFRESH, refresh);
        }
        Ok(reply)
    }

    /// Sends the browser to the host's sign-in.
    fn sign_in(&self, method: &Method, url: String) -> Result<Reply, PageError> {
        if *method != Method::POST {
            return self.see_other(&url);
        }
        self.go_on(self.message(Tone::Neutral, "sign-in-first", &[]), self.link(url, "sign-in"))
    }

    /// A human of this account has tried too many codes.
    fn too_many_codes(&self, wait: Duration, path: String) -> Result<Reply, PageError> {
        let seconds = wait.as_secs() + 1;
        let message = self.message(Tone::Neutral, "too-many-codes", &[("seconds", seconds.into())]);
        let mut reply = self.show(StatusCode::TOO_MANY_REQUESTS, message.link(self.link(path, "try-again")))?;
        crate::http::retry_after(&mut reply, seconds);
        Ok(reply)
    }

    fn refuse(&self, error: &PageError, request: &Request<Bytes>, kind: Kind) -> Reply {
        let accounts = &self.context.accounts;
        let again = || self.link(self.path_of(request, kind), "open-again");
        let reply = match error {
            PageError::Prefetch => Ok(self.renderer.empty(StatusCode::NO_CONTENT)),
            PageError::SignedOut { return_to } => self.sign_in(request.method(), accounts.login_url(return_to)),
            PageError::StepUp { return_to } => self.sign_in(request.method(), accounts.step_up_url(return_to)),
            PageError::AgentCredential => {
                self.show(StatusCode::BAD_REQUEST, self.message(Tone::Bad, "for-people", &[]).link(again()))
            }
            PageError::Forged => self.show(StatusCode::FORBIDDEN, self.message(Tone::Bad, "forged", &[]).link(again())),
            PageError::Form(problem) => {
                let message = self.message(Tone::Bad, "unreadable", &[("problem", filled(problem))]);
                self.show(StatusCode::BAD_REQUEST, message.link(again()))
            }
            PageError::Ceremony(error) if error.is_unavailable() => self.unavailable(error, request, kind),
            PageError::Ceremony(error) => self.refused_by_ceremony(error, again()),
            PageError::Render(error) => {
                self.context.note_failure(&**error);
                Ok(self.renderer.empty(StatusCode::SERVICE_UNAVAILABLE))
            }
        };
        reply.unwrap_or_else(|_| self.renderer.empty(StatusCode::SERVICE_UNAVAILABLE))
    }

    fn refused_by_ceremony(&self, error: &CeremonyError, again: Link) -> Result<Reply, PageError> {
        let (status, tone, id, link) = match error {
            CeremonyError::UnknownAuthorization => {
                (StatusCode::NOT_FOUND, Tone::Neutral, "unknown-request", self.sessions_link())
            }
            CeremonyError::Expired => (StatusCode::GONE, Tone::Neutral, "expired", self.sessions_link()),
            CeremonyError::WrongAccount => (StatusCode::CONFLICT, Tone::Bad, "wrong-account", again),
            CeremonyError::AlreadyDecided => {
                (StatusCode::CONFLICT, Tone::Neutral, "already-decided", self.sessions_link())
            }
            CeremonyError::Inactive => (StatusCode::FORBIDDEN, Tone::Bad, "inactive", self.sessions_link()),
            CeremonyError::Callback(_) => {
                (StatusCode::BAD_REQUEST, Tone::Bad, "callback-refused", self.sessions_link())
            }
            CeremonyError::NotRequested => (StatusCode::BAD_REQUEST, Tone::Bad, "nothing-ticked", again),
            _ => (StatusCode::BAD_REQUEST, Tone::Bad, "not-possible", again),
        };
        self.show(status, self.message(tone, id, &[("error", filled(&error.to_string()))]).link(link))
    }

    /// The service itself failed. The page never says that nothing was changed: the same form may have been sent twice,
    /// and the other one taken. After a write whose outcome is unknown, it leads to what is stored now.
    fn unavailable(&self, error: &CeremonyError, request: &Request<Bytes>, kind: Kind) -> Result<Reply, PageError> {
        self.context.note_failure(error);
        let path = self.path_of(request, kind);
        let message = if *request.method() == Method::POST && error.may_have_changed() {
            self.message(Tone::Neutral, "outcome-unknown", &[]).link(self.link(path, "see-what-stands"))
        } else {
            self.message(Tone::Neutral, "unavailable", &[]).link(self.link(path, "try-again"))
        };
        let mut reply = self.show(StatusCode::SERVICE_UNAVAILABLE, message)?;
        crate::http::retry_after(&mut reply, crate::http::jitter(self.context.ceremony.now()));
        Ok(reply)
    }

    /// The public path of the page, which is not where the request arrived if a proxy rewrites paths.
    fn path_of(&self, request: &Request<Bytes>, kind: Kind) -> String {
        match kind {
            Kind::Approval(dialect) => {
                let id = request.uri().path().rsplit('/').next().unwrap_or_default();
                self.context.config.path(&format!("{}{id}", dialect.approval_path()))
            }
            Kind::Arrival(_, path) => self.context.config.path(path),
            Kind::CodeEntry(_, entry) => self.context.config.path(entry.path),
            Kind::Sessions => self.sessions_path(),
        }
    }

    fn sessions_link(&self) -> Link {
        self.link(self.sessions_path(), "see-sessions")
    }

    /// A form of this page for this human in this browser.
    fn form(&self, action: String, key: &FormKey, human: &SignedIn, subject: &str) -> Form {
        Form { action, seal: key.token(human, subject, self.context.ceremony.now()) }
    }

    fn instant(&self, instant: Timestamp) -> Instant {
        let (at, now) = (instant.to_string(), self.context.ceremony.now());
        let text = format!("{} UTC", at.get(..16).unwrap_or(&at).replace('T', " "));
        let is_past = instant <= now;
        Instant {
            at,
            text,
            ago: is_past.then(|| self.words.ago(instant, now)),
            ahead: (!is_past).then(|| self.words.ahead(instant, now)),
        }
    }

    fn fact(&self, term: &str, detail: impl Into<String>) -> Fact {
        Fact { term: self.say(term, &[]), detail: detail.into(), instant: None }
    }

    /// The name and the identifier of a resource, if there are several; of one that the configuration no longer has, the
    /// identifier alone.
    fn resource(&self, id: &str) -> Option<ResourceName> {
        let config = &self.context.config;
        let name = || config.resource_with_id(id).map(|resource| resource.name().to_owned());
        (config.resources().len() > 1).then(|| ResourceName { id: id.to_owned(), name: name() })
    }

    fn sessions_path(&self) -> String {
        self.context.config.path(self.context.config.sessions_path())
    }

    /// The granted scopes, then those that they imply, each with its description.
    fn given(&self, granted: &ScopeSet) -> Vec<GivenScope> {
        let catalogue = self.context.config.catalogue();
        let own = granted.iter().map(|scope| match catalogue.find(scope) {
            Some(entry) => self.scope(entry, false),
            None => GivenScope { name: scope.to_string(), description: String::new(), implied: false },
        });
        let implied = catalogue.given(granted).filter(|entry| !granted.contains(&entry.scope));
        own.chain(implied.map(|entry| self.scope(entry, true))).collect()
    }

    fn scope(&self, entry: &CatalogueEntry, implied: bool) -> GivenScope {
        let description = self.words.own("scope", entry.scope.as_str(), &entry.description).into_owned();
        GivenScope { name: entry.scope.to_string(), description, implied }
    }
}

impl MessagePage {
    fn link(self, link: Link) -> Self {
        Self { link: Some(link), ..self }
    }

    fn action(self, action: Action) -> Self {
        Self { action: Some(action), ..self }
    }
}

/// Whether the request is a prefetch, a prerender or a preview.
fn looks_ahead(headers: &HeaderMap) -> bool {
    let purposes = ["sec-purpose", "purpose"].into_iter().filter_map(|name| headers.get(name)?.to_str().ok());
    purposes.into_iter().any(|purpose| ["prefetch", "prerender", "preview"].iter().any(|word| purpose.contains(word)))
}

/// A response without a rendered page, such as a redirect.
fn bare(status: StatusCode) -> Reply {
    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = status;
    reply
}
