//! The command line, as people and scripts use it.

mod demo;
mod operators;
mod reconcile;
mod shared;
