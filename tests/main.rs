//! Every promise, as a test: one binary, because linking is what tests wait for.

mod cli;
mod crash;
mod flow;
mod house;
mod support;
