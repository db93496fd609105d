//! The dialect `oauth` on every store: races of which one may win, and what must fail.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tower_agent_auth::{
    ConfigBuilder,
    store::{CeremonyStore, MemoryStore},
    types::clock::ManualClock,
};

mod common;
#[path = "common/places.rs"]
mod places;

use common::{
    Answer, Form, START, Service, TestStore, account, browse, browse_again,
    oauth::{
        Login, REDIRECT, VERIFIER, challenge, form, oauth, parameter, start_device, text, token, type_code, works,
    },
    race,
};
use places::{Prefix, Schema, TempFile};

/// Longer than the time in which a request that was sent twice is no replay.
const GRACE: Duration = Duration::from_secs(11);
const SCOPES: [(&str, &str); 3] = [("decision", "approve"), ("scope", "projects:read"), ("scope", "analytics:read")];

fn settings() -> ConfigBuilder {
    oauth().no_limits().lifetimes(|lifetimes| lifetimes.refresh_grace = Duration::from_secs(10))
}

/// How much a store holds.
trait Contents {
    async fn size(&self) -> usize;
}

impl Contents for MemoryStore {
    async fn size(&self) -> usize {
        format!("{self:?}").len()
    }
}

impl Contents for TempFile {
    async fn size(&self) -> usize {
        let mut file = SqliteConnection::connect(&format!("sqlite:{}", self.path().display())).await.unwrap();
        let tables = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'");
        let mut rows = 0;
        for table in tables.fetch_all(&mut file).await.unwrap() {
            let table: String = table;
            let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
            rows += usize::try_from(count.fetch_one(&mut file).await.unwrap()).unwrap();
        }
        rows
    }
}

impl Contents for Schema {
    async fn size(&self) -> usize {
        let mut server = self.beside().await;
        let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
        let mut rows = 0;
        for table in sqlx::query_scalar(tables).fetch_all(&mut server).await.unwrap() {
            let table: String = table;
            let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
            rows += usize::try_from(count.fetch_one(&mut server).await.unwrap()).unwrap();
        }
        rows
    }
}

impl Contents for Prefix {
    async fn size(&self) -> usize {
        let keys: Vec<String> = ::redis::cmd("KEYS").arg(self.key("*")).query(&mut Self::beside()).unwrap();
        keys.len()
    }
}

type Node<S> = Arc<Service<TestStore<S>>>;

fn node<S: CeremonyStore + Clone>(config: ConfigBuilder, store: &TestStore<S>, clock: &ManualClock) -> Node<S> {
    Arc::new(Service::made_of(config, store.clone(), clock.clone(), clock.clone(), |builder| builder))
}

/// How many sessions the store has of a human.
async fn sessions<S: CeremonyStore>(store: &TestStore<S>, human: &str) -> usize {
    store.memory.list_sessions(&account(human).id, None, 1_000).await.unwrap().len()
}

/// Two nodes of one service. Racers take turns at them.
struct Races<S> {
    nodes: [Node<S>; 2],
    human: u32,
}

impl<S: CeremonyStore + Clone> Races<S> {
    fn on(store: S) -> Self {
        let (store, clock) = (TestStore::over(store), ManualClock::at(START));
        let node = || node(settings(), &store, &clock);
        Self { nodes: [node(), node()], human: 0 }
    }

    /// A human that nobody else in this test is.
    fn next_human(&mut self) -> String {
        self.human += 1;
        let letter = |digit: char| char::from(b'a' + u8::try_from(digit.to_digit(10).unwrap()).unwrap());
        self.human.to_string().chars().map(letter).collect()
    }

    async fn sessions(&self, human: &str) -> usize {
        sessions(&self.nodes[0].store, human).await
    }

    /// Lets so many send the same form to the token endpoint at once.
    async fn send(&self, racers: usize, parameters: &[(&str, &str)]) -> Vec<Answer> {
        race(racers, |racer| {
            let (node, request) = (Arc::clone(&self.nodes[racer % 2]), form("/oauth2/token", parameters));
            async move { node.send(request).await }
        })
        .await
    }

