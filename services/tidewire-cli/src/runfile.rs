//! `run.json` in the data directory: how a command finds the process that has it open.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The file's name.
const NAME: &str = "run.json";
/// More than this is not ours.
const MAX_BYTES: u64 = 64 * 1024;

/// What a running process says about itself. A hint, not a lock: it outlives a killed process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Its process id.
    pub pid: u32,
    /// Where it answers.
    pub url: String,
    /// Since when.
    pub started: DateTime<Utc>,
    /// The roles it runs.
    pub roles: Vec<String>,
    /// The build.
    pub version: String,
}

impl RunFile {
    /// What `data_dir` says, if it says anything that can be read.
    pub fn read(data_dir: &Path) -> Option<Self> {
        let path = data_dir.join(NAME);
        if std::fs::metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes it, whole or not at all; it is removed when the answer is dropped.
    pub fn publish(&self, data_dir: &Path) -> io::Result<Published> {
        let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
        file.write_all(format!("{:#}\n", serde_json::json!(self)).as_bytes())?;
        let path = data_dir.join(NAME);
        file.persist(&path).map_err(|error| error.error)?;
        Ok(Published { path, pid: self.pid })
    }
}

/// A file that is there for as long as this.
#[derive(Debug)]
pub struct Published {
    path: PathBuf,
    pid: u32,
}

impl Drop for Published {
    fn drop(&mut self) {
        let is_ours = self.path.parent().and_then(RunFile::read).is_some_and(|found| found.pid == self.pid);
        if is_ours {
            // Left behind it does no harm: nobody answers at its address.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_while_the_process_is_and_never_half_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunFile::read(dir.path()), None);
        let file = |pid| RunFile {
            pid,
            url: "http://127.0.0.1:4500".into(),
            started: DateTime::UNIX_EPOCH,
            roles: vec!["gateway".into()],
            version: "0.1.0".into(),
        };
        let first = file(1).publish(dir.path()).unwrap();
        assert_eq!(RunFile::read(dir.path()), Some(file(1)));
        let second = file(2).publish(dir.path()).unwrap();
        drop(first);
        assert_eq!(RunFile::read(dir.path()), Some(file(2)), "the successor's file stays");
        drop(second);
        assert_eq!(RunFile::read(dir.path()), None);
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        assert_eq!(RunFile::read(dir.path()), None);
    }
}
