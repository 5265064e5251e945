//! What the routes of replays and projections take and answer.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

pub(crate) fn docs() -> Vec<RouteDoc> {
    let mut docs = replays();
    docs.extend(carried_out());
    docs.extend(projections());
    docs
}

fn replays() -> Vec<RouteDoc> {
    vec![
        RouteDoc::post(
            "/v1/replays/plans",
            "planReplay",
            "Says what a replay would do, and keeps the plan under its hash.",
        )
        .body(request())
        .answer(201, "The plan.", plan())
        .problem(400, "replay.invalid")
        .problem(400, "filter.invalid")
        .problem(404, "consumer.not_found")
        .problem(409, "replay.not_replayable")
        .problem(409, "replay.retired"),
        RouteDoc::get("/v1/replays/plans/{hash}", "showReplayPlan", "A plan that was made.")
            .answer(200, "The plan.", plan())
            .problem(404, "replay.not_found"),
        RouteDoc::post(
            "/v1/replays/recordings",
            "recordHandler",
            "What a handler does for a window of events; nothing of it becomes true.",
        )
        .body(
            shape::object([
                ("consumer", shape::text()),
                ("events?", wanted()),
                ("given?", shape::nullable(shape::list_up_to(100_000, shape::event()))),
            ])
            .closed()
            .example(json!({ "consumer": "social.feed", "events": { "from": "1h" } })),
        )
        .answer(200, "What it emitted, asked for and left behind.", shape::any())
        .problem(400, "replay.invalid")
        .problem(404, "consumer.not_found")
        .problem(409, "replay.not_replayable"),
    ]
}

fn carried_out() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get("/v1/replays", "listReplays", "Plans that were applied, the newest first, at most 500.").answer(
            200,
            "They.",
            shape::object([("items", shape::list(job())), ("cursor", shape::nullable(shape::text()))]),
        ),
        RouteDoc::post("/v1/replays", "applyReplay", "Has a plan carried out in the background, or goes on with it.")
            .body(
                shape::object([
                    ("plan", shape::text().described("The plan's hash.")),
                    ("reason?", shape::nullable(shape::text_at_most(2_000))),
                    ("with_effects?", shape::boolean()),
                ])
                .closed()
                .example(json!({ "plan": "00112233445566778899aabbccddeeff", "reason": "the mapping was wrong" })),
            )
            .answer(202, "It is under way.", job())
            .answer(200, "It was carried out before.", job())
            .problem(404, "replay.not_found")
            .problem(409, "replay.busy")
            .problem(409, "replay.unconfirmed")
            .problem(409, "replay.outdated"),
        RouteDoc::get("/v1/replays/{id}", "showReplay", "How far a replay has come.")
            .answer(200, "It.", job())
            .problem(404, "replay.not_found"),
        RouteDoc::get(
            "/v1/replays/{id}/events",
            "listReplayEvents",
            "The events of a plan, to be written into a file.",
        )
        .query("after", shape::count(), "Go on after this position.")
        .answer(
            200,
            "Some of them, up to which position, and whether those were the last.",
            shape::object([
                ("items", shape::list(shape::object([("position", shape::count()), ("event", shape::event())]))),
                ("position", shape::count()),
                ("last", shape::boolean()),
            ]),
        )
        .problem(404, "replay.not_found"),
        RouteDoc::post("/v1/replays/{id}/stop", "stopReplay", "Stops a replay after the batch it is at.")
            .body(reason())
            .answer(200, "It.", job())
            .problem(404, "replay.not_found"),
        RouteDoc::post(
            "/v1/replays/{id}/work",
            "workReplay",
            "Carries replays out within this request, for some seconds.",
        )
        .body(
            shape::object([("seconds?", shape::nullable(shape::decimal()))])
                .closed()
                .example(json!({ "seconds": 1.0 })),
        )
        .answer(200, "It.", job())
        .problem(404, "replay.not_found"),
    ]
}

