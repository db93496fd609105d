/// One scope of the catalogue in the making.
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

    /// An agent that names no scope asks for this one.
    pub fn by_default(mut self) -> Self {
        self.default = true;
        self
    }

    /// This scope gives `scope` as well.
    pub fn implies(mut self, scope: &str) -> Self {
        self.implies.push(scope.into());
        self
    }
}
