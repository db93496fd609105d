use http::StatusCode;
use minijinja::context;

use super::{
    PageError, Pages,
    render::{Action, Allowed},
    words,
};
use crate::{
    ceremony::{KnownFlow, View},
    http::Reply,
    types::secret::{Finish, Secret},
};

/// Shows the code to the human who approved, with a message to copy to the agent.
pub(super) fn show(pages: &Pages, view: &View, code: &Secret<Finish>, take_back: Action) -> Result<Reply, PageError> {
    let now = pages.context.ceremony.now();
    let left = view.flow.finish_code().map(|code| code.expires_at.since(now)).unwrap_or_default();
    let content = context! {
        client => view.authorization.client.name.to_string(),
        message => format!("{} finish code:\n{}", pages.context.config.name(), code.expose()),
        code => code.expose(),
        left => words::about(left),
        by_itself => matches!(view.flow, KnownFlow::Detached { .. }),
        path => take_back.path.clone(),
        take_back => take_back.to_value(),
        sessions_url => pages.sessions_path(),
    };
    let allowed = Allowed { form_action: Vec::new(), script: true };
    pages.renderer.page(&*pages.context.random, StatusCode::OK, "finish.html", content, allowed)
}
