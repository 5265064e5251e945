//! The ingestion participants: extract, store, index, search.

pub mod chunk;
pub mod extract;

pub mod objects;
