//! `replay`: planning, applying, following and stopping replays, and telling two versions of a handler apart.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use axum::http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tidewire::replay::differential::Recording;

use super::Noun;
use super::parked::agree;
use crate::args::{ReplayApply, ReplayCommand, ReplayPlan, Window};
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, Column, number, text, time};
use crate::output::text::{bytes, count, printable};

/// How often it is looked how far a replay has come.
const POLL: Duration = Duration::from_millis(250);
/// How long one request carries a replay out, where nothing runs in the background.
const WORK_SECONDS: f64 = 2.0;
const TEMPLATE: &str = "{elapsed:>4} [{bar:24}] {human_pos} of {human_len} events, {per_sec}, {eta} left {msg}";

const COLUMNS: &[Column] = &[
    text("plan", &["/id"]),
    text("target", &["/terms/target/kind"]),
    text("name", &["/terms/target/name"]),
    text("state", &["/state"]),
    number("events", &["/planned"]),
    number("handled", &["/counts/handled"]),
    number("position", &["/position"]).wide(),
    text("phase", &["/phase"]).wide(),
    text("by", &["/actor"]).wide(),
    time("begun", &["/begun"]),
    text("trouble", &["/trouble/reason"]),
];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/id"], empty: "Nothing was replayed." };

/// Asks and prints.
pub async fn run(client: &Client, command: &ReplayCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ReplayCommand::Plan(asked) => {
            let plan = send(client, &["v1", "replays", "plans"], &request(asked)).await?;
            show_plan(&plan, output)
        }
        ReplayCommand::Apply(asked) => apply(client, asked, output).await,
        ReplayCommand::List => NOUN.page(output, &client.get(&path(&["v1", "replays"])).await?),
        ReplayCommand::Show { hash } => {
            let job = client.get(&path(&["v1", "replays", hash])).await?;
            Ok(output
                .thing(&job, NOUN.name, |look| format!("{}\n{}", table::sheet(&job, COLUMNS, look), came_to(&job)))?)
        }
        ReplayCommand::Stop { hash, consent } => {
            if consent.dry_run {
                return NOUN.one(output, &client.get(&path(&["v1", "replays", hash])).await?);
            }
            agree(consent, &format!("stop the replay {hash}"))?;
            let job = send(client, &["v1", "replays", hash, "stop"], &json!({"reason": consent.reason})).await?;
            NOUN.one(output, &job)
        }
        ReplayCommand::Record { window, save } => {
            let recording = record(client, window).await?;
            match save {
                None => Ok(output.thing(&recording, &["/consumer"], |_| recorded(&recording))?),
                Some(file) => {
                    std::fs::write(file, recording.to_string()).map_err(|error| cannot(file, &error))?;
                    Ok(output.thing(&json!({"file": file}), &["/file"], |_| recorded(&recording))?)
                }
            }
        }
        ReplayCommand::Diff { window, against } => diff(client, window, against, output).await,
    }
}

async fn send(client: &Client, target: &[&str], body: &Value) -> Result<Value, Failure> {
    Ok(client.send(Method::POST, &path(target), body).await?.1)
}

fn request(asked: &ReplayPlan) -> Value {
    let mut target = asked.target.clone();
    if target["kind"] == "consumer" {
        target["again"] = json!(asked.again);
    }
    // A projection is rebuilt from everything: what was not asked for must not look as if it were.
    json!({ "events": asked.range.json(), "target": target, "with_effects": asked.with_effects, "rate": asked.rate })
}

pub(super) fn show_plan(plan: &Value, output: &mut Output) -> Result<(), Failure> {
    Ok(output.thing(plan, &["/hash"], |_| people(plan))?)
}

