//! What a running process tells its operators: log lines on stderr, and numbers for Prometheus.
//!
//! ERROR in a log line means that a person must act; what heals by itself is WARN at most. Log lines
//! and label values never hold payloads or secrets.

mod exposition;
pub mod logs;
pub mod metrics;

pub use logs::{TelemetryError, init};
