//! Timers: something to be done later.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// A wish to be woken, stored with the state that wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// The handler that is woken.
    pub owner: String,
    /// Unique per owner; setting the same id again moves the timer.
    pub id: String,
    /// The ordering unit it concerns.
    pub key: Key,
    /// Not before this moment.
    pub due: DateTime<Utc>,
    /// Whatever the owner needs when it wakes.
    pub data: Bytes,
}

/// A change to timers inside a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerWrite {
    /// Sets or moves a timer.
    Set(Timer),
    /// Removes a timer, if it is there.
    Cancel {
        /// Its owner.
        owner: String,
        /// Its id.
        id: String,
    },
    /// Uses a timer up. The commit is a duplicate if the timer is no longer there: somebody else fired it.
    Fire {
        /// Its owner.
        owner: String,
        /// Its id.
        id: String,
    },
}
