//! `social.feed`: what the people one follows did lately.
//!
//! The feed is gathered when it is read. Each user has one row with the newest [`FEED_KEPT`] things *they* did;
//! a feed merges the rows of those its reader follows, found with one look-up. Copying every event into every
//! follower's feed when it happens would make reading cheaper, but one event of somebody with 100,000 followers
//! would cost 100,000 writes, and following or leaving somebody would have to rewrite the past. Here an event
//! costs one write whoever did it, and a feed is right the moment one follows or leaves.

use chrono::{DateTime, Utc};
use events::{ActivityTracked, UserFollowed, UserId, UserUnfollowed};
use serde::{Deserialize, Serialize};
use tidewire::{Envelope, Projection, event_set};

/// How far back a feed reaches for each person followed, in entries. Keeps a row within some 40 kB.
pub const FEED_KEPT: usize = 50;
/// How many people a feed is gathered from: those followed last. Keeps one reading within 10,000 entries.
pub const FEED_SOURCES: usize = 200;

event_set! {
    /// What feeds are made of.
    pub enum FeedEvent { Activity(ActivityTracked), Followed(UserFollowed), Unfollowed(UserUnfollowed) }
}

/// One thing somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// The id of the event.
    pub id: String,
    /// When.
    pub time: DateTime<Utc>,
    /// Who.
    pub user_id: UserId,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// A tracked activity.
    Activity {
        /// What was done.
        action: String,
        /// What it was done to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<String>,
    },
    /// Began to follow somebody.
    Followed {
        /// Whom.
        followed_id: UserId,
    },
}

impl FeedEntry {
    /// Its place in the order of feeds: later is greater.
    pub fn place(&self) -> String {
        format!("{:020}/{}", self.time.timestamp_micros().max(0), self.id)
    }
}

/// What each user did lately, newest first, by user id.
pub struct Feed;

impl Projection for Feed {
    const NAME: &'static str = "social.feed";
    const COLLECTION: &'static str = "feed";
    type Event = FeedEvent;
    type Row = Vec<FeedEntry>;

    fn rows(event: &FeedEvent, _: &Envelope) -> Vec<String> {
        vec![actor(event).to_string()]
    }

    fn apply(row: &mut Option<Vec<FeedEntry>>, _: &str, event: &FeedEvent, envelope: &Envelope) {
        let mut entries = row.take().unwrap_or_default();
        let what = match event {
            FeedEvent::Unfollowed(event) => {
                let left = Happening::Followed { followed_id: event.followed_id.clone() };
                entries.retain(|entry| entry.what != left);
                *row = Some(entries).filter(|entries| !entries.is_empty());
                return;
            }
            FeedEvent::Activity(event) => {
                Happening::Activity { action: event.action.clone(), object: event.object.clone() }
            }
            FeedEvent::Followed(event) => Happening::Followed { followed_id: event.followed_id.clone() },
        };
        // What claims to be of the future would sit on top of every feed until then.
        let time = envelope.recordedtime.map_or(envelope.time, |recorded| envelope.time.min(recorded));
        let entry = FeedEntry { id: envelope.id.clone(), time, user_id: actor(event).clone(), what };
        let at = entries.partition_point(|other| other.place() > entry.place());
        entries.insert(at, entry);
        entries.truncate(FEED_KEPT);
        *row = Some(entries);
    }
}

fn actor(event: &FeedEvent) -> &UserId {
    match event {
        FeedEvent::Activity(event) => &event.user_id,
        FeedEvent::Followed(event) => &event.follower_id,
        FeedEvent::Unfollowed(event) => &event.follower_id,
    }
}

/// The newest entries of all `rows` that come after (are older than) `cursor`, at most `limit`.
pub(crate) fn merge(rows: Vec<Vec<FeedEntry>>, cursor: Option<&str>, limit: usize) -> Vec<FeedEntry> {
    let mut entries: Vec<(String, FeedEntry)> = rows
        .into_iter()
        .flatten()
        .map(|entry| (entry.place(), entry))
        .filter(|(place, _)| cursor.is_none_or(|cursor| place.as_str() < cursor))
        .collect();
    entries.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    entries.truncate(limit);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id(text: &str) -> UserId {
        UserId::new(text).unwrap()
    }

    fn at(second: i64, id: &str) -> Envelope {
        let time = DateTime::from_timestamp(second, 0).unwrap().to_rfc3339();
        serde_json::from_value(json!({
            "specversion": "1.0", "id": id, "source": "/t", "type": "activity.tracked.v2", "time": time,
            "partitionkey": "k", "recordedtime": "2030-01-01T00:00:00Z"
        }))
        .unwrap()
    }

    fn activity(action: &str) -> FeedEvent {
        ActivityTracked { user_id: id("7"), action: action.into(), object: None, metadata: None }.into()
    }

    fn fold(events: &[(i64, FeedEvent)]) -> Vec<FeedEntry> {
        let mut row = None;
        for (n, (second, event)) in events.iter().enumerate() {
            Feed::apply(&mut row, "7", event, &at(*second, &n.to_string()));
        }
        row.unwrap_or_default()
    }

    #[test]
    fn keeps_the_newest_whatever_order_they_come_in() {
        let seconds = (0..2 * FEED_KEPT as i64).rev().chain([1_000]);
        let entries = fold(&seconds.map(|second| (second, activity("a"))).collect::<Vec<_>>());
        assert_eq!(entries.len(), FEED_KEPT);
        assert_eq!(entries[0].time.timestamp(), 1_000);
        assert!(entries.is_sorted_by(|a, b| a.place() > b.place()));
        assert_eq!(entries[FEED_KEPT - 1].time.timestamp(), FEED_KEPT as i64 + 1);
    }

    #[test]
    fn leaving_somebody_takes_the_news_back() {
        let (follower_id, followed_id) = (id("7"), id("42"));
        let followed = UserFollowed { follower_id: follower_id.clone(), followed_id: followed_id.clone() };
        let left = UserUnfollowed { follower_id, followed_id };
        assert_eq!(fold(&[(1, followed.clone().into()), (2, left.clone().into())]), []);
        let kept = fold(&[(1, activity("a")), (2, followed.into()), (3, left.into())]);
        assert_eq!(kept.len(), 1);
    }

    #[test]
    fn the_future_is_now() {
        let far = 4_000_000_000;
        assert_eq!(fold(&[(far, activity("a"))])[0].time.to_rfc3339(), "2030-01-01T00:00:00+00:00");
    }

    #[test]
    fn pages_are_seamless() {
        let rows = || {
            let row = |from: i64| fold(&(0..10).map(|n| (from + n * 2, activity("a"))).collect::<Vec<_>>());
            vec![row(0), row(1), vec![]]
        };
        let whole = merge(rows(), None, 100);
        assert_eq!(whole.len(), 20);
        assert!(whole.is_sorted_by(|a, b| a.place() > b.place()));
        let mut pages = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = merge(rows(), cursor.as_deref(), 7);
            let Some(last) = page.last() else { break };
            cursor = Some(last.place());
            pages.extend(page);
        }
        assert_eq!(pages, whole);
    }

    #[test]
    fn entries_survive_storage() {
        let entries = fold(&[(1, activity("a"))]);
        let json = serde_json::to_value(&entries).unwrap();
        assert_eq!(json[0]["kind"], "activity");
        assert_eq!(serde_json::from_value::<Vec<FeedEntry>>(json).unwrap(), entries);
    }
}
