//! One operation of the document.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tidewire::http::{Answer, RouteDoc};

use crate::auth::{Need, need};
use crate::layers::ending;

/// One operation. `tag` is the service it belongs to.
pub(super) fn operation(tag: &str, doc: &RouteDoc) -> Value {
    let mut operation = json!({
        "operationId": doc.id,
        "summary": doc.summary,
        "tags": [tag],
        "parameters": parameters(doc),
        "responses": answers(doc),
        "security": security(doc),
    });
    if let Some(body) = doc.body_json() {
        operation["requestBody"] = body;
    }
    if ending(doc.method, doc.path).is_some() {
        operation["deprecated"] = json!(true);
    }
    operation
}

fn need_of(doc: &RouteDoc) -> Need {
    let method: Method = doc.method.to_ascii_uppercase().parse().unwrap_or(Method::POST);
    need(&method, doc.path)
}

fn security(doc: &RouteDoc) -> Value {
    match need_of(doc) {
        Need::Nothing => json!([]),
        Need::Scope(operation) => json!([{ "bearer": [operation.name()] }]),
    }
}

fn is_versioned(doc: &RouteDoc) -> bool {
    doc.path.starts_with("/v1/")
}

fn takes_idempotency_keys(doc: &RouteDoc) -> bool {
    is_versioned(doc) && matches!(doc.method, "post" | "put")
}

fn parameters(doc: &RouteDoc) -> Vec<Value> {
    let mut parameters = doc.parameters_json();
    if takes_idempotency_keys(doc) {
        parameters.push(json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
    }
    if is_versioned(doc) && doc.method == "get" {
        parameters.push(json!({ "$ref": "#/components/parameters/Position" }));
    }
    parameters
}

fn answers(doc: &RouteDoc) -> Map<String, Value> {
    let mut answers = Map::new();
    for (status, description) in problems(doc) {
        answers.insert(status.to_string(), description);
    }
    for answer in &doc.answers {
        answers.insert(answer.status.to_string(), good(doc, answer));
    }
    answers
}

fn good(doc: &RouteDoc, answer: &Answer) -> Value {
    let mut headers = Map::new();
    let reference = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    for (name, description) in &answer.headers {
        headers.insert((*name).to_owned(), json!({ "description": description, "schema": { "type": "string" } }));
    }
    if is_versioned(doc) && answer.status < 300 {
        if doc.method != "get" {
            headers.entry("Tidewire-Position").or_insert_with(|| reference("Position"));
        }
        if takes_idempotency_keys(doc) {
            headers.insert("Idempotency-Replayed".into(), reference("Replayed"));
        }
        headers.insert("RateLimit".into(), reference("RateLimit"));
        headers.insert("RateLimit-Policy".into(), reference("RateLimitPolicy"));
    }
    let mut value = json!({ "description": answer.description });
    if !headers.is_empty() {
        value["headers"] = Value::Object(headers);
    }
    if let Some((media_type, shape)) = &answer.body {
        value["content"][*media_type] = shape.media();
    }
    value
}

/// The refusals every route has, with the codes of this one.
fn problems(doc: &RouteDoc) -> BTreeMap<u16, Value> {
    let mut usual = vec![403, 405, 408, 414, 429, 431, 500, 503];
    if is_versioned(doc) || !doc.parameters.is_empty() {
        usual.extend([400, 410]);
    }
    if need_of(doc) != Need::Nothing {
        usual.push(401);
    }
    if doc.path.contains('{') {
        usual.push(404);
    }
    if takes_idempotency_keys(doc) {
        usual.push(409);
    }
    if matches!(doc.method, "post" | "put" | "patch") {
        usual.extend([413, 415]);
    }
    let mut problems: BTreeMap<u16, Value> = usual
        .into_iter()
        .map(|status| (status, json!({ "$ref": format!("#/components/responses/{}", name_of(status)) })))
        .collect();
    let mut codes: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (status, code) in &doc.problems {
        codes.entry(*status).or_default().push(code);
    }
    for (status, codes) in codes {
        let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        problems.insert(status, problem(status, &format!("{}, such as {}.", title(status), codes.join(", "))));
    }
    problems
}

/// The reusable refusals.
pub(super) fn responses() -> Map<String, Value> {
    let statuses = [400, 401, 403, 404, 405, 408, 409, 410, 413, 414, 415, 429, 431, 500, 503];
    statuses.into_iter().map(|status| (name_of(status), problem(status, &format!("{}.", title(status))))).collect()
}

fn title(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

fn name_of(status: u16) -> String {
    title(status).split([' ', '-']).collect()
}

fn problem(status: u16, description: &str) -> Value {
    let mut value = json!({
        "description": description,
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    if matches!(status, 429 | 503) {
        value["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
    }
    value
}
