//! The full-text index: documents in, hits with snippets out.
//!
//! The index is derived from the originals: losing it costs time, not data.

mod coverage;
mod error;
mod holdings;
mod schema;
mod search;
mod words;
mod writer;

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use chrono::{DateTime, Utc};
use tantivy::collector::Count;
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{IndexReader, IndexSettings, ReloadPolicy, TantivyError, Term};
use tokio::sync::{mpsc, oneshot};

pub use coverage::Coverage;
pub use error::IndexError;
pub use holdings::{Holdings, differing};
pub use search::{Hit, MAX_QUERY_CHARS, MAX_REACH, SearchRequest, SearchResults};

use crate::extract::MAX_TEXT_BYTES;
use schema::Fields;
use writer::{Change, Submitted, Writer};

/// Longest identifier of a document or workspace, in bytes.
pub const MAX_ID_BYTES: usize = 200;

/// Changes that wait for the one flush in flight. Each may hold a long text, so the queue is short; who
/// finds it full waits.
const MAX_WAITING: usize = 64;

/// Blocks of stored text each segment keeps unpacked, of 16 KiB. The default of 100 would be most of an
/// idle process's memory.
const CACHED_BLOCKS: usize = 8;

/// What is indexed of a document.
#[derive(Debug, Clone)]
pub struct IndexedDocument {
    /// The document's identifier; a second `put` of the same replaces the first.
    pub id: String,
    /// The workspace it is searched in.
    pub workspace: String,
    /// Its title; found words there count double.
    pub title: Option<String>,
    /// Its text, which is cut into chunks here.
    pub text: String,
    /// Its media type, such as `text/html`.
    pub media_type: String,
    /// When it was ingested.
    pub ingested: DateTime<Utc>,
}

/// Indexes that may be set aside at the same moment.
const MAX_ASIDE_AT_ONCE: u32 = 100;

/// A full-text index in a folder of its own. Cloning is cheap.
///
/// One process at a time may open a folder. Nothing but small files is made until the first document
/// comes, so that opening is quick and an unused index costs no memory.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    opened: OnceLock<Opened>,
    queue: Mutex<Option<mpsc::Sender<Submitted>>>,
    flushes: AtomicU64,
    was_new: bool,
    coverage: Mutex<Coverage>,
    /// Whether its files were examined because of an error.
    examined: AtomicBool,
    /// Held, never read: its lock ends with the process, however that ends; or once this and the writer are gone.
    lock: Arc<File>,
}

