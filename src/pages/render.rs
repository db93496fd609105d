use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, PRAGMA, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use minijinja::{Environment, Value, context};

use super::{PageError, bare};
use crate::{
    Config,
    config::origin_of,
    documents::template,
    http::Reply,
    types::random::{Random, push_base62},
};

/// The length of the nonce in base62 digits: over 128 bits, new for each response.
const NONCE: usize = 22;

/// The templates and the values that all pages share.
pub(super) struct Renderer {
    environment: Environment<'static>,
    service: Value,
    /// The only other origin that images may be loaded from.
    logo_origin: String,
}

/// What the content security policy of a page allows in addition to the default.
#[derive(Clone, Default)]
pub(super) struct Allowed<'a> {
    /// Other places that its form may redirect to. A policy's `form-action` also applies to redirects after a form.
    pub(super) form_action: Vec<&'a str>,
    /// Whether it has a script, which may send requests only to this service.
    pub(super) script: bool,
}

/// The content of a page without a decision.
pub(super) struct Message {
    tone: Tone,
    title: &'static str,
    lines: Vec<String>,
    facts: Vec<(&'static str, String)>,
    form: Option<Action>,
    link: Option<Link>,
}

/// A form with one button.
pub(super) struct Action {
    pub(super) path: String,
    pub(super) csrf: String,
    pub(super) decision: &'static str,
    pub(super) text: &'static str,
}

#[derive(Clone, Copy)]
pub(super) enum Tone {
    Good,
    Neutral,
    Bad,
}

pub(super) struct Link {
    pub(super) href: String,
    pub(super) text: &'static str,
}

impl Action {
    /// The form for a template.
    pub(super) fn to_value(&self) -> Value {
        context! {
            action => self.path.clone(),
            csrf => self.csrf.clone(),
            decision => self.decision,
            text => self.text,
        }
    }
}

impl Message {
    pub(super) const fn new(tone: Tone, title: &'static str) -> Self {
        Self { tone, title, lines: Vec::new(), facts: Vec::new(), form: None, link: None }
    }

    pub(super) fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    pub(super) fn fact(mut self, term: &'static str, detail: impl Into<String>) -> Self {
        self.facts.push((term, detail.into()));
        self
    }

    pub(super) fn form(mut self, form: Action) -> Self {
        self.form = Some(form);
        self
    }

    pub(super) fn link(mut self, link: Link) -> Self {
        self.link = Some(link);
        self
    }
}

impl Renderer {
    pub(super) fn new(config: &Config) -> Result<Self, minijinja::Error> {
        let mut environment = template::environment()?;
        for (name, source) in [
            ("base.html", include_str!("templates/base.html")),
            ("style.css", include_str!("templates/style.css")),
            ("approval.html", include_str!("templates/approval.html")),
            ("approval.js", include_str!("templates/approval.js")),
            ("code_entry.html", include_str!("templates/code_entry.html")),
            ("collected.html", include_str!("templates/collected.html")),
            ("finish.html", include_str!("templates/finish.html")),
            ("message.html", include_str!("templates/message.html")),
            ("sessions.html", include_str!("templates/sessions.html")),
        ] {
            environment.add_template(name, source)?;
        }
        let links = config.links();
        let service = context! {
            name => config.name().to_owned(),
            logo => links.logo.clone(),
            documentation => links.documentation.clone(),
            terms => links.terms.clone(),
            policy => links.policy.clone(),
            contact => links.contact.clone(),
        };
        let logo_origin = links.logo.as_deref().map_or_else(String::new, |logo| format!(" {}", origin_of(logo)));
        Ok(Self { environment, service, logo_origin })
    }

    /// Renders a page.
    pub(super) fn page(
        &self,
        random: &dyn Random,
        status: StatusCode,
        template: &str,
        content: Value,
        allowed: Allowed<'_>,
    ) -> Result<Reply, PageError> {
        let mut nonce = String::new();
        push_base62(&mut nonce, NONCE, random)?;
        let template = self.environment.get_template(template).map_err(PageError::Template)?;
        let common = context! { service => self.service.clone(), nonce => nonce.clone() };
        let html = template.render(context! { ..common, ..content }).map_err(PageError::Template)?;
        let mut reply = bare(status);
        *reply.body_mut() = Bytes::from(html);
        let mut sources = format!("style-src 'nonce-{nonce}'");
        if allowed.script {
            sources.push_str(&format!("; script-src 'nonce-{nonce}'; connect-src 'self'"));
        }
        let form_action: String = allowed.form_action.iter().map(|place| format!(" {place}")).collect();
        self.add_headers(reply.headers_mut(), &sources, &form_action);
        Ok(reply)
    }

    pub(super) fn message(
        &self,
        random: &dyn Random,
        status: StatusCode,
        message: &Message,
    ) -> Result<Reply, PageError> {
        let facts = message.facts.iter().map(|(term, detail)| context! { term => *term, detail => detail.clone() });
        let link = message.link.as_ref().map(|link| context! { href => link.href.clone(), text => link.text });
        let content = context! {
            tone => match message.tone {
                Tone::Good => "good",
                Tone::Neutral => "neutral",
                Tone::Bad => "bad",
            },
            title => message.title,
            paragraphs => message.lines.clone(),
            facts => facts.collect::<Vec<Value>>(),
            form => message.form.as_ref().map(Action::to_value),
            link,
        };
        self.page(random, status, "message.html", content, Allowed::default())
    }

    /// A response without a body.
    pub(super) fn empty(&self, status: StatusCode) -> Reply {
        let mut reply = bare(status);
        self.add_headers(reply.headers_mut(), "style-src 'none'", "");
        reply
    }

    fn add_headers(&self, headers: &mut HeaderMap, sources: &str, form_action: &str) {
        // No `upgrade-insecure-requests`: it would break a loopback service.
        let policy = format!(
            "default-src 'none'; {sources}; img-src 'self'{}; base-uri 'none'; form-action 'self'{form_action}; \
             frame-ancestors 'none'",
            self.logo_origin
        );
        if let Ok(policy) = HeaderValue::try_from(policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        let fixed: [(HeaderName, &str); 10] = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (PRAGMA, "no-cache"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (
                HeaderName::from_static("permissions-policy"),
                "camera=(), clipboard-read=(), geolocation=(), microphone=(), payment=(), usb=()",
            ),
            (HeaderName::from_static("x-robots-tag"), "noindex"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
