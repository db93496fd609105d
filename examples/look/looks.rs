//! Four ways to make the pages a service's own.

use std::error::Error;

use minijinja::{Environment, context, value::Serde};
use tower_agent_auth::{
    AgentAuth, AgentAuthBuilder, Config,
    accounts::{Accounts, AccountsError, SignedIn},
    pages::{Frame, Page, RenderPage},
    store::MemoryStore,
    types::{authorization::Account, id::AccountId},
};

const CONFIG: &str = include_str!("agent-auth.toml");
const THEME: &str = include_str!("theme.toml");
const MESSAGE: &str = include_str!("message.html");
const FRENCH: &str = include_str!("fr.ftl");
const OWN: &str = include_str!("own.html");

/// A way to make the pages a service's own.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Look {
    /// Colours, corners and font, from the configuration.
    Theme,
    /// One template in place of this crate's.
    Template,
    /// Another language, and the service's own texts in it.
    Language,
    /// The approval page by the service's own code.
    Own,
}

/// The service with pages of its own.
pub(crate) fn agent_auth(look: Look) -> Result<AgentAuth, Box<dyn Error>> {
    let config = match look {
        Look::Theme => Config::from_toml(&format!("{CONFIG}{THEME}"))?,
        _ => Config::from_toml(CONFIG)?,
    };
    let builder = AgentAuth::builder(config).sessions(MemoryStore::new()).accounts(Baker);
    Ok(dressed(builder, look).build()?)
}

fn dressed(builder: AgentAuthBuilder, look: Look) -> AgentAuthBuilder {
    match look {
        Look::Theme => builder,
        Look::Template => builder.pages(|pages| pages.template("message.html", MESSAGE)),
        Look::Language => builder.pages(|pages| pages.words("fr", FRENCH).languages(["fr", "en"])),
        Look::Own => builder.pages(|pages| pages.renderer(OwnPages)),
    }
}

/// The approval page of the service. All other pages are this crate's.
struct OwnPages;

impl RenderPage for OwnPages {
    fn render(&self, page: &Page, frame: &Frame) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
        let Page::Approval(page) = page else { return Ok(None) };
        // Any template engine will do, or none: the page is a struct with public fields.
        let mut environment = Environment::new();
        environment.add_template("own.html", OWN)?;
        let content = context! { page => Serde(page), frame => Serde(frame) };
        Ok(Some(environment.get_template("own.html")?.render(content)?))
    }
}

/// A login that signs everybody in as the baker. It is not for production.
struct Baker;

impl Accounts for Baker {
    async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> {
        let id = AccountId::new("1").map_err(AccountsError::new)?;
        Ok(Some(SignedIn::new(Account::new(id, "baker@example.com"), "the only browser session")))
    }

    fn login_url(&self, return_to: &str) -> String {
        return_to.to_owned()
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}
