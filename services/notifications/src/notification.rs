//! Notifications and their inboxes, as documents.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tidewire::{Context, HandlerError};

use crate::inbox::Inbox;
use crate::kind::Kind;

/// The collection of notifications: `<inbox>/<n>`.
pub const NOTIFICATIONS: &str = "notification";
/// The collection that tells which of them are unread: the same ids.
pub const UNREAD: &str = "notification_unread";
/// The collection of inboxes: their names.
pub const INBOXES: &str = "notification_inbox";
/// How many notifications an inbox keeps; the oldest go first, read or not. More than anybody scrolls back.
pub const KEPT: u64 = 1_000;

/// Something a person is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// What it is about.
    pub kind: Kind,
    /// The event it follows from.
    pub event_id: String,
    /// The key of what it is about, such as `document/7`.
    pub subject: String,
    /// When that happened.
    pub time: DateTime<Utc>,
    /// What happened, on one line.
    pub title: String,
    /// What there is to know beyond that.
    pub text: String,
    /// When it was marked as read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<DateTime<Utc>>,
}

/// Where an inbox stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxState {
    /// The number of its newest notification. Numbers are drawn in the order of commits, without gaps, so a
    /// reader who has seen one has seen every lower one: what a live stream resumes by. The ids of events
    /// could not promise that, since events of different keys are handled in any order.
    pub last: u64,
    /// How many of those kept are unread.
    pub unread: u64,
}

/// The id of a notification, so that ids sort by number.
pub fn row_id(inbox: &Inbox, n: u64) -> String {
    format!("{inbox}/{n:012}")
}

/// Puts a notification into an inbox, and the one that has become too old out of it.
pub(crate) async fn deliver(
    cx: &mut Context<'_>,
    inbox: &Inbox,
    notification: &Notification,
) -> Result<(), HandlerError> {
    let mut state: InboxState = cx.get(INBOXES, inbox.as_str()).await?.unwrap_or_default();
    state.last += 1;
    state.unread += 1;
    let id = row_id(inbox, state.last);
    cx.put(NOTIFICATIONS, &id, notification)?;
    cx.put(UNREAD, &id, &())?;
    if state.last > KEPT {
        let id = row_id(inbox, state.last - KEPT);
        if let Some(old) = cx.get::<Notification>(NOTIFICATIONS, &id).await? {
            if old.read.is_none() {
                state.unread = state.unread.saturating_sub(1);
            }
            cx.remove(NOTIFICATIONS, &id);
            cx.remove(UNREAD, &id);
        }
    }
    cx.put(INBOXES, inbox.as_str(), &state)
}
