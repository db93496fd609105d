//! A service of ours.

use tower_agent_auth::{AgentAuth, Config, store::SessionStore};

const RESOURCE: &str = "https://api.example.org";

/// A service of scopes `a`, `b` and `c`, over that store.
pub(crate) fn service(store: impl SessionStore) -> AgentAuth {
    let config = Config::builder().resource(RESOURCE).name("Bench");
    let config = ["a", "b", "c"].into_iter().fold(config, |config, name| config.scope(name, "A scope", |scope| scope));
    AgentAuth::builder(config.build().unwrap()).checks_only(store).build().unwrap()
}
