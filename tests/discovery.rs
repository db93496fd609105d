//! What is public: the documents, their URLs, and how HTTP treats them (security rows R32 to R38).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tower_agent_auth::{AgentAuth, Config, challenge::Challenge, config::Dialect};

mod common;
use common::{Answer, ORIGIN, PRM, Service, config};

const AS: &str = "/.well-known/oauth-authorization-server";
const DOCUMENTS: [&str; 3] = ["/.well-known/oauth-protected-resource", AS, "/auth.md"];

async fn json(service: &Service, path: &str) -> Value {
    let answer = service.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}");
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json
}

/// Every absolute URL of our origin in a text.
fn urls(text: &str) -> Vec<&str> {
    let starts = text.match_indices(ORIGIN).map(|(start, _)| &text[start..]);
    let ends = |character: char| character.is_whitespace() || "\"`,)|…<>".contains(character);
    starts.map(|rest| &rest[..rest.find(ends).unwrap_or(rest.len())]).collect()
}

#[tokio::test]
async fn r32_r33_the_way_from_the_challenge_to_the_register_uri() {
    let service = Service::new();
    let refused = service.get("/projects").await;
    let challenge = Challenge::parse(refused.header("www-authenticate")).unwrap().remove(0);
    let url = challenge.parameter("resource_metadata").unwrap();
    let resource = json(&service, url.strip_prefix(ORIGIN).unwrap()).await;
    assert_eq!(resource["resource"], ORIGIN);
    assert_eq!(resource["bearer_methods_supported"], serde_json::json!(["header"]));
    let issuer = resource["authorization_servers"][0].as_str().unwrap().to_owned();
    let server = json(&service, AS).await;
    assert_eq!(server["issuer"], issuer);
    assert_eq!(server["resource"], resource["resource"]);
    assert_eq!(server["scopes_supported"], resource["scopes_supported"]);
    assert_eq!(server["response_types_supported"], serde_json::json!([]));
    assert_eq!(server["revocation_endpoint"], format!("{ORIGIN}/agent/auth/revoke"));
    let agent_auth = serde_json::json!({
        "skill": format!("{ORIGIN}/auth.md"),
        "register_uri": format!("{ORIGIN}/agent/auth"),
        "claim_uri": format!("{ORIGIN}/agent/auth/claim"),
        "claim_complete_uri": format!("{ORIGIN}/agent/auth/claim/complete"),
        "identity_types_supported": ["user_claimed"],
        "user_claimed": { "credential_types_supported": ["access_token"] },
        "agent_sessions": {
            "start_uri": format!("{ORIGIN}/agent-sessions/start"),
            "poll_uri": format!("{ORIGIN}/agent-sessions/poll"),
            "exchange_uri": format!("{ORIGIN}/agent-sessions/exchange"),
            "refresh_uri": format!("{ORIGIN}/agent-sessions/refresh"),
            "revoke_uri": format!("{ORIGIN}/agent-sessions/revoke"),
            "sessions_uri": format!("{ORIGIN}/account/agent-sessions"),
            "modes_supported": ["interactive", "detached", "finish_code"],
            "code_challenge_methods_supported": ["S256"],
        },
    });
    assert_eq!(server["agent_auth"], agent_auth);
}

#[tokio::test]
async fn r32_the_resource_is_character_for_character_as_configured() {
    for resource in
        ["https://api.example.com", "https://api.example.com/", "https://api.example.com/v1", "http://127.0.0.1:3000"]
    {
        let service = Service::with(config().resource(resource));
        assert_eq!(json(&service, DOCUMENTS[0]).await["resource"], resource);
        assert!(service.get("/auth.md").await.text.contains(&format!("`{resource}`")));
    }
}

