//! Problems: what every failed request is answered with.

use std::fmt::Display;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tidewire_core::codec::CodecError;
use tidewire_core::{EnvelopeError, SchemaError, StoreError};

use crate::command::CommandError;

/// The longest `detail` sent, in characters: parsers quote what they were given.
const MAX_DETAIL_CHARS: usize = 500;

/// How long a client is asked to wait when the store is away.
const STORE_PATIENCE: Duration = Duration::from_secs(1);

/// An error as clients see it: RFC 9457 `application/problem+json` with a stable `code`.
///
/// Everything in it is shown to the client: it never holds what an operator alone should read (paths,
/// addresses, stack traces). Causes of that kind are logged where the problem is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code, such as `http.not_found`. Clients branch on this.
    pub code: String,
    /// A short summary, the same for every problem of this code.
    pub title: String,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
    /// Further members.
    pub extra: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem. Its title is read off its code.
    pub fn new(status: StatusCode, code: impl Into<String>, detail: impl Display) -> Self {
        let code = code.into();
        let title = title_of(&code);
        let mut detail = detail.to_string();
        if let Some((cut, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(cut);
            detail.push('…');
        }
        Self { status, code, title, detail, extra: Map::new(), retry_after: None }
    }

    /// With a further member. The members every problem has cannot be replaced.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// With a `Retry-After` header, in whole seconds, at least one.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.max(Duration::from_secs(1)));
        self
    }

    /// 404 `http.not_found`.
    pub fn not_found(detail: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "http.not_found", detail)
    }

    /// 400 `http.invalid`.
    pub fn invalid(detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "http.invalid", detail)
    }

    /// 409 with a code of its own.
    pub fn conflict(code: impl Into<String>, detail: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 500 `http.internal`, for defects; the cause is logged, not shown.
    pub fn internal(cause: impl Display) -> Self {
        tracing::error!(cause = %cause, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "http.internal", "something is wrong on our side; it was logged")
    }

    /// The problem as JSON, as one entry of an answer that names several.
    pub fn to_json(&self) -> Value {
        let mut members = self.extra.clone();
        let own = [
            ("type", json!(format!("urn:tidewire:problem:{}", self.code))),
            ("title", json!(self.title)),
            ("status", json!(self.status.as_u16())),
            ("code", json!(self.code)),
            ("detail", json!(self.detail)),
        ];
        members.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(members)
    }
}

/// `http.body_too_large` → `Body too large`.
fn title_of(code: &str) -> String {
    let words = code.rsplit('.').next().unwrap_or_default().replace('_', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.title, self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    /// The problem itself stays in the answer's extensions, so that an outer layer can add to it.
    fn into_response(self) -> Response {
        let mut response = (self.status, self.to_json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    /// Conflicts are the client's to resolve (409); a store that is away is worth another try (503); the rest
    /// is ours (500). What the store said is logged, not shown: it may name files and hosts.
    fn from(error: StoreError) -> Self {
        let code = error.code();
        match &error {
            StoreError::Conflict(conflict) => Self::conflict(code, conflict),
            StoreError::Retired(_) => {
                tracing::warn!(%error, "store");
                let detail = "what this needs was retired from the log; nothing was written";
                Self::new(StatusCode::GONE, code, detail)
            }
            StoreError::Unknown(_) => {
                tracing::warn!(%error, "store");
                let detail = "it is not known whether the request was carried out; look before trying again, \
                              or repeat it with the same Idempotency-Key";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(STORE_PATIENCE)
            }
            _ if error.is_transient() => {
                tracing::warn!(%error, "store");
                let detail = "the store cannot take the request now; nothing was written, try again later";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(STORE_PATIENCE)
            }
            _ => {
                tracing::error!(%error, "store");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, "the store cannot do this; it was logged")
            }
        }
    }
}

impl<E: std::error::Error> From<CommandError<E>> for Problem {
    /// A refusal is 409 `command.refused`, in the words of the aggregate; a service with codes of its own maps
    /// [`CommandError::Refused`] itself.
    fn from(error: CommandError<E>) -> Self {
        match error {
            CommandError::Refused(refusal) => Self::conflict("command.refused", refusal),
            CommandError::Schema(error) => {
                tracing::error!(%error, "a stream cannot be read");
                let detail = "what is stored cannot be read by this build; it was logged";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.code(), detail)
            }
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<EnvelopeError> for Problem {
    fn from(error: EnvelopeError) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, error.code(), &error);
        match error {
            EnvelopeError::Missing { attribute } => problem.with("attribute", attribute),
            EnvelopeError::Invalid { attribute, .. } => problem.with("attribute", attribute),
            EnvelopeError::Malformed { .. } => problem,
        }
    }
}

impl From<CodecError> for Problem {
    fn from(error: CodecError) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, error.code(), &error);
        match error.attribute() {
            Some(attribute) => problem.with("attribute", attribute),
            None => problem,
        }
    }
}

impl From<SchemaError> for Problem {
    fn from(error: SchemaError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_everything_in_its_members() {
        let problem = Problem::not_found("there is no user `7`").with("user", "7").with("status", 1);
        let value = problem.to_json();
        assert_eq!(value["code"], "http.not_found");
        assert_eq!(value["title"], "Not found");
        assert_eq!(value["status"], 404, "an extra member must not hide the real one");
        assert_eq!(value["user"], "7");
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn the_store_decides_the_status_and_keeps_its_secrets() {
        let cases = [
            (StoreError::Unavailable("/var/lib/x".into()), 503, "store.unavailable", true),
            (StoreError::Full("/var/lib/x".into()), 503, "store.full", true),
            (StoreError::Unknown("/var/lib/x".into()), 503, "commit.unknown", true),
            (StoreError::Corrupt("/var/lib/x".into()), 500, "store.corrupt", false),
        ];
        for (error, status, code, retry) in cases {
            let problem = Problem::from(error);
            assert_eq!((problem.status.as_u16(), problem.code.as_str()), (status, code));
            assert!(!problem.detail.contains("/var/lib"), "{problem}");
            assert_eq!(problem.into_response().headers().contains_key(header::RETRY_AFTER), retry);
        }
    }

    #[test]
    fn long_details_are_cut_between_characters() {
        let problem = Problem::invalid("ü".repeat(5_000));
        assert_eq!(problem.detail.chars().count(), MAX_DETAIL_CHARS + 1);
    }
}
