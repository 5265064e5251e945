//! The HTTP routes that show sagas.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use events::DocumentSubmitted;
use serde::Deserialize;
use tidewire::http::{Json, Page, PageQuery, Problem, caught_up, position_of};
use tidewire::saga::{SagaFilter, SagaQuery, SagaRunner, SagaSummary, SagaView, Status};
use tidewire::{Event, Store};
use uuid::Uuid;

use crate::ingestion::Ingestion;

/// How long a read waits for the saga that its caller has started.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the routes work on.
struct Sagas {
    query: SagaQuery,
    store: Arc<dyn Store>,
}

pub(crate) fn router(query: SagaQuery, store: Arc<dyn Store>) -> Router {
    Router::new()
        .route("/v1/sagas", get(list))
        .route("/v1/sagas/{id}", get(show))
        .with_state(Arc::new(Sagas { query, store }))
}

/// Which sagas.
#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    #[serde(rename = "type")]
    ty: Option<String>,
}

async fn list(
    State(sagas): State<Arc<Sagas>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    page: PageQuery,
    headers: HeaderMap,
) -> Result<Page<SagaSummary>, Problem> {
    let Query(wanted) = wanted.map_err(Problem::invalid)?;
    sagas.wait(&headers).await?;
    let status = wanted.status.as_deref().map(status).transpose()?;
    let filter = SagaFilter { status, saga: wanted.ty, after: page.cursor, limit: page.limit };
    let found = sagas.query.list(&filter).await?;
    Ok(Page { items: found.items, cursor: found.next })
}

async fn show(
    State(sagas): State<Arc<Sagas>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<SagaView>, Problem> {
    sagas.wait(&headers).await?;
    let unknown =
        || Problem::not_found("there is no saga of this id; one that was started just now may not have begun");
    let id = Uuid::parse_str(&id).map_err(|_| unknown())?;
    sagas.query.get(id).await?.map(Json).ok_or_else(unknown)
}

fn status(text: &str) -> Result<Status, Problem> {
    Status::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
        let known = Status::ALL.map(Status::as_str).join(", ");
        Problem::invalid(format!("`status` must be one of {known}"))
    })
}

impl Sagas {
    /// Waits until what the caller wrote has started its saga, if the caller asks for that.
    async fn wait(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(position) = position_of(headers)? else { return Ok(()) };
        let consumer = SagaRunner::<Ingestion>::consumer_name();
        let names = [DocumentSubmitted::TYPE.name().to_owned()];
        if caught_up(self.store.as_ref(), &consumer, &names, position, PATIENCE).await? {
            return Ok(());
        }
        let detail = format!("`{consumer}` has not reached position {position} yet; try again");
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "http.behind", detail).retry_after(PATIENCE))
    }
}
