//! Push subscriptions: any HTTP endpoint becomes a consumer with everything a handler of this process has.
//!
//! A [`Subscription`] is a document. Each is the consumer `push.<id>`: durable, ordered per key, retried, parked and
//! counted like any other, because its [`PushHandler`] is a handler like any other, which sends the event to the endpoint
//! and puts the events of the answer into its context. So a reply is emitted in the same commit as the inbox mark: once,
//! however often the request was sent.
//!
//! The [`Keeper`] runs in the role that has a way out and starts and stops the consumers on its process'
//! [`Roster`](crate::Roster). Several processes share the work, as of any consumer.

mod admission;
mod breaker;
mod endpoint;
mod filter;
mod handler;
mod handshake;
mod keeper;
mod register;
mod secret;
mod status;
mod subscription;
mod trial;

pub use admission::{Admission, Refusal};
pub use breaker::Circuit;
pub use endpoint::{Answer, Endpoint, Outcome};
pub use filter::Filter;
pub use handler::PushHandler;
pub use handshake::{HandshakeError, shake_hands};
pub use keeper::Keeper;
pub use register::{Register, SUBSCRIPTIONS};
pub use secret::{Secret, signatures};
pub use status::{DeliveryStatus, LastFailure};
pub use subscription::{Config, Mode, Reply, Start, State, Subscription, Wanted, WantedError};
pub use trial::test_event;

use std::time::Duration;

use crate::config;
use crate::egress::Egress;

/// How push subscriptions behave; see `push.*` in the configuration.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// Where endpoints may be.
    pub egress: Egress,
    /// The longest wait for an answer that a subscription may ask for, and the wait where it asks for none.
    pub timeout: Duration,
    /// Requests to one endpoint at once, per process, where its subscription does not say.
    pub concurrency: usize,
    /// Failures in a row after which an endpoint is left alone for a while.
    pub breaker_failures: u32,
    /// The first such while; each is twice the last.
    pub breaker_first: Duration,
    /// The longest such while, and the longest `Retry-After` that is obeyed.
    pub breaker_max: Duration,
    /// Bytes read of an answer that holds an event.
    pub reply_bytes: usize,
    /// Subscriptions at once.
    pub max_subscriptions: usize,
    /// Whether an endpoint must agree to be called before it is.
    pub handshake: bool,
    /// Who calls, as endpoints are told in the handshake.
    pub origin: String,
    /// How often a change made elsewhere is looked for.
    pub refresh: Duration,
}

impl PushOptions {
    /// From the configuration.
    pub fn from_config(config: &config::Config) -> Self {
        let push = &config.push;
        let bytes = push.reply_bytes.min(config.broker.max_event_bytes);
        Self {
            egress: Egress { allow_private: push.allow_private_targets, allow_http: push.allow_http },
            timeout: push.timeout,
            concurrency: push.concurrency,
            breaker_failures: u32::try_from(push.breaker_failures).unwrap_or(u32::MAX),
            breaker_first: push.breaker_wait,
            breaker_max: push.breaker_wait_max,
            reply_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            max_subscriptions: push.max_subscriptions,
            handshake: push.handshake,
            origin: push.origin.clone(),
            refresh: push.refresh,
        }
    }
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            egress: Egress { allow_private: false, allow_http: false },
            timeout: Duration::from_secs(10),
            concurrency: 8,
            breaker_failures: 10,
            breaker_first: Duration::from_secs(1),
            breaker_max: Duration::from_secs(60),
            reply_bytes: 256 << 10,
            max_subscriptions: 500,
            handshake: true,
            origin: "tidewire.localhost".into(),
            refresh: Duration::from_secs(1),
        }
    }
}
