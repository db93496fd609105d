//! The human's side: who may decide, what a page lets through, and what it shows (security rows R52, R53, R56 to R62, R67).
//! What only a browser can show is in `browser.rs`.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;
use tower_agent_auth::{
    AgentAuth,
    accounts::{Accounts, AccountsError, SignedIn, cookie},
    audit::Event,
    config::Dialect,
    pages::PageOptions,
    types::{authorization::Account, id::AccountId},
};

mod common;
use common::{
    Answer, Fault, Form, ORIGIN, Pending, START, Service, TestStore, account, between, browse, browse_again, config,
    from_address, json_request,
};

async fn status_of(service: &Service, pending: &Pending) -> String {
    let answer = service.post("/agent/auth/claim", &json!({ "claim_token": pending.claim_token })).await;
    answer.json["status"].as_str().unwrap().to_owned()
}

fn quiet() -> Service {
    Service::with(config().no_limits())
}

const APPROVE: [(&str, &str); 2] = [("decision", "approve"), ("scope", "projects:read")];

#[tokio::test]
async fn the_page_says_who_asks_for_what_on_which_account() {
    let service = quiet();
    let body = json!({ "type": "user_claimed", "client_name": "Example Agent", "label": "Weekly report", "claim_method": "google_oauth",
        "requested_scopes": ["projects:read", "experiments:write"] });
    let request = from_address(json_request("/agent/auth", &body.to_string()), "192.0.2.7");
    let registered = service.send(request).await;
    service.clock.advance(std::time::Duration::from_secs(120));
    let path = registered.json["claim_url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap().to_owned();
    let page = service.send(from_address(browse("ada", &path), "192.0.2.8")).await;
    let before_the_button = page.text.split("value=\"approve\"").next().unwrap();
    for needed in [
        "ada@example.com",
        "Example Agent",
        "Weekly report",
        "google_oauth",
        "192.0.2.7",
        "2 minutes ago",
        "See your projects",
        "projects:read",
        "Create and change experiments",
        "experiments:write",
        "At most 90 days",
        "sessions",
        "Example Analytics",
        "Not your network (192.0.2.8)",
        "value=\"deny\"",
    ] {
        assert!(before_the_button.contains(needed), "{needed} in\n{before_the_button}");
    }
    assert!(page.text.contains("8 minutes"), "how long is left to decide");
    assert_eq!(page.text.matches("<script").count(), 1, "the one with a nonce");
    assert!(page.text.contains("<script nonce=\"") && !page.text.contains(" style="));
    assert!(!page.text.contains("analytics:read"), "not asked for");
}

#[tokio::test]
async fn r65_what_the_human_leaves_out_is_not_granted_and_nothing_is_added() {
    let service = quiet();
    let pending = service.register(&["projects:read", "projects:write"]).await;
    let form = service.open("ada", &pending).await;
    let tampered: [&[(&str, &str)]; 8] = [
        &[("decision", "approve"), ("scope", "analytics:read")],
        &[("decision", "approve"), ("scope", "projects:read"), ("scope", "experiments:read")],
        &[("decision", "approve"), ("scope", "PROJECTS:READ")],
        &[("decision", "approve"), ("scope", "*")],
        &[("decision", "approve"), ("scope", "projects:read"), ("scope", "projects:read")],
        &[("decision", "approve")],
        &[("decision", "approve"), ("decision", "deny"), ("scope", "projects:read")],
        &[("scope", "projects:read")],
    ];
    for fields in tampered {
        let answer = service.send(form.post(&pending.path(), fields)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{fields:?}");
    }
    assert_eq!(status_of(&service, &pending).await, "pending");
    let decided = service.send(form.post(&pending.path(), &APPROVE)).await;
    assert_eq!((decided.status, decided.header("location")), (StatusCode::SEE_OTHER, pending.path().as_str()));
    assert_eq!(service.complete(&pending).await.json["scopes"], json!(["projects:read"]));
}

#[tokio::test]
async fn r52_the_account_that_opened_the_page_is_the_one_that_decides() {
    let service = quiet();
    let pending = service.register(&[]).await;
    let ada = service.open("ada", &pending).await;
    let other = service.send(browse("bob", &pending.path())).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    assert!(!other.text.contains("ada") && !other.text.contains("Example Agent"), "{}", other.text);
    // Bob has no form for this; with one of his own, or Ada's, he gets nowhere.
    let his = service.register(&[]).await;
    let bob = service.open("bob", &his).await;
    for decision in ["approve", "deny"] {
        let fields = [("decision", decision), ("scope", "projects:read")];
        for form in [bob.clone(), Form { human: "bob".into(), ..ada.clone() }] {
            let answer = service.send(form.post(&pending.path(), &fields)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
        }
    }
    assert_eq!(status_of(&service, &pending).await, "pending");
    assert_eq!(service.send(ada.post(&pending.path(), &APPROVE)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(service.complete(&pending).await.json["account"]["id"], "acct_ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r52_of_two_accounts_that_open_at_once_one_owns_it() {
    for _ in 0..50 {
        let service = std::sync::Arc::new(quiet());
        let pending = service.register(&[]).await;
        let open = |human: &'static str| {
            let (service, path) = (service.clone(), pending.path());
            tokio::spawn(async move { service.send(browse(human, &path)).await.status })
        };
        let (ada, bob) = (open("ada"), open("bob"));
        let mut statuses = [ada.await.unwrap(), bob.await.unwrap()];
        statuses.sort();
        assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT]);
    }
}

#[tokio::test]
async fn r53_the_agent_is_told_whose_account_it_got() {
    let service = quiet();
    let answer = service.session("ada", &["projects:read"]).await;
    assert_eq!(answer.json["account"], json!({ "id": "acct_ada", "email": "ada@example.com" }));
    assert_eq!(answer.json["scopes"], json!(["projects:read"]));
}

#[tokio::test]
async fn r56_only_the_owner_channel_may_decide() {
    let service = quiet();
    let token = service.token(&["projects:read"]).await;
    let pending = service.register(&[]).await;
    let form = service.open("ada", &pending).await;
    for authorization in [format!("Bearer {token}"), "Bearer aak_live_key".into(), format!("DPoP {token}")] {
        for with_cookie in [true, false] {
            let mut request = form.post(&pending.path(), &APPROVE);
            if !with_cookie {
                request.headers_mut().remove("cookie");
            }
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
            assert_eq!(service.send(request).await.status, StatusCode::BAD_REQUEST, "{authorization} {with_cookie}");
        }
        let mut list = browse("ada", "/sessions");
        list.headers_mut().insert("authorization", authorization.parse().unwrap());
        assert_eq!(service.send(list).await.status, StatusCode::BAD_REQUEST);
    }
    let mut signed_out = form.post(&pending.path(), &APPROVE);
    signed_out.headers_mut().remove("cookie");
    let answer = service.send(signed_out).await;
    assert_eq!(answer.goes_on_to(), format!("/login?next={}", pending.path()), "without a key, nothing is kept");
    assert_eq!(status_of(&service, &pending).await, "pending");
    assert_eq!(service.send(form.post(&pending.path(), &APPROVE)).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn b5_credentials_that_are_no_agents_pass_the_pages() {
    let service = quiet();
    let token = service.token(&["projects:read"]).await;
    let basic = |text: &str| format!("Basic {}", data_encoding::BASE64.encode(text.as_bytes()));
    for passes in
        ["Basic Zm9vOmJhcg==", "basic x", "Negotiate YWJj", "NTLM YWJj", "Digest username=\"x\"", "Unheard of", ""]
    {
        let pending = service.register(&[]).await;
        let add = |mut request: Request<Body>| {
            request.headers_mut().append("authorization", passes.parse().unwrap());
            request.headers_mut().append("authorization", "Basic Zm9vOmJhcg==".parse().unwrap());
            request
        };
        let page = service.send(add(browse("ada", &pending.path()))).await;
        assert_eq!(page.status, StatusCode::OK, "{passes}");
        let decided = service.send(add(page.form("ada").post(&pending.path(), &APPROVE))).await;
        assert_eq!(decided.status, StatusCode::SEE_OTHER, "{passes}");
        assert_eq!(service.send(add(browse("ada", "/sessions"))).await.status, StatusCode::OK, "{passes}");
    }
    for refused in [
        format!("Bearer\t{token}"),
        format!("Bearer{token}"),
        "bearer".into(),
        "dpop x".into(),
        token.clone(),
        format!("Token {}", token.to_uppercase()),
        basic(&format!("{token}:")),
        basic(&format!("git:{token}")),
    ] {
        for line in 0..2 {
            let mut request = browse("ada", "/sessions");
            let mut lines = [&*refused, "Basic Zm9vOmJhcg=="];
            lines.rotate_left(line);
            for line in lines {
                request.headers_mut().append("authorization", line.parse().unwrap());
            }
            assert_eq!(service.send(request).await.status, StatusCode::BAD_REQUEST, "{refused}");
        }
    }
}

#[tokio::test]
async fn b6_an_odd_cookie_beside_ours_stops_no_form() {
    let service = quiet();
    for odd in [&b"name=Zo\xc3\xab"[..], b"bad=\xff\xfe", b"=nameless", b"nothing", b"\xff", b";;", b"q=\"a b\""] {
        for apart in [true, false] {
            let pending = service.register(&[]).await;
            let add = |mut request: Request<Body>| {
                let ours = request.headers_mut().remove("cookie").unwrap();
                let lines = if apart {
                    vec![odd.to_vec(), ours.as_bytes().to_vec()]
                } else {
                    vec![[odd, b"; ", ours.as_bytes(), b"; ", odd].concat()]
                };
                for line in lines {
                    request.headers_mut().append("cookie", http::HeaderValue::from_bytes(&line).unwrap());
                }
                request
            };
            let page = service.send(add(browse("ada", &pending.path()))).await;
            assert_eq!(page.status, StatusCode::OK, "{odd:?}");
            let decided = service.send(add(page.form("ada").post(&pending.path(), &APPROVE))).await;
            assert_eq!(decided.status, StatusCode::SEE_OTHER, "{odd:?} {}", decided.text);
        }
    }
}

#[tokio::test]
async fn r57_reading_never_approves_and_looking_ahead_opens_nothing() {
    let service = quiet();
    let pending = service.register(&[]).await;
    for (name, value) in [("sec-purpose", "prefetch"), ("sec-purpose", "prefetch;prerender"), ("purpose", "preview")] {
        let mut request = browse("bob", &pending.path());
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(service.send(request).await.status, StatusCode::NO_CONTENT);
    }
    let head = Request::head(pending.path()).header("cookie", "user=bob").body(Body::empty()).unwrap();
    assert_eq!(service.send(head).await.status, StatusCode::OK);
    // A preview robot is signed in nowhere.
    let robot =
        Request::get(pending.path()).header("user-agent", "Slackbot-LinkExpanding 1.0").body(Body::empty()).unwrap();
    assert_eq!(service.send(robot).await.status, StatusCode::SEE_OTHER);
    // None of them bound the authorization request: Ada can still open it.
    for _ in 0..100 {
        let page = service
            .send(browse("ada", &format!("{}?decision=approve&scope=projects:read&approve=1", pending.path())))
            .await;
        assert_eq!(page.status, StatusCode::OK);
    }
    assert_eq!(status_of(&service, &pending).await, "pending");
}

#[tokio::test]
async fn r58_a_form_is_good_for_one_browser_one_human_and_one_subject() {
    let service = quiet();
    let pending = service.register(&[]).await;
    let other = service.register(&[]).await;
    let form = service.open("ada", &pending).await;
    let foreign = service.open("ada", &other).await;
    service.session("ada", &["projects:read"]).await;
    let sessions = service.send(browse("ada", "/sessions")).await.form("ada");
    let post = |form: &Form| form.post(&pending.path(), &APPROVE);
    let with = |name: &'static str, value: &str| {
        let mut request = post(&form);
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let mut flipped = form.clone();
    flipped.csrf = flipped.csrf.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    let forged = [
        ("no token", post(&Form { csrf: String::new(), ..form.clone() })),
        ("a wrong token", post(&flipped)),
        ("the token of another authorization", post(&Form { cookie: form.cookie.clone(), ..foreign.clone() })),
        ("the token and cookie of another authorization", post(&foreign)),
        ("the token of the sessions page", post(&sessions)),
        ("the cookie of another browser", post(&Form { cookie: foreign.cookie.clone(), ..form.clone() })),
        ("no cookie", with("cookie", "user=ada")),
        ("two cookies", with("cookie", &format!("user=ada; {}; {}", form.cookie, foreign.cookie))),
        ("another account", with("cookie", &format!("user=bob; {}", form.cookie))),
        ("signed in again", with("cookie", &format!("user=ada; login=second; {}", form.cookie))),
        ("a sibling origin", with("origin", "https://evil.api.example.com")),
        ("another origin, said to be the same", with("origin", "https://evil.example")),
        ("the null origin, of nobody knows where", {
            let mut request = with("origin", "null");
            request.headers_mut().remove("sec-fetch-site");
            request
        }),
        ("the null origin of another site", {
            let mut request = with("origin", "null");
            request.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
            request
        }),
        ("a cross-site request", with("sec-fetch-site", "cross-site")),
        ("a same-site request", with("sec-fetch-site", "same-site")),
    ];
    for (what, request) in forged {
        let answer = service.send(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
        assert!(answer.text.contains("This form changed nothing"), "{what}");
    }
    assert_eq!(status_of(&service, &pending).await, "pending");
    // What a browser sends for a page that forbids a referrer.
    assert_eq!(service.send(with("origin", "null")).await.status, StatusCode::SEE_OTHER);
    // A decision stands: another decision by the same form changes nothing.
    let again = service.send(form.post(&pending.path(), &[("decision", "deny")])).await;
    assert_eq!((again.status, status_of(&service, &pending).await), (StatusCode::CONFLICT, "approved".into()));
}

#[tokio::test]
async fn r59_r60_r61_every_answer_of_a_page_has_the_headers() {
    let service = Service::with(config().no_limits().logo("https://cdn.example.com/logo.svg"));
    let pending = service.register(&[]).await;
    let denied = service.register(&[]).await;
    let form = service.open("ada", &denied).await;
    let decided = service.send(form.post(&denied.path(), &[("decision", "deny")])).await;
    let mut agent = browse("ada", &pending.path());
    agent.headers_mut().insert("authorization", "Bearer x".parse().unwrap());
    let states = [
        (StatusCode::OK, service.send(browse("ada", &pending.path())).await),
        (StatusCode::OK, service.send(browse("ada", &denied.path())).await),
        (StatusCode::CONFLICT, service.send(browse("bob", &pending.path())).await),
        (StatusCode::NOT_FOUND, service.send(browse("ada", "/agent/auth/approve/reg_unknown")).await),
        (StatusCode::SEE_OTHER, service.get(&pending.path()).await),
        (StatusCode::SEE_OTHER, decided),
        (StatusCode::BAD_REQUEST, service.send(agent).await),
        (StatusCode::FORBIDDEN, service.send(Form { csrf: "x".into(), ..form }.post(&pending.path(), &APPROVE)).await),
        (StatusCode::OK, service.send(browse("ada", "/sessions")).await),
    ];
    let mut nonces = std::collections::HashSet::new();
    for (status, page) in states {
        assert_eq!(page.status, status);
        let policy = page.header("content-security-policy");
        let nonce = if page.text.is_empty() {
            "'none'".into()
        } else {
            format!("'nonce-{}'", between(&page.text, "nonce=\"", "\""))
        };
        let scripts = match page.text.contains("<script") {
            true => format!("; script-src {nonce}; connect-src 'self'"),
            false => String::new(),
        };
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src {nonce}{scripts}; img-src 'self' https://cdn.example.com; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
            )
        );
        assert!(page.text.is_empty() || nonces.insert(nonce), "a nonce is used once");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-type", "text/html; charset=utf-8"),
            ("x-robots-tag", "noindex"),
        ] {
            assert_eq!(page.header(name), value, "{status}");
        }
        assert!(page.header("permissions-policy").contains("camera=()"));
    }
}

#[tokio::test]
async fn r62_hostile_text_is_shown_and_never_run() {
    let service = quiet();
    let texts = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'-alert(1)-'",
        "{{ 7*7 }}",
        "{% raw %}",
        "</title><svg onload=alert(1)>",
        "javascript:alert(1)",
        "&lt;b&gt;",
        "<bdi>",
        "a\u{2066}b",
    ];
    for text in texts {
        let body = json!({ "type": "user_claimed", "client_name": text, "label": text, "claim_method": text });
        let registered = service.post("/agent/auth", &body).await;
        if text.contains('\u{2066}') {
            assert_eq!(registered.status, StatusCode::BAD_REQUEST);
            continue;
        }
        let path = registered.json["claim_url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap().to_owned();
        let page = service.send(browse("ada", &path)).await;
        let pending = Pending {
            id: String::new(),
            claim_token: registered.json["claim_token"].as_str().unwrap().into(),
            claim_url: format!("{ORIGIN}{path}"),
        };
        let decided = page.form("ada").post(&path, &APPROVE);
        assert_eq!(service.send(decided).await.status, StatusCode::SEE_OTHER);
        assert_eq!(service.complete(&pending).await.status, StatusCode::OK);
        let outcome = service.send(browse("ada", &path)).await;
        let sessions = service.send(browse("ada", "/sessions")).await;
        for page in [page, outcome, sessions] {
            assert!(
                !page.text.contains("<script>")
                    && !page.text.contains("<img src=x")
                    && !page.text.contains("<svg onload"),
                "{text}"
            );
            assert!(!page.text.contains("7*7 }}49"));
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let unslashed = page.text.replace("&#x2f;", "/").replace("&#x27;", "'").replace("&quot;", "\"");
            assert!(unslashed.contains(&escaped), "{text} in {}", page.text);
        }
    }
    for template in ["approval", "base", "code_entry", "message", "outcome", "parts", "sessions"] {
        let source = std::fs::read_to_string(format!("src/pages/templates/{template}.html")).unwrap();
        assert!(
            !source.contains("|safe") && !source.contains("| safe") && !source.contains("autoescape"),
            "{template}"
        );
    }
}

#[tokio::test]
async fn r67_the_way_back_from_the_sign_in_is_built_here() {
    let service = quiet();
    for path in ["//evil", "/\\evil", "/%2f%2fevil", "/%0d%0aX:1", "/https:evil", "/a/b", "/..%2f..", "/?next=//evil"] {
        let Ok(request) = Request::get(format!("/agent/auth/approve{path}")).body(Body::empty()) else {
            continue;
        };
        let answer = service.send(request).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.headers.contains_key("location"));
    }
    let pending = service.register(&[]).await;
    let answer = service.get(&format!("{}?next=//evil", pending.path())).await;
    assert_eq!(answer.header("location"), format!("/login?next={}", pending.path()));
    assert_eq!(service.get("/sessions?done=//evil&after=x").await.header("location"), "/login?next=/sessions");
}

#[tokio::test]
async fn r68_the_one_cookie_is_bound_to_host_path_and_program() {
    let service = quiet();
    let pending = service.register(&[]).await;
    let cookie = service.send(browse("ada", &pending.path())).await.header("set-cookie").to_owned();
    let (name, rest) = cookie.split_once('=').unwrap();
    assert_eq!(name, "__Host-agent_auth_form");
    assert_eq!(rest.split_once(';').unwrap().1, " Path=/; HttpOnly; SameSite=Lax; Secure");
    // A browser that has one keeps it.
    let mut again = browse("ada", &pending.path());
    again.headers_mut().insert("cookie", format!("user=ada; {}", cookie.split(';').next().unwrap()).parse().unwrap());
    assert!(!service.send(again).await.headers.contains_key("set-cookie"));
    // On a loopback service without TLS there is no `__Host-`.
    let local = Service::with(config().resource("http://127.0.0.1:3000"));
    let cookie = local.send(browse("ada", "/sessions")).await.header("set-cookie").to_owned();
    assert!(cookie.starts_with("agent_auth_form=") && !cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn garbage_in_a_cookie_or_a_form_is_never_a_fault_of_the_service() {
    let service = quiet();
    let pending = service.register(&[]).await;
    let form = service.open("ada", &pending).await;
    for cookie in
        [&b"\xff\xfe"[..], b"=;=;;", b"user", b"user=;user=x;", b"__Host-agent_auth_form=\xe9", &[b'a'; 8_000]]
    {
        for path in [&pending.path(), "/sessions", "/billing"] {
            let request = Request::get(path).header("cookie", cookie).body(Body::empty()).unwrap();
            assert!(service.send(request).await.status.is_redirection() || path == "/billing", "{path}");
        }
    }
    for body in [&b"%"[..], b"%ff%fe=%", b"&&&===", b"csrf", b"decision=approve&decision=approve", &[b'a'; 15_000]] {
        let mut request = form.post(&pending.path(), &[]);
        *request.body_mut() = Body::from(body.to_vec());
        assert!(service.send(request).await.status.is_client_error());
    }
    let mut plain = form.post(&pending.path(), &APPROVE);
    plain.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(service.send(plain).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(status_of(&service, &pending).await, "pending");
}

#[tokio::test]
async fn r50_an_unknown_and_an_expired_request_say_so() {
    let service = quiet();
    let opened = service.register(&[]).await;
    service.open("ada", &opened).await;
    let unopened = service.register(&[]).await;
    service.clock.advance(std::time::Duration::from_secs(600));
    for pending in [&opened, &unopened] {
        assert_eq!(service.send(browse("ada", &pending.path())).await.status, StatusCode::GONE);
    }
    let unknown = format!("/agent/auth/approve/reg_{}", "0".repeat(22));
    let malformed = service.send(browse("ada", "/agent/auth/approve/x")).await;
    let answer = service.send(browse("ada", &unknown)).await;
    assert_eq!((answer.status, malformed.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn the_sessions_page_lists_all_of_the_account_and_revokes_one_or_all() {
    let service = quiet();
    let first = service.session("ada", &["projects:read"]).await;
    let second = service.session("ada", &["projects:write"]).await;
    let third = service.session("ada", &["projects:read"]).await;
    let bobs = service.session("bob", &["projects:read"]).await;
    let text = |answer: &Answer, field: &str| answer.json[field].as_str().unwrap().to_owned();
    let alive = async |answer: &Answer| {
        service.get_as("/any", &text(answer, "access_token")).await.status != StatusCode::UNAUTHORIZED
    };
    let mut used = common::bearer(http::Method::GET, "/projects", &text(&first, "access_token"));
    used.extensions_mut().insert(std::net::SocketAddr::from(([192, 0, 2, 99], 1)));
    service.send(used).await;

    let page = service.send(browse("ada", "/sessions")).await;
    for session in [&first, &second, &third] {
        assert!(page.text.contains(&text(session, "session_id")));
    }
    for needed in [
        "ada@example.com",
        "2026-11-24 01:10 UTC",
        "2026-12-24 01:10 UTC",
        "192.0.2.99",
        "not used yet",
        "Example Agent",
        "Create and change projects",
    ] {
        assert!(page.text.contains(needed), "{needed} in {}", page.text);
    }
    assert!(!page.text.contains(&text(&bobs, "session_id")));
    let form = page.form("ada");
    let revoke = |id: &str| form.post("/sessions", &[("decision", "revoke"), ("session", id)]);
    let done = service.send(revoke(&text(&first, "session_id"))).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert!(done.header("location").starts_with("/sessions?done=revoked&proof="), "{:?}", done.headers);
    assert_eq!((alive(&first).await, alive(&second).await, alive(&third).await), (false, true, true));
    // Of another account, of nobody, or twice: nothing.
    for id in [text(&bobs, "session_id"), format!("ses_{}", "0".repeat(22)), text(&first, "session_id")] {
        let location = service.send(revoke(&id)).await.header("location").to_owned();
        assert!(location.starts_with("/sessions?done=gone&proof="), "{location}");
    }
    assert!(alive(&bobs).await);
    for bad in [
        form.post("/sessions", &[("decision", "revoke")]),
        form.post("/sessions", &[("decision", "x")]),
        revoke("' OR 1=1"),
    ] {
        assert_eq!(service.send(bad).await.status, StatusCode::BAD_REQUEST);
    }
    let all = service.send(form.post("/sessions", &[("decision", "revoke_all")])).await;
    assert_eq!(all.status, StatusCode::SEE_OTHER);
    assert_eq!((alive(&second).await, alive(&third).await, alive(&bobs).await), (false, false, true));
    let page = service.send(browse_again(&form, all.header("location"))).await;
    assert!(
        page.text.contains("All sessions revoked")
            && page.text.to_lowercase().contains("revoked")
            && !page.text.contains("confirm=all")
    );
}

#[tokio::test]
async fn a_long_list_of_sessions_comes_in_pages() {
    let service = quiet();
    for _ in 0..51 {
        service.session("ada", &["projects:read"]).await;
    }
    let ids = |page: &Answer| page.text.matches("name=\"session\" value=\"ses_").count();
    let all = service.send(browse("ada", "/sessions")).await;
    assert_eq!(ids(&all), 10);
    assert!(all.text.contains("Show all 51 sessions of this client"), "{}", all.text);
    let client = between(&all.text, "?client=", "\"").to_owned();
    let first = service.send(browse("ada", &format!("/sessions?client={client}"))).await;
    let next = between(&first.text, "rel=\"next\" href=\"&#x2f;sessions?", "\"").replace("&amp;", "&");
    let second = service.send(browse("ada", &format!("/sessions?{next}"))).await;
    assert_eq!(ids(&first) + ids(&second), 51);
    assert!(ids(&first) > 25 && !second.text.contains("rel=\"next\""), "{}", ids(&first));
}

#[tokio::test]
async fn two_processes_over_one_store_take_each_others_forms() {
    let store = TestStore::default();
    let (one, two) = (Service::on(config(), store.clone()), Service::on(config(), store));
    let pending = one.register(&[]).await;
    let form = one.open("ada", &pending).await;
    assert_eq!(two.send(form.post(&pending.path(), &APPROVE)).await.status, StatusCode::SEE_OTHER);
    let completed = two.complete(&pending).await;
    assert_eq!(one.get_as("/projects", completed.json["access_token"].as_str().unwrap()).await.status, StatusCode::OK);
    assert_eq!(completed.json["account"]["email"], account("ada").label);
}

#[tokio::test]
async fn a_request_is_shown_only_at_the_page_of_its_own_dialect() {
    let service = quiet();
    let claim = service.register(&["projects:read"]).await;
    let body = json!({ "mode": "interactive", "client_type": "cli", "client_name": "Example CLI", "callback_url": "http://127.0.0.1:43123/callback",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "scopes": ["projects:read"] });
    let login = service.post("/agent-sessions/start", &body).await;
    let login = login.json["auth_request_id"].as_str().unwrap_or_else(|| panic!("{}", login.text));
    let pages = |id: &str| [format!("/agent/auth/approve/{id}"), format!("/agent-sessions/authorize/{id}")];
    let ([claim, wrong_for_claim], [wrong_for_login, login]) = (pages(&claim.id), pages(login));
    for (right, wrong) in [(claim, wrong_for_claim), (login, wrong_for_login)] {
        assert_eq!(service.send(browse("eve", &wrong)).await.status, StatusCode::NOT_FOUND, "{wrong}");
        // Eve's look at the wrong page opened nothing, so Ada still can.
        let form = service.send(browse("ada", &right)).await.form("ada");
        assert_eq!(service.send(form.post(&wrong, &APPROVE)).await.status, StatusCode::NOT_FOUND, "{wrong}");
        assert_eq!(service.send(form.post(&right, &APPROVE)).await.status, StatusCode::SEE_OTHER, "{right}");
    }
}

/// Every form that a human can send, with the page that it is on.
async fn forms(service: &Service) -> Vec<(&'static str, String, Request<Body>)> {
    let session = service.session("ada", &["projects:read"]).await;
    let id = session.json["session_id"].as_str().unwrap().to_owned();
    let pending = service.register(&["projects:read"]).await;
    let form = service.open("ada", &pending).await;
    let approved = service.register(&["projects:read"]).await;
    let waiting = service.open("ada", &approved).await;
    service.send(waiting.post(&approved.path(), &APPROVE)).await;
    let list = service.send(browse("ada", "/sessions")).await.form("ada");
    let sessions = || "/sessions".to_owned();
    vec![
        ("approve", pending.path(), form.post(&pending.path(), &APPROVE)),
        ("deny", pending.path(), form.post(&pending.path(), &[("decision", "deny")])),
        ("revoke", sessions(), list.post("/sessions", &[("decision", "revoke"), ("session", &id)])),
        ("revoke all", sessions(), list.post("/sessions", &[("decision", "revoke_all")])),
        ("release", pending.path(), form.post(&pending.path(), &[("decision", "release")])),
        ("take back", approved.path(), waiting.post(&approved.path(), &[("decision", "take_back")])),
        (
            "take back from the list",
            sessions(),
            list.post("/sessions", &[("decision", "take_back"), ("request", &approved.id)]),
        ),
    ]
}

#[tokio::test]
async fn a4_no_page_says_that_nothing_was_changed_when_the_store_fails() {
    for fault in [Fault::Unavailable, Fault::AnswerLost, Fault::AnswersLost] {
        for index in 0..forms(&quiet()).await.len() {
            let mut in_doubt = 0;
            for call in 0..5 {
                let service = quiet();
                let (what, path, request) = forms(&service).await.remove(index);
                let writes = service.store.writes();
                service.store.break_after(call, fault);
                let answer = service.send(request).await;
                let written = service.store.writes() > writes;
                let what = format!("{what}, {fault:?} at call {call}");
                if answer.status == StatusCode::SEE_OTHER {
                    continue;
                }
                assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
                assert!(!answer.text.contains("Nothing was"), "{what}: {}", answer.text);
                let doubts = answer.text.contains("can’t tell whether this was saved");
                assert_eq!(doubts, written, "{what}: {}", answer.text);
                let way_to_find_out = format!("href=\"{path}\"");
                assert!(answer.text.replace("&#x2f;", "/").contains(&way_to_find_out), "{what}");
                in_doubt += usize::from(doubts);
            }
            assert!(in_doubt > 0 || fault == Fault::AnswerLost, "{fault:?} {index}");
        }
    }
}

#[tokio::test]
async fn a1_a_decision_is_repeated_by_its_account_and_contradicted_by_nobody() {
    for (decision, other) in [("approve", "deny"), ("deny", "approve")] {
        let service = quiet();
        let pending = service.register(&["projects:read"]).await;
        let form = service.open("ada", &pending).await;
        let fields = [("decision", decision), ("scope", "projects:read")];
        for _ in 0..3 {
            let answer = service.send(form.post(&pending.path(), &fields)).await;
            assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, pending.path().as_str()));
        }
        let contrary = [("decision", other), ("scope", "projects:read")];
        assert_eq!(service.send(form.post(&pending.path(), &contrary)).await.status, StatusCode::CONFLICT);
        let decided = if decision == "approve" { "approved" } else { "denied" };
        assert_eq!(status_of(&service, &pending).await, decided);
        assert_eq!(service.audit.names(), ["requested", "viewed", decided]);
    }
}

#[tokio::test]
async fn a6_the_browser_that_opened_a_request_releases_it_and_nobody_else_does() {
    for switches in [true, false] {
        let service = quiet();
        service.accounts.switches.store(switches, Ordering::SeqCst);
        let pending = service.register(&["projects:read"]).await;
        let page = service.send(browse("eve", &pending.path())).await;
        let form = page.form("eve");
        let (offer, advice) = ("Use another account", "Sign out, sign in with the right account");
        assert_eq!((page.text.contains(offer), page.text.contains(advice)), (switches, !switches));
        // Another browser of the same account did not open it.
        let elsewhere = service.send(browse("eve", &pending.path())).await;
        assert!(!elsewhere.text.contains(offer) && !elsewhere.text.contains(advice));
        let elsewhere = elsewhere.form("eve");
        for decision in ["switch", "release"] {
            let refused = service.send(elsewhere.post(&pending.path(), &[("decision", decision)])).await;
            assert_eq!(refused.status, StatusCode::CONFLICT, "{decision}");
        }
        assert_eq!(service.send(browse("bob", &pending.path())).await.status, StatusCode::CONFLICT);
        // The one that did lets go, once, however often it is asked.
        let back = if switches { "/switch?next=" } else { "/login?next=" };
        for _ in 0..3 {
            let released = service.send(form.post(&pending.path(), &[("decision", "switch")])).await;
            assert_eq!(released.goes_on_to(), format!("{back}{}", pending.path()));
        }
        assert_eq!(service.audit.names(), ["requested", "viewed", "released"]);
        let bob = service.open("bob", &pending).await;
        // What bob has opened since, eve can neither release nor decide.
        assert_eq!(service.send(browse("eve", &pending.path())).await.status, StatusCode::CONFLICT);
        for fields in [vec![("decision", "switch")], APPROVE.to_vec(), vec![("decision", "deny")]] {
            let refused = service.send(form.post(&pending.path(), &fields)).await;
            assert_eq!(refused.status, StatusCode::CONFLICT, "{fields:?}");
        }
        service.send(bob.post(&pending.path(), &APPROVE)).await;
        assert_eq!(service.complete(&pending).await.json["account"]["id"], "acct_bob");
        // What is decided is not released.
        let late = service.send(bob.post(&pending.path(), &[("decision", "switch")])).await;
        assert_eq!(late.status, StatusCode::CONFLICT);
    }
}

#[tokio::test]
async fn a6_whoever_signs_in_as_another_in_that_browser_may_use_that_account_instead() {
    let service = quiet();
    let pending = service.register(&["projects:read"]).await;
    let form = service.open("eve", &pending).await;
    let in_this_browser = |login: &str| {
        let cookie = format!("user=bob; login={login}; {}", form.cookie);
        Request::get(pending.path()).header("cookie", cookie).body(Body::empty()).unwrap()
    };
    let page = service.send(in_this_browser("x")).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.text.contains("Use this account instead") && !page.text.contains("eve@"), "{}", page.text);
    let csrf = between(&page.text, "name=\"csrf\" value=\"", "\"").to_owned();
    let bob = Form { human: "bob".into(), csrf, cookie: format!("login=x; {}", form.cookie) };
    let released = service.send(bob.post(&pending.path(), &[("decision", "release")])).await;
    assert_eq!((released.status, released.header("location")), (StatusCode::SEE_OTHER, pending.path().as_str()));
    assert_eq!(service.send(in_this_browser("x")).await.status, StatusCode::OK);
    let bound = service.audit.events();
    let owner = bound.iter().filter_map(|event| match event {
        Event::Viewed { account, .. } => Some(account.to_string()),
        _ => None,
    });
    assert_eq!(owner.collect::<Vec<_>>(), ["acct_eve", "acct_bob"]);
    // An expired request is not offered.
    let old = service.register(&["projects:read"]).await;
    service.open("eve", &old).await;
    service.clock.advance(std::time::Duration::from_secs(600));
    assert!(!service.send(browse("bob", &old.path())).await.text.contains("Use this account"));
}

fn unticked(page: &Answer, scope: &str) -> bool {
    let box_of = |suffix: &str| format!("name=\"scope\" value=\"{scope}\"{suffix}>");
    let (ticked, unticked) = (page.text.contains(&box_of(" checked")), page.text.contains(&box_of("")));
    assert!(ticked != unticked, "{scope} in {}", page.text);
    unticked
}

#[tokio::test]
async fn a9_the_narrowing_survives_a_new_sign_in_and_never_widens() {
    let service = quiet();
    let pending = service.register(&["projects:read", "projects:write", "experiments:read"]).await;
    *service.accounts.since.lock().unwrap() = Some(service.auth.ceremony().unwrap().now());
    let form = service.open("ada", &pending).await;
    service.clock.advance(std::time::Duration::from_secs(300));
    *service.accounts.since.lock().unwrap() = Some(START.before(std::time::Duration::from_secs(3_600)));
    let fields = [("decision", "approve"), ("scope", "projects:read"), ("scope", "experiments:read")];
    let too_old = service.send(form.post(&pending.path(), &fields)).await;
    let mut signed_out = form.post(&pending.path(), &fields);
    signed_out.headers_mut().insert("cookie", form.cookie.parse().unwrap());
    let signed_out = service.send(signed_out).await;
    for (answer, to) in [(too_old, "/step-up?next="), (signed_out, "/login?next=")] {
        let return_to = answer.goes_on_to().strip_prefix(to).unwrap().to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_?=".contains(&byte);
        assert!(return_to.bytes().all(plain), "{return_to} needs escaping");
        // Still too old, or signed out: it is passed on.
        let mut nobody = Request::get(&return_to).body(Body::empty()).unwrap();
        nobody.headers_mut().insert("cookie", form.cookie.parse().unwrap());
        for request in [browse_again(&form, &return_to), nobody] {
            let again = service.send(request).await;
            assert!(again.header("location").ends_with(&format!("next={return_to}")), "{:?}", again.headers);
        }
        let now = service.auth.ceremony().unwrap().now();
        let before = service.accounts.since.lock().unwrap().replace(now);
        let page = service.send(browse_again(&form, &return_to)).await;
        let boxes = ["projects:read", "projects:write", "experiments:read"].map(|scope| unticked(&page, scope));
        assert_eq!(boxes, [false, true, false]);
        // It is nothing for another request, nor in another browser.
        let query = return_to.split_once('?').unwrap().1;
        let other = service.register(&["projects:read", "projects:write"]).await;
        let page = service.send(browse_again(&form, &format!("{}?{query}", other.path()))).await;
        assert!(!unticked(&page, "projects:write"));
        let page = service.send(browse("ada", &return_to)).await;
        assert!(!unticked(&page, "projects:write"));
        *service.accounts.since.lock().unwrap() = before;
    }
    *service.accounts.since.lock().unwrap() = None;
    // Whatever a link says, only what was requested has a box, and what is ticked is what the page proposes.
    for forged in ["analytics:read projects:read", "projects:read *", "", "nonsense nonsense", "projects:read\0"] {
        let kept = data_encoding::BASE64URL_NOPAD.encode(forged.as_bytes());
        let page = service.send(browse("ada", &format!("{}?ticked={kept}", pending.path()))).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.text.contains("value=\"analytics:read\"") && !page.text.contains("value=\"*\""));
        assert_eq!(page.text.matches("name=\"scope\"").count(), 3);
        let boxes = ["projects:read", "projects:write", "experiments:read"].map(|scope| unticked(&page, scope));
        assert_eq!(boxes, [false; 3], "a link ticks and unticks nothing");
    }
    for garbage in ["%", "%ff%fe", "=", "a=b&ticked=x", "////"] {
        let Ok(request) = Request::get(format!("{}?ticked={garbage}", pending.path())).body(Body::empty()) else {
            continue;
        };
        assert!(service.send(request).await.status.is_redirection(), "{garbage}");
    }
}

#[tokio::test]
async fn a10_a_press_that_comes_before_anybody_can_read_approves_nothing() {
    const WAIT: std::time::Duration = std::time::Duration::from_millis(600);
    let service = Service::with(config().no_limits().limits(|limits| limits.approve_after = WAIT));
    let pending = service.register(&["projects:read", "projects:write"]).await;
    let form = service.open("ada", &pending).await;
    for millis in [0, 260, 339] {
        service.clock.advance(std::time::Duration::from_millis(millis));
        let early = service.send(form.post(&pending.path(), &APPROVE)).await;
        assert_eq!(early.status, StatusCode::BAD_REQUEST, "after {millis} more");
        assert!(early.text.contains("did not count") && early.text.contains("value=\"approve\""), "{}", early.text);
        assert_eq!((unticked(&early, "projects:read"), unticked(&early, "projects:write")), (false, true));
        assert_eq!(status_of(&service, &pending).await, "pending");
    }
    // A form can't be made to look older than it is, and one of another process with a clock behind must wait too.
    let (made_at, mac) = form.csrf.split_once('.').unwrap();
    let made_at: i64 = made_at.parse().unwrap();
    for forged in [format!("{}.{mac}", made_at - 600), format!("-{made_at}.{mac}"), mac.to_owned(), format!(".{mac}")] {
        let forged = service.send(Form { csrf: forged, ..form.clone() }.post(&pending.path(), &APPROVE)).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN);
    }
    let behind = Service::on(config().limits(|limits| limits.approve_after = WAIT), service.store.clone());
    assert_eq!(behind.send(form.post(&pending.path(), &APPROVE)).await.status, StatusCode::BAD_REQUEST);
    service.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(service.send(form.post(&pending.path(), &APPROVE)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(status_of(&service, &pending).await, "approved");
    // To deny, nobody has to wait.
    let denied = service.register(&["projects:read"]).await;
    let form = service.open("ada", &denied).await;
    let answer = service.send(form.post(&denied.path(), &[("decision", "deny")])).await;
    assert_eq!((answer.status, status_of(&service, &denied).await), (StatusCode::SEE_OTHER, "denied".into()));
}

#[tokio::test]
async fn a3_what_is_approved_and_not_collected_is_listed_and_taken_back() {
    for way in ["the list", "the page", "all at once"] {
        let service = quiet();
        let pending = service.register(&["projects:read"]).await;
        let form = service.open("ada", &pending).await;
        service.send(form.post(&pending.path(), &APPROVE)).await;
        let page = service.send(browse_again(&form, &pending.path())).await;
        assert!(page.text.contains("value=\"take_back\""), "{}", page.text);
        let list = service.send(browse("ada", "/sessions")).await;
        for needed in ["not collected yet", "Example Agent", "See your projects", "value=\"take_back\"", "confirm=all"]
        {
            assert!(list.text.contains(needed), "{needed} in {}", list.text);
        }
        assert!(!list.text.contains("No agent has access"));
        assert!(!service.send(browse("bob", "/sessions")).await.text.contains("Example Agent"));
        let listed = list.form("ada");
        let request = match way {
            "the list" => listed.post("/sessions", &[("decision", "take_back"), ("request", &pending.id)]),
            "the page" => form.post(&pending.path(), &[("decision", "take_back")]),
            _ => listed.post("/sessions", &[("decision", "revoke_all")]),
        };
        assert_eq!(service.send(request).await.status, StatusCode::SEE_OTHER, "{way}");
        assert_eq!(service.complete(&pending).await.error(), "access_denied", "{way}");
        let list = service.send(browse("ada", "/sessions")).await;
        assert!(list.text.contains("No agent has access"), "{way}: {}", list.text);
        assert!(service.send(browse_again(&form, &pending.path())).await.text.contains("Taken back"), "{way}");
        // It stays taken back, whatever form is sent again.
        assert_eq!(service.send(form.post(&pending.path(), &APPROVE)).await.status, StatusCode::CONFLICT, "{way}");
        if way != "all at once" {
            assert_eq!(service.audit.names(), ["requested", "viewed", "approved", "taken_back"], "{way}");
        }
    }
    // What the agent has collected is not taken back, but revoked.
    let service = quiet();
    let pending = service.register(&["projects:read"]).await;
    service.approve("ada", &pending, &["projects:read"]).await;
    let list = service.send(browse("ada", "/sessions")).await.form("ada");
    // Another account takes nothing back.
    service.session("bob", &["projects:read"]).await;
    let bobs = service.send(browse("bob", "/sessions")).await.form("bob");
    let foreign = service.send(bobs.post("/sessions", &[("decision", "take_back"), ("request", &pending.id)])).await;
    assert!(foreign.header("location").contains("done=gone"));
    let token = service.complete(&pending).await.json["access_token"].as_str().unwrap().to_owned();
    let late = service.send(list.post("/sessions", &[("decision", "take_back"), ("request", &pending.id)])).await;
    assert!(late.header("location").contains("done=gone"));
    assert_eq!(service.get_as("/projects", &token).await.status, StatusCode::OK);
    for bad in [vec![("decision", "take_back")], vec![("decision", "take_back"), ("request", "' OR 1=1")]] {
        assert_eq!(service.send(list.post("/sessions", &bad)).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a11_what_was_done_is_told_by_what_was_done() {
    let service = quiet();
    let session = service.session("ada", &["projects:read"]).await;
    let id = session.json["session_id"].as_str().unwrap();
    let page = service.send(browse("ada", "/sessions")).await;
    let form = page.form("ada");
    let said = ["Session revoked", "All sessions revoked", "had ended already", "Taken back"];
    let says = async |request: Request<Body>| {
        let text = service.send(request).await.text;
        said.into_iter().filter(|said| text.contains(said)).collect::<Vec<_>>()
    };
    let mac = "0".repeat(64);
    for forged in [
        "/sessions?done=revoked_all",
        "/sessions?done=revoked",
        "/sessions?done=gone&proof=",
        &format!("/sessions?done=revoked_all&proof={}.{mac}", START.as_millis()),
        // The token of a form proves nothing else.
        &format!("/sessions?done=revoked_all&proof={}", form.csrf),
    ] {
        assert_eq!(says(browse_again(&form, forged)).await, [""; 0], "{forged}");
    }
    let done = service.send(form.post("/sessions", &[("decision", "revoke"), ("session", id)])).await;
    let location = done.header("location").to_owned();
    assert_eq!(says(browse_again(&form, &location)).await, ["Session revoked"]);
    // Not for another deed, in another browser, for another account, or later.
    assert_eq!(says(browse_again(&form, &location.replace("=revoked&", "=revoked_all&"))).await, [""; 0]);
    assert_eq!(says(browse("ada", &location)).await, [""; 0]);
    let bob = Form { human: "bob".into(), ..form.clone() };
    assert_eq!(says(browse_again(&bob, &location)).await, [""; 0]);
    service.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(says(browse_again(&form, &location)).await, [""; 0]);
    let all = service.send(form.post("/sessions", &[("decision", "revoke_all")])).await;
    assert_eq!(says(browse_again(&form, all.header("location"))).await, ["All sessions revoked"]);
}

#[tokio::test]
async fn a2_the_pages_say_what_each_scope_gives() {
    let service = quiet();
    let pending = service.register(&["experiments:write", "experiments:read", "projects:read"]).await;
    let page = service.send(browse("ada", &pending.path())).await;
    assert_eq!(page.text.matches("Gives as well").count(), 1);
    let row = |scope: &str| between(&page.text, &format!("value=\"{scope}\""), "</label>").to_owned();
    let (write, read) = (row("experiments:write"), row("experiments:read"));
    assert!(write.contains("data-gives=\"experiments:read\"") && write.contains("See your experiments"), "{write}");
    assert!(read.contains("experiments:write") && !read.contains("data-gives"), "{read}");
    assert!(!row("projects:read").contains("gives"));
    // Read is left out, and given all the same: every page says so.
    let form = page.form("ada");
    let fields = [("decision", "approve"), ("scope", "experiments:write")];
    service.send(form.post(&pending.path(), &fields)).await;
    for path in [pending.path(), "/sessions".into()] {
        let text = service.send(browse("ada", &path)).await.text;
        assert!(text.contains("See your experiments") && !text.contains("See your projects"), "{path}: {text}");
    }
    let token = service.complete(&pending).await.json["access_token"].as_str().unwrap().to_owned();
    assert_eq!(service.get_as("/experiments", &token).await.status, StatusCode::OK);
    for path in [pending.path(), "/sessions".into()] {
        let text = service.send(browse("ada", &path)).await.text;
        assert!(text.contains("See your experiments") && !text.contains("See your projects"), "{path}: {text}");
    }
    // Over several steps, and also where only the giver was asked for.
    let steps = config().no_limits().scope("all", "Do everything", |scope| scope.implies("experiments:write"));
    let service = Service::with(steps);
    let pending = service.register(&["all"]).await;
    let page = service.send(browse("ada", &pending.path())).await;
    assert!(page.text.contains("data-gives=\"experiments:read experiments:write\""), "{}", page.text);
    assert!(page.text.contains("See your experiments") && page.text.contains("Create and change experiments"));
    assert_eq!(page.text.matches("name=\"scope\"").count(), 1, "nothing has a box that was not asked for");
}

#[tokio::test]
async fn a8_what_stays_with_the_human_comes_from_the_configuration() {
    let shown = async |config: tower_agent_auth::ConfigBuilder| {
        let service = Service::with(config.no_limits());
        let pending = service.register(&[]).await;
        let page = service.send(browse("ada", &pending.path())).await.text;
        (page, service.get("/auth.md").await.text)
    };
    let (page, auth_md) = shown(config()).await;
    for text in [&page, &auth_md] {
        for thing in ["billing", "Billing", "API keys", "deletion"] {
            assert!(!text.contains(thing), "{thing}: this service has no such thing");
        }
    }
    let (page, auth_md) = shown(config().owner_only("payroll").owner_only("the board's minutes")).await;
    assert!(page.contains("<li>payroll</li>") && page.contains("<li>the board&#x27;s minutes</li>"), "{page}");
    assert!(auth_md.contains("No scope gives these: payroll, the board's minutes."), "{auth_md}");
    for bad in ["", " ", "a<b>", "two\nlines", &"x".repeat(65)] {
        let error = config().owner_only(bad).build().unwrap_err();
        assert_eq!(error.problems()[0].field, "owner_only", "{bad:?}");
    }
    let read = tower_agent_auth::Config::from_json(
        r#"{ "resource": "https://api.example.com", "name": "x", "owner_only": ["payroll"],
            "scopes": [{ "name": "a", "description": "A" }] }"#,
    );
    assert_eq!(read.unwrap().owner_only(), ["payroll"]);
}

#[tokio::test]
async fn a14_only_danger_is_a_warning_and_one_network_is_one_place() {
    let page = async |name: &str, agent: &str, browser: &str| {
        let service = quiet();
        let body = json!({ "type": "user_claimed", "client_name": name }).to_string();
        let registered = service.send(from_address(json_request("/agent/auth", &body), agent)).await;
        let path = registered.json["claim_url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap().to_owned();
        service.send(from_address(browse("ada", &path), browser)).await.text
    };
    let warned = |page: &str| page.contains("class=\"warnings\"");
    let far = "Not your network";
    // A first-timer is told so, without an alarm.
    let first = page("Example Agent", "192.0.2.7", "192.0.2.7").await;
    assert!(first.contains("You have never let an agent use this account") && !warned(&first));
    for (agent, browser, differs) in [
        ("192.0.2.7", "192.0.2.8", true),
        ("192.0.2.7", "::ffff:192.0.2.7", false),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", false),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", true),
        ("2001:db8::1", "192.0.2.7", true),
    ] {
        let page = page("Example Agent", agent, browser).await;
        assert_eq!(page.contains(far), differs, "{agent} {browser}");
        assert!(!warned(&page), "{agent} {browser}: common, and no danger");
    }
    let spoof = page("Example Analytics support", "192.0.2.7", "192.0.2.7").await;
    assert!(warned(&spoof), "{spoof}");
}

/// Whose metadata document a client's id is stands beside the name of its sessions, and of what it has not collected.
#[tokio::test]
async fn the_host_of_a_metadata_document_stands_beside_the_name() {
    use tower_agent_auth::{
        accounts::SignedIn,
        ceremony::{Decision, Request as AccessRequest},
        types::{id::ClientId, session::Redeemer, text::HumanText},
    };
    for (id, shown) in [
        (Some("https://agent.example:8443/client.json"), Some("agent.example")),
        (Some("https://agent.example@evil.example/client.json"), None),
        (Some("<script>alert(1)</script>"), None),
        (Some("agent-7"), None),
        (None, None),
    ] {
        let service = Service::new();
        let ceremony = service.auth.ceremony().unwrap();
        let human = SignedIn::new(account("ada"), "browser");
        for collects in [true, false] {
            let id = id.map(|id| ClientId::new(id).unwrap());
            let request = AccessRequest::by(HumanText::new("Example Agent").unwrap()).client_id(id);
            let asked = ceremony.request(request).await.unwrap();
            ceremony.view(&asked.authorization.id, &human).await.unwrap();
            let approve = Decision::Approve(asked.authorization.requested.clone().into());
            ceremony.decide(&asked.authorization.id, &human, approve).await.unwrap();
            if collects {
                ceremony.redeem(asked.claim_token.expose(), &Redeemer::default()).await.unwrap();
            }
        }
        let page = service.send(browse("ada", "/sessions")).await.text;
        let host = shown.map(|host| format!(" <span class=\"soft small\"><bdi>{host}</bdi></span>"));
        let expected = format!("“Example Agent”{}", host.unwrap_or_default());
        assert_eq!(between(&page, "<h3>", "</h3>"), expected, "{id:?}, not collected");
        assert_eq!(between(&page, "<h2 id=\"g1\">", " <span class=\"count\">"), expected, "{id:?}");
        assert!(!page.contains("client.json") && !page.contains("<script>alert") && !page.contains("agent-7"));
    }
}

/// The ids of the messages in one of our languages.
fn message_ids(language: &str) -> Vec<String> {
    let source = std::fs::read_to_string(format!("src/pages/words/{language}.ftl")).unwrap();
    let first = |line: &str| line.starts_with(|character: char| character.is_ascii_lowercase());
    source.lines().filter(|line| first(line)).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// The text after an opening bracket, up to its closing one, split at the commas between arguments.
fn arguments(source: &str) -> Vec<&str> {
    let (mut depth, mut is_text, mut start, mut found) = (0, false, 0, Vec::new());
    for (at, character) in source.char_indices() {
        match character {
            '"' => is_text = !is_text,
            _ if is_text => (),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                found.push(source[start..at].trim());
                start = at + 1;
            }
            ')' | ']' | '}' => {
                found.push(source[start..at].trim());
                break;
            }
            _ => (),
        }
    }
    found
}

/// The texts between double quotation marks.
fn literals(source: &str) -> impl Iterator<Item = &str> {
    source.split('"').skip(1).step_by(2)
}

/// What the templates and the code say: ids, beginnings of ids that a value completes, and words in the code that may be
/// ids.
fn said() -> (Vec<(String, String)>, Vec<String>, Vec<String>) {
    let (mut ids, mut beginnings, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
    for entry in std::fs::read_dir("src/pages/templates").unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let mut say = |id: &str| ids.push((id.to_owned(), path.display().to_string()));
        for (at, call) in source.match_indices("words(") {
            let id = arguments(&source[at + call.len()..])[0];
            if id.contains('~') {
                beginnings.extend(literals(id).map(str::to_owned));
            } else {
                // A condition compares with no text.
                literals(id).for_each(&mut say);
            }
        }
        // A macro that says the term that it is called with.
        for (at, start) in source.match_indices("{% macro ") {
            let (name, parameters) = source[at + start.len()..].split_once('(').unwrap();
            if arguments(parameters)[0] == "term" {
                let call = format!("{{{{ {name}(");
                for (at, _) in source.match_indices(&call) {
                    literals(arguments(&source[at + call.len()..])[0]).for_each(&mut say);
                }
            }
        }
        // Pairs of an id and a value, each said in a loop.
        for (at, list) in source.match_indices("in [(\"") {
            let rest = &source[at + list.len() - 2..];
            arguments(rest).iter().for_each(|pair| say(literals(pair).next().unwrap()));
        }
    }
    for entry in std::fs::read_dir("src/pages").unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_str().unwrap();
        // These say nothing, and have other texts with hyphens.
        if path.is_dir() || ["render", "samples"].contains(&file) {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let mut say = |id: &str| ids.push((id.to_owned(), file.to_owned()));
        let calls = [
            ("say(", 0),
            ("message(", 1),
            ("link(", 1),
            ("fact(", 0),
            ("instant(", 0),
            ("told(", 2),
            ("action(", 1),
            ("ask_again(", 0),
        ];
        for (call, position) in calls {
            for (at, _) in code.match_indices(call) {
                let id = arguments(&code[at + call.len()..]).get(position).copied().unwrap_or_default();
                literals(id).filter(|id| !id.contains('{')).for_each(&mut say);
            }
        }
        // An id that is chosen first, beside a tone or in two words.
        for (at, tone) in code.match_indices("Tone::") {
            let mut after = code[at + tone.len()..].split(", ");
            if let Some(id) = after.nth(1).and_then(|next| next.strip_prefix('"')) {
                say(id.split('"').next().unwrap());
            }
        }
        for before in ["=> \"", "else { \""] {
            let after = code.match_indices(before).map(|(at, _)| &code[at + before.len()..]);
            chosen.extend(after.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
        let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        for literal in literals(&code).filter(|text| text.contains('-') && text.split('-').all(word)) {
            if literal != "sec-purpose" {
                say(literal);
            }
        }
        if file == "words" {
            ["days", "hours", "minutes", "seconds"].iter().for_each(|id| {
                assert!(code.contains(&format!("\"{id}\"")));
                say(id);
            });
        }
    }
    (ids, beginnings, chosen)
}

#[test]
fn the_pages_say_all_messages_that_there_are_and_no_other() {
    let known = message_ids("en");
    let (said, beginnings, chosen) = said();
    assert!(said.len() > 200, "{}", said.len());
    for (id, place) in &said {
        assert!(known.contains(id), "{place} says {id:?}, which is no message");
    }
    // The values that complete an id.
    let completed: &[(&str, &[&str])] = &[
        ("effect-", &["see", "change", "spend"]),
        ("state-", &["active", "all", "approved", "ended", "expired", "revoked"]),
        ("user-code-", &["optional", "required"]),
    ];
    let mut whole: Vec<String> = Vec::new();
    for beginning in &beginnings {
        let (_, values) = completed.iter().find(|(known, _)| known == beginning).unwrap();
        whole.extend(values.iter().map(|value| format!("{beginning}{value}")));
    }
    assert!(whole.iter().all(|id| known.contains(id)), "{whole:?}");
    let is_said = |id: &String| whole.contains(id) || chosen.contains(id) || said.iter().any(|(said, _)| said == id);
    let unsaid: Vec<_> = known.iter().filter(|id| !is_said(id)).collect();
    assert!(unsaid.is_empty(), "nothing says {unsaid:?}");
}

/// A host whose human has a name of any characters, and may have chosen a language.
struct Named(&'static str);

impl Accounts for Named {
    async fn current(&self, _: &http::request::Parts) -> Result<Option<SignedIn>, AccountsError> {
        Ok(Some(SignedIn::new(Account::new(AccountId::new("acct_ada").unwrap(), self.0), "browser")))
    }

    fn login_url(&self, return_to: &str) -> String {
        format!("/login?next={return_to}")
    }

    fn language(&self, request: &http::request::Parts) -> Option<String> {
        cookie(&request.headers, "language").map(str::to_owned)
    }

    async fn is_active(&self, _: &AccountId) -> Result<bool, AccountsError> {
        Ok(true)
    }
}

/// A page as it is sent, with the characters that isolate text.
async fn page_in(app: &axum::Router, path: &str, headers: &[(&str, &str)]) -> (http::HeaderMap, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn each_language_has_its_direction_and_keeps_hostile_names_apart() {
    const OVERRIDDEN: &str = "ada\u{202e}moc.live@\u{2069}\u{2066}";
    let auth = AgentAuth::builder(config().no_limits().build().unwrap())
        .sessions(TestStore::default())
        .accounts(Named(OVERRIDDEN))
        .build()
        .unwrap();
    let app = common::app(&auth, &std::sync::Arc::default());
    for name in ["Example Agent", "عميل abc 123!", "שם (Agent)", "Агент Agent"] {
        let body = json!({ "type": "user_claimed", "client_name": name, "label": name, "reason": name });
        let asked = app.clone().oneshot(json_request("/agent/auth", &body.to_string())).await.unwrap();
        let claim_url = Answer::read(asked).await.json["claim_url"].as_str().unwrap().to_owned();
        let path = claim_url.strip_prefix(ORIGIN).unwrap();
        for (language, direction, title) in [
            ("en", "ltr", "Let this agent use your account?"),
            ("de", "ltr", "Darf dieser Agent Ihr Konto nutzen?"),
            ("ar", "rtl", "هل تسمح لهذا الوكيل باستخدام حسابك؟"),
        ] {
            let (headers, page) = page_in(&app, path, &[("accept-language", language)]).await;
            assert_eq!(headers["content-language"], language);
            assert!(page.contains(&format!("<html lang=\"{language}\" dir=\"{direction}\">")), "{page}");
            let title = format!("<title>\u{2068}{title}\u{2069} · \u{2068}Example Analytics\u{2069}</title>");
            assert!(page.contains(&title), "{page}");
            assert!(page.contains("\u{2068}adamoc.live@\u{2069}"), "{page}");
            for (at, _) in page.match_indices(name) {
                let (before, after) = (&page[..at], &page[at + name.len()..]);
                assert!(before.ends_with('\u{2068}') && after.starts_with('\u{2069}'), "{name} in {page}");
            }
            assert!(page.matches(name).count() >= 3, "name, label and reason");
            assert!(!page.contains(|character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}' | '\u{2067}')));
            // What is isolated ends where its text ends.
            let mut depth = 0_i32;
            for character in page.chars() {
                match character {
                    '\u{2068}' => depth += 1,
                    '\u{2069}' => depth -= 1,
                    '<' | '>' => assert_eq!(depth, 0, "{page}"),
                    _ => (),
                }
                assert!(depth >= 0, "{page}");
            }
        }
    }
}

#[tokio::test]
async fn every_page_is_in_the_language_of_its_human() {
    let config = config().no_limits().dialects(&[Dialect::AgentAuth, Dialect::OAuth]);
    let auth = AgentAuth::builder(config.build().unwrap())
        .sessions(TestStore::default())
        .accounts(Named("ada@example.com"))
        .build()
        .unwrap();
    let app = common::app(&auth, &std::sync::Arc::default());
    let unknown = "/agent/auth/approve/reg_unknown";
    for (path, german, arabic) in [
        ("/sessions", "Kein Agent hat Zugang", "لا إذن لدى أي وكيل"),
        (unknown, "Hier gibt es nichts zu entscheiden", "لا شيء هنا ينتظر قرارك"),
        ("/oauth2/device", "Welchen Code zeigt Ihr Gerät?", "ما الرمز الذي يعرضه جهازك؟"),
    ] {
        for (headers, language, needed) in [
            (&[("accept-language", "de-AT,de;q=0.9,en;q=0.5")][..], "de", german),
            (&[("accept-language", "ar-EG")], "ar", arabic),
            (&[("accept-language", "de"), ("cookie", "language=ar")], "ar", arabic),
            (&[("accept-language", "de"), ("cookie", "language=fr")], "de", german),
        ] {
            let (sent, page) = page_in(&app, path, headers).await;
            assert_eq!(sent["content-language"], language, "{path} {headers:?}");
            assert!(page.contains(needed), "{path} {headers:?} {page}");
        }
        let (sent, _) = page_in(&app, path, &[]).await;
        assert_eq!(sent["content-language"], "en");
    }
}

#[tokio::test]
async fn the_host_has_its_own_words_and_languages() {
    let build = |options: fn(PageOptions) -> PageOptions| {
        let config = config().no_limits().owner_only("the board's minutes");
        let config = config.scope("rockets:start", "Start rockets", |scope| {
            scope.effect(tower_agent_auth::types::scope::Effect::Change).caution("They land somewhere")
        });
        AgentAuth::builder(config.build().unwrap())
            .sessions(TestStore::default())
            .accounts(Named("ada@example.com"))
            .pages(options)
            .build()
    };
    for (options, problem) in [
        ((|pages| pages.languages(["en", "fr"])) as fn(PageOptions) -> PageOptions, "no words in fr"),
        (|pages| pages.words("fr", "approve = Oui\n= Non"), "the words in fr can't be read; line 2: "),
        (|pages| pages.words("f r", "approve = Oui"), "\"f r\" is no language tag"),
    ] {
        let error = build(options).map(|_| ()).unwrap_err();
        assert_eq!(error.problems()[0].field, "pages");
        assert!(error.to_string().contains(problem), "{error}");
    }
    let auth = build(|pages| {
        let texts = "scope-rockets-start = Raketen starten\ncaution-rockets-start = Sie landen irgendwo\n\
                     never-the-board-s-minutes = Protokolle des Vorstands\napprove = Ja, gern";
        pages.words("de", texts).languages(["de", "ar"])
    });
    let app = common::app(&auth.unwrap(), &std::sync::Arc::default());
    let body = json!({ "type": "user_claimed", "client_name": "Example Agent", "requested_scopes": ["rockets:start"] });
    let asked = app.clone().oneshot(json_request("/agent/auth", &body.to_string())).await.unwrap();
    let claim_url = Answer::read(asked).await.json["claim_url"].as_str().unwrap().to_owned();
    let path = claim_url.strip_prefix(ORIGIN).unwrap();
    let (sent, german) = page_in(&app, path, &[("accept-language", "en")]).await;
    assert_eq!(sent["content-language"], "de", "the first of its languages");
    for needed in ["Raketen starten", "Sie landen irgendwo", "Protokolle des Vorstands", ">Ja, gern<", ">Ablehnen<"] {
        assert!(german.contains(needed), "{needed} in {german}");
    }
    let (sent, arabic) = page_in(&app, path, &[("accept-language", "ar")]).await;
    assert_eq!(sent["content-language"], "ar");
    for needed in ["Start rockets", "They land somewhere", "the board&#x27;s minutes", ">موافقة<"] {
        assert!(arabic.contains(needed), "{needed} in {arabic}");
    }
}
