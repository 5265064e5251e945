//! What each backend can do, as a page that the tests keep true: `crates/tidewire/docs/backends.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::environment;

/// Set to write the page anew instead of comparing with it.
const WRITE: &str = "TIDEWIRE_WRITE_TABLES";

const HEAD: &str = "# What each backend can do

Both ports have one suite of cases that every backend must pass, on real servers
(`crates/tidewire-store/src/conformance`, `crates/tidewire-broker/src/conformance`). What differs is declared by the
backend and stands in the upper rows; each lower row is a case of the suite. The tests that run the suite write this
page when `TIDEWIRE_WRITE_TABLES=1` is set, and otherwise fail where it is not what they saw.
";

/// Compares what a test saw of a backend with its column on the page, or writes it. `cells` are the rows in order: what
/// is promised, and what the backend does.
///
/// # Panics
///
/// When a cell differs, naming it.
pub fn keep(port: &str, backend: &str, cells: &[(String, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/tidewire/docs/backends.md");
    if environment::existing(WRITE).is_some() {
        return write(&path, port, backend, cells);
    }
    let page = Page::read(&std::fs::read_to_string(&path).unwrap_or_default());
    let differences = page.differences(port, backend, cells);
    assert!(
        differences.is_empty(),
        "{}\nIf that is meant, set {WRITE}=1, run this test again and commit crates/tidewire/docs/backends.md.",
        differences.join("\n")
    );
}

fn write(path: &PathBuf, port: &str, backend: &str, cells: &[(String, String)]) {
    // Test binaries run side by side.
    let lock = File::create(path.with_extension("md.lock")).expect("the folder can be written");
    flock(&lock, FlockOperation::LockExclusive).expect("a lock");
    let mut page = Page::read(&std::fs::read_to_string(path).unwrap_or_default());
    page.set(port, backend, cells);
    std::fs::write(path, page.text()).expect("the page can be written");
    let _ = std::fs::remove_file(path.with_extension("md.lock"));
}

/// Port → its table.
#[derive(Default)]
struct Page(BTreeMap<String, Table>);

#[derive(Default)]
struct Table {
    backends: Vec<String>,
    /// What is promised, and one cell per backend.
    rows: Vec<(String, Vec<String>)>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut port = None;
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## The ") {
                port = Some(heading.trim().to_owned());
            }
            let (Some(port), Some(cells)) = (&port, line.strip_prefix("| ")) else { continue };
            let cells: Vec<String> =
                cells.trim_end_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
            let Some((first, rest)) = cells.split_first() else { continue };
            let table = page.0.entry(port.clone()).or_default();
            match table.backends.is_empty() {
                true => table.backends = rest.to_vec(),
                false => table.rows.push((first.clone(), rest.to_vec())),
            }
        }
        page
    }

    fn cell(&self, port: &str, backend: &str, promise: &str) -> Option<&str> {
        let table = self.0.get(port)?;
        let column = table.backends.iter().position(|known| known == backend)?;
        let (_, cells) = table.rows.iter().find(|(known, _)| known == promise)?;
        cells.get(column).map(String::as_str)
    }

    fn differences(&self, port: &str, backend: &str, cells: &[(String, String)]) -> Vec<String> {
        let mut found = Vec::new();
        for (promise, now) in cells {
            let before = self.cell(port, backend, promise).unwrap_or_default();
            if before != now {
                found.push(format!("{port} on {backend}: `{promise}` is `{now}`; the page says `{before}`"));
            }
        }
        for (promise, _) in self.0.get(port).into_iter().flat_map(|table| &table.rows) {
            let before = self.cell(port, backend, promise).unwrap_or_default();
            if !before.is_empty() && !cells.iter().any(|(known, _)| known == promise) {
                found.push(format!("{port} on {backend}: `{promise}` was `{before}` and is not looked at any more"));
            }
        }
        found
    }

    fn set(&mut self, port: &str, backend: &str, cells: &[(String, String)]) {
        let table = self.0.entry(port.to_owned()).or_default();
        let column = table.backends.iter().position(|known| known == backend).unwrap_or_else(|| {
            table.backends.push(backend.to_owned());
            table.backends.len() - 1
        });
        let width = table.backends.len();
        let mut rows: Vec<(String, Vec<String>)> = Vec::new();
        for (promise, now) in cells {
            let before = table.rows.iter().find(|(known, _)| known == promise).map(|(_, cells)| cells.clone());
            let mut row = before.unwrap_or_default();
            row.resize(width, String::new());
            row[column] = now.clone();
            rows.push((promise.clone(), row));
        }
        // What only other backends have been asked so far stays below, without an answer of this one.
        for (promise, row) in &table.rows {
            let mut row = row.clone();
            row.resize(width, String::new());
            row[column].clear();
            if !cells.iter().any(|(known, _)| known == promise) && row.iter().any(|cell| !cell.is_empty()) {
                rows.push((promise.clone(), row));
            }
        }
        table.rows = rows;
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (port, table) in &self.0 {
            let line = |cells: &[String]| cells.iter().map(|cell| format!(" {cell} |")).collect::<String>();
            let _ = write!(text, "\n## The {port}\n\n| what |{}\n|---|", line(&table.backends));
            text.push_str(&"---|".repeat(table.backends.len()));
            text.push('\n');
            for (promise, cells) in &table.rows {
                let _ = writeln!(text, "| {promise} |{}", line(cells));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(promise, now)| ((*promise).to_owned(), (*now).to_owned())).collect()
    }

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let mut page = Page::default();
        page.set("broker", "embedded", &cells(&[("durability", "disk"), ("keeps order", "yes")]));
        page.set("broker", "kafka", &cells(&[("durability", "os"), ("keeps order", "yes"), ("more", "yes")]));
        page.set("store", "sqlite", &cells(&[("commits", "yes")]));
        let text = page.text();
        assert!(text.contains("| what | embedded | kafka |\n|---|---|---|\n| durability | disk | os |"), "{text}");
        let read = Page::read(&text);
        assert_eq!(read.text(), text);
        assert_eq!(read.cell("broker", "kafka", "durability"), Some("os"));
        assert_eq!(read.cell("broker", "embedded", "more"), Some(""));
    }

    #[test]
    fn what_got_worse_new_or_lost_is_named() {
        let mut page = Page::default();
        page.set("store", "sqlite", &cells(&[("a", "yes"), ("b", "yes")]));
        assert!(page.differences("store", "sqlite", &cells(&[("a", "yes"), ("b", "yes")])).is_empty());
        let worse = page.differences("store", "sqlite", &cells(&[("a", "no"), ("c", "yes")]));
        assert_eq!(worse.len(), 3, "{worse:?}");
        assert_eq!(page.differences("store", "postgres", &cells(&[("a", "yes")])).len(), 1);
        page.set("store", "sqlite", &cells(&[("a", "yes")]));
        assert!(page.cell("store", "sqlite", "b").is_none(), "a row that nobody answers goes");
    }
}
