//! What a human is warned of. The rules compare how text looks, and accept whatever is honest in some language.

use std::{net::Ipv4Addr, sync::LazyLock};

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};
use unicode_security::{
    GeneralSecurityProfile, MixedScript, general_security_profile::IdentifierType, mixed_script::AugmentedScriptSet,
    skeleton,
};

use super::rules;

/// Words that claim to be verified, found anywhere in a text unless denied, as in "unofficial".
const CLAIMS: [&str; 21] = [
    "official",
    "verified",
    "certified",
    "trusted",
    "authentic",
    "genuine",
    "approved",
    "authorized",
    "authorised",
    "endorsed",
    "oficial",
    "officiel",
    "offiziell",
    "ufficiale",
    "verificad",
    "verifie",
    "verifiziert",
    "официальн",
    "проверен",
    "官方",
    "공식",
];
/// Words that claim to speak for the service, found at the end of a word.
const OFFICES: [&str; 8] =
    ["security", "support", "admin", "administrator", "moderator", "helpdesk", "staff", "webmaster"];
/// Check marks, locks and shields.
const SEALS: [char; 17] = [
    '\u{2611}',
    '\u{2705}',
    '\u{2713}',
    '\u{2714}',
    '\u{1F5F8}',
    '\u{1F5F9}',
    '\u{1FBB1}',
    '\u{1F512}',
    '\u{1F50F}',
    '\u{1F510}',
    '\u{1F511}',
    '\u{1F6E1}',
    '\u{1F396}',
    '\u{1F4DB}',
    '\u{1F530}',
    '\u{1F46E}',
    '\u{26E8}',
];
/// The words before which a claim is a denial.
const DENIALS: [&str; 3] = ["un", "non", "not"];
/// The shortest name that is found inside of other words.
const DISTINCTIVE: usize = 4;

static CLAIM_LOOKS: LazyLock<Vec<String>> = LazyLock::new(|| CLAIMS.iter().map(|word| look(word)).collect());
static OFFICE_LOOKS: LazyLock<Vec<String>> = LazyLock::new(|| OFFICES.iter().map(|word| look(word)).collect());

pub(super) fn looks_deceptive(text: &str) -> bool {
    has_double_quote(text) || has_decorated_letters(text) || has_lookalikes(text)
}

pub(super) fn claims_verification(text: &str) -> bool {
    text.chars().any(|character| SEALS.contains(&character))
        || cases(text).iter().any(|text| {
            let text = without_denials(text);
            CLAIM_LOOKS.iter().any(|claim| text.contains(claim.as_str()))
        })
}

pub(super) fn claims_office(text: &str) -> bool {
    let is_office = |word: &str| {
        let look = look(word);
        OFFICE_LOOKS.iter().any(|office| look.ends_with(office.as_str()))
    };
    // Letters set apart by blanks make one word.
    let spaced = |text: &String| OFFICE_LOOKS.contains(&look(text));
    words(text).iter().flat_map(|word| cases(word)).any(|word| is_office(&word)) || cases(text).iter().any(spaced)
}

pub(super) fn imitates(text: &str, name: &str) -> bool {
    let names = looks(name);
    if names.iter().any(|name| name.chars().count() < DISTINCTIVE) {
        let words = words(text);
        let whole = looks(text).into_iter().chain(words.iter().flat_map(|word| looks(word)));
        return whole.into_iter().any(|look| !look.is_empty() && names.contains(&look));
    }
    looks(text).iter().any(|text| names.iter().any(|name| text.contains(name.as_str())))
}

pub(super) fn imitates_host(text: &str, host: &str) -> bool {
    // An address or a single label such as `localhost` is nobody's name. Nor is a short suffix such as `co.uk`.
    const SHORT: usize = 3;
    if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() {
        return false;
    }
    let parents = std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, parent)| parent));
    let domains: Vec<String> = parents
        .filter(|domain| domain.split_once('.').is_some_and(|(first, _)| *domain == host || first.len() > SHORT))
        .map(marked_look)
        .collect();
    let is_inside = |text: &str, domain: &str| {
        text.match_indices(domain).any(|(start, _)| {
            let ends = [text[..start].chars().next_back(), text[start + domain.len()..].chars().next()];
            ends.into_iter().flatten().all(|end| !end.is_alphanumeric())
        })
    };
    let texts = cases(text).map(|text| marked_look(&text));
    texts.iter().any(|text| domains.iter().any(|domain| is_inside(text, domain)))
}