    /// One wins, and the others are told that the grant is none.
    fn winner(answers: Vec<Answer>) -> Answer {
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(won.len(), 1);
        for answer in lost {
            assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_grant"), "{}", answer.text);
        }
        won.into_iter().next().unwrap()
    }

    /// A replay after the grace, from many at once, ends what the grant issued, and gives nothing.
    async fn replay(&self, racers: usize, parameters: &[(&str, &str)], issued: &Answer, human: &str) {
        self.nodes[0].clock.advance(GRACE);
        for answer in self.send(racers, parameters).await {
            assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, "invalid_grant"), "{}", answer.text);
        }
        for node in &self.nodes {
            assert!(!works(node, text(&issued.json, "access_token")).await);
        }
        assert_eq!(self.sessions(human).await, 1);
    }

    async fn of_a_code(&mut self, racers: usize) {
        let (human, node) = (self.next_human(), &self.nodes[0]);
        let login = Login::of(node).await;
        let code = parameter(&login.decide(node, &human, &SCOPES).await, "code");
        let parameters = login.redemption(&code, &[]);
        let won = Self::winner(self.send(racers, &parameters).await);
        assert_eq!(self.sessions(&human).await, 1, "never a second session");
        assert!(works(&self.nodes[1], text(&won.json, "access_token")).await);
        self.replay(racers, &parameters, &won, &human).await;
        let refreshed = login.refresh(&self.nodes[0], text(&won.json, "refresh_token"), &[]).await;
        assert_eq!(refreshed.error(), "invalid_grant");
    }

    async fn of_a_device_code(&mut self, racers: usize) {
        let (human, node) = (self.next_human(), &self.nodes[0]);
        let login = Login::of(node).await;
        let started = start_device(node, &login, &[]).await.json;
        let (sent, browser) = type_code(node, &human, "/oauth2/device", text(&started, "user_code")).await;
        let path = sent.header("location").to_owned();
        let page = node.send(browse_again(&browser, &path)).await;
        let approval = Form { csrf: common::between(&page.text, "name=\"csrf\" value=\"", "\"").into(), ..browser };
        assert_eq!(node.send(approval.post(&path, &SCOPES)).await.status, StatusCode::SEE_OTHER);
        let parameters = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", text(&started, "device_code")),
            ("client_id", &*login.client),
        ];
        let won = Self::winner(self.send(racers, &parameters).await);
        assert_eq!(self.sessions(&human).await, 1, "never a second session");
        assert!(works(&self.nodes[1], text(&won.json, "access_token")).await);
        self.replay(racers, &parameters, &won, &human).await;
    }

    /// Within the grace all get the same successor. After it, reuse ends the session.
    async fn of_a_refresh(&mut self, racers: usize) {
        let (human, node) = (self.next_human(), &self.nodes[0]);
        let login = Login::of(node).await;
        let code = parameter(&login.decide(node, &human, &SCOPES).await, "code");
        let issued = login.redeem(node, &code, &[]).await.json;
        let refresh = text(&issued, "refresh_token");
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", refresh), ("client_id", &*login.client)];
        let answers = self.send(racers, &parameters).await;
        let secrets = |answer: &Answer| {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            [text(&answer.json, "access_token").to_owned(), text(&answer.json, "refresh_token").to_owned()]
        };
        let first = secrets(&answers[0]);
        assert!(answers.iter().all(|answer| secrets(answer) == first), "all get the same successor");
        assert_eq!(self.sessions(&human).await, 1, "never a second session");
        for node in &self.nodes {
            assert!(works(node, &first[0]).await && !works(node, text(&issued, "access_token")).await);
        }
        self.replay(racers, &parameters, &answers[0], &human).await;
        assert_eq!(login.refresh(&self.nodes[1], &first[1], &[]).await.error(), "invalid_grant");
    }
}

