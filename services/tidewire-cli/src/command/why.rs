//! `events why`: the tree of an event, for people.

use serde_json::Value;

use crate::client::{Client, path};
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::Look;
use crate::output::text::{printable, shortened, time};

/// The longest reason on one line, in characters.
const REASON_CHARS: usize = 120;

/// Asks and prints.
pub async fn run(client: &Client, id: &str, output: &mut Output) -> Result<(), Failure> {
    let why = client.get(&path(&["v1", "events", id, "why"])).await?;
    Ok(output.thing(&why, &["/event/event/id"], |look| people(&why, look))?)
}

fn people(why: &Value, look: &Look) -> String {
    let mut lines = Vec::new();
    let causes = why.get("causes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (depth, cause) in causes.iter().rev().enumerate() {
        let event = cause.get("event").unwrap_or(&Value::Null);
        lines.push(format!("{}{}", led_by(depth), event_line(event, look)));
    }
    let asked = why.get("tree").unwrap_or(&Value::Null);
    let lead = led_by(causes.len());
    lines.push(format!("{lead}{}   <- asked for", event_line(asked, look)));
    branches(asked, &" ".repeat(lead.chars().count()), look, &mut lines);
    if why.get("complete") == Some(&Value::Bool(false)) {
        lines.push("\nThis is not all: a limit cut it short, or a cause is not in this log.".into());
    }
    lines.join("\n")
}

fn led_by(depth: usize) -> String {
    match depth {
        0 => String::new(),
        n => format!("{}└ ", "  ".repeat(n - 1)),
    }
}

fn word<'a>(item: &'a Value, names: &[&str]) -> &'a str {
    names.iter().find_map(|name| item.get(name).and_then(Value::as_str)).unwrap_or_default()
}

fn event_line(event: &Value, look: &Look) -> String {
    let mut line = format!(
        "{}  {}  {}  {}",
        printable(word(event, &["type"])),
        printable(word(event, &["key", "partitionkey"])),
        time(word(event, &["time"]), look.time, look.now),
        printable(word(event, &["id"])),
    );
    if let Some(saga) = event.get("saga") {
        let step = word(saga, &["step"]);
        let what = match word(saga, &["part"]) {
            "start" => "starts".to_owned(),
            "undo" => format!("undoes {}", printable(step)),
            _ => printable(step),
        };
        let status = match word(saga, &["status"]) {
            "" => String::new(),
            status => format!(", now {}", printable(status)),
        };
        line += &format!("  [saga {} {what}{status}]", printable(word(saga, &["type"])));
    }
    if let Some(acted) = event.get("acted") {
        let (actor, verb, reason) = (word(acted, &["actor"]), word(acted, &["verb"]), word(acted, &["reason"]));
        line += &format!("  [{}: {}", printable(actor), printable(verb));
        line += &if reason.is_empty() { "]".to_owned() } else { format!(", \"{}\"]", shortened(reason, REASON_CHARS)) };
    }
    line
}

/// What became of an event, and what followed, each a branch of it.
fn branches(node: &Value, indent: &str, look: &Look, lines: &mut Vec<String>) {
    let list = |name: &str| node.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut leaves = outcomes(list("consumers"));
    leaves.extend(list("effects").iter().map(effect));
    let followed = list("followed");
    for (n, leaf) in leaves.iter().enumerate() {
        let is_last = n + 1 == leaves.len() && followed.is_empty();
        lines.push(format!("{indent}{} {leaf}", if is_last { "└" } else { "├" }));
    }
    for (n, child) in followed.iter().enumerate() {
        let is_last = n + 1 == followed.len();
        lines.push(format!("{indent}{} {}", if is_last { "└" } else { "├" }, event_line(child, look)));
        branches(child, &format!("{indent}{} ", if is_last { " " } else { "│" }), look, lines);
    }
}

