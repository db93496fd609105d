//! The secrets of a ceremony and of a session: their format, their generation, and the digests that stores keep.
//!
//! A secret is `prefix` + 43 base62 characters (256 bits from the operating system) + 6 base62 characters of CRC-32
//! over everything before them. The checksum lets a guard refuse a mistyped or invented token without a store lookup.
//! It also lets a secret scanner recognise a leaked secret. A prefix has at most 6 characters, so a secret has at most
//! 55 bytes, which SHA-256 hashes in one block.
//!
//! Each kind is its own Rust type, so that one can't be used in place of another:
//!
//! ```compile_fail
//! use tower_agent_auth::types::secret::{Access, Digest, Refresh};
//! fn look_up(digest: Digest<Access>) {}
//! fn wrong(digest: Digest<Refresh>) { look_up(digest) }
//! ```
//!
//! A secret can't be printed or serialised by accident:
//!
//! ```compile_fail
//! # use tower_agent_auth::types::{random::OsRandom, secret::{Access, Prefix}};
//! let token = Prefix::<Access>::new("aas_").unwrap().generate(&OsRandom).unwrap();
//! println!("{token}");
//! ```
//!
//! ```compile_fail
//! # use tower_agent_auth::types::{random::OsRandom, secret::{Access, Prefix}};
//! let token = Prefix::<Access>::new("aas_").unwrap().generate(&OsRandom).unwrap();
//! serde_json::to_string(&token).unwrap();
//! ```

use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random::{BASE62, Random, RandomError, push_base62};

/// Base62 characters of randomness in a secret: 43 × log2(62) = 256.03 bits.
const RANDOM_LENGTH: usize = 43;
/// Base62 characters of checksum: 62^6 exceeds 2^32.
const CHECKSUM_LENGTH: usize = 6;
/// The number of characters after the prefix.
const REST: usize = RANDOM_LENGTH + CHECKSUM_LENGTH;
/// The longest prefix: SHA-256 hashes a secret of 55 bytes in one block.
const MAX_PREFIX: usize = 55 - REST;

/// The purpose of a secret. The set of kinds is closed.
pub trait Kind: sealed::Sealed + Copy + fmt::Debug + Eq + Hash + Send + Sync + 'static {
    /// The kind's name in messages.
    const NAME: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[expect(clippy::exhaustive_enums, reason = "a kind has no values; it is only named")]
        pub enum $kind {}
        impl sealed::Sealed for $kind {}
        impl Kind for $kind {
            const NAME: &'static str = $name;
        }
    )*};
}

kinds! {
    /// An access token. The agent sends it as `Authorization: Bearer`.
    Access = "access token";
    /// A refresh token. It continues a session after its access token has expired.
    Refresh = "refresh token";
    /// A claim token. The agent holds it while its human decides, and redeems it afterwards.
    Claim = "claim token";
    /// A poll token. The agent uses it to poll for the status while its human decides.
    Poll = "poll token";
    /// An exchange code. The agent receives it through its callback or by polling, and redeems it.
    Exchange = "exchange code";
    /// A finish code. The human copies it from the approval page to the agent, which redeems it.
    Finish = "finish code";
    /// An identity assertion. An agent of the auth.md protocol exchanges it for access tokens, again and again.
    Assertion = "identity assertion";
}

/// A secret in plain text. It exists only on its way to the agent that it is issued to.
///
/// It has no `Display`, no `Serialize` and no comparison, its `Debug` is redacted, and its memory is wiped on drop.
pub struct Secret<K: Kind> {
    text: Zeroizing<String>,
    kind: PhantomData<K>,
}

impl<K: Kind> Secret<K> {
    /// The secret in plain text, for the one response that delivers it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The digest that a store keeps.
    #[must_use]
    pub fn digest(&self) -> Digest<K> {
        Digest::of(self.text.as_bytes())
    }
}

impl<K: Kind> fmt::Debug for Secret<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret<{}>([redacted])", K::NAME)
    }
}

/// The SHA-256 of a whole secret, and the only form of it that reaches a store.
///
/// `==` is for maps and tests. Compare a presented secret with [`matches`](Self::matches).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Digest<K: Kind> {
    bytes: [u8; 32],
    kind: PhantomData<K>,
}

impl<K: Kind> Digest<K> {
    /// Restores a digest from its stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Whether both digests are of the same secret, compared in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }

    fn of(secret: &[u8]) -> Self {
        Self::from_bytes(<Sha256 as sha2::Digest>::digest(secret).into())
    }
}

impl<K: Kind> fmt::Debug for Digest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest<{}>", K::NAME)
    }
}

