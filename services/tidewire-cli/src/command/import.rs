//! `import`: rows of an old system as events.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::parked::agree;
use crate::args::ImportArgs;
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::legacy::{Mapping, Place, Row, Rows};
use crate::output::Output;
use crate::output::text::{count, printable};
use crate::session::Session;

/// Events sent together: all of them are taken or none.
const BATCH: usize = 250;
/// Their bytes, roughly: well below what the edge takes by default.
const BATCH_BYTES: usize = 256 << 10;
/// Tries of one batch while the instance is away or busy, and the waits between them.
const TRIES: u32 = 8;
const WAIT: Duration = Duration::from_millis(250);
/// Events shown by a dry run.
const SHOWN: usize = 3;
const TEMPLATE: &str = "{elapsed:>4} [{bar:24}] {human_pos} of {human_len} rows, {per_sec}, {eta} left";

/// Reads, sends, remembers.
pub async fn run(client: &Client, session: &Session, args: &ImportArgs, output: &mut Output) -> Result<(), Failure> {
    let mapping = Mapping::read(&args.mapping, session)?;
    if !mapping.has_events() {
        return Err(Failure::new(
            Exit::Invalid,
            "import.mapping",
            format!("{}: it has no [[event]]", args.mapping.display()),
        ));
    }
    let place = Place::load(&mapping, args.restart || args.consent.dry_run)?;
    let rows = Rows::open(&mapping, &place.after).await?;
    if args.consent.dry_run {
        return rehearse(&mapping, rows, output).await;
    }
    let from = mapping.shown();
    agree(&args.consent, &format!("import rows of {from} as events"))?;
    let mut import =
        Import { client, mapping, place, refused: Refused::open(args.refused.as_deref())?, counts: Counts::default() };
    let bar = bar(output, rows.total, import.place.rows);
    let ended = import.all(rows, args.rate, &bar).await;
    bar.finish_and_clear();
    ended?;
    let Counts { rows, events, duplicates, refused } = import.counts;
    let told = json!({ "from": from, "rows": rows, "events": events, "duplicates": duplicates, "refused": refused, "after": import.place.after });
    output.thing(&told, &["/events"], |_| {
        let mut text = format!(
            "{} rows read: {} events taken, {} were there already",
            count(rows),
            count(events),
            count(duplicates)
        );
        if refused > 0 {
            text.push_str(&format!(", {} rows refused", count(refused)));
        }
        text
    })?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::Findings, "import.refused", format!("{} rows were refused", count(refused)))
            .hint("each is in the file that --refused names, with its reason")),
    }
}

/// Every row is read and mapped, and nothing is sent.
async fn rehearse(mapping: &Mapping, mut rows: Rows, output: &mut Output) -> Result<(), Failure> {
    let (mut read, mut types, mut shown, mut bad) = (0_u64, BTreeMap::<String, u64>::new(), Vec::new(), Vec::new());
    while let Some(next) = rows.next().await {
        let (place, row) = next?;
        read += 1;
        match mapping.events(&row) {
            Ok(events) => {
                for event in events {
                    *types.entry(event["type"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
                    if shown.len() < SHOWN {
                        shown.push(event);
                    }
                }
            }
            Err(why) if bad.len() < SHOWN => bad.push(json!({ "row": place, "reason": why })),
            Err(_) => {}
        }
    }
    let told = json!({ "dry_run": true, "from": mapping.shown(), "rows": read, "types": types, "examples": shown, "bad": bad });
    output.thing(&told, &["/rows"], |_| {
        let mut lines = vec![format!("{} rows would become", count(read))];
        lines.extend(types.iter().map(|(ty, number)| format!("  {:>10}  {}", count(*number), printable(ty))));
        lines.extend(shown.iter().map(|event| printable(&event.to_string())));
        lines.extend(
            bad.iter()
                .map(|bad| printable(&format!("row {}: {}", bad["row"], bad["reason"].as_str().unwrap_or_default()))),
        );
        lines.join("\n")
    })?;
    match bad.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Findings, "import.refused", "some rows cannot be mapped")),
    }
}

fn bar(output: &Output, total: Option<u64>, done: u64) -> ProgressBar {
    let shown = !output.format().is_for_scripts() && std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(total, target);
    // The template is a constant; should it not parse, the default one serves.
    bar.set_style(
        ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "),
    );
    bar.set_position(done);
    bar
}

#[derive(Default)]
struct Counts {
    rows: u64,
    events: u64,
    duplicates: u64,
    refused: u64,
}

struct Import<'a> {
    client: &'a Client,
    mapping: Mapping,
    place: Place,
    refused: Refused,
    counts: Counts,
}

/// Rows that go together, each with its place and its events.
type Batch = Vec<(Value, Row, Vec<Value>)>;

