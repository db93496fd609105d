//! Agents of the auth.md protocol: one of each wire, and their human.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower_agent_auth::{ConfigBuilder, config::Dialect};

use super::{Answer, Form, ORIGIN, Service, browse, browse_again, config, oauth::encoded};

pub const CLAIM_GRANT: &str = "urn:workos:agent-auth:grant-type:claim";
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub fn auth_md() -> ConfigBuilder {
    let dialects = [Dialect::AgentAuth, Dialect::AgentSessions, Dialect::OAuth, Dialect::AuthMd];
    config().dialects(&dialects).auth_md(|settings| {
        settings.anonymous = true;
        settings.pre_claim_scopes = vec!["projects:read".into()];
    })
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A registration that waits for its human.
#[derive(Clone, Debug)]
pub struct Registration {
    pub answer: Value,
    pub claim_token: String,
    pub user_code: Option<String>,
    /// The path of the approval page, as the human opens it.
    pub path: String,
}

impl Registration {
    /// From the answer of the registration, or of a claim: `claim` holds the link and the code.
    pub fn of(answer: &Answer, claim: &Value, claim_token: &str) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        Self {
            claim_token: claim_token.to_owned(),
            user_code: claim["user_code"].as_str().map(str::to_owned),
            path: text(&claim["verification_uri"]).strip_prefix(ORIGIN).unwrap().to_owned(),
            answer: answer.json.clone(),
        }
    }

    /// Where the form of the page is sent: without the query of the link.
    pub fn form_path(&self) -> &str {
        self.path.split('?').next().unwrap()
    }
}

impl<S> Service<S> {
    pub async fn service_auth(&self, more: Value) -> Registration {
        let mut body =
            json!({ "type": "service_auth", "login_hint": "ada@example.com", "client_name": "Example Agent" });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.post("/agent/identity", &body).await;
        Registration::of(&answer, &answer.json["claim"], &text(&answer.json["claim"]["token"]))
    }

    pub async fn anonymous(&self) -> Answer {
        let answer =
            self.post("/agent/identity", &json!({ "type": "anonymous", "client_name": "Example Agent" })).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer
    }

    pub async fn claim(&self, claim_token: &str) -> Answer {
        let body = json!({ "type": "service_auth", "claim_token": claim_token, "login_hint": "ada@example.com" });
        self.post("/agent/identity/claim", &body).await
    }

    pub async fn complete_claim(&self, claim_token: &str, code: &str) -> Answer {
        let body = json!({ "claim_token": claim_token, "user_code": code });
        self.post("/agent/identity/claim/complete", &body).await
    }

    pub async fn grant(&self, fields: &[(&str, &str)]) -> Answer {
        self.send(token_request(fields)).await
    }

    pub async fn poll(&self, claim_token: &str) -> Answer {
        self.grant(&[("grant_type", CLAIM_GRANT), ("claim_token", claim_token)]).await
    }

    pub async fn exchange(&self, assertion: &str) -> Answer {
        self.grant(&[("grant_type", JWT_BEARER), ("assertion", assertion)]).await
    }

    pub async fn refresh_identity(&self, refresh_token: &str) -> Answer {
        self.post("/agent/identity", &json!({ "type": "refresh", "refresh_token": refresh_token })).await
    }

    pub async fn revoke_token(&self, token: &str) -> Answer {
        self.send(form_request("/oauth2/revoke", &[("token", token)])).await
    }

    /// Lets a human open the page of a registration.
    pub async fn open_identity(&self, human: &str, registration: &Registration) -> Form {
        let page = self.send(browse(human, &registration.path)).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page.form(human)
    }

    /// Lets a human approve `projects:read`, and type this code.
    pub async fn decide_identity(&self, form: &Form, registration: &Registration, code: Option<&str>) -> Answer {
        let mut fields = vec![("decision", "approve"), ("scope", "projects:read")];
        fields.extend(code.map(|code| ("user_code", code)));
        self.send(form.post(registration.form_path(), &fields)).await
    }

    /// The six digits that the page shows the human who approved.
    pub async fn code_of_the_page(&self, form: &Form, registration: &Registration) -> String {
        let page = self.send(browse_again(form, registration.form_path())).await;
        let code = super::between(&page.text, "<code class=\"code\" id=\"code\" dir=\"ltr\">", "</code>");
        code.to_owned()
    }

    /// A whole login on the flat wire.
    pub async fn flat_login(&self, human: &str) -> Value {
        let registration = self.service_auth(json!({})).await;
        let form = self.open_identity(human, &registration).await;
        let decided = self.decide_identity(&form, &registration, registration.user_code.as_deref()).await;
        assert_eq!(decided.status, StatusCode::SEE_OTHER, "{}", decided.text);
        let answer = self.poll(&registration.claim_token).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json
    }

    /// A whole login on the nested wire, up to the identity.
    pub async fn nested_login(&self, human: &str) -> Value {
        let registration = self.service_auth(json!({})).await;
        let form = self.open_identity(human, &registration).await;
        let decided = self.decide_identity(&form, &registration, None).await;
        assert_eq!(decided.status, StatusCode::SEE_OTHER, "{}", decided.text);
        let code = self.code_of_the_page(&form, &registration).await;
        let answer = self.complete_claim(&registration.claim_token, &code).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json
    }

    /// Whether an access token opens a route.
    pub async fn opens(&self, token: &str, path: &str) -> bool {
        self.get_as(path, token).await.status == StatusCode::OK
    }
}

pub fn token_request(fields: &[(&str, &str)]) -> Request<Body> {
    form_request("/oauth2/token", fields)
}

pub fn form_request(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    request.body(Body::from(encoded(fields))).unwrap()
}
