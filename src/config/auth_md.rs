use std::time::Duration;

use super::{builder::set, check::Check, reader::Reader};
use crate::types::scope::{Catalogue, Scope, ScopeSet};

/// The settings of auth.md: of the document, and of the dialect `auth_md`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AuthMd {
    /// Which of the two codes bind a human to the agent. Default: [`Codes::Both`].
    pub codes: Codes,
    /// Whether an agent may ask a human of the service for access (identity type `service_auth`). Default: true.
    pub service_auth: bool,
    /// Whether an agent may act before a human claims it (identity type `anonymous`): for an account that
    /// [`Accounts::provisional`](crate::accounts::Accounts::provisional) makes, with
    /// [`pre_claim_scopes`](Self::pre_claim_scopes). Anybody can register such agents, so keep these scopes harmless.
    /// Default: false.
    pub anonymous: bool,
    /// The scopes of an agent that nobody has claimed, by name: at least one if `anonymous` is on.
    pub pre_claim_scopes: Vec<String>,
    /// How long an agent may act before somebody claims it; at most 30 days. Default: one day.
    pub unclaimed: Duration,
    /// Markdown at the end of the document auth.md.
    pub extra: Option<String>,
    /// A minijinja template in place of the document's own.
    pub template: Option<String>,
}

impl Default for AuthMd {
    fn default() -> Self {
        Self {
            codes: Codes::Both,
            service_auth: true,
            anonymous: false,
            pre_claim_scopes: Vec::new(),
            unclaimed: Duration::from_secs(86_400),
            extra: None,
            template: None,
        }
    }
}

/// Which codes bind the human to the agent of the auth.md protocol. A human who only presses a button may have been sent
/// the link of somebody else's agent; a code shows that both are of one party.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Codes {
    /// Either one. Agents of both wires of the protocol can log in.
    Both,
    /// The agent shows a code and the human types it into the page: the flat wire, up to version 0.6.
    Typed,
    /// The page shows a code once the human has approved, and the human tells it to the agent: the nested wire, from
    /// version 0.7.
    ReadBack,
}

impl Codes {
    const ALL: [Self; 3] = [Self::Both, Self::Typed, Self::ReadBack];

    /// The name in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Typed => "typed",
            Self::ReadBack => "read_back",
        }
    }

    /// Whether the human may type the code that the agent shows.
    #[must_use]
    pub const fn are_typed(self) -> bool {
        matches!(self, Self::Both | Self::Typed)
    }

    /// Whether the human may tell the agent the code that the page shows.
    #[must_use]
    pub const fn are_read_back(self) -> bool {
        matches!(self, Self::Both | Self::ReadBack)
    }
}

impl AuthMd {
    /// The scopes of an agent that nobody has claimed.
    #[must_use]
    pub fn pre_claim(&self) -> ScopeSet {
        self.pre_claim_scopes.iter().filter_map(|name| Scope::new(name).ok()).collect()
    }

    pub(super) fn read(&mut self, reader: &mut Reader<'_>) {
        self.extra = reader.string("extra");
        self.template = reader.string("template");
        set(&mut self.codes, reader.one_of("codes", Codes::ALL, Codes::as_str));
        set(&mut self.service_auth, reader.boolean("service_auth"));
        set(&mut self.anonymous, reader.boolean("anonymous"));
        set(&mut self.pre_claim_scopes, reader.strings("pre_claim_scopes"));
        set(&mut self.unclaimed, reader.duration("unclaimed"));
    }

    pub(super) fn check(&self, check: &mut Check, catalogue: &Catalogue) {
        const LONGEST: Duration = Duration::from_secs(30 * 86_400);
        for name in &self.pre_claim_scopes {
            if Scope::new(name).ok().is_none_or(|scope| catalogue.find(&scope).is_none()) {
                check.note("auth_md.pre_claim_scopes", name, "is no scope of the catalogue");
            }
        }
        if self.anonymous && self.pre_claim_scopes.is_empty() {
            check.note("auth_md.pre_claim_scopes", "", "is required with `auth_md.anonymous`: name at least one scope");
        }
        if self.unclaimed.is_zero() || self.unclaimed > LONGEST {
            check.note("auth_md.unclaimed", humantime::format_duration(self.unclaimed), "must be 1s to 30 days");
        }
    }
}
