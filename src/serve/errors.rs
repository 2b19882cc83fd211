//! Why a request is not done: one form, a status with `{"error": "..."}`.

use crate::error::Kind;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::borrow::Cow;

/// The longest message, in bytes: of what a client sends it may hold a part.
const LONGEST: usize = 1000;

/// A text, or so many bytes of it.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most { text.into() } else { format!("{}…", &text[..text.floor_char_boundary(most)]).into() }
}

/// What is said to a client whose request is not done.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: StatusCode,
    /// In a word, for the metrics.
    pub reason: Reason,
    pub message: String,
    /// Seconds after which it may be better.
    pub retry_after: Option<u64>,
}

/// Whose matter it is, as the metrics count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub &'static str);

impl Refusal {
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = cut(&message, LONGEST).into_owned();
        Refusal { status, reason: Reason(reason), message, retry_after: None }
    }

    /// A request that cannot be understood.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", message)
    }

    /// Something of ours has failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
    }

    /// There is no room now; in so many seconds there may be.
    pub fn busy(reason: &'static str, message: impl Into<String>, seconds: u64) -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, message);
        Refusal { retry_after: Some(seconds), ..refusal }
    }

    /// The same with what it is about named in front.
    pub fn within(self, what: impl std::fmt::Display) -> Self {
        let message = format!("{what}: {}", self.message);
        Refusal { message: cut(&message, LONGEST).into_owned(), ..self }
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            Kind::Usage => Self::bad(message),
            Kind::Data => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "data", message),
            Kind::Io | Kind::Device => Self::failed(message),
            Kind::Cancelled => Self::busy("stopping", message, 1),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        response.extensions_mut().insert(self.reason);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
