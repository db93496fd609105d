//! The routes of the API, each with its rule: the scopes that an agent needs, or owner-only.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{Method, StatusCode, header},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_agent_auth::{
    AgentAuth, ConfigError,
    guard::{AgentSession, GuardLayer, Owner},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{Any as AnyOrigin, CorsLayer},
};

use crate::{
    data::{self, Data, Full, Project},
    demo::{below, panicked},
    error::ApiError,
    logging,
    login::Login,
};

const LARGEST_BODY: usize = 16 * 1024;
const LONGEST_TEXT: usize = 100;
const LONGEST_FEEDBACK: usize = 4_000;

type Answer = Result<Json<Value>, ApiError>;
type Created = Result<(StatusCode, Json<Value>), ApiError>;
type Body<T> = Result<Json<T>, JsonRejection>;

/// The whole service: the API, the demo's own pages, and the crate's endpoints and pages.
pub(crate) fn app(auth: &AgentAuth, login: Login, data: Arc<Data>) -> Result<Router, Box<dyn std::error::Error>> {
    let config = auth.config();
    let api = api(auth, &login)?.with_state(data);
    let app = Router::new()
        .merge(below(config, config.resource(), api)?)
        .merge(below(config, config.issuer(), login.routes()?)?)
        .fallback(async || ApiError::not_found("there is nothing at this path"))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .merge(auth.router())
        .layer(CatchPanicLayer::custom(panicked));
    Ok(logging::logged(app))
}

fn api(auth: &AgentAuth, login: &Login) -> Result<Router<Arc<Data>>, Box<dyn std::error::Error>> {
    // With a fixed catalogue, `auth.require("projects:read")` is enough. The demo's catalogue may come from a file,
    // which may lack a scope.
    let require = |scope: &str| -> Result<GuardLayer, ConfigError> { Ok(auth.guard(auth.all_of(scope)?)) };

    let own_pages_only = login.own_pages_only()?;

    Ok(Router::new()
        .route("/health", get(health))
        .route("/account", get(account).layer(require("account:read")?))
        .route("/projects", get(projects).layer(require("projects:read")?))
        .route("/projects", post(create_project).layer(require("projects:write")?))
        .route("/projects/{id}", get(project).layer(require("projects:read")?))
        .route("/stats", get(stats).layer(require("analytics:read")?))
        .route("/experiments", get(experiments).layer(require("experiments:read")?))
        .route("/experiments", post(create_experiment).layer(require("experiments:write")?))
        .route("/account/feedback", post(feedback).layer(require("feedback:write")?))
        .route("/live", get(live).layer(require("live:read")?))
        .route("/billing", get(billing).layer(auth.owner_only()))
        .route("/account/revoke-key", post(revoke_key).layer((auth.owner_only(), own_pages_only.clone())))
        .route("/account", delete(delete_account).layer((auth.owner_only(), own_pages_only)))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(cors()))
}

/// Any page may call the API with its own token, but not with the human's cookie.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::WWW_AUTHENTICATE, header::RETRY_AFTER])
        .max_age(Duration::from_secs(3_600))
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn account(agent: AgentSession, State(data): State<Arc<Data>>) -> Json<Value> {
    let account = &agent.account;
    Json(json!({
        "id": account.id.as_str(),
        "email": account.label,
        "github_login": null,
        "google_name": null,
        "tier": "free",
        "projects_count": data.of(&account.id, |books| books.projects.len()),
        "monthly_spend_cap_dollars": 0,
    }))
}

async fn projects(agent: AgentSession, State(data): State<Arc<Data>>) -> Json<Value> {
    let projects = data.of(&agent.account.id, |books| books.projects.clone());
    Json(json!({ "projects": projects, "has_api_key": false, "tier": "free" }))
}

async fn project(
    agent: AgentSession,
    State(data): State<Arc<Data>>,
    path: Result<Path<String>, PathRejection>,
) -> Answer {
    let Path(id) = path?;
    Ok(Json(json!(find_project(&data, &agent, &id)?)))
}

#[derive(Deserialize)]
struct NewProject {
    name: String,
    #[serde(default = "any_origin")]
    allowed_origins: String,
}

fn any_origin() -> String {
    "*".to_owned()
}

