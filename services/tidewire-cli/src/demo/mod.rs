//! `demo`: everything in one process, with real traffic, and an account of all of it.

mod library;
mod people;
mod progress;
mod report;
mod request;
mod settle;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tidewire::config::{Config, Flag, Origin};
use tidewire::telemetry::metrics;
use tokio::time::Instant;

use crate::args::{DemoArgs, Role};
use crate::client::{Client, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::output::Output;
use crate::session::Session;
use crate::{signals, up, wire};
use library::{Library, WORKSPACE};
use people::People;
use progress::Progress;
use report::Report;
use request::Requests;

/// What is searched for at the end, until something is found.
const QUERIES: [&str; 4] = ["outbox", "events", "file", "data"];

/// Runs the demo, prints its summary, and stays up unless told to exit.
pub async fn run(session: &Session, args: &DemoArgs, output: &mut Output) -> Result<(), Failure> {
    let roots = roots(args)?;
    let home = Home::choose(session)?;
    let config = home.config(session, args)?;
    let asked = up::begin(&config)?;
    let instance = Instance::start(&config, &Role::ALL, session.clock.clone()).await?;
    let progress = Arc::new(Progress::new(!output.format().is_for_scripts(), people::THINGS_TO_DO));
    let demonstrated = tokio::select! {
        report = demonstrate(session, args, &config, &instance, roots, progress.clone()) => report,
        () = asked.cancelled() => Err(signals::interrupted()),
    };
    progress.finish();
    let report = match demonstrated {
        Ok(report) => report,
        Err(failure) => {
            instance.stop().await;
            return Err(failure);
        }
    };
    let printed = print(&report, output);
    if printed.is_ok() && !args.exit {
        asked.cancelled().await;
    }
    instance.stop().await;
    printed?;
    match report.audit.lost {
        0 => Ok(()),
        lost => Err(Failure::new(
            Exit::Findings,
            "event.lost",
            format!("{lost} events are missing from a place they must be in"),
        )),
    }
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    output.thing(&report.object(), &["/lost"], |look| report.page(look))?;
    Ok(output.flush()?)
}

async fn demonstrate(
    session: &Session,
    args: &DemoArgs,
    config: &Config,
    instance: &Instance,
    roots: Vec<PathBuf>,
    progress: Arc<Progress>,
) -> Result<Report, Failure> {
    let client = Client::http(&instance.url, session.global.timeout, crate::client::token(session)?.as_deref())?;
    let requests = Arc::new(Requests::new(client, session.clock.clone()));
    let people = People::new(tag(session, instance).await?.as_deref(), requests.clone(), progress.clone());
    let begun = Instant::now();
    let ingesting = library::ingest(roots, config.http.document_limit, requests.clone(), progress.clone());
    let (follows, library) = tokio::try_join!(people.act(), ingesting)?;
    progress.phase("looking every event up in the log, on the broker and in each inbox");
    let audit = settle::settle(&instance.operator).await?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Report {
        people: people.count(follows).await?,
        search: search(&requests, &library).await?,
        library,
        audit,
        duplicates: duplicates(&metrics::render()),
        seconds,
        url: instance.url.clone(),
        data_dir: config.data_dir.display().to_string(),
        person: people.example().to_owned(),
        program: session.program.clone(),
        stays: !args.exit,
    })
}

/// On a log that has events already, names of its own.
async fn tag(session: &Session, instance: &Instance) -> Result<Option<String>, Failure> {
    let is_new = instance.operator.ports().store.head().await?.0 == 0;
    let id = session.clock.id().simple().to_string();
    Ok((!is_new).then(|| id[id.len() - 6..].to_owned()))
}

/// The first query that finds something, and its first hit.
async fn search(requests: &Requests, library: &Library) -> Result<Option<(String, Value)>, Failure> {
    if library.ingested == 0 {
        return Ok(None);
    }
    for query in QUERIES.into_iter().map(str::to_owned).chain(library.word.clone()) {
        let parameters = [("q", Some(query.as_str())), ("workspace", Some(WORKSPACE)), ("limit", Some("1"))];
        let found = requests.send(Method::GET, &with_query(&path(&["v1", "search"]), &parameters), None).await?;
        let first = ["/items/0", "/hits/0"].iter().find_map(|pointer| found.pointer(pointer));
        if let Some(hit) = first {
            return Ok(Some((query, hit.clone())));
        }
    }
    Ok(None)
}

/// The sum over all consumers, from the process's own metrics.
fn duplicates(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with("tidewire_events_duplicate_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|count| count as u64).sum()
}

/// The places named, which must exist; else this repository's own documents.
fn roots(args: &DemoArgs) -> Result<Vec<PathBuf>, Failure> {
    if args.paths.is_empty() {
        return Ok(library::default_roots());
    }
    match args.paths.iter().find(|path| !path.exists()) {
        Some(missing) => Err(Failure::new(
            Exit::NotFound,
            "command.no_such_path",
            format!("there is nothing at {}", missing.display()),
        )),
        None => Ok(args.paths.clone()),
    }
}

/// Where the demo keeps its data.
struct Home {
    temporary: Option<TempDir>,
}

impl Home {
    /// The data directory somebody named on the command line, else a temporary one: a demo never touches the data of
    /// a real instance by accident. On servers it is the configured one: what stays in the log there names bytes here.
    fn choose(session: &Session) -> Result<Self, Failure> {
        if session.global.data_dir.is_some() || wire::is_shared(&session.config(&[])?) {
            return Ok(Self { temporary: None });
        }
        let made = tempfile::Builder::new().prefix("tidewire-demo-").tempdir();
        let made = made.map_err(|error| {
            Failure::new(Exit::Unavailable, "store.unavailable", format!("no temporary folder: {error}"))
                .hint("name a folder with --data-dir")
        })?;
        Ok(Self { temporary: Some(made) })
    }

    fn config(&self, session: &Session, args: &DemoArgs) -> Result<Config, Failure> {
        let mut flags = vec![Flag::new("listen", "--listen", args.listen.as_deref().unwrap_or("127.0.0.1:0"))];
        if let Some(dir) = &self.temporary {
            const NAME: &str = "temporary folder";
            flags.push(Flag::new("data_dir", NAME, dir.path().display().to_string()));
            // Folders that the environment or a file names are those of a real instance; servers were meant.
            let found = session.config(&flags)?;
            let local = [
                ("store.url", "sqlite:", found.sqlite_dir()),
                ("broker.url", "embedded:", found.embedded_broker_dir()),
                ("objects.url", "", found.objects_dir()),
            ];
            let elsewhere =
                local.into_iter().filter(|(_, _, at)| at.as_ref().is_some_and(|at| !at.starts_with(dir.path())));
            flags.extend(elsewhere.map(|(key, here, _)| Flag::new(key, NAME, here)));
        }
        let mut config = session.config(&flags)?;
        // What is undone is told in the summary. Log lines come when somebody asks for them.
        let by_default = |path: &str| config.rows().iter().any(|row| row.path == path && row.origin == Origin::Default);
        if by_default("log.level") {
            config.log.level = "error".into();
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_summed_over_consumers() {
        let text = "# TYPE tidewire_events_duplicate_total counter\n\
                    tidewire_events_duplicate_total{consumer=\"a b\"} 3\ntidewire_events_duplicate_total{consumer=\"c\"} 4\n\
                    tidewire_events_handled_total{consumer=\"c\"} 9\n";
        assert_eq!(duplicates(text), 7);
    }
}
