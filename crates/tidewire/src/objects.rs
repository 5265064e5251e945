//! Originals and their derivatives in an object store: a local folder by default.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

/// The largest object that is stored or read, in bytes (64 MiB): they are held in memory whole.
pub const MAX_OBJECT_BYTES: u64 = 64 * 1024 * 1024;

/// The longest key, in bytes: file systems allow 255 per part, and temporary names need a suffix.
pub const MAX_KEY_BYTES: usize = 200;

/// The most keys one [`Objects::list`] returns.
pub const MAX_LISTED: usize = 10_000;

/// Why the object store did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectsError {
    /// The address names a store this program was not built for. Change the address or the build.
    #[error("unsupported scheme {scheme:?} in the object store's address; {advice}")]
    UnsupportedScheme {
        /// The scheme found.
        scheme: String,
        /// What to do.
        advice: &'static str,
    },
    /// The address cannot be read at all. Correct it.
    #[error("{0:?} is not a folder or file:// address")]
    InvalidAddress(String),
    /// The folder cannot be made or opened. Check its path and permissions.
    #[error("the object folder {} cannot be opened: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The key could escape the store or is not portable. A mistake of the caller.
    #[error(
        "{key:?} is not an object key: use parts of a-z, A-Z, 0-9, '.', '_' and '-', joined by '/', {MAX_KEY_BYTES} bytes at most"
    )]
    InvalidKey {
        /// The key refused.
        key: String,
    },
    /// The object is larger than the limit. Split it.
    #[error("the object {key} has {bytes} bytes, more than the limit of {MAX_OBJECT_BYTES}")]
    TooLarge {
        /// Its key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// There are more objects than one list may hold. Ask for a narrower prefix.
    #[error("more than {MAX_LISTED} objects begin with {prefix:?}")]
    TooMany {
        /// The prefix asked for.
        prefix: String,
    },
    /// No object has this key.
    #[error("there is no object {key}")]
    NotFound {
        /// The key asked for.
        key: String,
    },
    /// The store failed. Try again; if it goes on, look at the disk or network.
    #[error("the object store failed on {key}: {source}")]
    Storage {
        /// The key in question.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
}

impl ObjectsError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Storage { .. })
    }
}

