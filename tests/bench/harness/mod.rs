//! The harness: slices of both sides in turn, ratios of neighbours, and a verdict that noise cannot buy.
//! Nothing in here knows what is measured.

pub mod judge;
pub mod rounds;
pub mod stats;

#[cfg(test)]
mod tests;
