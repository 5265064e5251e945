//! One process per directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use tidewire_core::BrokerError;

use super::error::from_io;

/// Holds the directory for this process until dropped. The system lets go of it however the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file at `path`, or says who has it ([`BrokerError::Locked`]).
    pub(super) fn take(path: &Path) -> Result<Self, BrokerError> {
        let what = path.display().to_string();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| from_io(&what, &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() { "another process".into() } else { format!("process {holder}") };
                return Err(BrokerError::Locked(format!("{who} holds {what}")));
            }
            Err(error) => return Err(from_io(&what, &error.into())),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|error| from_io(&what, &error))?;
        Ok(Self { _file: file })
    }
}
