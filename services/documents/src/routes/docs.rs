//! What the routes of documents take and answer.

use serde_json::json;
use tidewire::http::RouteDoc;
use tidewire::http::shape::{self, Shape};

use super::search::{DEFAULT_HITS, MAX_HITS};
use super::send::{MAX_FILENAME, MAX_TITLE};
use crate::index::{MAX_QUERY_CHARS, MAX_REACH};

/// What the routes of documents take and answer.
pub fn docs() -> Vec<RouteDoc> {
    vec![
        RouteDoc::post(
            "/v1/documents",
            "submitDocument",
            "Takes a document in; the saga that ingests it goes on by itself.",
        )
        .query("workspace", workspace().default(json!("default")), "Where it belongs.")
        .query("title", printable(MAX_TITLE), "Its title, if it has none of its own.")
        .query("filename", printable(MAX_FILENAME), "The name of its file.")
        .body_as("application/octet-stream", shape::bytes().described("The document, with its own media type."))
        .body_as("text/plain", text().example(json!("Tide tables for Hamburg")))
        .body_as("multipart/form-data", form())
        .answer(202, "Taken.", shape::object([("document", shape::uuid()), ("saga", shape::uuid())]))
        .with_header("Location", "Where the document is.")
        .problem(503, "objects.unavailable"),
        RouteDoc::get("/v1/documents", "listDocuments", "The documents of a workspace, newest first.")
            .query_required("workspace", workspace(), "Which workspace.")
            .paged(shape::object([
                ("document", shape::text()),
                ("workspace", workspace()),
                ("status", status()),
                ("title?", shape::text()),
                ("filename?", shape::text()),
                ("submitted", shape::time()),
                ("code?", shape::text()),
            ])),
        RouteDoc::get("/v1/documents/{id}", "showDocument", "Where a document stands. Never behind.").answer(
            200,
            "The document.",
            document(),
        ),
        RouteDoc::get("/v1/documents/{id}/text", "readDocumentText", "The text that was found in a document.")
            .answer_as(200, "text/plain; charset=utf-8", "The text.", shape::text()),
        RouteDoc::get("/v1/search", "search", "Documents whose text or title has the words, best first.")
            .query_required(
                "q",
                Shape::of(json!({ "type": "string", "maxLength": MAX_QUERY_CHARS })),
                "Words, `\"a phrase\"`, `+must`, `-not`, `title:word`.",
            )
            .query("workspace", workspace().default(json!("default")), "Where to look.")
            .query("limit", shape::number(1, MAX_HITS as i64).default(json!(DEFAULT_HITS)), "The most hits.")
            .query("offset", shape::number(0, (MAX_REACH - MAX_HITS) as i64).default(json!(0)), "Hits to pass over.")
            .answer(
                200,
                "The hits.",
                shape::object([
                    ("items", shape::list(hit())),
                    ("more", shape::boolean()),
                    ("ignored", shape::list(shape::text()).described("What could not be read in the query.")),
                ]),
            )
            .problem(503, "index.elsewhere"),
    ]
}

fn workspace() -> Shape {
    shape::text_up_to(64).pattern("[A-Za-z0-9._-]+")
}

fn printable(limit: usize) -> Shape {
    shape::text_up_to(limit).pattern(r"[^\x00-\x1f\x7f-\x9f]+")
}

fn text() -> Shape {
    Shape::of(json!({ "type": "string", "minLength": 1 }))
}

fn form() -> Shape {
    shape::object([
        ("file", shape::bytes()),
        ("title?", shape::any().described("A text; everything in a form is one.")),
    ])
    .closed()
}

fn status() -> Shape {
    shape::word(["ingesting", "ingested", "rejected", "stuck"])
}

fn document() -> Shape {
    shape::object([
        ("document", shape::text()),
        ("saga", shape::text()),
        ("workspace", workspace()),
        ("status", status()),
        ("title?", shape::text()),
        ("filename?", shape::text()),
        ("media_type", shape::text()),
        ("bytes", shape::count()),
        ("submitted?", shape::nullable(shape::time())),
        ("ended?", shape::time()),
        ("characters?", shape::count()),
        ("chunks?", shape::count()),
        ("pages?", shape::count()),
        ("language?", shape::text()),
        ("keywords?", shape::list(shape::text())),
        ("entities?", shape::list(shape::any())),
        ("near_duplicates?", shape::list(shape::any())),
        ("code?", shape::text()),
        ("reason?", shape::text()),
    ])
}

fn hit() -> Shape {
    shape::object([
        ("document", shape::text()),
        ("title", shape::nullable(shape::text())),
        ("score", shape::decimal()),
        ("snippet", shape::text().described("HTML, escaped, with the words found between `<b>` and `</b>`.")),
        ("chunk", shape::count()),
        ("ingested", shape::nullable(shape::time())),
    ])
}
