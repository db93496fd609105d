use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::SET_COOKIE};
use minijinja::context;

use super::{
    PageError, Pages,
    render::{Allowed, Message, Tone},
    words,
};
use crate::{
    accounts::cookie,
    ceremony::{KnownFlow, View},
    http::Reply,
    types::secret::{Finish, Secret},
};

/// The cookie that holds the finish code in the browser that approved, for this page only. The server stores only the
/// digest.
const COOKIE: &str = "agent_auth_finish";

/// Sets the cookie in the browser that approved.
pub(super) fn keep(pages: &Pages, reply: &mut Reply, path: &str, code: &Secret<Finish>) {
    let secure = if pages.context.config.is_https() { "; Secure" } else { "" };
    let seconds = pages.context.config.lifetimes().finish_code.as_secs();
    let cookie =
        format!("{COOKIE}={}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", code.expose());
    if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
        cookie.set_sensitive(true);
        reply.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Shows the code to the human who approved, with a message to copy to the agent.
pub(super) fn show(pages: &Pages, request: &Request<Bytes>, view: &View, path: &str) -> Result<Reply, PageError> {
    let (ceremony, flow) = (&pages.context.ceremony, &view.flow);
    let now = ceremony.now();
    let by_itself = matches!(flow, KnownFlow::Detached { .. });
    // A sibling domain can set this cookie too, so the value is shown only if it is the right code.
    let code = cookie(request.headers(), COOKIE).filter(|code| ceremony.is_finish_code(flow, code));
    let left = flow.finish_code().map(|code| code.expires_at.since(now)).filter(|left| !left.is_zero());
    let (Some(code), Some(left)) = (code, left) else {
        let line = if by_itself {
            "Go back to your agent. It collects its access by itself; you can close this page."
        } else {
            "The code for the agent is shown for a few minutes, and only in the browser in which you approved."
        };
        let message = Message::new(Tone::Good, "Approved").line(line).link(pages.sessions_link());
        return pages.show(StatusCode::OK, &message);
    };
    let content = context! {
        client => view.authorization.client.name.to_string(),
        message => format!("{} finish code:\n{code}", pages.context.config.name()),
        code,
        left => words::about(left),
        by_itself,
        path,
        sessions_url => pages.sessions_path(),
    };
    let allowed = Allowed { form_action: None, script: true };
    pages.renderer.page(&*pages.context.random, StatusCode::OK, "finish.html", content, allowed)
}
