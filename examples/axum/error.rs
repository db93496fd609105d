//! The API's error responses: `{"error": code, "message": text}`.

use axum::{
    Json,
    extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "invalid_request", message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not_found", message: message.into() }
    }

    pub(crate) fn full(message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, code: "limit_reached", message: message.into() }
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "this path has no such method; `Allow` names those that it has".into();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, code: "method_not_allowed", message }
    }

    pub(crate) fn cross_site() -> Self {
        let message = "this was sent for a page of another site; nothing was done".into();
        Self { status: StatusCode::FORBIDDEN, code: "cross_site", message }
    }

    pub(crate) fn unavailable() -> Self {
        let message = "the service can't answer this right now; try again later".into();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: "temporarily_unavailable", message }
    }

    pub(crate) fn internal() -> Self {
        let message = "the service has a bug; it was written to its log".into();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: "internal", message }
    }

    /// The error if an axum extractor fails. An invalid field is a 400 here.
    fn rejected(status: StatusCode, message: String) -> Self {
        let status = if status == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { status };
        Self { status, code: "invalid_request", message }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.code, "message": self.message });
        (self.status, Json(body)).into_response()
    }
}

macro_rules! from_rejection {
    ($($rejection:ident),*) => {$(
        impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::rejected(rejection.status(), rejection.body_text())
            }
        }
    )*};
}

from_rejection!(FormRejection, JsonRejection, PathRejection, QueryRejection);
