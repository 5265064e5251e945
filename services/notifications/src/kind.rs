//! What a notification is about.

use serde::{Deserialize, Serialize};

/// What a notification is about, written as the name of the event it follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Somebody follows the recipient.
    #[serde(rename = "user.followed")]
    UserFollowed,
    /// A document can be found.
    #[serde(rename = "document.ingested")]
    DocumentIngested,
    /// A document could not be ingested, and was undone.
    #[serde(rename = "document.rejected")]
    DocumentRejected,
    /// A saga needs a person.
    #[serde(rename = "saga.stuck")]
    SagaStuck,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::UserFollowed, Self::DocumentIngested, Self::DocumentRejected, Self::SagaStuck];
}
