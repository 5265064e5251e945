//! All routes behind one set of layers.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tidewire::handler::{Consumer, Kind};
use tidewire::http::{Answers, RouteDoc, idempotent};
use tidewire::{Ports, Service};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::auth::{Guard, guard};
use crate::health::Health;
use crate::layers::{
    ENDINGS, Edge, Load, Rates, Readers, caught, edge, ends_at_shutdown, load, origin, pace, patience, rates, reads,
    uri, versions,
};
use crate::options::Options;
use crate::{landing, openapi, probes};

/// What one service adds to the surface.
#[derive(Clone, Default)]
pub struct Part {
    /// Its routes.
    pub routes: Router,
    /// The consumers whose work these routes show: a read that carries a position waits for them.
    pub readers: Vec<Consumer>,
    /// The name of the service.
    pub name: &'static str,
    /// What the routes take and answer.
    pub docs: Vec<RouteDoc>,
}

impl From<&Service> for Part {
    fn from(service: &Service) -> Self {
        Self {
            routes: service.routes.clone(),
            // Participants may be minutes behind, at work on what others asked for; nobody reads from them.
            readers: service
                .handlers
                .iter()
                .map(|handler| handler.consumer())
                .filter(|consumer| consumer.kind != Kind::Participant)
                .collect(),
            name: service.name,
            docs: service.docs.clone(),
        }
    }
}

/// Everything this process serves: the routes of `parts`, the probes, metrics and the landing page, all behind
/// the [`layers`](crate::layers). Live streams end when `shutdown` does.
pub fn router(
    ports: &Ports,
    parts: impl IntoIterator<Item = Part>,
    health: &Health,
    options: &Options,
    shutdown: CancellationToken,
) -> Router {
    let parts: Vec<Part> = parts.into_iter().collect();
    let document = openapi::routes(&parts);
    let mut routes = Router::new();
    for part in parts {
        let readers = Readers { store: ports.store.clone(), consumers: part.readers.into() };
        routes = routes.merge(part.routes.layer(from_fn_with_state(readers, reads)));
    }
    let answers = Answers { store: ports.store.clone(), clock: ports.clock.clone() };
    let shares = Rates::new(options.rate_limit, options.rate_burst);
    // The last layer added is the outermost.
    routes
        .layer(from_fn_with_state(answers, idempotent))
        .merge(landing::routes())
        .merge(probes::routes(ports, health))
        .merge(document)
        .layer(from_fn_with_state(shares.clone(), rates))
        .layer(from_fn_with_state(Guard::new(ports, options, shares), guard))
        .layer(DefaultBodyLimit::max(options.body_limit))
        .layer(from_fn_with_state(shutdown, ends_at_shutdown))
        .layer(CatchPanicLayer::custom(caught))
        .layer(from_fn_with_state(options.clone(), patience))
        .layer(from_fn_with_state(options.clone(), pace))
        .layer(from_fn_with_state(Load::new(options.max_in_flight), load))
        .layer(from_fn_with_state(ENDINGS, versions))
        .layer(from_fn(uri))
        .layer(from_fn_with_state(options.clone(), origin))
        .layer(from_fn_with_state(Edge { clock: ports.clock.clone() }, edge))
}
