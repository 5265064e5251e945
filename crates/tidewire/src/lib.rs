//! What a service author depends on: the loops over the ports, configuration, telemetry.

pub mod codes;
pub mod config;
pub mod http;
pub mod saga;
pub mod telemetry;
