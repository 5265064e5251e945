//! The test kit of CloudEvents SQL. Its files are the specification's and are read where they lie.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use tidewire_core::cesql::{Attributes, EvaluationError, Expression, Value};

/// An event as the kit writes it; wider than what enters this house (times with an offset, types without a version).
struct Event(Json);

impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        match self.0.get(name)? {
            Json::String(text) => Some(text.as_str().into()),
            Json::Bool(boolean) => Some((*boolean).into()),
            Json::Number(number) => Some(i32::try_from(number.as_i64().expect("an integer")).expect("32 bits").into()),
            other => panic!("no attribute of an event: {other}"),
        }
    }
}

fn event(case: &Json) -> Event {
    let any = || json!({"specversion": "1.0", "id": "1", "source": "/kit", "type": "kit"});
    let mut event = case.get("event").cloned().unwrap_or_else(any);
    for (name, value) in case.get("eventOverrides").and_then(Json::as_object).into_iter().flatten() {
        event[name] = value.clone();
    }
    Event(event)
}

fn class(error: &EvaluationError) -> &'static str {
    match error {
        EvaluationError::Math(_) => "math",
        EvaluationError::Cast { .. } => "cast",
        EvaluationError::MissingAttribute(_) => "missingAttribute",
        EvaluationError::MissingFunction { .. } => "missingFunction",
        EvaluationError::FunctionEvaluation { .. } => "functionEvaluation",
        _ => "generic",
    }
}

/// What is wrong with a case, if anything.
fn fault(case: &Json) -> Option<String> {
    // YAML reads `TRUE` and `1` as what they look like.
    let text = case["expression"].as_str().map_or_else(|| case["expression"].to_string(), str::to_owned);
    let wanted_error = case.get("error").and_then(Json::as_str);
    let expression = match Expression::parse(&text) {
        Ok(expression) => expression,
        Err(_) if wanted_error == Some("parse") => return None,
        Err(error) => return Some(format!("`{text}`: {error}")),
    };
    let event = event(case);
    let found = expression.evaluate(&event);
    let value = match &found.value {
        Value::Text(text) => Json::from(text.as_ref()),
        Value::Integer(number) => Json::from(*number),
        Value::Boolean(boolean) => Json::from(*boolean),
    };
    let is_right = match wanted_error {
        Some(wanted) => !found.errors.is_empty() && found.errors.iter().all(|error| class(error) == wanted),
        None => found.errors.is_empty(),
    } && case.get("result").is_none_or(|wanted| *wanted == value);
    (!is_right).then(|| format!("`{text}`: {value} {:?}, wanted {} {wanted_error:?}", found.errors, case["result"]))
}

#[test]
fn cesql_passes_its_kit() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/cesql");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: conformance data not found");
        return;
    };
    let (mut cases, mut faults) = (0, Vec::new());
    for file in files {
        let path = file.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let kit: Json = serde_yaml_ng::from_str(&text).expect("YAML");
        for case in kit["tests"].as_array().expect("cases") {
            cases += 1;
            faults.extend(fault(case).map(|fault| format!("{} / {}: {fault}", kit["name"], case["name"])));
        }
    }
    println!("CloudEvents SQL test kit: {} of {cases} cases pass", cases - faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(cases >= 275, "only {cases} cases were found");
}
