//! Every promise, as a test: one binary, because linking is what tests wait for.

// Only its own tests, here; the benchmarks use the rest.
#[allow(dead_code)]
#[path = "bench/harness/mod.rs"]
mod bench;
mod cli;
mod conformance;
mod console;
mod crash;
mod edge;
mod examples;
mod fault;
mod flow;
mod foreign;
mod fuzz;
mod house;
mod support;
