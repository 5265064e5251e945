//! Reading the stream from end to end, for comparing it with the log.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tidewire_core::{BrokerError, Envelope};
use tokio::time::Instant;

use super::{Shared, arrival};

/// The most one scan returns.
const MAX_SCAN: usize = 1_000;
/// How long the server may be silent before a scan is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long the server forgets a scan that was left behind.
const FORGET: Duration = Duration::from_secs(60);
/// Bytes that one page asks for, unless one event has more.
const MAX_BYTES: usize = 16 << 20;

/// One page: what follows `cursor`, oldest first, and the cursor after it. What is no event is passed over, and
/// logged. An empty page is the end as it was when the page was begun.
pub(super) async fn scan(
    shared: &Arc<Shared>,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<Envelope>, Option<String>), BrokerError> {
    let invalid = || BrokerError::Invalid("the cursor is not one that a scan returned".into());
    let mut position = match &cursor {
        None => 0,
        Some(text) => text.parse::<u64>().ok().filter(|seq| *seq < i64::MAX as u64).ok_or_else(invalid)?,
    };
    let limit = limit.clamp(1, MAX_SCAN);
    let info = shared.api.stream(&shared.stream, None).await?;
    let last = info.ok_or_else(|| BrokerError::Unavailable("there is no stream".into()))?.state.last_seq;
    let mut page = Vec::new();
    while position < last && page.is_empty() {
        let reached = read(shared, position, last, limit, &mut page).await?;
        if reached <= position {
            return Err(BrokerError::Unavailable("the server stopped in the middle of a scan".into()));
        }
        position = reached;
    }
    Ok((page, Some(position.to_string())))
}

/// Reads on after `position`, at most `limit` events up to `last`; how far it came.
async fn read(
    shared: &Arc<Shared>,
    position: u64,
    last: u64,
    limit: usize,
    page: &mut Vec<Envelope>,
) -> Result<u64, BrokerError> {
    let name = format!("scan-{:016x}", shared.clock.random());
    let config = json!({
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": position + 1,
        "ack_policy": "none",
        "replay_policy": "instant",
        "max_batch": MAX_SCAN,
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": FORGET.as_nanos() as u64,
    });
    let made = shared.api.put_consumer(&shared.stream, &config).await?;
    let reached = match made.num_pending {
        // All that there was is deleted or too old.
        0 => Ok(last),
        _ => pull(shared, &name, limit, page).await.map(|reached| reached.max(position)),
    };
    let _ = shared.api.delete_consumer(&shared.stream, &name).await;
    reached
}

async fn pull(shared: &Arc<Shared>, name: &str, limit: usize, page: &mut Vec<Envelope>) -> Result<u64, BrokerError> {
    let client = &shared.link.client;
    let inbox = client.new_inbox();
    let unavailable = |reason: String| BrokerError::Unavailable(reason);
    let mut deliveries = client.subscribe(inbox.clone()).await.map_err(|error| unavailable(error.to_string()))?;
    let request = json!({
        "batch": limit,
        "max_bytes": MAX_BYTES.max(2 * shared.options.max_event_bytes),
        "expires": PATIENCE.as_nanos() as u64,
        "no_wait": true,
    });
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{name}", shared.stream);
    let sent = client.publish_with_reply(subject, inbox, request.to_string().into()).await;
    sent.map_err(|error| unavailable(error.to_string()))?;
    let (mut reached, mut came) = (0, 0);
    while came < limit {
        let next = tokio::time::timeout_at(Instant::now() + PATIENCE, deliveries.next()).await;
        let Ok(Some(message)) = next else {
            return Err(shared.link.unavailable("the server stopped in the middle of a scan"));
        };
        if message.status.is_some_and(|status| status.as_u16() != 200) {
            break;
        }
        let Some(arrival) = arrival::read(message, &shared.options.domain) else { continue };
        (reached, came) = (arrival.seq, came + 1);
        match arrival.envelope {
            Ok(envelope) => page.push(envelope),
            Err(reason) => {
                tracing::warn!(seq = arrival.seq, reason, "a foreign event in the stream is passed over");
            }
        }
    }
    Ok(reached)
}
