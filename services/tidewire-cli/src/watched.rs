//! What `/readyz` reports beside the store and the broker.

use std::path::PathBuf;
use std::sync::Arc;

use gateway::{Check, Condition, Health};
use tidewire::operate::Operator;

/// So far may the relay be behind the log without anybody looking: seconds of its work.
const FAR_BEHIND: u64 = 20_000;
/// Free bytes below which nothing can be relied on: a flush of everything that is buffered, several times.
const LEAST_FREE: u64 = 64 << 20;
/// Free bytes below which somebody should look.
const LITTLE_FREE: u64 = 1 << 30;

/// Has the probes report the relay, the consumers and the disk.
pub fn watch(health: &Health, operator: &Operator, data_dir: PathBuf) {
    let operator = operator.clone();
    health.watch(Check::new("relay", move || relay(operator.clone())));
    let data_dir = Arc::new(data_dir);
    health.watch(Check::new("disk", move || disk(data_dir.clone())));
}

async fn relay(operator: Operator) -> Condition {
    match operator.relays_at().await {
        Err(error) => Condition::Down(error.code().to_owned()),
        Ok(rows) => match rows.iter().max_by_key(|row| row.behind) {
            Some(row) if row.behind > FAR_BEHIND => {
                Condition::Degraded(format!("shard {} is {} positions behind the log", row.shard, row.behind))
            }
            _ => Condition::Up(None),
        },
    }
}

async fn disk(data_dir: Arc<PathBuf>) -> Condition {
    // A disk that hangs holds this thread, and the probe goes on without it.
    let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(data_dir.as_path())).await;
    match asked {
        Ok(Ok(found)) => judge(found.f_bavail.saturating_mul(found.f_frsize)),
        Ok(Err(error)) => Condition::Down(format!("cannot be asked: {error}")),
        Err(_) => Condition::Down("cannot be asked".into()),
    }
}

fn judge(free: u64) -> Condition {
    let said = format!("{} MiB free", free >> 20);
    match free {
        ..LEAST_FREE => Condition::Down(said),
        LEAST_FREE..LITTLE_FREE => Condition::Degraded(said),
        _ => Condition::Up(Some(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_before_it_is_full() {
        assert_eq!(judge(10 << 20), Condition::Down("10 MiB free".into()));
        assert_eq!(judge(500 << 20), Condition::Degraded("500 MiB free".into()));
        assert_eq!(judge(5 << 30), Condition::Up(Some("5120 MiB free".into())));
    }

    #[tokio::test]
    async fn the_disk_of_a_folder_is_found() {
        assert_ne!(disk(Arc::new(std::env::temp_dir())).await, Condition::Down("cannot be asked".into()));
        assert!(matches!(disk(Arc::new("/nowhere/at/all".into())).await, Condition::Down(_)));
    }
}