/// The index as the engine sees it.
#[derive(Clone)]
struct Opened {
    engine: tantivy::Index,
    reader: IndexReader,
    fields: Fields,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Index {
    /// Opens the index in a folder, which is made if need be.
    ///
    /// # Errors
    /// [`IndexError::Locked`] if another process has it open; [`IndexError::Corrupt`] or
    /// [`IndexError::Outdated`] if it must be rebuilt: [set it aside](Self::set_aside) and put every document
    /// again; [`IndexError::Folder`] if the folder cannot be used.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        let lock = lock(dir)?;
        let coverage = Coverage::read(dir);
        if let Coverage::Damaged { reason } = coverage {
            return Err(IndexError::Corrupt { path: dir.to_owned(), reason });
        }
        let opened = OnceLock::new();
        if let Some(found) = open_existing(dir)? {
            let _ = opened.set(found);
        }
        let shared = Shared {
            dir: dir.to_owned(),
            was_new: opened.get().is_none(),
            opened,
            queue: Mutex::new(None),
            flushes: AtomicU64::new(0),
            coverage: Mutex::new(coverage),
            examined: AtomicBool::new(false),
            lock: Arc::new(lock),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Moves the index in a folder that no process has open out of the way, so that it can be built anew. Nothing
    /// is deleted: it is found beside, as `<folder>.damaged-<time>`, which is what this returns.
    ///
    /// # Errors
    /// [`IndexError::Locked`] or [`IndexError::Folder`].
    pub fn set_aside(dir: &Path, now: DateTime<Utc>) -> Result<PathBuf, IndexError> {
        let _lock = lock(dir)?;
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
        let stamp = now.format("%Y%m%dT%H%M%S%.3fZ");
        let mut aside = dir.with_file_name(format!("{name}.damaged-{stamp}"));
        for another in 2..=MAX_ASIDE_AT_ONCE {
            if aside.symlink_metadata().is_err() {
                break;
            }
            aside = dir.with_file_name(format!("{name}.damaged-{stamp}-{another}"));
        }
        fs::rename(dir, &aside).map_err(|error| IndexError::folder(dir, &error))?;
        Ok(aside)
    }

    /// How much of what it ought to hold it holds, as far as it was told. It begins with [`Coverage::Unknown`].
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        self.shared.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells it how much of what it ought to hold it holds. This is kept in its folder, so it goes with it, and
    /// survives a power cut.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if it was found damaged meanwhile: that stays so. [`IndexError::Folder`].
    pub async fn set_coverage(&self, coverage: Coverage) -> Result<(), IndexError> {
        let shared = self.shared.clone();
        let result = tokio::task::spawn_blocking(move || shared.set_coverage(coverage)).await;
        result.unwrap_or_else(|error| Err(IndexError::Storage { reason: error.to_string() }))
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Whether there was nothing in the folder when it was opened.
    #[must_use]
    pub fn was_new(&self) -> bool {
        self.shared.was_new
    }

    /// Indexes a document in place of any earlier one of the same identifier. When this returns, it is found
    /// and survives a power cut. Repeating it changes nothing.
    ///
    /// Calls at the same time share a flush; a lone one waits for nobody.
    ///
    /// # Errors
    /// [`IndexError::Invalid`] is final; [`IndexError::Storage`] is worth another try; [`IndexError::Corrupt`]
    /// needs a rebuild. Unless it is `Ok`, the document may or may not have been indexed.
    pub async fn put(&self, document: IndexedDocument) -> Result<(), IndexError> {
        check_id("document", &document.id)?;
        check_id("workspace", &document.workspace)?;
        if document.text.len() > MAX_TEXT_BYTES {
            return Err(IndexError::Invalid { what: format!("a text of more than {MAX_TEXT_BYTES} bytes") });
        }
        self.submit(Change::Put(Box::new(document))).await
    }

    /// Removes a document. When this returns, it is no longer found, also after a power cut. Removing one that
    /// is not there succeeds.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn remove(&self, id: &str) -> Result<(), IndexError> {
        check_id("document", id)?;
        self.submit(Change::Remove(id.to_owned())).await
    }

    /// Searches one workspace. A query that is not well formed is read as well as possible.
    ///
    /// # Errors
    /// [`IndexError::Storage`] is worth another try; [`IndexError::Corrupt`] needs a rebuild.
    pub async fn search(&self, request: SearchRequest) -> Result<SearchResults, IndexError> {
        self.read(SearchResults::default(), move |opened| search::search(opened, &request)).await
    }

    /// The number of documents in a workspace.
    ///
    /// # Errors
    /// As for [`search`](Self::search).
    pub async fn count(&self, workspace: &str) -> Result<u64, IndexError> {
        let workspace = workspace.to_owned();
        self.read(0, move |opened| {
            let fields = opened.fields;
            let first_chunks = BooleanQuery::intersection(vec![
                exactly(Term::from_field_text(fields.workspace, &workspace)),
                exactly(Term::from_field_u64(fields.ordinal, 0)),
            ]);
            opened.count(&first_chunks)
        })
        .await
    }

    /// Whether a document is in the index.
    ///
    /// # Errors
    /// As for [`search`](Self::search).
    pub async fn contains(&self, id: &str) -> Result<bool, IndexError> {
        let id = id.to_owned();
        self.read(false, move |opened| {
            let found = opened.count(&*exactly(Term::from_field_text(opened.fields.document, &id)))?;
            Ok(found > 0)
        })
        .await
    }

    /// The number of flushes since it was opened; fewer than the changes if they share.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.shared.flushes.load(Ordering::Relaxed)
    }

    async fn submit(&self, change: Change) -> Result<(), IndexError> {
        let (done, answer) = oneshot::channel();
        let stopped = || IndexError::Storage { reason: "the index's writer stopped".to_owned() };
        self.queue()?.send(Submitted { change, done }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// The way to the writer, which is started when it is first needed.
    fn queue(&self) -> Result<mpsc::Sender<Submitted>, IndexError> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queue.as_ref().filter(|queue| !queue.is_closed()) {
            return Ok(queue.clone());
        }
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        // Weak: an index that nobody holds any more ends its writer.
        let writer = Writer::new(Arc::downgrade(&self.shared));
        // The writer outlives the index by a moment, and its engine has the folder until then: who opened it again in that
        // moment would have no writer.
        let lock = self.shared.lock.clone();
        std::thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(move || {
                writer.run(receiver);
                drop(lock);
            })
            .map_err(|error| IndexError::Storage { reason: error.to_string() })?;
        *queue = Some(sender.clone());
        Ok(sender)
    }

    /// Runs a read where it may block. The engine maps files and panics on some damaged ones.
    async fn read<T: Send + 'static>(
        &self,
        of_nothing: T,
        read: impl FnOnce(&Opened) -> tantivy::Result<T> + Send + 'static,
    ) -> Result<T, IndexError> {
        let Some(opened) = self.shared.opened.get().cloned() else { return Ok(of_nothing) };
        let shared = self.shared.clone();
        let read = move || {
            let result = guarded(&shared.dir, || read(&opened));
            result.inspect_err(|error| shared.examine(&opened, error))
        };
        let result = tokio::task::spawn_blocking(read).await;
        result.unwrap_or_else(|error| Err(IndexError::Storage { reason: error.to_string() }))
    }
}

impl Shared {
    /// The engine's index, made now if there is none yet.
    fn open_or_create(&self) -> Result<&Opened, IndexError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let created = guarded(&self.dir, || {
            let (schema, fields) = schema::schema();
            let directory = MmapDirectory::open(&self.dir)?;
            let engine = tantivy::Index::create(directory, schema, IndexSettings::default())?;
            open_engine(engine, fields)
        })?;
        Ok(self.opened.get_or_init(|| created))
    }

