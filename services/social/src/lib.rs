//! Users, and who follows whom.
//!
//! A [`User`] is an event-sourced aggregate. Everything that happens to a user lies in that user's stream: who
//! follows Ada is decided, and recorded, in Ada's stream. Four projections answer the questions.
//!
//! Users that another system owns need not be registered here: `user.followed` may come from anywhere, and
//! the lists and feeds show it.

mod docs;
mod email;
mod feed;
mod follows;
mod profile;
mod routes;
#[cfg(test)]
mod tests;
mod user;

use std::sync::Arc;

use tidewire::config::Config;
use tidewire::{Commands, Ports, Service};

pub use email::{Email, InvalidEmail};
pub use feed::{FEED_KEPT, FEED_SOURCES, Feed, FeedEntry, Happening};
pub use follows::{Follow, Followers, Following};
pub use profile::{Profile, Profiles};
pub use user::{MAX_FOLLOWERS, User, UserCommand, UserError, UserEvent};

/// The emitter of this service's events.
pub const SOURCE: &str = "/social";

/// The service: the `User` commands and queries over HTTP, and the projections behind the queries.
pub fn service(ports: &Ports, config: &Config) -> Service {
    let commands = Commands::new(ports, SOURCE).snapshot_every(u64::from(config.store.snapshot_every));
    let social = Arc::new(routes::Social { ports: ports.clone(), commands });
    Service::new("social")
        .projection(Profiles)
        .projection(Followers)
        .projection(Following)
        .projection(Feed)
        .routes(routes::router(social))
        .documented(docs::docs())
}
