//! `events lint`: everything that is wrong with events, without asking anybody.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidewire::chrono::DateTime;
use tidewire::codec::json::Surveyor;
use tidewire::codec::{CodecError, Defaults, Deviation, Parsed, Place};

use crate::args::Lint;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, number, text};

/// The most that is read: everything is held in memory, with its findings.
const MAX_BYTES: u64 = 64 << 20;
/// The findings that are kept; beyond them they are counted.
const MAX_FINDINGS: usize = 1_000;

const COLUMNS: &[Column] = &[
    number("event", &["/event"]),
    number("line", &["/line"]),
    number("column", &["/column"]),
    text("level", &["/level"]),
    text("kind", &["/kind"]),
    text("attribute", &["/attribute"]),
    text("what is to be done", &["/cure"]),
    text("id", &["/id"]).wide(),
];

/// Reads, and prints what was found.
pub fn run(lint: &Lint, output: &mut Output) -> Result<(), Failure> {
    let text = read(&lint.file, MAX_BYTES)?;
    let report = Report::of(&text, !lint.cloudevents);
    let value = report.value();
    output.thing(&value, &["/events"], |look| match report.findings.is_empty() {
        true => report.summary(),
        false => format!("{}\n\n{}", table::render(&report.findings, COLUMNS, look), report.summary()),
    })?;
    let failure = |exit, code| Failure::new(exit, code, report.summary());
    match (report.problems, report.deviations) {
        (0, 0) => Ok(()),
        (0, _) => Err(failure(Exit::Findings, "event.deviates")),
        _ => Err(failure(Exit::Invalid, "event.malformed")),
    }
}

/// A file, or standard input, of at most `limit` bytes.
pub(super) fn read(file: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let shown = file.display();
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Error };
        Failure::new(exit, "command.failed", format!("cannot read {shown}: {error}"))
    };
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut text = Vec::new();
    source.take(limit + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > limit {
        return Err(Failure::new(Exit::Invalid, "command.failed", format!("{shown} is longer than {limit} bytes")));
    }
    Ok(text)
}

/// What was found.
#[derive(Default)]
struct Report {
    events: usize,
    problems: usize,
    deviations: usize,
    findings: Vec<Value>,
}

impl Report {
    fn of(text: &[u8], with_house: bool) -> Self {
        let mut report = Self::default();
        let mut surveyor = Surveyor::new(text);
        for (from, to) in parts(text) {
            report.events += 1;
            match surveyor.part(from, to) {
                Ok((parsed, faults)) => report.event(parsed, &faults, with_house),
                Err(error) => report.fault(&error, "", "problem"),
            }
        }
        report
    }

    fn event(&mut self, parsed: Parsed<'_>, faults: &[CodecError], with_house: bool) {
        let id = parsed.get("id").map(|id| id.to_string()).unwrap_or_default();
        for deviation in parsed.deviations() {
            self.deviation(deviation, &id);
        }
        for fault in faults {
            self.fault(fault, &id, "problem");
        }
        if with_house
            && faults.is_empty()
            && let Some(fault) = house(parsed)
        {
            self.fault(&fault, &id, "rule");
        }
    }

    fn fault(&mut self, error: &CodecError, id: &str, level: &str) {
        self.problems += 1;
        self.note(level, error.name(), error.attribute(), error.place(), &error.to_string(), &cure(error), id);
    }

    fn deviation(&mut self, deviation: &Deviation, id: &str) {
        self.deviations += 1;
        let (kind, cure) = (deviation.kind.name(), deviation.kind.cure());
        let attribute = Some(deviation.attribute.as_str());
        self.note("deviation", kind, attribute, Some(&deviation.place), &deviation.to_string(), cure, id);
    }

    #[allow(clippy::too_many_arguments)]
    fn note(
        &mut self,
        level: &str,
        kind: &str,
        attribute: Option<&str>,
        place: Option<&Place>,
        detail: &str,
        cure: &str,
        id: &str,
    ) {
        if self.findings.len() == MAX_FINDINGS {
            return;
        }
        let mut finding = json!({
            "event": self.events, "id": id, "level": level, "kind": kind, "attribute": attribute, "detail": detail, "cure": cure,
        });
        if let Some(Place::Text { offset, line, column }) = place {
            finding["offset"] = json!(offset);
            finding["line"] = json!(line);
            finding["column"] = json!(column);
        }
        self.findings.push(finding);
    }

    fn summary(&self) -> String {
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let kept = self.findings.len();
        let cut = if kept < self.problems + self.deviations {
            format!("; the first {kept} are listed")
        } else {
            String::new()
        };
        let [events, problems, deviations] =
            [(self.events, "event"), (self.problems, "problem"), (self.deviations, "deviation")]
                .map(|(n, what)| count(n, what));
        format!("{events}: {problems}, {deviations}{cut}")
    }

    fn value(&self) -> Value {
        json!({
            "events": self.events, "problems": self.problems, "deviations": self.deviations, "findings": self.findings,
        })
    }
}

/// What this house asks for beyond CloudEvents. What the edge fills in by itself (time, key) may be missing.
fn house(parsed: Parsed<'_>) -> Option<CodecError> {
    let reserved = parsed.attributes().map(|(name, _)| name).find(|name| name.starts_with("tw"));
    if let Some(name) = reserved {
        let expected = "a name that does not start with `tw`: those are Tidewire's own".to_owned();
        return Some(CodecError::Invalid { attribute: name.to_owned(), place: Place::Event, expected });
    }
    let given = Defaults { time: Some(DateTime::UNIX_EPOCH), key: Some("?"), is_keyed_by_subject: false };
    parsed.into_envelope(&given).err()
}

