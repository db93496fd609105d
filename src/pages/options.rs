use std::{error::Error, fmt, sync::Arc};

use super::view::{Frame, Page};

/// How the pages look and speak. By default, they have the templates, the words and the languages of this crate. The
/// colours, the font and the logos are in the [configuration](crate::config): `theme`.
#[derive(Clone, Default)]
#[must_use]
pub struct PageOptions {
    pub(super) words: Vec<(String, String)>,
    pub(super) languages: Vec<String>,
    pub(super) templates: Vec<(String, String)>,
    pub(super) renderer: Option<Arc<dyn RenderPage>>,
}

impl PageOptions {
    /// Adds messages in a language, in the format of [Fluent](https://projectfluent.org). They replace ours of the same
    /// id. In a new language, what is missing is in English.
    ///
    /// The texts of the configuration can be translated, too. The ids are `scope-`, `caution-` and `never-` with the name
    /// of the scope or the text of `owner_only`, and a `-` for each character that is no ASCII letter or digit.
    pub fn words(mut self, language: impl Into<String>, messages: impl Into<String>) -> Self {
        self.words.push((language.into(), messages.into()));
        self
    }

    /// Offers these languages only, the default one first. By default, all of which there are words, English first.
    pub fn languages<L: Into<String>>(mut self, languages: impl IntoIterator<Item = L>) -> Self {
        self.languages = languages.into_iter().map(Into::into).collect();
        self
    }

    /// Replaces a [minijinja](https://docs.rs/minijinja) template, or adds one to include. [`Page`] names the templates
    /// and what they get; [`Frame`] is what all of them get. `words("id", name=value)` is a message.
    ///
    /// A form needs its seal: `<input type="hidden" name="csrf" value="{{ form.seal }}">`. Styles and scripts need the
    /// nonce.
    pub fn template(mut self, name: impl Into<String>, source: impl Into<String>) -> Self {
        self.templates.push((name.into(), source.into()));
        self
    }

    /// Renders pages by code of the host's own. Pages that it does not render are rendered by the templates.
    pub fn renderer(mut self, renderer: impl RenderPage) -> Self {
        self.renderer = Some(Arc::new(renderer));
        self
    }
}

impl fmt::Debug for PageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let templates: Vec<&str> = self.templates.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("PageOptions").field("languages", &self.languages).field("templates", &templates).finish()
    }
}

/// Pages of the host's own. This crate keeps the decision, the forms' protection and the headers.
pub trait RenderPage: Send + Sync + 'static {
    /// The HTML of a page; `None` for the page of this crate.
    ///
    /// Escape all text. Styles and scripts need [`Frame::nonce`]; images may come from the service and from the origins of
    /// its logos.
    ///
    /// # Errors
    /// When the page can't be rendered. The response is 503, and the error is logged and audited.
    fn render(&self, page: &Page, frame: &Frame) -> Result<Option<String>, Box<dyn Error + Send + Sync>>;
}
