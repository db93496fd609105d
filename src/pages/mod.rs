//! The pages for humans: the approval page and the sessions page, rendered on the server. They need no script. Where
//! script runs, the approval page disables its buttons once a form is sent, and the page with a finish code copies the
//! code and detects when it was used.
//!
//! Only the host's own sign-in authenticates a human here. A request with what could be an agent's credential is refused,
//! even with a valid cookie. Other `Authorization` headers, such as the Basic credentials that a proxy forwards, pass.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{LOCATION, REFRESH},
};
use minijinja::{Value, context};

use crate::{
    accounts::{SignedIn, head_of},
    ceremony::CeremonyError,
    config::Resource,
    endpoints::{CodeEntry, Context, Dialect, Endpoint, RateClass, RouteTable},
    http::{Answering, Reply, has_agent_credential},
};

mod approval;
mod arrival;
mod code_entry;
mod csrf;
mod finish;
mod form;
mod render;
mod sessions;
mod words;

use render::{Link, Message, Renderer, Tone};

static METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];

/// Adds the routes of the pages.
pub(crate) fn serve(
    routes: &mut RouteTable,
    context: &Arc<Context>,
    dialects: &[&'static dyn Dialect],
) -> Result<(), minijinja::Error> {
    let config = &context.config;
    let pages = Arc::new(Pages { context: Arc::clone(context), renderer: Renderer::new(config)? });
    let page = |kind| Arc::new(Page { kind, pages: Arc::clone(&pages) });
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

/// The shared state of the pages.
struct Pages {
    context: Arc<Context>,
    renderer: Renderer,
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

struct Page {
    kind: Kind,
    pages: Arc<Pages>,
}

impl Endpoint for Page {
    fn methods(&self) -> &'static [Method] {
        match self.kind {
            Kind::Arrival(..) => &METHODS[..2],
            Kind::CodeEntry(..) | Kind::Approval(_) | Kind::Sessions => &METHODS,
        }
    }

    fn rate_class(&self) -> Option<RateClass> {
        Some(RateClass::Page)
    }

    fn too_many(&self, seconds: u64) -> Reply {
        let message = Message::new(Tone::Neutral, "Too many requests")
            .line(format!("Your network asks for these pages too often. Try again in {seconds} seconds."));
        let shown = self.pages.show(StatusCode::TOO_MANY_REQUESTS, &message);
        let mut reply = shown.unwrap_or_else(|_| self.pages.renderer.empty(StatusCode::TOO_MANY_REQUESTS));
        crate::http::retry_after(&mut reply, seconds);
        reply
    }

    fn answer(&self, request: Request<Bytes>) -> Answering<Reply> {
        let (kind, pages) = (self.kind, Arc::clone(&self.pages));
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
    /// A template failed to render.
    Template(minijinja::Error),
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

    fn show(&self, status: StatusCode, message: &Message) -> Result<Reply, PageError> {
        self.renderer.message(&*self.context.random, status, message)
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
    fn go_on(&self, message: Message, link: Link) -> Result<Reply, PageError> {
        let refresh = HeaderValue::try_from(format!("0;url={}", link.href));
        let mut reply = self.show(StatusCode::OK, &message.link(link))?;
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
        let message = Message::new(Tone::Neutral, "Sign in to go on").line("You are being sent to the sign-in.");
        self.go_on(message, Link { href: url, text: "Sign in" })
    }

    fn refuse(&self, error: &PageError, request: &Request<Bytes>, kind: Kind) -> Reply {
        let accounts = &self.context.accounts;
        let reply = match error {
            PageError::Prefetch => Ok(self.renderer.empty(StatusCode::NO_CONTENT)),
            PageError::SignedOut { return_to } => self.sign_in(request.method(), accounts.login_url(return_to)),
            PageError::StepUp { return_to } => self.sign_in(request.method(), accounts.step_up_url(return_to)),
            PageError::AgentCredential => self.show(
                StatusCode::BAD_REQUEST,
                &Message::new(Tone::Bad, "This page is for people")
                    .line("The request carried an agent’s credential. Only the account's human can decide here, signed in with a browser."),
            ),
            PageError::Forged => self.show(
                StatusCode::FORBIDDEN,
                &Message::new(Tone::Bad, "That form is no longer good")
                    .line("It was not sent from this page, or you have signed in again since it was loaded. This form changed nothing.")
                    .line("Open the page again and decide there."),
            ),
            PageError::Form(problem) => self.show(
                StatusCode::BAD_REQUEST,
                &Message::new(Tone::Bad, "That form can’t be read").line(format!("It {problem}. This form changed nothing.")),
            ),
            PageError::Ceremony(error) if error.is_unavailable() => self.unavailable(error, request, kind),
            PageError::Ceremony(error) => self.refused_by_ceremony(error),
            PageError::Template(error) => {
                self.context.note_failure(error);
                Ok(self.renderer.empty(StatusCode::SERVICE_UNAVAILABLE))
            }
        };
        reply.unwrap_or_else(|_| self.renderer.empty(StatusCode::SERVICE_UNAVAILABLE))
    }

    fn refused_by_ceremony(&self, error: &CeremonyError) -> Result<Reply, PageError> {
        let (status, message) = match error {
            CeremonyError::UnknownAuthorization => (
                StatusCode::NOT_FOUND,
                Message::new(Tone::Neutral, "There is nothing to decide here")
                    .line("No request for access has this address. Check the link that your agent gave you."),
            ),
            CeremonyError::Expired => (
                StatusCode::GONE,
                Message::new(Tone::Neutral, "This request has expired").line(
                    "The time ran out, so the agent got no access. If you still want it, tell the agent to ask again.",
                ),
            ),
            CeremonyError::WrongAccount => (
                StatusCode::CONFLICT,
                Message::new(Tone::Bad, "This request belongs to another account")
                    .line("It was opened from another account first, and only that account can decide about it.")
                    .line(
                        "Sign in as that account, or tell the agent to ask again and open the new link from this one.",
                    ),
            ),
            CeremonyError::AlreadyDecided => (
                StatusCode::CONFLICT,
                Message::new(Tone::Neutral, "This was decided before")
                    .line("A decision stands once it is made. What you gave can be taken back on the sessions page.")
                    .link(self.sessions_link()),
            ),
            CeremonyError::Inactive => (
                StatusCode::FORBIDDEN,
                Message::new(Tone::Bad, "This account can’t give access")
                    .line("The service says that no agent may act for it any more. Nothing was approved."),
            ),
            CeremonyError::Callback(_) => (
                StatusCode::BAD_REQUEST,
                Message::new(Tone::Bad, "Nothing was approved").line(
                    "The service no longer sends anything to where this agent waits. Tell the agent to ask again.",
                ),
            ),
            CeremonyError::NotRequested => (
                StatusCode::BAD_REQUEST,
                Message::new(Tone::Bad, "Nothing was approved")
                    .line("Go back and tick at least one of the things that the agent asked for, or deny."),
            ),
            error => (
                StatusCode::BAD_REQUEST,
                Message::new(Tone::Bad, "That can’t be done").line(format!("The service says: {error}.")),
            ),
        };
        self.show(status, &message)
    }

    /// The service itself failed. The page never says that nothing was changed: the same form may have been sent twice,
    /// and the other one taken. After a write whose outcome is unknown, it leads to what is stored now.
    fn unavailable(&self, error: &CeremonyError, request: &Request<Bytes>, kind: Kind) -> Result<Reply, PageError> {
        self.context.note_failure(error);
        let message = if *request.method() == Method::POST && error.may_have_changed() {
            Message::new(Tone::Neutral, "We can’t tell whether this was saved")
                .line("The service lost touch with its store while it saved what you chose. It may be saved, or not.")
                .line("Look in a few seconds what stands. Sending the same form again does no harm.")
                .link(Link { href: self.path_of(request, kind), text: "See what stands" })
        } else {
            Message::new(Tone::Neutral, "This can’t be shown right now")
                .line("The service could not look it up. Try again in a few seconds.")
        };
        let mut reply = self.show(StatusCode::SERVICE_UNAVAILABLE, &message)?;
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
        Link { href: self.sessions_path(), text: "See all sessions" }
    }

    /// The name and the identifier of a resource, if there are several; of one that the configuration no longer has, the
    /// identifier alone.
    fn resource(&self, id: &str) -> Option<Value> {
        let config = &self.context.config;
        let several = config.resources().len() > 1;
        several.then(|| context! { id, name => config.resource_with_id(id).map(Resource::name) })
    }

    fn sessions_path(&self) -> String {
        self.context.config.path(self.context.config.sessions_path())
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
