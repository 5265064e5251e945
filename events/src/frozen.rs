//! The published files: `schemas/<type>/v<N>.json`, `events/fixtures/<type>/v<N>.json`, and the digests of
//! both in `schemas/published.lock`, in the format of `sha256sum`.
//!
//! Other languages read the schemas, and old logs hold data of every version ever, so a published file never
//! changes. The digests are there because a type and its schema are easily changed together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::catalogue::{Entry, catalogue};

/// The digests, below the root of the repository.
pub const LOCK: &str = "schemas/published.lock";

/// What is wrong with the published files; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A new type or version has no file yet.
    #[error(
        "{path} is missing: if this version is new, run `cargo run -p events --example freeze`; otherwise restore the file"
    )]
    Missing {
        /// The file.
        path: String,
    },
    /// A file is not in the lock.
    #[error("{path} is not in {LOCK}: run `cargo run -p events --example freeze`")]
    Unlocked {
        /// The file.
        path: String,
    },
    /// The Rust type no longer says what was published.
    #[error(
        "{path} differs from what the Rust type says, but a published version never changes. Take the change to the \
         type back, or make it version {next}: raise the version, list {version} under `older` with an upcast, and run \
         `cargo run -p events --example freeze`"
    )]
    Differs {
        /// The file.
        path: String,
        /// The version it is of.
        version: u16,
        /// The version to make.
        next: u16,
    },
    /// A published file was edited.
    #[error(
        "{path} was changed after it was published: restore it. A new shape is a new version, with an upcast from this one"
    )]
    Edited {
        /// The file.
        path: String,
    },
    /// A published file was removed.
    #[error("{path} is in {LOCK} but gone: restore it, old events are read with it for ever")]
    Removed {
        /// The file.
        path: String,
    },
    /// A file does not hold JSON.
    #[error("{path} is not JSON: {reason}")]
    NotJson {
        /// The file.
        path: String,
        /// What the parser found.
        reason: String,
    },
}

/// The root of this repository, when the program runs where it was built: tests and `freeze` do.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The path of a schema below the root.
pub fn schema_path(name: &str, version: u16) -> String {
    format!("schemas/{name}/v{version}.json")
}

/// The path of a fixture below the root.
pub fn fixture_path(name: &str, version: u16) -> String {
    format!("events/fixtures/{name}/v{version}.json")
}

/// Compares the published files under `root` with the types and with their digests. Schema files of types
/// that other languages own are compared with their digests only. No findings: all is well.
pub fn check(root: &Path) -> io::Result<Vec<Finding>> {
    let lock = read_lock(root)?;
    let mut findings = Vec::new();
    for entry in catalogue() {
        check_entry(root, entry, &mut findings)?;
    }
    for path in published(root)? {
        let digest = digest(&fs::read(root.join(&path))?);
        match lock.get(&path) {
            None => findings.push(Finding::Unlocked { path }),
            Some(locked) if *locked != digest => findings.push(Finding::Edited { path }),
            Some(_) => {}
        }
    }
    let removed = lock.into_keys().filter(|path| !root.join(path).exists());
    findings.extend(removed.map(|path| Finding::Removed { path }));
    Ok(findings)
}

fn check_entry(root: &Path, entry: &Entry, findings: &mut Vec<Finding>) -> io::Result<()> {
    let (name, current) = (entry.ty.name(), entry.ty.version());
    for version in 1..=current {
        for path in [schema_path(name, version), fixture_path(name, version)] {
            if !root.join(&path).exists() {
                findings.push(Finding::Missing { path });
                continue;
            }
            match serde_json::from_slice::<Value>(&fs::read(root.join(&path))?) {
                Err(error) => findings.push(Finding::NotJson { path, reason: error.to_string() }),
                Ok(found) if path.starts_with("schemas/") && version == current && found != entry.schema => {
                    findings.push(Finding::Differs { path, version, next: version + 1 });
                }
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

/// Writes what new types and versions lack under `root`: schema, fixture and digests. Never overwrites a
/// file. Returns the paths of what was written.
pub fn freeze(root: &Path) -> io::Result<Vec<String>> {
    let mut written = Vec::new();
    for entry in catalogue() {
        let (name, version) = (entry.ty.name(), entry.ty.version());
        for (path, value) in
            [(schema_path(name, version), &entry.schema), (fixture_path(name, version), &entry.example)]
        {
            if write_new(&root.join(&path), value)? {
                written.push(path);
            }
        }
    }
    let mut lock = read_lock(root)?;
    let before = lock.len();
    for path in published(root)? {
        let digest = digest(&fs::read(root.join(&path))?);
        lock.entry(path).or_insert(digest);
    }
    if lock.len() > before {
        let lines: String = lock.iter().map(|(path, digest)| format!("{digest}  {path}\n")).collect();
        fs::write(root.join(LOCK), lines)?;
        written.push(LOCK.to_owned());
    }
    Ok(written)
}

fn write_new(path: &Path, value: &Value) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text)?;
    Ok(true)
}

/// Every schema and fixture under `root`, as paths below it, in order.
fn published(root: &Path) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for folder in ["schemas", "events/fixtures"] {
        for ty in entries(&root.join(folder))?.into_iter().filter(|ty| ty.is_dir()) {
            for file in entries(&ty)?.into_iter().filter(|file| file.extension().is_some_and(|e| e == "json")) {
                let below = file.strip_prefix(root).unwrap_or(&file);
                let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                paths.push(parts.join("/"));
            }
        }
    }
    paths.sort();
    Ok(paths)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(found) => found.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn read_lock(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let text = match fs::read_to_string(root.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let line = |line: &str| line.split_once("  ").map(|(digest, path)| (path.to_owned(), digest.to_owned()));
    Ok(text.lines().filter_map(line).collect())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_files_are_as_published() {
        let findings = check(&repository()).unwrap();
        assert!(findings.is_empty(), "{}", findings.iter().map(|f| format!("\n- {f}")).collect::<String>());
    }

    #[test]
    fn what_is_new_is_written_and_what_is_published_stays() {
        let root = tempfile::tempdir().unwrap();
        let of = |name: &str| schema_path(name, 1);
        // Version 1 of the activity was frozen by an earlier build.
        for path in [schema_path("activity.tracked", 1), fixture_path("activity.tracked", 1)] {
            assert!(check(root.path()).unwrap().contains(&Finding::Missing { path: path.clone() }));
            let to = root.path().join(&path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(repository().join(&path), to).unwrap();
        }
        assert!(freeze(root.path()).unwrap().contains(&of("user.followed")));
        assert_eq!(check(root.path()).unwrap(), []);
        assert_eq!(freeze(root.path()).unwrap(), Vec::<String>::new());

        // The file, and with it the type, changed.
        let path = root.path().join(of("user.followed"));
        let text = fs::read_to_string(&path).unwrap().replace("follower_id", "fan_id");
        fs::write(&path, text).unwrap();
        let findings = check(root.path()).unwrap();
        assert!(findings.contains(&Finding::Edited { path: of("user.followed") }), "{findings:?}");
        assert!(findings.contains(&Finding::Differs { path: of("user.followed"), version: 1, next: 2 }));
        assert!(freeze(root.path()).unwrap().is_empty(), "a published file was overwritten");

        fs::remove_file(&path).unwrap();
        assert!(check(root.path()).unwrap().contains(&Finding::Removed { path: of("user.followed") }));
    }
}