async fn create_project(agent: AgentSession, State(data): State<Arc<Data>>, body: Body<NewProject>) -> Created {
    let Json(NewProject { name, allowed_origins }) = body?;
    let name = text("name", &name, LONGEST_TEXT)?;
    let allowed_origins = text("allowed_origins", &allowed_origins, LONGEST_TEXT)?;
    let (existing, project) = data.of(&agent.account.id, |books| match books.project(&name) {
        Some(project) => Ok((true, project.clone())),
        None => books.add_project(name, allowed_origins).map(|project| (false, project)),
    })?;
    let token = &project.project_token;
    let answer = json!({
        "existing": existing,
        "id": project.id,
        "name": project.name,
        "project_token": token,
        "allowed_origins": project.allowed_origins,
        "created_at": project.created_at,
        "snippet": format!(r#"<script defer src="https://demo.example/tracker.js" data-token="{token}"></script>"#),
        "snippet_note": "Put this at the end of the body of every page. The token is public.",
        "api_example": format!("GET /stats?project={}", project.id),
    });
    Ok((if existing { StatusCode::OK } else { StatusCode::CREATED }, Json(answer)))
}

#[derive(Deserialize)]
struct OfProject {
    project: String,
}

async fn stats(
    agent: AgentSession,
    State(data): State<Arc<Data>>,
    query: Result<Query<OfProject>, QueryRejection>,
) -> Answer {
    let Query(OfProject { project }) = query?;
    let project = find_project(&data, &agent, &project)?;
    let days = data::last_week(&project);
    let visitors: usize = days.iter().map(|day| day.visitors).sum();
    let page_views: usize = days.iter().map(|day| day.page_views).sum();
    Ok(Json(json!({
        "project": project.id,
        "days": days,
        "totals": { "visitors": visitors, "page_views": page_views },
    })))
}

async fn live(
    agent: AgentSession,
    State(data): State<Arc<Data>>,
    query: Result<Query<OfProject>, QueryRejection>,
) -> Answer {
    let Query(OfProject { project }) = query?;
    let project = find_project(&data, &agent, &project)?;
    let pages = data::live_pages(&project);
    let visitors: usize = pages.iter().map(|(_, visitors)| visitors).sum();
    let pages: Vec<Value> =
        pages.iter().map(|(path, visitors)| json!({ "path": path, "visitors": visitors })).collect();
    Ok(Json(json!({ "project": project.id, "visitors": visitors, "pages": pages })))
}

async fn experiments(agent: AgentSession, State(data): State<Arc<Data>>) -> Json<Value> {
    let experiments = data.of(&agent.account.id, |books| books.experiments.clone());
    Json(json!({ "experiments": experiments }))
}

#[derive(Deserialize)]
struct NewExperiment {
    project: String,
    name: String,
    #[serde(default = "two_variants")]
    variants: Vec<String>,
}

fn two_variants() -> Vec<String> {
    vec!["control".to_owned(), "variant".to_owned()]
}

async fn create_experiment(agent: AgentSession, State(data): State<Arc<Data>>, body: Body<NewExperiment>) -> Created {
    let Json(NewExperiment { project, name, variants }) = body?;
    let project = find_project(&data, &agent, &project)?;
    let name = text("name", &name, LONGEST_TEXT)?;
    if !(2..=10).contains(&variants.len()) {
        return Err(ApiError::invalid("`variants` must be 2 to 10 names"));
    }
    let variants: Result<Vec<String>, ApiError> =
        variants.iter().map(|variant| text("variants", variant, LONGEST_TEXT)).collect();
    let variants = variants?;
    let experiment = data.of(&agent.account.id, |books| books.add_experiment(project.id, name, variants))?;
    Ok((StatusCode::CREATED, Json(json!(experiment))))
}

#[derive(Deserialize)]
struct Feedback {
    message: String,
}

async fn feedback(agent: AgentSession, State(data): State<Arc<Data>>, body: Body<Feedback>) -> Created {
    let Json(Feedback { message }) = body?;
    text("message", &message, LONGEST_FEEDBACK)?;
    let number = data.of(&agent.account.id, |books| books.add_feedback());
    Ok((StatusCode::CREATED, Json(json!({ "received": true, "number": number }))))
}

async fn billing(owner: Owner) -> Json<Value> {
    Json(json!({
        "account": owner.account().id.as_str(),
        "tier": "free",
        "due_dollars": 0,
        "monthly_spend_cap_dollars": 0,
        "payment_method": null,
    }))
}

async fn revoke_key(owner: Owner) -> Json<Value> {
    Json(json!({ "account": owner.account().id.as_str(), "revoked": false, "note": "This demo has no account keys." }))
}

async fn delete_account(owner: Owner) -> Json<Value> {
    Json(json!({
        "account": owner.account().id.as_str(),
        "deleted": false,
        "note": "This is a demo: your account would be gone now.",
    }))
}

fn find_project(data: &Data, agent: &AgentSession, key: &str) -> Result<Project, ApiError> {
    let found = data.of(&agent.account.id, |books| books.project(key).cloned());
    found.ok_or_else(|| ApiError::not_found("you have no such project; GET /projects lists those that you have"))
}

/// Checks that a text is neither blank nor too long.
fn text(field: &str, value: &str, longest: usize) -> Result<String, ApiError> {
    let value = value.trim();
    if value.is_empty() || value.chars().count() > longest || value.chars().any(|c| c.is_control() && c != '\n') {
        return Err(ApiError::invalid(format!("`{field}` must be a text of 1 to {longest} characters")));
    }
    Ok(value.to_owned())
}

impl From<Full> for ApiError {
    fn from(_: Full) -> Self {
        Self::full("you have as many of these as the demo allows")
    }
}
