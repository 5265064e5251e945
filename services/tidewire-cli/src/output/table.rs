//! Tables: columns that know where in an item's JSON their cell comes from.

use chrono::{DateTime, Utc};
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use super::text::{self, TimeStyle};

/// The widest cell outside `-o wide`, in characters.
const CELL_CHARS: usize = 64;

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Where in an item it looks, as JSON pointers; the first that is there wins.
    pub pointers: &'static [&'static str],
    /// What it shows.
    pub kind: Kind,
    /// Only with `-o wide`.
    pub wide: bool,
}

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number, to the right.
    Number,
    /// A time.
    Time,
}

/// A column of text.
pub const fn text(title: &'static str, pointers: &'static [&'static str]) -> Column {
    Column { title, pointers, kind: Kind::Text, wide: false }
}

/// A column of numbers.
pub const fn number(title: &'static str, pointers: &'static [&'static str]) -> Column {
    Column { title, pointers, kind: Kind::Number, wide: false }
}

/// A column of times.
pub const fn time(title: &'static str, pointers: &'static [&'static str]) -> Column {
    Column { title, pointers, kind: Kind::Time, wide: false }
}

impl Column {
    /// The same column, only with `-o wide`.
    pub const fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    fn cell(&self, item: &Value, look: &Look) -> String {
        let found = self.pointers.iter().filter_map(|pointer| item.pointer(pointer)).find(|value| !value.is_null());
        let shown = match (found, self.kind) {
            (None, _) => return "-".into(),
            (Some(Value::Number(number)), Kind::Number) => {
                number.as_u64().map_or_else(|| number.to_string(), text::count)
            }
            (Some(Value::String(time)), Kind::Time) => text::time(time, look.time, look.now),
            (Some(Value::String(text)), _) => text.clone(),
            (Some(Value::Array(items)), _) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }
            (Some(other), _) => other.to_string(),
        };
        if look.wide { text::printable(&shown) } else { text::shortened(&shown, CELL_CHARS) }
    }
}

/// How a table looks this time.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// All columns, uncut cells.
    pub wide: bool,
    /// How times are shown.
    pub time: TimeStyle,
    /// Bold headings.
    pub color: bool,
    /// Fit into so many characters; unlimited when it goes into a file or a pipe.
    pub width: Option<u16>,
    /// What relative times are seen from.
    pub now: DateTime<Utc>,
}

/// The table, without a line break at its end.
pub fn render(items: &[Value], columns: &[Column], look: &Look) -> String {
    let shown: Vec<&Column> = columns.iter().filter(|column| look.wide || !column.wide).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(if look.width.is_some() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    if let Some(width) = look.width {
        table.set_width(width);
    }
    // Styling is ours to decide: the library would look at the terminal and the environment itself.
    if look.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(shown.iter().map(|column| {
        let head = Cell::new(column.title.to_uppercase()).set_alignment(alignment(column.kind));
        if look.color { head.add_attribute(Attribute::Bold) } else { head }
    }));
    for item in items {
        table.add_row(
            shown.iter().map(|column| Cell::new(column.cell(item, look)).set_alignment(alignment(column.kind))),
        );
    }
    table
        .lines()
        .map(|line| line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end()).to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// One item, a line per column.
pub fn sheet(item: &Value, columns: &[Column], look: &Look) -> String {
    let wide = Look { wide: true, ..*look };
    let width = columns.iter().map(|column| column.title.len()).max().unwrap_or_default();
    let lines = columns.iter().map(|column| format!("{:width$}  {}", column.title, column.cell(item, &wide)));
    lines.collect::<Vec<_>>().join("\n")
}

fn alignment(kind: Kind) -> CellAlignment {
    if kind == Kind::Number { CellAlignment::Right } else { CellAlignment::Left }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[
        text("name", &["/name"]),
        number("lag", &["/lag", "/pending"]),
        time("since", &["/since"]),
        text("note", &["/note"]).wide(),
    ];

    fn look(wide: bool) -> Look {
        let now = DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().to_utc();
        Look { wide, time: TimeStyle::Relative, color: false, width: None, now }
    }

    #[test]
    fn cells_come_from_the_items_and_are_safe() {
        let items = [
            json!({"name": "a\u{1b}[2J\nb", "pending": 12345, "since": "2026-11-20T11:59:00Z", "note": "n"}),
            json!({"name": "c", "lag": 0}),
        ];
        let shown = render(&items, COLUMNS, &look(false));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert!(lines[0].starts_with("NAME") && !shown.contains("NOTE") && !shown.contains('\u{1b}'), "{shown}");
        assert!(lines[1].contains("12,345") && lines[1].contains("60s ago"), "{shown}");
        assert!(lines[2].starts_with('c') && lines[2].ends_with('-'), "{shown}");
        assert!(render(&items, COLUMNS, &look(true)).contains("NOTE"));
    }
}
