//! JSON in and out.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::strict::{JsonError, parse_json};

/// A JSON body. As an extractor it is strict: the content type must be JSON in UTF-8, and the text must pass
/// [`parse_json`](super::parse_json); everything else is a [`Problem`]. Bodies are limited by the route
/// ([`DefaultBodyLimit`](axum::extract::DefaultBodyLimit)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let typed = check_media_type(request.headers(), is_json);
        let body = read_body(request, state).await?;
        // An empty body has no type to complain about.
        if body.is_empty() {
            return Err(JsonError::Empty.into());
        }
        typed?;
        Ok(Self(parse_json(&body)?))
    }
}

/// A body that may be left out; one that is there is as strictly read as any.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let typed = check_media_type(request.headers(), is_json);
        let body = read_body(request, state).await?;
        if body.is_empty() {
            return Ok(None);
        }
        typed?;
        Ok(Some(Self(parse_json(&body)?)))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(text) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), error)
    }
}

/// Reads the whole body within the route's limit: 413 `http.body_too_large` beyond it.
pub async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "http.body_too_large",
            "the body is longer than this route takes",
        ),
        _ => Problem::new(StatusCode::BAD_REQUEST, "http.body_broken", "the body ended before it was complete"),
    })
}

/// Checks the content type: one header, of a type that `accepts` (given the essence in lower case), and in
/// UTF-8 if it names a character set at all; 415 `http.unsupported_media_type` otherwise. Also refuses
/// compressed bodies. Answers the essence.
pub fn check_media_type(headers: &HeaderMap, accepts: impl Fn(&str) -> bool) -> Result<String, Problem> {
    let refuse =
        |detail: String| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "http.unsupported_media_type", detail));
    let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    if encoded {
        return refuse("compressed bodies are not taken; send the body as it is".into());
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(found), None) = (types.next(), types.next()) else {
        return refuse("exactly one Content-Type header is needed".into());
    };
    let found = found.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = found.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_owned();
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    if charset.is_some_and(|charset| charset != "utf-8" && charset != "us-ascii") {
        return refuse("only UTF-8 is taken".into());
    }
    if !accepts(&essence) {
        return refuse(format!(
            "`{}` is not taken here",
            essence.chars().take(80).collect::<String>().escape_default()
        ));
    }
    Ok(essence)
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use serde_json::{Value, json};

    async fn extract(content_type: &[&str], body: &str) -> Result<Value, (u16, String)> {
        let mut request = Request::builder();
        for content_type in content_type {
            request = request.header("content-type", *content_type);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let extracted = <Json<Value> as FromRequest<()>>::from_request(request, &()).await;
        extracted.map(|Json(value)| value).map_err(|problem| (problem.status.as_u16(), problem.code))
    }

    #[tokio::test]
    async fn takes_json_by_its_media_type() {
        for good in ["application/json", "APPLICATION/JSON; Charset=UTF-8", "application/vnd.x+json;charset=\"utf-8\""]
        {
            assert_eq!(extract(&[good], "{\"a\":1}").await, Ok(json!({"a": 1})), "{good}");
        }
        let refused = Err((415, "http.unsupported_media_type".to_owned()));
        for bad in [
            &[][..],
            &["text/plain"],
            &["application/json; charset=utf-16"],
            &["application/cloudevents+xml"],
            &["application/json", "application/json"],
        ] {
            assert_eq!(extract(bad, "{}").await, refused, "{bad:?}");
        }
        assert_eq!(extract(&[], "").await, Err((400, "http.empty_body".into())));
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_413() {
        let body = format!("\"{}\"", "x".repeat(3 << 20));
        assert_eq!(extract(&["application/json"], &body).await, Err((413, "http.body_too_large".into())));
    }
}
