use std::sync::Weak;
use std::sync::atomic::Ordering;

use tantivy::indexer::IndexWriterOptions;
use tantivy::{DateTime, IndexWriter, TantivyDocument, Term};
use tokio::sync::{mpsc, oneshot};

use super::schema::Fields;
use super::{IndexError, IndexedDocument, Opened, Shared, guarded};
use crate::chunk::{self, ChunkOptions};

/// Memory after which the engine writes a segment before a flush asks for it: its smallest value. Documents
/// come one by one, and larger segments arise by merging.
const ARENA_BYTES: usize = 15_000_000;

/// Most changes in one flush, so that the first of them does not wait for ever.
const MAX_BATCH: usize = 256;

/// Most text in one flush, in bytes.
const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// A change to the index.
pub(super) enum Change {
    Put(Box<IndexedDocument>),
    Remove(String),
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(document) => document.text.len(),
            Self::Remove(_) => 0,
        }
    }
}

/// A change, and who waits for it.
pub(super) struct Submitted {
    pub(super) change: Change,
    pub(super) done: oneshot::Sender<Result<(), IndexError>>,
}

/// The one thread that writes. One flush is in flight at a time, and whoever arrives meanwhile joins the next:
/// a lone change waits for no timer, and many share the cost of a flush.
pub(super) struct Writer {
    shared: Weak<Shared>,
    engine: Option<IndexWriter>,
}

impl Writer {
    pub(super) fn new(shared: Weak<Shared>) -> Self {
        Self { shared, engine: None }
    }

    /// Runs until nobody can submit any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Submitted>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.change.bytes();
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.change.bytes();
                batch.push(next);
            }
            let result = self.flush(&batch);
            for submitted in batch {
                // A caller who went away does not need the answer.
                let _ = submitted.done.send(result.clone());
            }
        }
    }

    fn flush(&mut self, batch: &[Submitted]) -> Result<(), IndexError> {
        let gone = || IndexError::Storage { reason: "the index was closed".to_owned() };
        let shared = self.shared.upgrade().ok_or_else(gone)?;
        let opened = shared.open_or_create()?;
        let result = guarded(&shared.dir, || {
            let engine = match self.engine.as_mut() {
                Some(engine) => engine,
                None => self.engine.insert(start(opened)?),
            };
            for submitted in batch {
                apply(engine, opened.fields, &submitted.change)?;
            }
            engine.commit()?;
            shared.flushes.fetch_add(1, Ordering::Relaxed);
            opened.reader.reload()
        });
        if let Err(error) = &result {
            shared.examine(opened, error);
            // After a failure the engine's writer is of no more use, and what it holds must not be flushed with
            // the next batch: its callers were told that it failed.
            self.engine = None;
        }
        result
    }
}

fn start(opened: &Opened) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .memory_budget_per_thread(ARENA_BYTES)
        .num_worker_threads(1)
        .num_merge_threads(1)
        .build();
    opened.engine.writer_with_options(options)
}

fn apply(engine: &mut IndexWriter, fields: Fields, change: &Change) -> tantivy::Result<()> {
    let id = match change {
        Change::Put(document) => &document.id,
        Change::Remove(id) => id,
    };
    engine.delete_term(Term::from_field_text(fields.document, id));
    let Change::Put(document) = change else { return Ok(()) };
    let mut chunks = chunk::split(&document.text, ChunkOptions::default());
    if chunks.is_empty() {
        // A document without text is still found by its title, and counted.
        chunks.push(chunk::Chunk { ordinal: 0, range: 0..0, text: "" });
    }
    for chunk in chunks {
        let mut entry = TantivyDocument::new();
        entry.add_text(fields.document, &document.id);
        entry.add_text(fields.workspace, &document.workspace);
        entry.add_text(fields.title, document.title.as_deref().unwrap_or_default());
        entry.add_u64(fields.ordinal, u64::from(chunk.ordinal));
        entry.add_text(fields.body, chunk.text);
        entry.add_text(fields.media_type, &document.media_type);
        entry.add_date(fields.ingested, DateTime::from_timestamp_millis(document.ingested.timestamp_millis()));
        engine.add_document(entry)?;
    }
    Ok(())
}
