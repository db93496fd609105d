//! Scopes (RFC 6749 section 3.3), sets of them, and the catalogue of those that a service offers to agents.
//!
//! A scope is compared whole and case-sensitively. One scope gives another only where the catalogue says so:
//!
//! ```
//! use tower_agent_auth::types::scope::{Catalogue, CatalogueEntry, Scope, ScopeSet};
//!
//! let read = Scope::new("experiments:read")?;
//! let write = Scope::new("experiments:write")?;
//! let catalogue = Catalogue::new(vec![
//!     CatalogueEntry::new(read.clone(), "See your experiments"),
//!     CatalogueEntry::new(write.clone(), "Change your experiments").implies([read.clone()]),
//! ]);
//! let granted = ScopeSet::from_iter([write]);
//! assert!(catalogue.grants(&granted, &read));
//! # Ok::<(), tower_agent_auth::types::scope::ScopeError>(())
//! ```

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The longest scope that is accepted, in bytes.
const MAX_SCOPE: usize = 64;
/// So many entries of a catalogue are checked by one bit each.
const BITS: usize = u64::BITS as usize;

/// One scope: printable ASCII without space, quote and backslash, 1 to 64 bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The scope that `text` spells.
    ///
    /// # Errors
    /// When `text` is no `scope-token` of RFC 6749 section 3.3, or is too long.
    pub fn new(text: &str) -> Result<Self, ScopeError> {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.is_empty() || text.len() > MAX_SCOPE || !text.bytes().all(allowed) {
            return Err(ScopeError);
        }
        Ok(Self(text.into()))
    }

    /// The scope as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a scope is 1 to {MAX_SCOPE} printable ASCII characters without space, quote and backslash")]
#[non_exhaustive]
pub struct ScopeError;

/// A set of scopes, in the order of their names.
#[derive(Clone, Default)]
pub struct ScopeSet(Arc<Scopes>);

#[derive(Default)]
struct Scopes {
    sorted: Box<[Scope]>,
    /// What the set gives by the first catalogue that it was held against: a guard's, as a rule the only one.
    powers: OnceLock<Powers>,
}

struct Powers {
    catalogue: CatalogueId,
    bits: u64,
}

impl ScopeSet {
    /// The set that a space-separated list spells (RFC 6749 section 3.3). The empty text is the empty set.
    ///
    /// # Errors
    /// When a part of the list is no scope.
    pub fn parse(list: &str) -> Result<Self, ScopeError> {
        list.split(' ').filter(|part| !part.is_empty()).map(Scope::new).collect()
    }

    /// Whether `scope` itself is in the set.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.sorted.binary_search(scope).is_ok()
    }

    /// Whether every scope of this set is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|scope| other.contains(scope))
    }

    /// The scopes, in the order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.sorted.iter()
    }

    /// How many scopes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.sorted.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.sorted.is_empty()
    }

    /// The scopes as strings, for a JSON array.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.iter().map(Scope::as_str).collect()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort();
        scopes.dedup();
        Self(Arc::new(Scopes { sorted: scopes.into(), powers: OnceLock::new() }))
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for ScopeSet {
    fn eq(&self, other: &Self) -> bool {
        self.0.sorted == other.0.sorted
    }
}

impl Eq for ScopeSet {}

impl Hash for ScopeSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.sorted.hash(state);
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

/// The space-separated list of RFC 6749 section 3.3.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" "))
    }
}

/// All that agents may ever be granted at a service. What only the owner may do is no scope.
#[derive(Clone)]
pub struct Catalogue {
    id: CatalogueId,
    entries: Vec<CatalogueEntry>,
    /// What each of the first 64 entries gives of these: bit by bit, itself included.
    given: Vec<u64>,
}

/// Tells one catalogue of a process from another.
#[derive(Clone, Copy, Eq, PartialEq)]
struct CatalogueId(u64);

