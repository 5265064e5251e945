//! What a person wants to be told, and how.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::inbox::Inbox;
use crate::kind::Kind;

/// The collection of preferences: the names of inboxes.
pub const PREFERENCES: &str = "notification_preferences";

/// What a person wants. By default everything, by e-mail too: who gave an address can be written to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preferences {
    /// Whether a kind also goes out by e-mail.
    pub email: BTreeMap<Kind, bool>,
    /// Kinds that are not told at all.
    pub muted: BTreeSet<Kind>,
}

impl Preferences {
    /// Whether to tell `kind` at all.
    pub fn tells(&self, kind: Kind) -> bool {
        !self.muted.contains(&kind)
    }

    /// Whether to send `kind` by e-mail.
    pub fn mails(&self, kind: Kind) -> bool {
        self.tells(kind) && self.email.get(&kind).copied().unwrap_or(true)
    }

    /// With every kind written out.
    pub fn complete(mut self) -> Self {
        for kind in Kind::ALL {
            self.email.entry(kind).or_insert(true);
        }
        self
    }

    /// The document they are kept in.
    pub(crate) fn id(inbox: &Inbox) -> &str {
        inbox.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_is_told_unless_said_otherwise() {
        let none = Preferences::default();
        assert!(Kind::ALL.into_iter().all(|kind| none.tells(kind) && none.mails(kind)));
        let some: Preferences =
            serde_json::from_value(json!({ "email": { "user.followed": false }, "muted": ["saga.stuck"] })).unwrap();
        assert!(some.tells(Kind::UserFollowed) && !some.mails(Kind::UserFollowed));
        assert!(!some.tells(Kind::SagaStuck) && !some.mails(Kind::SagaStuck));
        assert_eq!(some.complete().email.len(), Kind::ALL.len());
    }

    #[test]
    fn typing_errors_are_refused() {
        for bad in [json!({ "mute": [] }), json!({ "muted": ["user.folowed"] }), json!({ "email": { "x": true } })] {
            assert!(serde_json::from_value::<Preferences>(bad.clone()).is_err(), "{bad}");
        }
    }
}
