//! What a command prints: one result, in the format asked for. Standard output holds the result and nothing else.

pub mod table;
pub mod text;
pub mod yaml;

use std::io::{self, IsTerminal, Write};

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::{Value, json};

use table::{Column, Look};
use text::TimeStyle;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with a wide terminal: more columns, nothing cut.
    Wide,
    /// One JSON value: laid out on a terminal, on one line elsewhere.
    Json,
    /// One JSON value per line, each as soon as it is known.
    Jsonl,
    /// YAML.
    Yaml,
    /// Names only, one per line, to be used in the next command.
    Name,
}

impl Format {
    /// Whether a program reads it.
    pub fn is_for_scripts(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl | Self::Yaml | Self::Name)
    }
}

/// A list as the API gives it, and how to show it.
#[derive(Debug)]
pub struct Listing<'a> {
    /// The items.
    pub items: &'a [Value],
    /// Where the list goes on, if it does.
    pub cursor: Option<&'a str>,
    /// The columns.
    pub columns: &'a [Column],
    /// The item's name, as JSON pointers; the first that is there wins.
    pub name: &'a [&'a str],
    /// What to say when there is nothing.
    pub empty: &'a str,
}

/// Where a command prints.
pub struct Output {
    out: Box<dyn Write + Send>,
    format: Format,
    time: TimeStyle,
    color: bool,
    width: Option<u16>,
    /// A person reads it as it comes; elsewhere JSON takes one line.
    terminal: bool,
    now: Box<dyn Fn() -> DateTime<Utc> + Send>,
}

impl Output {
    /// Standard output.
    pub fn stdout(
        format: Format,
        time: TimeStyle,
        color: tidewire::config::ColorChoice,
        clock: impl tidewire::Clock + 'static,
    ) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let width = if terminal { comfy_table::Table::new().width() } else { None };
        Self {
            out: Box::new(stdout),
            format,
            time,
            color: color.on(terminal),
            width,
            terminal,
            now: Box::new(move || clock.now()),
        }
    }

    /// The format asked for.
    pub fn format(&self) -> Format {
        self.format
    }

    /// A list.
    pub fn listing(&mut self, listing: &Listing<'_>) -> io::Result<()> {
        match self.format {
            Format::Json | Format::Yaml => {
                let page = json!({ "items": listing.items, "cursor": listing.cursor });
                self.value(&page)
            }
            Format::Jsonl => listing.items.iter().try_for_each(|item| writeln!(self.out, "{item}")),
            Format::Name => {
                for item in listing.items {
                    writeln!(self.out, "{}", name_of(item, listing.name))?;
                }
                Ok(())
            }
            Format::Table | Format::Wide if listing.items.is_empty() => writeln!(self.out, "{}", listing.empty),
            Format::Table | Format::Wide => {
                let shown = table::render(listing.items, listing.columns, &self.look());
                writeln!(self.out, "{shown}")?;
                if let Some(cursor) = listing.cursor {
                    writeln!(self.out, "\nThere is more: --cursor {}", text::printable(cursor))?;
                }
                Ok(())
            }
        }
    }

    /// One item of a stream that goes on: printed at once.
    pub fn item(&mut self, item: &Value, name: &[&str], line: impl FnOnce(&Look) -> String) -> io::Result<()> {
        match self.format {
            Format::Json | Format::Jsonl => writeln!(self.out, "{item}")?,
            Format::Yaml => write!(self.out, "---\n{}", yaml::document(item))?,
            Format::Name => writeln!(self.out, "{}", name_of(item, name))?,
            Format::Table | Format::Wide => {
                let line = line(&self.look());
                writeln!(self.out, "{line}")?;
            }
        }
        self.out.flush()
    }

    /// One thing: `people` is called for tables only.
    pub fn thing(&mut self, value: &Value, name: &[&str], people: impl FnOnce(&Look) -> String) -> io::Result<()> {
        match self.format {
            Format::Table | Format::Wide => {
                let text = people(&self.look());
                writeln!(self.out, "{}", text.trim_end())
            }
            Format::Name => writeln!(self.out, "{}", name_of(value, name)),
            _ => self.value(value),
        }
    }

    /// Text of our own that is the same in every format (a completion script, a manual page).
    pub fn raw(&mut self, text: &[u8]) -> io::Result<()> {
        self.out.write_all(text)
    }

    /// What was printed reaches its reader.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// How tables look.
    pub fn look(&self) -> Look {
        Look {
            wide: self.format == Format::Wide,
            time: self.time,
            color: self.color,
            width: self.width,
            now: (self.now)(),
        }
    }

    fn value(&mut self, value: &Value) -> io::Result<()> {
        match self.format {
            Format::Yaml => write!(self.out, "{}", yaml::document(value)),
            Format::Json if self.terminal => writeln!(self.out, "{value:#}"),
            _ => writeln!(self.out, "{value}"),
        }
    }
}

fn name_of(item: &Value, pointers: &[&str]) -> String {
    let found = pointers.iter().filter_map(|pointer| item.pointer(pointer)).find(|value| !value.is_null());
    match found {
        Some(Value::String(name)) => text::printable(name),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Where tests read what was printed.
#[cfg(test)]
#[derive(Clone, Default)]
pub struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Sink {
    /// What was printed so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
impl Output {
    /// Into memory, with the time standing still.
    pub fn to_memory(format: Format) -> (Self, Sink) {
        let sink = Sink::default();
        let out = Box::new(sink.clone());
        let now = Box::new(|| DateTime::UNIX_EPOCH);
        (Self { out, format, time: TimeStyle::Iso, color: false, width: None, terminal: false, now }, sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format, items: &[Value]) -> String {
        let (mut output, sink) = Output::to_memory(format);
        let columns = [table::text("name", &["/name"])];
        output
            .listing(&Listing { items, cursor: None, columns: &columns, name: &["/name"], empty: "Nothing." })
            .unwrap();
        sink.text()
    }

    #[test]
    fn every_format_prints_the_same_list() {
        let items = [json!({"name": "a"}), json!({"name": "b"})];
        assert_eq!(printed(Format::Table, &items), "NAME\na\nb\n");
        assert_eq!(printed(Format::Name, &items), "a\nb\n");
        assert_eq!(printed(Format::Jsonl, &items), "{\"name\":\"a\"}\n{\"name\":\"b\"}\n");
        let page: Value = serde_json::from_str(&printed(Format::Json, &items)).unwrap();
        assert_eq!(page, json!({"items": items, "cursor": null}));
        assert_eq!(printed(Format::Table, &[]), "Nothing.\n");
        assert_eq!(printed(Format::Jsonl, &[]), "");
    }
}