impl CatalogueId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Catalogue").field(&self.entries).finish()
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Catalogue {
    /// A catalogue in the order in which people shall read it.
    #[must_use]
    pub fn new(entries: Vec<CatalogueEntry>) -> Self {
        let mut catalogue = Self { id: CatalogueId::next(), entries, given: Vec::new() };
        catalogue.given = catalogue.closure();
        catalogue
    }

    /// The entries, in the order in which people shall read them.
    #[must_use]
    pub fn entries(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// The entry of `scope`.
    #[must_use]
    pub fn find(&self, scope: &Scope) -> Option<&CatalogueEntry> {
        self.entries.iter().find(|entry| entry.scope == *scope)
    }

    /// What an agent that names no scope asks for.
    #[must_use]
    pub fn defaults(&self) -> ScopeSet {
        self.entries.iter().filter(|entry| entry.default).map(|entry| entry.scope.clone()).collect()
    }

    /// Every scope that gives `wanted`: itself, and whatever implies it, over any number of steps.
    #[must_use]
    pub fn givers(&self, wanted: &Scope) -> ScopeSet {
        let mut givers = vec![wanted.clone()];
        let mut next = 0;
        while let Some(given) = givers.get(next).cloned() {
            let new =
                self.entries.iter().filter(|entry| entry.implies.contains(&given) && !givers.contains(&entry.scope));
            let new: Vec<Scope> = new.map(|entry| entry.scope.clone()).collect();
            givers.extend(new);
            next += 1;
        }
        givers.into_iter().collect()
    }

    /// Whether `granted` gives `wanted`.
    #[must_use]
    pub fn grants(&self, granted: &ScopeSet, wanted: &Scope) -> bool {
        self.givers(wanted).iter().any(|giver| granted.contains(giver))
    }

    /// The bits of the entries of these names; `None` if one of them is not among the first 64.
    pub(crate) fn bits(&self, names: &ScopeSet) -> Option<u64> {
        names.iter().try_fold(0, |bits, scope| Some(bits | 1 << self.position(scope)?))
    }

    /// What `granted` gives of the first 64 entries, worked out once for a set.
    #[inline]
    pub(crate) fn powers(&self, granted: &ScopeSet) -> u64 {
        let known = granted.0.powers.get_or_init(|| Powers { catalogue: self.id, bits: self.given_by(granted) });
        if known.catalogue == self.id { known.bits } else { self.given_by(granted) }
    }

    fn given_by(&self, granted: &ScopeSet) -> u64 {
        granted.iter().filter_map(|scope| self.position(scope)).fold(0, |bits, position| bits | self.given[position])
    }

    fn position(&self, scope: &Scope) -> Option<usize> {
        self.entries.iter().take(BITS).position(|entry| entry.scope == *scope)
    }

    fn closure(&self) -> Vec<u64> {
        let mut given = vec![0; self.entries.len().min(BITS)];
        for (position, wanted) in self.entries.iter().take(BITS).enumerate() {
            for giver in self.givers(&wanted.scope).iter().filter_map(|giver| self.position(giver)) {
                given[giver] |= 1 << position;
            }
        }
        given
    }
}

/// One scope as a service offers it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The scope.
    pub scope: Scope,
    /// The sentence that a human reads before approving it.
    pub description: String,
    /// Whether an agent that names no scope asks for this one. False unless set.
    pub default: bool,
    /// The scopes that this one gives as well. None unless set.
    pub implies: ScopeSet,
}

impl CatalogueEntry {
    /// A scope and the sentence that a human reads before approving it.
    #[must_use]
    pub fn new(scope: Scope, description: &str) -> Self {
        Self { scope, description: description.into(), default: false, implies: ScopeSet::default() }
    }

    /// The same entry, asked for by agents that name no scope.
    #[must_use]
    pub fn by_default(mut self) -> Self {
        self.default = true;
        self
    }

    /// The same entry, giving `scopes` as well.
    #[must_use]
    pub fn implies(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.implies = scopes.into_iter().collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::new(text).unwrap()
    }

    #[test]
    fn r26_what_would_need_quoting_is_no_scope() {
        for bad in ["", "a b", "a\"b", "a\\b", "a\nb", "é", "\u{7f}", &"x".repeat(65)] {
            assert!(Scope::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn r86_membership_is_exact() {
        let set = ScopeSet::parse("analytics:read").unwrap();
        assert!(set.contains(&scope("analytics:read")));
        for near in ["analytics:rea", "ANALYTICS:READ", "analytics:*", "*", "analytics:reader"] {
            assert!(!set.contains(&scope(near)), "{near}");
        }
    }

    #[test]
    fn r86_write_gives_read_only_where_declared_and_over_any_number_of_steps() {
        let catalogue = Catalogue::new(vec![
            CatalogueEntry::new(scope("read"), "r"),
            CatalogueEntry::new(scope("write"), "w").implies([scope("read")]),
            CatalogueEntry::new(scope("admin"), "a").implies([scope("write"), scope("admin")]),
            CatalogueEntry::new(scope("other:write"), "o"),
            CatalogueEntry::new(scope("other:read"), "o"),
        ]);
        let has = |granted: &str, wanted: &str| catalogue.grants(&ScopeSet::parse(granted).unwrap(), &scope(wanted));
        assert!(has("write", "read") && has("admin", "read") && has("admin", "admin"));
        assert!(!has("read", "write") && !has("other:write", "other:read") && !has("", "read"));
    }

    #[test]
    fn a_set_is_sorted_and_without_doubles() {
        assert_eq!(ScopeSet::parse("b a  b").unwrap().to_string(), "a b");
        assert!(ScopeSet::parse("").unwrap().is_empty());
        assert!(ScopeSet::parse("a b").unwrap().is_subset(&ScopeSet::parse("c b a").unwrap()));
    }
}
