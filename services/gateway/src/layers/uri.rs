//! The length of an address.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::http::Problem;

/// The longest path with its query, in bytes: the longest filter and cursor there are, and as much as proxies pass on.
const MAX_URI_BYTES: usize = 8 * 1024;

/// Refuses longer ones with 414 `http.uri_too_long`, before anybody parses them.
pub async fn uri(request: Request, next: Next) -> Response {
    let length = request.uri().path_and_query().map_or(0, |all| all.as_str().len());
    if length <= MAX_URI_BYTES {
        return next.run(request).await;
    }
    let detail = format!("path and query take {length} bytes; at most {MAX_URI_BYTES} are taken");
    Problem::new(StatusCode::URI_TOO_LONG, "http.uri_too_long", detail).into_response()
}
