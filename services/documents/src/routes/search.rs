//! `GET /v1/search`.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tidewire::http::Problem;

use super::{Desk, workspace};
use crate::index::{IndexError, MAX_QUERY_CHARS, MAX_REACH, SearchRequest};

pub(super) const DEFAULT_HITS: usize = 10;
pub(super) const MAX_HITS: usize = 100;

#[derive(Deserialize)]
pub struct Parameters {
    q: String,
    #[serde(default = "default_workspace")]
    workspace: String,
    limit: Option<usize>,
    offset: Option<usize>,
}

fn default_workspace() -> String {
    "default".into()
}

pub async fn search(State(desk): State<Desk>, Query(parameters): Query<Parameters>) -> Result<Json<Value>, Problem> {
    let (limit, offset) = (parameters.limit.unwrap_or(DEFAULT_HITS), parameters.offset.unwrap_or(0));
    if !(1..=MAX_HITS).contains(&limit) || offset.saturating_add(limit) > MAX_REACH {
        return Err(Problem::invalid(format!("`limit` is 1 to {MAX_HITS}, and results reach to the {MAX_REACH}th")));
    }
    if parameters.q.chars().count() > MAX_QUERY_CHARS {
        return Err(Problem::invalid(format!("`q` has at most {MAX_QUERY_CHARS} characters")).with("parameter", "q"));
    }
    let request = SearchRequest { q: parameters.q, workspace: workspace(&parameters.workspace)?, limit, offset };
    let Some(index) = &desk.index else {
        let detail = "the search index is in the process that runs the role documents; ask there";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "index.elsewhere", detail));
    };
    let found = index.index().await.search(request).await.map_err(problem)?;
    let hits: Vec<Value> = found
        .hits
        .into_iter()
        .map(|hit| {
            json!({
                "document": hit.document, "title": hit.title, "score": hit.score, "snippet": hit.snippet,
                "chunk": hit.chunk, "ingested": hit.ingested,
            })
        })
        .collect();
    Ok(Json(json!({ "items": hits, "more": found.more, "ignored": found.ignored })))
}

fn problem(error: IndexError) -> Problem {
    match error {
        IndexError::Invalid { .. } => Problem::invalid(error),
        error => {
            tracing::error!(code = error.code(), %error, "the index cannot be searched");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), "the index cannot be searched now")
        }
    }
}
