//! A run's results: a table for people, one JSON for programs, and the page that is kept.

use std::path::Path;

use serde::Serialize;

use crate::harness::page::{Page, table};
use crate::harness::row::{Row, Section};
use crate::machine::Machine;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub rounds: usize,
    pub slice_seconds: f64,
    pub seed: u64,
    pub stolen_share: f64,
    /// Why nothing in here counts, if so.
    pub invalid: Option<String>,
    pub rows: Vec<Row>,
}

impl Report {
    /// The tables and what belongs under them.
    pub fn table(&self) -> String {
        let mut text = format!("{}: {}\n", self.machine.date, self.about());
        for section in Section::ALL {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.section == section).collect();
            if !rows.is_empty() {
                text.push_str(&format!("\n{}\n\n{}", section.title(), table(&rows)));
            }
        }
        text
    }

    /// Everything a reader needs to doubt the numbers, in one line.
    fn about(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "Tidewire {}, SQLite {}{}; {} cores ({}), {} GiB, Linux {}; write and fdatasync of 4 KiB: p50 {} us, p99 {} us; \
             load before: {}; stolen: {:.1} %; at most {} rounds of {} s slices, seed {}.",
            machine.tidewire,
            machine.sqlite,
            machine.servers.iter().map(|server| format!(", {server}")).collect::<String>(),
            machine.cores,
            machine.cpu,
            machine.memory_gib,
            machine.kernel,
            machine.fdatasync_p50_us,
            machine.fdatasync_p99_us,
            machine.load_before,
            self.stolen_share * 100.0,
            self.rounds,
            self.slice_seconds,
            self.seed,
        );
        if machine.failpoints {
            text.push_str(" Built with failpoints, which cost a little at every step.");
        }
        if let Some(reason) = &self.invalid {
            text.push_str(&format!(" **Nothing of it counts: {reason}.**"));
        }
        text
    }

    /// Takes the run into the page.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        Page::update(path, &self.machine.date, &self.about(), &self.rows)
    }
}
