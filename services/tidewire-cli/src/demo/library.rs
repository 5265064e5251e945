//! Documents through the ingestion saga: found, uploaded, and followed to their end, a bounded number at a time.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, header};
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::io::ReaderStream;

use super::progress::Progress;
use super::request::Requests;
use super::walk::{Found, Skipped, walk};
use crate::client::{Body, path, with_query};
use crate::exit::Exit;
use crate::failure::Failure;

/// Uploads in flight: what a small machine reads and stores at once.
const UPLOADS: usize = 8;
/// Documents whose sagas have not ended: enough to keep every step busy, few enough that the last in the queue
/// is reached long before its step's deadline.
const UNFINISHED: usize = 24;
/// Files found ahead of the uploads.
const FOUND_AHEAD: usize = 64;
/// Waits between two looks at a saga.
const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(20);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);
/// A saga that has not ended by then has lost its orchestrator.
const SAGA_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The longest file name sent along.
const MAX_NAME_CHARS: usize = 200;
/// How many failures are listed; beyond, they are only counted.
const MAX_LISTED: usize = 100_000;

/// The workspace the demo's documents go to.
pub const WORKSPACE: &str = "demo";

/// A document that was not ingested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotIngested {
    /// The file.
    pub path: String,
    /// `refused` at the door, `undone`, or `stuck`.
    pub outcome: &'static str,
    /// The stable code.
    pub code: String,
    /// Why.
    pub reason: String,
}

/// What became of the documents.
#[derive(Debug, Default)]
pub struct Library {
    /// Accepted by the surface.
    pub submitted: u64,
    /// Of these, ingested.
    pub ingested: u64,
    /// Of these, undone.
    pub undone: u64,
    /// Of these, stuck: a person has to decide.
    pub stuck: u64,
    /// What was not accepted.
    pub refused: u64,
    /// Those that were not ingested, by name.
    pub failures: Vec<NotIngested>,
    /// What was not submitted at all.
    pub skipped: Skipped,
    /// A word of an ingested file's name, to search for.
    pub word: Option<String>,
}

impl Library {
    fn take(&mut self, ended: Ended) {
        if ended.outcome != "refused" {
            self.submitted += 1;
        }
        let count = match ended.outcome {
            "ingested" => &mut self.ingested,
            "undone" => &mut self.undone,
            "stuck" => &mut self.stuck,
            _ => &mut self.refused,
        };
        *count += 1;
        if ended.outcome == "ingested" {
            self.word = self.word.take().or_else(|| word_of(&ended.path));
        } else if self.failures.len() < MAX_LISTED {
            let path = ended.path.display().to_string();
            self.failures.push(NotIngested { path, outcome: ended.outcome, code: ended.code, reason: ended.reason });
        }
    }
}

fn word_of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_string_lossy().to_lowercase();
    stem.split(|c: char| !c.is_alphabetic()).find(|word| word.chars().count() > 3).map(str::to_owned)
}

/// How one document ended.
struct Ended {
    path: PathBuf,
    outcome: &'static str,
    code: String,
    reason: String,
}

/// Submits every document under `roots` and waits for each saga's end.
pub async fn ingest(
    roots: Vec<PathBuf>,
    max_bytes: u64,
    requests: Arc<Requests>,
    progress: Arc<Progress>,
) -> Result<Library, Failure> {
    let (sender, receiver) = mpsc::channel(FOUND_AHEAD);
    let walking = tokio::task::spawn_blocking(move || {
        walk(&roots, max_bytes, &mut |found| match sender.blocking_send(found) {
            Ok(()) => ControlFlow::Continue(()),
            // Nobody takes more: the demo was interrupted.
            Err(_) => ControlFlow::Break(()),
        })
    });
    let uploads = Arc::new(Semaphore::new(UPLOADS));
    let found = stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|found| (found, receiver)) });
    let mut ends = found
        .map(|found| follow(found, uploads.clone(), requests.clone(), progress.clone()))
        .buffer_unordered(UNFINISHED)
        .boxed();
    let mut library = Library::default();
    while let Some(ended) = ends.next().await {
        library.take(ended?);
    }
    library.skipped = walking.await.map_err(|error| {
        Failure::new(Exit::Error, "command.failed", format!("looking for documents broke off: {error}"))
    })?;
    library.failures.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(library)
}

