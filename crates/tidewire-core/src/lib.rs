//! The words of Tidewire, and the ports behind which everything else stands.
//!
//! This crate is pure: no I/O, no async runtime, no clock but the one it is handed. It holds
//!
//! - what travels: [`Envelope`] (a CloudEvents 1.0 event), [`EventType`], [`Key`], [`Draft`];
//! - what service authors write: [`Event`], [`Aggregate`], [`Projection`], [`Handler`], [`saga::Saga`];
//! - what must become true together: [`Commit`];
//! - the ports: [`Store`] (the log and all that is committed with it) and [`Broker`].
//!
//! The promises, word for word: an event is stored if and only if its commit succeeded; it is delivered
//! at least once to every subscribed consumer, in order per key; what a handler commits through its
//! [`Context`] happens exactly once.

pub mod aggregate;
pub mod backoff;
pub mod broker;
pub mod cesql;
pub mod clock;
pub mod codec;
pub mod commit;
pub mod draft;
pub mod effect;
pub mod envelope;
pub mod event;
pub mod event_type;
pub mod failpoint;
pub mod handler;
#[cfg(feature = "cloudevents-sdk")]
mod interop;
pub mod key;
pub mod projection;
pub mod saga;
pub mod store;
pub mod timer;
pub mod unit;

pub use aggregate::Aggregate;
pub use backoff::Backoff;
pub use broker::{Broker, BrokerError, Delivery, Subscription};
pub use clock::{Clock, ManualClock, SystemClock};
pub use commit::{Append, Commit, Committed, DocumentWrite, Expect, ExpectDocument, Fence, Mark, Park, Seen, Unpark};
pub use draft::Draft;
pub use effect::{Call, Effect, EffectOutcome};
pub use envelope::{Attribute, Envelope, EnvelopeError};
pub use event::{Event, EventSet, SchemaError};
pub use event_type::EventType;
pub use handler::{Consumer, Handler, HandlerError, Run};
pub use key::Key;
pub use projection::Projection;
pub use store::{Document, Position, Recorded, Store, StoreError};
pub use timer::{Timer, TimerWrite};
pub use unit::{Context, Muted, ReadAhead, Unit};

#[doc(hidden)]
pub use {bytes, chrono, serde_json};
