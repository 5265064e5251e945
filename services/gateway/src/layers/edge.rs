//! The outermost layer: every request gets an id and a log line, every answer its headers, every error the
//! same form.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tidewire::Clock;
use tidewire::http::Problem;
use tidewire::telemetry::metrics;
use tokio::time::Instant;
use tracing::Instrument;

/// The header with the request's id, taken from the client or made here, and always sent back.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id taken from a client; a longer one is replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// How much of a foreign error text becomes the detail of a problem.
const MAX_FOREIGN_BYTES: usize = 1_024;
/// How much of a path is repeated in a problem.
const MAX_INSTANCE_CHARS: usize = 200;

/// What the layer needs.
#[derive(Clone)]
pub struct Edge {
    /// For request ids.
    pub clock: Arc<dyn Clock>,
}

/// The id of a request, in its extensions.
#[derive(Clone, Debug)]
pub struct RequestId(
    /// At most 128 visible ASCII characters.
    pub Arc<str>,
);

/// Among the extensions of an answer: its status is an error to machines, and its body is meant as it is. For probes.
#[derive(Clone, Copy, Debug)]
pub struct AsItIs;

/// See the module.
pub async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers()).unwrap_or_else(|| edge.clock.id().to_string().into());
    // The template, never the path: paths hold ids, and are endless.
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let instance: String = request.uri().path().chars().take(MAX_INSTANCE_CHARS).collect();
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", trace_id = %id, %method, route);
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = as_problem(response, &method, &id, instance).await;
    security_headers(response.headers_mut());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let (status, took) = (response.status(), begun.elapsed());
    metrics::http_request(&route, status.as_u16(), took);
    let ms = took.as_secs_f64() * 1_000.0;
    span.in_scope(|| match status.is_server_error() {
        true => tracing::warn!(status = status.as_u16(), ms, "answered"),
        false => tracing::debug!(status = status.as_u16(), ms, "answered"),
    });
    response
}

fn request_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sound = !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.bytes().all(|b| b.is_ascii_graphic());
    sound.then(|| id.into())
}

/// Gives a problem its `instance` and `trace_id`, and makes every other error answer a problem.
async fn as_problem(response: Response, method: &Method, id: &str, instance: String) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.extensions().get::<AsItIs>().is_some() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None => foreign(status, body).await,
    };
    let problem = problem.with("instance", instance).with("trace_id", id);
    let mut answer = problem.into_response();
    // What the route or an inner layer said beside the body (`Allow`, say) stays.
    for (name, value) in &parts.headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) && !answer.headers().contains_key(name) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    if *method == Method::HEAD {
        *answer.body_mut() = Body::empty();
    }
    answer
}

/// The problem for an error that the framework made.
async fn foreign(status: StatusCode, body: Body) -> Problem {
    let short = body.size_hint().upper().is_some_and(|bytes| bytes <= MAX_FOREIGN_BYTES as u64);
    let text = if short {
        axum::body::to_bytes(body, MAX_FOREIGN_BYTES).await.unwrap_or_default()
    } else {
        Default::default()
    };
    let text = String::from_utf8_lossy(&text);
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => ("http.not_found", "there is nothing at this address"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("http.method_not_allowed", "this address does not know the method; see `Allow`")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("http.body_too_large", "the body is longer than this route takes"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("http.unsupported_media_type", "the content type is not taken here"),
        StatusCode::REQUEST_TIMEOUT => ("http.timeout", "the request took too long"),
        _ if status.is_client_error() => ("http.invalid", "the request is not valid"),
        _ => ("http.internal", "something is wrong on our side; it was logged"),
    };
    let told = if status.is_client_error() && !text.is_empty() { text.as_ref() } else { detail };
    Problem::new(status, code, told)
}

/// What no answer goes out without. A route that needs something else (the landing page, schemas) says so itself.
fn security_headers(headers: &mut HeaderMap) {
    let policies = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in policies {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