fn people(plan: &Value) -> String {
    let report = &plan["report"];
    let of = |member: &str| report[member].as_u64().unwrap_or_default();
    let word = |value: &Value| printable(value.as_str().unwrap_or("-"));
    let (after, until) = (plan["source"]["after"].as_u64(), plan["source"]["until"].as_u64());
    let mut lines = vec![
        format!("plan      {}", word(&plan["hash"])),
        format!(
            "events    {} of positions {} to {}, {}",
            count(of("events")),
            count(after.unwrap_or_default() + 1),
            count(until.unwrap_or_default()),
            bytes(of("bytes"))
        ),
        format!("recorded  {} to {}", word(&report["first"]), word(&report["last"])),
    ];
    let counted = |title: &str, value: &Value, lines: &mut Vec<String>| {
        for (name, number) in value.as_object().into_iter().flatten() {
            lines.push(format!("{title:<9} {} {}", count(number.as_u64().unwrap_or_default()), printable(name)));
        }
    };
    counted("type", &report["types"], &mut lines);
    for handler in report["handlers"].as_array().into_iter().flatten() {
        lines.push(format!("runs      {}", word(handler)));
    }
    counted("upcast", &report["upcasts"], &mut lines);
    counted("newer", &report["newer"], &mut lines);
    if let Some(handled) = report["handled"].as_u64() {
        lines.push(format!("left out  {} were handled before", count(handled)));
    }
    if of("parked_keys") > 0 {
        lines.push(format!(
            "parked    {} events of {} parked keys",
            count(of("parked_events")),
            count(of("parked_keys"))
        ));
    }
    if let Some(trial) = report["trial"].as_object() {
        let of = |member: &str| trial.get(member).and_then(Value::as_u64).unwrap_or_default();
        let fate = if plan["with_effects"] == json!(true) { "DONE" } else { "muted" };
        lines.push(format!(
            "trial     {} events: {} rows, {} failed",
            count(of("events")),
            count(of("documents")),
            count(of("failed"))
        ));
        if let Some(error) = trial.get("error").and_then(Value::as_str) {
            lines.push(format!("failed    {}", printable(error)));
        }
        let mut asked = Vec::new();
        counted(fate, &trial.get("effects").cloned().unwrap_or_default(), &mut asked);
        counted(fate, &trial.get("emitted").cloned().unwrap_or_default(), &mut asked);
        lines.extend(asked.into_iter().map(|line| format!("{line} in the trial")));
        if of("timers") > 0 {
            lines.push(format!("{fate:<9} {} timers in the trial", count(of("timers"))));
        }
    }
    lines.push(format!("takes     about {:.1} s", report["seconds"].as_f64().unwrap_or_default()));
    lines.join("\n")
}

async fn apply(client: &Client, asked: &ReplayApply, output: &mut Output) -> Result<(), Failure> {
    let plan = client.get(&path(&["v1", "replays", "plans", &asked.hash])).await?;
    if asked.consent.dry_run {
        return show_plan(&plan, output);
    }
    let events = plan["report"]["events"].as_u64().unwrap_or_default();
    let how = if asked.with_effects { "with effects" } else { "with effects muted" };
    let target = plan["target"]["name"].as_str().unwrap_or("a file");
    agree(&asked.consent, &format!("replay {} events to {}, {how}", count(events), printable(target)))?;
    if plan["target"]["kind"] == "file" {
        let Some(file) = &asked.file else {
            return Err(Failure::new(Exit::Usage, "command.usage", "the plan is for a file: name it with --file"));
        };
        return write_file(client, asked, file, events, output).await;
    }
    let body = json!({"plan": asked.hash, "reason": asked.consent.reason, "with_effects": asked.with_effects});
    let job = send(client, &["v1", "replays"], &body).await?;
    follow(client, job, asked.detach, output).await
}

/// Follows a replay to its end and prints what it came to.
pub(super) async fn follow(client: &Client, job: Value, detach: bool, output: &mut Output) -> Result<(), Failure> {
    let id = job["id"].as_str().unwrap_or_default().to_owned();
    let target = path(&["v1", "replays", &id]);
    let bar = bar(output, job["planned"].as_u64().unwrap_or_default());
    let mut job = job;
    while !detach && matches!(job["state"].as_str(), Some("waiting" | "running" | "stopping")) {
        bar.set_position(job["counts"]["read"].as_u64().unwrap_or_default());
        bar.set_message(job["phase"].as_str().unwrap_or_default().to_owned());
        job = if client.is_live() {
            tokio::time::sleep(POLL).await;
            client.get(&target).await?
        } else {
            send(client, &["v1", "replays", &id, "work"], &json!({"seconds": WORK_SECONDS})).await?
        };
    }
    bar.finish_and_clear();
    output.thing(&job, NOUN.name, |look| format!("{}\n{}", table::sheet(&job, COLUMNS, look), came_to(&job)))?;
    let trouble = |member: &str| printable(job["trouble"][member].as_str().unwrap_or_default());
    match job["state"].as_str() {
        Some("failed") => Err(Failure::new(Exit::Error, trouble("code"), trouble("reason"))
            .hint("mend the cause, then apply the plan again: it goes on where it stopped")),
        Some("different") => {
            let rows = count(job["compared"]["differing"].as_u64().unwrap_or_default());
            Err(Failure::new(Exit::Findings, "replay.different", format!("{rows} rows differ; nothing was swapped"))
                .hint("without --only-if-equal it is swapped all the same"))
        }
        Some("stopped") => Err(Failure::new(Exit::Interrupted, "replay.stopped", "somebody stopped it")
            .hint("applying the plan again goes on where it stopped")),
        _ => Ok(()),
    }
}

