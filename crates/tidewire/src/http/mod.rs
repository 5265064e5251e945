//! What every HTTP route of every service shares: problems, strict JSON, pages, idempotency keys, positions, and how
//! it is documented ([`RouteDoc`]).
//!
//! Handlers return `Result<_, Problem>`; everything else here is an extractor or an answer. The gateway puts
//! the layers around the routes.

mod idempotency;
mod json;
mod page;
mod position;
mod problem;
mod route_doc;
pub mod shape;
mod strict;

pub use idempotency::{
    Answers, IDEMPOTENCY_KEY, Idempotency, MAX_IDEMPOTENCY_KEY_BYTES, Principal, REPLAYED, RETENTION, expire,
    idempotent,
};
pub use json::{Json, check_media_type, read_body};
pub use page::{DEFAULT_PAGE, MAX_CURSOR_BYTES, MAX_PAGE, Page, PageQuery};
pub use position::{TIDEWIRE_POSITION, caught_up, position_header, position_of};
pub use problem::Problem;
pub use route_doc::{Answer, Parameter, RouteDoc};
pub use strict::{JsonError, MAX_JSON_KEY_BYTES, MAX_JSON_VALUES, check_json, check_numbers, parse_json};

/// The one of `known` that an unknown `word` was probably meant to be, for problems that help.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    crate::config::nearest(word, known.into_iter())
}