/// What must fail, row by row. A failure names the store and the row. There is no row for a verifier without a
/// challenge: no code is without a challenge here, as the first rows show.
struct Negative<S> {
    store: &'static str,
    service: Node<S>,
    login: Login,
}

impl<S: CeremonyStore + Clone> Negative<S> {
    async fn on(store: &'static str, under: S) -> Self {
        let (under, clock) = (TestStore::over(under), ManualClock::at(START));
        let service = node(settings(), &under, &clock);
        let redirect_uris = json!(["http://127.0.0.1/callback", "https://app.example.com/callback"]);
        let body = json!({ "client_name": "Example Host", "redirect_uris": redirect_uris });
        let client = text(&service.post("/oauth2/register", &body).await.json, "client_id").to_owned();
        let login = Login { client, state: "a state", verifier: VERIFIER.into(), extra: Vec::new() };
        Self { store, service, login }
    }

    /// Nothing that a client may ask for wrongly is stored, and where it may not be sent nothing is sent.
    async fn at_the_authorization_endpoint(&self) {
        let Self { store, service, login } = self;
        const HTTPS: &str = "https://app.example.com/callback";
        assert_eq!(service.send(browse("ada", &login.url(&[("redirect_uri", HTTPS)]))).await.status, 303, "{store}");
        let calls = service.store.calls();
        for (row, changed, error) in [
            ("plain PKCE", vec![("code_challenge_method", "plain"), ("code_challenge", VERIFIER)], "invalid_request"),
            ("PKCE without a method", vec![("code_challenge_method", "")], "invalid_request"),
            ("no challenge", vec![("code_challenge", "")], "invalid_request"),
            ("no PKCE", vec![("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
            ("resource of another server", vec![("resource", "https://api.example.org")], "invalid_target"),
            ("resource of a longer host", vec![("resource", "https://api.example.com.evil.example")], "invalid_target"),
        ] {
            let sent = service.send(browse("ada", &login.url(&changed))).await;
            assert_eq!(sent.status, StatusCode::SEE_OTHER, "{store}: {row}");
            let sent_to = sent.header("location");
            assert!(sent_to.starts_with(&format!("{REDIRECT}?")), "{store}: {row}: {sent_to}");
            assert_eq!(parameter(sent_to, "error"), error, "{store}: {row}");
            assert!(!sent_to.contains("code="), "{store}: {row}: {sent_to}");
        }
        for (row, redirect) in [
            ("extra query", "http://127.0.0.1:43123/callback?next=1"),
            ("empty query", "http://127.0.0.1:43123/callback?"),
            ("extra query on https", "https://app.example.com/callback?next=1"),
            ("port on https", "https://app.example.com:8443/callback"),
            ("the default port on https", "https://app.example.com:443/callback"),
            ("other path", "https://app.example.com/other"),
            ("longer path", "http://127.0.0.1:43123/callback/x"),
            ("path that leads back", "https://app.example.com/x/../callback"),
            ("other case", "https://APP.example.com/callback"),
            ("escaped", "https://app.example.com/%63allback"),
            ("localhost for 127.0.0.1", "http://localhost:43123/callback"),
            ("IPv6 for 127.0.0.1", "http://[::1]:43123/callback"),
            ("another name of 127.0.0.1", "http://127.1:43123/callback"),
            ("https on loopback", "https://127.0.0.1:43123/callback"),
            ("http for https", "http://app.example.com/callback"),
            ("user name", "http://127.0.0.1:43123@evil.example/callback"),
            ("longer host", "https://app.example.com.evil.example/callback"),
            ("fragment", "https://app.example.com/callback#x"),
        ] {
            let shown = service.send(browse("ada", &login.url(&[("redirect_uri", redirect)]))).await;
            assert_eq!(shown.status, StatusCode::BAD_REQUEST, "{store}: {row}");
            assert!(!shown.headers.contains_key("location"), "{store}: {row}");
        }
        assert_eq!(service.store.calls(), calls, "{store}: the store is not asked");
    }

    /// What is wrong beside a code spends nothing. Then it is good once.
    async fn at_the_token_endpoint(&self) {
        let Self { store, service, login } = self;
        let stranger = Login::named(service, "Stranger").await;
        let code = parameter(&login.decide(service, "code", &SCOPES).await, "code");
        for (row, changed, error) in [
            ("wrong verifier", ("code_verifier", "a".repeat(43)), "invalid_grant"),
            ("the challenge as verifier", ("code_verifier", challenge(VERIFIER)), "invalid_grant"),
            ("no verifier", ("code_verifier", String::new()), "invalid_request"),
            ("code of another client", ("client_id", stranger.client.clone()), "invalid_grant"),
            ("other redirect URI", ("redirect_uri", "https://app.example.com/callback".into()), "invalid_grant"),
            ("other port", ("redirect_uri", "http://127.0.0.1:43124/callback".into()), "invalid_grant"),
            ("resource of another server", ("resource", "https://api.example.org".into()), "invalid_target"),
        ] {
            let answer = login.redeem(service, &code, &[(changed.0, &changed.1)]).await;
            assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, error), "{store}: {row}");
            assert_eq!(sessions(&service.store, "code").await, 0, "{store}: {row}");
        }
        let first = login.redeem(service, &code, &[]).await;
        assert_eq!(first.status, StatusCode::OK, "{store}: {}", first.text);
        let second = login.redeem(service, &code, &[]).await;
        assert_eq!((second.status, second.error()), (StatusCode::BAD_REQUEST, "invalid_grant"), "{store}: code twice");
        assert_eq!(sessions(&service.store, "code").await, 1, "{store}: code twice");

        let refresh = text(&first.json, "refresh_token");
        for (row, changed, error) in [
            ("scope widening", ("scope", "projects:read projects:write"), "invalid_scope"),
            ("scope that nobody has", ("scope", "nothing:here"), "invalid_scope"),
            ("resource of another server", ("resource", "https://api.example.org"), "invalid_target"),
            ("refresh token of another client", ("client_id", &*stranger.client), "invalid_grant"),
        ] {
            let answer = login.refresh(service, refresh, &[changed]).await;
            assert_eq!((answer.status, answer.error()), (StatusCode::BAD_REQUEST, error), "{store}: {row}");
        }
        let next = login.refresh(service, refresh, &[("scope", "projects:read")]).await;
        assert_eq!(next.json["scope"], "projects:read", "{store}: {}", next.text);
        service.clock.advance(GRACE);
        let reused = login.refresh(service, refresh, &[]).await;
        assert_eq!(reused.error(), "invalid_grant", "{store}: refresh reuse after grace");
        assert!(!works(service, text(&next.json, "access_token")).await, "{store}: refresh reuse after grace");
        let after = login.refresh(service, text(&next.json, "refresh_token"), &[]).await;
        assert_eq!(after.error(), "invalid_grant", "{store}: refresh reuse after grace");
    }

    async fn on_the_page(&self) {
        let Self { store, service, login } = self;
        let (path, form) = login.open(service, "page").await;
        for page in [&*path, "/oauth2/device", &login.url(&[("client_id", "unknown")])] {
            let page = service.send(browse_again(&form, page)).await;
            assert_eq!(page.header("x-frame-options"), "DENY", "{store}: framed page");
            let policy = page.header("content-security-policy");
            assert!(policy.contains("frame-ancestors 'none'"), "{store}: framed page: {policy}");
        }
        let other = login.open(service, "page").await.1;
        let mut without_cookie = form.post(&path, &SCOPES);
        without_cookie.headers_mut().insert("cookie", "user=page".parse().unwrap());
        let mut cross_site = form.post(&path, &SCOPES);
        cross_site.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
        cross_site.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
        for (row, request) in [
            ("POST without CSRF", Form { csrf: String::new(), ..form.clone() }.post(&path, &SCOPES)),
            ("POST with another form's CSRF", Form { csrf: other.csrf, ..form.clone() }.post(&path, &SCOPES)),
            ("POST without its cookie", without_cookie),
            ("POST from another site", cross_site),
            ("POST of another human", Form { human: "mallory".into(), ..form.clone() }.post(&path, &SCOPES)),
        ] {
            let answer = service.send(request).await;
            assert!(answer.status.is_client_error(), "{store}: {row}: {}", answer.status);
            assert!(!answer.headers.contains_key("location"), "{store}: {row}");
        }
        let approved = service.send(form.post(&path, &SCOPES)).await;
        let code = parameter(approved.header("location"), "code");
        // The same form sent twice is one decision: the same code, which is good once.
        let again = service.send(form.post(&path, &SCOPES)).await;
        assert_eq!(parameter(again.header("location"), "code"), code, "{store}: approve twice");
        let denied = service.send(form.post(&path, &[("decision", "deny")])).await;
        self.leads_nowhere("approve then deny", &denied);
        assert_eq!(login.redeem(service, &code, &[]).await.status, StatusCode::OK, "{store}: approve twice");
        let again = service.send(form.post(&path, &SCOPES)).await;
        self.leads_nowhere("approve after the code was redeemed", &again);
        assert_eq!(login.redeem(service, &code, &[]).await.error(), "invalid_grant", "{store}: approve twice");
        assert_eq!(sessions(&service.store, "page").await, 1, "{store}: approve twice");

        let (path, form) = login.open(service, "page").await;
        let denied = service.send(form.post(&path, &[("decision", "deny")])).await;
        assert_eq!(parameter(denied.header("location"), "error"), "access_denied", "{store}");
        let approved = service.send(form.post(&path, &SCOPES)).await;
        self.leads_nowhere("deny then approve", &approved);
        let page = service.send(browse_again(&form, &path)).await;
        self.leads_nowhere("deny then approve", &page);
        assert_eq!(sessions(&service.store, "page").await, 1, "{store}: deny then approve");
    }

    /// An answer that takes no code anywhere.
    fn leads_nowhere(&self, row: &str, answer: &Answer) {
        let location = answer.headers.get("location").map(|location| location.to_str().unwrap().to_owned());
        let code = location.as_ref().is_some_and(|location| location.contains("code="));
        assert!(!code && !answer.status.is_server_error(), "{}: {row}: {location:?}", self.store);
    }

    /// Every answer names the issuer with its path, and no document stands where another issuer's belongs.
    async fn an_issuer_with_a_path(&self) {
        const ISSUER: &str = "https://api.example.com/tenant";
        let store = self.store;
        let service = node(settings().issuer(ISSUER), &self.service.store, &self.service.clock);
        let metadata = service.get("/.well-known/oauth-authorization-server/tenant").await.json;
        assert_eq!(metadata["issuer"], ISSUER, "{store}");
        assert_eq!(metadata["token_endpoint"], "https://api.example.com/tenant/oauth2/token", "{store}");
        for other in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
            assert_eq!(service.get(other).await.status, StatusCode::NOT_FOUND, "{store}: issuer with a path: {other}");
        }
        let tenant = async |request: Request<Body>| service.send(request).await;
        let body = json!({ "redirect_uris": ["http://127.0.0.1/callback"] }).to_string();
        let registered = tenant(common::json_request("/tenant/oauth2/register", &body)).await;
        let client = text(&registered.json, "client_id").to_owned();
        let login = Login { client, state: "s", verifier: VERIFIER.into(), extra: Vec::new() };
        let arrived = tenant(browse("tenant", &format!("/tenant{}", login.url(&[])))).await;
        let path = arrived.header("location").to_owned();
        assert!(path.starts_with("/tenant/oauth2/authorize/reg_"), "{store}: {path}");
        let cookie = arrived.header("set-cookie").split(';').next().unwrap().to_owned();
        let form = Form { human: "tenant".into(), csrf: String::new(), cookie };
        let page = tenant(browse_again(&form, &path)).await;
        let form = Form { csrf: common::between(&page.text, "name=\"csrf\" value=\"", "\"").into(), ..form };
        let approved = tenant(form.post(&path, &SCOPES)).await;
        assert_eq!(parameter(approved.header("location"), "iss"), ISSUER, "{store}: issuer with a path");
        let code = parameter(approved.header("location"), "code");
        let parameters = login.redemption(&code, &[]);
        let outside = token(&service, &parameters).await;
        assert_eq!(outside.status, StatusCode::NOT_FOUND, "{store}: issuer with a path");
        let redeemed = common::oauth::form("/tenant/oauth2/token", &parameters);
        assert_eq!(tenant(redeemed).await.status, StatusCode::OK, "{store}: issuer with a path");
    }

