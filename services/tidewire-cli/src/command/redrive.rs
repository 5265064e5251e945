//! `parked redrive`: step by step, at the pace that was asked for.

use std::io::IsTerminal;
use std::time::Duration;

use axum::http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Noun;
use super::parked::{OUTCOMES, PLANNED, agree};
use crate::args::Redrive;
use crate::client::{Client, path};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Events asked for at once, where no pace is kept: each runs its handler, and a request has a time limit.
const STEP: u64 = 100;
const SECOND: Duration = Duration::from_secs(1);
/// The most outcomes that are kept to be printed; beyond it only their number is.
const MAX_SHOWN: usize = 10_000;
const TEMPLATE: &str = "{elapsed:>4} [{bar:24}] {human_pos} of {human_len} events, {eta} to go";

/// Asks and prints.
pub async fn run(client: &Client, redrive: &Redrive, output: &mut Output) -> Result<(), Failure> {
    let asked = body(client, redrive).await?;
    let planned = run_all(client, &asked, redrive, true, None).await?;
    if redrive.consent.dry_run {
        return planned.print(&PLANNED, output);
    }
    let count = planned.items.len() as u64 + planned.unshown;
    if count > 0 {
        let consumer = asked.get("consumer").and_then(Value::as_str).unwrap_or_default();
        agree(&redrive.consent, &format!("hand {count} parked events to {consumer} again"))?;
    }
    let bar = bar(output, count);
    let done = run_all(client, &asked, redrive, false, Some(&bar)).await?;
    bar.finish_and_clear();
    done.print(&OUTCOMES, output)?;
    if done.failed == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Findings, "handler.failed", format!("{} keys failed again and stay parked", done.failed))
        .hint("correct the cause their errors name, then redrive again"))
}

/// What is asked for, with the consumer of the first number where none was named.
async fn body(client: &Client, redrive: &Redrive) -> Result<Value, Failure> {
    let filter = &redrive.filter;
    let consumer = match (&filter.consumer, redrive.ordinals.first()) {
        (Some(consumer), _) => consumer.clone(),
        (None, Some(first)) => {
            let parked = client.get(&path(&["v1", "parked", &first.to_string()])).await?;
            parked.get("consumer").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        (None, None) => return Err(Failure::new(Exit::Usage, "command.usage", "a NUMBER or --consumer is needed")),
    };
    Ok(json!({
        "consumer": consumer, "key": filter.key, "code": filter.code, "type": filter.ty, "filter": filter.expression,
        "ordinals": redrive.ordinals, "reason": redrive.consent.reason,
    }))
}

/// What became of the events.
#[derive(Default)]
struct Outcomes {
    items: Vec<Value>,
    unshown: u64,
    failed: u64,
}

impl Outcomes {
    fn print(&self, noun: &Noun, output: &mut Output) -> Result<(), Failure> {
        noun.page(output, &json!({ "items": self.items, "cursor": null }))?;
        if self.unshown > 0 && !output.format().is_for_scripts() {
            output.raw(format!("\nand {} more\n", self.unshown).as_bytes())?;
        }
        Ok(())
    }

    fn take(&mut self, answer: &mut Value) -> u64 {
        self.failed += answer.get("failed").and_then(Value::as_u64).unwrap_or_default();
        let items = answer.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let count = items.len() as u64;
        let room = MAX_SHOWN.saturating_sub(self.items.len());
        self.unshown += items.len().saturating_sub(room) as u64;
        self.items.extend(items.into_iter().take(room));
        count
    }
}

async fn run_all(
    client: &Client,
    asked: &Value,
    redrive: &Redrive,
    dry_run: bool,
    bar: Option<&ProgressBar>,
) -> Result<Outcomes, Failure> {
    let (mut outcomes, mut left, mut after) = (Outcomes::default(), redrive.limit, 0);
    let mut next = Instant::now();
    while left > 0 {
        // Only what runs handlers has a pace to keep.
        let pace = redrive.rate.filter(|_| !dry_run);
        let limit = pace.unwrap_or(if dry_run { 1_000 } else { STEP }).min(left);
        if pace.is_some() {
            tokio::time::sleep_until(next).await;
            next = Instant::now() + SECOND;
        }
        let mut body = asked.clone();
        body["limit"] = json!(limit);
        body["after"] = json!(after);
        body["dry_run"] = json!(dry_run);
        let (_, mut answer) = client.send(Method::POST, &path(&["v1", "parked", "redrive"]), &body).await?;
        let count = outcomes.take(&mut answer);
        left = left.saturating_sub(count);
        if let Some(bar) = bar {
            bar.inc(count);
        }
        match answer.get("next").and_then(Value::as_u64) {
            Some(next) if next > after => after = next,
            _ => break,
        }
    }
    Ok(outcomes)
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
