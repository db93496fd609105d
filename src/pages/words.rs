use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use fluent_langneg::{NegotiationStrategy, negotiate_languages, parse_accepted_languages};
use http::{HeaderMap, header::ACCEPT_LANGUAGE};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Object, ValueKind, from_args},
};
use unic_langid::{CharacterDirection, LanguageIdentifier};

use crate::types::clock::Timestamp;

/// The languages of this crate, English first.
const OURS: [(&str, &str); 1] = [("en", include_str!("words/en.ftl"))];

/// The arguments of a message.
pub(super) type Arguments<'a> = &'a [(&'a str, FluentValue<'a>)];

/// All languages that the pages speak, the default one first.
pub(super) struct Languages(Vec<Arc<Words>>);

impl Languages {
    /// The languages of this crate, with messages of the host: for each a language tag, and messages that replace ours
    /// or are new. `only` names the languages to offer; empty: all.
    pub(super) fn new(own: &[(String, String)], only: &[String]) -> Result<Self, WordsError> {
        let mut tags: Vec<&str> = OURS.iter().map(|(tag, _)| *tag).collect();
        for (tag, _) in own {
            if !tags.contains(&tag.as_str()) {
                tags.push(tag);
            }
        }
        if let Some(unknown) = only.iter().find(|wanted| !tags.contains(&wanted.as_str())) {
            return Err(WordsError(format!("there are no words in {unknown}; there are some in {}", tags.join(", "))));
        }
        let english = Arc::new(Words::new("en", own, None)?);
        let others = tags.iter().filter(|tag| **tag != "en");
        let others = others.map(|tag| Words::new(tag, own, Some(Arc::clone(&english))).map(Arc::new));
        let mut all = std::iter::once(Ok(Arc::clone(&english))).chain(others).collect::<Result<Vec<_>, _>>()?;
        if !only.is_empty() {
            all.retain(|words| only.contains(&words.tag()));
            all.sort_by_key(|words| only.iter().position(|tag| *tag == words.tag()));
        }
        Ok(Self(all))
    }

    /// The words in the language that the host chose, or else in the one that the browser prefers (RFC 9110 section
    /// 12.5.4), or else in the first one.
    pub(super) fn choose(&self, chosen: Option<&str>, headers: &HeaderMap) -> Arc<Words> {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let wanted = parse_accepted_languages(chosen.or(accepted).unwrap_or_default());
        let available: Vec<&LanguageIdentifier> = self.0.iter().map(|words| &words.language).collect();
        let best = negotiate_languages(&wanted, &available, None, NegotiationStrategy::Lookup);
        let best = best.first().and_then(|best| self.0.iter().find(|words| words.language == ***best));
        Arc::clone(best.unwrap_or(&self.0[0]))
    }
}

/// The words of the pages in one language: messages of [Fluent](https://projectfluent.org).
///
/// All text is plain, and is escaped where it is put into HTML.
pub(super) struct Words {
    language: LanguageIdentifier,
    bundle: FluentBundle<FluentResource>,
    /// The English words, for messages that this language lacks.
    fallback: Option<Arc<Self>>,
}

impl Words {
    fn new(tag: &str, own: &[(String, String)], fallback: Option<Arc<Self>>) -> Result<Self, WordsError> {
        let language: LanguageIdentifier =
            tag.parse().map_err(|_| WordsError(format!("{tag:?} is no language tag such as `pt-BR`")))?;
        let mut bundle = FluentBundle::new_concurrent(vec![language.clone()]);
        // Only text from outside is isolated, by `filled`.
        bundle.set_use_isolating(false);
        for (known, source) in OURS {
            if known == tag {
                bundle.add_resource_overriding(parse(tag, source)?);
            }
        }
        for (_, source) in own.iter().filter(|(own, _)| own == tag) {
            bundle.add_resource_overriding(parse(tag, source)?);
        }
        Ok(Self { language, bundle, fallback })
    }

    /// The language tag (RFC 5646).
    pub(super) fn tag(&self) -> String {
        self.language.to_string()
    }

