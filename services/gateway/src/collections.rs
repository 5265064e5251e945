//! The rows of projections, as they are.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;
use serde_json::value::RawValue;
use tidewire::Ports;
use tidewire::http::{Page, PageQuery, Problem, RouteDoc, shape};
use tidewire::replay::Replays;
use tidewire::store::DocumentQuery;

/// What is looked at: only what projections keep. Other documents are the house's own: keys, answers, sagas.
#[derive(Clone)]
struct Collections {
    ports: Ports,
    replays: Replays,
}

pub(crate) fn routes(ports: &Ports, replays: Replays) -> Router {
    let state = Collections { ports: ports.clone(), replays };
    Router::new().route("/v1/collections/{collection}", get(rows)).with_state(state)
}

pub(crate) fn docs() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get(
            "/v1/collections/{collection}",
            "listRows",
            "The rows of a projection's collection, in the order of their ids.",
        )
        .paged(shape::object([("id", shape::text()), ("value", shape::any())]))
        .problem(404, "projection.unknown_collection"),
    ]
}

#[derive(Serialize)]
struct Row {
    id: String,
    value: Box<RawValue>,
}

async fn rows(
    State(state): State<Collections>,
    Path(collection): Path<String>,
    page: PageQuery,
) -> Result<Page<Row>, Problem> {
    let known = state.replays.collections();
    if !known.contains(&collection) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let detail = format!("no projection keeps a collection of this name; there are {}", known.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, "projection.unknown_collection", detail));
    }
    let query = DocumentQuery { collection, after: page.cursor.clone(), limit: page.limit + 1, ..Default::default() };
    let mut rows = Vec::new();
    for document in state.ports.store.list(&query).await? {
        let text = String::from_utf8_lossy(&document.value).into_owned();
        let value = RawValue::from_string(text).map_err(|error| {
            tracing::error!(collection = query.collection, id = document.id, %error, "a document is not JSON");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "store.corrupt", "a row cannot be read; it was logged")
        })?;
        rows.push(Row { id: document.id, value });
    }
    Ok(Page::cut(rows, page.limit, |row: &Row| row.id.clone()))
}
