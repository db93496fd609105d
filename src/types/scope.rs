//! Scopes (RFC 6749 section 3.3), scope sets, and the catalogue of scopes that a service offers to agents.
//!
//! Scopes are compared as whole strings, case-sensitively. One scope gives another only if the catalogue declares it:
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

use std::{fmt, sync::Arc};

/// The longest accepted scope, in bytes.
const MAX_SCOPE: usize = 64;

/// One scope: printable ASCII without space, quote and backslash, 1 to 64 bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope(Arc<str>);

impl Scope {
    /// Parses one scope.
    ///
    /// # Errors
    /// When `text` is not a `scope-token` (RFC 6749 section 3.3), or is longer than 64 bytes.
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

/// A text that is not a valid scope.
#[derive(Clone, Copy, Eq, PartialEq, thiserror::Error)]
#[error("a scope is 1 to {MAX_SCOPE} printable ASCII characters without space, quote and backslash")]
#[non_exhaustive]
pub struct ScopeError;

crate::types::error_chain::debug_as_text!(ScopeError);

/// A set of scopes, in the order of their names. Cheap to clone.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct ScopeSet(Arc<[Scope]>);

impl ScopeSet {
    /// Parses a space-separated list (RFC 6749 section 3.3). The empty text is the empty set.
    ///
    /// # Errors
    /// When an entry of the list is not a valid scope.
    pub fn parse(list: &str) -> Result<Self, ScopeError> {
        list.split(' ').filter(|part| !part.is_empty()).map(Scope::new).collect()
    }

    /// Whether `scope` itself is in the set.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// Whether every scope of this set is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|scope| other.contains(scope))
    }

    /// Whether the two sets have a scope in common.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.iter().any(|scope| other.contains(scope))
    }

    /// The scopes, in the order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// The number of scopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        Self(scopes.into())
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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

/// All scopes that a service may grant to agents.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(Vec<CatalogueEntry>);

impl Catalogue {
    /// Creates a catalogue. Pages show its entries in this order.
    #[must_use]
    pub const fn new(entries: Vec<CatalogueEntry>) -> Self {
        Self(entries)
    }

    /// The entries in display order.
    #[must_use]
    pub fn entries(&self) -> &[CatalogueEntry] {
        &self.0
    }

    /// The entry for `scope`, if there is one.
    #[must_use]
    pub fn find(&self, scope: &Scope) -> Option<&CatalogueEntry> {
        self.0.iter().find(|entry| entry.scope == *scope)
    }

    /// The scopes requested by an agent that names none.
    #[must_use]
    pub fn defaults(&self) -> ScopeSet {
        self.0.iter().filter(|entry| entry.default).map(|entry| entry.scope.clone()).collect()
    }

    /// Every scope that gives `wanted`: the scope itself, and all scopes that imply it directly or indirectly.
    #[must_use]
    pub fn givers(&self, wanted: &Scope) -> ScopeSet {
        let mut givers = vec![wanted.clone()];
        let mut next = 0;
        while let Some(given) = givers.get(next).cloned() {
            let new = self.0.iter().filter(|entry| entry.implies.contains(&given) && !givers.contains(&entry.scope));
            let new: Vec<Scope> = new.map(|entry| entry.scope.clone()).collect();
            givers.extend(new);
            next += 1;
        }
        givers.into_iter().collect()
    }

    /// The entries that `granted` gives, in display order: those of its own scopes, and of all scopes that they imply.
    pub fn given<'a>(&'a self, granted: &'a ScopeSet) -> impl Iterator<Item = &'a CatalogueEntry> {
        self.0.iter().filter(|entry| self.grants(granted, &entry.scope))
    }

    /// Whether `scope`, or a scope that it gives, has a [caution](CatalogueEntry::caution).
    #[must_use]
    pub fn is_risky(&self, scope: &Scope) -> bool {
        self.given(&ScopeSet::from_iter([scope.clone()])).any(|entry| entry.caution.is_some())
    }

    /// Whether `granted` gives `wanted`.
    #[must_use]
    pub fn grants(&self, granted: &ScopeSet, wanted: &Scope) -> bool {
        self.givers(wanted).iter().any(|giver| granted.contains(giver))
    }
}

/// One scope of a catalogue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CatalogueEntry {
    /// The scope.
    pub scope: Scope,
    /// The sentence that a human reads before approval.
    pub description: String,
    /// Whether agents that name no scope request this one. `false` by default.
    pub default: bool,
    /// The scopes that this one also gives. Empty by default.
    pub implies: ScopeSet,
    /// What an agent does with it. The approval page groups the scopes by it. [`Effect::See`] by default.
    pub effect: Effect,
    /// A few words about what may go wrong, such as "Visitors notice", shown beside the sentence. The first time that an
    /// account meets a client, the scope is not [proposed](crate::ceremony::View::proposed), nor is one that gives it.
    pub caution: Option<String>,
}

/// What an agent does with a scope, the least first.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Effect {
    /// It sees something.
    #[default]
    See,
    /// It changes something.
    Change,
    /// It spends money, or something else that is gone afterwards.
    Spend,
}

impl Effect {
    pub(crate) const ALL: [Self; 3] = [Self::See, Self::Change, Self::Spend];

    /// The name in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::See => "see",
            Self::Change => "change",
            Self::Spend => "spend",
        }
    }
}

impl CatalogueEntry {
    /// Creates an entry from a scope and the sentence that a human reads before approval.
    #[must_use]
    pub fn new(scope: Scope, description: &str) -> Self {
        let (implies, effect) = (ScopeSet::default(), Effect::default());
        Self { scope, description: description.into(), default: false, implies, effect, caution: None }
    }

    /// Makes this a default scope: agents that name no scope request it.
    #[must_use]
    pub fn by_default(mut self) -> Self {
        self.default = true;
        self
    }

    /// Sets the scopes that this one also gives.
    #[must_use]
    pub fn implies(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.implies = scopes.into_iter().collect();
        self
    }

    /// Sets what an agent does with it.
    #[must_use]
    pub const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Sets the words about what may go wrong.
    #[must_use]
    pub fn caution(mut self, caution: &str) -> Self {
        self.caution = Some(caution.into());
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
        let given = |granted: &str| {
            let granted = ScopeSet::parse(granted).unwrap();
            catalogue.given(&granted).map(|entry| entry.scope.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(given("admin"), ["read", "write", "admin"]);
        assert_eq!(given("write other:read"), ["read", "write", "other:read"]);
        assert!(given("").is_empty() && given("unknown").is_empty());
    }

    #[test]
    fn a_scope_is_as_risky_as_what_it_gives() {
        let catalogue = Catalogue::new(vec![
            CatalogueEntry::new(scope("read"), "r"),
            CatalogueEntry::new(scope("write"), "w").implies([scope("read")]).caution("Visitors notice"),
            CatalogueEntry::new(scope("manage"), "m").implies([scope("write")]),
            CatalogueEntry::new(scope("admin"), "a").implies([scope("manage")]),
        ]);
        let risky = |text: &str| catalogue.is_risky(&scope(text));
        assert!(risky("write") && risky("manage") && risky("admin"));
        assert!(!risky("read") && !risky("unknown"));
    }

    #[test]
    fn a_set_is_sorted_and_without_doubles() {
        assert_eq!(ScopeSet::parse("b a  b").unwrap().to_string(), "a b");
        assert!(ScopeSet::parse("").unwrap().is_empty());
        assert!(ScopeSet::parse("a b").unwrap().is_subset(&ScopeSet::parse("c b a").unwrap()));
    }
}
