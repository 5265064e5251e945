//! `GET /v1/events/{id}/why`: what led to an event, what followed from it, and what became of all that.

use axum::extract::{Path, State};
use axum::http::Extensions;
use serde_json::{Value, json};
use tidewire::Recorded;
use tidewire::http::{Json, Problem};
use tidewire::identity::Operation;
use tidewire::operate::{Operator, Why};

use super::Shown;
use super::read::{find, may_see};
use crate::auth;
use crate::operate::problem;

/// The event, its causes (nearest first), its effects (in the order of the log: the events of the same flow whose chain
/// of causes leads to it), and the tree of what became of them: consumers' outcomes, effects, saga steps. Work is told
/// only to those who may `observe`. `complete` is false where a limit cut something short.
pub(super) async fn why(
    State(operator): State<Operator>,
    Path(id): Path<String>,
    extensions: Extensions,
) -> Result<Json<Value>, Problem> {
    let event = find(operator.ports().store.as_ref(), &id, None).await?;
    may_see(&event, &extensions)?;
    let with_work = auth::caller(&extensions).scopes.allow(Operation::Observe, None);
    let visible = |recorded: &Recorded| may_see(recorded, &extensions).is_ok();
    let Why { event, causes, followed, tree, complete } =
        operator.why(event, visible, with_work).await.map_err(problem)?;
    let shown = |found: Vec<Recorded>| found.into_iter().map(Shown::from).collect::<Vec<_>>();
    Ok(Json(json!({
        "event": Shown::from(event),
        "causes": shown(causes),
        "effects": shown(followed),
        "tree": tree,
        "complete": complete,
    })))
}
