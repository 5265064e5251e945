//! The old system: rows of its tables, and what they mean as events and as rows of a projection.
//!
//! Everything that leaves it goes through the same HTTP surface as any other event.

mod mapping;
mod place;
mod rows;
mod template;

pub use mapping::Mapping;
pub use place::Place;
pub use rows::{Row, Rows};

use crate::exit::Exit;
use crate::failure::Failure;

/// The mapping file cannot be used.
fn mapping(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Invalid, "import.mapping", message)
}

/// The old system cannot be read.
fn source(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unavailable, "import.source", message)
}
