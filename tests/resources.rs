//! Several resources of one service: each has its document, its challenge, its scopes and its sessions.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode, Uri};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_agent_auth::{
    AgentAuth, Config, ConfigBuilder,
    challenge::Challenge,
    config::Resource,
    store::{MemoryStore, conformance::property},
};

mod common;
use common::{Answer, ORIGIN, PRM, Pending, Service, bearer, browse, config};

const MCP: &str = "https://api.example.com/mcp";

/// An API at the origin, and beside it an MCP endpoint with fewer scopes.
fn two() -> ConfigBuilder {
    config()
        .add_resource("/mcp", |resource| resource.name("Example's assistants").scopes("projects:read experiments:read"))
}

/// The routes of the API and of the MCP endpoint, each with guards of its resource.
fn routes(auth: &AgentAuth) -> Router {
    let mcp = auth.resource("/mcp");
    let handler = || async { "served" };
    Router::new()
        .route("/projects", get(handler).layer(auth.require("projects:read")))
        .route("/mcp", get(handler).layer(mcp.require("projects:read")))
        .route("/mcp/experiments", get(handler).layer(mcp.require("experiments:read")))
        .layer(auth.endpoints())
}

async fn send(app: &Router, request: Request<Body>) -> Answer {
    Answer::read(app.clone().oneshot(request).await.unwrap()).await
}

