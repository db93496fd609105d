//! Logs on stderr: one line for each request and one for each audit event, without secrets.

use std::{error::Error, fmt::Display, iter, time::Duration};

use axum::{Router, extract::Request, http::header, response::Response};
use tower_agent_auth::notify::{Notification, Notify, NotifyError};
use tower_http::{sensitive_headers::SetSensitiveHeadersLayer, trace::TraceLayer};
use tracing::{Level, Span, error, info, info_span, warn};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::terminal;

pub(crate) fn start(level: Level) {
    let colours = terminal::has_escapes(&std::io::stderr());
    let ends = if level >= Level::DEBUG { FmtSpan::CLOSE } else { FmtSpan::NONE };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours);
    log.with_max_level(level).with_span_events(ends).init();
}

/// Adds request logging to the routes. Audit events during a request are logged with its method and path.
pub(crate) fn logged(app: Router) -> Router {
    let trace = TraceLayer::new_for_http()
        // Without the query, which may contain a secret.
        .make_span_with(
            |request: &Request| info_span!("request", method = %request.method(), path = request.uri().path()),
        )
        .on_request(())
        .on_response(|response: &Response, latency: Duration, _: &Span| {
            info!(status = response.status().as_u16(), ?latency, "answered");
        })
        .on_failure(());
    app.layer(trace).layer(SetSensitiveHeadersLayer::new([header::AUTHORIZATION, header::COOKIE, header::SET_COOKIE]))
}

/// Writes to the log what a service would mail to the human.
pub(crate) struct Mail;

impl Notify for Mail {
    async fn notify(&self, notification: Notification) -> Result<(), NotifyError> {
        info!(to = notification.about().account.label, "mail\n{notification}");
        Ok(())
    }
}

/// Logs a warning for the operator of the demo.
pub(crate) fn warning(what: &dyn Display) {
    warn!("{what}");
}

/// Logs an error with its causes.
pub(crate) fn failure(what: &str, failed: &(dyn Error + 'static)) {
    error!("{what}: {}", causes(failed));
}

/// The text of an error and of its causes. A cause that the text before it ends with is left out.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let texts = iter::successors(Some(error), |error| (**error).source()).map(ToString::to_string);
    texts
        .reduce(|text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") })
        .unwrap_or_default()
}
