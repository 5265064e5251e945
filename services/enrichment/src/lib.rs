//! Language, keywords, entities and near-duplicates of documents.

pub mod analysis;
mod near;
mod part;
mod service;

pub use part::Enrichment;
pub use service::{EnrichmentError, service};
