//! Randomness for secrets and identifiers, from a source that is injected.
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
/// An implementation must be a cryptographically secure generator; only tests have a reason to write one.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes` whole.
    ///
    /// # Errors
    /// When the source can't deliver. Nothing is issued then: the caller answers 503.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's generator. There is no fallback to another one.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes).map_err(|_| RandomError)
    }
}

/// The source of randomness failed. The fault is the host's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the source of randomness failed; nothing was issued")]
#[non_exhaustive]
pub struct RandomError;

pub(crate) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends `count` base62 characters, each uniform: a byte's low six bits, thrown away unless they are below 62.
pub(crate) fn push_base62(text: &mut String, count: usize, random: &dyn Random) -> Result<(), RandomError> {
    // One buffer gives 43 characters with overwhelming probability; a source that keeps failing the draw is broken.
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
