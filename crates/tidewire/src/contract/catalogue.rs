//! Whole catalogues: every type, every version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::inclusion::{Break, breaks};
use super::mode::Mode;

/// The largest schema that is read, in bytes.
pub const MAX_SCHEMA_BYTES: u64 = 1 << 20;

/// Event types with the schema of each of their versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    types: BTreeMap<String, BTreeMap<u16, Value>>,
}

/// Why a catalogue cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueError {
    /// The file.
    pub place: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for CatalogueError {}

impl Catalogue {
    /// Adds a version of a type.
    pub fn insert(&mut self, name: impl Into<String>, version: u16, schema: Value) {
        self.types.entry(name.into()).or_default().insert(version, schema);
    }

    /// Adds `text`, found at `place`, if that is `<type>/v<N>.json` below any folder. Whether it was.
    pub fn read(&mut self, place: &str, text: &[u8]) -> Result<bool, CatalogueError> {
        let mut steps = place.rsplit('/');
        let (file, name) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
        let version = file.strip_prefix('v').and_then(|file| file.strip_suffix(".json"));
        let version = version.filter(|number| *number == "0" || !number.starts_with('0')).and_then(|n| n.parse().ok());
        let failed = |reason: String| CatalogueError { place: place.to_owned(), reason };
        let numbered =
            file.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
        let (Some(version), false) = (version, name.is_empty()) else {
            return match numbered {
                true => {
                    Err(failed("no version: files are called v1.json, v2.json and so on, up to v65535.json".into()))
                }
                false => Ok(false),
            };
        };
        let schema: Value = serde_json::from_slice(text).map_err(|error| failed(format!("not JSON: {error}")))?;
        if !schema.is_object() && !schema.is_boolean() {
            return Err(failed("not a JSON Schema: neither an object nor a boolean".into()));
        }
        self.insert(name, version, schema);
        Ok(true)
    }

    /// The catalogue in a folder of `<type>/v<N>.json`. Fails with the first file that cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Self, CatalogueError> {
        let (catalogue, errors) = Self::gather(folder);
        errors.into_iter().next().map_or(Ok(catalogue), Err)
    }

    /// What can be read of a folder of `<type>/v<N>.json`, and why the rest cannot.
    pub fn gather(folder: &Path) -> (Self, Vec<CatalogueError>) {
        let (mut catalogue, mut errors) = (Self::default(), Vec::new());
        for ty in listed(folder, &mut errors).into_iter().filter(|path| path.is_dir()) {
            for file in listed(&ty, &mut errors).into_iter().filter(|path| path.is_file()) {
                let place = file.display().to_string();
                if let Err(error) = bounded(&file).and_then(|text| catalogue.read(&place, &text)) {
                    errors.push(error);
                }
            }
        }
        (catalogue, errors)
    }

    /// Every type with its versions.
    pub fn types(&self) -> &BTreeMap<String, BTreeMap<u16, Value>> {
        &self.types
    }

    /// The schema of a version.
    pub fn schema(&self, name: &str, version: u16) -> Option<&Value> {
        self.types.get(name)?.get(&version)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }
}

fn unreadable(place: &Path, reason: impl fmt::Display) -> CatalogueError {
    CatalogueError { place: place.display().to_string(), reason: reason.to_string() }
}

/// What is in a folder, by name.
fn listed(folder: &Path, errors: &mut Vec<CatalogueError>) -> Vec<PathBuf> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut found =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        found.sort();
        Ok(found)
    };
    read().map_err(|error| errors.push(unreadable(folder, error))).unwrap_or_default()
}

/// The text of a file that is not too large.
fn bounded(file: &Path) -> Result<Vec<u8>, CatalogueError> {
    let size = std::fs::metadata(file).map_err(|error| unreadable(file, error))?.len();
    if size > MAX_SCHEMA_BYTES {
        return Err(unreadable(file, format!("{size} bytes; at most {MAX_SCHEMA_BYTES} are read")));
    }
    std::fs::read(file).map_err(|error| unreadable(file, error))
}

/// A place where the new catalogue breaks whoever relied on the published one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The type, without its version.
    #[serde(rename = "type")]
    pub name: String,
    /// The version that was published or came before.
    pub from: u16,
    /// The version it is compared with; absent where it is gone.
    pub to: Option<u16>,
    /// Which way it breaks: `removed`, `changed`, `backward` or `forward`.
    pub rule: &'static str,
    /// Where and how.
    #[serde(flatten)]
    pub broken: Break,
}

/// What breaks between a published catalogue and a new one, under `mode`:
///
/// - a published version that is gone, whatever the mode (unless it is `none`): events of it are in logs for ever;
/// - a published version whose schema is another now: compared both ways, since its writers and its readers are out
///   there already;
/// - each version of the new catalogue against the one before it (or, in a transitive mode, all before it). Where
///   `is_upcast` says that events of a version are brought up to the next before they are read, the new need not read
///   the old itself.
pub fn compare(
    published: &Catalogue,
    new: &Catalogue,
    mode: Mode,
    is_upcast: impl Fn(&str, u16) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if mode == Mode::None {
        return findings;
    }
    for (name, versions) in published.types() {
        for (version, schema) in versions {
            match new.schema(name, *version) {
                None => findings.push(removed(name, *version)),
                Some(now) => changed(name, *version, schema, now, &mut findings),
            }
        }
    }
    let names: BTreeSet<&String> = new.types().keys().collect();
    for name in names {
        let mut all = published.types().get(name).cloned().unwrap_or_default();
        all.extend(new.types()[name].clone());
        evolved(name, &all, mode, &is_upcast, &mut findings);
    }
    findings
}

fn removed(name: &str, version: u16) -> Finding {
    let broken = Break {
        path: String::new(),
        rule: "removed",
        what: "it was published and is gone; events of it are in logs, and consumers know it".into(),
    };
    Finding { name: name.to_owned(), from: version, to: None, rule: "removed", broken }
}

fn changed(name: &str, version: u16, before: &Value, now: &Value, findings: &mut Vec<Finding>) {
    let mut both = breaks(now, before);
    both.extend(breaks(before, now));
    both.dedup();
    findings.extend(both.into_iter().map(|broken| Finding {
        name: name.to_owned(),
        from: version,
        to: Some(version),
        rule: "changed",
        broken,
    }));
}

fn evolved(
    name: &str,
    versions: &BTreeMap<u16, Value>,
    mode: Mode,
    is_upcast: &impl Fn(&str, u16) -> bool,
    findings: &mut Vec<Finding>,
) {
    let versions: Vec<(&u16, &Value)> = versions.iter().collect();
    for (index, (to, newer)) in versions.iter().enumerate() {
        let first = if mode.is_transitive() { 0 } else { index.saturating_sub(1) };
        for (from, older) in &versions[first..index] {
            let mut add = |rule: &'static str, broken: Vec<Break>| {
                findings.extend(broken.into_iter().map(|broken| Finding {
                    name: name.to_owned(),
                    from: **from,
                    to: Some(**to),
                    rule,
                    broken,
                }));
            };
            if mode.is_backward() && !is_upcast(name, **from) {
                add("backward", breaks(newer, older));
            }
            if mode.is_forward() {
                add("forward", breaks(older, newer));
            }
        }
    }
}
