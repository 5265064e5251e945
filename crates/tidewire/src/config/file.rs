//! The configuration file: found, read, and taken apart into keys with their lines.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};
use super::secret::world_readable;
use super::sources::FileSource;
use super::value::Raw;

/// A configuration file is a page or two; anything larger is a wrong path.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One `key = value` of the file.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub path: String,
    pub raw: Raw,
    pub line: usize,
}

/// A file taken apart.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub path: PathBuf,
    pub entries: Vec<Entry>,
    /// Tables directly under the top, with their line, whether or not they hold a key.
    pub sections: Vec<(String, usize)>,
    /// The permission bits, if every user of the machine may read it.
    pub exposed: Option<u32>,
}

/// Reads whatever `source` says. `Ok(None)`: there is no file, and none was asked for.
pub(super) fn read(source: &FileSource) -> Result<Option<ConfigFile>, Vec<Problem>> {
    match source {
        FileSource::None => Ok(None),
        FileSource::Text { name, text } => parse(name, text).map(Some),
        FileSource::Named { path, by } => match read_text(path) {
            Ok(Some((text, exposed))) => parse(path, &text).map(|file| Some(ConfigFile { exposed, ..file })),
            Ok(None) => Err(vec![Problem {
                code: "config.file_missing",
                path: path.display().to_string(),
                origin: if by.starts_with('-') { Origin::Flag((*by).into()) } else { Origin::Env((*by).into()) },
                expected: "a readable TOML file".into(),
                found: "no such file".into(),
                hint: "correct the path, or leave it out to run on defaults and environment".into(),
            }]),
            Err(problem) => Err(vec![*problem]),
        },
        FileSource::Search(places) => {
            for path in places {
                match read_text(path) {
                    Ok(Some((text, exposed))) => {
                        return parse(path, &text).map(|file| Some(ConfigFile { exposed, ..file }));
                    }
                    Ok(None) => {}
                    Err(problem) => return Err(vec![*problem]),
                }
            }
            Ok(None)
        }
    }
}

fn read_text(path: &Path) -> Result<Option<(String, Option<u32>)>, Box<Problem>> {
    let problem = |found: String| {
        Box::new(Problem {
            code: "config.file_unreadable",
            path: path.display().to_string(),
            origin: Origin::File { path: path.to_owned(), line: 0 },
            expected: "a readable TOML file of at most 1MiB".into(),
            found,
            hint: String::new(),
        })
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(error.to_string())),
    };
    if meta.is_dir() {
        return Err(problem("a folder".into()));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(problem(format!("{} bytes", meta.len())));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((text, world_readable(&meta)))),
        Err(error) => Err(problem(error.to_string())),
    }
}

/// Takes a text apart. Every syntax error is reported, each with its line and without the line's
/// text, which may hold a password.
pub(super) fn parse(name: &Path, text: &str) -> Result<ConfigFile, Vec<Problem>> {
    // Editors on Windows put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let line = error.span().map_or(0, |span| line_of(text, span.start));
            Problem {
                code: "config.file_malformed",
                path: name.display().to_string(),
                origin: Origin::File { path: name.to_owned(), line },
                expected: "TOML: `key = value` lines under `[section]` heads, text in quotes".into(),
                found: error.message().to_owned(),
                hint: String::new(),
            }
        };
        return Err(errors.iter().map(problem).collect());
    }
    let mut file = ConfigFile { path: name.to_owned(), ..ConfigFile::default() };
    collect(text, "", table.get_ref(), &mut file);
    file.entries.sort_by_key(|entry| entry.line);
    file.sections.sort_by_key(|(_, line)| *line);
    Ok(file)
}

fn collect(text: &str, prefix: &str, table: &DeTable<'_>, file: &mut ConfigFile) {
    for (key, value) in table {
        let line = line_of(text, key.span().start);
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => {
                if prefix.is_empty() {
                    file.sections.push((path.clone(), line));
                }
                collect(text, &path, inner, file);
            }
            _ => file.entries.push(Entry { path, raw: raw(value), line }),
        }
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Str(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Raw::Int(number.as_str().to_owned()),
        DeValue::Integer(_) => Raw::Other("integer in another base"),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Float(_) => Raw::Other("float"),
        DeValue::Datetime(_) => Raw::Other("date"),
        DeValue::Array(_) => Raw::Other("array"),
        DeValue::Table(_) => Raw::Other("table"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_their_section_and_line() {
        let file =
            parse(Path::new("t"), "\u{feff}listen = \"127.0.0.1:1\"\n\n[store]\nreaders = 1_0\r\n[log]\n").unwrap();
        let entry = |path: &str, raw, line| Entry { path: path.into(), raw, line };
        assert_eq!(
            file.entries,
            [entry("listen", Raw::Str("127.0.0.1:1".into()), 1), entry("store.readers", Raw::Int("10".into()), 4)]
        );
        assert_eq!(file.sections, [("store".to_owned(), 3), ("log".to_owned(), 5)]);
    }

    #[test]
    fn a_syntax_error_names_its_line_and_shows_no_text_of_it() {
        let problems = parse(Path::new("t"), "listen = \"x\"\n[smtp]\nurl = smtp://u:canary@h\n").unwrap_err();
        assert!(!problems.is_empty());
        assert_eq!(problems[0].code, "config.file_malformed");
        assert!(matches!(problems[0].origin, Origin::File { line: 3, .. }), "{problems:?}");
        assert!(!format!("{problems:?}").contains("canary"), "{problems:?}");
    }

    #[test]
    fn a_named_file_must_exist_and_a_searched_one_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent.toml");
        assert!(read(&FileSource::Search(vec![absent.clone()])).unwrap().is_none());
        let named = |path: &Path| FileSource::Named { path: path.to_owned(), by: "--config" };
        assert_eq!(read(&named(&absent)).unwrap_err()[0].code, "config.file_missing");
        assert_eq!(read(&named(dir.path())).unwrap_err()[0].code, "config.file_unreadable");
        let binary = dir.path().join("binary.toml");
        std::fs::write(&binary, b"\xff\xfe").unwrap();
        assert_eq!(read(&named(&binary)).unwrap_err()[0].code, "config.file_unreadable");
    }
}
