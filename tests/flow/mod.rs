//! Flows: the loops on real stores, in one process.

mod commands;
mod consuming;
mod effects;
mod parking;
mod reconciling;
mod relaying;
