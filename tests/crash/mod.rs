//! Crashes: real processes, killed for real, at every point that exists on one machine.

mod kills;
mod matrix;
mod poisoned;
mod pushing;
mod refusals;
mod replays;
mod shutdown;