/// The looks of a text, with marks such as `|` as the letters that they look like, and without them.
fn looks(text: &str) -> Vec<String> {
    let cases = cases(text);
    let bare = cases.clone().map(|text| text.chars().filter(|character| character.is_alphanumeric()).collect());
    cases.iter().chain(&bare).map(|text: &String| look(text)).collect()
}

/// The text as it is written and in lower case. Only the first makes a capital `I` look like a small `l`, and only the
/// second makes all cases equal.
fn cases(text: &str) -> [String; 2] {
    let plain = plain(text);
    let lower = plain.to_lowercase();
    [plain, lower]
}

/// The text in normal form KC, and in plain letters where it has enclosed ones that this form keeps.
fn plain(text: &str) -> String {
    let letter = |character: char| {
        let place = match u32::from(character) {
            code @ 0x1F150..=0x1F169 => code - 0x1F150,
            code @ 0x1F170..=0x1F189 => code - 0x1F170,
            code @ 0x1F1E6..=0x1F1FF => code - 0x1F1E6,
            _ => return character,
        };
        u32::from('a').checked_add(place).and_then(char::from_u32).unwrap_or(character)
    };
    text.chars().map(letter).nfkc().collect()
}

/// How a text looks, without marks, blanks and punctuation. Texts of equal look are easily mistaken for each other.
fn look(text: &str) -> String {
    marked_look(text).chars().filter(|character| character.is_alphanumeric()).collect()
}

/// How a text looks, without marks that are no letters, such as accents.
fn marked_look(text: &str) -> String {
    // Small letters for digits and capitals of the first skeleton have a skeleton of their own.
    let once: String = skeleton(text).flat_map(char::to_lowercase).collect();
    let twice = skeleton(&once).flat_map(char::to_lowercase);
    twice.filter(|character| character.is_alphabetic() || !rules::is_mark(*character)).collect()
}

/// The words of a text, also those set apart by a capital letter only.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in plain(text).chars() {
        if !character.is_alphanumeric() || (was_lower && character.is_uppercase()) {
            words.push(String::new());
        }
        was_lower = character.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The look of a text without claims that it denies.
fn without_denials(text: &str) -> String {
    let mut kept = String::new();
    let mut denies = false;
    for word in text.split_whitespace().map(look) {
        let claimed = |word: &str| CLAIM_LOOKS.iter().find(|claim| word.starts_with(claim.as_str())).map(String::len);
        let denied = DENIALS.iter().find_map(|no| word.strip_prefix(no).filter(|rest| claimed(rest).is_some()));
        let rest = denied.or_else(|| Some(word.as_str()).filter(|_| denies));
        let skipped = rest.and_then(|rest| claimed(rest).and_then(|length| rest.get(length..)));
        denies = DENIALS.contains(&word.as_str());
        kept.push_str(skipped.unwrap_or(&word));
    }
    kept
}

/// Whether the text has a mark that looks like a double quotation mark, and is none in a Hebrew abbreviation.
fn has_double_quote(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let is_hebrew =
        |index: Option<usize>| index.and_then(|index| chars.get(index)).is_some_and(|c| c.script() == Script::Hebrew);
    chars.iter().enumerate().any(|(index, character)| {
        // These have no skeleton of their own.
        if matches!(character, '\u{2E42}' | '\u{275D}' | '\u{275E}' | '\u{1F676}'..='\u{1F678}' | '\u{301D}'..='\u{301F}') {
            return true;
        }
        let mut look = skeleton_of(*character);
        if look == "'" {
            look.extend(chars.get(index + 1).map(|next| skeleton_of(*next)));
        }
        let is_abbreviation = is_hebrew(index.checked_sub(1)) && is_hebrew(Some(index + 1));
        look.contains("''") && !is_abbreviation
    })
}

fn skeleton_of(character: char) -> String {
    skeleton(character.encode_utf8(&mut [0; 4])).collect()
}

