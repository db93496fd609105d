//! The routes: the MCP endpoint behind its guard, and the pages of the demo.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderName, Method, Uri, header},
};
use tower::Layer;
use tower_agent_auth::AgentAuth;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, Any, CorsLayer},
};

use crate::{
    data::Data,
    demo::{arriving, below, panicked},
    error::ApiError,
    logging,
    login::Login,
    tools,
};

const LARGEST_BODY: usize = 64 * 1024;

pub(crate) fn app(auth: &AgentAuth, login: Login, data: Arc<Data>) -> Result<Router, Box<dyn Error>> {
    let config = auth.config();
    let url: Uri = config.resource().parse()?;
    let server = tools::service(data, url.authority().map_or("localhost", |authority| authority.as_str()));
    // Most hosts name the tool only in the body. The tools need no token: they read the caller that the guard found.
    let guard = auth.mcp(tools::operations())?.strip_authorization().read_bodies().limit(LARGEST_BODY);
    let app = Router::new()
        .route_service(&arriving(config, config.resource())?, cors().layer(guard.layer(server)))
        .merge(below(config, config.issuer(), login.routes()?)?)
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .merge(auth.router())
        .layer(CatchPanicLayer::custom(panicked));
    Ok(logging::logged(app))
}

/// MCP clients in any page may call the server with their own tokens.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::WWW_AUTHENTICATE, header::RETRY_AFTER, HeaderName::from_static("mcp-session-id")])
        .max_age(Duration::from_secs(3_600))
}
