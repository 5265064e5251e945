//! Waiting until nothing is on its way any more, and then looking every event up.

use std::time::Duration;

use tidewire::operate::{Audit, OperateError, Operator};
use tokio::time::Instant;

use crate::exit::Exit;
use crate::failure::Failure;

/// Nothing moved for this long: whatever is missing will not come.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Between two looks; after an audit that found something under way, longer each time: it reads the whole log.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(2);

/// Waits until every consumer has caught up with a log that stands still, and audits. Gives the audit as it is when
/// nothing moves any more.
pub async fn settle(operator: &Operator) -> Result<Audit, Failure> {
    let mut last = (0, 0, 0);
    let (mut moved, mut wait) = (Instant::now(), LOOK_AGAIN);
    loop {
        let consumers = operator.consumers().await?;
        let pending: u64 = consumers.iter().map(|consumer| consumer.pending).sum();
        let handled: u64 = consumers.iter().map(|consumer| consumer.handled).sum();
        let head = operator.ports().store.head().await?;
        if (head.0, handled, pending) != last {
            last = (head.0, handled, pending);
            moved = Instant::now();
        }
        let stalled = moved.elapsed() > STALLED_AFTER;
        if pending == 0 || stalled {
            let audit = operator.audit().await?;
            if audit.lost == 0 && operator.ports().store.head().await? == audit.head || stalled {
                return Ok(audit);
            }
            wait = (wait * 2).min(LOOK_AGAIN_MAX);
        }
        tokio::time::sleep(wait).await;
    }
}

impl From<OperateError> for Failure {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Store(error) => error.into(),
            OperateError::Broker(error) => error.into(),
            error @ OperateError::NoConsumer { .. } => Failure::new(Exit::NotFound, error.code().to_owned(), error),
            error @ (OperateError::Busy { .. } | OperateError::Changed { .. }) => {
                Failure::new(Exit::Conflict, error.code().to_owned(), error)
            }
            error @ OperateError::Invalid(_) => Failure::new(Exit::Invalid, error.code().to_owned(), error),
            error @ OperateError::NotParked { .. } => Failure::new(Exit::NotFound, error.code().to_owned(), error),
            error @ OperateError::Relay { .. } => Failure::new(Exit::Unavailable, error.code().to_owned(), error),
        }
    }
}
