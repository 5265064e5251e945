//! The committed AsyncAPI document, read by the parser of that project.

use std::path::Path;

use serde_json::{Value, json};

use super::node::script;
use crate::house::top;

/// What the parser calls an error.
const ERROR: u64 = 0;

/// What the parser makes of a document, and its errors.
fn parsed(document: &Path) -> Option<(Value, Vec<Value>)> {
    let output = script("asyncapi.cjs")?.arg(document).output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut said: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let found = said["found"].take().as_array().cloned().unwrap_or_default();
    let errors = found.into_iter().filter(|found| found["severity"] == ERROR).collect();
    Some((said["counts"].take(), errors))
}

#[test]
fn the_asyncapi_parser_takes_the_document() {
    let path = top().join("schemas/asyncapi.json");
    let Some((counts, errors)) = parsed(&path) else { return };
    assert!(errors.is_empty(), "{errors:#?}");
    let types = events::catalogue().len();
    println!("the AsyncAPI parser reads {types} channels, operations and messages, without an error");
    assert_eq!(counts, json!({ "version": "3.0.0", "channels": types, "operations": types, "messages": types }));

    let mut broken: Value = serde_json::from_slice(&std::fs::read(&path).expect("the document")).expect("JSON");
    broken["channels"]["user_followed_v1"]["messages"]["event"]["$ref"] = json!("#/components/messages/nothing");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.json");
    std::fs::write(&path, broken.to_string()).expect("written");
    let (_, errors) = parsed(&path).expect("as above");
    assert!(!errors.is_empty(), "a message that is not there must be found missing");
}