async fn follow(
    found: Found,
    uploads: Arc<Semaphore>,
    requests: Arc<Requests>,
    progress: Arc<Progress>,
) -> Result<Ended, Failure> {
    progress.found();
    let slot = uploads.acquire().await;
    let accepted = upload(&found, &requests).await;
    drop(slot);
    let saga = match accepted {
        Ok(saga) => saga,
        // This one is refused; the instance is well.
        Err(failure) if matches!(failure.exit, Exit::Invalid | Exit::Conflict) || failure.code == UNREADABLE => {
            progress.ended();
            return Ok(Ended { path: found.path, outcome: "refused", code: failure.code, reason: failure.message });
        }
        Err(failure) => return Err(failure),
    };
    let (outcome, code, reason) = end_of(&saga, &requests).await?;
    progress.ended();
    Ok(Ended { path: found.path, outcome, code, reason })
}

const UNREADABLE: &str = "document.unreadable_file";

/// Sends the file as it is read, and answers the saga's id.
async fn upload(found: &Found, requests: &Requests) -> Result<String, Failure> {
    let name = file_name(&found.path);
    let target = with_query(&path(&["v1", "documents"]), &[("workspace", Some(WORKSPACE)), ("filename", Some(&name))]);
    let answer = requests
        .retried(Method::POST, &target, |builder| {
            let file = std::fs::File::open(&found.path)
                .map_err(|error| Failure::new(Exit::Error, UNREADABLE, format!("cannot be read: {error}")))?;
            let chunks = ReaderStream::new(tokio::fs::File::from_std(file));
            Ok(builder.header(header::CONTENT_TYPE, found.media_type).body(Body::from_stream(chunks)))
        })
        .await?;
    let saga = answer.get("saga").and_then(Value::as_str).map(str::to_owned);
    saga.ok_or_else(|| {
        Failure::new(Exit::Error, "client.unexpected_answer", format!("the answer names no saga: {answer}"))
    })
}

/// A name the surface takes: any file system has stranger ones.
fn file_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // The extension is at the end.
    let kept: Vec<char> = name.chars().filter(|c| !c.is_control()).rev().take(MAX_NAME_CHARS).collect();
    kept.into_iter().rev().collect()
}

/// Looks at the saga until it has ended.
async fn end_of(saga: &str, requests: &Requests) -> Result<(&'static str, String, String), Failure> {
    let target = path(&["v1", "sagas", saga]);
    let mut wait = LOOK_AGAIN_FIRST;
    let patience = tokio::time::Instant::now() + SAGA_PATIENCE;
    loop {
        match requests.send(Method::GET, &target, None).await {
            Ok(state) => {
                if let Some(outcome) = outcome(&state) {
                    let (code, reason) = cause(&state);
                    return Ok((outcome, code, reason));
                }
            }
            // Not begun: the event that starts it is on its way.
            Err(failure) if failure.exit == Exit::NotFound => {}
            Err(failure) => return Err(failure),
        }
        if tokio::time::Instant::now() > patience {
            return Ok(("stuck", "saga.step_timed_out".into(), "its saga did not end in time".into()));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK_AGAIN_MAX);
    }
}

fn outcome(saga: &Value) -> Option<&'static str> {
    match saga.get("status").and_then(Value::as_str)? {
        "completed" => Some("ingested"),
        "undone" => Some("undone"),
        "stuck" => Some("stuck"),
        _ => None,
    }
}

fn cause(saga: &Value) -> (String, String) {
    let text = |name: &str| saga.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("code"), text("reason"))
}

/// Where documents are looked for when nobody names a place: this repository's own.
pub fn default_roots() -> Vec<PathBuf> {
    let places = ["README.md", "crates/tidewire/docs", ".github/CONTRIBUTING.md", "tests/data/documents"];
    places.iter().map(PathBuf::from).filter(|place| place.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_saga_that_goes_on_has_no_outcome() {
        for (status, expected) in [
            ("running", None),
            ("compensating", None),
            ("stalled", None),
            ("completed", Some("ingested")),
            ("undone", Some("undone")),
            ("stuck", Some("stuck")),
        ] {
            assert_eq!(outcome(&json!({ "status": status })), expected, "{status}");
        }
    }

    #[test]
    fn what_is_refused_is_named_but_not_submitted() {
        let mut library = Library::default();
        let ended = |name: &str, outcome| Ended { path: name.into(), outcome, code: "c".into(), reason: "r".into() };
        for (name, outcome) in [("a-guide.md", "ingested"), ("b", "undone"), ("c", "refused"), ("d", "stuck")] {
            library.take(ended(name, outcome));
        }
        assert_eq!(
            (library.submitted, library.ingested, library.undone, library.stuck, library.refused),
            (3, 1, 1, 1, 1)
        );
        assert_eq!(library.failures.iter().map(|failure| failure.path.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(library.word.as_deref(), Some("guide"));
    }
}