    fn set_coverage(&self, coverage: Coverage) -> Result<(), IndexError> {
        let mut known = self.coverage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Coverage::Damaged { reason } = &*known {
            return Err(IndexError::Corrupt { path: self.dir.clone(), reason: reason.clone() });
        }
        coverage.write(&self.dir).map_err(|error| IndexError::folder(&self.dir, &error))?;
        *known = coverage;
        Ok(())
    }

    /// Looks whether an error comes from damaged files, and if so remembers it: opening such an index may go well,
    /// and only a rebuild makes it whole. Reads everything, so only once; a query that makes the engine panic is
    /// no damage.
    fn examine(&self, opened: &Opened, error: &IndexError) {
        let IndexError::Corrupt { reason, .. } = error else { return };
        if self.examined.swap(true, Ordering::Relaxed) {
            return;
        }
        let damaged = guarded(&self.dir, || opened.engine.validate_checksum());
        if damaged.is_ok_and(|damaged| damaged.is_empty()) {
            return;
        }
        tracing::error!(code = error.code(), %error, "the index is damaged; start again to have it rebuilt");
        if let Err(error) = self.set_coverage(Coverage::Damaged { reason: reason.clone() }) {
            tracing::warn!(code = error.code(), %error, "that the index is damaged could not be written down");
        }
    }
}

impl Opened {
    fn count(&self, query: &dyn Query) -> tantivy::Result<u64> {
        self.reader.searcher().search(query, &Count).map(|count| count as u64)
    }
}

const LOCK_FILE: &str = "lock";

fn lock(dir: &Path) -> Result<File, IndexError> {
    let failed = |error: std::io::Error| IndexError::folder(dir, &error);
    fs::create_dir_all(dir).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IndexError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn open_existing(dir: &Path) -> Result<Option<Opened>, IndexError> {
    if !dir.join("meta.json").exists() {
        let failed = |error: std::io::Error| IndexError::folder(dir, &error);
        for entry in fs::read_dir(dir).map_err(failed)? {
            // The engine writes its list of segments before the first segment.
            if entry.map_err(failed)?.path().extension().is_some_and(|extension| extension == "store") {
                return Err(IndexError::Corrupt {
                    path: dir.to_owned(),
                    reason: "its list of segments is gone".to_owned(),
                });
            }
        }
        return Ok(None);
    }
    let outdated = || IndexError::Outdated { path: dir.to_owned() };
    let engine = guarded(dir, || tantivy::Index::open(MmapDirectory::open(dir)?))?;
    let (schema, fields) = schema::schema();
    if engine.schema() != schema {
        return Err(outdated());
    }
    guarded(dir, || open_engine(engine, fields)).map(Some)
}

fn open_engine(engine: tantivy::Index, fields: Fields) -> tantivy::Result<Opened> {
    schema::register(&engine);
    let reader = engine
        .reader_builder()
        // Reloaded after each flush by the writer, the only one there is.
        .reload_policy(ReloadPolicy::Manual)
        .doc_store_cache_num_blocks(CACHED_BLOCKS)
        .try_into()?;
    Ok(Opened { engine, reader, fields })
}

fn exactly(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

/// Runs the engine, turning its errors and panics into ours.
fn guarded<T>(dir: &Path, run: impl FnOnce() -> tantivy::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| IndexError::of_engine(dir, error)),
        Err(_) => Err(IndexError::of_engine(dir, TantivyError::InternalError("the engine panicked".to_owned()))),
    }
}

fn check_id(what: &str, id: &str) -> Result<(), IndexError> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(IndexError::Invalid { what: format!("a {what} identifier of {} bytes", id.len()) });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
