//! Every stable code that can be emitted is explained, and nothing is explained that cannot be emitted.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Look like codes, and are names of something else.
const OTHER_NAMES: [&str; 21] = [
    // Fields of a subscription, and its consumer.
    "config.concurrency",
    "config.max_attempts",
    "config.reply",
    "config.timeout_seconds",
    "push.{id}",
    // Consumers and work in the background.
    "consumer.batch",
    "documents.listing",
    "documents.sweep",
    "documents.tidy",
    "saga.{saga}",
    // Files.
    "broker.db",
    "broker.lock",
    "log.db",
    "log.lock",
    "log.new",
    "store.sqlite",
    // Columns.
    "e.position",
    "e.version",
    "c.name",
    // Settings of librdkafka.
    "client.id",
    // A pipe that its reader closed ends the process well: nobody is told this.
    "output.closed",
];

/// What stands behind the dot in names of files.
const FILE_ENDINGS: [&str; 3] = ["css", "html", "js"];

/// What calls for a code right behind it.
const CODE_FOLLOWS: [&str; 6] = ["code:", "code =", "code ==", "permanent(", "conflict(", "Failure::new("];
/// Calls with a code among their first arguments.
const CODE_AMONG: [&str; 2] = ["Problem::new(", "Failure::new("];

/// Whether `text` is two lower-case words with a dot between them.
fn is_code(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text.split_once('.').is_some_and(|(area, what)| word(area) && word(what) && !FILE_ENDINGS.contains(&what))
}

fn area(code: &str) -> &str {
    code.split('.').next().unwrap_or_default()
}

/// A source without its comments and its own tests.
fn product(source: &str) -> String {
    let tests = source
        .match_indices("#[cfg(test)]\nmod ")
        .find(|(at, _)| source[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{')));
    let source = tests.map_or(source, |(at, _)| &source[..at]);
    source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The literals of a source that are codes: by their area, or by where they stand.
fn codes(source: &str, areas: &BTreeSet<&str>, others: &BTreeSet<String>) -> BTreeSet<String> {
    let source = product(source);
    let mut found = BTreeSet::new();
    let (mut function, mut before) = (String::new(), "");
    for (number, piece) in source.split('"').enumerate() {
        // Pieces outside of literals alternate with those inside, unless a literal has a quote in it; the shape
        // of a code tells both apart well enough.
        if is_code(piece) {
            let lead = before.trim_end();
            let among = |call: &str| lead.rfind(call).is_some_and(|at| !lead[at..].contains([';', '{']));
            let told = CODE_FOLLOWS.iter().any(|end| lead.ends_with(end))
                || CODE_AMONG.iter().any(|call| among(call) && lead.ends_with(','))
                || (function == "code" && lead.ends_with("=>"));
            if told || (areas.contains(area(piece)) && !others.contains(piece)) {
                found.insert(piece.to_owned());
            }
        }
        // Put together from parts, a code escapes whoever searches for it.
        let from_parts = number % 2 == 1 && piece.contains(".{") && !piece.contains([' ', '/']);
        if from_parts && areas.contains(area(piece)) && !others.contains(piece) {
            found.insert(piece.to_owned());
        }
        if let Some((_, rest)) = piece.rsplit_once("fn ") {
            function = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        }
        before = piece;
    }
    found
}

/// Every code in the sources of the product, with the file it was found in.
fn emitted() -> BTreeMap<String, String> {
    let areas: BTreeSet<&str> = tidewire::codes::all().map(|explanation| area(explanation.code)).collect();
    let mut others: BTreeSet<String> = OTHER_NAMES.iter().map(ToString::to_string).collect();
    others.extend(tidewire::config::KEYS.iter().map(|key| key.path.to_owned()));
    others.extend(events::catalogue().iter().map(|entry| entry.ty.name().to_owned()));
    others.extend(tidewire_core::failpoint::ALL.iter().map(ToString::to_string));
    let explained: BTreeSet<&str> = tidewire::codes::all().map(|explanation| explanation.code).collect();
    others.retain(|other| !explained.contains(other.as_str()));
    let listed = Command::new("git").args(["ls-files", "*.rs"]).current_dir(super::top()).output().expect("git runs");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let mut found = BTreeMap::new();
    for path in listed.lines().filter(|path| is_product(path)) {
        let Ok(source) = std::fs::read_to_string(super::top().join(path)) else { continue };
        for code in codes(&source, &areas, &others) {
            found.insert(code, path.to_owned());
        }
    }
    found
}

/// Not tests, and not the table itself.
fn is_product(path: &str) -> bool {
    let aside = ["/tests/", "tests.rs", "/testing.rs", "/conformance", "/examples/", "/src/codes"];
    ["crates/", "services/"].iter().any(|room| path.starts_with(room)) && !aside.iter().any(|part| path.contains(part))
}

#[test]
fn every_code_is_explained() {
    let emitted = emitted();
    assert!(emitted.len() > 100, "only {} codes found", emitted.len());
    let missing: Vec<_> = emitted.iter().filter(|(code, _)| tidewire::codes::explain(code).is_none()).collect();
    assert!(missing.is_empty(), "`tidewire explain` does not know {missing:#?}");
}

#[test]
fn every_explanation_is_of_a_code_there_is() {
    let emitted = emitted();
    let unused: Vec<&str> =
        tidewire::codes::all().map(|e| e.code).filter(|code| !emitted.contains_key(*code)).collect();
    assert!(unused.is_empty(), "explained, but never emitted: {unused:?}");
}

#[test]
fn codes_are_found_wherever_they_stand() {
    let areas = BTreeSet::from(["store", "document"]);
    let others = BTreeSet::from(["store.url".to_owned()]);
    for (source, expected) in [
        (r#"Err(HandlerError::permanent("stock.empty", "no anchors left"))"#, Some("stock.empty")),
        (r#"Problem::new(StatusCode::CONFLICT, "order.closed", detail)"#, Some("order.closed")),
        (r#"Failure::new(Exit::Error, "order.lost", "x")"#, Some("order.lost")),
        (r#"fn code(&self) -> &str { match self { Self::A => "order.late" } }"#, Some("order.late")),
        (r#"let code = if full { "store.full" } else { other };"#, Some("store.full")),
        (r#"format!("document.{}", error.code())"#, Some("document.{}")),
        (r#"config.get("store.url")"#, None),
        (r#"open("order.closed")"#, None),
        ("// as \"store.full\" does", None),
        ("fn a() {}\n#[cfg(test)]\nmod tests {\n\"store.full\"", None),
    ] {
        let found = codes(source, &areas, &others);
        assert_eq!(found.iter().next().map(String::as_str), expected, "{source}");
    }
}
