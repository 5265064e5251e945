//! `social.followers` and `social.following`: the same pairs, found from either end.

use chrono::{DateTime, Utc};
use events::{UserFollowed, UserUnfollowed};
use serde::{Deserialize, Serialize};
use tidewire::{Envelope, Projection, event_set};

event_set! {
    /// What the pairs are made of.
    pub enum FollowEvent { Followed(UserFollowed), Unfollowed(UserUnfollowed) }
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Who follows a user: rows `<followed>/<follower>`.
pub struct Followers;

/// Whom a user follows: rows `<follower>/<followed>`. All events of a pair lie in one stream, the followed
/// user's, so they come in order here too.
pub struct Following;

fn pair(event: &FollowEvent) -> (&str, &str) {
    match event {
        FollowEvent::Followed(event) => (&event.follower_id, &event.followed_id),
        FollowEvent::Unfollowed(event) => (&event.follower_id, &event.followed_id),
    }
}

fn fold(row: &mut Option<Follow>, event: &FollowEvent, envelope: &Envelope) {
    match event {
        FollowEvent::Followed(_) => {
            row.get_or_insert(Follow { since: envelope.time });
        }
        FollowEvent::Unfollowed(_) => *row = None,
    }
}

impl Projection for Followers {
    const NAME: &'static str = "social.followers";
    const COLLECTION: &'static str = "follower";
    type Event = FollowEvent;
    type Row = Follow;

    fn rows(event: &FollowEvent, _: &Envelope) -> Vec<String> {
        let (follower, followed) = pair(event);
        vec![format!("{followed}/{follower}")]
    }

    fn apply(row: &mut Option<Follow>, _: &str, event: &FollowEvent, envelope: &Envelope) {
        fold(row, event, envelope);
    }
}

impl Projection for Following {
    const NAME: &'static str = "social.following";
    const COLLECTION: &'static str = "following";
    type Event = FollowEvent;
    type Row = Follow;

    fn rows(event: &FollowEvent, _: &Envelope) -> Vec<String> {
        let (follower, followed) = pair(event);
        vec![format!("{follower}/{followed}")]
    }

    fn apply(row: &mut Option<Follow>, _: &str, event: &FollowEvent, envelope: &Envelope) {
        fold(row, event, envelope);
    }
}
