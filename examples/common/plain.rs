//! What a service wrote, for a terminal.

/// A service's text on one line, without terminal control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}