/// Whether the text has letters that are decorations, such as mathematical, enclosed or phonetic ones. Full-width
/// letters are usual beside Chinese and Japanese, and Roman numerals as words.
fn has_decorated_letters(text: &str) -> bool {
    let is_wide = |character: char| matches!(character, '\u{FF00}'..='\u{FFEF}');
    let is_enclosed = |character: &char| {
        matches!(u32::from(*character),
            0x249C..=0x24E9 | 0x1F110..=0x1F12B | 0x1F130..=0x1F149 | 0x1F150..=0x1F169 | 0x1F170..=0x1F189)
    };
    let is_cjk =
        text.chars().any(|c| matches!(c.script(), Script::Han | Script::Hiragana | Script::Katakana | Script::Hangul));
    let is_decorated = |character: char| {
        is_letter(character)
            && matches!(character.script(), Script::Latin | Script::Greek | Script::Cyrillic | Script::Common)
            && matches!(
                character.identifier_type(),
                Some(
                    IdentifierType::Not_NFKC
                        | IdentifierType::Technical
                        | IdentifierType::Obsolete
                        | IdentifierType::Deprecated
                )
            )
            && !matches!(character, 'ª' | 'º')
            && !(is_wide(character) && is_cjk)
    };
    let is_numeral = |word: &str| word.chars().all(|c| c.general_category() == GeneralCategory::LetterNumber);
    text.chars().filter(is_enclosed).count() > 1
        || text.split_whitespace().any(|word| !is_numeral(word) && word.chars().any(is_decorated))
}

fn is_letter(character: char) -> bool {
    character.general_category_group() == GeneralCategoryGroup::Letter
        || character.general_category() == GeneralCategory::LetterNumber
}

/// Whether a word mixes scripts that are not written together, or looks like a Latin word and is none.
fn has_lookalikes(text: &str) -> bool {
    let mut parts = Vec::new();
    for chunk in text.split_whitespace() {
        let has_latin = chunk.chars().any(|c| c.script() == Script::Latin);
        let separated =
            chunk.split(|c: char| !c.is_alphanumeric() && !rules::is_mark(c) && c != rules::ZWNJ && c != rules::ZWJ);
        parts.extend(separated.filter(|part| !part.is_empty()).map(|part| (part, has_latin)));
    }
    let has_latin = parts.iter().any(|(_, latin)| *latin);
    let all_look_latin = parts.iter().all(|(part, _)| looks_latin(part) || !part.chars().any(char::is_alphabetic));
    parts.iter().any(|(part, beside_latin)| {
        let several = part.chars().filter(|c| c.is_alphabetic()).count() > 1;
        let stands_out = if has_latin { several || *beside_latin } else { all_look_latin && several };
        is_mixed(part) || (stands_out && looks_latin(part))
    })
}

/// Whether a word has letters of another script only, which run from left to right and all look like ASCII.
fn looks_latin(word: &str) -> bool {
    let others = word.chars().filter(|c| c.is_alphabetic());
    let mut scripts = others.map(|c| c.script()).peekable();
    let runs_left = |script: Script| {
        use Script::{Adlam, Arabic, Common, Hebrew, Inherited, Latin, Mandaic, Nko, Samaritan, Syriac, Thaana};
        matches!(
            script,
            Adlam | Arabic | Common | Hebrew | Inherited | Latin | Mandaic | Nko | Samaritan | Syriac | Thaana
        )
    };
    scripts.peek().is_some() && scripts.all(|script| !runs_left(script)) && is_ascii_look(word)
}

fn is_ascii_look(text: &str) -> bool {
    skeleton(text).all(|character| character.is_ascii() || character == '丨')
}

/// Whether a word mixes scripts otherwise than Unicode Technical Standard 39 allows at its moderately restrictive level,
/// or has letters of another script that all look like ASCII, beside Latin ones.
fn is_mixed(word: &str) -> bool {
    if word.is_single_script() {
        return false;
    }
    let is_latin = |character: char| AugmentedScriptSet::for_char(character).base.contains_script(Script::Latin);
    let mut rest = AugmentedScriptSet::default();
    word.chars().filter(|character| !is_latin(*character)).for_each(|character| rest.intersect_with(character.into()));
    let written_together = rest.kore
        || rest.hanb
        || rest.jpan
        || rest
            .base
            .iter()
            .any(|script| script.is_recommended() && script != Script::Cyrillic && script != Script::Greek);
    let runs = word.split(|character: char| character.is_ascii() || character.script() == Script::Latin);
    rest.is_empty() || !written_together || runs.filter(|run| !run.is_empty()).any(is_ascii_look)
}
