//! `GET /v1/events/{id}/why`: what led to an event, and what followed from it.

use std::collections::HashSet;

use axum::extract::{Path, State};
use axum::http::Extensions;
use serde_json::{Value, json};
use tidewire::http::{Json, Problem};
use tidewire::store::Selection;
use tidewire::{Position, Recorded, Store};

use super::read::{find, may_see};
use super::{Events, Shown};

/// The longest chain of causes shown.
const MAX_CAUSES: usize = 64;
/// The events of a flow looked at for effects.
const MAX_FLOW: usize = 1_000;

/// The event, its causes (nearest first) and its effects (in the order of the log): the events of the same flow
/// whose chain of causes leads to it. `complete` is false where a limit cut one of the lists short.
pub(super) async fn why(
    State(events): State<Events>,
    Path(id): Path<String>,
    extensions: Extensions,
) -> Result<Json<Value>, Problem> {
    let store = events.ports.store.as_ref();
    let event = find(store, &id, None).await?;
    may_see(&event, &extensions)?;
    let (causes, all_causes) = causes(store, &event).await?;
    let (effects, all_effects) = effects(store, &event).await?;
    let may_see = |recorded: &Recorded| may_see(recorded, &extensions).is_ok();
    let shown = |found: Vec<Recorded>| found.into_iter().filter(may_see).map(Shown::from).collect::<Vec<_>>();
    Ok(Json(json!({
        "event": Shown::from(event),
        "causes": shown(causes),
        "effects": shown(effects),
        "complete": all_causes && all_effects,
    })))
}

async fn causes(store: &dyn Store, event: &Recorded) -> Result<(Vec<Recorded>, bool), Problem> {
    let mut causes: Vec<Recorded> = Vec::new();
    let mut next = event.envelope.causationid.clone();
    let mut met = HashSet::from([event.envelope.id.clone()]);
    while let Some(id) = next.take() {
        // A foreign event may name itself, or a cause that this log never saw.
        if causes.len() == MAX_CAUSES || !met.insert(id.clone()) {
            return Ok((causes, false));
        }
        let selection = Selection { id: Some(id), limit: 1, ..Default::default() };
        if let Some(cause) = store.read(&selection).await?.pop() {
            next = cause.envelope.causationid.clone();
            causes.push(cause);
        }
    }
    Ok((causes, true))
}

async fn effects(store: &dyn Store, event: &Recorded) -> Result<(Vec<Recorded>, bool), Problem> {
    let flow = event.envelope.correlationid.clone().unwrap_or_else(|| event.envelope.id.clone());
    let after = Position(event.position.0);
    let selection = Selection { correlationid: Some(flow), after, limit: MAX_FLOW, ..Default::default() };
    let flow = store.read(&selection).await?;
    let complete = flow.len() < MAX_FLOW;
    // A cause is always in the log before its effects, so one pass finds them all.
    let mut led_to = HashSet::from([event.envelope.id.clone()]);
    let mut follows = |recorded: &Recorded| {
        let caused = recorded.envelope.causationid.as_ref().is_some_and(|cause| led_to.contains(cause));
        caused && led_to.insert(recorded.envelope.id.clone())
    };
    Ok((flow.into_iter().filter(|recorded| follows(recorded)).collect(), complete))
}
