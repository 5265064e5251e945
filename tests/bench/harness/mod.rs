//! The harness: slices of both sides in turn, ratios of neighbours, a verdict that noise cannot buy, and the page
//! that keeps them. Nothing in here knows what is measured.

pub mod judge;
pub mod page;
pub mod rounds;
pub mod row;
pub mod stats;

#[cfg(test)]
mod tests;
