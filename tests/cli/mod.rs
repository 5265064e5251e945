//! The command line, as people and scripts use it.

mod demo;
mod migrate;
mod operators;
mod reconcile;
mod shared;
