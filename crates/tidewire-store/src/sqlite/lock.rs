//! The lock file: one process at a time, and whether the last one ended well.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tidewire_core::StoreError;

use super::error;

/// How often, and how long apart, the lock is tried while this very process holds it: a store that was dropped
/// a moment ago still finishes what it had taken.
const OWN_TRIES: u32 = 100;
const OWN_WAIT: Duration = Duration::from_millis(20);

/// The lock on a directory, held until dropped. The file itself stays: removing a locked file would let two
/// processes lock two different ones of the same name.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

/// What the lock file said when we took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastEnd {
    /// Nobody has been here, or whoever was closed in order.
    Clean,
    /// Somebody was killed, or the machine went down.
    Unclean,
}

impl Lock {
    /// Takes the lock, or says who has it. Blocks for a moment at most.
    pub(super) fn take(path: &Path) -> Result<(Self, LastEnd), StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| error::file("open", path, &error))?;
        let own = std::process::id().to_string();
        let mut tries = 0;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = holder(&mut file);
            if holder != own || tries == OWN_TRIES {
                let dir = path.parent().unwrap_or(path).display();
                return Err(StoreError::Locked(format!("process {holder} has {dir} open; stop it first")));
            }
            tries += 1;
            std::thread::sleep(OWN_WAIT);
        }
        let last = if content(&mut file).contains("open") { LastEnd::Unclean } else { LastEnd::Clean };
        let mut lock = Self { file, path: path.to_owned() };
        lock.write("open")?;
        Ok((lock, last))
    }

    /// Notes that the store was closed in order.
    pub(super) fn mark_clean(&mut self) -> Result<(), StoreError> {
        self.write("closed")
    }

    fn write(&mut self, state: &str) -> Result<(), StoreError> {
        let text = format!("pid {}\n{state}\n", std::process::id());
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(text.as_bytes())?;
            self.file.set_len(text.len() as u64)?;
            self.file.sync_data()
        };
        write().map_err(|error| error::file("write", &self.path, &error))
    }
}

fn content(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be read says nothing; the lock itself does not depend on it.
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(256).read_to_string(&mut text));
    text
}

fn holder(file: &mut File) -> String {
    let text = content(file);
    let pid = text.lines().next().and_then(|line| line.strip_prefix("pid ")).unwrap_or_default();
    if pid.is_empty() { "(unknown)".into() } else { pid.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_how_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.lock");
        let (mut lock, last) = Lock::take(&path).unwrap();
        assert_eq!(last, LastEnd::Clean);
        lock.mark_clean().unwrap();
        drop(lock);
        let (lock, last) = Lock::take(&path).unwrap();
        assert_eq!(last, LastEnd::Clean);
        drop(lock);
        let (_, last) = Lock::take(&path).unwrap();
        assert_eq!(last, LastEnd::Unclean);
    }

    #[test]
    fn names_the_process_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.lock");
        let (_lock, _) = Lock::take(&path).unwrap();
        std::fs::write(&path, "pid 4711\nopen\n").unwrap();
        let refused = Lock::take(&path).unwrap_err();
        assert!(matches!(&refused, StoreError::Locked(text) if text.contains("4711")), "{refused}");
    }
}
