//! Telling people: in-app notifications with a live stream, and e-mail.
//!
//! One handler turns events into notifications, in the same commit as its inbox mark: each notification exists
//! exactly once, in the order in which its inbox was written. E-mail is asked for as an effect of that commit.

mod docs;
mod handler;
mod hub;
mod inbox;
mod kind;
mod notification;
mod preferences;
mod recipient;
mod routes;
mod stream;
#[cfg(test)]
mod tests;
mod wording;

use std::sync::Arc;

use tidewire::config::Config;
use tidewire::{Ports, Service};

pub use handler::{NotificationEvent, Notifier};
pub use hub::{Hub, Watch};
pub use inbox::Inbox;
pub use kind::Kind;
pub use notification::{INBOXES, InboxState, KEPT, NOTIFICATIONS, Notification, UNREAD, row_id};
pub use preferences::{PREFERENCES, Preferences};

/// The service: the handler, the routes, and the hub that wakes live streams.
pub fn service(ports: &Ports, config: &Config) -> Service {
    let hub = Arc::new(Hub::default());
    let routes = routes::Notifications::new(ports.clone(), hub.clone());
    let store = ports.store.clone();
    let waker = hub.clone();
    Service::new("notifications")
        .handler(Notifier::new(hub, !config.smtp.url.is_empty()))
        .routes(routes::router(Arc::new(routes)))
        .documented(docs::docs())
        .background("notifications.hub", move |stop| async move {
            tokio::select! {
                () = waker.run(store) => {}
                () = stop.cancelled() => {}
            }
            // Live streams end, so that the server can close their connections.
            waker.close();
        })
}
