//! `/openapi.json`: what this process serves, for people and for programs that make clients.
//!
//! The services say what their routes take and answer ([`RouteDoc`](tidewire::http::RouteDoc)); what the gateway puts
//! around every route (credentials, idempotency keys, positions, limits, problems) is added here, once.

mod document;
mod route;
#[cfg(test)]
pub(crate) mod tests;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;

pub use document::document;

use crate::router::Part;

/// Serves the document of these parts.
pub(crate) fn routes(parts: &[Part]) -> Router {
    let text = Bytes::from(document(parts).to_string());
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Router::new().route("/openapi.json", get(move || async move { (headers, text).into_response() }))
}