/// The prefix of a service's secrets of one kind. It generates and validates them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prefix<K: Kind> {
    text: Arc<str>,
    kind: PhantomData<K>,
}

impl<K: Kind> Prefix<K> {
    /// Creates a prefix such as `aas_`: lower-case letters and digits, then one underscore, 2 to 6 characters in all.
    ///
    /// # Errors
    /// When `text` has another form.
    pub fn new(text: &str) -> Result<Self, PrefixError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        match text.strip_suffix('_') {
            Some(name) if !name.is_empty() && text.len() <= MAX_PREFIX && name.bytes().all(plain) => {
                Ok(Self { text: text.into(), kind: PhantomData })
            }
            _ => Err(PrefixError),
        }
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Generates a secret of 256 random bits.
    ///
    /// # Errors
    /// When `random` fails.
    pub fn generate(&self, random: &dyn Random) -> Result<Secret<K>, RandomError> {
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + REST));
        text.push_str(&self.text);
        push_base62(&mut text, RANDOM_LENGTH, random)?;
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Ok(Secret { text, kind: PhantomData })
    }

    /// Derives the secret for `subject` from `key` and `salt` (HKDF with SHA-256, RFC 5869). The result is
    /// deterministic, and unpredictable without both the key and the salt.
    ///
    /// # Errors
    /// Never in practice: only when the output of HKDF is too short.
    pub(crate) fn derive(&self, key: &str, salt: &[u8], subject: &str) -> Result<Secret<K>, RandomError> {
        self.generate(&Derived::new(key, salt, &format!("{}\0{subject}\0", K::NAME)))
    }

    /// The digest of `presented`, or `None` if its prefix, length, alphabet or checksum is wrong. A store lookup is
    /// then unnecessary.
    #[must_use]
    pub fn digest(&self, presented: &[u8]) -> Option<Digest<K>> {
        let (prefix, rest) = presented.split_last_chunk::<REST>()?;
        // `fold` processes many characters at once. `all` costs 370 more instructions, 23 % of a token check.
        let alphanumeric = rest.iter().fold(true, |so_far, byte| so_far & byte.is_ascii_alphanumeric());
        let (checked, stated) = presented.split_last_chunk::<CHECKSUM_LENGTH>()?;
        let valid = prefix == self.text.as_bytes() && alphanumeric && checksum(checked) == *stated;
        valid.then(|| Digest::of(presented))
    }

    /// Whether the text begins with a secret whose prefix, alphabet and checksum are right.
    pub(crate) fn begins(&self, text: &[u8]) -> bool {
        text.get(..self.text.len() + REST).is_some_and(|secret| self.digest(secret).is_some())
    }
}

/// A source of bytes that are derived from a key (HKDF with SHA-256, RFC 5869), at most 255 times.
pub(crate) struct Derived {
    expander: Hkdf<Sha256>,
    info: String,
    round: AtomicU8,
}

impl Derived {
    pub(crate) fn new(key: &str, salt: &[u8], info: &str) -> Self {
        let (expander, info) = (Hkdf::new(Some(salt), key.as_bytes()), info.to_owned());
        Self { expander, info, round: AtomicU8::new(0) }
    }
}

impl Random for Derived {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        self.expander.expand_multi_info(&[self.info.as_bytes(), &[round]], bytes).map_err(|_| RandomError)
    }
}

/// A malformed prefix. The fault is the configuration's.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("a prefix is lower-case letters or digits and one underscore, 2 to {MAX_PREFIX} characters, such as `aas_`")]
#[non_exhaustive]
pub struct PrefixError;