    /// The base direction of the text, as HTML names it.
    pub(super) fn direction(&self) -> &'static str {
        if self.language.character_direction() == CharacterDirection::RTL { "rtl" } else { "ltr" }
    }

    /// The message `id`, or its attribute if there is a dot in `id`. If it is missing, its id, which a test would find.
    pub(super) fn say(&self, id: &str, arguments: Arguments<'_>) -> String {
        self.find(id, &arguments.iter().cloned().collect()).unwrap_or_else(|| id.to_owned())
    }

    /// The sentences after a message's first one: its attributes, in their order.
    pub(super) fn sentences(&self, id: &str, arguments: Arguments<'_>) -> Vec<String> {
        let Some(message) = self.bundle.get_message(id) else {
            return self.fallback.as_ref().map(|english| english.sentences(id, arguments)).unwrap_or_default();
        };
        message.attributes().map(|attribute| self.say(&format!("{id}.{}", attribute.id()), arguments)).collect()
    }

    /// A text of the service's own in this language, such as a scope's description, or else `text` itself.
    pub(super) fn own<'t>(&self, kind: &str, name: &str, text: &'t str) -> Cow<'t, str> {
        let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
        let id: String = format!("{kind}-{name}").chars().map(plain).collect();
        self.find(&id, &FluentArgs::new()).map_or(Cow::Borrowed(text), Cow::Owned)
    }

    fn find(&self, id: &str, arguments: &FluentArgs<'_>) -> Option<String> {
        let (name, attribute) = id.split_once('.').map_or((id, None), |(name, attribute)| (name, Some(attribute)));
        let message = self.bundle.get_message(name);
        let pattern = message.and_then(|message| match attribute {
            None => message.value(),
            Some(attribute) => message.get_attribute(attribute).map(|attribute| attribute.value()),
        });
        let Some(pattern) = pattern else { return self.fallback.as_ref()?.find(id, arguments) };
        // An argument that is missing shows as its name.
        Some(self.bundle.format_pattern(pattern, Some(arguments), &mut Vec::new()).into_owned())
    }

    /// A duration in its two largest units, rounded down: `1 hour 30 minutes`.
    pub(super) fn span(&self, span: Duration) -> String {
        const UNITS: [(u64, &str); 4] = [(86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds")];
        let mut rest = span.as_secs();
        let mut parts = Vec::new();
        for (unit, id) in UNITS {
            let count = rest / unit;
            rest %= unit;
            if count > 0 {
                parts.push(self.say(id, &[("count", count.into())]));
            } else if !parts.is_empty() {
                break;
            }
        }
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next()) {
            (None, _) => self.say("less-than-a-second", &[]),
            (Some(large), None) => large,
            (Some(large), Some(small)) => self.say("two-units", &[("large", large.into()), ("small", small.into())]),
        }
    }

    /// A duration in its largest unit, rounded down, and in seconds below a minute: `9 minutes`.
    pub(super) fn about(&self, exact: Duration) -> String {
        let largest = [86_400, 3_600, 60].into_iter().find(|unit| exact.as_secs() >= *unit).unwrap_or(1);
        self.span(Duration::from_secs(exact.as_secs() / largest * largest))
    }

    /// The time since `then`.
    pub(super) fn ago(&self, then: Timestamp, now: Timestamp) -> String {
        let passed = now.since(then);
        if passed < Duration::from_secs(60) {
            return self.say("just-now", &[]);
        }
        self.say("ago", &[("span", self.about(passed).into())])
    }

    /// A list: `a, b and c`.
    pub(super) fn list(&self, items: &[String]) -> String {
        match items {
            [] => String::new(),
            [only] => only.clone(),
            [first, last] => self.say("list-two", &[("first", filled(first)), ("last", filled(last))]),
            [first, rest @ ..] => self.say("list-more", &[("first", filled(first)), ("rest", self.list(rest).into())]),
        }
    }
}

/// Text from outside, to be filled in. It is isolated, so that its direction does not change that of the sentence (UAX 9
/// section 2.7), and loses the characters that could end the isolation.
pub(super) fn filled(text: &str) -> FluentValue<'static> {
    let is_control = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().filter(|character| !is_control(*character)).collect();
    format!("\u{2068}{text}\u{2069}").into()
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("language", &self.language).finish_non_exhaustive()
    }
}

/// In a template, `words("id", name=value)` is a message.
impl Object for Words {
    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let (id, named): (&str, Kwargs) = from_args(arguments)?;
        let mut filled_in = FluentArgs::new();
        for name in named.args() {
            let value: Value = named.get(name)?;
            let value = match (value.kind(), i64::try_from(value.clone())) {
                (ValueKind::Number, Ok(number)) => number.into(),
                _ => filled(&value.to_string()),
            };
            filled_in.set(name.to_owned(), value);
        }
        let text = self.find(id, &filled_in);
        text.map(Value::from).ok_or_else(|| Error::new(ErrorKind::UndefinedError, format!("there are no words {id:?}")))
    }
}

/// Whether a page of this crate shows the message `id`.
pub(super) fn is_ours(id: &str) -> bool {
    OURS[0].1.contains(&format!("\n{id} ="))
}

fn parse(tag: &str, source: &str) -> Result<FluentResource, WordsError> {
    FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| {
        let mut problem = format!("the words in {tag} can't be read");
        for error in errors {
            let line = source.get(..error.pos.start).unwrap_or(source).lines().count().max(1);
            let _ = write!(problem, "; line {line}: {}", error.kind);
        }
        WordsError(problem)
    })
}

/// Words that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WordsError(String);
