//! Looking at sagas: lists, and everything about one.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tidewire_core::saga::history::{Entry, What};
use tidewire_core::saga::log::{Due, Then};
use tidewire_core::saga::{Failure, SagaLog, SagaRef, Status, StepLog, StepStatus};
use tidewire_core::store::DocumentQuery;
use tidewire_core::{Key, Store, StoreError};
use uuid::Uuid;

use super::stored::{COLLECTION, INDEX, Listed, index_id};

/// Index rows read at once.
const SCAN: usize = 500;
/// Index rows looked at for one page: a list of a rare type among many sagas comes in pages that are not full.
const MAX_SCANNED: usize = 10_000;

/// Which sagas to list.
#[derive(Clone, Debug, Default)]
pub struct SagaFilter {
    /// Only of this status.
    pub status: Option<Status>,
    /// Only of this saga, by its name.
    pub saga: Option<String>,
    /// Only after this place, as the last page gave it.
    pub after: Option<String>,
    /// At most this many.
    pub limit: usize,
}

/// A page of sagas, the last started first.
#[derive(Clone, Debug, Serialize)]
pub struct SagaPage {
    /// The sagas.
    pub items: Vec<SagaSummary>,
    /// Where the next page starts; `None` when this is the last. A page may hold fewer than asked for and
    /// still have a next one.
    pub next: Option<String>,
}

/// A saga at a glance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SagaSummary {
    /// Which one.
    pub id: String,
    /// Of which saga.
    #[serde(rename = "type")]
    pub ty: String,
    /// Where it is.
    pub status: Status,
    /// The key it works on.
    pub key: Key,
    /// The step it is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it turned back, is stuck or is stalled, as a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it started.
    pub started: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

/// Everything about one saga.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SagaView {
    /// At a glance.
    #[serde(flatten)]
    pub summary: SagaSummary,
    /// Rises with every change. An order names the revision it was decided upon.
    pub revision: u64,
    /// From its start to its last change, in seconds.
    pub seconds: f64,
    /// The version of its definition.
    pub definition: u16,
    /// The digest of its steps.
    pub fingerprint: String,
    /// The flow it belongs to.
    pub correlationid: String,
    /// The event that started it.
    pub cause: String,
    /// The step of another saga that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<SagaRef>,
    /// How often it turned back or tried again what failed, from 1.
    pub epoch: u32,
    /// Why it turned back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why it is stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Failure>,
    /// Replies that wait while it is stalled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<usize>,
    /// What it knows.
    pub state: Value,
    /// Its steps, in the order they were asked for.
    pub steps: Vec<StepView>,
    /// How it came to this, oldest first.
    pub history: Vec<EntryView>,
    /// Entries that the history had no room for.
    pub history_dropped: u32,
    /// Inputs that meant nothing.
    pub ignored: u32,
    /// When its timer fires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<DateTime<Utc>>,
}

/// One thing that happened to a saga.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryView {
    /// What, when, to which step.
    #[serde(flatten)]
    pub entry: Entry,
    /// How long after the request that it ends, in seconds: where it is an answer, or the end of a wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A step of a saga.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub status: StepStatus,
    /// Requests sent for it.
    pub attempts: u32,
    /// Requests sent for its undo.
    pub undo_attempts: u32,
    /// Its last request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The last request for its undo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo_request: Option<String>,
    /// When it was first asked for.
    pub started: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
    /// From the one to the other, in seconds.
    pub seconds: f64,
    /// Until when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
    /// What happens then: `deadline` or `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// Why it, or its undo, failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Looks at sagas, of whatever definition. What it shows is what was committed last.
#[derive(Clone)]
pub struct SagaQuery {
    store: Arc<dyn Store>,
}

