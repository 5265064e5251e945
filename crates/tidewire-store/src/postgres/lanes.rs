//! Lanes: where commits wait whose streams somebody's long transaction has locked, so that the others flow.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::StoreError;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::committer::{Committer, Pending, refuse};

/// How many commits wait for locked streams; further ones are refused at once.
pub(super) const QUEUE: usize = 1_024;
/// How long a commit waits for a locked stream, all tries together.
const PATIENCE: Duration = Duration::from_secs(10);

/// A commit that has to wait.
pub(super) struct Blocked {
    pub pending: Pending,
    /// When it was found to be blocked.
    pub since: Instant,
}

/// Hands commits over to the lanes.
pub(super) fn hand_over(lanes: &mpsc::WeakSender<Blocked>, blocked: Vec<Pending>, since: Instant) {
    for pending in blocked {
        let refused = match lanes.upgrade().map(|lanes| lanes.try_send(Blocked { pending, since })) {
            Some(Ok(())) => continue,
            Some(Err(mpsc::error::TrySendError::Full(blocked) | mpsc::error::TrySendError::Closed(blocked))) => blocked,
            None => continue,
        };
        let error = StoreError::Unavailable("too many commits wait for streams that are locked".into());
        refuse(vec![refused.pending], &error);
    }
}

/// One lane: takes a commit, waits for its streams as long as its session's `lock_timeout` says, and puts it at the end
/// of the line again if that was in vain.
pub(super) async fn run(mut committer: Committer, blocked: Arc<Mutex<mpsc::Receiver<Blocked>>>) {
    loop {
        let next = blocked.lock().await.recv().await;
        let Some(Blocked { pending, since }) = next else { break };
        if since.elapsed() >= PATIENCE {
            let error = StoreError::Unavailable("its stream is locked by a transaction that does not end".into());
            refuse(vec![pending], &error);
            continue;
        }
        let still = committer.process(vec![pending]).await;
        hand_over(&committer.shared.lanes, still, since);
    }
    committer.link.close().await;
}
