//! Which text is accepted, and how text that is refused today is shown.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};
use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};
use unicode_security::skeleton;
use unicode_segmentation::UnicodeSegmentation;

use super::{MAX_BYTES, MAX_CHARACTERS, MAX_MARKS, REPLACEMENT, TextError};

pub(super) const ZWNJ: char = '\u{200C}';
pub(super) const ZWJ: char = '\u{200D}';

/// The text, changed where it violates a rule.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    if check(text).is_ok() { text.into() } else { repaired(text).into() }
}

pub(super) fn check(text: &str) -> Result<(), TextError> {
    if text.len() > MAX_BYTES || text.graphemes(true).count() > MAX_CHARACTERS {
        return Err(TextError::TooLong);
    }
    let chars: Vec<char> = text.chars().collect();
    if text.trim() != text || chars.first().is_none_or(|first| is_mark(*first)) {
        return Err(TextError::Blank);
    }
    for (index, character) in chars.iter().enumerate() {
        let (before, after) = chars.split_at(index);
        if !is_shown(before, *character, after.get(1).copied()) {
            return Err(TextError::Invisible);
        }
    }
    if !text.nfc().eq(text.chars()) {
        return Err(TextError::NotNormal);
    }
    let mut stack = 0;
    if chars.into_iter().any(|character| stacks(&mut stack, character)) {
        return Err(TextError::StackedMarks);
    }
    Ok(())
}

/// The text with U+FFFD for each character that [`check`] refuses.
fn repaired(text: &str) -> String {
    let chars: Vec<char> = text.trim().nfc().collect();
    let (mut shown, mut stack) = (Vec::<char>::new(), 0);
    for (index, character) in chars.iter().enumerate() {
        let is_good = is_shown(&shown, *character, chars.get(index + 1).copied())
            && !stacks(&mut stack, *character)
            && !(shown.is_empty() && is_mark(*character));
        shown.push(if is_good { *character } else { REPLACEMENT });
    }
    let shown = shortened(&String::from_iter(shown));
    // What remains is text in which a replaced character was the context of another.
    if check(&shown).is_ok() { shown } else { REPLACEMENT.into() }
}

/// The beginning of a text that is too long, with an ellipsis.
fn shortened(text: &str) -> String {
    const ELLIPSIS: char = '…';
    if text.len() <= MAX_BYTES && text.graphemes(true).count() <= MAX_CHARACTERS {
        return text.to_owned();
    }
    let mut short = String::new();
    for grapheme in text.graphemes(true).take(MAX_CHARACTERS - 1) {
        if short.len() + grapheme.len() + ELLIPSIS.len_utf8() > MAX_BYTES {
            break;
        }
        short.push_str(grapheme);
    }
    short.push(ELLIPSIS);
    short
}

/// Whether a character can be seen between the characters before it and the next one, or is needed to show them.
fn is_shown(before: &[char], character: char, after: Option<char>) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Surrogate, Unassigned};
    let last = before.last().copied();
    match character {
        ZWNJ | ZWJ => joins(before, character, after),
        // Emoji or text style, also of digits in keycaps.
        '\u{FE0E}' | '\u{FE0F}' => last.is_some_and(|last| last.is_emoji_char() || last.script() == Script::Han),
        // Variants of ideographs, as in Japanese family names.
        '\u{FE00}'..='\u{FE0D}' | '\u{E0100}'..='\u{E01EF}' => last.is_some_and(|last| last.script() == Script::Han),
        '\u{180B}'..='\u{180F}' => last.is_some_and(|last| last.script() == Script::Mongolian && !is_mark(last)),
        _ if is_blank_glyph(character) || is_default_ignorable(character) => false,
        _ => !matches!(
            character.general_category(),
            Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Surrogate | Unassigned
        ),
    }
}

/// Whether a joiner changes how its neighbours are shown (Unicode Standard Annex 31, section 2.3.1).
fn joins(before: &[char], joiner: char, after: Option<char>) -> bool {
    const VIRAMA: u8 = 9;
    let is_virama = |character: char| canonical_combining_class(character) == VIRAMA;
    let is_emoji = |character: char| !character.is_ascii() && character.is_emoji_char();
    let Some(last) = before.last().copied() else { return false };
    if is_virama(last) {
        return joiner == ZWJ || after.is_some_and(char::is_alphabetic);
    }
    let Some(after) = after else { return false };
    if joiner == ZWJ && (last == '\u{FE0F}' || is_emoji(last)) && is_emoji(after) {
        return true;
    }
    let letter = before.iter().rev().copied().find(|character| !is_mark(*character)).unwrap_or(last);
    let is_letter = letter.is_alphabetic() && last != ZWJ && last != ZWNJ;
    is_letter && ((joiner == ZWJ && is_virama(after)) || (is_cursive(letter) && letter.script() == after.script()))
}