impl SagaQuery {
    /// Looks into `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Everything about one saga; `None` when there is none of this id. A saga that cannot be read at all is
    /// [`StoreError::Corrupt`].
    pub async fn get(&self, id: Uuid) -> Result<Option<SagaView>, StoreError> {
        let Some(document) = self.store.documents(COLLECTION, &[id.to_string()]).await?.pop().flatten() else {
            return Ok(None);
        };
        let log: SagaLog<Value> = serde_json::from_slice(&document.value)
            .map_err(|error| StoreError::Corrupt(format!("saga `{id}` cannot be read: {error}")))?;
        Ok(Some(SagaView::of(log, document.revision)))
    }

    /// How many sagas there are of each status.
    pub async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        let mut counts = Vec::with_capacity(Status::ALL.len());
        for status in Status::ALL {
            counts.push((status, self.store.count(INDEX, &index_id(status, "")).await?));
        }
        Ok(counts)
    }

    /// How many sagas of one name are under way, stuck or stalled, counting at most 10,000 of each status.
    pub async fn open(&self, saga: &str) -> Result<Vec<(Status, u64)>, StoreError> {
        let mut counts = Vec::new();
        for status in Status::ALL.into_iter().filter(|status| !status.is_over()) {
            let filter = SagaFilter { status: Some(status), saga: Some(saga.into()), after: None, limit: MAX_SCANNED };
            counts.push((status, self.scan(status, &filter).await?.rows.len() as u64));
        }
        Ok(counts)
    }

    /// Sagas, the last started first. A saga that changes its status between two pages may be missed by, or
    /// appear in, both.
    pub async fn list(&self, filter: &SagaFilter) -> Result<SagaPage, StoreError> {
        let statuses = filter.status.map_or(Status::ALL.to_vec(), |status| vec![status]);
        let mut found: Vec<Row> = Vec::new();
        // Where the scan that went least far back ended: beyond it the list is not known to be complete.
        let mut end: Option<String> = None;
        for status in statuses {
            let scan = self.scan(status, filter).await?;
            found.extend(scan.rows);
            end = end.max(scan.end);
        }
        found.sort_by(|a, b| b.place.cmp(&a.place));
        if let Some(end) = &end {
            found.retain(|row| row.place >= *end);
        }
        let next = if found.len() > filter.limit {
            found.truncate(filter.limit);
            found.last().map(|row| row.place.clone())
        } else {
            end
        };
        Ok(SagaPage { items: self.summaries(found).await?, next })
    }

    /// One status of a list.
    async fn scan(&self, status: Status, filter: &SagaFilter) -> Result<Scan, StoreError> {
        let prefix = index_id(status, "");
        let mut after = filter.after.as_deref().map(|place| index_id(status, place));
        let mut rows = Vec::new();
        let mut scanned = 0;
        while rows.len() <= filter.limit {
            let limit = SCAN.min(filter.limit.saturating_add(1).max(50));
            let query = DocumentQuery {
                collection: INDEX.into(),
                prefix: prefix.clone(),
                after: after.clone(),
                backwards: true,
                limit,
            };
            let page = self.store.list(&query).await?;
            let (read, last) = (page.len(), page.last().map(|document| document.id.clone()));
            for document in page {
                let Ok(listed) = serde_json::from_slice::<Listed>(&document.value) else { continue };
                if filter.saga.as_ref().is_none_or(|saga| *saga == listed.saga) {
                    let place = document.id[prefix.len()..].to_owned();
                    rows.push(Row { status, place, listed });
                }
            }
            scanned += read;
            if read < limit {
                return Ok(Scan { rows, end: None });
            }
            after = last;
            if scanned >= MAX_SCANNED {
                break;
            }
        }
        let end = after.map(|id| id[prefix.len()..].to_owned());
        Ok(Scan { rows, end })
    }

    async fn summaries(&self, rows: Vec<Row>) -> Result<Vec<SagaSummary>, StoreError> {
        let ids: Vec<String> = rows.iter().map(|row| row.id().to_owned()).collect();
        let documents = self.store.documents(COLLECTION, &ids).await?;
        let summary = |(row, document): (Row, Option<tidewire_core::Document>)| {
            let log = document.and_then(|document| serde_json::from_slice::<SagaLog<Value>>(&document.value).ok());
            log.map_or_else(|| row.summary(), |log| SagaSummary::of(&log))
        };
        Ok(rows.into_iter().zip(documents).map(summary).collect())
    }
}