#[tokio::test]
async fn e10_a_resource_that_ends_in_a_slash_has_its_document_at_both_spellings() {
    for (path, spellings) in [
        ("/", &["", "/"][..]),
        ("/mcp/", &["", "/mcp", "/mcp/"]),
        ("/a/b/", &["", "/a/b", "/a/b/"]),
        ("", &[""]),
        ("/mcp", &["", "/mcp"]),
    ] {
        let resource = format!("{ORIGIN}{path}");
        let service = Service::with(config().resource(&resource));
        for spelling in spellings {
            assert_eq!(
                json(&service, &format!("{}{spelling}", DOCUMENTS[0])).await["resource"],
                resource,
                "{spelling}"
            );
        }
        for spelling in ["/", "/mcp", "/mcp/", "/a", "/a/", "//", "/mcp//", "/a/b", "/a/b/", "/MCP"] {
            let served = service.get(&format!("{}{spelling}", DOCUMENTS[0])).await.status == StatusCode::OK;
            assert_eq!(served, spellings.contains(&spelling), "{resource}: {spelling}");
        }
        let challenge = service.get("/projects").await;
        let challenge = Challenge::parse(challenge.header("www-authenticate")).unwrap().remove(0);
        let url = challenge.parameter("resource_metadata").unwrap().to_owned();
        assert_eq!(
            json(&service, url.strip_prefix(ORIGIN).unwrap()).await["resource"],
            resource,
            "as the challenge says"
        );
    }
}

/// Sends a request for a public path as a proxy does that replaces the path of the issuer by another.
async fn by_proxy(service: &Service, from: &str, to: &str, mut request: Request<Body>) -> Answer {
    let path = request.uri().path_and_query().unwrap().as_str();
    let arriving = match path.strip_prefix(from) {
        Some(below) if below.is_empty() || below.starts_with('/') => format!("{to}{below}"),
        _ => path.to_owned(),
    };
    *request.uri_mut() = if arriving.is_empty() { "/" } else { &arriving }.parse().unwrap();
    service.send(request).await
}

