//! The ingestion participants: extract, store, index; and the routes to submit, look at and search documents.

pub mod chunk;
pub mod extract;
pub mod index;
mod listing;
pub mod live;
pub mod parts;
mod rebuild;
mod routes;
mod service;
pub mod submit;
mod tidy;
pub mod view;

pub use service::{DocumentsError, service, service_elsewhere, service_in};
