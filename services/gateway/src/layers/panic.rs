//! The net for panics: one request fails, not the process.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use tidewire::http::Problem;

/// The answer to a request whose handler panicked: 500 `http.internal`. What the panic said is logged.
pub fn caught(panic: Box<dyn Any + Send + 'static>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(format_args!("panic: {}", said.unwrap_or("(not a text)"))).into_response()
}
