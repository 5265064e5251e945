//! What the authors of CloudEvents have written down about events: their conformance scenarios, and their JSON schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tidewire::bytes::Bytes;
use tidewire::codec::{self, Defaults, Parsed, http, json, kafka};

fn file(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance/cloudevents");
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A step of a scenario, with what is under it.
#[derive(Clone, Debug, Default)]
struct Step {
    text: String,
    block: String,
    rows: Vec<Vec<String>>,
}

/// A scenario with its steps; an outline once for each of its examples.
#[derive(Debug)]
struct Scenario {
    name: String,
    steps: Vec<Step>,
}

/// As much of Gherkin as these files have: scenarios, outlines with examples, tables, and text between `"""`.
fn scenarios(text: &str) -> Vec<Scenario> {
    let mut found: Vec<Scenario> = Vec::new();
    let mut examples: Vec<Vec<String>> = Vec::new();
    let mut all = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let word = line.trim();
        if let Some((_, name)) = word.split_once(':').filter(|(kind, _)| kind.starts_with("Scenario")) {
            all.extend(finished(found.pop(), std::mem::take(&mut examples)));
            found.push(Scenario { name: name.trim().to_owned(), steps: Vec::new() });
            continue;
        }
        let Some(scenario) = found.last_mut() else { continue };
        let into_examples = word.starts_with("Examples:");
        if ["Given ", "When ", "Then ", "And "].iter().any(|keyword| word.starts_with(keyword)) || into_examples {
            let text = word.split_once(' ').map_or("Examples", |(_, text)| text).trim_end_matches(':');
            scenario.steps.push(Step { text: text.to_owned(), ..Step::default() });
        } else if word == "\"\"\"" {
            let indent = line.len() - line.trim_start().len();
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "\"\"\"").collect();
            let block = block.iter().map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n");
            scenario.steps.last_mut().expect("a step").block = block;
        } else if let Some(row) = word.strip_prefix('|') {
            let cells = row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            scenario.steps.last_mut().expect("a step").rows.push(cells);
        }
        if let Some(step) = scenario.steps.pop_if(|step| step.text == "Examples" && !step.rows.is_empty()) {
            examples.extend(step.rows);
            scenario.steps.push(Step { text: "Examples".into(), ..Step::default() });
        }
    }
    all.extend(finished(found.pop(), examples));
    all
}

fn finished(scenario: Option<Scenario>, mut examples: Vec<Vec<String>>) -> Vec<Scenario> {
    let Some(mut scenario) = scenario else { return Vec::new() };
    scenario.steps.retain(|step| step.text != "Examples");
    if examples.is_empty() {
        return vec![scenario];
    }
    let names = examples.remove(0);
    let filled = |row: &Vec<String>| {
        let fill = |text: &String| {
            names.iter().zip(row).fold(text.clone(), |text, (name, value)| text.replace(&format!("<{name}>"), value))
        };
        let steps = scenario.steps.iter().map(|step| Step {
            text: step.text.clone(),
            block: fill(&step.block),
            rows: step.rows.iter().map(|row| row.iter().map(fill).collect()).collect(),
        });
        Scenario { name: fill(&scenario.name), steps: steps.collect() }
    };
    examples.iter().map(filled).collect()
}

/// What the steps of a scenario put together.
#[derive(Default)]
struct World {
    headers: Vec<(String, String)>,
    body: Bytes,
    is_kafka: bool,
}

impl World {
    fn given(&mut self, step: &Step) {
        if step.text == "an HTTP request" {
            let (head, body) = step.block.split_once("\n\n").expect("an empty line after the headers");
            let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.headers = head.lines().skip(1).filter_map(header).collect();
            self.body = Bytes::from(body.to_owned());
        } else if step.text == "a Kafka message with payload" {
            (self.is_kafka, self.body) = (true, Bytes::from(step.block.clone()));
        } else if step.text == "Kafka headers" {
            self.headers = step.rows.iter().skip(1).map(|row| (row[0].clone(), row[1].clone())).collect();
        }
    }

    fn parsed(&self) -> Parsed<'_> {
        let pairs = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let parsed = match self.is_kafka {
            true => kafka::decode(pairs.map(|(name, value)| (name, Some(value))), Some(&self.body)),
            false => http::decode_one(pairs, &self.body).map(|parsed| parsed.expect("an event")),
        };
        parsed.unwrap_or_else(|error| panic!("{error}: {:?}", self.headers))
    }
}

fn check(scenario: &Scenario) {
    let mut world = World::default();
    for step in &scenario.steps {
        let name = &scenario.name;
        if step.text == "the attributes are" {
            let parsed = world.parsed();
            assert_eq!(parsed.deviations(), [], "{name}");
            let found: BTreeMap<String, codec::Value<'_>> =
                parsed.attributes().map(|(name, value)| (name.to_owned(), value)).collect();
            let wanted: BTreeMap<String, codec::Value<'_>> =
                step.rows.iter().skip(1).map(|row| (row[0].clone(), row[1].as_str().into())).collect();
            assert_eq!(found, wanted, "{name}");
        } else if step.text == "the data is equal to the following JSON" {
            let data: Value = serde_json::from_slice(world.parsed().data().expect("data")).expect("JSON");
            assert_eq!(data, serde_json::from_str::<Value>(&step.block).expect("JSON"), "{name}");
        } else {
            world.given(step);
        }
    }
}

#[test]
fn the_conformance_scenarios_pass() {
    let mut counts = Vec::new();
    for (name, expected) in [("http-protocol-binding.feature", 4), ("kafka-protocol-binding.feature", 3)] {
        let scenarios = scenarios(&file(name));
        assert_eq!(scenarios.len(), expected, "{scenarios:#?}");
        for scenario in &scenarios {
            let checks = scenario.steps.iter().filter(|step| step.text.starts_with("the ")).count();
            assert_eq!(checks, 2, "{scenario:?}");
            check(scenario);
        }
        counts.push(scenarios.len());
    }
    println!("CloudEvents conformance: {} of {} scenarios pass", counts.iter().sum::<usize>(), 7);
}

/// Every type of the catalogue, and every event that the vectors write.
#[test]
fn what_we_write_follows_the_schema_of_cloudevents() {
    let schema: Value = serde_json::from_str(&file("cloudevents.json")).expect("JSON");
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas/vectors/cloudevents/write.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(vectors).expect("readable")).expect("JSON");
    let events = vectors["vectors"].as_array().expect("vectors").iter().map(|vector| {
        let mut event = vector["event"]["attributes"].clone();
        event["data_base64"] = vector["event"]["data"]["base64"].clone();
        event
    });
    let examples = events::catalogue().iter().map(|entry| {
        serde_json::json!({"specversion": "1.0", "id": "1", "source": "/s", "type": entry.ty.to_string(), "data": entry.example,
            "time": "2026-01-31T12:00:00Z", "partitionkey": "k"})
    });
    let mut count = 0;
    for event in events.chain(examples) {
        let text = Bytes::from(event.to_string());
        let envelope =
            json::read(&text).and_then(|parsed| parsed.into_envelope(&Defaults::default())).expect("an event");
        let written: Value = serde_json::from_slice(&json::write(&envelope).expect("it is written")).expect("JSON");
        let errors: Vec<String> = validator.iter_errors(&written).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{written}: {errors:?}");
        count += 1;
    }
    println!("CloudEvents JSON schema: {count} of {count} written events follow it");
    assert!(count > 30, "{count}");
}