fn came_to(job: &Value) -> String {
    let of = |member: &str| job["counts"][member].as_u64().unwrap_or_default();
    let mut lines = Vec::new();
    for (title, member) in [
        ("handled before", "already"),
        ("parked keys", "parked"),
        ("muted effects", "muted_effects"),
        ("muted events", "muted_events"),
        ("muted timers", "muted_timers"),
    ] {
        if of(member) > 0 {
            lines.push(format!("{title}: {}", count(of(member))));
        }
    }
    if let Some(compared) = job["compared"].as_object() {
        let of = |member: &str| compared.get(member).and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!("compared: {} rows, {} differ", count(of("rows")), count(of("differing"))));
        for row in compared.get("first").and_then(Value::as_array).into_iter().flatten() {
            let word = |member: &str| printable(row[member].as_str().unwrap_or_default());
            lines.push(format!("  {} {}/{}", word("what"), word("collection"), word("id")));
        }
    }
    lines.join("\n")
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

fn cannot(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, "command.failed", format!("{}: {error}", file.display()))
}

/// Writes the events of a plan as JSON lines. A file that is there is gone on with after its last whole line.
async fn write_file(
    client: &Client,
    asked: &ReplayApply,
    file: &Path,
    events: u64,
    output: &mut Output,
) -> Result<(), Failure> {
    let (mut after, mut written) = resumed(file)?;
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    let mut lines = opened.map_err(|error| cannot(file, &error))?;
    let bar = bar(output, events);
    loop {
        let parameters = [("after", Some(after.to_string()))];
        let parameters: Vec<(&str, Option<&str>)> = parameters.iter().map(|(n, v)| (*n, v.as_deref())).collect();
        let page = client.get(&with_query(&path(&["v1", "replays", &asked.hash, "events"]), &parameters)).await?;
        let mut text = String::new();
        for item in page["items"].as_array().into_iter().flatten() {
            text.push_str(&item.to_string());
            text.push('\n');
            written += 1;
        }
        lines.write_all(text.as_bytes()).map_err(|error| cannot(file, &error))?;
        bar.set_position(written);
        let position = page["position"].as_u64();
        match (position, page["last"].as_bool()) {
            (Some(_), Some(true)) => break,
            (Some(position), Some(false)) if position > after => after = position,
            _ => return Err(Failure::new(Exit::Error, "client.unexpected_answer", "the answer has no way on")),
        }
    }
    lines.sync_all().map_err(|error| cannot(file, &error))?;
    bar.finish_and_clear();
    let told = json!({"file": file, "events": written});
    Ok(output.thing(&told, &["/file"], |_| format!("{} events in {}", count(written), file.display()))?)
}

/// The position of the last whole line, and how many there are; half a line is cut off.
fn resumed(file: &Path) -> Result<(u64, u64), Failure> {
    let opened = match std::fs::OpenOptions::new().read(true).write(true).open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(cannot(file, &error)),
    };
    let (mut whole, mut last, mut lines) = (0, 0, 0);
    let mut reader = BufReader::new(&opened);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| cannot(file, &error))?;
        if read == 0 || line.last() != Some(&b'\n') {
            break;
        }
        let item: Value = serde_json::from_slice(&line).map_err(|_| {
            Failure::new(Exit::Invalid, "command.failed", format!("{} holds something else", file.display()))
        })?;
        let Some(position) = item["position"].as_u64() else {
            return Err(Failure::new(
                Exit::Invalid,
                "command.failed",
                format!("{} holds something else", file.display()),
            ));
        };
        (whole, last, lines) = (whole + read as u64, position, lines + 1);
    }
    opened.set_len(whole).map_err(|error| cannot(file, &error))?;
    Ok((last, lines))
}

