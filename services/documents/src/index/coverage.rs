use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Beside the engine's files, so that it shares their fate.
const FILE: &str = "coverage.json";
const NEW_FILE: &str = "coverage.json.new";

/// How much of what it ought to hold an index holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "coverage", rename_all = "snake_case")]
pub enum Coverage {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// A rebuild has begun and not ended.
    Rebuilding {
        /// Which one.
        rebuild: String,
    },
    /// Everything.
    Whole,
    /// Its files are damaged: it must not be used any more.
    Damaged {
        /// What was found.
        reason: String,
    },
}

impl Coverage {
    /// What a folder says. Where it says nothing that can be read, another look does no harm.
    pub(super) fn read(dir: &Path) -> Self {
        let said = fs::read(dir.join(FILE)).ok();
        said.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Writes it into a folder, durably.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let mut file = File::create(dir.join(NEW_FILE))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(dir.join(NEW_FILE), dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }
}
