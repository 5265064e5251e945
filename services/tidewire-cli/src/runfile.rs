//! `run.json` in the data directory: how a command finds the process that answers for it.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::args::Role;

/// The file's name.
const NAME: &str = "run.json";
/// How long the process of another file may take to accept a connection on this machine.
const LIVE_PATIENCE: Duration = Duration::from_millis(500);
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

    /// Whether the process answers operators.
    pub fn answers_operators(&self) -> bool {
        Role::ALL.iter().any(|role| role.answers_operators() && self.roles.iter().any(|name| name == role.name()))
    }

    /// The address as `host:port`.
    pub fn address(&self) -> Option<&str> {
        self.url.strip_prefix("http://")
    }

    /// Whether something accepts connections at its address.
    fn is_live(&self) -> bool {
        let addresses = self.address().and_then(|address| address.to_socket_addrs().ok());
        addresses.into_iter().flatten().any(|address| TcpStream::connect_timeout(&address, LIVE_PATIENCE).is_ok())
    }

    /// As [`publish`](Self::publish), unless another process that is alive stands there already and this one has no
    /// gateway: several processes on shared backends may use one data directory, and commands look for the one
    /// that answers them.
    pub fn publish_beside(&self, data_dir: &Path) -> io::Result<Option<Published>> {
        let is_taken = || Self::read(data_dir).is_some_and(|other| other.pid != self.pid && other.is_live());
        if !self.answers_operators() && is_taken() { Ok(None) } else { self.publish(data_dir).map(Some) }
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
    fn beside_others_the_gateway_is_the_one_to_be_found() {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let file = |pid, role: &str| RunFile {
            pid,
            url: url.clone(),
            started: DateTime::UNIX_EPOCH,
            roles: vec![role.into()],
            version: "0.1.0".into(),
        };
        let first = file(1, "social").publish_beside(dir.path()).unwrap();
        assert!(first.is_some() && file(2, "analytics").publish_beside(dir.path()).unwrap().is_none());
        let gateway = file(3, "gateway").publish_beside(dir.path()).unwrap();
        assert_eq!(RunFile::read(dir.path()), Some(file(3, "gateway")));
        drop(first);
        assert_eq!(RunFile::read(dir.path()), Some(file(3, "gateway")));
        // A file of a process that is gone is in nobody's way.
        drop(listener);
        let next = file(4, "social").publish_beside(dir.path()).unwrap();
        assert!(next.is_some());
        drop(gateway);
        assert_eq!(RunFile::read(dir.path()), Some(file(4, "social")));
    }

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
