//! Finding documents in folders nobody prepared.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How deep folders may nest: deeper is a loop of mounts, not a library.
const MAX_DEPTH: usize = 128;
/// How many files are named; beyond, they are only counted.
const MAX_NAMED: usize = 100_000;
/// How many different file types are told apart.
const MAX_TYPES: usize = 200;

/// A document to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its size when it was found.
    pub bytes: u64,
    /// What its name says it is.
    pub media_type: &'static str,
}

/// A file that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Where it is.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Files of types nobody extracts text from, counted by type.
    pub types: BTreeMap<String, u64>,
    /// Hidden files and folders.
    pub hidden: u64,
    /// Symbolic links: what they point to is found where it is.
    pub links: u64,
    /// Files over the limit, unreadable ones, and what is no file at all.
    pub files: Vec<Named>,
    /// How many of `files` are not listed.
    pub more: u64,
}

impl Skipped {
    /// How many were left out.
    pub fn total(&self) -> u64 {
        self.types.values().sum::<u64>() + self.hidden + self.links + self.files.len() as u64 + self.more
    }

    fn name(&mut self, path: &Path, reason: impl Into<String>) {
        if self.files.len() < MAX_NAMED {
            self.files.push(Named { path: path.display().to_string(), reason: reason.into() });
        } else {
            self.more += 1;
        }
    }

    fn count_type(&mut self, path: &Path) {
        let mut ty = path
            .extension()
            .map_or_else(|| "(none)".into(), |ext| format!(".{}", ext.to_string_lossy().to_lowercase()));
        if !self.types.contains_key(&ty) && self.types.len() >= MAX_TYPES {
            ty = "(other)".into();
        }
        *self.types.entry(ty).or_default() += 1;
    }
}

/// The media type of a file by its name, for the types text is extracted from.
pub fn media_type(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "pdf" => "application/pdf",
        "html" | "htm" | "xhtml" => "text/html",
        "md" | "markdown" => "text/markdown",
        "txt" => "text/plain",
        _ => return None,
    })
}

/// Calls `take` for every document under `roots`, in order of their names, until it breaks. Holds the names of
/// one folder per level and nothing of any file.
pub fn walk(roots: &[PathBuf], max_bytes: u64, take: &mut impl FnMut(Found) -> ControlFlow<()>) -> Skipped {
    let mut skipped = Skipped::default();
    for root in roots {
        // Somebody named it: a link is followed here, and here only.
        let step = match fs::metadata(root) {
            Err(error) => {
                skipped.name(root, error.to_string());
                ControlFlow::Continue(())
            }
            Ok(meta) if meta.is_dir() => folder(root.clone(), max_bytes, take, &mut skipped),
            Ok(meta) => file(root.clone(), &meta, max_bytes, take, &mut skipped),
        };
        if step.is_break() {
            break;
        }
    }
    skipped
}

fn folder(
    root: PathBuf,
    max_bytes: u64,
    take: &mut impl FnMut(Found) -> ControlFlow<()>,
    skipped: &mut Skipped,
) -> ControlFlow<()> {
    let mut levels = vec![entries(&root, skipped)];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.next() else {
            levels.pop();
            continue;
        };
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            skipped.hidden += 1;
            continue;
        }
        // Of the link itself: following links inside a folder leads in circles.
        match entry.metadata() {
            Err(error) => skipped.name(&path, error.to_string()),
            Ok(meta) if meta.is_symlink() => skipped.links += 1,
            Ok(meta) if meta.is_dir() && levels.len() >= MAX_DEPTH => {
                skipped.name(&path, format!("nested deeper than {MAX_DEPTH} folders"));
            }
            Ok(meta) if meta.is_dir() => {
                let level = entries(&path, skipped);
                levels.push(level);
            }
            Ok(meta) => file(path, &meta, max_bytes, take, skipped)?,
        }
    }
    ControlFlow::Continue(())
}

fn entries(dir: &Path, skipped: &mut Skipped) -> std::vec::IntoIter<DirEntry> {
    let mut found = Vec::new();
    match fs::read_dir(dir) {
        Err(error) => skipped.name(dir, error.to_string()),
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) => found.push(entry),
                    Err(error) => skipped.name(dir, error.to_string()),
                }
            }
        }
    }
    found.sort_by_key(DirEntry::file_name);
    found.into_iter()
}

fn file(
    path: PathBuf,
    meta: &fs::Metadata,
    max_bytes: u64,
    take: &mut impl FnMut(Found) -> ControlFlow<()>,
    skipped: &mut Skipped,
) -> ControlFlow<()> {
    if !meta.is_file() {
        skipped.name(&path, "neither a file nor a folder");
        return ControlFlow::Continue(());
    }
    let Some(media_type) = media_type(&path) else {
        skipped.count_type(&path);
        return ControlFlow::Continue(());
    };
    if meta.len() > max_bytes {
        let (size, limit) = (crate::output::text::bytes(meta.len()), crate::output::text::bytes(max_bytes));
        skipped.name(&path, format!("{size}, more than the limit of {limit} (http.document_limit)"));
        return ControlFlow::Continue(());
    }
    take(Found { path, bytes: meta.len(), media_type })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, bytes: usize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; bytes]).unwrap();
    }

    #[test]
    fn takes_documents_in_order_and_accounts_for_everything_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, bytes) in [
            ("b/deep/er/x.TXT", 1),
            ("a.md", 2),
            ("c.pdf", 3),
            ("d.gz", 4),
            ("LICENSE", 5),
            ("e.html", 500),
            (".git/f.md", 6),
        ] {
            write(&at(name), bytes);
        }
        std::os::unix::fs::symlink(dir.path(), at("loop")).unwrap();
        let mut found = Vec::new();
        let roots = [dir.path().to_owned(), at("a.md"), at("missing")];
        let skipped = walk(&roots, 100, &mut |document| {
            found.push((document.path.strip_prefix(dir.path()).unwrap().display().to_string(), document.media_type));
            ControlFlow::Continue(())
        });
        let expected = [
            ("a.md", "text/markdown"),
            ("b/deep/er/x.TXT", "text/plain"),
            ("c.pdf", "application/pdf"),
            ("a.md", "text/markdown"),
        ];
        assert_eq!(found, expected.map(|(name, ty)| (name.to_owned(), ty)));
        assert_eq!(skipped.types, BTreeMap::from([("(none)".into(), 1), (".gz".into(), 1)]));
        assert_eq!((skipped.hidden, skipped.links, skipped.files.len()), (1, 1, 2), "{skipped:?}");
        assert!(skipped.files[0].reason.contains("more than the limit of 100 B"), "{skipped:?}");
        assert!(skipped.files[1].path.ends_with("missing"), "{skipped:?}");
        assert_eq!(skipped.total(), 6);
    }

    #[test]
    fn stops_when_told_to() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..5 {
            write(&dir.path().join(format!("{n}.txt")), 1);
        }
        let mut taken = 0;
        walk(&[dir.path().to_owned()], 100, &mut |_| {
            taken += 1;
            if taken == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(taken, 2);
    }
}