/// Those that went well on one line, each other on its own.
fn outcomes(consumers: &[Value]) -> Vec<String> {
    let of = |wanted: &str| -> Vec<String> {
        let is = |one: &&Value| word(one, &["outcome"]) == wanted;
        consumers.iter().filter(is).map(|one| printable(word(one, &["consumer"]))).collect()
    };
    let mut lines = Vec::new();
    for (outcome, phrase) in
        [("handled", "handled by"), ("pending", "not yet handled by"), ("skipped", "of no concern to")]
    {
        let names = of(outcome);
        if !names.is_empty() {
            lines.push(format!("{phrase} {}", names.join(", ")));
        }
    }
    for parked in consumers.iter().filter(|one| word(one, &["outcome"]) == "parked") {
        let number = parked.get("ordinal").and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!(
            "PARKED by {} as {number}: {}: {}",
            printable(word(parked, &["consumer"])),
            printable(word(parked, &["code"])),
            shortened(word(parked, &["reason"]), REASON_CHARS)
        ));
    }
    lines
}

fn effect(effect: &Value) -> String {
    let state = match word(effect, &["state"]) {
        "failed" => "GIVEN UP",
        other => other,
    };
    let attempts = effect.get("attempts").and_then(Value::as_u64).unwrap_or_default();
    let mut line = format!(
        "effect {} to {}: {} after {attempts} attempts, for {}",
        printable(word(effect, &["kind"])),
        printable(word(effect, &["target"])),
        printable(state),
        printable(word(effect, &["consumer"]))
    );
    let error = word(effect, &["error"]);
    if !error.is_empty() {
        line += &format!(": {}", shortened(error, REASON_CHARS));
    }
    line
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::output::text::TimeStyle;

    #[test]
    fn the_tree_shows_who_made_what_of_it() {
        let look = Look { wide: false, time: TimeStyle::Iso, color: false, width: None, now: DateTime::UNIX_EPOCH };
        let event = |id: &str, ty: &str| json!({"id": id, "type": ty, "key": "k/1", "time": "1970-01-01T00:00:00Z"});
        let with = |mut event: Value, more: Value| {
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event
        };
        let child = with(
            event("c", "mail.asked.v1"),
            json!({"saga": {"type": "ingestion", "part": "undo", "step": "store", "status": "undone"}}),
        );
        let last = with(
            event("d", "operator.acted.v1"),
            json!({"acted": {"actor": "local:ana", "verb": "parked drop", "reason": "te\u{1b}[2Jst"}}),
        );
        let tree = with(
            event("b", "user.followed.v1"),
            json!({
                "consumers": [
                    {"consumer": "one", "outcome": "handled"}, {"consumer": "two", "outcome": "handled"},
                    {"consumer": "three", "outcome": "parked", "ordinal": 17, "code": "handler.failed", "reason": "no"},
                ],
                "effects": [{"kind": "mail", "target": "ana@example.com", "state": "failed", "attempts": 12, "consumer": "one", "error": "away"}],
                "followed": [child, last],
            }),
        );
        let cause = json!({"position": 1, "event": {"id": "a", "type": "user.registered.v1", "partitionkey": "k/0", "time": "1970-01-01T00:00:00Z"}});
        let why = json!({"causes": [cause], "tree": tree, "complete": false});
        let text = people(&why, &look);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "user.registered.v1  k/0  1970-01-01T00:00:00Z  a",
                "└ user.followed.v1  k/1  1970-01-01T00:00:00Z  b   <- asked for",
                "  ├ handled by one, two",
                "  ├ PARKED by three as 17: handler.failed: no",
                "  ├ effect mail to ana@example.com: GIVEN UP after 12 attempts, for one: away",
                "  ├ mail.asked.v1  k/1  1970-01-01T00:00:00Z  c  [saga ingestion undoes store, now undone]",
                "  └ operator.acted.v1  k/1  1970-01-01T00:00:00Z  d  [local:ana: parked drop, \"te\\u{1b}[2Jst\"]",
                "",
                "This is not all: a limit cut it short, or a cause is not in this log.",
            ]
        );
    }
}
