//! Untrusted text that a human reads before a decision: bounded, and without deceptive characters.
//!
//! Invalid text is refused, never repaired, so that the page, the list and the log show the same string.
//!
//! ```
//! use tower_agent_auth::types::text::HumanText;
//!
//! assert!(HumanText::new("Claude Code").is_ok());
//! assert!(HumanText::new("evil\u{202E}gpj.exe").is_err());
//! assert!(HumanText::new("\u{0421}laude").unwrap().looks_deceptive());
//! ```

use std::{fmt, sync::Arc};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_security::MixedScript;
use unicode_segmentation::UnicodeSegmentation;

const MAX_BYTES: usize = 256;
const MAX_CHARACTERS: usize = 64;
/// The most combining marks in a row. No living script stacks more on one letter.
const MAX_MARKS_IN_A_ROW: usize = 4;

/// A short single line of 1 to 64 graphemes and at most 256 bytes, in Unicode normal form C. It has no control, format,
/// private or unassigned characters, and no blank at either end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HumanText(Arc<str>);

impl HumanText {
    /// Validates `text`.
    ///
    /// # Errors
    /// When `text` is invalid; the error names the violated rule. The fault is the sender's.
    pub fn new(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_BYTES || text.graphemes(true).count() > MAX_CHARACTERS {
            return Err(TextError::TooLong);
        }
        if text.is_empty() || text.trim() != text {
            return Err(TextError::Blank);
        }
        if text.chars().any(is_invisible) {
            return Err(TextError::Invisible);
        }
        if !text.nfc().eq(text.chars()) {
            return Err(TextError::NotNormal);
        }
        if has_stacked_marks(text) {
            return Err(TextError::StackedMarks);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text mixes letters of several scripts (Unicode Technical Standard 39), for example look-alikes in a
    /// Latin name. Pages show such text with a warning.
    #[must_use]
    pub fn looks_deceptive(&self) -> bool {
        !self.0.is_single_script()
    }
}

impl fmt::Display for HumanText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text can't be shown to a human.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Longer than 64 characters or 256 bytes.
    #[error("is longer than {MAX_CHARACTERS} characters or {MAX_BYTES} bytes; shorten it")]
    TooLong,
    /// Empty, or blank at an end.
    #[error("is empty or begins or ends with a blank; trim it")]
    Blank,
    /// Has an invisible, reordering or unassigned character.
    #[error("has a control, format, private or unassigned character; use visible characters only")]
    Invisible,
    /// Is not in normal form C.
    #[error("is not in Unicode normal form C; normalise it")]
    NotNormal,
    /// Stacks too many marks on one letter.
    #[error("piles more than {MAX_MARKS_IN_A_ROW} marks on one letter; leave them out")]
    StackedMarks,
}

crate::types::chain::debug_as_text!(TextError);

fn is_invisible(character: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Surrogate, Unassigned};
    matches!(
        character.general_category(),
        Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Surrogate | Unassigned
    )
}

fn has_stacked_marks(text: &str) -> bool {
    let mut row = 0;
    text.chars().any(|character| {
        row = if is_combining_mark(character) { row + 1 } else { 0 };
        row > MAX_MARKS_IN_A_ROW
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
