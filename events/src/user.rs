//! Users, and who follows whom. Every event lies in the stream of the user it happens to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::Key;

use crate::catalogue::events;
use crate::user_id::UserId;

/// Somebody signed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRegistered {
    /// The new user.
    pub user_id: UserId,
    /// The name to show.
    #[schemars(length(min = 1, max = crate::limits::NAME))]
    pub name: String,
    /// Where to send e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::limits::EMAIL))]
    pub email: Option<String>,
}

/// Somebody began to follow somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserFollowed {
    /// Who follows.
    pub follower_id: UserId,
    /// Who is followed; the event lies in this user's stream.
    pub followed_id: UserId,
}

/// Somebody stopped following somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserUnfollowed {
    /// Who followed.
    pub follower_id: UserId,
    /// Who was followed; the event lies in this user's stream.
    pub followed_id: UserId,
}

/// The stream of a user.
pub fn key(user: &UserId) -> Key {
    Key::of("user", user)
}

events! {
    UserRegistered = "user.registered" v 1, key(e) key(&e.user_id),
        example { "user_id": "42", "name": "Ada Lovelace", "email": "ada@example.org" };
    UserFollowed = "user.followed" v 1, key(e) key(&e.followed_id),
        example { "follower_id": "7", "followed_id": "42" };
    UserUnfollowed = "user.unfollowed" v 1, key(e) key(&e.followed_id),
        example { "follower_id": "7", "followed_id": "42" };
}