/// The name of an object that cannot leave the store: `documents/<id>/original`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`ObjectsError::InvalidKey`] if a part is empty, begins with a dot, or has other characters than
    /// letters, digits, `.`, `_` and `-` of ASCII, or if the whole is longer than [`MAX_KEY_BYTES`].
    pub fn new(key: impl Into<String>) -> Result<Self, ObjectsError> {
        let key = key.into();
        let portable = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        if key.len() <= MAX_KEY_BYTES && key.split('/').all(portable) {
            Ok(Self(key))
        } else {
            Err(ObjectsError::InvalidKey { key })
        }
    }

    /// Where a document's original is kept.
    ///
    /// # Errors
    /// [`ObjectsError::InvalidKey`] if the identifier is not one part of a key.
    pub fn original(document: &str) -> Result<Self, ObjectsError> {
        Self::of_document(document, "original")
    }

    /// Where something derived from a document is kept: `documents/<id>/<name>`.
    ///
    /// # Errors
    /// [`ObjectsError::InvalidKey`] if either is not one part of a key.
    pub fn of_document(document: &str, name: &str) -> Result<Self, ObjectsError> {
        if document.contains('/') || name.contains('/') {
            return Err(ObjectsError::InvalidKey { key: format!("documents/{document}/{name}") });
        }
        Self::new(format!("documents/{document}/{name}"))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object store. Cloning is cheap.
///
/// Writers of the same key do not mix: readers see one whole object or another.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    /// Opens the store at an address: a folder's path or `file:///…`. The folder is made if need be.
    ///
    /// # Errors
    /// [`ObjectsError::UnsupportedScheme`], [`ObjectsError::InvalidAddress`] or [`ObjectsError::Folder`].
    pub fn open(address: &str) -> Result<Self, ObjectsError> {
        let path = folder(address)?;
        let failed = |source| ObjectsError::Folder { path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(failed)?;
        let store = LocalFileSystem::new_with_prefix(&path)
            .map_err(|error| failed(std::io::Error::other(error)))?
            // Without it a power cut can leave an empty file under the final name.
            .with_fsync(true);
        Ok(Self { store: Arc::new(store) })
    }

    /// Opens the store the configuration names (`objects.url`).
    ///
    /// # Errors
    /// As [`Objects::open`].
    pub fn from_config(config: &crate::config::Config) -> Result<Self, ObjectsError> {
        match config.objects_dir() {
            Some(dir) => Self::open(&dir.to_string_lossy()),
            None => Self::open(config.objects.url.expose()),
        }
    }

    /// Stores an object, replacing one of the same key. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// [`ObjectsError::TooLarge`] or [`ObjectsError::Storage`].
    pub async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), ObjectsError> {
        check_size(key, bytes.len() as u64)?;
        self.store.put(&path(key), PutPayload::from_bytes(bytes)).await.map(drop).map_err(|source| storage(key, source))
    }

    /// Reads an object whole.
    ///
    /// # Errors
    /// [`ObjectsError::NotFound`], [`ObjectsError::TooLarge`] or [`ObjectsError::Storage`].
    pub async fn get(&self, key: &ObjectKey) -> Result<Bytes, ObjectsError> {
        let found = self.store.get(&path(key)).await.map_err(|source| storage(key, source))?;
        check_size(key, found.meta.size)?;
        found.bytes().await.map_err(|source| storage(key, source))
    }

    /// Deletes an object. Deleting one that is not there succeeds, so that an undo can be repeated.
    ///
    /// # Errors
    /// [`ObjectsError::Storage`].
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectsError> {
        match self.store.delete(&path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(storage(key, source)),
        }
    }

    /// Whether there is an object of this key.
    ///
    /// # Errors
    /// [`ObjectsError::Storage`].
    pub async fn exists(&self, key: &ObjectKey) -> Result<bool, ObjectsError> {
        match self.store.head(&path(key)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(storage(key, source)),
        }
    }

    /// The keys below a prefix (whole parts, such as `documents/<id>`; empty for all) with their sizes in
    /// bytes, in order of their names. Objects being written are not among them.
    ///
    /// # Errors
    /// [`ObjectsError::InvalidKey`], [`ObjectsError::TooMany`] or [`ObjectsError::Storage`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<(ObjectKey, u64)>, ObjectsError> {
        let below = if prefix.is_empty() { None } else { Some(ObjectKey::new(prefix)?) };
        let below_path = below.as_ref().map(path);
        let mut found = self.store.list(below_path.as_ref());
        let mut keys = Vec::new();
        let failed = |source| ObjectsError::Storage { key: prefix.to_owned(), source };
        while let Some(meta) = found.try_next().await.map_err(failed)? {
            if keys.len() == MAX_LISTED {
                return Err(ObjectsError::TooMany { prefix: prefix.to_owned() });
            }
            // Files that others put into the folder are not objects.
            if let Ok(key) = ObjectKey::new(meta.location.as_ref()) {
                keys.push((key, meta.size));
            }
        }
        keys.sort();
        Ok(keys)
    }
}