    /// Anybody may register, so nothing may come of it.
    async fn many_registrations(&self, contents: &impl Contents) {
        let Self { store, service, .. } = self;
        let (calls, size) = (service.store.calls(), contents.size().await);
        for number in 0..100_000 {
            let body = format!("{{\"client_name\":\"{number}\",\"redirect_uris\":[\"http://127.0.0.1/{number}\"]}}");
            let answer = service.send(common::json_request("/oauth2/register", &body)).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{store}: registration {number}: {}", answer.text);
        }
        assert_eq!(service.store.calls(), calls, "{store}: a registration asks the store");
        assert_eq!(contents.size().await, size, "{store}: a registration is stored");
        // The contents would show it: a request for access is stored.
        self.login.open(service, "registrations").await;
        assert!(contents.size().await > size && service.store.calls() > calls, "{store}");
    }
}

/// Each store with as many rounds as it can do in the time.
macro_rules! on_each_store {
    ($($(#[$attribute:meta])* $store:ident: $fresh:expr, $rounds:expr;)*) => {$(
        mod $store {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r45_r115_of_many_that_redeem_a_code_one_wins_and_its_replay_ends_what_it_issued() {
                let (store, _place) = $fresh.await;
                let mut races = Races::on(store);
                for racers in [2, 16, 64, 256].repeat($rounds) {
                    races.of_a_code(racers).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r45_r118_of_many_that_redeem_a_device_code_one_wins_and_its_replay_ends_what_it_issued() {
                let (store, _place) = $fresh.await;
                let mut races = Races::on(store);
                for racers in [2, 16, 64, 256].repeat($rounds) {
                    races.of_a_device_code(racers).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$attribute])*
            async fn r76_tk4_many_that_refresh_get_one_successor_and_reuse_ends_it() {
                let (store, _place) = $fresh.await;
                let mut races = Races::on(store);
                for racers in [2, 16, 64, 256].repeat($rounds) {
                    races.of_a_refresh(racers).await;
                }
            }

            #[tokio::test]
            $(#[$attribute])*
            async fn r111_r112_r114_what_must_fail_fails() {
                let (store, _place) = $fresh.await;
                let negative = Negative::on(stringify!($store), store).await;
                negative.at_the_authorization_endpoint().await;
                negative.at_the_token_endpoint().await;
                negative.on_the_page().await;
                negative.an_issuer_with_a_path().await;
            }

            #[tokio::test]
            $(#[$attribute])*
            async fn r116_a_hundred_thousand_registrations_leave_nothing() {
                let (store, place) = $fresh.await;
                Negative::on(stringify!($store), store).await.many_registrations(&place).await;
            }
        }
    )*};
}

async fn memory() -> (MemoryStore, MemoryStore) {
    let store = MemoryStore::new();
    (store.clone(), store)
}

on_each_store! {
    memory: super::memory(), 8;
    sqlite_file: TempFile::fresh(), 8;
    #[ignore = "needs PostgreSQL: `cargo xtask servers` starts one"]
    postgres_server: Schema::fresh(), 2;
    #[ignore = "needs Redis: `cargo xtask servers` starts one"]
    redis_server: Prefix::fresh(), 2;
}
