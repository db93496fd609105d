use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, PRAGMA, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use minijinja::{AutoEscape, Environment, Value, context, value::Serde};

use super::{
    PageError, bare,
    options::PageOptions,
    samples::{SEAL, TAG, samples},
    view::{Frame, Page, Service},
    words::{Languages, Words, is_ours},
};
use crate::{
    Config,
    config::origin_of,
    documents::template,
    http::Reply,
    types::{
        error_chain::chain,
        random::{Random, push_base62},
    },
};

/// The length of the nonce in base62 digits: over 128 bits, new for each response.
const NONCE: usize = 22;

/// The templates of this crate.
const TEMPLATES: [(&str, &str); 11] = [
    ("base.html", include_str!("templates/base.html")),
    ("style.css", include_str!("templates/style.css")),
    ("approval.html", include_str!("templates/approval.html")),
    ("approval.js", include_str!("templates/approval.js")),
    ("code_entry.html", include_str!("templates/code_entry.html")),
    ("message.html", include_str!("templates/message.html")),
    ("outcome.html", include_str!("templates/outcome.html")),
    ("outcome.js", include_str!("templates/outcome.js")),
    ("parts.html", include_str!("templates/parts.html")),
    ("sessions.html", include_str!("templates/sessions.html")),
    ("times.js", include_str!("templates/times.js")),
];

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Renders pages: with the templates, or with what the host has in their place.
pub(super) struct Renderer {
    environment: Environment<'static>,
    options: PageOptions,
    languages: Languages,
    service: Service,
    theme: String,
    /// The other origins that images may be loaded from, each after a space.
    image_origins: String,
}

impl Renderer {
    pub(super) fn new(config: &Config, options: PageOptions) -> Result<Self, BoxError> {
        let mut environment = template::environment()?;
        // Also parts whose names do not end in `.html`.
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        for (name, source) in TEMPLATES {
            environment.add_template(name, source)?;
        }
        for (name, source) in &options.templates {
            environment.add_template_owned(name.clone(), source.clone())?;
        }
        let languages = Languages::new(&options.words, &options.languages)?;
        let links = config.links();
        let service = Service { name: config.name().to_owned(), links: links.clone() };
        let images = [&links.logo, &links.logo_dark, &links.favicon].into_iter().flatten();
        let mut image_origins: Vec<&str> = images.map(|url| origin_of(url)).collect();
        image_origins.sort_unstable();
        image_origins.dedup();
        let image_origins = image_origins.iter().map(|origin| format!(" {origin}")).collect();
        let theme = config.theme().to_css();
        let renderer = Self { environment, options, languages, service, theme, image_origins };
        renderer.check_words()?;
        renderer.check_templates()?;
        Ok(renderer)
    }

    /// Refuses messages of the host that nothing shows, such as a misspelt one.
    fn check_words(&self) -> Result<(), BoxError> {
        let PageOptions { words, templates, .. } = &self.options;
        for (language, source) in words {
            let ids = source.lines().filter_map(|line| line.split_once(" =").map(|(id, _)| id));
            let mut ids = ids.filter(|id| id.starts_with(|first: char| first.is_ascii_alphabetic()));
            let is_shown = |id: &str| {
                let of_host = ["scope-", "caution-", "never-"].iter().any(|kind| id.starts_with(kind));
                of_host || is_ours(id) || templates.iter().any(|(_, source)| source.contains(id))
            };
            if let Some(unknown) = ids.find(|id| !is_shown(id)) {
                return Err(format!("the words in {language} have {unknown:?}, which no page shows").into());
            }
        }
        Ok(())
    }

    /// Renders samples with the host's templates, so that a mistake shows when the service is built.
    fn check_templates(&self) -> Result<(), BoxError> {
        let own = &self.options.templates;
        for (name, _) in own {
            let is_ours = TEMPLATES.iter().any(|(ours, _)| ours == name);
            if !is_ours && !own.iter().any(|(_, source)| source.contains(name.as_str())) {
                return Err(
                    format!("the template {name:?} is neither one of this crate nor named in another one").into()
                );
            }
        }
        if own.is_empty() {
            return Ok(());
        }
        let words = self.words(None, &HeaderMap::new());
        for page in samples() {
            let template = page.template();
            let html = self.html(&words, &page, &self.frame(&words, "nonce".into()));
            let html =
                html.map_err(|error| format!("the template {template:?} can't be rendered: {}", chain(&*error)))?;
            let has_form = match &page {
                Page::Message(message) => message.action.is_some(),
                Page::Sessions(page) => !page.groups.is_empty() || !page.waiting.is_empty(),
                Page::Outcome(page) => page.action.is_some(),
                Page::Approval(_) | Page::CodeEntry(_) => true,
            };
            let seals = html.matches(SEAL).count();
            let problem = if html.contains(TAG) {
                "shows text that is not escaped: take `safe` or `autoescape` out"
            } else if (has_form && seals == 0) || html.matches("method=\"post\"").count() > seals {
                "has a form without its seal: put it into each form, as the hidden field `csrf`"
            } else if page.fields().any(|name| !html.contains(&format!("name=\"{name}\""))) {
                "lacks the further fields of an action: put them into its form, as hidden fields"
            } else {
                continue;
            };
            return Err(format!("the template {template:?} {problem}").into());
        }
        Ok(())
    }

    fn frame(&self, words: &Words, nonce: String) -> Frame {
        Frame { service: self.service.clone(), language: words.tag(), direction: words.direction(), nonce }
    }

    /// The words for a request, by the host's choice of a language or the browser's.
    pub(super) fn words(&self, chosen: Option<&str>, headers: &HeaderMap) -> Arc<Words> {
        self.languages.choose(chosen, headers)
    }

    /// Renders a page. Its form may redirect to the places of `form_action`, too: a policy's `form-action` also applies to
    /// redirects after a form.
    pub(super) fn page(
        &self,
        words: &Arc<Words>,
        random: &dyn Random,
        status: StatusCode,
        page: &Page,
        form_action: &[&str],
    ) -> Result<Reply, PageError> {
        let mut nonce = String::new();
        push_base62(&mut nonce, NONCE, random)?;
        let frame = self.frame(words, nonce);
        let html = match &self.options.renderer {
            Some(own) => own.render(page, &frame).map_err(PageError::Render)?,
            None => None,
        };
        let html = html.map_or_else(|| self.html(words, page, &frame).map_err(PageError::Render), Ok)?;
        let mut sources = format!("style-src 'nonce-{}'", frame.nonce);
        if html.contains("<script") {
            sources.push_str(&format!("; script-src 'nonce-{}'; connect-src 'self'", frame.nonce));
        }
        let mut reply = bare(status);
        *reply.body_mut() = Bytes::from(html);
        let form_action: String = form_action.iter().map(|place| format!(" {place}")).collect();
        self.add_headers(reply.headers_mut(), &sources, &form_action);
        if let Ok(language) = HeaderValue::try_from(frame.language) {
            reply.headers_mut().insert(CONTENT_LANGUAGE, language);
        }
        Ok(reply)
    }

    fn html(&self, words: &Arc<Words>, page: &Page, frame: &Frame) -> Result<String, BoxError> {
        let template = self.environment.get_template(page.template())?;
        let words = Value::from_dyn_object(Arc::clone(words));
        let theme = Value::from_safe_string(self.theme.clone());
        let common = context! { words, theme, ..Value::from(Serde(frame)) };
        Ok(template.render(context! { ..common, ..Value::from(Serde(page)) })?)
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
            self.image_origins
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
