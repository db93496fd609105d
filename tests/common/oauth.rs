//! An OAuth client of the tests, and its human.

use axum::body::Body;
use data_encoding::BASE64URL_NOPAD;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use sha2::Digest as _;
use tower_agent_auth::{ConfigBuilder, config::Dialect};

use super::{Answer, Form, Service, between, browse, browse_again, config};

pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const REDIRECT: &str = "http://127.0.0.1:43123/callback";

pub fn oauth() -> ConfigBuilder {
    config().dialects(&[Dialect::AgentAuth, Dialect::AgentSessions, Dialect::OAuth])
}

pub fn challenge(verifier: &str) -> String {
    BASE64URL_NOPAD.encode(&sha2::Sha256::digest(verifier))
}

pub fn encoded(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// The parameters of a URL.
pub fn parameters(url: &str) -> Vec<(String, String)> {
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The value of a parameter that is there once.
pub fn parameter(url: &str, name: &str) -> String {
    let all: Vec<_> = parameters(url).into_iter().filter(|(known, _)| known == name).collect();
    assert_eq!(all.len(), 1, "{name} in {url}");
    all[0].1.clone()
}

/// A registered client with one login.
pub struct Login {
    pub client: String,
    pub state: &'static str,
    pub verifier: String,
    pub extra: Vec<(&'static str, String)>,
}

impl Login {
    pub async fn of<S>(service: &Service<S>) -> Self {
        Self::named(service, "Example Host").await
    }

    pub async fn named<S>(service: &Service<S>, name: &str) -> Self {
        let body = json!({ "client_name": name, "redirect_uris": ["http://127.0.0.1/callback"] });
        let answer = service.post("/oauth2/register", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let client = answer.json["client_id"].as_str().unwrap().to_owned();
        Self { client, state: "a b&c=d", verifier: VERIFIER.into(), extra: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.extra.push((name, value.into()));
        self
    }

    /// The URL that the client opens, with these parameters in place of its own. An empty value leaves one out.
    pub fn url(&self, changed: &[(&str, &str)]) -> String {
        let challenge = challenge(&self.verifier);
        let mut all = vec![
            ("response_type", "code"),
            ("client_id", &*self.client),
            ("redirect_uri", REDIRECT),
            ("state", self.state),
            ("code_challenge", &*challenge),
            ("code_challenge_method", "S256"),
        ];
        all.extend(self.extra.iter().map(|(name, value)| (*name, &**value)));
        all.retain(|(name, _)| !changed.iter().any(|(other, _)| name == other));
        all.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
        format!("/oauth2/authorize?{}", encoded(&all))
    }

    /// Lets a human open the link. Answers the path of the approval page, and its form.
    pub async fn open<S>(&self, service: &Service<S>, human: &str) -> (String, Form) {
        let arrived = service.send(browse(human, &self.url(&[]))).await;
        assert_eq!(arrived.status, StatusCode::SEE_OTHER, "{}", arrived.text);
        let path = arrived.header("location").to_owned();
        assert!(path.starts_with("/oauth2/authorize/reg_"), "{path}");
        let cookie = arrived.header("set-cookie").split(';').next().unwrap().to_owned();
        let form = Form { human: human.into(), csrf: String::new(), cookie };
        let page = service.send(browse_again(&form, &path)).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        let csrf = between(&page.text, "name=\"csrf\" value=\"", "\"").to_owned();
        (path, Form { csrf, ..form })
    }

    /// Lets a human decide. Answers where the browser is sent.
    pub async fn decide<S>(&self, service: &Service<S>, human: &str, fields: &[(&str, &str)]) -> String {
        let (path, form) = self.open(service, human).await;
        let answer = service.send(form.post(&path, fields)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        answer.header("location").to_owned()
    }

    /// Lets a human approve the default scopes. Answers the code.
    pub async fn code<S>(&self, service: &Service<S>) -> String {
        let scopes = [("decision", "approve"), ("scope", "projects:read"), ("scope", "analytics:read")];
        parameter(&self.decide(service, "ada", &scopes).await, "code")
    }

    /// What redeems a code, with these parameters in place of its own. An empty value leaves one out.
    pub fn redemption<'a>(&'a self, code: &'a str, changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", &*self.client),
            ("redirect_uri", REDIRECT),
            ("code_verifier", &*self.verifier),
        ];
        all.retain(|(name, _)| !changed.iter().any(|(other, _)| name == other));
        all.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
        all
    }

    /// Redeems a code, with these parameters in place of its own.
    pub async fn redeem<S>(&self, service: &Service<S>, code: &str, changed: &[(&str, &str)]) -> Answer {
        token(service, &self.redemption(code, changed)).await
    }

    /// The whole login. Answers the tokens.
    pub async fn tokens<S>(&self, service: &Service<S>) -> Value {
        let code = self.code(service).await;
        let answer = self.redeem(service, &code, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json
    }

    pub async fn refresh<S>(&self, service: &Service<S>, refresh_token: &str, more: &[(&str, &str)]) -> Answer {
        let mut all = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        all.push(("client_id", &self.client));
        all.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
        all.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        token(service, &all).await
    }
}

pub fn form(path: &str, parameters: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    request.body(Body::from(encoded(parameters))).unwrap()
}

pub async fn token<S>(service: &Service<S>, parameters: &[(&str, &str)]) -> Answer {
    service.send(form("/oauth2/token", parameters)).await
}

pub fn text<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_else(|| panic!("no {field} in {json}"))
}

pub async fn works<S>(service: &Service<S>, access_token: &str) -> bool {
    service.get_as("/projects", access_token).await.status == StatusCode::OK
}

/// Starts the login of a device. Answers what it was told.
pub async fn start_device<S>(service: &Service<S>, login: &Login, more: &[(&str, &str)]) -> Answer {
    let mut all = vec![("client_id", &*login.client)];
    all.extend(more);
    service.send(form("/oauth2/device_authorization", &all)).await
}

pub async fn poll<S>(service: &Service<S>, login: &Login, device_code: &str) -> Answer {
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    token(service, &[("grant_type", grant), ("device_code", device_code), ("client_id", &login.client)]).await
}

/// Types a code at the page. Answers where the browser is sent, and the form's browser.
pub async fn type_code<S>(service: &Service<S>, human: &str, path: &str, code: &str) -> (Answer, Form) {
    let page = service.send(browse(human, path)).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let form = page.form(human);
    (service.send(form.post("/oauth2/device", &[("code", code)])).await, form)
}
