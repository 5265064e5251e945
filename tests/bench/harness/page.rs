//! `RESULTS.md`: what runs found. A run replaces the lines it measured, and leaves the others with their dates.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::row::{HEADERS, Row, Section};

/// From here on the page is kept by hand.
const BY_HAND: &str = "<!-- By hand from here on; a run keeps what follows. -->";
const RUNS: &str = "Runs";
const HEAD: &str = "# Benchmark results

Written by the runs themselves; each replaces the lines that it measured. Payload: 1 KiB JSON orders, 1,000 keys, Zipf 0.99.
";

/// The page.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// Date, and everything a reader needs to doubt its numbers.
    runs: Vec<(String, String)>,
    /// With the line that begins it.
    by_hand: String,
}

impl Page {
    /// The page as it was written.
    pub fn read(text: &str) -> Self {
        let (written, by_hand) = text.find(BY_HAND).map_or((text, ""), |at| text.split_at(at));
        let mut page = Self { by_hand: by_hand.to_owned(), ..Self::default() };
        let mut heading = "";
        for line in written.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title;
            } else if let Some(section) = Section::ALL.into_iter().find(|section| section.title() == heading) {
                page.take(section, line);
            } else if let (RUNS, Some((date, about))) =
                (heading, line.strip_prefix("- ").and_then(|run| run.split_once(": ")))
            {
                page.runs.push((date.to_owned(), about.to_owned()));
            }
        }
        page
    }

    /// A line of a table, or a note under it.
    fn take(&mut self, section: Section, line: &str) {
        if let Some(line) = line.strip_prefix('|') {
            let cells: Vec<&str> = line.trim().trim_end_matches('|').split('|').map(str::trim).collect();
            let Ok(cells) = <[&str; 10]>::try_from(cells) else { return };
            if cells != HEADERS && !cells[0].starts_with("--") {
                self.rows.push(Row::read(section, cells));
            }
        } else if let Some((name, notes)) = line.strip_prefix("- ").and_then(|note| note.split_once("): ")) {
            let row = self.rows.iter_mut().find(|row| row.section == section && name_of(row) == format!("{name})"));
            if let Some(row) = row {
                row.notes = notes.split("; ").map(str::to_owned).collect();
            }
        }
    }

    /// Takes in what a run of this date found.
    pub fn merge(&mut self, date: &str, about: &str, rows: &[Row]) {
        for row in rows {
            let row = Row { run: date.to_owned(), ..row.clone() };
            let same = |old: &Row| old.section == row.section && old.id == row.id;
            let place = self.rows.iter().position(|old| same(old) && (old.class == row.class || old.class == "-"));
            // A failure takes the place of whatever was there, or an old number would hide it.
            let place = place.or_else(|| self.rows.iter().position(|old| same(old) && row.class == "-"));
            match place {
                Some(place) => self.rows[place] = row,
                None => self.rows.push(row),
            }
        }
        self.runs.retain(|(run, _)| run != date);
        self.runs.push((date.to_owned(), about.to_owned()));
        let rows = &self.rows;
        self.runs.retain(|(run, _)| rows.iter().any(|row| row.run == *run));
    }

    /// As Markdown.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for section in Section::ALL {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.section == section).collect();
            if !rows.is_empty() {
                let _ = write!(text, "\n## {}\n\n{}", section.title(), table(&rows));
            }
        }
        let _ = writeln!(text, "\n## {RUNS}\n");
        for (date, about) in &self.runs {
            let _ = writeln!(text, "- {date}: {about}");
        }
        let by_hand = if self.by_hand.is_empty() { BY_HAND } else { self.by_hand.trim_end() };
        let _ = writeln!(text, "\n{by_hand}");
        text
    }

    /// Takes in a run, in the file.
    pub fn update(path: &Path, date: &str, about: &str, rows: &[Row]) -> anyhow::Result<()> {
        let mut page = Self::read(&std::fs::read_to_string(path).unwrap_or_default());
        page.merge(date, about, rows);
        std::fs::write(path, page.text()).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn name_of(row: &Row) -> String {
    format!("{} ({})", row.id, row.class)
}

/// A table and what belongs under it, as Markdown that reads well on a terminal.
pub fn table(rows: &[&Row]) -> String {
    let mut widths = HEADERS.map(|header| header.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; 10]| {
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
    };
    line(HEADERS);
    let rules = widths.map(|width| "-".repeat(width));
    line(std::array::from_fn(|at| rules[at].as_str()));
    rows.iter().for_each(|row| line(row.cells()));
    text.push('\n');
    for row in rows.iter().filter(|row| !row.notes.is_empty()) {
        let _ = writeln!(text, "- {}: {}", name_of(row), row.notes.join("; "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::row::Subject;
    use super::*;

    fn row(section: Section, id: &str, class: &str, ours: &str) -> Row {
        let failed = Row::failed(&Subject::new(section, id, "what"), &anyhow::anyhow!("no"));
        let notes = vec!["one".to_owned(), "two: three".to_owned()];
        Row { class: class.into(), ours: ours.into(), notes, ..failed }
    }

    #[test]
    fn a_run_replaces_its_own_lines_and_keeps_the_others() {
        let mut page = Page::read(&format!("{BY_HAND}\n\nWords.\n"));
        let one = |id, class, ours| row(Section::OneMachine, id, class, ours);
        page.merge(
            "2026-01-01 00:00 UTC",
            "a machine",
            &[one("B2", "disk", "1"), one("B2", "mem", "2"), one("B5", "disk", "3")],
        );
        page.merge(
            "2026-01-02 00:00 UTC",
            "another",
            &[row(Section::RealBackends, "B5", "os", "4"), one("B2", "disk", "5")],
        );
        let read = Page::read(&page.text());
        let lines: Vec<_> = read.rows.iter().map(|row| (row.id.as_str(), row.ours.as_str(), &row.run[..10])).collect();
        let expected = [
            ("B2", "5", "2026-01-02"),
            ("B2", "2", "2026-01-01"),
            ("B5", "3", "2026-01-01"),
            ("B5", "4", "2026-01-02"),
        ];
        assert_eq!(lines, expected);
        assert_eq!((read.rows[3].section, &read.rows[3].notes), (Section::RealBackends, &page.rows[3].notes));
        assert_eq!(read.runs.len(), 2);
        assert!(page.text().ends_with("Words.\n"));
        assert_eq!(Page::read(&read.text()).text(), page.text());
    }

    #[test]
    fn a_failure_takes_the_place_of_the_number_and_a_number_that_of_the_failure() {
        let mut page = Page::default();
        page.merge("1", "a", &[row(Section::OneMachine, "B2", "os", "1")]);
        page.merge("2", "a", &[row(Section::OneMachine, "B2", "-", "-")]);
        assert_eq!((page.rows.len(), page.rows[0].class.as_str(), page.runs.len()), (1, "-", 1));
        page.merge("3", "a", &[row(Section::OneMachine, "B2", "os", "2")]);
        assert_eq!((page.rows.len(), page.rows[0].ours.as_str()), (1, "2"));
    }
}
