//! A service: what it adds to the process it runs in.

use std::sync::Arc;

use axum::Router;
use futures::future::BoxFuture;
use tidewire_core::{Handler, Projection};
use tokio_util::sync::CancellationToken;

use crate::http::RouteDoc;
use crate::project::Projected;
use crate::replay::Elsewhere;
use crate::roster::Roster;

/// What one service adds to a process: handlers, routes, and work in the background.
///
/// ```
/// use tidewire::{Projection, Service};
/// # use tidewire::{Envelope, Event, EventType, Key, event_set};
/// # #[derive(serde::Serialize, serde::Deserialize)] pub struct Opened { door: String }
/// # impl Event for Opened { const TYPE: EventType = EventType::new("door.opened", 1); fn key(&self) -> Key { Key::of("door", &self.door) } }
/// # event_set! { pub enum Doors { Opened(Opened) } }
/// /// How often each door was opened.
/// struct Openings;
/// impl Projection for Openings {
///     const NAME: &'static str = "doors.openings";
///     const COLLECTION: &'static str = "openings";
///     type Event = Doors;
///     type Row = u64;
///     fn rows(event: &Doors, _: &Envelope) -> Vec<String> {
///         let Doors::Opened(opened) = event;
///         vec![opened.door.clone()]
///     }
///     fn apply(row: &mut Option<u64>, _: &str, _: &Doors, _: &Envelope) {
///         *row = Some(row.unwrap_or(0) + 1);
///     }
/// }
/// let service = Service::new("doors").projection(Openings);
/// assert_eq!(service.handlers[0].consumer().name, "doors.openings");
/// ```
pub struct Service {
    /// Its name, which is also its role on the command line.
    pub name: &'static str,
    /// Its handlers, projections and sagas among them.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// Its projections that are not documents.
    pub elsewhere: Vec<Arc<dyn Elsewhere>>,
    /// Its part of the HTTP surface.
    pub routes: Router,
    /// What these routes take and answer, for the OpenAPI document.
    pub docs: Vec<RouteDoc>,
    /// Its work in the background.
    pub background: Vec<Background>,
    /// Who starts and stops its consumers that come and go.
    pub keepers: Vec<Keeper>,
}

/// Work that goes on until it is told to stop.
pub struct Background {
    /// For logs.
    pub name: &'static str,
    /// Runs until the token is cancelled, then ends within a few seconds.
    pub run: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

/// Work in the background that starts and stops consumers in the [`Roster`] of its process.
pub struct Keeper {
    /// For logs.
    pub name: &'static str,
    /// Runs until the token is cancelled; the loops end by themselves then.
    pub run: Box<dyn FnOnce(Roster, CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

impl Service {
    /// A service that does nothing yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            handlers: Vec::new(),
            elsewhere: Vec::new(),
            routes: Router::new(),
            docs: Vec::new(),
            background: Vec::new(),
            keepers: Vec::new(),
        }
    }

    /// With a handler.
    pub fn handler(mut self, handler: impl Handler + 'static) -> Self {
        self.handlers.push(Arc::new(handler));
        self
    }

    /// With a projection.
    pub fn projection<P: Projection>(mut self, projection: P) -> Self {
        self.handlers.push(Arc::new(Projected::new(projection)));
        self
    }

    /// With a projection that keeps its rows elsewhere than in documents.
    pub fn elsewhere(mut self, one: Arc<dyn Elsewhere>) -> Self {
        self.elsewhere.push(one);
        self
    }

    /// With more routes.
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// With what its routes take and answer.
    pub fn documented(mut self, docs: impl IntoIterator<Item = RouteDoc>) -> Self {
        self.docs.extend(docs);
        self
    }

    /// With work in the background.
    pub fn background<F, R>(mut self, name: &'static str, run: F) -> Self
    where
        F: FnOnce(CancellationToken) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.background.push(Background { name, run: Box::new(|stop| Box::pin(run(stop))) });
        self
    }

    /// With consumers that come and go.
    pub fn keeper<F, R>(mut self, name: &'static str, run: F) -> Self
    where
        F: FnOnce(Roster, CancellationToken) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.keepers.push(Keeper { name, run: Box::new(|roster, stop| Box::pin(run(roster, stop))) });
        self
    }
}
