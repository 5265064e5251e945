//! `log retire`: removing the oldest events.

use std::io::IsTerminal;

use axum::http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::parked::agree;
use crate::args::Retire;
use crate::client::{Client, path};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::text::{count, printable};

/// Events asked for at once: the line moves, and an interruption is noticed, about as often as a second passes.
const STEP: u64 = 20_000;
const TEMPLATE: &str = "{elapsed:>4} [{bar:24}] {human_pos} of {human_len} events";

/// Asks and prints.
pub async fn run(client: &Client, asked: &Retire, output: &mut Output) -> Result<(), Failure> {
    let consent = &asked.consent;
    let plan = send(client, json!({"before": asked.before, "dry_run": true})).await?;
    let (first, until, end) = (number(&plan, "first")?, number(&plan, "until")?, number(&plan, "asked")?);
    let held = !plan.get("held").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if consent.dry_run {
        output.thing(&plan, &["/until"], |_| people(&plan, "would go", span(first, until)))?;
    }
    if held {
        if !consent.dry_run {
            output.thing(&plan, &["/until"], |_| people(&plan, "could go", span(first, until)))?;
        }
        let message = format!("{} of {} events are still needed", count(end - until.min(end)), count(span(first, end)));
        let hint = match span(first, until) {
            0 => "let those who need them catch up; `tidewire status` shows how far they are".to_owned(),
            _ => format!("--before {} asks only for what nobody needs", until + 1),
        };
        return Err(Failure::new(Exit::Conflict, "log.held", message).hint(hint));
    }
    if consent.dry_run {
        return Ok(());
    }
    let total = span(first, until);
    if total > 0 {
        agree(consent, &format!("remove {} events from the log for good", count(total)))?;
    }
    let done = remove(client, asked, (first, until), output).await?;
    output.thing(&done, &["/removed"], |_| people(&done, "gone", number(&done, "removed").unwrap_or_default()))?;
    Ok(())
}

/// Removes step by step what was agreed on, and nothing that came of age meanwhile. Answers the last answer, with the
/// sum of all.
async fn remove(client: &Client, asked: &Retire, range: (u64, u64), output: &Output) -> Result<Value, Failure> {
    let (first, until) = range;
    let bar = bar(output, span(first, until));
    let mut removed = 0;
    loop {
        let body = json!({"before": (until + 1).to_string(), "limit": STEP, "reason": asked.consent.reason});
        let mut found = send(client, body).await?;
        let step = number(&found, "removed")?;
        removed += step;
        bar.set_position(removed);
        let held = found.get("held").and_then(Value::as_array).is_some_and(|held| !held.is_empty());
        if step == 0 || held || number(&found, "first")? > until {
            bar.finish_and_clear();
            found["removed"] = json!(removed);
            return Ok(found);
        }
    }
}

async fn send(client: &Client, body: Value) -> Result<Value, Failure> {
    Ok(client.send(Method::POST, &path(&["v1", "log", "retire"]), &body).await?.1)
}

/// On standard error, if that is a terminal and people read the answer.
fn bar(output: &Output, events: u64) -> ProgressBar {
    let shown = !output.format().is_for_scripts() && std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(events), target);
    // The template is a constant; should it not parse, the default one serves.
    bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn span(first: u64, until: u64) -> u64 {
    (until + 1).saturating_sub(first)
}

fn number(found: &Value, member: &str) -> Result<u64, Failure> {
    let missing = || Failure::new(Exit::Error, "client.unexpected_answer", format!("the answer has no `{member}`"));
    found.get(member).and_then(Value::as_u64).ok_or_else(missing)
}

fn people(found: &Value, went: &str, events: u64) -> String {
    let of = |member: &str| found.get(member).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = vec![
        format!("log      positions {} to {}", count(of("first")), count(of("head"))),
        format!("{went:<8} {} events, of those before position {}", count(events), count(of("asked") + 1)),
    ];
    for hold in found.get("held").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
        let by = hold.get("by").and_then(Value::as_str).unwrap_or_default();
        let position = hold.get("position").and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!("needed   by {} from position {} on", printable(by), count(position)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_who_needs_what() {
        let found = json!({"first": 1, "asked": 9, "until": 5, "head": 1200, "removed": 0,
            "held": [{"by": "consumer \u{1b}[2Jx", "position": 6}]});
        let text = people(&found, "would go", 5);
        assert!(text.contains("would go 5 events"), "{text}");
        assert!(text.contains("before position 10") && text.contains("from position 6 on"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!((span(1, 5), span(6, 5), span(1, 0)), (5, 0, 0));
        assert!(number(&found, "nothing").is_err());
    }
}
