//! The search index that is live, and the one that is being built beside it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::RwLock;

use crate::index::{Index, IndexError, IndexedDocument};

/// Beside the folder that the index had at first: which folder it has now.
const POINTER: &str = "live";

/// The live index. What is put into it while another one is being built beside it goes into both. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    /// The folder the index had at first.
    root: PathBuf,
    /// Held shared while something is put or removed, so that nothing is on its way when the indexes change.
    now: RwLock<Now>,
}

#[derive(Clone)]
struct Now {
    live: Arc<Index>,
    beside: Option<Arc<Index>>,
}

/// The folder of the live index.
pub fn folder(root: &Path) -> PathBuf {
    let named = fs::read_to_string(pointer(root)).ok();
    let named = named.map(|name| root.with_file_name(name.trim()));
    named.filter(|folder| folder.is_dir()).unwrap_or_else(|| root.to_owned())
}

fn pointer(root: &Path) -> PathBuf {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    root.with_file_name(format!("{name}.{POINTER}"))
}

impl Live {
    /// The index in the [`folder`] that belongs to `root`.
    pub fn new(root: &Path, index: Arc<Index>) -> Self {
        Self(Arc::new(Inner { root: root.to_owned(), now: RwLock::new(Now { live: index, beside: None }) }))
    }

    /// The live one, to be read.
    pub async fn index(&self) -> Arc<Index> {
        self.0.now.read().await.live.clone()
    }

    /// See [`Index::put`].
    pub async fn put(&self, document: IndexedDocument) -> Result<(), IndexError> {
        let now = self.0.now.read().await;
        if let Some(beside) = &now.beside {
            now.live.put(document.clone()).await?;
            return beside.put(document).await;
        }
        now.live.put(document).await
    }

    /// See [`Index::remove`].
    pub async fn remove(&self, id: &str) -> Result<(), IndexError> {
        let now = self.0.now.read().await;
        now.live.remove(id).await?;
        match &now.beside {
            Some(beside) => beside.remove(id).await,
            None => Ok(()),
        }
    }

    /// Begins another one, empty, in a folder of its own. Everything put from here on is in both.
    pub(crate) async fn begin(&self) -> Result<Arc<Index>, IndexError> {
        let mut now = self.0.now.write().await;
        let live = folder(&self.0.root);
        now.beside = None;
        self.sweep(&live);
        let mut number = 2;
        let free = loop {
            let name = self.0.root.file_name().unwrap_or_default().to_string_lossy();
            let folder = self.0.root.with_file_name(format!("{name}~{number}"));
            if folder != live && !folder.exists() {
                break folder;
            }
            number += 1;
        };
        let beside = Arc::new(Index::open(&free)?);
        now.beside = Some(beside.clone());
        Ok(beside)
    }

    /// Gives up the one that is being built.
    pub(crate) async fn give_up(&self) {
        self.0.now.write().await.beside = None;
        self.sweep(&folder(&self.0.root));
    }

    /// Puts the one that was built in the live one's place, if `agreed` says so of both while nothing changes in either.
    pub(crate) async fn swap<T, F, R>(&self, agreed: F) -> Result<T, IndexError>
    where
        F: FnOnce(Arc<Index>, Arc<Index>) -> R,
        R: Future<Output = Result<(bool, T), IndexError>>,
    {
        let mut now = self.0.now.write().await;
        let Some(beside) = now.beside.clone() else {
            return Err(IndexError::Storage { reason: "no index is being built".to_owned() });
        };
        let (agreed, told) = agreed(now.live.clone(), beside.clone()).await?;
        now.beside = None;
        if agreed {
            self.point(beside.dir())?;
            now.live = beside;
        }
        drop(now);
        self.sweep(&folder(&self.0.root));
        Ok(told)
    }

    /// Makes a folder that of the live index, also after a power cut.
    fn point(&self, folder: &Path) -> Result<(), IndexError> {
        let failed = |error: std::io::Error| IndexError::folder(folder, &error);
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = pointer(&self.0.root);
        let new = path.with_extension("new");
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(name.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)
    }

    /// Removes the folders of indexes that are neither live nor about to be. Whoever still reads one has its files open.
    fn sweep(&self, live: &Path) {
        let name = self.0.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(parent) = self.0.root.parent() else { return };
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let path = entry.path();
            let other = entry.file_name().to_string_lossy().into_owned();
            let is_ours = other == name || other.strip_prefix(&name).is_some_and(|rest| rest.starts_with('~'));
            if is_ours
                && path != live
                && let Err(error) = fs::remove_dir_all(&path)
            {
                tracing::debug!(path = %path.display(), %error, "an old search index stays");
            }
        }
    }
}
