//! Promises about the house itself: its floors, its map, its words.

mod codes;
mod deploy;
mod floors;
mod map;
mod words;

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_path_buf()
}
