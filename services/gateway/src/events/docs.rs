//! What the routes of events take and answer.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

use super::parse::MAX_BATCH;

pub(crate) fn docs() -> Vec<RouteDoc> {
    vec![accept(), list(), stream(), show(), why()]
}

fn accept() -> RouteDoc {
    let taken = shape::object([
        ("ids", shape::list(shape::text())),
        ("duplicates", shape::count().described("How many of them had been taken before.")),
    ]);
    RouteDoc::post(
        "/v1/events",
        "emitEvents",
        "Takes events: CloudEvents in structured, batched or binary mode. Of a batch all are taken or none.",
    )
    .header("ce-id", shape::text(), "Binary mode: the attributes are headers, the body is the data.")
    .body_as("application/cloudevents+json", shape::event().example(example("1")))
    .body_as("application/cloudevents-batch+json", batch().example(json!([example("1"), example("2")])))
    .body_as("application/json", shape::any().described("The data, in binary mode."))
    .answer(202, "They are in the log, on disk.", taken)
    .problem(400, "event.batch_refused")
    .problem(400, "event.malformed")
    .problem(400, "event.unknown_type")
    .problem(400, "event.schema_invalid")
    .problem(400, "event.newer_version")
    .problem(400, "event.key_mismatch")
    .problem(400, "event.expired")
    .problem(403, "auth.source")
    .problem(403, "event.reserved")
    .problem(409, "event.id_conflict")
    .problem(413, "event.too_large")
}

fn example(id: &str) -> serde_json::Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/billing", "type": "user.followed.v1",
        "data": { "follower_id": "7", "followed_id": "42" },
    })
}

fn batch() -> Shape {
    Shape::of(json!({
        "type": "array", "items": shape::event().schema(), "minItems": 1, "maxItems": MAX_BATCH,
    }))
}

fn shown() -> Shape {
    shape::object([("position", shape::count()), ("event", shape::event())])
}

/// The parameters that say which events.
fn filtered(doc: RouteDoc) -> RouteDoc {
    doc.query(
        "type",
        shape::text().example(json!("user.*")),
        "Names without version, or prefixes such as `user.*`; with commas.",
    )
    .query("key", shape::text_up_to(256), "Only this key, such as `user/42`.")
    .query("correlation", shape::text(), "Only this flow.")
    .query("id", shape::text(), "Only events with this id.")
    .query("filter", shape::text(), "CloudEvents SQL, such as `source LIKE '/billing%'`.")
    .problem(400, "event.unknown_type")
    .problem(400, "filter.invalid")
}

fn list() -> RouteDoc {
    let doc = RouteDoc::get("/v1/events", "listEvents", "The log, by position.").query(
        "order",
        shape::word(["oldest", "newest"]).default(json!("oldest")),
        "Which end to begin with.",
    );
    filtered(doc).paged(shown())
}

fn stream() -> RouteDoc {
    let doc = RouteDoc::get("/v1/events/stream", "tailEvents", "The log as it grows.")
        .query("from", shape::text().pattern("now|start|[0-9]{1,19}").default(json!("now")), "After which position.")
        .header("Last-Event-ID", shape::text().pattern("[0-9]{1,19}"), "The last position seen; goes before `from`.");
    filtered(doc).answer_as(
        200,
        "text/event-stream",
        "Server-sent events: `id` is the position, `event` the type, `data` the CloudEvent.",
        shape::text(),
    )
}

fn show() -> RouteDoc {
    RouteDoc::get("/v1/events/{id}", "showEvent", "One event, as a CloudEvent.")
        .query("source", shape::text(), "Tells events apart that share an id; without it the older one is shown.")
        .answer_as(200, "application/cloudevents+json", "The event.", shape::event())
        .with_header("Tidewire-Position", "Where it is in the log.")
}

fn why() -> RouteDoc {
    RouteDoc::get("/v1/events/{id}/why", "explainEvent", "What led to an event, and what followed from it.").answer(
        200,
        "The event, its causes (nearest first) and its effects (in the order of the log).",
        shape::object([
            ("event", shown()),
            ("causes", shape::list(shown())),
            ("effects", shape::list(shown())),
            (
                "tree",
                shape::any()
                    .described("The event with what consumers, sagas and effects made of it, and what followed."),
            ),
            ("complete", shape::boolean().described("Whether no limit cut a list short.")),
        ]),
    )
}
