//! What tests stand on: a world in a temporary folder, and waiting for a condition with a deadline.

pub mod auditor;
pub mod endpoint;
pub mod event;
pub mod ground;
pub mod handlers;
pub mod load;
pub mod poison;
pub mod process;
pub mod smtp;
pub mod workload;
pub mod world;

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it broken: generous, since it is only spent on failures.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` answers something. Panics with `what` after [`PATIENCE`].
pub async fn eventually<T, F>(what: &str, condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(PATIENCE, what, condition).await
}

/// Waits until `condition` answers something, for so long.
pub async fn within<T, F>(patience: Duration, what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