fn cure(error: &CodecError) -> String {
    match error {
        CodecError::Missing { attribute } => format!("write `{attribute}`, and not empty"),
        CodecError::Invalid { expected, .. } | CodecError::Malformed { expected, .. } => format!("write {expected}"),
        CodecError::Duplicate { attribute, .. } => format!("write `{attribute}` once"),
        CodecError::Limit { what, limit, .. } => format!("keep {what} to {limit}"),
        other => other.to_string(),
    }
}

/// Where the events of a text are, from and to: one, one after the other, or in arrays. After something broken it goes on
/// with the next line that begins an event.
fn parts(text: &[u8]) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let mut from = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while text[from..].iter().any(|byte| !byte.is_ascii_whitespace()) {
        let mut stream = serde_json::Deserializer::from_slice(&text[from..]).into_iter::<&RawValue>();
        if let Some(Ok(raw)) = stream.next() {
            let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
            // The mark is part of what is wrong with the first event.
            let first = if parts.is_empty() && from == 3 { 0 } else { start };
            from = start + raw.get().len();
            one_or_many(text, first, start, from, &mut parts);
        } else {
            let end = next_event(text, from);
            parts.push((from, end));
            from = end;
        }
    }
    parts
}

/// Where the next line starts that begins an event, after the one at `from`.
fn next_event(text: &[u8], from: usize) -> usize {
    let lead = text[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let starts = |at: &usize| text[*at] == b'\n' && text.get(at + 1) == Some(&b'{');
    (from + lead..text.len()).find(starts).map_or(text.len(), |at| at + 1)
}

/// A page of the API is looked into as well: what it lists are events with their positions.
fn one_or_many(text: &[u8], first: usize, from: usize, to: usize, parts: &mut Vec<(usize, usize)>) {
    let inside = &text[from..to];
    let place = |raw: &RawValue| {
        let from = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        (from, from + raw.get().len())
    };
    if let Ok(events) = serde_json::from_slice::<Vec<&RawValue>>(inside) {
        return parts.extend(events.into_iter().map(place));
    }
    if let Ok(Page { items }) = serde_json::from_slice(inside) {
        return parts.extend(items.into_iter().map(|item| place(item.event)));
    }
    parts.push((first, to));
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1"}"#;

    /// Which event, what sort of finding, where, and on which line.
    type Found = (u64, String, String, Option<u64>);

    fn findings(text: &str, with_house: bool) -> (usize, Vec<Found>) {
        let report = Report::of(text.as_bytes(), with_house);
        let one = |finding: &Value| {
            let word = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            (finding["event"].as_u64().unwrap(), word("level"), word("kind"), finding["line"].as_u64())
        };
        (report.events, report.findings.iter().map(one).collect())
    }

    #[test]
    fn every_shape_of_input_is_read() {
        let bad = GOOD.replace("\"1\"", "1");
        for (text, events) in [
            (GOOD.to_owned(), 1),
            (format!("{GOOD}\n{GOOD}\n\n{GOOD}"), 3),
            (format!("[{GOOD},{GOOD}]"), 2),
            (format!("{{\"items\":[{{\"position\":1,\"event\":{GOOD}}}],\"cursor\":null}}"), 1),
            (String::new(), 0),
            (" [] ".into(), 0),
        ] {
            assert_eq!(findings(&text, true), (events, vec![]), "{text}");
        }
        let (events, found) = findings(&format!("{GOOD}\n{bad}\n"), false);
        assert_eq!((events, &found[..]), (2, &[(2, "deviation".into(), "not_text".into(), Some(2))][..]));
    }

    #[test]
    fn all_that_is_wrong_is_named_and_what_is_broken_hides_nothing() {
        let text = format!(
            "{}\n{{\"broken\": \n{}\n",
            GOOD.replace("\"/s\"", "\"a b\"").replace("1.0", "1.0.1"),
            GOOD.replace("a.b.v1", "com.example")
        );
        let expected = [
            (1, "deviation", "specversion_form", Some(1)),
            (1, "problem", "invalid", Some(1)),
            (2, "problem", "malformed", Some(3)),
            (3, "rule", "invalid", Some(3)),
        ];
        let expected = expected.map(|(event, level, kind, line)| (event, level.to_owned(), kind.to_owned(), line));
        assert_eq!(findings(&text, true), (3, expected.to_vec()));
        assert_eq!(findings(&text, false).1.len(), 3);
        let (events, found) = findings(&format!("\u{feff}{GOOD}"), true);
        assert_eq!((events, found[0].2.as_str()), (1, "byte_order_mark"));
        assert_eq!(findings("17", true).1.len(), 1);
        assert_eq!(findings("hello", true).1.len(), 1);
    }

    #[test]
    fn findings_are_cut_and_counted() {
        let text = format!("{}\n", GOOD.replace("\"1\"", "1")).repeat(MAX_FINDINGS + 5);
        let report = Report::of(text.as_bytes(), false);
        assert_eq!((report.findings.len(), report.deviations), (MAX_FINDINGS, MAX_FINDINGS + 5));
        assert!(report.summary().contains("the first 1000"), "{}", report.summary());
    }
}
