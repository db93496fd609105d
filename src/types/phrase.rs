//! The check phrase of an authorization request, such as `amber otter 42`.
//!
//! The agent shows it beside the approval link, and the approval page shows it again. A human who sees the same phrase at
//! both looks at the request of their own agent. It is derived from the request's public id, so it is no secret and needs
//! no storage. It grants nothing.
//!
//! ```
//! use tower_agent_auth::types::{id::AuthorizationRequestId, phrase::CheckPhrase};
//!
//! let id = AuthorizationRequestId::parse("reg_0123456789abcdefghijkl").expect("it has the form of an id");
//! assert_eq!(CheckPhrase::of(&id).to_string(), "bouncy ember 94");
//! ```

use std::{fmt, str::SplitAsciiWhitespace};

use sha2::{Digest as _, Sha256};

use super::id::AuthorizationRequestId;

/// 256 words each. Clients of other versions show phrases of the same words, so they never change.
const ADJECTIVES: &str = include_str!("phrase/adjectives.txt");
const NOUNS: &str = include_str!("phrase/nouns.txt");

/// An adjective, a noun and two digits, in lower-case ASCII with blanks between: one of 6,553,600.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CheckPhrase(String);

impl CheckPhrase {
    /// The phrase of an authorization request: always the same.
    #[must_use]
    pub fn of(id: &AuthorizationRequestId) -> Self {
        let [adjective, noun, rest @ ..] = <[u8; 32]>::from(Sha256::digest(format!("check phrase {id}")));
        let number = rest.iter().take(4).fold(0, |number: u32, byte| number << 8 | u32::from(*byte)) % 100;
        Self(format!("{} {} {number:02}", word(ADJECTIVES, adjective), word(NOUNS, noun)))
    }

    /// The phrase as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn word(list: &'static str, index: u8) -> &'static str {
    words(list).nth(index.into()).unwrap_or_default()
}

fn words(list: &'static str) -> SplitAsciiWhitespace<'static> {
    list.split_ascii_whitespace()
}

impl fmt::Display for CheckPhrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use data_encoding::HEXLOWER;

    use super::*;
    use crate::types::random::OsRandom;

    #[test]
    fn the_words_are_those_of_every_version() {
        for (list, digest) in [
            (ADJECTIVES, "9b5d43a4aabc8cf043a57a1be867ab828a85457b74c36d491d556130889a2517"),
            (NOUNS, "517c5cd23dc0e68c46bcd73bc4233aeaed3629bf9fcefb8c993f08ed08ce413d"),
        ] {
            let joined = words(list).collect::<Vec<_>>().join(" ");
            assert_eq!(HEXLOWER.encode(&Sha256::digest(joined)), digest);
        }
    }

    #[test]
    fn no_word_is_nearly_another() {
        for list in [ADJECTIVES, NOUNS] {
            let all: Vec<&str> = words(list).collect();
            assert_eq!(all.len(), 256);
            for (index, word) in all.iter().enumerate() {
                assert!((3..=8).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
                let near = all[..index].iter().find(|other| is_near(word.as_bytes(), other.as_bytes()));
                assert_eq!(near, None, "{word}");
            }
        }
        let shared: Vec<&str> = words(ADJECTIVES).filter(|word| words(NOUNS).any(|noun| noun == *word)).collect();
        assert_eq!(shared, [""; 0]);
    }

    /// Whether one word becomes the other by one letter that is added, taken away or replaced, or by two that swap.
    fn is_near(one: &[u8], other: &[u8]) -> bool {
        let start = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        let (one, other) = (&one[start..], &other[start..]);
        let rest = |word: &[u8], from: usize| word.get(from..).map(<[u8]>::to_vec);
        let swapped = matches!((one, other), ([a, b, x @ ..], [c, d, y @ ..]) if (a, b, x) == (d, c, y));
        one == other
            || rest(one, 1) == rest(other, 1)
            || rest(one, 1).as_deref() == Some(other)
            || rest(other, 1).as_deref() == Some(one)
            || swapped
    }

    #[test]
    fn near_words_would_be_noticed() {
        for (one, other) in [("otter", "otters"), ("kitten", "mitten"), ("form", "from"), ("a", "b"), ("x", "x")] {
            assert!(is_near(one.as_bytes(), other.as_bytes()) && is_near(other.as_bytes(), one.as_bytes()), "{one}");
        }
        for (one, other) in [("otter", "oyster"), ("canyon", "crayon"), ("lemon", "melon")] {
            assert!(!is_near(one.as_bytes(), other.as_bytes()), "{one}");
        }
    }

    #[test]
    fn phrases_use_every_word_and_number() {
        let mut parts = HashSet::new();
        for _ in 0..5_000 {
            let phrase = CheckPhrase::of(&AuthorizationRequestId::generate(&OsRandom).unwrap());
            let words: Vec<String> = phrase.as_str().split(' ').map(str::to_owned).collect();
            assert!(words.len() == 3 && words[2].len() == 2 && words[2].parse::<u8>().unwrap() < 100, "{phrase}");
            parts.extend(words);
        }
        // The chance that any one of the 256 + 256 + 100 is missing is below one in 100,000.
        assert_eq!(parts.len(), 612);
    }
}
