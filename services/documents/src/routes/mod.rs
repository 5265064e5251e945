//! The HTTP surface: submit, look at, search.

mod docs;
mod read;
mod search;
mod send;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tidewire::Ports;
use tidewire::http::Problem;
use tidewire::objects::Objects;

use crate::live::Live;

pub use docs::docs;

/// What the routes need.
#[derive(Clone)]
pub struct Desk {
    pub(crate) ports: Ports,
    pub(crate) objects: Objects,
    pub(crate) index: Option<Live>,
    pub(crate) document_limit: usize,
}

/// The routes of documents.
pub fn routes(desk: Desk) -> Router {
    // Multipart framing comes on top of the document.
    let limit = DefaultBodyLimit::max(desk.document_limit.saturating_add(64 * 1024));
    Router::new()
        .route("/v1/documents", post(send::send).layer(limit).get(read::list))
        .route("/v1/documents/{id}", get(read::one))
        .route("/v1/documents/{id}/text", get(read::text))
        .route("/v1/search", get(search::search))
        .with_state(desk)
}

/// Checks the name of a workspace: 1 to 64 letters, digits, `.`, `_` and `-`.
fn workspace(name: &str) -> Result<String, Problem> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(Problem::invalid("a workspace is named by 1 to 64 letters, digits, `.`, `_` and `-`")
        .with("parameter", "workspace"))
}
