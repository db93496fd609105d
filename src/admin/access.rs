/// Whether the sender of a request may use the [admin API](super). The host's own code decides it for each request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Access {
    /// This operator may. [`granted_to`](Self::granted_to) makes it.
    #[non_exhaustive]
    Granted {
        /// Who asks. The name is in the audit event of what they revoke.
        operator: String,
    },
    /// The sender may not, or is unknown: 403.
    Denied,
    /// The host can't tell now: 503.
    Unavailable,
}

impl Access {
    /// This operator may.
    #[must_use]
    pub fn granted_to(operator: impl Into<String>) -> Self {
        Self::Granted { operator: operator.into() }
    }
}
