//! The published schemas.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tidewire::EventType;
use tidewire::http::{Json, Problem};

pub(crate) fn routes() -> Router {
    Router::new().route("/schemas", get(list)).route("/schemas/{name}/{version}", get(show))
}

/// Every type with its current version.
async fn list() -> Json<Value> {
    let types = events::catalogue().iter().map(|entry| {
        let schema = format!("/schemas/{}/v{}.json", entry.ty.name(), entry.ty.version());
        json!({ "type": entry.ty, "description": entry.description, "schema": schema })
    });
    Json(json!({ "items": types.collect::<Vec<_>>() }))
}

/// One schema. It never changes once published, so it may be kept for ever.
async fn show(Path((name, file)): Path<(String, String)>) -> Result<Response, Problem> {
    let version = file.strip_prefix('v').and_then(|file| file.strip_suffix(".json"));
    let ty = version.and_then(|version| format!("{name}.v{version}").parse::<EventType>().ok());
    let schema = ty.as_ref().and_then(events::schema);
    let schema =
        schema.ok_or_else(|| Problem::not_found("there is no schema of this name and version; /schemas lists them"))?;
    let text = serde_json::to_string_pretty(&schema).map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/schema+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, text + "\n").into_response())
}