fn projections() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get(
            "/v1/projections",
            "listProjections",
            "Every projection: its generation, how far it is, its rows.",
        )
        .answer(
            200,
            "They.",
            shape::object([("items", shape::list(projection())), ("cursor", shape::nullable(shape::text()))]),
        ),
        RouteDoc::post(
            "/v1/projections/{name}/rebuild",
            "rebuildProjection",
            "Builds a projection anew beside the live one, and swaps them.",
        )
        .body(
            shape::object([
                ("rollback?", shape::boolean()),
                ("only_if_equal?", shape::boolean()),
                ("rate?", shape::nullable(shape::count())),
                ("dry_run?", shape::boolean()),
                ("reason?", shape::nullable(shape::text_at_most(2_000))),
            ])
            .closed()
            .example(json!({ "dry_run": true })),
        )
        .answer(202, "It is under way.", job())
        .answer(200, "With `dry_run`: the plan.", plan())
        .problem(404, "consumer.not_found")
        .problem(409, "replay.busy")
        .problem(409, "replay.not_replayable")
        .problem(409, "replay.no_previous")
        .problem(409, "replay.retired"),
    ]
}

fn reason() -> Shape {
    shape::object([("reason?", shape::nullable(shape::text_at_most(2_000)))])
        .closed()
        .example(json!({ "reason": "later" }))
}

fn wanted() -> Shape {
    let place = || shape::nullable(shape::text().described("A position, a time, or so long ago."));
    shape::object([
        ("from?", place()),
        ("to?", place()),
        ("types?", shape::list_up_to(50, shape::text())),
        ("key?", shape::nullable(shape::text())),
        ("correlation?", shape::nullable(shape::text())),
        ("filter?", shape::nullable(shape::text().described("CloudEvents SQL."))),
    ])
    .closed()
}

fn target() -> Shape {
    shape::object([
        ("kind", shape::word(["consumer", "new", "projection", "file", "domain"])),
        ("name?", shape::text()),
        ("again?", shape::boolean()),
        ("handler?", shape::text()),
        ("rollback?", shape::boolean()),
        ("only_if_equal?", shape::boolean()),
    ])
}

fn request() -> Shape {
    shape::object([
        ("events?", wanted()),
        ("target", target()),
        ("with_effects?", shape::boolean()),
        ("rate?", shape::nullable(shape::count())),
    ])
    .closed()
    .example(json!({ "events": { "from": "1h" }, "target": { "kind": "file" } }))
}

fn plan() -> Shape {
    shape::object([
        ("hash", shape::text()),
        ("source", shape::any()),
        ("target", target()),
        ("generation", shape::count()),
        ("with_effects", shape::boolean()),
        ("made", shape::time()),
        (
            "report",
            shape::object([("events", shape::count()), ("bytes", shape::count()), ("seconds", shape::decimal())]),
        ),
    ])
}

fn job() -> Shape {
    shape::object([
        ("id", shape::text()),
        ("terms", shape::any()),
        ("planned", shape::count()),
        ("state", shape::word(["waiting", "running", "stopping", "stopped", "failed", "different", "done"])),
        ("position", shape::count()),
        ("counts", shape::any()),
        ("generation?", shape::count()),
        ("phase?", shape::word(["building", "comparing", "swapping", "clearing"])),
        ("compared?", shape::any()),
        ("trouble?", shape::any()),
        ("actor", shape::text()),
        ("reason", shape::text()),
        ("begun", shape::time()),
        ("updated", shape::time()),
        ("seconds", shape::decimal()),
        ("seconds_left?", shape::decimal()),
    ])
}

fn projection() -> Shape {
    shape::object([
        ("name", shape::text()),
        ("collections", shape::list(shape::text())),
        ("generation", shape::count()),
        ("position", shape::count()),
        ("behind", shape::count()),
        ("rows", shape::count()),
        ("previous", shape::nullable(shape::any())),
        ("rebuild", shape::nullable(shape::text())),
    ])
}
