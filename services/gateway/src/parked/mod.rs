//! The desk of parked events: lists, groups by cause, one with its history; redrive, edit and drop.

mod docs;
mod edit;

pub(crate) use docs::docs;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidewire::Key;
use tidewire::cesql::Expression;
use tidewire::http::{Json, Page, PageQuery, Problem};
use tidewire::operate::{Actor, Operator, ParkedGroups, ParkedSelection, Redrive, Tried};
use tidewire::store::{Parked, ParkedQuery};

use crate::contracts::Contracts;
use crate::operate::{problem, told};

/// Events redriven by one request when it does not say.
const REDRIVE: usize = 100;
/// The most events redriven by one request: each runs its handler, and the request has a time limit.
const MAX_REDRIVE: usize = 1_000;
/// The most numbers in one request.
const MAX_ORDINALS: usize = 1_000;
/// Parked events read at once where a filter may leave few of them.
const CHUNK: usize = 500;
/// Parked events a filter is tried on for one page.
const MAX_LOOKED_AT: usize = 20_000;

pub(crate) fn routes(operator: Operator, contracts: Arc<Contracts>) -> Router {
    let desk = Router::new()
        .route("/v1/parked", get(list))
        .route("/v1/parked/groups", get(groups))
        .route("/v1/parked/redrive", post(redrive))
        .route("/v1/parked/{ordinal}", get(show))
        .route("/v1/parked/{ordinal}/drop", post(edit::drop))
        .with_state(operator.clone());
    let edits = Router::new().route("/v1/parked/{ordinal}/edit", post(edit::edit)).with_state((operator, contracts));
    desk.merge(edits)
}

/// Which parked events, as clients write it: in a query string or in a body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    consumer: Option<String>,
    key: Option<String>,
    code: Option<String>,
    #[serde(rename = "type")]
    ty: Option<String>,
    filter: Option<String>,
}

impl Which {
    fn selection(self) -> Result<ParkedSelection, Problem> {
        let filter = self.filter.as_deref().map(Expression::filter).transpose().map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "filter.invalid", format!("`filter` is no CloudEvents SQL: {error}"))
                .with("position", error.at + 1)
        })?;
        let key = self.key.map(|key| Key::new(Arc::<str>::from(key))).transpose().map_err(Problem::invalid)?;
        let (consumer, code, ty) = (self.consumer, self.code, self.ty);
        Ok(ParkedSelection { consumer, key, code, ty, filter, ordinals: Vec::new() })
    }
}

/// The page's own parameters stand beside those of the selection in a query string.
#[derive(Deserialize)]
struct Asked {
    consumer: Option<String>,
    key: Option<String>,
    code: Option<String>,
    #[serde(rename = "type")]
    ty: Option<String>,
    filter: Option<String>,
}

impl From<Asked> for Which {
    fn from(asked: Asked) -> Self {
        let Asked { consumer, key, code, ty, filter } = asked;
        Self { consumer, key, code, ty, filter }
    }
}

/// A parked event, as lists show it: its type and id, not its data.
#[derive(Serialize)]
struct ParkedRow {
    ordinal: u64,
    consumer: String,
    id: String,
    #[serde(rename = "type")]
    ty: String,
    key: Key,
    code: String,
    reason: String,
    attempts: u32,
    since: chrono::DateTime<chrono::Utc>,
}

impl From<Parked> for ParkedRow {
    fn from(parked: Parked) -> Self {
        Self {
            ordinal: parked.ordinal,
            consumer: parked.consumer,
            id: parked.envelope.id,
            ty: parked.envelope.ty.to_string(),
            key: parked.envelope.key,
            code: parked.code,
            reason: parked.reason,
            attempts: parked.attempts,
            since: parked.since,
        }
    }
}

/// In order. A page may be short where code, type or filter leave little, and still have a successor.
async fn list(
    State(operator): State<Operator>,
    Query(asked): Query<Asked>,
    page: PageQuery,
) -> Result<Page<ParkedRow>, Problem> {
    let after =
        page.cursor.as_deref().map(str::parse).transpose().map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "http.invalid_cursor", "the cursor is of another list")
        })?;
    let selection = Which::from(asked).selection()?;
    let (consumer, key) = (selection.consumer.clone(), selection.key.clone());
    let mut query = ParkedQuery { consumer, key, after: after.unwrap_or_default(), limit: CHUNK };
    let (mut found, mut looked_at) = (Vec::new(), 0);
    loop {
        let chunk = operator.parked(&query).await.map_err(problem)?;
        let is_last = chunk.len() < CHUNK;
        for parked in chunk {
            let ordinal = parked.ordinal;
            if selection.selects(&parked) {
                if found.len() == page.limit {
                    return Ok(Page { items: found, cursor: Some(query.after.to_string()) });
                }
                found.push(ParkedRow::from(parked));
            }
            query.after = ordinal;
            looked_at += 1;
        }
        if is_last {
            return Ok(Page { items: found, cursor: None });
        }
        if looked_at >= MAX_LOOKED_AT {
            return Ok(Page { items: found, cursor: Some(query.after.to_string()) });
        }
    }
}

async fn groups(State(operator): State<Operator>, Query(which): Query<Which>) -> Result<Json<ParkedGroups>, Problem> {
    let selection = which.selection()?;
    Ok(Json(operator.parked_groups(&selection).await.map_err(problem)?))
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    parked: Parked,
    /// What operators did to it.
    history: Vec<Tried>,
}

/// One parked event, whole.
async fn show(State(operator): State<Operator>, Path(ordinal): Path<u64>) -> Result<Json<Whole>, Problem> {
    let parked = operator.parked_one(ordinal).await.map_err(problem)?;
    let history = operator.parked_history(&parked.envelope).await.map_err(problem)?;
    Ok(Json(Whole { parked, history }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedriveBody {
    consumer: String,
    key: Option<String>,
    code: Option<String>,
    #[serde(rename = "type")]
    ty: Option<String>,
    filter: Option<String>,
    /// Only these numbers.
    #[serde(default)]
    ordinals: Vec<u64>,
    limit: Option<usize>,
    /// Where an earlier answer ended.
    #[serde(default)]
    after: u64,
    #[serde(default)]
    dry_run: bool,
    /// Why, for those who look later.
    reason: Option<String>,
}

/// Runs handlers again; the answer names what became of each event. Repeating it is harmless.
async fn redrive(
    State(operator): State<Operator>,
    actor: Actor,
    Json(body): Json<RedriveBody>,
) -> Result<Json<Value>, Problem> {
    let RedriveBody { consumer, key, code, ty, filter, ordinals, limit, after, dry_run, reason } = body;
    let limit = limit.unwrap_or(REDRIVE);
    if !(1..=MAX_REDRIVE).contains(&limit) {
        return Err(Problem::invalid(format!("`limit` must be a number from 1 to {MAX_REDRIVE}")));
    }
    if ordinals.len() > MAX_ORDINALS {
        return Err(Problem::invalid(format!("at most {MAX_ORDINALS} numbers are taken in one request")));
    }
    let which = Which { consumer: Some(consumer.clone()), key, code, ty, filter };
    let selection = ParkedSelection { ordinals, ..which.selection()? };
    let asked = Redrive { consumer: &consumer, selection, after, limit, dry_run };
    let report = operator.redrive_selected(&actor, &told(reason), &asked).await.map_err(problem)?;
    let handled = report.items.iter().filter(|redriven| redriven.handled).count();
    let failed = report.items.len() - handled;
    Ok(Json(json!({
        "handled": handled, "failed": failed, "items": report.items, "next": report.next, "dry_run": dry_run,
    })))
}
