//! The human's side: who may decide, what a page lets through, and what it shows (security rows R52, R53, R56 to R62, R67).
//! What only a browser can show is in `browser.rs`.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

mod common;
use common::{
    Answer, Form, ORIGIN, Pending, Service, TestStore, account, between, browse, config, from_address, json_request,
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
        "at most 90 days",
        "sessions",
        "Example Analytics",
        "another network address",
        "value=\"deny\"",
    ] {
        assert!(before_the_button.contains(needed), "{needed} in\n{before_the_button}");
    }
    assert!(page.text.contains("8 minutes"), "how long is left to decide");
    assert!(!page.text.contains("<script") && !page.text.contains(" style="));
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
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, format!("/login?next={}", pending.path()).as_str())
    );
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
        assert!(answer.text.contains("Nothing was changed"), "{what}");
    }
    assert_eq!(status_of(&service, &pending).await, "pending");
    // What a browser sends for a page that forbids a referrer.
    assert_eq!(service.send(with("origin", "null")).await.status, StatusCode::SEE_OTHER);
    // A decision stands: the same form again changes nothing.
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
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src {nonce}; img-src 'self' https://cdn.example.com; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
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
                !page.text.contains("<script")
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
    for template in ["approval", "base", "message", "sessions"] {
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
        "never",
        "Example Agent",
        "Create and change projects",
    ] {
        assert!(page.text.contains(needed), "{needed} in {}", page.text);
    }
    assert!(!page.text.contains(&text(&bobs, "session_id")));
    let form = page.form("ada");
    let revoke = |id: &str| form.post("/sessions", &[("decision", "revoke"), ("session", id)]);
    let done = service.send(revoke(&text(&first, "session_id"))).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/sessions?done=revoked"));
    assert_eq!((alive(&first).await, alive(&second).await, alive(&third).await), (false, true, true));
    // Of another account, of nobody, or twice: nothing.
    for id in [text(&bobs, "session_id"), format!("ses_{}", "0".repeat(22)), text(&first, "session_id")] {
        assert_eq!(service.send(revoke(&id)).await.header("location"), "/sessions?done=gone");
    }
    assert!(alive(&bobs).await);
    for bad in [
        form.post("/sessions", &[("decision", "revoke")]),
        form.post("/sessions", &[("decision", "x")]),
        revoke("' OR 1=1"),
    ] {
        assert_eq!(service.send(bad).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(service.send(form.post("/sessions", &[("decision", "revoke_all")])).await.status, StatusCode::SEE_OTHER);
    assert_eq!((alive(&second).await, alive(&third).await, alive(&bobs).await), (false, false, true));
    let page = service.send(browse("ada", "/sessions?done=revoked_all")).await;
    assert!(
        page.text.contains("All sessions revoked")
            && page.text.to_lowercase().contains("revoked")
            && !page.text.contains("value=\"revoke_all\"")
    );
}

#[tokio::test]
async fn a_long_list_of_sessions_comes_in_pages() {
    let service = quiet();
    for _ in 0..51 {
        service.session("ada", &["projects:read"]).await;
    }
    let first = service.send(browse("ada", "/sessions")).await;
    let ids = |page: &Answer| page.text.matches("name=\"session\" value=\"ses_").count();
    assert_eq!(ids(&first), 50);
    let next = between(&first.text, "?after=", "\"").to_owned();
    let second = service.send(browse("ada", &format!("/sessions?after={next}"))).await;
    assert_eq!(ids(&second), 1);
    assert!(!second.text.contains("?after="));
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
