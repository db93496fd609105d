use crate::types::scope::Effect;

/// Builds one scope of the catalogue.
#[derive(Clone, Debug)]
#[must_use]
pub struct ScopeBuilder {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) default: bool,
    pub(super) implies: Vec<String>,
    pub(super) effect: String,
    pub(super) caution: Option<String>,
}

impl ScopeBuilder {
    pub(super) fn new(name: &str, description: &str) -> Self {
        let (name, description, effect) = (name.into(), description.into(), Effect::default().as_str().into());
        Self { name, description, default: false, implies: Vec::new(), effect, caution: None }
    }

    /// Makes this a default scope: it is requested if an agent names no scopes.
    pub fn by_default(mut self) -> Self {
        self.default = true;
        self
    }

    /// Makes this scope include `scope`.
    pub fn implies(mut self, scope: &str) -> Self {
        self.implies.push(scope.into());
        self
    }

    /// Sets what an agent does with this scope; without this call, it sees something. The approval page groups the scopes
    /// by it. It must not be less than what an implied scope has.
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect.as_str().into();
        self
    }

    /// Adds a few words about what may go wrong, such as "Visitors notice", for the human to read. The first time that an
    /// account meets a client, this scope is not ticked, nor is one that implies it.
    pub fn caution(mut self, words: &str) -> Self {
        self.caution = Some(words.into());
        self
    }
}