struct Scan {
    rows: Vec<Row>,
    end: Option<String>,
}

/// A row of the index.
struct Row {
    status: Status,
    place: String,
    listed: Listed,
}

impl Row {
    fn id(&self) -> &str {
        self.place.split_once('/').map_or("", |(_, id)| id)
    }

    /// What the index alone knows.
    fn summary(&self) -> SagaSummary {
        let millis = self.place.split_once('/').and_then(|(millis, _)| millis.parse().ok());
        let started = millis.and_then(DateTime::from_timestamp_millis).unwrap_or_default();
        SagaSummary {
            id: self.id().to_owned(),
            ty: self.listed.saga.clone(),
            status: self.status,
            key: self.listed.key.clone(),
            step: None,
            code: None,
            reason: None,
            started,
            updated: started,
        }
    }
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

impl SagaSummary {
    fn of(log: &SagaLog<Value>) -> Self {
        let stalled = log.stall.as_ref().map(|stall| Failure::new("saga.unknown_definition", &stall.reason));
        let failure = stalled.as_ref().or(log.stuck.as_ref()).or(log.failure.as_ref());
        Self {
            id: log.id.to_string(),
            ty: log.saga.clone(),
            status: log.status,
            key: log.key.clone(),
            step: log.step().map(|step| step.name.clone()),
            code: failure.map(|failure| failure.code.clone()),
            reason: failure.map(|failure| failure.reason.clone()),
            started: log.started_at,
            updated: log.updated_at,
        }
    }
}

impl SagaView {
    fn of(log: SagaLog<Value>, revision: u64) -> Self {
        Self {
            summary: SagaSummary::of(&log),
            revision,
            seconds: seconds(log.started_at, log.updated_at),
            definition: log.definition,
            fingerprint: log.fingerprint,
            correlationid: log.correlationid,
            cause: log.cause,
            parent: log.parent,
            epoch: log.epoch,
            failure: log.failure,
            stuck: log.stuck,
            waiting: log.stall.map(|stall| stall.waiting.len()),
            state: log.state,
            steps: log.steps.into_iter().map(StepView::of).collect(),
            history: timed(log.history.entries),
            history_dropped: log.history.dropped,
            ignored: log.ignored,
            timer: log.timer,
        }
    }
}

/// Entries with the time since the request they answer.
fn timed(entries: Vec<Entry>) -> Vec<EntryView> {
    let mut asked: HashMap<(String, bool), DateTime<Utc>> = HashMap::new();
    let view = |entry: Entry| {
        let undo = matches!(entry.what, What::UndoRequested | What::Undone | What::UndoFailed);
        let at = entry.step.clone().map(|step| (step, undo));
        let since = match entry.what {
            What::Requested | What::UndoRequested | What::Waiting => {
                at.map(|at| asked.insert(at, entry.at));
                None
            }
            What::Done | What::Failed | What::Unknown | What::Undone | What::UndoFailed | What::Skipped => {
                at.and_then(|at| asked.get(&at).copied())
            }
            _ => None,
        };
        EntryView { seconds: since.map(|since| seconds(since, entry.at)), entry }
    };
    entries.into_iter().map(view).collect()
}

impl StepView {
    fn of(step: StepLog) -> Self {
        let due: Option<Due> = step.due;
        Self {
            name: step.name,
            status: step.status,
            attempts: step.attempts,
            undo_attempts: step.undo_attempts,
            request: step.request.map(|id| id.to_string()),
            undo_request: step.undo_request.map(|id| id.to_string()),
            started: step.started_at,
            updated: step.updated_at,
            seconds: seconds(step.started_at, step.updated_at),
            due: due.map(|due| due.at),
            then: due.map(|due| due.then),
            failure: step.failure,
        }
    }
}
