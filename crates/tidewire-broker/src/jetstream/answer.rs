//! Answers to the server: acknowledgements and signs of work, sent behind the handlers' backs.

use std::sync::Arc;

use async_nats::Subject;
use tidewire_core::bytes::Bytes;

use super::group::Group;

/// What is said of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is done.
    Ack,
    /// It is still here.
    Progress,
}

/// An answer to a delivery.
#[derive(Debug)]
pub(super) struct Answer {
    pub subject: Subject,
    pub kind: Kind,
}

/// Sends a group's answers for as long as it is there. Fire and forget: one that is lost is a delivery that comes
/// again and is known (readers look for such losses).
pub(super) async fn send(group: Arc<Group>) {
    let mut connections = group.shared.link.connections();
    loop {
        group.answered.notified().await;
        // Kept here while there is no connection: what is sent into the void is lost.
        while !group.shared.link.is_up() {
            if group.state().ended || connections.changed().await.is_err() {
                return;
            }
        }
        let (answers, ended) = {
            let mut state = group.state();
            (std::mem::take(&mut state.answers), state.ended)
        };
        for Answer { subject, kind } in answers {
            let body = match kind {
                Kind::Ack => Bytes::from_static(b"+ACK"),
                Kind::Progress => Bytes::from_static(b"+WPI"),
            };
            if let Err(error) = group.shared.link.client.publish(subject, body).await {
                tracing::debug!(%error, "an acknowledgement was not sent");
            }
        }
        if ended {
            return;
        }
    }
}
