//! The published contracts: every schema, and the AsyncAPI document of all.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Value, json};
use tidewire::EventType;
use tidewire::http::{Json, Problem};

use crate::contracts::Contracts;

/// What the routes share.
#[derive(Clone)]
struct Published {
    contracts: Arc<Contracts>,
    asyncapi: Bytes,
}

pub(crate) fn routes(contracts: Arc<Contracts>) -> Router {
    let asyncapi = format!("{:#}\n", contracts.asyncapi()).into();
    Router::new()
        .route("/schemas", get(list))
        .route("/schemas/{name}/{version}", get(show))
        .route("/asyncapi.json", get(asyncapi_document))
        .with_state(Published { contracts, asyncapi })
}

/// Every type with its current version.
async fn list(State(published): State<Published>) -> Json<Value> {
    let types = published.contracts.described().into_iter().map(|described| {
        let version = described.ty.rsplit_once('.').map_or("", |(_, version)| version);
        let schema = format!("/schemas/{}/{version}.json", described.name);
        let is_foreign = events::entry(described.name).is_none();
        json!({ "type": described.ty, "description": described.description, "schema": schema, "foreign": is_foreign })
    });
    Json(json!({ "items": types.collect::<Vec<_>>() }))
}

/// One schema. It never changes once published, so it may be kept for ever.
async fn show(
    State(published): State<Published>,
    Path((name, file)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let version = file.strip_prefix('v').and_then(|file| file.strip_suffix(".json"));
    let ty = version.and_then(|version| format!("{name}.v{version}").parse::<EventType>().ok());
    let schema = ty.as_ref().and_then(|ty| published.contracts.schema(ty));
    let schema =
        schema.ok_or_else(|| Problem::not_found("there is no schema of this name and version; /schemas lists them"))?;
    let text = serde_json::to_string_pretty(&schema).map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/schema+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, text + "\n").into_response())
}

/// The AsyncAPI document of every type there is here.
async fn asyncapi_document(State(published): State<Published>) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.aai.asyncapi+json;version=3.0.0"))];
    (headers, published.asyncapi).into_response()
}
