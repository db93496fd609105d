//! The endpoints of the admin API.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::{
    audit::Reason,
    ceremony::{Admin, CeremonyError, ExportedSession, Revoked, SessionSearch},
    endpoints::method_not_allowed,
    http::{Reply, error_reply, jitter, json_reply, retry_after, unavailable},
    types::{
        clock::Timestamp,
        id::{AccountId, AuthorizationRequestId, ClientId, SessionId},
        session::SessionRecord,
    },
};

/// A request of an operator who may make it.
pub(super) struct Asked {
    pub(super) admin: Admin,
    pub(super) operator: String,
    pub(super) parts: Parts,
    /// The path below that of the service.
    pub(super) path: String,
    pub(super) body: Bytes,
}

/// What is revoked, and why.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Revocation {
    #[serde(deserialize_with = "given")]
    session: Option<String>,
    #[serde(deserialize_with = "given")]
    account: Option<String>,
    #[serde(deserialize_with = "given")]
    client: Option<String>,
    #[serde(deserialize_with = "given")]
    client_of: Option<String>,
    #[serde(deserialize_with = "given")]
    authorization: Option<String>,
    #[serde(deserialize_with = "given")]
    reason: Option<String>,
}

/// Reads a field that is there. `null` is no text: with an unset client, `account` alone would be a wider target.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    String::deserialize(field).map(Some)
}

/// A session of the API: what an export has of it, and the account.
#[derive(Serialize)]
struct Shown {
    account: String,
    #[serde(flatten)]
    session: ExportedSession,
}

impl Shown {
    fn of(record: &SessionRecord, now: Timestamp) -> Self {
        Self { account: record.session.account.id.as_str().to_owned(), session: ExportedSession::from((record, now)) }
    }
}

