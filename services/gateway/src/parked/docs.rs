//! What the routes of parked events take and answer.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

pub(crate) fn docs() -> Vec<RouteDoc> {
    let list =
        RouteDoc::get("/v1/parked", "listParked", "Events set aside, oldest first: types and ids, not their data.");
    let groups = RouteDoc::get("/v1/parked/groups", "groupParked", "Events set aside, by consumer, cause and type.");
    vec![
        filtered(list).paged(row()),
        filtered(groups).answer(200, "The groups, largest first.", self::groups()),
        RouteDoc::get("/v1/parked/{ordinal}", "showParked", "One parked event, whole, and what operators did to it.")
            .path("ordinal", shape::count(), "Its number.")
            .answer(200, "The event and why it was parked.", parked()),
        RouteDoc::post(
            "/v1/parked/redrive",
            "redriveParked",
            "Runs handlers again on parked events. Repeating it is harmless.",
        )
        .body(redrive())
        .answer(200, "What became of each.", redriven())
        .problem(404, "consumer.not_found")
        .problem(409, "parked.busy"),
        RouteDoc::post("/v1/parked/{ordinal}/edit", "editParked", "Gives a parked event other data, under a new id.")
            .path("ordinal", shape::count(), "Its number.")
            .body(edit())
            .answer(200, "The event before and after, and where they differ.", edited())
            .problem(400, "parked.locked")
            .problem(400, "event.schema_invalid")
            .problem(409, "parked.changed")
            .problem(409, "parked.busy"),
        RouteDoc::post(
            "/v1/parked/{ordinal}/drop",
            "dropParked",
            "Takes a parked event out for good; what waited behind it runs.",
        )
        .path("ordinal", shape::count(), "Its number.")
        .body(shape::object([("reason", shape::text_up_to(2_000))]).closed().example(json!({ "reason": "a test" })))
        .answer(200, "What was dropped, and what became of those behind it.", dropped())
        .problem(409, "parked.changed")
        .problem(409, "parked.busy"),
    ]
}

fn filtered(doc: RouteDoc) -> RouteDoc {
    doc.query("consumer", shape::text(), "Only those of this consumer.")
        .query("key", shape::text_up_to(256).pattern("[A-Za-z0-9/._-]+"), "Only those of this key.")
        .query("code", shape::text(), "Only those parked for this reason, such as `handler.failed`.")
        .query("type", shape::text().example(json!("user.followed")), "Only events of this name, of any version.")
        .query("filter", shape::text().example(json!("sequence > 5")), "CloudEvents SQL.")
}

fn row() -> Shape {
    shape::object([
        ("ordinal", shape::count()),
        ("consumer", shape::text()),
        ("id", shape::text()),
        ("type", shape::event_type()),
        ("key", shape::text()),
        ("code", shape::text()),
        ("reason", shape::text()),
        ("attempts", shape::count()),
        ("since", shape::time()),
    ])
}

fn groups() -> Shape {
    let group = shape::object([
        ("consumer", shape::text()),
        ("code", shape::text()),
        ("type", shape::event_type()),
        ("events", shape::count()),
        ("keys", shape::count()),
        ("first", shape::time()),
        ("last", shape::time()),
        ("ordinal", shape::count().described("The number of the first.")),
        ("reason", shape::text()),
    ]);
    shape::object([
        ("items", shape::list(group)),
        ("complete", shape::boolean().described("Whether everything that is parked was counted.")),
    ])
}

fn parked() -> Shape {
    let tried = shape::object([
        ("time", shape::time()),
        ("actor", shape::text()),
        ("verb", shape::text()),
        ("reason", shape::text()),
        ("error?", shape::text()),
    ]);
    shape::object([
        ("ordinal", shape::count()),
        ("consumer", shape::text()),
        ("envelope", shape::event()),
        ("code", shape::text()),
        ("reason", shape::text()),
        ("attempts", shape::count()),
        ("since", shape::time()),
        ("history", shape::list(tried)),
    ])
}

fn nullable(description: &str) -> Shape {
    shape::nullable(shape::text()).described(description)
}

fn redrive() -> Shape {
    shape::object([
        ("consumer", shape::text()),
        ("key?", shape::nullable(shape::text_up_to(256).pattern("[A-Za-z0-9/._-]+"))),
        ("code?", nullable("Only those parked for this reason.")),
        ("type?", nullable("Only events of this name.")),
        ("filter?", shape::nullable(shape::text().pattern("TRUE|FALSE")).described("CloudEvents SQL.")),
        ("ordinals?", shape::list_up_to(1_000, shape::count()).described("Only these numbers.")),
        ("limit?", shape::nullable(shape::number(1, 1_000))),
        ("after?", shape::count().described("Where an earlier answer ended: its `next`.")),
        ("dry_run?", shape::boolean()),
        ("reason?", nullable("For those who look later.")),
    ])
    .closed()
    .example(json!({ "consumer": "social.followers", "reason": "the bug is fixed" }))
}

fn one() -> Shape {
    shape::object([
        ("id", shape::text()),
        ("key", shape::text()),
        ("ordinal", shape::count()),
        ("handled", shape::boolean()),
        ("error", shape::nullable(shape::text())),
    ])
}

fn redriven() -> Shape {
    shape::object([
        ("handled", shape::count()),
        ("failed", shape::count()),
        ("items", shape::list(one())),
        ("next", shape::nullable(shape::count()).described("Where to go on.")),
        ("dry_run", shape::boolean()),
    ])
}

fn edit() -> Shape {
    shape::object([
        ("data?", shape::any().described("The new data.")),
        (
            "event?",
            shape::nullable(shape::map(shape::any())).described("Or the whole event; all but its data is locked."),
        ),
        ("expect?", nullable("The id of the event as it was looked at.")),
        ("dry_run?", shape::boolean()),
        ("reason?", nullable("For those who look later.")),
    ])
    .closed()
    .example(json!({ "data": { "follower_id": "7", "followed_id": "42" }, "dry_run": true }))
}

fn edited() -> Shape {
    let change = shape::object([("pointer", shape::text()), ("before", shape::any()), ("after", shape::any())]);
    shape::object([
        ("ordinal", shape::count()),
        ("before", shape::event()),
        ("after", shape::event()),
        ("changes", shape::list(change)),
        ("dry_run", shape::boolean()),
    ])
}

fn dropped() -> Shape {
    shape::object([
        ("consumer", shape::text()),
        ("ordinal", shape::count()),
        ("id", shape::text()),
        ("followed", shape::list(one())),
    ])
}
