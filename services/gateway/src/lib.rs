//! The HTTP edge: what everybody outside speaks to.
//!
//! [`service`] adds the gateway's own routes: events in and out ([`events`]), operations, schemas. [`router`]
//! puts the routes of all services together behind one set of layers ([`layers`]), adds probes, metrics and a
//! landing page, and [`serve`] gives the result to a listener, with limits on connections and on slow clients.
//!
//! The gateway keeps nothing in memory between requests: whatever it promises lies in the log.

mod audit;
pub mod auth;
mod collections;
pub mod contracts;
mod docs;
mod effects;
pub mod events;
mod health;
mod landing;
pub mod layers;
mod openapi;
mod operate;
mod options;
mod parked;
mod probes;
mod replay;
mod router;
mod schemas;
mod serve;
mod service;
mod subscriptions;

pub use contracts::{BadSchema, Contracts, Foreign};
pub use health::{Check, Condition, Health};
pub use openapi::document as openapi_document;
pub use options::{Options, Tokens};
pub use router::{Part, router};
pub use serve::serve;
pub use service::{service, service_over, service_with};

#[cfg(test)]
mod tests;