async fn fetch(app: &Router, path: &str) -> Answer {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn fetch_as(app: &Router, path: &str, token: &str) -> Answer {
    send(app, bearer(http::Method::GET, path, token)).await
}

/// The metadata URL that a refusal names.
fn metadata_url(refused: &Answer) -> String {
    let challenge = Challenge::parse(refused.header("www-authenticate")).unwrap().remove(0);
    challenge.parameter("resource_metadata").unwrap().to_owned()
}

fn ids(config: &Config) -> Vec<&str> {
    config.resources().iter().map(Resource::id).collect()
}

/// Asks for access to a resource, and answers what the registration did.
async fn ask(service: &Service, resource: &str, scopes: &[&str]) -> Answer {
    let mut body = json!({ "type": "user_claimed", "client_name": "Example Agent", "resource": resource });
    if !scopes.is_empty() {
        body["requested_scopes"] = json!(scopes);
    }
    service.post("/agent/auth", &body).await
}

/// The whole ceremony for a resource.
async fn token(service: &Service, resource: &str, scopes: &[&str]) -> String {
    let asked = ask(service, resource, scopes).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.text);
    let text = |field: &str| asked.json[field].as_str().unwrap().to_owned();
    let pending =
        Pending { id: text("registration_id"), claim_token: text("claim_token"), claim_url: text("claim_url") };
    service.approve("ada", &pending, scopes).await;
    service.complete(&pending).await.json["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn g1_an_api_and_an_mcp_endpoint_on_one_origin_take_only_their_own_tokens() {
    let service = Service::with(two());
    let app = routes(&service.auth);
    let api = token(&service, ORIGIN, &["projects:read"]).await;
    let mcp = token(&service, MCP, &["projects:read"]).await;
    assert_eq!(fetch_as(&app, "/projects", &api).await.status, StatusCode::OK);
    assert_eq!(fetch_as(&app, "/mcp", &mcp).await.status, StatusCode::OK);
    for (path, foreign, metadata) in [("/projects", &mcp, PRM.to_owned()), ("/mcp", &api, format!("{PRM}/mcp"))] {
        let refused = fetch_as(&app, path, foreign).await;
        assert_eq!((refused.status, refused.error()), (StatusCode::UNAUTHORIZED, "invalid_token"), "{path}");
        assert_eq!(metadata_url(&refused), metadata);
        assert_eq!(metadata_url(&fetch(&app, path).await), metadata);
    }
    let refused = fetch_as(&app, "/mcp/experiments", &mcp).await;
    assert_eq!((refused.status, refused.error()), (StatusCode::FORBIDDEN, "insufficient_scope"));
    assert_eq!(metadata_url(&refused), format!("{PRM}/mcp"));
}

#[tokio::test]
async fn prm2_each_resource_has_a_document_that_says_what_its_url_says() {
    let service = Service::with(two().issuer(ORIGIN));
    let document = async |path: &str| service.get(path).await.json;
    let root = document("/.well-known/oauth-protected-resource").await;
    assert_eq!((&root["resource"], &root["resource_name"]), (&json!(ORIGIN), &json!("Example Analytics")));
    assert_eq!(root["scopes_supported"].as_array().unwrap().len(), 5);
    let mcp = document("/.well-known/oauth-protected-resource/mcp").await;
    assert_eq!((&mcp["resource"], &mcp["resource_name"]), (&json!(MCP), &json!("Example's assistants")));
    assert_eq!(mcp["scopes_supported"], json!(["experiments:read", "projects:read"]));
    assert_eq!(mcp["authorization_servers"], json!([ORIGIN]));
    assert_eq!(mcp["bearer_methods_supported"], json!(["header"]));

    // RFC 9728 section 4.
    let server = document("/.well-known/oauth-authorization-server").await;
    assert_eq!(server["protected_resources"], json!([ORIGIN, MCP]));
    let alone = Service::new().get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(alone["protected_resources"], Value::Null);
}

#[tokio::test]
async fn prm2_auth_md_lists_the_resources_when_there_are_several() {
    let text = Service::with(two()).get("/auth.md").await.text;
    for needed in ["## Resources", "`resource`", MCP, "Example's assistants", &format!("{PRM}/mcp")] {
        assert!(text.contains(needed), "{needed} in {text}");
    }
    assert!(!text.contains("{{") && !text.contains("{%") && !text.contains("\n\n\n"), "{text}");
    assert!(!Service::new().get("/auth.md").await.text.contains("## Resources"));
}

/// A table of top-level resource, issuer, mount path and further resources.
#[rustfmt::skip]
const SHAPES: &[(&str, &str, Option<&str>, &[&str])] = &[
    ("https://h.example", "https://h.example", None, &["/mcp"]),
    ("https://h.example/", "https://h.example", None, &["/mcp"]),
    ("https://h.example", "https://h.example", None, &["/mcp/"]),
    ("https://h.example/api", "https://h.example", None, &["/mcp", "/a/deep/path"]),
    ("https://h.example/api/", "https://h.example", None, &["/api-v2", "/api/v2", "/api/v2/mcp/"]),
    ("https://h.example/api", "https://h.example", None, &["/api-v2"]),
    ("https://h.example:8443/api", "https://h.example:8443", None, &["https://h.example:8443/mcp"]),
    ("https://h.example/tenant/api", "https://h.example/tenant", None, &["/tenant/mcp", "/tenant", "/mcp"]),
    ("https://h.example/tenant/api", "https://h.example/tenant", Some("/"), &["/tenant/mcp", "/tenant"]),
    ("https://h.example", "https://h.example/tenant", Some("/inside"), &["/tenant/mcp"]),
    ("https://h.example", "https://h.example", Some("/inside"), &["/mcp"]),
    ("https://api.example", "https://auth.example", None, &["https://auth.example/account", "/mcp"]),
];

#[tokio::test]
async fn l10_the_document_stands_at_exactly_the_url_that_the_challenge_names() {
    for (top, issuer, mount, further) in SHAPES {
        let builder = Config::builder().resource(top).issuer(issuer).name("Example");
        let builder = builder.scope("projects:read", "See your projects", |scope| scope.by_default());
        let builder = mount.iter().fold(builder, |builder, mount| builder.mount_path(mount));
        let builder = further.iter().fold(builder, |builder, resource| builder.add_resource(resource, |it| it));
        let config = builder.build().unwrap();
        let auth = AgentAuth::builder(config.clone()).checks_only(MemoryStore::new()).build().unwrap();
        assert_eq!(config.resources().len(), further.len() + 1);
        for resource in config.resources() {
            let guard = auth.resource(resource.id()).require("projects:read");
            let app = Router::new().route("/", get(|| async {}).layer(guard)).layer(auth.endpoints());
            let url = metadata_url(&fetch(&app, "/").await);
            assert_eq!(url, resource.protected_resource_metadata_url());
            // RFC 9728 section 3.1: inserted between host and path, without the slash at the end.
            let parts: Uri = resource.id().parse().unwrap();
            let origin = format!("https://{}", parts.authority().unwrap());
            let path = parts.path().trim_end_matches('/');
            assert_eq!(url, format!("{origin}/.well-known/oauth-protected-resource{path}"));
            // As the proxy forwards it. And clients differ about a slash at the end of the identifier.
            let other = resource.id().ends_with('/').then(|| format!("{url}/"));
            for spelling in other.into_iter().chain([url]) {
                let public = spelling.strip_prefix(&origin).unwrap();
                let answer = fetch(&app, &config.arriving_path(public)).await;
                assert_eq!(answer.status, StatusCode::OK, "{spelling} of {}", resource.id());
                assert_eq!(answer.json["resource"], resource.id(), "{spelling}");
                assert_eq!(answer.json["authorization_servers"], json!([issuer]));
            }
        }
        // The root is the top-level resource's, for clients that look nowhere else.
        let app = Router::new().route("/", get(|| async {})).layer(auth.endpoints());
        let root = fetch(&app, &config.arriving_path("/.well-known/oauth-protected-resource")).await;
        assert_eq!(root.json["resource"], *top);
    }
}

#[tokio::test]
async fn l10_a_resource_of_another_origin_has_its_document_at_its_own_service() {
    let service = Service::with(config().add_resource("https://files.example.com/v1", |resource| resource));
    let guard = service.auth.resource("https://files.example.com/v1").require("projects:read");
    let app = Router::new().route("/", get(|| async {}).layer(guard));
    let url = "https://files.example.com/.well-known/oauth-protected-resource/v1";
    assert_eq!(metadata_url(&fetch(&app, "/").await), url);
    assert_eq!(service.get("/.well-known/oauth-protected-resource/v1").await.status, StatusCode::NOT_FOUND);
    let server = service.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(server["protected_resources"], json!([ORIGIN, "https://files.example.com/v1"]));
}

#[test]
fn two_documents_on_one_path_are_an_error() {
    // The root is the top-level resource's, and two origins of one service have one path space.
    for (top, issuer, further) in [
        ("https://h.example/mcp", "https://h.example", "https://h.example"),
        ("https://api.example/mcp", "https://auth.example", "https://auth.example/mcp"),
    ] {
        let config = config().resource(top).issuer(issuer).add_resource(further, |resource| resource);
        let error = AgentAuth::builder(config.build().unwrap()).checks_only(MemoryStore::new()).build().unwrap_err();
        assert_eq!(error.problems()[0].field, "resources[0].resource", "{error}");
    }
}

#[tokio::test]
async fn az3_a_resource_is_asked_for_in_any_spelling_and_kept_as_configured() {
    let service = Service::with(two());
    for spelling in [MCP, "https://api.example.com/mcp/", "HTTPS://Api.Example.Com:443/mcp"] {
        let asked = ask(&service, spelling, &[]).await;
        assert_eq!(asked.status, StatusCode::CREATED, "{spelling}");
        // The defaults of the catalogue within the resource.
        assert_eq!(asked.json["scopes"], json!(["projects:read"]));
        let id =
            tower_agent_auth::types::id::AuthorizationRequestId::parse(asked.json["registration_id"].as_str().unwrap());
        let human = tower_agent_auth::accounts::SignedIn::new(common::account("ada"), "browser");
        let seen = service.auth.ceremony().unwrap().view(&id.unwrap(), &human).await.unwrap();
        assert_eq!(&*seen.authorization.resource, MCP);
    }
    for other in ["https://api.example.com/mcp/x", "https://api.example.com/MCP", "/mcp", "mcp"] {
        assert_eq!(ask(&service, other, &[]).await.error(), "invalid_target", "{other}");
    }
    // A scope of the catalogue that the resource does not have.
    let refused = ask(&service, MCP, &["projects:read", "projects:write"]).await;
    assert_eq!((refused.status, refused.error()), (StatusCode::BAD_REQUEST, "invalid_scope"));
    assert!(refused.text.contains("offered are: experiments:read projects:read\""), "{}", refused.text);
    // No default scope is of the resource.
    let without = config().add_resource("/write", |resource| resource.scopes("projects:write"));
    let refused = ask(&Service::with(without), "https://api.example.com/write", &[]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("name one or more of: projects:write"), "{}", refused.text);
}

/// A detached login for a resource: the refresh token of its session.
async fn refresh_token(service: &Service, resource: &str) -> String {
    let start = json!({ "mode": "detached", "client_type": "cli", "scopes": ["projects:read"], "resource": resource });
    let login = service.post("/agent-sessions/start", &start).await.json;
    let url = login["authorize_url"].as_str().unwrap().into();
    let pending = Pending { id: String::new(), claim_token: String::new(), claim_url: url };
    service.approve("ada", &pending, &["projects:read"]).await;
    let poll = json!({ "auth_request_id": login["auth_request_id"], "poll_token": login["poll_token"] });
    let code = service.post("/agent-sessions/poll", &poll).await.json["exchange_code"].clone();
    let exchange = json!({ "auth_request_id": login["auth_request_id"], "exchange_code": code });
    let issued = service.post("/agent-sessions/exchange", &exchange).await.json;
    issued["agent_session"]["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn l2_a_foreign_resource_is_refused_before_the_refresh_token_is_spent() {
    let service = Service::with(two());
    let app = routes(&service.auth);
    let mut token = refresh_token(&service, MCP).await;
    let refresh = async |token: &str, resource: Option<&str>| {
        service.post("/agent-sessions/refresh", &json!({ "refresh_token": token, "resource": resource })).await
    };
    // None of this service's, and another one of this service's.
    for foreign in ["https://evil.example", ORIGIN] {
        let refused = refresh(&token, Some(foreign)).await;
        assert_eq!((refused.status, refused.error()), (StatusCode::BAD_REQUEST, "INVALID_TARGET"), "{foreign}");
    }
    for own in [Some(MCP), Some("HTTPS://api.example.com/mcp/"), None] {
        let answer = refresh(&token, own).await;
        assert_eq!(answer.status, StatusCode::OK, "{own:?}: {}", answer.text);
        let session = &answer.json["agent_session"];
        let access = session["access_token"].as_str().unwrap();
        assert_eq!(fetch_as(&app, "/mcp", access).await.status, StatusCode::OK);
        assert_eq!(fetch_as(&app, "/projects", access).await.error(), "invalid_token");
        // The agent's own list takes a token of any of the service's resources.
        assert_eq!(service.get_as("/account/agent-sessions", access).await.status, StatusCode::OK);
        token = session["refresh_token"].as_str().unwrap().to_owned();
    }
    // A scope of another resource can't be had by a refresh.
    let body = json!({ "refresh_token": token, "scopes": ["projects:write"] });
    assert_eq!(service.post("/agent-sessions/refresh", &body).await.error(), "INVALID_SCOPE");
    assert_eq!(refresh(&token, None).await.status, StatusCode::OK, "and was not spent");
}

#[tokio::test]
async fn r89_a_session_of_a_resource_that_is_no_longer_configured_is_worth_nothing() {
    let service = Service::with(two());
    let token = refresh_token(&service, MCP).await;
    let without = service.again(config());
    let refused = without.post("/agent-sessions/refresh", &json!({ "refresh_token": token })).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let refreshed = service.post("/agent-sessions/refresh", &json!({ "refresh_token": token })).await;
    assert_eq!(refreshed.status, StatusCode::OK, "and nothing was spent");
}

#[tokio::test]
async fn the_pages_say_for_which_resource_if_there_are_several() {
    for (service, shown) in [(Service::with(two()), true), (Service::new(), false)] {
        let resource = if shown { MCP } else { ORIGIN };
        let asked = ask(&service, resource, &["projects:read"]).await;
        let path = asked.json["claim_url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap().to_owned();
        let page = service.send(browse("ada", &path)).await.text;
        assert_eq!(page.contains("Asks for access to"), shown);
        token(&service, resource, &["projects:read"]).await;
        let sessions = service.send(browse("ada", "/sessions")).await.text;
        for page in [page, sessions] {
            // Escaped, as all that a template is given.
            assert_eq!(page.contains("<bdi>Example&#x27;s assistants</bdi>"), shown, "{page}");
            assert_eq!(page.contains("https:&#x2f;&#x2f;api.example.com&#x2f;mcp</span>"), shown, "{page}");
        }
    }
}

#[test]
fn a_guard_knows_only_its_resource_and_that_resources_scopes() {
    let auth = AgentAuth::builder(two().build().unwrap()).checks_only(MemoryStore::new()).build().unwrap();
    let mcp = auth.try_resource("/mcp").unwrap();
    assert!(mcp.all_of("projects:read experiments:read").is_ok());
    for rule in [mcp.all_of("projects:write"), mcp.any_of("projects:read projects:write")] {
        let error = rule.unwrap_err().to_string();
        assert!(error.contains("projects:write") && error.contains("offered are: experiments:read projects:read"));
    }
    assert!(auth.all_of("projects:write").is_ok());
    for same in [MCP, "https://api.example.com/mcp/", "/mcp/"] {
        assert!(auth.try_resource(same).is_ok(), "{same}");
    }
    // From any of them, each can be found.
    assert!(mcp.try_resource(ORIGIN).unwrap().all_of("projects:write").is_ok());
    for unknown in ["/other", "/mcp/x", "mcp", "", "https://other.example/mcp"] {
        let error = auth.try_resource(unknown).unwrap_err();
        assert_eq!((&*error.problems()[0].field, &*error.problems()[0].value), ("resource", unknown));
        assert!(error.to_string().contains(&format!("{ORIGIN}, {MCP}")), "{error}");
    }
}

#[test]
#[should_panic(
    expected = "is no resource of the configuration; add it to `resources`, or use: https://api.example.com,"
)]
fn an_unknown_resource_panics_with_the_remedy() {
    let auth = AgentAuth::builder(two().build().unwrap()).checks_only(MemoryStore::new()).build().unwrap();
    drop(auth.resource("/mpc"));
}

#[test]
fn resources_in_toml_are_those_of_the_builder() {
    let toml = Config::from_toml(
        r#"
        resource = "https://api.example.com/v1"
        name = "Example"
        [[scopes]]
        name = "a"
        description = "A"
        [[scopes]]
        name = "b"
        description = "B"
        [[resources]]
        resource = "/mcp"
        name = "Example for assistants"
        scopes = ["b"]
        [[resources]]
        resource = "https://files.example.com"
        "#,
    )
    .unwrap();
    let built = Config::builder()
        .resource("https://api.example.com/v1")
        .name("Example")
        .scope("a", "A", |scope| scope)
        .scope("b", "B", |scope| scope)
        .add_resource("/mcp", |resource| resource.name("Example for assistants").scopes("b"))
        .add_resource("https://files.example.com", |resource| resource)
        .build()
        .unwrap();
    assert_eq!(format!("{toml:?}"), format!("{built:?}"));
    assert_eq!(ids(&built), ["https://api.example.com/v1", MCP, "https://files.example.com"]);
    let [top, mcp, files] = built.resources() else { panic!("{built:?}") };
    assert_eq!((top.name(), mcp.name(), files.name()), ("Example", "Example for assistants", "Example"));
    assert_eq!((top.scopes().names(), mcp.scopes().names()), (vec!["a", "b"], vec!["b"]));
    assert_eq!(files.scopes(), top.scopes());
    assert_eq!(built.resource(), top.id());
}

#[test]
fn every_problem_of_a_resource_names_its_field_and_the_remedy() {
    #[rustfmt::skip]
    let bad: &[(&str, &str, &str, &str)] = &[
        (r#""resource": "https://api.example.com/""#, "resources[0].resource", "https://api.example.com/", "is the same to agents as https://api.example.com"),
        (r#""resource": "/""#, "resources[0].resource", "/", "bare origin in full"),
        (r#""resource": "mcp""#, "resources[0].resource", "mcp", "must be a path such as /mcp, or an absolute https URL"),
        (r#""resource": "//evil.example""#, "resources[0].resource", "//evil.example", "without empty"),
        (r#""resource": "/a/../b""#, "resources[0].resource", "/a/../b", "without empty, . and .. segments"),
        (r#""resource": "/a?b""#, "resources[0].resource", "/a?b", "no query"),
        (r#""resource": "/a#b""#, "resources[0].resource", "/a#b", "no fragment"),
        (r#""resource": "http://files.example.com""#, "resources[0].resource", "http://files.example.com", "must be https"),
        (r#""resource": "https://Files.example.com""#, "resources[0].resource", "https://Files.example.com", "lower case"),
        (r#""resource": """#, "resources[0].resource", "", "is required"),
        (r#""name": "x""#, "resources[0].resource", "", "is required"),
        (r#""resource": "/mcp", "name": """#, "resources[0].name", "", "must not be empty"),
        (r#""resource": "/mcp", "name": "<b>""#, "resources[0].name", "<b>", "plain text"),
        (r#""resource": "/mcp", "scopes": []"#, "resources[0].scopes", "", "must name at least one scope; leave it out"),
        (r#""resource": "/mcp", "scopes": ["read", "raed"]"#, "resources[0].scopes", "raed", "is not in the catalogue"),
        (r#""resource": "/mcp", "scopes": ["write"]"#, "resources[0].scopes", "write", "must name read as well"),
        (r#""resource": "/mcp", "scopes": "read""#, "resources[0].scopes", "read", "list of texts"),
        (r#""resource": "/mcp", "scoeps": ["read"]"#, "resources[0].scoeps", "[\"read\"]", "not a field"),
        (r#""resource": "/mcp" }, { "resource": "HTTPS://api.example.com/mcp/""#, "resources[1].resource", "HTTPS://api.example.com/mcp/", "is the same to agents as https://api.example.com/mcp"),
    ];
    for (fields, field, value, remedy) in bad {
        let text = format!(
            r#"{{ "resource": "https://api.example.com", "name": "Example", "resources": [{{ {fields} }}], "scopes": [
                {{ "name": "read", "description": "Read" }},
                {{ "name": "write", "description": "Write", "implies": ["read"] }}] }}"#
        );
        let error = Config::from_json(&text).unwrap_err();
        let found = error
            .problems()
            .iter()
            .any(|problem| problem.field == *field && problem.value == *value && problem.remedy.contains(remedy));
        assert!(found, "{fields}: {error}");
    }
    // A path at a top-level resource that is wrong is not reported as well.
    let error = config().resource("nonsense").add_resource("/mcp", |resource| resource).build().unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
}

/// Resources with paths that begin alike.
fn alike() -> Config {
    let further = ["/api", "/api-v2", "/api/v2/", "/API", "https://h.example:8443", "https://i.example/api"];
    let builder = config().resource("https://h.example");
    further.into_iter().fold(builder, |builder, it| builder.add_resource(it, |resource| resource)).build().unwrap()
}

/// URLs near those resources, many of them equal to one.
fn url() -> impl Strategy<Value = String> {
    let part = |choices: &'static [&'static str]| proptest::sample::select(choices);
    let scheme = part(&["https://", "HTTPS://", "https://", "http://", "https:/", ""]);
    let user = part(&["", "", "", "", "u@", "u:p@"]);
    let host = part(&["h.example", "H.Example", "i.example", "h.example.", "[::1]"]);
    let port = part(&["", "", ":443", ":80", ":8443", ":443:443"]);
    let segment = part(&["api", "api", "api-v2", "v2", "API", "a", "", ".", "..", "%2e", "%2E.", "a%2fb"]);
    let path = proptest::collection::vec(segment, 0..4);
    let end = part(&["", "", "/", "//", "?x=/api", "#api", "\\..\\", " ", "é"]);
    (scheme, user, host, port, path, end).prop_map(|(scheme, user, host, port, path, end)| {
        let path: String = path.iter().map(|segment| format!("/{segment}")).collect();
        format!("{scheme}{user}{host}{port}{path}{end}")
    })
}

/// The origin of a URL as `http` parses it, and its path. `None` if it has a user name or is no absolute URL.
fn parsed(url: &str) -> Option<((String, String, u16), String)> {
    let uri: Uri = url.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
    let default_port = match &*scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    if authority.as_str().contains('@') {
        return None;
    }
    let origin = (scheme, authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(default_port));
    Some((origin, uri.path().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn az3_find_resource_is_equality_of_parsed_urls() {
    let config = alike();
    let trimmed = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
    property(4_000, url(), async |url: String| {
        let found = config.find_resource(&url);
        let asked = parsed(&url).filter(|_| !url.contains(['?', '#']));
        let same = |id: &str| {
            let (origin, path) = parsed(id).unwrap();
            asked.as_ref().is_some_and(|asked| asked.0 == origin && trimmed(&asked.1) == trimmed(&path))
        };
        let expected = config.resources().iter().find(|resource| same(resource.id()));
        assert_eq!(found.map(Resource::id), expected.map(Resource::id), "{url}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn az3_resource_of_is_the_longest_prefix_in_whole_segments() {
    let config = alike();
    let segments = |path: &str| {
        let path = path.strip_suffix('/').unwrap_or(path);
        path.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    property(4_000, url(), async |url: String| {
        let found = config.resource_of(&url);
        let asked = parsed(&url).filter(|_| !url.contains(['#', '\\']) && url.is_ascii());
        let asked = asked.map(|(origin, path)| (origin, segments(&path)));
        let dotted = |segment: &String| matches!(&*segment.to_lowercase().replace("%2e", "."), "." | "..");
        let asked = asked.filter(|(_, path)| !path.iter().any(dotted));
        let mut best: Option<(usize, &str)> = None;
        for resource in config.resources() {
            let (origin, path) = parsed(resource.id()).unwrap();
            let path = segments(&path);
            let above = asked.as_ref().is_some_and(|asked| asked.0 == origin && asked.1.starts_with(&path));
            if above && best.is_none_or(|(length, _)| length < path.len()) {
                best = Some((path.len(), resource.id()));
            }
        }
        assert_eq!(found.map(Resource::id), best.map(|(_, id)| id), "{url}");
        // What is equal is also above.
        if let Some(equal) = config.find_resource(&url).filter(|_| found.is_some()) {
            assert_eq!(Some(equal.id()), found.map(Resource::id), "{url}");
        }
    });
}
