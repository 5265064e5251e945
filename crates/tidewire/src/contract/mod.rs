//! Contracts: whether a change of an event's schema breaks somebody.
//!
//! The question is always one of inclusion: does whoever *reads* with one schema understand everything that is
//! *written* under another? [`breaks`] answers it for two JSON Schemas, path by path; [`compare`] asks it for two whole
//! catalogues under a [`Mode`].

mod asyncapi;
mod catalogue;
mod inclusion;
mod mode;
mod schema;
#[cfg(test)]
mod tests;

pub use asyncapi::{Described, document as asyncapi};
pub use catalogue::{Catalogue, CatalogueError, Finding, MAX_SCHEMA_BYTES, compare};
pub use inclusion::{Break, breaks};
pub use mode::Mode;
