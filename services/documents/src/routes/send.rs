//! `POST /v1/documents`: the document as the body, or as a part of a form.

use axum::body::Bytes;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tidewire::http::{Idempotency, Problem, position_header};

use super::{Desk, workspace};
use crate::submit::{Submission, SubmitError, submit};

/// The longest title and file name taken, in characters.
pub(super) const MAX_TITLE: usize = 500;
pub(super) const MAX_FILENAME: usize = 255;
const MAX_MEDIA_TYPE: usize = 300;

#[derive(Deserialize)]
pub struct Parameters {
    #[serde(default = "default_workspace")]
    workspace: String,
    title: Option<String>,
    filename: Option<String>,
}

fn default_workspace() -> String {
    "default".into()
}

/// One document, however it came.
struct Upload {
    bytes: Bytes,
    media_type: String,
    filename: Option<String>,
    title: Option<String>,
}

pub async fn send(
    State(desk): State<Desk>,
    Query(parameters): Query<Parameters>,
    idempotency: Idempotency,
    request: Request,
) -> Result<Response, Problem> {
    let workspace = workspace(&parameters.workspace)?;
    let upload = read(request, desk.document_limit).await?;
    let submission = Submission {
        workspace,
        title: check("title", parameters.title.or(upload.title), MAX_TITLE)?,
        filename: check("filename", parameters.filename.or(upload.filename), MAX_FILENAME)?,
        media_type: upload.media_type,
        bytes: upload.bytes,
    };
    let submitted = submit(&desk.ports, &desk.objects, submission, |answer, document| {
        idempotency.record_at(StatusCode::ACCEPTED, answer, Some(&location(document)))
    })
    .await
    .map_err(problem)?;
    let headers = [position_header(submitted.position)];
    let location = [(header::LOCATION, location(&submitted.document))];
    Ok((StatusCode::ACCEPTED, headers, location, axum::Json(submitted.answer)).into_response())
}

fn location(document: &str) -> String {
    format!("/v1/documents/{document}")
}

async fn read(request: Request, limit: usize) -> Result<Upload, Problem> {
    let media_type = media_type(request.headers())?;
    let upload = if media_type.to_ascii_lowercase().starts_with("multipart/form-data") {
        read_form(request).await?
    } else {
        let bytes = Bytes::from_request(request, &())
            .await
            .map_err(|rejection| too_large_or(rejection.status(), limit, &rejection))?;
        Upload { bytes, media_type, filename: None, title: None }
    };
    if upload.bytes.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "http.empty_body", "the document has no bytes"));
    }
    if upload.bytes.len() > limit {
        return Err(too_large(limit));
    }
    Ok(upload)
}

fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok("application/octet-stream".into()) };
    let text = value.to_str().ok().filter(|text| text.len() <= MAX_MEDIA_TYPE && !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| Problem::invalid("the content type cannot be read").with("header", "content-type"))
}

/// The part named `file` (or the first with a file name) is the document; `title` may come beside it.
async fn read_form(request: Request) -> Result<Upload, Problem> {
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let (mut document, mut title) = (None, None);
    while let Some(field) = form.next_field().await.map_err(form_problem)? {
        let name = field.name().unwrap_or_default().to_owned();
        let filename = field.file_name().map(str::to_owned);
        if name == "title" && filename.is_none() {
            title = Some(field.text().await.map_err(form_problem)?);
        } else if document.is_none() && (name == "file" || filename.is_some()) {
            let media_type = field.content_type().unwrap_or("application/octet-stream").to_owned();
            let bytes = field.bytes().await.map_err(form_problem)?;
            document = Some((bytes, media_type, filename));
        } else {
            return Err(Problem::invalid("a form holds one document, as `file`, and may hold a `title`"));
        }
    }
    let Some((bytes, media_type, filename)) = document else {
        return Err(Problem::invalid("the form holds no document; send it as the part `file`"));
    };
    Ok(Upload { bytes, media_type, filename, title })
}

fn form_problem(error: MultipartError) -> Problem {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "http.body_too_large", error.body_text())
        }
        _ => Problem::invalid(error.body_text()),
    }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("a document has at most {limit} bytes; split it, or raise http.document_limit");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "http.body_too_large", detail).with("limit", limit)
}

fn too_large_or(status: StatusCode, limit: usize, error: &dyn std::fmt::Display) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE { too_large(limit) } else { Problem::invalid(error) }
}

fn check(parameter: &str, value: Option<String>, limit: usize) -> Result<Option<String>, Problem> {
    let Some(value) = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    if value.chars().count() > limit || value.chars().any(char::is_control) {
        let detail = format!("`{parameter}` has at most {limit} characters, none of them control characters");
        return Err(Problem::invalid(detail).with("parameter", parameter));
    }
    Ok(Some(value))
}

fn problem(error: SubmitError) -> Problem {
    match error {
        SubmitError::Store(error) => error.into(),
        SubmitError::Objects(error) if error.is_transient() => {
            tracing::error!(%error, "the object store failed");
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "objects.unavailable",
                "the document could not be stored; try again",
            )
            .retry_after(std::time::Duration::from_secs(5))
        }
        SubmitError::Objects(error) => Problem::internal(error),
        SubmitError::Schema(error) => Problem::internal(error),
    }
}