impl Import<'_> {
    async fn all(&mut self, mut rows: Rows, rate: Option<u64>, bar: &ProgressBar) -> Result<(), Failure> {
        let (mut batch, mut events, mut bytes) = (Batch::new(), 0, 0);
        let mut pace = rate.map(Pace::new);
        loop {
            let next = rows.next().await.transpose()?;
            let is_last = next.is_none();
            if let Some((place, row)) = next {
                match self.mapping.events(&row) {
                    Ok(of_row) => {
                        events += of_row.len();
                        bytes += of_row.iter().map(|event| event.to_string().len()).sum::<usize>();
                        batch.push((place, row, of_row));
                    }
                    Err(why) => {
                        self.refused.keep(&place, &row, "import.mapping", &why)?;
                        self.counts.refused += 1;
                        batch.push((place, row, Vec::new()));
                    }
                }
            }
            if is_last || events >= BATCH || bytes >= BATCH_BYTES || batch.len() >= BATCH {
                if let Some(pace) = &mut pace {
                    pace.wait(events as u64).await;
                }
                bar.inc(batch.len() as u64);
                self.send(std::mem::take(&mut batch)).await?;
                (events, bytes) = (0, 0);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sends the events of some rows, without those that are refused, and keeps how far it came.
    async fn send(&mut self, mut batch: Batch) -> Result<(), Failure> {
        let Some((last, ..)) = batch.last() else { return Ok(()) };
        let last = last.clone();
        loop {
            let events: Vec<&Value> = batch.iter().flat_map(|(.., events)| events).collect();
            if events.is_empty() {
                break;
            }
            match self.post(&events).await {
                Ok(answer) => {
                    let duplicates = answer["duplicates"].as_u64().unwrap_or_default();
                    self.counts.events += events.len() as u64 - duplicates;
                    self.counts.duplicates += duplicates;
                    self.place.events += events.len() as u64;
                    break;
                }
                Err(failure) => batch = self.without_refused(batch, failure)?,
            }
        }
        self.counts.rows += batch.len() as u64;
        self.place.rows += batch.len() as u64;
        self.place.after = last;
        self.place.keep(&self.mapping)
    }

    /// The rows of a refused batch, those that are to blame without their events.
    fn without_refused(&mut self, mut batch: Batch, failure: Failure) -> Result<Batch, Failure> {
        let named = failure.details["errors"].as_array().cloned().unwrap_or_default();
        let mut reasons: BTreeMap<usize, (String, String)> = BTreeMap::new();
        for error in &named {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            if let Some(index) = error["index"].as_u64() {
                reasons.insert(index as usize, (text("code"), text("detail")));
            }
        }
        if reasons.is_empty() {
            return Err(failure);
        }
        let mut index = 0;
        for (place, row, events) in &mut batch {
            let mine = index..index + events.len();
            index = mine.end;
            if let Some((_, (code, why))) = reasons.range(mine).next() {
                self.refused.keep(place, row, code, why)?;
                self.counts.refused += 1;
                events.clear();
            }
        }
        Ok(batch)
    }

    async fn post(&self, events: &[&Value]) -> Result<Value, Failure> {
        let body = json!(events).to_string();
        let (mut wait, mut attempt) = (WAIT, 1);
        loop {
            let request = Request::post("/v1/events")
                .header(header::ACCEPT, "application/json")
                .header(header::CONTENT_TYPE, "application/cloudevents-batch+json")
                .body(Body::from(body.clone()))
                .map_err(|error| Failure::new(Exit::Error, "command.failed", error))?;
            match self.client.json(request).await {
                // The ids make a repeated batch harmless, whatever became of the first.
                Err(failure) if failure.exit == Exit::Unavailable && attempt < TRIES => {
                    tokio::time::sleep(wait).await;
                    (wait, attempt) = (wait * 2, attempt + 1);
                }
                answered => return answered.map(|(_, answer)| answer),
            }
        }
    }
}

/// Where refused rows go.
struct Refused(Option<std::fs::File>);

impl Refused {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|error| Failure::new(Exit::Error, "command.failed", format!("{}: {error}", path.display())))
        };
        Ok(Self(path.map(open).transpose()?))
    }

    /// Keeps a row; without a file the first one ends the import.
    fn keep(&mut self, place: &Value, row: &Row, code: &str, why: &str) -> Result<(), Failure> {
        let Some(file) = &mut self.0 else {
            let message = format!("row {place}: {why}");
            return Err(Failure::new(Exit::Invalid, "import.refused", message)
                .details(json!({ "row": place, "code": code, "reason": why }))
                .hint(
                    "mend the mapping or the row and run it again: it goes on there; or name a file with --refused",
                ));
        };
        let line = json!({ "row": place, "code": code, "reason": why, "columns": row });
        writeln!(file, "{line}").map_err(Failure::from)
    }
}

/// So many events per second, and no more.
struct Pace {
    per_event: Duration,
    next: tokio::time::Instant,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self {
            per_event: Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX),
            next: tokio::time::Instant::now(),
        }
    }

    async fn wait(&mut self, events: u64) {
        tokio::time::sleep_until(self.next).await;
        let now = tokio::time::Instant::now();
        self.next = self.next.max(now) + self.per_event * u32::try_from(events).unwrap_or(u32::MAX);
    }
}
