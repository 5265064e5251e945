//! The document as a whole.

use serde_json::{Map, Value, json};
use tidewire::http::shape;

use super::route;
use crate::docs;
use crate::router::Part;

/// OpenAPI 3.1 of the routes of `parts`, and of those every process has. The same for the same parts, byte by byte.
pub fn document(parts: &[Part]) -> Value {
    let mut paths = Map::new();
    let mut tags = Vec::new();
    let own = docs::probes();
    let own = own.iter().map(|doc| ("process", doc));
    for (tag, doc) in parts.iter().flat_map(|part| part.docs.iter().map(|doc| (part.name, doc))).chain(own) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let path = paths.entry(doc.path).or_insert_with(|| json!({}));
        path[doc.method] = route::operation(tag, doc);
    }
    tags.sort_unstable();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidewire",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Events in, events out, and everything that follows from them.",
            "description": INTRODUCTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags.into_iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": shape::components(),
            "responses": route::responses(),
            "headers": headers(),
            "parameters": parameters(),
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API key (`tidewire keys create`) or a token of the trusted issuer. A gateway on \
                                    loopback that asks for none (`http.auth = local`) takes requests without.",
                },
            },
        },
    })
}

const INTRODUCTION: &str = "Errors are `application/problem+json` (RFC 9457) with a stable `code`. `Idempotency-Key` makes \
    a POST or PUT safe to repeat. An answer to a write carries `Tidewire-Position`; a read that sends it back sees that \
    write. Lists have pages: `limit` in, `cursor` out and in again. Clients must expect members they do not know.";

fn headers() -> Value {
    json!({
        "Position": {
            "description": "Where the log stood after this. Sent with a read, the read sees everything up to it.",
            "schema": { "type": "string", "pattern": "^[0-9]{1,20}$" },
        },
        "RetryAfter": { "description": "Seconds to wait.", "schema": { "type": "string", "pattern": "^[0-9]+$" } },
        "Replayed": {
            "description": "`true`: this answer was given before, to the same Idempotency-Key.",
            "schema": { "type": "string", "const": "true" },
        },
        "RateLimit": {
            "description": "What is left of the caller's share, and for how long.", "schema": { "type": "string" },
        },
        "RateLimitPolicy": { "description": "The caller's share.", "schema": { "type": "string" } },
    })
}

fn parameters() -> Value {
    json!({
        "IdempotencyKey": {
            "in": "header", "name": "Idempotency-Key", "description":
                "The same key and body get the same answer, and the work is done once; kept for a day.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        },
        "Position": {
            "in": "header", "name": "Tidewire-Position", "description":
                "As an earlier answer gave it: this read sees everything up to there.",
            "schema": { "type": "string", "pattern": "^[0-9]{1,20}$" },
        },
    })
}
