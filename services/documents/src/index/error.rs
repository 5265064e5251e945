use std::path::{Path, PathBuf};

use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenReadError};

/// Why the index did not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Another process has the index open. Stop it, or use another data directory.
    #[error("the index in {} is in use by another process; stop it or choose another data directory", path.display())]
    Locked {
        /// The index's folder.
        path: PathBuf,
    },
    /// The index is damaged. It can be rebuilt: [set it aside](super::Index::set_aside) and put every document again.
    #[error("the index in {} is damaged ({reason}); nothing but the index is lost, and it is rebuilt at the next start", path.display())]
    Corrupt {
        /// The index's folder.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The index was made by another version. Rebuild it as if it were damaged.
    #[error("the index in {} has the form of another version; it is rebuilt at the next start", path.display())]
    Outdated {
        /// The index's folder.
        path: PathBuf,
    },
    /// The folder cannot be used. Check its path and permissions.
    #[error("the index folder {} cannot be used: {reason}", path.display())]
    Folder {
        /// The index's folder.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// What was given cannot be indexed. A mistake of the caller.
    #[error("the index does not accept {what}")]
    Invalid {
        /// What was given.
        what: String,
    },
    /// Reading or writing failed, for example because the disk is full. Try again.
    #[error("the index could not be read or written: {reason}")]
    Storage {
        /// What went wrong.
        reason: String,
    },
}

impl IndexError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "index.locked",
            Self::Corrupt { .. } => "index.corrupt",
            Self::Outdated { .. } => "index.outdated",
            Self::Folder { .. } => "index.folder",
            Self::Invalid { .. } => "index.invalid",
            Self::Storage { .. } => "index.storage",
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Storage { .. })
    }

    pub(crate) fn folder(dir: &Path, error: &std::io::Error) -> Self {
        Self::Folder { path: dir.to_owned(), reason: error.to_string() }
    }

    pub(super) fn of_engine(dir: &Path, error: TantivyError) -> Self {
        let path = dir.to_owned();
        let reason = error.to_string();
        match error {
            TantivyError::LockFailure(LockError::LockBusy, _) => Self::Locked { path },
            TantivyError::IncompatibleIndex(_) | TantivyError::SchemaError(_) => Self::Outdated { path },
            TantivyError::OpenReadError(OpenReadError::IncompatibleIndex(_)) => Self::Outdated { path },
            TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) if is_damage(&io_error) => {
                Self::Corrupt { path, reason }
            }
            TantivyError::IoError(io_error) if is_damage(&io_error) => Self::Corrupt { path, reason },
            TantivyError::DataCorruption(_)
            | TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_))
            | TantivyError::DeserializeError(_)
            | TantivyError::InternalError(_)
            | TantivyError::FieldNotFound(_) => Self::Corrupt { path, reason },
            _ => Self::Storage { reason },
        }
    }
}

/// Files that end too early or hold nonsense do not get better by reading them again.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData)
}