fn folder(address: &str) -> Result<PathBuf, ObjectsError> {
    let invalid = || ObjectsError::InvalidAddress(address.to_owned());
    match address.split_once("://") {
        None if address.trim().is_empty() || address.contains('\0') => Err(invalid()),
        None => Ok(PathBuf::from(address)),
        Some(("file", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(("file", _)) => Err(invalid()),
        Some((scheme, _)) => {
            let advice = if scheme == "s3" {
                "build with feature s3, or give a folder"
            } else {
                "give a folder or file:///path"
            };
            Err(ObjectsError::UnsupportedScheme { scheme: scheme.to_owned(), advice })
        }
    }
}

fn path(key: &ObjectKey) -> Path {
    Path::from(key.as_str())
}

fn check_size(key: &ObjectKey, bytes: u64) -> Result<(), ObjectsError> {
    if bytes > MAX_OBJECT_BYTES { Err(ObjectsError::TooLarge { key: key.to_string(), bytes }) } else { Ok(()) }
}

fn storage(key: &ObjectKey, source: object_store::Error) -> ObjectsError {
    match source {
        object_store::Error::NotFound { .. } => ObjectsError::NotFound { key: key.to_string() },
        source => ObjectsError::Storage { key: key.to_string(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_the_store() {
        for id in
            ["", ".", "..", "../x", "a/b", "a\\b", "a b", "ä", "a\0", "%2e%2e", ".hidden", "a#1", &"x".repeat(300)]
        {
            assert!(matches!(ObjectKey::original(id), Err(ObjectsError::InvalidKey { .. })), "{id:?}");
        }
        assert_eq!(ObjectKey::original("0192-Ab_c.d").unwrap().as_str(), "documents/0192-Ab_c.d/original");
    }

    #[test]
    fn addresses() {
        for (address, want) in [("data/objects", "data/objects"), ("/a/b", "/a/b"), ("file:///a/b", "/a/b")] {
            assert_eq!(folder(address).unwrap(), PathBuf::from(want));
        }
        for address in ["", " ", "file://host/a", "a\0b"] {
            assert!(matches!(folder(address), Err(ObjectsError::InvalidAddress(_))), "{address:?}");
        }
        let error = folder("s3://bucket/prefix").unwrap_err().to_string();
        assert!(error.contains("unsupported scheme") && error.contains("build with feature s3"), "{error}");
        assert!(matches!(folder("gopher://x"), Err(ObjectsError::UnsupportedScheme { .. })));
    }

    #[tokio::test]
    async fn what_is_put_is_there_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().join("made/here");
        let objects = Objects::open(address.to_str().unwrap()).unwrap();
        let key = ObjectKey::original("d1").unwrap();
        assert!(matches!(objects.get(&key).await, Err(ObjectsError::NotFound { .. })));
        assert!(!objects.exists(&key).await.unwrap());
        assert_eq!(objects.list("").await.unwrap(), []);

        objects.put(&key, Bytes::from_static(b"one")).await.unwrap();
        objects.put(&key, Bytes::from_static(b"twice")).await.unwrap();
        let text = ObjectKey::of_document("d1", "text").unwrap();
        objects.put(&text, Bytes::new()).await.unwrap();
        objects.put(&ObjectKey::original("d10").unwrap(), Bytes::new()).await.unwrap();

        let again = Objects::open(address.to_str().unwrap()).unwrap();
        assert_eq!(again.get(&key).await.unwrap(), "twice");
        assert_eq!(again.get(&text).await.unwrap(), "");
        assert!(again.exists(&key).await.unwrap());
        assert_eq!(again.list("documents/d1").await.unwrap(), [(key.clone(), 5), (text.clone(), 0)]);
        assert!(matches!(again.list("../x").await, Err(ObjectsError::InvalidKey { .. })));

        again.delete(&key).await.unwrap();
        again.delete(&key).await.unwrap();
        assert!(!objects.exists(&key).await.unwrap());
    }

    #[tokio::test]
    async fn too_large_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(dir.path().to_str().unwrap()).unwrap();
        let key = ObjectKey::original("d1").unwrap();
        let bytes = Bytes::from(vec![0; usize::try_from(MAX_OBJECT_BYTES).unwrap() + 1]);
        assert!(matches!(objects.put(&key, bytes).await, Err(ObjectsError::TooLarge { .. })));
        assert!(!objects.exists(&key).await.unwrap());
    }
}
