//! What the routes of API keys take and answer.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

use super::keys::MAX_NAME_BYTES;

pub(crate) fn docs() -> Vec<RouteDoc> {
    let made = || key().member("key", shape::text().described("The key itself; shown this once."));
    vec![
        RouteDoc::get("/v1/keys", "listKeys", "API keys, without what lets anybody in.").paged(key()),
        RouteDoc::post("/v1/keys", "createKey", "Makes an API key. Nobody hands out a scope he does not have himself.")
            .body(wanted())
            .answer(201, "The key, shown this once.", made())
            .problem(403, "auth.source"),
        RouteDoc::get("/v1/keys/{id}", "showKey", "One API key.").answer(200, "The key.", key()),
        RouteDoc::delete("/v1/keys/{id}", "revokeKey", "Revokes an API key: within seconds it lets nobody in.")
            .no_content(204, "Revoked, now or before."),
        RouteDoc::post("/v1/keys/{id}/rotate", "rotateKey", "Gives an API key a new secret.")
            .answer(200, "The key, shown this once.", made())
            .problem(409, "auth.expired"),
    ]
}

fn scopes() -> Shape {
    shape::text_up_to(2_000)
        .pattern(r"(?:\*|(?:emit|events|write|read|observe|operate|keys|subscribe)(?: (?:emit|events|write|read|observe|operate|keys|subscribe)){0,6})|(?:emit|events):[a-z]+\.(?:[a-z]+|\*)")
        .described("Words with spaces between: `emit`, `events`, `emit:user.*`, `read`, `write`, `observe`, `operate`, `keys`, `subscribe`, or `*`.")
}

fn wanted() -> Shape {
    shape::object([
        ("name", shape::text_up_to(MAX_NAME_BYTES / 4).pattern(r"[^\x00-\x1f\x7f-\x9f]+")),
        ("scopes", scopes()),
        (
            "source?",
            shape::nullable(
                shape::text_up_to(MAX_NAME_BYTES)
                    .pattern(r"/[a-z0-9/-]+")
                    .described("What it emits must have this `source`."),
            ),
        ),
        ("expires?", shape::nullable(shape::time())),
    ])
    .example(json!({ "name": "billing", "scopes": "emit:user.* read", "source": "/billing" }))
}

fn key() -> Shape {
    shape::object([
        ("id", shape::text()),
        ("name", shape::text()),
        ("scopes", shape::text()),
        ("source", shape::nullable(shape::text())),
        ("created", shape::time()),
        ("expires", shape::nullable(shape::time())),
        ("revoked", shape::nullable(shape::time())),
    ])
}
