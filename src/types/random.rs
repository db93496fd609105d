//! Randomness for secrets and identifiers, from an injected source.
//!
//! ```
//! use tower_agent_auth::types::random::{OsRandom, Random};
//!
//! let mut bytes = [0; 32];
//! OsRandom.fill(&mut bytes)?;
//! assert_ne!(bytes, [0; 32]);
//! # Ok::<(), tower_agent_auth::types::random::RandomError>(())
//! ```

/// A source of unpredictable bytes.
///
/// An implementation must be cryptographically secure. Only tests need their own.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes` completely.
    ///
    /// # Errors
    /// When the source fails. The caller then issues nothing and responds with 503.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's generator, without a fallback.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no settings, and is written as a value")]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|_| RandomError)
    }
}

/// The source of randomness failed. The fault is the host's.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("the source of randomness failed; nothing was issued")]
#[non_exhaustive]
pub struct RandomError;

crate::types::error_chain::debug_as_text!(RandomError);

pub(crate) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends `count` uniform base62 characters, by rejection sampling on the low six bits of each byte.
pub(crate) fn push_base62(text: &mut String, count: usize, random: &dyn Random) -> Result<(), RandomError> {
    // One buffer almost always gives 43 characters. A source that fails every round is broken.
    const ROUNDS: usize = 16;
    let end = text.len() + count;
    let mut bytes = zeroize::Zeroizing::new([0; 64]);
    for _ in 0..ROUNDS {
        random.fill(bytes.as_mut())?;
        let drawn = bytes.iter().filter_map(|byte| BASE62.get(usize::from(byte & 0x3f)));
        for symbol in drawn.take(end - text.len()) {
            text.push(char::from(*symbol));
        }
        if text.len() == end {
            return Ok(());
        }
    }
    Err(RandomError)
}
