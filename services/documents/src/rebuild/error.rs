use tidewire::StoreError;
use tidewire::objects::ObjectsError;

use crate::index::IndexError;

/// Why a rebuild cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl RebuildError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Objects(_) => "objects.unavailable",
            Self::Index(error) => error.code(),
        }
    }

    /// Whether it may go on later by itself.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Objects(error) => error.is_transient(),
            // A folder that cannot be written now may be after its disk was given room.
            Self::Index(error) => error.is_transient() || matches!(error, IndexError::Folder { .. }),
        }
    }
}
