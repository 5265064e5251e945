//! What the routes of tracking and statistics take and answer.

use events::limits;
use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

use crate::track::MAX_TRACKED;

pub(crate) fn docs() -> Vec<RouteDoc> {
    let many = Shape::of(json!({
        "type": "array", "items": tracked().schema(), "minItems": 1, "maxItems": MAX_TRACKED,
    }));
    let counted = [("hour", shape::time()), ("type", shape::text()), ("count", shape::count())];
    vec![
        RouteDoc::post(
            "/v1/track",
            "track",
            "Records what a user did: one activity, or several of which all are taken or none.",
        )
        .body(shape::either([tracked(), many]).example(json!({
            "user": "42", "action": "page.viewed", "object": "/pricing", "metadata": { "referrer": "newsletter" },
        })))
        .answer(202, "They are in the log.", shape::object([("ids", shape::list(shape::text()))])),
        RouteDoc::get("/v1/users/{id}/activity", "listActivity", "What a user did, newest first.")
            .path("id", user_id(), "The user.")
            .paged(shape::object([
                ("id", shape::text()),
                ("time", shape::time()),
                ("action", shape::text()),
                ("object?", shape::text()),
                ("metadata?", shape::map(shape::any())),
            ])),
        RouteDoc::get("/v1/stats/hourly", "countHourly", "How often each type of event happened in each hour.")
            .query("from", shape::time(), "The first hour; a day before `to` when it is not said.")
            .query("to", shape::time(), "The end; that of the current hour when it is not said.")
            .query("type", shape::text(), "Only this type, by its name without a version.")
            .answer(
                200,
                "The hours in which something happened.",
                shape::object([
                    ("from", shape::time()),
                    ("to", shape::time()),
                    ("items", shape::list(shape::object(counted))),
                    ("totals", shape::any()),
                ]),
            ),
    ]
}

fn user_id() -> Shape {
    shape::text_up_to(limits::USER_ID).pattern("[A-Za-z0-9_-][A-Za-z0-9_.-]*").example(json!("42"))
}

fn tracked() -> Shape {
    let metadata = json!({ "anyOf": [{ "type": "object", "maxProperties": limits::METADATA }, { "type": "null" }] });
    let object = json!({ "anyOf": [{ "type": "string", "maxLength": limits::OBJECT }, { "type": "null" }] });
    shape::object([
        ("user", user_id()),
        (
            "action",
            shape::text_up_to(limits::ACTION)
                .pattern(r"[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?"),
        ),
        ("object?", Shape::of(object)),
        ("metadata?", Shape::of(metadata)),
    ])
    .closed()
}
