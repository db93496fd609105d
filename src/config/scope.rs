/// Builds one scope of the catalogue.
#[derive(Clone, Debug)]
#[must_use]
pub struct ScopeBuilder {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) default: bool,
    pub(super) implies: Vec<String>,
}

impl ScopeBuilder {
    pub(super) fn new(name: &str, description: &str) -> Self {
        Self { name: name.into(), description: description.into(), default: false, implies: Vec::new() }
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
}
