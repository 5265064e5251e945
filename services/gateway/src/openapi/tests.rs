//! The document against the routes, the scopes, and every answer of the other tests.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Value, json};
use tidewire::identity::Operation;

use crate::auth::tests::ROUTES;
use crate::tests::{Answer, House};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/openapi.json");

fn committed() -> Value {
    let text = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    serde_json::from_str(&text)
        .expect("schemas/openapi.json: cargo test -p tidewire-cli write_the_openapi_document -- --ignored")
}

/// (method, path, the operation) of a document.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let found = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, doc)| (method.to_ascii_uppercase(), path.clone(), doc))
    });
    found.collect()
}

/// Whoever adds a route says here what it takes and answers, and nothing is documented that is not there.
#[test]
fn every_route_is_documented_and_nothing_else() {
    let document = committed();
    let documented: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let served: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    let undocumented: Vec<_> = served.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&served).collect();
    assert!(undocumented.is_empty(), "say in `docs()` next to the router what these take and answer: {undocumented:?}");
    assert!(invented.is_empty(), "documented, but not in ROUTES of auth/tests.rs: {invented:?}");
    println!("{} operations are documented", documented.len());
}

#[test]
fn the_document_names_the_scope_of_every_route() {
    let document = committed();
    for (method, path, needed) in ROUTES {
        let security = &document["paths"][*path][method.to_ascii_lowercase()]["security"];
        let expected = needed.map_or(json!([]), |operation: Operation| json!([{ "bearer": [operation.name()] }]));
        assert_eq!(security, &expected, "{method} {path}");
    }
}

#[test]
fn operations_have_names_of_their_own_and_say_everything() {
    let document = committed();
    let mut ids = HashSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "two operations are named `{id}`");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{method} {path}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with(['2', '3'])), "{method} {path} says what it answers");
        let templates = path.matches('{').count();
        let parameters = operation["parameters"].as_array().unwrap();
        assert_eq!(parameters.iter().filter(|p| p["in"] == "path").count(), templates, "{method} {path}");
        let idempotent = parameters.iter().any(|p| p["$ref"] == "#/components/parameters/IdempotencyKey");
        assert_eq!(idempotent, path.starts_with("/v1/") && matches!(&*method, "POST" | "PUT"), "{method} {path}");
    }
}

#[tokio::test]
async fn the_document_is_served_and_needs_no_key() {
    let house = House::with(crate::Options { authenticate: true, ..Default::default() }, |_| axum::Router::new()).await;
    let answer = house.ask("GET", "/openapi.json", &[]).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    assert_eq!(answer.json()["openapi"], "3.1.0");
    assert_eq!(&answer.json(), house.document.as_ref());
}

/// Fails when an answer is not one that the document announces. Routes that tests bring along are not in it.
pub(crate) fn check(document: &Value, method: &str, path: &str, answer: &Answer) {
    let Some(operation) = find(document, method, path) else { return };
    let status = answer.status.as_str();
    let place = format!("{method} {path}: {status}");
    let mut documented = &operation["responses"][status];
    assert!(!documented.is_null(), "{place} is not documented: {answer:?}");
    if let Some(name) = documented["$ref"].as_str() {
        documented = document.pointer(name.trim_start_matches('#')).unwrap();
    }
    let Some(content) = documented["content"].as_object() else {
        assert_eq!(answer.text, "", "{place}");
        return;
    };
    let essence = |text: &str| text.split(';').next().unwrap_or_default().trim().to_owned();
    let told = essence(answer.headers["content-type"].to_str().unwrap());
    let body = content.iter().find(|(media_type, _)| essence(media_type) == told);
    let (_, body) = body.unwrap_or_else(|| panic!("{place}: {told} is not documented"));
    if told.ends_with("json") && method != "HEAD" {
        let schema = json!({ "$ref": "#/told", "told": body["schema"], "components": document["components"] });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let value = answer.json();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{place}: {errors:?}: {value}");
    }
}

/// The operation that serves a path; templates without parameters go first, as they do with the router.
fn find<'a>(document: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let path: Vec<&str> = path.split('?').next()?.split('/').collect();
    let templates = document["paths"].as_object().unwrap().iter();
    let mut fitting: Vec<(usize, &Value)> = templates
        .filter_map(|(template, item)| {
            let parts: Vec<&str> = template.split('/').collect();
            let fits = parts.len() == path.len()
                && parts.iter().zip(&path).all(|(part, found)| part.starts_with('{') || part == found);
            fits.then(|| (template.matches('{').count(), &item[method.to_ascii_lowercase()]))
        })
        .collect();
    fitting.sort_by_key(|(parameters, _)| *parameters);
    fitting.first().map(|(_, operation)| *operation).filter(|operation| operation.is_object())
}
