//! The HTTP routes of sagas: those that show them, and the operators' [`desk`].

pub(crate) mod desk;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use serde::Deserialize;
use tidewire::http::{Json, Page, PageQuery, Problem};
use tidewire::saga::{SagaDesk, SagaFilter, SagaQuery, SagaSummary, SagaView, Status};
use uuid::Uuid;

pub(crate) fn router(query: SagaQuery, desk: SagaDesk) -> Router {
    let shown = Router::new().route("/v1/sagas", get(list)).route("/v1/sagas/{id}", get(show)).with_state(query);
    let started = Router::new().route("/v1/sagas", post(desk::start)).with_state(desk.clone());
    shown.merge(started).merge(desk::router(desk))
}

/// Which sagas.
#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    #[serde(rename = "type")]
    ty: Option<String>,
}

async fn list(
    State(sagas): State<SagaQuery>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    page: PageQuery,
) -> Result<Page<SagaSummary>, Problem> {
    let Query(wanted) = wanted.map_err(Problem::invalid)?;
    let status = wanted.status.as_deref().map(status).transpose()?;
    let filter = SagaFilter { status, saga: wanted.ty, after: page.cursor, limit: page.limit };
    let found = sagas.list(&filter).await?;
    Ok(Page { items: found.items, cursor: found.next })
}

async fn show(State(sagas): State<SagaQuery>, Path(id): Path<String>) -> Result<Json<SagaView>, Problem> {
    let unknown =
        || Problem::not_found("there is no saga of this id; one that was started just now may not have begun");
    let id = Uuid::parse_str(&id).map_err(|_| unknown())?;
    sagas.get(id).await?.map(Json).ok_or_else(unknown)
}

fn status(text: &str) -> Result<Status, Problem> {
    Status::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
        let known = Status::ALL.map(Status::as_str).join(", ");
        Problem::invalid(format!("`status` must be one of {known}"))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use std::sync::Arc;

    use axum::http::{Request, StatusCode};
    use events::DocumentSubmitted;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tidewire::saga::{Policy, SagaRunner};
    use tidewire::{Clock, Draft, Handler, ManualClock, Store, Unit};
    use tidewire_store::{SqliteOptions, SqliteStore};
    use tower::ServiceExt;

    use super::*;
    use crate::ingestion::Ingestion;

    async fn get(router: &Router, uri: &str) -> (StatusCode, Value) {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn sagas_are_listed_and_shown() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Default::default(), 1));
        let store = SqliteStore::open(SqliteOptions::new(dir.path()), clock.clone()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let runner = SagaRunner::new(Ingestion::new(Policy::default())).unwrap();
        let broker = Arc::new(tidewire::testing::NoBroker);
        let ports = tidewire::Ports { store: store.clone(), broker, clock: clock.clone() };
        let router = router(SagaQuery::new(store.clone()), SagaDesk::new(&ports, crate::SOURCE).with(&runner));
        assert_eq!(get(&router, "/v1/sagas").await, (StatusCode::OK, json!({"items": [], "cursor": null})));

        let submitted: DocumentSubmitted = serde_json::from_value(json!({
            "document_id": "7", "workspace": "w", "media_type": "text/plain", "bytes": 1, "sha256": "00", "original": "o"
        }))
        .unwrap();
        let event = Draft::of(&submitted).unwrap().seal(clock.as_ref() as &dyn Clock, "/documents", None);
        let mut unit = Unit::new(store.clone(), clock, &runner.consumer().name, crate::SOURCE);
        let mut cx = unit.context(Some(&event), 1);
        runner.handle(&event, &mut cx).await.unwrap();
        cx.keep();
        store.commit(unit.into_commit()).await.unwrap();

        let (_, list) = get(&router, "/v1/sagas?status=running&type=document-ingestion").await;
        let id = list["items"][0]["id"].as_str().unwrap();
        assert_eq!(id, tidewire::saga::saga_id("document-ingestion", &event.id).to_string());
        let (status, saga) = get(&router, &format!("/v1/sagas/{id}")).await;
        assert_eq!((status, &saga["status"], &saga["key"]), (StatusCode::OK, &json!("running"), &json!("document/7")));
        assert_eq!((&saga["step"], &saga["steps"][0]["status"]), (&json!("extract"), &json!("sent")));
        assert_eq!(saga["history"].as_array().unwrap().len(), 2);

        for nothing in ["/v1/sagas?status=stuck", "/v1/sagas?type=other"] {
            assert_eq!(get(&router, nothing).await.1["items"], json!([]), "{nothing}");
        }
        for (uri, status) in [
            ("/v1/sagas?status=lost", StatusCode::BAD_REQUEST),
            ("/v1/sagas?limit=0", StatusCode::BAD_REQUEST),
            ("/v1/sagas?cursor=x", StatusCode::BAD_REQUEST),
            ("/v1/sagas/x", StatusCode::NOT_FOUND),
            ("/v1/sagas/00000000-0000-0000-0000-000000000000", StatusCode::NOT_FOUND),
        ] {
            let (found, problem) = get(&router, uri).await;
            assert_eq!(found, status, "{uri}");
            assert!(problem["code"].as_str().is_some_and(|code| code.starts_with("http.")), "{problem}");
        }
    }
}
