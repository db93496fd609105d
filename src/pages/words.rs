use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use fluent_langneg::{NegotiationStrategy, negotiate_languages};
use http::{HeaderMap, header::ACCEPT_LANGUAGE};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Object, ValueKind, from_args},
};
use unic_langid::{CharacterDirection, LanguageIdentifier};

use crate::types::{clock::Timestamp, text::without_direction};

/// The languages of this crate, English first.
const OURS: [(&str, &str); 3] =
    [("en", include_str!("words/en.ftl")), ("de", include_str!("words/de.ftl")), ("ar", include_str!("words/ar.ftl"))];
/// How many languages of a browser count.
const MOST_ACCEPTED: usize = 32;

/// The arguments of a message.
pub(super) type Arguments<'a> = &'a [(&'a str, FluentValue<'a>)];

/// Messages of one language.
type Source<'s> = (LanguageIdentifier, &'s str);

/// All languages that the pages speak, the default one first.
pub(super) struct Languages(Vec<Arc<Words>>);

impl Languages {
    /// The languages of this crate, with messages of the host: for each a language tag, and messages that replace ours
    /// or are new. `only` names the languages to offer; empty: all.
    pub(super) fn new(own: &[(String, String)], only: &[String]) -> Result<Self, WordsError> {
        let own = own.iter().map(|(tag, source)| (tag.as_str(), source.as_str()));
        let sources = OURS.into_iter().chain(own).map(|(tag, source)| Ok((language_of(tag)?, source)));
        let sources: Vec<Source<'_>> = sources.collect::<Result<_, _>>()?;
        let only = only.iter().map(|tag| language_of(tag)).collect::<Result<Vec<_>, _>>()?;
        let mut known: Vec<&LanguageIdentifier> = Vec::new();
        for (language, _) in &sources {
            if !known.contains(&language) {
                known.push(language);
            }
        }
        if let Some(unknown) = only.iter().find(|wanted| !known.contains(wanted)) {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            return Err(WordsError(format!("there are no words in {unknown}; there are some in {}", known.join(", "))));
        }
        let mut all: Vec<Arc<Words>> = Vec::new();
        for language in known {
            all.push(Arc::new(Words::new(language, &sources, all.first().cloned())?));
        }
        if !only.is_empty() {
            all.retain(|words| only.contains(&words.language));
            all.sort_by_key(|words| only.iter().position(|language| *language == words.language));
        }
        Ok(Self(all))
    }

    /// The words in the language that the host chose, or else in the one that the browser prefers, or else in the first
    /// one.
    pub(super) fn choose(&self, chosen: Option<&str>, headers: &HeaderMap) -> Arc<Words> {
        let chosen = chosen.and_then(|tag| tag.parse().ok());
        let wanted: Vec<LanguageIdentifier> = chosen.into_iter().chain(accepted(headers)).collect();
        let available: Vec<&LanguageIdentifier> = self.0.iter().map(|words| &words.language).collect();
        let best = negotiate_languages(&wanted, &available, None, NegotiationStrategy::Lookup);
        let best = best.first().and_then(|best| self.0.iter().find(|words| words.language == ***best));
        Arc::clone(best.unwrap_or(&self.0[0]))
    }
}

/// The languages that a browser accepts, those of the highest weight first (RFC 9110 sections 12.4.2 and 12.5.4).
fn accepted(headers: &HeaderMap) -> Vec<LanguageIdentifier> {
    let lines = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
    let ranges = lines.flat_map(|line| line.split(',')).take(MOST_ACCEPTED).filter_map(|range| {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight: f32 = weight.trim().strip_prefix(['q', 'Q'])?.strip_prefix('=')?.parse().ok()?;
        Some((weight, tag.trim().parse().ok()?))
    });
    let mut ranges: Vec<(f32, LanguageIdentifier)> = ranges.filter(|(weight, _)| *weight > 0.0).collect();
    ranges.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    ranges.into_iter().map(|(_, language)| language).collect()
}

