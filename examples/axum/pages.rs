//! The demo's own two pages. The approval page and the sessions page are the crate's.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use minijinja::{Environment, Value, context};
use tower_agent_auth::Config;

use crate::{error::ApiError, logging, login};

const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub(crate) struct Pages {
    templates: Environment<'static>,
    service: Value,
}

impl Pages {
    pub(crate) fn new(config: &Config) -> Result<Self, minijinja::Error> {
        // Values in a template whose name ends in `.html` are escaped.
        let mut templates = Environment::new();
        templates.add_template("base.html", include_str!("base.html"))?;
        templates.add_template("login.html", include_str!("login.html"))?;
        templates.add_template("start.html", crate::START_PAGE)?;
        let service = context! {
            name => config.name().to_owned(),
            resource => config.resource().trim_end_matches('/').to_owned(),
            start => Some(config.path("")).filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned()),
            style => config.path("/style.css"),
            auth_md => config.path("/auth.md"),
            login => config.path(login::PATH),
            logout => config.path("/logout"),
            sessions => config.path(config.sessions_path()),
        };
        Ok(Self { templates, service })
    }

    pub(crate) fn show(&self, status: StatusCode, template: &str, content: Value) -> Response {
        let rendered = self
            .templates
            .get_template(template)
            .and_then(|template| template.render(context! { service => self.service.clone(), ..content }));
        let headers = [
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            // Not `no-referrer`: with it, browsers send `Origin: null` even to this service.
            (header::REFERRER_POLICY, "same-origin"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ];
        match rendered {
            Ok(html) => (status, headers, Html(html)).into_response(),
            Err(error) => {
                logging::failure("a page does not render", &error);
                ApiError::internal().into_response()
            }
        }
    }

    pub(crate) async fn style() -> impl IntoResponse {
        ([(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"))], include_str!("style.css"))
    }
}
