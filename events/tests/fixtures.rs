//! Every fixture of every version ever: valid under its own schema, readable for ever.

use std::fs;

use events::{Entry, catalogue, frozen};
use serde_json::{Value, json};
use tidewire_core::{Envelope, SchemaError};

fn read(path: &str) -> Value {
    let text = fs::read(frozen::repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn envelope(entry: &Entry, version: u16, data: &Value) -> Envelope {
    serde_json::from_value(json!({
        "specversion": "1.0", "id": "1", "source": "/tests", "type": entry.ty.at(version).to_string(),
        "time": "1970-01-01T00:00:00Z", "partitionkey": "any/key", "data": data
    }))
    .unwrap()
}

fn assert_valid(schema: &Value, data: &Value, what: &str) {
    let validator = jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{what}: {error}"));
    let errors: Vec<String> = validator.iter_errors(data).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{what}: {errors:?}");
}

#[test]
fn every_schema_is_a_schema_and_says_what_it_is_of() {
    for entry in catalogue() {
        for version in 1..=entry.ty.version() {
            let path = frozen::schema_path(entry.ty.name(), version);
            let schema = read(&path);
            jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(schema["$id"], format!("/{path}"));
            assert_eq!(schema["title"], entry.ty.at(version).to_string());
            assert_eq!(entry.schema(version), Some(schema), "{path} is not what the catalogue serves");
        }
        assert_eq!(entry.schema(entry.ty.version() + 1), None);
        assert_eq!(entry.schema(0), None);
    }
}

#[test]
fn every_fixture_follows_its_schema_and_is_read_as_the_current_type() {
    for entry in catalogue() {
        for version in 1..=entry.ty.version() {
            let path = frozen::fixture_path(entry.ty.name(), version);
            let fixture = read(&path);
            assert_valid(&read(&frozen::schema_path(entry.ty.name(), version)), &fixture, &path);
            let current =
                (entry.current)(&envelope(entry, version, &fixture)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_valid(&entry.schema, &current, &path);
            assert_eq!((entry.check)(&envelope(entry, version, &fixture)), Ok(()), "{path}");
        }
    }
}

#[test]
fn an_example_uses_every_field_and_nothing_else() {
    for entry in catalogue() {
        let current = (entry.current)(&envelope(entry, entry.ty.version(), &entry.example)).unwrap();
        assert_eq!(current, entry.example, "{}", entry.ty);
        let fields = entry.schema["properties"].as_object().unwrap().keys();
        let unused: Vec<&String> = fields.filter(|field| entry.example.get(field.as_str()).is_none()).collect();
        assert!(unused.is_empty(), "the example of {} lacks {unused:?}", entry.ty);
    }
}

#[test]
fn what_lacks_a_field_is_refused() {
    for entry in catalogue() {
        for field in entry.schema["required"].as_array().unwrap() {
            let mut data = entry.example.clone();
            data.as_object_mut().unwrap().remove(field.as_str().unwrap());
            let refused = (entry.check)(&envelope(entry, entry.ty.version(), &data));
            assert!(matches!(refused, Err(SchemaError::Malformed { .. })), "{} without {field}", entry.ty);
        }
        let newer = (entry.check)(&envelope(entry, entry.ty.version() + 1, &entry.example));
        assert!(matches!(newer, Err(SchemaError::Newer { .. })), "{}", entry.ty);
    }
}
