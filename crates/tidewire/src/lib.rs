//! What a service author depends on: the loops over the ports, configuration, telemetry, and every word of
//! `tidewire-core`.
//!
//! A service is a small library that gives a [`Service`]: handlers, projections, sagas, routes. [`run`] puts
//! services on [`Ports`] (a store, a broker, a clock) and runs, for all of them together:
//!
//! - the [`relay`], which forwards the log to the broker;
//! - a [`consume`] loop per handler;
//! - the [`timers`] and [`effects`] loops.
//!
//! Commands come in through [`Commands`]. The map of the house is in `docs/architecture.md`, the reasons in
//! `docs/decisions.md`, both beside this crate.

pub mod codes;
pub mod command;
pub mod config;
pub mod consume;
pub mod contract;
pub mod doctor;
pub mod effects;
pub mod egress;
mod gauges;
pub mod http;
pub mod identity;
pub mod objects;
pub mod operate;
mod ports;
pub mod project;
pub mod push;
pub mod reconcile;
pub mod relay;
pub mod replay;
pub mod roster;
pub mod run;
pub mod saga;
mod service;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod timers;

pub use async_trait::async_trait;
pub use command::{CommandError, Commands, Executed};
pub use ports::Ports;
pub use roster::{Directory, Roster};
pub use service::{Background, Keeper, Service};
pub use tidewire_core::*;

/// Makes `ring` the process' TLS provider. To be called first thing by every program and test that connects
/// to anything; calling it again does nothing.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
