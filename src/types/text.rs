//! Untrusted text that a human reads before a decision: what is refused, what is shown, and what needs a warning. All
//! rules for names are here.
//!
//! * **Refused** when it is received: text that is blank, too long, or has invisible or reordering characters, and text
//!   that stacks marks. It is not repaired, so that the page, the list and the log show the same string.
//! * **Accepted**: honest names in any language, with the joiners that some scripts and emoji need.
//! * **Read from a store**: every text. A character that is refused today is shown as U+FFFD.
//! * **Warned of** is text that [can be mistaken](HumanText::looks_deceptive), that
//!   [claims authority](HumanText::claims_authority), or that [imitates](HumanText::imitates) a name.
//!
//! Only a service that issues sessions shows such text to humans. Without the feature `issuer`, text is read from stores
//! only, and by fewer rules: U+FFFD stands for characters that control a terminal or turn the direction of text around.
//!
//! ```
//! # #[cfg(feature = "issuer")] {
//! use tower_agent_auth::types::text::HumanText;
//!
//! assert!(HumanText::new("Claude Code").is_ok());
//! assert!(HumanText::new("evil\u{202E}gpj.exe").is_err());
//! assert_eq!(HumanText::from_stored("evil\u{202E}gpj.exe").as_str(), "evil\u{FFFD}gpj.exe");
//! assert!(HumanText::new("\u{0421}laude").unwrap().looks_deceptive());
//! assert!(HumanText::new("Verified by Example").unwrap().claims_authority());
//! assert!(HumanText::new("EхampIe").unwrap().imitates("Example"));
//! # }
//! ```

use std::{fmt, sync::Arc};

#[cfg(feature = "issuer")]
mod rules;
#[cfg(feature = "issuer")]
mod warning;

const MAX_BYTES: usize = 256;
const MAX_CHARACTERS: usize = 64;
/// The most nonspacing marks on one letter. No living script stacks more.
const MAX_MARKS: usize = 4;
/// Stands for a character that can't be shown.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// A short single line of 1 to 64 graphemes and at most 256 bytes, in Unicode normal form C. Every character is visible,
/// except the joiners and variation selectors that its script or emoji needs. It has no blank at either end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HumanText(Arc<str>);

impl HumanText {
    /// Validates received `text`.
    ///
    /// # Errors
    /// When `text` is invalid; the error names the violated rule. The fault is the sender's.
    #[cfg(feature = "issuer")]
    #[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
    pub fn new(text: &str) -> Result<Self, TextError> {
        rules::check(text)?;
        Ok(Self(text.into()))
    }

    /// Restores stored `text`, which is never refused. Text that violates a rule of this version is changed so that it
    /// can be shown: each character that is refused becomes U+FFFD, and what is too long is cut.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        #[cfg(feature = "issuer")]
        return Self(rules::shown(text).as_ref().into());
        #[cfg(not(feature = "issuer"))]
        return Self(plain(text).into());
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether letters or marks of the text can be mistaken for others: look-alikes of another script, in a word or as
    /// a whole word (Unicode Technical Standard 39), letters that are decorations, and double quotation marks, which
    /// seem to end a quoted name. Scripts that are usually written with Latin words are not mistaken for them.
    #[cfg(feature = "issuer")]
    #[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
    #[must_use]
    pub fn looks_deceptive(&self) -> bool {
        warning::looks_deceptive(&self.0)
    }

    /// Whether the text claims to be verified or to speak for the service, by words such as "official", "security" or
    /// "support", or by a symbol such as a check mark or a lock. The list is short, and most of it is English.
    #[cfg(feature = "issuer")]
    #[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
    #[must_use]
    pub fn claims_authority(&self) -> bool {
        warning::claims_verification(&self.0) || warning::claims_office(&self.0)
    }

    /// Whether the text claims to be verified, by words or symbols. Unlike in a name, a word such as "support" in a
    /// session's label may say what the session is for.
    #[cfg(feature = "issuer")]
    pub(crate) fn claims_verification(&self) -> bool {
        warning::claims_verification(&self.0)
    }

    /// Whether the text contains what looks like a host, or like a domain that the host is in.
    #[cfg(feature = "issuer")]
    pub(crate) fn imitates_host(&self, host: &str) -> bool {
        warning::imitates_host(&self.0, host)
    }

    /// Whether the text contains what looks like `name`, whatever its letters, case, marks, blanks and punctuation are
    /// (the skeleton of Unicode Technical Standard 39). A `name` of fewer than four letters must be a word of the text.
    #[cfg(feature = "issuer")]
    #[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
    #[must_use]
    pub fn imitates(&self, name: &str) -> bool {
        warning::imitates(&self.0, name)
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
    /// Empty, blank at an end, or begins with a mark that belongs on a letter.
    #[error("is empty, begins or ends with a blank, or begins with a combining mark; trim it")]
    Blank,
    /// Has an invisible, blank, reordering or unassigned character.
    #[error("has a control, format, filler, private or unassigned character; use visible characters only")]
    Invisible,
    /// Is not in normal form C.
    #[error("is not in Unicode normal form C; normalise it")]
    NotNormal,
    /// Stacks too many marks on one letter.
    #[error("piles more than {MAX_MARKS} marks on one letter; leave them out")]
    StackedMarks,
}

crate::types::error_chain::debug_as_text!(TextError);

/// Text without the characters that turn the direction of text around (UAX 9 section 2). It can't end an isolation.
#[cfg(feature = "issuer")]
pub(crate) fn without_direction(text: &str) -> String {
    text.chars().filter(|character| !turns(*character)).collect()
}

const fn turns(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text that does no harm in a log or on a terminal, found without tables of Unicode.
#[cfg(not(feature = "issuer"))]
fn plain(text: &str) -> String {
    let good = |character: char| if character.is_control() || turns(character) { REPLACEMENT } else { character };
    let mut short = String::new();
    for character in text.chars().map(good) {
        if short.len() + character.len_utf8() > MAX_BYTES {
            break;
        }
        short.push(character);
    }
    short
}
