//! `GET /v1/documents…`: one, its text, those of a workspace.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use tidewire::http::{Page, PageQuery, Problem};
use tidewire::objects::{ObjectKey, ObjectsError};
use tidewire::saga::saga_id;
use tidewire::store::DocumentQuery;

use super::{Desk, workspace};
use crate::listing::LISTING;
use crate::submit::SAGA;
use crate::view::{DocumentView, life};

pub async fn one(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Json<DocumentView>, Problem> {
    view(&desk, &id).await.map(Json)
}

async fn view(desk: &Desk, id: &str) -> Result<DocumentView, Problem> {
    let stream = life(desk.ports.store.as_ref(), id).await?;
    let saga = |event: &str| saga_id(SAGA, event).to_string();
    let view = DocumentView::fold(&stream, saga).map_err(Problem::internal)?;
    view.ok_or_else(|| Problem::not_found(format!("there is no document `{}`", id.escape_default())))
}

/// Plain text, whatever the original was; shown as such by browsers.
pub async fn text(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    let missing = || Problem::not_found("there is no text of such a document");
    let key = ObjectKey::of_document(&id, "text").map_err(|_| missing())?;
    match desk.objects.get(&key).await {
        Ok(bytes) => {
            let headers: [(HeaderName, &str); 2] =
                [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
            Ok((StatusCode::OK, headers, bytes).into_response())
        }
        Err(ObjectsError::NotFound { .. }) => Err(missing()),
        Err(error) => Err(Problem::internal(error)),
    }
}

#[derive(Deserialize)]
pub struct Where {
    workspace: String,
}

pub async fn list(
    State(desk): State<Desk>,
    Query(place): Query<Where>,
    page: PageQuery,
) -> Result<Page<Value>, Problem> {
    let prefix = format!("{}/", workspace(&place.workspace)?);
    let query = DocumentQuery {
        collection: LISTING.into(),
        after: page.cursor.clone().map(|after| format!("{prefix}{after}")),
        prefix,
        backwards: true,
        limit: page.limit + 1,
    };
    let rows = desk.ports.store.list(&query).await?;
    let items = rows.into_iter().filter_map(|row| serde_json::from_slice(&row.value).ok()).collect();
    Ok(Page::cut(items, page.limit, |row: &Value| row["document"].as_str().unwrap_or_default().to_owned()))
}
