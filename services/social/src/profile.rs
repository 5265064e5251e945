//! `social.users`: what there is to show of a user.

use chrono::{DateTime, Utc};
use events::UserRegistered;
use serde::{Deserialize, Serialize};
use tidewire::{Envelope, Projection, event_set};

event_set! {
    /// What the profiles are made of.
    pub enum ProfileEvent { Registered(UserRegistered) }
}

/// A user as others see them. The e-mail address is not among it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The name to show.
    pub name: String,
    /// Since when.
    pub registered: DateTime<Utc>,
}

/// Profiles by user id.
pub struct Profiles;

impl Projection for Profiles {
    const NAME: &'static str = "social.users";
    const COLLECTION: &'static str = "user";
    type Event = ProfileEvent;
    type Row = Profile;

    fn rows(ProfileEvent::Registered(event): &ProfileEvent, _: &Envelope) -> Vec<String> {
        vec![event.user_id.to_string()]
    }

    fn apply(row: &mut Option<Profile>, _: &str, event: &ProfileEvent, envelope: &Envelope) {
        let ProfileEvent::Registered(event) = event;
        *row = Some(Profile { name: event.name.clone(), registered: envelope.time });
    }
}