/// Whether the letters of the character's script join, so that a joiner or its absence can be seen.
fn is_cursive(character: char) -> bool {
    use Script::{Adlam, Arabic, Hanifi_Rohingya, Mandaic, Mongolian, Nko, Phags_Pa, Syriac};
    matches!(character.script(), Adlam | Arabic | Hanifi_Rohingya | Mandaic | Mongolian | Nko | Phags_Pa | Syriac)
}

/// Whether a character is shown as a blank though it is neither white space nor default-ignorable.
const fn is_blank_glyph(character: char) -> bool {
    matches!(character, '\u{2800}' | '\u{FFFC}' | '\u{1D159}' | '\u{16FE4}' | '\u{13441}' | '\u{13442}')
}

/// Whether a character has no glyph of its own (the property Default_Ignorable_Code_Point, which a skeleton leaves out).
fn is_default_ignorable(character: char) -> bool {
    !character.is_ascii() && skeleton(character.encode_utf8(&mut [0; 4])).next().is_none()
}

pub(super) fn is_mark(character: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
    matches!(character.general_category(), EnclosingMark | NonspacingMark | SpacingMark)
}

/// Counts the marks that are drawn over one letter. Returns whether `character` is one too many.
fn stacks(stack: &mut usize, character: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
    match character.general_category() {
        EnclosingMark | NonspacingMark => *stack += 1,
        SpacingMark => return false,
        _ => *stack = 0,
    }
    *stack > MAX_MARKS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::text::HumanText;

    #[test]
    fn r41_tricks_are_refused() {
        let zalgo = format!("a{}", "\u{0301}".repeat(20));
        let cases = [
            ("", TextError::Blank),
            (" x", TextError::Blank),
            ("evil\u{202e}gpj.exe", TextError::Invisible),
            ("a\u{200b}b", TextError::Invisible),
            ("a\u{feff}b", TextError::Invisible),
            ("a\u{e0041}b", TextError::Invisible),
            ("a\nb", TextError::Invisible),
            ("\u{1b}[2J", TextError::Invisible),
            ("a\u{2028}b", TextError::Invisible),
            ("a\u{e000}b", TextError::Invisible),
            ("a\u{0378}b", TextError::Invisible),
            ("e\u{0301}", TextError::NotNormal),
            (&zalgo, TextError::NotNormal),
            ("x\u{0335}\u{0336}\u{0337}\u{0338}\u{0489}", TextError::StackedMarks),
            (&"x".repeat(65), TextError::TooLong),
            (&"x".repeat(1 << 20), TextError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(HumanText::new(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a12_blank_and_invisible_names_are_refused() {
        const INVISIBLE: [char; 30] = [
            '\u{3164}',
            '\u{FFA0}',
            '\u{115F}',
            '\u{1160}',
            '\u{2800}',
            '\u{034F}',
            '\u{FFFC}',
            '\u{1D159}',
            '\u{17B4}',
            '\u{00AD}',
            '\u{061C}',
            '\u{180E}',
            '\u{200B}',
            '\u{200C}',
            '\u{200D}',
            '\u{200E}',
            '\u{200F}',
            '\u{202A}',
            '\u{202E}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{206A}',
            '\u{FE0F}',
            '\u{FE00}',
            '\u{FEFF}',
            '\u{E0001}',
            '\u{E0020}',
            '\u{E0100}',
            '\u{180B}',
        ];
        for invisible in INVISIBLE {
            for text in [format!("{invisible}"), format!("{invisible}{invisible}"), format!("Cla{invisible}ude")] {
                assert!(HumanText::new(&text).is_err(), "{text:?}");
                let shown = HumanText::from_stored(&text);
                assert!(!shown.as_str().contains(invisible), "{text:?}");
                assert!(shown.as_str().contains(REPLACEMENT), "{text:?}");
            }
        }
        for blank in [" ", "\u{a0}", "\u{2003}", "\u{3000}", "\t", "\n", "\u{301}", "\u{93e}", "\u{20dd}a"] {
            assert_eq!(HumanText::new(blank), Err(TextError::Blank), "{blank:?}");
        }
    }

    #[test]
    fn a12_joiners_and_variation_selectors_stand_where_they_are_needed() {
        for (text, is_good) in [
            ("می\u{200c}خواهم", true),
            ("کتاب\u{200c}", false),
            ("\u{200c}کتاب", false),
            ("می\u{200c}\u{200c}خواهم", false),
            ("Cla\u{200c}ude", false),
            ("Cla\u{200d}ude", false),
            ("1\u{200d}2", false),
            ("അവന്\u{200d} x", true),
            ("ര\u{200d}്യ", true),
            ("ക്\u{200c}ഷ", true),
            ("ക\u{200d}ഷ", false),
            ("👩\u{200d}💻", true),
            ("❤\u{fe0f}\u{200d}🔥", true),
            ("👩\u{200d}", false),
            ("👩\u{200d}a", false),
            ("1\u{fe0f}\u{20e3}", true),
            ("a\u{fe0f}", false),
            ("葛\u{e0100}城", true),
            ("a\u{e0100}", false),
            ("葛\u{e0100}\u{e0101}", false),
            ("ᠨ\u{180b}ᠠ", true),
            ("a\u{180b}", false),
            ("🏴\u{e0067}\u{e0062}\u{e007f}", false),
        ] {
            assert_eq!(HumanText::new(text).is_ok(), is_good, "{text:?}");
        }
    }

    #[test]
    fn a13_stored_text_is_shown_safely() {
        for (stored, shown) in [
            ("Claude Code", "Claude Code"),
            ("", "\u{fffd}"),
            (" ", "\u{fffd}"),
            ("\u{3164}", "\u{fffd}"),
            (" x ", "x"),
            ("evil\u{202e}gpj.exe", "evil\u{fffd}gpj.exe"),
            ("a\nb\0c", "a\u{fffd}b\u{fffd}c"),
            ("e\u{301}", "é"),
            ("\u{301}", "\u{fffd}"),
            ("x\u{335}\u{336}\u{337}\u{338}\u{489}\u{489}", "x\u{335}\u{336}\u{337}\u{338}\u{fffd}\u{fffd}"),
            ("a\u{e000}\u{378}", "a\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(HumanText::from_stored(stored).as_str(), shown, "{stored:?}");
        }
        let long = HumanText::from_stored(&"x".repeat(1_000));
        assert_eq!(long.as_str(), format!("{}…", "x".repeat(63)));
        let long = HumanText::from_stored(&"助".repeat(1_000));
        assert_eq!(long.as_str(), format!("{}…", "助".repeat(63)));
        let heavy = HumanText::from_stored(&format!("a{}", "\u{1F468}\u{200D}".repeat(200)));
        assert!(check(heavy.as_str()).is_ok(), "{heavy}");
    }

    /// Any text can be read and examined, and what is shown of it follows the rules.
    #[test]
    fn a13_any_stored_text_can_be_shown() {
        const PIECES: [&str; 34] = [
            "a",
            "Claude",
            "I",
            "0",
            " ",
            "\u{a0}",
            "\0",
            "\n",
            "“",
            "\"",
            "'",
            "\u{301}",
            "\u{345}",
            "\u{489}",
            "с",
            "о",
            "助",
            "ノ",
            "ה",
            "ا",
            "می",
            "\u{94d}",
            "क",
            "\u{200c}",
            "\u{200d}",
            "\u{fe0f}",
            "\u{e0100}",
            "\u{202e}",
            "👩",
            "💻",
            "✅",
            "\u{1100}\u{1161}\u{11a8}",
            "𝗔",
            "official",
        ];
        let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut roll = |sides: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % sides
        };
        for _ in 0..1_000 {
            let mut text = String::new();
            let longest = if roll(50) == 0 { 300 } else { 12 };
            for _ in 0..roll(longest) {
                match roll(4) {
                    0 => text.extend(char::from_u32(u32::try_from(roll(0x11_0000)).unwrap())),
                    _ => text.push_str(PIECES[usize::try_from(roll(PIECES.len() as u64)).unwrap()]),
                }
            }
            let shown = HumanText::from_stored(&text);
            assert_eq!(check(shown.as_str()), Ok(()), "{text:?}");
            assert_eq!(HumanText::from_stored(shown.as_str()), shown, "{text:?}");
            if let Ok(valid) = HumanText::new(&text) {
                assert_eq!((valid.as_str(), &valid), (text.as_str(), &shown));
            }
            let _ =
                (shown.looks_deceptive(), shown.claims_authority(), shown.imitates("Example"), shown.imitates(&text));
        }
    }

    #[test]
    fn r41_honest_names_of_any_script_pass() {
        for text in ["Claude Code", "Élan 2", "クロード", "Агент", "עוזר", "e-mail helper (v2)", "<b>bold</b>"]
        {
            let text = HumanText::new(text).unwrap();
            assert!(!text.looks_deceptive(), "{text}");
        }
    }

    #[test]
    fn r41_mixed_scripts_are_flagged() {
        assert!(HumanText::new("\u{0421}laude").unwrap().looks_deceptive());
    }
}