async fn record(client: &Client, window: &Window) -> Result<Value, Failure> {
    let given = window.given.as_deref().map(given).transpose()?;
    let mut body = json!({"consumer": window.consumer, "events": window.range.json()});
    if let Some(given) = given {
        body["given"] = json!(given);
    }
    send(client, &["v1", "replays", "recordings"], &body).await
}

/// Events of a file: each line is one, or what `replay apply --file` wrote of it.
fn given(file: &Path) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| cannot(file, &error))?;
    let event = |line: &str| {
        let mut value: Value = serde_json::from_str(line).map_err(|error| cannot(file, &error))?;
        Ok(if value["event"].is_object() { value["event"].take() } else { value })
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(event).collect()
}

fn recorded(recording: &Value) -> String {
    let count_of = |value: &Value| count(value.as_array().map_or(0, |list| list.len() as u64));
    let rows = recording["rows"].as_object().map_or(0, |rows| rows.len() as u64);
    format!("{} events, {} rows", count_of(&recording["outcomes"]), count(rows))
}

async fn diff(client: &Client, window: &Window, against: &Path, output: &mut Output) -> Result<(), Failure> {
    let text = std::fs::read(against).map_err(|error| cannot(against, &error))?;
    let old: Recording = serde_json::from_slice(&text).map_err(|error| cannot(against, &error))?;
    let new: Recording = serde_json::from_value(record(client, window).await?)
        .map_err(|error| Failure::new(Exit::Error, "client.unexpected_answer", error))?;
    let found = old.differences(&new);
    let value = json!(found);
    output.thing(&value, &["/events"], |_| differing(&value))?;
    if found.is_empty() {
        return Ok(());
    }
    let total: u64 = found.counts.values().sum();
    Err(Failure::new(Exit::Findings, "replay.different", format!("{} differences", count(total)))
        .hint("if they are meant, record anew: `tidewire replay record`"))
}

fn differing(found: &Value) -> String {
    let mut lines = vec![format!("{} events", count(found["events"].as_u64().unwrap_or_default()))];
    for (what, number) in found["counts"].as_object().into_iter().flatten() {
        lines.push(format!("{} differ in {what}", count(number.as_u64().unwrap_or_default())));
    }
    for change in found["first"].as_array().into_iter().flatten() {
        let (what, at) = (change["what"].as_str().unwrap_or_default(), change["at"].as_str().unwrap_or_default());
        lines.push(format!(
            "  {what} {}\n    was {}\n    is  {}",
            printable(at),
            printable(&change["old"].to_string()),
            printable(&change["new"].to_string())
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_on_after_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("events.jsonl");
        assert_eq!(resumed(&file).unwrap(), (0, 0));
        std::fs::write(&file, "{\"position\":3,\"event\":{}}\n{\"position\":7,\"event\":{}}\n{\"posi").unwrap();
        assert_eq!(resumed(&file).unwrap(), (7, 2));
        assert!(std::fs::read_to_string(&file).unwrap().ends_with("}\n"), "half a line is gone");
        std::fs::write(&file, "something\n").unwrap();
        assert_eq!(resumed(&file).unwrap_err().exit, Exit::Invalid);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "something\n", "what is not ours stays");
    }

    #[test]
    fn people_read_what_a_plan_would_do() {
        let plan = json!({"hash": "00ff", "source": {"after": 0, "until": 1200}, "with_effects": false, "report": {
            "events": 1100, "bytes": 2048, "types": {"user.followed.v1": 1100}, "first": "a", "last": "b",
            "handlers": ["notifications.inbox"], "upcasts": {"user.followed.v1 to v2": 3}, "newer": {}, "handled": 9,
            "parked_events": 2, "parked_keys": 1, "seconds": 1.25, "trial": {"events": 256, "effects": {"mail": 4},
            "emitted": {"x.y.v1": 1}, "timers": 0, "documents": 12, "failed": 0}}});
        let text = people(&plan);
        for word in
            ["00ff", "1,100", "notifications.inbox", "4 mail in the trial", "muted", "1 parked keys", "to v2", "1.2 s"]
        {
            assert!(text.contains(word), "no `{word}` in\n{text}");
        }
    }
}