/// Why a request is refused.
enum Refused {
    Invalid(&'static str),
    MediaType,
    Failed(CeremonyError),
}

impl From<CeremonyError> for Refused {
    fn from(error: CeremonyError) -> Self {
        Self::Failed(error)
    }
}

const fn invalid(text: &'static str) -> Refused {
    Refused::Invalid(text)
}

/// The answer if the service failed. A revocation may have got to any session before.
pub(super) fn failed(admin: &Admin, error: &(dyn Error + 'static), revokes: bool) -> Reply {
    admin.note_failure(error);
    let wait = jitter(admin.now());
    if !revokes {
        return unavailable(wait);
    }
    let text = "the service failed, and a part may have been revoked; send the same again later";
    let mut reply = error_reply(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", text);
    retry_after(&mut reply, wait);
    reply
}

pub(super) fn not_found() -> Reply {
    error_reply(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

impl Asked {
    pub(super) async fn answer(self) -> Reply {
        match self.route().await {
            Ok(reply) => reply,
            Err(Refused::Invalid(text)) => error_reply(StatusCode::BAD_REQUEST, "invalid_request", text),
            Err(Refused::MediaType) => {
                let text = "send the body as `application/json`";
                error_reply(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", text)
            }
            Err(Refused::Failed(error)) => failed(&self.admin, &error, self.parts.method == Method::POST),
        }
    }

    async fn route(&self) -> Result<Reply, Refused> {
        let is_get = matches!(self.parts.method, Method::GET | Method::HEAD);
        match self.path.as_str() {
            "/sessions" if is_get => self.list().await,
            "/revoke" if self.parts.method == Method::POST => self.revoke().await,
            "/export" if is_get => self.export().await,
            "/forget" if self.parts.method == Method::POST => self.forget().await,
            "/sessions" | "/export" => Ok(method_not_allowed(&[Method::GET, Method::HEAD])),
            "/revoke" | "/forget" => Ok(method_not_allowed(&[Method::POST])),
            path => match path.strip_prefix("/sessions/").and_then(SessionId::parse) {
                Some(id) if is_get => self.show(&id).await,
                Some(_) => Ok(method_not_allowed(&[Method::GET, Method::HEAD])),
                None => Ok(not_found()),
            },
        }
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query().unwrap_or_default();
        let found = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
    }

    async fn list(&self) -> Result<Reply, Refused> {
        let now = self.admin.now();
        let (sessions, next) = match (self.parameter("account"), self.parameter("authorization")) {
            (Some(id), None) => {
                let page = self.page(&account(&id)?).await?;
                (page.sessions, page.next)
            }
            (None, Some(id)) => (self.admin.sessions_of(&authorization(&id)?).await?, None),
            _ => return Err(invalid("send either `account` or `authorization` in the query")),
        };
        let sessions: Vec<Shown> = sessions.iter().map(|record| Shown::of(record, now)).collect();
        let next = next.as_ref().map(SessionId::as_str);
        Ok(json_reply(StatusCode::OK, &json!({ "sessions": sessions, "next": next })))
    }

    async fn page(&self, account: &AccountId) -> Result<crate::ceremony::Page, Refused> {
        let search = match self.parameter("state").as_deref() {
            None => SessionSearch::new(),
            Some("active") => SessionSearch::new().active(true),
            Some("ended") => SessionSearch::new().active(false),
            Some(_) => return Err(invalid("`state` must be `active` or `ended`")),
        };
        let search = search.text(&self.parameter("text").unwrap_or_default());
        let after = self.parameter("after").map(|id| session(&id)).transpose()?;
        Ok(self.admin.sessions(account, &search, after.as_ref()).await?)
    }

    async fn show(&self, id: &SessionId) -> Result<Reply, Refused> {
        let Some(record) = self.admin.session(id).await? else { return Ok(not_found()) };
        Ok(json_reply(StatusCode::OK, &json!(Shown::of(&record, self.admin.now()))))
    }

    async fn export(&self) -> Result<Reply, Refused> {
        let Some(id) = self.parameter("account") else { return Err(invalid("send `account` in the query")) };
        Ok(json_reply(StatusCode::OK, &json!(self.admin.export(&account(&id)?).await?)))
    }

    async fn forget(&self) -> Result<Reply, Refused> {
        let Revocation { account: named, session: None, client: None, client_of: None, authorization: None, reason } =
            self.body()?
        else {
            return Err(invalid("send `account`, and `reason` if you like"));
        };
        let Some(id) = named else { return Err(invalid("send `account`, and `reason` if you like")) };
        let revoked = self.because(reason.as_deref()).forget_account(&account(&id)?).await?;
        Ok(json_reply(StatusCode::OK, &json!({ "revoked_sessions": revoked })))
    }

    /// The admin who acts for the operator, with what they say why.
    fn because(&self, reason: Option<&str>) -> Admin {
        let reason = match reason.map(str::trim) {
            Some(reason) if !reason.is_empty() => format!("{}: {reason}", self.operator),
            _ => self.operator.clone(),
        };
        self.admin.clone().because(Reason::new(&reason))
    }

    /// Reads the body of a POST.
    fn body(&self) -> Result<Revocation, Refused> {
        let kind = self.parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        // Browsers send no JSON across sites without a preflight, which nothing here answers.
        if !kind.eq_ignore_ascii_case(b"application/json") {
            return Err(Refused::MediaType);
        }
        let text = "the body must be a JSON object whose fields are strings: `session`, `account`, `client`, `client_of`, `authorization`, `reason`";
        // From an array the fields would be read by their order.
        let is_object = self.body.trim_ascii_start().starts_with(b"{");
        let asked = is_object.then(|| serde_json::from_slice::<Revocation>(&self.body).ok()).flatten();
        asked.ok_or_else(|| invalid(text))
    }

    async fn revoke(&self) -> Result<Reply, Refused> {
        let asked = self.body()?;
        let admin = self.because(asked.reason.as_deref());
        let Revocation {
            session: by_session, account: by_account, client, client_of, authorization: by_request, ..
        } = asked;
        let revoked: Revoked = match (by_session, by_account, client, client_of, by_request) {
            (Some(id), None, None, None, None) => admin.revoke_session(&session(&id)?).await?,
            (None, Some(id), None, None, None) => admin.revoke_account(&account(&id)?).await?,
            (None, Some(id), Some(client), None, None) => {
                let client = ClientId::new(&client).map_err(|_| invalid("`client` is no client's id"))?;
                admin.revoke_client(&account(&id)?, &client).await?
            }
            (None, None, None, Some(id), None) => admin.revoke_client_of(&session(&id)?).await?,
            (None, None, None, None, Some(id)) => admin.revoke_authorization(&authorization(&id)?).await?,
            _ => {
                return Err(invalid(
                    "send one of: `session`; `account`; `account` with `client`; `client_of`; `authorization`",
                ));
            }
        };
        let counts = json!({ "revoked_sessions": revoked.sessions, "revoked_approvals": revoked.approvals });
        Ok(json_reply(StatusCode::OK, &counts))
    }
}

fn account(id: &str) -> Result<AccountId, Refused> {
    AccountId::new(id).map_err(|_| invalid("`account` is no account's id"))
}

fn session(id: &str) -> Result<SessionId, Refused> {
    SessionId::parse(id).ok_or_else(|| invalid("a session's id is `ses_` and 22 letters and digits"))
}

fn authorization(id: &str) -> Result<AuthorizationRequestId, Refused> {
    AuthorizationRequestId::parse(id)
        .ok_or_else(|| invalid("an authorization request's id is `reg_` and 22 letters and digits"))
}
