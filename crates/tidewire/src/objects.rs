//! Originals and their derivatives in an object store: a local folder by default, a bucket where several machines share it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};

use crate::config::ObjectsConfig;

/// The largest object that is stored or read, in bytes (64 MiB): they are held in memory whole.
pub const MAX_OBJECT_BYTES: u64 = 64 * 1024 * 1024;

/// The longest key, in bytes: file systems allow 255 per part, and temporary names need a suffix.
pub const MAX_KEY_BYTES: usize = 200;

/// The most keys one [`Objects::list`] returns.
pub const MAX_LISTED: usize = 10_000;

/// How long one request to a bucket may take: the largest object over a slow line.
const S3_TIMEOUT: Duration = Duration::from_secs(30);

/// How long connecting to a bucket may take: who does not answer by then is away.
const S3_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Repeats of one request within a call. The caller repeats as well, later and counted, so these only bridge what
/// passes by itself.
const S3_RETRIES: usize = 3;

/// How long a call may go on repeating.
const S3_PATIENCE: Duration = Duration::from_secs(10);

/// Why the object store did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectsError {
    /// The address names a store of an unknown sort. Change the address.
    #[error(
        "unsupported scheme {scheme:?} in the object store's address; give a folder, file:///path or s3://bucket/prefix"
    )]
    UnsupportedScheme {
        /// The scheme found.
        scheme: String,
    },
    /// The bucket's address or its settings cannot be used. Correct them.
    #[error("the bucket {bucket:?} cannot be used: {reason}")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// What is wrong.
        reason: String,
    },
    /// The object store refuses who we are or what we may. Correct `objects.access_key`, `objects.secret_key` or the
    /// rights of their owner; trying again does not help.
    #[error("the object store refuses {key}: {source}")]
    Denied {
        /// The key in question.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// The address cannot be read at all. Correct it.
    #[error("{0:?} is not a folder, a file:// or an s3:// address")]
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

    /// Opens the store the configuration names (`objects.url`). A bucket is not asked yet: one that cannot be reached
    /// fails the first call instead.
    ///
    /// # Errors
    /// As [`Objects::open`], or [`ObjectsError::Bucket`].
    pub fn from_config(config: &crate::config::Config) -> Result<Self, ObjectsError> {
        match config.objects_dir() {
            Some(dir) => Self::open(&dir.to_string_lossy()),
            None if config.objects.url.scheme() == "s3" => Self::bucket(&config.objects),
            None => Self::open(config.objects.url.expose()),
        }
    }

    /// Opens a bucket of S3, or of a server that speaks its protocol.
    fn bucket(config: &ObjectsConfig) -> Result<Self, ObjectsError> {
        let (bucket, prefix) = config
            .url
            .rest()
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or((config.url.rest().trim_start_matches('/'), ""));
        let unusable = |reason: String| ObjectsError::Bucket { bucket: bucket.to_owned(), reason };
        if bucket.is_empty() {
            return Err(unusable("objects.url names none; write s3://bucket or s3://bucket/prefix".into()));
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|error| unusable(error.to_string()))?;
        let endpoint = config.endpoint.expose();
        let patience =
            RetryConfig { max_retries: S3_RETRIES, retry_timeout: S3_PATIENCE, backoff: BackoffConfig::default() };
        let client = ClientOptions::new()
            .with_timeout(S3_TIMEOUT)
            .with_connect_timeout(S3_CONNECT_TIMEOUT)
            // Said in the configuration, by the scheme of the endpoint.
            .with_allow_http(endpoint.starts_with("http://"));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&config.region)
            .with_retry(patience)
            .with_client_options(client);
        if !endpoint.is_empty() {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        // Without keys the machine's own identity is asked for, as everywhere at this provider.
        if !config.access_key.is_empty() {
            builder = builder
                .with_access_key_id(config.access_key.expose())
                .with_secret_access_key(config.secret_key.expose());
        }
        let store = builder.build().map_err(|error| unusable(error.to_string()))?;
        Ok(Self { store: Arc::new(PrefixStore::new(store, prefix)) })
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
        Some((scheme, _)) => Err(ObjectsError::UnsupportedScheme { scheme: scheme.to_owned() }),
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
        source @ (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => {
            ObjectsError::Denied { key: key.to_string(), source }
        }
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
        assert!(matches!(folder("gopher://x"), Err(ObjectsError::UnsupportedScheme { .. })));
    }

    #[test]
    fn a_bucket_that_cannot_be_is_told_at_once() {
        crate::install_tls();
        let open = |url| Objects::from_config(&crate::config::Config::with([("objects.url", url)]).unwrap());
        assert!(open("s3://bucket/some/prefix").is_ok());
        assert!(open("s3://bucket").is_ok());
        let told = open("s3://bucket/a//b").map(drop).unwrap_err();
        assert!(matches!(told, ObjectsError::Bucket { .. }), "{told}");
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