crate::types::error_chain::debug_as_text!(PrefixError);

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(bytes);
    let mut symbols = [BASE62[0]; CHECKSUM_LENGTH];
    for symbol in symbols.iter_mut().rev() {
        *symbol = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    symbols
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Mutex};

    use super::*;
    use crate::types::random::OsRandom;

    fn prefix() -> Prefix<Access> {
        Prefix::new("aas_").unwrap()
    }

    /// Returns 0xFF for the first fills, then real bytes.
    struct Stubborn(Mutex<usize>);

    impl Random for Stubborn {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            let mut left = self.0.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                bytes.fill(0xff);
                return Ok(());
            }
            OsRandom.fill(bytes)
        }
    }

    #[test]
    fn r1_no_duplicate_and_every_symbol_equally_often() {
        const TOKENS: usize = 100_000;
        let prefix = prefix();
        let mut seen = HashSet::new();
        let mut counts = [[0_u32; 62]; RANDOM_LENGTH];
        for _ in 0..TOKENS {
            let token = prefix.generate(&OsRandom).unwrap();
            let random = &token.expose().as_bytes()[4..4 + RANDOM_LENGTH];
            for (position, symbol) in random.iter().enumerate() {
                let index = BASE62.iter().position(|known| known == symbol).unwrap();
                counts[position][index] += 1;
            }
            assert!(seen.insert(token.digest()));
        }
        // Chi-square with 61 degrees of freedom: 140 lies beyond p = 1e-7 for each of the 43 positions.
        let expected = TOKENS as f64 / 62.0;
        for position in counts {
            let chi: f64 = position.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            assert!(chi < 140.0, "chi-square {chi}");
        }
    }

    #[test]
    fn r1_rejected_draws_are_drawn_again_and_a_broken_source_is_an_error() {
        let token = prefix().generate(&Stubborn(Mutex::new(3))).unwrap();
        assert!(prefix().digest(token.expose().as_bytes()).is_some());
        assert!(prefix().generate(&Stubborn(Mutex::new(usize::MAX))).is_err());
    }

    #[test]
    fn r2_an_access_token_takes_one_sha256_block() {
        let longest = Prefix::<Access>::new("abcde_").unwrap().generate(&OsRandom).unwrap();
        assert_eq!(longest.expose().len(), 55);
        assert_eq!(prefix().generate(&OsRandom).unwrap().expose().len(), 53);
    }

    #[test]
    fn r2_every_single_character_mutation_is_refused() {
        let prefix = prefix();
        for _ in 0..200 {
            let token = prefix.generate(&OsRandom).unwrap();
            for position in 0..token.expose().len() {
                let mut mutated = token.expose().as_bytes().to_vec();
                mutated[position] = if mutated[position] == b'x' { b'y' } else { b'x' };
                assert_eq!(prefix.digest(&mutated), None);
            }
        }
    }

    #[test]
    fn r4_the_digest_is_sha_256() {
        use sha2::Digest as _;
        for prefix in ["a_", "aas_", "abcde_"] {
            let secret = Prefix::<Access>::new(prefix).unwrap().generate(&OsRandom).unwrap();
            let expected: [u8; 32] = sha2::Sha256::digest(secret.expose()).into();
            assert_eq!(secret.digest().as_bytes(), &expected);
        }
    }

    #[test]
    fn r2_nothing_but_the_exact_shape_is_accepted() {
        let prefix = prefix();
        let token = prefix.generate(&OsRandom).unwrap();
        let text = token.expose();
        assert_eq!(prefix.digest(text.as_bytes()), Some(token.digest()));
        for wrong in ["", "aas_", &text[1..], &text[..52], &format!("{text}x"), &text.to_uppercase()] {
            assert_eq!(prefix.digest(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Prefix::<Refresh>::new("aar_").unwrap().digest(text.as_bytes()), None);
    }

    #[test]
    fn what_is_derived_follows_from_key_salt_subject_and_kind_alone() {
        let poll = Prefix::<Poll>::new("aap_").unwrap();
        let finish = Prefix::<Finish>::new("aap_").unwrap();
        let derived = |key, salt: &[u8], subject| poll.derive(key, salt, subject).unwrap().digest();
        let one = derived("key", b"salt", "reg_1");
        assert_eq!(one, derived("key", b"salt", "reg_1"));
        for other in
            [derived("kez", b"salt", "reg_1"), derived("key", b"sal", "reg_1"), derived("key", b"salt", "reg_2")]
        {
            assert!(!one.matches(&other));
        }
        let secret = poll.derive("key", b"salt", "reg_1").unwrap();
        assert_eq!(poll.digest(secret.expose().as_bytes()), Some(one), "it has the shape of any other");
        let of_other_kind = finish.derive("key", b"salt", "reg_1").unwrap();
        assert_ne!(secret.expose(), of_other_kind.expose());
    }

    #[test]
    fn r7_debug_is_redacted() {
        let token = prefix().generate(&OsRandom).unwrap();
        assert_eq!(format!("{token:?} {:?}", token.digest()), "Secret<access token>([redacted]) Digest<access token>");
    }

    #[test]
    fn prefixes_are_checked() {
        for good in ["a_", "aas_", "abcd1_"] {
            assert!(Prefix::<Access>::new(good).is_ok(), "{good}");
        }
        for bad in ["", "_", "aas", "AAS_", "abcdef_", "a-b_", "a__", "é_"] {
            assert!(Prefix::<Access>::new(bad).is_err(), "{bad}");
        }
    }
}
