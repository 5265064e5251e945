//! `doctor`: what is wrong, and what to do.

use serde_json::Value;

use crate::client::{Client, path};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::text::printable;

/// Asks and prints. Ends with findings where there are any.
pub async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let report = client.get(&path(&["v1", "doctor"])).await?;
    output.thing(&report, &["/items/0/rule"], |_| people(&report))?;
    let found = list(&report, "items").len();
    if found == 0 {
        return Ok(());
    }
    let critical = list(&report, "items").iter().filter(|one| word(one, "severity") == "critical").count();
    Err(Failure::new(Exit::Findings, "doctor.findings", format!("{found} findings, {critical} of them critical")))
}

fn list<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn word(item: &Value, name: &str) -> String {
    printable(item.get(name).and_then(Value::as_str).unwrap_or_default())
}

fn people(report: &Value) -> String {
    let mut lines = Vec::new();
    for finding in list(report, "items") {
        let severity = word(finding, "severity").to_uppercase();
        lines.push(format!("{severity:<8}  {}  {}", word(finding, "rule"), word(finding, "subject")));
        lines.push(format!("          {}", word(finding, "evidence")));
        lines.push(format!("          -> {}\n", word(finding, "cure")));
    }
    let rules = list(report, "rules").len();
    if lines.is_empty() {
        lines.push(format!("Nothing found by {rules} rules."));
    }
    for unknown in list(report, "unknown") {
        lines.push(format!("not known: {}", printable(unknown.as_str().unwrap_or_default())));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_what_to_do() {
        let report = json!({
            "items": [{"rule": "parked", "severity": "critical", "subject": "c\u{1b}[2J", "evidence": "9 parked", "cure": "look"}],
            "rules": ["parked"], "unknown": ["disk room"],
        });
        let text = people(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            ["CRITICAL  parked  c\\u{1b}[2J", "          9 parked", "          -> look", "", "not known: disk room",]
        );
        assert_eq!(people(&json!({"items": [], "rules": ["a", "b"]})), "Nothing found by 2 rules.");
    }
}