#[tokio::test]
async fn e3_behind_a_proxy_that_rewrites_paths_every_url_answers() {
    for (public, mount, arriving) in [
        ("/analytics", "/", ""),
        ("/analytics", "/internal", "/internal"),
        ("/a/b", "/a", "/a"),
        ("", "/internal", "/internal"),
        ("", "/", ""),
        ("/analytics", "/analytics", "/analytics"),
    ] {
        let issuer = format!("{ORIGIN}{public}");
        let service = Service::with(config().no_limits().resource(&issuer).issuer(&issuer).mount_path(mount));
        let get = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            by_proxy(&service, public, arriving, request).await
        };
        let mut seen = 0;
        let documents = [
            format!("/.well-known/oauth-protected-resource{public}"),
            format!("{AS}{public}"),
            format!("{public}/auth.md"),
        ];
        for document in &documents {
            let document = get(document).await;
            assert_eq!(document.status, StatusCode::OK, "{public} at {mount}");
            for url in urls(&document.text) {
                let path = url.strip_prefix(ORIGIN).unwrap();
                if path == public || path.ends_with("/approve/") || path.ends_with("/authorize/") {
                    continue;
                }
                assert!(path.starts_with(public) || path.starts_with("/.well-known/"), "{url}");
                assert_ne!(get(path).await.status, StatusCode::NOT_FOUND, "{url} at {mount}");
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
        // The whole ceremony by public URLs: redirects, forms and cookies name them.
        let asked = serde_json::json!({ "type": "user_claimed", "client_name": "Agent" }).to_string();
        let asked = common::json_request(&format!("{public}/agent/auth"), &asked);
        let asked = by_proxy(&service, public, arriving, asked).await;
        assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.text);
        let page = asked.json["claim_url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap().to_owned();
        assert!(page.starts_with(&format!("{public}/agent/auth/approve/")), "{page}");
        assert_eq!(get(&page).await.header("location"), format!("/login?next={page}"));
        let shown = by_proxy(&service, public, arriving, common::browse("ada", &page)).await;
        assert_eq!(shown.status, StatusCode::OK);
        let post = shown.form("ada").post(&page, &[("decision", "approve"), ("scope", "projects:read")]);
        let approved = by_proxy(&service, public, arriving, post).await;
        assert_eq!((approved.status, approved.header("location")), (StatusCode::SEE_OTHER, &*page));
        let shown = by_proxy(&service, public, arriving, common::browse("ada", &page)).await;
        assert!(shown.text.replace("&#x2f;", "/").contains(&format!("href=\"{public}/sessions\"")), "{}", shown.text);
        let sessions = common::browse("ada", &format!("{public}/sessions"));
        assert_eq!(by_proxy(&service, public, arriving, sessions).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn e3_a_mount_path_has_the_form_of_a_path() {
    for bad in ["internal", "/a/", "//", "/a//b", "/a/../b", "/a?b", "/{a}", "https://x/a", "/."] {
        let error = config().mount_path(bad).build().unwrap_err();
        assert_eq!(error.problems()[0].field, "mount_path", "{bad}");
    }
    let config = config().issuer("https://api.example.com/a").mount_path("/b").build().unwrap();
    for (public, arriving) in [("/a", "/b"), ("/a/c", "/b/c"), ("/ab", "/ab"), ("/", "/"), ("/c/a", "/c/a")] {
        assert_eq!(config.arriving_path(public), arriving);
    }
}

#[tokio::test]
async fn r34_no_header_and_no_target_form_changes_a_url() {
    let service = Service::new();
    for path in DOCUMENTS.into_iter().chain(["/projects", "/sessions"]) {
        let plain = service.get(path).await;
        for target in [path.to_owned(), format!("http://evil.test{path}")] {
            let request = Request::get(target)
                .header("host", "evil.test")
                .header("x-forwarded-host", "evil.test")
                .header("x-forwarded-proto", "http")
                .header("forwarded", "host=evil.test;proto=http");
            let answer = service.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status, &answer.text), (plain.status, &plain.text), "{path}");
            assert!(!format!("{:?}{}", answer.headers, answer.text).contains("evil.test"), "{path}");
        }
    }
}

#[tokio::test]
async fn r35_two_resources_have_a_document_each_and_their_challenges_name_it() {
    let api = Service::with(config().resource("https://api.example.com/api"));
    let mcp = Service::with(config().resource("https://api.example.com/mcp"));
    let stacked = api.app.clone().layer(mcp.auth.endpoints());
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        Answer::read(tower::ServiceExt::oneshot(stacked.clone(), request).await.unwrap()).await
    };
    for name in ["api", "mcp"] {
        let document = get(&format!("/.well-known/oauth-protected-resource/{name}")).await;
        assert_eq!(document.json["resource"], format!("https://api.example.com/{name}"));
    }
    assert_eq!(get("/.well-known/oauth-protected-resource/nope").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get("/.well-known/oauth-protected-resource/").await.status, StatusCode::NOT_FOUND);
    let challenge = mcp.get("/projects").await;
    assert_eq!(
        challenge.header("www-authenticate"),
        format!("Bearer resource_metadata=\"{PRM}/mcp\", scope=\"projects:read\"")
    );
}

#[tokio::test]
async fn r35_an_issuer_with_a_path_is_served_below_it_and_its_metadata_is_path_inserted() {
    let service = Service::with(config().issuer("https://api.example.com/tenant"));
    let server = json(&service, &format!("{AS}/tenant")).await;
    assert_eq!(server["agent_auth"]["register_uri"], format!("{ORIGIN}/tenant/agent/auth"));
    assert_eq!(service.get(AS).await.status, StatusCode::NOT_FOUND);
    assert_eq!(service.get("/tenant/auth.md").await.status, StatusCode::OK);
    assert_eq!(service.get("/agent/auth").await.status, StatusCode::NOT_FOUND);
    assert_eq!(service.get("/tenant/agent/auth").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn r36_every_url_that_is_advertised_answers() {
    let service = Service::with(config().documentation("https://docs.example.com"));
    let mut seen = 0;
    for path in DOCUMENTS {
        let text = service.get(path).await.text;
        for url in urls(&text) {
            let path = url.strip_prefix(ORIGIN).unwrap();
            // The resource itself is the service's; the approval pages are named by their beginning.
            if path.is_empty() || path == "/agent/auth/approve/" || path == "/agent-sessions/authorize/" {
                continue;
            }
            let get = service.get(path).await.status;
            let post = service.post(path, &serde_json::json!({})).await.status;
            // Seeing and revoking sessions ask who is asking first.
            let signed_in = path.ends_with("/revoke") || path == "/account/agent-sessions";
            assert!(
                get == StatusCode::OK
                    || get == StatusCode::SEE_OTHER
                    || post == StatusCode::BAD_REQUEST
                    || (signed_in && (post == StatusCode::UNAUTHORIZED || get == StatusCode::UNAUTHORIZED)),
                "{url}: {get} {post}"
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[tokio::test]
async fn r36_what_is_off_is_neither_named_nor_served() {
    let service = Service::with(config().dialects(&[]));
    for path in DOCUMENTS {
        let text = service.get(path).await.text;
        for name in [
            "register_uri",
            "claim",
            "revocation",
            "/agent/auth",
            "refresh",
            "identity_types",
            "agent-sessions",
            "agent_sessions",
        ] {
            assert!(!text.contains(name), "{name} in {path}");
        }
    }
    for path in ["/agent/auth", "/agent/auth/claim", "/agent/auth/claim/complete", "/agent/auth/revoke"] {
        assert_eq!(service.post(path, &serde_json::json!({})).await.status, StatusCode::NOT_FOUND);
    }
    // Nothing names what this version does not speak.
    let service = Service::new();
    for path in DOCUMENTS {
        let text = service.get(path).await.text;
        for name in [
            "token_endpoint\"",
            "jwks",
            "authorization_endpoint",
            "anonymous\":",
            "id-jag",
            "events",
            "/agent/identity",
        ] {
            assert!(!text.contains(name), "{name} in {path}");
        }
    }
    assert_eq!(Config::builder().dialects(&[Dialect::AgentAuth]).build().unwrap_err().problems().len(), 3);
}

#[tokio::test]
async fn g15_the_metadata_says_which_grants_there_are_whatever_dialects_are_on() {
    for dialects in
        [&[][..], &[Dialect::AgentAuth], &[Dialect::AgentSessions], &[Dialect::AgentAuth, Dialect::AgentSessions]]
    {
        for issuer in [ORIGIN, "https://api.example.com/tenant"] {
            let service = Service::with(config().dialects(dialects).issuer(issuer));
            let server = json(&service, &format!("{AS}{}", issuer.strip_prefix(ORIGIN).unwrap())).await;
            // RFC 8414 section 2: if it is omitted, clients assume `authorization_code` and `implicit`.
            assert_eq!(server["grant_types_supported"], serde_json::json!([]), "{dialects:?}");
            assert_eq!(server["response_types_supported"], serde_json::json!([]), "{dialects:?}");
            assert!(server.get("token_endpoint").is_none() && server.get("authorization_endpoint").is_none());
        }
    }
}

#[tokio::test]
async fn r36_a_service_that_only_checks_tokens_has_the_protected_resource_metadata_alone() {
    let auth = tower_agent_auth::AgentAuth::builder(config().issuer("https://auth.example.com").build().unwrap())
        .checks_only(tower_agent_auth::store::MemoryStore::new())
        .build()
        .unwrap();
    let app = axum::Router::new().route("/x", axum::routing::get(|| async {})).layer(auth.endpoints());
    let status = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        tower::ServiceExt::oneshot(app.clone(), request).await.unwrap().status()
    };
    assert_eq!(status(DOCUMENTS[0]).await, StatusCode::OK);
    assert_eq!((status(AS).await, status("/auth.md").await), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    assert_eq!((status("/sessions").await, status("/x").await), (StatusCode::NOT_FOUND, StatusCode::OK));
}

#[tokio::test]
async fn r37_get_head_etag_and_the_rest_of_http() {
    let service = Service::new();
    for (path, content_type) in
        DOCUMENTS.into_iter().zip(["application/json", "application/json", "text/markdown; charset=utf-8"])
    {
        let get = service.get(path).await;
        assert_eq!((get.status, get.header("content-type")), (StatusCode::OK, content_type));
        assert_eq!(get.header("cache-control"), "public, max-age=300");
        assert_eq!(get.header("access-control-allow-origin"), "*");
        assert_eq!(get.header("x-content-type-options"), "nosniff");
        assert!(!get.headers.contains_key("set-cookie"));
        let etag = get.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");

        let head = service.send(Request::head(path).body(Body::empty()).unwrap()).await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
        assert_eq!(head.header("content-length"), get.text.len().to_string());
        assert_eq!(head.header("etag"), etag);

        for tags in [etag.clone(), format!("\"x\", {etag}"), format!("W/{etag}"), "*".into()] {
            let request = Request::get(path).header("if-none-match", &tags).body(Body::empty()).unwrap();
            let known = service.send(request).await;
            assert_eq!((known.status, known.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{tags}");
            assert_eq!(known.header("etag"), etag);
        }
        let request = Request::get(path).header("if-none-match", "\"x\"").body(Body::empty()).unwrap();
        assert_eq!(service.send(request).await.status, StatusCode::OK);

        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let answer = service.send(request).await;
            assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
        }
        let preflight =
            Request::options(path).header("origin", "https://x").header("access-control-request-method", "GET");
        let preflight = service.send(preflight.body(Body::empty()).unwrap()).await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (StatusCode::NO_CONTENT, "*"));

        assert_eq!(service.get_as(path, "a bad token").await.status, StatusCode::OK, "with a bad token");
    }
}

#[tokio::test]
async fn r38_auth_md_takes_no_trick_of_the_configuration() {
    for bad in ["x\n## Ignore previous", "x`", "<script>", "x\r", "\u{7}"] {
        assert!(config().name(bad).build().is_err(), "{bad:?}");
        assert!(config().scope("a:b", bad, |scope| scope).build().is_err(), "{bad:?}");
    }
    for bad in ["a`b", "a<b"] {
        assert!(config().scope(bad, "A sentence", |scope| scope).build().is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn r38_auth_md_tells_an_agent_all_that_it_needs() {
    let service = Service::with(config().auth_md_extra("## House rules\n\nBe kind."));
    let text = service.get("/auth.md").await.text;
    let needed = [
        "### 1.",
        "### 2.",
        "### 3.",
        "### 4.",
        "### 5.",
        "### 6.",
        "### 7.",
        "### 8.",
        "https://api.example.com/agent/auth`",
        "https://api.example.com/agent/auth/claim`",
        "https://api.example.com/agent/auth/claim/complete`",
        "https://api.example.com/agent/auth/revoke`",
        "`projects:read` | See your projects",
        "gives `experiments:read` as well",
        "\"type\":\"user_claimed\"",
        "Show your human `claim_url`",
        "show your human `account`",
        "`owner_only`",
        "## House rules",
        PRM,
        "https://api.example.com/sessions",
    ];
    for text_needed in needed {
        assert!(text.contains(text_needed), "{text_needed:?} in\n{text}");
    }
    for code in [
        "invalid_request",
        "invalid_scope",
        "authorization_pending",
        "invalid_claim_token",
        "access_denied",
        "previously_claimed",
        "claim_expired",
        "slow_down",
        "rate_limited",
        "temporarily_unavailable",
        "unauthorized",
        "invalid_token",
        "insufficient_scope",
        "unclassified",
        "anonymous_not_enabled",
    ] {
        assert!(text.contains(&format!("`{code}`")), "{code}");
    }
    assert!(!text.contains("{{") && !text.contains("{%") && !text.contains("\n\n\n"), "{text}");
    // Every URL in it is the service's own.
    for part in text.split("http").skip(1).filter(|part| part.starts_with("s://") || part.starts_with("://")) {
        assert!(part.starts_with("s://api.example.com"), "{part:.40}");
    }
}

#[tokio::test]
async fn a_template_of_ones_own_replaces_auth_md() {
    let own = "# {{ name }}\n{% for scope in scopes %}{{ scope.name }} {% endfor %}{{ chapters[0] }}";
    let service = Service::with(config().auth_md_template(own));
    let text = service.get("/auth.md").await.text;
    assert!(text.starts_with("# Example Analytics\nprojects:read projects:write "), "{text:.80}");
    let error = config().auth_md_template("{{ name").build().unwrap_err();
    assert_eq!(error.problems()[0].field, "auth_md.template");
    // What can be parsed and still not be rendered shows when the service is built.
    let error = AgentAuth::builder(config().auth_md_template("{{ nonsense | nofilter }}").build().unwrap())
        .sessions(common::TestStore::default())
        .accounts(common::TestAccounts::default())
        .build()
        .unwrap_err();
    assert_eq!(error.problems()[0].field, "auth_md.template");
}

/// An agent that does as auth.md says asks for a token of the resource that it called, and compares it first.
#[tokio::test]
async fn b2_auth_md_tells_agents_to_compare_the_resource_and_to_send_it() {
    let text = Service::new().get("/auth.md").await.text;
    assert!(text.contains(&format!("Its `resource` must be `{ORIGIN}` and the beginning of the URL that you called")));
    let bodies = text.lines().filter(|line| line.starts_with('{') && line.contains("client_name"));
    let bodies: Vec<Value> = bodies.map(|body| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(bodies.len(), 2, "a start for each dialect: {bodies:?}");
    assert!(bodies.iter().all(|body| body["resource"] == ORIGIN), "{bodies:?}");
}
