//! The example `beside`, whole: an agent asks, its human signs in with axum-login and approves, and all the while API
//! keys, JWT and cookies pass.

use std::time::Duration;

use axum::{Router, body::Body};
use http::{HeaderValue, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_agent_auth::testing::{self, ManualClock};

use super::{
    challenges,
    common::{Answer, START, between},
};

#[allow(dead_code, reason = "a test uses a part of the example")]
#[path = "../../examples/beside.rs"]
mod beside;

const URL: &str = "http://localhost:3000";
const REFUSED: [&str; 2] = [
    r#"Bearer resource_metadata="http://localhost:3000/.well-known/oauth-protected-resource", scope="projects:read""#,
    r#"Bearer realm="projects""#,
];

/// Sends requests to the example.
struct Client {
    app: Router,
}

impl Client {
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        Answer::read(self.app.clone().oneshot(request).await.unwrap()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, String::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// What a browser sends when a form of the service itself is submitted.
    async fn submit(&self, path: &str, cookies: &str, site: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let origin = if site == "same-origin" { URL } else { "https://evil.example" };
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("cookie", cookies),
            ("origin", origin),
            ("sec-fetch-site", site),
        ];
        self.send(Method::POST, path, &headers, body).await
    }

    /// Every caller of the service's own passes on every route.
    async fn own_callers_pass(&self, jwt: &str, cookie: &str) {
        let jwt = format!("Bearer {jwt}");
        let own = [("key", "x-api-key", beside::API_KEY), ("jwt", "authorization", &jwt), ("cookie", "cookie", cookie)];
        for (by, name, value) in own.into_iter().filter(|(.., value)| !value.ends_with(' ') && !value.is_empty()) {
            for (method, path) in [(Method::GET, "/projects"), (Method::POST, "/projects"), (Method::GET, "/billing")] {
                let answer = self.send(method, path, &[(name, value)], String::new()).await;
                assert_eq!(
                    (answer.status, &answer.json["by"]),
                    (StatusCode::OK, &json!(by)),
                    "{path}: {}",
                    answer.text
                );
                assert_eq!(answer.json["of"], "u1");
            }
        }
    }
}

fn cookie_of(answer: &Answer) -> String {
    let lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let pairs: Vec<&str> = lines.map(|line| line.split(';').next().unwrap()).collect();
    pairs.join("; ")
}

#[tokio::test]
async fn g2_r129_r130_an_agent_is_let_in_beside_keys_jwt_and_cookies() {
    let clock = ManualClock::at(START);
    let (auth, app) = beside::app(URL, clock.clone()).unwrap();
    let client = Client { app: app.clone() };
    client.own_callers_pass("", "").await;

    // The agent is refused, and finds out where to ask.
    let refused = client.get("/projects", &[]).await;
    assert_eq!(
        (refused.status, challenges(&refused.headers)),
        (StatusCode::UNAUTHORIZED, REFUSED.map(Into::into).into())
    );
    let metadata = client.get("/.well-known/oauth-protected-resource", &[]).await;
    assert_eq!(metadata.json["resource"], URL);
    let asked = json!({ "type": "user_claimed", "client_name": "Agent", "requested_scopes": ["projects:read"] });
    let asked = client.post("/agent/auth", &asked).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.text);
    let page = asked.json["claim_url"].as_str().unwrap().strip_prefix(URL).unwrap().to_owned();

    // Its human follows the link, signs in, and comes back to the page.
    let sent_away = client.get(&page, &[]).await;
    let login = sent_away.header("location").to_owned();
    assert!(sent_away.status.is_redirection() && login.starts_with("/login?next="), "{login}");
    let form = client.get(&login, &[]).await;
    let next = between(&form.text, r#"name="next" type="hidden" value=""#, "\"").to_owned();
    let fields = |password| [("email", beside::EMAIL), ("password", password), ("next", &*next)];
    let wrong = client.submit("/login", "", "same-origin", &fields("guess")).await;
    assert_eq!((wrong.status, cookie_of(&wrong)), (StatusCode::UNAUTHORIZED, String::new()));
    let foreign = client.submit("/login", "", "cross-site", &fields(beside::PASSWORD)).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let signed_in = client.submit("/login", "", "same-origin", &fields(beside::PASSWORD)).await;
    assert_eq!((signed_in.status, signed_in.header("location")), (StatusCode::SEE_OTHER, &*page));
    let cookie = cookie_of(&signed_in);
    let jwt = client.submit("/token", &cookie, "same-origin", &[]).await;
    assert_eq!((jwt.status, jwt.text.split('.').count()), (StatusCode::OK, 3));
    let jwt = jwt.text;
    client.own_callers_pass(&jwt, &cookie).await;

    // They approve.
    let shown = client.get(&page, &[("cookie", &cookie)]).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    assert!(shown.text.contains(beside::EMAIL));
    let csrf = between(&shown.text, "name=\"csrf\" value=\"", "\"").to_owned();
    clock.advance(Duration::from_secs(2));
    let cookies = format!("{cookie}; {}", cookie_of(&shown));
    let decision = [("csrf", &*csrf), ("decision", "approve"), ("scope", "projects:read")];
    let approved = client.submit(&page, &cookies, "same-origin", &decision).await;
    assert_eq!(approved.status, StatusCode::SEE_OTHER, "{}", approved.text);
    client.own_callers_pass(&jwt, &cookie).await;

    // The agent passes by its scopes, whatever it sends beside its token.
    let collected =
        client.post("/agent/auth/claim/complete", &json!({ "claim_token": asked.json["claim_token"] })).await;
    let token = format!("Bearer {}", collected.json["access_token"].as_str().unwrap());
    let agent = ("authorization", &*token);
    for beside in [vec![agent], vec![agent, ("cookie", &cookie)], vec![agent, ("x-api-key", beside::API_KEY)]] {
        let answer = client.get("/projects", &beside).await;
        assert_eq!(answer.json, json!({ "projects": [], "of": "u1", "by": "agent" }), "{}", answer.text);
        let post = async |path| client.send(Method::POST, path, &beside, String::new()).await;
        assert_eq!(post("/projects").await.error(), "insufficient_scope");
        assert_eq!(post("/token").await.error(), "owner_only");
        assert_eq!(client.get("/billing", &beside).await.error(), "owner_only");
    }
    client.own_callers_pass(&jwt, &cookie).await;

    // A revoked agent is nobody, though its human is signed in.
    let revoked = client.send(Method::POST, "/agent/auth/revoke", &[agent], String::new()).await;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text);
    assert_eq!(client.get("/projects", &[agent, ("cookie", &cookie)]).await.error(), "invalid_token");
    client.own_callers_pass(&jwt, &cookie).await;

    // Other keys, a forged JWT and a stale cookie are the service's to refuse.
    let forged = format!("Bearer {}x", &jwt[..jwt.len() - 1]);
    for own in [("x-api-key", "key_other"), ("authorization", &*forged), ("cookie", "id=AAAAAAAAAAAAAAAAAAAAAA")] {
        let answer = client.get("/projects", &[own]).await;
        assert_eq!(
            (answer.status, challenges(&answer.headers)),
            (StatusCode::UNAUTHORIZED, REFUSED.map(Into::into).into())
        );
    }

    let issued = testing::session(&auth).account("u1").scopes("projects:read").issue().await;
    let check = testing::check(&auth, app).protected("/projects").owner_only("/billing").owner_only("POST /token");
    let report = check.session(&issued).run().await;
    assert!(report.is_ok(), "{report}");
}