fn language_of(tag: &str) -> Result<LanguageIdentifier, WordsError> {
    tag.parse().map_err(|_| WordsError(format!("{tag:?} is no language tag such as `pt-BR`")))
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
    fn new(
        language: &LanguageIdentifier,
        sources: &[Source<'_>],
        fallback: Option<Arc<Self>>,
    ) -> Result<Self, WordsError> {
        let mut bundle = FluentBundle::new_concurrent(vec![language.clone()]);
        // Only text from outside is isolated, by `filled`.
        bundle.set_use_isolating(false);
        let _ = bundle.add_function("LAST_TWO_DIGITS", |numbers, _| last_two_digits(numbers));
        for (_, source) in sources.iter().filter(|(known, _)| known == language) {
            bundle.add_resource_overriding(parse(language, source)?);
        }
        Ok(Self { language: language.clone(), bundle, fallback })
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

    /// The time since `then`, in its largest unit, rounded down: `2 days ago`.
    pub(super) fn ago(&self, then: Timestamp, now: Timestamp) -> String {
        const UNITS: [(u64, &str); 3] = [(86_400, "days-ago"), (3_600, "hours-ago"), (60, "minutes-ago")];
        let passed = now.since(then).as_secs();
        match UNITS.into_iter().find(|(unit, _)| passed >= *unit) {
            Some((unit, id)) => self.say(id, &[("count", (passed / unit).into())]),
            None => self.say("just-now", &[]),
        }
    }

    /// The time until `then`, in its largest unit, rounded down: `in 2 days`.
    pub(super) fn ahead(&self, then: Timestamp, now: Timestamp) -> String {
        const UNITS: [(u64, &str); 3] = [(86_400, "days-ahead"), (3_600, "hours-ahead"), (60, "minutes-ahead")];
        let left = then.since(now).as_secs();
        match UNITS.into_iter().find(|(unit, _)| left >= *unit) {
            Some((unit, id)) => self.say(id, &[("count", (left / unit).into())]),
            None => self.say("soon", &[]),
        }
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
    format!("\u{2068}{}\u{2069}", without_direction(text)).into()
}

/// A number of the same Arabic plural category as this one, without its hundreds. Their rules are about the last two digits
/// (CLDR), and `intl_pluralrules` 7.0 applies them to the whole number.
fn last_two_digits(numbers: &[FluentValue<'_>]) -> FluentValue<'static> {
    let [FluentValue::Number(number)] = numbers else { return FluentValue::Error };
    match (number.value, number.value % 100.0) {
        (whole, _) if whole <= 100.0 => whole.into(),
        (_, rest) if rest >= 3.0 => rest.into(),
        _ => 100.into(),
    }
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

fn parse(language: &LanguageIdentifier, source: &str) -> Result<FluentResource, WordsError> {
    FluentResource::try_new(source.to_owned()).map_err(|(_, errors)| {
        let mut problem = format!("the words in {language} can't be read");
        for error in errors {
            let line = source.get(..error.pos.start).unwrap_or(source).matches('\n').count() + 1;
            let _ = write!(problem, "; line {line}: {}", error.kind);
        }
        WordsError(problem)
    })
}

/// Words that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WordsError(String);

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

    use std::collections::{BTreeMap, BTreeSet};

    use fluent_syntax::ast;
    use http::HeaderValue;

    use super::*;

    /// Messages that may be the same in another language as in English.
    const SAME: [&str; 5] = ["agent", "list-more", "page-title", "revoke-client-which", "two-units"];

    /// What one text of a message is made of.
    #[derive(Default)]
    struct Made {
        variables: BTreeSet<String>,
        /// The plural categories of each selector.
        categories: Vec<Vec<String>>,
        /// The text between.
        text: String,
    }

    impl Made {
        fn add(&mut self, pattern: &ast::Pattern<&str>) {
            for element in &pattern.elements {
                match element {
                    ast::PatternElement::TextElement { value } => self.text.push_str(value),
                    ast::PatternElement::Placeable { expression } => self.add_expression(expression),
                }
            }
        }

        fn add_expression(&mut self, expression: &ast::Expression<&str>) {
            match expression {
                ast::Expression::Inline(inline) => self.add_inline(inline),
                ast::Expression::Select { selector, variants } => {
                    self.add_inline(selector);
                    let keys = variants.iter().filter_map(|variant| match variant.key {
                        ast::VariantKey::Identifier { name } => Some(name.to_owned()),
                        ast::VariantKey::NumberLiteral { .. } => None,
                    });
                    self.categories.push(keys.collect());
                    variants.iter().for_each(|variant| self.add(&variant.value));
                }
            }
        }

        fn add_inline(&mut self, inline: &ast::InlineExpression<&str>) {
            match inline {
                ast::InlineExpression::VariableReference { id } => {
                    self.variables.insert(id.name.to_owned());
                }
                ast::InlineExpression::MessageReference { .. } => (),
                ast::InlineExpression::FunctionReference { id, arguments } => {
                    assert_eq!(id.name, "LAST_TWO_DIGITS");
                    arguments.positional.iter().for_each(|argument| self.add_inline(argument));
                }
                other => panic!("no message of ours needs {other:?}"),
            }
        }
    }

    /// The texts of a language, by id, or by id and attribute with a dot between, in their order.
    fn texts(source: &str) -> Vec<(String, Made)> {
        let mut found = Vec::new();
        let made = |pattern| {
            let mut made = Made::default();
            made.add(pattern);
            made
        };
        for entry in &fluent_syntax::parser::parse(source).unwrap().body {
            let ast::Entry::Message(message) = entry else { continue };
            found.push((message.id.name.to_owned(), made(message.value.as_ref().unwrap())));
            for attribute in &message.attributes {
                found.push((format!("{}.{}", message.id.name, attribute.id.name), made(&attribute.value)));
            }
        }
        found
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(tag, text)| ((*tag).to_owned(), (*text).to_owned())).collect()
    }

    fn all() -> Languages {
        Languages::new(&[], &[]).unwrap()
    }

    fn words(tag: &str) -> Arc<Words> {
        all().0.into_iter().find(|words| words.tag() == tag).unwrap()
    }

    /// The language for a browser that sends these lines.
    fn negotiated(languages: &Languages, chosen: Option<&str>, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_LANGUAGE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        languages.choose(chosen, &headers).tag()
    }

    #[test]
    fn every_language_says_what_english_says_with_the_same_variables() {
        let english = texts(OURS[0].1);
        let by_id: BTreeMap<_, _> = english.iter().map(|(id, made)| (id, &made.variables)).collect();
        assert_eq!(by_id.len(), english.len(), "no id stands twice");
        assert!(english.len() > 200, "all were read");
        for (tag, source) in OURS {
            let theirs = texts(source);
            let order = |texts: &[(String, Made)]| texts.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
            assert_eq!(order(&theirs), order(&english), "{tag}");
            for (id, made) in &theirs {
                assert_eq!(&made.variables, by_id[id], "{tag} {id}");
            }
        }
    }

    #[test]
    fn every_text_is_said_in_full_for_every_count() {
        for (tag, source) in OURS {
            let words = words(tag);
            for (id, made) in texts(source) {
                for count in [0_u64, 1, 2, 3, 11, 100, 101] {
                    let argument = |name: &String| match &**name {
                        "count" | "seconds" => (name.clone(), FluentValue::from(count)),
                        _ => (name.clone(), filled("x")),
                    };
                    let arguments: FluentArgs<'_> = made.variables.iter().map(argument).collect();
                    let (name, attribute) = id.split_once('.').map_or((&*id, None), |(id, it)| (id, Some(it)));
                    let message = words.bundle.get_message(name).unwrap();
                    let pattern = match attribute {
                        None => message.value().unwrap(),
                        Some(attribute) => message.get_attribute(attribute).unwrap().value(),
                    };
                    let mut errors = Vec::new();
                    let text = words.bundle.format_pattern(pattern, Some(&arguments), &mut errors);
                    assert!(errors.is_empty(), "{tag} {id}: {errors:?}");
                    assert!(!text.trim().is_empty() && !text.contains(['{', '}']), "{tag} {id}: {text}");
                    assert_eq!(text.matches('\u{2068}').count(), text.matches('\u{2069}').count(), "{tag} {id}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_left_in_english() {
        let english: BTreeMap<_, _> = texts(OURS[0].1).into_iter().collect();
        for (tag, source) in &OURS[1..] {
            for (id, made) in texts(source) {
                let is_same = made.text == english[&id].text;
                assert!(!is_same || SAME.contains(&&*id), "{tag} {id}: {}", made.text);
            }
        }
        for (id, made) in texts(OURS[2].1) {
            let text = made.text.replace("BCDF-GHJK", "").replace("JSON", "");
            assert!(!text.contains(|character: char| character.is_ascii_alphabetic()), "{id}: {text}");
            assert!(!text.contains(['?', ',', ';', '"', '“', '”']), "{id}: {text}");
        }
        for (id, made) in texts(OURS[1].1) {
            assert!(!made.text.contains(['"', '”', '\'', '’']), "{id}: {}", made.text);
            assert_eq!(made.text.matches('„').count(), made.text.matches('“').count(), "{id}: {}", made.text);
        }
    }

    /// The plural categories of CLDR: <https://cldr.unicode.org/index/cldr-spec/plural-rules>.
    #[test]
    fn counts_have_the_plural_forms_of_their_language() {
        for (tag, source) in OURS {
            let counted = |(id, made): (String, Made)| (!made.categories.is_empty()).then_some((id, made.categories));
            let counted: Vec<_> = texts(source).into_iter().filter_map(counted).collect();
            for (id, categories) in &counted {
                let expected: &[&[&str]] = match tag {
                    "ar" => &[&["zero", "one", "two", "few", "many", "other"]],
                    // What is said of one in the same way, has no form for it.
                    _ => &[&["one", "other"], &["other"]],
                };
                let [categories] = &categories[..] else { panic!("{tag} {id}: one count, one selector") };
                assert!(expected.iter().any(|form| categories == form), "{tag} {id}: {categories:?}");
            }
            let ids: BTreeSet<_> = counted.into_iter().map(|(id, _)| id).collect();
            let counts = |made: &Made| made.variables.contains("count") || made.variables.contains("seconds");
            let expected = texts(source).into_iter().filter(|(_, made)| counts(made)).map(|(id, _)| id).collect();
            assert_eq!(ids, expected, "{tag}: whatever has a count");
        }
        for (count, days, ago, times) in [
            (0, "0 يوم", "قبل 0 يوم", "لم تسمح من قبل لأي وكيل بهذا الاسم."),
            (1, "يوم واحد", "قبل يوم واحد", "سمحت لوكيل بهذا الاسم مرة واحدة."),
            (2, "يومين", "قبل يومين", "سمحت لوكيل بهذا الاسم مرتين."),
            (3, "3 أيام", "قبل 3 أيام", "سمحت لوكيل بهذا الاسم 3 مرات."),
            (10, "10 أيام", "قبل 10 أيام", "سمحت لوكيل بهذا الاسم 10 مرات."),
            (11, "11 يومًا", "قبل 11 يومًا", "سمحت لوكيل بهذا الاسم 11 مرة."),
            (99, "99 يومًا", "قبل 99 يومًا", "سمحت لوكيل بهذا الاسم 99 مرة."),
            (100, "100 يوم", "قبل 100 يوم", "سمحت لوكيل بهذا الاسم 100 مرة."),
            (101, "101 يوم", "قبل 101 يوم", "سمحت لوكيل بهذا الاسم 101 مرة."),
            (102, "102 يوم", "قبل 102 يوم", "سمحت لوكيل بهذا الاسم 102 مرة."),
            (103, "103 أيام", "قبل 103 أيام", "سمحت لوكيل بهذا الاسم 103 مرات."),
            (365, "365 يومًا", "قبل 365 يومًا", "سمحت لوكيل بهذا الاسم 365 مرة."),
            (1_100, "1100 يوم", "قبل 1100 يوم", "سمحت لوكيل بهذا الاسم 1100 مرة."),
        ] {
            let words = words("ar");
            let said = |id| words.say(id, &[("count", FluentValue::from(count))]);
            assert_eq!([said("days"), said("days-ago"), said("before-count")], [days, ago, times]);
        }
    }

    #[test]
    fn spans_read_well_in_every_language() {
        for (seconds, english, german, arabic) in [
            (0, "less than a second", "weniger als eine Sekunde", "أقل من ثانية"),
            (1, "1 second", "1 Sekunde", "ثانية واحدة"),
            (61, "1 minute 1 second", "1 Minute 1 Sekunde", "دقيقة واحدة وثانية واحدة"),
            (3_600, "1 hour", "1 Stunde", "ساعة واحدة"),
            (5_400, "1 hour 30 minutes", "1 Stunde 30 Minuten", "ساعة واحدة و30 دقيقة"),
            (3_605, "1 hour", "1 Stunde", "ساعة واحدة"),
            (7_380, "2 hours 3 minutes", "2 Stunden 3 Minuten", "ساعتين و3 دقائق"),
            (86_400 * 30 + 59, "30 days", "30 Tage", "30 يومًا"),
        ] {
            let said = ["en", "de", "ar"].map(|tag| words(tag).span(Duration::from_secs(seconds)));
            assert_eq!(said, [english, german, arabic], "{seconds}");
        }
        assert_eq!(words("en").about(Duration::from_secs(599)), "9 minutes");
        assert_eq!(words("ar").about(Duration::from_secs(86_400 * 2 + 3_600)), "يومين");
    }

    #[test]
    fn times_since_read_well_in_every_language() {
        let now = Timestamp::from_millis(1_795_482_600_000);
        for (seconds, english, german, arabic) in [
            (59, "just now", "gerade eben", "قبل لحظات"),
            (119, "1 minute ago", "vor 1 Minute", "قبل دقيقة واحدة"),
            (7_300, "2 hours ago", "vor 2 Stunden", "قبل ساعتين"),
            (86_400 + 3_700, "1 day ago", "vor 1 Tag", "قبل يوم واحد"),
            (86_400 * 3, "3 days ago", "vor 3 Tagen", "قبل 3 أيام"),
        ] {
            let said = ["en", "de", "ar"].map(|tag| words(tag).ago(now, now.after(Duration::from_secs(seconds))));
            assert_eq!(said, [english, german, arabic], "{seconds}");
        }
        assert_eq!(words("en").ago(now.after(Duration::from_secs(5)), now), "just now", "of a clock that is ahead");
        for (seconds, english, german, arabic) in [
            (59, "in less than a minute", "in weniger als einer Minute", "بعد أقل من دقيقة"),
            (119, "in 1 minute", "in 1 Minute", "بعد دقيقة واحدة"),
            (7_300, "in 2 hours", "in 2 Stunden", "بعد ساعتين"),
            (86_400 * 3, "in 3 days", "in 3 Tagen", "بعد 3 أيام"),
        ] {
            let said = ["en", "de", "ar"].map(|tag| words(tag).ahead(now.after(Duration::from_secs(seconds)), now));
            assert_eq!(said, [english, german, arabic], "{seconds}");
        }
    }

    #[test]
    fn lists_read_well_in_every_language() {
        let items = ["a", "b", "c"].map(str::to_owned);
        for (count, english, german, arabic) in [
            (0, "", "", ""),
            (1, "a", "a", "a"),
            (2, "a and b", "a und b", "a وb"),
            (3, "a, b and c", "a, b und c", "a، b وc"),
        ] {
            let list = |tag| words(tag).list(&items[..count]).replace(['\u{2068}', '\u{2069}'], "");
            assert_eq!(["en", "de", "ar"].map(list), [english, german, arabic]);
        }
        assert_eq!(words("ar").list(&items[..2]), "\u{2068}a\u{2069} و\u{2068}b\u{2069}");
    }

    #[test]
    fn the_preferred_language_that_we_have_is_spoken() {
        let all = all();
        for (lines, expected) in [
            (&["de-AT,de;q=0.9,en;q=0.5"][..], "de"),
            (&["ar-EG"], "ar"),
            (&["de-Latn-CH-1996"], "de"),
            (&["AR, en;q=0.9"], "ar"),
            (&["fr, *;q=0.1"], "en"),
            (&["fr, pt-BR;q=0.9, de;q=0.1"], "de"),
            (&["en;q=0.1, de;q=0.9"], "de"),
            (&["de;q=0, ar;q=0.1"], "ar"),
            (&["en ; q=0.2 ,\tar ; Q=0.3"], "ar"),
            (&["fr", "de"], "de"),
            (&["de;q=nan, ar;q=x, en-GB;q="], "en"),
            (&[], "en"),
            (&[""], "en"),
            (&[",,;q=1;,=,*"], "en"),
            (&["und"], "en"),
            (&["\u{202e}de\u{0080}"], "en"),
        ] {
            assert_eq!(negotiated(&all, None, lines), expected, "{lines:?}");
        }
        // What is too far back does not count, so that a header costs little.
        for long in ["x".repeat(10_000), "fr,".repeat(3_333) + "de", "de;q=".repeat(2_000), "-".repeat(10_000)] {
            assert_eq!(negotiated(&all, None, &[&long]), "en");
        }
        assert_eq!(negotiated(&all, None, &[&("de,".to_owned() + &"fr,".repeat(3_333))]), "de");
    }

    #[test]
    fn the_hosts_choice_wins_over_the_browsers() {
        let all = all();
        assert_eq!(negotiated(&all, Some("ar"), &["de"]), "ar");
        assert_eq!(negotiated(&all, Some("de-CH"), &[]), "de");
        assert_eq!(negotiated(&all, Some("en"), &["de"]), "en");
        // One that nobody has words in is none.
        for unknown in ["fr", "", "\u{0}", "no tag"] {
            assert_eq!(negotiated(&all, Some(unknown), &["de"]), "de", "{unknown:?}");
        }
    }

    #[test]
    fn only_the_languages_of_the_host_are_offered_the_first_by_default() {
        let offer = |only: &[&str]| {
            let own = pairs(&[("pt-BR", "approve = Permitir")]);
            Languages::new(&own, &only.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>())
        };
        let tags = |languages: &Languages| languages.0.iter().map(|words| words.tag()).collect::<Vec<_>>();
        assert_eq!(tags(&offer(&[]).unwrap()), ["en", "de", "ar", "pt-BR"]);
        let two = offer(&["pt-br", "DE"]).unwrap();
        assert_eq!(tags(&two), ["pt-BR", "de"]);
        assert_eq!(negotiated(&two, None, &["en"]), "pt-BR", "the first one");
        assert_eq!(negotiated(&two, None, &["pt-PT"]), "pt-BR");
        assert_eq!(negotiated(&two, None, &["en, de;q=0.1"]), "de");
        assert_eq!(negotiated(&two, Some("ar"), &[]), "pt-BR");
        assert_eq!(
            offer(&["en", "fr"]).err().unwrap().to_string(),
            "there are no words in fr; there are some in en, de, ar, pt-BR"
        );
        assert_eq!(
            offer(&["in English"]).err().unwrap().to_string(),
            "\"in English\" is no language tag such as `pt-BR`"
        );
    }

    #[test]
    fn words_that_can_not_be_read_are_refused_with_language_and_line() {
        let problem =
            |tag: &str, source: &str| Languages::new(&pairs(&[(tag, source)]), &[]).err().unwrap().to_string();
        let bad = problem("fr", "approve = Autoriser\n\n= Refuser\ndeny = Refuser\n");
        assert!(bad.starts_with("the words in fr can't be read; line 3: "), "{bad}");
        let bad = problem("de", "approve = Ja\ndeny = { $ }\n");
        assert!(bad.starts_with("the words in de can't be read; line 2: "), "{bad}");
        assert_eq!(problem("x y", "deny = No"), "\"x y\" is no language tag such as `pt-BR`");
    }

    #[test]
    fn messages_of_the_host_replace_ours_and_english_fills_the_gaps() {
        let own = pairs(&[
            ("en", "approve = Let it in"),
            ("DE", "deny = Nein"),
            ("de", "approve = Ja"),
            (
                "fr",
                "deny = Refuser\ngreeting = Bonjour { $name }\ndenied = Refusé\n    .first = Un.\n    .second = Deux.",
            ),
        ]);
        let all = Languages::new(&own, &[]).unwrap();
        let words = |tag: &str| all.choose(Some(tag), &HeaderMap::new());
        assert_eq!(words("en").say("approve", &[]), "Let it in");
        assert_eq!(words("en").say("deny", &[]), "Deny");
        assert_eq!(
            words("en").say("undecided", &[("span", "1 minute".into())]),
            "Let it in works a second after the page shows. Undecided, the request ends in 1 minute."
        );
        let german = ["approve", "deny", "go-on"].map(|id| words("de").say(id, &[]));
        assert_eq!(german, ["Ja", "Nein", "Weiter"]);
        let french = words("fr");
        assert_eq!([french.say("deny", &[]), french.say("approve", &[])], ["Refuser", "Let it in"]);
        assert_eq!(french.say("greeting", &[("name", filled("Ada"))]), "Bonjour \u{2068}Ada\u{2069}");
        assert_eq!(french.sentences("denied", &[]), ["Un.", "Deux."], "and none of the English ones");
        assert_eq!(french.sentences("approved-waits", &[]), ["Your agent waits for you. Go back to it."]);
        assert_eq!(french.span(Duration::from_secs(7_200)), "2 hours");
        assert_eq!([french.tag(), french.direction().to_owned()], ["fr", "ltr"]);
        assert_eq!(words("ar").direction(), "rtl");
        assert_eq!(french.say("nothing", &[]), "nothing");
    }

    #[test]
    fn texts_of_the_configuration_can_be_translated() {
        let own = pairs(&[(
            "de",
            "scope-projects-read = Ihre Projekte ansehen\ncaution-projects-read = Alle\nnever-the-board-s-minutes = Protokolle",
        )]);
        let all = Languages::new(&own, &[]).unwrap();
        let own =
            |tag: &str, kind, name, text| all.choose(Some(tag), &HeaderMap::new()).own(kind, name, text).into_owned();
        assert_eq!(own("de", "scope", "projects:read", "See your projects"), "Ihre Projekte ansehen");
        assert_eq!(own("de", "caution", "projects:read", "All of them"), "Alle");
        assert_eq!(own("de", "never", "the board's minutes", "the board's minutes"), "Protokolle");
        assert_eq!(own("de", "scope", "projects:write", "Change your projects"), "Change your projects");
        assert_eq!(own("ar", "scope", "projects:read", "See your projects"), "See your projects");
    }

    #[test]
    fn text_from_outside_can_not_leave_its_isolation() {
        let english = words("en");
        let quoted = |text: &str| english.say("quoted", &[("text", filled(text))]);
        assert_eq!(quoted("עמית"), "“\u{2068}עמית\u{2069}”");
        for control in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(quoted(&format!("a{control}b")), "“\u{2068}ab\u{2069}”", "{control:?}");
        }
        assert_eq!(quoted("{ $text } { deny }"), "“\u{2068}{ $text } { deny }\u{2069}”");
    }
}
