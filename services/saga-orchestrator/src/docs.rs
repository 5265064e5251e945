//! What the routes of sagas take and answer.

use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};
use tidewire::saga::Status;

use crate::routes::desk::{MAX_REASON_CHARS, MAX_TOKEN_BYTES};

pub(crate) fn docs() -> Vec<RouteDoc> {
    vec![
        RouteDoc::get("/v1/sagas", "listSagas", "Sagas, those that changed last first.")
            .query("status", status(), "Only those that stand there.")
            .query("type", shape::text(), "Only these, such as `document-ingestion`.")
            .paged(summary()),
        RouteDoc::get("/v1/sagas/{id}", "showSaga", "Everything about one saga: its steps and how it came to this.")
            .path("id", shape::uuid(), "The saga.")
            .answer(200, "The saga.", saga()),
        RouteDoc::post("/v1/sagas", "startSaga", "Starts a saga; with a token, once.")
            .body(starting())
            .answer(202, "It starts as soon as its event is read.", started())
            .answer(200, "The same start was taken before.", started())
            .problem(404, "saga.unknown_type"),
        order("/v1/sagas/{id}/retry", "retrySaga", "Asks again for what failed or is waited for.", of_step()),
        order("/v1/sagas/{id}/skip", "skipSagaStep", "Goes on without the reply of a step.", replying())
            .problem(422, "saga.output_invalid"),
        order("/v1/sagas/{id}/done", "finishSagaStep", "Counts a step as done by hand, or as undone.", replying())
            .problem(422, "saga.output_invalid"),
        order("/v1/sagas/{id}/compensate", "compensateSaga", "Turns a saga back and undoes everything.", guard()),
        order("/v1/sagas/{id}/forward", "forwardSaga", "Stops undoing a saga and goes forward again.", guard()),
        order("/v1/sagas/{id}/cancel", "cancelSaga", "Turns a saga back, if that can do no harm.", guard()),
        RouteDoc::post("/v1/sagas/{id}/signals/{step}", "signalSaga", "Gives a waiting step what it waits for.")
            .path("id", shape::uuid(), "The saga.")
            .path("step", shape::text(), "The step.")
            .body(shape::object([("data", shape::any()), ("reason?", why()), ("dry_run?", shape::boolean())]).closed())
            .answer(202, "The signal is on its way.", signalled())
            .answer(200, "What would come of it.", signalled())
            .problem(409, "saga.order_refused")
            .problem(409, "saga.unknown_definition"),
    ]
}

/// A route that carries out an order.
fn order(path: &'static str, id: &'static str, summary: &'static str, body: Shape) -> RouteDoc {
    RouteDoc::post(path, id, summary)
        .path("id", shape::uuid(), "The saga.")
        .body(body)
        .answer(200, "What it does, or with `dry_run` would do.", decision())
        .problem(409, "saga.order_refused")
        .problem(409, "saga.revision_changed")
        .problem(409, "saga.unknown_definition")
}

fn why() -> Shape {
    shape::text_up_to(MAX_REASON_CHARS).described("Why; kept. Needed unless it is a dry run.")
}

fn guard() -> Shape {
    let revision = shape::count().described("The revision that was looked at. Needed unless it is a dry run.");
    shape::object([("revision?", revision), ("reason?", why()), ("dry_run?", shape::boolean())]).closed()
}

fn of_step() -> Shape {
    guard().member("step?", shape::text().described("Which step, where it could be several."))
}

fn replying() -> Shape {
    of_step().member("output?", shape::any().described("What the reply would have said: the data of its event."))
}

fn starting() -> Shape {
    shape::object([
        ("type", shape::text()),
        ("data", shape::any().described("The data of the event that starts it.")),
        ("token?", shape::text_up_to(MAX_TOKEN_BYTES)),
        ("reason?", shape::text_up_to(MAX_REASON_CHARS)),
    ])
    .closed()
}

fn started() -> Shape {
    shape::object([("id", shape::uuid()), ("event", shape::text()), ("first", shape::boolean())])
}

fn signalled() -> Shape {
    let no = shape::object([("code", shape::text()), ("reason", shape::text())]);
    shape::object([("id", shape::uuid()), ("step", shape::text()), ("event?", shape::text()), ("no?", no)])
}

fn decision() -> Shape {
    let names = || shape::list(shape::text());
    shape::object([
        ("id", shape::uuid()),
        ("type", shape::text()),
        ("verb", shape::text()),
        ("revision", shape::count()),
        ("done", shape::boolean()),
        ("from", status()),
        ("to", status()),
        ("emits", shape::list(shape::object([("step?", shape::text()), ("type", shape::text())]))),
        ("undos", names()),
        ("without_undo", names()),
        ("past_recall", names()),
        ("in_doubt", names()),
        ("remaining", names()),
        ("waits", shape::list(shape::any())),
    ])
}

fn status() -> Shape {
    shape::word(Status::ALL.map(Status::as_str))
}

fn summary() -> Shape {
    shape::object([
        ("id", shape::uuid()),
        ("type", shape::text()),
        ("status", status()),
        ("key", shape::text()),
        ("step?", shape::text()),
        ("code?", shape::text()),
        ("reason?", shape::text()),
        ("started", shape::time()),
        ("updated", shape::time()),
    ])
}

fn saga() -> Shape {
    let step = shape::object([
        ("name", shape::text()),
        ("status", shape::text()),
        ("attempts", shape::count()),
        ("undo_attempts", shape::count()),
        ("started", shape::time()),
        ("updated", shape::time()),
        ("seconds", shape::decimal()),
    ]);
    let parent = shape::object([("id", shape::uuid()), ("step", shape::text()), ("epoch", shape::count())]);
    summary()
        .member("revision", shape::count())
        .member("seconds", shape::decimal())
        .member("definition", shape::count())
        .member("fingerprint", shape::text())
        .member("correlationid", shape::text())
        .member("cause", shape::text())
        .member("parent?", parent)
        .member("epoch", shape::count())
        .member("state", shape::any())
        .member("steps", shape::list(step))
        .member("history", shape::list(shape::any()))
        .member("history_dropped", shape::count())
        .member("ignored", shape::count())
}
